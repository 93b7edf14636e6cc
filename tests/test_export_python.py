"""Exported Python modules: the same bits as in process, without graphc, whatever things are called."""

from __future__ import annotations

import ast
import builtins
import dis
import importlib.util
import itertools
import os
import subprocess
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from data import make_golden
from example_networks import EXAMPLES, LONG, executables_of, feeds
from killing import killed_at_random
from random_graphs import SIZES, gradient_of_a_product, random_graph
from test_file import same
from test_file_refusals import hostile_names

import graphc as gx
from graphc.codegen.emit import PRIMITIVES
from graphc.export.flat import catalogue, flatten
from graphc.export.python import OWN, module_source

COUNT = itertools.count()


def load(path: Path) -> ModuleType:
    """The module, which is not entered in sys.modules."""
    name = f"exported_{next(COUNT)}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def exported(exe: gx.Executable, path: Path, **options: Any) -> tuple[Any, ModuleType]:
    """The function of the executable's module, and the module."""
    exe.export_python(path, **options)
    module = load(path)
    assert module.program.compiled == []  # importing compiles nothing
    return getattr(module, module.__all__[0]), module


def same_results(a: Any, b: Any) -> None:
    """Same structure, types, bits."""
    assert type(a) is type(b)
    if isinstance(a, dict):
        assert list(a) == list(b)
    one, two = (x if isinstance(x, list) else list(x.values()) if isinstance(x, dict) else [x] for x in (a, b))
    assert [type(x) for x in one] == [type(x) for x in two]
    if a is not None:
        same(a, b)


def same_state(module: ModuleType, graph: gx.Graph) -> None:
    for name in module.state:
        assert module.state[name].tobytes() == graph.state[name].tobytes(), name


# ---- bits


def deep(dtype: str) -> gx.Executable:
    """A network whose kernel calls parts, with products, trained by Adam."""
    g = gx.Graph("deep", float_dtype=dtype)
    x, y = g.input("x", ("batch", 40), dtype), g.input("y", ("batch",), "int64")
    h = x
    for k in range(8):
        w = g.parameter(f"w{k}", gx.init.normal((40, 40), std=0.2, seed=k), dtype)
        h = gx.tanh(h @ w + g.parameter(f"b{k}", np.zeros(40), dtype))
    loss = gx.mean(gx.cross_entropy(h, y))
    return gx.compile([x, y], [loss, h], updates=gx.optim.Adam(lr=0.01).updates(loss))


@pytest.mark.parametrize("dtype", ["float32", pytest.param("float64", marks=pytest.mark.slow)])
def test_a_kernel_in_parts_trains_with_equal_bits(dtype: str, tmp_path: Path) -> None:
    exe = deep(dtype)
    train, module = exported(exe, tmp_path / "deep.py")
    assert "def items1(" in (tmp_path / "deep.py").read_text() and "code_f" in (tmp_path / "deep.py").read_text()
    rng = np.random.default_rng(0)
    for n in (300, 1, 7, 300):
        x, y = rng.normal(size=(n, 40)).astype(dtype), rng.integers(0, 40, n)
        same_results(train(x, y), exe(x, y))
    same_state(module, exe.graph)
    assert len(module.state) == 8 * 2 * 3 + 1


@pytest.mark.parametrize("name", make_golden.CASES)
def test_networks_with_dropout_state_indices_and_odd_names(name: str, tmp_path: Path) -> None:
    executables, calls = make_golden.CASES[name]()
    for key, exe in executables.items():
        if exe.backend != "numba":
            with pytest.raises(gx.ExportError, match='expected backend="numba"'):
                exe.export_python(tmp_path / "m.py")
            continue
        run, module = exported(exe, tmp_path / "m.py")
        for arrays in [a for k, a in calls if k == key]:
            for n in (len(arrays[0]), 1, len(arrays[0])):
                some = [a[:n] if len(a) == len(arrays[0]) else a for a in arrays]
                if name == "indexing":
                    some = arrays
                same_results(run(*some), exe(*some))
        same_state(module, exe.graph)


