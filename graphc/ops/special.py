"""Incomplete gamma and beta functions, the Hurwitz zeta function, derivatives of digamma, modified Bessel functions."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from graphc.errors import DTypeError
from graphc.ir.tensor import Tensor
from graphc.ir.types import is_float
from graphc.ops.apply import Operand, apply, cast, promoted, public
from graphc.ops.elementwise import (
    abs,
    elementwise,
    equal,
    less,
    less_equal,
    logical_and,
    logical_or,
    maximum,
    minimum,
    sign,
    stop_gradient,
    where,
)
from graphc.ops.functions import digamma, exp, expm1, lgamma, log, log1p, sqrt, xlog1py, xlogy
from graphc.ops.normal import beta_ln, polynomial
from graphc.ops.reduce import sum
from graphc.ops.shape import expand_dims

POINTS = 96  # of a rule for integrals, by which these derivatives are right to some 1e-12


def _scipy(name: str) -> Any:
    """A function of scipy.special, imported when first evaluated; in float64, since some lose digits in float32."""

    def evaluate(*args: Any) -> Any:
        import scipy.special

        with np.errstate(all="ignore"):
            found = getattr(scipy.special, name)(*(np.asarray(a, np.float64) for a in args))
            return found.astype(np.result_type(*args))

    return evaluate


# ---- integrals whose derivatives are those of their integrands


def _half_line(decay: Tensor, rate: Tensor) -> tuple[Tensor, Tensor]:
    """Points from 0 on, along a new last axis, and their weights, for integrals of what falls within ``1 / decay``.

    Far away it may fall by ``rate`` alone. The points are ``exp(v - exp(-v))`` for equally spaced ``v`` (Takahasi and
    Mori, Double Exponential Formulas for Numerical Integration, 1974), and constants when the integral is
    differentiated.
    """
    width = 1 / stop_gradient(decay)
    step = (log(45 / minimum(stop_gradient(rate) * width, 1)) + 4) * (1 / POINTS)
    width, step = expand_dims(width, -1), expand_dims(step, -1)
    v = step * decay.graph.constant(np.arange(POINTS) + 0.5) - 4
    at = width * exp(v - exp(-v))
    return at, at * (1 + exp(-v)) * step


def _in_float64(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """A rule's derivative times ``g``, computed in float64 whatever its operands are."""

    def rule(g: Tensor, y: Tensor, *operands: Tensor) -> Tensor:
        return g * cast(function(*(cast(x, np.dtype("float64")) for x in operands)), y.dtype)

    return rule


# ---- the incomplete gamma functions


def _by_a(a: Any, x: Any, n: int) -> Any:
    """The n-th derivative of the lower function by a: terms of its series, or of its fraction, with their own."""
    from scipy.special import gammaln, polygamma, psi

    dtype = np.result_type(a, x)
    a, x = np.broadcast_arrays(np.asarray(a, np.float64), np.asarray(x, np.float64))
    inside = (a >= 0) & (x > 0) & (x < np.inf) & (a < np.inf)
    edge = np.where((a >= 0) & (x >= 0) & ((a != x) | ((a > 0) & (a < np.inf))), 0.0, np.nan)
    a, x = np.where(inside, a, 1.0), np.where(inside, x, 1.0)
    with np.errstate(all="ignore"):
        far = a >= 10
        u = np.where(far, (x - a) / a, 0)
        r = u / (2 + u)
        near = 2 * r**3 * np.polyval([1 / (2 * k + 1) for k in range(18, 0, -1)], r * r) - u * r
        rest = np.where((u > -0.5) & (u < 1), near, np.log(x / a) - u)
        z = 1 / (a * a)
        stirling = (1 / 12 - z * (1 / 360 - z * (1 / 1260 - z * (1 / 1680 - z * (1 / 1188 - z * 691 / 360360))))) / a
        weight = np.where(
            far,
            np.exp(a * rest - stirling) / np.sqrt(2 * np.pi * a),
            np.exp(a * np.log(x) - x - gammaln(a + 1)),
        )
        log_slope = np.log(x) - psi(a + 1)
        bend = -polygamma(1, a + 1)
        large, low = a > 1e8, x <= a + 1
        out = np.where(large, _by_large_a(n, a, u, rest, weight * np.exp(stirling)), 0)
        s = _series(np.where(low & ~large, a, 1), np.where(low & ~large, x, 1))
        f = _fraction(np.where(low | large, 1, a), np.where(low | large, 3, x))
        lower = log_slope * s[0] + s[1] if n == 1 else (log_slope**2 + bend) * s[0] + 2 * log_slope * s[1] + s[2]
        upper = a * log_slope * f[0] + f[0] + a * f[1]
        if n == 2:
            upper = (a * (log_slope**2 + bend) + 2 * log_slope) * f[0] + 2 * (a * log_slope + 1) * f[1] + a * f[2]
        out = np.where(large, out, weight * np.where(low, lower, -upper))
    return np.where(inside, out, edge).astype(dtype)


