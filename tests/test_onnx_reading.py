"""`gx.from_onnx`: our own models come back equal, those of other writers compute what their makers do."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from data import make_golden
from op_cases import CASES, Case
from random_graphs import random_graph
from test_onnx import CLOSE, apart, build_of, built_case

import graphc as gx
from graphc.file import programs
from graphc.onnx import wire
from graphc.onnx.provenance import FIELDS
from graphc.onnx.reading.model import read

onnx = pytest.importorskip("onnx", reason='needs the extra "onnx"')

HERE = Path(__file__).parent / "data" / "models"
FIXTURES = sorted(p.stem for p in HERE.glob("*.onnx"))
helper, numpy_helper = onnx.helper, onnx.numpy_helper


# ---- models of other writers


@pytest.mark.parametrize("name", FIXTURES)
def test_models_of_pytorch_and_scikit_learn(name: str) -> None:
    g = gx.from_onnx(HERE / f"{name}.onnx")
    record = np.load(HERE / f"{name}.npz")
    inputs = [record[k] for k in sorted(record) if k.startswith("in")]
    expected = [record[k] for k in sorted(record) if k.startswith("out")]
    exe = gx.compile(list(g.inputs.values()), list(g.outputs), backend="numpy")
    for a, b in zip(exe(*inputs), expected, strict=True):
        assert a.dtype == b.dtype and a.size == b.size
        np.testing.assert_allclose(np.ravel(a), np.ravel(b), rtol=1e-5, atol=1e-6)


def test_there_are_fixtures_of_both() -> None:
    assert len(FIXTURES) == 27 and {n.split("_")[0] for n in FIXTURES} == {"torch", "sklearn"}


def test_a_model_of_pytorch_is_trained_further() -> None:
    g = gx.from_onnx(HERE / "torch_mlp_traced.onnx")
    assert [str(t.type) for t in g.inputs.values()] == ["float32[batch, 6]"]
    assert list(g.parameters) == ["0.weight", "0.bias", "2.weight", "2.bias", "5.weight", "5.bias"]
    y = g.input("y", ("batch",), "int64")
    loss = gx.mean(gx.nll(g.outputs[0], y))
    train = gx.compile([*g.inputs.values()], loss, updates=gx.optim.SGD(lr=0.5).updates(loss), backend="numpy")
    rng = np.random.default_rng(0)
    x = rng.normal(size=(16, 6)).astype(np.float32)
    labels = (x[:, 0] > 0).astype(np.int64)
    losses = [train(x, labels) for _ in range(100)]
    assert losses[-1] < 0.2 < losses[0]


def test_old_opsets_keep_bounds_and_widths_in_attributes(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Slice", ["x"], ["s"], axes=[1], starts=[1], ends=[9]),
        helper.make_node("Clip", ["s"], ["c"], min=-1.0, max=2.0),
        helper.make_node("Pad", ["c"], ["p"], pads=[0, 1, 0, 0], value=0.5),
        helper.make_node("ReduceSum", ["p"], ["y"], axes=[-1], keepdims=0),
    ]
    info = [helper.make_tensor_value_info(name, 1, ("n", 3)[: 2 - k]) for k, name in enumerate("xy")]
    graph = helper.make_graph(nodes, "old", info[:1], info[1:])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 9)]), tmp_path / "old.onnx")
    g = gx.from_onnx(tmp_path / "old.onnx")
    x = np.random.default_rng(0).normal(0, 3, (4, 3)).astype(np.float32)
    found = gx.compile(list(g.inputs.values()), g.outputs[0], backend="numpy")(x)
    np.testing.assert_allclose(found, 0.5 + np.clip(x[:, 1:], -1, 2).sum(1), rtol=1e-6)


def test_quotients_of_integers_are_cut_towards_zero(tmp_path: Path) -> None:
    nodes = [helper.make_node("Div", ["a", "b"], ["q"]), helper.make_node("Mod", ["a", "b"], ["r"], fmod=1)]
    infos = {name: helper.make_tensor_value_info(name, onnx.TensorProto.INT64, ("n",)) for name in "abqr"}
    graph = helper.make_graph(nodes, "cut", [infos["a"], infos["b"]], [infos["q"], infos["r"]])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)]), tmp_path / "cut.onnx")
    g = gx.from_onnx(tmp_path / "cut.onnx")
    pairs = [(p, q) for p in (-(2**63), -7, 0, 7, 2**63 - 1) for q in (-3, 1, 2, 3, 2**63 - 1)]
    found = gx.compile(list(g.inputs.values()), list(g.outputs), backend="numpy")(*np.array(pairs).T)
    cut = [abs(p) // abs(q) * (1 if (p < 0) == (q < 0) else -1) for p, q in pairs]
    np.testing.assert_array_equal(found, [cut, [p - q * c for (p, q), c in zip(pairs, cut, strict=True)]])


def test_running_statistics_are_variables() -> None:
    g = gx.from_onnx(HERE / "torch_norm_traced.onnx")
    assert {"1.running_mean", "1.running_var"} == set(g.variables)


# ---- our own


def exported(exe: gx.Executable, path: Path, **options: Any) -> gx.Graph:
    exe.export_onnx(path, **options)
    return gx.from_onnx(path)


def needed_of(exe: gx.Executable) -> gx.Graph:
    """The part of an executable's graph that it needs, with the state as it stands."""
    graph = exe.graph
    out = gx.Graph(graph.name, graph.float_dtype)
    made: dict[int, gx.Tensor] = {}
    for i in programs.needed(graph, [exe.program]):
        n = graph.nodes[i]
        value = graph.state.get(n.name, n.value)
        made[i] = out.append(n.op, [made[k] for k in n.inputs], n.attrs, type=n.type, name=n.name, value=value)
    return out


