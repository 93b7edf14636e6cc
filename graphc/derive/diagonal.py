"""Examples that differ in few elements each: what seeds a Jacobian matrix.

A seed is 1 at an element of its own for each example. What is linear in seeds keeps that form: movements pick from
numbers of examples as from values, products with what all examples share are computed for one example, and sums have
terms of several operands side by side. So a banded matrix costs a few vectors, and only writing it costs its size. A
product of matrices with a single term picks rows. Anything else is given all zeros.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from graphc.derive.pattern import places
from graphc.ir import dims
from graphc.ir.arrays import Array
from graphc.ir.dims import Size
from graphc.ir.graph import Graph, topological
from graphc.ir.node import Node
from graphc.ir.op import Kind
from graphc.ir.tensor import Tensor
from graphc.ir.types import Shape
from graphc.ops.apply import apply
from graphc.ops.elementwise import equal, where
from graphc.ops.index import take
from graphc.ops.reduce import sum as sum_
from graphc.ops.scatter import segment_sum
from graphc.ops.shape import broadcast_to, expand_dims, filled, iota, matrix_transpose, ravel, reshape

# Operands in which an elementwise op is linear, and 0 where they are, by its name.
LINEAR = {"multiply": (0, 1), "divide": (0,), "neg": (0,), "identity": (0,), "astype": (0,)}
MOST = 32  # terms; more are written out
FEW = 8  # places that one number is copied to
KNOWN = 1 << 22  # elements of a tensor for which examples are counted


@dataclass(frozen=True, slots=True)
class Term:
    """``value`` in one example for each element, and 0 in all others. It broadcasts to the tensor's shape.

    ``own`` holds the number of that example, or -1 where there is none; None says that they go in order.
    """

    value: Tensor
    own: Array | None = None


@dataclass(frozen=True, slots=True)
class Entries:
    """``value[k]`` at element number ``at[k]`` in example ``own[k]``, each pair once; ``value`` may be one number."""

    value: Tensor
    at: Array
    own: Array


@dataclass(frozen=True, slots=True)
class Diagonal:
    """``size`` examples of a tensor of ``shape``: the sum of ``terms`` and ``entries``.

    ``compact`` says that elements are wanted one by one, and not all examples: then assemblies write nothing.
    """

    terms: tuple[Term, ...]
    shape: Shape
    size: Size
    entries: tuple[Entries, ...] = ()
    compact: bool = False

    @property
    def graph(self) -> Graph:
        return (self.terms or self.entries)[0].value.graph

    @classmethod
    def seeds(cls, value: Tensor, shape: Shape, compact: bool = False) -> Diagonal:
        """As many examples as elements, each with ``value`` at one of them."""
        return cls((Term(value),), shape, dims.product(shape), compact=compact)

    def dense(self) -> Tensor:
        """All examples, along a new first axis."""
        graph, behind = self.graph, (1,) * len(self.shape)
        example = reshape(iota(graph, self.size), (self.size, *behind))
        parts = []
        for term in self.terms:
            own = reshape(iota(graph, self.size), self.shape) if term.own is None else graph.constant(term.own)
            parts.append(where(equal(example, own), term.value, 0))
        for some in self.entries:
            part = reshape(self._spread(some), (self.size, *behind))
            if dims.product(self.shape) != 1:
                own = reshape(iota(graph, dims.product(self.shape)), self.shape)
                part = where(equal(own, int(some.at[0])), part, 0)
            parts.append(part)
        whole = parts[0]
        for part in parts[1:]:
            whole = whole + part
        return broadcast_to(whole, (self.size, *self.shape))

    def _spread(self, entries: Entries) -> Tensor:
        """The value in every example of the one element that entries stand at."""
        size, count = int(self.size), len(entries.own)  # type: ignore[call-overload]
        value = broadcast_to(entries.value, (count,))
        if count == size and np.array_equal(entries.own, np.arange(size)):
            return value
        place = np.full(size, -1)
        place[entries.own] = np.arange(count)
        picked = take(value, self.graph.constant(np.maximum(place, 0)), axis=0)
        return where(self.graph.constant(place >= 0), picked, 0)

    def own(self, term: Term) -> Array | None:
        """The number of the example of each element; None where sizes are not known, or large."""
        if term.own is not None:
            return term.own
        if not known(self.shape):
            return None
        return np.arange(dims.product(self.shape)).reshape(self.shape)  # type: ignore[arg-type]

    def listed(self, term: Term) -> Entries | None:
        """A term as entries; None where it has none."""
        own, value = self.own(term), term.value
        assert own is not None
        at = np.flatnonzero(own.ravel() >= 0)
        if not len(at):
            return None
        return Entries(_elements(value, self.shape, at if value.size != 1 else at[:1]), at, own.ravel()[at])

    def flat(self, *shape: Size) -> Tensor:
        """The elements of the only term, where they go in order, in another shape."""
        return reshape(broadcast_to(self.terms[0].value, self.shape), shape)

    @property
    def ordered(self) -> bool:
        """Whether each example has the element of its own number, and no other."""
        return len(self.terms) == 1 and self.terms[0].own is None and not self.entries

    def of(self, terms: Iterable[Term], shape: Shape, entries: Iterable[Entries] = ()) -> Diagonal | None:
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
        one: list[Entries] = []
        for some in entries:
            for k, beside in enumerate(one):
                if np.array_equal(some.at, beside.at) and np.array_equal(some.own, beside.own):
                    one[k] = Entries(some.value + beside.value, some.at, some.own)
                    break
            else:
                one.append(some)
        if len(out) + len(one) > MOST:
            return None
        return Diagonal(tuple(out), shape, self.size, tuple(one), self.compact)


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
    shape, terms, entries = node.type.shape, [], []
    first = given[held[0]]
    assert first is not None

    def made(k: int, value: Tensor, beside: Callable[[Tensor], Tensor] = lambda t: t) -> Tensor:
        """What the op makes of an operand's value; ``beside`` gives the elements of others that meet it."""
        if name == "where":
            return where(beside(shared[0]), *((value, 0) if k == 1 else (0, value)))
        if name in ("add", "subtract"):
            return -value if name == "subtract" and k == 1 else value
        others = [beside(t) for t in shared[:k]], [beside(t) for t in shared[k + 1 :]]
        return value.graph.append(node.op, [*others[0], value, *others[1]], node.attrs)

    for k in held:
        d = given[k]
        assert d is not None
        if d.shape != shape and (not known(shape) or (d.entries and dims.product(d.shape) != dims.product(shape))):
            return None
        for term in d.terms:
            own = term.own
            if d.shape != shape:
                if (own := d.own(term)) is None:
                    return None
                own = np.broadcast_to(own, shape)  # type: ignore[arg-type]
            terms.append(Term(made(k, term.value), own))
        for some in d.entries:
            at = some.at
            value = made(k, some.value, lambda t, at=at: _elements(t, shape, at))  # type: ignore[misc]
            entries.append(Entries(value, at, some.own))
    return first.of(terms, shape, entries)