def _series(a: Any, x: Any) -> list[Any]:
    """The sum of x^k / ((a + 1) ... (a + k)) and its derivatives by a."""
    t, t1, t2 = np.ones_like(x), np.zeros_like(x), np.zeros_like(x)
    s, s1, s2 = t.copy(), t1.copy(), t2.copy()
    for k in range(1, 10**6):
        t = t * x / (a + k)
        t1 = (t1 * x - t) / (a + k)
        t2 = (t2 * x - 2 * t1) / (a + k)
        s, s1, s2 = s + t, s1 + t1, s2 + t2
        if ((t <= 1e-17 * s) & (np.abs(t1) <= 1e-17 * np.abs(s1)) & (np.abs(t2) <= 1e-17 * np.abs(s2))).all():
            break
    return [s, s1, s2]


def _fraction(a: Any, x: Any) -> list[Any]:
    """The continued fraction of the upper function (Abramowitz and Stegun 6.5.31) and its derivatives by a."""
    before = np.array([np.ones_like(x), *([np.zeros_like(x)] * 2), x, *([np.zeros_like(x)] * 2)])
    now = np.array([x + 1, *([np.zeros_like(x)] * 2), (x + 2 - a) * x, -x, np.zeros_like(x)])
    y, z, held, done = 1 - a, x + 2 - a, None, np.zeros(x.shape, bool)
    for c in range(1, 10**6):
        y, z = y + 1, z + 2
        d = y * c
        new = now * z - before * d
        for k in (0, 3):
            new[k + 1] += -now[k] + before[k] * c
            new[k + 2] += -2 * now[k + 1] + 2 * before[k + 1] * c
        scale = np.where(np.abs(new[0]) > 1e100, 1e-100, 1)
        before, now = now * scale, new * scale
        p, q = now[:3], now[3:]
        r = p[0] / q[0]
        r1 = (p[1] - r * q[1]) / q[0]
        r2 = (p[2] - 2 * r1 * q[1] - r * q[2]) / q[0]
        found = np.array([r, r1, r2])
        if held is not None:
            found = np.where(done, held, found)
            done |= (np.abs(found - held) <= 4e-15 * (np.abs(found) + np.abs(r))).all(0)
        held = found
        if done.all():
            break
    return list(found)


def _by_large_a(n: int, a: Any, u: Any, rest: Any, weight: Any) -> Any:
    """By Temme's expansion (1979), for a beyond 1e8."""
    e = np.copysign(np.sqrt(-2 * rest), u)
    m = np.polyval([1 / 4320, -1 / 270, 1 / 36, 1 / 3, 1], e)
    m1 = np.polyval([1 / 1080, -1 / 90, 1 / 18, 1 / 3], e)
    c = np.polyval([1 / 864, -2 / 135, 1 / 12, -1 / 3], e) - (1 / 540 + e / 288) / a
    c1 = np.polyval([1 / 288, -4 / 135, 1 / 12], e)
    e1, slope = -m / a, np.log1p(u) - 0.5 / a
    first = 0.5 * e - m - c1 * e1 - c * slope
    if n == 2:
        first = m1 * m / a + 0.5 * e1 - c1 * e1 * slope + c / a + slope * first
    return np.where(weight > 0, weight * first, 0)


def _gamma_density(a: Tensor, x: Tensor) -> Tensor:
    """The derivative of the lower function by x, the density of a gamma number."""
    return exp(xlogy(a - 1, x) - x - lgamma(a))


