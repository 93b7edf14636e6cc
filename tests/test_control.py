"""Loops and branches: against unrolled graphs, NumPy and finite differences; compiled, interpreted, in every order."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from itertools import product
from typing import Any

import numpy as np
import pytest
from op_case import chessboard

import graphc as gx
from graphc.ir.verify import verify
from graphc.reference import evaluate

Arrays = dict[str, np.ndarray]


def agree(inputs: list[Any], pairs: list[tuple[Any, Any]], feeds: list[Any], tolerance: float = 1e-12) -> None:
    """Pairs of tensors are equal: compiled, interpreted after rewriting and before."""
    firsts, seconds = [a for a, _ in pairs], [b for _, b in pairs]
    verify(firsts[0].graph)
    given = {t.name: np.asarray(v, t.dtype) for t, v in zip(inputs, feeds, strict=True)}
    expected = evaluate(seconds, given)
    found = [evaluate(firsts, given)]
    found += [gx.compile(inputs, firsts, backend=backend, unused="ignore")(*feeds) for backend in ("numpy", "numba")]
    for values in found:
        for t, value, other in zip(firsts, values, expected, strict=True):
            assert value.dtype == other.dtype, t.name
            np.testing.assert_allclose(value, other, rtol=tolerance, atol=tolerance, err_msg=t.name)


def steps(f: Any, carry: Any, xs: Any, n: int, reverse: bool = False) -> tuple[Any, Any]:
    """The same as a scan, written out, with ``xs`` and what ``f`` gives tensors."""
    ys: list[Any] = [None] * n
    for t in reversed(range(n)) if reverse else range(n):
        carry, ys[t] = f(carry, None if xs is None else xs[t])
    return carry, gx.stack(ys)


def draws(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).normal(size=shape)


SHAPES = [(), (3,), (40,)]  # in registers, in a cell of the stack, in two places by turns


@pytest.mark.parametrize("how, every", chessboard(list(product([False, True], SHAPES)), [None, 2, 3, 6, 7]))
def test_a_scan_is_its_steps(every: int | None, how: tuple[bool, tuple[int, ...]]) -> None:
    reverse, shape = how
    g = gx.Graph(float_dtype="float64")
    n = 6
    xs, h, w = g.input("xs", (n, *shape)), g.input("h", shape), g.input("w", shape)

    def f(h: Any, x: Any) -> Any:
        h = gx.tanh(w * h + x)
        return h, h * gx.sin(x)

    pairs = []
    for last, ys in (gx.scan(f, h, xs, reverse=reverse, checkpoint_every=every), steps(f, h, xs, n, reverse)):
        loss = gx.sum(last) + gx.sum(ys * ys)
        first = gx.grad(loss, [xs, h, w])
        second = gx.grad(sum(gx.sum(gx.sin(t)) for t in first), [xs, h, w])
        pairs.append([last, ys, *first, *second])
    agree([xs, h, w], list(zip(*pairs, strict=True)), [draws(n, *shape), draws(*shape, 1)[..., 0], draws(1, *shape)[0]])


def test_a_scan_of_any_length() -> None:
    g = gx.Graph(float_dtype="float64")
    xs, h = g.input("xs", ("n", 2)), g.input("h", (2,))
    last, ys = gx.scan(lambda h, x: (h * 0.5 + gx.exp(x), h[0]), h, xs)
    loss = gx.sum(last * last) + gx.sum(ys)
    exe = gx.compile([xs, h], [last, ys, *gx.grad(loss, [xs, h])])
    for n in (0, 1, 2, 9):
        x, start = draws(n, 2), np.array([1.0, 2.0])
        expected, made = start, []
        for row in x:
            made.append(expected[0])
            expected = expected * 0.5 + np.exp(row)
        found = exe(x, start)
        np.testing.assert_allclose(found[0], expected)
        np.testing.assert_allclose(found[1], made)
        assert found[2].shape == (n, 2)
        if n == 0:
            np.testing.assert_array_equal(found[3], 2 * start)


def test_carries_in_any_structure() -> None:
    g = gx.Graph(float_dtype="float64")
    a, xs, m = g.input("a"), g.input("xs", (5,)), g.input("m", (5,), "int64")

    def f(c: Any, x: Any) -> Any:
        big = gx.maximum(c["best"][0], x["v"])
        return {"count": c["count"] + x["m"], "best": (big, None, [c["best"][2][0] * a + x["v"]])}, {
            "seen": (big, c["count"])
        }

    init = {"count": 0, "best": (-1e300, None, [a])}
    carry, ys = gx.scan(f, init, {"v": xs, "m": m})
    other = init | {"count": g.constant(0), "best": (g.constant(-1e300), None, [a])}
    seen = []
    for t in range(5):
        other, y = f(other, {"v": xs[t], "m": m[t]})
        seen.append(y["seen"])
    pairs = [
        (carry["count"], other["count"]),
        (carry["best"][0], other["best"][0]),
        (carry["best"][2][0], other["best"][2][0]),
        (ys["seen"][0], gx.stack([s[0] for s in seen])),
        (ys["seen"][1], gx.stack([s[1] for s in seen])),
    ]
    assert carry["best"][1] is None
    for by in (a, xs):
        losses = [c["best"][0] * c["best"][2][0] for c in (carry, other)]
        pairs.append((gx.grad(losses[0], by), gx.grad(losses[1], by)))
    agree([a, xs, m], pairs, [0.7, draws(5), np.arange(5)])


def test_no_xs_no_carry_and_unrolled_steps() -> None:
    g = gx.Graph(float_dtype="float64")
    a, xs = g.input("a"), g.input("xs", ("n", 3))
    powers, none = gx.scan(lambda c, _: (c * a, None), 1.0, length=7, unroll=3)
    assert none is None
    carry, rows = gx.scan(lambda c, x: (c, x * a), None, xs)
    assert carry is None
    whole = gx.map(lambda x: {"sum": gx.sum(x) * a}, xs)["sum"]
    pairs = [(powers, a**7), (rows, xs * a), (whole, gx.sum(xs, axis=1) * a), (gx.grad(powers, a), 7 * a**6)]
    pairs.append((gx.grad(gx.sum(whole * whole), xs), gx.grad(gx.sum((gx.sum(xs, axis=1) * a) ** 2), xs)))
    agree([a, xs], pairs, [1.3, draws(4, 3)])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_loops_in_loops_and_branches(dtype: str) -> None:
    g = gx.Graph(float_dtype=dtype)
    xs, w = g.input("xs", (4, 3)), g.input("w", (3,))

    def inner(c: Any, x: Any) -> Any:
        return gx.cond(x > 0, lambda c, x: c * x + w[0], lambda c, x: c - w[1] * x * x, c, x), c * w[2]

    def f(c: Any, row: Any) -> Any:
        c, ys = gx.scan(inner, c, row)
        return c, gx.sum(ys)

    def plain(c: Any, row: Any) -> Any:
        parts = []
        for t in range(3):
            parts.append(c * w[2])
            c = gx.where(row[t] > 0, c * row[t] + w[0], c - w[1] * row[t] * row[t])
        return c, gx.sum(gx.stack(parts))

    pairs = []
    for last, ys in (gx.scan(f, 0.5, xs), steps(plain, g.constant(0.5), xs, 4)):
        first = gx.grad(last * gx.sum(ys), [xs, w])
        second = gx.grad(gx.sum(first[0] * first[0]), [xs, w])
        pairs.append([last, ys, *first, *second])
    agree([xs, w], list(zip(*pairs, strict=True)), [draws(4, 3), draws(3)], 1e-12 if dtype == "float64" else 2e-4)


def test_a_while_loop_counts_its_steps() -> None:
    g = gx.Graph(float_dtype="float64")
    x, a = g.input("x"), g.input("a")
    y, total = gx.while_loop(lambda c: c[0] < 5.0, lambda c: (c[0] * a, c[1] + gx.sin(c[0])), (x, 0.0), max_steps=20)
    z, other = x, g.constant(0.0)
    for _ in range(6):
        z, other = z * a, other + gx.sin(z)
    pairs = []
    for loss in (y * total, z * other):
        first = gx.grad(loss, [x, a])
        pairs.append([loss, *first, *gx.grad(first[0] * first[1], [x, a])])
    agree([x, a], list(zip(*pairs, strict=True)), [1.1, 1.3], 1e-11)


def test_a_while_loop_ends_at_its_most_steps() -> None:
    g = gx.Graph("collatz")
    n = g.input("n", (), "int64")
    step = lambda c: (gx.where(c[0] % 2 == 0, c[0] // 2, 3 * c[0] + 1), c[1] + 1)  # noqa: E731
    count = gx.while_loop(lambda c: c[0] != 1, step, (n, 0), max_steps=20)[1]
    for backend in ("numba", "numpy"):
        exe = gx.compile([n], count, backend=backend)
        assert [int(exe(k)) for k in (1, 2, 3, 7, 8)] == [0, 1, 7, 16, 3]
        with pytest.raises(
            gx.NumericalError, match=r"while_loop\w*: goes on after max_steps = 20\n  at test_control.py"
        ):
            exe(27)
    with pytest.raises(gx.GradientError, match="needs max_steps"):
        x = g.input("x")
        gx.grad(gx.while_loop(lambda x: x < 3, lambda x: x * 2, x), x)


def test_a_branch_runs_one_side() -> None:
    g = gx.Graph(float_dtype="float64")
    x, i = g.input("x"), g.input("i", (), "int64")
    table = g.parameter("table", np.arange(3.0))
    y = gx.cond(x > 0, lambda: table[0] * gx.sqrt(x), lambda: gx.take(table, i) * x)
    exe = gx.compile([x, i], [y, *gx.grad(y, [x, table])])
    found = exe(4.0, 99)  # an index that only the other side looks at
    assert found[0] == 0 and found[1] == 0
    np.testing.assert_array_equal(found[2], [2, 0, 0])
    found = exe(-4.0, 2)
    assert found[0] == -8 and found[1] == 2
    np.testing.assert_array_equal(found[2], [0, 0, -4])
    with pytest.raises(gx.InputIndexError, match="index 99 is not in"):
        exe(-4.0, 99)


def test_the_gradient_of_the_side_that_is_not_taken_is_nothing() -> None:
    g = gx.Graph(float_dtype="float64")
    x = g.input("x")
    y = gx.cond(x > 0, lambda x: gx.log(x), lambda x: x, x)
    slope = gx.grad(y, x)
    exe = gx.compile([x], [slope, gx.grad(slope, x)])
    assert [float(v) for v in exe(0.0)] == [1.0, 0.0]
    assert [float(v) for v in exe(2.0)] == [0.5, -0.25]


def test_an_index_out_of_range_inside_a_loop() -> None:
    g = gx.Graph(float_dtype="float64")
    table, ids = g.variable("table", np.arange(4.0)), g.input("ids", ("n",), "int64")
    last, _ = gx.scan(lambda c, i: (c + gx.take(table, i), None), 0.0, ids)
    for backend in ("numba", "numpy"):
        exe = gx.compile([ids], last, {table: table + last}, backend=backend)
        with pytest.raises(
            gx.InputIndexError, match=r"index 7 (at position 0 )?is not in \[-?\d, 4\)\n  at test_control.py"
        ):
            exe([1, 7, 2])
        np.testing.assert_array_equal(g.state["table"], np.arange(4.0))


def test_random_numbers_differ_at_each_step() -> None:
    g = gx.Graph(float_dtype="float64")
    key, n = g.random_key(3), g.input("n", ("n",))

    def f(c: Any, _: Any) -> Any:
        return c + gx.random.normal(key, (2,))[0], gx.random.uniform(key, (3,))

    last, ys = gx.scan(f, 0.0, n)
    again, same = gx.scan(lambda c, x: f(c, x), 0.0, n, checkpoint_every=2)
    nested = gx.map(lambda _: gx.scan(f, 0.0, n)[1], n)
    for backend in ("numba", "numpy"):
        exe = gx.compile([n], [last, ys, nested], {key: key + np.array([0, 1])}, backend=backend)
        first = exe(np.zeros(4))
        assert len(np.unique(first[1])) == 12 and len(np.unique(first[2])) == 48
        second = exe(np.zeros(4))
        assert not np.isin(first[1], second[1]).any()
    g.state["key"] = [3, 0]
    results = [gx.compile([n], [last, ys], {key: key}, backend=backend)(np.zeros(5)) for backend in ("numba", "numpy")]
    for a, b in zip(*results, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("shape", [(2,), pytest.param((), marks=pytest.mark.slow)])
def test_gradients_have_the_random_numbers_of_the_steps(shape: tuple[int, ...]) -> None:
    g = gx.Graph(float_dtype="float64")
    key, n = g.random_key(3), g.input("n", ("n",))
    loss = gx.sum(gx.scan(lambda c, x: (c * gx.random.uniform(key, shape), c), gx.sum(n) * np.ones(shape), length=3)[1])
    slope = gx.grad(loss, n)
    value, found = gx.compile([n], [loss, slope], {key: key})(np.array([2.0, 1.0]))
    np.testing.assert_allclose(found, value / 3)  # the same numbers as forward


def test_gradients_inside_a_body() -> None:
    g = gx.Graph(float_dtype="float64")
    w, xs = g.input("w", (2,)), g.input("xs", (5, 2))

    def descend(c: Any, x: Any) -> Any:
        loss = gx.sum((gx.tanh(w) * c - x) ** 2)
        return c - 0.1 * gx.grad(loss, c), gx.grad(loss, w)

    def written(c: Any, x: Any) -> Any:
        rest = 2.0 * (gx.tanh(w) * c - x)
        return c - 0.1 * rest * gx.tanh(w), rest * c * (1.0 - gx.tanh(w) ** 2)

    pairs = []
    for last, ys in (gx.scan(descend, w * 0.5, xs), steps(written, w * 0.5, xs, 5)):
        pairs.append([last, ys, *gx.grad(gx.sum(last) + gx.sum(ys), [w, xs])])
    agree([w, xs], list(zip(*pairs, strict=True)), [draws(2), draws(5, 2)])


def test_a_network_from_step_to_step() -> None:
    g = gx.Graph(float_dtype="float32")
    n, width = 7, 16
    xs, wx, wh = g.input("xs", (n, "batch", 5)), g.input("wx", (5, 4 * width)), g.input("wh", (width, 4 * width))

    def cell(carry: Any, x: Any) -> Any:
        h, c = carry
        i, f, o, z = gx.split(x @ wx + h @ wh, 4, axis=-1)
        c = gx.sigmoid(f) * c + gx.sigmoid(i) * gx.tanh(z)
        h = gx.sigmoid(o) * gx.tanh(c)
        return (h, c), h

    batch = xs.shape[1]
    zero = gx.zeros((batch, width), graph=g)
    pairs = []
    for (h, c), ys in (gx.scan(cell, (zero, zero), xs), steps(cell, (zero, zero), xs, n)):
        pairs.append([h, c, ys, *gx.grad(gx.sum(ys * ys) + gx.sum(c), [xs, wx, wh])])
    feeds = [draws(n, 20, 5), draws(5, 4 * width) * 0.3, draws(width, 4 * width) * 0.3]
    agree([xs, wx, wh], list(zip(*pairs, strict=True)), [f.astype(np.float32) for f in feeds], 2e-5)


def test_threads_change_no_bits() -> None:
    g = gx.Graph()
    xs, w = g.input("xs", (3, "batch", 64)), g.input("w", (64, 64))
    last, _ = gx.scan(lambda h, x: (gx.tanh(h @ w + x), None), gx.zeros((xs.shape[1], 64), graph=g), xs)
    outputs = [last, *gx.grad(gx.sum(last * last), [xs, w])]
    feeds = [draws(3, 500, 64).astype("f"), draws(64, 64).astype("f") * 0.1]
    one, two = (gx.compile([xs, w], outputs, threads=k)(*feeds) for k in (1, 2))
    for a, b in zip(one, two, strict=True):
        assert a.tobytes() == b.tobytes()


def test_shards_make_all_steps_of_a_loop_over_rows() -> None:
    """Where a row of the carries depends on the same row of those before; bits and values are those of one thread."""
    g = gx.Graph()
    xs, w, h = g.input("xs", ("n", "batch", 64)), g.input("w", (64, 64)), g.input("h", ("batch", 64))
    cases: dict[str, tuple[Any, Any, bool]] = {
        "rows apart": (lambda h, x: (gx.tanh(h @ w + x), h), h, True),
        "two carries": (lambda c, x: ((gx.tanh(c[0] @ w + x), c[0] * 0.5 + c[1]), c[1]), (h, h), True),
        "in another order": (lambda h, x: (gx.tanh(h[::-1] @ w + x), h), h, False),
        "all rows together": (lambda h, x: (gx.tanh(h @ w + gx.mean(h, 0) + x), h), h, False),
    }
    for name, (f, first, apart) in cases.items():
        last, rows = gx.scan(f, first, xs)
        outputs = [last[0] if isinstance(last, tuple) else last, rows]
        outputs += gx.grad(gx.sum(outputs[0] * outputs[0]) + gx.sum(rows), [xs, w, h])
        one, two = (gx.compile([xs, w, h], outputs, threads=k) for k in (1, 2))
        peer = gx.compile([xs, w, h], outputs, backend="numpy")
        assert ("own, scratch, lo, hi, shard" in one.source) == apart, name
        for n, batch in ((5, 200), (2, 17), (0, 100), (3, 1)):
            feeds = [draws(n, batch, 64), draws(64, 64) * 0.1, draws(batch, 64)]
            arrays = [a.astype("f") for a in feeds]
            for a, b, c in zip(one(*arrays), two(*arrays), peer(*arrays), strict=True):
                assert a.tobytes() == b.tobytes(), name
                np.testing.assert_allclose(a, c, 1e-4, 1e-4 * np.abs(c).max(initial=1.0), err_msg=name)


def test_state_is_read_and_updated_around_a_loop() -> None:
    g = gx.Graph(float_dtype="float64")
    w, xs, y = g.parameter("w", np.zeros(3)), g.input("xs", ("n", 3)), g.input("y")
    last, _ = gx.scan(lambda c, x: (gx.tanh(c + gx.sum(w * x)), None), 0.0, xs)
    loss = (last - y) ** 2
    train = gx.compile([xs, y], loss, gx.optim.SGD(0.1).updates(loss))
    losses = [float(train(draws(6, 3), 0.5)) for _ in range(60)]
    assert losses[-1] < 1e-3 < losses[0]


MISUSES: list[tuple[str, Any, type[Exception], str]] = [
    ("shape", lambda g, x: gx.scan(lambda c, r: (gx.stack([c, c]), None), 0.0, x), gx.ShapeError, r"scan: carry begins as float32\[\], and a step makes float32\[2\]"),
    ("dtype", lambda g, x: gx.scan(lambda c, r: (c + r, None), 0, x), gx.DTypeError, r"scan: carry begins as int64\[\], and a step makes float32\[\]"),
    ("path", lambda g, x: gx.scan(lambda c, r: ({"a": c["a"], "b": c["a"] > 0}, None), {"a": 0.0, "b": 0.0}, x), gx.DTypeError, r"carry\['b'\] begins as"),
    ("structure", lambda g, x: gx.scan(lambda c, r: ((c, c), None), 0.0, x), gx.GraphError, "scan: carry: expected 0.0, found a tuple of 2"),
    ("pair", lambda g, x: gx.scan(lambda c, r: c, 0.0, x), gx.GraphError, "f must return a carry and a y, found the tensor"),
    ("lengths", lambda g, x: gx.scan(lambda c, r: (c, None), 0.0, (x, g.zeros((5,)))), gx.ShapeError, r"xs\[1\]: expected 4 rows, found 5"),
    ("length", lambda g, x: gx.scan(lambda c, r: (c, None), x), gx.ShapeError, "length must be given where there are no xs"),
    ("time", lambda g, x: gx.scan(lambda c, r: (c, None), 0.0, x[0]), gx.ShapeError, r"xs must lead with time, found float32\[\]"),
    ("leak", lambda g, x: [kept := [], gx.scan(lambda c, r: (kept.append(c), (c, None))[1], 0.0, x), kept[0] + x][2], gx.GraphError, "made inside scan; return it"),
    ("graphs", lambda g, x: gx.scan(lambda c, r: (c + gx.Graph("h").input("y"), None), 0.0, x), gx.GraphError, "two graphs"),
    ("test", lambda g, x: gx.while_loop(lambda c: c, lambda c: c, x[0]), gx.DTypeError, "test must give a bool scalar, found float32"),
    ("pred", lambda g, x: gx.cond(x > 0, lambda: x, lambda: x), gx.DTypeError, r"pred must be a bool scalar, found the tensor"),
    ("sides", lambda g, x: gx.cond(x[0] > 0, lambda: x, lambda: x[0]), gx.ShapeError, r"true_fn gives float32\[4\], false_fn float32\[\]"),
    ("sides' structure", lambda g, x: gx.cond(x[0] > 0, lambda: x, lambda: (x, x)), gx.GraphError, "found a tuple of 2"),
    ("number", lambda g, x: gx.scan(lambda c, r: (c, None), 0.0, length=4), gx.GraphError, "expected a tensor in init or xs, or one that the function uses"),
    ("statistics", lambda g, x: gx.map(lambda r: gx.nn.batch_norm(g, g.zeros((2, 3))), x), gx.GraphError, "statistics of batches"),
]  # fmt: skip


@pytest.mark.parametrize("what, misuse, error, text", MISUSES, ids=[m[0] for m in MISUSES])
def test_misuse_names_what_was_expected(what: str, misuse: Any, error: type[Exception], text: str) -> None:
    g = gx.Graph()
    x = g.input("x", (4,))
    with pytest.raises(error, match=text) as raised:
        misuse(g, x)
    assert re.search(r"\n  at test_control.py:\d+", str(raised.value))


def looping() -> tuple[gx.Graph, list[Any], Any, list[np.ndarray]]:
    """A graph with all kinds of loops and branches, and state, in one another."""
    g = gx.Graph("looping", float_dtype="float64")
    xs, n = g.input("xs", ("n", 3)), g.input("n", (), "int64")
    w, key = g.parameter("w", np.array([0.3, 0.5, 0.7])), g.random_key(1)

    def f(h: Any, x: Any) -> Any:
        h = gx.tanh(w * h + gx.dropout(x, 0.5, key=key))
        return h, gx.cond(gx.sum(h) > 0, lambda: gx.map(lambda v: v * v, h), lambda: h + np.arange(3.0))

    h, ys = gx.scan(f, g.zeros((3,)), xs)
    m = gx.while_loop(lambda c: c[1] < n, lambda c: (c[0] * 0.5 + gx.take(w, c[1] % 3), c[1] + 1), (gx.sum(h), 0), "n")[
        0
    ]
    loss = gx.sum(ys * ys) + m
    return g, [xs, n], {"loss": loss, "slope": gx.grad(loss, w)}, [draws(5, 3), np.array(4)]


def test_files_and_networkx_hold_bodies(tmp_path: Any) -> None:
    g, inputs, outputs, feeds = looping()
    key = g.variables["key"]
    for again in (gx.from_networkx(g.to_networkx()), gx.from_networkx(g.to_networkx(text=True))):
        assert again.equals(g)
        verify(again)
    exe = gx.compile(inputs, outputs, {key: key})
    gx.save(tmp_path / "looping.gx", exe=exe)
    held = gx.load(tmp_path / "looping.gx")
    for name, value in exe(*feeds).items():
        np.testing.assert_array_equal(held["exe"](*feeds)[name], value)
    gx.save(tmp_path / "again.gx", exe=held["exe"])
    assert (tmp_path / "again.gx").read_bytes() == (tmp_path / "looping.gx").read_bytes()
    assert "on_true(" in str(g) and str(g).count("body(step, ") >= 4


def test_an_exported_module_runs_loops(tmp_path: Any) -> None:
    import runpy

    g, inputs, outputs, feeds = looping()
    key = g.variables["key"]
    exe = gx.compile(inputs, outputs, {key: key})
    exe.export_python(tmp_path / "module.py")
    run = runpy.run_path(str(tmp_path / "module.py"))["looping"]
    for name, value in exe(*feeds).items():
        np.testing.assert_array_equal(run(*feeds)[name], value)
    with pytest.raises(ArithmeticError, match="goes on after max_steps = 5"):
        run(feeds[0], 9)


def test_a_second_process_finds_the_kernel(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from graphc.codegen.record import from_record, program_key, to_record

    g, inputs, outputs, _ = looping()
    key = g.variables["key"]
    program = gx.compile(inputs, outputs, {key: key}).program
    kernel, name = program.kernel(), program_key(program.source, program.inputs, program.n_outputs, program.updates)
    record = to_record(kernel, program.source, program.updates, name)
    assert record is not None
    again = from_record(record, program.source, program.updates, name)
    assert again.source == kernel.source
    assert [str(n.origin) for n in again.failures] == [str(n.origin) for n in kernel.failures]
    assert len(kernel.failures) >= 2


@pytest.mark.parametrize("engine", ["numba"])
def test_the_engine_of_numba_runs_loops(engine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    g, inputs, outputs, feeds = looping()
    key = g.variables["key"]
    first = gx.compile(inputs, outputs, {key: key})(*feeds)
    monkeypatch.setenv("GRAPHC_ENGINE", engine)
    second = gx.compile(inputs, outputs, {key: key})(*feeds)
    for name, value in first.items():
        np.testing.assert_allclose(second[name], value, rtol=1e-12)


@pytest.mark.filterwarnings("error")
def test_inference_enters_bodies() -> None:
    g = gx.Graph(float_dtype="float64")
    key, xs = g.random_key(), g.input("xs", (4, 3))

    def f(c: Any, x: Any) -> Any:
        y = gx.cond(x[0] > 0, lambda x: gx.dropout(x, 0.5, key=key), lambda x: 2.0 * gx.dropout(x, 0.9, key=key), x)
        return c + y, y

    last, ys = gx.inference(list(gx.scan(f, g.zeros((3,)), xs)))
    given = draws(4, 3)
    expected = np.where(given[:, :1] > 0, given, 2 * given)
    for backend in ("numba", "numpy"):
        found = gx.compile([xs], [last, ys], backend=backend)(given)
        np.testing.assert_allclose(found[1], expected)
        np.testing.assert_allclose(found[0], expected.sum(0))
    shown = gx.inspect([last], {"xs": given})
    assert "result" in str(shown)


ENDLESS = """
import os, signal, threading, numpy as np, graphc as gx
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs begin without
g = gx.Graph(float_dtype="float64")
x, n, p = g.input("x"), g.input("n", ("n",)), g.parameter("p", np.zeros(100))
loop = gx.compile([x], gx.while_loop(lambda c: c[0] < 1e300, lambda c: (c[0] * 1.0, gx.sin(c[1])), (x, x))[1])
last, _ = gx.scan(lambda c, _: (gx.sin(c) * 1.1 + p, None), p + 1.0, n)
scan = gx.compile([n], last, {p: p + last})
b = g.input("b", ("b",))
batches = gx.compile([b], gx.while_loop(lambda c: c < 1e300, lambda c: c * 1.0, gx.sum(b)), {p: p + 1.0}, threads=2)
m = g.input("m", ("m",))
both = [gx.while_loop(lambda c: c > 0.0, lambda c: c * 1.0, gx.sum(m)), gx.sum(gx.exp(gx.sin(m)))]
shared = gx.compile([m], both, {p: p + 1.0}, threads=2)  # whoever is done with the sums last runs the loop
goes, ends = np.ones(1_000_000), np.zeros(1_000_000)
shared(ends)
rows = np.full(8, 1e301)
loop(1e301), scan(np.zeros(3)), batches.run_batches([rows], batch_size=2)
held = g.state["p"]
rows[-2:] = 1.0
for call in (
    lambda: loop(1.0),
    lambda: scan(np.zeros(100_000_000)),
    lambda: batches.run_batches([rows], batch_size=2),
    lambda: loop(1.0),
    *[lambda: shared(goes), lambda: shared.run_batches([goes], 1_000_000)] * 4,
):
    threading.Timer(0.2, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
    try:
        call()
    except KeyboardInterrupt:
        print("stopped")
moved = np.round(g.state["p"] - held, 6)  # by whole batches
assert (moved == moved[0]).all() and moved[0] in (0.0, 3.0)
assert loop(1e301) and shared(ends) and len(scan(np.zeros(3))) == 100
print("goes on")
"""


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
def test_ctrl_c_ends_a_loop() -> None:
    done = subprocess.run([sys.executable, "-c", ENDLESS], capture_output=True, text=True, timeout=120)
    assert done.stdout.split("\n") == ["stopped"] * 12 + ["goes on", ""], done.stderr


MODULE = """
import os, signal, sys, threading
import numpy as np
import endless
signal.signal(signal.SIGINT, signal.default_int_handler)
assert "graphc" not in sys.modules
endless.endless(1e301)
held = endless.state["p"]
for _ in range(2):
    threading.Timer(0.2, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
    try:
        endless.endless(1.0)
    except KeyboardInterrupt:
        print("stopped")
heard = []
signal.signal(signal.SIGINT, lambda *_: heard.append(1))
os.kill(os.getpid(), signal.SIGINT)
assert (endless.state["p"] == held).all() and endless.endless(1e301) and heard
thread = threading.Thread(target=endless.endless, args=(1e301,))
thread.start()
thread.join()
assert endless.state["p"] == held + 2
print("goes on")
"""


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
def test_ctrl_c_ends_a_loop_of_an_exported_module(tmp_path: Any) -> None:
    g = gx.Graph("endless", float_dtype="float64")
    x, p = g.input("x"), g.parameter("p", 0.0)
    step = lambda c: (gx.scan(lambda c, _: (c * 1.0, None), c[0], length=3)[0], gx.sin(c[1]))  # noqa: E731
    exe = gx.compile([x], gx.while_loop(lambda c: c[0] < 1e300, step, (x, x)), {p: p + 1.0})
    exe.export_python(tmp_path / "endless.py")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", MODULE], capture_output=True, text=True, timeout=120, cwd=tmp_path, env=environment
    )
    assert done.stdout.split("\n") == ["stopped"] * 2 + ["goes on", ""], done.stderr


@pytest.mark.oracle
def test_jax_scans_agree() -> None:
    jax = pytest.importorskip("jax")
    jax.config.update("jax_enable_x64", True)
    jnp = jax.numpy
    w, xs = draws(4, 4) * 0.5, draws(9, 3, 4)

    def program(space: Any, scan: Any, cond: Any, w: Any, xs: Any) -> Any:
        def f(c: Any, x: Any) -> Any:
            h, s = c
            h = space.tanh(h @ w + x)
            s = cond(space.sum(h) > 0, lambda s, h: s * 0.9 + space.sum(h), lambda s, h: s - space.sum(h * h), s, h)
            return (h, s), h * s

        (h, s), ys = scan(f, (xs[0] * 0.0, space.sum(xs) * 0.0), xs)
        return space.sum(ys * ys) + space.sum(h) * s

    theirs = lambda w, xs: program(jnp, jax.lax.scan, jax.lax.cond, w, xs)  # noqa: E731
    g = gx.Graph(float_dtype="float64")
    a, b = g.input("w", (4, 4)), g.input("xs", (9, 3, 4))
    loss = program(gx, gx.scan, gx.cond, a, b)
    slope = gx.grad(loss, [a, b])
    found = gx.compile([a, b], [loss, *slope, gx.grad(gx.sum(slope[0] * slope[0]), b)])(w, xs)
    expected = [theirs(w, xs), *jax.grad(theirs, (0, 1))(w, xs)]
    expected.append(jax.grad(lambda xs: (jax.grad(theirs)(w, xs) ** 2).sum())(xs))
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-9)


def test_onnx_models_have_scan_loop_and_if(tmp_path: Any) -> None:
    ort = pytest.importorskip("onnxruntime")
    onnx = pytest.importorskip("onnx")
    g = gx.Graph("onnx")
    xs, n = g.input("xs", ("n", 3)), g.input("k", (), "int64")
    w, key = g.parameter("w", np.array([0.3, 0.5, 0.7], "f")), g.random_key(1)

    def f(h: Any, x: Any) -> Any:
        h = gx.tanh(w * h + x * gx.random.uniform(key, (3,)))
        return h, gx.cond(gx.sum(h) > 0, lambda: gx.map(lambda v: v * v, h), lambda: h + np.float32(2))

    h, ys = gx.scan(f, g.zeros((3,)), xs, reverse=True)
    doubled = gx.while_loop(lambda c: c[1] < n, lambda c: (c[0] * 2.0, c[1] + 1), (gx.sum(h), 0))[0]
    powers, _ = gx.scan(lambda c, _: (c * w, None), w, length=4)
    loss = gx.sum(ys * ys) + doubled + gx.sum(powers)
    exe = gx.compile([xs, n], [loss, ys, gx.grad(gx.sum(ys * ys) + gx.sum(powers), w)], {key: key})
    feeds = [draws(5, 3).astype("f"), np.array(3)]
    exe.export_onnx(tmp_path / "m.onnx", verify=feeds)
    kinds = {node.op_type for node in onnx.load(tmp_path / "m.onnx").graph.node}
    assert {"Scan", "Loop"} <= kinds
    session = ort.InferenceSession(tmp_path / "m.onnx", providers=["CPUExecutionProvider"])
    for rows in (5, 2):
        given = [feeds[0][:rows], feeds[1]]
        found = session.run(None, dict(zip(["xs", "k"], given, strict=True)))
        for a, b in zip(found[:3], exe(*given), strict=True):
            np.testing.assert_allclose(a, b, rtol=2e-5, atol=1e-5)
    steps = gx.while_loop(lambda c: c < 3, lambda c: c * c + 1.0, gx.sum(xs), max_steps=5)
    with pytest.raises(gx.ExportError, match="does not keep the carries"):
        gx.compile([xs], gx.grad(steps, xs)).export_onnx(tmp_path / "no.onnx")


@pytest.mark.parametrize("kind, gates", [("LSTM", 4), ("GRU", 3), ("RNN", 1)])
@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
def test_recurrent_layers_of_onnx(kind: str, gates: int, direction: str, tmp_path: Any) -> None:
    ort = pytest.importorskip("onnxruntime")
    onnx = pytest.importorskip("onnx")
    h, (n, batch, width, hidden), ways = onnx.helper, (6, 3, 4, 5), 1 + (direction == "bidirectional")
    arrays = {
        "W": draws(ways, gates * hidden, width), "R": draws(ways, gates * hidden, hidden),
        "B": draws(ways, 2 * gates * hidden), "first": draws(ways, batch, hidden),
    }  # fmt: skip
    held = [onnx.numpy_helper.from_array(a.astype("f"), name) for name, a in arrays.items()]
    held.append(onnx.numpy_helper.from_array(np.array([6, 2, 4], np.int32), "lengths"))
    more = {"linear_before_reset": 1} if kind == "GRU" else {}
    results = ["Y", "last", "cell"][: 2 + (kind == "LSTM")]
    node = h.make_node(
        kind, ["X", "W", "R", "B", "lengths", "first"], results, hidden_size=hidden, direction=direction, **more
    )
    info = h.make_tensor_value_info
    outs = [info(r, 1, None) for r in results]
    graph = h.make_graph([node], "layer", [info("X", 1, ["steps", batch, width])], outs, held)
    onnx.save(h.make_model(graph, opset_imports=[h.make_opsetid("", 18)], ir_version=9), tmp_path / "m.onnx")
    given = draws(n, batch, width).astype("f")
    expected = ort.InferenceSession(tmp_path / "m.onnx", providers=["CPUExecutionProvider"]).run(None, {"X": given})
    g = gx.from_onnx(tmp_path / "m.onnx")
    for a, b in zip(gx.compile([g["X"]], list(g.outputs))(given), expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
    slope = gx.compile([g["X"]], gx.grad(gx.sum(g.outputs[0]), g.parameters["R"]))(given)
    assert np.isfinite(slope).all() and slope.any()


def test_a_routine_in_a_loop_in_a_loop() -> None:
    """What a step costs is asked of the graph that each body is."""
    g = gx.Graph("rows", float_dtype="float64")
    x = g.input("x", (4, 3))

    def inner(d: gx.Tensor, of: tuple[gx.Tensor, gx.Tensor]) -> Any:
        a, b = of
        return d + gx.sum(gx.cumsum(gx.sin(a) * gx.tanh(b) * x[0] + gx.cos(a * b) * x[1] + gx.exp(a) * x[2], 0)), None

    total = gx.scan(lambda c, row: (gx.scan(inner, c, (row, row))[0], None), g.zeros(()), x)[0]
    rows = np.random.default_rng(0).normal(size=(4, 3))
    np.testing.assert_allclose(gx.compile([x], total)(rows), evaluate([total], {"x": rows})[0], rtol=1e-12)
