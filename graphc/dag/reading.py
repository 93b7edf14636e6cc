"""Graphs from networkx DAGs that a user built by hand, that ``to_networkx`` gave, or that networkx read from a file.

A node is read in one of two ways. What ``to_networkx`` writes says all of an op, its type and every attribute; that
becomes the same node again. All else is a call of the public function that ``op`` names, as in the DSL. Nothing of a
DAG is ever run: sizes are parsed by a small grammar, values must be arrays or numbers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NoReturn

import networkx as nx

from graphc.dag.attributes import argument, number, raw_attribute, shape_of
from graphc.dag.given import Given, fail
from graphc.dag.operands import Filled, contiguous, operands
from graphc.dag.snapshot import snapshot
from graphc.dag.table import Function
from graphc.dag.text import decoded
from graphc.errors import GraphcError, GraphError, Origin, ShapeError, brief, caller, did_you_mean, listed
from graphc.file.legal import proven, proven_body
from graphc.ir.body import bodies
from graphc.ir.call import Call
from graphc.ir.graph import Graph
from graphc.ir.interchange import GRAPH
from graphc.ir.node import Node
from graphc.ir.op import OPS, Kind, Op
from graphc.ir.tensor import Tensor
from graphc.ir.types import TensorType, dtype_of
from graphc.ir.verify import check_body, check_result
from graphc.ops.signature import REQUIRED, found


def from_networkx(dag: Any, outputs: Sequence[Any] | None = None) -> Graph:
    """A graph from a networkx MultiDiGraph or DiGraph.

    Each node carries ``op``: the name of an op or of a public function (`graphc.dag.ops` lists them). Keyword arguments
    are attributes of the node, flat or in ``attrs``; numbers may stand for operands. Operands come by edges, in the
    order of ``slot`` or, where no edge of the node has one, in the order in which the edges were added. An input has a
    ``shape``, state and constants a ``value``. Node keys are the names. ``outputs`` are node keys: by default the
    graph's own list, else all sinks.

    Reads what `Graph.to_networkx` gives, also after it was written as text by networkx and read again.

    Raises GraphError, naming the node, for a cycle, a missing or doubled slot, operands or attributes that do not fit,
    a missing or wrong value; UnsupportedOpError for an unknown op; ShapeError and DTypeError for types that do not fit.

    >>> import networkx as nx, graphc as gx
    >>> dag = nx.DiGraph()
    >>> dag.add_node("x", op="input", shape=("n", 3))
    >>> dag.add_node("y", op="softmax", axis=-1)
    >>> dag.add_edge("x", "y")
    >>> gx.from_networkx(dag)["y"].shape
    (n, 3)
    """
    reading = Reading(dag, caller())
    reading.update()
    chosen = reading.whole.get("outputs") if outputs is None else outputs
    if chosen is not None:
        with reading.placed():
            reading.graph.outputs = reading.tensors(chosen, "outputs")
    return reading.graph


class Changed(Exception):
    """What was read of a DAG is no longer what the DAG says."""


class Reading:
    """A graph that grows with a DAG: nodes that were added to it since are read by the next `update`."""

    def __init__(self, dag: Any, origin: Origin) -> None:
        if not isinstance(dag, nx.DiGraph):
            raise GraphError(f"expected a networkx MultiDiGraph or DiGraph, found {found(dag)}", origin=origin)
        self.dag, self.origin = dag, origin
        with self.placed():
            self.whole = _whole(dag)
            self.graph = Graph(self.whole.get("name") or "graph", self.whole.get("float_dtype") or "float32")
        self.results: dict[Any, list[Tensor]] = {}  # of each node
        self.given: dict[Any, Given] = {}
        self._keys: dict[str, Any] = {}  # of nodes, by their names
        self._seen: dict[Any, Any] = {}
        self._calls: dict[tuple[str, str], Call] = {}

    @contextmanager
    def placed(self, key: Any = None) -> Iterator[None]:
        """Errors raised inside name the node and the user's line."""
        try:
            yield
        except GraphcError as error:
            node = error.node if key is None else str(key)
            if error.origin is not None and error.node == node:
                raise
            text = error.message if key is None else f"node {key!s}: {error.message}"
            raise type(error)(text, node=node, origin=self.origin) from None

    def tensor(self, key: Any, what: str) -> Tensor:
        """The tensor of a node, by its key or by its name."""
        try:
            if key in self.results:
                return self.results[key][0]
        except TypeError:  # not hashable
            pass
        if isinstance(key, str) and key in self.graph:
            return self.graph[key]
        advice = did_you_mean(key, [str(k) for k in self.results]) if isinstance(key, str) else ""
        raise GraphError(f"{what}: {brief(key)} is not a node{advice}", node=brief(key), origin=self.origin)

    def tensors(self, keys: Any, what: str) -> list[Tensor]:
        """The tensors of a list of nodes."""
        if isinstance(keys, (str, bytes)) or not isinstance(keys, (list, tuple, set, frozenset, Mapping)):
            advice = f"; write [{brief(keys)}]" if isinstance(keys, (str, int)) else ""
            fail(f"{what} must be a list of nodes, found {found(keys)}{advice}")
        return [self.tensor(key, what) for key in keys]

    def key_of(self, tensor: Tensor) -> Any:
        """The key of a tensor's node: the user's, or where it has none, its name."""
        return self._keys.get(tensor.name, tensor.name)

    def update(self) -> None:
        """Reads what is new. Raises Changed where what was read before is other now."""
        new: dict[Any, Any] = {}
        with self.placed():
            for key in self._order():
                state = snapshot(self.dag, key)
                if key not in self.results:
                    new[key] = state
                elif self._seen[key] != state:
                    raise Changed
        names: dict[str, Any] = {}
        for key in new:
            with self.placed(key):
                name = _name(self.dag, key)
                if name in self.graph or name in names:
                    fail(f"two nodes are called {name!r}")
                names[name] = key
        self.graph.reserve(names)
        for name, key in names.items():
            with self.placed(key):
                self.given[key] = Given.of(self.dag.nodes[key])
                self.results[key] = self._read(key, self.given[key], name)
        self._seen |= new
        self._keys |= names
        with self.placed():
            self._roles()

    def _order(self) -> list[Any]:
        """Nodes after their operands; ties in the order in which they were added."""
        place = {key: k for k, key in enumerate(self.dag)}
        try:
            return list(nx.lexicographical_topological_sort(self.dag, key=place.__getitem__))
        except nx.NetworkXUnfeasible:
            cycle = [str(edge[0]) for edge in nx.find_cycle(self.dag)]
            raise GraphError(f"the graph has a cycle: {' -> '.join([*cycle, cycle[0]])}", node=cycle[0]) from None

    # ---- one node

    def _read(self, key: Any, given: Given, name: str) -> list[Tensor]:
        """The results of a node, whose type is what it is declared to be."""
        f = given.function
        if given.op in OPS and OPS[given.op].kind is Kind.LEAF:
            return [self._leaf(key, given, name)]
        made = self._again(key, given, name) if given.complete or given.raw else None
        if made is None and f is None:
            fail(f"nothing keeps the index of {given.op} within its axis; put a checked_index before it")
        results = [made] if made is not None else self._called(key, given, name)
        for field in ("dtype", "shape"):
            if given.data.get(field) is not None and (made is not None or f is None or field not in f.attributes):
                declared: Any = dtype_of(given.data[field]) if field == "dtype" else shape_of(given.data[field])
                if declared != getattr(results[0], field):
                    text = f"{field} is declared {brief(given.data[field])}, but {given.op} gives {results[0].type}"
                    raise ShapeError(text)
        return results

    def _append(
        self, op: Op, tensors: Sequence[Tensor], attrs: Mapping[str, Any], given: Given, name: str, **more: Any
    ) -> Tensor:
        """A node as it says of itself: with its line, what it is a gradient of, and the call that it is part of."""
        call = Call(given.op, role="update") if given.role == "update" else None
        if given.call is not None:
            call = self._calls.setdefault(given.call, Call(*given.call, origin=self.origin))
        if call is not None:
            call.nodes += 1
            call.role = given.role if call.role == "forward" else call.role
        line = given.line(self.origin)
        return self.graph.append(op, tensors, attrs, name=name, origin=line, forward=given.forward, call=call, **more)

    def _leaf(self, key: Any, given: Given, name: str) -> Tensor:
        op, data, graph = OPS[given.op], given.data, self.graph
        if self.dag.pred[key]:
            fail(f"{given.op} takes no operands, found edges from {listed(map(str, self.dag.pred[key]))}")
        dtype = None if data.get("dtype") is None else dtype_of(data["dtype"])
        if op.name == "input":
            if data.get("shape") is None:
                fail("an input needs a shape")
            kind = TensorType(dtype or graph.float_dtype, shape_of(data["shape"]))
            return self._append(op, (), {}, given, name, type=kind)
        if data.get("value") is None:
            fail(f"a {op.name} needs a value")
        array = graph.as_array(data["value"], dtype)
        if data.get("shape") is not None and shape_of(data["shape"]) != array.shape:
            raise ShapeError(f"shape is declared {brief(data['shape'])}, but the value has {array.shape}")
        array.setflags(write=op.name != "constant")
        out = self._append(op, (), {}, given, name, type=TensorType(array.dtype, array.shape), value=array)
        if op.name != "constant":
            graph.state.add(name, array)
        return out

    def _filled(self, slots: Sequence[Filled]) -> list[Tensor]:
        """The tensors that fill slots."""
        out = []
        for source, output in slots:
            if output >= len(results := self.results[source]):
                fail(f"the edge from {source!s} asks for output {output}, but it has {len(results)}")
            out.append(results[output])
        return out

    # ---- an op itself

    def _again(self, key: Any, given: Given, name: str) -> Tensor | None:
        """The node of an op that says all of itself; None where a function of its name must see to its index."""
        op = OPS[given.op]
        slots = contiguous(operands(self.dag, key))
        if (op.arity is not None and len(slots) != op.arity) or (op.arity is None and not slots):
            count = "at least 1" if op.arity is None else op.arity
            fail(f"{op.name} takes {count} operands, found {len(slots)}{self._at_most_one_edge()}")
        tensors = self._filled(slots)
        attrs = self._attributes(op, given)
        with _guarded(op.name):
            kind = op.infer([t.type for t in tensors], attrs)
        node = Node(len(self.graph), op, tuple(t.id for t in tensors), attrs, kind, name, self.origin)
        if op.kind is Kind.RESULT:
            check_result(self.graph, node)
        elif any(t.op.kind is Kind.CONTROL for t in tensors):
            fail(f"{name} has a loop or a branch as an operand, not one of its results")
        for part, body in bodies(node):
            check_body(part, body)
            if not proven_body(body.graph):
                fail(f"{part}: nothing keeps an index within its axis; put a checked_index before it")
        return self._append(op, tensors, attrs, given, name, type=kind) if proven(self.graph, node) else None

    @staticmethod
    def _attributes(op: Op, given: Given) -> dict[str, Any]:
        """All attributes of an op; what the function of its name has a default for may be left out."""
        f, out = given.function, {}
        defaults = {} if f is None else {p.name: p.default for p in f.parameters}
        for field in op.attrs:
            value = given.attrs.get(field, defaults.get(field, REQUIRED))
            if value is REQUIRED:
                fail(f"{op.name} takes the attributes {listed(op.attrs)}; {field} is missing")
            out[field] = raw_attribute(op.name, field, value)
        return out

    # ---- a public function

    def _called(self, key: Any, given: Given, name: str) -> list[Tensor]:
        """What the function gives; its first result has the name of the node, inner nodes are ``name/op``."""
        f, graph, start = given.function, self.graph, len(self.graph)
        assert f is not None
        args, kwargs = self._arguments(key, given, f)
        call = Call(f.name, name, given.role, given.line(self.origin))
        with _guarded(f.name), graph.calling(call):
            out = f.call(*args, **kwargs)
        many = tuple(out.values()) if isinstance(out, Mapping) else out
        results: list[Tensor] = list(many) if isinstance(many, (list, tuple)) else [many]
        for k, result in enumerate(results):
            if result.id < start or any(result is r for r in results[:k]):  # an operand as it is, or a result again
                with graph.calling(call):
                    results[k] = graph.append(OPS["identity"], (result,), {})
            graph.rename_node(results[k].node, name if k == 0 else graph.free(f"{name}:{k}"))
        return results

    def _arguments(self, key: Any, given: Given, f: Function) -> tuple[list[Any], dict[str, Any]]:
        """What the function is called with."""
        names = [p.name for p in f.operands]
        numbers = {k: given.attrs[n] for k, n in enumerate(names) if given.attrs.get(n) is not None}
        slots = operands(self.dag, key, [] if f.many else names, numbers)
        filled: dict[str, Any] = {}
        for p in f.operands:
            if p.many:
                filled[p.name] = self._filled(contiguous(slots))
        if not f.many:
            if any(slot >= len(names) for slot in slots):
                self._miscounted(f, slots)
            filled = {names[slot]: self._filled([of])[0] for slot, of in sorted(slots.items())}
            filled |= {names[k]: number(names[k], value) for k, value in numbers.items()}
            if not slots or any(p.required and p.name not in filled for p in f.operands):
                self._miscounted(f, slots)
        for p in f.attributes.values():
            if p.name in given.attrs:
                filled[p.name] = argument(f.name, p, given.attrs[p.name])
            elif p.required:
                fail(f"{f.name} needs the attribute {p.name}" + (f", {p.words}" if p.words else ""))
        return f.arranged(filled)

    def _miscounted(self, f: Function, slots: Mapping[int, Filled]) -> NoReturn:
        """Raises for too few operands, or too many."""
        words = ", ".join(p.name if p.required else f"[{p.name}]" for p in f.operands)
        filled = f"edges fill slots {', '.join(map(str, sorted(slots)))}" if slots else "there are no edges"
        fail(f"{f.name} takes {words}; {filled}{self._at_most_one_edge()}")

    def _at_most_one_edge(self) -> str:
        if self.dag.is_multigraph():
            return ""
        return ". A DiGraph has one edge between two nodes: for x * x take a MultiDiGraph, or slot=(0, 1) on the edge"

    # ---- the whole

    def _roles(self) -> None:
        """Random keys, dropouts and the count of nameless sizes, where the DAG says them."""
        graph, whole = self.graph, self.whole
        if type(symbols := whole.get("symbols")) is int and 0 <= symbols < 2**31:
            graph._fresh_symbols = max(graph._fresh_symbols, symbols)
        for name, streams in _pairs(whole, "random_keys"):
            key = self.tensor(name, "random_keys")
            if key.op.name != "variable" or str(key.type) != "int64[2]":
                fail(f"random_keys: {name!r} is not a random key, a variable int64[2]")
            if type(streams) is not int or not 0 <= streams < 2**62:
                fail(f"random_keys: {name!r} must say how often it was drawn from, found {found(streams)}")
            graph.random_keys.add(key.id)
            graph._streams[key.id] = max(graph._streams.get(key.id, -1), streams - 1)
        for name, of in _pairs(whole, "dropouts"):
            y, x = self.tensor(name, "dropouts"), self.tensor(of, "dropouts")
            if x.id >= y.id or x.type != y.type:
                fail(f"dropouts: {name!r} is no dropout of {of!r}")
            graph.dropouts[y.id] = x.id


