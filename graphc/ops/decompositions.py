"""Linear systems, factorisations, determinants, eigenvalues and singular values of stacks of matrices."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import reduce
from typing import Any

import numpy as np

from graphc.errors import DTypeError, ShapeError
from graphc.ir import dims
from graphc.ir.dims import Size
from graphc.ir.graph import Graph
from graphc.ir.op import Attrs, Kind, Op, register
from graphc.ir.tensor import Tensor
from graphc.ir.types import Shape, SizeCheck, TensorType, broadcast_shapes, is_float
from graphc.ops.apply import Operand, apply, cast, promoted, public
from graphc.ops.assembly import concat
from graphc.ops.creation import band
from graphc.ops.elementwise import abs as abs_
from graphc.ops.elementwise import clip, equal, isnan, logical_or, stop_gradient, where
from graphc.ops.functions import ceil, exp2, log2
from graphc.ops.linalg import matmul
from graphc.ops.matrices import tril, triu
from graphc.ops.reduce import max as max_
from graphc.ops.reduce import prod
from graphc.ops.reduce import sum as sum_
from graphc.ops.shape import broadcast_to, expand_dims, matrix_transpose, squeeze

Types = Sequence[TensorType]
DOUBLE = 8  # bytes
BLOCK = 64  # rows of a block of a large matrix
FEW = 4  # rows, loops over which are unrolled
SMALL_QR, SMALL_EIGEN, SMALL_SINGULAR = 1600, 4096, 400  # elements up to which LAPACK is not asked
AT_ONCE = 64  # columns that it takes together


def _last_two(kind: TensorType) -> tuple[Shape, Size, Size]:
    if kind.ndim < 2 or not is_float(kind.dtype):
        raise ShapeError(f"expected matrices of floats, found {kind}")
    return kind.shape[:-2], kind.shape[-2], kind.shape[-1]


def _square(kind: TensorType) -> tuple[Shape, Size]:
    batch, rows, columns = _last_two(kind)
    if isinstance(rows, int) and isinstance(columns, int) and rows != columns:
        raise ShapeError(f"expected square matrices, found {kind}")
    return batch, rows


def _square_checks(types: Types, attrs: Attrs) -> list[SizeCheck]:
    rows, columns = types[0].shape[-2:]
    return [SizeCheck(columns, rows, False)] if rows != columns else []


def _each(function: Callable[..., Any], *ndims: int) -> Callable[..., Any]:
    """A NumPy or SciPy function of matrices, for stacks of them; NaN where it fails."""

    def reference(*arrays: Any, **attrs: Any) -> Any:
        batch = arrays[0].shape[:-2]
        flat = [a.reshape(-1, *a.shape[-2:]) for a in arrays]
        made = []
        for matrices in zip(*flat, strict=True):
            with np.errstate(all="ignore"):
                made.append(function(*matrices, **attrs))
        if not made:
            shape = function(*(np.eye(*a.shape[-2:], dtype=a.dtype) for a in arrays), **attrs).shape
            return np.zeros((*batch, *shape), arrays[0].dtype)
        return np.stack(made).reshape(*batch, *made[0].shape).astype(arrays[0].dtype)

    return reference


def _or_nan(function: Callable[..., Any], shape: Callable[..., tuple[int, ...]]) -> Callable[..., Any]:
    def guarded(*arrays: Any, **attrs: Any) -> Any:
        try:
            if not all(np.isfinite(a).all() for a in arrays):
                raise np.linalg.LinAlgError
            return function(*arrays, **attrs)
        except (np.linalg.LinAlgError, ValueError):
            return np.full(shape(*arrays), np.nan)

    return guarded


def triangle(x: Tensor, lower: bool, diagonal: bool = True) -> Tensor:
    """The lower or upper triangle of matrices, with zeros elsewhere; with its diagonal or without."""
    return tril(x, 0 if diagonal else -1) if lower else triu(x, 0 if diagonal else 1)


def on_diagonal(graph: Graph, size: Size) -> Tensor:
    """Whether an element of square matrices lies on the diagonal."""
    return band(graph, equal, size, size, 0)


def identity_matrix(x: Tensor, size: Size) -> Tensor:
    """Ones on the diagonal, zeros elsewhere, in the dtype of ``x`` and for each of its matrices."""
    return broadcast_to(cast(on_diagonal(x.graph, size), x.dtype), (*x.shape[:-2], size, size))


def _symmetric(x: Tensor) -> Tensor:
    return (x + matrix_transpose(x)) * 0.5


def _in_blocks(types: Types) -> bool:
    """Whether matrices are, or may be, of more rows than a block has."""
    rows = types[0].shape[-1]
    return not isinstance(rows, int) or rows > BLOCK


def _few(types: Types) -> bool:
    rows = types[0].shape[-1]
    return isinstance(rows, int) and rows <= FEW


def _of_size(code: str, few: bool = False) -> Callable[[TensorType, Types, Attrs], str]:
    """The routine for small matrices, for those that may be large, or where there is one for a ``few`` known rows."""

    def chosen(kind: TensorType, types: Types, attrs: Attrs) -> str:
        if _in_blocks(types):
            return f"{code}_in_blocks"
        return f"{code}_of_few" if few and _few(types) else code

    return chosen


def _rows_of_block(types: Types, attrs: Attrs) -> Size | None:
    """Memory for a block of rows, and its square."""
    if not _in_blocks(types):
        return None
    return dims.product((types[0].shape[-1] + BLOCK, BLOCK, types[0].dtype.itemsize))


def _routine(
    name: str,
    code: str | Callable[[TensorType, Types, Attrs], str],
    infer: Callable[[Types, Attrs], TensorType],
    reference: Callable[..., Any],
    gradient: tuple[Any, ...],
    scratch: Callable[[Types, Attrs], Size | None] | None = None,
    attrs: tuple[str, ...] = (),
    checks: Callable[[Types, Attrs], list[SizeCheck]] | None = None,
    facts: tuple[str, ...] = (),
    fails: str = "",
) -> None:
    arity = len(gradient)
    register(
        Op(
            name, Kind.ROUTINE, arity, infer, reference, gradient,
            code=code, core=(2,) * arity, scratch=scratch, attrs=attrs, checks=checks, facts=frozenset(facts),
            fails=fails,
        )
    )  # fmt: skip


def _bytes_of(types: Types, attrs: Attrs) -> Size:
    """Memory for a copy of the matrix."""
    return dims.product((*types[0].shape[-2:], types[0].dtype.itemsize))


def _any_size(code: str, small: int) -> Callable[[TensorType, Types, Attrs], str]:
    """The routine for small matrices, or for those that may be large."""

    def chosen(kind: TensorType, types: Types, attrs: Attrs) -> str:
        return f"{code}_of_any" if _may_be_large(types, small) else code

    return chosen


def _may_be_large(types: Types, small: int) -> bool:
    size = dims.product(types[0].shape[-2:])
    return not isinstance(size, int) or size > small


# ---- Cholesky


def _cholesky_gradient(g: Tensor, y: Tensor, a: Tensor) -> Tensor:
    return apply("cholesky_adjoint", g, y)


def _halved(x: Tensor) -> Tensor:
    """The lower triangle, half of its diagonal."""
    return triangle(where(on_diagonal(x.graph, x.shape[-1]), x * 0.5, x), lower=True)


def _of_cotangent(h: Tensor, y: Tensor, g: Tensor, low: Tensor) -> Tensor:
    """What moves the factor as ``h`` moves the lower part of the matrix: the adjoint is linear in ``g``."""
    return matmul(low, _moved(h, low))


def _moved(h: Tensor, low: Tensor) -> Tensor:
    left = _triangular(low, _mirrored(h), lower=True)
    return _halved(_triangular(low, matrix_transpose(left), lower=True))


def _mirrored(h: Tensor) -> Tensor:
    """The symmetric matrix with the lower triangle of ``h``."""
    return triangle(h, lower=True) + matrix_transpose(triangle(h, lower=True, diagonal=False))


def _of_factor(h: Tensor, y: Tensor, g: Tensor, low: Tensor) -> Tensor:
    """Of ``tril(S + S')``, half of its diagonal, where ``S = inv(L') halved(L' G) inv(L)``; ``y`` is that."""
    right = matmul(y + matrix_transpose(y), matrix_transpose(_triangular(low, _mirrored(h), lower=True)))
    return triangle(matmul(triangle(g, lower=True), matrix_transpose(_moved(h, low))) - right, lower=True)


def _cholesky_adjoint_reference(g: Any, low: Any) -> Any:
    """Murray, *Differentiation of the Cholesky decomposition* (2016), equation 10."""
    import scipy.linalg  # takes longer than the rest of graphc

    inner = np.tril(low.T @ np.tril(g))
    inner[np.diag_indices_from(inner)] *= 0.5
    left = scipy.linalg.solve_triangular(low, inner, lower=True, trans=1)
    both = scipy.linalg.solve_triangular(low, left.T, lower=True, trans=1)
    both = both + both.T
    both[np.diag_indices_from(both)] *= 0.5
    return np.tril(both)


_routine(
    "cholesky",
    _of_size("cholesky", few=True),
    lambda types, attrs: TensorType(types[0].dtype, (*_square(types[0])[0], *[_square(types[0])[1]] * 2)),
    _each(_or_nan(np.linalg.cholesky, lambda a: a.shape)),
    (_cholesky_gradient,),
    _rows_of_block,
    checks=_square_checks,
    fails="the matrix is not positive definite",
)


def _adjoint_bytes(types: Types, attrs: Attrs) -> Size | None:
    if _in_blocks(types):
        return _rows_of_block(types, attrs)
    return None if _few(types) else _bytes_of(types, attrs)


_routine(
    "cholesky_adjoint",
    _of_size("cholesky_adjoint", few=True),
    lambda types, attrs: types[0],
    _each(_or_nan(_cholesky_adjoint_reference, lambda g, low: g.shape)),
    (_of_cotangent, _of_factor),
    _adjoint_bytes,
    checks=_square_checks,
)


@public
def cholesky(a: Tensor) -> Tensor:
    """The lower triangular L with ``L @ L.T = a`` of positive definite matrices ``(..., n, n)``.

    Of ``a`` the symmetric part is taken, so the gradient is symmetric. A matrix that is not positive definite gives
    NaN. Raises ShapeError where it is not square. Golub and Van Loan, *Matrix Computations*, 4.2.

    A float, the graph's for integers.

    >>> import numpy as np
    >>> import graphc as gx
    >>> g = gx.Graph("factor")
    >>> a = g.input("a", (2, 2))
    >>> gx.compile([a], gx.cholesky(a), backend="numpy")(np.array([[4, 2], [2, 5]], "float32")).tolist()
    [[2.0, 0.0], [1.0, 2.0]]
    """
    return apply("cholesky", _symmetric(_matrices(a)))


def _matrices(a: Tensor, square: bool = True) -> Tensor:
    """Matrices of floats; integers as the graph's float."""
    a = a if is_float(a.dtype) else cast(a, a.graph.float_dtype)
    if square:
        _square(a.type)
    else:
        _last_two(a.type)
    return a


# ---- systems


def _infer_system(types: Types, attrs: Attrs) -> TensorType:
    a, b = types
    batch, rows = _square(a)
    others, height, _ = _last_two(b)
    if a.dtype != b.dtype or batch != others:
        raise ShapeError(f"expected one dtype and one batch, found {a} and {b}")
    if isinstance(rows, int) and isinstance(height, int) and rows != height:
        raise ShapeError(f"sizes differ: the matrix is {a}, the right side {b}")
    return b


def _system_checks(types: Types, attrs: Attrs) -> list[SizeCheck]:
    rows, height = types[0].shape[-1], types[1].shape[-2]
    return [*_square_checks(types, attrs), *([SizeCheck(rows, height, False)] if rows != height else [])]


def _triangular(a: Tensor, b: Tensor, lower: bool, transposed: bool = False, unit: bool = False) -> Tensor:
    return apply("triangular_system", a, b, lower=lower, transposed=transposed, unit=unit)


def _triangular_reference(a: Any, b: Any, lower: bool, transposed: bool, unit: bool) -> Any:
    import scipy.linalg  # takes longer than the rest of graphc

    part = np.tril(a) if lower else np.triu(a)
    if unit:
        part = part - np.diag(np.diag(part)) + np.eye(len(a), dtype=a.dtype)
    if (np.diag(part) == 0).any():
        return np.full(b.shape, np.nan)
    return scipy.linalg.solve_triangular(part, b, lower=lower, trans=int(transposed), check_finite=False)


def _of_triangle(g: Tensor, y: Tensor, a: Tensor, b: Tensor) -> Tensor:
    at = y.attrs
    h = _triangular(a, g, at["lower"], not at["transposed"], at["unit"])
    left, right = (y, h) if at["transposed"] else (h, y)
    return triangle(-matmul(left, matrix_transpose(right)), at["lower"], diagonal=not at["unit"])


_routine(
    "triangular_system",
    _of_size("triangular_system"),
    _infer_system,
    _each(_triangular_reference),
    (
        _of_triangle,
        lambda g, y, a, b: _triangular(a, g, y.attrs["lower"], not y.attrs["transposed"], y.attrs["unit"]),
    ),
    _rows_of_block,
    attrs=("lower", "transposed", "unit"),
    checks=_system_checks,
    facts=("columns",),
    fails="the matrix is singular",
)


_routine(
    "system",
    "system",
    _infer_system,
    _each(_or_nan(np.linalg.solve, lambda a, b: b.shape)),
    (
        lambda g, y, a, b: -matmul(apply("system", matrix_transpose(a), g), matrix_transpose(y)),
        lambda g, y, a, b: apply("system", matrix_transpose(a), g),
    ),
    _bytes_of,
    checks=_system_checks,
    facts=("columns",),
    fails="the matrix is singular",
)


def _sides(a: Operand, b: Operand) -> tuple[Tensor, Tensor, bool]:
    """Both sides of a system with one batch and dtype, and whether the right one is a vector."""
    left, right = promoted(a, b, floating=True)
    vector = right.ndim == 1
    if vector:
        right = expand_dims(right, 1)
    batch = broadcast_shapes(_square(left.type)[0], _last_two(right.type)[0])
    left, right = (broadcast_to(t, (*batch, *t.shape[-2:])) for t in (left, right))
    return left, right, vector


@public
def solve(a: Operand, b: Operand) -> Tensor:
    """``x`` with ``a @ x = b``: matrices ``(..., n, n)``, right sides ``(..., n, m)`` or one vector ``(n,)``.

    Stacks broadcast; ``b`` is a vector only where it has one axis. Elimination with partial pivoting (Golub and Van
    Loan, 3.4); a singular matrix gives NaN. Raises ShapeError where sizes do not fit.

    A float, the graph's for integers.

    >>> import numpy as np
    >>> import graphc as gx
    >>> g = gx.Graph("system")
    >>> a, b = g.input("a", (2, 2)), g.input("b", (2,))
    >>> f = gx.compile([a, b], gx.solve(a, b), backend="numpy")
    >>> f(np.array([[2, 0], [0, 4]], "float32"), np.array([2, 8], "float32")).tolist()
    [1.0, 2.0]
    """
    left, right, vector = _sides(a, b)
    x = apply("system", left, right)
    return squeeze(x, -1) if vector else x


@public
def solve_triangular(
    a: Operand, b: Operand, *, lower: bool = False, transposed: bool = False, unit_diagonal: bool = False
) -> Tensor:
    """``x`` with ``a @ x = b``, or ``a.T @ x = b`` where ``transposed``; of ``a`` one triangle is read.

    Shapes as `solve`. ``unit_diagonal`` takes the diagonal as 1. A zero on the diagonal gives NaN.

    >>> import numpy as np
    >>> import graphc as gx
    >>> g = gx.Graph("triangle")
    >>> a, b = g.input("a", (2, 2)), g.input("b", (2,))
    >>> f = gx.compile([a, b], gx.solve_triangular(a, b, lower=True), backend="numpy")
    >>> f(np.array([[2, 9], [1, 4]], "float32"), np.array([2, 9], "float32")).tolist()
    [1.0, 2.0]
    """
    left, right, vector = _sides(a, b)
    x = _triangular(left, right, bool(lower), bool(transposed), bool(unit_diagonal))
    return squeeze(x, -1) if vector else x


@public
def inv(a: Tensor) -> Tensor:
    """The inverse of matrices ``(..., n, n)``; NaN for a singular one. `solve` is faster and more accurate.

    A float, the graph's for integers. Raises ShapeError where matrices are not square.

    >>> import numpy as np
    >>> import graphc as gx
    >>> g = gx.Graph("inverse")
    >>> a = g.input("a", (2, 2))
    >>> gx.compile([a], gx.inv(a), backend="numpy")(np.array([[2, 0], [0, 4]], "float32")).tolist()
    [[0.5, 0.0], [0.0, 0.25]]
    """
    a = _matrices(a)
    return apply("system", a, identity_matrix(a, a.shape[-1]))


# ---- determinants


def _slogdet_gradient(g: Tensor, y: Tensor, a: Tensor) -> Tensor:
    of_log = expand_dims(g[..., 1], (g.ndim - 1, g.ndim))
    return of_log * apply("system", matrix_transpose(a), identity_matrix(a, a.shape[-1]))


def _det_gradient(g: Tensor, y: Tensor, a: Tensor) -> Tensor:
    """Jacobi's formula, by cofactors, which singular matrices have too."""
    return expand_dims(g, -1) * apply("cofactors", a)


def _cofactors_reference(a: Any) -> Any:
    """From the singular values: each is the product of all others."""
    n = len(a)
    u, s, v = np.linalg.svd(a.astype(np.float64))
    others = np.prod(np.where(np.eye(n, dtype=bool), 1, s), axis=1)
    return np.linalg.det(u) * np.linalg.det(v) * (u * others) @ v


def _cofactors_gradient(g: Tensor, y: Tensor, a: Tensor) -> Tensor:
    """In the bases of the singular vectors: products of all singular values but two, without division."""
    n = a.shape[-1]
    u, s, v = _svd_parts(apply("singular_triplets", a), n)
    g = matmul(matmul(matrix_transpose(u), g), v)
    same = on_diagonal(a.graph, n)
    one, other = expand_dims(same, 1), expand_dims(same, 0)  # whether k is i, and whether it is j
    rest = prod(where(logical_or(one, other), 1, expand_dims(expand_dims(s, -2), -2)), -1)
    rest = where(same, 0, rest)
    along = matmul(rest, expand_dims(sum_(where(same, g, 0), -1), -1))
    turned = where(same, along, -(rest * matrix_transpose(g)))
    sign = apply("determinant", u) * apply("determinant", v)
    return expand_dims(sign, -1) * matmul(matmul(u, turned), matrix_transpose(v))


_routine(
    "sign_and_logdet",
    "sign_and_log_of_determinant",
    lambda types, attrs: TensorType(types[0].dtype, (*_square(types[0])[0], 2)),
    _each(lambda a: np.array(np.linalg.slogdet(a))),
    (_slogdet_gradient,),
    _bytes_of,
    checks=_square_checks,
)
_routine(
    "determinant",
    "determinant",
    lambda types, attrs: TensorType(types[0].dtype, (*_square(types[0])[0], 1)),
    _each(lambda a: np.linalg.det(a).reshape(1)),
    (_det_gradient,),
    _bytes_of,
    checks=_square_checks,
)


_routine(
    "cofactors",
    "cofactors",
    lambda types, attrs: TensorType(types[0].dtype, (*_square(types[0])[0], *types[0].shape[-2:])),
    _each(_or_nan(_cofactors_reference, lambda a: a.shape)),
    (_cofactors_gradient,),
    lambda types, attrs: dims.product((types[0].shape[-1] + 3, types[0].shape[-1], types[0].dtype.itemsize)),
    checks=_square_checks,
)


@public
def slogdet(a: Tensor) -> tuple[Tensor, Tensor]:
    """The sign of the determinant and the logarithm of its absolute value, each ``(...)`` of matrices ``(..., n, n)``.

    A singular matrix gives 0 and -inf. The sign has derivative 0.

    A float, the graph's for integers. Raises ShapeError where matrices are not square.

    >>> import numpy as np
    >>> import graphc as gx
    >>> g = gx.Graph("determinant")
    >>> a = g.input("a", (2, 2))
    >>> f = gx.compile([a], list(gx.slogdet(a)), backend="numpy")
    >>> [float(v) for v in f(np.array([[0, 1], [1, 0]], "float32"))]
    [-1.0, 0.0]
    """
    both = apply("sign_and_logdet", _matrices(a))
    return both[..., 0], both[..., 1]


@public
def logdet(a: Tensor) -> Tensor:
    """The logarithm of the determinant of matrices ``(..., n, n)``; NaN where that is negative.

    A float, the graph's for integers. Raises ShapeError where matrices are not square.

    >>> import numpy as np
    >>> import graphc as gx
    >>> g = gx.Graph("determinant")
    >>> a = g.input("a", (2, 2))
    >>> round(float(gx.compile([a], gx.logdet(a), backend="numpy")(np.eye(2, dtype="float32") * 2)), 4)
    1.3863
    """
    sign, log = slogdet(a)
    return where(sign < 0, np.nan, log)


@public
def det(a: Tensor) -> Tensor:
    """The determinant ``(...)`` of matrices ``(..., n, n)``.

    The gradient is the matrix of cofactors, right for singular matrices too, and so is the second derivative.

    A float, the graph's for integers. Raises ShapeError where matrices are not square.

    >>> import numpy as np
    >>> import graphc as gx
    >>> g = gx.Graph("determinant")
    >>> a = g.input("a", (2, 2))
    >>> float(gx.compile([a], gx.det(a), backend="numpy")(np.array([[1, 2], [3, 4]], "float32")).round(5))
    -2.0
    """
    return squeeze(apply("determinant", _matrices(a)), -1)


# ---- QR


def _infer_qr(types: Types, attrs: Attrs) -> TensorType:
    batch, rows, columns = _last_two(types[0])
    return TensorType(types[0].dtype, (*batch, rows + columns, dims.minimum(rows, columns)))


def _qr_reference(a: Any) -> Any:
    q, r = np.linalg.qr(a)
    return np.concatenate([q, r.T])


def _qr_gradient(g: Tensor, y: Tensor, a: Tensor) -> Tensor:
    """Liao et al., Physical Review X 9 (2019), appendix. Columns behind the first k are q times those of r."""
    rows, k = a.shape[-2], y.shape[-1]
    q, r = y[..., :rows, :], matrix_transpose(y[..., rows:, :])
    of_q, of_r = g[..., :rows, :], matrix_transpose(g[..., rows:, :])
    of_q = of_q + matmul(a[..., k:], matrix_transpose(of_r[..., k:]))
    square = r[..., :k]
    m = matmul(square, matrix_transpose(of_r[..., :k])) - matmul(matrix_transpose(of_q), q)
    copied = triangle(m, True) + matrix_transpose(triangle(m, True, diagonal=False))
    left = matrix_transpose(_triangular(square, matrix_transpose(of_q + matmul(q, copied)), lower=False))
    return concat([left, matmul(q, of_r[..., k:])], -1)


def _qr_bytes(types: Types, attrs: Attrs) -> Size:
    rows, columns = types[0].shape[-2:]
    more = columns * (AT_ONCE + 1) if _may_be_large(types, SMALL_QR) else 0
    return dims.multiply(dims.product((rows, columns)) + more, types[0].dtype.itemsize)


_routine(
    "qr_factors",
    _any_size("orthogonal_and_triangle", SMALL_QR),
    _infer_qr,
    _each(_qr_reference),
    (_qr_gradient,),
    _qr_bytes,
)


@public
def qr(a: Tensor) -> tuple[Tensor, Tensor]:
    """``q`` with orthonormal columns and upper triangular ``r`` with ``q @ r = a``, of matrices ``(..., m, n)``.

    ``q`` is ``(..., m, k)`` and ``r`` ``(..., k, n)``, k the smaller of m and n. Householder reflections: Golub and Van
    Loan, 5.2; large ones by LAPACK. The gradient needs the first k columns to be independent.

    Floats, the graph's for integers. Raises ShapeError for fewer than two axes.

    >>> import numpy as np
    >>> import graphc as gx
    >>> g = gx.Graph("factors")
    >>> a = g.input("a", (2, 2))
    >>> q, r = gx.qr(a)
    >>> f = gx.compile([a], [gx.matmul(q, r), r[1, 0]], backend="numpy")
    >>> [v.round(3).tolist() for v in f(np.array([[3, 1], [4, 2]], "float32"))]
    [[[3.0, 1.0], [4.0, 2.0]], 0.0]
    """
    a = _matrices(a, square=False)
    both = apply("qr_factors", a)
    return both[..., : a.shape[-2], :], matrix_transpose(both[..., a.shape[-2] :, :])


# ---- eigenvalues, singular values


def _apart(values: Tensor) -> Tensor:
    """One over the difference of each two values; 0 on the diagonal."""
    same = on_diagonal(values.graph, values.shape[-1])
    difference = expand_dims(values, -2) - expand_dims(values, -1)
    return where(same, 0, 1 / where(same, 1, difference))


def _eigh_reference(a: Any) -> Any:
    values, vectors = np.linalg.eigh(a.astype(np.float64))
    return np.concatenate([values[None], vectors])


def _eigh_gradient(g: Tensor, y: Tensor, a: Tensor) -> Tensor:
    """Giles, *Collected matrix derivative results* (2008), 3.1."""
    w, v = y[..., 0, :], y[..., 1:, :]
    inner = _apart(w) * matmul(matrix_transpose(v), g[..., 1:, :])
    inner = inner + identity_matrix(v, v.shape[-1]) * expand_dims(g[..., 0, :], -2)
    return matmul(matmul(v, inner), matrix_transpose(v))


def _eigen_bytes(types: Types, attrs: Attrs) -> Size:
    n = types[0].shape[-1]
    rows, more = (n * 3 + 12, 4) if _may_be_large(types, SMALL_EIGEN) else (n + 2, 0)
    return dims.multiply(dims.product((n, rows)) + more, DOUBLE)


_routine(
    "eigen_pairs",
    _any_size("eigenvalues_and_vectors", SMALL_EIGEN),
    lambda types, attrs: TensorType(
        types[0].dtype, (*_square(types[0])[0], _square(types[0])[1] + 1, _square(types[0])[1])
    ),
    _each(_or_nan(_eigh_reference, lambda a: (len(a) + 1, len(a)))),
    (_eigh_gradient,),
    _eigen_bytes,
    checks=_square_checks,
)


@public
def eigh(a: Tensor) -> tuple[Tensor, Tensor]:
    """Eigenvalues ``(..., n)`` in order and vectors ``(..., n, n)``, as columns, of symmetric matrices.

    Of ``a`` the symmetric part is taken. The vectors' signs are arbitrary, and equal eigenvalues have no derivative of
    their vectors (the gradient is then infinite or NaN). Tridiagonal QL: Numerische Mathematik 11 (1968);
    of large ones by LAPACK.

    Floats, the graph's for integers. Raises ShapeError where matrices are not square.

    >>> import numpy as np
    >>> import graphc as gx
    >>> g = gx.Graph("eigen")
    >>> a = g.input("a", (2, 2))
    >>> w, v = gx.eigh(a)
    >>> gx.compile([a], w, backend="numpy")(np.array([[2, 1], [1, 2]], "float32")).round(4).tolist()
    [1.0, 3.0]
    """
    both = apply("eigen_pairs", _symmetric(_matrices(a)))
    return both[..., 0, :], both[..., 1:, :]


def _infer_svd(types: Types, attrs: Attrs) -> TensorType:
    batch, rows, columns = _last_two(types[0])
    return TensorType(types[0].dtype, (*batch, rows + columns + 1, dims.minimum(rows, columns)))


def _svd_reference(a: Any) -> Any:
    u, s, vh = np.linalg.svd(a.astype(np.float64), full_matrices=False)
    return np.concatenate([u, s[None], vh.T])


def _svd_parts(y: Tensor, rows: Size) -> tuple[Tensor, Tensor, Tensor]:
    return y[..., :rows, :], y[..., rows, :], y[..., rows + 1 :, :]


def _svd_gradient(g: Tensor, y: Tensor, a: Tensor) -> Tensor:
    """Townsend, *Differentiating the singular value decomposition* (2016)."""
    (u, s, v), (of_u, of_s, of_v) = _svd_parts(y, a.shape[-2]), _svd_parts(g, a.shape[-2])
    row, column = expand_dims(s, -2), expand_dims(s, -1)
    squares = _apart(s * s)
    left = matmul(matrix_transpose(u), of_u)
    right = matmul(matrix_transpose(v), of_v)
    inner = squares * (left - matrix_transpose(left)) * row + column * (squares * (right - matrix_transpose(right)))
    inner = inner + identity_matrix(inner, s.shape[-1]) * expand_dims(of_s, -2)
    whole = matmul(matmul(u, inner) + (of_u - matmul(u, left)) / row, matrix_transpose(v))
    return whole + matmul(u / row, matrix_transpose(of_v - matmul(v, right)))


def _svd_bytes(types: Types, attrs: Attrs) -> Size:
    rows, columns = types[0].shape[-2:]
    count = dims.minimum(rows, columns)
    if not _may_be_large(types, SMALL_SINGULAR):
        return dims.product((rows + columns + 1, count, DOUBLE))
    vectors = dims.product((count, rows + columns + count * 4 + 19))
    return dims.multiply(dims.product((rows, columns)) + vectors + (rows + columns) * AT_ONCE, DOUBLE)


_routine(
    "singular_triplets",
    _any_size("singular_values_and_vectors", SMALL_SINGULAR),
    _infer_svd,
    _each(_or_nan(_svd_reference, lambda a: (sum(a.shape) + 1, min(a.shape)))),
    (_svd_gradient,),
    _svd_bytes,
)


@public
def svd(a: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """``u``, ``s``, ``vh`` with ``u @ diag(s) @ vh = a``: the singular values ``s`` (..., k), the largest first.

    Of matrices ``(..., m, n)``, ``u`` is ``(..., m, k)`` and ``vh`` ``(..., k, n)``, k the smaller of m and n. Signs
    are arbitrary, and equal values have no derivative of their vectors. One-sided Jacobi: Hestenes, J. SIAM 6 (1958);
    of large ones by LAPACK.

    Floats, the graph's for integers. Raises ShapeError for fewer than two axes.

    >>> import numpy as np
    >>> import graphc as gx
    >>> g = gx.Graph("singular")
    >>> a = g.input("a", (2, 2))
    >>> u, s, vh = gx.svd(a)
    >>> gx.compile([a], s, backend="numpy")(np.array([[0, 2], [3, 0]], "float32")).tolist()
    [3.0, 2.0]
    """
    a = _matrices(a, square=False)
    u, s, v = _svd_parts(apply("singular_triplets", a), a.shape[-2])
    return u, s, matrix_transpose(v)


def _pinv_gradient(g: Tensor, y: Tensor, a: Tensor) -> Tensor:
    """Golub and Pereyra, SIAM J. Numerical Analysis 10 (1973), equation 4.12, where the rank stays as it is."""
    t, turned, back = (
        matrix_transpose(y),
        matrix_transpose(g),
        -matmul(matmul(matrix_transpose(y), g), matrix_transpose(y)),
    )
    left = matmul(matmul(turned - matmul(a, matmul(y, turned)), y), t)
    right = matmul(t, matmul(y, turned - matmul(matmul(turned, y), a)))
    return back + left + right


def _pinv_reference(a: Any) -> Any:
    return np.linalg.pinv(a.astype(np.float64), rcond=max(a.shape) * np.finfo(a.dtype).eps)


_routine(
    "pseudoinverse",
    _any_size("pseudoinverse", SMALL_SINGULAR),
    lambda types, attrs: TensorType(types[0].dtype, (*_last_two(types[0])[0], *types[0].shape[:-3:-1])),
    _each(_or_nan(_pinv_reference, lambda a: a.shape[::-1])),
    (_pinv_gradient,),
    _svd_bytes,
)


@public
def pinv(a: Tensor) -> Tensor:
    """The pseudoinverse ``(..., n, m)`` of matrices ``(..., m, n)``.

    Singular values below max(m, n) roundings of the largest count as 0. The gradient holds where the rank stays.

    A float, the graph's for integers. Raises ShapeError for fewer than two axes.

    >>> import numpy as np
    >>> import graphc as gx
    >>> g = gx.Graph("pseudoinverse")
    >>> a = g.input("a", (2, 1))
    >>> (25 * gx.compile([a], gx.pinv(a), backend="numpy")(np.array([[3], [4]], "float32"))).round(3).tolist()
    [[3.0, 4.0]]
    """
    return apply("pseudoinverse", _matrices(a, square=False))


@public
def lstsq(a: Operand, b: Operand) -> Tensor:
    """The ``x`` for which ``a @ x - b`` has the least 2-norm, and of these the least itself: ``pinv(a) @ b``.

    Matrices ``(..., m, n)``, right sides ``(..., m, k)`` or one vector ``(m,)``. The solution alone is returned.

    A float, the graph's for integers. Raises ShapeError where sizes do not fit.

    >>> import numpy as np
    >>> import graphc as gx
    >>> g = gx.Graph("line")
    >>> a, b = g.input("a", (3, 1)), g.input("b", (3,))
    >>> f = gx.compile([a, b], gx.lstsq(a, b), backend="numpy")
    >>> f(np.array([[1], [2], [3]], "float32"), np.array([2, 4, 6], "float32")).round(3).tolist()
    [2.0]
    """
    left, right = promoted(a, b, floating=True)
    return matmul(pinv(left), right)


# ---- powers


@public
def matrix_power(a: Tensor, n: int) -> Tensor:
    """``a`` multiplied by itself ``n`` times, by repeated squaring; of the inverse where ``n`` is negative.

    Of matrices ``(..., n, n)``; a float, the graph's for integers. Raises ShapeError where they are not square,
    DTypeError where ``n`` is no int.

    >>> import numpy as np
    >>> import graphc as gx
    >>> g = gx.Graph("power")
    >>> a = g.input("a", (2, 2))
    >>> gx.compile([a], gx.matrix_power(a, 5), backend="numpy")(np.array([[1, 1], [0, 1]], "float32")).tolist()
    [[1.0, 5.0], [0.0, 1.0]]
    """
    if isinstance(n, bool) or not isinstance(n, int):
        raise DTypeError(f"expected an int exponent, found {n!r}")
    a = _matrices(a)
    if n == 0:
        return identity_matrix(a, a.shape[-1])
    square = inv(a) if n < 0 else a
    factors = []  # a ** (2 ** k) for each digit of n that is 1
    for k in range(abs(n).bit_length()):
        square = square if k == 0 else matmul(square, square)
        if abs(n) >> k & 1:
            factors.append(square)
    return reduce(matmul, factors)


PADE = (
    64764752532480000.0, 32382376266240000.0, 7771770303897600.0, 1187353796428800.0, 129060195264000.0,
    10559470521600.0, 670442572800.0, 33522128640.0, 1323241920.0, 40840800.0, 960960.0, 16380.0, 182.0, 1.0,
)  # fmt: skip
SQUARINGS = 16  # of a matrix of norm 350,000 at most, far beyond what has a finite exponential


@public
def expm(a: Tensor) -> Tensor:
    """The exponential of matrices ``(..., n, n)``.

    A rational approximation of ``a / 2**s``, squared s times: Higham, SIAM J. Matrix Analysis 26 (2005). Matrices of a
    1-norm above 350,000 are not squared often enough.

    A float, the graph's for integers. Raises ShapeError where matrices are not square.

    >>> import numpy as np
    >>> import graphc as gx
    >>> g = gx.Graph("exponential")
    >>> a = g.input("a", (2, 2))
    >>> gx.compile([a], gx.expm(a), backend="numpy")(np.array([[0, 1], [0, 0]], "float32")).round(4).tolist()
    [[1.0, 1.0], [0.0, 1.0]]
    """
    a = _matrices(a)
    size = stop_gradient(max_(sum_(abs_(a), axis=-2), axis=-1, keepdims=True))
    often = clip(ceil(log2(size / 5.371920351148152)), 0, SQUARINGS)
    often = expand_dims(where(isnan(often), 0, often), -1)
    x = a * exp2(-often)
    eye = identity_matrix(a, a.shape[-1])
    b, x2 = PADE, matmul(x, x)
    x4 = matmul(x2, x2)
    x6 = matmul(x2, x4)
    odd = matmul(x6, x6 * b[13] + x4 * b[11] + x2 * b[9])
    odd = matmul(x, odd + x6 * b[7] + x4 * b[5] + x2 * b[3] + eye * b[1])
    even = matmul(x6, x6 * b[12] + x4 * b[10] + x2 * b[8]) + x6 * b[6] + x4 * b[4] + x2 * b[2] + eye * b[0]
    out = apply("system", even - odd, even + odd)
    for k in range(SQUARINGS):
        out = where(k < often, matmul(out, out), out)
    return out
