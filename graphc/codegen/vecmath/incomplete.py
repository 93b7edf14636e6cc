"""Incomplete gamma and beta functions and their inverses, an element at a time, in float64.

Series and continued fractions after Abramowitz and Stegun 6.5 and 26.5; for large parameters the uniform expansion of
Temme, The asymptotic expansion of the incomplete gamma functions, SIAM Journal on Mathematical Analysis 10 (1979).
Derivatives by the parameter are those of each term, carried along.
"""

# mypy: disable-error-code="no-untyped-def, no-untyped-call"

from __future__ import annotations

from graphc.codegen.buffer import f32, f64, inf, nan
from graphc.codegen.vecmath.arithmetic import fabs, pow
from graphc.codegen.vecmath.by_dtype import function_by_dtype
from graphc.codegen.vecmath.error_function import erfc as _erfc
from graphc.codegen.vecmath.exponential import exp as _exp
from graphc.codegen.vecmath.exponential import expm1 as _expm1
from graphc.codegen.vecmath.instructions import floor, round, sqrt
from graphc.codegen.vecmath.logarithm import log as _log
from graphc.codegen.vecmath.logarithm import log1p as _log1p
from graphc.codegen.vecmath.special import beta_ln, stirling_rest
from graphc.codegen.vecmath.value import kernel_function

erfc, exp, expm1 = kernel_function(_erfc), kernel_function(_exp), kernel_function(_expm1)
log, log1p = kernel_function(_log), kernel_function(_log1p)


def log1p_rest_f64(x):
    """log(1 + x) - x without cancellation: 2 atanh(r) - x for r = x / (2 + x)."""
    if x <= -0.5 or x >= 1.0:
        return log1p(x) - x
    r = x / (2.0 + x)
    total = 0.0
    for k in range(18):
        total = total * r * r + 1.0 / f64(37 - 2 * k)
    return 2.0 * r * r * r * total - x * r


log1p_rest = function_by_dtype("log1p_rest", log1p_rest_f64, log1p_rest_f64)


def gamma_weight_f64(a, b):
    """b^a exp(-b) / gamma(a + 1), for large a by how far b is from a."""
    if a == 0.0:
        return exp(-b)
    if a < 10.0:
        z = a + 1.0
        product = 1.0
        while z < 10.0:
            product = product * z
            z = z + 1.0
        return product * exp(a * log(b) - b - ((z - 0.5) * log(z) - z + 0.9189385332046728 + stirling_rest(z)))
    ratio = b / a
    rest = log1p_rest((b - a) / a) if ratio > 0.5 and ratio < 2.0 else log(ratio) - (ratio - 1.0)
    return exp(a * rest - stirling_rest(a)) / sqrt(6.283185307179586 * a)


gamma_weight = function_by_dtype("gamma_weight", gamma_weight_f64, gamma_weight_f64)


def log_gamma_slope_f64(n, x):
    """The first or second derivative of log(gamma(x)) for x >= 1: recurrence to 10, then its asymptotic series."""
    out = 0.0
    while x < 10.0:
        out = out - 1.0 / x if n == 1 else out + 1.0 / (x * x)
        x = x + 1.0
    z = 1.0 / (x * x)
    if n == 1:
        rest = 1 / 252 - z * (1 / 240 - z * (1 / 132 - z * (691 / 32760 - z / 12)))
        return out + log(x) - 0.5 / x - z * (1 / 12 - z * (1 / 120 - z * rest))
    rest = 1 / 42 - z * (1 / 30 - z * (5 / 66 - z * (691 / 2730 - z * 7 / 6)))
    return out + 1.0 / x + 0.5 * z + z / x * (1 / 6 - z * (1 / 30 - z * rest))


log_gamma_slope = function_by_dtype("log_gamma_slope", log_gamma_slope_f64, log_gamma_slope_f64)


