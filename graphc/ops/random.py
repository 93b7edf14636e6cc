"""Random numbers from an explicit key: seed and call counter, moved on by each call that updates."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from graphc.errors import DTypeError, ShapeError
from graphc.ir.dims import Dim
from graphc.ir.graph import Graph
from graphc.ir.inner import Inner
from graphc.ir.op import Attrs, Kind, Op, register
from graphc.ir.tensor import Tensor
from graphc.ir.types import FLOAT64, INT32, INT64, DType, TensorType, dtype_of, is_float, normalize_axis, shape_text
from graphc.ops import counter_rng
from graphc.ops.apply import Operand, apply, cast, common_dtype, graph_of, is_scalar, public, public_in, tensor
from graphc.ops.elementwise import abs, clip, copysign, equal, greater, greater_equal, less, where
from graphc.ops.functions import cos, erfcinv, exp, expm1, floor, log, log1p, sigmoid, sqrt
from graphc.ops.index import take
from graphc.ops.normal import ndtr, ndtri
from graphc.ops.reduce import argmax
from graphc.ops.softmax import softmax
from graphc.ops.sorting import argsort


def _generator(name: str, single: Any, double: Any) -> None:
    """Registers what draws floats; ``single`` and ``double`` draw in NumPy, and in kernels under their own names."""

    def reference(seed: Any, counter: Any, shape: Any, dtype: str, stream: int) -> Any:
        draw = single if dtype == "float32" else double
        position = np.arange(int(np.prod(shape, dtype=np.int64)))
        return draw(int(seed), int(counter), stream, position).reshape(shape)

    def code(out: TensorType, types: Sequence[TensorType], attrs: Attrs) -> str:
        return f"{(single if out.dtype.itemsize == 4 else double).__name__}(a, b, {{stream}}, position)"

    attrs = ("shape", "dtype", "stream")
    register(Op(name, Kind.GENERATOR, 2, _infer, reference, (None, None), code, attrs=attrs))


def _infer(types: Sequence[TensorType], attrs: Attrs) -> TensorType:
    kind = dtype_of(attrs["dtype"])
    if any(t != TensorType(INT64, ()) for t in types) or not is_float(kind):
        raise DTypeError(f"expected int64 seed and counter and a float dtype, found {types[0]}, {types[1]} and {kind}")
    return TensorType(kind, attrs["shape"])


def _infer_word(types: Sequence[TensorType], attrs: Attrs) -> TensorType:
    if any(t != TensorType(INT64, ()) for t in types):
        raise DTypeError(f"expected int64 seed and counter, found {types[0]} and {types[1]}")
    return TensorType(INT32, attrs["shape"])


def _words(seed: Any, counter: Any, shape: Any, stream: int) -> Any:
    position = np.arange(int(np.prod(shape, dtype=np.int64)))
    return counter_rng.word32(int(seed), int(counter), stream, position).reshape(shape)


register(
    Op(
        "random_word",  # any int32
        Kind.GENERATOR,
        2,
        _infer_word,
        _words,
        (None, None),
        "word32(a, b, {stream}, position)",
        attrs=("shape", "stream"),
    )
)


def _infer_seed(types: Sequence[TensorType], attrs: Attrs) -> TensorType:
    if any(t != TensorType(INT64, ()) for t in types):
        raise DTypeError(f"expected int64 seed, counter and step, found {', '.join(map(str, types))}")
    return TensorType(INT64, ())


register(
    Op(
        "random_seed",  # the seed of a step of a loop
        Kind.ELEMENTWISE,
        3,
        _infer_seed,
        lambda seed, counter, step, stream: counter_rng.word64(int(seed), int(counter), stream, step),
        (None, None, None),
        "word64(a, b, {stream}, c)",
        attrs=("stream",),
    )
)
_generator("uniform", counter_rng.uniform32, counter_rng.uniform64)  # in [0, 1)
_generator("signed_uniform", counter_rng.signed32, counter_rng.signed64)  # in [-1, 1], as precise near 0 as floats are


def _draw(name: str, key: Tensor, shape: Sequence[Any], kind: DType | None = None) -> Tensor:
    """A stream of ``key`` of its own, of floats of a dtype or of words."""
    if not isinstance(key, Tensor) or key.dtype != INT64 or key.shape != (2,):
        raise DTypeError(f"expected a key made by g.random_key, found {key.type if isinstance(key, Tensor) else key!r}")
    graph = key.graph.open
    stream = graph.next_stream(graph.admit(key, name))
    dtype = {} if kind is None else {"dtype": kind.name}
    seed, counter = key[0], key[1]
    for step in _steps(graph):
        seed = apply("random_seed", seed, counter, step, stream=stream)
    return apply(name, seed, counter, shape=graph.shape(tuple(shape)), stream=stream, **dtype)


def _steps(graph: Graph) -> list[Tensor]:
    """Which step it is of each loop whose body this is, the outermost first."""
    if not isinstance(graph, Inner):
        return []
    return [*_steps(graph.outer), *([] if graph.step is None else [graph.step])]


def _below(probability: float) -> int:
    """How many of the 2**32 words a probability is."""
    return round(probability * 2**32)


def _dtype(key: Tensor, dtype: Any, *parameters: Operand) -> DType:
    """``dtype``, by default that in which tensors and arrays among the parameters meet, or the graph's float."""
    found = common_dtype((key, *parameters), graph_of((key, *parameters)), floating=True) if dtype is None else dtype
    if not is_float(kind := dtype_of(found)):
        raise DTypeError(f"expected a float dtype, found {kind}")
    return kind


