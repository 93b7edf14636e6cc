"""Kernels compiled by Numba's public interface alone, because it was asked for or because a private name is gone."""

from __future__ import annotations

import ctypes
import itertools
import os
import re
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import test_words
from op_cases import CASES
from random_graphs import SIZES, random_graph

import graphc as gx
from graphc.codegen import jit, plain, private
from graphc.codegen.words import call_address
from graphc.reference import evaluate

PACKAGE = Path(gx.__file__).parent
TESTS = Path(__file__).parent


@pytest.fixture
def public(monkeypatch: pytest.MonkeyPatch) -> None:
    """Numba's public interface compiles."""
    monkeypatch.setenv("GRAPHC_ENGINE", "numba")


# ---- values


@pytest.mark.parametrize(
    "first", [pytest.param(k, marks=[pytest.mark.slow] * (k > 0)) for k in range(0, len(CASES), 45)]
)
def test_every_op(first: int, public: None) -> None:
    g = gx.Graph("cases", float_dtype="float64")
    inputs, outputs = [], {}
    for case in CASES[first : first + 45]:
        tensors = [g.input(f"{case.name}_{k}", shape, "float64") for k, shape in enumerate(case.shapes)]
        outputs[case.name] = case.build(*tensors)
        inputs += tensors
    exe = gx.compile(inputs, outputs)
    assert isinstance(exe.bound.compiled.function, plain.Plain)
    sizes = {"n": 3, "m": 2}
    rng = np.random.default_rng(0)
    arrays = [rng.uniform(0.2, 0.8, [sizes.get(str(s), s) for s in t.shape]) for t in inputs]
    expected = evaluate(list(outputs.values()), {t.name: a for t, a in zip(inputs, arrays, strict=True)})
    for (name, found), value in zip(exe(*arrays).items(), expected, strict=True):
        np.testing.assert_allclose(found, value, rtol=1e-11, atol=1e-13, err_msg=name)


@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_random_graphs(seed: int, public: None) -> None:
    graph = random_graph(seed, "float32")
    inputs, outputs = graph.build()
    exe = gx.compile(inputs, outputs, unused="ignore")
    rng = np.random.default_rng(seed)
    arrays = [rng.uniform(0.3, 1.7, [SIZES.get(s, s) for s in shape]).astype("f4") for shape in graph.shapes]
    expected = gx.compile(inputs, outputs, unused="ignore", backend="numpy")(*arrays)
    for a, b in zip(exe._structure.unpack(exe(*arrays)), exe._structure.unpack(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-3, atol=2e-3)


def test_training_in_batches_on_threads_with_products(public: None, monkeypatch: pytest.MonkeyPatch) -> None:
    def trained(threads: int) -> tuple[list[float], list[bytes]]:
        g = gx.Graph("mlp")
        x, y, key = g.input("x", ("batch", 40)), g.input("y", ("batch",), "int64"), g.random_key(seed=0)
        h = gx.relu(x @ g.parameter("W1", gx.init.normal((40, 64), std=0.1, seed=0)))
        logits = gx.dropout(h, 0.1, key=key) @ g.parameter("W2", gx.init.normal((64, 10), std=0.1, seed=1))
        loss = gx.mean(gx.cross_entropy(logits, y))
        train = gx.compile([x, y], loss, updates=gx.optim.Adam(lr=0.01).updates(loss), threads=threads)
        rng = np.random.default_rng(0)
        data = rng.normal(size=(3000, 40)).astype(np.float32), rng.integers(0, 10, 3000)
        with pytest.raises(gx.InputIndexError, match="label 10 at row 1"):
            train(data[0][:2], np.array([0, 10]))
        losses = [float(train.run_batches(data, 1000, shuffle=True, seed=k).mean()) for k in range(3)]
        losses.append(float(train(*data)))
        return losses, [g.state[name].tobytes() for name in g.state]

    one, two = trained(1), trained(2)
    assert one == two and one[0][2] < one[0][0]
    monkeypatch.setenv("GRAPHC_ENGINE", "auto")
    np.testing.assert_allclose(trained(1)[0], one[0], rtol=1e-4)


def test_the_source_compiles_under_plain_njit() -> None:
    """``exe.source`` is Python that Numba compiles, without any option of graphc's."""
    numba = pytest.importorskip("numba")
    g = gx.Graph("g", float_dtype="float64")
    x, w = g.input("x", ("n", 3), "float64"), g.input("w", (3,), "float64")
    exe = gx.compile([x, w], [gx.sum(gx.softmax(gx.tanh(x * w))) + gx.max(x), x @ w], threads=1)
    scope = jit.define("plain_source", exe.source)
    words = "int64(int64, int64, int64, int64, int64)"
    kernel = numba.cfunc(words, error_model="numpy")(scope["kernel"])
    arrays = np.random.default_rng(0).normal(size=(5, 3)), np.random.default_rng(1).normal(size=3)
    made = [np.empty(()), np.empty(5)]
    tables = [np.array([a.ctypes.data for a in some]) for some in (arrays, made)]
    work = np.empty(exe.memory(n=5) + 64, np.uint8)
    dims = np.array([5])
    at = work.ctypes.data + -work.ctypes.data % 64
    status = kernel.ctypes(tables[0].ctypes.data, tables[1].ctypes.data, dims.ctypes.data, exe.state_address, at)
    assert status == 0
    for found, expected in zip(made, exe(*arrays), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-13)


@pytest.mark.parametrize("function", [test_words.arithmetic, test_words.loops, test_words.nested, test_words.nothing])
def test_functions_of_words(function: object) -> None:
    made = plain.of_words(function, call_address).ctypes
    for a, b in itertools.product(range(-3, 15), repeat=2):
        assert made(a, b) == function(a, b), (a, b)  # type: ignore[operator]


def test_functions_by_symbol_and_by_address() -> None:
    add = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64, ctypes.c_int64)(lambda a, b: a + b)
    table = (ctypes.c_int64 * 2)(-7, 0)
    made = plain.of_words(test_words.through_memory, call_address).ctypes
    assert made(ctypes.addressof(table), ctypes.cast(add, ctypes.c_void_p).value) == 12


