"""Nodes that are made for a while: a function is called with stand-ins, and what it made is looked at and taken out.

So a graph holds nothing of a transform but its result. Tensors that were taken out live on in a graph of their own,
where all can be read; who uses one outside gets the error for tensors of two graphs.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace

from graphc.errors import Origin
from graphc.ir.graph import Graph
from graphc.ir.node import Node
from graphc.ir.op import Kind, lookup
from graphc.ir.tensor import Tensor
from graphc.ir.types import TensorType


class Trace:
    """What is added to ``graph`` from now on; ``what`` it is for.

    ``close(results)`` takes out all of it but state, inputs, and what ``results`` need.
    """

    def __init__(self, graph: Graph, what: str) -> None:
        self.graph, self.what, self.mark = graph, what, len(graph.nodes)
        self.stand_ins: set[int] = set()

    def stand_in(self, kind: TensorType, origin: Origin) -> Tensor:
        """A tensor of that type that has no value."""
        made = self.graph.append(lookup("input"), (), {}, type=kind, origin=origin)
        self.stand_ins.add(made.id)
        return made

    @property
    def nodes(self) -> list[Node]:
        """What was added so far."""
        return self.graph.nodes[self.mark :]

    def close(self, results: Iterable[Tensor] = ()) -> None:
        kept = {t.id for t in results}
        for node in reversed(self.nodes):
            if node.id in kept:
                kept.update(node.inputs)
            elif node.op.kind is Kind.LEAF and node.op.name != "constant" and node.id not in self.stand_ins:
                kept.add(node.id)
        _take_out(self.graph, self.mark, kept - self.stand_ins, f"{self.graph.name}, inside {self.what}")


@contextmanager
def tracing(graph: Graph, what: str) -> Iterator[Trace]:
    """A trace that is closed with nothing kept where an exception leaves it open."""
    trace = Trace(graph, what)
    try:
        yield trace
    except BaseException:
        trace.close()
        raise


def _take_out(graph: Graph, mark: int, kept: set[int], name: str) -> None:
    """Nodes from ``mark`` on that are not ``kept`` go to a graph of that name; the others are numbered anew."""
    new = graph.nodes[mark:]
    if all(node.id in kept for node in new):
        return
    closed = Graph(name, graph.float_dtype)
    closed.nodes, closed.tensors = list(graph.nodes), list(graph.tensors)
    ids = {node.id: mark + k for k, node in enumerate(n for n in new if n.id in kept)}
    for node in new:
        del graph._names[node.name]
        if node.id not in kept:
            graph.tensors[node.id].graph = closed
    names: dict[str, str] = {}
    moved = []
    for node in new:
        if node.id in ids:
            id = ids[node.id]
            automatic = node.name == graph._automatic(node.op, node.id)
            names[node.name] = graph.free(graph._automatic(node.op, id)) if automatic else node.name
            graph._names[names[node.name]] = id
            made = replace(node, id=id, inputs=tuple(ids.get(i, i) for i in node.inputs), name=names[node.name])
            moved.append(replace(made, forward=names.get(made.forward or "", made.forward)))
    for call in {node.call for node in moved if node.call is not None}:
        call.name = names.get(call.name, call.name)
    tensors = [graph.tensors[id] for id in ids]
    for tensor, id in zip(tensors, ids.values(), strict=True):
        tensor.id = id
    graph.nodes[mark:], graph.tensors[mark:] = moved, tensors
    graph._renumbered({i: i for i in range(mark)} | ids, mark)


__all__ = ["Trace", "tracing"]
