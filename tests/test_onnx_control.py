"""Loops and branches of models of other writers, element types that graphc does not have, inputs that are fixed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import graphc as gx

onnx = pytest.importorskip("onnx", reason='needs the extra "onnx"')
runtime = pytest.importorskip("onnxruntime", reason='needs the extra "onnxruntime"')
from test_onnx_operators import agree, saved  # noqa: E402

from graphc.onnx.elements import ELEMENTS, fitted  # noqa: E402

h = onnx.helper
FLOAT, INT64, BOOL = onnx.TensorProto.FLOAT, onnx.TensorProto.INT64, onnx.TensorProto.BOOL
X = {"x": ("float32", ("n", 3))}
ROWS = np.arange(15, dtype=np.float32).reshape(5, 3) - 4


def body(text: str, inputs: str = "", outputs: str = "") -> Any:
    """A graph of nodes ``result = Op(operand, ...)``, one each line; ``1`` and the like are constants."""
    nodes: list[Any] = []
    for line in filter(None, map(str.strip, text.splitlines())):
        result, rest = line.split(" = ")
        op, operands = rest.rstrip(")").split("(")
        names = []
        for word in filter(None, map(str.strip, operands.split(","))):
            if word[0] in "-0123456789":
                value = np.array(float(word), np.float32) if "." in word else np.array(int(word))
                word = f"c{len(nodes)}_of_{result.strip()}"
                nodes.append(h.make_node("Constant", [], [word], value=onnx.numpy_helper.from_array(value)))
            names.append(word)
        nodes.append(h.make_node(op, names, [r.strip() for r in result.split(",")]))
    kinds = {"i": INT64, "go": BOOL}
    infos = [h.make_tensor_value_info(n, kinds.get(n, FLOAT), () if n in kinds else None) for n in inputs.split()]
    return h.make_graph(nodes, "body", infos, [onnx.ValueInfoProto(name=n) for n in outputs.split()])


def branches(then: str, other: str) -> Any:
    return h.make_node(
        "If", ["on"], ["y"], name="here", then_branch=body(then, "", "a"), else_branch=body(other, "", "b")
    )


@pytest.mark.parametrize("on", [True, False])
def test_a_branch_is_taken(on: bool, tmp_path: Path) -> None:
    path = saved(tmp_path / "m.onnx", [branches("a = Exp(x)", "t = Mul(x, 2.0)\nb = Add(t, w)")],
                 {**X, "on": ("bool", ())}, {"w": np.ones(3, np.float32)})  # fmt: skip
    agree(path, {"x": ROWS, "on": np.array(on)})
    g = gx.from_onnx(path, fixed={"on": on})
    assert list(g.inputs) == ["x"] and not any(n.op.name == "cond" for n in g.nodes)
    exe = gx.compile([g["x"]], list(g.outputs), backend="numpy", unused="ignore")
    np.testing.assert_allclose(exe(ROWS)[0], np.exp(ROWS) if on else ROWS * 2 + 1, rtol=1e-6)


def test_squeezing_of_a_symbolic_size_is_tested_in_each_call(tmp_path: Path) -> None:
    """As PyTorch writes it: squeeze if the size is 1."""
    one = {"one": np.array(1), "axes": np.array([0])}
    shape = [
        h.make_node("Shape", ["x"], ["s"]),
        h.make_node("Gather", ["s", "zero"], ["d"]),
        h.make_node("Equal", ["d", "one"], ["on"]),
    ]
    path = saved(
        tmp_path / "m.onnx",
        [*shape, branches("a = Squeeze(x, axes)", "b = Identity(x)")],
        X,
        {**one, "zero": np.array(0)},
    )
    g = gx.from_onnx(path)
    exe = gx.compile([g["x"]], list(g.outputs), backend="numpy")
    assert exe(ROWS[:1])[0].shape == (3,)
    with pytest.raises(gx.InputShapeError, match="sizes do not fit"):
        exe(ROWS)


def loop(text: str, first: str, outputs: str, count: str = "n", go: str = "") -> list[Any]:
    carries = len(first.split())
    inner = body(text, "i go " + " ".join(f"k{k}" for k in range(carries)), outputs)
    results = ["y", *(f"y{k}" for k in range(1, len(outputs.split()) - 1))]
    return [h.make_node("Loop", [count, go, *first.split()], results, name="here", body=inner)]


LOOPS: dict[str, Callable[[], Any]] = {
    "counted": lambda: (loop("g = Identity(go)\na = Add(k0, x)\nb = Mul(k0, 2.0)", "x", "g a b"), {"n": np.array(3)}, 2),
    "to a number that is data": lambda: (loop("g = Identity(go)\na = Add(k0, x)", "x", "g a"), {}, 1),
    "while": lambda: (loop("t = ReduceMax(k0)\nu = Squeeze(t)\ng = Less(u, 99.0)\na = Mul(k0, 2.0)", "x", "g a"), {"n": np.array(50)}, 1),
    "growing": lambda: (loop("g = Identity(go)\nf = Cast(i)\na = Concat(k0, x)", "x", "g a"), {"n": np.array(3)}, 1),
}  # fmt: skip


@pytest.mark.parametrize("name", LOOPS)
def test_loops(name: str, tmp_path: Path) -> None:
    nodes, constants, results = LOOPS[name]()
    for inner in nodes[0].attribute[0].g.node:
        if inner.op_type in ("Concat", "Cast", "ReduceMax"):
            inner.attribute.extend({
                "Concat": [h.make_attribute("axis", 0)], "Cast": [h.make_attribute("to", 1)],
                "ReduceMax": [h.make_attribute("keepdims", 1)],
            }[inner.op_type])  # fmt: skip
    inputs = X if constants else {**X, "n": ("int64", ())}
    outputs = ["y", "y1"][:results]
    path = saved(tmp_path / "m.onnx", nodes, inputs, constants, outputs=outputs)
    arrays: dict[str, Any] = {"x": ROWS}
    agree(path, arrays if constants else {**arrays, "n": np.array(4)})


@pytest.mark.parametrize("ways", [(0, 0), (1, 1), (0, 1)])
def test_scans(ways: tuple[int, int], tmp_path: Path) -> None:
    inner = body("t = Mul(k, row)\na = Add(t, w)\nb = Sub(a, row)", "k row", "a b")
    made = h.make_node("Scan", ["first", "x"], ["y", "y1"], name="here", body=inner, num_scan_inputs=1,
                       scan_input_directions=[ways[0]], scan_output_directions=[ways[1]], scan_output_axes=[1])  # fmt: skip
    constants = {"first": np.ones(3, np.float32), "w": np.full(3, 0.5, np.float32)}
    path = saved(tmp_path / "m.onnx", [made], {"x": ("float32", ("n", 3))}, constants, outputs=["y", "y1"])
    agree(path, {"x": ROWS / 5})


def test_values_of_one_body_are_not_those_of_the_next(tmp_path: Path) -> None:
    """Constants and sizes that two branches share are made outside of both."""
    shape = [
        h.make_node("Shape", ["x"], ["s"]),
        h.make_node("Gather", ["s", "zero"], ["d"]),
        h.make_node("Cast", ["d"], ["f"], to=1),
    ]
    sides = branches("a = Mul(x, f)", "b = Div(x, f)")
    path = saved(tmp_path / "m.onnx", [*shape, sides], {**X, "on": ("bool", ())}, {"zero": np.array(0)})
    g = gx.from_onnx(path)
    exe = gx.compile([g["x"], g["on"]], list(g.outputs), backend="numpy")
    assert exe(ROWS, True)[0].tolist() == (ROWS * 5).tolist() and exe(ROWS, False)[0].tolist() == (ROWS / 5).tolist()


REFUSED = [
    ("If", lambda: branches("a = Exp(x)", "b = ReduceSum(x)"), r"'here' \(If\): .*true_fn gives .*fixed="),
    ("Loop", lambda: loop("g = Less(1, i)\na = Add(k0, x)\nb = Exp(k0)", "x", "g a b")[0], "how many steps are made depends"),
    ("nothing", lambda: branches("c = Exp(x)", "b = Exp(x)"), "nothing in its graph is called 'a'"),
]  # fmt: skip


@pytest.mark.parametrize("case", REFUSED, ids=lambda c: c[0])
def test_what_is_refused(case: Any, tmp_path: Path) -> None:
    _, make, text = case
    path = saved(tmp_path / "m.onnx", [make()], {**X, "on": ("bool", ()), "n": ("int64", ())})
    with pytest.raises((gx.UnsupportedOpError, gx.GraphFileError), match=text):
        gx.from_onnx(path)


def test_inputs_are_fixed(tmp_path: Path) -> None:
    nodes = [h.make_node("ReduceSum", ["x", "axes"], ["y"], keepdims=0)]
    path = saved(tmp_path / "m.onnx", nodes, {**X, "axes": ("int64", (1,))})
    with pytest.raises(gx.UnsupportedOpError, match=r"operand 1 must be known .* fixed="):
        gx.from_onnx(path)
    g = gx.from_onnx(path, fixed={"axes": [1]})
    assert gx.compile([g["x"]], list(g.outputs), backend="numpy")(ROWS)[0].tolist() == ROWS.sum(1).tolist()
    for fixed, text in (
        ({"no": 1}, "no input 'no'"),
        ({"axes": [1.5]}, "is of int64"),
        ({"axes": [1, 2]}, "has the shape"),
    ):
        with pytest.raises(gx.InputError, match=text):
            gx.from_onnx(path, fixed=fixed)


# ---- element types


FLOATS = [name for name, kind in ELEMENTS.items() if kind.digits]
AT = [
    0.0,
    -0.0,
    1e-9,
    1e-7,
    6e-8,
    0.1,
    0.25,
    0.75,
    1.0,
    1.05,
    -1.1875,
    2.5,
    3.5,
    5,
    100.7,
    447,
    449,
    65519,
    65520,
    7e4,
    1e30,
]


@pytest.mark.parametrize("name", FLOATS)
def test_floats_are_rounded_as_onnx_rounds(name: str) -> None:
    types = pytest.importorskip("ml_dtypes")
    full = {"float8e4m3fn": "float8_e4m3fn", "float8e4m3fnuz": "float8_e4m3fnuz", "float8e5m2": "float8_e5m2",
            "float8e5m2fnuz": "float8_e5m2fnuz", "float4e2m1": "float4_e2m1fn"}.get(name, name)  # fmt: skip
    dtype = np.dtype(getattr(types, full, name))
    x = np.array([*AT, *np.random.default_rng(0).normal(size=400) * 3, np.inf, -np.inf, np.nan], np.float32)
    g = gx.Graph()
    y = fitted(g.input("x", ("n",)), ELEMENTS[name], saturate=False)
    exe = gx.compile([g["x"]], [y, gx.grad(gx.sum(y * y), g["x"])], backend="numpy")
    with np.errstate(all="ignore"):
        rounded, slope = exe(x)
        np.testing.assert_array_equal(rounded, x.astype(dtype).astype(np.float32))
        np.testing.assert_array_equal(slope, 2 * rounded)  # straight through


@pytest.mark.parametrize("name", [name for name, kind in ELEMENTS.items() if kind.high and name != "uint64"])
def test_integers_are_cut_to_their_bits(name: str, tmp_path: Path) -> None:
    kind = ELEMENTS[name]
    if not hasattr(np, name):
        pytest.skip("NumPy does not have it")
    code = onnx.TensorProto.DataType.Value(name.upper())
    infos = [h.make_tensor_value_info(n, code, ["n"]) for n in "xz"]
    nodes = [h.make_node("Mul", ["x", "z"], ["t"]), h.make_node("Sub", ["t", "z"], ["y"])]
    graph = h.make_graph(nodes, "g", infos, [h.make_tensor_value_info("y", code, ["n"])])
    onnx.save(h.make_model(graph, opset_imports=[h.make_opsetid("", 18)], ir_version=8), tmp_path / "m.onnx")
    g = gx.from_onnx(tmp_path / "m.onnx")
    exe = gx.compile([g["x"], g["z"]], list(g.outputs), backend="numpy")
    x, z = (np.array(v).astype(name) for v in ([kind.low, kind.high, 7, kind.high // 3], [3, 2, 5, 100]))
    with np.errstate(all="ignore"):
        expected = x * z - z
    (found,) = exe(x, z)
    assert found.dtype == kind.dtype and found.tolist() == expected.tolist()


def test_weights_of_two_bytes(tmp_path: Path) -> None:
    """They are parameters in float32; the result is one of the model's type."""
    w = np.array([0.1, 0.2, 0.3], np.float16)
    infos = [h.make_tensor_value_info("x", onnx.TensorProto.FLOAT16, ["n", 3])]
    nodes = [h.make_node("Mul", ["x", "w"], ["t"]), h.make_node("Exp", ["t"], ["y"])]
    leaving = [h.make_tensor_value_info("y", onnx.TensorProto.FLOAT16, ["n", 3])]
    graph = h.make_graph(nodes, "g", infos, leaving, [onnx.numpy_helper.from_array(w, "w")])
    onnx.save(h.make_model(graph, opset_imports=[h.make_opsetid("", 18)], ir_version=8), tmp_path / "m.onnx")
    g = gx.from_onnx(tmp_path / "m.onnx")
    assert g.parameters["w"].dtype == np.float32
    x = ROWS.astype(np.float16) / 8
    (found,) = gx.compile([g["x"]], list(g.outputs), backend="numpy")(x)
    assert found.tolist() == np.exp(x.astype(np.float32) * w.astype(np.float32)).astype(np.float16).tolist()
