"""Normalisation over a batch, over groups of channels and of weights, composed of primitives."""

from __future__ import annotations

from collections.abc import Sequence

from graphc.errors import ShapeError
from graphc.ir import dims
from graphc.ir.dims import Size
from graphc.ir.tensor import Tensor
from graphc.ir.types import normalize_axis
from graphc.ops.apply import Operand, cast, promoted, public, size_node, tensor
from graphc.ops.elementwise import maximum, stop_gradient
from graphc.ops.functions import rsqrt
from graphc.ops.linalg import matmul
from graphc.ops.reduce import mean, norm, sum
from graphc.ops.shape import reshape


def _along(value: Operand, x: Tensor, axis: int) -> Tensor:
    """A value for each place of one axis of ``x``, so that it broadcasts there."""
    given = value if isinstance(value, Tensor) else tensor(value, x.graph)
    return given if given.ndim != 1 else reshape(given, tuple(-1 if a == axis else 1 for a in range(x.ndim)))


def _affine(y: Tensor, weight: Tensor | None, bias: Tensor | None, axis: int) -> Tensor:
    y = y if weight is None else y * _along(weight, y, axis)
    return y if bias is None else y + _along(bias, y, axis)


def _moments(x: Tensor, axes: Sequence[int]) -> tuple[Tensor, Tensor, Tensor]:
    """The mean along axes, what ``x`` is without it, and the variance; axes stay with size 1."""
    average = mean(x, tuple(axes), keepdims=True)
    centred = x - average
    return average, centred, mean(centred * centred, tuple(axes), keepdims=True)


@public
def batch_norm(
    x: Tensor,
    average: Operand,
    variance: Operand,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
    *,
    axis: int = -1,
    training: bool = False,
    momentum: float = 0.1,
) -> Tensor:
    """``x`` brought to mean 0 and variance 1 with the given statistics of one axis (Ioffe and Szegedy 2015).

    The statistics, ``weight`` and ``bias`` hold a number for each place of ``axis``, of channels: 1 for images. In
    ``training`` the mean and variance of ``x`` itself over all other axes take the place of the given ones, and three
    tensors come back: the result, and the given statistics moved by ``momentum`` towards those of ``x`` (the variance
    by that over ``n - 1``), as in torch. Raises ShapeError for an axis that does not exist.

    >>> from graphc.ir.graph import Graph
    >>> g = Graph("g")
    >>> x = g.input("x", ("n", 3, 8, 8))
    >>> y, average, variance = batch_norm(x, g.zeros(3), g.ones(3), axis=1, training=True)
    >>> y.shape, average.shape
    ((n, 3, 8, 8), (3,))
    """
    a = normalize_axis(axis, x.ndim, "batch_norm")
    if not training:
        shifted = x - _along(average, x, a)
        return _affine(shifted * rsqrt(_along(variance, x, a) + eps), weight, bias, a)
    rest = [k for k in range(x.ndim) if k != a]
    centre, centred, spread = _moments(x, rest)
    y = _affine(centred * rsqrt(spread + eps), weight, bias, a)
    count = dims.product(x.shape[k] for k in rest)
    graph = x.graph
    unbiased = spread * (cast(size_node(graph, count), x.dtype) / cast(_at_least_1(x, count - 1), x.dtype))
    moved = []
    for old, new in ((average, centre), (variance, unbiased)):
        held = old if isinstance(old, Tensor) else tensor(old, graph)
        new = cast(stop_gradient(reshape(new, (x.shape[a],))), held.dtype)
        moved.append(held + momentum * (new - held))
    return y, *moved  # type: ignore[return-value]


def _at_least_1(x: Tensor, size: Size) -> Tensor:
    return maximum(size_node(x.graph, size), 1)


