"""Connectionist temporal classification: labels aligned with steps, summed over all alignments."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from graphc.errors import DTypeError, ShapeError
from graphc.ir.op import Attrs, Kind, Op, register
from graphc.ir.tensor import Tensor
from graphc.ir.types import INT64, TensorType, is_float, is_integer
from graphc.ops.apply import Operand, apply, cast, public, tensor
from graphc.ops.assembly import concat, pad, stack
from graphc.ops.elementwise import (
    checked_index,
    equal,
    greater,
    less,
    logical_and,
    logical_or,
    maximum,
    not_equal,
    where,
)
from graphc.ops.functions import exp
from graphc.ops.shape import broadcast_to, expand_dims, filled, iota, reshape, squeeze
from graphc.ops.softmax import logsumexp
from graphc.ops.window import take_along_axis

Types = Sequence[TensorType]


def _scores(e: Any, skip: Any) -> Any:
    y = np.empty_like(e)
    with np.errstate(all="ignore"):
        for t in range(e.shape[-2]):
            if t == 0:
                before = np.full(e.shape[:-2] + e.shape[-1:], -np.inf, e.dtype)
                before[..., :2] = 0
                y[..., 0, :] = before + e[..., 0, :]
                continue
            last = np.pad(y[..., t - 1, :], [(0, 0)] * (e.ndim - 2) + [(2, 0)], constant_values=-np.inf)
            ways = [last[..., 2:], last[..., 1:-1], np.where(skip != 0, last[..., :-2], -np.inf)]
            best = np.maximum.reduce(ways)
            total = best + np.log(sum(np.exp(w - best) for w in ways))
            y[..., t, :] = np.where(np.isfinite(best), total, best) + e[..., t, :]
    return y


def _banded(a: Any, b: Any, c: Any, d: Any, reverse: bool) -> Any:
    y, steps, places = d.copy(), d.shape[-2], d.shape[-1]
    for i in range(1, steps):
        t = steps - 1 - i if reverse else i
        for k, w in enumerate((a, b, c)):
            if k < places and reverse:
                y[..., t, : places - k] += w[..., t + 1, k:] * y[..., t + 1, k:]
            elif k < places:
                y[..., t, k:] += w[..., t, k:] * y[..., t - 1, : places - k]
    return y


def _infer_scores(types: Types, attrs: Attrs) -> TensorType:
    e, skip = types
    if e.ndim < 2 or skip.dtype != e.dtype or not is_float(e.dtype) or skip.shape != (*e.shape[:-2], e.shape[-1]):
        raise ShapeError(f"expected floats (..., steps, places) and (..., places), found {e} and {skip}")
    return e


def _infer_banded(types: Types, attrs: Attrs) -> TensorType:
    if types[0].ndim < 2 or any(t != types[0] for t in types):
        raise ShapeError(f"expected four operands (..., steps, places) of one type, found {', '.join(map(str, types))}")
    return types[0]


def _earlier(x: Tensor, k: int, fill: float = 0.0) -> Tensor:
    """At each step and place what lies ``k`` places lower at the step before."""
    padded = pad(x, [(0, 0)] * (x.ndim - 2) + [(1, 0), (k, 0)], constant_values=fill)
    return padded[..., : x.shape[-2], : x.shape[-1]]


def _of_scores(g: Tensor, y: Tensor, e: Tensor, skip: Tensor) -> Tensor:
    """Each step's share in the score that it leads to, from the last step to the first."""
    reached = greater(y, -np.inf)
    rest = where(reached, e - y, 0)
    shares = [where(reached, exp(_earlier(y, k, -np.inf) + rest), 0) for k in range(3)]
    shares[2] = where(not_equal(expand_dims(skip, -2), 0), shares[2], 0)
    return apply("banded_recurrence", *shares, g, reverse=True)


