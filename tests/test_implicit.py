"""Results that equations define, and solutions of differential equations, with their derivatives."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.integrate import solve_ivp

import graphc as gx


def graph_of(**shapes: tuple[Any, ...]) -> tuple[gx.Graph, list[gx.Tensor]]:
    g = gx.Graph("g", float_dtype="float64")
    return g, [g.input(name, shape) for name, shape in shapes.items()]


def test_a_fixed_point_has_the_derivatives_of_its_equation() -> None:
    """x = tanh(W x + b): gradients by all that is used, of second order, and for many examples."""
    _, (b, w) = graph_of(b=(4,), w=(4, 4))

    def solved(b: gx.Tensor) -> gx.Tensor:
        return gx.fixed_point(lambda x: gx.tanh(w @ x + b), gx.zeros_like(b))

    x = solved(b)
    slopes = gx.grad(gx.sum(x**2), [b, w])
    bend = gx.grad(gx.sum(slopes[0] * np.arange(4.0)), b)
    f = gx.compile([b, w], [x, *slopes, bend])
    rng = np.random.default_rng(0)
    p, m = rng.normal(size=4), rng.normal(size=(4, 4)) * 0.2
    x, by_b, by_w, bend = f(p, m)
    np.testing.assert_allclose(x, np.tanh(m @ x + p), atol=1e-11)
    d = 1 - x * x
    adjoint = np.linalg.solve((np.eye(4) - d[:, None] * m).T, 2 * x)
    np.testing.assert_allclose(by_b, adjoint * d, rtol=1e-9)
    np.testing.assert_allclose(by_w, np.outer(adjoint * d, x), rtol=1e-9)
    h = 1e-5
    differences = [(f(p + h * e, m)[1] - f(p - h * e, m)[1]) @ np.arange(4.0) / (2 * h) for e in np.eye(4)]
    np.testing.assert_allclose(bend, differences, rtol=1e-6, atol=1e-8)
    rows = f.graph.input("rows", (3, 4))
    each = gx.vmap(lambda r: gx.grad(gx.sum(solved(r) ** 2), r))(rows)
    many = np.stack([p, 2 * p, -p])
    np.testing.assert_allclose(gx.compile([rows, w], each)(many, m), [f(r, m)[1] for r in many], rtol=1e-9)


@pytest.mark.parametrize("of", ["fixed_point", "root"])
def test_equations_in_forward_mode_and_of_any_order(of: str) -> None:
    """x = cos(a x) for each element: derivatives by a, and those of its derivatives, one after the other."""
    _, (a, t) = graph_of(a=(3,), t=(3,))
    solved = {
        "fixed_point": lambda a: gx.fixed_point(lambda x: gx.cos(a * x), gx.ones_like(a), max_steps=200),
        "root": lambda a: gx.root(lambda x: x - gx.cos(a * x), gx.ones_like(a)),
    }[of]
    x = solved(a)
    pushed = gx.jvp(x, a, t)
    turns = [gx.grad(gx.sum(pushed), a), gx.jvp(gx.grad(gx.sum(x), a), a, t), gx.jvp(pushed, a, t)]
    third = gx.grad(gx.sum(turns[1]), a)
    many = gx.vmap(lambda r: gx.jvp(solved(r), r, t))(gx.stack([a, 0.5 * a]))
    exe = gx.compile([a, t], [x, pushed, *turns, third, many], backend="numpy" if of == "root" else "numba")
    at, along = np.array([0.5, 0.8, 1.1]), np.array([1.0, -2.0, 0.5])
    x, pushed, *turns, third, many = exe(at, along)

    s, c = np.sin(at * x), np.cos(at * x)
    first = -x * s / (1 + at * s)
    np.testing.assert_allclose(pushed, first * along, rtol=1e-10)
    inner = x + at * first  # the derivative of a x
    second = -(2 * first * s + (x + at * first) * c * inner) / (1 + at * s)
    for k, turn in enumerate(turns):
        np.testing.assert_allclose(turn, second * along * (along if k == 2 else 1), rtol=1e-8)
    h = 1e-5
    up, down = (exe(at + sign * h, along)[3] for sign in (1, -1))
    np.testing.assert_allclose(third, (up - down) / (2 * h), rtol=1e-5)
    np.testing.assert_allclose(many[0], pushed, rtol=1e-10)
    np.testing.assert_allclose(many[1], exe(0.5 * at, along)[1], rtol=1e-10)


def test_structures_and_steps() -> None:
    _, (a,) = graph_of(a=())
    out = gx.fixed_point(lambda s: {"u": 0.5 * s["v"] + a, "v": 0.25 * s["u"]}, {"u": a, "v": 0.0 * a})
    f = gx.compile([a], [out["u"], out["v"], gx.grad(out["v"], a)])
    np.testing.assert_allclose(f(np.array(1.0)), [8 / 7, 2 / 7, 2 / 7])
    endless = gx.compile([a], gx.fixed_point(lambda x: x + a, a, max_steps=5))
    with pytest.raises(gx.NumericalError):
        endless(np.array(1.0))


def test_a_root() -> None:
    _, (a, x0) = graph_of(a=(2,), x0=(2,))
    x = gx.root(lambda x: gx.stack([x[0] ** 2 + x[1] ** 2 - a[0], x[0] - x[1] * a[1]]), x0)
    f = gx.compile([a, x0], [x, gx.jacobian(x, a)])
    found, slopes = f(np.array([4.0, 1.0]), np.array([1.0, 2.0]))
    np.testing.assert_allclose(found, np.sqrt([2, 2]), rtol=1e-12)
    j = np.array([[2 * found[0], 2 * found[1]], [1, -1]])
    np.testing.assert_allclose(slopes, -np.linalg.solve(j, [[-1, 0], [0, -found[1]]]), rtol=1e-9)


@pytest.mark.parametrize("method", ["rk4", "dopri5"])
def test_an_equation_beside_scipy(method: str) -> None:
    """Lotka and Volterra's; the derivative by a parameter beside differences of solutions."""
    _, (k, y0) = graph_of(k=(2,), y0=(2,))

    def f(y: gx.Tensor, t: gx.Tensor) -> gx.Tensor:
        return gx.stack([k[0] * y[0] - y[0] * y[1], y[0] * y[1] - k[1] * y[1] + 0.1 * gx.sin(t)])

    ts = np.linspace(0, 2, 5)
    y = gx.odeint(f, y0, ts, method=method, steps=40, rtol=1e-10, atol=1e-12, max_steps=200)
    exe = gx.compile([k, y0], [y, gx.grad(gx.sum(y[-1]), [k, y0])])

    def scipy_solution(k: np.ndarray, start: np.ndarray) -> np.ndarray:
        def right(t: float, y: np.ndarray) -> list[float]:
            return [k[0] * y[0] - y[0] * y[1], y[0] * y[1] - k[1] * y[1] + 0.1 * np.sin(t)]

        return solve_ivp(right, (0, 2), start, t_eval=ts, rtol=1e-12, atol=1e-12).y.T

    at, start, h = np.array([1.5, 1.0]), np.array([1.0, 0.5]), 1e-5
    found, (by_k, by_y0) = exe(at, start)
    np.testing.assert_allclose(found, scipy_solution(at, start), rtol=2e-7)
    for k_, e in enumerate(np.eye(2)):
        up, down = scipy_solution(at + h * e, start), scipy_solution(at - h * e, start)
        np.testing.assert_allclose(by_k[k_], (up - down)[-1].sum() / (2 * h), rtol=1e-5)
        up, down = scipy_solution(at, start + h * e), scipy_solution(at, start - h * e)
        np.testing.assert_allclose(by_y0[k_], (up - down)[-1].sum() / (2 * h), rtol=1e-5)


