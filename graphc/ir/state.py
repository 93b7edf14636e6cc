"""State of a graph: parameters and variables, in storage that never moves, under one readers-writer lock."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from graphc.errors import (
    InputDTypeError,
    InputError,
    InputKeyError,
    InputShapeError,
    Uncopied,
    caller,
    did_you_mean,
    listed,
)
from graphc.ir.arrays import Array, as_numbers
from graphc.ir.types import DType

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


class State(Uncopied, Mapping[str, Array]):
    """``g.state``: reading gives a copy, assignment copies in, converted as the arguments of a call are.

    Raises InputKeyError, a KeyError, for an unknown name; assignment raises InputShapeError or InputDTypeError where
    shape or dtype do not fit.
    """

    def __init__(self, graph: str = "graph") -> None:
        self.graph = graph  # its name, for errors
        self.storage: dict[str, Array] = {}
        self.lock = ReadersWriterLock()

    def add(self, name: str, value: Array) -> None:
        """New state; its storage is fixed from here on."""
        array = aligned_empty(value.shape, value.dtype)
        array[...] = value
        self.storage[name] = array

    def __getitem__(self, name: str) -> Array:
        held = self._held(name)
        with self.lock.reading:
            return held.copy()

    def __setitem__(self, name: str, value: Any) -> None:
        self.update({name: value})

    def update(self, values: Mapping[str, Any]) -> None:
        """Assigns to all of ``values`` at once; where one of them does not fit, to none."""
        if not isinstance(values, Mapping):
            raise InputError(
                f"state: expected a dict of arrays by name, found {type(values).__name__}", origin=caller()
            )
        pairs = [(self._held(name), self._fitted(name, value)) for name, value in values.items()]
        with self.lock.writing:
            for held, given in pairs:
                held[...] = given

    def _held(self, name: str) -> Array:
        try:
            return self.storage[name]
        except (KeyError, TypeError):
            text = f"graph {self.graph!r} has no state {name!r}; it has {listed(self.storage)}"
            raise InputKeyError(text + did_you_mean(name, self.storage), origin=caller()) from None

    def _fitted(self, name: str, value: Any) -> Array:
        """``value`` as an array that the state of that name can take."""
        held, origin = self._held(name), caller()

        def complaint(found: str) -> InputDTypeError:
            text = f"state {name!r}: expected {held.dtype}{list(held.shape)}, found {found}"
            return InputDTypeError(text, node=name, origin=origin)

        try:
            given = as_numbers(value, held.dtype, complaint)
        except InputDTypeError:
            raise
        except ValueError as error:
            raise InputShapeError(f"state {name!r}: {error}", node=name, origin=origin) from None
        if given.shape != held.shape:
            text = f"state {name!r}: expected shape {held.shape}, found {given.shape}"
            raise InputShapeError(text, node=name, origin=origin)
        return given

    def __iter__(self) -> Iterator[str]:
        return iter(self.storage)

    def __len__(self) -> int:
        return len(self.storage)

    def __repr__(self) -> str:
        lines = [f"  {name}: {array.dtype}{list(array.shape)}" for name, array in self.storage.items()]
        return "\n".join([f"<State of graph {self.graph!r}: {len(lines)} arrays>", *lines])


__all__ = ["ALIGNMENT", "Array", "ReadersWriterLock", "State", "aligned_empty"]
