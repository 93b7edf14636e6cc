"""A networkx DAG all the way, without the DSL: gradients, executables, and the table of what a node may be.

Names of nodes stand where the DSL has tensors. ``docs/networkx.md`` shows it from the start.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from weakref import WeakKeyDictionary

import networkx

from graphc.compile import compile as compile_tensors
from graphc.dag.given import SCHEMA, Given
from graphc.dag.operands import placed
from graphc.dag.reading import Changed, Reading
from graphc.dag.table import Record, ops
from graphc.derive.reverse import grad as grad_tensors
from graphc.errors import CompileError, caller
from graphc.ir.graph import describe_graph, located
from graphc.ir.interchange import GRAPH, describe
from graphc.ir.tensor import Tensor
from graphc.ops.signature import REQUIRED, found
from graphc.optim import Optimizer
from graphc.run.executable import Executable


def grad(dag: Any, y: Any, wrt: Any, *, cotangent: Any = None, on_disconnected: str = "error") -> networkx.MultiDiGraph:
    """A copy of a DAG with the derivative of node ``y`` with respect to the nodes ``wrt`` appended as nodes.

    ``graph["gradients"]`` of the copy maps each node of ``wrt`` to the node of its gradient; new nodes have the
    attribute ``forward``, the node that they come from. The copy is a MultiDiGraph with a slot on every edge, keeps
    the keys, and all attributes that mean nothing to graphc; the inner nodes of a composition such as softmax stand in
    it as ``key/op``. Differentiate it again for higher derivatives.

    ``y`` is a scalar, or ``cotangent``, a node or an array, weighs its elements. A node of ``wrt`` on which ``y`` does
    not depend is an error, or with ``on_disconnected="zeros"`` has zeros. Raises GradientError, ShapeError, and what
    `graphc.from_networkx` raises.

    >>> import networkx as nx, graphc as gx
    >>> dag = nx.MultiDiGraph()
    >>> dag.add_node("x", op="input", shape=())
    >>> dag.add_node("y", op="multiply")
    >>> dag.add_edges_from([("x", "y"), ("x", "y")])
    [0, 1]
    >>> slope = gx.dag.grad(dag, "y", ["x"])
    >>> f = gx.dag.compile(slope, ["x"], slope.graph["gradients"]["x"])
    >>> float(f(3.0))
    6.0
    """
    origin = caller()
    reading = Reading(dag, origin)
    reading.update()
    with located("grad", origin):
        keys = [wrt] if _is_node(dag, wrt) or isinstance(wrt, str) else wrt
        targets = reading.tensors(keys, "wrt")
        weights = reading.tensor(cotangent, "cotangent") if _is_node(dag, cotangent) else cotangent
        result = reading.tensor(y, "y")
        gradients = grad_tensors(result, targets, cotangent=weights, on_disconnected=on_disconnected)
    out = _written(reading)
    named = {key: reading.key_of(g) for key, g in zip(keys, gradients, strict=True)}
    out.graph["gradients"] = {**_gradients(dag), **named}
    return out


def compile(dag: Any, inputs: Sequence[Any], outputs: Any, updates: Any = None, **options: Any) -> Executable:
    """An executable of a DAG: `graphc.compile` with nodes for tensors.

    inputs    nodes whose values each call passes, in order
    outputs   a node, a list of nodes, or a dict name -> node; a call returns the same structure. None where only
              updates matter
    updates   a dict, parameter or variable -> node of its next value; or an optimiser, as ``gx.optim.Adam()``, which
              trains all parameters by the loss that ``outputs``, a single node, is
    options   those of `graphc.compile`

    Executables of one DAG share their state, ``exe.graph.state``, and can be saved together. Nodes may be added to the
    DAG between two calls; where a node that was read before is another now, the executable begins with a state of its
    own. Raises CompileError, and what `graphc.from_networkx` raises.

    >>> import networkx as nx
    >>> from graphc import dag
    >>> d = nx.DiGraph()
    >>> d.add_node("x", op="input", shape=(2,), dtype="float64")
    >>> d.add_node("y", op="tanh")
    >>> d.add_edge("x", "y")
    >>> dag.compile(d, ["x"], "y", backend="numpy")([0, 1]).round(4).tolist()
    [0.0, 0.7616]
    """
    origin = caller()
    reading = _read(dag, origin)
    with located("compile", origin):
        tensors = reading.tensors(inputs, "inputs")
        results, chosen = _outputs(reading, outputs)
        nexts: dict[Tensor, Tensor] = {}
        if isinstance(updates, Optimizer):
            if len(results) != 1:
                text = f"an optimiser takes the loss from outputs, which must be one node, found {len(results)}; "
                raise CompileError(text + "or pass updates as a dict, made with the gradients that gx.dag.grad gives")
            nexts = updates.updates(results[0])
        elif isinstance(updates, Mapping):
            nexts = {reading.tensor(k, "updates"): reading.tensor(v, "updates") for k, v in updates.items()}
        elif updates is not None:
            text = f"updates must be a dict of nodes, or an optimiser such as gx.optim.SGD(), found {found(updates)}"
            raise CompileError(text)
    return compile_tensors(tensors, chosen, nexts or None, **options)


def slots(dag: Any) -> None:
    """Writes ``slot`` on every edge in place: the order of operands, which networkx's copies and files do not keep.

    Operands of a node without slots are taken in the order in which its edges were added. Raises GraphError, naming
    the node, where that order cannot be told.

    >>> import networkx as nx
    >>> from graphc import dag
    >>> d = nx.DiGraph()
    >>> d.add_node("x", op="input", shape=(2,), dtype="float64")
    >>> d.add_node("y", op="tanh")
    >>> d.add_edge("x", "y")
    >>> dag.slots(d)
    >>> d.edges["x", "y"]
    {'slot': 0}
    """
    reading = Reading(dag, caller())
    found: list[tuple[dict[str, Any], int]] = []
    for key in dag:
        with reading.placed(key):
            given = Given.of(dag.nodes[key])
            f = given.function
            names = [] if f is None or f.many else [p.name for p in f.operands]
            taken = [k for k, name in enumerate(names) if given.attrs.get(name) is not None]
            found += [(e.data, slot) for e, slot in placed(dag, key, names, taken) if e.data.get("slot") is None]
    for data, slot in found:  # all or none
        data["slot"] = slot


# The graph of each DAG that was compiled, for as long as the DAG lives.
_READINGS: WeakKeyDictionary[Any, Reading] = WeakKeyDictionary()


def _read(dag: Any, origin: Any) -> Reading:
    """What was read of a DAG before, with what is new; or all of it anew, where it is another now."""
    reading = _READINGS.pop(dag, None) if isinstance(dag, networkx.DiGraph) else None
    if reading is not None:
        reading.origin = origin
        try:
            reading.update()
        except Changed:
            reading = None
    if reading is None:
        reading = Reading(dag, origin)
        reading.update()
    _READINGS[dag] = reading  # only where nothing has failed
    return reading


def _is_node(dag: Any, key: Any) -> bool:
    try:
        return key is not None and key in dag
    except TypeError:  # not hashable
        return False


def _outputs(reading: Reading, outputs: Any) -> tuple[list[Tensor], Any]:
    """The tensors of outputs, and the same in the structure that was asked for."""
    if outputs is None:
        return [], None
    if isinstance(outputs, Mapping):
        named = {key: reading.tensor(of, "outputs") for key, of in outputs.items()}
        return list(named.values()), named
    if isinstance(outputs, list) or (isinstance(outputs, tuple) and not _is_node(reading.dag, outputs)):
        listed = reading.tensors(outputs, "outputs")
        return listed, listed
    one = reading.tensor(outputs, "outputs")
    return [one], one


def _gradients(dag: Any) -> dict[Any, Any]:
    held = dag.graph.get("gradients")
    return dict(held) if isinstance(held, Mapping) else {}


def _written(reading: Reading) -> networkx.MultiDiGraph:
    """The graph of a DAG as a DAG again: with the user's keys, and what of the user's has no meaning here."""
    dag, graph = reading.dag, reading.graph
    out = networkx.MultiDiGraph(**{k: v for k, v in dag.graph.items() if k not in GRAPH or k == "outputs"})
    out.graph.update({k: v for k, v in describe_graph(graph).items() if k != "outputs"})
    keys = [reading.key_of(t) for t in graph.tensors]
    for key, node in zip(keys, graph.nodes, strict=True):
        own = {}
        if key in reading.given:
            known = {*SCHEMA, *reading.given[key].known}
            own = {k: v for k, v in dag.nodes[key].items() if k not in known}
        out.add_node(key, **{**own, **describe(node)})
    for key, node in zip(keys, graph.nodes, strict=True):
        for slot, i in enumerate(node.inputs):
            out.add_edge(keys[i], key, slot, slot=slot)
    return out


__all__ = ["REQUIRED", "Record", "compile", "grad", "ops", "slots"]
