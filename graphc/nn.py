"""Layers: functions of a graph, a tensor and sizes that make their parameters, under a scope of the layer's name.

``gx.nn.linear(g, x, 10, name="out")`` makes the parameters ``out/weight`` and ``out/bias``; where the name is taken,
``out_2/weight`` and so on. First values are torch's, drawn from a seed that by default follows from the name.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from graphc.errors import DTypeError, GraphError, ShapeError, caller
from graphc.ir.graph import Graph, located
from graphc.ir.tensor import Tensor
from graphc.ir.types import is_float
from graphc.ops import convolution, index, linalg, normalisation, random, sequence, softmax
from graphc.ops.apply import Operand
from graphc.ops.shape import moveaxis, reshape
from graphc.ops.signature import found


@contextmanager
def _layer(g: Graph, x: Tensor, name: str) -> Iterator[None]:
    """A scope of that name, or of the first with a number that is free; errors name the layer."""
    with located(f"nn.{name}", caller()):
        if not isinstance(g, Graph):
            raise GraphError(f"expected a graph, found {found(g)}")
        if not isinstance(x, Tensor):
            raise DTypeError(f"expected a tensor, found {found(x)}")
        free, k = name, 1
        while any(known == g._full(free) or known.startswith(f"{g._full(free)}/") for known in g._names):
            k += 1
            free = f"{name}_{k}"
        with g.scope(free):
            yield


def _size(x: Tensor, axis: int) -> int:
    """A size that parameters have, which must be known."""
    if not -x.ndim <= axis < x.ndim:
        raise ShapeError(f"axis {axis} does not exist in {x.type}")
    size = x.shape[axis]
    if not isinstance(size, int):
        raise ShapeError(f"the size of axis {axis} of {x.type} must be known: parameters have it")
    return size


def _uniform(g: Graph, x: Tensor, name: str, shape: Sequence[int], bound: float, seed: int | None) -> Tensor:
    """A parameter of uniform numbers between ``-bound`` and ``bound``."""
    full = g._full(name)
    rng = np.random.default_rng(zlib.crc32(full.encode()) if seed is None else [seed, zlib.crc32(name.encode())])
    return g.parameter(name, rng.uniform(-bound, bound, tuple(shape)).astype(_dtype(x)))


def _filled(g: Graph, x: Tensor, name: str, size: int, value: float) -> Tensor:
    return g.parameter(name, np.full(size, value, _dtype(x)))


def _dtype(x: Tensor) -> Any:
    return x.dtype if is_float(x.dtype) else x.graph.float_dtype


def linear(
    g: Graph, x: Tensor, units: int, *, bias: bool = True, name: str = "linear", seed: int | None = None
) -> Tensor:
    """``x @ weight + bias`` along the last axis: (..., features) to (..., units).

    Parameters ``weight`` (features, units) and ``bias`` (units,), uniform within ``1 / sqrt(features)``. Raises
    ShapeError where the features are not known.

    A float like ``x``.

    >>> g = Graph("g")
    >>> linear(g, g.input("x", ("n", 784)), 10, name="out").shape, list(g.parameters)
    ((n, 10), ['out/weight', 'out/bias'])
    """
    with _layer(g, x, name):
        features = _size(x, -1)
        bound = 1 / math.sqrt(max(features, 1))
        weight = _uniform(g, x, "weight", (features, units), bound, seed)
        return linalg.linear(x, weight, _uniform(g, x, "bias", (units,), bound, seed) if bias else None)


def conv(
    g: Graph,
    x: Tensor,
    channels: int,
    kernel_size: int | Sequence[int],
    *,
    stride: Any = 1,
    padding: Any = "valid",
    dilation: Any = 1,
    groups: int = 1,
    bias: bool = True,
    name: str = "conv",
    seed: int | None = None,
) -> Tensor:
    """A convolution of one to three axes: (n, channels, ...), as `gx.conv1d` to `gx.conv3d`.

    Parameters ``weight`` (channels, inputs / groups, window ...) and ``bias`` (channels,), uniform within one over the
    root of how many elements a window has. Raises ShapeError for any other number of axes.

    >>> g = Graph("g")
    >>> conv(g, g.input("x", ("n", 1, 28, 28)), 6, 5).shape, list(g.parameters)
    ((n, 6, 24, 24), ['conv/weight', 'conv/bias'])
    """
    with _layer(g, x, name):
        functions = {3: convolution.conv1d, 4: convolution.conv2d, 5: convolution.conv3d}
        if x.ndim not in functions:
            raise ShapeError(f"expected examples, channels and one to three axes, found {x.type}")
        window = (kernel_size,) * (x.ndim - 2) if isinstance(kernel_size, int) else tuple(kernel_size)
        inputs = _size(x, 1) // groups
        bound = 1 / math.sqrt(max(inputs * math.prod(window), 1))
        weight = _uniform(g, x, "weight", (channels, inputs, *window), bound, seed)
        b = _uniform(g, x, "bias", (channels,), bound, seed) if bias else None
        options = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
        return functions[x.ndim](x, weight, b, **options)


def layer_norm(g: Graph, x: Tensor, *, eps: float = 1e-5, name: str = "layer_norm") -> Tensor:
    """Rows with mean 0 and variance 1, times ``weight`` plus ``bias`` (features,), at first ones and zeros.

    Shape and dtype of ``x``, a float. Raises ShapeError where the last size is not known.

    >>> g = Graph("g")
    >>> x = g.input("x", ("n", 8))
    >>> layer_norm(g, x).shape, list(g.parameters)
    ((n, 8), ['layer_norm/weight', 'layer_norm/bias'])
    """
    with _layer(g, x, name):
        n = _size(x, -1)
        return softmax.layer_norm(x, _filled(g, x, "weight", n, 1), _filled(g, x, "bias", n, 0), eps)


def rms_norm(g: Graph, x: Tensor, *, eps: float = 1e-6, name: str = "rms_norm") -> Tensor:
    """Rows over their root mean square, times ``weight`` (features,), at first ones.

    Shape and dtype of ``x``, a float. Raises ShapeError where the last size is not known.

    >>> g = Graph("g")
    >>> x = g.input("x", ("n", 8))
    >>> rms_norm(g, x).shape, list(g.parameters)
    ((n, 8), ['rms_norm/weight'])
    """
    with _layer(g, x, name):
        return softmax.rms_norm(x, _filled(g, x, "weight", _size(x, -1), 1), eps)


def group_norm(g: Graph, x: Tensor, num_groups: int, *, eps: float = 1e-5, name: str = "group_norm") -> Tensor:
    """`gx.group_norm` with ``weight`` and ``bias`` for each channel, at first ones and zeros.

    ``x`` is (n, channels, ...), a float; shape and dtype stay. Raises ShapeError where the groups do not divide the
    channels.

    >>> g = Graph("g")
    >>> group_norm(g, g.input("x", ("n", 6, 8, 8)), 3).shape, list(g.parameters)
    ((n, 6, 8, 8), ['group_norm/weight', 'group_norm/bias'])
    """
    with _layer(g, x, name):
        n = _size(x, 1)
        weight, bias = _filled(g, x, "weight", n, 1), _filled(g, x, "bias", n, 0)
        return normalisation.group_norm(x, num_groups, weight, bias, eps)


def batch_norm(
    g: Graph,
    x: Tensor,
    *,
    axis: int | None = None,
    momentum: float = 0.1,
    eps: float = 1e-5,
    name: str = "batch_norm",
) -> Tensor:
    """`gx.batch_norm` in training, with ``weight`` and ``bias`` for each place of ``axis``: 1 where there are channels.

    The variables ``average`` and ``variance`` move towards the statistics of each batch: an optimiser's ``updates`` do
    that too. `gx.inference` gives the result with these variables in place of the batch's statistics.

    Shape and dtype of ``x``, a float. Raises ShapeError where the size of ``axis`` is not known.

    >>> g = Graph("g")
    >>> y = batch_norm(g, g.input("x", ("n", 3, 8, 8)))
    >>> list(g.parameters), list(g.variables)
    (['batch_norm/weight', 'batch_norm/bias'], ['batch_norm/average', 'batch_norm/variance'])
    """
    with _layer(g, x, name):
        along = (1 if x.ndim > 2 else -1) if axis is None else axis
        n = _size(x, along)
        weight, bias = _filled(g, x, "weight", n, 1), _filled(g, x, "bias", n, 0)
        average = g.variable("average", np.zeros(n, _dtype(x)))
        variance = g.variable("variance", np.ones(n, _dtype(x)))
        told = (x, average, variance, weight, bias, eps)
        kept = normalisation.batch_norm(*told, axis=along)
        results: Any = normalisation.batch_norm(*told, axis=along, training=True, momentum=momentum)
        y: Tensor = results[0]
        y.graph.noted[y.id] = [(average.id, results[1].id), (variance.id, results[2].id)]
        y.graph.dropouts[y.id] = kept.id
        return y


def embedding(
    g: Graph, indices: Tensor, n: int, units: int, *, name: str = "embedding", seed: int | None = None
) -> Tensor:
    """Rows of a ``weight`` (n, units) at ``indices``, at first standard normal numbers.

    Integers (...) give floats (..., units). Raises DTypeError for other indices; one out of range is an InputIndexError
    when called.

    >>> g = Graph("g")
    >>> embedding(g, g.input("words", ("n", 7), "int64"), 100, 16).shape
    (n, 7, 16)
    """
    with _layer(g, indices, name):
        rng = np.random.default_rng(zlib.crc32(g._full("weight").encode()) if seed is None else seed)
        weight = g.parameter("weight", rng.normal(size=(n, units)).astype(g.float_dtype))
        return index.embedding(indices, weight)


def dropout(g: Graph, x: Tensor, rate: float = 0.5, *, key: Tensor | None = None, name: str = "dropout") -> Tensor:
    """`gx.dropout` with a random key of its own, the variable ``key``, unless one is given.

    Shape and dtype of ``x``, a float. Raises ShapeError where ``rate`` is not in [0, 1).

    >>> g = Graph("g")
    >>> x = g.input("x", ("n", 8))
    >>> dropout(g, x, 0.5).shape, list(g.variables)
    ((n, 8), ['dropout/key'])
    """
    with _layer(g, x, name):
        seed = zlib.crc32(g._full("key").encode())
        return random.dropout(x, rate, key=g.random_key(seed) if key is None else key)


def attention(
    g: Graph,
    x: Tensor,
    heads: int,
    *,
    mask: Operand | None = None,
    is_causal: bool = False,
    bias: bool = True,
    name: str = "attention",
    seed: int | None = None,
) -> Tensor:
    """Attention of several heads of a sequence to itself (Vaswani et al. 2017): (..., places, features) to the same.

    Four `linear` layers ``query``, ``key``, ``value`` and ``out``; heads share the features equally. Masks are those of
    `gx.scaled_dot_product_attention`. Raises ShapeError where the heads do not divide the features.

    A float like ``x``.

    >>> g = Graph("g")
    >>> attention(g, g.input("x", ("n", "places", 8)), heads=2, is_causal=True).shape
    (n, places, 8)
    """
    with _layer(g, x, name):
        features = _size(x, -1)
        if x.ndim < 2 or heads < 1 or features % heads:
            raise ShapeError(f"cannot share the features of {x.type} among {heads} heads")

        def part(name: str) -> Tensor:
            y = linear(g, x, features, bias=bias, name=name, seed=seed)
            return moveaxis(reshape(y, (*y.shape[:-1], heads, features // heads)), -2, -3)

        parts = (part("query"), part("key"), part("value"))
        y = sequence.scaled_dot_product_attention(*parts, mask, is_causal=is_causal)
        return linear(g, reshape(moveaxis(y, -3, -2), x.shape), features, bias=bias, name="out", seed=seed)


def _weights(g: Graph, x: Tensor, h: Tensor, rows: int, bias: bool, seed: int | None) -> list[Tensor]:
    """The weights of a recurrent cell, in torch's layout."""
    inputs, units = _size(x, -1), _size(h, -1)
    shapes: dict[str, tuple[int, ...]] = {"w_ih": (rows * units, inputs), "w_hh": (rows * units, units)}
    shapes |= {"b_ih": (rows * units,), "b_hh": (rows * units,)} if bias else {}
    return [_uniform(g, x, key, shape, 1 / math.sqrt(units), seed) for key, shape in shapes.items()]


