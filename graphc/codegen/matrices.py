"""Routines on matrices: triangular systems, factorisations, eigenvalues and singular values.

As `routines`; matrices lie row by row. What cannot be computed (a matrix that is singular, or not positive definite)
gives NaN. Eigenvalues and singular values are found in float64 whatever the dtype.
"""

# Numba reads this code, which has no types of its own.
# mypy: disable-error-code="no-untyped-def, no-untyped-call"

from __future__ import annotations

from numba.extending import register_jitable

from graphc.codegen.buffer import buffer, f64, i64, nan
from graphc.codegen.routines import routine
from graphc.codegen.vecmath import fabs, log, sqrt

PANEL_COLUMNS = 128  # columns of a matrix, a thousand rows of which stay in the second-level cache
SQUARE = 16  # rows and columns that are turned together
FEW_ROWS = 16  # rows up to which panels do not pay
EPSILON, COARSE = 2.0**-52, 2.0**-23  # of float64 and of float32
SWEEPS, USUAL = 60, 15  # of rotations, at most, and where nearly all have come to an end


@register_jitable(error_model="numpy", fastmath=False)
def fill(real, y, count):
    """NaN everywhere."""
    for k in range(count):
        y[k] = real(nan)


@routine
def four_rows_less(real, a_at, y_at, n, lda, ldy, left, right, start, down, transposed):
    """Takes from four rows of Y those before them, each times an element of A, between two columns.

    The rows are those from ``start`` on, counted from the last of ``n`` if not ``down``; there are a multiple of four
    before them. A may be Y itself, whose rows before are only read. Rows are ``lda`` and ``ldy`` elements apart.
    """
    a, x = buffer(a_at, real, 5, 6), buffer(y_at, real, 4, 6)
    y0, y1, y2, y3 = (
        buffer(y_at, real, 0, 6),
        buffer(y_at, real, 1, 6),
        buffer(y_at, real, 2, 6),
        buffer(y_at, real, 3, 6),
    )
    way = 1 if down else -1
    first = start if down else n - 1 - start
    i0, i1, i2, i3 = first, first + way, first + 2 * way, first + 3 * way
    row, column = 1 if transposed else lda, lda if transposed else 1
    for step in range(0, start, 4):
        k = step if down else n - 1 - step
        k0, k1, k2, k3 = k * column, (k + way) * column, (k + 2 * way) * column, (k + 3 * way) * column
        r0, r1, r2, r3 = i0 * row, i1 * row, i2 * row, i3 * row
        f00, f01, f02, f03 = a[r0 + k0], a[r0 + k1], a[r0 + k2], a[r0 + k3]
        f10, f11, f12, f13 = a[r1 + k0], a[r1 + k1], a[r1 + k2], a[r1 + k3]
        f20, f21, f22, f23 = a[r2 + k0], a[r2 + k1], a[r2 + k2], a[r2 + k3]
        f30, f31, f32, f33 = a[r3 + k0], a[r3 + k1], a[r3 + k2], a[r3 + k3]
        for j in range(left, right):
            v0, v1 = x[k * ldy + j], x[(k + way) * ldy + j]
            v2, v3 = x[(k + 2 * way) * ldy + j], x[(k + 3 * way) * ldy + j]
            y0[i0 * ldy + j] = y0[i0 * ldy + j] - ((f00 * v0 + f01 * v1) + (f02 * v2 + f03 * v3))
            y1[i1 * ldy + j] = y1[i1 * ldy + j] - ((f10 * v0 + f11 * v1) + (f12 * v2 + f13 * v3))
            y2[i2 * ldy + j] = y2[i2 * ldy + j] - ((f20 * v0 + f21 * v1) + (f22 * v2 + f23 * v3))
            y3[i3 * ldy + j] = y3[i3 * ldy + j] - ((f30 * v0 + f31 * v1) + (f32 * v2 + f33 * v3))


