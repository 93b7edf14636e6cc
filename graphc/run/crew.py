"""The threads that help with a call: made when first wanted, asleep between calls, made anew after a fork.

They are Python threads that never hold the lock of the interpreter: each looks for calls to join in machine code. The
thread that calls puts the kernel and its arguments on a board, works on shards like everyone else, and takes the call
down when it is over. A board serves one call at a time; a call that finds it taken runs on its own thread alone, with
the same bits.
"""

from __future__ import annotations

import ctypes
import os
import threading
from contextlib import suppress
from functools import partial
from typing import Any

import numpy as np

from graphc.codegen.board import BYTES, COUNT, LEAD, SEMAPHORE, conduct, serve
from graphc.codegen.words import address_of
from graphc.ir.state import aligned_empty
from graphc.lock import Lock, forever

WORTH = 1 << 23  # the least cost of a call that others are asked to join, some eighty microseconds


class Crew:
    """A board and the threads that look at it."""

    def __init__(self) -> None:
        self.words = aligned_empty((BYTES // 8,), np.dtype("int64"))
        self.board: int = self.words.ctypes.data
        self.count_address = self.board + 8 * COUNT
        self.lock = Lock()
        self.works = False
        forever(self.words)
        self.words[:] = 0
        if CAN_WAIT:
            # An empty board that nobody looks at, where the old one was: executables know its address. Threads do not
            # follow into a child. Both are C functions, in which no exception leaves it half done.
            begin = partial(ctypes.CDLL(None).sem_init, ctypes.c_void_p(self.board + 8 * SEMAPHORE), 0, 0)
            self.works = begin() == 0
            for renew in (partial(ctypes.memset, self.board, 0, BYTES), begin):
                os.register_at_fork(after_in_child=renew)

    @property
    def helpers(self) -> int:
        """How many threads look at the board."""
        return int(self.words[COUNT])

    def gather(self, threads: int) -> None:
        """Makes sure that ``threads - 1`` helpers are there, or as many as the system lets start."""
        if self.works and self.helpers < threads - 1:
            look = ctypes.CFUNCTYPE(None, ctypes.c_int64)(address_of(serve))  # without the interpreter's lock
            self.lock.writing(self._gather, threads, look)

    def _gather(self, threads: int, look: Any) -> None:
        while self.helpers < threads - 1:
            with suppress(RuntimeError):  # calls go on without those that cannot start
                threading.Thread(target=look, args=(self.board,), name="graphc", daemon=True).start()
            self.words[COUNT] += 1


def conductor() -> int:
    """The address of a kernel that runs, with helpers, the kernel that stands before its table of sizes."""
    return address_of(conduct)


CAN_WAIT = hasattr(os, "register_at_fork")  # whether this is a system with semaphores
_crew = Crew()


def crew() -> Crew:
    """This process's crew."""
    return _crew


def gather(threads: int) -> None:
    """Makes sure that a call may be shared by so many threads."""
    _crew.gather(threads)


def processors() -> int:
    """How many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def can_share() -> bool:
    """Whether this system has what helpers wait on."""
    return _crew.works


__all__ = ["LEAD", "WORTH", "Crew", "can_share", "conductor", "crew", "gather", "processors"]
