"""Scalar functions that kernels call inside loops.

The hot ones are branch-free and range-reduced, so that LLVM vectorises the loop around them under strict IEEE rules;
float32 code holds no float64 arithmetic. Range reduction and coefficients after Cody and Waite (1980) and FreeBSD's
msun. The rest go to the C library, one element at a time.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic, overload

f32, f64, i32, i64 = np.float32, np.float64, np.int32, np.int64
inf, nan = np.inf, np.nan
OPTIONS = {"error_model": "numpy", "forceinline": True, "no_cpython_wrapper": True, "no_cfunc_wrapper": True}


# ---- one instruction each


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


reduce_add = _instruction(_add, arity=2)  # sums may be reordered, and so vectorise; nothing else is relaxed
reduce_mul = _instruction(_mul, arity=2)
maximum = _instruction(_extreme("maximum", ">"), arity=2)  # NaN where either is
minimum = _instruction(_extreme("minimum", "<"), arity=2)
select = _instruction(lambda b, sig, c, x, y: b.select(c, x, y), arity=3)
multiply_add = _instruction(_llvm("fma"), arity=3)
sqrt = _instruction(_llvm("sqrt"))
floor = _instruction(_llvm("floor"))
ceil = _instruction(_llvm("ceil"))
trunc = _instruction(_llvm("trunc"))
round = _instruction(_llvm("rint"))
_fabs = _instruction(_llvm("fabs"))
copysign = _instruction(_llvm("copysign"), arity=2)
fmod = _instruction(lambda b, sig, x, y: b.frem(x, y), arity=2)
fmin = _instruction(_llvm("minnum"), arity=2)
fmax = _instruction(_llvm("maxnum"), arity=2)

_INT: dict[Any, Any] = {types.float32: types.int32, types.float64: types.int64}


@intrinsic  # type: ignore[untyped-decorator]
def bits(typingctx: Any, x: Any) -> Any:
    """A float's bits as an integer of its width."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.bitcast(args[0], context.get_value_type(sig.return_type))

    return _INT[x](x), codegen


@intrinsic  # type: ignore[untyped-decorator]
def float_of_bits(typingctx: Any, x: Any) -> Any:
    """The float with these bits."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.bitcast(args[0], context.get_value_type(sig.return_type))

    floats: dict[Any, Any] = {types.int32: types.float32, types.int64: types.float64}
    return floats[x](x), codegen


@intrinsic  # type: ignore[untyped-decorator]
def to_int32(typingctx: Any, x: Any) -> Any:
    """A small whole float as int32."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.fptosi(args[0], ir.IntType(32))

    return types.int32(x), codegen


def _power_of_two(name: str, kind: Any, width: int, bias: int, shift: int) -> Any:
    """2**n for an int32 n of the exponent's range."""

    def typer(typingctx: Any, n: Any) -> Any:
        def codegen(context: Any, b: Any, sig: Any, args: Any) -> Any:
            wide = ir.IntType(width)
            value = args[0] if width == 32 else b.sext(args[0], wide)
            raised = b.shl(b.add(value, ir.Constant(wide, bias)), ir.Constant(wide, shift))
            return b.bitcast(raised, context.get_value_type(sig.return_type))

        return kind(types.int32), codegen

    typer.__name__ = name
    return intrinsic(typer)


two_to_f32 = _power_of_two("two_to_f32", types.float32, 32, 127, 23)
two_to_f64 = _power_of_two("two_to_f64", types.float64, 64, 1023, 52)


@intrinsic  # type: ignore[untyped-decorator]
def halve(typingctx: Any, n: Any) -> Any:
    """An int32 halved, rounded down."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.ashr(args[0], ir.Constant(ir.IntType(32), 1))

    return types.int32(types.int32), codegen


@intrinsic  # type: ignore[untyped-decorator]
def minus_int32(typingctx: Any, a: Any, b: Any) -> Any:
    """The difference of two int32."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.sub(args[0], args[1])

    return types.int32(types.int32, types.int32), codegen


def _function(name: str, single: Any, double: Any, other: Any = None) -> Any:
    """A function with one implementation for each float dtype, chosen when a kernel is typed."""

    def stub(*args: Any) -> Any:
        raise TypeError(f"{name} runs inside compiled kernels")

    stub.__name__ = stub.__qualname__ = name

    def choose(*args: Any) -> Any:
        if args[-1] == types.float32:
            return single
        if args[-1] == types.float64:
            return double
        return other

    names = double.__code__.co_varnames[: double.__code__.co_argcount]  # Numba wants the same names on both sides
    choosers = {
        ("x",): lambda x: choose(x),
        ("a", "b"): lambda a, b: choose(a, b),
        ("n", "x"): lambda n, x: choose(n, x),
    }
    overload(stub, jit_options=OPTIONS)(choosers[names])
    return stub


