"""Debug executables: where a NaN, an infinity, a shape or an access went wrong, and that nothing else is disturbed."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from typing import Any

import numba
import numpy as np
import pytest

import graphc as gx
from graphc.codegen.watch import BOUNDED, NAN_OF_NAN, NOT_FINITE
from graphc.ir.op import OPS
from graphc.run.debug import check_bounds
from graphc.run.executable import Executable
from graphc.schedule.access import Index

BACKENDS = ("numba", "numpy")
ROWS, WIDTH, LAYERS = 24, 5, 6


def planted() -> tuple[gx.Graph, list[gx.Tensor], gx.Tensor]:
    """A network of six layers; every layer is multiplied by the root of a matrix of its own, which may be anything."""
    g = gx.Graph("planted", float_dtype="float64")
    rng = np.random.default_rng(0)
    x = g.input("x", ("n", WIDTH))
    roots = []
    h = x
    for k in range(LAYERS):
        w = g.parameter(f"w{k}", rng.normal(size=(WIDTH, WIDTH)) / 3)
        p = g.input(f"p{k}", ("n", WIDTH))
        roots.append(gx.sqrt(p).named(f"root{k}"))
        act = (gx.tanh, gx.sigmoid, gx.softplus)[k % 3]
        h = gx.softmax(act(h @ w) * roots[-1] + x) if k % 2 else act(h @ w) * roots[-1] + h
    loss = gx.mean(h * h).named("loss")
    return g, [x, *(r.inputs[0] for r in roots)], loss


@pytest.mark.parametrize(("backend", "count"), [("numba", 100), ("numpy", 20)])
def test_a_planted_fault_is_found_exactly(backend: str, count: int) -> None:
    g, inputs, loss = planted()
    updates = gx.optim.SGD(lr=0.01).updates(loss)
    slopes = gx.grad(loss, inputs[1:])
    line = {f"root{k}": g[f"root{k}"].origin for k in range(LAYERS)}
    exe = gx.compile(inputs, [loss, *slopes], updates=updates, debug="nan", backend=backend)
    rng = np.random.default_rng(1)
    found = 0
    for k in range(count):
        arrays = [rng.normal(size=(ROWS, WIDTH)), *(rng.uniform(0.5, 1, (ROWS, WIDTH)) for _ in range(LAYERS))]
        place, at = int(rng.integers(LAYERS)), (int(rng.integers(ROWS)), int(rng.integers(WIDTH)))
        backward, batches = bool(k % 2), bool(k // 2 % 2)
        arrays[1 + place][at] = 0.0 if backward else -1.0
        state = {name: g.state[name] for name in g.parameters}
        size = int(rng.integers(3, 9))
        with pytest.raises(gx.NumericalError) as caught:
            exe.run_batches(arrays, size) if batches else exe(*arrays)
        e, name = caught.value, f"root{place}"
        expected = (at[0] % size, at[1]) if batches else at
        assert e.index == expected and e.origin == line[name], (k, str(e))
        assert e.batch == (at[0] // size if batches else None), (k, str(e))
        if backward:
            assert e.forward == name and np.isinf(e.value), (k, str(e))
        else:
            assert e.node == name and e.forward is None and e.operands == {f"p{place}": -1.0}, (k, str(e))
        if not batches or at[0] < size:
            assert all((g.state[name] == state[name]).all() for name in state), k
        found += 1
    assert found == count
    healthy = [np.ones((ROWS, WIDTH))] * (1 + LAYERS)
    plain = gx.compile(inputs, [loss, *slopes])
    for a, b in zip(plain(*healthy), exe(*healthy), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_fault_in_a_loop_is_found_with_its_step(backend: str) -> None:
    g = gx.Graph("time", float_dtype="float64")
    x, p, q, h0 = g.input("x", ("t", 3)), g.input("p", ("t", 3)), g.input("q", ("t", 2)), g.input("h0", (3,))
    w = g.parameter("w", np.eye(3) / 2)

    def step(h: gx.Tensor, at: Any) -> Any:
        row, root, parts = at
        total, _ = gx.scan(lambda s, part: (s + gx.sqrt(part), None), gx.sum(h) * 0, parts)
        h = gx.tanh((h @ w) * gx.sqrt(root) + row) + total * 0.01
        return h, h

    h, ys = gx.scan(step, h0, (x, p, q))
    loss = gx.mean(ys * ys) + gx.sum(h)
    slopes = gx.grad(loss, [p, q])
    exe = gx.compile(
        [x, p, q, h0], [loss, *slopes], updates=gx.optim.SGD(lr=0.1).updates(loss), debug="nan", backend=backend
    )
    rng = np.random.default_rng(3)
    assert np.isfinite(exe(np.ones((5, 3)), np.ones((5, 3)), np.ones((5, 2)), np.ones(3))[0])
    outer = next(n.name for n in g.nodes if n.op.name == "scan")
    for k in range(24):
        arrays = [rng.normal(size=(7, 3)), rng.uniform(0.5, 1, (7, 3)), rng.uniform(0.5, 1, (7, 2)), np.ones(3)]
        inside, backward = bool(k % 2), bool(k // 2 % 2)
        t, j = int(rng.integers(7)), int(rng.integers(2 if inside else 3))
        arrays[2 if inside else 1][t, j] = 0.0 if backward else -1.0
        before = g.state["w"]
        with pytest.raises(gx.NumericalError) as caught:
            exe(*arrays)
        e = caught.value
        assert e.steps == ((t, j) if inside else (t,)), (k, str(e))
        assert e.index == (() if inside else (j,)), (k, str(e))
        assert (e.node == outer and e.forward is None) if not backward else e.forward == outer, (k, str(e))
        assert "gx.sqrt" in e.origin.text and ("sqrt gave nan" in str(e)) is not backward, (k, str(e))
        assert (g.state["w"] == before).all()


@pytest.mark.parametrize("backend", BACKENDS)
def test_faults_in_branches_and_while_loops(backend: str) -> None:
    g = gx.Graph("control", float_dtype="float64")
    x = g.input("x", (3,))
    safe = gx.cond(gx.min(x) > 0, lambda: gx.log(x), lambda: x)
    assert gx.compile([x], safe, debug="nan", backend=backend)(np.array([-1.0, 0, 1])).tolist() == [-1, 0, 1]
    taken = gx.compile([x], gx.cond(gx.min(x) < 0, lambda: gx.log(x), lambda: x), debug="nan", backend=backend)
    with pytest.raises(gx.NumericalError, match=r"cond_\d+: .*log gave nan at \[0\], for .* = -1") as caught:
        taken(np.array([-1.0, 0, 1]))
    assert caught.value.steps == ()
    down = gx.while_loop(lambda t: gx.max(t) > 0, lambda t: gx.sqrt(t - 1) * 1, x, max_steps=9)
    with pytest.raises(gx.NumericalError, match=r"step 2: .*sqrt gave nan") as caught:
        gx.compile([x], down, debug="nan", backend=backend)(np.array([2.0, 3, 4]))
    assert caught.value.steps == (2,) and caught.value.index == (0,)
    product = gx.scan(lambda h, _: (gx.tanh(h) + 1, None), (x * 1e200) @ gx.reshape(x * 1e200, (3, 1)), None, 2)[0]
    with pytest.raises(gx.NumericalError, match=r"gave inf"):
        gx.compile([x], product, debug="nan", backend=backend)(np.array([1.0, 2, 3]))


def test_batches_before_the_faulty_one_count() -> None:
    g = gx.Graph("sum", float_dtype="float64")
    x, total = g.input("x", ("n",)), g.variable("total", 0.0)
    exe = gx.compile([x], gx.sqrt(x), updates={total: total + gx.sum(x)}, debug="nan")
    with pytest.raises(gx.NumericalError, match=r"batch 2: sqrt_\d+: sqrt gave nan at \[1\], for x = -1"):
        exe.run_batches([np.array([1.0, 2, 3, 4, 5, -1])], 2)
    assert g.state["total"] == 10


@pytest.mark.parametrize("threads", [1, 2])
def test_large_programs_in_several_threads(threads: int) -> None:
    g = gx.Graph("deep", float_dtype="float32")
    x = g.input("x", ("n", 64))
    h = x
    for k in range(30):
        w = g.parameter(f"w{k}", np.eye(64, dtype="float32"))
        h = gx.sqrt(h @ w) + (0.0 if k != 20 else gx.log(h + 1).named("here") * 0.0)
    loss = gx.mean(h)
    exe = gx.compile([x], loss, updates=gx.optim.SGD(lr=0.0).updates(loss), debug="nan", threads=threads)
    data = np.full((4000, 64), 2, "float32")
    assert np.isfinite(exe(data))
    data[3210, 17] = -3
    with pytest.raises(gx.NumericalError) as caught:
        exe(data)
    assert caught.value.index == (3210, 17) and "sqrt gave nan" in str(caught.value)


def harmless() -> list[tuple[str, Any, list[Any]]]:
    """Programs with infinities and NaN that are no fault, and what they are called with."""
    inf, nan = np.inf, np.nan
    one, two = np.array([-1.0, 0.0, 1.0, 2.0]), np.array([[1.0, -inf], [2.0, 3.0]])
    return [
        ("an unselected logarithm", lambda x: gx.where(x > 0, gx.log(x), -1.0), [one]),
        ("and its gradient", lambda x: gx.grad(gx.sum(gx.where(x > 0, gx.log(x), -1.0)), x), [one]),
        ("an unselected sum", lambda x: gx.where(x > 0, gx.log(x) + x, x), [one]),
        ("an infinite constant", lambda x: gx.exp(gx.where(x > 0, x, -inf)), [one]),
        ("a mask before softmax", lambda x: gx.softmax(gx.where(x > 2.5, -inf, x)), [two]),
        ("an infinity passed", lambda x: x * 2, [two]),
        ("an infinity passed to a sum", lambda x: gx.sum(x, axis=1), [two]),
        ("an infinity passed to a product", lambda x: x @ np.ones((2, 2)), [two]),
        ("an infinity clipped away", lambda x: gx.minimum(gx.exp(x * 1000), 3.0), [one]),
        ("a largest element of none", lambda x: gx.max(gx.pad(x, ((1, 1),), constant_values=-inf)), [one]),
        ("a NaN that is only asked about", lambda x: gx.where(gx.isnan(x), 0.0, 1.0), [np.array([1.0, nan])]),
        ("a NaN that is handed through", lambda x: gx.reshape(x, (1, 2)), [np.array([1.0, nan])]),
        ("a NaN that is not taken", lambda x: gx.where(gx.isnan(x), 0.0, gx.exp(x)), [np.array([1.0, nan])]),
    ]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("case", harmless(), ids=lambda case: case[0])
def test_what_is_no_fault(case: tuple[str, Any, list[Any]], backend: str) -> None:
    _, f, arrays = case
    g = gx.Graph("harmless", float_dtype="float64")
    inputs = [g.input(f"x{k}", a.shape) for k, a in enumerate(arrays)]
    y = f(*inputs)
    found = gx.compile(inputs, y, debug="nan", backend=backend)(*arrays)
    np.testing.assert_allclose(found, gx.compile(inputs, y)(*arrays), rtol=1e-12)


def faults() -> list[tuple[str, Any, list[Any], str]]:
    """Programs at fault, what they are called with, and a part of the message."""
    one = np.array([-1.0, 0.0, 1.0, 2.0])
    singular = np.array([[1.0, 2.0], [2.0, 4.0]])
    indefinite = np.array([[1.0, 2.0], [2.0, 1.0]])
    return [
        ("infinity of a logarithm", lambda x: gx.log(abs(x)), [one], r"log gave -inf at \[1\]"),
        ("overflow", lambda x: gx.exp(x * 1000), [one], r"exp gave inf at \[2\], for multiply_\d+ = 1000"),
        ("a quotient", lambda x: x / x, [one], r"divide gave nan at \[1\], for x0 = 0"),
        ("lost again", lambda x: 1 / gx.exp(x * 1000), [one], r"exp gave inf at \[2\]"),
        ("compared", lambda x: gx.sum(gx.log(x)) > 0, [one], r"log gave nan at \[0\]"),
        ("selected", lambda x: gx.where(x < 0, gx.log(x), x), [one], r"log gave nan at \[0\]"),
        ("selected later", lambda x: gx.where(x > -2, gx.log(x - 1.5), x), [one[2:]], r"log gave nan at \[0\]"),
        ("behind relu", lambda x: gx.relu(gx.log(x)), [one], r"log gave nan at \[0\]"),
        ("a product", lambda x: (x * 1e200) @ (x * 1e200), [one + 2], r"gave inf"),
        ("an index of NaN", lambda x: gx.argmax(gx.log(x)), [one], r"log gave nan at \[0\]"),
        ("gathered", lambda x: gx.cumsum(gx.log(x))[np.array([1, 2])], [one], r"log gave nan at \[0\]"),
        ("not positive definite", gx.linalg.cholesky, [indefinite], "the matrix is not positive definite"),
        ("singular", lambda a: gx.linalg.solve(a, a), [singular], "the matrix is singular"),
        ("no inverse", gx.linalg.inv, [singular], "the matrix is singular"),
        ("a NaN passed on", lambda x: x * 2, [np.array([np.nan, 1.0])], r"multiply gave nan at \[0\], for x0 = nan"),
    ]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("case", faults(), ids=lambda case: case[0])
def test_what_is_a_fault(case: tuple[str, Any, list[Any], str], backend: str) -> None:
    _, f, arrays, words = case
    g = gx.Graph("fault", float_dtype="float64")
    inputs = [g.input(f"x{k}", a.shape) for k, a in enumerate(arrays)]
    exe = gx.compile(inputs, f(*inputs), debug="nan", backend=backend)
    with pytest.raises(gx.NumericalError, match=words) as caught:
        exe(*arrays)
    assert caught.value.node in g and "test_debug.py" in str(caught.value)


@pytest.mark.parametrize("name", sorted(NAN_OF_NAN))
def test_what_leaves_its_test_to_others_shows_the_fault(name: str) -> None:
    op, values = OPS[name], np.array([0.0, -0.0, 1.0, -2.0, 1e308, -1e308, np.inf, -np.inf])
    with np.errstate(all="ignore"):
        for slot in range(op.arity or 0):
            for rest in product(values, repeat=(op.arity or 0) - 1):
                assert np.isnan(op.reference(*rest[:slot], np.nan, *rest[slot:])), rest
        if name in BOUNDED:
            assert not np.isinf(op.reference(values[:6])).any()


@pytest.mark.parametrize("backend", BACKENDS)
def test_inputs_are_tested_where_asked(backend: str) -> None:
    g = gx.Graph("passed", float_dtype="float64")
    x = g.input("x", ("n", 2))
    exe = gx.compile([x], gx.where(gx.isnan(x), 0.0, x) @ np.ones((2, 2)), debug="inputs", backend=backend)
    assert exe(np.ones((1, 2))).tolist() == [[2.0, 2.0]]
    with pytest.raises(gx.NumericalError, match=r"x: nan was passed at \[1, 0\]"):
        exe(np.array([[1.0, 2.0], [np.nan, 1.0]]))


def test_a_rule_that_keeps_a_value_finite_is_no_fault() -> None:
    g = gx.Graph("stable", float_dtype="float64")
    x = g.input("x", ("n",))
    y = gx.log(1 + gx.exp(x))
    assert gx.compile([x], y, debug="nan")(np.array([1000.0])).tolist() == [1000.0]


def test_compiled_code_raises_too() -> None:
    g = gx.Graph("compiled", float_dtype="float64")
    x = g.input("x", ())
    root = gx.compile([x], gx.sqrt(x), debug="nan").njit

    @numba.njit
    def f(x: float) -> float:
        return root(x)  # type: ignore[no-any-return]

    assert f(4.0) == 2.0
    with pytest.raises(FloatingPointError, match="NaN or infinity"):
        f(-4.0)


def test_without_debug_nothing_is_tested() -> None:
    g, inputs, loss = planted()
    plain = gx.compile(inputs, loss)
    assert "bad" not in plain.source and str(NOT_FINITE) not in plain.source
    assert "bad" in gx.compile(inputs, loss, debug="nan").source
    assert gx.compile(inputs, loss, debug="bounds").source == gx.compile(inputs, loss, debug="shapes").source
    assert gx.compile(inputs, loss, debug="bounds").source == plain.source
    assert "bad" not in gx.compile(inputs, loss).source


def test_options_that_do_not_fit() -> None:
    g = gx.Graph("options")
    x = g.input("x", ("n",))
    with pytest.raises(gx.CompileError, match="did you mean 'nan'"):
        gx.compile([x], x + 1, debug="nann")
    with pytest.raises(gx.CompileError, match="needs fastmath=False"):
        gx.compile([x], x + 1, debug="nan", fastmath=True)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_shape_that_is_not_as_declared(backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(OPS, "tan", replace(OPS["tan"], reference=lambda x: np.tan(x)[:1]))
    g = gx.Graph("shapes", float_dtype="float64")
    x = g.input("x", ("n",))
    y = g.append(OPS["tan"], (x,), {}, name="bent")
    exe = gx.compile([x], y * 2, debug="shapes", backend=backend)
    assert exe(np.zeros(1)) == 0
    with pytest.raises(gx.ShapeError, match=r"bent: expected float64\[n\], with n = 3; .*shape \(1,\)") as caught:
        exe(np.zeros(3))
    assert caught.value.node == "bent"


def test_an_access_that_leaves_its_array() -> None:
    g = gx.Graph("bounds", float_dtype="float64")
    x = g.input("x", ("n", 3))
    exe = gx.compile([x], gx.tanh(x[1:]).named("rest") @ np.ones((3, 9)), debug="bounds")
    assert exe(np.zeros((4, 3))).shape == (3, 9)
    plan = moved(exe)
    with pytest.raises(gx.InputIndexError, match=r"rest: tanh reads x at 2 to 4 along axis 0, of size 4"):
        check_bounds(plan, {"n": 4})


def moved(exe: Executable) -> Any:
    """The schedule of an executable whose reads of its input go one element too far."""
    plan = exe.program.kernel().schedule
    assert plan is not None
    for statements in plan.statements.values():
        for s in statements:
            for k, access in enumerate(s.operands):
                if access.root == plan.inputs[0]:
                    index = tuple(
                        replace(ix, start=ix.start + 1) if isinstance(ix, Index) else ix for ix in access.index
                    )
                    s.operands = (*s.operands[:k], replace(access, index=index), *s.operands[k + 1 :])
    return plan


def test_bounds_of_all_that_is_scheduled() -> None:
    """Windows, products, scatters, routines: no access of a healthy program is out of bounds."""
    g = gx.Graph("all", float_dtype="float64")
    x, i = g.input("x", ("n", 3, 8, 8)), g.input("i", ("n",), "int64")
    w = g.parameter("w", np.ones((4, 3, 3, 3)))
    h = gx.max_pool2d(gx.relu(gx.conv2d(x, w, padding="same")), 2)
    z = gx.cumsum(gx.reshape(h, (x.shape[0], 64)), axis=1) @ g.parameter("v", np.ones((64, 5)))
    loss = gx.mean(gx.cross_entropy(z, i)) + gx.sum(gx.take(z, i % 2, axis=0))
    exe = gx.compile([x, i], loss, updates=gx.optim.SGD(lr=0.1).updates(loss), debug="bounds")
    for n in (1, 2, 7):
        assert np.isfinite(exe(np.ones((n, 3, 8, 8)), np.zeros(n, "int64")))
    with pytest.raises(gx.InputIndexError, match="label 12 at row 1"):
        exe(np.ones((2, 3, 8, 8)), np.array([0, 12]))
