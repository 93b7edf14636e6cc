"""Losses: one value for each example; the user reduces."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from graphc.errors import DTypeError, ShapeError
from graphc.ir.tensor import Tensor
from graphc.ir.types import is_float, is_integer
from graphc.ops.apply import Operand, apply, cast, promoted, public, size_node, tensor
from graphc.ops.elementwise import abs, checked_index, equal, less, logical_or, maximum, where
from graphc.ops.functions import exp, log, softplus, sqrt, weigh, xlog1py, xlogy
from graphc.ops.reduce import norm, sum
from graphc.ops.shape import broadcast_to, expand_dims, iota, squeeze
from graphc.ops.softmax import shifted


@public
def squared_error(prediction: Operand, target: Operand) -> Tensor:
    """``(prediction - target)**2``.

    Elementwise; operands (tensors, arrays, numbers) broadcast, and the result is a float, the graph's for integers.
    Raises ShapeError where they do not, GraphError where none is a tensor.

    >>> import graphc as gx
    >>> x = gx.Graph().input("x", (2,), "float64")
    >>> gx.compile([x], gx.squared_error(x, 2), backend="numpy")([1, 5]).round(4).tolist()
    [1.0, 9.0]
    """
    d = _difference(prediction, target)
    return d * d


@public
def absolute_error(prediction: Operand, target: Operand) -> Tensor:
    """``|prediction - target|``.

    Elementwise; operands (tensors, arrays, numbers) broadcast, and the result is a float, the graph's for integers.
    Raises ShapeError where they do not, GraphError where none is a tensor.

    >>> import graphc as gx
    >>> x = gx.Graph().input("x", (2,), "float64")
    >>> gx.compile([x], gx.absolute_error(x, 2), backend="numpy")([1, 5]).round(4).tolist()
    [1.0, 3.0]
    """
    return abs(_difference(prediction, target))


def _difference(prediction: Operand, target: Operand) -> Tensor:
    a, b = promoted(prediction, target, floating=True)
    return a - b


@public
def huber(prediction: Operand, target: Operand, delta: float = 1.0) -> Tensor:
    """Half the square up to ``delta``, linear beyond (Huber 1964).

    Elementwise; operands (tensors, arrays, numbers) broadcast, and the result is a float, the graph's for integers.
    Raises ShapeError where they do not, GraphError where none is a tensor.

    >>> import graphc as gx
    >>> x = gx.Graph().input("x", (2,), "float64")
    >>> gx.compile([x], gx.huber(x, 0), backend="numpy")([0.5, 3]).round(4).tolist()
    [0.125, 2.5]
    """
    size = abs(_difference(prediction, target))
    near = less(size, delta)
    return where(near, 0.5 * size * size, delta * (size - 0.5 * delta))


@public
def binary_cross_entropy(probability: Tensor, target: Operand) -> Tensor:
    """``-(t log p + (1 - t) log(1 - p))``; a term whose factor is 0 is 0 beside an infinite logarithm.

    Elementwise; operands (tensors, arrays, numbers) broadcast, and the result is a float, the graph's for integers.
    Raises ShapeError where they do not, GraphError where none is a tensor.

    >>> import graphc as gx
    >>> x = gx.Graph().input("x", (2,), "float64")
    >>> gx.compile([x], gx.binary_cross_entropy(x, 1), backend="numpy")([0.5, 1]).round(4).tolist()
    [0.6931, -0.0]
    """
    p, t = promoted(probability, target, floating=True)
    return -(xlogy(t, p) + xlog1py(1 - t, -p))


@public
def binary_cross_entropy_with_logits(logits: Tensor, target: Operand) -> Tensor:
    """`binary_cross_entropy` of ``sigmoid(logits)``, without overflow, exact in both tails and at infinite logits.

    Elementwise; operands (tensors, arrays, numbers) broadcast, and the result is a float, the graph's for integers.
    Raises ShapeError where they do not, GraphError where none is a tensor.

    >>> import graphc as gx
    >>> x = gx.Graph().input("x", (2,), "float64")
    >>> gx.compile([x], gx.binary_cross_entropy_with_logits(x, 1), backend="numpy")([0, 1000]).round(4).tolist()
    [0.6931, 0.0]
    """
    x, t = promoted(logits, target, floating=True)
    return weigh(t, softplus(-x)) + weigh(1 - t, softplus(x))


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
    ``logits``. ``weights`` holds one factor for each class. A class of probability or weight 0 adds nothing, even where
    its logit is -inf. Rows whose integer label is ``ignore_index``, or has weight 0 (and there is no smoothing), have
    loss and gradient 0, whatever their logits; any other label outside ``[0, classes)`` raises InputIndexError when
    called.

    A float of the shape of ``logits`` without the last axis. Raises ShapeError or DTypeError where labels do not fit.

    >>> import graphc as gx
    >>> g = gx.Graph(float_dtype="float64")
    >>> logits, labels = g.input("logits", ("n", 3)), g.input("labels", ("n",), "int64")
    >>> loss = gx.cross_entropy(logits, labels)
    >>> gx.compile([logits, labels], loss, backend="numpy")([[0, 0, 0], [9, 0, 0]], [1, 0]).round(4).tolist()
    [1.0986, 0.0002]
    """
    if not is_float(logits.dtype):
        raise DTypeError(f"expected float logits, found {logits.type}")
    if logits.ndim == 0:
        raise ShapeError(f"expected at least one axis of logits, found {logits.type}")
    if not 0 <= label_smoothing <= 1:
        raise ShapeError(f"label_smoothing must lie in [0, 1], found {label_smoothing}")
    classes = logits.shape[-1]
    count = classes if isinstance(classes, int) else cast(size_node(logits.graph, classes), logits.dtype)
    even = label_smoothing / count if label_smoothing else None
    scale = None
    if weights is not None:
        scale = broadcast_to(cast(promoted(logits, weights)[1], logits.dtype), (classes,))
    if is_float(labels.dtype):
        if labels.ndim != logits.ndim:
            raise ShapeError(f"expected probabilities of the shape of {logits.type}, found {labels.type}")
        target = cast(labels if even is None else labels * (1 - label_smoothing) + even, logits.dtype)
        return _against(*shifted(logits, -1), target if scale is None else target * scale)
    if not is_integer(labels.dtype) or labels.ndim != logits.ndim - 1:
        raise ShapeError(f"expected integer labels with one axis less than {logits.type}, found {labels.type}")
    dropped = None if ignore_index is None else equal(labels, ignore_index)
    label = _checked(logits, labels, dropped)
    weight = None if scale is None else apply("take", scale, label, axis=0)
    if weight is not None and even is None:
        light = equal(weight, 0)
        dropped = light if dropped is None else logical_or(dropped, light)
    if dropped is not None:  # before anything is made of them, so that no NaN of theirs meets the 0
        logits = where(expand_dims(dropped, dropped.ndim), 0, logits)
    below, total = shifted(logits, -1)
    out = squeeze(total, -1) - _picked(below, label)
    if weight is not None:
        out = weigh(weight, out)
    if even is not None:
        others = squeeze(total, -1) * count - sum(below, -1) if scale is None else _against(below, total, scale)
        out = (1 - label_smoothing) * out + even * others
    return out if dropped is None else where(dropped, 0, out)


