"""Order: sorting, the largest elements, medians and quantiles."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from graphc.errors import ShapeError
from graphc.ir import dims
from graphc.ir.op import Attrs, Kind, Op, register
from graphc.ir.tensor import Tensor
from graphc.ir.types import SizeCheck, TensorType, is_float, normalize_axes, normalize_axis
from graphc.ops.apply import Operand, apply, cast, public, size_node, tensor
from graphc.ops.elementwise import isnan, lerp, minimum, where
from graphc.ops.functions import floor
from graphc.ops.index import put_along_last, take, take_along_last
from graphc.ops.shape import expand_dims, moveaxis, permute_dims, reshape

INT64 = np.dtype("int64")
MOST = 2**32  # elements whose places fit into half a word
Axis = int | Sequence[int] | None


def _infer(types: Sequence[TensorType], attrs: Attrs) -> TensorType:
    if types[0].ndim == 0:
        raise ShapeError(f"expected at least one axis, found {types[0]}")
    if isinstance(n := types[0].shape[-1], int) and n > MOST:
        raise ShapeError(f"expected at most {MOST} elements in order, found {n}")
    return TensorType(INT64, types[0].shape)


def _of_width(narrow: str, wide: str) -> Callable[[TensorType, Sequence[TensorType], Attrs], str]:
    """The function of a row of at most 32 bits, or of 64."""
    return lambda out, types, attrs: wide if types[0].dtype.itemsize == 8 else narrow


def _room(least: int, types: Sequence[TensorType]) -> dims.Size:
    """Bytes for a row twice as words, thrice where halves of them take turns, some more, and counts of bytes."""
    size = types[0].dtype.itemsize
    row = (3 if size == 8 else 2) * max(least, size)
    return dims.total([dims.multiply(types[0].shape[-1], row), 8 * row + 9 * 8 * 256])


def _placed_in_halves(types: Sequence[TensorType], attrs: Attrs) -> list[SizeCheck]:
    """Each place goes into half a word."""
    return [SizeCheck(MOST + 1, n, False, positive=True) for n in types[0].shape[-1:] if not isinstance(n, int)]


def _argsort(x: Any, descending: bool) -> Any:
    """NaN comes last either way, and equal elements stay in order."""
    if not descending:
        return np.argsort(x, axis=-1, kind="stable")
    back = x.shape[-1] - 1 - np.argsort(x[..., ::-1], axis=-1, kind="stable")[..., ::-1]
    last = np.take_along_axis(x != x, back, -1)
    return np.take_along_axis(back, np.argsort(last, axis=-1, kind="stable"), -1)


register(
    Op(
        "argsort",
        Kind.ROUTINE,
        1,
        _infer,
        _argsort,
        (None,),
        checks=_placed_in_halves,
        code=_of_width("sorted_places", "sorted_wide_places"),
        core=(1,),
        scratch=lambda types, attrs: _room(8, types),
        attrs=("descending",),
        facts=frozenset({"places"}),
    )
)


def _sort(x: Any, descending: bool) -> Any:
    """-0 is less than 0 here, which are equal to `_argsort`."""
    if x.dtype.kind == "f":
        x = np.take_along_axis(x, np.argsort(np.signbit(x) == descending, axis=-1, kind="stable"), -1)
    return np.take_along_axis(x, _argsort(x, descending), -1)


def _back(g: Tensor, y: Tensor, x: Tensor) -> Tensor:
    """Each element's cotangent to where it came from."""
    return put_along_last(g, apply("argsort", x, descending=y.attrs["descending"]), x.shape)


register(
    Op(
        "sort",
        Kind.ROUTINE,
        1,
        lambda types, attrs: TensorType(types[0].dtype, _infer(types, attrs).shape),
        _sort,
        (_back,),
        code=_of_width("sorted_row", "sorted_wide_row"),
        core=(1,),
        scratch=lambda types, attrs: _room(4, types),
        attrs=("descending",),
    )
)


@public
def argsort(x: Tensor, axis: int = -1, *, descending: bool = False) -> Tensor:
    """The order in which an axis is sorted: int64 indices along it, in the shape of ``x``.

    Equal elements stay in order (stable), and NaN comes last. Sorted as by `sort`, each with its place.

    Raises ShapeError where the axis does not exist or has more than 2**32 elements.

    >>> import numpy as np
    >>> import graphc as gx
    >>> g = gx.Graph("order")
    >>> x = g.input("x", (3,))
    >>> gx.compile([x], gx.argsort(x), backend="numpy")(np.array([3, 1, 2], "float32")).tolist()
    [1, 2, 0]
    """
    at = normalize_axis(axis, x.ndim, "argsort")
    return moveaxis(apply("argsort", moveaxis(x, at, -1), descending=bool(descending)), -1, at)


