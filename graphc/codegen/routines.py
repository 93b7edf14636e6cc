"""Functions of whole rows and matrices, which kernels call: recurrences, running sums, extremes, transforms.

Each takes a dtype, the addresses of its operands and of its result, perhaps that of scratch memory, then the sizes of
its operands, then attributes. They are Python in the forms that `lower` knows.
"""

# Numba reads this code, which has no types of its own.
# mypy: disable-error-code="no-untyped-def, no-untyped-call"

from __future__ import annotations

from numba import types
from numba.extending import register_jitable

from graphc.codegen.buffer import buffer, f64, i64, inf
from graphc.codegen.vecmath import cos, exp, log, maximum, sin


def routine(function):
    """A function that kernels call and LLVM does not inline: its memory accesses are told apart by no other's marks."""
    function.outlined = True
    return register_jitable(error_model="numpy", fastmath=False)(function)


def of_kernel(function, inline):
    """Lets the kernel call a function of words in its own source: a loop's body, or a side of a branch."""
    function.outlined, function.returns = not inline, types.int64
    register_jitable(error_model="numpy", fastmath=False)(function)


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
def alignment_scores(real, e_at, skip_at, y_at, steps, places, skips):
    """y[t, s]: the log of the sum, over all paths to place s at step t, of the exponential of the sum of e along it.

    A path begins at place 0 or 1 and then stays, goes one place on, or two where skip is not 0 (Graves et al. 2006).
    """
    e, skip, y = buffer(e_at, real, 0, 1), buffer(skip_at, real, 0, 1), buffer(y_at, real, 0, 1)
    for t in range(steps):
        here = t * places
        for s in range(places):
            score = real(0) if t == 0 and s < 2 else real(-inf)
            if t > 0:
                at = here - places + s
                stay = y[at]
                one = y[max(at - 1, 0)] if s > 0 else real(-inf)
                two = y[max(at - 2, 0)] if s > 1 and skip[s] != real(0) else real(-inf)
                best = maximum(maximum(stay, one), two)
                score = best
                if best > real(-inf) and best < real(inf):
                    score = real(best + log(exp(real(stay - best)) + exp(real(one - best)) + exp(real(two - best))))
            y[here + s] = real(score + e[here + s])


@routine
def banded_rows(real, a_at, b_at, c_at, d_at, y_at, steps, places, s1, p1, s2, p2, s3, p3, reverse):
    """y[t, s] = d[t, s] + a[t, s] y[t - 1, s] + b[t, s] y[t - 1, s - 1] + c[t, s] y[t - 1, s - 2], or its adjoint."""
    a, b, c = buffer(a_at, real, 0, 1), buffer(b_at, real, 0, 1), buffer(c_at, real, 0, 1)
    d, y = buffer(d_at, real, 0, 1), buffer(y_at, real, 0, 1)
    for i in range(steps):
        t = steps - 1 - i if reverse else i
        here = t * places
        for s in range(places):
            total = d[here + s]
            if i > 0 and reverse:
                at = here + places + s
                total = real(total + a[at] * y[at])
                if s + 1 < places:
                    total = real(total + b[at + 1] * y[at + 1])
                if s + 2 < places:
                    total = real(total + c[at + 2] * y[at + 2])
            elif i > 0:
                at = here - places + s
                total = real(total + a[here + s] * y[at])
                if s > 0:
                    total = real(total + b[here + s] * y[at - 1])
                if s > 1:
                    total = real(total + c[here + s] * y[at - 2])
            y[here + s] = total


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


