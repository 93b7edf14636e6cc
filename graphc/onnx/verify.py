"""A model proven before it is written: the checker's rules, and ONNX Runtime's results beside graphc's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from graphc.errors import ExportError, GraphcError, InputError, InputIndexError, InputShapeError
from graphc.extra import need
from graphc.ir import dims
from graphc.ir.state import Array
from graphc.ir.types import FLOAT64
from graphc.onnx.build import Built
from graphc.reference import bind_sizes, check_sizes, evaluate
from graphc.run.binding import arrange, convert
from graphc.run.program import Program

TOLERANCE = {"float32": 1e-4, "float64": 1e-9}  # of the largest element, 1 at least
TRIED = (1, 2, 3, 4, 5, 8, 16, 64)  # sizes, after sizes that all differ


def check(built: Built, data: bytes, program: Program, state: Mapping[str, Array], given: Any) -> None:
    """ExportError unless ``data`` is a legal model and ONNX Runtime computes from it what graphc does.

    ``given`` is True, for arrays that are made up, or arrays as in a call.
    """
    refuse_missing(built, program)
    onnx = need("onnx", "export_onnx", ExportError)
    runtime = need("onnxruntime", "export_onnx(verify=True)", ExportError)
    try:
        onnx.checker.check_model(data, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise ExportError(f"the ONNX checker refuses the model: {error}") from None
    double = any(n.type.dtype == FLOAT64 for n in program.optimised.nodes)
    try:
        running = session(runtime, data, double)
    except Exception as error:  # the runtime has no base class of its errors
        raise ExportError(f"ONNX Runtime refuses the model: {error}") from None
    for arrays in _feeds(program, state, given):
        compare(built, running, program, state, arrays)


def session(runtime: Any, data: bytes | str, double: bool) -> Any:
    """A model's bytes or path in ONNX Runtime on the CPU.

    With ``double`` its further optimisations are off: they put float64 factors into float32 attributes.
    """
    options = runtime.SessionOptions()
    options.log_severity_level = 4
    if double:
        options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    return runtime.InferenceSession(data, options, providers=["CPUExecutionProvider"])


def refuse_missing(built: Built, program: Program) -> None:
    """ExportError, naming the nodes, where the model needs float64 operators that stock ONNX Runtime lacks."""
    if built.missing:
        first = next(iter(built.missing))
        origin = next((n.origin for n in program.optimised.nodes if n.name == first), None)
        many = list(built.missing.items())
        named = ", ".join(f"{node[:60]} ({' '.join(ops)})" for node, ops in many[:5])
        more = f" and {len(many) - 5} more" if len(many) > 5 else ""
        text = (
            f"stock ONNX Runtime has these operators for float32 only, and they are needed for float64: {named}{more}; "
            "use float32, or pass verify=False to write the model for another runtime"
        )
        raise ExportError(text, node=first, origin=origin)


def compare(built: Built, running: Any, program: Program, state: Mapping[str, Array], arrays: Sequence[Array]) -> None:
    """ExportError, naming the output, where a run of the model differs from a run of the program."""
    feeds = dict(zip(program.inputs, arrays, strict=True))
    sizes = _sizes(program, arrays)
    expected = evaluate(program.optimised, feeds, state, sizes)
    entering = [*arrays, *(state[name] for name in program.updates)]
    try:
        found = running.run(list(built.outputs), dict(zip(built.inputs, entering, strict=True)))
    except Exception as error:  # as above
        raise ExportError(f"ONNX Runtime fails with sizes {sizes}: {error}") from None
    for name, a, b in zip(built.outputs, found, expected, strict=True):
        if a.dtype != b.dtype or a.shape != b.shape:
            raise ExportError(f"output {name!r}: ONNX Runtime gives {a.dtype}{a.shape}, graphc {b.dtype}{b.shape}")
        apart = distance(a, b)
        if apart > TOLERANCE.get(b.dtype.name, 0):
            raise ExportError(
                f"output {name!r}: ONNX Runtime and graphc differ by {apart:.3g} of the largest element with sizes "
                f"{sizes}; pass verify=[arrays] to compare at other points, or verify=False"
            )


def distance(a: Array, b: Array) -> float:
    """The largest difference over the largest finite element, or over 1; infinite where NaN or inf differ."""
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    finite = np.isfinite(b)
    if not np.array_equal(a[~finite], b[~finite], equal_nan=True) or not np.isfinite(a[finite]).all():
        return float("inf")
    a, b = a[finite], b[finite]
    return float(np.max(np.abs(a - b), initial=0.0) / np.max(np.abs(b), initial=1.0))


def _sizes(program: Program, arrays: Sequence[Array]) -> dict[str, int]:
    return bind_sizes(program.arguments, [a.shape for a in arrays])


def _feeds(program: Program, state: Mapping[str, Array], given: Any) -> Iterator[list[Array]]:
    """Arrays that the program runs with: those given, or made up for one or two choices of sizes."""
    if given is not True:
        positional, named = ((), given) if isinstance(given, Mapping) else (given, {})
        if not isinstance(given, (Mapping, list, tuple)):
            raise InputError(f"verify must be a bool, or arrays as in a call in a list or dict, found {given!r}"[:300])
        arguments = tuple(program.arguments)
        yield [convert(t, a) for t, a in zip(arguments, arrange(arguments, positional, named), strict=True)]
        return
    symbols = program.symbols
    choices = [{name: 3 + k for k, name in enumerate(symbols)}, *(dict.fromkeys(symbols, n) for n in TRIED)]
    fitting = 0
    for sizes in choices:
        arrays = made_up(program, state, sizes)
        if arrays is not None and fitting < 2:
            fitting += 1
            yield arrays
        if not symbols:
            break
    if not fitting:
        raise ExportError("no made-up inputs fit this program; pass verify=[arrays], as in a call, or verify=False")


def made_up(program: Program, state: Mapping[str, Array], sizes: dict[str, int]) -> list[Array] | None:
    """Arrays of these sizes that the program takes: floats between 0.1 and 0.9, integers 0 or 1, else 0."""
    try:
        check_sizes(program.checks, sizes)
        shapes = [tuple(dims.evaluate(s, sizes) for s in t.shape) for t in program.arguments]
    except (InputShapeError, ZeroDivisionError):
        return None
    rng = np.random.default_rng(0)
    for most in (2, 1):
        arrays = []
        for t, shape in zip(program.arguments, shapes, strict=True):
            made = rng.uniform(0.1, 0.9, shape) if t.dtype.kind == "f" else rng.integers(0, most, shape)
            arrays.append(np.asarray(made).astype(t.dtype))
        try:
            evaluate(program.optimised, dict(zip(program.inputs, arrays, strict=True)), state, sizes)
        except (InputIndexError, ValueError):
            continue
        except GraphcError:
            return None
        return arrays
    return None


__all__ = ["TOLERANCE", "check", "compare", "distance", "made_up", "session"]
