"""The rows of a shuffled batch, brought together by as many threads as share a call."""

from __future__ import annotations

from typing import Any

from graphc.codegen.abi import copy_bytes
from graphc.codegen.buffer import word
from graphc.codegen.team import advance, begin, claim, finish, header_bytes, leads, opened, unmarked

HALVINGS = 4  # of a batch into shares
SHARES = 1 << HALVINGS
WORK_BYTES = header_bytes(1)
ORDER, FIRST, COUNT, INPUTS, LEAD = 0, 1, 2, 3, 4  # words of a task; then three for each input
TARGET, SOURCE, BYTES = 0, 1, 2  # where its rows go, where they lie, and how long one is


def collect(task: int, outputs: int, dims: int, state: int, work: int) -> Any:
    """Copies the rows at ``COUNT`` positions of ``ORDER`` from ``FIRST`` on, for each input. Called like a kernel."""
    call, work = work, unmarked(work)
    if leads(call):
        begin(work, 1)
        advance(work, 1)
    opened(work, 1)
    order, count = word(task, ORDER) + 8 * word(task, FIRST), word(task, COUNT)
    turn = claim(work, 0)
    while turn < SHARES:
        for r in range(count * turn >> HALVINGS, count * (turn + 1) >> HALVINGS):
            for k in range(word(task, INPUTS)):
                at = task + 8 * (LEAD + 3 * k)
                size = word(at, BYTES)
                copy_bytes(word(at, TARGET) + r * size, word(at, SOURCE) + word(order, r) * size, size)
        if finish(work, 0) == SHARES:
            advance(work, 2)
        turn = claim(work, 0)
    return opened(work, 2)
