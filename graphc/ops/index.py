"""Indexing: slices, integers, None and ellipsis; gathering and scattering at indices that are data."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np

from graphc.errors import DTypeError, ShapeError
from graphc.ir import dims
from graphc.ir.dims import Size
from graphc.ir.op import ADDITION, Attrs, Kind, Op, register
from graphc.ir.tensor import Tensor
from graphc.ir.types import (
    Shape,
    TensorType,
    broadcast_checks,
    broadcast_shapes,
    dtype_of,
    is_integer,
    normalize_axis,
    shape_text,
)
from graphc.ops.apply import Operand, apply, cast, public, size_node, tensor
from graphc.ops.elementwise import add, checked_index, equal, less, where
from graphc.ops.shape import expand_dims, iota, permute_dims, reshape

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


def infer_scatter(types: Types, attrs: Attrs) -> TensorType:
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
    flat = updates.reshape(*updates.shape[:axis], index.size, *updates.shape[axis + index.ndim :])
    order = np.argsort(index, axis=None, kind="stable")
    places, rows = index.ravel()[order], np.moveaxis(flat, axis, 0)[order]
    while True:  # of the rows for one place every other is added to the one before it
        starts = np.flatnonzero(np.diff(places, prepend=-1))
        odd = (np.arange(len(places)) - np.repeat(starts, np.diff(starts, append=len(places)))) % 2 == 1
        if not odd.any():
            break
        rows[np.flatnonzero(odd) - 1] += rows[odd]
        places, rows = places[~odd], rows[~odd]
    np.moveaxis(out, axis, 0)[places] = rows
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
        infer_scatter,
        _scatter,
        (None, lambda g, y, i, u: apply("take", g, i, axis=y.attrs["axis"])),
        combine=ADDITION,
        identity=lambda dtype: 0,
        attrs=("axis", "size"),
    )
)


# ---- the same at several indices, which broadcast: one for each of ``axes``, in order; their axes stand at the first


def _points(types: Types, axes: Sequence[int], ndim: int) -> Shape:
    """The shape of indices that have met."""
    if any(not is_integer(t.dtype) for t in types):
        raise DTypeError(f"expected integer indices, found {', '.join(map(str, types))}")
    if len(axes) != len(types) or list(axes) != sorted({a for a in axes if 0 <= a < ndim}) or not axes:
        raise ShapeError(f"expected an axis for each of {len(types)} indices, in order, found {axes}")
    return broadcast_shapes(*(t.shape for t in types))


def _infer_take_points(types: Types, attrs: Attrs) -> TensorType:
    x, axes = types[0], attrs["axes"]
    met = _points(types[1:], axes, x.ndim)
    rest = [s for a, s in enumerate(x.shape) if a not in axes]
    return TensorType(x.dtype, (*rest[: axes[0]], *met, *rest[axes[0] :]))


def _infer_scatter_points(types: Types, attrs: Attrs) -> TensorType:
    updates, axes, sizes = types[-1], attrs["axes"], attrs["sizes"]
    met = _points(types[:-1], axes, updates.ndim + len(axes))
    first, rank = axes[0], len(met)
    if len(sizes) != len(axes) or updates.shape[first : first + rank] != met:
        raise ShapeError(f"expected {shape_text(met)} on axis {first} of the updates and {len(axes)} sizes")
    rest = iter((*updates.shape[:first], *updates.shape[first + rank :]))
    known = dict(zip(axes, sizes, strict=True))
    ndim = updates.ndim - rank + len(axes)
    if axes[-1] >= ndim:
        raise ShapeError(f"axis {axes[-1]} does not exist in a result of {ndim} dimensions")
    return TensorType(updates.dtype, tuple(known[a] if a in known else next(rest) for a in range(ndim)))


def _take_points(x: Any, *indices: Any, axes: Any) -> Any:
    rank = np.broadcast(*indices).ndim
    found = np.moveaxis(x, axes, range(len(axes)))[indices]
    return np.moveaxis(found, range(rank), range(axes[0], axes[0] + rank))


def _scatter_points(*operands: Any, axes: Any, sizes: Any) -> Any:
    *indices, updates = operands
    first, rank = axes[0], np.broadcast(*indices).ndim
    front = np.moveaxis(updates, range(first, first + rank), range(rank))
    at = reduce(lambda at, k: at * sizes[k] + indices[k], range(len(sizes)), 0)
    out = _scatter(at, front, 0, math.prod(sizes)).reshape(*sizes, *front.shape[rank:])
    return np.moveaxis(out, range(len(axes)), axes)


def _take_points_gradient(g: Tensor, y: Tensor, operands: Sequence[Tensor], slot: int) -> Tensor:
    x, *indices = operands
    axes = y.attrs["axes"]
    return apply("scatter_points", *indices, g, axes=axes, sizes=tuple(x.shape[a] for a in axes))


register(
    Op(
        "take_points",
        Kind.GATHER,
        None,
        _infer_take_points,
        _take_points,
        _take_points_gradient,
        checks=lambda types, attrs: broadcast_checks([t.shape for t in types[1:]]),
        attrs=("axes",),
    )
)
register(
    Op(
        "scatter_points",
        Kind.SCATTER,
        None,
        _infer_scatter_points,
        _scatter_points,
        lambda g, y, operands, slot: apply("take_points", g, *operands[:-1], axes=y.attrs["axes"]),
        combine=ADDITION,
        identity=lambda dtype: 0,
        checks=lambda types, attrs: broadcast_checks([t.shape for t in types[:-1]]),
        attrs=("axes", "sizes"),
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

    The axis is replaced by those of ``indices``, integers; the dtype is that of ``x``.

    >>> import graphc as gx
    >>> x = gx.Graph().input("x", (2, 3), "float64")
    >>> gx.compile([x], gx.take(x, [2, 0], axis=1), backend="numpy")([[1, 2, 3], [4, 5, 6]]).tolist()
    [[3.0, 1.0], [6.0, 4.0]]
    """
    a = normalize_axis(axis, x.ndim, "take")
    index = tensor(indices, x.graph)
    return apply("take", x, in_range(index, x.shape[a], "index"), axis=a)


