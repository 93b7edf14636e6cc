"""A step of several processes on one machine: gradients, their mean in memory that all share, and the update.

The mean goes as in Thakur, Rabenseifner and Gropp 2005, section 4.3: each rank adds up one piece of everyone's arrays,
in the order of the ranks, and puts it where all find it.
"""

from __future__ import annotations

from typing import Any

from numba import types

from graphc.codegen.abi import call_kernel
from graphc.codegen.buffer import set_word, word
from graphc.codegen.collect import BATCH, COUNT, END, FIRST
from graphc.codegen.llvm import intrinsic, loop, on_stack
from graphc.codegen.stop import STOPPED
from graphc.codegen.team import atomic_add, atomic_load, relax
from graphc.codegen.vectors import FOR_READING, FOR_WRITING, LINE, WORD, Vectors, element_bytes, prefetch
from graphc.codegen.watch import NOT_FINITE

ELSEWHERE = 1 << 28  # a status of steps, beyond those of index tests: another rank has failed

# Words of a step's table, which stands in place of a state. First what computes gradients, with the table of what it
# fills: the step's own outputs, then gradients. Then the update, with the table of what it takes: means, then scalars.
KERNEL, STATE, FILLED, OUTPUTS, EXCHANGE, NEXT = range(6)
UPDATE, UPDATE_STATE, TAKEN, MEANS, SIZES, SCALARS = range(6, 12)  # then each scalar's place among the inputs

# What brings the rows of the next batch together, a kernel's arguments; no task where nothing does.
COLLECTOR, TASK, DIMS, DESK = range(4)

# Words of an exchange's table; then for each dtype where everyone's rows are, where their mean goes, how many cache
# lines that is, and how many bytes a number has. The board has two words that all ranks share.
BOARD, SIZE, ROUND, SEEN, DTYPES, MEANT = range(6)
ROWS, MEAN, LINES, WIDTH = range(4)
ARRIVED, FAILED = range(2)
AHEAD = 8  # cache lines that are asked for: those of others come slowly


def _mean(letter: str) -> Any:
    """A function that fills cache lines at an address with the mean of those of ``count`` rows, added up in order."""

    def typer(typingctx: Any, rows: Any, count: Any, target: Any, lines: Any) -> Any:
        def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            rows, count, target, lines = args
            kinds = Vectors(builder.module, letter, LINE // element_bytes(letter))
            divisor = kinds.splat(builder, builder.sitofp(count, kinds.real))
            table, total = builder.inttoptr(rows, WORD.as_pointer()), on_stack(builder, kinds.vector)

            def line(base: Any, how: int = FOR_READING) -> Any:
                later = builder.add(base, builder.mul(builder.add(k, WORD(AHEAD)), WORD(LINE)))
                prefetch(builder, builder.inttoptr(later, kinds.vector.as_pointer()), how)
                return builder.inttoptr(builder.add(base, builder.mul(k, WORD(LINE))), kinds.vector.as_pointer())

            with loop(builder, lines) as k:
                builder.store(builder.load(line(builder.load(table))), total)
                with loop(builder, builder.sub(count, WORD(1))) as r:
                    row = builder.load(builder.gep(table, [builder.add(r, WORD(1))]))
                    builder.store(builder.fadd(builder.load(total), builder.load(line(row))), total)
                builder.store(builder.fdiv(builder.load(total), divisor), line(target, FOR_WRITING))
            return context.get_dummy_value()

        return types.none(*[types.int64] * 4), codegen

    return intrinsic(typer)


mean_float, mean_double = _mean("s"), _mean("d")


def bring(pending: int) -> Any:
    """Brings the rows of the next batch together, where there are some; 0, as nothing is pending any more."""
    task = word(pending, TASK)
    if task != 0:
        first = word(task, FIRST) + word(task, COUNT)
        count = min(word(task, BATCH), word(task, END) - first)
        if count > 0:
            set_word(task, FIRST, first)
            set_word(task, COUNT, count)
            call_kernel(word(pending, COLLECTOR), task, 0, word(pending, DIMS), 0, word(pending, DESK))
    return 0


def meet(table: int, pending: int) -> Any:
    """Waits until all ranks are here; what they wrote before is seen after.

    Who has to wait does what is ``pending`` meanwhile. Returns what is left of it.
    """
    until = word(table, ROUND) + word(table, SIZE)
    set_word(table, ROUND, until)
    atomic_add(word(table, BOARD), ARRIVED, 1)
    if pending != 0 and atomic_load(word(table, BOARD), ARRIVED) < until:
        pending = bring(pending)
    spins = 0
    while atomic_load(word(table, BOARD), ARRIVED) < until:
        spins += 1
        relax(spins)
    return pending


def exchange(table: int, failed: int, pending: int) -> Any:
    """Makes the means of what all ranks have; whether one of them has failed."""
    if word(table, SIZE) == 1:
        return failed
    if failed != 0:
        atomic_add(word(table, BOARD), FAILED, 1)
    pending = meet(table, pending)
    for k in range(word(table, DTYPES)):
        at = table + 8 * (MEANT + 4 * k)
        if word(at, WIDTH) == 4:
            mean_float(word(at, ROWS), word(table, SIZE), word(at, MEAN), word(at, LINES))
        else:
            mean_double(word(at, ROWS), word(table, SIZE), word(at, MEAN), word(at, LINES))
    before, now = word(table, SEEN), atomic_load(word(table, BOARD), FAILED)
    set_word(table, SEEN, now)
    meet(table, pending)
    return now - before


def step(inputs: int, outputs: int, dims: int, table: int, work: int) -> Any:
    """One step, called like a kernel.

    NOT_FINITE, with nothing stored, leaves the step to Python, which raises, or knows better.
    """
    for k in range(word(table, OUTPUTS)):
        set_word(word(table, FILLED), k, word(outputs, k))
    status = call_kernel(word(table, KERNEL), inputs, word(table, FILLED), dims, word(table, STATE), work)
    if status == 0:
        if exchange(word(table, EXCHANGE), 0, word(table, NEXT)) != 0:
            return ELSEWHERE
        for k in range(word(table, SCALARS)):
            set_word(word(table, TAKEN), word(table, MEANS) + k, word(inputs, word(table, SCALARS + 1 + k)))
        taken, sizes = word(table, TAKEN), word(table, SIZES)
        status = call_kernel(word(table, UPDATE), taken, 0, sizes, word(table, UPDATE_STATE), work)
    if status == 0 or status == STOPPED:
        return status
    return NOT_FINITE