def _parameter(value: Operand, key: Tensor, kind: DType) -> Tensor:
    return cast(tensor(value, key.graph, None if isinstance(value, Tensor) else kind), kind)


def _of_shape(drawn: Tensor, shape: Sequence[Any]) -> Tensor:
    """``drawn``, once it is sure that its parameters did not make it larger than what was asked for."""
    if drawn.shape != (wanted := drawn.graph.shape(tuple(shape))):
        raise ShapeError(f"parameters must broadcast to {shape_text(wanted)}, found a result of {drawn.type}")
    return drawn


@public_in("random")
def uniform(key: Tensor, shape: Sequence[Any], low: Operand = 0.0, high: Operand = 1.0, dtype: Any = None) -> Tensor:
    """Uniform numbers in ``[low, high)``; each call draws its own stream of ``key``.

    ``low`` and ``high`` are numbers, arrays or tensors that broadcast to ``shape``, and get gradients. A number that
    rounding would put at ``high`` is ``low``.

    A float, the graph's by default. Raises ShapeError where parameters do not broadcast to ``shape``, DTypeError where
    ``key`` is no random key.

    >>> import graphc as gx
    >>> g = gx.Graph()
    >>> gx.random.uniform(g.random_key(), ("n", 3))
    <Tensor uniform_5: float32[n, 3]>
    """
    kind, numbers = _dtype(key, dtype, low, high), is_scalar(low) and is_scalar(high)
    if numbers and not 0 <= float(high) - float(low) <= float(np.finfo(kind).max):
        raise ShapeError(f"expected low <= high and a range that {kind} can hold, found {low} and {high}")
    draw = _draw("uniform", key, shape, kind)
    if numbers and (low, high) == (0, 1):
        return draw
    first, last = _parameter(low, key, kind), _parameter(high, key, kind)
    scaled = draw * (last - first) + first
    return _of_shape(where(less(scaled, last), scaled, first), shape)


@public_in("random")
def normal(key: Tensor, shape: Sequence[Any], mean: Operand = 0.0, std: Operand = 1.0, dtype: Any = None) -> Tensor:
    """Normal numbers, finite, by the inverse of the distribution function of each tail.

    ``mean`` and ``std`` are numbers, arrays or tensors that broadcast to ``shape``, and get gradients: the result is
    ``mean + std * z`` (Kingma and Welling 2014).

    A float, the graph's by default. Raises ShapeError where parameters do not broadcast to ``shape``, DTypeError where
    ``key`` is no random key.

    >>> import graphc as gx
    >>> g = gx.Graph()
    >>> gx.random.normal(g.random_key(), ("n", 3))
    <Tensor multiply_10: float32[n, 3]>
    """
    if is_scalar(std) and not std >= 0:
        raise ShapeError(f"expected std >= 0, found {std}")
    kind = _dtype(key, dtype, mean, std)
    q = _draw("signed_uniform", key, shape, kind)
    z = copysign(erfcinv(abs(q)), q)  # |q| is the probability of what lies further out
    z = z * (2**0.5 * float(std)) if is_scalar(std) else z * 2**0.5 * _parameter(std, key, kind)
    return _of_shape(z if is_scalar(mean) and mean == 0 else z + _parameter(mean, key, kind), shape)


