"""The softmax family and normalisation, composed of primitives; fusion makes one pass over each row of them."""

from __future__ import annotations

from graphc.ir.tensor import Tensor
from graphc.ir.types import is_float, normalize_axes
from graphc.ops.apply import Operand, cast, public, tensor
from graphc.ops.elementwise import equal, isfinite, stop_gradient, where
from graphc.ops.functions import exp, log, rsqrt
from graphc.ops.reduce import Axis, max, mean, sum
from graphc.ops.shape import squeeze


def _shift(x: Tensor, axis: Axis) -> Tensor:
    """The largest element along ``axis``, or 0 where that is not finite: what exponents are taken relative to."""
    top = max(stop_gradient(x), axis, keepdims=True)
    return stop_gradient(where(isfinite(top), top, 0))


def _float(x: Tensor) -> Tensor:
    return x if is_float(x.dtype) else cast(x, x.graph.float_dtype)


@public
def softmax(x: Tensor, axis: int = -1) -> Tensor:
    """``exp(x) / sum(exp(x))`` along ``axis``, without overflow; a row of -inf gives 0 and gradient 0."""
    x = _float(x)
    e = exp(x - _shift(x, axis))
    total = sum(e, axis, keepdims=True)
    return e / where(equal(total, 0), 1, total)


@public
def log_softmax(x: Tensor, axis: int = -1) -> Tensor:
    """``log(softmax(x))``, exact for small probabilities; a row of -inf gives -inf and gradient 0."""
    x = _float(x)
    shifted = x - _shift(x, axis)
    total = sum(exp(shifted), axis, keepdims=True)
    empty = equal(total, 0)
    return where(empty, float("-inf"), shifted - log(where(empty, 1, total)))


@public
def logsumexp(x: Tensor, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """``log(sum(exp(x)))`` without overflow; a row of -inf gives -inf and gradient 0."""
    x = _float(x)
    axes = normalize_axes(axis, x.ndim, "logsumexp")
    shift = _shift(x, axes)
    total = sum(exp(x - shift), axes, keepdims=True)
    empty = equal(total, 0)
    out = where(empty, float("-inf"), log(where(empty, 1, total)) + shift)
    return out if keepdims else squeeze(out, axes) if axes else out


@public
def layer_norm(x: Tensor, weight: Tensor | None = None, bias: Tensor | None = None, eps: float = 1e-5) -> Tensor:
    """Rows brought to mean 0 and variance 1 along the last axis (Ba, Kiros and Hinton 2016)."""
    centred = x - mean(x, -1, keepdims=True)
    y = centred * rsqrt(mean(centred * centred, -1, keepdims=True) + eps)
    return _affine(y, weight, bias)


@public
def rms_norm(x: Tensor, weight: Tensor | None = None, eps: float = 1e-6) -> Tensor:
    """Rows divided by their root mean square (Zhang and Sennrich 2019)."""
    return _affine(x * rsqrt(mean(x * x, -1, keepdims=True) + eps), weight, None)


@public
def batch_norm(
    x: Tensor,
    average: Operand,
    variance: Operand,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """``x`` brought to mean 0 and variance 1 with the given statistics of its last axis (Ioffe and Szegedy 2015)."""
    return _affine((x - average) * rsqrt(tensor(variance, x.graph) + eps), weight, bias)


def _affine(y: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
    y = y if weight is None else y * weight
    return y if bias is None else y + bias
