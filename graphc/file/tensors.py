"""Arrays as safetensors members: eight bytes of length, a JSON header, the arrays' bytes.

The graph declares every array, so a reader works out the header and compares; nothing of it is interpreted.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from graphc.errors import GraphFileError
from graphc.file import strict
from graphc.ir.state import Array
from graphc.ir.types import DType

CODES = {"bool": "BOOL", "uint8": "U8", "int32": "I32", "int64": "I64", "float32": "F32", "float64": "F64"}
RESERVED = "__metadata__"  # a key that the format keeps for itself

Declared = Mapping[str, tuple[DType, tuple[int, ...]]]


def _ordered(declared: Declared) -> list[tuple[str, DType, tuple[int, ...], int, int]]:
    """Name, dtype, shape, first and last byte; wide elements first, so that each array is aligned."""
    out, at = [], 0
    for name, (dtype, shape) in sorted(declared.items(), key=lambda item: -item[1][0].itemsize):
        stop = at + dtype.itemsize * math.prod(shape)
        out.append((name, dtype, shape, at, stop))
        at = stop
    return out


def header(declared: Declared) -> bytes:
    """The length and the header of a member that holds these arrays."""
    text = strict.dump(
        {
            name + "_" * name.startswith(RESERVED): {
                "dtype": CODES[dtype.name],
                "shape": list(shape),
                "data_offsets": [start, stop],
            }
            for name, dtype, shape, start, stop in _ordered(declared)
        }
    )
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def pack(arrays: Mapping[str, Array]) -> Sequence[Any]:
    """The buffers of a member that holds ``arrays``."""
    declared = {name: (a.dtype, a.shape) for name, a in arrays.items()}
    little = [arrays[name].astype(dtype.newbyteorder("<")) for name, dtype, *_ in _ordered(declared)]
    return [header(declared), *(a.reshape(-1).view(np.uint8) for a in little)]


def size(declared: Declared) -> int:
    """Bytes of a member that holds these arrays."""
    rows = _ordered(declared)
    return len(header(declared)) + (rows[-1][-1] if rows else 0)


def unpack(data: bytes, declared: Declared, place: str) -> dict[str, Array]:
    """The arrays of a member, which must be exactly the declared ones."""
    expected, whole = header(declared), size(declared)
    if not data.startswith(expected):
        at = next((k for k, (a, b) in enumerate(zip(data, expected, strict=False)) if a != b), len(data))
        around = strict.show(expected[max(0, at - 20) : at + 30].decode("ascii", "replace"))
        raise GraphFileError(f"{place}: header: byte {at} differs from what the graph declares, around {around}")
    if len(data) != whole:
        raise GraphFileError(f"{place}: the graph declares {whole} bytes, found {len(data)}")
    out = {}
    for name, dtype, shape, start, stop in _ordered(declared):
        raw = np.frombuffer(data, np.uint8, stop - start, len(expected) + start)
        if dtype.kind == "b" and raw.size and raw.max() > 1:
            raise GraphFileError(f"{place}: {strict.show(name)}: a bool that is neither 0 nor 1", node=name)
        out[name] = raw.view(dtype.newbyteorder("<")).astype(dtype).reshape(shape)
    return {name: out[name] for name in declared}


__all__ = ["header", "pack", "size", "unpack"]
