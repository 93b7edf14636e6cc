"""Reductions, matrix products, movement and indexing in ONNX."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from graphc.errors import ExportError
from graphc.ir import dims
from graphc.ir.dims import Size
from graphc.ir.types import BOOL, INT64, UINT8, DType, Shape, TensorType, broadcast_shapes, dtype_of, is_float, limits
from graphc.onnx.elementwise import INT32, Rule, Site, widened
from graphc.onnx.model import FARTHEST, Value

# ---- reductions


def _reduce(type: str, at: Site, x: Value) -> Value:
    axes, keep = at.attrs["axes"], int(at.attrs["keepdims"])
    if not axes:
        return x
    if type != "ReduceSum" and at.model.opset < 18:  # axes were an attribute
        return x.op(type, axes=list(axes), keepdims=keep)
    return x.op(type, at.model.vector(axes), keepdims=keep)


def folded(type: str) -> Rule:
    """A sum or product; integers and bools are folded in the result's dtype."""
    return lambda at, x: _reduce(type, at, x.cast(at.type.dtype))


def extreme(type: str) -> Rule:
    """NaN where there is one, which ONNX leaves open."""

    def rule(at: Site, x: Value) -> Value:
        if not is_float(x.dtype):
            return _reduce(type, at, x)
        found = _reduce("ReduceMax", at, x.is_nan().cast(INT32)).cast(BOOL)
        return found.select(math.nan, _reduce(type, at, x))

    return widened(rule)


def any_(at: Site, x: Value) -> Value:
    return _reduce("ReduceSum", at, x.cast(INT64)) > 0


def all_(at: Site, x: Value) -> Value:
    return _reduce("ReduceSum", at, (~x).cast(INT64)).equals(0)


def sum_broadcast(at: Site, x: Value) -> Value:
    """A sum over the axes whose size turns out to be 1 in the result."""
    m = at.model
    apart = ~m.vector(at.attrs["operand_shape"]).equals(m.vector(at.attrs["shape"]))
    axes = apart.op("NonZero", dtype=INT64).op("Squeeze", m.vector([0]))
    return x.op("ReduceSum", axes, keepdims=1, noop_with_empty_axes=1)


# ---- products


def matmul(at: Site, a: Value, b: Value) -> Value:
    """Stacked products over nothing are zero; ONNX Runtime leaves transposed ones as its memory was."""
    y, inner = a.op("MatMul", b), at.types[0].shape[-1]
    certain = at.type.ndim < 3 or (isinstance(inner, int) and inner > 0)
    return y if certain else at.model.scalar(inner).equals(0).select(0, y)


# ---- movement


def reshape(at: Site, x: Value) -> Value:
    """A symbolic size that stays where it is is copied, by 0; one that is the only one is the rest, by -1."""
    shape, given = at.attrs["shape"], at.types[0].shape
    symbolic = [k for k, s in enumerate(shape) if not isinstance(s, int)]
    if symbolic and 0 not in shape:
        if all(given[k : k + 1] == (shape[k],) for k in symbolic):
            return x.op("Reshape", at.model.vector([0 if k in symbolic else s for k, s in enumerate(shape)]))
        if len(symbolic) == 1 and at.types[0].size == at.type.size:
            return x.op("Reshape", at.model.vector([-1 if k in symbolic else s for k, s in enumerate(shape)]))
    return x.reshape(shape)


def broadcast_to(at: Site, x: Value) -> Value:
    return x.op("Expand", at.model.vector(at.attrs["shape"]))


def permute_dims(at: Site, x: Value) -> Value:
    return _permuted(x, at.attrs["axes"])


def _permuted(x: Value, axes: Sequence[int]) -> Value:
    return x if list(axes) == sorted(axes) else x.op("Transpose", perm=list(axes))


def slice_(at: Site, x: Value) -> Value:
    return _slice(x, at.types[0].shape, at.attrs["start"], at.attrs["step"], at.attrs["size"])


def _slice(x: Value, shape: Shape, start: Sequence[Size], step: Sequence[int], size: Sequence[Size]) -> Value:
    axes = [a for a in range(len(shape)) if (start[a], step[a], size[a]) != (0, 1, shape[a])]
    if not axes:
        return x
    m = x.model
    ends = [_end(start[a], step[a], size[a]) for a in axes]
    end = m.vector(ends)
    if any(step[a] < 0 and not isinstance(e, int) for a, e in zip(axes, ends, strict=True)):
        end = (end < 0).select(FARTHEST, end)
    return x.op("Slice", m.vector([start[a] for a in axes]), end, m.vector(axes), m.vector([step[a] for a in axes]))


def _end(start: Size, step: int, size: Size) -> Size:
    """One step behind the last element; before the first, it would count from the end."""
    end = start + dims.multiply(step, size)
    return FARTHEST if isinstance(end, int) and end < 0 else end


