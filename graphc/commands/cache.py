"""``graphc cache``: what the compile cache holds. Nothing in it is loaded, unpickled or run."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from graphc.codegen.disk import read_whole
from graphc.commands.words import printable
from graphc.config import settings

OURS = re.compile(r"[0-9a-f]{32}\.(kernel|json|lock)|\.tmp-\w{8}")
KINDS = {".kernel": "machine code", ".json": "record", ".lock": "lock", "": "draft"}


@dataclass(frozen=True)
class File:
    """A file of the cache."""

    path: Path
    bytes: int
    age: float  # seconds since it was written

    @property
    def kind(self) -> str:
        return KINDS[self.path.suffix if not self.path.name.startswith(".") else ""]

    @property
    def whole(self) -> bool:
        """False for a file whose SHA-256 is not that of its content; locks and drafts have none."""
        return self.kind in ("lock", "draft") or read_whole(self.path) is not None


def files() -> Iterator[File]:
    """graphc's own files, the newest first; they may come and go meanwhile."""
    root, found = settings().cache_dir, []
    for path in root.iterdir() if root.is_dir() else ():
        if OURS.fullmatch(path.name) and path.is_file() and not path.is_symlink():
            try:
                facts = path.stat()
            except FileNotFoundError:
                continue
            found.append(File(path, facts.st_size, time.time() - facts.st_mtime))
    return iter(sorted(found, key=lambda f: (f.age, f.path.name)))


def ls(options: Any) -> int:
    """Lists machine code and records."""
    held = list(files())
    _head(held)
    for file in held:
        if file.kind in ("machine code", "record"):
            name, told = file.path.name, _told(file)
            print(f"{name:<40} {file.kind:<13} {size(file.bytes):>9} {age(file.age):>7}  {told}".rstrip())
    return 0


def _head(held: list[File]) -> None:
    print(f"{settings().cache_dir}: {len(held)} files, {size(sum(f.bytes for f in held))}")


def _told(file: File) -> str:
    """What a record says of its program."""
    data = read_whole(file.path) if file.kind == "record" else b""
    if data is None:
        return "damaged"
    try:
        record = json.loads(data) if data else {}
        parts, sizes, state = (record.get(key, []) for key in ("parts", "symbols", "state"))
        told = [f"sizes {', '.join(sizes)}"] * bool(sizes) + [f"{len(state)} arrays of state"] * bool(state)
        return printable(", ".join([*told, *[f"{len(parts)} functions"] * bool(parts)]), 60)
    except (ValueError, TypeError, AttributeError):
        return ""


def verify(options: Any) -> int:
    """Compares every file with its SHA-256; 1 where one is damaged."""
    held = list(files())
    damaged = [file for file in held if not file.whole]
    _head(held)
    for file in damaged:
        print(f"damaged: {file.path.name}, {file.kind}, {size(file.bytes)}")
    print(f"{len(damaged)} damaged; graphc never uses such a file and writes it anew" if damaged else "all whole")
    return 1 if damaged else 0


def clear(options: Any) -> int:
    """Removes graphc's own files, and nothing else."""
    removed = []
    for file in files():
        file.path.unlink(missing_ok=True)
        removed.append(file)
    root = settings().cache_dir
    others = sum(1 for _ in root.iterdir()) if root.is_dir() else 0
    print(f"{root}: removed {len(removed)} files, {size(sum(f.bytes for f in removed))}")
    if others:
        print(f"left {others} that are not graphc's")
    return 0


def size(bytes: int) -> str:
    """A count of bytes for people."""
    if bytes < 1000:
        return f"{bytes} B"
    return f"{bytes / 1e3:.1f} kB" if bytes < 1e6 else f"{bytes / 1e6:.1f} MB"


def age(seconds: float) -> str:
    """A time span for people."""
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds / length:.0f} {unit}"
    return f"{max(seconds, 0):.0f} s"
