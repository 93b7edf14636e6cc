"""A directory that is written whole or not at all, and replaced only where it holds what was written before."""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import os
import secrets
import shutil
from collections.abc import Iterator

from graphc.atomic import sync_directory
from graphc.errors import ExportError

SUMS = "SHA256SUMS"  # as sha256sum writes it, of all other files
_AT_FDCWD, _EXCHANGE = -100, 2  # of renameat2(2)


@contextlib.contextmanager
def replaced(directory: str | os.PathLike[str]) -> Iterator[str]:
    """An empty directory beside ``directory`` to write files into; it takes its place when the block ends well.

    A crash leaves the old directory or the new one, and perhaps a ``.graphc-*.tmp`` beside it that can be deleted.
    ExportError where what stands at ``directory`` is not, file by file, an earlier export.
    """
    target = os.path.realpath(os.fspath(directory))
    _check(target)
    parent = os.path.dirname(target)
    draft = os.path.join(parent, f".graphc-{secrets.token_hex(8)}.tmp")
    os.mkdir(draft)
    try:
        yield draft
        _seal(draft)
        _check(target)
        if os.path.lexists(target):
            shutil.copymode(target, draft)
            here = os.path.samefile(target, os.curdir)
            _exchange(draft, target)
            if here:
                os.chdir(target)  # the old one is about to go
        else:
            os.rename(draft, target)
        sync_directory(parent)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _check(target: str) -> None:
    """Refuses to replace what was not written here, or has changed since."""
    if not os.path.lexists(target):
        return
    if not os.path.isdir(target):
        raise ExportError(f"{target}: expected a directory or nothing, found a file")
    found = set(os.listdir(target))
    if not found:
        return
    try:
        with open(os.path.join(target, SUMS), encoding="utf-8") as file:
            sums = {name: digest for digest, _, name in (line.rstrip("\n").partition("  ") for line in file)}
    except (OSError, ValueError):
        raise ExportError(f"{target} is not empty and holds no export; choose another directory") from None
    for name in sorted(found ^ {*sums, SUMS}):
        state = "is not of the export" if name in found else "is missing"
        raise ExportError(f"{target} is not replaced: {name!r} {state}; choose another directory or delete this one")
    for name, digest in sums.items():
        path = os.path.join(target, name)
        if not os.path.isfile(path) or _sum(path) != digest:
            raise ExportError(f"{target} is not replaced: {name!r} has changed since; keep it elsewhere and delete it")


def _seal(draft: str) -> None:
    """Writes the sums and brings everything to disk."""
    names = sorted(os.listdir(draft))
    text = "".join(f"{_sum(os.path.join(draft, name))}  {name}\n" for name in names)
    with open(os.path.join(draft, SUMS), "x", encoding="utf-8") as file:
        file.write(text)
    for name in (*names, SUMS):
        handle = os.open(os.path.join(draft, name), os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
    sync_directory(draft)


def _sum(path: str) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _exchange(draft: str, target: str) -> None:
    """Both swap places in one step, so that there is no moment without either."""
    libc = ctypes.CDLL(None, use_errno=True)
    renameat2 = getattr(libc, "renameat2", None)
    names = os.fsencode(draft), os.fsencode(target)
    if renameat2 is None or renameat2(_AT_FDCWD, names[0], _AT_FDCWD, names[1], ctypes.c_uint(_EXCHANGE)) != 0:
        reason = os.strerror(ctypes.get_errno()) if renameat2 else "the system has no renameat2"
        raise ExportError(f"{target} cannot be replaced in one step ({reason}); delete it first")
