"""Rows of the op-case table for functions that are made of several ops."""

from __future__ import annotations

import numpy as np
from op_case import REAL, Case

import graphc as gx

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
]  # fmt: skip
