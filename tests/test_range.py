"""Values and derivatives of every op far from 1, against mpmath.

The graph of an op-case is evaluated in exact arithmetic, and differentiated by differences there: what a formula is
worth shows beside it. The bound is relative: 64 units of rounding, and 8 more for each that the condition number says.
What lies beyond the range of the dtype has to be infinite, or within the smallest normal number of 0.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import mpmath
import numpy as np
import pytest
from mpmath import mp, mpf
from op_case import chessboard, ends
from op_cases import CASES, Case
from test_vecmath import exact_erfcinv

import graphc as gx
from graphc.ir import dims
from graphc.ir.graph import topological
from graphc.ir.op import Kind
from graphc.ir.tensor import Tensor

EXPONENTS = {
    "float32": [-37, -30, -25, -20, -16, -13, -10, -6, -3, -1, 0, 1, 1.5, 2, 3, 6, 10, 12, 13, 16, 20, 25, 30, 37],
    "float64": [-305, -200, -160, -100, -30, -10, -4, -1, 0, 1, 1.5, 2, 2.8, 5, 10, 30, 77, 100, 160, 200, 305],
}
PAIRS = {"float32": [-37, -20, -10, -1, 1, 10, 13, 25, 37], "float64": [-305, -160, -100, -1, 1, 100, 160, 305]}
BITS = {"float32": 700, "float64": 2400}
STEP = 110  # bits of the step of a difference, relative to the operand


# ---- exact arithmetic


def _inside(function: Callable[..., Any]) -> Callable[..., Any]:
    """NaN where the function is not real."""

    def evaluate(*operands: Any) -> Any:
        try:
            found = function(*operands)
        except (ValueError, ZeroDivisionError):
            return mp.nan
        return mp.nan if isinstance(found, mpmath.mpc) else found

    return evaluate


def _softplus(a: Any) -> Any:
    return max(a, mpf(0)) + mp.log1p(mp.exp(-abs(a)))


def _erfcinv(a: Any) -> Any:
    if not 0 < a < 2:
        return mp.nan
    return exact_erfcinv(a) if a <= 1 else -exact_erfcinv(2 - a)


def _quotient(a: Any, b: Any) -> Any:
    return mp.floor(a / b)


EXACT: dict[str, Callable[..., Any]] = {
    "add": lambda a, b: a + b, "subtract": lambda a, b: a - b, "multiply": lambda a, b: a * b,
    "divide": lambda a, b: a / b, "neg": lambda a: -a, "identity": lambda a: a, "stop_gradient": lambda a: a,
    "abs": lambda a: abs(a), "sign": lambda a: mp.sign(a), "floor_divide": _quotient,
    "remainder": lambda a, b: a - b * _quotient(a, b), "maximum": lambda a, b: max(a, b),
    "minimum": lambda a, b: min(a, b), "fmax": lambda a, b: max(a, b), "fmin": lambda a, b: min(a, b),
    "copysign": lambda a, b: abs(a) if b >= 0 else -abs(a), "equal": lambda a, b: a == b,
    "not_equal": lambda a, b: a != b, "less": lambda a, b: a < b, "less_equal": lambda a, b: a <= b,
    "greater": lambda a, b: a > b, "greater_equal": lambda a, b: a >= b, "logical_and": lambda a, b: a and b,
    "logical_or": lambda a, b: a or b, "logical_xor": lambda a, b: bool(a) != bool(b),
    "logical_not": lambda a: not a, "isnan": lambda a: mp.isnan(a), "isinf": lambda a: mp.isinf(a),
    "isfinite": lambda a: mp.isfinite(a), "where": lambda c, a, b: a if c else b,
    "clip": lambda a, b, c: min(max(a, b), c), "lerp": lambda a, b, c: a + c * (b - a),
    "sqrt": lambda a: mp.sqrt(a), "rsqrt": lambda a: 1 / mp.sqrt(a), "cbrt": lambda a: mp.sign(a) * mp.cbrt(abs(a)),
    "exp": lambda a: mp.exp(a), "exp2": lambda a: mpf(2) ** a, "expm1": lambda a: mp.exp(a) - 1,
    "log": lambda a: mp.log(a), "log2": lambda a: mp.log(a) / mp.log(2), "log10": lambda a: mp.log(a) / mp.log(10),
    "log1p": lambda a: mp.log(1 + a), "sin": lambda a: mp.sin(a), "cos": lambda a: mp.cos(a), "tan": lambda a: mp.tan(a),
    "asin": lambda a: mp.asin(a), "acos": lambda a: mp.acos(a), "atan": lambda a: mp.atan(a),
    "sinh": lambda a: mp.sinh(a), "cosh": lambda a: mp.cosh(a), "tanh": lambda a: mp.tanh(a),
    "asinh": lambda a: mp.sign(a) * mp.log(abs(a) + mp.sqrt(a * a + 1)),
    "acosh": lambda a: mp.log(a + mp.sqrt(a * a - 1)) if a >= 1 else mp.nan, "atanh": lambda a: mp.atanh(a),
    "one_minus_square": lambda a: 1 - a * a, "atan2_slope": lambda a, b: b / (a * a + b * b),
    "erf": lambda a: mp.erf(a), "erfc": lambda a: mp.erfc(a) if abs(a) < 1e8 else mpf(0 if a > 0 else 2),
    "erfinv": lambda a: mp.sign(a) * _erfcinv(1 - abs(a)), "erfcinv": _erfcinv,
    "lgamma": lambda a: mp.re(mp.loggamma(a)), "digamma": lambda a: mp.digamma(a),
    "sigmoid": lambda a: 1 / (1 + mp.exp(-a)), "softplus": _softplus, "log_sigmoid": lambda a: -_softplus(-a),
    "log1mexp": lambda a: mp.log(-mp.expm1(-a)) if a > 0 else mp.nan, "softsign": lambda a: a / (1 + abs(a)),
    "floor": lambda a: mp.floor(a), "ceil": lambda a: mp.ceil(a), "trunc": lambda a: mp.sign(a) * mp.floor(abs(a)),
    "round": lambda a: mp.nint(a), "relu": lambda a: max(a, mpf(0)), "pow": lambda a, b: mp.power(a, b),
    "atan2": lambda a, b: mp.atan2(a, b), "hypot": lambda a, b: mp.sqrt(a * a + b * b),
    "logaddexp": lambda a, b: max(a, b) + mp.log1p(mp.exp(-abs(a - b))), "xlogy": lambda a, b: a * mp.log(b),
    "xlog1py": lambda a, b: a * mp.log1p(b), "weigh": lambda a, b: a * b,
}  # fmt: skip
UFUNCS = {name: np.frompyfunc(_inside(f), f.__code__.co_argcount, 1) for name, f in EXACT.items()}


def exactly(array: np.ndarray) -> np.ndarray:
    """The same numbers as mpmath's."""
    return np.array([mpf(v) if isinstance(v, float) else v for v in array.ravel().tolist()], object).reshape(
        array.shape
    )


