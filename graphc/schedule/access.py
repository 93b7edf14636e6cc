"""Where a statement finds an operand's element: movements resolved to indices into the tensor with the data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from graphc.ir import dims
from graphc.ir.dims import Size
from graphc.ir.graph import Graph
from graphc.ir.node import Node
from graphc.ir.op import IndexMap, Kind
from graphc.ir.types import Shape


@dataclass(frozen=True, slots=True)
class Index:
    """Index along one axis: ``start + step * i[level]``, ``i`` the loop counters, outermost first.

    With ``slot`` the counter's place is taken by the value of the statement's operand in that slot (a gather). All of
    ``more`` is added: the place in a window to that of the window.
    """

    level: int | None
    start: Size = 0
    step: Size = 0
    slot: int | None = None
    more: tuple[Index, ...] = ()

    @property
    def plain(self) -> bool:
        """Exactly the loop's counter."""
        return self.level is not None and self.start == 0 and self.step == 1 and not self.more

    @property
    def terms(self) -> tuple[Index, ...]:
        """All that is added up."""
        return (self, *self.more)

    @property
    def levels(self) -> set[int]:
        """The loops whose counters it depends on."""
        return {term.level for term in self.terms if term.level is not None}

    def without(self, levels: Callable[[int], bool]) -> Index:
        """The same where the counters of these levels are 0."""
        if not any(map(levels, self.levels)):
            return self
        kept = [t for t in self.terms if t.level is None or not levels(t.level)]
        return added(Index(None, self.start if self not in kept else 0), *(replace(t, more=()) for t in kept))


ZERO = Index(None)


def added(*indices: Index) -> Index:
    """The sum of indices."""
    terms = [term for index in indices for term in index.terms]
    start = dims.total(term.start for term in terms)
    moving = [replace(t, start=0, more=()) for t in terms if t.level is not None or t.slot is not None]
    return replace(moving[0], start=start, more=tuple(moving[1:])) if moving else Index(None, start)


@dataclass(frozen=True, slots=True)
class Access:
    """An element of tensor ``root``: one index for each of its axes. ``gates`` are range tests passed on the way."""

    root: int
    index: tuple[Index, ...]
    gates: tuple[int, ...] = ()


def levels_of(shape: Shape) -> tuple[tuple[Size, ...], tuple[Index, ...]]:
    """Loop sizes over ``shape``, axes of size 1 left out, and the index of each axis."""
    sizes: list[Size] = []
    index = []
    for size in shape:
        if size == 1:
            index.append(ZERO)
        else:
            index.append(Index(len(sizes), 0, 1))
            sizes.append(size)
    return tuple(sizes), tuple(index)


def broadcast_index(shape: Shape, domain: Shape, index: tuple[Index, ...]) -> tuple[Index, ...]:
    """Indices into an operand of ``shape`` that is broadcast to ``domain``, whose own indices are ``index``."""
    offset = len(domain) - len(shape)
    return tuple(_stretched(index[axis + offset], size, domain[axis + offset]) for axis, size in enumerate(shape))


def _stretched(index: Index, size: Size, target: Size) -> Index:
    """``index`` along an axis of ``target`` elements, for an axis of ``size``, which is ``target`` or 1 when called."""
    return ZERO if size == 1 else _moved(index, 0, dims.step_along(size, target))


def _moved(index: Index, start: Size, step: Size) -> Index:
    """``start + step * index``."""
    if step == 1:
        return index if start == 0 else replace(index, start=start + index.start)
    more = tuple(_moved(term, 0, step) for term in index.more)
    first, along = dims.multiply(step, index.start), dims.multiply(step, index.step)
    return replace(index, start=start + first, step=along, more=more)


def through(index_map: IndexMap, index: tuple[Index, ...]) -> tuple[Index, ...]:
    """Indices into a movement's operand, given those into its result."""
    found = [
        Index(None, start, 0) if axis is None else _moved(index[axis], start, step)
        for axis, start, step in index_map.axes
    ]
    for indexed, axis, step in index_map.also:
        found[indexed] = added(found[indexed], _moved(index[axis], 0, step))
    return tuple(found)


def resolve(graph: Graph, tensor: int, index: tuple[Index, ...]) -> Access:
    """Follows movement ops and range tests from ``tensor`` down to the tensor that holds the data."""
    node = graph.nodes[tensor]
    gates = []
    while True:
        if is_check(node):
            gates.append(node.id)
        elif (index_map := movement(graph, node)) is not None:
            index = through(index_map, index)
        else:
            return Access(node.id, index, tuple(gates))
        node = graph.nodes[node.inputs[0]]


def is_check(node: Node) -> bool:
    """True for an op whose result is its operand, once tested to lie in range."""
    return "index_check" in node.op.facts


def movement(graph: Graph, node: Node) -> IndexMap | None:
    """The index map of a movement; None for any other node, and for one that only changes the shape of the memory."""
    if node.op.kind is not Kind.MOVEMENT or node.op.view is None:
        return None
    return node.op.view(node.type, [graph.nodes[i].type for i in node.inputs], node.attrs)


def is_formula(node: Node) -> bool:
    """True for a value that its index alone gives (iota, sizes, a number): written where it is read, never stored."""
    if node.op.name == "constant":
        return node.type.shape == ()
    return node.op.kind is Kind.GENERATOR and not node.inputs


def is_alias(graph: Graph, node: Node) -> bool:
    """True for a movement whose result is its operand's memory in another shape."""
    return node.op.kind is Kind.MOVEMENT and movement(graph, node) is None


def row_major(shape: Shape) -> tuple[Size, ...]:
    """Elements between neighbours along each axis of a C-ordered array.

    >>> row_major((2, 3, 4))
    (12, 4, 1)
    """
    out: list[Size] = []
    step: Size = 1
    for size in reversed(shape):
        out.append(step)
        step = dims.multiply(step, size)
    return tuple(reversed(out))


ALIGNMENT = 64  # bytes


def padded(elements: Size, itemsize: int) -> Size:
    """Elements in whole cache lines."""
    line = ALIGNMENT // itemsize
    return dims.multiply(dims.floor_divide(elements + (line - 1), line), line)


def strides(graph: Graph, access: Access) -> dict[int, Size] | None:
    """Loop level -> elements between its steps, for an operand in memory; None where a formula or data gives it."""
    node = graph.nodes[access.root]
    if is_formula(node) or any(term.slot is not None for ix in access.index for term in ix.terms):
        return None
    return steps_of(access.index, node.type.shape)


def steps_of(index: tuple[Index, ...], shape: Shape) -> dict[int, Size]:
    """Loop level -> elements between its steps in a C-ordered array."""
    found: dict[int, Size] = {}
    for ix, step in zip(index, row_major(shape), strict=True):
        for term in ix.terms:
            if term.level is not None:
                found[term.level] = found.get(term.level, 0) + dims.multiply(term.step, step)
    return found
