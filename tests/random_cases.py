"""Random graphs over all ops: rows of the op-case table, each fed by what others have made."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
from op_cases import CASES, Case

import graphc as gx
from graphc.ir.op import OPS

SHAPES: tuple[tuple[Any, ...], ...] = (("n",), (3, 4), ("n", 3), (2, "m"), ())
SIZES = {"n": 5, "m": 3}
LARGE = 60  # elements that a value has at most


@dataclass(frozen=True)
class Step:
    """A row of the table by its number, and for each operand which of the values before it is made of."""

    case: int
    operands: tuple[int, ...]


@dataclass(frozen=True)
class CaseGraph:
    """Inputs by their shapes, then steps; the mean of all that is not used further is differentiated."""

    seed: int
    shapes: tuple[tuple[Any, ...], ...]
    steps: tuple[Step, ...]
    dtype: str = "float64"

    def build(self) -> tuple[list[gx.Tensor], list[gx.Tensor]]:
        """Inputs, and outputs: a value, each step's result, and the gradients of the value."""
        g = gx.Graph(f"cases{self.seed}", float_dtype=self.dtype)
        inputs = [g.input(f"x{k}", s, self.dtype) for k, s in enumerate(self.shapes)]
        values = list(inputs)
        rng = np.random.default_rng(self.seed)
        made = []
        for step in self.steps:
            case = CASES[step.case]
            pairs = zip(step.operands, case.domains, case.shapes, strict=True)
            y = case.build(*(fitted(values[i], domain, shape, rng) for i, domain, shape in pairs))
            made.append(y)
            y = y if y.dtype == self.dtype else gx.astype(y, self.dtype)
            values.append(y if case.smooth else gx.stop_gradient(y))
        used = {i for step in self.steps for i in step.operands}
        ends = [v for k, v in enumerate(values) if k not in used and k >= len(inputs)]
        total = gx.mean(gx.stack([gx.mean(gx.tanh(0.1 * v)) for v in ends]))
        return inputs, [total, *made, *gx.grad(total, inputs, on_disconnected="zeros")]

    def arrays(self) -> list[np.ndarray]:
        rng = np.random.default_rng(self.seed)
        return [rng.uniform(0.3, 1.7, [SIZES.get(s, s) for s in shape]).astype(self.dtype) for shape in self.shapes]

    def names(self) -> str:
        """The steps for people."""
        base = len(self.shapes)
        return "; ".join(f"t{base + k} = {CASES[s.case].name}{s.operands}" for k, s in enumerate(self.steps))


def fitted(x: gx.Tensor, domain: tuple[float, float], shape: tuple[int, ...], rng: Any) -> gx.Tensor:
    """An operand of this shape within its domain, away from ties: a wave of ``x``, each element with another phase.

    Where ``x`` has too few elements they are at times repeated, at times its mean stands for all. The wave is one that
    compiles fast.
    """
    count, low, high = int(np.prod(shape)), *domain
    phase = x.graph.constant(rng.uniform(-2, 2, shape), x.dtype)
    have = int(np.prod(x.shape)) if all(isinstance(s, int) for s in x.shape) else 0
    if have >= count or (have > 1 and rng.random() < 0.25):
        flat = gx.reshape(x, (have,))
        flat = flat[:count] if have >= count else gx.take(flat, np.arange(count) % have)
        spread = gx.reshape(flat, shape)
    else:
        spread = gx.mean(x)
    v = phase + 0.7 * spread
    return 0.5 * (low + high) + 0.9 * (high - low) * (v / (1.0 + v * v))


@cache
def usable() -> tuple[int, ...]:
    """Rows whose result is of a size to go on with."""
    out = []
    for k, case in enumerate(CASES):
        g = gx.Graph("try", float_dtype="float64")
        y = case.build(*(g.input(f"x{j}", s, "float64") for j, s in enumerate(case.shapes)))
        if all(isinstance(s, int) for s in y.shape) and 0 < np.prod(y.shape) <= 600:
            out.append(k)
    return tuple(out)


def case_graph(seed: int, dtype: str = "float64") -> CaseGraph:
    """The graph of that seed: each row in turn, beside rows drawn at random."""
    rng = np.random.default_rng(seed)
    rows = usable()
    shapes = tuple(SHAPES[k] for k in rng.integers(0, len(SHAPES), rng.integers(1, 4)))
    steps: list[Step] = []
    turn = int(rng.integers(0, 5))
    for k in range(int(rng.integers(2, 6))):
        row = rows[seed % len(rows)] if k == turn % 2 else rows[rng.integers(len(rows))]
        made = len(shapes) + len(steps)
        picks = [int(rng.integers(max(0, made - 3), made)) for _ in CASES[row].shapes]
        steps.append(Step(int(row), tuple(picks)))
    return CaseGraph(seed, shapes, tuple(steps), dtype)


def smaller(graph: CaseGraph) -> Iterator[CaseGraph]:
    """The graph without one of its steps, another value in its place."""
    base = len(graph.shapes)
    for k, step in reversed(list(enumerate(graph.steps))):
        if len(graph.steps) == 1:
            return
        stand_in = step.operands[0]

        def moved(i: int, k: int = k, stand_in: int = stand_in) -> int:
            return stand_in if i == base + k else i - (i > base + k)

        rest = [replace(s, operands=tuple(map(moved, s.operands))) for j, s in enumerate(graph.steps) if j != k]
        yield replace(graph, steps=tuple(rest))


def shrunk(graph: CaseGraph, fails: Callable[[CaseGraph], bool]) -> CaseGraph:
    """A smaller graph that still fails."""
    while (found := next((s for s in smaller(graph) if fails(s)), None)) is not None:
        graph = found
    return graph


def ops_of(graph: CaseGraph) -> set[str]:
    """The ops in a graph and in its gradients."""
    inputs, _ = graph.build()
    return {n.op.name for n in inputs[0].graph.nodes} & set(OPS)


__all__ = ["SIZES", "Case", "CaseGraph", "case_graph", "ops_of", "shrunk", "usable"]