def gamma_series_f64(n, a, b):
    """For b up to a + 1. n: 0 the lower function, 2 and 3 its derivatives by a."""
    t, t1, t2 = 1.0, 0.0, 0.0
    s, s1, s2 = 1.0, 0.0, 0.0
    k = 1.0
    while k < 1e6 and (t > 1e-17 * s or fabs(t1) > 1e-17 * fabs(s1) or fabs(t2) > 1e-17 * fabs(s2)):
        t = t * b / (a + k)
        s = s + t
        if n > 0:
            t1 = (t1 * b - t) / (a + k)
            t2 = (t2 * b - 2.0 * t1) / (a + k)
            s1 = s1 + t1
            s2 = s2 + t2
        k = k + 1.0
    weight = gamma_weight(a, b)
    if n == 0:
        return weight * s
    slope = log(b) - log_gamma_slope(1, a + 1.0)
    if n == 2:
        return weight * (slope * s + s1)
    return weight * ((slope * slope - log_gamma_slope(2, a + 1.0)) * s + 2.0 * slope * s1 + s2)


def gamma_fraction_f64(n, a, b):
    """For b beyond a + 1. n: 1 the upper function, 2 and 3 derivatives of the lower one by a."""
    y, z, c = 1.0 - a, b + 2.0 - a, 0.0
    p0, q0, p, q = 1.0, b, b + 1.0, z * b
    e0, f0, e, f = 0.0, 0.0, 0.0, -b
    g0, h0, g, h = 0.0, 0.0, 0.0, 0.0
    r, r1, r2 = p / q, 0.0, 0.0
    change = 1.0
    while c < 1e6 and change > (4e-16 if n == 1 else 4e-15):
        c = c + 1.0
        y = y + 1.0
        z = z + 2.0
        d = y * c
        p2, q2 = p * z - p0 * d, q * z - q0 * d
        e2, f2 = e * z - p - e0 * d + p0 * c, f * z - q - f0 * d + q0 * c
        g2, h2 = g * z - 2.0 * e - g0 * d + 2.0 * e0 * c, h * z - 2.0 * f - h0 * d + 2.0 * f0 * c
        p0, q0, e0, f0, g0, h0 = p, q, e, f, g, h
        p, q, e, f, g, h = p2, q2, e2, f2, g2, h2
        now = p / q
        now1 = (e - now * f) / q
        now2 = (g - 2.0 * now1 * f - now * h) / q
        change = fabs(now - r) / now
        if n > 1:
            change = change + fabs(now1 - r1) / (fabs(now1) + now) + fabs(now2 - r2) / (fabs(now2) + now)
        r, r1, r2 = now, now1, now2
        if fabs(p) > 1e100:
            p0, q0, e0, f0, g0, h0 = p0 * 1e-100, q0 * 1e-100, e0 * 1e-100, f0 * 1e-100, g0 * 1e-100, h0 * 1e-100
            p, q, e, f, g, h = p * 1e-100, q * 1e-100, e * 1e-100, f * 1e-100, g * 1e-100, h * 1e-100
    weight = gamma_weight(a, b)
    if n == 1:
        return weight * a * r
    slope = log(b) - log_gamma_slope(1, a + 1.0)
    if n == 2:
        return -weight * ((a * slope + 1.0) * r + a * r1)
    bend = slope * slope - log_gamma_slope(2, a + 1.0)
    return -weight * ((a * bend + 2.0 * slope) * r + 2.0 * (a * slope + 1.0) * r1 + a * r2)


gamma_series = function_by_dtype("gamma_series", gamma_series_f64, gamma_series_f64)
gamma_fraction = function_by_dtype("gamma_fraction", gamma_fraction_f64, gamma_fraction_f64)


