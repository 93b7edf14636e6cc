"""Faults that users of PyTensor, Theano, Aesara and JAX met with loops, branches and ``vmap``: none is one of graphc."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import graphc as gx
from graphc.reference import evaluate

PYTENSOR, AESARA = "https://github.com/pymc-devs/pytensor/issues/", "https://github.com/aesara-devs/aesara/issues/"
THEANO, JAX = "https://github.com/Theano/Theano/issues/", "https://github.com/jax-ml/jax/issues/"

# What is computed from which inputs, beside what is right.
Tried = tuple[list[gx.Tensor], list[tuple[gx.Tensor, Any]], list[Any]]
KNOWN: dict[str, Callable[[gx.Graph], Tried]] = {}


def known(where: str) -> Callable[[Callable[[gx.Graph], Tried]], Callable[[gx.Graph], Tried]]:
    """Notes a case under the address of the issue."""

    def note(build: Callable[[gx.Graph], Tried]) -> Callable[[gx.Graph], Tried]:
        KNOWN[where] = build
        return build

    return note


@known(PYTENSOR + "1772")
def third_derivative(g: gx.Graph) -> Tried:
    """The third derivative of a loop that squares was ten times too large."""
    x = g.input("x")
    at, out = x, gx.scan(lambda c, _: (c**2, None), x, length=4)[0]
    for _ in range(3):
        out = gx.grad(out, at)
    return [x], [(out, 16 * 15 * 14 * 0.95**13)], [0.95]


@known(PYTENSOR + "2217")
def loop_that_stops_early(g: gx.Graph) -> Tried:
    """Gradients of rows that a loop read before it stopped lay a row too late."""
    rows, most = g.input("rows", ("n",)), g.input("most")
    _, total = gx.while_loop(
        lambda c: c[1] < most, lambda c: (c[0] + 1, c[1] + rows[c[0]] ** 2), (0, 0.0), max_steps=10
    )
    return [rows, most], [(total, 14.0), (gx.grad(total, rows), [2, 4, 6, 0, 0])], [np.arange(1.0, 6.0), 10.0]


@known(PYTENSOR + "1288")
def no_steps(g: gx.Graph) -> Tried:
    """A loop of no steps took one, where only its last carry was used."""
    x, n = g.input("x", (2,)), g.input("n", ("n",))
    last, _ = gx.scan(lambda c, _: (c + 1, c), x, n)
    return [x, n], [(last, [0.0, 1]), (gx.grad(gx.sum(last**2), x), [0.0, 2])], [np.arange(2.0), np.zeros(0)]


@known(PYTENSOR + "1287")
def shape_of_no_rows(g: gx.Graph) -> Tried:
    """What no steps gave had the shape (0, 0) in place of (0, 3)."""
    x, n = g.input("x", ("m",)), g.input("n", ("n",))
    ys = gx.scan(lambda c, _: (c + 1, c), x, n)[1]
    joined = gx.concat([ys, gx.expand_dims(x, 0)])
    return [x, n], [(ys, np.zeros((0, 3))), (joined, [[1.0, 2, 3]])], [np.arange(1.0, 4.0), np.zeros(0)]


@known(PYTENSOR + "328")
def three_values_back(g: gx.Graph) -> Tried:
    """A recurrence that looks three results back indexed out of its buffer."""
    rows = np.random.default_rng(0).integers(0, 2, (10, 4))
    x = g.input("x", (10, 4), "int64")

    def step(past: Any, row: Any) -> Any:
        new = gx.where((past[0] | past[1] | past[2]) > 0, 0, row)
        return (past[1], past[2], new), new

    nothing = g.zeros((4,), "int64")
    ys = gx.scan(step, (nothing, nothing, nothing), x)[1]
    expected = np.zeros((13, 4), int)
    for t, row in enumerate(rows):
        expected[t + 3] = np.where(expected[t : t + 3].any(0), 0, row)
    return [x], [(ys, expected[3:])], [rows]


@known(PYTENSOR + "2252")
def two_loops_alike(g: gx.Graph) -> Tried:
    """Two loops of one step function, merged, mixed up a carry that only holds the last row with another one."""
    x, a, starts = g.input("x", (6,)), g.input("a"), (0.3, -1.0)

    def step(c: Any, row: Any) -> Any:
        mu = a + 0.5 * c[1] + 0.1 * c[0]
        return (mu, row), mu

    rows, made = np.random.default_rng(0).normal(size=6), []
    for start in starts:
        y, lag, mus = start, 0.0, []
        for row in rows:
            y, lag = 2.0 + 0.5 * lag + 0.1 * y, row
            mus.append(y)
        made.append(np.array(mus))
    pairs = [(gx.scan(step, (start, 0.0), x)[1], mus) for start, mus in zip(starts, made, strict=True)]
    return [x, a], pairs, [rows, 2.0]


@known(PYTENSOR + "1425")
def loops_of_many(g: gx.Graph) -> Tried:
    """A loop could not be vectorised."""
    x = g.input("x", ("n",))
    out = gx.vmap(lambda v: gx.scan(lambda c, _: (c + 1, c), v, length=10))(x)
    return [x], [(out[0], [11.0, 12]), (out[1], np.arange(10) + np.array([[1.0], [2.0]]))], [[1.0, 2]]


@known(PYTENSOR + "1510")
def branches_of_many(g: gx.Graph) -> Tried:
    """A branch could not be vectorised, with a side that all examples share."""
    x, limit = g.input("x", ("n", 1)), g.input("limit")
    out = gx.vmap(lambda v: gx.cond(limit >= 0, lambda v: v, lambda v: gx.zeros_like(v), v))(x)
    return [x, limit], [(out, [[1.0], [2.0]]), (gx.grad(gx.sum(out), x), [[1.0], [1.0]])], [[[1.0], [2.0]], 0.0]


@known(AESARA + "579")
def outer_draw(g: gx.Graph) -> Tried:
    """A random number of the graph around a loop changed from step to step."""
    drawn = gx.random.normal(g.random_key(3), ())
    ys = gx.scan(lambda c, _: (c + drawn, drawn), 0.0, length=4)
    return [], [(ys[1] - drawn, np.zeros(4)), (ys[0] - 4 * drawn, 0.0)], []


@known(THEANO + "3276")
def loop_from_the_first_row(g: gx.Graph) -> Tried:
    """The gradient of a loop within a loop, each begun from the first row, asked for a loop of no steps."""
    x, w = g.input("x", (3, 2, 2)), g.input("w", (2, 2))

    def features(c: Any, rows: Any) -> Any:
        return c, gx.scan(lambda h, row: (h @ w + row, None), rows[0], rows[1:])[0]

    loss = gx.sum(gx.scan(features, None, x)[1] ** 2)
    at, by = np.arange(12.0).reshape(3, 2, 2) / 7, np.array([[0.5, 1], [-1, 2]])
    h = at[:, 0] @ by + at[:, 1]
    return [x, w], [(loss, np.sum(h**2)), (gx.grad(loss, w), 2 * at[:, 0].T @ h)], [at, by]


@known(THEANO + "2619")
def one_loop_after_another(g: gx.Graph) -> Tried:
    """The gradient of a loop of losses over a loop of softmax failed."""
    x, labels, w = g.input("x", (4, 3, 2)), g.input("labels", (4, 3), "int64"), g.input("w", (2, 2))
    likely = gx.scan(lambda c, row: (c, gx.softmax(row @ w)), None, x)[1]

    def step(c: Any, t: Any) -> Any:
        return c, -gx.mean(gx.log(gx.take_along_axis(t[0], gx.expand_dims(t[1], 1), 1)))

    losses = gx.scan(step, None, (likely, labels))[1]
    at, of = np.random.default_rng(0).normal(size=(4, 3, 2)), np.random.default_rng(1).integers(0, 2, (4, 3))
    by = np.array([[0.5, 1], [-1, 2]])
    p = np.exp(at @ by) / np.exp(at @ by).sum(-1, keepdims=True)
    slope = np.einsum("tni,tnj->ij", at, p - np.eye(2)[of]) / 12
    return [x, labels, w], [(gx.grad(gx.mean(losses), w), slope)], [at, of, by]


@known(JAX + "5900")
def branch_in_a_loop(g: gx.Graph) -> Tried:
    """A branch in a loop, whose condition is a carry, gave three times the gradient."""
    x = g.input("x")

    def step(c: Any, _: Any) -> Any:
        return gx.cond(c[1], lambda v: (v * x, v * x < 50), lambda v: (v, False), c[0]), None

    out = gx.scan(step, (1.0, True), length=6)[0][0]
    return [x], [(out, 81.0), (gx.grad(out, x), 108.0)], [3.0]


@known(JAX + "1082")
def carry_not_used(g: gx.Graph) -> Tried:
    """A gradient failed where one of two carries led nowhere."""
    p = g.input("p")
    last, _ = gx.scan(lambda c, _: ({k: v + c["a"] for k, v in c.items()}, 0.0), {"a": p, "b": 0.0}, length=2)
    return [p], [(last["a"] * p, 36.0), (gx.grad(last["a"] * p, p), 24.0)], [3.0]


@known(JAX + "1361")
def carry_that_is_replaced(g: gx.Graph) -> Tried:
    """A gradient failed where a carry never changes, another is replaced by what the loop captured."""
    x = g.input("x")
    (n, new, old), _ = gx.scan(lambda c, _: ((c[0] + 1, c[1], x), None), (0, x, 0.0), length=10)
    return [x], [(n, 10), (gx.grad(new * old, x), 6.0)], [3.0]


@known(JAX + "9567")
def constant_carry(g: gx.Graph) -> Tried:
    """The derivative by what a loop captured was lost where the first carry was a constant."""
    x = g.input("x")
    out = gx.scan(lambda y, _: (y * x, None), 1.0, length=1)[0]
    return [x], [(gx.jvp(out, x, 2.0), 2.0), (gx.grad(out, x), 1.0)], [3.0]


@known(JAX + "753")
def gradient_of_rows(g: gx.Graph) -> Tried:
    """The derivative by the rows of a loop was 0 in reverse mode."""
    rows = g.input("rows", (5,))
    ys = gx.scan(lambda x, n: (x + 2 * n, x + 2 * n), 0.0, rows)[1]
    both = [gx.jacobian(ys, rows, mode=mode) for mode in ("forward", "reverse")]
    return [rows], [(t, 2 * np.tri(5)) for t in both], [np.arange(5.0)]


@known(JAX + "13710")
def gradient_after_a_stopped_loop(g: gx.Graph) -> Tried:
    """What came after a loop whose gradient was stopped had none either."""
    x, by = g.input("x"), g.input("by")
    last = gx.stop_gradient(gx.scan(lambda c, _: (by * c, None), x, length=5)[0])
    return [x, by], [(gx.grad(by * last, by), 32.0)], [1.0, 2.0]


@known(JAX + "2960")
def while_in_two_vmaps(g: gx.Graph) -> Tried:
    """A while loop, whose test belongs to one vmap and whose carry to another one."""
    x, y = g.input("x", (3,)), g.input("y", (2,))

    def f(a: Any, b: Any) -> Any:
        return gx.while_loop(lambda c: c[0] < a, lambda c: (c[0] + 1, c[1] + b), (0.0, b))[1]

    out = gx.vmap(lambda a: gx.vmap(lambda b: f(a, b))(y))(x)
    at, by = np.array([1.0, 3.0, 0.0]), np.array([0.5, 2.0])
    return [x, y], [(out, np.outer(at + 1, by))], [at, by]


@known(JAX + "9046")
def dtype_from_carry_to_carry(g: gx.Graph) -> Tried:
    """Numbers as carries took a row's dtype one after another, and a loop of three failed."""
    rows = g.input("rows", (5,), "float32")
    last, _ = gx.scan(lambda c, x: ([c[0] + x, c[1] + c[0], c[2] + c[1]], None), [0.0, 0.0, 0.0], rows)
    assert [t.dtype for t in last] == ["float64"] * 3, "a number is of the graph's dtype, whatever rows are"
    return [rows], list(zip(last, (5.0, 10.0, 10.0), strict=True)), [np.ones(5, "f4")]


