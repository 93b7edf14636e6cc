"""Operators that go along an axis in order: running sums, the largest elements."""

from __future__ import annotations

from collections.abc import Callable

from graphc.ir.tensor import Tensor
from graphc.ir.types import UINT8
from graphc.onnx.reading.elementwise import Reader
from graphc.onnx.reading.held import FIXED, Reading
from graphc.ops import cumulative, index, shape
from graphc.ops.apply import apply, cast


def running(function: Callable[..., Tensor]) -> Reader:
    """Along an axis that is known."""

    def read(at: Reading) -> Tensor:
        x, axis = at.tensor(), at.number(1)
        if axis is None:
            at.refuse(f"the axis must be known; {FIXED}")
        if not -x.ndim <= axis < x.ndim:
            at.fail(f"axis {axis} does not exist in {x.type}")
        exclusive, reverse = (bool(at.attribute(n, 0)) for n in ("exclusive", "reverse"))
        return cast(function(x, int(axis), reverse=reverse, exclusive=exclusive), x.dtype)

    return read


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


ORDER: dict[str, Reader] = {
    "CumSum": running(cumulative.cumsum), "CumProd": running(cumulative.cumprod), "TopK": topk,
}  # fmt: skip

__all__ = ["ORDER"]