def _random(seed: int, path: Path) -> None:
    for dtype in ("float32", "float64"):
        graph = random_graph(seed, dtype)
        inputs, outputs = graph.build()
        exe = gx.compile(inputs, outputs, unused="ignore")
        run, _ = exported(exe, path)
        rng = np.random.default_rng(seed)
        for size in (SIZES["n"], 1, 130):
            sizes = {**SIZES, "n": size}
            arrays = [rng.uniform(0.3, 1.7, [sizes.get(s, s) for s in shape]).astype(dtype) for shape in graph.shapes]
            try:
                expected = exe(*arrays)
            except gx.InputShapeError as error:
                with pytest.raises(ValueError, match="sizes do not fit") as found:
                    run(*arrays)
                assert str(found.value).split("\n")[0] == error.message
            else:
                same_results(run(*arrays), expected)


@pytest.mark.parametrize("seed", [2, *(pytest.param(k, marks=pytest.mark.slow) for k in range(2))])
def test_random_graphs(seed: int, tmp_path: Path) -> None:
    _random(seed, tmp_path / "r.py")


@pytest.mark.slow
@pytest.mark.parametrize("block", range(20))
def test_two_hundred_random_graphs(block: int, tmp_path: Path) -> None:
    for seed in range(10 * block, 10 * block + 10):
        _random(seed, tmp_path / "r.py")


