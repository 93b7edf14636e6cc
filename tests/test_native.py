"""Executables in other compiled code: ``@numba.njit`` functions, cached or not."""

from __future__ import annotations

import gc
import os
import pickle
import subprocess
import sys
from pathlib import Path

import numba
import numpy as np
import pytest
from numba.core.errors import TypingError
from random_graphs import random_graph

import graphc as gx


def quadratic(factor: float = 1.0, as_state: bool = False) -> gx.Executable:
    """sum(factor * x ** 2) and its gradient."""
    g = gx.Graph("quadratic", float_dtype="float64")
    x = g.input("x", ("n",), "float64")
    y = gx.sum(x * x) * (g.parameter("factor", factor) if as_state else factor)
    return gx.compile([x], [y, gx.grad(y, x)])


def test_a_function_is_a_global_a_closure_variable_or_an_argument() -> None:
    exe = quadratic(3.0)
    f = exe.njit
    x = np.array([1.0, -2.0])

    @numba.njit
    def closure(x):  # type: ignore[no-untyped-def]
        return f(x)

    @numba.njit
    def argument(f, x):  # type: ignore[no-untyped-def]
        return f(x)

    for value, slope in (f(x), closure(x), argument(f, x), argument(quadratic(3.0, as_state=True).njit, x)):
        assert value == 15.0 and slope.tolist() == [6.0, -12.0]
    assert argument(quadratic(2.0).njit, x)[0] == 10.0
    assert len(argument.signatures) == 1, "what is computed is no part of the type"


def test_state_is_read_where_it_stands() -> None:
    g = gx.Graph(float_dtype="float64")
    x, w = g.input("x", (), "float64"), g.parameter("w", 2.0)
    step = gx.compile([x], w * x, updates={w: w + 1.0}).njit

    @numba.njit
    def run(n):  # type: ignore[no-untyped-def]
        total = 0.0
        for _ in range(n):
            total += step(1.0)
        return total

    assert run(3) == 2 + 3 + 4 and g.state["w"] == 5.0
    g.state["w"] = np.float64(-1.0)
    assert run(1) == -1.0


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int32", "int64", "float32", "float64"])
def test_scalars_of_every_dtype(dtype: str) -> None:
    g = gx.Graph()
    x, y = g.input("x", (), dtype), g.input("y", (2,), dtype)
    both = gx.compile([x, y], {"same": gx.where(gx.equal(x, x), x, x), "all": y, "one": gx.astype(x, "float64")}).njit
    one = np.dtype(dtype).type(1)
    same, all_, number = both(one, np.array([0, 1], dtype))
    assert same == one and all_.tolist() == [0, 1] and all_.dtype == dtype and number == 1.0
    assert both(np.array(1, dtype), np.array([[1, 0], [0, 1]], dtype)[:, 0])[1].tolist() == [1, 0]


def test_scalars_keep_their_meaning() -> None:
    g = gx.Graph(float_dtype="float64")
    a, k, n = g.input("a", (), "float64"), g.input("k", (), "int32"), g.input("n", (), "int64")
    f = gx.compile([a, k, n], gx.astype(k, "float64") + a * gx.astype(n, "float64")).njit
    assert f(3, np.int32(2), 5) == f(np.float32(3), np.int32(2), np.int32(5)) == 17.0
    assert f(True, np.int32(2), np.int32(5)) == 7.0
    for wrong in ((1.0, 2, 5), (1.0, np.int32(2), 5.0), (1.0, np.int32(2), True), (1j, np.int32(2), 5)):
        with pytest.raises(TypingError, match=r"input \d: expected a number or 0-d array of"):
            f(*wrong)


def test_arguments_that_do_not_fit() -> None:
    f = quadratic().njit
    for wrong, text in (
        ((np.ones(3, np.float32),), r"input 0: expected an array of 1 axes of float64, found array\(float32, 1d, C\)"),
        ((np.ones((3, 1)),), "input 0: expected an array of 1 axes of float64"),
        ((1.0,), "input 0: expected an array of 1 axes"),
    ):
        with pytest.raises(TypingError, match=text):
            f(*wrong)
    with pytest.raises(TypingError, match="expected 1 inputs, found 2"):
        f(np.ones(3), np.ones(3))


def test_sizes_and_indices_that_do_not_fit() -> None:
    g = gx.Graph(float_dtype="float64")
    a, b = g.input("a", ("n", 3), "float64"), g.input("b", ("m",), "float64")
    rows = g.input("rows", ("k",), "int64")
    f = gx.compile([a, b, rows], gx.sum(a[:, 0] + b) + gx.sum(gx.take(b, rows))).njit
    rows4, row = np.zeros(1, np.int64), np.array([3])
    assert f(np.ones((4, 3)), np.ones(4), rows4) == 9.0 and f(np.ones((4, 3)), np.ones(1), rows4) == 9.0
    with pytest.raises(ValueError, match="input 0 has the wrong size on axis 1"):
        f(np.ones((4, 2)), np.ones(4), rows4)
    with pytest.raises(ValueError, match="sizes of inputs do not fit"):
        f(np.ones((4, 3)), np.ones(3), rows4)
    with pytest.raises(IndexError):
        f(np.ones((3, 3)), np.ones(3), row)


