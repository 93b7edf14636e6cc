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
from graphc.onnx.elements import ELEMENTS, Element

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
    weights = {t.name for t in model.graph.initializer}

    def side(what: str, infos: Any) -> list[Any]:
        infos = [i for i in infos if i.name not in weights]
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
    """What becomes of a case: right, right when inputs that are not floats are fixed, wrong, or what was said."""
    path.write_bytes(model.SerializeToString())
    names = [i.name for i in model.graph.input]
    kinds = [onnx.TensorProto.DataType.Name(i.type.tensor_type.elem_type).lower() for i in model.graph.input]
    first = _tried(case, pairs, path, backend, [])
    if first[0] == "not read" and pairs:
        fixed = [n for n, kind in zip(names, kinds, strict=True) if kind in ("bool", "int32", "int64")]
        for more in (fixed, names):
            if more and _tried(case, pairs, path, backend, more)[0] == "right":
                return "right when fixed", ""
    return first


def _tried(case: Any, pairs: Any, path: Path, backend: str, fixed: list[str]) -> tuple[str, str]:
    model = onnx.load(path)
    weights = {t.name for t in model.graph.initializer}
    names = [i.name for i in model.graph.input if i.name not in weights]
    for given, expected in pairs:
        feeds = {n: _held(a) for n, a in zip(names, given, strict=False)}
        try:
            g = gx.from_onnx(path, fixed={n: feeds[n] for n in fixed if n in feeds})
        except gx.UnsupportedOpError as error:
            return "not read", str(error)
        except gx.GraphFileError as error:
            return "called damaged", str(error)
        except Exception as error:
            return "another error", f"when read: {type(error).__name__}: {error}"
        try:
            exe = gx.compile(list(g.inputs.values()), list(g.outputs), backend=backend, unused="ignore", cache=False)
            for a, b in zip(exe(*[feeds[n] for n in g.inputs]), expected, strict=True):
                if (why := _different(np.asarray(a), b, case.rtol, case.atol)) is not None:
                    return "wrong", why
        except gx.GraphcError as error:
            return "refused when run", f"{type(error).__name__}: {error}"
        except Exception as error:
            return "another error", f"when run: {type(error).__name__}: {error}"
    return "right", ""


def _kind(value: Any) -> Element | None:
    name = onnx.TensorProto.DataType.Name(onnx.helper.np_dtype_to_tensor_dtype(value.dtype)).lower()
    return ELEMENTS.get(name)


def _held(value: Any) -> Any:
    """An array in the dtype that graphc holds it in; what is narrower than its own comes in a wider one."""
    if not isinstance(value, (np.ndarray, np.generic)):
        return value
    kind = _kind(value)
    return value if kind is None else np.asarray(value).astype(kind.dtype)


def _different(a: Any, b: Any, rtol: float, atol: float) -> str | None:
    """What is narrower than float32 was rounded after each operator, and may be off by a unit in the last place."""
    if not isinstance(b, (np.ndarray, np.generic)):
        return f"expected {type(b).__name__}"
    kind, b = _kind(b), _held(b)
    if (a.dtype, a.shape) != (b.dtype, b.shape):
        return f"found {a.dtype}{a.shape}, expected {b.dtype}{b.shape}"
    step = 2.0 ** (1 - kind.digits) if kind and kind.digits else 0.0
    largest = np.abs(b[np.isfinite(b)]).max(initial=0.0) if b.dtype.kind == "f" else 0.0  # of sums that cancel
    near = np.allclose(a, b, rtol=max(rtol, step), atol=max(atol, step / 16, 1e-7 * largest), equal_nan=True)
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
        if not what.startswith("right"):
            print(f"{what}: {case}: {why}".replace("\n", " "))
    print(dict(Counter(what for what, _ in found.values())))
