"""ONNX's reductions, movement and indexing as graphc's functions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from graphc.ir import dims
from graphc.ir.dims import Size
from graphc.ir.tensor import Tensor
from graphc.ir.types import INT64, normalize_axes
from graphc.onnx.reading.elementwise import Reader
from graphc.onnx.reading.held import Reading
from graphc.ops import assembly, index, reduce, shape
from graphc.ops import elementwise as e
from graphc.ops import functions as f
from graphc.ops.apply import apply, cast
from graphc.ops.softmax import logsumexp

FAR = (1 << 31) - 1  # what writers put for the end of an axis that they do not know

# ---- reductions


def reduction(function: Callable[..., Tensor]) -> Reader:
    """Axes are an attribute in old opsets, an operand in new ones; none means all, or none at all."""

    def read(at: Reading) -> Tensor:
        x, axes = at.tensor(), at.listed("axes", 1)
        if not axes:
            if at.attribute("noop_with_empty_axes", 0):
                return x
            axes = tuple(range(x.ndim))
        return cast(function(x, axes, bool(at.attribute("keepdims", 1))), x.dtype)

    return read


def extreme_index(function: Callable[..., Tensor]) -> Reader:
    def read(at: Reading) -> Tensor:
        at.only("select_last_index", 0)
        x = at.tensor()
        return function(x, at.axis(0, x.ndim), bool(at.attribute("keepdims", 1)))

    return read


# ---- movement


def reshape(at: Reading) -> Tensor:
    x, keep = at.tensor(), not at.attribute("allowzero", 0)
    entries = at.vector(1)
    if keep and any(s == 0 and k >= x.ndim for k, s in enumerate(entries)):
        at.fail(f"the shape {entries} copies a size that {x.type} does not have")
    return shape.reshape(x, tuple(x.shape[k] if keep and s == 0 else s for k, s in enumerate(entries)))


def flatten(at: Reading) -> Tensor:
    x, axis = at.tensor(), at.attribute("axis", 1)
    if not -x.ndim <= axis <= x.ndim:
        at.fail(f"axis {axis} does not exist in {x.type}")
    at_front = axis % x.ndim if axis < 0 else axis
    return shape.reshape(x, (dims.product(x.shape[:at_front]), dims.product(x.shape[at_front:])))


def transpose(at: Reading) -> Tensor:
    x = at.tensor()
    return shape.permute_dims(x, at.attribute("perm", tuple(reversed(range(x.ndim)))))


def squeeze(at: Reading) -> Tensor:
    return shape.squeeze(at.tensor(), at.listed("axes", 1))


def unsqueeze(at: Reading) -> Tensor:
    return shape.expand_dims(at.tensor(), at.listed("axes", 1) or at.fail("axes are missing"))


def expand(at: Reading) -> Tensor:
    """Broadcasting both ways: a size of 1 in the shape leaves the operand's."""
    x, wanted = at.tensor(), at.vector(1)
    lead = max(len(wanted) - x.ndim, 0)
    wide = (1,) * (x.ndim - len(wanted)) + wanted
    return shape.broadcast_to(x, tuple(x.shape[k - lead] if s == 1 and k >= lead else s for k, s in enumerate(wide)))


def concat(at: Reading) -> Tensor:
    parts = at.tensors()
    return assembly.concat(parts, at.axis(0, parts[0].ndim))