@pytest.mark.parametrize("seed", [pytest.param(k, marks=[pytest.mark.slow] * (k > 0)) for k in range(4)])
def test_random_graphs_give_the_same_bits(seed: int) -> None:
    """As in a call from Python, for arrays as they are and for strided ones."""
    graph = random_graph(seed, ("float32", "float64")[seed % 2])
    exe = gx.compile(*graph.build(), unused="ignore")
    arrays = graph.arrays()
    strided = [np.repeat(a[..., None], 2, -1)[..., 0] for a in arrays]
    for given in (arrays, strided):
        for one, other in zip(exe.njit(*given), exe(*arrays), strict=True):
            assert np.asarray(one, other.dtype).tobytes() == other.tobytes(), graph.script()


def test_memory_lives_as_long_as_the_call() -> None:
    """Workspace and a strided array's copy, so large that the system takes them back when they are freed."""
    g = gx.Graph(float_dtype="float64")
    x = g.input("x", ("n",), "float64")
    exe = gx.compile([x], gx.softmax(gx.tanh(x)) @ gx.flip(x))

    @numba.njit
    def user(f, x):  # type: ignore[no-untyped-def]
        return f(x[::2])

    for n in (10, 1_000_000):
        values = np.random.default_rng(0).normal(size=2 * n)
        assert exe.memory(n=n) > 8 * n and user(exe.njit, values) == exe(values[::2])


def test_compiled_code_outlives_the_executable() -> None:
    f = quadratic(2.0, as_state=True).njit

    @numba.njit
    def user(x):  # type: ignore[no-untyped-def]
        return f(x)[0]

    x = np.ones(4)
    assert user(x) == 8.0
    f = None  # type: ignore[assignment]
    gc.collect()
    _ = [np.full(64, 7.0) for _ in range(1000)]
    assert user(x) == 8.0


# ---- Numba's disk cache


USER = """
import numba

@numba.njit(cache=True)
def inner(f, x):
    return f(x)[0]

@numba.njit(cache=True)
def descend(f, x, steps):
    for _ in range(steps):
        x = x - 0.125 * f(x)[1]
    return inner(f, x), x
"""

ARGUMENT = """
import sys, numpy as np, graphc as gx
from user import descend
power, factor = int(sys.argv[1]), float(sys.argv[2])
g = gx.Graph(float_dtype="float64")
x = g.input("x", ("n",), "float64")
y = gx.sum(x ** power) * (g.parameter("w", factor) if "state" in sys.argv else factor)
exe = gx.compile([x], [y, gx.grad(y, x)])
found, at = descend(exe.njit, np.array([0.5, 1.0]), 2)
point = np.array([0.5, 1.0])
for _ in range(2):
    point = point - 0.125 * exe(point)[1]
assert at.tobytes() == point.tobytes() and found == exe(point)[0], "stale"
print(len(descend.stats.cache_hits), len(descend.stats.cache_misses))
"""

GLOBAL = """
import sys, numpy as np, graphc as gx, numba
factor = float(sys.stdin.read())
g = gx.Graph(float_dtype="float64")
x = g.input("x", ("n",), "float64")
f = gx.compile([x], gx.sum(x) * factor).njit

@numba.njit(cache=True)
def user(x):
    return f(x)

def make(f):
    @numba.njit(cache=True)
    def inside(x):
        return f(x)
    return inside

@numba.njit(cache=True)
def outer(x):
    return user(x)

print(outer(np.ones(3)), user(np.ones(3)), make(f)(np.ones(3)), len(user.stats.cache_hits))
"""


def python(directory: Path, program: str, *args: str, given: str = "") -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "NUMBA_CACHE_DIR": str(directory / "numba")}
    command = [sys.executable, str(directory / program), *args]
    done = subprocess.run(command, env=env, input=given, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    return done


@pytest.mark.parametrize(
    "runs",
    [
        ["3 6", "2 5 state"],
        pytest.param(["2 1", "2 1", "2 3", "3 1", "2 5 state", "2 6 state", "2 1"], marks=pytest.mark.slow),
    ],
    ids=len,
)
def test_a_cached_caller_is_found_and_never_stale(runs: list[str], tmp_path: Path) -> None:
    """Fresh processes: the graph, its numbers and its state change, the caller's file does not."""
    (tmp_path / "user.py").write_text(USER)
    (tmp_path / "argument.py").write_text(ARGUMENT)
    counts = [python(tmp_path, "argument.py", *run.split()).stdout.split() for run in runs]
    assert counts[0] == ["0", "1"] and counts[1] == ["1", "0"], "an equal interface finds the caller compiled"
    assert all(c == ["1", "0"] for c in counts[5:]), "whatever is computed"


def test_a_cached_caller_of_a_global_is_compiled_anew(tmp_path: Path) -> None:
    (tmp_path / "global.py").write_text(GLOBAL)
    for factor in (1.0, 2.0):
        done = python(tmp_path, "global.py", given=str(factor))
        assert done.stdout.split() == [str(3 * factor)] * 3 + ["0"]
        for name in ("user", "outer", "inside"):
            assert f'Cannot cache compiled function "{name}"' in done.stderr


def test_what_belongs_to_a_process_does_not_leave_it() -> None:
    text = pickle.dumps(quadratic().njit)
    with pytest.raises(TypeError, match="belongs to the process that compiled it"):
        pickle.loads(text)
