"""Operators of models of other writers: `gx.from_onnx` gives what ONNX Runtime does, on symbolic sizes too."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import graphc as gx

onnx = pytest.importorskip("onnx", reason='needs the extra "onnx"')
runtime = pytest.importorskip("onnxruntime", reason='needs the extra "onnx"')
runtime.set_default_logger_severity(4)
helper, from_array = onnx.helper, onnx.numpy_helper.from_array

KINDS = {
    np.dtype(n): k for n, k in [("float32", 1), ("int32", 6), ("int64", 7), ("bool", 9), ("float64", 11), ("uint8", 2)]
}


def saved(
    path: Path,
    nodes: Sequence[Any],
    inputs: dict[str, tuple[Any, Sequence[Any]]],
    constants: dict[str, Any] | None = None,
    opset: int = 18,
    outputs: Sequence[Any] = ("y",),
    domain: str = "",
    **options: Any,
) -> Path:
    """A model of these nodes: ``inputs`` maps names to dtype and shape, an output is a name, or a name and its shape."""
    infos = [helper.make_tensor_value_info(n, KINDS[np.dtype(dtype)], shape) for n, (dtype, shape) in inputs.items()]
    leaving = [
        helper.make_tensor_value_info(o[0], 1, o[1]) if isinstance(o, tuple) else onnx.ValueInfoProto(name=o)
        for o in outputs
    ]
    graph = helper.make_graph(
        nodes, "g", infos, leaving, [from_array(np.asarray(a), n) for n, a in (constants or {}).items()]
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid(domain, opset)], ir_version=8, **options)
    path.write_bytes(model.SerializeToString())
    return path


def agree(path: Path, arrays: dict[str, Any], exact: bool = False) -> None:
    """graphc and ONNX Runtime give equal results, or both none."""
    g = gx.from_onnx(path)
    exe = gx.compile(list(g.inputs.values()), list(g.outputs), backend="numpy", unused="ignore")
    session = runtime.InferenceSession(path, providers=["CPUExecutionProvider"])
    for a, b in zip(exe(**arrays), session.run(None, arrays), strict=True):
        assert (np.asarray(a).dtype, np.shape(a)) == (b.dtype, b.shape)
        np.testing.assert_allclose(a, b, rtol=0 if exact else 1e-6, atol=0 if exact else 1e-6)


def node(op: str, *inputs: str, **attributes: Any) -> Any:
    return helper.make_node(op, inputs or ("x",), ["y"], name="here", **attributes)


REDUCTIONS = ["Sum", "Mean", "Prod", "Max", "Min", "L1", "L2", "SumSquare", "LogSum", "LogSumExp"]


@pytest.mark.parametrize("op", REDUCTIONS)
@pytest.mark.parametrize("dtype", ["float32", "int32", "int64"])
def test_reductions(op: str, dtype: str, tmp_path: Path) -> None:
    """Over no axes where that is asked for, each element is still squared, or its logarithm taken."""
    if dtype != "float32" and op.startswith("Log"):
        pytest.skip("ONNX Runtime has them for floats")
    x = (1 + np.arange(12).reshape(3, 4) * np.array([1, -1, 1, 1]) % 7).astype(dtype)
    for axes, options in [
        (None, {}),
        ([], {}),
        (None, {"noop_with_empty_axes": 1}),
        ([], {"noop_with_empty_axes": 1}),
        ([-1], {}),
    ]:
        for keep in (0, 1):
            constants = {} if axes is None else {"a": np.array(axes, np.int64)}
            made = node(f"Reduce{op}", "x", *constants, keepdims=keep, **options)
            agree(saved(tmp_path / "m.onnx", [made], {"x": (dtype, ["n", 4])}, constants), {"x": x})


def test_the_extreme_of_nothing(tmp_path: Path) -> None:
    for op, dtype, expected in [("Max", "float32", -np.inf), ("Min", "float32", np.inf), ("Max", "int32", -(2**31))]:
        path = saved(tmp_path / "m.onnx", [node(f"Reduce{op}", "x", "a")], {"x": (dtype, [2, 0])}, {"a": np.array([1])})
        g = gx.from_onnx(path)
        found = gx.compile([g["x"]], g.outputs[0], backend="numpy", unused="ignore")(np.ones((2, 0), dtype))
        assert found.tolist() == [[expected], [expected]] and found.dtype == dtype


@pytest.mark.parametrize("dtype", ["int32", "int64", "float32", "float64"])
def test_relu(dtype: str, tmp_path: Path) -> None:
    agree(saved(tmp_path / "m.onnx", [node("Relu")], {"x": (dtype, ["n"])}), {"x": np.array([-2, 0, 3], dtype)}, True)


@pytest.mark.parametrize("axis", [-1, 0, 1, 2])
@pytest.mark.parametrize("dtype", ["int32", "int64", "float32"])
def test_one_hot_of_indices_that_are_out_of_range(axis: int, dtype: str, tmp_path: Path) -> None:
    constants = {"depth": np.int64(3), "values": np.array([0.5, 2], np.float32)}
    path = saved(
        tmp_path / "m.onnx", [node("OneHot", "x", "depth", "values", axis=axis)], {"x": (dtype, ["n", 4])}, constants
    )
    x = np.array([[0, 2, 3, 99], [-1, -3, -4, -99]])
    if dtype == "int64":
        agree(path, {"x": x}, True)
    g = gx.from_onnx(path)
    found = gx.compile([g["x"]], g.outputs[0], backend="numpy")(x.astype(dtype))
    hot = (x[..., None] % 3 == np.arange(3)) & (x >= -3)[..., None] & (x < 3)[..., None]
    assert np.array_equal(found, np.moveaxis(np.where(hot, np.float32(2), np.float32(0.5)), -1, axis))


def test_squeeze_of_symbolic_sizes(tmp_path: Path) -> None:
    """Without axes, the declared rank of the result tells which of them are 1."""
    x = {"x": ("float32", ["n", 1, 3])}
    for rank, arrays in [(2, np.ones((4, 1, 3))), (1, np.ones((1, 1, 3)))]:
        path = saved(tmp_path / "m.onnx", [node("Squeeze")], x, outputs=[("y", [None] * rank)])
        agree(path, {"x": arrays.astype(np.float32)})
    with pytest.raises(gx.UnsupportedOpError, match=r"without axes, it depends on the sizes of float32\[n, 1, 3\]"):
        gx.from_onnx(saved(tmp_path / "m.onnx", [node("Squeeze")], x))
    for axes in ([0], [0, 1], [-2], [-2, 0]):
        agree(
            saved(tmp_path / "m.onnx", [node("Squeeze", "x", "a")], x, {"a": np.array(axes)}),
            {"x": np.ones((1, 1, 3), np.float32)},
        )
    g = gx.from_onnx(saved(tmp_path / "m.onnx", [node("Squeeze", "x", "a")], x, {"a": np.array([0])}))
    with pytest.raises(gx.InputShapeError):
        gx.compile([g["x"]], g.outputs[0], backend="numpy")(np.ones((2, 1, 3), np.float32))


def test_sizes_that_are_not_known(tmp_path: Path) -> None:
    """-1 is a size that is not known, as none is; one odd name is one size."""
    g = gx.from_onnx(
        saved(tmp_path / "m.onnx", [node("Relu")], {"x": ("float32", [-1, None, "batch size", "batch size", 3])})
    )
    a, b, c, d, e = g["x"].shape
    assert len({a, b, c}) == 3 and c == d and e == 3
    agree(tmp_path / "m.onnx", {"x": np.ones((1, 2, 4, 4, 3), np.float32)})


@pytest.mark.parametrize("opset", [7, 8, 13, 20, 28])
def test_opsets(opset: int, tmp_path: Path) -> None:
    path = saved(
        tmp_path / "m.onnx",
        [helper.make_node("Add", ["x", "x"], ["s"]), node("Softmax", "s", axis=-1)],
        {"x": ("float32", ["n", 3])},
        opset=opset,
    )
    x = np.array([[1, 2, 3], [0, 0, 5]], np.float32)
    g = gx.from_onnx(path)
    e = np.exp(2 * x)
    np.testing.assert_allclose(
        gx.compile([g["x"]], g.outputs[0], backend="numpy")(x), e / e.sum(1, keepdims=True), rtol=1e-6
    )


def test_operators_that_other_opsets_have_not_changed(tmp_path: Path) -> None:
    """What is newer than the readers is read where the package onnx tells that it is as it was."""
    for opset in (1, 6):
        gx.from_onnx(saved(tmp_path / "m.onnx", [node("Not")], {"x": ("bool", [2])}, opset=opset))
    newest = onnx.defs.onnx_opset_version()
    gx.from_onnx(saved(tmp_path / "m.onnx", [node("Relu")], {"x": ("float32", [2])}, opset=newest))
    with pytest.raises(
        gx.UnsupportedOpError, match=f"this operator of opset {newest + 1} is not read; read are opsets 7"
    ):
        gx.from_onnx(saved(tmp_path / "m.onnx", [node("Relu")], {"x": ("float32", [2])}, opset=newest + 1))
    with pytest.raises(gx.UnsupportedOpError, match="this operator of opset 5 is not read"):
        gx.from_onnx(
            saved(tmp_path / "m.onnx", [node("BatchNormalization", *["x"] * 5)], {"x": ("float32", [2])}, opset=5)
        )


@pytest.mark.parametrize("op", ["Softmax", "LogSoftmax", "Hardmax"])
@pytest.mark.parametrize("axis", [None, 0, 1, 2, -1])
def test_rows_before_opset_13(op: str, axis: int | None, tmp_path: Path) -> None:
    """All axes from the given one on were one row."""
    options = {} if axis is None else {"axis": axis}
    path = saved(tmp_path / "m.onnx", [node(op, **options)], {"x": ("float32", ["n", 3, 2])}, opset=11)
    agree(path, {"x": np.random.default_rng(0).normal(size=(4, 3, 2)).astype(np.float32)})


def test_models_of_machine_learning_operators_alone(tmp_path: Path) -> None:
    made = helper.make_node("Scaler", ["x"], ["y"], domain="ai.onnx.ml", offset=[1.0, 2.0], scale=[3.0, 4.0])
    path = saved(tmp_path / "m.onnx", [made], {"x": ("float32", ["n", 2])}, opset=1, domain="ai.onnx.ml")
    agree(path, {"x": np.ones((3, 2), np.float32)})


@pytest.mark.parametrize("batched", [0, 1])
def test_gather_and_scatter(batched: int, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(4, 5, 3)).astype(np.float32)
    index = {"x": ("float32", ["n", 5, 3]), "i": ("int64", ["n", "k", 3])}
    i = rng.integers(-5, 5, (4, 2, 3))
    agree(saved(tmp_path / "m.onnx", [node("GatherElements", "x", "i", axis=1)], index), {"x": x, "i": i}, True)
    i = np.stack([rng.permutation(5)[:2] for _ in range(12)]).reshape(4, 3, 2).transpose(0, 2, 1)
    updates = rng.normal(size=(4, 2, 3)).astype(np.float32)
    both = {**index, "u": ("float32", ["n", "k", 3])}
    for how in ("none", "add"):
        made = [node("ScatterElements", "x", "i", "u", axis=1, reduction=how)]
        agree(saved(tmp_path / "m.onnx", made, both), {"x": x, "i": i, "u": updates})
    places = np.array([[0, 1], [3, -1], [2, 0], [1, 4]])
    rows = {"x": ("float32", [4, 5, 3]), "i": ("int64", ["m", 2]), "u": ("float32", ["m", 3])}
    for how in ("none", "add"):
        made = [node("ScatterND", "x", "i", "u", reduction=how)]
        agree(saved(tmp_path / "m.onnx", made, rows), {"x": x, "i": places, "u": updates[:, 0]})
    del rows["u"]
    made = [node("GatherND", "x", "i", batch_dims=batched)]
    given = {"x": x, "i": places[:, :1] % 4 if batched else places}
    rows["i"] = ("int64", [4, 1] if batched else ["m", 2])
    agree(saved(tmp_path / "m.onnx", made, rows), given, True)


def test_scattered_bools(tmp_path: Path) -> None:
    inputs = {"x": ("bool", ["n"]), "i": ("int64", ["m"]), "u": ("bool", ["m"])}
    path = saved(tmp_path / "m.onnx", [node("ScatterElements", "x", "i", "u")], inputs)
    agree(path, {"x": np.array([True, False, True]), "i": np.array([0, 1]), "u": np.array([False, True])}, True)


EINSUMS = ["ij,jk->ik", "bij,bjk->bik", "ij->ji", "ii->i", "ii", "i,j->ij", "ij,kj", "bhqd,bhkd->bhqk", "...ij,...jk->...ik", "ij,jk,kl->il", "ij,ij->", "ijk->j", " a b , b -> a", "...i->...", "bij,kj->bik"]  # fmt: skip


@pytest.mark.parametrize("equation", EINSUMS)
def test_einsum(equation: str, tmp_path: Path) -> None:
    letters = "abijklhqd"
    terms = equation.replace(" ", "").split("->")[0].split(",")
    rng = np.random.default_rng(0)
    shapes = [[2 if c == "." else 2 + letters.index(c) % 3 for c in t.replace("...", ".")] for t in terms]
    arrays = {f"x{k}": rng.normal(size=s).astype(np.float32) for k, s in enumerate(shapes)}
    names = [[f"s{n}" for n in t.replace("...", "e")] for t in terms]
    for form in (shapes, names):
        inputs = {name: ("float32", shape) for name, shape in zip(arrays, form, strict=True)}
        agree(saved(tmp_path / "m.onnx", [node("Einsum", *arrays, equation=equation)], inputs), arrays)


SPECIAL: list[tuple[str, dict[str, Any], int]] = [
    ("IsInf", {"detect_positive": 0}, 18), ("IsInf", {"detect_negative": 0}, 18), ("IsInf", {"detect_positive": 0, "detect_negative": 0}, 18),
    ("Celu", {"alpha": 2.0}, 18), ("Shrink", {"lambd": 0.5, "bias": 0.25}, 18), ("ThresholdedRelu", {"alpha": 0.7}, 18),
    ("ArgMax", {"select_last_index": 1}, 18), ("ArgMin", {"select_last_index": 1, "axis": 1, "keepdims": 0}, 18),
    ("LpNormalization", {"p": 1}, 18), ("LpNormalization", {"axis": 0}, 18), ("EyeLike", {"k": 1}, 18), ("Hardmax", {"axis": 0}, 18),
    ("MeanVarianceNormalization", {"axes": [0]}, 13), ("Mod", {"fmod": 1}, 18), ("Hardmax", {}, 13),
]  # fmt: skip


@pytest.mark.parametrize("case", SPECIAL, ids=str)
def test_other_operators(case: Any, tmp_path: Path) -> None:
    op, options, opset = case
    x = np.array([[1, -1, 0.5, -0.5], [np.inf, -np.inf, 2, 2], [0, 0, 0, 0]], np.float32)
    x = x if op == "IsInf" else np.nan_to_num(x, posinf=3, neginf=-3)
    names = ("x", "x") if op == "Mod" else ("x",)
    agree(
        saved(tmp_path / "m.onnx", [node(op, *names, **options)], {"x": ("float32", ["n", 4])}, opset=opset), {"x": x}
    )


@pytest.mark.parametrize("widths", [[0, 1, 2, 0], [1, -1, 0, 2], [-1, -2, 0, 0], [0, 0, 0, 0]])
def test_pad(widths: list[int], tmp_path: Path) -> None:
    """A width below 0 cuts; the value may be computed."""
    inputs = {"x": ("float32", ["n", 4]), "v": ("float32", [])}
    path = saved(tmp_path / "m.onnx", [node("Pad", "x", "w", "v")], inputs, {"w": np.array(widths)})
    agree(path, {"x": np.arange(12, dtype=np.float32).reshape(3, 4), "v": np.array(7, np.float32)}, True)


@pytest.mark.parametrize("count", [2, 3])
def test_split_of_symbolic_sizes(count: int, tmp_path: Path) -> None:
    names = [f"y{k}" for k in range(count)]
    for opset, options in ((13, {}), (18, {"num_outputs": count})):
        made = helper.make_node("Split", ["x"], names, axis=1, **options)
        path = saved(tmp_path / "m.onnx", [made], {"x": ("float32", [2, "n"])}, opset=opset, outputs=names)
        agree(path, {"x": np.arange(12, dtype=np.float32).reshape(2, 6)}, True)


@pytest.mark.parametrize("mode", ["DCR", "CRD"])
def test_depth_to_space(mode: str, tmp_path: Path) -> None:
    path = saved(
        tmp_path / "m.onnx", [node("DepthToSpace", blocksize=2, mode=mode)], {"x": ("float32", ["n", 8, "h", 3])}
    )
    agree(path, {"x": np.arange(96, dtype=np.float32).reshape(2, 8, 2, 3)}, True)
    path = saved(tmp_path / "m.onnx", [node("SpaceToDepth", blocksize=2)], {"x": ("float32", ["n", 2, "h", 6])})
    agree(path, {"x": np.arange(96, dtype=np.float32).reshape(2, 2, 4, 6)}, True)


@pytest.mark.parametrize("sizes", [(3, 1), (1, 4), (3, 4)])
def test_expand_both_ways(sizes: Any, tmp_path: Path) -> None:
    """A size of 1 in the shape leaves the operand's, whichever way it is known."""
    nodes = [helper.make_node("Shape", ["z"], ["s"]), node("Expand", "x", "s")]
    path = saved(tmp_path / "m.onnx", nodes, {"x": ("float32", ["a", "b"]), "z": ("float32", ["c", "d"])})
    agree(
        path,
        {"x": np.arange(sizes[0] * 4, dtype=np.float32).reshape(sizes[0], 4), "z": np.zeros(sizes, np.float32)},
        True,
    )