@pytest.mark.parametrize("name", [pytest.param(n, marks=[pytest.mark.slow] * (n != "xor")) for n in EXAMPLES])
def test_every_network_of_the_examples(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = [exe for held in executables_of(name, tmp_path, monkeypatch).values() for exe in held.values()]
    for exe in made[: 8 if name in LONG else None]:
        run, module = exported(exe, tmp_path / "e.py")
        for size in (4, 1, 7, 300):
            arrays = feeds(exe, size)
            same_results(run(*arrays), exe(*arrays))
        same_state(module, exe.graph)


def test_sums_have_the_order_of_the_executable(tmp_path: Path) -> None:
    """LLVM may reorder them, and does where it optimises a loop otherwise."""
    exe = gradient_of_a_product()
    run, _ = exported(exe, tmp_path / "p.py")
    for n in range(1, 40):
        x = np.random.default_rng(n).uniform(0.3, 1.7, n)
        same_results(run(x, 0.7), exe(x, 0.7))


def test_a_file_that_changed_before_the_first_call_is_not_taken_for_the_module(tmp_path: Path) -> None:
    """The kernel is compiled from the text of the file."""
    g = gx.Graph("g", float_dtype="float64")
    x = g.input("x", ("n",), "float64")
    run, _ = exported(gx.compile([x], x + 2.0), tmp_path / "c.py")
    gx.compile([x], x + 3.0).export_python(tmp_path / "c.py")
    with pytest.raises(OSError, match=r"c\.py has changed since it was imported"):
        run(np.ones(3))
    (tmp_path / "c.py").unlink()
    with pytest.raises(OSError):
        run(np.ones(3))


def test_relaxed_arithmetic_is_relaxed_there_too(tmp_path: Path) -> None:
    g = gx.Graph("fast", float_dtype="float64")
    x = g.input("x", ("n",), "float64")
    exe = gx.compile([x], gx.sum(x / 3.0 + gx.exp(x) * x + x * x * x), fastmath=True)
    run, _ = exported(exe, tmp_path / "f.py")
    assert "fastmath=True" in (tmp_path / "f.py").read_text()
    data = np.random.default_rng(0).normal(size=1001)
    assert run(data) == exe(data)


# ---- calls


def classifier() -> gx.Executable:
    g = gx.Graph("classifier")
    x, y = g.input("x", ("batch", 4)), g.input("y", ("batch",), "int64")
    w = g.parameter("W", gx.init.normal((4, 3), std=0.5, seed=0))
    loss = gx.mean(gx.cross_entropy(x @ w, y))
    return gx.compile([x, y], {"loss": loss}, updates=gx.optim.Momentum(lr=0.1).updates(loss))


def test_arguments_are_checked_and_a_failing_call_changes_nothing(tmp_path: Path) -> None:
    run, module = exported(classifier(), tmp_path / "c.py", name="train")
    x, y = np.ones((5, 4), np.float32), np.array([0, 1, 2, 0, 1])
    before = {n: module.state[n] for n in module.state}
    with pytest.raises(TypeError, match=r"train\(\) missing 1 required positional argument: 'y'"):
        run(x)
    with pytest.raises(ValueError, match=r"input 'x': expected float32\[batch, 4\], found shape \(5,\)\n  at test_exp"):
        run(x[:, 0], y)
    with pytest.raises(ValueError, match=r"input 'y'.*found shape \(4,\) where batch = 5 by 'x'"):
        run(x, y[:4])
    with pytest.raises(ValueError, match=r"input 'x'.*found shape \(5, 3\) where batch = 5 by 'x'"):
        run(x[:, :3], y)
    with pytest.raises(TypeError, match=r"input 'y': expected int64\[batch\], found float64, which cannot be conv"):
        run(x, y * 1.0)
    with pytest.raises(TypeError, match="found dtype complex64"):
        run(x * 1j, y)
    with pytest.raises(TypeError, match="masked"):
        run(np.ma.MaskedArray(x), y)
    with pytest.raises(IndexError, match=r"label 3 at row 1 is not in \[0, 3\)\n  at test_export_python.py:\d+   loss"):
        run(x, y + np.eye(5, dtype=int)[1] * 2)
    assert all(np.array_equal(module.state[n], before[n]) for n in before)
    exe = classifier()
    strange = np.asfortranarray(x.astype("f8"))[::1, ::-1]
    strange.flags.writeable = False
    same_results(run(y=y.astype("u1").tolist(), x=strange), exe(strange, y))


def test_sizes_that_meet_when_called(tmp_path: Path) -> None:
    g = gx.Graph("meet", float_dtype="float64")
    a, b = g.input("a", ("n",), "float64"), g.input("b", ("m",), "float64")
    exe = gx.compile([a, b], [a + b, a * 2.0])
    run, _ = exported(exe, tmp_path / "m.py")
    for n, m in ((3, 3), (3, 1), (1, 4)):
        same_results(run(np.ones(n), np.ones(m)), exe(np.ones(n), np.ones(m)))
    with pytest.raises(
        ValueError,
        match=r"add: sizes do not fit: expected n == m, or 1, found 3 and 2\n  at test_export_python.py:\d+   exe",
    ):
        run(np.ones(3), np.ones(2))


def test_state_is_read_and_set(tmp_path: Path) -> None:
    exe = classifier()
    run, module = exported(exe, tmp_path / "c.py")
    x, y = np.ones((5, 4), np.float32), np.zeros(5, np.int64)
    run(x, y)
    module.state["W"][...] = 7  # a copy
    for name, value in {n: module.state[n] for n in module.state}.items():
        exe.graph.state[name] = value
    same_results(run(x, y), exe(x, y))
    module.state["W"] = np.full((4, 3), 2, np.float32)
    assert module.state["W"].tolist() == [[2.0] * 3] * 4 and list(module.state) == [row[0] for row in module.STATE]
    with pytest.raises(ValueError, match=r"state 'W': expected shape \(4, 3\), found \(\)"):
        module.state["W"] = np.float32(0)
    module.state["W"] = np.full((4, 3), 3.0)  # converted as arguments are
    assert module.state["W"].dtype == np.float32 and module.state["W"].tolist() == [[3.0] * 3] * 4
    with pytest.raises(TypeError, match="state 'W': expected dtype float32, found complex64"):
        module.state["W"] = np.zeros((4, 3), np.complex64)
    with pytest.raises(KeyError):
        module.state["V"] = 0
    with pytest.raises(TypeError, match="cannot be deleted"):
        del module.state["W"]


# ---- without graphc

BLOCKED = """
import sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {blocked}:
            raise ImportError(name + " is blocked")

sys.meta_path.insert(0, Blocker())
sys.path.insert(0, {folder!r})
import numpy as np
import {module} as m
assert m.program.compiled == []
data = np.load({data!r})
calls = [[data[k] for k in sorted(data) if k.startswith(f"in {{n}} ")] for n in range({count})]
found = getattr(m, m.__all__[0])
for n, arrays in enumerate(calls):
    out = found(*arrays)
    for k, value in enumerate(out):
        assert np.asarray(value).tobytes() == data[f"out {{n}} {{k}}"].tobytes(), (n, k)
assert "graphc" not in sys.modules and "networkx" not in sys.modules
print("hits", sum(c.cache_hits for c in m.program.compiled), "of", len(m.program.compiled))
"""


def _alone(exe: gx.Executable, tmp_path: Path, python: str = sys.executable, **options: Any) -> list[str]:
    """What two fresh processes print that run the module where graphc cannot be imported."""
    exe.export_python(tmp_path / "alone.py", **options)
    rng, data = np.random.default_rng(0), {}
    calls = [[rng.normal(size=(n, 40)).astype(np.float32), rng.integers(0, 40, n)] for n in (60, 3)]
    for n, arrays in enumerate(calls):
        data |= {f"in {n} {k}": a for k, a in enumerate(arrays)}
        data |= {f"out {n} {k}": np.asarray(a) for k, a in enumerate(exe(*arrays))}
    np.savez(tmp_path / "data.npz", **data)
    blocked = ("graphc", "networkx") if os.environ.get("GRAPHC_BLAS") else ("graphc", "networkx", "scipy")
    code = BLOCKED.format(
        blocked=blocked, folder=str(tmp_path), module="alone", data=str(tmp_path / "data.npz"), count=len(calls)
    )
    env = {k: v for k, v in os.environ.items() if not k.startswith(("GRAPHC", "PYTHONPATH"))}
    out = []
    for _ in range(2):
        done = subprocess.run([python, "-I", "-c", code], capture_output=True, text=True, env=env, timeout=300)
        assert done.returncode == 0, done.stderr[-3000:]
        out.append(done.stdout.strip())
    return out


def test_a_fresh_process_needs_no_graphc_and_numba_keeps_the_machine_code(tmp_path: Path) -> None:
    first, second = _alone(deep("float32"), tmp_path, cache=True)
    count = first.split()[-1]
    assert int(count) >= 3 and first == f"hits 0 of {count}" and second == f"hits {count} of {count}"
    assert list((tmp_path / "__pycache__").glob("*.nbi"))


def test_products_by_a_library(tmp_path: Path) -> None:
    code = (
        "import pathlib, pytest, test_export_python as t, graphc as gx\n"
        f"path = pathlib.Path({str(tmp_path)!r})\n"
        "with pytest.raises(gx.ExportError, match='products by a library'):\n"
        "    t.deep('float32').export_python(path / 'no.py', cache=True)\n"
        "assert not (path / 'no.py').exists()\n"
        "assert t._alone(t.deep('float32'), path)[1].startswith('hits 0')\n"
        "assert 'blas = \"openblas\"' in (path / 'alone.py').read_text()\n"
    )
    env = {**os.environ, "GRAPHC_BLAS": "openblas"}
    here = str(Path(__file__).parent)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env, cwd=here, timeout=400)
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.mark.slow
def test_an_environment_with_numba_and_numpy_only(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "venv"], check=True)
    folder, file = ("Scripts", "python.exe") if os.name == "nt" else ("bin", "python")
    python = str(tmp_path / "venv" / folder / file)
    made = subprocess.run([python, "-m", "pip", "install", "-q", "numba", "numpy"], capture_output=True, text=True)
    if made.returncode:
        pytest.skip(f"no packages at hand: {made.stderr[-200:]}")
    _alone(deep("float32"), tmp_path, python)


