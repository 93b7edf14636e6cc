"""What operators, casts and calls mean in kernels: types, and LLVM's instructions for them.

Kernels hold integers, truth values, floats and buffers. For these Numba's rules stand here, so kernels are lowered
without Numba's typing and target contexts, whose registries take longer to load than most kernels to compile. What is
not here raises `Unlowered`, and Numba's own way is gone.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from functools import reduce
from typing import Any

import numpy as np
from llvmlite import ir
from numba import NumbaError, from_dtype, types

from graphc.codegen.machine import processor

DTYPES = {
    types.boolean: "bool", types.uint8: "uint8", types.uint64: "uint64", types.int32: "int32", types.int64: "int64",
    types.float32: "float32", types.float64: "float64",
}  # fmt: skip
LLVM = {
    types.boolean: ir.IntType(1), types.uint8: ir.IntType(8), types.uint64: ir.IntType(64), types.int32: ir.IntType(32),
    types.int64: ir.IntType(64), types.float32: ir.FloatType(), types.float64: ir.DoubleType(),
    types.none: ir.IntType(8).as_pointer(),
}  # fmt: skip
COMPARED = {
    operator.eq: "==",
    operator.ne: "!=",
    operator.lt: "<",
    operator.le: "<=",
    operator.gt: ">",
    operator.ge: ">=",
}
INSTRUCTIONS = {  # of integers, of floats
    operator.add: ("add", "fadd"), operator.sub: ("sub", "fsub"), operator.mul: ("mul", "fmul"),
    operator.truediv: (None, "fdiv"), operator.lshift: ("shl", None), operator.and_: ("and_", None),
    operator.or_: ("or_", None), operator.xor: ("xor", None),
}  # fmt: skip
OPERATORS = {
    "+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.truediv, "//": operator.floordiv,
    "%": operator.mod, "<<": operator.lshift, ">>": operator.rshift, "&": operator.and_, "|": operator.or_,
    "^": operator.xor, "==": operator.eq, "!=": operator.ne, "<": operator.lt, "<=": operator.le, ">": operator.gt,
    ">=": operator.ge, "neg": operator.neg, "~": operator.invert,
}  # fmt: skip
OF_TRUTH = (operator.and_, operator.or_, operator.xor)

Meaning = tuple[Any, Callable[..., Any]]  # a signature, and code(builder, values)


class Unlowered(NumbaError):  # type: ignore[misc]
    """The function has a form that is not lowered here."""


class Semantics:
    """Numba's typing and target contexts, as far as functions of kernels ask them."""

    def __init__(self) -> None:
        self.known: dict[Any, Meaning] = {}

    # ---- types

    def resolve_value_type(self, value: Any) -> Any:
        """The type of what a name outside the function stands for: a dtype, or something to call."""
        if isinstance(value, type) and issubclass(value, np.generic):
            return types.NumberClass(from_dtype(np.dtype(value)))
        return value if isinstance(value, types.ExternalFunction) else types.none

    def unify_types(self, *kinds: Any) -> Any:
        """The type that holds them all, by NumPy's promotion."""
        known = [_known(types.unliteral(k)) for k in kinds]
        return reduce(lambda a, b: a if a == b else from_dtype(np.promote_types(DTYPES[a], DTYPES[b])), known)

    def get_value_type(self, kind: Any) -> Any:
        """LLVM's type."""
        if hasattr(kind, "dtype") and hasattr(kind, "scope"):  # a buffer
            element = LLVM[kind.dtype]
            return (ir.IntType(8) if kind.dtype == types.boolean else element).as_pointer()
        return LLVM.get(types.unliteral(kind), LLVM[types.none])

    def get_dummy_value(self) -> Any:
        return LLVM[types.none](None)

    def get_constant(self, kind: Any, value: Any) -> Any:
        return ir.Constant(LLVM[types.unliteral(kind)], value)

    def codegen(self) -> Semantics:
        return self

    def magic_tuple(self) -> tuple[str, str, str]:
        """The triple, name and features of the processor."""
        return processor()

    # ---- values

    def is_true(self, builder: Any, kind: Any, value: Any) -> Any:
        return self.cast(builder, value, kind, types.boolean)

    def cast(self, builder: Any, value: Any, source: Any, target: Any) -> Any:
        """As C converts; a number is true where it is not 0."""
        source, target = types.unliteral(source), types.unliteral(target)
        if source == target:
            return value
        a, b = _known(source), _known(target)
        kind = LLVM[b]
        if b == types.boolean:
            zero = ir.Constant(value.type, 0)
            return builder.fcmp_unordered("!=", value, zero) if _floating(a) else builder.icmp_signed("!=", value, zero)
        if _floating(a) and _floating(b):
            return builder.fpext(value, kind) if b == types.float64 else builder.fptrunc(value, kind)
        signed = getattr(a, "signed", False)
        if _floating(a):
            return builder.fptosi(value, kind) if b.signed else builder.fptoui(value, kind)
        if _floating(b):
            return builder.sitofp(value, kind) if signed else builder.uitofp(value, kind)
        if value.type.width == kind.width:
            return value
        if value.type.width > kind.width:
            return builder.trunc(value, kind)
        return builder.sext(value, kind) if signed else builder.zext(value, kind)

    # ---- calls

    def resolve(self, function: Any, kinds: tuple[Any, ...]) -> Meaning:
        """The signature and the code of a function, or of one that stands for an operator."""
        key = function, kinds
        if key not in self.known:
            self.known[key] = self._resolve(function, kinds)
        return self.known[key]

    def takes(self, function: Any, kinds: tuple[Any, ...]) -> tuple[Any, tuple[Any, ...]]:
        """The types of what an intrinsic gives for operands of these types, and of what it takes then."""
        signature, _ = self.resolve(function, kinds)
        return signature.return_type, tuple(signature.args)

    def _resolve(self, function: Any, kinds: tuple[Any, ...]) -> Meaning:
        if hasattr(function, "define"):
            return self._intrinsic(function, kinds)
        known = tuple(_known(types.unliteral(k)) for k in kinds)
        if function in COMPARED:
            return self._comparison(COMPARED[function], known)
        if function in INSTRUCTIONS or function in (operator.floordiv, operator.mod, operator.rshift):
            return self._arithmetic(function, known)
        if function is operator.neg:
            kind = _wide(known)
            return kind(kind), lambda b, v: b.fneg(v[0]) if _floating(kind) else b.neg(v[0])
        if function is operator.invert:
            kind = known[0] if known[0] == types.boolean else _wide(known)
            return kind(kind), lambda b, v: b.not_(v[0])
        raise Unlowered(f"{function} of {kinds}")

    def _intrinsic(self, function: Any, kinds: tuple[Any, ...]) -> Meaning:
        given = kinds if function.prefer_literal else tuple(map(types.unliteral, kinds))
        made = function.define(self, *given)
        if made is None or len(made[0].args) != len(kinds):
            raise Unlowered(f"{function} of {kinds}")
        signature, code = made
        return signature, lambda builder, values: code(self, builder, signature, values)

    def _comparison(self, sign: str, kinds: tuple[Any, ...]) -> Meaning:
        if any(map(_floating, kinds)):
            common = self.unify_types(*kinds)
            method = "fcmp_unordered" if sign == "!=" else "fcmp_ordered"
        elif types.uint64 in kinds and any(getattr(k, "signed", False) for k in kinds):
            raise Unlowered(f"{sign} of {kinds}")
        else:
            common = self.unify_types(*kinds)
            method = "icmp_signed" if getattr(common, "signed", False) else "icmp_unsigned"
        return types.boolean(common, common), lambda b, v: getattr(b, method)(sign, *v)

    def _arithmetic(self, function: Any, kinds: tuple[Any, ...]) -> Meaning:
        if function in OF_TRUTH and set(kinds) == {types.boolean}:
            kind = types.boolean
        elif any(map(_floating, kinds)):
            kind = self.unify_types(*kinds)
        else:
            kind = types.float64 if function is operator.truediv else _wide(kinds)
        if function in INSTRUCTIONS:
            name = INSTRUCTIONS[function][_floating(kind)]
            if name is not None:
                return kind(kind, kind), lambda b, v: getattr(b, name)(*v)
        elif not _floating(kind):
            if function is operator.rshift:
                return kind(kind, kind), lambda b, v: b.ashr(*v) if kind.signed else b.lshr(*v)
            return kind(kind, kind), lambda b, v: _divided(b, kind.signed, *v)[function is operator.mod]
        raise Unlowered(f"{function} of {kinds}")


