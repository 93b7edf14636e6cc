"""Matrix products inside kernels, beside NumPy's, and what they do with the threads of the BLAS."""

from __future__ import annotations

import ctypes
import itertools
import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numba
import numpy as np
import pytest

import graphc as gx
from graphc.codegen import blas, jit
from graphc.schedule import sums

SHAPES = [(1, 1, 1), (1, 5, 3), (5, 1, 3), (1, 1, 7), (4, 6, 5), (64, 65, 33), (200, 1, 300), (1, 300, 200)]
EMPTY = [(0, 3, 2), (0, 3, 5000), (3, 0, 5000), (3, 0, 2), (0, 0, 0), (3, 4, 0), (1, 4, 0), (4, 1, 0), (1, 1, 0)]


@numba.njit(nogil=True)
def product_f32(ta, tb, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc, scratch, times):  # type: ignore[no-untyped-def]
    for _ in range(times):
        blas.gemm_f32(ta, tb, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc, scratch)


@numba.njit(nogil=True)
def product_f64(ta, tb, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc, scratch, times):  # type: ignore[no-untyped-def]
    for _ in range(times):
        blas.gemm_f64(ta, tb, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc, scratch)


ROOM = np.full(2 * sums.TALL * sums.LONG, 255, np.uint8)  # NaN
PRODUCTS = {"float32": product_f32, "float64": product_f64}


