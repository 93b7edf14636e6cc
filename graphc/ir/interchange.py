"""The networkx form of a graph: attributes of nodes, and the same as text."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any

import networkx
import numpy as np

from graphc.ir.body import Body
from graphc.ir.dims import Dim
from graphc.ir.node import Node


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
        "attrs": {k: encoded_body(v) if isinstance(v, Body) else _plain(v) for k, v in node.attrs.items()},
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


def encoded(node: Node, place: Mapping[int, int], origins: dict[tuple[str, int, str], int]) -> dict[str, Any]:
    """A node as JSON values: operands by their ``place``, its line as a number of ``origins``, which grow."""
    line = (os.path.basename(node.origin.file), node.origin.line, node.origin.text[:200])
    return {
        "op": node.op.name,
        "name": node.name,
        "dtype": node.type.dtype.name,
        "shape": [encoded_value(s) for s in node.type.shape],
        "attrs": {k: encoded_value(v) for k, v in sorted(node.attrs.items())},
        "inputs": [place[i] for i in node.inputs],
        "origin": origins.setdefault(line, len(origins)),
        "forward": node.forward,
    }


def encoded_value(value: Any) -> Any:
    """An attribute as JSON values."""
    if isinstance(value, Body):
        return encoded_body(value)
    if isinstance(value, (tuple, list)):
        return [encoded_value(v) for v in value]
    if isinstance(value, (bool, np.bool_)):
        return bool(value)
    if isinstance(value, (int, np.integer)):
        return int(value)
    if isinstance(value, (float, np.floating)):
        return {"real": float(value).hex()}
    return {"text": value} if isinstance(value, str) else str(value)


def encoded_body(body: Body) -> dict[str, Any]:
    """A body as JSON values: its inputs, whose types are given, and its nodes; constants, numbers all, have a value."""
    graph = body.graph
    place, origins = {node.id: node.id for node in graph.nodes}, dict[tuple[str, int, str], int]()
    nodes = []
    for node in graph.nodes:
        value = {} if node.value is None else {"value": encoded_value(node.value.item())}
        nodes.append({**encoded(node, place, origins), **value})
    return {
        "inputs": [[name, kind.dtype.name, [encoded_value(s) for s in kind.shape]] for name, kind in body.inputs],
        "origins": [list(o) for o in origins],
        "nodes": nodes,
        "outputs": [t.id for t in body.outputs],
        "dropouts": [list(pair) for pair in sorted(graph.dropouts.items())],
    }


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


__all__ = ["GRAPH", "as_text", "describe", "encoded", "encoded_value"]