def gamma_expansion_f64(n, a, b):
    """For a beyond 10,000, where b is within some deviations of a. n: 0 the lower function, 1 the upper one."""
    mu = (b - a) / a
    phi = -log1p_rest(mu)
    if not a * phi < 750.0:
        return 1.0 if (n == 0) == (b > a) else 0.0
    e = sqrt(2.0 * phi) if mu > 0.0 else -sqrt(2.0 * phi)
    c = 1.0261809784240309e-08 + e * (-4.382036018453353e-09 + e * (9.14769958223679e-10 - e * 2.5514193994946248e-11))
    c = 8.296711340953087e-07 + e * (-1.7665952736826078e-07 + e * (6.707853543401498e-09 + e * c))
    c = 3.919263178522438e-05 + e * (-2.185448510679992e-06 + e * (-1.85406221071516e-06 + e * c))
    c = 0.0011574074074074073 + e * (0.0003527336860670194 + e * (-0.0001787551440329218 + e * c))
    c0 = -1 / 3 + e * (1 / 12 + e * (-2 / 135 + e * c))
    c = 7.64916091608111e-06 + e * (-1.6120900894563446e-06 + e * (4.647127802807434e-09 + e * 1.378633446915721e-07))
    c = 0.00020576131687242798 + e * (-4.018775720164609e-07 + e * (-1.8098550334489977e-05 + e * c))
    c1 = -1 / 540 + e * (-1 / 288 + e * (1 / 378 + e * (-0.0009902263374485596 + e * c)))
    c = 2.0093878600823047e-06 + e * (-0.0001073665322636516 + e * 5.2923448829120125e-05)
    c2 = 0.004133597883597883 + e * (-0.0026813271604938273 + e * (0.0007716049382716049 + e * c))
    rest = exp(-a * phi) / sqrt(6.283185307179586 * a) * (c0 + (c1 + (c2 + 0.0006494341563786008 / a) / a) / a)
    if n == 0:
        return 0.5 * erfc(-e * sqrt(0.5 * a)) - rest
    return 0.5 * erfc(e * sqrt(0.5 * a)) + rest


def gamma_expansion_slope_f64(n, a, b):
    """For a beyond 1e8: the derivative of the lower function by a, or the second one where n is 3."""
    mu = (b - a) / a
    phi = -log1p_rest(mu)
    if not a * phi < 750.0:
        return 0.0
    e = sqrt(2.0 * phi) if mu > 0.0 else -sqrt(2.0 * phi)
    m = 1.0 + e * (1 / 3 + e * (1 / 36 + e * (-1 / 270 + e / 4320)))  # mu / e, and its derivative
    m1 = 1 / 3 + e * (1 / 18 + e * (-1 / 90 + e / 1080))
    c = -1 / 3 + e * (1 / 12 + e * (-2 / 135 + e * 0.0011574074074074073)) - (1 / 540 + e / 288) / a
    c1 = 1 / 12 + e * (-4 / 135 + e * 0.003472222222222222)
    e1 = -m / a
    slope = log1p(mu) - 0.5 / a  # of the logarithm of the weight
    first = 0.5 * e - m - c1 * e1 - c * slope
    weight = exp(-a * phi) / sqrt(6.283185307179586 * a)
    if n == 2:
        return weight * first
    bend = m1 * m / a + 0.5 * e1 - c1 * e1 * slope + c / a
    return weight * (bend + slope * first)


gamma_expansion = function_by_dtype("gamma_expansion", gamma_expansion_f64, gamma_expansion_f64)
gamma_expansion_slope = function_by_dtype("gamma_expansion_slope", gamma_expansion_slope_f64, gamma_expansion_slope_f64)


def small_gamma_upper_f64(a, b):
    """The upper function for a below 0.2 and b up to 1.2, where the lower one is near 1."""
    rest = 4.374866789907488e-06 + a * (
        -2.039215753801366e-06 + a * 9.55141213040742e-07
    )  # log(gamma(1 + a)), by its series without log(1 + a)
    rest = -4.492623673813314e-05 + a * (2.050721277567069e-05 + a * (-9.439488275268397e-06 + a * rest))
    rest = 0.0005096695247430425 + a * (-0.00022315475845357939 + a * (9.945751278180853e-05 + a * rest))
    rest = -0.007385551028673986 + a * (0.0028905103307415234 + a * (-0.001192753911703261 + a * rest))
    rest = 0.3224670334241132 + a * (-0.0673523010531981 + a * (0.020580808427784546 + a * rest))
    rest = a * (0.42278433509846713 + a * rest) - log1p(a)
    total, t = 0.0, 1.0
    for k in range(1, 24):
        t = t * -b / f64(k)
        total = total + t / (a + f64(k))
    power = a * log(b) - rest
    return -expm1(power) - exp(power) * a * total


