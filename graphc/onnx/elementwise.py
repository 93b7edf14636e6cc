"""Elementwise operations in ONNX: one entry for each, an operator's name or a formula in operators.

Formulas stand where ONNX has no such operator or where its definition loses what graphc's keeps: precision near zero,
overflow, NaN. Sources are those of the formulas in ``graphc.ops.functions``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from graphc.ir.op import Attrs
from graphc.ir.tensor import Node
from graphc.ir.types import BOOL, INT32, INT64, UINT8, TensorType, dtype_of, is_float, is_integer
from graphc.onnx.model import Model, Value

LN2, LN10 = math.log(2), math.log(10)


@dataclass(frozen=True, slots=True)
class Site:
    """Where a rule writes: the model, the graph's node and the types of its operands."""

    model: Model
    node: Node
    types: Sequence[TensorType]

    @property
    def attrs(self) -> Attrs:
        return self.node.attrs

    @property
    def type(self) -> TensorType:
        return self.node.type


Rule = Callable[..., Value]  # of the site and the operands


def plain(type: str) -> Rule:
    """The ONNX operator of that name."""
    return lambda at, x, *others: x.op(type, *others, dtype=at.type.dtype)


def widened(rule: Rule) -> Rule:
    """``rule`` in int32 for bool and uint8, which many operators do not take; uint8 wraps on the way back."""

    def wide(at: Site, *operands: Value) -> Value:
        cast = [o.cast(INT32) if o.dtype in (BOOL, UINT8) else o for o in operands]
        return rule(at, *cast).cast(at.type.dtype)

    return wide


def number(type: str) -> Rule:
    """The ONNX operator of that name on numbers of any dtype."""
    return widened(lambda at, x, *others: x.op(type, *others))


def comparison(type: str) -> Rule:
    """An ONNX comparison."""
    return widened(lambda at, a, b: a.op(type, b, dtype=BOOL))


# ---- quotients


def floor_divide(at: Site, a: Value, b: Value) -> Value:
    if is_float(a.dtype):
        r = a.op("Mod", b, fmod=1)
        q = (a - r) / b
        q = (~r.equals(0) & ((b < 0) ^ (r < 0))).select(q - 1, q)
        return b.equals(0).select(a / b, q.op("Round"))
    by = _divisor(b)
    q = a / by  # cut towards zero
    q = (~a.op("Mod", by).equals(0) & ((a < 0) ^ (by < 0))).select(q - 1, q)
    return b.equals(0).select(0, b.equals(-1).select(-a, q))


def remainder(at: Site, a: Value, b: Value) -> Value:
    if is_float(a.dtype):
        r = a.op("Mod", b, fmod=1)
        return (~r.equals(0) & ((b < 0) ^ (r < 0))).select(r + b, r)
    return a.op("Mod", _divisor(b))


def _divisor(b: Value) -> Value:
    """1 for 0 and -1, by which integers are not divided everywhere."""
    return (b.equals(0) | b.equals(-1)).select(1, b)


# ---- signs, extremes, selection


def sign(at: Site, x: Value) -> Value:
    y = x.op("Sign")
    return x.is_nan().select(x, y) if is_float(x.dtype) else y


def copysign(at: Site, a: Value, b: Value) -> Value:
    size = abs(a)
    return _negative(b).select(-size, size)


def _negative(x: Value) -> Value:
    """The sign bit; that of a zero shows in its reciprocal."""
    return x.equals(0).select(1 / x, x) < 0


def number_of_two(type: str) -> Rule:
    """fmax and fmin: a NaN loses against a number."""

    def rule(at: Site, a: Value, b: Value) -> Value:
        y = a.op(type, b)
        return a.is_nan().select(b, b.is_nan().select(a, y)) if is_float(a.dtype) else y

    return widened(rule)


def clip(at: Site, x: Value, low: Value, high: Value) -> Value:
    """Not ONNX's, whose bounds are numbers and may lose a NaN."""
    return x.op("Max", low).op("Min", high)


def trunc(at: Site, x: Value) -> Value:
    return (x < 0).select(x.op("Ceil"), x.op("Floor"))


