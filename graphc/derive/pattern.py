"""Which elements a result depends on, found from the graph: one rule for each kind of op, exact for what it reads.

A pattern is a sparse matrix of booleans, a row for each element of a tensor and a column for each element of ``x``.
A rule says which elements of an operand each element of the result reads, as such a matrix too; patterns follow by
products. Griewank and Walther, *Evaluating Derivatives*, chapter 7.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from graphc.derive.reverse import has_rule
from graphc.errors import GradientError
from graphc.ir.arrays import Array
from graphc.ir.graph import Graph, topological
from graphc.ir.node import Node
from graphc.ir.op import IndexMap, Kind, indexed, lookup
from graphc.ir.tensor import Tensor
from graphc.ir.trace import tracing
from graphc.ir.types import is_float
from graphc.reference import run_node

Matrix = Any  # scipy.sparse.csr_array
MOST = 50_000_000  # elements of a pattern
KNOWN = 1 << 22  # elements of a value that is computed to see its zeros and indices


def pattern(y: Tensor, x: Tensor) -> Matrix:
    """The pattern of the derivatives of ``y`` by ``x``, both flat. GradientError where it is too large to be made."""
    from scipy.sparse import csr_array, eye_array

    whole = eye_array(_size(x.node), dtype=bool, format="csr")
    found = _Walk(y.graph, {x.id: whole}).of(y)
    return csr_array((_size(y.node), _size(x.node)), dtype=bool) if found is None else found


def _size(node: Node) -> int:
    return math.prod(_shape(node))


def _shape(node: Node) -> tuple[int, ...]:
    if any(not isinstance(s, int) for s in node.type.shape):
        text = f"all sizes on the way must be known, found {node.name}: {node.type}"
        raise GradientError(text, node=node.name, origin=node.origin)
    return tuple(int(s) for s in node.type.shape)  # type: ignore[call-overload]


def _numbers(node: Node) -> Array:
    """The number of each element, in the node's shape."""
    return np.arange(_size(node)).reshape(_shape(node))


def reads(results: Array, operands: Array, shape: tuple[int, int]) -> Matrix:
    """The matrix in which element ``results[k]`` reads element ``operands[k]``."""
    from scipy.sparse import coo_array

    where = results.ravel(), operands.ravel()
    return coo_array((np.ones(where[0].size, bool), where), shape=shape).tocsr()


@dataclass(slots=True)
class _Walk:
    graph: Graph
    found: dict[int, Matrix]
    values: dict[int, Array | None] = field(default_factory=dict)

    def of(self, y: Tensor) -> Matrix | None:
        """The pattern of ``y``; None where it depends on nothing."""
        for node in topological(self.graph, [y.id]):
            if node.id not in self.found and any(i in self.found for i in node.inputs):
                made = self.node(node)
                if made is not None:
                    self.found[node.id] = made
        return self.found.get(y.id)

    def node(self, node: Node) -> Matrix | None:
        slots = [k for k, i in enumerate(node.inputs) if i in self.found and has_rule(self.graph, node, k)]
        if node.op.kind is Kind.RESULT and is_float(node.type.dtype):  # of a loop or branch, all of which reads all
            slots = [0] if node.inputs[0] in self.found else []
        if node.op.joint is not None:
            slots = [k for k in slots if k > node.attrs["outputs"]]  # those behind the results
        elif node.op.kind is Kind.COMPOSITE and slots:
            return self._lowered(node, slots)
        total = None
        for slot in slots:
            reading = RULES.get(node.op.kind, _all)(self, node, slot)
            part = self._through(node, reading, self.found[node.inputs[slot]])
            total = part if total is None else total + part
        return total

    def _through(self, node: Node, reading: Matrix, inner: Matrix) -> Matrix:
        size = int((reading.astype(np.int64) @ np.diff(inner.indptr)).sum())
        if size > MOST:
            _too_large(node)
        return reading @ inner

    def _lowered(self, node: Node, slots: Sequence[int]) -> Matrix | None:
        assert node.op.lower is not None
        operands = [self.graph.tensors[i] for i in node.inputs]
        with tracing(self.graph, "a pattern") as trace:
            given = {}
            for k in slots:
                operands[k] = trace.stand_in(operands[k].type, node.origin)
                given[operands[k].id] = self.found[node.inputs[k]]
            out = _Walk(self.graph, given).of(node.op.lower(node.attrs, *operands))
            trace.close()
        return out

    def value(self, id: int) -> Array | None:
        """What a node always is: made of constants alone, and not large. None for any other."""
        if id not in self.values:
            node = self.graph.nodes[id]
            made: Array | None = node.value if node.op.name == "constant" else None
            if made is None and node.op.kind is not Kind.LEAF and not (node.op.kind is Kind.GENERATOR and node.inputs):
                held = [self.value(i) for i in node.inputs]
                if all(h is not None for h in held) and _size(node) <= KNOWN:
                    made = run_node(self.graph, node, held, {})  # type: ignore[arg-type]
            self.values[id] = made
        return self.values[id]


