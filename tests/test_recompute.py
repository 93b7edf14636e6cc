"""Programs that keep to a limit of memory: the same bits, fewer bytes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from random_graphs import SIZES, random_graph

import graphc as gx
from graphc.codegen import kernel
from graphc.reference import evaluate
from graphc.schedule import memory


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


# ---- loops


def recurrent(steps: Any, dtype: str = "float32", every: int | None = None, **options: Any) -> gx.Executable:
    """A loss of the last state of an LSTM with 32 units, and its gradients."""
    units = 32
    g = gx.Graph("lstm", float_dtype=dtype)
    x = g.input("x", (steps, 16, 16), dtype)
    rng = np.random.default_rng(0)
    w = g.parameter("w", (rng.normal(size=(16, 4 * units)) / 4).astype(dtype))
    u = g.parameter("u", (rng.normal(size=(units, 4 * units)) / 4).astype(dtype))
    b = g.parameter("b", np.zeros(4 * units, dtype))

    def step(carry: Any, row: Any) -> Any:
        c, h = carry
        z = row @ w + h @ u + b
        i, f, o, new = (z[:, k * units : (k + 1) * units] for k in range(4))
        c = gx.sigmoid(f) * c + gx.sigmoid(i) * gx.tanh(new)
        return (c, gx.sigmoid(o) * gx.tanh(c)), None

    zeros = np.zeros((16, units), dtype)
    (_, h), _ = gx.scan(step, (zeros, zeros), x, checkpoint_every=every)
    loss = gx.mean(h * h)
    return gx.compile([x], [loss, *gx.grad(loss, [w, u, b, x])], **options)


def signal(steps: int, dtype: str = "float32") -> np.ndarray:
    return np.random.default_rng(3).normal(size=(steps, 16, 16)).astype(dtype)


def near(left: Any, right: Any, eps: float) -> None:
    for a, b in zip(left, right, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=8 * eps * np.abs(b).max(initial=0))


@pytest.mark.parametrize("part", [4, 8])
def test_a_loop_keeps_the_carries_between_segments(part: int) -> None:
    free = recurrent(1000, threads=1)
    most = free.memory() // part
    first = free(signal(1000))
    found = []
    for threads in (1, 2):
        exe = recurrent(1000, threads=threads, max_bytes=most)
        assert exe.memory() <= most
        found.append(exe(signal(1000)))
    same(*found)
    same([found[0][0], found[0][4]], [first[0], first[4]])  # the loss and the gradient by x, bit by bit
    near(found[0], first, np.finfo(np.float32).eps)  # sums over the steps are taken segment by segment
    lowered = exe.listing.schedule.graph
    near(evaluate(lowered, {"x": signal(1000)}, exe.graph.state), first, np.finfo(np.float32).eps)


def test_segments_of_a_given_length_take_little_memory() -> None:
    assert recurrent(1000, every=20).memory() < recurrent(1000).memory() / 10


def test_a_tenth_is_enough_for_a_thousand_steps() -> None:
    most = recurrent(1000, threads=1).memory() // 10
    assert recurrent(1000, threads=1, max_bytes=most).memory() <= most


def test_the_least_of_a_loop_is_enough() -> None:
    with pytest.raises(gx.CompileError) as info:
        recurrent(400, "float64", max_bytes=1)
    least = int(str(info.value).split("at least ")[1].split()[0])
    assert least < recurrent(400, "float64").memory() / 4
    exe = recurrent(400, "float64", max_bytes=least)
    assert exe.memory() == least
    near(exe(signal(400, "float64")), recurrent(400, "float64")(signal(400, "float64")), np.finfo(float).eps)
    with pytest.raises(gx.CompileError, match=f"at least {least} bytes"):
        recurrent(400, "float64", max_bytes=least - 1)


def test_loops_of_any_length_are_cut_when_their_length_is_known() -> None:
    free = recurrent("n")
    most = free.memory(n=1000) // 4
    exe = recurrent("n", max_bytes=most)
    for n in (50, 1000, 7, 0, 1, 999, 50):  # the last ones with segments of the longest
        assert exe.memory(n=n) <= most
        near(exe(signal(n)), free(signal(n)), np.finfo(np.float32).eps)
    assert "loop" in str(exe.explain(exe.program.results[0].name))


def swing(n: Any, reverse: bool, second: bool, **options: Any) -> gx.Executable:
    """Two carries, rows in and out, random numbers, a loop inside, and all of it differentiated, perhaps twice."""
    g = gx.Graph("swing", float_dtype="float64")
    force, k = g.input("force", (n,)), g.parameter("k", 1.3)
    key = g.random_key(5)

    def step(carry: Any, f: Any) -> Any:
        x, v = carry
        more, _ = gx.scan(lambda a, _: (gx.sin(a * k), None), f, length=3)
        v = v * 0.9 + 0.1 * (more - k * gx.sin(x)) + 0.01 * gx.random.normal(key, (64,))
        x = x + 0.1 * v
        return (x, v), gx.sum(x * v)

    (x, v), path = gx.scan(step, (np.ones(64), np.zeros(64)), force, reverse=reverse)
    loss = gx.sum(x * x) + gx.sum(v) + gx.sum(path * path)
    slopes = gx.grad(loss, [k, force])
    if second:
        slopes += gx.grad(gx.sum(slopes[1] ** 2) + slopes[0], [k, force])
    return gx.compile([force], [loss, path, *slopes], updates={key: key}, **options)


@pytest.mark.parametrize("second", [False, pytest.param(True, marks=pytest.mark.slow)])
@pytest.mark.parametrize(("n", "reverse"), [(211, False), ("n", True)])
def test_steps_of_any_kind_are_made_again(n: Any, reverse: bool, second: bool) -> None:
    sizes = {"n": 211} if n == "n" else {}
    free, force = swing(n, reverse, second), np.random.default_rng(1).normal(size=211)
    with pytest.raises(gx.CompileError) as info:
        swing(n, reverse, second, max_bytes=1).memory(**sizes)
    least = int(str(info.value).split("at least ")[1].split()[0])
    assert least < free.memory(**sizes) * (0.95 if second else 0.5)
    exe = swing(n, reverse, second, max_bytes=least)
    assert exe.memory(**sizes) == least
    near(exe(force), free(force), np.finfo(float).eps)


def test_bodies_are_scheduled_once_for_all_trials(monkeypatch: pytest.MonkeyPatch) -> None:
    """A search makes some fifty schedules, which hold few bodies."""
    trials, made = [], []
    schedule, body_schedule = kernel.schedule, memory.body_schedule
    monkeypatch.setattr(kernel, "schedule", lambda *args: trials.append(1) or schedule(*args))
    monkeypatch.setattr(memory, "body_schedule", lambda *args: made.append(1) or body_schedule(*args))
    with pytest.raises(gx.CompileError):
        swing(211, False, False, max_bytes=1)
    assert len(trials) > 40 and len(made) < len(trials) * 1.5


def test_a_gradient_of_many_examples_is_cut_too() -> None:
    def pendulums(**options: Any) -> gx.Executable:
        g = gx.Graph("pendulums", float_dtype="float64")
        start, k = g.input("start", ("many",)), g.input("k")

        def slope(x0: Any) -> Any:
            (x, v), _ = gx.scan(
                lambda c, _: ((c[0] + 0.1 * c[1], c[1] - k * gx.sin(c[0])), None), (x0, 0.0), length=400
            )
            return gx.grad(x, x0)

        return gx.compile([start, k], gx.vmap(slope)(start), **options)

    free, starts = pendulums(), np.linspace(0, 1, 9)
    whole = free.memory(many=9)
    exe = pendulums(max_bytes=whole // 4)
    assert exe.memory(many=9) <= whole // 4
    np.testing.assert_array_equal(exe(starts, 0.01), free(starts, 0.01))


@pytest.mark.parametrize("bad", [0, -5, True, 1.5, "1 MB"])
def test_a_limit_is_a_count_of_bytes(bad: Any) -> None:
    with pytest.raises(gx.CompileError, match="max_bytes must be an int of at least 1"):
        deep(4, 1, max_bytes=bad)
