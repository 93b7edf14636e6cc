"""Executables as C source: built by a C compiler, with vectors of GNU C and without, they give what Python gives."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from c_library import STRICT, CLibrary, assert_same_bits, classifier, compiler, flat, run
from op_cases import CASES
from random_graphs import random_graph

import graphc as gx
from graphc.export.c.kernels import WITHOUT
from graphc.export.c.machine import processors


def built(folder: Path, name: str, *options: str) -> CLibrary:
    """The library that a compiler makes of an export's source."""
    files = [folder / f"{name}{end}.c" for end in ("", "_kernels", "_data", "_names")]
    strict = ["-std=c99", "-Wall", "-Wextra", "-Werror", "-Wno-psabi"]
    run(compiler(), *strict, *(options or ["-O1"]), "-fPIC", "-shared", *files, "-lm", "-o", folder / f"lib{name}.so")
    return CLibrary(folder, name)


def assert_near(found: list[np.ndarray], expected: list[np.ndarray], what: str, single: float = 2e-5) -> None:
    """Within some roundings of the largest element of each output."""
    for mine, right in zip(found, expected, strict=True):
        if right.dtype.kind != "f":
            np.testing.assert_array_equal(mine, right, err_msg=what)
            continue
        largest = np.max(np.abs(right), where=np.isfinite(right), initial=0.0)
        most = (single if right.dtype == np.float32 else 1e-11) * max(largest, 1e-30)
        np.testing.assert_allclose(mine, right, rtol=0, atol=most, equal_nan=True, err_msg=what)


def exported(exe: gx.Executable, folder: Path, *options: str, name: str = "model") -> CLibrary:
    exe.export_c(folder, name=name, cpu="x86-64-v3" if "x86-64-v3" in processors() else "native", source=True)
    return built(folder, name, *options)


def agrees(exe: gx.Executable, folder: Path, *arrays: np.ndarray, single: float = 2e-5, options: Any = ()) -> None:
    found = exported(exe, folder, *options).call(exe, "", *arrays)
    assert_near(found, flat(exe(*arrays)), folder.name, single)


# ---- ops


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("step", [9, pytest.param(1, marks=pytest.mark.nightly)])
def test_ops(dtype: str, step: int, tmp_path: Path) -> None:
    """Every op of the table that has a form in C: all but the gamma family."""
    compiler()
    cases = CASES[::step]
    for first in range(0, len(cases), 40):
        g = gx.Graph("ops", float_dtype=dtype)
        inputs, outputs, arrays = [], {}, []
        for case in cases[first : first + 40]:
            given = [g.input(f"{case.name}_{k}", shape, dtype) for k, shape in enumerate(case.shapes)]
            made = case.build(*given)
            if not of_gamma(given, made):
                outputs[case.name] = made
                inputs += given
                arrays += case.arrays(dtype)
        exe = gx.compile(inputs, outputs, backend="numpy")
        agrees(exe, tmp_path / str(first), *arrays, single=1e-4)


def test_rows_in_order(tmp_path: Path) -> None:
    """By a network and by bytes, as the process sorts them."""
    g = gx.Graph("order")
    x, wide = g.input("x", ("r", "n"), "float32"), g.input("wide", ("r", "n"), "float64")
    places = [gx.argsort(x, descending=True), gx.argsort(wide), gx.argmax(x, 1), gx.argmin(wide, 1)]
    exe = gx.compile([x, wide], [gx.sort(x), gx.sort(wide, descending=True), *places])
    library = exported(exe, tmp_path / "order")
    for size in (1, 9, 100, 1000, 5000, 17_000):
        a = np.random.default_rng(size).normal(size=(2, size))
        a[:, ::5], a[:, ::7] = np.nan, -0.0
        for mine, right in zip(library.call(exe, "", a.astype("float32"), a), exe(a.astype("float32"), a), strict=True):
            assert np.array_equal(mine, right, equal_nan=True) and np.array_equal(np.signbit(mine), np.signbit(right))


