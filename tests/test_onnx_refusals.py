"""ONNX: hostile names survive, hostile models are refused, what cannot be exported says why, a kill leaves a whole file."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from killing import killed_at_random
from test_file_refusals import hostile_names

import graphc as gx

onnx = pytest.importorskip("onnx", reason='needs the extra "onnx"')
runtime = pytest.importorskip("onnxruntime", reason='needs the extra "onnx"')

HERE = Path(__file__).parent
helper = onnx.helper


# ---- names


def test_hostile_names_survive(tmp_path: Path) -> None:
    """In the graph that comes back, and as names of inputs and outputs in ONNX Runtime, where UTF-8 holds them."""
    names = hostile_names()
    assert len(names) == 500
    for some in [*([n] for n in names[:30]), names]:
        g = gx.Graph(some[0])
        x = g.input("x of " + some[-1], ("n",))
        out = x
        for k, name in enumerate(some):
            out = (out * g.parameter(name, np.float32(k))).named(name + "?") if k % 2 else out + g.variable(name, 1.0)
        exe = gx.compile([x], dict.fromkeys(some, out), updates={g[some[0]]: g[some[0]] + 1}, backend="numpy")
        exe.export_onnx(tmp_path / "n.onnx")
        back = gx.from_onnx(tmp_path / "n.onnx")
        assert back.name == g.name and [n.name for n in back.nodes] == [n.name for n in g.nodes] and back.equals(g)
        held = runtime.InferenceSession(tmp_path / "n.onnx", providers=["CPUExecutionProvider"])
        try:
            x.name.encode()
        except UnicodeEncodeError:
            continue
        assert [i.name for i in held.get_inputs()] == [x.name]
        feeds = {x.name: np.ones(2, np.float32)}
        assert len(held.run(None, feeds)) == len(some) + 1


def test_names_that_meet_are_told_apart(tmp_path: Path) -> None:
    g = gx.Graph("meeting")
    x, w = g.input("y", ("n",)), g.parameter("w/next", np.float32(1))
    v = g.variable("w", np.float32(2))
    y = (x * w * v).named("Mul_1")
    exe = gx.compile([x], {"y": y, "w": y, "value_0": x}, updates={v: v + 1, w: w * 2}, backend="numpy")
    exe.export_onnx(tmp_path / "m.onnx")
    assert gx.from_onnx(tmp_path / "m.onnx").equals(g)


# ---- what cannot be exported


@pytest.fixture
def graph() -> gx.Graph:
    g = gx.Graph("g", float_dtype="float64")
    g.input("x", ("n",), "float64")
    return g


def test_operations_that_onnx_does_not_have(graph: gx.Graph, tmp_path: Path) -> None:
    y = gx.lgamma(graph["x"]).named("gammas")
    with pytest.raises(
        gx.ExportError, match=r"gammas \(lgamma\): lgamma: ONNX has no gamma function[\s\S]*at .*gammas"
    ):
        gx.compile([graph["x"]], y, backend="numpy").export_onnx(tmp_path / "x.onnx")
    assert not list(tmp_path.iterdir())


def test_operations_that_onnx_runtime_does_not_have_in_float64(graph: gx.Graph, tmp_path: Path) -> None:
    """They are named before anything runs; the model itself is legal, and another runtime computes it."""
    exe = gx.compile([graph["x"]], gx.tan(graph["x"]), backend="numpy")
    with pytest.raises(gx.ExportError, match=r"float64: tan_1 \(Tan\); use float32, or pass verify=False") as error:
        exe.export_onnx(tmp_path / "x.onnx")
    assert error.value.node == "tan_1" and not list(tmp_path.iterdir())
    exe.export_onnx(tmp_path / "x.onnx", verify=False)
    onnx.checker.check_model(tmp_path / "x.onnx", full_check=True)
    x = np.linspace(-1, 1, 5)
    (found,) = pytest.importorskip("onnx.reference").ReferenceEvaluator(str(tmp_path / "x.onnx")).run(None, {"x": x})
    np.testing.assert_allclose(found, exe(x), rtol=1e-12)


def test_inputs_to_verify_with(graph: gx.Graph, tmp_path: Path) -> None:
    rows = graph.input("rows", ("k",), "int64")
    exe = gx.compile([graph["x"], rows], gx.take(graph["x"], rows + 100), backend="numpy")
    path = tmp_path / "x.onnx"
    with pytest.raises(gx.ExportError, match=r"no made-up inputs fit this program; pass verify=\[arrays\]"):
        exe.export_onnx(path)
    arrays = [np.ones(3), np.full(4, -100)]
    exe.export_onnx(path, verify=arrays)
    exe.export_onnx(path, verify={"rows": arrays[1], "x": arrays[0]})
    with pytest.raises(gx.InputError, match="verify must be a bool, or arrays"):
        exe.export_onnx(path, verify=3)
    with pytest.raises(gx.InputShapeError, match="'x'"):
        exe.export_onnx(path, verify=[np.ones((2, 2)), arrays[1]])


def test_a_difference_is_not_written(graph: gx.Graph, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from graphc.onnx.rules import RULES

    exe = gx.compile([graph["x"]], gx.exp(graph["x"]), backend="numpy")
    monkeypatch.setitem(RULES, "exp", lambda at, x: x.op("Exp") * 1.001)
    with pytest.raises(gx.ExportError, match=r"output 'exp_1': ONNX Runtime and graphc differ by 0.001 of the largest"):
        exe.export_onnx(tmp_path / "x.onnx")
    monkeypatch.setitem(RULES, "exp", lambda at, x: x.op("Shape"))
    with pytest.raises(gx.ExportError, match="the ONNX checker refuses the model"):
        exe.export_onnx(tmp_path / "x.onnx")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("package", ["onnx", "onnxruntime"])
def test_a_missing_package_is_one_line(
    package: str, graph: gx.Graph, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    exe = gx.compile([graph["x"]], graph["x"] + 1, backend="numpy")
    exe.export_onnx(tmp_path / "x.onnx")
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(gx.ExportError, match=rf'needs {package}: pip install "graphc\[onnx\]"$'):
        exe.export_onnx(tmp_path / "y.onnx")
    if package == "onnx":
        with pytest.raises(gx.GraphcError, match=r'from_onnx needs onnx: pip install "graphc\[onnx\]"$'):
            gx.from_onnx(tmp_path / "x.onnx")
    assert [p.name for p in tmp_path.iterdir()] == ["x.onnx"]


# ---- what cannot be read


def model(
    *nodes: Any, initializers: Any = (), opset: int = 18, dims: Any = ("n", 2), inputs: Sequence[str] = "x"
) -> bytes:
    """A model of float32[n, 2] -> whatever ``y`` is."""
    entering, leaving = ([helper.make_tensor_value_info(name, 1, dims) for name in names] for names in (inputs, "y"))
    graph = helper.make_graph(nodes, "g", entering, leaving, initializers)
    return bytes(helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)]).SerializeToString())


def node(op: str, *inputs: str, domain: str = "", **attributes: Any) -> Any:
    return helper.make_node(op, inputs or ["x"], ["y"], name="here", domain=domain, **attributes)


def held(name: str) -> Any:
    return onnx.numpy_helper.from_array(np.ones(2, np.float32), name)


def outside(**entries: Any) -> Any:
    """Two float32 in a file of their own, as ``entries`` tell."""
    tensor = held("w")
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    for key, value in entries.items():
        tensor.external_data.add(key=key, value=str(value))
    return tensor


def typed(data_type: int) -> Any:
    tensor = held("w")
    tensor.data_type = data_type
    return tensor


def tree(**other: Any) -> dict[str, Any]:
    """A tree of one test and two leaves."""
    return {
        "nodes_treeids": [0, 0, 0], "nodes_nodeids": [0, 1, 2], "nodes_modes": ["BRANCH_LEQ", "LEAF", "LEAF"],
        "nodes_featureids": [0, 0, 0], "nodes_values": [0.5, 0.0, 0.0], "nodes_truenodeids": [1, 0, 0],
        "nodes_falsenodeids": [2, 0, 0], "target_treeids": [0, 0], "target_nodeids": [1, 2], "target_ids": [0, 0],
        "target_weights": [1.0, 2.0], **other,
    }  # fmt: skip


REFUSED: list[tuple[Callable[[], bytes], type[gx.GraphcError], str]] = [
    (lambda: b"", gx.GraphFileError, "not an ONNX model: it has no graph"),
    (lambda: b"\xff" * 50, gx.GraphFileError, "not an ONNX model"),
    (lambda: model(node("Relu")).replace(b"Relu", b"Rel\xff"), gx.GraphFileError, "op_type: a text that is not UTF-8"),
    (lambda: model(node("Unique")), gx.UnsupportedOpError, r"node 'here' \(Unique\): this operator is not read"),
    (lambda: model(node("Nope", domain="x.y")), gx.UnsupportedOpError, r"node 'here' \(x.y.Nope\): this operator"),
    (lambda: model(node("ZipMap", domain="ai.onnx.ml"), opset=9), gx.UnsupportedOpError, r"'here' .*zipmap"),
    (lambda: model(node("Add", "x", "z")), gx.GraphFileError, r"'here' \(Add\): nothing before it is called 'z'"),
    (lambda: model(node("Add", "x")), gx.GraphFileError, r"'here' \(Add\): operand 1 is missing"),
    (lambda: model(node("Softmax", axis=7)), gx.GraphFileError, "axis 7 does not exist"),
    (lambda: model(node("Transpose", perm=[0, 0])), gx.GraphFileError, "expected each axis"),
    (lambda: model(node("Transpose", perm="text")), gx.GraphFileError, "perm"),
    (lambda: model(node("Reshape", "x", "x")), gx.UnsupportedOpError, "operand 1 must be known"),
    (lambda: model(node("Cast", to=8)), gx.UnsupportedOpError, r"'here' \(Cast\): to: the dtype STRING is not supported"),
    (lambda: model(node("Cast", to=99)), gx.GraphFileError, r"'here' \(Cast\): to: there is no dtype 99"),
    (lambda: model(node("Relu"), initializers=[typed(14)]), gx.UnsupportedOpError, "'w': the dtype COMPLEX64 is not supported"),
    (lambda: model(node("Constant", value=outside(location="/x"))), gx.GraphFileError, r"'here' \(Constant\): value: its data"),
    (lambda: model(node("Sum", *["x"] * 60000)), gx.UnsupportedOpError, r"'here' \(Sum\): with its operands and results"),
    (lambda: model(node("Relu"), initializers=[held("w"), held("w")]), gx.GraphFileError, "initializer 'w': given 2 times"),
    (lambda: model(node("Relu"), inputs="xzz"), gx.GraphFileError, "input 'z': given 2 times"),
    (lambda: model(node("Add", "x", "x"), opset=6), gx.UnsupportedOpError, "operator of opset 6 is not read; read are opsets 7"),
    (lambda: model(node("Add", "x", "x"), opset=99), gx.UnsupportedOpError, "operator of opset 99 is not read"),
    (lambda: model(node("Relu", domain="ai.onnx.ml")), gx.UnsupportedOpError, r"\(ai.onnx.ml.Relu\): this operator is not"),
    (lambda: model(node("Neg"), opset=0), gx.GraphFileError, "the model does not say which opset"),
    (lambda: model(node("Relu"), dims=("n", -2)), gx.GraphFileError, "input 'x': x: a size must be an int of at least 0"),
    (lambda: model(node("Relu", "x"), node("Relu", "x")), gx.GraphFileError, "'y' is the name of an earlier value"),
    (lambda: model(helper.make_node("Relu", ["x"], ["z"])), gx.GraphFileError, "output 'y': no node computes it"),
    (lambda: model(node("TreeEnsembleRegressor", domain="ai.onnx.ml", **tree(nodes_truenodeids=[0, 0, 0])), opset=3), gx.GraphFileError,
     r"'here' \(ai\.onnx\.ml\.TreeEnsembleRegressor\): a tree without an end"),
    (lambda: model(node("TreeEnsembleRegressor", domain="ai.onnx.ml", **tree(target_ids=[0, 5])), opset=3), gx.GraphFileError, "leaves, targets and"),
    (lambda: model(node("TreeEnsembleRegressor", domain="ai.onnx.ml", **tree(n_targets=10**8)), opset=3), gx.UnsupportedOpError, "100000000 targets"),
    (lambda: model(node("Einsum", equation="i->")), gx.GraphFileError, "the term 'i' does not fit"),
]  # fmt: skip


@pytest.mark.parametrize("case", REFUSED, ids=lambda c: c[2][:40])
def test_models_that_are_refused(case: Any, tmp_path: Path) -> None:
    make, kind, text = case
    (tmp_path / "m.onnx").write_bytes(make())
    with pytest.raises(kind, match=rf"^m\.onnx: .*{text}"):
        gx.from_onnx(tmp_path / "m.onnx")


def test_only_files_are_read(tmp_path: Path) -> None:
    with pytest.raises(gx.GraphFileError, match="not a file"):
        gx.from_onnx(tmp_path)
    with pytest.raises(FileNotFoundError):
        gx.from_onnx(tmp_path / "nowhere.onnx")


def watched(seed: int, count: int) -> None:
    command = [sys.executable, str(HERE / "hostile_models.py"), str(seed), str(count)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=1200)
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout)
    assert not found["wrong"] and not found["events"], found
    assert found["refused"] > count / 2 and found["refused"] + found["read"] > 0.9 * count


def test_hostile_models_are_refused_and_run_nothing() -> None:
    watched(0, 250)


@pytest.mark.nightly
@pytest.mark.parametrize("seed", range(1, 5))
def test_twenty_thousand_hostile_models(seed: int) -> None:
    watched(seed, 5000)


# ---- kill -9

EXPORTING = """
def keep(): exe.export_onnx(path, verify=False)
def kept_there(): return gx.from_onnx(path).state["w"]
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_kill_at_random_moments(tmp_path: Path) -> None:
    killed_at_random(EXPORTING, tmp_path / "k.onnx", 0, 12)


@pytest.mark.nightly
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_kill_at_two_hundred_random_moments(tmp_path: Path) -> None:
    killed_at_random(EXPORTING, tmp_path / "k.onnx", 1, 200)
