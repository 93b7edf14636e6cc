"""What debug executables say: which element of which node is at fault, as the interpreter finds it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np

from graphc.codegen.watch import guarded, hands_on, may_be_infinite
from graphc.errors import InputIndexError, NumericalError, ShapeError
from graphc.ir import dims
from graphc.ir.body import Body, bodies
from graphc.ir.dims import Size
from graphc.ir.graph import Graph
from graphc.ir.node import Node
from graphc.ir.op import Kind
from graphc.ir.state import Array
from graphc.ir.types import is_float
from graphc.reference import WATCHER, Sizes, evaluate, run_control, run_node
from graphc.run.program import Program
from graphc.schedule.access import Index
from graphc.schedule.nested import NEST
from graphc.schedule.plan import Control, Form, Product, Schedule
from graphc.schedule.stages import statements_in

TESTED = ("nan", "inputs")  # values of ``debug`` that test numbers in kernels
SUBSTITUTE = 0.61803  # stands for a NaN, to see whether anything depends on it


@dataclass(frozen=True, slots=True)
class Fault:
    """An element that is NaN, or infinite although its operands are finite; of a loop or branch, one in its body."""

    node: Node
    index: tuple[int, ...] = ()
    inner: Inner | None = None


@dataclass(frozen=True, slots=True)
class Values:
    """All values of a graph, by number, for one example; ``inside`` has the first fault of bodies, by their id."""

    graph: Graph
    of: Sequence[Array]
    sizes: Sizes
    inside: Mapping[int, Inner]


@dataclass(frozen=True, slots=True)
class Inner:
    """A fault in a body: how many other bodies had one before, at what step of the loop, all values there."""

    order: int
    step: int
    values: Values
    fault: Fault


def examine(
    program: Program, given: Mapping[str, Array], state: Mapping[str, Array], sizes: Sizes, passed: bool
) -> list[Array]:
    """What the program returns, and its next values; NumericalError for the first value that is at fault.

    Where ``passed``, NaN and infinity among the arrays given are at fault too. The program that runs is examined, not
    the graph as written: what a rule for stability computes otherwise is no fault. The error names the user's node.
    """

    def values_of(graph: Graph) -> Values:
        inside: dict[int, Inner] = {}

        def seen(body: Body, passed: Sequence[Any], values: list[Any]) -> None:
            found = Values(body.graph, values, sizes, inside)
            if id(body) not in inside and (first := next(_faults(found, False), None)) is not None:
                step = int(passed[0]) if np.ndim(passed[0]) == 0 else 0  # a branch has none
                inside[id(body)] = Inner(len(inside), step, found, first)

        token = WATCHER.set(seen)
        try:
            return Values(graph, evaluate(graph.tensors, given, state, sizes), sizes, inside)
        finally:
            WATCHER.reset(token)

    values = values_of(program.optimised)
    fault = next(_faults(values, passed), None)
    if fault is None:
        return [values.of[t.id] for t in values.graph.outputs]
    if not _same(fault.node, program.source):
        source = values_of(program.source)
        place = fault.node.origin, fault.node.forward
        there = (f for f in _faults(source, passed) if (f.node.origin, f.node.forward) == place)
        if (found := next(there, None)) is not None:
            values, fault = source, found
    raise _error(values, fault)


def _same(node: Node, source: Graph) -> bool:
    """Whether a node of the rewritten graph is the user's of its name."""
    if node.name not in source:
        return False
    other = source[node.name].node
    return (node.op, node.origin, node.forward) == (other.op, other.origin, other.forward)


def _faults(values: Values, passed: bool) -> Iterator[Fault]:
    """The first faulty element of each node, in order."""
    graph, chosen = values.graph, guarded(values.graph)
    for node in graph.nodes:
        if within := [values.inside[id(body)] for _, body in bodies(node) if id(body) in values.inside]:
            yield Fault(node, inner=min(within, key=lambda inner: inner.order))
        y = values.of[node.id]
        if not is_float(node.type.dtype) or hands_on(node) or np.isfinite(y).all():
            continue
        if node.op.kind is Kind.LEAF:
            bad = ~np.isfinite(y) & (passed and node.op.name == "input")
        else:
            bad = np.isnan(y) | _made_infinite(values, node)
        if not bad.any():
            continue
        first = _first_taken(values, node, bad, chosen) if node.id in chosen else int(np.argmax(bad))
        if first is not None:
            yield Fault(node, tuple(int(k) for k in np.unravel_index(first, y.shape)))


