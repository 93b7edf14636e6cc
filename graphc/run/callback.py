"""Executables as C callbacks: `Executable.low_level`.

Each C function calls what `Executable.njit` calls, on what the caller's pointers point at. Nothing may be raised
through C: what would be an error is NaN, or the 0 by which SciPy's filters know a failed callback.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numba
import numpy as np
from numba import carray, types

from graphc.codegen.jit import alone
from graphc.errors import CompileError
from graphc.ir import dims
from graphc.native import frozen

if TYPE_CHECKING:
    from graphc.ir.tensor import Tensor
    from graphc.run.interface import Runnable

C_TYPES: dict[str, Any] = {
    "double": types.float64,
    "double *": types.CPointer(types.float64),  # type: ignore[attr-defined]
    "int": types.intc,
    "intptr_t": types.intp,
    "void": types.void,
    "void *": types.voidptr,
}


class Form(NamedTuple):
    """What an executable must be for a C signature, and the Python of a function with it that calls ``f``."""

    wants: str
    fits: Callable[[Sequence[Tensor], Tensor], bool]
    write: Callable[[Any, Sequence[Tensor]], Callable[..., Any]]


def low_level(exe: Runnable, signature: str) -> Any:
    """See `Executable.low_level`."""
    from scipy import LowLevelCallable

    words = re.findall(r"\w+|\S", signature.replace("npy_intp", "intptr_t"))
    written = " ".join(words).replace("( ", "(").replace(" )", ")").replace(" ,", ",")
    form = FORMS.get(written)
    if form is None:
        raise CompileError(f"low_level: expected one of {', '.join(map(repr, FORMS))}, found {signature!r}")
    inputs, outputs = list(exe.inputs.values()), exe.program.results
    fits = exe.program.structure.kind == "one" and all(t.dtype == np.float64 for t in (*inputs, *outputs))
    if not fits or not form.fits(inputs, outputs[0]):
        takes, gives = (", ".join(f"{t.name}: {t.type}" for t in ts) or "nothing" for ts in (inputs, outputs))
        kind = {"one": "the tensor", "list": "the list", "dict": "the dict", "none": ""}[exe.program.structure.kind]
        found = f"this executable takes {takes} and gives {kind} {gives}"
        raise CompileError(f"low_level: {written!r} is for {form.wants}, all float64; {found}")
    gives, _, takes = written.removesuffix(")").partition(" (")
    kind = C_TYPES[gives](*(C_TYPES[t] for t in takes.split(", ")))
    function = frozen(exe, ["array" if t.ndim else "scalar" for t in inputs])
    callback = form.write(function, inputs)
    compiled = alone(lambda: numba.cfunc(kind, error_model="numpy")(callback))
    function = compiled.ctypes
    function.keep = compiled, exe  # for as long as the callable is held
    return LowLevelCallable(function, signature=written)


# ---- number -> number


def _is_number(inputs: Sequence[Tensor], output: Tensor) -> bool:
    return [t.ndim for t in (*inputs, output)] == [0, 0]


def _number(f: Any, inputs: Sequence[Tensor]) -> Callable[..., Any]:
    def callback(x):  # type: ignore[no-untyped-def]
        try:
            return f(x)
        except Exception:
            return np.nan

    return callback


def _number_data(f: Any, inputs: Sequence[Tensor]) -> Callable[..., Any]:
    number = numba.njit(_number(f, inputs))

    def callback(x, data):  # type: ignore[no-untyped-def]
        return number(x)

    return callback


# ---- numbers -> number


def _are_numbers(inputs: Sequence[Tensor], output: Tensor) -> bool:
    ranks = [t.ndim for t in inputs]
    return output.ndim == 0 and (not any(ranks) or (ranks[-1] == 1 and not any(ranks[:-1])))


def _numbers(f: Any, inputs: Sequence[Tensor]) -> Callable[..., Any]:
    """One value goes to each number, the rest to a vector behind them."""
    count = sum(t.ndim == 0 for t in inputs)

    numbers = ", ".join(f"values[{k}]" for k in range(count))
    vector = "" if count == len(inputs) else f"{', ' * bool(count)}values[{count}:]"
    fits = f"len(values) {'>=' if vector else '=='} {count}"
    scope: dict[str, Any] = {"f": f, "nan": np.nan}
    exec(f"def spread(values):\n    return f({numbers}{vector}) if {fits} else nan\n", scope)
    spread = numba.njit(error_model="numpy")(scope["spread"])

    def callback(n, x):  # type: ignore[no-untyped-def]
        try:
            return spread(carray(x, n))
        except Exception:
            return np.nan

    return callback


def _numbers_data(f: Any, inputs: Sequence[Tensor]) -> Callable[..., Any]:
    numbers = numba.njit(_numbers(f, inputs))

    def callback(n, x, data):  # type: ignore[no-untyped-def]
        return numbers(n, x)

    return callback


# ---- a window or line of scipy.ndimage


def _is_window(inputs: Sequence[Tensor], output: Tensor) -> bool:
    return [t.ndim for t in (*inputs, output)] == [1, 0]


def _window(f: Any, inputs: Sequence[Tensor]) -> Callable[..., Any]:
    def callback(values, count, result, data):  # type: ignore[no-untyped-def]
        try:
            result[0] = f(carray(values, count))
            return 1
        except Exception:
            return 0

    return callback


def _is_line(inputs: Sequence[Tensor], output: Tensor) -> bool:
    return [t.ndim for t in (*inputs, output)] == [1, 1]


def _line(f: Any, inputs: Sequence[Tensor]) -> Callable[..., Any]:
    def callback(line, length, result, wanted, data):  # type: ignore[no-untyped-def]
        try:
            made = f(carray(line, length))
        except Exception:
            return 0
        if len(made) != wanted:
            return 0
        carray(result, wanted)[:] = made
        return 1

    return callback


# ---- the right-hand side of an ODE


def _is_slope(inputs: Sequence[Tensor], output: Tensor) -> bool:
    """t, y and perhaps parameters, of known sizes: the caller tells none."""
    shapes = [t.shape for t in (*inputs, output)]
    known = not any(isinstance(size, dims.Dim) for shape in shapes for size in shape)
    return known and [len(s) for s in shapes] in ([0, 1, 1], [0, 1, 1, 1]) and shapes[1] == shapes[-1]


def _slope(f: Any, inputs: Sequence[Tensor]) -> Callable[..., Any]:
    (size,) = inputs[1].shape
    (count,) = inputs[2].shape if len(inputs) > 2 else (0,)

    @numba.njit(error_model="numpy")
    def alone(t, y, parameters):  # type: ignore[no-untyped-def]
        return f(t, carray(y, size))

    @numba.njit(error_model="numpy")
    def given(t, y, parameters):  # type: ignore[no-untyped-def]
        return f(t, carray(y, size), carray(parameters, count))

    slope = given if len(inputs) > 2 else alone

    def callback(t, y, result, parameters):  # type: ignore[no-untyped-def]
        try:
            carray(result, size)[:] = slope(t, y, parameters)
        except Exception:
            carray(result, size)[:] = np.nan

    return callback


SPREAD = "numbers and perhaps a vector behind them in, a number out"
FORMS = {
    "double (double)": Form("a number in, a number out", _is_number, _number),
    "double (double, void *)": Form("a number in, a number out", _is_number, _number_data),
    "double (int, double *)": Form(SPREAD, _are_numbers, _numbers),
    "double (int, double *, void *)": Form(SPREAD, _are_numbers, _numbers_data),
    "int (double *, intptr_t, double *, void *)": Form("a vector in, a number out", _is_window, _window),
    "int (double *, intptr_t, double *, intptr_t, void *)": Form("a vector in, a vector out", _is_line, _line),
    "void (double, double *, double *, double *)": Form(
        "t, y and perhaps a vector of parameters in, the slope of y out, of known sizes", _is_slope, _slope
    ),
}
