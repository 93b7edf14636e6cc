"""Which nodes share a box of a drawing: where there are too many, those of one scope do."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import networkx


@dataclass(frozen=True, slots=True)
class Group:
    """``size`` nodes in one box, under the number ``key`` of the last; ``title`` is their scope, None for one node."""

    key: int
    title: str | None
    size: int
    before: tuple[int, ...]


def grouped(names: Mapping[int, str], operands: Mapping[int, Sequence[int]], most: int) -> list[Group]:
    """The boxes in topological order, by nodes' numbers, names and operands; scopes are closed, the innermost first,
    until there are at most ``most`` boxes or no scope is left.

    >>> chain = {k: [k - 1] if k else [] for k in range(5)}
    >>> [(g.key, g.title, g.before) for g in grouped(dict(enumerate(["x", "a/h", "a/y", "b/h", "b/y"])), chain, 3)]
    [(0, None, ()), (2, 'a', (0,)), (4, 'b', (2,))]
    """
    owner = {id: id for id in names}
    title: dict[int, str] = {}
    scope = {id: name.rpartition("/")[0] for id, name in names.items()}
    while len(scope) > most and any(scope.values()):
        innermost = max(filter(None, scope.values()), key=lambda s: s.count("/"))
        members = [id for id in scope if scope[id] == innermost]
        key = max(members)
        merged = {id: key if box in members else box for id, box in owner.items()}
        outside = innermost.rpartition("/")[0]
        if networkx.is_directed_acyclic_graph(_arrows(merged, operands)):
            owner, title[key] = merged, innermost
            scope = {id: s for id, s in scope.items() if id not in members} | {key: outside}
        else:  # something outside stands between: the scope stays open
            scope |= dict.fromkeys(members, outside)
    arrows, sizes = _arrows(owner, operands), Counter(owner.values())
    order = networkx.lexicographical_topological_sort(arrows)
    return [Group(k, title.get(k), sizes[k], tuple(sorted(arrows.predecessors(k)))) for k in order]


def _arrows(owner: Mapping[int, int], operands: Mapping[int, Sequence[int]]) -> networkx.DiGraph:
    arrows = networkx.DiGraph()
    arrows.add_nodes_from(owner.values())
    arrows.add_edges_from((owner[i], box) for id, box in owner.items() for i in operands[id] if owner[i] != box)
    return arrows


__all__ = ["Group", "grouped"]