# ---- names


def named(names: list[str]) -> gx.Executable:
    """A graph of many leaves and inner nodes with these names."""
    g = gx.Graph(names[0])
    x = g.input(names[1], ("n",))
    key = iter(names[2:])
    out = x
    for k, name in enumerate(key):
        leaf = g.parameter if k % 2 else g.variable
        out = ((out * leaf(name, np.float32(k))).named(name + "?") if k % 3 else out + leaf(name, np.float32(k))) + 1.5
    labels = g.input(names[-1] + "!", ("n",), "int64")
    hot = gx.take(gx.reshape(out, (-1,)), labels)
    return gx.compile([x, labels], dict(zip(names, [out, hot] * len(names), strict=False)))


def code_of(source: str) -> str:
    """The module without what tells names: comments, docstrings, tables, and the head of its function."""
    tree = ast.parse(source)
    tables = {"INPUTS", "OUTPUTS", "STATE", "KEYS", "SYMBOLS", "CHECKS", "TESTS", "__all__"}
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.FunctionDef, ast.ClassDef)) and ast.get_docstring(node) is not None:
            del node.body[0]
    kept: list[str] = []
    functions = 0
    for node in tree.body:
        if isinstance(node, (ast.Assign, ast.AnnAssign)):
            target = node.targets[0] if isinstance(node, ast.Assign) else node.target
            if isinstance(target, ast.Name) and target.id in tables:
                continue
        if isinstance(node, ast.FunctionDef) and not functions:
            functions += 1
            assert ast.unparse(node.body[-1]).startswith(("return program(", "return dict(zip(KEYS, program("))
            continue
        kept.append(ast.dump(node))
    return "\n".join(kept)


