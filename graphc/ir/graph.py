"""The graph: nodes in the order they were made, tensors that stand for them, and their networkx mirror."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, NoReturn

import networkx
import numpy as np

from graphc.errors import DTypeError, GraphcError, GraphError, Origin, ShapeError, caller
from graphc.ir import dims
from graphc.ir.op import FUNCTIONS, Attrs, Kind, Op, lookup
from graphc.ir.state import Array, State
from graphc.ir.types import DType, Shape, TensorType, dtype_of, is_float


@dataclass(frozen=True, slots=True, eq=False)
class Node:
    """One operation applied to operands; the frozen truth behind a Tensor.

    ``value`` is a leaf's array (a constant's value, the first value of state), ``forward`` the name of the node that
    a gradient node was derived from.
    """

    id: int
    op: Op
    inputs: tuple[int, ...]
    attrs: Attrs
    type: TensorType
    name: str
    origin: Origin
    value: Array | None = None
    forward: str | None = None


class Tensor:
    """A value in a graph. Arithmetic, comparison, indexing and methods append nodes to the same graph.

    A tensor has no value before an executable runs, so ``bool``, ``len``, iteration and array conversion raise.
    """

    __slots__ = ("__weakref__", "graph", "id")
    __array_ufunc__ = None  # NumPy arrays leave operators to the tensor

    def __init__(self, graph: Graph, id: int) -> None:
        self.graph, self.id = graph, id

    @property
    def node(self) -> Node:
        return self.graph.nodes[self.id]

    @property
    def op(self) -> Op:
        return self.node.op

    @property
    def inputs(self) -> tuple[Tensor, ...]:
        """The operands, in slot order."""
        return tuple(self.graph.tensors[i] for i in self.node.inputs)

    @property
    def attrs(self) -> Attrs:
        return self.node.attrs

    @property
    def name(self) -> str:
        return self.node.name

    @property
    def type(self) -> TensorType:
        return self.node.type

    @property
    def shape(self) -> Shape:
        return self.node.type.shape

    @property
    def dtype(self) -> DType:
        return self.node.type.dtype

    @property
    def ndim(self) -> int:
        return len(self.node.type.shape)

    @property
    def size(self) -> dims.Size:
        return self.node.type.size

    @property
    def origin(self) -> Origin:
        """The user's line that made this tensor."""
        return self.node.origin

    def named(self, name: str) -> Tensor:
        """This value under a name of the user's; ``g[name]`` finds it. GraphError where the name is taken."""
        return self.graph.rename(self, name)

    def __repr__(self) -> str:
        return f"<Tensor {self.name}: {self.type}>"

    def __bool__(self) -> NoReturn:
        raise TypeError(
            f"{self!r} has no truth value before it runs; use gx.where, or compare arrays that exe(...) returns"
        )

    def __iter__(self) -> NoReturn:
        raise TypeError(f"{self!r} cannot be iterated; index it, t[0], or use gx.split")

    def __len__(self) -> NoReturn:
        raise TypeError(f"{self!r} has no len; its sizes are t.shape")

    def _no_number(self) -> NoReturn:
        raise TypeError(f"{self!r} has no number before it runs; compile it and call the executable")

    def __int__(self) -> int:
        self._no_number()

    def __float__(self) -> float:
        self._no_number()

    def __index__(self) -> int:
        self._no_number()

    def __array__(self, *_: Any, **__: Any) -> Array:
        raise TypeError(
            f"{self!r} is not an array; use functions of graphc (gx.exp, not np.exp), or compile it and call"
        )

    def __hash__(self) -> int:
        return id(self)

    # operators: each is the function of its name in the op tables
    def __add__(self, other: Any) -> Tensor:
        return _call("add", self, other)

    def __radd__(self, other: Any) -> Tensor:
        return _call("add", other, self)

    def __sub__(self, other: Any) -> Tensor:
        return _call("subtract", self, other)

    def __rsub__(self, other: Any) -> Tensor:
        return _call("subtract", other, self)

    def __mul__(self, other: Any) -> Tensor:
        return _call("multiply", self, other)

    def __rmul__(self, other: Any) -> Tensor:
        return _call("multiply", other, self)

    def __truediv__(self, other: Any) -> Tensor:
        return _call("divide", self, other)

    def __rtruediv__(self, other: Any) -> Tensor:
        return _call("divide", other, self)

    def __floordiv__(self, other: Any) -> Tensor:
        return _call("floor_divide", self, other)

    def __rfloordiv__(self, other: Any) -> Tensor:
        return _call("floor_divide", other, self)

    def __mod__(self, other: Any) -> Tensor:
        return _call("remainder", self, other)

    def __rmod__(self, other: Any) -> Tensor:
        return _call("remainder", other, self)

    def __pow__(self, other: Any) -> Tensor:
        return _call("pow", self, other)

    def __rpow__(self, other: Any) -> Tensor:
        return _call("pow", other, self)

    def __matmul__(self, other: Any) -> Tensor:
        return _call("matmul", self, other)

    def __rmatmul__(self, other: Any) -> Tensor:
        return _call("matmul", other, self)

    def __and__(self, other: Any) -> Tensor:
        return _call("logical_and", self, other)

    def __rand__(self, other: Any) -> Tensor:
        return _call("logical_and", other, self)

    def __or__(self, other: Any) -> Tensor:
        return _call("logical_or", self, other)

    def __ror__(self, other: Any) -> Tensor:
        return _call("logical_or", other, self)

    def __xor__(self, other: Any) -> Tensor:
        return _call("logical_xor", self, other)

    def __rxor__(self, other: Any) -> Tensor:
        return _call("logical_xor", other, self)

    def __invert__(self) -> Tensor:
        return _call("logical_not", self)

    def __neg__(self) -> Tensor:
        return _call("neg", self)

    def __pos__(self) -> Tensor:
        return _call("positive", self)

    def __abs__(self) -> Tensor:
        return _call("abs", self)

    def __eq__(self, other: object) -> Tensor:  # type: ignore[override]
        return _call("equal", self, other)

    def __ne__(self, other: object) -> Tensor:  # type: ignore[override]
        return _call("not_equal", self, other)

    def __lt__(self, other: Any) -> Tensor:
        return _call("less", self, other)

    def __le__(self, other: Any) -> Tensor:
        return _call("less_equal", self, other)

    def __gt__(self, other: Any) -> Tensor:
        return _call("greater", self, other)

    def __ge__(self, other: Any) -> Tensor:
        return _call("greater_equal", self, other)

    def __getitem__(self, index: Any) -> Tensor:
        return _call("getitem", self, index)

    @property
    def T(self) -> Tensor:
        """All axes reversed."""
        return _call("permute_dims", self, tuple(reversed(range(self.ndim))))

    @property
    def mT(self) -> Tensor:
        """The last two axes swapped."""
        return _call("matrix_transpose", self)

    def reshape(self, *shape: Any) -> Tensor:
        return _call("reshape", self, shape[0] if len(shape) == 1 and isinstance(shape[0], (tuple, list)) else shape)

    def transpose(self, *axes: Any) -> Tensor:
        given = axes[0] if len(axes) == 1 and isinstance(axes[0], (tuple, list)) else axes
        return _call("permute_dims", self, tuple(given) or tuple(reversed(range(self.ndim))))

    def sum(self, axis: Any = None, keepdims: bool = False) -> Tensor:
        return _call("sum", self, axis=axis, keepdims=keepdims)

    def mean(self, axis: Any = None, keepdims: bool = False) -> Tensor:
        return _call("mean", self, axis=axis, keepdims=keepdims)

    def max(self, axis: Any = None, keepdims: bool = False) -> Tensor:
        return _call("max", self, axis=axis, keepdims=keepdims)

    def min(self, axis: Any = None, keepdims: bool = False) -> Tensor:
        return _call("min", self, axis=axis, keepdims=keepdims)

    def astype(self, dtype: Any) -> Tensor:
        return _call("astype", self, dtype)


