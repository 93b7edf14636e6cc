"""Sums and products without rounding error: a result and what it lacks (Dekker 1971; Muller's Handbook, ch. 4)."""

from __future__ import annotations

from typing import NamedTuple

from graphc.codegen.vecmath.value import Value, fma


class Pair(NamedTuple):
    """``high + low``, where ``high`` is their sum rounded."""

    high: Value
    low: Value


def fast_two_sum(a: Value | float, b: Value) -> Pair:
    """a + b for |a| >= |b|, or a = 0."""
    total = a + b
    return Pair(total, b - (total - a))


def two_product(a: Value, b: Value) -> Pair:
    """a b."""
    product = a * b
    return Pair(product, fma(a, b, -product))


def multiplied(a: Pair, b: Pair) -> Pair:
    """a b, without low times low."""
    product = a.high * b.high
    low = fma(a.high, b.high, -product)
    return Pair(product, fma(a.low, b.high, fma(a.high, b.low, low)))
