"""Special functions that run an element at a time, in float64."""

from __future__ import annotations

import math

from graphc.codegen.buffer import f32, f64, inf
from graphc.codegen.vecmath import gamma
from graphc.codegen.vecmath.by_dtype import function_by_dtype
from graphc.codegen.vecmath.instructions import round
from graphc.codegen.vecmath.value import kernel_function


def lgamma_f64(x):  # type: ignore[no-untyped-def]
    return math.lgamma(x)


def lgamma_f32(x):  # type: ignore[no-untyped-def]
    return f32(wide_lgamma(f64(x)))


def digamma_f64(x):  # type: ignore[no-untyped-def]
    return wide_digamma(x)


def digamma_f32(x):  # type: ignore[no-untyped-def]
    return f32(wide_digamma(f64(x)))


wide_lgamma = kernel_function(gamma.lgamma, "wide_lgamma")
wide_digamma = kernel_function(gamma.digamma, "wide_digamma")
digamma = function_by_dtype("digamma", digamma_f32, digamma_f64)
lgamma = function_by_dtype("lgamma", lgamma_f32, lgamma_f64)


def stirling_rest_f64(x):  # type: ignore[no-untyped-def]
    """lgamma(x) - (x - 1/2) log(x) + x - log(2 pi)/2 for x >= 10 (Abramowitz and Stegun 6.1.41)."""
    z = 1.0 / (x * x)
    return (
        1 / 12 - z * (1 / 360 - z * (1 / 1260 - z * (1 / 1680 - z * (1 / 1188 - z * (691 / 360360 - z / 156)))))
    ) / x


def beta_ln_f64(a, b):  # type: ignore[no-untyped-def]
    """After Didonato and Morris, Algorithm 708: for large arguments what cancels is left out of lgamma."""
    if a != a or b != b:
        return a + b
    p, q = (a, b) if a < b else (b, a)
    if p <= 0.0 and p == math.floor(p):  # a pole, but where it cancels with that of p + q
        if q != math.floor(q) or p + q >= 1.0 or p == -inf:
            return inf
        return math.lgamma(1.0 - p - q) + math.lgamma(q) - math.lgamma(1.0 - p)
    if q < 10.0 or p + q < 10.0:
        return math.lgamma(p) + math.lgamma(q) - math.lgamma(p + q)
    if q == inf:
        return -inf
    share = p / (p + q)
    rest = stirling_rest(q) - stirling_rest(p + q) + (q - 0.5) * math.log1p(-share)
    if p < 10.0:
        return math.lgamma(p) + p - p * math.log(p + q) + rest
    return (
        stirling_rest(p)
        + 0.5 * math.log(2.0 * math.pi)
        - 0.5 * math.log(q)
        + (p - 0.5) * math.log(share)
        + (rest + 0.5 * math.log1p(-share))
    )


def beta_ln_f32(a, b):  # type: ignore[no-untyped-def]
    return f32(beta_ln_f64_call(f64(a), f64(b)))


stirling_rest = function_by_dtype("stirling_rest", stirling_rest_f64, stirling_rest_f64)
beta_ln_f64_call = function_by_dtype("beta_ln_f64_call", beta_ln_f64, beta_ln_f64)
beta_ln = function_by_dtype("beta_ln", beta_ln_f32, beta_ln_f64)


def scaled_zeta_f64(n, x):  # type: ignore[no-untyped-def]
    """n! times the sum of (x + k)^-(n + 1) over k >= 0, for x > 0: terms to 20, then Abramowitz and Stegun 6.4.11."""
    factorial = math.gamma(n + 1.0)
    out = 0.0
    while x < 20.0:
        out += factorial / x ** (n + 1)
        x += 1.0
    out += factorial / n / x**n + factorial / (2.0 * x ** (n + 1))
    bernoulli = (1 / 6, -1 / 30, 1 / 42, -1 / 30, 5 / 66, -691 / 2730, 7 / 6, -3617 / 510)
    factor = math.gamma(n + 2.0) / (2.0 * x ** (n + 2))
    for k in range(8):
        out += bernoulli[k] * factor
        m = 2.0 * (k + 1)
        factor *= (m + n) * (m + n + 1.0) / ((m + 1.0) * (m + 2.0)) / (x * x)
    return out


def polygamma_f64(n, x):  # type: ignore[no-untyped-def]
    """n >= 1. For x < 0 the sum over all whole k, which is periodic, without what it has too much."""
    sign = 1.0 if n % 2 == 1 else -1.0
    if x <= 0.0:
        r = x - round(x)
        if r == 0.0:
            return sign * inf
        own = math.gamma(n + 1.0) / r ** (n + 1)
        return sign * (own + scaled_zeta(n, 1.0 + r)) + (scaled_zeta(n, 1.0 - r) - scaled_zeta(n, 1.0 - x))
    return sign * scaled_zeta(n, x)


def polygamma_f32(n, x):  # type: ignore[no-untyped-def]
    return f32(polygamma_f64_call(n, f64(x)))


scaled_zeta = function_by_dtype("scaled_zeta", scaled_zeta_f64, scaled_zeta_f64)
polygamma_f64_call = function_by_dtype("polygamma_f64_call", polygamma_f64, polygamma_f64)
polygamma = function_by_dtype("polygamma", polygamma_f32, polygamma_f64)
