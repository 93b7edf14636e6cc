"""A second opinion: the same ops and random graphs of them in JAX, in float64."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from op_cases import CASES
from random_cases import case_graph, shrunk
from test_random_cases import disagreement

import graphc as gx

pytestmark = pytest.mark.oracle


def _peer(jax: Any, name: str) -> Any:
    """The function of that name in jax.numpy, jax.nn or jax.scipy.special."""
    own = {"lgamma": "gammaln", "digamma": "digamma", "asin": "arcsin", "acos": "arccos", "atan": "arctan"}
    own |= {"asinh": "arcsinh", "acosh": "arccosh", "atanh": "arctanh", "atan2": "arctan2", "neg": "negative"}
    for module in (jax.nn, jax.scipy.special, jax.numpy):
        found = getattr(module, own.get(name, name), None)
        if found is not None:
            return found
    return None


def test_ops_and_their_derivatives_agree_with_jax() -> None:
    jax = pytest.importorskip("jax")
    jax.config.update("jax_enable_x64", True)
    cases = [c for c in CASES if c.smooth and c.build is getattr(gx, c.name, None) and _peer(jax, c.name) is not None]
    other = ("gelu", "huber", "kl_div", "log1mexp", "trace", "repeat", "cumprod")  # of another meaning, or default
    other += ("gammainc", "gammaincc", "betainc")  # of which JAX has not all derivatives
    cases = [c for c in cases if c.name not in other]
    assert len(cases) > 45
    for case in cases:
        peer = _peer(jax, case.name)
        g = gx.Graph(case.name, float_dtype="float64")
        inputs = [g.input(f"x{k}", s, "float64") for k, s in enumerate(case.shapes)]
        value = gx.sum(gx.sin(case.build(*inputs)))
        first = gx.grad(value, inputs, on_disconnected="zeros")
        second = gx.grad(sum((gx.sum(d * d) for d in first), start=g.constant(0.0)), inputs, on_disconnected="zeros")

        def scalar(*a: Any, peer: Any = peer) -> Any:
            return jax.numpy.sum(jax.numpy.sin(peer(*a)))

        slots = tuple(range(len(inputs)))

        def squares(*a: Any, scalar: Any = scalar, slots: Any = slots) -> Any:
            return sum(jax.numpy.sum(d * d) for d in jax.grad(scalar, slots)(*a))

        arrays = case.arrays("float64")
        found = gx.compile(inputs, [value, *first, *second], backend="numpy", unused="ignore")(*arrays)
        expected = [scalar(*arrays), *jax.grad(scalar, slots)(*arrays), *jax.grad(squares, slots)(*arrays)]
        for a, b in zip(found, expected, strict=True):
            np.testing.assert_allclose(a, np.asarray(b), rtol=1e-9, atol=1e-11, err_msg=case.name)


def _run(seeds: range) -> None:
    pytest.importorskip("jax")
    for seed in seeds:
        graph = case_graph(seed)
        problem = disagreement(graph, "jax")
        if problem:
            small = shrunk(graph, lambda g: bool(disagreement(g, "jax")))
            pytest.fail(f"seed {seed}: {problem}; the least that fails, of inputs {small.shapes}: {small.names()}")


def test_random_graphs_over_all_ops_agree_with_jax() -> None:
    _run(range(0, 240, 40))


@pytest.mark.slow
@pytest.mark.parametrize("block", range(10))
def test_every_row_agrees_with_jax_among_others(block: int) -> None:
    _run(range(25 * block, 25 * block + 25))


@pytest.mark.nightly
@pytest.mark.parametrize("block", range(100))
def test_ten_thousand_random_graphs_agree_with_jax(block: int) -> None:
    _run(range(1000 + 100 * block, 1100 + 100 * block))
