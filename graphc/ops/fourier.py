"""Discrete Fourier transforms, as pairs of real and imaginary parts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from graphc.errors import ShapeError
from graphc.ir import dims
from graphc.ir.op import Attrs, Kind, Op, register
from graphc.ir.tensor import Tensor
from graphc.ir.types import TensorType, broadcast_shapes, is_float, normalize_axis
from graphc.ops.apply import apply, cast, promoted, public_in, size_node
from graphc.ops.assembly import concat, flip
from graphc.ops.creation import zeros_like
from graphc.ops.shape import broadcast_to, moveaxis

Pair = tuple[Tensor, Tensor]


def _infer(types: Sequence[TensorType], attrs: Attrs) -> TensorType:
    re, im = types
    if re != im or re.ndim == 0 or not is_float(re.dtype):
        raise ShapeError(f"expected two tensors of floats of one type and at least one axis, found {re} and {im}")
    return TensorType(re.dtype, (*re.shape[:-1], 2, re.shape[-1]))


def _reference(re: Any, im: Any, inverse: bool) -> Any:
    if re.shape[-1] == 0:
        return np.zeros((*re.shape[:-1], 2, 0), re.dtype)
    z = re.astype(np.float64) + 1j * im.astype(np.float64)
    out = np.fft.ifft(z, norm="forward") if inverse else np.fft.fft(z)
    return np.stack([out.real, out.imag], -2).astype(re.dtype)


def _gradient(part: int) -> Any:
    """The adjoint of a transform is the other one, not scaled."""

    def rule(g: Tensor, y: Tensor, re: Tensor, im: Tensor) -> Tensor:
        return apply("fourier", g[..., 0, :], g[..., 1, :], inverse=not y.attrs["inverse"])[..., part, :]

    return rule


register(
    Op(
        "fourier",
        Kind.ROUTINE,
        2,
        _infer,
        _reference,
        (_gradient(0), _gradient(1)),
        code="fourier_row",
        core=(1, 1),
        scratch=lambda types, attrs: dims.multiply(types[0].shape[-1], 48),
        attrs=("inverse",),
        facts=frozenset({"linear"}),
    )
)


def _pair(re: Tensor, im: Tensor | None) -> Pair:
    re = re if is_float(re.dtype) else cast(re, re.graph.float_dtype)
    if im is None:
        return re, zeros_like(re)
    re, im = promoted(re, im, floating=True)
    shape = broadcast_shapes(re.shape, im.shape)
    return broadcast_to(re, shape), broadcast_to(im, shape)


def _along(re: Tensor, im: Tensor, axis: int, inverse: bool, what: str) -> Pair:
    at = normalize_axis(axis, re.ndim, what)
    both = apply("fourier", moveaxis(re, at, -1), moveaxis(im, at, -1), inverse=inverse)
    if inverse:
        both = both / cast(size_node(re.graph, re.shape[at]), re.dtype)
    return moveaxis(both[..., 0, :], -1, at), moveaxis(both[..., 1, :], -1, at)


@public_in("fft")
def fft(re: Tensor, im: Tensor | None = None, axis: int = -1) -> Pair:
    """The discrete Fourier transform along an axis: real and imaginary parts, in the shape of ``re``.

    Element k is the sum of ``(re[j] + 1j * im[j]) * exp(-2j * pi * j * k / n)``; ``im`` is 0 where it is left out. Any
    length n; it is computed in float64. Van Loan, *Computational Frameworks for the Fast Fourier Transform* (1992).

    Floats. Raises ShapeError where an axis does not exist or the parts have two shapes.

    >>> import numpy as np
    >>> import graphc as gx
    >>> g = gx.Graph("wave")
    >>> x = g.input("x", (4,))
    >>> f = gx.compile([x], list(gx.fft.fft(x)), backend="numpy")
    >>> [v.tolist() for v in f(np.array([0, 1, 0, -1], "float32"))]
    [[0.0, 0.0, 0.0, 0.0], [0.0, -2.0, 0.0, 2.0]]
    """
    return _along(*_pair(re, im), axis, False, "fft")


@public_in("fft")
def ifft(re: Tensor, im: Tensor | None = None, axis: int = -1) -> Pair:
    """The inverse of `fft`, with the factor 1/n.

    Floats. Raises ShapeError where an axis does not exist or the parts have two shapes.

    >>> import graphc as gx
    >>> x = gx.Graph().input("x", ("n", 8))
    >>> re, im = gx.fft.ifft(*gx.fft.fft(x))
    >>> re.shape, im.shape
    ((n, 8), (n, 8))
    """
    return _along(*_pair(re, im), axis, True, "ifft")


@public_in("fft")
def rfft(x: Tensor, axis: int = -1) -> Pair:
    """The first n // 2 + 1 elements of `fft` of real numbers, which are all that is not known by symmetry.

    Floats. Raises ShapeError where an axis does not exist or the parts have two shapes.

    >>> import graphc as gx
    >>> x = gx.Graph().input("x", ("n", 8))
    >>> re, im = gx.fft.rfft(x)
    >>> re.shape, im.shape
    ((n, 5), (n, 5))
    """
    at = normalize_axis(axis, x.ndim, "rfft")
    re, im = _along(*_pair(x, None), at, False, "rfft")
    kept = (*(slice(None),) * at, slice(0, dims.floor_divide(x.shape[at], 2) + 1))
    return re[kept], im[kept]


@public_in("fft")
def irfft(re: Tensor, im: Tensor, n: int | None = None, axis: int = -1) -> Tensor:
    """The inverse of `rfft`: ``n`` real numbers, by default the even number 2 (m - 1), m the size of the axis.

    ShapeError where m is not n // 2 + 1.

    A float; all other axes stay.

    >>> import graphc as gx
    >>> x = gx.Graph().input("x", ("n", 8))
    >>> gx.fft.irfft(*gx.fft.rfft(x), n=8).shape
    (n, 8)
    """
    re, im = _pair(re, im)
    at = normalize_axis(axis, re.ndim, "irfft")
    half = re.shape[at]
    size = 2 * (half - 1) if n is None else n
    if isinstance(half, int) and isinstance(size, int) and half != size // 2 + 1:
        raise ShapeError(f"irfft: expected {size // 2 + 1} elements for n = {size}, found {half}")
    re, im = moveaxis(re, at, -1), moveaxis(im, at, -1)
    mirrored = slice(1, size - half + 1)
    whole = concat([re, flip(re[..., mirrored], -1)], -1), concat([im, -flip(im[..., mirrored], -1)], -1)
    return moveaxis(_along(*whole, -1, True, "irfft")[0], -1, at)


@public_in("fft")
def fft2(re: Tensor, im: Tensor | None = None) -> Pair:
    """`fft` along the last two axes.

    Floats. Raises ShapeError where an axis does not exist or the parts have two shapes.

    >>> import graphc as gx
    >>> x = gx.Graph().input("x", ("n", 8))
    >>> re, im = gx.fft.fft2(x)
    >>> re.shape, im.shape
    ((n, 8), (n, 8))
    """
    return fft(*fft(re, im, -1), -2)


@public_in("fft")
def ifft2(re: Tensor, im: Tensor | None = None) -> Pair:
    """`ifft` along the last two axes.

    Floats. Raises ShapeError where an axis does not exist or the parts have two shapes.

    >>> import graphc as gx
    >>> x = gx.Graph().input("x", ("n", 8))
    >>> re, im = gx.fft.ifft2(*gx.fft.fft2(x))
    >>> re.shape, im.shape
    ((n, 8), (n, 8))
    """
    return ifft(*ifft(re, im, -1), -2)
