"""Rewrite rules as data: ``before -> after``, both in the DSL's operators.

An ``exact`` rule leaves every bit of every result, NaN, infinities and -0.0 included. The others agree to rounding
where both sides are finite, and are there because ``after`` is finite or accurate where ``before`` is not, at numbers;
those of `COST`, because it computes less.
No rule loses a variable: one that cancels stands in ``after`` as ``0 * x``, so that NaN and infinities still give NaN.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import frexp

from graphc.ir.graph import topological
from graphc.ir.tensor import Tensor
from graphc.ops import functions as f
from graphc.ops.reduce import sum as summed
from graphc.ops.softmax import logsumexp
from graphc.rewrite.outer import added_ahead, ahead, contracted, contractible, separable, separated
from graphc.rewrite.pattern import Binding, Pattern, constant_value, op, variable


@dataclass(frozen=True, slots=True)
class Rule:
    """``before`` becomes ``after(**variables)`` where ``when(root, binding)`` holds."""

    name: str
    before: Pattern
    after: Callable[..., Tensor]
    exact: bool = False
    when: Callable[[Tensor, Binding], bool] = lambda root, binding: True


x, y, z, g, c = (variable(n) for n in "xyzgc")
exp, log, log1p, sqrt = op("exp"), op("log"), op("log1p"), op("sqrt")
sigmoid, where, equal, total, maximum = op("sigmoid"), op("where"), op("equal"), op("sum"), op("maximum")
minimum, logical_not, matmul = op("minimum"), op("logical_not"), op("matmul")


def tests_indices(tensor: Tensor) -> bool:
    """Whether an index is tested on the way to a tensor; one that is not computed would not be."""
    return any("index_check" in node.op.facts for node in topological(tensor.graph, [tensor.id]))


def _untested_condition(root: Tensor, found: Binding) -> bool:
    return not tests_indices(found["c"])


def _power_of_two(root: Tensor, found: Binding) -> bool:
    value = constant_value(found["c"])
    return value is not None and abs(frexp(value)[0]) == 0.5 and 2.0**-100 < abs(value) < 2.0**100


def _raw_exponent(root: Tensor, found: Binding) -> bool:
    """The exponent was not shifted by its largest element already."""
    held = found["x"]
    return not (held.op.name == "subtract" and held.inputs[1].op.name in ("where", "max", "supremum", "stop_gradient"))


def _sum_of_squares(root: Tensor, found: Binding) -> bool:
    """Of what is not negative, so that its root is never NaN but for a NaN."""
    held = found["x"]
    if held.op.name != "sum":
        return False
    inner = held.inputs[0]
    return inner.op.name == "multiply" and inner.inputs[0].id == inner.inputs[1].id


def _squares(total: Tensor, scale: Tensor) -> Tensor:
    """total / scale^2: where ``total`` is of squares of what was multiplied by that, as `norm` does, without either."""
    scaled = total.inputs[0].inputs[0] if total.op.name == "sum" and total.inputs[0].inputs else total
    if scaled.op.name == "multiply" and _unshaped(scaled.inputs[1]).id == _unshaped(scale).id:
        return summed(scaled.inputs[0] * scaled.inputs[0], total.attrs["axes"], total.attrs["keepdims"])
    return total / scale / scale


def _unshaped(tensor: Tensor) -> Tensor:
    while tensor.op.name in ("reshape", "broadcast_to"):
        tensor = tensor.inputs[0]
    return tensor


def _log_sum_exp(root: Tensor, x: Tensor) -> Tensor:
    folded = root.inputs[0]
    return logsumexp(x, folded.attrs["axes"], folded.attrs["keepdims"])


_norm = where(equal(x, 0), 0, sqrt(x))
_share = exp(x) / y  # of a softmax

STABILITY: tuple[Rule, ...] = (
    Rule("log-of-one-plus", log(1 + x), lambda x: f.log1p(x)),
    Rule("exp-minus-one", exp(x) - 1, lambda x: f.expm1(x)),
    Rule("logistic", 1 / (1 + exp(-x)), lambda x: f.sigmoid(x)),
    Rule("log-of-one-plus-exp", log1p(exp(x)), lambda x: f.softplus(x)),
    Rule("log-of-logistic", log(sigmoid(x)), lambda x: f.log_sigmoid(x)),
    Rule("one-minus-logistic", 1 - sigmoid(x), lambda x: f.sigmoid(-x)),
    Rule("log-of-one-minus-exp", log1p(-exp(-x)), lambda x: f.log1mexp(x)),
    Rule("log-of-one-minus-exp-plain", log(1 - exp(-x)), lambda x: f.log1mexp(x)),
    Rule("x-log-x", x * log(x), lambda x: f.xlogy(x, x)),
    Rule("log-of-exp", log(exp(x)), lambda x: x),
    Rule("log-of-softmax", log(exp(x) / y), lambda x, y: x - f.log(y)),
    Rule("log-sum-exp", log(total(exp(x))), lambda root, x: _log_sum_exp(root, x), when=_raw_exponent),
    Rule("norm-squared", (_norm / y) * (_norm / y), lambda x, y: _squares(x, y), when=_sum_of_squares),
    Rule("length-squared", _norm * _norm, lambda x: x, when=_sum_of_squares),
    Rule("root-squared", sqrt(x) * sqrt(x), lambda x: x, when=_sum_of_squares),
    # what the symbolic gradients of log(softmax(x)) written by hand look like
    Rule("quotient-of-share", (g / _share) / y, lambda g, x, y: g / f.exp(x) + 0 * y),
    Rule("share-of-quotient", (g / _share) * (_share / y), lambda g, x, y: g / y + 0 * (x + y)),
    Rule("minus-share-of-quotient", -(g / _share) * (_share / y), lambda g, x, y: -(g / y) + 0 * (x + y)),
    # and those of 1 / (1 + exp(-x)) and log(1 + exp(x))
    Rule(
        "gradient-of-logistic",
        (g * (sigmoid(x) / (1 + exp(-x)))) * exp(-x),
        lambda g, x: g * (f.sigmoid(x) * f.sigmoid(-x)),
    ),
    Rule("gradient-of-softplus", (g / (1 + exp(x))) * exp(x), lambda g, x: g * f.sigmoid(x)),
    Rule("quotient-times-exp", (g / exp(x)) * exp(x), lambda g, x: g + 0 * x),
)

ALGEBRA: tuple[Rule, ...] = (
    Rule("times-one", x * 1, lambda x: x, exact=True),
    Rule("over-one", x / 1, lambda x: x, exact=True),
    Rule("minus-zero", x - 0, lambda x: x, exact=True),
    Rule("plus-negative-zero", x + (-0.0), lambda x: x, exact=True),
    Rule("twice-negated", op("neg")(-x), lambda x: x, exact=True),
    Rule("plus-negated", x + -y, lambda x, y: x - y, exact=True),
    Rule("minus-negated", x - -y, lambda x, y: x + y, exact=True),
    Rule("plus-itself", x + x, lambda x: 2 * x, exact=True, when=lambda root, b: root.dtype.kind == "f"),
    Rule("negated-twice-product", -x * -y, lambda x, y: x * y, exact=True),
    # equal but for their sign: one is computed, and sums take the sign in
    Rule("negated-factor", -x * y, lambda x, y: -(x * y), exact=True),
    Rule("negated-dividend", -x / y, lambda x, y: -(x / y), exact=True),
    Rule("negated-divisor", x / -y, lambda x, y: -(x / y), exact=True),
    Rule("over-power-of-two", x / c, lambda x, c: x * (1 / constant_of(c)), exact=True, when=_power_of_two),
    Rule("same-branches", where(c, x, x), lambda c, x: x, exact=True, when=_untested_condition),
    Rule("larger-of-itself", maximum(x, x), lambda x: x, exact=True),
    Rule("smaller-of-itself", minimum(x, x), lambda x: x, exact=True),
    Rule("twice-not", logical_not(logical_not(x)), lambda x: x, exact=True),
)


COST: tuple[Rule, ...] = (
    # the gradients of examples: their norms, and their clipped sum; distances of many points
    Rule(
        "sum-of-squared-outer-products", total(x * x), lambda root, x: separated(root), when=lambda r, _: separable(r)
    ),
    # the gradient of what is taken from each row before a product
    Rule("sum-of-product", total(matmul(x, y)), added_ahead, when=lambda root, _: any(ahead(root))),
    Rule("sum-of-negated-product", total(-matmul(x, y)), added_ahead, when=lambda root, _: any(ahead(root))),
    Rule("sum-of-outer-products", total(x * y), lambda root, x, y: contracted(root), when=lambda r, _: contractible(r)),
)


def constant_of(tensor: Tensor) -> float:
    """The value of a scalar constant."""
    value = constant_value(tensor)
    assert value is not None
    return value


RULES: tuple[Rule, ...] = STABILITY + ALGEBRA + COST

__all__ = ["ALGEBRA", "COST", "RULES", "STABILITY", "Rule", "constant_of"]
