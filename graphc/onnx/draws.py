"""Random numbers in ONNX, bit for bit those of `graphc.ops.counter_rng`: Threefry-2x32 on 32-bit words in int64."""

from __future__ import annotations

import numpy as np

from graphc.ir import dims
from graphc.ir.types import FLOAT64, INT32, INT64
from graphc.onnx.elementwise import Site
from graphc.onnx.model import Value
from graphc.ops.counter_rng import PARITY, ROTATIONS

MASK = 0xFFFFFFFF
STREAM = 0x9E3779B9

Words = tuple[Value, Value]


def random_word(at: Site, seed: Value, counter: Value) -> Value:
    """Any int32."""
    x0, _ = _words(at, seed, counter)
    return (x0 - 2**31).cast(INT32).reshape(at.type.shape)


def uniform(at: Site, seed: Value, counter: Value) -> Value:
    """float32 with 24 bits or float64 with 53 in [0, 1), one for each element."""
    x0, x1 = _words(at, seed, counter)
    if at.type.dtype == FLOAT64:
        flat = ((x0 / 32).cast(FLOAT64) * 67108864.0 + (x1 / 64).cast(FLOAT64)) * 2.0**-53
    else:
        flat = (x0 / 256).cast(at.type.dtype) * 2.0**-24
    return flat.reshape(at.type.shape)


def signed_uniform(at: Site, seed: Value, counter: Value) -> Value:
    """Numbers in [-1, 1] without 0, of 62 bits and a sign."""
    x0, x1 = _words(at, seed, counter)
    high, low = (word.cast(at.type.dtype) for word in (x0.op("BitwiseAnd", 0x7FFFFFFF), x1 / 2))
    size = high * 2.0**-31 + (low * 2.0**-62 + 2.0**-63)
    return (x0 > 0x7FFFFFFF).select(-size, size).reshape(at.type.shape)


def _words(at: Site, seed: Value, counter: Value) -> Words:
    """Two words for each element, in its flat order."""
    m, shape = at.model, at.type.shape
    position = m.scalar(0).op("Range", m.scalar(dims.product(shape)), m.scalar(1))
    return threefry(_key(at, seed, counter), (_low(position), _high(position)))


def _key(at: Site, seed: Value, counter: Value) -> Words:
    stream = at.model.constant(np.array((at.attrs["stream"] * STREAM) & MASK, np.int64))
    return threefry((_low(seed), _high(seed)), (_low(counter), _high(counter).op("BitwiseXor", stream)))


def random_seed(at: Site, seed: Value, counter: Value, step: Value) -> Value:
    """64 bits for a step of a loop; the product runs over, as integers do."""
    x0, x1 = threefry(_key(at, seed, counter), (_low(step), _high(step)))
    return x0 * 2**32 + x1


def threefry(key: Words, x: Words) -> Words:
    """20 rounds (Salmon et al., Random123, SC 2011)."""
    keys = (*key, key[0].op("BitwiseXor", key[1]).op("BitwiseXor", PARITY))
    x0, x1 = _low(x[0] + keys[0]), _low(x[1] + keys[1])
    for block in range(5):
        for r in ROTATIONS[block % 2]:
            x0 = _low(x0 + x1)
            shifted = x1 * 2**r
            x1 = (_low(shifted) + shifted / 2**32).op("BitwiseXor", x0)
        x0 = _low(x0 + keys[(block + 1) % 3])
        x1 = _low(x1 + keys[(block + 2) % 3] + (block + 1))
    return x0, x1


def _low(x: Value) -> Value:
    """The lower 32 bits of an int64."""
    return x.op("BitwiseAnd", MASK)


def _high(x: Value) -> Value:
    """The upper 32 bits, which the lower ones taken off leave to an exact division."""
    assert x.dtype == INT64
    return _low((x - _low(x)) / 2**32)


__all__ = ["random_seed", "random_word", "signed_uniform", "uniform"]