@routine
def cholesky_in_panels(real, y_at, n, columns, ld):
    """The first ``n`` rows of a factor over the upper half of a matrix: a panel of columns at a time, four rows of it
    after the other. Whether all pivots are above 0.
    """
    y = buffer(y_at, real, 0, 1)
    whole = True
    for left in range(0, columns, PANEL_COLUMNS):
        right = min(left + PANEL_COLUMNS, columns)
        for start in range(0, min(right, n), 4):
            stop = min(start + 4, n)
            begin = max(left, start)
            done = 0
            if stop - start == 4 and start > 0:
                four_rows_less(real, y_at, y_at, n, ld, ld, begin, right, start, True, True)
                done = start
            for i in range(start, stop):
                for k in range(done, i):
                    factor = y[k * ld + i]
                    for j in range(max(i, left), right):
                        y[i * ld + j] = y[i * ld + j] - factor * y[k * ld + j]
                if i >= left and i < right:
                    pivot = y[i * ld + i]
                    if not pivot > 0:
                        whole = False
                    y[i * ld + i] = sqrt(pivot)
                root = y[i * ld + i]
                for j in range(max(i + 1, left), right):
                    y[i * ld + j] = y[i * ld + j] / root
    return whole


@routine
def lower_as_upper(real, a_at, y_at, n):
    """The lower half of a matrix, turned, as the upper half of another."""
    a, y = buffer(a_at, real, 0, 1), buffer(y_at, real, 0, 1)
    for top in range(0, n, SQUARE):
        for left in range(0, top + 1, SQUARE):
            for i in range(top, min(top + SQUARE, n)):
                for j in range(left, min(left + SQUARE, i + 1)):
                    y[j * n + i] = a[i * n + j]


@routine
def upper_to_lower(real, y_at, n):
    """The upper half of a matrix, turned, takes the place of the lower one; it becomes 0."""
    y = buffer(y_at, real, 0, 1)
    for top in range(0, n, SQUARE):
        for left in range(top, n, SQUARE):
            for j in range(left, min(left + SQUARE, n)):
                for i in range(top, min(top + SQUARE, j)):
                    y[j * n + i] = y[i * n + j]
            for i in range(top, min(top + SQUARE, n)):
                for j in range(max(left, i + 1), min(left + SQUARE, n)):
                    y[i * n + j] = real(0)


@register_jitable(error_model="numpy", fastmath=False)
def cholesky_of_few(real, a_at, y_at, n, columns):
    """`cholesky` row by row, for as few rows as LLVM may unroll loops over."""
    a, y = buffer(a_at, real, 0, 1), buffer(y_at, real, 0, 1)
    whole = True
    for i in range(n):
        for j in range(i):
            total = a[i * n + j]
            for k in range(j):
                total = total - y[i * n + k] * y[j * n + k]
            y[i * n + j] = total / y[j * n + j]
            y[j * n + i] = real(0)
        pivot = a[i * n + i]
        for k in range(i):
            pivot = pivot - y[i * n + k] * y[i * n + k]
        if not pivot > 0:
            whole = False
        y[i * n + i] = sqrt(pivot)
    if not whole:
        fill(real, y, n * n)


@routine
def cholesky(real, a_at, y_at, n, columns):
    """The lower triangle L of A = L L' by rows of L' (Golub and Van Loan, 4.2); A's lower part is read."""
    y = buffer(y_at, real, 0, 1)
    whole = True
    lower_as_upper(real, a_at, y_at, n)
    if n > FEW_ROWS:
        whole = cholesky_in_panels(real, y_at, n, n, n)
    else:
        for k in range(n):
            row = k * n
            pivot = y[row + k]
            if not pivot > 0:
                whole = False
            root = sqrt(pivot)
            for j in range(k, n):
                y[row + j] = y[row + j] / root
            for i in range(k + 1, n):
                factor = y[row + i]
                below = i * n
                for j in range(i, n):
                    y[below + j] = y[below + j] - factor * y[row + j]
    upper_to_lower(real, y_at, n)
    if not whole:
        fill(real, y, n * n)


@routine
def cholesky_adjoint(real, g_at, l_at, y_at, spare_at, n, columns, rows, others):
    """What the lower part of A = L L' gets of the cotangent G of L, its own lower part, row by row from the last.

    Murray, Differentiation of the Cholesky decomposition (2016), section 4. Half of what is computed lies turned.
    """
    lower_as_upper(real, g_at, y_at, n)
    adjoint_of_rows(real, l_at, y_at, spare_at, n, 0, n)
    upper_to_lower(real, y_at, n)


