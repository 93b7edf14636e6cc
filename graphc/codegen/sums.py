"""Sums that are carried on from block to block.

A sum is taken in blocks: some additions one after the other, then the block's sum is added to that of all before. What
such an addition loses to rounding is kept, and added to the next block's sum (Kahan, Further Remarks on Reducing
Truncation Errors, CACM 8, 1965). So the error of a sum grows with the additions inside a block, and hardly with their
number. `schedule.sums` says where blocks end; `lost` carries a number on, ``carry`` a row of sums in memory.

Where data decides what is added to what (a scatter) each place has its own blocks: a byte counts what met there, and
places that filled a block get a row of sums from a pool.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from llvmlite import ir
from numba import types

from graphc.codegen.llvm import clear, intrinsic, loop, with_parameters
from graphc.codegen.vectors import ONE, WORD, ZERO, Vectors, element_bytes, least, pieces, vector_bytes
from graphc.schedule.sums import LONG, NARROW, PIECE, TALL, WIDE

BYTE = ir.IntType(8)
MASKED = 64  # bytes of vectors that are stored under a mask as fast as whole
HELD = 128  # in a place's byte: it has a row in the pool
TOGETHER = 8  # rows that are added up at once
FEW = 4  # elements of a row that is carried on one by one
LESS = 400  # bytes of a row of which two are


def carried(builder: Any, s: Any, c: Any, p: Any) -> tuple[Any, Any]:
    """The sum ``s`` with one more part ``p``, and what this loses, given ``c``, which was lost before."""
    y = builder.fadd(p, c)
    t = builder.fadd(s, y)
    return t, _lost(builder, s, y, t)


def _lost(builder: Any, s: Any, y: Any, t: Any) -> Any:
    e = builder.fsub(y, builder.fsub(t, s))
    return builder.select(builder.fcmp_ordered("ord", e, e), e, ir.Constant(e.type, None if _wide(e) else 0.0))


def _wide(value: Any) -> bool:
    return isinstance(value.type, ir.VectorType)


@intrinsic  # type: ignore[untyped-decorator]
def lost(typingctx: Any, s: Any, y: Any, t: Any) -> Any:
    """What the addition ``t = s + y`` lost: 0 where that is not a number."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return _lost(builder, *args)

    return t(t, t, t), codegen