def _call(name: str, *args: Any, **kwargs: Any) -> Tensor:
    out: Tensor = FUNCTIONS[name](*args, **kwargs)
    return out


class Graph:
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
        self.state = State()
        self._names: dict[str, int] = {}
        self._outputs: tuple[int, ...] | None = None
        self._mirror: networkx.MultiDiGraph | None = None  # made when first looked at, kept in step from then on
        self._scopes: list[str] = []
        self._fresh_symbols = 0
        self._streams: dict[int, int] = {}
        self.random_keys: set[int] = set()
        self.dropouts: dict[int, int] = {}  # result of a dropout -> what it was made of
        self._places: list[tuple[Origin, str | None]] = []

    def __repr__(self) -> str:
        return f"<Graph {self.name}: {len(self.nodes)} nodes>"

    def __str__(self) -> str:
        return FUNCTIONS["print_graph"](self)  # type: ignore[no-any-return]

    def __len__(self) -> int:
        return len(self.nodes)

    # ---- leaves

    def input(self, name: str, shape: Sequence[Any] = (), dtype: Any = "float32") -> Tensor:
        """A value passed at each call.

        A shape entry is an int, a str (a symbolic size: the same name means the same size), None (a fresh symbolic
        size) or a size of another tensor. Raises GraphError for a name that is taken, ShapeError, DTypeError.
        """
        origin = caller()
        with located(name, origin):
            kind = TensorType(dtype_of(dtype), self.shape(shape))
        return self.append(lookup("input"), (), {}, type=kind, name=self._claim(name, origin), origin=origin)

    def parameter(self, name: str, value: Any, dtype: Any = None) -> Tensor:
        """Trainable state that starts as ``value``. Arrays keep their dtype; lists and floats take the graph's.

        Raises GraphError for a name that is taken, DTypeError for a dtype that is not supported.
        """
        return self._state_leaf("parameter", name, value, dtype)

    def variable(self, name: str, value: Any, dtype: Any = None) -> Tensor:
        """State that is not trained: moments, running means, counters. As `parameter` otherwise."""
        return self._state_leaf("variable", name, value, dtype)

    def constant(self, value: Any, dtype: Any = None, name: str | None = None) -> Tensor:
        """A fixed value. Arrays keep their dtype; lists and Python numbers take the graph's float or int64."""
        origin = caller()
        with located(name or "constant", origin):
            array = self.as_array(value, dtype)
        array.setflags(write=False)
        claimed = None if name is None else self._claim(name, origin)
        kind = TensorType(array.dtype, array.shape)
        return self.append(lookup("constant"), (), {}, type=kind, name=claimed, origin=origin, value=array)

    def random_key(self, seed: int = 0, name: str = "key") -> Tensor:
        """A variable ``int64[2]`` of seed and call counter that random functions draw from."""
        if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)) or not -(2**63) <= seed < 2**63:
            raise GraphError(f"random_key: seed must be an int of 64 bits, found {seed!r}", origin=caller())
        free = name
        while self._full(free) in self._names:
            free = f"{name}_{len(self._names)}"
        key = self.variable(free, np.array([seed, 0], np.int64))
        self.random_keys.add(key.id)
        return key

    def _state_leaf(self, op: str, name: str, value: Any, dtype: Any) -> Tensor:
        origin = caller()
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
        if dtype is not None:
            target = dtype_of(dtype)
            if array.dtype.kind not in "biuf":
                raise DTypeError(f"expected numbers, found dtype {array.dtype}")
            return array.astype(target)
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
            self._fresh_symbols += 1
            return dims.symbol(f"d{self._fresh_symbols}")
        if isinstance(entry, str):
            if not entry.isidentifier():
                raise ShapeError(f"the name of a symbolic size must be an identifier, found {entry!r}")
            return dims.symbol(entry)
        if isinstance(entry, dims.Dim):
            return entry
        if isinstance(entry, bool) or not isinstance(entry, (int, np.integer)) or entry < 0:
            raise ShapeError(f"a size must be an int of at least 0, a name, or a size of a tensor; found {entry!r}")
        return int(entry)

    # ---- growth

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
    ) -> Tensor:
        """Adds one node and returns its tensor; its type is inferred where it is not given.

        Raises GraphError for operands of another graph, and what inference raises, with the user's line.
        """
        if self._places and origin is None:
            origin, forward = self._places[-1]
        origin = origin or caller()
        for tensor in inputs:
            if tensor.graph is not self:
                raise GraphError(
                    f"{op.name}: {tensor.name} belongs to graph {tensor.graph.name!r}, not to {self.name!r}",
                    node=tensor.name,
                    origin=origin,
                )
        if type is None:
            with located(op.name, origin):
                type = op.infer([t.type for t in inputs], attrs)
        id = len(self.nodes)
        name = name or self._readable(op, id)
        self._names[name] = id
        self.nodes.append(Node(id, op, tuple(t.id for t in inputs), attrs, type, name, origin, value, forward))
        self.tensors.append(Tensor(self, id))
        if self._mirror is not None:
            self._reflect(self.nodes[id])
        return self.tensors[id]

    @contextmanager
    def placed(self, origin: Origin, forward: str | None) -> Iterator[None]:
        """Nodes made inside take this line, and ``forward`` as the forward node they come from."""
        self._places.append((origin, forward))
        try:
            yield
        finally:
            self._places.pop()

    @contextmanager
    def scope(self, name: str) -> Iterator[None]:
        """Names given inside are prefixed ``name/``."""
        if not isinstance(name, str) or not name:
            raise GraphError(f"a scope's name must be a non-empty str, found {name!r}", origin=caller())
        self._scopes.append(name)
        try:
            yield
        finally:
            self._scopes.pop()

    def next_stream(self, key: Tensor) -> int:
        """The next stream number of a random key: every random call on it draws other numbers."""
        self._streams[key.id] = self._streams.get(key.id, -1) + 1
        return self._streams[key.id]

    def rename(self, tensor: Tensor, name: str) -> Tensor:
        node = tensor.node
        if node.op.kind is Kind.LEAF or node.name != self._automatic(node.op, node.id):
            tensor = self.append(lookup("identity"), (tensor,), {}, origin=caller())
            node = tensor.node
        full = self._claim(name, caller())
        del self._names[node.name]
        self._names[full] = node.id
        self.nodes[node.id] = replace(node, name=full)
        if self._mirror is not None:
            self._mirror.nodes[node.id]["name"] = full
        return tensor

    def _full(self, name: str) -> str:
        return "/".join([*self._scopes, name])

    def _claim(self, name: str, origin: Origin) -> str:
        if not isinstance(name, str) or not name:
            raise GraphError(f"a name must be a non-empty str, found {name!r}", origin=origin)
        full = self._full(name)
        if full in self._names:
            taken = self.nodes[self._names[full]].origin
            raise GraphError(f"the name {full!r} is taken, by the node made at {taken}", node=full, origin=origin)
        self._names[full] = len(self.nodes)
        return full

    @staticmethod
    def _automatic(op: Op, id: int) -> str:
        return f"{op.name}_{id}"

    def _readable(self, op: Op, id: int) -> str:
        name = self._automatic(op, id)
        while name in self._names:
            name += "_"
        return name

    # ---- access

    def __getitem__(self, name: str) -> Tensor:
        """The tensor of that name; GraphError where there is none."""
        try:
            return self.tensors[self._names[name]]
        except (KeyError, TypeError):
            raise GraphError(f"graph {self.name!r} has no node called {name!r}", origin=caller()) from None

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
    def outputs(self, tensors: Sequence[Tensor]) -> None:
        for tensor in tensors:
            if not isinstance(tensor, Tensor) or tensor.graph is not self:
                raise GraphError(f"outputs must be tensors of graph {self.name!r}, found {tensor!r}", origin=caller())
        self._outputs = tuple(t.id for t in tensors)

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

    def to_networkx(self) -> networkx.MultiDiGraph:
        """A detached copy with plain attributes and names as node keys; `from_networkx` reads it back."""
        dag = networkx.relabel_nodes(self.nx, {n.id: n.name for n in self.nodes}, copy=True)
        dag.graph.update(name=self.name, float_dtype=self.float_dtype.name, outputs=[t.name for t in self.outputs])
        return dag

    def equals(self, other: Graph) -> bool:
        """True where both graphs hold the same nodes under the same names, with equal leaf values."""
        return len(self) == len(other) and {n.name: _signature(self, n) for n in self.nodes} == {
            n.name: _signature(other, n) for n in other.nodes
        }


