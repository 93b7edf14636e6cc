"""Sums, products and scatters are within 2 log2(n) eps sum|x|, along every axis, in every layout, on any threads."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_export_python import exported

import graphc as gx

DTYPES = ["float32", "float64"]
LENGTHS = [1, 2, 8, 33, 65, 129, 513, 1025, 5000]
LONG = [100_000, 1_000_000, 10_000_000]
LENGTH = pytest.mark.parametrize("n", [*LENGTHS, *(pytest.param(n, marks=pytest.mark.slow) for n in LONG)])
AXES = [c for k in (1, 2, 3) for c in itertools.combinations(range(3), k)]
EXACT = np.longdouble

FILLS: dict[str, Callable[[Any, Any], Any]] = {
    "tenth": lambda rng, shape: np.full(shape, 0.1),
    "third": lambda rng, shape: np.full(shape, 1 / 3),
    "thousand": lambda rng, shape: rng.normal(1000, 1, shape),
    "signs": lambda rng, shape: rng.normal(0, 1, shape),
}


def within(found: Any, terms: Any, axes: tuple[int, ...], times: float = 1) -> None:
    """``found`` is the sum of ``terms``, up to so many ``times`` the bound; the right sum is pairwise in 64 bits."""
    kept = [a for a in range(terms.ndim) if a not in axes]
    flat = np.ascontiguousarray(terms.astype(EXACT).transpose(*kept, *axes))
    flat = flat.reshape(*[terms.shape[a] for a in kept], -1)
    bound = 2 * math.log2(max(2, flat.shape[-1])) * np.finfo(found.dtype).eps * np.abs(flat).sum(-1)
    wrong = np.abs(found.astype(EXACT) - flat.sum(-1)) / bound
    assert (wrong <= times).all(), f"{float(wrong.max()):.2f} times the bound for {flat.shape[-1]} terms"


def filled(fill: str, shape: tuple[int, ...], dtype: str) -> Any:
    return FILLS[fill](np.random.default_rng(0), shape).astype(dtype)


LAYOUTS: dict[str, tuple[Callable[[Any], Any], Callable[[Any], Any]]] = {
    "plain": (lambda t: t, lambda x: x),
    "fused": (lambda t: t * 2.0, lambda x: x * 2),
    "turned": (lambda t: gx.permute_dims(t, (2, 0, 1)), lambda x: x.transpose(2, 0, 1)),
    "flipped": (lambda t: gx.flip(t), lambda x: x[::-1, ::-1, ::-1]),
}
_held: dict[Any, Any] = {}


def once(key: Any, make: Callable[[], Any]) -> Any:
    """An executable, compiled once for all lengths."""
    if key not in _held:
        _held[key] = make()
    return _held[key]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("where", range(3))
@LENGTH
def test_sums_along_every_axis(n: int, where: int, layout: str, dtype: str) -> None:
    build, same = LAYOUTS[layout]
    shape = tuple(n if k == where else s for k, s in enumerate((2, 3, 1) if n > 1_000_000 else (2, 3, 5)))

    def make() -> list[Any]:
        g = gx.Graph("sums", float_dtype=dtype)
        x = g.input("x", ("a", "b", "c"), dtype)
        sums = [gx.sum(build(x), a) for a in AXES]
        return [gx.compile([x], sums, threads=t) for t in (1, 2, 4)] + [gx.compile([x], sums, backend="numpy")]

    one, two, four, numpy = once(("axes", layout, dtype), make)
    for fill in FILLS:
        x = filled(fill, shape, dtype)
        found = one(x)
        for axes, got, other in zip(AXES, found, numpy(x), strict=True):
            within(got, same(x), axes)
            within(np.asarray(other), same(x), axes)
        for exe in (two, four):
            for got, other in zip(found, exe(x), strict=True):
                assert np.asarray(got).tobytes() == np.asarray(other).tobytes()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(1000, 3), (3, 1000), (700, 8), (300, 20), (65, 129), (2, 5000), (200, 3, 5)])
def test_known_sizes(shape: tuple[int, ...], dtype: str) -> None:
    g = gx.Graph("known", float_dtype=dtype)
    x = g.input("x", shape, dtype)
    axes = [c for k in range(1, len(shape) + 1) for c in itertools.combinations(range(len(shape)), k)]
    exe = gx.compile([x], [gx.sum(t, a) for a in axes for t in (x, x * 2.0)])
    for fill in FILLS:
        a = filled(fill, shape, dtype)
        for (over, scale), got in zip(itertools.product(axes, (1, 2)), exe(a), strict=True):
            within(got, a * scale, over)


@pytest.mark.parametrize("shape", [("n", 8), ("n", "d")])
@pytest.mark.parametrize("axis", [0, 1])
def test_deviations_of_numbers_far_from_zero(shape: Any, axis: int) -> None:
    g = gx.Graph("deviations")
    x = g.input("x", shape)
    exe = gx.compile([x], [gx.mean(x, axis), gx.var(x, axis), gx.std(x, axis), gx.norm(x, axis=axis)])
    a = np.random.default_rng(0).normal(1000, 1, (200_000, 8)).astype("float32")
    wide = a.astype("float64")
    right = (wide.mean(axis), wide.var(axis), wide.std(axis), np.linalg.norm(wide, axis=axis))
    for got, wanted in zip(exe(a), right, strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-5)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("blas", ["tiles", "openblas"])
@pytest.mark.parametrize("rows, columns", [(1, 1), (1, 7), (5, 1), (3, 4), (20, 30)])
@LENGTH
def test_products(n: int, rows: int, columns: int, blas: str, dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if n > 1_000_000 and rows * columns > 20:
        pytest.skip("too large")
    monkeypatch.setenv("GRAPHC_BLAS", blas)

    def make() -> Any:
        g = gx.Graph("product", float_dtype=dtype)
        a, b = g.input("a", (rows, "k"), dtype), g.input("b", ("k", columns), dtype)
        return gx.compile([a, b], a @ b)

    exe = once(("product", rows, columns, blas, dtype), make)
    for fill in FILLS:
        a, b = filled(fill, (rows, n), dtype), filled(fill, (n, columns), dtype)
        own = 1 if blas == "tiles" else 8  # a library adds up hundreds of products one after the other
        within(exe(a, b)[-1, -1:], (a[-1].astype(EXACT) * b[:, -1])[None], (1,), own)


@pytest.mark.parametrize("dtype", DTYPES)
@LENGTH
def test_gradients_over_a_batch(n: int, dtype: str) -> None:
    """Of weights and biases, in two and three axes, and sums of products over a batch that does not lie in one piece."""

    def make() -> list[Any]:
        out = []
        for axes in (("n",), ("n", "t")):
            g = gx.Graph("layer", float_dtype=dtype)
            x, u = g.input("x", (*axes, 6), dtype), g.input("u", (*axes, 20), dtype)
            w, b = g.input("w", (6, 20), dtype), g.input("b", (20,), dtype)
            out.append(gx.compile([x, w, b, u], gx.grad(gx.sum((x @ w + b) * u), [w, b]), unused="ignore"))
        g = gx.Graph("batch", float_dtype=dtype)
        x, u = g.input("x", ("n", "t", 9), dtype), g.input("u", ("t", "n", 11), dtype)
        product = gx.permute_dims(x, (0, 2, 1)) @ gx.permute_dims(u, (1, 0, 2))
        return [*out, gx.compile([x, u], gx.sum(product, 0))]

    two, three, batch = once(("gradients", dtype), make)
    w, b = np.ones((6, 20), dtype), np.ones(20, dtype)
    for fill, t in itertools.product(FILLS, (1, 3) if n <= 100_000 else (1,)):
        x, u = filled(fill, (n, t, 6), dtype), filled(fill, (n, t, 20), dtype)
        terms = (x[..., 2].astype(EXACT) * u[..., 3]).reshape(1, -1)
        for exe, shape in ((two, (n,)), (three, (n, t))):
            if shape == (n,) and t > 1:
                continue
            by_weight, by_bias = exe(x.reshape(*shape, 6), w, b, u.reshape(*shape, 20))
            within(by_weight[2, 3:4], terms, (1,))
            within(by_bias, u, (0, 1))
        x, u = filled(fill, (n, t, 9), dtype), filled(fill, (t, n, 11), dtype)
        within(batch(x, u)[2, 3:4], (x[..., 2].astype(EXACT) * u[..., 3].T).reshape(1, -1), (1,))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n, d", [(1, 10), (3, 1000), (2, 100_000), (1000, 50), (100_000, 9), (10_000, 200)])
def test_a_matrix_with_a_vector_and_back(n: int, d: int, dtype: str) -> None:
    g = gx.Graph("matrix and vector", float_dtype=dtype)
    x, w, y = g.input("x", ("n", "d"), dtype), g.input("w", ("d",), dtype), g.input("y", ("n",), dtype)
    exe = gx.compile([x, w, y], [x @ w, gx.grad(gx.sum((x @ w) * y), w)])
    for fill in FILLS:
        a, v, r = (filled(fill, s, dtype) for s in ((n, d), (d,), (n,)))
        forward, back = exe(a, v, r)
        within(forward[:1], a[:1].astype(EXACT) * v, (1,))
        within(back[:1], (a[:, :1].astype(EXACT) * r[:, None]), (0,))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("width", [1, 5, 16])
@LENGTH
def test_rows_that_meet_at_one_place(n: int, width: int, dtype: str) -> None:
    if n * width > 20_000_000:
        pytest.skip("too large")

    def make() -> list[Any]:
        g = gx.Graph("embedding", float_dtype=dtype)
        t, i, u = g.input("t", ("T", width), dtype), g.input("i", ("n",), "int64"), g.input("u", ("n", width), dtype)
        slope = gx.grad(gx.sum(gx.take(t, i, 0) * u), t)
        return [gx.compile([t, i, u], slope, unused="ignore", backend=b) for b in ("numba", "numpy")]

    rng = np.random.default_rng(1)
    for fill, (places, index) in itertools.product(
        FILLS, ((4, np.full(n, 2)), (3, rng.integers(0, 3, n)), (1000, rng.integers(0, 5, n) * 7))
    ):
        u = filled(fill, (n, width), dtype)
        for exe in once(("scatter", width, dtype), make):
            found = exe(np.zeros((places, width), dtype), index, u)
            for place in set(index[:50].tolist()):
                within(found[place], u[index == place], (0,))
            assert not found[np.setdiff1d(np.arange(places), index)].any()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("axes", [(0, 1), (0, 2), (1, 2), (0, 1, 2)])
def test_rows_that_meet_at_points(axes: tuple[int, ...], dtype: str) -> None:
    """Several index arrays, on neighbouring axes and on axes that lie apart."""
    g = gx.Graph("points", float_dtype=dtype)
    t = g.input("t", (3, 4, 5), dtype)
    indices = [g.input(f"i{a}", ("n",), "int64") for a in axes]
    picked = t[tuple(indices[axes.index(a)] if a in axes else slice(None) for a in range(3))]
    u = g.input("u", picked.shape, dtype)
    slope = gx.grad(gx.sum(picked * u), t)
    both = [gx.compile([t, *indices, u], slope, unused="ignore", backend=b) for b in ("numba", "numpy")]
    rng = np.random.default_rng(2)
    for fill, n in itertools.product(FILLS, (10, 1000, 5000)):
        found = [rng.integers(0, 2, n) for _ in axes]
        updates = filled(fill, (n, *(s for a, s in enumerate((3, 4, 5)) if a not in axes)), dtype)
        if axes[0] > 0:
            updates = np.moveaxis(updates, 0, axes[0])
        for exe in both:
            got = np.moveaxis(np.asarray(exe(np.zeros((3, 4, 5), dtype), *found, updates)), axes, range(len(axes)))
            rows = np.moveaxis(updates, axes[0], 0)
            for place in itertools.product((0, 1), repeat=len(axes)):
                here = np.all([i == p for i, p in zip(found, place, strict=True)], axis=0)
                if not here.any():
                    continue
                within(np.asarray(got[place])[None], rows[here][None], (1,))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n, d", [(1, 1), (5, 3), (1000, 3), (3, 1000), (100_000, 4), (70, 70)])
def test_sizes_that_turn_out_to_be_one(n: int, d: int, dtype: str) -> None:
    def make() -> Any:
        g = gx.Graph("broadcast", float_dtype=dtype)
        x, b = g.input("x", ("n", "d"), dtype), g.input("b", ("p", "q"), dtype)
        return gx.compile([x, b], gx.grad(gx.sum((x + b) * x), b), unused="ignore")

    exe = once(("broadcast", dtype), make)
    for fill, shape in itertools.product(FILLS, ((1, 1), (n, 1), (1, d), (n, d))):
        x = filled(fill, (n, d), dtype)
        axes = tuple(a for a in (0, 1) if shape[a] == 1 and x.shape[a] != 1)
        within(exe(x, np.zeros(shape, dtype)).squeeze(axes), x[..., None], (*axes, 2))


@pytest.mark.parametrize("dtype", DTYPES)
def test_infinities_and_nan_stay_what_they_are(dtype: str) -> None:
    """What a sum carries along is not a number beside them, and must not reach the result."""
    g = gx.Graph("infinities", float_dtype=dtype)
    x = g.input("x", ("n", "d"), dtype)
    exe = gx.compile([x], [gx.sum(x), gx.sum(x, 0), gx.sum(x, 1)])
    for value in (np.inf, -np.inf, np.nan):
        a = np.ones((5000, 3), dtype)
        a[10, 1] = value
        total, columns, rows = exe(a)
        np.testing.assert_array_equal(total, value)
        np.testing.assert_array_equal(columns, [5000, value, 5000])
        np.testing.assert_array_equal(rows[[9, 10]], [3, value])


def test_an_exported_module_has_the_same_bits(tmp_path: Path) -> None:
    g = gx.Graph("exported")
    x, i = g.input("x", ("n", "d")), g.input("i", ("n",), "int64")
    w = g.input("w", ("d", 4))
    loss = gx.sum(gx.take(w, i, 0)) + gx.mean(gx.tanh(x @ w))
    exe = gx.compile([x, i, w], [gx.sum(x, 0), gx.std(x, 1), loss, gx.grad(loss, w)])
    function, _ = exported(exe, tmp_path / "sums_module.py")
    rng = np.random.default_rng(0)
    arrays = [
        rng.normal(1000, 1, (5000, 33)).astype("f"),
        rng.integers(0, 3, 5000),
        rng.normal(size=(33, 4)).astype("f"),
    ]
    for got, wanted in zip(function(*arrays), exe(*arrays), strict=True):
        assert np.asarray(got).tobytes() == np.asarray(wanted).tobytes()


def test_masks_beside_a_sum_do_not_shorten_its_blocks() -> None:
    """Rows of a fixed number that are added up one by one are carried on after 64, whatever is computed beside."""
    g = gx.Graph("masks", float_dtype="float64")
    x, w, y = g.input("x", (1000, 50)), g.input("w", (50,)), g.input("y", (1000,))
    loss = gx.mean(gx.binary_cross_entropy_with_logits(x @ w, y))
    source = gx.compile([x, w, y], [loss, gx.grad(loss, w)], threads=1).source
    assert ", 64):" in source and ", 8):" not in source