# ---- exponentials


def exp_f32(x):  # type: ignore[no-untyped-def]
    n = round(maximum(minimum(x, f32(89.0)), f32(-105.0)) * f32(1.4426950408889634))
    r = multiply_add(n, f32(-0.693359375), x)
    r = multiply_add(n, f32(2.12194440e-4), r)
    p = multiply_add(f32(1.9875691500e-4), r, f32(1.3981999507e-3))
    p = multiply_add(p, r, f32(8.3334519073e-3))
    p = multiply_add(p, r, f32(4.1665795894e-2))
    p = multiply_add(p, r, f32(1.6666665459e-1))
    p = multiply_add(p, r, f32(0.5))
    p = multiply_add(p, r * r, r) + f32(1.0)
    k = to_int32(n)
    h = halve(k)
    y = p * two_to_f32(h) * two_to_f32(minus_int32(k, h))
    y = select(x > f32(88.8), f32(inf), y)
    y = select(x < f32(-104.0), f32(0.0), y)
    return select(x != x, x, y)


def exp_f64(x):  # type: ignore[no-untyped-def]
    n = round(maximum(minimum(x, 710.0), -746.0) * 1.4426950408889634)
    r = multiply_add(n, -0.6931471803691238, x)
    r = multiply_add(n, -1.9082149292705877e-10, r)
    p = multiply_add(1.6059043836821613e-10, r, 2.08767569878681e-9)
    p = multiply_add(p, r, 2.505210838544172e-8)
    p = multiply_add(p, r, 2.755731922398589e-7)
    p = multiply_add(p, r, 2.7557319223985893e-6)
    p = multiply_add(p, r, 2.48015873015873e-5)
    p = multiply_add(p, r, 1.984126984126984e-4)
    p = multiply_add(p, r, 1.388888888888889e-3)
    p = multiply_add(p, r, 8.333333333333333e-3)
    p = multiply_add(p, r, 4.1666666666666664e-2)
    p = multiply_add(p, r, 0.16666666666666666)
    p = multiply_add(p, r, 0.5)
    p = multiply_add(p, r * r, r) + 1.0
    k = to_int32(n)
    h = halve(k)
    y = p * two_to_f64(h) * two_to_f64(minus_int32(k, h))
    y = select(x > 709.79, inf, y)
    y = select(x < -745.2, 0.0, y)
    return select(x != x, x, y)


def expm1_f32(x):  # type: ignore[no-untyped-def]
    n = round(maximum(minimum(x, f32(89.0)), f32(-30.0)) * f32(1.4426950408889634))
    c = maximum(minimum(x, f32(89.0)), f32(-30.0))
    r = multiply_add(n, f32(-0.693359375), c)
    r = multiply_add(n, f32(2.12194440e-4), r)
    p = multiply_add(f32(1.9875691500e-4), r, f32(1.3981999507e-3))
    p = multiply_add(p, r, f32(8.3334519073e-3))
    p = multiply_add(p, r, f32(4.1665795894e-2))
    p = multiply_add(p, r, f32(1.6666665459e-1))
    p = multiply_add(p, r, f32(0.5))
    p = multiply_add(p, r * r, r)
    k = to_int32(n)
    h = halve(k)
    s, t = two_to_f32(h), two_to_f32(minus_int32(k, h))
    y = (p * s) * t + (s * t - f32(1.0))
    y = select(n == f32(0.0), p, y)
    y = select(n == f32(128.0), (p * s + s) * t - f32(1.0), y)
    y = select(x > f32(88.8), f32(inf), y)
    return select(x != x, x, select(x == f32(0.0), x, y))


