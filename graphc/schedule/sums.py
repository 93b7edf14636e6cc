"""Where the blocks of a sum end.

A sum that takes its elements one after the other is wrong by as many roundings. So it is taken in blocks: after STEPS
additions what has been added up is carried over, by compensated addition (`codegen.sums`). Blocks follow from sizes
alone, so threads do not change the bits. "Sums" in docs/architecture.md states the bound.
"""

from __future__ import annotations

from graphc.ir import dims
from graphc.ir.dims import Size
from graphc.ir.graph import Graph
from graphc.ir.node import Node
from graphc.ir.op import ADDITION, indexed
from graphc.ir.types import broadcast_shapes
from graphc.schedule.access import is_formula, levels_of, padded, steps_of, strides
from graphc.schedule.expand import merges_inner
from graphc.schedule.plan import Block, Form, Loop, Product, Room, Schedule, Statement
from graphc.schedule.stages import is_function, statements_in

STEPS = 64  # additions one after the other in a block
DEPTH = 256  # steps of a product's inner size that are added up before they go to the result
SPILL = 1 << 13  # bytes that a product may write behind a block of a packed operand, or a panel of it
PIECE = 16 * DEPTH  # steps of the inner size; products with more are taken in pieces
TALL, LONG = 128, 2048  # rows, and bytes of a row, of a product that goes in pieces: others are cut
LINE = 64  # bytes that a loop adds up at once, in one vector or in several
FEW = 16  # the same where its terms are functions, which leave few registers, or short rows are added up too
SHORT_ROW = {4: 8, 8: 7}  # bytes of an element -> steps of an inner loop that LLVM takes for several rows at once
NARROW, WIDE = 96, 3072  # bytes of rows that are better added up by a function than by a loop


def cut_sums(plan: Schedule) -> None:
    """Decides for each float sum of ``plan`` at which loop its blocks end, and what memory that takes."""
    for group, items in plan.sections():
        for item in items:
            each = group is not None
            if isinstance(item, Product) and item.fold is not None:
                calls = len(item.batch) - merges_inner(plan.graph, item)
                inner = dims.product((*item.batch[calls:], item.inner))
                if calls and _many((*item.batch[:calls], dims.floor_divide(inner + (DEPTH - 1), DEPTH))):
                    plan.rooms[item.node.id] = _room(item.node, item.node.type.size, each)
            for s in statements_in(item):
                if s.node.type.dtype.kind != "f":
                    continue
                if s.form is Form.SCATTER:
                    if s.node.op.combine == ADDITION:
                        _meet(plan, s)
                elif s.form is Form.REDUCE and s.node.op.adds and (place := _place(plan.graph, s)) is not None:
                    loop, every = place
                    plan.blocks.setdefault(id(loop), Block()).sums.append((s, every))
                    if s.accumulated:
                        width = dims.product(s.node.type.shape[a] for a in s.row)
                        plan.rooms[s.node.id] = _room(s.node, width, each)


def is_long(product: Product) -> bool:
    """True where the inner size of a product, with the batch that it is summed over, may be above PIECE."""
    inner = dims.product((product.inner, *(product.batch if product.fold is not None else ())))
    return not isinstance(inner, int) or inner > PIECE


