"""Routines on large matrices, a block of rows at a time: most of their work is products of matrices.

As `matrices`. They are given ``memory``, which products work in, as well.
"""

# Numba reads this code, which has no types of its own.
# mypy: disable-error-code="no-untyped-def, no-untyped-call"

from __future__ import annotations

from graphc.codegen.buffer import buffer, place_of
from graphc.codegen.matrices import (
    adjoint_of_rows,
    cholesky_in_panels,
    copied,
    fill,
    lower_as_upper,
    substituted_in_panels,
    upper_to_lower,
)
from graphc.codegen.routines import routine
from graphc.codegen.tiles import ROUTINES, add_product
from graphc.schedule.sums import PIECE

BLOCK = 64  # rows, as `ops.decompositions` counts memory by; a module that is exported cannot take that one along


def multiplying(function):
    """A routine that a kernel calls and that multiplies matrices."""
    ROUTINES.add(function.__name__)
    return routine(function)


@routine
def add_long_product(real, ta, tb, m, n, k, a_at, lda, b_at, ldb, c_at, ldc, memory):
    """``C[m,n] += op(A) op(B)``, a piece of the inner size at a time; of operands and results as `add_product`."""
    for first in range(0, k, PIECE):
        left = place_of(real, a_at, first * lda if ta != 0 else first)
        right = place_of(real, b_at, first if tb != 0 else first * ldb)
        add_product(real, ta, tb, m, n, min(PIECE, k - first), left, lda, right, ldb, c_at, ldc, memory)


@routine
def negative(real, source_at, target_at, rows, columns, ld):
    """A matrix times -1, in one piece."""
    source, target = buffer(source_at, real, 0, 2), buffer(target_at, real, 1, 2)
    for i in range(rows):
        for j in range(columns):
            target[i * columns + j] = -source[i * ld + j]


@multiplying
def cholesky_in_blocks(real, a_at, y_at, spare_at, memory, n, columns):
    """`cholesky`."""
    whole = True
    lower_as_upper(real, a_at, y_at, n)
    for top in range(0, n, BLOCK):
        size = min(BLOCK, n - top)
        if top > 0:
            above, target = place_of(real, y_at, top), place_of(real, y_at, top * n + top)
            negative(real, above, spare_at, top, size, n)
            add_long_product(real, 1, 0, size, n - top, top, spare_at, size, above, n, target, n, memory)
        whole = cholesky_in_panels(real, place_of(real, y_at, top * n + top), size, n - top, n) and whole
    upper_to_lower(real, y_at, n)
    if not whole:
        fill(real, buffer(y_at, real, 0, 1), n * n)


@multiplying
def cholesky_adjoint_in_blocks(real, g_at, l_at, y_at, spare_at, memory, n, columns, rows, others):
    """`cholesky_adjoint`; with D the block on the diagonal, L = [. . .; R D .; B C .] and turned cotangents."""
    lower_as_upper(real, g_at, y_at, n)
    for step in range((n + BLOCK - 1) // BLOCK):
        top = ((n - 1) // BLOCK - step) * BLOCK
        size = min(BLOCK, n - top)
        bottom, below = top + size, n - top - size
        of_c = place_of(real, y_at, top * n + bottom)
        of_d = place_of(real, y_at, top * n + top)
        r, d, b, c = (
            place_of(real, l_at, top * n),
            place_of(real, l_at, top * n + top),
            place_of(real, l_at, bottom * n),
            place_of(real, l_at, bottom * n + top),
        )
        more = place_of(real, spare_at, size * below)
        if below > 0:
            substituted_in_panels(real, d, of_c, size, below, n, n, False, True, False)
            negative(real, of_c, spare_at, size, below, n)
            add_long_product(real, 1, 1, size, size, below, c, n, spare_at, below, of_d, n, memory)
        adjoint_of_rows(real, l_at, y_at, more, n, top, bottom)
        if top > 0:
            symmetric(real, of_d, more, size, n)
            of_r = place_of(real, y_at, top)
            add_long_product(real, 1, 0, top, size, size, r, n, more, size, of_r, n, memory)
            if below > 0:
                of_b = place_of(real, y_at, bottom)
                add_long_product(real, 1, 1, top, size, below, b, n, spare_at, below, of_r, n, memory)
                add_long_product(real, 1, 0, top, below, size, r, n, spare_at, below, of_b, n, memory)
    upper_to_lower(real, y_at, n)


@routine
def symmetric(real, source_at, target_at, size, ld):
    """The sum of an upper triangle and itself, turned; times -1."""
    source, target = buffer(source_at, real, 0, 2), buffer(target_at, real, 1, 2)
    for i in range(size):
        for j in range(i, size):
            value = -source[i * ld + j]
            target[i * size + j] = value + value if i == j else value
            target[j * size + i] = value + value if i == j else value


@multiplying
def triangular_system_in_blocks(real, a_at, b_at, y_at, spare_at, memory, n, columns, rows, m, lower, transposed, unit):
    """`triangular_system`."""
    down = lower != transposed
    whole = True
    copied(real, b_at, y_at, n * m)
    for start in range(0, n, BLOCK):
        size = min(BLOCK, n - start)
        top = start if down else n - start - size  # of the block; what has been found lies before it, or behind
        found = 0 if down else top + size
        at, solved = place_of(real, y_at, top * m), place_of(real, y_at, found * m)
        if start > 0 and transposed:
            negative(real, place_of(real, a_at, found * n + top), spare_at, start, size, n)
            add_long_product(real, 1, 0, size, m, start, spare_at, size, solved, m, at, m, memory)
        elif start > 0:
            negative(real, place_of(real, a_at, top * n + found), spare_at, size, start, n)
            add_long_product(real, 0, 0, size, m, start, spare_at, start, solved, m, at, m, memory)
        block = place_of(real, a_at, top * n + top)
        whole = substituted_in_panels(real, block, at, size, m, n, m, down, transposed, unit) and whole
    if not whole:
        fill(real, buffer(y_at, real, 0, 1), n * m)