@register_jitable(error_model="numpy", fastmath=False)
def cholesky_adjoint_of_few(real, g_at, l_at, y_at, n, columns, rows, others):
    """`cholesky_adjoint`, for as few rows as LLVM may unroll loops over."""
    g, l, y = buffer(g_at, real, 0, 1), buffer(l_at, real, 0, 1), buffer(y_at, real, 0, 1)  # noqa: E741
    for i in range(n):
        for k in range(n):
            y[i * n + k] = g[i * n + k] if k <= i else real(0)
    for step in range(n):
        j = n - 1 - step
        root = l[j * n + j]
        along = real(0)
        for k in range(j + 1, n):
            along = along + y[k * n + j] * l[k * n + j]
        mean = (y[j * n + j] - along / root) / root
        for k in range(j + 1, n):
            y[k * n + j] = y[k * n + j] / root
        for i in range(j):
            dot = mean * l[j * n + i]
            for k in range(j + 1, n):
                dot = dot + y[k * n + j] * l[k * n + i]
                y[k * n + i] = y[k * n + i] - y[k * n + j] * l[j * n + i]
            y[j * n + i] = y[j * n + i] - dot
        y[j * n + j] = mean * real(0.5)


@routine
def adjoint_of_rows(real, l_at, y_at, spare_at, n, top, bottom):
    """The same of a block on the diagonal, ``y`` holding its turned cotangent."""
    l, y, u = buffer(l_at, real, 1, 3), buffer(y_at, real, 0, 3), buffer(spare_at, real, 2, 3)  # noqa: E741
    size = bottom - top
    for i in range(size):
        for k in range(i, size):
            u[i * size + k] = l[(top + k) * n + top + i]
    for step in range(size):
        j = size - 1 - step
        row = (top + j) * n + top
        root = u[j * size + j]
        along = real(0)
        for k in range(j + 1, size):
            along = along + y[row + k] * u[j * size + k]
        mean = (y[row + j] - along / root) / root
        for k in range(j + 1, size):
            y[row + k] = y[row + k] / root
        for i in range(j):
            other = (top + i) * n + top
            factor = u[i * size + j]
            dot = mean * factor
            for k in range(j + 1, size):
                dot = dot + y[row + k] * u[i * size + k]
            y[other + j] = y[other + j] - dot
            for k in range(j + 1, size):
                y[other + k] = y[other + k] - factor * y[row + k]
        y[row + j] = mean * real(0.5)


@routine
def substituted_in_panels(real, a_at, y_at, n, m, lda, ldy, down, transposed, unit):
    """Y becomes the X of `triangular_system`, a panel of columns at a time, four rows of it after the other.

    Whether no pivot is 0.
    """
    a, y = buffer(a_at, real, 0, 2), buffer(y_at, real, 1, 2)
    whole = True
    for left in range(0, m, PANEL_COLUMNS):
        right = min(left + PANEL_COLUMNS, m)
        for start in range(0, n, 4):
            stop = min(start + 4, n)
            done = 0
            if stop - start == 4 and start > 0:
                four_rows_less(real, a_at, y_at, n, lda, ldy, left, right, start, down, transposed)
                done = start
            for step in range(start, stop):
                i = step if down else n - 1 - step
                for before in range(done, step):
                    k = before if down else n - 1 - before
                    factor = a[k * lda + i] if transposed else a[i * lda + k]
                    for j in range(left, right):
                        y[i * ldy + j] = y[i * ldy + j] - factor * y[k * ldy + j]
                if not unit:
                    pivot = a[i * lda + i]
                    if pivot == 0:
                        whole = False
                    for j in range(left, right):
                        y[i * ldy + j] = y[i * ldy + j] / pivot
    return whole


@routine
def copied(real, source_at, target_at, count):
    """Elements from one place to another."""
    source, target = buffer(source_at, real, 0, 2), buffer(target_at, real, 1, 2)
    for k in range(count):
        target[k] = source[k]


