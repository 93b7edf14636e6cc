"""What depends on a value at all: through loops and branches, and where there is no derivative."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

from graphc.ir.body import Body
from graphc.ir.graph import topological
from graphc.ir.node import Node
from graphc.ir.op import Kind


def draws(node: Node) -> bool:
    """True for what gives other numbers each time it stands in a graph."""
    return node.op.kind is Kind.GENERATOR and bool(node.inputs)


def _waited(node: Node, whole: bool) -> set[int]:
    """Slots whose values do not matter."""
    return {1} if "waiting" in node.op.facts and not whole else set()


def flow(nodes: Iterable[Node], start: Collection[int], random: bool = False, whole: bool = False) -> set[int]:
    """The nodes whose value depends on that of one of ``start``, or, where ``random``, on what is drawn.

    ``whole`` takes all that names one of them, if only to wait for it, and all results of such a loop or branch.
    """
    out = set(start)
    reached: dict[int, set[int]] = {}  # results of loops and branches
    for node in nodes:
        slots = {slot for slot, i in enumerate(node.inputs) if i in out}
        if node.op.kind is Kind.CONTROL:
            reached[node.id] = FLOWS[node.op.name](node, slots, random)
            if reached[node.id] or (whole and slots):
                out.add(node.id)
        elif node.op.kind is Kind.RESULT:
            if node.inputs[0] in out and (whole or node.attrs["index"] in reached.get(node.inputs[0], ())):
                out.add(node.id)
        elif slots - _waited(node, whole) or (random and draws(node)):
            out.add(node.id)
    return out


def through(body: Body, inputs: Iterable[int], random: bool, whole: bool = False) -> set[int]:
    """The outputs of a body that depend on these of its inputs; ``random`` and ``whole`` as in `flow`."""
    start = {body.graph[name].id for k in inputs if (name := body.inputs[k][0]) in body.graph}
    found = flow(topological(body.graph, [t.id for t in body.outputs]), start, random, whole)
    return {k for k, t in enumerate(body.outputs) if t.id in found}


def carried(body: Body, n: int, slots: Collection[int], random: bool, whole: bool = False) -> tuple[set[int], set[int]]:
    """Of a loop whose operands ``slots`` depend, the first ``n`` of them carries: carries and outputs that do."""
    active = set(slots)
    while True:
        outputs = through(body, (k + 1 for k in active), random, whole)  # before them stands the number of the step
        carries = outputs & set(range(n))
        if carries <= active:
            return {k for k in active if k < n}, outputs
        active |= carries


def _scan(node: Node, slots: set[int], random: bool) -> set[int]:
    body, n = node.attrs["body"], node.attrs["carries"]
    carries, outputs = carried(body, n, slots, random)
    return carries | {k for k in outputs if k >= n} | {len(body.types) + k for k in carries}


def _while(node: Node, slots: set[int], random: bool) -> set[int]:
    body, test = node.attrs["body"], node.attrs["test"]
    n = len(body.types)
    carries, _ = carried(body, n, slots, random)
    rest = {s for s in slots if s >= n}
    if through(test, (k + 1 for k in carries | rest), random):
        return set(range(2 * n + 1))
    return carries | {n + 1 + k for k in carries}


def _cond(node: Node, slots: set[int], random: bool) -> set[int]:
    sides = node.attrs["on_true"], node.attrs["on_false"]
    if 0 in slots:
        return set(range(len(sides[0].types)))
    return {k for side in sides for k in through(side, (s - 1 for s in slots), random)}


FLOWS: dict[str, Any] = {"scan": _scan, "while_loop": _while, "cond": _cond}

__all__ = ["carried", "draws", "flow", "through"]
