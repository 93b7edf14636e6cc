"""Routines that sort a row, or find its extreme: by integers in the same order.

As `routines`. A network sorts where they are few: it compares elements that do not depend on their values, so that
vectors compare many at once and no branch is guessed wrongly (Batcher, Sorting networks and their applications, 1968);
for more, a pass over all of them for each byte takes less (Knuth, *The Art of Computer Programming* 3, 5.2.5). What
tells two parts of one row apart is a function of its own, as other calls of it have other parts.
"""

# Numba reads this code, which has no types of its own.
# mypy: disable-error-code="no-untyped-def, no-untyped-call"

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import register_jitable

from graphc.codegen.buffer import buffer, i32, i64, place_of
from graphc.codegen.llvm import intrinsic
from graphc.codegen.routines import routine
from graphc.codegen.vecmath import maximum, minimum, select

UNIT = 2**32  # of the high half of a word
LOW, HIGH, SIGN = UNIT - 1, -UNIT, UNIT // 2  # bits of the low half, of the high one, and the sign that one has
FEW = 16384  # words that a network sorts in less time than passes over their bytes
VALUES = 256  # of a digit
STRETCH = 256  # elements whose extreme is found before it is asked where it lies
RUN = 8  # words that are compared in registers


def _word(kind: Any) -> Any:
    """The integers that stand for numbers of a dtype."""
    return types.int64 if getattr(kind, "bitwidth", 1) == 64 else types.int32


def _in_order(b: Any, bits: Any) -> Any:
    """A float's bits so that integers are in the order of floats, or those of an integer so made."""
    kind = bits.type
    return b.xor(bits, b.and_(b.ashr(bits, kind(kind.width - 1)), kind(_most(kind.width))))


def _most(width: int) -> int:
    """The largest signed integer of so many bits."""
    return (1 << width - 1) - 1


@intrinsic  # type: ignore[untyped-decorator]
def to_word(typingctx: Any, x: Any, descending: Any) -> Any:
    """An integer in the order of numbers: -0 before 0, and a NaN last either way."""
    word = _word(x)

    def codegen(context: Any, b: Any, sig: Any, args: Any) -> Any:
        value, down = args
        kind = ir.IntType(word.bitwidth)
        if not isinstance(x, types.Float):
            made = context.cast(b, value, x, word)
            return b.select(down, b.not_(made), made)
        made = _in_order(b, b.bitcast(value, kind))
        made = b.select(down, b.not_(made), made)
        return b.select(b.fcmp_unordered("uno", value, value), kind(_most(kind.width)), made)

    return word(x, types.boolean), codegen


@intrinsic  # type: ignore[untyped-decorator]
def from_word(typingctx: Any, dtype: Any, word: Any, descending: Any) -> Any:
    """The number of a dtype that `to_word` has made this of; a NaN is any."""
    real = dtype.dtype

    def codegen(context: Any, b: Any, sig: Any, args: Any) -> Any:
        _, value, down = args
        made = b.select(down, b.not_(value), value)
        if not isinstance(real, types.Float):
            return context.cast(b, made, word, real)
        return b.bitcast(_in_order(b, made), context.get_value_type(real))

    return real(dtype, word, types.boolean), codegen


@intrinsic  # type: ignore[untyped-decorator]
def with_one_zero(typingctx: Any, x: Any) -> Any:
    """x, but 0 for -0."""

    def codegen(context: Any, b: Any, sig: Any, args: Any) -> Any:
        return b.fadd(args[0], args[0].type(0.0)) if isinstance(x, types.Float) else args[0]

    return x(x), codegen


@intrinsic  # type: ignore[untyped-decorator]
def largest(typingctx: Any, word: Any) -> Any:
    """The word that comes last."""

    def codegen(context: Any, b: Any, sig: Any, args: Any) -> Any:
        return ir.IntType(word.dtype.bitwidth)(_most(word.dtype.bitwidth))

    return word.dtype(word), codegen