def test_slices_of_shapes_in_old_opsets(tmp_path: Path) -> None:
    """Bounds were attributes."""
    nodes = [
        helper.make_node("Shape", ["x"], ["s"]), helper.make_node("Slice", ["s"], ["b"], axes=[0], starts=[0], ends=[1]),
        helper.make_node("Concat", ["b", "rest"], ["t"], axis=0), node("Reshape", "x", "t"),
    ]  # fmt: skip
    path = saved(tmp_path / "m.onnx", nodes, {"x": ("float32", ["n", 2, 3])}, {"rest": np.array([-1])}, opset=9)
    assert [str(s) for s in gx.from_onnx(path).outputs[0].shape] == ["n", "6"]
    agree(path, {"x": np.ones((4, 2, 3), np.float32)}, True)


def test_layer_normalization_gives_its_statistics(tmp_path: Path) -> None:
    made = helper.make_node("LayerNormalization", ["x", "w", "b"], ["y", "mean", "scale"], axis=1)
    arrays = {"w": np.arange(12, dtype=np.float32).reshape(3, 4), "b": np.ones((3, 4), np.float32)}
    path = saved(tmp_path / "m.onnx", [made], {"x": ("float32", ["n", 3, 4])}, arrays, outputs=["y", "mean", "scale"])
    agree(path, {"x": np.random.default_rng(0).normal(size=(2, 3, 4)).astype(np.float32)})


