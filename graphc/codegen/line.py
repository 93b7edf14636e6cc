"""A line of a kernel's source."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from types import CodeType


@dataclass(slots=True)
class Line:
    """One line of source, and the nodes that it computes."""

    text: str
    nodes: tuple[int, ...] = ()


def names_of(lines: Iterable[Line]) -> set[str]:
    """What functions take from the module that they stand in."""
    found: set[str] = set()
    left = [compile("\n".join(line.text for line in lines), "", "exec")]
    while left:
        code = left.pop()
        found.update(code.co_names)
        left += [c for c in code.co_consts if isinstance(c, CodeType)]
    return found
