"""Symbolic sizes: integer polynomials over named symbols, in normal form.

Two sizes are the same exactly when their normal forms are equal, so ``n + n`` and ``2 * n`` are one size. Quotients
that do not divide evenly and the broadcast of two sizes that may differ are atoms of the polynomial.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from numbers import Integral
from typing import Union

Size = Union[int, "Dim"]


@dataclass(frozen=True, slots=True)
class Symbol:
    """A size that is known when an executable is called."""

    name: str

    def __str__(self) -> str:
        return self.name

    def value(self, sizes: Mapping[str, int]) -> int:
        return sizes[self.name]

    def symbols(self) -> Iterator[str]:
        yield self.name


@dataclass(frozen=True, slots=True)
class FloorDiv:
    """``left // right`` where the division is not known to be exact."""

    left: Size
    right: Size

    def __str__(self) -> str:
        return f"({self.left})//({self.right})"

    def value(self, sizes: Mapping[str, int]) -> int:
        return evaluate(self.left, sizes) // evaluate(self.right, sizes)

    def symbols(self) -> Iterator[str]:
        yield from free_symbols((self.left, self.right))


@dataclass(frozen=True, slots=True)
class Broadcast:
    """The common size of two sizes of which one may turn out to be 1."""

    left: Size
    right: Size

    def __str__(self) -> str:
        return f"broadcast({self.left}, {self.right})"

    def value(self, sizes: Mapping[str, int]) -> int:
        left, right = evaluate(self.left, sizes), evaluate(self.right, sizes)
        return right if left == 1 else left

    def symbols(self) -> Iterator[str]:
        yield from free_symbols((self.left, self.right))


@dataclass(frozen=True, slots=True)
class NotOne:
    """1, or 0 where ``size`` is 1: the step along an axis that may turn out to be broadcast."""

    size: Size

    def __str__(self) -> str:
        return f"not_one({self.size})"

    def value(self, sizes: Mapping[str, int]) -> int:
        return int(evaluate(self.size, sizes) != 1)

    def symbols(self) -> Iterator[str]:
        yield from free_symbols((self.size,))


Atom = Symbol | FloorDiv | Broadcast | NotOne
Monomial = tuple[tuple[Atom, int], ...]  # atoms with their powers, sorted by text


class Dim:
    """A symbolic size. Prints as its expression; ``+ - * //`` give sizes again.

    >>> n = symbol("n")
    >>> (n + n) * 3 - 1, n - n, (n * 6) // 3
    (6*n - 1, 0, 2*n)
    """

    __slots__ = ("__dict__", "_hash", "terms")
    terms: tuple[tuple[Monomial, int], ...]

    def __init__(self, terms: tuple[tuple[Monomial, int], ...]) -> None:
        self.terms = terms
        self._hash = hash(terms)

    def __eq__(self, other: object) -> bool:
        return self is other or (isinstance(other, Dim) and self.terms == other.terms)

    def __hash__(self) -> int:
        return self._hash

    def __bool__(self) -> bool:
        raise TypeError(f"the size {self} is known only when the executable is called; it has no truth value here")

    def __index__(self) -> int:
        raise TypeError(
            f"the size {self} is known only when the executable is called; use it where a shape is asked for"
        )

    @cached_property
    def _text(self) -> str:
        out = ""
        for mono, coefficient in self.terms:
            alone = coefficient == 1 and len(mono) == 1 and mono[0][1] == 1
            texts = [(f"({a})" if isinstance(a, FloorDiv) and not alone else str(a), p) for a, p in mono]
            body = "*".join(a if p == 1 else f"{a}**{p}" for a, p in texts)
            size = abs(coefficient)
            part = body if size == 1 and body else f"{size}*{body}" if body else str(size)
            sign = "-" if coefficient < 0 else "+"
            out += (f" {sign} " if out else "-" * (coefficient < 0)) + part
        return out

    def __str__(self) -> str:
        return self._text

    __repr__ = __str__

    def __add__(self, other: Size) -> Size:
        return combine(((self, 1), (other, 1))) if _is_size(other) else NotImplemented

    __radd__ = __add__

    def __sub__(self, other: Size) -> Size:
        return combine(((self, 1), (other, -1))) if _is_size(other) else NotImplemented

    def __rsub__(self, other: Size) -> Size:
        return combine(((self, -1), (other, 1))) if _is_size(other) else NotImplemented

    def __neg__(self) -> Size:
        return combine(((self, -1),))

    def __mul__(self, other: Size) -> Size:
        return multiply(self, other) if _is_size(other) else NotImplemented

    __rmul__ = __mul__

    def __floordiv__(self, other: Size) -> Size:
        return floor_divide(self, other) if _is_size(other) else NotImplemented

    def __rfloordiv__(self, other: Size) -> Size:
        return floor_divide(other, self) if _is_size(other) else NotImplemented


