"""The normal distribution function, its logarithm and inverse, precise in both tails; sinc and the beta function."""

from __future__ import annotations

import math
from typing import Any

from graphc.ir.tensor import Tensor
from graphc.ir.types import is_float
from graphc.ops.apply import Operand, apply, cast, promoted, public
from graphc.ops.elementwise import abs, elementwise, greater, less, where
from graphc.ops.functions import digamma, erfc, erfcinv, sin

SQRT_PI = math.sqrt(math.pi)
SERIES = 12  # terms of the expansion of the derivative of erfcx
FAR = 10.0  # from where on it is right to rounding


def _scipy(name: str) -> Any:
    """A function of scipy.special, imported when first evaluated."""

    def evaluate(*args: Any) -> Any:
        import scipy.special

        return getattr(scipy.special, name)(*args)

    return evaluate


def _erfcx_slope(x: Tensor, y: Tensor) -> Tensor:
    """2 x y - 2 / sqrt(pi), which cancels for large x: there by Abramowitz and Stegun 7.1.23."""
    w = 1 / (x * x)
    coefficients = [-1 / SQRT_PI]
    for k in range(1, SERIES):
        coefficients.append(coefficients[-1] * -(2 * k + 1) / 2)
    series = polynomial(w, coefficients) * w
    return where(greater(x, FAR), series, 2 * (x * y - 1 / SQRT_PI))


def polynomial(x: Tensor, coefficients: list[float]) -> Tensor:
    """By Horner's rule, lowest coefficient first."""
    out = x * coefficients[-1] + coefficients[-2]
    for c in reversed(coefficients[:-2]):
        out = out * x + c
    return out


elementwise("erfcx", 1, "erfcx(a)", _scipy("erfcx"), (lambda g, y, x: g * _erfcx_slope(x, y),), floating=True)
elementwise(
    "log_ndtr",
    1,
    "log_ndtr(a)",
    _scipy("log_ndtr"),
    (lambda g, y, x: g * (math.sqrt(2 / math.pi) / apply("erfcx", x * -math.sqrt(0.5))),),
    floating=True,
)


def _beta_slope(g: Tensor, y: Tensor, a: Tensor, b: Tensor) -> Tensor:
    return g * (digamma(a) - digamma(a + b))


elementwise(
    "beta_ln",
    2,
    "beta_ln(a, b)",
    _scipy("betaln"),
    (_beta_slope, lambda g, y, a, b: _beta_slope(g, y, b, a)),
    floating=True,
    facts=("commutative",),
)


def _float(x: Tensor) -> Tensor:
    return x if is_float(x.dtype) else cast(x, x.graph.float_dtype)


@public
def erfcx(x: Tensor) -> Tensor:
    """``exp(x**2) * erfc(x)``, which neither over- nor underflows for large ``x``; inf for ``x`` far below 0.

    Elementwise, in the shape of ``x``; a float, the graph's for integers. Raises DTypeError where ``x`` is no tensor.

    >>> import graphc as gx
    >>> x = gx.Graph().input("x", (2,), "float64")
    >>> gx.compile([x], gx.erfcx(x), backend="numpy")([0, 100]).round(4).tolist()
    [1.0, 0.0056]
    """
    return apply("erfcx", _float(x))


@public
def ndtr(x: Tensor) -> Tensor:
    """The probability that a standard normal number is at most ``x``, precise where it is small.

    ``erfc(-x / sqrt(2)) / 2``; the derivative is the normal density.

    Elementwise, in the shape of ``x``; a float, the graph's for integers. Raises DTypeError where ``x`` is no tensor.

    >>> import graphc as gx
    >>> x = gx.Graph().input("x", (2,), "float64")
    >>> gx.compile([x], gx.ndtr(x), backend="numpy")([0, 1.96]).round(4).tolist()
    [0.5, 0.975]
    """
    return 0.5 * erfc(_float(x) * -math.sqrt(0.5))


@public
def log_ndtr(x: Tensor) -> Tensor:
    """The logarithm of `ndtr`, right in both tails, as are its derivatives: by `erfcx` below -1, by log1p above.

    Elementwise, in the shape of ``x``; a float, the graph's for integers. Raises DTypeError where ``x`` is no tensor.

    >>> import graphc as gx
    >>> x = gx.Graph().input("x", (2,), "float64")
    >>> gx.compile([x], gx.log_ndtr(x), backend="numpy")([0, -40]).round(4).tolist()
    [-0.6931, -804.6084]
    """
    return apply("log_ndtr", _float(x))


@public
def ndtri(p: Tensor) -> Tensor:
    """The inverse of `ndtr`, by `erfcinv`; -inf at 0, inf at 1, NaN beyond.

    Elementwise, in the shape of ``x``; a float, the graph's for integers. Raises DTypeError where ``x`` is no tensor.

    >>> import graphc as gx
    >>> x = gx.Graph().input("x", (2,), "float64")
    >>> gx.compile([x], gx.ndtri(x), backend="numpy")([0.5, 0.975]).round(4).tolist()
    [-0.0, 1.96]
    """
    return -math.sqrt(2) * erfcinv(2 * _float(p))


@public
def sinc(x: Tensor) -> Tensor:
    """``sin(pi * x) / (pi * x)``, 1 at 0, as NumPy's; near 0 by its series, so that all derivatives are right there.

    Elementwise, in the shape of ``x``; a float, the graph's for integers. Raises DTypeError where ``x`` is no tensor.

    >>> import graphc as gx
    >>> x = gx.Graph().input("x", (2,), "float64")
    >>> gx.compile([x], gx.sinc(x), backend="numpy")([0, 0.5]).round(4).tolist()
    [1.0, 0.6366]
    """
    u = _float(x) * math.pi
    series = polynomial(u * u, [(-1) ** k / math.factorial(2 * k + 1) for k in range(12)])
    near = less(abs(u), 1)
    return where(near, series, sin(u) / u)


@public
def beta_ln(a: Operand, b: Operand) -> Tensor:
    """The logarithm of the beta function, ``lgamma(a) + lgamma(b) - lgamma(a + b)``, precise for large arguments too.

    After Didonato and Morris, Algorithm 708, ACM Transactions on Mathematical Software 18 (1992).

    Elementwise; operands (tensors, arrays, numbers) broadcast, and the result is a float, the graph's for integers.
    Raises ShapeError where they do not, GraphError where none is a tensor.

    >>> import graphc as gx
    >>> x = gx.Graph().input("x", (2,), "float64")
    >>> gx.compile([x], gx.beta_ln(x, 3), backend="numpy")([1, 2]).round(4).tolist()
    [-1.0986, -2.4849]
    """
    return apply("beta_ln", *promoted(a, b, floating=True))


__all__ = ["beta_ln", "erfcx", "log_ndtr", "ndtr", "ndtri", "sinc"]
