"""Files: written whole or not at all, and what a path may be for reading and for writing."""

from __future__ import annotations

import errno
import os
import secrets
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

PATIENCE = 2.0  # seconds to wait for the reader of a pipe

Path = str | os.PathLike[str]


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """What is written in the block becomes the content of ``path`` when the block ends, or nothing does.

    A regular file, or a new one, is written under another name in the same directory, synced to disk and renamed; its
    permissions stay. Where ``path`` is a link, that happens to what it leads to. A device or a pipe cannot be replaced:
    it is sent the whole. OSError, naming ``path``, for a directory, for a pipe that nobody reads, and where it cannot
    be written; after any error what stood there is untouched.
    """
    name = os.fspath(path)
    try:
        mode = os.stat(name).st_mode
    except FileNotFoundError:  # or a link that leads to nothing yet
        mode = stat.S_IFREG
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), name)
    with (_renamed if stat.S_ISREG(mode) else _sent)(name, stat.S_IMODE(mode)) as file:
        yield file


@contextmanager
def _renamed(path: str, permissions: int) -> Iterator[BinaryIO]:
    """A draft beside a regular file, which takes its place."""
    target = os.path.realpath(path)
    folder = os.path.dirname(target)
    draft = os.path.join(folder, f".graphc-{secrets.token_hex(8)}.tmp")
    try:
        with open(draft, "xb") as file:
            if permissions:
                os.chmod(draft, permissions)
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, target)
    except BaseException as error:
        if os.path.exists(draft):
            os.unlink(draft)
        if isinstance(error, OSError) and error.filename == draft:
            raise OSError(error.errno, error.strerror, path) from None
        raise
    sync_directory(folder)


@contextmanager
def _sent(path: str, _: int) -> Iterator[BinaryIO]:
    """A draft without a name, sent to a device or a pipe."""
    with tempfile.TemporaryFile() as draft:
        yield draft
        draft.seek(0)
        try:
            with os.fdopen(_open(path), "wb") as file:
                shutil.copyfileobj(draft, file)
        except OSError as error:
            raise OSError(error.errno, error.strerror, path) from None


def _open(path: str) -> int:
    """A device or a pipe, open for writing. A pipe's reader is waited for, but not for ever."""
    until = time.monotonic() + PATIENCE
    while True:
        try:
            handle = os.open(path, os.O_WRONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0))
        except OSError as error:
            if error.errno != errno.ENXIO or time.monotonic() > until:
                raise
            time.sleep(0.01)
        else:
            if hasattr(os, "O_NONBLOCK"):
                os.set_blocking(handle, True)
            return handle


def is_regular(path: Path) -> bool:
    """False for what is there but no regular file: to open a pipe would wait for its writer. OSError for nothing."""
    return stat.S_ISREG(os.stat(path).st_mode)


def same_file(one: Path, other: Path) -> bool:
    """Whether two paths are one regular file, or will be once it is written."""
    try:
        return os.path.samefile(one, other) and is_regular(one)
    except OSError:
        return os.path.realpath(one) == os.path.realpath(other)


def sync_directory(folder: str) -> None:
    """Makes a rename in a directory last; systems without directories as files have nothing to sync."""
    if hasattr(os, "O_DIRECTORY"):
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


__all__ = ["is_regular", "replacing", "same_file", "sync_directory"]
