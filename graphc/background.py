"""Work that a thread of its own does while its owner goes on."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable


class Background:
    """Runs ``work`` in a thread; what it raises comes up where its owner asks for it.

    The thread never keeps a process from ending. It does not follow into a child of `os.fork`, which starts the work
    anew when it first asks.
    """

    def __init__(self, work: Callable[[], None]) -> None:
        self._work = work
        self._error: BaseException | None = None
        self._done = False
        self._start()

    def _start(self) -> None:
        self._thread = threading.Thread(target=self._run, name="graphc compile", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._work()
        except BaseException as error:
            self._error = error
        self._done = True

    def check(self) -> bool:
        """Whether the work is done; raises what it has raised."""
        if self._error is not None:
            raise self._error
        if not self._done and not self._thread.is_alive() and not self._done:
            self._start()
        return self._done

    def wait(self, timeout: float | None = None) -> bool:
        """Waits until the work is done, for so many seconds at most; otherwise as `check`."""
        until = None if timeout is None else time.monotonic() + timeout
        while not self.check() and (until is None or time.monotonic() < until):
            self._thread.join(None if until is None else max(0.0, until - time.monotonic()))
        return self.check()
