"""Every row of the table of gradient conventions, by name; other tests look at each more closely."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import graphc as gx

INF, NAN = np.inf, np.nan
Rows = list[tuple[Callable[..., Any], list[Any], list[Any]]]  # a function, its operands, the derivatives of its sum

CONVENTIONS: dict[str, Rows] = {
    "max and min share among ties": [
        (gx.max, [[1, 3, 3, 2]], [[0, 0.5, 0.5, 0]]),
        (lambda x: gx.min(x, 1), [[[1, 1, 1], [0, 2, 3]]], [[[1 / 3] * 3, [1, 0, 0]]]),
    ],
    "maximum and minimum at equal operands; relu at 0": [
        (gx.maximum, [[2, 1], [2, 0]], [[0.5, 1], [0.5, 0]]),
        (gx.minimum, [[2, 1], [2, 0]], [[0.5, 0], [0.5, 1]]),
        (gx.relu, [[-1, 0, 1]], [[0, 0, 1]]),
    ],
    "broadcast operands are summed back": [
        (gx.multiply, [[[1], [2]], [3, 4, 5]], [[[12], [12]], [3, 3, 3]]),
        (lambda a, b: a - b, [1, [1, 2]], [2, [-1, -1]]),
    ],
    "abs and sign at 0": [(gx.abs, [[-2, 0, 2]], [[-1, 0, 1]]), (gx.sign, [[-2, 0, 2]], [[0, 0, 0]])],
    "sqrt and norm at 0": [
        (gx.sqrt, [[0, 4]], [[INF, 0.25]]),
        (gx.norm, [[0, 0]], [[0, 0]]),
        (lambda x: gx.norm(x) ** 2, [[0, 3]], [[0, 6]]),
    ],
    "powers": [
        (lambda x: x**3, [[-2, 0]], [[12, 0]]),
        (gx.pow, [[0, 3, 2], [2, 0, 1]], [[0, 0, 1], [0, np.log(3), 2 * np.log(2)]]),
    ],
    "what selects hands no NaN on": [
        (lambda x: gx.where(x > 0, gx.log(x), 0), [[-1, 2]], [[0, 0.5]]),
        (lambda x: gx.where(gx.equal(x, 0), 1, gx.sqrt(x)), [[0, 4]], [[0, 0.25]]),
        (lambda x: gx.clip(gx.sqrt(x), 1, 3), [[0, 4]], [[0, 0.25]]),
        (lambda x: gx.maximum(gx.sqrt(x), 1), [[0, 4]], [[0, 0.25]]),
    ],
    "xlogy at 0": [(gx.xlogy, [[0, 0, 2], [3, 0, 1]], [[np.log(3), -INF, 0], [0, 0, 2]])],
    "products with zeros": [
        (gx.prod, [[0, 2, 3]], [[6, 0, 0]]),
        (gx.prod, [[0, 0, 3]], [[0, 0, 0]]),
        (gx.prod, [[1, 2, 3]], [[6, 3, 2]]),
    ],
    "running products with zeros": [
        (gx.cumprod, [[2, 0, 3, 0]], [[1, 8, 0, 0]]),
        (gx.cumprod, [[1, 2, 3]], [[9, 4, 2]]),
    ],
    "rows with -inf": [
        (gx.logsumexp, [[-INF, 0, 0]], [[0, 0.5, 0.5]]),
        (gx.logsumexp, [[-INF, -INF]], [[0, 0]]),
        (lambda x: gx.softmax(x)[1], [[-INF, 0, 0]], [[0, 0.25, -0.25]]),
    ],
    "repeated indices accumulate": [
        (lambda x: gx.take(x, [0, 0, 2], 0), [[1, 2, 3]], [[2, 0, 1]]),
        (lambda x: x[[1, 1]] ** 2, [[1, 2, 3]], [[0, 8, 0]]),
    ],
    "of repeated places the last writer counts": [
        (lambda x, v: x.at[[0, 0]].set(v), [[1, 2], [3, 4]], [[0, 1], [0, 1]]),
        (lambda x, v: gx.scatter_set(x, [1, 1], v) ** 2, [[1, 2], [3, 4]], [[2, 0], [0, 8]]),
    ],
    "orders are stable and carry the gradient": [
        (lambda x: gx.sort(x) * [1.0, 2.0, 3.0], [[2, 1, 1]], [[3, 1, 2]]),
        (lambda x: gx.topk(x, 2)[0] * [1.0, 2.0], [[1, 3, 3]], [[0, 1, 2]]),
        (lambda x: gx.take_along_axis(x, x.graph.constant([2, 2]), 0), [[1, 2, 3]], [[0, 0, 2]]),
    ],
    "paddings and windows": [
        (lambda x: gx.pad(x, ((2, 1),), mode="edge"), [[1, 2, 3]], [[3, 1, 2]]),
        (lambda x: gx.pad(x, ((2, 1),), mode="reflect"), [[1, 2, 3]], [[1, 3, 2]]),
        (lambda x: x[::-2] * [1.0, 2.0], [[1, 2, 3]], [[2, 0, 1]]),
        (lambda x: gx.conv1d(x, np.array([[[1.0, 10.0]]]), stride=3), [[[[1, 2, 3, 4]]]], [[[[1, 10, 0, 0]]]]),
        (lambda x: gx.avg_pool1d(x, 2, stride=3), [[[[1, 2, 3, 4]]]], [[[[0.5, 0.5, 0, 0]]]]),
    ],
    "max_pool takes the first of a window": [
        (lambda x: gx.max_pool1d(x, 2), [[[[3, 3, 1, 2]]]], [[[[1, 0, 0, 1]]]]),
        (lambda x: gx.max_pool1d(x, 2, stride=2, padding=1), [[[[-1, -2, -3]]]], [[[[1, 1, 0]]]]),
    ],
    "divisors of avg_pool": [
        (lambda x: gx.avg_pool1d(x, 2, padding=1), [[[[4, 2]]]], [[[[0.5, 0.5]]]]),
        (lambda x: gx.avg_pool1d(x, 2, padding=1, count_include_pad=False), [[[[4, 2]]]], [[[[1, 1]]]]),
        (lambda x: gx.avg_pool1d(x, 2, ceil_mode=True), [[[[4, 2, 6]]]], [[[[0.5, 0.5, 1]]]]),
    ],
    "std at 0": [(gx.std, [[2, 2, 2]], [[0, 0, 0]]), (gx.var, [[2]], [[0]])],
    "clip on its closed interval": [(lambda x: gx.clip(x, -1, 1), [[-2, -1, 0, 1, 2]], [[0, 1, 1, 1, 0]])],
    "IEEE at the edges of domains": [
        (gx.asin, [[1]], [[INF]]), (gx.acos, [[-1]], [[-INF]]), (gx.acosh, [[1]], [[INF]]), (gx.atanh, [[1]], [[INF]]),
        (gx.reciprocal, [[0]], [[-INF]]), (gx.log, [[0]], [[INF]]),
    ],
    "float32 keeps subnormal numbers": [(lambda x: x * 2.0**100 * 2.0**-140, [[1]], [[2.0**-40]])],
}  # fmt: skip


@pytest.mark.parametrize("backend", ["numba", "numpy"])
@pytest.mark.parametrize("row", CONVENTIONS)
def test_convention(row: str, backend: str) -> None:
    """With sizes that are known and with symbolic ones, where the function takes these."""
    dtype = "float32" if "float32" in row else "float64"
    for symbolic in (False, True):
        g = gx.Graph("row", float_dtype=dtype)
        inputs, wanted, slopes, arrays = [], [], [], []
        for k, (function, operands, expected) in enumerate(CONVENTIONS[row]):
            values = [np.array(o, dtype) for o in operands]
            names = [[f"s{k}_{j}_{a}" for a in range(v.ndim)] if symbolic else v.shape for j, v in enumerate(values)]
            xs = [g.input(f"x{k}_{j}", n, dtype) for j, n in enumerate(names)]
            try:
                y = function(*xs)
            except gx.ShapeError:  # asks for known sizes
                assert symbolic
                continue
            slopes += gx.grad(gx.sum(y), xs, on_disconnected="zeros")
            inputs, arrays, wanted = [*inputs, *xs], [*arrays, *values], [*wanted, *expected]
        if not slopes:
            continue
        with np.errstate(all="ignore"):
            found = gx.compile(inputs, slopes, backend=backend, unused="ignore")(*arrays)
        for a, b in zip(found, wanted, strict=True):
            np.testing.assert_allclose(a, np.array(b, dtype), rtol=1e-6 if dtype == "float32" else 1e-14, atol=0)


def test_convention_of_integers_and_bools() -> None:
    g = gx.Graph("whole")
    n, b = g.input("n", (3,), "int64"), g.input("b", (3,), "bool")
    for t in (n, b):
        with pytest.raises(gx.GradientError, match="only float tensors have derivatives"):
            gx.grad(gx.sum(gx.astype(t, "float32")), t)


@pytest.mark.parametrize("backend", ["numba", "numpy"])
def test_convention_of_empty_axes(backend: str) -> None:
    g = gx.Graph("empty", float_dtype="float64")
    x = g.input("x", ("n", 2))
    exe = gx.compile([x], [gx.sum(x, 0), gx.prod(x, 0), gx.grad(gx.sum(x * x), x)], backend=backend)
    for rows in (0, 1):
        total, product, slope = exe(np.full((rows, 2), 3.0))
        assert total.tolist() == [3.0 * rows] * 2 and product.tolist() == [3.0**rows] * 2 and slope.shape == (rows, 2)
    with pytest.raises(gx.ShapeError):
        gx.max(g.input("none", (0, 2)), 0)
    with pytest.raises(gx.InputShapeError):
        gx.compile([x], gx.max(x, 0), backend=backend)(np.ones((0, 2)))
