"""Activations as functions of primitives."""

from __future__ import annotations

import math

from graphc.ir.tensor import Tensor
from graphc.ops.apply import promoted, public
from graphc.ops.elementwise import clip, greater, slope_at, where
from graphc.ops.functions import erfc, expm1, relu, sigmoid, softplus, tanh


@public
def leaky_relu(x: Tensor, negative_slope: float = 0.01) -> Tensor:
    """``x`` above 0, ``negative_slope * x`` elsewhere.

    Elementwise, in the shape of ``x``; a float, the graph's for integers. Raises GraphError where ``x`` is no tensor.

    >>> import graphc as gx
    >>> x = gx.Graph().input("x", (2,), "float64")
    >>> gx.compile([x], gx.leaky_relu(x), backend="numpy")([-1, 1]).round(4).tolist()
    [-0.01, 1.0]
    """
    x, slope = promoted(x, negative_slope, floating=True)
    return x * where(greater(x, 0), 1, slope_at(x, slope))


@public
def relu6(x: Tensor) -> Tensor:
    """``min(max(x, 0), 6)``.

    Elementwise; shape and dtype are those of ``x``, of bools a float. Raises GraphError where ``x`` is no tensor.

    >>> import graphc as gx
    >>> x = gx.Graph().input("x", (2,), "float64")
    >>> gx.compile([x], gx.relu6(x), backend="numpy")([-1, 8]).round(4).tolist()
    [0.0, 6.0]
    """
    return where(greater(x, 6), 6, relu(x))


@public
def elu(x: Tensor, alpha: float = 1.0) -> Tensor:
    """``x`` above 0, ``alpha * (exp(x) - 1)`` elsewhere (Clevert et al. 2016).

    Elementwise, in the shape of ``x``; a float, the graph's for integers. Raises GraphError where ``x`` is no tensor.

    >>> import graphc as gx
    >>> x = gx.Graph().input("x", (2,), "float64")
    >>> gx.compile([x], gx.elu(x), backend="numpy")([-1, 1]).round(4).tolist()
    [-0.6321, 1.0]
    """
    return where(greater(x, 0), x, alpha * expm1(x))


@public
def selu(x: Tensor) -> Tensor:
    """Scaled `elu` with fixed point mean 0, variance 1 (Klambauer et al. 2017).

    Elementwise, in the shape of ``x``; a float, the graph's for integers. Raises GraphError where ``x`` is no tensor.

    >>> import graphc as gx
    >>> x = gx.Graph().input("x", (2,), "float64")
    >>> gx.compile([x], gx.selu(x), backend="numpy")([-1, 1]).round(4).tolist()
    [-1.1113, 1.0507]
    """
    return 1.0507009873554804934193349852946 * elu(x, 1.6732632423543772848170429916717)


@public
def gelu(x: Tensor, approximate: bool | str = False) -> Tensor:
    """``x * Phi(x)``, or its tanh approximation, True or "tanh" (Hendrycks and Gimpel 2016).

    Elementwise, in the shape of ``x``; a float, the graph's for integers. Raises DTypeError where ``x`` is no tensor.

    >>> import graphc as gx
    >>> x = gx.Graph().input("x", (2,), "float64")
    >>> gx.compile([x], gx.gelu(x), backend="numpy")([-1, 1]).round(4).tolist()
    [-0.1587, 0.8413]
    """
    if approximate in (True, "tanh"):  # (1 + tanh(u)) / 2 = sigmoid(2 u), 0 or 1 long before |x| = 100
        u = clip(x, -100, 100)
        return x * sigmoid(math.sqrt(8 / math.pi) * (u + 0.044715 * (u * u * u)))
    return 0.5 * x * erfc(x * -math.sqrt(0.5))


@public
def silu(x: Tensor) -> Tensor:
    """``x * sigmoid(x)``.

    Elementwise, in the shape of ``x``; a float, the graph's for integers. Raises DTypeError where ``x`` is no tensor.

    >>> import graphc as gx
    >>> x = gx.Graph().input("x", (2,), "float64")
    >>> gx.compile([x], gx.silu(x), backend="numpy")([-1, 1]).round(4).tolist()
    [-0.2689, 0.7311]
    """
    return x * sigmoid(x)


@public
def mish(x: Tensor) -> Tensor:
    """``x * tanh(softplus(x))`` (Misra 2019).

    Elementwise, in the shape of ``x``; a float, the graph's for integers. Raises DTypeError where ``x`` is no tensor.

    >>> import graphc as gx
    >>> x = gx.Graph().input("x", (2,), "float64")
    >>> gx.compile([x], gx.mish(x), backend="numpy")([-1, 1]).round(4).tolist()
    [-0.3034, 0.8651]
    """
    return x * tanh(softplus(x))


@public
def hard_sigmoid(x: Tensor) -> Tensor:
    """``relu6(x + 3) / 6``.

    Elementwise, in the shape of ``x``; a float, the graph's for integers. Raises GraphError where ``x`` is no tensor.

    >>> import graphc as gx
    >>> x = gx.Graph().input("x", (2,), "float64")
    >>> gx.compile([x], gx.hard_sigmoid(x), backend="numpy")([-1, 1]).round(4).tolist()
    [0.3333, 0.6667]
    """
    return relu6(x + 3) / 6


@public
def hard_swish(x: Tensor) -> Tensor:
    """``x * hard_sigmoid(x)``.

    Elementwise, in the shape of ``x``; a float, the graph's for integers. Raises GraphError where ``x`` is no tensor.

    >>> import graphc as gx
    >>> x = gx.Graph().input("x", (2,), "float64")
    >>> gx.compile([x], gx.hard_swish(x), backend="numpy")([-1, 1]).round(4).tolist()
    [-0.3333, 0.6667]
    """
    return x * hard_sigmoid(x)


@public
def hard_tanh(x: Tensor) -> Tensor:
    """``x`` kept within [-1, 1].

    Elementwise; shape and dtype are those of ``x``, of bools int64. Raises GraphError where ``x`` is no tensor.

    >>> import graphc as gx
    >>> x = gx.Graph().input("x", (2,), "float64")
    >>> gx.compile([x], gx.hard_tanh(x), backend="numpy")([-3, 0.5]).round(4).tolist()
    [-1.0, 0.5]
    """
    return clip(x, -1, 1)