@routine
def triangular_system(real, a_at, b_at, y_at, n, columns, rows, m, lower, transposed, unit):
    """X of A X = B, or of A' X = B, by substitution; of A one triangle is read, or its diagonal taken as 1."""
    down = lower != transposed
    if n > FEW_ROWS:
        copied(real, b_at, y_at, n * m)
        if not substituted_in_panels(real, a_at, y_at, n, m, n, m, down, transposed, unit):
            fill(real, buffer(y_at, real, 0, 1), n * m)
    else:
        a, b, y = buffer(a_at, real, 0, 1), buffer(b_at, real, 0, 1), buffer(y_at, real, 0, 1)
        whole = True
        for step in range(n):
            i = step if down else n - 1 - step
            for j in range(m):
                y[i * m + j] = b[i * m + j]
            first, last = (0 if down else i + 1), (i if down else n)
            for k in range(first, last):
                factor = a[k * n + i] if transposed else a[i * n + k]
                for j in range(m):
                    y[i * m + j] = y[i * m + j] - factor * y[k * m + j]
            if not unit:
                pivot = a[i * n + i]
                if pivot == 0:
                    whole = False
                for j in range(m):
                    y[i * m + j] = y[i * m + j] / pivot
        if not whole:
            fill(real, y, n * m)


@register_jitable(error_model="numpy", fastmath=False)
def eliminate(real, s, y, n, m):
    """Gaussian elimination with partial pivoting on the rows of S and Y (Golub and Van Loan, 3.4).

    The sign of the permutation; 0 where a pivot is 0.
    """
    sign = 1
    for k in range(n):
        at = k
        most = fabs(s[k * n + k])
        for i in range(k + 1, n):
            if fabs(s[i * n + k]) > most:
                most = fabs(s[i * n + k])
                at = i
        if at != k:
            sign = -sign
            for j in range(k, n):
                held = s[k * n + j]
                s[k * n + j] = s[at * n + j]
                s[at * n + j] = held
            for j in range(m):
                moved = y[k * m + j]
                y[k * m + j] = y[at * m + j]
                y[at * m + j] = moved
        pivot = s[k * n + k]
        if pivot == 0:
            sign = 0
        for i in range(k + 1 if pivot != 0 else n, n):
            factor = s[i * n + k] / pivot
            if factor != 0:
                for j in range(k + 1, n):
                    s[i * n + j] = s[i * n + j] - factor * s[k * n + j]
                for j in range(m):
                    y[i * m + j] = y[i * m + j] - factor * y[k * m + j]
    return sign


@routine
def system(real, a_at, b_at, y_at, spare_at, n, columns, rows, m):
    """X of A X = B by elimination."""
    a, b, y, s = (
        buffer(a_at, real, 0, 1),
        buffer(b_at, real, 0, 1),
        buffer(y_at, real, 0, 1),
        buffer(spare_at, real, 0, 1),
    )
    for k in range(n * n):
        s[k] = a[k]
    for k in range(n * m):
        y[k] = b[k]
    if eliminate(real, s, y, n, m) == 0:
        fill(real, y, n * m)
    else:
        for step in range(n):
            i = n - 1 - step
            for k in range(i + 1, n):
                factor = s[i * n + k]
                for j in range(m):
                    y[i * m + j] = y[i * m + j] - factor * y[k * m + j]
            pivot = s[i * n + i]
            for j in range(m):
                y[i * m + j] = y[i * m + j] / pivot


@routine
def sign_and_log_of_determinant(real, a_at, y_at, spare_at, n, columns):
    """-1, 0 or 1, and the logarithm of the absolute value: -inf with 0."""
    a, y, s = buffer(a_at, real, 0, 1), buffer(y_at, real, 0, 1), buffer(spare_at, real, 0, 1)
    for k in range(n * n):
        s[k] = a[k]
    sign = real(eliminate(real, s, s, n, 0))
    total = real(0)
    for k in range(n):
        pivot = s[k * n + k]
        if pivot < 0:
            sign = -sign
        total = total + log(fabs(pivot)) if sign != 0 else total
        if pivot != pivot:
            sign = pivot
    y[0] = sign
    y[1] = log(real(0)) if sign == 0 else total


@routine
def determinant(real, a_at, y_at, spare_at, n, columns):
    """The product of the pivots."""
    a, y, s = buffer(a_at, real, 0, 1), buffer(y_at, real, 0, 1), buffer(spare_at, real, 0, 1)
    for k in range(n * n):
        s[k] = a[k]
    value = real(eliminate(real, s, s, n, 0))
    if value != 0:
        for k in range(n):
            value = value * s[k * n + k]
    y[0] = value


