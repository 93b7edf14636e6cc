"""What a tensor is: dtype and shape, and how types of operands meet."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from graphc.errors import DTypeError, ShapeError, brief
from graphc.ir import dims
from graphc.ir.dims import Dim, Size

DType = np.dtype[Any]
Shape = tuple[Size, ...]

BOOL, UINT8, INT32, INT64, FLOAT32, FLOAT64 = (
    np.dtype(t) for t in ("bool", "uint8", "int32", "int64", "float32", "float64")
)
DTYPES: dict[str, DType] = {d.name: d for d in (BOOL, UINT8, INT32, INT64, FLOAT32, FLOAT64)}
_SPELLED: dict[Any, DType] = {**DTYPES, **{d: d for d in DTYPES.values()}}  # the usual ones, told at once


def dtype_of(spec: Any) -> DType:
    """The supported dtype that ``spec`` (a name, a NumPy dtype or scalar type) stands for.

    Raises DTypeError for any other.

    >>> dtype_of("float32")
    dtype('float32')
    """
    try:
        return _SPELLED[spec]
    except (KeyError, TypeError):
        pass
    try:
        found = np.dtype(spec).newbyteorder("=") if spec is not None else None
    except (RecursionError, SyntaxError, TypeError, ValueError):
        found = None
    if found is None or found.name not in DTYPES:
        raise DTypeError(f"dtype {brief(spec)} is not supported; expected one of {', '.join(DTYPES)}")
    return DTYPES[found.name]


def is_float(dtype: DType) -> bool:
    return dtype.kind == "f"


def is_integer(dtype: DType) -> bool:
    return dtype.kind in "iu"


def limits(dtype: DType) -> tuple[Any, Any]:
    """The least and the greatest value of a dtype, infinities of floats.

    >>> limits(UINT8)
    (0, 255)
    """
    if is_float(dtype):
        return -np.inf, np.inf
    return (False, True) if dtype == BOOL else (int(np.iinfo(dtype).min), int(np.iinfo(dtype).max))


@cache
def _name(dtype: DType) -> str:
    """NumPy makes the name of a dtype anew each time."""
    return dtype.name


@dataclass(frozen=True, slots=True)
class TensorType:
    """dtype and shape of one value.

    >>> str(TensorType(FLOAT32, (dims.symbol("batch"), 4)))
    'float32[batch, 4]'
    """

    dtype: DType
    shape: Shape

    def __str__(self) -> str:
        return f"{_name(self.dtype)}[{', '.join(map(str, self.shape))}]"

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> Size:
        return dims.product(self.shape)

    def bytes(self, sizes: Mapping[str, int]) -> int:
        """How many bytes a value takes when every symbol has the value in ``sizes``."""
        return math.prod(dims.evaluate(s, sizes) for s in self.shape) * self.dtype.itemsize


def promote(*dtypes: DType) -> DType:
    """NumPy's promotion among the supported dtypes.

    >>> promote(FLOAT32, INT32), promote(UINT8, INT32)
    (dtype('float64'), dtype('int32'))
    """
    return dtypes[0] if len(set(dtypes)) == 1 else dtype_of(np.result_type(*dtypes))


def broadcast_shapes(*shapes: Shape) -> Shape:
    """The shape that all ``shapes`` broadcast to.

    Sizes that are not provably equal or 1 meet in a size of their own; `size_checks` tells what must hold of them
    when called. Raises ShapeError where two numbers differ and neither is 1.

    >>> n = dims.symbol("n")
    >>> broadcast_shapes((n, 1), (3,))
    (n, 3)
    """
    rank = max(map(len, shapes), default=0)
    out: list[Size] = [1] * rank
    for shape in shapes:
        for axis, size in enumerate(shape, start=rank - len(shape)):
            met = out[axis]
            if isinstance(met, int) and isinstance(size, int) and met != size and 1 not in (met, size):
                raise ShapeError("shapes do not broadcast: " + " and ".join(map(shape_text, shapes)))
            out[axis] = dims.broadcast(met, size)
    return tuple(out)


@dataclass(frozen=True, slots=True)
class SizeCheck:
    """What must hold when called: sizes equal, or (``broadcast``) one 1, or (``positive``) left above right."""

    left: Size
    right: Size
    broadcast: bool
    positive: bool = False

    def __str__(self) -> str:
        relation = ">" if self.positive else "=="
        return f"{self.left} {relation} {self.right}" + (", or 1" if self.broadcast else "")

    def holds(self, sizes: Mapping[str, int]) -> bool:
        left, right = dims.evaluate(self.left, sizes), dims.evaluate(self.right, sizes)
        if self.positive:
            return left > right
        return left == right or (self.broadcast and 1 in (left, right))

    def source(self, name: Callable[[str], str]) -> str:
        """The same as a Python expression, with each symbol written as ``name(symbol)``."""
        left, right = (f"({dims.source(size, name)})" for size in (self.left, self.right))
        if self.positive:
            return f"{left} > {right}"
        return f"{left} == {right}" + (f" or {left} == 1 or {right} == 1" if self.broadcast else "")


def broadcast_checks(shapes: Sequence[Shape]) -> list[SizeCheck]:
    """The run-time checks that broadcasting ``shapes`` together needs."""
    rank = max(map(len, shapes), default=0)
    checks = []
    for axis in range(-rank, 0):
        sizes = list(dict.fromkeys(s[axis] for s in shapes if len(s) >= -axis and s[axis] != 1))
        checks += [SizeCheck(a, b, True) for i, a in enumerate(sizes) for b in sizes[i + 1 :]]
    return checks


def negative_checks(new: Shape, old: Shape = ()) -> list[SizeCheck]:
    """The run-time checks that a ``new`` shape needs where a size may be negative and is none of the ``old`` shape."""
    sizes = (s for s in new if s not in old and not dims.at_most(0, s))
    return [SizeCheck(s + 1, 0, False, positive=True) for s in sizes]


def shape_text(shape: Iterable[Size]) -> str:
    return "[" + ", ".join(map(str, shape)) + "]"


def normalize_axis(axis: int, ndim: int, what: str) -> int:
    """``axis`` counted from the front; ShapeError where it does not exist.

    >>> normalize_axis(-1, 3, "sum")
    2
    """
    if isinstance(axis, bool) or not isinstance(axis, (int, np.integer)):
        raise ShapeError(f"{what}: axis must be an int, found {axis!r}")
    if not -ndim <= axis < ndim:
        raise ShapeError(f"{what}: axis {axis} does not exist in a tensor of {ndim} dimensions")
    return int(axis) % ndim


def normalize_axes(axis: int | Sequence[int] | None, ndim: int, what: str) -> tuple[int, ...]:
    """Axes as a sorted tuple counted from the front; None means all of them.

    Raises ShapeError for an axis that does not exist or stands twice.
    """
    if axis is None:
        return tuple(range(ndim))
    many = tuple(axis) if isinstance(axis, (tuple, list)) else (axis,)
    axes = sorted(normalize_axis(a, ndim, what) for a in many)  # type: ignore[arg-type]
    if len(set(axes)) != len(axes):
        raise ShapeError(f"{what}: the same axis stands twice in {axis!r}")
    return tuple(axes)


__all__ = ["DTYPES", "DType", "Dim", "Shape", "Size", "SizeCheck", "TensorType"]
