"""Prints the polynomials of `graphc/codegen/vecmath/coefficients.py`: interpolation at Chebyshev nodes, by mpmath.

    python docs/fit_polynomials.py > graphc/codegen/vecmath/coefficients.py

Each function is divided by its leading terms first, so that what is fitted is smooth and its error is relative.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

from mpmath import mp, mpf


@mp.workprec(320)
def interpolated(function: Callable[[Any], Any], low: float, high: float, degree: int) -> list[Any]:
    """Coefficients, lowest first, of the polynomial through ``function`` at the Chebyshev nodes of [low, high]."""
    count = degree + 1
    nodes = [mp.cos(mp.pi * (2 * k + 1) / (2 * count)) for k in range(count)]
    places = [(mpf(low) + high) / 2 + node * (mpf(high) - low) / 2 for node in nodes]
    places = [x if abs(x) > mpf(2) ** -40 else mpf(2) ** -40 for x in places]  # the quotients are 0 / 0 at 0
    matrix = mp.matrix(count, count)
    for row, x in enumerate(places):
        for column in range(count):
            matrix[row, column] = x**column
    return list(mp.lu_solve(matrix, mp.matrix([function(x) for x in places])))


def at_root(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """``function`` of the square root of its argument."""
    return lambda z: function(mp.sqrt(z))


def log_ratio(s: Any) -> Any:
    """log((1 + s) / (1 - s))"""
    return 2 * mp.atanh(s)


def scaled_erfc(t: Any) -> Any:
    """(1 + 2 a) exp(a a) erfc(a) for t = (a - 4) / (a + 4)."""
    a = 4 * (1 + t) / (1 - t)
    return (1 + 2 * a) * mp.exp(a * a) * mp.erfc(a)


def log2_rest(s: Any) -> Any:
    """log2((1 + s) / (1 - s)) / s^5 without its terms in s and s^3."""
    return (log_ratio(s) - 2 * s - 2 * s**3 / 3) / s**5 / mp.log(2)


def without_first(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """(function(s) - s) / s^3 of s^2."""
    return at_root(lambda s: (function(s) - s) / s**3)


def near_bessel(order: int) -> Callable[[Any], Any]:
    """(1 + x) exp(-x) I0(x), or (1 + x)^2 exp(-x) I1(x) / x, which vary little, up to x = 8, of t = x / 4 - 1."""

    def function(t: Any) -> Any:
        x = 4 * (1 + t)
        return (1 + x) ** (1 + order) * mp.exp(-x) * mp.besseli(order, x) / x**order

    return function


def far_bessel(order: int) -> Callable[[Any], Any]:
    """sqrt(x) exp(-x) I(x) from x = 8 on, of t = 16 / x - 1."""

    def function(t: Any) -> Any:
        x = 16 / (1 + t)
        return mp.sqrt(x) * mp.exp(-x) * mp.besseli(order, x)

    return function


# name, what it is, function, range, degrees for float32 and float64
FITS: list[tuple[str, str, Callable[[Any], Any], float, float, int, int]] = [
    ("EXP", "(exp(r) - 1 - r) / r^2", lambda r: (mp.exp(r) - 1 - r) / r**2, -0.3475, 0.3475, 5, 10),
    ("EXP2", "(2^r - 1) / r", lambda r: (2**r - 1) / r, -0.501, 0.501, 5, 11),
    ("LOG", "(log((1 + s) / (1 - s)) - 2 s) / s^3 of s^2", without_first(lambda s: log_ratio(s) - s), 0, 0.0295, 2, 6),
    ("LOG2", "log2((1 + s) / (1 - s)) / s^5 of s^2, without s and s^3", at_root(log2_rest), 0, 0.0295, 3, 7),
    ("SIN", "(sin(r) - r) / r^3 of r^2, to pi/2", without_first(mp.sin), 0, 2.47, 4, 8),
    ("SIN1", "the same, to 1", without_first(mp.sin), 0, 1.0, 3, 6),
    (
        "COS1",
        "(cos(r) - 1 + r^2 / 2) / r^4 of r^2, to 1",
        at_root(lambda r: (mp.cos(r) - 1 + r**2 / 2) / r**4),
        0,
        1,
        2,
        5,
    ),
    ("ATAN", "(atan(t) - t) / t^3 of t^2, to tan(pi/8)", without_first(mp.atan), 0, 0.172, 4, 10),
    ("ASIN", "(asin(t) - t) / t^3 of t^2, to 1/2", without_first(mp.asin), 0, 0.25, 4, 12),
    ("ERF", "erf(x) / x - 1 of x^2, to 1", at_root(lambda x: mp.erf(x) / x - 1), 0, 1.0, 6, 13),
    ("ERFC", "(1 + 2 a) exp(a^2) erfc(a) of (a - 4) / (a + 4), to a = 28", scaled_erfc, -1, 0.75, 11, 24),
    ("ERFC1", "the same, from a = 1 to 6", scaled_erfc, -0.6, 0.2, 8, 14),
    ("I0_NEAR", "(1 + x) exp(-x) I0(x) of x / 4 - 1, to 8", near_bessel(0), -1, 1, 16, 28),
    ("I0_FAR", "sqrt(x) exp(-x) I0(x) of 16 / x - 1, from 8", far_bessel(0), -1, 1, 7, 24),
    ("I1_NEAR", "(1 + x)^2 exp(-x) I1(x) / x of x / 4 - 1, to 8", near_bessel(1), -1, 1, 16, 28),
    ("I1_FAR", "sqrt(x) exp(-x) I1(x) of 16 / x - 1, from 8", far_bessel(1), -1, 1, 7, 24),
]


def single(value: Any) -> float:
    """The nearest float32."""
    return float(struct.unpack("f", struct.pack("f", float(value)))[0])


def main() -> None:
    print('"""Polynomials of the elementary functions, lowest coefficient first; made by docs/fit_polynomials.py."""')
    print("\nfrom graphc.codegen.vecmath.value import Constants")
    for name, text, function, low, high, degree32, degree64 in FITS:
        print(f"\n# {text}\n{name} = Constants(")
        for field, degree, kind in (("single", degree32, single), ("double", degree64, float)):
            found = [kind(c) for c in interpolated(function, low, high, degree)]
            print(f"    {field}=({', '.join(map(repr, found))},),")
        print(")")


if __name__ == "__main__":
    main()