# ---- definitions


def test_functions_of_the_model(tmp_path: Path) -> None:
    """With attributes, an operand that is left out, one inside another, and an own meaning of a standard name."""
    inner = helper.make_function(
        "own",
        "leaky",
        ["a"],
        ["b"],
        [helper.make_node("LeakyRelu", ["a"], ["b"])],
        [helper.make_opsetid("", 18)],
        ["alpha"],
    )
    inner.node[0].attribute.append(
        onnx.AttributeProto(name="alpha", ref_attr_name="alpha", type=onnx.AttributeProto.FLOAT)
    )
    outer_nodes = [
        helper.make_node("leaky", ["a"], ["l"], domain="own", alpha=0.5), helper.make_node("Clip", ["l", "low", "high"], ["b"]),
    ]  # fmt: skip
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("own", 1)]
    outer = helper.make_function("own", "cut", ["a", "low", "high"], ["b"], outer_nodes, opsets)
    for domain, opset in (("own", 1), ("ai.onnx.ml", 1)):
        outer.domain = domain
        nodes = [helper.make_node("cut", ["x", "", "h"], ["y"], domain=domain)]
        infos = [helper.make_tensor_value_info(n, 1, ["n"]) for n in "xy"]
        graph = helper.make_graph(nodes, "g", infos[:1], infos[1:], [from_array(np.float32(2), "h")])
        imports = [*opsets, helper.make_opsetid(domain, opset)][: 2 if domain == "own" else 3]
        made = helper.make_model(graph, opset_imports=imports, functions=[inner, outer], ir_version=8)
        (tmp_path / "m.onnx").write_bytes(made.SerializeToString())
        g = gx.from_onnx(tmp_path / "m.onnx")
        found = gx.compile([g["x"]], g.outputs[0], backend="numpy")(np.array([-4, 1, 9], np.float32))
        assert found.tolist() == [-2, 1, 2]


