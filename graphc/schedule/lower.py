"""Composites as what they are made of: the first step of scheduling."""

from __future__ import annotations

from graphc.ir.graph import Graph, rebuild
from graphc.ir.node import Node
from graphc.ir.op import Kind
from graphc.ir.tensor import Tensor
from graphc.rewrite.passes import canonicalise, cse, fold


def lower(graph: Graph) -> Graph:
    """``graph`` without composites; what several of them compute alike is computed once."""
    if all(node.op.kind is not Kind.COMPOSITE for node in graph.nodes):
        return graph
    lowered = rebuild(graph, _lowered)
    for step in (canonicalise, fold, cse):
        lowered = step(lowered)
    return lowered


def _lowered(new: Graph, node: Node, operands: tuple[Tensor, ...]) -> Tensor | None:
    if node.op.kind is not Kind.COMPOSITE:
        return None
    assert node.op.lower is not None
    made: Tensor = node.op.lower(node.attrs, *operands)
    return made
