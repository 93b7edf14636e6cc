"""Arithmetic on sizes in models: what is computed of shapes alone is followed in symbols and needs no nodes."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from graphc.ir import dims
from graphc.ir.dims import Size
from graphc.onnx.reading.held import LONGEST, Reading, Sizes

Known = Size | Sizes


def _vector(value: Known) -> Sizes:
    return value if isinstance(value, tuple) else (value,)


def _each(function: Callable[[Size, Size], Size | None]) -> Callable[..., Known | None]:
    """A function of two sizes, element by element; None where it cannot be told."""

    def read(at: Reading, left: Known, right: Known) -> Known | None:
        a, b = _vector(left), _vector(right)
        if len(a) != len(b) and 1 not in (len(a), len(b)):
            return None
        n = max(len(a), len(b)) if a and b else 0
        out = [function(a[k if len(a) > 1 else 0], b[k if len(b) > 1 else 0]) for k in range(n)]
        told = tuple(v for v in out if v is not None)
        if len(told) != n:
            return None
        return told if isinstance(left, tuple) or isinstance(right, tuple) else told[0]

    return read


def _quotient(left: Size, right: Size) -> Size | None:
    """ONNX cuts towards zero; sizes are not negative."""
    if isinstance(left, int) and isinstance(right, int):
        return None if right == 0 else int(math.copysign(1, left) * math.copysign(1, right)) * (abs(left) // abs(right))
    return None if isinstance(right, int) and right <= 0 else dims.floor_divide(left, right)


def _shape(at: Reading, *_: Known) -> Known:
    shape = at.tensor().shape
    return tuple(shape[slice(at.attribute("start", 0), at.attribute("end", len(shape)))])


def _gather(at: Reading, data: Known, index: Known) -> Known | None:
    if not isinstance(data, tuple) or not all(isinstance(k, int) for k in _vector(index)):
        return None
    picked = tuple(data[int(k)] for k in _vector(index))  # type: ignore[arg-type]
    return picked if isinstance(index, tuple) else picked[0]


def _slice(at: Reading, data: Known, *_: Known) -> Known | None:
    starts, ends, axes, steps = at.bounds()
    if (
        not isinstance(data, tuple)
        or axes not in (None, (0,), (-1,))
        or not len(starts) == len(ends) == len(steps) == 1
    ):
        return None
    if not (isinstance(starts[0], int) and isinstance(ends[0], int) and steps[0]):
        return None
    return data[starts[0] : ends[0] : steps[0]]


def _squeeze(at: Reading, data: Known, *_: Known) -> Known | None:
    return data[0] if isinstance(data, tuple) and len(data) == 1 else None


def _unsqueeze(at: Reading, data: Known, *_: Known) -> Known | None:
    return None if isinstance(data, tuple) else (data,)


def _reshape(at: Reading, data: Known, shape: Known) -> Known | None:
    n = len(_vector(data))
    if shape in ((-1,), (n,)):
        return _vector(data)
    return _vector(data)[0] if shape == () and n == 1 else None


def _concat(at: Reading, *parts: Known) -> Known:
    return tuple(s for p in parts for s in _vector(p))


def _cast(at: Reading, data: Known) -> Known | None:
    kinds = at.attribute("to")
    return data if kinds in (6, 7) else None  # int32, int64


def _where(at: Reading, condition: Known, yes: Known, no: Known) -> Known | None:
    n = max(len(_vector(v)) for v in (condition, yes, no))
    wide = [_vector(v) * (n if len(_vector(v)) == 1 else 1) for v in (condition, yes, no)]
    if any(len(v) != n for v in wide) or not all(isinstance(c, int) for c in wide[0]):
        return None
    return tuple(a if c else b for c, a, b in zip(*wide, strict=True))


def _constant_of_shape(at: Reading, shape: Known) -> Known | None:
    if "value" not in at.attributes or not isinstance(shape, tuple) or len(shape) != 1:
        return None
    value, n = at.array("value"), shape[0]
    if value.dtype != np.int64 or value.size != 1 or not isinstance(n, int) or not 0 <= n <= LONGEST:
        return None
    return (int(value.reshape(())),) * n


def _remainder(left: Size, right: Size) -> Size | None:
    if isinstance(right, int) and right <= 0:
        return None
    return left - dims.multiply(dims.floor_divide(left, right), right)


def _product(at: Reading, data: Known, *_: Known) -> Known | None:
    axes = at.listed("axes", 1)
    if axes not in (None, (), (0,), (-1,)) or (not axes and at.attribute("noop_with_empty_axes", 0)):
        return None
    product = dims.product(_vector(data))
    return (product,) if at.attribute("keepdims", 1) and isinstance(data, tuple) else product


def _equal(left: Size, right: Size) -> int | None:
    if isinstance(left, int) and isinstance(right, int):
        return int(left == right)
    return 1 if left == right else 0 if -1 in (left, right) else None  # no size is -1


SIZES: dict[str, Callable[..., Known | None]] = {
    "Shape": _shape,
    "Size": lambda at, *_: at.tensor().size,
    "Identity": lambda at, data: data,
    "Cast": _cast,
    "Gather": _gather,
    "Slice": _slice,
    "Squeeze": _squeeze,
    "Unsqueeze": _unsqueeze,
    "Reshape": _reshape,
    "Concat": _concat,
    "Add": _each(lambda a, b: a + b),
    "Sub": _each(lambda a, b: a - b),
    "Mul": _each(dims.multiply),
    "Div": _each(_quotient),
    "Equal": _each(_equal),
    "Where": _where,
    "Mod": _each(_remainder),
    "ReduceProd": _product,
    "ConstantOfShape": _constant_of_shape,
}  # fmt: skip

__all__ = ["SIZES", "Known"]