def rnn(g: Graph, x: Tensor, h: Tensor, *, bias: bool = True, name: str = "rnn", seed: int | None = None) -> Tensor:
    """One step of `gx.rnn_cell`, with its weights; ``h`` says how many units there are.

    ``x`` is (..., inputs), ``h`` (..., units), and a float (..., units) comes back. Raises ShapeError where the last
    size is not known.

    >>> g = Graph("g")
    >>> x = g.input("x", ("n", 8))
    >>> rnn(g, x, g.input("h", ("n", 4))).shape, list(g.parameters)
    ((n, 4), ['rnn/w_ih', 'rnn/w_hh', 'rnn/b_ih', 'rnn/b_hh'])
    """
    with _layer(g, x, name):
        return sequence.rnn_cell(x, h, *_weights(g, x, h, 1, bias, seed))


def gru(g: Graph, x: Tensor, h: Tensor, *, bias: bool = True, name: str = "gru", seed: int | None = None) -> Tensor:
    """One step of `gx.gru_cell`, with its weights.

    ``x`` is (..., inputs), ``h`` (..., units), and a float (..., units) comes back. Raises ShapeError where the last
    size is not known.

    >>> g = Graph("g")
    >>> x = g.input("x", ("n", 8))
    >>> gru(g, x, g.input("h", ("n", 4))).shape
    (n, 4)
    """
    with _layer(g, x, name):
        return sequence.gru_cell(x, h, *_weights(g, x, h, 3, bias, seed))


