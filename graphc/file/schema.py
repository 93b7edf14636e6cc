"""A graph as JSON, and back. The schema is that of `Graph.to_networkx`, with operands as a list in slot order.

Sizes are integers or their printed form, other numbers hexadecimal text, so every value has one form and comes back bit
for bit. Values of leaves stand in members of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from functools import lru_cache
from types import MappingProxyType
from typing import Any, NoReturn

import numpy as np

from graphc.errors import GraphcError, GraphFileError, Origin
from graphc.file import legal, strict
from graphc.file.strict import show
from graphc.file.tensors import Declared
from graphc.ir import dims
from graphc.ir.body import Body
from graphc.ir.call import Call
from graphc.ir.graph import Graph
from graphc.ir.interchange import encoded
from graphc.ir.op import OPS, Kind, Op, lookup
from graphc.ir.sizes import parse
from graphc.ir.state import Array
from graphc.ir.tensor import Tensor
from graphc.ir.types import DTYPES, Shape, TensorType

MOST_NODES = 50_000
MOST_AXES = 32
LONGEST_SIZE = 4000  # characters of a size
MOST_TERMS = 1_000_000  # of all operands' sizes together
MOST_IN_PRODUCT = 1024  # terms that the number of elements of a shape may have
LONGEST_NAME = 4 << 20
LARGEST_NUMBER = 1 << 63
LARGEST_SHAPE = 1 << 60  # elements, as far as sizes are known
STATE = ("parameter", "variable")

GRAPH = {
    "name": str, "float_dtype": str, "symbols": int, "origins": list, "nodes": list, "outputs": (list, type(None)),
    "random_keys": list, "dropouts": list,
}  # fmt: skip
NODE = {
    "op": str, "name": str, "dtype": str, "shape": list, "attrs": dict, "inputs": list, "origin": int,
    "forward": (str, type(None)),
}  # fmt: skip
CALLS = {"calls": list}  # which nodes were made together; only where there are any, since format 2
CALL = {"call": (int, type(None))}
ROLES = ("forward", "update")
BODY = {"inputs": list, "origins": list, "nodes": list, "outputs": list, "dropouts": list}  # since format 3
VALUE = {"value": (int, bool, dict)}  # of a constant in a body
DEEPEST = 12  # bodies in one another
# What an attribute must be, by name, or by op and name. Other ones, of ops that a user registered, may be any number.
ATTRIBUTES = {
    "axis": "count", "axes": "counts", "keepdims": "flag", "n": "count", "stream": "count", "dtype": "dtype",
    "what": "text", "fill": "real", "shape": "shape", "operand_shape": "shape", "start": "sizes", "step": "integers",
    "sizes": "shape", "slice size": "shape", "size": "size", "low": "size", "high": "size",
    "kernel": "integers", "stride": "integers", "dilation": "integers", "groups": "count", "before": "sizes",
    "after": "sizes", "include": "flag",
    "carries": "count", "xs": "count", "length": "size", "reverse": "flag", "unroll": "count", "max_steps": "size",
    "index": "count", "body": "body", "test": "body", "on_true": "body", "on_false": "body",
}  # fmt: skip


# ---- writing


def encode(graph: Graph, chosen: Sequence[int]) -> dict[str, Any]:
    """The nodes of those numbers, which must hold their operands, as JSON values."""
    place = {id: k for k, id in enumerate(chosen)}
    origins: dict[tuple[str, int, str], int] = {}
    calls: dict[Call, int] = {}
    nodes = [encoded(graph.nodes[id], place, origins) for id in chosen]
    for node, id in zip(nodes, chosen, strict=True):
        if (call := graph.nodes[id].composition) is not None:
            node["call"] = calls.setdefault(call, len(calls))
    if calls:
        nodes = [{**node, "call": node.get("call")} for node in nodes]
    outputs = None if graph._outputs is None else [place[i] for i in graph._outputs if i in place]
    return {
        **({"calls": [[call.function, call.name, call.role] for call in calls]} if calls else {}),
        "name": graph.name,
        "float_dtype": graph.float_dtype.name,
        "symbols": graph._fresh_symbols,
        "origins": [list(o) for o in origins],
        "nodes": nodes,
        "outputs": outputs,
        "random_keys": [[place[i], graph._streams.get(i, -1) + 1] for i in sorted(graph.random_keys) if i in place],
        "dropouts": [[place[y], place[x]] for y, x in sorted(graph.dropouts.items()) if y in place and x in place],
    }


# ---- reading

OWN: ContextVar[Mapping[str, Any]] = ContextVar("own", default=MappingProxyType({}))  # ops of the user's, by name


def decode(data: bytes, arrays: Callable[[str, Declared], Mapping[str, Array]]) -> Graph:
    """The graph of a text, legal and whole. GraphFileError, naming the node and field, for any other.

    ``arrays(kind, declared)`` gives the values of leaves, which must be the declared ones; kind is "constants" or
    "weights".
    """
    place = "graph.json"
    text = strict.parse(data, place)
    called = type(text) is dict and "calls" in text
    held = strict.record(text, place, {**GRAPH, **CALLS} if called else GRAPH)
    if len(held["name"]) > LONGEST_NAME:
        raise GraphFileError(f"{place}: name: too long")
    if len(held["nodes"]) > MOST_NODES:
        raise GraphFileError(f"{place}: nodes: more than {MOST_NODES}")
    for field in ("origins", "outputs", "random_keys", "dropouts", *(CALLS if called else ())):
        if held[field] is not None and len(held[field]) > len(held["nodes"]):
            raise GraphFileError(f"{place}: {field}: more than there are nodes")
    origins = [_origin(o, f"{place}: origins: entry {k}") for k, o in enumerate(held["origins"])]
    calls = [_call(c, f"{place}: calls: entry {k}") for k, c in enumerate(held.get("calls", []))]
    names: dict[str, int] = {}
    for k, node in enumerate(held["nodes"]):
        at = f"{place}: nodes: entry {k}"
        strict.record(node, at, {**NODE, **CALL} if called else NODE)
        if not 0 < len(node["name"]) <= LONGEST_NAME:
            raise GraphFileError(f"{at}: name: empty or too long")
        if names.setdefault(node["name"], k) != k:
            raise GraphFileError(f"{at}: name: {show(node['name'])} is the name of entry {names[node['name']]} too")
    if held["float_dtype"] not in ("float32", "float64"):
        raise GraphFileError(f"{place}: float_dtype: expected float32 or float64, found {show(held['float_dtype'])}")
    values = {
        **arrays("constants", _declared(held["nodes"], ("constant",))),
        **arrays("weights", _declared(held["nodes"], STATE)),
    }
    graph = Graph(held["name"], held["float_dtype"])
    terms = 0
    for k, node in enumerate(held["nodes"]):
        entry = _Entry(graph, node, f"{place}: node {k} ({show(node['name'])})")
        made = entry.append(origins, values, calls)
        terms += sum(len(s.terms) for t in made.inputs for s in t.shape if isinstance(s, dims.Dim))
        if terms > MOST_TERMS:
            entry.fail("inputs: the graph's sizes are too many and too long")
    legal.check(graph, place)
    _roles(graph, held, place)
    return graph


def _origin(value: Any, place: str) -> Origin:
    if type(value) is not list or [type(v) for v in value] != [str, int, str] or not 0 <= value[1] < 2**31:
        raise GraphFileError(f"{place}: expected a file's name, a line number and its text")
    return Origin(value[0][:300], value[1], value[2][:300])


def _call(value: Any, place: str) -> Call:
    if type(value) is not list or [type(v) for v in value] != [str, str, str] or value[2] not in ROLES:
        raise GraphFileError(f"{place}: expected a function, the name of its result, and forward or update")
    return Call(value[0][:300], value[1][:LONGEST_NAME], value[2])


def _declared(nodes: Sequence[Any], ops: Sequence[str]) -> Declared:
    """dtypes and shapes of the leaves of these ops."""
    out = {}
    for k, node in enumerate(nodes):
        if node["op"] in ops:
            at = f"graph.json: node {k} ({show(node['name'])})"
            if node["dtype"] not in DTYPES:
                raise GraphFileError(f"{at}: dtype: {show(node['dtype'])} is not supported", node=node["name"])
            shape = strict.numbers(node["shape"], f"{at}: shape", LARGEST_SHAPE)
            if len(shape) > MOST_AXES:
                raise GraphFileError(f"{at}: shape: more than {MOST_AXES} axes", node=node["name"])
            out[node["name"]] = (DTYPES[node["dtype"]], tuple(shape))
    return out


def decode_body(value: Any, place: str, depth: int = 1) -> Body:
    """A body that `encode` wrote as an attribute; GraphFileError for any other."""
    held = strict.record(value, place, BODY)
    if depth > DEEPEST:
        raise GraphFileError(f"{place}: more than {DEEPEST} loops and branches in one another")
    if len(held["nodes"]) > MOST_NODES or any(len(held[f]) > len(held["nodes"]) for f in ("origins", "dropouts")):
        raise GraphFileError(f"{place}: nodes: more than {MOST_NODES}, or fewer than there are origins")
    origins = [_origin(o, f"{place}: origins: entry {k}") for k, o in enumerate(held["origins"])]
    graph = Graph("body")
    for k, node in enumerate(held["nodes"]):
        at = f"{place}: nodes: entry {k}"
        constant = type(node) is dict and node.get("op") == "constant"
        strict.record(node, at, {**NODE, **VALUE} if constant else NODE)
        entry = _Entry(graph, node, at, depth)
        if not 0 < len(node["name"]) <= LONGEST_NAME or node["name"] in graph:
            entry.fail("name: empty, too long, or the name of two")
        if node["op"] in STATE:
            entry.fail("op: a body holds no state")
        entry.append(origins, {node["name"]: entry.number()} if constant else {}, ())
    inputs = []
    for k, given in enumerate(held["inputs"]):
        if type(given) is not list or [type(v) for v in given] != [str, str, list] or given[1] not in DTYPES:
            raise GraphFileError(f"{place}: inputs: entry {k}: expected a name, a dtype and a shape")
        shape = _Entry(graph, {"name": given[0]}, f"{place}: inputs: entry {k}").shape(given[2], "shape")
        inputs.append((given[0], TensorType(DTYPES[given[1]], shape)))
    if len(dict(inputs)) != len(inputs):
        raise GraphFileError(f"{place}: inputs: two have one name")
    graph.outputs = [graph.tensors[k] for k in strict.numbers(held["outputs"], f"{place}: outputs", len(graph))]
    _dropouts(graph, held["dropouts"], place)
    return Body(graph, inputs)


class _Entry:
    """One node on its way into a graph; every refusal names it."""

    def __init__(self, graph: Graph, node: dict[str, Any], place: str, depth: int = 0) -> None:
        self.graph, self.node, self.place, self.depth = graph, node, place, depth

    def fail(self, text: str) -> NoReturn:
        raise GraphFileError(f"{self.place}: {text}", node=self.node["name"])

    def append(self, origins: Sequence[Origin], values: Mapping[str, Array], calls: Sequence[Call]) -> Tensor:
        node, name = self.node, self.node["name"]
        own = None if node["op"] in OPS else OWN.get().get(node["op"])
        try:
            op = own or lookup(node["op"])
        except GraphcError as error:
            self.fail(f"op: {error.message[:100]}; gx.load(path, ops={{name: op}}) takes ops of your own")
        if node["dtype"] not in DTYPES:
            self.fail(f"dtype: {show(node['dtype'])} is not supported")
        declared = TensorType(DTYPES[node["dtype"]], self.shape(node["shape"], "shape"))
        operands = self.operands(op)
        if own is not None:
            op = own.record([t.type for t in operands], sum(k.startswith("size") for k in node["attrs"]))
        if set(node["attrs"]) != set(op.attrs):
            self.fail(f"attrs: {op.name} takes {', '.join(op.attrs) or 'none'}, found {len(node['attrs'])} others")
        given = [k for k in op.attrs if own is None or k != "function"]
        attrs = {k: self.attribute(op, k, node["attrs"][k]) for k in given}
        if own is not None:
            attrs["function"] = own.token
        if not 0 <= node["origin"] < len(origins):
            self.fail(f"origin: there is no origin {node['origin']}")
        origin, forward, call = origins[node["origin"]], node["forward"], self.call(calls)
        if op.kind is Kind.LEAF:
            value = values.get(name)
            out = self.graph.append(
                op, (), {}, type=declared, name=name, origin=origin, value=value, forward=forward, call=call
            )
            if op.name in STATE and value is not None:
                self.graph.state.add(name, value)
            elif value is not None:
                value.setflags(write=False)
            return out
        try:
            found = op.infer([t.type for t in operands], attrs)
        except GraphcError as error:
            self.fail(error.message[:300])
        except (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError):
            self.fail(f"attrs: not such as {op.name} takes")
        for field, one, other in (("dtype", declared.dtype, found.dtype), ("shape", declared.shape, found.shape)):
            if one != other:
                self.fail(f"{field}: declared {_short(one)}, but {op.name} gives {_short(other)}")
        return self.graph.append(op, operands, attrs, type=found, name=name, origin=origin, forward=forward, call=call)

    def number(self) -> Array:
        """The value of a constant in a body."""
        kind, given = self.node["dtype"], self.node["value"]
        if kind not in DTYPES or self.node["shape"] != []:
            self.fail("a constant in a body must be a number of a dtype that is supported")
        value = self.single("real", "value", given) if type(given) is dict else given
        wanted = {"b": bool, "f": float}.get(DTYPES[kind].kind, int)
        try:
            made = np.array(value, DTYPES[kind])
        except OverflowError:
            self.fail(f"value: {show(given)} does not fit in {kind}")
        if type(value) is not wanted or (made.item() != value and value == value):
            self.fail(f"value: expected a {kind}, found {show(given)}")
        return made

    def call(self, calls: Sequence[Call]) -> Call | None:
        """The call that the node is part of."""
        k: int | None = self.node.get("call")
        if k is None:
            return None
        if not 0 <= k < len(calls):
            self.fail(f"call: there is no call {k}")
        calls[k].nodes += 1
        return calls[k]

    def operands(self, op: Op) -> list[Tensor]:
        given = strict.numbers(self.node["inputs"], f"{self.place}: inputs", LARGEST_NUMBER)
        here = len(self.graph)
        for slot, k in enumerate(given):
            if k >= here:
                self.fail(f"inputs: slot {slot} is node {k}, which does not come before it (a cycle, or no node)")
        if (op.arity is not None and len(given) != op.arity) or (op.arity is None and not given):
            self.fail(f"inputs: {op.name} takes {op.arity or 'at least 1'} operands, found {len(given)}")
        return [self.graph.tensors[k] for k in given]

    def attribute(self, op: Op, name: str, value: Any) -> Any:
        kind = ATTRIBUTES.get(f"{op.name} {name}") or ATTRIBUTES.get(name)
        if kind == "shape":
            return self.shape(value, name)
        if kind == "body":
            return decode_body(value, f"{self.place}: {name}", self.depth + 1)
        if kind in ("counts", "integers", "sizes"):
            if type(value) is not list or len(value) > MOST_AXES:
                self.fail(f"{name}: expected a list of at most {MOST_AXES}, found {show(value)}")
            return tuple(self.single(kind[:-1], name, v) for v in value)
        if kind is None and type(value) is list and len(value) <= MOST_AXES:
            return tuple(self.single(None, name, v) for v in value)
        return self.single(kind, name, value)

    def single(self, kind: str | None, name: str, value: Any) -> Any:
        if kind in ("size", None) and type(value) is str:
            return self.size(value, name)
        if (
            type(value) is int
            and abs(value) < LARGEST_NUMBER
            and (kind in ("size", "integer", None) or (kind == "count" and value >= 0))
        ):
            return value
        if type(value) is bool and kind in ("flag", None):
            return value
        if type(value) is dict and len(value) == 1:
            ((form, text),) = value.items()
            if form == "real" and kind in ("real", None):
                return self.real(text, name)
            if form == "text" and type(text) is str and ((kind == "dtype" and text in DTYPES) or kind == "text"):
                return text[:300]
        self.fail(f"{name}: expected a {kind or 'number'}, found {show(value)}")

    def real(self, text: Any, name: str) -> float:
        try:
            value = float.fromhex(text)
        except (TypeError, ValueError, OverflowError):
            self.fail(f"{name}: expected a number in hexadecimal, found {show(text)}")
        if value.hex() != text:
            self.fail(f"{name}: expected {value.hex()}, found {show(text)}")
        return value

    def shape(self, value: Any, field: str) -> Shape:
        if type(value) is not list or len(value) > MOST_AXES:
            self.fail(f"{field}: expected a list of at most {MOST_AXES} sizes, found {show(value)}")
        shape = tuple(self.size(v, field) for v in value)
        known = terms = 1
        for n in shape:
            terms *= len(n.terms) if isinstance(n, dims.Dim) else 1
            if isinstance(n, int) and n < 0:
                self.fail(f"{field}: the size {n} is negative")
            known *= n if isinstance(n, int) and n else 1
        if terms > MOST_IN_PRODUCT:
            self.fail(f"{field}: the product of these sizes has too many terms")
        if known > LARGEST_SHAPE:
            self.fail(f"{field}: too large, more than {LARGEST_SHAPE} elements")
        return shape

    def size(self, value: Any, field: str) -> dims.Size:
        if type(value) is int:
            return value
        if type(value) is not str or len(value) > LONGEST_SIZE:
            self.fail(f"{field}: expected a size, found {show(value)}")
        try:
            size, printed = _parsed(value)
        except GraphcError as error:
            self.fail(f"{field}: {error.message}")
        if printed != value or isinstance(size, int):
            self.fail(f"{field}: {show(value)} is not the printed form of a size, {_short(size)}")
        return size


@lru_cache(maxsize=1024)
def _parsed(text: str) -> tuple[dims.Size, str]:
    """A size, and how it is printed; most of a file's sizes are the same few."""
    size = parse(text, most_terms=1)
    return size, str(size)