def _elements(t: Tensor, shape: Shape, at: Array) -> Tensor:
    """The elements of ``t`` that meet elements number ``at`` of a tensor of ``shape``; one where that is one number."""
    if dims.product(t.shape) == 1:
        return reshape(t, (1,))
    flat, first = ravel(broadcast_to(t, shape)), int(at[0])
    count = 1 if np.all(at == first) else len(at)
    if count == 1 or np.array_equal(at, np.arange(first, first + count)):
        return apply("slice", flat, start=(first,), step=(1,), size=(count,))
    return take(flat, t.graph.constant(at), axis=0)


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
    if not known(d.shape) or not known(shape):
        return None
    terms, entries = [], []
    for term in d.terms:
        value = term.value
        if value.ndim:
            value = value.graph.append(node.op, [broadcast_to(value, d.shape), *shared[1:]], node.attrs)
        own = np.asarray(node.op.reference(d.own(term), *indices, **node.attrs))
        terms.append(Term(value, own))
    if d.entries:
        numbers = np.arange(dims.product(d.shape)).reshape(d.shape)  # type: ignore[arg-type]
        source = np.asarray(node.op.reference(numbers, *indices, **node.attrs)).ravel()
        order = np.argsort(source, kind="stable")
        for some in d.entries:
            first, last = (np.searchsorted(source[order], some.at, side) for side in ("left", "right"))
            if np.all(some.at == some.at[0]):
                if last[0] - first[0] > FEW:
                    return None
                copies = [np.full(len(some.at), at) for at in order[first[0] : last[0]]]
                entries += [Entries(some.value, at, some.own) for at in copies]
                continue
            for k in range(int((last - first).max())):
                held = np.flatnonzero(first + k < last)
                value, at = some.value, order[(first + k)[held]]
                if value.shape != (1,):
                    value = _elements(value, value.shape, held)
                entries.append(Entries(value, at, some.own[held]))
    return d.of(terms, shape, entries) if terms or entries else None


