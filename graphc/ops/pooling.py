"""Pooling: the largest element and the mean of each window of an image."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce as chained
from typing import Any

import numpy as np

from graphc.errors import DTypeError, ShapeError
from graphc.ir import dims
from graphc.ir.dims import Size
from graphc.ir.graph import Graph
from graphc.ir.op import Attrs, Kind, Op, register
from graphc.ir.tensor import Tensor
from graphc.ir.types import BOOL, DType, Shape, SizeCheck, TensorType, is_float, limits
from graphc.ops import reduce
from graphc.ops.apply import apply, cast, public, size_node
from graphc.ops.assembly import stack
from graphc.ops.elementwise import equal, logical_and, logical_not, logical_or, maximum, not_equal, where
from graphc.ops.shape import broadcast_to, iota, reshape
from graphc.ops.windows import (
    add_windows,
    count,
    each,
    extent,
    laid,
    over_windows,
    pads,
    spans,
    taken_back,
    windows_added,
    windows_of,
)

Types = Sequence[TensorType]
FEW = 8  # elements of a window along an axis
GEOMETRY = ("kernel", "stride", "dilation", "before", "sizes")


# ---- types


def _pooled(x: TensorType, attrs: Attrs) -> TensorType:
    rank = len(attrs["kernel"])
    if rank < 1 or x.ndim != rank + 2:
        raise ShapeError(f"expected images [batch, channels, size ...] with {rank + 2} axes, found {x}")
    for name in GEOMETRY:
        values = attrs[name]
        if len(values) != rank or (name != "before" and any(isinstance(v, int) and v < 1 for v in values)):
            raise ShapeError(f"expected {name} for each of {rank} axes, found {values}")
    return TensorType(x.dtype, (*x.shape[:2], *attrs["sizes"]))


def _infer(types: Types, attrs: Attrs) -> TensorType:
    if types[0].dtype == BOOL:
        raise DTypeError(f"expected numbers, found {types[0]}")
    return _pooled(types[0], attrs)


def _infer_picked(types: Types, attrs: Attrs) -> TensorType:
    x, h = types
    if x.shape != h.shape:
        raise ShapeError(f"expected one shape, found {x} and {h}")
    return _pooled(h, attrs)


def _infer_put(types: Types, attrs: Attrs) -> TensorType:
    x, g = types
    if _pooled(x, attrs).shape != g.shape:
        raise ShapeError(f"expected the shape of the pooled {x}, found {g}")
    return TensorType(g.dtype, x.shape)


def _checks(types: Types, attrs: Attrs) -> list[SizeCheck]:
    return [SizeCheck(s, 0, False, positive=True) for s in attrs["sizes"] if not dims.at_most(1, s)]


# ---- values, by NumPy


def _windows(x: Any, fill: Any, at: Attrs) -> Any:
    """The windows of padded images, their elements along one last axis."""
    shape, before = _padded_shape(x.shape[2:], at), at["before"]
    whole: Any = np.full((*x.shape[:2], *shape), fill, x.dtype)
    whole[(..., *(slice(low, low + n) for low, n in zip(before, x.shape[2:], strict=True)))] = x
    u = windows_of(whole, at["kernel"], at["stride"], at["dilation"], at["sizes"])
    return u.reshape(*u.shape[: u.ndim - len(before)], math.prod(at["kernel"]))


def _padded_shape(sizes: Any, at: Attrs) -> list[int]:
    axes = zip(sizes, at["before"], at["sizes"], at["kernel"], at["stride"], at["dilation"], strict=True)
    return [max(n + low, (count - 1) * s + extent(k, d)) for n, low, count, k, s, d in axes]


def _reference_max(x: Any, **at: Any) -> Any:
    return _windows(x, limits(x.dtype)[0], at).max(-1)


def _reference_pick(x: Any, h: Any, **at: Any) -> Any:
    first = _windows(x, limits(x.dtype)[0], at).argmax(-1)
    return np.take_along_axis(_windows(h, 0, at), first[..., None], -1)[..., 0]


def _reference_put(x: Any, g: Any, **at: Any) -> Any:
    u = _windows(x, limits(x.dtype)[0], at)
    hit = np.arange(u.shape[-1]) == u.argmax(-1)[..., None]
    u = np.where(hit, g[..., None], np.zeros((), g.dtype)).reshape(*g.shape, *at["kernel"])
    shape = (*x.shape[:2], *_padded_shape(x.shape[2:], at))
    whole = windows_added(u, at["kernel"], at["stride"], at["dilation"], shape)
    return whole[(..., *(slice(low, low + n) for low, n in zip(at["before"], x.shape[2:], strict=True)))]


def _reference_mean(x: Any, include: bool, after: Any, **at: Any) -> Any:
    counts = chained(np.multiply.outer, _numbers(x.shape[2:], {**at, "include": include, "after": after}))
    return _windows(x, 0, at).sum(-1) / counts.astype(x.dtype)


def _numbers(sizes: Any, at: Attrs) -> list[Any]:
    """How many elements of a window count, for each window along each axis."""
    axes = zip(sizes, *(at[name] for name in ("kernel", "stride", "dilation", "before", "after", "sizes")), strict=True)
    found = []
    for n, k, s, d, low, high, size in axes:
        place = (np.arange(size) * s - low)[:, None] + np.arange(k) * d
        first, end = (-low, n + high) if at["include"] else (0, n)
        found.append(((place >= first) & (place < end)).sum(1))
    return found


# ---- what they are made of


def _elements(x: Tensor, axis: int, attrs: Attrs) -> list[Tensor]:
    """For each place in a window along an image axis, the elements there of all windows; ``x`` is padded along it."""
    size, step = attrs["sizes"][axis], attrs["stride"][axis]
    at, ones = 2 + axis, (1,) * x.ndim
    whole, steps = (*x.shape[:at], size, *x.shape[at + 1 :]), (*ones[:at], step, *ones[at + 1 :])
    places = (k * attrs["dilation"][axis] for k in range(attrs["kernel"][axis]))
    starts = ((*(0,) * at, place, *(0,) * (x.ndim - at - 1)) for place in places)
    return [apply("slice", x, start=start, step=steps, size=whole) for start in starts]


def _padded(x: Tensor, attrs: Attrs, fill: float = 0.0) -> Tensor:
    """What windows reach of images with ``before`` elements put before them."""
    return laid(x, attrs["before"], (1,) * len(attrs["kernel"]), spans(attrs), fill)


@dataclass(frozen=True, slots=True)
class _Along:
    """Windows along one image axis: the largest element, and for each place but the last whether it is the first such.

    ``earlier`` is True where it does not lie at the last place.
    """

    axis: int
    largest: Tensor
    first: list[Tensor]
    earlier: Tensor | None


def _by_axes(x: Tensor, attrs: Attrs) -> list[_Along]:
    """Windows axis by axis, the last axis first: of equal elements the first one is the same as in whole windows.

    Such loops run along rows of an image, which goes in vectors.
    """
    x, out = _padded(x, attrs, float(limits(x.dtype)[0])), []
    for axis in reversed(range(len(attrs["kernel"]))):
        elements = _elements(x, axis, attrs)
        x = chained(maximum, elements)
        first: list[Tensor] = []
        earlier: Tensor | None = None
        for element in elements[:-1]:
            met = equal(element, x)
            met = logical_or(met, not_equal(element, element)) if is_float(x.dtype) else met
            first.append(met if earlier is None else logical_and(met, logical_not(earlier)))
            earlier = met if earlier is None else logical_or(earlier, met)
        out.append(_Along(axis, x, first, earlier))
    return out


def _few(attrs: Attrs) -> bool:
    """Whether windows are small enough to compare their elements without a loop."""
    return all(k <= FEW for k in attrs["kernel"])


def _largest(x: Tensor, attrs: Attrs) -> Tensor:
    if _few(attrs):
        return _by_axes(x, attrs)[-1].largest
    u = over_windows(x, attrs, float(limits(x.dtype)[0]))
    return reduce.max(u, _inside(u, attrs))


def _inside(u: Tensor, attrs: Attrs) -> tuple[int, ...]:
    """The axes of a window's elements."""
    return tuple(range(u.ndim - len(attrs["kernel"]), u.ndim))


