"""The graph: nodes in the order they were made, and their networkx mirror."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import replace
from typing import Any, Protocol

import networkx
import numpy as np

from graphc.errors import (
    DTypeError,
    GraphcError,
    GraphError,
    Origin,
    ShapeError,
    Uncopied,
    caller,
    did_you_mean,
    relocated,
)
from graphc.ir import dims
from graphc.ir.arrays import Array
from graphc.ir.call import OPEN, Call, here
from graphc.ir.creation import Creation
from graphc.ir.interchange import as_text, describe
from graphc.ir.node import Node
from graphc.ir.op import LATER, Attrs, Kind, Op, lookup
from graphc.ir.state import State
from graphc.ir.tensor import Tensor
from graphc.ir.types import Shape, TensorType, dtype_of, is_float


class Graph(Creation[Tensor], Uncopied):
    """A static graph that only grows.

    ``float_dtype`` is what Python floats, true division of integers and the like become.

    >>> g = Graph("line")
    >>> x = g.input("x", shape=("n",))
    >>> x.shape, x.dtype
    ((n,), dtype('float32'))
    """

    def __init__(self, name: str = "graph", float_dtype: Any = "float32") -> None:
        if not isinstance(name, str):
            raise GraphError(f"a graph's name must be a str, found {name!r}", origin=caller())
        self.name = name
        self.float_dtype = dtype_of(float_dtype)
        if not is_float(self.float_dtype):
            raise DTypeError(f"float_dtype must be float32 or float64, found {self.float_dtype}", origin=caller())
        self.nodes: list[Node] = []
        self.tensors: list[Tensor] = []
        self.state = State(name)
        self._names: dict[str, int] = {}
        self._reserved: set[str] = set()  # names that nodes to come are to have
        self._outputs: tuple[int, ...] | None = None
        self._mirror: networkx.MultiDiGraph | None = None  # made when first looked at, kept in step from then on
        self._scopes: list[str] = []
        self._fresh_symbols = 0
        self._streams: dict[int, int] = {}
        self.random_keys: set[int] = set()
        self.dropouts: dict[int, int] = {}  # what only training has -> what stands for it in inference
        self.noted: dict[int, list[tuple[int, int]]] = {}  # a result -> state, and its next value where that is trained
        self.gradients: set[int] = set()  # results of grad by parameters and variables
        self.backward: list[Callable[..., Sequence[Any]]] = []  # gradients that are functions of the user's
        self._places: list[tuple[Origin, str | None, Call | None]] = []

    def __repr__(self) -> str:
        return f"<Graph {self.name}: {len(self.nodes)} nodes>"

    def __str__(self) -> str:
        return LATER["print_graph"](self)  # type: ignore[no-any-return]

    def _repr_html_(self) -> str:
        return LATER["graph_html"](self)  # type: ignore[no-any-return]

    def __len__(self) -> int:
        return len(self.nodes)

    # ---- leaves

    def input(self, name: str, shape: Sequence[Any] = (), dtype: Any = None) -> Tensor:
        """A value passed at each call; its dtype is the graph's float where none is given.

        A shape entry is an int, a str (a symbolic size: the same name means the same size), None (a fresh symbolic
        size) or a size of another tensor. Raises GraphError for a name that is taken, ShapeError, DTypeError.

        >>> g = Graph()
        >>> g.input("x", ("batch", 3)), g.input("label", ("batch",), "int64")
        (<Tensor x: float32[batch, 3]>, <Tensor label: int64[batch]>)
        """
        origin = caller()
        with located(str(name), origin):
            kind = TensorType(self.float_dtype if dtype is None else dtype_of(dtype), self.shape(shape))
        return self.append(lookup("input"), (), {}, type=kind, name=self._claim(name, origin), origin=origin)

    def parameter(self, name: str, value: Any, dtype: Any = None) -> Tensor:
        """Trainable state that starts as ``value``. Arrays keep their dtype; lists and floats take the graph's.

        Raises GraphError for a name that is taken, DTypeError for a dtype that is not supported.

        The shape is that of ``value``; ``g.state[name]`` reads and sets what it holds.

        >>> g = Graph()
        >>> g.parameter("W", [[1.0, 2.0]]), g.parameter("b", 0.5)
        (<Tensor W: float32[1, 2]>, <Tensor b: float32[]>)
        >>> g.state["W"]
        array([[1., 2.]], dtype=float32)
        """
        return self._state_leaf("parameter", name, value, dtype)

    def variable(self, name: str, value: Any, dtype: Any = None) -> Tensor:
        """State that is not trained: moments, running means, counters. As `parameter` otherwise.

        >>> Graph().variable("count", 0)
        <Tensor count: int64[]>
        """
        return self._state_leaf("variable", name, value, dtype)

    def constant(self, value: Any, dtype: Any = None, name: str | None = None) -> Tensor:
        """A fixed value. Arrays keep their dtype; lists and Python numbers take the graph's float or int64.

        Shape and dtype are those of the value. Raises DTypeError for a dtype that is not supported.

        >>> Graph().constant([1.0, 2.0])
        <Tensor constant_0: float32[2]>
        """
        with located(name or "constant"):
            array = self.as_array(value, dtype)
        array.setflags(write=False)
        if self.outer is not None and array.shape != ():  # bodies hold numbers only, and capture what is larger
            kind = TensorType(array.dtype, array.shape)
            return self.outermost.append(lookup("constant"), (), {}, type=kind, value=array)
        claimed = None if name is None else self._claim(name, caller())
        kind = TensorType(array.dtype, array.shape)
        return self.append(lookup("constant"), (), {}, type=kind, name=claimed, value=array)

    def random_key(self, seed: int = 0, name: str = "key") -> Tensor:
        """A variable ``int64[2]`` of seed and call counter that random functions draw from.

        Where the name is taken, a number follows it. Raises GraphError for a name that cannot be one.

        >>> Graph().random_key(seed=7)
        <Tensor key: int64[2]>
        """
        if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)) or not -(2**63) <= seed < 2**63:
            raise GraphError(f"random_key: seed must be an int of 64 bits, found {seed!r}", origin=caller())
        free = name
        while self._full(free) in self._names:
            free = f"{name}_{len(self._names)}"
        key = self.variable(free, np.array([seed, 0], np.int64))
        self.random_keys.add(key.id)
        return key

    def _state_leaf(self, op: str, name: str, value: Any, dtype: Any) -> Tensor:
        origin = self._line()
        with located(str(name), origin):
            array = self.as_array(value, dtype)
        kind = TensorType(array.dtype, array.shape)
        full = self._claim(name, origin)
        out = self.append(lookup(op), (), {}, type=kind, name=full, origin=origin, value=array)
        self.state.add(full, array)
        return out

    def as_array(self, value: Any, dtype: Any = None) -> Array:
        """``value`` as a fresh array of a supported dtype: arrays keep theirs, lists and scalars take the graph's."""
        if isinstance(value, Tensor):
            raise GraphError(f"expected an array or a number, found the tensor {value.name}")
        try:
            array = np.array(value, order="C")
        except ValueError as e:
            raise ShapeError(f"cannot make an array: {e}") from None
        if array.dtype.kind not in "biuf":
            raise DTypeError(f"expected numbers, found dtype {array.dtype}, which is not supported")
        if dtype is not None:
            return array.astype(dtype_of(dtype))
        weak = not isinstance(value, np.ndarray)
        if weak and array.dtype.kind == "f":
            return array.astype(self.float_dtype)
        if weak and array.dtype.kind in "iu":
            return array.astype(np.int64)
        kept = array.astype(dtype_of(array.dtype))
        if is_float(kept.dtype) and kept.dtype.itemsize > self.float_dtype.itemsize:
            where = caller()
            message = (
                f"a {kept.dtype} array widens the {self.float_dtype} graph {self.name!r}; pass dtype= or .astype()"
            )
            warnings.warn_explicit(message, UserWarning, where.file, where.line)
        return kept

    def shape(self, spec: Sequence[Any]) -> Shape:
        """The shape that ``spec`` stands for; ShapeError for an entry that is not a size."""
        if isinstance(spec, (int, str)) or not isinstance(spec, (tuple, list)):
            raise ShapeError(f"a shape must be a tuple or list of sizes, found {spec!r}")
        return tuple(self._size(entry) for entry in spec)

    def _size(self, entry: Any) -> dims.Size:
        if entry is None:
            return self._fresh_symbol()
        if isinstance(entry, str):
            if not entry.isidentifier():
                raise ShapeError(f"the name of a symbolic size must be an identifier, found {entry!r}")
            return dims.symbol(entry)
        if isinstance(entry, dims.Dim):
            return entry
        if isinstance(entry, bool) or not isinstance(entry, (int, np.integer)) or entry < 0:
            raise ShapeError(f"a size must be an int of at least 0, a name, or a size of a tensor; found {entry!r}")
        return int(entry)

    def _fresh_symbol(self) -> dims.Dim:
        self._fresh_symbols += 1
        return dims.symbol(f"d{self._fresh_symbols}")

    # ---- growth

    outer: Graph | None = None  # the graph around it, of the body of a loop or a branch

    def inside(self, graph: Graph) -> bool:
        """Whether this is ``graph``, or the graph of a body in it."""
        return self is graph or (self.outer is not None and self.outer.inside(graph))

    @property
    def outermost(self) -> Graph:
        """The graph itself, or the one around all bodies that it is in."""
        return self if self.outer is None else self.outer.outermost

    @property
    def open(self) -> Graph:
        """Where what is computed now goes: this graph, or that of the body in it which is traced."""
        body: Graph | None = OPEN.body
        return body if body is not None and body.inside(self) else self

    def admit(self, tensor: Tensor, what: str) -> Tensor:
        """A tensor as an operand here; GraphError for one of another graph."""
        if tensor.graph is not self:
            text = f"{what}: {tensor.name} belongs to graph {tensor.graph.name!r}, not to {self.name!r}"
            if tensor.graph.inside(self):
                text = f"{what}: {tensor.name} is made inside {tensor.graph.name}; return it from there"
            raise GraphError(text, node=tensor.name)
        return tensor

    def append(
        self,
        op: Op,
        inputs: Sequence[Tensor],
        attrs: Attrs,
        *,
        type: TensorType | None = None,
        name: str | None = None,
        origin: Origin | None = None,
        value: Array | None = None,
        forward: str | None = None,
        call: Call | None = None,
    ) -> Tensor:
        """Adds one node and returns its tensor; its type is inferred where it is not given.

        Raises GraphError for operands of another graph, and what inference raises, with the user's line.
        """
        if OPEN.body is not None and self.open is not self and (op.kind is not Kind.LEAF or _is_number(op, type)):
            return self.open.append(
                op, inputs, attrs, type=type, name=name, origin=origin, value=value, forward=forward, call=call
            )
        if origin is None:
            origin, forward, call = self._place()
        if any(t.graph is not self for t in inputs):
            with located(op.name, origin):
                inputs = [self.admit(t, op.name) for t in inputs]
        if type is None:
            try:
                type = op.infer([t.type for t in inputs], attrs)
            except GraphcError as error:
                raise error if error.origin is not None else relocated(error, op.name, origin) from None
        id = len(self.nodes)
        name = name or self._readable(op, id, call if call is OPEN.call else None)  # copies and passes know no calls
        self._names[name] = id
        self.nodes.append(Node(id, op, tuple(t.id for t in inputs), attrs, type, name, origin, value, forward, call))
        self.tensors.append(Tensor(self, id))
        if self._mirror is not None:
            self._reflect(self.nodes[id])
        return self.tensors[id]

    def adopt(self, node: Node, inputs: tuple[int, ...]) -> Tensor:
        """A node of another graph as one of this, with operands of this; its own name where that is free."""
        id = len(self.nodes)
        name = self._readable(node.op, id, None) if node.name in self._names else node.name
        if id != node.id or name != node.name or (inputs is not node.inputs and inputs != node.inputs):
            node = Node(
                id, node.op, inputs, node.attrs, node.type, name, node.origin, node.value, node.forward, node.call
            )
        self._names[name] = id
        self.nodes.append(node)
        self.tensors.append(Tensor(self, id))
        if self._mirror is not None:
            self._reflect(node)
        return self.tensors[id]

    @contextmanager
    def placed(self, origin: Origin, forward: str | None, call: Call | None = None) -> Iterator[None]:
        """Nodes made inside take this line, ``forward`` as the forward node they come from, and this call."""
        self._places.append((origin, forward, call))
        try:
            yield
        finally:
            self._places.pop()

    def _line(self) -> Origin:
        """The user's line that leads here."""
        return self._places[-1][0] if self._places else here()

    def _place(self) -> tuple[Origin, str | None, Call | None]:
        """Line, forward node and call of a node that is made now."""
        if self._places:
            return self._places[-1]
        call = OPEN.call
        if call is None:
            return caller(), None, None
        call.nodes += 1
        return call.origin, None, call

    @contextmanager
    def calling(self, call: Call) -> Iterator[None]:
        """Nodes made inside are of this call, unless an outer one is open."""
        if OPEN.call is not None:
            yield
            return
        OPEN.call = call
        try:
            yield
        finally:
            OPEN.call = None
            self.settle(call)

    def settle(self, call: Call) -> None:
        """A call has come to its end: networkx learns of it."""
        if self._mirror is not None:
            left = call.nodes
            for node in reversed(self.nodes):  # most often the last ones
                if not left:
                    break
                if node.call is call:
                    left -= 1
                    if node.composition is not None:
                        self._mirror.nodes[node.id]["call"] = {"function": call.function, "name": call.name}

    @contextmanager
    def scope(self, name: str) -> Iterator[None]:
        """Names given inside are prefixed ``name/``.

        Raises GraphError for a name that cannot be one.

        >>> g = Graph()
        >>> with g.scope("encoder"):
        ...     x = g.input("x")
        >>> x.name
        'encoder/x'
        """
        if not isinstance(name, str) or not name:
            raise GraphError(f"a scope's name must be a non-empty str, found {name!r}", origin=caller())
        self._scopes.append(name)
        try:
            yield
        finally:
            self._scopes.pop()

    def next_stream(self, key: Tensor) -> int:
        """The next stream number of a random key: every random call on it draws other numbers.

        A variable that is drawn from is a random key from then on.
        """
        if key.op.name == "variable":
            self.random_keys.add(key.id)
        self._streams[key.id] = self._streams.get(key.id, -1) + 1
        return self._streams[key.id]

    def _renumbered(self, ids: dict[int, int], mark: int) -> None:
        """Nodes from ``mark`` on have other numbers now, or are gone; what else knows them by number follows."""
        self._streams = {ids[i]: n for i, n in self._streams.items() if i in ids}
        self.random_keys = {ids[i] for i in self.random_keys if i in ids}
        self.dropouts = {ids[y]: ids[x] for y, x in self.dropouts.items() if y in ids and x in ids}
        self.noted = {
            ids[y]: [(ids[i], ids[j]) for i, j in pairs if i in ids and j in ids]
            for y, pairs in self.noted.items()
            if y in ids
        }
        if self._outputs is not None:
            self._outputs = tuple(ids[i] for i in self._outputs if i in ids)
        if self._mirror is not None:
            self._mirror.remove_nodes_from([i for i in self._mirror if i >= mark])
            for node in self.nodes[mark:]:
                self._reflect(node)

    def rename(self, tensor: Tensor, name: str) -> Tensor:
        node = tensor.node
        if node.op.kind is Kind.LEAF or node.name != self._automatic(node.op, node.id):
            tensor = self.append(lookup("identity"), (tensor,), {}, origin=self._line())
            node = tensor.node
        self.rename_node(node, self._claim(name, self._line()))
        return tensor

    def reserve(self, names: Iterable[str]) -> None:
        """No node gets one of these names unless it is given."""
        self._reserved = set(names)

    def rename_node(self, node: Node, name: str) -> None:
        """Another name for a node, for its gradients and for the call that it is the result of."""
        del self._names[node.name]
        self._names[name] = node.id
        self.nodes[node.id] = replace(node, name=name)
        for later in self.nodes[node.id + 1 :]:
            if later.forward == node.name:
                self.nodes[later.id] = replace(later, forward=name)
                if self._mirror is not None:
                    self._mirror.nodes[later.id]["forward"] = name
        if self._mirror is not None:
            self._mirror.nodes[node.id]["name"] = name
        if node.call is not None and node.call.name == node.name:
            node.call.name = name
            self.settle(node.call)

    def automatic(self, name: str) -> bool:
        """Whether a node has the name that it was given, not one of the user's."""
        node = self[name].node
        inner = node.call is not None and name.startswith(f"{node.call.name}/")
        return inner or name.rstrip("_") == self._automatic(node.op, node.id)

    def _full(self, name: str) -> str:
        return "/".join([*self._scopes, name])

    def _claim(self, name: str, origin: Origin) -> str:
        if not isinstance(name, str) or not name:
            raise GraphError(f"a name must be a non-empty str, found {name!r}", origin=origin)
        full = self._full(name)
        if full in self._names:
            taken = self.nodes[self._names[full]].origin
            text = f"the name {full!r} is taken, by the node made at {taken}"
            todo = f"choose another, use g[{full!r}], or begin a new graph by gx.Graph, as before a cell runs again"
            raise GraphError(f"{text}; {todo}", node=full, origin=origin)
        self._names[full] = len(self.nodes)
        return full

    @staticmethod
    def _automatic(op: Op, id: int) -> str:
        return f"{op.name}_{id}"

    def _readable(self, op: Op, id: int, call: Call | None) -> str:
        if call is not None and call.name:
            return self.free(f"{call.name}/{op.name}")
        name = self._automatic(op, id)
        while name in self._names or name in self._reserved:
            name += "_"
        return name

    def free(self, name: str) -> str:
        """The name, or with the first number that makes it free."""
        made, k = name, 1
        while made in self._names or made in self._reserved:
            k += 1
            made = f"{name}_{k}"
        return made

    # ---- access

    def __getitem__(self, name: str) -> Tensor:
        """The tensor of that name; GraphError where there is none."""
        try:
            return self.tensors[self._names[name]]
        except (KeyError, TypeError):
            text = f"graph {self.name!r} has no node called {name!r}{did_you_mean(name, self._names)}"
            raise GraphError(text, origin=caller()) from None

    def __contains__(self, name: object) -> bool:
        return name in self._names

    def _leaves(self, op: str) -> dict[str, Tensor]:
        return {n.name: self.tensors[n.id] for n in self.nodes if n.op.name == op}

    @property
    def inputs(self) -> dict[str, Tensor]:
        """Inputs by name, in the order they were made."""
        return self._leaves("input")

    @property
    def parameters(self) -> dict[str, Tensor]:
        """Trainable state by name."""
        return self._leaves("parameter")

    @property
    def variables(self) -> dict[str, Tensor]:
        """State that is not trained, by name."""
        return self._leaves("variable")

    @property
    def outputs(self) -> tuple[Tensor, ...]:
        """The graph's own list of outputs where it was set, else every node that nothing uses."""
        if self._outputs is not None:
            return tuple(self.tensors[i] for i in self._outputs)
        used = {i for n in self.nodes for i in n.inputs}
        return tuple(self.tensors[n.id] for n in self.nodes if n.id not in used and n.op.kind is not Kind.LEAF)

    @outputs.setter
    def outputs(self, tensors: Sequence[Tensor] | Tensor) -> None:
        listed: list[Any] = list(tensors) if isinstance(tensors, (list, tuple)) else [tensors]
        for tensor in listed:
            if not isinstance(tensor, Tensor) or tensor.graph is not self:
                raise GraphError(f"outputs must be tensors of graph {self.name!r}, found {tensor!r}", origin=caller())
        self._outputs = tuple(t.id for t in listed)

    # ---- networkx

    @property
    def nx(self) -> networkx.MultiDiGraph:
        """The live networkx graph, read-only: one node per operation, one edge per operand, keyed by its slot."""
        if self._mirror is None:
            self._mirror = networkx.MultiDiGraph(name=self.name)
            for node in self.nodes:
                self._reflect(node)
        self._mirror.graph["outputs"] = [t.id for t in self.outputs]
        return self._mirror.copy(as_view=True)

    def _reflect(self, node: Node) -> None:
        assert self._mirror is not None
        self._mirror.add_node(node.id, **describe(node))
        self._mirror.add_edges_from((i, node.id, slot, {"slot": slot}) for slot, i in enumerate(node.inputs))

    def to_networkx(self, text: bool = False) -> networkx.MultiDiGraph:
        """A detached copy with plain attributes and names as node keys; `from_networkx` reads it back.

        With ``text`` all attributes are strings and numbers, so that networkx writes it as GraphML, GML, GEXF or JSON,
        and `from_networkx` reads what networkx reads from those.

        Raises nothing.

        >>> g = Graph("line")
        >>> x = g.input("x", shape=("n",))
        >>> y = (x * 2.0).named("y")
        >>> dag = g.to_networkx()
        >>> dag.nodes["y"]["op"], dag.nodes["y"]["shape"], list(dag.in_edges("y", data="slot"))
        ('multiply', ('n',), [('x', 'y', 0), ('constant_1', 'y', 1)])
        """
        dag = networkx.MultiDiGraph(**describe_graph(self))
        dag.add_nodes_from((n.name, describe(n)) for n in self.nodes)
        names = [n.name for n in self.nodes]
        for node in self.nodes:
            dag.add_edges_from((names[i], node.name, slot, {"slot": slot}) for slot, i in enumerate(node.inputs))
        return as_text(dag) if text else dag

    # ---- pictures

    def view(
        self,
        path: str | os.PathLike[str] | None = None,
        *,
        feeds: Mapping[Any, Any] | None = None,
        outputs: Tensor | Sequence[Tensor] | None = None,
        wrt: Tensor | Sequence[Tensor] | None = None,
    ) -> Any:
        """The graph as one page for a browser, which needs no network: forward beside backward, groups that open.

        A scope, and the call of a function such as softmax, is one box until it is opened. Where there are many nodes
        neighbours share boxes. With ``feeds``, arrays for inputs by name or tensor, nodes show their values, and
        gradients of ``outputs`` (None: those of the graph that are floats and no gradients) by ``wrt``, as `inspect`.

        Returns a view that a notebook shows; ``.save(path)`` writes it, ``.open()`` shows it in a browser. It is
        written to ``path`` where that is given. Raises InputError and its kinds where feeds do not fit, OSError where
        the file cannot be written.

        >>> g = Graph("line")
        >>> y = (g.input("x", ("n",)) * 2.0).named("y")
        >>> g.view()
        <View of line: 3 nodes; .save(path) writes it, .open() shows it in a browser>
        """
        return LATER["view"](self, path, feeds=feeds, outputs=outputs, wrt=wrt)

    def to_svg(self, path: str | os.PathLike[str] | None = None) -> str:
        """The graph as an SVG drawing for papers, written to ``path`` where that is given; OSError where it cannot be.

        Forward from left to right, below it, mirrored, what is there of gradients. Beyond 60 nodes what stands in one
        scope is one box, and of a graph without scopes neighbours are.

        >>> g = Graph()
        >>> y = g.input("x") + 1
        >>> g.to_svg()[:4]
        '<svg'
        """
        return LATER["to_svg"](self, path)  # type: ignore[no-any-return]

    def to_dot(self, path: str | os.PathLike[str] | None = None) -> str:
        """The graph in Graphviz's language, every node, with types on the edges and scopes as clusters.

        Written to ``path`` where that is given; OSError where it cannot be.

        >>> g = Graph("line")
        >>> y = (g.input("x", ("n",)) * 2.0).named("y")
        >>> "n0 -> n2" in g.to_dot()
        True
        """
        return LATER["to_dot"](self, path)  # type: ignore[no-any-return]

    def equals(self, other: Graph) -> bool:
        """True where both graphs hold the same nodes under the same names, with equal leaf values.

        Raises TypeError where the other is no graph.

        >>> g, h = Graph(), Graph()
        >>> _ = g.input("x", ("n",)), h.input("x", ("n",))
        >>> g.equals(h)
        True
        """
        return len(self) == len(other) and {n.name: _signature(self, n) for n in self.nodes} == {
            n.name: _signature(other, n) for n in other.nodes
        }


