"""Elements put or added where an index says: ``x.at[index].add(values)`` and its kin, and sums over segments."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from graphc.errors import DTypeError, ShapeError
from graphc.ir import dims
from graphc.ir.dims import Size
from graphc.ir.op import Kind, Op, register
from graphc.ir.tensor import Tensor
from graphc.ir.types import (
    BOOL,
    INT64,
    Shape,
    broadcast_shapes,
    is_float,
    is_integer,
    limits,
    normalize_axis,
)
from graphc.ops.apply import Operand, apply, cast, public, size_node, tensor
from graphc.ops.assembly import pad
from graphc.ops.creation import ones_like
from graphc.ops.elementwise import (
    add,
    checked_index,
    divide,
    equal,
    greater_equal,
    less,
    logical_and,
    logical_not,
    maximum,
    minimum,
    multiply,
    slope_at,
    where,
)
from graphc.ops.index import Entry, in_range, infer_scatter, parsed
from graphc.ops.reduce import prod
from graphc.ops.shape import broadcast_to, expand_dims, filled, iota, reshape

# ---- scatters that do not add: one index, along one axis


def _scattered(combine: Any, first: Callable[[Any], Any]) -> Callable[..., Any]:
    def reference(index: Any, updates: Any, axis: int, size: int) -> Any:
        after = updates.shape[axis + index.ndim :]
        out = np.full((*updates.shape[:axis], size, *after), first(updates.dtype), updates.dtype)
        flat = updates.reshape(*updates.shape[:axis], index.size, *after)
        combine.at(np.moveaxis(out, axis, 0), index.ravel(), np.moveaxis(flat, axis, 0))
        return out

    return reference


def _met(index: Tensor, values: Tensor, y: Tensor) -> Tensor:
    """Values of updates at each place, added up there, for each of these updates."""
    axis = y.attrs["axis"]
    return apply("take", apply("scatter_add", index, values, **y.attrs), index, axis=axis)


def _extreme_gradient(g: Tensor, y: Tensor, index: Tensor, updates: Tensor) -> Tensor:
    """Each of k that tie at a place gets g / k, and all get NaN where the result is NaN."""
    axis = y.attrs["axis"]
    tied = cast(equal(updates, apply("take", y, index, axis=axis)), updates.dtype)
    return divide(apply("take", multiply(g, slope_at(y)), index, axis=axis), _met(index, tied, y))


def _beaten(y: Tensor, index: Tensor, updates: Tensor, lower: bool) -> tuple[Tensor, bool]:
    """Elements that are beaten at their place are not taken."""
    best = apply("take", y, index, axis=y.attrs["axis"])
    return (less(updates, best) if lower else less(best, updates)), False


def _product_gradient(g: Tensor, y: Tensor, index: Tensor, updates: Tensor) -> Tensor:
    """The product of all others that meet at a place, without division, so that zeros are right to any order.

    Quadratic in the number of indices, but fused into a loop over pairs, so none is stored.
    """
    axis, rank = y.attrs["axis"], index.ndim
    flat = reshape(index, (index.size,))
    number = iota(index.graph, index.size)
    met, itself = (equal(expand_dims(i, 1), expand_dims(i, 0)) for i in (flat, number))
    others = logical_and(met, logical_not(itself))
    rows = reshape(updates, (*updates.shape[:axis], index.size, *updates.shape[axis + rank :]))
    others = reshape(others, (*others.shape, *(1 for _ in rows.shape[axis + 1 :])))
    rest = prod(where(others, expand_dims(rows, axis), 1), axis + 1)
    return multiply(apply("take", g, index, axis=axis), reshape(rest, updates.shape))


def _register(
    name: str,
    combine: str,
    identity: Callable[[Any], Any],
    function: Any,
    gradient: Callable[..., Tensor],
    taken: tuple[Any, ...] = (),
) -> None:
    register(
        Op(
            name,
            Kind.SCATTER,
            2,
            infer_scatter,
            _scattered(function, identity),
            (None, gradient),
            combine=combine,
            identity=identity,
            attrs=("axis", "size"),
            taken=taken,
        )
    )


_register(
    "scatter_max",
    "maximum(acc, a)",
    lambda dtype: limits(dtype)[0],
    np.maximum,
    _extreme_gradient,
    (None, lambda y, i, u: _beaten(y, i, u, True)),
)
_register(
    "scatter_min",
    "minimum(acc, a)",
    lambda dtype: limits(dtype)[1],
    np.minimum,
    _extreme_gradient,
    (None, lambda y, i, u: _beaten(y, i, u, False)),
)
_register("scatter_multiply", "reduce_mul(acc, a)", lambda dtype: 1, np.multiply, _product_gradient)


# ---- x.at[index]: by a slice where the index is made of slices and ints, else by places along the first axes


def values_of(x: Tensor, values: Operand, shape: Shape) -> Tensor:
    """``values`` in the dtype of ``x`` and in a shape."""
    given = values if isinstance(values, Tensor) else tensor(values, x.graph)
    if is_float(given.dtype) and not is_float(x.dtype):
        raise DTypeError(f"{x.name} is {x.type} and cannot hold {given.type}; use astype")
    if 0 < given.ndim <= len(shape):  # a size that is to be 1 is tested when called, where it is not known
        sizes = zip(given.shape, shape[-given.ndim :], strict=True)
        given = reshape(given, tuple(1 if t == 1 and not isinstance(s, int) else s for s, t in sizes))
    return broadcast_to(cast(given, x.dtype), shape)


class _Places:
    """Where an index leads.

    inside    a function of values and a filling: they at their places, it elsewhere. None for an index with arrays
    picked    the shape of what is picked
    rows      places along the leading axes, in one, and ``lead`` how many there are; each is a row of shape ``rest``
    """

    def __init__(self, x: Tensor, index: Any) -> None:
        entries, apart = parsed(x, index)
        self.x, self.entries = x, entries
        self.arrays = [e for e in entries if e.point is not None]
        if not self.arrays:
            self.picked: Shape = tuple(e.size for e in entries if e.kept)
            return
        while entries[-1].point is None and entries[-1].axis is not None and _whole(entries[-1], x):
            entries.pop()
        axes = sum(e.axis is not None for e in entries)
        self.rest = x.shape[axes:]
        self.lead: Size = dims.product(x.shape[:axes])
        self.rows = self._rows(apart)
        self.picked = (*self.rows.shape, *self.rest)

    def placed(self, values: Operand, fill: float) -> Tensor:
        """Values at their places, and ``fill`` elsewhere."""
        wide = values_of(self.x, values, self.picked)
        return self._laid(wide, fill)

    def _laid(self, wide: Tensor, fill: float) -> Tensor:
        along = [e for e in self.entries if e.axis is not None]
        start, step, size = (tuple(getattr(e, field) for e in along) for field in ("start", "step", "size"))
        return apply("place", reshape(wide, size), shape=self.x.shape, start=start, step=step, fill=fill)

    @property
    def inside(self) -> Tensor:
        """True at the places."""
        return self._laid(filled(self.x.graph, True, self.picked, BOOL), False)

    def updates(self, values: Operand) -> Tensor:
        """A row of values for each place."""
        return reshape(values_of(self.x, values, self.picked), (self.rows.size, *self.rest))

    def scatter(self, name: str, rows: Tensor) -> Tensor:
        """What a scatter makes of rows, in the shape of ``x``."""
        index = reshape(self.rows, (self.rows.size,))
        return reshape(apply(name, index, rows, axis=0, size=self.lead), self.x.shape)

    def _rows(self, apart: bool) -> Tensor:
        """The place of each row: coordinates along the leading axes, times their strides."""
        entries, x = self.entries, self.x
        points = [e.point for e in self.arrays if e.point is not None]
        met = broadcast_shapes(*(p.shape for p in points))
        kept = [e for e in entries if e.kept and e.point is None]
        before = 0 if apart else len([e for e in entries[: entries.index(self.arrays[0])] if e.kept])
        shape = (*(e.size for e in kept[:before]), *met, *(e.size for e in kept[before:]))
        total: Tensor | None = None
        stride: Size = 1
        for e in reversed([e for e in entries if e.axis is not None]):
            assert e.axis is not None
            if e.point is not None:
                along = reshape(e.point, (*e.point.shape, *(1 for _ in kept[before:])))
            elif e.kept:
                place = kept.index(e)
                at = place if place < before else place + len(met)
                along = add(multiply(iota(x.graph, e.size), e.step), _number(x, e.start))
                along = reshape(along, tuple(e.size if a == at else 1 for a in range(len(shape))))
            else:
                along = _number(x, e.start)
            part = multiply(along, _number(x, stride))
            total = part if total is None else add(total, part)
            stride = dims.multiply(stride, x.shape[e.axis])
        assert total is not None
        return checked_index(broadcast_to(total, shape), 0, self.lead, "index")


def _number(x: Tensor, size: Size) -> Tensor:
    return size_node(x.graph, size)


def _whole(e: Entry, x: Tensor) -> bool:
    assert e.axis is not None
    return e.kept and (e.start, e.step, e.size) == (0, 1, x.shape[e.axis])


def _mask(x: Tensor, index: Any) -> Tensor | None:
    """A bool mask over the first axes of ``x``, with axes of size 1 for the others; None for any other index."""
    if not isinstance(index, (Tensor, np.ndarray)) or index.dtype != BOOL:
        return None
    mask = tensor(index, x.graph)
    sizes = zip(mask.shape, x.shape, strict=False)
    if mask.ndim > x.ndim or any(isinstance(s, int) and isinstance(n, int) and s != n for s, n in sizes):
        raise ShapeError(f"a mask must have the first sizes of {x.type}, found {mask.type}")
    mask = broadcast_to(mask, x.shape[: mask.ndim])
    return reshape(mask, (*mask.shape, *(1 for _ in x.shape[mask.ndim :])))


@public
def at_set(x: Tensor, index: Any, values: Operand) -> Tensor:
    """``x`` with ``values`` at an index; ``x.at[index].set(values)`` is the same.

    The index is any that ``x[index]`` takes, or a bool mask over the first axes. Values broadcast to what the index
    picks, or to ``x`` under a mask. Of an index that stands twice the last value counts, in the gradient too; what is
    overwritten gets no gradient. Raises ShapeError where values do not fit, DTypeError for floats into integers; an
    array's index out of range raises InputIndexError when called.

    >>> from graphc.ir.graph import Graph
    >>> x = Graph("g").input("x", shape=("n", 3))
    >>> x.at[0, ::2].set(1.0).shape, x.at[x > 2].set(2.0).shape
    ((n, 3), (n, 3))
    """
    if (mask := _mask(x, index)) is not None:
        return where(mask, values_of(x, values, x.shape), x)
    places = _Places(x, index)
    if not places.arrays:
        return where(places.inside, places.placed(values, 0), x)
    rows = places.updates(values)
    order = iota(x.graph, rows.shape[0])
    last = apply("scatter_max", reshape(places.rows, (rows.shape[0],)), order, axis=0, size=places.lead)
    set_ = greater_equal(last, 0)
    if not isinstance(rows.shape[0], int):  # of none, as it may turn out, nothing can be taken
        behind = [(0, 1), *((0, 0) for _ in places.rest)]
        rows = pad(rows, behind)
    elif rows.shape[0] == 0:
        return x
    chosen = apply("take", rows, checked_index(maximum(last, 0), 0, rows.shape[0], "index"), axis=0)
    wide = reshape(x, (places.lead, *places.rest))
    hit = reshape(set_, (places.lead, *(1 for _ in places.rest)))
    return reshape(where(hit, chosen, wide), x.shape)


@public
def at_add(x: Tensor, index: Any, values: Operand) -> Tensor:
    """``x`` with ``values`` added at an index, as often as it stands there; as `at_set` otherwise."""
    return _combined(x, index, values, add, "scatter_add", 0)


@public
def at_multiply(x: Tensor, index: Any, values: Operand) -> Tensor:
    """``x`` multiplied by ``values`` at an index, as often as it stands there; as `at_set` otherwise.

    The gradient of values at an array's indices takes time quadratic in their number.
    """
    return _combined(x, index, values, multiply, "scatter_multiply", 1)


def _combined(x: Tensor, index: Any, values: Operand, of_two: Callable[..., Tensor], name: str, nothing: int) -> Tensor:
    """``of_two`` of each element and what is scattered there; ``nothing`` leaves an element as it is."""
    if (mask := _mask(x, index)) is not None:
        return of_two(x, where(mask, values_of(x, values, x.shape), nothing))
    places = _Places(x, index)
    if not places.arrays:
        return of_two(x, places.placed(values, nothing))
    return of_two(x, places.scatter(name, places.updates(values)))


@public
def at_max(x: Tensor, index: Any, values: Operand) -> Tensor:
    """`maximum` of ``x`` and ``values`` at an index, ``x`` elsewhere; as `at_set` otherwise."""
    return _extreme(x, index, values, maximum, "scatter_max")


@public
def at_min(x: Tensor, index: Any, values: Operand) -> Tensor:
    """`minimum` of ``x`` and ``values`` at an index, ``x`` elsewhere; as `at_set` otherwise."""
    return _extreme(x, index, values, minimum, "scatter_min")


def _extreme(x: Tensor, index: Any, values: Operand, of_two: Callable[..., Tensor], name: str) -> Tensor:
    if (mask := _mask(x, index)) is not None:
        return where(mask, of_two(x, values_of(x, values, x.shape)), x)
    places = _Places(x, index)
    if not places.arrays:
        return where(places.inside, of_two(x, places.placed(values, 0)), x)
    return of_two(x, places.scatter(name, places.updates(values)))


# ---- along an axis


@public
def scatter_add(x: Tensor, indices: Operand, updates: Operand, axis: int = 0) -> Tensor:
    """``x`` with ``updates`` added at ``indices`` along an axis, where `take` would find them.

    Shape and dtype are those of ``x``. Raises ShapeError where ``updates`` do not fit; an index out of range is an
    InputIndexError when called.

    >>> from graphc.ir.graph import Graph
    >>> g = Graph("g")
    >>> scatter_add(g.zeros((3, 5)), [0, 2, 0], g.input("u", (3, 5))).shape
    (3, 5)
    """
    return at_add(x, _along(x, indices, axis), updates)


@public
def scatter_set(x: Tensor, indices: Operand, updates: Operand, axis: int = 0) -> Tensor:
    """``x`` with ``updates`` put at ``indices`` along an axis; the last of repeated ones counts, as in `at_set`.

    Shape and dtype are those of ``x``. Raises ShapeError where ``updates`` do not fit; an index out of range is an
    InputIndexError when called.

    >>> import graphc as gx
    >>> x = gx.Graph().input("x", (3,), "float64")
    >>> gx.compile([x], gx.scatter_set(x, [2, 0], [9.0, 8.0]), backend="numpy")([1, 2, 3]).tolist()
    [8.0, 2.0, 9.0]
    """
    return at_set(x, _along(x, indices, axis), updates)


def _along(x: Tensor, indices: Operand, axis: int) -> tuple[Any, ...]:
    return (*(slice(None) for _ in range(normalize_axis(axis, x.ndim, "scatter"))), indices)


def _segments(x: Tensor, ids: Operand, num_segments: Size) -> tuple[Tensor, Size]:
    """Tested ids, and how many segments there are."""
    index = tensor(ids, x.graph)
    if not is_integer(index.dtype) or index.ndim != 1 or x.ndim == 0:
        raise ShapeError(f"expected an integer id for each row of {x.type}, found {index.type}")
    size = x.graph.shape((num_segments,))[0]
    return reshape(in_range(index, size, "segment id"), x.shape[:1]), size


@public
def segment_sum(x: Tensor, ids: Operand, num_segments: Size) -> Tensor:
    """The sums of rows of ``x`` that have one id, in a row for each id; 0 for an id that no row has.

    ``ids`` holds an integer for each row, in any order; one that is not below ``num_segments`` raises InputIndexError
    when called.

    >>> from graphc.ir.graph import Graph
    >>> x = Graph("g").input("x", shape=("n", 3))
    >>> segment_sum(x, x.graph.input("ids", ("n",), "int64"), 4).shape
    (4, 3)
    """
    index, size = _segments(x, ids, num_segments)
    return apply("scatter_add", index, cast(x, INT64) if x.dtype == BOOL else x, axis=0, size=size)


@public
def segment_mean(x: Tensor, ids: Operand, num_segments: Size) -> Tensor:
    """The means of rows that have one id, as `segment_sum`; 0 for an id that no row has.

    >>> import graphc as gx
    >>> x = gx.Graph().input("x", (3,), "float64")
    >>> gx.compile([x], gx.segment_mean(x, [0, 1, 0], 2), backend="numpy")([1, 2, 3]).tolist()
    [2.0, 2.0]
    """
    index, size = _segments(x, ids, num_segments)
    x = x if is_float(x.dtype) else cast(x, x.graph.float_dtype)
    count = apply("scatter_add", index, ones_like(index), axis=0, size=size)
    some = cast(maximum(count, 1), x.dtype)
    return divide(apply("scatter_add", index, x, axis=0, size=size), reshape(some, (size, *(1 for _ in x.shape[1:]))))


@public
def segment_max(x: Tensor, ids: Operand, num_segments: Size) -> Tensor:
    """The largest of rows that have one id, as `segment_sum`; of none -inf, or the lowest integer.

    >>> import graphc as gx
    >>> x = gx.Graph().input("x", (3,), "float64")
    >>> gx.compile([x], gx.segment_max(x, [0, 1, 0], 2), backend="numpy")([1, 2, 3]).tolist()
    [3.0, 2.0]
    """
    index, size = _segments(x, ids, num_segments)
    return apply("scatter_max", index, x, axis=0, size=size)


@public
def segment_min(x: Tensor, ids: Operand, num_segments: Size) -> Tensor:
    """The smallest of rows that have one id, as `segment_sum`; of none inf, or the highest integer.

    >>> import graphc as gx
    >>> x = gx.Graph().input("x", (3,), "float64")
    >>> gx.compile([x], gx.segment_min(x, [0, 1, 0], 2), backend="numpy")([1, 2, 3]).tolist()
    [1.0, 2.0]
    """
    index, size = _segments(x, ids, num_segments)
    return apply("scatter_min", index, x, axis=0, size=size)


__all__ = [
    "at_add",
    "at_max",
    "at_min",
    "at_multiply",
    "at_set",
    "scatter_add",
    "scatter_set",
    "segment_max",
    "segment_mean",
    "segment_min",
    "segment_sum",
]