def of_gamma(given: list[gx.Tensor], made: gx.Tensor) -> bool:
    exe = gx.compile(given, made, backend="numpy", unused="ignore")
    return any(node.op.name in WITHOUT for node in exe.program.optimised.nodes)


def test_the_gamma_family_is_refused(tmp_path: Path) -> None:
    g = gx.Graph("gamma", float_dtype="float64")
    x = g.input("x", shape=("n",))
    with pytest.raises(gx.ExportError, match="lgamma has no form in C source"):
        gx.compile([x], gx.lgamma(x), backend="numpy").export_c(tmp_path / "m", source=True)
    with pytest.raises(gx.ExportError, match="leave out blas"):
        gx.compile([x], x + x, backend="numpy").export_c(tmp_path / "m", source=True, blas="linked")
    with pytest.raises(gx.ExportError, match="source must be True or False"):
        gx.export_c(tmp_path / "m", source=gx.compile([x], x + x, backend="numpy"))
    assert not (tmp_path / "m").exists()


def test_division_and_whole_numbers(tmp_path: Path) -> None:
    """Quotients of negative numbers and by 0, and what wraps around."""
    compiler()
    g = gx.Graph("whole")
    a, b = g.input("a", shape=("n",), dtype="int64"), g.input("b", shape=("n",), dtype="int64")
    small = gx.astype(a, "int32")
    outputs = [
        a + b,
        a * b,
        a - b,
        -a,
        a // b,
        a % b,
        gx.abs(a),
        small * small,
        gx.astype(a, "uint8") + gx.astype(b, "uint8"),
    ]
    x = np.array([7, -7, 7, -7, 0, 2**63 - 1, -(2**63), -(2**63), 5], "i8")
    y = np.array([2, 2, -2, -2, 3, 5, -1, 2**40, 0], "i8")
    agrees(
        gx.compile([a, b], outputs),
        tmp_path / "m",
        x,
        y,
        options=["-O2", "-fsanitize=undefined", "-fno-sanitize-recover"],
    )


# ---- loops and branches, as libraries and as source


def loops(backend: str) -> list[tuple[str, gx.Executable, list[np.ndarray]]]:
    rng = np.random.default_rng(3)
    made = []
    g = gx.Graph("scan")
    x, h = g.input("x", shape=("t", 5)), g.input("h", shape=(5,))
    w = g.parameter("w", rng.normal(size=(5, 5)).astype("f4"))
    last, ys = gx.scan(lambda h, x: ((m := gx.tanh(h @ w + x)), m * m), h, x)
    loss = gx.sum(ys) + gx.sum(last)
    exe = gx.compile([x, h], [loss, ys, *gx.grad(loss, [w, x, h])], backend=backend)
    made.append(("scan", exe, [rng.normal(size=(7, 5)).astype("f4"), rng.normal(size=5).astype("f4")]))
    g = gx.Graph("euler", float_dtype="float64")
    y, n = g.input("y", shape=()), g.input("n", shape=(), dtype="int64")
    t, z = gx.while_loop(
        lambda s: s[0] < n, lambda s: (s[0] + 1, s[1] + 0.01 * gx.sin(s[1])), (n * 0, y), max_steps=500
    )
    made.append(("while", gx.compile([y, n], [t, z, gx.grad(z, y)], backend=backend), [np.array(0.3), np.array(200)]))
    g = gx.Graph("branch")
    x = g.input("x", shape=("n",))
    v = gx.cond(gx.sum(x) > 0, lambda x: gx.exp(x), lambda x: -x * x, x)
    exe = gx.compile([x], [v, gx.grad(gx.sum(v), x)], backend=backend)
    made += [(f"cond {sign}", exe, [(sign * np.arange(1, 6)).astype("f4")]) for sign in (1, -1)]
    g = gx.Graph("map")
    x = g.input("x", shape=("n", 4))
    v = gx.map(lambda r: gx.softmax(r) * gx.cumsum(r), x)
    made.append(
        (
            "map",
            gx.compile([x], [v, gx.grad(gx.sum(v * v), x)], backend=backend),
            [rng.normal(size=(6, 4)).astype("f4")],
        )
    )
    return made