def position(x: Tensor, axis: int) -> Tensor:
    """Each element's own index along an axis, in a shape that broadcasts to that of ``x``."""
    return reshape(iota(x.graph, x.shape[axis]), tuple(s if k == axis else 1 for k, s in enumerate(x.shape)))


def _each_row(x: Tensor) -> list[Tensor]:
    """Indices of the axes before the last."""
    return [position(x, axis) for axis in range(x.ndim - 1)]


def take_along_last(x: Tensor, index: Tensor) -> Tensor:
    """For each row of ``x`` the elements at that row's indices, which are known to lie in range."""
    return apply("take_points", x, *_each_row(x), index, axes=tuple(range(x.ndim)))


def put_along_last(x: Tensor, index: Tensor, shape: Shape) -> Tensor:
    """For each row of ``x`` its elements added to zeros of a shape, at that row's indices."""
    return apply("scatter_points", *_each_row(x), index, x, axes=tuple(range(x.ndim)), sizes=shape)


@public
def embedding(indices: Tensor, weight: Tensor) -> Tensor:
    """Rows of ``weight`` at ``indices``.

    ``indices`` are integers (...), ``weight`` is (n, units), and the result (..., units) has its dtype. Raises
    DTypeError for other indices; one out of range is an InputIndexError when called.

    >>> import graphc as gx
    >>> g = gx.Graph()
    >>> gx.embedding(g.input("words", ("n", 7), "int64"), g.parameter("table", gx.init.normal((100, 16)))).shape
    (n, 7, 16)
    """
    return take(weight, indices, 0)


@public
def one_hot(indices: Tensor, n: Any, dtype: Any = None) -> Tensor:
    """1 at each index along a new last axis of ``n``, else 0; the graph's float by default.

    Raises DTypeError where indices are no integers; one out of range is an InputIndexError when called.

    >>> import graphc as gx
    >>> x = gx.Graph().input("x", (2,), "int64")
    >>> gx.compile([x], gx.one_hot(x, 3), backend="numpy")([2, 0]).tolist()
    [[0.0, 0.0, 1.0], [1.0, 0.0, 0.0]]
    """
    size = indices.graph.shape((n,))[0]
    index = in_range(indices, size, "index")
    hot = equal(expand_dims(index, index.ndim), iota(index.graph, size))
    return cast(hot, indices.graph.float_dtype if dtype is None else dtype_of(dtype))


