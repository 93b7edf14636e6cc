"""Files of the compile cache: whole, or as if they were not there.

A file is a SHA-256 of its name and of all that follows, a seal, and data. The sum says that the bytes are those that
were written, the seal for which source: LLVM believes what it is given, and wrong code would end the process. Where the
cache cannot be read or written, all works as if it were empty, with one warning.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from graphc.config import cache_root, settings
from graphc.errors import warn, warn_once

if sys.platform == "win32":
    import msvcrt

    def _try_lock(file: int) -> bool:
        with contextlib.suppress(OSError):
            msvcrt.locking(file, msvcrt.LK_NBLCK, 1)
            return True
        return False

    def _unlock(file: int) -> None:
        msvcrt.locking(file, msvcrt.LK_UNLCK, 1)

else:
    import fcntl

    def _try_lock(file: int) -> bool:
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        return False

    def _unlock(file: int) -> None:
        fcntl.flock(file, fcntl.LOCK_UN)


PATIENCE = 60.0  # seconds to wait for what another process compiles; it may have been stopped
DIGEST = hashlib.sha256().digest_size


def _digest(of: str, data: bytes) -> bytes:
    return hashlib.sha256(of.encode() + b"\0" + data).digest()


def read_whole(path: Path, source: str | None = None) -> bytes | None:
    """What was written, for this source where one is given; None where there is no such file, or it is damaged."""
    try:
        whole = path.read_bytes()
    except OSError:
        return None
    rest = whole[DIGEST:]
    seal, data = rest[:DIGEST], rest[DIGEST:]
    if whole[:DIGEST] != _digest(path.name, rest) or (source is not None and seal != _digest(source, data)):
        return None
    return data


def write_whole(path: Path, data: bytes, source: str = "") -> None:
    """All of ``data``, sealed for a source, under ``path``, or what was there before."""
    rest = _digest(source, data) + data
    if path.is_dir():
        shutil.rmtree(path)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".tmp-")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(_digest(path.name, rest) + rest)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def fetch(name: str, source: str) -> bytes | None:
    """What is kept in the cache under a name for a source; None where there is nothing whole."""
    with contextlib.suppress(OSError):
        return read_whole(cache_root() / name, source)
    return None


def keep(name: str, source: str, data: bytes) -> None:
    """Keeps data in the cache, where it can be written."""
    try:
        write_whole(cache_root() / name, data, source)
    except OSError as error:
        _cannot(error)


@contextlib.contextmanager
def locked(name: str) -> Iterator[None]:
    """A lock between processes, which the system releases when its holder dies; none where there can be none."""
    with contextlib.ExitStack() as stack:
        try:
            file = stack.enter_context(open(cache_root() / name, "w")).fileno()
            until = time.monotonic() + PATIENCE
            while not _try_lock(file):
                if time.monotonic() > until:
                    break
                time.sleep(0.005)
            else:
                stack.callback(_unlock, file)  # closing is not enough where a child has been forked meanwhile
        except OSError as error:
            _cannot(error)
        yield


def discard(name: str) -> None:
    """Warns of a file that is there and will be written anew, since `fetch` found it damaged."""
    with contextlib.suppress(OSError):
        if os.path.lexists(cache_root() / name):
            warn(f"the cache entry {name} is damaged; building it anew")


def _cannot(error: OSError) -> None:
    warn_once(f"kernels cannot be kept in {settings().cache_dir}: {error.strerror or error}")