def _first(x: Tensor, attrs: Attrs) -> Tensor:
    """True at the first largest element of each window."""
    u = over_windows(x, attrs, float(limits(x.dtype)[0]))
    inside, largest = _inside(u, attrs), _largest(x, attrs)
    met = equal(u, reshape(largest, (*largest.shape, *(1,) * len(attrs["kernel"]))))
    if is_float(x.dtype):
        met = logical_or(met, not_equal(u, u))
    places = math.prod(attrs["kernel"])
    index = reshape(iota(x.graph, places), (*(1,) * (u.ndim - len(inside)), *attrs["kernel"]))
    first = reduce.min(where(met, index, places), inside, keepdims=True)
    return equal(index, first)


def _lower_max(attrs: Attrs, x: Tensor) -> Tensor:
    return _largest(x, attrs)


def _lower_pick(attrs: Attrs, x: Tensor, h: Tensor) -> Tensor:
    if not _few(attrs):
        u = over_windows(h, attrs)
        return cast(reduce.sum(where(_first(x, attrs), u, 0), _inside(u, attrs)), h.dtype)
    h = _padded(h, attrs)
    for along in _by_axes(x, attrs):
        *elements, h = _elements(h, along.axis, attrs)
        for first, element in zip(along.first, elements, strict=True):
            h = where(first, element, h)
    return h


