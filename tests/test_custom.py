"""Gradients that users give, gradients changed on their way, values computed again."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import graphc as gx


def graph_of(**shapes: tuple[Any, ...]) -> tuple[gx.Graph, list[gx.Tensor]]:
    g = gx.Graph("g", float_dtype="float64")
    return g, [g.input(name, shape) for name, shape in shapes.items()]


def pair(x: gx.Tensor, y: gx.Tensor) -> list[gx.Tensor]:
    return [x * y, gx.sin(x) + 0.0 * y]


def pair_backward(cotangents: list, inputs: list, outputs: list) -> list:
    """Right, times 10, so that it is seen."""
    (a, b), (x, y) = cotangents, inputs
    assert len(outputs) == 2 and a.shape == x.shape
    return [10 * (a * y + b * gx.cos(x)), 10 * a * x]


P, Q = np.array([0.5, 1.0, -2.0]), np.array([2.0, -1.0, 0.25])


def test_all_cotangents_arrive_at_once() -> None:
    calls = []

    def backward(cotangents: list, inputs: list, outputs: list) -> list:
        calls.append(1)
        return pair_backward(cotangents, inputs, outputs)

    _, (x, y) = graph_of(x=("n",), y=("n",))
    a, b = gx.custom_gradient(pair, backward)(x, y)
    both = gx.grad(gx.sum(a * a) + gx.sum(3 * b), [x, y])
    assert len(calls) == 1
    one = gx.grad(gx.sum(b), [x, y], on_disconnected="zeros")
    f = gx.compile([x, y], [a, b, *both, *one])
    found = f(P, Q)
    expected = [P * Q, np.sin(P), 10 * (2 * P * Q * Q + 3 * np.cos(P)), 20 * P * Q * P, 10 * np.cos(P), 0 * P]
    for one_, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one_, other)


def test_it_goes_with_all_transforms() -> None:
    """Twice, in forward mode, and for many examples, some operands shared."""
    g, (x, y) = graph_of(x=("n", 3), y=(3,))
    f = gx.custom_gradient(lambda a, b: gx.exp(a) * b, lambda cs, xs, ys: [7 * cs[0] * ys[0], cs[0] * gx.exp(xs[0])])
    whole = f(x[0], y)
    second = gx.grad(gx.sum(gx.grad(gx.sum(whole), y, on_disconnected="zeros") * y), x)
    bent = gx.grad(gx.sum(gx.grad(gx.sum(whole), x)[0]), y)
    pushed = gx.jvp(whole, y, np.ones(3))
    rows = gx.vmap(lambda a: f(a, y))(x)
    shared, each = gx.grad(gx.sum(rows), [y, x])
    inside = gx.vmap(lambda a: gx.grad(gx.sum(f(a, y)), y))(x)
    p = np.random.default_rng(0).normal(size=(2, 3))
    found = gx.compile([x, y], [second, bent, pushed, shared, each, inside])(p, Q)
    e = np.exp(p)
    expected = [np.stack([e[0] * Q, 0 * Q]), 7 * e[0], e[0], e.sum(0), 7 * e * Q, e]
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-12)


def test_integers_and_structures() -> None:
    g, (x,) = graph_of(x=(4,))
    i = g.input("i", (2,), "int64")

    def f(x: gx.Tensor, i: gx.Tensor) -> dict[str, Any]:
        return {"value": gx.take(x, i), "place": (i,)}

    def backward(cotangents: list, inputs: list, outputs: list) -> list:
        assert cotangents[1] is None and outputs[1].dtype == "int64"
        return [gx.zeros_like(inputs[0]).at[inputs[1]].set(cotangents[0]), None]

    out = gx.custom_gradient(f, backward)(x, i)
    assert out["place"][0].dtype == "int64"
    found = gx.compile([x, i], [out["value"], gx.grad(gx.sum(out["value"]), x)])(np.arange(4.0), np.array([1, 1]))
    assert [v.tolist() for v in found] == [[1, 1], [0, 1, 0, 0]]


@pytest.mark.parametrize(
    ("backward", "kind", "words"),
    [
        (lambda c, x, y: [c[0], c[0]], gx.GradientError, "backward must return a list of 1 tensors, found a list of 2"),
        (lambda c, x, y: [3.0], gx.GradientError, "must return tensors or None, found 3.0"),
        (lambda c, x, y: gx.sum(c[0]), gx.ShapeError, "the cotangent of x must be float64"),
        (lambda c, x, y: None, gx.GradientError, "found None"),
    ],
)
def test_what_backward_returns_is_checked(backward: Any, kind: type, words: str) -> None:
    _, (x,) = graph_of(x=(3,))
    y = gx.custom_gradient(gx.exp, backward)(x)
    with pytest.raises(kind, match=words) as error:
        gx.grad(gx.sum(y), x)
    assert error.value.origin.file == __file__


def test_what_is_not_linear_has_no_forward_mode() -> None:
    _, (x,) = graph_of(x=(3,))
    with pytest.raises(gx.GradientError, match="not linear in its cotangent"):
        gx.jvp(gx.clip_gradient(gx.exp(x), -1, 1), x, np.ones(3))
    assert gx.jvp(gx.scale_gradient(x, 2.0), x, np.ones(3)).shape == (3,)


def test_a_file_says_what_it_does_not_hold(tmp_path: Any) -> None:
    g, (x,) = graph_of(x=(3,))
    y = gx.custom_gradient(gx.exp, lambda c, xs, ys: [2 * c[0] * ys[0]])(x)
    y.named("y")
    gx.save(tmp_path / "f.graph", f=gx.compile([x], [y, gx.grad(gx.sum(y), x)]))
    exe = gx.load(tmp_path / "f.graph")["f"]
    np.testing.assert_allclose(exe(P), [np.exp(P), 2 * np.exp(P)])
    other = exe.graph
    with pytest.raises(gx.GradientError, match="files and networkx do not hold"):
        gx.grad(gx.sum(other["y"]), other["x"])


def test_scales_and_bounds() -> None:
    _, (x, s) = graph_of(x=("n", 3), s=(3,))
    y = gx.sum(gx.scale_gradient(x, s) ** 2) + gx.sum(gx.clip_gradient(x, max=0.5) ** 3)
    value = np.array([[1.0, -1.0, 0.1]])
    found = gx.compile([x, s], [y, gx.grad(y, x)])(value, np.array([2.0, 0.0, -1.0]))
    np.testing.assert_allclose(found[0], (value**2).sum() + (value**3).sum())
    np.testing.assert_allclose(found[1], 2 * value * [2, 0, -1] + np.minimum(3 * value**2, 0.5))
    with pytest.raises(gx.ShapeError, match="does not broadcast to"):
        gx.scale_gradient(s, x)
    with pytest.raises(gx.DTypeError, match="expected a float tensor"):
        gx.clip_gradient(x.astype("int64"), 0, 1)


# ---- computed again


def deep(x: gx.Tensor, ws: list[gx.Tensor], block: Any) -> gx.Tensor:
    for w in ws:
        x = block(lambda t, w=w: gx.tanh(gx.sin(gx.exp(gx.tanh(t @ w) @ w) @ w) @ w))(x)
    return gx.sum(x * x)


def network(block: Any, dtype: str = "float64") -> tuple[gx.Graph, gx.Tensor, gx.Tensor, list[gx.Tensor]]:
    g = gx.Graph("deep", float_dtype=dtype)
    x = g.input("x", ("n", 16))
    ws = [g.parameter(f"w{k}", np.random.default_rng(k).normal(size=(16, 16)).astype(dtype) / 4) for k in range(4)]
    return g, x, deep(x, ws, block), ws


def test_derivatives_are_the_same_and_memory_is_less() -> None:
    data = np.random.default_rng(9).normal(size=(300, 16))
    found = []
    for block in (gx.checkpoint, lambda f: f):
        _, x, loss, ws = network(block)
        exe = gx.compile([x], [loss, *gx.grad(loss, [x, *ws])], threads=1)
        found.append((exe(data), exe.memory(n=300), exe))
    for one, other in zip(found[0][0], found[1][0], strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-14)
    assert found[0][1] < 0.75 * found[1][1]
    again, once = (f[2].stages["canonicalise"].count("= tanh(") for f in found)
    assert again == 2 * once


def test_computed_again_in_second_order_and_forward() -> None:
    results = []
    for block in (gx.checkpoint, lambda f: f):
        _, x, loss, ws = network(block)
        v = np.random.default_rng(1).normal(size=(16, 16))
        bend = gx.hvp(loss, ws[0], v)
        mixed = gx.grad(gx.sum(gx.grad(loss, ws[1])), ws[0])
        pushed = gx.jvp(loss, ws[0], v)

        def one(row: gx.Tensor, ws: Any = ws, block: Any = block) -> gx.Tensor:
            return gx.grad(deep(gx.reshape(row, (1, 16)), ws, block), ws[2])

        each = gx.vmap(one)(x)
        exe = gx.compile([x], [bend, mixed, pushed, each], backend="numpy")
        results.append(exe(np.random.default_rng(9).normal(size=(3, 16))))
    for one, other in zip(*results, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-10, atol=1e-12)


def test_tensors_that_the_function_uses_get_gradients_once() -> None:
    """Also where one of them is made of another, and of an argument."""
    _, (x, w) = graph_of(x=(3,), w=(3,))
    h = x * w
    y = gx.sum(gx.checkpoint(lambda t: gx.sin(t) * h * w)(gx.exp(h)))
    plain = gx.sum(gx.sin(gx.exp(h)) * h * w)
    a, b = gx.compile([x, w], [gx.grad(y, [x, w]), gx.grad(plain, [x, w])])(P, Q)
    np.testing.assert_allclose(a, b, rtol=1e-12)


def test_random_numbers_are_drawn_again() -> None:
    g, (x,) = graph_of(x=("n", 40))
    key = g.random_key(1)
    y = gx.checkpoint(lambda t: gx.exp(gx.dropout(t, 0.5, key=key)))(x)
    with pytest.warns(UserWarning, match="without updates"):
        f = gx.compile([x], [y, gx.grad(gx.sum(y), x)])
    value, slope = f(np.ones((5, 40)))
    dropped = value == 1
    assert dropped.any() and (slope[dropped] == 0).all() and np.allclose(slope[~dropped], 2 * np.exp(2))


def test_nothing_and_structures() -> None:
    _, (x, y) = graph_of(x=("n",), y=("n",))
    out = gx.checkpoint(lambda d: {"a": gx.exp(d["x"]), "b": (gx.sum(d["y"]), d["x"])})({"x": x, "y": y})
    total = gx.sum(out["a"]) + out["b"][0] + gx.sum(out["b"][1] * 3)
    f = gx.compile([x, y], gx.grad(total, [x, y]), unused="ignore")
    for n in (0, 2):
        a, b = f(np.ones(n), np.ones(n))
        np.testing.assert_allclose(a, np.full(n, np.e + 3))
        np.testing.assert_allclose(b, np.ones(n))


AGAIN = {
    "an argument twice": lambda block, x, w: block(lambda a, b: gx.sin(a * b) * a)(x, x) * w,
    "an argument that is used": lambda block, x, w: block(lambda a: gx.sin(a * x) * w)(x),
    "of each example": lambda block, x, w: gx.vmap(lambda v: block(lambda a: gx.sin(a) * a)(v) + v)(x) * w,
    "used of each example": lambda block, x, w: gx.vmap(lambda v: block(lambda a: gx.sin(v) * v)(w) + v)(x) * w,
    "of all examples": lambda block, x, w: gx.vmap(lambda v: block(lambda a: v * gx.sum(gx.sin(a)))(w))(x),
    "of each and of all": lambda block, x, w: gx.vmap(lambda v: block(lambda a: v * v + gx.sum(a * v))(x))(x) * w,
    "in a loop": lambda block, x, w: gx.scan(lambda c, t: (block(lambda a: gx.sin(a * t) * x)(c), None), x, w)[0],
    "in a loop of each": lambda block, x, w: gx.vmap(
        lambda v: gx.scan(lambda c, t: (block(lambda a: gx.sin(a * t) * v)(c), None), v, w)[0]
    )(x),
    "twice": lambda block, x, w: gx.vmap(
        lambda v: gx.sum(gx.vmap(lambda u: block(lambda a: gx.sin(a * u) * v)(u * v))(w))
    )(x),
}


@pytest.mark.parametrize("what", AGAIN)
def test_what_is_computed_again_has_the_same_derivatives(what: str) -> None:
    results = []
    for block in (gx.checkpoint, lambda f: f):
        _, (x, w) = graph_of(x=(3,), w=(3,))
        loss = gx.sum(gx.tanh(AGAIN[what](block, x, w)))
        slopes = gx.grad(loss, [x, w])
        bend = gx.grad(gx.sum(slopes[0] * slopes[1]), [x, w])
        pushed = gx.jvp(loss, [x, w], [w, x])
        results.append(gx.compile([x, w], [loss, *slopes, *bend, pushed, gx.hessian(loss, x)], backend="numpy")(P, Q))
    for one, other in zip(*results, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-10, atol=1e-12)
