"""Remainders of arguments of any size modulo pi / 2.

From most arguments a whole number of pi, in three parts, is taken off. Where there is a larger one in a vector, that is
reduced after Payne and Hanek (1983), in integers.

y = |x| 2 / pi is wanted modulo 4 only, so digits of 2 / pi that give multiples of 4 are left out; which ones, the
exponent of x decides. A window of three words, of 32 or of 64 bits, is taken from 2 / pi and multiplied by the
significand. Of the product two words are kept: the float32 nearest to a multiple of pi / 2 is about 2^-30 away from
it and the nearest float64 2^-61 (Muller, Elementary Functions, 3rd ed., 11.3), so that enough bits stay.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

from graphc.codegen.vecmath.exponential import ROUNDER
from graphc.codegen.vecmath.value import Constants, Value, call, fabs, fma, select, unless

HALF_PI = Constants((1.5707963705062866, -4.371138828673793e-08), (math.pi / 2, 6.123233995736766e-17))
PI = Constants(
    (3.1415927410125732, -8.742277657347586e-08, -3.4302490200117637e-15),
    (math.pi, 1.2246467991473532e-16, -2.9947698097183397e-33),
)
FAR = Constants(2.0**13, 2.0**28)  # from here on the parts of pi do not do
LOW_HALF = 0xFFFFFFFF


class Folded(NamedTuple):
    """The remainder r as ``size`` = |r|; the sign of either integer says that r < 0, and that its multiple is odd."""

    size: Value
    negative: Value
    odd: Value


@cache
def two_over_pi(bits: int) -> int:
    """2^bits 2 / pi, rounded down."""
    unit = 1 << (bits + 32)

    def arctangent(n: int) -> int:
        """Of 1 / n."""
        total, power, k = 0, unit // n, 1
        while power:
            total += power // k if k % 4 == 1 else -(power // k)
            power //= n * n
            k += 2
        return total

    return (unit << bits) // (2 * (4 * arctangent(5) - arctangent(239)))  # Machin's formula


def window(exponent: Value, mantissa: int) -> list[Value]:
    """Three words of 2 / pi from bit ``exponent`` on, after as many zeros as make y's first bit worth 2."""
    width = exponent.width
    places = (128 if width == 32 else 1024) // width
    count = places + 3
    digits = two_over_pi(count * width - (mantissa + 2))
    words: list[Value] = [
        exponent.constant((digits >> (width * (count - 1 - k))) & ((1 << width) - 1)) for k in range(count)
    ]
    step = places // 2
    while step:  # a barrel shifter of whole words
        far = (exponent & (step * width)).differs(0)
        words = [select(far, words[k + step], words[k]) for k in range(step + 3)]
        step //= 2
    return [call("fshl", words[k], words[k + 1], exponent & (width - 1)) for k in range(3)]


def product(limbs: Sequence[Value], factors: Sequence[Value]) -> list[Value]:
    """Limbs of 32 bits, highest first, times a number of limbs given lowest first; what overflows is lost."""
    total = [limb.constant(0) for limb in limbs]
    for place, factor in enumerate(factors):
        carry = factor.constant(0)
        for k in range(len(limbs) - 1 - place, -1, -1):
            part = limbs[k + place] * factor + total[k] + carry  # below 2^64
            total[k], carry = part & LOW_HALF, part >> 32
    return total


def folded(x: Value, shift: int, quarter: int) -> Folded:
    """The remainder of |x| + quarter pi / 2 modulo pi, or pi / 2 where ``shift`` is 2; NaN where x is not finite."""
    a = fabs(x)
    return Folded(*unless((a < x.of(FAR)) ^ 1, _of_near(a, shift, quarter), lambda: _of_far(x, shift, quarter)))


def _of_near(a: Value, shift: int, quarter: int) -> Folded:
    """After Cody and Waite, for 0 <= a < `FAR`: what the first product leaves is exact, as a is no finer than pi."""
    scale = 2.0 ** (1 - shift)  # of pi
    turns, rounder = 1.0 / (math.pi * scale), a.of(ROUNDER)
    held = fma(a, turns, 0.5) + rounder if quarter else fma(a, turns, rounder)
    r, n = a, held - rounder
    if quarter:
        n = n - 0.5
    for part in a.of(PI):
        r = fma(n, -part * scale, r)
    return Folded(fabs(r), r.bits(), held.bits() << (a.width - 1))


def _of_far(x: Value, shift: int, quarter: int) -> Folded:
    """For |x| >= 1."""
    width, mantissa = x.width, x.mantissa
    bits = fabs(x).bits()
    words = window((bits >> mantissa) - x.bias, mantissa)
    m = (bits & ((1 << mantissa) - 1)) | (1 << mantissa)
    if width == 32:
        high, low, _ = (limb.truncated() for limb in product([w.extended() for w in words], [m.extended()]))
    else:
        halves = [half for w in words for half in (w >> 32, w & LOW_HALF)]
        r = product(halves, [m & LOW_HALF, m >> 32])
        high, low = (r[0] << 32) | r[1], (r[2] << 32) | r[3]
    high = high + (quarter << (width - 2))  # y modulo 4, in units of 2^(2 - width)
    odd = high << (shift - 1)
    high, low = (high << shift) | (low >> (width - shift)), low << shift
    odd, negative = odd ^ high, high
    flip = select(negative < 0, negative.constant(-1), 0)
    high, low = high ^ flip, low ^ flip
    spare = width - 2 - mantissa  # bits of the first word that its float has no place for
    rest = ((high & ((1 << spare) - 1)) << (width - 1 - spare)) | (low >> (spare + 1))
    first, second = (high & (-1 << spare)).to_float(), rest.to_float()
    above, below = x.of(HALF_PI)
    unit = 2.0 ** (2 - shift - width)
    second = second * (above * unit * 2.0 ** (1 + spare - width))
    size = fma(first, above * unit, fma(first, below * unit, second))
    return Folded(select(fabs(x) < math.inf, size, math.nan), negative, odd)
