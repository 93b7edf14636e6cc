"""A program as an ONNX model: inputs, state, one operation after the other, outputs.

The optimised program is written, the one that the kernel is made of, so that what graphc computes stably is stable in
the model too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from graphc.config import __version__
from graphc.errors import ExportError
from graphc.ir import dims
from graphc.ir.body import bodies
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
    graph = program.optimised
    refuse(graph.nodes)
    model = Model(opset)
    inputs = {t.name: model.fresh(plain(t.name)) for t in program.arguments}
    held = {n.name: n for n in graph.nodes if n.op.name in ("parameter", "variable")}
    stored = {name: model.fresh(plain(name)) for name in dict.fromkeys([*held, *program.updates])}
    model.axes = {
        symbol: (inputs[t.name], axis)
        for t in reversed(program.arguments)
        for axis, size in reversed(list(enumerate(t.shape)))
        if (symbol := dims.symbol_name(size)) is not None
    }
    keys = program.structure.keys or tuple(t.name for t in program.results)
    wanted = [*keys, *(f"{name}/next" for name in program.updates)]
    outputs = tuple(model.fresh(plain(name)) for name in wanted)
    roots = [t.id for t in graph.outputs]
    leaves = {stored[name]: state[name] for name in stored}
    for name, array in leaves.items():
        model.initializer(name, array)
    values: dict[int, Value] = {}
    results: dict[int, dict[int, Value]] = {}  # of loops and branches
    writer = Writer(model, lambda node, values, nodes: _apply(model, node, values, nodes, {}))
    whole = compositions.find(graph, opset)
    left_out = compositions.unneeded(whole, graph)
    missing: dict[str, tuple[str, ...]] = {}
    for node in graph.nodes:
        if node.id in left_out:
            continue
        if node.op.kind is Kind.CONTROL:
            since = len(model.nodes)
            with _naming(node):
                results[node.id] = writer.results(graph, node, [values[i] for i in node.inputs])
            if lacking := sorted(set(operators(model.nodes[since:])) & MISSING):
                missing[node.name] = tuple(lacking)
        elif node.op.kind is Kind.RESULT:
            name = outputs[roots.index(node.id)] if node.id in roots else model.fresh(plain(node.name))
            found = results[node.inputs[0]][node.attrs["index"]]
            values[node.id] = model.named(found, name, len(model.nodes))
        elif node.op.kind is not Kind.LEAF:
            name = outputs[roots.index(node.id)] if node.id in roots else model.fresh(plain(node.name))
            since = len(model.nodes)
            values[node.id] = model.named(_apply(model, node, values, graph.nodes, whole), name, since)
            lacking = sorted({n.op_type for n in model.nodes[since:]} & MISSING)
            if lacking and node.type.dtype == FLOAT64:
                missing[node.name] = tuple(lacking)
        elif node.value is not None and node.op.name == "constant":
            name = model.fresh(plain(node.name))
            values[node.id], leaves[name] = model.initializer(name, node.value), node.value
        else:
            values[node.id] = Value(model, {**inputs, **stored}[node.name], node.type.dtype)
    for k, id in enumerate(roots):
        if values[id].name != outputs[k]:
            model.named(values[id], outputs[k], len(model.nodes))
    if model.bytes > MOST_BYTES:
        raise ExportError(f"an ONNX file holds less than 2 GiB; the weights have {model.bytes} bytes")
    types = [t.type for t in program.arguments]
    types += [program.graph[name].type for name in program.updates]
    entering = (*inputs.values(), *(stored[name] for name in program.updates))
    infos = [_info(model, name, t) for name, t in zip(entering, types, strict=True)]
    leaving = [_info(model, name, t.type) for name, t in zip(outputs, graph.outputs, strict=True)]
    h = model.onnx.helper
    between = [n for n in graph.nodes if n.op.kind is not Kind.LEAF and n.id in values and n.id not in roots]
    told = [_info(model, values[n.id].name, n.type) for n in between]
    name = plain(program.graph.name) or "graph"
    proto = h.make_graph(model.nodes, name, infos, leaving, model.initializers, value_info=told)
    opsets = [h.make_opsetid("", opset)]
    made = h.make_model(
        proto,
        opset_imports=opsets,
        ir_version=h.find_min_ir_version_for(opsets, ignore_unknown=True),
        producer_name="graphc",
        producer_version=__version__,
    )
    return Built(made, entering, outputs, leaves, missing)


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