def _known(kind: Any) -> Any:
    if kind not in DTYPES:
        raise Unlowered(f"a value of {kind}")
    return kind


def _floating(kind: Any) -> bool:
    return isinstance(kind, types.Float)


def _wide(kinds: Sequence[Any]) -> Any:
    """The type of what is computed with numbers of these types, each an integer or truth value, or a float alone."""
    if _floating(kinds[0]):
        return kinds[0]
    if all(k in (types.uint8, types.uint64) for k in kinds):
        return types.uint64
    if types.uint64 in kinds:
        raise Unlowered(f"integers of {kinds}")
    return types.int64


def _divided(builder: Any, signed: bool, a: Any, b: Any) -> tuple[Any, Any]:
    """Quotient and remainder as Python has them; 0 where the processor would stop: by 0, and where they overflow."""
    zero, one = ir.Constant(a.type, 0), ir.Constant(a.type, 1)
    bad = builder.icmp_unsigned("==", b, zero)
    if signed:
        least, minus = ir.Constant(a.type, -(2 ** (a.type.width - 1))), ir.Constant(a.type, -1)
        over = builder.and_(builder.icmp_signed("==", a, least), builder.icmp_signed("==", b, minus))
        bad = builder.or_(bad, over)
    by = builder.select(bad, one, b)
    if not signed:
        quotient, rest = builder.udiv(a, by), builder.urem(a, by)
    else:
        quotient, rest = builder.sdiv(a, by), builder.srem(a, by)
        low = builder.icmp_signed("<", builder.xor(by, rest), zero)
        apart = builder.and_(low, builder.icmp_signed("!=", rest, zero))
        quotient = builder.select(apart, builder.sub(quotient, one), quotient)
        rest = builder.select(apart, builder.add(rest, by), rest)
    return builder.select(bad, zero, quotient), builder.select(bad, zero, rest)
