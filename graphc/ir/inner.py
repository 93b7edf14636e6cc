"""Functions traced into graphs of their own, and bodies put back into graphs.

While a function is traced, what it computes goes into an `Inner` graph. A tensor of a graph around it that is used
there is captured: it becomes an input of the body and an operand of the node that will hold it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from graphc.errors import GraphError, Origin, caller
from graphc.ir.body import Body
from graphc.ir.call import OPEN
from graphc.ir.dims import Dim
from graphc.ir.graph import Graph, copy_node, topological
from graphc.ir.op import Attrs, Op, lookup
from graphc.ir.tensor import Tensor
from graphc.ir.types import TensorType


class Inner(Graph):
    """The graph of a body while a function is traced; ``what`` it is of, ``step`` counts a loop's steps."""

    outer: Graph

    def __init__(self, outer: Graph, what: str) -> None:
        super().__init__(what, outer.float_dtype)
        self.outer, self.what = outer, what
        self.step: Tensor | None = None
        self.closed = False
        self.backward = outer.backward  # gradients of the user's are told by their numbers in it
        self.captured: dict[int, Tensor] = {}  # number of a tensor of the graph around it -> what stands for it here

    def append(self, op: Op, inputs: Sequence[Tensor], attrs: Attrs, **facts: Any) -> Tensor:
        if self.closed:
            own = next((t.name for t in inputs if t.graph is self), self.what)
            raise GraphError(f"{own} is made inside {self.what}; return it from there", node=own, origin=caller())
        return super().append(op, inputs, attrs, **facts)

    def given(self, name: str, kind: TensorType, origin: Origin) -> Tensor:
        """An input of the body."""
        return self.append(lookup("input"), (), {}, type=kind, name=self.free(name), origin=origin)

    def admit(self, tensor: Tensor, what: str) -> Tensor:
        if tensor.graph is self:
            return tensor
        if not self.inside(tensor.graph):
            return super().admit(tensor, what)
        around = self.outer.admit(tensor, what)
        if around.op.name == "constant" and around.node.value is not None and around.shape == ():
            return self.append(lookup("constant"), (), {}, type=around.type, value=around.node.value)
        if around.id not in self.captured:
            self.captured[around.id] = self.given(around.name, around.type, around.origin)
        return self.captured[around.id]

    def source(self, tensor: Tensor) -> Tensor:
        """What a captured tensor stands for, in the outermost graph it comes from; itself where it is made here."""
        for id, held in self.captured.items():
            if held is tensor:
                around = self.outer.tensors[id]
                return self.outer.source(around) if isinstance(self.outer, Inner) else around
        return tensor

    def next_stream(self, key: Tensor) -> int:
        source = self.source(key)
        return super().next_stream(key) if source.graph is self else source.graph.next_stream(source)

    def input(self, name: str, shape: Sequence[Any] = (), dtype: Any = None) -> Tensor:
        return self.outermost.input(name, shape, dtype)

    def _state_leaf(self, op: str, name: str, value: Any, dtype: Any) -> Tensor:
        return self.outermost._state_leaf(op, name, value, dtype)

    def _fresh_symbol(self) -> Dim:
        return self.outermost._fresh_symbol()

    def body(self, inputs: Sequence[Tensor], outputs: Sequence[Tensor], rest: Sequence[Tensor]) -> Body:
        """What was traced. ``rest`` are tensors around it, which become the last inputs, captured or not."""
        self.closed = True
        if self.noted:
            raise GraphError(f"{self.what}: statistics of batches are not trained inside; use gx.batch_norm")
        new = Graph(self.name, self.float_dtype)
        made: dict[int, Tensor] = {}
        held = [(t, t.type) for t in inputs] + [(self.captured.get(t.id), t.type) for t in rest]
        named: list[tuple[str, TensorType]] = []
        for t, kind in held:
            name = new.free(f"unused_{len(named)}" if t is None else t.name)
            origin = Origin("", 0) if t is None else t.origin
            stand = new.append(lookup("input"), (), {}, type=kind, name=name, origin=origin)
            named.append((name, kind))
            if t is not None:
                made[t.id] = stand
        for node in topological(self, [t.id for t in outputs]):
            if node.id not in made:
                made[node.id] = copy_node(new, node, [made[i] for i in node.inputs])
        new.outputs = [made[t.id] for t in outputs]
        new.backward = self.backward
        new.dropouts = {made[y].id: made[x].id for y, x in self.dropouts.items() if y in made and x in made}
        return Body(new, named)


@contextmanager
def traced(graph: Graph) -> Iterator[None]:
    """What is computed now, with tensors of ``graph`` and of graphs around it, goes into it."""
    body, call = OPEN.body, OPEN.call
    OPEN.body, OPEN.call = (graph if isinstance(graph, Inner) else None), None
    try:
        yield
    finally:
        OPEN.body, OPEN.call = body, call


def inlined(body: Body, graph: Graph, operands: Sequence[Tensor]) -> list[Tensor]:
    """What a body computes of ``operands``, as nodes of ``graph``."""
    made = {body.graph[name].id: t for (name, _), t in zip(body.inputs, operands, strict=True) if name in body.graph}
    for node in topological(body.graph, [t.id for t in body.outputs]):
        if node.id not in made:
            inputs = [made[i] for i in node.inputs]
            made[node.id] = graph.append(
                node.op, inputs, node.attrs, type=node.type, origin=node.origin, value=node.value, forward=node.forward
            )
    return [made[t.id] for t in body.outputs]


__all__ = ["Inner", "inlined", "traced"]
