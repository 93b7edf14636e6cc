"""vmap beside a Python loop over examples: every op, its derivatives, axes, structures, nesting, random numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from op_case import ends
from op_cases import CASES, Case

import graphc as gx
from graphc.ir.verify import verify
from graphc.reference import evaluate

GROUPS = [CASES[k : k + 12] for k in range(0, len(CASES), 12)]
EXAMPLES = 3


def close(found: Any, expected: Any, name: str, tolerance: float = 1e-9) -> None:
    found, expected = np.asarray(found), np.asarray(expected)
    assert found.shape == expected.shape and found.dtype == expected.dtype, (name, found.shape, expected.shape)
    np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance, err_msg=name)


def slopes_of(case: Case) -> Any:
    """The function of a case's operands that gives its value and, where there are any, derivatives along fixed ones."""

    def f(*xs: gx.Tensor) -> list[gx.Tensor]:
        y = case.build(*xs)
        if not case.smooth:
            return [y]
        weight = np.random.default_rng(7).normal(size=tuple(y.shape))
        return [y, *gx.vjp(y, list(xs), weight, on_disconnected="zeros")]

    return f


def by_loop_and_by_vmap(case: Case, size: Any) -> tuple[list[gx.Tensor], list[np.ndarray], list[Any]]:
    """Inputs, arrays, and pairs of outputs: with examples of all operands, and of each operand alone."""
    g = gx.Graph("cases", float_dtype="float64")
    drawn = [case.arrays("float64", seed=k) for k in range(EXAMPLES)]
    arrays = [np.stack(a) for a in zip(*drawn, strict=True)]
    xs = [g.input(f"x{k}", (size, *a.shape[1:]), "float64") for k, a in enumerate(arrays)]
    f, pairs = slopes_of(case), []
    for mapped in [range(len(xs)), *([[k] for k in range(len(xs))] if len(xs) > 1 else [])]:
        given = [x if k in mapped else x[0] for k, x in enumerate(xs)]
        made = gx.vmap(f, [0 if k in mapped else None for k in range(len(xs))])(*given)
        rows = [f(*(x[i] if k in mapped else x[0] for k, x in enumerate(xs))) for i in range(EXAMPLES)]
        pairs.append([made, [gx.stack(list(column)) for column in zip(*rows, strict=True)]])
    return xs, arrays, pairs


@pytest.mark.parametrize("group", GROUPS, ids=ends)
def test_every_op_and_its_derivatives(group: list[Case]) -> None:
    for k, case in enumerate(group):
        xs, arrays, pairs = by_loop_and_by_vmap(case, EXAMPLES if k % 3 == 0 else "n")
        for made, looped in gx.compile(xs, pairs, backend="numpy")(*arrays):
            for found, expected in zip(made, looped, strict=True):
                close(found, expected, case.name)


@pytest.mark.parametrize(
    "group",
    [
        pytest.param(group[:4], id=ends(group[:4]), marks=[pytest.mark.slow] * (k % 9 > 0))
        for k, group in enumerate(GROUPS)
    ],
)
def test_compiled(group: list[Case]) -> None:
    for case in group:
        xs, arrays, pairs = by_loop_and_by_vmap(case, "n")
        for made, looped in gx.compile(xs, pairs)(*arrays):
            for found, expected in zip(made, looped, strict=True):
                close(found, expected, case.name)


def test_files_take_every_op(tmp_path: Any) -> None:
    """Indices of all examples are proven to lie in range when a file is read."""
    g = gx.Graph("all", float_dtype="float64")
    inputs, outputs = [], []
    for case in CASES:
        if not {"take", "take_points", "scatter_add", "scatter_max", "scatter_multiply"} & set(_ops(case)):
            continue
        xs = [g.input(f"{case.name}_{k}", ("n", *shape), "float64") for k, shape in enumerate(case.shapes)]
        inputs += xs
        outputs += gx.vmap(slopes_of(case))(*xs)
    assert len(outputs) > 20
    exe = gx.compile(inputs, outputs, backend="numpy", unused="ignore")
    gx.save(tmp_path / "all.graph", f=exe)
    assert len(gx.load(tmp_path / "all.graph")["f"].inputs) == len(exe.inputs)


