"""Elementary functions: error against mpmath, edges as NumPy's, the same bits everywhere, vector code."""

from __future__ import annotations

import importlib.util
import math
import platform
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.special as sp
from llvmlite.binding import get_host_cpu_features
from mpmath import mp, mpf
from op_cases import inverse_erfc

import graphc as gx
from graphc.codegen.vecmath import coefficients
from graphc.codegen.vecmath.reduction import FAR

DTYPES = ("float32", "float64")
MOST = 4.0  # units in the last place


@dataclass(frozen=True)
class Function:
    """What a function is by mpmath and by NumPy, where it is defined, and what it is near 0."""

    exact: Callable[..., Any]
    numpy: Callable[..., Any]
    arity: int = 1
    inside: Callable[[Any], Any] = lambda x: x == x
    near_zero: Callable[[Any], Any] | None = lambda x: x  # mpmath would cancel
    most: float = MOST
    steep: bool = False  # beyond 1200 there is nothing but 0, 1, infinity or x


def positive(x: Any) -> Any:
    return x > 0


def exact_erfcinv(x: Any) -> Any:
    """By Newton's method on the logarithm, since 1 - x loses small x."""
    if x > 0.5:
        return mp.erfinv(1 - x)
    y = mp.sqrt(-mp.log(x))
    for _ in range(60):
        step = (mp.log(mp.erfc(y)) - mp.log(x)) * mp.erfc(y) * mp.exp(y * y) * mp.sqrt(mp.pi) / 2
        y += step
        if abs(step) < y * mpf(2) ** -150:
            break
    return y


FUNCTIONS = {
    "exp": Function(mp.exp, np.exp, near_zero=lambda x: 1 + x, steep=True),
    "exp2": Function(lambda x: mpf(2) ** x, np.exp2, near_zero=lambda x: 1 + x, steep=True),
    "expm1": Function(mp.expm1, np.expm1, steep=True),
    "log": Function(mp.log, np.log, inside=positive, near_zero=None),
    "log2": Function(lambda x: mp.log(x) / mp.log(2), np.log2, inside=positive, near_zero=None),
    "log10": Function(lambda x: mp.log(x) / mp.log(10), np.log10, inside=positive, near_zero=None),
    "log1p": Function(mp.log1p, np.log1p, inside=lambda x: x > -1),
    "sin": Function(mp.sin, np.sin),
    "cos": Function(mp.cos, np.cos, near_zero=lambda x: mpf(1)),
    "tan": Function(mp.tan, np.tan),
    "asin": Function(mp.asin, np.arcsin, inside=lambda x: np.abs(x) <= 1),
    "acos": Function(mp.acos, np.arccos, inside=lambda x: np.abs(x) <= 1, near_zero=lambda x: mp.pi / 2 - x),
    "atan": Function(mp.atan, np.arctan),
    "sinh": Function(mp.sinh, np.sinh, steep=True),
    "cosh": Function(mp.cosh, np.cosh, near_zero=lambda x: mpf(1), steep=True),
    "tanh": Function(mp.tanh, np.tanh, steep=True),
    "asinh": Function(mp.asinh, np.arcsinh),
    "acosh": Function(mp.acosh, np.arccosh, inside=lambda x: x >= 1, near_zero=None),
    "atanh": Function(mp.atanh, np.arctanh, inside=lambda x: np.abs(x) < 1),
    "sigmoid": Function(lambda x: 1 / (1 + mp.exp(-x)), sp.expit, near_zero=lambda x: mpf(0.5), steep=True),
    "softplus": Function(
        lambda x: mp.log1p(mp.exp(x)), lambda x: np.logaddexp(x, np.zeros_like(x)), near_zero=lambda x: mp.log(2), steep=True
    ),
    "erf": Function(mp.erf, sp.erf, near_zero=lambda x: 2 * x / mp.sqrt(mp.pi), steep=True),
    "erfc": Function(mp.erfc, sp.erfc, near_zero=lambda x: 1 - x, steep=True),
    "erfcx": Function(
        lambda x: mp.exp(mpf(x) ** 2) * mp.erfc(x) if x < 1e4 else (1 - 1 / (2 * mpf(x) ** 2)) / x / mp.sqrt(mp.pi),
        sp.erfcx, near_zero=lambda x: 1 - 2 * x / mp.sqrt(mp.pi), steep=True, most=5.0,
    ),
    "erfinv": Function(
        lambda x: mp.sign(x) * exact_erfcinv(1 - abs(x)), lambda x: np.copysign(sp.erfinv(x), x), inside=lambda x: np.abs(x) < 1,
        near_zero=lambda x: x * mp.sqrt(mp.pi) / 2, most=5.0,
    ),
    "erfcinv": Function(
        lambda x: exact_erfcinv(x) if x < 1 else -exact_erfcinv(2 - x), inverse_erfc, inside=lambda x: (x > 0) & (x < 2),
        near_zero=None, most=5.0,
    ),
    "cbrt": Function(lambda x: mp.sign(x) * mp.cbrt(abs(x)), np.cbrt, near_zero=None),
    "rsqrt": Function(lambda x: 1 / mp.sqrt(x), lambda x: 1 / np.sqrt(x), inside=positive, near_zero=None),
    "pow": Function(mp.power, np.power, 2),
    "atan2": Function(mp.atan2, np.arctan2, 2),
    "hypot": Function(lambda a, b: mp.sqrt(a * a + b * b), np.hypot, 2),
}  # fmt: skip
ALL = pytest.mark.parametrize("dtype", DTYPES)
EACH = pytest.mark.parametrize("name", FUNCTIONS)


