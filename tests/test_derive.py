"""Derivatives beside `grad`: products with Jacobians and Hessians, in both modes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from op_cases import CASES, Case

import graphc as gx
from graphc.ir.graph import topological

SMOOTH = [c for c in CASES if c.smooth]
GROUPS = [SMOOTH[k : k + 12] for k in range(0, len(SMOOTH), 12)]


def group_id(group: list[Case]) -> str:
    return f"{group[0].name}-{group[-1].name}"


def inputs_of(g: gx.Graph, case: Case, dtype: str = "float64") -> list[gx.Tensor]:
    return [g.input(f"{case.name}_{k}", shape, dtype) for k, shape in enumerate(case.shapes)]


def close(found: Any, expected: Any, name: str, tolerance: float = 1e-9) -> None:
    scale = max(1.0, float(np.max(np.abs(expected), initial=0)))
    np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance * scale, err_msg=name)


@pytest.mark.parametrize("group", GROUPS, ids=group_id)
def test_forward_and_reverse_mode_agree_for_every_op(group: list[Case]) -> None:
    """Of the value and of its gradient: w . (J v) and (w J) . v; and H v by hvp and by jvp of the gradient."""
    g = gx.Graph("modes", float_dtype="float64")
    rng = np.random.default_rng(3)
    inputs, arrays, outputs = [], [], {}
    for case in group:
        xs, operands = inputs_of(g, case), case.arrays("float64", seed=4)
        y = case.build(*xs)
        w, vs = rng.normal(size=tuple(y.shape)), [rng.normal(size=a.shape) for a in operands]
        forward = gx.sum(gx.jvp(y, xs, vs) * w)
        reverse = [gx.sum(d * v) for d, v in zip(gx.vjp(y, xs, w, on_disconnected="zeros"), vs, strict=True)]
        value = gx.sum(y * w)
        slopes = gx.grad(value, xs, on_disconnected="zeros")
        outputs[case.name] = [forward, reverse]
        outputs[case.name + "'"] = [
            gx.jvp(slopes, xs, vs, on_disconnected="zeros"),
            gx.hvp(value, xs, vs, on_disconnected="zeros"),
        ]
        inputs += xs
        arrays += operands
    found = gx.compile(inputs, outputs, backend="numpy", unused="ignore")(*arrays)
    for case in group:
        forward, reverse = found[case.name]
        close(forward, sum(reverse), case.name)
        for one, other in zip(*found[case.name + "'"], strict=True):
            close(one, other, case.name + "'", 1e-8)


def test_nothing_but_the_result_stays_in_the_graph() -> None:
    g = gx.Graph("g", float_dtype="float64")
    x, t = g.input("x", ("n", 3)), g.input("t", ("n", 3))
    y = gx.softmax(gx.tanh(x) @ np.eye(3))
    before = len(g)
    tangent = gx.jvp(y, x, t)
    needed = {n.id for n in topological(g, [tangent.id])}
    assert set(range(before, len(g))) <= needed
    assert tangent is g.tensors[tangent.id] and tangent.name == f"{tangent.op.name}_{tangent.id}"
    assert g.equals(gx.from_networkx(g.to_networkx()))
    assert set(g.nx.nodes) == set(range(len(g)))


def test_a_network_in_forward_mode_costs_what_its_formula_does() -> None:
    """tanh(x W + b): one product for the value and one for the tangent."""
    g = gx.Graph("layer")
    x, t = g.input("x", ("n", 20)), g.input("t", ("n", 20))
    y = gx.tanh(x @ g.parameter("W", np.ones((20, 30), "float32")) + g.parameter("b", np.ones(30, "float32")))
    exe = gx.compile([x, t], [y, gx.jvp(y, x, t)], backend="numpy")
    text = exe.stages["canonicalise"]
    assert text.count("matmul(") == 2 and "permute" not in text


def test_structures_come_back() -> None:
    g = gx.Graph("g", float_dtype="float64")
    x, y = g.input("x", (2,)), g.input("y", (2,))
    outputs = {"a": x * y, "b": (gx.sum(x), [y * y])}
    tangents = gx.jvp(outputs, [x, y], [np.ones(2), 2 * np.ones(2)])
    assert isinstance(tangents, dict) and isinstance(tangents["b"], tuple) and isinstance(tangents["b"][1], list)
    back = gx.vjp(outputs, {"x": x, "y": y}, {"a": np.ones(2), "b": (3.0, [np.ones(2)])})
    v = gx.hvp(gx.sum(x * x * y), {"x": x, "y": y}, {"x": np.ones(2), "y": np.zeros(2)})
    f = gx.compile([x, y], [tangents["a"], tangents["b"][0], tangents["b"][1][0], back["x"], back["y"], v["x"], v["y"]])
    p, q = np.array([1.0, 2.0]), np.array([3.0, 5.0])
    expected = [q + 2 * p, 2.0, 4 * q, q + 3, p + 2 * q, 2 * q, 2 * p]
    for found, wanted in zip(f(p, q), expected, strict=True):
        np.testing.assert_allclose(found, wanted)


def test_inner_tensors_and_outputs_of_one_another() -> None:
    g = gx.Graph("g", float_dtype="float64")
    x = g.input("x", (3,))
    h = gx.sin(x)
    y = h * h
    f = gx.compile(
        [x], [gx.jvp(y, h, np.ones(3)), gx.jvp([h, y], x, np.ones(3)), gx.vjp([h, y], x, [1 * np.ones(3)] * 2)]
    )
    p = np.array([0.1, 0.2, 0.3])
    by_h, (dh, dy), back = f(p)
    np.testing.assert_allclose(by_h, 2 * np.sin(p))
    np.testing.assert_allclose([dh, dy], [np.cos(p), np.sin(2 * p)])
    np.testing.assert_allclose(back, np.cos(p) + np.sin(2 * p))


def test_forward_mode_where_bodies_compute_values_again() -> None:
    g = gx.Graph("again", float_dtype="float64")
    x, t = g.input("x", (3,)), g.input("t", (3,))
    again = gx.checkpoint(lambda v: gx.sin(v) * v)
    plain = lambda v: gx.sin(v) * v  # noqa: E731

    def through(f: Any) -> Any:
        h, _ = gx.scan(lambda c, _: (f(c) + x, None), x, length=3)
        return gx.cond(gx.sum(x) > 0, lambda: gx.sum(f(x) * gx.map(lambda v: v + f(x)[0], h)), lambda: gx.sum(x))

    found, expected = (gx.jvp(through(f), x, t) for f in (again, plain))
    f = gx.compile([x, t], [found, expected])
    close(*f(np.array([0.2, 0.3, 0.4]), np.array([1.0, -2.0, 0.5])), "again")


def test_what_is_not_taken_stays_out_of_forward_mode() -> None:
    g = gx.Graph("g", float_dtype="float64")
    x = g.input("x", (3,))
    y = gx.where(x > 0, gx.sqrt(x), 0.0)
    assert gx.compile([x], gx.jvp(y, x, np.ones(3)))(np.array([-1.0, 0.0, 4.0])).tolist() == [0, 0, 0.25]


@pytest.mark.parametrize(
    ("call", "kind", "words"),
    [
        (lambda x, n: gx.jvp(x * x, x, np.ones(4)), gx.ShapeError, "tangent must have the shape of x"),
        (lambda x, n: gx.jvp(x * x, [x], np.ones(3)), gx.GraphError, "expected a list of 1, found an array"),
        (lambda x, n: gx.vjp(x * x, x, np.ones(4)), gx.ShapeError, "cotangent must have the shape"),
        (lambda x, n: gx.vjp(x * x, x, None), gx.GradientError, "cotangents must be given"),
        (lambda x, n: gx.vjp({"a": x * x}, x, {"b": 1.0}), gx.GraphError, "expected a dict of 'a'"),
        (lambda x, n: gx.jvp(n, x, np.ones(3)), gx.GradientError, "only float tensors have derivatives"),
        (lambda x, n: gx.jvp(gx.exp(x), x * 2.0, np.ones(3)), gx.GradientError, "does not depend"),
        (lambda x, n: gx.vjp([gx.exp(x), x], [x * 2.0], [x, x]), gx.GradientError, "none of exp_"),
        (lambda x, n: gx.hvp(x * x, x, np.ones(3)), gx.GradientError, "expected a scalar tensor, found multiply_"),
        (lambda x, n: gx.hvp(gx.sum(x * x), x, np.ones(2)), gx.ShapeError, "vector must have the shape of x"),
        (lambda x, n: gx.jvp("y", x, np.ones(2)), gx.GradientError, "found the text 'y'"),
    ],
)
def test_errors_say_what_was_expected(call: Any, kind: type, words: str) -> None:
    g = gx.Graph("g", float_dtype="float64")
    x, n = g.input("x", (3,)), g.input("n", (3,), "int64")
    with pytest.raises(kind, match=words) as error:
        call(x, n)
    assert error.value.origin.file == __file__


# ---- whole matrices


@pytest.mark.parametrize("group", GROUPS, ids=group_id)
def test_jacobians_in_both_modes_for_every_op(group: list[Case]) -> None:
    """By one operand, weighed by a direction: what jvp and vjp say; Hessians weighed: what hvp says."""
    g = gx.Graph("matrices", float_dtype="float64")
    rng = np.random.default_rng(5)
    inputs, arrays, outputs = [], [], {}
    for case in group:
        xs, operands = inputs_of(g, case), case.arrays("float64", seed=6)
        y, x = case.build(*xs), xs[-1 if case.name == "max_pool_pick" else 0]
        w, v = rng.normal(size=tuple(y.shape)), rng.normal(size=tuple(x.shape))
        value = gx.sum(y * w)
        outputs[case.name] = {
            "v": g.constant(v),
            "w": g.constant(w),
            "forward": gx.jacobian(y, x, mode="forward"),
            "reverse": gx.jacobian(y, x, mode="reverse"),
            "jvp": gx.jvp(y, x, v),
            "vjp": gx.vjp(y, x, w),
            "hessian": gx.hessian(value, x),
            "hvp": gx.hvp(value, x, v),
        }
        inputs += xs
        arrays += operands
    results = gx.compile(inputs, outputs, backend="numpy", unused="ignore")(*arrays)
    for case in group:
        found = results[case.name]
        v, w = found["v"], found["w"]
        for mode in ("forward", "reverse"):
            assert found[mode].shape == w.shape + v.shape
            close(np.tensordot(found[mode], v, v.ndim), found["jvp"], f"{case.name} {mode}")
            close(np.tensordot(w, found[mode], w.ndim), found["vjp"], f"{case.name} {mode}")
        close(np.tensordot(found["hessian"], v, v.ndim), found["hvp"], case.name, 1e-8)


def test_symbolic_sizes_choose_the_mode() -> None:
    g = gx.Graph("g", float_dtype="float64")
    x, w = g.input("x", ("n",)), g.input("w", (3, "n"))
    y = gx.tanh(w @ x)
    wide, tall = gx.jacobian(y, x), gx.jacobian(gx.tanh(w.T @ y), y)
    assert wide.shape == (3, x.shape[0]) and tall.shape == (x.shape[0], 3)
    f = gx.compile([x, w], [wide, tall, gx.jacobian(y, x, mode="forward"), gx.hessian(gx.sum(y * y), x)])
    rng = np.random.default_rng(0)
    for n in (0, 1, 4):
        p, m = rng.normal(size=n), rng.normal(size=(3, n))
        t = np.tanh(m @ p)
        expected = (1 - t * t)[:, None] * m
        found = f(p, m)
        np.testing.assert_allclose(found[0], expected, atol=1e-14)
        np.testing.assert_allclose(found[2], expected, atol=1e-14)
        np.testing.assert_allclose(found[1], (1 - np.tanh(m.T @ t) ** 2)[:, None] * m.T, atol=1e-14)
        curved = m.T @ np.diag(2 * (1 - t * t) * (1 - 3 * t * t)) @ m
        np.testing.assert_allclose(found[3], curved, atol=1e-13)


def test_the_seeds_of_a_network_are_not_multiplied() -> None:
    """The last layer's products with unit vectors are rows of its weights."""
    g = gx.Graph("net")
    x = g.input("x", (8,))
    ws = [g.parameter(f"w{k}", np.ones(s, "float32")) for k, s in enumerate([(8, 9), (9, 5)])]
    y = gx.tanh(gx.tanh(x @ ws[0]) @ ws[1])
    exe = gx.compile([x], [gx.jacobian(y, x, mode="reverse")], backend="numpy")
    assert exe.stages["canonicalise"].count("matmul(") == 3


