"""Elementary and special functions, one record each: code, NumPy or SciPy, derivative."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from graphc.errors import DTypeError
from graphc.ir.tensor import Tensor
from graphc.ir.types import is_float, is_integer
from graphc.ops.apply import Operand, apply, cast, is_scalar, promoted, public
from graphc.ops.elementwise import (
    abs,
    counted,
    divide,
    elementwise,
    equal,
    greater,
    less_equal,
    logical_and,
    multiply,
    slope_at,
    where,
)

SQRT_PI = float(np.sqrt(np.pi))
LN2, LN10 = float(np.log(2)), float(np.log(10))


def _special(name: str) -> Any:
    """A function of scipy.special, imported when first evaluated."""

    def evaluate(*args: Any) -> Any:
        import scipy.special

        return getattr(scipy.special, name)(*args)

    return evaluate


def _sigmoid(x: Any) -> Any:
    e = np.exp(-np.abs(x))
    return np.where(x >= 0, 1, e) / (1 + e)


def _softplus(x: Any) -> Any:
    return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))


def _log1mexp(x: Any) -> Any:
    """log(1 - exp(-x)); Maechler, Accurately computing log(1 - exp(-|a|)), 2012."""
    with np.errstate(all="ignore"):
        return np.where(x < np.asarray(LN2, x.dtype), np.log(-np.expm1(-x)), np.log1p(-np.exp(-x)))


def _erfinv(x: Any) -> Any:
    return np.copysign(_special("erfinv")(x), x)  # of -0.0 too


def _erfcinv(x: Any) -> Any:
    """SciPy's, but for -0.0 at 1 and infinity at the smallest of all numbers."""
    return np.where((x > 0) & (x < 1e-323), 27.213293210812948, _special("erfcinv")(x) + 0)


def _polygamma(x: Any, n: int) -> Any:
    """SciPy's; for x < 0 its sum takes forever, so the sum over all whole k without what that has too much."""
    sign, polygamma = (1 if n % 2 else -1), _special("polygamma")
    with np.errstate(all="ignore"):
        below = np.where(x > 0, -0.5, np.asarray(x, np.float64))
        r = below - np.round(below)
        own = sign * math.factorial(n) / r ** (n + 1)
        reflected = own + polygamma(n, 1 + r) + sign * (polygamma(n, 1 - r) - polygamma(n, 1 - below))
        reflected = np.where(r == 0, sign * np.inf, reflected)
        return np.where(x > 0, polygamma(n, np.where(x > 0, x, 1)), reflected)


def _unary(name: str, code: str, reference: Any, gradient: Any) -> None:
    elementwise(name, 1, code, reference, (gradient,), floating=True)


