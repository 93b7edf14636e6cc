"""Convolution, pooling and resizing between graphc and ONNX: its own cases, and models of programs here."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx_cases import cases, onnx, outcome

import graphc as gx

runtime = pytest.importorskip("onnxruntime", reason='needs the extra "onnx"')
OWN = re.compile(r"^test_(basic_)?(conv|maxpool|averagepool|global|lppool|resize|upsample|col2im)")
UNREAD = re.compile(r"uint8|int8|tf_crop|antialias|not_larger|not_smaller|precomputed_strides|deform|integer|unpool")


def fixed(model: Any, arrays: list[Any]) -> tuple[Any, list[Any]]:
    """The model with scales and sizes, which the cases pass when called, in the file."""
    made = onnx.ModelProto()
    made.CopyFrom(model)
    kept = []
    for info, array in zip(list(made.graph.input), arrays, strict=True):
        if made.graph.node[0].op_type in ("Resize", "Upsample", "Col2Im") and info.name not in ("X", "input"):
            made.graph.initializer.append(onnx.numpy_helper.from_array(array, info.name))
            made.graph.input.remove(info)
        else:
            kept.append(array)
    return made, kept


def test_own_cases_of_images(tmp_path: Path) -> None:
    wrong, right = {}, 0
    for case, model, pairs in cases("node"):
        if not OWN.search(case.name) or UNREAD.search(case.name):
            continue
        made, kept = fixed(model, pairs[0][0])
        found, why = outcome(case, made, [[kept, pairs[0][1]]], tmp_path / "model.onnx")
        right += found == "right"
        if found != "right" and not (case.name.startswith("test_lppool") and found == "not read"):
            wrong[case.name] = found, why
    assert not wrong, wrong
    assert right >= 90


def test_a_network_is_written_as_convolutions_and_pools(tmp_path: Path) -> None:
    """Whole operators, which other programs know; read again they are the same functions."""
    rng = np.random.default_rng(0)
    g = gx.Graph("network")
    x = g.input("x", ("n", 3, 12, 12))
    w, b = (g.parameter(n, rng.normal(size=s).astype("float32")) for n, s in (("w", (8, 3, 3, 3)), ("b", (8,))))
    v = g.parameter("v", rng.normal(size=(8, 1, 3, 3)).astype("float32"))
    u = g.parameter("u", rng.normal(size=(8, 2, 2, 2)).astype("float32"))
    y = gx.max_pool2d(gx.relu(gx.conv2d(x, w, b, padding="same")), 3, stride=2, padding=1)
    y = gx.conv2d(y, v, groups=8, padding=1)
    y = gx.avg_pool2d(gx.conv_transpose2d(y, u, stride=2), 2)
    exe = gx.compile([x], y)
    exe.export_onnx(tmp_path / "network.onnx")
    model = onnx.load(tmp_path / "network.onnx")
    ops = [n.op_type for n in model.graph.node]
    assert [op for op in ops if "Pool" in op or "Conv" in op] == [
        "Conv", "MaxPool", "Conv", "ConvTranspose", "AveragePool",
    ]  # fmt: skip
    array = rng.normal(size=(5, 3, 12, 12)).astype("float32")
    session = runtime.InferenceSession(tmp_path / "network.onnx", providers=["CPUExecutionProvider"])
    (theirs,) = session.run(None, {"x": array})
    again = gx.from_onnx(tmp_path / "network.onnx")
    back = gx.compile([again["x"]], next(iter(again.outputs)), backend="numpy")(array)
    for found in (theirs, back):
        np.testing.assert_allclose(found, exe(array), rtol=1e-4, atol=1e-4)