@public
def sort(x: Tensor, axis: int = -1, *, descending: bool = False) -> Tensor:
    """``x`` sorted along an axis; NaN comes last, and -0 is less than 0. The gradient goes back by `argsort`'s order.

    A network of comparisons (Batcher 1968), or for many elements a pass for each byte (Knuth, *The Art of Computer
    Programming* 3, 5.2.5).

    Shape and dtype are those of ``x``. Raises ShapeError where the axis does not exist.

    >>> import numpy as np
    >>> import graphc as gx
    >>> g = gx.Graph("sorted")
    >>> x = g.input("x", (3,))
    >>> gx.compile([x], gx.sort(x, descending=True), backend="numpy")(np.array([3, 1, 2], "float32")).tolist()
    [3.0, 2.0, 1.0]
    """
    at = normalize_axis(axis, x.ndim, "sort")
    return moveaxis(apply("sort", moveaxis(x, at, -1), descending=bool(descending)), -1, at)


@public
def topk(x: Tensor, k: int, axis: int = -1) -> tuple[Tensor, Tensor]:
    """The ``k`` largest elements along an axis, the largest first, and their int64 indices.

    Of equal elements the first is taken first; NaN counts as the smallest. ShapeError where there are fewer than ``k``.

    >>> import numpy as np
    >>> import graphc as gx
    >>> g = gx.Graph("largest")
    >>> x = g.input("x", (4,))
    >>> values, places = gx.topk(x, 2)
    >>> f = gx.compile([x], [values, places], backend="numpy")
    >>> [y.tolist() for y in f(np.array([3, 1, 4, 2], "float32"))]
    [[4.0, 3.0], [2, 0]]
    """
    at = normalize_axis(axis, x.ndim, "topk")
    size = x.shape[at]
    if isinstance(k, bool) or not isinstance(k, int) or k < 0 or (isinstance(size, int) and k > size):
        raise ShapeError(f"expected a number of elements from 0 to {size}, found {k}")
    rows = moveaxis(x, at, -1)
    order = apply("argsort", rows, descending=True)
    first = take(order, np.arange(k), -1)  # unlike a slice this asks when called whether there are so many
    return moveaxis(take_along_last(rows, first), -1, at), moveaxis(first, -1, at)


def _in_rows(x: Tensor, axis: Axis) -> tuple[Tensor, tuple[int, ...]]:
    """The elements along some axes as one last axis, and those axes."""
    axes = normalize_axes(axis, x.ndim, "quantile")
    keep = [a for a in range(x.ndim) if a not in axes]
    count = dims.product(x.shape[a] for a in axes)
    if count == 0:
        raise ShapeError(f"axes {axes} of {x.type} are empty and have no quantile")
    rows = reshape(permute_dims(x, (*keep, *axes)), (*(x.shape[a] for a in keep), count))
    return rows if is_float(x.dtype) else cast(rows, x.graph.float_dtype), axes


@public
def quantile(x: Tensor, q: Operand, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """The value below which a part ``q`` of the elements lies, along some axes or all.

    Between two elements it is interpolated as by NumPy's default (Hyndman and Fan 1996, number 7). ``q`` is a number
    from 0 to 1, or a vector of them, whose axis then comes first. NaN among the elements gives NaN.

    Axes as in `mean`; a float, the graph's for integers. Raises ShapeError where an axis does not exist or ``q`` is
    outside [0, 1].

    >>> import numpy as np
    >>> import graphc as gx
    >>> g = gx.Graph("quantile")
    >>> x = g.input("x", (4,))
    >>> gx.compile([x], gx.quantile(x, [0.0, 0.5]), backend="numpy")(np.array([4, 1, 3, 2], "float32")).tolist()
    [1.0, 2.5]
    """
    rows, axes = _in_rows(x, axis)
    if not isinstance(q, Tensor):
        parts = np.asarray(q, "float64")
        if parts.ndim > 1 or not ((parts >= 0) & (parts <= 1)).all():
            raise ShapeError(f"expected q from 0 to 1, a number or a vector, found {q}")
    part = cast(tensor(q, x.graph, None if isinstance(q, Tensor) else rows.dtype), rows.dtype)
    if part.ndim > 1:
        raise ShapeError(f"expected q to be a number or a vector, found {part.type}")
    size = size_node(x.graph, rows.shape[-1])
    in_order = apply("sort", rows, descending=False)
    place = part * cast(size - 1, rows.dtype)
    low = cast(floor(place), INT64)
    below, above = take(in_order, low, -1), take(in_order, minimum(low + 1, size - 1), -1)
    out = lerp(below, above, place - floor(place))
    last = in_order[..., -1]
    if part.ndim:
        last = expand_dims(last, last.ndim)
    out = where(isnan(last), last, out)
    if part.ndim:
        out = moveaxis(out, -1, 0)
    return expand_dims(out, tuple(a + part.ndim for a in axes)) if keepdims and axes else out


@public
def median(x: Tensor, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """The middle element along some axes or all; of an even number the mean of the middle two. NaN gives NaN.

    Axes as in `mean`; a float, the graph's for integers. Raises ShapeError where an axis does not exist.

    >>> import numpy as np
    >>> import graphc as gx
    >>> g = gx.Graph("median")
    >>> x = g.input("x", (4,))
    >>> float(gx.compile([x], gx.median(x), backend="numpy")(np.array([4, 1, 3, 2], "float32")))
    2.5
    """
    return quantile(x, 0.5, axis, keepdims)
