"""Weights in a file of their own: the one that lies beside the model under a plain name, and no other."""

from __future__ import annotations

import ntpath
import os
import posixpath
import stat
from collections.abc import Mapping

from graphc.errors import GraphFileError, UnsupportedOpError
from graphc.file.strict import show

DIGITS = 18  # of an offset or a length
NO_LINK = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)


class Beside:
    """The files of data beside a model. Of each, as many bytes are read as it holds, whatever the model asks for."""

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self.left: dict[str, int] = {}  # bytes of each file that no tensor has taken yet

    def read(self, entries: Mapping[str, str], size: int, place: str) -> bytearray:
        """The ``size`` bytes that ``entries``, a tensor's ``external_data``, tell of.

        GraphFileError for a place that is not inside a regular file beside the model; UnsupportedOpError for tensors
        that share bytes, and for a file in another folder.
        """
        name = _plain(entries.get("location", ""), place)
        offset = _number(entries.get("offset", "0"), "offset", place)
        path = os.path.join(self.folder, name)
        try:
            found = os.lstat(path)
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or "no such file"
            raise GraphFileError(f"{place}: its data lie in {show(name)} beside the model: {reason}") from None
        if not stat.S_ISREG(found.st_mode) or found.st_nlink > 1:
            raise GraphFileError(f"{place}: its data lie in {show(name)}, which is a link or not a file")
        with open(os.open(path, os.O_RDONLY | NO_LINK), "rb", buffering=0) as file:
            held = os.fstat(file.fileno())
            if (held.st_dev, held.st_ino) != (found.st_dev, found.st_ino):
                raise GraphFileError(f"{place}: {show(name)} changes while it is read")
            length = _number(entries.get("length", str(max(held.st_size - offset, 0))), "length", place)
            if length != size or offset + size > held.st_size:
                told = f"bytes {offset} to {offset + length} of {show(name)}"
                raise GraphFileError(f"{place}: {size} bytes are needed, its data are {told}, which has {held.st_size}")
            self.left[name] = self.left.get(name, held.st_size) - size
            if self.left[name] < 0:
                raise UnsupportedOpError(f"{place}: tensors that share bytes of {show(name)} are not read")
            data, done = bytearray(size), 0
            file.seek(offset)
            while done < size and (count := file.readinto(memoryview(data)[done:])):
                done += count
        if done < size:
            raise GraphFileError(f"{place}: {show(name)} changes while it is read")
        return data


def _plain(location: str, place: str) -> str:
    """``location`` where it is the name of a file and nothing more, on any system."""
    parts = location.replace("\\", "/").split("/")
    drive = ntpath.splitdrive(location)[0]
    if drive or posixpath.isabs(location) or location[:1] == "\\" or {"", ".", ".."} & set(parts) or "\0" in location:
        raise GraphFileError(f"{place}: its data lie in {show(location)}, which is not the name of a file")
    if len(parts) > 1:
        raise UnsupportedOpError(f"{place}: its data lie in {show(location)}; read are only files beside the model")
    return location


def _number(text: str, what: str, place: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= DIGITS):
        raise GraphFileError(f"{place}: the {what} of its data must be a number of bytes, found {show(text)}")
    return int(text)


__all__ = ["Beside"]