def test_functions_that_call_each_other_for_ever(tmp_path: Path) -> None:
    call = helper.make_node("f", ["a"], ["b"], domain="own")
    function = helper.make_function("own", "f", ["a"], ["b"], [call], [helper.make_opsetid("own", 1)])
    nodes = [helper.make_node("f", ["x"], ["y"], domain="own")]
    path = saved(tmp_path / "m.onnx", nodes, {"x": ("float32", [2])}, opset=1, domain="own", functions=[function])
    with pytest.raises(gx.UnsupportedOpError, match="definitions more than 16 deep are not read"):
        gx.from_onnx(path)


def test_functions_that_grow_without_end(tmp_path: Path) -> None:
    """Each calls the next four times: what is read is bounded."""
    imports = [helper.make_opsetid("own", 1), helper.make_opsetid("", 18)]
    functions = []
    for k in range(12):
        calls = [helper.make_node(f"f{k + 1}", [f"v{j}"], [f"v{j + 1}"], domain="own") for j in range(4)]
        functions.append(helper.make_function("own", f"f{k}", ["v0"], ["v4"], calls, imports))
    last = helper.make_node("Shape", ["v0"], ["v4"])
    functions.append(helper.make_function("own", "f12", ["v0"], ["v4"], [last], imports))
    nodes = [helper.make_node("f0", ["x"], ["y"], domain="own")]
    path = saved(tmp_path / "m.onnx", nodes, {"x": ("float32", [2])}, opset=1, domain="own", functions=functions)
    with pytest.raises(gx.UnsupportedOpError, match="the graph has more than"):
        gx.from_onnx(path)


