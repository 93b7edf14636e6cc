"""Images in another size."""

from __future__ import annotations

from typing import Any

from graphc.errors import ShapeError
from graphc.ir.dims import Size
from graphc.ir.tensor import Tensor
from graphc.ir.types import is_float
from graphc.ops.apply import apply, cast, public, size_node
from graphc.ops.elementwise import checked_index, maximum, minimum
from graphc.ops.functions import floor
from graphc.ops.shape import iota, reshape


@public
def resize(x: Tensor, size: Any, *, mode: str = "nearest") -> Tensor:
    """Images (N, C, H, W) with their last axes in another ``size``: one for each, or one number for all.

    mode  "nearest" takes the element at ``floor(k * old / new)``; "linear" the mean of neighbours, weighted by how near
          they are to ``(k + 1/2) * old / new - 1/2`` (half-pixel centres), along each axis

    Raises ShapeError for a size below 1 or an unknown mode.

    >>> from graphc.ir.graph import Graph
    >>> x = Graph("images").input("x", ("n", 3, 7, 7))
    >>> resize(x, (14, 10), mode="linear").shape
    (n, 3, 14, 10)
    """
    if x.ndim < 3:
        raise ShapeError(f"expected images [batch, channels, size ...], found {x.type}")
    if mode not in ("nearest", "linear"):
        raise ShapeError(f'mode must be "nearest" or "linear", found {mode!r}')
    many = tuple(size) if isinstance(size, (tuple, list)) else (size,) * (x.ndim - 2)
    sizes = x.graph.shape(many)
    if len(sizes) != x.ndim - 2 or any(isinstance(s, int) and s < 1 for s in sizes):
        raise ShapeError(f"size must be at least 1 for each of {x.ndim - 2} axes, found {size!r}")
    if mode == "linear" and not is_float(x.dtype):
        x = cast(x, x.graph.float_dtype)
    for axis, n in enumerate(sizes, start=2):
        if n != x.shape[axis]:
            x = _nearest(x, axis, n) if mode == "nearest" else _linear(x, axis, n)
    return x


def _nearest(x: Tensor, axis: int, n: Size) -> Tensor:
    index = iota(x.graph, n) * size_node(x.graph, x.shape[axis]) // size_node(x.graph, n)
    return apply("take", x, checked_index(index, 0, x.shape[axis], "index"), axis=axis)  # files want a proof


def _linear(x: Tensor, axis: int, n: Size) -> Tensor:
    old, new = (cast(size_node(x.graph, s), x.dtype) for s in (x.shape[axis], n))
    place = maximum((cast(iota(x.graph, n), x.dtype) + 0.5) * (old / new) - 0.5, 0.0)
    below = floor(place)
    low = cast(below, iota(x.graph, n).dtype)
    high = minimum(low + 1, size_node(x.graph, x.shape[axis]) - 1)
    weight = reshape(place - below, (n, *(1,) * (x.ndim - 1 - axis)))
    checked = (checked_index(index, 0, x.shape[axis], "index") for index in (low, high))  # files want a proof
    first, second = (apply("take", x, index, axis=axis) for index in checked)
    return first + weight * (second - first)