_unary("sqrt", "sqrt(a)", np.sqrt, lambda g, y, x: g * (0.5 / y))
_unary("rsqrt", "rsqrt(a)", lambda x: 1 / np.sqrt(x), lambda g, y, x: g * (-0.5 * y / x))
_unary("cbrt", "cbrt(a)", np.cbrt, lambda g, y, x: g / (3 * y * y))
_unary("exp", "exp(a)", np.exp, lambda g, y, x: g * y)
_unary("exp2", "exp2(a)", np.exp2, lambda g, y, x: g * (LN2 * y))
_unary("expm1", "expm1(a)", np.expm1, lambda g, y, x: g * exp(x))
_unary("log", "log(a)", np.log, lambda g, y, x: g / x)
_unary("log2", "log2(a)", np.log2, lambda g, y, x: g * (1 / LN2) / x)
_unary("log10", "log10(a)", np.log10, lambda g, y, x: g * (1 / LN10) / x)
_unary("log1p", "log1p(a)", np.log1p, lambda g, y, x: g / (1 + x))
_unary("sin", "sin(a)", np.sin, lambda g, y, x: g * cos(x))
_unary("cos", "cos(a)", np.cos, lambda g, y, x: -g * sin(x))
_unary("tan", "tan(a)", np.tan, lambda g, y, x: g * (1 + y * y))
_unary("asin", "asin(a)", np.arcsin, lambda g, y, x: g * rsqrt(_one_minus_square(x)))
_unary("acos", "acos(a)", np.arccos, lambda g, y, x: -g * rsqrt(_one_minus_square(x)))
_unary("atan", "atan(a)", np.arctan, lambda g, y, x: g * _two("atan2_slope", x, 1))
_unary("sinh", "sinh(a)", np.sinh, lambda g, y, x: g * cosh(x))
_unary("cosh", "cosh(a)", np.cosh, lambda g, y, x: g * sinh(x))
_unary("tanh", "tanh(a)", np.tanh, lambda g, y, x: g * (1 - y * y))
_unary("asinh", "asinh(a)", np.arcsinh, lambda g, y, x: g / hypot(x, 1))
_unary("acosh", "acosh(a)", np.arccosh, lambda g, y, x: g / (sqrt(x - 1) * sqrt(x + 1)))
_unary("atanh", "atanh(a)", np.arctanh, lambda g, y, x: g / _one_minus_square(x))
# 1 - x^2, precise near 1 as its derivative is near 0
_unary(
    "one_minus_square", "({dtype}(1) - a) * ({dtype}(1) + a)", lambda x: (1 - x) * (1 + x), lambda g, y, x: g * (-2 * x)
)
_unary("erf", "erf(a)", _special("erf"), lambda g, y, x: g * (2 / SQRT_PI * exp(-x * x)))
_unary("erfc", "erfc(a)", _special("erfc"), lambda g, y, x: g * (-2 / SQRT_PI * exp(-x * x)))
_unary(
    "erfinv",
    "erfinv(a)",
    lambda x: np.copysign(_special("erfinv")(x), x),
    lambda g, y, x: g * (SQRT_PI / 2 * exp(y * y)),
)
_unary("erfcinv", "erfcinv(a)", _erfcinv, lambda g, y, x: g * (-SQRT_PI / 2 * exp(y * y)))
_unary("lgamma", "lgamma(a)", _special("gammaln"), lambda g, y, x: g * digamma(x))
_unary("digamma", "digamma(a)", _special("digamma"), lambda g, y, x: g * apply("polygamma", x, n=1))
_unary("sigmoid", "sigmoid(a)", _sigmoid, lambda g, y, x: g * (y * (1 - y)))
_unary("softplus", "softplus(a)", _softplus, lambda g, y, x: g * sigmoid(x))
_unary("log_sigmoid", "log_sigmoid(a)", lambda x: -_softplus(-x), lambda g, y, x: g * sigmoid(-x))
_unary("log1mexp", "log1mexp(a)", _log1mexp, lambda g, y, x: -g * (exp(-x) / expm1(-x)))
_unary(
    "softsign",
    "a / (fabs(a) + {dtype}(1))",
    lambda x: x / (1 + np.abs(x)),
    lambda g, y, x: g * square(1 / (abs(x) + 1)),
)
_unary("floor", "floor(a)", np.floor, None)
_unary("ceil", "ceil(a)", np.ceil, None)
_unary("trunc", "trunc(a)", np.trunc, None)
_unary("round", "round(a)", np.round, None)
elementwise(
    "relu",
    1,
    "maximum(a, {dtype}(0))",
    lambda x: np.maximum(x, 0),
    (lambda g, y, x: g * slope_at(y),),
    taken=(lambda y, x: (less_equal(y, 0), False),),
)

elementwise(
    "polygamma",
    1,
    "polygamma({n}, a)",
    _polygamma,
    (lambda g, y, x: g * apply("polygamma", x, n=y.attrs["n"] + 1),),
    floating=True,
    attrs=("n",),
)


def _power_reference(a: Any, b: Any) -> Any:
    """NumPy's, which refuses integers to negative powers: those are cut towards zero, and 0 for a = 0."""
    if not is_integer(np.asarray(b).dtype):
        return np.power(a, b)
    cut = np.where(a == 1, 1, np.where(a == -1, 1 - 2 * (b & 1), 0))
    return np.where(b < 0, cut, np.power(a, np.maximum(b, 0))).astype(a.dtype)


elementwise(
    "pow",
    2,
    "pow(a, b)",
    _power_reference,
    (lambda g, y, a, b: g * (b * pow(a, b - 1)), lambda g, y, a, b: g * (y * log(a))),
    taken=(
        lambda y, a, b: (equal(b, 0), False),  # even if a = 0
        lambda y, a, b: (logical_and(equal(a, 0), greater(b, 0)), False),
    ),
)
elementwise(
    "atan2",
    2,
    "atan2(a, b)",
    np.arctan2,
    (lambda g, y, a, b: g * _two("atan2_slope", a, b), lambda g, y, a, b: -g * _two("atan2_slope", b, a)),
    floating=True,
)


def _atan2_slope(a: Any, b: Any) -> Any:
    length = np.hypot(a, b)
    return b / length / length