def room(product: Product) -> int:
    """Bytes of memory that a product in pieces takes beside its result: a piece, and what was lost."""
    rows = dims.product((product.rows, *product.batch))
    line = padded(product.columns, itemsize := product.node.type.dtype.itemsize)
    tall, long = (min(x, most) if isinstance(x, int) else most for x, most in ((rows, TALL), (line, LONG // itemsize)))
    return 2 * tall * long * itemsize


def _many(sizes: tuple[Size, ...]) -> bool:
    count = dims.product(sizes)
    return not isinstance(count, int) or count > STEPS


def _room(node: Node, width: Size, each: bool) -> Room:
    """Memory for sums of so many elements, and what was lost of each."""
    itemsize = node.type.dtype.itemsize
    return Room(dims.multiply(padded(dims.multiply(width, 2), itemsize), itemsize), each)


def _place(graph: Graph, s: Statement) -> tuple[Loop, int] | None:
    """The loop at which a sum's blocks end, and after how many of its steps; None for a sum of few elements."""
    kept = {ix.level for ix in s.target if ix.plain}
    additions = together = 1.0  # one after the other, for a step of a loop; the same where several steps go together
    for level in reversed(range(s.open_depth, len(s.sizes))):
        if level in kept:
            continue
        size, loop, innermost = s.sizes[level], s.path[level], level == len(s.sizes) - 1
        if innermost:
            together = s.node.type.dtype.itemsize / _width(graph, s, loop, level)
        elif level == len(s.sizes) - 2 and level + 1 in kept and _short(graph, s, level + 1):
            row = s.path[level + 1]
            alike = all(other.form is not Form.REDUCE or _keeps(other, level + 1) for other in statements_in(row))
            together = s.node.type.dtype.itemsize / min(LINE if alike else FEW, _width(graph, s, row, level + 1))
        if not isinstance(size, int) or size * together > STEPS:
            return loop, max(1, int(STEPS / together))
        additions, together = _of_row(graph, s, level, size) if innermost else (size * additions, size * additions)
    return None


def _keeps(s: Statement, level: int) -> bool:
    return any(ix.plain and ix.level == level for ix in s.target)


def _width(graph: Graph, s: Statement, loop: Loop, level: int) -> int:
    """Bytes of a sum that an innermost loop may be relied on to add up at once; one element, where nothing more."""
    body = [part for part in loop.body if isinstance(part, Statement)]
    if len(body) < len(loop.body) or not all(_along(graph, other, level) for other in body):
        return s.node.type.dtype.itemsize
    return FEW if any(map(is_function, body)) else LINE


def _of_row(graph: Graph, s: Statement, level: int, size: int) -> tuple[float, float]:
    """Additions one after the other for a row of an innermost loop of known size, as compilers make them.

    The second number is for rows in a loop, several of which are added up at once where they are short.
    """
    itemsize, width = s.node.type.dtype.itemsize, _width(graph, s, s.path[level], level)
    if _short(graph, s, level):
        return size, size * itemsize / min(LINE // 2, width)
    if width != LINE or size <= SHORT_ROW.get(itemsize, 0):
        return size, size
    return (min(12, size / 2) + size * itemsize / (2 * LINE),) * 2


def _short(graph: Graph, s: Statement, level: int) -> bool:
    """True for an innermost loop of few steps that compilers take for several rows at once, which lie side by side."""
    size, loop = s.sizes[level], s.path[level]
    if not isinstance(size, int) or size > SHORT_ROW.get(s.node.type.dtype.itemsize, 0):
        return False
    steps = [strides(graph, access) or {} for access in s.operands]
    many = _width(graph, s, loop, level) > s.node.type.dtype.itemsize
    return many and all(at.get(level - 1, 0) in (0, size) for at in steps)


def adds_rows(graph: Graph, loop: Loop) -> Statement | None:
    """The one statement of a loop that adds up rows as they lie in memory, where a function is faster than that."""
    inner, depth = loop, 0
    while len(inner.body) == 1 and isinstance(inner.body[0], Loop):
        inner, depth = inner.body[0], depth + 1
    s = inner.body[0]
    if depth == 0 or len(inner.body) > 1 or not isinstance(s, Statement) or s.form is not Form.REDUCE:
        return None
    level, types = len(s.sizes) - 1 - depth, (s.node.type, graph.nodes[s.operands[0].root].type)
    row = {k: dims.product(s.sizes[k + 1 :]) for k in range(level + 1, len(s.sizes))}  # how far neighbours lie apart
    read, added = strides(graph, s.operands[0]), steps_of(s.target, s.node.type.shape)
    if read is None or not (s.node.op.adds and s.node.op.map == "a") or types[0].dtype != types[1].dtype:
        return None
    whole = all(read.get(k) == added.get(k) == step for k, step in row.items()) and level not in added
    bytes = dims.multiply(dims.product(s.sizes[level + 1 :]), types[0].dtype.itemsize)
    fast = not isinstance(bytes, int) or not NARROW < bytes < WIDE
    fast = fast and not _short(graph, s, len(s.sizes) - 1)
    return s if whole and fast and types[0].dtype.kind == "f" else None


def _along(graph: Graph, s: Statement, level: int) -> bool:
    """True where neighbours of all that a statement reads and writes are neighbours in memory, or one element."""
    read = [a for a in s.operands if not is_formula(graph.nodes[a.root])]
    steps = [strides(graph, access) for access in read]
    return s.form in (Form.MAP, Form.REDUCE) and all(at is not None and at.get(level, 0) in (0, 1) for at in steps)


def _meet(plan: Schedule, s: Statement) -> None:
    """A scatter in which more than a few rows may meet at one place counts them."""
    node, updates = s.node, plan.graph.nodes[s.node.inputs[-1]].type.shape
    indices = [plan.graph.nodes[i].type.shape for i in node.inputs[:-1]]
    axes, shape, itemsize = indexed(node.attrs), node.type.shape, node.type.dtype.itemsize
    first, last, met, at = axes[0], axes[-1], broadcast_shapes(*indices), levels_of(updates)[1]
    levels = [ix.level for ix in (*at[first : first + len(met)], *s.target[: last + 1]) if ix.level is not None]
    if not levels or not _many(met):
        return
    plan.meeting.setdefault(id(s.path[max(levels)]), []).append(s)
    rows = dims.product(updates[: len(updates) - len(shape[last + 1 :])])
    places, width = sizes_met(node)
    full = dims.floor_divide(rows, STEPS) + 1
    pool = dims.multiply(padded(dims.multiply(full, dims.multiply(2, width)), itemsize), itemsize)
    plan.rooms[node.id] = Room(dims.total([padded(places, 1), 64, dims.multiply(padded(places, 4), 4), pool]))


def sizes_met(scatter: Node) -> tuple[Size, Size]:
    """How many places a scatter adds to, and the elements of each: the axes behind all that have an index."""
    behind = indexed(scatter.attrs)[-1] + 1
    return dims.product(scatter.type.shape[:behind]), dims.product(scatter.type.shape[behind:])


__all__ = [
    "DEPTH",
    "LINE",
    "LONG",
    "NARROW",
    "PIECE",
    "SHORT_ROW",
    "SPILL",
    "STEPS",
    "TALL",
    "WIDE",
    "adds_rows",
    "cut_sums",
    "is_long",
    "room",
]
