"""One example seen through a graph: the value and the gradient of every node."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from functools import reduce
from typing import Any

import networkx

from graphc.atomic import replacing
from graphc.compile import extract
from graphc.derive.reverse import accumulate
from graphc.errors import GraphError, InputError, Origin, caller, did_you_mean
from graphc.ir.body import bodies
from graphc.ir.graph import Graph, located
from graphc.ir.node import Node
from graphc.ir.op import Kind
from graphc.ir.state import Array
from graphc.ir.tensor import Tensor
from graphc.ir.types import is_float
from graphc.look.boxes import grouped
from graphc.look.drawing import Box, draw
from graphc.look.expression import BINARY, LONGEST, formula
from graphc.look.rule import gradient_rule
from graphc.look.summary import line, lines
from graphc.ops.apply import graph_of, tensor_list
from graphc.ops.elementwise import add
from graphc.ops.reduce import sum as total
from graphc.ops.signature import found as describe
from graphc.reference import bind_sizes, evaluate
from graphc.run.binding import convert

SHORT = 30  # characters of a gradient that goes through what is hidden in a function
MOST_BOXES = 60  # beyond, what stands in one scope is one box


@dataclass(frozen=True, slots=True, eq=False)
class Row:
    """A node in the example.

    ``formula`` is the node in terms of its operands, ``rule`` its gradient in terms of those of its readers: ``dz * w``
    is the gradient of z times w. ``words`` says the rule in words. ``gradient`` and ``rule`` are None and empty where
    the outputs have no derivative with respect to the node.
    """

    name: str
    role: str
    op: str
    formula: str
    value: Array
    gradient: Array | None
    rule: str
    words: str
    operands: tuple[str, ...]
    origin: Origin


def inspect(
    outputs: Tensor | Sequence[Tensor],
    feeds: Mapping[Any, Any],
    wrt: Tensor | Sequence[Tensor] | None = None,
    *,
    named: bool = False,
    opened: bool = False,
) -> Inspection:
    """One example run through the graph: the value of every node, and the gradient of the outputs' sum there.

    outputs  a tensor or a list of them, of any shape
    feeds    arrays for inputs, or for any inner tensor, by name or by tensor; state that is left out has its present
             value
    wrt      the tensors whose gradients are of interest: gradients are shown on the way to them. None means all
    named    True shows leaves, outputs and what has a name of yours; formulas then span what lies between
    opened   True shows the nodes that a function such as softmax is composed of, not just its result

    The graph is evaluated as it was written, by the NumPy interpreter, and stays as it is. Raises InputError and its
    kinds where an input is missing or does not fit, GradientError where an op on the way has no derivative.

    >>> import graphc as gx
    >>> g = gx.Graph("neuron", float_dtype="float64")
    >>> x, w = g.input("x", dtype="float64"), g.parameter("w", 0.5)
    >>> a = gx.sigmoid((w * x).named("z")).named("a")
    >>> print(gx.inspect(a, {"x": 2.0}))
    node   formula      value    its gradient
    x      input        2        dz * w = 0.09831
    w      parameter    0.5      dz * x = 0.3932
    z      w * x        1        da * a * (1 - a) = 0.1966
    a      sigmoid(z)   0.7311   1
    """
    origin = caller()
    with located("inspect", origin):
        targets = [outputs] if isinstance(outputs, Tensor) else tensor_list("outputs", outputs)
        wanted = [] if wrt is None else [wrt] if isinstance(wrt, Tensor) else tensor_list("wrt", wrt)
        graph = graph_of([*targets, *wanted])
        if not isinstance(feeds, Mapping):
            raise InputError(f"feeds must be a dict, input -> array, found {describe(feeds)}")
        values = {fed(graph, key): value for key, value in feeds.items()}
        arguments = [graph[name] for name in values]
        work = extract(graph, arguments, targets, "ignore")
        arrays = {name: convert(t, values[name]) for name, t in zip(values, arguments, strict=True)}
        sizes = bind_sizes(arguments, [a.shape for a in arrays.values()])
        nodes, dag = list(work.nodes), work.to_networkx()
        gradients = _gradients(work, [work[t.name] for t in wanted] if wanted else None)
        asked = [*work.tensors[: len(nodes)], *gradients.values()]
        state = {n.name: graph.state[n.name] for n in nodes if n.name in graph.state}
        found = evaluate(asked, arrays, state, sizes)
    present, slopes = dict(enumerate(found[: len(nodes)])), dict(zip(gradients, found[len(nodes) :], strict=True))
    hidden = set() if opened else _inside(nodes)
    if named:
        hidden |= {n.id for n in nodes if graph.automatic(n.name)}
    hidden |= {n.id for n in nodes if bodies(n)}  # of a loop its results are shown
    hidden -= {t.id for t in work.outputs}
    hidden |= {n.id for n in nodes if n.op.kind is Kind.CONTROL}
    of = "sum" if len(targets) > 1 else "" if graph.automatic(targets[0].name) else targets[0].name
    return Inspection(Example(work, nodes, present, gradients, slopes), hidden, dag, of)


def fed(graph: Graph, key: Any) -> str:
    """The name of what a key of ``feeds`` stands for."""
    if isinstance(key, Tensor):
        if key.graph is not graph:
            raise GraphError(f"{key.name} belongs to graph {key.graph.name!r}, not to {graph.name!r}", node=key.name)
        return key.name
    if key not in graph:
        text = f"there is no input {key!r}; inputs are {', '.join(graph.inputs)}"
        raise InputError(text + did_you_mean(key, graph.inputs))
    return str(key)


def _inside(nodes: Sequence[Node]) -> set[int]:
    """What only other nodes of the same call of a function read."""
    outside = {i for n in nodes for i in n.inputs if _function(nodes[i]) and nodes[i].call is not n.call}
    read = {i for n in nodes for i in n.inputs}
    return {n.id for n in nodes if _function(n) and n.id in read and n.id not in outside}


def _function(node: Node) -> str | None:
    """The function that composed the node with others; None for a single op, and for operators."""
    call = node.composition
    return call.function if call is not None and call.nodes > 1 and call.function not in BINARY else None


def _gradients(work: Graph, wrt: Sequence[Tensor] | None) -> dict[int, Tensor]:
    """The gradient of the outputs' sum with respect to each node that leads from ``wrt`` to them."""
    nodes = list(work.nodes)
    summands = [t if t.ndim == 0 else total(t) for t in work.outputs if is_float(t.dtype)]
    if not summands:
        return {}
    y = reduce(add, summands)
    reached = {t.id for t in wrt} if wrt is not None else {n.id for n in nodes if n.op.name != "constant"}
    for node in nodes:
        if any(i in reached for i in node.inputs):
            reached.add(node.id)
    sought = [work.tensors[n.id] for n in nodes if n.id in reached and is_float(n.type.dtype)]
    found = accumulate(work, [y], sought, [work.constant(1.0, y.dtype)])
    return {t.id: g for t, g in zip(sought, found, strict=True) if g is not None}


