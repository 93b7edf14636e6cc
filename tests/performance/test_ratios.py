"""Ratios that noise cannot flip: graphc beside the same arithmetic in NumPy, in one run."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import graphc as gx
from graphc.bench import compiling
from graphc.bench.catalogue import WORKLOADS
from graphc.bench.compiling import Point
from graphc.bench.workload import Setup
from graphc.codegen import jit
from graphc.codegen.functions import SEMANTICS
from graphc.codegen.vectors import vector_bytes

sys.path.insert(0, str(Path(__file__).parent.parent.parent / "examples"))

from call_overhead import peers
from xor import X, Y


def ratio(left: Callable[[], Any], right: Callable[[], Any], rounds: int = 15, repeat: int = 20) -> float:
    """Median time of ``left`` over that of ``right``, in interleaved rounds; the least of three, for noise makes some large."""

    def once() -> float:
        times: tuple[list[float], list[float]] = ([], [])
        for _ in range(rounds):
            for call, spent in zip((left, right), times, strict=True):
                started = time.perf_counter()
                for _ in range(repeat):
                    call()
                spent.append(time.perf_counter() - started)
        return float(np.median(times[0]) / np.median(times[1]))

    return min(once() for _ in range(3))


def arrays() -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [X, Y, rng.normal(size=(2, 3)), rng.normal(size=3), rng.normal(size=(3, 1)), rng.normal(size=1)]


def test_a_small_call_costs_less_than_numpy_by_hand() -> None:
    calls = peers(arrays())
    assert ratio(calls["graphc"], calls["NumPy by hand"], repeat=200) < 0.8


def test_a_fused_chain_beats_numpy() -> None:
    g = gx.Graph("chain")
    x = g.input("x", shape=("n",))

    def chain(x: Any) -> Any:
        return (x * x * 0.5 + x * 3.0 - 1.0) * (x - 0.5) / (x * x + 1.0) + x * 0.25

    exe = gx.compile([x], gx.sum(chain(x)), threads=1)
    a = np.random.default_rng(0).normal(size=500_000).astype(np.float32)
    np.testing.assert_allclose(exe(a), chain(a.astype(np.float64)).sum(), rtol=1e-3)
    assert ratio(lambda: exe(a), lambda: np.sum(chain(a))) < 0.6


@pytest.mark.parametrize("name", ["training-step", "elementwise", "softmax-cross-entropy"])
def test_the_search_for_nan_costs_little(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    workload, setup = WORKLOADS[name], Setup(threads=1)
    problem = workload.problem(setup)
    plain = workload.entries["graphc"](problem, setup)
    monkeypatch.setattr(gx, "compile", partial(gx.compile, debug="nan"))
    watched = workload.entries["graphc"](problem, setup)
    # masks of AVX-512 are no faster than those of AVX2, while arithmetic is
    assert ratio(watched.call, plain.call, repeat=2) < (2.5 if vector_bytes(SEMANTICS) > 32 else 2)


def test_a_row_softmax_costs_less_than_three_passes() -> None:
    g = gx.Graph("rows")
    x = g.input("x", shape=("n", 100))
    exe = gx.compile([x], gx.softmax(x), threads=1)
    a = np.random.default_rng(0).normal(size=(2000, 100)).astype(np.float32)

    def by_hand() -> np.ndarray:
        e = np.exp(a - a.max(1, keepdims=True))
        return e / e.sum(1, keepdims=True)

    np.testing.assert_allclose(exe(a), by_hand(), rtol=1e-5, atol=1e-9)
    assert ratio(lambda: exe(a), by_hand) < 0.9


def test_least_squares_reads_its_matrix_once() -> None:
    g = gx.Graph("least squares", float_dtype="float64")
    x, y, w = (g.input(k, shape=s, dtype="float64") for k, s in (("x", ("n", 50)), ("y", ("n",)), ("w", (50,))))
    r = x @ w - y
    loss = gx.sum(r * r)
    exe = gx.compile([x, y, w], [loss, *gx.grad(loss, [w])], threads=1)
    rng = np.random.default_rng(0)
    a, b, c = rng.normal(size=(100_000, 50)), rng.normal(size=100_000), rng.normal(size=50)

    def by_hand() -> list[Any]:
        r = a @ c - b
        return [r @ r, 2 * (a.T @ r)]

    np.testing.assert_allclose(exe(a, b, c)[1], by_hand()[1], rtol=1e-10)
    assert ratio(lambda: exe(a, b, c), by_hand, repeat=2) < 0.8


@pytest.mark.parametrize("width", [32, 48])
def test_short_rows_are_not_gathered(width: int) -> None:
    g = gx.Graph("centred")
    x = g.input("x", shape=("n", width))
    exe = gx.compile([x], x - gx.mean(x, 1, keepdims=True), threads=1)
    a = np.random.default_rng(0).normal(size=(240_000 // width, width)).astype(np.float32)

    def by_hand() -> np.ndarray:
        return a - a.mean(1, keepdims=True)

    np.testing.assert_allclose(exe(a), by_hand(), atol=1e-5)
    assert ratio(lambda: exe(a), by_hand) < 0.7


def test_one_call(benchmark: Any) -> None:
    pytest.importorskip("pytest_benchmark")
    calls = peers(arrays())
    assert len(benchmark(calls["graphc"])) == 5


@pytest.mark.parametrize("kind", ["equal", pytest.param("unlike", marks=pytest.mark.slow)])
def test_compile_time_grows_no_faster_than_the_graph(kind: str, monkeypatch: Any, tmp_path: Path) -> None:
    """By the processor's time, which other work on the machine hardly touches."""
    monkeypatch.setenv("GRAPHC_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(jit, "_shared", {})
    compiling.step(kind, 1)  # loads what the first compile of a process loads
    points = []
    for layers in (4, 20):
        started = time.process_time()
        exe, _ = compiling.step(kind, layers)
        points.append(Point(kind, layers, compiling.operations(exe), [time.process_time() - started], []))
    slope = compiling.slope(points)
    assert slope is not None and slope < 1.1
