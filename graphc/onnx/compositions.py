"""Operators of ONNX that are several nodes here: found in a program and written whole.

What an operator looks like is not described but made: graphc's function for it is traced on the operand's type, goes
through the passes that the program went through, and is looked for node by node.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from graphc.ir.graph import Graph
from graphc.ir.node import Node
from graphc.ir.op import Kind
from graphc.ir.tensor import Tensor
from graphc.ir.types import FLOAT32, DType, TensorType, is_float
from graphc.ops.activation import gelu
from graphc.ops.softmax import layer_norm, log_softmax, softmax
from graphc.rewrite.passes import run

Skeleton = tuple[Any, ...] | None  # an op with its operands'; None where anything may stand
LEVELS = 2  # of a skeleton
EPSILON = "epsilon"


@dataclass(frozen=True, slots=True)
class Composition:
    """An operator: the function that it is, of operands and then an axis, and what is said of it in ONNX."""

    type: str
    function: Callable[..., Tensor]
    operands: tuple[str, ...] = ("x",)
    axes: bool = False  # along any one axis, else without a choice
    attributes: Mapping[str, Any] = field(default_factory=dict)
    opset: int = 13
    dtypes: tuple[DType, ...] = (FLOAT32,)  # ONNX Runtime has others in float32 only, or computes so


def _layer_norm(x: Tensor, weight: Tensor, bias: Tensor | None, epsilon: Tensor) -> Tensor:
    return layer_norm(x, weight, bias, epsilon)  # type: ignore[arg-type]


def _scaled(x: Tensor, weight: Tensor, epsilon: Tensor) -> Tensor:
    return _layer_norm(x, weight, None, epsilon)


BOTH = (FLOAT32, np.dtype("float64"))
LAST = {"axis": -1}
COMPOSITIONS = (
    Composition("Softmax", softmax, axes=True, dtypes=BOTH),
    Composition("LogSoftmax", log_softmax, axes=True, dtypes=BOTH),
    Composition("LayerNormalization", _layer_norm, ("x", "weight", "bias", EPSILON), False, LAST, 17),
    Composition("LayerNormalization", _scaled, ("x", "weight", EPSILON), False, LAST, 17),
    Composition("Gelu", gelu, opset=20),
    Composition("Gelu", partial(gelu, approximate="tanh"), attributes={"approximate": "tanh"}, opset=20),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Whole:
    """An operator found: its operands and attributes, and the nodes that it stands for, its result left out."""

    type: str
    operands: tuple[int, ...]
    attributes: Mapping[str, Any]
    inner: frozenset[int]


def find(graph: Graph, opset: int) -> dict[int, Whole]:
    """The operators that stand whole in ``graph``, by the number of the node that is their result."""
    nodes = graph.nodes
    users: dict[int, list[int]] = {n.id: [] for n in nodes}
    for node in nodes:
        for i in node.inputs:
            users[i].append(node.id)
    roots = {t.id for t in graph.outputs}
    made: dict[Any, Graph] = {}
    found: dict[int, Whole] = {}
    taken: set[int] = set()
    fitting = [c for c in COMPOSITIONS if c.opset <= opset]
    skeletons = [
        _skeleton(p, p.outputs[0].node, LEVELS) for p in (_pattern(c, TensorType(FLOAT32, (2, 3)), 1) for c in fitting)
    ]
    for node in reversed(nodes):
        if node.id in taken or not is_float(node.type.dtype) or not node.type.shape or node.op.kind is Kind.LEAF:
            continue
        for composition, skeleton in zip(fitting, skeletons, strict=True):
            if node.type.dtype not in composition.dtypes or not _alike(skeleton, graph, node):
                continue
            for axis in _axes(composition, node.type):
                key = composition.type, composition.operands, tuple(composition.attributes), node.type, axis
                if key not in made:
                    made[key] = _pattern(composition, node.type, axis)
                whole = _match(composition, made[key], graph, node, axis)
                if whole is not None and _closed(whole, nodes, users, roots, node.id):
                    found[node.id] = whole
                    taken |= whole.inner
                    break
            if node.id in found:
                break
    return found


def _axes(composition: Composition, kind: TensorType) -> Iterator[int]:
    yield from range(kind.ndim) if composition.axes else (kind.ndim - 1,)


def _pattern(composition: Composition, kind: TensorType, axis: int) -> Graph:
    """The operator's own graph on an operand of this type, as the passes leave it."""
    graph = Graph("pattern", kind.dtype)
    shapes = {"x": kind.shape, "weight": kind.shape[-1:], "bias": kind.shape[-1:], EPSILON: ()}
    operands = [graph.input(name, shapes[name], kind.dtype) for name in composition.operands]
    graph.outputs = [composition.function(*operands, **({"axis": axis} if composition.axes else {}))]
    return run(graph)


