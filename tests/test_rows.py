"""Products of a matrix with vectors: the primitives alone, and where kernels use them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numba import njit

import graphc as gx
from graphc.codegen import rows

SIGNATURE = f"void({', '.join(['int64'] * 7)})"


def jitted(function: Any) -> Any:
    @njit(SIGNATURE)
    def call(count, columns, a, lda, ahead, x, y):
        function(count, columns, a, lda, ahead, x, y)

    return call


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_primitives_at_every_size(dtype: str) -> None:
    short = {"float32": "f32", "float64": "f64"}[dtype]
    dots, ranks = (jitted(getattr(rows, f"{name}_{short}")) for name in ("dots", "ranks"))
    rng = np.random.default_rng(0)
    close = {"rtol": 1e-4, "atol": 1e-4} if dtype == "float32" else {"rtol": 1e-12, "atol": 1e-12}
    for m in (0, 1, 2, 7, 8, 9, 65):
        for n in (0, 1, 2, 7, 8, 9, 15, 16, 17, 31, 63, 64, 65, 127, 128, 129, 300):
            a = rng.normal(size=(m, n + 3)).astype(dtype)
            x, r = (rng.normal(size=k).astype(dtype) for k in (n, m))
            y, g = np.full(m + 2, 7, dtype), rng.normal(size=n + 2).astype(dtype)
            before = g.copy()
            dots(m, n, a.ctypes.data, n + 3, 32, x.ctypes.data, y.ctypes.data)
            ranks(m, n, a.ctypes.data, n + 3, 64, r.ctypes.data, g.ctypes.data)
            wide, tail = a[:, :n].astype(np.float64), slice(n, None)
            assert np.allclose(y[:m], wide @ x, **close) and (y[m:] == 7).all(), (m, n)
            assert np.allclose(g[:n], before[:n] + r @ wide, **close) and (g[tail] == before[tail]).all(), (m, n)


def test_a_row_has_the_same_bits_wherever_it_lies() -> None:
    dots = jitted(rows.dots_f64)
    rng = np.random.default_rng(0)
    for width in (7, 53):  # few columns, and many
        row, x = rng.normal(size=width), rng.normal(size=width)
        found = set()
        for count in range(1, 20):
            for k in range(count):
                a, y = rng.normal(size=(count, width)), np.empty(count)
                a[k] = row
                dots(count, width, a.ctypes.data, width, 32, x.ctypes.data, y.ctypes.data)
                found.add(y[k])
        assert len(found) == 1


def least_squares(columns: Any, dtype: str) -> gx.Executable:
    g = gx.Graph("least squares", float_dtype=dtype)
    x, y, w = (g.input(k, shape=s, dtype=dtype) for k, s in (("x", ("n", columns)), ("y", ("n",)), ("w", (columns,))))
    r = x @ w - y
    loss = gx.mean(r * r)
    return gx.compile([x, y, w], [loss, gx.grad(loss, w)])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("columns", [8, 50, 700, "m"])
def test_a_matrix_is_read_once_by_both_products(columns: Any, dtype: str) -> None:
    exe = least_squares(columns, dtype)
    short = {"float32": "f32", "float64": "f64"}[dtype]
    assert exe.source.count(f" dots_{short}(") == exe.source.count(f" ranks_{short}(") == 1
    assert exe.source.count("for b0 in range(") == 1  # one pass over the rows
    rng = np.random.default_rng(1)
    width = columns if isinstance(columns, int) else 37
    for n in (1, 3, 8, 64, 129, 1000):
        x, y, w = (rng.normal(size=s).astype(dtype) for s in ((n, width), n, width))
        loss, gradient = exe(x, y, w)
        r = x.astype(np.float64) @ w - y
        assert np.allclose(loss, np.mean(r * r), rtol=1e-4 if dtype == "float32" else 1e-12)
        assert np.allclose(gradient, 2 / n * (x.T @ r), rtol=1e-3, atol=1e-3 if dtype == "float32" else 1e-9)


def test_an_inner_product_that_is_also_a_result_is_stored() -> None:
    g = gx.Graph("scores", float_dtype="float64")
    x, w = (g.input(k, shape=s, dtype="float64") for k, s in (("x", ("n", 20)), ("w", (20,))))
    score = x @ w
    exe = gx.compile([x, w], [score, gx.sum(gx.exp(score)), gx.exp(score)])
    rng = np.random.default_rng(2)
    a, b = rng.normal(size=(131, 20)), rng.normal(size=20)
    assert "dots_f64" in exe.source
    found = exe(a, b)
    for got, wanted in zip(found, (a @ b, np.exp(a @ b).sum(), np.exp(a @ b)), strict=True):
        assert np.allclose(got, wanted, rtol=1e-12)


def test_two_vectors_and_a_view_of_the_matrix() -> None:
    g = gx.Graph("two", float_dtype="float64")
    x, v, w = (g.input(k, shape=s, dtype="float64") for k, s in (("x", ("n", 40)), ("v", (30,)), ("w", (30,))))
    part = x[:, 5:35]
    loss = gx.sum(gx.tanh(part @ v) * gx.exp(part @ w))
    exe = gx.compile([x, v, w], [loss, *gx.grad(loss, [v, w])])
    assert exe.source.count(" dots_f64(") == exe.source.count(" ranks_f64(") == 2
    rng = np.random.default_rng(3)
    a, b, c = rng.normal(size=(200, 40)) / 8, rng.normal(size=30), rng.normal(size=30)
    p, q, s = a[:, 5:35], np.tanh(a[:, 5:35] @ b), np.exp(a[:, 5:35] @ c)
    for got, wanted in zip(exe(a, b, c), ((q * s).sum(), p.T @ ((1 - q * q) * s), p.T @ (q * s)), strict=True):
        assert np.allclose(got, wanted, rtol=1e-11)


def blocks(exe: gx.Executable) -> str:
    return next(line for line in exe.source.splitlines() if "for b0 in range(" in line)


def test_the_block_fits_the_cache() -> None:
    assert ", 8):" in blocks(least_squares(5000, "float64"))
    assert ", 64):" in blocks(least_squares(10, "float64"))


def test_short_rows_of_functions_go_together_where_an_operand_is_the_same_for_all() -> None:
    g = gx.Graph("rows", float_dtype="float64")
    x, m, flat = g.input("x", ("k", "a", "b")), g.input("m", ("a", "b")), g.input("flat", ("n", "b"))
    v, w, c = g.input("v", ("b",)), g.input("w", ("b",)), g.input("c", ("a", 1))
    inputs, h = [x, m, flat, v, w, c], gx.tanh(flat + v)
    builds = {
        "three axes": (gx.exp(x * v), lambda x, m, flat, v, w, c: np.exp(x * v)),
        "two rows": (gx.exp(flat * v) + gx.sin(w * flat), lambda x, m, flat, v, w, c: np.exp(flat * v) + np.sin(w * flat)),
        "chain": (gx.exp(h * w) * gx.cos(h), lambda x, m, flat, v, w, c: np.exp(np.tanh(flat + v) * w) * np.cos(np.tanh(flat + v))),
        "computed": (gx.exp(flat * gx.exp(v)), lambda x, m, flat, v, w, c: np.exp(flat * np.exp(v))),
        "some rows": (gx.tanh(flat[1:] * flat[0]), lambda x, m, flat, v, w, c: np.tanh(flat[1:] * flat[0])),
        "backwards": (gx.exp(flat[:, ::-1] * v), lambda x, m, flat, v, w, c: np.exp(flat[:, ::-1] * v)),
        "row from behind": (gx.exp(flat * v[::-1]), lambda x, m, flat, v, w, c: np.exp(flat * v[::-1])),
        "a number a row": (gx.exp(m * c + v), lambda x, m, flat, v, w, c: np.exp(m * c + v)),
    }  # fmt: skip
    exe = gx.compile(inputs, {name: out for name, (out, _) in builds.items()})
    assert exe.source.count("copy_bytes(") >= 4
    rng = np.random.default_rng(0)
    for k, a, b, n in ((1, 1, 1, 1), (2, 3, 4, 5), (3, 1, 33, 2), (2, 5, 32, 70), (2, 3, 64, 9), (1, 4, 65, 3), (5, 7, 21, 99),
                       (0, 2, 3, 1), (2, 0, 3, 4), (2, 2, 0, 3), (2, 2, 31, 1)):  # fmt: skip
        arrays = [rng.normal(size=t) for t in ((k, a, b), (a, b), (n, b), (b,), (b,), (a, 1))]
        found = exe(*arrays)
        for name, (_, oracle) in builds.items():
            assert np.allclose(found[name], oracle(*arrays), rtol=1e-11, atol=1e-13), (name, k, a, b, n)


def test_a_reduction_to_one_number_goes_through_short_rows_as_one() -> None:
    g = gx.Graph("whole", float_dtype="float64")
    x, y = g.input("x", ("n", "k")), g.input("y", ("n", "k"))
    builds = {
        "all": (gx.all(x > -1.9), lambda x, y: np.all(x > -1.9)),
        "any": (gx.any(x * y > 3.9), lambda x, y: np.any(x * y > 3.9)),
        "max": (gx.max(x - y), lambda x, y: np.max(x - y)),
        "min": (gx.min(x[:, ::-1] + y), lambda x, y: np.min(x[:, ::-1] + y)),
        "count": (gx.count_nonzero(x > y), lambda x, y: np.count_nonzero(x > y)),
        "part": (gx.max(x[1:, :2]), lambda x, y: np.max(x[1:, :2])),
        "turned": (gx.max(x.T - y.T * 0.5), lambda x, y: np.max(x.T - y.T * 0.5)),
    }
    exes = {name: gx.compile([x, y], out, unused="ignore", threads=2) for name, (out, _) in builds.items()}
    for name in ("all", "any", "max", "count"):
        assert "in range(lo*n1, hi*n1):" in exes[name].source, name
    rng = np.random.default_rng(0)
    for n, k in ((2, 2), (3, 5), (70, 4), (5, 64), (3, 1000), (40_000, 3)):
        a, b = rng.uniform(-2, 2, (n, k)), rng.uniform(-2, 2, (n, k))
        a[n // 2, k // 2] = np.nan if n == 70 else 2.0
        for name, (_, oracle) in builds.items():
            np.testing.assert_array_equal(exes[name](a, b), oracle(a, b), err_msg=f"{name} of {n} x {k}")