@routine
def cofactors(real, a_at, y_at, spare_at, n, columns):
    """The matrix of cofactors, of singular matrices too, from those of P A Q = L U, each pivot the largest left.

    With U = [V c; 0 d] they need no division by d (Stewart, On the adjugate matrix, Linear Algebra Appl. 283, 1998);
    where V is singular the rank is n - 2 at most, and all are 0.
    """
    a, y, s = buffer(a_at, real, 0, 1), buffer(y_at, real, 0, 1), buffer(spare_at, real, 0, 1)
    rows, across, x = n * n, n * n + n, n * n + 2 * n  # the orders of rows and columns, and a column of L's inverse
    for k in range(n * n):
        s[k] = a[k]
    for k in range(n):
        s[rows + k] = real(k)
        s[across + k] = real(k)
    minor = real(1)  # the determinant of V, with the signs of both orders
    for k in range(n - 1):
        most = real(-1)
        row, column = k, k
        for i in range(k, n):
            for j in range(k, n):
                if fabs(s[i * n + j]) > most:
                    most = fabs(s[i * n + j])
                    row = i
                    column = j
        if row != k:
            minor = -minor
            for j in range(n):
                held = s[k * n + j]
                s[k * n + j] = s[row * n + j]
                s[row * n + j] = held
            order = s[rows + k]
            s[rows + k] = s[rows + row]
            s[rows + row] = order
        if column != k:
            minor = -minor
            for i in range(n):
                kept = s[i * n + k]
                s[i * n + k] = s[i * n + column]
                s[i * n + column] = kept
            place = s[across + k]
            s[across + k] = s[across + column]
            s[across + column] = place
        pivot = s[k * n + k]
        minor = minor * pivot
        for i in range(k + 1 if pivot != 0 else n, n):
            factor = s[i * n + k] / pivot
            s[i * n + k] = factor
            for j in range(k + 1, n):
                s[i * n + j] = s[i * n + j] - factor * s[k * n + j]
    for c in range(n):
        at = i64(s[rows + c])
        if minor == 0:
            for i in range(n):
                y[at * n + i] = real(0)
        else:
            for i in range(n):
                total = real(1) if i == c else real(0)
                for k in range(c, i):
                    total = total - s[i * n + k] * s[x + k]
                s[x + i] = total
            last = s[x + n - 1]
            corner = s[n * n - 1]
            s[x + n - 1] = minor * last
            for step in range(n - 1):
                i = n - 2 - step
                sum_of_row = corner * s[x + i] - s[i * n + n - 1] * last
                for k in range(i + 1, n - 1):
                    sum_of_row = sum_of_row - s[i * n + k] * s[x + k]
                s[x + i] = sum_of_row / s[i * n + i]
            for i in range(n):
                value = s[x + i] if i == n - 1 else minor * s[x + i]
                y[at * n + i64(s[across + i])] = value


@routine
def orthogonal_and_triangle(real, a_at, y_at, spare_at, m, n):
    """Q and below it R' of A = Q R, each with min(m, n) columns: Householder (Golub and Van Loan, 5.2)."""
    a, y, w = buffer(a_at, real, 0, 1), buffer(y_at, real, 0, 1), buffer(spare_at, real, 0, 1)
    count = min(m, n)
    for i in range(m):
        for j in range(n):
            w[j * m + i] = a[i * n + j]
    for k in range((m + n) * count):
        y[k] = real(0)
    for j in range(count):
        row = j * m
        scale = real(0)
        for i in range(j, m):
            scale = max_of(scale, fabs(w[row + i]))
        total = real(0)
        for i in range(j, m):
            part = w[row + i] / scale if scale > 0 else scale
            total = total + part * part
        length = scale * sqrt(total)
        alpha = -length if w[row + j] >= 0 else length
        if j == m - 1:  # a single number is its own triangle
            alpha = w[row + j]
        y[(m + j) * count + j] = alpha
        w[row + j] = w[row + j] - alpha
        half = real(0)
        if scale > 0 and j < m - 1:
            half = -alpha * w[row + j]
        for c in range(j + 1, n):
            other = c * m
            dot = real(0)
            for i in range(j, m):
                dot = dot + w[row + i] * w[other + i]
            factor = dot / half if half != 0 else half
            for i in range(j, m):
                w[other + i] = w[other + i] - factor * w[row + i]
            y[(m + c) * count + j] = w[other + j]
        y[j * count + j] = half  # for now
    for step in range(count):
        c = count - 1 - step
        half = y[c * count + c]
        row = c * m
        for j in range(c, count):
            # column j of Q, so far that of the reflections behind this one
            if j == c:
                for i in range(m):
                    y[i * count + j] = real(1) if i == c else real(0)
            dot = real(0)
            for i in range(c, m):
                dot = dot + w[row + i] * y[i * count + j]
            factor = dot / half if half != 0 else half
            for i in range(c, m):
                y[i * count + j] = y[i * count + j] - factor * w[row + i]


