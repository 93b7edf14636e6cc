"""Parts of matrices, and products of other kinds than `matmul`."""

from __future__ import annotations

from graphc.errors import ShapeError
from graphc.ir import dims
from graphc.ir.tensor import Tensor
from graphc.ir.types import BOOL, normalize_axis
from graphc.ops.apply import Operand, promoted, public
from graphc.ops.assembly import concat, pad
from graphc.ops.creation import band
from graphc.ops.elementwise import equal, greater_equal, less_equal, not_equal, where
from graphc.ops.linalg import diagonal
from graphc.ops.shape import moveaxis, reshape


@public
def tril(x: Tensor, k: int = 0) -> Tensor:
    """The last two axes with zeros above a diagonal, ``k`` to the right of the main one.

    What is set to 0 gets no gradient. Raises ShapeError for fewer than two axes.

    The dtype stays.

    >>> import graphc as gx
    >>> x = gx.Graph().input("x", (2, 2), "float64")
    >>> gx.compile([x], gx.tril(x), backend="numpy")([[1, 2], [3, 4]]).tolist()
    [[1.0, 0.0], [3.0, 4.0]]
    """
    return _kept(greater_equal, x, k)


@public
def triu(x: Tensor, k: int = 0) -> Tensor:
    """The last two axes with zeros below a diagonal; as `tril` otherwise.

    The dtype stays.

    >>> import graphc as gx
    >>> x = gx.Graph().input("x", (2, 2), "float64")
    >>> gx.compile([x], gx.triu(x), backend="numpy")([[1, 2], [3, 4]]).tolist()
    [[1.0, 2.0], [0.0, 4.0]]
    """
    return _kept(less_equal, x, k)


def _kept(test: object, x: Tensor, k: int) -> Tensor:
    if x.ndim < 2:
        raise ShapeError(f"expected at least two axes, found {x.type}")
    return where(band(x.graph, test, x.shape[-2], x.shape[-1], k), x, 0)


@public
def diag(x: Tensor, k: int = 0) -> Tensor:
    """A matrix with the vector ``x`` on a diagonal, ``k`` to the right of the main one; of a matrix, that diagonal.

    Raises ShapeError for other ranks: `diagonal` takes stacks of matrices.

    The dtype stays.

    >>> from graphc.ir.graph import Graph
    >>> x = Graph("g").input("x", ("n",))
    >>> diag(x, 1).shape
    (n + 1, n + 1)
    """
    if x.ndim == 2:
        return diagonal(x, k)
    if x.ndim != 1:
        raise ShapeError(f"expected a vector or a matrix, found {x.type}; diagonal takes stacks of matrices")
    n = x.shape[0]
    square = where(band(x.graph, equal, n, n, 0), x, 0)
    below, right = max(0, -k), max(0, k)
    return pad(square, [(below, right), (right, below)]) if k else square


@public
def diff(x: Tensor, n: int = 1, axis: int = -1) -> Tensor:
    """Differences of neighbours along an axis, taken ``n`` times; of bools whether they differ. As NumPy's.

    Raises ShapeError where ``n`` is negative.

    The axis has ``n`` elements fewer; the dtype stays.

    >>> import graphc as gx
    >>> x = gx.Graph().input("x", (3,), "float64")
    >>> gx.compile([x], gx.diff(x), backend="numpy")([1, 4, 9]).tolist()
    [3.0, 5.0]
    """
    if n < 0:
        raise ShapeError(f"n must be at least 0, found {n}")
    before = (slice(None),) * normalize_axis(axis, x.ndim, "diff")
    for _ in range(n):
        later, earlier = x[(*before, slice(1, None))], x[(*before, slice(None, -1))]
        x = not_equal(later, earlier) if x.dtype == BOOL else later - earlier
    return x


@public
def kron(a: Operand, b: Operand) -> Tensor:
    """Kronecker's product: each element of ``a`` times all of ``b``, laid side by side. As NumPy's.

    Axes are those of the operand that has more; sizes are multiplied. The dtype is that in which the operands meet.
    Raises GraphError where neither is a tensor.

    >>> from graphc.ir.graph import Graph
    >>> g = Graph("g")
    >>> kron(g.input("a", (2, "n")), g.input("b", (3, 3))).shape
    (6, 3*n)
    """
    left, right = promoted(a, b)
    ndim = max(left.ndim, right.ndim)
    one, two = ((1,) * (ndim - t.ndim) + t.shape for t in (left, right))
    x = reshape(left, tuple(s for size in one for s in (size, 1)))
    y = reshape(right, tuple(s for size in two for s in (1, size)))
    return reshape(x * y, tuple(dims.multiply(s, t) for s, t in zip(one, two, strict=True)))


@public
def cross(a: Operand, b: Operand, axis: int = -1) -> Tensor:
    """The cross product of vectors of 3 along an axis; the other axes broadcast.

    ``axis`` counts within each operand. Raises ShapeError where a size along it is not 3.

    The dtype is that in which the operands meet.

    >>> import graphc as gx
    >>> x = gx.Graph().input("x", (3,), "float64")
    >>> gx.compile([x], gx.cross(x, [0.0, 1.0, 0.0]), backend="numpy")([1, 0, 0]).tolist()
    [0.0, 0.0, 1.0]
    """
    left, right = promoted(a, b)
    x, y = (moveaxis(t, normalize_axis(axis, t.ndim, "cross"), -1) for t in (left, right))
    if any(isinstance(t.shape[-1], int) and t.shape[-1] != 3 for t in (x, y)):
        raise ShapeError(f"expected vectors of 3, found {left.type} and {right.type}")
    x, y = (reshape(t, (*t.shape[:-1], 3)) for t in (x, y))  # a size that is not known is tested when called
    parts = []
    for k in range(3):
        i, j = (k + 1) % 3, (k + 2) % 3
        parts.append(x[..., i : i + 1] * y[..., j : j + 1] - x[..., j : j + 1] * y[..., i : i + 1])
    out = concat(parts, -1)
    return moveaxis(out, -1, axis if axis < 0 else out.ndim - max(left.ndim, right.ndim) + axis)


__all__ = ["cross", "diag", "diff", "kron", "tril", "triu"]
