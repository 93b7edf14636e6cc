"""Movement and assembly: the same elements at other indices, and operands laid side by side."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

from graphc.errors import ShapeError
from graphc.ir import dims
from graphc.ir.dims import Size
from graphc.ir.graph import Graph, Tensor
from graphc.ir.op import Attrs, IndexMap, Kind, Op, register
from graphc.ir.types import (
    Shape,
    SizeCheck,
    TensorType,
    broadcast_checks,
    broadcast_shapes,
    dtype_of,
    normalize_axes,
    normalize_axis,
    shape_text,
)
from graphc.ops.apply import Operand, apply, graph_of, promoted, public, tensor

Types = Sequence[TensorType]
FULL: Size = 0


# ---- reshape


def _infer_reshape(types: Types, attrs: Attrs) -> TensorType:
    x, shape = types[0], attrs["shape"]
    new = dims.product(shape)
    if isinstance(new, int) and isinstance(x.size, int) and new != x.size:
        raise ShapeError(f"cannot reshape {x} ({x.size} elements) to {shape_text(shape)} ({new} elements)")
    return TensorType(x.dtype, shape)


def _view_reshape(out: TensorType, types: Types, attrs: Attrs) -> IndexMap | None:
    """An index map where only axes of size 1 come or go."""
    x = types[0]
    wide = [axis for axis, size in enumerate(out.shape) if size != 1]
    if [s for s in x.shape if s != 1] != [out.shape[a] for a in wide]:
        return None
    order = iter(wide)
    return IndexMap(tuple((None, 0, 0) if size == 1 else (next(order), 0, 1) for size in x.shape))


register(
    Op(
        "reshape",
        Kind.MOVEMENT,
        1,
        _infer_reshape,
        lambda x, shape: np.reshape(x, shape),
        gradient=(lambda g, y, x: reshape(g, x.shape),),
        view=_view_reshape,
        checks=lambda types, attrs: (
            [SizeCheck(types[0].size, dims.product(attrs["shape"]), False)]
            if types[0].size != dims.product(attrs["shape"])
            else []
        ),
        attrs=("shape",),
    )
)


@public
def reshape(x: Tensor, shape: Sequence[Any]) -> Tensor:
    """The elements of ``x``, in C order, in another shape; one entry may be -1.

    Raises ShapeError where the number of elements differs, or -1 has no whole answer.
    """
    if isinstance(shape, (int, np.integer, str, dims.Dim)):
        shape = (shape,)
    entries = tuple(shape)
    free = [k for k, s in enumerate(entries) if isinstance(s, (int, np.integer)) and s == -1]
    if len(free) > 1:
        raise ShapeError(f"only one size of {entries} may be -1")
    known = x.graph.shape([1 if k in free else s for k, s in enumerate(entries)])
    if free:
        rest = dims.product(known)
        missing = None if rest == 0 else dims.exact_quotient(x.size, rest)
        if missing is None and not (isinstance(x.size, int) and isinstance(rest, int)) and rest != 0:
            missing = dims.floor_divide(x.size, rest)
        if missing is None:
            raise ShapeError(f"cannot reshape {x.type} to {shape_text(entries)}")
        known = (*known[: free[0]], missing, *known[free[0] + 1 :])
    return x if known == x.shape else apply("reshape", x, shape=known)


@public
def ravel(x: Tensor) -> Tensor:
    """``x`` as one axis."""
    return reshape(x, (x.size,))


@public
def expand_dims(x: Tensor, axis: int | Sequence[int]) -> Tensor:
    """``x`` with axes of size 1 put in, at positions of the result."""
    many = axis if isinstance(axis, (tuple, list)) else (axis,)
    axes = normalize_axes(tuple(many), x.ndim + len(many), "expand_dims")
    rest = iter(x.shape)
    return reshape(x, tuple(1 if a in axes else next(rest) for a in range(x.ndim + len(axes))))


@public
def squeeze(x: Tensor, axis: int | Sequence[int] | None = None) -> Tensor:
    """``x`` without axes of size 1: all of them, or those named. ShapeError for another size."""
    axes = (
        tuple(a for a, s in enumerate(x.shape) if s == 1) if axis is None else normalize_axes(axis, x.ndim, "squeeze")
    )
    for a in axes:
        if isinstance(x.shape[a], int) and x.shape[a] != 1:
            raise ShapeError(f"cannot squeeze axis {a} of {x.type}: its size is {x.shape[a]}")
    return reshape(x, tuple(s for a, s in enumerate(x.shape) if a not in axes))


# ---- broadcast_to


def _infer_broadcast(types: Types, attrs: Attrs) -> TensorType:
    x, shape = types[0], attrs["shape"]
    met = broadcast_shapes(x.shape, shape)
    if len(met) != len(shape) or any(isinstance(s, int) and s != m for s, m in zip(shape, met, strict=True)):
        raise ShapeError(f"cannot broadcast {x} to {shape_text(shape)}")
    return TensorType(x.dtype, shape)


register(
    Op(
        "broadcast_to",
        Kind.MOVEMENT,
        1,
        _infer_broadcast,
        lambda x, shape: np.broadcast_to(x, shape),
        gradient=(lambda g, y, x: g,),  # the walker sums it back
        view=lambda out, types, attrs: IndexMap(
            tuple((a + out.ndim - types[0].ndim, 0, 1) for a in range(types[0].ndim))
        ),
        checks=lambda types, attrs: broadcast_checks([types[0].shape, attrs["shape"]]),
        attrs=("shape",),
    )
)


@public
def broadcast_to(x: Tensor, shape: Sequence[Any]) -> Tensor:
    """``x`` repeated along new axes and axes of size 1. ShapeError where it does not fit."""
    full = x.graph.shape(tuple(shape))
    return x if full == x.shape else apply("broadcast_to", x, shape=full)


def sum_to(x: Tensor, shape: Shape) -> Tensor:
    """``x`` summed back to the shape of an operand that was broadcast; the adjoint of `broadcast_to`."""
    if x.shape == shape:
        return x
    lead = x.ndim - len(shape)
    axes = [a for a in range(x.ndim) if a < lead or (shape[a - lead] == 1 and x.shape[a] != 1)]
    if axes:
        x = apply("sum", x, axes=tuple(axes), keepdims=True)
    if lead:
        x = reshape(x, x.shape[lead:])
    if x.shape == shape:
        return x
    return apply("sum_broadcast", x, shape=shape, operand_shape=x.shape)


def full(graph: Graph, value: float, shape: Shape, dtype: Any) -> Tensor:
    """``value`` everywhere."""
    return broadcast_to(graph.constant(value, dtype), shape)


def zeros_like(x: Tensor) -> Tensor:
    """Zeros of the shape and dtype of ``x``."""
    return full(x.graph, 0, x.shape, x.dtype)


def ones_like(x: Tensor) -> Tensor:
    """Ones of the shape and dtype of ``x``."""
    return full(x.graph, 1, x.shape, x.dtype)


# ---- permute_dims


def _view_permute(out: TensorType, types: Types, attrs: Attrs) -> IndexMap:
    where = {axis: k for k, axis in enumerate(attrs["axes"])}
    return IndexMap(tuple((where[a], 0, 1) for a in range(out.ndim)))


def _infer_permute(types: Types, attrs: Attrs) -> TensorType:
    x, axes = types[0], attrs["axes"]
    if sorted(axes) != list(range(x.ndim)):
        raise ShapeError(f"expected each axis of {x} once, found {axes}")
    return TensorType(x.dtype, tuple(x.shape[a] for a in axes))


register(
    Op(
        "permute_dims",
        Kind.MOVEMENT,
        1,
        _infer_permute,
        lambda x, axes: np.transpose(x, axes),
        gradient=(lambda g, y, x: permute_dims(g, tuple(int(a) for a in np.argsort(y.attrs["axes"]))),),
        view=_view_permute,
        attrs=("axes",),
    )
)


@public
def permute_dims(x: Tensor, axes: Sequence[int]) -> Tensor:
    """The axes of ``x`` in another order."""
    if len(axes) != x.ndim:
        raise ShapeError(f"expected {x.ndim} axes for {x.type}, found {tuple(axes)}")
    order = tuple(normalize_axis(a, x.ndim, "permute_dims") for a in axes)
    return x if order == tuple(range(x.ndim)) else apply("permute_dims", x, axes=order)


@public
def matrix_transpose(x: Tensor) -> Tensor:
    """The last two axes swapped."""
    if x.ndim < 2:
        raise ShapeError(f"expected at least two axes, found {x.type}")
    return swapaxes(x, -1, -2)


@public
def swapaxes(x: Tensor, axis1: int, axis2: int) -> Tensor:
    """Two axes swapped."""
    a, b = normalize_axis(axis1, x.ndim, "swapaxes"), normalize_axis(axis2, x.ndim, "swapaxes")
    order = list(range(x.ndim))
    order[a], order[b] = b, a
    return permute_dims(x, order)


@public
def moveaxis(x: Tensor, source: int, destination: int) -> Tensor:
    """One axis at another position, the others in order."""
    a, b = normalize_axis(source, x.ndim, "moveaxis"), normalize_axis(destination, x.ndim, "moveaxis")
    order = [k for k in range(x.ndim) if k != a]
    order.insert(b, a)
    return permute_dims(x, order)


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


def _inside_checks(shape: Shape, starts: Shape, steps: Shape, sizes: Shape) -> list[SizeCheck]:
    """First and last index along each symbolic axis must lie inside it."""
    checks = []
    for start, step, size, whole in zip(starts, steps, sizes, shape, strict=True):
        known = all(isinstance(v, int) for v in (start, step, size, whole))
        if (
            known
            or (start == 0 and step == 1 and size == whole)
            or (start == whole - 1 and step == -1 and size == whole)
        ):
            continue
        last = start + dims.multiply(step, size - 1)
        for end in (start, last) if step != 1 or start != 0 else (last,):
            checks += [SizeCheck(end + 1, 0, False, positive=True), SizeCheck(whole, end, False, positive=True)]
        checks.append(SizeCheck(size + 1, 0, False, positive=True))
    return checks


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
    """``x`` with the order of its elements along ``axis`` reversed; None means all axes."""
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
    regions, start = [], FULL
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
    """Tensors one after the other along ``axis``. ShapeError where other sizes differ."""
    if not tensors:
        raise ShapeError("expected at least one tensor")
    parts = promoted(*tensors)
    if any(p.ndim == 0 for p in parts):
        raise ShapeError("a 0-d tensor has no axis to join along; use stack")
    where = normalize_axis(axis, parts[0].ndim, "concat")
    return parts[0] if len(parts) == 1 else apply("concat", *parts, axis=where)


@public
def stack(tensors: Sequence[Operand], axis: int = 0) -> Tensor:
    """Tensors of one shape along a new axis."""
    if not tensors:
        raise ShapeError("expected at least one tensor")
    graph = graph_of(list(tensors))
    parts = [tensor(t, graph) for t in tensors]
    where = normalize_axis(axis, parts[0].ndim + 1, "stack")
    return concat([expand_dims(t, where) for t in parts], where)


@public
def tile(x: Tensor, repetitions: Sequence[int]) -> Tensor:
    """``x`` laid side by side, ``repetitions`` times along each axis."""
    many = tuple(repetitions)
    if len(many) < x.ndim:
        many = (1,) * (x.ndim - len(many)) + many
    shape = (1,) * (len(many) - x.ndim) + x.shape
    wide = reshape(x, tuple(s for size in shape for s in (1, size)))
    spread = broadcast_to(wide, tuple(s for r, size in zip(many, shape, strict=True) for s in (r, size)))
    return reshape(spread, tuple(dims.multiply(r, s) for r, s in zip(many, shape, strict=True)))


@public
def repeat(x: Tensor, repeats: int, axis: int = 0) -> Tensor:
    """Each element along ``axis`` ``repeats`` times in a row."""
    a = normalize_axis(axis, x.ndim, "repeat")
    wide = expand_dims(x, a + 1)
    spread = broadcast_to(wide, (*wide.shape[: a + 1], repeats, *wide.shape[a + 2 :]))
    return reshape(spread, (*x.shape[:a], dims.multiply(x.shape[a], repeats), *x.shape[a + 1 :]))


@public
def roll(x: Tensor, shift: int, axis: int = 0) -> Tensor:
    """Elements moved along ``axis``, those that fall off the end come back at the start."""
    a = normalize_axis(axis, x.ndim, "roll")
    size = x.shape[a]
    if not isinstance(size, int):
        raise ShapeError(f"roll needs a known size on axis {a} of {x.type}")
    cut = -shift % size if size else 0
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

    Raises ShapeError where an axis does not divide, or where a position of a symbolic size is negative.
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


# ---- generators of indices and sizes


def _infer_iota(types: Types, attrs: Attrs) -> TensorType:
    if len(attrs["shape"]) != 1:
        raise ShapeError(f"expected one axis, found {shape_text(attrs['shape'])}")
    return TensorType(dtype_of(attrs["dtype"]), attrs["shape"])


register(
    Op(
        "iota",
        Kind.GENERATOR,
        0,
        _infer_iota,
        lambda shape, dtype: np.arange(shape[0], dtype=dtype),
        code="{dtype}(position)",
        attrs=("shape", "dtype"),
    )
)
register(
    Op(
        "size",
        Kind.GENERATOR,
        0,
        lambda types, attrs: TensorType(dtype_of("int64"), ()),
        lambda size: np.int64(size),
        code="{size}",
        attrs=("size",),
    )
)


def iota(graph: Graph, size: Size, dtype: Any = "int64") -> Tensor:
    """0, 1, 2, ... along one axis."""
    from graphc.ir.op import lookup

    return graph.append(lookup("iota"), (), {"shape": (size,), "dtype": dtype_of(dtype).name})
