"""Convolution, pooling and windows in ONNX."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from graphc.errors import ExportError
from graphc.ir import dims
from graphc.ir.dims import Size
from graphc.ir.types import INT64, Shape, dtype_of, is_float
from graphc.onnx.elementwise import Rule, Site
from graphc.onnx.model import Value
from graphc.ops.windows import extent


def _spans(sizes: Shape, kernel: Shape, stride: Sequence[int], dilation: Sequence[int]) -> list[Size]:
    """Elements from the start of the first window to the end of the last."""
    axes = zip(sizes, kernel, stride, dilation, strict=True)
    return [dims.multiply(n - 1, s) + dims.multiply(d, k - 1) + 1 for n, k, s, d in axes]


def _numbers(values: Sequence[Size], what: str) -> list[int]:
    known = [v for v in values if isinstance(v, int)]
    if len(known) < len(values):
        raise ExportError(f"ONNX wants {what} as numbers, found {', '.join(map(str, values))}")
    return known


def _padding(at: Site, sizes: Shape, spans: Sequence[Size], x: Value, fill: float) -> tuple[Value, list[int]]:
    """The attribute ``pads`` with which windows reach over ``spans``; where it is no number, an operand padded so."""
    before = at.attrs["before"]
    after = [dims.maximum(span - n - low, 0) for n, low, span in zip(sizes, before, spans, strict=True)]
    many = [*before, *after]
    if all(isinstance(p, int) for p in many):
        return x, many
    padded = x.op("Pad", at.model.vector([0, 0, *before, 0, 0, *after]), x.like(fill))
    return padded, [0] * len(many)


def _cut(at: Site, y: Value, spans: Sequence[Size], sizes: Shape, reach: Sequence[int], step: Sequence[int]) -> Value:
    """Without windows that fit in, but were not asked for."""
    before, wanted = at.attrs["before"], at.type.shape[2:]
    room = [dims.maximum(n + low, span) for n, low, span in zip(sizes, before, spans, strict=True)]
    made = [dims.floor_divide(r - e, s) + 1 for r, e, s in zip(room, reach, step, strict=True)]
    if all(not isinstance(m, int) or m == w for m, w in zip(made, wanted, strict=True)):
        return y
    m, axes = at.model, range(2, 2 + len(wanted))
    return y.op("Slice", m.vector([0] * len(wanted)), m.vector(wanted), m.vector(axes))


def conv(at: Site, x: Value, w: Value) -> Value:
    sizes, kernel = at.types[0].shape[2:], at.types[1].shape[2:]
    stride, dilation = at.attrs["stride"], at.attrs["dilation"]
    spans = _spans(at.attrs["sizes"], kernel, stride, dilation)
    x, pads = _padding(at, sizes, spans, x, 0.0)
    named = {"strides": list(stride), "dilations": list(dilation), "pads": pads, "group": at.attrs["groups"]}
    y = x.op("Conv", w, kernel_shape=_numbers(kernel, "the size of filters"), **named)
    reach = [extent(k, d) for k, d in zip(_numbers(kernel, "the size of filters"), dilation, strict=True)]
    return _cut(at, y, spans, sizes, reach, stride)


def conv_input(at: Site, g: Value, w: Value) -> Value:
    kernel, stride, dilation = at.types[1].shape[2:], at.attrs["stride"], at.attrs["dilation"]
    before, sizes = at.attrs["before"], at.attrs["sizes"]
    spans = _spans(at.types[0].shape[2:], kernel, stride, dilation)
    left = [span - low - n for span, low, n in zip(spans, before, sizes, strict=True)]
    beyond = _numbers(left, "what a transposed convolution leaves out")
    extra = [max(0, -n) for n in beyond]
    fits = all(e < s for e, s in zip(extra, stride, strict=True))
    named = {"strides": list(stride), "dilations": list(dilation), "group": at.attrs["groups"]}
    named |= {"pads": [*_numbers(before, "padding"), *(max(0, n) for n in beyond)]}
    named |= {"output_padding": extra} if fits else {}
    y = g.op("ConvTranspose", w, kernel_shape=_numbers(kernel, "the size of filters"), **named)
    zeros = [0] * (2 + len(extra))
    return y if fits else y.op("Pad", at.model.vector([*zeros, 0, 0, *extra]), y.like(0.0))


def conv_filter(at: Site, x: Value, g: Value) -> Value:
    """A convolution in which images are channels: those of each group side by side."""
    kind, other = at.types
    groups, kernel, sizes = at.attrs["groups"], at.attrs["kernel"], kind.shape[2:]
    stride, dilation, found = at.attrs["stride"], at.attrs["dilation"], other.shape[2:]
    rank, channels = len(kernel), dims.floor_divide(kind.shape[1], groups)
    spans = _spans(kernel, found, dilation, stride)
    if groups > 1:
        x = x.reshape((kind.shape[0], groups, channels, *sizes)).op("Transpose", perm=[2, 1, 0, *range(3, 3 + rank)])
        x = x.reshape((channels, dims.multiply(groups, kind.shape[0]), *sizes))
    else:
        x = x.op("Transpose", perm=[1, 0, *range(2, 2 + rank)])
    x, pads = _padding(at, sizes, spans, x, 0.0)
    filters = g.op("Transpose", perm=[1, 0, *range(2, 2 + rank)])
    named = {"strides": list(dilation), "dilations": list(stride), "pads": pads, "group": groups}
    y = x.op("Conv", filters, **named).op("Transpose", perm=[1, 0, *range(2, 2 + rank)])
    m, axes = at.model, range(2, 2 + rank)
    return y.op("Slice", m.vector([0] * rank), m.vector(kernel), m.vector(axes))


def _geometry(at: Site, x: Value, fill: float) -> tuple[Value, dict[str, Any], list[Size]]:
    """A pool's operand and attributes, and what its windows reach over."""
    kernel, stride, dilation = (at.attrs[name] for name in ("kernel", "stride", "dilation"))
    spans = _spans(at.attrs["sizes"], kernel, stride, dilation)
    x, pads = _padding(at, at.types[0].shape[2:], spans, x, fill)
    named = {"kernel_shape": list(kernel), "strides": list(stride), "pads": pads}
    return x, named | ({"dilations": list(dilation)} if set(dilation) != {1} else {}), spans