@dataclass(frozen=True, slots=True)
class Example:
    """A graph, its nodes before gradients were appended, and by their numbers values, gradients and their values."""

    graph: Graph
    nodes: Sequence[Node]
    values: Mapping[int, Array]
    gradients: Mapping[int, Tensor]
    slopes: Mapping[int, Array]


class Inspection:
    """What `graphc.inspect` saw. It prints as a table; in a notebook it shows its drawing.

    >>> import graphc as gx
    >>> g = gx.Graph(float_dtype="float64")
    >>> x = g.input("x")
    >>> seen = gx.inspect((x * x).named("y"), {"x": 3.0})
    >>> float(seen["y"].value), float(seen["x"].gradient)
    (9.0, 6.0)
    """

    def __init__(self, example: Example, hidden: Set[int], dag: networkx.MultiDiGraph, of: str) -> None:
        self._example, self._hidden, self._dag = example, hidden, dag
        self._of = f"d{of}/" if of else ""  # what stands before ``dx``; nothing for an output without a name
        # a number is written where it is used
        self._shown = [n for n in example.nodes if n.id not in hidden and not _is_number(n)]
        shown = {n.id for n in self._shown}
        # of each node those that are shown, read by itself or by hidden ones, in the order in which they are read
        self._operands = {n.id: self._read(n, shown) for n in self._shown}
        self.rows: list[Row] = [self._row(n) for n in self._shown]

    def _read(self, node: Node, shown: Set[int]) -> list[int]:
        nodes = self._example.nodes
        through, waiting = {node.id}, [node.id]
        while waiting:
            for i in nodes[waiting.pop()].inputs:
                if i not in shown and i not in through:
                    through.add(i)
                    waiting.append(i)
        return list(dict.fromkeys(i for k in sorted(through) for i in nodes[k].inputs if i in shown))

    def __getitem__(self, name: str) -> Row:
        """The row of a node; KeyError where there is none of that name."""
        for row in self.rows:
            if row.name == name:
                return row
        raise KeyError(name)

    # ---- rows

    def _row(self, node: Node) -> Row:
        rule, words = self._rule(node.id) if node.id in self._example.gradients else ("", "")
        leaf = node.op.kind is Kind.LEAF
        return Row(
            node.name,
            node.role,
            self._closed(node) or node.op.name,
            node.op.name if leaf else self._formula(node),
            self._example.values[node.id],
            self._example.slopes.get(node.id),
            rule,
            words,
            tuple(self._example.nodes[i].name for i in self._operands[node.id]),
            node.origin,
        )

    def _formula(self, node: Node) -> str:
        function = self._closed(node)
        short = f"{function or node.op.name}({', '.join(self._example.nodes[i].name for i in self._operands[node.id])})"
        return short if function else formula(self._example.graph.tensors[node.id], self._word) or short

    def _closed(self, node: Node) -> str | None:
        """The function that a node is the result of, where what it is composed of is hidden."""
        inside = (i for i in node.inputs if i in self._hidden)
        return _function(node) if any(self._example.nodes[i].call is node.call for i in inside) else None

    def _word(self, tensor: Tensor) -> str | None:
        """A node that is shown, by its name."""
        return tensor.name if tensor.id < len(self._example.nodes) and tensor.node in self._shown else None

    def _rule(self, id: int) -> tuple[str, str]:
        """The gradient of a node as a formula in those of its readers, and in words."""
        gradients = self._example.gradients
        readers = [n for n in self._shown if id in self._operands[n.id]]
        of = {gradients[n.id].id: f"d{n.name}" for n in readers if n.id in gradients}
        through = f"through {', '.join(n.name for n in readers)}"
        found = gradient_rule(gradients[id], of, self._word)
        longest = SHORT if any(map(self._closed, readers)) else LONGEST
        return found if found is not None and len(found[0]) <= longest else (through, through)

    # ---- looks

    def __str__(self) -> str:
        table = [("node", "formula", "value", "its gradient")]
        for row in self.rows:
            slope = "" if row.gradient is None else line(row.gradient)
            rule = f"{row.rule} = {slope}" if row.rule and row.rule != slope else slope
            table.append((row.name, row.formula, line(row.value), rule))
        widths = [max(len(cells[k]) for cells in table) for k in range(3)]
        return "\n".join(
            "   ".join([*(c.ljust(w) for c, w in zip(cells, widths, strict=False)), cells[3]]).rstrip()
            for cells in table
        )

    def __repr__(self) -> str:
        return f"<Inspection of {self._example.graph.name}: {len(self.rows)} nodes>"

    def _repr_html_(self) -> str:
        return self.svg

    @property
    def svg(self) -> str:
        """The drawing: values forward from left to right; below, mirrored, the gradients on their way back.

        Beyond 60 nodes what stands in one scope is one box.
        """
        graph, nodes = self._example.graph, self._example.nodes
        rows = {node.id: row for node, row in zip(self._shown, self.rows, strict=True)}
        boxes: dict[int, Box] = {}
        mirror: dict[int, Box] = {}
        for group in grouped({n.id: n.name for n in self._shown}, self._operands, MOST_BOXES):
            row, node = rows[group.key], nodes[group.key]
            note = f"{row.op}, {node.type}\n{row.origin.describe()}"
            if group.title is not None:
                boxes[group.key] = Box(row.role, group.title, [f"{group.size} nodes"], note, group.before)
                continue
            computed = [row.formula] if node.inputs else []
            boxes[group.key] = Box(row.role, row.name, [*computed, *lines(row.value)], note, group.before)
            if row.gradient is not None:
                rule = [row.rule] if row.rule != line(row.gradient) else []
                mirror[group.key] = Box("gradient", f"{self._of}d{row.name}", [*rule, *lines(row.gradient)], row.words)
        return draw(boxes, mirror, graph.name)

    def to_svg(self, path: str | os.PathLike[str]) -> None:
        """Writes the drawing to ``path``; OSError where that cannot be written.

        >>> import tempfile
        >>> import graphc as gx
        >>> x = gx.Graph().input("x")
        >>> gx.inspect(x * x, {"x": 3.0}).to_svg(tempfile.mkdtemp() + "/seen.svg")
        """
        with replacing(path) as file:
            file.write(self.svg.encode())

    def to_networkx(self) -> networkx.MultiDiGraph:
        """The graph as `Graph.to_networkx` gives it, with ``value`` and, where there is one, ``gradient`` on nodes.

        Raises nothing.

        >>> import graphc as gx
        >>> x = gx.Graph().input("x")
        >>> seen = gx.inspect(x * x, {"x": 3.0}).to_networkx()
        >>> float(seen.nodes["x"]["gradient"])
        6.0
        """
        dag = self._dag.copy()
        for node in self._example.nodes:
            dag.nodes[node.name]["value"] = self._example.values[node.id]
            if node.id in self._example.slopes:
                dag.nodes[node.name]["gradient"] = self._example.slopes[node.id]
        return dag


def _is_number(node: Node) -> bool:
    return (node.op.name == "constant" and node.type.shape == ()) or node.op.name == "size"


__all__ = ["Inspection", "Row", "inspect"]
