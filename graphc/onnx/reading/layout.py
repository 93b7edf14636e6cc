"""ONNX's reductions and movement as graphc's functions."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from graphc.ir import dims
from graphc.ir.dims import Size
from graphc.ir.tensor import Tensor
from graphc.ir.types import BOOL, FLOAT64, is_float, limits, normalize_axes, normalize_axis
from graphc.onnx.reading.elementwise import Reader, cut
from graphc.onnx.reading.held import Held, Reading
from graphc.ops import assembly, index, reduce, shape
from graphc.ops import elementwise as e
from graphc.ops import functions as f
from graphc.ops.apply import apply, cast, size_node
from graphc.ops.softmax import logsumexp

FARTHEST = (1 << 31) - 1  # of the indices along an axis

# ---- reductions


def reduction(function: Callable[..., Tensor], integers: Callable[..., Tensor] | None = None) -> Reader:
    """Axes are an attribute in old opsets, an operand in new ones; none means all, or none at all.

    Integers are folded by ``integers``, or in float64, and cut to integers again.
    """

    def read(at: Reading) -> Tensor:
        x, axes = at.tensor(), at.listed("axes", 1)
        if not axes:
            axes = () if at.attribute("noop_with_empty_axes", 0) else tuple(range(x.ndim))
        keep = bool(at.attribute("keepdims", 1))
        if is_float(x.dtype):
            return function(x, axes, keep)
        return cast(integers(x, axes, keep) if integers else function(cast(x, FLOAT64), axes, keep), x.dtype)

    return read


def folding(function: Callable[..., Tensor]) -> Reader:
    """A reduction that takes integers as they are."""
    return reduction(function, function)


def extreme(function: Callable[..., Tensor], beyond: int) -> Reader:
    """The extreme element; of nothing, that limit of the dtype."""

    def read(x: Tensor, axes: Any, keep: bool) -> Tensor:
        many = normalize_axes(axes, x.ndim, "Reduce")
        if all(x.shape[a] != 0 for a in many):
            return function(x, many, keep)
        sizes = tuple(1 if a in many else s for a, s in enumerate(x.shape) if keep or a not in many)
        return shape.filled(x.graph, limits(x.dtype)[beyond], sizes, x.dtype)

    return folding(read)


def mean_of_integers(x: Tensor, axes: Any, keep: bool) -> Tensor:
    total = reduce.sum(x, axes, keep)
    count = dims.product(x.shape[a] for a in normalize_axes(axes, x.ndim, "ReduceMean"))
    return cut(total, size_node(x.graph, count))


def extreme_index(function: Callable[..., Tensor]) -> Reader:
    """The first place of the extreme element along an axis, or the last."""

    def read(at: Reading) -> Tensor:
        x = at.tensor()
        axis, keep = at.axis(0, x.ndim), bool(at.attribute("keepdims", 1))
        if not at.attribute("select_last_index", 0):
            return function(x, axis, keep)
        n = size_node(x.graph, x.shape[axis] - 1)
        return n - function(assembly.flip(x, axis), axis, keep)

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
    order = at.attribute("perm", tuple(reversed(range(x.ndim))))
    if sorted(order) != list(range(x.ndim)):
        at.fail(f"expected each axis of {x.type} once, found {order}")
    return shape.permute_dims(x, order)


def squeeze(at: Reading) -> Tensor:
    """Without axes, those of size 1 go; of which size a symbol is, the declared rank of the result tells."""
    x, axes = at.tensor(), at.listed("axes", 1)
    symbolic = sum(not isinstance(s, int) for s in x.shape)
    if axes is None and symbolic and at.rank != sum(s != 1 for s in x.shape):
        if at.rank != sum(isinstance(s, int) and s != 1 for s in x.shape):
            at.refuse(f"without axes, it depends on the sizes of {x.type} which axes of it are left")
        axes = tuple(a for a, s in enumerate(x.shape) if not isinstance(s, int) or s == 1)
    return shape.squeeze(x, axes)


def unsqueeze(at: Reading) -> Tensor:
    axes = at.listed("axes", 1)
    return shape.expand_dims(at.tensor(), at.fail("axes are missing") if axes is None else axes)


def expand(at: Reading) -> Tensor:
    """Broadcasting both ways: a size of 1 in the shape leaves the operand's."""
    x, wanted = at.tensor(), at.vector(1)
    rank = max(x.ndim, len(wanted))
    sizes = zip((1,) * (rank - x.ndim) + x.shape, (1,) * (rank - len(wanted)) + wanted, strict=True)
    return shape.broadcast_to(x, tuple(dims.broadcast(s, w) for s, w in sizes))