@pytest.mark.parametrize("backend", ["numpy", pytest.param("numba", marks=pytest.mark.slow)])
def test_loops_and_branches(backend: str, tmp_path: Path) -> None:
    compiler()
    for what, exe, arrays in loops(backend):
        agrees(exe, tmp_path / what, *arrays)
        if backend == "numba":
            exe.export_c(tmp_path / f"{what} object")
            found = CLibrary(tmp_path / f"{what} object").call(exe, "", *arrays)
            assert_same_bits(found, flat(exe(*arrays)), what)


# ---- whole programs


@pytest.mark.parametrize("options", [["-O2"], ["-O1", "-DGRAPHC_PLAIN", "-pedantic"]], ids=["vectors", "plain"])
def test_training(tmp_path: Path, options: list[str]) -> None:
    """State, updates, labels out of range; sizes that fill no vector."""
    compiler()
    train, infer = classifier()
    gx.export_c(tmp_path / "m", source=True, train=train, infer=infer)
    library = built(tmp_path / "m", "model", *options)
    rng = np.random.default_rng(1)
    for n in (1, 5, 64, 300):
        x, y = rng.normal(size=(n, 6)).astype("f4"), rng.integers(0, 3, n)
        assert_near(library.call(train, "train_", x, y), flat(train(x, y)), f"batch {n}")
        assert_near(library.call(infer, "infer_", x), flat(infer(x)), f"batch {n}")
    for k, name in enumerate(library.names("state_name")):
        held = train.graph.state[name]
        assert_near([library.array(k).reshape(held.shape)], [held], name)
    with pytest.raises(AssertionError, match="1"):
        library.call(train, "train_", np.ones((2, 6), "f4"), np.array([0, 3]))


@pytest.mark.slow
def test_sanitizers_find_nothing(tmp_path: Path) -> None:
    cc = compiler()
    train, infer = classifier()
    g = train.graph
    x = g.input("ordered", shape=("k", 9))
    more = gx.compile([x], [gx.sort(x), gx.cumsum(x, 0), gx.sum(gx.exp(x), 0), x.T @ x])
    gx.export_c(tmp_path / "m", source=True, train=train, infer=infer, more=more)
    files = [tmp_path / "m" / f"{f}.c" for f in ("main", "model", "model_kernels", "model_data", "model_names")]
    checks = ["-fsanitize=undefined,address", "-fno-sanitize-recover=all", "-g0"]
    done = subprocess.run(
        [cc, *checks, "-x", "c", "-", "-o", tmp_path / "t"], input="int main(void) { return 0; }", text=True
    )
    if done.returncode != 0:
        pytest.skip("this compiler has no sanitizers")
    run(cc, "-std=c99", "-O1", *STRICT[:3], "-Wno-psabi", *checks, *files, "-lm", "-o", tmp_path / "main")
    assert "train 91" in run(tmp_path / "main")


def test_names_do_not_reach_the_code(tmp_path: Path) -> None:
    for k, names in enumerate((("x", "y"), ("*/ #include", "a\nb"))):
        g = gx.Graph(names[0])
        x = g.input(names[0], shape=("n",))
        w = g.parameter(names[1], np.ones(3, "f4"))
        gx.compile([x], gx.tanh(x) * gx.sum(w), backend="numpy").export_c(tmp_path / str(k), source=True)
    for file in ("model.c", "model_kernels.c", "model_data.c", "main.c", "CMakeLists.txt"):
        assert (tmp_path / "0" / file).read_text() == (tmp_path / "1" / file).read_text()


@pytest.mark.slow
def test_a_build_by_cmake(tmp_path: Path) -> None:
    compiler()
    if shutil.which("cmake") is None:
        pytest.skip("no cmake")
    train, infer = classifier()
    gx.export_c(tmp_path / "m", source=True, train=train, infer=infer)
    run("cmake", "-S", tmp_path / "m", "-B", tmp_path / "build")
    run("cmake", "--build", tmp_path / "build")
    assert "train 91" in run(tmp_path / "build" / "model_main")