small_gamma_upper = function_by_dtype("small_gamma_upper", small_gamma_upper_f64, small_gamma_upper_f64)


def incomplete_gamma_f64(n, a, b):
    """n: 0 the lower function of (a, b), 1 the upper one, 2 and 3 the first two derivatives of the lower one by a."""
    if not (a >= 0.0 and b >= 0.0) or (a == b and (a == 0.0 or a == inf)):
        return nan
    if b == 0.0 or a == inf:
        return 1.0 if n == 1 else 0.0
    if a == 0.0 and n < 2:
        return f64(1 - n)
    if b == inf:
        return 1.0 if n == 0 else 0.0
    if n > 1 and a > 1e8:
        return gamma_expansion_slope(n, a, b)
    if n < 2 and a > 1e4:
        return gamma_expansion(n, a, b)
    if n == 1 and a < 0.2 and b < 1.2:
        return small_gamma_upper(a, b)
    if b > a + 1.0:
        return 1.0 - gamma_fraction(1, a, b) if n == 0 else gamma_fraction(n, a, b)
    return 1.0 - gamma_series(0, a, b) if n == 1 else gamma_series(n, a, b)


incomplete_gamma_call = function_by_dtype("incomplete_gamma_call", incomplete_gamma_f64, incomplete_gamma_f64)


def incomplete_gamma_f32(n, a, b):
    return f32(incomplete_gamma_call(n, f64(a), f64(b)))


incomplete_gamma = function_by_dtype("incomplete_gamma", incomplete_gamma_f32, incomplete_gamma_f64)


def normal_guess_f64(x):
    """How far out in standard deviations a tail of probability x up to 1/2 begins, to 3 digits (A. and S. 26.2.22)."""
    t = sqrt(-2.0 * log(x))
    return t - (2.30753 + t * 0.27061) / (1.0 + t * (0.99229 + t * 0.04481))


normal_guess = function_by_dtype("normal_guess", normal_guess_f64, normal_guess_f64)


def gamma_quantile_f64(a, b):
    """Where the lower gamma function of a is |b| / 2 for b below 0, the upper one for b above.

    Newton's method on the logarithms of both, which are concave, from the point of Wilson and Hilferty (1931).
    """
    p = 0.5 * fabs(b)
    if not (a > 0.0 and p <= 0.5):
        return nan
    if a == inf:
        return inf
    if p == 0.0:
        return 0.0 if b < 0.0 or a != a else inf
    z = -normal_guess(p) if b < 0.0 else normal_guess(p)
    root = 1.0 - 1.0 / (9.0 * a) + z / (3.0 * sqrt(a))
    x = a * root * root * root
    if root < 0.2:
        x = exp((log(p) - log(gamma_weight(a, 1.0)) - 1.0) / a) if b < 0.0 else 0.01 * a
    n = 0 if b < 0.0 else 1
    step = 1.0
    left = 60
    while left > 0 and fabs(step) > 1e-9 and x > 0.0:
        held = incomplete_gamma_call(n, a, x)
        step = (log(p) - log(held)) * held / (a * gamma_weight(a, x))
        step = step if n == 0 else -step
        if step != step:
            step = 0.5 if (n == 0) == (held < p) else -0.5
        step = 2.0 if step > 2.0 else -2.0 if step < -2.0 else step
        x = x * exp(step)
        left = left - 1
    return x


gamma_quantile_call = function_by_dtype("gamma_quantile_call", gamma_quantile_f64, gamma_quantile_f64)


def gamma_quantile_f32(a, b):
    return f32(gamma_quantile_call(f64(a), f64(b)))


gamma_quantile = function_by_dtype("gamma_quantile", gamma_quantile_f32, gamma_quantile_f64)


