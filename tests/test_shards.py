"""Shards: the same bits on any number of threads, and right for sizes around every cut."""

from __future__ import annotations

import os
import platform
import threading
from typing import Any

import numpy as np
import pytest
from random_graphs import random_graph

import graphc as gx
from graphc.codegen.jit import compile_source
from graphc.codegen.kernel import SIGNATURE
from graphc.ir import dims
from graphc.ir.state import aligned_empty
from graphc.run.crew import WORTH, crew


def logistic(threads: int | None = None) -> gx.Executable:
    g = gx.Graph("logistic", float_dtype="float64")
    x, y = g.input("x", ("n", 50), "float64"), g.input("y", ("n",), "float64")
    w = g.input("w", (50,), "float64")
    z = x @ w
    loss = gx.sum(gx.softplus(z) - y * z)
    return gx.compile([x, y, w], [loss, gx.grad(loss, w), gx.sigmoid(z)], threads=threads)


def network(threads: int) -> gx.Executable:
    g = gx.Graph("network")
    x, y = g.input("x", ("n", 300)), g.input("y", ("n",), "int64")
    rng = np.random.default_rng(0)
    w1 = g.parameter("w1", rng.normal(size=(300, 200)).astype("f") * 0.1)
    w2 = g.parameter("w2", rng.normal(size=(200, 10)).astype("f") * 0.1)
    b = g.parameter("b", np.zeros(200, "f"))
    loss = gx.mean(gx.cross_entropy(gx.relu(x @ w1 + b) @ w2, y))
    updates = gx.optim.Adam(lr=0.01).updates(loss)
    return gx.compile([x, y], {"loss": loss, "softmax": gx.softmax(x)}, updates=updates, threads=threads)


