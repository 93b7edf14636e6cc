"""A line of a kernel's source."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Line:
    """One line of source, and the nodes that it computes."""

    text: str
    nodes: tuple[int, ...] = ()
