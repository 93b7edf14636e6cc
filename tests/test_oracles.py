"""A second opinion: the same random graphs in JAX, in float64."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from op_cases import CASES
from random_graphs import RandomGraph, random_graph, shrink

import graphc as gx
from graphc.reference import evaluate

pytestmark = pytest.mark.oracle


class JaxNames:
    """``gx.name`` of a step's code, in jax.numpy."""

    def __init__(self, jax: Any) -> None:
        self.jnp, self.nn, self.special, self.jax = jax.numpy, jax.nn, jax.scipy.special, jax

    def __getattr__(self, name: str) -> Any:
        jnp = self.jnp
        own = {
            "sigmoid": self.nn.sigmoid,
            "softplus": self.nn.softplus,
            "relu": self.nn.relu,
            "softmax": self.nn.softmax,
            "log_softmax": self.nn.log_softmax,
            "stop_gradient": self.jax.lax.stop_gradient,
            "logsumexp": lambda x, axis, keepdims: self.special.logsumexp(x, axis=axis, keepdims=keepdims),
            "concat": lambda xs, axis: jnp.concatenate(xs, axis),
            "matrix_transpose": lambda x: jnp.swapaxes(x, -1, -2),
            "permute_dims": jnp.transpose,
            "take": lambda x, i, axis: jnp.take(x, np.array(i), axis),
        }
        return own.get(name) or getattr(jnp, name)


def in_jax(jax: Any, graph: RandomGraph) -> list[np.ndarray]:
    """The value and the gradients by JAX."""
    names = JaxNames(jax)

    def value(*inputs: Any) -> Any:
        values = list(inputs)
        for step in graph.steps:
            scope = {f"t{i}": values[i] for i in step.operands}
            values.append(eval(step.code.format(*(f"t{i}" for i in step.operands)), {"gx": names, **scope}))
        return names.jnp.mean(names.jnp.tanh(values[-1]))

    arrays = [jax.numpy.asarray(a) for a in graph.arrays()]
    y, slopes = jax.value_and_grad(value, tuple(range(len(arrays))))(*arrays)
    return [np.asarray(y), *map(np.asarray, slopes)]


def disagreement(jax: Any, graph: RandomGraph) -> str:
    inputs, outputs = graph.build()
    wanted = [outputs[0], *outputs[-len(inputs) :]]
    arrays = graph.arrays()
    found = gx.compile(inputs, wanted, unused="ignore")(*arrays)
    expected = in_jax(jax, graph)
    feeds = {t.name: np.nextafter(a, np.inf) for t, a in zip(inputs, arrays, strict=True)}
    moved = [np.abs(a - b) for a, b in zip(evaluate(wanted, feeds), found, strict=True)]
    for k, (a, b, m) in enumerate(zip(found, expected, moved, strict=True)):
        bound = 1e-9 * np.maximum(np.abs(b), np.max(np.abs(b), initial=0)) + 1e3 * m + 1e-14
        if not (np.abs(a - b) <= bound).all():
            return f"output {k}: {np.asarray(a).ravel()[:4]} instead of {np.asarray(b).ravel()[:4]}"
    return ""


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
    jax = pytest.importorskip("jax")
    jax.config.update("jax_enable_x64", True)
    for seed in seeds:
        graph = random_graph(seed)
        problem = disagreement(jax, graph)
        if problem:
            small = shrink(graph, lambda g: bool(disagreement(jax, g)))
            pytest.fail(f"seed {seed}: {problem}\nminimal script:\n{small.script()}")


def test_random_graphs_agree_with_jax() -> None:
    _run(range(60))


@pytest.mark.slow
@pytest.mark.parametrize("block", range(20))
def test_two_thousand_random_graphs_agree_with_jax(block: int) -> None:
    _run(range(100 * block, 100 * block + 100))
