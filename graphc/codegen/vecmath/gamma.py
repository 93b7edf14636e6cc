"""The logarithm of the gamma function and its derivative, in float64.

Below 1/2 by reflection, below 8 by recurrence from 7 more, then by Stirling's series (Abramowitz and Stegun 6.1.17,
6.1.15 and 6.1.41; 6.3.7, 6.3.6 and 6.3.18 for the derivative). Right to a few units in the last place of the largest
term, which beside zeros is more than the value; rounded to float32 that is one unit of the value.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from graphc.codegen.vecmath.exponential import LN2
from graphc.codegen.vecmath.logarithm import log_of_1_plus, parts
from graphc.codegen.vecmath.trigonometric import sine
from graphc.codegen.vecmath.value import Value, copysign, fabs, fma, polynomial, rint, select

BERNOULLI = (1 / 6, -1 / 30, 1 / 42, -1 / 30, 5 / 66, -691 / 2730, 7 / 6, -3617 / 510)
STIRLING = [b / (2 * k * (2 * k - 1)) for k, b in enumerate(BERNOULLI, 1)]
SLOPE = [b / (2 * k) for k, b in enumerate(BERNOULLI, 1)]
LOW, SHIFT = 8.0, 7.0


class _Argument(NamedTuple):
    """u = x, or 1 - x where that is larger; y = u, or u + 7 where u is small; r what x lies beside a whole number."""

    reflected: Value
    u: Value
    small: Value
    y: Value
    r: Value


def _argument(x: Value) -> _Argument:
    reflected = x < 0.5
    u = select(reflected, 1.0 - x, x)
    small = u < LOW
    return _Argument(reflected, u, small, select(small, u + SHIFT, u), x - rint(x))


def _log(x: Value) -> Value:
    """The logarithm of a positive normal number."""
    k, _, m = parts(x)
    above, below = x.of(LN2)
    return fma(k, above, log_of_1_plus(m - 1.0, k * below))


def lgamma(x: Value) -> Value:
    """log(|gamma(x)|)."""
    reflected, u, small, y, r = _argument(x)
    s = u * (u + 6.0)
    p = select(small, s * (s + 5.0) * (s + 8.0) * (u + 3.0), 1.0)  # gamma(y) / gamma(u)
    size = sine(fabs(r) * math.pi)
    q = select(reflected, p * math.pi / size, p)
    inverse = 1.0 / y
    rest = polynomial(inverse * inverse, STIRLING) * inverse + 0.5 * (math.log(2.0 * math.pi) - 1.0)
    far = fma(y - 0.5, _log(y) - 1.0, rest)
    found = far - _log(q)
    found = select(reflected, -found, found)
    found = select(x.equals(1.0) | x.equals(2.0), 0.0, found)
    return select(fabs(x).equals(math.inf) | (reflected & r.equals(0.0)), math.inf, found)


def digamma(x: Value) -> Value:
    """The derivative of `lgamma`."""
    reflected, u, small, y, r = _argument(x)
    v = u + 3.0
    s = u * (u + 6.0)
    a = s * (s + 5.0) * (s + 8.0)
    slope = 2.0 * v * v * fma(fma(s, 3.0, 26.0), s, 40.0)  # v times the derivative of a
    near = select(small, (slope + a) / (a * v), 0.0)
    size = fabs(r)
    cotangent = copysign(sine((0.5 - size) * math.pi) / sine(size * math.pi), r) * math.pi
    inverse = 1.0 / y
    z = inverse * inverse
    found = _log(y) - inverse * 0.5 - polynomial(z, SLOPE) * z - near
    found = select(x.equals(math.inf), x, found - select(reflected, cotangent, 0.0))
    pole = select(x.equals(0.0), -copysign(x.constant(math.inf), x), math.nan)
    return select(reflected & r.equals(0.0), pole, found)