def lstm(
    g: Graph, x: Tensor, state: tuple[Tensor, Tensor], *, bias: bool = True, name: str = "lstm", seed: int | None = None
) -> tuple[Tensor, Tensor]:
    """One step of `gx.lstm_cell`, with its weights; ``state`` is ``(h, c)``, and so is what comes back.

    ``x`` is (..., inputs), ``h`` and ``c`` are (..., units), floats. Raises ShapeError where the last size is not
    known.

    >>> g = Graph("g")
    >>> x = g.input("x", ("n", 8))
    >>> h, c = lstm(g, x, (g.input("h", ("n", 4)), g.input("c", ("n", 4))))
    >>> h.shape, c.shape
    ((n, 4), (n, 4))
    """
    with _layer(g, x, name):
        if not isinstance(state, (tuple, list)) or len(state) != 2:
            raise DTypeError(f"state must be a pair of tensors (h, c), found {found(state)}")
        h, c = state
        out: Any = sequence.lstm_cell(x, (h, c), *_weights(g, x, h, 4, bias, seed))
        return out[0], out[1]


def sequential(x: Tensor, *layers: Callable[[Tensor], Tensor]) -> Tensor:
    """What functions of a tensor give one after the other.

    Shape and dtype are those of the last. Raises what the functions raise, such as ShapeError.

    >>> from graphc.ops.functions import relu
    >>> g = Graph("g")
    >>> x = g.input("x", ("n", 4))
    >>> sequential(x, lambda x: linear(g, x, 8), relu, lambda x: linear(g, x, 2)).shape
    (n, 2)
    """
    for layer in layers:
        x = layer(x)
    return x


__all__ = [
    "attention",
    "batch_norm",
    "conv",
    "dropout",
    "embedding",
    "group_norm",
    "gru",
    "layer_norm",
    "linear",
    "lstm",
    "rms_norm",
    "rnn",
    "sequential",
]