def _made_infinite(values: Values, node: Node) -> Array:
    """Which elements are infinite although what they are made of is finite."""
    graph, y = values.graph, values.of[node.id]
    infinite = np.isinf(y)
    if may_be_infinite(node):
        return np.zeros_like(infinite)
    operands = [values.of[i] for i in node.inputs]
    unsound = [k for k, i in enumerate(node.inputs) if is_float(graph.nodes[i].type.dtype)]
    unsound = [k for k in unsound if not np.isfinite(operands[k]).all()]
    if not unsound or not infinite.any():
        return infinite
    if node.op.kind is Kind.ELEMENTWISE:
        return reduce(np.logical_and, (np.isfinite(operands[k]) for k in unsound), infinite)
    for k in unsound:  # a sum, a product: infinite as well where nothing infinite went into it
        operands[k] = np.where(np.isfinite(operands[k]), operands[k], 0)
    with np.errstate(all="ignore"):
        return infinite & np.isinf(run_node(graph, node, operands, values.sizes))


def _first_taken(values: Values, node: Node, bad: Array, chosen: set[int]) -> int | None:
    """The first of these elements that a selection takes: another number in its place changes what it gives."""
    graph, y = values.graph, values.of[node.id]
    after = {node.id}
    for later in graph.nodes[node.id + 1 :]:
        if any(i in after and i in chosen for i in later.inputs):
            after.add(later.id)
    rest = [graph.nodes[i] for i in sorted(after - {node.id})]
    largest = np.finfo(y.dtype).max
    sound = np.where(np.isnan(y), SUBSTITUTE, np.clip(y, -largest, largest)).astype(y.dtype)
    places = np.flatnonzero(bad)

    def taken(count: int) -> bool:
        """Whether any of the first so many is."""
        changed = y.copy()
        changed.flat[places[:count]] = sound.flat[places[:count]]
        new = {node.id: changed}
        for later in rest:
            with np.errstate(all="ignore"):
                operands = [new.get(i, values.of[i]) for i in later.inputs]
                new[later.id] = run_node(graph, later, operands, values.sizes)
            if later.id not in chosen and not np.array_equal(new[later.id], values.of[later.id], equal_nan=True):
                return True
        return False

    if not taken(len(places)):
        return None
    low, high = 0, len(places)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if taken(middle) else (middle, high)
    return int(places[low])


# ---- words


def _error(values: Values, fault: Fault) -> NumericalError:
    outer, steps, path = fault.node, list[int](), ""
    while (inner := fault.inner) is not None:
        if fault.node.op.name != "cond":
            steps.append(inner.step)
        path += f"{fault.node.name}{f', step {inner.step}' * (fault.node.op.name != 'cond')}: "
        values, fault = inner.values, inner.fault
    node, graph = fault.node, values.graph
    value = float(values.of[node.id][fault.index])
    operands = {graph.nodes[i].name: _operand(values, node, i, fault.index) for i in node.inputs}
    made = ", ".join(f"{name} = {_text(operand)}" for name, operand in operands.items())
    where = f" at {_shown(fault.index)}" if fault.index else ""
    gave = f"{_text(value)} was passed" if node.op.kind is Kind.LEAF else f"{node.op.name} gave {_text(value)}"
    text = f"{path}{node.name}: {gave}{where}{', for ' * bool(made)}{made}"
    if node.op.fails and all(np.isfinite(values.of[i]).all() for i in node.inputs):
        text += f"; {node.op.fails}"
    forward = outer.forward if outer.forward is not None else node.forward
    if forward is not None:
        text += f"; it is a part of the gradient at {forward}"
    return NumericalError(
        text, node=outer.name, origin=node.origin, index=fault.index, value=value, operands=operands,
        forward=forward, steps=tuple(steps), inner=node.name if node is not outer else None,
    )  # fmt: skip


