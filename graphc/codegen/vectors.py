"""Vectors in LLVM IR that graphc writes itself: loads and stores under a mask, and functions that modules share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

from llvmlite import ir

from graphc.codegen.abi import PREFIX
from graphc.codegen.llvm import declared, loop

WORD = ir.IntType(64)
ZERO, ONE = WORD(0), WORD(1)
TURN = 16  # bytes of a row of a square that is transposed in registers
MASKS = 64  # bytes of a vector whose stores under a mask cost what others do


def vector_bytes(context: Any) -> int:
    """Bytes of a vector register on the processor that a Numba context compiles for."""
    has = set(context.codegen().magic_tuple()[2].split(","))
    return 64 if "+avx512f" in has else 32 if "+avx" in has else 16


def element_bytes(letter: str) -> int:
    """Bytes of an element: "s" is float32 and "d" float64, as in the names of BLAS functions."""
    return 4 if letter == "s" else 8


class Vectors:
    """Writes code on vectors of ``lanes`` elements of one dtype into a module."""

    def __init__(self, module: Any, letter: str, lanes: int) -> None:
        self.module = module
        self.letter = letter  # "s" or "d"
        self.lanes = lanes

    @cached_property
    def real(self) -> Any:
        return ir.FloatType() if self.letter == "s" else ir.DoubleType()

    @property
    def bytes(self) -> int:
        return element_bytes(self.letter)

    @cached_property
    def vector(self) -> Any:
        return ir.VectorType(self.real, self.lanes)

    def function(self, name: str, arguments: list[Any]) -> tuple[Any, Any]:
        """A function that other modules may hold too, and a builder where its body is still to be written."""
        kind = ir.FunctionType(ir.VoidType(), arguments)
        function = declared(self.module, kind, f"{PREFIX}_{self.letter}_{name}")
        if not function.is_declaration:
            return function, None
        function.linkage = "linkonce_odr"
        function.attributes.add("noinline")
        return function, ir.IRBuilder(function.append_basic_block("start"))

    # ---- vectors

    def call(self, builder: Any, name: str, result: Any, *args: Any) -> Any:
        """A call of LLVM's own function on vectors of this dtype."""
        kind = ir.FunctionType(result, [a.type for a in args])
        suffix = f"v{self.lanes}f{8 * self.bytes}"
        name = f"llvm.{name}.{suffix}" + (".p0" if "masked" in name else "")
        return builder.call(declared(self.module, kind, name), args)

    def splat(self, builder: Any, value: Any) -> Any:
        empty = ir.Constant(ir.VectorType(value.type, self.lanes), ir.Undefined)
        everywhere = ir.Constant(ir.VectorType(ir.IntType(32), self.lanes), None)
        return builder.shuffle_vector(builder.insert_element(empty, value, ir.IntType(32)(0)), empty, everywhere)

    def mask(self, builder: Any, count: Any) -> Any:
        """True in the first ``count`` lanes."""
        kind = ir.IntType(8 * self.bytes)
        lanes = ir.Constant(ir.VectorType(kind, self.lanes), list(range(self.lanes)))
        count = builder.trunc(count, kind) if self.bytes < 8 else count
        return builder.icmp_signed("<", lanes, self.splat(builder, count))

    def load(self, builder: Any, at: Any, mask: Any = None) -> Any:
        """A vector from any address; lanes beside the mask are zero and not read."""
        at = builder.bitcast(at, self.vector.as_pointer())
        if mask is not None:
            zero = ir.Constant(self.vector, None)
            return self.call(builder, "masked.load", self.vector, at, ir.IntType(32)(self.bytes), mask, zero)
        loaded = builder.load(at)
        loaded.align = self.bytes
        return loaded

    def store(self, builder: Any, value: Any, at: Any, mask: Any = None) -> None:
        at = builder.bitcast(at, self.vector.as_pointer())
        if mask is not None:
            self.call(builder, "masked.store", ir.VoidType(), value, at, ir.IntType(32)(self.bytes), mask)
        else:
            builder.store(value, at).align = self.bytes

    def store_part(self, builder: Any, values: Sequence[Any], places: Sequence[Any], count: Any) -> None:
        """Stores the first ``count`` lanes of each vector, not all: half of them if there are so many, then the rest.

        Stores under a mask are used where they cost no more than others.
        """
        if self.lanes * self.bytes == MASKS:
            mask = self.mask(builder, count)
            for value, place in zip(values, places, strict=True):
                self.store(builder, value, place, mask)
            return
        half = self.lanes // 2
        low, before = [self.part(builder, v, 0) for v in values], builder.block
        with builder.if_then(builder.icmp_signed("!=", builder.and_(count, WORD(half)), ZERO)):
            for value, place in zip(low, places, strict=True):
                builder.store(value, builder.bitcast(place, value.type.as_pointer())).align = self.bytes
            high = [self.part(builder, v, half) for v in values]
            further, after = [builder.gep(place, [WORD(half)]) for place in places], builder.block
        if half > 1:
            rest = [merged(builder, (x, before), (y, after)) for x, y in zip(low, high, strict=True)]
            at = [merged(builder, (x, before), (y, after)) for x, y in zip(places, further, strict=True)]
            Vectors(self.module, self.letter, half).store_part(builder, rest, at, count)

    def part(self, builder: Any, value: Any, first: int) -> Any:
        """Half of a vector from a lane on; a number where that is one."""
        half, number = self.lanes // 2, ir.IntType(32)
        if half == 1:
            return builder.extract_element(value, number(first))
        order = ir.Constant(ir.VectorType(number, half), list(range(first, first + half)))
        return builder.shuffle_vector(value, value, order)

    @property
    def side(self) -> int:
        """Rows and columns of squares that are turned, whose rows fill 16 bytes: processors are fast within those."""
        return TURN // self.bytes

    def turn(self, builder: Any, lines: list[Any], at: Any, mask: Any = None) -> list[Any]:
        """The next vectors of a matrix whose columns are ``lines``, from ``at`` on: a square of each few columns."""
        side, number = self.side, ir.IntType(32)
        narrow = Vectors(self.module, self.letter, side)
        block = []
        for x in range(side):
            parts = [narrow.load(builder, builder.gep(line, [at]), mask) for line in lines[x::side]]
            while len(parts) > 1:
                order = ir.Constant(
                    ir.VectorType(number, 2 * parts[0].type.count), list(range(2 * parts[0].type.count))
                )
                parts = [builder.shuffle_vector(*pair, order) for pair in zip(parts[::2], parts[1::2], strict=True)]
            block += parts
        half = side // 2
        low, high = (
            ir.Constant(
                ir.VectorType(number, self.lanes),
                [
                    y
                    for q in range(0, self.lanes, side)
                    for x in range(half)
                    for y in (q + x + s, q + x + s + self.lanes)
                ],
            )
            for s in (0, half)
        )
        for _ in range(half.bit_length()):  # a perfect shuffle, once for each bit of a position
            pairs = [(block[x], block[x + half]) for x in range(half)]
            block = [builder.shuffle_vector(*pair, order) for pair in pairs for order in (low, high)]
        return block