@public_in("random")
def bernoulli(key: Tensor, shape: Sequence[Any], p: Operand = 0.5) -> Tensor:
    """True with probability ``p``, a number, array or tensor that broadcasts to ``shape``: to within 2**-32.

    Bools. Raises ShapeError where parameters do not broadcast to ``shape``, DTypeError where ``key`` is no random key.

    >>> import graphc as gx
    >>> g = gx.Graph()
    >>> gx.random.bernoulli(g.random_key(), ("n", 3), 0.1)
    <Tensor less_7: bool[n, 3]>
    """
    if is_scalar(p) and not 0 <= p <= 1:
        raise ShapeError(f"p must lie in [0, 1], found {p!r}")
    if not is_scalar(p):
        return _of_shape(less(_draw("uniform", key, shape, FLOAT64), _parameter(p, key, FLOAT64)), shape)
    word, count = _draw("random_word", key, shape), _below(float(p))
    return less(word, count - 2**31) if count < 2**32 else greater_equal(word, -(2**31))


@public_in("random")
def randint(key: Tensor, shape: Sequence[Any], low: int, high: int) -> Tensor:
    """Integers in ``[low, high)``, int64, of at most 2**53; each is as likely to within ``(high - low) * 2**-53``.

    Raises ShapeError where ``low`` is not below ``high``, DTypeError where ``key`` is no random key.

    >>> import graphc as gx
    >>> g = gx.Graph()
    >>> gx.random.randint(g.random_key(), ("n",), 0, 10)
    <Tensor add_11: int64[n]>
    """
    if high <= low:
        raise ShapeError(f"expected low < high, found {low} and {high}")
    if high - low > 2**53:
        raise ShapeError(f"expected at most 2**53 integers, found {high - low} from {low} to {high}")
    return cast(floor(_draw("uniform", key, shape, FLOAT64) * float(high - low)), INT64) + low


@public_in("random")
def exponential(key: Tensor, shape: Sequence[Any], scale: Operand = 1.0, dtype: Any = None) -> Tensor:
    """Exponential numbers with mean ``scale``, by the probability of larger ones.

    A float, the graph's by default. Raises ShapeError where parameters do not broadcast to ``shape``, DTypeError where
    ``key`` is no random key.

    >>> import graphc as gx
    >>> g = gx.Graph()
    >>> gx.random.exponential(g.random_key(), ("n", 3))
    <Tensor subtract_9: float32[n, 3]>
    """
    kind = _dtype(key, dtype, scale)
    size = 0 - log(abs(_draw("signed_uniform", key, shape, kind)))  # not -0.0
    return _of_shape(size if is_scalar(scale) and scale == 1 else size * _parameter(scale, key, kind), shape)


def _moved(z: Tensor, loc: Operand, scale: Operand, key: Tensor, kind: DType, shape: Sequence[Any]) -> Tensor:
    """``loc + scale * z`` in the shape that was asked for."""
    z = z if is_scalar(scale) and scale == 1 else z * _parameter(scale, key, kind)
    return _of_shape(z if is_scalar(loc) and loc == 0 else z + _parameter(loc, key, kind), shape)


@public_in("random")
def laplace(key: Tensor, shape: Sequence[Any], loc: Operand = 0.0, scale: Operand = 1.0, dtype: Any = None) -> Tensor:
    """Laplace's numbers: exponential ones on either side of ``loc``. ``loc`` and ``scale`` get gradients.

    A float, the graph's by default. Raises ShapeError where parameters do not broadcast to ``shape``, DTypeError where
    ``key`` is no random key.

    >>> import graphc as gx
    >>> g = gx.Graph()
    >>> gx.random.laplace(g.random_key(), ("n", 3))
    <Tensor copysign_8: float32[n, 3]>
    """
    kind = _dtype(key, dtype, loc, scale)
    q = _draw("signed_uniform", key, shape, kind)
    return _moved(copysign(log(abs(q)), q), loc, scale, key, kind, shape)


