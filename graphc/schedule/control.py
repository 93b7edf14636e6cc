"""Memory of loops and branches, beside that of their results."""

from __future__ import annotations

from graphc.ir import dims
from graphc.ir.dims import Size
from graphc.ir.types import TensorType
from graphc.schedule.access import padded
from graphc.schedule.plan import Control

CELL = 64  # bytes of a carry that is kept in registers, or in one line of the stack

Layout = dict[tuple[str, int], Size]


def carries(item: Control) -> int:
    """How many carries a loop has."""
    attrs = item.node.attrs
    return int(attrs["carries"]) if item.node.op.name == "scan" else len(attrs["body"].types)


def in_cell(kind: TensorType) -> bool:
    """Whether a carry is so small that it is handed on by copies."""
    return isinstance(kind.size, int) and kind.size * kind.dtype.itemsize <= CELL


def layout(item: Control) -> tuple[Layout, Size]:
    """Where a loop or branch has what in its own memory, and how much that is.

    ``("turn", k)`` is where every other carry k lies, ``("last", k)`` the last one where nothing reads it, ``("row",
    k)`` what a step or a side makes as output k, where nothing reads it. ``("inner", 0)`` begins the workspace of the
    bodies, of which one runs at a time.
    """
    found: Layout = {}
    end: Size = 0

    def place(what: str, k: int, kind: TensorType) -> None:
        nonlocal end
        found[what, k] = end
        end = end + dims.multiply(padded(kind.size, kind.dtype.itemsize), kind.dtype.itemsize)

    types = next(iter(item.node.attrs[name] for name in item.bodies if name != "test")).types
    moving = 0 if item.node.op.name == "cond" else carries(item)
    for k, kind in enumerate(types):
        if k < moving:
            if not in_cell(kind):
                place("turn", k, kind)
                if k not in item.results:
                    place("last", k, kind)
        elif k not in item.results:
            place("row", k, kind)
    found["inner", 0] = end
    inner = [dims.total(slot.bytes for slot in body.slots) for body in item.bodies.values()]
    return found, end + _most(inner)


def _most(sizes: list[Size]) -> Size:
    """At least the largest: where they are not all known, their sum."""
    if all(isinstance(size, int) for size in sizes):
        return max(sizes, default=0)  # type: ignore[type-var]
    return dims.total(sizes) if len(set(sizes)) > 1 else sizes[0]


__all__ = ["CELL", "carries", "in_cell", "layout"]
