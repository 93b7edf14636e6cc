"""Random numbers from an explicit key: seed and call counter, moved on by each call that updates."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from graphc.errors import DTypeError, ShapeError
from graphc.ir.op import Attrs, Kind, Op, register
from graphc.ir.tensor import Tensor
from graphc.ir.types import TensorType, dtype_of, is_float
from graphc.ops import counter_rng
from graphc.ops.apply import apply, cast, public, public_in
from graphc.ops.elementwise import greater_equal, less, where
from graphc.ops.functions import erfinv, floor, log1p


def _reference(seed: Any, counter: Any, shape: Any, dtype: str, stream: int) -> Any:
    draw = counter_rng.uniform32 if dtype == "float32" else counter_rng.uniform64
    position = np.arange(int(np.prod(shape, dtype=np.int64)))
    return draw(int(seed), int(counter), stream, position).reshape(shape)


def _infer(types: Sequence[TensorType], attrs: Attrs) -> TensorType:
    kind = dtype_of(attrs["dtype"])
    if any(t != TensorType(dtype_of("int64"), ()) for t in types) or not is_float(kind):
        raise DTypeError(f"expected int64 seed and counter and a float dtype, found {types[0]}, {types[1]} and {kind}")
    return TensorType(kind, attrs["shape"])


register(
    Op(
        "uniform",
        Kind.GENERATOR,
        2,
        _infer,
        _reference,
        (None, None),
        lambda out, types, attrs: (
            "uniform32(a, b, {stream}, position)" if out.dtype.itemsize == 4 else "uniform64(a, b, {stream}, position)"
        ),
        attrs=("shape", "dtype", "stream"),
    )
)


@public_in("random")
def uniform(key: Tensor, shape: Sequence[Any], low: float = 0.0, high: float = 1.0, dtype: Any = None) -> Tensor:
    """Uniform numbers in ``[low, high)``; each call draws its own stream of ``key``."""
    if key.dtype != np.dtype("int64") or key.shape != (2,):
        raise DTypeError(f"expected a key made by g.random_key, found {key.type}")
    graph = key.graph
    kind = graph.float_dtype if dtype is None else dtype_of(dtype)
    if not is_float(kind):
        raise DTypeError(f"expected a float dtype, found {kind}")
    draw = apply(
        "uniform", key[0], key[1], shape=graph.shape(tuple(shape)), dtype=kind.name, stream=graph.next_stream(key)
    )
    return draw if (low, high) == (0.0, 1.0) else draw * (high - low) + low


@public_in("random")
def normal(key: Tensor, shape: Sequence[Any], mean: float = 0.0, std: float = 1.0, dtype: Any = None) -> Tensor:
    """Normal numbers, by the inverse of the distribution function."""
    u = uniform(key, shape, dtype=dtype)
    step = 2.0**-24 if u.dtype.itemsize == 4 else 2.0**-53
    z = erfinv(2 * (u + step / 2) - 1) * (2**0.5 * std)
    return z if mean == 0 else z + mean


@public_in("random")
def bernoulli(key: Tensor, shape: Sequence[Any], p: float = 0.5) -> Tensor:
    """True with probability ``p``."""
    return less(uniform(key, shape), p)


@public_in("random")
def randint(key: Tensor, shape: Sequence[Any], low: int, high: int) -> Tensor:
    """Integers in ``[low, high)``, int64."""
    if high <= low:
        raise ShapeError(f"expected low < high, found {low} and {high}")
    return cast(floor(uniform(key, shape, dtype="float64") * (high - low)), np.dtype("int64")) + low


@public_in("random")
def exponential(key: Tensor, shape: Sequence[Any], scale: float = 1.0, dtype: Any = None) -> Tensor:
    """Exponential numbers with mean ``scale``."""
    return -scale * log1p(-uniform(key, shape, dtype=dtype))


@public
def dropout(x: Tensor, rate: float, *, key: Tensor) -> Tensor:
    """``x`` with each element set to 0 with probability ``rate``, the others divided by ``1 - rate``.

    Srivastava et al. 2014, in its inverted form. ShapeError where ``rate`` is not in [0, 1).
    """
    if not isinstance(rate, (int, float)) or not 0 <= rate < 1:
        raise ShapeError(f"rate must lie in [0, 1), found {rate!r}")
    if rate == 0:
        return x
    keep = greater_equal(uniform(key, x.shape, dtype=x.dtype), float(rate))
    out = where(keep, x * (1 / (1 - rate)), 0)
    x.graph.dropouts[out.id] = x.id
    return out
