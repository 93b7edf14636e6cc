"""Random numbers from an explicit key: seed and call counter, moved on by each call that updates."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from graphc.errors import DTypeError, ShapeError
from graphc.ir.op import Attrs, Kind, Op, register
from graphc.ir.tensor import Tensor
from graphc.ir.types import FLOAT64, INT32, INT64, DType, TensorType, dtype_of, is_float, shape_text
from graphc.ops import counter_rng
from graphc.ops.apply import Operand, apply, cast, common_dtype, graph_of, is_scalar, public, public_in, tensor
from graphc.ops.elementwise import abs, copysign, greater_equal, less, where
from graphc.ops.functions import erfcinv, floor, log


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
_generator("uniform", counter_rng.uniform32, counter_rng.uniform64)  # in [0, 1)
_generator("signed_uniform", counter_rng.signed32, counter_rng.signed64)  # in [-1, 1], as precise near 0 as floats are


def _draw(name: str, key: Tensor, shape: Sequence[Any], kind: DType | None = None) -> Tensor:
    """A stream of ``key`` of its own, of floats of a dtype or of words."""
    if not isinstance(key, Tensor) or key.dtype != INT64 or key.shape != (2,):
        raise DTypeError(f"expected a key made by g.random_key, found {key.type if isinstance(key, Tensor) else key!r}")
    graph = key.graph
    stream = graph.next_stream(key)
    dtype = {} if kind is None else {"dtype": kind.name}
    return apply(name, key[0], key[1], shape=graph.shape(tuple(shape)), stream=stream, **dtype)


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
    """True with probability ``p``, a number, array or tensor that broadcasts to ``shape``: to within 2**-32."""
    if is_scalar(p) and not 0 <= p <= 1:
        raise ShapeError(f"p must lie in [0, 1], found {p!r}")
    if not is_scalar(p):
        return _of_shape(less(_draw("uniform", key, shape, FLOAT64), _parameter(p, key, FLOAT64)), shape)
    word, count = _draw("random_word", key, shape), _below(float(p))
    return less(word, count - 2**31) if count < 2**32 else greater_equal(word, -(2**31))


@public_in("random")
def randint(key: Tensor, shape: Sequence[Any], low: int, high: int) -> Tensor:
    """Integers in ``[low, high)``, int64, of at most 2**53; each is as likely to within ``(high - low) * 2**-53``."""
    if high <= low:
        raise ShapeError(f"expected low < high, found {low} and {high}")
    if high - low > 2**53:
        raise ShapeError(f"expected at most 2**53 integers, found {high - low} from {low} to {high}")
    return cast(floor(_draw("uniform", key, shape, FLOAT64) * float(high - low)), INT64) + low


@public_in("random")
def exponential(key: Tensor, shape: Sequence[Any], scale: Operand = 1.0, dtype: Any = None) -> Tensor:
    """Exponential numbers with mean ``scale``, by the probability of larger ones."""
    kind = _dtype(key, dtype, scale)
    size = 0 - log(abs(_draw("signed_uniform", key, shape, kind)))  # not -0.0
    return _of_shape(size if is_scalar(scale) and scale == 1 else size * _parameter(scale, key, kind), shape)


@public
def dropout(x: Tensor, rate: float, *, key: Tensor) -> Tensor:
    """``x`` with each element set to 0 with probability ``rate``, the others divided by ``1 - rate``.

    The probability holds to within 2**-32. Srivastava et al. 2014, in its inverted form. ShapeError where ``rate`` is
    not in [0, 1).
    """
    if not isinstance(rate, (int, float)) or not 0 <= rate < 1:
        raise ShapeError(f"rate must lie in [0, 1), found {rate!r}")
    if rate == 0:
        return x
    keep = greater_equal(_draw("random_word", key, x.shape), min(_below(rate), 2**32 - 1) - 2**31)
    out = where(keep, x * (1 / (1 - rate)), 0)
    x.graph.dropouts[out.id] = x.id
    return out
