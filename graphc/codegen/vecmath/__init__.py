"""Functions that kernels call inside loops.

Elementary functions are branch-free and range-reduced, so that LLVM vectorises the loop around them under strict IEEE
rules, and give the same bits at every position of it; float32 code holds no float64 arithmetic. They are written on
`value.Value`, once for both dtypes, and are within 4 units in the last place (5 where a module says so) for arguments
of any size. Processors without fused multiply-add call the C library for each. What `special` holds runs an element at
a time.
"""

from graphc.codegen.vecmath import arithmetic as _arithmetic
from graphc.codegen.vecmath import bessel as _bessel
from graphc.codegen.vecmath import error_function as _error_function
from graphc.codegen.vecmath import exponential as _exponential
from graphc.codegen.vecmath import logarithm as _logarithm
from graphc.codegen.vecmath import power as _power
from graphc.codegen.vecmath import trigonometric as _trigonometric
from graphc.codegen.vecmath.arithmetic import fabs, floor_divide, isfinite, isinf, pow, remainder, sign
from graphc.codegen.vecmath.incomplete import betainc, gamma_quantile, incomplete_gamma, poisson_quantile, zeta
from graphc.codegen.vecmath.instructions import (
    ceil,
    copysign,
    floor,
    fmax,
    fmin,
    maximum,
    minimum,
    reduce_add,
    reduce_mul,
    round,
    select,
    sqrt,
    to_int32,
    to_int64,
    trunc,
)
from graphc.codegen.vecmath.special import beta_ln, digamma, lgamma, polygamma
from graphc.codegen.vecmath.value import kernel_function as _kernel_function

exp = _kernel_function(_exponential.exp)
exp2 = _kernel_function(_exponential.exp2)
expm1 = _kernel_function(_exponential.expm1)
sinh = _kernel_function(_exponential.sinh)
cosh = _kernel_function(_exponential.cosh)
tanh = _kernel_function(_exponential.tanh)
sigmoid = _kernel_function(_exponential.sigmoid)

log = _kernel_function(_logarithm.log)
log2 = _kernel_function(_logarithm.log2)
log10 = _kernel_function(_logarithm.log10)
log1p = _kernel_function(_logarithm.log1p)
softplus = _kernel_function(_logarithm.softplus)
log_sigmoid = _kernel_function(_logarithm.log_sigmoid)
log1mexp = _kernel_function(_logarithm.log1mexp)
logaddexp = _kernel_function(_logarithm.logaddexp)
xlogy = _kernel_function(_logarithm.xlogy)
xlog1py = _kernel_function(_logarithm.xlog1py)
asinh = _kernel_function(_logarithm.asinh)
acosh = _kernel_function(_logarithm.acosh)
atanh = _kernel_function(_logarithm.atanh)

sin = _kernel_function(_trigonometric.sin)
cos = _kernel_function(_trigonometric.cos)
tan = _kernel_function(_trigonometric.tan)
asin = _kernel_function(_trigonometric.asin)
acos = _kernel_function(_trigonometric.acos)
atan = _kernel_function(_trigonometric.atan)
atan2 = _kernel_function(_trigonometric.atan2)

hypot = _kernel_function(_power.hypot)
atan2_slope = _kernel_function(_power.atan2_slope)
lerp = _kernel_function(_arithmetic.lerp)
cbrt = _kernel_function(_power.cbrt)
rsqrt = _kernel_function(_power.rsqrt)

erf = _kernel_function(_error_function.erf)
erfc = _kernel_function(_error_function.erfc)
erfcx = _kernel_function(_error_function.erfcx)
log_ndtr = _kernel_function(_error_function.log_ndtr)
erfinv = _kernel_function(_error_function.erfinv)
erfcinv = _kernel_function(_error_function.erfcinv)

i0e = _kernel_function(_bessel.i0e)
i1e = _kernel_function(_bessel.i1e)

__all__ = [
    "acos",
    "acosh",
    "asin",
    "asinh",
    "atan",
    "atan2",
    "atan2_slope",
    "atanh",
    "beta_ln",
    "betainc",
    "cbrt",
    "ceil",
    "copysign",
    "cos",
    "cosh",
    "digamma",
    "erf",
    "erfc",
    "erfcinv",
    "erfcx",
    "erfinv",
    "exp",
    "exp2",
    "expm1",
    "fabs",
    "floor",
    "floor_divide",
    "fmax",
    "fmin",
    "gamma_quantile",
    "hypot",
    "i0e",
    "i1e",
    "incomplete_gamma",
    "isfinite",
    "isinf",
    "lerp",
    "lgamma",
    "log",
    "log10",
    "log1mexp",
    "log1p",
    "log2",
    "log_ndtr",
    "log_sigmoid",
    "logaddexp",
    "maximum",
    "minimum",
    "poisson_quantile",
    "polygamma",
    "pow",
    "reduce_add",
    "reduce_mul",
    "remainder",
    "round",
    "rsqrt",
    "select",
    "sigmoid",
    "sign",
    "sin",
    "sinh",
    "softplus",
    "sqrt",
    "tan",
    "tanh",
    "to_int32",
    "to_int64",
    "trunc",
    "xlog1py",
    "xlogy",
    "zeta",
]