def test_hostile_names_survive_and_change_no_code(tmp_path: Path) -> None:
    names = hostile_names()
    assert len(names) == 500
    rest = [names[k : k + 18] for k in range(0, 500, 18)]
    plain = code_of(module_source(named([f"name{k}" for k in range(18)])))
    for some in (s for s in rest if len(s) == 18):
        exe = named(some)
        source = module_source(exe)
        assert code_of(source) == plain
        (tmp_path / "h.py").unlink(missing_ok=True)
        exe.export_python(tmp_path / "h.py")
        module = load(tmp_path / "h.py")
        assert tuple(some) == module.KEYS and module.INPUTS[0][0] == some[1] and module.INPUTS[1][0] == some[-1] + "!"
        assert set(module.state) == set(some[2:]) == {row[0] for row in module.STATE}
        assert max(map(len, source.splitlines()[:200])) < 1 << 22
    run = getattr(module, module.__all__[0])
    arrays = [np.arange(4, dtype=np.float32), np.array([3, 0, -1, 2])]
    same_results(run(*arrays), exe(*arrays))


@pytest.mark.slow
def test_every_hostile_name_alone(tmp_path: Path) -> None:
    """As the graph's, an input's, a state's, an inner node's and a key's name."""
    plain = code_of(module_source(named(["a", "b", "a"])))
    for name in hostile_names():
        exe = named([name, name + "x", name])
        assert code_of(module_source(exe)) == plain, ascii(name)[:100]
        exe.export_python(tmp_path / "h.py")
        module = load(tmp_path / "h.py")
        assert (name, name + "x") == module.KEYS and list(module.state) == [name], ascii(name)[:100]
        assert [row[0] for row in module.INPUTS] == [name + "x", name + "!"]


def test_the_function_is_called_as_asked_or_after_the_graph(tmp_path: Path) -> None:
    def made(graph: str, inputs: tuple[str, str], name: str | None = None) -> str:
        g = gx.Graph(graph)
        a, b = (g.input(n, ("n",)) for n in inputs)
        source = module_source(gx.compile([a, b], gx.exp(a) + b), name)
        return next(line for line in source.splitlines() if line.startswith("def "))

    assert made("my-model", ("x", "y")) == "def my_model(x, y):"
    assert made("exp", ("for", "input0")) == "def graph_exp(input0_, input0):"
    assert made("kernel", ("program", "é")) == "def graph_kernel(input0, input1):"
    assert made("print", ("np", "b")) == "def graph_print(np, b):"
    assert made("'''", ("a", "b"), "f") == "def f(a, b):"
    for name in ("1", "for", "exp", "print", "sizes", "items3", "_x", "é", "a b", "", "a" * 100, 3):
        with pytest.raises(gx.ExportError, match="name: expected an ASCII identifier that means nothing else, found"):
            made("g", ("a", "b"), name)  # type: ignore[arg-type]


