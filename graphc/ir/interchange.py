"""Graphs from networkx DAGs that a user built by hand, or that ``to_networkx`` gave.

Nothing of a DAG is ever run: sizes are parsed by a small grammar, values must be arrays or numbers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

import networkx as nx
import numpy as np

from graphc.errors import GraphcError, GraphError, ShapeError, caller
from graphc.ir import dims
from graphc.ir.dims import Size
from graphc.ir.graph import Graph
from graphc.ir.op import Kind, Op, lookup
from graphc.ir.sizes import parse
from graphc.ir.tensor import Tensor
from graphc.ir.types import Shape, TensorType, dtype_of


def from_networkx(dag: Any, outputs: Sequence[Any] | None = None) -> Graph:
    """A graph from a networkx MultiDiGraph, or a DiGraph whose edges carry ``slot``.

    Nodes carry ``op`` and, where it has any, ``attrs`` (or the attributes by themselves); ``dtype`` and ``shape`` are
    inferred where left out, except on inputs; leaves with state carry ``value``. Node keys are the names. ``outputs``
    are node keys: by default the graph's own list, else all sinks.

    Raises GraphError, naming the node, for a cycle, a missing or doubled slot, wrong arity or attributes, a missing
    or wrong value; UnsupportedOpError for an unknown op; ShapeError and DTypeError for types that do not fit.
    """
    origin = caller()
    if not isinstance(dag, nx.DiGraph):
        raise GraphError(f"expected a networkx MultiDiGraph or DiGraph, found {type(dag).__name__}", origin=origin)
    try:
        order = list(nx.lexicographical_topological_sort(dag, key=_rank(dag)))
    except nx.NetworkXUnfeasible:
        cycle = [str(edge[0]) for edge in nx.find_cycle(dag)]
        raise GraphError(
            f"the graph has a cycle: {' -> '.join([*cycle, cycle[0]])}", node=cycle[0], origin=origin
        ) from None
    graph = Graph(str(dag.graph.get("name") or "graph"), dag.graph.get("float_dtype", "float32"))
    made: dict[Any, Tensor] = {}
    with graph.placed(origin, None):
        for key in order:
            try:
                made[key] = _node(graph, dag, key, made)
            except GraphcError as error:
                if error.node == str(key) and error.origin is not None:
                    raise
                raise type(error)(f"node {key!s}: {error.message}", node=str(key), origin=origin) from None
    chosen = dag.graph.get("outputs") if outputs is None else outputs
    if chosen is not None:
        for key in chosen:
            if key not in made:
                raise GraphError(f"the output {key!r} is not a node", node=str(key), origin=origin)
        graph.outputs = [made[key] for key in chosen]
    return graph


def _rank(dag: Any) -> Any:
    """Ties are broken by the order in which nodes were added."""
    place = {key: k for k, key in enumerate(dag)}
    return place.__getitem__


def _node(graph: Graph, dag: Any, key: Any, made: Mapping[Any, Tensor]) -> Tensor:
    data = dict(dag.nodes[key])
    name = str(key)
    if name in graph:
        _fail(f"two nodes are called {name!r}")
    if "op" not in data:
        _fail("the attribute op is missing")
    if not isinstance(data["op"], str):
        _fail(f"op must be a str, found {data['op']!r}")
    op = lookup(data["op"])
    operands = _operands(dag, key, op, made)
    if op.kind is Kind.LEAF:
        return _leaf(graph, op, name, data)
    attrs = _attrs(graph, op, data)
    tensor = graph.append(op, operands, attrs, name=name)
    for field, found in (("dtype", tensor.dtype), ("shape", tensor.shape)):
        if data.get(field) is not None:
            declared: Any = dtype_of(data[field]) if field == "dtype" else _shape(data[field])
            if declared != found:
                raise ShapeError(f"{field} is declared {data[field]!r}, but {op.name} gives {found}")
    return tensor


def _operands(dag: Any, key: Any, op: Op, made: Mapping[Any, Tensor]) -> list[Tensor]:
    slots: dict[int, Tensor] = {}
    multi = dag.is_multigraph()
    for edge in dag.in_edges(key, keys=True, data=True) if multi else dag.in_edges(key, data=True):
        data = edge[-1]
        slot = data.get("slot", edge[2] if multi else None)
        many = slot if isinstance(slot, (tuple, list)) and not multi else (slot,)
        for s in many:
            if isinstance(s, bool) or not isinstance(s, (int, np.integer)) or s < 0:
                _fail(f"the edge from {edge[0]!s} needs a slot, an int of at least 0; found {s!r}")
            if int(s) in slots:
                _fail(f"slot {s} is filled twice")
            slots[int(s)] = made[edge[0]]
    if sorted(slots) != list(range(len(slots))):
        _fail(f"slot {next(k for k in range(len(slots) + 1) if k not in slots)} is missing; found {sorted(slots)}")
    if (op.arity is not None and len(slots) != op.arity) or (op.arity is None and not slots):
        _fail(f"{op.name} takes {op.arity if op.arity is not None else 'at least 1'} operands, found {len(slots)}")
    return [slots[k] for k in range(len(slots))]


def _leaf(graph: Graph, op: Op, name: str, data: dict[str, Any]) -> Tensor:
    if op.name == "input":
        if data.get("shape") is None:
            _fail("an input needs a shape")
        kind = TensorType(dtype_of(data.get("dtype") or "float32"), _shape(data["shape"]))
        return graph.append(op, (), {}, type=kind, name=name)
    value = data.get("value")
    if value is None:
        _fail(f"a {op.name} needs a value")
    array = np.array(value)
    if array.dtype.kind not in "biuf":
        _fail(f"the value must be numbers, found dtype {array.dtype}")
    array = array.astype(dtype_of(data.get("dtype") or array.dtype))
    if data.get("shape") is not None and _shape(data["shape"]) != array.shape:
        raise ShapeError(f"shape is declared {data['shape']!r}, but the value has {array.shape}")
    array.setflags(write=op.name != "constant")
    out = graph.append(op, (), {}, type=TensorType(array.dtype, array.shape), name=name, value=array)
    if op.name != "constant":
        graph.state.add(name, array)
    return out


def _attrs(graph: Graph, op: Op, data: dict[str, Any]) -> dict[str, Any]:
    given = data.get("attrs")
    if given is None:
        given = {k: v for k, v in data.items() if k in op.attrs and (k not in ("shape", "dtype") or k in op.attrs)}
    if not isinstance(given, Mapping):
        _fail(f"attrs must be a dict, found {given!r}")
    if set(given) != set(op.attrs):
        _fail(f"{op.name} takes the attributes {sorted(op.attrs)}, found {sorted(map(str, given))}")
    return {k: _value(k, v) for k, v in given.items()}


WORDS = ("dtype", "what")  # attributes that are text; other text is a size
REAL = ("fill",)


def _value(name: str, value: Any) -> Any:
    """An attribute: sizes are parsed, lists become tuples."""
    if isinstance(value, (tuple, list)):
        return tuple(_value(name, v) for v in value)
    if name in WORDS:
        return dtype_of(value).name if name == "dtype" else str(value)
    if isinstance(value, str):
        return parse(value)
    if isinstance(value, (bool, np.bool_)):
        return bool(value)
    if isinstance(value, (float, np.floating)) or name in REAL:
        return float(value)
    if isinstance(value, (int, np.integer)):
        return int(value)
    if isinstance(value, dims.Dim):
        return value
    return _fail(f"the attribute {name} must be numbers, text or lists of them, found {value!r}")


def _shape(shape: Any) -> Shape:
    if not isinstance(shape, (tuple, list)):
        raise ShapeError(f"a shape must be a tuple or list, found {shape!r}")
    out: list[Size] = []
    for entry in shape:
        size = parse(entry) if isinstance(entry, str) else entry
        if isinstance(size, (bool, float)) or not isinstance(size, (int, np.integer, dims.Dim)):
            raise ShapeError(f"a size must be an int or text, found {entry!r}")
        if not isinstance(size, dims.Dim) and size < 0:
            raise ShapeError(f"a size must be at least 0, found {entry!r}")
        out.append(size if isinstance(size, dims.Dim) else int(size))
    return tuple(out)


def _fail(text: str) -> NoReturn:
    raise GraphError(text)


__all__ = ["from_networkx"]