def concat(at: Site, *operands: Value) -> Value:
    return at.model.node("Concat", operands, at.type.dtype, axis=at.attrs["axis"])


def place(at: Site, x: Value) -> Value:
    """Elements at ``start + step * k`` of a result that is ``fill`` elsewhere."""
    m, given, shape = at.model, at.types[0].shape, at.attrs["shape"]
    start, step = at.attrs["start"], at.attrs["step"]
    fill = x.like(at.attrs["fill"])
    for a in [a for a, s in enumerate(step) if s != 1]:
        # each position of the result looks up its element, or the one of ``fill`` put behind the last
        offset = m.scalar(0).op("Range", m.scalar(shape[a]), m.scalar(1)) - m.scalar(start[a])
        rest = offset.op("Mod", step[a])
        k = (offset - rest) / step[a]
        hit = rest.equals(0) & (k >= 0) & (k < m.scalar(given[a]))
        behind = [0] * len(shape) + [int(b == a) for b in range(len(shape))]
        padded = x.op("Pad", m.vector(behind), fill)
        x = padded.op("Gather", hit.select(k, m.scalar(given[a])), axis=a)
    around = [
        [0 if s != 1 else start[a] if before else shape[a] - start[a] - given[a] for a, s in enumerate(step)]
        for before in (True, False)
    ]
    flat = [*around[0], *around[1]]
    return x if all(isinstance(w, int) and w == 0 for w in flat) else x.op("Pad", m.vector(flat), fill)


# ---- indices that are data


def take(at: Site, x: Value, index: Value) -> Value:
    return x.op("Gather", index.cast(INT64), axis=at.attrs["axis"])


def scatter(reduction: str, identity: Callable[[DType], Any]) -> Rule:
    """Rows that are combined with what lies at their places: NaN where there is one, which ONNX leaves open."""

    def rule(at: Site, index: Value, updates: Value) -> Value:
        out = _scatter(at, index, updates, reduction, identity(updates.dtype))
        if reduction not in ("max", "min") or not is_float(updates.dtype):
            return out
        found = _scatter(at, index, updates.is_nan().cast(INT32), "max", 0).cast(BOOL)
        return found.select(math.nan, out)

    return rule


def _scatter(at: Site, index: Value, updates: Value, reduction: str, first: Any) -> Value:
    """The axis of the index comes first on the way."""
    m, axis, rank = at.model, at.attrs["axis"], at.types[0].ndim
    if reduction in ("max", "min") and m.opset < 18:
        raise ExportError(f"ONNX has the reduction {reduction} of ScatterND since opset 18, not in {m.opset}")
    before, inner = list(range(axis)), list(range(axis, axis + rank))
    after = list(range(axis + rank, at.types[1].ndim))
    shape = [at.attrs["size"], *(at.types[1].shape[a] for a in before + after)]
    value = m.onnx.numpy_helper.from_array(np.full(1, first, updates.dtype))
    start = m.node("ConstantOfShape", [m.vector(shape)], updates.dtype, value=value)
    places = index.cast(INT64).op("Unsqueeze", m.vector([rank]))
    out = start.op("ScatterND", places, _permuted(updates, inner + before + after), reduction=reduction)
    return _permuted(out, [*range(1, axis + 1), 0, *range(axis + 1, at.type.ndim)])


def _stacked(at: Site, indices: Sequence[Value], types: Sequence[TensorType]) -> tuple[Value, int]:
    """Indices broadcast against one another, side by side along a new last axis, and how many axes they had."""
    m, met = at.model, broadcast_shapes(*(t.shape for t in types))
    wide = [i.cast(INT64).op("Expand", m.vector(met)).op("Unsqueeze", m.vector([len(met)])) for i in indices]
    return m.node("Concat", wide, INT64, axis=len(met)), len(met)


def take_points(at: Site, x: Value, *indices: Value) -> Value:
    """The axes of the indices come first on the way."""
    axes = at.attrs["axes"]
    places, rank = _stacked(at, indices, at.types[1:])
    found = _permuted(x, _fronted(axes, at.types[0].ndim)).op("GatherND", places)
    return _permuted(found, _back(range(axes[0], axes[0] + rank), at.type.ndim))


def scatter_points(at: Site, *operands: Value) -> Value:
    *indices, updates = operands
    m, axes, ndim = at.model, at.attrs["axes"], at.type.ndim
    places, rank = _stacked(at, indices, at.types[:-1])
    zero = m.onnx.numpy_helper.from_array(np.zeros(1, updates.dtype))
    shape = m.vector([at.type.shape[a] for a in _fronted(axes, ndim)])
    zeros = m.node("ConstantOfShape", [shape], updates.dtype, value=zero)
    front = _permuted(updates, _fronted(range(axes[0], axes[0] + rank), at.types[-1].ndim))
    return _permuted(zeros.op("ScatterND", places, front, reduction="add"), _back(axes, ndim))