@cache
def compiled(name: str, dtype: str, fastmath: bool = False) -> Any:
    g = gx.Graph(name)
    operands = [g.input(n, shape=("n",), dtype=dtype) for n in "xy"[: FUNCTIONS[name].arity]]
    return gx.compile(operands, [getattr(gx, name)(*operands)], fastmath=fastmath)


def values(name: str, *operands: np.ndarray, fastmath: bool = False) -> np.ndarray:
    (out,) = compiled(name, str(operands[0].dtype), fastmath)(*operands)
    return np.array(out)


# ---- error


def error(found: float, want: Any, dtype: str) -> float:
    """The distance in units in the last place of what is wanted."""
    info = np.finfo(dtype)
    if want == 0 or math.isnan(found):
        return 0.0 if found == want else math.inf
    if math.isinf(found):
        return 0.0 if abs(want) > mpf(float(info.max)) and (want > 0) == (found > 0) else math.inf
    exponent = max(int(mp.frexp(want)[1]) - 1, info.minexp)
    return float(abs(mpf(float(found)) - want) / mpf(2) ** (exponent - info.nmant))


def every_exponent(dtype: str, n: int, rng: Any) -> np.ndarray:
    whole = np.int32 if dtype == "float32" else np.int64
    return rng.integers(1, int(np.array(np.inf, dtype).view(whole)), n).astype(whole).view(dtype)


def near_one(dtype: str, n: int, rng: Any) -> np.ndarray:
    return (1 + rng.choice([-1, 1], n) * 2.0 ** -rng.uniform(0, np.finfo(dtype).nmant, n)).astype(dtype)


def near_turns(dtype: str, n: int, rng: Any) -> np.ndarray:
    """Near multiples of pi / 2; the last is the nearest to one of all numbers of its dtype."""
    turns = rng.integers(1, 10 ** rng.integers(1, 7 if dtype == "float32" else 15, n)) * (math.pi / 2)
    hardest = math.ldexp(16367173.0, 72) if dtype == "float32" else math.ldexp(6381956970095103.0, 797)
    return np.append(turns, hardest).astype(dtype)


