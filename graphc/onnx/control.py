"""Loops and branches as ONNX has them: Scan, Loop and If, whose graphs see the values around them by name."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from graphc.errors import ExportError
from graphc.ir import dims
from graphc.ir.body import Body
from graphc.ir.dims import Size
from graphc.ir.graph import Graph
from graphc.ir.node import Node
from graphc.ir.op import Kind
from graphc.ir.types import BOOL, INT64, TensorType
from graphc.onnx.model import Model, Value

Apply = Callable[[Node, Mapping[int, Value], Sequence[Node]], Value]


class Writer:
    """Writes loops and branches into a model; ``apply`` writes any other node."""

    def __init__(self, model: Model, apply: Apply) -> None:
        self.model, self.apply = model, apply

    def results(self, graph: Graph, node: Node, operands: Sequence[Value]) -> dict[int, Value]:
        """Those of a loop or branch that are read, by their numbers."""
        read = {n.attrs["index"] for n in graph.nodes if n.op.kind is Kind.RESULT and n.inputs[0] == node.id}
        assert node.op.results is not None
        types = node.op.results([graph.nodes[i].type for i in node.inputs], node.attrs)
        write = {"scan": self.scan, "while_loop": self.while_loop, "cond": self.cond}[node.op.name]
        return write(node, list(operands), types, read)

    def scan(
        self, node: Node, operands: list[Value], types: Sequence[TensorType], read: Collection[int]
    ) -> dict[int, Value]:
        m, attrs, body = self.model, node.attrs, node.attrs["body"]
        n, xs, many = attrs["carries"], attrs["xs"], len(body.types)
        rows, counted = operands[n : n + xs], body.reads(0) or not xs
        if counted:
            rows = [m.scalar(0).op("Range", m.scalar(attrs["length"]), m.scalar(1)), *rows]
        kept = [k for k in range(n) if many + k in read]
        with _Inside(m) as inside:
            carry = [inside.input(t) for t in types[:n]]
            step = [inside.input(TensorType(INT64, ()))] if counted else [None]
            row = [inside.input(kind) for _, kind in body.inputs[1 + n : 1 + n + xs]]
            made = self.nodes(body, [*step, *carry, *row, *operands[n + xs :]])
            outputs = [*zip(made, body.types, strict=True), *((carry[k], types[k]) for k in kept)]
            held = inside.graph("step", outputs)
        backward = int(attrs["reverse"])
        dtypes = [types[k].dtype for k in (*range(many), *(many + k for k in kept))]
        ways = {"scan_input_directions": [backward] * len(rows)}
        if len(dtypes) > n:
            ways["scan_output_directions"] = [backward] * (len(dtypes) - n)
        numbers = [*range(many), *(many + k for k in kept)]

        def steps() -> list[Value]:
            return m.many("Scan", [*operands[:n], *rows], dtypes, body=held, num_scan_inputs=len(rows), **ways)

        if dims.at_most(1, attrs["length"]):
            found = steps()
        else:
            found = self._steps_or_none(attrs["length"], steps, operands[:n], [types[k] for k in numbers])
        return dict(zip(numbers, found, strict=True))

    def _steps_or_none(
        self, length: Size, steps: Callable[[], list[Value]], carries: Sequence[Value], types: Sequence[TensorType]
    ) -> list[Value]:
        """ONNX Runtime refuses a Scan of no steps: carries stay as they are then, and other results are empty."""
        m = self.model
        some = m.scalar(length) > 0
        with _Inside(m) as inside:
            then = inside.graph("steps", list(zip(steps(), types, strict=True)))
        with _Inside(m) as inside:
            empty = [m.zeros(t) for t in types[len(carries) :]]
            other = inside.graph("no_steps", list(zip([*carries, *empty], types, strict=True)))
        return m.many("If", [some], [t.dtype for t in types], then_branch=then, else_branch=other)

    def while_loop(
        self, node: Node, operands: list[Value], types: Sequence[TensorType], read: Collection[int]
    ) -> dict[int, Value]:
        """A Loop that ends when the test fails; that ``max_steps`` are too few it does not tell."""
        m, test, body = self.model, node.attrs["test"], node.attrs["body"]
        n = len(body.types)
        if any(k > n for k in read):
            raise ExportError("Loop does not keep the carries of all steps, which a gradient reads")
        rest, zero = operands[n:], m.constant(np.array(0, np.int64))
        (first,) = self.nodes(test, [zero, *operands])
        with _Inside(m) as inside:
            step, _ = inside.input(TensorType(INT64, ())), inside.input(TensorType(BOOL, ()))
            carry = [inside.input(t) for t in (*types[:n], TensorType(INT64, ()))]
            made = self.nodes(body, [step, *carry[:n], *rest])
            following = carry[n] + 1
            (again,) = self.nodes(test, [following, *made, *rest])
            kinds = [TensorType(BOOL, ()), *types[:n], TensorType(INT64, ())]
            held = inside.graph("step", list(zip([again, *made, following], kinds, strict=True)))
        found = m.many("Loop", [None, first, *operands[:n], zero], [t.dtype for t in (*types[: n + 1],)], body=held)
        return dict(enumerate(found))

    def cond(
        self, node: Node, operands: list[Value], types: Sequence[TensorType], read: Collection[int]
    ) -> dict[int, Value]:
        m, sides = self.model, {}
        for name, side in (("then_branch", node.attrs["on_true"]), ("else_branch", node.attrs["on_false"])):
            with _Inside(m) as inside:
                made = self.nodes(side, operands[1:])
                sides[name] = inside.graph(name, list(zip(made, side.types, strict=True)))
        return dict(enumerate(m.many("If", operands[:1], [t.dtype for t in types], **sides)))

    def nodes(self, body: Body, given: Sequence[Value | None]) -> list[Value]:
        """What a body computes of values, as nodes."""
        graph, values, results = body.graph, dict[int, Value](), dict[int, dict[int, Value]]()
        for (name, _), value in zip(body.inputs, given, strict=True):
            if name in graph and value is not None:
                values[graph[name].id] = value
        for node in graph.nodes:
            if node.id in values or node.op.name == "input":
                continue
            if node.op.name == "constant":
                assert node.value is not None
                values[node.id] = self.model.constant(node.value)
            elif node.op.kind is Kind.CONTROL:
                results[node.id] = self.results(graph, node, [values[i] for i in node.inputs])
            elif node.op.kind is Kind.RESULT:
                values[node.id] = results[node.inputs[0]][node.attrs["index"]]
            else:
                values[node.id] = self.apply(node, values, graph.nodes)
        return [values[t.id] for t in body.outputs]


class _Inside:
    """Nodes that are made inside go into a graph of their own. What is known of sizes there is forgotten again."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self.inputs: list[Any] = []

    def __enter__(self) -> _Inside:
        self.around, self.model.nodes = self.model.nodes, []
        self.sizes = dict(self.model._sizes)
        return self

    def __exit__(self, *_: object) -> None:
        self.model.nodes, self.model._sizes = self.around, self.sizes

    def input(self, kind: TensorType) -> Value:
        name = self.model.fresh("given")
        self.inputs.append(self._info(name, kind))
        return Value(self.model, name, kind.dtype)

    def graph(self, name: str, outputs: Sequence[tuple[Value, TensorType]]) -> Any:
        """The graph, each output under a name of its own."""
        infos = []
        for value, kind in outputs:
            made = self.model.node("Identity", [value], kind.dtype)
            infos.append(self._info(made.name, kind))
        return self.model.onnx.helper.make_graph(self.model.nodes, name, self.inputs, infos)

    def _info(self, name: str, kind: TensorType) -> Any:
        h = self.model.onnx.helper
        shape = [s if isinstance(s, int) else None for s in kind.shape]
        return h.make_tensor_value_info(name, h.np_dtype_to_tensor_dtype(kind.dtype), shape)


def operators(nodes: Sequence[Any]) -> Iterator[str]:
    """The operators of ONNX nodes, and of the graphs that they hold."""
    for node in nodes:
        yield node.op_type
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from operators(attribute.g.node)


__all__ = ["Writer", "operators"]
