"""Movement: the same elements at other indices; and indices and sizes as numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from graphc.errors import ShapeError
from graphc.ir import dims
from graphc.ir.dims import Size
from graphc.ir.graph import Graph
from graphc.ir.op import Attrs, IndexMap, Kind, Op, register
from graphc.ir.tensor import Tensor
from graphc.ir.types import (
    Shape,
    SizeCheck,
    TensorType,
    broadcast_checks,
    broadcast_shapes,
    dtype_of,
    negative_checks,
    normalize_axes,
    normalize_axis,
    shape_text,
)
from graphc.ops.apply import apply, public

Types = Sequence[TensorType]


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


def _reshape_checks(types: Types, attrs: Attrs) -> list[SizeCheck]:
    old, new = types[0].size, dims.product(attrs["shape"])
    same = [SizeCheck(old, new, False)] if old != new else []
    return [*same, *negative_checks(attrs["shape"], types[0].shape)]


register(
    Op(
        "reshape",
        Kind.MOVEMENT,
        1,
        _infer_reshape,
        lambda x, shape: np.reshape(x, shape),
        gradient=(lambda g, y, x: reshape(g, x.shape),),
        view=_view_reshape,
        checks=_reshape_checks,
        attrs=("shape",),
    )
)


@public
def reshape(x: Tensor, shape: Sequence[Any]) -> Tensor:
    """The elements of ``x``, in C order, in another shape; one entry may be -1.

    Raises ShapeError where the number of elements differs, or -1 has no whole answer.

    Entries are ints, or sizes of a tensor. The dtype stays.

    >>> import graphc as gx
    >>> x = gx.Graph().input("x", ("n", 3))
    >>> gx.reshape(x, (-1, x.shape[0])).shape
    (3, n)
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
    """``x`` as one axis.

    The dtype stays. Raises DTypeError where ``x`` is no tensor.

    >>> import graphc as gx
    >>> x = gx.Graph().input("x", ("n", 3))
    >>> gx.ravel(x).shape
    (3*n,)
    """
    return reshape(x, (x.size,))


@public
def expand_dims(x: Tensor, axis: int | Sequence[int]) -> Tensor:
    """``x`` with axes of size 1 put in, at positions of the result.

    The dtype stays. Raises ShapeError for a position that the result does not have.

    >>> import graphc as gx
    >>> x = gx.Graph().input("x", ("n", 3))
    >>> gx.expand_dims(x, 0).shape
    (1, n, 3)
    """
    many = axis if isinstance(axis, (tuple, list)) else (axis,)
    axes = normalize_axes(tuple(many), x.ndim + len(many), "expand_dims")
    rest = iter(x.shape)
    return reshape(x, tuple(1 if a in axes else next(rest) for a in range(x.ndim + len(axes))))


@public
def squeeze(x: Tensor, axis: int | Sequence[int] | None = None) -> Tensor:
    """``x`` without axes of size 1: all of them, or those named. ShapeError for another size.

    The dtype stays.

    >>> import graphc as gx
    >>> x = gx.Graph().input("x", ("n", 1))
    >>> gx.squeeze(x).shape
    (n,)
    """
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


def _view_broadcast(out: TensorType, types: Types, attrs: Attrs) -> IndexMap:
    lead = out.ndim - types[0].ndim
    sizes = enumerate(zip(types[0].shape, out.shape[lead:], strict=True), lead)
    return IndexMap(tuple((None, 0, 0) if s == 1 else (a, 0, dims.step_along(s, t)) for a, (s, t) in sizes))


register(
    Op(
        "broadcast_to",
        Kind.MOVEMENT,
        1,
        _infer_broadcast,
        lambda x, shape: np.broadcast_to(x, shape),
        gradient=(lambda g, y, x: g,),  # the walker sums it back
        view=_view_broadcast,
        checks=lambda types, attrs: [
            *broadcast_checks([types[0].shape, attrs["shape"]]),
            *negative_checks(attrs["shape"], types[0].shape),
        ],
        attrs=("shape",),
    )
)


