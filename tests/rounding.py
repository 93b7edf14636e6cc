"""How far float32 may stray: a bound from what the interpreter computes in float32 and in float64."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any
from unittest import mock

import numpy as np
from random_graphs import RandomGraph

from graphc.reference import evaluate

EPS, TINY = np.finfo("float32").eps, np.finfo("float64").tiny
NEIGHBOURS = 3  # inputs an ulp away, since one rounding may be right by chance


def one_after_the_other(x: Any, axis: tuple[int, ...], dtype: Any = None, keepdims: bool = False) -> Any:
    """``np.sum`` as a plain loop adds; NumPy adds halves, whose error hardly grows with the number of terms."""
    rest = [a for a in range(x.ndim) if a not in axis]
    kept = [x.shape[a] for a in rest]
    terms = np.transpose(x, (*axis, *rest)).reshape(math.prod(x.shape[a] for a in axis), *kept)
    start = np.zeros((1, *kept), dtype or x.dtype)
    total = np.add.accumulate(np.concatenate([start, terms]), axis=0, dtype=start.dtype)[-1]
    return np.expand_dims(total, axis) if keepdims else total


def assert_as_near_as_float32(
    graph: RandomGraph, arrays: Sequence[np.ndarray], found: Sequence[np.ndarray]
) -> list[float]:
    """Results are off from float64's at most four times as far as the interpreter's in float32, with plain sums.

    Distances are the largest of an output, and an ulp of its largest value is added to the interpreter's. Where that
    has infinities or NaN, so have they. The bounds are returned, relative to each output's largest value.
    """
    inputs, outputs = graph.build()
    names = [t.name for t in inputs]
    wide = replace(graph, dtype="float64").build()[1]
    exact = evaluate(wide, {n: a.astype("float64") for n, a in zip(names, arrays, strict=True)})
    rng, near = np.random.default_rng(0), [arrays]
    for _ in range(NEIGHBOURS):
        near.append([np.nextafter(a, rng.choice([-np.inf, np.inf], a.shape), dtype=a.dtype) for a in arrays])
    with mock.patch.object(np, "sum", one_after_the_other):
        narrow = [evaluate(outputs, dict(zip(names, each, strict=True))) for each in near]
    bounds = []
    for k, (mine, true, *theirs) in enumerate(zip(found, exact, *narrow, strict=True)):
        finite = np.isfinite([true, *theirs]).all(axis=0)
        np.testing.assert_array_equal(mine[~finite], theirs[0][~finite], err_msg=str(k))
        largest = np.max(np.abs(true[finite]), initial=0.0)
        spread = max(np.max(np.abs(each - true)[finite], initial=0.0) for each in theirs)
        bound = 4 * (spread + EPS * largest)
        off = np.max(np.abs(mine - true)[finite], initial=0.0)
        assert off <= bound, f"output {k} of seed {graph.seed}: off by {off}, float32 itself by {spread}"
        bounds.append(bound / max(largest, TINY))
    return bounds