def poisson_quantile_f64(a, b):
    """The least whole number that a Poisson number of mean a is at most with probability |b| / 2, of the upper tail
    for b above 0: from Cornish and Fisher's guess by single steps."""
    p = 0.5 * fabs(b)
    if not (a >= 0.0 and p <= 0.5):
        return nan
    if a == 0.0 or a > 1e15:
        return a
    z = -normal_guess(p) if b < 0.0 else normal_guess(p)
    k = floor(a + z * sqrt(a) + (z * z - 1.0) / 6.0)
    k = k if k > 0.0 else 0.0
    n = 1 if b < 0.0 else 0  # how probable numbers up to k are, or numbers beyond
    held = incomplete_gamma_call(n, k + 1.0, a)
    while k > 0.0 and (held >= p if n == 1 else held <= p):
        k = k - 1.0
        held = incomplete_gamma_call(n, k + 1.0, a)
    while held < p if n == 1 else held > p:
        k = k + 1.0
        held = incomplete_gamma_call(n, k + 1.0, a)
    return k


poisson_quantile_call = function_by_dtype("poisson_quantile_call", poisson_quantile_f64, poisson_quantile_f64)


def poisson_quantile_f32(a, b):
    return f32(poisson_quantile_call(f64(a), f64(b)))


poisson_quantile = function_by_dtype("poisson_quantile", poisson_quantile_f32, poisson_quantile_f64)


def beta_weight_f64(a, b, x):
    """x^a (1 - x)^b / (a beta(a, b)), for large a and b by how far x is from a / (a + b)."""
    if a < 10.0 or b < 10.0:
        return exp(a * log(x) + b * log1p(-x) - beta_ln(a, b)) / a
    u = (x * b - (1.0 - x) * a) / a
    v = -u * a / b
    if u > -0.5 and u < 1.0 and v > -0.5 and v < 1.0:
        power = a * log1p_rest(u) + b * log1p_rest(v)
    else:
        power = a * (log1p(u) if u > -0.5 else log(x * (a + b) / a))
        power = power + b * (log1p(v) if v > -0.5 else log((1.0 - x) * (a + b) / b))
    rest = stirling_rest(a + b) - stirling_rest(a) - stirling_rest(b)
    return exp(power + rest) * sqrt(b / (a + b) / (6.283185307179586 * a))


beta_weight = function_by_dtype("beta_weight", beta_weight_f64, beta_weight_f64)


def beta_fraction_f64(a, b, x):
    """For x up to (a + 1) / (a + b + 2), by Lentz's method."""
    c, d = 1.0, (a + 1.0) / ((a + 1.0) * (1.0 - x) + (1.0 - b) * x)
    total = d
    m, change = 1.0, 1.0
    while m < 1e5 and fabs(change) > 4e-16:
        even = m * (b - m) * x / ((a + 2.0 * m - 1.0) * (a + 2.0 * m))
        d = 1.0 / (1.0 + even * d)
        c = 1.0 + even / c
        total = total * d * c
        odd = -(a + m) * (a + b + m) * x / ((a + 2.0 * m) * (a + 2.0 * m + 1.0))
        d = 1.0 / (1.0 + odd * d)
        c = 1.0 + odd / c
        total = total * d * c
        change = d * c - 1.0
        m = m + 1.0
    return beta_weight(a, b, x) * total


beta_fraction = function_by_dtype("beta_fraction", beta_fraction_f64, beta_fraction_f64)


def beta_fraction_of_large_f64(a, b, x):
    """For a and b above 1 and x up to a / (a + b), which it is not troubled by (Didonato and Morris, Algorithm 708)."""
    y = 1.0 - x
    c = 1.0 + (a - (a + b) * x if a < b else (a + b) * y - b)
    c1 = 1.0 + 1.0 / a
    n, p, s = 0.0, 1.0, a + 1.0
    p0, q0, q1 = 0.0, 1.0, c / c1
    r, change = c1 / c, 1.0
    p0, q0, q1 = p0 / q1, q0 / q1, 1.0
    while n < 1e5 and fabs(change) > 4e-16 * r:
        n = n + 1.0
        t = n / a
        w = n * (b - n) * x
        e = a / s
        alpha = p * (p + b / a) * e * e * (w * x)
        e = (t + 1.0) / (c1 + t + t)
        beta = n + w / s + e * (c + n * (1.0 + y))
        p = t + 1.0
        s = s + 2.0
        p2, q2 = alpha * p0 + beta * r, alpha * q0 + beta * q1
        change = p2 / q2 - r
        p0, q0, r, q1 = r / q2, q1 / q2, p2 / q2, 1.0
    return beta_weight(a, b, x) * a * r