def _is_size(value: object) -> bool:
    """Arithmetic with anything else, a Tensor or a float, is not a size."""
    return isinstance(value, (Integral, Dim)) and not isinstance(value, bool)


def symbol(name: str) -> Dim:
    """The size called ``name``."""
    return Dim((((((Symbol(name), 1),), 1)),))


def _terms(size: Size) -> tuple[tuple[Monomial, int], ...]:
    if isinstance(size, Dim):
        return size.terms
    return (((), int(size)),) if size else ()


def _normal(terms: Mapping[Monomial, int]) -> Size:
    kept = [(m, c) for m, c in terms.items() if c]
    if all(not m for m, _ in kept):
        return kept[0][1] if kept else 0
    # highest degree first, the constant last; text breaks ties so that the order never depends on hashing
    return Dim(tuple(sorted(kept, key=lambda t: (-sum(p for _, p in t[0]), [(str(a), p) for a, p in t[0]]))))


def _atom(atom: Atom) -> Dim:
    return Dim(((((atom, 1),), 1),))


def combine(parts: Iterable[tuple[Size, int]]) -> Size:
    """The sum of sizes, each times a number."""
    terms: dict[Monomial, int] = {}
    for size, factor in parts:
        for mono, coefficient in _terms(size):
            terms[mono] = terms.get(mono, 0) + coefficient * factor
    return _normal(terms)


def total(sizes: Iterable[Size]) -> Size:
    """The sum of sizes."""
    return combine((size, 1) for size in sizes)


def multiply(left: Size, right: Size) -> Size:
    """The product of two sizes."""
    terms: dict[Monomial, int] = {}
    for mono_l, c_l in _terms(left):
        for mono_r, c_r in _terms(right):
            powers: dict[Atom, int] = dict(mono_l)
            for atom, power in mono_r:
                powers[atom] = powers.get(atom, 0) + power
            mono = tuple(sorted(powers.items(), key=lambda item: str(item[0])))
            terms[mono] = terms.get(mono, 0) + c_l * c_r
    return _normal(terms)


def product(sizes: Iterable[Size]) -> Size:
    """The number of elements of a shape.

    >>> n = symbol("n")
    >>> product((n, 3, 2)), product(())
    (6*n, 1)
    """
    total: Size = 1
    for size in sizes:
        total = multiply(total, size)
    return total


def exact_quotient(left: Size, right: Size) -> Size | None:
    """``left / right`` where every term divides evenly, else None."""
    divisor = _terms(right)
    if len(divisor) != 1:
        return 1 if left == right else None
    mono_r, c_r = divisor[0]
    terms: dict[Monomial, int] = {}
    for mono, c in _terms(left):
        powers = dict(mono)
        for atom, power in mono_r:
            powers[atom] = powers.get(atom, 0) - power
        if c % c_r or any(p < 0 for p in powers.values()):
            return None
        terms[tuple((a, p) for a, p in powers.items() if p)] = c // c_r
    return _normal(terms)


def floor_divide(left: Size, right: Size) -> Size:
    """``left // right``; exact where every term divides evenly."""
    if isinstance(left, int) and isinstance(right, int):
        return left // right
    exact = exact_quotient(left, right)
    return _atom(FloorDiv(left, right)) if exact is None else exact


def broadcast(left: Size, right: Size) -> Size:
    """The size that ``left`` and ``right`` broadcast to.

    >>> n = symbol("n")
    >>> broadcast(n, 1), broadcast(n, 5), broadcast(n, symbol("m"))
    (n, 5, broadcast(m, n))
    """
    if left == right or right == 1:
        return left
    if left == 1:
        return right
    for size in (left, right):
        if isinstance(size, int):
            return size
    parts = sorted({*_broadcast_parts(left), *_broadcast_parts(right)}, key=str)
    out = parts[0]
    for part in parts[1:]:
        out = _atom(Broadcast(out, part))
    return out


