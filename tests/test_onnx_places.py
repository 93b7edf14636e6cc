"""Models of other writers: quantised numbers, bits, signals, and images between their pixels, as ONNX Runtime has them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import graphc as gx

onnx = pytest.importorskip("onnx", reason='needs the extra "onnx"')
reference = pytest.importorskip("onnx.reference", reason='needs the extra "onnx"')
runtime = pytest.importorskip("onnxruntime", reason='needs the extra "onnxruntime"')
from test_onnx_operators import agree, node, saved  # noqa: E402

from graphc.onnx.elements import ELEMENTS  # noqa: E402

h = onnx.helper
RNG = np.random.default_rng(0)


def floats(*shape: int) -> Any:
    return RNG.normal(size=shape).astype(np.float32)


def whole(dtype: str, *shape: int) -> Any:
    low, high = np.iinfo(dtype).min, np.iinfo(dtype).max
    return RNG.integers(low, high, shape, endpoint=True).astype(dtype)


IMAGE, GRID = floats(2, 3, 5, 4), RNG.uniform(-1.3, 1.3, (2, 6, 3, 2)).astype(np.float32)
SCALE, SCALES = np.float32(0.05), np.array([0.02, 0.05, 0.03], np.float32)
REGIONS, OF = np.array([[0, 0, 3, 4], [1, 1.5, 3.5, 2], [0, 2, 9, 9]], np.float32), np.array([0, 1, 1])
# operator, operands, constants, attributes, opset
CASES: list[tuple[str, list[Any], list[Any], dict[str, Any], int]] = [
    ("QuantizeLinear", [floats(4, 3)], [SCALE, np.uint8(100)], {}, 19),
    ("QuantizeLinear", [floats(4, 3)], [SCALES, np.array([1, -2, 3], np.int8)], {"axis": -1}, 19),
    ("DequantizeLinear", [whole("int8", 4, 3)], [SCALES, np.array([1, -2, 3], np.int8)], {"axis": 1}, 19),
    ("DequantizeLinear", [whole("uint8", 4, 3)], [SCALE], {}, 19),
    ("DynamicQuantizeLinear", [floats(5, 4)], [], {}, 18),
    ("MatMulInteger", [whole("uint8", 2, 4, 3), whole("int8", 3, 2)], [np.uint8(120), np.int8(3)], {}, 18),
    ("ConvInteger", [whole("uint8", 1, 2, 5, 5)], [whole("uint8", 3, 2, 3, 3), np.uint8(7), np.uint8(3)], {"pads": [1, 1, 1, 1]}, 18),
    ("QLinearMatMul", [whole("uint8", 4, 3)], [SCALE, np.uint8(120), whole("uint8", 3, 2), SCALE, np.uint8(9), SCALE * 3, np.uint8(99)], {}, 18),
    ("QLinearConv", [whole("uint8", 1, 2, 5, 5)],
     [SCALE, np.uint8(120), whole("int8", 3, 2, 3, 3), SCALES, np.zeros(3, np.int8), SCALE * 30, np.uint8(99), whole("int8", 3).astype(np.int32)],
     {"pads": [1, 1, 1, 1], "strides": [2, 2]}, 18),
    *[("BitShift", [whole(t, 9), np.arange(9).astype(t)], [], {"direction": way}, 18) for t in ("uint8", "uint32") for way in ("LEFT", "RIGHT")],
    *[(f"Bitwise{op}", [whole(t, 20), whole(t, 20)], [], {}, 18) for op in ("And", "Or", "Xor") for t in ("uint8", "int8", "int32", "int64")],
    ("BitwiseNot", [whole("int32", 5)], [], {}, 18), ("BitwiseNot", [whole("uint8", 5)], [], {}, 18),
    *[("GridSample", [IMAGE, GRID], [], {"mode": mode, "padding_mode": pad, "align_corners": corners}, 20)
      for mode in ("nearest", "linear", "cubic") for pad in ("zeros", "border", "reflection") for corners in (0, 1)],
    ("GridSample", [floats(1, 2, 3, 4, 5), RNG.uniform(-1, 1, (1, 2, 2, 2, 3)).astype(np.float32)], [], {"mode": "linear"}, 20),
    ("RoiAlign", [IMAGE, REGIONS], [OF], {"sampling_ratio": 2, "output_height": 2, "output_width": 3}, 16),
    ("RoiAlign", [IMAGE, REGIONS], [OF], {"sampling_ratio": 1, "coordinate_transformation_mode": "output_half_pixel"}, 16),
    ("ReverseSequence", [floats(4, 3, 2)], [np.array([4, 1, 2])], {}, 18),
    ("ReverseSequence", [floats(3, 4)], [np.array([4, 1, 2])], {"batch_axis": 0, "time_axis": 1}, 18),
    ("LRN", [IMAGE], [], {"size": 3}, 18), ("LpPool", [IMAGE], [], {"kernel_shape": [2, 2], "p": 3}, 18),
    ("Det", [floats(4, 3, 3)], [], {}, 18), ("CumProd", [floats(4, 3)], [np.array(1)], {"exclusive": 1, "reverse": 1}, 26),
    ("DFT", [floats(2, 6, 1)], [], {"onesided": 1, "axis": 1}, 17), ("DFT", [floats(2, 6, 2)], [np.array(8)], {"inverse": 1}, 17),
    ("Resize", [IMAGE], [np.zeros(0, np.float32), np.array([1, 1, 0.6, 0.5], np.float32)], {"mode": "linear", "antialias": 1}, 18),
    ("Resize", [IMAGE], [np.zeros(0, np.float32), np.array([1, 1, 0.6, 0.5], np.float32)], {"mode": "cubic", "antialias": 1}, 18),
    ("Resize", [IMAGE], [np.array([0, 0, 0.4, 0.3, 1, 1, 1.2, 0.8], np.float32), np.zeros(0, np.float32), np.array([2, 3, 3, 3])],
     {"mode": "linear", "coordinate_transformation_mode": "tf_crop_and_resize", "extrapolation_value": 9.0}, 18),
    ("Resize", [IMAGE], [np.zeros(0, np.float32), np.zeros(0, np.float32), np.array([7, 8])],
     {"mode": "nearest", "axes": [2, 3], "keep_aspect_ratio_policy": "not_larger"}, 18),
    ("Compress", [floats(4, 3)], [np.array([True, False, True])], {"axis": 1}, 18),
    ("TfIdfVectorizer", [whole("int8", 3, 9).astype(np.int64) % 3], [],
     {"mode": "TF", "min_gram_length": 1, "max_gram_length": 2, "max_skip_count": 1, "ngram_counts": [0, 2], "ngram_indexes": [0, 1, 2, 3],
      "pool_int64s": [0, 2, 0, 1, 2, 2]}, 18),
    ("STFT", [floats(2, 16, 1)], [np.array(4), floats(8)], {}, 17),
]  # fmt: skip


def kind(a: Any) -> int:
    return int(h.np_dtype_to_tensor_dtype(np.asarray(a).dtype))


@pytest.mark.parametrize("case", CASES, ids=lambda c: f"{c[0]}-{c[1][0].dtype}-{c[3]}")
def test_operators(case: Any, tmp_path: Path) -> None:
    """Batches are symbols."""
    op, operands, constants, options, opset = case
    names = [f"x{k}" for k in range(len(operands))]
    more = {f"c{k}": a for k, a in enumerate(constants)}
    made = node(op, *names, *more, **options)
    made.output.extend({"DynamicQuantizeLinear": ["y1", "y2"]}.get(op, []))
    path = saved(tmp_path / "m.onnx", [made], {}, more, opset=opset, outputs=list(made.output))
    model = onnx.load(path)
    for k, (name, a) in enumerate(zip(names, operands, strict=True)):
        batch = ["n" if op == "GridSample" else 2 if op == "Resize" else f"n{k}", *a.shape[1:]]
        model.graph.input.append(h.make_tensor_value_info(name, kind(a), batch if a.ndim else []))
    onnx.save(model, path)
    arrays = dict(zip(names, operands, strict=True))
    g = gx.from_onnx(path)
    exe = gx.compile(list(g.inputs.values()), list(g.outputs), backend="numpy")
    found = exe(*[a if a.dtype != np.uint32 else a.astype(np.int64) for a in operands])
    if op in ("BitwiseAnd", "BitwiseOr", "BitwiseXor", "BitwiseNot", "CumProd"):  # not all runtimes have them
        expected = reference.ReferenceEvaluator(model).run(None, arrays)
    else:
        expected = runtime.InferenceSession(path, providers=["CPUExecutionProvider"]).run(None, arrays)
    for a, b in zip(found, expected, strict=True):
        held = ELEMENTS[onnx.TensorProto.DataType.Name(kind(b)).lower()].dtype
        assert (np.asarray(a).dtype, np.shape(a)) == (held, b.shape)
        np.testing.assert_allclose(a, b.astype(held), rtol=1e-4, atol=2e-6)


SEQUENCES = [
    ("a, b = Split x; s = SequenceConstruct a b; y = ConcatFromSequence s", {"axis": 1}),
    ("s = SplitToSequence x; y = SequenceAt s one", {}),
    (
        "s = SequenceEmpty; t = SequenceInsert s x; u = SequenceInsert t x zero; v = SequenceErase u; y = SequenceAt v zero",
        {},
    ),
    ("s = SplitToSequence x; y = SequenceLength s", {}),
    (
        "s = SplitToSequence x; t = SequenceErase s last; z = Neg x; u = SequenceInsert t z last; y = SequenceAt u last",
        {},
    ),
]


@pytest.mark.parametrize("case", SEQUENCES, ids=lambda c: c[0][:30])
def test_sequences_inside(case: Any, tmp_path: Path) -> None:
    text, options = case
    nodes = []
    for line in text.split("; "):
        results, rest = line.split(" = ")
        op, *operands = rest.split()
        more = options if op == "ConcatFromSequence" else {"num_outputs": 2} if op == "Split" else {}
        nodes.append(h.make_node(op, operands, results.split(", "), **more))
    constants = {"zero": np.array(0), "one": np.array(1), "last": np.array(-1)}
    path = saved(tmp_path / "m.onnx", nodes, {"x": ("float32", (4, 3))}, constants)
    agree(path, {"x": floats(4, 3)}, exact=True)


@pytest.mark.parametrize("op", ["Momentum", "Adagrad", "Adam"])
def test_steps_of_optimisers(op: str, tmp_path: Path) -> None:
    """Of two parameters, as the package's reference has them."""
    groups = 4 if op == "Adam" else 3
    names = [f"{what}{k}" for what in "xgvh"[:groups] for k in (0, 1)]
    made = h.make_node(
        op, ["r", "t", *names], [f"n{k}" for k in range(2 * (groups - 1))], domain="ai.onnx.preview.training"
    )
    options = {
        "Momentum": {"alpha": 0.9, "beta": 0.5, "mode": "nesterov"},
        "Adagrad": {"decay_factor": 0.1},
        "Adam": {},
    }[op]
    made.attribute.extend(h.make_attribute(k, v) for k, v in {**options, "norm_coefficient": 0.01}.items())
    infos = [
        h.make_tensor_value_info("r", 1, []),
        h.make_tensor_value_info("t", 7, []),
        *(h.make_tensor_value_info(n, 1, [3]) for n in names),
    ]
    graph = h.make_graph([made], "g", infos, [h.make_tensor_value_info(o, 1, [3]) for o in made.output])
    model = h.make_model(graph, opset_imports=[h.make_opsetid("", 18), h.make_opsetid(made.domain, 1)], ir_version=8)
    onnx.save(model, tmp_path / "m.onnx")
    arrays = {"r": np.float32(0.1), "t": np.array(3), **{n: np.abs(floats(3)) for n in names}}
    g = gx.from_onnx(tmp_path / "m.onnx")
    found = gx.compile(list(g.inputs.values()), list(g.outputs), backend="numpy")(*arrays.values())
    for a, b in zip(found, reference.ReferenceEvaluator(model).run(None, arrays), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5)


def test_the_mel_scale(tmp_path: Path) -> None:
    """All operands are known."""
    given = [np.array(8), np.array(64), np.array(8000), np.array(20.0, np.float32), np.array(4000.0, np.float32)]
    constants = {f"c{k}": a for k, a in enumerate(given)}
    path = saved(tmp_path / "m.onnx", [node("MelWeightMatrix", *constants)], {}, constants, opset=17)
    (found,) = gx.compile([], list(gx.from_onnx(path).outputs), backend="numpy")()
    (expected,) = reference.ReferenceEvaluator(onnx.load(path)).run(None, {})
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_points_may_be_trained(tmp_path: Path) -> None:
    """Gradients go through interpolation, to the image and to where it is read."""
    inputs = {"x": ("float32", IMAGE.shape), "grid": ("float32", GRID.shape)}
    g = gx.from_onnx(saved(tmp_path / "m.onnx", [node("GridSample", "x", "grid")], inputs, opset=20))
    y = gx.sum(g.outputs[0] ** 2)
    assert gx.check_gradients(y, [g["x"], g["grid"]], {"x": IMAGE, "grid": GRID}, order=1)