@register_jitable(error_model="numpy", fastmath=False)
def max_of(a, b):
    """The larger number; NaN where one is."""
    if a != a:
        return a
    return a if a > b else b


@routine
def eigenvalues_and_vectors(real, a_at, y_at, spare_at, n, columns):
    """Eigenvalues in order and below them a matrix whose columns are the vectors, of a symmetric matrix.

    By a tridiagonal matrix and the QL method with implicit shifts (Bowdler, Martin, Reinsch and Wilkinson, Numerische
    Mathematik 11, 1968: tred2 and tql2).
    """
    a, y, v = buffer(a_at, real, 0, 1), buffer(y_at, real, 0, 1), buffer(spare_at, f64, 0, 1)
    d, e = n * n, n * n + n  # where the diagonals lie behind the matrix; v[j * n + k] is row k of vector j
    for i in range(n):
        for j in range(n):
            v[j * n + i] = f64(a[i * n + j])
    for j in range(n):
        v[d + j] = v[j * n + n - 1]
    for step in range(n - 1):
        i = n - 1 - step
        scale = 0.0
        for k in range(i):
            scale = scale + fabs(v[d + k])
        h = 0.0
        if scale == 0.0:
            v[e + i] = v[d + i - 1]
            for j in range(i):
                v[d + j] = v[j * n + i - 1]
                v[j * n + i] = 0.0
                v[i * n + j] = 0.0
        else:
            for k in range(i):
                v[d + k] = v[d + k] / scale
                h = h + v[d + k] * v[d + k]
            f = v[d + i - 1]
            g = -sqrt(h) if f > 0 else sqrt(h)
            v[e + i] = scale * g
            h = h - f * g
            v[d + i - 1] = f - g
            for j in range(i):
                v[e + j] = 0.0
            for j in range(i):
                f = v[d + j]
                v[i * n + j] = f
                g = v[e + j] + v[j * n + j] * f
                for k in range(j + 1, i):
                    g = g + v[j * n + k] * v[d + k]
                    v[e + k] = v[e + k] + v[j * n + k] * f
                v[e + j] = g
            f = 0.0
            for j in range(i):
                v[e + j] = v[e + j] / h
                f = f + v[e + j] * v[d + j]
            half = f / (h + h)
            for j in range(i):
                v[e + j] = v[e + j] - half * v[d + j]
            for j in range(i):
                f = v[d + j]
                g = v[e + j]
                for k in range(j, i):
                    v[j * n + k] = v[j * n + k] - (f * v[e + k] + g * v[d + k])
                v[d + j] = v[j * n + i - 1]
                v[j * n + i] = 0.0
        v[d + i] = h
    for i in range(n - 1):
        v[i * n + n - 1] = v[i * n + i]
        v[i * n + i] = 1.0
        h = v[d + i + 1]
        if h != 0.0:
            for k in range(i + 1):
                v[d + k] = v[(i + 1) * n + k] / h
            for j in range(i + 1):
                g = 0.0
                for k in range(i + 1):
                    g = g + v[(i + 1) * n + k] * v[j * n + k]
                for k in range(i + 1):
                    v[j * n + k] = v[j * n + k] - g * v[d + k]
        for k in range(i + 1):
            v[(i + 1) * n + k] = 0.0
    for j in range(n):
        v[d + j] = v[j * n + n - 1]
        v[j * n + n - 1] = 0.0
    if n > 0:
        v[n * n - 1] = 1.0
    for i in range(1, n):
        v[e + i - 1] = v[e + i]
    if n > 0:
        v[e + n - 1] = 0.0
    shift = 0.0
    largest = 0.0
    whole = True
    for low in range(n):
        largest = max_of(largest, fabs(v[d + low]) + fabs(v[e + low]))
        m = low
        while m < n - 1 and fabs(v[e + m]) > EPSILON * largest:
            m = m + 1
        tries = 0
        going = m > low
        while going:
            g = v[d + low]
            p = (v[d + low + 1] - g) / (2.0 * v[e + low])
            r = length_of(p, 1.0)
            r = -r if p < 0 else r
            v[d + low] = v[e + low] / (p + r)
            v[d + low + 1] = v[e + low] * (p + r)
            second = v[d + low + 1]
            h = g - v[d + low]
            for i in range(low + 2, n):
                v[d + i] = v[d + i] - h
            shift = shift + h
            p = v[d + m]
            c, c2, c3, s, s2 = 1.0, 1.0, 1.0, 0.0, 0.0
            after = v[e + low + 1]
            for step in range(m - low):
                i = m - 1 - step
                c3 = c2
                c2 = c
                s2 = s
                g = c * v[e + i]
                h = c * p
                r = length_of(p, v[e + i])
                v[e + i + 1] = s * r
                s = v[e + i] / r
                c = p / r
                p = c * v[d + i] - s * g
                v[d + i + 1] = h + s * (c * g + s * v[d + i])
                for k in range(n):
                    upper = v[(i + 1) * n + k]
                    v[(i + 1) * n + k] = s * v[i * n + k] + c * upper
                    v[i * n + k] = c * v[i * n + k] - s * upper
            p = -s * s2 * c3 * after * v[e + low] / second
            v[e + low] = s * p
            v[d + low] = c * p
            tries = tries + 1
            going = fabs(v[e + low]) > EPSILON * largest
            if tries == SWEEPS:
                going = False
                whole = False
        v[d + low] = v[d + low] + shift
        v[e + low] = 0.0
    for j in range(n):  # in order
        at = 0
        for k in range(n):
            if v[d + k] < v[d + j] or (v[d + k] == v[d + j] and k < j):
                at = at + 1
        y[at] = real(v[d + j])
        for k in range(n):
            y[(k + 1) * n + at] = real(v[j * n + k])
    if not whole or largest - largest != 0:
        fill(real, y, (n + 1) * n)


