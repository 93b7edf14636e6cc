"""Passes on loops and branches: their bodies are rewritten, what nothing reads is left out, what stays is hoisted."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

from graphc.ir.body import Body, bodies, fresh_names
from graphc.ir.graph import Graph, copy_node, rebuild, topological
from graphc.ir.node import Node
from graphc.ir.op import Kind
from graphc.ir.tensor import Tensor
from graphc.ir.types import TensorType
from graphc.ops.control import result
from graphc.rewrite import fission

Run = Callable[[Graph], Graph]


def entering(run: Run, key: Any) -> Callable[[Graph], Graph]:
    """The pass that has ``run`` go over all bodies, then trims loops and branches; ``key`` says which run it is."""

    def settled(body: Body) -> Body:
        return body if body.settled == key else Body(run(body.graph), body.inputs, key)

    def enter(graph: Graph) -> Graph:
        if all(node.op.kind is not Kind.CONTROL for node in graph.nodes):
            return graph
        read: dict[int, set[int]] = {}
        for node in topological(graph, [t.id for t in graph.outputs]):
            if node.op.kind is Kind.RESULT:
                read.setdefault(node.inputs[0], set()).add(node.attrs["index"])
        # loop or branch -> what number each of its results has now, or what stands for it
        numbers: dict[int, dict[int, int | Tensor]] = {}

        def visit(new: Graph, node: Node, operands: tuple[Tensor, ...]) -> Tensor | None:
            if node.op.kind is Kind.RESULT:
                found = numbers[operands[0].id][node.attrs["index"]]
                if isinstance(found, Tensor):
                    return found
                attrs = {**node.attrs, "index": found}
                return new.append(node.op, operands, attrs, type=node.type)
            if node.op.kind is not Kind.CONTROL:
                return None
            attrs = {**node.attrs, **{name: settled(body) for name, body in bodies(node)}}
            trim = {"scan": _trimmed_scan, "while_loop": _trimmed_while, "cond": _trimmed_cond}[node.op.name]
            part = trim(attrs, list(operands), read.get(node.id, set()))
            if node.op.name != "cond":
                part = _hoisted(new, part)
            after = None
            if node.op.name == "scan":
                part.attrs, part.operands = fission.before(new, part.attrs, part.operands)
                many = {old: k for old, k in part.numbers.items() if old in read.get(node.id, ())}
                after = fission.After(new, part.attrs, part.operands, set(many.values()))
            if not after:
                made = new.append(node.op, part.operands, part.attrs, name=None if node.name in new else node.name)
                numbers[made.id] = {**part.numbers}
                return made
            attrs, rest, again, boundary = after.loop()
            made = new.append(node.op, rest, attrs, name=None if node.name in new else node.name)
            later = after.tensors({id: result(made, k) for id, k in boundary.items()})
            numbers[made.id] = {
                old: later[k] if k in later else again[k] for old, k in part.numbers.items() if k in later or k in again
            }
            return made

        return rebuild(graph, visit)

    return enter


@dataclass
class _Part:
    """A loop or a branch on its way: attributes, operands, and what number each old result has."""

    attrs: dict[str, Any]
    operands: list[Tensor]
    numbers: dict[int, int]


def _selected(body: Body, inputs: Sequence[int], outputs: Sequence[int]) -> Body:
    """A body with some of its inputs and outputs."""
    if len(inputs) == len(body.inputs) and len(outputs) == len(body.outputs):
        return body
    graph = rebuild(body.graph)  # a copy, so that other outputs may be set
    graph.outputs = [graph.outputs[k] for k in outputs]
    return Body(rebuild(graph), [body.inputs[k] for k in inputs])


def _needed(body: Body, outputs: Collection[int]) -> set[int]:
    """The inputs that some outputs of a body need."""
    nodes = topological(body.graph, [body.outputs[k].id for k in outputs])
    names = {node.name for node in nodes if node.op.name == "input"}
    return {k for k, (name, _) in enumerate(body.inputs) if name in names}


def _once(operands: Sequence[Tensor], slots: Sequence[int]) -> dict[int, int]:
    """Slots -> the first of them that has the same tensor."""
    first: dict[int, int] = {}
    return {slot: first.setdefault(operands[slot].id, slot) for slot in slots}


def _merged(body: Body, same: dict[int, int]) -> Body:
    """A body in which inputs that are given the same are one."""
    pairs = {body.inputs[a][0]: body.inputs[b][0] for a, b in same.items() if a != b}
    if not any(name in body.graph for name in pairs):
        return body
    types = dict(body.inputs)

    def visit(new: Graph, node: Node, operands: tuple[Tensor, ...]) -> Tensor | None:
        if node.op.name != "input":
            return None
        kept = pairs.get(node.name, node.name)
        if kept in new:
            return new[kept]
        if kept == node.name:
            return None
        return new.append(node.op, (), {}, type=types[kept], name=kept, origin=node.origin)

    return Body(rebuild(body.graph, visit), body.inputs)


def _trimmed_scan(attrs: dict[str, Any], operands: list[Tensor], read: set[int]) -> _Part:
    body, n, m = attrs["body"], attrs["carries"], attrs["xs"]
    same = _once(operands, range(n, n + m)) | _once(operands, range(n + m, len(operands)))
    body = _merged(body, {a + 1: b + 1 for a, b in same.items()})
    many = len(body.outputs)
    carries = {k for k in range(n) if k in read or many + k in read}
    rows = [k for k in range(n, many) if k in read]
    while True:
        needed = _needed(body, [*carries, *rows])
        more = {k for k in range(n) if k + 1 in needed} - carries
        if not more:
            break
        carries |= more
    kept = [s for s in range(len(operands)) if (s in carries if s < n else s + 1 in needed)]
    outputs = [*sorted(carries), *rows]
    xs = sum(n <= s < n + m for s in kept)
    attrs = {**attrs, "carries": len(carries), "xs": xs, "body": _selected(body, [0, *(s + 1 for s in kept)], outputs)}
    numbers = {old: new for new, old in enumerate(outputs)}
    numbers |= {many + k: len(outputs) + place for place, k in enumerate(sorted(carries))}
    return _Part(attrs, [operands[s] for s in kept], numbers)


def _trimmed_while(attrs: dict[str, Any], operands: list[Tensor], read: set[int]) -> _Part:
    test, body = attrs["test"], attrs["body"]
    n = len(body.outputs)
    same = {a + 1: b + 1 for a, b in _once(operands, range(n, len(operands))).items()}
    test, body = _merged(test, same), _merged(body, same)
    needed = _needed(test, [0]) | _needed(body, range(n))
    kept = [s for s in range(len(operands)) if s < n or s + 1 in needed]
    inputs = [0, *(s + 1 for s in kept)]
    attrs = {**attrs, "test": _selected(test, inputs, [0]), "body": _selected(body, inputs, range(n))}
    return _Part(attrs, [operands[s] for s in kept], {k: k for k in range(2 * n + 1)})


def _trimmed_cond(attrs: dict[str, Any], operands: list[Tensor], read: set[int]) -> _Part:
    sides = {name: attrs[name] for name in ("on_true", "on_false")}
    same = {a - 1: b - 1 for a, b in _once(operands, range(1, len(operands))).items()}
    sides = {name: _merged(side, same) for name, side in sides.items()}
    outputs = sorted(read)
    needed = {k for side in sides.values() for k in _needed(side, outputs)}
    inputs = sorted(needed)
    attrs = {name: _selected(side, inputs, outputs) for name, side in sides.items()}
    return _Part(attrs, [operands[0], *(operands[k + 1] for k in inputs)], {k: j for j, k in enumerate(outputs)})


WORK = (Kind.ELEMENTWISE, Kind.REDUCTION, Kind.CONTRACTION, Kind.ROUTINE, Kind.SCATTER, Kind.COMPOSITE)


def _hoisted(new: Graph, part: _Part) -> _Part:
    """A loop without what is the same in all its steps: that is computed before it, in ``new``.

    What may fail stays: there may be no step at all.
    """
    names = [name for name in ("body", "test") if name in part.attrs]
    first = 1 + (part.attrs["carries"] + part.attrs["xs"] if "xs" in part.attrs else len(part.attrs["body"].outputs))
    for name in names:
        body = part.attrs[name]
        made: dict[int, Tensor] = {
            body.graph[given].id: part.operands[k - 1]
            for k, (given, _) in enumerate(body.inputs)
            if k >= first and given in body.graph
        }
        nodes = body.graph.nodes
        fixed = set(made)
        for node in nodes:
            plain = node.op.kind not in (Kind.GATHER, Kind.CONTROL, Kind.RESULT) and "index_check" not in node.op.facts
            number = node.op.name == "constant"
            if number or (plain and node.op.kind is not Kind.LEAF and all(i in fixed for i in node.inputs)):
                fixed.add(node.id)
        taken = _frontier(body.graph, fixed)
        if not taken:
            continue
        added: list[tuple[str, TensorType]] = []
        stands: dict[int, str] = {}
        for id, given in zip(taken, fresh_names("hoisted", *(part.attrs[other] for other in names)), strict=False):
            part.operands.append(_outside(new, nodes, id, made))
            added.append((given, nodes[id].type))
            stands[id] = given
        for other in names:
            held = part.attrs[other]
            graph = fission.replaced(held.graph, stands) if other == name else held.graph
            part.attrs[other] = Body(graph, [*held.inputs, *added], held.settled if other != name else None)
    return part


def _outside(new: Graph, nodes: Sequence[Node], id: int, made: dict[int, Tensor]) -> Tensor:
    """A node of a body, and all that it needs, as nodes of the graph around it."""
    if id not in made:
        made[id] = copy_node(new, nodes[id], [_outside(new, nodes, i, made) for i in nodes[id].inputs])
    return made[id]


def _frontier(graph: Graph, fixed: set[int]) -> list[int]:
    """Of what stays the same, the last nodes that take work: what others read, that does not."""
    out = []
    used = {i for node in graph.nodes if node.id not in fixed for i in node.inputs} | {t.id for t in graph.outputs}
    stack = sorted(used & fixed)
    seen: set[int] = set()
    while stack:
        id = stack.pop()
        if id in seen:
            continue
        seen.add(id)
        node = graph.nodes[id]
        if node.op.kind in WORK and node.inputs:
            out.append(id)
        else:  # movements are free where they are read
            stack += node.inputs
    return sorted(out)
