"""Files that are written whole or not at all."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterable
from typing import Any


def write_whole(path: str | os.PathLike[str], parts: Iterable[Any]) -> None:
    """Writes buffers, one after the other, under another name beside ``path``, syncs to disk and renames.

    ``path`` holds the old file or the new one, whatever happens. OSError where the file cannot be written; what stood
    there is then untouched.
    """
    target = os.path.realpath(os.fspath(path))
    folder = os.path.dirname(target)
    draft = os.path.join(folder, f".graphc-{secrets.token_hex(8)}.tmp")
    try:
        with open(draft, "xb") as file:
            for part in parts:
                file.write(part)
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, target)
    except BaseException:
        if os.path.exists(draft):
            os.unlink(draft)
        raise
    _sync_directory(folder)


def _sync_directory(folder: str) -> None:
    """Makes a rename last; systems without directories as files have nothing to sync."""
    if hasattr(os, "O_DIRECTORY"):
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


__all__ = ["write_whole"]