@register_jitable(error_model="numpy", fastmath=False)
def length_of(a, b):
    """The square root of a a + b b, of numbers of any size."""
    large = max_of(fabs(a), fabs(b))
    small = fabs(b) if fabs(a) > fabs(b) else fabs(a)
    return large * sqrt(1.0 + (small / large) * (small / large)) if large > 0 else large


@register_jitable(error_model="numpy", fastmath=False)
def rotate(real, a, u, v, s, m, n, wide):
    """One-sided Jacobi of an m by n matrix, m >= n (Hestenes, J. SIAM 6, 1958); ``wide`` where its transpose is given.

    ``u`` and ``v`` get the singular vectors as rows, ``s`` the values, the largest first. Whether it came to an end.
    """
    scale = 0.0
    for i in range(m):
        for j in range(n):
            u[j * m + i] = f64(a[j * m + i] if wide else a[i * n + j])
            scale = max_of(scale, fabs(u[j * m + i]))
    for k in range(n * n):
        v[k] = 1.0 if k % (n + 1) == 0 else 0.0
    if scale - scale != 0:
        return False
    whole = 0.0
    for k in range(m * n):
        u[k] = u[k] / scale if scale > 0 else 0.0
        whole = whole + u[k] * u[k]
    noise = 0.0  # a column that is made of rounding errors alone never gets orthogonal to the others: it is left, as 0
    turned = True
    sweep = 0
    while turned and sweep < SWEEPS:
        turned = False
        noise = 16.0 * EPSILON * sqrt(whole) if sweep >= USUAL else 0.0
        for p in range(n - 1):
            for q in range(p + 1, n):
                alpha, beta, gamma = 0.0, 0.0, 0.0
                for k in range(m):
                    alpha = alpha + u[p * m + k] * u[p * m + k]
                    beta = beta + u[q * m + k] * u[q * m + k]
                    gamma = gamma + u[p * m + k] * u[q * m + k]
                small = sqrt(alpha if alpha < beta else beta)
                if fabs(gamma) > EPSILON * sqrt(alpha) * sqrt(beta) and small > noise:
                    turned = True
                    zeta = (beta - alpha) / (2.0 * gamma)
                    t = 1.0 / (fabs(zeta) + length_of(zeta, 1.0))
                    t = -t if zeta < 0 else t
                    c = 1.0 / sqrt(1.0 + t * t)
                    w = c * t
                    for k in range(m):
                        left = u[p * m + k]
                        u[p * m + k] = c * left - w * u[q * m + k]
                        u[q * m + k] = w * left + c * u[q * m + k]
                    for k in range(n):
                        kept = v[p * n + k]
                        v[p * n + k] = c * kept - w * v[q * n + k]
                        v[q * n + k] = w * kept + c * v[q * n + k]
        sweep = sweep + 1
    for j in range(n):
        total = 0.0
        for k in range(m):
            total = total + u[j * m + k] * u[j * m + k]
        s[j] = sqrt(total)
    for j in range(n):  # the largest first
        at = j
        for k in range(j + 1, n):
            if s[k] > s[at]:
                at = k
        if at != j:
            value = s[j]
            s[j] = s[at]
            s[at] = value
            for k in range(m):
                first = u[j * m + k]
                u[j * m + k] = u[at * m + k]
                u[at * m + k] = first
            for k in range(n):
                second = v[j * n + k]
                v[j * n + k] = v[at * n + k]
                v[at * n + k] = second
    for j in range(n):
        value = s[j]
        if value > noise and value > EPSILON * EPSILON * s[0]:
            for k in range(m):
                u[j * m + k] = u[j * m + k] / value
        else:
            s[j] = 0.0
            complete(u, j, m)
        s[j] = s[j] * scale
    return not turned


