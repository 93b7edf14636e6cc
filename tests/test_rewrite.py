"""Every rule, by instantiation: exact ones leave every bit, the others agree where both sides are finite."""

from __future__ import annotations

import inspect
import itertools
import math
from typing import Any

import numpy as np
import pytest

import graphc as gx
from graphc.compile import extract
from graphc.ir.body import within
from graphc.ir.graph import rebuild, same, topological
from graphc.ir.op import Kind
from graphc.ir.verify import verify
from graphc.reference import evaluate
from graphc.rewrite.passes import PIPELINE, rewriting, run
from graphc.rewrite.pattern import Pattern
from graphc.rewrite.rules import ALGEBRA, STABILITY, Rule

VALUES = np.array([0.0, -0.0, 1.0, -1.0, 0.5, -2.5, 3.0, 1e-9, -1e-9, np.inf, -np.inf, np.nan, 1e300, -1e300, 5e-324])
SAFE = np.array([0.1, 0.7, 1.3, 2.9])
ROUNDED = {
    "norm-squared",
    "length-squared",
    "root-squared",
}  # of sums of squares; the plain form is off by rounding only


def instantiate(g: gx.Graph, pattern: Pattern, leaves: dict[str, gx.Tensor]) -> gx.Tensor:
    """The pattern as nodes, variables being ``leaves``."""
    if pattern.op == "":
        return leaves[pattern.name]
    if pattern.op == "number":
        return g.constant(pattern.value, "float64")
    parts = [instantiate(g, p, leaves) for p in pattern.parts]
    attrs = {"axes": (parts[0].ndim - 1,), "keepdims": True} if pattern.op == "sum" else {}
    from graphc.ir.op import lookup

    return g.append(lookup(pattern.op), parts, attrs)


