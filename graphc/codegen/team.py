"""Threads that share the shards of a call.

A kernel's shards are claimed one by one from counters at the head of its workspace, by however many threads are in
it. Nobody waits for a thread that has not come: a stage is over when all its shards are finished, and whoever finishes
the last runs what stands between two stages and opens the next.

The header of a workspace, in words: where an index was out of range, its value, the kernel's status, the stage that
is open, how many threads have joined; then, a cache line each, the shards claimed and finished of every stage. A
kernel that is called with the lowest bit of the workspace's address set joins a call that another thread has begun.
"""

from __future__ import annotations

import sys
from typing import Any

from llvmlite import ir
from numba import types

from graphc.codegen.llvm import declared, intrinsic
from graphc.codegen.machine import processor
from graphc.codegen.stop import STOPPED, must_stop
from graphc.schedule.memory import SHARDS

WORD = ir.IntType(64)
GRAIN = 1 << 21  # the least cost of a shard, some twenty microseconds
LINE = 64
STATUS, OPENED, HELPERS = 2, 3, 4
PATIENCE = 1 << 12  # looks at a flag before the processor is offered to others
ASKING = 1 << 6  # looks at a flag between two at Ctrl-C; each may last as long as others have the processor


def header_bytes(stages: int) -> int:
    """Bytes of the header of a workspace."""
    return LINE * (1 + 2 * stages)


def _slot(builder: Any, base: Any, k: Any) -> Any:
    return builder.gep(builder.inttoptr(base, WORD.as_pointer()), [k], inbounds=True)


@intrinsic  # type: ignore[untyped-decorator]
def atomic_add(typingctx: Any, base: Any, k: Any, change: Any) -> Any:
    """Adds to the ``k``-th word at ``base`` and returns what it was."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.atomic_rmw("add", _slot(builder, args[0], args[1]), args[2], "seq_cst")

    return types.int64(types.int64, types.int64, types.int64), codegen


@intrinsic  # type: ignore[untyped-decorator]
def atomic_swap(typingctx: Any, base: Any, k: Any, value: Any) -> Any:
    """Stores the ``k``-th word at ``base`` and returns what it was."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.atomic_rmw("xchg", _slot(builder, args[0], args[1]), args[2], "seq_cst")

    return types.int64(types.int64, types.int64, types.int64), codegen


@intrinsic  # type: ignore[untyped-decorator]
def atomic_load(typingctx: Any, base: Any, k: Any) -> Any:
    """The ``k``-th word at ``base``, and all that was written before it was."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.load_atomic(_slot(builder, args[0], args[1]), "seq_cst", 8)

    return types.int64(types.int64, types.int64), codegen


@intrinsic  # type: ignore[untyped-decorator]
def atomic_store(typingctx: Any, base: Any, k: Any, value: Any) -> Any:
    """Stores the ``k``-th word at ``base`` after all that was written before."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        builder.store_atomic(args[2], _slot(builder, args[0], args[1]), "seq_cst", 8)
        return context.get_dummy_value()

    return types.none(types.int64, types.int64, types.int64), codegen


def _pause(builder: Any) -> None:
    """Tells the processor that a thread only looks at a flag."""
    if processor()[0].startswith(("x86_64", "i686", "amd64")):  # modules have no triple until they are whole
        kind = ir.FunctionType(ir.VoidType(), [])
        builder.call(declared(builder.module, kind, "llvm.x86.sse2.pause"), [])


def _external(builder: Any, name: str, *args: Any) -> Any:
    """A call of a C function of one int."""
    kind = ir.FunctionType(ir.IntType(32), [a.type for a in args])
    return builder.call(declared(builder.module, kind, name), args)


def _relax(builder: Any, spins: Any) -> None:
    """A step of waiting: at first a pause, then the processor is offered to others."""
    _pause(builder)
    with builder.if_then(builder.icmp_unsigned(">", spins, WORD(PATIENCE))):
        _external(builder, "SwitchToThread" if sys.platform == "win32" else "sched_yield")


def _count(builder: Any, work: Any, stage: Any, line: int) -> Any:
    """Adds one to a stage's counter, which is ``line`` cache lines behind the header's first; what it was."""
    k = builder.add(builder.mul(stage, WORD(16)), WORD(8 * line))
    return builder.atomic_rmw("add", _slot(builder, work, k), WORD(1), "seq_cst")


@intrinsic  # type: ignore[untyped-decorator]
def relax(typingctx: Any, spins: Any) -> Any:
    """A step of waiting: at first a pause, then the processor is offered to others."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        _relax(builder, args[0])
        return context.get_dummy_value()

    return types.none(types.int64), codegen


def _semaphore(name: str) -> Any:
    """``sem_post`` or ``sem_wait`` of the C library on the semaphore at an address."""

    def typer(typingctx: Any, address: Any) -> Any:
        def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            _external(builder, name, builder.inttoptr(args[0], ir.IntType(8).as_pointer()))
            return context.get_dummy_value()

        return types.none(types.int64), codegen

    return intrinsic(typer)


sem_post, sem_wait = _semaphore("sem_post"), _semaphore("sem_wait")


@intrinsic  # type: ignore[untyped-decorator]
def leads(typingctx: Any, call: Any) -> Any:
    """True for the thread that begins a call."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.icmp_unsigned("==", builder.and_(args[0], WORD(1)), WORD(0))

    return types.boolean(types.int64), codegen


