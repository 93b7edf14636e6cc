"""Calling a kernel through its address, and the addresses that it wants."""

from __future__ import annotations

import hashlib
from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

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
        cgutils.raw_memcpy(builder, to, from_, args[2], 1)
        return context.get_dummy_value()

    return types.none(types.int64, types.int64, types.int64), codegen


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
        return builder.ptrtoint(cgutils.get_or_insert_function(builder.module, kind, function.symbol), word)

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
    return f"graphc_part_{hashlib.sha256(source.encode()).hexdigest()[:24]}"


def entry_source(n_inputs: int, n_outputs: int) -> str:
    """A function of typed arrays that fills a kernel's address tables, at the head of the workspace, and calls it."""
    ins, outs = [f"a{k}" for k in range(n_inputs)], [f"o{k}" for k in range(n_outputs)]
    lines = [
        "from graphc.codegen.abi import call_kernel, data_address",
        "from graphc.codegen.buffer import set_word",
        "",
        "",
    ]
    lines.append(f"def enter({', '.join(['kernel', *ins, *outs, 'dims', 'state', 'work'])}):")
    lines += [f"    set_word(work, {k}, data_address({name}))" for k, name in enumerate(ins + outs)]
    lines.append(
        f"    return call_kernel(kernel, work, work + {8 * n_inputs}, dims, state, "
        f"work + {head_bytes(n_inputs, n_outputs)})"
    )
    return "\n".join(lines) + "\n"


def head_bytes(n_inputs: int, n_outputs: int) -> int:
    """Bytes of the address tables, whole cache lines."""
    return -(-8 * (n_inputs + n_outputs) // 64) * 64
