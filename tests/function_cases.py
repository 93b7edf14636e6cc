"""Rows of the op-case table for functions that are made of several ops."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import scipy.special as sp
import scipy.stats as st
from op_case import POSITIVE, REAL, Case, binary, unary

import graphc as gx
from graphc.ops.apply import apply

EACH = np.array([[0, 3, -1], [2, 2, 0], [1, 0, 1]])
IDS = np.array([2, 0, 2, 1, 2])
UFUNCS = {"add": np.add, "multiply": np.multiply, "max": np.maximum, "min": np.minimum}


def quantile_of_gamma(a: Any, q: Any) -> Any:
    return np.where(q < 0, sp.gammaincinv(a, 0.5 * np.abs(q)), sp.gammainccinv(a, 0.5 * np.abs(q)))


WORDS = np.array([[1, 1], [2, 1]])


def _ctc(x: Any) -> Any:
    """Over all ways of saying a row of labels, written out."""
    out = []
    for scores, word in zip(x, WORDS, strict=True):
        paths = (p for p in itertools.product(range(3), repeat=len(scores)) if _said(p) == list(word))
        out.append(-sp.logsumexp([sum(row[c] for row, c in zip(scores, p, strict=True)) for p in paths]))
    return np.array(out)


def _said(path: Any) -> list[int]:
    return [int(c) for c, _ in itertools.groupby(path) if c]


def _by_aa(a: Any, x: Any) -> Any:
    """The second derivative of the lower incomplete gamma function by its parameter."""
    h = 1e-2
    weights = np.array([-1 / 560, 8 / 315, -1 / 5, 8 / 5, -205 / 72, 8 / 5, -1 / 5, 8 / 315, -1 / 560])
    return sum(w * sp.gammainc(a + (k - 4) * h, x) for k, w in enumerate(weights)) / h**2


def _changed(x: np.ndarray, index: Any, values: Any, how: str) -> np.ndarray:
    """``x`` changed at an index, as often as it stands there."""
    out = x.copy()
    if how == "set":
        out[index] = values
    else:
        UFUNCS[how].at(out, index, values)
    return out


def _normal(x: np.ndarray, axes: Any) -> np.ndarray:
    return (x - x.mean(axes, keepdims=True)) / np.sqrt(x.var(axes, keepdims=True) + 1e-5)


def _attended(q: np.ndarray, k: np.ndarray, v: np.ndarray, allowed: Any) -> np.ndarray:
    scores = np.where(allowed, q @ np.swapaxes(k, -1, -2) / np.sqrt(q.shape[-1]), -np.inf)
    return sp.softmax(scores, -1) @ v


def _turned(x: np.ndarray, first: Any, second: Any) -> np.ndarray:
    """Pairs of 4 features as complex numbers, turned."""
    angle = np.arange(x.shape[-2])[:, None] * np.array([1.0, 0.01])
    z = (x[first] + 1j * x[second]) * np.exp(1j * angle)
    out = np.empty_like(x)
    out[first], out[second] = z.real, z.imag
    return out


def _cosine(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return (a * b).sum(-1) / np.linalg.norm(a, axis=-1) / np.linalg.norm(b, axis=-1)


def _gru(x: np.ndarray, h: np.ndarray, w: np.ndarray, u: np.ndarray) -> np.ndarray:
    (r, z, n), (hr, hz, hn) = np.split(x @ w.T, 3, -1), np.split(h @ u.T, 3, -1)
    new = np.tanh(n + sp.expit(r + hr) * hn)
    return (1 - sp.expit(z + hz)) * new + sp.expit(z + hz) * h


def _lstm(x: np.ndarray, h: np.ndarray, c: np.ndarray, w: np.ndarray, u: np.ndarray) -> np.ndarray:
    i, f, g, o = np.split(x @ w.T + h @ u.T, 4, -1)
    return sp.expit(o) * np.tanh(sp.expit(f) * c + sp.expit(i) * np.tanh(g))


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
    unary("log_ndtr", sp.log_ndtr, (-6.0, 4.0), tolerance=1e-12),
    unary("ndtri", sp.ndtri, (0.05, 0.95), special=False),
    unary("sinc", np.sinc),
    binary("beta_ln", sp.betaln, POSITIVE, POSITIVE, special=False, tolerance=1e-12),
    # gamma, beta, zeta and Bessel functions
    Case("polygamma", lambda x: gx.polygamma(2, x), lambda x: sp.polygamma(2, x), (POSITIVE,), special=False, tolerance=1e-12),
    unary("i0e", sp.i0e),
    unary("i1e", sp.i1e),
    binary("gammainc", sp.gammainc, POSITIVE, POSITIVE, special=False, tolerance=1e-12, ops=("gammainc_by_a", "gammainc_by_aa")),
    binary("gammaincc", sp.gammaincc, POSITIVE, POSITIVE, special=False, tolerance=1e-12),
    Case("gammainc_by_aa", lambda a, x: apply("gammainc_by_aa", a, x), _by_aa, (POSITIVE,) * 2, ((3, 4), (4,)), special=False, tolerance=1e-9),
    Case("betainc", gx.betainc, sp.betainc, (POSITIVE, POSITIVE, (0.1, 0.9)), ((3, 4), (4,), (3, 1)), special=False, tolerance=1e-12),
    binary("zeta", sp.zeta, (1.5, 5.0), POSITIVE, special=False, tolerance=1e-12),
    Case("gamma_quantile", lambda a, q: apply("gamma_quantile", a, q), quantile_of_gamma, ((1.2, 4.0), (0.2, 0.9)), ((3, 4), (4,)), special=False, tolerance=1e-12),
    Case("poisson_quantile", lambda a, q: apply("poisson_quantile", a, q), lambda a, q: st.poisson.isf(0.5 * q, a), (POSITIVE, (0.2, 0.9)), ((3, 4), (4,)), smooth=False, special=False),
    # alignments
    Case("ctc", lambda x: gx.ctc(x, x.graph.constant(WORDS)), _ctc, shapes=((2, 4, 3),), tolerance=1e-12, ops=("alignment_scores", "banded_recurrence"), special=False),
    # network
    Case("batch_norm", lambda x, m, v: gx.batch_norm(x, m, v, axis=1), lambda x, m, v: (x - m[:, None]) / np.sqrt(v[:, None] + 1e-5), (REAL, REAL, POSITIVE), ((2, 3, 4), (3,), (3,)), tolerance=1e-12),
    Case("batch_norm_training", lambda x: gx.batch_norm(x, 0.0, 1.0, training=True)[0], lambda x: (x - x.mean((0, 1))) / np.sqrt(x.var((0, 1)) + 1e-5), shapes=((2, 3, 4),), tolerance=1e-12),
    Case("group_norm", lambda x, w: gx.group_norm(x, 2, w), lambda x, w: _normal(x.reshape(2, 2, 2, 3), (2, 3)).reshape(2, 4, 3) * w[:, None], (REAL, REAL), ((2, 4, 3), (4,)), tolerance=1e-12),
    Case("instance_norm", gx.instance_norm, lambda x: _normal(x, 2), shapes=((2, 3, 4),), tolerance=1e-12),
    Case("weight_norm", gx.weight_norm, lambda v, g: v * (g / np.linalg.norm(v, axis=1))[:, None], (REAL, POSITIVE), ((3, 4), (3,)), tolerance=1e-12),
    Case("rnn_cell", gx.rnn_cell, lambda x, h, w, u: np.tanh(x @ w.T + h @ u.T), (REAL,) * 4, ((2, 3), (2, 4), (4, 3), (4, 4)), tolerance=1e-12),
    Case("attention", gx.scaled_dot_product_attention, lambda q, k, v: _attended(q, k, v, True), (REAL,) * 3, ((2, 3, 4), (2, 5, 4), (2, 5, 2)), tolerance=1e-12),
    Case("attention_causal", lambda q, k: gx.scaled_dot_product_attention(q, k, k, is_causal=True), lambda q, k: _attended(q, k, k, np.tri(3, 3, dtype=bool)), (REAL,) * 2, ((3, 4), (3, 4)), tolerance=1e-12, special=False),
    Case("rotary_embedding", gx.rotary_embedding, lambda x: _turned(x, np.s_[..., :2], np.s_[..., 2:]), shapes=((2, 3, 4),), tolerance=1e-12),
    Case("rotary_interleaved", lambda x: gx.rotary_embedding(x, interleaved=True), lambda x: _turned(x, np.s_[..., ::2], np.s_[..., 1::2]), shapes=((2, 3, 4),), tolerance=1e-12),
    Case("triplet", gx.triplet, lambda a, p, n: np.maximum(np.linalg.norm(a - p + 1e-6, axis=-1) - np.linalg.norm(a - n + 1e-6, axis=-1) + 1, 0), (REAL,) * 3, ((3, 4),) * 3, tolerance=1e-12),
    Case("cosine_embedding", lambda a, b: gx.cosine_embedding(a, b, [1, -1, 1]), lambda a, b: np.where([1, 0, 1], 1 - _cosine(a, b), np.maximum(_cosine(a, b), 0)), (REAL, REAL), ((3, 4), (3, 4)), tolerance=1e-12),
    Case("searchsorted", lambda x, v: gx.searchsorted(gx.sort(x), v), lambda x, v: np.searchsorted(np.sort(x), v), (REAL, REAL), ((13,), (3, 4)), smooth=False),
    Case("searchsorted_right", lambda v: gx.searchsorted([-2.0, -1.0, 0.0, 1.0], v, "right"), lambda v: np.searchsorted(np.arange(-2.0, 2.0), v, "right"), smooth=False),
    Case("gru_cell", gx.gru_cell, lambda x, h, w, u: _gru(x, h, w, u), (REAL,) * 4, ((2, 3), (2, 2), (6, 3), (6, 2)), tolerance=1e-12, special=False),
    Case("lstm_cell", lambda x, h, c, w, u: gx.lstm_cell(x, (h, c), w, u)[0], lambda x, h, c, w, u: _lstm(x, h, c, w, u), (REAL,) * 5, ((2, 3), (2, 2), (2, 2), (8, 3), (8, 2)), tolerance=1e-12, special=False),
]  # fmt: skip