def expm1_f64(x):  # type: ignore[no-untyped-def]
    c = maximum(minimum(x, 710.0), -60.0)
    n = round(c * 1.4426950408889634)
    r = multiply_add(n, -0.6931471803691238, c)
    r = multiply_add(n, -1.9082149292705877e-10, r)
    p = multiply_add(1.6059043836821613e-10, r, 2.08767569878681e-9)
    p = multiply_add(p, r, 2.505210838544172e-8)
    p = multiply_add(p, r, 2.755731922398589e-7)
    p = multiply_add(p, r, 2.7557319223985893e-6)
    p = multiply_add(p, r, 2.48015873015873e-5)
    p = multiply_add(p, r, 1.984126984126984e-4)
    p = multiply_add(p, r, 1.388888888888889e-3)
    p = multiply_add(p, r, 8.333333333333333e-3)
    p = multiply_add(p, r, 4.1666666666666664e-2)
    p = multiply_add(p, r, 0.16666666666666666)
    p = multiply_add(p, r, 0.5)
    p = multiply_add(p, r * r, r)
    k = to_int32(n)
    h = halve(k)
    s, t = two_to_f64(h), two_to_f64(minus_int32(k, h))
    y = (p * s) * t + (s * t - 1.0)
    y = select(n == 0.0, p, y)
    y = select(n == 1024.0, (p * s + s) * t - 1.0, y)
    y = select(x > 709.79, inf, y)
    return select(x != x, x, select(x == 0.0, x, y))


exp = _function("exp", exp_f32, exp_f64)
expm1 = _function("expm1", expm1_f32, expm1_f64)


# ---- logarithms


def log_f32(x):  # type: ignore[no-untyped-def]
    tiny = x < f32(1.1754944e-38)
    y = select(tiny, x * f32(33554432.0), x)
    b = bits(y)
    e = (b - i32(0x3F3504F3)) >> i32(23)
    m = float_of_bits(i32(b - (e << i32(23))))
    k = f32(e) - select(tiny, f32(25.0), f32(0.0))
    f = m - f32(1.0)
    s = f / (f + f32(2.0))
    z = s * s
    w = z * z
    t = z * multiply_add(w, f32(0.28498786688), f32(0.66666662693)) + w * multiply_add(
        w, f32(0.24279078841), f32(0.40000972152)
    )
    q = f32(0.5) * f * f
    out = k * f32(6.9313812256e-01) - ((q - (s * (q + t) + k * f32(9.0580006145e-06))) - f)
    out = select(x == f32(0.0), f32(-inf), out)
    out = select(x == f32(inf), x, out)
    return select((x < f32(0.0)) | (x != x), f32(nan), out)


def log_f64(x):  # type: ignore[no-untyped-def]
    tiny = x < 2.2250738585072014e-308
    y = select(tiny, x * 18014398509481984.0, x)
    b = bits(y)
    e = (b - 0x3FE6A09E667F3BCD) >> 52
    m = float_of_bits(b - (e << 52))
    k = f64(e) - select(tiny, 54.0, 0.0)
    f = m - 1.0
    s = f / (f + 2.0)
    z = s * s
    w = z * z
    t1 = multiply_add(w, 1.531383769920937332e-01, 2.222219843214978396e-01)
    t1 = w * multiply_add(w, t1, 3.999999999940941908e-01)
    t2 = multiply_add(w, 1.479819860511658591e-01, 1.818357216161805012e-01)
    t2 = multiply_add(w, t2, 2.857142874366239149e-01)
    t2 = z * multiply_add(w, t2, 6.666666666666735130e-01)
    q = 0.5 * f * f
    out = k * 6.93147180369123816490e-01 - ((q - (s * (q + (t1 + t2)) + k * 1.90821492927058770002e-10)) - f)
    out = select(x == 0.0, -inf, out)
    out = select(x == inf, x, out)
    return select((x < 0.0) | (x != x), nan, out)


log = _function("log", log_f32, log_f64)


def log1p_f32(x):  # type: ignore[no-untyped-def]
    u = f32(1.0) + x
    y = log(u) + (x - (u - f32(1.0))) / u
    y = select(u == f32(1.0), x, y)
    return select((u == f32(0.0)) | (x == f32(inf)), log(u), y)


def log1p_f64(x):  # type: ignore[no-untyped-def]
    u = 1.0 + x
    y = log(u) + (x - (u - 1.0)) / u
    y = select(u == 1.0, x, y)
    return select((u == 0.0) | (x == inf), log(u), y)


log1p = _function("log1p", log1p_f32, log1p_f64)


# ---- sigmoid and hyperbolic tangent


def tanh_f32(x):  # type: ignore[no-untyped-def]
    a = minimum(_fabs(x), f32(10.0))
    t = expm1(f32(2.0) * a)
    return copysign(t / (t + f32(2.0)), x)


def tanh_f64(x):  # type: ignore[no-untyped-def]
    a = minimum(_fabs(x), 20.0)
    t = expm1(2.0 * a)
    return copysign(t / (t + 2.0), x)


