"""Every elementwise op for every dtype: compiled, interpreted and NumPy agree in value and dtype."""

from __future__ import annotations

import itertools
import warnings
from typing import Any

import numpy as np
import pytest
from op_case import chessboard
from op_cases import CASES, Case

import graphc as gx
from graphc.ir.op import OPS, Kind
from graphc.ir.types import DTYPES
from graphc.reference import evaluate

NAMES = tuple(DTYPES)
ELEMENTWISE = [c for c in CASES if (c.name in OPS and OPS[c.name].kind is Kind.ELEMENTWISE) or c.name == "positive"]
# Tested below, and with what they are part of
APART = {
    "where",
    "astype",
    "checked_index",
    "identity",
    "full_like",
    "polygamma",
    "one_minus_square",
    "atan2_slope",
    "lerp",
    "weigh",
    "scale_gradient",
    "clip_gradient",
    "random_seed",  # tests/test_control.py
    # tests/test_gamma.py
    "betainc",
    "gamma_quantile",
    "gammainc",
    "gammaincc",
    "gammainc_by_a",
    "gammainc_by_aa",
    "poisson_quantile",
    "zeta",
}
UNARY = [c for c in ELEMENTWISE if len(c.domains) == 1 and c.name not in APART]
BINARY = [c for c in ELEMENTWISE if len(c.domains) == 2 and c.name not in APART]
REFUSED = {("neg", "bool"), ("sign", "bool"), ("subtract", "bool")}
# What gives the graph's float of integers and bools, whatever the function that stands in for NumPy's does
FLOATS = {"rsqrt", "lgamma", "digamma", "sigmoid", "softplus", "log_sigmoid", "log1mexp", "xlogy", "xlog1py"}
FLOATS |= {"i0e", "i1e"}
FLOATS |= {"erf", "erfc", "erfinv", "erfcinv", "beta_ln", "softsign", "isnan", "isinf", "isfinite"}
# Functions that round once at most; others of floats have tests of their own
EXACT = {"neg", "abs", "sign", "floor", "ceil", "round", "trunc", "relu", "positive", "isnan", "isinf", "isfinite"}
EXACT |= {"logical_not", "stop_gradient", "sqrt"}
# A zero of either sign is the larger of two; NumPy's choice depends on its own vectors
EITHER_ZERO = {"maximum", "minimum", "fmax", "fmin", "relu"}


def values(dtype: str) -> np.ndarray:
    """Edges of a dtype and a few numbers between."""
    if dtype == "bool":
        return np.array([False, True])
    if dtype == "uint8":
        return np.array([0, 1, 2, 3, 5, 7, 64, 127, 128, 200, 254, 255], dtype)
    if dtype in ("int32", "int64"):
        info = np.iinfo(dtype)
        return np.array([0, 1, -1, 2, -2, 3, -3, 4, -7, 10, 31, 64, 100, -128, info.max, info.min, info.min + 1], dtype)
    numbers = [0, -0.0, 1, -1, 2.5, -2.5, 0.5, -1.5, 3, -4, 1e10, -1e10, np.inf, -np.inf, np.nan, 7, 1e-30, -3e7]
    return np.array(numbers, dtype)


def oracle(case: Case, *operands: np.ndarray) -> np.ndarray:
    """NumPy's result; where its dtype is one that graphc has not, float16 or int8, of float64 or int64 operands."""
    if case.name == "pow" and operands[1].dtype.kind == "i":
        return integer_power(*operands)
    if case.name in ("floor", "ceil", "trunc", "round") and operands[0].dtype.kind != "f":
        return operands[0]  # as NumPy 2.1 and later, bools too
    always = case.name in FLOATS or (case.name == "relu" and operands[0].dtype == bool)
    if always and operands[0].dtype.kind != "f":
        operands = tuple(x.astype("float64") for x in operands)
    found = np.asarray(case.oracle(*operands))
    narrow = found.dtype == np.float32 and all(
        x.dtype.kind != "f" for x in operands
    )  # as older SciPy has small integers
    if found.dtype.name in DTYPES and not narrow:
        return found
    wide = "int64" if found.dtype == np.int8 else "float64"
    return np.asarray(case.oracle(*(x.astype(wide) for x in operands)))


