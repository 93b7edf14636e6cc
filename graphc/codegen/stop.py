"""Ctrl-C while a kernel's loop runs.

Python hears of signals between two of its own steps only, so a loop asks it now and then. It asks only where a call
from Python runs in the main thread, the one that answers: such a call notes its workspace (`graphc.run.note`). Other
callers of the same machine code (`exe.njit`, C) have no note, and are left alone.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types

from graphc.codegen.llvm import intrinsic

STOPPED = 1 << 29  # a status of kernels, beyond those of index tests: an exception has been raised
CALL, THREAD, LOOK = range(3)  # words of the note: the workspace, the main thread, the function that asks
NOTE = "graphc_note_of_stop"
EVERY = 1e8  # cost of what is done between two looks, as `schedule.stages` counts it: a millisecond or so


@intrinsic  # type: ignore[untyped-decorator]
def stopped(typingctx: Any, work: Any) -> Any:
    """Whether a call with this workspace must end: a signal has raised an exception."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        kind = ir.IntType(64)
        held = builder.module.globals.get(NOTE) or ir.GlobalVariable(builder.module, kind, NOTE)
        noted = builder.load(builder.gep(held, [kind(CALL)]))
        start = builder.block
        with builder.if_then(builder.icmp_signed("==", noted, args[0]), likely=False):
            at = builder.load(builder.gep(held, [kind(LOOK)]))
            function = builder.inttoptr(at, ir.FunctionType(kind, []).as_pointer())
            found = builder.icmp_signed("!=", builder.call(function, []), kind(0))
            asked = builder.block
        answer = builder.phi(ir.IntType(1))
        answer.add_incoming(ir.IntType(1)(0), start)
        answer.add_incoming(found, asked)
        return answer

    return types.boolean(types.int64), codegen
