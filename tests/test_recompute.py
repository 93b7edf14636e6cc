"""Programs that keep to a limit of memory: the same bits, fewer bytes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from random_graphs import SIZES, random_graph

import graphc as gx


def deep(size: Any, layers: int = 12, **options: Any) -> gx.Executable:
    """Layers of 64 units, whose backward pass reads every layer's values again."""
    g = gx.Graph("deep", float_dtype="float64")
    x = g.input("x", (size, 64), "float64")
    rng = np.random.default_rng(0)
    h = x
    for k in range(layers):
        h = gx.tanh(h @ g.parameter(f"w{k}", rng.normal(size=(64, 64)) / 8))
    loss = gx.mean(h * h)
    return gx.compile([x], [loss, *gx.grad(loss, list(g.parameters.values()))], threads=1, **options)


def image(n: int) -> np.ndarray:
    return np.random.default_rng(1).normal(size=(n, 64))


def same(left: Any, right: Any) -> None:
    for a, b in zip(left, right, strict=True):
        np.testing.assert_array_equal(a, b)


def test_values_are_computed_again_to_keep_within_the_limit() -> None:
    free = deep(512)
    whole = free.memory()
    exe = deep(512, max_bytes=whole * 2 // 3)
    assert exe.memory() <= whole * 2 // 3
    same(exe(image(512)), free(image(512)))


def test_what_is_too_little_is_said_with_the_least() -> None:
    with pytest.raises(
        gx.CompileError, match=r"max_bytes is 1000, but the workspace takes at least \d+ bytes\n"
    ) as info:
        deep(512, max_bytes=1000)
    least = int(str(info.value).split("at least ")[1].split()[0])
    assert 1000 < least < deep(512).memory() / 2
    assert deep(512, max_bytes=least).memory() == least
    with pytest.raises(gx.CompileError):
        deep(512, max_bytes=least - 1)


def test_symbolic_sizes_are_fitted_when_they_come() -> None:
    free = deep("n")
    exe = deep("n", max_bytes=free.memory(n=300))
    first = exe.source
    assert exe.memory(n=300) == free.memory(n=300) and exe.source == first
    assert exe.memory(n=400) <= free.memory(n=300) < free.memory(n=400)
    assert exe.source != first
    for n in (10, 300, 400, 10):
        same(exe(image(n)), free(image(n)))
    with pytest.raises(gx.CompileError, match=r"at least \d+ bytes with n=1000000"):
        exe.memory(n=1_000_000)
    same(exe(image(400)), free(image(400)))
    same(exe.run_batches([image(800)], batch_size=400)[1:], free.run_batches([image(800)], batch_size=400)[1:])


def test_a_training_step_within_a_limit_trains_the_same() -> None:
    def step(max_bytes: int | None) -> tuple[gx.Graph, gx.Executable]:
        g = gx.Graph("step", float_dtype="float64")
        x, y = g.input("x", (256, 40), "float64"), g.input("y", (256,), "int64")
        rng = np.random.default_rng(0)
        h = x
        for k, (rows, columns) in enumerate([(40, 64), (64, 64), (64, 64), (64, 10)]):
            h = h @ g.parameter(f"w{k}", rng.normal(size=(rows, columns)) / 8)
            h = gx.dropout(gx.relu(h), 0.1, key=g.random_key(seed=k)) if k < 3 else h
        loss = gx.mean(gx.cross_entropy(h, y))
        updates = gx.optim.Adam(lr=0.01).updates(loss)
        return g, gx.compile([x, y], loss, updates=updates, max_bytes=max_bytes, threads=1)

    g, free = step(None)
    h, tight = step(free.memory() * 4 // 5)
    assert tight.memory() <= free.memory() * 4 // 5
    x, y = np.random.default_rng(2).normal(size=(256, 40)), np.arange(256) % 10
    for _ in range(3):
        assert free(x, y) == tight(x, y)
    for name in g.state:
        np.testing.assert_array_equal(g.state[name], h.state[name])


@pytest.mark.parametrize("seeds", [range(8), pytest.param(range(8, 200), marks=pytest.mark.slow)])
def test_random_graphs_keep_their_bits(seeds: range) -> None:
    tried = 0
    for seed in seeds:
        graph = random_graph(80_000 + seed)
        inputs, outputs = graph.build()
        free = gx.compile(inputs, outputs, unused="ignore", cache=False)
        sizes = {t: SIZES[t] for t in free.program.symbols}
        try:
            gx.compile(inputs, outputs, unused="ignore", cache=False, max_bytes=1).memory(**sizes)
        except gx.CompileError as error:
            least = int(str(error).split("at least ")[1].split()[0])
        if least == free.memory(**sizes):
            continue
        tried += 1
        tight = gx.compile(inputs, outputs, unused="ignore", cache=False, max_bytes=least)
        assert tight.memory(**sizes) == least
        same(tight(*graph.arrays()), free(*graph.arrays()))
    assert tried or len(seeds) < 20


@pytest.mark.parametrize("bad", [0, -5, True, 1.5, "1 MB"])
def test_a_limit_is_a_count_of_bytes(bad: Any) -> None:
    with pytest.raises(gx.CompileError, match="max_bytes must be an int of at least 1"):
        deep(4, 1, max_bytes=bad)
