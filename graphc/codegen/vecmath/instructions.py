"""Functions of kernels that are one LLVM instruction each, of floats or of integers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types

from graphc.codegen.llvm import intrinsic


def _instruction(build: Callable[..., Any], arity: int = 1) -> Any:
    """An intrinsic that builds one LLVM value from its operands."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return build(builder, sig, *args)

    if arity == 1:

        def typer1(typingctx: Any, a: Any) -> Any:
            return a(a), codegen

        return intrinsic(typer1)
    if arity == 2:

        def typer2(typingctx: Any, a: Any, b: Any) -> Any:
            common = typingctx.unify_types(a, b)
            return common(common, common), codegen

        return intrinsic(typer2)

    def typer3(typingctx: Any, a: Any, b: Any, c: Any) -> Any:
        common = typingctx.unify_types(b, c)
        first = types.boolean if isinstance(a, types.Boolean) else common
        return common(first, common, common), codegen

    return intrinsic(typer3)


def _llvm(name: str) -> Callable[..., Any]:
    """A call of LLVM's own function of that name on values of one type."""

    def build(builder: Any, sig: Any, *args: Any) -> Any:
        kind = args[0].type
        suffix = {"float": "f32", "double": "f64"}.get(str(kind), str(kind))
        function = builder.module.globals.get(f"llvm.{name}.{suffix}") or ir.Function(
            builder.module, ir.FunctionType(kind, [kind] * len(args)), f"llvm.{name}.{suffix}"
        )
        return builder.call(function, args)

    return build


def _is_float(sig: Any) -> bool:
    return isinstance(sig.args[-1], types.Float)


def _extreme(float_name: str, sign: str) -> Callable[..., Any]:
    def build(b: Any, sig: Any, x: Any, y: Any) -> Any:
        if _is_float(sig):
            return _llvm(float_name)(b, sig, x, y)
        signed = getattr(sig.args[0], "signed", False)
        compare = b.icmp_signed if signed else b.icmp_unsigned
        return b.select(compare(sign, x, y), x, y)

    return build


def _add(b: Any, sig: Any, x: Any, y: Any) -> Any:
    return b.fadd(x, y, flags=("reassoc",)) if _is_float(sig) else b.add(x, y)


def _mul(b: Any, sig: Any, x: Any, y: Any) -> Any:
    return b.fmul(x, y, flags=("reassoc",)) if _is_float(sig) else b.mul(x, y)


def _integer(kind: Any) -> Any:
    """A float cut towards zero; the lowest integer for NaN and what is out of range, where LLVM's cast is undefined."""

    def typer(typingctx: Any, a: Any) -> Any:
        def codegen(context: Any, b: Any, sig: Any, args: Any) -> Any:
            (x,) = args
            limit = ir.Constant(x.type, 2.0 ** (kind.bitwidth - 1))
            inside = b.fcmp_ordered("<", _llvm("fabs")(b, sig, x), limit)
            return b.fptosi(b.select(inside, x, b.fneg(limit)), context.get_value_type(kind))

        return kind(a), codegen

    return intrinsic(typer)


to_int32 = _integer(types.int32)
to_int64 = _integer(types.int64)
reduce_add = _instruction(_add, arity=2)  # sums may be reordered, and so vectorise; nothing else is relaxed
reduce_mul = _instruction(_mul, arity=2)
maximum = _instruction(_extreme("maximum", ">"), arity=2)  # NaN where either is
minimum = _instruction(_extreme("minimum", "<"), arity=2)
select = _instruction(lambda b, sig, c, x, y: b.select(c, x, y), arity=3)
sqrt = _instruction(_llvm("sqrt"))
floor = _instruction(_llvm("floor"))
ceil = _instruction(_llvm("ceil"))
trunc = _instruction(_llvm("trunc"))
round = _instruction(_llvm("rint"))
copysign = _instruction(_llvm("copysign"), arity=2)
fmin = _instruction(_extreme("minnum", "<"), arity=2)
fmax = _instruction(_extreme("maxnum", ">"), arity=2)
