"""Renames that last."""

from __future__ import annotations

import os


def sync_directory(folder: str) -> None:
    """Makes a rename in a directory last; systems without directories as files have nothing to sync."""
    if hasattr(os, "O_DIRECTORY"):
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