def _is_number(op: Op, type: TensorType | None) -> bool:
    return op.name == "constant" and type is not None and type.shape == ()


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


def _signature(graph: Graph, node: Node) -> Any:
    value = None if node.value is None else (node.value.dtype.str, node.value.shape, node.value.tobytes())
    return node.op.name, [graph.nodes[i].name for i in node.inputs], dict(node.attrs), node.type, value


@contextmanager
def located(node: str, origin: Origin | None = None) -> Iterator[None]:
    """Errors raised inside without a place get this node and line, the user's by default."""
    try:
        yield
    except GraphcError as error:
        if error.origin is not None:
            raise
        raise relocated(error, node, origin or caller()) from None


def topological(graph: Graph, roots: Sequence[int]) -> list[Node]:
    """The nodes that ``roots`` need, in the order they were made."""
    needed = [False] * len(graph.nodes)
    for i in roots:
        needed[i] = True
    for node in reversed(graph.nodes):
        if needed[node.id]:
            for i in node.inputs:
                needed[i] = True
    return [n for n in graph.nodes if needed[n.id]]


class Observer(Protocol):
    """Who is told what passes do."""

    def begins(self, name: str, graph: Graph) -> None:
        """A pass of that name begins on a graph."""

    def rebuilt(self, graph: Graph, new: Graph, made: Mapping[int, Tensor]) -> None:
        """A pass is over: ``made`` has the tensor that stands for each node of the old graph that is still needed."""

    def rule(self, node: Node, name: str) -> None:
        """A rule has found its pattern at a node."""