def sigmoid_f32(x):  # type: ignore[no-untyped-def]
    e = exp(-_fabs(x))
    return select(x >= f32(0.0), f32(1.0), e) / (f32(1.0) + e)


def sigmoid_f64(x):  # type: ignore[no-untyped-def]
    e = exp(-_fabs(x))
    return select(x >= 0.0, 1.0, e) / (1.0 + e)


def softplus_f32(x):  # type: ignore[no-untyped-def]
    return maximum(x, f32(0.0)) + log1p(exp(-_fabs(x)))


def softplus_f64(x):  # type: ignore[no-untyped-def]
    return maximum(x, 0.0) + log1p(exp(-_fabs(x)))


tanh = _function("tanh", tanh_f32, tanh_f64)
sigmoid = _function("sigmoid", sigmoid_f32, sigmoid_f64)
softplus = _function("softplus", softplus_f32, softplus_f64)


def log_sigmoid_any(x):  # type: ignore[no-untyped-def]
    return -softplus(-x)


def log1mexp_f32(x):  # type: ignore[no-untyped-def]
    return select(x < f32(0.6931472), log(-expm1(-x)), log1p(-exp(-x)))


def log1mexp_f64(x):  # type: ignore[no-untyped-def]
    return select(x < 0.6931471805599453, log(-expm1(-x)), log1p(-exp(-x)))


def logaddexp_f32(a, b):  # type: ignore[no-untyped-def]
    top = maximum(a, b)
    return select(a == b, a + f32(0.6931472), top + log1p(exp(-_fabs(a - b))))


def logaddexp_f64(a, b):  # type: ignore[no-untyped-def]
    top = maximum(a, b)
    return select(a == b, a + 0.6931471805599453, top + log1p(exp(-_fabs(a - b))))


log_sigmoid = _function("log_sigmoid", log_sigmoid_any, log_sigmoid_any)
log1mexp = _function("log1mexp", log1mexp_f32, log1mexp_f64)
logaddexp = _function("logaddexp", logaddexp_f32, logaddexp_f64)


# ---- the C library's, an element at a time


def _scalar(name: str, function: Callable[..., Any]) -> Any:
    """A function of Numba's ``math``; float32 stays float32."""

    def double(x):  # type: ignore[no-untyped-def]
        return function(x)

    def single(x):  # type: ignore[no-untyped-def]
        return f32(function(x))

    return _function(name, single, double)


sin, cos, tan = _scalar("sin", math.sin), _scalar("cos", math.cos), _scalar("tan", math.tan)
asin, acos, atan = _scalar("asin", math.asin), _scalar("acos", math.acos), _scalar("atan", math.atan)
sinh, cosh = _scalar("sinh", math.sinh), _scalar("cosh", math.cosh)
asinh, acosh, atanh = _scalar("asinh", math.asinh), _scalar("acosh", math.acosh), _scalar("atanh", math.atanh)
erf, erfc, lgamma = _scalar("erf", math.erf), _scalar("erfc", math.erfc), _scalar("lgamma", math.lgamma)
exp2, log2, log10 = _scalar("exp2", np.exp2), _scalar("log2", np.log2), _scalar("log10", np.log10)


def cbrt_f32(x):  # type: ignore[no-untyped-def]
    a = _fabs(x)
    y = exp(log(a) * f32(1.0 / 3.0))
    y = y - (y * y * y - a) / (f32(3.0) * y * y)
    return select((a == f32(0.0)) | (a == f32(inf)), x, copysign(y, x))


def cbrt_f64(x):  # type: ignore[no-untyped-def]
    a = _fabs(x)
    y = exp(log(a) * (1.0 / 3.0))
    y = y - (y * y * y - a) / (3.0 * y * y)
    return select((a == 0.0) | (a == inf), x, copysign(y, x))


def rsqrt_f32(x):  # type: ignore[no-untyped-def]
    return f32(1.0) / sqrt(x)


def rsqrt_f64(x):  # type: ignore[no-untyped-def]
    return 1.0 / sqrt(x)


cbrt = _function("cbrt", cbrt_f32, cbrt_f64)
rsqrt = _function("rsqrt", rsqrt_f32, rsqrt_f64)