@pytest.mark.parametrize("n", [0, 1, 2, 63, 64, 65, 129, 1000, 70_001])
def test_rows_in_blocks_are_right_around_every_cut(n: int) -> None:
    rng = np.random.default_rng(n)
    x, y, w = rng.normal(size=(n, 50)), rng.integers(0, 2, n).astype(float), rng.normal(size=50) * 0.1
    exe = logistic()
    assert "dots_f64" in exe.source and "ranks_f64" in exe.source
    loss, slope, p = exe(x, y, w)
    z = x @ w
    right = 1 / (1 + np.exp(-z))
    np.testing.assert_allclose(loss, np.sum(np.logaddexp(0, z) - y * z), rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(slope, x.T @ (right - y), rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(p, right, rtol=1e-13)


def test_bits_do_not_depend_on_threads() -> None:
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(4000, 300)).astype("f"), rng.integers(0, 10, 4000)
    results = []
    for threads in (1, 2, 4, 8):
        exe = network(threads)
        outs = [exe(x, y) for _ in range(5)]
        results.append(
            [*(o["loss"] for o in outs), outs[-1]["softmax"], *(exe.graph.state[n] for n in exe.graph.state)]
        )
        kernel: Any = exe._kernel
        assert dims.evaluate(kernel.cost, {"n": 4000}) > WORTH, "helpers are not asked for"
    for other in results[1:]:
        for a, b in zip(results[0], other, strict=True):
            np.testing.assert_array_equal(a, b)
    assert crew().helpers == 7


@pytest.mark.parametrize("seeds", [range(5), pytest.param(range(5, 500), marks=pytest.mark.slow)])
def test_random_graphs_have_the_same_bits_on_many_threads(seeds: range, monkeypatch: pytest.MonkeyPatch) -> None:
    """With shards of a row or so, and helpers asked for wherever there are shards; a kernel without any costs 0."""
    monkeypatch.setattr("graphc.run.executable.WORTH", 1)
    monkeypatch.setattr("graphc.codegen.team.GRAIN", 16)
    for seed in seeds:
        graph = random_graph(50_000 + seed)
        arrays = graph.arrays()
        inputs, outputs = graph.build()
        right = gx.compile(inputs, outputs, backend="numpy", unused="ignore")(*arrays)
        alone = gx.compile(inputs, outputs, threads=1, unused="ignore", cache=False)(*arrays)
        for a, b in zip(right, alone, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-9, err_msg=f"seed {seed}")
        for threads in (2, 4, 8):
            together = gx.compile(inputs, outputs, threads=threads, unused="ignore", cache=False)
            kernel = together.program.kernel(serial=False)
            assert "claim(" in kernel.source or kernel.cost == 0, f"seed {seed}"
            for _ in range(100 if seed < 2 else 3):
                for a, b in zip(alone, together(*arrays), strict=True):
                    np.testing.assert_array_equal(a, b, err_msg=f"seed {seed}, {threads} threads")


@pytest.mark.parametrize("n", [1, 100, 4000])
def test_a_serial_kernel_runs_the_same_shards_in_plain_loops(n: int) -> None:
    rng = np.random.default_rng(2)
    x, y = rng.normal(size=(n, 300)).astype("f"), rng.integers(0, 10, n)
    expected = network(2)(x, y)
    exe = network(1)
    kernel = exe.program.kernel(serial=True)
    assert "claim" not in kernel.source and "for shard in range" in kernel.source
    compiled = compile_source(kernel.source, "kernel", SIGNATURE, parts=kernel.parts)
    outputs = [np.empty((), "f"), np.empty((n, 300), "f")]
    tables = [np.array([a.ctypes.data for a in arrays]) for arrays in ([x, y], outputs, exe._bounds[-1].state)]
    work = aligned_empty((dims.evaluate(kernel.work_bytes, {"n": n}),), np.dtype("uint8"))
    ins, outs, state = (t.ctypes.data for t in tables)
    assert compiled.entry(ins, outs, np.array([n]).ctypes.data, state, work.ctypes.data) == 0
    assert outputs[0] == expected["loss"] and outputs[1].tobytes() == expected["softmax"].tobytes()


def test_a_failing_call_ends_for_every_thread() -> None:
    exe = network(4)
    x, y = np.zeros((4000, 300), "f"), np.zeros(4000, "i8")
    before = exe.graph.state["w1"]
    y[3999] = 10
    for _ in range(20):
        with pytest.raises(gx.InputIndexError, match="label 10 at row 3999"):
            exe(x, y)
    np.testing.assert_array_equal(exe.graph.state["w1"], before)
    y[3999] = 9
    assert np.isfinite(exe(x, y)["loss"])


def test_a_late_range_test_comes_before_any_state_is_written() -> None:
    """The index is a sum over all shards; the state that nothing reads could be written shard by shard before."""
    g = gx.Graph("late")
    x, table = g.input("x", (70_000,)), g.constant(np.arange(5, dtype=np.float32))
    kept = g.variable("kept", np.zeros(70_000, np.float32))
    exe = gx.compile([x], gx.take(table, gx.sum(x).astype("int64")), updates={kept: x * 3})
    bad = np.zeros(70_000, np.float32)
    bad[7] = 9
    with pytest.raises(gx.InputIndexError, match="index 9"):
        exe(bad)
    assert not g.state["kept"].any()
    bad[7] = 4
    assert exe(bad) == 4 and g.state["kept"][7] == 12


def test_calls_from_many_threads_share_one_crew() -> None:
    exe = logistic(2)
    rng = np.random.default_rng(2)
    x, y, w = rng.normal(size=(40_000, 50)), np.ones(40_000), rng.normal(size=50)
    right = exe(x, y, w)
    wrong: list[Any] = []

    def work() -> None:
        for _ in range(20):
            found = exe(x, y, w)
            if not all(np.array_equal(a, b) for a, b in zip(found, right, strict=True)):
                wrong.append(found)

    workers = [threading.Thread(target=work) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not wrong


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork")
def test_a_forked_child_gathers_a_crew_of_its_own() -> None:
    exe = logistic(2)
    x, y, w = np.ones((40_000, 50)), np.ones(40_000), np.ones(50)
    right = exe(x, y, w)
    child = os.fork()
    if child == 0:
        same = all(np.array_equal(a, b) for a, b in zip(exe(x, y, w), right, strict=True))
        os._exit(0 if same and crew().helpers == 1 else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_one_thread_starts_none() -> None:
    before = crew().helpers
    logistic(1)(np.ones((200_000, 50)), np.ones(200_000), np.ones(50))
    assert crew().helpers == before


@pytest.mark.skipif(platform.machine().lower() not in ("x86_64", "amd64"), reason="other processors have no pause")
def test_threads_that_wait_let_the_processor_rest() -> None:
    """Without a pause, what counts looks instead of time falls asleep between two calls and has to be woken."""
    g = gx.Graph("wait")
    x = g.input("x", (1000, 1000))
    exe = gx.compile([x], gx.sum(gx.exp(x)), threads=2)
    assert "llvm.x86.sse2.pause" in exe.stages["llvm"]
