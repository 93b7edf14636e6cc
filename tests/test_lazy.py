"""Executables that answer before their kernel is compiled."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

import graphc as gx
from graphc.codegen import jit
from graphc.run import bound, program


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """An event that the compiler waits for."""
    event = threading.Event()
    compile_source = bound.compile_source

    def later(*args: object, **options: object) -> object:
        assert event.wait(60)
        return compile_source(*args, **options)

    monkeypatch.setattr(bound, "compile_source", later)
    monkeypatch.setattr(jit, "_shared", {})
    yield event
    event.set()


def counting() -> tuple[gx.Graph, gx.Tensor, gx.Tensor, gx.Tensor]:
    """A sum, and a count of the calls that computed it."""
    g = gx.Graph("counting", float_dtype="float64")
    x = g.input("x", ("n",), "float64")
    count = g.variable("count", 0)
    return g, x, gx.sum(gx.tanh(x) * gx.exp(x)), count


X = np.linspace(-1, 1, 100)


def test_the_interpreter_answers_until_the_kernel_does(held: threading.Event) -> None:
    g, x, total, count = counting()
    exe = gx.compile([x], total, {count: count + 1}, lazy=True, cache=False)
    first = exe(X)
    assert not exe.wait(0) and not exe.wait(0.01)
    assert g.state["count"] == 1
    held.set()
    assert exe.wait() and exe.wait(0)
    np.testing.assert_allclose(exe(X), first, rtol=1e-13)
    assert g.state["count"] == 2
    assert exe(X) == gx.compile([x], total, {count: count + 1}, cache=False)(X)


def test_bad_input_is_refused_alike_before_and_after(held: threading.Event) -> None:
    g = gx.Graph("rows")
    x, rows = g.input("x", (3, 2)), g.input("rows", ("n",), "int64")
    exe = gx.compile([x, rows], gx.take(x, rows, 0), lazy=True, cache=False)
    for ready in (False, True):
        if ready:
            held.set()
            assert exe.wait()
        with pytest.raises(gx.InputIndexError, match="7"):
            exe(np.ones((3, 2), np.float32), np.array([0, 7]))
        with pytest.raises(gx.InputShapeError, match="x"):
            exe(np.ones((2, 2), np.float32), np.array([0, 1]))
        assert exe(np.ones((3, 2), np.float32), np.array([0, -1])).shape == (2, 2)


@pytest.mark.parametrize(
    "look",
    [
        lambda exe: exe.address,
        lambda exe: exe.state_address,
        lambda exe: exe.cfunc,
        lambda exe: exe.njit,
        lambda exe: exe.source,
        lambda exe: exe.stages["source"],
        lambda exe: exe.memory(n=1000),
        lambda exe: exe.run_batches([X], 10),
    ],
)
def test_what_needs_the_kernel_waits_for_it(held: threading.Event, look: object) -> None:
    _, x, total, _ = counting()
    exe = gx.compile([x], total, lazy=True, cache=False)
    threading.Timer(0.05, held.set).start()
    assert not exe.wait(0)
    assert look(exe) is not None
    assert exe.wait(0)


def test_errors_of_the_compiler_come_up_at_the_next_call(
    held: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(self: object, **options: object) -> None:
        assert held.wait(60)
        raise gx.CompileError("no such instruction")

    monkeypatch.setattr(program.Program, "kernel", broken)
    _, x, total, _ = counting()
    exe = gx.compile([x], total, lazy=True, cache=False)
    assert np.isfinite(exe(X))
    held.set()
    for ask in (exe.wait, lambda: exe(X), lambda: exe.njit):
        with pytest.raises(gx.CompileError, match="no such instruction") as found:
            ask()
        assert found.value.origin is not None and found.value.origin.file == __file__


def test_a_kernel_on_disk_is_loaded_at_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("GRAPHC_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(jit, "_shared", {})
    for known in (False, True):
        _, x, total, _ = counting()
        exe = gx.compile([x], total, lazy=True)
        assert exe.wait(0) or not known
        assert exe.wait()


def test_other_backends_and_compiling_at_once_have_nothing_to_wait_for() -> None:
    _, x, total, _ = counting()
    assert gx.compile([x], total).wait()
    assert not gx.compile([x], total, backend="numpy", lazy=True).wait()


def test_calls_from_threads_are_counted_once_across_the_change(held: threading.Event) -> None:
    g, x, total, count = counting()
    exe = gx.compile([x], total, {count: count + 1}, lazy=True, cache=False)
    results: list[float] = []
    stop = threading.Event()

    def call() -> None:
        while not stop.is_set():
            results.append(exe(np.resize(X, 50 + len(results) % 3)))

    threads = [threading.Thread(target=call) for _ in range(4)]
    for thread in threads:
        thread.start()
    time.sleep(0.1)
    before = len(results)
    held.set()
    assert exe.wait()
    time.sleep(0.1)
    stop.set()
    for thread in threads:
        thread.join()
    assert g.state["count"] == len(results) > before > 0
    assert len({round(float(r), 9) for r in results}) == 3


PROGRAM = """
import os, sys, numpy as np, graphc as gx
g = gx.Graph("wide")
x = h = g.input("x", ("b", 5))
for k in range(40):
    h = gx.tanh(h @ g.parameter(f"w{k}", np.ones((5 + k, 6 + k), "f"))) + gx.exp(-gx.sum(h, 1))[:, None]
exe = gx.compile([x], gx.sum(h), lazy=True, cache=False)
A = np.zeros((2, 5), "f")
first = exe(A)
assert not exe.wait(0)
"""


def fresh(program: str) -> str:
    """What a program prints in a process of its own."""
    command = [sys.executable, "-W", "error", "-c", program]
    return subprocess.run(command, check=True, timeout=120, capture_output=True, text=True).stdout


def test_a_process_ends_without_waiting_for_the_kernel() -> None:
    last = "import atexit\natexit.register(lambda: print(exe.wait(0)))\n"  # runs after all handlers of graphc
    assert fresh(last + PROGRAM) == "False\n"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
def test_a_child_compiles_for_itself() -> None:
    fresh(
        PROGRAM
        + """
import time; time.sleep(0.3)  # in the middle of it
child = os.fork()
if child == 0:
    assert np.allclose(exe(A), first)
    os._exit(0 if exe.wait() and np.allclose(exe(A), first) else 1)
assert os.waitpid(child, 0)[1] == 0
assert exe.wait() and np.allclose(exe(A), first)
"""
    )
