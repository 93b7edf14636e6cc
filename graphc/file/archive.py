"""The archive: a zip file of stored members, written at once or not at all, read byte by byte as it was written.

Its framing (headers, directory) follows from names, sizes and checksums alone, so a reader works out what every byte
outside the members must be and compares. There is no second way to write an archive and nothing to interpret:
no compression, no paths, no order of members but one, no comment, no bytes in between.
"""

from __future__ import annotations

import hashlib
import os
import struct
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, BinaryIO

from graphc.atomic import is_regular, replacing
from graphc.errors import GraphFileError
from graphc.file import strict

MANIFEST = "manifest.json"
MEMBERS = ("graph.json", "constants.safetensors", "weights.safetensors")  # what follows it, in this order
LARGEST_JSON = 32 << 20  # bytes of a JSON member
LARGEST = 1 << 48  # bytes of any member

Parts = Sequence[Any]  # buffers, one after the other
_LOCAL = struct.Struct("<4s5H3L2H2H2Q")  # with the zip64 field; bytes 14 to 46 lie behind the name
_CENTRAL = struct.Struct("<4s6H3L5H2L2H3Q")
_END = struct.Struct("<4sQ2H2L4Q4sLQL4s4H2LH")
_ZIP64, _EPOCH, _ALL16, _ALL32 = 45, (1 << 5) | 1, 0xFFFF, 0xFFFFFFFF  # 1 January 1980
_FIXED_LOCAL = 30


def local_header(name: str, size: int, crc: int) -> bytes:
    """What stands before a member's bytes."""
    packed = _LOCAL.pack(
        b"PK\3\4", _ZIP64, 0, 0, 0, _EPOCH, crc, _ALL32, _ALL32, len(name), 20, 1, 16, size, size
    )  # fmt: skip
    return packed[:_FIXED_LOCAL] + name.encode("ascii") + packed[_FIXED_LOCAL:]


def directory(members: Sequence[tuple[str, int, int]]) -> bytes:
    """What stands behind the last member, for ``(name, size, crc)`` of each."""
    out, offset = b"", 0
    for name, size, crc in members:
        packed = _CENTRAL.pack(
            b"PK\1\2", _ZIP64, _ZIP64, 0, 0, 0, _EPOCH, crc, _ALL32, _ALL32, len(name), 28, 0, 0, 0, 0, _ALL32,
            1, 24, size, size, offset,
        )  # fmt: skip
        out += packed[:46] + name.encode("ascii") + packed[46:]
        offset += len(local_header(name, size, crc)) + size
    many, length = len(members), len(out)
    return out + _END.pack(
        b"PK\6\6", 44, _ZIP64, _ZIP64, 0, 0, many, many, length, offset, b"PK\6\7", 0, offset + length, 1,
        b"PK\5\6", 0, 0, many, many, length, _ALL32, 0,
    )  # fmt: skip


def write(
    path: str | os.PathLike[str], describe: Callable[[dict[str, Any]], bytes], members: Mapping[str, Parts]
) -> None:
    """Writes the archive to ``path``, whole or not at all; OSError where it cannot be written.

    ``describe`` gives the manifest for the members' sizes and digests.
    """
    facts = {name: _facts(parts) for name, parts in members.items()}
    manifest = [describe({name: {"bytes": n, "sha256": sha} for name, (n, _, sha) in facts.items()})]
    everything = {MANIFEST: manifest, **members}
    facts = {MANIFEST: _facts(manifest), **facts}
    with replacing(path) as file:
        for name, parts in everything.items():
            file.write(local_header(name, *facts[name][:2]))
            for part in parts:
                file.write(part)
        file.write(directory([(name, size, crc) for name, (size, crc, _) in facts.items()]))


def _facts(parts: Iterable[Any]) -> tuple[int, int, str]:
    """Size, CRC-32 and SHA-256 of buffers one after the other."""
    size, crc, sha = 0, 0, hashlib.sha256()
    for part in parts:
        size, crc = size + memoryview(part).nbytes, zlib.crc32(part, crc)
        sha.update(part)
    return size, crc, sha.hexdigest()


