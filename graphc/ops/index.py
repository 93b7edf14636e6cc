"""Indexing: slices, integers, None and ellipsis; gathering and scattering at indices that are data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from graphc.errors import DTypeError, ShapeError
from graphc.ir import dims
from graphc.ir.dims import Size
from graphc.ir.op import Attrs, Kind, Op, register
from graphc.ir.tensor import Tensor
from graphc.ir.types import TensorType, dtype_of, is_integer, normalize_axis
from graphc.ops.apply import Operand, apply, cast, public, size_node, tensor
from graphc.ops.elementwise import add, checked_index, equal, less, where
from graphc.ops.shape import expand_dims, iota, reshape

Types = Sequence[TensorType]
INT64 = np.dtype("int64")


def _infer_take(types: Types, attrs: Attrs) -> TensorType:
    x, index = types
    if not is_integer(index.dtype):
        raise DTypeError(f"expected integer indices, found {index}")
    axis = attrs["axis"]
    if not 0 <= axis < x.ndim:
        raise ShapeError(f"axis {axis} does not exist in {x}")
    return TensorType(x.dtype, (*x.shape[:axis], *index.shape, *x.shape[axis + 1 :]))


def _infer_scatter(types: Types, attrs: Attrs) -> TensorType:
    index, updates = types
    axis = attrs["axis"]
    if not is_integer(index.dtype):
        raise DTypeError(f"expected integer indices, found {index}")
    if not 0 <= axis <= updates.ndim - index.ndim or updates.shape[axis : axis + index.ndim] != index.shape:
        raise ShapeError(f"expected the shape of {index} on axis {axis} of the updates, found {updates}")
    rest = updates.shape[axis + index.ndim :]
    return TensorType(updates.dtype, (*updates.shape[:axis], attrs["size"], *rest))


def _scatter(index: Any, updates: Any, axis: int, size: int) -> Any:
    shape = (*updates.shape[:axis], size, *updates.shape[axis + index.ndim :])
    out = np.zeros(shape, updates.dtype)
    np.add.at(out, (slice(None),) * axis + (index,), updates)
    return out


register(
    Op(
        "take",
        Kind.GATHER,
        2,
        _infer_take,
        lambda x, index, axis: np.take(x, index, axis),
        (
            lambda g, y, x, i: apply("scatter_add", i, g, axis=y.attrs["axis"], size=x.shape[y.attrs["axis"]]),
            None,
        ),
        attrs=("axis",),
    )
)
register(
    Op(
        "scatter_add",
        Kind.SCATTER,
        2,
        _infer_scatter,
        _scatter,
        (None, lambda g, y, i, u: apply("take", g, i, axis=y.attrs["axis"])),
        attrs=("axis", "size"),
    )
)


def in_range(index: Tensor, size: Size, what: str) -> Tensor:
    """Integer indices as int64 from the front; negative ones count from the end, others are refused when called."""
    if not is_integer(index.dtype):
        raise DTypeError(f"expected integer indices, found {index.type}")
    index = checked_index(cast(index, INT64), -size, size, what)
    return where(less(index, 0), add(index, size_node(index.graph, size)), index)


@public
def take(x: Tensor, indices: Operand, axis: int = 0) -> Tensor:
    """Elements of ``x`` at ``indices`` along ``axis``; repeated indices add up in the gradient.

    Negative indices count from the end. One out of range raises InputIndexError when called.
    """
    a = normalize_axis(axis, x.ndim, "take")
    index = tensor(indices, x.graph)
    return apply("take", x, in_range(index, x.shape[a], "index"), axis=a)


@public
def embedding(indices: Tensor, weight: Tensor) -> Tensor:
    """Rows of ``weight`` at ``indices``."""
    return take(weight, indices, 0)


@public
def one_hot(indices: Tensor, n: Any, dtype: Any = None) -> Tensor:
    """1 at each index along a new last axis of ``n``, else 0; the graph's float by default."""
    size = indices.graph.shape((n,))[0]
    index = in_range(indices, size, "index")
    hot = equal(expand_dims(index, index.ndim), iota(index.graph, size))
    return cast(hot, indices.graph.float_dtype if dtype is None else dtype_of(dtype))


