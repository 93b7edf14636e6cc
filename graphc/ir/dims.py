"""Symbolic sizes: integer polynomials over named symbols, in normal form.

Two sizes are the same exactly when their normal forms are equal, so ``n + n`` and ``2 * n`` are one size. Quotients
that do not divide evenly, the least of some sizes and the broadcast of two sizes that may differ are atoms of the
polynomial.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from numbers import Integral
from typing import Union

from graphc.cached import cached

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


@dataclass(frozen=True, slots=True, eq=False)
class Function:
    """A function of sizes: by numbers, and as a Python expression of texts. ``//`` is printed between its operands."""

    name: str
    of: Callable[..., int]
    source: Callable[..., str]


QUOTIENT = Function("//", lambda a, b: a // b, lambda a, b: f"(({a}) // ({b}))")
BROADCAST = Function("broadcast", lambda a, b: b if a == 1 else a, lambda a, b: f"(({b}) if ({a}) == 1 else ({a}))")
LEAST = Function("min", min, lambda *parts: f"min({', '.join(parts)})")
BOUND = Function(
    "bound",
    lambda at, n: max(0, min(at if at >= 0 else at + n, n)),
    lambda at, n: f"max(0, min(({at}) if ({at}) >= 0 else ({at}) + {n}, {n}))",
)
NOT_ONE = Function("not_one", lambda a: int(a != 1), lambda a: f"(1 if ({a}) != 1 else 0)")


@dataclass(frozen=True, slots=True)
class Call:
    """A function of sizes that has no polynomial."""

    function: Function
    parts: tuple[Size, ...]

    def __str__(self) -> str:
        texts = list(map(str, self.parts))
        if self.function is QUOTIENT:
            return "({})//({})".format(*texts)
        return f"{self.function.name}({', '.join(texts)})"

    def value(self, sizes: Mapping[str, int]) -> int:
        return self.function.of(*(evaluate(part, sizes) for part in self.parts))

    def symbols(self) -> Iterator[str]:
        yield from free_symbols(self.parts)


Atom = Symbol | Call
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

    @cached
    def _text(self) -> str:
        out = ""
        for mono, coefficient in self.terms:
            alone = coefficient == 1 and len(mono) == 1 and mono[0][1] == 1
            texts = [(f"({a})" if _function(a) is QUOTIENT and not alone else str(a), p) for a, p in mono]
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
    # highest degree first, what is cut behind what it is cut from, the constant last; then text, for hashes vary
    return Dim(tuple(sorted(kept, key=lambda t: (-sum(p for _, p in t[0]), [(_cut(a), str(a), p) for a, p in t[0]]))))


def _cut(atom: Atom) -> bool:
    return _function(atom) in (LEAST, BOUND)


def _atom(atom: Atom) -> Dim:
    return Dim(((((atom, 1),), 1),))


def _call(function: Function, *parts: Size) -> Dim:
    return _atom(Call(function, parts))


def _function(atom: Atom | None) -> Function | None:
    return atom.function if isinstance(atom, Call) else None


def combine(parts: Iterable[tuple[Size, int]]) -> Size:
    """The sum of sizes, each times a number."""
    parts = list(parts)
    if all(isinstance(size, int) for size, _ in parts):
        return sum(size * factor for size, factor in parts)
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
    if isinstance(left, int) and isinstance(right, int):
        return left * right
    if isinstance(left, int):
        left, right = right, left
    if isinstance(right, int):
        return left if right == 1 else Dim(tuple((m, c * right) for m, c in _terms(left))) if right else 0
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
    return _call(QUOTIENT, left, right) if exact is None else exact


def broadcast(left: Size, right: Size) -> Size:
    """The size that ``left`` and ``right`` broadcast to.

    >>> n = symbol("n")
    >>> broadcast(n, 1), broadcast(n, 5), broadcast(n, symbol("m"))
    (n, 5, broadcast(m, n))
    """
    if same_when_met(right, left) or right == 1:
        return left
    if same_when_met(left, right) or left == 1:
        return right
    for size in (left, right):
        if isinstance(size, int):
            return size
    parts = sorted({*_broadcast_parts(left), *_broadcast_parts(right)}, key=str)
    out = parts[0]
    for part in parts[1:]:
        out = _call(BROADCAST, out, part)
    return out


def _broadcast_parts(size: Size) -> list[Size]:
    return [p for part in called(size, BROADCAST) for p in _broadcast_parts(part)] or [size]


def _alone(size: Size) -> Atom | None:
    """The atom that a size is, if it is just one."""
    if isinstance(size, Dim) and len(size.terms) == 1:
        ((mono, coefficient),) = size.terms
        if coefficient == 1 and len(mono) == 1 and mono[0][1] == 1:
            return mono[0][0]
    return None


def called(size: Size, function: Function) -> tuple[Size, ...]:
    """The operands where ``size`` is just one ``function`` of sizes, else none."""
    atom = _alone(size)
    return atom.parts if isinstance(atom, Call) and atom.function is function else ()


def broadcasts(size: Size) -> Iterator[tuple[Size, Size]]:
    """Sizes that meet in ``size``, two by two."""
    atoms = (atom for mono, _ in size.terms for atom, _ in mono) if isinstance(size, Dim) else ()
    for atom in atoms:
        if isinstance(atom, Call):
            if atom.function is BROADCAST:
                yield atom.parts[0], atom.parts[1]
            for part in atom.parts:
                yield from broadcasts(part)


def same_when_met(size: Size, target: Size) -> bool:
    """True where ``size`` is ``target`` whenever it is ``target`` or 1.

    >>> n = symbol("n")
    >>> same_when_met(minimum(n, 512), n), same_when_met(symbol("m"), n)
    (True, False)
    """
    parts = called(size, LEAST)
    others = [part for part in parts if part != target]
    return size == target or (len(others) < len(parts) and all(isinstance(part, int) and part > 1 for part in others))


def least(parts: Iterable[Size]) -> Size:
    """The least of sizes as they are written: in one order, none twice, of numbers only one."""
    given = list(parts)
    numbers = [part for part in given if not isinstance(part, Dim)]
    symbolic = sorted({part for part in given if isinstance(part, Dim)}, key=str)
    kept: list[Size] = [min(numbers), *symbolic] if numbers else [*symbolic]
    return kept[0] if len(kept) == 1 else _call(LEAST, *kept)


def minimum(*sizes: Size) -> Size:
    """The least of sizes in normal form, with what they have in common taken out, so that pieces add up to the whole.

    >>> n = symbol("n")
    >>> minimum(n, 3), minimum(n, n + 1), minimum(n - 3, 0), minimum(minimum(n, 3) + 2, 4)
    (min(3, n), n, min(3, n) - 3, min(2, n) + 2)
    """
    parts, shared = list(sizes), list[tuple[Size, int]]()
    while any(isinstance(part, Dim) for part in parts):
        terms = [dict(_terms(part)) for part in parts]
        common = _normal({mono: min(held.get(mono, 0) for held in terms) for held in terms for mono in held})
        shared.append((common, 1))
        pieces = [piece for part in parts for piece in _pieces(combine(((part, 1), (common, -1))))]
        parts = []
        for k, piece in enumerate(pieces):
            if not any(_not_negative(piece - other, QUICK) for other in (*parts, *pieces[k + 1 :])):
                parts.append(piece)
        if common == 0 and len(parts) == len(terms):
            break
    return combine((*shared, (least(parts), 1)))


def maximum(left: Size, right: Size) -> Size:
    """The larger of two sizes.

    >>> n = symbol("n")
    >>> maximum(n, 3), maximum(n - 3, 0) + minimum(n, 3)
    (n - min(3, n) + 3, n)
    """
    return combine(((left, 1), (right, 1), (minimum(left, right), -1)))


def _pieces(size: Size) -> tuple[Size, ...]:
    """Sizes that ``size`` is the least of: several where it is a number of times one `LEAST`, and more behind it."""
    if isinstance(size, Dim):
        found = [(mono, c) for mono, c in size.terms if any(_function(atom) is LEAST for atom, _ in mono)]
        if len(found) == 1 and found[0][1] > 0:
            ((mono, c),) = found
            rest = combine(((size, 1), (Dim(((mono, c),)), -1)))
            parts = called(Dim(((mono, 1),)), LEAST)
            return tuple(combine(((rest, 1), (part, c))) for part in parts) or (size,)
    return (size,)


def bound(index: Size, size: Size) -> Size:
    """Where a slice of an axis of ``size`` begins or ends, by Python's rules: below 0 from the end, cut to the axis.

    >>> n = symbol("n")
    >>> bound(3, n), bound(-3, n), bound(n + 1, n), bound(n - 3, n)
    (min(3, n), n - min(3, n), n, bound(n - 3, n))
    """
    if at_most(0, index):
        return minimum(index, size)
    if at_most(index, -1):
        return size - minimum(-index, size)
    return _call(BOUND, index, size)


QUICK, PROOF = 8, 64  # attempts, at most


def at_most(left: Size, right: Size) -> bool:
    """True where ``left <= right`` can be seen to hold whatever the symbols are, none of them below zero.

    >>> n = symbol("n")
    >>> at_most(n, n + 1), at_most(minimum(n, 3), 3), at_most((n + 1) // 2 * 2, n + 1), at_most(n, 5)
    (True, True, True, False)
    """
    return left <= right if isinstance(left, int) and isinstance(right, int) else _not_negative(right - left, PROOF)


def _not_negative(size: Size, attempts: int) -> bool:
    """Whether ``size >= 0`` follows from bounds of its atoms, put in their place one after the other.

    A least that is added is one of its parts, whichever; one that is taken off is at most each. ``a // k * k`` lies
    between ``a - k + 1`` and ``a``, a bound between 0 and its axis.
    """
    if attempts <= 1 or not isinstance(size, Dim) or _terms_not_negative(size, attempts):
        return _terms_not_negative(size, attempts)
    for mono, c, atom in sorted(_calls(size), key=lambda call: _order(call[1], call[2])):
        factor = product(_atom(a) for a, p in mono if a != atom for _ in range(p))
        if not _terms_not_negative(factor, attempts):
            continue
        rest = combine(((size, 1), (multiply(factor, _atom(atom)), -c)))

        def with_value(value: Size, scale: int = 1, rest: Size = rest, factor: Size = factor, c: int = c) -> Size:
            return combine(((rest, scale), (multiply(factor, value), c)))

        each = attempts // (len(atom.parts) + 1)
        if atom.function is LEAST:
            proofs = (_not_negative(with_value(part), each) for part in atom.parts)
            return any(proofs) if c < 0 else all(proofs)
        if atom.function is BOUND:
            return _not_negative(with_value(atom.parts[1] if c < 0 else 0), each)
        left, right = (*atom.parts, 0)[:2]
        if atom.function is QUOTIENT and isinstance(right, int) and right > 0:
            return _not_negative(with_value(left if c < 0 else left - (right - 1), right), attempts - 1)
    return False


def _order(coefficient: int, atom: Call) -> int:
    """What loses nothing comes first."""
    gaining = coefficient < 0
    return {LEAST: 2 if gaining else 0, QUOTIENT: 1 if gaining else 3}.get(atom.function, 4)


def _calls(size: Dim) -> list[tuple[Monomial, int, Call]]:
    return [(mono, c, atom) for mono, c in size.terms for atom, p in mono if isinstance(atom, Call) and p == 1]


def _terms_not_negative(size: Size, attempts: int) -> bool:
    """Whether every term of ``size`` is at least 0."""
    if not isinstance(size, Dim):
        return size >= 0
    return all(c > 0 and all(_atom_not_negative(atom, attempts // 2) for atom, _ in mono) for mono, c in size.terms)


def _atom_not_negative(atom: Atom, attempts: int) -> bool:
    of_parts = _function(atom) in (QUOTIENT, BROADCAST, LEAST)
    return not of_parts or all(_not_negative(part, attempts) for part in atom.parts)  # type: ignore[union-attr]


def not_one(size: Size) -> Size:
    """1, or 0 where ``size`` is 1."""
    return _call(NOT_ONE, size) if isinstance(size, Dim) else int(size != 1)


def step_along(size: Size, target: Size) -> Size:
    """The step along an axis of ``size``, which is ``target`` or 1, for each step along one of ``target``."""
    return 1 if same_when_met(size, target) else not_one(size)


def is_stride(step: Size) -> bool:
    """True for a step between elements that cannot turn out 0 (a broadcast axis) or negative (a reversed one).

    It may be 0 where an axis is empty.

    >>> n = symbol("n")
    >>> is_stride(n + 1), is_stride(-n), is_stride(not_one(n))
    (True, False, False)
    """
    if not isinstance(step, Dim):
        return step > 0
    return at_most(0, step) and not any(_function(a) is NOT_ONE for mono, _ in step.terms for a, _ in mono)


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


def symbol_name(size: Size) -> str | None:
    """The name where ``size`` is one bare symbol, else None."""
    atom = _alone(size)
    return atom.name if isinstance(atom, Symbol) else None


def source(size: Size, name: Callable[[str], str]) -> str:
    """A Python expression for ``size``, with each symbol written as ``name(symbol)``."""
    if not isinstance(size, Dim):
        return str(size)

    def atom_text(atom: Atom) -> str:
        if isinstance(atom, Symbol):
            return name(atom.name)
        return atom.function.source(*(source(part, name) for part in atom.parts))

    return " + ".join(
        "*".join([str(c)] * (c != 1 or not mono) + [atom_text(a) for a, p in mono for _ in range(p)])
        for mono, c in size.terms
    )


MAKERS: dict[Function, Callable[..., Size]] = {
    QUOTIENT: floor_divide, BROADCAST: broadcast, LEAST: minimum, BOUND: bound, NOT_ONE: not_one,
}  # fmt: skip


def rename(size: Size, names: Mapping[str, Size]) -> Size:
    """``size`` with symbols replaced by sizes."""
    if not isinstance(size, Dim):
        return size
    total: Size = 0
    for mono, coefficient in size.terms:
        term: Size = coefficient
        for atom, power in mono:
            if isinstance(atom, Symbol):
                value = names.get(atom.name, _atom(atom))
            else:
                value = MAKERS[atom.function](*(rename(part, names) for part in atom.parts))
            for _ in range(power):
                term = multiply(term, value)
        total = combine(((total, 1), (term, 1)))
    return total
