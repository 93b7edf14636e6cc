"""Functions of whole rows and matrices, which kernels call: recurrences, sorting, decompositions.

Each takes a dtype, the addresses of its operands and of its result, perhaps that of scratch memory, then the sizes of
its operands, then attributes. They are Python in the forms that `lower` knows.
"""

# Numba reads this code, which has no types of its own.
# mypy: disable-error-code="no-untyped-def, no-untyped-call"

from __future__ import annotations

from numba.extending import register_jitable

from graphc.codegen.buffer import buffer, f64, i64
from graphc.codegen.vecmath import cos, sin


def routine(function):
    """A function that kernels call and LLVM does not inline: its memory accesses are told apart by no other's marks."""
    function.outlined = True
    return register_jitable(error_model="numpy", fastmath=False)(function)


@routine
def recurrence_rows(real, a_at, b_at, y_at, n, also, reverse):
    """y[i] = a[i] * y[i - 1] + b[i] from y[0] = b[0] on, or from the other end."""
    a, b, y = buffer(a_at, real, 0, 1), buffer(b_at, real, 0, 1), buffer(y_at, real, 0, 1)
    last = real(0)
    for i in range(n):
        k = n - 1 - i if reverse else i
        last = b[k] if i == 0 else real(a[k] * last + b[k])
        y[k] = last


@routine
def sums_so_far(real, x_at, y_at, n, reverse):
    """Sums of all elements up to each; what an addition loses is added with the next (Kahan 1965)."""
    x, y = buffer(x_at, real, 0, 1), buffer(y_at, real, 0, 1)
    total = real(0)
    lost = real(0)
    for i in range(n):
        k = n - 1 - i if reverse else i
        added = x[k] + lost
        now = total + added
        rest = added - (now - total)
        lost = rest if rest == rest else real(0)
        total = now
        y[k] = now


@routine
def whole_sums_so_far(whole, x_at, y_at, n, reverse):
    """The same of integers."""
    x, y = buffer(x_at, whole, 0, 1), buffer(y_at, whole, 0, 1)
    total = whole(0)
    for i in range(n):
        k = n - 1 - i if reverse else i
        total = whole(total + x[k])
        y[k] = total


@routine
def extreme_so_far(real, x_at, y_at, n, reverse, largest):
    """Where the largest, or smallest, element up to each stands: the first one met, and a NaN once there is one."""
    x, y = buffer(x_at, real, 0, 1), buffer(y_at, i64, 0, 1)
    best = 0
    for i in range(n):
        k = n - 1 - i if reverse else i
        if i == 0 or (x[best] == x[best] and (x[k] != x[k] or (x[k] > x[best] if largest else x[k] < x[best]))):
            best = k
        y[k] = best


@register_jitable(error_model="numpy", fastmath=False)
def before(a, b, descending):
    """Whether a stands strictly before b; NaN comes last."""
    if a != a:
        return False
    if b != b:
        return True
    return a > b if descending else a < b


@routine
def sorted_row(real, x_at, y_at, spare_at, n, descending):
    """A row in order: runs of eight by insertion, then two at a time merged."""
    x, y, spare = buffer(x_at, real, 0, 1), buffer(y_at, real, 0, 1), buffer(spare_at, real, 0, 1)
    for i in range(n):
        value = x[i]
        j = i
        while j % 8 > 0 and before(value, y[max(j - 1, 0)], descending):
            y[j] = y[j - 1]
            j = j - 1
        y[j] = value
    run = 8
    while run < n:
        start = 0
        while start + run < n:
            middle = start + run
            stop = min(middle + run, n)
            if before(y[middle], y[middle - 1], descending):
                for k in range(start, middle):
                    spare[k] = y[k]
                left = start
                right = middle
                at = start
                while left < middle and right < stop:
                    if before(y[right], spare[left], descending):
                        y[at] = y[right]
                        right = right + 1
                    else:
                        y[at] = spare[left]
                        left = left + 1
                    at = at + 1
                for k in range(left, middle):
                    y[at + k - left] = spare[k]
            start = stop
        run = 2 * run


@routine
def sorted_places(real, x_at, y_at, spare_at, n, descending):
    """The order of a row: runs of eight by insertion, then two at a time merged; equal elements stay in order."""
    x, y, spare = buffer(x_at, real, 0, 1), buffer(y_at, i64, 0, 1), buffer(spare_at, i64, 0, 1)
    for i in range(n):
        j = i
        while j % 8 > 0 and before(x[i], x[y[max(j - 1, 0)]], descending):
            y[j] = y[j - 1]
            j = j - 1
        y[j] = i
    run = 8
    while run < n:
        start = 0
        while start + run < n:
            middle = start + run
            stop = min(middle + run, n)
            for k in range(start, middle):
                spare[k] = y[k]
            left = start
            right = middle
            at = start
            while left < middle and right < stop:
                if before(x[y[right]], x[spare[left]], descending):
                    y[at] = y[right]
                    right = right + 1
                else:
                    y[at] = spare[left]
                    left = left + 1
                at = at + 1
            for k in range(left, middle):
                y[at + k - left] = spare[k]
            start = stop
        run = 2 * run


@routine
def fourier_row(real, re_at, im_at, y_at, spare_at, n, also, inverse):
    """The discrete Fourier transform, not scaled, of any length, factor by factor (Stockham; Van Loan 1992, 1.7).

    Computed in float64. A length with a large prime factor p takes time proportional to n p.
    """
    re, im, y = buffer(re_at, real, 0, 1), buffer(im_at, real, 0, 1), buffer(y_at, real, 0, 1)
    held = buffer(spare_at, f64, 0, 1)  # roots of unity, then two rows that take turns
    for k in range(n):
        angle = 6.283185307179586 * f64(k) / f64(n)
        held[2 * k] = cos(angle)
        held[2 * k + 1] = sin(angle) if inverse else -sin(angle)
        held[2 * n + 2 * k] = f64(re[k])
        held[2 * n + 2 * k + 1] = f64(im[k])
    source, target = 2 * n, 4 * n
    left = n
    stride = 1
    factor = 2
    while left > 1:
        while left % factor != 0:
            factor = factor + 1 if factor * factor <= left else left
        left = left // factor
        for p in range(left):
            for t in range(factor):
                turn = (p * t * stride) % n
                for q in range(stride):
                    a, b = 0.0, 0.0
                    for u in range(factor):
                        at = source + 2 * (q + stride * (p + u * left))
                        w = 2 * ((u * t * (n // factor)) % n)
                        a = a + (held[at] * held[w] - held[at + 1] * held[w + 1])
                        b = b + (held[at] * held[w + 1] + held[at + 1] * held[w])
                    to = target + 2 * (q + stride * (factor * p + t))
                    held[to] = a * held[2 * turn] - b * held[2 * turn + 1]
                    held[to + 1] = a * held[2 * turn + 1] + b * held[2 * turn]
        stride = stride * factor
        moved = source
        source = target
        target = moved
    for k in range(n):
        y[k] = real(held[source + 2 * k])
        y[n + k] = real(held[source + 2 * k + 1])