def _skeleton(graph: Graph, node: Node, levels: int) -> Skeleton:
    if levels < 0 or node.op.kind is Kind.LEAF:
        return None
    return node.op.name, *(_skeleton(graph, graph.nodes[i], levels - 1) for i in node.inputs)


def _alike(skeleton: Skeleton, graph: Graph, node: Node) -> bool:
    if skeleton is None:
        return True
    name, *operands = skeleton
    if node.op.name != name or len(node.inputs) != len(operands):
        return False
    return all(_alike(s, graph, graph.nodes[i]) for s, i in zip(operands, node.inputs, strict=True))


def _match(composition: Composition, pattern: Graph, graph: Graph, root: Node, axis: int) -> Whole | None:
    """The operator with ``root`` as its result, where the nodes before it are those of the pattern."""
    place: dict[int, int] = {}  # node of the pattern -> node of the graph
    pairs: list[tuple[Node, Node]] = [(pattern.outputs[0].node, root)]
    while pairs:
        p, n = pairs.pop()
        if place.setdefault(p.id, n.id) != n.id or p.type != n.type:
            return None
        if p.op.name == "input":
            continue
        if p.op is not n.op or dict(p.attrs) != dict(n.attrs) or len(p.inputs) != len(n.inputs):
            return None
        if p.value is not None and (n.value is None or not np.array_equal(p.value, n.value)):
            return None
        pairs += [(pattern.nodes[a], graph.nodes[b]) for a, b in zip(p.inputs, n.inputs, strict=True)]
    bound = {name: place.get(t.id) for name, t in pattern.inputs.items()}
    if any(id is None for id in bound.values()):
        return None
    attributes = dict(composition.attributes) | ({"axis": axis} if composition.axes else {})
    inner = {id for p, id in place.items() if pattern.nodes[p].op.name != "input"} - {root.id}
    if EPSILON in bound:
        epsilon = graph.nodes[bound.pop(EPSILON)]  # type: ignore[index]
        if epsilon.value is None or epsilon.op.name != "constant":
            return None
        attributes["epsilon"] = float(epsilon.value)
        inner.add(epsilon.id)
    return Whole(composition.type, tuple(bound.values()), attributes, frozenset(inner))  # type: ignore[arg-type]


def _closed(whole: Whole, nodes: Sequence[Node], users: Mapping[int, list[int]], roots: set[int], result: int) -> bool:
    """Whether nothing else needs what is computed inside."""
    own = {*whole.inner, result}
    return all(not nodes[i].inputs or (i not in roots and own.issuperset(users[i])) for i in whole.inner)


def unneeded(found: Mapping[int, Whole], graph: Graph) -> set[int]:
    """Nodes that are not written, since only operators that are written whole need them."""
    inner = {i for whole in found.values() for i in whole.inner}
    roots = {t.id for t in graph.outputs}
    needed = {i for n in graph.nodes if n.id not in inner and n.id not in found for i in n.inputs} | roots
    needed |= {i for whole in found.values() for i in whole.operands}
    return {i for i in inner if i not in needed}


__all__ = ["COMPOSITIONS", "Whole", "find", "unneeded"]
