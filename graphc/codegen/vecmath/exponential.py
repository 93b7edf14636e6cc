"""exp and its kin: x = n ln 2 + r with n whole, a polynomial in r, and n added to the exponent.

Range reduction after Cody and Waite, Software Manual for the Elementary Functions (1980), and FreeBSD's msun. All are
within 2.5 units in the last place.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from graphc.codegen.vecmath.coefficients import EXP, EXP2
from graphc.codegen.vecmath.value import (
    Constants,
    Value,
    at_least,
    at_most,
    copysign,
    fabs,
    fma,
    polynomial,
    select,
)

LN2 = Constants((0.693359375, -2.12194440e-4), (0.6931471803691238, 1.9082149292705877e-10))
ROUNDER = Constants(1.5 * 2.0**23, 1.5 * 2.0**52)  # added and taken off, it rounds to a whole number
ROUNDER_BITS = Constants(0x4B400000, 0x4338000000000000)
HIGHEST = Constants(89.5, 710.6)  # exp is infinite from here on, and sinh
LOWEST = Constants(-105.0, -746.0)  # and 0
LOWEST1 = Constants(-30.0, -60.0)  # expm1 is -1
TINY = Constants(1e-30, 1e-290)


class Reduced(NamedTuple):
    """x = n ln 2 + r; ``n`` is held in the low bits of a float, see `ROUNDER`."""

    n: Value
    r: Value


def split(x: Value, scale: float, rounder: float) -> tuple[Value, Value]:
    """scale x rounded to a whole number: as the low bits of a float, and as a float."""
    held = fma(x, scale, rounder)
    return held, held - rounder


def reduced(x: Value, low: Value | None = None) -> Reduced:
    """The reduction of x, or of x + low."""
    held, n = split(x, 1.0 / math.log(2.0), x.of(ROUNDER))
    above, below = x.of(LN2)
    r = fma(n, -above, x) if low is None else fma(n, -above, x) + low
    return Reduced(held, fma(n, -below, r))


def power_of_two(held: Value, offset: int = 0) -> Value:
    """2^(n + offset), which has to be a normal number."""
    return ((held.bits() + (held.bias + offset)) << held.mantissa).as_float()


def scaled(x: Value, held: Value, offset: int = 0) -> Value:
    """x 2^(n + offset), in two steps, since 2^n may be out of range where the result is not."""
    n = held.bits() - int(held.of(ROUNDER_BITS) - 2 * held.bias - offset)
    half = n >> 1
    return x * (half << held.mantissa).as_float() * ((n - half) << held.mantissa).as_float()


def exp_minus_1(r: Value) -> Value:
    """For |r| <= ln(2) / 2."""
    return fma(polynomial(r, r.of(EXP)), r * r, r)


def exp(x: Value) -> Value:
    """e^x."""
    n, r = reduced(at_least(at_most(x, x.of(HIGHEST)), x.of(LOWEST)))
    return scaled(exp_minus_1(r) + 1.0, n)


def two_to(x: Value, low: Value | None = None) -> Value:
    """2^x, or 2^(x + low) with a small ``low``, which may be anything where x is out of range."""
    inside = at_least(at_most(x, x.bias + 2.0), -1.0 * (x.bias + x.mantissa + 5))
    held, n = split(inside, 1.0, x.of(ROUNDER))
    r = inside - n
    if low is not None:
        r = r + select(inside.equals(x), low, 0.0)
    return scaled(fma(polynomial(r, x.of(EXP2)), r, 1.0), held)


def exp2(x: Value) -> Value:
    """2^x."""
    return two_to(x)


def quarter_expm1(x: Value) -> Value:
    """(e^x - 1) / 4 from `LOWEST1` to `HIGHEST`, where e^x may be infinite."""
    n, r = reduced(x)
    quarter = power_of_two(n, -2)
    return fma(exp_minus_1(r), quarter, quarter - 0.25)


def expm1(x: Value) -> Value:
    """e^x - 1."""
    y = quarter_expm1(at_least(at_most(x, x.of(HIGHEST)), x.of(LOWEST1))) * 4.0
    return select(fabs(x) < x.of(TINY), x, y)


def sinh(x: Value) -> Value:
    """(e^x - e^-x) / 2, from t = e^|x| - 1 as (t + t / (t + 1)) / 2."""
    a = fabs(x)
    quarter = quarter_expm1(at_most(a, x.of(HIGHEST)))
    half = select(quarter > 1e18, quarter, quarter + quarter / fma(quarter, 4.0, 1.0))
    return select(a < x.of(TINY), x, copysign(half + half, x))


def cosh(x: Value) -> Value:
    """(e^x + e^-x) / 2."""
    n, r = reduced(at_most(fabs(x), x.of(HIGHEST)))
    half = scaled(exp_minus_1(r) + 1.0, n, -1)
    return half + 0.25 / half


def tanh(x: Value) -> Value:
    """From t = e^(2 |x|) - 1 as t / (t + 2)."""
    a = fabs(x)
    quarter = quarter_expm1(2.0 * at_most(a, 10.0 if x.width == 32 else 20.0))
    return select(a < x.of(TINY), x, copysign(quarter / (quarter + 0.5), x))


def sigmoid(x: Value) -> Value:
    """1 / (1 + e^-x)."""
    e = exp(-fabs(x))
    return select(x >= 0.0, 1.0, e) / (e + 1.0)