class Sums(Vectors):
    """Writes the functions on rows of sums."""

    def each(self, builder: Any, count: Any, piece: Callable[[Vectors, Any, Any], None], times: int = 1) -> None:
        """``piece(vectors, first, mask)`` for all elements of a row, so many ``times`` at once.

        What is left after whole vectors is one vector under a mask where processors store such at full speed, else
        narrower vectors.
        """
        done = ZERO
        for several in {times: None, 1: None}:
            lanes = WORD(self.lanes * several)
            whole, begin = builder.udiv(builder.sub(count, done), lanes), done
            with loop(builder, whole) as index:
                for k in range(several):
                    at = builder.add(builder.mul(index, lanes), WORD(k * self.lanes))
                    piece(self, builder.add(begin, at), None)
            done = builder.add(begin, builder.mul(whole, lanes))
        if self.lanes * self.bytes == MASKED:
            with builder.if_then(builder.icmp_unsigned("<", done, count)):
                piece(self, done, self.mask(builder, builder.sub(count, done)))
            return
        width = self.lanes // 2
        while width:
            with builder.if_then(builder.icmp_unsigned("!=", builder.and_(count, WORD(width)), ZERO)):
                piece(Vectors(self.module, self.letter, width), done, None)
            done = builder.or_(done, builder.and_(count, WORD(width)))
            width //= 2

    def every(self, builder: Any, count: Any, piece: Callable[[Vectors, Any, Any], None]) -> None:
        """As `each`, but FEW elements go one by one: where they were stored so, vectors of them are loaded late."""
        few = builder.icmp_unsigned("<=", count, WORD(FEW))
        with loop(builder, builder.select(few, count, ZERO)) as index:
            piece(Vectors(self.module, self.letter, 1), index, None)
        self.each(builder, builder.select(few, ZERO, count), piece)

    def carry(self) -> Any:
        """``f(count, parts, sums, rests, before)``: adds parts to sums, and clears them; rests are what was lost.

        What sums and rests hold does not matter where nothing was added ``before``.
        """
        function, builder = self.function("carry", [WORD] * 5)
        if builder is None:
            return function
        count, p, s, c, before = function.args
        p, s, c = (builder.inttoptr(x, self.real.as_pointer()) for x in (p, s, c))
        first = builder.icmp_signed("==", before, ZERO)

        def piece(v: Vectors, at: Any, mask: Any) -> None:
            zero, places = ir.Constant(v.vector, None), [builder.gep(x, [at]) for x in (s, c, p)]
            held = [v.load(builder, x, mask) for x in places]
            sums = [builder.select(first, zero, x) for x in held[:2]]
            total, rest = carried(builder, sums[0], sums[1], held[2])
            for place, value in zip(places, (total, rest, zero), strict=True):
                v.store(builder, value, place, mask)

        self.every(builder, count, piece)
        builder.ret_void()
        return function

    def settle(self) -> Any:
        """``f(count, parts, sums, rests)``: the parts become the whole sums."""
        function, builder = self.function("settle", [WORD] * 4)
        if builder is None:
            return function
        count, p, s, c = function.args
        p, s, c = (builder.inttoptr(x, self.real.as_pointer()) for x in (p, s, c))

        def piece(v: Vectors, at: Any, mask: Any) -> None:
            part, total, rest = (v.load(builder, builder.gep(x, [at]), mask) for x in (p, s, c))
            v.store(builder, builder.fadd(total, builder.fadd(part, rest)), builder.gep(p, [at]), mask)

        self.every(builder, count, piece)
        builder.ret_void()
        return function

    def add_rows(self) -> Any:
        """``f(rows, columns, a, lda, y)``: adds rows of ``a`` to ``y``.

        Several rows are added to one another before, where they lie so near together, or so far apart, that
        processors foresee what is read.
        """
        function, builder = self.function("add_rows", [WORD] * 5)
        if builder is None:
            return function
        rows, columns, a, lda, y = function.args
        a, y = (builder.inttoptr(x, self.real.as_pointer()) for x in (a, y))
        width = builder.mul(columns, WORD(self.bytes))
        narrow, less, wide = (builder.icmp_unsigned("<=", width, WORD(most)) for most in (NARROW, LESS, WIDE))
        many, done = builder.or_(narrow, builder.not_(wide)), ZERO
        for count, where in ((TOGETHER, many), (2, less), (1, None)):
            left, begin = builder.udiv(builder.sub(rows, done), WORD(count)), done
            groups = left if where is None else builder.select(where, left, ZERO)
            with loop(builder, groups) as index:
                first = builder.add(begin, builder.mul(index, WORD(count)))
                lines = [builder.gep(a, [builder.mul(builder.add(first, WORD(r)), lda)]) for r in range(count)]

                def piece(v: Vectors, at: Any, mask: Any, lines: list[Any] = lines) -> None:
                    values = [v.load(builder, builder.gep(line, [at]), mask) for line in lines]
                    while len(values) > 1:
                        values = [builder.fadd(*pair) for pair in zip(values[::2], values[1::2], strict=True)]
                    place = builder.gep(y, [at])
                    v.store(builder, builder.fadd(v.load(builder, place, mask), values[0]), place, mask)

                self.each(builder, columns, piece, 1 if count > 2 else 4)
            done = builder.add(begin, builder.mul(groups, WORD(count)))
        builder.ret_void()
        return function

    # ---- products

    def in_pieces(
        self,
        builder: Any,
        sizes: Sequence[Any],
        beta: Any,
        c: Any,
        ldc: Any,
        scratch: Any,
        product: Callable[..., None],
    ) -> None:
        """A product with a long inner size: pieces of it, each carried on to what was there.

        ``product(row, column, inner, sizes, target, ld)`` stores one for so many rows, columns and inner steps from
        there on; addresses are words.
        """
        add, mul = builder.add, builder.mul
        m, n, k = sizes
        some = [builder.select(builder.icmp_signed(">", size, ZERO), size, ONE) for size in (m, n)]
        tall, long = (
            least(builder, WORD(TALL), some[0]),
            least(builder, WORD(LONG), _lines(builder, some[1], self.bytes)),
        )
        ld, room = builder.udiv(long, WORD(self.bytes)), mul(tall, long)
        lost = add(scratch, room)
        with pieces(builder, m, tall) as rows, pieces(builder, n, ld) as columns:
            row, column = mul(rows, tall), mul(columns, ld)
            high, wide = least(builder, tall, builder.sub(m, row)), least(builder, ld, builder.sub(n, column))
            clear(builder, builder.inttoptr(lost, BYTE.as_pointer()), room)
            with pieces(builder, k, WORD(PIECE)) as parts:
                inner = mul(parts, WORD(PIECE))
                deep = least(builder, WORD(PIECE), builder.sub(k, inner))
                product(row, column, inner, (high, wide, deep), scratch, ld)
                before = builder.or_(beta, builder.icmp_signed(">", inner, ZERO))
                with loop(builder, high) as index:
                    at = mul(index, long)
                    to = add(c, mul(add(mul(add(row, index), ldc), column), WORD(self.bytes)))
                    held = [add(scratch, at), to, add(lost, at)]
                    builder.call(self.carry(), [wide, *held, builder.zext(before, WORD)])

    # ---- places that data meets at

    def table(self, builder: Any, base: Any, places: Any, count: Any) -> tuple[Any, Any, Any]:
        """How many rows of the pool are taken, which row each place has, and where sums and rests of row k are."""
        taken = builder.inttoptr(builder.add(base, _lines(builder, places, 1)), WORD.as_pointer())
        rows = builder.add(builder.ptrtoint(taken, WORD), WORD(64))
        pool = builder.add(rows, _lines(builder, places, 4))
        size = builder.mul(count, WORD(self.bytes))
        row = builder.inttoptr(rows, ir.IntType(32).as_pointer())

        def at(k: Any) -> list[Any]:
            sums = builder.add(pool, builder.mul(builder.mul(builder.zext(k, WORD), WORD(2)), size))
            return [sums, builder.add(sums, size)]

        return taken, row, at

    def carry_met(self) -> Any:
        """``f(base, places, place, count, parts, mark)``: as ``carry``, into the place's row of the pool."""
        function, builder = self.function("carry_met", [WORD] * 6)
        if builder is None:
            return function
        base, places, place, count, p, mark = function.args
        taken, row, at = self.table(builder, base, places, count)
        has = builder.icmp_unsigned(">=", mark, WORD(HELD))
        with builder.if_then(builder.not_(has)):
            new = builder.load(taken)
            builder.store(builder.add(new, ONE), taken)
            builder.store(builder.trunc(new, ir.IntType(32)), builder.gep(row, [place]))
        k = builder.load(builder.gep(row, [place]))
        builder.call(self.carry(), [count, p, *at(k), builder.zext(has, WORD)])
        builder.ret_void()
        return function

    def settle_met(self) -> Any:
        """``f(base, places, count, parts)``: as ``settle``, of all places that have a row in the pool."""
        function, builder = self.function("settle_met", [WORD] * 4)
        if builder is None:
            return function
        base, places, count, p = function.args
        taken, row, at = self.table(builder, base, places, count)
        marks, size = builder.inttoptr(base, BYTE.as_pointer()), builder.mul(count, WORD(self.bytes))
        none = builder.icmp_signed("==", builder.load(taken), ZERO)
        with loop(builder, builder.select(none, ZERO, places)) as place:
            mark = builder.load(builder.gep(marks, [place]))
            with builder.if_then(builder.icmp_unsigned(">=", mark, BYTE(HELD))):
                k = builder.load(builder.gep(row, [place]))
                builder.call(self.settle(), [count, builder.add(p, builder.mul(place, size)), *at(k)])
        builder.ret_void()
        return function