@public_in("random")
def gumbel(key: Tensor, shape: Sequence[Any], loc: Operand = 0.0, scale: Operand = 1.0, dtype: Any = None) -> Tensor:
    """Gumbel's numbers, ``loc - scale * log(-log(u))`` by the probability of each tail; parameters get gradients.

    A float, the graph's by default. Raises ShapeError where parameters do not broadcast to ``shape``, DTypeError where
    ``key`` is no random key.

    >>> import graphc as gx
    >>> g = gx.Graph()
    >>> gx.random.gumbel(g.random_key(), ("n", 3))
    <Tensor subtract_21: float32[n, 3]>
    """
    kind = _dtype(key, dtype, loc, scale)
    q = _draw("signed_uniform", key, shape, kind)
    tail = 0.5 * abs(q)
    size = where(less(q, 0), 0 - log1p(-tail), 0 - log(tail))  # exponential
    return _moved(0 - log(size), loc, scale, key, kind, shape)


@public_in("random")
def student_t(
    key: Tensor, shape: Sequence[Any], df: Operand, loc: Operand = 0.0, scale: Operand = 1.0, dtype: Any = None
) -> Tensor:
    """Student's t with ``df`` degrees of freedom, any above 0; all parameters get gradients.

    ``sqrt(df * (u**(-2 / df) - 1)) * cos(2 pi v)`` of two uniform numbers (Bailey 1994, Mathematics of Computation).

    A float, the graph's by default. Raises ShapeError where parameters do not broadcast to ``shape``, DTypeError where
    ``key`` is no random key.

    >>> import graphc as gx
    >>> g = gx.Graph()
    >>> gx.random.student_t(g.random_key(), ("n", 3), 4.0)
    <Tensor multiply_27: float32[n, 3]>
    """
    if is_scalar(df) and not df > 0:
        raise ShapeError(f"expected df > 0, found {df}")
    kind = _dtype(key, dtype, df, loc, scale)
    u, v = abs(_draw("signed_uniform", key, shape, kind)), _draw("uniform", key, shape, kind)
    free = _parameter(df, key, kind)
    square = free * expm1(log(u) * (-2 / free))
    length = where(equal(square, 0), 0, sqrt(square))
    return _moved(length * cos(v * (2 * math.pi)), loc, scale, key, kind, shape)


def _gamma(key: Tensor, shape: Sequence[Any], alpha: Tensor) -> tuple[Tensor, Tensor]:
    """Gamma numbers in two parts: one of shape ``alpha + 1``, and what is added to its logarithm, ``log(u) / alpha``
    (Marsaglia and Tsang 2000)."""
    larger = apply("gamma_quantile", alpha + 1, _draw("signed_uniform", key, shape, alpha.dtype))
    return larger, log(abs(_draw("signed_uniform", key, shape, alpha.dtype))) / alpha


def _log_gamma(key: Tensor, shape: Sequence[Any], alpha: Tensor) -> Tensor:
    """Logarithms of gamma numbers."""
    larger, added = _gamma(key, shape, alpha)
    return log(larger) + added


def _shape_parameter(name: str, value: Operand, key: Tensor, kind: DType) -> Tensor:
    if is_scalar(value) and not value > 0:
        raise ShapeError(f"expected {name} > 0, found {value}")
    return _parameter(value, key, kind)


@public_in("random")
def gamma(key: Tensor, shape: Sequence[Any], alpha: Operand, scale: Operand = 1.0, dtype: Any = None) -> Tensor:
    """Gamma numbers of shape parameter ``alpha``, any above 0, times ``scale``; both get gradients.

    By the inverse of the distribution function, so that gradients by ``alpha`` are those of an implicit function
    (Figurnov, Mohamed and Mnih 2018), of first and second order.

    A float, the graph's by default. Raises ShapeError where parameters do not broadcast to ``shape``, DTypeError where
    ``key`` is no random key.

    >>> import graphc as gx
    >>> g = gx.Graph()
    >>> gx.random.gamma(g.random_key(), ("n", 3), 2.0)
    <Tensor multiply_19: float32[n, 3]>
    """
    kind = _dtype(key, dtype, alpha, scale)
    larger, added = _gamma(key, shape, _shape_parameter("alpha", alpha, key, kind))
    return _moved(larger * exp(added), 0.0, scale, key, kind, shape)  # a large one's logarithm would be too coarse