def concat(at: Reading) -> Tensor:
    parts = at.tensors()
    return assembly.concat(parts, at.axis(0, parts[0].ndim))


def split(at: Reading) -> list[Tensor]:
    x, count = at.tensor(), len(at.node.output)
    axis, listed = at.axis(0, x.ndim), at.listed("split", 1)
    parts: Sequence[Size] | None = listed
    size, front = x.shape[axis], (slice(None),) * axis
    if parts is None and at.opset < 18:
        width = dims.floor_divide(size, count)
        wide = shape.reshape(x, (*x.shape[:axis], count, width, *x.shape[axis + 1 :]))
        return [index.getitem(wide, (*front, k)) for k in range(count)]
    if parts is None:  # the last is smaller where they do not come out even
        width = dims.floor_divide(size + (count - 1), count)
        parts = (width,) * (count - 1) + (size - dims.multiply(width, count - 1),)
    if len(parts) != count:
        at.fail(f"{len(parts)} parts for {count} outputs")
    ends = list(itertools.accumulate(parts))  # type: ignore[arg-type]
    return [index.getitem(x, (*front, slice(end - n, end))) for n, end in zip(parts, ends, strict=True)]


def slice_(at: Reading) -> Tensor:
    """Bounds beyond an axis are its ends."""
    x, (starts, ends, axes, steps) = at.tensor(), at.bounds()
    axes = tuple(range(len(starts))) if axes is None else axes
    if not len(starts) == len(ends) == len(axes) == len(steps):
        at.fail("starts, ends, axes and steps differ in length")
    entries: list[Any] = [slice(None)] * x.ndim
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        entries[normalize_axis(axis, x.ndim, "Slice")] = slice(_bound(start, -step), _bound(end, step), step)
    return index.getitem(x, tuple(entries))


def _bound(at: Size, way: int) -> Size | None:
    """A bound of a slice; None where it lies farther that way than any axis reaches, as exporters write of the end."""
    return None if isinstance(at, int) and (at if way > 0 else -at) >= FARTHEST else at


def pad(at: Reading) -> Tensor:
    """Widths below 0 cut."""
    x, mode = at.tensor(), at.attribute("mode", "constant")
    widths: Any = at.attribute("pads") if "pads" in at.attributes else at.vector(1)
    axes = tuple(normalize_axis(a, x.ndim, "Pad") for a in at.integers(3)) if at.has(3) else tuple(range(x.ndim))
    if len(widths) != 2 * len(axes):
        at.fail(f"{len(widths)} widths for {len(axes)} axes")
    pairs: list[tuple[Size, Size]] = [(0, 0)] * x.ndim
    for k, a in enumerate(axes):
        pairs[a] = widths[k], widths[len(axes) + k]
    cuts = [tuple(-w if isinstance(w, int) and w < 0 else 0 for w in pair) for pair in pairs]
    x = index.getitem(x, tuple(slice(low, s - high) for (low, high), s in zip(cuts, x.shape, strict=True)))
    pairs = [tuple(0 if isinstance(w, int) and w < 0 else w for w in pair) for pair in pairs]  # type: ignore[misc]
    if mode == "wrap":
        for a, (before, after) in enumerate(pairs):
            if (before, after) != (0, 0):
                step = shape.iota(x.graph, x.shape[a] + before + after) - before
                x = index.take(x, e.remainder(step, x.shape[a]), a)
        return e.identity(x)
    if mode != "constant":
        return assembly.pad(x, pairs, mode)
    if all(pair == (0, 0) for pair in pairs):
        return e.identity(x)
    value = at.number(2) if at.has(2) else at.attribute("value", 0.0)
    full = tuple(b + s + a for s, (b, a) in zip(x.shape, pairs, strict=True))
    where = {"shape": full, "start": tuple(b for b, _ in pairs), "step": (1,) * x.ndim}
    if value is not None:
        return apply("place", x, **where, fill=float(value))
    inside = apply("place", shape.filled(at.graph, True, x.shape, BOOL), **where, fill=False)
    return e.where(inside, apply("place", x, **where, fill=0.0), shape.reshape(at.tensor(2), ()))


