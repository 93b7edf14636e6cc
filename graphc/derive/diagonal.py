"""Examples that differ in few elements each: what seeds a Jacobian matrix.

A seed is 1 at an element of its own for each example. What is linear in seeds keeps that form: movements pick from
numbers of examples as from values, products with what all examples share are computed for one example, and sums have
terms of several operands side by side. So a banded matrix costs a few vectors, and only writing it costs its size. A
product of matrices with a single term picks rows. Anything else is given all zeros.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from graphc.derive.pattern import places
from graphc.ir import dims
from graphc.ir.arrays import Array
from graphc.ir.dims import Size
from graphc.ir.node import Node
from graphc.ir.op import Kind
from graphc.ir.tensor import Tensor
from graphc.ir.types import Shape
from graphc.ops.elementwise import equal, where
from graphc.ops.index import take
from graphc.ops.shape import broadcast_to, expand_dims, filled, iota, matrix_transpose, ravel, reshape

# Operands in which an elementwise op is linear, and 0 where they are, by its name.
LINEAR = {"multiply": (0, 1), "divide": (0,), "neg": (0,), "identity": (0,), "astype": (0,)}
MOST = 32  # terms; more are written out
KNOWN = 1 << 22  # elements of a tensor for which examples are counted


@dataclass(frozen=True, slots=True)
class Term:
    """``value`` in one example for each element, and 0 in all others. It broadcasts to the tensor's shape.

    ``own`` holds the number of that example, or -1 where there is none; None says that they go in order.
    """

    value: Tensor
    own: Array | None = None


@dataclass(frozen=True, slots=True)
class Diagonal:
    """``size`` examples of a tensor of ``shape``: the sum of ``terms``."""

    terms: tuple[Term, ...]
    shape: Shape
    size: Size

    @classmethod
    def seeds(cls, value: Tensor, shape: Shape) -> Diagonal:
        """As many examples as elements, each with ``value`` at one of them."""
        return cls((Term(value),), shape, dims.product(shape))

    def dense(self) -> Tensor:
        """All examples, along a new first axis."""
        graph = self.terms[0].value.graph
        example = reshape(iota(graph, self.size), (self.size, *(1,) * len(self.shape)))
        parts = []
        for term in self.terms:
            own = reshape(iota(graph, self.size), self.shape) if term.own is None else graph.constant(term.own)
            parts.append(where(equal(example, own), term.value, 0))
        whole = parts[0]
        for part in parts[1:]:
            whole = whole + part
        return broadcast_to(whole, (self.size, *self.shape))

    def own(self, term: Term) -> Array | None:
        """The number of the example of each element; None where sizes are not known, or large."""
        if term.own is not None:
            return term.own
        if not known(self.shape):
            return None
        return np.arange(dims.product(self.shape)).reshape(self.shape)  # type: ignore[arg-type]

    def flat(self, *shape: Size) -> Tensor:
        """The elements of the only term, where they go in order, in another shape."""
        return reshape(broadcast_to(self.terms[0].value, self.shape), shape)

    @property
    def ordered(self) -> bool:
        """Whether each example has the element of its own number, and no other."""
        return len(self.terms) == 1 and self.terms[0].own is None

    def of(self, terms: Iterable[Term], shape: Shape) -> Diagonal | None:
        """The same examples of another tensor. Terms in which no element has two examples become one."""
        terms, out = list(terms), list[Term]()
        if len({t.own is None for t in terms}) == 2:
            there = Diagonal((), shape, self.size)
            terms = [Term(t.value, there.own(t)) for t in terms]
            if any(t.own is None for t in terms):
                return None
        for term in terms:
            for k, held in enumerate(out):
                if (both := _joined(held, term)) is not None:
                    out[k] = both
                    break
            else:
                out.append(term)
        return Diagonal(tuple(out), shape, self.size) if len(out) <= MOST else None


def known(shape: Shape) -> bool:
    """Whether the numbers of a tensor's elements can be had."""
    return all(isinstance(s, int) for s in shape) and dims.at_most(dims.product(shape), KNOWN)


def _joined(a: Term, b: Term) -> Term | None:
    """The sum of two terms as one."""
    if a.own is None or b.own is None:
        return Term(a.value + b.value) if a.own is b.own else None
    if np.any((a.own != b.own) & (a.own >= 0) & (b.own >= 0)):
        return None
    values = [
        t.value if np.all(t.own >= 0) else where(t.value.graph.constant(t.own >= 0), t.value, 0)  # type: ignore[operator]
        for t in (a, b)
    ]
    return Term(values[0] + values[1], np.maximum(a.own, b.own))


def through(node: Node, shared: Sequence[Tensor], given: Sequence[Diagonal | None]) -> Diagonal | Tensor | None:
    """What a node makes of diagonals and of operands that are the same for all examples: a diagonal again, or all
    examples along a new first axis, or None where it is to be computed of all examples."""
    rule = RULES.get(node.op.kind)
    return None if rule is None else rule(node, shared, given)


