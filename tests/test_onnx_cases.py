"""ONNX's own test cases: what is read is right, and no legal model is called damaged."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx_cases import run

import graphc as gx

onnx = pytest.importorskip("onnx", reason="the cases come with onnx")

# Of the cases of single operators: right as they stand, and with those whose inputs of sizes are fixed. Of the others
# most are of text and sequences, or their results have sizes that depend on data.
READ = {"as they are": (0.75, 0.92), "with symbols for sizes": (0.4, 0.6)}
OTHERS = ("simple", "pytorch-converted", "pytorch-operator")
LIGHT = sorted((Path(onnx.__file__).parent / "backend" / "test" / "data" / "light").glob("*.onnx"))


def check(found: dict[str, Any], least: tuple[float, float]) -> None:
    wrong = {case: what for case, what in found.items() if what[0] not in ("right", "right when fixed", "not read")}
    assert not wrong, wrong
    count = Counter(what for what, _ in found.values())
    assert count["right"] >= least[0] * len(found), count
    assert count["right"] + count["right when fixed"] >= least[1] * len(found), count


@pytest.mark.slow
@pytest.mark.parametrize("form", READ)
def test_every_case(form: str) -> None:
    check(run(["node"], symbols=form != "as they are"), READ[form])


@pytest.mark.slow
def test_cases_of_several_operators() -> None:
    """Some are of opsets before 7."""
    check(run(OTHERS), (0.6, 0.6))


@pytest.mark.nightly
def test_every_case_compiled() -> None:
    check(run(["node"], backend="numba"), READ["as they are"])


@pytest.mark.slow
@pytest.mark.parametrize("path", LIGHT, ids=lambda p: p.stem)
def test_networks_of_images(path: Path) -> None:
    """With weights that the models make up; ONNX Runtime gives the same."""
    runtime = pytest.importorskip("onnxruntime", reason='needs the extra "onnx"')
    g = gx.from_onnx(path)
    (x,) = g.inputs.values()
    count = int(np.prod(x.shape))
    image = (np.arange(count, dtype=np.float32) / count * 2 - 1).reshape(x.shape)
    (found,) = gx.compile([x], list(g.outputs), backend="numpy")(image)
    session = runtime.InferenceSession(path, providers=["CPUExecutionProvider"])
    np.testing.assert_allclose(found, session.run(None, {x.name: image})[0], rtol=1e-4, atol=1e-6)