@public
def getitem(x: Tensor, index: Any) -> Tensor:
    """``x[...]`` with slices of any step, ints, None, ``...`` and one integer array or tensor.

    Slices are cut to the axis as NumPy's are, also where its size is symbolic: ``x[:10]`` of 3 rows has 3.

    Raises ShapeError for too many indices or an int out of range, DTypeError for any other kind of index.
    """
    entries = list(index) if isinstance(index, tuple) else [index]
    used = len([e for e in entries if e is not None and e is not Ellipsis])
    dots = len([e for e in entries if e is Ellipsis])
    if dots > 1 or used > x.ndim:
        raise ShapeError(f"too many indices for {x.type}: {len(entries)}")
    if not dots:
        entries.append(Ellipsis)
    where_dots = next(k for k, e in enumerate(entries) if e is Ellipsis)
    entries[where_dots : where_dots + 1] = [slice(None)] * (x.ndim - used)
    starts: list[Size] = []
    steps: list[Size] = []
    sizes: list[Size] = []
    shape: list[Size] = []
    gather: tuple[int, Any] | None = None
    for entry in entries:
        axis = len(starts)
        if entry is None:
            shape.append(1)
            continue
        n = x.shape[axis]
        if isinstance(entry, slice):
            start, step, size = _slice(entry, n)
            shape.append(size)
        elif isinstance(entry, (int, np.integer)) and not isinstance(entry, bool):
            k = int(entry)
            if isinstance(n, int) and not -n <= k < n:
                raise ShapeError(f"index {k} is out of range on axis {axis} of {x.type}")
            start, step, size = (k if k >= 0 else n + k), 1, 1
        elif isinstance(entry, (Tensor, np.ndarray, list)) and gather is None:
            gather = (len(shape), np.empty(0, np.int64) if isinstance(entry, list) and not entry else entry)
            start, step, size = 0, 1, n
            shape.append(n)
        else:
            raise DTypeError(f"expected slices, ints, None, ... and one integer array as index, found {entry!r}")
        starts.append(start)
        steps.append(step)
        sizes.append(size)
    out = x
    if tuple(sizes) != x.shape or starts != [0] * x.ndim or steps != [1] * x.ndim:
        out = apply("slice", x, start=tuple(starts), step=tuple(steps), size=tuple(sizes))
    out = reshape(out, tuple(shape)) if tuple(shape) != out.shape else out
    return out if gather is None else take(out, gather[1], gather[0])


def _slice(entry: slice, n: Size) -> tuple[Size, Size, Size]:
    """Start, step and size of a slice along an axis of ``n``, which may be symbolic."""
    for part in (entry.start, entry.stop, entry.step):
        if part is not None and (isinstance(part, bool) or not isinstance(part, (int, np.integer, dims.Dim))):
            raise DTypeError(f"the parts of a slice must be ints or sizes, found {part!r}")
    step = 1 if entry.step is None else _near(entry.step)
    if step == 0:
        raise ShapeError("the step of a slice must not be 0")
    if isinstance(n, int) and not (isinstance(entry.start, dims.Dim) or isinstance(entry.stop, dims.Dim)):
        start, stop, step = slice(entry.start, entry.stop, step).indices(n)
        return start, step, len(range(start, stop, step))
    if step > 0:
        low, high = (default if part is None else _end(part) for part, default in ((entry.start, 0), (entry.stop, n)))
        first, end = dims.bound(low, n), dims.bound(high, n)
    else:
        first, end = (_behind(part, n, default) for part, default in ((entry.stop, 0), (entry.start, n)))
        low = first
    return first if step > 0 else end - 1, step, _count(low, first, end, abs(step))


FARTHEST = 1 << 60  # no axis is that long


def _near(index: Any) -> int:
    return max(-FARTHEST, min(int(index), FARTHEST))


def _end(index: Any) -> Size:
    return index if isinstance(index, dims.Dim) else _near(index)


def _behind(index: Any, n: Size, default: Size) -> Size:
    """The bound behind the element that a bound of a slice with a negative step names."""
    if index is None:
        return default
    at = _end(index)
    last = 0 if dims.at_most(0, at) else 1 - dims.not_one(-at)  # behind the last element is no bound of a slice
    return dims.bound(at + 1, n) + dims.multiply(last, n)


def _count(low: Size, first: Size, end: Size, stride: int) -> Size:
    """How many of every ``stride``-th element lie from ``first``, which is ``low`` cut to the axis, up to ``end``."""
    width = dims.maximum(end - first, 0)
    plain = dims.floor_divide(end - low + (stride - 1), stride)
    simpler = width != 0 and dims.at_most(0, low) and dims.at_most(0, plain)
    return plain if simpler else dims.floor_divide(width + (stride - 1), stride)