def _ops(case: Case) -> list[str]:
    g = gx.Graph("one", float_dtype="float64")
    slopes_of(case)(*(g.input(f"x{k}", shape, "float64") for k, shape in enumerate(case.shapes)))
    return [n.op.name for n in g.nodes]


def graph_of(**shapes: tuple[Any, ...]) -> tuple[gx.Graph, list[gx.Tensor]]:
    g = gx.Graph("g", float_dtype="float64")
    return g, [g.input(name, shape) for name, shape in shapes.items()]


def arrays_for(*shapes: tuple[int, ...]) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.normal(size=s) for s in shapes]


def test_axes_and_structures() -> None:
    g, (x, y) = graph_of(x=(2, "n"), y=("n", 3, 2))

    def f(pair: dict[str, gx.Tensor], w: gx.Tensor) -> tuple[gx.Tensor, dict[str, gx.Tensor]]:
        assert pair["x"].shape == (2,) and pair["y"].shape == (3, 2) and w.shape == (3,)
        return pair["y"] @ pair["x"], {"w": w * pair["x"][0], "same": w}

    w = g.parameter("w", [1.0, 2.0, 3.0])
    a, b = gx.vmap(f, in_axes=({"x": -1, "y": 0}, None), out_axes=(1, {"w": -1, "same": None}))({"x": x, "y": y}, w)
    assert a.shape == b["w"].shape == (3, y.shape[0]) and b["same"] is w
    p, q = arrays_for((2, 5), (5, 3, 2))
    found = gx.compile([x, y], [a, b["w"]])(p, q)
    np.testing.assert_allclose(found[0], np.einsum("nij,jn->in", q, p))
    np.testing.assert_allclose(found[1], np.outer([1, 2, 3], p[0]))


def test_it_nests() -> None:
    _, (x, y) = graph_of(x=("n", 4), y=("m", 4))
    distances = gx.vmap(lambda a: gx.vmap(lambda b: gx.norm(a - b))(y))(x)
    assert distances.shape == (x.shape[0], y.shape[0])
    slopes = gx.vmap(gx.vmap(lambda a, b: gx.grad(gx.norm(a - b), a), (None, 0)), (0, None))(x, y)
    p, q = arrays_for((3, 4), (5, 4))
    found = gx.compile([x, y], [distances, slopes])(p, q)
    apart = p[:, None] - q
    np.testing.assert_allclose(found[0], np.linalg.norm(apart, axis=-1))
    np.testing.assert_allclose(found[1], apart / np.linalg.norm(apart, axis=-1, keepdims=True))


def test_with_all_other_transforms() -> None:
    """jvp of vmap, vmap of jvp, grad of vmap of grad, hvp in vmap; parameters that the function uses get gradients."""
    g, (x, t) = graph_of(x=("n", 3), t=("n", 3))
    w = g.parameter("w", [0.5, -1.0, 2.0])

    def f(row: gx.Tensor) -> gx.Tensor:
        return gx.sum(gx.sin(row * w)) * gx.sum(row)

    pushed = gx.jvp(gx.vmap(f)(x), x, t)
    each = gx.vmap(lambda row, along: gx.jvp(f(row), row, along))(x, t)
    back = gx.grad(gx.sum(gx.vmap(lambda row: gx.sum(gx.grad(f(row), row) ** 2))(x)), [x, w])
    bent = gx.vmap(lambda row, along: gx.hvp(f(row), row, along))(x, t)
    total = gx.grad(gx.sum(gx.vmap(lambda row: gx.sum(gx.grad(f(row), w)))(x)), w)
    p, q = arrays_for((4, 3), (4, 3))
    found = gx.compile([x, t], [pushed, each, *back, bent, total])(p, q)
    jax = pytest.importorskip("jax")
    jax.config.update("jax_enable_x64", True)
    jnp, held = jax.numpy, np.array([0.5, -1.0, 2.0])

    def one(row: Any, w: Any) -> Any:
        return jnp.sum(jnp.sin(row * w)) * jnp.sum(row)

    def squared(p: Any, w: Any) -> Any:
        return jnp.sum(jax.vmap(lambda row: jnp.sum(jax.grad(one)(row, w) ** 2))(p))

    tangents = jax.vmap(lambda a, b: jax.jvp(lambda r: one(r, held), (a,), (b,))[1])(p, q)
    products = jax.vmap(lambda a, b: jax.hessian(one)(a, held) @ b)(p, q)
    sums = jax.grad(lambda w: jnp.sum(jax.vmap(lambda row: jnp.sum(jax.grad(one, 1)(row, w)))(p)))(held)
    expected = [tangents, tangents, *jax.grad(squared, (0, 1))(p, held), products, sums]
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)


