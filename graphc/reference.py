"""The NumPy interpreter, plainly right: oracle of the tests, constant folder, debugging backend."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextvars import ContextVar
from typing import Any

import numpy as np

from graphc.errors import GraphcError, InputError, InputShapeError, NumericalError
from graphc.ir import dims
from graphc.ir.body import Body, bodies
from graphc.ir.graph import Graph, topological
from graphc.ir.node import Node
from graphc.ir.op import Kind
from graphc.ir.state import Array
from graphc.ir.tensor import Tensor
from graphc.ir.types import SizeCheck, is_float

Sizes = dict[str, int]


def bind_sizes(tensors: Sequence[Tensor], shapes: Sequence[tuple[int, ...]]) -> Sizes:
    """The values of the symbols in the declared shapes; InputShapeError where what is given does not fit."""
    sizes: Sizes = {}
    by: dict[str, str] = {}
    for t, shape in zip(tensors, shapes, strict=True):
        if len(shape) != t.ndim:
            text = f"input {t.name!r}: expected {t.type}, with {t.ndim} axes, found shape {shape}"
            raise InputShapeError(text, node=t.name, origin=t.origin)
        for size, found in zip(t.shape, shape, strict=True):
            name = dims.symbol_name(size)
            if name is not None and sizes.setdefault(name, found) != found:
                text = f"input {t.name!r}: {name} is {found} in shape {shape}, but {sizes[name]} in input {by[name]!r}"
                raise InputShapeError(text, node=t.name, origin=t.origin)
            if name is not None:
                by.setdefault(name, t.name)
    for t, shape in zip(tensors, shapes, strict=True):
        if tuple(dims.evaluate(s, sizes) for s in t.shape) != shape:
            text = f"input {t.name!r}: expected {t.type}, found shape {shape}"
            raise InputShapeError(text, node=t.name, origin=t.origin)
    return sizes


def evaluate(
    outputs: Graph | Sequence[Tensor],
    feeds: Mapping[str, Any],
    state: Mapping[str, Array] | None = None,
    sizes: Mapping[str, int] | None = None,
) -> list[Array]:
    """The values of ``outputs`` (of a graph: its own), given arrays for inputs by name.

    Symbolic sizes are those of the arrays, or ``sizes`` where inputs that bind them are gone. State leaves take
    their value from ``state``, else their first value. Raises what the executable would.
    """
    tensors = list(outputs.outputs if isinstance(outputs, Graph) else outputs)
    if not tensors:
        return []
    graph = tensors[0].graph
    nodes = topological(graph, [t.id for t in tensors])
    inputs = [n for n in nodes if n.op.name == "input"]
    missing = [n.name for n in inputs if n.name not in feeds]
    if missing:
        raise InputError(f"no value for input {missing[0]!r}", node=missing[0])
    arrays = {n.name: np.asarray(feeds[n.name], n.type.dtype) for n in inputs}
    if sizes is None:
        bound = [t for n, t in graph.inputs.items() if n in feeds]
        sizes = bind_sizes(bound, [np.asarray(feeds[t.name], t.dtype).shape for t in bound])
    values: dict[int, Any] = {}  # of a loop or branch: all that it computes
    read = _results_read(nodes)
    with np.errstate(all="ignore"):
        for node in nodes:
            operands = [values[i] for i in node.inputs]
            if node.op.kind is Kind.LEAF:
                values[node.id] = _leaf(node, arrays, state or {})
            elif node.op.kind is Kind.CONTROL:
                values[node.id] = run_control(graph, node, operands, sizes, read.get(node.id, set()))
            elif node.op.kind is Kind.RESULT:
                values[node.id] = operands[0][node.attrs["index"]]
            else:
                values[node.id] = run_node(graph, node, operands, sizes)
    return [np.int64(0) if t.op.kind is Kind.CONTROL else values[t.id] for t in tensors]  # type: ignore[misc]


def _results_read(nodes: Iterable[Node]) -> dict[int, set[int]]:
    """Loop or branch -> which of its results are read."""
    found: dict[int, set[int]] = {}
    for node in nodes:
        if node.op.kind is Kind.RESULT:
            found.setdefault(node.inputs[0], set()).add(node.attrs["index"])
    return found


def _leaf(node: Node, arrays: Mapping[str, Array], state: Mapping[str, Array]) -> Array:
    if node.op.name == "input":
        return arrays[node.name]
    held = state.get(node.name, node.value)
    assert held is not None
    return held


def run_node(graph: Graph, node: Node, operands: Sequence[Array], sizes: Mapping[str, int]) -> Array:
    """One node's value, after its size checks; errors name the node and the user's line."""
    check_sizes([(node, check) for check in _checks_of(graph, node)], sizes)
    attrs = {k: _number(v, sizes) for k, v in node.attrs.items()}
    try:
        value = node.op.reference(*operands, **attrs)
    except GraphcError as error:
        raise type(error)(f"{node.name}: {error.message}", node=node.name, origin=node.origin) from None
    value = np.asarray(value, node.type.dtype)
    expected = tuple(dims.evaluate(s, sizes) for s in node.type.shape)
    assert value.shape == expected, f"{node.name} ({node.op.name}): shape {value.shape}, expected {expected}"
    return value


def run_control(
    graph: Graph, node: Node, operands: Sequence[Array], sizes: Mapping[str, int], read: Collection[int]
) -> list[Any]:
    """What a loop or a branch computes; None for histories that are not ``read``."""
    check_sizes([(node, check) for check in _checks_of(graph, node)], sizes)
    try:
        return _CONTROL[node.op.name](graph, node, operands, sizes, read)
    except NumericalError as error:
        if error.node is not None:
            raise
        raise NumericalError(f"{node.name}: {error.message}", node=node.name, origin=node.origin) from None


# Is told what bodies compute: the body, what it was given, and the value of each of its nodes.
WATCHER: ContextVar[Callable[[Body, Sequence[Any], list[Any]], None] | None] = ContextVar("watcher", default=None)


def run_body(body: Body, given: Sequence[Any], sizes: Mapping[str, int]) -> list[Array]:
    """What a body computes of arrays."""
    feeds = {name: value for (name, _), value in zip(body.inputs, given, strict=True) if name in body.graph}
    if (seen := WATCHER.get()) is None:
        made = evaluate(body.graph, feeds, sizes=sizes)
    else:
        values = evaluate(body.graph.tensors, feeds, sizes=sizes)
        seen(body, given, values)
        made = [values[t.id] for t in body.outputs]
    return [np.asarray(v, t.type.dtype) for v, t in zip(made, body.outputs, strict=True)]


def _scan(
    graph: Graph, node: Node, operands: Sequence[Array], sizes: Mapping[str, int], read: Collection[int]
) -> list[Any]:
    body, n, m = node.attrs["body"], node.attrs["carries"], node.attrs["xs"]
    length = dims.evaluate(node.attrs["length"], sizes)
    carry, rows, rest = list(operands[:n]), operands[n : n + m], operands[n + m :]
    stacked = _empty(graph, node, sizes, range(n, n + len(body.types)), read)
    for t in reversed(range(length)) if node.attrs["reverse"] else range(length):
        made = run_body(body, [np.int64(t), *carry, *(row[t] for row in rows), *rest], sizes)
        for held, value in zip(stacked, [*made[n:], *carry], strict=True):
            if held is not None:
                held[t] = value
        carry = made[:n]
    return [*carry, *stacked]


def _while(
    graph: Graph, node: Node, operands: Sequence[Array], sizes: Mapping[str, int], read: Collection[int]
) -> list[Any]:
    test, body = node.attrs["test"], node.attrs["body"]
    n, limit = len(body.types), dims.evaluate(node.attrs["max_steps"], sizes)
    carry, rest, t = list(operands[:n]), operands[n:], 0
    kept = [] if limit < 0 else _empty(graph, node, sizes, range(n + 1, 2 * n + 1), read)
    while run_body(test, [np.int64(t), *carry, *rest], sizes)[0]:
        if t == limit:
            raise NumericalError(f"goes on after max_steps = {limit}")
        for held, value in zip(kept, carry, strict=False):
            if held is not None:
                held[t] = value
        carry = run_body(body, [np.int64(t), *carry, *rest], sizes)
        t += 1
    return [*carry, np.int64(t), *kept]


def _cond(
    graph: Graph, node: Node, operands: Sequence[Array], sizes: Mapping[str, int], read: Collection[int]
) -> list[Any]:
    return run_body(node.attrs["on_true" if operands[0] else "on_false"], operands[1:], sizes)


def _empty(
    graph: Graph, node: Node, sizes: Mapping[str, int], indices: Iterable[int], read: Collection[int]
) -> list[Array | None]:
    """Zeros for results of these numbers, as far as they are read."""
    assert node.op.results is not None
    types = node.op.results([graph.nodes[i].type for i in node.inputs], node.attrs)
    shapes = {k: tuple(dims.evaluate(s, sizes) for s in types[k].shape) for k in read}
    return [np.zeros(shapes[k], types[k].dtype) if k in shapes else None for k in indices]


_CONTROL = {"scan": _scan, "while_loop": _while, "cond": _cond}


def run_wide(graph: Graph, node: Node, operands: Sequence[Array], sizes: Mapping[str, int]) -> Array:
    """One node's value in extended precision, whatever float its dtype is; by way of float64 where NumPy needs it."""
    if not is_float(node.type.dtype):
        return run_node(graph, node, operands, sizes)
    if node.op.name == "astype" and is_float(operands[0].dtype):
        return operands[0]
    attrs = {k: _number(v, sizes) for k, v in node.attrs.items()}
    try:
        value = node.op.reference(*operands, **attrs)
    except TypeError:
        narrow = [o.astype(np.float64) if is_float(o.dtype) else o for o in operands]
        value = node.op.reference(*narrow, **attrs)
    except GraphcError as error:
        raise type(error)(f"{node.name}: {error.message}", node=node.name, origin=node.origin) from None
    return np.asarray(value, np.longdouble)


