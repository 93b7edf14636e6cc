"""ONNX's convolution, pooling and resizing as graphc's functions."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np

from graphc.ir import dims
from graphc.ir.dims import Size
from graphc.ir.tensor import Tensor
from graphc.ir.types import is_float
from graphc.onnx.reading.elementwise import Reader
from graphc.onnx.reading.held import FIXED, Reading
from graphc.ops import convolution, pooling, reduce, shape
from graphc.ops import elementwise as e
from graphc.ops import functions as f
from graphc.ops.apply import apply, cast
from graphc.ops.resize import resize as resized
from graphc.ops.windows import fold

Pairs = tuple[tuple[Size, Size], ...]
RANKS = (1, 2, 3)
MOST_TAPS = 64  # elements that one of a smaller image is made of, along an axis


def _axes(at: Reading, x: Tensor) -> int:
    """How many axes an image has."""
    if x.ndim - 2 not in RANKS:
        at.refuse(f"images of {x.ndim - 2} axes are not read: {x.type}")
    return x.ndim - 2


def _numbers(at: Reading, name: str, rank: int) -> tuple[int, ...]:
    found: tuple[int, ...] = at.attribute(name, (1,) * rank)
    if len(found) != rank or min(found) < 1:
        at.fail(f"expected {rank} {name} of at least 1, found {found}")
    return found


def _pairs(at: Reading, rank: int) -> Pairs:
    """The attribute ``pads``: all numbers before, then all behind."""
    found = at.attribute("pads", (0,) * (2 * rank))
    if len(found) != 2 * rank or min(found) < 0:
        at.fail(f"expected {2 * rank} pads of at least 0, found {found}")
    return tuple((found[k], found[rank + k]) for k in range(rank))


def _padding(
    at: Reading, x: Tensor, kernel: tuple[int, ...], stride: tuple[int, ...], dilation: tuple[int, ...]
) -> Pairs | Literal["same", "valid"]:
    """What surrounds an image, by ``auto_pad`` or ``pads``."""
    kind = at.attribute("auto_pad", "NOTSET")
    if kind == "SAME_UPPER":
        return "same"
    if kind == "VALID":
        return "valid"
    if kind == "NOTSET":
        return _pairs(at, len(kernel))
    if kind != "SAME_LOWER":
        at.fail(f"auto_pad {kind[:40]!r} is none of ONNX's")
    out: list[tuple[Size, Size]] = []
    for n, k, s, d in zip(x.shape[2:], kernel, stride, dilation, strict=True):
        if not isinstance(n, int):
            at.refuse(f"SAME_LOWER is read for images of known sizes, not {x.type}")
        whole = max((-(-n // s) - 1) * s + d * (k - 1) + 1 - n, 0)
        out.append((whole - whole // 2, whole // 2))
    return tuple(out)


def _filters(at: Reading, w: Tensor, rank: int) -> tuple[int, ...]:
    """The size of filters, which an attribute may say again."""
    kernel = w.shape[2:]
    if w.ndim != rank + 2 or not all(isinstance(k, int) for k in kernel):
        at.refuse(f"filters of a size that is not known are not read: {w.type}")
    if at.attribute("kernel_shape", kernel) != kernel:
        at.fail(f"kernel_shape {at.attribute('kernel_shape')} for filters {w.type}")
    return kernel  # type: ignore[return-value]


def conv(at: Reading) -> Tensor:
    x, w = at.tensor(0), at.tensor(1)
    rank = _axes(at, x)
    kernel, stride, dilation = _filters(at, w, rank), *(_numbers(at, name, rank) for name in ("strides", "dilations"))
    padding = _padding(at, x, kernel, stride, dilation)
    function: Callable[..., Tensor] = getattr(convolution, f"conv{rank}d")
    options = {"stride": stride, "padding": padding, "dilation": dilation, "groups": at.attribute("group", 1)}
    return function(x, w, at.tensor(2) if at.has(2) else None, **options)


def conv_transpose(at: Reading) -> Tensor:
    """Where ``output_shape`` or ``auto_pad`` say the size of the result, the padding follows from it."""
    x, w = at.tensor(0), at.tensor(1)
    rank = _axes(at, x)
    kernel, stride, dilation = _filters(at, w, rank), *(_numbers(at, name, rank) for name in ("strides", "dilations"))
    extra = at.attribute("output_padding", (0,) * rank)
    kind, wanted = at.attribute("auto_pad", "NOTSET"), at.attribute("output_shape")
    if kind not in ("NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER") or len(extra) != rank or min(extra) < 0:
        at.fail(f"auto_pad {kind[:40]!r} with output_padding {extra}")
    pairs: list[tuple[Size, Size]] = list(_pairs(at, rank)) if kind == "NOTSET" else [(0, 0)] * rank
    sizes: list[Size] = []
    for k, (n, size, s, d, more) in enumerate(zip(x.shape[2:], kernel, stride, dilation, extra, strict=True)):
        full = dims.multiply(n - 1, s) + (d * (size - 1) + 1 + more)
        if wanted is not None or kind.startswith("SAME"):
            target = wanted[k - rank] if wanted is not None else dims.multiply(n, s)
            total = full - target
            if not isinstance(total, int):
                at.refuse(f"a padding that follows from the size of {x.type} is not read")
            low = max(total, 0) // 2 if kind != "SAME_LOWER" else -(-max(total, 0) // 2)
            pairs[k] = low, total - low
        sizes.append(full - pairs[k][0] - pairs[k][1])
    named = {"stride": stride, "dilation": dilation, "groups": at.attribute("group", 1)}
    y = apply("conv_input", x, w, **named, before=tuple(low for low, _ in pairs), sizes=tuple(sizes))
    return y + shape.reshape(at.tensor(2), (-1, *(1,) * rank)) if at.has(2) else y


def _window(at: Reading, x: Tensor) -> tuple[tuple[Any, ...], dict[str, Any]]:
    rank = _axes(at, x)
    if "kernel_shape" not in at.attributes:
        at.fail("kernel_shape is missing")
    kernel, stride, dilation = (_numbers(at, name, rank) for name in ("kernel_shape", "strides", "dilations"))
    ceil = bool(at.attribute("ceil_mode", 0))
    return kernel, {
        "stride": stride,
        "padding": _padding(at, x, kernel, stride, dilation),
        "dilation": dilation,
        "ceil_mode": ceil,
    }


def max_pool(at: Reading) -> Tensor | list[Tensor]:
    """The second result says where the largest lie in the flat operand."""
    x = at.tensor()
    kernel, options = _window(at, x)
    function: Callable[..., Tensor] = getattr(pooling, f"max_pool{len(kernel)}d")
    y = function(x, kernel, **options)
    if len(at.node.output) < 2 or not at.node.output[1]:
        return y
    at.only("storage_order", 0)
    places = shape.reshape(shape.iota(x.graph, x.size), x.shape)
    return [y, apply("max_pool_pick", x, places, **y.attrs)]


def average_pool(at: Reading) -> Tensor:
    x = at.tensor()
    kernel, options = _window(at, x)
    function: Callable[..., Tensor] = getattr(pooling, f"avg_pool{len(kernel)}d")
    return function(x, kernel, **options, count_include_pad=bool(at.attribute("count_include_pad", 0)))


def lp_pool(at: Reading) -> Tensor:
    """The norm of each window: the root of so many means of powers."""
    x, p = at.tensor(), at.attribute("p", 2)
    kernel, options = _window(at, x)
    function: Callable[..., Tensor] = getattr(pooling, f"avg_pool{len(kernel)}d")
    if p < 1:
        at.fail(f"p must be at least 1, found {p}")
    pad = options["padding"]
    if options["ceil_mode"] and pad != "valid":
        at.refuse("windows that end outside are not read")
    return _root(function(_power(x, p), kernel, **options) * float(math.prod(kernel)), p)


def _power(x: Tensor, p: int) -> Tensor:
    return abs(x) if p == 1 else x * x if p == 2 else abs(x) ** p


def _root(total: Tensor, p: int) -> Tensor:
    return total if p == 1 else f.sqrt(total) if p == 2 else total ** (1 / p)


def col2im(at: Reading) -> Tensor:
    x, sizes, kernel = at.tensor(), at.vector(1), at.integers(2)
    rank = len(sizes)
    options = {"stride": _numbers(at, "strides", rank), "dilation": _numbers(at, "dilations", rank)}
    return fold(x, sizes, kernel, padding=_pairs(at, rank), **options)


# ---- resizing


def resize(at: Reading) -> Tensor:
    """Every element is a weighted sum of a few along each axis; which and how much follows from sizes."""
    x = at.tensor()
    old = at.opset < 11
    axes = at.attribute("axes", tuple(range(x.ndim)))
    axes = tuple(a % x.ndim for a in axes)
    scales = _scales(at, 1 if old else 2, len(axes))
    mode = at.attribute("mode", "nearest")
    place = "asymmetric" if old else at.attribute("coordinate_transformation_mode", "half_pixel")
    crops = _crops(at, len(axes)) if place == "tf_crop_and_resize" else None
    if mode not in ("nearest", "linear", "cubic") or (place not in PLACES and crops is None):
        at.fail(f"mode {mode[:40]!r} with {place[:40]!r} is none of ONNX's")
    wanted: Any = None if scales is not None else at.vector(3)
    if wanted is not None and at.attribute("keep_aspect_ratio_policy", "stretch") != "stretch":
        wanted, ratio = _one_ratio(at, [x.shape[a] for a in axes], wanted)
    else:
        ratio = None
    for k, axis in enumerate(axes):
        n = x.shape[axis]
        if not isinstance(n, int):
            x = _symbolic(at, x, axis, None if scales is None else scales[k], mode)
            continue
        size = math.floor(n * scales[k]) if scales is not None else wanted[k]  # type: ignore[index]
        if not isinstance(size, int):
            at.refuse(f"the size {size} of axis {axis} must be a number")
        if size < 1:
            at.fail(f"a size of {size} for axis {axis} of {x.type}")
        scale = scales[k] if scales is not None else size / n if ratio is None else ratio
        if crops is not None:
            start, end = crops[0][k], crops[1][k]
            step, first = (end - start) * (n - 1), start * (n - 1)
            where = first + (np.arange(size) * (step / (size - 1)) if size > 1 else np.array([step / 2]))
            x = _along(at, x, axis, n, where, scale, mode, old)
            apart = ((where < 0) | (where > n - 1)).reshape(-1, *(1,) * (x.ndim - 1 - axis))
            x = e.where(at.graph.constant(apart), at.attribute("extrapolation_value", 0.0), x) if apart.any() else x
        elif size != n or scale != 1:
            x = _along(at, x, axis, n, PLACES[place](np.arange(size), n, size, scale), scale, mode, old)
    return x


def _crops(at: Reading, rank: int) -> tuple[Any, Any]:
    """Where each axis begins and ends, in parts of its length."""
    array = at.held(1).array
    if array is None:
        at.refuse(f"the region must be known; {FIXED}")
    if array.size != 2 * rank:
        at.fail(f"expected a region of {2 * rank} numbers, found {array.size}")
    return array.ravel()[:rank].astype(np.float64), array.ravel()[rank:].astype(np.float64)


def _one_ratio(at: Reading, sizes: Sequence[Size], wanted: Sequence[Size]) -> tuple[list[int], float]:
    """Sizes that are all as many times the old ones, not larger than was asked for, or not smaller."""
    policy = at.attribute("keep_aspect_ratio_policy", "stretch")
    if policy not in ("not_larger", "not_smaller"):
        at.fail(f"keep_aspect_ratio_policy {policy[:40]!r} is none of ONNX's")
    numbers = [(n, w) for n, w in zip(sizes, wanted, strict=True) if isinstance(n, int) and isinstance(w, int)]
    if len(numbers) < len(sizes):
        at.refuse(f"the aspect ratio of sizes that are not known is not read: {at.tensor().type}")
    ratio = (min if policy == "not_larger" else max)(w / n for n, w in numbers)
    return [math.floor(ratio * n + 0.5) for n, _ in numbers], ratio


def _scales(at: Reading, slot: int, rank: int) -> tuple[float, ...] | None:
    """How much larger each axis becomes; None where sizes are given."""
    if "scales" in at.attributes:
        found: tuple[float, ...] = at.attribute("scales", ())
    elif not at.has(slot) or (at.held(slot).array is not None and at.held(slot).array.size == 0):  # type: ignore[union-attr]
        return None
    else:
        held = at.held(slot)
        array = held.known if held.array is None else held.array
        if array is None:
            at.refuse(f"scales must be known when the model is read; {FIXED}")
        found = tuple(map(float, array.ravel()))
    if len(found) != rank or min(found) <= 0:
        at.fail(f"expected {rank} scales above 0, found {found}")
    return found


def _symbolic(at: Reading, x: Tensor, axis: int, scale: float | None, mode: str) -> Tensor:
    """An axis whose size is not known: it stays, or every element is repeated."""
    if scale == 1:
        return x
    place = at.attribute("coordinate_transformation_mode", "half_pixel")
    whole = scale is not None and scale == int(scale) and mode == "nearest" and place in ("half_pixel", "asymmetric")
    rounding = at.attribute("nearest_mode", "round_prefer_floor")
    if not whole or axis < 2 or (place == "asymmetric" and rounding != "floor" and at.opset >= 11):
        at.refuse(f"resizing an axis of unknown size is read for whole scales and nearest elements, not of {x.type}")
    assert scale is not None
    sizes = list(x.shape[2:])
    sizes[axis - 2] = dims.multiply(sizes[axis - 2], int(scale))
    return resized(x, tuple(sizes))


PLACES: dict[str, Callable[..., Any]] = {
    "half_pixel": lambda k, n, size, scale: (k + 0.5) / scale - 0.5,
    "half_pixel_symmetric": lambda k, n, size, scale: n / 2 * (1 - size / (n * scale)) + (k + 0.5) / scale - 0.5,
    "pytorch_half_pixel": lambda k, n, size, scale: (k + 0.5) / scale - 0.5 if size > 1 else k * 0.0,
    "align_corners": lambda k, n, size, scale: k * ((n - 1) / (n * scale - 1)) if n * scale != 1 else k * 0.0,
    "asymmetric": lambda k, n, size, scale: k / scale,
}
ROUNDED: dict[str, Callable[..., Any]] = {
    "round_prefer_floor": lambda at: np.ceil(at - 0.5),
    "round_prefer_ceil": lambda at: np.floor(at + 0.5),
    "floor": np.floor,
    "ceil": np.ceil,
}


def _along(at: Reading, x: Tensor, axis: int, n: int, where: Any, scale: float, mode: str, old: bool) -> Tensor:
    """An axis at places between its elements."""
    if mode == "nearest":
        rounding = "floor" if old else at.attribute("nearest_mode", "round_prefer_floor")
        if rounding not in ROUNDED:
            at.fail(f"nearest_mode {rounding[:40]!r} is none of ONNX's")
        return _taken(x, np.clip(ROUNDED[rounding](where), 0, n - 1), axis)
    x = x if is_float(x.dtype) else cast(x, x.graph.float_dtype)
    below, a = np.floor(where), at.attribute("cubic_coeff_a", -0.75)
    shrunk = min(scale, 1.0) if at.attribute("antialias", 0) else 1.0  # then each covers as many as come to one
    reach = math.ceil((1 if mode == "linear" else 2) / shrunk)
    if 2 * reach > MOST_TAPS:
        at.refuse(f"{2 * reach} elements for each one are not read, at most {MOST_TAPS}")
    taps = []
    for k in range(1 - reach, reach + 1):
        t = np.abs(below + k - where) * shrunk
        near, far = ((a + 2) * t - (a + 3)) * t * t + 1, ((t - 5) * t + 8) * t * a - 4 * a
        taps.append(
            (below + k, np.clip(1 - t, 0, 1) if mode == "linear" else np.where(t < 1, near, np.where(t < 2, far, 0)))
        )
    if at.attribute("exclude_outside", 0):
        taps = [(index, weight * ((index >= 0) & (index < n))) for index, weight in taps]
    total = sum(weight for _, weight in taps)
    parts = []
    for index, weight in taps:
        shaped = np.reshape(weight / total, (len(where), *(1,) * (x.ndim - 1 - axis))).astype(x.dtype)
        parts.append(_taken(x, np.clip(index, 0, n - 1), axis) * x.graph.constant(shaped))
    return sum(parts[1:], start=parts[0])


def _taken(x: Tensor, index: Any, axis: int) -> Tensor:
    return apply("take", x, x.graph.constant(index.astype(np.int64)), axis=axis)


def global_pool(function: Callable[..., Tensor]) -> Reader:
    """A pool over all axes behind the channels."""
    return lambda at: function(at.tensor(), tuple(range(2, at.tensor().ndim)), keepdims=True)


def global_lp_pool(at: Reading) -> Tensor:
    x, p = at.tensor(), at.attribute("p", 2)
    if p < 1:
        at.fail(f"p must be at least 1, found {p}")
    return _root(reduce.sum(_power(x, p), tuple(range(2, x.ndim)), keepdims=True), p)


IMAGES: dict[str, Reader] = {
    "Conv": conv, "ConvTranspose": conv_transpose, "MaxPool": max_pool, "AveragePool": average_pool, "LpPool": lp_pool,
    "GlobalAveragePool": global_pool(reduce.mean), "GlobalMaxPool": global_pool(reduce.max),
    "GlobalLpPool": global_lp_pool, "Resize": resize, "Upsample": resize, "Col2Im": col2im,
}  # fmt: skip

__all__ = ["IMAGES"]