def _gamma_by_aaa(a: Tensor, x: Tensor) -> Tensor:
    """The third derivative by a: the integral of the density's, on the logarithms of all numbers up to x or from x on.

    The density of those, ``exp(a z - exp(z)) / gamma(a)``, is log-concave.
    """
    inside = logical_and(logical_and(less(0, a), less(a, np.inf)), logical_and(less(0, x), less(x, np.inf)))
    a, x, kept = where(inside, a, 1), where(inside, x, 1), a * x
    lower = less_equal(x, a + 1)
    w, weight = _half_line(maximum(where(lower, a - x, x - a), 0) + sqrt(x), where(lower, a, np.inf))
    side, a_, x_ = expand_dims(where(lower, -1.0, 1.0), -1), expand_dims(a, -1), expand_dims(x, -1)
    u = log(x_) + side * w - digamma(a_)
    change = u * (u * u - 3 * polygamma(1, a_)) - polygamma(2, a_)
    integral = sum(exp(side * w * a_ - x_ * expm1(side * w)) * change * weight, -1)
    return where(inside, where(lower, 1.0, -1.0) * exp(a * log(x) - x - lgamma(a)) * integral, 0 * kept)


elementwise(
    "gammainc",
    2,
    "incomplete_gamma(0, a, b)",
    _scipy("gammainc"),
    (lambda g, y, a, x: g * apply("gammainc_by_a", a, x), lambda g, y, a, x: g * _gamma_density(a, x)),
    floating=True,
)
elementwise(
    "gammaincc",
    2,
    "incomplete_gamma(1, a, b)",
    _scipy("gammaincc"),
    (lambda g, y, a, x: -g * apply("gammainc_by_a", a, x), lambda g, y, a, x: -g * _gamma_density(a, x)),
    floating=True,
)
elementwise(
    "gammainc_by_a",
    2,
    "incomplete_gamma(2, a, b)",
    lambda a, x: _by_a(a, x, 1),
    (
        lambda g, y, a, x: g * apply("gammainc_by_aa", a, x),
        lambda g, y, a, x: g * (_gamma_density(a, x) * (log(x) - digamma(a))),
    ),
    floating=True,
)
elementwise(
    "gammainc_by_aa",
    2,
    "incomplete_gamma(3, a, b)",
    lambda a, x: _by_a(a, x, 2),
    (
        _in_float64(_gamma_by_aaa),
        lambda g, y, a, x: g * (_gamma_density(a, x) * ((log(x) - digamma(a)) ** 2 - apply("polygamma", a, n=1))),
    ),
    floating=True,
)


def _gamma_quantile(a: Any, q: Any) -> Any:
    """SciPy's; ``|q| / 2`` is the probability of smaller numbers where q is below 0, of larger ones above."""
    with np.errstate(all="ignore"):
        p = 0.5 * np.abs(q)
        return np.where(q < 0, _scipy("gammaincinv")(a, p), _scipy("gammainccinv")(a, p)).astype(np.result_type(a, q))


elementwise(
    "gamma_quantile",
    2,
    "gamma_quantile(a, b)",
    _gamma_quantile,
    (  # by the implicit function (Figurnov, Mohamed and Mnih 2018)
        lambda g, y, a, q: -g * (apply("gammainc_by_a", a, y) / _gamma_density(a, y)),
        lambda g, y, a, q: -g * (0.5 / _gamma_density(a, y)),
    ),
    floating=True,
)


def _poisson_quantile(rate: Any, q: Any) -> Any:
    from scipy.special import gammaincc, ndtri

    dtype = np.result_type(rate, q)
    rate, q = np.broadcast_arrays(np.asarray(rate, np.float64), np.asarray(q, np.float64))
    p = 0.5 * np.abs(q)
    usual = (rate > 0) & (rate <= 1e15) & (p <= 0.5)
    a = np.where(usual, rate, 1)
    with np.errstate(all="ignore"):
        z = np.where(q < 0, ndtri(p), -ndtri(p))
        k = np.where(usual, np.maximum(np.floor(a + z * np.sqrt(a) + (z * z - 1) / 6), 0), 1)

        def enough(k: Any) -> Any:
            from scipy.special import gammainc

            return np.where(q < 0, gammaincc(k + 1, a) >= p, gammainc(k + 1, a) <= p)

        while (more := usual & (k > 0) & enough(k)).any():
            k = k - more
        while (more := usual & ~enough(k)).any():
            k = k + more
    return np.where(usual, k, np.where((rate >= 0) & (p <= 0.5), rate, np.nan)).astype(dtype)


