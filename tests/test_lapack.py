"""Factorisations of large matrices, which LAPACK computes: beside NumPy, by every way that a kernel takes."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from c_library import CLibrary, compiler

import graphc as gx
from graphc.codegen import lapack

SHAPES = [(41, 40), (40, 41), (64, 65), (66, 66), (500, 9), (9, 500), (200, 150)]


def factors(a: gx.Tensor) -> list[gx.Tensor]:
    """All of a matrix, and the eigenvalues and vectors of its square where it is square."""
    return [*gx.qr(a), *gx.svd(a), gx.pinv(a), *(gx.eigh(a + a.T) if a.shape[-1] == a.shape[-2] else ())]


def compiled(dtype: str, shape: tuple[Any, ...], **options: Any) -> gx.Executable:
    g = gx.Graph("large", float_dtype=dtype)
    a = g.input("a", shape)
    return gx.compile([a], factors(a), **options)


def matrix(shape: tuple[int, ...], dtype: str = "float64") -> Any:
    return np.random.default_rng(0).normal(size=shape).astype(dtype)


def assert_factors(x: Any, found: list[Any]) -> None:
    q, r, u, s, vh, inverse, *pairs = (np.asarray(v, "float64") for v in found)
    roundings = 20 * max(x.shape) * np.finfo(x.dtype).eps
    x, k = x.astype("float64"), min(x.shape)
    near = {"rtol": 0, "atol": roundings * np.abs(np.linalg.svd(x)[1]).max()}
    np.testing.assert_allclose(q @ r, x, **near)
    np.testing.assert_allclose((u * s) @ vh, x, **near)
    np.testing.assert_allclose(s, np.linalg.svd(x)[1], **near)
    for columns in (q, u, vh.T):
        np.testing.assert_allclose(columns.T @ columns, np.eye(k), rtol=0, atol=roundings)
    assert (np.tril(r, -1) == 0).all()
    assert np.abs(inverse - np.linalg.pinv(x)).max() <= roundings * s[0] / s[-1] ** 2
    if pairs:
        values, vectors = pairs
        np.testing.assert_allclose(vectors * values @ vectors.T, x + x.T, **near)
        assert (np.diff(values) >= 0).all()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", SHAPES)
def test_factors_multiply_to_the_matrix(shape: tuple[int, int], dtype: str) -> None:
    x = matrix(shape, dtype)
    assert_factors(x, compiled(dtype, shape)(x))


def test_sizes_that_are_not_known_choose_when_called() -> None:
    exe = compiled("float64", ("m", "n"))
    for shape in [(0, 3), (3, 0), (1, 1), (5, 3), (20, 20), (20, 21), (40, 40), (41, 40), (300, 7)]:
        x = matrix(shape)
        if x.size:
            assert_factors(x, exe(x))
        for found, wanted in zip(exe(x), compiled("float64", shape)(x), strict=False):  # eigh of square ones
            np.testing.assert_array_equal(found, wanted)


def test_small_matrices_of_known_size_do_without() -> None:
    assert "_of_any" not in compiled("float64", (20, 20)).source
    assert "_of_any" in compiled("float64", (20, 21)).source


def test_both_ways_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    x = matrix((70, 70))
    exe = compiled("float64", (70, 70))
    by_lapack = exe(x)
    held = list(lapack._table)
    try:
        lapack._table[:] = [0] * len(held)
        own = exe(x)
    finally:
        lapack._table[:] = held
    assert_factors(x, own)
    for found, wanted in zip(own, by_lapack, strict=True):
        signs = np.sign((found * wanted).sum(0 if found.ndim > 1 else None))  # of columns; those of vh are rows
        if found.shape != (70, 70) or np.allclose(found, wanted, atol=1e-9):
            np.testing.assert_allclose(found, wanted, atol=1e-9)
        else:
            rows = np.sign((found * wanted).sum(1))[:, None]
            assert np.allclose(found * signs, wanted, atol=1e-9) or np.allclose(found * rows, wanted, atol=1e-9)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_not_finite_gives_nan(bad: float) -> None:
    x = matrix((2, 70, 70))
    x[0, 3, 5] = bad
    g = gx.Graph("stack", float_dtype="float64")
    a = g.input("a", x.shape)
    found = gx.compile([a], [*gx.eigh(a), *gx.svd(a), gx.pinv(a)])(x)
    for v in found:
        assert np.isnan(v[0]).all() and np.isfinite(v[1]).all()


def test_a_stack_has_the_bits_of_each_on_any_number_of_threads() -> None:
    x = matrix((6, 90, 60))
    g = gx.Graph("stack", float_dtype="float64")
    a = g.input("a", ("b", "m", "n"))
    outputs = [*gx.qr(a), *gx.svd(a), gx.pinv(a)]
    one, two = (gx.compile([a], outputs, threads=k)(x) for k in (1, 2))
    for first, second in zip(one, two, strict=True):
        assert first.tobytes() == second.tobytes()
    for k in range(len(x)):
        for whole, single in zip(one, gx.compile([a], outputs)(x[k : k + 1]), strict=True):
            assert whole[k].tobytes() == single[0].tobytes()


def test_the_library_gets_its_threads_back() -> None:
    threadpoolctl = pytest.importorskip("threadpoolctl")
    exe = compiled("float64", (80, 80))
    exe(matrix((80, 80)))

    def threads() -> list[Any]:
        return [pool["num_threads"] for pool in threadpoolctl.threadpool_info() if pool["internal_api"] == "openblas"]

    with threadpoolctl.threadpool_limits(2):
        before = threads()
        exe(matrix((80, 80)))
        assert threads() == before and set(before) == {2}


@pytest.mark.parametrize("shape", [(60, 50), (50, 60), (70, 70)])
def test_gradients_are_the_interpreters(shape: tuple[int, int]) -> None:
    g = gx.Graph("gradients", float_dtype="float64")
    a = g.input("a", shape)
    weights = np.random.default_rng(1).normal(size=10)
    loss = sum((gx.sum(gx.sin(out)) * w for out, w in zip(factors(a), weights, strict=False)), start=gx.sum(a))
    slope = gx.grad(loss, a)
    x = matrix(shape)
    found, wanted = gx.compile([a], slope)(x), gx.compile([a], slope, backend="numpy")(x)
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-9 * np.abs(wanted).max())


ELSEWHERE = """
import sys
import numpy as np
import graphc as gx

