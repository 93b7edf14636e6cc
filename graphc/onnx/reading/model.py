"""A model of any writer as a graph: inputs, weights, node after node, outputs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from graphc.errors import GraphcError, GraphFileError, ShapeError, UnsupportedOpError
from graphc.file import schema
from graphc.file.strict import show
from graphc.ir.dims import Size
from graphc.ir.graph import Graph
from graphc.ir.op import Kind
from graphc.ir.sizes import parse
from graphc.ir.state import Array
from graphc.ir.tensor import Tensor
from graphc.ir.types import BOOL, DTYPES, INT64
from graphc.onnx import wire
from graphc.onnx.reading.elementwise import ELEMENTWISE, Reader
from graphc.onnx.reading.held import LONGEST, Held, Reading, free, terms
from graphc.onnx.reading.layout import LAYOUT
from graphc.onnx.reading.network import LEARNED, NETWORK
from graphc.onnx.reading.sizes import SIZES, Known
from graphc.ops.elementwise import identity
from graphc.reference import evaluate

OPSETS = range(9, 27)
READERS: Mapping[str, Mapping[str, Reader]] = {
    "": {**ELEMENTWISE, **LAYOUT, **NETWORK},
    "ai.onnx.ml": LEARNED,
}
HINTS = {"ZipMap": 'export with options={"zipmap": False}'}
MOST_IN_SIZE = 256  # terms
MOST_FOLDED = 4096  # elements
LARGEST_SIZE = 1 << 63


def read(proto: Any, arrays: Mapping[str, Array]) -> Graph:
    """The graph of a model. GraphFileError or UnsupportedOpError, naming the node and its operator, for any other."""
    opset = _opset(proto)
    kinds = {v.type.tensor_type.elem_type for v in proto.graph.input}
    graph = Graph(proto.graph.name or "graph", "float64" if kinds and 1 not in kinds and 11 in kinds else "float32")
    values: dict[str, Held] = {}
    for name, array in arrays.items():
        role = "parameter" if array.ndim else "constant"
        values[name] = Held(graph, name, array=array, role=role)
    for info in proto.graph.input:
        if info.name not in values:  # an initializer of that name is its default
            values[info.name] = Held(graph, info.name, tensor=_input(graph, info))
    for node in proto.graph.node:
        _node(graph, node, values, opset)
    graph.outputs = [_output(values, info.name) for info in proto.graph.output]
    return graph


def _opset(proto: Any) -> int:
    found = [o.version for o in proto.opset_import if o.domain in ("", "ai.onnx")]
    if not found or max(found) not in OPSETS:
        text = f"read are opsets {OPSETS[0]} to {OPSETS[-1]}, the model has {max(found, default='none')}"
        raise UnsupportedOpError(text)
    return int(max(found))


def _input(graph: Graph, info: Any) -> Tensor:
    place = f"input {show(info.name)}"
    if info.type.WhichOneof("value") != "tensor_type" or not info.type.tensor_type.HasField("shape"):
        raise GraphFileError(f"{place}: read are only tensors of known rank", node=info.name)
    kind = info.type.tensor_type
    dtype = wire.dtype_name(kind.elem_type, place)
    if len(kind.shape.dim) > schema.MOST_AXES:
        raise GraphFileError(f"{place}: more than {schema.MOST_AXES} axes", node=info.name)
    try:
        return graph.input(info.name, [_entry(d) for d in kind.shape.dim], dtype)
    except GraphcError as error:
        raise GraphFileError(f"{place}: {error.message[:300]}", node=info.name) from None


def _entry(dim: Any) -> Size | None:
    """A size: a number, a name, the printed form of a formula, or a fresh symbol."""
    if dim.WhichOneof("value") == "dim_value":
        return int(dim.dim_value)
    try:
        return parse(dim.dim_param, most_terms=1) if dim.dim_param else None
    except ShapeError:
        return None


def _node(graph: Graph, node: Any, values: dict[str, Held], opset: int) -> None:
    missing = next((name for name in node.input if name and name not in values), None)
    operands = [values[name] if name and missing is None else None for name in node.input]
    at = Reading(graph, node, operands, opset)
    if missing is not None:
        at.fail(f"nothing before it is called {show(missing)}")
    for name in node.output:
        if name and name in values:
            at.fail(f"{show(name)} is the name of an earlier value")
    since = len(graph)
    if since + max(len(node.input), len(node.output)) > schema.MOST_NODES:
        at.fail(f"with its operands and results the graph has more than {schema.MOST_NODES} nodes")
    try:
        made = _constant(at) or _followed(at) or _folded(at) or _applied(at)
    except (GraphFileError, UnsupportedOpError) as error:
        if error.node == at.name:
            raise
        raise type(error)(f"{at.place}: {error.message[:300]}", node=at.name) from None
    except GraphcError as error:
        at.fail(error.message[:300])
    except (ArithmeticError, AssertionError, AttributeError, LookupError, RecursionError, TypeError, ValueError):
        at.fail(f"its operands and attributes are not such as {node.op_type} takes")
    _limit(at, since)
    for k, name in enumerate(node.output):
        if name:
            if k >= len(made):
                at.refuse(f"its output {k} is not read")
            values[name] = made[k]
            _rename(graph, made[k], name, since)


def _constant(at: Reading) -> list[Held] | None:
    if at.node.op_type != "Constant" or at.node.domain not in ("", "ai.onnx"):
        return None
    return [Held(at.graph, at.name, array=at.constant())]


def _followed(at: Reading) -> list[Held] | None:
    """What is computed of sizes alone."""
    op = at.node.op_type
    if at.node.domain not in ("", "ai.onnx") or op not in SIZES or not at.operands:
        return None
    known: list[Known] = []
    if op not in ("Shape", "Size"):
        for operand in at.operands:
            if operand is None or operand.sizes is None:
                return None
            known.append(operand.sizes)
    found = SIZES[op](at, *known)
    if found is None:
        return None
    many = found if isinstance(found, tuple) else (found,)
    if len(many) > LONGEST:
        return None
    if any(terms(s) > MOST_IN_SIZE or (isinstance(s, int) and abs(s) >= LARGEST_SIZE) for s in many):
        at.fail("a size is too large or too long")
    dtype = BOOL if op == "Equal" else INT64 if op in ("Shape", "Size") else at.held(op == "Where").dtype
    if op == "Cast":
        dtype = DTYPES[wire.dtype_name(at.attribute("to", 0), "to")]
    return [Held(at.graph, at.name, sizes=found, dtype=dtype)]


def _applied(at: Reading) -> list[Held]:
    domain = "" if at.node.domain == "ai.onnx" else at.node.domain
    reader = READERS.get(domain, {}).get(at.node.op_type)
    if reader is None:
        hint = HINTS.get(at.node.op_type)
        at.refuse(f"this operator is not read{f'; {hint}' if hint else ''}")
    made = reader(at)
    return [Held(at.graph, at.name, tensor=t) for t in (made if isinstance(made, list) else [made])]


def _folded(at: Reading) -> list[Held] | None:
    """What is computed of few known integers alone, such as widths that are put in order."""
    if not at.operands or at.node.op_type in ("Shape", "Size"):
        return None
    scratch, operands = Graph("scratch"), []
    for operand in at.operands:
        known = None if operand is None else operand.known
        if operand is not None and (known is None or known.size > MOST_FOLDED):
            return None
        operands.append(None if known is None else Held(scratch, "", array=known))
    made = [held.tensor() for held in _applied(Reading(scratch, at.node, operands, at.opset))]
    if any(not isinstance(n.type.size, int) or n.type.size > MOST_FOLDED for n in scratch.nodes):
        return None
    if any(t.dtype.kind == "f" for t in made):
        return None
    return [Held(at.graph, at.name, array=np.array(a)) for a in evaluate(made, {})]


def _limit(at: Reading, since: int) -> None:
    """Refuses sizes that would make later ones expensive."""
    if len(at.graph) > schema.MOST_NODES:
        at.fail(f"the graph has more than {schema.MOST_NODES} nodes")
    for node in at.graph.nodes[since:]:
        product, known = 1, 1
        for size in node.type.shape:
            product *= terms(size)
            known *= size if isinstance(size, int) and size else 1
        if product > schema.MOST_IN_PRODUCT or known > schema.LARGEST_SHAPE or node.type.ndim > schema.MOST_AXES:
            at.fail(f"a shape is too large or too long: {str(node.type)[:80]}")


def _rename(graph: Graph, held: Held, name: str, since: int) -> None:
    """The node made for a value takes its name where it has none of its own."""
    tensor = held.made
    if tensor is None or tensor.id < since or name in graph or tensor.op.kind is Kind.LEAF:
        return
    if tensor.name.startswith(f"{tensor.op.name}_"):
        tensor.named(name)


def _output(values: Mapping[str, Held], name: str) -> Tensor:
    if name not in values:
        raise GraphFileError(f"output {show(name)}: no node computes it", node=name)
    tensor = values[name].tensor()
    if tensor.op.kind is Kind.LEAF or tensor.name != name:
        return identity(tensor).named(free(tensor.graph, name))
    return tensor


__all__ = ["OPSETS", "READERS", "read"]