def where(at: Site, c: Value, a: Value, b: Value) -> Value:
    return widened(lambda at, a, b: c.select(a, b))(at, a, b)


def astype(at: Site, x: Value) -> Value:
    """Floats are brought into the range of the integer first: what lies beyond it ONNX leaves open."""
    out = dtype_of(at.attrs["dtype"])
    if is_float(x.dtype) and is_integer(out):
        whole = INT64 if out == INT64 else INT32
        limit = 2.0 ** (8 * whole.itemsize - 1)
        x = (abs(x) < limit).select(x, -limit).cast(whole)
    return x.cast(out)


def pow(at: Site, a: Value, b: Value) -> Value:
    y = a.op("Pow", b)
    return y if is_float(a.dtype) else (a.equals(0) & (b < 0)).select(0, y)


def relu(at: Site, x: Value) -> Value:
    return x.op("Relu") if is_float(x.dtype) else number("Max")(at, x, x.like(0))


def checked_index(at: Site, x: Value) -> Value:
    """``x`` looked up in a table of what is allowed, so that the runtime refuses any other index."""
    m, low, high = at.model, at.attrs["low"], at.attrs["high"]
    table = m.scalar(low).op("Range", m.scalar(high), m.scalar(1))
    place = x.cast(INT64) - m.scalar(low)
    allowed = (place < 0).select(m.scalar(high - low), place)  # negative ones would count from the end
    return table.op("Gather", allowed).cast(x.dtype)


# ---- exponentials and logarithms


def expm1(at: Site, x: Value) -> Value:
    """Kahan: exp(x) - 1, corrected by x / log(exp(x))."""
    u = x.op("Exp")
    y = u - 1
    return (abs(x) < 0.5).select(u.equals(1).select(x, y * (x / u.op("Log"))), y)


def log1p(at: Site, x: Value) -> Value:
    """Kahan: log(1 + x), corrected by x / ((1 + x) - 1)."""
    u = x + 1
    d = u - 1
    y = u.op("Log")
    return (abs(x) < 0.5).select(d.equals(0).select(x, y * (x / d)), y)


def softplus(at: Site, x: Value) -> Value:
    return x.op("Max", 0.0) + log1p(at, (-abs(x)).op("Exp"))


def log1mexp(at: Site, x: Value) -> Value:
    return (x < LN2).select((-expm1(at, -x)).op("Log"), log1p(at, -(-x).op("Exp")))


def logaddexp(at: Site, a: Value, b: Value) -> Value:
    return a.equals(b).select(a + LN2, a.op("Max", b) + log1p(at, (-abs(a - b)).op("Exp")))


def xlogy(at: Site, a: Value, b: Value) -> Value:
    return (a.equals(0) & ~b.is_nan()).select(0, a * b.op("Log"))


def xlog1py(at: Site, a: Value, b: Value) -> Value:
    return (a.equals(0) & ~b.is_nan()).select(0, a * log1p(at, b))


def weigh(at: Site, a: Value, b: Value) -> Value:
    return (a.equals(0) & b.op("IsInf", dtype=BOOL)).select(0, a * b)


def cbrt(at: Site, x: Value) -> Value:
    root = abs(x).op("Pow", 1 / 3)
    return (x < 0).select(-root, root)


# ---- geometry


def hypot(at: Site, a: Value, b: Value) -> Value:
    x, y = abs(a), abs(b)
    high = x.op("Max", y)
    ratio = x.op("Min", y) / high.equals(0).select(1, high)
    infinite = x.equals(math.inf) | y.equals(math.inf)
    return infinite.select(math.inf, high * (ratio * ratio + 1).op("Sqrt"))


def atan2(at: Site, a: Value, b: Value) -> Value:
    x, y = abs(b), abs(a)
    ratio = y.equals(0).select(0, y.equals(x).select(1, y / x))
    angle = ratio.op("Atan")
    return b.is_nan().select(b, copysign(at, _negative(b).select(math.pi - angle, angle), a))


# ---- erfinv