def size_checks(graph: Graph) -> list[tuple[Node, SizeCheck]]:
    """What a graph wants of sizes that could not be compared when built, each with the first node that asks for it."""
    found: dict[SizeCheck, Node] = {}
    for node in graph.nodes:
        for check in _checks_of(graph, node):
            found.setdefault(check, node)
        for _, body in bodies(node):
            for inner, check in size_checks(body.graph):
                found.setdefault(check, inner)
    return [(node, check) for check, node in found.items()]


def _checks_of(graph: Graph, node: Node) -> list[SizeCheck]:
    """What a node asks, and what a size asks that it was given: of a tensor, say, that is not computed itself."""
    own = [] if node.op.checks is None else node.op.checks([graph.nodes[i].type for i in node.inputs], node.attrs)
    held = (size for value in (node.type.shape, *node.attrs.values()) for size in _sizes_in(value))
    lent = (SizeCheck(*pair, True) for size in held for pair in dims.broadcasts(size))
    known = {(c.left, c.right) for c in own}
    return [*own, *(c for c in lent if not {(c.left, c.right), (c.right, c.left)} & known)]


def _sizes_in(value: Any) -> tuple[dims.Dim, ...]:
    return tuple(v for v in (value if isinstance(value, tuple) else (value,)) if isinstance(v, dims.Dim))


def check_sizes(checks: Iterable[tuple[Node, SizeCheck]], sizes: Mapping[str, int]) -> None:
    """InputShapeError, naming the node, where sizes that could not be compared when built do not fit."""
    for node, check in checks:
        if not check.holds(sizes):
            left, right = dims.evaluate(check.left, sizes), dims.evaluate(check.right, sizes)
            text = f"{node.op.name}: sizes do not fit: expected {check}, found {left} and {right}"
            raise InputShapeError(text, node=node.name, origin=node.origin)


def _number(value: Any, sizes: Mapping[str, int]) -> Any:
    if isinstance(value, tuple):
        return tuple(_number(v, sizes) for v in value)
    return dims.evaluate(value, sizes) if isinstance(value, dims.Dim) else value


__all__ = [
    "bind_sizes",
    "check_sizes",
    "evaluate",
    "run_body",
    "run_control",
    "run_node",
    "run_wide",
    "size_checks",
]