def _lines(builder: Any, count: Any, size: int) -> Any:
    """Bytes of whole cache lines that hold ``count`` elements."""
    return builder.and_(builder.add(builder.mul(count, WORD(size)), WORD(63)), WORD(-64))


@intrinsic  # type: ignore[untyped-decorator]
def clear_met(typingctx: Any, base: Any, places: Any) -> Any:
    """Nothing has met at any of the places yet, whose table begins at ``base``."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        base, places = args
        count = builder.add(_lines(builder, places, 1), WORD(64))
        clear(builder, builder.inttoptr(base, BYTE.as_pointer()), count)
        return context.get_dummy_value()

    return types.none(types.int64, types.int64), codegen


WORDS = {
    "carry": ("count", "parts", "sums", "rests", "before"),
    "settle": ("count", "parts", "sums", "rests"),
    "add_rows": ("rows", "columns", "a", "lda", "y"),
    "carry_met": ("base", "places", "place", "count", "parts", "mark"),
    "settle_met": ("base", "places", "count", "parts"),
}


def _function(name: str, letter: str) -> Any:
    def typer(typingctx: Any, *words: Any) -> Any:
        def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            lanes = vector_bytes(context) // element_bytes(letter)
            builder.call(getattr(Sums(builder.module, letter, lanes), name)(), args)
            return context.get_dummy_value()

        return types.none(*[types.int64] * len(words)), codegen

    typer.__doc__ = getattr(Sums, name).__doc__
    return intrinsic(with_parameters(typer, "typingctx", *WORDS[name]))


carry_f32, carry_f64 = _function("carry", "s"), _function("carry", "d")
settle_f32, settle_f64 = _function("settle", "s"), _function("settle", "d")
add_rows_f32, add_rows_f64 = _function("add_rows", "s"), _function("add_rows", "d")
carry_met_f32, carry_met_f64 = _function("carry_met", "s"), _function("carry_met", "d")
settle_met_f32, settle_met_f64 = _function("settle_met", "s"), _function("settle_met", "d")