@public
def getitem(x: Tensor, index: Any) -> Tensor:
    """``x[...]`` by NumPy's rules: slices of any step, ints, None, ``...``, and integer arrays or tensors.

    Slices are cut to the axis, also where its size is symbolic: ``x[:10]`` of 3 rows has 3. Several arrays broadcast,
    and an int beside an array is one of them. Their axes stand where they stood, or in front where a slice, None or
    ``...`` lies between them. Negative indices count from the end; repeated ones add up in the gradient.

    A bool mask whose elements are known (an array, a list or a constant) stands for the places where it is True, over
    as many axes as it has. Of a mask that is computed the sizes of the result would depend on data: a DTypeError,
    which names ``gx.where``.

    Raises ShapeError for too many indices, an int out of range or a mask of another size, DTypeError for any other kind
    of index. An array's index out of range raises InputIndexError when called.

    >>> from graphc.ir.graph import Graph
    >>> x = Graph("grid").input("x", shape=("n", 4, 5))
    >>> x[:2, 1].shape, x[[0, 2], [[1], [3]]].shape, x[0, :, [1, 2, 1]].shape
    ((min(2, n), 5), (2, 2, 5), (3, 4))
    """
    x = _sized(x, index)
    entries, apart = parsed(x, index)
    along = [e for e in entries if e.axis is not None]
    start, step, size = (tuple(getattr(e, field) for e in along) for field in ("start", "step", "size"))
    out = x
    if size != x.shape or start != (0,) * x.ndim or step != (1,) * x.ndim:
        out = apply("slice", x, start=start, step=step, size=size)
    kept = [e for e in entries if e.kept]
    shape = tuple(e.size for e in kept)
    out = reshape(out, shape) if shape != out.shape else out
    points = {place: e.point for place, e in enumerate(kept) if e.point is not None}
    return _at_points(out, points, apart) if points else out


@dataclass(frozen=True, slots=True, eq=False)
class Entry:
    """One entry of an index.

    axis   of the tensor that is indexed; None for a new axis
    start, step, size  of the elements along it; all of them where there is a ``point``
    kept   whether it has an axis in the result
    point  indices along the axis, tested to lie in it
    """

    axis: int | None
    start: Size = 0
    step: int = 1
    size: Size = 1
    kept: bool = True
    point: Tensor | None = None


def parsed(x: Tensor, index: Any) -> tuple[list[Entry], bool]:
    """The entries of an index of ``x``, and whether its arrays' axes go to the front: something lies between them."""
    given = _spread(x, index)
    arrays = any(_is_array(entry) for entry in given)
    entries: list[Entry] = []
    places: list[int] = []  # of arrays and ints
    axis = 0
    for place, entry in enumerate(given):
        if entry is Ellipsis:
            continue
        if entry is None:
            entries.append(Entry(None))
            continue
        n = x.shape[axis]
        if isinstance(entry, slice):
            entries.append(Entry(axis, *_slice(entry, n)))
        else:
            _check_kind(entry)
            places.append(place)
            if _is_array(entry) or (arrays and not isinstance(n, int)):
                entries.append(Entry(axis, size=n, point=_point(x, entry, n)))
            else:
                entries.append(Entry(axis, _single(x, entry, axis), kept=False))
        axis += 1
    return entries, bool(places) and places != list(range(places[0], places[0] + len(places)))


def _spread(x: Tensor, index: Any) -> list[Any]:
    """The entries of an index, one for each axis of ``x`` and each new one; 0-d arrays are ints.

    An ellipsis stays, behind the axes that it stands for: it keeps arrays apart even where it stands for none.
    """
    given = list(index) if isinstance(index, tuple) else [index]
    given = [int(e) if isinstance(e, np.ndarray) and e.ndim == 0 and is_integer(e.dtype) else e for e in given]
    given = _without_masks(x, given)
    used = len([e for e in given if e is not None and e is not Ellipsis])
    dots = [k for k, e in enumerate(given) if e is Ellipsis]
    if len(dots) > 1 or used > x.ndim:
        raise ShapeError(f"too many indices for {x.type}: {len(given)}")
    at = dots[0] if dots else len(given)
    return [*given[:at], *[slice(None)] * (x.ndim - used), *given[at:]]


def _known_mask(entry: Any) -> Any:
    """The elements of a bool mask that are known; None for any other entry of an index."""
    if isinstance(entry, Tensor):
        entry = entry.node.value if entry.op.name == "constant" else None
    elif isinstance(entry, list):
        entry = np.asarray(entry) if _holds_bools(entry) else None
    mask = isinstance(entry, np.ndarray) and entry.dtype == np.dtype("bool") and entry.ndim > 0
    return entry if mask else None