def describe(node: Node) -> dict[str, Any]:
    """A node's networkx attributes: ``op name dtype shape attrs``, and ``value`` on leaves that have one."""
    plain = {k: _plain(v) for k, v in node.attrs.items()}
    out = {
        "op": node.op.name,
        "name": node.name,
        "dtype": node.type.dtype.name,
        "shape": _plain(node.type.shape),
        "attrs": plain,
    }
    if node.value is not None:
        out["value"] = node.value
    return out


def _plain(value: Any) -> Any:
    if isinstance(value, dims.Dim):
        return str(value)
    return tuple(map(_plain, value)) if isinstance(value, tuple) else value


def _signature(graph: Graph, node: Node) -> Any:
    value = None if node.value is None else (node.value.dtype.str, node.value.shape, node.value.tobytes())
    return node.op.name, [graph.nodes[i].name for i in node.inputs], dict(node.attrs), node.type, value


@contextmanager
def located(node: str, origin: Origin) -> Iterator[None]:
    """Errors raised inside without a place get this node and line."""
    try:
        yield
    except GraphcError as error:
        if error.origin is not None:
            raise
        text = error.message if error.message.startswith(node) else f"{node}: {error.message}"
        raise type(error)(text, node=node, origin=origin) from None


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


def rebuild(graph: Graph, visit: Callable[[Graph, Node, tuple[Tensor, ...]], Tensor | None] | None = None) -> Graph:
    """A new graph with what ``graph.outputs`` need, node by node; the frame of every pass.

    ``visit(new, node, operands)`` may return the tensor that stands for ``node`` in the new graph, or None for a
    plain copy. Nodes that it makes take the place of ``node``. Leaves that nothing needs are left out.
    """
    new = Graph(graph.name, graph.float_dtype)
    made: dict[int, Tensor] = {}
    roots = [t.id for t in graph.outputs]
    needed = topological(graph, roots)
    for node in sorted(needed, key=lambda n: bool(n.inputs) or n.op.kind is not Kind.LEAF):  # leaves keep their names
        operands = tuple(made[i] for i in node.inputs)
        tensor = None
        if visit is not None:
            with new.placed(node.origin, node.forward):
                tensor = visit(new, node, operands)
        made[node.id] = tensor if tensor is not None else copy_node(new, node, operands)
    new._outputs = tuple(made[i].id for i in roots)
    return new


def copy_node(new: Graph, node: Node, operands: Sequence[Tensor]) -> Tensor:
    """``node`` again in another graph; its own name where that is free."""
    return new.append(
        node.op,
        operands,
        node.attrs,
        type=node.type,
        name=None if node.name in new else node.name,
        origin=node.origin,
        value=node.value,
        forward=node.forward,
    )


__all__ = ["Graph", "Node", "Tensor", "copy_node", "describe", "located", "rebuild", "topological"]
