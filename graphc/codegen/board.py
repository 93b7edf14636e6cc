"""The board on which a call is put up for helpers, and what they and the caller do there."""

from __future__ import annotations

from typing import Any

from graphc.codegen.abi import call_kernel
from graphc.codegen.buffer import set_word, word
from graphc.codegen.team import (
    HELPERS,
    OPENED,
    STATUS,
    atomic_add,
    atomic_load,
    atomic_store,
    atomic_swap,
    relax,
    sem_post,
    sem_wait,
)

# words of a board, a cache line apart where several threads write
TAKEN, CALL, INSIDE, ASLEEP, LEFT, KERNEL, SEMAPHORE, COUNT = 0, 8, 16, 24, 32, 40, 48, 56
BYTES = 8 * 64
LOOKS = 4000  # at the board before a helper falls asleep
LEAD = 3  # words before a table of sizes: threads, the kernel's address, the board's


def serve(board: int) -> None:
    """Looks for calls to join: the call's number is odd while it goes on, and so many places are left in it."""
    seen = 0
    while True:
        spins, call = 0, atomic_load(board, CALL)
        while call & 1 == 0 or call == seen:
            spins += 1
            relax(0)
            if spins > LOOKS:
                atomic_add(board, ASLEEP, 1)
                if atomic_load(board, CALL) == call:
                    sem_wait(board + 8 * SEMAPHORE)
                atomic_add(board, ASLEEP, -1)
                spins = 0
            call = atomic_load(board, CALL)
        seen = call
        if atomic_add(board, LEFT, -1) > 0:
            atomic_add(board, INSIDE, 1)
            if atomic_load(board, CALL) == call:
                at = board + 8 * KERNEL
                call_kernel(word(at, 0), word(at, 1), word(at, 2), word(at, 3), word(at, 4), word(at, 5) + 1)
            atomic_add(board, INSIDE, -1)


def conduct(inputs: int, outputs: int, dims: int, state: int, work: int) -> Any:
    """Runs the kernel that stands before its table of sizes, with helpers where the board is free."""
    threads, kernel, board = word(dims, -3), word(dims, -2), word(dims, -1)
    if atomic_swap(board, TAKEN, 1) != 0:
        return call_kernel(kernel, inputs, outputs, dims, state, work)
    set_word(work, STATUS, 0)
    set_word(work, OPENED, 0)
    set_word(work, HELPERS, 0)
    set_word(board, KERNEL, kernel)
    set_word(board, KERNEL + 1, inputs)
    set_word(board, KERNEL + 2, outputs)
    set_word(board, KERNEL + 3, dims)
    set_word(board, KERNEL + 4, state)
    set_word(board, KERNEL + 5, work)
    atomic_store(board, LEFT, threads - 1)
    call, asleep = atomic_add(board, CALL, 1), atomic_load(board, ASLEEP)
    for _ in range(asleep if asleep < threads - 1 else threads - 1):
        sem_post(board + 8 * SEMAPHORE)
    status = call_kernel(kernel, inputs, outputs, dims, state, work)
    atomic_store(board, CALL, call + 2)
    spins = 0
    while atomic_load(board, INSIDE) != 0:
        spins += 1
        relax(spins)
    atomic_store(board, TAKEN, 0)
    return status
