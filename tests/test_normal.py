"""The normal distribution in its tails, sinc at 0 and the beta function far out, with derivatives, against mpmath."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import graphc as gx

mp = pytest.importorskip("mpmath").mp


def derivatives(f: Callable[[gx.Tensor], gx.Tensor], dtype: str) -> gx.Executable:
    """Value, first and second derivative of an elementwise function."""
    g = gx.Graph("g", float_dtype=dtype)
    x = g.input("x", ("n",))
    y = f(x)
    first = gx.grad(gx.sum(y), x)
    return gx.compile([x], [y, first, gx.grad(gx.sum(first), x)])


def log_ndtr(x: Any) -> list[Any]:
    z = mp.erfc(-x / mp.sqrt(2)) / 2
    h = mp.npdf(x) / z
    return [mp.log(z), h, -h * (x + h)]


def erfcx(x: Any) -> list[Any]:
    y = mp.exp(x * x) * mp.erfc(x)
    slope = 2 * x * y - 2 / mp.sqrt(mp.pi)
    return [y, slope, 2 * y + 2 * x * slope]


def ndtr(x: Any) -> list[Any]:
    return [mp.erfc(-x / mp.sqrt(2)) / 2, mp.npdf(x), -x * mp.npdf(x)]


def sinc(x: Any) -> list[Any]:
    if x == 0:
        return [mp.mpf(1), mp.mpf(0), -(mp.pi**2) / 3]
    u, p = mp.pi * x, mp.pi
    return [
        mp.sin(u) / u,
        p * (mp.cos(u) / u - mp.sin(u) / u**2),
        p * p * (-mp.sin(u) / u - 2 * mp.cos(u) / u**2 + 2 * mp.sin(u) / u**3),
    ]


FAR = [-1e4, -300.0, -40.0, -13.0, -5.0, -1.0, -0.999, -0.1, 0.0, 0.5, 2.0, 6.0, 20.0]
CASES = [
    (gx.log_ndtr, log_ndtr, FAR, 3e-9),
    (gx.erfcx, erfcx, [-5.0, -0.5, 0.0, 0.3, 1.0, 5.0, 9.9, 10.1, 27.0, 29.0, 1e3, 1e6], 1e-9),
    (gx.ndtr, ndtr, [-30.0, -9.0, -1.0, 0.0, 1.0, 5.0], 1e-12),
    (gx.sinc, sinc, [0.0, 1e-9, 1e-3, 0.1, 0.31, 0.32, -0.5, 1.5, 7.3], 1e-12),
]


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize(("f", "exact", "points", "loose"), CASES, ids=[c[0].__name__ for c in CASES])
def test_value_and_two_derivatives(f: Any, exact: Any, points: list[float], loose: float, dtype: str) -> None:
    """The value to rounding; derivatives, whose formulas cancel somewhat, to a little less."""
    x = np.array(points, dtype)
    found = derivatives(f, dtype)(x)
    with mp.workprec(400):
        wanted = np.array([[float(d) for d in exact(mp.mpf(float(p)))] for p in x]).T
    info = np.finfo(dtype)
    with np.errstate(all="ignore"):
        for order, (a, b) in enumerate(zip(found, wanted, strict=True)):
            inside = (np.abs(b) < info.max) & (np.abs(b) > info.tiny)
            bound = (1e-13, 1e-12, loose)[order] if dtype == "float64" else (1e-5, 1e-4, 2e-2)[order]
            np.testing.assert_allclose(a[inside], b[inside], rtol=bound, err_msg=f"order {order}")


def test_the_log_of_a_probability_has_no_nan_at_any_number() -> None:
    for dtype in ("float64", "float32"):
        with np.errstate(all="ignore"):
            x = np.array([-np.inf, -1e300, -1e30, 1e30, 1e300, np.inf]).astype(dtype)
            value, slope, _ = derivatives(gx.log_ndtr, dtype)(x)
        assert not np.isnan(value).any() and value[0] == -np.inf and (value[3:] == 0).all()
        assert not np.isnan(slope).any() and (slope[3:] == 0).all()


def test_quantiles() -> None:
    g = gx.Graph("g", float_dtype="float64")
    x = g.input("x", ("n",))
    run = gx.compile([x], [gx.ndtri(x), gx.ndtr(gx.ndtri(x)), gx.ndtri(gx.ndtr(x))])
    p = np.array([1e-300, 1e-20, 0.01, 0.5, 0.75, 0.999])
    np.testing.assert_allclose(run(p)[1], p, rtol=2e-12)
    with np.errstate(all="ignore"):
        assert run([0.0, 1.0])[0].tolist() == [-np.inf, np.inf] and np.isnan(run([-0.1, 1.1])[0]).all()
    np.testing.assert_allclose(run([-8.0, -3.0, 0.25])[2], [-8, -3, 0.25], rtol=1e-13)


def test_beta_where_the_gamma_functions_cancel() -> None:
    g = gx.Graph("g", float_dtype="float64")
    a, b = g.input("a", ("n",)), g.input("b", ("n",))
    y = gx.beta_ln(a, b)
    run = gx.compile([a, b], [y, *gx.grad(gx.sum(y), [a, b])])
    pairs = [(1e8, 1.0), (1.0, 1e8), (1e10, 1e10), (12.0, 0.3), (50.0, 11.0), (1e-10, 1e5), (3.0, 4.0), (9.9, 10.1)]
    x, z = np.array(pairs).T
    value, da, db = run(x, z)
    with mp.workprec(300):
        wanted = [float(mp.log(mp.beta(mp.mpf(p), mp.mpf(q)))) for p, q in pairs]
        slopes = [float(mp.digamma(mp.mpf(p)) - mp.digamma(mp.mpf(p) + mp.mpf(q))) for p, q in pairs]
        others = [float(mp.digamma(mp.mpf(q)) - mp.digamma(mp.mpf(p) + mp.mpf(q))) for p, q in pairs]
    np.testing.assert_allclose(value, wanted, rtol=5e-14)
    np.testing.assert_allclose(da, slopes, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(db, others, rtol=1e-12, atol=1e-14)
    assert run([1.0, 0.0, np.nan], [np.inf, 1.0, 1.0])[0].tolist()[:2] == [-np.inf, np.inf]
