"""The softmax family and normalisation, composed of primitives; fusion makes one pass over each row of them."""

from __future__ import annotations

from graphc.ir.tensor import Tensor
from graphc.ir.types import is_float, normalize_axes
from graphc.ops.apply import apply, cast, public
from graphc.ops.elementwise import equal, isfinite, stop_gradient, where
from graphc.ops.functions import exp, log, rsqrt
from graphc.ops.reduce import Axis, mean, sum
from graphc.ops.shape import squeeze


def _top(x: Tensor, axis: Axis) -> Tensor:
    """The largest element along ``axis``, -inf of none: what exponents are taken relative to."""
    return apply("supremum", stop_gradient(x), axes=normalize_axes(axis, x.ndim, "softmax"), keepdims=True)


def _float(x: Tensor) -> Tensor:
    return x if is_float(x.dtype) else cast(x, x.graph.float_dtype)


def shifted(x: Tensor, axis: Axis) -> tuple[Tensor, Tensor]:
    """``x`` less its largest element along ``axis``, and the logarithm of the sum of its exponentials."""
    below = x - _top(x, axis)
    return below, log(sum(exp(below), axis, keepdims=True))


@public
def softmax(x: Tensor, axis: int = -1) -> Tensor:
    """``exp(x) / sum(exp(x))`` along ``axis``, without overflow; NaN where a row holds inf, or nothing but -inf.

    Shape of ``x``; a float, the graph's for integers. Raises ShapeError where the axis does not exist.

    >>> import graphc as gx
    >>> x = gx.Graph().input("x", (2,), "float64")
    >>> gx.compile([x], gx.softmax(x), backend="numpy")([0, 0]).tolist()
    [0.5, 0.5]
    """
    x = _float(x)
    e = exp(x - _top(x, axis))
    return e / sum(e, axis, keepdims=True)


@public
def log_softmax(x: Tensor, axis: int = -1) -> Tensor:
    """``log(softmax(x))``, exact for small probabilities; NaN where `softmax` is.

    Shape of ``x``; a float, the graph's for integers. Raises ShapeError where the axis does not exist.

    >>> import graphc as gx
    >>> x = gx.Graph().input("x", (2,), "float64")
    >>> gx.compile([x], gx.log_softmax(x), backend="numpy")([0, -1000]).tolist()
    [0.0, -1000.0]
    """
    below, total = shifted(_float(x), axis)
    return below - total


@public
def logsumexp(x: Tensor, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """``log(sum(exp(x)))`` without overflow; inf where a row holds it. A row of -inf gives -inf and gradient 0.

    ``axis`` is an int, several ints or None for all axes; these go, or are kept with size 1 by ``keepdims``. A float,
    the graph's for integers. Raises ShapeError where an axis does not exist.

    >>> import graphc as gx
    >>> x = gx.Graph().input("x", (2,), "float64")
    >>> gx.compile([x], gx.logsumexp(x), backend="numpy")([1000, 1000]).round(2).item()
    1000.69
    """
    x = _float(x)
    axes = normalize_axes(axis, x.ndim, "logsumexp")
    top = _top(x, axes)
    shift = where(isfinite(top), top, 0)
    total = sum(exp(x - shift), axes, keepdims=True)
    out = where(equal(total, 0), float("-inf"), log(total) + shift)
    return out if keepdims else squeeze(out, axes) if axes else out


@public
def layer_norm(x: Tensor, weight: Tensor | None = None, bias: Tensor | None = None, eps: float = 1e-5) -> Tensor:
    """Rows brought to mean 0 and variance 1 along the last axis (Ba, Kiros and Hinton 2016).

    ``weight`` and ``bias`` (features,), where they are given, multiply and are added. Shape of ``x``; a float. Raises
    ShapeError where ``x`` has no axis.

    >>> import graphc as gx
    >>> x = gx.Graph().input("x", (3,), "float64")
    >>> gx.compile([x], gx.layer_norm(x), backend="numpy")([1, 2, 3]).round(3).tolist()
    [-1.225, 0.0, 1.225]
    """
    centred = x - mean(x, -1, keepdims=True)
    y = centred * rsqrt(mean(centred * centred, -1, keepdims=True) + eps)
    return _affine(y, weight, bias)


@public
def rms_norm(x: Tensor, weight: Tensor | None = None, eps: float = 1e-6) -> Tensor:
    """Rows divided by their root mean square (Zhang and Sennrich 2019).

    ``weight`` (features,), where it is given, multiplies. Shape of ``x``; a float. Raises ShapeError where ``x`` has no
    axis.

    >>> import graphc as gx
    >>> x = gx.Graph().input("x", (2,), "float64")
    >>> gx.compile([x], gx.rms_norm(x), backend="numpy")([3, 4]).round(3).tolist()
    [0.849, 1.131]
    """
    return _affine(x * rsqrt(mean(x * x, -1, keepdims=True) + eps), weight, None)


def _affine(y: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
    y = y if weight is None else y * weight
    return y if bias is None else y + bias