@contextmanager
def _guarded(what: str) -> Iterator[None]:
    """Whatever attributes make a function trip over is an error about attributes."""
    try:
        yield
    except GraphcError:
        raise
    except (ArithmeticError, AttributeError, LookupError, MemoryError, RecursionError, TypeError, ValueError) as error:
        raise GraphError(f"{what}: the attributes do not fit: {str(error)[:200]}") from None


def _whole(dag: Any) -> dict[str, Any]:
    """What a DAG says as a whole: its own attributes, or where a file has lost them, those that the first node has."""
    first = dag.nodes[next(iter(dag))].get("graph") if len(dag) else None
    held = decoded(first, "graph") if isinstance(first, str) else first
    given = {**(held if isinstance(held, Mapping) else {}), **{k: v for k, v in dag.graph.items() if k in GRAPH}}
    plain = ("name", "float_dtype")
    return {
        k: (v if isinstance(v, str) else brief(v)) if k in plain else decoded(v, k) if isinstance(v, str) else v
        for k, v in given.items()
    }


def _name(dag: Any, key: Any) -> str:
    """A node's name: its attribute of that name, as in ``g.nx``, or its key."""
    name = dag.nodes[key].get("name")
    made = name if isinstance(name, str) and name else str(key)
    return made or fail("a name must not be empty")


def _pairs(whole: Mapping[str, Any], field: str) -> list[tuple[Any, Any]]:
    held = whole.get(field, {})
    return list(held.items()) if isinstance(held, Mapping) else fail(f"{field} must be a dict, found {found(held)}")


__all__ = ["Changed", "Reading", "from_networkx"]