def _whole(at: Site, y: Value, spans: Sequence[Size]) -> Value:
    reach = [extent(k, d) for k, d in zip(at.attrs["kernel"], at.attrs["dilation"], strict=True)]
    return _cut(at, y, spans, at.types[0].shape[2:], reach, at.attrs["stride"])


def max_pool(at: Site, x: Value) -> Value:
    if not is_float(x.dtype):
        if x.dtype == INT64:
            raise ExportError("ONNX has no largest int64 of a window")
        x = x.cast(dtype_of("float64"))
    x, named, spans = _geometry(at, x, -math.inf)
    return _whole(at, x.op("MaxPool", **named), spans).cast(at.type.dtype)


def _largest(at: Site, x: Value) -> Value:
    """Places of the largest of each window in the flat operand."""
    kernel, stride, dilation = (at.attrs[name] for name in ("kernel", "stride", "dilation"))
    spans = _spans(at.attrs["sizes"], kernel, stride, dilation)
    sizes, m = at.types[0].shape[2:], at.model
    _, pads = _padding(at, sizes, spans, x, -math.inf)
    after = [span - n - low for n, low, span in zip(sizes, at.attrs["before"], spans, strict=True)]
    if not all(isinstance(n, int) for n in (*sizes, *after)):
        raise ExportError("ONNX wants the sizes of pooled images as numbers")
    named = {"kernel_shape": list(kernel), "strides": list(stride), "dilations": list(dilation), "pads": pads}
    found, places = m.fresh("largest"), m.fresh("places")
    m.nodes.append(m.onnx.helper.make_node("MaxPool", [x.name], [found, places], name=found, **named))
    return Value(m, places, INT64)


def max_pool_pick(at: Site, x: Value, h: Value) -> Value:
    places = _largest(at, x)
    return h.op("Reshape", at.model.vector([-1])).op("Gather", places)