BANDED: dict[str, Callable[[gx.Tensor], gx.Tensor]] = {
    "slices": lambda x: x[1:] * x[:-1] ** 2 - x[1:],
    "flips and steps": lambda x: x[::-1] * x + gx.roll(x, 2, 0) * gx.permute_dims(x.reshape((3, 4)), (1, 0)).ravel(),
    "one number": lambda x: x[:4] * x[11] - x[4:8] / x[11],
    "concat and stack": lambda x: gx.concat([x[2:5] ** 2, gx.stack([x[:3], 2.0 * x[1:4]], axis=1).ravel(), x[:1] * x]),
    "selections": lambda x: gx.relu(x[1:] - x[:-1]) + gx.where(x[1:] > 0, x[:-1] ** 2, 3.0),
    "gathers": lambda x: gx.take(x, np.array([3, 0, 3, 11]), axis=0) * x[:4],
    "pads": lambda x: gx.pad(x[:3] * x[1:4], (2, 1)) * x[:6] + gx.pad(x[4:9], (0, 1)),
    "sums": lambda x: x[:3] * gx.sum(x[3:8]) + gx.sum(x[:3] * x[1:4]),
    "tables": lambda x: gx.sum(x.reshape((3, 4)) * x[:3].reshape((3, 1)), axis=0),
}