def test_an_engine_that_does_not_exist(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRAPHC_ENGINE", "steam")
    with pytest.raises(gx.CompileError, match="GRAPHC_ENGINE must be one of auto, numba, found 'steam'"):
        jit.compile_source("def kernel(a):\n    return a\n", "kernel", "int64(int64)")


def test_code_is_shown(public: None) -> None:
    g = gx.Graph("g")
    x = g.input("x", ("n",))
    stages = gx.compile([x], gx.sum(gx.exp(x) * 0.125)).stages
    assert "define" in stages["llvm"] and "ret" in stages["assembly"] and "exp(" in stages["source"]


# ---- private names


def test_private_names_stand_in_one_file() -> None:
    taken = re.compile(
        r"\bnumba\.(?!types\b|extending\b|config\b)[a-z_]+\.\w+|from numba\.(?!extending import)[a-z_.]+"
    )
    for file in sorted(PACKAGE.rglob("*.py")):
        text = file.read_text()
        found = [line for line in text.splitlines() if re.search(r"\bimport\b", line) and taken.search(line)]
        assert file.name == "private.py" or not found, (file, found)
    users = "".join(f.read_text() for f in PACKAGE.rglob("*.py") if f.name != "private.py")
    for name in re.findall(r"^(\w+) = _take", (PACKAGE / "codegen/private.py").read_text(), re.M):
        assert re.search(rf"\b{name}\b", users), f"nobody uses {name}"


def test_none_is_missing_here() -> None:
    for consequence in (private.ENGINE, private.EXPORT_C, private.GLOBAL):
        assert private.missing(consequence) == []


EACH = """
import os, sys, warnings
sys.path.insert(0, TESTS)
import without_private_names as names, numba, numpy, networkx, scipy
failed = []
for name in names.names()[:: int(sys.argv[1])]:
    child = os.fork()
    if child == 0:
        try:
            names.remove({name})
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                import ctypes, graphc as gx
                from graphc.codegen import jit, plain, private
                for k in (1, 2):
                    made = jit.compile_source(f"def kernel(a, b):\\n    return a * b + {k}\\n", "kernel",
                                              "int64(int64, int64)", python_callable=False)
                    assert ctypes.CFUNCTYPE(ctypes.c_int64, *[ctypes.c_int64] * 2)(made.address)(3, 4) == 12 + k
            gone = name in private.missing(private.ENGINE)
            assert gone or name in private.missing(private.EXPORT_C) + private.missing(private.GLOBAL), "not gone"
            assert plain.is_plain() == gone and len(caught) == gone, [str(w.message) for w in caught]
            assert not gone or name in str(caught[0].message)
        except BaseException as error:
            print(name, type(error).__name__, str(error)[:300], flush=True)
            os._exit(1)
        os._exit(0)
    if os.waitpid(child, 0)[1]:
        failed.append(name)
print("failed", failed)
""".replace("TESTS", repr(str(TESTS)))

ALL = """
import warnings
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    import numba, numpy as np, graphc as gx
    g = gx.Graph("g")
    x, w = g.input("x", ("n", 3)), g.parameter("w", np.ones((3, 2), np.float32))
    loss = gx.mean(gx.tanh(x @ w) ** 2)
    train = gx.compile([x], loss, updates=gx.optim.SGD(lr=0.5).updates(loss))
    data = np.linspace(-1, 1, 300, dtype=np.float32).reshape(100, 3)
    first = train(data)
    assert train.run_batches([data], 20, shuffle=True, seed=0).mean() < first
    f = gx.compile([x], loss).njit

@numba.njit
def around(f, x):
    return f(x)

assert np.isclose(around(f, data), gx.compile([x], loss, backend="numpy")(data))
assert len(caught) == 1 and "kernels are compiled by numba.njit" in str(caught[0].message), [str(w.message) for w in caught]
try:
    gx.compile([x], loss).export_c("never")
except gx.ExportError as error:
    assert "lacks" in str(error)
"""

EXPORTED = """
import sys, numpy as np
sys.path.insert(0, ".")
import exported
rows = np.linspace(-1, 1, 300, dtype=np.float32).reshape(100, 3)
print(*[float(exported.run(rows)) for _ in range(3)])
assert "graphc" not in sys.modules
"""


def without(gone: str, script: Path) -> str:
    command = [sys.executable, str(TESTS / "without_private_names.py"), gone, str(script)]
    env = {**os.environ, "PYTHONPATH": str(PACKAGE.parent)}
    done = subprocess.run(command, capture_output=True, text=True, timeout=500, cwd=script.parent, env=env)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("step", [7, pytest.param(1, marks=pytest.mark.slow)])
def test_each_name_may_go(step: int, tmp_path: Path) -> None:
    """In turn, each in a child of its own; every seventh by default."""
    (tmp_path / "each.py").write_text(EACH)
    env = {**os.environ, "PYTHONPATH": str(PACKAGE.parent)}
    command = [sys.executable, str(tmp_path / "each.py"), str(step)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=500, env=env)
    assert done.stdout.strip() == "failed []", done.stdout + done.stderr


def test_all_names_may_go_at_once(tmp_path: Path) -> None:
    (tmp_path / "all.py").write_text(ALL)
    without("all", tmp_path / "all.py")


def test_exported_modules_outlive_private_names(tmp_path: Path) -> None:
    g = gx.Graph("run")
    x, w = g.input("x", ("n", 3)), g.parameter("w", np.ones((3, 2), np.float32))
    loss = gx.mean(gx.tanh(x @ w) ** 2)
    exe = gx.compile([x], loss, updates=gx.optim.SGD(lr=0.5).updates(loss))
    exe.export_python(tmp_path / "exported.py", name="run")
    text = (tmp_path / "exported.py").read_text()
    assert not re.search(r"^(from|import) numba\.(?!extending)", text, re.M)
    (tmp_path / "use.py").write_text(EXPORTED)
    rows = np.linspace(-1, 1, 300, dtype=np.float32).reshape(100, 3)
    expected = [float(exe(rows)) for _ in range(3)]
    for gone in ("all", "numba.core.compiler.CompilerBase"):
        found = [float(word) for word in without(gone, tmp_path / "use.py").split()]
        np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_a_later_numba_that_breaks_the_short_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a version that graphc knows a fault is a fault; on a later one the public interface takes over, said once."""

    def broken(self: jit.Function) -> None:
        raise AttributeError("something that is gone")

    monkeypatch.setattr(jit, "_shared", {})
    monkeypatch.setattr(plain, "_broken", [])
    monkeypatch.setattr(jit.Function, "module", broken)
    source, words = "def kernel(a):\n    return a + 41\n", "int64(int64)"
    with pytest.raises(AttributeError, match="something that is gone"):
        jit.compile_source(source, "kernel", words, on_disk=False, python_callable=False)
    monkeypatch.setattr(plain, "NEWEST", (0, 1))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        made = [
            jit.compile_source(source.replace("41", str(k)), "kernel", words, on_disk=False, python_callable=False)
            for k in (41, 42)
        ]
    assert [ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64)(m.address)(1) for m in made] == [42, 43]
    assert len(caught) == 1 and "something that is gone" in str(caught[0].message)
