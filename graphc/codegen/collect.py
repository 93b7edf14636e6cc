"""The rows of a shuffled batch, brought together by as many threads as share a call."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types

from graphc.codegen.abi import copy_bytes
from graphc.codegen.buffer import word
from graphc.codegen.llvm import intrinsic, loop
from graphc.codegen.team import advance, begin, claim, finish, header_bytes, leads, opened, unmarked
from graphc.codegen.vectors import LINE, WORD, prefetch

HALVINGS = 4  # of a batch into shares
SHARES = 1 << HALVINGS
AHEAD = 2  # rows
WITHIN = LINE.bit_length() - 1  # bits of an address within a cache line
WORK_BYTES = header_bytes(1)
# Words of a task, then three for each input: positions, the first and the number of those brought together last, the
# rows of a batch and of a pass.
ORDER, FIRST, COUNT, BATCH, END, INPUTS, LEAD = range(7)
TARGET, SOURCE, BYTES = 0, 1, 2  # where its rows go, where they lie, and how long one is


@intrinsic  # type: ignore[untyped-decorator]
def copy_lines(typingctx: Any, target: Any, source: Any, other: Any, count: Any) -> Any:
    """Copies so many cache lines, and asks for as many at another address on the way.

    Rows that lie anywhere are not foreseen by the processor; copied without asking they take twice as long.
    """

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        target, source, other, count = args
        vector = ir.VectorType(WORD, LINE // 8)
        with loop(builder, count) as k:
            at = builder.mul(k, WORD(LINE))
            prefetch(builder, builder.inttoptr(builder.add(other, at), vector.as_pointer()))
            line = builder.load(builder.inttoptr(builder.add(source, at), vector.as_pointer()))
            line.align = 1
            builder.store(line, builder.inttoptr(builder.add(target, at), vector.as_pointer())).align = 1
        return context.get_dummy_value()

    return types.none(*[types.int64] * 4), codegen


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
                lines = size >> WITHIN
                copied = lines << WITHIN
                target, source = word(at, TARGET) + r * size, word(at, SOURCE) + word(order, r) * size
                later = word(at, SOURCE) + word(order, min(r + AHEAD, count - 1)) * size
                copy_lines(target, source, later, lines)
                copy_bytes(target + copied, source + copied, size - copied)
        if finish(work, 0) == SHARES:
            advance(work, 2)
        turn = claim(work, 0)
    return opened(work, 2)
