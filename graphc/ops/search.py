"""Places in a sorted vector."""

from __future__ import annotations

from graphc.errors import ShapeError
from graphc.ir.tensor import Tensor
from graphc.ops.apply import Operand, apply, promoted, public
from graphc.ops.creation import zeros_like
from graphc.ops.elementwise import (
    add,
    checked_index,
    equal,
    less,
    less_equal,
    logical_and,
    logical_or,
    maximum,
    minimum,
    not_equal,
    where,
)
from graphc.ops.reduce import count_nonzero
from graphc.ops.shape import expand_dims


@public
def searchsorted(a: Operand, v: Operand, side: str = "left") -> Tensor:
    """Where each element of ``v`` would be put into the sorted vector ``a``, int64, as NumPy's.

    Before elements that are equal, or with ``side="right"`` behind them; NaN comes last. By halving where the size of
    ``a`` is known (Knuth, TAOCP vol. 3, 6.2.1), else by counting. It has no derivative. Raises ShapeError where ``a``
    is no vector or ``side`` is neither.

    >>> from graphc.ir.graph import Graph
    >>> g = Graph("g")
    >>> searchsorted(g.input("edges", (10,)), g.input("x", ("n", 3))).shape
    (n, 3)
    """
    if side not in ("left", "right"):
        raise ShapeError(f'side must be "left" or "right", found {side!r}')
    table, values = promoted(a, v)
    if table.ndim != 1:
        raise ShapeError(f"expected a sorted vector, found {table.type}")
    n = table.shape[0]
    if not isinstance(n, int):
        return count_nonzero(_before(table, expand_dims(values, values.ndim), side), -1)
    place = zeros_like(values, "int64")
    for k in reversed(range(n.bit_length())):
        further = add(place, 2**k)
        index = checked_index(maximum(minimum(further, n) - 1, 0), 0, n, "index")
        met = _before(apply("take", table, index, axis=0), values, side)
        place = where(logical_and(less_equal(further, n), met), further, place)
    return place


def _before(x: Tensor, v: Tensor, side: str) -> Tensor:
    """True where ``x`` stands before the place of ``v``."""
    other = not_equal(v, v)  # NaN is above all numbers
    if side == "left":
        return logical_or(less(x, v), logical_and(other, equal(x, x)))
    return logical_or(less_equal(x, v), other)


__all__ = ["searchsorted"]
