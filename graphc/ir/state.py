"""State of a graph: parameters and variables, in storage that never moves, under one readers-writer lock."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from graphc.errors import InputDTypeError, InputShapeError
from graphc.ir.types import DType

Array = np.ndarray[Any, Any]
ALIGNMENT = 64  # bytes; one cache line, and the widest vector register


def aligned_empty(shape: tuple[int, ...], dtype: DType) -> Array:
    """An uninitialised C-ordered array whose first element lies on a cache line."""
    size = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    raw = np.empty(size + ALIGNMENT, np.uint8)
    start = -raw.ctypes.data % ALIGNMENT
    return raw[start : start + size].view(dtype).reshape(shape)


class ReadersWriterLock:
    """Many readers or one writer, in the order in which they come. Not reentrant.

    >>> lock = ReadersWriterLock()
    >>> with lock.reading, lock.reading:
    ...     pass
    >>> with lock.writing:
    ...     pass
    """

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._readers = 0
        self._writing = False
        self._queue: deque[tuple[threading.Lock, bool]] = deque()  # what each waits on, and whether it writes
        self.reading = _Side(lambda: self._start(False), lambda: self._stop(False))
        self.writing = _Side(lambda: self._start(True), lambda: self._stop(True))

    def _start(self, writes: bool) -> None:
        with self._guard:
            if not self._queue and self._take(writes):
                return
            turn = threading.Lock()
            turn.acquire()
            self._queue.append((turn, writes))
        try:
            turn.acquire()  # whoever lets go has taken the lock for us
        except BaseException:
            with self._guard:
                waits = (turn, writes) in self._queue
                if waits:
                    self._queue.remove((turn, writes))
            if not waits:
                self._stop(writes)
            raise

    def _take(self, writes: bool) -> bool:
        if self._writing or (writes and self._readers):
            return False
        self._writing = writes
        self._readers += not writes
        return True

    def _stop(self, writes: bool) -> None:
        with self._guard:
            if writes:
                self._writing = False
            else:
                self._readers -= 1
            while self._queue and self._take(self._queue[0][1]):
                self._queue.popleft()[0].release()


class _Side:
    """One way to hold the lock, for a ``with`` statement."""

    __slots__ = ("_start", "_stop")

    def __init__(self, start: Callable[[], None], stop: Callable[[], None]) -> None:
        self._start, self._stop = start, stop

    def __enter__(self) -> None:
        self._start()

    def __exit__(self, *_: object) -> None:
        self._stop()


class State(Mapping[str, Array]):
    """``g.state``: reading gives a copy, assignment copies in.

    Assignment raises InputShapeError or InputDTypeError where shape or dtype differ, KeyError for an unknown name.
    """

    def __init__(self) -> None:
        self.storage: dict[str, Array] = {}
        self.lock = ReadersWriterLock()

    def add(self, name: str, value: Array) -> None:
        """New state; its storage is fixed from here on."""
        array = aligned_empty(value.shape, value.dtype)
        array[...] = value
        self.storage[name] = array

    def __getitem__(self, name: str) -> Array:
        with self.lock.reading:
            return self.storage[name].copy()

    def __setitem__(self, name: str, value: Any) -> None:
        held, given = self.storage[name], np.asarray(value)
        if given.shape != held.shape:
            raise InputShapeError(f"state {name!r}: expected shape {held.shape}, found {given.shape}", node=name)
        if given.dtype != held.dtype:
            raise InputDTypeError(f"state {name!r}: expected dtype {held.dtype}, found {given.dtype}", node=name)
        with self.lock.writing:
            held[...] = given

    def __iter__(self) -> Iterator[str]:
        return iter(self.storage)

    def __len__(self) -> int:
        return len(self.storage)