def _too_large(node: Node) -> None:
    text = f"the pattern is not sparse: {node.name} has more than {MOST:,} pairs; use jacobian, hessian or hvp"
    raise GradientError(text, node=node.name, origin=node.origin)


# ---- what an element of the result reads of an operand


def _elementwise(walk: _Walk, node: Node, slot: int) -> Matrix:
    operand = walk.graph.nodes[node.inputs[slot]]
    out, source = _numbers(node), np.broadcast_to(_numbers(operand), _shape(node))
    if node.op.name == "where" and (condition := walk.value(node.inputs[0])) is not None:
        taken = np.broadcast_to(condition == (slot == 1), _shape(node))
        out, source = out[taken], source[taken]
    elif node.op.name == "multiply" and (factor := walk.value(node.inputs[1 - slot])) is not None:
        some = np.broadcast_to(factor != 0, _shape(node))
        out, source = out[some], source[some]
    return reads(out, source, (_size(node), _size(operand)))


def _movement(walk: _Walk, node: Node, slot: int) -> Matrix:
    operand = walk.graph.nodes[node.inputs[slot]]
    source = node.op.reference(_numbers(operand), **node.attrs)
    return reads(_numbers(node), np.asarray(source), (_size(node), _size(operand)))


def _assembly(walk: _Walk, node: Node, slot: int) -> Matrix:
    nodes = [walk.graph.nodes[i] for i in node.inputs]
    assert node.op.regions is not None
    region = node.op.regions(node.type, [n.type for n in nodes], node.attrs)[slot]
    operand = nodes[slot]
    return reads(places(region, _shape(operand), _shape(node)), _numbers(operand), (_size(node), _size(operand)))


def places(region: IndexMap, shape: tuple[int, ...], whole: tuple[int, ...]) -> Array:
    """The number, in a tensor of shape ``whole``, at which each element of a tensor of ``shape`` lies."""
    grid = np.indices(shape, sparse=True)
    along: list[Any] = [start if axis is None else start + step * grid[axis] for axis, start, step in region.axes]  # type: ignore[operator]
    for indexed_, axis, step in region.also:
        along[indexed_] = along[indexed_] + step * grid[axis]  # type: ignore[operator]
    strides = [math.prod(whole[k + 1 :]) for k in range(len(whole))]
    total = sum((np.asarray(a) * s for a, s in zip(along, strides, strict=True)), start=np.zeros((), np.int64))
    return np.broadcast_to(total, shape)


def _reduction(walk: _Walk, node: Node, slot: int) -> Matrix:
    operand = walk.graph.nodes[node.inputs[slot]]
    out = _numbers(node)
    if "axes" in node.attrs and not node.attrs["keepdims"]:
        out = np.expand_dims(out, node.attrs["axes"])
    return reads(np.broadcast_to(out, _shape(operand)), _numbers(operand), (_size(node), _size(operand)))


def _contraction(walk: _Walk, node: Node, slot: int) -> Matrix:
    operand, other = (walk.graph.nodes[node.inputs[k]] for k in (slot, 1 - slot))
    inner = _shape(operand)[-1 - slot]
    out, numbers = _numbers(node)[..., None], _numbers(operand)
    if out.size * inner > MOST:
        _too_large(node)
    source = numbers[..., :, None, :] if slot == 0 else np.swapaxes(numbers, -1, -2)[..., None, :, :]
    shape = np.broadcast_shapes(out.shape, source.shape)
    out, source = np.broadcast_to(out, shape), np.broadcast_to(source, shape)
    held = walk.value(other.id)
    if held is not None:  # zeros of a constant matrix are not read
        some = held[..., :, None, :] if slot == 1 else np.swapaxes(held, -1, -2)[..., None, :, :]
        some = np.broadcast_to(some != 0, shape)
        out, source = out[some], source[some]
    return reads(out, source, (_size(node), _size(operand)))


