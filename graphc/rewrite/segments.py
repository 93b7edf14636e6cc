"""Loops in segments: of the carries that another loop reads, those between segments are kept, the others made again.

Griewank and Walther, *Evaluating Derivatives* (2008), chapter 12. A gradient reads the carries before each step of its
loop. In segments of about the square root of the steps both take memory for so many carries only, and each step is
computed once more. Rows that steps give, and what reads them outside of loops, stay as they are.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from graphc.ir import dims
from graphc.ir.graph import Graph, rebuild
from graphc.ir.node import Node
from graphc.ir.op import Kind
from graphc.ir.tensor import Tensor
from graphc.ops.control import Segments, Steps

NEAR = 1.4  # a length of segments up to so many times another is as good, where it leaves no steps over


def segmented(graph: Graph, sizes: Mapping[str, int], times: float = 1.0) -> Graph:
    """A graph whose loops keep the carries between segments for others; the same graph where there are no such loops.

    A segment has ``times`` the square root of the steps that there are at these sizes.
    """
    every: dict[int, int] = {}
    for node in graph.nodes:
        for of in {of for slot in range(len(node.inputs)) if (of := _kept(graph, node, slot)) is not None}:
            steps = dims.evaluate(node.attrs["length"], sizes)
            size = _near(round(math.sqrt(steps) * times), node.attrs["length"])
            if 1 < size <= steps // 2:
                every |= dict.fromkeys((of, node.id), size)
    if not every:
        return graph
    made: dict[int, Segments] = {}

    def visit(new: Graph, node: Node, operands: tuple[Tensor, ...]) -> Tensor | None:
        if node.op.kind is Kind.RESULT and node.inputs[0] in made:
            return made[node.inputs[0]].result(node.attrs["index"])
        if node.id not in every:
            return None
        attrs, n = node.attrs, node.attrs["carries"]
        end, many = n + attrs["xs"], len(attrs["body"].types)
        rows = [_again(graph, node, slot, made) or operands[slot] for slot in range(n, end)]
        steps = Steps(attrs["body"], operands[end:], attrs["reverse"], attrs["unroll"])
        size = every[node.id]
        made[node.id] = Segments(new, steps, operands[:n], rows, attrs["length"], size, range(n, many + n))
        return made[node.id].main

    return rebuild(graph, visit)


def _kept(graph: Graph, node: Node, slot: int) -> int | None:
    """The loop of as many steps of which a scan's operand is a carry before each step."""
    if node.op.name != "scan" or not node.attrs["carries"] <= slot < node.attrs["carries"] + node.attrs["xs"]:
        return None
    row = graph.nodes[node.inputs[slot]]
    of = graph.nodes[row.inputs[0]] if row.op.kind is Kind.RESULT else node
    scans = of is not node and of.op.name == "scan" and of.attrs["length"] == node.attrs["length"]
    return of.id if scans and row.attrs["index"] >= len(of.attrs["body"].types) else None


def _again(graph: Graph, node: Node, slot: int, made: Mapping[int, Segments]) -> tuple[Segments, int] | None:
    """Rows of a scan that are made again: the loop that makes them, and which result of it they are."""
    of = _kept(graph, node, slot)
    return None if of is None else (made[of], graph.nodes[node.inputs[slot]].attrs["index"])


def _near(size: int, length: dims.Size) -> int:
    """A number of steps close to ``size``, one that divides the length where there is such."""
    if not isinstance(length, int):
        return size
    whole = [k for k in range(max(math.ceil(size / NEAR), 1), math.floor(size * NEAR) + 1) if length % k == 0]
    return min(whole, key=lambda k: abs(k - size), default=size)


__all__ = ["segmented"]
