"""Functions that kernels call inside loops.

Elementary functions are branch-free and range-reduced, so that LLVM vectorises the loop around them under strict IEEE
rules, and give the same bits at every position of it; float32 code holds no float64 arithmetic. They are written on
`value.Value`, once for both dtypes. What `special` holds runs an element at a time.
"""

from graphc.codegen.vecmath import error_function as _error_function
from graphc.codegen.vecmath import exponential as _exponential
from graphc.codegen.vecmath import logarithm as _logarithm
from graphc.codegen.vecmath import power as _power
from graphc.codegen.vecmath import trigonometric as _trigonometric
from graphc.codegen.vecmath.arithmetic import fabs, floor_divide, isfinite, isinf, pow, remainder, sign
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
    trunc,
)
from graphc.codegen.vecmath.special import digamma, erfinv, lgamma, polygamma
from graphc.codegen.vecmath.value import kernel_function as _kernel_function

exp, exp2, expm1, sinh, cosh, tanh, sigmoid = map(
    _kernel_function,
    (
        _exponential.exp,
        _exponential.exp2,
        _exponential.expm1,
        _exponential.sinh,
        _exponential.cosh,
        _exponential.tanh,
        _exponential.sigmoid,
    ),
)
log, log2, log10, log1p, softplus, log_sigmoid, log1mexp, logaddexp, xlogy, xlog1py, asinh, acosh, atanh = map(
    _kernel_function,
    (
        _logarithm.log,
        _logarithm.log2,
        _logarithm.log10,
        _logarithm.log1p,
        _logarithm.softplus,
        _logarithm.log_sigmoid,
        _logarithm.log1mexp,
        _logarithm.logaddexp,
        _logarithm.xlogy,
        _logarithm.xlog1py,
        _logarithm.asinh,
        _logarithm.acosh,
        _logarithm.atanh,
    ),
)
sin, cos, tan, asin, acos, atan, atan2 = map(
    _kernel_function,
    (
        _trigonometric.sin,
        _trigonometric.cos,
        _trigonometric.tan,
        _trigonometric.asin,
        _trigonometric.acos,
        _trigonometric.atan,
        _trigonometric.atan2,
    ),
)
hypot, cbrt, rsqrt = map(_kernel_function, (_power.hypot, _power.cbrt, _power.rsqrt))
erf, erfc = map(_kernel_function, (_error_function.erf, _error_function.erfc))