def _elementwise(node: Node, shared: Sequence[Tensor], given: Sequence[Diagonal | None]) -> Diagonal | None:
    name, held = node.op.name, [k for k, d in enumerate(given) if d is not None]
    if name in ("add", "subtract"):
        linear = len(held) == len(given)
    elif name == "where":
        linear = 0 not in held and all(given[k] is not None or _zero(shared[k]) for k in (1, 2))
    else:
        linear = len(held) == 1 and held[0] in LINEAR.get(name, ())
    if not linear:
        return None
    shape, terms = node.type.shape, []
    first = given[held[0]]
    assert first is not None
    for k in held:
        d = given[k]
        assert d is not None
        for term in d.terms:
            value, own = term.value, term.own
            if d.shape != shape:
                if (own := d.own(term)) is None or not known(shape):
                    return None
                own = np.broadcast_to(own, shape)  # type: ignore[arg-type]
            if name == "where":
                value = where(shared[0], *((value, 0) if k == 1 else (0, value)))
            elif name == "subtract" and k == 1:
                value = -value
            elif name not in ("add", "subtract"):
                value = value.graph.append(node.op, [*shared[:k], value, *shared[k + 1 :]], node.attrs)
            terms.append(Term(value, own))
    return first.of(terms, shape)


def _zero(t: Tensor) -> bool:
    while t.op.kind is Kind.MOVEMENT:
        t = t.inputs[0]
    return t.op.name == "constant" and not np.any(t.node.value)


def _movement(node: Node, shared: Sequence[Tensor], given: Sequence[Diagonal | None]) -> Diagonal | None:
    """Movements, and gathers at indices that are always the same."""
    d, *others = given
    indices = [t.node.value for t in shared[1:]]
    if d is None or any(o is not None for o in others) or any(i is None for i in indices):
        return None
    shape = node.type.shape
    if node.op.name == "reshape" and d.ordered:
        value = d.terms[0].value
        return Diagonal((Term(value if value.ndim == 0 else d.flat(*shape)),), shape, d.size)
    terms = []
    for term in d.terms:
        if (own := d.own(term)) is None or not known(shape):
            return None
        value = term.value
        if value.ndim:
            value = value.graph.append(node.op, [broadcast_to(value, d.shape), *shared[1:]], node.attrs)
        terms.append(Term(value, np.asarray(node.op.reference(own, *indices, **node.attrs))))
    return d.of(terms, shape)


def _assembly(node: Node, shared: Sequence[Tensor], given: Sequence[Diagonal | None]) -> Diagonal | None:
    """Term by term: elements of operands that have fewer are 0, as those are that all examples share."""
    shape = node.type.shape
    if "overlapping" in node.op.facts or not all(d is not None or _zero(t) for t, d in zip(shared, given, strict=True)):
        return None
    if node.attrs.get("fill") or not all(map(known, (shape, *(t.shape for t in shared)))):
        return None
    assert node.op.regions is not None
    regions = node.op.regions(node.type, [t.type for t in shared], node.attrs)
    terms: list[Term] = []
    held = [d for d in given if d is not None]
    graph = held[0].terms[0].value.graph
    for k in range(max(len(d.terms) for d in held)):
        own, values = np.full(math.prod(shape), -1), []  # type: ignore[arg-type]
        for t, d, region in zip(shared, given, regions, strict=True):
            if d is None or k >= len(d.terms):
                values.append(filled(graph, 0, t.shape, t.dtype))
                continue
            if (numbers := d.own(d.terms[k])) is None:
                return None
            own[places(region, numbers.shape, shape)] = numbers  # type: ignore[arg-type]
            values.append(broadcast_to(d.terms[k].value, t.shape))
        made = graph.append(node.op, values, node.attrs)
        terms.append(Term(made, own.reshape(shape)))  # type: ignore[arg-type]
    return held[0].of(terms, shape)


def _sum(node: Node, shared: Sequence[Tensor], given: Sequence[Diagonal | None]) -> Tensor | None:
    """The sum of all elements: for each example the elements that are its own."""
    (d,) = given
    if d is None or node.op.name != "sum" or any(s != 1 and a not in node.attrs["axes"] for a, s in enumerate(d.shape)):
        return None
    behind = (1,) * len(node.type.shape)
    if d.ordered:
        return d.flat(d.size, *behind)
    total: Tensor | None = None
    for term in d.terms:
        own = d.own(term)
        if own is None or not isinstance(d.size, int):
            return None
        place = np.full(d.size, -1)
        some = own.ravel() >= 0
        place[own.ravel()[some]] = np.flatnonzero(some)
        if np.count_nonzero(place >= 0) < np.count_nonzero(some):  # an example has several elements
            return None
        graph = term.value.graph
        picked = take(ravel(broadcast_to(term.value, d.shape)), graph.constant(np.maximum(place, 0)), axis=0)
        picked = where(graph.constant(place >= 0), picked, 0)
        total = picked if total is None else total + picked
    return None if total is None else reshape(total, (d.size, *behind))


def _contraction(node: Node, shared: Sequence[Tensor], given: Sequence[Diagonal | None]) -> Tensor | None:
    held = [d for d in given if d is not None]
    if len(held) != 1 or not held[0].ordered or not len(held[0].shape) == 2 == shared[0].ndim == shared[1].ndim:
        return None
    (d,), (a, b) = held, shared
    if given[0] is not None and d.shape[0] == 1:  # a row: each example picks a row of the right side
        return d.flat(d.size, 1, 1) * expand_dims(b, 1)
    if given[1] is not None and d.shape[1] == 1:
        return d.flat(d.size, 1, 1) * expand_dims(matrix_transpose(a), 2)
    return None


Rule = Callable[[Node, Sequence[Tensor], Sequence[Diagonal | None]], Diagonal | Tensor | None]
RULES: dict[Kind, Rule] = {
    Kind.ELEMENTWISE: _elementwise,
    Kind.MOVEMENT: _movement,
    Kind.GATHER: _movement,
    Kind.ASSEMBLY: _assembly,
    Kind.REDUCTION: _sum,
    Kind.CONTRACTION: _contraction,
}

__all__ = ["Diagonal", "through"]
