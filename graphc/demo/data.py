"""Data sets from files: IDX images and labels, and the scans that scikit-learn ships."""

from __future__ import annotations

import gzip
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from graphc.ir.state import Array


class DataError(Exception):
    """A data file is missing or not what its name says."""


@dataclass(frozen=True)
class Images:
    """Pixels in [0, 1] as float32 rows, and int64 labels."""

    train_x: Array
    train_y: Array
    test_x: Array
    test_y: Array


def read_idx(path: Path) -> Array:
    """An IDX file of unsigned bytes, plain or gzipped, as an array (LeCun's format; big-endian sizes).

    Raises DataError where the file is missing, damaged or of another kind.
    """
    found = next((p for p in (path, path.with_name(path.name + ".gz")) if p.exists()), None)
    if found is None:
        raise DataError(f"there is no file {path.name}[.gz] in {path.parent}")
    try:
        raw = gzip.decompress(found.read_bytes()) if found.suffix == ".gz" else found.read_bytes()
    except (OSError, EOFError) as error:
        raise DataError(f"{found.name} is damaged: {error}") from None
    if len(raw) < 4 or raw[:3] != b"\0\0\x08":
        raise DataError(f"{found.name} is not an IDX file of unsigned bytes")
    rank = raw[3]
    if len(raw) < 4 + 4 * rank:
        raise DataError(f"{found.name} ends within its head, after {len(raw)} bytes")
    shape = struct.unpack(f">{rank}I", raw[4 : 4 + 4 * rank])
    body = raw[4 + 4 * rank :]
    if len(body) != int(np.prod(shape, dtype=np.int64)):
        raise DataError(f"{found.name} holds {len(body)} bytes of data, its head says {shape}")
    return np.frombuffer(body, np.uint8).reshape(shape)


def fashion_mnist(directory: Path) -> Images:
    """The 60,000 and 10,000 images of Fashion-MNIST (Xiao, Rasul and Vollgraf 2017) from their four IDX files."""

    def pair(prefix: str) -> tuple[Array, Array]:
        pixels, labels = (read_idx(directory / f"{prefix}-{n}") for n in ("images-idx3-ubyte", "labels-idx1-ubyte"))
        if pixels.ndim != 3 or len(pixels) != len(labels):
            raise DataError(f"{prefix}: images {pixels.shape} and labels {labels.shape} do not belong together")
        return pixels.reshape(len(pixels), -1).astype(np.float32) / np.float32(255), labels.astype(np.int64)

    return Images(*pair("train"), *pair("t10k"))


def digits() -> Images:
    """The 1,797 scans of 8 by 8 pixels that scikit-learn ships, every fifth one for testing."""
    try:
        load: Callable[[], object] = __import__("sklearn.datasets", fromlist=["load_digits"]).load_digits
    except ImportError:
        raise DataError('this needs scikit-learn: pip install "graphc[demo]"') from None
    bunch = load()
    x = np.asarray(bunch.data, np.float32) / np.float32(16)  # type: ignore[attr-defined]
    y = np.asarray(bunch.target, np.int64)  # type: ignore[attr-defined]
    test = np.arange(len(x)) % 5 == 0
    return Images(x[~test], y[~test], x[test], y[test])
