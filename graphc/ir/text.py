"""The graph as text: for people, and in a canonical form that depends on nothing but its meaning."""

from __future__ import annotations

from collections.abc import Iterator

from graphc.ir.body import Body, bodies, canonical_text, value_text
from graphc.ir.graph import Graph
from graphc.ir.node import Node
from graphc.ir.op import LATER


def print_graph(graph: Graph) -> str:
    """One line for each node: number, name, type, operation, operands, attributes, and the user's line."""
    return "\n".join([f"graph {graph.name!r}", *_lines(graph)])


def _lines(graph: Graph) -> Iterator[str]:
    """A graph's nodes; behind a node the bodies that it holds."""
    rows = [(f"%{n.id} {n.name} : {n.type}", _call(n), _note(n)) for n in graph.nodes]
    left = max((len(a) for a, _, _ in rows), default=0)
    middle = max((len(b) for _, b, _ in rows), default=0)
    for node, (a, b, c) in zip(graph.nodes, rows, strict=True):
        yield f"  {a:<{min(left, 48)}} = {b:<{min(middle, 44)}}  # {c}"
        for name, body in bodies(node):
            yield f"    {name}({', '.join(given for given, _ in body.inputs)}):"
            yield from (f"    {line}" for line in _lines(body.graph))
    yield "  return " + ", ".join(f"%{t.id} {t.name}" for t in graph.outputs)


LATER["print_graph"] = print_graph


def _call(node: Node) -> str:
    words = [f"%{i}" for i in node.inputs]
    words += [f"{k}={'...' if isinstance(v, Body) else value_text(v)}" for k, v in node.attrs.items()]
    if node.op.name == "constant" and node.value is not None:
        words.append(str(node.value.item()) if node.value.size == 1 else f"{node.value.size} values")
    return f"{node.op.name}({', '.join(words)})"


def _note(node: Node) -> str:
    of = f"gradient of {node.forward}, " if node.forward else ""
    return of + node.origin.describe()


__all__ = ["canonical_text", "print_graph"]