elementwise("poisson_quantile", 2, "poisson_quantile(a, b)", _poisson_quantile, (None, None), floating=True)


# ---- the incomplete beta function, zeta, derivatives of digamma


def _beta_density(a: Tensor, b: Tensor, x: Tensor) -> Tensor:
    return exp(xlogy(a - 1, x) + xlog1py(b - 1, -x) - beta_ln(a, b))


def _beta_by_a(a: Tensor, b: Tensor, x: Tensor, other: bool = False) -> Tensor:
    """The derivative by a, or by the other parameter: that of the density, integrated up to x or from x on.

    The variable is ``log(t / (1 - t))``, in which the density is log-concave and falls by exponentials. Its change with
    a is ``log t`` less the mean of that.
    """
    usual = logical_and(logical_and(less(0, a), less(a, np.inf)), logical_and(less(0, b), less(b, np.inf)))
    inside = logical_and(usual, logical_and(less(0, x), less(x, 1)))
    edge = where(logical_and(usual, logical_or(equal(x, 0), equal(x, 1))), 0, np.nan)
    a, b, x = where(inside, a, 1), where(inside, b, 1), where(inside, x, 0.5)
    y, log_x, log_y = 1 - x, log(x), log1p(-x)
    if other:
        a, b, x, y, log_x, log_y = b, a, y, x, log_y, log_x
    lower = less_equal(x * (b + 1), (a + 1) * y)
    u, rate = where(lower, x, y), where(lower, a, b)
    w, weight = _half_line(maximum(rate - (a + b) * u, 0) + sqrt((a + b) * u * (1 - u)), rate)
    rest = log1p(expand_dims(u, -1) * expm1(-w))  # of log t and log(1 - t) at x, less what they are at the point
    shift = where(expand_dims(lower, -1), -w, 0) - rest
    change = expand_dims(log_x + digamma(a + b) - digamma(a), -1) + shift
    integral = sum(exp(-expand_dims(rate, -1) * w - expand_dims(a + b, -1) * rest) * change * weight, -1)
    density = exp(a * log_x + b * log_y - beta_ln(a, b))
    return where(inside, where(lower, 1.0, -1.0) * (-density if other else density) * integral, edge)


def _betainc(a: Any, b: Any, x: Any) -> Any:
    found = _scipy("betainc")(a, b, x)
    defined = (a >= 0) & (b >= 0) & ~((a == b) & ((a == 0) | (a == np.inf)))
    return np.where(defined & ((x == 0) | (x == 1)), x, found).astype(found.dtype)  # older SciPys have NaN for a, b = 0


elementwise(
    "betainc",
    3,
    "betainc(a, b, c)",
    _betainc,
    (
        _in_float64(_beta_by_a),
        _in_float64(lambda a, b, x: _beta_by_a(a, b, x, other=True)),
        lambda g, y, a, b, x: g * _beta_density(a, b, x),
    ),
    floating=True,
)


def _zeta(s: Any, q: Any) -> Any:
    """SciPy's; for q < 0 term by term, or far below as the sum over all whole k, without what that has too much."""
    zeta, dtype = _scipy("zeta"), np.result_type(s, q)
    s, q = np.broadcast_arrays(np.asarray(s, np.float64), np.asarray(q, np.float64))
    with np.errstate(all="ignore"):
        poles = (q <= 0) & (q == np.floor(q)) & (q > -np.inf) & (s >= 1)
        below = (q < 0) & ~poles & (s == np.floor(s)) & (q > -np.inf) & (s > 1) & (s < np.inf)
        out = np.where(poles, np.inf, np.where(q > 0, zeta(s, np.where(q > 0, q, 1)), np.nan))
        out = np.where((s == np.inf) & (q > 0), np.where(q > 1, 0, np.where(q == 1, 1, np.inf)), out)
        if below.any():
            n, at = np.where(below, s, 2), np.where(below, q, -0.5)
            near, here = np.where(at > -64, at, -0.5), np.zeros_like(at)
            for _ in range(64):
                here = here + np.where(near < 0, np.power(near, -n), 0)
                near = np.where(near < 0, near + 1, near)
            r, sign = at - np.round(at), np.where(n % 2 == 0, 1, -1)
            far = np.power(r, -n) + zeta(n, 1 + r) + sign * (zeta(n, 1 - r) - zeta(n, 1 - at))
            out = np.where(below, np.where(at > -64, here + zeta(n, near), far), out)
    return out.astype(dtype)


