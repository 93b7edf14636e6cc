"""ONNX's quantised operators: integers that stand for floats, ``(q - zero_point) * scale``."""

from __future__ import annotations

from graphc.ir.tensor import Tensor
from graphc.ir.types import FLOAT32, FLOAT64, INT32, is_float, limits
from graphc.onnx.elements import ELEMENTS, Element, fitted
from graphc.onnx.reading.elementwise import Reader
from graphc.onnx.reading.held import Held, Reading
from graphc.onnx.reading.images import conv
from graphc.ops import assembly, shape
from graphc.ops import elementwise as e
from graphc.ops import functions as f
from graphc.ops.apply import cast
from graphc.ops.linalg import matmul


def _over(at: Reading, x: Tensor, slot: int, dtype: object = None) -> Tensor:
    """A scale or a zero point as it meets ``x``: one number, one along an axis, or one for each block along it."""
    given = at.tensor(slot)
    around = -x.ndim <= at.attribute("axis", 1) < x.ndim
    if given.ndim == 0 or given.size == 1 or (given.ndim == 1 and not around):
        return shape.reshape(given, ())
    axis, block = at.axis(1, x.ndim), at.attribute("block_size", 0)
    if given.ndim == 1 and not block:
        return shape.reshape(given, (-1, *(1,) * (x.ndim - 1 - axis)))
    return assembly.repeat(given, block, axis)[(slice(None),) * axis + (slice(0, x.shape[axis]),)] if block else given


def _quantised(at: Reading, y: Tensor, zero: Tensor | None, kind: Element) -> Held:
    """``y`` rounded, half to even, moved by the zero point, and cut to what the element type has."""
    if kind.digits:
        made = fitted(y, kind, bool(at.attribute("saturate", 1)))
    else:
        y = f.round(y) if zero is None else f.round(y) + cast(zero, y.dtype)
        low, high = (kind.low, kind.high) if kind.high else limits(kind.dtype)
        made = cast(e.clip(y, float(low), float(high)), kind.dtype)
    return Held(at.graph, at.name, tensor=made, kind=kind)


def quantize(at: Reading) -> Held:
    x = at.tensor()
    told = at.to("output_dtype") if at.attribute("output_dtype", 0) else ELEMENTS["uint8"]
    kind, zero = (at.kind(2), _over(at, x, 2)) if at.has(2) else (told, None)
    x = x if is_float(x.dtype) else cast(x, FLOAT32)
    return _quantised(at, x / cast(_over(at, x, 1), x.dtype), zero, kind)


def dequantize(at: Reading) -> Held:
    x = at.tensor()
    kind = at.to("output_dtype") if at.attribute("output_dtype", 0) else at.kind(1)
    if not is_float(x.dtype):
        x = cast(x, INT32) - cast(_over(at, x, 2), INT32) if at.has(2) else x
    return Held(at.graph, at.name, tensor=cast(x, kind.dtype) * cast(_over(at, x, 1), kind.dtype), kind=kind)


def _centred(at: Reading, slot: int, zero: int, rows: bool = False) -> Tensor:
    """An operand less its zero point, which may be one for each row, or for each column."""
    x = cast(at.tensor(slot), INT32)
    if not at.has(zero):
        return x
    return x - cast(_along(at.tensor(zero), rows), INT32)


def _along(given: Tensor, rows: bool) -> Tensor:
    if given.ndim == 0 or given.size == 1:
        return shape.reshape(given, ())
    return shape.expand_dims(given, 1) if rows and given.ndim == 1 else given


def matmul_integer(at: Reading) -> Tensor:
    return matmul(_centred(at, 0, 2, rows=True), _centred(at, 1, 3))


def qlinear_matmul(at: Reading) -> Held:
    """The product is exact; the scales are put in at the end."""
    product = cast(matmul(_centred(at, 0, 2, rows=True), _centred(at, 3, 5)), FLOAT32)
    a, b, y = (cast(_along(at.tensor(slot), rows), FLOAT32) for slot, rows in ((1, True), (4, False), (6, False)))
    return _quantised(at, product * (a * b / y), _along(at.tensor(7), False), at.kind(7))


def _convolved(at: Reading, x: int, xz: int, w: int, wz: int) -> Tensor:
    """Sums of products of integers, exact in float64; what lies around the image is the zero point."""
    centred = cast(at.tensor(x), FLOAT64) - cast(shape.reshape(at.tensor(xz), ()), FLOAT64) if at.has(xz) else None
    filters = cast(at.tensor(w), FLOAT64)
    if at.has(wz):
        zero = at.tensor(wz)
        filters = filters - cast(_channels(zero, filters.ndim - 1), FLOAT64)
    image = cast(at.tensor(x), FLOAT64) if centred is None else centred
    made = conv(at.elsewhere(at.graph, [Held(at.graph, "", tensor=t) for t in (image, filters)]))
    assert isinstance(made, Tensor)
    return made


def _channels(given: Tensor, behind: int) -> Tensor:
    return shape.reshape(given, () if given.size == 1 else (-1, *(1,) * behind))


def conv_integer(at: Reading) -> Tensor:
    return cast(_convolved(at, 0, 2, 1, 3), INT32)


def qlinear_conv(at: Reading) -> Held:
    total = _convolved(at, 0, 2, 3, 5)
    behind = total.ndim - 2
    if at.has(8):
        total = total + cast(_channels(at.tensor(8), behind), FLOAT64)
    x, w, y = (cast(_channels(at.tensor(slot), behind), FLOAT32) for slot in (1, 4, 6))
    return _quantised(at, cast(total, FLOAT32) * (x * w / y), shape.reshape(at.tensor(7), ()), at.kind(7))


QUANTISED: dict[str, Reader] = {
    "QuantizeLinear": quantize, "DequantizeLinear": dequantize, "MatMulInteger": matmul_integer,
    "QLinearMatMul": qlinear_matmul, "ConvInteger": conv_integer, "QLinearConv": qlinear_conv,
}  # fmt: skip

__all__ = ["QUANTISED"]