def evaluate(y: Tensor, feeds: dict[str, np.ndarray]) -> np.ndarray:
    """The value of ``y`` in mpmath's arithmetic."""
    values: dict[int, Any] = {}
    for node in topological(y.graph, [y.id]):
        operands = [values[i] for i in node.inputs]
        attrs = {k: dims.evaluate(v, {}) if isinstance(v, dims.Dim) else v for k, v in node.attrs.items()}
        if node.op.name == "input":
            found = feeds[node.name]
        elif node.op.kind is Kind.LEAF:
            found = exactly(node.value)
        elif node.op.name == "astype":
            found = operands[0]
        elif node.op.name in UFUNCS:
            found = UFUNCS[node.op.name](*operands)
        elif node.op.name == "sum":
            found = np.sum(operands[0], axis=attrs["axes"], keepdims=attrs["keepdims"])
        else:
            found = node.op.reference(*operands, **attrs)
        held = np.empty(np.shape(found), object)
        held[...] = found
        values[node.id] = held
    return values[y.id]


# ---- elementwise cases


def is_elementwise(case: Case) -> bool:
    g = gx.Graph("case", float_dtype="float64")
    xs = [g.input(f"x{k}", (3,), "float64") for k in range(len(case.domains))]
    try:
        y = case.build(*xs)
    except (gx.GraphcError, IndexError):
        return False
    nodes = topological(g, [y.id])
    return y.dtype == "float64" and all(n.op.kind in (Kind.LEAF, Kind.ELEMENTWISE) for n in nodes)


# These have tests of their own: casts, losses whose targets lie in [0, 1], and what test_normal.py has far out
APART = {"astype", "binary_cross_entropy", "binary_cross_entropy_with_logits", "poisson_nll"}
APART |= {"erfcx", "ndtr", "log_ndtr", "ndtri", "sinc", "beta_ln"}
APART |= {"polygamma", "i0e", "i1e", "gammainc", "gammaincc", "betainc", "zeta"}  # tests/test_gamma.py
APART |= {"gamma_quantile", "poisson_quantile", "gammainc_by_aa", "clip_between", "copysign_of_rows"}
ELEMENTWISE = [c for c in CASES if c.name not in APART and is_elementwise(c)]
ELEMENTWISE += [
    Case("x ** -1", lambda x: x**-1, np.reciprocal),
    Case("x ** -2", lambda x: x**-2, np.reciprocal),
    Case("x ** -3", lambda x: x**-3, np.reciprocal),
    Case("x ** -7", lambda x: x**-7, np.reciprocal),
    Case("x ** 3", lambda x: x**3, np.reciprocal),
]