def _lower_put(attrs: Attrs, x: Tensor, g: Tensor) -> Tensor:
    apart = attrs["stride"] == attrs["kernel"] and max(attrs["dilation"]) == 1  # windows side by side
    if not (apart and _few(attrs)):
        spread = reshape(g, (*g.shape, *(1,) * len(attrs["kernel"])))
        return add_windows(where(_first(x, attrs), spread, 0), x.shape[2:], attrs)
    for along in reversed(_by_axes(x, attrs)):
        parts = [where(first, g, 0) for first in along.first]
        parts.append(g if along.earlier is None else where(along.earlier, 0, g))
        at = 2 + along.axis
        whole = dims.multiply(g.shape[at], len(parts))
        g = reshape(stack(parts, at + 1), (*g.shape[:at], whole, *g.shape[at + 1 :]))
    return taken_back(g, attrs["before"], x.shape[2:])


def _divisor(graph: Graph, sizes: Shape, attrs: Attrs, dtype: DType) -> Tensor:
    """How many elements of each window count: one number where it is the same for all."""
    rank, names = len(sizes), ("kernel", "stride", "dilation", "before", "after", "sizes")
    known = all(isinstance(v, int) for v in (*sizes, *attrs["before"], *attrs["after"], *attrs["sizes"]))
    if known:
        found = _numbers(sizes, attrs)
        if all((n == n[0]).all() for n in found):
            return graph.constant(float(math.prod(int(n[0]) for n in found)), dtype)
        return graph.constant(chained(np.multiply.outer, found).astype(dtype))
    total: Tensor | None = None
    for axis, (n, k, s, d, low, high, size) in enumerate(zip(sizes, *(attrs[name] for name in names), strict=True)):
        start = iota(graph, size) * s - size_node(graph, low)
        first, end = (0 - low, n + high) if attrs["include"] else (0, n)
        some: Tensor | None = None
        for j in range(k):
            inside = logical_and(start + j * d >= size_node(graph, first), start + j * d < size_node(graph, end))
            one = cast(inside, dtype)
            some = one if some is None else some + one
        assert some is not None
        along = reshape(some, tuple(size if a == axis else 1 for a in range(rank)))
        total = along if total is None else total * along
    assert total is not None
    return total


def _lower_mean(attrs: Attrs, x: Tensor) -> Tensor:
    u = over_windows(x, attrs)
    return reduce.sum(u, _inside(u, attrs)) / _divisor(x.graph, x.shape[2:], attrs, x.dtype)


def _mean_gradient(g: Tensor, y: Tensor, x: Tensor) -> Tensor:
    attrs, sizes = y.attrs, x.shape[2:]
    share = g / _divisor(g.graph, sizes, attrs, g.dtype)
    kernel = attrs["kernel"]
    u = broadcast_to(reshape(share, (*share.shape, *(1,) * len(kernel))), (*share.shape, *kernel))
    return add_windows(u, sizes, attrs)


# ---- the records


def _geometry(y: Tensor) -> dict[str, Any]:
    return {name: y.attrs[name] for name in GEOMETRY}


