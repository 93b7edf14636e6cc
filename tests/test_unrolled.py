"""Programs that write their loops out, and the same with `gx.scan`: equal results, and a short first call."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import graphc as gx
from graphc.reference import evaluate

Scan = Callable[..., Any]


def written_out(f: Any, init: Any, xs: Any, length: int | None = None) -> Any:
    """What a scan gives, its steps one after another."""
    ys = []
    for t in range(xs.shape[0] if length is None else length):
        init, y = f(init, None if xs is None else xs[t])
        ys.append(y)
    return init, None if ys[0] is None else gx.stack(ys)


def recurrent(m: Any, scan: Scan, n: int, h: Any, w: Any) -> Any:
    return m.sum(scan(lambda x, _: (m.tanh(x @ w), None), h, None, length=n)[0])


def euler(m: Any, scan: Scan, n: int, y: Any) -> Any:
    """A pendulum by Euler's method."""
    step = 0.1
    return scan(lambda c, _: ((c[0] + step * c[1], c[1] - step * m.sin(c[0])), None), (y, y), None, length=n)[0][0]


def elimination(m: Any, scan: Scan, n: int, a: Any) -> Any:
    """The logarithm of a determinant; the matrix keeps its size, and rows that are done are left alone."""
    below = np.tri(n, k=-1).T  # row k is 1 after k

    def step(a: Any, k: Any) -> Any:
        here, left = k[0], k[1]
        row = m.sum(here[:, None] * a, axis=0)
        pivot = m.sum(row * here)
        column = m.sum(a * here, axis=1) * left
        return a - column[:, None] * (row / pivot), m.log(pivot)

    rows = np.stack([np.eye(n), below], 1)
    return m.sum(scan(step, a, rows if m is not gx else a.graph.constant(rows))[1])


def neural_ode(m: Any, scan: Scan, n: int, y: Any, w1: Any, b1: Any, w2: Any, b2: Any) -> Any:
    """Runge-Kutta steps of a network; a scan over the four stages keeps the body small."""
    stages = 0.05 * np.array([[0, 1 / 6], [0.5, 1 / 3], [0.5, 1 / 3], [1, 1 / 6]])
    target = np.stack([2 * np.cos(np.linspace(0, 3, n)), 2 * np.sin(np.linspace(0, 3, n))], 1)
    rows = stages if m is not gx else y.graph.constant(stages)

    def stage(c: Any, row: Any) -> Any:
        slope, total, y = c
        slope = m.maximum(0.0, (y + row[0] * slope) @ w1 + b1) @ w2 + b2
        return (slope, total + row[1] * slope, y), None

    def step(y: Any, _: Any) -> Any:
        y = scan(stage, (0 * y, y, y), rows)[0][1]
        return y, y

    return m.mean(m.abs(scan(step, y, None, length=n)[1] - target))


def program(name: str, n: int) -> tuple[Any, list[np.ndarray]]:
    rng = np.random.default_rng(0)
    b = rng.normal(size=(n, n))
    layers = [0.1 * rng.normal(size=s) for s in ((2, 150), (150,), (150, 2), (2,))]
    return {
        "recurrent": (recurrent, [np.ones((4, 16)), np.eye(16) * 0.5]),
        "euler": (euler, [np.array(1.0)]),
        "elimination": (elimination, [b @ b.T + n * np.eye(n)]),
        "neural ode": (neural_ode, [np.array([2.0, 0.0]), *layers]),
    }[name]


NAMES = ("recurrent", "euler", "elimination", "neural ode")


@pytest.mark.parametrize("name", NAMES)
def test_scans_give_what_written_out_steps_give(name: str) -> None:
    f, arrays = program(name, 5)
    g = gx.Graph(float_dtype="float64")
    xs = [g.input(f"x{k}", a.shape) for k, a in enumerate(arrays)]
    found, expected = ([y, *gx.grad(y, xs)] for y in (f(gx, scan, 5, *xs) for scan in (gx.scan, written_out)))
    feeds = {x.name: a for x, a in zip(xs, arrays, strict=True)}
    for a, b in zip(gx.compile(xs, found)(*arrays), evaluate(expected, feeds), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-13)
    if name == "elimination":
        assert expected[0].graph is g and np.isclose(evaluate(found, feeds)[0], np.linalg.slogdet(arrays[0])[1])


def test_steps_that_read_and_write_rows_of_their_own_share_functions() -> None:
    """A row's number is passed: rows of a sequence, and of a stack, would else make a function of each step."""

    def parts(n: int) -> int:
        g = gx.Graph(float_dtype="float64")
        xs, w = g.input("xs", (n, 12)), g.input("w", (12, 12))
        loss = gx.sum(written_out(lambda h, x: (gx.tanh(h @ w + x),) * 2, xs[0], xs)[1] ** 2)
        exe = gx.compile([xs, w], [loss, gx.grad(loss, xs)], backend="numpy")
        return len(exe.program.kernel().parts)

    assert parts(40) == parts(30)


def test_gradients_of_weights_that_every_step_uses_are_one_product() -> None:
    """Not one for each step and a sum of them; for as many steps, and so thin ones, that the copies pay."""

    def products(n: int, rows: int) -> int:
        g = gx.Graph(float_dtype="float64")
        h, w = g.input("h", (rows, 12)), g.input("w", (12, 12))
        x = h
        for _ in range(n):
            x = gx.tanh(x @ w)
        loss = gx.sum(x)
        rng = np.random.default_rng(0)
        arrays = [rng.normal(size=(rows, 12)), 0.3 * rng.normal(size=(12, 12))]
        outputs = [loss, *gx.grad(loss, [h, w])]
        found = gx.compile([h, w], outputs)(*arrays)
        for a, b in zip(found, evaluate(outputs, dict(zip("hw", arrays, strict=True))), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-13)
        nodes = gx.compile([h, w], outputs, backend="numpy").program.optimised.nodes
        return sum(node.op.name == "matmul" and node.type.shape == (12, 12) for node in nodes)

    assert [products(10, 2), products(10, 9), products(4, 2)] == [1, 10, 4]


FIRST = """
import sys, time
sys.path.insert(0, {tests!r})
import numpy as np, test_unrolled as t
f, arrays = t.program({name!r}, {n})
began = time.process_time()
if {jax}:
    import jax
    jax.config.update("jax_enable_x64", True)
    began = time.process_time()
    slopes = jax.value_and_grad(lambda *a: f(jax.numpy, jax.lax.scan, {n}, *a), argnums=tuple(range(len(arrays))))
    jax.block_until_ready(jax.jit(slopes)(*arrays))
else:
    g = t.gx.Graph(float_dtype="float64")
    xs = [g.input(f"x{{k}}", a.shape) for k, a in enumerate(arrays)]
    y = f(t.gx, t.gx.scan, {n}, *xs)
    t.gx.compile(xs, [y, *t.gx.grad(y, xs)])(*arrays)
print(time.process_time() - began)
"""


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_the_first_call_beside_jax(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In processor seconds of fresh processes without files: 0.6 to 1.6 where this was written, whatever the length."""
    pytest.importorskip("jax")
    spent: tuple[list[float], list[float]] = ([], [])
    for k in range(3):
        monkeypatch.setenv("GRAPHC_CACHE_DIR", str(tmp_path / str(k)))
        for jax in (False, True):
            code = FIRST.format(tests=str(Path(__file__).parent), name=name, n=60, jax=jax)
            said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
            spent[jax].append(float(said))
    assert np.median(spent[0]) < 2 * np.median(spent[1]), spent