def erfinv_f64(x):  # type: ignore[no-untyped-def]
    """Giles, Approximating the erfinv function, GPU Computing Gems 2 (2011), then two Newton steps."""
    a = (1.0 - x) * (1.0 + x)
    w = -log(a)
    if w < 5.0:
        v = w - 2.5
        p = 2.81022636e-08
        p = 3.43273939e-07 + p * v
        p = -3.5233877e-06 + p * v
        p = -4.39150654e-06 + p * v
        p = 0.00021858087 + p * v
        p = -0.00125372503 + p * v
        p = -0.00417768164 + p * v
        p = 0.246640727 + p * v
        p = 1.50140941 + p * v
    else:
        v = math.sqrt(w) - 3.0
        p = -0.000200214257
        p = 0.000100950558 + p * v
        p = 0.00134934322 + p * v
        p = -0.00367342844 + p * v
        p = 0.00573950773 + p * v
        p = -0.0076224613 + p * v
        p = 0.00943887047 + p * v
        p = 1.00167406 + p * v
        p = 2.83297682 + p * v
    y = p * x
    if math.fabs(x) < 1.0:
        for _ in range(2):
            t = math.fabs(y)
            error = (math.erf(y) - x) if t < 0.5 else ((1.0 - math.fabs(x)) - math.erfc(t)) * math.copysign(1.0, x)
            step = error / (1.1283791670955126 * math.exp(-y * y))
            y = y - step / (1.0 + y * step)
    elif math.fabs(x) == 1.0:
        y = x * inf
    else:
        y = nan
    return y


def erfinv_f32(x):  # type: ignore[no-untyped-def]
    return f32(erfinv_f64_call(f64(x)))


def digamma_f64(x):  # type: ignore[no-untyped-def]
    """Reflection, recurrence to 10, then the asymptotic series (Abramowitz and Stegun 6.3.5, 6.3.7, 6.3.18)."""
    out = 0.0
    if x <= 0.0:
        if x == math.floor(x):
            return nan if x != 0.0 else -math.copysign(inf, x)
        part = x - math.floor(x)
        out = -math.pi / math.tan(math.pi * part)
        x = 1.0 - x
    while x < 10.0:
        out -= 1.0 / x
        x += 1.0
    z = 1.0 / (x * x)
    s = z * (1 / 12 - z * (1 / 120 - z * (1 / 252 - z * (1 / 240 - z * (1 / 132 - z * (691 / 32760 - z / 12))))))
    return out + math.log(x) - 0.5 / x - s


def polygamma_f64(n, x):  # type: ignore[no-untyped-def]
    """n >= 1: recurrence to 20, then the asymptotic series (Abramowitz and Stegun 6.4.6, 6.4.11), for x > 0."""
    if x <= 0.0 or x != x:
        return nan if x != 0.0 else inf
    sign = 1.0 if n % 2 == 1 else -1.0
    factorial = math.gamma(n + 1.0)
    out = 0.0
    while x < 20.0:
        out += factorial / x ** (n + 1)
        x += 1.0
    tail = factorial / n / x**n + factorial / (2.0 * x ** (n + 1))
    rising = math.gamma(n + 2.0)
    bernoulli = (1 / 6, -1 / 30, 1 / 42, -1 / 30, 5 / 66, -691 / 2730, 7 / 6, -3617 / 510)
    factor = rising / (2.0 * x ** (n + 2))
    for k in range(8):
        tail += bernoulli[k] * factor
        m = 2.0 * (k + 1)
        factor *= (m + n) * (m + n + 1.0) / ((m + 1.0) * (m + 2.0)) / (x * x)
    return sign * (out + tail)


def digamma_f32(x):  # type: ignore[no-untyped-def]
    return f32(digamma_f64_call(f64(x)))


def polygamma_f32(n, x):  # type: ignore[no-untyped-def]
    return f32(polygamma_f64_call(n, f64(x)))


erfinv_f64_call = _function("erfinv_f64_call", erfinv_f64, erfinv_f64)
digamma_f64_call = _function("digamma_f64_call", digamma_f64, digamma_f64)
polygamma_f64_call = _function("polygamma_f64_call", polygamma_f64, polygamma_f64)
erfinv = _function("erfinv", erfinv_f32, erfinv_f64)
digamma = _function("digamma", digamma_f32, digamma_f64)
polygamma = _function("polygamma", polygamma_f32, polygamma_f64)


# ---- two operands


def _pair(name: str, function: Callable[..., Any]) -> Any:
    def double(a, b):  # type: ignore[no-untyped-def]
        return function(a, b)

    def single(a, b):  # type: ignore[no-untyped-def]
        return f32(function(a, b))

    return _function(name, single, double)