# ---- what modules are made of


def _globals(code: types.CodeType) -> Iterator[str]:
    for instruction in dis.get_instructions(code):
        if instruction.opname in ("LOAD_GLOBAL", "LOAD_NAME"):
            yield instruction.argval
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _globals(constant)


def test_everything_that_a_module_may_hold_is_whole() -> None:
    """All functions that kernels call, in one text: it runs, nothing is missing, nothing collides."""
    roots = tuple(m.__name__ for m in PRIMITIVES)
    held = catalogue(roots, OWN)
    flat = flatten(roots, held.roots, OWN)
    assert {"tanh", "sin", "tile_f32", "gemm_f64", "Program", "uniform64"} <= flat.names
    assert not flat.names & flat.imported and not (flat.names | flat.imported) & OWN
    assert len(set(held.names.values())) == len(held.names)
    own = 'PREFIX = "p"\nclass settings:\n    blas = "tiles"\n'
    text = "\n\n".join(["from __future__ import annotations", *flat.imports, own, *flat.sections])
    assert not any("graphc" in line for line in flat.imports)
    module = ModuleType("everything")
    code = compile(text, "everything", "exec")
    exec(code, vars(module))
    known = {*vars(module), *vars(builtins)}
    inside = {n for node in ast.walk(ast.parse(text)) if isinstance(node, ast.ClassDef) for n in _class_names(node)}
    assert {n for n in _globals(code) if n not in known} <= inside
    shadowed = {n for n in vars(builtins) if n in flat.names}
    ours = {n.id for n in ast.walk(ast.parse(text)) if isinstance(n, ast.Name) and n.id in shadowed}
    assert ours <= {"pow", "round"}, ours


def _class_names(node: ast.ClassDef) -> set[str]:
    defined = {n.name for n in node.body if isinstance(n, (ast.FunctionDef, ast.ClassDef))}
    return defined | {n.id for n in ast.walk(node) if isinstance(n, ast.Name)} | {"__name__", "__annotations__"}


def test_the_prelude_is_short_and_fixed() -> None:
    """A definition has the same text in every module."""
    g = gx.Graph("g")
    x = g.input("x", ("n",))
    small, other = (module_source(gx.compile([x], out)) for out in (x + 1.0, gx.tanh(x)))
    assert small.count("\n") < 1700
    texts = [dict(_definitions(s)) for s in (small, other)]
    common = set(texts[0]) & set(texts[1]) - {"kernel", "sizes", "g"}
    assert len(common) > 10 and all(texts[0][n] == texts[1][n] for n in common)


def _definitions(source: str) -> Iterator[tuple[str, str]]:
    for node in ast.parse(source).body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            yield node.name, ast.get_source_segment(source, node) or ""


# ---- kill -9

EXPORTING = """
import runpy
exe = gx.compile([x], x + gx.sum(w))
def keep(): exe.export_python(path)
def kept_there(): return runpy.run_path(path, run_name="__main__")["state"]["w"]
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_kill_at_random_moments(tmp_path: Path) -> None:
    killed_at_random(EXPORTING, tmp_path / "k.py", 0, 10, pause=0.4)


@pytest.mark.nightly
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_kill_at_two_hundred_random_moments(tmp_path: Path) -> None:
    killed_at_random(EXPORTING, tmp_path / "k.py", 1, 200, pause=0.4)


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    exe = classifier()
    (tmp_path / "m.py").write_text("old")

    def fail(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="No space left"):
        exe.export_python(tmp_path / "m.py")
    assert (tmp_path / "m.py").read_text() == "old" and os.listdir(tmp_path) == ["m.py"]