@routine
def roots_of_unity(held_at, n, sign):
    """Cosines of all angles 2 pi k / n, then sines times a sign: those of one eighth, the others by symmetry."""
    held = buffer(held_at, f64, 0, 1)
    eighth = n // 8 if n % 8 == 0 else n // 4 if n % 4 == 0 else n // 2
    for k in range(eighth + 1):
        angle = 6.283185307179586 * f64(k) / f64(n)
        held[k] = cos(angle)
        held[n + k] = sign * sin(angle)
    for k in range(eighth + 1, n):
        if n % 8 == 0 and 4 * k <= n:
            held[k] = sign * held[n + n // 4 - k]
            held[n + k] = sign * held[n // 4 - k]
        elif n % 4 == 0 and 2 * k <= n:
            held[k] = -held[n // 2 - k]
            held[n + k] = held[n + n // 2 - k]
        else:
            held[k] = held[n - k]
            held[n + k] = -held[2 * n - k]


@routine
def fourth_parts(roots_at, x_at, z_at, n, left, stride, sign):
    """A step of `fourier_row` by the factor 4."""
    w, x, z = buffer(roots_at, f64, 0, 3), buffer(x_at, f64, 1, 3), buffer(z_at, f64, 2, 3)
    apart = stride * left
    for p in range(left):
        turn = p * stride
        c1, c2, c3 = w[turn], w[2 * turn], w[3 * turn]
        s1, s2, s3 = w[n + turn], w[n + 2 * turn], w[n + 3 * turn]
        for q in range(stride):
            at = q + stride * p
            to = q + stride * 4 * p
            r0, r1, r2, r3 = x[at], x[at + apart], x[at + 2 * apart], x[at + 3 * apart]
            i0, i1, i2, i3 = x[at + n], x[at + n + apart], x[at + n + 2 * apart], x[at + n + 3 * apart]
            a0, b0, a1, b1 = r0 + r2, i0 + i2, r0 - r2, i0 - i2
            a2, b2, a3, b3 = r1 + r3, i1 + i3, sign * (r1 - r3), sign * (i1 - i3)
            z[to] = a0 + a2
            z[to + n] = b0 + b2
            z[to + stride] = (a1 - b3) * c1 - (b1 + a3) * s1
            z[to + n + stride] = (a1 - b3) * s1 + (b1 + a3) * c1
            z[to + 2 * stride] = (a0 - a2) * c2 - (b0 - b2) * s2
            z[to + n + 2 * stride] = (a0 - a2) * s2 + (b0 - b2) * c2
            z[to + 3 * stride] = (a1 + b3) * c3 - (b1 - a3) * s3
            z[to + n + 3 * stride] = (a1 + b3) * s3 + (b1 - a3) * c3


@routine
def equal_parts(roots_at, x_at, z_at, n, left, stride, factor):
    """A step of `fourier_row` by any other factor."""
    w, x, z = buffer(roots_at, f64, 0, 3), buffer(x_at, f64, 1, 3), buffer(z_at, f64, 2, 3)
    for p in range(left):
        at = stride * p
        for t in range(factor):
            to = stride * (factor * p + t)
            turn = p * t * stride
            if stride == 1:
                a, b, k = x[at], x[at + n], 0
                for step in range(1, factor):
                    k = k + t * left
                    k = k - n if k >= n else k
                    r, i = x[at + step * left], x[at + n + step * left]
                    a = a + (r * w[k] - i * w[n + k])
                    b = b + (r * w[n + k] + i * w[k])
                z[to] = a * w[turn] - b * w[n + turn]
                z[to + n] = a * w[n + turn] + b * w[turn]
            for q in range(stride if stride > 1 else 0):
                z[to + q] = x[at + q]
                z[to + n + q] = x[at + n + q]
            k = 0
            for step in range(1, factor if stride > 1 else 1):
                k = k + t * (n // factor)
                k = k - n if k >= n else k
                c, s = w[k], w[n + k]
                there = at + step * stride * left
                for q in range(stride):
                    z[to + q] = z[to + q] + (x[there + q] * c - x[there + n + q] * s)
                    z[to + n + q] = z[to + n + q] + (x[there + q] * s + x[there + n + q] * c)
            c, s = w[turn], w[n + turn]
            for q in range(stride if stride > 1 and turn > 0 else 0):
                a, b = z[to + q], z[to + n + q]
                z[to + q] = a * c - b * s
                z[to + n + q] = a * s + b * c


@routine
def fourier_row(real, re_at, im_at, y_at, spare_at, n, also, inverse):
    """The discrete Fourier transform, not scaled, of any length, factor by factor (Stockham; Van Loan 1992, 1.7).

    Computed in float64. A length with a large prime factor p takes time proportional to n p.
    """
    re, im, y = buffer(re_at, real, 0, 1), buffer(im_at, real, 0, 1), buffer(y_at, real, 0, 1)
    held = buffer(spare_at, f64, 0, 1)  # roots of unity, then two rows that take turns; real parts, then imaginary ones
    sign = 1.0 if inverse else -1.0
    roots_of_unity(spare_at, n, sign)
    for k in range(n):
        held[2 * n + k] = f64(re[k])
        held[3 * n + k] = f64(im[k])
    source, target = spare_at + 16 * n, spare_at + 32 * n
    left, stride, factor, now = n, 1, 2, 2 * n
    while left > 1:
        if left % 4 == 0:
            left = left // 4
            fourth_parts(spare_at, source, target, n, left, stride, sign)
            stride = stride * 4
        else:
            while left % factor != 0:
                factor = factor + 1 if factor * factor <= left else left
            left = left // factor
            equal_parts(spare_at, source, target, n, left, stride, factor)
            stride = stride * factor
        moved = source
        source = target
        target = moved
        now = 6 * n - now
    for k in range(n):
        y[k] = real(held[now + k])
        y[n + k] = real(held[now + n + k])