g = gx.Graph("large", float_dtype="float64")
a = g.input("a", ("m", "n"))
exe = gx.compile([a], [*gx.qr(a), *gx.svd(a), gx.pinv(a)])
found = exe(np.load(sys.argv[1]))
np.savez(sys.argv[2], *found)
print(exe._bounds[-1].compiled.cache_hit, "scipy.linalg" in sys.modules)
"""


def test_a_kernel_is_kept_for_other_processes(tmp_path: Path) -> None:
    x = matrix((60, 50))
    np.save(tmp_path / "x.npy", x)
    environment = {**os.environ, "GRAPHC_CACHE_DIR": str(tmp_path / "cache")}
    told = []
    for k in range(2):
        command = [sys.executable, "-c", ELSEWHERE, str(tmp_path / "x.npy"), str(tmp_path / f"{k}.npz")]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        told.append(done.stdout.split())
    plain = os.environ.get("GRAPHC_ENGINE") == "numba"
    assert told == [["False", "False"], [str(not plain), "False"]]
    first, second = (np.load(tmp_path / f"{k}.npz") for k in range(2))
    for name in first.files:
        assert first[name].tobytes() == second[name].tobytes()


def test_a_module_finds_it_too(tmp_path: Path) -> None:
    exe, x = compiled("float64", ("m", "n")), matrix((60, 50))
    exe.export_python(tmp_path / "large.py", name="large")
    text = (tmp_path / "large.py").read_text()
    assert "SciPy's LAPACK" in text
    spec = importlib.util.spec_from_file_location("large", tmp_path / "large.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for found, wanted in zip(module.large(x), exe(x), strict=True):
        np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("source", [False, True])
def test_a_c_library_does_without(source: bool, tmp_path: Path) -> None:
    exe = compiled("float64", ("m", "n"))
    gx.export_c(tmp_path / "c", source=source, f=exe)
    if source:
        parts = [f"model{end}.c" for end in ("", "_kernels", "_data", "_names")]
        flags = ["-std=c99", "-O2", "-Wall", "-Wextra", "-Werror", "-ffp-contract=off", "-shared", "-fPIC"]
        subprocess.run([compiler(), *flags, *parts, "-lm", "-o", "libmodel.so"], cwd=tmp_path / "c", check=True)
        assert "lapack" not in (tmp_path / "c" / "model_kernels.c").read_text()
    x = matrix((60, 50))
    assert_factors(x, CLibrary(tmp_path / "c").call(exe, "f_", x))