TERMS = 16  # of the sum before Euler and Maclaurin's formula, which has seven more
MACLAURIN = [1 / 12, -1 / 720, 1 / 30240, -1 / 1209600, 1 / 47900160, -691 / 1307674368000, 1 / 74724249600]


def _zeta_by_s(s: Tensor, q: Tensor) -> Tensor:
    """Of each term of the sum, and of Euler and Maclaurin's formula for the rest; not for q below 0."""
    usual = logical_and(logical_and(less_equal(1, s), less(s, np.inf)), logical_and(less(0, q), less(q, np.inf)))
    far = logical_or(equal(s, np.inf), equal(q, np.inf))
    edge = where(logical_and(far, logical_and(less_equal(1, s), less_equal(1, q))), 0, np.nan)
    s, q = where(usual, s, 2), where(usual, q, 1)
    each = log(expand_dims(q, -1) + q.graph.constant(np.arange(float(TERMS))))
    begun = sum(exp(-expand_dims(s, -1) * each) * each, -1)
    s_, end = minimum(s, 1e4), q + TERMS  # for larger s nothing is left to sum
    scale, r = log(end), 1 / (s_ - 1)
    rest = scale * (0.5 + end * r) + end * r * r
    factor, slope = s_ / end, 1 / s_
    for k, c in enumerate(MACLAURIN):
        rest = rest + c * factor * (scale - slope)
        for i in (2 * k + 1, 2 * k + 2):
            factor, slope = factor * ((s_ + i) / end), slope + 1 / (s_ + i)
    return where(usual, -begun - exp(-s_ * scale) * rest, edge)


elementwise(
    "zeta",
    2,
    "zeta(a, b)",
    _zeta,
    (_in_float64(_zeta_by_s), lambda g, y, s, q: -g * (s * zeta(s + 1, q))),
    floating=True,
)


# ---- Bessel functions


def _ratio(x: Tensor, y: Tensor) -> Tensor:
    """``i1e(x) / x``, near 0 by the series of I1, so that all derivatives are right there."""
    near = less(abs(x), 1)
    inner = where(near, x, 0)
    series = polynomial(inner * inner, [0.5 / 4**k / (math.factorial(k) * math.factorial(k + 1)) for k in range(10)])
    return where(near, series * exp(-abs(inner)), y / x)


elementwise(
    "i0e",
    1,
    "i0e(a)",
    _scipy("i0e"),
    (lambda g, y, x: g * (apply("i1e", x) - sign(x) * y),),
    floating=True,
)
elementwise(
    "i1e",
    1,
    "i1e(a)",
    _scipy("i1e"),
    (lambda g, y, x: g * (apply("i0e", x) - sign(x) * y - _ratio(x, y)),),
    floating=True,
)


# ---- the DSL


def _float(x: Tensor) -> Tensor:
    return x if is_float(x.dtype) else cast(x, x.graph.float_dtype)


@public
def i0e(x: Tensor) -> Tensor:
    """``exp(-|x|) * I0(x)``, the modified Bessel function of order 0, scaled so that it never overflows.

    Elementwise, in the shape of ``x``; a float, the graph's for integers. Raises DTypeError where ``x`` is no tensor.

    >>> import graphc as gx
    >>> x = gx.Graph().input("x", (2,), "float64")
    >>> gx.compile([x], gx.i0e(x), backend="numpy")([0, 1]).round(4).tolist()
    [1.0, 0.4658]
    """
    return apply("i0e", _float(x))


