"""Files written whole or not at all."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """A new file that takes the place of ``path`` when the block ends.

    It is written under another name in the same directory, synced to disk and renamed. OSError, naming ``path``, where
    it cannot be written; after any error what stood there is untouched.
    """
    target = os.path.realpath(os.fspath(path))
    folder = os.path.dirname(target)
    draft = os.path.join(folder, f".graphc-{secrets.token_hex(8)}.tmp")
    try:
        with open(draft, "xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, target)
    except BaseException as error:
        if os.path.exists(draft):
            os.unlink(draft)
        if isinstance(error, OSError) and error.filename == draft:
            raise OSError(error.errno, error.strerror, os.fspath(path)) from None
        raise
    sync_directory(folder)


def sync_directory(folder: str) -> None:
    """Makes a rename in a directory last; systems without directories as files have nothing to sync."""
    if hasattr(os, "O_DIRECTORY"):
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


__all__ = ["replacing", "sync_directory"]
