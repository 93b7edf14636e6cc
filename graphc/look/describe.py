"""A graph as plain data for the view: nodes with all there is to say of them, and groups that close into one box."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from graphc.errors import Origin
from graphc.ir.body import Body, bodies
from graphc.ir.graph import Graph
from graphc.ir.node import Node
from graphc.ir.op import Kind, lookup
from graphc.ir.tensor import Tensor
from graphc.ir.types import TensorType, is_float
from graphc.look.expression import BINARY, formula
from graphc.look.rule import gradient_rule

LONGEST = 400  # characters of a text in the page

Table = dict[str, Any]


class Lines:
    """The user's lines, each once."""

    def __init__(self) -> None:
        self.table: list[tuple[str, str]] = []
        self._known: dict[Origin, int] = {}

    def number(self, origin: Origin) -> int:
        """The number of a line in the table."""
        if origin not in self._known:
            self._known[origin] = len(self.table)
            self.table.append((str(origin), origin.text[:LONGEST]))
        return self._known[origin]


def describe(graph: Graph, lines: Lines, more: Callable[[Node], Table] | None = None) -> Table:
    """A graph's nodes and groups. What is empty is left out; ``more`` adds to a node's table.

    Of a node: ``n`` name, ``o`` op, ``r`` role, ``t`` type, ``i`` operands, ``f`` formula, ``d`` gradient rule, ``l``
    line, ``p`` the node whose gradient or update it is a part of, ``c`` the group it stands in, ``h`` whether it is a
    number that is written where it is read, ``x`` the attributes. The nodes of bodies of loops and branches stand
    behind the graph's own, in a group for each body; what loops compute is read from there.
    """
    made = _Tables(lines)
    made.add(graph, more or (lambda node: {}))
    _close_single(made.groups, made.nodes)
    return {"nodes": made.nodes, "groups": made.groups, "outputs": [t.id for t in graph.outputs]}


class _Tables:
    """The tables of a graph and of the bodies in it, as they grow."""

    def __init__(self, lines: Lines) -> None:
        self.lines = lines
        self.nodes: list[Table] = []
        self.groups: list[Table] = []
        self._known: dict[Any, int] = {}
        self._rules = _Rules()
        self._texts = _Texts()

    def add(
        self, graph: Graph, more: Callable[[Node], Table], around: Table | None = None, group: int | None = None
    ) -> int:
        """Adds all nodes of a graph; of a body ``around`` is its loop's table. Where they begin."""
        base = len(self.nodes)
        beside = partners(graph)
        for node in graph.nodes:
            self.nodes.append(self._table(graph, node, base, beside.get(node.id), around, group) | more(node))
        for node in graph.nodes:
            if held := bodies(node):
                self._control(graph, node, base, held, group)
        return base

    def _table(
        self, graph: Graph, node: Node, base: int, beside: int | None, around: Table | None, group: int | None
    ) -> Table:
        tensor, role, name = graph.tensors[node.id], node.role, node.name
        beside = None if beside is None else base + beside
        if around is not None:
            name = f"{around['n']}/{name}"
            if around["r"] in ("gradient", "update"):
                role, beside = around["r"], around.get("p")
        apart = role in ("gradient", "update") or (role == "variable" and beside is not None)
        table: Table = {"n": name, "o": node.op.name, "r": role, "t": self._texts[node.type]}
        table["l"] = self.lines.number(node.origin)
        optional = {
            "i": [base + i for i in node.inputs],
            "f": formula(tensor, _word) if node.inputs else None,
            "d": self._rules.of(tensor) if role == "forward" else None,
            "p": beside,
            "c": None if apart or _is_number(node) else self._group_of(graph, node, group),
            "h": int(_is_number(node)),
            "x": ", ".join(f"{k}={v}" for k, v in node.attrs.items())[:LONGEST],
        }
        return table | {k: v for k, v in optional.items() if v not in (None, "", [], 0) or (v == 0 and k in ("p", "c"))}

    def _control(self, graph: Graph, node: Node, base: int, held: list[tuple[str, Body]], group: int | None) -> None:
        """Adds the bodies of a loop or branch, which stand in its place."""
        at = base + node.id
        table = self.nodes[at]
        table["h"] = 1
        above = self._group_of(graph, node, group)
        shown = table["r"] not in ("gradient", "update")
        first = 0 if node.op.name == "cond" else 1  # the number of the step is none of the operands
        begins = {}
        for name, body in held:
            within = self._group((at, name), f"{node.name}: {name.replace('_', ' ')}", "body", above) if shown else None
            start = self.add(body.graph, lambda node: {}, table, within)
            begins[name] = start
            for k, (given, _) in enumerate(body.inputs):
                if given not in body.graph:
                    continue
                here = body.graph[given].id
                if k < first and not any(here in n.inputs for n in body.graph.nodes):
                    self.nodes[start + here]["h"] = 1  # the number of the step, which is not read
                if k >= first:
                    self.nodes[start + here]["i"] = [base + node.inputs[k - first + (first == 0)]]
        results = [r for r in graph.nodes if r.op.kind is Kind.RESULT and r.inputs == (node.id,)]
        for result in results:
            self.nodes[base + result.id]["i"] = list(_sources(node, result.attrs["index"], begins)) or [at]
        for other in self.nodes if results else ():
            if other.get("p") == at:
                other["p"] = base + results[0].id

    def _group(self, key: Any, title: str, kind: str, parent: int | None) -> int:
        if key not in self._known:
            self._known[key] = len(self.groups)
            self.groups.append({"n": title, "k": kind} | ({} if parent is None else {"p": parent}))
        return self._known[key]

    def _group_of(self, graph: Graph, node: Node, outside: int | None) -> int | None:
        call = node.composition
        composed = call is not None and call.nodes > 1 and call.function not in BINARY and node.role == "forward"
        inside = composed and call is not None and call.name and node.name.startswith(f"{call.name}/")
        scope = (call.name if inside and call is not None else node.name).rpartition("/")[0]
        found, path = outside, ""
        for word in scope.split("/") if scope else []:
            path += f"/{word}"
            found = self._group((outside, path), word, "scope", found)
        if composed and call is not None:
            own = call.name and call.name in graph and not graph.automatic(call.name)
            found = self._group(
                (outside, call), f"{call.name}: {call.function}" if own else call.function, "call", found
            )
        return found


