"""ONNX's element types, and the dtype that holds each: its own, or a wider one that has all of its values."""

from __future__ import annotations

from dataclasses import dataclass

from graphc.derive.custom import custom_gradient
from graphc.ir.tensor import Tensor
from graphc.ir.types import BOOL, FLOAT32, FLOAT64, INT32, INT64, UINT8, DType
from graphc.ops import elementwise as e
from graphc.ops import functions as f
from graphc.ops.apply import cast


@dataclass(frozen=True, slots=True)
class Element:
    """An element type that is read.

    dtype      what holds it
    low, high  of an integer that is held in a wider one
    digits     bits of a narrow float's significand, the implied one too; 0 otherwise
    least      the exponent of its smallest normal number
    most       its largest number
    infinite   whether it has infinities; where it has none, what is too large becomes NaN, or ``most``
    """

    name: str
    dtype: DType
    low: int = 0
    high: int = 0
    digits: int = 0
    least: int = 0
    most: float = 0.0
    infinite: bool = True

    @property
    def narrow(self) -> bool:
        """Whether what holds it has other values too."""
        return bool(self.high or self.digits)


def _integer(name: str, dtype: DType) -> Element:
    bits, signed = int(name.lstrip("uint")), name[0] == "i"
    return Element(name, dtype, *((-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)))


ELEMENTS: dict[str, Element] = {
    **{d.name: Element(d.name, d) for d in (BOOL, UINT8, INT32, INT64)},
    "float": Element("float", FLOAT32), "double": Element("double", FLOAT64),
    **{n: _integer(n, INT32) for n in ("int2", "uint2", "int4", "uint4", "int8", "int16", "uint16")},
    **{n: _integer(n, INT64) for n in ("uint32", "uint64")},
    "float16": Element("float16", FLOAT32, 0, 0, 11, -14, 65504.0),
    "bfloat16": Element("bfloat16", FLOAT32, 0, 0, 8, -126, 255.0 * 2**120),
    "float8e4m3fn": Element("float8e4m3fn", FLOAT32, 0, 0, 4, -6, 448.0, False),
    "float8e4m3fnuz": Element("float8e4m3fnuz", FLOAT32, 0, 0, 4, -7, 240.0, False),
    "float8e5m2": Element("float8e5m2", FLOAT32, 0, 0, 3, -14, 57344.0),
    "float8e5m2fnuz": Element("float8e5m2fnuz", FLOAT32, 0, 0, 3, -15, 57344.0, False),
    "float4e2m1": Element("float4e2m1", FLOAT32, 0, 0, 2, 0, 6.0, False),
}  # fmt: skip
OF_DTYPE = {kind.dtype: kind for kind in ELEMENTS.values() if not kind.narrow}


def element(dtype: DType) -> Element:
    """The element type that is a dtype of graphc."""
    return OF_DTYPE[dtype]


def fitted(x: Tensor, kind: Element, saturate: bool = True) -> Tensor:
    """``x`` as a value of an element type, in what holds it: integers are cut to so many bits, floats rounded.

    ``saturate`` makes of what is too large for eight bits the largest number. Rounding hands gradients through.
    """
    if kind.digits:
        round_ = custom_gradient(lambda t: cast(_rounded(cast(t, FLOAT64), kind, saturate), kind.dtype), _handed)
        return round_(x) if x.dtype.kind == "f" else round_(cast(x, kind.dtype))  # type: ignore[no-any-return]
    x = cast(x, kind.dtype)
    if not kind.high or kind.high >= 2**63:  # of the widest, what holds it has no more
        return x
    return e.remainder(x - kind.low, kind.high - kind.low + 1) + kind.low


def _handed(cotangents: list[Tensor], inputs: list[Tensor], _: list[Tensor]) -> list[Tensor]:
    return [cast(c, x.dtype) for c, x in zip(cotangents, inputs, strict=True)]


def _rounded(x: Tensor, kind: Element, saturate: bool) -> Tensor:
    """To the nearest number with so many digits, of two the even one."""
    size = e.abs(x)
    power = f.exp2(f.floor(f.log2(e.clip(size, 2.0**kind.least, 2.0**128))))
    power = e.where(e.greater(power, size), power / 2, e.where(e.less_equal(power * 2, size), power * 2, power))
    step = e.maximum(power, 2.0**kind.least) * 2.0 ** (1 - kind.digits)
    near = f.round(size / step) * step
    stays = kind.digits < 8 and (saturate or kind.digits == 2)
    over = kind.most if stays else float("inf") if kind.infinite else float("nan")
    near = e.where(e.greater(near, kind.most), over, near)
    return e.where(e.isnan(x), 0.0 if kind.digits == 2 else x, e.copysign(near, x))  # four bits have no NaN


__all__ = ["ELEMENTS", "Element", "element", "fitted"]
