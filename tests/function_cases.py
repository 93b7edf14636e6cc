"""Rows of the op-case table for functions that are made of several ops."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.special as sp
from op_case import POSITIVE, REAL, Case, binary, unary

import graphc as gx

EACH = np.array([[0, 3, -1], [2, 2, 0], [1, 0, 1]])
IDS = np.array([2, 0, 2, 1, 2])
UFUNCS = {"add": np.add, "multiply": np.multiply, "max": np.maximum, "min": np.minimum}


def _changed(x: np.ndarray, index: Any, values: Any, how: str) -> np.ndarray:
    """``x`` changed at an index, as often as it stands there."""
    out = x.copy()
    if how == "set":
        out[index] = values
    else:
        UFUNCS[how].at(out, index, values)
    return out


FUNCTION_CASES: list[Case] = [
    # made from nothing
    Case("full", lambda x: gx.full((2, 3, 4), x[0]) * x, lambda x: np.full((2, 3, 4), x[0]) * x),
    Case("full_like_number", lambda x: gx.full_like(x, 2.5) * x, lambda x: 2.5 * x),
    Case("eye", lambda x: x.graph.eye(x.shape[0], x.shape[1], 1) * x, lambda x: np.eye(*x.shape, 1) * x),
    Case("tri", lambda x: x.graph.tri(x.shape[0], x.shape[1], -1) * x, lambda x: np.tri(*x.shape, -1) * x),
    Case("arange", lambda x: x.graph.arange(1, x.shape[1] + 1) * x, lambda x: np.arange(1, x.shape[1] + 1) * x),
    Case("linspace", lambda a, b: gx.linspace(a, b, 5), lambda a, b: np.linspace(a, b, 5), (REAL, REAL), ((3, 1), (4,)), tolerance=1e-12),
    Case("linspace_open", lambda a, b: gx.linspace(a, b, 4, False), lambda a, b: np.linspace(a, b, 4, False), (REAL, REAL), ((), ()), tolerance=1e-12),
    # NumPy's names
    Case("transpose", gx.transpose, np.transpose, shapes=((2, 3, 4),)),
    Case("vstack", lambda a, b: gx.vstack([a, b]), lambda a, b: np.vstack([a, b]), (REAL, REAL), ((4,), (2, 4))),
    Case("hstack", lambda a, b: gx.hstack([a, b]), lambda a, b: np.hstack([a, b]), (REAL, REAL), ((3, 2), (3, 4))),
    # elements at an index
    Case("take_along_axis", lambda x: gx.take_along_axis(x, x.graph.constant(EACH), 1), lambda x: np.take_along_axis(x, EACH, 1)),
    Case("at_set", lambda x, v: x.at[[2, 0, 2]].set(v), lambda x, v: _changed(x, np.s_[[2, 0, 2]], v, "set"), (REAL, REAL), ((3, 4), (3, 4)), ops=("scatter_max",)),
    Case("at_set_slice", lambda x, v: x.at[1:, ::2].set(v), lambda x, v: _changed(x, np.s_[1:, ::2], v, "set"), (REAL, REAL), ((3, 4), (2,))),
    Case("at_add", lambda x, v: x.at[[0, 2, 0], [1, 3, 1]].add(v), lambda x, v: _changed(x, np.s_[[0, 2, 0], [1, 3, 1]], v, "add"), (REAL, REAL), ((3, 4), (3,))),
    Case("at_add_apart", lambda x, v: x.at[[0, 1, 0], :, [1, 3, 1]].add(v), lambda x, v: _changed(x, np.s_[[0, 1, 0], :, [1, 3, 1]], v, "add"), (REAL, REAL), ((2, 3, 4), (3, 3))),
    Case("at_multiply", lambda x, v: x.at[[0, 2, 0, 0]].multiply(v), lambda x, v: _changed(x, np.s_[[0, 2, 0, 0]], v, "multiply"), (REAL, REAL), ((3, 2), (4, 2)), ops=("scatter_multiply",), tolerance=1e-12),
    Case("at_max", lambda x, v: x.at[:, [0, 2, 0]].max(v), lambda x, v: _changed(x, np.s_[:, [0, 2, 0]], v, "max"), (REAL, REAL), ((3, 4), (3, 3))),
    Case("at_min", lambda x, v: x.at[[2, 1, 1]].min(v), lambda x, v: _changed(x, np.s_[[2, 1, 1]], v, "min"), (REAL, REAL), ((3, 4), (3, 4)), ops=("scatter_min",)),
    Case("at_mask", lambda x, v: x.at[x > 0].set(v), lambda x, v: np.where(x > 0, v, x), (REAL, REAL), ((3, 4), (4,))),
    Case("scatter_set", lambda x, u: gx.scatter_set(x, [1, -1], u, 1), lambda x, u: _changed(x, np.s_[:, [1, -1]], u, "set"), (REAL, REAL), ((3, 4), (3, 2))),
    Case("segment_sum", lambda x: gx.segment_sum(x, x.graph.constant(IDS), 4), lambda x: np.array([x[k == IDS].sum(0) for k in range(4)]), shapes=((5, 2),)),
    Case("segment_mean", lambda x: gx.segment_mean(x, x.graph.constant(IDS), 3), lambda x: np.array([x[k == IDS].mean(0) for k in range(3)]), shapes=((5, 2),)),
    Case("segment_max", lambda x: gx.segment_max(x, x.graph.constant(IDS), 3), lambda x: np.array([x[k == IDS].max(0) for k in range(3)]), shapes=((5, 2),)),
    Case("segment_min", lambda x: gx.segment_min(x, x.graph.constant(IDS), 3), lambda x: np.array([x[k == IDS].min(0) for k in range(3)]), shapes=((5, 2),)),
    Case("dynamic_slice", lambda x: gx.dynamic_slice(x, [x.graph.constant(1), 5], (2, 2)), lambda x: x[1:3, 2:4], shapes=((4, 4),)),
    Case("dynamic_update_slice", lambda x, u: gx.dynamic_update_slice(x, u, [x.graph.constant(1), 5]), lambda x, u: _changed(x, np.s_[1:3, 2:4], u, "set"), (REAL, REAL), ((4, 4), (2, 2))),
    # matrices
    Case("tril", lambda x: gx.tril(x, 1), lambda x: np.tril(x, 1), shapes=((2, 3, 4),)),
    Case("triu", lambda x: gx.triu(x, -1), lambda x: np.triu(x, -1), shapes=((4, 3),)),
    Case("diag", lambda x: gx.diag(x, -2), lambda x: np.diag(x, -2), shapes=((3,),)),
    Case("diag_of_matrix", lambda x: gx.diag(x, 1), lambda x: np.diag(x, 1)),
    Case("diff", lambda x: gx.diff(x, 2, 0), lambda x: np.diff(x, 2, 0), shapes=((4, 3),), tolerance=1e-12),
    Case("kron", gx.kron, np.kron, (REAL, REAL), ((2, 3), (3, 2))),
    Case("cross", gx.cross, np.cross, (REAL, REAL), ((2, 3), (3,)), tolerance=1e-12),
    Case("einsum", lambda a, b: gx.einsum("bij,jk->bki", a, b), lambda a, b: np.einsum("bij,jk->bki", a, b), (REAL, REAL), ((2, 3, 4), (4, 2)), tolerance=1e-12),
    Case("einsum_of_three", lambda a, b, c: gx.einsum("i,ij,j", a, b, c), lambda a, b, c: np.einsum("i,ij,j", a, b, c), (REAL,) * 3, ((3,), (3, 4), (4,)), tolerance=1e-12),
    Case("einsum_diagonal", lambda a: gx.einsum("...ii->...i", a), lambda a: np.einsum("...ii->...i", a), shapes=((2, 3, 3),)),
    # the normal distribution
    unary("erfcx", sp.erfcx),
    unary("ndtr", sp.ndtr, special=False),
    unary("log_ndtr", sp.log_ndtr, (-6.0, 4.0)),
    unary("ndtri", sp.ndtri, (0.05, 0.95), special=False),
    unary("sinc", np.sinc),
    binary("beta_ln", sp.betaln, POSITIVE, POSITIVE, special=False, tolerance=1e-12),
]  # fmt: skip