register(
    Op(
        "max_pool",
        Kind.COMPOSITE,
        1,
        _infer,
        _reference_max,
        (lambda g, y, x: apply("max_pool_put", x, g, **_geometry(y)),),
        lower=_lower_max,
        rows=(True,),
        checks=_checks,
        attrs=GEOMETRY,
    )
)
register(
    Op(
        "max_pool_pick",  # of the second operand, the elements where the first one's windows have their largest
        Kind.COMPOSITE,
        2,
        _infer_picked,
        _reference_pick,
        (None, lambda g, y, x, h: apply("max_pool_put", x, g, **_geometry(y))),
        lower=_lower_pick,
        rows=(True, True),
        checks=_checks,
        attrs=GEOMETRY,
        facts=frozenset(("linear",)),
    )
)
register(
    Op(
        "max_pool_put",  # the second operand's elements added there, among zeros
        Kind.COMPOSITE,
        2,
        _infer_put,
        _reference_put,
        (None, lambda h, y, x, g: apply("max_pool_pick", x, h, **_geometry(y))),
        lower=_lower_put,
        rows=(True, True),
        checks=_checks,
        attrs=GEOMETRY,
        facts=frozenset(("linear",)),
    )
)
register(
    Op(
        "avg_pool",
        Kind.COMPOSITE,
        1,
        _infer,
        _reference_mean,
        (_mean_gradient,),
        lower=_lower_mean,
        rows=(True,),
        checks=_checks,
        attrs=(*GEOMETRY, "after", "include"),
        facts=frozenset(("linear",)),
    )
)


# ---- what users call


def _pool(
    rank: int, x: Tensor, kernel_size: Any, stride: Any, padding: Any, dilation: Any, ceil_mode: bool
) -> dict[str, Any]:
    if x.ndim != rank + 2:
        raise ShapeError(f"expected images [batch, channels, size ...] with {rank + 2} axes, found {x.type}")
    kernel = each(kernel_size, rank, "kernel_size")
    step = kernel if stride is None else each(stride, rank, "stride")
    spread = each(dilation, rank, "dilation")
    pairs = pads(padding, x.shape[2:], kernel, step, spread)
    size: list[Size] = []
    for n, pair, k, s, d in zip(x.shape[2:], pairs, kernel, step, spread, strict=True):
        if any(isinstance(p, int) and p >= extent(k, d) for p in pair):
            raise ShapeError(f"padding must be smaller than a window of {extent(k, d)} elements, found {padding!r}")
        size.append(count(n, pair, k, s, d, ceil_mode))
    low, high = zip(*pairs, strict=True)
    return {"kernel": kernel, "stride": step, "dilation": spread, "before": low, "sizes": tuple(size), "after": high}


def _max_pool(rank: int, x: Tensor, *arguments: Any) -> Tensor:
    attributes = _pool(rank, x, *arguments)
    return apply("max_pool", x, **{name: attributes[name] for name in GEOMETRY})


def _avg_pool(rank: int, x: Tensor, *arguments: Any, include: bool) -> Tensor:
    x = x if is_float(x.dtype) else cast(x, x.graph.float_dtype)
    return apply("avg_pool", x, **_pool(rank, x, *arguments), include=bool(include))


@public
def max_pool1d(
    x: Tensor, kernel_size: Any, *, stride: Any = None, padding: Any = 0, dilation: Any = 1, ceil_mode: bool = False
) -> Tensor:
    """The largest element of each window of (N, C, L), as `max_pool2d`.

    >>> import graphc as gx
    >>> x = gx.Graph().input("x", ("n", 3, 8))
    >>> gx.max_pool1d(x, 2).shape
    (n, 3, 4)
    """
    return _max_pool(1, x, kernel_size, stride, padding, dilation, ceil_mode)


@public
def max_pool2d(
    x: Tensor, kernel_size: Any, *, stride: Any = None, padding: Any = 0, dilation: Any = 1, ceil_mode: bool = False
) -> Tensor:
    """The largest element of each window of images (N, C, H, W); NaN where there is one.

    Windows lie ``stride`` apart, a window's size by default, and are padded by -inf. With ``ceil_mode`` one that begins
    inside may end outside. The gradient goes to the first of the largest elements of a window.

    Raises ShapeError where windows do not fit, DTypeError for arguments that are no ints.

    The dtype is that of ``x``.

    >>> from graphc.ir.graph import Graph
    >>> x = Graph("images").input("x", ("n", 3, 7, 7))
    >>> max_pool2d(x, 2).shape, max_pool2d(x, 3, stride=2, padding=1, ceil_mode=True).shape
    ((n, 3, 3, 3), (n, 3, 4, 4))
    """
    return _max_pool(2, x, kernel_size, stride, padding, dilation, ceil_mode)