@public
def broadcast_to(x: Tensor, shape: Sequence[Any]) -> Tensor:
    """``x`` repeated along new axes and axes of size 1. ShapeError where it does not fit.

    The dtype stays.

    >>> import graphc as gx
    >>> x = gx.Graph().input("x", ("n", 3))
    >>> gx.broadcast_to(x, ("m", *x.shape)).shape
    (m, n, 3)
    """
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


def filled(graph: Graph, value: float, shape: Shape, dtype: Any) -> Tensor:
    """``value`` everywhere."""
    return broadcast_to(graph.constant(value, dtype), shape)


register(
    Op(
        "full_like",  # what ``x`` asks of sizes is asked, though its values are not needed
        Kind.ELEMENTWISE,
        1,
        lambda types, attrs: types[0],
        lambda x, fill: np.full_like(x, fill),
        (None,),
        "{fill}",
        attrs=("fill",),
        facts=frozenset(("linear",)),
    )
)


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
    """The axes of ``x`` in another order.

    ``axes`` says for each axis of the result which one of ``x`` it is. The dtype stays. Raises ShapeError where they
    are no permutation.

    >>> import graphc as gx
    >>> x = gx.Graph().input("x", ("n", 3, 4))
    >>> gx.permute_dims(x, (2, 0, 1)).shape
    (4, n, 3)
    """
    if len(axes) != x.ndim:
        raise ShapeError(f"expected {x.ndim} axes for {x.type}, found {tuple(axes)}")
    order = tuple(normalize_axis(a, x.ndim, "permute_dims") for a in axes)
    return x if order == tuple(range(x.ndim)) else apply("permute_dims", x, axes=order)


@public
def transpose(x: Tensor, axes: Sequence[int] | None = None) -> Tensor:
    """The axes of ``x`` in another order, reversed by default.

    The dtype stays. Raises ShapeError where ``axes`` are no permutation.

    >>> import graphc as gx
    >>> x = gx.Graph().input("x", ("n", 3))
    >>> gx.transpose(x).shape
    (3, n)
    """
    return permute_dims(x, tuple(reversed(range(x.ndim))) if axes is None else axes)


@public
def matrix_transpose(x: Tensor) -> Tensor:
    """The last two axes swapped.

    The dtype stays. Raises ShapeError for fewer than two axes.

    >>> import graphc as gx
    >>> x = gx.Graph().input("x", ("n", 3, 4))
    >>> gx.matrix_transpose(x).shape
    (n, 4, 3)
    """
    if x.ndim < 2:
        raise ShapeError(f"expected at least two axes, found {x.type}")
    return swapaxes(x, -1, -2)


@public
def swapaxes(x: Tensor, axis1: int, axis2: int) -> Tensor:
    """Two axes swapped.

    The dtype stays. Raises ShapeError for an axis that does not exist.

    >>> import graphc as gx
    >>> x = gx.Graph().input("x", ("n", 3, 4))
    >>> gx.swapaxes(x, 0, 2).shape
    (4, 3, n)
    """
    a, b = normalize_axis(axis1, x.ndim, "swapaxes"), normalize_axis(axis2, x.ndim, "swapaxes")
    order = list(range(x.ndim))
    order[a], order[b] = b, a
    return permute_dims(x, order)


@public
def moveaxis(x: Tensor, source: int, destination: int) -> Tensor:
    """One axis at another position, the others in order.

    The dtype stays. Raises ShapeError for an axis that does not exist.

    >>> import graphc as gx
    >>> x = gx.Graph().input("x", ("n", 3, 4))
    >>> gx.moveaxis(x, 0, -1).shape
    (3, 4, n)
    """
    a, b = normalize_axis(source, x.ndim, "moveaxis"), normalize_axis(destination, x.ndim, "moveaxis")
    order = [k for k in range(x.ndim) if k != a]
    order.insert(b, a)
    return permute_dims(x, order)


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
        checks=lambda types, attrs: negative_checks(attrs["shape"]),
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