beta_fraction_of_large = function_by_dtype(
    "beta_fraction_of_large", beta_fraction_of_large_f64, beta_fraction_of_large_f64
)


def betainc_f64(a, b, x):
    if not (a >= 0.0 and b >= 0.0 and x >= 0.0 and x <= 1.0) or (a == b and (a == 0.0 or a == inf)):
        return nan
    if x == 0.0 or x == 1.0:
        return x
    if a == 0.0 or b == inf:
        return 1.0
    if b == 0.0 or a == inf:
        return 0.0
    if a > 1.0 and b > 1.0:
        if x * b <= a * (1.0 - x):
            return beta_fraction_of_large(a, b, x)
        return 1.0 - beta_fraction_of_large(b, a, 1.0 - x)
    if x * (b + 1.0) <= (a + 1.0) * (1.0 - x):
        return beta_fraction(a, b, x)
    return 1.0 - beta_fraction(b, a, 1.0 - x)


betainc_call = function_by_dtype("betainc_call", betainc_f64, betainc_f64)


def betainc_f32(a, b, x):
    return f32(betainc_call(f64(a), f64(b), f64(x)))


betainc = function_by_dtype("betainc", betainc_f32, betainc_f64)


def whole_zeta_f64(a, b):
    """The sum of (b + k)^-a over k >= 0 for b > 0 and a > 1: terms, then Euler and Maclaurin's formula."""
    total = 0.0
    t = pow(b, -a)
    most = 4.0 * a if a > 5.0 else 20.0
    while b < most and t > 1e-18 * total:
        total = total + t
        b = b + 1.0
        t = pow(b, -a)
    if t <= 1e-18 * total:
        return total
    z = 1.0 / (b * b)
    rest = a / (12.0 * b)
    total = total + t * (0.5 + b / (a - 1.0) + rest)
    f = -(a + 1.0) * (a + 2.0) * z
    rest = rest * f / 60.0
    total = total + t * rest
    rest = rest * -(a + 3.0) * (a + 4.0) * z / 42.0
    total = total + t * rest
    rest = rest * -(a + 5.0) * (a + 6.0) * z / 40.0
    total = total + t * rest
    rest = rest * -(a + 7.0) * (a + 8.0) * z * (10.0 / 396.0)
    total = total + t * rest
    rest = rest * -(a + 9.0) * (a + 10.0) * z * (691.0 / 27300.0)
    return total + t * rest


whole_zeta = function_by_dtype("whole_zeta", whole_zeta_f64, whole_zeta_f64)


def zeta_f64(a, b):
    """For b below 0 term by term, or far below as the sum over all whole k, without what that has too much."""
    if a != a or b != b or a < 1.0 or b == -inf:
        return nan
    if a == 1.0 or b == 0.0:
        return inf
    if b == inf:
        return 0.0
    if a == inf:
        return 0.0 if b > 1.0 else 1.0 if b == 1.0 else inf if b > 0.0 else nan
    if b > 0.0:
        return whole_zeta(a, b)
    if b == floor(b):
        return inf
    if a != floor(a):
        return nan
    sign = 1.0 if 2.0 * floor(0.5 * a) == a else -1.0
    if b > -64.0:
        total = 0.0
        while b < 0.0:
            total = total + sign * pow(-b, -a)
            b = b + 1.0
        return total + whole_zeta(a, b)
    r = b - round(b)
    own = pow(fabs(r), -a)
    own = own if r > 0.0 else sign * own
    return own + whole_zeta(a, 1.0 + r) + sign * (whole_zeta(a, 1.0 - r) - whole_zeta(a, 1.0 - b))


zeta_call = function_by_dtype("zeta_call", zeta_f64, zeta_f64)


def zeta_f32(a, b):
    return f32(zeta_call(f64(a), f64(b)))


zeta = function_by_dtype("zeta", zeta_f32, zeta_f64)