def _gather(walk: _Walk, node: Node, slot: int) -> Matrix:
    operand = walk.graph.nodes[node.inputs[0]]
    indices = [walk.value(i) for i in node.inputs[1:]]
    shape = _size(node), _size(operand)
    if all(i is not None for i in indices):
        source = node.op.reference(_numbers(operand), *indices, **node.attrs)
        return reads(_numbers(node), np.asarray(source), shape)
    axes = indexed(node.attrs)  # any element along these
    rank = len(_shape(node)) - (len(_shape(operand)) - len(axes))
    rows = np.moveaxis(_numbers(operand), axes, range(len(axes))).reshape(
        -1, *(s for a, s in enumerate(_shape(operand)) if a not in axes)
    )
    out = np.moveaxis(_numbers(node), range(axes[0], axes[0] + rank), range(rank))
    out = out.reshape(-1, *out.shape[rank:])
    return _crossed(walk, node, out, rows, shape)


def _scatter(walk: _Walk, node: Node, slot: int) -> Matrix:
    updates = walk.graph.nodes[node.inputs[-1]]
    indices = [walk.value(i) for i in node.inputs[:-1]]
    shape, axes = (_size(node), _size(updates)), indexed(node.attrs)
    if all(i is not None for i in indices):
        name, at = ("take", {"axis": axes[0]}) if "axis" in node.attrs else ("take_points", {"axes": axes})
        places = lookup(name).reference(_numbers(node), *indices, **at)
        return reads(np.asarray(places), _numbers(updates), shape)
    rank = len(_shape(updates)) - (len(_shape(node)) - len(axes))
    source = np.moveaxis(_numbers(updates), range(axes[0], axes[0] + rank), range(rank))
    source = source.reshape(-1, *source.shape[rank:])
    out = np.moveaxis(_numbers(node), axes, range(len(axes)))
    return _crossed(walk, node, out.reshape(-1, *out.shape[len(axes) :]), source, shape)


def _crossed(walk: _Walk, node: Node, out: Array, source: Array, shape: tuple[int, int]) -> Matrix:
    """Each of the first axis of ``out`` reads all along that of ``source``; the other axes are in step."""
    if out.size * source.shape[0] > MOST:
        _too_large(node)
    whole = np.broadcast_shapes(out[:, None].shape, source[None].shape)
    return reads(np.broadcast_to(out[:, None], whole), np.broadcast_to(source[None], whole), shape)


def _routine(walk: _Walk, node: Node, slot: int) -> Matrix:
    """All of a row or matrix reads all of it."""
    operand = walk.graph.nodes[node.inputs[slot]]
    assert node.op.core is not None
    lead = math.prod(_shape(operand)[: len(_shape(operand)) - node.op.core[slot]])
    out, source = _numbers(node).reshape(lead, -1).T, _numbers(operand).reshape(lead, -1).T
    return _crossed(walk, node, out, source, (_size(node), _size(operand)))


def _all(walk: _Walk, node: Node, slot: int) -> Matrix:
    """Every element reads every one."""
    operand = walk.graph.nodes[node.inputs[slot]]
    out, source = _numbers(node).reshape(-1), _numbers(operand).reshape(-1)
    return _crossed(walk, node, out, source, (_size(node), _size(operand)))


Rule = Callable[[_Walk, Node, int], Matrix]
RULES: Mapping[Kind, Rule] = {
    Kind.ELEMENTWISE: _elementwise,
    Kind.MOVEMENT: _movement,
    Kind.ASSEMBLY: _assembly,
    Kind.REDUCTION: _reduction,
    Kind.CONTRACTION: _contraction,
    Kind.GATHER: _gather,
    Kind.SCATTER: _scatter,
    Kind.ROUTINE: _routine,
}

__all__ = ["pattern", "places"]