@intrinsic  # type: ignore[untyped-decorator]
def unmarked(typingctx: Any, call: Any) -> Any:
    """The workspace's address."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.and_(args[0], WORD(-2))

    return types.int64(types.int64), codegen


@intrinsic  # type: ignore[untyped-decorator]
def ticket(typingctx: Any, work: Any, call: Any) -> Any:
    """The thread's number in the call: 0 leads, the others count as they come."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        mark = builder.and_(args[1], WORD(1))
        before = builder.atomic_rmw("add", _slot(builder, args[0], WORD(HELPERS)), mark, "seq_cst")
        return builder.mul(builder.add(before, WORD(1)), mark)

    return types.int64(types.int64, types.int64), codegen


@intrinsic(prefer_literal=True)  # type: ignore[untyped-decorator]
def begin(typingctx: Any, work: Any, stages: Any) -> Any:
    """Clears the header for a call; stages are shut."""
    count = stages.literal_value

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        for k in (STATUS, OPENED, *(8 * (1 + j) for j in range(2 * count))):
            builder.store_atomic(WORD(0), _slot(builder, args[0], WORD(k)), "monotonic", 8)
        return context.get_dummy_value()

    return types.none(types.int64, stages), codegen


@intrinsic  # type: ignore[untyped-decorator]
def advance(typingctx: Any, work: Any, k: Any) -> Any:
    """Opens stage ``k``: all before it is done."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        builder.store_atomic(args[1], _slot(builder, args[0], WORD(OPENED)), "seq_cst", 8)
        return context.get_dummy_value()

    return types.none(types.int64, types.int64), codegen


@intrinsic  # type: ignore[untyped-decorator]
def claim(typingctx: Any, work: Any, k: Any) -> Any:
    """The number of a shard of stage ``k`` that nobody has claimed; too large where there is none left."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return _count(builder, args[0], args[1], 1)

    return types.int64(types.int64, types.int64), codegen


@intrinsic  # type: ignore[untyped-decorator]
def finish(typingctx: Any, work: Any, k: Any) -> Any:
    """Notes that a shard of stage ``k`` is done; how many are."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.add(_count(builder, args[0], args[1], 2), WORD(1))

    return types.int64(types.int64, types.int64), codegen


@intrinsic  # type: ignore[untyped-decorator]
def fail(typingctx: Any, work: Any, status: Any) -> Any:
    """Ends the call for every thread in it."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        _fail(builder, *args)
        return args[1]

    return types.int64(types.int64, types.int64), codegen


def _fail(builder: Any, work: Any, status: Any) -> None:
    builder.store_atomic(status, _slot(builder, work, WORD(STATUS)), "seq_cst", 8)


def _opened(asks: bool) -> Any:
    """A function that waits until stage ``k`` is open, or the call has failed; the status."""

    def typer(typingctx: Any, work: Any, k: Any) -> Any:
        def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            work, k = args
            start = builder.block
            look = builder.append_basic_block("look")
            wait = builder.append_basic_block("wait")
            done = builder.append_basic_block("done")
            builder.branch(look)
            builder.position_at_end(look)
            spins = builder.phi(WORD)
            spins.add_incoming(WORD(0), start)
            status = builder.load_atomic(_slot(builder, work, WORD(STATUS)), "seq_cst", 8)
            now = builder.load_atomic(_slot(builder, work, WORD(OPENED)), "seq_cst", 8)
            ready = builder.or_(builder.icmp_signed(">=", now, k), builder.icmp_signed("!=", status, WORD(0)))
            builder.cbranch(ready, done, wait)
            builder.position_at_end(wait)
            more = builder.add(spins, WORD(1))
            _relax(builder, more)
            if asks:
                late = builder.icmp_unsigned(">", more, WORD(PATIENCE))
                due = builder.icmp_signed("==", builder.and_(more, WORD(ASKING - 1)), WORD(0))
                due = builder.and_(due, late)
                with builder.if_then(due, likely=False), builder.if_then(must_stop(builder, work), likely=False):
                    _fail(builder, work, WORD(STOPPED))
            spins.add_incoming(more, builder.block)
            builder.branch(look)
            builder.position_at_end(done)
            return status

        return types.int64(types.int64, types.int64), codegen

    return intrinsic(typer)


opened = _opened(asks=False)
opened_or_stopped = _opened(asks=True)  # where others may be in a loop that Ctrl-C must end


@intrinsic  # type: ignore[untyped-decorator]
def shards(typingctx: Any, cost: Any, most: Any) -> Any:
    """How many shards work of this cost is cut into: from 1 to ``most``, and to SHARDS."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        count = builder.sdiv(args[0], WORD(GRAIN))
        for limit in (args[1], WORD(SHARDS)):
            count = builder.select(builder.icmp_signed("<", count, limit), count, limit)
        return builder.select(builder.icmp_signed(">", count, WORD(1)), count, WORD(1))

    return types.int64(types.int64, types.int64), codegen