@public
def max_pool3d(
    x: Tensor, kernel_size: Any, *, stride: Any = None, padding: Any = 0, dilation: Any = 1, ceil_mode: bool = False
) -> Tensor:
    """The largest element of each window of (N, C, D, H, W), as `max_pool2d`.

    >>> import graphc as gx
    >>> x = gx.Graph().input("x", ("n", 3, 8, 8, 8))
    >>> gx.max_pool3d(x, 2).shape
    (n, 3, 4, 4, 4)
    """
    return _max_pool(3, x, kernel_size, stride, padding, dilation, ceil_mode)


@public
def avg_pool1d(
    x: Tensor, kernel_size: Any, *, stride: Any = None, padding: Any = 0, dilation: Any = 1, ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> Tensor:  # fmt: skip
    """The mean of each window of (N, C, L), as `avg_pool2d`.

    >>> import graphc as gx
    >>> x = gx.Graph().input("x", ("n", 3, 8))
    >>> gx.avg_pool1d(x, 2).shape
    (n, 3, 4)
    """
    return _avg_pool(1, x, kernel_size, stride, padding, dilation, ceil_mode, include=count_include_pad)


@public
def avg_pool2d(
    x: Tensor, kernel_size: Any, *, stride: Any = None, padding: Any = 0, dilation: Any = 1, ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> Tensor:  # fmt: skip
    """The mean of each window of images (N, C, H, W).

    Windows are those of `max_pool2d`, padded by zeros. A window's sum is divided by the number of its elements inside
    the padded image, or, without ``count_include_pad``, inside the image itself.

    A float. Raises ShapeError where windows do not fit, DTypeError for arguments that are no ints.

    >>> from graphc.ir.graph import Graph
    >>> x = Graph("images").input("x", ("n", 3, 7, 7))
    >>> avg_pool2d(x, 3, stride=2, padding=1, count_include_pad=False).shape
    (n, 3, 4, 4)
    """
    return _avg_pool(2, x, kernel_size, stride, padding, dilation, ceil_mode, include=count_include_pad)


@public
def avg_pool3d(
    x: Tensor, kernel_size: Any, *, stride: Any = None, padding: Any = 0, dilation: Any = 1, ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> Tensor:  # fmt: skip
    """The mean of each window of (N, C, D, H, W), as `avg_pool2d`.

    >>> import graphc as gx
    >>> x = gx.Graph().input("x", ("n", 3, 8, 8, 8))
    >>> gx.avg_pool3d(x, 2).shape
    (n, 3, 4, 4, 4)
    """
    return _avg_pool(3, x, kernel_size, stride, padding, dilation, ceil_mode, include=count_include_pad)


def _image_axes(x: Tensor) -> tuple[int, ...]:
    if x.ndim < 3:
        raise ShapeError(f"expected images [batch, channels, size ...], found {x.type}")
    return tuple(range(2, x.ndim))


@public
def global_avg_pool(x: Tensor) -> Tensor:
    """The mean of each channel of images, (N, C, H, W) to (N, C, 1, 1), for any number of image axes.

    A float. Raises ShapeError where there are no image axes.

    >>> import graphc as gx
    >>> x = gx.Graph().input("x", ("n", 3, 8, 8))
    >>> gx.global_avg_pool(x).shape
    (n, 3, 1, 1)
    """
    return reduce.mean(x, _image_axes(x), keepdims=True)


@public
def global_max_pool(x: Tensor) -> Tensor:
    """The largest element of each channel of images, (N, C, H, W) to (N, C, 1, 1); the gradient is shared by ties.

    The dtype is that of ``x``. Raises ShapeError where there are no image axes.

    >>> import graphc as gx
    >>> x = gx.Graph().input("x", ("n", 3, 8, 8))
    >>> gx.global_max_pool(x).shape
    (n, 3, 1, 1)
    """
    return reduce.max(x, _image_axes(x), keepdims=True)
