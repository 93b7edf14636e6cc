"""Zeros, tiny and huge numbers, infinities and NaN in every operand of every op."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from op_cases import CASES, Case

import graphc as gx
from graphc.ir.graph import topological
from graphc.ir.op import Kind
from graphc.reference import evaluate

INF, NAN = float("inf"), float("nan")
ENGINES = ("numba", "numpy", "unrewritten")


def specials(dtype: str) -> np.ndarray:
    """Zeros, the least subnormal and normal numbers, small, plain, large and the largest numbers, infinities, NaN."""
    info = np.finfo(dtype)
    least = [float(info.smallest_subnormal), float(info.tiny), 1e-30, 1e30, float(info.max), INF]
    return np.array([0.0, -0.0, *least, *(-v for v in least), 1.0, -1.0, 0.5, NAN]).astype(dtype)


def run(inputs: Sequence[gx.Tensor], outputs: Any, engine: str, *rows: Sequence[np.ndarray]) -> list[Any]:
    """What an engine gives for each row of arguments."""
    if engine == "unrewritten":
        names = list(outputs)
        feeds = [{t.name: a for t, a in zip(inputs, row, strict=True)} for row in rows]
        return [dict(zip(names, evaluate([outputs[k] for k in names], f), strict=True)) for f in feeds]
    exe = gx.compile(inputs, outputs, backend=engine, unused="ignore")
    return [exe(*row) for row in rows]


# ---- what is not taken


def carries(case: Case) -> bool:
    """True for what is made of elementwise functions and movements alone."""
    g = gx.Graph("kinds", float_dtype="float64")
    xs = [g.input(f"x{k}", s, "float64") for k, s in enumerate(case.shapes)]
    through = (Kind.LEAF, Kind.ELEMENTWISE, Kind.GENERATOR, Kind.MOVEMENT, Kind.ASSEMBLY)
    return all(n.op.kind in through for n in topological(g, [case.build(*xs).id]))


CARRYING = [c for c in CASES if c.smooth and carries(c)]


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("part", range(4))
def test_what_is_not_taken_gets_zero(part: int, engine: str) -> None:
    """First and second derivatives of ``where(False, f(x), 0)``, with special values in each operand."""
    assert len(CARRYING) > 80
    g = gx.Graph("untaken", float_dtype="float64")
    taken = g.input("taken", (), "bool")
    inputs, outputs, shapes = [taken], {}, []
    for case in CARRYING[part::4]:
        xs = [g.input(f"{case.name}_{k}", s, "float64") for k, s in enumerate(case.shapes)]
        y = gx.sum(gx.where(taken, case.build(*xs), 0))
        first = gx.grad(y, xs, on_disconnected="zeros")
        second = gx.grad(sum((gx.sum(d) for d in first), start=g.constant(0.0)), xs, on_disconnected="zeros")
        outputs |= {f"{case.name} {k}": d for k, d in enumerate([*first, *second])}
        inputs += xs
        shapes += case.shapes
    values = specials("float64")
    rows = [
        (False, *(np.resize(np.roll(values, 5 * turn + k), s) for k, s in enumerate(shapes)))
        for turn in range(len(values))
    ]
    with np.errstate(all="ignore"):
        for found in run(inputs, outputs, engine, *rows):
            for name, slope in found.items():
                assert not np.asarray(slope).any(), name


# ---- NaN is handed on

KINKED = {
    "max": lambda x: gx.max(x, 0),
    "min": lambda x: gx.min(x, 0),
    "norm": lambda x: gx.norm(x, INF, 0),
    "relu": gx.relu,
    "relu6": gx.relu6,
    "leaky_relu": gx.leaky_relu,
    "elu": gx.elu,
    "selu": gx.selu,
    "hard_sigmoid": gx.hard_sigmoid,
    "hard_swish": gx.hard_swish,
    "hard_tanh": gx.hard_tanh,
    "clip": lambda x: gx.clip(x, -1, 1),
    "clip from below": lambda x: gx.clip(x, min=-1),
    "clip from above": lambda x: gx.clip(x, max=1),
    "maximum": lambda x: gx.maximum(x, 0.5),
    "minimum": lambda x: gx.minimum(0.5, x),
    "hinge": lambda x: gx.hinge(x, 1.0),
    "huber": lambda x: gx.huber(x, 1.0),
    "abs": gx.abs,
    "maximum of two": gx.maximum,
    "minimum of two": gx.minimum,
    "clip below": lambda x, a: gx.clip(x, a, 1),
    "clip above": lambda x, a: gx.clip(x, -1, a),
    "clip between": gx.clip,
}


@pytest.mark.parametrize("engine", ENGINES)
def test_nan_is_handed_on_to_every_operand(engine: str) -> None:
    """Wherever the NaN stands, and unless a selection around it leaves that element."""
    g = gx.Graph("kinks", float_dtype="float64")
    xs = [g.input(n, (3,), "float64") for n in ("a", "b", "c")]
    outputs = {}
    for name, f in KINKED.items():
        used = xs[: 3 if f is gx.clip else 2 if "two" in name or name in ("clip below", "clip above") else 1]
        y = f(*used)
        cases = {name: y}
        if y.ndim:
            cases[f"{name} left"] = gx.where(gx.isnan(sum(used[1:], start=used[0])), 0, y)
        for key, value in cases.items():
            outputs |= {f"{key}, {k}": d for k, d in enumerate(gx.grad(gx.sum(value), used))}
        outputs[f"{name} value"] = y
    plain = [np.array(v) for v in ([0.25, -2.0, 3.0], [-0.5, -3.0, 1.0], [0.75, -1.0, 2.0])]
    rows = [[np.array([v[0], NAN, v[2]]) if j == k else v for j, v in enumerate(plain)] for k in range(3)]
    usual, *found = run(xs, outputs, engine, plain, *rows)
    for k, row in enumerate(found):
        for name in KINKED:
            slots = [s for s in range(3) if f"{name}, {s}" in row]
            if k not in slots:
                continue
            assert np.isnan(row[f"{name} value"]).any(), name
            for s in slots:
                slope = row[f"{name}, {s}"]
                if np.ndim(row[f"{name} value"]) == 0:
                    assert np.isnan(slope).all(), name
                    continue
                assert np.isnan(slope[1]), (name, s)
                expected = usual[f"{name}, {s}"] * [1, 0, 1]
                np.testing.assert_array_equal(row[f"{name} left, {s}"], expected, err_msg=name)


# ---- softmax, and losses


def slopes(g: gx.Graph, y: gx.Tensor, *wrt: gx.Tensor) -> list[gx.Tensor]:
    return gx.grad(gx.sum(y), list(wrt), on_disconnected="zeros")


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_rows_with_infinities(engine: str, dtype: str) -> None:
    """softmax and log_softmax are NaN beside inf, and of nothing but -inf; logsumexp is inf and -inf there."""
    g = gx.Graph("rows", float_dtype=dtype)
    x = g.input("x", ("n", 3), dtype)
    outputs = {f.__name__: f(x) for f in (gx.softmax, gx.log_softmax)} | {"logsumexp": gx.logsumexp(x, 1)}
    outputs |= {f"{name}'": slopes(g, y * (gx.exp2(x * 0) if y.ndim == 2 else 1), x)[0] for name, y in outputs.items()}
    data = np.array([[0, INF, 1], [INF, INF, -INF], [-INF] * 3, [0, NAN, 1], [-INF, 0, 0], [0, -INF, -INF]], dtype)
    (found,) = run([x], outputs, engine, (data,))
    log_half = np.log(np.array(0.5, dtype))
    np.testing.assert_array_equal(found["softmax"][:4], np.nan)
    np.testing.assert_array_equal(found["softmax"][4:], np.array([[0, 0.5, 0.5], [1, 0, 0]]))
    np.testing.assert_array_equal(found["log_softmax"][:4], np.nan)
    np.testing.assert_allclose(found["log_softmax"][4:], np.array([[-INF, log_half, log_half], [0, -INF, -INF]]))
    np.testing.assert_allclose(found["logsumexp"], np.array([INF, INF, -INF, NAN, -log_half, 0], dtype))
    np.testing.assert_array_equal(found["logsumexp'"][2:3], 0)
    np.testing.assert_array_equal(found["logsumexp'"][3], np.nan)
    np.testing.assert_array_equal(found["logsumexp'"][4:], np.array([[0, 0.5, 0.5], [1, 0, 0]]))


@pytest.mark.parametrize("engine", ENGINES)
def test_a_factor_of_zero_removes_its_product(engine: str) -> None:
    """Beside an infinite logarithm, not beside NaN."""
    g = gx.Graph("weighted", float_dtype="float64")
    p, t = g.input("p", ("n", 2), "float64"), g.input("t", ("n", 2), "float64")
    losses = {
        "soft": gx.cross_entropy(p, t),
        "weighted": gx.cross_entropy(p, t, weights=[2.0, 0.0]),
        "kl_div": gx.kl_div(p, t),
        "poisson_nll": gx.poisson_nll(p, t),
        "binary": gx.binary_cross_entropy(p, t),
        "logits": gx.binary_cross_entropy_with_logits(p, t),
    }
    outputs = losses | {f"{name}'": slopes(g, y, p)[0] for name, y in losses.items()}

    def at(name: str, p: Any, t: Any) -> tuple[Any, Any]:
        (found,) = run([g["p"], g["t"]], outputs, engine, (np.array([p], float), np.array([t], float)))
        return found[name][0].tolist(), found[f"{name}'"][0].tolist()

    assert at("soft", [0, -INF], [1, 0]) == (0, [0, 0])
    assert at("soft", [0, -INF], [0.5, 0.5]) == (INF, [0.5, -0.5])
    assert np.isnan(at("soft", [0, NAN], [1, 0])[0])
    assert at("weighted", [0, -INF], [0.5, 0.5]) == (0, [0, 0])
    assert at("kl_div", [0, -INF], [1, 0]) == (0, [-1, 0])
    assert np.isnan(at("kl_div", [0, NAN], [1, 0])[0])
    assert at("poisson_nll", [-INF, 0], [0, 1]) == ([0, 1], [0, 0])
    assert at("binary", [0, 1], [0, 1]) == ([0, 0], [1, -1])
    assert at("binary", [0, 1], [1, 0]) == ([INF, INF], [-INF, INF])
    assert np.isnan(at("binary", [NAN, NAN], [0, 1])[0]).all()
    assert at("logits", [INF, -INF], [1, 0]) == ([0, 0], [0, 0])
    assert at("logits", [INF, -INF], [0, 1]) == ([INF, INF], [1, -1])
    assert at("logits", [INF, -INF], [0.5, 0.25]) == ([INF, INF], [0.5, -0.25])
    assert np.isnan(at("logits", [NAN, NAN], [0, 1])[0]).all()


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_binary_cross_entropy_keeps_its_tails(engine: str, dtype: str) -> None:
    """Of well classified examples, on both sides; and of small probabilities."""
    g = gx.Graph("tails", float_dtype=dtype)
    x, t, p = (g.input(n, ("n",), dtype) for n in "xtp")
    loss = gx.binary_cross_entropy_with_logits(x, t)
    outputs = {"loss": loss, "slope": slopes(g, loss, x)[0], "plain": gx.binary_cross_entropy(p, 0)}
    a = np.array([0.0, 1.0, 8.0, 17.0, 40.0, 80.0], dtype)
    tail = np.exp(-a.astype("float64"))
    small = np.array([1e-3, 1e-9, 1e-20, 1e-30, 0.0, 0.5], dtype)
    right, mirrored = run([x, t, p], outputs, engine, (a, np.ones_like(a), small), (-a, np.zeros_like(a), small))
    tolerance = 1e-6 if dtype == "float32" else 1e-15
    for found, sign in ((right, -1), (mirrored, 1)):
        np.testing.assert_allclose(found["loss"], np.log1p(tail), tolerance)
        np.testing.assert_allclose(found["slope"], sign * tail / (1 + tail), tolerance)
        np.testing.assert_allclose(found["plain"], -np.log1p(-small.astype("float64")), tolerance)


@pytest.mark.parametrize("engine", ENGINES)
def test_rows_that_are_dropped_have_no_gradient(engine: str) -> None:
    """Whatever their logits: ``ignore_index``, and labels of weight 0."""
    g = gx.Graph("dropped", float_dtype="float64")
    x, label = g.input("x", ("n", 3), "float64"), g.input("label", ("n",), "int64")
    kinds = {
        "ignored": gx.cross_entropy(x, label, ignore_index=2),
        "smooth": gx.cross_entropy(x, label, ignore_index=2, label_smoothing=0.1, weights=[1.0, 2.0, 3.0]),
        "light": gx.cross_entropy(x, label, weights=[1.0, 2.0, 0.0]),
        "both": gx.cross_entropy(x, label, weights=[1.0, 0.0, 2.0], ignore_index=2),
    }
    outputs = kinds | {f"{name}'": slopes(g, y, x)[0] for name, y in kinds.items()}
    data = np.array([[NAN, 0, 1], [INF, 0, 1], [-INF] * 3, [NAN] * 3, [0, 0, -INF], [1, 2, 3]])
    (dropped,) = run([x, label], outputs, engine, (data, np.full(6, 2)))
    for name in kinds:
        assert not dropped[name].any(), name
        assert not dropped[f"{name}'"].any(), name
    (kept,) = run([x, label], outputs, engine, (data, np.zeros(6, np.int64)))
    for name in kinds:
        assert np.isnan(kept[name][:4]).all(), name
        assert np.isfinite(kept[name][5]), name
        assert kept[f"{name}'"][5].all(), name
    (light,) = run([x, label], outputs, engine, (data, np.ones(6, np.int64)))
    assert not light["both"].any()
    assert not light["both'"].any()
