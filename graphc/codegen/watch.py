"""What the kernel of a debug executable tests besides: that no NaN, and no infinity of finite operands, comes about.

A test is a few instructions behind a value, and adds to one truth value for each item of the schedule; a kernel that
met something leaves with the status NOT_FINITE before any state is changed. The interpreter then finds the element
(`run.debug`), so a kernel may cry wolf: it tests of a sum or a product that it is finite, whatever it was made of.
Each value is tested where it is made, element by element, or, where a loop or a product makes it, by what reads it.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence

from graphc.codegen.whole import Whole
from graphc.ir.graph import Graph
from graphc.ir.node import Node
from graphc.ir.op import Kind
from graphc.ir.types import is_float
from graphc.schedule.access import is_formula
from graphc.schedule.plan import Form, Statement

NOT_FINITE = 1 << 30  # a status of kernels, beyond those of index tests

# Ops whose result is NaN wherever one of their operands is, whatever the others are; of these, those that make no
# infinity of finite operands.
NAN_OF_NAN = frozenset({
    "abs", "add", "cos", "divide", "erf", "exp", "expm1", "log", "log1p", "multiply", "neg", "one_minus_square",
    "rsqrt", "sigmoid", "sin", "softplus", "sqrt", "subtract", "tanh",
})  # fmt: skip
BOUNDED = frozenset({"abs", "cos", "erf", "neg", "sigmoid", "sin", "sqrt", "tanh"})


def guarded(graph: Graph) -> set[int]:
    """Nodes that only selections such as ``where`` and ``relu`` read, at once or through elements and movements.

    What is not finite there is a fault only where a selection takes it.
    """
    readers: dict[int, list[tuple[Node, int]]] = defaultdict(list)
    for node in graph.nodes:
        for slot, i in enumerate(node.inputs):
            readers[i].append((node, slot))
    roots = {t.id for t in graph.outputs}
    found: set[int] = set()

    def leads_to_selections(reader: Node, slot: int) -> bool:
        if reader.op.kind is Kind.ELEMENTWISE and selects(reader, slot):
            return True
        return reader.id in found and reader.op.kind in (Kind.ELEMENTWISE, Kind.MOVEMENT)

    for node in reversed(graph.nodes):
        inner = is_float(node.type.dtype) and node.op.kind is not Kind.LEAF and node.id not in roots
        if inner and readers[node.id] and all(leads_to_selections(*read) for read in readers[node.id]):
            found.add(node.id)
    return found


def selects(node: Node, slot: int) -> bool:
    """Whether an op takes its operand for some elements only."""
    return bool(node.op.taken) and node.op.taken[slot] is not None


def hands_on(node: Node) -> bool:
    """Whether an op's elements are those of its operands, and so faultless where these are."""
    if node.op.kind in (Kind.MOVEMENT, Kind.ASSEMBLY, Kind.GATHER, Kind.RESULT):
        return "overlapping" not in node.op.facts
    return node.op.name == "identity"


def may_be_infinite(node: Node) -> bool:
    """Whether an op makes infinities that are no fault: it takes one of its operands, or an attribute is infinite."""
    if hands_on(node):
        return True
    if node.op.kind in (Kind.REDUCTION, Kind.SCATTER):
        return any(node.op.taken)
    return any(isinstance(v, float) and math.isinf(v) for v in node.attrs.values())


def shown(graph: Graph, guarded: set[int]) -> set[int]:
    """Nodes of which every NaN makes one in a result that is tested, or shown in its turn."""
    found: set[int] = set()
    for node in graph.nodes:
        if node.op.name in NAN_OF_NAN and node.id not in guarded and not is_formula(node):
            found |= {i for i in node.inputs if graph.nodes[i].type.shape == node.type.shape}
    return found


class Watch:
    """Writes the tests of one kernel; with ``inputs`` what is passed is tested too."""

    def __init__(self, graph: Graph, inputs: Sequence[int]) -> None:
        self.graph, self.inputs = graph, set(inputs)
        self.guarded = guarded(graph)
        self.shown = shown(graph, self.guarded)

    def write(self, nest: Whole, s: Statement, values: Sequence[str], depth: int) -> None:
        """Appends the tests of a statement, given the text of its operands' values."""
        tests = [*self._operands(nest, s, values), *self._result(nest, s, values)]
        if tests:
            nest.put(depth, f"bad = bad | {' | '.join(tests)}", s.node.id)

    def _operands(self, nest: Whole, s: Statement, values: Sequence[str]) -> Iterator[str]:
        """That what others made is finite; where a sum goes over it, who reads the sum will see."""
        if s.form is Form.REDUCE and not any(s.node.op.taken):
            return
        for access, value in dict(zip(s.operands, values, strict=True)).items():
            node = self.graph.nodes[access.root]
            if self._unseen(node):
                yield f"({value} - {value} != {nest.literal(0, node.type.dtype)})"

    def _unseen(self, node: Node) -> bool:
        """Whether a value is not tested where it is made."""
        if not is_float(node.type.dtype) or is_formula(node) or node.id in self.guarded:
            return False
        if node.op.kind is Kind.LEAF:
            return node.id in self.inputs
        return node.op.kind is not Kind.ELEMENTWISE and not may_be_infinite(node)

    def _result(self, nest: Whole, s: Statement, values: Sequence[str]) -> Iterator[str]:
        """That the result of an elementwise op is a number, and finite where its operands are."""
        node = s.node
        if s.form is not Form.MAP or node.op.kind is not Kind.ELEMENTWISE or node.id in self.guarded:
            return
        if not is_float(node.type.dtype) or hands_on(node):
            return
        y = nest.named("v", node.id)
        zero = nest.literal(0, node.type.dtype)
        if node.id not in self.shown:
            yield f"({y} != {y})"
        if may_be_infinite(node) or node.op.name in BOUNDED:
            return
        finite, chosen, infinite = dict[str, str](), list[str](), False
        for slot, (i, value) in enumerate(zip(node.inputs, values, strict=True)):
            operand = self.graph.nodes[i]
            if not is_float(operand.type.dtype):
                continue
            if operand.op.name == "constant" and operand.type.shape == ():
                assert operand.value is not None
                infinite |= not math.isfinite(operand.value.item())
            elif selects(node, slot) and i in self.guarded:
                chosen.append(f"({y} == {value})")
            else:
                finite[value] = f"({value} - {value})"
        if not infinite:
            ends = f" & ({' + '.join(finite.values())} == {zero})" if finite else ""
            yield f"(({y} - {y} != {zero}){ends})"
        if chosen:
            yield f"(({y} - {y} != {zero}) & ({' | '.join(chosen)}))"