@pytest.mark.nightly
@pytest.mark.parametrize("seed", range(40))
def test_random_graphs(seed: int, tmp_path: Path) -> None:
    compiler()
    graph = random_graph(900 + seed, ("float32", "float64")[seed % 2])
    inputs, outputs = graph.build()
    exe = gx.compile(inputs, outputs, unused="ignore", backend="numpy")
    try:
        agrees(exe, tmp_path / "m", *graph.arrays(), single=1e-4)
    except gx.ExportError as error:
        pytest.skip(str(error))


TIMED = r"""
#include "net.h"
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
static net_state state;
static float x[256 * 784];
static int32_t y[256];
int main(void) {
    unsigned seed = 1;
    for (int i = 0; i < 256 * 784; i++) x[i] = (seed = seed * 1664525u + 1013904223u, (seed >> 8) / 16777216.0f);
    for (int i = 0; i < 256; i++) y[i] = (seed = seed * 1664525u + 1013904223u, (seed >> 8) % 10);
    net_init(&state);
    void *work = malloc((size_t)net_workspace_bytes(256));
    float loss = 0;
    double best = 1e9;
    for (int round = 0; round < 12; round++) {
        clock_t start = clock();
        for (int k = 0; k < 10; k++) if (net_call(&state, 256, x, y, &loss, work) != 0) return 1;
        double spent = (double)(clock() - start) / CLOCKS_PER_SEC / 10;
        if (spent < best) best = spent;
    }
    printf("%.9g %.9g\n", loss, best);
    return 0;
}
"""


@pytest.mark.nightly
def test_a_training_step_is_as_fast_as_object_code(tmp_path: Path) -> None:
    """Of the network for Fashion-MNIST: within 1e-5 of the loss, at most 1.3 times its time."""
    cc = compiler()
    if "x86-64-v3" not in processors():
        pytest.skip("not an x86-64 processor")
    rng = np.random.default_rng(0)
    g = gx.Graph("net")
    x, y = g.input("x", shape=("n", 784)), g.input("y", shape=("n",), dtype="int32")
    w1 = g.parameter("w1", (rng.normal(size=(784, 256)) * 0.05).astype("f4"))
    w2 = g.parameter("w2", (rng.normal(size=(256, 10)) * 0.05).astype("f4"))
    b1, b2 = g.parameter("b1", np.zeros(256, "f4")), g.parameter("b2", np.zeros(10, "f4"))
    loss = gx.mean(gx.cross_entropy(gx.relu(x @ w1 + b1) @ w2 + b2, y))
    exe = gx.compile([x, y], loss, updates=gx.optim.SGD(0.1).updates(loss), backend="numpy")
    (tmp_path / "timed.c").write_text(TIMED)
    exe.export_c(tmp_path / "object", name="net", cpu="x86-64-v3")
    exe.export_c(tmp_path / "source", name="net", cpu="x86-64-v3", source=True)
    files = [tmp_path / "source" / f"net{end}.c" for end in ("", "_kernels", "_data", "_names")]
    common = [cc, "-std=c99", "-O3", "-march=x86-64-v3", tmp_path / "timed.c", f"-I{tmp_path}/object"]
    run(*common, tmp_path / "object" / "libnet.a", "-lm", "-o", tmp_path / "from_object")
    run(*common, *files, "-lm", "-o", tmp_path / "from_source")
    found = [[run(tmp_path / f"from_{way}").split() for way in ("object", "source")] for _ in range(5)]
    losses = np.array([[float(loss) for loss, _ in pair] for pair in found])
    times = np.array([[float(spent) for _, spent in pair] for pair in found])
    np.testing.assert_allclose(losses[:, 1], losses[:, 0], rtol=1e-5)
    assert np.median(times[:, 1] / times[:, 0]) < 1.3, times