atan2, hypot = _pair("atan2", math.atan2), _pair("hypot", math.hypot)


def pow_f64(a, b):  # type: ignore[no-untyped-def]
    return math.pow(a, b)


def pow_f32(a, b):  # type: ignore[no-untyped-def]
    return f32(math.pow(a, b))


def pow_int(a, b):  # type: ignore[no-untyped-def]
    out = a * 0 + 1
    while b > 0:
        if b & 1:
            out = out * a
        a = a * a
        b = b >> 1
    return out


pow = _function("pow", pow_f32, pow_f64, pow_int)


def xlogy_f32(a, b):  # type: ignore[no-untyped-def]
    return select((a == f32(0.0)) & (b == b), f32(0.0), a * log(b))


def xlogy_f64(a, b):  # type: ignore[no-untyped-def]
    return select((a == 0.0) & (b == b), 0.0, a * log(b))


def xlog1py_f32(a, b):  # type: ignore[no-untyped-def]
    return select((a == f32(0.0)) & (b == b), f32(0.0), a * log1p(b))


def xlog1py_f64(a, b):  # type: ignore[no-untyped-def]
    return select((a == 0.0) & (b == b), 0.0, a * log1p(b))


xlogy = _function("xlogy", xlogy_f32, xlogy_f64)
xlog1py = _function("xlog1py", xlog1py_f32, xlog1py_f64)


def floor_divide_float(a, b):  # type: ignore[no-untyped-def]
    """NumPy's: the quotient of what remainder leaves, rounded."""
    r = fmod(a, b)
    q = (a - r) / b
    q = q - 1 if r != 0 and ((b < 0) != (r < 0)) else q
    f = math.floor(q) if math.isfinite(q) else q
    f = f + 1 if q - f > 0.5 else f
    return copysign(b * 0 + 0.0, a / b) if q == 0 else (a / b if b == 0 else f)


def floor_divide_f32(a, b):  # type: ignore[no-untyped-def]
    return f32(floor_divide_f64_call(f64(a), f64(b)))


def floor_divide_int(a, b):  # type: ignore[no-untyped-def]
    if b == 0:
        return a * 0
    if b == -1:
        return -a
    return a // b


floor_divide_f64_call = _function("floor_divide_f64_call", floor_divide_float, floor_divide_float)
floor_divide = _function("floor_divide", floor_divide_f32, floor_divide_float, floor_divide_int)


def remainder_f64(a, b):  # type: ignore[no-untyped-def]
    r = fmod(a, b)
    if r != 0.0:
        return r + b if (b < 0.0) != (r < 0.0) else r
    return r if r != r else math.copysign(0.0, b)


def remainder_f32(a, b):  # type: ignore[no-untyped-def]
    return f32(remainder_f64_call(f64(a), f64(b)))


def remainder_int(a, b):  # type: ignore[no-untyped-def]
    if b == 0 or b == -1:
        return a * 0
    return a % b


remainder_f64_call = _function("remainder_f64_call", remainder_f64, remainder_f64)
remainder = _function("remainder", remainder_f32, remainder_f64, remainder_int)


# ---- sign and tests


def fabs_float(x):  # type: ignore[no-untyped-def]
    return _fabs(x)


def fabs_int(x):  # type: ignore[no-untyped-def]
    return select(x < 0, -x, x)


def sign_f32(x):  # type: ignore[no-untyped-def]
    return select(x > f32(0.0), f32(1.0), select(x < f32(0.0), f32(-1.0), x))


def sign_f64(x):  # type: ignore[no-untyped-def]
    return select(x > 0.0, 1.0, select(x < 0.0, -1.0, x))


def sign_int(x):  # type: ignore[no-untyped-def]
    return select(x > 0, 1, select(x < 0, -1, 0))


fabs = _function("fabs", fabs_float, fabs_float, fabs_int)
sign = _function("sign", sign_f32, sign_f64, sign_int)


def isinf_f32(x):  # type: ignore[no-untyped-def]
    return _fabs(x) == f32(inf)


def isinf_f64(x):  # type: ignore[no-untyped-def]
    return _fabs(x) == inf


def isfinite_f32(x):  # type: ignore[no-untyped-def]
    return _fabs(x) < f32(inf)


def isfinite_f64(x):  # type: ignore[no-untyped-def]
    return _fabs(x) < inf


isinf = _function("isinf", isinf_f32, isinf_f64)
isfinite = _function("isfinite", isfinite_f32, isfinite_f64)
