"""Sparse Jacobians and Hessians: the pattern of each op, colours, values, sizes."""

from __future__ import annotations

import re
import time
from typing import Any

import numpy as np
import pytest
from op_cases import CASES, Case

import graphc as gx
from graphc.derive import colouring
from graphc.derive.pattern import pattern

SMOOTH = [c for c in CASES if c.smooth and c.name != "max_pool_pick"]
GROUPS = [SMOOTH[k : k + 12] for k in range(0, len(SMOOTH), 12)]


def vector(n: Any = 6) -> gx.Tensor:
    return gx.Graph("g", float_dtype="float64").input("x", (n,))


@pytest.mark.parametrize("group", GROUPS, ids=lambda group: f"{group[0].name}-{group[-1].name}")
def test_every_op_gives_what_the_whole_matrix_does(group: list[Case]) -> None:
    g = gx.Graph("cases", float_dtype="float64")
    inputs, arrays, outputs, made = [], [], {}, {}
    for case in group:
        xs = [g.input(f"{case.name}_{k}", shape) for k, shape in enumerate(case.shapes)]
        y, x = case.build(*xs), xs[0]
        value = gx.sum(gx.sin(y))
        made[case.name] = gx.sparse_jacobian(y, x), gx.sparse_hessian(value, x)
        sparse = [s.data for s in made[case.name]]
        outputs[case.name] = {"sparse": sparse, "whole": [gx.jacobian(y, x), gx.hessian(value, x)]}
        inputs += xs
        arrays += case.arrays("float64", seed=5)
    results = gx.compile(inputs, outputs, backend="numpy", unused="ignore")(*arrays)
    for case in group:
        for s, data, whole in zip(made[case.name], *results[case.name].values(), strict=True):
            found = s.to_scipy(data).toarray()
            scale = max(1.0, float(abs(whole).max(initial=0)))
            np.testing.assert_allclose(found, whole.reshape(s.shape), atol=1e-9 * scale, rtol=1e-9, err_msg=case.name)
            assert s.nnz == len(data) == s.indptr[-1] and s.n_colors <= max(s.shape)


MASK = np.tril(np.ones((6, 6)))
EXACT: list[tuple[str, Any, Any]] = [
    ("elementwise", lambda x: gx.exp(x) * x, np.eye(6)),
    ("broadcast", lambda x: x[:2] * gx.reshape(x[2:4], (2, 1)), [[1, 0, 1, 0, 0, 0], [0, 1, 1, 0, 0, 0], [1, 0, 0, 1, 0, 0], [0, 1, 0, 1, 0, 0]]),
    ("movement", lambda x: gx.reshape(x, (2, 3)).T, np.eye(6)[[0, 3, 1, 4, 2, 5]]),
    ("slice", lambda x: x[4:1:-2], np.eye(6)[[4, 2]]),
    ("assembly", lambda x: gx.concat([x[4:], gx.pad(x[:1], (0, 1))], 0), [[0, 0, 0, 0, 1, 0], [0, 0, 0, 0, 0, 1], [1, 0, 0, 0, 0, 0], [0] * 6]),
    ("reduction", lambda x: gx.sum(gx.reshape(x, (2, 3)), 1), [[1, 1, 1, 0, 0, 0], [0, 0, 0, 1, 1, 1]]),
    ("contraction", lambda x: gx.reshape(x[:4], (2, 2)) @ x[4:], [[1, 1, 0, 0, 1, 1], [0, 0, 1, 1, 1, 1]]),
    ("constant zeros", lambda x: x.graph.constant(MASK) @ x, MASK),
    ("constant mask", lambda x: gx.where(np.arange(6) % 2 == 0, x, x[::-1]), np.eye(6)[[0, 4, 2, 2, 4, 0]]),
    ("constant factor", lambda x: x * np.array([1.0, 0, 2, 0, 3, 0]), np.diag([1.0, 0, 1, 0, 1, 0])),
    ("gather", lambda x: x[[3, 0, 3]], np.eye(6)[[3, 0, 3]]),
    ("gather of data", lambda x: gx.take(gx.reshape(x, (3, 2)), x.graph.input("i", (2,), "int64"), 0), np.tile(np.eye(2), (2, 3))),
    ("scatter", lambda x: gx.segment_sum(x, np.array([1, 0, 1, 1, 0, 2]), 3), [[0, 1, 0, 0, 1, 0], [1, 0, 1, 1, 0, 0], [0, 0, 0, 0, 0, 1]]),
    ("routine", lambda x: gx.cumsum(gx.reshape(x, (2, 3))), np.kron(np.eye(2), np.ones((3, 3)))),
    ("composite", lambda x: gx.conv1d(gx.reshape(x, (1, 1, 6)), np.ones((1, 1, 2))), np.eye(6)[:5] + np.eye(6)[1:]),
    ("nothing", lambda x: gx.stop_gradient(x) * gx.round(x), np.zeros((6, 6))),
    ("loop", lambda x: gx.scan(lambda c, r: (c + r, c), gx.sum(x), gx.sin(x))[1], np.ones((6, 6))),
    ("own", gx.custom_gradient(gx.round, lambda c, xs, ys: c), np.ones((6, 6))),
]  # fmt: skip


@pytest.mark.parametrize(("build", "expected"), [e[1:] for e in EXACT], ids=[e[0] for e in EXACT])
def test_the_pattern_is_exact_for_what_each_kind_reads(build: Any, expected: Any) -> None:
    x = vector()
    y = build(x)
    before = len(x.graph)
    np.testing.assert_array_equal(pattern(y, x).toarray(), np.asarray(expected) != 0)
    assert len(x.graph) == before