@pytest.mark.parametrize("name", BANDED)
def test_examples_of_few_elements_each(name: str) -> None:
    g = gx.Graph("band", float_dtype="float64")
    x, w, v = g.input("x", (12,)), g.input("w", (BANDED[name](g.input("y", (12,))).shape[0],)), g.input("v", (12,))
    y = BANDED[name](x)
    value = gx.sum(w * y)
    whole = [gx.jacobian(y, x, mode="forward"), gx.jacobian(y, x, mode="reverse"), gx.hessian(value, x)]
    beside = [gx.jvp(y, x, v), gx.hvp(value, x, v)]
    few, curves = gx.sparse_jacobian(y, x), gx.sparse_hessian(value, x)
    rng = np.random.default_rng(0)
    at, weights, along = rng.normal(size=12), rng.normal(size=w.shape), rng.normal(size=12)  # type: ignore[arg-type]
    exe = gx.compile([x, w, v], [*whole, *beside, few.data, curves.data], threads=1)
    forward, reverse, bent, moved, curved, *sparse = exe(at, weights, along)
    np.testing.assert_allclose(forward, reverse, rtol=1e-13, atol=1e-14)
    np.testing.assert_allclose(forward @ along, moved, rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(bent, bent.T, rtol=1e-13, atol=1e-14)
    np.testing.assert_allclose(bent @ along, curved, rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(few.to_scipy(sparse[0]).toarray(), forward, rtol=1e-13, atol=1e-14)
    np.testing.assert_allclose(curves.to_scipy(sparse[1]).toarray(), bent, rtol=1e-13, atol=1e-14)


def test_a_banded_hessian_costs_one_pass_over_it() -> None:
    """A term for each of three diagonals; what is infinite on one does not reach the others."""
    g = gx.Graph("valley", float_dtype="float64")
    x = g.input("x", (50,))
    hess = gx.hessian(gx.sum(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2), x)
    exe = gx.compile([x], [hess, gx.jacobian(1 / x[1:] - gx.sqrt(x[:-1]), x)], threads=1)
    wide = [line for line in exe.stages["schedule"].splitlines() if "[50, 50]" in line]
    assert len(wide) == 1
    found, slope = exe(np.r_[0.0, np.ones(49)])
    assert found[0, 0] == -398 and found[3, 3] == 1002 and found[3, 4] == found[4, 3] == -400
    assert np.count_nonzero(found) == 50 + 2 * 48  # -400 x is 0 beside the first
    assert slope[0, 0] == -np.inf and slope[0, 1] == -1 and np.isfinite(slope).sum() == slope.size - 1


@pytest.mark.oracle
def test_beside_jax() -> None:
    jax = pytest.importorskip("jax")
    jax.config.update("jax_enable_x64", True)
    jnp = jax.numpy
    rng = np.random.default_rng(1)
    a, b, p = rng.normal(size=(6, 7)), rng.normal(size=(7, 4)), rng.normal(size=6)

    def f(np_: Any, x: Any) -> Any:
        return np_.tanh(np_.sin(x) @ a) @ b

    def value(np_: Any, x: Any) -> Any:
        return np_.sum(f(np_, x) ** 2 * f(np_, x[::-1]))

    g = gx.Graph("g", float_dtype="float64")
    x = g.input("x", (6,))
    y = gx.tanh(gx.sin(x) @ g.constant(a)) @ g.constant(b)
    z = gx.sum(y**2 * (gx.tanh(gx.sin(x[::-1]) @ g.constant(a)) @ g.constant(b)))
    outputs = [gx.jacobian(y, x), gx.hessian(z, x), gx.hvp(z, x, p), gx.jvp(y, x, p), gx.jacobian(gx.hessian(z, x), x)]
    found = gx.compile([x], outputs)(p)
    expected = [
        jax.jacobian(lambda t: f(jnp, t))(p),
        jax.hessian(lambda t: value(jnp, t))(p),
        jax.hessian(lambda t: value(jnp, t))(p) @ p,
        jax.jvp(lambda t: f(jnp, t), (p,), (p,))[1],
        jax.jacobian(jax.hessian(lambda t: value(jnp, t)))(p),
    ]
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda x, n: gx.jacobian(x * x, x, mode="sideways"), 'mode must be "auto", "forward", "reverse", found'),
        (lambda x, n: gx.jacobian(n, x), "only float tensors have derivatives"),
        (lambda x, n: gx.jacobian(gx.exp(x), x * 2.0), "does not depend on multiply_"),
        (lambda x, n: gx.jacobian(gx.exp(x), x * 2.0, mode="forward"), "does not depend on multiply_"),
        (lambda x, n: gx.jacobian([x], x), "expected a tensor, found"),
        (lambda x, n: gx.hessian(x * x, x), "expected a scalar tensor, found multiply_"),
        (lambda x, n: gx.hessian(gx.sum(x), n), "only float tensors"),
    ],
)
def test_matrices_refuse(call: Any, words: str) -> None:
    g = gx.Graph("g", float_dtype="float64")
    x, n = g.input("x", (3,)), g.input("n", (3,), "int64")
    with pytest.raises(gx.GradientError, match=words) as error:
        call(x, n)
    assert error.value.origin.file == __file__