def _slope_by_second(g: Tensor, y: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """(a^2 - b^2) / (a^2 + b^2)^2."""
    other = _two("atan2_slope", b, a)
    return g * ((other - y) * (other + y))


elementwise(  # b / (a^2 + b^2), whose squares may be out of range where it is not
    "atan2_slope",
    2,
    "atan2_slope(a, b)",
    _atan2_slope,
    (lambda g, y, a, b: g * (-2 * y * _two("atan2_slope", b, a)), _slope_by_second),
    floating=True,
)
elementwise(
    "hypot",
    2,
    "hypot(a, b)",
    np.hypot,
    (lambda g, y, a, b: g * (a / y), lambda g, y, a, b: g * (b / y)),
    floating=True,
    taken=(lambda y, a, b: (equal(y, 0), False),) * 2,
)
elementwise(
    "logaddexp",
    2,
    "logaddexp(a, b)",
    np.logaddexp,
    (lambda g, y, a, b: g * _share(a, b), lambda g, y, a, b: g * _share(b, a)),
    floating=True,
    facts=("commutative",),
)
elementwise(
    "xlogy",
    2,
    "xlogy(a, b)",
    _special("xlogy"),
    (lambda g, y, a, b: g * log(b), lambda g, y, a, b: g * (a / b)),
    floating=True,
    taken=(None, lambda y, a, b: (logical_and(equal(a, 0), equal(b, b)), False)),
)
elementwise(
    "xlog1py",
    2,
    "xlog1py(a, b)",
    _special("xlog1py"),
    (lambda g, y, a, b: g * log1p(b), lambda g, y, a, b: g * (a / (1 + b))),
    floating=True,
    taken=(None, lambda y, a, b: (logical_and(equal(a, 0), equal(b, b)), False)),
)
elementwise(
    "weigh",
    2,
    "select((a == {dtype}(0.0)) & isinf(b), {dtype}(0.0), a * b)",
    lambda a, b: np.where((a == 0) & np.isinf(b), 0, a * b),
    (lambda g, y, a, b: g * b, lambda g, y, a, b: g * a),
    floating=True,
    taken=(None, lambda y, a, b: (equal(a, 0), False)),
)


def _share(a: Tensor, b: Tensor) -> Tensor:
    """exp(a) / (exp(a) + exp(b)); one half of two infinities of one sign."""
    return sigmoid(where(equal(a, b), 0, a - b))


def _float(name: str, x: Tensor) -> Tensor:
    return apply(name, x if is_float(x.dtype) else cast(x, x.graph.float_dtype))


def _two(name: str, a: Operand, b: Operand) -> Tensor:
    return apply(name, *promoted(a, b, floating=True))


@public
def sqrt(x: Tensor) -> Tensor:
    """The square root; its derivative at 0 is inf.

    Elementwise, in the shape of ``x``; a float, the graph's for integers. Raises DTypeError where ``x`` is no tensor.

    >>> import graphc as gx
    >>> x = gx.Graph().input("x", (2,), "float64")
    >>> gx.compile([x], gx.sqrt(x), backend="numpy")([4, 9]).round(4).tolist()
    [2.0, 3.0]
    """
    return _float("sqrt", x)


@public
def rsqrt(x: Tensor) -> Tensor:
    """``1 / sqrt(x)``.

    Elementwise, in the shape of ``x``; a float, the graph's for integers. Raises DTypeError where ``x`` is no tensor.

    >>> import graphc as gx
    >>> x = gx.Graph().input("x", (2,), "float64")
    >>> gx.compile([x], gx.rsqrt(x), backend="numpy")([4, 16]).round(4).tolist()
    [0.5, 0.25]
    """
    return _float("rsqrt", x)


@public
def cbrt(x: Tensor) -> Tensor:
    """The cube root.

    Elementwise, in the shape of ``x``; a float, the graph's for integers. Raises DTypeError where ``x`` is no tensor.

    >>> import graphc as gx
    >>> x = gx.Graph().input("x", (2,), "float64")
    >>> gx.compile([x], gx.cbrt(x), backend="numpy")([8, -27]).round(4).tolist()
    [2.0, -3.0]
    """
    return _float("cbrt", x)


@public
def square(x: Tensor) -> Tensor:
    """``x * x``.

    Elementwise; shape and dtype are those of ``x``. Raises GraphError where ``x`` is no tensor.

    >>> import graphc as gx
    >>> x = gx.Graph().input("x", (2,), "float64")
    >>> gx.compile([x], gx.square(x), backend="numpy")([3, -4]).round(4).tolist()
    [9.0, 16.0]
    """
    return multiply(x, x)


@public
def reciprocal(x: Tensor) -> Tensor:
    """``1 / x``.

    Elementwise, in the shape of ``x``; a float, the graph's for integers. Raises GraphError where ``x`` is no tensor.

    >>> import graphc as gx
    >>> x = gx.Graph().input("x", (2,), "float64")
    >>> gx.compile([x], gx.reciprocal(x), backend="numpy")([2, 4]).round(4).tolist()
    [0.5, 0.25]
    """
    return divide(1, x)


@public
def exp(x: Tensor) -> Tensor:
    """``e**x``.

    Elementwise, in the shape of ``x``; a float, the graph's for integers. Raises DTypeError where ``x`` is no tensor.

    >>> import graphc as gx
    >>> x = gx.Graph().input("x", (2,), "float64")
    >>> gx.compile([x], gx.exp(x), backend="numpy")([0, 1]).round(4).tolist()
    [1.0, 2.7183]
    """
    return _float("exp", x)


@public
def exp2(x: Tensor) -> Tensor:
    """``2**x``.

    Elementwise, in the shape of ``x``; a float, the graph's for integers. Raises DTypeError where ``x`` is no tensor.

    >>> import graphc as gx
    >>> x = gx.Graph().input("x", (2,), "float64")
    >>> gx.compile([x], gx.exp2(x), backend="numpy")([0, 3]).round(4).tolist()
    [1.0, 8.0]
    """
    return _float("exp2", x)


@public
def expm1(x: Tensor) -> Tensor:
    """``exp(x) - 1``, exact for small ``x``.

    Elementwise, in the shape of ``x``; a float, the graph's for integers. Raises DTypeError where ``x`` is no tensor.

    >>> import graphc as gx
    >>> x = gx.Graph().input("x", (2,), "float64")
    >>> gx.compile([x], gx.expm1(x), backend="numpy")([0, 1]).round(4).tolist()
    [0.0, 1.7183]
    """
    return _float("expm1", x)


@public
def log(x: Tensor) -> Tensor:
    """The natural logarithm; -inf at 0, NaN below.

    Elementwise, in the shape of ``x``; a float, the graph's for integers. Raises DTypeError where ``x`` is no tensor.

    >>> import graphc as gx
    >>> x = gx.Graph().input("x", (2,), "float64")
    >>> gx.compile([x], gx.log(x), backend="numpy")([1, 2]).round(4).tolist()
    [0.0, 0.6931]
    """
    return _float("log", x)


@public
def log2(x: Tensor) -> Tensor:
    """The logarithm to base 2.

    Elementwise, in the shape of ``x``; a float, the graph's for integers. Raises DTypeError where ``x`` is no tensor.

    >>> import graphc as gx
    >>> x = gx.Graph().input("x", (2,), "float64")
    >>> gx.compile([x], gx.log2(x), backend="numpy")([1, 8]).round(4).tolist()
    [0.0, 3.0]
    """
    return _float("log2", x)


@public
def log10(x: Tensor) -> Tensor:
    """The logarithm to base 10.

    Elementwise, in the shape of ``x``; a float, the graph's for integers. Raises DTypeError where ``x`` is no tensor.

    >>> import graphc as gx
    >>> x = gx.Graph().input("x", (2,), "float64")
    >>> gx.compile([x], gx.log10(x), backend="numpy")([1, 100]).round(4).tolist()
    [0.0, 2.0]
    """
    return _float("log10", x)


@public
def log1p(x: Tensor) -> Tensor:
    """``log(1 + x)``, exact for small ``x``.

    Elementwise, in the shape of ``x``; a float, the graph's for integers. Raises DTypeError where ``x`` is no tensor.

    >>> import graphc as gx
    >>> x = gx.Graph().input("x", (2,), "float64")
    >>> gx.compile([x], gx.log1p(x), backend="numpy")([0, 1]).round(4).tolist()
    [0.0, 0.6931]
    """
    return _float("log1p", x)


@public
def sin(x: Tensor) -> Tensor:
    """The sine; radians.

    Elementwise, in the shape of ``x``; a float, the graph's for integers. Raises DTypeError where ``x`` is no tensor.

    >>> import graphc as gx
    >>> x = gx.Graph().input("x", (2,), "float64")
    >>> gx.compile([x], gx.sin(x), backend="numpy")([0, 1]).round(4).tolist()
    [0.0, 0.8415]
    """
    return _float("sin", x)


@public
def cos(x: Tensor) -> Tensor:
    """The cosine; radians.

    Elementwise, in the shape of ``x``; a float, the graph's for integers. Raises DTypeError where ``x`` is no tensor.

    >>> import graphc as gx
    >>> x = gx.Graph().input("x", (2,), "float64")
    >>> gx.compile([x], gx.cos(x), backend="numpy")([0, 1]).round(4).tolist()
    [1.0, 0.5403]
    """
    return _float("cos", x)


@public
def tan(x: Tensor) -> Tensor:
    """The tangent; radians.

    Elementwise, in the shape of ``x``; a float, the graph's for integers. Raises DTypeError where ``x`` is no tensor.

    >>> import graphc as gx
    >>> x = gx.Graph().input("x", (2,), "float64")
    >>> gx.compile([x], gx.tan(x), backend="numpy")([0, 1]).round(4).tolist()
    [0.0, 1.5574]
    """
    return _float("tan", x)


@public
def asin(x: Tensor) -> Tensor:
    """The inverse sine, in radians; its derivative at -1 and 1 is inf.

    Elementwise, in the shape of ``x``; a float, the graph's for integers. Raises DTypeError where ``x`` is no tensor.

    >>> import graphc as gx
    >>> x = gx.Graph().input("x", (2,), "float64")
    >>> gx.compile([x], gx.asin(x), backend="numpy")([0, 1]).round(4).tolist()
    [0.0, 1.5708]
    """
    return _float("asin", x)


@public
def acos(x: Tensor) -> Tensor:
    """The inverse cosine, in radians.

    Elementwise, in the shape of ``x``; a float, the graph's for integers. Raises DTypeError where ``x`` is no tensor.

    >>> import graphc as gx
    >>> x = gx.Graph().input("x", (2,), "float64")
    >>> gx.compile([x], gx.acos(x), backend="numpy")([0, 1]).round(4).tolist()
    [1.5708, 0.0]
    """
    return _float("acos", x)


@public
def atan(x: Tensor) -> Tensor:
    """The inverse tangent, in radians.

    Elementwise, in the shape of ``x``; a float, the graph's for integers. Raises DTypeError where ``x`` is no tensor.

    >>> import graphc as gx
    >>> x = gx.Graph().input("x", (2,), "float64")
    >>> gx.compile([x], gx.atan(x), backend="numpy")([0, 1]).round(4).tolist()
    [0.0, 0.7854]
    """
    return _float("atan", x)


@public
def sinh(x: Tensor) -> Tensor:
    """The hyperbolic sine.

    Elementwise, in the shape of ``x``; a float, the graph's for integers. Raises DTypeError where ``x`` is no tensor.

    >>> import graphc as gx
    >>> x = gx.Graph().input("x", (2,), "float64")
    >>> gx.compile([x], gx.sinh(x), backend="numpy")([0, 1]).round(4).tolist()
    [0.0, 1.1752]
    """
    return _float("sinh", x)


@public
def cosh(x: Tensor) -> Tensor:
    """The hyperbolic cosine.

    Elementwise, in the shape of ``x``; a float, the graph's for integers. Raises DTypeError where ``x`` is no tensor.

    >>> import graphc as gx
    >>> x = gx.Graph().input("x", (2,), "float64")
    >>> gx.compile([x], gx.cosh(x), backend="numpy")([0, 1]).round(4).tolist()
    [1.0, 1.5431]
    """
    return _float("cosh", x)


@public
def tanh(x: Tensor) -> Tensor:
    """The hyperbolic tangent.

    Elementwise, in the shape of ``x``; a float, the graph's for integers. Raises DTypeError where ``x`` is no tensor.

    >>> import graphc as gx
    >>> x = gx.Graph().input("x", (2,), "float64")
    >>> gx.compile([x], gx.tanh(x), backend="numpy")([0, 1]).round(4).tolist()
    [0.0, 0.7616]
    """
    return _float("tanh", x)


@public
def asinh(x: Tensor) -> Tensor:
    """The inverse hyperbolic sine.

    Elementwise, in the shape of ``x``; a float, the graph's for integers. Raises DTypeError where ``x`` is no tensor.

    >>> import graphc as gx
    >>> x = gx.Graph().input("x", (2,), "float64")
    >>> gx.compile([x], gx.asinh(x), backend="numpy")([0, 1]).round(4).tolist()
    [0.0, 0.8814]
    """
    return _float("asinh", x)


@public
def acosh(x: Tensor) -> Tensor:
    """The inverse hyperbolic cosine.

    Elementwise, in the shape of ``x``; a float, the graph's for integers. Raises DTypeError where ``x`` is no tensor.

    >>> import graphc as gx
    >>> x = gx.Graph().input("x", (2,), "float64")
    >>> gx.compile([x], gx.acosh(x), backend="numpy")([1, 2]).round(4).tolist()
    [0.0, 1.317]
    """
    return _float("acosh", x)


@public
def atanh(x: Tensor) -> Tensor:
    """The inverse hyperbolic tangent.

    Elementwise, in the shape of ``x``; a float, the graph's for integers. Raises DTypeError where ``x`` is no tensor.

    >>> import graphc as gx
    >>> x = gx.Graph().input("x", (2,), "float64")
    >>> gx.compile([x], gx.atanh(x), backend="numpy")([0, 0.5]).round(4).tolist()
    [0.0, 0.5493]
    """
    return _float("atanh", x)


@public
def erf(x: Tensor) -> Tensor:
    """The error function.

    Elementwise, in the shape of ``x``; a float, the graph's for integers. Raises DTypeError where ``x`` is no tensor.

    >>> import graphc as gx
    >>> x = gx.Graph().input("x", (2,), "float64")
    >>> gx.compile([x], gx.erf(x), backend="numpy")([0, 1]).round(4).tolist()
    [0.0, 0.8427]
    """
    return _float("erf", x)


@public
def erfc(x: Tensor) -> Tensor:
    """``1 - erf(x)``.

    Elementwise, in the shape of ``x``; a float, the graph's for integers. Raises DTypeError where ``x`` is no tensor.

    >>> import graphc as gx
    >>> x = gx.Graph().input("x", (2,), "float64")
    >>> gx.compile([x], gx.erfc(x), backend="numpy")([0, 1]).round(4).tolist()
    [1.0, 0.1573]
    """
    return _float("erfc", x)


@public
def erfinv(x: Tensor) -> Tensor:
    """The inverse of `erf`.

    Elementwise, in the shape of ``x``; a float, the graph's for integers. Raises DTypeError where ``x`` is no tensor.

    >>> import graphc as gx
    >>> x = gx.Graph().input("x", (2,), "float64")
    >>> gx.compile([x], gx.erfinv(x), backend="numpy")([0, 0.5]).round(4).tolist()
    [0.0, 0.4769]
    """
    return _float("erfinv", x)


@public
def erfcinv(x: Tensor) -> Tensor:
    """The inverse of `erfc`, precise for small ``x`` too.

    Elementwise, in the shape of ``x``; a float, the graph's for integers. Raises DTypeError where ``x`` is no tensor.

    >>> import graphc as gx
    >>> x = gx.Graph().input("x", (2,), "float64")
    >>> gx.compile([x], gx.erfcinv(x), backend="numpy")([1, 0.5]).round(4).tolist()
    [0.0, 0.4769]
    """
    return _float("erfcinv", x)


def _one_minus_square(x: Tensor) -> Tensor:
    return apply("one_minus_square", x)


@public
def lgamma(x: Tensor) -> Tensor:
    """The logarithm of the absolute gamma function.

    Elementwise, in the shape of ``x``; a float, the graph's for integers. Raises DTypeError where ``x`` is no tensor.

    >>> import graphc as gx
    >>> x = gx.Graph().input("x", (2,), "float64")
    >>> gx.compile([x], gx.lgamma(x), backend="numpy")([3, 4]).round(4).tolist()
    [0.6931, 1.7918]
    """
    return _float("lgamma", x)


@public
def digamma(x: Tensor) -> Tensor:
    """The derivative of `lgamma`.

    Elementwise, in the shape of ``x``; a float, the graph's for integers. Raises DTypeError where ``x`` is no tensor.

    >>> import graphc as gx
    >>> x = gx.Graph().input("x", (2,), "float64")
    >>> gx.compile([x], gx.digamma(x), backend="numpy")([1, 2]).round(4).tolist()
    [-0.5772, 0.4228]
    """
    return _float("digamma", x)


@public
def sigmoid(x: Tensor) -> Tensor:
    """``1 / (1 + exp(-x))``, without overflow.

    Elementwise, in the shape of ``x``; a float, the graph's for integers. Raises DTypeError where ``x`` is no tensor.

    >>> import graphc as gx
    >>> x = gx.Graph().input("x", (2,), "float64")
    >>> gx.compile([x], gx.sigmoid(x), backend="numpy")([0, 1]).round(4).tolist()
    [0.5, 0.7311]
    """
    return _float("sigmoid", x)


@public
def softplus(x: Tensor) -> Tensor:
    """``log(1 + exp(x))``, without overflow.

    Elementwise, in the shape of ``x``; a float, the graph's for integers. Raises DTypeError where ``x`` is no tensor.

    >>> import graphc as gx
    >>> x = gx.Graph().input("x", (2,), "float64")
    >>> gx.compile([x], gx.softplus(x), backend="numpy")([0, 1000]).round(4).tolist()
    [0.6931, 1000.0]
    """
    return _float("softplus", x)


@public
def log_sigmoid(x: Tensor) -> Tensor:
    """``log(sigmoid(x))``, exact in both tails.

    Elementwise, in the shape of ``x``; a float, the graph's for integers. Raises DTypeError where ``x`` is no tensor.

    >>> import graphc as gx
    >>> x = gx.Graph().input("x", (2,), "float64")
    >>> gx.compile([x], gx.log_sigmoid(x), backend="numpy")([0, -1000]).round(4).tolist()
    [-0.6931, -1000.0]
    """
    return _float("log_sigmoid", x)


@public
def softsign(x: Tensor) -> Tensor:
    """``x / (1 + |x|)``.

    Elementwise, in the shape of ``x``; a float, the graph's for integers. Raises DTypeError where ``x`` is no tensor.

    >>> import graphc as gx
    >>> x = gx.Graph().input("x", (2,), "float64")
    >>> gx.compile([x], gx.softsign(x), backend="numpy")([1, -3]).round(4).tolist()
    [0.5, -0.75]
    """
    return _float("softsign", x)


@public
def log1mexp(x: Tensor) -> Tensor:
    """``log(1 - exp(-x))`` for ``x > 0`` (Maechler 2012).

    Elementwise, in the shape of ``x``; a float, the graph's for integers. Raises DTypeError where ``x`` is no tensor.

    >>> import graphc as gx
    >>> x = gx.Graph().input("x", (2,), "float64")
    >>> gx.compile([x], gx.log1mexp(x), backend="numpy")([1, 2]).round(4).tolist()
    [-0.4587, -0.1454]
    """
    return _float("log1mexp", x)


@public
def relu(x: Tensor) -> Tensor:
    """``max(x, 0)``, an integer of integers; its derivative at 0 is 0.

    Elementwise; shape and dtype are those of ``x``, of bools a float. Raises DTypeError where ``x`` is no tensor.

    >>> import graphc as gx
    >>> x = gx.Graph().input("x", (2,), "float64")
    >>> gx.compile([x], gx.relu(x), backend="numpy")([-1, 2]).round(4).tolist()
    [0.0, 2.0]
    """
    whole = isinstance(x, Tensor) and is_integer(x.dtype)
    return apply("relu", x) if whole else _float("relu", x)


def _rounding(name: str, x: Tensor) -> Tensor:
    return apply(name, x) if is_float(x.dtype) else x


@public
def floor(x: Tensor) -> Tensor:
    """Rounded down; its derivative is 0.

    Elementwise; shape and dtype are those of ``x``. Raises DTypeError where ``x`` is no tensor.

    >>> import graphc as gx
    >>> x = gx.Graph().input("x", (2,), "float64")
    >>> gx.compile([x], gx.floor(x), backend="numpy")([1.8, -1.8]).round(4).tolist()
    [1.0, -2.0]
    """
    return _rounding("floor", x)


@public
def ceil(x: Tensor) -> Tensor:
    """Rounded up; its derivative is 0.

    Elementwise; shape and dtype are those of ``x``. Raises DTypeError where ``x`` is no tensor.

    >>> import graphc as gx
    >>> x = gx.Graph().input("x", (2,), "float64")
    >>> gx.compile([x], gx.ceil(x), backend="numpy")([1.2, -1.2]).round(4).tolist()
    [2.0, -1.0]
    """
    return _rounding("ceil", x)


@public
def trunc(x: Tensor) -> Tensor:
    """Rounded towards zero; its derivative is 0.

    Elementwise; shape and dtype are those of ``x``. Raises DTypeError where ``x`` is no tensor.

    >>> import graphc as gx
    >>> x = gx.Graph().input("x", (2,), "float64")
    >>> gx.compile([x], gx.trunc(x), backend="numpy")([1.8, -1.8]).round(4).tolist()
    [1.0, -1.0]
    """
    return _rounding("trunc", x)


@public
def round(x: Tensor) -> Tensor:
    """Rounded to the nearest, half to even; its derivative is 0.

    Elementwise; shape and dtype are those of ``x``. Raises DTypeError where ``x`` is no tensor.

    >>> import graphc as gx
    >>> x = gx.Graph().input("x", (2,), "float64")
    >>> gx.compile([x], gx.round(x), backend="numpy")([0.5, 1.5]).round(4).tolist()
    [0.0, 2.0]
    """
    return _rounding("round", x)


@public
def pow(a: Operand, b: Operand) -> Tensor:
    """``a ** b``. A constant integer exponent up to 64 is repeated multiplication, right for negative bases.

    The derivative by ``b`` is 0 where ``a = 0`` and ``b > 0``; that by ``a`` is 0 where ``b = 0``. Integers to a
    negative power are a DTypeError where that is a number or an array; where a tensor turns out to be negative, the
    real result cut towards zero, and 0 for ``a = 0``. Bools give int64.

    Elementwise; operands (tensors, arrays, numbers) broadcast, and the result has the dtype in which they meet. Raises
    ShapeError where they do not, GraphError where none is a tensor.

    >>> import graphc as gx
    >>> x = gx.Graph().input("x", (2,), "float64")
    >>> gx.compile([x], gx.pow(x, 2), backend="numpy")([3, -4]).round(4).tolist()
    [9.0, 16.0]
    """
    if (
        isinstance(a, Tensor)
        and is_scalar(b)
        and np.isfinite(b)
        and float(b) == int(b)
        and -64 <= b <= 64
        and is_float(a.dtype)
    ):
        return _power(a, int(b))
    base, exponent = counted(a, b)
    if is_integer(base.dtype) and not isinstance(b, Tensor) and np.any(np.asarray(b) < 0):
        raise DTypeError(f"{base.type} to the negative power {b}: cast the base to a float, or use a float exponent")
    return apply("pow", base, exponent)


def _power(x: Tensor, n: int) -> Tensor:
    """By squaring (Knuth, TAOCP vol. 2, 4.6.3)."""
    if n == 0:
        return apply("full_like", x, fill=1.0)
    if n < 0:
        return _power(1 / x, -n)  # the powers of x may leave the range where their reciprocals do not
    out, square_of = None, x
    while n:
        if n & 1:
            out = square_of if out is None else out * square_of
        n >>= 1
        if n:
            square_of = square_of * square_of
    assert out is not None
    return out


@public
def atan2(a: Operand, b: Operand) -> Tensor:
    """The angle of the point (b, a), in radians.

    Elementwise; operands (tensors, arrays, numbers) broadcast, and the result is a float, the graph's for integers.
    Raises ShapeError where they do not, GraphError where none is a tensor.

    >>> import graphc as gx
    >>> x = gx.Graph().input("x", (2,), "float64")
    >>> gx.compile([x], gx.atan2(x, 1), backend="numpy")([0, 1]).round(4).tolist()
    [0.0, 0.7854]
    """
    return _two("atan2", a, b)


@public
def hypot(a: Operand, b: Operand) -> Tensor:
    """``sqrt(a*a + b*b)`` without overflow; gradient 0 at the origin.

    Elementwise; operands (tensors, arrays, numbers) broadcast, and the result is a float, the graph's for integers.
    Raises ShapeError where they do not, GraphError where none is a tensor.

    >>> import graphc as gx
    >>> x = gx.Graph().input("x", (2,), "float64")
    >>> gx.compile([x], gx.hypot(x, 4), backend="numpy")([3, 0]).round(4).tolist()
    [5.0, 4.0]
    """
    return _two("hypot", a, b)


@public
def logaddexp(a: Operand, b: Operand) -> Tensor:
    """``log(exp(a) + exp(b))`` without overflow.

    Elementwise; operands (tensors, arrays, numbers) broadcast, and the result is a float, the graph's for integers.
    Raises ShapeError where they do not, GraphError where none is a tensor.

    >>> import graphc as gx
    >>> x = gx.Graph().input("x", (2,), "float64")
    >>> gx.compile([x], gx.logaddexp(x, 0), backend="numpy")([0, 1000]).round(4).tolist()
    [0.6931, 1000.0]
    """
    return _two("logaddexp", a, b)


@public
def xlogy(a: Operand, b: Operand) -> Tensor:
    """``a * log(b)``, and 0 where ``a = 0``.

    Elementwise; operands (tensors, arrays, numbers) broadcast, and the result is a float, the graph's for integers.
    Raises ShapeError where they do not, GraphError where none is a tensor.

    >>> import graphc as gx
    >>> x = gx.Graph().input("x", (2,), "float64")
    >>> gx.compile([x], gx.xlogy(x, 0.5), backend="numpy")([0, 2]).round(4).tolist()
    [0.0, -1.3863]
    """
    return _two("xlogy", a, b)


@public
def xlog1py(a: Operand, b: Operand) -> Tensor:
    """``a * log1p(b)``, and 0 where ``a = 0``.

    Elementwise; operands (tensors, arrays, numbers) broadcast, and the result is a float, the graph's for integers.
    Raises ShapeError where they do not, GraphError where none is a tensor.

    >>> import graphc as gx
    >>> x = gx.Graph().input("x", (2,), "float64")
    >>> gx.compile([x], gx.xlog1py(x, 1), backend="numpy")([0, 2]).round(4).tolist()
    [0.0, 1.3863]
    """
    return _two("xlog1py", a, b)


def weigh(weight: Operand, x: Operand) -> Tensor:
    """``weight * x``, and 0 where the weight is 0 and ``x`` infinite: a term that has no part in a sum."""
    return _two("weigh", weight, x)