@routine
def first_extreme(real, x_at, y_at, n, largest):
    """Where the first largest, or smallest, element stands, or the first NaN: of the best stretch, in that alone."""
    x, y = buffer(x_at, real, 0, 2), buffer(y_at, i64, 1, 2)
    best = to_word(with_one_zero(x[0]), not largest)
    place = 0
    if n <= RUN:
        for i in range(1, n):
            value = to_word(with_one_zero(x[i]), not largest)
            if value > best:
                best = value
                place = i
        y[0] = place
    else:
        for b in range(0, n, STRETCH):
            most = to_word(with_one_zero(x[b]), not largest)
            for i in range(b, min(b + STRETCH, n)):
                most = maximum(most, to_word(with_one_zero(x[i]), not largest))
            if most > best:
                best = most
                place = b
        first = i32(STRETCH)
        for i in range(min(STRETCH, n - place)):
            equal = to_word(with_one_zero(x[place + i]), not largest) == best
            first = minimum(first, select(equal, i32(i), i32(STRETCH)))
        y[0] = place + first


@routine
def exchanged(word, low_at, high_at, n):
    """The smaller of each pair goes to the lower place."""
    low, high = buffer(low_at, word, 0, 2), buffer(high_at, word, 1, 2)
    for i in range(n):
        a = low[i]
        b = high[i]
        low[i] = minimum(a, b)
        high[i] = maximum(a, b)


@routine
def mirrored(word, low_at, high_at, n):
    """The same of pairs from outside to inside: ``high_at`` is where the highest place lies."""
    low, high = buffer(low_at, word, 0, 2), buffer(high_at, word, 1, 2)
    for i in range(n):
        a = low[i]
        b = high[-i]
        low[i] = minimum(a, b)
        high[-i] = maximum(a, b)


def _compared(title: str, steps: Sequence[int], text: str) -> Any:
    """An intrinsic that compares lane i of eight words with lane i xor a number, for each of some numbers."""

    def typer(typingctx: Any, word: Any, at: Any) -> Any:
        def codegen(context: Any, b: Any, sig: Any, args: Any) -> Any:
            element = ir.IntType(word.dtype.bitwidth)
            kind, order = ir.VectorType(element, RUN), ir.VectorType(ir.IntType(32), RUN)
            place = b.inttoptr(args[1], kind.as_pointer())
            held = b.load(place)
            held.align = element.width // 8
            for step in steps:
                other = b.shuffle_vector(held, held, ir.Constant(order, [i ^ step for i in range(RUN)]))
                less = b.icmp_signed("<", held, other)
                low, high = b.select(less, held, other), b.select(less, other, held)
                lanes = [i if i < i ^ step else RUN + i for i in range(RUN)]
                held = b.shuffle_vector(low, high, ir.Constant(order, lanes))
            b.store(held, place).align = element.width // 8
            return context.get_dummy_value()

        return types.none(word, types.int64), codegen

    typer.__name__ = typer.__qualname__ = title
    typer.__doc__ = text
    return intrinsic(typer)


ordered_run = _compared("ordered_run", (1, 3, 1, 7, 2, 1), "Eight words in order.")
merged_run = _compared("merged_run", (4, 2, 1), "What a merge compares last: words that are four, two and one apart.")


