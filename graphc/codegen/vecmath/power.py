"""Powers, roots and lengths."""

from __future__ import annotations

import math

from graphc.codegen.vecmath.coefficients import LOG2
from graphc.codegen.vecmath.exponential import two_to
from graphc.codegen.vecmath.logarithm import lifted
from graphc.codegen.vecmath.pair import Pair, fast_two_sum, multiplied
from graphc.codegen.vecmath.value import (
    Constants,
    Value,
    copysign,
    fabs,
    fma,
    polynomial,
    rint,
    select,
    sqrt,
)

# 2 / ln 2 and 2 / (3 ln 2), each in two words: the first terms of log2((1 + s) / (1 - s)) / s in s^2
FIRST = Constants((2.885390043258667, 3.851926067000022e-08), (2.8853900817779268, 4.0710547481862066e-17))
SECOND = Constants((0.9617967009544373, -7.028461812552678e-09), (0.9617966939259756, 5.0577616648125906e-17))
CBRT_START = Constants(709958130, 715094163 << 32)  # two thirds of the bits of 1, less a little
# Where squares overflow, where they lose digits, and what numbers are multiplied by there
SQUARES = Constants((2.0**60, 2.0**-70, 2.0**-40, 2.0**100), (2.0**500, 2.0**-600, 2.0**-400, 2.0**700))


def precise_log2(x: Value) -> Pair:
    """log2(x) of x > 0 with some 12 bits more than its dtype holds."""
    k, f = lifted(x)
    under = fast_two_sum(2.0, f)
    reciprocal = 1.0 / under.high
    s_high = f * reciprocal
    s = Pair(s_high, fma(-s_high, under.low, fma(-s_high, under.high, f)) * reciprocal)
    z = multiplied(s, s)
    (first, first_low), (second, second_low) = x.of(FIRST), x.of(SECOND)
    inner = fast_two_sum(second, polynomial(z.high, x.of(LOG2)) * z.high)
    inner = multiplied(z, Pair(inner.high, inner.low + second_low))
    outer = fast_two_sum(first, inner.high)
    y = multiplied(s, Pair(outer.high, outer.low + (inner.low + first_low)))
    total = fast_two_sum(k, y.high)
    return Pair(total.high, total.low + y.low)


def pow(a: Value, b: Value) -> Value:
    """|a|^b as 2^(b log2 |a|) with the logarithm in two words; signs and edges as in C99 F.9.4.4."""
    base = fabs(a)
    log = precise_log2(base)
    edge = base.equals(0.0) | base.equals(math.inf)
    high = select(edge, select(base > 1.0, base, -math.inf), log.high)
    product = b * high
    y = two_to(product, fma(b, log.low, fma(b, high, -product)))
    y = select(base.equals(1.0), 1.0, y)
    half = b * 0.5
    integer = rint(b).equals(b)
    odd = integer & rint(half).differs(half)
    y = select(odd, copysign(y, a), y)
    y = select((a < 0.0) & (base < math.inf) & rint(b).differs(b), math.nan, y)
    y = select(a.is_nan() | b.is_nan(), math.nan, y)
    return select(a.equals(1.0) | b.equals(0.0), 1.0, y)


def hypot(a: Value, b: Value) -> Value:
    """sqrt(a^2 + b^2), scaled where squares leave the range."""
    x, y = fabs(a), fabs(b)
    high, low = select(x < y, y, x), select(x < y, x, y)
    above, down, below, up = a.of(SQUARES)
    large, small = high > above, high < below
    scale = select(large, a.constant(down), select(small, a.constant(up), 1.0))
    back = select(large, a.constant(1.0 / down), select(small, a.constant(1.0 / up), 1.0))
    high, low = high * scale, low * scale
    length = sqrt(fma(high, high, low * low)) * back
    return select(x.equals(math.inf) | y.equals(math.inf), math.inf, length)


def atan2_slope(a: Value, b: Value) -> Value:
    """b / (a^2 + b^2), the derivative of atan2(a, b) by a, scaled like `hypot`."""
    x, y = fabs(a), fabs(b)
    high = select(x < y, y, x)
    above, down, below, up = a.of(SQUARES)
    scale = select(high > above, a.constant(down), select(high < below, a.constant(up), 1.0))
    a, b = a * scale, b * scale
    return b / fma(a, a, b * b) * scale


def cbrt(x: Value) -> Value:
    """The cube root: a third of the exponent as a start (Kahan), then Halley's iteration."""
    a = fabs(x)
    tiny = a < 2.0 ** (5 - x.bias)
    third = x.mantissa // 3 + 2
    y = select(tiny, a * 2.0 ** (3 * third), a * 0.125)
    half = x.width // 2
    ratio = (1 << half) // 3 + 1
    start = x.of(CBRT_START)
    t = (((((y.bits() >> half) * ratio) >> half) << half) + start).as_float()
    for _ in range(2 if x.width == 32 else 3):
        cube = t * t * t
        t = fma(t, (y - cube) / (cube + cube + y), t)
    t = t * select(tiny, x.constant(2.0**-third), 2.0)
    return select((a > 0.0) & (a < math.inf), copysign(t, x), x)


def rsqrt(x: Value) -> Value:
    """1 / sqrt(x)."""
    return 1.0 / sqrt(x)
