"""Incomplete gamma and beta functions, zeta, polygamma and Bessel functions: against mpmath, and at the edges."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.special as sp
from mpmath import mp, mpf

import graphc as gx
from graphc.ops.apply import apply

INF, NAN = np.inf, np.nan
ENGINES = pytest.mark.parametrize("backend", ["numba", "numpy"])


def lower(a: Any, x: Any) -> Any:
    return mp.gammainc(a, 0, x, regularized=True)


def upper(a: Any, x: Any) -> Any:
    return mp.gammainc(a, x, mp.inf, regularized=True)


def beta(a: Any, b: Any, x: Any) -> Any:
    return mp.betainc(a, b, 0, x, regularized=True)


GAMMA = [
    *((a, a * f) for a in (0.5, 1.0, 2.5, 9.9, 10.1, 50.0, 900.0) for f in (1e-3, 0.3, 0.9, 1.0, 1.1, 1.5, 2.5)),
    *((a, x) for a in (1e-10, 1e-3, 0.19) for x in (1e-20, 1e-3, 0.5, 1.1, 3.0)),
    *((1.1e4, 1.1e4 + 105 * k) for k in (-6, -1, 0, 0.01, 1, 6)),
]
BETA = [(a, b, x) for a in (0.3, 1.0, 2.5, 40.0) for b in (0.2, 1.5, 60.0) for x in (1e-6, 0.1, 0.4, 0.9, 0.9999)]
BESSEL = [0.0, 1e-300, 1e-8, 0.3, 1.0, 3.9, 7.99, 8.0, 8.01, 30.0, 700.0, 1e8, -0.5, -12.0]
TABLE: dict[str, tuple[Any, Any, list[Any], float]] = {
    "gammainc": (gx.gammainc, lower, GAMMA, 3e-13),
    "gammaincc": (gx.gammaincc, upper, GAMMA, 3e-13),
    "betainc": (gx.betainc, beta, BETA, 2e-13),
    "zeta": (gx.zeta, mp.zeta, [(s, q) for s in (1.001, 1.5, 2.0, 7.3, 30.0, 300.0) for q in (1e-3, 0.5, 1.0, 8.0, 99.5)], 5e-15),
    "zeta below 0": (gx.zeta, lambda s, q: sum((mpf(q) + k) ** -s for k in range(99)) + mp.zeta(s, q + 99), [(2.0, -0.3), (3.0, -20.7), (5.0, -1.3)], 1e-13),
    "i0e": (gx.i0e, lambda x: mp.besseli(0, x) * mp.exp(-abs(x)), [(x,) for x in BESSEL], 1e-15),
    "i1e": (gx.i1e, lambda x: mp.besseli(1, x) * mp.exp(-abs(x)), [(x,) for x in BESSEL], 1e-15),
    "polygamma": (lambda x: gx.polygamma(3, x), lambda x: mp.polygamma(3, x), [(0.1,), (1.0,), (7.5,), (90.0,), (-0.4,), (-3.2,)], 1e-13),
    "polygamma of order 0": (lambda x: gx.polygamma(0, x), mp.digamma, [(0.1,), (3.0,), (-0.4,)], 1e-14),
}  # fmt: skip


def compiled(function: Any, arity: int, dtype: str = "float64", backend: str = "numba") -> Any:
    g = gx.Graph("g", float_dtype=dtype)
    xs = [g.input(f"x{k}", ("n",)) for k in range(arity)]
    return gx.compile(xs, function(*xs), backend=backend)


@ENGINES
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", TABLE)
def test_values(name: str, dtype: str, backend: str) -> None:
    function, exact, points, error = TABLE[name]
    at = np.array(points, dtype)
    with np.errstate(all="ignore"):
        found = compiled(function, at.shape[1], dtype, backend)(*at.T)
    with mp.workprec(900):  # whose zeta function has an absolute error
        wanted = np.array([float(exact(*(mpf(float(x)) for x in p))) for p in at])
    bound = max(error, 1e-12 if backend == "numpy" else 0) if dtype == "float64" else 1e-6
    inside = (np.abs(wanted) > np.finfo(dtype).tiny) & (np.abs(wanted) < np.finfo(dtype).max)
    np.testing.assert_allclose(found[inside], wanted[inside], rtol=bound)
    with np.errstate(over="ignore"):
        rest = wanted[~inside].astype(dtype)
    np.testing.assert_allclose(found[~inside], rest, rtol=1e-6, atol=np.finfo(dtype).tiny)


ZEROS = (
    1.0,
    2.0,
    -2.4570247382,
    -2.7476826467,
    -3.1435808884,
    -9.7026725400,
    1.4616321450,
    -0.5040830083,
    -1.5734984732,
)


@pytest.mark.parametrize("name", ["lgamma", "digamma"])
def test_the_gamma_function_in_single_precision(name: str) -> None:
    """Within a unit in the last place, beside its zeros and poles, too, and NumPy's where there is no value."""
    rng = np.random.default_rng(0)
    beside = [np.nextafter(np.float32(z), np.float32(side)) for z in ZEROS for side in (-INF, INF)]
    sizes = 10.0 ** rng.uniform(-36, 36, 99)
    points = [*beside, *ZEROS, *rng.uniform(-12, 12, 300), *rng.uniform(-300, 0, 99), *sizes, *-sizes[sizes < 1]]
    x = np.array(points, "f4")
    function = compiled(getattr(gx, name), 1, "float32", "numba")
    with mp.workdps(60):
        exact = (lambda v: mp.log(abs(mp.gamma(v))) if v < 1e6 else mp.loggamma(v)) if name == "lgamma" else mp.digamma
        wanted = [exact(mpf(float(v))) for v in x]
        errors = [abs(mpf(float(y)) - w) for y, w in zip(function(x), wanted, strict=True)]
    spacing = np.maximum(np.spacing(np.abs(np.array(wanted, "f4"))), np.finfo("f4").tiny)
    assert (np.array(errors, float) <= 1.01 * spacing).all()
    edges = np.array([0.0, -0.0, -1.0, -2.0, -8388608.0, -1e30, INF, -INF, NAN], "f4")
    for dtype in ("float32", "float64"):
        with np.errstate(all="ignore"):
            right = {"lgamma": np.where(np.isnan(edges), NAN, INF), "digamma": sp.digamma(edges)}[name]
        found = compiled(getattr(gx, name), 1, dtype, "numba")(edges.astype(dtype))
        np.testing.assert_array_equal(found, right)
        np.testing.assert_array_equal(np.signbit(found[:2]), np.signbit(right[:2]))


