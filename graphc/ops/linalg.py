"""Matrix products in all their NumPy forms."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from graphc.errors import DTypeError, ShapeError
from graphc.ir.graph import Tensor
from graphc.ir.op import Attrs, Kind, Op, register
from graphc.ir.types import SizeCheck, TensorType, broadcast_checks, broadcast_shapes
from graphc.ops.apply import Operand, apply, promoted, public
from graphc.ops.shape import expand_dims, matrix_transpose, permute_dims, reshape, squeeze


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


def _checks(types: Sequence[TensorType], attrs: Attrs) -> list[SizeCheck]:
    a, b = types
    inner = [SizeCheck(a.shape[-1], b.shape[-2], False)] if a.shape[-1] != b.shape[-2] else []
    return inner + broadcast_checks([a.shape[:-2], b.shape[:-2]])


register(
    Op(
        "matmul",
        Kind.CONTRACTION,
        2,
        _infer,
        np.matmul,
        (
            lambda g, y, a, b: matmul(g, matrix_transpose(b)),
            lambda g, y, a, b: matmul(matrix_transpose(a), g),
        ),
        checks=_checks,
    )
)


@public
def matmul(a: Operand, b: Operand) -> Tensor:
    """``a @ b``: vectors, matrices, and stacks of matrices that broadcast.

    Raises ShapeError where inner sizes differ or an operand is 0-d.
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
    """NumPy's dot: the last axis of ``a`` against the one before last of ``b``."""
    left, right = promoted(a, b)
    if left.ndim == 0 or right.ndim == 0:
        return left * right
    if left.ndim <= 2 and right.ndim <= 2:
        return matmul(left, right)
    return tensordot(left, right, ([left.ndim - 1], [max(right.ndim - 2, 0)]))


@public
def vecdot(a: Operand, b: Operand, axis: int = -1) -> Tensor:
    """The sum of products along one axis."""
    left, right = promoted(a, b)
    return (left * right).sum(axis=axis)


@public
def outer(a: Operand, b: Operand) -> Tensor:
    """Every element of one vector times every element of the other."""
    left, right = promoted(a, b)
    return reshape(left, (left.size, 1)) * reshape(right, (1, right.size))


@public
def tensordot(a: Operand, b: Operand, axes: int | tuple[Sequence[int], Sequence[int]] = 2) -> Tensor:
    """The sum of products over pairs of axes, as NumPy's."""
    left, right = promoted(a, b)
    if isinstance(axes, int):
        over_left, over_right = list(range(left.ndim - axes, left.ndim)), list(range(axes))
    else:
        over_left = [x % left.ndim for x in axes[0]]
        over_right = [x % right.ndim for x in axes[1]]
    free_left = [k for k in range(left.ndim) if k not in over_left]
    free_right = [k for k in range(right.ndim) if k not in over_right]
    from graphc.ir import dims

    inner = dims.product(left.shape[k] for k in over_left)
    rows, columns = [left.shape[k] for k in free_left], [right.shape[k] for k in free_right]
    x = reshape(permute_dims(left, free_left + over_left), (dims.product(rows), inner))
    y = reshape(
        permute_dims(right, over_right + free_right),
        (dims.product(right.shape[k] for k in over_right), dims.product(columns)),
    )
    return reshape(apply("matmul", x, y), (*rows, *columns))


@public
def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """``x @ weight + bias``."""
    return x @ weight if bias is None else x @ weight + bias


@public
def trace(x: Tensor) -> Tensor:
    """The sum of the main diagonal of the last two axes."""
    return diagonal(x).sum(axis=-1)


@public
def diagonal(x: Tensor) -> Tensor:
    """The main diagonal of the last two axes, which must be equal known sizes."""
    from graphc.ops.elementwise import equal, where
    from graphc.ops.shape import iota

    n, m = x.shape[-2], x.shape[-1]
    if n != m:
        raise ShapeError(f"expected square matrices, found {x.type}")
    i = iota(x.graph, n)
    return where(equal(expand_dims(i, 1), expand_dims(i, 0)), x, 0).sum(axis=-1)
