"""Random graphs, compiled and rewritten, against the interpreter on the graph as it was built."""

from __future__ import annotations

import numpy as np
import pytest
from random_graphs import SIZES, RandomGraph, random_graph, shrink

import graphc as gx
from graphc.compile import extract
from graphc.ir.text import canonical_text
from graphc.reference import evaluate
from graphc.rewrite.passes import RULES, run


def _condition(outputs: list[gx.Tensor], feeds: dict, base: list[np.ndarray], dtype: str) -> list[np.ndarray]:
    """How far each output moves when every input moves by one ulp."""
    up = {k: np.nextafter(v, np.inf, dtype=dtype) for k, v in feeds.items()}
    return [np.abs(a - b) for a, b in zip(evaluate(outputs, up), base, strict=True)]


def disagreement(graph: RandomGraph, backend: str | None, without: frozenset[str] = frozenset()) -> str:
    """Empty where everything agrees; else what does not. ``backend`` None: passes and interpreter alone."""
    inputs, outputs = graph.build()
    arrays = graph.arrays()
    feeds = {t.name: a for t, a in zip(inputs, arrays, strict=True)}
    expected = evaluate(outputs, feeds)
    if backend is None:
        found = evaluate(run(extract(inputs[0].graph, inputs, outputs, "ignore"), without=without), feeds, None, SIZES)
    else:
        found = gx.compile(inputs, outputs, backend=backend, unused="ignore")(*arrays)
    eps = np.finfo(graph.dtype).eps
    slack = _condition(outputs, feeds, expected, graph.dtype)
    for k, (a, b, moved) in enumerate(zip(found, expected, slack, strict=True)):
        a, b = np.asarray(a), np.asarray(b)
        if a.shape != b.shape or a.dtype != b.dtype:
            return f"output {k}: {a.dtype}{a.shape} instead of {b.dtype}{b.shape}"
        scale = np.max(np.abs(b), initial=0.0)
        bound = (1e-9 if graph.dtype == "float64" else 3e-4) * np.maximum(np.abs(b), scale) + 1e3 * moved + 1e2 * eps
        wrong = ~((np.abs(a - b) <= bound) | (np.isnan(a) & np.isnan(b)) | (a == b))
        if wrong.any():
            return f"output {k}: {a[wrong][:3]} instead of {b[wrong][:3]}"
    return ""


def _check(seed: int, backend: str | None, dtype: str = "float64") -> None:
    graph = random_graph(seed, dtype)
    problem = disagreement(graph, backend)
    if problem:
        small = shrink(graph, lambda g: bool(disagreement(g, backend)))
        pytest.fail(f"seed {seed}: {problem}\nminimal script:\n{small.script()}")


@pytest.mark.parametrize("seed", [pytest.param(k, marks=[pytest.mark.slow] * (k % 4 > 0)) for k in range(100)])
def test_compiled_graphs_agree_with_the_interpreter(seed: int) -> None:
    _check(seed, "numba", "float32" if seed % 5 == 4 else "float64")


@pytest.mark.slow
@pytest.mark.parametrize("block", range(19))
def test_two_thousand_compiled_graphs_agree_with_the_interpreter(block: int) -> None:
    for seed in range(100 + 100 * block, 200 + 100 * block):
        _check(seed, "numba")


@pytest.mark.parametrize("block", range(5))
def test_passes_change_no_result(block: int) -> None:
    for seed in range(5000 + 100 * block, 5100 + 100 * block):
        _check(seed, None)


@pytest.mark.slow
@pytest.mark.parametrize("block", range(20))
def test_passes_change_no_result_of_twenty_thousand_graphs(block: int) -> None:
    for seed in range(10_000 + 1000 * block, 11_000 + 1000 * block):
        _check(seed, None)


@pytest.mark.parametrize("rule", [r.name for r in RULES])
def test_no_result_needs_a_single_rule(rule: str) -> None:
    for seed in range(12):
        assert not disagreement(random_graph(7000 + seed), None, frozenset({rule}))


def test_running_the_pipeline_twice_changes_nothing() -> None:
    for seed in range(200):
        inputs, outputs = random_graph(9000 + seed).build()
        once = run(extract(inputs[0].graph, inputs, outputs, "ignore"))
        assert canonical_text(run(once)) == canonical_text(once), seed


def test_a_failing_seed_shrinks_to_a_script_that_runs(capsys: pytest.CaptureFixture[str]) -> None:
    graph = next(g for g in map(random_graph, range(100)) if len(g.steps) > 5 and any("sum" in s.code for s in g.steps))
    small = shrink(graph, lambda g: any("sum" in s.code for s in g.steps))
    assert len(small.steps) < len(graph.steps) and any("sum" in s.code for s in small.steps)
    exec(small.script().replace("('numba', 'numpy')", "('numpy',)"), {})
    assert "array" in capsys.readouterr().out


def test_a_value_read_early_is_not_taken_for_the_next_in_its_place() -> None:
    """A scalar, and then what an inner loop makes, lie in one place of the workspace: the second must be read anew."""
    g = gx.Graph("places", float_dtype="float64")
    x, w = g.input("x", ("n", 1), "float64"), g.input("w", (3,), "float64")
    spread = gx.prod(gx.permute_dims(gx.var(w + x, axis=1, keepdims=True), (1, 0)), axis=1)
    y = gx.mean(gx.tanh(gx.relu(gx.concat([spread, spread * 2.0], 0) - 0.123)))
    slope = gx.compile([x, w], gx.grad(y, w))(np.array([[0.4], [1.1], [0.9]]), np.array([0.5, 0.6, 0.45]))
    np.testing.assert_array_equal(slope, np.zeros(3))  # nothing passes the relu
