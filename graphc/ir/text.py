"""The graph as text: for people, and in a canonical form that depends on nothing but its meaning."""

from __future__ import annotations

import hashlib
from typing import Any

from graphc.ir.graph import Graph
from graphc.ir.op import LATER
from graphc.ir.tensor import Node


def print_graph(graph: Graph) -> str:
    """One line for each node: number, name, type, operation, operands, attributes, and the user's line."""
    lines = [f"graph {graph.name!r}"]
    rows = [(f"%{n.id} {n.name} : {n.type}", _call(n), _note(n)) for n in graph.nodes]
    left = max((len(a) for a, _, _ in rows), default=0)
    middle = max((len(b) for _, b, _ in rows), default=0)
    lines += [f"  {a:<{min(left, 48)}} = {b:<{min(middle, 44)}}  # {c}" for a, b, c in rows]
    lines.append("  return " + ", ".join(f"%{t.id} {t.name}" for t in graph.outputs))
    return "\n".join(lines)


LATER["print_graph"] = print_graph


def _call(node: Node) -> str:
    words = [f"%{i}" for i in node.inputs]
    words += [f"{k}={_value(v)}" for k, v in node.attrs.items()]
    if node.op.name == "constant" and node.value is not None:
        words.append(str(node.value.item()) if node.value.size == 1 else f"{node.value.size} values")
    return f"{node.op.name}({', '.join(words)})"


def _value(value: Any) -> str:
    if isinstance(value, tuple):
        return "(" + ", ".join(map(_value, value)) + ("," if len(value) == 1 else "") + ")"
    return str(value)


def _note(node: Node) -> str:
    of = f"gradient of {node.forward}, " if node.forward else ""
    return of + node.origin.describe()


def canonical_text(graph: Graph) -> str:
    """The graph without names, paths and lines; equal for graphs that compute the same thing alike."""
    lines = []
    for node in graph.nodes:
        value = ""
        if node.op.name == "constant" and node.value is not None:
            value = hashlib.sha256(node.value.tobytes()).hexdigest()
        attrs = sorted((k, _value(v)) for k, v in node.attrs.items())
        lines.append(f"{node.op.name} {node.type} {node.inputs} {attrs} {value}")
    lines.append(f"return {[t.id for t in graph.outputs]}")
    return "\n".join(lines)
