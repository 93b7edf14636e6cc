"""Tensors as formulas: ``sigmoid(x @ W + b)``."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from graphc.ir.op import Kind
from graphc.ir.tensor import Tensor
from graphc.rewrite.pattern import constant_value

# operator and how tightly it binds
BINARY = {
    "logical_or": ("|", 1),
    "logical_xor": ("^", 1),
    "logical_and": ("&", 1),
    "equal": ("==", 2),
    "not_equal": ("!=", 2),
    "less": ("<", 2),
    "less_equal": ("<=", 2),
    "greater": (">", 2),
    "greater_equal": (">=", 2),
    "add": ("+", 3),
    "subtract": ("-", 3),
    "multiply": ("*", 4),
    "divide": ("/", 4),
    "floor_divide": ("//", 4),
    "remainder": ("%", 4),
    "matmul": ("@", 4),
    "pow": ("**", 6),
}
NEGATION = 5
ATOM = 7

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


class _TooLong(Exception):
    """Written out, what is shared grows without bounds."""


class _Writer:
    """Each text comes with how tightly its outermost operator binds."""

    def __init__(self, name: Callable[[Tensor], str | None]) -> None:
        self.name = name
        self.left = LONGEST  # a node writes a character at least

    def operand(self, tensor: Tensor, least: int = 0) -> str:
        word = self.name(tensor)
        text, binds = (word, ATOM) if word is not None else self.body(tensor)
        return text if binds >= least else f"({text})"

    def body(self, tensor: Tensor, whole: bool = False) -> tuple[str, int]:
        op, operands = tensor.op.name, tensor.inputs
        self.left -= 1
        if self.left < 0:
            raise _TooLong
        if op == "constant":
            return number_text(tensor.node.value), ATOM
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
            sign, binds = BINARY[op]
            right = binds + (op not in ("add", "multiply"))  # a - (b - c) keeps its parentheses
            return f"{self.operand(operands[0], binds)} {sign} {self.operand(operands[1], right)}", binds
        if op == "neg":
            return f"-{self.operand(operands[0], NEGATION)}", NEGATION
        if op in ("permute_dims", "matrix_transpose"):
            return f"{self.operand(operands[0], ATOM)}.T", ATOM
        words = [self.operand(t) for t in operands]
        if "axes" in tensor.attrs and tensor.inputs and len(tensor.attrs["axes"]) < operands[0].ndim:
            words.append(f"axis={', '.join(map(str, tensor.attrs['axes']))}")
        return f"{op}({', '.join(words)})", ATOM


def _same(tensor: Tensor) -> Tensor | None:
    """What a tensor is in another shape or dtype, times 1, or where it is not NaN."""
    op, operands = tensor.op.name, tensor.inputs
    if op in SILENT:
        return operands[0]
    if op == "multiply" and (slope := _same(operands[1])) is not None and constant_value(slope) == 1:
        return operands[0]
    if op == "where" and operands[0].op.name == "equal" and len(set(operands[0].node.inputs)) == 1:
        other = constant_value(operands[2])
        return operands[1] if other is not None and np.isnan(other) else None
    return None


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


__all__ = ["formula", "number_text"]
