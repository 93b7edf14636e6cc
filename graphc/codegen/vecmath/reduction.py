"""Remainders of arguments of any size modulo pi / 2, after Payne and Hanek (1983), without a branch.

y = |x| 2 / pi is wanted modulo 4 only, so digits of 2 / pi that give multiples of 4 are left out: which ones, the
exponent of x decides. float32 takes a window of 96 bits and multiplies integers. float64 takes four words, together
212 bits, from a table with a row for each exponent, and multiplies without rounding error, much as SLEEF does
(Shibata and Petrogalli, IEEE TPDS 31, 2020). The double nearest to a multiple of pi / 2 is 2^-61 away, which leaves
full precision.
"""

from __future__ import annotations

import math
from fractions import Fraction
from functools import cache

from graphc.codegen.vecmath.exponential import split
from graphc.codegen.vecmath.pair import two_product, two_sum
from graphc.codegen.vecmath.value import (
    Constants,
    Value,
    call,
    fabs,
    fma,
    look_up,
    rint,
    select,
    table,
)

HALF_PI = Constants((1.57079637050628662109375, -4.37113900018624283e-8), (math.pi / 2, 6.123233995736766e-17))
WORDS = 4


@cache
def two_over_pi(bits: int) -> int:
    """2^bits 2 / pi, rounded down."""
    unit = 1 << (bits + 32)

    def arc(n: int) -> int:  # atan(1 / n)
        total, term, k = 0, unit // n, 1
        while term:
            total += term // k if k % 4 == 1 else -(term // k)
            term //= n * n
            k += 2
        return total

    return (unit << bits) // (2 * (4 * arc(5) - arc(239)))  # Machin's formula


@cache
def words64() -> list[float]:
    """For x from 1 up, a row for each exponent e: 2^(e - 52) 2 / pi modulo 4, from -2 to 2, in four words."""
    digits = 1300
    value = two_over_pi(digits)
    rows = []
    for e in range(1024):
        # 2^(e - 52) 2 / pi in units of 2^(e - 52 - digits)
        whole = 1 << (digits + 2 + 52 - e)  # 4 in those units
        rest = value % whole
        rest -= whole if rest > whole // 2 else 0
        unit = Fraction(2) ** (e - 52 - digits)
        left = rest * unit
        for _ in range(WORDS):
            word = float(left)
            rows.append(word)
            left -= Fraction(word)
    return rows


def folded(x: Value, shift: int, quarter: int) -> tuple[Value, Value, Value]:
    """|x| + quarter pi / 2 as r + k pi / shift for |x| >= 1: r >= 0, whether r was negative, and k's parity.

    ``shift`` 1 or 2 is the distance of zeros; both flags are integers that hold theirs in the sign's place.
    """
    return (_folded32 if x.width == 32 else _folded64)(x, shift, quarter)


def _folded32(x: Value, shift: int, quarter: int) -> tuple[Value, Value, Value]:
    a = fabs(x).bits()
    first = 24 + 1  # zeros before the binary point's digits: bit j of 2 / pi stands at 24 + j
    bits = two_over_pi(7 * 32 - first)
    digits = [(bits >> (32 * (6 - k))) & 0xFFFFFFFF for k in range(7)]
    e = (a >> 23) - 127
    odd, high = (e & 32).differs(0), (e & 64).differs(0)
    whole = a.constant
    w = [
        select(high, select(odd, whole(digits[k + 3]), digits[k + 2]), select(odd, whole(digits[k + 1]), digits[k]))
        for k in range(4)
    ]
    window = [call("fshl", w[k], w[k + 1], e & 31) for k in range(3)]
    m = (a & 0x7FFFFF) | 0x800000
    wide = m.extended()
    y = (
        wide * window[1].extended()
        + ((wide * window[2].extended()) >> 32)
        + ((m * window[0]).extended() << 32)
        + (quarter << 62)
    )  # y modulo 4, in units of 2^-62
    f = y << shift
    upper = (f >> 32).truncated()
    negative = (y << (shift - 1) >> 32).truncated() ^ upper
    mask = Value(x.builder, x.builder.ashr(upper.value, upper.constant(31).value))
    high, low = upper ^ mask, f.truncated() ^ mask
    rest = (((high & 0x7F) << 24) | (low >> 8)).to_float()  # 31 bits after the first 24
    high = (high & ~0x7F).to_float()
    above, below = x.of(HALF_PI)
    unit = 2.0 ** (-62 - shift + 32)
    r = fma(high, above * unit, fma(high, below * unit, rest * (above * unit * 2.0**-24)))
    return r, upper, negative


def _folded64(x: Value, shift: int, quarter: int) -> tuple[Value, Value, Value]:
    bits = fabs(x).bits()
    m = ((bits & ((1 << 52) - 1)) | ((1023 + 52) << 52)).as_float()
    row = (((bits >> 52) - 1023) & 1023) << 2
    held = table(x.builder, "graphc.two_over_pi", words64())
    word = [look_up(held, row + k) for k in range(WORDS)]
    a, b = two_product(m, word[0])
    a = fma(rint(a * 0.25), -4.0, a)
    a, c = two_sum(a, b)
    second, second_low = two_product(m, word[1])
    a, d = two_sum(a, second)
    third, third_low = two_product(m, word[2])
    c, rest = two_sum(c, d)
    for small in (second_low, third):
        c, more = two_sum(c, small)
        rest = rest + more
    rest = fma(m, word[3], rest + third_low)
    distance = 2.0 / shift  # of zeros, the nearest of which is taken from a
    k, n = split(a + float(quarter), 1.0 / distance, 1.5 * 2.0**52)
    a, c = two_sum(a - (n * distance - float(quarter)), c)
    rest = c + rest
    y = a + rest
    rest = rest - (y - a)
    above, below = x.of(HALF_PI)
    r = fma(y, above, fma(y, below, rest * above))
    return fabs(r), r.bits(), k.bits() << 63
