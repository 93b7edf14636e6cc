"""Training beside NumPy by hand: a step, a pass of mini-batches, a network's gradients, threads, an exported module.

Ratios by default; ``python -m pytest tests/performance -n 0 --benchmark-enable`` prints times as well.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_ratios import ratio
from threadpoolctl import threadpool_limits

import graphc as gx

pytest.importorskip("pytest_benchmark")
ROWS, INPUTS, HIDDEN, CLASSES, RATE = 256, 784, 256, 10, 0.1


def weights(*shapes: tuple[int, ...]) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.normal(0, 0.05, s).astype(np.float32) for s in shapes]


def data(rows: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(1)
    return rng.normal(size=(rows, INPUTS)).astype(np.float32), rng.integers(0, CLASSES, rows)


def classifier(threads: int | None = None) -> gx.Executable:
    """The step of the 784-256-10 ReLU network: loss, gradients and update."""
    g = gx.Graph("classifier")
    x, y = g.input("x", shape=("batch", INPUTS)), g.input("y", shape=("batch",), dtype="int64")
    shapes = (INPUTS, HIDDEN), (HIDDEN,), (HIDDEN, CLASSES), (CLASSES,)
    w1, b1, w2, b2 = (g.parameter(f"p{k}", value) for k, value in enumerate(weights(*shapes)))
    loss = gx.mean(gx.cross_entropy(gx.relu(x @ w1 + b1) @ w2 + b2, y))
    return gx.compile([x, y], loss, updates=gx.optim.SGD(lr=RATE).updates(loss), threads=threads)


def step_by_hand() -> Callable[..., float]:
    """The same in NumPy, its weights its own."""
    w1, b1, w2, b2 = weights((INPUTS, HIDDEN), (HIDDEN,), (HIDDEN, CLASSES), (CLASSES,))

    def step(x: np.ndarray, y: np.ndarray) -> float:
        nonlocal w1, b1, w2, b2
        n = np.arange(len(x))
        h = np.maximum(x @ w1 + b1, 0)
        logits = h @ w2 + b2
        e = np.exp(logits - logits.max(1, keepdims=True))
        p = e / e.sum(1, keepdims=True)
        loss = float(-np.log(p[n, y]).mean())
        p[n, y] -= 1
        p /= len(x)
        back = (p @ w2.T) * (h > 0)
        w2, b2 = w2 - RATE * (h.T @ p), b2 - RATE * p.sum(0)
        w1, b1 = w1 - RATE * (x.T @ back), b1 - RATE * back.sum(0)
        return loss

    return step


@pytest.fixture(scope="module")
def batch() -> tuple[np.ndarray, np.ndarray]:
    return data(ROWS)


def test_a_training_step(benchmark: Any, batch: tuple[np.ndarray, np.ndarray]) -> None:
    exe, by_hand = classifier(), step_by_hand()
    for _ in range(3):
        assert exe(*batch) == pytest.approx(by_hand(*batch), rel=1e-4)
    benchmark(exe, *batch)
    assert ratio(lambda: exe(*batch), lambda: by_hand(*batch), repeat=3) < 1.6


def test_a_pass_of_mini_batches(benchmark: Any) -> None:
    x, y = data(20 * ROWS)
    exe, step = classifier(), step_by_hand()

    def by_hand() -> list[float]:
        order = np.random.default_rng(0).permutation(len(x))
        return [step(x[order[k : k + ROWS]], y[order[k : k + ROWS]]) for k in range(0, len(x), ROWS)]

    def compiled() -> np.ndarray:
        return exe.run_batches([x, y], ROWS, shuffle=True, seed=0)

    np.testing.assert_allclose(compiled(), by_hand(), rtol=1e-3)
    benchmark(compiled)
    assert ratio(compiled, by_hand, rounds=7, repeat=1) < 1.6


def mlp() -> tuple[gx.Executable, Callable[..., Any], list[np.ndarray]]:
    """A 16-32-32-1 tanh network on 32 rows: value and all gradients, compiled and by hand."""
    g = gx.Graph("mlp")
    arrays = [np.random.default_rng(2).normal(size=(32, 16)).astype(np.float32), *weights((16, 32), (32, 32), (32, 1))]
    x, w1, w2, w3 = (g.input(f"a{k}", shape=a.shape) for k, a in enumerate(arrays))
    loss = gx.mean((gx.tanh(gx.tanh(x @ w1) @ w2) @ w3) ** 2)

    def by_hand(x: Any, w1: Any, w2: Any, w3: Any) -> list[Any]:
        h1 = np.tanh(x @ w1)
        h2 = np.tanh(h1 @ w2)
        o = h2 @ w3
        d = 2 * o / o.size
        d2 = (d @ w3.T) * (1 - h2 * h2)
        d1 = (d2 @ w2.T) * (1 - h1 * h1)
        return [(o * o).mean(), x.T @ d1, h1.T @ d2, h2.T @ d]

    return gx.compile([x, w1, w2, w3], [loss, *gx.grad(loss, [w1, w2, w3])]), by_hand, arrays


def test_the_gradients_of_a_small_network(benchmark: Any) -> None:
    exe, by_hand, arrays = mlp()
    for found, expected in zip(exe(*arrays), by_hand(*arrays), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)
    benchmark(exe, *arrays)
    assert ratio(lambda: exe(*arrays), lambda: by_hand(*arrays), repeat=50) < 0.6


@pytest.mark.parametrize("threads", [1, 2])
def test_threads(benchmark: Any, batch: tuple[np.ndarray, np.ndarray], threads: int) -> None:
    """Bits do not depend on threads. The ratio is for those who ask for times: two threads wait for the slower one, and
    other tests run on the same processors."""
    exe, one, by_hand = classifier(threads), classifier(threads=1), step_by_hand()
    assert [exe(*batch) for _ in range(3)] == [one(*batch) for _ in range(3)]
    benchmark(exe, *batch)
    if benchmark.enabled:
        assert ratio(lambda: exe(*batch), lambda: by_hand(*batch), repeat=3) < 1.6


def test_an_exported_module(benchmark: Any, batch: tuple[np.ndarray, np.ndarray], tmp_path: Path) -> None:
    exe, by_hand = classifier(threads=1), step_by_hand()
    exe.export_python(tmp_path / "training_step.py")
    spec = importlib.util.spec_from_file_location("training_step", tmp_path / "training_step.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.classifier(*batch) == exe(*batch)
    benchmark(module.classifier, *batch)
    assert ratio(lambda: module.classifier(*batch), lambda: exe(*batch), repeat=3) < 1.5
    with threadpool_limits(1):
        assert ratio(lambda: module.classifier(*batch), lambda: by_hand(*batch), repeat=3) < 1.6
    assert module.classifier(*batch) < by_hand(*batch), "it has trained on"
