"""Incomplete gamma and beta functions, the Hurwitz zeta function, derivatives of digamma, modified Bessel functions."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from graphc.errors import DTypeError, GradientError
from graphc.ir.tensor import Tensor
from graphc.ir.types import is_float
from graphc.ops.apply import Operand, apply, cast, promoted, public
from graphc.ops.elementwise import abs, elementwise, less, sign, where
from graphc.ops.functions import exp, lgamma, log, xlog1py, xlogy
from graphc.ops.normal import beta_ln, polynomial

Rule = Callable[..., Any]


def _scipy(name: str) -> Any:
    """A function of scipy.special, imported when first evaluated; in float64, since some lose digits in float32."""

    def evaluate(*args: Any) -> Any:
        import scipy.special

        with np.errstate(all="ignore"):
            found = getattr(scipy.special, name)(*(np.asarray(a, np.float64) for a in args))
            return found.astype(np.result_type(*args))

    return evaluate


def _refused(name: str, operand: str) -> Rule:
    """The rule of an operand by which there is no derivative."""

    def rule(g: Tensor, y: Tensor, *operands: Tensor) -> Tensor:
        raise GradientError(f"{name} has no derivative by {operand}", node=y.name, origin=y.origin)

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


def _beyond(name: str) -> Rule:
    return _refused(name, "a of a higher order than the second")


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
        lambda g, y, a, x: g * (_gamma_density(a, x) * (log(x) - _digamma(a))),
    ),
    floating=True,
)
elementwise(
    "gammainc_by_aa",
    2,
    "incomplete_gamma(3, a, b)",
    lambda a, x: _by_a(a, x, 2),
    (
        _beyond("gammainc"),
        lambda g, y, a, x: g * (_gamma_density(a, x) * ((log(x) - _digamma(a)) ** 2 - apply("polygamma", a, n=1))),
    ),
    floating=True,
)


def _digamma(a: Tensor) -> Tensor:
    return apply("digamma", a)


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


elementwise(
    "betainc",
    3,
    "betainc(a, b, c)",
    _scipy("betainc"),
    (
        _refused("betainc", "a"),
        _refused("betainc", "b"),
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


elementwise(
    "zeta",
    2,
    "zeta(a, b)",
    _zeta,
    (_refused("zeta", "s"), lambda g, y, s, q: -g * (s * zeta(s + 1, q))),
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
    """``exp(-|x|) * I0(x)``, the modified Bessel function of order 0, scaled so that it never overflows."""
    return apply("i0e", _float(x))


@public
def i1e(x: Tensor) -> Tensor:
    """``exp(-|x|) * I1(x)``, the modified Bessel function of order 1, scaled so that it never overflows."""
    return apply("i1e", _float(x))


@public
def polygamma(n: int, x: Tensor) -> Tensor:
    """The ``n``-th derivative of `digamma`, ``n`` a whole number from 0 on.

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

    NaN below 0. It has derivatives by both operands, by ``a`` up to the second.
    """
    return apply("gammainc", *promoted(a, x, floating=True))


@public
def gammaincc(a: Operand, x: Operand) -> Tensor:
    """The regularised upper incomplete gamma function, ``1 - gammainc(a, x)``, precise where it is small."""
    return apply("gammaincc", *promoted(a, x, floating=True))


@public
def betainc(a: Operand, b: Operand, x: Operand) -> Tensor:
    """The regularised incomplete beta function: the probability that a beta number is below ``x``; NaN outside [0, 1].

    It has derivatives by ``x``; by ``a`` and ``b`` asking for one is a GradientError.
    """
    return apply("betainc", *promoted(a, b, x, floating=True))


@public
def zeta(s: Operand, q: Operand = 1.0) -> Tensor:
    """The sum of ``(q + k)**-s`` over whole k from 0 on (Hurwitz; Riemann's for ``q = 1``), for ``s > 1``; NaN below.

    It has derivatives by ``q``; by ``s`` asking for one is a GradientError.
    """
    return apply("zeta", *promoted(s, q, floating=True))


__all__ = ["betainc", "gammainc", "gammaincc", "i0e", "i1e", "polygamma", "zeta"]
