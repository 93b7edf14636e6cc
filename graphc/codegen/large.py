"""Routines on matrices of any size: of small ones as `matrices`, of large ones by LAPACK, where that is.

Which it is follows from the sizes alone. LAPACK's matrices lie column by column, so operands are copied turned. They
are those that NumPy gives it, so signs are NumPy's.
"""

# Numba reads this code, which has no types of its own.
# mypy: disable-error-code="no-untyped-def, no-untyped-call"

from __future__ import annotations

from graphc.codegen.buffer import buffer, f64, place_of
from graphc.codegen.lapack import gemm, geqrf, gesdd, has_lapack, orgqr, syevd
from graphc.codegen.matrices import (
    COARSE,
    EPSILON,
    SQUARE,
    eigenvalues_and_vectors,
    fill,
    orthogonal_and_triangle,
    pseudoinverse,
    singular_values_and_vectors,
)
from graphc.codegen.routines import routine

# Elements of a matrix up to which graphc's own code is as fast; `ops.decompositions` has these numbers too, since a
# module that is exported cannot take those along.
SMALL_QR, SMALL_EIGEN, SMALL_SINGULAR = 1600, 4096, 400
AT_ONCE = 64  # columns that LAPACK takes together, at most
VECTORS, LOWER, SOME, PLAIN = 86, 76, 83, 78  # V, L, S, N: letters that it is told


@routine
def turned(real, to, source_at, target_at, rows, columns):
    """The transpose of a matrix, in another dtype."""
    source, target = buffer(source_at, real, 0, 2), buffer(target_at, to, 1, 2)
    for top in range(0, rows, SQUARE):
        for left in range(0, columns, SQUARE):
            for j in range(left, min(left + SQUARE, columns)):
                for i in range(top, min(top + SQUARE, rows)):
                    target[j * rows + i] = to(source[i * columns + j])


@routine
def converted(real, to, source_at, target_at, count):
    """Elements in another dtype."""
    source, target = buffer(source_at, real, 0, 2), buffer(target_at, to, 1, 2)
    for k in range(count):
        target[k] = to(source[k])


@routine
def all_finite(real, a_at, count):
    """Whether no number is infinite or NaN."""
    a = buffer(a_at, real, 0, 1)
    finite = True
    for k in range(count):
        finite = finite and a[k] - a[k] == 0
    return finite


@routine
def triangle_of_reflections(real, w_at, y_at, m, n, count):
    """R' from what LAPACK leaves, column by column, of an m by n matrix."""
    w, y = buffer(w_at, real, 0, 2), buffer(y_at, real, 1, 2)
    for c in range(n):
        for j in range(count):
            y[c * count + j] = w[c * m + j] if j <= c else real(0)


@routine
def orthogonal_and_triangle_of_any(real, a_at, y_at, spare_at, m, n):
    """`orthogonal_and_triangle`."""
    count = min(m, n)
    if has_lapack() and m * n > SMALL_QR:
        scales = place_of(real, spare_at, m * n)
        work = place_of(real, scales, count)
        turned(real, real, a_at, spare_at, m, n)
        geqrf(real, m, n, spare_at, m, scales, work, AT_ONCE * n)
        triangle_of_reflections(real, spare_at, place_of(real, y_at, m * count), m, n, count)
        orgqr(real, m, count, count, spare_at, m, scales, work, AT_ONCE * n)
        turned(real, real, spare_at, y_at, count, m)
    else:
        orthogonal_and_triangle(real, a_at, y_at, spare_at, m, n)


@routine
def eigenvalues_and_vectors_of_any(real, a_at, y_at, spare_at, n, columns):
    """`eigenvalues_and_vectors`."""
    if has_lapack() and n * n > SMALL_EIGEN:
        values = place_of(f64, spare_at, n * n)
        work = place_of(f64, values, n)
        length = 1 + 6 * n + 2 * n * n
        integers = place_of(f64, work, length)
        turned(real, f64, a_at, spare_at, n, n)
        failed = 1
        if all_finite(real, a_at, n * n):
            failed = syevd(f64, VECTORS, LOWER, n, spare_at, n, values, work, length, integers, 3 + 5 * n)
        if failed == 0:
            converted(f64, real, values, y_at, n)
            turned(f64, real, spare_at, place_of(real, y_at, n), n, n)
        else:
            fill(real, buffer(y_at, real, 0, 1), (n + 1) * n)
    else:
        eigenvalues_and_vectors(real, a_at, y_at, spare_at, n, columns)


@routine
def singular_triplets(real, a_at, spare_at, m, n):
    """The singular values of a large matrix, and U and V' column by column, from ``spare`` behind ``m n`` elements on.

    Whether all went well.
    """
    count = min(m, n)
    s = place_of(f64, spare_at, m * n)
    u = place_of(f64, s, count)
    v = place_of(f64, u, m * count)
    work = place_of(f64, v, n * count)
    length = (4 * count + 10) * count + AT_ONCE * (m + n)
    integers = place_of(f64, work, length)
    turned(real, f64, a_at, spare_at, m, n)
    failed = 1
    if all_finite(real, a_at, m * n):
        failed = gesdd(f64, SOME, m, n, spare_at, m, s, u, m, v, count, work, length, integers)
    return failed == 0


@routine
def singular_values_and_vectors_of_any(real, a_at, y_at, spare_at, m, n):
    """`singular_values_and_vectors`."""
    count = min(m, n)
    if has_lapack() and m * n > SMALL_SINGULAR:
        if singular_triplets(real, a_at, spare_at, m, n):
            s = place_of(f64, spare_at, m * n)
            u = place_of(f64, s, count)
            v = place_of(f64, u, m * count)
            turned(f64, real, u, y_at, count, m)
            converted(f64, real, s, place_of(real, y_at, m * count), count)
            converted(f64, real, v, place_of(real, y_at, (m + 1) * count), n * count)
        else:
            fill(real, buffer(y_at, real, 0, 1), (m + 1 + n) * count)
    else:
        singular_values_and_vectors(real, a_at, y_at, spare_at, m, n)


@routine
def inverted(real, s_at, u_at, m, count, long):
    """Divides columns of U by their singular values, of which it counts those that are not 0."""
    s, u = buffer(s_at, f64, 0, 2), buffer(u_at, f64, 1, 2)
    rounding = EPSILON if real(1) + real(1e-9) != real(1) else COARSE
    rank = 0
    for j in range(count):
        if s[j] > rounding * long * s[0]:
            rank = j + 1
            for i in range(m):
                u[j * m + i] = u[j * m + i] / s[j]
    return rank


@routine
def pseudoinverse_of_any(real, a_at, y_at, spare_at, m, n):
    """`pseudoinverse`."""
    count = min(m, n)
    if has_lapack() and m * n > SMALL_SINGULAR:
        if singular_triplets(real, a_at, spare_at, m, n):
            s = place_of(f64, spare_at, m * n)
            u = place_of(f64, s, count)
            v = place_of(f64, u, m * count)
            rank = inverted(real, s, u, m, count, max(m, n))
            gemm(f64, PLAIN, PLAIN, m, n, rank, 1.0, u, m, v, count, 0.0, spare_at, m)
            converted(f64, real, spare_at, y_at, m * n)
        else:
            fill(real, buffer(y_at, real, 0, 1), m * n)
    else:
        pseudoinverse(real, a_at, y_at, spare_at, m, n)
