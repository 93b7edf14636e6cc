"""Colours of columns: those of one colour are found by one product.

Gebremedhin, Manne and Pothen, *What color is your Jacobian?* (SIAM Review 47, 2005): a distance-2 colouring of the
columns for any matrix, a star colouring for a symmetric one, both greedy, columns with the most neighbours first.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from graphc.ir.arrays import Array

Matrix = Any  # scipy.sparse.csr_array
PLAIN = 5_000_000  # steps that are not worth compiling for


def columns(matrix: Matrix) -> Array:
    """A colour for each column, so that no row has two columns of one colour."""
    by_column = matrix.tocsc()
    steps = int(np.sum(np.diff(matrix.indptr).astype(np.int64) ** 2))
    order = np.argsort(-np.diff(by_column.indptr), kind="stable")
    arrays = matrix.indptr, matrix.indices, by_column.indptr, by_column.indices
    return _run(_distance_two, steps, order, *arrays)


def star(matrix: Matrix) -> Array:
    """A colour for each row and column of a symmetric matrix, so that each element, or the one across the diagonal,
    is alone in its row among the columns of its colour: neighbours differ, and every path of four has three colours.
    """
    degree = np.diff(matrix.indptr).astype(np.int64)
    steps = int(np.sum(degree**3))
    return _run(_star, steps, np.argsort(-degree, kind="stable"), matrix.indptr, matrix.indices)


def alone(matrix: Matrix, colour: Array) -> Array:
    """For each element of a matrix whether no other in its row has a column of the same colour."""
    rows = np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))
    key = rows.astype(np.int64) * (int(colour.max(initial=0)) + 1) + colour[matrix.indices]
    _, place, count = np.unique(key, return_inverse=True, return_counts=True)
    return np.asarray(count[place] == 1)


def _run(function: Callable[..., Any], steps: int, *arrays: Array) -> Array:
    """A function of integer arrays, compiled where that is worth it."""
    if steps > PLAIN:
        import numba

        return np.asarray(numba.njit(function)(*(a.astype(np.int64) for a in arrays)))
    return np.asarray(function(*(a.tolist() for a in arrays)), np.int64)


def _distance_two(order: Any, row_start: Any, row_columns: Any, start: Any, rows: Any) -> Any:
    colour = [-1] * len(order)
    forbidden = [-1] * (len(order) + 1)  # the last column that may not have a colour
    for column in order:
        for k in range(start[column], start[column + 1]):
            row = rows[k]
            for j in range(row_start[row], row_start[row + 1]):
                met = colour[row_columns[j]]
                if met >= 0:
                    forbidden[met] = column
        c = 0
        while forbidden[c] == column:
            c += 1
        colour[column] = c
    return colour


def _star(order: Any, start: Any, neighbours: Any) -> Any:
    colour = [-1] * len(order)
    forbidden = [-1] * (len(order) + 1)
    for v in order:
        for k in range(start[v], start[v + 1]):
            w = neighbours[k]
            if w == v:
                continue
            if colour[w] >= 0:
                forbidden[colour[w]] = v
            for j in range(start[w], start[w + 1]):
                x = neighbours[j]
                if x in (v, w) or colour[x] < 0:
                    continue
                if colour[w] < 0:
                    forbidden[colour[x]] = v
                    continue
                for i in range(start[x], start[x + 1]):
                    y = neighbours[i]
                    if y not in (w, x) and colour[y] == colour[w]:
                        forbidden[colour[x]] = v
                        break
        c = 0
        while forbidden[c] == v:
            c += 1
        colour[v] = c
    return colour


__all__ = ["alone", "columns", "star"]
