"""How long each part of a kernel takes: for `Executable.profile` only.

``times`` is a table of words: when the clock was last read, then the ticks of each part. A tick is whatever the
processor counts; shares of the whole are what is read of them.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types

from graphc.codegen.llvm import declared, intrinsic

WORD = ir.IntType(64)


def _now(builder: Any) -> Any:
    return builder.call(declared(builder.module, ir.FunctionType(WORD, []), "llvm.readcyclecounter"), [])


def _place(builder: Any, table: Any, k: Any) -> Any:
    return builder.gep(builder.inttoptr(table, WORD.as_pointer()), [k], inbounds=True)


@intrinsic  # type: ignore[untyped-decorator]
def start_clock(typingctx: Any, times: Any) -> Any:
    """The first part begins."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        builder.store(_now(builder), _place(builder, args[0], WORD(0)))
        return context.get_dummy_value()

    return types.none(types.int64), codegen


@intrinsic  # type: ignore[untyped-decorator]
def tick(typingctx: Any, times: Any, k: Any) -> Any:
    """Part ``k`` is over, or a shard of it, and the next begins."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        last, total = (_place(builder, args[0], at) for at in (WORD(0), builder.add(args[1], WORD(1))))
        now = _now(builder)
        spent = builder.sub(now, builder.load(last))
        builder.store(builder.add(builder.load(total), spent), total)
        builder.store(now, last)
        return context.get_dummy_value()

    return types.none(types.int64, types.int64), codegen
