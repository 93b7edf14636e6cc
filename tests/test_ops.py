"""Every op against NumPy and SciPy, its derivatives against central differences, compiled and interpreted."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from op_case import chessboard, ends
from op_cases import CASES, ELSEWHERE, Case

import graphc as gx
from graphc.ir.op import OPS

IDS = [c.name for c in CASES]
GROUPS = [CASES[k : k + 12] for k in range(0, len(CASES), 12)]  # several ops in one kernel, to save compile time


KNOWN = (
    "reshape",
    "split",
    "tensordot",
    "rotary",
    "conv",
    "conv1d",
    "conv3d",
    "fold",
    "max_pool_pick",
)  # ops that need some of their sizes


def _inputs(g: gx.Graph, case: Case, dtype: str, symbolic: bool = False) -> list[gx.Tensor]:
    out = []
    for k, shape in enumerate(case.shapes):
        sizes = [f"{case.name}_{k}_{axis}" for axis in range(len(shape))] if symbolic else shape
        out.append(g.input(f"{case.name}_{k}", sizes, dtype))
    return out


def _close(found: object, expected: object, tolerance: float, name: str) -> None:
    found, expected = np.asarray(found), np.asarray(expected)
    assert found.shape == expected.shape, name
    np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance, err_msg=name)


@pytest.mark.parametrize("group, dtype", chessboard(GROUPS, ["float64", "float32"], ends))
def test_values(group: list[Case], dtype: str) -> None:
    values_agree(group, dtype, "numba")


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("group", GROUPS, ids=ends)
def test_values_by_the_interpreter(group: list[Case], dtype: str) -> None:
    values_agree(group, dtype, "numpy")


def values_agree(group: list[Case], dtype: str, backend: str) -> None:
    g = gx.Graph("cases", float_dtype=dtype)
    inputs, outputs, arrays, expected = [], {}, [], {}
    for case in group:
        tensors = _inputs(g, case, dtype)
        outputs[case.name] = case.build(*tensors)
        operands = case.arrays(dtype)
        expected[case.name] = case.oracle(*(a.astype("float64") for a in operands))
        inputs += tensors
        arrays += operands
    found = gx.compile(inputs, outputs, backend=backend)(*arrays)
    for case in group:
        tolerance = case.tolerance if dtype == "float64" else 3e-5
        _close(found[case.name], expected[case.name], tolerance, case.name)
        kind = np.asarray(expected[case.name]).dtype
        assert outputs[case.name].dtype == (
            np.dtype(dtype) if kind.kind == "f" and case.name != "astype" else outputs[case.name].dtype
        )


SPECIAL = np.array(
    [0.0, -0.0, 1.0, -1.0, np.inf, -np.inf, np.nan, 5e-324, 1e-310, 1e308, -1e308, 709.9, -745.0, 88.9, -104.0]
)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_special_values_of_elementwise_functions(dtype: str) -> None:
    cases = [
        c
        for c in CASES
        if c.special and len(c.shapes) == 1 and c.name in OPS and OPS[c.name].kind.value == "elementwise"
    ]
    cases = [c for c in cases if c.name not in ("astype", "logical_not")]
    assert len(cases) >= 40
    g = gx.Graph("special", float_dtype=dtype)
    x = g.input("x", ("n",), dtype)
    with np.errstate(all="ignore"):
        values = SPECIAL.astype(dtype)
        found = gx.compile([x], {c.name: c.build(x) for c in cases})(values)
        for c in cases:
            expected = np.asarray(c.oracle(values))
            np.testing.assert_allclose(
                found[c.name].astype(expected.dtype),
                expected,
                rtol=1e-12 if dtype == "float64" else 1e-5,
                atol=1e-37 if dtype == "float32" else 1e-320,
                err_msg=c.name,
            )


@pytest.mark.parametrize(
    "group",
    [[c for c in group if c.smooth] for group in GROUPS if any(c.smooth for c in group)],
    ids=ends,
)
@pytest.mark.parametrize("backend", ["numpy", pytest.param("numba", marks=pytest.mark.slow)])
def test_first_and_second_derivatives(group: list[Case], backend: str) -> None:
    """Of a random weighing of the result, along a random direction, against central differences with one refinement."""
    g = gx.Graph("derivatives", float_dtype="float64")
    inputs, arrays, outputs = [], [], {}
    rng = np.random.default_rng(1)
    for case in group:
        tensors = _inputs(g, case, "float64")
        operands = case.arrays("float64", seed=2)
        y = case.build(*tensors)
        weight = rng.normal(size=tuple(y.shape))
        value = gx.sum(y * g.constant(weight))
        first = gx.grad(value, tensors, on_disconnected="zeros")
        along = [rng.normal(size=a.shape) for a in operands]
        slope = sum((gx.sum(d * g.constant(v)) for d, v in zip(first, along, strict=True)), start=g.constant(0.0))
        second = gx.grad(slope, tensors, on_disconnected="zeros")
        bend = sum((gx.sum(d * g.constant(v)) for d, v in zip(second, along, strict=True)), start=g.constant(0.0))
        outputs[case.name] = value
        outputs[case.name + "'"] = slope
        outputs[case.name + "''"] = bend
        inputs += tensors
        arrays += list(zip(operands, along, strict=True))
    exe = gx.compile(inputs, outputs, backend=backend)

    def at(step: float) -> dict:
        return exe(*(a + step * v for a, v in arrays))

    h = 1e-3
    far, near, here = (at(2 * h), at(-2 * h)), (at(h), at(-h)), at(0.0)
    for case in group:
        for order in ("", "'"):
            key = case.name + order
            difference = (8 * (near[0][key] - near[1][key]) - (far[0][key] - far[1][key])) / (12 * h)
            found = here[key + "'"]
            scale = max(1.0, abs(difference))
            assert abs(found - difference) <= 2e-7 * scale, (key, found, difference)


def _declared(shape: tuple[int, ...], name: str, rng: np.random.Generator) -> list[int | str]:
    """Some sizes as they are, some under names of their own."""
    return [f"{name}_{axis}" if rng.random() < 0.6 else size for axis, size in enumerate(shape)]


@pytest.mark.parametrize("group", GROUPS, ids=ends)
def test_derivatives_of_partly_symbolic_sizes(group: list[Case]) -> None:
    """Interpreted: sizes that turn out to be equal, or 1, though their names differ, give what known sizes give."""
    rng = np.random.default_rng(5)

    def derivatives(case: Case, shapes: list[Any], arrays: list[np.ndarray]) -> list[np.ndarray]:
        g = gx.Graph("g", "float64")
        tensors = [g.input(f"x{k}", shape, "float64") for k, shape in enumerate(shapes)]
        y = case.build(*tensors)
        first = gx.grad(gx.sum(gx.sin(y)), tensors, on_disconnected="zeros")
        slopes = sum((gx.sum(gx.cos(d)) for d in first), start=g.constant(0.0))
        second = gx.grad(slopes, tensors, on_disconnected="zeros")
        return gx.compile(tensors, [y, *first, *second], backend="numpy", unused="ignore")(*arrays)

    for case in (c for c in group if c.smooth):
        for single in (0, *{s for shape in case.shapes for s in shape}):  # of which there is 1
            shapes = [tuple(1 if s == single else s for s in shape) for shape in case.shapes]
            arrays = [rng.uniform(*domain, shape) for domain, shape in zip(case.domains, shapes, strict=True)]
            try:
                expected = derivatives(case, shapes, arrays)
            except gx.GraphcError:  # not of this size
                continue
            for _ in range(2):
                declared = [_declared(shape, f"x{k}", rng) for k, shape in enumerate(shapes)]
                try:
                    found = derivatives(case, declared, arrays)
                except gx.ShapeError as error:
                    assert not isinstance(error, gx.InputShapeError), (case.name, declared)
                    assert {case.name, case.name.split("_")[0]} & {*KNOWN}, (case.name, declared)
                    continue
                for a, b in zip(found, expected, strict=True):
                    np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-11, err_msg=f"{case.name} {declared}")


@pytest.mark.parametrize("group", GROUPS, ids=ends)
def test_symbolic_sizes_give_the_same_bits_as_known_ones(group: list[Case]) -> None:
    """Interpreted, on the shapes that all cases are built for; ops that need known sizes say so."""
    for case in group:
        known, free = gx.Graph("k", "float64"), gx.Graph("s", "float64")
        a, b = _inputs(known, case, "float64"), _inputs(free, case, "float64", symbolic=True)
        try:
            symbolic = case.build(*b)
        except gx.ShapeError:
            assert {case.name, case.name.split("_")[0]} & {*KNOWN}
            continue
        arrays = case.arrays("float64")
        expected = gx.compile(a, case.build(*a), backend="numpy")(*arrays)
        found = gx.compile(b, symbolic, backend="numpy")(*arrays)
        np.testing.assert_array_equal(found, expected, err_msg=case.name)


def test_every_op_has_a_row() -> None:
    covered = {c.name for c in CASES} | {o for c in CASES for o in c.ops} | ELSEWHERE
    assert set(OPS) <= covered, set(OPS) - covered


# Operands without a derivative, and why
NO_DERIVATIVE = {
    "of a constant between jumps": "copysign1 floor0 ceil0 round0 trunc0 floor_divide0 floor_divide1 supremum0",
    "whole numbers": "arg_extreme_so_far0 argsort0 poisson_quantile0 poisson_quantile1",
    "indices, masks and what only gives an order or a shape": "after1 alignment_scores1 full_like0 max_pool_pick0 "
    "max_pool_put0 scatter_add0 scatter_max0 scatter_min0 scatter_multiply0 take1 where0",
    "words of a generator": "random_seed0 random_seed1 random_seed2 random_word0 random_word1 signed_uniform0 "
    "signed_uniform1 uniform0 uniform1",
    "what only a gradient reads": "clip_gradient1 clip_gradient2 scale_gradient1 stop_gradient0",
}


def test_every_operand_has_a_derivative_but_those_of_a_table() -> None:
    """Ops whose results are bools or no floats have no rules at all."""
    without = {
        f"{name}{slot}"
        for name, op in OPS.items()
        for slot, rule in enumerate(op.gradient if isinstance(op.gradient, tuple) else ())
        if rule is None
    }
    assert without == {name for names in NO_DERIVATIVE.values() for name in names.split()}
    free = {name for name, op in OPS.items() if op.gradient == () and op.kind.value in ("elementwise", "reduction")}
    names = "all any checked_index equal greater greater_equal isfinite isinf isnan less less_equal not_equal"
    assert free == {*names.split(), "logical_and", "logical_not", "logical_or", "logical_xor"}


@pytest.mark.parametrize("backend", ["numba", "numpy"])
def test_floor_division_at_infinity(backend: str) -> None:
    g = gx.Graph("division")
    x, y = g.input("x", ("n",), "float32"), g.input("y", ("n",), "float32")
    a = np.array([5, 0, -0.0, -5, np.inf, np.nan], np.float32)
    b = np.array([np.inf, np.inf, -np.inf, np.inf, 2, np.inf], np.float32)
    found = gx.compile([x, y], [x // y, x % y], backend=backend)(a, b)
    with np.errstate(invalid="ignore"):
        np.testing.assert_array_equal(found, [a // b, a % b])