def test_per_example_gradients_of_a_network() -> None:
    g = gx.Graph("net")
    x, y = g.input("x", ("n", 8)), g.input("y", ("n",), "int64")
    w1 = g.parameter("w1", gx.init.normal((8, 5), std=0.5, seed=0))
    w2 = g.parameter("w2", gx.init.normal((5, 3), std=0.5, seed=1))

    def slopes(a: gx.Tensor, label: gx.Tensor) -> list[gx.Tensor]:
        return gx.grad(gx.cross_entropy(gx.relu(a @ w1) @ w2, label), [w1, w2])

    each = gx.vmap(slopes)(x, y)
    whole = gx.grad(gx.sum(gx.cross_entropy(gx.relu(x @ w1) @ w2, y)), [w1, w2])
    norms = gx.vmap(lambda a, label: gx.sqrt(sum(gx.sum(s * s) for s in slopes(a, label))))(x, y)
    f = gx.compile([x, y], [*each, *whole, norms])
    rng = np.random.default_rng(2)
    a, b, c, d, lengths = f(rng.normal(size=(6, 8)).astype("float32"), rng.integers(0, 3, 6))
    np.testing.assert_allclose(a.sum(0), c, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(b.sum(0), d, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(lengths, np.sqrt((a**2).sum((1, 2)) + (b**2).sum((1, 2))), rtol=1e-4)


def test_random_numbers_differ_between_examples() -> None:
    g, (x,) = graph_of(x=("n", 50))
    key = g.random_key(3)
    made = gx.vmap(
        lambda row: [gx.random.normal(key, (4,)), gx.dropout(row, 0.5, key=key), gx.random.uniform(key, ())]
    )(x)
    assert [t.shape[1:] for t in made] == [(4,), (50,), ()]
    with pytest.warns(UserWarning, match="without updates"):
        f = gx.compile([x], [*made, gx.inference(made[1])])
    normal, dropped, uniform, kept = f(np.ones((6, 50)))
    assert len(np.unique(normal)) == 24 and len(np.unique(uniform)) == 6
    assert len(np.unique(dropped == 0, axis=0)) == 6 and (kept == 1).all()


def test_the_graph_holds_the_result_alone() -> None:
    g, (x,) = graph_of(x=("n", 3))
    inside = []

    def f(row: gx.Tensor) -> gx.Tensor:
        inside.append(row)
        w = g.parameter("w", np.ones(3))
        return gx.exp(row * w).named("h") + gx.sum(w)

    y = gx.vmap(f)(x)
    assert g["h"].shape == x.shape and "w" in g.parameters and list(g.inputs) == ["x"]
    assert {n.name for n in g.nodes} == set(g._names) and [n.id for n in g.nodes] == list(range(len(g)))
    assert g.outputs == (y,) and set(g.nx.nodes) == set(range(len(g)))
    with pytest.raises(gx.GraphError, match=r"operands of two graphs.*inside vmap"):
        inside[0] + x
    assert inside[0].shape == (3,)


def test_a_function_that_fails_leaves_nothing() -> None:
    g, (x,) = graph_of(x=("n", 3))
    before = g.to_networkx()

    def f(row: gx.Tensor) -> gx.Tensor:
        return gx.exp(row) @ np.ones(4)

    with pytest.raises(gx.ShapeError, match="inner dimensions differ") as error:
        gx.vmap(f)(x)
    assert error.value.origin.file == __file__
    assert list(g.to_networkx()) == list(before) and len(g) == 1


def test_no_examples_and_one() -> None:
    _, (x,) = graph_of(x=("n", 3))
    f = gx.compile([x], gx.vmap(lambda r: gx.grad(gx.logsumexp(r), r))(x))
    assert f(np.zeros((0, 3))).shape == (0, 3)
    np.testing.assert_allclose(f(np.zeros((1, 3))), [[1 / 3] * 3])


def test_sizes_of_two_names_are_tested_when_called() -> None:
    _, (x, y) = graph_of(x=("n", 3), y=("m", 3))
    f = gx.compile([x, y], gx.vmap(lambda a, b: a * b)(x, y))
    assert f(np.ones((2, 3)), np.ones((2, 3))).shape == (2, 3)
    with pytest.raises(gx.InputShapeError):
        f(np.ones((2, 3)), np.ones((3, 3)))


@pytest.mark.parametrize(
    ("call", "kind", "words"),
    [
        (lambda x, y: gx.vmap(gx.exp, in_axes=2)(x), gx.ShapeError, "axis 2 does not exist"),
        (lambda x, y: gx.vmap(gx.exp, in_axes=None)(x), gx.ShapeError, "at least one argument"),
        (lambda x, y: gx.vmap(gx.add)(x, y), gx.ShapeError, "number of examples differs: 4 and 5 in y"),
        (lambda x, y: gx.vmap(gx.add, in_axes=(0,))(x, y), gx.ShapeError, "in_axes must be an int, None or a list of 2"),
        (lambda x, y: gx.vmap(gx.add, in_axes=(0, "a"))(x, y), gx.DTypeError, "in_axes must be an int or None"),
        (lambda x, y: gx.vmap(gx.exp, out_axes=3)(x), gx.ShapeError, "axis 3 does not exist"),
        (lambda x, y: gx.vmap(gx.exp, out_axes=None)(x), gx.ShapeError, "out_axes is None for exp_"),
        (lambda x, y: gx.vmap(lambda r: 3)(x), gx.GraphError, "what the function returns must be a tensor"),
        (lambda x, y: gx.vmap(gx.exp)(np.ones(3)), gx.GraphError, "the arguments of vmap must be a tensor"),
    ],
)  # fmt: skip
def test_errors_say_what_was_expected(call: Any, kind: type, words: str) -> None:
    _, (x, y) = graph_of(x=(4, 3), y=(5, 3))
    with pytest.raises(kind, match=words) as error:
        call(x, y)
    assert error.value.origin.file == __file__


def test_a_key_with_examples_is_refused() -> None:
    g, (x,) = graph_of(x=("n", 3))
    keys = g.input("keys", ("n", 2), "int64")
    with pytest.raises(gx.UnsupportedOpError, match="random key"):
        gx.vmap(lambda row, key: row + gx.random.uniform(key, (3,)))(x, keys)


# ---- loops and branches


def _recurrence(x: gx.Tensor, w: gx.Tensor) -> gx.Tensor:
    """A scan with a carry that examples share, rows, results and a captured weight."""

    def step(carry: Any, row: gx.Tensor) -> Any:
        h, k = carry
        h = gx.tanh(h * row + gx.sum(w)) + 0.1 * x[0]
        return (h, k + 1), h * k.astype("float64")

    (h, _), ys = gx.scan(step, (x[1], 0), x, reverse=True)
    return gx.sum(h * h) + gx.sum(gx.sin(ys))


def _halving(x: gx.Tensor, w: gx.Tensor) -> gx.Tensor:
    """As many steps as an example needs."""
    a, n = gx.while_loop(lambda c: gx.sum(c[0] ** 2) > 1.0, lambda c: (c[0] * 0.5 * w[0], c[1] + 1.0), (x[0], 0.0), 12)
    return gx.sum(a * w) + gx.sum(gx.sqrt(n + 1.0))


def _counted(x: gx.Tensor, w: gx.Tensor) -> gx.Tensor:
    """As many steps for all."""
    _, a = gx.while_loop(lambda c: c[0] < 3, lambda c: (c[0] + 1, gx.sin(c[1]) * w + x[1]), (0, x[0]), 5)
    return gx.sum(a)


def _sides(x: gx.Tensor, w: gx.Tensor) -> gx.Tensor:
    chosen = gx.cond(gx.sum(x) > 0, lambda t: gx.sqrt(gx.abs(t)) * w, lambda t: t * t, x[0])
    shared = gx.cond(gx.sum(w) > 0, lambda t: gx.exp(t) * x[1], lambda t: t, x[2])
    return gx.sum(chosen) + gx.sum(shared)


LOOPS = {"scan": _recurrence, "while": _halving, "counted": _counted, "cond": _sides}


@pytest.mark.parametrize("name", LOOPS)
@pytest.mark.parametrize(
    "shared, backend", [(False, "numpy"), (True, "numpy"), pytest.param(False, "numba", marks=pytest.mark.slow)]
)
def test_loops_and_branches(name: str, shared: bool, backend: str) -> None:
    """Values, gradients inside and outside, forward mode and second derivatives, beside a Python loop."""
    f = LOOPS[name]
    g, (x, w) = graph_of(x=("n", 3, 2), w=("n", 2))
    axes = (0, None if shared else 0)
    given = (x, w[0] if shared else w)

    def derivatives(a: gx.Tensor, b: gx.Tensor) -> list[gx.Tensor]:
        y = f(a, b)
        return [y, *gx.grad(y, [a, b]), gx.jvp(y, a, np.ones((3, 2))), gx.hvp(y, a, np.ones((3, 2)))]

    many = gx.vmap(derivatives, axes)(*given)
    outside = gx.grad(gx.sum(gx.vmap(f, axes)(*given) ** 2), list(given))
    rows = [derivatives(x[i], given[1] if shared else w[i]) for i in range(3)]
    looped = [gx.stack(list(column)) for column in zip(*rows, strict=True)]
    total = gx.sum(gx.stack([f(x[i], given[1] if shared else w[i]) for i in range(3)]) ** 2)
    p, q = arrays_for((3, 3, 2), (3, 2))
    q = np.abs(q) + 0.5
    found = gx.compile([x, w], [many, looped, outside, gx.grad(total, list(given))], backend=backend)(3 * p, q)
    for one, other in (found[:2], found[2:]):
        for a, b in zip(one, other, strict=True):
            close(a, b, name)


def test_inside_a_loop() -> None:
    """vmap, jvp and jacobian in the body of a scan, of what it carries and of tensors around it."""
    g, (x, w) = graph_of(x=("n", 3), w=(3,))

    def step(carry: gx.Tensor, row: gx.Tensor) -> Any:
        rows = gx.vmap(lambda r: gx.tanh(r * row) + w)(x)
        moved = gx.jvp(gx.sum(rows * carry, 0), w, np.ones(3))
        bent = gx.sum(gx.jacobian(gx.sin(row * w), w), 0)
        return carry * 0.5 + gx.sum(rows, 0), moved + bent

    last, ys = gx.scan(step, w, x)
    f = gx.compile([x, w], [last, ys, gx.grad(gx.sum(ys) + gx.sum(last), [x, w])], backend="numpy")
    p, q = arrays_for((4, 3), (3,))
    carry, expected = q, []
    for row in p:
        rows = np.tanh(p * row) + q
        expected.append(4 * carry + row * np.cos(row * q))
        carry = carry * 0.5 + rows.sum(0)
    found = f(p, q)
    np.testing.assert_allclose(found[0], carry)
    np.testing.assert_allclose(found[1], expected)
    assert all(np.isfinite(v).all() for v in found[2])


def test_loops_with_results_and_operands_that_say_nothing() -> None:
    """A loop of which one result differs between examples and another does not, and one that is given what it ignores."""
    g, (x, w) = graph_of(x=("b", 3), w=(3,))

    def mixed(row: gx.Tensor) -> gx.Tensor:
        def step(c: Any, _: Any) -> Any:
            (a, b), _ = gx.scan(lambda c, _: ((c[0] * row, gx.sin(c[1])), None), c, length=2)
            return (a, b), None

        (a, b), _ = gx.scan(step, (row, w), length=2)
        return a + b

    def ignored(row: gx.Tensor) -> gx.Tensor:
        def step(c: gx.Tensor, _: Any) -> Any:
            gx.sin(row)
            return c * w, gx.cond(gx.sum(w) > 0, lambda r: w, lambda r: c, row)

        c, ys = gx.scan(step, w, length=2)
        return gx.sum(ys, 0) + c + row

    arrays = arrays_for((4, 3), (3,))
    for f in (mixed, ignored):
        y = gx.vmap(f)(x)
        verify(g)
        one = g.input(g.free("row"), (3,))
        single = f(one)
        found = gx.compile([x, w], y)(*arrays)
        for k, row in enumerate(arrays[0]):
            close(found[k], gx.compile([one, w], single)(row, arrays[1]), f.__name__)


def test_what_waits_for_examples() -> None:
    """An inner value that all examples share is computed again once the cotangent of each is known."""
    g, (x, w) = graph_of(x=("b", 3), w=(3,))
    y = gx.vmap(lambda row: gx.grad(gx.sum(gx.checkpoint(lambda w: gx.sin(gx.exp(w)))(w) * row), w))(x)
    arrays = arrays_for((4, 3), (3,))
    expected = arrays[0] * np.cos(np.exp(arrays[1])) * np.exp(arrays[1])
    for backend in ("numpy", "numba"):
        close(gx.compile([x, w], y, backend=backend)(*arrays), expected, backend)
    close(evaluate([y], {"x": arrays[0], "w": arrays[1]})[0], expected, "interpreter")


def test_draws_in_loops_differ_between_examples() -> None:
    g, (x,) = graph_of(x=("n", 2))
    key = g.random_key(5)

    def walk(row: gx.Tensor) -> gx.Tensor:
        return gx.scan(lambda c, _: (c, gx.random.normal(key, ())), row, length=4)[1]

    with pytest.warns(UserWarning, match="without updates"):
        f = gx.compile([x], gx.vmap(walk)(x), unused="ignore")
    assert len(np.unique(f(np.zeros((5, 2))))) == 20


def draws_again() -> dict[str, Any]:
    """What computes again in a gradient: random numbers, and elements at an index that all examples share."""

    def loop(f: Any) -> Any:
        return lambda t, key, i: gx.scan(lambda c, _: (f(c, key, i), None), t, length=2)[0]

    noise = lambda t, key, i: gx.sin(t) * gx.random.normal(key, (3,))  # noqa: E731
    place = lambda t, key, i: gx.sin(t) * gx.take(t, i, 0)  # noqa: E731
    inner = lambda t, key, i: loop(noise)(gx.exp(t), key, i)  # noqa: E731
    return {"numbers": noise, "an element": place, "a loop": inner}


@pytest.mark.filterwarnings("ignore:.*drawn from without updates")
@pytest.mark.parametrize("second", [False, True])
def test_what_is_computed_again_for_examples_in_a_loop(second: bool) -> None:
    feeds = [np.random.default_rng(0).normal(size=(4, 3)), 1]
    for name, f in [*draws_again().items()][: 1 if second else None]:
        found = []
        for wrap in (gx.checkpoint, lambda f: f):
            g = gx.Graph(float_dtype="float64")
            x, i, key = g.input("x", (4, 3)), g.input("i", (), "int64"), g.random_key(3)

            def slope(row: Any, wrap: Any = wrap, f: Any = f, i: Any = i, key: Any = key) -> Any:
                last, _ = gx.scan(lambda c, _: (wrap(lambda t: f(t, key, i))(c), None), row, length=2)
                return gx.hessian(gx.sum(last), row) if second else gx.grad(gx.sum(last), row)

            found.append(gx.compile([x, i], gx.vmap(slope)(x), unused="ignore")(*feeds))
        np.testing.assert_allclose(*found, 1e-12, 1e-12, err_msg=name)


def _up_to(x: gx.Tensor, n: gx.Tensor) -> gx.Tensor:
    """The sum of the first elements, by a loop that would read beyond the last one if it went on."""
    return gx.while_loop(lambda c: c[0] < n, lambda c: (c[0] + 1, c[1] + gx.take(x, c[0], 0) ** 2), (0, 0.0 * x[0]), 4)[
        1
    ]


UNTAKEN = {
    "an index": (
        lambda x, n: gx.cond(n < 3, lambda: gx.take(x, n, 0) ** 2, lambda: gx.sum(x)),
        lambda x, n: x[n] ** 2 if n < 3 else x.sum(),
        [1, 7],
    ),
    "an index in a loop": (
        lambda x, n: gx.cond(
            n < 3,
            lambda: gx.scan(lambda c, _: (c + gx.take(x, n, 0), None), 0.0 * x[0], length=3)[0],
            lambda: gx.sum(x),
        ),
        lambda x, n: 3 * x[n] if n < 3 else x.sum(),
        [1, 20],
    ),
    "a loop without end": (
        lambda x, n: gx.cond(
            n > 0,
            lambda: gx.while_loop(lambda c: c[0] != n, lambda c: (c[0] + 1, c[1] * x[0]), (0, x[1]), 9)[1],
            lambda: gx.sum(x),
        ),
        lambda x, n: x[1] * x[0] ** n if n > 0 else x.sum(),
        [3, -2],
    ),
    "steps of others": (_up_to, lambda x, n: (x[:n] ** 2).sum(), [3, 1]),
}


@pytest.mark.parametrize("backend", ["numpy", "numba"])
@pytest.mark.parametrize("what", UNTAKEN)
def test_what_an_example_does_not_take_does_not_fail(what: str, backend: str) -> None:
    build, expected, counts = UNTAKEN[what]
    g = gx.Graph("untaken", float_dtype="float64")
    x, n = g.input("x", (2, 3)), g.input("n", (2,), "int64")
    y = gx.vmap(build)(x, n)
    slope = gx.grad(gx.sum(y), x)
    found = gx.compile([x, n], [y, slope, gx.grad(gx.sum(slope * slope), x, on_disconnected="zeros")], backend=backend)
    a = np.arange(6.0).reshape(2, 3) + 1.0
    value, first, _ = found(a, np.array(counts))
    np.testing.assert_allclose(value, [expected(row, k) for row, k in zip(a, counts, strict=True)])
    step = 1e-6 * np.eye(6).reshape(6, 2, 3)
    near = [sum(expected(row, k) for row, k in zip(a + d, counts, strict=True)) for d in step]
    far = [sum(expected(row, k) for row, k in zip(a - d, counts, strict=True)) for d in step]
    np.testing.assert_allclose(first.ravel(), (np.array(near) - far) / 2e-6, rtol=1e-6, atol=1e-6)


def test_an_index_that_examples_share_is_tested_where_one_takes_it() -> None:
    g = gx.Graph("shared", float_dtype="float64")
    x, n, taken = g.input("x", (2, 3)), g.input("n", (), "int64"), g.input("taken", (2,), "bool")
    y = gx.vmap(lambda x, taken: gx.cond(taken, lambda: gx.take(x, n, 0), lambda: 2.0 * x[0]))(x, taken)
    found, a = gx.compile([x, n, taken], y), np.arange(6.0).reshape(2, 3)
    assert found(a, 9, np.array([False, False])).tolist() == [0.0, 6.0]
    with pytest.raises(gx.errors.InputIndexError, match="index 9"):
        found(a, 9, np.array([False, True]))
