"""C libraries: the bits of the executable, called from C, C++ and ctypes, with no Python in them."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from c_library import CLibrary, assert_same_bits, compiler, flat
from random_graphs import SIZES, random_graph
from test_random_graphs import _condition

import graphc as gx
from graphc.export.c.machine import processors
from graphc.reference import evaluate

STRICT = ["-Wall", "-Wextra", "-Werror", "-pedantic"]
OTHER_SIZES = [SIZES, {"n": 9, "m": 3, "k": 1}, {"n": 1, "m": 1, "k": 1}, {"n": 150, "m": 3, "k": 3}]


def classifier(dtype: str = "float32", names: Any = None) -> tuple[gx.Executable, gx.Executable]:
    """A training step and an inference that share state; ``names`` renames graph, inputs and state."""
    name = names or (lambda text: text)
    g = gx.Graph(name("classifier"), float_dtype=dtype)
    x, y = g.input(name("x"), ("batch", 6), dtype), g.input(name("y"), ("batch",), "int64")
    rng = np.random.default_rng(0)
    w1, b1 = g.parameter(name("W1"), rng.normal(size=(6, 20)).astype(dtype)), g.parameter(name("b1"), np.zeros(20, dtype))
    w2 = g.parameter(name("W2"), rng.normal(size=(20, 3)).astype(dtype) * 0.3)
    key = g.random_key(seed=3, name=name("key"))
    h = gx.tanh(x @ w1 + b1)
    loss = gx.mean(gx.cross_entropy(gx.dropout(h, 0.3, key=key) @ w2, y)).named(name("loss"))
    train = gx.compile([x, y], loss, updates=gx.optim.Adam(lr=0.05).updates(loss))
    return train, gx.compile([x], {name("p"): gx.softmax(h @ w2), name("label"): gx.argmax(h @ w2, axis=-1)})


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, gx.Executable, gx.Executable]:
    compiler()
    directory = tmp_path_factory.mktemp("export") / "model"
    train, infer = classifier()
    gx.export_c(directory, train=train, infer=infer)
    return directory, train, infer


def run(*command: Any, **options: Any) -> str:
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True, timeout=300, **options)
    assert done.returncode == 0, done.stderr
    return done.stdout


# ---- through ctypes


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_training_in_the_library_and_in_process_give_the_same_bits(tmp_path: Path, dtype: str) -> None:
    compiler()
    train, infer = classifier(dtype)
    gx.export_c(tmp_path / "model", train=train, infer=infer)
    library = CLibrary(tmp_path / "model")
    names = library.names("state_name")
    assert set(names) == set(train.graph.state) and library.graph_name() == "classifier"
    rng = np.random.default_rng(1)
    for n in (1, 5, 64, 0, 300, 5):
        x, y = rng.normal(size=(n, 6)).astype(dtype), rng.integers(0, 3, n)
        if n:
            assert_same_bits(library.call(train, "train_", x, y), flat(train(x, y)), f"batch {n}")
        assert_same_bits(library.call(infer, "infer_", x), flat(infer(x)), f"batch {n}")
        for k, name in enumerate(names):
            assert library.array(k).tobytes() == train.graph.state[name].tobytes(), name


def test_states_are_apart_and_calls_reentrant(exported: tuple[Path, gx.Executable, gx.Executable]) -> None:
    directory, train, _ = exported
    rng = np.random.default_rng(2)
    x, y = rng.normal(size=(40, 6)).astype("f"), rng.integers(0, 3, 40)
    one, two = CLibrary(directory), CLibrary(directory)
    first = [one.call(train, "train_", x, y)[0].item() for _ in range(3)]
    assert [two.call(train, "train_", x, y)[0].item() for _ in range(3)] == first and len(set(first)) == 3


def test_labels_out_of_range_and_sizes_are_told(exported: tuple[Path, gx.Executable, gx.Executable]) -> None:
    directory, _, infer = exported
    library = CLibrary(directory)
    before = bytes(library.state)
    x, y, out = np.zeros((4, 6), "f"), np.array([0, 1, 7, 2]), np.zeros((), "f")
    size = library.function("train_workspace_bytes", ctypes.c_int64, ctypes.c_int64)
    work = np.empty(size(4) + 1, np.uint8)[1:]  # of no alignment
    kinds = [ctypes.c_void_p, ctypes.c_int64, *[ctypes.c_void_p] * 4]
    call = library.function("train_call", ctypes.c_int, *kinds)
    given = [a.ctypes.data for a in (x, y, out, work)]
    status = call(library.state, 4, *given)
    assert status == 1 and bytes(library.state) == before
    assert work[:16].copy().view(np.int64).tolist() == [2, 7]
    with pytest.raises(gx.InputIndexError) as found:
        exported[1](x, y)
    assert library.names("train_status_name", 1) == [found.value.node]
    assert call(library.state, -1, *given) == call(library.state, 2**62, *given) == -1
    assert size(-1) == size(2**62) == size(2**63 - 1) == -1 and size(2**40) > 0
    assert library.names("infer_input_name") == ["x"] and library.names("infer_output_name") == ["p", "label"]


def test_sizes_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    compiler()
    g = gx.Graph("sizes")
    a, b = g.input("a", ("n",)), g.input("b", ("m",))
    exe = gx.compile([a, b], (a * b).named("met"))
    exe.export_c(tmp_path / "c", name="pair")
    library = CLibrary(tmp_path / "c", "pair")
    assert library.state is None
    for n, m in ((3, 3), (1, 4), (4, 1)):
        arrays = np.arange(n, dtype="f") + 1, np.arange(m, dtype="f") + 2
        assert_same_bits(library.call(exe, "", *arrays), flat(exe(*arrays)))
    with pytest.raises(AssertionError, match="-2"):
        library.call(exe, "", np.zeros(3, "f"), np.zeros(3, "f")[:2])
    assert library.names("status_name", -2, -1) == ["met"]


# ---- random graphs


def _arrays(graph: Any, sizes: dict[str, int]) -> list[np.ndarray]:
    rng = np.random.default_rng(graph.seed)
    return [rng.uniform(0.3, 1.7, [sizes.get(s, s) for s in shape]).astype(graph.dtype) for shape in graph.shapes]


def check_random_graph(seed: int, dtype: str, cpu: str, folder: Path) -> int:
    """Compares the library with the executable for several sizes; how many sizes fit together."""
    graph = random_graph(seed, dtype)
    inputs, outputs = graph.build()
    exe = gx.compile(inputs, outputs, unused="ignore", threads=1)
    exe.export_c(folder, name=f"r{seed}", cpu=cpu)
    library, ran = CLibrary(folder, f"r{seed}"), 0
    for sizes in OTHER_SIZES:
        arrays = _arrays(graph, sizes)
        try:
            expected = flat(exe(*arrays))
        except gx.InputShapeError:
            with pytest.raises((AssertionError, ValueError)):
                library.call(exe, "", *arrays)
            continue
        ran += 1
        found = library.call(exe, "", *arrays)
        if cpu == "native":
            assert_same_bits(found, expected, f"seed {seed}, {sizes}")
            continue
        feeds = {t.name: a for t, a in zip(inputs, arrays, strict=True)}
        moved = _condition(outputs, feeds, evaluate(outputs, feeds), dtype)
        bound = 1e-5 if dtype == "float32" else 1e-12
        for a, b, slack in zip(found, expected, moved, strict=True):
            scale = np.max(np.abs(b), initial=0.0)
            near = np.abs(a - b) <= bound * np.maximum(np.abs(b), scale) + 4 * slack
            assert np.all(near | (a == b) | (np.isnan(a) & np.isnan(b))), f"seed {seed}, {sizes}: {a} {b}"
    shutil.rmtree(folder)
    return ran


@pytest.mark.parametrize("cpu", ["native", "x86-64-v3"])
@pytest.mark.parametrize("seeds", [range(2), pytest.param(range(2, 200), marks=pytest.mark.nightly)])
def test_random_graphs(seeds: range, cpu: str, tmp_path: Path) -> None:
    compiler()
    if cpu not in processors() or not runs_here(cpu):
        pytest.skip(f"this processor is no {cpu}")
    for seed in seeds:
        for dtype in ("float32", "float64") if len(seeds) > 2 else (("float32", "float64")[seed % 2],):
            assert check_random_graph(seed, dtype, cpu, tmp_path / f"{dtype}{seed}") >= 1


def runs_here(cpu: str) -> bool:
    """Whether this processor has what a level asks for."""
    flags = Path("/proc/cpuinfo").read_text() if os.path.exists("/proc/cpuinfo") else ""
    return cpu == "native" or {"x86-64-v2": " sse4_2 ", "x86-64-v3": " avx2 ", "x86-64-v4": " avx512vl "}[cpu] in flags
