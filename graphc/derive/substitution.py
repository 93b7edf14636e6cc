"""Graphs made of graphs: tensors replaced, and what is random or only for training taken out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from graphc.errors import DTypeError, ShapeError, caller
from graphc.ir.body import Body, bodies
from graphc.ir.call import Call
from graphc.ir.graph import Graph, copy_node, located, rebuild, topological
from graphc.ir.tensor import Tensor
from graphc.ops.apply import graph_of, tensor_list


def substitute(outputs: Any, replacements: Mapping[Tensor, Tensor]) -> Any:
    """Copies of ``outputs`` (a tensor, list or dict) in which tensors are replaced, in the same graph.

    Raises ShapeError or DTypeError where a replacement has another type, GraphError for another graph.

    >>> import graphc as gx
    >>> g = gx.Graph(float_dtype="float64")
    >>> x, y = g.input("x"), g.input("y")
    >>> float(gx.compile([y], gx.substitute(x * x + 1, {x: 2 * y}), backend="numpy")(3.0))
    37.0
    """
    with located("substitute", caller()):
        graph = graph_of([*_flat(outputs), *replacements, *replacements.values()])
        for old, new in replacements.items():
            if new.shape != old.shape:
                raise ShapeError(f"{old.name} is {old.type}, its replacement {new.name} is {new.type}", node=old.name)
            if new.dtype != old.dtype:
                raise DTypeError(f"{old.name} is {old.type}, its replacement {new.name} is {new.type}", node=old.name)
        made = {old.id: new for old, new in replacements.items()}
        return rebuilt(graph, outputs, made)


def inference(outputs: Any) -> Any:
    """Copies of ``outputs`` (a tensor, list or dict), in the same graph: without dropout, and where layers of
    `graphc.nn` normalise a batch, with the statistics that their variables hold.

    Raises GraphError where ``outputs`` hold what is no tensor.

    >>> import graphc as gx
    >>> g = gx.Graph()
    >>> x = g.input("x", (3,), "float64")
    >>> y = gx.dropout(x, 0.5, key=g.random_key()) + 1
    >>> gx.compile([x], gx.inference(y), backend="numpy")([1, 2, 3]).tolist()
    [2.0, 3.0, 4.0]
    """
    with located("inference", caller()):
        graph = graph_of(_flat(outputs))
        made: dict[int, Tensor] = {}
        for node in topological(graph, [t.id for t in _flat(outputs)]):
            source = dropped(graph, node.id)
            if source is not None:
                made[node.id] = rebuilt(graph, source, made)
            inner = {name: _inferred(body) for name, body in bodies(node)}
            if any(inner[name] is not body for name, body in bodies(node)):
                operands = [made.get(i, graph.tensors[i]) for i in node.inputs]
                made[node.id] = graph.append(node.op, operands, {**node.attrs, **inner}, origin=node.origin)
        return rebuilt(graph, outputs, made)


def _inferred(body: Body) -> Body:
    """A body without what only training has."""
    graph = body.graph
    if not any(node.id in graph.dropouts or bodies(node) for node in graph.nodes):
        return body
    new = Graph(graph.name, graph.float_dtype)
    made: dict[int, Tensor] = {}
    for node in graph.nodes:
        if node.id in graph.dropouts:
            made[node.id] = made[graph.dropouts[node.id]]
            continue
        attrs = {**node.attrs, **{name: _inferred(inner) for name, inner in bodies(node)}}
        made[node.id] = copy_node(new, replace(node, attrs=attrs), [made[i] for i in node.inputs])
    new.outputs = [made[t.id] for t in body.outputs]
    return body.mapped(lambda _: rebuild(new))


def dropped(graph: Graph, id: int) -> Tensor | None:
    """What stands in inference for the node of that number, where only training has it."""
    found = graph.dropouts.get(id)
    return None if found is None else graph.tensors[found]


def _flat(outputs: Any) -> list[Tensor]:
    many = outputs.values() if isinstance(outputs, Mapping) else outputs
    return [many] if isinstance(many, Tensor) else tensor_list("outputs", many)


def rebuilt(graph: Graph, outputs: Any, made: dict[int, Tensor]) -> Any:
    """``outputs`` with what depends on a replaced tensor built again; ``made`` grows with it."""
    calls: dict[Call, Call] = {}  # what nodes were made together are so again
    for node in topological(graph, [t.id for t in _flat(outputs)]):
        if node.id not in made and any(i in made and made[i].id != i for i in node.inputs):
            operands = [made.get(i, graph.tensors[i]) for i in node.inputs]
            call = None if node.call is None else calls.setdefault(node.call, node.call.again())
            copy = graph.append(node.op, operands, node.attrs, origin=node.origin, forward=node.forward, call=call)
            if call is not None and node.call is not None and node.name == node.call.name:
                call.name = copy.name
            made[node.id] = copy

    def of(t: Tensor) -> Tensor:
        return made.get(t.id, t)

    if isinstance(outputs, Tensor):
        return of(outputs)
    if isinstance(outputs, Mapping):
        return {k: of(t) for k, t in outputs.items()}
    items: Sequence[Tensor] = outputs
    return [of(t) for t in items]
