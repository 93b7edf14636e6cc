"""Loops that run through memory as one loop would."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from graphc.ir import dims
from graphc.ir.dims import Size
from graphc.ir.types import Shape
from graphc.schedule.access import Access, Index, is_formula, steps_of
from graphc.schedule.plan import Form, Loop, Schedule, Statement, memory_of
from graphc.schedule.stages import is_function


def joined(plan: Schedule, loop: Loop, level: int) -> tuple[Size, int, Loop] | None:
    """A loop in place of ``loop``, at that level, and those inside it; None where they must stay apart.

    They are one where nothing but the innermost does anything, and each step of an outer loop goes on, in all that is
    read and written, where the inner loop has ended. Short rows of a size that is not known would else cost as much as
    long ones. Given are the steps of the inner loops, the level of the innermost, and that with the counters of the
    others left out: it counts all steps.
    """
    sizes, inner = [loop.size], loop
    while len(inner.body) == 1 and isinstance(inner.body[0], Loop) and (inner is loop or not inner.folds):
        inner = inner.body[0]
        sizes.append(inner.size)
    last = level + len(sizes) - 1
    body = [s for s in inner.body if isinstance(s, Statement) and (_stores(s) or s in loop.folds)]
    if last == level or not all(_reduces(plan, loop, s) for s in loop.folds if not _stores(s)):
        return None
    if any(fold not in body for fold in (*loop.folds, *inner.folds)) or len(body) < len(inner.body):
        return None
    for index, shape in (place for s in body for place in _places(plan, s)):
        steps = steps_of(index, shape)
        for k, size in enumerate(sizes[1:], level):
            if steps.get(k, 0) != dims.multiply(size, steps.get(k + 1, 0)):
                return None
    outer = range(level, last)
    made: list[Loop | Statement] = [
        replace(
            s,
            operands=tuple(replace(a, index=_without(outer, a.index)) for a in s.operands),
            target=_without(outer, s.target),
        )
        for s in body
    ]
    return dims.product(sizes[1:]), last, Loop(dims.product(sizes), made, loop.folds)


def _stores(s: Statement) -> bool:
    """Whether each step gives an element of the result that no other gives."""
    return s.form is Form.MAP or (s.form is Form.PLACE and s.node.attrs.get("fill") is None)


def _reduces(plan: Schedule, loop: Loop, fold: Statement) -> bool:
    """Whether a reduction that begins with the loop combines all of its steps, in no blocks, into one number."""
    return (
        fold.form is Form.REDUCE
        and not fold.accumulated
        and not any(fold is f for b in plan.blocks.values() for f, _ in b.sums)
    )


def rows_alike(plan: Schedule, loop: Loop, level: int) -> tuple[Loop, list[Access]] | None:
    """The loop inside ``loop``, over rows of functions, where several rows may be taken as one long row.

    Rows go on one after the other in all that is read and written, but for operands that are the same for all rows,
    which are given: they must be repeated. None where the rows' length is known, where nothing is repeated, or where
    something lies otherwise.
    """
    if len(loop.body) != 1 or not isinstance(loop.body[0], Loop) or loop.folds:
        return None
    inner = loop.body[0]
    body = [s for s in inner.body if isinstance(s, Statement) and s.form is Form.MAP]
    if isinstance(inner.size, int) or inner.folds or len(body) < len(inner.body) or not any(map(is_function, body)):
        return None
    made, again = {s.node.id for s in body}, []
    for s in body:
        targets = [Access(s.node.id, s.target)]
        for access in (*targets, *(a for a in s.operands if a.root not in made)):
            index, shape = _memory(plan, access)
            steps = steps_of(index, shape)
            goes_on = steps.get(level, 0) == dims.multiply(inner.size, steps.get(level + 1, 0))
            if any(ix.slot is not None for ix in index):
                return None
            if not goes_on and (set(steps) != {level + 1} or steps[level + 1] != 1 or access in targets):
                return None
            if not goes_on and is_formula(plan.graph.nodes[access.root]):
                return None
            if not goes_on:
                again.append(access)
        steps = steps_of(s.target, s.node.type.shape)
        if steps.get(level, 0) != dims.multiply(inner.size, steps.get(level + 1, 0)):
            return None
    return (inner, again) if again else None


def _places(plan: Schedule, statement: Statement) -> Iterator[tuple[tuple[Index, ...], Shape]]:
    """All that a statement reads and writes, and its place in its result."""
    node = statement.node
    for access in (*statement.operands, Access(node.id, statement.target)):
        yield _memory(plan, access)
    yield statement.target, node.type.shape


def _memory(plan: Schedule, access: Access) -> tuple[tuple[Index, ...], Shape]:
    """The index of an element in what is kept of a tensor."""
    node = plan.graph.nodes[access.root]
    buffer = plan.buffers.get(node.id)
    if is_formula(node) or memory_of(plan.aliases, node.id) != node.id or buffer is None:
        return access.index, node.type.shape
    return tuple(access.index[a] for a in buffer.axes), buffer.shape


def _without(levels: range, index: tuple[Index, ...]) -> tuple[Index, ...]:
    return tuple(ix.without(lambda level: level in levels) for ix in index)
