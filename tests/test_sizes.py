"""The algebra of symbolic sizes: normal forms and proofs, each against numbers."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from graphc.errors import ShapeError
from graphc.ir import dims
from graphc.ir.dims import Size, evaluate, symbol
from graphc.ir.sizes import parse
from graphc.ops.index import _slice

N, M = symbol("n"), symbol("m")
VALUES = [{"n": n, "m": m} for n in (0, 1, 2, 3, 5, 8) for m in (0, 1, 2, 4, 7)]
BOUNDS = [None, 0, 1, 2, 5, 9, -1, -2, -5, -9, 10**30, -(10**30)]
STEPS = [None, 1, 2, 3, -1, -2, -3, 10**30, -(10**30)]


def random_size(rng: np.random.Generator, depth: int = 3) -> Size:
    """A size that is not below zero."""
    kind = rng.integers(0, 8 if depth else 3)
    left = random_size(rng, depth - 1) if kind > 2 else 0
    match kind:
        case 0:
            return int(rng.integers(0, 6))
        case 1:
            return N
        case 2:
            return M
        case 3:
            return left + random_size(rng, depth - 1)
        case 4:
            return dims.floor_divide(left, int(rng.integers(1, 4)))
        case 5:
            return dims.minimum(left, random_size(rng, depth - 1))
        case 6:
            return dims.maximum(left - random_size(rng, depth - 1), 0)
    return dims.multiply(left, int(rng.integers(1, 4)))


@pytest.mark.parametrize("seed", range(60))
def test_extremes_and_proofs_agree_with_numbers(seed: int) -> None:
    rng = np.random.default_rng(seed)
    a, b, c = (random_size(rng) for _ in range(3))
    least, most, cut = dims.minimum(a, b, c), dims.maximum(a, b), dims.bound(a - b, c)
    for values in VALUES:
        x, y, z = (evaluate(size, values) for size in (a, b, c))
        assert evaluate(least, values) == min(x, y, z)
        assert evaluate(most, values) == max(x, y)
        assert evaluate(cut, values) == slice(x - y, None).indices(z)[0]
        for size in (least, most, cut):
            assert eval(dims.source(size, lambda name, v=values: str(v[name]))) == evaluate(size, values)
            assert evaluate(dims.rename(size, values), {}) == evaluate(size, values)
    sizes = [a, b, c, least, most, cut]
    for left, right in itertools.permutations(sizes, 2):
        if dims.at_most(left, right):
            assert all(evaluate(left, v) <= evaluate(right, v) for v in VALUES), (left, right)
    for size in sizes:
        assert parse(str(size)) == size


def test_pieces_of_an_axis_add_up() -> None:
    for cuts in ((3,), (2, 5), (1, -1), (-4, -2), (3, 3)):
        edges = [None, *cuts, None]
        sizes = [_slice(slice(*pair), N)[2] for pair in itertools.pairwise(edges)]
        if all(evaluate(dims.total(sizes), v) == v["n"] for v in VALUES):  # where they never overlap
            assert dims.total(sizes) == N, cuts
    assert _slice(slice(1, None), N)[2] == _slice(slice(None, -1), N)[2]
    once = _slice(slice(2, None), N)[2]
    assert _slice(slice(2, None), once)[2] == _slice(slice(4, None), N)[2]
    assert str(_slice(slice(None, 10), N)[2]) == "min(10, n)" and _slice(slice(None, None, 2), N)[2] == (N + 1) // 2


@pytest.mark.parametrize("step", STEPS)
def test_slices_are_pythons(step: Any) -> None:
    from graphc.ops.assembly import _inside_checks

    moved: list[Any] = [M, N, N - 3, M - 2, N // 2, -M - 1, N - M]
    for start, stop in itertools.product([*BOUNDS, *moved], repeat=2):
        first, stride, size = _slice(slice(start, stop, step), N)
        checks = _inside_checks((N,), (first,), (stride,), (size,))
        for values in VALUES:
            now = slice(*(evaluate(p, values) if isinstance(p, dims.Dim) else p for p in (start, stop, step)))
            expected = list(range(values["n"]))[now]
            count, at = evaluate(size, values), evaluate(first, values)
            assert [at + stride * k for k in range(count)] == expected, (start, stop, step, values)
            assert all(check.holds(values) for check in checks), (start, stop, step, values)
        ends = [bound for bound in (start, stop) if bound is not None]
        if all(isinstance(b, int) for b in ends) and (len(ends) < 2 or min(ends) >= 0):
            assert not checks, (start, stop, step, checks)  # nothing is left to be tested when called


def test_what_may_not_be_a_slice() -> None:
    with pytest.raises(ShapeError, match="must not be 0"):
        _slice(slice(0, 1, 0), N)