def _operand(values: Values, node: Node, operand: int, index: tuple[int, ...]) -> Any:
    """The element of an operand that an element was made of, as a number; of others a line on the array."""
    x = values.of[operand]
    if node.op.kind is Kind.ELEMENTWISE or x.ndim == 0:
        offset = len(index) - x.ndim
        return x[tuple(k if n > 1 else 0 for k, n in zip(index[offset:], x.shape, strict=True))].item()
    shape = f"{x.dtype}[{', '.join(map(str, x.shape))}]"
    if not x.size:
        return shape
    finite = x[np.isfinite(x)] if is_float(x.dtype) else x.ravel()
    line = f"{shape} from {_text(finite.min().item())} to {_text(finite.max().item())}" if finite.size else shape
    return line + (f", {x.size - finite.size} not finite" if finite.size < x.size else "")


def _text(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _shown(index: tuple[int, ...]) -> str:
    return f"[{', '.join(map(str, index))}]"


# ---- shapes and bounds


def compare_shapes(program: Program, arrays: Sequence[Array], state: Mapping[str, Array], sizes: Sizes) -> None:
    """ShapeError, naming the node, where what its function gives has not the shape and dtype that it declares."""
    graph = program.source
    given = dict(zip(program.inputs, arrays, strict=True))
    values: list[Any] = []
    value: Any
    read: dict[int, set[int]] = {}
    for node in graph.nodes:
        if node.op.kind is Kind.RESULT:
            read.setdefault(node.inputs[0], set()).add(node.attrs["index"])
    for node in graph.nodes:
        if node.op.kind is Kind.LEAF:
            (value,) = evaluate([graph.tensors[node.id]], given, state, sizes)
        else:
            operands = [values[i] for i in node.inputs]
            try:
                if node.op.kind is Kind.CONTROL:
                    value = run_control(graph, node, operands, sizes, read.get(node.id, set()))
                elif node.op.kind is Kind.RESULT:
                    value = operands[0][node.attrs["index"]]
                else:
                    value = run_node(graph, node, operands, sizes)
            except AssertionError as error:
                text = f"expected {node.type}, with {_sizes(sizes) or 'sizes as declared'}; {error}"
                raise ShapeError(f"{node.name}: {text}", node=node.name, origin=node.origin) from None
        values.append(value)


def _sizes(sizes: Sizes) -> str:
    return ", ".join(f"{name} = {size}" for name, size in sizes.items())


def check_bounds(plan: Schedule, sizes: Mapping[str, int]) -> None:
    """InputIndexError, naming the node, where a loop or product of these sizes leaves an array that it goes to.

    What data decides is not here: kernels always test it.
    """
    graph = plan.graph

    def check(node: Node, at: int, index: Sequence[Index], loops: Mapping[int, Size], does: str) -> None:
        counts = {level: dims.evaluate(size, sizes) for level, size in loops.items()}
        used = {level for ix in index for level in ix.levels}
        if any(counts[level] == 0 for level in used):
            return
        for axis, ix in enumerate(index):
            if any(term.slot is not None for term in ix.terms):
                continue
            low = high = 0
            for term in ix.terms:
                step = dims.evaluate(term.step, sizes) * (counts[term.level] - 1 if term.level is not None else 0)
                start = dims.evaluate(term.start, sizes)
                low, high = low + start + min(step, 0), high + start + max(step, 0)
            size = dims.evaluate(graph.nodes[at].type.shape[axis], sizes)
            if low < 0 or high >= size:
                where = f"{graph.nodes[at].name} at {low} to {high} along axis {axis}, of size {size}"
                text = f"{node.op.name} {does} {where}"
                raise InputIndexError(f"{node.name}: {text}", node=node.name, origin=node.origin)

    for _, items in plan.sections():
        for item in items:
            for body in item.bodies.values() if isinstance(item, Control) else ():
                check_bounds(body, sizes)
            if isinstance(item, Product):
                loops = dict(enumerate((*item.batch, item.rows, item.columns, item.inner)))
                if item.nest is not None:
                    loops |= dict(enumerate((*item.nest[0], *item.nest[1]), NEST))
                for access in (item.left, item.right):
                    check(item.node, access.root, access.index, loops, "reads")
            for s in statements_in(item):
                loops = dict(enumerate(s.sizes))
                if any(dims.evaluate(size, sizes) == 0 for size in s.sizes):
                    continue
                for access in s.operands:
                    check(s.node, access.root, access.index, loops, "reads")
                if s.form is not Form.CHECK:
                    check(s.node, s.node.id, s.target, loops, "writes")
