"""ONNX's own test cases, which come with the package onnx, read by `gx.from_onnx` and run.

    python tests/onnx_cases.py [NAME] [--symbolic] [--compiled]

prints what becomes of each case whose name holds NAME, and how many there are of each kind.
"""

from __future__ import annotations

import argparse
import tempfile
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import graphc as gx

onnx = pytest.importorskip("onnx", reason="the cases come with onnx")
KINDS = ("node", "simple", "pytorch-converted", "pytorch-operator")


def cases(kind: str) -> Iterator[tuple[Any, Any, Any]]:
    """Cases of a kind with their models and pairs of arrays in and out."""
    from onnx.backend.test.loader import load_model_tests

    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        made = load_model_tests(kind=kind)
    for case in made:
        if case.model is not None:
            yield case, case.model, [[list(map(_array, side)) for side in pair] for pair in case.data_sets]
        else:
            folder = Path(case.model_dir)
            model = onnx.load(folder / "model.onnx")
            yield case, model, [_stored(f, model) for f in sorted(folder.glob("test_data_set_*"))]


def _array(value: Any) -> Any:
    return onnx.numpy_helper.to_array(value) if isinstance(value, onnx.TensorProto) else value


def _stored(folder: Path, model: Any) -> list[list[Any]]:
    def side(what: str, infos: Any) -> list[Any]:
        files = sorted(folder.glob(f"{what}_*.pb"), key=lambda p: int(p.stem.split("_")[1]))
        tensors = [i.type.WhichOneof("value") == "tensor_type" for i in infos]
        return [
            _array(onnx.TensorProto.FromString(f.read_bytes())) if t else None
            for f, t in zip(files, tensors, strict=True)
        ]

    return [side("input", model.graph.input), side("output", model.graph.output)]


def symbolic(model: Any) -> Any:
    """The model with a symbol for each size of its inputs."""
    made = onnx.ModelProto()
    made.CopyFrom(model)
    for k, info in enumerate(made.graph.input):
        for axis, dim in enumerate(info.type.tensor_type.shape.dim):
            dim.dim_param = f"s{k}_{axis}"
    return made


def outcome(case: Any, model: Any, pairs: Any, path: Path, backend: str = "numpy") -> tuple[str, str]:
    """What becomes of a case: right, wrong, or what was said; and why."""
    path.write_bytes(model.SerializeToString())
    try:
        g = gx.from_onnx(path)
    except gx.UnsupportedOpError as error:
        return "not read", str(error)
    except gx.GraphFileError as error:
        return "called damaged", str(error)
    except Exception as error:
        return "another error", f"when read: {type(error).__name__}: {error}"
    try:
        exe = gx.compile(list(g.inputs.values()), list(g.outputs), backend=backend, unused="ignore", cache=False)
        for given, expected in pairs:
            for a, b in zip(exe(*given[: len(g.inputs)]), expected, strict=True):
                if (why := _different(np.asarray(a), b, case.rtol, case.atol)) is not None:
                    return "wrong", why
    except gx.GraphcError as error:
        return "refused when run", f"{type(error).__name__}: {error}"
    except Exception as error:
        return "another error", f"when run: {type(error).__name__}: {error}"
    return "right", ""


def _different(a: Any, b: Any, rtol: float, atol: float) -> str | None:
    if not isinstance(b, (np.ndarray, np.generic)):
        return f"expected {type(b).__name__}"
    if (a.dtype, a.shape) != (b.dtype, b.shape):
        return f"found {a.dtype}{a.shape}, expected {b.dtype}{b.shape}"
    near = np.allclose(a, b, rtol=rtol, atol=atol, equal_nan=True)
    return None if near else f"found {np.ravel(a)[:8]}, expected {np.ravel(b)[:8]}"


def run(
    kinds: Any = KINDS, name: str = "", symbols: bool = False, backend: str = "numpy"
) -> dict[str, tuple[str, str]]:
    """The outcome of every case of these kinds whose name holds ``name``."""
    out = {}
    with tempfile.TemporaryDirectory() as folder:
        for kind in kinds:
            for case, model, pairs in cases(kind):
                if name in case.name:
                    model = symbolic(model) if symbols else model
                    out[case.name] = outcome(case, model, pairs, Path(folder) / "m.onnx", backend)
    return out


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("name", nargs="?", default="")
    parser.add_argument("--kind", choices=KINDS)
    parser.add_argument("--symbolic", action="store_true")
    parser.add_argument("--compiled", action="store_true")
    given = parser.parse_args()
    kinds = [given.kind] if given.kind else KINDS
    found = run(kinds, given.name, given.symbolic, "numba" if given.compiled else "numpy")
    for case, (what, why) in sorted(found.items(), key=lambda pair: pair[1]):
        if what != "right":
            print(f"{what}: {case}: {why}".replace("\n", " "))
    print(dict(Counter(what for what, _ in found.values())))