@known(JAX + "22045")
def integer_beside_a_float(g: gx.Graph) -> Tried:
    """The backward pass mixed up an integer carry with a float one."""
    x, t = g.input("x"), g.input("t", (10,), "int64")
    ys = gx.scan(lambda c, t: (c, c[1] + t + c[0]), (0, x), t)[1]
    return [x, t], [(gx.grad(gx.sum(ys), x), 10.0)], [1.0, np.arange(10)]


@known(JAX + "757")
def jacobian_with_an_index(g: gx.Graph) -> Tried:
    """Forward mode of a loop over integers, with a gradient inside, found no fixed point."""
    x, t = g.input("x"), g.input("t", (3,), "int64")
    last = gx.scan(lambda c, i: (gx.grad(gx.cos(c), c), i), x, t)[0]
    a = 0.5
    b = -np.sin(a)
    c = -np.sin(b)
    slope = -np.cos(c) * np.cos(b) * np.cos(a)
    return (
        [x, t],
        [(last, -np.sin(c)), *((gx.jacobian(last, x, mode=m), slope) for m in ("forward", "reverse"))],
        [
            a,
            np.arange(3),
        ],
    )


@known(JAX + "650")
def forward_mode_of_a_while_loop(g: gx.Graph) -> Tried:
    """There was no Jacobian of a loop of unknown length."""
    x = g.input("x", (2,))
    out = gx.while_loop(lambda c: gx.sum(c) < 100, lambda c: c * x, x, max_steps=20)
    slope = np.array([5 * 2.0**4, 5 * 3.0**4])
    pairs = [(out, [32.0, 243.0]), (gx.jvp(out, x, [1.0, 1.0]), slope)]
    return [x], [*pairs, (gx.jacobian(out, x, mode="forward"), np.diag(slope))], [[2.0, 3.0]]


