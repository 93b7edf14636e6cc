"""sin, cos and tan of arguments of any size, and their inverses.

Polynomials in the remainder modulo pi or pi / 2; arctangents after Cephes (Moshier) and arcsines after FreeBSD's msun.
All are within 3 units in the last place.
"""

from __future__ import annotations

import math

from graphc.codegen.vecmath.coefficients import ASIN, ATAN, COS1, SIN, SIN1
from graphc.codegen.vecmath.reduction import HALF_PI, folded
from graphc.codegen.vecmath.value import Constants, Value, at_most, copysign, fabs, fma, polynomial, select, sqrt


def _signed(y: Value, sign: Value) -> Value:
    """y with its sign changed where the integer's is set."""
    return (y.bits() ^ (sign & (1 << (y.width - 1)))).as_float()


def _odd(r: Value, coefficients: Constants) -> Value:
    """r + r^3 p(r^2)."""
    z = r * r
    return fma(polynomial(z, r.of(coefficients)) * z, r, r)


def sine(r: Value) -> Value:
    """For 0 <= r <= pi / 2, not above 1."""
    return at_most(_odd(r, SIN), 1.0)


def sin(x: Value) -> Value:
    """The sine."""
    r = folded(x, 1, 0)
    return _signed(sine(r.size), r.negative ^ r.odd ^ x.bits())


def cos(x: Value) -> Value:
    """The cosine, as the sine of pi / 2 more."""
    r = folded(x, 1, 1)
    return _signed(sine(r.size), r.negative ^ r.odd)


def tan(x: Value) -> Value:
    """The tangent: sine over cosine, or its negative reciprocal."""
    folds = folded(x, 2, 0)
    r, turned = folds.size, folds.odd < 0
    z = r * r
    sine = _odd(r, SIN1)
    near = 1.0 - z * 0.5
    cosine = near + fma(polynomial(z, x.of(COS1)), z * z, (1.0 - near) - z * 0.5)
    y = select(turned, cosine, sine) / select(turned, sine, cosine)
    return _signed(y, x.bits() ^ folds.odd ^ folds.negative)


def _angle(y: Value, x: Value) -> Value:
    """atan(y / x) for y, x >= 0, not both 0 or infinite: of (y - x) / (y + x) or -x / y where those are smaller."""
    steep, middle = y > x * 2.414213562373095, y > x * 0.41421356237309503
    over = select(steep, -x, select(middle, y - x, y))
    under = select(steep, y, select(middle, y + x, x))
    above, below = x.of(HALF_PI)
    base = select(steep, x.constant(above), select(middle, x.constant(above / 2), 0.0))
    rest = select(steep, x.constant(below), select(middle, x.constant(below / 2), 0.0))
    t = over / under
    z = t * t
    return base + (t + fma(polynomial(z, x.of(ATAN)) * z, t, rest))


def atan(x: Value) -> Value:
    """The arctangent."""
    return copysign(_angle(fabs(x), x.constant(1.0)), x)


def atan2(a: Value, b: Value) -> Value:
    """The angle of the point (b, a), with C's values at zeros and infinities."""
    y, x = fabs(a), fabs(b)
    both = y.equals(math.inf) & x.equals(math.inf)
    huge = (y > 2.0 ** (y.bias - 3)) | (x > 2.0 ** (y.bias - 3))
    scale = select(huge, y.constant(0.125), 1.0)
    y, x = select(both, 1.0, y * scale), select(both | y.equals(0.0), 1.0, x * scale)
    angle = _angle(y, x)
    above, below = y.of(HALF_PI)
    angle = select(b.bits() < 0, 2 * above - (angle - 2 * below), angle)
    return select(a.is_nan() | b.is_nan(), math.nan, copysign(angle, a))


def _arcsine(x: Value) -> tuple[Value, Value, Value]:
    """Whether |x| > 1/2, and t, t^3 p of asin(t) = t + t^3 p for t = |x|, or sqrt((1 - |x|) / 2) where it is."""
    a = fabs(x)
    large = a > 0.5
    z = select(large, 0.5 - 0.5 * a, a * a)
    t = select(large, sqrt(z), a)
    return large, t, polynomial(z, x.of(ASIN)) * z * t


def asin(x: Value) -> Value:
    """The arcsine; NaN beyond 1."""
    large, t, rest = _arcsine(x)
    above, below = x.of(HALF_PI)
    return copysign(select(large, above - (2.0 * (t + rest) - below), t + rest), x)


def acos(x: Value) -> Value:
    """The arccosine; NaN beyond 1."""
    large, t, rest = _arcsine(x)
    above, below = x.of(HALF_PI)
    negative = x < 0.0
    low = select(negative, t, -t) + (select(negative, rest, -rest) + below)
    middle = above + low
    twice = 2.0 * (t + rest)
    return select(large, select(negative, 2.0 * above - (twice - 2.0 * below), twice), middle)
