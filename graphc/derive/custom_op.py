"""Ops of users: a Python function that Numba can compile, as a node like any other."""

from __future__ import annotations

import hashlib
import inspect
import types
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from graphc.errors import GraphError, ShapeError, caller
from graphc.ir.arrays import Array
from graphc.ir.graph import located
from graphc.ir.op import LATER, LETTERS, OPS, Attrs, Kind, Op
from graphc.ir.tensor import Tensor
from graphc.ir.types import DType, Shape, TensorType, broadcast_checks, broadcast_shapes, dtype_of, promote
from graphc.ops.apply import Operand, graph_of, tensor
from graphc.ops.signature import found, need_functions

Types = Sequence[TensorType]


def custom_op(
    name: str | None,
    function: Callable[..., Any],
    *,
    shape: Callable[..., Any] | None = None,
    dtype: Any = None,
    gradient: Callable[..., Any] | None = None,
    reference: Callable[..., Any] | None = None,
    elementwise: bool = False,
) -> CustomOp:
    """An op of your own: a function of tensors that computes what a Python function does.

    name         what files call it; None makes an op that cannot be saved
    function     what Numba can compile: with ``elementwise`` a function of scalars that returns one, which is fused
                 with what stands around it; else a function of arrays, the last of which is the result to be written
    shape        ``shape(*shapes)``, the shape of the result from those of the operands: by default what they broadcast
                 to, or for arrays the first. Sizes may be symbolic
    dtype        a dtype, or ``dtype(*dtypes)``: by default that in which the operands' dtypes meet
    gradient     ``gradient(g, y, *operands)``: the cotangent of each operand from that of the result, in functions of
                 tensors; a tuple, with None for 0, or a tensor where there is one operand
    reference    the same in NumPy, ``reference(*arrays)``; by default the Python function itself, which is slow

    Operands of the array form keep their number of axes; those of none come as arrays of one element. `vmap` calls it
    for each example. ``backend="numpy"`` needs no Numba. Kernels with such a function are compiled in each process
    anew. `save` writes the name, and ``load(path, ops={name: op})`` wants the op; a Python module, a C library or an
    ONNX model cannot hold it, and raises ExportError.

    Raises GraphError for a name that an op of graphc has. What Numba cannot compile raises CompileError at the first
    call.

    >>> import math
    >>> import numpy as np
    >>> import graphc as gx
    >>> def bump(x):
    ...     return math.exp(-1.0 / (1.0 - x * x)) if abs(x) < 1.0 else 0.0
    >>> op = gx.custom_op("bump", bump, elementwise=True, gradient=lambda g, y, x: -2 * g * y * x / (1 - x * x) ** 2)
    >>> g = gx.Graph("own", float_dtype="float64")
    >>> x = g.input("x", ("n",))
    >>> f = gx.compile([x], [op(x), gx.grad(gx.sum(op(x)), x)], backend="numpy")
    >>> [v.round(4).tolist() for v in f(np.array([0.0, 0.5]))]
    [[0.3679, 0.2636], [-0.0, -0.4686]]
    """
    with located("custom_op", caller()):
        if name is not None and (not isinstance(name, str) or not name.isidentifier() or name in OPS):
            raise GraphError(f"name must be an identifier that no op of graphc has, found {found(name)}")
        parts = {"function": function, "gradient": gradient, "reference": reference, "shape": shape}
        need_functions(GraphError, **{what: given for what, given in parts.items() if given is not None})
        plain = getattr(function, "py_func", function)
        many = len(inspect.signature(plain).parameters) - (not elementwise)
        if not 1 <= many <= len(LETTERS):
            raise GraphError(f"function must take 1 to {len(LETTERS)} operands, found {many}")
        kind = dtype if dtype is None or (callable(dtype) and not isinstance(dtype, type)) else dtype_of(dtype)
        return CustomOp(name, plain, shape, kind, gradient, reference, bool(elementwise), many, _token(plain))


def _token(function: Any) -> str:
    """A name for what a function does; another one in each process where that depends on more than its text."""
    parts, waiting, sure = [], [function], True
    while waiting:
        part = waiting.pop()
        if isinstance(part, types.FunctionType):
            cells = [c.cell_contents for c in part.__closure__ or ()]
            used = [part.__globals__[n] for n in part.__code__.co_names if n in part.__globals__]
            waiting += [part.__code__, *cells, *(u for u in used if not isinstance(u, types.ModuleType))]
        elif isinstance(part, types.CodeType):
            parts += [part.co_code.hex(), repr(part.co_names), repr(part.co_varnames)]
            waiting += part.co_consts
        elif part is None or isinstance(part, (bool, int, float, str, tuple)):
            parts.append(repr(part))
        else:
            sure = False
        if len(parts) > 1000:
            break
    parts += [] if sure else [uuid.uuid4().hex]
    return "own_" + hashlib.sha256("\n".join(parts).encode()).hexdigest()[:24]


