"""ONNX's operators on the bits of integers, by arithmetic."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from graphc.ir.tensor import Tensor
from graphc.ir.types import BOOL, INT64, UINT8
from graphc.onnx.elements import fitted
from graphc.onnx.reading.elementwise import Reader
from graphc.onnx.reading.held import Held, Reading
from graphc.ops import elementwise as e
from graphc.ops import reduce, shape
from graphc.ops.apply import cast


def _width(at: Reading) -> int:
    """How many bits there are, but for the sign."""
    kind = at.kind()
    if kind.high:
        return min(int(kind.high).bit_length(), 63)
    return int(np.iinfo(kind.dtype).max).bit_length()


def bit_shift(at: Reading) -> Held:
    """By so many places that none is left, gives 0, or -1 to the right of numbers below 0; so do places below 0."""
    x, by = cast(at.tensor(0), INT64), cast(at.tensor(1), INT64)
    way, width = at.attribute("direction", ""), _width(at)
    if way not in ("LEFT", "RIGHT"):
        at.fail(f"direction must be LEFT or RIGHT, found {way[:40]!r}")
    if way == "LEFT" and at.kind().name == "uint64":
        at.refuse("uint64 is held as int64, which does not have all that is shifted left")
    signed = at.kind().low < 0 or (at.kind().dtype.kind == "i" and not at.kind().high)
    places = width + (1 if signed and way == "LEFT" else 0)
    power = at.graph.constant(np.int64(1) << np.arange(places))[e.clip(by, 0, places - 1)]
    moved, beyond = (x * power, 0) if way == "LEFT" else (e.floor_divide(x, power), e.where(e.less(x, 0), -1, 0))
    within = e.logical_and(e.greater_equal(by, 0), e.less(by, places))
    kind = at.kind()
    return Held(at.graph, at.name, tensor=fitted(e.where(within, moved, beyond), kind), kind=kind)


def bitwise(combine: Callable[[Tensor, Tensor], Tensor]) -> Reader:
    """Bit by bit; that of the sign counts as the highest, negated."""

    def read(at: Reading) -> Held:
        kind, width = at.kind(), _width(at)
        powers = at.graph.constant(2 ** np.arange(width, dtype=np.int64))
        wide = [cast(at.tensor(slot), INT64) for slot in (0, 1)]
        bits = [e.remainder(e.floor_divide(shape.expand_dims(x, x.ndim), powers), 2) for x in wide]
        total = reduce.sum(cast(combine(*bits), INT64) * powers, -1)
        signs = combine(*(cast(e.less(x, 0), INT64) for x in wide))
        total = e.where(cast(signs, BOOL), total - (2 ** (width - 1)) - (2 ** (width - 1)), total)
        return Held(at.graph, at.name, tensor=cast(total, kind.dtype), kind=kind)

    return read


def bitwise_not(at: Reading) -> Held:
    x, kind = at.tensor(), at.kind()
    if kind.name == "uint64":
        at.refuse("uint64 is held as int64, which does not have these numbers")
    unsigned = kind.high if kind.high and not kind.low else 255 if kind.dtype == UINT8 else -1
    return Held(at.graph, at.name, tensor=cast(unsigned - x, kind.dtype), kind=kind)


BITS: dict[str, Reader] = {
    "BitShift": bit_shift, "BitwiseNot": bitwise_not,
    "BitwiseAnd": bitwise(e.multiply), "BitwiseOr": bitwise(e.maximum), "BitwiseXor": bitwise(e.not_equal),
}  # fmt: skip

__all__ = ["BITS"]