@register_jitable(error_model="numpy", fastmath=False)
def halved(word, y_at, n, apart):
    """Compares words that are so far apart, in blocks of twice as many; the last block may be cut short."""
    for block in range((n + apart - 1) // (2 * apart)):
        start = 2 * apart * block
        low_at, high_at = place_of(word, y_at, start), place_of(word, y_at, start + apart)
        exchanged(word, low_at, high_at, min(apart, n - apart - start))


@routine
def quartered(word, y_at, n):
    """A block of four times ``n`` words: those that are 2 n apart are compared, then those n apart, in one pass."""
    first, second = buffer(y_at, word, 0, 4), buffer(place_of(word, y_at, n), word, 1, 4)
    third, fourth = buffer(place_of(word, y_at, 2 * n), word, 2, 4), buffer(place_of(word, y_at, 3 * n), word, 3, 4)
    for i in range(n):
        a, b, c, d = first[i], second[i], third[i], fourth[i]
        low, high, under, over = minimum(a, c), maximum(a, c), minimum(b, d), maximum(b, d)
        first[i] = minimum(low, under)
        second[i] = maximum(low, under)
        third[i] = minimum(high, over)
        fourth[i] = maximum(high, over)


@routine
def network(word, y_at, n):
    """A row in order: runs of eight, then two at a time merged. ``n`` is a multiple of eight.

    What the last run lacks counts as larger than all, and is not compared.
    """
    for start in range(0, n, RUN):
        ordered_run(word, place_of(word, y_at, start))
    half = RUN
    while half < n:
        for pair in range((n + half - 1) // (2 * half)):
            start = 2 * half * pair
            first = max(0, start + 2 * half - n)  # of the lower half: those before have no partner
            low_at, high_at = place_of(word, y_at, start + first), place_of(word, y_at, start + 2 * half - 1 - first)
            mirrored(word, low_at, high_at, half - first)
        apart = half // 2
        while apart >= 2 * RUN:
            blocks = n // (2 * apart)
            for block in range(blocks):
                quartered(word, place_of(word, y_at, 2 * apart * block), apart // 2)
            whole = 2 * apart * blocks
            rest_at = place_of(word, y_at, whole)
            halved(word, rest_at, n - whole, apart)
            halved(word, rest_at, n - whole, apart // 2)
            apart = apart // 4
        if apart == RUN:
            halved(word, y_at, n, RUN)
        for start in range(0, n, RUN):
            merged_run(word, place_of(word, y_at, start))
        half = 2 * half


@routine
def distributed(word, source_at, target_at, places_at, after_at, n, shift, shift_after):
    """Words go to the places that there are for one of their bytes, and another byte is counted."""
    source, target = buffer(source_at, word, 0, 4), buffer(target_at, word, 1, 4)
    places, after = buffer(places_at, i64, 2, 4), buffer(after_at, i64, 3, 4)
    for i in range(n):
        value = source[i]
        at = i64(value >> word(shift)) & i64(255)
        place = places[at]
        places[at] = place + 1
        target[place] = value
        at = i64(value >> word(shift_after)) & i64(255)
        after[at] = after[at] + 1


@routine
def digits(word, y_at, spare_at, counts_at, n, first, last):
    """A row in order of some bytes of its words, an even number of them, the least first; the sign is in the highest.

    While words go to their places by one byte, the next one is counted.
    """
    y, counts = buffer(y_at, word, 0, 2), buffer(counts_at, i64, 1, 2)
    for k in range(VALUES * (last + 1)):
        counts[k] = 0
    for i in range(n):
        at = VALUES * first + (i64(y[i] >> word(8 * first)) & i64(255))
        counts[at] = counts[at] + 1
    for digit in range(first, last):
        flip = 128 if digit + 1 == place_of(word, 0, 1) else 0
        total = 0
        for k in range(VALUES):
            value_at = VALUES * digit + (k ^ flip)
            count = counts[value_at]
            counts[value_at] = total
            total = total + count
        odd = digit % 2 == 1
        source_at, target_at = spare_at if odd else y_at, y_at if odd else spare_at
        places_at, after_at = counts_at + 8 * VALUES * digit, counts_at + 8 * VALUES * (digit + 1)
        shift, shift_after = 8 * digit, 8 * min(digit + 1, last - 1)
        distributed(word, source_at, target_at, places_at, after_at, n, shift, shift_after)


@register_jitable(error_model="numpy", fastmath=False)
def words_sorted(word, held_at, n, first, last):
    """Words in order, by their bytes from ``first`` to ``last`` if these are many; behind them lies memory for as many,
    and for counts."""
    if n <= FEW:
        held, whole = buffer(held_at, word, 0, 1), n + -n % RUN
        for i in range(n, whole):
            held[i] = largest(word)
        network(word, held_at, whole)
    else:
        spare_at = place_of(word, held_at, n)
        digits(word, held_at, spare_at, place_of(word, spare_at, n), n, first, last)


@routine
def sorted_row(real, x_at, y_at, held_at, n, descending):
    """A row of numbers of at most 32 bits in order, by the words that stand for them."""
    x, y, held = buffer(x_at, real, 0, 3), buffer(y_at, real, 1, 3), buffer(held_at, i32, 2, 3)
    for i in range(n):
        held[i] = to_word(x[i], descending)
    words_sorted(i32, held_at, n, 0, 4)
    for i in range(n):
        y[i] = from_word(real, held[i], descending)


@register_jitable(error_model="numpy", fastmath=False)
def low_halves_sorted(held_at, n, first):
    """Words that differ in the bytes from ``first`` to the fourth behind it in order, where mostly few do."""
    if n <= RUN:
        held = buffer(held_at, i64, 0, 1)
        for i in range(1, n):
            value, j = held[i], i
            while j > 0 and held[max(j - 1, 0)] > value:
                held[j] = held[j - 1]
                j = j - 1
            held[j] = value
    else:
        words_sorted(i64, held_at, n, first, first + 4)


@routine
def ordered_in_low_half(y_at, held_at, n):
    """Words whose high half is equal, in order."""
    y, held = buffer(y_at, i64, 0, 2), buffer(held_at, i64, 1, 2)
    for i in range(n):
        held[i] = y[i]
    low_halves_sorted(held_at, n, 0)
    for i in range(n):
        y[i] = held[i]


@routine
def sorted_wide_row(real, x_at, y_at, held_at, n, descending):
    """The same of 64 bits: many of them by high halves, then what is equal in them by low halves."""
    x, y, held = buffer(x_at, real, 0, 3), buffer(y_at, real, 1, 3), buffer(held_at, i64, 2, 3)
    for i in range(n):
        held[i] = to_word(x[i], descending)
    words_sorted(i64, held_at, n, 4, 8)
    start = 0
    for stop in range(1, n + 1 if n > FEW else 0):
        if stop == n or (held[start] ^ held[min(stop, n - 1)]) & i64(HIGH) != 0:
            if stop - start > 1:
                ordered_in_low_half(place_of(i64, held_at, start), place_of(i64, held_at, n), stop - start)
            start = stop
    for i in range(n):
        y[i] = from_word(real, held[i], descending)


@routine
def sorted_places(real, x_at, y_at, held_at, n, descending):
    """The order of a row of at most 32 bits: words of number and place, so that equal elements stay in order."""
    x, y, held = buffer(x_at, real, 0, 3), buffer(y_at, i64, 1, 3), buffer(held_at, i64, 2, 3)
    for i in range(n):
        held[i] = i64(to_word(with_one_zero(x[i]), descending)) * i64(UNIT) + i
    words_sorted(i64, held_at, n, 4, 8)
    for i in range(n):
        y[i] = held[i] & i64(LOW)


@routine
def ordered_by_low_half(real, x_at, y_at, held_at, n, descending):
    """Places in order of the low half of their numbers of 64 bits, where the high one is equal."""
    x, y, held = buffer(x_at, real, 0, 3), buffer(y_at, i64, 1, 3), buffer(held_at, i64, 2, 3)
    for i in range(n):
        low = to_word(with_one_zero(x[y[i]]), descending) & i64(LOW)
        held[i] = (low - i64(SIGN)) * i64(UNIT) + y[i]
    low_halves_sorted(held_at, n, 4)
    for i in range(n):
        y[i] = held[i] & i64(LOW)


@routine
def sorted_wide_places(real, x_at, y_at, held_at, n, descending):
    """The order of a row of 64 bits: by high halves, then what is equal in them by low halves."""
    x, y, held = buffer(x_at, real, 0, 3), buffer(y_at, i64, 1, 3), buffer(held_at, i64, 2, 3)
    for i in range(n):
        held[i] = (to_word(with_one_zero(x[i]), descending) & i64(HIGH)) + i
    words_sorted(i64, held_at, n, 4, 8)
    for i in range(n):
        y[i] = held[i] & i64(LOW)
    start = 0
    for stop in range(1, n + 1):
        if stop == n or (held[start] ^ held[min(stop, n - 1)]) & i64(HIGH) != 0:
            if stop - start > 1:
                here_at, spare_at = place_of(i64, y_at, start), place_of(i64, held_at, n)
                ordered_by_low_half(real, x_at, here_at, spare_at, stop - start, descending)
            start = stop
