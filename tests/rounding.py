"""How far rounding may move results: a bound from what the interpreter computes, in float64 and less exactly."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any
from unittest import mock

import numpy as np
from random_graphs import RandomGraph

from graphc import reference

EVALUATIONS = 3  # in which rounding goes other ways, since once it may be right by chance
TINY = np.finfo("float64").tiny
FUNCTIONS = {
    "exp",
    "expm1",
    "log",
    "log1p",
    "tanh",
    "sigmoid",
    "softplus",
    "sin",
    "cos",
    "pow",
    "logaddexp",
}  # of random graphs


def one_after_the_other(x: Any, axis: tuple[int, ...], dtype: Any = None, keepdims: bool = False) -> Any:
    """``np.sum`` as a plain loop adds; NumPy adds halves, whose error hardly grows with the number of terms."""
    rest = [a for a in range(x.ndim) if a not in axis]
    kept = [x.shape[a] for a in rest]
    terms = np.transpose(x, (*axis, *rest)).reshape(math.prod(x.shape[a] for a in axis), *kept)
    start = np.zeros((1, *kept), dtype or x.dtype)
    total = np.add.accumulate(np.concatenate([start, terms]), axis=0, dtype=start.dtype)[-1]
    return np.expand_dims(total, axis) if keepdims else total


def roundly(rng: np.random.Generator) -> Any:
    """`reference.run_node` with functions an ulp off, up or down, and equal values equally."""
    factor = rng.integers(2**63, dtype="uint64") | np.uint64(1)

    def run_node(graph: Any, node: Any, operands: Any, sizes: Any, exactly: Any = reference.run_node) -> np.ndarray:
        value = exactly(graph, node, operands, sizes)
        if node.op.name not in FUNCTIONS:
            return value
        mixed = value.astype("float64").view("uint64") * factor
        moved = np.nextafter(value, np.where(mixed >> np.uint64(63), np.inf, -np.inf), dtype=value.dtype)
        return np.where(np.isfinite(value) & (value != 0), moved, value)

    return run_node


def assert_as_near_as_rounding(
    graph: RandomGraph, arrays: Sequence[np.ndarray], found: Sequence[np.ndarray]
) -> list[float]:
    """Results in the graph's dtype are off from float64's at most four times as far as the interpreter's.

    It adds one term after the other, with its inputs and functions an ulp off, up or down. Distances are the largest of
    an output, and an ulp of its largest value is added to the interpreter's; where that has infinities or NaN, so have
    they. The bounds are returned, in ulps of each output's largest value.
    """
    inputs, outputs = graph.build()
    names = [t.name for t in inputs]
    wide = replace(graph, dtype="float64").build()[1]
    exact = reference.evaluate(wide, {n: a.astype("float64") for n, a in zip(names, arrays, strict=True)})
    rng, others = np.random.default_rng(0), []
    with mock.patch.object(np, "sum", one_after_the_other):
        others.append(reference.evaluate(outputs, dict(zip(names, arrays, strict=True))))
        for _ in range(EVALUATIONS):
            near = [np.nextafter(a, rng.choice([-np.inf, np.inf], a.shape), dtype=a.dtype) for a in arrays]
            with mock.patch.object(reference, "run_node", roundly(rng)):
                others.append(reference.evaluate(outputs, dict(zip(names, near, strict=True))))
    bounds, eps = [], float(np.finfo(graph.dtype).eps)
    for k, (mine, true, *theirs) in enumerate(zip(found, exact, *others, strict=True)):
        finite = np.isfinite([true, *theirs]).all(axis=0)
        np.testing.assert_array_equal(mine[~finite], theirs[0][~finite], err_msg=str(k))
        largest = np.max(np.abs(true[finite]), initial=0.0)
        spread = max(np.max(np.abs(each - true)[finite], initial=0.0) for each in theirs)
        bound = 4 * (spread + eps * largest)
        off = np.max(np.abs(mine - true)[finite], initial=0.0)
        assert off <= bound, f"output {k} of seed {graph.seed}: off by {off}, the interpreter by {spread}"
        bounds.append(bound / max(eps * largest, TINY))
    return bounds