def _against(below: Tensor, total: Tensor, target: Tensor) -> Tensor:
    """Minus the sum of ``target * log_softmax``, from what `shifted` gives."""
    return sum(target, -1) * squeeze(total, -1) - sum(weigh(target, below), -1)


def _checked(logits: Tensor, labels: Tensor, ignored: Tensor | None = None) -> Tensor:
    """Labels, tested to be classes; 0 where they are ignored."""
    if not is_integer(labels.dtype):
        raise DTypeError(f"expected integer labels, found {labels.type}")
    if labels.ndim != logits.ndim - 1:
        raise ShapeError(f"expected one label for each row of {logits.type}, found {labels.type}")
    index = cast(labels, np.dtype("int64"))
    return checked_index(index if ignored is None else where(ignored, 0, index), 0, logits.shape[-1], "label")


def _picked(x: Tensor, label: Tensor) -> Tensor:
    """The element of each row at its label."""
    hit = equal(expand_dims(label, label.ndim), iota(x.graph, x.shape[-1]))
    return sum(where(hit, x, 0), -1)


@public
def nll(log_probability: Tensor, labels: Tensor) -> Tensor:
    """Minus the log probability of each row's label.

    ``log_probability`` is (..., classes), ``labels`` (...) integers; a float (...). Raises ShapeError or DTypeError
    where they do not fit; a label out of range is an InputIndexError when called.

    >>> import graphc as gx
    >>> g = gx.Graph()
    >>> gx.nll(g.input("log_p", ("n", 3)), g.input("labels", ("n",), "int64")).shape
    (n,)
    """
    return -_picked(log_probability, _checked(log_probability, labels))


