"""ONNX's elementwise operators and activations as graphc's functions."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import reduce

from graphc.ir.tensor import Tensor
from graphc.ir.types import is_float
from graphc.onnx.elements import Element, fitted
from graphc.onnx.reading.held import Held, Reading
from graphc.ops import activation as act
from graphc.ops import elementwise as e
from graphc.ops import functions as f

Made = Tensor | Held | None
Reader = Callable[[Reading], Made | list[Made] | list[Tensor] | list[Held]]


def unary(function: Callable[[Tensor], Tensor]) -> Reader:
    return lambda at: function(at.tensor())


def binary(function: Callable[[Tensor, Tensor], Tensor]) -> Reader:
    return lambda at: function(at.tensor(0), at.tensor(1))


def many(function: Callable[[Tensor, Tensor], Tensor]) -> Reader:
    return lambda at: reduce(function, at.tensors())


def divide(at: Reading) -> Tensor:
    """Integers are cut towards zero."""
    a, b = at.tensor(0), at.tensor(1)
    return e.divide(a, b) if is_float(a.dtype) else cut(a, b)


def cut(a: Tensor, b: Tensor) -> Tensor:
    q, apart = e.floor_divide(a, b), e.logical_xor(e.less(a, 0), e.less(b, 0))
    return e.where(e.logical_and(apart, e.not_equal(e.remainder(a, b), 0)), q + 1, q)


def modulo(at: Reading) -> Tensor:
    a, b = at.tensor(0), at.tensor(1)
    if not at.attribute("fmod", 0):
        return e.remainder(a, b)
    return e.sign(a) * e.remainder(e.abs(a), e.abs(b)) if is_float(a.dtype) else a - b * cut(a, b)


def relu(at: Reading) -> Tensor:
    x = at.tensor()
    return f.relu(x) if is_float(x.dtype) else e.maximum(x, 0)


def power(at: Reading) -> Tensor:
    a, number = at.tensor(0), at.number(1)
    if number is not None and is_float(a.dtype):
        return f.pow(a, number)  # a whole number is repeated multiplication
    return e.astype(f.pow(a, at.tensor(1)), a.dtype)


def clip(at: Reading) -> Tensor:
    """Bounds are attributes in old opsets, operands in new ones."""
    low, high = (at.tensor(slot) if at.has(slot) else at.attribute(name) for slot, name in ((1, "min"), (2, "max")))
    return e.clip(at.tensor(), low, high)


def cast(at: Reading) -> Held:
    return _cast(at, at.to("to"))


def _cast(at: Reading, kind: Element) -> Held:
    """Floats that are too large for eight bits become the largest, unless ``saturate`` is 0."""
    x = at.tensor()
    made = fitted(x, kind, bool(at.attribute("saturate", 1))) if kind.narrow and at.kind() != kind else None
    return Held(at.graph, at.name, tensor=e.astype(x, kind.dtype) if made is None else made, kind=kind)


def selu(at: Reading) -> Tensor:
    gamma: float = at.attribute("gamma", 1.0507009873554805)
    return act.elu(at.tensor(), at.attribute("alpha", 1.6732632423543772)) * gamma


def hard_sigmoid(at: Reading) -> Tensor:
    alpha: float = at.attribute("alpha", 0.2)
    beta: float = at.attribute("beta", 0.5)
    return e.clip(at.tensor() * alpha + beta, 0, 1)


def gelu(at: Reading) -> Tensor:
    kind = at.attribute("approximate", "none")
    if kind not in ("none", "tanh"):
        at.fail(f"approximate must be none or tanh, found {kind[:40]!r}")
    return act.gelu(at.tensor(), kind == "tanh")


def prelu(at: Reading) -> Tensor:
    x = at.tensor()
    return e.where(e.greater_equal(x, 0), x, x * at.tensor(1))


def is_inf(at: Reading) -> Tensor:
    x, wanted = at.tensor(), [at.attribute("detect_negative", 1), at.attribute("detect_positive", 1)]
    if all(wanted):
        return e.isinf(x)
    return e.equal(x, math.inf if wanted[1] else -math.inf) if any(wanted) else e.less(x, x)


ELEMENTWISE: dict[str, Reader] = {
    "Abs": unary(e.abs), "Neg": unary(e.neg), "Sign": unary(e.sign), "Reciprocal": unary(f.reciprocal),
    "Floor": unary(f.floor), "Ceil": unary(f.ceil), "Round": unary(f.round), "Sqrt": unary(f.sqrt),
    "Exp": unary(f.exp), "Log": unary(f.log), "Erf": unary(f.erf),
    "Sin": unary(f.sin), "Cos": unary(f.cos), "Tan": unary(f.tan),
    "Asin": unary(f.asin), "Acos": unary(f.acos), "Atan": unary(f.atan),
    "Sinh": unary(f.sinh), "Cosh": unary(f.cosh), "Tanh": unary(f.tanh),
    "Asinh": unary(f.asinh), "Acosh": unary(f.acosh), "Atanh": unary(f.atanh),
    "Sigmoid": unary(f.sigmoid), "Softplus": unary(f.softplus), "Relu": relu,
    "Softsign": unary(f.softsign), "Mish": unary(act.mish), "HardSwish": unary(act.hard_swish),
    "LeakyRelu": lambda at: act.leaky_relu(at.tensor(), at.attribute("alpha", 0.01)),
    "Elu": lambda at: act.elu(at.tensor(), at.attribute("alpha", 1.0)),
    "Selu": selu, "HardSigmoid": hard_sigmoid, "Gelu": gelu, "PRelu": prelu,
    "Identity": unary(e.identity), "Cast": cast, "CastLike": lambda at: _cast(at, at.kind(1)),
    "IsNaN": unary(e.isnan), "IsInf": is_inf, "Not": unary(e.logical_not),
    "Add": binary(e.add), "Sub": binary(e.subtract), "Mul": binary(e.multiply), "Div": divide, "Mod": modulo,
    "Pow": power, "Clip": clip, "Where": lambda at: e.where(at.tensor(0), at.tensor(1), at.tensor(2)),
    "Max": many(e.maximum), "Min": many(e.minimum), "Sum": many(e.add),
    "Mean": lambda at: reduce(e.add, at.tensors()) / len(at.operands),
    "And": binary(e.logical_and), "Or": binary(e.logical_or), "Xor": binary(e.logical_xor),
    "Equal": binary(e.equal), "Less": binary(e.less), "LessOrEqual": binary(e.less_equal),
    "Greater": binary(e.greater), "GreaterOrEqual": binary(e.greater_equal),
}  # fmt: skip

__all__ = ["ELEMENTWISE", "Reader"]