def _fronted(axes: Sequence[int], ndim: int) -> list[int]:
    """The order in which some axes come first."""
    return [*axes, *(a for a in range(ndim) if a not in axes)]


def _back(axes: Sequence[int], ndim: int) -> list[int]:
    """The order that undoes it."""
    return [_fronted(axes, ndim).index(a) for a in range(ndim)]


# ---- along the last axis


def cumsum(at: Site, x: Value) -> Value:
    return x.op("CumSum", at.model.constant(np.array(-1, np.int32)), reverse=int(at.attrs["reverse"]))


def linear_recurrence(at: Site, a: Value, b: Value) -> Value:
    """A Scan along the last axis from 0 on; at the first step, where ``a`` is not read, it is 0."""
    m, reverse, last = at.model, int(at.attrs["reverse"]), at.type.ndim - 1
    size = at.type.shape[-1]
    first = m.scalar(0).op("Range", m.scalar(size), m.scalar(1)).equals(m.scalar(size - 1 if reverse else 0))
    zero = m.onnx.numpy_helper.from_array(np.zeros(1, b.dtype))
    start = m.node("ConstantOfShape", [m.vector(at.type.shape[:-1])], b.dtype, value=zero)
    step = m.onnx.helper
    nodes = [step.make_node("Mul", ["a", "before"], ["moved"]), step.make_node("Add", ["moved", "b"], ["after"])]
    nodes.append(step.make_node("Identity", ["after"], ["y"]))
    kind = step.np_dtype_to_tensor_dtype(b.dtype)
    values = {n: step.make_tensor_value_info(n, kind, [None] * last) for n in ("before", "a", "b", "after", "y")}
    body = step.make_graph(nodes, "step", [values[n] for n in ("before", "a", "b")], [values["after"], values["y"]])
    operands = [start, first.select(b.like(0), a), b]
    return m.node(
        "Scan", operands, b.dtype, output=1, body=body, num_scan_inputs=2,
        scan_input_axes=[last] * 2, scan_input_directions=[reverse] * 2,
        scan_output_axes=[last], scan_output_directions=[reverse],
    )  # fmt: skip


def argsort(at: Site, x: Value) -> Value:
    """By the elements, then by whether they are NaN; each time equal ones stay in order."""
    order = _order(at, x.cast(INT32) if x.dtype == UINT8 else x, at.attrs["descending"])
    if not is_float(x.dtype):
        return order
    known = x.is_nan().select(math.inf if not at.attrs["descending"] else -math.inf, x)
    order = _order(at, known, at.attrs["descending"])
    last = _order(at, x.is_nan().cast(INT32).op("GatherElements", order, axis=-1), False)
    return order.op("GatherElements", last, axis=-1)


def _order(at: Site, x: Value, descending: bool) -> Value:
    every = at.model.vector([at.types[0].shape[-1]])
    return x.model.node("TopK", [x, every], INT64, output=1, axis=-1, largest=int(descending), sorted=1)


def sort(at: Site, x: Value) -> Value:
    return x.op("GatherElements", argsort(at, x), axis=-1)


# ---- sizes


def iota(at: Site) -> Value:
    m = at.model
    return m.scalar(0).op("Range", m.scalar(at.attrs["shape"][0]), m.scalar(1)).cast(dtype_of(at.attrs["dtype"]))


def size(at: Site) -> Value:
    return at.model.scalar(at.attrs["size"])


LAYOUT: dict[str, Rule] = {
    "sum": folded("ReduceSum"), "prod": folded("ReduceProd"), "max": extreme("ReduceMax"), "min": extreme("ReduceMin"),
    "supremum": extreme("ReduceMax"),
    "any": any_, "all": all_, "sum_broadcast": sum_broadcast,
    "matmul": widened(matmul), "reshape": reshape, "broadcast_to": broadcast_to, "permute_dims": permute_dims,
    "slice": slice_, "concat": concat, "place": place, "take": take, "scatter_add": scatter("add", lambda dtype: 0),
    "scatter_max": scatter("max", lambda dtype: limits(dtype)[0]),
    "scatter_min": scatter("min", lambda dtype: limits(dtype)[1]), "scatter_multiply": scatter("mul", lambda dtype: 1),
    "take_points": take_points, "scatter_points": scatter_points,
    "cumsum": cumsum, "linear_recurrence": linear_recurrence, "argsort": argsort, "sort": sort,
    "iota": iota, "size": size,
}  # fmt: skip

__all__ = ["LAYOUT"]
