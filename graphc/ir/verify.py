"""What a legal graph is; tests call it between passes."""

from __future__ import annotations

from graphc.errors import GraphcError, GraphError
from graphc.ir.graph import Graph
from graphc.ir.op import OPS, Kind
from graphc.ir.tensor import Node


def verify(graph: Graph) -> None:
    """Raises GraphError, naming node and line, where ``graph`` is not legal.

    Operands exist and come first, arity and attributes are the op's, types are what inference gives, names are
    unique, leaves have a value exactly where they should, the networkx mirror, where it was made, agrees.
    """
    names: set[str] = set()
    for place, node in enumerate(graph.nodes):
        if node.id != place:
            raise _wrong(node, f"has number {node.id} at place {place}")
        if node.name in names:
            raise _wrong(node, "has a name that is taken")
        names.add(node.name)
        if OPS.get(node.op.name) is not node.op:
            raise _wrong(node, f"has an op that is not registered: {node.op.name}")
        if any(not 0 <= i < place for i in node.inputs):
            raise _wrong(node, f"has operands {node.inputs} that do not come before it")
        if node.op.arity is not None and len(node.inputs) != node.op.arity:
            raise _wrong(node, f"has {len(node.inputs)} operands, {node.op.name} takes {node.op.arity}")
        if set(node.attrs) != set(node.op.attrs):
            raise _wrong(node, f"has attributes {sorted(node.attrs)}, expected {sorted(node.op.attrs)}")
        _verify_type(graph, node)
    if (mirror := graph._mirror) is None:
        return
    for node in graph.nodes:
        slots = {(u, k) for u, _, k in mirror.in_edges(node.id, keys=True)}
        if slots != {(i, slot) for slot, i in enumerate(node.inputs)}:
            raise _wrong(node, "has other edges in networkx than operands")


def _verify_type(graph: Graph, node: Node) -> None:
    if node.op.kind is Kind.LEAF:
        held = node.value
        if (held is None) != (node.op.name == "input"):
            raise _wrong(node, "has a value where it should have none, or none where it should")
        if held is not None and (held.dtype != node.type.dtype or held.shape != node.type.shape):
            raise _wrong(node, f"is {node.type} but holds {held.dtype}{list(held.shape)}")
        return
    try:
        inferred = node.op.infer([graph.nodes[i].type for i in node.inputs], node.attrs)
    except GraphcError as error:
        raise _wrong(node, f"does not infer: {error.message}") from None
    if inferred != node.type:
        raise _wrong(node, f"is {node.type}, inference gives {inferred}")


def _wrong(node: Node, what: str) -> GraphError:
    return GraphError(f"node {node.name} (%{node.id}) {what}", node=node.name, origin=node.origin)