@register_jitable(error_model="numpy", fastmath=False)
def complete(u, j, m):
    """Row j becomes a unit vector that is orthogonal to those before it: the axis that they cover least, made so."""
    axis = 0
    least = 2.0
    for k in range(m):
        covered = 0.0
        for i in range(j):
            covered = covered + u[i * m + k] * u[i * m + k]
        if covered < least:
            least = covered
            axis = k
    for k in range(m):
        u[j * m + k] = 1.0 if k == axis else 0.0
    for _ in range(2):
        for i in range(j):
            dot = 0.0
            for k in range(m):
                dot = dot + u[i * m + k] * u[j * m + k]
            for k in range(m):
                u[j * m + k] = u[j * m + k] - dot * u[i * m + k]
    total = 0.0
    for k in range(m):
        total = total + u[j * m + k] * u[j * m + k]
    for k in range(m):
        u[j * m + k] = u[j * m + k] / sqrt(total)


@routine
def singular_values_and_vectors(real, a_at, y_at, spare_at, m, n):
    """U, below it the values, below them V, each with min(m, n) columns."""
    wide = m < n
    count, long = min(m, n), m + n - min(m, n)
    a, y, u = buffer(a_at, real, 0, 1), buffer(y_at, real, 0, 1), buffer(spare_at, f64, 0, 1)
    v, s = buffer(spare_at + 8 * m * n, f64, 0, 1), buffer(spare_at + 8 * (m * n + count * count), f64, 0, 1)
    if rotate(real, a, u, v, s, long, count, wide):
        first, second = (m + 1 if wide else 0), (0 if wide else m + 1)
        for j in range(count):
            for k in range(long):
                y[(first + k) * count + j] = real(u[j * long + k])
            y[m * count + j] = real(s[j])
            for k in range(count):
                y[(second + k) * count + j] = real(v[j * count + k])
    else:
        fill(real, y, (m + 1 + n) * count)


@routine
def pseudoinverse(real, a_at, y_at, spare_at, m, n):
    """V S^+ U'; values below max(m, n) roundings of the largest count as 0."""
    wide = m < n
    count, long = min(m, n), m + n - min(m, n)
    a, y, u = buffer(a_at, real, 0, 1), buffer(y_at, real, 0, 1), buffer(spare_at, f64, 0, 1)
    v, s = buffer(spare_at + 8 * m * n, f64, 0, 1), buffer(spare_at + 8 * (m * n + count * count), f64, 0, 1)
    if rotate(real, a, u, v, s, long, count, wide):
        rounding = EPSILON if real(1) + real(1e-9) != real(1) else COARSE
        rank = 0
        while rank < count and s[min(rank, count - 1)] > rounding * long * s[0]:
            rank = rank + 1
        for i in range(n):
            for k in range(m):
                total = 0.0
                for j in range(rank):
                    left = u[j * long + i] if wide else v[j * count + i]
                    right = v[j * count + k] if wide else u[j * long + k]
                    total = total + left * right / s[j]
                y[i * m + k] = real(total)
    else:
        fill(real, y, m * n)
