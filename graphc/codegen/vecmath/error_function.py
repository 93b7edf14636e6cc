"""The error functions, within 4 units in the last place, and their inverses, within 5.

erf and erfc are a polynomial up to 1, and beyond it exp(-x^2) times a polynomial in (x - 4) / (x + 4): after Shepherd
and Laframboise, Chebyshev approximation of (1 + 2x) exp(x^2) erfc(x), Mathematics of Computation 36 (1981). The
inverses are quantiles of the normal distribution, quotients of polynomials after Wichura, Algorithm AS 241, Applied
Statistics 37 (1988).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from graphc.codegen.vecmath.coefficients import ERF, ERFC, ERFC1
from graphc.codegen.vecmath.exponential import exp_minus_1, power_of_two, reduced, scaled
from graphc.codegen.vecmath.logarithm import log, log1p
from graphc.codegen.vecmath.pair import two_product
from graphc.codegen.vecmath.value import (
    Constants,
    Value,
    at_most,
    copysign,
    fabs,
    fma,
    long_polynomial,
    polynomial,
    select,
    sqrt,
)

HIGHEST = Constants(10.5, 28.0)  # erfc is 0 from here on
ONE = Constants(4.0, 6.0)  # and erf 1

# Wichura's PPND7 and PPND16: numerators, and then denominators, near the centre, in a tail, and far out in it
CENTRE, FAR = 0.85, 5.0  # where the tails begin: |x|, and sqrt(-log p) of the probability p beyond
SHIFTS = (0.180625, 1.6, 5.0)
QUANTILE_NUMERATORS = Constants(
    (
        (3.3871327179e00, 5.0434271938e01, 1.5929113202e02, 5.9109374720e01),
        (1.4234372777e00, 2.7568153900e00, 1.3067284816e00, 1.7023821103e-01),
        (6.6579051150e00, 3.0812263860e00, 4.2868294337e-01, 1.7337203997e-02),
    ),
    (
        (
            3.3871328727963666080e00,
            1.3314166789178437745e02,
            1.9715909503065514427e03,
            1.3731693765509461125e04,
            4.5921953931549871457e04,
            6.7265770927008700853e04,
            3.3430575583588128105e04,
            2.5090809287301226727e03,
        ),
        (
            1.42343711074968357734e00,
            4.63033784615654529590e00,
            5.76949722146069140550e00,
            3.64784832476320460504e00,
            1.27045825245236838258e00,
            2.41780725177450611770e-01,
            2.27238449892691845833e-02,
            7.74545014278341407640e-04,
        ),
        (
            6.65790464350110377720e00,
            5.46378491116411436990e00,
            1.78482653991729133580e00,
            2.96560571828504891230e-01,
            2.65321895265761230930e-02,
            1.24266094738807843860e-03,
            2.71155556874348757815e-05,
            2.01033439929228813265e-07,
        ),
    ),
)
QUANTILE_DENOMINATORS = Constants(
    (
        (1.0, 1.7895169469e01, 7.8757757664e01, 6.7187563600e01),
        (1.0, 7.3700164250e-01, 1.2021132975e-01, 0.0),
        (1.0, 2.4197894225e-01, 1.2258202635e-02, 0.0),
    ),
    (
        (
            1.0,
            4.2313330701600911252e01,
            6.8718700749205790830e02,
            5.3941960214247511077e03,
            2.1213794301586595867e04,
            3.9307895800092710610e04,
            2.8729085735721942674e04,
            5.2264952788528545610e03,
        ),
        (
            1.0,
            2.05319162663775882187e00,
            1.67638483018380384940e00,
            6.89767334985100004550e-01,
            1.48103976427480074590e-01,
            1.51986665636164571966e-02,
            5.47593808499534494600e-04,
            1.05075007164441684324e-09,
        ),
        (
            1.0,
            5.99832206555887937690e-01,
            1.36929880922735805310e-01,
            1.48753612908506148525e-02,
            7.86869131145613259100e-04,
            1.84631831751005468180e-05,
            1.42151175831644588870e-07,
            2.04426310338993978564e-15,
        ),
    ),
)


def _of_error_function(pieces: Sequence[Sequence[float]]) -> list[list[float]]:
    """Numerators of erfinv(x) / x and of erfcinv from those of quantiles in x / 2 and in probabilities."""
    scales = (0.5 * math.sqrt(0.5), math.sqrt(0.5), math.sqrt(0.5))
    return [[c * scale for c in piece] for piece, scale in zip(pieces, scales, strict=True)]


NUMERATORS = Constants(*map(_of_error_function, QUANTILE_NUMERATORS))
DENOMINATORS = QUANTILE_DENOMINATORS


def _erfc(x: Value) -> Value:
    """erfc(x) for x >= 0."""
    a = at_most(x, x.of(HIGHEST))
    q = polynomial((a - 4.0) / (a + 4.0), x.of(ERFC)) / fma(a, 2.0, 1.0)
    square = two_product(a, a)
    n, r = reduced(-square.high, -square.low)
    return scaled(fma(exp_minus_1(r), q, q), n)


def _erf(x: Value) -> Value:
    """erf(x) for -1 <= x <= 1."""
    return fma(long_polynomial(x * x, x.of(ERF)), x, x)


def _inverse(x: Value, rest: Value) -> Value:
    """erfinv(x) of 0 <= x < 1, or erfcinv of ``rest`` = 1 - x, which is precise where it is small."""
    centre = x < CENTRE
    r = sqrt(math.log(2.0) - log(rest))
    near = r < FAR

    def chosen(pieces: Sequence[float]) -> Value:
        first, second, third = map(x.constant, pieces)
        return select(centre, first, select(near, second, third))

    r = select(centre, fma(x * x, -0.25, SHIFTS[0]), r - select(near, x.constant(SHIFTS[1]), SHIFTS[2]))
    above, below = ([chosen(c) for c in zip(*x.of(pieces), strict=True)] for pieces in (NUMERATORS, DENOMINATORS))
    return polynomial(r, above) * select(centre, x, 1.0) / polynomial(r, below)


def erfinv(x: Value) -> Value:
    """The inverse of erf; infinite at -1 and 1, NaN beyond."""
    a = fabs(x)
    return copysign(select(a.equals(1.0), math.inf, _inverse(a, 1.0 - a)), x)


def erfcinv(x: Value) -> Value:
    """The inverse of erfc; infinite at 0 and 2, NaN beyond."""
    upper = x > 1.0
    rest = select(upper, 2.0 - x, x)
    y = select(rest.equals(0.0), math.inf, _inverse(1.0 - rest, rest))
    return select(upper, -y, y)


def erf(x: Value) -> Value:
    """2 / sqrt(pi) times the integral of exp(-t^2) from 0 to x. What is taken from 1 is below 1/6: precise enough."""
    a = fabs(x)
    b = at_most(a, x.of(ONE))
    right, twice = b + 4.0, fma(b, 2.0, 1.0)
    inverse = 1.0 / (right * twice)
    q = long_polynomial((b - 4.0) * twice * inverse, x.of(ERFC1)) * (right * inverse)
    n, r = reduced(-b * b)
    rest = fma(exp_minus_1(r), q, q) * power_of_two(n)
    return copysign(select(a < 1.0, _erf(a), 1.0 - rest), x)


def erfc(x: Value) -> Value:
    """1 - erf(x), precise for large x too."""
    a = fabs(x)
    y = _erfc(a)
    return select(a < 0.75, 1.0 - _erf(x), select(x < 0.0, 2.0 - y, y))


FAR_OFF = 28.0  # where the expansion of erfcx in 1 / x^2 is right to rounding
EXPANSION = (1.0, -1.0, 3.0, -15.0, 105.0, -945.0, 10395.0)  # of sqrt(pi) x erfcx(x) in 1 / (2 x^2)


def erfcx(x: Value) -> Value:
    """exp(x^2) erfc(x); beyond 28 by its expansion, Abramowitz and Stegun 7.1.23."""
    a = fabs(x)
    b = at_most(a, FAR_OFF)
    near = polynomial((b - 4.0) / (b + 4.0), x.of(ERFC)) / fma(b, 2.0, 1.0)
    inverse = 1.0 / a
    far = inverse * (1.0 / math.sqrt(math.pi)) * polynomial(inverse * inverse * 0.5, EXPANSION)
    y = select(a > FAR_OFF, far, near)
    c = at_most(a, x.of(HIGHEST))
    square = two_product(c, c)
    n, r = reduced(square.high, square.low)
    e = exp_minus_1(r) + 1.0
    return select(x < 0.0, scaled(e, n, 1) - y, y)


def log_ndtr(x: Value) -> Value:
    """The logarithm of erfc(-x / sqrt(2)) / 2."""
    t = x * -math.sqrt(0.5)
    low = fma(x * x, -0.5, log(erfcx(t) * 0.5))
    return select(x < -1.0, low, log1p(erfc(-t) * -0.5))