def split(at: Reading) -> list[Tensor]:
    x = at.tensor()
    axis, parts, count = at.axis(0, x.ndim), at.listed("split", 1), len(at.node.output)
    if parts is None:
        size = x.shape[axis]
        if not isinstance(size, int):
            return assembly.split(x, count, axis)  # type: ignore[return-value]
        wide = -(-size // count)
        parts = tuple(max(0, min(wide, size - k * wide)) for k in range(count))
    if len(parts) != count:
        at.fail(f"{len(parts)} parts for {count} outputs")
    ends = np.cumsum(np.array(parts, object))
    return assembly.split(x, [int(k) for k in ends[:-1]], axis)  # type: ignore[return-value]


def slice_(at: Reading) -> Tensor:
    x = at.tensor()
    if "starts" in at.attributes:
        starts, ends = at.attribute("starts", ()), at.attribute("ends", ())
        axes, steps = at.attribute("axes", tuple(range(len(starts)))), (1,) * len(starts)
    else:
        starts, ends = at.vector(1), at.vector(2)
        axes = at.integers(3) if at.has(3) else tuple(range(len(starts)))
        steps = at.integers(4) if at.has(4) else (1,) * len(starts)
    entries: list[Any] = [slice(None)] * x.ndim
    if not len(starts) == len(ends) == len(axes) == len(steps):
        at.fail("starts, ends, axes and steps differ in length")
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        (a,) = normalize_axes(axis, x.ndim, "Slice")
        entries[a] = slice(*_bounds(start, end, step, x.shape[a]), step)
    return index.getitem(x, tuple(entries))


def _bounds(start: Size, end: Size, step: int, n: Size) -> tuple[Size | None, Size | None]:
    """Bounds beyond the axis are its ends."""
    far_start, far_end = (isinstance(k, int) and abs(k) >= FAR for k in (start, end))
    whole = far_end or (step > 0 and end == n)
    return None if far_start else start, None if whole else end


def pad(at: Reading) -> Tensor:
    x, mode = at.tensor(), at.attribute("mode", "constant")
    widths: Any = at.attribute("pads") if "pads" in at.attributes else at.vector(1)
    axes = normalize_axes(tuple(at.integers(3)), x.ndim, "Pad") if at.has(3) else tuple(range(x.ndim))
    if len(widths) != 2 * len(axes):
        at.fail(f"{len(widths)} widths for {len(axes)} axes")
    before = {a: widths[k] for k, a in enumerate(axes)}
    after = {a: widths[len(axes) + k] for k, a in enumerate(axes)}
    pairs = [(before.get(a, 0), after.get(a, 0)) for a in range(x.ndim)]
    if mode != "constant":
        return assembly.pad(x, pairs, mode)
    value = at.number(2) if at.has(2) else at.attribute("value", 0.0)
    if value is None:
        at.refuse("a value that is computed is not read")
    if any(isinstance(w, int) and w < 0 for pair in pairs for w in pair):
        at.refuse("negative widths are not read")
    full = tuple(b + s + a for s, (b, a) in zip(x.shape, pairs, strict=True))
    return apply("place", x, shape=full, start=tuple(b for b, _ in pairs), step=(1,) * x.ndim, fill=float(value))


def tile(at: Reading) -> Tensor:
    return assembly.tile(at.tensor(), at.integers(1))


# ---- indices


def gather(at: Reading) -> Tensor:
    x = at.tensor()
    return index.take(x, at.tensor(1), at.axis(0, x.ndim))


def scatter_nd(at: Reading) -> Tensor:
    """Rows that are added along the first axis."""
    x, places, updates = at.tensor(0), at.tensor(1), at.tensor(2)
    if at.attribute("reduction", "none") != "add" or places.shape[-1:] != (1,):
        at.refuse("read is only reduction add, with the last axis of the indices 1")
    rows = index.in_range(shape.squeeze(places, -1), x.shape[0], "index")
    return x + apply("scatter_add", rows, updates, axis=0, size=x.shape[0])


def one_hot(at: Reading) -> Tensor:
    (depth,), values = at.vector(1), at.held(2).array
    if values is None or values.shape != (2,):
        at.refuse("values must be an array of two in the file")
    where = at.tensor()
    axis = at.attribute("axis", -1)
    hot = index.one_hot(cast(where, INT64), depth, "bool")
    off, on = values.tolist()
    out = e.where(hot, where.graph.constant(on, values.dtype), where.graph.constant(off, values.dtype))
    return shape.moveaxis(out, -1, axis)


def array_feature(at: Reading) -> Tensor:
    """scikit-learn's: columns of the last axis."""
    x, places = at.tensor(0), shape.ravel(at.tensor(1))
    if x.ndim == 1:
        x = shape.expand_dims(x, 0)
    return index.take(x, places, x.ndim - 1)


# ---- made of sizes


def constant_of_shape(at: Reading) -> Tensor:
    value = at.array("value") if "value" in at.attributes else np.zeros(1, np.float32)
    if value.size != 1:
        at.fail("the value must be one number")
    return shape.broadcast_to(at.graph.constant(value.reshape(()), value.dtype), at.vector(0))


def range_(at: Reading) -> Tensor:
    start, limit, step = (at.held(k).sizes for k in range(3))
    if start is None or limit is None or isinstance(start, tuple) or isinstance(limit, tuple) or step != 1:
        at.refuse("read is only a range in steps of 1 between sizes")
    counted = shape.iota(at.graph, limit - start, at.held(1).dtype)
    return counted if start == 0 else counted + start


def trilu(at: Reading) -> Tensor:
    x = at.tensor()
    k = at.integers(1)[0] if at.has(1) else 0
    rows, columns = (shape.iota(at.graph, x.shape[a]) for a in (-2, -1))
    apart = shape.expand_dims(columns, 0) - shape.expand_dims(rows, 1)
    return e.where(e.greater_equal(apart, k) if at.attribute("upper", 1) else e.less_equal(apart, k), x, 0)


LAYOUT: dict[str, Reader] = {
    "ReduceSum": reduction(reduce.sum), "ReduceMean": reduction(reduce.mean), "ReduceProd": reduction(reduce.prod),
    "ReduceMax": reduction(reduce.max), "ReduceMin": reduction(reduce.min),
    "ReduceL1": reduction(lambda x, a, k: reduce.norm(x, 1, a, k)),
    "ReduceL2": reduction(lambda x, a, k: reduce.norm(x, 2, a, k)),
    "ReduceSumSquare": reduction(lambda x, a, k: reduce.sum(x * x, a, k)),
    "ReduceLogSum": reduction(lambda x, a, k: f.log(reduce.sum(x, a, k))), "ReduceLogSumExp": reduction(logsumexp),
    "ArgMax": extreme_index(reduce.argmax), "ArgMin": extreme_index(reduce.argmin),
    "Reshape": reshape, "Flatten": flatten, "Transpose": transpose, "Squeeze": squeeze, "Unsqueeze": unsqueeze,
    "Expand": expand, "Concat": concat, "Split": split, "Slice": slice_, "Pad": pad, "Tile": tile,
    "Gather": gather, "ScatterND": scatter_nd, "OneHot": one_hot,
    "ConstantOfShape": constant_of_shape, "Range": range_, "Trilu": trilu,
}  # fmt: skip

__all__ = ["LAYOUT", "array_feature"]
