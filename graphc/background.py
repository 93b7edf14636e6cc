"""Work that a thread of its own does, where no signal falls into it.

Python raises KeyboardInterrupt in the main thread only. Numba and LLVM take locks that an exception at the wrong moment
would leave taken, so they run in threads of graphc's; who waits for those can be interrupted at any time.
"""

from __future__ import annotations

import contextlib
import math
import queue
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Generic, TypeVar

from graphc.lock import Lock

T = TypeVar("T")
LOOK = 0.1  # seconds between looks at whether the thread is still there


class Background(Generic[T]):
    """Runs ``work`` in a thread; what it returns or raises comes up where its owner asks for it.

    The thread never keeps a process from ending. It does not follow into a child of `os.fork`, which starts the work
    anew when it first asks.
    """

    def __init__(self, work: Callable[[], T]) -> None:
        self._work = work
        self._results: list[T] = []
        self._error: BaseException | None = None
        self._waiting: list[queue.SimpleQueue[None]] = []  # a bell of each that waits
        self._start()

    def _start(self) -> None:
        self._thread = _Thread(target=self._run, name="graphc compile", daemon=True)
        try:
            self._thread.start()
        except RuntimeError:  # there can be no more threads
            self._run()

    def _run(self) -> None:
        try:
            self._results.append(self._work())
        except Exception as error:
            self._error = error
        finally:
            for bell in self._waiting:
                bell.put(None)

    def check(self) -> bool:
        """Whether the work is done; raises what it has raised."""
        alive = self._thread.is_alive()
        if self._error is not None:
            raise self._error
        if not alive and not self._results:
            self._start()
        return bool(self._results)

    def wait(self, timeout: float | None = None) -> bool:
        """Waits until the work is done, for so many seconds at most; otherwise as `check`."""
        until = math.inf if timeout is None else time.monotonic() + timeout
        bell: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._waiting.append(bell)
        while not self.check() and (left := until - time.monotonic()) > 0:
            with contextlib.suppress(queue.Empty):
                bell.get(timeout=min(LOOK, left))
        self._waiting.remove(bell)
        return self.check()

    def result(self) -> T:
        """What the work returns, when it is done."""
        self.wait()
        return self._results[0]


class _Thread(threading.Thread):
    """A thread of `Background`."""


def apart(work: Callable[[], T]) -> T:
    """What ``work`` returns when it runs in a thread that no signal reaches."""
    return work() if isinstance(threading.current_thread(), _Thread) else Background(work).result()


def alone(lock: Lock, work: Callable[[], T]) -> T:
    """The same, while the thread holds a lock."""
    return work() if lock.mine else apart(partial(lock.writing, work))


__all__ = ["Background", "alone", "apart"]
