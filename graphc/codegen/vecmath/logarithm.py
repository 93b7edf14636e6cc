"""log and its kin: x = 2^k m with m from sqrt(1/2) to sqrt(2), and log(m) from s = (m - 1) / (m + 1).

After FreeBSD's msun. All are within 3 units in the last place.
"""

from __future__ import annotations

import math

from graphc.codegen.vecmath.coefficients import LOG
from graphc.codegen.vecmath.exponential import (
    HIGHEST,
    LN2,
    LOWEST,
    ROUNDER,
    ROUNDER_BITS,
    TINY,
    exp,
    exp_minus_1,
    power_of_two,
    reduced,
    scaled,
)
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
    sqrt,
)

ROOT_HALF = Constants(0x3F3504F3, 0x3FE6A09E667F3BCD)  # the bits of sqrt(1/2)
SMALLEST = Constants(2.0**-126, 2.0**-1022)  # of normal numbers
LOG10_2 = Constants((0.301025390625, 4.605039066518657e-06), (0.301029995663157, 8.241712586023572e-13))
LARGE = Constants(2.0**13, 2.0**28)  # from here on x^2 + 1 is x^2
LN_2 = math.log(2.0)


def parts(x: Value, lift: Value | float = 0.0) -> tuple[Value, Value, Value]:
    """k - lift, 2^-k and m of normal x = 2^k m > 0."""
    root_half, one = x.of(ROOT_HALF), x.bias << x.mantissa
    moved = x.bits() + (one - root_half)
    within = (1 << x.mantissa) - 1
    m = ((moved & within) + root_half).as_float()
    k = ((moved >> x.mantissa) | x.of(ROUNDER_BITS)).as_float()  # and bias and rounder
    return k - (lift + (x.bias + x.of(ROUNDER))), (-(moved & ~within) + 2 * one).as_float(), m


def lifted(x: Value) -> tuple[Value, Value]:
    """k and m - 1 of x > 0, subnormal or not."""
    tiny = x < x.of(SMALLEST)
    by = x.mantissa + 2
    k, _, m = parts(select(tiny, x * 2.0**by, x), select(tiny, x.constant(by), 0.0))
    return k, m - 1.0


def log_of_1_plus(f: Value, small: Value | float = 0.0) -> Value:
    """log(1 + f) + small for 1 + f from sqrt(1/2) to sqrt(2)."""
    s = f / (f + 2.0)
    z = s * s
    half_square = f * f * 0.5
    rest = fma(polynomial(z, f.of(LOG)), z, half_square)
    return f - (half_square - fma(s, rest, small))


def with_edges(x: Value, y: Value) -> Value:
    """y = log(x) with its values at 0, infinity, below 0 and NaN."""
    y = select(x.equals(math.inf), x, y)
    return select(x > 0.0, y, select(x.equals(0.0), x.constant(-math.inf), math.nan))


def log(x: Value) -> Value:
    """The natural logarithm."""
    k, f = lifted(x)
    above, below = x.of(LN2)
    return with_edges(x, fma(k, above, log_of_1_plus(f, k * below)))


def log2(x: Value) -> Value:
    """The logarithm to base 2, exact at powers of 2."""
    k, f = lifted(x)
    return with_edges(x, fma(log_of_1_plus(f), 1.0 / LN_2, k))


def log10(x: Value) -> Value:
    """The logarithm to base 10."""
    k, f = lifted(x)
    above, below = x.of(LOG10_2)
    return with_edges(x, fma(k, above, fma(log_of_1_plus(f), 1.0 / math.log(10.0), k * below)))


def log1p(x: Value) -> Value:
    """log(1 + x)."""
    u = x + 1.0
    k, scale, m = parts(u)
    lost = select(x > 1.0, 1.0 - (u - x), x - (u - 1.0))  # by rounding
    f = m - 1.0
    f = select(x > 1e18, f, fma(lost, scale, f))
    above, below = x.of(LN2)
    y = fma(k, above, log_of_1_plus(f, k * below))
    y = select(x.equals(math.inf), x, y)
    y = select(x > -1.0, y, select(x.equals(-1.0), x.constant(-math.inf), math.nan))
    return select(fabs(x) < x.of(TINY), x, y)


def log1p_to_1(x: Value) -> Value:
    """log(1 + x) for 0 <= x <= 1."""
    large = x > 0.41421356
    y = log_of_1_plus(select(large, x * 0.5 - 0.5, x))
    return y + select(large, x.constant(LN_2), 0.0)


def softplus(x: Value) -> Value:
    """log(1 + e^x)."""
    return select(x > 0.0, x, 0.0) + log1p_to_1(exp(-fabs(x)))


def log_sigmoid(x: Value) -> Value:
    """log(1 / (1 + e^-x))."""
    return -softplus(-x)


def log1mexp(x: Value) -> Value:
    """log(1 - e^-x): of e^-x - 1 where that is small, else of 1 - e^-x and what the difference lost."""
    n, r = reduced(at_least(at_most(-x, x.of(HIGHEST)), x.of(LOWEST)))
    p, two_n = exp_minus_1(r), power_of_two(n)
    e, near = scaled(p + 1.0, n), x < LN_2
    u = select(near, -fma(p, two_n, two_n - 1.0), 1.0 - e)
    lost = select(near, 0.0, (1.0 - u) - e)
    k, f = lifted(u)
    f = fma(lost, 1.0 - k, f)  # what was lost is not 0 for k = 0 and -1 only
    above, below = x.of(LN2)
    y = fma(k, above, log_of_1_plus(f, k * below))
    return select(x > 0.0, y, select(x.equals(0.0), x.constant(-math.inf), math.nan))


def logaddexp(a: Value, b: Value) -> Value:
    """log(e^a + e^b)."""
    top = select((a > b) | a.is_nan(), a, b)
    return select(a.equals(b), a + LN_2, top + log1p_to_1(exp(-fabs(a - b))))


def xlogy(a: Value, b: Value) -> Value:
    """a log(b), 0 where a is."""
    return select(a.equals(0.0) & b.equals(b), 0.0, a * log(b))


def xlog1py(a: Value, b: Value) -> Value:
    """a log(1 + b), 0 where a is."""
    return select(a.equals(0.0) & b.equals(b), 0.0, a * log1p(b))


def _log1p_of_any(y: Value, doubled: Value) -> Value:
    """log(1 + y), and ln 2 more where ``doubled``."""
    return log1p(y) + select(doubled, y.constant(LN_2), 0.0)


def asinh(x: Value) -> Value:
    """log(a + sqrt(a^2 + 1)) of a = |x|; log(2 a) for large a."""
    a = fabs(x)
    large = a > x.of(LARGE)
    square = a * a
    y = select(large, a - 1.0, a + square / (sqrt(square + 1.0) + 1.0))
    return copysign(_log1p_of_any(y, large), x)


def acosh(x: Value) -> Value:
    """log(x + sqrt(x^2 - 1)); log(2 x) for large x."""
    large = x > x.of(LARGE)
    t = x - 1.0
    y = select(large, t, t + sqrt(t * (t + 2.0)))
    return select(x < 1.0, math.nan, _log1p_of_any(y, large))


def atanh(x: Value) -> Value:
    """log((1 + a) / (1 - a)) / 2 of a = |x|."""
    a = fabs(x)
    return copysign(log1p(2.0 * a / (1.0 - a)) * 0.5, x)