# exp(y * y) of a rounded y: slopes of erfcinv by its value, and the tails of gelu
LOOSE = {"erfcinv": 16, "erfinv": 4, "gelu": 16, "gelu_tanh": 16}
# Slopes that are computed from the value are right to rounding of 1, as 1 - y^2 is for tanh
ABSOLUTE = {"tanh", "sigmoid", "mish", "silu"}
# Second derivatives that are differences of terms as large as a slope over its operand
CANCELS = {"hypot", "atan2", "atan2_slope"}


def allowed(case: Case, points: list[np.ndarray]) -> np.ndarray:
    """Where a case is looked at: not beside poles that are the nearest numbers to each other."""
    x = points[0]
    if case.name in ("lgamma", "digamma"):
        return (x > 0) | (x > -1e5)
    if case.name == "pow":
        return (x > 0) & (np.abs(points[1]) > 0.01) & (np.abs(points[1]) < 100)
    if case.name == "remainder":
        return np.abs(x / points[1]) < 1e5
    return np.ones(len(x), bool)


def points_of(case: Case, dtype: str) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    count = len(case.domains)

    def around(e: float) -> float:
        return float(rng.choice([-1, 1]) * rng.uniform(1, 2) * 10.0**e)

    if count == 1:
        rows = [(s * rng.uniform(1, 2) * 10.0**e,) for e in EXPONENTS[dtype] for s in (1, -1)]
    elif case.name == "pow":
        rows = [(abs(around(e)), rng.uniform(-3, 3)) for e in EXPONENTS[dtype] for _ in range(3)]
    elif count == 2:
        rows = [(around(e), around(f)) for e in PAIRS[dtype] for f in PAIRS[dtype]]
    else:
        rows = [
            (around(e), around(f), w) for e in PAIRS[dtype] for f in PAIRS[dtype] for w in (0.0, rng.uniform(0, 1), 1.0)
        ]
    with np.errstate(all="ignore"):
        points = [np.array(column).astype(dtype) for column in zip(*rows, strict=True)]
        inside = allowed(case, points)
    return [p[inside] for p in points]


class Wanted:
    """A case's exact value, first and second derivatives at some points, and how far differences may be off."""

    def __init__(self, case: Case, y: Tensor, points: list[np.ndarray], second: bool) -> None:
        self.y, self.x = y, [exactly(p) for p in points]
        periodic = case.name in ("sin", "cos", "tan")
        lengths = [np.array([min(abs(v), mpf(1)) if periodic else abs(v) or mpf(1) for v in x], object) for x in self.x]
        self.h = [n * mpf(2) ** -STEP for n in lengths]
        n = len(points)
        self.values = {"": self.at((0,) * n)}
        for i in range(n) if second else ():
            up, down = (self.at(tuple(s if k == i else 0 for k in range(n))) for s in (1, -1))
            self.values[f"{i}"] = (up - down) / (2 * self.h[i])
            self.values[f"{i}{i}"] = (up - 2 * self.values[""] + down) / (self.h[i] * self.h[i])
            for j in range(i):
                corner = [
                    s * t * self.at(tuple(s if k == j else t if k == i else 0 for k in range(n)))
                    for s in (1, -1)
                    for t in (1, -1)
                ]
                self.values[f"{j}{i}"] = sum(corner[1:], corner[0]) / (4 * self.h[i] * self.h[j])

    def at(self, moves: tuple[int, ...]) -> np.ndarray:
        feeds = {f"x{k}": x + m * h for k, (x, m, h) in enumerate(zip(self.x, moves, self.h, strict=True))}
        return evaluate(self.y, feeds)

    def known(self, key: str, at: int) -> bool:
        """Whether the difference is good for many more digits than a float has."""
        want, noise = self.values[key][at], abs(self.values[""][at]) * mpf(2) ** (16 - mp.prec)
        for k in key:
            noise /= self.h[int(k)][at]
        return not mp.isnan(want) and (
            noise == 0 or noise < abs(want) * mpf(2) ** -80 or (want == 0 and noise < mpf(2) ** -1200)
        )

    def condition(self, at: int) -> Any:
        """The largest relative change of value and derivatives for one of an operand."""
        ratios = [mpf(1)]
        for k in map(str, range(len(self.x))):
            x, chain = abs(self.x[int(k)][at]), [self.values[n][at] for n in ("", k, k + k) if n in self.values]
            chain = [v if mp.isfinite(v) else mpf(0) for v in chain]
            ratios += [x * abs(b / a) for a, b in pairwise(chain) if a != 0]
        return max(ratios)


