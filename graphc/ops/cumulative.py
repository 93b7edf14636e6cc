"""Sums, products and extremes of all elements up to each, along an axis."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from graphc.errors import DTypeError, ShapeError
from graphc.ir.op import Attrs, Kind, Op, register
from graphc.ir.tensor import Tensor
from graphc.ir.types import TensorType, is_float, normalize_axis
from graphc.ops.apply import apply, cast, public
from graphc.ops.assembly import roll
from graphc.ops.elementwise import equal, isfinite, stop_gradient, where
from graphc.ops.functions import exp, log
from graphc.ops.index import take_along_last
from graphc.ops.shape import iota, moveaxis

Types = Sequence[TensorType]
INT64 = np.dtype("int64")


def _same_rows(types: Types, attrs: Attrs) -> TensorType:
    first = types[0]
    if first.ndim == 0 or any(t != first for t in types):
        raise ShapeError(f"expected at least one axis, and one shape and dtype, found {', '.join(map(str, types))}")
    if first.dtype.kind == "b":
        raise DTypeError(f"expected numbers, found {first}")
    return first


def _recurrence(a: Any, b: Any, reverse: bool) -> Any:
    if reverse:
        a, b = a[..., ::-1], b[..., ::-1]
    y = b.copy()
    for k in range(1, y.shape[-1]):
        y[..., k] = a[..., k] * y[..., k - 1] + b[..., k]
    return y[..., ::-1].copy() if reverse else y


def _first(x: Tensor, reverse: bool) -> Tensor:
    """Whether an element of a row is the one that a recurrence begins with."""
    size = x.shape[-1]
    return equal(iota(x.graph, size), (size - 1) if reverse else 0)


def _shifted(x: Tensor, reverse: bool, first: float = 0.0) -> Tensor:
    """Each element at the place after its own; ``first`` at the first place."""
    return where(_first(x, reverse), first, roll(x, -1 if reverse else 1, axis=-1))


def _of_b(g: Tensor, y: Tensor, a: Tensor, b: Tensor) -> Tensor:
    reverse = y.attrs["reverse"]
    return apply("linear_recurrence", roll(a, 1 if reverse else -1, axis=-1), g, reverse=not reverse)


def _of_a(g: Tensor, y: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """The first element is not read."""
    reverse = y.attrs["reverse"]
    before = roll(y, -1 if reverse else 1, axis=-1)
    return where(_first(y, reverse), 0, _of_b(g, y, a, b) * before)


register(
    Op(
        "linear_recurrence",
        Kind.ROUTINE,
        2,
        _same_rows,
        _recurrence,
        (_of_a, _of_b),
        code="recurrence_rows",
        core=(1, 1),
        attrs=("reverse",),
    )
)


def _cumsum(x: Any, reverse: bool) -> Any:
    if reverse:
        x = x[..., ::-1]
    if not is_float(x.dtype):
        y = np.cumsum(x, axis=-1, dtype=x.dtype)
        return y[..., ::-1].copy() if reverse else y
    y, total, lost = np.empty_like(x), np.zeros_like(x[..., 0:1].sum(-1)), np.zeros_like(x[..., 0:1].sum(-1))
    for k in range(x.shape[-1]):
        added = x[..., k] + lost
        now = total + added
        rest = added - (now - total)
        lost, total = np.where(np.isnan(rest), 0, rest).astype(x.dtype), now
        y[..., k] = now
    return y[..., ::-1].copy() if reverse else y


register(
    Op(
        "cumsum",
        Kind.ROUTINE,
        1,
        _same_rows,
        _cumsum,
        (lambda g, y, x: apply("cumsum", g, reverse=not y.attrs["reverse"]),),
        code=lambda out, types, attrs: "sums_so_far" if is_float(out.dtype) else "whole_sums_so_far",
        core=(1,),
        attrs=("reverse",),
        facts=frozenset({"linear"}),
    )
)


def _extreme(x: Any, reverse: bool, largest: bool) -> Any:
    if reverse:
        x = x[..., ::-1]
    best = np.zeros(x.shape, np.int64)
    for k in range(1, x.shape[-1]):
        now = np.take_along_axis(x, best[..., k - 1 : k], -1)[..., 0]
        better = (now == now) & ((x[..., k] != x[..., k]) | (x[..., k] > now if largest else x[..., k] < now))
        best[..., k] = np.where(better, k, best[..., k - 1])
    return (x.shape[-1] - 1 - best)[..., ::-1].copy() if reverse else best


register(
    Op(
        "arg_extreme_so_far",
        Kind.ROUTINE,
        1,
        lambda types, attrs: TensorType(INT64, _same_rows(types, attrs).shape),
        _extreme,
        (None,),
        code="extreme_so_far",
        core=(1,),
        attrs=("reverse", "largest"),
        facts=frozenset({"places"}),
    )
)


def _along(x: Tensor, axis: int, what: str, rows: Callable[[Tensor], Tensor]) -> Tensor:
    """A function of rows along any axis."""
    at = normalize_axis(axis, x.ndim, what)
    return moveaxis(rows(moveaxis(x, at, -1)), -1, at)


def _number(x: Tensor) -> Tensor:
    """Integers and bools as int64, in which they are added."""
    return x if is_float(x.dtype) else cast(x, INT64)


@public
def cumsum(x: Tensor, axis: int = -1, *, reverse: bool = False, exclusive: bool = False) -> Tensor:
    """Sums of all elements up to each along an axis; integers and bools are added as int64.

    ``reverse`` goes from the end; ``exclusive`` leaves out the element itself. The shape stays. What additions lose to
    rounding is carried along (Kahan, CACM 8, 1965), so the error hardly grows with the length.

    Floats keep their dtype. Raises ShapeError where the axis does not exist.

    >>> import numpy as np
    >>> import graphc as gx
    >>> g = gx.Graph("sums")
    >>> x = g.input("x", (4,))
    >>> f = gx.compile([x], [gx.cumsum(x), gx.cumsum(x, reverse=True, exclusive=True)], backend="numpy")
    >>> [y.tolist() for y in f(np.array([1, 2, 3, 4], "float32"))]
    [[1.0, 3.0, 6.0, 10.0], [9.0, 7.0, 4.0, 0.0]]
    """

    def rows(t: Tensor) -> Tensor:
        return apply("cumsum", _shifted(t, reverse) if exclusive else t, reverse=reverse)

    return _along(_number(x), axis, "cumsum", rows)


@public
def cumprod(x: Tensor, axis: int = -1, *, reverse: bool = False, exclusive: bool = False) -> Tensor:
    """Products of all elements up to each along an axis; integers and bools are multiplied as int64.

    ``reverse`` goes from the end; ``exclusive`` leaves out the element itself. The gradient does not divide, so zeros
    are right to any order.

    Floats keep their dtype. Raises ShapeError where the axis does not exist.

    >>> import numpy as np
    >>> import graphc as gx
    >>> g = gx.Graph("products")
    >>> x = g.input("x", (4,))
    >>> y = gx.cumprod(x)
    >>> f = gx.compile([x], [y, gx.grad(gx.sum(y), x)], backend="numpy")
    >>> [y.tolist() for y in f(np.array([1, 2, 0, 4], "float32"))]
    [[1.0, 2.0, 0.0, 0.0], [3.0, 1.0, 10.0, 0.0]]
    """

    def rows(t: Tensor) -> Tensor:
        factors = _shifted(t, reverse, 1) if exclusive else t
        return apply("linear_recurrence", factors, where(_first(t, reverse), factors, 0), reverse=reverse)

    return _along(_number(x), axis, "cumprod", rows)


def _extremes(x: Tensor, axis: int, reverse: bool, exclusive: bool, largest: bool, what: str) -> Tensor:
    def rows(t: Tensor) -> Tensor:
        if exclusive:
            if not is_float(t.dtype):
                raise DTypeError(f"expected floats for exclusive=True, found {t.type}")
            t = _shifted(t, reverse, -np.inf if largest else np.inf)
        return take_along_last(t, apply("arg_extreme_so_far", t, reverse=reverse, largest=largest))

    return _along(_number(x), axis, what, rows)


@public
def cummax(x: Tensor, axis: int = -1, *, reverse: bool = False, exclusive: bool = False) -> Tensor:
    """The largest of all elements up to each along an axis; NaN from the first NaN on.

    The gradient goes to the first of equal elements. ``exclusive`` leaves out the element itself (-inf at the start).

    Shape and dtype are those of ``x``. Raises ShapeError where the axis does not exist.

    >>> import numpy as np
    >>> import graphc as gx
    >>> g = gx.Graph("largest")
    >>> x = g.input("x", (4,))
    >>> gx.compile([x], gx.cummax(x), backend="numpy")(np.array([1, 3, 2, 4], "float32")).tolist()
    [1.0, 3.0, 3.0, 4.0]
    """
    return _extremes(x, axis, reverse, exclusive, True, "cummax")


@public
def cummin(x: Tensor, axis: int = -1, *, reverse: bool = False, exclusive: bool = False) -> Tensor:
    """The smallest of all elements up to each along an axis; as `cummax` otherwise.

    Shape and dtype are those of ``x``. Raises ShapeError where the axis does not exist.

    >>> import numpy as np
    >>> import graphc as gx
    >>> g = gx.Graph("smallest")
    >>> x = g.input("x", (4,))
    >>> gx.compile([x], gx.cummin(x), backend="numpy")(np.array([3, 1, 2, 0], "float32")).tolist()
    [3.0, 1.0, 1.0, 0.0]
    """
    return _extremes(x, axis, reverse, exclusive, False, "cummin")


@public
def logcumsumexp(x: Tensor, axis: int = -1, *, reverse: bool = False, exclusive: bool = False) -> Tensor:
    """The logarithm of `cumsum` of exp(x), of floats of any size.

    With m the largest element so far, exp(x - m) is summed, and the sum made smaller where m grows.

    Shape of ``x``; a float. Raises ShapeError where the axis does not exist.

    >>> import numpy as np
    >>> import graphc as gx
    >>> g = gx.Graph("log")
    >>> x = g.input("x", (2,))
    >>> gx.compile([x], gx.logcumsumexp(x), backend="numpy")(np.array([1000, 1000], "float32")).round(2).astype(str)
    array(['1000.0', '1000.69'], dtype='<U32')
    """
    if not is_float(x.dtype):
        raise DTypeError(f"expected floats, found {x.type}")

    def rows(t: Tensor) -> Tensor:
        if exclusive:
            t = _shifted(t, reverse, -np.inf)
        largest = _extremes(stop_gradient(t), -1, reverse, False, True, "logcumsumexp")
        top = where(isfinite(largest), largest, 0)
        before = _shifted(top, reverse)
        y = apply("linear_recurrence", exp(before - top), exp(t - top), reverse=reverse)
        return top + log(y)

    return _along(x, axis, "logcumsumexp", rows)
