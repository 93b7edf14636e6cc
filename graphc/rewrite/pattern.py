"""Patterns: expressions over variables, written with the DSL's own operators, that nodes are matched against."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from graphc.ir.tensor import Tensor

Binding = dict[str, Tensor]


class Pattern:
    """A variable, a number, or an op applied to patterns.

    A variable matches any tensor, the same one at each place; a number a scalar constant of that value; an op a node
    of its name whatever the attributes are, commutative operands in either order.
    """

    def __init__(self, op: str, *parts: Pattern, name: str = "", value: float = 0.0) -> None:
        self.op, self.parts, self.name, self.value = op, parts, name, value

    def __add__(self, other: Any) -> Pattern:
        return Pattern("add", self, pattern(other))

    def __radd__(self, other: Any) -> Pattern:
        return Pattern("add", pattern(other), self)

    def __sub__(self, other: Any) -> Pattern:
        return Pattern("subtract", self, pattern(other))

    def __rsub__(self, other: Any) -> Pattern:
        return Pattern("subtract", pattern(other), self)

    def __mul__(self, other: Any) -> Pattern:
        return Pattern("multiply", self, pattern(other))

    def __rmul__(self, other: Any) -> Pattern:
        return Pattern("multiply", pattern(other), self)

    def __truediv__(self, other: Any) -> Pattern:
        return Pattern("divide", self, pattern(other))

    def __rtruediv__(self, other: Any) -> Pattern:
        return Pattern("divide", pattern(other), self)

    def __neg__(self) -> Pattern:
        return Pattern("neg", self)

    def variables(self) -> Iterator[str]:
        """Names of the variables, in order, with repeats."""
        if self.op == "":
            yield self.name
        for part in self.parts:
            yield from part.variables()

    def match(self, tensor: Tensor, binding: Binding) -> Binding | None:
        """``binding`` with what makes this pattern ``tensor``, or None."""
        if self.op == "":
            held = binding.get(self.name)
            if held is None:
                return {**binding, self.name: tensor}
            return binding if held.id == tensor.id or _equal_constants(held, tensor) else None
        if self.op == "number":
            return binding if is_number(tensor, self.value) else None
        node = tensor.node
        if node.op.name != self.op or len(node.inputs) != len(self.parts):
            return None
        operands = tensor.inputs
        orders = [operands, operands[::-1]] if "commutative" in node.op.facts else [operands]
        for order in orders:
            found: Binding | None = binding
            for part, operand in zip(self.parts, order, strict=True):
                found = part.match(operand, found) if found is not None else None
            if found is not None:
                return found
        return None


def pattern(value: Any) -> Pattern:
    """A pattern as it is, a number as the pattern of that constant."""
    return value if isinstance(value, Pattern) else Pattern("number", value=float(value))


def variable(name: str) -> Pattern:
    """A pattern that matches anything."""
    return Pattern("", name=name)


def op(name: str) -> Callable[..., Pattern]:
    """A function of patterns for the op of that name."""
    return lambda *parts: Pattern(name, *(pattern(p) for p in parts))


def is_number(tensor: Tensor, value: float) -> bool:
    """True for a scalar constant of exactly this value, its sign of zero included."""
    held = constant_value(tensor)
    return held is not None and held == value and np.signbit(held) == np.signbit(value)


def constant_value(tensor: Tensor) -> float | None:
    """The value of a scalar constant, else None."""
    node = tensor.node
    if node.op.name != "constant" or node.value is None or node.value.ndim:
        return None
    return float(node.value)


def _equal_constants(a: Tensor, b: Tensor) -> bool:
    x, y = a.node.value, b.node.value
    same = a.op.name == b.op.name == "constant" and a.type == b.type
    return same and x is not None and y is not None and x.tobytes() == y.tobytes()
