"""The networkx form of a graph: attributes of nodes, and the same as text."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import networkx
import numpy as np

from graphc.ir.dims import Dim
from graphc.ir.tensor import Node

if TYPE_CHECKING:
    from graphc.ir.graph import Graph


def describe(node: Node) -> dict[str, Any]:
    """A node's networkx attributes.

    ``op name dtype shape attrs role line``; ``value`` on leaves that have one, ``forward`` on gradient nodes, ``call``
    (function and name) on the nodes that one call of a public function made.
    """
    out = {
        "op": node.op.name,
        "name": node.name,
        "dtype": node.type.dtype.name,
        "shape": _plain(node.type.shape),
        "attrs": {k: _plain(v) for k, v in node.attrs.items()},
        "role": node.role,
        "line": node.origin.describe(),
    }
    if node.value is not None:
        out["value"] = node.value
    if node.forward is not None:
        out["forward"] = node.forward
    if (call := node.composition) is not None:
        out["call"] = {"function": call.function, "name": call.name}
    return out


def describe_graph(graph: Graph) -> dict[str, Any]:
    """What networkx is told of the graph as a whole; what there is none of is left out."""
    names = [n.name for n in graph.nodes]
    out = {
        "name": graph.name,
        "float_dtype": graph.float_dtype.name,
        "outputs": [t.name for t in graph.outputs],
        "symbols": graph._fresh_symbols,
        "random_keys": {names[i]: graph._streams.get(i, -1) + 1 for i in sorted(graph.random_keys)},
        "dropouts": {names[y]: names[x] for y, x in sorted(graph.dropouts.items())},
    }
    return {k: v for k, v in out.items() if v or k in ("name", "outputs")}


def as_text(dag: networkx.MultiDiGraph) -> networkx.MultiDiGraph:
    """The same with strings and numbers only: all else is JSON.

    Some formats have no attributes of graphs, so the first node has those too, as ``graph``.
    """
    whole = {k: v for k, v in dag.graph.items() if k in GRAPH}
    out = networkx.MultiDiGraph(**{k: _text(v) for k, v in dag.graph.items()})
    for key, data in dag.nodes(data=True):
        first = {} if len(out) else {"graph": _text(whole)}
        out.add_node(key, **{k: _text(v) for k, v in data.items()}, **first)
    out.add_edges_from((u, v, k, dict(data)) for u, v, k, data in dag.edges(keys=True, data=True))
    return out


GRAPH = ("name", "float_dtype", "outputs", "symbols", "random_keys", "dropouts", "gradients")


def _text(value: Any) -> str | int | float:
    if isinstance(value, (str, int, float)) and not isinstance(value, bool):
        return value
    return json.dumps(value, default=_json)


def _json(value: Any) -> Any:
    if isinstance(value, (np.ndarray, np.generic)):
        return value.tolist()
    return str(value)


def _plain(value: Any) -> Any:
    if isinstance(value, Dim):
        return str(value)
    return tuple(map(_plain, value)) if isinstance(value, tuple) else value


__all__ = ["GRAPH", "as_text", "describe", "describe_graph"]
