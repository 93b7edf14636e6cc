"""Pieces: slices of a tensor, and tensors put together from others."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

from graphc.errors import ShapeError
from graphc.ir import dims
from graphc.ir.dims import Size
from graphc.ir.op import Attrs, IndexMap, Kind, Op, register
from graphc.ir.tensor import Tensor
from graphc.ir.types import Shape, SizeCheck, TensorType, negative_checks, normalize_axes, normalize_axis
from graphc.ops.apply import Operand, apply, graph_of, promoted, public, tensor
from graphc.ops.shape import broadcast_to, expand_dims, reshape

Types = Sequence[TensorType]


# ---- slice


def _infer_slice(types: Types, attrs: Attrs) -> TensorType:
    _inside(types[0], types[0].shape, attrs["start"], attrs["step"], attrs["size"])
    return TensorType(types[0].dtype, attrs["size"])


def _inside(x: TensorType, shape: Shape, starts: Shape, steps: Shape, sizes: Shape) -> None:
    """Where all of it is known, the indices ``start + step * k`` must lie inside ``shape``."""
    if not len(starts) == len(steps) == len(sizes) == len(shape):
        raise ShapeError(f"expected start, step and size for each axis of {x}")
    for a, (start, step, size, whole) in enumerate(zip(starts, steps, sizes, shape, strict=True)):
        if isinstance(start, int) and isinstance(step, int) and isinstance(size, int) and isinstance(whole, int):
            for end in (start, start + step * (size - 1)) if size else ():
                if not 0 <= end < whole:
                    raise ShapeError(f"index {end} is out of range on axis {a} of {x}")


def _slice_checks(types: Types, attrs: Attrs) -> list[SizeCheck]:
    return _inside_checks(types[0].shape, attrs["start"], attrs["step"], attrs["size"])


def _inside_checks(shape: Shape, starts: Shape, steps: Sequence[int], sizes: Shape) -> list[SizeCheck]:
    """First and last index along each symbolic axis must lie inside it, where there are any."""
    inside: list[SizeCheck] = []
    for start, step, size, whole in zip(starts, steps, sizes, shape, strict=True):
        last = start + dims.multiply(step, size - 1)
        low, high = (start, last) if step > 0 else (last, start)
        some = dims.minimum(size, 1)  # of no elements nothing is asked
        if not dims.at_most(0, low):
            inside.append(SizeCheck(dims.multiply(some, low) + 1, 0, False, positive=True))
        if not dims.at_most(high + 1, whole):
            inside.append(SizeCheck(whole + 1 - some, dims.multiply(some, high), False, positive=True))
    return [*inside, *negative_checks(sizes, shape)]


def _take_slice(x: Any, start: Any, step: Any, size: Any) -> Any:
    for axis, (a, s, n) in enumerate(zip(start, step, size, strict=True)):
        x = np.take(x, a + s * np.arange(n), axis)
    return x


register(
    Op(
        "slice",
        Kind.MOVEMENT,
        1,
        _infer_slice,
        _take_slice,
        gradient=(
            lambda g, y, x: apply("place", g, shape=x.shape, start=y.attrs["start"], step=y.attrs["step"], fill=0.0),
        ),
        view=lambda out, types, attrs: IndexMap(
            tuple((a, start, step) for a, (start, step) in enumerate(zip(attrs["start"], attrs["step"], strict=True)))
        ),
        checks=_slice_checks,
        attrs=("start", "step", "size"),
    )
)


@public
def flip(x: Tensor, axis: int | Sequence[int] | None = None) -> Tensor:
    """``x`` with the order of its elements along ``axis`` reversed; None means all axes.

    Shape and dtype stay. Raises ShapeError where an axis does not exist.

    >>> import graphc as gx
    >>> x = gx.Graph().input("x", (3,), "float64")
    >>> gx.compile([x], gx.flip(x), backend="numpy")([1, 2, 3]).tolist()
    [3.0, 2.0, 1.0]
    """
    axes = normalize_axes(axis, x.ndim, "flip")
    start = tuple(s - 1 if a in axes else 0 for a, s in enumerate(x.shape))
    return apply("slice", x, start=start, step=tuple(-1 if a in axes else 1 for a in range(x.ndim)), size=x.shape)


# ---- concat, place


def _infer_concat(types: Types, attrs: Attrs) -> TensorType:
    axis, first = attrs["axis"], types[0]
    if not 0 <= axis < first.ndim:
        raise ShapeError(f"axis {axis} does not exist in {first}")
    for t in types[1:]:
        if t.ndim != first.ndim or t.dtype != first.dtype:
            raise ShapeError(f"expected equal rank and dtype, found {first} and {t}")
        for a in range(t.ndim):
            if (
                a != axis
                and isinstance(t.shape[a], int)
                and isinstance(first.shape[a], int)
                and t.shape[a] != first.shape[a]
            ):
                raise ShapeError(f"sizes differ on axis {a}: {first} and {t}")
    total = dims.combine([(t.shape[axis], 1) for t in types])
    return TensorType(first.dtype, (*first.shape[:axis], total, *first.shape[axis + 1 :]))


def _concat_regions(out: TensorType, types: Types, attrs: Attrs) -> list[IndexMap]:
    regions: list[IndexMap] = []
    start: Size = 0
    for t in types:
        regions.append(IndexMap(tuple((a, start if a == attrs["axis"] else 0, 1) for a in range(out.ndim))))
        start = start + t.shape[attrs["axis"]]
    return regions


def _concat_gradient(g: Tensor, y: Tensor, xs: Sequence[Tensor], slot: int) -> Tensor:
    start: Size = 0
    for x in xs[:slot]:
        start = start + x.shape[y.attrs["axis"]]
    starts = tuple(start if a == y.attrs["axis"] else 0 for a in range(y.ndim))
    return apply("slice", g, start=starts, step=(1,) * y.ndim, size=xs[slot].shape)


register(
    Op(
        "concat",
        Kind.ASSEMBLY,
        None,
        _infer_concat,
        lambda *xs, axis: np.concatenate(xs, axis),
        gradient=_concat_gradient,
        regions=_concat_regions,
        checks=lambda types, attrs: [
            SizeCheck(types[0].shape[a], t.shape[a], False)
            for t in types[1:]
            for a in range(t.ndim)
            if a != attrs["axis"] and t.shape[a] != types[0].shape[a]
        ],
        attrs=("axis",),
    )
)


def _infer_place(types: Types, attrs: Attrs) -> TensorType:
    _inside(types[0], attrs["shape"], attrs["start"], attrs["step"], types[0].shape)
    return TensorType(types[0].dtype, attrs["shape"])


def _place(x: Any, shape: Any, start: Any, step: Any, fill: Any) -> Any:
    out = np.full(shape, fill, x.dtype)
    out[np.ix_(*(a + s * np.arange(n) for a, s, n in zip(start, step, x.shape, strict=True)))] = x
    return out


register(
    Op(
        "place",
        Kind.ASSEMBLY,
        1,
        _infer_place,
        _place,
        gradient=(lambda g, y, x: apply("slice", g, start=y.attrs["start"], step=y.attrs["step"], size=x.shape),),
        regions=lambda out, types, attrs: [
            IndexMap(
                tuple(
                    (a, start, step) for a, (start, step) in enumerate(zip(attrs["start"], attrs["step"], strict=True))
                )
            )
        ],
        checks=lambda types, attrs: _inside_checks(attrs["shape"], attrs["start"], attrs["step"], types[0].shape),
        attrs=("shape", "start", "step", "fill"),
    )
)


@public
def concat(tensors: Sequence[Operand], axis: int = 0) -> Tensor:
    """Tensors one after the other along ``axis``. ShapeError where other sizes differ.

    Numbers and arrays among them become tensors; the dtype is that in which all meet.

    >>> import graphc as gx
    >>> x = gx.Graph().input("x", ("n", 3))
    >>> gx.concat([x, x], axis=1).shape
    (n, 6)
    """
    if not tensors:
        raise ShapeError("expected at least one tensor")
    parts = promoted(*tensors)
    if any(p.ndim == 0 for p in parts):
        raise ShapeError("a 0-d tensor has no axis to join along; use stack")
    where = normalize_axis(axis, parts[0].ndim, "concat")
    return parts[0] if len(parts) == 1 else apply("concat", *parts, axis=where)


@public
def stack(tensors: Sequence[Operand], axis: int = 0) -> Tensor:
    """Tensors of one shape along a new axis.

    The dtype is that in which all meet. Raises ShapeError where shapes differ.

    >>> import graphc as gx
    >>> x = gx.Graph().input("x", ("n", 3))
    >>> gx.stack([x, x], axis=1).shape
    (n, 2, 3)
    """
    if not tensors:
        raise ShapeError("expected at least one tensor")
    graph = graph_of(list(tensors))
    parts = [tensor(t, graph) for t in tensors]
    where = normalize_axis(axis, parts[0].ndim + 1, "stack")
    return concat([expand_dims(t, where) for t in parts], where)


@public
def vstack(tensors: Sequence[Operand]) -> Tensor:
    """Tensors one below the other: along the first axis; vectors and numbers are rows. As NumPy's.

    The dtype is that in which all meet. Raises ShapeError where other sizes differ.

    >>> import graphc as gx
    >>> x = gx.Graph().input("x", ("n", 3))
    >>> gx.vstack([x, x]).shape
    (2*n, 3)
    """
    parts = _at_least(tensors, 2)
    return concat(parts, 0)


@public
def hstack(tensors: Sequence[Operand]) -> Tensor:
    """Tensors side by side: along the second axis, vectors and numbers along their only one. As NumPy's.

    The dtype is that in which all meet. Raises ShapeError where other sizes differ.

    >>> import graphc as gx
    >>> x = gx.Graph().input("x", ("n", 3))
    >>> gx.hstack([x, x]).shape
    (n, 6)
    """
    parts = _at_least(tensors, 1)
    return concat(parts, 0 if parts[0].ndim == 1 else 1)


def _at_least(tensors: Sequence[Operand], ndim: int) -> list[Tensor]:
    """Tensors with axes of size 1 put in front until they have ``ndim``."""
    if not tensors:
        raise ShapeError("expected at least one tensor")
    graph = graph_of(list(tensors))
    parts = [tensor(t, graph) for t in tensors]
    return [expand_dims(p, tuple(range(ndim - p.ndim))) if p.ndim < ndim else p for p in parts]


@public
def tile(x: Tensor, repetitions: Sequence[Size]) -> Tensor:
    """``x`` laid side by side, ``repetitions`` times along each axis.

    The dtype stays. Raises ShapeError where numbers are missing or negative.

    >>> import graphc as gx
    >>> x = gx.Graph().input("x", ("n", 3))
    >>> gx.tile(x, (1, 2)).shape
    (n, 6)
    """
    many = tuple(repetitions)
    if len(many) < x.ndim:
        many = (1,) * (x.ndim - len(many)) + many
    shape = (1,) * (len(many) - x.ndim) + x.shape
    wide = reshape(x, tuple(s for size in shape for s in (1, size)))
    spread = broadcast_to(wide, tuple(s for r, size in zip(many, shape, strict=True) for s in (r, size)))
    return reshape(spread, tuple(dims.multiply(r, s) for r, s in zip(many, shape, strict=True)))


@public
def repeat(x: Tensor, repeats: int, axis: int = 0) -> Tensor:
    """Each element along ``axis`` ``repeats`` times in a row.

    The dtype stays. Raises ShapeError where the axis does not exist or ``repeats`` is negative.

    >>> import graphc as gx
    >>> x = gx.Graph().input("x", (2,), "float64")
    >>> gx.compile([x], gx.repeat(x, 2), backend="numpy")([1, 2]).tolist()
    [1.0, 1.0, 2.0, 2.0]
    """
    a = normalize_axis(axis, x.ndim, "repeat")
    wide = expand_dims(x, a + 1)
    spread = broadcast_to(wide, (*wide.shape[: a + 1], repeats, *wide.shape[a + 2 :]))
    return reshape(spread, (*x.shape[:a], dims.multiply(x.shape[a], repeats), *x.shape[a + 1 :]))


@public
def roll(x: Tensor, shift: int, axis: int = 0) -> Tensor:
    """Elements moved along ``axis``, those that fall off the end come back at the start.

    Shape and dtype stay. Raises ShapeError where the axis does not exist.

    >>> import graphc as gx
    >>> x = gx.Graph().input("x", (3,), "float64")
    >>> gx.compile([x], gx.roll(x, 1), backend="numpy")([1, 2, 3]).tolist()
    [3.0, 1.0, 2.0]
    """
    a = normalize_axis(axis, x.ndim, "roll")
    size = x.shape[a]
    some = dims.maximum(size, 1)
    cut = -shift - dims.multiply(some, dims.floor_divide(-shift, some))  # the remainder
    return x if cut == 0 else concat([_span(x, a, cut, size - cut), _span(x, a, 0, cut)], a)


def _span(x: Tensor, axis: int, start: Size, size: Size, step: int = 1) -> Tensor:
    """``size`` elements along one axis."""
    return apply(
        "slice",
        x,
        start=tuple(start if a == axis else 0 for a in range(x.ndim)),
        step=tuple(step if a == axis else 1 for a in range(x.ndim)),
        size=tuple(size if a == axis else s for a, s in enumerate(x.shape)),
    )


@public
def split(x: Tensor, sections: int | Sequence[int], axis: int = 0) -> Tensor:
    """A list of equal parts along ``axis``, or parts that end at the given positions, as NumPy's slices would.

    Raises ShapeError where an axis does not divide.

    The dtype stays.

    >>> import graphc as gx
    >>> x = gx.Graph().input("x", ("n", 3))
    >>> [part.shape for part in gx.split(x, [1], axis=1)]
    [(n, 1), (n, 2)]
    """
    a = normalize_axis(axis, x.ndim, "split")
    size = x.shape[a]
    if isinstance(sections, (int, np.integer)):
        width = dims.exact_quotient(size, int(sections))
        if width is None:
            raise ShapeError(f"cannot split axis {a} of {x.type} into {sections} equal parts")
        return [_span(x, a, dims.multiply(width, k), width) for k in range(int(sections))]  # type: ignore[return-value]
    at = (slice(None),) * a
    return [x[(*at, slice(s, e))] for s, e in itertools.pairwise([0, *sections, None])]  # type: ignore[return-value]


@public
def pad(x: Tensor, pad_width: int | Sequence[Any], mode: str = "constant", constant_values: float = 0.0) -> Tensor:
    """``x`` with elements put before and after along each axis; mode "constant", "edge" or "reflect".

    ``pad_width`` is a pair for each axis, one pair or one number for all. ShapeError where it does not fit.

    The dtype stays.

    >>> import graphc as gx
    >>> x = gx.Graph().input("x", (3,), "float64")
    >>> gx.compile([x], gx.pad(x, (1, 2), mode="edge"), backend="numpy")([1, 2, 3]).tolist()
    [1.0, 1.0, 2.0, 3.0, 3.0, 3.0]
    """
    try:
        widths = np.broadcast_to(np.asarray(pad_width), (x.ndim, 2))
    except ValueError:
        widths = np.array([[-1, -1]])
    if widths.dtype.kind not in "iu" or (widths < 0).any():
        raise ShapeError(f"expected a pair of widths of at least 0 for each axis of {x.type}, found {pad_width}")
    pairs = [(int(before), int(after)) for before, after in widths]
    if mode == "constant":
        shape = tuple(s + before + after for s, (before, after) in zip(x.shape, pairs, strict=True))
        start = tuple(before for before, _ in pairs)
        return apply("place", x, shape=shape, start=start, step=(1,) * x.ndim, fill=float(constant_values))
    if mode not in ("edge", "reflect"):
        raise ShapeError(f'mode must be "constant", "edge" or "reflect", found {mode!r}')
    for a, (before, after) in enumerate(pairs):
        n = x.shape[a]
        if mode == "reflect" and isinstance(n, int) and max(before, after) >= n:
            raise ShapeError(f"cannot reflect {max(before, after)} elements of axis {a} of {x.type}")
        parts = [x]
        if before:
            head = _span(x, a, before, before, -1) if mode == "reflect" else repeat(_span(x, a, 0, 1), before, a)
            parts.insert(0, head)
        if after:
            tail = _span(x, a, n - 2, after, -1) if mode == "reflect" else repeat(_span(x, a, n - 1, 1), after, a)
            parts.append(tail)
        x = concat(parts, a)
    return x