def _assembly(node: Node, shared: Sequence[Tensor], given: Sequence[Diagonal | None]) -> Diagonal | None:
    """Term by term: elements of operands that have fewer are 0, as those are that all examples share."""
    shape = node.type.shape
    if "overlapping" in node.op.facts or not all(d is not None or _zero(t) for t, d in zip(shared, given, strict=True)):
        return None
    if node.attrs.get("fill") or not all(map(known, (shape, *(t.shape for t in shared)))):
        return None
    assert node.op.regions is not None
    regions = node.op.regions(node.type, [t.type for t in shared], node.attrs)
    terms, entries = list[Term](), list[Entries]()
    held = [d for d in given if d is not None]
    graph = held[0].graph
    for t, d, region in zip(shared, given, regions, strict=True):
        if d is None:
            continue
        there = places(region, t.shape, shape).ravel()  # type: ignore[arg-type]
        entries += [Entries(some.value, there[some.at], some.own) for some in d.entries]
        if d.compact:
            entries += [Entries(some.value, there[some.at], some.own) for some in map(d.listed, d.terms) if some]
    if held[0].compact:
        return held[0].of((), shape, entries)
    for k in range(max(len(d.terms) for d in held)):
        own, values = np.full(math.prod(shape), -1), []  # type: ignore[arg-type]
        for t, d, region in zip(shared, given, regions, strict=True):
            if d is None or k >= len(d.terms):
                values.append(filled(graph, 0, t.shape, t.dtype))
                continue
            numbers = d.own(d.terms[k])
            assert numbers is not None
            own[places(region, t.shape, shape)] = numbers  # type: ignore[arg-type]
            values.append(broadcast_to(d.terms[k].value, t.shape))
        made = graph.append(node.op, values, node.attrs)
        terms.append(Term(made, own.reshape(shape)))  # type: ignore[arg-type]
    return held[0].of(terms, shape, entries)


def _sum(node: Node, shared: Sequence[Tensor], given: Sequence[Diagonal | None]) -> Diagonal | Tensor | None:
    """The sum of all elements: for each example those that are its own."""
    (d,) = given
    if d is None or node.op.name != "sum" or any(s != 1 and a not in node.attrs["axes"] for a, s in enumerate(d.shape)):
        return None
    if d.ordered and not known(d.shape):
        return d.flat(d.size, *(1,) * len(node.type.shape))
    if not known(d.shape):
        return None
    entries = []
    for some in (*d.entries, *map(d.listed, d.terms)):
        if some is None:
            continue
        examples, group = np.unique(some.own, return_inverse=True)
        value = broadcast_to(some.value, (len(some.own),))
        if len(examples) == 1:
            value = sum_(value, keepdims=True)
        elif len(examples) < len(some.own):
            value = segment_sum(value, d.graph.constant(group), len(examples))
        elif not np.array_equal(group, np.arange(len(some.own))):
            value = take(value, d.graph.constant(np.argsort(group)), axis=0)
        entries.append(Entries(value, np.zeros(len(examples), int), examples))
    return d.of((), node.type.shape, entries)


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


def followed(graph: Graph, output: Tensor, given: Mapping[int, Diagonal]) -> Diagonal | None:
    """``output`` for all examples of what ``given`` says of others; None where it does not stay a sum of few terms."""
    found = dict(given)
    for node in topological(graph, [output.id]):
        if node.id in found or not any(i in found for i in node.inputs):
            continue
        shared = [graph.tensors[i] for i in node.inputs]
        with graph.placed(node.origin, node.forward):
            made = through(node, shared, [found.get(i) for i in node.inputs])
        if not isinstance(made, Diagonal):
            return None
        found[node.id] = made
    return found.get(output.id)


Rule = Callable[[Node, Sequence[Tensor], Sequence[Diagonal | None]], Diagonal | Tensor | None]
RULES: dict[Kind, Rule] = {
    Kind.ELEMENTWISE: _elementwise,
    Kind.MOVEMENT: _movement,
    Kind.GATHER: _movement,
    Kind.ASSEMBLY: _assembly,
    Kind.REDUCTION: _sum,
    Kind.CONTRACTION: _contraction,
}

__all__ = ["Diagonal", "followed", "through"]