@public_in("random")
def beta(key: Tensor, shape: Sequence[Any], a: Operand, b: Operand, dtype: Any = None) -> Tensor:
    """Beta numbers, in [0, 1], of parameters above 0 that get gradients: ``x / (x + y)`` of two gamma numbers.

    Their logarithms are compared, so small parameters give no 0 / 0.

    A float, the graph's by default. Raises ShapeError where parameters do not broadcast to ``shape``, DTypeError where
    ``key`` is no random key.

    >>> import graphc as gx
    >>> g = gx.Graph()
    >>> gx.random.beta(g.random_key(), ("n", 3), 2.0, 3.0)
    <Tensor sigmoid_40: float32[n, 3]>
    """
    kind = _dtype(key, dtype, a, b)
    logs = [_log_gamma(key, shape, _shape_parameter(n, v, key, kind)) for n, v in (("a", a), ("b", b))]
    return _of_shape(sigmoid(logs[0] - logs[1]), shape)


@public_in("random")
def dirichlet(key: Tensor, alpha: Operand, shape: Sequence[Any] | None = None, dtype: Any = None) -> Tensor:
    """Dirichlet's probabilities along the last axis of ``alpha``, which are above 0 and get gradients.

    ``shape`` is that of the result without its last axis, to which the other axes of ``alpha`` broadcast; by default
    these. Gamma numbers over their sum, by the softmax of their logarithms.

    Floats. Raises ShapeError where parameters do not broadcast to ``shape``, DTypeError where ``key`` is no random key.

    >>> from graphc.ir.graph import Graph
    >>> dirichlet(Graph("g").random_key(), [1.0, 2.0, 3.0], ("n",)).shape
    (n, 3)
    """
    a = _parameter(alpha, key, _dtype(key, dtype, alpha))
    if a.ndim == 0:
        raise ShapeError(f"expected alpha with an axis of classes, found {a.type}")
    wanted = (*(a.shape[:-1] if shape is None else tuple(shape)), a.shape[-1])
    return softmax(_of_shape(_log_gamma(key, wanted, a), wanted))


@public_in("random")
def poisson(key: Tensor, shape: Sequence[Any], rate: Operand) -> Tensor:
    """Poisson's counts of mean ``rate``, int64, which have no gradient; the lowest int64 where the rate is below 0.

    By the inverse of the distribution function, computed in float64 whatever the dtype of ``rate``.

    Raises ShapeError where parameters do not broadcast to ``shape``, DTypeError where ``key`` is no random key.

    >>> import graphc as gx
    >>> g = gx.Graph()
    >>> gx.random.poisson(g.random_key(), ("n", 3), 4.0)
    <Tensor astype_8: int64[n, 3]>
    """
    if is_scalar(rate) and not rate >= 0:
        raise ShapeError(f"expected rate >= 0, found {rate}")
    q = _draw("signed_uniform", key, shape, FLOAT64)
    return _of_shape(cast(apply("poisson_quantile", _parameter(rate, key, FLOAT64), q), INT64), shape)


@public_in("random")
def permutation(key: Tensor, x: Operand, axis: int = 0) -> Tensor:
    """``x`` with its parts along ``axis`` in a random order, each order as likely; a size gives whole numbers below it.

    The order of random numbers of 53 bits. Gradients go back by the same order.

    The dtype is that of ``x``. Raises DTypeError where ``key`` is no random key, ShapeError where the axis does not
    exist.

    >>> from graphc.ir.graph import Graph
    >>> str(permutation(Graph("g").random_key(), 10).type)
    'int64[10]'
    """
    if isinstance(x, (int, np.integer, Dim)) and not isinstance(x, bool):
        return argsort(_draw("uniform", key, (x,), FLOAT64))
    held = tensor(x, key.graph)
    if held.ndim == 0:
        raise ShapeError(f"expected a size, or at least one axis, found {held.type}")
    axis = normalize_axis(axis, held.ndim, str(held.type))
    return take(held, argsort(_draw("uniform", key, (held.shape[axis],), FLOAT64)), axis)


