"""Products that the gradient of a loop would do again are kept by the loop, and so are functions of rows and matrices.

A gradient computes once more what a step has computed, of the carries before it. Functions of elements are cheap; a
product is a row that the loop gives besides, where it is not much larger than what it is made of.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from graphc.ir.body import Body, fresh_names
from graphc.ir.graph import Graph, rebuild
from graphc.ir.node import Node
from graphc.ir.op import Kind
from graphc.ir.tensor import Tensor
from graphc.ops.control import result
from graphc.rewrite.fission import LARGER, of_loops_inside, replaced, usual

WORTH = (Kind.CONTRACTION, Kind.ROUTINE)


def keep(graph: Graph) -> Graph:
    """Loops that read another's carries before each step read its products too."""
    kept: dict[int, list[int]] = {}  # loop -> nodes of its body that it gives as well
    takes: dict[int, tuple[int, dict[int, int]]] = {}  # loop -> another, and its own nodes that those stand for
    for node in graph.nodes:
        for of in _before(graph, node) if node.op.name == "scan" else ():
            found = {} if node.id in takes else _products(graph, of, node)
            if found:
                takes[node.id] = of.id, found
                kept[of.id] = list(dict.fromkeys([*kept.get(of.id, []), *found.values()]))
    if not takes:
        return graph
    made: dict[int, Tensor] = {}

    def visit(new: Graph, node: Node, operands: tuple[Tensor, ...]) -> Tensor | None:
        if node.op.kind is Kind.RESULT and node.inputs[0] in kept:
            many, index = len(graph.nodes[node.inputs[0]].attrs["body"].outputs), node.attrs["index"]
            index += len(kept[node.inputs[0]]) if index >= many else 0
            return new.append(node.op, operands, {**node.attrs, "index": index}, type=node.type)
        if node.id not in takes and node.id not in kept:
            return None
        attrs, given, body = dict(node.attrs), list(operands), node.attrs["body"]
        inputs, stands, outputs = list(body.inputs), {}, [t.id for t in body.outputs]
        if node.id in takes:
            of, found = takes[node.id]
            end = attrs["carries"] + attrs["xs"]
            first = len(graph.nodes[of].attrs["body"].outputs)
            given[end:end] = [result(made[of], first + kept[of].index(k)) for k in found.values()]
            stands = dict(zip(found, fresh_names("kept", body), strict=False))
            inputs[1 + end : 1 + end] = [(name, body.graph.nodes[id].type) for id, name in stands.items()]
            attrs["xs"] += len(found)
        outputs += kept.get(node.id, [])
        attrs["body"] = Body(replaced(body.graph, stands, outputs), inputs)
        made[node.id] = new.append(node.op, given, attrs, name=None if node.name in new else node.name)
        return made[node.id]

    return rebuild(graph, visit)


def _before(graph: Graph, node: Node) -> list[Node]:
    """The loops whose carries before each step a scan reads."""
    first = node.attrs["carries"]
    rows = [graph.nodes[i] for i in node.inputs[first : first + node.attrs["xs"]]]
    found = [(graph.nodes[row.inputs[0]], row.attrs["index"]) for row in rows if row.op.kind is Kind.RESULT]
    scans = [(of, index) for of, index in found if of.op.name == "scan"]
    return list(dict.fromkeys(of for of, index in scans if index >= len(of.attrs["body"].outputs)))


def _products(graph: Graph, of: Node, node: Node) -> dict[int, int]:
    """What a scan computes that another has computed in the same step: nodes of its body -> of the other's.

    A product that is only added to something, which the other has added too, is left to that sum.
    """
    if of.attrs["length"] != node.attrs["length"]:
        return {}
    outputs, body = of.attrs["body"].outputs, node.attrs["body"]
    numbers: dict[Any, int] = {}  # what is computed -> its number, the same in both bodies
    late: set[int] = set()  # what depends on rows that the other gives

    def own(loop: Node, slot: int) -> Any:
        first, rows = loop.attrs["carries"], loop.attrs["carries"] + loop.attrs["xs"]
        return (loop.id, slot) if slot < first else (slot < rows, loop.inputs[slot], None)

    theirs = _numbered(of, numbers, lambda slot: own(of, slot))

    def given(slot: int) -> Any:
        operand, first = graph.nodes[node.inputs[slot]], node.attrs["carries"]
        row = first <= slot < first + node.attrs["xs"]
        if not row or operand.op.kind is not Kind.RESULT or operand.inputs[0] != of.id:
            return own(node, slot)
        index = operand.attrs["index"]
        late.add(body.graph[body.inputs[slot + 1][0]].id)
        return own(of, index - len(outputs)) if index >= len(outputs) else theirs[outputs[index].id]

    ours = _numbered(node, numbers, given)
    same = {number: id for id, number in reversed(theirs.items())}
    readers: dict[int, list[Node]] = {}
    for inner in body.graph.nodes:
        if any(i in late for i in inner.inputs):
            late.add(inner.id)
        for i in inner.inputs:
            readers.setdefault(i, []).append(inner)
    made = {t.id for t in body.outputs}
    found: dict[int, int] = {}
    again = of_loops_inside(body.graph)
    for inner in body.graph.nodes:
        if inner.id in again or inner.id not in late or inner.op.kind not in WORTH or ours[inner.id] not in same:
            continue
        small = usual(body.graph.nodes[i].type for i in inner.inputs if i in late)
        if usual([inner.type]) > LARGER * small:
            continue
        at = inner
        while at.id not in made and len(readers[at.id]) == 1:
            (after,) = readers[at.id]
            if after.op.name != "add" or after.type != at.type or ours[after.id] not in same:
                break
            at = after
        found[at.id] = same[ours[at.id]]
    return found


def _numbered(loop: Node, numbers: dict[Any, int], given: Callable[[int], Any]) -> dict[int, int]:
    """The nodes of a scan's body -> numbers, equal where they compute the same; its operands are what is ``given``."""
    slots = {name: k for k, (name, _) in enumerate(loop.attrs["body"].inputs)}
    found: dict[int, int] = {}
    for node in loop.attrs["body"].graph.nodes:
        key: Any = node.computed_of([found[i] for i in node.inputs])
        if node.op.name == "input":
            key = given(slots[node.name] - 1) if slots[node.name] else "step"
        found[node.id] = key if isinstance(key, int) else numbers.setdefault(key, len(numbers))
    return found


__all__ = ["keep"]