CENTRE = (
    2.81022636e-08, 3.43273939e-07, -3.5233877e-06, -4.39150654e-06, 0.00021858087, -0.00125372503, -0.00417768164,
    0.246640727, 1.50140941,
)  # fmt: skip
TAIL = (
    -0.000200214257, 0.000100950558, 0.00134934322, -0.00367342844, 0.00573950773, -0.0076224613, 0.00943887047,
    1.00167406, 2.83297682,
)  # fmt: skip


def erfinv(at: Site, x: Value) -> Value:
    """Giles, Approximating the erfinv function (2011); in float64 with two Newton steps."""
    w = -((1 - x) * (x + 1)).op("Log")
    y = x * (w < 5).select(_polynomial(w - 2.5, CENTRE), _polynomial(w.op("Sqrt") - 3, TAIL))
    if x.dtype.itemsize == 8:
        for _ in range(2):
            y = y - (y.op("Erf") - x) * (y * y).op("Exp") * (math.sqrt(math.pi) / 2)
    return abs(x).equals(1).select(x * math.inf, y)


def _polynomial(x: Value, coefficients: Sequence[float]) -> Value:
    """By Horner, the highest power first."""
    total = x * coefficients[0] + coefficients[1]
    for c in coefficients[2:]:
        total = total * x + c
    return total


ELEMENTWISE: dict[str, Rule] = {
    "add": number("Add"), "subtract": number("Sub"), "multiply": number("Mul"), "divide": plain("Div"),
    "neg": number("Neg"), "abs": number("Abs"), "sign": widened(sign), "pow": widened(pow),
    "floor_divide": widened(floor_divide), "remainder": widened(remainder),
    "maximum": number("Max"), "minimum": number("Min"), "clip": widened(clip),
    "fmax": number_of_two("Max"), "fmin": number_of_two("Min"), "copysign": copysign,
    "identity": plain("Identity"), "stop_gradient": plain("Identity"),
    "equal": comparison("Equal"), "less": comparison("Less"), "less_equal": comparison("LessOrEqual"),
    "greater": comparison("Greater"), "greater_equal": comparison("GreaterOrEqual"),
    "not_equal": widened(lambda at, a, b: ~a.equals(b)),
    "logical_and": plain("And"), "logical_or": plain("Or"), "logical_xor": plain("Xor"), "logical_not": plain("Not"),
    "isnan": plain("IsNaN"), "isinf": plain("IsInf"),
    "isfinite": lambda at, x: ~(x.is_nan() | x.op("IsInf", dtype=BOOL)),
    "astype": astype, "where": where,
    "checked_index": checked_index,
    "sqrt": plain("Sqrt"), "rsqrt": lambda at, x: x.op("Sqrt").op("Reciprocal"), "cbrt": cbrt,
    "exp": plain("Exp"), "exp2": lambda at, x: x.like(2).op("Pow", x), "expm1": expm1,
    "log": plain("Log"), "log1p": log1p,
    "log2": lambda at, x: x.op("Log") * (1 / LN2), "log10": lambda at, x: x.op("Log") * (1 / LN10),
    "sin": plain("Sin"), "cos": plain("Cos"), "tan": plain("Tan"),
    "asin": plain("Asin"), "acos": plain("Acos"), "atan": plain("Atan"), "atan2": atan2,
    "sinh": plain("Sinh"), "cosh": plain("Cosh"), "tanh": plain("Tanh"),
    "asinh": plain("Asinh"), "acosh": plain("Acosh"), "atanh": plain("Atanh"),
    "erf": plain("Erf"), "erfc": lambda at, x: 1 - x.op("Erf"), "erfinv": erfinv,
    "sigmoid": plain("Sigmoid"), "softplus": softplus, "log_sigmoid": lambda at, x: -softplus(at, -x),
    "log1mexp": log1mexp, "logaddexp": logaddexp, "xlogy": xlogy, "xlog1py": xlog1py, "weigh": weigh, "hypot": hypot,
    "floor": plain("Floor"), "ceil": plain("Ceil"), "round": plain("Round"), "trunc": trunc,
    "relu": relu,
}  # fmt: skip

__all__ = ["ELEMENTWISE", "INT32", "Rule", "Site", "plain", "widened"]