def _holds_bools(entry: Any) -> bool:
    """True for nested lists of bools alone, of which there is one at least."""
    return bool(entry) and all(
        _holds_bools(e) if isinstance(e, list) else isinstance(e, (bool, np.bool_)) for e in entry
    )


def _axes_of(entry: Any) -> int:
    """How many axes an entry of an index takes."""
    mask = _known_mask(entry)
    return int(mask.ndim) if mask is not None else 0 if entry is None or entry is Ellipsis else 1


def _masks(x: Tensor, given: list[Any]) -> list[tuple[int, Any]]:
    """Known masks of an index, each with the axis of ``x`` where it begins."""
    used, axis, out = sum(map(_axes_of, given)), 0, []
    for entry in given:
        mask = _known_mask(entry)
        if mask is not None:
            out.append((axis, mask))
        axis += x.ndim - used if entry is Ellipsis else _axes_of(entry)
    return out


def _sized(x: Tensor, index: Any) -> Tensor:
    """``x`` with the sizes of known masks along their axes, which are tested when called where they are symbolic."""
    shape = list(x.shape)
    for axis, mask in _masks(x, list(index) if isinstance(index, tuple) else [index]):
        for k, n in enumerate(mask.shape[: x.ndim - axis]):
            shape[axis + k] = shape[axis + k] if isinstance(shape[axis + k], int) else n
    return x if tuple(shape) == x.shape else reshape(x, tuple(shape))


def _without_masks(x: Tensor, given: list[Any]) -> list[Any]:
    """The entries of an index; in the stead of known masks the places where they are True, an array for each axis."""
    for axis, mask in _masks(x, given):
        if mask.shape != x.shape[axis : axis + mask.ndim]:
            raise ShapeError(f"a mask of shape {shape_text(mask.shape)} does not fit axis {axis} of {x.type}")
    out: list[Any] = []
    for entry in given:
        mask = _known_mask(entry)
        out += [entry] if mask is None else np.nonzero(mask)
    return out


def _is_array(entry: Any) -> bool:
    return isinstance(entry, (Tensor, np.ndarray, list))


def _check_kind(entry: Any) -> None:
    _no_mask(entry)
    if not _is_array(entry) and not isinstance(entry, (int, np.integer, dims.Dim)):
        raise DTypeError(f"expected slices, ints, None, ... and integer arrays as index, found {entry!r}")


def _single(x: Tensor, entry: Any, axis: int) -> Size:
    """An int as an index from the front."""
    n, k = x.shape[axis], entry if isinstance(entry, dims.Dim) else int(entry)
    if isinstance(n, int) and isinstance(k, int) and not -n <= k < n:
        raise ShapeError(f"index {k} is out of range on axis {axis} of {x.type}")
    return n + k if dims.at_most(k, -1) else k


def _point(x: Tensor, entry: Any, n: Size) -> Tensor:
    """An array, tensor or int of an index as a tensor, tested to lie in an axis of ``n``."""
    if isinstance(entry, list):
        listed = x.graph.as_array(entry)
        entry = listed.astype(np.int64) if listed.size == 0 else listed
    if _is_array(entry):
        _no_mask(entry)
        if not is_integer(entry.dtype):
            raise DTypeError(f"expected integer indices, found {entry.dtype}")
    index = tensor(entry, x.graph, None if _is_array(entry) else INT64)
    return in_range(index, n, "index")


def _no_mask(entry: Any) -> None:
    if isinstance(entry, (bool, np.bool_)) or (_is_array(entry) and getattr(entry, "dtype", INT64) == np.dtype("bool")):
        raise DTypeError(
            "a bool mask picks as many elements as the data say, and sizes are known before: "
            "gx.where(mask, x, 0) keeps the shape, or pass the places themselves, np.flatnonzero(mask)"
        )


def _at_points(x: Tensor, points: dict[int, Tensor], apart: bool) -> Tensor:
    """Elements of ``x`` at indices along some axes; the axes of the indices in front where they were ``apart``."""
    axes, indices = tuple(points), list(points.values())
    one = len(axes) == 1
    out = apply("take", x, *indices, axis=axes[0]) if one else apply("take_points", x, *indices, axes=axes)
    rank = out.ndim - (x.ndim - len(axes))
    moved = range(axes[0], axes[0] + rank)
    return permute_dims(out, [*moved, *(a for a in range(out.ndim) if a not in moved)]) if apart else out


def _slice(entry: slice, n: Size) -> tuple[Size, int, Size]:
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