def rosenbrock(x: gx.Tensor) -> gx.Tensor:
    return gx.sum(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)


def test_few_products() -> None:
    x = vector(50)
    assert gx.sparse_hessian(rosenbrock(x), x).n_colors == 3
    assert gx.sparse_hessian(gx.sum(gx.exp(x)), x).n_colors == 1
    arrow = gx.sparse_hessian(x[0] * gx.sum(x * x), x)
    assert arrow.n_colors == 2 and arrow.nnz == 50 + 2 * 49
    assert gx.sparse_jacobian(x[1:] * x[:-1], x).n_colors == 2
    dense_row = gx.concat([gx.reshape(gx.sum(x * x), (1,)), x[1:] * 2.0], 0)
    wide = gx.sparse_jacobian(dense_row, x)
    assert wide.n_colors == 2 and wide.nnz == 50 + 49  # by rows
    f = gx.compile([x], [arrow.data, wide.data])
    p = np.random.default_rng(0).normal(size=50)
    bent, slopes = f(p)
    expected = 2 * p[0] * np.eye(50)
    expected[0], expected[:, 0] = 2 * p, 2 * p
    expected[0, 0] = 6 * p[0]
    np.testing.assert_allclose(arrow.to_scipy(bent).toarray(), expected)
    np.testing.assert_allclose(wide.to_scipy(slopes).toarray(), np.vstack([2 * p, 2 * np.eye(50)[1:]]))


def test_chains_take_no_products() -> None:
    """Each value by itself, though one number reaches all of them; nothing of the size of the whole times a few."""
    x = vector(100)
    steps = gx.concat([x[1:99] - x[:98] - x[99] * (x[1:99] + x[:98]), 1 - gx.sin(x[:99])])
    jac, hess = gx.sparse_jacobian(steps, x), gx.sparse_hessian(gx.sum(steps**2), x)
    exe = gx.compile([x], [jac.data, hess.data, gx.hessian(gx.sum(steps**2), x)], threads=1)
    p = np.random.default_rng(0).normal(size=100)
    slopes, bends, whole = exe(p)
    np.testing.assert_allclose(hess.to_scipy(bends).toarray(), whole, rtol=1e-12, atol=1e-12)
    expected = np.cos(p[:99])
    np.testing.assert_allclose(jac.to_scipy(slopes).toarray()[98 + np.arange(99), np.arange(99)], -expected)
    for made in (jac, hess):
        text = gx.compile([x], made.data, threads=1).stages["canonicalise"]
        assert not re.search(r"\[\d+, \d+\]", text), text


@pytest.mark.parametrize("seed", range(20))
def test_colours_recover_random_matrices(seed: int) -> None:
    from scipy.sparse import csr_array, random_array

    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 40))
    half = random_array((n, n), density=0.1, rng=rng, dtype=np.float64).toarray()
    matrix = half + half.T
    found = csr_array(matrix != 0)
    found.sort_indices()
    rows = np.repeat(np.arange(n), np.diff(found.indptr))
    colour = colouring.columns(found)
    assert colouring.alone(found, colour).all()
    star = colouring.star(found)
    alone = colouring.alone(found, star)
    products = np.stack([matrix[:, star == c].sum(1) for c in range(int(star.max(initial=-1)) + 1)], 1)
    own, across = np.where(alone, found.indices, rows), np.where(alone, rows, found.indices)
    np.testing.assert_allclose(
        products[across, star[own]] if len(rows) else [], matrix[rows, found.indices], atol=1e-12
    )
    assert star.max(initial=0) <= colour.max(initial=0) + n  # greedy, so no promise


def test_a_hundred_thousand_variables() -> None:
    """Linear: defined and compiled in seconds, and right."""
    from scipy.optimize import rosen_hess_prod

    n = 100_000
    x = vector(n)
    start = time.perf_counter()
    hess = gx.sparse_hessian(rosenbrock(x), x)
    f = gx.compile([x], hess.data)
    rng = np.random.default_rng(0)
    p, v = rng.normal(size=n), rng.normal(size=n)
    matrix = hess.to_scipy(f(p))
    assert time.perf_counter() - start < 60
    assert hess.nnz == 3 * n - 2 and hess.n_colors == 3
    np.testing.assert_allclose(matrix @ v, rosen_hess_prod(p, v), rtol=1e-9, atol=1e-6)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda x, s: gx.sparse_jacobian(s * 2.0, s), "the sizes of multiply_.* must be known"),
        (lambda x, s: gx.sparse_jacobian(x * gx.sum(s * gx.sum(x)), x), "all sizes on the way must be known"),
        (lambda x, s: gx.sparse_hessian(x * x, x), "expected a scalar tensor"),
        (lambda x, s: gx.sparse_jacobian(gx.argmax(x), x), "only float tensors"),
        (lambda x, s: gx.sparse_jacobian([x], x), "expected a tensor"),
    ],
)
def test_errors(call: Any, words: str) -> None:
    x = vector()
    with pytest.raises(gx.GradientError, match=words) as error:
        call(x, x.graph.input("s", ("n",)))
    assert error.value.origin.file == __file__


def test_what_is_not_sparse_is_refused() -> None:
    x = vector(20_000)
    with pytest.raises(gx.GradientError, match="the pattern is not sparse"):
        gx.sparse_hessian(gx.logsumexp(x), x)
