"""Tensors as formulas: ``sigmoid(x @ W + b)``."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from graphc.ir.op import Kind
from graphc.ir.tensor import Tensor
from graphc.rewrite.pattern import constant_value

# How tightly operators bind, as in Python, but that ``*`` and ``/`` bind more tightly than ``@``, ``//`` and ``%``,
# with which they do not mix.
COMPARE, OR, XOR, AND, SUM, MATMUL, PRODUCT, NEGATION, POWER, ATOM = range(10)
BINARY = {  # sign, how tightly it binds, and what its left and right operands have to reach without parentheses
    "equal": (" == ", COMPARE, OR, OR),
    "not_equal": (" != ", COMPARE, OR, OR),
    "less": (" < ", COMPARE, OR, OR),
    "less_equal": (" <= ", COMPARE, OR, OR),
    "greater": (" > ", COMPARE, OR, OR),
    "greater_equal": (" >= ", COMPARE, OR, OR),
    "logical_or": (" | ", OR, OR, OR),
    "logical_xor": (" ^ ", XOR, XOR, XOR),
    "logical_and": (" & ", AND, AND, AND),
    "add": (" + ", SUM, SUM, SUM),
    "subtract": (" - ", SUM, SUM, MATMUL),
    "floor_divide": (" // ", MATMUL, MATMUL, NEGATION),
    "remainder": (" % ", MATMUL, MATMUL, NEGATION),
    "matmul": (" @ ", MATMUL, MATMUL, NEGATION),
    "multiply": (" * ", PRODUCT, PRODUCT, PRODUCT),
    "divide": (" / ", PRODUCT, PRODUCT, NEGATION),
    "pow": ("**", POWER, ATOM, NEGATION),
}

# Changes of shape and dtype say nothing about where a number comes from.
SILENT = ("broadcast_to", "reshape", "expand_dims", "squeeze", "astype", "identity", "stop_gradient")


LONGEST = 60  # characters of a formula that is still read


def formula(tensor: Tensor, name: Callable[[Tensor], str | None]) -> str | None:
    """``tensor`` in terms of what ``name`` has a word for; other operands are written out. None where that is long.

    The tensor itself is written out whatever ``name`` says of it. Changes of shape and dtype inside it are left out.

    >>> import graphc as gx
    >>> g = gx.Graph()
    >>> x, w = g.input("x"), g.input("w")
    >>> formula(gx.tanh(2 * x + w) / 3, lambda t: t.name if t.name in g.inputs else None)
    'tanh(2 * x + w) / 3'
    """
    try:
        text = _Writer(name).body(tensor, whole=True)[0]
    except _TooLong:
        return None
    return text if len(text) <= LONGEST else None


def product(tensor: Tensor, name: Callable[[Tensor], str | None]) -> tuple[float, str] | None:
    """``tensor`` as a number, all that it is multiplied with or divided by being gathered, times the rest.

    The rest is "" where there is none. None where it is long, as in `formula`.

    >>> import graphc as gx
    >>> g = gx.Graph()
    >>> x, w = g.input("x"), g.input("w")
    >>> product(-2 * (x / 4) * (w + 1), lambda t: t.name if t.name in g.inputs else None)
    (-0.5, 'x * (w + 1)')
    """
    try:
        scale, text, binds = _Writer(name).product(tensor)
    except _TooLong:
        return None
    text = text if scale == 1 else _within(text, binds)
    return (scale, text) if len(text) <= LONGEST else None


class _TooLong(Exception):
    """Written out, what is shared grows without bounds."""


class _Writer:
    """Each text comes with how tightly its outermost operator binds."""

    def __init__(self, name: Callable[[Tensor], str | None]) -> None:
        self.name = name
        self.left = LONGEST  # a node writes a character at least

    def spend(self) -> None:
        self.left -= 1
        if self.left < 0:
            raise _TooLong

    def operand(self, tensor: Tensor, least: int = 0) -> str:
        word = self.name(tensor)
        text, binds = (word, ATOM) if word is not None else self.body(tensor)
        return text if binds >= least else f"({text})"

    def body(self, tensor: Tensor, whole: bool = False) -> tuple[str, int]:
        op, operands = tensor.op.name, tensor.inputs
        self.spend()
        if op == "constant":
            text = number_text(tensor.node.value)
            return text, NEGATION if text.startswith("-") else ATOM
        if tensor.op.kind is Kind.LEAF:
            return tensor.name, ATOM
        if op == "size":
            return str(tensor.attrs["size"]), ATOM
        if (same := _same(tensor)) is not None:
            word = self.name(same)
            if word is None:
                return self.body(same)
            if not whole or op == "multiply":
                return word, ATOM
        if op in BINARY:
            sign, binds, left, right = BINARY[op]
            if op == "multiply" and operands[0] is operands[1]:
                return f"{self.operand(operands[0], ATOM)}**2", POWER
            return f"{self.operand(operands[0], left)}{sign}{self.operand(operands[1], right)}", binds
        if op == "neg":
            return f"-{self.operand(operands[0], NEGATION)}", NEGATION
        if op in ("permute_dims", "matrix_transpose"):
            return f"{self.operand(operands[0], ATOM)}.T", ATOM
        words = [self.operand(t) for t in operands]
        if "axes" in tensor.attrs and tensor.inputs and len(tensor.attrs["axes"]) < operands[0].ndim:
            words.append(f"axis={', '.join(map(str, tensor.attrs['axes']))}")
        return f"{op}({', '.join(words)})", ATOM

    def product(self, tensor: Tensor) -> tuple[float, str, int]:
        """A number, and the factors beside it with how tightly they bind; what has a name is one of them."""
        op, operands = tensor.op.name, tensor.inputs
        self.spend()
        if (word := self.name(tensor)) is not None:
            return 1.0, word, ATOM
        if (number := constant_value(tensor)) is not None:
            return number, "", ATOM
        if (same := _same(tensor)) is not None:
            return self.product(same)
        if op == "neg":
            scale, text, binds = self.product(operands[0])
            return -scale, text, binds
        if op == "multiply" and operands[0] is not operands[1]:
            (a, first, binds), (b, second, binds_too) = map(self.product, operands)
            if not first or not second:
                return a * b, first or second, binds if first else binds_too
            return a * b, f"{_within(first, binds)} * {_within(second, binds_too)}", PRODUCT
        if op == "divide":
            scale, text, binds = self.product(operands[0])
            if number := constant_value(operands[1]):
                return scale / number, text, binds
            if text:
                return scale, f"{_within(text, binds)} / {self.operand(operands[1], NEGATION)}", PRODUCT
        return 1.0, *self.body(tensor)


def _within(text: str, binds: int) -> str:
    """A factor within a product."""
    return text if binds >= PRODUCT else f"({text})"


def _same(tensor: Tensor) -> Tensor | None:
    """What a tensor is in another shape or dtype, times 1, where it is not NaN, or where it is not 0 already."""
    op, operands = tensor.op.name, tensor.inputs
    if op in SILENT:
        return operands[0]
    if op == "multiply" and (slope := _same(operands[1])) is not None and constant_value(slope) == 1:
        return operands[0]
    if op == "where" and operands[0].op.name == "equal" and len(set(operands[0].node.inputs)) == 1:
        other = constant_value(operands[2])
        return operands[1] if other is not None and np.isnan(other) else None
    if op == "where" and constant_value(operands[2]) == 0 and _selected(operands[1], operands[0]):
        return operands[1]
    return None


def _selected(tensor: Tensor, mask: Tensor) -> bool:
    """Whether ``tensor`` is 0 outside ``mask``, or a product with a first factor that is."""
    while tensor.op.name in ("multiply", *SILENT):
        tensor = tensor.inputs[0]
    return tensor.op.name == "where" and tensor.inputs[0] is mask and constant_value(tensor.inputs[2]) == 0


def number_text(value: np.ndarray | float | None) -> str:
    """A number to four significant digits; larger arrays by their shape.

    >>> number_text(0.123456), number_text(2.0), number_text(np.zeros((3, 4)))
    ('0.1235', '2', 'constant[3, 4]')
    """
    array = np.asarray(value)
    if array.size != 1:
        return f"constant[{', '.join(map(str, array.shape))}]"
    number = array.item()
    return str(number) if isinstance(number, (bool, int)) else f"{number + 0.0:.4g}"  # not -0


__all__ = ["formula", "number_text", "product"]
