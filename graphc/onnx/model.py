"""A model under construction: nodes, initializers, fresh names, and sizes that are known when it runs.

Rules write formulas in the operators of `Value`; each operator appends one ONNX node.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from graphc.errors import ExportError
from graphc.extra import need
from graphc.ir import dims
from graphc.ir.dims import Size
from graphc.ir.state import Array
from graphc.ir.types import BOOL, INT64, DType, TensorType

SINCE = {"BitwiseAnd": 18, "BitwiseXor": 18, "ScatterND": 16}  # first opset that has them, or what is wanted of them
FARTHEST = np.iinfo(np.int64).min  # an end of a slice that lies before every first element


class Value:
    """One value of a model. Operators append nodes; numbers take the value's dtype."""

    __slots__ = ("dtype", "model", "name")

    def __init__(self, model: Model, name: str, dtype: DType) -> None:
        self.model, self.name, self.dtype = model, name, dtype

    def op(self, type: str, *others: Value | float, dtype: DType | None = None, **attributes: Any) -> Value:
        """One node of the ONNX operator ``type`` on this value and ``others``."""
        return self.model.node(type, [self, *(self.like(o) for o in others)], dtype or self.dtype, **attributes)

    def like(self, value: Value | float) -> Value:
        """A number as a constant of this dtype."""
        return value if isinstance(value, Value) else self.model.constant(np.asarray(value, self.dtype))

    def cast(self, dtype: DType) -> Value:
        """This value in ``dtype``; itself where it has that already."""
        if dtype == self.dtype:
            return self
        return self.op("Cast", dtype=dtype, to=need("onnx", "export_onnx").helper.np_dtype_to_tensor_dtype(dtype))

    def reshape(self, shape: Sequence[Size]) -> Value:
        """The same elements in ``shape``; where a size may be 0, it is said that 0 does not mean a copy."""
        wanted = self.model.vector(shape)
        if all(isinstance(s, int) and s > 0 for s in shape):
            return self.op("Reshape", wanted)
        return self.op("Reshape", wanted, allowzero=1)

    def __add__(self, other: Value | float) -> Value:
        return self.op("Add", other)

    def __sub__(self, other: Value | float) -> Value:
        return self.op("Sub", other)

    def __rsub__(self, other: float) -> Value:
        return self.like(other) - self

    def __mul__(self, other: Value | float) -> Value:
        return self.op("Mul", other)

    def __truediv__(self, other: Value | float) -> Value:
        return self.op("Div", other)

    def __rtruediv__(self, other: float) -> Value:
        return self.like(other) / self

    def __neg__(self) -> Value:
        return self.op("Neg")

    def __abs__(self) -> Value:
        return self.op("Abs")

    def __lt__(self, other: Value | float) -> Value:
        return self.op("Less", other, dtype=BOOL)

    def __gt__(self, other: Value | float) -> Value:
        return self.op("Greater", other, dtype=BOOL)

    def __ge__(self, other: Value | float) -> Value:
        return self.op("GreaterOrEqual", other, dtype=BOOL)

    def equals(self, other: Value | float) -> Value:
        return self.op("Equal", other, dtype=BOOL)

    def is_nan(self) -> Value:
        return self.op("IsNaN", dtype=BOOL)

    def __and__(self, other: Value) -> Value:
        return self.op("And", other)

    def __or__(self, other: Value) -> Value:
        return self.op("Or", other)

    def __xor__(self, other: Value) -> Value:
        return self.op("Xor", other)

    def __invert__(self) -> Value:
        return self.op("Not")

    def select(self, yes: Value | float, no: Value | float) -> Value:
        """``yes`` where this bool holds, else ``no``; at least one is a value."""
        typed = yes if isinstance(yes, Value) else no
        assert isinstance(typed, Value)
        return self.model.node("Where", [self, typed.like(yes), typed.like(no)], typed.dtype)


