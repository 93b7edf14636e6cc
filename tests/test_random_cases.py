"""Random graphs over every row of the op-case table: compiled, and rewritten, against the interpreter."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from in_jax import with_gradients
from op_cases import CASES, ELSEWHERE
from random_cases import SIZES, CaseGraph, case_graph, ops_of, shrunk, usable

import graphc as gx
from graphc.compile import extract
from graphc.ir.op import OPS
from graphc.reference import evaluate
from graphc.rewrite.passes import run

# Ops that no graph of the table's rows holds: leaves, draws, sums over sizes that may be 1, and what only loops make
APART = ELSEWHERE | {"sum_broadcast"}


def disagreement(graph: CaseGraph, backend: str | None) -> str:
    """Empty where all agrees to 1e-12 (JAX: 1e-9), beside how far results move when inputs move by one ulp."""
    inputs, outputs = graph.build()
    arrays = graph.arrays()
    feeds = {t.name: a for t, a in zip(inputs, arrays, strict=True)}
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = evaluate(outputs, feeds)
        beside = evaluate(outputs, {k: np.nextafter(v, np.inf, dtype=v.dtype) for k, v in feeds.items()})
        if backend is None:
            found = evaluate(run(extract(inputs[0].graph, inputs, outputs, "ignore")), feeds, None, SIZES)
        elif backend == "jax":
            found = with_gradients(outputs[: -len(inputs)], inputs, arrays)
        else:
            found = gx.compile(inputs, outputs, backend=backend, unused="ignore")(*arrays)
    relative = 1e-9 if backend == "jax" else 1e-12 if graph.dtype == "float64" else 3e-4
    for k, (a, b, near) in enumerate(zip(found, expected, beside, strict=True)):
        a, b = np.asarray(a), np.asarray(b)
        if a.shape != b.shape or a.dtype != b.dtype:
            return f"output {k}: {a.dtype}{a.shape} instead of {b.dtype}{b.shape}"
        if a.dtype.kind != "f":
            wrong = a != b
        else:
            with np.errstate(invalid="ignore"):
                moved = np.abs(near - b)
                moved = np.max(np.where(np.isfinite(moved), moved, 0), initial=0)
                bound = relative * np.max(np.abs(b), initial=0) + 1e3 * moved + 1e2 * np.finfo(graph.dtype).eps
                wrong = ~((np.abs(a - b) <= bound) | (np.isnan(a) & np.isnan(b)) | (a == b))
        if wrong.any():
            return f"output {k}: {a[wrong][:3]} instead of {b[wrong][:3]}"
    return ""


def _check(seed: int, backend: str | None, dtype: str = "float64") -> None:
    graph = case_graph(seed, dtype)
    problem = disagreement(graph, backend)
    if problem:
        small = shrunk(graph, lambda g: bool(disagreement(g, backend)))
        pytest.fail(f"seed {seed}: {problem}; the least that fails, of inputs {small.shapes}: {small.names()}")


@pytest.mark.parametrize("block", range(8))
def test_passes_change_no_result(block: int) -> None:
    for seed in range(25 * block, 25 * block + 25):
        _check(seed, None)


@pytest.mark.parametrize("seed", range(0, 240, 30))
def test_compiled_graphs_agree_with_the_interpreter(seed: int) -> None:
    _check(seed, "numba", "float32" if seed % 60 == 30 else "float64")


@pytest.mark.slow
@pytest.mark.parametrize("block", range(10))
def test_two_hundred_and_fifty_compiled_graphs_agree_with_the_interpreter(block: int) -> None:
    for seed in range(25 * block, 25 * block + 25):
        _check(seed, "numba")


@pytest.mark.nightly
@pytest.mark.parametrize("block", range(100))
def test_ten_thousand_compiled_graphs_agree_with_the_interpreter(block: int) -> None:
    for seed in range(1000 + 100 * block, 1100 + 100 * block):
        _check(seed, "numba")


def test_all_rows_and_ops_are_drawn() -> None:
    """Every row of the table stands in a graph of its own turn, and so every op that a row has."""
    count = len(usable())
    graphs = [case_graph(seed) for seed in range(count)]
    drawn = {s.case for g in graphs for s in g.steps}
    assert drawn == set(usable()) and count > 0.97 * len(CASES)
    held: set[str] = set()
    for graph in graphs:
        held |= ops_of(graph)
    missing = set(OPS) - held - APART
    assert not missing, f"in no graph: {', '.join(sorted(missing))}"