OBSERVER: ContextVar[Observer | None] = ContextVar("observer", default=None)


def rebuild(
    graph: Graph,
    visit: Callable[[Graph, Node, tuple[Tensor, ...]], Tensor | None] | None = None,
    of: Container[str] | None = None,
) -> Graph:
    """A new graph with what ``graph.outputs`` need, node by node; the frame of every pass.

    ``visit(new, node, operands)`` may return the tensor that stands for ``node`` in the new graph, or None for a
    plain copy. Nodes that it makes take the place of ``node``. It is asked of the ops that are named in ``of``, or of
    all. Leaves that nothing needs are left out.
    """
    new = Graph(graph.name, graph.float_dtype)
    made: dict[int, Tensor] = {}
    roots = [t.id for t in graph.outputs]
    needed = topological(graph, roots)
    leaves = [node for node in needed if node.op.kind is Kind.LEAF]  # first, for they keep their names
    moved = False  # whether a node has got another number
    for node in leaves + [node for node in needed if node.op.kind is not Kind.LEAF]:
        tensor = None
        if visit is not None and (of is None or node.op.name in of):
            new._places = [(node.origin, node.forward, node.call)]
            tensor = visit(new, node, tuple([made[i] for i in node.inputs]))
        if tensor is None:
            tensor = new.adopt(node, tuple([made[i].id for i in node.inputs]) if moved else node.inputs)
        elif (tensor.dtype, tensor.ndim) != (node.type.dtype, len(node.type.shape)):
            raise GraphError(f"a pass has made {tensor.type} of {node.name}, which is {node.type}", node=node.name)
        moved = moved or tensor.id != node.id
        made[node.id] = tensor
    new._outputs, new._places = tuple([made[i].id for i in roots]), []
    if (observer := OBSERVER.get()) is not None:
        observer.rebuilt(graph, new, made)
    return new


def same(a: Graph, b: Graph) -> bool:
    """True for graphs that compute the same thing alike, node by node, whatever the names."""
    if len(a) != len(b) or a._outputs != b._outputs:
        return False
    return all(m is n or _alike(m, n) for m, n in zip(a.nodes, b.nodes, strict=True))


def _alike(m: Node, n: Node) -> bool:
    if m.op is not n.op or m.inputs != n.inputs or m.type != n.type or m.attrs != n.attrs:
        return False
    return m.op.name != "constant" or m.value is n.value or _bytes(m) == _bytes(n)


def _bytes(node: Node) -> bytes | None:
    return None if node.value is None else node.value.tobytes()


def copy_node(new: Graph, node: Node, operands: Sequence[Tensor]) -> Tensor:
    """``node`` again in another graph; its own name where that is free."""
    return new.adopt(node, tuple([t.id for t in operands]))


__all__ = [
    "Graph",
    "Node",
    "Tensor",
    "copy_node",
    "describe",
    "describe_graph",
    "located",
    "rebuild",
    "same",
    "topological",
]