@ENGINES
def test_derivatives_by_the_parameter_of_the_gamma_function(backend: str) -> None:
    """First and second ones, of the lower and upper function, where each way of computing them is taken."""
    points = np.array([(0.5, 0.1), (0.5, 3.0), (2.5, 1.0), (2.5, 6.0), (12.0, 9.0), (12.0, 20.0), (0.01, 0.3)])

    def derivatives(a: gx.Tensor, x: gx.Tensor) -> list[gx.Tensor]:
        first = [gx.grad(gx.sum(f(a, x)), a) for f in (gx.gammainc, gx.gammaincc)]
        return [*first, *(gx.grad(gx.sum(d), a) for d in first), gx.grad(gx.sum(first[0]), x)]

    found = compiled(derivatives, 2, backend=backend)(*points.T)
    with mp.workdps(60):
        for k, (a, x) in enumerate(points):
            one, two = (float(mp.diff(lambda t, x=x: lower(t, mpf(x)), mpf(a), n)) for n in (1, 2))
            mixed = float(mp.diff(lambda t, x=x: mpf(x) ** (t - 1) * mp.exp(-mpf(x)) / mp.gamma(t), mpf(a)))
            np.testing.assert_allclose([f[k] for f in found], [one, -one, two, -two, mixed], rtol=2e-12)


@ENGINES
def test_derivatives_by_a_large_parameter(backend: str) -> None:
    """At a = 1e9 by an expansion, whose values are those of the normal distribution at first order."""
    a = np.full(5, 1e9)
    x = a + np.sqrt(a) * np.array([-3.0, -1.0, 0.0, 1.0, 3.0])
    slope, bend = compiled(
        lambda a, x: [d := gx.grad(gx.sum(gx.gammainc(a, x)), a), gx.grad(gx.sum(d), a)], 2, backend=backend
    )(a, x)
    z = (x - a) / np.sqrt(a)
    density = np.exp(-z * z / 2) / np.sqrt(2 * np.pi)
    np.testing.assert_allclose(slope, -density / np.sqrt(a), rtol=1e-3)
    np.testing.assert_allclose(bend, -z * density / a, rtol=1e-3, atol=1e-13)
    beside = compiled(lambda a, x: gx.gammainc(a, x), 2, backend=backend)
    assert abs((beside(a + 1, x) - beside(a - 1, x)) / 2 / slope - 1).max() < 2e-8


