"""Linear algebra, by NumPy's names; each is in ``gx`` too.

>>> import graphc as gx
>>> gx.linalg.solve is gx.solve
True
"""

from graphc.ops.decompositions import (
    cholesky,
    det,
    eigh,
    expm,
    inv,
    logdet,
    lstsq,
    matrix_power,
    pinv,
    qr,
    slogdet,
    solve,
    solve_triangular,
    svd,
)
from graphc.ops.einsum import einsum
from graphc.ops.linalg import diagonal, dot, matmul, outer, tensordot, trace, vecdot
from graphc.ops.matrices import cross, diag, kron, tril, triu
from graphc.ops.reduce import norm
from graphc.ops.shape import matrix_transpose

__all__ = [
    "cholesky",
    "cross",
    "det",
    "diag",
    "diagonal",
    "dot",
    "eigh",
    "einsum",
    "expm",
    "inv",
    "kron",
    "logdet",
    "lstsq",
    "matmul",
    "matrix_power",
    "matrix_transpose",
    "norm",
    "outer",
    "pinv",
    "qr",
    "slogdet",
    "solve",
    "solve_triangular",
    "svd",
    "tensordot",
    "trace",
    "tril",
    "triu",
    "vecdot",
]
