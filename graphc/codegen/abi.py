"""Calling a kernel through its address, and the addresses that it wants."""

from __future__ import annotations

import hashlib
from typing import Any

from llvmlite import ir
from numba import types

from graphc.codegen.llvm import copy, declared, intrinsic, on_stack

PREFIX = "graphc"  # of the symbols in machine code
WORDS = (types.int64,) * 5


@intrinsic  # type: ignore[untyped-decorator]
def data_address(typingctx: Any, array: Any) -> Any:
    """Where an array's first element lies."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        data = context.make_array(sig.args[0])(context, builder, args[0]).data
        return builder.ptrtoint(data, ir.IntType(64))

    return types.int64(array), codegen


@intrinsic  # type: ignore[untyped-decorator]
def call_kernel(typingctx: Any, kernel: Any, inputs: Any, outputs: Any, dims: Any, state: Any, work: Any) -> Any:
    """The status of the kernel at an address, called on five addresses."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        word = ir.IntType(64)
        function = builder.inttoptr(args[0], ir.FunctionType(word, [word] * 5).as_pointer())
        return builder.call(function, args[1:])

    return types.int64(types.int64, *WORDS), codegen


@intrinsic  # type: ignore[untyped-decorator]
def copy_bytes(typingctx: Any, target: Any, source: Any, count: Any) -> Any:
    """Copies ``count`` bytes between addresses that do not overlap."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        byte = ir.IntType(8).as_pointer()
        to, from_ = builder.inttoptr(args[0], byte), builder.inttoptr(args[1], byte)
        copy(builder, to, from_, args[2])
        return context.get_dummy_value()

    return types.none(types.int64, types.int64, types.int64), codegen


@intrinsic(prefer_literal=True)  # type: ignore[untyped-decorator]
def stack(typingctx: Any, count: Any) -> Any:
    """The address of a known ``count`` of bytes on the stack, 64-byte aligned."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        memory = on_stack(builder, ir.ArrayType(ir.IntType(8), count.literal_value))
        memory.align = 64
        return builder.ptrtoint(memory, ir.IntType(64))

    return types.int64(count), codegen


@intrinsic  # type: ignore[untyped-decorator]
def outlined(typingctx: Any) -> Any:
    """Keeps LLVM from inlining the function that this stands in."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        builder.function.attributes.add("noinline")
        return context.get_dummy_value()

    return types.none(), codegen


@intrinsic  # type: ignore[untyped-decorator]
def keep(typingctx: Any, status: Any, arrays: Any) -> Any:
    """``status``; keeps a tuple of arrays, of which only addresses were used so far, alive up to here."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return args[0]

    return types.int64(types.int64, arrays), codegen


PART = ("places", "rows", "dims", "work", "scratch", "lo", "hi", "shard")  # what a part of a kernel is called with
PART_SIGNATURE = f"int64({', '.join(['int64'] * len(PART))})"


def part(symbol: str) -> Any:
    """A part of a kernel, compiled apart and known by its symbol."""
    return types.ExternalFunction(symbol, types.int64(*[types.int64] * len(PART)))


@intrinsic  # type: ignore[untyped-decorator]
def part_address(typingctx: Any, function: Any) -> Any:
    """Where a part of a kernel lies."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        word = ir.IntType(64)
        kind = ir.FunctionType(word, [word] * len(PART))
        return builder.ptrtoint(declared(builder.module, kind, function.symbol), word)

    return types.int64(function), codegen


@intrinsic  # type: ignore[untyped-decorator]
def call_part(
    typingctx: Any,
    address: Any,
    places: Any,
    rows: Any,
    dims: Any,
    work: Any,
    scratch: Any,
    lo: Any,
    hi: Any,
    shard: Any,
) -> Any:
    """The status of the part at an address."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        word = ir.IntType(64)
        function = builder.inttoptr(args[0], ir.FunctionType(word, [word] * len(PART)).as_pointer())
        return builder.call(function, args[1:])

    return types.int64(types.int64, *[types.int64] * len(PART)), codegen


def part_symbol(source: str) -> str:
    """The symbol of a function with this source."""
    return f"{PREFIX}_part_{hashlib.sha256(source.encode()).hexdigest()[:24]}"
