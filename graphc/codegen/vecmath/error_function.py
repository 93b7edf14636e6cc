"""erf and erfc: a polynomial up to 1, and beyond it exp(-x^2) times a polynomial in (x - 4) / (x + 4).

After Shepherd and Laframboise, Chebyshev approximation of (1 + 2x) exp(x^2) erfc(x), Mathematics of Computation 36
(1981). Within 4 units in the last place.
"""

from __future__ import annotations

from graphc.codegen.vecmath.coefficients import ERF, ERFC
from graphc.codegen.vecmath.exponential import exp_minus_1, reduced, scaled
from graphc.codegen.vecmath.pair import two_product
from graphc.codegen.vecmath.value import Constants, Value, at_most, copysign, fabs, fma, polynomial, select

HIGHEST = Constants(10.5, 28.0)  # erfc is 0 from here on


def _erfc(x: Value) -> Value:
    """erfc(x) for x >= 0."""
    a = at_most(x, x.of(HIGHEST))
    q = polynomial((a - 4.0) / (a + 4.0), x.of(ERFC)) / fma(a, 2.0, 1.0)
    square = two_product(a, a)
    n, r = reduced(-square.high, -square.low)
    return scaled(fma(exp_minus_1(r), q, q), n)


def _erf(x: Value) -> Value:
    """erf(x) for -1 <= x <= 1."""
    return fma(polynomial(x * x, x.of(ERF)), x, x)


def erf(x: Value) -> Value:
    """2 / sqrt(pi) times the integral of exp(-t^2) from 0 to x."""
    a = fabs(x)
    return copysign(select(a < 1.0, _erf(a), 1.0 - _erfc(a)), x)


def erfc(x: Value) -> Value:
    """1 - erf(x), precise for large x too."""
    a = fabs(x)
    y = _erfc(a)
    return select(a < 0.75, 1.0 - _erf(x), select(x < 0.0, 2.0 - y, y))