def _of_band(k: int) -> Any:
    def rule(g: Tensor, y: Tensor, *operands: Tensor) -> Tensor:
        reverse = y.attrs["reverse"]
        z = apply("banded_recurrence", *operands[:3], g, reverse=not reverse)
        return y * _earlier(z, k) if reverse else z * _earlier(y, k)

    return rule


register(
    Op(
        "alignment_scores",
        Kind.ROUTINE,
        2,
        _infer_scores,
        _scores,
        (_of_scores, None),
        code="alignment_scores",
        core=(2, 1),
    )
)
register(
    Op(
        "banded_recurrence",
        Kind.ROUTINE,
        4,
        _infer_banded,
        _banded,
        (
            *(_of_band(k) for k in range(3)),
            lambda g, y, a, b, c, d: apply("banded_recurrence", a, b, c, g, reverse=not y.attrs["reverse"]),
        ),
        code="banded_rows",
        core=(2, 2, 2, 2),
        attrs=("reverse",),
    )
)


@public
def ctc(
    log_probability: Tensor,
    labels: Operand,
    lengths: Operand | None = None,
    label_lengths: Operand | None = None,
    blank: int = 0,
) -> Tensor:
    """Minus the log probability of each row of labels, over all its alignments with the steps (Graves et al. 2006).

    ``log_probability`` (..., steps, classes) are log probabilities, ``labels`` (..., count) integers, none of them
    ``blank``. ``lengths`` and ``label_lengths`` (...) say how many of them count, by default all. A row with more
    labels than its steps have room for gives inf, and gradient 0. Any label outside ``[0, classes)`` that counts
    raises InputIndexError when called.

    >>> from graphc.ir.graph import Graph
    >>> g = Graph("g")
    >>> ctc(g.input("p", ("n", 50, 28)), g.input("labels", ("n", 9), dtype="int64")).shape
    (n,)
    """
    p = log_probability
    label = tensor(labels, p.graph)
    if not is_float(p.dtype) or p.ndim < 2:
        raise ShapeError(f"expected float log probabilities (..., steps, classes), found {p.type}")
    if not is_integer(label.dtype) or label.ndim != p.ndim - 1:
        raise DTypeError(f"expected integer labels (..., count) beside {p.type}, found {label.type}")
    rows, steps, count = p.shape[:-2], p.shape[-2], label.shape[-1]
    places = count * 2 + 1
    label = cast(label, INT64)
    most = None if label_lengths is None else broadcast_to(cast(tensor(label_lengths, p.graph), INT64), rows)
    if most is not None:
        label = where(less(iota(p.graph, count), expand_dims(most, -1)), label, blank)
    label = broadcast_to(checked_index(label, 0, p.shape[-1], "label"), (*rows, count))
    between = filled(p.graph, blank, (*rows, 1), INT64)
    pairs = reshape(stack([broadcast_to(between, label.shape), label], -1), (*rows, count * 2))
    ext = concat([pairs, between], -1)
    before = pad(ext, [(0, 0)] * len(rows) + [(2, 0)], constant_values=blank)[..., :places]
    skip = cast(logical_and(not_equal(ext, blank), not_equal(ext, before)), p.dtype)
    index = broadcast_to(expand_dims(ext, -2), (*rows, steps, places))
    scores = apply("alignment_scores", take_along_axis(p, index, -1), skip)
    if lengths is None:
        last = scores[..., -1, :]
    else:
        size = broadcast_to(cast(tensor(lengths, p.graph), INT64), rows)
        at = expand_dims(expand_dims(maximum(size - 1, 0), -1), -1)
        last = squeeze(take_along_axis(scores, broadcast_to(at, (*rows, 1, places)), -2), -2)
        last = where(expand_dims(greater(size, 0), -1), last, where(equal(iota(p.graph, places), 0), 0.0, -np.inf))
    place = iota(p.graph, places)
    end = places - 1 if most is None else expand_dims(most * 2, -1)
    return -logsumexp(where(logical_or(equal(place, end), equal(place, end - 1)), last, -np.inf), -1)


__all__ = ["ctc"]
