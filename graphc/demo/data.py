"""Data sets from files: IDX images and labels, and the scans that scikit-learn ships."""

from __future__ import annotations

import gzip
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from graphc.ir.state import Array

UNSIGNED_BYTES = b"\0\0\x08"  # how an IDX file of them starts; the next byte is the number of axes


class DataError(Exception):
    """A data file is missing or not what its name says, or the optional package that would bring it is missing."""


@dataclass(frozen=True)
class Images:
    """Pixels in [0, 1] as float32 rows, and int64 labels.

    >>> rows, labels = np.zeros((6, 4), np.float32), np.zeros(6, np.int64)
    >>> Images(rows, labels, rows, labels).head(2).train_x.shape
    (2, 4)
    """

    train_x: Array
    train_y: Array
    test_x: Array
    test_y: Array

    def head(self, rows: int) -> Images:
        """At most the first ``rows`` images of each set."""
        return Images(self.train_x[:rows], self.train_y[:rows], self.test_x[:rows], self.test_y[:rows])


def read_idx(path: Path) -> Array:
    """An IDX file of unsigned bytes, plain or gzipped, as an array (LeCun's format; big-endian sizes).

    Raises DataError where the file is missing, damaged or of another kind.
    """
    found = next((p for p in (path, path.with_name(path.name + ".gz")) if p.is_file()), None)
    if found is None:
        raise DataError(f"there is no file {path.name}[.gz] in {path.parent}")
    raw = found.read_bytes()
    if found.suffix == ".gz":
        try:
            raw = gzip.decompress(raw)
        except (OSError, EOFError, zlib.error) as error:
            raise DataError(f"{found.name} is damaged: {error}") from None
    if len(raw) < 4 or raw[:3] != UNSIGNED_BYTES:
        raise DataError(
            f"{found.name}: expected an IDX file of unsigned bytes, found one that starts {raw[:4].hex()!r}"
        )
    rank = raw[3]
    if len(raw) < 4 + 4 * rank:
        raise DataError(f"{found.name} ends within its head, after {len(raw)} bytes")
    shape = struct.unpack(f">{rank}I", raw[4 : 4 + 4 * rank])
    body = np.frombuffer(raw, np.uint8, offset=4 + 4 * rank)
    if body.size != int(np.prod(shape, dtype=object)):
        raise DataError(f"{found.name}: its head says {shape}, found {body.size} bytes of data")
    return body.reshape(shape)


def fashion_mnist(directory: Path) -> Images:
    """The 60,000 and 10,000 images of Fashion-MNIST (Xiao, Rasul and Vollgraf 2017) from their four IDX files.

    Raises DataError where files are missing, damaged or do not belong together.
    """
    if not directory.is_dir():
        raise DataError(f"there is no directory {directory}")
    train_x, train_y = _pair(directory, "train")
    test_x, test_y = _pair(directory, "t10k")
    if train_x.shape[1] != test_x.shape[1]:
        raise DataError(f"training images have {train_x.shape[1]} pixels, test images {test_x.shape[1]}")
    return Images(train_x, train_y, test_x, test_y)


def _pair(directory: Path, prefix: str) -> tuple[Array, Array]:
    """Images as rows of numbers in [0, 1], and their labels."""
    pixels = read_idx(directory / f"{prefix}-images-idx3-ubyte")
    labels = read_idx(directory / f"{prefix}-labels-idx1-ubyte")
    if pixels.ndim != 3 or labels.shape != pixels.shape[:1] or not pixels.size:
        raise DataError(f"{prefix}: images {pixels.shape} and labels {labels.shape} do not belong together")
    if labels.max() > 9:
        raise DataError(f"{prefix}: expected labels from 0 to 9, found {labels.max()}")
    return pixels.reshape(len(pixels), -1).astype(np.float32) / np.float32(255), labels.astype(np.int64)


def digits() -> Images:
    """The 1,797 scans of 8 by 8 pixels that scikit-learn ships, every fifth one for testing.

    Raises DataError where scikit-learn is missing.
    """
    try:
        from sklearn.datasets import load_digits
    except ImportError:
        raise DataError('the digits come with scikit-learn: pip install "graphc[demo]"') from None
    bunch = load_digits()
    x, y = np.asarray(bunch.data, np.float32) / np.float32(16), np.asarray(bunch.target, np.int64)
    test = np.arange(len(x)) % 5 == 0
    return Images(x[~test], y[~test], x[test], y[test])
