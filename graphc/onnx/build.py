"""A program as an ONNX model: inputs, state, one operation after the other, outputs.

The optimised program is written, the one that the kernel is made of, so that what graphc computes stably is stable in
the model too.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from graphc.config import __version__
from graphc.errors import ExportError
from graphc.ir import dims
from graphc.ir.body import bodies
from graphc.ir.graph import Graph
from graphc.ir.node import Node
from graphc.ir.op import Kind
from graphc.ir.state import Array
from graphc.ir.types import FLOAT64, TensorType
from graphc.onnx import compositions
from graphc.onnx.control import Writer, operators
from graphc.onnx.elementwise import Site
from graphc.onnx.model import Model, Value
from graphc.onnx.rules import MISSING, OPSET, OPSETS, REFUSED, RULES
from graphc.run.program import Program

MOST_BYTES = (1 << 31) - (1 << 24)  # of weights, in a file that protobuf can hold


@dataclass(frozen=True, slots=True)
class Built:
    """A model, its names, and what stock ONNX Runtime lacks for it."""

    proto: Any
    inputs: tuple[str, ...]  # the arguments, then the state that is updated
    outputs: tuple[str, ...]  # the results, then the next values of that state
    leaves: Mapping[str, Array]  # initializers under names of nodes
    missing: Mapping[str, tuple[str, ...]]  # node -> its float64 operators that ONNX Runtime does not have


def build(program: Program, state: Mapping[str, Array], opset: int = OPSET) -> Built:
    """The model of ``program`` with these values of state. ExportError, naming every node that ONNX cannot hold."""
    if type(opset) is not int or opset not in OPSETS:
        raise ExportError(f"opset must be an int from {OPSETS[0]} to {OPSETS[-1]}, found {opset!r}"[:200])
    refuse(program.optimised.nodes)
    model = Model(opset)
    names = _names(model, program)
    walk = _Walk(model, program.optimised, names)
    for name, array in names.stored.items():
        walk.leaves[array] = state[name]
        model.initializer(array, state[name])
    walk.all()
    if model.bytes > MOST_BYTES:
        raise ExportError(f"an ONNX file holds less than 2 GiB; the weights have {model.bytes} bytes")
    entering = (*names.inputs.values(), *(names.stored[name] for name in program.updates))
    proto = _assembled(program, walk, entering)
    return Built(proto, entering, names.outputs, walk.leaves, walk.missing)


@dataclass(frozen=True, slots=True)
class _Names:
    """What the model calls arguments, state and what leaves it."""

    inputs: Mapping[str, str]  # an argument's name -> the model's
    stored: Mapping[str, str]  # a state array's name -> the model's
    outputs: tuple[str, ...]  # of the graph's outputs, in their order


def _names(model: Model, program: Program) -> _Names:
    inputs = {t.name: model.fresh(plain(t.name)) for t in program.arguments}
    held = [n.name for n in program.optimised.nodes if n.op.name in ("parameter", "variable")]
    stored = {name: model.fresh(plain(name)) for name in dict.fromkeys([*held, *program.updates])}
    model.axes = {
        symbol: (inputs[t.name], axis)
        for t in reversed(program.arguments)
        for axis, size in reversed(list(enumerate(t.shape)))
        if (symbol := dims.symbol_name(size)) is not None
    }
    results = program.structure.keys or tuple(t.name for t in program.results)
    wanted = [*results, *(f"{name}/next" for name in program.updates)]
    return _Names(inputs, stored, tuple(model.fresh(plain(name)) for name in wanted))


class _Walk:
    """Writes one operation after the other, and holds what they are known by."""

    def __init__(self, model: Model, graph: Graph, names: _Names) -> None:
        self.model, self.graph, self.names = model, graph, names
        self.roots = [t.id for t in graph.outputs]
        self.values: dict[int, Value] = {}
        self.results: dict[int, dict[int, Value]] = {}  # of loops and branches
        self.leaves: dict[str, Array] = {}
        self.missing: dict[str, tuple[str, ...]] = {}
        self.whole = compositions.find(graph, model.opset)
        self.writer = Writer(model, lambda node, values, nodes: _apply(model, node, values, nodes, {}))

    def all(self) -> None:
        left_out = compositions.unneeded(self.whole, self.graph)
        for node in self.graph.nodes:
            if node.id not in left_out:
                self.one(node)
        for id, name in zip(self.roots, self.names.outputs, strict=True):
            if self.values[id].name != name:  # a leaf, or a value that leaves twice
                self.model.named(self.values[id], name, len(self.model.nodes))

    def one(self, node: Node) -> None:
        since = len(self.model.nodes)
        match node.op.kind:
            case Kind.CONTROL:
                with _naming(node):
                    self.results[node.id] = self.writer.results(self.graph, node, [self.values[i] for i in node.inputs])
                self.note(node, operators(self.model.nodes[since:]))
            case Kind.RESULT:
                self.name(node, self.results[node.inputs[0]][node.attrs["index"]], since)
            case Kind.LEAF:
                self.values[node.id] = self.leaf(node)
            case _:
                self.name(node, _apply(self.model, node, self.values, self.graph.nodes, self.whole), since)
                if node.type.dtype == FLOAT64:
                    self.note(node, [n.op_type for n in self.model.nodes[since:]])

    def name(self, node: Node, value: Value, since: int) -> None:
        """Calls what a node makes as the output that it is, or by the node's name."""
        leaves = node.id in self.roots
        name = self.names.outputs[self.roots.index(node.id)] if leaves else self.model.fresh(plain(node.name))
        self.values[node.id] = self.model.named(value, name, since)

    def leaf(self, node: Node) -> Value:
        if node.value is not None and node.op.name == "constant":
            name = self.model.fresh(plain(node.name))
            self.leaves[name] = node.value
            return self.model.initializer(name, node.value)
        return Value(self.model, {**self.names.inputs, **self.names.stored}[node.name], node.type.dtype)

    def note(self, node: Node, used: Iterable[str]) -> None:
        if lacking := sorted(set(used) & MISSING):
            self.missing[node.name] = tuple(lacking)


