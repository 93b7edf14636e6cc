"""The objectives of ADBench: values and Jacobians against its own figures, complex steps and JAX."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import adbench
import numpy as np
import pytest

import graphc as gx


def complex_step(f: Callable[..., Any], arrays: list[np.ndarray]) -> list[np.ndarray]:
    """The Jacobians of ``f`` by all arguments, to all digits."""
    out = []
    for k in range(len(arrays)):
        columns = []
        for i in np.ndindex(arrays[k].shape):
            moved = [np.array(a, complex) for a in arrays]
            moved[k][i] += 1e-30j
            columns.append(np.imag(f(np, *moved)) / 1e-30)
        out.append(np.moveaxis(np.array(columns), 0, -1).reshape(*np.shape(columns[0]), *arrays[k].shape))
    return out


def compiled(f: Callable[..., Any], arrays: list[np.ndarray]) -> gx.Executable:
    """``f`` and its Jacobians by all arguments."""
    g = gx.Graph("adbench", float_dtype="float64")
    xs = [g.input(f"x{k}", a.shape) for k, a in enumerate(arrays)]
    y = f(gx, *xs)
    slopes = gx.grad(y, xs) if y.ndim == 0 else [gx.jacobian(y, x) for x in xs]
    return gx.compile(xs, [y, *slopes])


def instances(rng: Any, size: int = 1) -> dict[str, tuple[Callable[..., Any], list[Any]]]:
    """Each objective with random arguments of its files' form."""
    k, d, n = 3, 4, 20 * size
    hand, us = adbench.skeleton(rng, 40), rng.random((6 * size, 2))
    at, triangles = rng.integers(0, 40, 6 * size), rng.integers(0, 40, (6 * size, 3))
    theta, points = 0.5 * rng.normal(size=26), rng.normal(size=(6 * size, 3))
    text = np.eye(14)[rng.integers(0, 14, 12 * size)]

    def gmm(m: Any, alphas: Any, means: Any, icf: Any) -> Any:
        return adbench.gmm(m, alphas, means, icf, data, 1.0, 0)

    data = rng.normal(size=(n, d))
    factors = [rng.normal(size=s) for s in ((k,), (k, d), (k, d * (d + 1) // 2))]
    state = 0.3 * rng.normal(size=(4, 14))
    lstm = [0.3 * rng.normal(size=s) for s in ((4, 56), (3, 14))]
    return {
        "gmm": (gmm, factors),
        "hand": (lambda m, t: adbench.hand_simple(m, t, hand, points, at), [theta]),
        "hand, complicated": (
            lambda m, us, t: adbench.hand_complicated(m, us, t, hand, points, triangles),
            [us, theta],
        ),
        "lstm": (lambda m, main, extra: adbench.lstm(m, main, extra, state, text), lstm),
    }


NAMES = list(instances(np.random.default_rng(0)))
SLOW = [pytest.param(name, marks=[pytest.mark.slow] * (name == "hand, complicated")) for name in NAMES]


@pytest.mark.parametrize("name", SLOW)
def test_jacobians(name: str) -> None:
    f, arrays = instances(np.random.default_rng(0))[name]
    value, *slopes = compiled(f, arrays)(*arrays)
    np.testing.assert_allclose(value, f(np, *arrays), rtol=1e-12, atol=1e-13)
    for found, expected in zip(slopes, complex_step(f, arrays), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-12 * np.abs(expected).max())


def test_a_mixture_of_gaussians_has_the_published_values() -> None:
    """The instance that ADBench tests its own modules with."""
    alphas, means = np.array([-0.649014, 1.181166, -0.758453]), [[0.092339, 0.186260], [0.345561, 0.396767]]
    means = np.array([*means, [0.538817, 0.419195]])
    icf = np.array(
        [[0.586443, -0.851887, 0.800321], [-1.509405, 0.875874, -0.242790], [0.166813, -1.965419, -1.270071]]
    )
    x = np.array([[1.175171, 2.029160]])
    f = compiled(lambda m, *p: adbench.gmm(m, *p, x, 1.0, 0), [alphas, means, icf])
    value, *slopes = f(alphas, means, icf)
    assert value == pytest.approx(8.07380408004975791, rel=1e-13)
    published = [1.08662855508652456e-01, -7.41270039523898472e-01, 6.32607184015246071e-01, 1.11692576532787013e00]
    published += [1.63333013551455269e-01, -2.19989824071193142e-02, 2.27778292254236098e-01, 1.20963025612832187e00]
    published += [-6.06375920733956339e-02, 2.58529994051162237e00, 1.12632694524213789e-01, 3.85744309849611777e-01]
    published += [7.35180573182305508e-02, 5.41836362715595232e00, -3.21494409677446469e-01, 1.71892309775004937e00]
    published += [8.60091090790866875e-01, -9.94640930466322848e-01]
    np.testing.assert_allclose(np.concatenate([s.ravel() for s in slopes]), published, rtol=1e-12)


def test_bundle_adjustment_has_the_published_values() -> None:
    """Likewise: errors of ten observations of one kind by `vmap`, each with a row of 11 + 3 + 1 derivatives."""
    camera = [1.797201, 0.590697, -0.635786, 90.859550, 29.361415, 28.777534, 211.628116, -0.284531, -14.762924]
    cameras, points = np.array([[*camera, 0.058931, 0.069976]] * 2), np.array([[4.173048, 5.586898, 1.403869]] * 10)
    weights, features = np.full(10, 0.417022), np.array([[-525.672849, 161.811929]] * 10)
    g = gx.Graph("bundle adjustment", float_dtype="float64")
    cam, pts, w = g.input("cameras", ("k", 11)), g.input("points", ("m", 3)), g.input("weights", ("n",))
    which = [g.input(name, ("n",), "int64") for name in ("camera", "point")]
    seen = g.input("features", ("n", 2))

    def observed(c: Any, p: Any, w: Any, seen: Any) -> Any:
        error = adbench.reprojection(gx, c, p, w, seen)
        return error, [gx.jacobian(error, t) for t in (c, p, w)]

    errors, slopes = gx.vmap(observed)(gx.take(cam, which[0], 0), gx.take(pts, which[1], 0), w, seen)
    f = gx.compile([cam, pts, w, *which, seen], [errors, *slopes])
    feeds = np.arange(10) % 2, np.arange(10)
    value, by_camera, by_point, by_weight = f(cameras, points, weights, *feeds, features)
    np.testing.assert_allclose(value, [[-2.69048849235189402e-01, 2.59944792677901881e-01]] * 10, rtol=1e-9)
    row = [2.28877202208246757e02, 6.34574811495545418e02, -7.82222866259340549e02, 2.42892615607159668e00]
    row += [-1.17828079628011313e01, 2.54169312487743460e00, -1.03657084958518086e00, 4.17022e-01, 0.0]
    row += [-3.50739521096005205e02, -9.12107773668008576e02]
    for k in range(10):
        np.testing.assert_allclose(by_camera[k, 0], row, rtol=1e-10)
        expected = [-2.42892615607159668e00, 1.17828079628011313e01, -2.54169312487743460e00]
        np.testing.assert_allclose(by_point[k, 0], expected, rtol=1e-10)
        np.testing.assert_allclose(by_weight[k], [-6.45167039712987389e-01, 6.23335921553064054e-01], rtol=1e-10)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_jacobians_beside_jax(name: str) -> None:
    jax = pytest.importorskip("jax")
    jax.config.update("jax_enable_x64", True)
    f, arrays = instances(np.random.default_rng(1), 3 if name != "lstm" else 50)[name]
    exe, wrt = compiled(f, arrays), tuple(range(len(arrays)))
    slopes = jax.grad if name in ("gmm", "lstm") else jax.jacfwd
    peer = jax.jit(slopes(lambda *a: f(jax.numpy, *a), argnums=wrt))
    for a, b in zip(exe(*arrays)[1:], peer(*arrays), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-11 * float(np.abs(b).max()))
    spent: tuple[list[float], list[float]] = ([], [])
    for _ in range(15):
        for call, times in zip((exe, lambda *a: jax.block_until_ready(peer(*a))), spent, strict=True):
            began = time.process_time()
            for _ in range(10):
                call(*arrays)
            times.append(time.process_time() - began)
    assert np.median(spent[0]) < 0.5 * np.median(spent[1]), "0.02 to 0.2 on the machine where this was written"