def _broadcast_parts(size: Size) -> list[Size]:
    if isinstance(size, Dim) and len(size.terms) == 1:
        ((mono, coefficient),) = size.terms
        if coefficient == 1 and len(mono) == 1 and isinstance(mono[0][0], Broadcast) and mono[0][1] == 1:
            return [*_broadcast_parts(mono[0][0].left), *_broadcast_parts(mono[0][0].right)]
    return [size]


def not_one(size: Size) -> Size:
    """1, or 0 where ``size`` is 1."""
    return _atom(NotOne(size)) if isinstance(size, Dim) else int(size != 1)


def is_stride(step: Size) -> bool:
    """True for a step between elements that cannot turn out 0 (a broadcast axis) or negative (a reversed one).

    >>> n = symbol("n")
    >>> is_stride(n + 1), is_stride(-n), is_stride(not_one(n))
    (True, False, False)
    """
    if not isinstance(step, Dim):
        return step > 0
    return all(c > 0 and not any(isinstance(a, NotOne) for a, _ in mono) for mono, c in step.terms)


def evaluate(size: Size, sizes: Mapping[str, int]) -> int:
    """The number behind ``size`` when every symbol has the value in ``sizes``."""
    if not isinstance(size, Dim):
        return size
    total = 0
    for mono, coefficient in size.terms:
        for atom, power in mono:
            coefficient *= atom.value(sizes) ** power
        total += coefficient
    return total


def free_symbols(sizes: Iterable[Size]) -> Iterator[str]:
    """Names of the symbols in ``sizes``, in order, with repeats."""
    for size in sizes:
        if isinstance(size, Dim):
            for mono, _ in size.terms:
                for atom, _ in mono:
                    yield from atom.symbols()


def may_be_negative(size: Size) -> bool:
    """Whether something is subtracted in ``size``.

    >>> n = symbol("n")
    >>> may_be_negative(n * 3 + 1), may_be_negative((n - 1) // 2)
    (False, True)
    """
    if not isinstance(size, Dim):
        return size < 0
    atoms = [atom for mono, _ in size.terms for atom, _ in mono]
    return any(coefficient < 0 for _, coefficient in size.terms) or any(
        may_be_negative(part) for a in atoms if isinstance(a, (FloorDiv, Broadcast)) for part in (a.left, a.right)
    )


def symbol_name(size: Size) -> str | None:
    """The name where ``size`` is one bare symbol, else None."""
    if isinstance(size, Dim) and len(size.terms) == 1:
        ((mono, coefficient),) = size.terms
        if coefficient == 1 and len(mono) == 1 and mono[0][1] == 1 and isinstance(mono[0][0], Symbol):
            return mono[0][0].name
    return None


def source(size: Size, name: Callable[[str], str]) -> str:
    """A Python expression for ``size``, with each symbol written as ``name(symbol)``."""
    if not isinstance(size, Dim):
        return str(size)

    def atom_text(atom: Atom) -> str:
        if isinstance(atom, Symbol):
            return name(atom.name)
        if isinstance(atom, NotOne):
            return f"(1 if ({source(atom.size, name)}) != 1 else 0)"
        left, right = source(atom.left, name), source(atom.right, name)
        if isinstance(atom, FloorDiv):
            return f"(({left}) // ({right}))"
        return f"(({right}) if ({left}) == 1 else ({left}))"

    return " + ".join(
        "*".join([str(c)] * (c != 1 or not mono) + [atom_text(a) for a, p in mono for _ in range(p)])
        for mono, c in size.terms
    )


def rename(size: Size, names: Mapping[str, Size]) -> Size:
    """``size`` with symbols replaced by sizes."""
    if not isinstance(size, Dim):
        return size
    total: Size = 0
    for mono, coefficient in size.terms:
        term: Size = coefficient
        for atom, power in mono:
            value: Size
            if isinstance(atom, Symbol):
                value = names.get(atom.name, _atom(atom))
            elif isinstance(atom, NotOne):
                value = not_one(rename(atom.size, names))
            else:
                make = floor_divide if isinstance(atom, FloorDiv) else broadcast
                value = make(rename(atom.left, names), rename(atom.right, names))
            for _ in range(power):
                term = multiply(term, value)
        total = combine(((total, 1), (term, 1)))
    return total
