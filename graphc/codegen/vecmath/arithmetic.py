"""Arithmetic beyond single instructions: NumPy's quotients and remainders, signs, tests, and integers' own."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from typing import Any

from graphc.codegen.buffer import f32, f64
from graphc.codegen.vecmath import power, value
from graphc.codegen.vecmath.by_dtype import function_by_dtype
from graphc.codegen.vecmath.instructions import copysign, fmod, select
from graphc.codegen.vecmath.value import Value, kernel_function


def _with_integers(of_floats: Callable[..., Value], of_integers: Any) -> Any:
    """A function with one implementation for floats and one for integers."""
    held = kernel_function(of_floats)

    def one(x):  # type: ignore[no-untyped-def]
        return held(x)

    def two(a, b):  # type: ignore[no-untyped-def]
        return held(a, b)

    floats = one if len(inspect.signature(of_floats).parameters) == 1 else two
    return function_by_dtype(held.__name__, floats, floats, of_integers)


# ---- quotients, remainders, powers


def floor_divide_float(a, b):  # type: ignore[no-untyped-def]
    """NumPy's: the quotient of what remainder leaves, rounded."""
    r = fmod(a, b)
    q = (a - r) / b
    q = q - 1 if r != 0 and ((b < 0) != (r < 0)) else q
    f = math.floor(q) if math.isfinite(q) else q
    f = f + 1 if q - f > 0.5 else f
    return copysign(b * 0 + 0.0, a / b) if q == 0 else (a / b if b == 0 else f)


def floor_divide_f32(a, b):  # type: ignore[no-untyped-def]
    return f32(floor_divide_f64_call(f64(a), f64(b)))


def floor_divide_int(a, b):  # type: ignore[no-untyped-def]
    if b == 0:
        return a * 0
    if b == -1:
        return -a
    return a // b


floor_divide_f64_call = function_by_dtype("floor_divide_f64_call", floor_divide_float, floor_divide_float)
floor_divide = function_by_dtype("floor_divide", floor_divide_f32, floor_divide_float, floor_divide_int)


def remainder_f64(a, b):  # type: ignore[no-untyped-def]
    r = fmod(a, b)
    if r != 0.0:
        return r + b if (b < 0.0) != (r < 0.0) else r
    return r if r != r else math.copysign(0.0, b)


def remainder_f32(a, b):  # type: ignore[no-untyped-def]
    return f32(remainder_f64_call(f64(a), f64(b)))


def remainder_int(a, b):  # type: ignore[no-untyped-def]
    if b == 0 or b == -1:
        return a * 0
    return a % b


remainder_f64_call = function_by_dtype("remainder_f64_call", remainder_f64, remainder_f64)
remainder = function_by_dtype("remainder", remainder_f32, remainder_f64, remainder_int)


def pow_int(a, b):  # type: ignore[no-untyped-def]
    out = a * 0 + 1
    while b > 0:
        if b & 1:
            out = out * a
        a = a * a
        b = b >> 1
    return out


pow = _with_integers(power.pow, pow_int)


# ---- sign and tests


def _sign(x: Value) -> Value:
    """-1, 0 or 1, NaN for NaN."""
    return value.select(x > 0.0, 1.0, value.select(x < 0.0, -1.0, x))


def fabs_int(x):  # type: ignore[no-untyped-def]
    return select(x < 0, -x, x)


def sign_int(x):  # type: ignore[no-untyped-def]
    return select(x > 0, 1, select(x < 0, -1, 0))


fabs = _with_integers(value.fabs, fabs_int)
sign = _with_integers(_sign, sign_int)


def isinf_float(x):  # type: ignore[no-untyped-def]
    return fabs(x) == math.inf


def isfinite_float(x):  # type: ignore[no-untyped-def]
    return fabs(x) < math.inf


isinf = function_by_dtype("isinf", isinf_float, isinf_float)
isfinite = function_by_dtype("isfinite", isfinite_float, isfinite_float)