class Archive:
    """An open archive whose framing is as `write` writes it. Members are read when asked for, and checked then."""

    def __init__(self, file: BinaryIO, length: int, version: Callable[[dict[str, Any]], None]) -> None:
        self._file = file
        size, crc = _first_header(file)
        data = _take(file, size, MANIFEST)
        if zlib.crc32(data) != crc:
            raise GraphFileError(f"{MANIFEST}: the checksum is wrong; the file is damaged")
        self.manifest = _manifest(data, version)
        self._listed = self.manifest["members"]
        headers = sum(len(local_header(name, 0, 0)) for name in (MANIFEST, *MEMBERS))
        sizes = [size, *(self._listed[name]["bytes"] for name in MEMBERS)]
        expected = headers + sum(sizes) + len(directory([(n, 0, 0) for n in (MANIFEST, *MEMBERS)]))
        if length != expected:
            raise GraphFileError(f"{MANIFEST}: members: the file must have {expected} bytes, found {length}")
        self._at: dict[str, tuple[int, int]] = {}  # where each member begins, and its checksum
        facts = [(MANIFEST, size, crc)]
        for name, n in zip(MEMBERS, sizes[1:], strict=True):
            found = _take(file, len(local_header(name, 0, 0)), f"{name}: header")
            self._at[name] = file.tell(), int.from_bytes(found[14:18], "little")
            facts.append((name, n, self._at[name][1]))
            if found != local_header(*facts[-1]):
                raise GraphFileError(f"{name}: header: not as graphc writes it")
            file.seek(n, os.SEEK_CUR)
        end = directory(facts)
        if file.read(len(end) + 1) != end:
            raise GraphFileError("zip directory: not as graphc writes it")

    def member(self, name: str, most: int = LARGEST_JSON) -> bytes:
        """The bytes of a member. GraphFileError where they are damaged, or more than ``most`` and than a text has."""
        size = self._listed[name]["bytes"]
        if size > max(most, LARGEST_JSON):
            raise GraphFileError(f"{name}: the graph declares {most} bytes, found {size}")
        start, crc = self._at[name]
        self._file.seek(start)
        data = _take(self._file, size, name)
        if hashlib.sha256(data).hexdigest() != self._listed[name]["sha256"]:
            raise GraphFileError(f"{name}: the SHA-256 differs from the manifest's; the file is damaged")
        if zlib.crc32(data) != crc:
            raise GraphFileError(f"{name}: header: not as graphc writes it")
        return data


@contextmanager
def reading(path: str | os.PathLike[str], version: Callable[[dict[str, Any]], None]) -> Iterator[Archive]:
    """The archive at ``path``; ``version`` looks at its manifest first.

    GraphFileError, naming the place, unless every byte outside the members is as `write` writes it.
    """
    if not is_regular(path):
        raise GraphFileError("not a file")
    with open(path, "rb") as file:
        try:
            yield Archive(file, os.fstat(file.fileno()).st_size, version)
        except EOFError as error:
            raise GraphFileError(f"{error}: the file ends too early") from None


def _manifest(data: bytes, version: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    """The manifest, with sizes that members may have."""
    manifest = strict.parse(data, MANIFEST)
    if type(manifest) is not dict:
        raise GraphFileError(f"{MANIFEST}: expected an object, found {strict.show(manifest)}")
    version(manifest)
    listed = strict.record(manifest.get("members"), f"{MANIFEST}: members", dict.fromkeys(MEMBERS, dict))
    for name in MEMBERS:
        place = f"{MANIFEST}: members: {name}"
        size = strict.record(listed[name], place, {"bytes": int, "sha256": str})["bytes"]
        if not 0 <= size <= (LARGEST_JSON if name.endswith(".json") else LARGEST):
            raise GraphFileError(f"{place}: bytes: {size} is more than a file may have, or negative")
    return manifest


def _first_header(file: BinaryIO) -> tuple[int, int]:
    """Size and checksum of the manifest, whose header alone can say them."""
    place = f"{MANIFEST}: header"
    found = _take(file, len(local_header(MANIFEST, 0, 0)), place)
    size, crc = int.from_bytes(found[-8:], "little"), int.from_bytes(found[14:18], "little")
    if size > LARGEST_JSON or found != local_header(MANIFEST, size, crc):
        raise GraphFileError(f"{place}: not a file that graphc wrote")
    return size, crc


def _take(file: BinaryIO, size: int, place: str) -> bytes:
    data = file.read(size)
    if len(data) != size:
        raise EOFError(place)
    return data


__all__ = ["MANIFEST", "MEMBERS", "Archive", "directory", "local_header", "reading", "write"]
