"""Products of a matrix with vectors inside kernels, some rows at a time.

``dots`` takes the inner product of each row with one vector, ``ranks`` adds each row times a number of its own to a
vector: the two passes of ``X @ w`` and ``X.T @ r``. Over a block of rows that fits the first-level cache the second
finds what the first has brought. Both ask for rows further ahead as they go: they walk through several rows at a time,
or twice through the same, and processors do not foresee that. The code is written as LLVM IR: the compiler itself
would take one row at a time, with an addition across lanes for each, and would load and store the sum for every row.

An inner product is a sum in each of as many lanes as LANES bytes hold, in ascending order and in blocks of STEPS (see
`sums`), then over the lanes in a tree. Of few columns most lanes would be empty: there each lane has a row, and adds up
in ascending order. ``ranks`` adds row after row. So a row's result depends neither on where in a block it lies nor on
the width of a processor's vectors.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types

from graphc.codegen.llvm import intrinsic
from graphc.codegen.sums import carried
from graphc.codegen.vectors import ONE, WORD, Vectors, element_bytes, folded, least, pieces, prefetch, vector_bytes

LANES = 64  # bytes of the partial sums of an inner product
FEW = 128  # bytes of the columns that are few
ROWS = 8  # inner products at a time, where one register holds such sums
LOW = 4  # the least at a time: with fewer, an addition waits for the last
STEPS = 64  # vectors of an inner product that are added up before they are carried on
STRIP = 8  # vectors of a sum that stay in registers


class _Rows(Vectors):
    """Writes both functions, with so many inner products at a time."""

    def __init__(self, module: Any, letter: str, lanes: int, tall: int) -> None:
        super().__init__(module, letter, lanes)
        self.tall = tall

    def dots(self) -> Any:
        """``f(rows, columns, a, lda, ahead, x, y)``: ``y[k]`` is the inner product of row k of ``a`` and ``x``."""
        function, builder = self.function("dots", [WORD] * 7)
        if builder is None:
            return function
        rows, low = function.args[0], self.tall // 2
        left = builder.urem(rows, WORD(self.tall))
        short = builder.icmp_unsigned("<=", left, WORD(low)) if low >= LOW else ir.IntType(1)(0)
        whole = builder.select(short, builder.sub(rows, left), rows)
        with pieces(builder, whole, WORD(self.tall)) as group_at:
            self.group(builder, builder.mul(group_at, WORD(self.tall)), self.tall, function.args)
        if low >= LOW:
            with builder.if_then(builder.icmp_unsigned("<", whole, rows)):
                self.group(builder, whole, low, function.args)
        builder.ret_void()
        return function

    def group(self, builder: Any, first: Any, tall: int, given: Any) -> None:
        """The inner products of so many rows at once."""
        rows, columns, a, lda, ahead, x, y = given
        add, sub, mul, at, pointer = builder.add, builder.sub, builder.mul, builder.gep, self.real.as_pointer()
        a, x, y = (builder.inttoptr(p, pointer) for p in (a, x, y))
        lanes = WORD(self.lanes)
        whole = builder.udiv(columns, lanes)
        rest = sub(columns, mul(whole, lanes))
        zero, ahead = ir.Constant(self.vector, None), mul(ahead, lda)
        there = least(builder, sub(rows, first), WORD(tall))
        last = sub(there, ONE)  # stands for the rows that are missing
        lines = [at(a, [mul(add(first, least(builder, WORD(r), last)), lda)]) for r in range(tall)]

        def further(k: Any, sums: list[Any]) -> list[Any]:
            column = mul(k, lanes)
            added = self.step(builder, lines, x, column, sums, None)
            for line in lines:
                prefetch(builder, at(line, [add(column, ahead)]))
            return added

        sums = folded(builder, least(builder, whole, WORD(STEPS)), [zero] * tall, further)

        def block(k: Any, held: list[Any]) -> list[Any]:
            begin = mul(add(k, ONE), WORD(STEPS))
            count = least(builder, WORD(STEPS), sub(whole, begin))
            parts = folded(builder, count, [zero] * tall, lambda j, parts: further(add(begin, j), parts))
            pairs = [carried(builder, *three) for three in zip(held[:tall], held[tall:], parts, strict=True)]
            return [x for two in zip(*pairs, strict=True) for x in two]

        more = builder.udiv(sub(builder.select(builder.icmp_signed(">", whole, ONE), whole, ONE), ONE), WORD(STEPS))
        sums = folded(builder, more, [*sums, *[zero] * tall], block)[:tall]
        found = self.across(builder, self.step(builder, lines, x, mul(whole, lanes), sums, self.mask(builder, rest)))
        narrow = Vectors(self.module, self.letter, tall)
        narrow.store(builder, found, at(y, [first]), narrow.mask(builder, there))

    def step(self, builder: Any, lines: list[Any], x: Any, column: Any, sums: list[Any], mask: Any) -> list[Any]:
        """The sums with a vector's width of columns more."""
        factor = self.load(builder, builder.gep(x, [column]), mask)
        loaded = [self.load(builder, builder.gep(line, [column]), mask) for line in lines]
        return [self.call(builder, "fmuladd", self.vector, v, factor, s) for v, s in zip(loaded, sums, strict=True)]

    def across(self, builder: Any, sums: list[Any]) -> Any:
        """One vector of the sums over lanes: neighbours are added until each sum is one number."""
        count, number = len(sums), ir.IntType(32)
        while len(sums) > 1 or sums[0].type.count > count:
            pairs = list(zip(sums[::2], sums[1::2], strict=True)) if len(sums) > 1 else [sums * 2]
            width = sums[0].type.count // (1 if len(sums) > 1 else 2)
            sides = [ir.Constant(ir.VectorType(number, width), [2 * j + k for j in range(width)]) for k in (0, 1)]
            sums = [builder.fadd(*(builder.shuffle_vector(u, v, side) for side in sides)) for u, v in pairs]
        return sums[0]

    def few(self) -> Any:
        """As `dots`, of few columns: squares of some columns of as many rows as there are lanes are turned."""
        function, builder = self.function("dots_few", [WORD] * 7)
        if builder is None:
            return function
        rows, columns, a, lda, _, x, y = function.args
        add, sub, mul, at, pointer = builder.add, builder.sub, builder.mul, builder.gep, self.real.as_pointer()
        a, x, y = (builder.inttoptr(p, pointer) for p in (a, x, y))
        lanes, side, narrow = WORD(self.lanes), WORD(self.side), Vectors(self.module, self.letter, self.side)
        squares = builder.udiv(add(columns, sub(side, ONE)), side)
        with pieces(builder, rows, lanes) as group_at:
            first = mul(group_at, lanes)
            there = least(builder, sub(rows, first), lanes)
            last = sub(there, ONE)  # stands for the rows that are missing
            lines = [at(a, [mul(add(first, least(builder, WORD(r), last)), lda)]) for r in range(self.lanes)]

            def square(k: Any, sums: list[Any], lines: list[Any] = lines) -> list[Any]:
                column = mul(k, side)
                mask = narrow.mask(builder, sub(columns, column))
                factors, total = narrow.load(builder, at(x, [column]), mask), sums[0]
                for k, turned in enumerate(self.turn(builder, lines, column, mask)):
                    factor = self.splat(builder, builder.extract_element(factors, ir.IntType(32)(k)))
                    total = self.call(builder, "fmuladd", self.vector, turned, factor, total)
                return [total]

            (total,) = folded(builder, squares, [ir.Constant(self.vector, None)], square)
            with builder.if_else(builder.icmp_signed("==", there, lanes)) as (whole, part):
                with whole:
                    self.store(builder, total, at(y, [first]))
                with part:
                    self.store(builder, total, at(y, [first]), self.mask(builder, there))
        builder.ret_void()
        return function

    def ranks(self) -> Any:
        """``f(rows, columns, a, lda, ahead, r, g)``: adds each row k of ``a`` times ``r[k]`` to ``g``."""
        function, builder = self.function("ranks", [WORD] * 7)
        if builder is None:
            return function
        rows, columns, a, lda, ahead, r, g = function.args
        a, r, g = (builder.inttoptr(p, self.real.as_pointer()) for p in (a, r, g))
        lanes, strip, ahead = WORD(self.lanes), WORD(STRIP * self.lanes), builder.mul(ahead, lda)
        with pieces(builder, columns, strip) as strip_at:
            begin = builder.mul(strip_at, strip)
            there = least(builder, builder.sub(columns, begin), strip)
            width = builder.udiv(builder.add(there, builder.sub(lanes, ONE)), lanes)
            cases = [function.append_basic_block(f"width{w}") for w in range(1, STRIP + 1)]
            after = function.append_basic_block("after")
            choice = builder.switch(width, cases[-1])
            for w, case in enumerate(cases[:-1], 1):
                choice.add_case(WORD(w), case)
            for w, case in enumerate(cases, 1):
                builder.position_at_end(case)
                self.strip(builder, w, rows, there, [builder.gep(p, [begin]) for p in (a, g)], lda, ahead, r)
                builder.branch(after)
            builder.position_at_end(after)
        builder.ret_void()
        return function

    def strip(
        self, builder: Any, width: int, rows: Any, there: Any, places: list[Any], lda: Any, ahead: Any, r: Any
    ) -> None:
        """Some vectors of the sum, over all rows."""
        a, g = places
        rest = builder.sub(there, WORD((width - 1) * self.lanes))
        masks = [None] * (width - 1) + [self.mask(builder, rest)]
        before = [self.load(builder, builder.gep(g, [WORD(v * self.lanes)]), masks[v]) for v in range(width)]

        def further(k: Any, sums: list[Any]) -> list[Any]:
            line, added = builder.gep(a, [builder.mul(k, lda)]), []
            factor = self.splat(builder, builder.load(builder.gep(r, [k])))
            for v in range(width):
                at = builder.gep(line, [WORD(v * self.lanes)])
                prefetch(builder, builder.gep(at, [ahead]))
                added.append(
                    self.call(builder, "fmuladd", self.vector, self.load(builder, at, masks[v]), factor, sums[v])
                )
            return added

        sums = folded(builder, rows, before, further)
        for v in range(width):
            self.store(builder, sums[v], builder.gep(g, [WORD(v * self.lanes)]), masks[v])


def _function(name: str, letter: str) -> Any:
    def typer(typingctx: Any, rows: Any, columns: Any, a: Any, lda: Any, ahead: Any, x: Any, y: Any) -> Any:
        def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            register, bytes, module = vector_bytes(context), element_bytes(letter), builder.module
            across = _Rows(module, letter, register // bytes, ROWS)
            if name == "ranks":
                builder.call(across.ranks(), args)
                return context.get_dummy_value()
            wide, columns = _Rows(module, letter, LANES // bytes, ROWS * register // LANES), args[1]
            if isinstance(columns, ir.Constant):
                function = across.few() if columns.constant <= FEW // bytes else wide.dots()
            else:
                few = builder.icmp_signed("<=", columns, WORD(FEW // bytes))
                function = builder.select(few, across.few(), wide.dots())
            builder.call(function, args)
            return context.get_dummy_value()

        return types.none(*[types.int64] * 7), codegen

    typer.__doc__ = getattr(_Rows, name).__doc__
    return intrinsic(typer)


dots_f32, dots_f64 = _function("dots", "s"), _function("dots", "d")
ranks_f32, ranks_f64 = _function("ranks", "s"), _function("ranks", "d")