@public
def group_norm(
    x: Tensor, num_groups: int, weight: Tensor | None = None, bias: Tensor | None = None, eps: float = 1e-5
) -> Tensor:
    """Groups of channels, axis 1, of each example brought to mean 0 and variance 1 (Wu and He 2018).

    ``weight`` and ``bias`` hold a number for each channel. Raises ShapeError where the channels do not divide.

    >>> from graphc.ir.graph import Graph
    >>> group_norm(Graph("g").input("x", ("n", 6, 4, 4)), 3).shape
    (n, 6, 4, 4)
    """
    if x.ndim < 2:
        raise ShapeError(f"expected examples and channels, found {x.type}")
    channels = x.shape[1]
    if num_groups < 1 or (isinstance(channels, int) and channels % num_groups):
        raise ShapeError(f"cannot cut the {channels} channels of {x.type} into {num_groups} groups")
    each = dims.floor_divide(channels, num_groups)
    wide = reshape(x, (x.shape[0], num_groups, each, *x.shape[2:]))
    _, centred, spread = _moments(wide, range(2, wide.ndim))
    return _affine(reshape(centred * rsqrt(spread + eps), x.shape), weight, bias, 1)


@public
def instance_norm(x: Tensor, weight: Tensor | None = None, bias: Tensor | None = None, eps: float = 1e-5) -> Tensor:
    """Each channel, axis 1, of each example brought to mean 0 and variance 1 (Ulyanov et al. 2016); as `group_norm`.

    Raises ShapeError where there is nothing but examples and channels.

    Shape and dtype of ``x``, a float.

    >>> import graphc as gx
    >>> x = gx.Graph().input("x", (1, 1, 2), "float64")
    >>> gx.compile([x], gx.instance_norm(x), backend="numpy")([[[1, 3]]]).round(3).tolist()
    [[[-1.0, 1.0]]]
    """
    if x.ndim < 3:
        raise ShapeError(f"expected examples, channels and more axes, found {x.type}")
    _, centred, spread = _moments(x, range(2, x.ndim))
    return _affine(centred * rsqrt(spread + eps), weight, bias, 1)


@public
def weight_norm(v: Tensor, length: Operand, axis: int = 0) -> Tensor:
    """``v`` with each slice along ``axis`` scaled to a 2-norm of ``length`` (Salimans and Kingma 2016).

    ``length`` is a number, or a vector with one for each slice.

    Shape of ``v``; a float. Raises ShapeError where ``length`` does not fit.

    >>> import graphc as gx
    >>> x = gx.Graph().input("x", (1, 2), "float64")
    >>> gx.compile([x], gx.weight_norm(x, 10.0), backend="numpy")([[3, 4]]).round(3).tolist()
    [[6.0, 8.0]]
    """
    a = normalize_axis(axis, v.ndim, "weight_norm")
    v, wanted = promoted(v, length, floating=True)
    rest = tuple(k for k in range(v.ndim) if k != a)
    return v * (_along(wanted, v, a) / norm(v, 2, rest, keepdims=True))


@public
def spectral_norm(weight: Tensor, u: Tensor, n_iterations: int = 1, eps: float = 1e-12) -> Tensor:
    """``weight`` over its largest singular value, found by power iteration, and the next ``u`` (Miyato et al. 2018).

    ``weight`` is a matrix of its first axis and all others; ``u``, a vector along the first, is a variable that holds
    what the last call came to. No derivative goes through the iteration. Raises ShapeError for fewer than two axes.

    A float, the graph's for integers.

    >>> from graphc.ir.graph import Graph
    >>> g = Graph("g")
    >>> scaled, u = spectral_norm(g.input("w", (6, 3, 3)), g.input("u", (6,)))
    >>> scaled.shape, u.shape
    ((6, 3, 3), (6,))
    """
    if weight.ndim < 2 or u.ndim != 1:
        raise ShapeError(f"expected a weight of at least two axes and a vector, found {weight.type} and {u.type}")
    matrix = reshape(weight, (weight.shape[0], dims.product(weight.shape[1:])))
    held = stop_gradient(matrix)
    if n_iterations < 1:
        raise ShapeError(f"expected at least one iteration, found {n_iterations}")
    for _ in range(n_iterations):
        v = _direction(matmul(u, held), eps)
        u = _direction(matmul(held, v), eps)
    u, v = stop_gradient(u), stop_gradient(v)
    return weight / sum(u * matmul(matrix, v)), u  # type: ignore[return-value]


def _direction(x: Tensor, eps: float) -> Tensor:
    return x / maximum(norm(x), eps)


__all__ = ["batch_norm", "group_norm", "instance_norm", "spectral_norm", "weight_norm"]
