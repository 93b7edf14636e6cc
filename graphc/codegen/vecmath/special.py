"""Special functions that run an element at a time, in float64."""

from __future__ import annotations

import math

from graphc.codegen.buffer import f32, f64, inf, nan
from graphc.codegen.vecmath.by_dtype import function_by_dtype


def lgamma_f64(x):  # type: ignore[no-untyped-def]
    return math.lgamma(x)


def lgamma_f32(x):  # type: ignore[no-untyped-def]
    return f32(math.lgamma(x))


lgamma = function_by_dtype("lgamma", lgamma_f32, lgamma_f64)


def erfinv_f64(x):  # type: ignore[no-untyped-def]
    """Giles, Approximating the erfinv function, GPU Computing Gems 2 (2011), then two Newton steps."""
    a = (1.0 - x) * (1.0 + x)
    w = -math.log(a)
    if w < 5.0:
        v = w - 2.5
        p = 2.81022636e-08
        p = 3.43273939e-07 + p * v
        p = -3.5233877e-06 + p * v
        p = -4.39150654e-06 + p * v
        p = 0.00021858087 + p * v
        p = -0.00125372503 + p * v
        p = -0.00417768164 + p * v
        p = 0.246640727 + p * v
        p = 1.50140941 + p * v
    else:
        v = math.sqrt(w) - 3.0
        p = -0.000200214257
        p = 0.000100950558 + p * v
        p = 0.00134934322 + p * v
        p = -0.00367342844 + p * v
        p = 0.00573950773 + p * v
        p = -0.0076224613 + p * v
        p = 0.00943887047 + p * v
        p = 1.00167406 + p * v
        p = 2.83297682 + p * v
    y = p * x
    if math.fabs(x) < 1.0:
        for _ in range(2):
            t = math.fabs(y)
            error = (math.erf(y) - x) if t < 0.5 else ((1.0 - math.fabs(x)) - math.erfc(t)) * math.copysign(1.0, x)
            step = error / (1.1283791670955126 * math.exp(-y * y))
            y = y - step / (1.0 + y * step)
    elif math.fabs(x) == 1.0:
        y = x * inf
    else:
        y = nan
    return y


def erfinv_f32(x):  # type: ignore[no-untyped-def]
    return f32(erfinv_f64_call(f64(x)))


def digamma_f64(x):  # type: ignore[no-untyped-def]
    """Reflection, recurrence to 10, then the asymptotic series (Abramowitz and Stegun 6.3.5, 6.3.7, 6.3.18)."""
    out = 0.0
    if x <= 0.0:
        if x == math.floor(x):
            return nan if x != 0.0 else -math.copysign(inf, x)
        part = x - math.floor(x)
        out = -math.pi / math.tan(math.pi * part)
        x = 1.0 - x
    while x < 10.0:
        out -= 1.0 / x
        x += 1.0
    z = 1.0 / (x * x)
    s = z * (1 / 12 - z * (1 / 120 - z * (1 / 252 - z * (1 / 240 - z * (1 / 132 - z * (691 / 32760 - z / 12))))))
    return out + math.log(x) - 0.5 / x - s


def polygamma_f64(n, x):  # type: ignore[no-untyped-def]
    """n >= 1: recurrence to 20, then the asymptotic series (Abramowitz and Stegun 6.4.6, 6.4.11), for x > 0."""
    if x <= 0.0 or x != x:
        return nan if x != 0.0 else inf
    sign = 1.0 if n % 2 == 1 else -1.0
    factorial = math.gamma(n + 1.0)
    out = 0.0
    while x < 20.0:
        out += factorial / x ** (n + 1)
        x += 1.0
    tail = factorial / n / x**n + factorial / (2.0 * x ** (n + 1))
    rising = math.gamma(n + 2.0)
    bernoulli = (1 / 6, -1 / 30, 1 / 42, -1 / 30, 5 / 66, -691 / 2730, 7 / 6, -3617 / 510)
    factor = rising / (2.0 * x ** (n + 2))
    for k in range(8):
        tail += bernoulli[k] * factor
        m = 2.0 * (k + 1)
        factor *= (m + n) * (m + n + 1.0) / ((m + 1.0) * (m + 2.0)) / (x * x)
    return sign * (out + tail)


def digamma_f32(x):  # type: ignore[no-untyped-def]
    return f32(digamma_f64_call(f64(x)))


def polygamma_f32(n, x):  # type: ignore[no-untyped-def]
    return f32(polygamma_f64_call(n, f64(x)))


erfinv_f64_call = function_by_dtype("erfinv_f64_call", erfinv_f64, erfinv_f64)
digamma_f64_call = function_by_dtype("digamma_f64_call", digamma_f64, digamma_f64)
polygamma_f64_call = function_by_dtype("polygamma_f64_call", polygamma_f64, polygamma_f64)
erfinv = function_by_dtype("erfinv", erfinv_f32, erfinv_f64)
digamma = function_by_dtype("digamma", digamma_f32, digamma_f64)
polygamma = function_by_dtype("polygamma", polygamma_f32, polygamma_f64)
