"""Small networks: the 2-3-1 network of XOR, a regression network of three layers, a classifier's training step."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np

from graphc.bench.peers import contestants
from graphc.bench.workload import Problem, Product, Setup, Workload
from graphc.ir.state import Array

RATE = 0.01


def _xor(setup: Setup) -> Problem:
    rng = np.random.default_rng(setup.seed)
    x = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], np.float64)
    y = np.array([[0], [1], [1], [0]], np.float64)
    w = {"w1": rng.normal(size=(2, 3)), "b1": rng.normal(size=3), "w2": rng.normal(size=(3, 1)), "b2": np.zeros(1)}
    return Problem({"x": x, "y": y}, w)


def _xor_loss(m: Any, x: Any, y: Any, w1: Any, b1: Any, w2: Any, b2: Any) -> Any:
    error = m.tanh(x @ w1 + b1) @ w2 + b2 - y
    return m.mean(error * error)


def _xor_by_hand(x: Array, y: Array, w1: Array, b1: Array, w2: Array, b2: Array) -> Any:
    h = np.tanh(x @ w1 + b1)
    error = h @ w2 + b2 - y
    slope = 2 / len(x) * error
    inner = slope @ w2.T * (1 - h * h)
    return (error * error).mean(), [x.T @ inner, inner.sum(0), h.T @ slope, slope.sum(0)]


def _dense(rng: np.random.Generator, sizes: list[int]) -> dict[str, Array]:
    """float32 weights with variance one over the inputs of each layer, and biases."""
    out = {}
    for k, (rows, columns) in enumerate(pairwise(sizes), 1):
        out[f"w{k}"] = (rng.normal(size=(rows, columns)) / np.sqrt(rows)).astype(np.float32)
        out[f"b{k}"] = (0.1 * rng.normal(size=columns)).astype(np.float32)
    return out


def _mlp(setup: Setup) -> Problem:
    rng = np.random.default_rng(setup.seed)
    x, y = rng.normal(size=(32, 16)).astype(np.float32), rng.normal(size=(32, 1)).astype(np.float32)
    return Problem({"x": x, "y": y}, _dense(rng, [16, 32, 32, 1]))


def _mlp_loss(m: Any, x: Any, y: Any, w1: Any, b1: Any, w2: Any, b2: Any, w3: Any, b3: Any) -> Any:
    error = m.tanh(m.tanh(x @ w1 + b1) @ w2 + b2) @ w3 + b3 - y
    return m.mean(error * error)


def _mlp_by_hand(x: Array, y: Array, w1: Array, b1: Array, w2: Array, b2: Array, w3: Array, b3: Array) -> Any:
    h1 = np.tanh(x @ w1 + b1)
    h2 = np.tanh(h1 @ w2 + b2)
    error = h2 @ w3 + b3 - y
    d3 = np.float32(2 / len(x)) * error
    d2 = d3 @ w3.T * (1 - h2 * h2)
    d1 = d2 @ w2.T * (1 - h1 * h1)
    return (error * error).mean(), [x.T @ d1, d1.sum(0), h1.T @ d2, d2.sum(0), h2.T @ d3, d3.sum(0)]


def _classifier(setup: Setup) -> Problem:
    rng = np.random.default_rng(setup.seed)
    rows, inputs, hidden = (8, 12, 16) if setup.small else (256, 784, 256)
    x, y = rng.random((rows, inputs), np.float32), rng.integers(0, 10, rows)
    return Problem({"x": x, "y": y}, _dense(rng, [inputs, hidden, 10]))


def classifier_loss(m: Any, x: Any, y: Any, w1: Any, b1: Any, w2: Any, b2: Any) -> Any:
    """Mean softmax cross entropy of ``relu(x w1 + b1) w2 + b2``."""
    return m.cross_entropy(m.relu(x @ w1 + b1) @ w2 + b2, y)


def classifier_forward(x: Array, w1: Array, b1: Array, w2: Array, b2: Array) -> tuple[Array, Array]:
    """Hidden values and logits."""
    h = x @ w1
    h += b1
    np.maximum(h, 0, out=h)
    return h, h @ w2 + b2


def classifier_backward(x: Array, y: Array, w2: Array, h: Array, logits: Array) -> tuple[Array, list[Array]]:
    """The loss of each row, and the gradients of their mean by the four parameters."""
    rows = np.arange(len(y))
    p = logits - logits.max(1, keepdims=True)
    picked = p[rows, y]
    np.exp(p, out=p)
    total = p.sum(1)
    p /= total[:, None]
    p[rows, y] -= 1
    p *= np.float32(1 / len(y))
    inner = p @ w2.T
    inner *= h > 0
    return np.log(total) - picked, [x.T @ inner, inner.sum(0), h.T @ p, p.sum(0)]


def classifier_by_hand(x: Array, y: Array, w1: Array, b1: Array, w2: Array, b2: Array) -> Any:
    """The mean loss, and its gradients."""
    h, logits = classifier_forward(x, w1, b1, w2, b2)
    losses, gradients = classifier_backward(x, y, w2, h, logits)
    return losses.mean(), gradients


def classifier_products(rows: int, inputs: int = 784, hidden: int = 256, classes: int = 10) -> tuple[Product, ...]:
    """Forward, and what both weights and the hidden layer need backward."""
    return (
        (1, rows, hidden, inputs),
        (1, rows, classes, hidden),
        (1, rows, hidden, classes),
        (1, hidden, classes, rows),
        (1, inputs, hidden, rows),
    )


XOR = Workload(
    "xor",
    "2-3-1 tanh network, 4 rows, float64: value and gradients",
    _xor,
    contestants(_xor_loss, _xor_by_hand),
)
SMALL_MLP = Workload(
    "small-mlp",
    "16-32-32-1 tanh network, 32 rows, float32: value and gradients",
    _mlp,
    contestants(_mlp_loss, _mlp_by_hand),
    tolerance=1e-4,
)
TRAINING_STEP = Workload(
    "training-step",
    "784-256-10 ReLU classifier, 256 rows, float32: one step of SGD",
    _classifier,
    contestants(classifier_loss, classifier_by_hand, RATE),
    products=classifier_products(256),
    tolerance=1e-4,
)
