"""ONNX's operators that take images between their pixels, or rows at places that follow from data."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

from graphc.ir.tensor import Tensor
from graphc.ir.types import INT64, is_float
from graphc.onnx.reading.elementwise import Reader
from graphc.onnx.reading.held import Reading
from graphc.ops import assembly, index, reduce, shape
from graphc.ops import elementwise as e
from graphc.ops import functions as f
from graphc.ops.apply import apply, cast
from graphc.ops.einsum import einsum

Tap = tuple[Tensor, Any]  # an index along an axis, and its weight
MODES = {"bilinear": "linear", "bicubic": "cubic"}  # of old opsets


def _at(x: Tensor, places: Sequence[Tensor], size: int = 2) -> Tensor:
    """Elements of an image ``(N, C, ...)`` at indices in range; the first ``size`` axes are taken whole."""
    rank = x.ndim - size + max(p.ndim for p in places) - (x.ndim - size)
    own = [shape.reshape(shape.iota(x.graph, x.shape[a]), (-1, *(1,) * (rank - 1 - a))) for a in range(size)]
    return apply("take_points", x, *own, *places, axes=tuple(range(x.ndim)))


def _clipped(place: Tensor, size: Any) -> Tensor:
    return e.maximum(e.minimum(cast(place, INT64), size - 1), 0)


def _taps(place: Tensor, mode: str) -> list[Tap]:
    """The pixels around a place, and what they count for. Cubic: Keys (1981), with -0.75."""
    if mode == "nearest":
        return [(place, None)]
    below = f.floor(place)
    t = place - below
    if mode == "linear":
        return [(below, 1 - t), (below + 1, t)]
    a = -0.75
    far = [((a * (u + 1) - 5 * a) * (u + 1) + 8 * a) * (u + 1) - 4 * a for u in (t, 1 - t)]
    near = [((a + 2) * u - (a + 3)) * u * u + 1 for u in (t, 1 - t)]
    return [(below - 1, far[0]), (below, near[0]), (below + 1, near[1]), (below + 2, far[1])]


def _interpolated(x: Tensor, places: Sequence[Tensor], mode: str, inside: Callable[[Tensor, Any], Tensor]) -> Tensor:
    """An image at places ``(N, 1, ...)`` along each of its axes; ``inside`` makes of an index one in range.

    What is outside all the same counts as 0.
    """
    total: Tensor | None = None
    for taps in itertools.product(*(_taps(p, mode) for p in places)):
        weight: Any = None
        rows = []
        for (place, w), size in zip(taps, x.shape[2:], strict=True):
            place = inside(place, size)
            kept = cast(e.logical_and(e.greater_equal(place, 0), e.less_equal(place, size - 1)), x.dtype)
            w = kept if w is None else w * kept
            weight = w if weight is None else weight * w
            rows.append(_clipped(place, size))
        part = weight * _at(x, rows)
        total = part if total is None else total + part
    assert total is not None
    return total


def grid_sample(at: Reading) -> Tensor:
    x, grid = at.tensor(0), at.tensor(1)
    mode = at.attribute("mode", "linear" if at.opset >= 20 else "bilinear")
    mode, padding = MODES.get(mode, mode), at.attribute("padding_mode", "zeros")
    corners = bool(at.attribute("align_corners", 0))
    if mode not in ("nearest", "linear", "cubic") or padding not in ("zeros", "border", "reflection"):
        at.fail(f"mode {mode[:40]!r} with padding_mode {padding[:40]!r} is none of ONNX's")
    told = grid.shape[-1] if grid.ndim else 0
    if x.ndim < 3 or grid.ndim != x.ndim or (isinstance(told, int) and told != x.ndim - 2):
        at.fail(f"a grid {grid.type} does not fit the image {x.type}")
    if not is_float(x.dtype):
        at.refuse(f"read are images of floats, not {x.type}")

    def inside(place: Tensor, size: Any) -> Tensor:
        if padding == "border":
            return e.maximum(e.minimum(place, size - 1), 0)
        if padding == "zeros":
            return place
        low = cast(place, x.dtype) * 0 if corners else cast(place, x.dtype) * 0 - 0.5
        if corners and size == 1:
            return low
        span = cast(shape.filled(x.graph, 0, (), x.dtype) + (size - (1 if corners else 0)), x.dtype)
        turned = e.remainder(cast(place, x.dtype) - low, 2 * span)
        there = low + e.minimum(turned, 2 * span - turned)
        return e.where(e.logical_or(e.less(place, low), e.greater(place, low + span)), there, place)

    places = []
    for k, size in enumerate(x.shape[2:]):
        n = cast(grid[..., x.ndim - 3 - k], x.dtype)
        place = (n + 1) / 2 * (size - 1) if corners else ((n + 1) * size - 1) / 2
        place = f.round(place) if mode == "nearest" else place
        place = place if mode == "cubic" else inside(place, size)  # as PyTorch, where this operator comes from
        places.append(shape.expand_dims(place, 1))
    return cast(_interpolated(x, places, mode, inside), x.dtype)


def deform_conv(at: Reading) -> Tensor:
    """Each tap of a filter reads where an offset of its own says. Zhu et al. 2019, *Deformable ConvNets v2*."""
    x, w, offset = at.tensor(0), at.tensor(1), at.tensor(2)
    rank = x.ndim - 2
    groups, parts = at.attribute("group", 1), at.attribute("offset_group", 1)
    if rank != 2:
        at.refuse(f"images of two axes are read, not {x.type}")
    (batch, channels), kernel, sizes = x.shape[:2], w.shape[2:], offset.shape[2:]
    if not all(isinstance(n, int) for n in (channels, *kernel, w.shape[0])):
        at.refuse(f"filters of sizes that are not known are not read: {w.type}")
    strides, dilations = (at.attribute(n, (1,) * rank) for n in ("strides", "dilations"))
    pads = at.attribute("pads", (0,) * (2 * rank))
    offsets = shape.reshape(offset, (batch * parts, *kernel, rank, *sizes))
    places = []
    for k in range(rank):
        window = shape.iota(x.graph, kernel[k]) * dilations[k] - pads[k]
        along = shape.iota(x.graph, sizes[k]) * strides[k]
        own = shape.reshape(window, (-1, *(1,) * (2 * rank - 1 - k)))
        base = own + shape.reshape(along, (-1, *(1,) * (rank - 1 - k)))
        places.append(shape.expand_dims(cast(base, x.dtype) + offsets[(slice(None),) * (1 + rank) + (k,)], 1))
    wide = shape.reshape(x, (batch * parts, channels // parts, *x.shape[2:]))  # type: ignore[operator]
    found = _interpolated(wide, places, "linear", lambda place, size: place)
    if at.has(4):
        found = found * shape.reshape(at.tensor(4), (batch * parts, 1, *kernel, *sizes))
    found = shape.reshape(found, (batch, groups, channels // groups, *kernel, *sizes))  # type: ignore[operator]
    filters = shape.reshape(w, (groups, w.shape[0] // groups, *w.shape[1:]))  # type: ignore[operator]
    y = shape.reshape(einsum("ngcijhw,gocij->ngohw", found, filters), (batch, w.shape[0], *sizes))
    return y + shape.reshape(at.tensor(3), (-1, 1, 1)) if at.has(3) else y


def roi_align(at: Reading) -> Tensor:
    """Means, or largest values, of points in each part of regions. He et al. 2017, *Mask R-CNN*."""
    x, rois = at.tensor(0), at.tensor(1)
    points = at.attribute("sampling_ratio", 0)
    if points < 1:
        at.refuse("without a sampling_ratio the number of points depends on data")
    half = at.attribute("coordinate_transformation_mode", "half_pixel" if at.opset >= 16 else "output_half_pixel")
    mode, scale = at.attribute("mode", "avg"), at.attribute("spatial_scale", 1.0)
    sizes = at.attribute("output_height", 1), at.attribute("output_width", 1)
    batch = index.in_range(cast(at.tensor(2), INT64), x.shape[0], "batch index")
    corners = rois * scale - (0.5 if half == "half_pixel" else 0.0)
    lines = []
    for k in range(2):  # rows, columns
        start, end = corners[:, 1 - k], corners[:, 3 - k]
        length = end - start if half == "half_pixel" else e.maximum(end - start, 1.0)
        step = length / (sizes[k] * points)
        counted = cast(shape.iota(x.graph, sizes[k] * points), x.dtype) + 0.5
        place = shape.expand_dims(start, 1) + counted * shape.expand_dims(step, 1)
        size = x.shape[2 + k]
        kept = e.logical_and(e.greater_equal(place, -1.0), e.less_equal(place, size))
        place = e.maximum(e.minimum(place, size - 1), 0.0)
        low = f.floor(place)
        weights = [e.where(kept, w, 0.0) for w in (1 - (place - low), place - low)]
        form = (-1, 1, sizes[0] * points, 1) if k == 0 else (-1, 1, 1, sizes[1] * points)
        pairs = zip((low, low + 1), weights, strict=True)
        lines.append([(shape.reshape(_clipped(p, size), form), shape.reshape(w, form)) for p, w in pairs])
    own = shape.reshape(batch, (-1, 1, 1, 1)), shape.reshape(shape.iota(x.graph, x.shape[1]), (1, -1, 1, 1))
    parts = []
    for (row, a), (column, b) in itertools.product(*lines):
        parts.append(apply("take_points", x, *own, row, column, axes=(0, 1, 2, 3)) * (a * b))
    wide = rois.shape[0], x.shape[1], sizes[0], points, sizes[1], points
    if mode == "max":
        best = parts[0]
        for part in parts[1:]:
            best = e.maximum(best, part)
        return reduce.max(shape.reshape(best, wide), (3, 5))
    return reduce.mean(shape.reshape(parts[0] + parts[1] + parts[2] + parts[3], wide), (3, 5))


def max_unpool(at: Reading) -> Tensor:
    """Each element where it was found, zeros elsewhere."""
    x, places = at.tensor(0), at.tensor(1)
    rank = x.ndim - 2
    kernel = at.attribute("kernel_shape", ())
    strides, pads = at.attribute("strides", (1,) * rank), at.attribute("pads", (0,) * (2 * rank))
    if len(kernel) != rank:
        at.fail(f"kernel_shape {kernel} for {x.type}")
    sizes = [
        (n - 1) * s - pads[k] - pads[rank + k] + kernel[k]
        for k, (n, s) in enumerate(zip(x.shape[2:], strides, strict=True))
    ]
    full = (*x.shape[:2], *sizes)
    flat = shape.ravel(shape.filled(x.graph, 0, full, x.dtype)).at[shape.ravel(places)].set(shape.ravel(x))
    y = shape.reshape(flat, full)
    if not at.has(2):
        return y
    wanted = at.vector(2)
    return assembly.pad(y, [(0, w - s) for w, s in zip(wanted, full, strict=True)])


def _where_along(at: Reading, x: Tensor, place: Tensor, axes: tuple[int, int]) -> Tensor:
    """``x`` with another index along an axis: ``place`` has the axes of the batch and of time."""
    order = [*axes, *(a for a in range(x.ndim) if a not in axes)]
    rows = shape.permute_dims(x, order)
    wide = shape.reshape(place, (*place.shape, *(1,) * (x.ndim - 2)))
    own = [shape.reshape(shape.iota(x.graph, rows.shape[a]), (-1, *(1,) * (x.ndim - 1 - a))) for a in range(x.ndim)]
    found = apply("take_points", rows, own[0], wide, *own[2:], axes=tuple(range(x.ndim)))
    return shape.permute_dims(found, [order.index(a) for a in range(x.ndim)])


def reverse_sequence(at: Reading) -> Tensor:
    x, lengths = at.tensor(0), cast(at.tensor(1), INT64)
    axes = at.attribute("batch_axis", 1), at.attribute("time_axis", 0)
    if sorted(axes) != [0, 1]:
        at.fail(f"batch_axis and time_axis must be 0 and 1, found {axes}")
    step, end = shape.iota(x.graph, x.shape[axes[1]]), shape.expand_dims(lengths, 1)
    place = e.where(e.less(step, end), end - 1 - step, step)
    return _where_along(at, x, index.in_range(place, x.shape[axes[1]], "sequence"), axes)


def tensor_scatter(at: Reading) -> Tensor:
    """Rows of a cache replaced from some place on."""
    cache, update = at.tensor(0), at.tensor(1)
    axis, size = at.axis(-2, cache.ndim), cache.shape[at.axis(-2, cache.ndim)]
    count, step = update.shape[axis], shape.iota(cache.graph, size)
    if axis == 0:
        at.fail("axis must not be that of the batch")
    first = cast(at.tensor(2), INT64) if at.has(2) else shape.filled(cache.graph, 0, cache.shape[:1], INT64)
    place = step - shape.expand_dims(first, 1)
    place = e.remainder(place, size) if at.attribute("mode", "linear") == "circular" else place
    there = e.logical_and(e.greater_equal(place, 0), e.less(place, count))
    found = _where_along(at, update, _clipped(place, count), (0, axis))
    there = shape.moveaxis(shape.reshape(there, (*place.shape, *(1,) * (cache.ndim - 2))), 1, axis)
    return e.where(there, found, cache)


SAMPLING: dict[str, Reader] = {
    "GridSample": grid_sample, "DeformConv": deform_conv, "RoiAlign": roi_align, "MaxUnpool": max_unpool,
    "ReverseSequence": reverse_sequence, "TensorScatter": tensor_scatter,
}  # fmt: skip

__all__ = ["SAMPLING"]
