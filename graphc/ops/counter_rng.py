"""Counter-based random bits in NumPy: Threefry-2x32 with 20 rounds (Salmon et al., Random123, SC 2011).

An element's number depends on seed, call counter, stream and position alone, so it is the same for any thread count
and backend. `graphc.codegen.rng` is the twin for kernels and gives the same bits.
"""

from __future__ import annotations

from typing import Any

import numpy as np

ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))
PARITY = 0x1BD11BDA


def threefry2x32(key0: Any, key1: Any, x0: Any, x1: Any) -> tuple[Any, Any]:
    """20 rounds on uint32 words.

    >>> [hex(int(w)) for w in threefry2x32(*(np.uint32(0),) * 4)]
    ['0x6b200159', '0x99ba4efe']
    """
    with np.errstate(over="ignore"):
        key0, key1, x0, x1 = (np.asarray(w, np.uint32) for w in (key0, key1, x0, x1))
        keys = (key0, key1, key0 ^ key1 ^ np.uint32(PARITY))
        x0, x1 = x0 + keys[0], x1 + keys[1]
        for block in range(5):
            for r in ROTATIONS[block % 2]:
                x0 = x0 + x1
                x1 = (x1 << np.uint32(r)) | (x1 >> np.uint32(32 - r))
                x1 = x1 ^ x0
            x0 = x0 + keys[(block + 1) % 3]
            x1 = x1 + keys[(block + 2) % 3] + np.uint32(block + 1)
        return x0, x1


def random_words(seed: int, counter: int, stream: int, position: Any) -> tuple[Any, Any]:
    """Two uint32 words for each position."""
    mask = 0xFFFFFFFF
    s, c = int(seed) & 0xFFFFFFFFFFFFFFFF, int(counter) & 0xFFFFFFFFFFFFFFFF
    key = threefry2x32(s & mask, s >> 32, c & mask, ((c >> 32) ^ (stream * 0x9E3779B9)) & mask)
    p = np.asarray(position, np.uint64)
    return threefry2x32(key[0], key[1], (p & np.uint64(mask)).astype(np.uint32), (p >> np.uint64(32)).astype(np.uint32))


def word32(seed: int, counter: int, stream: int, position: Any) -> Any:
    """Any int32."""
    x0, _ = random_words(seed, counter, stream, position)
    return (x0 ^ np.uint32(0x80000000)).view(np.int32)


def word64(seed: int, counter: int, stream: int, position: Any) -> Any:
    """Any int64."""
    x0, x1 = random_words(seed, counter, stream, position)
    return ((x0.astype(np.uint64) << np.uint64(32)) | x1.astype(np.uint64)).view(np.int64)


def uniform32(seed: int, counter: int, stream: int, position: Any) -> Any:
    """float32 in [0, 1), 24 bits."""
    x0, _ = random_words(seed, counter, stream, position)
    return (x0 >> np.uint32(8)).astype(np.float32) * np.float32(2**-24)


def uniform64(seed: int, counter: int, stream: int, position: Any) -> Any:
    """float64 in [0, 1), 53 bits."""
    x0, x1 = random_words(seed, counter, stream, position)
    high = (x0 >> np.uint32(5)).astype(np.float64)
    low = (x1 >> np.uint32(6)).astype(np.float64)
    return (high * 67108864.0 + low) * 2.0**-53


def signed32(seed: int, counter: int, stream: int, position: Any) -> Any:
    """float32 in [-1, 1] without 0, of 62 bits and a sign: as precise near 0 as a float is."""
    return _signed(seed, counter, stream, position, np.float32)


def signed64(seed: int, counter: int, stream: int, position: Any) -> Any:
    """The same in float64."""
    return _signed(seed, counter, stream, position, np.float64)


def _signed(seed: int, counter: int, stream: int, position: Any, kind: Any) -> Any:
    x0, x1 = random_words(seed, counter, stream, position)
    high, low = (x0 & np.uint32(0x7FFFFFFF)).astype(kind), (x1 >> np.uint32(1)).astype(kind)
    size = high * kind(2.0**-31) + (low * kind(2.0**-62) + kind(2.0**-63))
    return np.where(x0 >> np.uint32(31), -size, size)
