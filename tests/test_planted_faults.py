"""Faults planted in gradient rules, one at a time: the derivatives of the op cases notice each of them.

A fault is a wrong sign, a wrong factor, a gradient left out, or a cotangent of a broadcast operand that is not summed
back. Each is looked for by what `test_ops.test_first_and_second_derivatives` compares: first and second derivatives
along a direction, against central differences.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
from op_cases import CASES, Case

import graphc as gx
from graphc.derive import reverse
from graphc.ir.op import OPS, Op
from graphc.reference import evaluate

STEP = 1e-3


def _sign(rule: Callable[..., Any]) -> Callable[..., Any]:
    return lambda *args: None if (out := rule(*args)) is None else -out


def _factor(rule: Callable[..., Any]) -> Callable[..., Any]:
    return lambda *args: None if (out := rule(*args)) is None else out * 1.01


def _dropped(rule: Callable[..., Any]) -> Callable[..., Any]:
    return lambda *args: None if (out := rule(*args)) is None else out * 0.0


FAULTS = {"sign": _sign, "factor": _factor, "left out": _dropped}
# Rules that no derivative of a case asks for: what they are for is not the derivative of the value
BESIDE = {
    "scale_gradient": "its gradient is another than its derivative",
    "clip_gradient": "its gradient is another than its derivative",
    "own_gradient": "its gradient is the user's",
    "after": "its second operand has no derivative",
    "astype": "differences do not see float32",
    "sign": "its derivative is 0",
    "sum_broadcast": "sums over sizes that may turn out to be 1, in test_sizes.py",
}


def _derivatives(case: Case) -> tuple[list[gx.Tensor], list[gx.Tensor], list[Any], list[Any]]:
    """Inputs; the value, slope and bend along a direction; operands, and the direction."""
    rng = np.random.default_rng(1)
    g = gx.Graph("case", float_dtype="float64")
    xs = [g.input(f"x{k}", shape, "float64") for k, shape in enumerate(case.shapes)]
    operands = case.arrays("float64", seed=2)
    along = [rng.normal(size=a.shape) for a in operands]
    y = case.build(*xs)
    made = [gx.sum(y * g.constant(rng.normal(size=tuple(y.shape))))]
    for _ in range(2):
        first = gx.grad(made[-1], xs, on_disconnected="zeros")
        made.append(sum((gx.sum(d * g.constant(v)) for d, v in zip(first, along, strict=True)), start=g.constant(0.0)))
    return xs, made, operands, along


def wrong(case: Case) -> bool:
    """Whether first or second derivatives differ from central differences, as in `test_ops`."""
    try:
        xs, made, operands, along = _derivatives(case)

        def at(step: float) -> Any:
            feeds = {x.name: a + step * v for x, a, v in zip(xs, operands, along, strict=True)}
            return evaluate(made, feeds)

        far, near, here = (at(2 * STEP), at(-2 * STEP)), (at(STEP), at(-STEP)), at(0.0)
    except (gx.GraphcError, ValueError, TypeError):
        return True
    for order in range(2):
        difference = (8 * (near[0][order] - near[1][order]) - (far[0][order] - far[1][order])) / (12 * STEP)
        if not abs(here[order + 1] - difference) <= 2e-7 * max(1.0, abs(difference)):
            return True
    return False


@cache
def cases_with() -> dict[str, list[Case]]:
    """Cases by the ops in them and in their derivatives, the smallest graphs first."""
    out: dict[str, list[tuple[int, Case]]] = {}
    for case in (c for c in CASES if c.smooth):
        xs, _, _, _ = _derivatives(case)
        for name in {n.op.name for n in xs[0].graph.nodes}:
            out.setdefault(name, []).append((len(xs[0].graph.nodes), case))
    return {name: [c for _, c in sorted(found, key=lambda pair: pair[0])] for name, found in out.items()}


def candidates() -> Iterator[tuple[str, int | None, str]]:
    """Ops with a rule, the operand that it is for, and what may be wrong with it."""
    for name, op in sorted(OPS.items()):
        if name in BESIDE or not op.gradient:
            continue
        rules = op.gradient if isinstance(op.gradient, tuple) else (op.gradient,)
        for slot, rule in enumerate(rules):
            for fault in FAULTS if rule is not None else ():
                yield name, slot if isinstance(op.gradient, tuple) else None, fault
        if op.kind.value == "elementwise" and op.arity and op.arity > 1 and any(r is not None for r in rules):
            yield name, None, "not summed back"


def planted(name: str, slot: int | None, fault: str, patch: pytest.MonkeyPatch) -> None:
    op: Op = OPS[name]
    if fault == "not summed back":
        _planted_sum(name, patch)
        return
    change = FAULTS[fault]
    if slot is None:
        assert callable(op.gradient)
        patch.setitem(OPS, name, replace(op, gradient=change(op.gradient)))
    else:
        rules = [r if k != slot else change(r) for k, r in enumerate(op.gradient)]  # type: ignore[arg-type]
        patch.setitem(OPS, name, replace(op, gradient=tuple(rules)))


def _planted_sum(name: str, patch: pytest.MonkeyPatch) -> None:
    """The first element along the axes of a broadcast operand in place of the sum."""
    part, whole, now = reverse._Walk.part, reverse.sum_to, [""]

    def watched(self: Any, node: Any, slot: int, given: Any) -> Any:
        now[0] = node.op.name
        return part(self, node, slot, given)

    def first(x: gx.Tensor, shape: Any) -> gx.Tensor:
        if now[0] != name or x.shape == shape:
            return whole(x, shape)
        lead = x.ndim - len(shape)
        index = tuple(0 if a < lead else slice(0, 1) if shape[a - lead] == 1 else slice(None) for a in range(x.ndim))
        return x[index]

    patch.setattr(reverse._Walk, "part", watched)
    patch.setattr(reverse, "sum_to", first)


def noticed(name: str, slot: int | None, fault: str) -> str:
    """The case that notices a fault; empty where none does."""
    with pytest.MonkeyPatch.context() as patch:
        planted(name, slot, fault, patch)
        return next((c.name for c in cases_with().get(name, ()) if wrong(c)), "")


def test_without_a_fault_nothing_is_noticed() -> None:
    names = ("multiply", "tanh", "sum", "cumsum", "matmul", "where", "take")
    assert not [c.name for c in CASES if c.name in names and wrong(c)]


def test_some_planted_faults_are_noticed() -> None:
    assert noticed("multiply", 0, "sign") and noticed("tanh", 0, "factor") and noticed("add", None, "not summed back")


@pytest.mark.parametrize("count", [25, pytest.param(100, marks=pytest.mark.slow)])
def test_planted_faults_are_noticed(count: int) -> None:
    """As many of them, by a seed."""
    every = list(candidates())
    assert len(every) > 400
    chosen = [every[k] for k in np.random.default_rng(0).permutation(len(every))[:count]]
    missed = [f for f in chosen if not noticed(*f)]
    assert not missed, f"{len(missed)} unnoticed: {missed}"


@pytest.mark.slow
def test_every_planted_fault_is_noticed() -> None:
    missed = [f for f in candidates() if not noticed(*f)]
    assert not missed, f"{len(missed)} unnoticed: {missed}"


def test_a_cast_hands_its_cotangent_on() -> None:
    g = gx.Graph("cast", float_dtype="float64")
    x = g.input("x", (3,))
    slope = gx.grad(gx.sum(x.astype("float32") * 3.0), x)
    assert slope.dtype == "float64" and evaluate([slope], {"x": np.zeros(3)})[0].tolist() == [3, 3, 3]