def _assembled(program: Program, walk: _Walk, entering: Sequence[str]) -> Any:
    """The ModelProto; it tells the type of every value, for those who look at it."""
    model, graph, helper = walk.model, walk.graph, walk.model.onnx.helper
    types = [*(t.type for t in program.arguments), *(program.graph[name].type for name in program.updates)]
    inputs = [_info(model, name, t) for name, t in zip(entering, types, strict=True)]
    outputs = [_info(model, name, t.type) for name, t in zip(walk.names.outputs, graph.outputs, strict=True)]
    between = [n for n in graph.nodes if n.op.kind is not Kind.LEAF and n.id in walk.values and n.id not in walk.roots]
    told = [_info(model, walk.values[n.id].name, n.type) for n in between]
    name = plain(program.graph.name) or "graph"
    proto = helper.make_graph(model.nodes, name, inputs, outputs, model.initializers, value_info=told)
    opsets = [helper.make_opsetid("", model.opset)]
    return helper.make_model(
        proto,
        opset_imports=opsets,
        ir_version=helper.find_min_ir_version_for(opsets, ignore_unknown=True),
        producer_name="graphc",
        producer_version=__version__,
    )


def refuse(nodes: list[Node]) -> None:
    """ExportError where nodes have no form in ONNX, with the reason for each op."""
    apart = (Kind.LEAF, Kind.CONTROL, Kind.RESULT)
    for node in nodes:
        for _, body in bodies(node):
            refuse(body.graph.nodes)
    refused = [n for n in nodes if n.op.kind not in apart and n.op.name not in RULES]
    if refused:
        first = refused[0]
        reasons = {n.op.name: REFUSED.get(n.op.name, "it has no rule in graphc.onnx.rules") for n in refused}
        named = ", ".join(f"{n.name[:60]} ({n.op.name})" for n in refused[:5])
        more = f" and {len(refused) - 5} more" if len(refused) > 5 else ""
        why = "; ".join(f"{op}: {reason}" for op, reason in reasons.items())
        raise ExportError(f"ONNX cannot hold {named}{more}: {why}", node=first.name, origin=first.origin)


def _apply(
    model: Model,
    node: Node,
    values: Mapping[int, Value],
    nodes: Sequence[Node],
    whole: Mapping[int, compositions.Whole],
) -> Value:
    if node.id in whole:
        found = whole[node.id]
        return model.node(found.type, [values[i] for i in found.operands], node.type.dtype, **found.attributes)
    site = Site(model, node, [nodes[i].type for i in node.inputs])
    with _naming(node):
        return RULES[node.op.name](site, *(values[i] for i in node.inputs))


@contextmanager
def _naming(node: Node) -> Iterator[None]:
    """An ExportError is about this node, where it is about none yet."""
    try:
        yield
    except ExportError as error:
        if error.node is not None:
            raise
        text = f"{node.name[:60]} ({node.op.name}): {error.message}"
        raise ExportError(text, node=node.name, origin=node.origin) from None


def plain(name: str) -> str:
    """A name as UTF-8 can hold it: lone surrogates are written out."""
    return name.encode("utf-8", "backslashreplace").decode()


def _info(model: Model, name: str, kind: TensorType) -> Any:
    h = model.onnx.helper
    shape = [s if isinstance(s, int) else plain(str(s)) for s in kind.shape]
    return h.make_tensor_value_info(name, h.np_dtype_to_tensor_dtype(kind.dtype), shape)


__all__ = ["Built", "build"]