def _sources(node: Node, index: int, begins: Mapping[str, int]) -> Iterator[int]:
    """Where in the tables a result of a loop or branch is made, bodies beginning at these numbers."""
    names = ["on_true", "on_false"] if node.op.name == "cond" else ["body"]
    for name in names:
        body = node.attrs[name]
        outputs = [t.id for t in body.outputs]
        history = index - len(outputs) - (node.op.name == "while_loop")
        if index < len(outputs):
            yield begins[name] + outputs[index]
        elif 0 <= history < len(body.inputs) - 1 and body.inputs[history + 1][0] in body.graph:
            yield begins[name] + body.graph[body.inputs[history + 1][0]].id


def _close_single(groups: list[Table], nodes: list[Table]) -> None:
    """A group of one node is none."""
    counts = [0] * len(groups)
    for node in nodes:
        at = node.get("c")
        while at is not None:
            counts[at] += 1
            at = groups[at].get("p")
    for node in nodes:
        while "c" in node and counts[node["c"]] < 2:
            above = groups[node["c"]].get("p")
            node.pop("c") if above is None else node.update(c=above)


def partners(graph: Graph) -> dict[int, int]:
    """The partner of each node that has one; of variables that only an update reads it is the update's."""
    found = {node.id: at for node in graph.nodes if (at := partner(graph, node)) is not None}
    readers: dict[int, list[Node]] = {}
    for node in graph.nodes:
        for i in node.inputs:
            if graph.nodes[i].op.name == "variable":
                readers.setdefault(i, []).append(node)
    for i, nodes in readers.items():
        of = {found.get(node.id, i) for node in nodes if node.role == "update"}
        if all(node.role == "update" for node in nodes) and len(of) == 1 and of != {i}:
            found[i] = of.pop()
    return found


def partner(graph: Graph, node: Node) -> int | None:
    """The node beside which a node of a gradient or an update is drawn: what it is the gradient or next value of."""
    if node.forward is not None:
        return graph[node.forward].id if node.forward in graph else None
    if node.role != "update":
        return None
    name = node.call.name.partition("/")[2] if node.call is not None else ""
    if name in graph:
        return graph[name].id
    leaves = [i for i in node.inputs if graph.nodes[i].op.name in ("parameter", "variable")]
    return leaves[0] if leaves else None


def _word(tensor: Tensor) -> str | None:
    return None if _is_number(tensor.node) else tensor.name


def _is_number(node: Node) -> bool:
    return (node.op.name == "constant" and node.type.shape == ()) or node.op.name == "size"


class _Texts(dict[TensorType, str]):
    """Types as text, each once."""

    def __missing__(self, kind: TensorType) -> str:
        text = self[kind] = str(kind)
        return text


class _Rules:
    """Gradient rules of ops in the letters of their operands, each combination once."""

    def __init__(self) -> None:
        self.known: dict[Any, str | None] = {}

    def of(self, tensor: Tensor) -> str | None:
        """``da = dy * b, db = dy * a`` of a product."""
        node = tensor.node
        if node.op.kind is Kind.LEAF or not is_float(node.type.dtype) or not node.op.gradient:
            return None
        types = tuple(t.type for t in tensor.inputs)
        key = (node.op.name, types, str(sorted(node.attrs.items())) if node.attrs else "")
        if key not in self.known:
            try:
                self.known[key] = self._made(node, [t.type for t in tensor.inputs])
            except Exception:  # a rule that wants more than its operands' types; the view goes without
                self.known[key] = None
        return self.known[key]

    def _made(self, node: Node, types: list[Any]) -> str | None:
        work = Graph("rule")
        letters = ["a", "b", "c", "d", "e"]
        if len(types) > len(letters):
            return None
        operands = [work.append(lookup("input"), (), {}, type=t, name=n) for t, n in zip(types, letters, strict=False)]
        y = work.append(node.op, operands, node.attrs, type=node.type, name="y")
        dy = work.append(lookup("input"), (), {}, type=node.type, name="dy")
        named = {t.id: t.name for t in (*operands, y)}
        found = []
        for k, operand in enumerate(operands):
            if not is_float(operand.dtype):
                continue
            rules = node.op.gradient
            if callable(rules):
                made = rules(dy, y, operands, k)
            elif (rule := rules[k]) is None:
                continue
            else:
                made = rule(dy, y, *operands)
            text = gradient_rule(made, {dy.id: "dy"}, lambda t: named.get(t.id))
            if text is None:
                return None
            chosen = node.op.taken and node.op.taken[k] is not None
            found.append(f"d{operand.name} = {text[0]}{' where it is taken' * bool(chosen)}")
        return ", ".join(found) or None


__all__ = ["Lines", "describe", "partner"]