def tile(at: Reading) -> Tensor:
    return assembly.tile(at.tensor(), at.vector(1))


def depth_to_space(at: Reading) -> Tensor:
    x, b = at.tensor(), at.attribute("blocksize", 0)
    n, c, h, w = x.shape
    c = _parts(at, c, b * b)
    order = (0, 3, 4, 1, 5, 2) if at.attribute("mode", "DCR") == "DCR" else (0, 1, 4, 2, 5, 3)
    wide = shape.reshape(x, (n, b, b, c, h, w) if order[1] == 3 else (n, c, b, b, h, w))
    return shape.reshape(shape.permute_dims(wide, order), (n, c, dims.multiply(h, b), dims.multiply(w, b)))


def space_to_depth(at: Reading) -> Tensor:
    x, b = at.tensor(), at.attribute("blocksize", 0)
    n, c, h, w = x.shape
    h, w = _parts(at, h, b), _parts(at, w, b)
    order = (0, 3, 5, 1, 2, 4) if at.attribute("mode", "DCR") == "DCR" else (0, 1, 3, 5, 2, 4)
    wide = shape.permute_dims(shape.reshape(x, (n, c, h, b, w, b)), order)
    return shape.reshape(wide, (n, dims.multiply(c, b * b), h, w))


def _parts(at: Reading, size: Size, count: int) -> Size:
    if count < 1 or (isinstance(size, int) and size % count):
        at.fail(f"{size} is not a multiple of {count}")
    return dims.floor_divide(size, count)


# ---- made of sizes


def constant_of_shape(at: Reading) -> Held:
    value = at.constant() if "value" in at.attributes else Held(at.graph, "", array=np.zeros(1, np.float32))
    if value.array is None or value.array.size != 1:
        at.fail("the value must be one number")
    filled = shape.broadcast_to(at.graph.constant(value.array.reshape(()), value.dtype), at.vector(0))
    return Held(at.graph, at.name, tensor=filled, kind=value.kind)


def range_(at: Reading) -> Tensor:
    """Numbers, or sizes, that are known."""
    numbers: list[Any] = [at.number(k) for k in range(3)]
    if numbers[2] == 0:
        at.fail("a step of 0")
    start: Any
    limit: Any
    if None not in numbers:
        start, limit, step = numbers
        count: Size = max(math.ceil((limit - start) / step), 0)
    else:
        start, limit, step = (at.held(k).sizes for k in range(3))
        if start is None or limit is None or isinstance(start, tuple) or isinstance(limit, tuple) or step != 1:
            at.refuse("read is only a range between numbers, or between sizes in steps of 1")
        count = limit - start
    counted = cast(shape.iota(at.graph, count), at.held(0).dtype)
    counted = counted if step == 1 else counted * step
    return counted if start == 0 else counted + start


LAYOUT: dict[str, Reader] = {
    "ReduceSum": folding(reduce.sum), "ReduceProd": folding(reduce.prod),
    "ReduceMean": reduction(reduce.mean, mean_of_integers),
    "ReduceMax": extreme(reduce.max, 0), "ReduceMin": extreme(reduce.min, 1),
    "ReduceL1": folding(lambda x, a, k: reduce.norm(x, 1, a, k)),
    "ReduceL2": reduction(lambda x, a, k: reduce.norm(x, 2, a, k)),
    "ReduceSumSquare": folding(lambda x, a, k: reduce.sum(x * x, a, k)),
    "ReduceLogSum": reduction(lambda x, a, k: f.log(reduce.sum(x, a, k))), "ReduceLogSumExp": reduction(logsumexp),
    "ArgMax": extreme_index(reduce.argmax), "ArgMin": extreme_index(reduce.argmin),
    "Reshape": reshape, "Flatten": flatten, "Transpose": transpose, "Squeeze": squeeze, "Unsqueeze": unsqueeze,
    "Expand": expand, "Concat": concat, "Split": split, "Slice": slice_, "Pad": pad, "Tile": tile,
    "DepthToSpace": depth_to_space, "SpaceToDepth": space_to_depth,
    "ConstantOfShape": constant_of_shape, "Range": range_,
}  # fmt: skip

__all__ = ["LAYOUT"]
