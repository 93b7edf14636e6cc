"""Computing again instead of keeping: values are made anew where they are read late, until a program fits its memory.

A greedy form of rematerialisation: Chen et al., *Training Deep Nets with Sublinear Memory Cost* (2016); Griewank and
Walther, *Evaluating Derivatives* (2008), chapter 12. Of the values that wait to be read again the largest is given up
first, matrix products last, and with it what only it would keep alive; a step that does not make the program smaller
is not taken.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise

from graphc.ir import dims
from graphc.ir.graph import Graph, copy_node, rebuild
from graphc.ir.node import Node
from graphc.ir.op import Kind
from graphc.ir.tensor import Tensor
from graphc.schedule.plan import Control, Product, Schedule, memory_of
from graphc.schedule.stages import made_by, statements_in

TRIALS = 24  # values that are tried at each step


@dataclass(frozen=True, slots=True)
class Wait:
    """A value that waits in the workspace: nodes that read it after the longest wait, and what is at hand by then."""

    value: int
    readers: frozenset[int]
    at_hand: frozenset[int]


def fit(
    graph: Graph,
    plan: Callable[[Graph, bool], Schedule],
    bytes: Callable[[Schedule], int],
    most: int,
    sizes: Mapping[str, int],
) -> Schedule:
    """The program of ``graph`` that takes at most ``most`` bytes at these sizes, or as few as were found.

    ``plan(graph, in_order)`` makes a schedule, whose stages hold all that may run side by side, or keep the order.
    """
    best = plan(graph, False)
    if bytes(best) > most:
        best = min(best, plan(graph, True), key=bytes)
    least, smaller = bytes(best), True
    while least > most and smaller:
        smaller = False
        for wait in _waiting(best, sizes):
            trial = plan(recomputed(best.graph, wait), True)
            if bytes(trial) < least:
                best, least, smaller = trial, bytes(trial), True
                break
    return best


def _waiting(plan: Schedule, sizes: Mapping[str, int]) -> list[Wait]:
    """What to give up, the best first."""
    made: dict[int, int] = {}
    products: set[int] = set()
    read: dict[int, list[tuple[int, int]]] = defaultdict(list)  # value -> when it is read, and for which node
    items = [item for _, items in plan.sections() for item in items]
    for now, item in enumerate(items):
        made |= dict.fromkeys(made_by(item), now)
        if isinstance(item, Product):
            products.add(item.node.id)
            readings = [(item.node.id, access) for access in (item.left, item.right)]
        elif isinstance(item, Control):
            readings = [(item.node.id, access) for access in item.operands]
        else:
            readings = [(s.node.id, access) for s in statements_in(item) for access in s.operands]
        for reader, access in readings:
            read[memory_of(plan.aliases, access.root)].append((now, reader))
    last = {id: max(time for time, _ in times) for id, times in read.items()}
    found = []
    for id, start in made.items():
        buffer = plan.buffers.get(id)
        if buffer is None or buffer.place[0] != "work" or plan.graph.nodes[id].op.kind is Kind.RESULT:
            continue
        times = [start, *sorted({time for time, _ in read[id]})]
        wait, late = max(((b - a, b) for a, b in pairwise(times)), default=(0, 0))
        if wait > 1:
            readers = frozenset(reader for time, reader in read[id] if time >= late)
            at_hand = frozenset(i for i, time in last.items() if time >= late and i != id)
            bytes = dims.evaluate(plan.slots[buffer.place[1]].bytes, sizes)
            found.append((id in products, -bytes, id, Wait(id, readers, at_hand)))
    return [wait for *_, wait in sorted(found, key=lambda f: f[:3])[:TRIALS]]


def recomputed(graph: Graph, wait: Wait) -> Graph:
    """The graph in which late readers read a second copy of a value, made of what is at hand then."""
    held: dict[int, tuple[Tensor, ...]] = {}
    second: dict[int, Tensor] = {}

    def visit(new: Graph, node: Node, operands: tuple[Tensor, ...]) -> Tensor | None:
        held[node.id] = operands
        if node.id not in wait.readers:
            return None
        return copy_node(new, node, [again(new, i, t) for i, t in zip(node.inputs, operands, strict=True)])

    def again(new: Graph, id: int, first: Tensor) -> Tensor:
        """What stands for an operand of a late reader: the value's second copy, or what leads to it."""
        if id not in second:
            node = graph.nodes[id]
            if id == wait.value:
                second[id] = copy(new, node)
            elif node.op.kind is Kind.MOVEMENT:
                (operand,), (inner,) = node.inputs, held[id]
                moved = again(new, operand, inner)
                second[id] = first if moved is inner else copy_node(new, node, [moved])
            else:
                second[id] = first
        return second[id]

    def copy(new: Graph, node: Node) -> Tensor:
        """A node once more, with all of its operands that would be kept for it alone."""
        operands = []
        for i, first in zip(node.inputs, held[node.id], strict=True):
            operand = graph.nodes[i]
            if i in wait.at_hand or operand.op.kind is Kind.LEAF or operand.type.shape == ():
                operands.append(first)
            else:
                if i not in second:
                    second[i] = copy(new, operand)
                operands.append(second[i])
        return copy_node(new, node, operands)

    return rebuild(graph, visit)


__all__ = ["Wait", "fit", "recomputed"]