class Model:
    """Nodes and initializers in order. ``axes`` tells where each symbolic size is read: an input and its axis."""

    def __init__(self, opset: int) -> None:
        self.onnx = need("onnx", "export_onnx", ExportError)
        self.opset = opset
        self.axes: dict[str, tuple[str, int]] = {}
        self.nodes: list[Any] = []
        self.initializers: list[Any] = []
        self.bytes = 0
        self._taken: set[str] = set()
        self._constants: dict[tuple[str, tuple[int, ...], bytes], Value] = {}
        self._sizes: dict[Any, Value] = {}
        self._count = 0

    def fresh(self, name: str) -> str:
        """``name``, with marks behind it where it is taken."""
        while name in self._taken:
            name += "_"
        self._taken.add(name)
        return name

    def node(
        self, type: str, operands: Sequence[Value | None], dtype: DType, output: int = 0, **attributes: Any
    ) -> Value:
        """One of a node's outputs; None stands for an operand that is left out.

        ExportError where the opset is too old for the operator.
        """
        if self.opset < SINCE.get(type, 0):
            raise ExportError(f"ONNX has {type} as it is needed since opset {SINCE[type]}, not in {self.opset}")
        self._count += 1
        name = self.fresh(f"{type}_{self._count}")
        names = ["" if o is None else o.name for o in operands]
        outputs = [*(self.fresh(f"{name}_{k}") for k in range(output)), name]
        self.nodes.append(self.onnx.helper.make_node(type, names, outputs, name=name, **attributes))
        return Value(self, name, dtype)

    def many(
        self, type: str, operands: Sequence[Value | None], dtypes: Sequence[DType], **attributes: Any
    ) -> list[Value]:
        """All outputs of a node."""
        last = self.node(type, operands, dtypes[-1], output=len(dtypes) - 1, **attributes)
        names = self.nodes[-1].output
        return [*(Value(self, name, dtype) for name, dtype in zip(names, dtypes[:-1], strict=False)), last]

    def named(self, value: Value, name: str, since: int) -> Value:
        """``value`` under ``name``: the last node renamed where it was made after ``since`` nodes, else a node more."""
        if len(self.nodes) == since or self.nodes[-1].output[0] != value.name:
            value = self.node("Identity", [value], value.dtype)
        self.nodes[-1].name = self.nodes[-1].output[0] = name
        return Value(self, name, value.dtype)

    def initializer(self, name: str, array: Array) -> Value:
        """A leaf with a value."""
        self.bytes += array.nbytes
        self.initializers.append(self.onnx.numpy_helper.from_array(np.asarray(array, order="C"), name))
        return Value(self, name, array.dtype)

    def constant(self, array: Array) -> Value:
        """A number or a small array that a rule needs; equal ones are one initializer."""
        key = array.dtype.name, array.shape, array.tobytes()
        if key not in self._constants:
            self._constants[key] = self.initializer(self.fresh(f"value_{len(self._constants)}"), array)
        return self._constants[key]

    # ---- sizes

    def vector(self, sizes: Sequence[Size]) -> Value:
        """Sizes, one after the other, as int64; a constant where all are known."""
        key = tuple(sizes)
        if all(isinstance(s, int) for s in key):
            return self.constant(np.array(key, np.int64))
        if key not in self._sizes:
            parts = [self._size(s) if isinstance(s, dims.Dim) else self.constant(np.array([s], np.int64)) for s in key]
            self._sizes[key] = parts[0] if len(parts) == 1 else self.node("Concat", parts, INT64, axis=0)
        return self._sizes[key]

    def scalar(self, size: Size) -> Value:
        """A size as a 0-d int64."""
        if isinstance(size, int):
            return self.constant(np.array(size, np.int64))
        return self.node("Squeeze", [self.vector([size]), self.constant(np.array([0], np.int64))], INT64)

    def zeros(self, kind: TensorType) -> Value:
        zero = self.onnx.numpy_helper.from_array(np.zeros(1, kind.dtype))
        return self.node("ConstantOfShape", [self.vector(kind.shape)], kind.dtype, value=zero)

    def _size(self, size: Size) -> Value:
        """A size as int64[1]."""
        if isinstance(size, int):
            return self.constant(np.array([size], np.int64))
        if size not in self._sizes:
            total: Value | None = None
            for mono, coefficient in size.terms:
                term: Value | None = None
                for atom, power in mono:
                    for _ in range(power):
                        term = self._atom(atom) if term is None else term * self._atom(atom)
                number = self.constant(np.array([coefficient], np.int64))
                term = number if term is None else term if coefficient == 1 else term * number
                total = term if total is None else total + term
            assert total is not None
            self._sizes[size] = total
        return self._sizes[size]

    def _atom(self, atom: Any) -> Value:
        if atom not in self._sizes:
            self._sizes[atom] = self._made(atom)
        return self._sizes[atom]

    def _made(self, atom: Any) -> Value:
        if isinstance(atom, dims.Symbol):
            name, axis = self.axes[atom.name]
            return self.node("Shape", [Value(self, name, INT64)], INT64, start=axis, end=axis + 1)
        function, parts = atom.function, [self._size(part) for part in atom.parts]
        if function is dims.LEAST:
            return self.node("Min", parts, INT64)
        if function is dims.NOT_ONE:
            return (~parts[0].equals(1)).cast(INT64)
        left, right = parts
        if function is dims.BROADCAST:
            return left.equals(1).select(right, left)
        if function is dims.BOUND:
            zero = self.constant(np.zeros(1, np.int64))
            return self.node("Min", [(left < 0).select(left + right, left).op("Max", zero), right], INT64)
        return (left - left.op("Mod", right)) / right  # Mod has the divisor's sign, so the quotient is exact


__all__ = ["FARTHEST", "Model", "Value"]