@public
def i1e(x: Tensor) -> Tensor:
    """``exp(-|x|) * I1(x)``, the modified Bessel function of order 1, scaled so that it never overflows.

    Elementwise, in the shape of ``x``; a float, the graph's for integers. Raises DTypeError where ``x`` is no tensor.

    >>> import graphc as gx
    >>> x = gx.Graph().input("x", (2,), "float64")
    >>> gx.compile([x], gx.i1e(x), backend="numpy")([0, 1]).round(4).tolist()
    [0.0, 0.2079]
    """
    return apply("i1e", _float(x))


@public
def polygamma(n: int, x: Tensor) -> Tensor:
    """The ``n``-th derivative of `digamma`, ``n`` a whole number from 0 on.

    Elementwise, in the shape of ``x``; a float. Raises DTypeError where ``n`` is no whole number from 0 on.

    >>> from graphc.ir.graph import Graph
    >>> str(polygamma(1, Graph("g").input("x", (3,))).type)
    'float32[3]'
    """
    if isinstance(n, bool) or not isinstance(n, (int, np.integer)) or n < 0:
        raise DTypeError(f"expected a whole number n from 0 on, found {n!r}")
    return apply("digamma", _float(x)) if n == 0 else apply("polygamma", _float(x), n=int(n))


@public
def gammainc(a: Operand, x: Operand) -> Tensor:
    """The regularised lower incomplete gamma function, the share of gamma numbers of shape ``a`` below ``x``.

    NaN below 0. It has derivatives by both operands.

    Elementwise; operands (tensors, arrays, numbers) broadcast, and the result is a float, the graph's for integers.
    Raises ShapeError where they do not, GraphError where none is a tensor.

    >>> import graphc as gx
    >>> x = gx.Graph().input("x", (2,), "float64")
    >>> gx.compile([x], gx.gammainc(x, 2), backend="numpy")([1, 2]).round(4).tolist()
    [0.8647, 0.594]
    """
    return apply("gammainc", *promoted(a, x, floating=True))


@public
def gammaincc(a: Operand, x: Operand) -> Tensor:
    """The regularised upper incomplete gamma function, ``1 - gammainc(a, x)``, precise where it is small.

    Elementwise; operands (tensors, arrays, numbers) broadcast, and the result is a float, the graph's for integers.
    Raises ShapeError where they do not, GraphError where none is a tensor.

    >>> import graphc as gx
    >>> x = gx.Graph().input("x", (2,), "float64")
    >>> gx.compile([x], gx.gammaincc(x, 2), backend="numpy")([1, 2]).round(4).tolist()
    [0.1353, 0.406]
    """
    return apply("gammaincc", *promoted(a, x, floating=True))


@public
def betainc(a: Operand, b: Operand, x: Operand) -> Tensor:
    """The regularised incomplete beta function: the probability that a beta number is below ``x``; NaN outside [0, 1].

    It has derivatives by all three; those by ``a`` and ``b`` are integrals over 96 points.

    Elementwise; operands broadcast, and the result is a float. Raises ShapeError where they do not broadcast.

    >>> import graphc as gx
    >>> x = gx.Graph().input("x", (2,), "float64")
    >>> gx.compile([x], gx.betainc(2, 2, x), backend="numpy")([0.5, 0.75]).round(4).tolist()
    [0.5, 0.8438]
    """
    return apply("betainc", *promoted(a, b, x, floating=True))


@public
def zeta(s: Operand, q: Operand = 1.0) -> Tensor:
    """The sum of ``(q + k)**-s`` over whole k from 0 on (Hurwitz; Riemann's for ``q = 1``), for ``s > 1``; NaN below.

    It has derivatives by both operands; by ``s`` they are NaN for ``q`` below 0.

    Elementwise; operands (tensors, arrays, numbers) broadcast, and the result is a float, the graph's for integers.
    Raises ShapeError where they do not, GraphError where none is a tensor.

    >>> import graphc as gx
    >>> x = gx.Graph().input("x", (2,), "float64")
    >>> gx.compile([x], gx.zeta(x, 1), backend="numpy")([2, 4]).round(4).tolist()
    [1.6449, 1.0823]
    """
    return apply("zeta", *promoted(s, q, floating=True))


__all__ = ["betainc", "gammainc", "gammaincc", "i0e", "i1e", "polygamma", "zeta"]