def max_pool_put(at: Site, x: Value, g: Value) -> Value:
    m, flat = at.model, at.model.vector([-1])
    places = _largest(at, x).op("Reshape", flat)
    zero = m.onnx.numpy_helper.from_array(np.zeros(1, g.dtype))
    zeros = m.node("ConstantOfShape", [m.vector([at.type.size])], g.dtype, value=zero)
    added = zeros.op("ScatterElements", places, g.op("Reshape", flat), axis=0, reduction="add")
    return added.reshape(at.type.shape)


def avg_pool(at: Site, x: Value) -> Value:
    """Where windows end outside, ONNX's versions and runtimes differ in what they divide by."""
    attrs, sizes = at.attrs, at.types[0].shape[2:]
    kernel, stride, dilation = (attrs[name] for name in ("kernel", "stride", "dilation"))
    spans = _spans(attrs["sizes"], kernel, stride, dilation)
    after = [dims.maximum(s - n - low, 0) for n, low, s in zip(sizes, attrs["before"], spans, strict=True)]
    room = zip(after, attrs["after"], strict=True)
    if not all(isinstance(a, int) and isinstance(b, int) and a <= b for a, b in room) or (
        set(dilation) != {1} and at.model.opset < 19
    ):
        raise ExportError("ONNX has no mean of windows that are dilated, end outside, or of images of any size")
    pads = [*_numbers(attrs["before"], "padding"), *_numbers(after, "padding")]
    named: dict[str, Any] = {"kernel_shape": list(kernel), "strides": list(stride), "pads": pads}
    named |= {"count_include_pad": int(attrs["include"])}
    named |= {"dilations": list(dilation)} if set(dilation) != {1} else {}
    return _whole(at, x.op("AveragePool", **named), spans)


def windows(at: Site, x: Value) -> Value:
    """A gather for each axis of the image, which puts the windows along it and their elements in its place."""
    kernel, rank = at.attrs["kernel"], len(at.attrs["kernel"])
    lead = at.types[0].ndim - rank
    axes = list(zip(at.attrs["sizes"], kernel, at.attrs["stride"], at.attrs["dilation"], strict=True))
    for k, (n, size, s, d) in enumerate(axes):
        m = at.model
        inside = m.constant(np.arange(size, dtype=np.int64) * d)
        starts = m.scalar(0).op("Range", m.scalar(n), m.scalar(1)) * s
        x = x.op("Gather", starts.op("Unsqueeze", m.vector([1])) + inside, axis=lead + 2 * k)
    order = [*range(lead), *(lead + 2 * k for k in range(rank)), *(lead + 2 * k + 1 for k in range(rank))]
    return x if rank == 1 else x.op("Transpose", perm=order)


def windows_add(at: Site, u: Value) -> Value:
    if at.model.opset < 18:
        raise ExportError(f"ONNX adds windows since opset 18, not in {at.model.opset}")
    m, shape, kernel = at.model, at.attrs["shape"], at.attrs["kernel"]
    rank, given = len(kernel), at.types[0].shape
    lead = len(shape) - rank
    moved = u.op("Transpose", perm=[*range(lead), *range(lead + rank, lead + 2 * rank), *range(lead, lead + rank)])
    rows, count = dims.product(shape[:lead]), dims.product(given[lead : lead + rank])
    columns = moved.reshape((rows, math.prod(kernel), count))
    named: dict[str, Any] = {"strides": list(at.attrs["stride"]), "dilations": list(at.attrs["dilation"])}
    added = columns.op("Col2Im", m.vector(shape[lead:]), m.vector(kernel), **named)
    return added.reshape(shape)


IMAGES: dict[str, Rule] = {
    "conv": conv, "conv_input": conv_input, "conv_filter": conv_filter, "max_pool": max_pool,
    "max_pool_pick": max_pool_pick, "max_pool_put": max_pool_put, "avg_pool": avg_pool, "windows": windows,
    "windows_add": windows_add,
}  # fmt: skip

__all__ = ["IMAGES"]