@ENGINES
def test_edges(backend: str) -> None:
    pairs = np.array([(0, 1), (1, 0), (0, 0), (INF, 1), (1, INF), (INF, INF), (-1, 1), (1, -1), (NAN, 1), (1, NAN)])
    for function, numpy in ((gx.gammainc, sp.gammainc), (gx.gammaincc, sp.gammaincc)):
        with np.errstate(all="ignore"):
            np.testing.assert_array_equal(compiled(function, 2, backend=backend)(*pairs.T), numpy(*pairs.T))
    triples = np.array(
        [(2, 3, 0), (2, 3, 1), (2, 3, -0.1), (2, 3, 1.1), (NAN, 1, 0.5), (1, NAN, 0.5), (1, 1, NAN), (-1, 1, 0.5)]
    )
    with np.errstate(all="ignore"):
        found = compiled(gx.betainc, 3, backend=backend)(*triples.T)
        np.testing.assert_array_equal(found, [0, 1, NAN, NAN, NAN, NAN, NAN, NAN])
        found = compiled(gx.zeta, 2, backend=backend)(
            *np.array(
                [(1, 2), (0.5, 2), (2, 0), (2, -3), (2.5, -0.5), (2, INF), (INF, 2), (INF, 1), (NAN, 1), (2, NAN)]
            ).T
        )
        np.testing.assert_array_equal(found, [INF, NAN, INF, INF, NAN, 0, 0, 1, NAN, NAN])
        for function in (gx.i0e, gx.i1e):
            np.testing.assert_array_equal(compiled(function, 1, backend=backend)([INF, -INF, NAN]), [0, 0, NAN])


def test_bessel_functions_at_zero() -> None:
    """i1e is odd, and its derivatives are those of its series; i0e has a kink, whose slope is 0."""

    def orders(x: gx.Tensor) -> list[gx.Tensor]:
        out = [gx.i1e(x)]
        for _ in range(2):
            out.append(gx.grad(gx.sum(out[-1]), x))
        return [*out, gx.grad(gx.sum(gx.i0e(x)), x)]

    value, slope, bend, even = compiled(orders, 1)(np.array([0.0, -0.0, 1e-5, 0.999, 1.001]))
    assert value[0] == 0 and not np.signbit(value[0]) and np.signbit(value[1]) and (even[:2] == 0).all()
    np.testing.assert_allclose(slope[:2], 0.5)
    with mp.workdps(40):
        i1e = lambda t: mp.besseli(1, t) * mp.exp(-t)  # noqa: E731
        wanted = [[float(mp.diff(i1e, mpf(t), n)) for t in (1e-5, 0.999, 1.001)] for n in (1, 2)]
    np.testing.assert_allclose([slope[2:], bend[2:]], wanted, rtol=1e-11)


def test_quantiles_of_the_gamma_distribution() -> None:
    a, q = np.meshgrid([1.0, 1.3, 7.0, 800.0, 1e5], [-1e-15, -0.01, -0.7, -1.0, 1.0, 0.3, 1e-12])
    run = compiled(lambda a, q: apply("gamma_quantile", a, q), 2)
    wanted = np.where(q < 0, sp.gammaincinv(a, -q / 2), sp.gammainccinv(a, q / 2))
    np.testing.assert_allclose(run(a.ravel(), q.ravel()), wanted.ravel(), rtol=2e-14)


