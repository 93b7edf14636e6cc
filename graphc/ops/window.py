"""Elements with indices of their own along an axis, and windows at a place that is data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from graphc.errors import DTypeError, ShapeError
from graphc.ir.dims import Size
from graphc.ir.tensor import Tensor
from graphc.ir.types import INT64, Shape, is_integer, normalize_axis
from graphc.ops.apply import Operand, apply, cast, public, size_node, tensor
from graphc.ops.elementwise import (
    add,
    checked_index,
    greater_equal,
    less,
    maximum,
    minimum,
    multiply,
    where,
)
from graphc.ops.index import in_range, position
from graphc.ops.scatter import values_of
from graphc.ops.shape import iota, reshape
from graphc.ops.signature import found


@public
def take_along_axis(x: Tensor, indices: Operand, axis: int = -1) -> Tensor:
    """``x[..., i, ...]`` for each index ``i`` along an axis, at the index's own place along all others, as NumPy's.

    ``indices`` has as many axes as ``x``; sizes other than along ``axis`` broadcast. Negative indices count from the
    end; one out of range raises InputIndexError when called. Repeated ones add up in the gradient.

    The dtype is that of ``x``.

    >>> from graphc.ir.graph import Graph
    >>> x = Graph("g").input("x", shape=("n", 4))
    >>> take_along_axis(x, x.argmax(1, keepdims=True)).shape
    (n, 1)
    """
    index = tensor(indices, x.graph)
    if index.ndim != x.ndim or x.ndim == 0:
        raise ShapeError(f"expected indices with the axes of {x.type}, found {index.type}")
    a = normalize_axis(axis, x.ndim, "take_along_axis")
    index = in_range(index, x.shape[a], "index")
    points = [index if k == a else position(x, k) for k in range(x.ndim)]
    return apply("take_points", x, *points, axes=tuple(range(x.ndim)))


def _corner(x: Tensor, starts: Sequence[Any], sizes: Shape) -> list[Tensor]:
    """Where a window begins along each axis, moved so that it lies inside ``x``."""
    if not isinstance(starts, (list, tuple)) or len(starts) != x.ndim or len(sizes) != x.ndim:
        raise ShapeError(f"expected a start and a size for each axis of {x.type}, found {found(starts)}")
    out = []
    for start, size, n in zip(starts, sizes, x.shape, strict=True):
        if isinstance(size, int) and isinstance(n, int) and size > n:
            raise ShapeError(f"a window of {size} does not fit into {x.type}")
        given = tensor(start, x.graph)
        if not is_integer(given.dtype) or given.ndim:
            raise DTypeError(f"a start must be an integer scalar, found {given.type}")
        out.append(maximum(minimum(cast(given, INT64), size_node(x.graph, n - size)), 0))
    return out


@public
def dynamic_slice(x: Tensor, starts: Sequence[Any], sizes: Sequence[Size]) -> Tensor:
    """A window of fixed ``sizes`` of ``x`` that begins at ``starts``: an int or integer scalar for each axis.

    A window that would leave ``x`` is moved inside. Raises ShapeError where it is larger than ``x``.

    >>> from graphc.ir.graph import Graph
    >>> x = Graph("g").input("x", shape=("n", 4))
    >>> dynamic_slice(x, [x.graph.input("i", (), "int64"), 0], (1, 4)).shape
    (1, 4)
    """
    shape = x.graph.shape(tuple(sizes))
    for a, start in enumerate(_corner(x, starts, shape)):
        if shape[a] != x.shape[a]:
            index = checked_index(add(iota(x.graph, shape[a]), start), 0, x.shape[a], "index")
            x = apply("take", x, index, axis=a)
    return x


@public
def dynamic_update_slice(x: Tensor, update: Operand, starts: Sequence[Any]) -> Tensor:
    """``x`` with ``update`` over a window that begins at ``starts``; as `dynamic_slice` otherwise.

    Shape and dtype are those of ``x``.

    >>> import graphc as gx
    >>> x = gx.Graph().input("x", (3,), "float64")
    >>> gx.compile([x], gx.dynamic_update_slice(x, [7.0, 8.0], [1]), backend="numpy")([1, 2, 3]).tolist()
    [1.0, 7.0, 8.0]
    """
    given = values_of(x, update, tensor(update, x.graph).shape)
    inside, out = None, given
    for a, start in enumerate(_corner(x, starts, given.shape)):
        if given.shape[a] == x.shape[a]:
            continue
        offset = add(iota(x.graph, x.shape[a]), multiply(start, -1))
        within = greater_equal(offset, 0) & less(offset, size_node(x.graph, given.shape[a]))
        index = maximum(minimum(offset, size_node(x.graph, given.shape[a] - 1)), 0)
        out = apply("take", out, checked_index(index, 0, given.shape[a], "index"), axis=a)
        wide = reshape(within, tuple(s if k == a else 1 for k, s in enumerate(x.shape)))
        inside = wide if inside is None else inside & wide
    return out if inside is None else where(inside, out, x)


__all__ = ["dynamic_slice", "dynamic_update_slice", "take_along_axis"]