@pytest.mark.parametrize("name", [*make_golden.CASES])
def test_golden_graphs_come_back_equal(name: str, tmp_path: Path) -> None:
    executables, calls = make_golden.CASES[name]()
    for key, exe in executables.items():
        arrays = next(arrays for k, arrays in calls if k == key) if any(k == key for k, _ in calls) else False
        back = exported(exe, tmp_path / "m.onnx", verify=arrays)
        assert back.equals(needed_of(exe)) and back.name == exe.graph.name
        assert len(back.outputs) == len(exe.program.roots)


def test_a_graph_comes_back_whole_and_goes_on(tmp_path: Path) -> None:
    executables, ((_, (x, y)), *_) = make_golden.mlp("float32")
    train = executables["train"]
    back = exported(train, tmp_path / "train.onnx")
    assert not back.equals(train.graph) and back.equals(needed_of(train))  # the weights are those of now
    state = [back[name] for name in train.program.updates]
    loss, *nexts = back.outputs
    again = gx.compile([back["x"], back["y"]], loss, updates=dict(zip(state, nexts, strict=True)))
    for _ in range(3):
        assert again(x, y) == train(x, y)
    assert back.state["W1"].tobytes() == train.graph.state["W1"].tobytes()
    assert next(iter(back.random_keys)) == back["key"].id and back.dropouts
    assert back["W1"].origin.text == train.graph["W1"].origin.text


def round_trip(seed: int, dtype: str, path: Path) -> None:
    inputs, outputs = random_graph(seed, dtype).build()
    exe = gx.compile(inputs, outputs, backend="numpy", unused="ignore")
    assert exported(exe, path, verify=random_graph(seed, dtype).arrays()).equals(needed_of(exe))


@pytest.mark.parametrize("seed", range(10))
def test_random_graphs_come_back_equal(seed: int, tmp_path: Path) -> None:
    round_trip(seed, ("float32", "float64")[seed % 2], tmp_path / "r.onnx")


@pytest.mark.slow
def test_two_hundred_random_graphs_come_back_equal(tmp_path: Path) -> None:
    for seed in range(200):
        for dtype in ("float32", "float64"):
            round_trip(seed, dtype, tmp_path / "r.onnx")


def without_metadata(exe: gx.Executable) -> gx.Graph:
    """The model of an executable, read as if another writer had made it."""
    proto = wire.parse(build_of(exe).proto.SerializeToString())
    return read(proto, {t.name: wire.array(t, t.name) for t in proto.graph.initializer})


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)
def test_every_operation_is_read_without_metadata_too(case: Case) -> None:
    try:
        exe, _ = built_case(case, "float32")
    except gx.ExportError:
        return
    g, arrays = without_metadata(exe), case.arrays("float32")
    inputs = [g.inputs[name] for name in exe.inputs]
    again = gx.compile(inputs, list(g.outputs), backend="numpy", unused="ignore")
    assert apart(again(*arrays), exe(*arrays)) < CLOSE["float32"]


def test_training_steps_are_read_without_metadata_too() -> None:
    (executables, ((_, arrays), *_)) = make_golden.softmax()
    g = without_metadata(executables["all"])
    again = gx.compile([g.inputs[n] for n in executables["all"].inputs], list(g.outputs), backend="numpy")
    assert apart(again(*arrays), executables["all"](*arrays)) < CLOSE["float64"]


def changed(path: Path, change: Callable[[Any], None]) -> Path:
    model = onnx.load(path)
    change(model)
    path.write_bytes(model.SerializeToString())
    return path


@pytest.fixture
def line(tmp_path: Path) -> Path:
    g = gx.Graph("line")
    x, w = g.input("x", ("n", 2)), g.parameter("w", np.array([2.0, 3.0], np.float32))
    gx.compile([x], (x * w).named("y"), backend="numpy").export_onnx(tmp_path / "line.onnx")
    return tmp_path / "line.onnx"


def test_new_weights_come_back_in_the_same_graph(line: Path) -> None:
    def change(model: Any) -> None:
        model.graph.initializer[0].CopyFrom(numpy_helper.from_array(np.array([5.0, 7.0], np.float32), "w"))

    g = gx.from_onnx(changed(line, change))
    assert g.state["w"].tolist() == [5, 7] and g["y"].op.name == "multiply" and g["y"].origin.text.startswith("gx.")


def test_what_the_nodes_say_counts_where_they_were_changed(line: Path) -> None:
    """Metadata that does not describe the nodes is not believed."""

    def change(model: Any) -> None:
        model.graph.node[0].op_type = "Add"

    g = gx.from_onnx(changed(line, change))
    assert g["y"].op.name == "add" and list(g.parameters) == ["w"] and [t.name for t in g.outputs] == ["y"]


def test_damaged_metadata_is_refused(line: Path) -> None:
    def change(model: Any) -> None:
        entry = next(e for e in model.metadata_props if e.key == FIELDS[0])
        entry.value = entry.value.replace('"inputs":[0', '"inputs":[9')

    with pytest.raises(gx.GraphFileError, match=r"line\.onnx: graph\.json: node 2"):
        gx.from_onnx(changed(line, change))


def test_names_that_passes_give_do_not_hang_on_calls(tmp_path: Path) -> None:
    """A file does not tell which call made a node; the model is the same without."""
    g = gx.Graph("calls")
    x = g.input("x", ("n", 5))
    assert exported(gx.compile([x], gx.gelu(gx.selu(x)), backend="numpy"), tmp_path / "m.onnx").equals(g)
