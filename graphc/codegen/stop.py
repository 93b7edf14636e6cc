"""Ctrl-C while a kernel's loop runs.

Python hears of signals between two of its own steps only, so a loop asks it now and then, and so does a thread that
waits for others which may be in a loop. Only the main thread hears, so a call that it makes notes its workspace
(`graphc.run.note`); threads that share the call are told what it heard. Other callers of the same machine code
(`exe.njit`, C) have no note, and are left alone.

A call that machine code makes for the interpreter leaves the exception with it (`graphc.codegen.entry`). One that
Python makes, of an exported module or of many batches, is told what was raised (`answering`).
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable, Iterator
from typing import Any

from llvmlite import ir
from numba import types

from graphc.codegen.llvm import declared, intrinsic

STOPPED = 1 << 29  # a status of kernels, beyond those of index tests: an exception has been raised
# words of the note: the workspace, the main thread, the function that it asks by, and whether that raised something
CALL, THREAD, LOOK, RAISED = range(4)
NOTE = "graphc_note_of_stop"
EVERY = 1e8  # cost of what is done between two looks, as `schedule.stages` counts it: a millisecond or so


def must_stop(builder: Any, work: Any) -> Any:
    """Whether a call with this workspace must end: a signal has raised an exception."""
    kind = ir.IntType(64)
    held = builder.module.globals.get(NOTE) or ir.GlobalVariable(builder.module, kind, NOTE)
    call, thread, look, raised = (builder.gep(held, [kind(k)]) for k in (CALL, THREAD, LOOK, RAISED))
    start = builder.block
    with builder.if_then(builder.icmp_signed("==", builder.load(call), work), likely=False):
        identity = declared(builder.module, ir.FunctionType(kind, []), "PyThread_get_thread_ident")
        with builder.if_then(builder.icmp_signed("==", builder.call(identity, []), builder.load(thread))):
            function = builder.inttoptr(builder.load(look), ir.FunctionType(kind, []).as_pointer())
            builder.store_atomic(builder.call(function, []), raised, "seq_cst", 8)
        found = builder.icmp_signed("!=", builder.load_atomic(raised, "seq_cst", 8), kind(0))
        asked = builder.block
    answer = builder.phi(ir.IntType(1))
    answer.add_incoming(ir.IntType(1)(0), start)
    answer.add_incoming(found, asked)
    return answer


@intrinsic  # type: ignore[untyped-decorator]
def stopped(typingctx: Any, work: Any) -> Any:
    """Whether a call with this workspace must end: a signal has raised an exception."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return must_stop(builder, args[0])

    return types.boolean(types.int64), codegen


def looks(raised: list[BaseException]) -> Iterator[int]:
    """Whether a signal has raised something, asked by ``next`` while a kernel runs.

    Python answers signals as a generator goes on, so what they raise is met where it is asked for.
    """
    while True:
        try:
            yield len(raised)
        except GeneratorExit:
            return
        except BaseException as error:
            raised.append(error)


def answering(note: Any, work: int, call: Callable[[], int]) -> int:
    """The status that a call with this workspace returns; raises what a signal does meanwhile.

    Only the main thread answers signals, so calls in others are left alone.
    """
    if threading.current_thread() is not threading.main_thread():
        return int(call())
    raised: list[BaseException] = []
    asked = looks(raised)
    next(asked)
    look, before = ctypes.CFUNCTYPE(ctypes.c_int64)(asked.__next__), (note[CALL], note[LOOK])
    try:
        note[THREAD], note[LOOK] = threading.get_ident(), ctypes.cast(look, ctypes.c_void_p).value
        note[RAISED], note[CALL] = 0, work
        status = int(call())
    finally:
        note[CALL], note[LOOK] = before
        note[RAISED] = 0
    if raised:
        raise raised[0]
    return status
