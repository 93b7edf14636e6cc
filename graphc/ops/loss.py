"""Losses: one value for each example; the user reduces."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from graphc.errors import DTypeError, ShapeError
from graphc.ir.tensor import Tensor
from graphc.ir.types import is_float, is_integer
from graphc.ops.apply import Operand, cast, promoted, public, size_node
from graphc.ops.elementwise import abs, checked_index, equal, less, maximum, where
from graphc.ops.functions import exp, log, softplus, xlogy
from graphc.ops.reduce import sum
from graphc.ops.shape import expand_dims, iota
from graphc.ops.softmax import log_softmax


@public
def squared_error(prediction: Operand, target: Operand) -> Tensor:
    """``(prediction - target)**2``."""
    d = _difference(prediction, target)
    return d * d


@public
def absolute_error(prediction: Operand, target: Operand) -> Tensor:
    """``|prediction - target|``."""
    return abs(_difference(prediction, target))


def _difference(prediction: Operand, target: Operand) -> Tensor:
    a, b = promoted(prediction, target, floating=True)
    return a - b


@public
def huber(prediction: Operand, target: Operand, delta: float = 1.0) -> Tensor:
    """Half the square up to ``delta``, linear beyond (Huber 1964)."""
    size = abs(_difference(prediction, target))
    near = less(size, delta)
    inside = where(near, size, 0)
    return where(near, 0.5 * inside * inside, delta * (size - 0.5 * delta))


@public
def binary_cross_entropy(probability: Tensor, target: Operand) -> Tensor:
    """``-(t log p + (1 - t) log(1 - p))``."""
    p, t = promoted(probability, target, floating=True)
    return -(xlogy(t, p) + xlogy(1 - t, 1 - p))


@public
def binary_cross_entropy_with_logits(logits: Tensor, target: Operand) -> Tensor:
    """`binary_cross_entropy` of ``sigmoid(logits)``, without overflow."""
    x, t = promoted(logits, target, floating=True)
    return softplus(x) - t * x


@public
def cross_entropy(
    logits: Tensor,
    labels: Tensor,
    *,
    weights: Any = None,
    label_smoothing: float = 0.0,
    ignore_index: int | None = None,
) -> Tensor:
    """Cross entropy of ``softmax(logits)`` along the last axis.

    ``labels`` are integers of the shape of ``logits`` without its last axis, or probabilities of the shape of
    ``logits``. ``weights`` holds one factor for each class. Where an integer label is ``ignore_index`` the loss is 0;
    any other outside ``[0, classes)`` raises InputIndexError when called.
    """
    if not is_float(logits.dtype):
        raise DTypeError(f"expected float logits, found {logits.type}")
    if logits.ndim == 0:
        raise ShapeError(f"expected at least one axis of logits, found {logits.type}")
    if not 0 <= label_smoothing <= 1:
        raise ShapeError(f"label_smoothing must lie in [0, 1], found {label_smoothing}")
    logp = log_softmax(logits)
    scale = None if weights is None else cast(promoted(logits, weights)[1], logits.dtype)
    weighed = logp if scale is None else logp * scale
    if is_float(labels.dtype):
        if labels.ndim != logits.ndim:
            raise ShapeError(f"expected probabilities of the shape of {logits.type}, found {labels.type}")
        target = labels
        if label_smoothing:
            target = target * (1 - label_smoothing) + label_smoothing / _classes(logits)
        return -sum(cast(target, logits.dtype) * weighed, -1)
    if not is_integer(labels.dtype) or labels.ndim != logits.ndim - 1:
        raise ShapeError(f"expected integer labels with one axis less than {logits.type}, found {labels.type}")
    nothing = None if ignore_index is None else equal(labels, ignore_index)
    hit = _selected(logits, labels, nothing)
    out = -sum(where(hit, weighed, 0), -1)
    if label_smoothing:
        even = -sum(weighed, -1) / _classes(logits)
        out = (1 - label_smoothing) * out + label_smoothing * even
    return out if nothing is None else where(nothing, 0, out)


def _classes(logits: Tensor) -> Any:
    size = logits.shape[-1]
    return size if isinstance(size, int) else cast(size_node(logits.graph, size), logits.dtype)


def _selected(logits: Tensor, labels: Tensor, nothing: Tensor | None) -> Tensor:
    """True at each row's label, which is tested to be a class."""
    index = cast(labels, np.dtype("int64"))
    if nothing is not None:
        index = where(nothing, 0, index)
    index = checked_index(index, 0, logits.shape[-1], "label")
    return equal(expand_dims(index, index.ndim), iota(logits.graph, logits.shape[-1]))


@public
def nll(log_probability: Tensor, labels: Tensor) -> Tensor:
    """Minus the log probability of each row's label."""
    return -sum(where(_selected(log_probability, labels, None), log_probability, 0), -1)


@public
def kl_div(log_probability: Tensor, target: Tensor) -> Tensor:
    """``sum(t * (log t - log p))`` over the last axis, 0 where ``t = 0``."""
    p, t = promoted(log_probability, target, floating=True)
    return sum(xlogy(t, t) - t * p, -1)


@public
def hinge(score: Tensor, target: Operand) -> Tensor:
    """``max(0, 1 - target * score)``, targets -1 and 1."""
    s, t = promoted(score, target, floating=True)
    return maximum(1 - t * s, 0)


@public
def poisson_nll(log_rate: Tensor, target: Operand) -> Tensor:
    """``exp(log_rate) - target * log_rate``."""
    r, t = promoted(log_rate, target, floating=True)
    return exp(r) - t * r


@public
def gaussian_nll(average: Tensor, target: Operand, variance: Operand) -> Tensor:
    """``(log(2 pi v) + (m - t)**2 / v) / 2``."""
    m, t, v = promoted(average, target, variance, floating=True)
    d = m - t
    return 0.5 * (log(v) + d * d / v + math.log(2 * math.pi))
