"""Operators that go along an axis in order: running sums, the largest elements."""

from __future__ import annotations

from graphc.ir.tensor import Tensor
from graphc.ir.types import UINT8
from graphc.onnx.reading.elementwise import Reader
from graphc.onnx.reading.held import Reading
from graphc.ops import cumulative, index, shape
from graphc.ops.apply import apply, cast


def cumsum(at: Reading) -> Tensor:
    x, axis = at.tensor(), at.number(1)
    if axis is None or not -x.ndim <= axis < x.ndim:
        at.refuse(f"the axis must be known, and one of {x.ndim}")
    exclusive, reverse = (bool(at.attribute(n, 0)) for n in ("exclusive", "reverse"))
    return cast(cumulative.cumsum(x, int(axis), reverse=reverse, exclusive=exclusive), x.dtype)


def topk(at: Reading) -> list[Tensor]:
    """Of equal elements the first comes first."""
    x = at.tensor()
    axis = at.axis(-1, x.ndim)
    (k,) = at.vector(1) if at.has(1) else (at.attribute("k", 0),)
    size = x.shape[axis]
    if isinstance(k, int) and isinstance(size, int) and not 0 <= k <= size:
        at.fail(f"{k} elements of {size}")
    rows = shape.moveaxis(cast(x, UINT8) if x.dtype.kind == "b" else x, axis, -1)
    order = apply("argsort", rows, descending=bool(at.attribute("largest", 1)))
    order = order if k == size else index.getitem(order, (..., slice(0, k)))
    found = cast(index.take_along_last(rows, order), x.dtype)
    return [shape.moveaxis(t, -1, axis) for t in (found, order)]


ORDER: dict[str, Reader] = {"CumSum": cumsum, "TopK": topk}

__all__ = ["ORDER"]
