"""graphc's own matrix products: beside NumPy's, cut in every way, and on values that are not numbers."""

from __future__ import annotations

import itertools
import os
import platform
import subprocess
import sys
from typing import Any

import numba
import numpy as np
import pytest
from numba.core.registry import cpu_target

import graphc as gx
from graphc.codegen import tiles
from graphc.codegen.jit import compile_source
from graphc.schedule import sums

FEATURES = cpu_target.target_context.codegen().magic_tuple()[2]
FUSED = "+fma," in FEATURES or platform.machine().lower() not in ("x86_64", "amd64")
VECTOR_BYTES, ROWS = tiles.tile_size(cpu_target.target_context)
LANES = {dtype: VECTOR_BYTES // np.dtype(dtype).itemsize for dtype in ("float32", "float64")}


@numba.njit(nogil=True)
def product_f32(ta, tb, m, n, k, a, lda, b, ldb, beta, c, ldc, scratch):  # type: ignore[no-untyped-def]
    tiles.code_f32(ta, tb, m, n, k, a, lda, b, ldb, beta, c, ldc, scratch)


@numba.njit(nogil=True)
def product_f64(ta, tb, m, n, k, a, lda, b, ldb, beta, c, ldc, scratch):  # type: ignore[no-untyped-def]
    tiles.code_f64(ta, tb, m, n, k, a, lda, b, ldb, beta, c, ldc, scratch)


PRODUCTS = {"float32": product_f32, "float64": product_f64}
SCRATCH = tiles.SCRATCH + 2 * sums.TALL * sums.LONG
ROOM = np.zeros(SCRATCH + 128, np.uint8)
START = -ROOM.ctypes.data % 64


def multiply(a: Any, b: Any, out: Any, *, ta: int = 0, tb: int = 0, beta: int = 0) -> Any:
    """``out = op(a) op(b) + beta out`` on arrays whose rows may lie apart; the scratch memory is full of NaN before."""
    ROOM[:] = 255
    (m, n), k = out.shape, a.shape[0 if ta else 1]
    leads = [x.strides[0] // x.itemsize for x in (a, b, out)]
    addresses = [x.ctypes.data for x in (a, b, out)]
    operands = [x for pair in zip(addresses[:2], leads[:2], strict=True) for x in pair]
    scratch = ROOM.ctypes.data + START
    PRODUCTS[out.dtype.name](ta, tb, m, n, k, *operands, beta, addresses[2], leads[2], scratch)
    assert (ROOM[:START] == 255).all() and (ROOM[START + SCRATCH :] == 255).all(), "wrote beside the scratch"
    return out


def apart(x: Any, gap: int) -> Any:
    """The same with ``gap`` elements of NaN after each row."""
    whole = np.full((x.shape[0], x.shape[1] + gap), np.nan, x.dtype)
    whole[:, : x.shape[1]] = x
    return whole[:, : x.shape[1]]


def check(m: int, n: int, k: int, dtype: str, ta: int, tb: int, beta: int, gap: int) -> None:
    rng = np.random.default_rng([m, n, k])
    a, b = rng.standard_normal((m, k)).astype(dtype), rng.standard_normal((k, n)).astype(dtype)
    c = rng.standard_normal((m, n)).astype(dtype) if beta else np.full((m, n), np.nan, dtype)
    want = a.astype("float64") @ b.astype("float64") + (c.astype("float64") if beta else 0)
    out = apart(c, gap)
    multiply(apart(a.T if ta else a, gap), apart(b.T if tb else b, gap), out, ta=ta, tb=tb, beta=beta)
    bound = np.abs(a) @ np.abs(b) + np.abs(c if beta else 0)
    assert (np.abs(out - want) <= (k + 2) * np.finfo(dtype).eps * bound).all(), (m, n, k, dtype, ta, tb, beta, gap)
    assert np.isnan(out.base[:, n:]).all(), "wrote beside the result"


@pytest.mark.parametrize("dtype", PRODUCTS)
def test_every_remainder_of_a_tile(dtype: str) -> None:
    lanes, rows = LANES[dtype], ROWS
    for m, n in itertools.product(range(2 * rows + 2), (*range(lanes + 2), 3 * lanes - 1, 3 * lanes, 4 * lanes + 1)):
        check(m, n, 5, dtype, m % 2, n % 2, (m + n) % 2, 3)


@pytest.mark.parametrize("dtype", PRODUCTS)
@pytest.mark.parametrize("k", [0, 1, 2, 3, 15, 16, 17, 255, 256, 257, 511, 513, 800])
def test_every_depth(k: int, dtype: str) -> None:
    for ta, tb, beta, gap in itertools.product((0, 1), (0, 1), (0, 1), (0, 3)):
        check(ROWS + 3, 5 * LANES[dtype] - 2, k, dtype, ta, tb, beta, gap)


@pytest.mark.parametrize("dtype", PRODUCTS)
@pytest.mark.parametrize(
    "m, n, k", [(40, 1200, 270), (300, 70, 300), (1, 600, 1), (600, 1, 300), (0, 5, 3), (5, 0, 5000)]
)
def test_several_blocks(m: int, n: int, k: int, dtype: str) -> None:
    for ta, tb, beta in itertools.product((0, 1), (0, 1), (0, 1)):
        check(m, n, k, dtype, ta, tb, beta, 1)


@pytest.mark.parametrize("dtype", PRODUCTS)
def test_a_product_cut_anywhere_has_the_bits_of_the_whole(dtype: str) -> None:
    m, n, k = 3 * ROWS + 2, tiles.BLOCK // (tiles.DEPTH * np.dtype(dtype).itemsize) + 29, 600
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((m, k)).astype(dtype), rng.standard_normal((k, n)).astype(dtype)
    for ta, tb, beta in itertools.product((0, 1), (0, 1), (0, 1)):
        left, right = np.ascontiguousarray(a.T if ta else a), np.ascontiguousarray(b.T if tb else b)
        base = rng.standard_normal((m, n)).astype(dtype)
        whole = multiply(left, right, base.copy(), ta=ta, tb=tb, beta=beta)
        for cut in range(1, m, 3):
            parts = base.copy()
            for s in (slice(0, cut), slice(cut, m)):
                multiply(left[:, s] if ta else left[s], right, parts[s], ta=ta, tb=tb, beta=beta)
            assert parts.tobytes() == whole.tobytes(), (cut, "rows")
        for cut in (1, LANES[dtype], LANES[dtype] + 1, 3 * LANES[dtype], 100, n - 1):
            parts = base.copy()
            for s in (slice(0, cut), slice(cut, n)):
                multiply(left, right[s] if tb else right[:, s], parts[:, s], ta=ta, tb=tb, beta=beta)
            assert parts.tobytes() == whole.tobytes(), (cut, "columns")


@pytest.mark.parametrize("dtype", PRODUCTS)
def test_a_single_row_has_the_bits_that_it_has_among_others(dtype: str) -> None:
    """It has tiles of its own, which read the right operand as it lies; what is beside that is NaN."""
    rng = np.random.default_rng(1)
    for k in (*range(1, 10), 63, 64, 65, 66, 67, 70, 255, 256, 257, 259, 515, sums.PIECE + 2, sums.PIECE + 261):
        for n in (1, 3, LANES[dtype], 2 * LANES[dtype] + 1, 9 * LANES[dtype] - 1, 600):
            a, b, c = (rng.standard_normal(s).astype(dtype) for s in ((2, k), (k, n), (2, n)))
            for ta, tb, beta in itertools.product((0, 1), repeat=3):
                right = apart(b.T if tb else b, 3)
                whole = multiply(a.T.copy() if ta else a, right, c.copy(), ta=ta, tb=tb, beta=beta)
                for row in range(2):
                    left, one = a[row : row + 1], apart(c[row : row + 1], 5)
                    multiply(apart(left.T if ta else left, 2), right, one, ta=ta, tb=tb, beta=beta)
                    assert np.array_equal(one[0], whole[row]), (k, n, ta, tb, beta)
                    assert np.isnan(one.base[:, n:]).all(), "wrote beside the result"


def test_sums_are_in_ascending_order_in_blocks() -> None:
    """A product of float32 is exact in float64, so that rounding there once more stands for a fused operation."""
    rng = np.random.default_rng(1)
    a, b = rng.standard_normal((1, 600)).astype("float32"), rng.standard_normal((600, 1)).astype("float32")
    total = np.float32(0)
    for start in range(0, 600, tiles.DEPTH):
        block = np.float32(0)
        for first in range(start, min(start + tiles.DEPTH, 600), tiles.STEPS):
            part = np.float32(0)
            for x, y in zip(a[0, first : first + tiles.STEPS], b[first : first + tiles.STEPS, 0], strict=False):
                part = np.float32(np.float64(x) * np.float64(y) + np.float64(part)) if FUSED else part + x * y
            block += part
        total += block
    assert multiply(a, b, np.empty((1, 1), "float32"))[0, 0] == total


@pytest.mark.parametrize("dtype", PRODUCTS)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_nan_and_infinity_reach_their_row_and_column_only(value: float, dtype: str) -> None:
    m, n, k = ROWS + 3, LANES[dtype] + 3, 9
    for i, j in [(0, 0), (m - 1, n - 1), (ROWS, LANES[dtype])]:
        for ta, tb in itertools.product((0, 1), (0, 1)):
            a, b = np.ones((m, k), dtype), np.ones((k, n), dtype)
            a[i, k - 1] = value
            b[k - 1, j] = value
            want = np.full((m, n), float(k), dtype)
            want[i], want[:, j] = value, value
            want[i, j] = value * value
            out = multiply(
                apart(a.T if ta else a, 2), apart(b.T if tb else b, 2), apart(np.zeros_like(want), 2), ta=ta, tb=tb
            )
            np.testing.assert_array_equal(out, want)


def test_zero_times_infinity_is_nan() -> None:
    a, b = np.zeros((2, 3), "float32"), np.full((3, 2), np.inf, "float32")
    assert np.isnan(multiply(a, b, np.zeros((2, 2), "float32"))).all()


@pytest.mark.parametrize(("name", "other"), [("f32", "double"), ("f64", "float")])
def test_products_hold_vector_arithmetic_of_one_precision(name: str, other: str) -> None:
    names = ", ".join("abcdefghijklm")
    text = f"from graphc.codegen.tiles import code_{name} as code\n\n\ndef product({names}):\n    code({names})\n"
    llvm = compile_source(text, "product", f"void({', '.join(['int64'] * 13)})", on_disk=False).llvm
    assert f"@llvm.fmuladd.v{LANES['float' + name[1:]]}{name}" in llvm
    assert f" {other}" not in llvm


def test_kernels_call_the_product(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRAPHC_BLAS", "tiles")
    g = gx.Graph("product")
    x, w = g.input("x", ("n", 40)), g.input("w", (40, 30))
    exe = gx.compile([x, w], x @ w, cache=False)
    assert "tile_f32" in exe.source and "fmuladd" not in exe.stages["llvm"] and "double" not in exe.stages["llvm"]


SETTINGS = """
import numpy as np
import graphc as gx
from graphc.codegen import blas
g = gx.Graph("product")
x, w = g.input("x", ("n", 40)), g.input("w", (40, 30))
exe = gx.compile([x, w], x @ w)
assert (exe(np.ones((3, 40), "f"), np.ones((40, 30), "f")) == 40).all()
print("gemm_f32" in exe.source, blas.library.cache_info().currsize == 1)
"""


@pytest.mark.parametrize("blas, calls", [("", "False False"), ("tiles", "False False"), ("openblas", "True True")])
def test_the_setting_decides_and_a_library_is_not_loaded_in_vain(blas: str, calls: str) -> None:
    """Twice in one cache, where kernels of other settings are: neither their records nor their code are mistaken."""
    env = {**os.environ, "GRAPHC_BLAS": blas}
    for _ in range(2):
        done = subprocess.run([sys.executable, "-c", SETTINGS], capture_output=True, text=True, timeout=300, env=env)
        assert done.stdout.strip() == calls, done.stderr


@pytest.mark.parametrize("lengths", [(5, 1), (1, 5)])
def test_loops_of_one_body_pack_each_for_itself(lengths: tuple[int, int]) -> None:
    """A loop of one step packs nothing; its body is that of a longer one."""
    g = gx.Graph("steps", float_dtype="float64")
    w, first = g.input("w", (32, 32)), g.input("h", (16, 32))
    h = first
    for length in lengths:
        h, _ = gx.scan(lambda c, _: (gx.tanh(c @ w), None), h, length=length)
    rng = np.random.default_rng(0)
    arrays = rng.normal(size=(32, 32)) / 6, rng.normal(size=(16, 32))
    found, expected = (gx.compile([w, first], h, backend=b)(*arrays) for b in ("numba", "numpy"))
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-14)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_what_all_steps_of_a_loop_multiply_with_is_packed_once(dtype: str) -> None:
    """Weights as they lie, transposed, or a part of more; of several blocks of rows and of columns; and rows that few
    or many examples have."""
    g = gx.Graph("packed", float_dtype=dtype)
    rng = np.random.default_rng(0)
    inputs, arrays, last = [], [], []
    for k, (rows, inner, columns) in enumerate(((32, 128, 512), (7, 300, 33), (4, 600, 1100), (2, 40, 530), (6, 8, 1))):
        for turned, cut in ((False, k % 2 == 0), (True, k % 2 == 1)):
            shape = (inner + 4 * cut, columns + 8 * cut)
            h = g.input(f"h{len(inputs)}", (f"m{k}", inner))
            w = g.input(f"w{len(inputs)}", shape[::-1] if turned else shape)
            weights = w.T if turned else w
            weights = weights[2 : inner + 2, 5 : columns + 5] if cut else weights

            def step(h: Any, _: None, weights: Any = weights) -> tuple[Any, None]:
                made = h @ weights
                return 0.5 * h + gx.sin(gx.mean(made * made, 1, keepdims=True)), None

            last.append(gx.scan(step, h, length=3)[0])
            inputs += [h, w]
            arrays += [rng.normal(size=(rows, inner)).astype(dtype), rng.normal(size=w.shape).astype(dtype) * 0.1]
    exe, peer = (gx.compile(inputs, last, backend=backend) for backend in ("numba", "numpy"))
    bodies, loops = exe.source.count("(0, 2, "), exe.source.count("(2, 0, 0, ")
    assert (bodies, loops) == (4, 8)  # products with what is packed, of four bodies; what loops pack
    for some in (arrays, [a[:1] if k % 2 == 0 else a for k, a in enumerate(arrays)]):
        for found, expected in zip(exe(*some), peer(*some), strict=True):
            np.testing.assert_allclose(found, expected, *((1e-4, 1e-4) if dtype == "float32" else (1e-11, 1e-12)))
