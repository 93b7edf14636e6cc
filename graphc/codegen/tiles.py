"""Matrix products inside kernels: tiles of the result in vector registers, over packed panels of the right operand.

The plan is that of Goto and van de Geijn, Anatomy of High-Performance Matrix Multiplication (ACM TOMS 34, 2008). The
right operand is cut into blocks of DEPTH rows that fit the second-level cache, and each block is copied into panels a
few vectors wide, so that the innermost loop reads it front to back. Of the left operand every row is a stream of its
own, read where it lies, or from a small panel where its rows do not lie in one piece.

Every element is the sum over the inner index in ascending order, in blocks of blocks: STEPS are summed from zero by
fused multiply-adds, these sums added up for DEPTH of them, and that to what the result holds; an inner size above
`sums.PIECE` is cut in pieces. So errors do not grow with the inner size. All tiles do the same, whatever their size, so
a product that is cut anywhere along rows or columns has the bits of the whole. The code is written as LLVM IR, compiled
once for each dtype, kept on disk like a kernel, and called by a symbol.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from llvmlite import ir
from numba import types

from graphc.codegen.abi import PREFIX
from graphc.codegen.llvm import declared, intrinsic, loop
from graphc.codegen.sums import Sums
from graphc.codegen.vectors import (
    FOR_WRITING,
    ONE,
    WORD,
    ZERO,
    Vectors,
    element_bytes,
    folded,
    least,
    merged,
    pieces,
    prefetch,
    vector_bytes,
)
from graphc.schedule.sums import DEPTH, PIECE, SPILL

SYMBOL = f"{PREFIX}_product_"
STEPS = 64  # of them whose products are added up one after the other
BLOCK = 1 << 19  # bytes of a block
NEAR = 1 << 16  # bytes of a left operand that is read once more for each panel of the right one
PANEL = DEPTH * 8 * 8  # bytes of a panel of the left operand
TABLE = BLOCK + PANEL + 2 * SPILL  # where the places of a block's rows lie in a nested operand
DESCRIPTOR = TABLE + DEPTH * (8 + 4)  # where it is said how that lies; before it, which rows follow one another
SCRATCH = DESCRIPTOR + 128  # bytes of memory that a product needs, 64-byte aligned
NESTED = "nested_"  # products whose right operand has up to three axes for its inner size, and for its columns
# Words of its descriptor: the sizes of the last two inner axes and the steps of all three in elements, the same of the
# columns, then the inner step and the column that the product begins with.
AXES, FIRST_INNER, FIRST_COLUMN = 5, 10, 11
PACKED = 2  # a flag: of the right operand, that it is packed; of the left, that the right one is only packed, into C
WIDTH = 2  # vectors of a tile's row at most; with three it is no faster and compiles longer
LOW = 4  # rows of a tile that takes what is left of the rows
STRIP = 8  # vectors of a result of a single row that are summed side by side
SQUARES = 2  # the same where the right operand lies transposed


def tile_size(context: Any) -> tuple[int, int]:
    """Bytes of a vector, and rows of a tile, on the processor that a Numba context compiles for.

    A tile's accumulators, a row of the panel and a factor fill the registers.
    """
    width = vector_bytes(context)
    if width == 64:
        return width, 8
    wide_files = context.codegen().magic_tuple()[0].startswith(("aarch64", "arm64"))
    return width, 8 if wide_files else 6


class _Product(Vectors):
    """Writes the functions of a product, with tiles of so many rows."""

    def __init__(self, module: Any, letter: str, lanes: int, rows: int) -> None:
        super().__init__(module, letter, lanes)
        self.rows = rows

    @property
    def arguments(self) -> list[Any]:
        """Types of the arguments of a tile."""
        pointer = self.real.as_pointer()
        return [WORD, pointer, WORD, WORD, pointer, WORD, pointer, WORD, WORD, WORD, ir.IntType(1)]

    def tile(self, rows: int, width: int, packed: bool = True, listed: bool = False) -> Any:
        """``f(depth, a, row step, inner step, b, b's step, c, ldc, count, columns, add)``: tiles of the result.

        They lie one below the other and have ``rows`` of the ``count`` rows each, the last ones `LOW` where that is
        less work. Where the last has fewer, its last row stands for those that are missing: they compute and store the
        same value in its place. A packed panel ``b`` is whole vectors; of the last one, columns beyond ``columns`` are
        not stored. Where it is not packed, they are not read either, and there may be several vectors of them. Where
        its rows are ``listed``, they are not read, and ``b's step`` is the address of a table of where rows lie.
        """
        kind = "_listed" if listed else "" if packed else "_apart"
        function, builder = self.function(f"product_{rows}x{width}{kind}", self.arguments)
        if builder is None:
            return function
        *_, count, columns, _ = function.args
        inside = [
            None if packed else self.mask(builder, builder.sub(columns, WORD(v * self.lanes))) for v in range(width)
        ]
        whole, low = WORD(rows), packed and rows > LOW and width == WIDTH
        tiles, lows = self.heights(builder, count, rows) if low else (ZERO, ZERO)
        with loop(builder, tiles) if low else pieces(builder, count, whole) as number:
            self.tile_at(builder, builder.mul(number, whole), function.args, rows, inside, listed)
        if low:
            above = builder.mul(tiles, whole)
            with loop(builder, lows) as number:
                first = builder.add(above, builder.mul(number, WORD(LOW)))
                self.tile_at(builder, first, function.args, LOW, inside, listed)
        builder.ret_void()
        return function

    def heights(self, builder: Any, count: Any, rows: int) -> tuple[Any, Any]:
        """How many tiles of ``rows`` rows, and how many of `LOW` below them, go least beyond ``count``.

        32 rows are four tiles of 6 and two of 4; six of 6 would compute four rows twice.
        """
        select, tall = builder.select, WORD(rows)
        whole, rest = builder.udiv(count, tall), builder.urem(count, tall)
        more, some = builder.add(whole, ONE), builder.icmp_signed(">", rest, ZERO)
        single = builder.and_(some, builder.icmp_signed("<=", rest, WORD(LOW)))
        pair = builder.and_(single, builder.icmp_signed("<=", rest, WORD(2 * LOW - rows)))
        pair = builder.and_(pair, builder.icmp_signed(">", whole, ZERO))
        lows = select(pair, WORD(2), select(single, ONE, ZERO))
        tiles = select(pair, builder.sub(whole, ONE), whole)
        return select(builder.and_(some, builder.not_(single)), more, tiles), lows

    def tile_at(
        self, builder: Any, first: Any, given: Sequence[Any], rows: int, inside: Sequence[Any], listed: bool
    ) -> None:
        """The tile that begins with row ``first``, with vectors under masks where ``inside`` has some."""
        depth, a, row_step, inner_step, b, b_step, c, ldc, count, columns, add = given
        width, packed, left_over = len(inside), None in inside, builder.sub(count, first)
        more = [builder.icmp_signed(">", left_over, WORD(r)) for r in range(1, rows)]

        def lines(matrix: Any, step: Any) -> list[Any]:
            """Where the tile's rows of a matrix begin."""
            found = [builder.gep(matrix, [builder.mul(first, step)])]
            for there in more:
                found.append(builder.gep(found[-1], [builder.select(there, step, ZERO)]))
            return found

        left, result = lines(a, row_step), lines(c, ldc)
        for place in result:  # where another processor has the line, it comes while sums are made
            prefetch(builder, place, FOR_WRITING)

        beyond = WORD((width - 1) * self.lanes)
        table = builder.inttoptr(b_step, WORD(0).type.as_pointer())
        read = [*inside[:-1], self.mask(builder, builder.sub(columns, beyond))] if listed else inside
        zero = ir.Constant(self.vector, None)
        none = [zero] * (rows * width)

        def block(index: Any, values: list[Any]) -> list[Any]:
            at, panel, *totals = values
            steps = least(builder, WORD(STEPS), builder.sub(depth, builder.mul(index, WORD(STEPS))))
            at, panel, *sums = folded(builder, steps, [at, panel, *none], deeper)
            return [at, panel, *(builder.fadd(*pair) for pair in zip(totals, sums, strict=True))]

        def deeper(index: Any, values: list[Any]) -> list[Any]:
            at, panel, *sums = values
            line = builder.gep(b, [builder.load(panel)]) if listed else panel
            places = [builder.gep(line, [WORD(v * self.lanes)]) for v in range(width)]
            right = [self.load(builder, place, mask) for place, mask in zip(places, read, strict=True)]
            new = []
            for r in range(rows):
                factor = self.splat(builder, builder.load(builder.gep(left[r], [at])))
                held = sums[r * width : (r + 1) * width]
                new += [
                    self.call(builder, "fmuladd", self.vector, factor, *pair) for pair in zip(right, held, strict=True)
                ]
            return [builder.add(at, inner_step), builder.gep(panel, [ONE if listed else b_step]), *new]

        blocks = builder.udiv(builder.add(depth, WORD(STEPS - 1)), WORD(STEPS))
        _, _, *found = folded(builder, blocks, [ZERO, table if listed else b, *none], block)
        done = builder.block
        places = [builder.gep(row, [WORD(v * self.lanes)]) for row in result for v in range(width)]
        ends = [self.mask(builder, builder.sub(columns, beyond))] if packed else []
        masks = [*inside[: width - len(ends)], *ends] * rows
        with builder.if_then(add):  # all is read before anything is stored, for a row may stand for several
            added = [
                builder.fadd(self.load(builder, place, mask), value)
                for place, mask, value in zip(places, masks, found, strict=True)
            ]
            adding = builder.block
        total = [merged(builder, (x, adding), (y, done)) for x, y in zip(added, found, strict=True)]
        with builder.if_else(builder.icmp_signed(">=", columns, WORD(width * self.lanes))) as (whole, part):
            with whole:  # storing under a mask takes some processors 12 cycles
                for value, place in zip(total, places, strict=True):
                    self.store(builder, value, place)
            with part:
                for k, (value, place) in enumerate(zip(total, places, strict=True)):
                    if not packed or k % width < width - 1:
                        self.store(builder, value, place, masks[k])
                if packed:
                    ends, at = total[width - 1 :: width], places[width - 1 :: width]
                    self.store_part(builder, ends, at, builder.sub(columns, beyond))

    def turned_row(self) -> Any:
        """A tile of a single row, whose right operand lies transposed: squares are turned in registers, not packed.

        Before the first step there must be steps enough for the last square.
        """
        function, builder = self.function("product_turned_row", self.arguments)
        if builder is None:
            return function
        depth, a, _, inner_step, b, ldb, c, _, _, columns, add = function.args
        side, none = WORD(self.side), [ir.Constant(self.vector, None)] * SQUARES
        last, latest = builder.sub(columns, ONE), builder.sub(depth, side)
        column = [least(builder, WORD(x), last) for x in range(SQUARES * self.lanes)]
        lines = [builder.gep(b, [builder.mul(x, ldb)]) for x in column]

        def block(index: Any, totals: list[Any]) -> list[Any]:
            first = builder.mul(index, WORD(STEPS))
            steps = least(builder, WORD(STEPS), builder.sub(depth, first))

            def square(k: Any, sums: list[Any]) -> list[Any]:
                want = builder.add(first, builder.mul(k, side))
                at = least(builder, want, latest)  # the last square goes back to what has been added already
                again = builder.sub(want, at)
                turned = [self.turn(builder, lines[g * self.lanes : (g + 1) * self.lanes], at) for g in range(SQUARES)]
                for x in range(self.side):
                    step = builder.mul(builder.add(at, WORD(x)), inner_step)
                    factor = self.splat(builder, builder.load(builder.gep(a, [step])))
                    pairs = zip((group[x] for group in turned), sums, strict=True)
                    more = [self.call(builder, "fmuladd", self.vector, factor, *pair) for pair in pairs]
                    fresh = builder.icmp_signed(">=", WORD(x), again)
                    sums = [builder.select(fresh, *pair) for pair in zip(more, sums, strict=True)]
                return sums

            sums = folded(builder, builder.udiv(builder.add(steps, builder.sub(side, ONE)), side), none, square)
            return [builder.fadd(*pair) for pair in zip(totals, sums, strict=True)]

        sums = folded(builder, builder.udiv(builder.add(depth, WORD(STEPS - 1)), WORD(STEPS)), none, block)
        for g, total in enumerate(sums):
            beyond = WORD(g * self.lanes)
            place, mask = builder.gep(c, [beyond]), self.mask(builder, builder.sub(columns, beyond))
            done = builder.block
            with builder.if_then(add):
                added = builder.fadd(self.load(builder, place, mask), total)
                adding = builder.block
            self.store(builder, merged(builder, (added, adding), (total, done)), place, mask)
        builder.ret_void()
        return function

    def copied(self, width: int = 1) -> Any:
        """``f(count, source, source step, target, target step, columns)``: ``count`` rows of so many vectors.

        Of the last vector, what is beyond the columns is zero.
        """
        pointer = self.real.as_pointer()
        function, builder = self.function(f"product_copied_{width}", [WORD, pointer, WORD, pointer, WORD, WORD])
        if builder is None:
            return function
        count, source, source_step, target, target_step, columns = function.args
        mask = self.mask(builder, builder.sub(columns, WORD((width - 1) * self.lanes)))
        with loop(builder, count) as k:
            row, into = (
                builder.gep(x, [builder.mul(k, step)]) for x, step in ((source, source_step), (target, target_step))
            )
            for v in range(width):
                beside = [WORD(v * self.lanes)]
                value = self.load(builder, builder.gep(row, beside), mask if v == width - 1 else None)
                self.store(builder, value, builder.gep(into, beside))
        builder.ret_void()
        return function

    def turned(self) -> Any:
        """The same from a source whose rows are the target's columns; stores up to a vector less one too many."""
        pointer = self.real.as_pointer()
        function, builder = self.function("product_turned", [WORD, pointer, WORD, pointer, WORD, WORD])
        if builder is None:
            return function
        count, source, source_step, target, target_step, columns = function.args
        last = builder.sub(columns, ONE)
        lines = [
            builder.gep(source, [builder.mul(least(builder, WORD(x), last), source_step)]) for x in range(self.lanes)
        ]
        side = WORD(self.side)
        with pieces(builder, count, side) as k:
            first = builder.mul(k, side)
            mask = Vectors(self.module, self.letter, self.side).mask(builder, builder.sub(count, first))
            for x, row in enumerate(self.turn(builder, lines, first, mask)):
                at = builder.mul(builder.add(first, WORD(x)), target_step)
                self.store(builder, row, builder.gep(target, [at]))
        builder.ret_void()
        return function

    def digits(self, builder: Any, words: Any, axes: int, number: Any) -> tuple[list[Any], list[Any], list[Any]]:
        """The indices along nested axes of what has that number, the sizes of the last two axes, and all steps."""
        low, inner, *steps = (builder.load(builder.gep(words, [WORD(axes + k)])) for k in range(AXES))
        rest = builder.udiv(number, inner)
        index = [builder.udiv(rest, low), builder.urem(rest, low), builder.urem(number, inner)]
        return index, [low, inner], steps

    def places(self) -> Any:
        """``f(count, table, words, first)``: where ``count`` inner steps from ``first`` on lie, in elements.

        Behind the DEPTH places it is said, for each `side` of them, whether they follow one another.
        """
        integers = WORD(0).type.as_pointer()
        function, builder = self.function("product_places", [WORD, integers, integers, WORD])
        if builder is None:
            return function
        count, table, words, first = function.args
        index, sizes, steps = self.digits(builder, words, 0, first)
        moves = _moves(builder, sizes, steps)

        def place_of(k: Any, at: list[Any]) -> list[Any]:
            builder.store(at[0], builder.gep(table, [k]))
            return _next(builder, at, sizes, moves)

        folded(builder, count, [_dot(builder, index, steps), *index[1:]], place_of)
        with loop(builder, builder.udiv(count, WORD(self.side))) as piece:
            start = builder.mul(piece, WORD(self.side))
            place, *others = (builder.load(builder.gep(table, [builder.add(start, WORD(r))])) for r in range(self.side))
            straight = ir.IntType(1)(1)
            for r, other in enumerate(others, 1):
                follows = builder.icmp_signed("==", other, builder.add(place, WORD(r)))
                straight = builder.and_(straight, follows)
            builder.store(builder.zext(straight, WORD(0).type), builder.gep(table, [builder.add(WORD(DEPTH), piece)]))
        builder.ret_void()
        return function

    def gathered(self) -> Any:
        """``f(count, source, table, words, column, target, target step, columns)``: `copied` of a nested source.

        The rows begin at the places in the table. Columns that lie side by side, or in two runs, are read as vectors.
        """
        pointer, integers = self.real.as_pointer(), WORD(0).type.as_pointer()
        arguments = [WORD, pointer, integers, integers, WORD, pointer, WORD, WORD]
        function, builder = self.function("product_gathered", arguments)
        if builder is None:
            return function
        count, source, table, words, column, target, target_step, columns = function.args
        index, sizes, steps = self.digits(builder, words, AXES, column)
        moves = _moves(builder, sizes, steps)
        following = [_dot(builder, index, steps), *index[1:]]
        at = [following[0]]
        breaks, other, second = ZERO, ZERO, ZERO  # how often they are apart; the last lane behind that, its place
        for x in range(1, self.lanes):
            following = _next(builder, following, sizes, moves)
            there = builder.icmp_signed("<", WORD(x), columns)
            place = builder.select(there, following[0], at[-1])
            apart = builder.icmp_signed("!=", place, builder.add(at[-1], ONE))
            apart = builder.and_(apart, there)
            breaks = builder.add(breaks, builder.zext(apart, WORD(0).type))
            other, second = (
                builder.select(apart, WORD(x), other),
                builder.select(apart, builder.sub(place, WORD(x)), second),
            )
            at.append(place)

        def rows(k: Any) -> Any:
            return builder.gep(target, [builder.mul(k, target_step)])

        mask, first = self.mask(builder, columns), self.mask(builder, other)
        with builder.if_else(builder.icmp_signed("==", breaks, ZERO)) as (together, not_together):
            with together, loop(builder, count) as k:
                row = builder.add(builder.load(builder.gep(table, [k])), at[0])
                self.store(builder, self.load(builder, builder.gep(source, [row]), mask), rows(k))
            with not_together, builder.if_else(builder.icmp_signed("==", breaks, ONE)) as (twice, scattered):
                with twice, loop(builder, count) as k:
                    row = builder.load(builder.gep(table, [k]))
                    left = self.load(builder, builder.gep(source, [builder.add(row, at[0])]), first)
                    rest = builder.and_(mask, builder.not_(first))
                    right = self.load(builder, builder.gep(source, [builder.add(row, second)]), rest)
                    self.store(builder, builder.select(first, left, right), rows(k))
                with scattered:
                    self.scattered(builder, count, [builder.gep(source, [place]) for place in at], table, rows)
        builder.ret_void()
        return function

    def scattered(self, builder: Any, count: Any, lines: list[Any], table: Any, rows: Callable[[Any], Any]) -> None:
        """Columns that lie anywhere; where some rows follow one another, a square of them is turned."""
        side = WORD(self.side)
        with pieces(builder, count, side) as piece:
            first = builder.mul(piece, side)
            left = least(builder, side, builder.sub(count, first))
            follow = builder.load(builder.gep(table, [builder.add(WORD(DEPTH), piece)]))
            whole = builder.icmp_signed("==", left, side)
            straight = builder.and_(whole, builder.icmp_signed("!=", follow, ZERO))
            with builder.if_else(straight) as (square, single):
                with square:
                    start = builder.load(builder.gep(table, [first]))
                    for r, row in enumerate(self.turn(builder, lines, start)):
                        self.store(builder, row, rows(builder.add(first, WORD(r))))
                with single, loop(builder, left) as r:
                    k = builder.add(first, r)
                    place = builder.load(builder.gep(table, [k]))
                    value = ir.Constant(self.vector, ir.Undefined)
                    for x, line in enumerate(lines):
                        one = builder.load(builder.gep(line, [place]))
                        value = builder.insert_element(value, one, ir.IntType(32)(x))
                    self.store(builder, value, rows(k))

    def in_runs(
        self, builder: Any, extent: Any, a: Any, b: Any, words: Any, table: Any, beta: Any, c: Any, ldc: Any
    ) -> None:
        """Does a product of a tile's rows at most, and returns, where the columns of its nested operand lie in runs.

        What is read once is read where it lies, if runs fill most of a vector.
        """
        m, n, k = extent
        start, row_step, inner_step = a
        add, sub, mul, at = builder.add, builder.sub, builder.mul, builder.gep
        lanes, panel = WORD(self.lanes), WORD(WIDTH * self.lanes)
        run, apart = (builder.load(at(words, [WORD(AXES + w)])) for w in (1, AXES - 1))
        first_inner, first_column = (builder.load(at(words, [WORD(w)])) for w in (FIRST_INNER, FIRST_COLUMN))
        tests = [
            builder.icmp_signed("==", apart, ONE),
            builder.icmp_signed("<=", m, WORD(self.rows)),
            builder.icmp_signed(">=", mul(run, WORD(4)), WORD(3 * self.lanes)),
            builder.icmp_signed("==", builder.urem(first_column, run), ZERO),
            builder.icmp_signed("==", builder.urem(n, run), ZERO),
        ]
        direct = tests[0]
        for test in tests[1:]:
            direct = builder.and_(direct, test)
        narrow, wide = (self.tile(self.rows, width, listed=True) for width in (1, WIDTH))
        rows = builder.ptrtoint(table, WORD(0).type)
        with builder.if_then(direct):
            some = builder.select(builder.icmp_signed(">", k, ZERO), k, ONE)  # of no steps the sums are zeros
            with pieces(builder, some, WORD(DEPTH)) as layer:
                inner = mul(layer, WORD(DEPTH))
                depth = least(builder, WORD(DEPTH), sub(k, inner))
                adds = builder.or_(beta, builder.icmp_signed(">", inner, ZERO))
                builder.call(self.places(), [depth, table, words, add(first_inner, inner)])
                with loop(builder, builder.udiv(n, run)) as number:
                    column = mul(number, run)
                    index, _, steps = self.digits(builder, words, AXES, add(first_column, column))
                    line = at(b, [_dot(builder, index, steps)])
                    with pieces(builder, run, panel) as piece:
                        first = mul(piece, panel)
                        valid = least(builder, panel, sub(run, first))
                        tile = builder.select(builder.icmp_signed(">", valid, lanes), wide, narrow)
                        left, place = at(start, [mul(inner, inner_step)]), at(c, [add(column, first)])
                        given = [depth, left, row_step, inner_step, at(line, [first]), rows]
                        builder.call(tile, [*given, place, ldc, m, valid, adds])
            builder.ret_void()

    def product(self, nested: bool) -> Any:
        """The function behind ``tile_f32`` and ``tile_f64``, or ``nested_f32`` and so on, with the same arguments."""
        function, builder = self.function("product_nested" if nested else "product_product", [WORD] * 13)
        if builder is None:
            return function
        ta, tb, m, n, k, a, lda, b, ldb, beta, c, ldc, scratch = function.args
        add, sub, mul, at, pointer = builder.add, builder.sub, builder.mul, builder.gep, self.real.as_pointer()
        lanes, columns = WORD(self.lanes), WORD(BLOCK // (DEPTH * self.bytes))
        tall = WORD(self.rows)
        flags = ta, tb
        no = ir.IntType(1)(0)
        only, ready = (no if nested else builder.icmp_signed("==", x, WORD(PACKED)) for x in flags)
        words = builder.inttoptr(ldb, WORD(0).type.as_pointer())
        first_inner, first_column = (builder.gep(words, [WORD(k)]) for k in (FIRST_INNER, FIRST_COLUMN))
        ta, tb, beta = (builder.icmp_signed("!=", x, ZERO) for x in (ta, tb, beta))
        left_row, left_inner = builder.select(ta, ONE, lda), builder.select(ta, lda, ONE)
        right_inner, right_column = builder.select(tb, ONE, ldb), builder.select(tb, ldb, ONE)

        def piece(row: Any, column: Any, inner: Any, sizes: Any, target: Any, ld: Any) -> None:
            left = add(a, mul(add(mul(row, left_row), mul(inner, left_inner)), WORD(self.bytes)))
            ahead = mul(add(mul(inner, right_inner), mul(column, right_column)), WORD(self.bytes))
            right = b if nested else add(b, ahead)
            if nested:
                builder.store(inner, first_inner)
                builder.store(column, first_column)
            builder.call(function, [*flags, *sizes, left, lda, right, ldb, ZERO, target, ld, scratch])

        whole = builder.or_(only, ready)
        with builder.if_then(builder.and_(builder.icmp_signed(">", k, WORD(PIECE)), builder.not_(whole))):
            Sums(self.module, self.letter, self.lanes).in_pieces(
                builder, (m, n, k), beta, c, ldc, add(scratch, WORD(SCRATCH)), piece
            )
            builder.ret_void()
        a, b, c, scratched = (builder.inttoptr(x, pointer) for x in (a, b, c, scratch))
        small = builder.inttoptr(add(scratch, WORD(BLOCK + SPILL)), pointer)
        table = builder.inttoptr(add(scratch, WORD(TABLE)), WORD(0).type.as_pointer())
        if nested:
            self.in_runs(builder, (m, n, k), (a, left_row, left_inner), b, words, table, beta, c, ldc)
        pack = self.gathered() if nested else builder.select(tb, self.turned(), self.copied())
        narrow, wide = self.tile(self.rows, 1), self.tile(self.rows, WIDTH)
        short = builder.and_(tb, builder.icmp_signed("<", k, WORD(self.side)))
        single = builder.icmp_signed("==", m, ONE)  # it reads the right operand once: that is not packed
        single = no if nested else builder.and_(single, builder.not_(builder.or_(short, ready)))
        alone = narrow if nested else builder.select(tb, self.turned_row(), self.tile(1, STRIP, packed=False))
        # nor is it packed for a few rows
        low = builder.and_(builder.icmp_signed(">", m, ONE), builder.icmp_signed("<=", m, WORD(LOW)))
        low = no if nested else builder.and_(low, builder.not_(builder.or_(tb, ready)))
        read = builder.or_(single, low)
        alone = builder.select(low, narrow if nested else self.tile(LOW, 1, packed=False), alone)
        strip = builder.select(low, lanes, builder.select(tb, WORD(SQUARES * self.lanes), WORD(STRIP * self.lanes)))
        panel = builder.select(read, strip, WORD(WIDTH * self.lanes))
        unit = lanes if nested else builder.select(tb, lanes, panel)  # columns that are packed at once

        def cut(number: Any) -> tuple[Any, Any, Any]:
            """A panel's first column, how many there are, and how many with those that fill its last vector."""
            first = add(begin, mul(number, panel))
            valid = least(builder, panel, sub(n, first))
            return first, valid, builder.select(builder.icmp_signed(">", valid, lanes), panel, lanes)

        with pieces(builder, n, columns) as block_at:
            begin = mul(block_at, columns)
            across = least(builder, columns, sub(n, begin))
            packs = builder.and_(ta, builder.icmp_signed(">", across, panel))  # for one panel it does not pay
            packs = packs if self.lanes >= self.rows else no
            some = builder.select(builder.icmp_signed(">", k, ZERO), k, ONE)  # a block of no rows stores zeros
            with pieces(builder, some, WORD(DEPTH)) as layer_at:
                inner = mul(layer_at, WORD(DEPTH))
                depth = least(builder, WORD(DEPTH), sub(k, inner))
                adds = builder.or_(beta, builder.icmp_signed(">", inner, ZERO))
                filled = mul(builder.udiv(add(across, sub(lanes, ONE)), lanes), lanes)
                ahead = add(mul(begin, k), mul(inner, filled))  # of this block, where all of them are kept
                block = builder.select(only, at(c, [ahead]), builder.select(ready, at(b, [ahead]), scratched))
                if nested:
                    builder.call(self.places(), [depth, table, words, add(builder.load(first_inner), inner)])
                lies = builder.or_(read, ready)
                with builder.if_then(builder.not_(lies)), pieces(builder, across, panel) as panel_at:
                    first, valid, width = cut(panel_at)
                    target = at(block, [mul(sub(first, begin), depth)])
                    with pieces(builder, valid, unit) as unit_at:
                        ahead = mul(unit_at, unit)
                        column, into = add(first, ahead), at(target, [ahead])
                        there = least(builder, unit, sub(valid, ahead))
                        if nested:
                            place = add(builder.load(first_column), column)
                            builder.call(pack, [depth, b, table, words, place, into, width, there])
                        else:
                            start = add(mul(inner, right_inner), mul(column, right_column))
                            several = builder.icmp_signed(">", there, lanes)
                            copy = builder.select(several, self.copied(WIDTH), pack)
                            builder.call(copy, [depth, at(b, [start]), ldb, into, width, there])
                # What stays near of the left operand is read for one panel after the other, else rows go through all.
                near = builder.icmp_signed("<=", mul(mul(m, depth), WORD(self.bytes)), WORD(NEAR))
                near = builder.or_(near, builder.icmp_signed("<=", across, panel))
                near = builder.and_(near, builder.icmp_signed(">", m, tall))
                below = builder.select(builder.and_(near, builder.not_(packs)), m, tall)
                with pieces(builder, m, below) as row_at:
                    row = mul(row_at, below)
                    there = least(builder, below, sub(m, row))
                    left = at(a, [add(mul(row, left_row), mul(inner, left_inner))])
                    with builder.if_then(packs):  # what is copied beyond the rows is overwritten by the next vector
                        builder.call(self.copied(), [depth, left, lda, small, tall, there])
                    left = builder.select(packs, small, left)
                    step = builder.select(packs, tall, left_inner)
                    with pieces(builder, across, panel) as panel_at:
                        first, valid, width = cut(panel_at)
                        tile = builder.select(builder.icmp_signed(">", width, lanes), wide, narrow)
                        tile = builder.select(read, alone, tile)
                        lying = at(b, [add(mul(inner, right_inner), mul(first, right_column))])
                        right = builder.select(read, lying, at(block, [mul(sub(first, begin), depth)]))
                        further = builder.select(read, ldb, width)
                        place = at(c, [add(mul(row, ldc), first)])
                        given = [depth, left, left_row, step, right, further, place, ldc, there, valid, adds]
                        builder.call(tile, given)
        builder.ret_void()
        return function


def _dot(builder: Any, index: list[Any], steps: list[Any]) -> Any:
    first, *others = (builder.mul(*pair) for pair in zip(index, steps, strict=True))
    for other in others:
        first = builder.add(first, other)
    return first


def _moves(builder: Any, sizes: list[Any], steps: list[Any]) -> list[Any]:
    """How far it is to what comes next: along the last axis, behind its end, and behind that of the last two."""
    middle, last = (builder.mul(builder.sub(n, ONE), step) for n, step in zip(sizes, steps[1:], strict=True))
    behind = builder.sub(steps[0], builder.add(middle, last))
    return [steps[2], builder.sub(steps[1], last), behind]


def _next(builder: Any, at: list[Any], sizes: list[Any], moves: list[Any]) -> list[Any]:
    """The place of what comes next, and its indices along the last two nested axes."""
    place, middle, last = at
    last = builder.add(last, ONE)
    over = builder.icmp_signed("==", last, sizes[1])
    middle = builder.select(over, builder.add(middle, ONE), middle)
    around = builder.icmp_signed("==", middle, sizes[0])
    move = builder.select(over, builder.select(around, moves[2], moves[1]), moves[0])
    return [builder.add(place, move), builder.select(around, ZERO, middle), builder.select(over, ZERO, last)]


def _write(context: Any, builder: Any, letter: str, body: bool, nested: bool, args: Any) -> Any:
    if body:
        width, rows = tile_size(context)
        function = _Product(builder.module, letter, width // element_bytes(letter), rows).product(nested)
    else:
        kind = ir.FunctionType(ir.VoidType(), [WORD] * 13)
        function = declared(builder.module, kind, SYMBOL + nested * NESTED + letter)
    builder.call(function, args)
    return context.get_dummy_value()


def _product(letter: str, body: bool, nested: bool = False) -> Any:
    """The code of a product, or a call of it by its symbol."""

    def typer(
        typingctx: Any,
        ta: Any,
        tb: Any,
        m: Any,
        n: Any,
        k: Any,
        a: Any,
        lda: Any,
        b: Any,
        ldb: Any,
        beta: Any,
        c: Any,
        ldc: Any,
        scratch: Any,
    ) -> Any:
        def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            return _write(context, builder, letter, body, nested, args)

        return types.none(*[types.int64] * 13), codegen

    typer.__doc__ = """Row-major ``C[m,n] = op(A) op(B) + beta C`` on addresses, ``beta`` 0 or 1.

    ``op(X)`` is X, or its transpose where the flag is not 0; ``ld*`` count elements between rows. Where B is nested its
    flag does not matter, and ``ldb`` is the address of its descriptor. With k = 0 the result is ``beta C``; with beta
    = 0 what C held before does not matter. ``scratch`` is the address of SCRATCH bytes, 64-byte aligned, and
    `schedule.sums.room` more where k is above PIECE. With the flag PACKED for A, and m = 0, B is only packed, into C;
    with that for B it lies so.
    """
    return intrinsic(typer)


tile_f32, tile_f64 = _product("s", False), _product("d", False)
code_f32, code_f64 = _product("s", True), _product("d", True)
nested_f32, nested_f64 = _product("s", False, True), _product("d", False, True)
nested_code_f32, nested_code_f64 = _product("s", True, True), _product("d", True, True)


def _add_product(body: bool) -> Any:
    """The same for routines, of the dtype that they have."""

    def typer(
        typingctx: Any, real: Any, ta: Any, tb: Any, m: Any, n: Any, k: Any, a: Any, lda: Any, b: Any, ldb: Any, c: Any,
        ldc: Any, scratch: Any,
    ) -> Any:  # fmt: skip
        letter = {types.float32: "s", types.float64: "d"}[real.dtype]

        def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            given = [*args[1:10], ONE, *args[10:]]
            return _write(context, builder, letter, body, False, given)

        return types.none(real, *[types.int64] * 12), codegen

    typer.__doc__ = """Row-major ``C[m,n] += op(A) op(B)`` on addresses, as `tile_f64`, for k up to PIECE."""
    return intrinsic(typer)


add_product, add_product_code = _add_product(False), _add_product(True)

ROUTINES: set[str] = set()  # names of those that multiply matrices
# What a kernel calls -> its code, and what its symbol ends with.
NAMES = {
    "tile_f32": ("code_f32", "s"),
    "tile_f64": ("code_f64", "d"),
    "nested_f32": ("nested_code_f32", f"{NESTED}s"),
    "nested_f64": ("nested_code_f64", f"{NESTED}d"),
}
SIGNATURE = f"void({', '.join(['int64'] * 13)})"


def function_text(code: str, name: str) -> str:
    """A function of that name with a product's code in it."""
    names = ", ".join("abcdefghijklm")
    return f"def {name}({names}):\n    {code}({names})\n"


def called(source: str) -> list[tuple[str, str]]:
    """The codes of the products that a kernel calls, itself or in a routine, and what their symbols end with."""
    found = {f"tile_{kind}" for kind in ("f32", "f64") for name in ROUTINES if f"{name}({kind}, " in source}
    return [NAMES[name] for name in NAMES if name in source or name in found]


def products(source: str) -> dict[str, str]:
    """Symbol -> source of each product that a kernel calls; the function in it is ``product``, of SIGNATURE."""
    return {
        SYMBOL + letter: f"from graphc.codegen.tiles import {code}\n\n\n{function_text(code, 'product')}"
        for code, letter in called(source)
    }