@pytest.mark.parametrize("method", ["rk4", "dopri5"])
def test_the_adjoint_equation_beside_the_steps(method: str) -> None:
    """Both ways agree to what the steps allow: by all that is used, by times, of second order."""
    _, (k, y0, ts) = graph_of(k=(2,), y0=(2,), ts=("n",))

    def slope(y: dict[str, gx.Tensor], t: gx.Tensor) -> dict[str, gx.Tensor]:
        return {"a": k[0] * y["a"] - y["a"] * y["b"], "b": y["a"] * y["b"] - k[1] * y["b"] + 0.1 * gx.sin(t)}

    found = []
    for adjoint in ("discrete", "continuous"):
        more = {"rtol": 1e-10, "atol": 1e-12, "max_steps": 200} if method == "dopri5" else {"steps": 40}
        y = gx.odeint(slope, {"a": y0[0], "b": y0[1]}, ts, method=method, adjoint=adjoint, **more)
        loss = gx.sum(y["a"] ** 2) + gx.sum(gx.sin(y["b"]))
        first = gx.grad(loss, [k, y0, ts])
        second = gx.grad(gx.sum(first[0] * np.array([1.0, -2.0])), [k, y0]) if method == "rk4" else []
        pushed = [gx.jvp(loss, k, np.array([1.0, -2.0]))] if method == "rk4" else []
        exe = gx.compile([k, y0, ts], [loss, *first, *second, *pushed])
        found.append(exe(np.array([1.5, 1.0]), np.array([1.0, 0.5]), np.array([0.0, 0.3, 1.0, 1.6])))
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-8)


def test_the_adjoint_equation_keeps_no_steps() -> None:
    _, (k, y0) = graph_of(k=(), y0=(64,))
    kept = []
    for adjoint in ("discrete", "continuous"):
        y = gx.odeint(lambda y, t: gx.sin(k * y), y0, np.linspace(0, 1, 3), steps=100, adjoint=adjoint)
        kept.append(gx.compile([k, y0], gx.grad(gx.sum(y), k)).memory())
    assert kept[1] < kept[0] / 4


def test_too_many_steps() -> None:
    _, (a,) = graph_of(a=())
    y = gx.odeint(lambda y, t: a * y, 1.0 + 0.0 * a, np.array([0.0, 1.0]), method="dopri5", max_steps=2)
    with pytest.raises(gx.NumericalError):
        gx.compile([a], y)(np.array(50.0))


@pytest.mark.parametrize(
    ("call", "kind", "words"),
    [
        (lambda x: gx.fixed_point(lambda t: t[:2], x), gx.ShapeError, "begins as float64"),
        (lambda x: gx.fixed_point(lambda t: t, 3.0), gx.DTypeError, "x0 must be a float tensor"),
        (lambda x: gx.root(lambda t: t, [x]), gx.GradientError, "x0 must be one tensor"),
        (lambda x: gx.odeint(lambda y, t: y, x, [0.0], method="euler"), gx.GradientError, "method must be"),
        (lambda x: gx.odeint(lambda y, t: y, x, [0.0], adjoint=None), gx.GradientError, "adjoint must be"),
        (lambda x: gx.odeint(lambda y, t: y, x, x.graph.constant(0.0)), gx.ShapeError, "ts must be a vector"),
    ],
)
def test_errors(call: Any, kind: type, words: str) -> None:
    _, (x,) = graph_of(x=(3,))
    with pytest.raises(kind, match=words) as error:
        call(x)
    assert error.value.origin.file == __file__