def test_attention_is_read_by_its_definition(tmp_path: Path) -> None:
    if onnx.defs.onnx_opset_version() < 23:
        pytest.skip("this onnx has no Attention")
    inputs = {name: ("float32", ["batch", 2, "time", 4]) for name in "qkv"}
    path = saved(tmp_path / "m.onnx", [node("Attention", *"qkv", is_causal=1)], inputs, opset=23)
    rng = np.random.default_rng(0)
    agree(path, {name: rng.normal(size=(3, 2, 5, 4)).astype(np.float32) for name in "qkv"})


def test_reading_is_linear_in_the_nodes(tmp_path: Path) -> None:
    """Counted in calls of functions, which no load of the machine changes."""
    import cProfile
    import pstats

    calls = []
    for count in (200, 200, 800):
        nodes = [helper.make_node("Add", [f"v{k}", f"w{k}"], [f"v{k + 1}"]) for k in range(count)]
        constants = {f"w{k}": np.ones(3, np.float32) for k in range(count)}
        path = saved(tmp_path / "m.onnx", nodes, {"v0": ("float32", ["n", 3])}, constants, outputs=[f"v{count}"])
        with cProfile.Profile() as profile:
            gx.from_onnx(path)
        calls.append(pstats.Stats(profile).total_calls)
    assert calls[2] < 4.1 * calls[1] < 4.1 * 600 * 200


