"""Reductions of one's own: map, combine, identity, finish, over every grouping of elements."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import graphc as gx
from graphc.codegen import team
from graphc.ir.dims import evaluate
from graphc.ir.op import OPS
from graphc.ops.apply import apply
from graphc.ops.reduce import _accumulator, _reduced, _reduction

Fold = Callable[..., Any]
LOWEST = lambda dtype: -np.inf  # noqa: E731
INT64, BOOL = np.dtype("int64"), np.dtype("bool")

# name -> step, identity, NumPy, dtype of the result, finish
OWN: dict[str, tuple[str, Callable[[Any], Any], Fold, Any, str]] = {
    "sum_of_squares": ("reduce_add(acc, a * a)", lambda dtype: 0, lambda x, **k: np.sum(x * x, **k), None, "acc"),
    "nonzeros": ("acc + i64(a != 0)", lambda dtype: 0, lambda x, **k: np.sum(x != 0, **k), INT64, "acc"),
    "largest_exp": ("maximum(acc, exp(a))", LOWEST, lambda x, **k: np.exp(x).max(**k), None, "acc"),
    "any_above": ("acc | (a > {dtype}(0.9))", lambda dtype: False, lambda x, **k: (x > 0.9).any(**k), BOOL, "acc"),
    "two_norm": (
        "reduce_add(acc, a * a)",
        lambda dtype: 0,
        lambda x, **k: np.sqrt(np.sum(x * x, **k)),
        None,
        "sqrt(acc)",
    ),
    "half_of_count": ("acc + i64(a == a)", lambda dtype: 0, lambda x, **k: np.sum(x == x, **k) // 2, INT64, "acc // 2"),
}


@pytest.fixture
def own(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr("graphc.codegen.team.GRAIN", 256)  # shards of a few rows
    for name, (step, identity, fold, dtype, finish) in OWN.items():

        def infer(types: Any, attrs: Any, dtype: Any = dtype) -> Any:
            return _reduced(types[0], attrs, dtype or types[0].dtype)

        _reduction(name, step.replace("{dtype}", "{in_dtype}"), identity, fold, infer=infer, finish=finish)
    yield
    for name in OWN:
        del OPS[name]


@pytest.mark.parametrize("name", OWN)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_every_grouping_gives_the_same(own: None, name: str, dtype: str) -> None:
    assert team.GRAIN == 256
    rng = np.random.default_rng(0)
    x = rng.uniform(-1, 1, (40, 13, 6)).astype(dtype)
    x[::5] = 0
    axes = [c for n in (1, 2, 3) for c in itertools.combinations(range(3), n)]
    for shape in ((40, 13, 6), ("a", "b", "c")):
        g = gx.Graph("own", float_dtype=dtype)
        t = g.input("x", shape, dtype)
        outputs = [apply(name, t * 1.5, axes=a, keepdims=k) for a in axes for k in (False, True)]
        for threads, n in itertools.product((1, 2), (40, 1)):
            if shape[0] == 40 and n == 1:
                continue
            found = gx.compile([t], outputs, threads=threads, cache=False)(x[:n])
            right = gx.compile([t], outputs, backend="numpy")(x[:n])
            for got, wanted in zip(found, right, strict=True):
                np.testing.assert_allclose(got, wanted, rtol=1e-5 if dtype == "float32" else 1e-12)


def test_a_step_is_map_and_combine() -> None:
    def registered(step: str) -> Any:
        try:
            _reduction("stepwise", step, lambda dtype: 0, np.sum)
            return OPS.pop("stepwise")
        finally:
            OPS.pop("stepwise", None)

    made = registered("reduce_add(acc, fabs(a) + 1)")
    assert (made.map, made.combine, made.finish, made.adds) == ("fabs(a) + 1", "reduce_add(acc, a)", "acc", True)
    assert not registered("acc | (a != 0)").adds
    for step in ("acc - a", "a + acc", "a", "reduce_add(a, acc)", "acc + a + acc"):
        with pytest.raises(gx.GraphError, match="op stepwise: expected"):
            registered(step)


def test_small_integers_add_up_in_int64() -> None:
    assert _accumulator(np.dtype("uint8")) == INT64
    g = gx.Graph("small")
    x = g.input("x", ("n", 3), "uint8")
    exe = gx.compile([x], [gx.sum(x), gx.sum(x, 0), gx.prod(x, 1)])
    v = np.full((1000, 3), 200, "uint8")
    for got, wanted in zip(exe(v), (v.sum(), v.sum(0), v.prod(1)), strict=True):
        np.testing.assert_array_equal(got, wanted)


def others(x: np.ndarray) -> np.ndarray:
    """For each element the product of all others along the last axis."""
    before, behind = np.ones_like(x), np.ones_like(x)
    before[..., 1:] = np.cumprod(x[..., :-1], -1)
    behind[..., :-1] = np.cumprod(x[..., :0:-1], -1)[..., ::-1]
    return before * behind


@pytest.mark.parametrize("size", ["n", 1, 32, 33, 64, 1000])
def test_the_gradient_of_a_product_in_blocks(size: int | str) -> None:
    """Of any number of factors, zeros among them, to second order."""
    g = gx.Graph("others", float_dtype="float64")
    x = g.input("x", (2, size), "float64")
    first = gx.grad(gx.sum(gx.prod(x, axis=1)), x)
    exe = gx.compile([x], [first, gx.grad(gx.sum(first * first), x)])
    rng = np.random.default_rng(0)
    for n in (0, 1, 2, 3, 8, 9, 511, 512, 513, 1000, 70_000) if size == "n" else (size,):
        for zeros in range(4):
            v = rng.uniform(0.97, 1.03, (2, n))
            v[0, rng.permutation(n)[:zeros]] = 0
            got, second = exe(v)
            want = others(v)
            np.testing.assert_allclose(got, want, 1e-10)
            # d/dx_j of the sum of o_i^2 is the sum over i != j of 2 o_i times the product of all but i and j
            for row in range(2):
                for j in rng.permutation(n)[:2]:
                    rest = np.where(np.arange(n) == j, 1, v[row])
                    slope = 2 * np.dot(np.delete(want[row], j), np.delete(others(rest), j))
                    np.testing.assert_allclose(second[row, j], slope, 1e-9, 1e-300)


def test_the_gradient_of_a_product_takes_linear_time() -> None:
    for order in (1, 2):
        g = gx.Graph("linear")
        x = g.input("x", ("n",))
        slope = gx.grad(gx.prod(x), x)
        exe = gx.compile([x], slope if order == 1 else gx.grad(gx.sum(slope * slope), x), backend="numpy")
        cost = exe.program.kernel().cost
        assert evaluate(cost, {"n": 10**6}) < 15 * evaluate(cost, {"n": 10**5})
