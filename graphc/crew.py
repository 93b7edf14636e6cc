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
from functools import cache

import numpy as np

from graphc.codegen.jit import Compiled, compile_source
from graphc.codegen.kernel import SIGNATURE
from graphc.ir.state import aligned_empty

WORTH = 1 << 23  # the least cost of a call that others are asked to join, some eighty microseconds
LEAD = 3  # words before a table of sizes: threads, the kernel's address, the board's

SOURCE = """
from graphc.codegen.abi import call_kernel
from graphc.codegen.buffer import set_word, word
from graphc.codegen.team import HELPERS, OPENED, STATUS
from graphc.codegen.team import atomic_add, atomic_load, atomic_store, atomic_swap, relax, sem_post, sem_wait


# words of a board, a cache line each: 0 taken, 8 call number (odd while it goes on), 16 helpers in it,
# 24 helpers asleep, 32 places left; 40 kernel, 41 to 45 its arguments; 48 semaphore


def serve(board):
    seen = 0
    while True:
        spins = 0
        call = atomic_load(board, 8)
        while call & 1 == 0 or call == seen:
            spins += 1
            relax(0)
            if spins > 4000:
                atomic_add(board, 24, 1)
                if atomic_load(board, 8) == call:
                    sem_wait(board + 8 * 48)
                atomic_add(board, 24, -1)
                spins = 0
            call = atomic_load(board, 8)
        seen = call
        if atomic_add(board, 32, -1) > 0:
            atomic_add(board, 16, 1)
            if atomic_load(board, 8) == call:
                call_kernel(
                    word(board, 40), word(board, 41), word(board, 42), word(board, 43), word(board, 44),
                    word(board, 45) + 1,
                )
            atomic_add(board, 16, -1)


def conduct(inputs, outputs, dims, state, work):
    threads, kernel, board = word(dims, -3), word(dims, -2), word(dims, -1)
    if atomic_swap(board, 0, 1) != 0:
        return call_kernel(kernel, inputs, outputs, dims, state, work)
    set_word(work, STATUS, 0)
    set_word(work, OPENED, 0)
    set_word(work, HELPERS, 0)
    set_word(board, 40, kernel)
    set_word(board, 41, inputs)
    set_word(board, 42, outputs)
    set_word(board, 43, dims)
    set_word(board, 44, state)
    set_word(board, 45, work)
    atomic_store(board, 32, threads - 1)
    call = atomic_add(board, 8, 1)
    for _ in range(min(atomic_load(board, 24), threads - 1)):
        sem_post(board + 8 * 48)
    status = call_kernel(kernel, inputs, outputs, dims, state, work)
    atomic_store(board, 8, call + 2)
    spins = 0
    while atomic_load(board, 16) != 0:
        spins += 1
        relax(spins)
    atomic_store(board, 0, 0)
    return status
"""


class Crew:
    """A board and the threads that look at it."""

    def __init__(self) -> None:
        self.words = aligned_empty((8 * 64,), np.dtype("int64"))
        self.board: int = self.words.ctypes.data
        self.clear()

    def clear(self) -> None:
        """An empty board that nobody looks at, where the old one was: executables know its address."""
        self.words[:] = 0
        self.helpers = 0
        self.guard = threading.Lock()
        self.works = ctypes.CDLL(None).sem_init(ctypes.c_void_p(self.board + 8 * 48), 0, 0) == 0

    def gather(self, threads: int) -> None:
        """Makes sure that ``threads - 1`` helpers are there."""
        with self.guard:
            while self.works and self.helpers < threads - 1:
                self.helpers += 1
                serve = _compiled("serve").entry
                threading.Thread(target=serve, args=(self.board,), name="graphc", daemon=True).start()


@cache
def _compiled(entry: str) -> Compiled:
    return compile_source(SOURCE, entry, "void(int64)" if entry == "serve" else SIGNATURE)


def conductor() -> int:
    """The address of a kernel that runs, with helpers, the kernel that stands before its table of sizes."""
    return _compiled("conduct").address


_crew: list[Crew] = []  # the one of this process


def crew() -> Crew:
    """This process's crew."""
    if not _crew:
        _crew.append(Crew())
    return _crew[0]


def gather(threads: int) -> None:
    """Makes sure that a call may be shared by so many threads."""
    crew().gather(threads)


def processors() -> int:
    """How many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def can_share() -> bool:
    """Whether this system has what helpers wait on."""
    return hasattr(os, "register_at_fork") and crew().works


def _after_fork() -> None:
    """Threads do not follow into a child."""
    for held in _crew:
        held.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


__all__ = ["LEAD", "WORTH", "Crew", "can_share", "conductor", "crew", "gather", "processors"]