FOR_READING, FOR_WRITING, INTO_ALL_CACHES, OF_DATA = 0, 1, 3, 1  # how LLVM's prefetch is asked
LINE = 64  # bytes of a cache line


def prefetch(builder: Any, at: Any, how: int = FOR_READING) -> None:
    """Asks for the cache line at a pointer, which may lead anywhere."""
    byte, number = ir.IntType(8).as_pointer(), ir.IntType(32)
    kind = ir.FunctionType(ir.VoidType(), [byte, number, number, number])
    function = declared(builder.module, kind, "llvm.prefetch.p0")
    asked = (number(x) for x in (how, INTO_ALL_CACHES, OF_DATA))
    builder.call(function, [builder.bitcast(at, byte), *asked])


def least(builder: Any, x: Any, y: Any) -> Any:
    """The smaller of two words."""
    return builder.select(builder.icmp_signed("<", x, y), x, y)


def pieces(builder: Any, count: Any, size: Any) -> Any:
    """A loop over the pieces that make up a count, the last one perhaps smaller."""
    return loop(builder, builder.udiv(builder.add(count, builder.sub(size, ONE)), size))


def folded(
    builder: Any, count: Any, first: Sequence[Any], step: Callable[[Any, list[Any]], Sequence[Any]]
) -> list[Any]:
    """What ``step(index, values)`` makes of the ``first`` values when it gives the next ones ``count`` times."""
    start, function = builder.block, builder.function
    head, body, done = (function.append_basic_block(name) for name in ("head", "body", "done"))
    builder.branch(head)
    builder.position_at_end(head)
    before = [ZERO, *first]
    phis = [builder.phi(value.type) for value in before]
    builder.cbranch(builder.icmp_signed("<", phis[0], count), body, done)
    builder.position_at_end(body)
    following = [builder.add(phis[0], ONE), *step(phis[0], phis[1:])]
    for phi, value, new in zip(phis, before, following, strict=True):
        phi.add_incoming(value, start)
        phi.add_incoming(new, builder.block)
    builder.branch(head)
    builder.position_at_end(done)
    return phis[1:]


def merged(builder: Any, *values: tuple[Any, Any]) -> Any:
    """The one of some values whose block came before."""
    phi = builder.phi(values[0][0].type)
    for value, block in values:
        phi.add_incoming(value, block)
    return phi
