"""Convolution of images, and the two other sums of the same products that its derivatives are.

All three are what is left of ``sum x[n, c, stride * o + dilation * k - before] w[m, c, k] g[n, m, o]``, x being 0
outside, with one factor taken out: `conv` is the sum without g, `conv_input` without x, `conv_filter` without w.
So the derivatives of each, of any order, are the other two, and `conv_input` is transposed convolution.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from graphc.errors import ShapeError
from graphc.ir import dims
from graphc.ir.dims import Size
from graphc.ir.op import Attrs, Kind, Op, register
from graphc.ir.tensor import Tensor
from graphc.ir.types import Shape, SizeCheck, TensorType
from graphc.ops import reduce
from graphc.ops.apply import Operand, apply, promoted, public
from graphc.ops.assembly import flip
from graphc.ops.linalg import matmul
from graphc.ops.shape import expand_dims, permute_dims, reshape, swapaxes
from graphc.ops.windows import (
    add_windows,
    count,
    each,
    extent,
    laid,
    over_windows,
    pads,
    windows_added,
    windows_of,
)

Types = Sequence[TensorType]
SHARED = ("stride", "dilation", "before", "groups")


# ---- types


def _whole(size: Size, parts: int, what: str) -> Size:
    quotient = dims.exact_quotient(size, parts)
    if quotient is None:
        raise ShapeError(f"{what}: {size} channels do not divide into {parts} groups")
    return quotient


def _rank(types: Types, attrs: Attrs) -> int:
    """Axes of an image; ShapeError for attributes or operands that do not fit together."""
    left, right = types
    rank = len(attrs["stride"])
    if rank < 1 or left.ndim != rank + 2 or right.ndim != rank + 2:
        raise ShapeError(f"expected {rank + 2} axes each, found {left} and {right}")
    if left.dtype != right.dtype:
        raise ShapeError(f"expected one dtype, found {left} and {right}")
    for name in ("stride", "dilation", "before"):
        values = attrs[name]
        if len(values) != rank or (name != "before" and any(v < 1 for v in values)):
            raise ShapeError(f"expected {name} for each of {rank} axes, found {values}")
    if attrs["groups"] < 1:
        raise ShapeError(f"expected at least one group, found {attrs['groups']}")
    return rank


def _same(left: Size, right: Size, what: str, types: Types) -> None:
    if isinstance(left, int) and isinstance(right, int) and left != right:
        raise ShapeError(f"expected as many {what}: {left} and {right} in {types[0]} and {types[1]}")


def _sizes(attrs: Attrs, name: str, rank: int) -> Shape:
    sizes: Shape = attrs[name]
    if len(sizes) != rank or any(isinstance(s, int) and s < 1 for s in sizes):
        raise ShapeError(f"expected {name} of at least 1 for each of {rank} axes, found {sizes}")
    return sizes


def _infer_conv(types: Types, attrs: Attrs) -> TensorType:
    x, w = types
    size = _sizes(attrs, "sizes", _rank(types, attrs))
    _same(x.shape[1], dims.multiply(w.shape[1], attrs["groups"]), "channels", types)
    _whole(w.shape[0], attrs["groups"], "conv")
    return TensorType(x.dtype, (x.shape[0], w.shape[0], *size))


def _infer_input(types: Types, attrs: Attrs) -> TensorType:
    g, w = types
    size = _sizes(attrs, "sizes", _rank(types, attrs))
    _same(g.shape[1], w.shape[0], "channels", types)
    _whole(w.shape[0], attrs["groups"], "conv_input")
    return TensorType(g.dtype, (g.shape[0], dims.multiply(w.shape[1], attrs["groups"]), *size))


def _infer_filter(types: Types, attrs: Attrs) -> TensorType:
    x, g = types
    kernel = _sizes(attrs, "kernel", _rank(types, attrs))
    _same(x.shape[0], g.shape[0], "images", types)
    _whole(g.shape[1], attrs["groups"], "conv_filter")
    return TensorType(x.dtype, (g.shape[1], _whole(x.shape[1], attrs["groups"], "conv_filter"), *kernel))


def _checks(pairs: Callable[[Types, Attrs], list[tuple[Size, Size]]]) -> Callable[[Types, Attrs], list[SizeCheck]]:
    """Sizes that must be the same, and those of the result, which must be at least 1."""

    def checks(types: Types, attrs: Attrs) -> list[SizeCheck]:
        same = [SizeCheck(a, b, False) for a, b in pairs(types, attrs) if a != b]
        some = [SizeCheck(s, 0, False, positive=True) for s in attrs.get("sizes", ()) if not dims.at_most(1, s)]
        return [*same, *some]

    return checks


# ---- values, by NumPy


def _columns(x: Any, kernel: Any, stride: Any, dilation: Any, low: Any, size: Any, groups: int) -> Any:
    """The windows of padded images, (N, groups, channels, windows ..., kernel ...)."""
    spans = [(n - 1) * s + extent(k, d) for n, k, s, d in zip(size, kernel, stride, dilation, strict=True)]
    u = windows_of(_laid(x, low, spans), kernel, stride, dilation, size)
    return u.reshape(x.shape[0], groups, x.shape[1] // groups, *size, *kernel)


def _laid(x: Any, start: Any, length: Any) -> Any:
    """Images put ``start`` elements behind the front of zeros of ``length``, cut where they reach beyond."""
    out: Any = np.zeros((*x.shape[:2], *length), x.dtype)
    ends = [max(0, min(n, whole - at)) for n, at, whole in zip(x.shape[2:], start, length, strict=True)]
    source = tuple(slice(max(0, -at), end) for at, end in zip(start, ends, strict=True))
    target = tuple(
        slice(max(0, at), max(0, at) + max(0, end - max(0, -at))) for at, end in zip(start, ends, strict=True)
    )
    out[(..., *target)] = x[(..., *source)]
    return out


def _letters(rank: int) -> tuple[str, str]:
    return "opq"[:rank], "klj"[:rank]


def _reference(x: Any, w: Any, stride: Any, dilation: Any, before: Any, groups: int, sizes: Any) -> Any:
    o, k = _letters(len(sizes))
    u = _columns(x, w.shape[2:], stride, dilation, before, sizes, groups)
    grouped = w.reshape(groups, w.shape[0] // groups, *w.shape[1:])
    y = np.einsum(f"ngc{o}{k},gmc{k}->ngm{o}", u, grouped, optimize=True)
    return y.reshape(x.shape[0], w.shape[0], *sizes)


def _reference_input(g: Any, w: Any, stride: Any, dilation: Any, before: Any, groups: int, sizes: Any) -> Any:
    o, k = _letters(len(sizes))
    kernel, found = w.shape[2:], g.shape[2:]
    parts = g.reshape(g.shape[0], groups, g.shape[1] // groups, *found)
    grouped = w.reshape(groups, w.shape[0] // groups, *w.shape[1:])
    u = np.einsum(f"ngm{o},gmc{k}->ngc{o}{k}", parts, grouped, optimize=True)
    u = u.reshape(g.shape[0], groups * w.shape[1], *found, *kernel)
    spans = [(n - 1) * s + extent(q, d) for n, q, s, d in zip(found, kernel, stride, dilation, strict=True)]
    return _laid(windows_added(u, kernel, stride, dilation, (*u.shape[:2], *spans)), [-at for at in before], sizes)


def _reference_filter(x: Any, g: Any, stride: Any, dilation: Any, before: Any, groups: int, kernel: Any) -> Any:
    o, k = _letters(len(kernel))
    u = _columns(x, kernel, stride, dilation, before, g.shape[2:], groups)
    parts = g.reshape(g.shape[0], groups, g.shape[1] // groups, *g.shape[2:])
    w = np.einsum(f"ngc{o}{k},ngm{o}->gmc{k}", u, parts, optimize=True)
    return w.reshape(g.shape[1], x.shape[1] // groups, *kernel)


# ---- what they are made of


def _windows(x: Tensor, kernel: Shape, size: Shape, attrs: Attrs) -> Tensor:
    return over_windows(x, {**attrs, "kernel": kernel, "sizes": size})


def _pointwise(x: Tensor, kernel: Shape, size: Shape, attrs: Attrs) -> bool:
    """True where every window is one element, and they are all elements in order."""
    alone = set(kernel) == {1} == set(attrs["stride"]) and set(attrs["before"]) == {0}
    return alone and x.shape[2:] == tuple(size)


def _matrices(x: Tensor, kernel: Shape, size: Shape, attrs: Attrs) -> Tensor:
    """Windows as columns of matrices: (N, groups, channels * kernel, windows)."""
    rank, groups = len(kernel), attrs["groups"]
    inner = dims.multiply(_whole(x.shape[1], groups, "conv"), math.prod(kernel))
    shape = (x.shape[0], groups, inner, dims.product(size))
    if _pointwise(x, kernel, size, attrs):
        return reshape(x, shape)
    grouped = reshape(x, (x.shape[0], groups, _whole(x.shape[1], groups, "conv"), *x.shape[2:])) if groups > 1 else x
    u, lead = _windows(grouped, kernel, size, attrs), grouped.ndim - rank
    inside, places = range(lead + rank, lead + 2 * rank), range(lead, lead + rank)
    return reshape(permute_dims(u, [*range(lead), *inside, *places]), shape)


def _is_depthwise(channels: Size, groups: int) -> bool:
    """True where each channel has filters of its own: loops are faster than products of so few terms."""
    return channels == groups and groups > 1


def _lower_conv(attrs: Attrs, x: Tensor, w: Tensor) -> Tensor:
    kernel, size, groups = w.shape[2:], attrs["sizes"], attrs["groups"]
    rank, many = len(kernel), _whole(w.shape[0], groups, "conv")
    shape = (x.shape[0], w.shape[0], *size)
    if _is_depthwise(x.shape[1], groups):
        u = expand_dims(_windows(x, kernel, size, attrs), 2)  # N, C, 1, windows ..., kernel ...
        own = reshape(w, (groups, many, *(1,) * rank, *kernel))
        return reshape(reduce.sum(u * own, tuple(range(3 + rank, 3 + 2 * rank))), shape)
    columns = _matrices(x, kernel, size, attrs)
    if groups == 1:
        columns = reshape(columns, (columns.shape[0], *columns.shape[2:]))
        return reshape(matmul(reshape(w, (w.shape[0], columns.shape[1])), columns), shape)
    return reshape(matmul(reshape(w, (groups, many, columns.shape[2])), columns), shape)


def _lower_input(attrs: Attrs, g: Tensor, w: Tensor) -> Tensor:
    """A convolution of ``g``, its elements ``stride`` apart, with filters turned around and channels exchanged.

    Where there are few channels, or most of those elements would be zeros, it is the sum of the windows that a product
    makes of each element of ``g``.
    """
    kernel, groups, rank = w.shape[2:], attrs["groups"], len(attrs["stride"])
    if _by_windows(g, w, attrs):
        return _windows_of_products(attrs, g, w)
    around = [dims.multiply(k - 1, d) for k, d in zip(kernel, attrs["dilation"], strict=True)]
    start = [a - low for a, low in zip(around, attrs["before"], strict=True)]
    apart = laid(g, start, attrs["stride"], [s + a for s, a in zip(attrs["sizes"], around, strict=True)])
    turned = flip(w, tuple(range(2, 2 + rank)))
    inputs, many = w.shape[1], _whole(w.shape[0], groups, "conv_input")
    turned = swapaxes(reshape(turned, (groups, many, inputs, *kernel)), 1, 2)
    turned = reshape(turned, (dims.multiply(inputs, groups), many, *kernel))
    ones = (1,) * rank
    return _lower_conv({**attrs, "stride": ones, "before": (0,) * rank}, apart, turned)


FEW = 16  # channels
FULL = (5, 6)  # of them: the rows of a tile of a product, which reads windows where they lie for so few
MOST = 1 << 18  # elements of all windows of an image


def _by_windows(g: Tensor, w: Tensor, attrs: Attrs) -> bool:
    elements = dims.product((*w.shape[1:], *g.shape[2:]))
    many = not isinstance(w.shape[1], int) or w.shape[1] > FEW or w.shape[1] in FULL
    small = isinstance(elements, int) and elements <= MOST
    alone = set(w.shape[2:]) == {1} or _is_depthwise(dims.multiply(w.shape[1], attrs["groups"]), attrs["groups"])
    return small and not alone and not (many and set(attrs["stride"]) == {1})


def _windows_of_products(attrs: Attrs, g: Tensor, w: Tensor) -> Tensor:
    kernel, groups, rank = w.shape[2:], attrs["groups"], len(attrs["stride"])
    many, inner, found = _whole(w.shape[0], groups, "conv_input"), w.shape[1], g.shape[2:]
    filters = reshape(w, (groups, many, dims.product(w.shape[1:])))
    parts = reshape(g, (g.shape[0], groups, many, dims.product(found)))
    if groups == 1:
        filters, parts = reshape(filters, filters.shape[1:]), reshape(parts, (g.shape[0], *parts.shape[2:]))
    made = matmul(swapaxes(filters, -1, -2), parts)
    u = reshape(made, (g.shape[0], dims.multiply(inner, groups), *kernel, *found))
    u = permute_dims(u, [0, 1, *range(2 + rank, 2 + 2 * rank), *range(2, 2 + rank)])
    return add_windows(u, attrs["sizes"], {**attrs, "kernel": kernel, "sizes": found})


def _lower_filter(attrs: Attrs, x: Tensor, g: Tensor) -> Tensor:
    kernel, size, groups = attrs["kernel"], g.shape[2:], attrs["groups"]
    rank, many, inner = len(kernel), _whole(g.shape[1], groups, "conv"), _whole(x.shape[1], groups, "conv")
    shape = (g.shape[1], inner, *kernel)
    if _is_depthwise(x.shape[1], groups):
        u = expand_dims(_windows(x, kernel, size, attrs), 2)
        own = reshape(g, (g.shape[0], groups, many, *size, *(1,) * rank))
        return reshape(reduce.sum(u * own, (0, *range(3, 3 + rank))), shape)
    columns, windows = _matrices(x, kernel, size, attrs), dims.product(size)
    if groups == 1:
        columns = reshape(columns, (columns.shape[0], *columns.shape[2:]))
        parts = reshape(g, (g.shape[0], g.shape[1], windows))
        return reshape(reduce.sum(matmul(parts, swapaxes(columns, 1, 2)), 0), shape)
    parts = swapaxes(reshape(g, (g.shape[0], groups, many, windows)), 0, 1)
    found = reduce.sum(matmul(parts, permute_dims(columns, (1, 0, 3, 2))), 1)
    return reshape(found, shape)


# ---- the records


def _shared(y: Tensor) -> dict[str, Any]:
    return {name: y.attrs[name] for name in SHARED}


def _without_x(g: Tensor, w: Tensor, y: Tensor, size: Shape) -> Tensor:
    return apply("conv_input", g, w, **_shared(y), sizes=size)


def _without_w(x: Tensor, g: Tensor, y: Tensor, kernel: Shape) -> Tensor:
    return apply("conv_filter", x, g, **_shared(y), kernel=kernel)


def _without_g(x: Tensor, w: Tensor, y: Tensor, size: Shape) -> Tensor:
    return apply("conv", x, w, **_shared(y), sizes=size)


register(
    Op(
        "conv",
        Kind.COMPOSITE,
        2,
        _infer_conv,
        _reference,
        (
            lambda g, y, x, w: _without_x(g, w, y, x.shape[2:]),
            lambda g, y, x, w: _without_w(x, g, y, w.shape[2:]),
        ),
        lower=_lower_conv,
        rows=(True, False),
        checks=_checks(lambda types, attrs: [(types[0].shape[1], dims.multiply(types[1].shape[1], attrs["groups"]))]),
        attrs=(*SHARED, "sizes"),
    )
)
register(
    Op(
        "conv_input",
        Kind.COMPOSITE,
        2,
        _infer_input,
        _reference_input,
        (
            lambda h, y, g, w: _without_g(h, w, y, g.shape[2:]),
            lambda h, y, g, w: _without_w(h, g, y, w.shape[2:]),
        ),
        lower=_lower_input,
        rows=(True, False),
        checks=_checks(lambda types, attrs: [(types[0].shape[1], types[1].shape[0])]),
        attrs=(*SHARED, "sizes"),
    )
)
register(
    Op(
        "conv_filter",
        Kind.COMPOSITE,
        2,
        _infer_filter,
        _reference_filter,
        (
            lambda h, y, x, g: _without_x(g, h, y, x.shape[2:]),
            lambda h, y, x, g: _without_g(x, h, y, g.shape[2:]),
        ),
        lower=_lower_filter,
        checks=_checks(lambda types, attrs: [(types[0].shape[0], types[1].shape[0])]),
        attrs=(*SHARED, "kernel"),
    )
)


# ---- what users call


def _operands(x: Tensor, w: Operand, b: Operand | None, rank: int) -> list[Tensor]:
    found = list(promoted(x, w, *([] if b is None else [b]), floating=True))
    for t, what in zip(found, ("images [batch, channels, size ...]", "filters [out, in, size ...]"), strict=False):
        if t.ndim != rank + 2:
            raise ShapeError(f"expected {what} with {rank + 2} axes, found {t.type}")
    kernel = found[1].shape[2:]
    if any(not isinstance(k, int) or k < 1 for k in kernel):
        raise ShapeError(f"the size of filters must be known and at least 1, found {found[1].type}")
    return found


def _biased(y: Tensor, rest: Sequence[Tensor], rank: int) -> Tensor:
    if not rest:
        return y
    (b,) = rest
    if b.ndim != 1 or (isinstance(b.shape[0], int) and isinstance(y.shape[1], int) and b.shape[0] != y.shape[1]):
        raise ShapeError(f"expected a bias of shape [{y.shape[1]}], found {b.type}")
    return y + reshape(b, (b.shape[0], *(1,) * rank))


def _groups(groups: Any) -> int:
    return each(groups, 1, "groups")[0]


def _conv(rank: int, x: Tensor, w: Operand, b: Any, stride: Any, padding: Any, dilation: Any, groups: Any) -> Tensor:
    image, filters, *rest = _operands(x, w, b, rank)
    step, spread = each(stride, rank, "stride"), each(dilation, rank, "dilation")
    kernel: tuple[int, ...] = filters.shape[2:]  # type: ignore[assignment]
    pairs = pads(padding, image.shape[2:], kernel, step, spread)
    axes = zip(image.shape[2:], pairs, kernel, step, spread, strict=True)
    at = {"stride": step, "dilation": spread, "before": tuple(low for low, _ in pairs), "groups": _groups(groups)}
    y = apply("conv", image, filters, **at, sizes=tuple(count(*axis) for axis in axes))
    return _biased(y, rest, rank)


@public
def conv1d(
    x: Tensor, w: Operand, b: Operand | None = None, *,
    stride: Any = 1, padding: Any = "valid", dilation: Any = 1, groups: int = 1,
) -> Tensor:  # fmt: skip
    """Convolution (cross-correlation) of (N, C, L) with filters (O, C/groups, K), as `conv2d`.

    >>> from graphc.ir.graph import Graph
    >>> g = Graph("series")
    >>> conv1d(g.input("x", ("n", 4, 100)), g.input("w", (8, 4, 5)), padding="same").shape
    (n, 8, 100)
    """
    return _conv(1, x, w, b, stride, padding, dilation, groups)


@public
def conv2d(
    x: Tensor, w: Operand, b: Operand | None = None, *,
    stride: Any = 1, padding: Any = "valid", dilation: Any = 1, groups: int = 1,
) -> Tensor:  # fmt: skip
    """Convolution (cross-correlation) of images (N, C, H, W) with filters (O, C/groups, kh, kw), plus a bias (O,).

    padding  "valid", "same" (ONNX's SAME_UPPER), a number, one for each axis, or (before, after) pairs; of zeros
    stride, dilation   a number, or one for each axis
    groups   channels, in and out, are cut into so many groups that do not mix

    Raises ShapeError where shapes do not fit, DTypeError for arguments that are no ints.

    >>> from graphc.ir.graph import Graph
    >>> g = Graph("images")
    >>> conv2d(g.input("x", ("n", 3, 32, 32)), g.input("w", (16, 3, 3, 3)), stride=2, padding="same").shape
    (n, 16, 16, 16)
    """
    return _conv(2, x, w, b, stride, padding, dilation, groups)


@public
def conv3d(
    x: Tensor, w: Operand, b: Operand | None = None, *,
    stride: Any = 1, padding: Any = "valid", dilation: Any = 1, groups: int = 1,
) -> Tensor:  # fmt: skip
    """Convolution (cross-correlation) of (N, C, D, H, W) with filters (O, C/groups, kd, kh, kw), as `conv2d`.

    >>> import graphc as gx
    >>> g = gx.Graph()
    >>> gx.conv3d(g.input("x", ("n", 2, 8, 8, 8)), g.input("w", (4, 2, 3, 3, 3))).shape
    (n, 4, 6, 6, 6)
    """
    return _conv(3, x, w, b, stride, padding, dilation, groups)


def _transposed(
    rank: int, x: Tensor, w: Operand, b: Any, stride: Any, padding: Any, extra: Any, dilation: Any, groups: Any
) -> Tensor:
    image, filters, *rest = _operands(x, w, b, rank)
    step, spread, more = (
        each(value, rank, what, least)
        for value, what, least in ((stride, "stride", 1), (dilation, "dilation", 1), (extra, "output_padding", 0))
    )
    if any(e >= max(s, d) for e, s, d in zip(more, step, spread, strict=True)):
        raise ShapeError(f"output_padding must be smaller than stride or dilation, found {extra!r}")
    if isinstance(padding, str):
        raise ShapeError(f"the padding of a transposed convolution must be numbers, found {padding!r}")
    kernel: tuple[int, ...] = filters.shape[2:]  # type: ignore[assignment]
    pairs = pads(padding, image.shape[2:], kernel, step, spread)
    size: list[Size] = []
    for n, (low, high), k, s, d, e in zip(image.shape[2:], pairs, kernel, step, spread, more, strict=True):
        size.append(dims.multiply(n - 1, s) + (extent(k, d) + e) - low - high)
    at = {"stride": step, "dilation": spread, "before": tuple(low for low, _ in pairs), "groups": _groups(groups)}
    return _biased(apply("conv_input", image, filters, **at, sizes=tuple(size)), rest, rank)


@public
def conv_transpose1d(
    x: Tensor, w: Operand, b: Operand | None = None, *,
    stride: Any = 1, padding: Any = 0, output_padding: Any = 0, dilation: Any = 1, groups: int = 1,
) -> Tensor:  # fmt: skip
    """Transposed convolution of (N, C, L) with filters (C, O/groups, K), as `conv_transpose2d`.

    >>> import graphc as gx
    >>> g = gx.Graph()
    >>> gx.conv_transpose1d(g.input("x", ("n", 4, 8)), g.input("w", (4, 2, 3)), stride=2).shape
    (n, 2, 17)
    """
    return _transposed(1, x, w, b, stride, padding, output_padding, dilation, groups)


@public
def conv_transpose2d(
    x: Tensor, w: Operand, b: Operand | None = None, *,
    stride: Any = 1, padding: Any = 0, output_padding: Any = 0, dilation: Any = 1, groups: int = 1,
) -> Tensor:  # fmt: skip
    """The adjoint of `conv2d`: images (N, C, H, W) and filters (C, O/groups, kh, kw) to (N, O, ...), plus a bias (O,).

    A size becomes ``(size - 1) * stride - padding before and after + dilation * (kernel - 1) + 1 + output_padding``.
    Raises ShapeError where shapes do not fit, DTypeError for arguments that are no ints.

    >>> from graphc.ir.graph import Graph
    >>> g = Graph("images")
    >>> conv_transpose2d(g.input("x", ("n", 16, 8, 8)), g.input("w", (16, 3, 4, 4)), stride=2, padding=1).shape
    (n, 3, 16, 16)
    """
    return _transposed(2, x, w, b, stride, padding, output_padding, dilation, groups)


@public
def conv_transpose3d(
    x: Tensor, w: Operand, b: Operand | None = None, *,
    stride: Any = 1, padding: Any = 0, output_padding: Any = 0, dilation: Any = 1, groups: int = 1,
) -> Tensor:  # fmt: skip
    """Transposed convolution of (N, C, D, H, W) with filters (C, O/groups, kd, kh, kw), as `conv_transpose2d`.

    >>> import graphc as gx
    >>> g = gx.Graph()
    >>> gx.conv_transpose3d(g.input("x", ("n", 4, 4, 4, 4)), g.input("w", (4, 2, 3, 3, 3))).shape
    (n, 2, 6, 6, 6)
    """
    return _transposed(3, x, w, b, stride, padding, output_padding, dilation, groups)
