"""Whether what a DAG says is what it said before."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from graphc.dag.operands import edges
from graphc.dag.text import DEEPEST


def snapshot(dag: Any, key: Any) -> Any:
    """What a node says, to be compared later: plain values by what they are, others by being the same object."""
    return _frozen(dag.nodes[key]), [(edge.source, edge.key, _frozen(edge.data)) for edge in edges(dag, key)]


def _frozen(value: Any, depth: int = 0) -> Any:
    if isinstance(value, Mapping) and depth < DEEPEST:
        return [(k, _frozen(v, depth + 1)) for k, v in value.items()]
    if isinstance(value, (list, tuple)) and depth < DEEPEST:
        return [_frozen(v, depth + 1) for v in value]
    return value if value is None or type(value) in (str, int, float, bool) else _Same(value)


class _Same:
    """Equal to what holds the same object."""

    __slots__ = ("held",)

    def __init__(self, held: Any) -> None:
        self.held = held

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and other.held is self.held

    __hash__ = None  # type: ignore[assignment]


__all__ = ["snapshot"]
