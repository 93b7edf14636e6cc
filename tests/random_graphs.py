"""Random graphs: a list of steps that builds one, values for its inputs, and a script that rebuilds it alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

import graphc as gx

SIZES = {"n": 4, "m": 3, "k": 1}  # k turns out to be 1 when called
SHAPES = [(), ("n",), ("m",), (3,), ("n", "m"), ("n", 3), (1, "m"), ("n", 1), ("k", "m"), ("n", "k"), (2, "n", "m")]


@dataclass(frozen=True)
class Step:
    """One line of a script: ``t{k} = code`` with earlier values in ``{0}``, ``{1}``."""

    code: str
    operands: tuple[int, ...]


@dataclass(frozen=True)
class RandomGraph:
    """Inputs (their shapes) and steps; the last is reduced to a scalar and differentiated."""

    seed: int
    shapes: tuple[tuple[Any, ...], ...]
    steps: tuple[Step, ...]
    dtype: str = "float64"

    def build(self) -> tuple[list[gx.Tensor], list[gx.Tensor]]:
        """Inputs, and outputs: the value, some inner tensors, and the gradients."""
        g = gx.Graph(f"random{self.seed}", float_dtype=self.dtype)
        inputs = [g.input(f"x{k}", s, self.dtype) for k, s in enumerate(self.shapes)]
        values = list(inputs)
        for step in self.steps:
            names = {f"t{i}": values[i] for i in step.operands}
            code = step.code.format(*(f"t{i}" for i in step.operands))
            values.append(eval(code, {"gx": gx, **names}))
        y = gx.mean(gx.tanh(values[-1]))
        outputs = [y, *values[-2:], *gx.grad(y, inputs, on_disconnected="zeros")]
        return inputs, outputs

    def arrays(self) -> list[np.ndarray]:
        """Values between 0.3 and 1.7, away from kinks, ties and edges of domains."""
        rng = np.random.default_rng(self.seed)
        return [rng.uniform(0.3, 1.7, [SIZES.get(s, s) for s in shape]).astype(self.dtype) for shape in self.shapes]

    def script(self) -> str:
        """A program that shows the graph alone."""
        lines = ["import numpy as np", "import graphc as gx", f"g = gx.Graph('random', float_dtype={self.dtype!r})"]
        lines += [f"t{k} = g.input('x{k}', {s!r}, {self.dtype!r})" for k, s in enumerate(self.shapes)]
        for k, step in enumerate(self.steps, start=len(self.shapes)):
            lines.append(f"t{k} = " + step.code.format(*(f"t{i}" for i in step.operands)))
        inputs = ", ".join(f"t{k}" for k in range(len(self.shapes)))
        last = len(self.shapes) + len(self.steps) - 1
        lines += [f"y = gx.mean(gx.tanh(t{last}))", f"outputs = [y, *gx.grad(y, [{inputs}], on_disconnected='zeros')]"]
        lines += [f"rng = np.random.default_rng({self.seed})"]
        shapes = [tuple(SIZES.get(s, s) for s in shape) for shape in self.shapes]
        lines += [f"arrays = [rng.uniform(0.3, 1.7, s).astype({self.dtype!r}) for s in {shapes!r}]"]
        lines += [
            f"for backend in ('numba', 'numpy'):\n    print(gx.compile([{inputs}], outputs, backend=backend, unused='ignore')(*arrays))"
        ]
        return "\n".join(lines)


def gradient_of_a_product() -> gx.Executable:
    """A small graph whose result tells in which order LLVM has multiplied and added."""
    g = gx.Graph("product", float_dtype="float64")
    x, y = g.input("x", ("n",), "float64"), g.input("y", (), "float64")
    return gx.compile([x, y], gx.grad(gx.prod(y * x), [x, y]))


UNARY = [
    "gx.tanh({0})",
    "gx.exp(-{0} * {0})",
    "gx.sigmoid({0})",
    "gx.log1p({0} * {0})",
    "gx.sqrt({0} * {0} + 0.5)",
    "gx.softplus({0})",
    "gx.sin({0})",
    "-{0}",
    "{0} * 2.0 - 1.0",
    "1.0 / ({0} * {0} + 1.0)",
    "gx.where({0} > 0.9, {0}, {0} * 0.5)",
    "gx.relu({0} - 0.123)",
    "gx.maximum({0}, 0.456)",
    "gx.stop_gradient({0}) * {0}",
    "{0} ** 3",
]
REDUCTIONS = ["gx.sum", "gx.mean", "gx.max", "gx.logsumexp", "gx.prod", "gx.var"]
BINARY = [
    "{0} + {1}",
    "{0} - {1}",
    "{0} * {1}",
    "{0} / ({1} * {1} + 1.0)",
    "gx.maximum({0}, {1} + 0.0123)",
    "gx.logaddexp({0}, {1})",
]


def random_graph(seed: int, dtype: str = "float64") -> RandomGraph:
    """The graph of that seed."""
    rng = np.random.default_rng(seed)
    shapes = [SHAPES[i] for i in rng.integers(0, len(SHAPES), rng.integers(1, 4))]
    g = gx.Graph("try", float_dtype=dtype)
    values = [g.input(f"x{k}", s, dtype) for k, s in enumerate(shapes)]
    steps: list[Step] = []
    for _ in range(int(rng.integers(3, 14))):
        step = _step(rng, values)
        names = {f"t{i}": values[i] for i in step.operands}
        try:
            made = eval(step.code.format(*(f"t{i}" for i in step.operands)), {"gx": gx, **names})
            shape = [_size(s) for s in made.shape]
        except gx.GraphcError:
            continue  # shapes that do not fit
        if not all(shape) or np.prod(shape) > 400 or not _runs(made):
            continue
        values.append(made)
        steps.append(step)
    if not steps:
        return RandomGraph(seed, tuple(shapes), (Step("gx.tanh({0})", (0,)),), dtype)
    return RandomGraph(seed, tuple(shapes), tuple(steps), dtype)


def _size(size: Any) -> int:
    from graphc.ir import dims

    return dims.evaluate(size, SIZES)


def _runs(made: gx.Tensor) -> bool:
    """Sizes that meet only when called must fit."""
    node = made.graph.nodes
    from graphc.ir.graph import topological

    for n in topological(made.graph, [made.id]):
        if n.op.checks and not all(c.holds(SIZES) for c in n.op.checks([node[i].type for i in n.inputs], n.attrs)):
            return False
    return True


def _step(rng: np.random.Generator, values: Sequence[gx.Tensor]) -> Step:
    i, j = (int(v) for v in rng.integers(max(0, len(values) - 5), len(values), 2))
    x = values[i]
    kind = rng.integers(0, 10)
    if kind < 3:
        return Step(UNARY[rng.integers(len(UNARY))], (i,))
    if kind < 5:
        return Step(BINARY[rng.integers(len(BINARY))], (i, j))
    if kind < 7 and x.ndim:
        axis = int(rng.integers(0, x.ndim))
        keep = bool(rng.integers(0, 2))
        return Step(f"{REDUCTIONS[rng.integers(len(REDUCTIONS))]}({{0}}, axis={axis}, keepdims={keep})", (i,))
    if kind == 7 and x.ndim >= 2:
        choices = [
            "gx.matmul({0}, {1})",
            "gx.matmul({0}, gx.matrix_transpose({0}))",
            "gx.matmul({0}, gx.matrix_transpose({1}))",
        ]
        return Step(choices[rng.integers(3)], (i, j))
    if kind == 8 and x.ndim:
        axis = int(rng.integers(0, x.ndim))
        before = ":, " * axis
        choices = [
            f"{{0}}[{before}::-1]",
            f"{{0}}[{before}0]",
            f"{{0}}[{before}-1:]",
            f"{{0}}[{before}::2]",
            f"gx.concat([{{0}}, {{0}} * 2.0], {axis})",
            f"gx.expand_dims({{0}}, {axis})",
            "gx.permute_dims({0}, " + str(tuple(int(a) for a in rng.permutation(x.ndim))) + ")",
            "gx.reshape({0}, (-1,))",
            f"gx.softmax({{0}}, {axis})",
            f"gx.log_softmax({{0}}, {axis})",
            f"gx.take({{0}}, [0, 0, -1], {axis})",
            "gx.pad({0}, 1)",
        ]
        return Step(choices[rng.integers(len(choices))], (i,))
    return Step(UNARY[rng.integers(len(UNARY))], (i,))


def shrink(graph: RandomGraph, fails: Any) -> RandomGraph:
    """A smaller graph that still fails: steps are cut off the end, or replaced by one of their operands."""
    changed = True
    while changed:
        changed = False
        for k in reversed(range(len(graph.steps))):
            for smaller in _without(graph, k):
                try:
                    smaller.build()
                except Exception:
                    continue
                if fails(smaller):
                    graph, changed = smaller, True
                    break
            if changed:
                break
    return graph


def _without(graph: RandomGraph, k: int) -> list[RandomGraph]:
    base = len(graph.shapes)
    if k == len(graph.steps) - 1 and k > 0:
        return [RandomGraph(graph.seed, graph.shapes, graph.steps[:-1], graph.dtype)]
    out = []
    for stand_in in graph.steps[k].operands:
        steps = []
        for j, step in enumerate(graph.steps):
            if j == k:
                continue
            moved = tuple(stand_in if i == base + k else i - (i > base + k) for i in step.operands)
            steps.append(Step(step.code, moved))
        out.append(RandomGraph(graph.seed, graph.shapes, tuple(steps), graph.dtype))
    return out
