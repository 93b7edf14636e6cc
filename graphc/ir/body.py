"""Graphs that nodes hold: the bodies of loops and the sides of branches. And a graph's canonical text."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterator, Sequence
from itertools import count
from typing import Any

from graphc.cached import cached
from graphc.ir.node import Node
from graphc.ir.types import TensorType

Nodes = Any  # a `Graph`, whose module knows of bodies


def canonical_text(graph: Nodes) -> str:
    """The graph without names, paths and lines; equal for graphs that compute the same thing alike."""
    lines = []
    for node in graph.nodes:
        value = ""
        if node.op.name == "constant" and node.value is not None:
            value = hashlib.sha256(node.value.tobytes()).hexdigest()
        attrs = sorted((k, value_text(v)) for k, v in node.attrs.items())
        lines.append(f"{node.op.name} {node.type} {node.inputs} {attrs} {value}")
    lines.append(f"return {[t.id for t in graph.outputs]}")
    return "\n".join(lines)


def value_text(value: Any) -> str:
    """An attribute as text."""
    if isinstance(value, tuple):
        return "(" + ", ".join(map(value_text, value)) + ("," if len(value) == 1 else "") + ")"
    return str(value)


class Body:
    """A graph with inputs in order, as an attribute of a node; equal to another that computes the same alike.

    It never changes, and holds inputs, numbers and what is computed of them, no state. What is traced holds no arrays.
    ``inputs`` are names and types. The graph need not have those that nothing reads.
    """

    def __init__(self, graph: Nodes, inputs: Sequence[tuple[str, TensorType]], settled: Any = None) -> None:
        self.graph, self.inputs = graph, tuple(inputs)
        self.settled = settled  # what a pass that has nothing left to do here notes

    @cached
    def digest(self) -> str:
        """A name that equal bodies share."""
        roles = [(self.graph[name].id if name in self.graph else -1, str(kind)) for name, kind in self.inputs]
        return hashlib.sha256(f"{canonical_text(self.graph)}\n{roles}".encode()).hexdigest()[:24]

    def __eq__(self, other: object) -> bool:
        return self is other or (isinstance(other, Body) and self.digest == other.digest)

    def __hash__(self) -> int:
        return hash(self.digest)

    def __str__(self) -> str:
        return f"body {self.digest}"

    def __repr__(self) -> str:
        given = ", ".join(f"{name}: {kind}" for name, kind in self.inputs)
        return f"<Body ({given}) -> {', '.join(map(str, self.types))}>"

    @property
    def outputs(self) -> tuple[Any, ...]:
        made: tuple[Any, ...] = self.graph.outputs
        return made

    @property
    def types(self) -> list[TensorType]:
        """Those of the outputs."""
        return [t.type for t in self.outputs]

    def reads(self, k: int) -> bool:
        """Whether what the body makes depends on the input of that number."""
        if self.inputs[k][0] not in self.graph:
            return False
        id = self.graph[self.inputs[k][0]].id
        read = (reads(node, slot) for node in self.graph.nodes for slot, i in enumerate(node.inputs) if i == id)
        return any(t.id == id for t in self.outputs) or any(read)

    def mapped(self, step: Callable[[Nodes], Nodes]) -> Body:
        """The body with another graph for its own, with the same inputs and outputs."""
        return Body(step(self.graph), self.inputs)


def fresh_names(word: str, *held: Body) -> Iterator[str]:
    """Names for more inputs of some bodies, that none of them has: ``word_0`` and so on."""
    taken = {name for body in held for name, _ in body.inputs}
    return (name for k in count() if (name := f"{word}_{k}") not in taken)


def bodies(node: Node) -> list[tuple[str, Body]]:
    """The graphs that a node holds, by the names of its attributes."""
    return [(name, value) for name, value in node.attrs.items() if isinstance(value, Body)]


def reads(node: Node, slot: int) -> bool:
    """Whether anything reads an operand of a node: a body may not."""
    before = -1 if node.op.name == "cond" else 1  # inputs of a body beside operands of the node: the step, not pred
    inner = bodies(node)
    return not inner or slot + before < 0 or any(body.reads(slot + before) for _, body in inner)


def within(graph: Nodes) -> Iterator[Node]:
    """All nodes of a graph, and those of the bodies that they hold."""
    for node in graph.nodes:
        yield node
        for _, body in bodies(node):
            yield from within(body.graph)


def users_own(nodes: Collection[Node]) -> dict[str, Any]:
    """Ops of the user's own that nodes, and the bodies that they hold, have, by name."""
    out = {node.op.name: node.op.own for node in nodes if node.op.own is not None}
    for node in nodes:
        for _, body in bodies(node):
            out |= users_own(body.graph.nodes)
    return out


__all__ = ["Body", "bodies", "canonical_text", "reads", "users_own", "value_text", "within"]