def _short(value: Any) -> str:
    return str(value)[:80]


def _roles(graph: Graph, held: dict[str, Any], place: str) -> None:
    """The graph's outputs, random keys and dropouts."""
    if not 0 <= held["symbols"] < 2**31:
        raise GraphFileError(f"{place}: symbols: expected a count, found {held['symbols']}")
    graph._fresh_symbols = held["symbols"]
    if held["outputs"] is not None:
        graph.outputs = [graph.tensors[k] for k in strict.numbers(held["outputs"], f"{place}: outputs", len(graph))]
    for k, pair in enumerate(held["random_keys"]):
        first, second, at = _pair(graph, pair, f"{place}: random_keys: entry {k}")
        made = graph.nodes[first]
        if made.op.name != "variable" or str(made.type) != "int64[2]":
            raise GraphFileError(f"{at}: {show(made.name)} is not a random key", node=made.name)
        graph.random_keys.add(first)
        graph._streams[first] = second - 1
    _dropouts(graph, held["dropouts"], place)


def _dropouts(graph: Graph, held: Sequence[Any], place: str) -> None:
    for k, pair in enumerate(held):
        first, second, at = _pair(graph, pair, f"{place}: dropouts: entry {k}")
        made = graph.nodes[first]
        if second >= first or graph.nodes[second].type != made.type:
            raise GraphFileError(f"{at}: {show(made.name)} is no dropout of node {second}", node=made.name)
        graph.dropouts[first] = second


def _pair(graph: Graph, pair: Any, place: str) -> tuple[int, int, str]:
    """A node and a number."""
    if type(pair) is not list or len(pair) != 2:
        raise GraphFileError(f"{place}: expected two numbers, found {show(pair)}")
    first, second = strict.numbers(pair, place, 2**62)
    if first >= len(graph):
        raise GraphFileError(f"{place}: there is no node {first}")
    return first, second, place


__all__ = ["decode", "decode_body", "encode"]
