"""Counter-based random numbers inside kernels: the twin of `graphc.ops.counter_rng`, bit for bit.

Threefry-2x32, 20 rounds (Salmon et al. 2011), built as LLVM instructions on 32-bit words, so loops over positions
vectorise and the key schedule leaves the loop.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types

from graphc.codegen.llvm import frozen, intrinsic
from graphc.ops.counter_rng import PARITY, ROTATIONS

WORD, LONG = ir.IntType(32), ir.IntType(64)


def _word(value: int) -> Any:
    return ir.Constant(WORD, value)


def _threefry(b: Any, key0: Any, key1: Any, x0: Any, x1: Any) -> tuple[Any, Any]:
    keys = (key0, key1, b.xor(b.xor(key0, key1), _word(PARITY)))
    # What counts with a loop is hidden: LLVM would find the count in every sum below, and write each anew from it
    x0, x1 = frozen(b, b.add(x0, keys[0])), frozen(b, b.add(x1, keys[1]))
    for block in range(5):
        for r in ROTATIONS[block % 2]:
            x0 = b.add(x0, x1)
            x1 = b.or_(b.shl(x1, _word(r)), b.lshr(x1, _word(32 - r)))
            x1 = b.xor(x1, x0)
        x0 = b.add(x0, keys[(block + 1) % 3])
        x1 = b.add(b.add(x1, keys[(block + 2) % 3]), _word(block + 1))
    return x0, x1


def _words(b: Any, seed: Any, counter: Any, stream: Any, position: Any) -> tuple[Any, Any]:
    def low(value: Any) -> Any:
        return b.trunc(value, WORD)

    def high(value: Any) -> Any:
        return b.trunc(b.lshr(value, ir.Constant(LONG, 32)), WORD)

    mixed = b.xor(high(counter), b.mul(low(stream), _word(0x9E3779B9)))
    key0, key1 = _threefry(b, low(seed), high(seed), low(counter), mixed)
    return _threefry(b, key0, key1, low(position), high(position))


SIGNATURE = (types.int64,) * 4


@intrinsic  # type: ignore[untyped-decorator]
def word32(typingctx: Any, seed: Any, counter: Any, stream: Any, position: Any) -> Any:
    """Any int32."""

    def codegen(context: Any, b: Any, sig: Any, args: Any) -> Any:
        x0, _ = _words(b, *args)
        return b.xor(x0, _word(0x80000000))

    return types.int32(*SIGNATURE), codegen


@intrinsic  # type: ignore[untyped-decorator]
def word64(typingctx: Any, seed: Any, counter: Any, stream: Any, position: Any) -> Any:
    """Any int64."""

    def codegen(context: Any, b: Any, sig: Any, args: Any) -> Any:
        x0, x1 = _words(b, *args)
        return b.or_(b.shl(b.zext(x0, LONG), LONG(32)), b.zext(x1, LONG))

    return types.int64(*SIGNATURE), codegen


@intrinsic  # type: ignore[untyped-decorator]
def uniform32(typingctx: Any, seed: Any, counter: Any, stream: Any, position: Any) -> Any:
    """float32 in [0, 1), 24 bits."""

    def codegen(context: Any, b: Any, sig: Any, args: Any) -> Any:
        x0, _ = _words(b, *args)
        kind = ir.FloatType()
        return b.fmul(b.sitofp(b.lshr(x0, _word(8)), kind), ir.Constant(kind, 2.0**-24))

    return types.float32(*SIGNATURE), codegen


@intrinsic  # type: ignore[untyped-decorator]
def uniform64(typingctx: Any, seed: Any, counter: Any, stream: Any, position: Any) -> Any:
    """float64 in [0, 1), 53 bits."""

    def codegen(context: Any, b: Any, sig: Any, args: Any) -> Any:
        x0, x1 = _words(b, *args)
        kind = ir.DoubleType()
        upper = b.sitofp(b.lshr(x0, _word(5)), kind)
        lower = b.sitofp(b.lshr(x1, _word(6)), kind)
        both = b.fadd(b.fmul(upper, ir.Constant(kind, 67108864.0)), lower)
        return b.fmul(both, ir.Constant(kind, 2.0**-53))

    return types.float64(*SIGNATURE), codegen


def _signed(b: Any, kind: Any, args: Any) -> Any:
    x0, x1 = _words(b, *args)
    high = b.sitofp(b.and_(x0, _word(0x7FFFFFFF)), kind)
    low = b.sitofp(b.lshr(x1, _word(1)), kind)
    least = b.fadd(b.fmul(low, ir.Constant(kind, 2.0**-62)), ir.Constant(kind, 2.0**-63))
    size = b.fadd(b.fmul(high, ir.Constant(kind, 2.0**-31)), least)
    return b.select(b.icmp_signed("<", x0, _word(0)), b.fneg(size), size)


@intrinsic  # type: ignore[untyped-decorator]
def signed32(typingctx: Any, seed: Any, counter: Any, stream: Any, position: Any) -> Any:
    """float32 in [-1, 1] without 0, of 62 bits and a sign."""

    def codegen(context: Any, b: Any, sig: Any, args: Any) -> Any:
        return _signed(b, ir.FloatType(), args)

    return types.float32(*SIGNATURE), codegen


@intrinsic  # type: ignore[untyped-decorator]
def signed64(typingctx: Any, seed: Any, counter: Any, stream: Any, position: Any) -> Any:
    """The same in float64."""

    def codegen(context: Any, b: Any, sig: Any, args: Any) -> Any:
        return _signed(b, ir.DoubleType(), args)

    return types.float64(*SIGNATURE), codegen
