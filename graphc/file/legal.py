"""What a graph from a file must prove beyond `verify`: that no index leaves its axis.

A kernel reads and writes at indices that are data without looking again; the test stands in a node of its own, which a
file could leave out.
"""

from __future__ import annotations

import numpy as np

from graphc.errors import GraphcError, GraphFileError
from graphc.ir.body import bodies
from graphc.ir.dims import Size, at_most
from graphc.ir.graph import Graph
from graphc.ir.node import Node
from graphc.ir.op import Kind, indexed
from graphc.ir.verify import verify

FARTHEST = 50  # nodes that a proof may follow


def check(graph: Graph, place: str) -> None:
    """GraphFileError, naming the node, where ``graph`` is not legal."""
    try:
        verify(graph)
    except GraphcError as error:
        raise GraphFileError(f"{place}: {error.message}", node=error.node) from None
    _check_indices(graph, place)


def _check_indices(graph: Graph, place: str) -> None:
    for node in graph.nodes:
        for index, size in _indexed(graph, node):
            if not stays_below(graph, index, size):
                text = f"node {node.id} ({node.name[:60]!r}): nothing keeps its index within an axis of {size}"
                raise GraphFileError(f"{place}: {text}", node=node.name)
        for name, body in bodies(node):
            _check_indices(body.graph, f"{place}: node {node.id} ({node.name[:60]!r}): {name}")


def proven(graph: Graph, node: Node) -> bool:
    """Whether a node whose operands are in ``graph`` can be seen to read and write within its arrays."""
    return all(stays_below(graph, index, size) for index, size in _indexed(graph, node))


def proven_body(graph: Graph) -> bool:
    """Whether every node of a body, and of those in it, can be."""
    inner = (body for node in graph.nodes for _, body in bodies(node))
    return all(proven(graph, node) for node in graph.nodes) and all(proven_body(body.graph) for body in inner)


def _indexed(graph: Graph, node: Node) -> list[tuple[Node, Size]]:
    """The indices of a gather or scatter, each with the size of the axis that it must lie in."""
    operands = [graph.nodes[i] for i in node.inputs]
    if node.op.kind is Kind.GATHER:
        return [(i, operands[0].type.shape[a]) for i, a in zip(operands[1:], indexed(node.attrs), strict=True)]
    if node.op.kind is Kind.SCATTER:
        return [(i, node.type.shape[a]) for i, a in zip(operands[:-1], indexed(node.attrs), strict=True)]
    return []


def stays_below(graph: Graph, node: Node, high: Size) -> bool:
    """Whether ``0 <= value < high`` can be seen to hold of every element of an integer node."""
    open: list[tuple[Node, Size]] = [(node, 0)]  # what is still to be shown, with the lower bound
    seen: set[tuple[int, Size]] = set()
    while open:
        node, low = open.pop()
        if (node.id, low) in seen:
            continue
        seen.add((node.id, low))
        operands = [graph.nodes[i] for i in node.inputs]
        if "index_check" in node.op.facts:
            if not (_at_most(low, node.attrs["low"]) and _at_most(node.attrs["high"], high)):
                return False
        elif node.op.name == "constant" and node.value is not None:
            held = node.value
            if held.size and not (_at_most(low, int(held.min())) and _at_most(int(held.max()) + 1, high)):
                return False
        elif node.op.name == "iota":
            if not (_at_most(low, 0) and at_most(node.type.shape[0], high)):
                return False
        elif "places" in node.op.facts:
            if not (_at_most(low, 0) and at_most(operands[0].type.shape[-1], high)):
                return False
        elif len(seen) > FARTHEST:
            return False
        elif node.op.kind in (Kind.MOVEMENT, Kind.GATHER) or (node.op.name == "astype" and _keeps(operands[0], node)):
            open.append((operands[0], low))
        elif node.op.name == "where" and low == 0 and _from_the_end(graph, operands[0], operands[1], operands[2], high):
            open.append((operands[2], -high))
        elif node.op.name == "where":
            open += [(o, low) for o in operands[1:]]
        else:
            return False
    return True


def _at_most(left: Size, right: Size) -> bool:
    return left == right or (isinstance(left, int) and isinstance(right, int) and left <= right)


def _keeps(source: Node, target: Node) -> bool:
    """Whether every value of ``source`` has the same meaning in ``target``'s dtype."""
    return source.type.dtype.kind in "iu" and np.can_cast(source.type.dtype, target.type.dtype, "safe")


def _from_the_end(graph: Graph, condition: Node, moved: Node, index: Node, size: Size) -> bool:
    """``where(index < 0, index + size, index)``: negative indices count from the end."""
    if condition.op.name != "less" or moved.op.name != "add":
        return False
    zero, length = (graph.nodes[n.inputs[1]] for n in (condition, moved))
    return (
        condition.inputs[0] == moved.inputs[0] == index.id
        and _number(zero) == 0
        and (_number(length) == size or (length.op.name == "size" and length.attrs["size"] == size))
    )


def _number(node: Node) -> int | None:
    held = node.value if node.op.name == "constant" else None
    return int(held.item()) if held is not None and held.size == 1 else None


__all__ = ["check", "proven", "stays_below"]
