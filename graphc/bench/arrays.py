"""Workloads on long arrays: elementary functions, logistic regression, softmax cross entropy."""

from __future__ import annotations

from typing import Any

import numpy as np

from graphc.bench.peers import contestants
from graphc.bench.workload import Problem, Setup, Workload
from graphc.ir.state import Array

ELEMENTS = 1_000_000
ROWS, FEATURES = 100_000, 50
EXAMPLES, CLASSES = 4096, 1000


def _elementwise(setup: Setup) -> Problem:
    rng = np.random.default_rng(setup.seed)
    n = 1000 if setup.small else ELEMENTS
    return Problem({}, {"x": rng.normal(size=n).astype(np.float32), "w": rng.normal(size=n).astype(np.float32)})


def _elementwise_sum(m: Any, x: Any, w: Any) -> Any:
    return m.sum(m.tanh(x * w) * m.exp(-x * x) + m.log1p(w * w))


def _elementwise_by_hand(x: Array, w: Array) -> Any:
    t, e, square = np.tanh(x * w), np.exp(-x * x), w * w
    inner = e * (1 - t * t)
    return (t * e + np.log1p(square)).sum(), [inner * w - 2 * x * t * e, inner * x + 2 * w / (1 + square)]


def _logistic(setup: Setup) -> Problem:
    rng = np.random.default_rng(setup.seed)
    x = rng.normal(size=(200 if setup.small else ROWS, FEATURES))
    w = rng.normal(size=FEATURES) / np.sqrt(FEATURES)
    y = (rng.random(len(x)) < 1 / (1 + np.exp(-x @ w))).astype(np.float64)
    return Problem({"x": x, "y": y}, {"w": 0.5 * w, "b": np.array(0.1)})


def _logistic_loss(m: Any, x: Any, y: Any, w: Any, b: Any) -> Any:
    return m.logistic(x @ w + b, y)


def _logistic_by_hand(x: Array, y: Array, w: Array, b: Array) -> Any:
    z = x @ w + b
    e = np.exp(-np.abs(z))
    value = (np.maximum(z, 0) + np.log1p(e) - y * z).mean()
    slope = (np.where(z >= 0, 1, e) / (1 + e) - y) / len(y)
    return value, [slope @ x, slope.sum()]


def _softmax(setup: Setup) -> Problem:
    rng = np.random.default_rng(setup.seed)
    rows, classes = (16, 20) if setup.small else (EXAMPLES, CLASSES)
    labels = rng.integers(0, classes, rows)
    return Problem({"labels": labels}, {"logits": rng.normal(size=(rows, classes)).astype(np.float32)})


def _softmax_loss(m: Any, labels: Any, logits: Any) -> Any:
    return m.cross_entropy(logits, labels)


def _softmax_by_hand(labels: Array, logits: Array) -> Any:
    rows = np.arange(len(labels))
    p = logits - logits.max(1, keepdims=True)
    picked = p[rows, labels]
    np.exp(p, out=p)
    total = p.sum(1, keepdims=True)
    p /= total
    p[rows, labels] -= 1
    p *= np.float32(1 / len(labels))
    return (np.log(total[:, 0]) - picked).mean(), [p]


ELEMENTWISE = Workload(
    "elementwise",
    "sum(tanh(x w) exp(-x^2) + log1p(w^2)), 1,000,000 elements, float32: value and gradients",
    _elementwise,
    contestants(_elementwise_sum, _elementwise_by_hand),
    functions={"tanh": ELEMENTS, "exp": ELEMENTS, "log1p": ELEMENTS},
    tolerance=1e-4,
)
LOGISTIC = Workload(
    "logistic-regression",
    "100,000 rows of 50 features, float64: value and gradients",
    _logistic,
    contestants(_logistic_loss, _logistic_by_hand),
    functions={"exp": ROWS, "log1p": ROWS},
)
SOFTMAX = Workload(
    "softmax-cross-entropy",
    "4096 rows of 1000 classes, float32: value and gradient",
    _softmax,
    contestants(_softmax_loss, _softmax_by_hand),
    functions={"exp": EXAMPLES * CLASSES},
    tolerance=1e-4,
)