@public_in("random")
def truncated_normal(
    key: Tensor,
    shape: Sequence[Any],
    low: Operand = -2.0,
    high: Operand = 2.0,
    mean: Operand = 0.0,
    std: Operand = 1.0,
    dtype: Any = None,
) -> Tensor:
    """Standard normal numbers kept to ``[low, high]``, times ``std`` plus ``mean``; all parameters get gradients.

    By the inverse of the distribution function, from the nearer bound, so that tails are right: to 37 standard
    deviations, 13 in float32; beyond, a bound is the result. Raises ShapeError where ``low`` is not below ``high``.

    A float, the graph's by default.

    >>> import graphc as gx
    >>> g = gx.Graph()
    >>> gx.random.truncated_normal(g.random_key(), ("n", 3))
    <Tensor where_64: float32[n, 3]>
    """
    if is_scalar(low) and is_scalar(high) and not low < high:
        raise ShapeError(f"expected low < high, found {low} and {high}")
    kind = _dtype(key, dtype, low, high, mean, std)
    q = _draw("signed_uniform", key, shape, kind)
    a, b = _parameter(low, key, kind), _parameter(high, key, kind)
    turned = greater(a + b, 0)  # so that the interval lies towards the lower tail
    a, b = where(turned, -b, a), where(turned, -a, b)
    below, above = ndtr(a), ndtr(b)
    part = 0.5 * abs(q) * (above - below)
    upper = where(less(b, 0), ndtri(above - part), 0 - ndtri(ndtr(-b) + part))
    z = clip(where(less(q, 0), ndtri(below + part), upper), a, b)
    return _moved(where(turned, -z, z), mean, std, key, kind, shape)


@public_in("random")
def categorical(key: Tensor, logits: Tensor, shape: Sequence[Any] | None = None) -> Tensor:
    """Classes with the probabilities ``softmax(logits)`` along the last axis, int64.

    ``shape`` is that of the result, to which the other axes of ``logits`` broadcast; by default these. The largest of
    ``logits`` plus Gumbel's noise (Gumbel 1954), so nothing is normalised and a logit of -inf never comes.

    Raises ShapeError where ``logits`` do not broadcast to ``shape``, DTypeError where ``key`` is no random key.

    >>> from graphc.ir.graph import Graph
    >>> g = Graph("g")
    >>> categorical(g.random_key(), g.input("logits", ("n", 10))).shape
    (n,)
    """
    if logits.ndim == 0 or not is_float(logits.dtype):
        raise ShapeError(f"expected float logits with an axis of classes, found {logits.type}")
    wanted = logits.shape[:-1] if shape is None else tuple(shape)
    noise = gumbel(key, (*wanted, logits.shape[-1]), dtype=logits.dtype)
    return _of_shape(argmax(logits + noise, -1), wanted)


@public
def dropout(x: Tensor, rate: float, *, key: Tensor) -> Tensor:
    """``x`` with each element set to 0 with probability ``rate``, the others divided by ``1 - rate``.

    The probability holds to within 2**-32. Srivastava et al. 2014, in its inverted form. ShapeError where ``rate`` is
    not in [0, 1).

    Shape and dtype are those of ``x``, a float; ``key`` is a `Graph.random_key`.

    >>> import graphc as gx
    >>> x = gx.Graph().input("x", ("n", 3))
    >>> gx.dropout(x, 0.5, key=x.graph.random_key(seed=0)).shape
    (n, 3)
    """
    if not isinstance(rate, (int, float)) or not 0 <= rate < 1:
        raise ShapeError(f"rate must lie in [0, 1), found {rate!r}")
    if rate == 0:
        return x
    keep = greater_equal(_draw("random_word", key, x.shape), min(_below(rate), 2**32 - 1) - 2**31)
    out = where(keep, x * (1 / (1 - rate)), 0)
    out.graph.dropouts[out.id] = out.graph.admit(x, "dropout").id
    return out