@public
def kl_div(log_probability: Tensor, target: Tensor) -> Tensor:
    """``sum(t * (log t - log p))`` over the last axis; a class of probability 0 adds nothing.

    Both are (..., classes), a float (...) comes back. Raises ShapeError where they do not broadcast.

    >>> import graphc as gx
    >>> g = gx.Graph()
    >>> gx.kl_div(g.input("log_p", ("n", 3)), g.input("target", ("n", 3))).shape
    (n,)
    """
    p, t = promoted(log_probability, target, floating=True)
    return sum(xlogy(t, t) - weigh(t, p), -1)


@public
def hinge(score: Tensor, target: Operand) -> Tensor:
    """``max(0, 1 - target * score)``, targets -1 and 1.

    Elementwise; operands (tensors, arrays, numbers) broadcast, and the result is a float, the graph's for integers.
    Raises ShapeError where they do not, GraphError where none is a tensor.

    >>> import graphc as gx
    >>> x = gx.Graph().input("x", (2,), "float64")
    >>> gx.compile([x], gx.hinge(x, 1), backend="numpy")([0.5, 3]).round(4).tolist()
    [0.5, 0.0]
    """
    s, t = promoted(score, target, floating=True)
    return maximum(1 - t * s, 0)


@public
def poisson_nll(log_rate: Tensor, target: Operand) -> Tensor:
    """``exp(log_rate) - target * log_rate``, 0 for a count of 0 at rate 0.

    Elementwise; operands (tensors, arrays, numbers) broadcast, and the result is a float, the graph's for integers.
    Raises ShapeError where they do not, GraphError where none is a tensor.

    >>> import graphc as gx
    >>> x = gx.Graph().input("x", (2,), "float64")
    >>> gx.compile([x], gx.poisson_nll(x, 2), backend="numpy")([0, 1]).round(4).tolist()
    [1.0, 0.7183]
    """
    r, t = promoted(log_rate, target, floating=True)
    return exp(r) - weigh(t, r)


@public
def gaussian_nll(average: Tensor, target: Operand, variance: Operand) -> Tensor:
    """``(log(2 pi v) + (m - t)**2 / v) / 2``.

    Elementwise; operands broadcast, and the result is a float. Raises ShapeError where they do not broadcast.

    >>> import graphc as gx
    >>> x = gx.Graph().input("x", (2,), "float64")
    >>> gx.compile([x], gx.gaussian_nll(x, 1.0, 1.0), backend="numpy")([1, 3]).round(4).tolist()
    [0.9189, 2.9189]
    """
    m, t, v = promoted(average, target, variance, floating=True)
    d = (m - t) / sqrt(v)  # whose square, and derivative, are in range where the result is
    return 0.5 * (log(v) + d * d + math.log(2 * math.pi))


@public
def triplet(anchor: Tensor, positive: Operand, negative: Operand, margin: float = 1.0, eps: float = 1e-6) -> Tensor:
    """``max(0, |a - p| - |a - n| + margin)`` for each row, 2-norms over the last axis (Schroff et al. 2015).

    ``eps`` is added to each difference, as in torch, so that rows that are equal have a direction.

    All are (..., features), a float (...) comes back. Raises ShapeError where shapes do not broadcast.

    >>> import graphc as gx
    >>> g = gx.Graph()
    >>> gx.triplet(*(g.input(name, ("n", 8)) for name in ("anchor", "positive", "negative"))).shape
    (n,)
    """
    a, p, n = promoted(anchor, positive, negative, floating=True)
    return maximum(norm(a - p + eps, 2, -1) - norm(a - n + eps, 2, -1) + margin, 0)


@public
def cosine_embedding(a: Tensor, b: Operand, target: Operand, margin: float = 0.0) -> Tensor:
    """``1 - cos`` of the angle of each pair of rows where the target is 1, ``max(0, cos - margin)`` where it is -1.

    As torch's, which adds 1e-12 to squared lengths.

    Rows are (..., features), targets (...); a float (...). Raises ShapeError where shapes do not broadcast.

    >>> import graphc as gx
    >>> g = gx.Graph()
    >>> gx.cosine_embedding(g.input("a", ("n", 8)), g.input("b", ("n", 8)), g.input("target", ("n",))).shape
    (n,)
    """
    x, y = promoted(a, b, floating=True)
    length = sqrt((sum(x * x, -1) + 1e-12) * (sum(y * y, -1) + 1e-12))
    cosine = sum(x * y, -1) / length
    return where(equal(tensor(target, x.graph), 1), 1 - cosine, maximum(cosine - margin, 0))
