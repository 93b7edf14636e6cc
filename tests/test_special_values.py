"""Zeros, tiny and huge numbers, infinities and NaN in every operand of every op.

The rule is IEEE arithmetic on the op's formula: its value is that of NumPy's or SciPy's function in the op-case table, its
derivative that of the textbook's formula in `ROWS`, evaluated with more precision and range than the op has, so what can
be represented must come out. A NaN operand gives NaN, but for fmax and fmin. What differs from that stands in the table,
with the reason. Compiled, interpreted and unrewritten results are the same.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import scipy.special as sp
from op_case import chessboard
from op_cases import CASES, LABELS, Case

import graphc as gx
from graphc.ir.graph import topological
from graphc.ir.op import Kind
from graphc.reference import evaluate

INF, NAN = float("inf"), float("nan")
ENGINES = ("numba", "numpy", "unrewritten")
Formula = Callable[..., Any]


def specials(dtype: str) -> np.ndarray:
    """Zeros, the least subnormal and normal numbers, small, plain, large and the largest numbers, infinities, NaN."""
    info = np.finfo(dtype)
    least = [float(info.smallest_subnormal), float(info.tiny), 1e-30, 1e30, float(info.max), INF]
    return np.array([0.0, -0.0, *least, *(-v for v in least), 1.0, -1.0, 0.5, NAN]).astype(dtype)


def run(inputs: Sequence[gx.Tensor], outputs: Any, engine: str, *rows: Sequence[np.ndarray]) -> list[Any]:
    """What an engine gives for each row of arguments."""
    if engine == "unrewritten":
        names = list(outputs)
        feeds = [{t.name: a for t, a in zip(inputs, row, strict=True)} for row in rows]
        return [dict(zip(names, evaluate([outputs[k] for k in names], f), strict=True)) for f in feeds]
    exe = gx.compile(inputs, outputs, backend=engine, unused="ignore")
    return [exe(*row) for row in rows]


# ---- the table


def _scipy(name: str, *leading: Any) -> Formula:
    """A function of scipy.special, which has no long doubles."""

    def evaluate(*xs: Any) -> Any:
        return getattr(sp, name)(*leading, *(np.asarray(x, "float64") for x in xs)).astype(np.asarray(xs[0]).dtype)

    return evaluate


def _const(value: float) -> Formula:
    return lambda *xs: np.full_like(xs[0], value)


def _expit(x: Any) -> Any:
    e = np.exp(-np.abs(x))
    return np.where(x >= 0, 1, e) / (1 + e)


def _softplus(x: Any) -> Any:
    return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))


def _inside(x: Any, low: float, high: float) -> Any:
    """1 in an interval without its lower end, NaN at NaN."""
    return np.where(np.isnan(x), x, (x > low) & (x <= high))


def _winner(better: Formula) -> tuple[Formula, Formula]:
    """Slopes of the better of two: one half at a tie, NaN beside NaN."""

    def slope(a: Any, b: Any) -> Any:
        return np.where(np.isnan(a) | np.isnan(b), NAN, np.where(a == b, 0.5, better(a, b)))

    return slope, lambda a, b: slope(b, a)


def _number(best: Formula) -> tuple[Formula, Formula]:
    """Slopes of fmax and fmin, for which a NaN loses; two of them get nothing."""

    def slope(a: Any, b: Any) -> Any:
        return np.where(a == b, 0.5, best(a, b) == a)

    return slope, lambda a, b: slope(b, a)


def _term(weight: Any, x: Any) -> Any:
    """A weighted term: without weight it is 0 beside an infinity, NaN beside NaN."""
    return np.where((weight == 0) & np.isinf(x), 0, weight * x)


def _quotient(weight: Any, x: Any) -> Any:
    """The slope of a weighted logarithm."""
    return np.where((weight == 0) & ~np.isnan(x), 0, weight / x)


def _margin(of: int) -> Formula:
    """Slopes of the hinge, one half at the margin."""

    def slope(s: Any, t: Any) -> Any:
        margin, other = 1 - t * s, (t, s)[of]
        inside = np.where(margin > 0, -other, np.where(margin == 0, -0.5 * other, 0))
        return np.where(np.isnan(margin), NAN, inside)

    return slope


def _lerp(a: Any, b: Any, w: Any) -> Any:
    """From the nearer end, so that both are met exactly; as a weighted mean where their distance is out of range."""
    nearer = np.where(w < 0.5, a + w * (b - a), b - (1 - w) * (b - a))
    return np.where(np.isfinite(b - a), nearer, w * b + (1 - w) * a)


def _gelu_tanh(x: Any) -> Any:
    x = np.clip(x, -30, 30)  # beyond, the slope is 0 or 1
    t = np.tanh(np.sqrt(2 / PI) * (x + 0.044715 * x**3))
    return 0.5 * (1 + t) + 0.5 * x * (1 - t * t) * np.sqrt(2 / PI) * (1 + 3 * 0.044715 * x * x)


PI = np.longdouble("3.14159265358979323846264338327950288")
LN2, LN10 = np.log(np.longdouble(2)), np.log(np.longdouble(10))
ERF = 2 / np.sqrt(PI)
SELU, ALPHA = 1.0507009873554804934193349852946, 1.6732632423543772848170429916717
erfinv, erfcinv, digamma, ndtr = (_scipy(name) for name in ("erfinv", "erfcinv", "digamma", "ndtr"))


@dataclass(frozen=True)
class Row:
    """What an elementwise function is held against.

    slopes   its derivative by each operand
    bend     the second derivative of a function of one operand, where it has one
    value    its value where that of the op-case table is another at special values
    terms    the size of terms that cancel: what is left of them is right to rounding of that
    own      True where the formulas must round as the op does, for a sum or product to meet a kink, or to overflow
    """

    slopes: tuple[Formula, ...]
    bend: Formula | None = None
    value: Formula | None = None
    terms: Formula | None = None
    own: bool = False


def _row(slope: Formula, bend: Formula | None = None, **more: Any) -> Row:
    return Row((slope,), bend, **more)


ROWS: dict[str, Row] = {
    "abs": _row(np.sign),
    "sqrt": _row(lambda x: 0.5 / np.sqrt(x), lambda x: -0.25 / (x * np.sqrt(x))),
    "rsqrt": _row(lambda x: -0.5 / (x * np.sqrt(x)), lambda x: 0.75 / (x * x * np.sqrt(x))),
    "cbrt": _row(lambda x: 1 / (3 * np.cbrt(x) ** 2), lambda x: -2 / (9 * x * np.cbrt(x) ** 2)),
    "square": _row(lambda x: 2 * x, _const(2)),
    "reciprocal": _row(lambda x: -1 / (x * x), lambda x: 2 / (x * x * x)),
    "exp": _row(np.exp, np.exp),
    "exp2": _row(lambda x: LN2 * np.exp2(x), lambda x: LN2 * LN2 * np.exp2(x)),
    "expm1": _row(np.exp, np.exp),
    "log": _row(lambda x: 1 / x, lambda x: -1 / (x * x)),
    "log2": _row(lambda x: 1 / (LN2 * x), lambda x: -1 / (LN2 * x * x)),
    "log10": _row(lambda x: 1 / (LN10 * x), lambda x: -1 / (LN10 * x * x)),
    "log1p": _row(lambda x: 1 / (1 + x), lambda x: -1 / (1 + x) ** 2),
    "sin": _row(np.cos, lambda x: -np.sin(x)),
    "cos": _row(lambda x: -np.sin(x), lambda x: -np.cos(x)),
    "tan": _row(lambda x: 1 + np.tan(x) ** 2, lambda x: 2 * np.tan(x) * (1 + np.tan(x) ** 2)),
    "asin": _row(lambda x: 1 / np.sqrt((1 - x) * (1 + x)), lambda x: x / ((1 - x) * (1 + x)) ** 1.5),
    "acos": _row(lambda x: -1 / np.sqrt((1 - x) * (1 + x)), lambda x: -x / ((1 - x) * (1 + x)) ** 1.5),
    "atan": _row(lambda x: 1 / (1 + x * x), lambda x: -2 * x / (1 + x * x) ** 2),
    "sinh": _row(np.cosh, np.sinh),
    "cosh": _row(np.sinh, np.cosh),
    "tanh": _row(lambda x: 1 / np.cosh(x) ** 2, lambda x: -2 * np.tanh(x) / np.cosh(x) ** 2),
    "asinh": _row(lambda x: 1 / np.sqrt(x * x + 1), lambda x: -x / (x * x + 1) ** 1.5),
    "acosh": _row(lambda x: 1 / np.sqrt((x - 1) * (x + 1)), lambda x: -x / ((x - 1) * (x + 1)) ** 1.5),
    "atanh": _row(lambda x: 1 / ((1 - x) * (1 + x)), lambda x: 2 * x / ((1 - x) * (1 + x)) ** 2),
    "erf": _row(lambda x: ERF * np.exp(-x * x), lambda x: -2 * x * ERF * np.exp(-x * x)),
    "erfc": _row(lambda x: -ERF * np.exp(-x * x), lambda x: 2 * x * ERF * np.exp(-x * x)),
    "erfinv": _row(
        lambda x: np.exp(erfinv(x) ** 2) / ERF, lambda x: 2 * erfinv(x) * (np.exp(erfinv(x) ** 2) / ERF) ** 2
    ),
    "erfcinv": _row(
        lambda x: -np.exp(erfcinv(x) ** 2) / ERF, lambda x: 2 * erfcinv(x) * (np.exp(erfcinv(x) ** 2) / ERF) ** 2
    ),
    "lgamma": _row(digamma, _scipy("polygamma", 1)),
    "digamma": _row(_scipy("polygamma", 1), _scipy("polygamma", 2)),
    "sigmoid": _row(lambda x: _expit(x) * _expit(-x), lambda x: _expit(x) * _expit(-x) * (_expit(-x) - _expit(x))),
    "softplus": _row(_expit, lambda x: _expit(x) * _expit(-x)),
    "log_sigmoid": _row(lambda x: _expit(-x), lambda x: -_expit(x) * _expit(-x)),
    "log1mexp": _row(lambda x: 1 / np.expm1(x), lambda x: -(1 + 1 / np.expm1(x)) / np.expm1(x)),
    "relu": _row(lambda x: np.where(np.isnan(x), x, x > 0)),
    "multiply": Row((lambda a, b: b, lambda a, b: a)),
    "divide": Row((lambda a, b: 1 / b, lambda a, b: -a / b / b)),
    "remainder": Row((_const(1), lambda a, b: -np.floor_divide(a, b)), own=True),
    "pow": Row(
        (
            lambda a, b: np.where(b == 0, 0, b * np.power(a, b - 1)),
            lambda a, b: np.where((a == 0) & (b > 0), 0, np.power(a, b) * np.log(a)),
        )
    ),
    "maximum": Row(_winner(lambda a, b: a > b)),
    "minimum": Row(_winner(lambda a, b: a < b)),
    "fmax": Row(_number(np.fmax)),
    "fmin": Row(_number(np.fmin)),
    "atan2": Row((lambda a, b: b / (a * a + b * b), lambda a, b: -a / (a * a + b * b))),
    "hypot": Row(
        (
            lambda a, b: np.where((a == 0) & (b == 0), 0, a / np.hypot(a, b)),
            lambda a, b: np.where((a == 0) & (b == 0), 0, b / np.hypot(a, b)),
        )
    ),
    "logaddexp": Row(
        (
            lambda a, b: _expit(np.where(a == b, 0, a - b)),
            lambda a, b: _expit(np.where(a == b, 0, b - a)),
        )
    ),
    "xlogy": Row((lambda a, b: np.log(b), _quotient)),
    "xlog1py": Row((lambda a, b: np.log1p(b), lambda a, b: _quotient(a, 1 + b))),
    "weigh": Row((lambda a, b: b, lambda a, b: a), value=_term),
    "copysign": Row((lambda a, b: np.where(np.copysign(a, b) == a, 1, -1), _const(0))),
    "where": Row((lambda a, b: a > b, lambda a, b: np.where(a > b, 0, 2 * b))),
    "clip": _row(lambda x: np.where(np.isnan(x), x, (x >= -1) & (x <= 1.5))),
    "lerp": Row(
        (lambda a, b, w: 1 - w, lambda a, b, w: w, lambda a, b, w: b - a),
        value=_lerp,
        terms=lambda a, b, w: np.abs(a) + np.abs(b) + np.abs(w * (b - a)),
        own=True,
    ),
    "leaky_relu": _row(lambda x: np.where(np.isnan(x), x, np.where(x > 0, 1, 0.01))),
    "relu6": _row(lambda x: _inside(x, 0, 6)),
    "elu": _row(lambda x: np.where(x > 0, 1, np.exp(x)), lambda x: np.where(x > 0, 0, np.exp(x))),
    "selu": _row(
        lambda x: SELU * np.where(x > 0, 1, ALPHA * np.exp(x)), lambda x: SELU * np.where(x > 0, 0, ALPHA * np.exp(x))
    ),
    "gelu": _row(
        lambda x: ndtr(x) + x * np.exp(-x * x / 2) / np.sqrt(2 * PI),
        lambda x: (2 - x * x) * np.exp(-x * x / 2) / np.sqrt(2 * PI),
    ),
    "gelu_tanh": _row(_gelu_tanh),
    "silu": _row(
        lambda x: _expit(x) * (1 + x * _expit(-x)),
        lambda x: _expit(x) * _expit(-x) * (2 + x * (_expit(-x) - _expit(x))),
    ),
    "mish": _row(lambda x: np.tanh(_softplus(x)) + x * _expit(x) / np.cosh(_softplus(x)) ** 2),
    "hard_sigmoid": _row(lambda x: _inside(x, -3, 3) / np.longdouble(6)),
    "hard_swish": _row(lambda x: np.clip(x + 3, 0, 6) / 6 + np.where(np.abs(x) > 3, 0, x * _inside(x, -3, 3) / 6)),
    "softsign": _row(lambda x: 1 / (1 + np.abs(x)) ** 2, terms=lambda x: 1 / (1 + np.abs(x))),
    "squared_error": Row((lambda a, b: 2 * (a - b), lambda a, b: -2 * (a - b))),
    "absolute_error": Row((lambda a, b: np.sign(a - b), lambda a, b: -np.sign(a - b))),
    "huber": Row((lambda a, b: np.clip(a - b, -1, 1), lambda a, b: np.clip(b - a, -1, 1))),
    "binary_cross_entropy": Row(
        (lambda p, t: _quotient(1 - t, 1 - p) - _quotient(t, p), lambda p, t: np.log1p(-p) - np.log(p)),
        value=lambda p, t: -(sp.xlogy(t, p) + sp.xlog1py(1 - t, -p)),
    ),
    "binary_cross_entropy_with_logits": Row(
        (lambda x, t: (1 - t) * _expit(x) - t * _expit(-x), lambda x, t: _softplus(-x) - _softplus(x)),
        value=lambda x, t: _term(t, _softplus(-x)) + _term(1 - t, _softplus(x)),
        terms=lambda x, t: np.abs(t) * (1 + np.abs(x)),
    ),
    "hinge": Row((_margin(0), _margin(1)), own=True),
    "poisson_nll": Row(
        (lambda r, t: np.exp(r) - t, lambda r, t: -r),
        value=lambda r, t: np.exp(r) - _term(t, r),
        terms=lambda r, t: np.abs(t * r),
        own=True,
    ),
    "gaussian_nll": Row(
        (
            lambda m, t, v: (m - t) / v,
            lambda m, t, v: -(m - t) / v,
            lambda m, t, v: 0.5 * (1 / v - ((m - t) / v) ** 2),
        ),
        value=lambda m, t, v: 0.5 * (np.log(v) + ((m - t) / np.sqrt(v)) ** 2 + np.log(2 * np.pi)),
        own=True,
    ),
}


# What is not compared: of which results, where, and why. A name ends in the operand that a derivative is by.
def _end(*points: Any) -> Any:
    """Points with an operand that is not finite, subnormal, or near the end of the range."""
    sizes = np.abs(np.array(points, np.float64))
    return (~np.isfinite(sizes) | (sizes > 1e29) | ((sizes > 0) & (sizes < 2e-38))).any(0)


ENDS = "the formulas overflow, or lose digits to subnormal numbers, in different places"
OUTER = ("lgamma", "pow, 0", "hypot, 0", "hypot, 1", "atan2, 0", "atan2, 1")
LEFT_OUT: dict[str, tuple[Formula, str]] = {
    "lerp": (_end, "the interpolation is written from either end"),
    **dict.fromkeys(OUTER, (_end, ENDS)),
    "erfcinv, 0": (lambda x: _end(x) | (np.abs(x) < 1e-20), "the exponential of its square magnifies rounding"),
    "poisson_nll, 00": (_end, "the exponential is another one in the last digit"),
}


# ---- elementwise functions


def nodes_of(case: Case) -> list[Any]:
    """The nodes that a case is made of."""
    g = gx.Graph("nodes", float_dtype="float64")
    xs = [g.input(f"x{k}", s, "float64") for k, s in enumerate(case.shapes)]
    return topological(g, [case.build(*xs).id])


def made_of(case: Case, *kinds: Kind) -> bool:
    """True where all of its nodes are of these kinds, or leaves."""
    return all(n.op.kind in (Kind.LEAF, Kind.GENERATOR, *kinds) for n in nodes_of(case))


def is_linear(case: Case) -> bool:
    """True where the derivatives are the same everywhere."""
    moving = (Kind.LEAF, Kind.GENERATOR, Kind.MOVEMENT, Kind.ASSEMBLY, Kind.GATHER)
    others = [n for n in nodes_of(case) if n.op.kind not in moving and n.type.dtype.kind == "f"]
    return all("linear" in n.op.facts or n.op.name == "sum" for n in others)


# Not here: tests/test_normal.py has them far out, beside mpmath; numbers made from nothing; and what mixes all elements
# of a matrix or row, where tests/test_routines.py has what a NaN does.
ELSEWHERE = {"erfcx", "ndtr", "log_ndtr", "ndtri", "sinc", "beta_ln"}
ELSEWHERE |= {"polygamma", "i0e", "i1e", "gammainc", "gammaincc", "betainc", "zeta"}  # tests/test_gamma.py
ELSEWHERE |= {"gamma_quantile", "poisson_quantile", "gammainc_by_aa", "ctc"}
ELSEWHERE |= {"clip_between", "copysign_of_rows", "fma"}  # clip with numbers, copysign, multiply and add have rows
ELSEWHERE |= {"full_like_number", "arange", "linspace_open", "linspace", "full", "eye", "tri"}
ELSEWHERE |= {
    "cholesky",
    "cholesky_squared",
    "solve",
    "solve_triangular",
    "inv",
    "slogdet",
    "logdet",
    "det",
    "qr",
    "eigh",
    "svd",
    "pinv",
}
ELSEWHERE |= {"lstsq", "matrix_power", "expm", "fft", "irfft", "conv_depthwise"}
ELEMENTWISE = [c for c in CASES if c.name not in ELSEWHERE and made_of(c, Kind.ELEMENTWISE)]
# Linear in what they take, which depends on the elements.
CHOOSING = {"max_pool_pick", "cummax", "cummin", "topk", "at_mask"}
LINEAR = {c.name for c in CASES if c.smooth and is_linear(c)} - CHOOSING


def test_every_elementwise_function_has_a_row() -> None:
    missing = [c.name for c in ELEMENTWISE if c.smooth and c.name not in LINEAR and c.name not in ROWS]
    assert not missing, f"add to ROWS the derivatives of {', '.join(missing)}"
    assert len(ELEMENTWISE) > 90


def far(found: Any, expected: Any, dtype: str, terms: Any = 0) -> np.ndarray:
    """Where two results differ: in NaN, by more than rounding, or beyond a few of the least subnormal numbers."""
    a, b = (np.asarray(x).astype("float64") for x in (found, expected))
    rounding = 1e-5 if dtype == "float32" else 1e-12
    near = np.abs(a - b) <= rounding * np.maximum(np.abs(b), terms) + 4 * float(np.finfo(dtype).smallest_subnormal)
    return ~((a == b) | near | (np.isnan(a) & np.isnan(b)))


def wanted(formula: Formula, operands: Sequence[np.ndarray], own: bool, most: Any = np.longdouble) -> np.ndarray:
    """A formula at operands, with more precision than theirs unless it must round as they do."""
    dtype = operands[0].dtype
    more = dtype if own else np.float64 if dtype == np.float32 else most
    return np.broadcast_to(np.asarray(formula(*(a.astype(more) for a in operands))), operands[0].shape).astype(dtype)


@pytest.mark.parametrize(
    "arity, dtype",
    [(1, "float32"), *((k, "float64") for k in (1, 2, 3))]
    + [pytest.param(k, "float32", marks=pytest.mark.slow) for k in (2, 3)],
)
def test_elementwise_functions(arity: int, dtype: str) -> None:
    """At every combination of special values: values, first derivatives, second ones where there is a formula."""
    cases = [c for c in ELEMENTWISE if len(c.shapes) == arity]
    points = list(np.array(list(itertools.product(specials(dtype), repeat=arity)), dtype).T)
    g = gx.Graph("special", float_dtype=dtype)
    xs = [g.input(f"x{k}", ("n",), dtype) for k in range(arity)]
    outputs = {}
    for case in cases:
        outputs[case.name] = y = case.build(*xs)
        if not case.smooth:
            continue
        for k, slope in enumerate(gx.grad(gx.sum(y), xs, on_disconnected="zeros")):
            outputs[f"{case.name}, {k}"] = slope
            for j, bend in enumerate(gx.grad(gx.sum(slope), xs, on_disconnected="zeros")):
                outputs[f"{case.name}, {k}{j}"] = bend
    found, interpreted, unrewritten = (run(xs, outputs, engine, points)[0] for engine in ENGINES)
    faults = []

    def compare(name: str, a: Any, b: Any, what: str, but: Any = False, terms: Any = 0) -> None:
        where = LEFT_OUT[name][0](*points) if name in LEFT_OUT else False
        wrong = np.nonzero(far(a, b, dtype, terms) & ~np.broadcast_to(but | where, np.shape(a)))[0]
        if len(wrong):
            k = wrong[0]
            at = ", ".join(str(p[k]) for p in points)
            faults.append(f"{name} at {at}: {np.asarray(a)[k]}, {what} {np.asarray(b)[k]} ({len(wrong)} such points)")

    with np.errstate(all="ignore"):
        size = np.max(np.abs(np.where(np.isfinite(points), points, 0)).astype("float64"), 0)
        some_nan, some_inf = np.isnan(points).any(0), np.isinf(points).any(0)
        for case in cases:
            row = ROWS.get(case.name)
            value = case.oracle if row is None or row.value is None else row.value
            terms = 0 if row is None or row.terms is None else wanted(row.terms, points, False).astype("float64")
            right = wanted(value, points, row is not None and row.own, np.float64)  # SciPy's functions know no more
            compare(case.name, found[case.name], right, "expected", terms=terms)
            if row is None or not case.smooth:
                continue
            outside = np.isnan(right.astype("float64")) & ~some_nan  # of its domain
            for k, slope in enumerate(row.slopes):
                at = f"{case.name}, {k}"
                expected = wanted(slope, points, row.own)
                compare(at, found[at], expected, "expected", outside, terms)
            if row.bend is not None:
                at = f"{case.name}, 00"
                expected = wanted(row.bend, points, row.own)
                undefined = (some_inf | np.isinf(expected)) & np.isnan(found[at])  # limits, which IEEE may not find
                compare(at, found[at], expected, "expected", outside | undefined, terms)
        for name in outputs:
            row = ROWS.get(name.split(",")[0])
            terms = 0 if row is None or row.terms is None else wanted(row.terms, points, False).astype("float64")
            terms = np.maximum(terms, size) if name[-2:].isdigit() else terms
            compare(name, interpreted[name], found[name], "compiled", terms=terms)
            compare(name, unrewritten[name], interpreted[name], "interpreted", terms=terms)
    assert not faults, "\n".join(faults)


# ---- functions of rows: reductions, products, movements, softmax, losses


def _others(x: Any) -> Any:
    """Of each element of rows, the product of the rest, along axes 0 and 2."""
    flat = np.moveaxis(x, 1, 0).reshape(x.shape[1], -1)
    rest = np.array([[np.prod(np.delete(row, k)) for k in range(len(row))] for row in flat])
    return np.moveaxis(rest.reshape(x.shape[1], x.shape[0], x.shape[2]), 0, 1)


def _ties(extreme: Formula, axis: int) -> Formula:
    """The slope of an extreme: shared among ties, NaN beside NaN."""

    def slope(x: Any) -> Any:
        top = extreme(x, axis=axis, keepdims=True)
        return np.where(np.isnan(top), NAN, (x == top) / np.maximum((x == top).sum(axis, keepdims=True), 1))

    return slope


def _softmax(x: Any, axis: int) -> Any:
    e = np.exp(x - x.max(axis, keepdims=True))
    return e / e.sum(axis, keepdims=True)


def _unit(x: Any) -> Any:
    """A row over its length; of a row with infinities NaN there, and 0 elsewhere."""
    infinite = np.isinf(x).any(1, keepdims=True) & ~np.isnan(x).any(1, keepdims=True)
    quotient = x / (np.abs(x).max(1, keepdims=True) * _scaled_length(x))
    return np.where(infinite, np.where(np.isinf(x), np.nan, 0), quotient)


def _scaled_length(x: Any) -> Any:
    """Of rows, in units of their largest element."""
    return np.sqrt(((x / np.abs(x).max(1, keepdims=True)) ** 2).sum(1, keepdims=True))


def _centred(x: Any) -> Any:
    return x - x.mean(0)


def _picked(x: Any) -> Any:
    hot = np.zeros(x.shape, x.dtype)
    hot[np.arange(3), LABELS] = 1
    return hot


# The slope of the sum of the result by its one operand, where that is nonlinear.
ROW_SLOPES: dict[str, Formula] = {
    "prod": _others,
    "max": _ties(np.max, 0),
    "min": _ties(np.min, 1),
    "logsumexp": lambda x: np.exp(x - sp.logsumexp(x, 1, keepdims=True)),
    "log_softmax": lambda x: 1 - x.shape[0] * _softmax(x, 0),
    "cross_entropy": lambda x: _softmax(x, 1) - _picked(x),
    "norm": lambda x: _unit(x),
    "var": lambda x: _centred(_centred(x) * (2 / (x.shape[0] - 1))),  # the mean has a part in it, NaN beside inf
    "one_hot": lambda x: np.eye(4, dtype=x.dtype)[x.argmax(1)],
}
# Those whose derivatives are compared between engines only.
ALIKE = {
    "std": "squares of deviations, as var",
    "softmax": "its sum is 1, so the slope of that is rounding",
    "layer_norm": "its sum is 0, so the slope of that is rounding",
    "rms_norm": "a quotient of an element and a root of squares",
    **dict.fromkeys(("batch_norm_training", "instance_norm"), "as layer_norm, along other axes"),
    **dict.fromkeys(("cumprod", "cumprod_reverse", "logcumsumexp"), "recurrences, whose slopes are recurrences"),
    **dict.fromkeys(("sort", "sort_descending", "median", "quantile"), "the order says where a slope goes"),
    **dict.fromkeys(("segment_sum", "segment_mean", "segment_max", "segment_min"), "slopes are gathered"),
    **dict.fromkeys(
        ("max_pool", "max_pool1d", "max_pool3d", "global_max_pool", "max_pool_squared"), "slopes go to windows"
    ),
    **dict.fromkeys(("resize_linear", "global_avg_pool"), "slopes go to windows"),
    "own_gradient": "its slope is the user's",
    **dict.fromkeys(("rotary_embedding", "rotary_interleaved"), "linear, times sines and cosines"),
}
OVER_ROWS = [c for c in CASES if c not in ELEMENTWISE and c.name not in ELSEWHERE]
PLACES = (0, 1)  # of the special element: the first of an operand, and the last


def test_every_function_of_rows_has_a_row() -> None:
    single = [c for c in OVER_ROWS if c.smooth and len(c.shapes) == 1 and c.name not in LINEAR]
    known = {*ROW_SLOPES, *ALIKE, *SCALED, *CHOOSING}
    missing = [c.name for c in single if c.name not in known]
    assert not missing, f"add to ROW_SLOPES the derivatives of {', '.join(missing)}"


SCALED = {"mean", "reshape"}  # linear, times a constant


@pytest.mark.parametrize("part, dtype", chessboard(range(3), ["float64", "float32"]))
def test_functions_of_rows(part: int, dtype: str) -> None:
    """One special value among ordinary ones, in each operand: values, and derivatives in all engines."""
    cases = OVER_ROWS[part::3]
    g = gx.Graph("rows", float_dtype=dtype)
    inputs, outputs, plain, owners = [], {}, [], []
    for case in cases:
        xs = [g.input(f"{case.name}_{k}", s, dtype) for k, s in enumerate(case.shapes)]
        outputs[case.name] = y = case.build(*xs)
        if case.smooth:
            slopes_of = gx.grad(gx.sum(y), xs, on_disconnected="zeros")
            outputs |= {f"{case.name}, {k}": d for k, d in enumerate(slopes_of)}
        inputs += xs
        plain += case.arrays(dtype, seed=5)
        owners += [(case, k) for k in range(len(xs))]
    most = max(len(c.shapes) for c in cases)
    rows, changed = [plain], [-1]
    for slot in range(most):
        for value, place in itertools.product(specials(dtype), PLACES):
            row = [a.copy() for a in plain]
            for a, (_, k) in zip(row, owners, strict=True):
                if k == slot:
                    a.flat[int(place * (a.size - 1))] = value
            rows.append(row)
            changed.append(slot)
    with np.errstate(all="ignore"):
        results = [run(inputs, outputs, engine, *rows) for engine in ENGINES]
        usual, faults = results[0][0], []
        for row, slot, *found in zip(rows, changed, *results, strict=True):
            for a, b, what in ((found[1], found[0], "interpreted"), (found[2], found[1], "unrewritten")):
                faults += [f"{n}: {what} differs" for n in outputs if _apart(a[n], b[n], dtype)]
            for case in cases:
                operands = [a for a, (owner, _) in zip(row, owners, strict=True) if owner is case]
                right = np.asarray(case.oracle(*(a.astype("float64") for a in operands)))
                right = right.astype(dtype) if right.dtype.kind == "f" else right
                if case.name not in ROW_VALUES and _apart(found[0][case.name], right, dtype):
                    faults.append(f"{case.name}: {found[0][case.name]}, expected {right}")
                if not case.smooth:
                    continue
                if case.name in LINEAR or case.name in SCALED or (len(operands) > 1 and case.name in MULTILINEAR):
                    for k in range(len(operands)):
                        name = f"{case.name}, {k}"
                        if (slot == k or case.name in LINEAR) and _apart(found[0][name], usual[name], dtype):
                            faults.append(f"{name}: {found[0][name]}, expected {usual[name]}")
                elif case.name in ROW_SLOPES:
                    own = dtype if case.name == "var" else "float64"  # whose squares overflow
                    name, expected = f"{case.name}, 0", ROW_SLOPES[case.name](operands[0].astype(own))
                    if _apart(found[0][name], np.broadcast_to(expected, operands[0].shape).astype(dtype), dtype):
                        faults.append(f"{name}: {found[0][name]}, expected {expected}, at {operands[0]}")
    assert not faults, f"{len(faults)} faults:\n" + "\n".join(dict.fromkeys(faults))[:6000]


# Linear in each operand: the derivative by one does not depend on it.
MULTILINEAR = {
    c.name
    for c in CASES
    if len(c.shapes) == 2 and c.name.split("_")[0] in ("matmul", "dot", "outer", "vecdot", "tensordot")
}
# Values that the oracle does not give at special values, and why.
ROW_VALUES = {
    "cross_entropy": "NaN in a row with inf, as log_softmax",
    "cross_entropy_soft": "labels of any sum and sign weigh infinite logarithms",
    "kl_div": "a class of probability 0 adds nothing",
    "log_softmax": "NaN in a row with inf, where SciPy has -inf beside it",
    "layer_norm": "squares of deviations overflow in the one and not the other",
    "rms_norm": "squares overflow in the one and not the other",
    "std": "squares of deviations overflow in the one and not the other",
    **dict.fromkeys(("batch_norm_training", "instance_norm", "group_norm", "batch_norm"), "as layer_norm"),
    **dict.fromkeys(("weight_norm", "triplet", "cosine_embedding"), "squares overflow in the one and not the other"),
    **dict.fromkeys(("attention", "attention_causal"), "scores overflow in the one and not the other"),
    **dict.fromkeys(("einsum_of_three", "resize_linear"), "products overflow in the one and not the other"),
    **dict.fromkeys(("rotary_embedding", "rotary_interleaved"), "sines round to another zero"),
    **dict.fromkeys(("rnn_cell", "gru_cell", "lstm_cell"), "products of two matrices overflow in the one"),
    **dict.fromkeys(("cumprod", "cumprod_reverse"), "the oracle's float64 does not overflow"),
    "cumsum_exclusive": "the oracle takes an infinity from itself",
    "max_pool_pick": "a NaN is the largest of its window",
    "quantile": "NumPy multiplies an infinity by 0",
    "median": "NumPy multiplies an infinity by 0",
    "var": "squares of deviations overflow in the one and not the other",
}


def _apart(a: Any, b: Any, dtype: str) -> bool:
    """True where results differ, by more than rounding beside their largest finite element or the ordinary ones."""
    b = np.asarray(b).astype("float64")
    return bool(far(a, b, dtype, np.maximum(1, np.max(np.abs(np.where(np.isfinite(b), b, 0)), initial=0))).any())


# ---- what is not taken


# Derivatives of these by their parameters are sums over points, and past a sum IEEE's rules hold.
SUMMED = ("betainc", "gammainc", "gammaincc", "gammainc_by_aa", "zeta")
CARRYING = [
    c for c in CASES if c.smooth and c.name not in SUMMED and made_of(c, Kind.ELEMENTWISE, Kind.MOVEMENT, Kind.ASSEMBLY)
]


@pytest.mark.parametrize(
    "part, engine",
    [
        *chessboard(range(4), ENGINES[1:]),
        (2, "numba"),
        *(pytest.param(k, "numba", marks=pytest.mark.slow) for k in (0, 1, 3)),
    ],
)
def test_what_is_not_taken_gets_zero(part: int, engine: str) -> None:
    """First and second derivatives of ``where(False, f(x), 0)``, with special values in each operand."""
    assert len(CARRYING) > 80
    g = gx.Graph("untaken", float_dtype="float64")
    taken = g.input("taken", (), "bool")
    inputs, outputs, shapes = [taken], {}, []
    for case in CARRYING[part::4]:
        xs = [g.input(f"{case.name}_{k}", s, "float64") for k, s in enumerate(case.shapes)]
        y = gx.sum(gx.where(taken, case.build(*xs), 0))
        first = gx.grad(y, xs, on_disconnected="zeros")
        second = gx.grad(sum((gx.sum(d) for d in first), start=g.constant(0.0)), xs, on_disconnected="zeros")
        outputs |= {f"{case.name} {k}": d for k, d in enumerate([*first, *second])}
        inputs += xs
        shapes += case.shapes
    values = specials("float64")
    rows = [
        (False, *(np.resize(np.roll(values, 5 * turn + k), s) for k, s in enumerate(shapes)))
        for turn in range(len(values))
    ]
    with np.errstate(all="ignore"):
        for found in run(inputs, outputs, engine, *rows):
            for name, slope in found.items():
                assert not np.asarray(slope).any(), name


# ---- NaN is handed on

KINKED = {
    "max": lambda x: gx.max(x, 0),
    "min": lambda x: gx.min(x, 0),
    "norm": lambda x: gx.norm(x, INF, 0),
    "relu": gx.relu,
    "relu6": gx.relu6,
    "leaky_relu": gx.leaky_relu,
    "elu": gx.elu,
    "selu": gx.selu,
    "hard_sigmoid": gx.hard_sigmoid,
    "hard_swish": gx.hard_swish,
    "hard_tanh": gx.hard_tanh,
    "clip": lambda x: gx.clip(x, -1, 1),
    "clip from below": lambda x: gx.clip(x, min=-1),
    "clip from above": lambda x: gx.clip(x, max=1),
    "maximum": lambda x: gx.maximum(x, 0.5),
    "minimum": lambda x: gx.minimum(0.5, x),
    "hinge": lambda x: gx.hinge(x, 1.0),
    "huber": lambda x: gx.huber(x, 1.0),
    "abs": gx.abs,
    "maximum of two": gx.maximum,
    "minimum of two": gx.minimum,
    "clip below": lambda x, a: gx.clip(x, a, 1),
    "clip above": lambda x, a: gx.clip(x, -1, a),
    "clip between": gx.clip,
}


@pytest.mark.parametrize("engine", ENGINES)
def test_nan_is_handed_on_to_every_operand(engine: str) -> None:
    """Wherever the NaN stands, and unless a selection around it leaves that element."""
    g = gx.Graph("kinks", float_dtype="float64")
    xs = [g.input(n, (3,), "float64") for n in ("a", "b", "c")]
    outputs = {}
    for name, f in KINKED.items():
        used = xs[: 3 if f is gx.clip else 2 if "two" in name or name in ("clip below", "clip above") else 1]
        y = f(*used)
        cases = {name: y}
        if y.ndim:
            cases[f"{name} left"] = gx.where(gx.isnan(sum(used[1:], start=used[0])), 0, y)
        for key, value in cases.items():
            outputs |= {f"{key}, {k}": d for k, d in enumerate(gx.grad(gx.sum(value), used))}
        outputs[f"{name} value"] = y
    plain = [np.array(v) for v in ([0.25, -2.0, 3.0], [-0.5, -3.0, 1.0], [0.75, -1.0, 2.0])]
    rows = [[np.array([v[0], NAN, v[2]]) if j == k else v for j, v in enumerate(plain)] for k in range(3)]
    usual, *found = run(xs, outputs, engine, plain, *rows)
    for k, row in enumerate(found):
        for name in KINKED:
            slots = [s for s in range(3) if f"{name}, {s}" in row]
            if k not in slots:
                continue
            assert np.isnan(row[f"{name} value"]).any(), name
            for s in slots:
                slope = row[f"{name}, {s}"]
                if np.ndim(row[f"{name} value"]) == 0:
                    assert np.isnan(slope).all(), name
                    continue
                assert np.isnan(slope[1]), (name, s)
                expected = usual[f"{name}, {s}"] * [1, 0, 1]
                np.testing.assert_array_equal(row[f"{name} left, {s}"], expected, err_msg=name)


# ---- softmax, and losses


def slopes(g: gx.Graph, y: gx.Tensor, *wrt: gx.Tensor) -> list[gx.Tensor]:
    return gx.grad(gx.sum(y), list(wrt), on_disconnected="zeros")


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_rows_with_infinities(engine: str, dtype: str) -> None:
    """softmax and log_softmax are NaN beside inf, and of nothing but -inf; logsumexp is inf and -inf there."""
    g = gx.Graph("rows", float_dtype=dtype)
    x = g.input("x", ("n", 3), dtype)
    outputs = {f.__name__: f(x) for f in (gx.softmax, gx.log_softmax)} | {"logsumexp": gx.logsumexp(x, 1)}
    outputs |= {f"{name}'": slopes(g, y * (gx.exp2(x * 0) if y.ndim == 2 else 1), x)[0] for name, y in outputs.items()}
    data = np.array([[0, INF, 1], [INF, INF, -INF], [-INF] * 3, [0, NAN, 1], [-INF, 0, 0], [0, -INF, -INF]], dtype)
    (found,) = run([x], outputs, engine, (data,))
    log_half = np.log(np.array(0.5, dtype))
    np.testing.assert_array_equal(found["softmax"][:4], np.nan)
    np.testing.assert_array_equal(found["softmax"][4:], np.array([[0, 0.5, 0.5], [1, 0, 0]]))
    np.testing.assert_array_equal(found["log_softmax"][:4], np.nan)
    np.testing.assert_allclose(found["log_softmax"][4:], np.array([[-INF, log_half, log_half], [0, -INF, -INF]]))
    np.testing.assert_allclose(found["logsumexp"], np.array([INF, INF, -INF, NAN, -log_half, 0], dtype))
    np.testing.assert_array_equal(found["logsumexp'"][2:3], 0)
    np.testing.assert_array_equal(found["logsumexp'"][3], np.nan)
    np.testing.assert_array_equal(found["logsumexp'"][4:], np.array([[0, 0.5, 0.5], [1, 0, 0]]))


@pytest.mark.parametrize("engine", ENGINES)
def test_a_factor_of_zero_removes_its_product(engine: str) -> None:
    """Beside an infinite logarithm, not beside NaN."""
    g = gx.Graph("weighted", float_dtype="float64")
    p, t = g.input("p", ("n", 2), "float64"), g.input("t", ("n", 2), "float64")
    losses = {
        "soft": gx.cross_entropy(p, t),
        "weighted": gx.cross_entropy(p, t, weights=[2.0, 0.0]),
        "kl_div": gx.kl_div(p, t),
        "poisson_nll": gx.poisson_nll(p, t),
        "binary": gx.binary_cross_entropy(p, t),
        "logits": gx.binary_cross_entropy_with_logits(p, t),
    }
    outputs = losses | {f"{name}'": slopes(g, y, p)[0] for name, y in losses.items()}

    def at(name: str, p: Any, t: Any) -> tuple[Any, Any]:
        (found,) = run([g["p"], g["t"]], outputs, engine, (np.array([p], float), np.array([t], float)))
        return found[name][0].tolist(), found[f"{name}'"][0].tolist()

    assert at("soft", [0, -INF], [1, 0]) == (0, [0, 0])
    assert at("soft", [0, -INF], [0.5, 0.5]) == (INF, [0.5, -0.5])
    assert np.isnan(at("soft", [0, NAN], [1, 0])[0])
    assert at("weighted", [0, -INF], [0.5, 0.5]) == (0, [0, 0])
    assert at("kl_div", [0, -INF], [1, 0]) == (0, [-1, 0])
    assert np.isnan(at("kl_div", [0, NAN], [1, 0])[0])
    assert at("poisson_nll", [-INF, 0], [0, 1]) == ([0, 1], [0, 0])
    assert at("binary", [0, 1], [0, 1]) == ([0, 0], [1, -1])
    assert at("binary", [0, 1], [1, 0]) == ([INF, INF], [-INF, INF])
    assert np.isnan(at("binary", [NAN, NAN], [0, 1])[0]).all()
    assert at("logits", [INF, -INF], [1, 0]) == ([0, 0], [0, 0])
    assert at("logits", [INF, -INF], [0, 1]) == ([INF, INF], [1, -1])
    assert at("logits", [INF, -INF], [0.5, 0.25]) == ([INF, INF], [0.5, -0.25])
    assert np.isnan(at("logits", [NAN, NAN], [0, 1])[0]).all()


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_binary_cross_entropy_keeps_its_tails(engine: str, dtype: str) -> None:
    """Of well classified examples, on both sides; and of small probabilities."""
    g = gx.Graph("tails", float_dtype=dtype)
    x, t, p = (g.input(n, ("n",), dtype) for n in "xtp")
    loss = gx.binary_cross_entropy_with_logits(x, t)
    outputs = {"loss": loss, "slope": slopes(g, loss, x)[0], "plain": gx.binary_cross_entropy(p, 0)}
    a = np.array([0.0, 1.0, 8.0, 17.0, 40.0, 80.0], dtype)
    tail = np.exp(-a.astype("float64"))
    small = np.array([1e-3, 1e-9, 1e-20, 1e-30, 0.0, 0.5], dtype)
    right, mirrored = run([x, t, p], outputs, engine, (a, np.ones_like(a), small), (-a, np.zeros_like(a), small))
    tolerance = 1e-6 if dtype == "float32" else 1e-15
    for found, sign in ((right, -1), (mirrored, 1)):
        np.testing.assert_allclose(found["loss"], np.log1p(tail), tolerance)
        np.testing.assert_allclose(found["slope"], sign * tail / (1 + tail), tolerance)
        np.testing.assert_allclose(found["plain"], -np.log1p(-small.astype("float64")), tolerance)


@pytest.mark.parametrize("engine", ENGINES)
def test_rows_that_are_dropped_have_no_gradient(engine: str) -> None:
    """Whatever their logits: ``ignore_index``, and labels of weight 0."""
    g = gx.Graph("dropped", float_dtype="float64")
    x, label = g.input("x", ("n", 3), "float64"), g.input("label", ("n",), "int64")
    kinds = {
        "ignored": gx.cross_entropy(x, label, ignore_index=2),
        "smooth": gx.cross_entropy(x, label, ignore_index=2, label_smoothing=0.1, weights=[1.0, 2.0, 3.0]),
        "light": gx.cross_entropy(x, label, weights=[1.0, 2.0, 0.0]),
        "both": gx.cross_entropy(x, label, weights=[1.0, 0.0, 2.0], ignore_index=2),
    }
    outputs = kinds | {f"{name}'": slopes(g, y, x)[0] for name, y in kinds.items()}
    data = np.array([[NAN, 0, 1], [INF, 0, 1], [-INF] * 3, [NAN] * 3, [0, 0, -INF], [1, 2, 3]])
    (dropped,) = run([x, label], outputs, engine, (data, np.full(6, 2)))
    for name in kinds:
        assert not dropped[name].any(), name
        assert not dropped[f"{name}'"].any(), name
    (kept,) = run([x, label], outputs, engine, (data, np.zeros(6, np.int64)))
    for name in kinds:
        assert np.isnan(kept[name][:4]).all(), name
        assert np.isfinite(kept[name][5]), name
        assert kept[f"{name}'"][5].all(), name
    (light,) = run([x, label], outputs, engine, (data, np.ones(6, np.int64)))
    assert not light["both"].any()
    assert not light["both'"].any()
