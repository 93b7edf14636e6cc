"""What a legal graph is; tests call it between passes."""

from __future__ import annotations

from graphc.errors import GraphcError, GraphError
from graphc.ir.body import Body, bodies
from graphc.ir.graph import Graph
from graphc.ir.node import Node
from graphc.ir.op import OPS, Kind


def verify(graph: Graph) -> None:
    """Raises GraphError, naming node and line, where ``graph`` is not legal.

    Operands exist and come first, arity and attributes are the op's, types are what inference gives, names are
    unique, leaves have a value exactly where they should, the networkx mirror, where it was made, agrees. Bodies are
    legal, and hold inputs and constants only.
    """
    names: set[str] = set()
    for place, node in enumerate(graph.nodes):
        if node.id != place:
            raise _wrong(node, f"has number {node.id} at place {place}")
        if node.name in names:
            raise _wrong(node, "has a name that is taken")
        names.add(node.name)
        if node.op.own is None and OPS.get(node.op.name) is not node.op:
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
    if node.op.kind is Kind.RESULT:
        check_result(graph, node)
    elif any(graph.nodes[i].op.kind is Kind.CONTROL for i in node.inputs):
        raise _wrong(node, "has a loop or a branch as an operand, not one of its results")
    for name, body in bodies(node):
        try:
            check_body(name, body)
        except GraphcError as error:
            raise _wrong(node, f"has a body that is not legal: {error.message}") from None


def check_body(name: str, body: Body) -> None:
    """GraphError where a body is not legal."""
    verify(body.graph)
    if any(n.op.kind is Kind.LEAF and n.op.name not in ("input", "constant") for n in body.graph.nodes):
        raise GraphError(f"{name}: a body holds no state")
    given = dict(body.inputs)
    if any(given.get(t.name) != t.type for t in body.graph.inputs.values()):
        raise GraphError(f"{name}: the inputs that the body declares are not those that it has")


def check_result(graph: Graph, node: Node) -> None:
    """GraphError where a node is no result of a loop or a branch as it says."""
    held = graph.nodes[node.inputs[0]]
    if held.op.results is None:
        raise _wrong(node, f"is a result of {held.name}, which is no loop and no branch")
    types, k = held.op.results([graph.nodes[i].type for i in held.inputs], held.attrs), node.attrs["index"]
    if not 0 <= k < len(types) or types[k] != node.type:
        raise _wrong(node, f"is {node.type}, which is not result {k} of {held.name}")


def _wrong(node: Node, what: str) -> GraphError:
    return GraphError(f"node {node.name} (%{node.id}) {what}", node=node.name, origin=node.origin)