@known(JAX + "20601")
def side_not_taken(g: gx.Graph) -> Tried:
    """A NaN of the side not taken came through the gradient of a choice, and of a branch under vmap."""
    beta, x = g.input("beta"), g.input("x", (2,))
    chosen = gx.where(g.constant([False, False]), beta * x, 1.0)
    branch = gx.vmap(lambda v: gx.cond(v > 0, lambda v: gx.sqrt(v) * beta, lambda v: beta, v))(x)
    at = np.array([np.nan, 4.0])
    pairs = [(chosen, [1.0, 1.0]), (gx.grad(gx.sum(chosen), beta), 0.0)]
    pairs += [(branch, [2.0, 4.0]), (gx.grad(gx.sum(branch), x), [0.0, 0.5])]
    return [beta, x], pairs, [2.0, at]


@known(JAX + "9159")
def norm_at_zero(g: gx.Graph) -> Tried:
    """A norm made safe by a branch had a NaN for a gradient under vmap."""
    x = g.input("x", (2, 3))

    def unit(v: Any) -> Any:
        size = gx.sum(v * v)
        return gx.cond(size == 0, lambda v: gx.zeros_like(v), lambda v: v / gx.sqrt(gx.sum(v * v)), v)

    slope = gx.vmap(lambda v: gx.grad(gx.sum(unit(v)), v))(x)
    at = np.array([[0.0, 0, 0], [3, 0, 4]])
    return [x], [(slope, [[0.0, 0, 0], [0.2 - 21 / 125, 0.2, 0.2 - 28 / 125]])], [at]