def test_what_a_node_is_made_of_stays_together(tmp_path: Path) -> None:
    g = gx.from_onnx(saved(tmp_path / "m.onnx", [node("Softmax")], {"x": ("float32", ["n", 3])}))
    calls = {n.call for n in g.nodes if n.op.kind.value != "leaf"}
    (call,) = calls
    assert call.function == "Softmax" and call.origin.file == __file__


BOUNDS = [
    (0, 1000, 1), (2, 1000, 1), (-3, 1000, 1), (-1000, 3, 1), (10, 20, 1), (0, -1, 1), (-1, -1000, -1), (1000, 0, -1),
    (-3, -1, 1), (0, 5, 2), (6, 3, 1), (1, 3, 1), (0, 2**63 - 1, 1), (-1, -(2**63), -1), (-(2**63), 2**63 - 1, 3), (2**31 - 1, -(2**31), -2),
]  # fmt: skip


@pytest.mark.parametrize("bounds", BOUNDS, ids=str)
def test_slices_are_cut_to_the_axis(bounds: tuple[int, int, int], tmp_path: Path) -> None:
    constants = {n: np.array([v]) for n, v in zip(["s", "e", "a", "t"], [*bounds[:2], 1, bounds[2]], strict=True)}
    path = saved(tmp_path / "m.onnx", [node("Slice", "x", *constants)], {"x": ("float32", ["batch", "len"])}, constants)
    for n in (0, 1, 3, 5, 8):
        agree(path, {"x": np.arange(2 * n, dtype=np.float32).reshape(2, n)}, True)