def multiply(
    a: Any, b: Any, out: Any, *, ta: int = 0, tb: int = 0, alpha: float = 1, beta: float = 0, times: int = 1
) -> None:
    """``out = alpha op(a) op(b) + beta out`` on arrays whose rows may lie apart."""
    real, size = out.dtype.type, out.itemsize
    m, n, k = *out.shape, a.shape[0 if ta else 1]
    leads = [x.strides[0] // size for x in (a, b, out)]
    PRODUCTS[out.dtype.name](
        ta,
        tb,
        m,
        n,
        k,
        real(alpha),
        a.ctypes.data,
        leads[0],
        b.ctypes.data,
        leads[1],
        real(beta),
        out.ctypes.data,
        leads[2],
        ROOM.ctypes.data,
        times,
    )


def apart(x: Any, gap: int) -> Any:
    """The same with ``gap`` elements of NaN after each row."""
    whole = np.full((x.shape[0], x.shape[1] + gap), np.nan, x.dtype)
    whole[:, : x.shape[1]] = x
    return whole[:, : x.shape[1]]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("m, n, k", SHAPES + EMPTY)
def test_products_are_numpys(m: int, n: int, k: int, dtype: str) -> None:
    rng = np.random.default_rng(m + n + k)
    for ta, tb, beta, alpha, gap in itertools.product((0, 1), (0, 1), (0, 1, 0.5), (1, -2), (0, 3)):
        a, b = rng.standard_normal((m, k)).astype(dtype), rng.standard_normal((k, n)).astype(dtype)
        c = rng.standard_normal((m, n)).astype(dtype) if beta else np.full((m, n), np.nan, dtype)
        exact = a.astype("float64") @ b.astype("float64")
        want = alpha * exact + (beta * c.astype("float64") if beta else 0)
        out = apart(c, gap)
        multiply(apart(a.T if ta else a, gap), apart(b.T if tb else b, gap), out, ta=ta, tb=tb, alpha=alpha, beta=beta)
        bound = abs(alpha) * (np.abs(a) @ np.abs(b)) + np.abs(beta * c if beta else 0)
        assert (np.abs(out - want) <= (k + 2) * np.finfo(dtype).eps * bound).all(), (ta, tb, beta, alpha, gap)
        if gap and out.base is not None:
            assert np.isnan(out.base[:, n:]).all(), "wrote beside the result"


@pytest.fixture
def two_threads() -> Any:
    """A BLAS that would use two threads; gives a function that reads their number."""
    found = blas.library()
    if found.threads != "shared":
        pytest.skip("this BLAS has no thread count of the process")
    get = ctypes.CFUNCTYPE(ctypes.c_int)(found.addresses["get_threads"])
    set_ = ctypes.CFUNCTYPE(None, ctypes.c_int)(found.addresses["set_threads"])
    before = get()
    set_(2)
    yield get
    set_(before)


def test_the_thread_count_is_one_during_a_product_and_comes_back(two_threads: Any) -> None:
    small, large = np.ones((2, 2), "float32"), np.ones((1500, 1500), "float32")
    multiply(small, small, np.empty_like(small))
    assert two_threads() == 2
    worker = threading.Thread(target=multiply, args=(large, large, np.empty_like(large)))
    worker.start()
    while two_threads() == 2:
        assert worker.is_alive(), "the product ran on two threads"
    seen = []
    while worker.is_alive():
        seen.append(two_threads())
        time.sleep(0.001)
    assert seen[:5] == [1] * 5 and seen == sorted(seen)
    assert two_threads() == 2


def test_the_last_of_many_products_puts_the_thread_count_back(two_threads: Any) -> None:
    a = np.ones((20, 20))
    with ThreadPoolExecutor(4) as pool:
        for _ in range(4):
            list(pool.map(lambda _: multiply(a, a, np.empty_like(a), times=5000), range(4)))
            assert two_threads() == 2


def test_four_threads_give_the_bits_of_one_on_any_alignment() -> None:
    rng = np.random.default_rng(0)
    for (m, n, k), dtype in itertools.product([(256, 256, 300), (256, 10, 256), (300, 1, 500), (7, 9, 11)], PRODUCTS):
        a, b = rng.standard_normal((m, k)).astype(dtype), rng.standard_normal((k, n)).astype(dtype)
        want = np.empty((m, n), dtype)
        multiply(a, b, want)

        def shifted(x: Any, by: int) -> Any:
            room = np.empty(x.size + 32, x.dtype)
            start = (-room.ctypes.data % 64) // x.itemsize + by
            moved = room[start : start + x.size].reshape(x.shape)
            moved[:] = x
            return moved

        def again(by: int, a: Any = a, b: Any = b, want: Any = want, shifted: Any = shifted) -> bytes:
            out = shifted(np.zeros_like(want), by)
            multiply(shifted(a, by), shifted(b, by), out, times=3)
            return bytes(out.tobytes())

        with ThreadPoolExecutor(4) as pool:
            assert set(pool.map(again, [k % 8 for k in range(16)])) == {want.tobytes()}, (m, n, k, dtype)


FORK = """
import os, signal, sys
sys.path.insert(0, sys.argv[1])
import numpy as np
from test_blas import blas, multiply
a = np.ones((20, 20)); out = np.empty_like(a)
multiply(a, a, out)
blas._state[0] = blas._state[1] = 1  # as if another thread were amid a product
child = os.fork()
if not child:
    signal.alarm(20)
    multiply(a, a, out)
    os._exit(0 if (out == 20).all() else 1)
assert os.waitpid(child, 0)[1] == 0
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_does_not_wait_for_its_parents_products() -> None:
    subprocess.run([sys.executable, "-c", FORK, os.path.dirname(__file__)], check=True, timeout=120)


def test_the_library_is_in_the_key_of_kernels_that_call_it(monkeypatch: pytest.MonkeyPatch) -> None:
    signature = "int64(int64, int64, int64, int64, int64)"
    source = "from graphc.codegen.blas import gemm_f32\ndef kernel(a, b, c, d, e):\n    return a\n"
    plain = "def kernel(a, b, c, d, e):\n    return a\n"
    first = [jit.compile_source(s, "kernel", signature) for s in (source, plain)]
    monkeypatch.setattr(jit, "library_name", lambda: "another")
    second = [jit.compile_source(s, "kernel", signature) for s in (source, plain)]
    assert first[0] is not second[0] and first[1] is second[1]


def test_settings_that_name_no_library_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRAPHC_BLAS", "atlas")
    with pytest.raises(gx.CompileError, match="auto, tiles, openblas, mkl, found 'atlas'"):
        blas.library.__wrapped__()
    monkeypatch.setenv("GRAPHC_BLAS", "mkl")
    monkeypatch.setattr(blas, "_mkl_path", lambda: None)
    with pytest.raises(gx.CompileError, match="the package mkl is not installed"):
        blas.library.__wrapped__()


@pytest.mark.skipif(blas._mkl_path() is None or blas.library().name == "mkl", reason="needs the package mkl")
def test_products_by_mkl() -> None:
    """This file again, with the other library."""
    env = {**os.environ, "GRAPHC_BLAS": "mkl"}
    subprocess.run([sys.executable, "-m", "pytest", "-q", "-n0", __file__], check=True, timeout=300, env=env)