def integer_power(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """By Python's integers and fractions."""
    wrap, out = 1 << 8 * a.itemsize, []
    for x, n in zip(a.tolist(), b.tolist(), strict=True):
        power = pow(x, n, wrap) if n >= 0 else 0 if x not in (1, -1) else x ** (n & 1)
        out.append(power - wrap if power >= wrap // 2 and a.dtype.kind == "i" else power)
    return np.array(out, a.dtype)


def agree(found: np.ndarray, want: np.ndarray, name: str, tolerance: float = 0.0) -> None:
    assert (found.dtype, found.shape) == (want.dtype, want.shape), name
    eps = float(np.finfo(want.dtype).eps) if want.dtype.kind == "f" else 0.0
    np.testing.assert_allclose(found, want, rtol=max(16 * eps, tolerance), atol=0, err_msg=name)
    if want.dtype.kind == "f" and name.split(" ")[0] not in EITHER_ZERO:
        zero = want == 0
        np.testing.assert_array_equal(np.signbit(found[zero]), np.signbit(want[zero]), err_msg=name)


def three_ways(g: gx.Graph, inputs: list[gx.Tensor], outputs: dict[str, gx.Tensor], arrays: list[np.ndarray]) -> Any:
    """Compiled, by ``backend="numpy"``, and by the interpreter on the graph as it was written."""
    found = [gx.compile(inputs, outputs, backend=backend)(*arrays) for backend in ("numba", "numpy")]
    plain = evaluate(list(outputs.values()), {t.name: a for t, a in zip(inputs, arrays, strict=True)})
    return [*found, dict(zip(outputs, plain, strict=True))]


def check(cases: list[Case], dtype: str, arrays: list[np.ndarray]) -> None:
    cases = [c for c in cases if (c.name, dtype) not in REFUSED]
    g = gx.Graph("dtypes", float_dtype="float64")
    inputs = [g.input(f"x{k}", ("n",), dtype) for k in range(len(arrays))]
    outputs = {c.name: c.build(*inputs) for c in cases}
    with np.errstate(all="ignore"):
        expected = {c.name: oracle(c, *arrays) for c in cases}
    for way, found in zip(("compiled", "numpy", "plain"), three_ways(g, inputs, outputs, arrays), strict=True):
        for case in cases:
            want, got = expected[case.name], np.asarray(found[case.name])
            if case.special or case.name not in FLOATS:
                agree(got, want, f"{case.name} of {dtype}, {way}", case.tolerance if case.tolerance > 1e-13 else 0.0)
            assert got.dtype == want.dtype, case.name


def test_every_elementwise_op_is_here() -> None:
    covered = {c.name for c in UNARY + BINARY} | APART
    assert {name for name, op in OPS.items() if op.kind is Kind.ELEMENTWISE} - covered == set()


@pytest.mark.parametrize("dtype", NAMES)
def test_functions_of_one_operand(dtype: str) -> None:
    x = np.tile(values(dtype), 5)
    check(UNARY if dtype[0] != "f" else [c for c in UNARY if c.name in EXACT], dtype, [x])


@pytest.mark.parametrize("dtype", NAMES)
def test_functions_of_two_operands(dtype: str) -> None:
    a, b = (x.ravel().copy() for x in np.meshgrid(values(dtype), values(dtype)))
    inexact = ("xlogy", "xlog1py", "pow", "logaddexp") if dtype[0] == "f" else ()
    check([c for c in BINARY if c.name not in inexact], dtype, [a, b])


def test_operands_of_two_dtypes() -> None:
    """Integers and bools meet as NumPy's; a float is taken before them, and floats meet in the wider one."""
    for one, other in itertools.product(NAMES, NAMES):
        floats = [d for d in (one, other) if d[0] == "f"]
        met = np.result_type(*(floats or (one, other))).name
        g = gx.Graph("dtypes", float_dtype="float64")
        x, y = g.input("x", (3,), one), g.input("y", (3,), other)
        for case in BINARY:
            if (case.name, met) not in REFUSED:
                want = oracle(case, *(np.ones(3, met),) * 2).dtype
                assert case.build(x, y).dtype == want, (case.name, one, other)


@pytest.mark.parametrize("dtype", NAMES)
def test_where_and_identity_keep_every_dtype(dtype: str) -> None:
    x = np.tile(values(dtype), 5)
    g = gx.Graph("dtypes", float_dtype="float64")
    a, c = g.input("a", ("n",), dtype), g.input("c", ("n",), "bool")
    arrays = [x, np.arange(len(x)) % 3 == 0]
    outputs = {"where": gx.where(c, a, a[::-1]), "identity": gx.identity(a)}
    for found in three_ways(g, [a, c], outputs, arrays):
        np.testing.assert_array_equal(found["where"], np.where(arrays[1], x, x[::-1]), strict=True)
        np.testing.assert_array_equal(found["identity"], x, strict=True)


# ---- casts


def cast_value(x: float, dtype: str) -> int:
    """A float as an integer, by Python's integers."""
    width = 64 if dtype == "int64" else 32
    whole = int(x) if np.isfinite(x) else 1 << 70
    whole = whole if -(2 ** (width - 1)) <= whole < 2 ** (width - 1) else -(2 ** (width - 1))
    return whole & 255 if dtype == "uint8" else whole


@pytest.mark.parametrize("source", NAMES)
def test_casts(source: str) -> None:
    x = values(source)
    if source[0] == "f":
        edges = [2.0**k + d for k in (7, 8, 31, 32, 53, 63, 64) for d in (-1, -0.5, 0, 0.5, 1)]
        edges += [0.9, 1.9, 255.9, 300, 3e9, 1e19, 1e30, 16777217, 2147483583]
        x = np.concatenate([x, np.array(edges, source), -np.array(edges, source)])
    g = gx.Graph("casts", float_dtype="float64")
    t = g.input("x", ("n",), source)
    outputs = {d: gx.astype(t, d) for d in NAMES}
    for found in three_ways(g, [t], outputs, [x]):
        for dtype in NAMES:
            whole = source[0] == "f" and dtype in ("uint8", "int32", "int64")
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                want = np.array([cast_value(float(v), dtype) for v in x], dtype) if whole else x.astype(dtype)
            np.testing.assert_array_equal(found[dtype], want, f"{source} to {dtype}", strict=True)


@pytest.mark.parametrize("source", ["float32", "float64"])
def test_a_cast_does_not_depend_on_the_place_in_the_array(source: str) -> None:
    g = gx.Graph("casts")
    x = g.input("x", ("n",), source)
    exe = gx.compile([x], {d: gx.astype(x, d) for d in ("uint8", "int32", "int64")})
    for value, n in itertools.product((-1.0, -1.9, 256.0, 300.0, 3e9, -3e9, 1e30, np.nan, np.inf), (1, 3, 20, 67)):
        for dtype, found in exe(np.full(n, value, source)).items():
            assert set(found.tolist()) == {cast_value(value, dtype)}, (value, n, dtype)


# ---- integers to negative powers


def test_a_negative_power_of_an_integer_is_an_error_when_built() -> None:
    g = gx.Graph("power")
    x, u = g.input("x", ("n",), "int64"), g.input("u", ("n",), "bool")
    for build in (lambda: x**-1, lambda: gx.pow(x, np.array(-2)), lambda: gx.pow(x, [1, -1]), lambda: u**-1):
        with pytest.raises(gx.DTypeError, match="to the negative power"):
            build()
    assert (x**-1.0).dtype == "float32" and (x ** g.constant(-1)).dtype == "int64"


def test_a_tensor_may_turn_out_a_negative_power() -> None:
    g = gx.Graph("power")
    x, n = g.input("x", ("n",), "int64"), g.input("n", ("n",), "int64")
    exponents = g.constant(np.array([-1, -2, -3, -1, -1]))
    base = np.array([1, -1, -1, 0, 7])
    for backend in ("numba", "numpy"):
        found = gx.compile([x, n], [x**n, x**exponents], backend=backend)(base, np.array([-1, -2, -3, -1, -1]))
        assert [f.tolist() for f in found] == [[1, 1, -1, 0, 0]] * 2


# ---- all ops


def guarded(shape: tuple[int, ...], dtype: np.dtype) -> tuple[np.ndarray, list[np.ndarray]]:
    """An array, and the bytes before and behind it, which nobody is to write."""
    margin, size = 256, int(np.prod(shape)) * dtype.itemsize
    memory = np.full(size + 2 * margin + 64, 0xA5, np.uint8)
    start = margin - (memory.ctypes.data + margin) % 64 + 64
    return memory[start : start + size].view(dtype).reshape(shape), [memory[:start], memory[start + size :]]


@pytest.mark.parametrize("part, dtype", chessboard(range(4), NAMES, every=4))
def test_every_op_takes_every_dtype_or_refuses_it_and_writes_its_results_alone(part: int, dtype: str) -> None:
    g = gx.Graph("dtypes")
    inputs, outputs, arrays = [], [], []
    for k, case in enumerate(CASES[part::4]):
        operands = [g.input(f"x{k}_{j}", s, dtype) for j, s in enumerate(case.shapes)]
        try:
            outputs.append(case.build(*operands))
        except gx.GraphcError:
            continue
        inputs += operands
        arrays += case.arrays(dtype)
    compiled, interpreted = (
        gx.compile(inputs, outputs, backend=b, unused="ignore", cache=False) for b in ("numba", "numpy")
    )
    with np.errstate(all="ignore"):
        expected = [np.asarray(a) for a in interpreted(*arrays)]
    pairs = [guarded(a.shape, a.dtype) for a in expected]
    compiled(*arrays, out=[array for array, _ in pairs])
    for node, want, (found, around) in zip(outputs, expected, pairs, strict=True):
        tolerance = 1e-5 if want.dtype.kind == "f" else 0
        np.testing.assert_allclose(found, want, tolerance, tolerance, err_msg=f"{node.name} of {dtype}")
        assert all((m == 0xA5).all() for m in around), f"{node.name} of {dtype} writes beside its result"
