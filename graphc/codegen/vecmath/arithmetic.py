"""Arithmetic beyond single instructions: NumPy's quotients and remainders, signs, tests, and integers' own."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from typing import Any

from graphc.codegen.buffer import inf
from graphc.codegen.vecmath import power, value
from graphc.codegen.vecmath.by_dtype import function_by_dtype
from graphc.codegen.vecmath.instructions import select as choose
from graphc.codegen.vecmath.value import Value, copysign, floor, fma, fmod, kernel_function, select


def _with_integers(of_floats: Callable[..., Value], of_integers: Any) -> Any:
    """A function with one implementation for floats and one for integers."""
    held = kernel_function(of_floats)

    def one(x):  # type: ignore[no-untyped-def]
        return held(x)

    def two(a, b):  # type: ignore[no-untyped-def]
        return held(a, b)

    floats: Any = one if len(inspect.signature(of_floats).parameters) == 1 else two
    floats.stands_for = held
    return function_by_dtype(held.__name__, floats, floats, of_integers)


# ---- quotients, remainders, powers


def _apart(r: Value, b: Value) -> Value:
    """Whether a remainder is not 0 and has another sign than the divisor."""
    return r.differs(0.0) & ((b < 0.0) ^ (r < 0.0))


def _floor_divide(a: Value, b: Value) -> Value:
    """NumPy's: the quotient of what the remainder leaves, rounded."""
    r = fmod(a, b)
    q = (a - r) / b
    q = select(_apart(r, b), q - 1.0, q)
    whole = floor(q)
    whole = select(q - whole > 0.5, whole + 1.0, whole)
    quotient = a / b
    return select(b.equals(0.0), quotient, select(q.equals(0.0), copysign(q.constant(0.0), quotient), whole))


def _remainder(a: Value, b: Value) -> Value:
    """NumPy's: with the sign of b."""
    r = fmod(a, b)
    return select(r.equals(0.0), copysign(r.constant(0.0), b), select(_apart(r, b), r + b, r))


def floor_divide_int(a, b):  # type: ignore[no-untyped-def]
    if b == 0:
        return a * 0
    if b == -1:
        return -a
    return a // b


def remainder_int(a, b):  # type: ignore[no-untyped-def]
    if b == 0 or b == -1:
        return a * 0
    return a % b


def pow_int(a, b):  # type: ignore[no-untyped-def]
    """a^b, which wraps; cut towards zero where b < 0, and 0 for a = 0."""
    out = a * 0 + 1
    if b < 0:
        out = choose(a == 1, out, choose(a == -1, out - 2 * (b & 1), a * 0))
    while b > 0:
        if b & 1:
            out = out * a
        a = a * a
        b = b >> 1
    return out


floor_divide = _with_integers(_floor_divide, floor_divide_int)
remainder = _with_integers(_remainder, remainder_int)
pow = _with_integers(power.pow, pow_int)


def lerp(a: Value, b: Value, c: Value) -> Value:
    """a + c (b - a), from the nearer end; c b + (1 - c) a where b - a is out of range."""
    apart = b - a
    near = c < 0.5
    y = fma(select(near, c, c - 1.0), apart, select(near, a, b))
    return select(value.fabs(apart) < math.inf, y, fma(c, b, (1.0 - c) * a))


# ---- sign and tests


def _sign(x: Value) -> Value:
    """-1, 0 or 1, NaN for NaN."""
    return select(x > 0.0, 1.0, select(x < 0.0, -1.0, x + 0.0))  # 0 for -0.0 too


def fabs_int(x):  # type: ignore[no-untyped-def]
    return choose(x < 0, -x, x)


def sign_int(x):  # type: ignore[no-untyped-def]
    return choose(x > 0, 1, choose(x < 0, -1, 0))


fabs = _with_integers(value.fabs, fabs_int)
sign = _with_integers(_sign, sign_int)


def isinf_float(x):  # type: ignore[no-untyped-def]
    return fabs(x) == inf


def isfinite_float(x):  # type: ignore[no-untyped-def]
    return fabs(x) < inf


isinf = function_by_dtype("isinf", isinf_float, isinf_float)
isfinite = function_by_dtype("isfinite", isfinite_float, isfinite_float)
