"""Which node fills which operand: by the slots of edges, or by the order in which edges were added."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from typing import Any, NamedTuple, NoReturn

import numpy as np

from graphc.dag.text import decoded
from graphc.errors import GraphError, brief


class Edge(NamedTuple):
    """An edge into a node: where it comes from, its key in a MultiDiGraph, its attributes."""

    source: Any
    key: Any
    data: dict[str, Any]


class Filled(NamedTuple):
    """What fills an operand: a node, and which of its results."""

    source: Any
    output: int


def edges(dag: Any, node: Any) -> list[Edge]:
    """The edges into a node, in the order in which networkx holds them."""
    into = dag.pred[node]
    if dag.is_multigraph():
        return [Edge(u, k, data) for u, keyed in into.items() for k, data in keyed.items()]
    return [Edge(u, None, data) for u, data in into.items()]


def operands(dag: Any, node: Any, names: Sequence[str] = (), taken: Collection[int] = ()) -> dict[int, Filled]:
    """Slot -> what fills it. ``names`` are the operands', which a slot may say; slots ``taken`` are filled by numbers.

    Raises GraphError where slots are missing for some edges, no numbers, or filled twice, and where an order cannot be
    told.
    """
    out: dict[int, Filled] = {}
    for edge, slot in placed(dag, node, names, taken):
        if slot in out or slot in taken:
            name = f" ({names[slot]})" if slot < len(names) else ""
            raise GraphError(
                f"slot {slot}{name} is filled twice" + (", by a number and an edge" if slot in taken else "")
            )
        out[slot] = Filled(edge.source, _output(edge))
    return out


def placed(dag: Any, node: Any, names: Sequence[str], taken: Collection[int]) -> Iterator[tuple[Edge, int]]:
    """Every edge into a node with its slot; with each of its slots, where one edge of a DiGraph has several."""
    found = edges(dag, node)
    given = [edge.data.get("slot") for edge in found]
    if all(slot is None for slot in given):
        yield from zip(found, _in_order(found, taken), strict=True)
        return
    for edge, slot in zip(found, given, strict=True):
        if slot is None:
            raise GraphError(
                f"the edge from {edge.source!s} has no slot, but another edge has; give all of them, or none"
            )
        many = decoded(slot, "slot") if isinstance(slot, str) and slot not in names else slot
        for one in many if isinstance(many, (tuple, list)) and not dag.is_multigraph() else (many,):
            yield edge, _slot(edge, one, names)


def _in_order(found: Sequence[Edge], taken: Collection[int]) -> Iterator[int]:
    """Slots of edges that have none: their keys where these number them, else free slots in the order of the edges."""
    keys = [edge.key for edge in found]
    counts = Counter(edge.source for edge in found)
    if len(counts) > 1 and all(type(k) is int for k in keys) and sorted(keys) == list(range(len(found))):
        yield from keys
        return
    for source, count in list(counts.items())[:-1]:
        if count > 1:
            text = f"{source!s} fills {count} operands, and networkx does not keep the order of edges between others"
            raise GraphError(f"{text}; give each edge into this node a slot")
    slot = 0
    for _ in found:
        while slot in taken:
            slot += 1
        yield slot
        slot += 1


def _slot(edge: Edge, slot: Any, names: Sequence[str]) -> int:
    if isinstance(slot, str) and slot in names:
        return names.index(slot)
    if isinstance(slot, (bool, np.bool_)) or not isinstance(slot, (int, np.integer)) or slot < 0:
        expected = f"an int of at least 0, or one of {', '.join(names)}" if names else "an int of at least 0"
        raise GraphError(f"the edge from {edge.source!s} needs a slot, {expected}; found {brief(slot)}")
    return int(slot)


def _output(edge: Edge) -> int:
    output = edge.data.get("output", 0)
    if isinstance(output, (bool, np.bool_)) or not isinstance(output, (int, np.integer)) or output < 0:
        raise GraphError(f"output of the edge from {edge.source!s} must be an int of at least 0, found {brief(output)}")
    return int(output)


def contiguous(slots: dict[int, Filled]) -> list[Filled]:
    """What fills slots 0, 1, 2 ...; GraphError where one is missing."""
    for k in range(len(slots)):
        if k not in slots:
            _missing(k, slots)
    return [slots[k] for k in range(len(slots))]


def _missing(slot: int, slots: Collection[int]) -> NoReturn:
    raise GraphError(f"slot {slot} is missing; found {sorted(slots)}")


__all__ = ["Edge", "Filled", "contiguous", "edges", "operands", "placed"]
