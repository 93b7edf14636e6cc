"""Matrix products in all their NumPy forms."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from graphc.errors import DTypeError, ShapeError
from graphc.ir import dims
from graphc.ir.dims import Size
from graphc.ir.op import Attrs, Kind, Op, register
from graphc.ir.tensor import Tensor
from graphc.ir.types import SizeCheck, TensorType, broadcast_checks, broadcast_shapes, normalize_axis
from graphc.ops.apply import Operand, apply, promoted, public
from graphc.ops.reduce import pairwise_sum
from graphc.ops.shape import expand_dims, iota, matrix_transpose, moveaxis, permute_dims, reshape, squeeze

PIECE = 4096  # steps of an inner size that the interpreter leaves to NumPy at once


def _infer(types: Sequence[TensorType], attrs: Attrs) -> TensorType:
    a, b = types
    if a.ndim < 2 or b.ndim < 2:
        raise ShapeError(f"expected at least two axes on both sides, found {a} and {b}")
    if a.dtype != b.dtype or a.dtype.kind == "b":
        raise DTypeError(f"expected numbers of one dtype, found {a} and {b}")
    left, right = a.shape[-1], b.shape[-2]
    if isinstance(left, int) and isinstance(right, int) and left != right:
        raise ShapeError(f"inner dimensions differ: left is {a}, right is {b}")
    batch = broadcast_shapes(a.shape[:-2], b.shape[:-2])
    return TensorType(a.dtype, (*batch, a.shape[-2], b.shape[-1]))


def _matmul(a: Any, b: Any) -> Any:
    """`numpy.matmul`, where a long inner size is summed in pieces."""
    cuts = range(0, a.shape[-1], PIECE)
    if len(cuts) < 2:
        return np.matmul(a, b)
    return pairwise_sum(np.stack([np.matmul(a[..., k : k + PIECE], b[..., k : k + PIECE, :]) for k in cuts]), (0,))


def _checks(types: Sequence[TensorType], attrs: Attrs) -> list[SizeCheck]:
    a, b = types
    inner = [SizeCheck(a.shape[-1], b.shape[-2], False)] if a.shape[-1] != b.shape[-2] else []
    return inner + broadcast_checks([a.shape[:-2], b.shape[:-2]])


def _of_size(x: Tensor, axis: int, like: Tensor) -> Tensor:
    """``x`` with the size of ``like`` along an axis, where both are the inner size, by two names."""
    a = axis % x.ndim
    return reshape(x, (*x.shape[:a], like.shape[axis], *x.shape[a + 1 :]))


register(
    Op(
        "matmul",
        Kind.CONTRACTION,
        2,
        _infer,
        _matmul,
        (
            lambda g, y, a, b: _of_size(matmul(g, matrix_transpose(b)), -1, a),
            lambda g, y, a, b: _of_size(matmul(matrix_transpose(a), g), -2, b),
        ),
        checks=_checks,
    )
)


@public
def matmul(a: Operand, b: Operand) -> Tensor:
    """``a @ b``: vectors, matrices, and stacks of matrices that broadcast.

    Raises ShapeError where inner sizes differ or an operand is 0-d.

    The dtype is that in which the operands meet.

    >>> import graphc as gx
    >>> x = gx.Graph().input("x", (2, 3), "float64")
    >>> gx.compile([x], gx.matmul(x, [1.0, 0.0, 1.0]), backend="numpy")([[1, 2, 3], [4, 5, 6]]).tolist()
    [4.0, 10.0]
    """
    left, right = promoted(a, b)
    if left.ndim == 0 or right.ndim == 0:
        raise ShapeError(f"expected at least one axis on both sides, found {left.type} and {right.type}")
    inner = left.shape[-1], right.shape[0] if right.ndim == 1 else right.shape[-2]
    if all(isinstance(s, int) for s in inner) and inner[0] != inner[1]:
        raise ShapeError(f"inner dimensions differ: left is {left.type}, right is {right.type}")
    out = apply(
        "matmul",
        expand_dims(left, 0) if left.ndim == 1 else left,
        expand_dims(right, 1) if right.ndim == 1 else right,
    )
    gone = [out.ndim - 2] * (left.ndim == 1) + [out.ndim - 1] * (right.ndim == 1)
    return squeeze(out, gone) if gone else out


@public
def dot(a: Operand, b: Operand) -> Tensor:
    """NumPy's dot: the last axis of ``a`` against the one before last of ``b``.

    The dtype is that in which the operands meet. Raises ShapeError where sizes differ.

    >>> import graphc as gx
    >>> x = gx.Graph().input("x", (2, 3), "float64")
    >>> gx.compile([x], gx.dot(x, [1.0, 0.0, 1.0]), backend="numpy")([[1, 2, 3], [4, 5, 6]]).tolist()
    [4.0, 10.0]
    """
    left, right = promoted(a, b)
    if left.ndim == 0 or right.ndim == 0:
        return left * right
    if left.ndim <= 2 and right.ndim <= 2:
        return matmul(left, right)
    return tensordot(left, right, ([left.ndim - 1], [max(right.ndim - 2, 0)]))


@public
def vecdot(a: Operand, b: Operand, axis: int = -1) -> Tensor:
    """The sum of products along one axis, of one size on both sides; the other axes broadcast.

    ``axis`` counts within each operand, before they broadcast. Raises ShapeError where the sizes differ.

    The dtype is that in which the operands meet.

    >>> import graphc as gx
    >>> x = gx.Graph().input("x", (2, 3), "float64")
    >>> gx.compile([x], gx.vecdot(x, [1.0, 0.0, 1.0]), backend="numpy")([[1, 2, 3], [4, 5, 6]]).tolist()
    [4.0, 10.0]
    """
    left, right = promoted(a, b)
    left, right = (moveaxis(t, normalize_axis(axis, t.ndim, "vecdot"), -1) for t in (left, right))
    return squeeze(matmul(expand_dims(left, left.ndim - 1), expand_dims(right, right.ndim)), [-2, -1])


@public
def outer(a: Operand, b: Operand) -> Tensor:
    """Every element of one vector times every element of the other; operands are flattened.

    Vectors (n,) and (m,) give (n, m). The dtype is that in which the operands meet. Raises GraphError where neither
    is a tensor.

    >>> import graphc as gx
    >>> x = gx.Graph().input("x", (2,), "float64")
    >>> gx.compile([x], gx.outer(x, [1.0, 10.0]), backend="numpy")([1, 2]).tolist()
    [[1.0, 10.0], [2.0, 20.0]]
    """
    left, right = promoted(a, b)
    return reshape(left, (left.size, 1)) * reshape(right, (1, right.size))


@public
def tensordot(a: Operand, b: Operand, axes: int | tuple[Sequence[int], Sequence[int]] = 2) -> Tensor:
    """The sum of products over pairs of axes, as NumPy's.

    ``axes`` is how many last axes of ``a`` meet the first of ``b``, or a list of axes for each. The dtype is that in
    which the operands meet. Raises ShapeError where sizes differ.

    >>> import graphc as gx
    >>> x = gx.Graph().input("x", ("n", 3))
    >>> gx.tensordot(x, x, axes=([0], [0])).shape
    (3, 3)
    """
    left, right = promoted(a, b)
    if isinstance(axes, int):
        if not 0 <= axes <= min(left.ndim, right.ndim):
            raise ShapeError(f"cannot sum over {axes} axes of {left.type} and {right.type}")
        over_left, over_right = list(range(left.ndim - axes, left.ndim)), list(range(axes))
    else:
        pairs = [[k] if isinstance(k, int) else list(k) for k in axes]
        over_left = [normalize_axis(k, left.ndim, "tensordot") for k in pairs[0]]
        over_right = [normalize_axis(k, right.ndim, "tensordot") for k in pairs[1]]
    inner = [left.shape[k] for k in over_left], [right.shape[k] for k in over_right]
    if len(inner[0]) != len(inner[1]) or any(_apart(*sizes) for sizes in zip(*inner, strict=True)):
        raise ShapeError(f"axes {axes} of {left.type} and {right.type} differ in number or size")
    free_left = [k for k in range(left.ndim) if k not in over_left]
    free_right = [k for k in range(right.ndim) if k not in over_right]
    rows, columns = [left.shape[k] for k in free_left], [right.shape[k] for k in free_right]
    x = reshape(permute_dims(left, free_left + over_left), (dims.product(rows), dims.product(inner[0])))
    y = reshape(permute_dims(right, over_right + free_right), (dims.product(inner[1]), dims.product(columns)))
    return reshape(apply("matmul", x, y), (*rows, *columns))


def _apart(left: Size, right: Size) -> bool:
    return isinstance(left, int) and isinstance(right, int) and left != right


@public
def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """``x @ weight + bias``.

    ``x`` is (..., features), ``weight`` (features, units), ``bias`` (units,); a float (..., units). Raises ShapeError
    where they do not fit.

    >>> import graphc as gx
    >>> g = gx.Graph()
    >>> gx.linear(g.input("x", ("n", 4)), g.input("weight", (4, 2)), g.input("bias", (2,))).shape
    (n, 2)
    """
    return x @ weight if bias is None else x @ weight + bias


@public
def trace(x: Tensor, offset: int = 0) -> Tensor:
    """The sum of a diagonal of the last two axes.

    The last two axes go; floats keep their dtype, integers give int64. Raises ShapeError for fewer than two axes.

    >>> import graphc as gx
    >>> x = gx.Graph().input("x", (2, 2), "float64")
    >>> gx.compile([x], gx.trace(x), backend="numpy")([[1, 2], [3, 4]]).item()
    5.0
    """
    return diagonal(x, offset).sum(axis=-1)


@public
def diagonal(x: Tensor, offset: int = 0) -> Tensor:
    """A diagonal of the last two axes, ``offset`` to the right of the main one (to the left where negative).

    The dtype stays. Raises ShapeError for fewer than two axes.

    >>> import graphc as gx
    >>> x = gx.Graph().input("x", (2, 2), "float64")
    >>> gx.compile([x], gx.diagonal(x), backend="numpy")([[1, 2], [3, 4]]).tolist()
    [1.0, 4.0]
    """
    if x.ndim < 2:
        raise ShapeError(f"expected at least two axes, found {x.type}")
    inner = x[..., max(0, -offset) :, max(0, offset) :]
    along = iota(x.graph, dims.minimum(*inner.shape[-2:]))
    return apply("take_points", inner, along, along, axes=(x.ndim - 2, x.ndim - 1))