@known(JAX + "4173")
def gradient_of_ones_own_in_a_loop(g: gx.Graph) -> Tried:
    """A function with a gradient of its own, under vmap, grad and a loop together."""
    x = g.input("x", (10, 3))
    total = gx.custom_gradient(gx.sum, lambda cs, xs, ys: [cs[0] * gx.ones_like(xs[0]) * 3.0])

    def rows(row: Any) -> Any:
        return gx.sum(gx.vmap(lambda v: total(gx.stack([v, v])))(row))

    loss = gx.scan(lambda c, row: (c + rows(row), None), 0.0, x)[0]
    slopes = gx.map(lambda row: gx.grad(rows(row), row), x)
    return (
        [x],
        [(loss, 60.0), (gx.grad(loss, x), np.full((10, 3), 6.0)), (slopes, np.full((10, 3), 6.0))],
        [np.ones((10, 3))],
    )


@known(JAX + "2264")
def gradients_of_branches(g: gx.Graph) -> Tried:
    """vmap of the gradient of a branch failed."""
    x = g.input("x", (4,))
    slopes = gx.vmap(lambda v: gx.grad(gx.cond(v > 0, lambda v: v**2, lambda v: v**3, v), v))(x)
    at = np.array([-1.0, -0.5, 0.5, 1.0])
    return [x], [(slopes, np.where(at > 0, 2 * at, 3 * at**2))], [at]


