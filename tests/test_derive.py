"""Derivatives beside `grad`: products with Jacobians and Hessians, in both modes."""

from __future__ import annotations

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
