"""Functions of whole rows and matrices: order, running sums, factorisations, transforms; what fails gives NaN."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.linalg

import graphc as gx

RNG = np.random.default_rng(0)


def run(build: Any, *arrays: Any, **options: Any) -> Any:
    """What a function of tensors gives of arrays, compiled for symbolic sizes."""
    g = gx.Graph("routines", float_dtype="float64")
    inputs = [
        g.input(f"x{k}", [f"n{k}_{a}" for a in range(np.ndim(v))], np.asarray(v).dtype) for k, v in enumerate(arrays)
    ]
    out = build(*inputs)
    return gx.compile(inputs, list(out) if isinstance(out, tuple) else out, **options)(*arrays)


# ---- order


@pytest.mark.parametrize("dtype", ["float32", "float64", "int32"])
def test_the_place_of_an_extreme_is_the_first_of_ties_and_of_nan(dtype: str) -> None:
    g = gx.Graph("places")
    x = g.input("x", ("n", "m"), dtype)
    exe = gx.compile(
        [x], [gx.argmax(x, 1), gx.argmin(x, 1, keepdims=True), gx.argmax(x), gx.argmin(x), gx.argmin(x, 0)]
    )
    assert ("first_extreme" in exe.source) == (dtype != "int32")
    rng = np.random.default_rng(0)
    for size in (1, 2, 7, 8, 9, 64, 255, 256, 257, 511, 512, 513, 1000):
        ties, signs = rng.integers(-2, 3, (6, size)), np.where(rng.random((6, size)) < 0.5, -0.0, 0.0)
        every = [ties, signs, np.zeros((6, size)), -np.sort(-ties), rng.integers(-99, 99, (6, size))]
        if dtype[0] == "f":
            special = [np.nan, -np.nan, np.inf, -np.inf]
            every += [rng.choice([*special, 1.0], (6, size)), rng.choice([*special[2:], -0.0], (6, size))]
            every += [np.full((6, size), value) for value in special]
            every.append(np.where(rng.random((6, size)) < 2 / size, np.nan, rng.normal(size=(6, size))))
        for value in every:
            a = value.astype(dtype)
            wanted = [a.argmax(1), a.argmin(1)[:, None], a.argmax(), a.argmin(), a.argmin(0)]
            assert all(np.array_equal(*pair) for pair in zip(exe(a), wanted, strict=True)), (size, a)


@pytest.mark.parametrize("size", [0, 1, 7, 8, 9, 63, 1000])
@pytest.mark.parametrize("dtype", ["float32", "float64", "int32", "uint8", "bool"])
def test_sorting_is_stable_and_puts_nan_last(size: int, dtype: str) -> None:
    x = RNG.integers(0, 5, (3, size)).astype(dtype)
    if dtype[0] == "f":
        x[:, ::4] = np.nan
    for descending in (False, True):
        order = run(lambda t, d=descending: gx.argsort(t, descending=d), x)
        keys = -x.astype("float64") if descending else x
        assert np.array_equal(order, np.argsort(keys, -1, kind="stable"))
        found = run(lambda t, d=descending: gx.sort(t, descending=d), x)
        assert np.array_equal(found, np.take_along_axis(x, order, -1), equal_nan=dtype[0] == "f")


@pytest.mark.parametrize("dtype", ["float32", "float64", "int32", "int64", "uint8"])
def test_rows_of_every_length_are_sorted(dtype: str) -> None:
    """By a network or by bytes, with bits: zeros have their signs in order, and integers go to both ends."""
    g = gx.Graph("rows")
    x = g.input("x", ("r", "n"), dtype)
    outputs = [gx.sort(x), gx.sort(x, descending=True)]
    exe, plain = gx.compile([x], outputs), gx.compile([x], outputs, backend="numpy")
    for size in (2, 15, 16, 17, 24, 40, 100, 129, 316, 1000, 4096, 4104, 20_000):
        if dtype[0] == "f":
            special = [np.nan, np.inf, -np.inf, 0.0, -0.0, 1e-40, -1e-40]
            a = np.where(RNG.random((5, size)) < 0.3, RNG.choice(special, (5, size)), RNG.normal(size=(5, size)))
        else:
            ends = np.iinfo(dtype)
            a = RNG.integers(ends.min, ends.max, (5, size), dtype, endpoint=True)
            a[:, 0], a[:, 1] = ends.max, ends.min
        a[3] = 1 + RNG.integers(0, 99, size) * (2.0**-50 if dtype[0] == "f" else 1)  # high halves are equal
        a[4] = np.where(RNG.random(size) < 0.5, a[3], RNG.integers(0, 99, size))
        a = a.astype(dtype)
        for found, want in zip(exe(a), plain(a), strict=True):
            assert np.array_equal(found, want, equal_nan=dtype[0] == "f"), size
            assert dtype[0] != "f" or np.array_equal(np.signbit(found)[found == found], np.signbit(want)[want == want])
        assert np.array_equal(exe(a)[0], np.sort(a, -1), equal_nan=dtype[0] == "f")


@pytest.mark.parametrize("dtype", ["float32", "float64", "int32", "int64", "uint8", "bool"])
def test_rows_of_every_length_are_put_in_order(dtype: str) -> None:
    """By a network or by bytes: equal elements and both zeros stay in order; numbers that differ in few bits are told apart."""
    g = gx.Graph("places")
    x = g.input("x", ("r", "n"), dtype)
    outputs = [gx.argsort(x), gx.argsort(x, descending=True)]
    exe, plain = gx.compile([x], outputs), gx.compile([x], outputs, backend="numpy")
    for size in (1, 2, 9, 100, 1000, 4104, 20_000):
        if dtype[0] == "f":
            special = RNG.choice([np.nan, -np.nan, np.inf, -np.inf, 0.0, -0.0, 1e-40, -1e-40], (4, size))
            a = np.where(RNG.random((4, size)) < 0.5, special, RNG.normal(size=(4, size)))
            a[2] = 1 + RNG.integers(-9, 9, size) * 2.0**-50
            a[3] = RNG.normal(size=size)
        else:
            low, high = (0, 2) if dtype == "bool" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
            a = RNG.integers(low, high, (4, size), "int64")
            a[2] = RNG.integers(0, 99, size)
            a[3] = a[3] // 2**20 + a[2]
        a = a.astype(dtype)
        for found, want in zip(exe(a), plain(a), strict=True):
            assert np.array_equal(found, want), size


def test_too_many_elements_have_no_order() -> None:
    g = gx.Graph("many")
    x = g.input("x", (2**32 + 1,), "uint8")
    with pytest.raises(gx.ShapeError, match="4294967297"):
        gx.argsort(x)


def test_topk_takes_the_first_of_equal_elements() -> None:
    values, places = run(lambda t: gx.topk(t, 3, 0), np.array([1.0, 3, 2, 3, np.nan]))
    assert values.tolist() == [3, 3, 2] and places.tolist() == [1, 3, 2]
    g = gx.Graph("few")
    x = g.input("x", ("n",))
    with pytest.raises(gx.InputIndexError):
        gx.compile([x], list(gx.topk(x, 3)))(np.ones(2, np.float32))
    with pytest.raises(gx.ShapeError, match="from 0 to 4"):
        gx.topk(g.input("four", (4,)), 5)


def test_a_sort_carries_the_gradient_back_by_its_order() -> None:
    """The permutation of equal elements is the stable one."""
    g = gx.Graph("order", float_dtype="float64")
    x, w = g.input("x", ("n",)), g.input("w", ("n",))
    slope = gx.grad(gx.sum(gx.sort(x) * w), x)
    assert gx.compile([x, w], slope)(np.array([2.0, 1, 2, 0]), np.array([1.0, 2, 3, 4])).tolist() == [3, 2, 4, 1]


@pytest.mark.parametrize("q", [0.3, [0.0, 0.25, 1.0]])
def test_quantiles_are_numpys(q: Any) -> None:
    x = RNG.normal(size=(4, 5, 6))
    for axis in (None, 1, (0, 2)):
        want = np.quantile(x, q, axis=axis, keepdims=True)
        assert np.allclose(run(lambda t, a=axis: gx.quantile(t, q, a, keepdims=True), x), want, rtol=1e-14)
        assert np.allclose(run(lambda t, a=axis: gx.median(t, a), x), np.median(x, axis=axis), rtol=1e-14)
    assert np.isnan(run(lambda t: gx.median(t), np.array([1.0, np.nan, 2.0])))


# ---- running sums and products


def test_running_sums_do_not_drift() -> None:
    x = np.full(1_000_000, 0.1, np.float32)
    exact = np.cumsum(x.astype(np.float64))
    assert np.abs(run(gx.cumsum, x) / exact - 1).max() < 2e-7
    assert np.abs(run(lambda t: gx.cumsum(t, reverse=True), x)[::-1] / exact - 1).max() < 2e-7


@pytest.mark.parametrize("dtype", ["int32", "uint8", "bool"])
def test_running_sums_of_integers_are_numpys(dtype: str) -> None:
    x = RNG.integers(0, 2, (3, 9)).astype(dtype)
    for ours, numpys in ((gx.cumsum, np.cumsum), (gx.cumprod, np.cumprod)):
        found = run(lambda t, f=ours: f(t, 0), x)
        assert found.dtype == np.int64 and np.array_equal(found, numpys(x, 0))


@pytest.mark.parametrize("zeros", [0, 1, 2])
def test_products_have_right_derivatives_beside_zeros(zeros: int) -> None:
    """Running products and whole ones, short and long, of first and second order, beside complex steps."""
    for count in (6, 40):
        x = RNG.uniform(0.5, 1.5, count)
        x[2 : 2 + zeros] = 0
        w = RNG.normal(size=count)
        g = gx.Graph("products", float_dtype="float64")
        t = g.input("t", ("n",))
        y = gx.sum(gx.cumprod(t) * w) + gx.prod(t) + gx.sum(gx.cumprod(t, reverse=True, exclusive=True) * w)
        first = gx.grad(y, t)
        second = gx.grad(gx.sum(first * w), t)
        one, two = gx.compile([t], [first, second])(x)

        def value(v: Any, w: Any = w) -> Any:
            behind = np.append(np.cumprod(v[::-1])[::-1][1:], 1)
            return (np.cumprod(v) * w).sum() + v.prod() + (behind * w).sum()

        step = 1e-30
        slopes = [value(x + 1j * step * np.eye(count)[k]).imag / step for k in range(count)]
        assert np.allclose(one, slopes, rtol=1e-11, atol=1e-13)
        h = 1e-5
        moved = [gx.compile([t], first)(x + s * h * w) for s in (1, -1)]
        assert np.allclose(two, (moved[0] - moved[1]) / (2 * h), rtol=1e-6, atol=1e-7)


def test_logcumsumexp_of_rows_with_infinities() -> None:
    x = np.array([[-np.inf, 0.0, 1000.0], [-np.inf, -np.inf, -np.inf]])
    assert np.array_equal(run(gx.logcumsumexp, x), np.logaddexp.accumulate(x, -1))


# ---- matrices


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 13, 40])
def test_factors_multiply_to_the_matrix(n: int) -> None:
    a = RNG.normal(size=(2, n, n))
    s = a + a.transpose(0, 2, 1)
    w, v = run(gx.eigh, s)
    assert np.allclose(v * w[:, None] @ v.transpose(0, 2, 1), s, atol=1e-12) and (np.diff(w) >= 0).all()
    for m in (n, n + 3, max(1, n - 2)):
        b = RNG.normal(size=(m, n))
        q, r = run(gx.qr, b)
        assert np.allclose(q @ r, b, atol=1e-13) and np.allclose(q.T @ q, np.eye(min(m, n)), atol=1e-13)
        assert np.array_equal(r, np.triu(r))
        u, d, vh = run(gx.svd, b)
        assert np.allclose(u * d @ vh, b, atol=1e-12) and np.allclose(d, np.linalg.svd(b)[1], atol=1e-12)
        assert np.allclose(run(gx.pinv, b), np.linalg.pinv(b), atol=1e-9)
    definite = a @ a.transpose(0, 2, 1) + np.eye(n)
    low = run(gx.cholesky, definite)
    assert np.allclose(low @ low.transpose(0, 2, 1), definite, atol=1e-12) and np.array_equal(low, np.tril(low))
    assert np.allclose(run(gx.expm, a[0]), scipy.linalg.expm(a[0]), rtol=1e-9)


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("size", [1, 4, 5, 64, 131])
def test_gradients_of_the_factor(size: int, known: bool) -> None:
    """Unrolled, row by row and in blocks: as the formula of the reference, and the same bits on two threads."""
    rng = np.random.default_rng(size)
    a = rng.normal(size=(2, size, size))
    definite, weights = a @ a.transpose(0, 2, 1) / size + np.eye(size), rng.normal(size=(2, size, size))
    g = gx.Graph("factor", float_dtype="float64")
    x, w = (g.input(name, (2, size, size) if known else (2, "n", "n")) for name in "xw")
    slope = gx.grad(gx.sum(gx.cholesky(x) * w), x)
    found, same = (gx.compile([x, w], slope, threads=threads)(definite, weights) for threads in (1, 2))
    wanted = gx.compile([x, w], slope, backend="numpy")(definite, weights)
    np.testing.assert_allclose(found, wanted, atol=1e-13 * np.abs(wanted).max())
    assert np.array_equal(found, same)


def test_what_cannot_be_computed_is_nan_and_the_rest_of_the_stack_is_right() -> None:
    good = np.array([[4.0, 2], [2, 5]])
    stack = np.stack([good, [[1.0, 2], [2, 4]], [[0.0, 0], [0, 0]], [[np.nan, 0], [0, 1]]])
    for function in (gx.cholesky, gx.inv):
        found = run(function, np.stack([good, -good if function is gx.cholesky else np.zeros((2, 2))]))
        assert np.isfinite(found[0]).all() and np.isnan(found[1]).all()
    sign, log = run(gx.slogdet, stack)
    assert sign[:3].tolist() == [1, 0, 0] and log[1:3].tolist() == [-np.inf] * 2 and np.isnan([sign[3], log[3]]).all()
    w, v = run(gx.eigh, stack)
    assert np.isfinite(w[:3]).all() and np.isnan(w[3]).all() and np.isnan(v[3]).all()
    triangle = run(lambda a, b: gx.solve_triangular(a, b), np.array([[1.0, 1], [0, 0]]), np.ones(2))
    assert np.isnan(triangle).all()


@pytest.mark.parametrize("size", [16, 17, 131, 260])
def test_factors_and_triangular_systems_in_panels(size: int) -> None:
    """Beyond 16 rows panels of 128 columns, four rows at a time, beyond 64 blocks of rows; what is left over is right.

    Of symbolic sizes all go in blocks, of known ones what is small does not.
    """
    rng = np.random.default_rng(size)
    a = rng.normal(size=(size, size))
    definite = a @ a.T / size + np.eye(size)
    low, both = np.linalg.cholesky(definite), rng.normal(size=(size, 133))
    np.testing.assert_allclose(run(gx.cholesky, definite), low, atol=1e-13)
    definite[-1, -1] = -1
    assert np.isnan(run(gx.cholesky, definite)).all()
    for lower in (True, False):
        triangle = low if lower else low.T
        found = run(
            lambda t, b, lower=lower: tuple(
                gx.solve_triangular(t, b, lower=lower, transposed=turned, unit_diagonal=unit)
                for turned in (False, True)
                for unit in (False, True)
            ),
            np.where(np.eye(size, dtype=bool), triangle, triangle / 4),
            both,
        )
        part = np.where(np.eye(size, dtype=bool), triangle, triangle / 4)
        wanted = [
            scipy.linalg.solve_triangular(part, both, lower=lower, trans=int(turned), unit_diagonal=unit)
            for turned in (False, True)
            for unit in (False, True)
        ]
        for one, other in zip(found, wanted, strict=True):
            np.testing.assert_allclose(one, other, atol=1e-11 * np.abs(other).max())


def test_matrices_of_lower_rank_have_orthonormal_factors() -> None:
    b = np.outer([1.0, 2, 3, 0], [1.0, -1, 2])
    u, d, vh = run(gx.svd, b)
    assert np.allclose(u * d @ vh, b) and np.allclose(u.T @ u, np.eye(3)) and np.allclose(vh @ vh.T, np.eye(3))
    assert (d[1:] < 1e-14).all()
    q, r = run(gx.qr, np.zeros((3, 2)))
    assert np.allclose(q.T @ q, np.eye(2)) and not r.any()
    assert np.allclose(run(gx.lstsq, b, np.ones(4)), np.linalg.lstsq(b, np.ones(4))[0])


@pytest.mark.parametrize("shape", [(4, 4), (5, 3), (3, 5)])
def test_derivatives_of_factors(shape: tuple[int, int]) -> None:
    """All results at once, weighted; signs of vectors leave their squares alone."""
    a = RNG.normal(size=shape)
    square = shape[0] == shape[1]
    g = gx.Graph("derivatives", float_dtype="float64")
    x = g.input("x", ("m", "n") if not square else ("n", "n"))
    q, r = gx.qr(x)
    u, s, vh = gx.svd(x)
    parts = [q * q, r * r, u * u, s, vh * vh, gx.pinv(x)]
    if square:
        w, v = gx.eigh(x)
        parts += [w, v * v, gx.inv(x), gx.expm(x), gx.matrix_power(x, -2), gx.det(x), gx.slogdet(x)[1]]
        parts.append(gx.cholesky(x @ gx.matrix_transpose(x) + gx.eye(4, dtype="float64", graph=g)))
    y = sum((gx.sum(gx.sin(p + k)) for k, p in enumerate(parts)), g.constant(0.0))
    value, slope = gx.compile([x], y), gx.compile([x], gx.grad(y, x))
    way, h = RNG.normal(size=shape), 1e-6
    moved = (value(a + h * way) - value(a - h * way)) / (2 * h)
    assert np.isclose((slope(a) * way).sum(), moved, rtol=1e-6)


def test_sizes_that_do_not_fit_are_refused() -> None:
    g = gx.Graph("sizes")
    a, b = g.input("a", (3, 4)), g.input("b", (5, 2))
    with pytest.raises(gx.ShapeError, match="square"):
        gx.cholesky(a)
    with pytest.raises(gx.ShapeError, match="sizes differ"):
        gx.solve(g.input("c", (3, 3)), b)
    n = g.input("n", ("n", "m"))
    with pytest.raises(gx.InputShapeError):
        gx.compile([n], gx.inv(n))(np.ones((2, 3), np.float32))


# ---- transforms


@pytest.mark.parametrize("n", [1, 2, 3, 4, 6, 7, 12, 30, 64, 97, 1000])
def test_transforms_are_numpys(n: int) -> None:
    x, z = RNG.normal(size=(2, 3, n))
    want = np.fft.fft(x + 1j * z)
    re, im = run(gx.fft.fft, x, z)
    assert np.allclose(re + 1j * im, want, atol=1e-12 * n)
    back = run(gx.fft.ifft, re, im)
    assert np.allclose(back, [x, z], atol=1e-12)
    half = run(gx.fft.rfft, x)
    assert np.allclose(half[0] + 1j * half[1], np.fft.rfft(x), atol=1e-12 * n)
    if n > 1:
        assert np.allclose(run(lambda a, b: gx.fft.irfft(a, b, n), *half), x, atol=1e-12)
    both = run(gx.fft.fft2, x, z)
    assert np.allclose(both[0] + 1j * both[1], np.fft.fft2(x + 1j * z), atol=1e-11 * n)


# ---- threads, exports


def test_routines_give_the_same_bits_everywhere(tmp_path: Path) -> None:
    g = gx.Graph("everywhere")
    x = g.input("x", ("batch", "n"))
    a = gx.reshape(x[:, :16], (x.shape[0], 4, 4))
    outputs = [gx.sort(x), gx.cumsum(x), gx.svd(a)[1], gx.qr(a)[1], *gx.fft.fft(x)]
    outputs.append(gx.grad(sum((gx.sum(y) for y in outputs), g.constant(0.0)), x))
    data = RNG.normal(size=(500, 64)).astype(np.float32)
    first = gx.compile([x], outputs, threads=1)
    want = first(data)
    for threads in (2, 4):
        found = gx.compile([x], outputs, threads=threads)(data)
        assert all(np.array_equal(p, q) for p, q in zip(found, want, strict=True))
    first.export_python(tmp_path / "exported.py")
    spec = importlib.util.spec_from_file_location("exported", tmp_path / "exported.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    found = module.everywhere(data)
    assert all(np.array_equal(p, q) for p, q in zip(found, want, strict=True))
    gx.save(tmp_path / "kept.gx", f=first)
    assert all(np.array_equal(p, q) for p, q in zip(gx.load(tmp_path / "kept.gx")["f"](data), want, strict=True))


@pytest.mark.parametrize("backend", ["numba", "numpy"])
@pytest.mark.parametrize("n", [1, 2, 3, 5])
def test_the_derivatives_of_a_determinant_at_singular_matrices(n: int, backend: str) -> None:
    """The first are cofactors, whatever the rank; the second, differences of these."""
    rng = np.random.default_rng(n)
    g = gx.Graph("det", float_dtype="float64")
    x, weights = g.input("x", ("b", n, n)), rng.normal(size=(n, n))
    slope = gx.grad(gx.sum(gx.det(x)), x)
    exe = gx.compile([x], [slope, gx.grad(gx.sum(slope * weights), x)], backend=backend)
    a = rng.normal(size=(6, n, n))
    a[1] = a[1] @ np.diag([*np.ones(n - 1), 0.0])
    a[2], a[3] = 0.0, np.eye(n)
    a[4] = a[4] @ np.diag([*np.ones(max(n - 2, 0)), *np.zeros(min(n, 2))])
    a[5, -1] = a[5, 0]

    def cofactors(m: np.ndarray) -> np.ndarray:
        minors = [[np.delete(np.delete(m, i, 0), j, 1) for j in range(n)] for i in range(n)]
        signs = (-1.0) ** np.add.outer(np.arange(n), np.arange(n))
        return signs * np.array([[np.linalg.det(minor) if n > 1 else 1.0 for minor in row] for row in minors])

    found, bend = exe(a)
    np.testing.assert_allclose(found, [cofactors(m) for m in a], atol=1e-13)
    unit = np.eye(n * n).reshape(n, n, n, n) * 1e-5
    for m, second in zip(a, bend, strict=True):
        up, down = (
            [[np.sum(cofactors(m + s * unit[i, j]) * weights) for j in range(n)] for i in range(n)] for s in (1, -1)
        )
        np.testing.assert_allclose(second, (np.array(up) - np.array(down)) / 2e-5, atol=1e-8)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_singular_values_of_matrices_whose_rows_depend_on_each_other(dtype: str) -> None:
    """A column of rounding errors alone does not keep rotations from coming to an end."""
    g = gx.Graph("svd", float_dtype=dtype)
    x = g.input("x", ("b", 5, 5))
    exe = gx.compile([x], [*gx.svd(x), gx.pinv(x)])
    a = np.random.default_rng(0).normal(size=(200, 5, 5))
    a[::2, -1] = a[::2, 0]
    a[::5, :, 0] = a[::5, :, 1] + a[::5, :, -1]
    a = a.astype(dtype)
    u, s, v, p = exe(a)
    error = 1e-12 if dtype == "float64" else 1e-4
    np.testing.assert_allclose(s, np.linalg.svd(a.astype("float64"))[1], atol=error)
    np.testing.assert_allclose(np.swapaxes(u, 1, 2) @ u, np.broadcast_to(np.eye(5), u.shape), atol=error)
    np.testing.assert_allclose(u * s[:, None] @ v, a, atol=error)
    np.testing.assert_allclose(a @ p @ a, a, atol=10 * error)