def points(name: str, dtype: str, n: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    wide = every_exponent(dtype, 2 * n, rng) * rng.choice([-1, 1], 2 * n).astype(dtype)
    near = rng.uniform(-4, 4, n).astype(dtype)
    least, most = {"erfc": (-7, 28), "exp2": (-1080, 1026)}.get(name, (-750, 712))
    spread = rng.uniform(least, most, n)
    spread = (spread if dtype == "float64" or name == "erfc" else spread / 7).astype(dtype)
    sets = [wide, near, near_one(dtype, n, rng), spread]
    if name in ("sin", "cos", "tan"):
        sets.append(near_turns(dtype, n, rng))
    x = np.unique(np.concatenate(sets))
    return x[FUNCTIONS[name].inside(x)]


def exact(name: str, x: float) -> Any:
    function = FUNCTIONS[name]
    huge = name in ("sin", "cos", "tan") and abs(x) > 1e9
    with mp.workprec(1300 if huge else 320):
        if abs(x) < 1e-40 and function.near_zero is not None:
            return function.near_zero(mpf(x))
        if name == "softplus" and x < -30:
            e = mp.exp(mpf(x))
            return e - e * e / 2
        return function.exact(mpf(x))


def exact_of_two(name: str, a: np.ndarray, b: np.ndarray) -> list[Any]:
    with mp.workprec(320):
        return [FUNCTIONS[name].exact(mpf(float(p)), mpf(float(q))) for p, q in zip(a, b, strict=True)]


def worst(found: np.ndarray, wanted: list[Any], dtype: str) -> tuple[float, int]:
    return max((error(float(y), w, dtype), k) for k, (y, w) in enumerate(zip(found, wanted, strict=True)))


@ALL
@pytest.mark.parametrize("name", [n for n, f in FUNCTIONS.items() if f.arity == 1])
def test_functions_of_one_number_are_within_a_few_units(name: str, dtype: str) -> None:
    x = points(name, dtype, 2000)
    if FUNCTIONS[name].steep:
        x = x[np.abs(x) < 1200]
    if "inv" in name:
        x = np.unique(np.concatenate([x[::8], near_one(dtype, 200, np.random.default_rng(2)) - (name == "erfcinv")]))
        x = x[FUNCTIONS[name].inside(x)]
    assert len(x) > 400
    most, at = worst(values(name, x), [exact(name, float(v)) for v in x], dtype)
    assert most <= FUNCTIONS[name].most, x[at]


def pairs(name: str, dtype: str, n: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    info = np.finfo(dtype)
    a, b = every_exponent(dtype, n, rng), every_exponent(dtype, n, rng)
    sign = rng.choice([-1, 1], n).astype(dtype)
    if name != "pow":
        like = np.minimum(a, info.max / 16) * rng.uniform(0.1, 10, n).astype(dtype)
        near = rng.uniform(-4, 4, (2, n)).astype(dtype)
        return np.concatenate([a * sign, a, near[0]]), np.concatenate([b, like, near[1]])
    bases = np.concatenate([a, near_one(dtype, n, rng), rng.uniform(0, 4, n).astype(dtype)])
    bases = bases[(bases > 0) & (bases != 1)]
    results = rng.uniform(info.minexp - info.nmant - 1, info.maxexp + 1, len(bases))  # all of the range
    with np.errstate(over="ignore"):
        powers = (results / np.log2(bases.astype("float64"))).astype(dtype)
    keep = np.isfinite(powers)
    whole = rng.integers(-40, 40, n).astype(dtype)
    return (
        np.concatenate([bases[keep], -rng.uniform(0.1, 9, n).astype(dtype)]),
        np.concatenate([powers[keep], whole]),
    )


@ALL
@pytest.mark.parametrize("name", ["pow", "atan2", "hypot"])
def test_functions_of_two_numbers_are_within_4_units(name: str, dtype: str) -> None:
    a, b = pairs(name, dtype, 2000)
    most, at = worst(values(name, a, b), exact_of_two(name, a, b), dtype)
    assert most <= MOST, (a[at], b[at])


@ALL
def test_sines_stay_within_1(dtype: str) -> None:
    x = near_turns(dtype, 20000, np.random.default_rng(1))
    for name in ("sin", "cos"):
        assert np.abs(values(name, x)).max() == 1.0


@ALL
@pytest.mark.parametrize("name", ["exp", "log1p", "sin", "erfc", "asinh"])
def test_fastmath_keeps_their_precision(name: str, dtype: str) -> None:
    x = np.random.default_rng(0).uniform(0.01, 9, 2000).astype(dtype)
    a = values(name, x, fastmath=True)
    assert worst(a, [exact(name, float(v)) for v in x], dtype)[0] <= MOST


@ALL
def test_fastmath_keeps_the_precision_of_powers(dtype: str) -> None:
    rng = np.random.default_rng(0)
    a, b = rng.uniform(0.5, 2, 2000).astype(dtype), rng.uniform(-80, 80, 2000).astype(dtype)
    assert worst(values("pow", a, b, fastmath=True), exact_of_two("pow", a, b), dtype)[0] <= MOST


# ---- edges


def edges(dtype: str) -> np.ndarray:
    info = np.finfo(dtype)
    top = 2.0 ** (info.nmant + 1)
    sizes = [0, 0.5, 1, 1.5, 2, 3, 1000, top / 2 - 0.5, top - 1, top, 2 * top, info.tiny, info.tiny / 2]
    sizes += [info.smallest_subnormal, info.max, math.inf]
    x = np.array(sizes, dtype)
    return np.concatenate([x, -x, np.array([math.nan], dtype)])


@ALL
@EACH
def test_edges_are_those_of_numpy(name: str, dtype: str) -> None:
    x = edges(dtype)
    operands = [x] if FUNCTIONS[name].arity == 1 else [m.ravel().copy() for m in np.meshgrid(x, x)]
    with np.errstate(all="ignore"):
        want = FUNCTIONS[name].numpy(*operands)
    found = values(name, *operands)
    assert found.dtype == want.dtype == dtype
    np.testing.assert_array_equal(np.isnan(found), np.isnan(want))
    number = ~np.isnan(want)
    np.testing.assert_array_equal(np.signbit(found[number]), np.signbit(want[number]))
    unit = float(np.finfo(dtype).smallest_subnormal)
    np.testing.assert_allclose(found, want, 8 * float(np.finfo(dtype).eps), 4 * unit)
    np.testing.assert_array_equal(found == 0, want == 0)


# ---- the same bits everywhere


@ALL
@EACH
def test_bits_do_not_depend_on_position_or_length(name: str, dtype: str) -> None:
    rng = np.random.default_rng(0)
    operands = [rng.normal(size=67).astype(dtype) * 2.0 ** rng.integers(-9, 9, 67).astype(dtype) for _ in range(2)]
    operands = operands[: FUNCTIONS[name].arity]
    whole = values(name, *operands)
    for start, stop in [(k, k + 1) for k in range(67)] + [(1, 67), (3, 36), (0, 31), (5, 12)]:
        part = values(name, *(x[start:stop].copy() for x in operands))
        np.testing.assert_array_equal(part, whole[start:stop])


@ALL
@pytest.mark.parametrize("name", ["sin", "cos", "tan"])
def test_arguments_that_are_reduced_otherwise_leave_their_neighbours_alone(name: str, dtype: str) -> None:
    far = FAR.single if dtype == "float32" else FAR.double
    near = np.random.default_rng(3).uniform(-far, far, 300).astype(dtype)
    near[:3] = np.nextafter(np.array([far, -far, 1e-3], dtype), np.dtype(dtype).type(0))
    third = np.arange(300) % 3 == 0
    mixed = np.where(third, np.maximum(np.abs(near), 1) * near.dtype.type(far), near)
    a, b = values(name, near), values(name, mixed)
    assert a[~third].tobytes() == b[~third].tobytes()
    for x, y in ((near, a), (mixed, b)):
        assert worst(y, [exact(name, float(v)) for v in x], dtype)[0] <= MOST


# ---- vector code


def fuses() -> bool:
    """Whether the processor has fused multiply-add; without it LLVM calls the C library for each."""
    return platform.machine() not in ("x86_64", "AMD64") or get_host_cpu_features().get("fma", False)


@pytest.mark.skipif(not fuses(), reason="no fused multiply-add here")
@ALL
@EACH
def test_loops_are_vectorised_and_call_nothing_else(name: str, dtype: str) -> None:
    llvm = compiled(name, dtype).stages["llvm"]
    kind, other = ("float", "double") if dtype == "float32" else ("double", "float")
    assert re.search(rf"= (fadd|fmul|fdiv)( afn)? <\d+ x {kind}>", llvm)
    called = set(re.findall(r"\bcall\b[^\n]*?@\"?([\w.]+)\"?\(", llvm))
    mathematical = {n for n in called if not n.startswith(("llvm.", "Py", "_Py", "_Z", "NRT_", "numba_"))} - {
        "sched_yield"
    }
    own = {n for n in mathematical if n.startswith("graphc_")}  # functions with a branch, in a form on vectors
    assert mathematical == own
    assert not own or any(re.search(r"_\d+$", n) for n in own)
    assert not re.search(rf"\b(fadd|fsub|fmul|fdiv|fcmp|fpext|fptrunc)\b[^\n]*\b{other}\b", llvm)


def test_coefficients_are_those_of_their_script() -> None:
    path = Path(__file__).parent.parent / "docs" / "fit_polynomials.py"
    spec = importlib.util.spec_from_file_location("fit_polynomials", path)
    assert spec is not None and spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    for name, _, function, low, high, single, double in script.FITS:
        held = getattr(coefficients, name)
        assert held.single == tuple(map(script.single, script.interpolated(function, low, high, single)))
        assert held.double == tuple(map(float, script.interpolated(function, low, high, double)))


FAST_FIRST = """
import numpy as np
import graphc as gx
edges = np.array([0.0, -0.0, 0.5, -3.0, 2.0, np.inf, -np.inf, np.nan])
a, b = (m.ravel().copy() for m in np.meshgrid(edges, edges))
for fastmath in (True, False):
    g = gx.Graph("powers")
    x, y = (g.input(n, shape=("n",), dtype="float64") for n in "xy")
    found = gx.compile([x, y], gx.pow(x, y), fastmath=fastmath, cache=False)(a, b)
with np.errstate(all="ignore"):
    assert np.array_equal(np.isnan(found), np.isnan(np.power(a, b)))
"""


def test_a_relaxed_kernel_leaves_functions_of_the_next_one_alone() -> None:
    done = subprocess.run([sys.executable, "-c", FAST_FIRST], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
