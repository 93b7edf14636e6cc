"""Pieces of LLVM IR that several writers use: functions by their symbols, memory on the stack, loops, copies."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from llvmlite import ir
from numba import extending


def declared(module: Any, kind: Any, name: str) -> Any:
    """A module's function of that name; declared where there is none yet."""
    found = module.globals.get(name)
    return ir.Function(module, kind, name) if found is None else found


def on_stack(builder: Any, kind: Any, count: int | None = None, name: str = "") -> Any:
    """Memory for ``count`` values of a type, one by default, that a function takes once; the first is zero."""
    with builder.goto_entry_block():
        place = builder.alloca(kind, size=None if count is None else ir.IntType(64)(count), name=name)
        builder.store(kind(None), place)
    return place


def frozen(builder: Any, value: Any) -> Any:
    """The value, of which LLVM does not see how it was made."""
    made = builder.fneg(value)  # llvmlite has no freeze: another instruction of one operand, under that name
    made.opname = "freeze"
    return made


def kept(builder: Any, value: Any) -> Any:
    """Memory on the stack that holds a value."""
    place = on_stack(builder, value.type)
    builder.store(value, place)
    return place


@contextmanager
def loop(builder: Any, count: Any) -> Iterator[Any]:
    """A loop over the numbers below ``count``, the one at hand being given; the builder goes on behind it."""
    head, body, done = (builder.append_basic_block(f"for.{name}") for name in ("cond", "body", "end"))
    before = builder.basic_block
    builder.branch(head)
    with builder.goto_block(head):
        index = builder.phi(count.type, name="loop.index")
        builder.cbranch(builder.icmp_signed("<", index, count), body, done)
    with builder.goto_block(body):
        yield index
        last = builder.basic_block
        following = builder.add(index, count.type(1), flags=("nsw",))
        if not last.is_terminated:
            builder.branch(head)
    index.add_incoming(count.type(0), before)
    index.add_incoming(following, last)
    builder.position_at_end(done)


def copy(builder: Any, target: Any, source: Any, count: Any) -> None:
    """Copies ``count`` bytes between pointers to bytes that do not overlap."""
    byte = ir.IntType(8).as_pointer()
    function = builder.module.declare_intrinsic("llvm.memcpy", [byte, byte, count.type])
    builder.call(function, [target, source, count, ir.IntType(1)(0)])


def clear(builder: Any, target: Any, count: Any) -> None:
    """Fills ``count`` bytes at a pointer to bytes with zeros."""
    function = builder.module.declare_intrinsic("llvm.memset", [ir.IntType(8).as_pointer(), count.type])
    builder.call(function, [target, ir.IntType(8)(0), count, ir.IntType(1)(0)])


def with_parameters(function: Callable[..., Any], *names: str) -> Callable[..., Any]:
    """A function that takes any number of arguments, with the signature of one with these parameters.

    Numba reads how many an intrinsic has.
    """
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    function.__signature__ = inspect.Signature([inspect.Parameter(name, kind) for name in names])  # type: ignore[attr-defined]
    return function


def intrinsic(define: Any = None, *, prefer_literal: bool = False) -> Any:
    """``numba.extending.intrinsic``, which keeps at hand what it was made of.

    ``define(typingctx, *types)`` gives a signature and ``codegen(context, builder, signature, values)``.
    """
    if define is None:
        return lambda function: intrinsic(function, prefer_literal=prefer_literal)
    made = extending.intrinsic(prefer_literal=prefer_literal)(define)
    made.define, made.prefer_literal = define, prefer_literal
    return made