@dataclass(frozen=True, eq=False)
class CustomOp:
    """An op that `graphc.custom_op` made. Called with tensors, arrays or numbers it gives a tensor."""

    name: str | None
    function: Any
    shape: Callable[..., Any] | None
    dtype: Any
    gradient: Callable[..., Any] | None
    reference: Callable[..., Any] | None
    elementwise: bool
    arity: int
    token: str
    records: dict[Any, Op] = field(default_factory=dict)

    def __repr__(self) -> str:
        return f"<custom op {self.name or 'without a name'}>"

    def __call__(self, *operands: Operand) -> Tensor:
        with located(self.name or "custom op", caller()):
            if len(operands) != self.arity:
                raise GraphError(f"{self.name or 'custom op'}: expected {self.arity} operands, found {len(operands)}")
            graph = graph_of(operands).open
            given = [graph.admit(tensor(o, graph), self.name or "custom op") for o in operands]
            shape = () if self.elementwise else self._shape([t.shape for t in given])
            op = self.record([t.type for t in given], len(shape))
            return graph.append(op, given, {"function": self.token, **{f"size{k}": s for k, s in enumerate(shape)}})

    def _shape(self, shapes: Sequence[Shape]) -> Shape:
        if self.shape is not None:
            made = self.shape(*shapes)
            if not isinstance(made, (tuple, list)):
                raise ShapeError(f"shape must give a tuple of sizes, found {found(made)}")
            return tuple(made)
        return broadcast_shapes(*shapes) if self.elementwise else shapes[0]

    def _dtype(self, dtypes: Sequence[DType]) -> DType:
        if self.dtype is None:
            return promote(*dtypes)
        return self.dtype if isinstance(self.dtype, np.dtype) else dtype_of(self.dtype(*dtypes))

    def record(self, given: Types, rank: int) -> Op:
        """The op for operands of these types and a result of that rank; kernels can call the function from now on."""
        key = (0,) if self.elementwise else (*(t.ndim for t in given), rank)
        if key not in self.records:
            self.records[key] = self._elementwise() if self.elementwise else self._routine(key[:-1], rank)
        if self.elementwise:
            LATER["own_function"](self.token, self.function)
        else:
            dtypes = *(t.dtype for t in given), self._dtype([t.dtype for t in given])
            LATER["own_routine"](self._name(dtypes, key), self.function, dtypes, key)
        return self.records[key]

    def _name(self, dtypes: Sequence[DType], ranks: Sequence[int]) -> str:
        return f"{self.token}_{'_'.join(d.name for d in dtypes)}_{'_'.join(map(str, ranks))}"

    def _rules(self) -> Any:
        if self.gradient is None:
            return ()

        def rule(slot: int) -> Any:
            def pulled(g: Tensor, y: Tensor, *operands: Tensor) -> Any:
                assert self.gradient is not None
                made = self.gradient(g, y, *operands)
                parts = (made,) if isinstance(made, Tensor) or made is None else tuple(made)
                if len(parts) != self.arity:
                    raise GraphError(f"{self.name}: gradient must give {self.arity} cotangents, found {len(parts)}")
                return parts[slot]

            return pulled

        return tuple(rule(k) for k in range(self.arity))

    def _elementwise(self) -> Op:
        def infer(given: Types, attrs: Attrs) -> TensorType:
            met = broadcast_shapes(*(t.shape for t in given))
            return TensorType(self._dtype([t.dtype for t in given]), met)

        def reference(*arrays: Array, function: str) -> Array:
            if self.reference is not None:
                return np.asarray(self.reference(*arrays))
            spread = np.broadcast_arrays(*arrays)
            out = np.empty(spread[0].shape, self._dtype([np.dtype(a.dtype) for a in arrays]))
            with np.errstate(all="ignore"):
                for at in np.ndindex(out.shape):
                    out[at] = self.function(*(a[at] for a in spread))
            return out

        def code(out: TensorType, given: Types, attrs: Attrs) -> str:
            return f"{{dtype}}({self.token}({', '.join(LETTERS[: self.arity])}))"

        return Op(
            self.name or "unnamed_op", Kind.ELEMENTWISE, self.arity, infer, reference, self._rules(), code,
            checks=lambda given, attrs: broadcast_checks([t.shape for t in given]), attrs=("function",), own=self,
        )  # fmt: skip

    def _routine(self, ranks: tuple[int, ...], rank: int) -> Op:
        def inner(given: Types) -> tuple[Shape, list[Shape]]:
            """Sizes before those that the function is for, and those."""
            lead = given[0].ndim - ranks[0]
            if any(
                t.ndim - r != lead or t.shape[:lead] != given[0].shape[:lead] for t, r in zip(given, ranks, strict=True)
            ):
                raise ShapeError(
                    f"expected operands of {', '.join(map(str, ranks))} axes, found {', '.join(map(str, given))}"
                )
            return given[0].shape[:lead], [t.shape[lead:] for t in given]

        def infer(given: Types, attrs: Attrs) -> TensorType:
            lead, shapes = inner(given)
            out = self._shape(shapes)
            if tuple(attrs[f"size{k}"] for k in range(len(out))) != out:
                raise ShapeError(f"{self.name}: the result is of {len(out)} axes of other sizes")
            return TensorType(self._dtype([t.dtype for t in given]), (*lead, *out))

        names = tuple(f"size{k}" for k in range(rank))

        def reference(*arrays: Array, function: str, **sizes: int) -> Array:
            lead = arrays[0].shape[: arrays[0].ndim - ranks[0]]
            out = np.empty((*lead, *(sizes[n] for n in names)), self._dtype([np.dtype(a.dtype) for a in arrays]))
            for at in np.ndindex(*lead):
                given = [np.ascontiguousarray(a[at]) for a in arrays]
                if self.reference is not None:
                    out[at] = self.reference(*given)
                else:
                    part = np.empty(out[at].shape or (1,), out.dtype)
                    self.function(*(a if a.ndim else a.reshape(1) for a in given), part)
                    out[at] = part.reshape(out[at].shape)
            return out

        def code(out: TensorType, given: Types, attrs: Attrs) -> str:
            return self._name((*(t.dtype for t in given), out.dtype), (*ranks, rank))

        return Op(
            self.name or "unnamed_op", Kind.ROUTINE, self.arity, infer, reference, self._rules(), code,
            core=ranks, attrs=("function", *names), own=self,
        )  # fmt: skip


__all__ = ["CustomOp", "custom_op"]