def far(found: float, wanted: Wanted, name: str, key: str, at: int, dtype: str) -> bool:
    """True where a result is not what it should be."""
    info, want = np.finfo(dtype), wanted.values[key][at]
    eps, tiny, most = (mpf(float(v)) for v in (info.eps, info.smallest_normal, info.max))
    if np.isnan(found):
        return True
    if np.isinf(found):
        return bool(abs(want) < most / 8 or (want > 0) != (found > 0))
    units = LOOSE.get(name, 1) * (64 + 8 * wanted.condition(at))
    bound = eps * units * abs(want) + 8 * tiny + (32 * eps if key and name in ABSOLUTE else 0)
    if len(key) == 2 and name in CANCELS:  # of terms as large as the slope over the operand
        bound += 16 * eps * max(abs(wanted.values[k][at] / wanted.x[int(k)][at]) for k in key)
    return bool(abs(mpf(found) - want) > bound and not (abs(want) > most and abs(found) > most / 8))


def looked_at(group: list[Case], dtype: str) -> None:
    g = gx.Graph("range", float_dtype=dtype)
    inputs: list[Tensor] = []
    arrays, outputs, wanted = [], {}, {}
    with mp.workprec(BITS[dtype]):
        for case in group:
            points = points_of(case, dtype)
            alone = gx.Graph(case.name, float_dtype=dtype)
            own = [alone.input(f"x{k}", (len(points[0]),), dtype) for k in range(len(points))]
            wanted[case.name] = Wanted(case, case.build(*own), points, case.smooth)
            xs = [g.input(f"{case.name}_{k}", (len(p),), dtype) for k, p in enumerate(points)]
            y = case.build(*xs)
            outputs[case.name, ""] = y
            for i, slope in enumerate(gx.grad(gx.sum(y), xs, on_disconnected="zeros") if case.smooth else ()):
                outputs[case.name, f"{i}"] = slope
                for j, bend in enumerate(gx.grad(gx.sum(slope), xs[i:], on_disconnected="zeros"), start=i):
                    outputs[case.name, f"{i}{j}"] = bend
            inputs += xs
            arrays += points
        keys = list(outputs)
        found = gx.compile(inputs, list(outputs.values()), unused="ignore")(*arrays)
        wrong, count = [], 0
        for (name, key), result in zip(keys, found, strict=True):
            want = wanted[name]
            for at, value in enumerate(result.tolist()):
                if not want.known(key, at):
                    continue
                count += 1
                if far(value, want, name, key, at, dtype):
                    place = [float(x[at]) for x in want.x]
                    wrong.append(f"{name} {key!r} at {place}: {value}, expected {mp.nstr(want.values[key][at], 8)}")
    assert count > 20 * len(group)
    assert not wrong, f"{len(wrong)} of {count}:\n" + "\n".join(wrong[:40])


GROUPS = [ELEMENTWISE[k : k + 10] for k in range(0, len(ELEMENTWISE), 10)]


@pytest.mark.parametrize("group, dtype", chessboard(GROUPS, ["float32", "float64"], ends))
def test_elementwise_values_and_derivatives(group: list[Case], dtype: str) -> None:
    looked_at(group, dtype)


# ---- lengths


@pytest.mark.parametrize(
    ("dtype", "size"),
    [("float32", s) for s in (1e-37, 1e-25, 1.0, 1e25, 1e37)]
    + [("float64", s) for s in (1e-300, 1e-160, 1.0, 1e160, 1e300)],
)
def test_norms_of_any_size(dtype: str, size: float) -> None:
    """Value, gradient, and the second derivative along a direction, which is (v - u (u v)) / length for u = x / length."""
    x, v = np.array([3.0, -4.0, 12.0]), np.array([1.0, 2.0, 3.0])
    g = gx.Graph("norm", float_dtype=dtype)
    t = g.input("x", ("n", 3), dtype)
    y = gx.norm(t, 2, 1)
    slope = gx.grad(gx.sum(y), t)
    bend = gx.grad(gx.sum(slope * v.astype(dtype)), t)
    rows = np.array([x * size, np.zeros(3)]).astype(dtype)
    value, first, second = gx.compile([t], [y, slope, bend])(rows)
    u = x / 13
    rtol = 64 * float(np.finfo(dtype).eps)
    np.testing.assert_allclose(value, [13 * size, 0], rtol=rtol)
    np.testing.assert_allclose(first, [u, np.zeros(3)], rtol=rtol)
    np.testing.assert_allclose(second[0] * np.array(13 * size, dtype), v - u * (u @ v), rtol=8 * rtol)
    np.testing.assert_array_equal(second[1], 0)
    assert gx.compile([t], y)(np.ones((0, 3), dtype)).shape == (0,)