@known(JAX + "34228")
def slice_out_of_range(g: gx.Graph) -> Tried:
    """The gradient of slices that begin too late, which move back into range, was lost under vmap."""
    x, at = g.input("x", (5,)), g.input("at", (3,), "int64")
    out = gx.vmap(lambda i: gx.dynamic_slice(x, [i], [2]))(at)
    return (
        [x, at],
        [(out, [[0, 1.0], [3, 4], [3, 4]]), (gx.grad(gx.sum(out), x), [1, 1, 0, 2, 2])],
        [
            np.arange(5.0),
            [0, 3, 9],
        ],
    )


@known(JAX + "40849")
def slice_of_a_slice(g: gx.Graph) -> Tried:
    """Two slices merged into one read other elements where the first began out of range."""
    x, at = g.input("x", (10,)), g.input("at", (3, 2), "int64")
    read = gx.map(lambda ij: gx.dynamic_slice(gx.dynamic_slice(x, [ij[0]], [4]), [ij[1]], [1]), at)
    return [x, at], [(read, [[6.0]] * 3)], [np.arange(10.0), [[9, 0], [3, 5], [6, 0]]]


@known(JAX + "13002")
def rows_written_by_index(g: gx.Graph) -> Tried:
    """An array as a carry, written at an index that is a carry too, read at other ones."""
    x, at = g.input("x", (3,)), g.input("at", (2,), "int64")

    def step(c: Any, _: Any) -> Any:
        i, ys = c
        return (i + 1, ys.at[i].set(x[at[i]] ** 2)), None

    (_, ys), _ = gx.scan(step, (0, gx.zeros_like(x)[:2]), length=2)
    return [x, at], [(ys, [9.0, 16.0]), (gx.grad(gx.sum(ys), x), [6.0, 0, 8])], [[3.0, 1, 4], [0, 2]]


@pytest.mark.filterwarnings("ignore:.*drawn from without updates")
@pytest.mark.parametrize("where", KNOWN)
def test_what_others_met(where: str) -> None:
    """As interpreted and as compiled."""
    inputs, pairs, feeds = KNOWN[where](gx.Graph(float_dtype="float64"))
    tensors = [t for t, _ in pairs]
    arrays = [np.asarray(v, t.dtype) for t, v in zip(inputs, feeds, strict=True)]
    for values in (
        evaluate(tensors, {t.name: v for t, v in zip(inputs, arrays, strict=True)}),
        gx.compile(inputs, tensors)(*arrays),
    ):
        for (_, expected), value in zip(pairs, values, strict=True):
            np.testing.assert_allclose(value, expected, rtol=1e-9, atol=1e-12)
            assert np.shape(value) == np.shape(expected)


def test_memory_of_gradients() -> None:
    """https://github.com/jax-ml/jax/issues/3186: the gradient kept a matrix for each step that it had no use for."""
    g = gx.Graph(float_dtype="float64")
    x, ys, z = g.input("x"), g.input("ys", ("n",)), g.input("z", (100, 100))
    added = gx.mean(gx.scan(lambda c, y: (c + x * (y + z), None), gx.zeros_like(z), ys)[0])
    bent = gx.mean(gx.scan(lambda c, y: (gx.tanh(c + y), None), x * z, ys, checkpoint_every=32)[0])
    few, all = (gx.compile([x, ys, z], [y, gx.grad(y, x)]) for y in (added, bent))
    assert few.memory(n=1000) == few.memory(n=10)
    assert all.memory(n=1000) < 100 * 100 * 100 * 8, "64 carries, not 1000"