def test_derivatives_by_the_parameters_of_the_beta_function() -> None:
    """First and second ones, mixed ones too, on both sides of the mean, for small and large parameters."""
    triples = [
        (0.5, 0.5, 0.3),
        (2.0, 3.0, 1e-9),
        (2.0, 3.0, 1 - 1e-7),
        (2.0, 3.0, 0.9),
        (30.0, 2.0, 0.93),
        (0.01, 100.0, 1e-4),
        (100.0, 0.01, 0.99),
    ]
    points = np.array([*triples, (1e-3, 2e-3, 0.5), (300.0, 300.0, 0.51), (50.0, 1e4, 6e-3)])  # fmt: skip

    def derivatives(a: gx.Tensor, b: gx.Tensor, x: gx.Tensor) -> list[gx.Tensor]:
        by_a, by_b = gx.grad(gx.sum(gx.betainc(a, b, x)), [a, b])
        return [by_a, by_b, *gx.grad(gx.sum(by_a), [a, b, x]), gx.grad(gx.sum(by_b), b)]

    found = compiled(derivatives, 3, backend="numpy")(*points.T)
    with mp.workdps(40):
        for k, point in enumerate(points):
            p = tuple(map(mpf, point))
            wanted = [mp.diff(beta, p, n) for n in ((1, 0, 0), (0, 1, 0), (2, 0, 0), (1, 1, 0), (1, 0, 1), (0, 2, 0))]
            np.testing.assert_allclose([f[k] for f in found], [float(v) for v in wanted], rtol=2e-11)
    edges = np.array([(2, 3, 0), (2, 3, 1), (INF, 2, 0.5), (2, 3, -0.1), (NAN, 2, 0.5), (-1, 2, 0.5), (2, 3, NAN)])
    for slope in compiled(lambda a, b, x: gx.grad(gx.sum(gx.betainc(a, b, x)), [a, b]), 3, backend="numpy")(*edges.T):
        np.testing.assert_array_equal(slope, [0, 0, NAN, NAN, NAN, NAN, NAN])


def test_derivatives_by_the_exponent_of_zeta() -> None:
    points = np.array([(s, q) for s in (1.01, 2.0, 7.3, 60.0) for q in (1e-3, 1.0, 8.0, 99.5)])

    def derivatives(s: gx.Tensor, q: gx.Tensor) -> list[gx.Tensor]:
        first = gx.grad(gx.sum(gx.zeta(s, q)), s)
        return [first, *gx.grad(gx.sum(first), [s, q])]

    found = compiled(derivatives, 2, backend="numpy")(*points.T)
    with mp.workprec(900):
        for k, (s, q) in enumerate(points):
            s, q = mpf(s), mpf(q)
            mixed = -mp.zeta(s + 1, q) - s * mp.zeta(s + 1, q, 1)
            wanted = np.array([float(v) for v in (mp.zeta(s, q, 1), mp.zeta(s, q, 2), mixed)])
            kept = (np.abs(wanted) > 1e-300) & (np.abs(wanted) < 1e300)
            np.testing.assert_allclose(np.array([f[k] for f in found])[kept], wanted[kept], rtol=2e-11)
    edges = np.array([(INF, 2), (2, INF), (0.5, 2), (2, -0.5), (NAN, 1), (1, 2)])
    slope = compiled(lambda s, q: gx.grad(gx.sum(gx.zeta(s, q)), s), 2, backend="numpy")(*edges.T)
    np.testing.assert_array_equal(slope, [0, 0, NAN, NAN, NAN, -INF])


def test_third_derivatives_by_the_parameter_of_the_gamma_function() -> None:
    points = np.array([(0.5, 0.1), (0.5, 3.0), (2.5, 1.0), (2.5, 6.0), (12.0, 9.0), (900.0, 930.0), (0.01, 0.3)])

    def third(a: gx.Tensor, x: gx.Tensor) -> gx.Tensor:
        y = gx.gammainc(a, x)
        for _ in range(3):
            y = gx.grad(gx.sum(y), a)
        return y

    with mp.workdps(60):
        wanted = [float(mp.diff(lambda t, x=x: lower(t, mpf(x)), mpf(a), 3)) for a, x in points]
    np.testing.assert_allclose(compiled(third, 2, backend="numpy")(*points.T), wanted, rtol=1e-9)
    np.testing.assert_array_equal(
        compiled(third, 2, backend="numpy")(np.array([2.0, NAN]), np.array([0.0, 1.0])), [0, NAN]
    )


def test_orders_of_polygamma_are_whole_numbers() -> None:
    with pytest.raises(gx.DTypeError, match="a whole number n from 0 on, found -1"):
        gx.polygamma(-1, gx.Graph("g").input("x", ()))
