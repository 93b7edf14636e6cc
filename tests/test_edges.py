"""Awkward graphs: compiled and interpreted give the same, dtype and shape included."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import graphc as gx

RNG = np.random.default_rng(0)
WEIGHTS = RNG.normal(size=(12, 12))
Build = Callable[[gx.Graph], tuple[list[gx.Tensor], list[gx.Tensor]]]


def product(g: gx.Graph) -> Any:
    x, y = g.input("x", ("n", "k"), "float64"), g.input("y", ("k", "m"), "float64")
    z = x @ y
    loss = gx.sum(z * z)
    return [x, y], [z, loss, *gx.grad(loss, [x, y])]


def reversed_rows(g: gx.Graph) -> Any:
    x = g.input("x", (2, "n", "m"), "float64")
    back = x[:, ::-1]
    z = back @ gx.matrix_transpose(back)
    return [x], [z, gx.grad(gx.sum(z * z), x), gx.flip(x, 2) @ gx.matrix_transpose(x)]


def integers(g: gx.Graph) -> Any:
    a, b, u = g.input("a", ("n",), "int32"), g.input("b", ("n",), "int32"), g.input("u", ("n",), "uint8")
    arithmetic = [a + b, a - b, a * b, a // b, a % b, -a, abs(a), gx.sign(a), a**2, a / b, a + 1.5, u + u, u // 0]
    choices = [gx.maximum(a, b), a == b, a < b, gx.where(a > b, a, b), u > 3, gx.any(u > 3), gx.astype(a, "bool")]
    folds = [gx.sum(a), gx.max(a), gx.min(b), gx.prod(b), gx.sum(u), gx.argmax(a), gx.mean(a), gx.astype(a, "float32")]
    return [a, b, u], arithmetic + choices + folds


def gathers(g: gx.Graph) -> Any:
    x, i = g.input("x", (5, 4), "float64"), g.input("i", ("n",), "int64")
    t = gx.take(x, i, 0)
    d = gx.grad(gx.sum(t * t * t), x)
    return [x, i], [t, d, gx.grad(gx.sum(d * d), x), gx.one_hot(i, 5), x[i], gx.embedding(i, x), x[:, i % 4]]


def repeated(g: gx.Graph) -> Any:
    x = g.input("x", (), "float64")
    y = gx.exp(x)
    return [x], [y, y, x, gx.grad(y, x), y * y + x]


def arrays_in_the_graph(g: gx.Graph) -> Any:
    x = g.input("x", ("n", 12), "float64")
    h = gx.tanh(x @ g.constant(WEIGHTS))
    joined = [
        gx.concat([h, h * 2], 0),
        gx.stack([x, x], 1),
        x.T,
        gx.reshape(x.T, (-1,)),
        gx.flip(gx.reshape(x.T, (-1,))),
    ]
    return [x], [h, gx.grad(gx.sum(h), x), *joined]


def attention(g: gx.Graph) -> Any:
    q, k, v = (g.input(n, ("b", "h", "s", 8), "float64") for n in "qkv")
    o = gx.softmax(q @ gx.swapaxes(k, -1, -2) / 8**0.5) @ v
    return [q, k, v], [o, *gx.grad(gx.sum(o * o), [q, k, v])]


def heads(g: gx.Graph) -> Any:
    x, w = g.input("x", ("b", "s", 12), "float64"), g.parameter("w", WEIGHTS)
    b, s, _ = x.shape
    h = gx.permute_dims(gx.reshape(gx.layer_norm(x) @ w, (b, s, 3, 4)), (0, 2, 1, 3))
    y = gx.reshape(gx.permute_dims(gx.tanh(h), (0, 2, 1, 3)), (b, s, 12))
    loss = gx.mean(gx.gelu(y) + x)
    return [x], [loss, gx.grad(loss, w), gx.grad(loss, x)]


def folds(g: gx.Graph) -> Any:
    x = g.input("x", ("n", "m"), "float64")
    values = [gx.max(x, 0), gx.min(x, 1), gx.argmax(x, 0), gx.argmin(x, 1), gx.logsumexp(x, (0, 1)), gx.var(x)]
    values += [gx.std(x, 0), gx.norm(x, 1), gx.norm(x, float("inf"), 0), gx.prod(x, 1), gx.softmax(x, 0)]
    slopes = [gx.grad(gx.sum(gx.max(x, 0) * gx.min(x, 0)), x), gx.grad(gx.prod(x), x), gx.grad(gx.norm(x), x)]
    return [x], values + slopes


def labels(g: gx.Graph) -> Any:
    x, y = g.input("x", ("n", 4), "float64"), g.input("y", ("n",), "int64")
    loss = gx.cross_entropy(x, y, weights=np.arange(1.0, 5.0), ignore_index=-100, label_smoothing=0.1)
    return [x, y], [loss, gx.grad(gx.sum(loss), x)]


def rows(g: gx.Graph) -> Any:
    x = g.input("x", ("n", 4), "float64")
    lse, p = gx.logsumexp(x, 1), gx.softmax(x)
    return [x], [lse, p, gx.grad(gx.sum(lse), x), gx.grad(gx.sum(p * p), x), gx.log_softmax(x)]


def draws(g: gx.Graph) -> Any:
    k = g.random_key(3)
    floats = [gx.random.uniform(k, (1000,)), gx.random.normal(k, (1000,)), gx.random.exponential(k, (8,))]
    return [], [*floats, gx.random.bernoulli(k, (7,)), gx.random.randint(k, (9,), 0, 10)]


def moves(g: gx.Graph) -> Any:
    x = g.input("x", ("n",), "float64")
    laid = [
        gx.pad(x, (1, 2)),
        gx.roll(x[:4], 1),
        gx.roll(x, -8),
        gx.tile(x, (3,)),
        gx.repeat(x, 2),
        gx.broadcast_to(x, (2, x.shape[0])),
    ]
    cut = [x[1:], x[::-1], x[-3:], x[None, :, None], x[-1], x[1:-1:2]]
    slopes = [gx.grad(gx.sum(gx.pad(x, 2) * gx.pad(x, 2)), x), gx.grad(gx.sum(x[::2] * x[::2]), x)]
    return [x], laid + cut + slopes


def padded_alone(g: gx.Graph) -> Any:
    """Of one element, whose cotangent is placed over all that there is."""
    x = g.input("x", (1, 1), "float64")
    padded = gx.pad(x, 1, "edge")
    return [x], [padded, gx.grad(gx.sum(padded * padded), x)]


def views_reduced(g: gx.Graph) -> Any:
    """Views in another shape, some of whose readers have fewer than two axes."""
    x = g.input("x", (2, 3, 4), "float64")
    views = [gx.repeat(x[0], 2, 1), gx.reshape(gx.permute_dims(x, (0, 2, 1)), (8, 3))]
    return [x], [r for y in views for r in (y, gx.sum(y), gx.max(y), gx.max(y, 1), gx.grad(gx.mean(y * y), x))]


def numbers_in_other_shapes(g: gx.Graph) -> Any:
    x = g.input("x", ("n", "m"), "float64")
    one = gx.reshape(g.constant(2.0), ("n", "m"))  # legal where both are 1 when called
    return [x], [x + one, gx.sum(one), gx.reshape(one, ("m",)), gx.concat([one, x])]


def normal(*shape: int) -> np.ndarray:
    return np.random.default_rng(7).normal(size=shape)


SIZES = [(0, 3, 4), (3, 0, 4), (2, 3, 0), (1, 1, 1), (1, 40, 30), (20, 30, 40)]
CASES: dict[str, tuple[Build, list[Any]]] = {
    **{f"product {s}": (product, [normal(s[0], s[1]), normal(s[1], s[2])]) for s in SIZES},
    "reversed rows": (reversed_rows, [normal(2, 30, 20)]),
    "integers": (integers, [np.array([5, -7, 3, 0, 8, -2, 9], "i4"), np.array([0, -1, 3, 2, -5, 7, 1], "i4"), np.array([0, 255, 3, 4, 128, 7, 1], "u1")]),
    "gathers": (gathers, [normal(5, 4), np.array([0, 4, 4, -1, 2])]),
    "repeated outputs": (repeated, [1.3]),
    "constant arrays": (arrays_in_the_graph, [normal(6, 12)]),
    "attention": (attention, [normal(2, 3, 5, 8), normal(2, 3, 5, 8) + 1, normal(2, 3, 5, 8) - 1]),
    "heads": (heads, [normal(2, 5, 12)]),
    "folds": (folds, [normal(4, 3)]),
    "folds of NaN and infinity": (folds, [np.array([[np.nan, 1], [2, np.inf]])]),
    "folds of zeros": (folds, [np.array([[0.0, 0], [2, 0]])]),
    "labels": (labels, [normal(5, 4), np.array([0, 3, -100, 2, 1])]),
    "rows of -inf": (rows, [np.array([[1.0, 2, -np.inf, 0], [-np.inf] * 4])]),
    "random numbers": (draws, []),
    "moves": (moves, [normal(6)]),
    "padded alone": (padded_alone, [normal(1, 1)]),
    "views reduced": (views_reduced, [normal(2, 3, 4)]),
    "numbers in other shapes": (numbers_in_other_shapes, [normal(1, 1)]),
}  # fmt: skip


@pytest.mark.parametrize("fastmath", [False, True])
@pytest.mark.parametrize("name", CASES)
def test_compiled_is_interpreted(name: str, fastmath: bool) -> None:
    build, arrays = CASES[name]
    if fastmath and ("inf" in name or "NaN" in name):
        pytest.skip("fastmath may drop infinities and NaN")
    results = []
    for backend in ("numba", "numpy"):
        inputs, outputs = build(gx.Graph("edge", float_dtype="float64"))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            results.append(gx.compile(inputs, outputs, backend=backend, fastmath=fastmath)(*arrays))
    for k, (a, b) in enumerate(zip(*results, strict=True)):
        a, b = np.asarray(a), np.asarray(b)
        assert (a.dtype, a.shape) == (b.dtype, b.shape), k
        np.testing.assert_allclose(a.astype(float), b.astype(float), rtol=1e-9, atol=1e-12, err_msg=str(k))


def test_an_empty_list_takes_nothing() -> None:
    x = gx.Graph("empty").input("x", (4, 5))
    assert x[[]].shape == (0, 5)


@pytest.mark.parametrize("backend", ["numba", "numpy"])
def test_sizes_below_zero_are_told(backend: str) -> None:
    g = gx.Graph("g")
    x = g.input("x", ("n",))
    n = x.shape[0]
    wide = gx.broadcast_to(gx.reshape(x, (1, n)), (n - 5, n))
    for out, shape in (wide, (0, 5)), (gx.sum(wide), ()):
        exe = gx.compile([x], out, backend=backend)
        assert np.shape(exe(np.ones(5, "f"))) == shape
        with pytest.raises(
            gx.InputShapeError, match="broadcast_to: sizes do not fit: expected n - 4 > 0, found -2 and 0"
        ):
            exe(np.ones(2, "f"))
    exe = gx.compile([x], gx.reshape(x, (n - 3, n - 4)), backend=backend)
    assert exe(np.ones(6, "f")).shape == (3, 2)
    with pytest.raises(gx.InputShapeError, match="reshape: sizes do not fit: expected n - 2 > 0, found 0 and 0"):
        exe(np.ones(2, "f"))


LENT: dict[str, tuple[Callable[[gx.Tensor, gx.Tensor], gx.Tensor], tuple[int, ...], tuple[int, ...]]] = {
    "sum": (lambda x, y: gx.zeros_like(x + y), (3, 4), (2, 4)),
    "its size": (lambda x, y: (x + y).shape[0] * gx.sum(x), (3, 4), (2, 4)),
    "its shape": (lambda x, y: gx.broadcast_to(gx.sum(x), (x * y).shape), (3, 4), (2, 4)),
    "product": (lambda x, y: gx.ones_like(x @ y), (3, 4), (5, 2)),
    "concatenation": (lambda x, y: gx.zeros_like(gx.concat([x, y], 1)), (3, 4), (2, 4)),
    "reshape": (lambda x, y: gx.zeros_like(gx.reshape(x + y, (7, -1))), (3, 4), (3, 4)),
    "row": (lambda x, y: gx.zeros_like((x + y)[5]), (3, 4), (3, 4)),
    "power": (lambda x, y: (x @ y) ** 0, (3, 4), (5, 2)),
    "extreme": (lambda x, y: gx.zeros_like(gx.max(x + y)), (0, 4), (0, 4)),
    "gradient": (lambda x, y: gx.grad(gx.sum(x + y), x), (3, 4), (2, 4)),
    "gradient of a product": (lambda x, y: gx.grad(gx.sum(x @ y), x), (3, 4), (5, 2)),
    "rows": (lambda x, y: gx.zeros_like(gx.take(x, gx.astype(y, "int64"))), (3, 4), (2, 4)),
    "condition": (lambda x, y: gx.where(gx.take(x, gx.astype(y, "int64"))[0, 0] > 0, x, x), (3, 4), (2, 4)),
}


@pytest.mark.parametrize("backend", ["numba", "numpy"])
@pytest.mark.parametrize("what", LENT)
def test_what_only_lends_its_shape_is_tested(what: str, backend: str) -> None:
    """As NumPy, which has to compute it first, finds out that sizes or indices do not fit."""
    build, *shapes = LENT[what]
    g = gx.Graph("lent", float_dtype="float64")
    x, y = g.input("x", ("n", "k"), "float64"), g.input("y", ("m", "p"), "float64")
    out = build(x, y)
    exe = gx.compile([x, y], out, backend=backend, unused="ignore")
    with pytest.raises((gx.InputShapeError, gx.InputIndexError)) as caught:
        exe(*(np.full(shape, 9.0) for shape in shapes))
    assert caught.value.node in g and "test_edges.py" in str(caught.value)
    if not isinstance(caught.value, gx.InputIndexError) and backend == "numba":
        with pytest.raises(ValueError, match="do not fit"):
            exe.njit(*(np.full(shape, 9.0) for shape in shapes))


@pytest.mark.parametrize("backend", ["numba", "numpy"])
def test_rows_of_nothing(backend: str) -> None:
    for shape in ((2, 0), ("n", "k")):
        g = gx.Graph("nothing", float_dtype="float64")
        x = g.input("x", shape, "float64")
        values = [gx.softmax(x), gx.log_softmax(x), gx.logsumexp(x, 1), gx.logsumexp(x, 0), gx.softmax(x, 0)]
        slopes = [gx.grad(gx.sum(v), x) for v in values[:2]]
        found = gx.compile([x], [*values, *slopes], backend=backend)(np.ones((2, 0)))
        assert [v.shape for v in found] == [(2, 0), (2, 0), (2,), (0,), (2, 0), (2, 0), (2, 0)]
        assert (found[2] == -np.inf).all()
