"""Elementwise operations in ONNX: one entry for each, an operator's name or a formula in operators.

Formulas stand where ONNX has no such operator or where its definition loses what graphc's keeps: precision near zero,
overflow, NaN. Sources are those of the formulas in ``graphc.ops.functions``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from graphc.codegen.vecmath.error_function import CENTRE, DENOMINATORS, FAR, NUMERATORS, SHIFTS
from graphc.ir.node import Node
from graphc.ir.op import Attrs
from graphc.ir.types import BOOL, INT32, INT64, UINT8, TensorType, dtype_of, is_float, is_integer
from graphc.onnx.model import Model, Value

LN2, LN10 = math.log(2), math.log(10)
SINGLE, DOUBLE = 0, 1  # of constants by dtype


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


def atan2_slope(at: Site, a: Value, b: Value) -> Value:
    length = hypot(at, a, b)
    return b / length / length


def atan2(at: Site, a: Value, b: Value) -> Value:
    x, y = abs(b), abs(a)
    ratio = y.equals(0).select(0, y.equals(x).select(1, y / x))
    angle = ratio.op("Atan")
    return b.is_nan().select(b, copysign(at, _negative(b).select(math.pi - angle, angle), a))


# ---- inverse error functions


def _inverse(x: Value, rest: Value) -> Value:
    """erfinv(x) of 0 <= x < 1, or erfcinv of ``rest`` = 1 - x: see `graphc.codegen.vecmath.error_function`."""
    r = (LN2 - rest.op("Log")).op("Sqrt")
    places = [x * x * -0.25 + SHIFTS[0], r - SHIFTS[1], r - SHIFTS[2]]
    pick = SINGLE if x.dtype.itemsize == 4 else DOUBLE
    pieces = zip(places, NUMERATORS[pick], DENOMINATORS[pick], strict=True)
    centre, near, far = (_polynomial(at, above) / _polynomial(at, below) for at, above, below in pieces)
    return (x < CENTRE).select(centre * x, (r < FAR).select(near, far))


def erfinv(at: Site, x: Value) -> Value:
    a = abs(x)
    y = a.equals(1).select(math.inf, _inverse(a, 1 - a))
    return (x < 0).select(-y, y)


def erfcinv(at: Site, x: Value) -> Value:
    upper = x > 1
    rest = upper.select(2 - x, x)
    y = rest.equals(0).select(math.inf, _inverse(1 - rest, rest))
    return upper.select(-y, y)


def _polynomial(x: Value, coefficients: Sequence[float]) -> Value:
    """By Horner, the lowest power first."""
    total = x * coefficients[-1] + coefficients[-2]
    for c in coefficients[-3::-1]:
        total = total * x + c
    return total


# ---- interpolation


def lerp(at: Site, a: Value, b: Value, w: Value) -> Value:
    apart = b - a
    y = (w < 0.5).select(a + w * apart, b - (1 - w) * apart)
    return (abs(apart) < math.inf).select(y, w * b + (1 - w) * a)


# ---- the first operand again


def first(at: Site, x: Value, *others: Value) -> Value:
    return x.op("Identity", dtype=at.type.dtype)


# ---- made of sizes


def full_like(at: Site, x: Value) -> Value:
    return x.like(at.attrs["fill"]).op("Expand", at.model.vector(at.type.shape))


ELEMENTWISE: dict[str, Rule] = {
    "add": number("Add"), "subtract": number("Sub"), "multiply": number("Mul"), "divide": plain("Div"),
    "neg": number("Neg"), "abs": number("Abs"), "sign": widened(sign), "pow": widened(pow),
    "floor_divide": widened(floor_divide), "remainder": widened(remainder),
    "maximum": number("Max"), "minimum": number("Min"), "clip": widened(clip),
    "fmax": number_of_two("Max"), "fmin": number_of_two("Min"), "copysign": copysign,
    **dict.fromkeys(("identity", "stop_gradient", "scale_gradient", "clip_gradient", "own_gradient", "after"), first),
    "full_like": full_like,
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
    "atan2_slope": atan2_slope,
    "sinh": plain("Sinh"), "cosh": plain("Cosh"), "tanh": plain("Tanh"),
    "asinh": plain("Asinh"), "acosh": plain("Acosh"), "atanh": plain("Atanh"),
    "erf": plain("Erf"), "erfc": lambda at, x: 1 - x.op("Erf"), "erfinv": erfinv, "erfcinv": erfcinv,
    "sigmoid": plain("Sigmoid"), "softplus": softplus, "log_sigmoid": lambda at, x: -softplus(at, -x),
    "one_minus_square": lambda at, x: (1 - x) * (x + 1), "softsign": plain("Softsign"), "lerp": lerp,
    "log1mexp": log1mexp, "logaddexp": logaddexp, "xlogy": xlogy, "xlog1py": xlog1py, "weigh": weigh, "hypot": hypot,
    "floor": plain("Floor"), "ceil": plain("Ceil"), "round": plain("Round"), "trunc": trunc,
    "relu": relu,
}  # fmt: skip

__all__ = ["ELEMENTWISE", "INT32", "Rule", "Site", "plain", "widened"]