def sides(rule: Rule, columns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both sides of a rule at the given values of its variables, one row for each."""
    g = gx.Graph("rule", float_dtype="float64")
    names = sorted(set(rule.before.variables()))
    leaves, feeds = {}, {}
    for name, column in zip(names, columns.T, strict=False):
        if rule.name == "over-power-of-two" and name == "c":
            leaves[name] = g.constant(8.0)
        elif "logical_not" in rule.before.op or (name == "c" and rule.before.op == "where"):
            leaves[name] = g.input(name, ("n", 1), "bool")
            feeds[name] = column[:, None] > 0
        elif rule.name in ROUNDED:
            inner = gx.tile(g.input(name, ("n", 1), "float64"), (1, 3))
            leaves[name] = gx.sum(inner * inner, -1, True)
            feeds[name] = column[:, None]
        else:
            leaves[name] = g.input(name, ("n", 1), "float64")
            feeds[name] = column[:, None]
    before = instantiate(g, rule.before, leaves)
    inputs = [g[n] for n in feeds]
    graph = extract(g, inputs, [before], "ignore")
    after = rebuild(rewriting([rule])(graph))
    assert [n.op.name for n in after.nodes] != [n.op.name for n in graph.nodes], "the rule did not apply"
    (a,), (b,) = evaluate(graph, feeds), evaluate(after, feeds)
    return a, b


@pytest.mark.parametrize("rule", STABILITY + ALGEBRA, ids=lambda r: r.name)
def test_rule(rule: Rule) -> None:
    count = len(set(rule.before.variables()))
    special = np.array(list(itertools.product(VALUES, repeat=count)))
    a, b = sides(rule, special)
    if rule.exact:
        same = (a == b) & (np.signbit(a) == np.signbit(b)) if a.dtype.kind == "f" else a == b
        assert (same | ((a != a) & (b != b))).all(), special[np.argmin(same)]
        return
    both = np.isfinite(a) & np.isfinite(b)
    assert not (np.isfinite(a) & ~np.isfinite(b) & (np.abs(special) < 1e3).all(1)[:, None]).any(), (
        "a finite result is lost"
    )
    safe = np.array(list(itertools.product(SAFE, repeat=count)))
    a, b = sides(rule, safe)
    finite = np.isfinite(a) & np.isfinite(b)
    assert finite.any() and both.any()
    np.testing.assert_allclose(b[finite], a[finite], rtol=1e-12, atol=1e-15)


# Where each stability rule is needed: values of its variables in sorted order, and the right answer.
NEEDED = {
    "log-of-one-plus": ([1e-20], 1e-20),
    "exp-minus-one": ([1e-20], 1e-20),
    "logistic": ([-710.0], math.exp(-710.0)),
    "log-of-one-plus-exp": ([1000.0], 1000.0),
    "log-of-logistic": ([-1000.0], -1000.0),
    "one-minus-logistic": ([50.0], 1.928749847963918e-22),
    "log-of-one-minus-exp": ([1e-20], -46.051701859880914),
    "log-of-one-minus-exp-plain": ([1e-20], -46.051701859880914),
    "x-log-x": ([0.0], 0.0),
    "log-of-exp": ([1000.0], 1000.0),
    "log-of-softmax": ([-1000.0, 1.0], -1000.0),
    "log-sum-exp": ([1000.0], 1000.0),
    "norm-squared": ([3.0, 1.0], 3.0),
    "length-squared": ([1.0], 3.0),
    "root-squared": ([1.0], 3.0),
    "quotient-of-share": ([1.0, -300.0, 1e200], math.exp(300.0)),
    "share-of-quotient": ([1.0, -800.0, 2.0], 0.5),
    "minus-share-of-quotient": ([1.0, -800.0, 2.0], -0.5),
    "gradient-of-logistic": ([1.0, -800.0], 0.0),
    "gradient-of-softplus": ([3.0, 800.0], 3.0),
    "quotient-times-exp": ([3.0, -1000.0], 3.0),
}


@pytest.mark.parametrize("rule", STABILITY + ALGEBRA, ids=lambda r: r.name)
def test_no_rule_loses_a_variable(rule: Rule) -> None:
    """Where one is NaN and ``before`` is, so is ``after``, and where one that ``after`` would not need is infinite."""
    names = sorted(set(rule.before.variables()))
    special = np.array(list(itertools.product(VALUES, repeat=len(names))))
    a, b = sides(rule, special)
    if a.dtype.kind != "f":
        return
    (lost,) = np.nonzero(np.isnan(a[:, 0]) & ~np.isnan(b[:, 0]) & np.isnan(special).any(1))
    assert not lost.size, special[lost[0]]
    g = gx.Graph("rule", float_dtype="float64")
    leaves = {n: g.input(n, ("n", 3), "bool" if n == "c" and rule.before.op == "where" else "float64") for n in names}
    made = instantiate(g, rule.before, leaves)
    binding = rule.before.match(made, {})
    assert binding is not None
    if rule.name != "over-power-of-two":
        wants_root = "root" in inspect.signature(rule.after).parameters
        after = rule.after(**binding, **({"root": made} if wants_root else {}))
        read = {n.name for n in topological(g, [after.id])}
        assert {n for n in names if leaves[n].dtype.kind == "f"} <= read


@pytest.mark.parametrize("backend", ["numba", "numpy"])
def test_infinite_and_undefined_variables_that_cancel_give_nan(backend: str) -> None:
    g = gx.Graph("cancel", float_dtype="float64")
    x, y, z = (g.input(n, ("n",), "float64") for n in "xyz")
    share = gx.exp(y) / z
    forms = [
        (x / gx.exp(y)) * gx.exp(y),
        (x / y) * (y / z),
        (x / (y / z)) / z,
        (x / share) / z,
        (x / share) * (share / z),
        -(x / share) * (share / z),
    ]
    points = np.array(list(itertools.product([2.0], [np.nan, np.inf, -np.inf, 1.0], [np.nan, np.inf, -np.inf, 0.5]))).T
    found = gx.compile([x, y, z], forms, backend=backend)(*points)
    expected = evaluate(forms, dict(zip("xyz", points, strict=True)))
    for k, (a, b) in enumerate(zip(found, expected, strict=True)):
        np.testing.assert_allclose(a, b, rtol=1e-14, err_msg=str(k))


@pytest.mark.parametrize("rule", STABILITY, ids=lambda r: r.name)
def test_each_stability_rule_is_needed(rule: Rule) -> None:
    values, right = NEEDED[rule.name]
    a, b = sides(rule, np.array([values]))
    assert b[0, 0] == pytest.approx(right, rel=1e-14, abs=0)
    wrong = a[0, 0] != right if rule.name in ROUNDED else a[0, 0] != pytest.approx(right, rel=1e-6, abs=0)
    assert wrong, "the unrewritten form is right as well"


def test_hand_written_softmax_has_finite_loss_and_gradients() -> None:
    g = gx.Graph("hand", float_dtype="float64")
    x = g.input("x", ("n", 3), "float64")
    e = gx.exp(x)
    loss = -gx.sum(gx.log(e / gx.sum(e, 1, keepdims=True))[:, 0])
    exe = gx.compile([x], [loss, gx.grad(loss, x)])
    a = np.array([[-400.0, 300.0, 0.0], [0.0, 1.0, 2.0]])
    value, slope = exe(a)
    p = np.exp(a - a.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    p[:, 0] -= 1
    assert np.isfinite(value)
    np.testing.assert_allclose(slope, p, atol=1e-12)


def test_hand_written_logistic_and_softplus_have_finite_gradients() -> None:
    g = gx.Graph("hand", float_dtype="float64")
    x = g.input("x", ("n",), "float64")
    a = np.array([-800.0, -1.0, 0.0, 2.0, 800.0])
    s = 1 / (1 + np.exp(-np.clip(a, -700, None)))
    for value, want in ((1 / (1 + gx.exp(-x)), s * (1 - s)), (gx.log(1 + gx.exp(x)), s)):
        found = gx.compile([x], gx.grad(gx.sum(value), x))(a)
        np.testing.assert_allclose(found, want, rtol=1e-12, atol=1e-300)


def test_constants_fold_but_do_not_grow() -> None:
    g = gx.Graph("fold")
    x = g.input("x", (3,))
    c = g.constant(2.0)
    y = x * gx.exp(c * 3.0 - 6.0) + gx.sum(gx.broadcast_to(c, (1000, 1000)))
    folded = run(extract(g, [x], [y], "error"))
    assert max(n.value.size for n in folded.nodes if n.value is not None) == 1
    assert gx.compile([x], y)(np.ones(3, np.float32)).tolist() == [2000001.0] * 3


def test_long_sums_go_through_all_passes() -> None:
    """As of an unrolled recurrence: neither the depth of the sum nor the number of pieces may matter."""
    g = gx.Graph("long")
    x = g.input("x", ("n",))
    y = x
    for _ in range(2000):
        y = y + x
    np.testing.assert_allclose(gx.compile([x], y, backend="numpy")(np.ones(3, np.float32)), 2001)
    g = gx.Graph("pieces")
    x = g.input("x", ("b", 1200))
    loss = x[:, 0] * 0.0
    for k in range(1200):
        loss = loss + x[:, k] ** 2 * (k / 2400)
    exe = gx.compile([x], gx.grad(gx.sum(loss), x), backend="numpy")
    np.testing.assert_allclose(exe(np.ones((2, 1200), np.float32))[1], np.arange(1200) / 1200, 1e-6)


def test_a_softmax_is_shifted_once() -> None:
    """What is relative to its largest element already is not made so again."""
    for function in (gx.log_softmax, gx.logsumexp, gx.softmax):
        g = gx.Graph("once", float_dtype="float64")
        x = g.input("x", ("n", 5), "float64")
        exe = gx.compile([x], function(x, -1), backend="numpy")
        names = [node.op.name for node in exe.program.optimised.nodes]
        assert names.count("supremum") + names.count("max") == 1 and names.count("exp") == 1, (function, names)


def outer_products() -> dict[str, Any]:
    """Sums over outer products, as functions of factors."""
    return {
        "weighed": lambda p, q, s: gx.sum(p[:, :, None] * q[:, None, :] * s[:, None, None], 0),
        "weighed first": lambda p, q, s: gx.sum(s[:, None, None] * (p[:, :, None] * q[:, None, :]), 0, True),
        "of matrices": lambda p, q, s: gx.sum(
            p[:, :, None, None] * gx.reshape(q, (-1, 1, 5, 6)) * s[:, None, None, None], 0
        ),
        "squared": lambda p, q, s: gx.sum((p[:, :, None] * q[:, None, :]) ** 2, (1, 2)),
        "weighed and squared": lambda p, q, s: gx.sum((p[:, None] * s[:, None, None] * q[:, :, None]) ** 2, (1, 2)),
        "of pairs": lambda p, q, s: gx.sum(p[None] * p[:, None], -1),
    }


@pytest.mark.parametrize("name", outer_products())
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_no_outer_product_is_made(name: str, dtype: str) -> None:
    f = outer_products()[name]
    g = gx.Graph("outer", float_dtype=dtype)
    p, q, s = g.input("p", ("n", 20)), g.input("q", ("n", 30)), g.input("s", ("n",))
    y = f(p, q, s)
    after = run(extract(g, [p, q, s], [y], "ignore"))
    assert not [n.name for n in after.nodes if n.op.name == "multiply" and 1 not in n.type.shape and n.type.ndim > 2]
    rng = np.random.default_rng(0)
    for n in (7, 1, 0):
        arrays = [rng.normal(size=(n, 20)), rng.normal(size=(n, 30)), rng.normal(size=n)]
        feeds = {k: a.astype(dtype) for k, a in zip("pqs", arrays, strict=True)}
        found, expected = evaluate(after, feeds, None, {"n": n})[0], evaluate([y], feeds)[0]
        assert found.shape == expected.shape and found.dtype == expected.dtype
        scale = np.abs(expected).max(initial=0.0)
        np.testing.assert_allclose(found, expected, rtol=0, atol=(1e-13 if dtype == "float64" else 1e-5) * scale)


def sums_of_products() -> dict[str, Any]:
    """Sums of products of matrices of which rows or columns can be added up before, and how many rows are left."""
    return {
        "of rows": lambda p, q: gx.sum(p @ q, 0),
        "of negated rows": lambda p, q: gx.sum(-(p @ q), 0, True),
        "of columns": lambda p, q: gx.sum(q.T @ p.T, 1),
        "of all": lambda p, q: gx.sum(p @ q),
        "of a batch": lambda p, q: gx.sum(gx.stack([p, 2 * p]) @ q, 1),
        "of a batch too": lambda p, q: gx.sum(gx.stack([p, 2 * p]) @ gx.stack([q, q + 1]), (0, 1)),
        "by rows": lambda p, q: gx.grad(gx.sum(((p - q[:, 0]) @ q[:, :9]) ** 2), q),
    }


@pytest.mark.parametrize("name", sums_of_products())
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_sums_of_products_are_products_of_sums(name: str, dtype: str) -> None:
    g = gx.Graph("sums", float_dtype=dtype)
    p, q = g.input("p", ("n", 9)), g.input("q", (9, 12))
    y = sums_of_products()[name](p, q)
    after = run(extract(g, [p, q], [y], "ignore"))
    products = [n.type for n in after.nodes if n.op.name == "matmul" and "n" in map(str, n.type.shape)]
    assert len(products) == (1 if name == "by rows" else 0), products
    rng = np.random.default_rng(0)
    for n in (300, 1, 0):
        feeds = {"p": rng.normal(size=(n, 9)).astype(dtype), "q": rng.normal(size=(9, 12)).astype(dtype)}
        found, expected = evaluate(after, feeds, None, {"n": n})[0], evaluate([y], feeds)[0]
        assert found.shape == expected.shape and found.dtype == expected.dtype
        atol = (1e-12 if dtype == "float64" else 1e-4) * np.abs(expected).max(initial=0.0)
        np.testing.assert_allclose(found, expected, rtol=0, atol=atol)


def test_sums_of_products_that_are_smaller_than_their_sides_stay() -> None:
    g = gx.Graph("stay", float_dtype="float64")
    p, q = g.input("p", ("n", 12)), g.input("q", (12, 9))
    after = run(extract(g, [p, q], [gx.sum(p @ q, 0)], "ignore"))
    assert [str(n.type) for n in after.nodes if n.op.name == "matmul"] == ["float64[n, 9]"]


@pytest.mark.parametrize("name", [*outer_products(), "a number's", "of a movement"])
def test_passes_come_to_an_end(name: str) -> None:
    """A pass that always changes something, were it a node that nothing reads, would have all of them run again."""
    more = {
        "a number's": lambda p, q, s: gx.sum(p * 0.9) + gx.sum(s * s * gx.sum(q)),
        "of a movement": lambda p, q, s: gx.sum(gx.matrix_transpose(gx.matrix_transpose(p) * 2.0) @ p.T),
    }
    g = gx.Graph("outer", float_dtype="float64")
    inputs = [g.input("p", ("n", 20)), g.input("q", ("n", 30)), g.input("s", ("n",))]
    y = gx.sum({**outer_products(), **more}[name](*inputs))
    after = run(extract(g, inputs, [y, *gx.grad(y, inputs, on_disconnected="zeros")], "ignore"))
    for pass_name, step in PIPELINE:
        assert same(after, step(after)), pass_name


def steps_with_products() -> dict[str, tuple[Any, int]]:
    """A step from h (3, 5) with a row x, and how many products and functions of matrices it and its gradient have."""
    return {
        "a network": (lambda h, x, w, u: gx.tanh(h @ w + x @ u + 1.0), 6),
        "read twice": (lambda h, x, w, u: gx.sin(h @ w) * (h @ w) + x @ u, 8),
        "of gates": (lambda h, x, w, u: gx.tanh(x @ u + gx.sigmoid(h @ w) * (h @ w)), 8),
        "of row and carry": (lambda h, x, w, u: h + gx.sin((h @ x.T) @ u[:3]), 6),
        "one after the other": (lambda h, x, w, u: gx.tanh(gx.tanh(h @ w) @ u + x), 6),
        "a factor": (lambda h, x, w, u: h * gx.sum(gx.linalg.cholesky(h @ h.T + 9 * gx.eye(3, graph=h.graph))) + x, 5),
    }


@pytest.mark.parametrize("name", steps_with_products())
@pytest.mark.parametrize("reverse", [False, True])
def test_a_gradient_reads_the_products_of_its_loop(name: str, reverse: bool) -> None:
    f, count = steps_with_products()[name]
    g = gx.Graph("loop", float_dtype="float64")
    inputs = [g.input("xs", ("n", 3, 5)), g.input("h", (3, 5)), g.input("w", (5, 5)), g.input("u", (5, 5))]
    last, rows = gx.scan(lambda h, x: (f(h, x, *inputs[2:]),) * 2, inputs[1], inputs[0], reverse=reverse)
    outputs = [last, *gx.grad(gx.sum(last * last) + gx.sum(gx.cos(rows)), inputs, on_disconnected="zeros")]
    after = run(extract(g, inputs, outputs, "ignore"))
    verify(after)
    made = [n for n in within(after) if n.op.kind in (Kind.CONTRACTION, Kind.ROUTINE)]
    assert len(made) == count, [str(n.name) for n in made]
    rng = np.random.default_rng(0)
    for n in (4, 1, 0):
        feeds = dict(
            zip(
                ("xs", "h", "w", "u"),
                (rng.normal(size=s) * 0.4 for s in ((n, 3, 5), (3, 5), (5, 5), (5, 5))),
                strict=True,
            )
        )
        for found, expected in zip(evaluate(after, feeds, None, {"n": n}), evaluate(outputs, feeds), strict=True):
            np.testing.assert_allclose(found, expected, rtol=1e-11, atol=1e-12)


def test_squares_of_outer_products_keep_their_range() -> None:
    """Factors whose squares over- and underflow, of products that do not; zeros; rows with NaN and infinity."""
    g = gx.Graph("range", float_dtype="float64")
    p, q = g.input("p", ("n", 9)), g.input("q", ("n", 8))
    y = gx.sum((p[:, :, None] * q[:, None, :]) ** 2, (1, 2))
    a, b = np.ones((5, 9)), np.ones((5, 8))
    a[0], b[0], a[1], b[1], a[2], a[3, 0], a[4, 0] = 1e200, 1e-200, 1e-190, 1e180, 0, np.nan, np.inf
    for backend in ("numba", "numpy"):
        found = gx.compile([p, q], y, backend=backend)(a, b)
        np.testing.assert_allclose(found[:3], [72, 72e-20, 0], rtol=1e-13)
        assert np.isnan(found[3]) and not np.isfinite(found[4])


def test_small_and_other_sums_stay_as_they_are() -> None:
    g = gx.Graph("small", float_dtype="float64")
    p, q = g.input("p", ("n", 3)), g.input("q", ("n", 4))
    k = g.input("k", ("n", 20), "int64")
    sums = [
        gx.sum(p[:, :, None] * q[:, None, :], 0),
        gx.sum((p[:, :, None] * q[:, None, :]) ** 2, (1, 2)),
        gx.sum(k[:, :, None] * k[:, None, :], 0),
    ]
    after = run(extract(g, [p, q, k], sums, "ignore"))
    assert [n.op.name for n in after.nodes].count("sum") == 3
