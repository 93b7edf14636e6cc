"""Products of a matrix with a vector inside a loop over the matrix's rows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from graphc.ir.dims import Size
from graphc.schedule.access import Access, steps_of, strides
from graphc.schedule.plan import Form, Loop, Schedule, Statement
from graphc.schedule.stages import statements_in

LEAST = 8  # columns, where their number is known: fewer are left to the compiler


@dataclass(frozen=True, slots=True)
class RowProduct:
    """A multiplication and a sum in an inner loop over columns.

    ``dots``: the sum of a row's elements times those of one vector. ``ranks``: the sum over all rows of a row times a
    number of its own. ``step`` is how far rows lie apart in memory.
    """

    form: str
    times: Statement
    fold: Statement
    matrix: Access
    vector: Access
    step: Size

    @property
    def bytes(self) -> int:
        """From one row to the next, where that is known."""
        return abs(self.step) * self.fold.node.type.dtype.itemsize if isinstance(self.step, int) else 1


def row_products(plan: Schedule, outer: Loop, inner: Loop) -> Iterator[RowProduct]:
    """Those of ``inner``, a loop directly in ``outer``, on operands that ``outer`` does not make."""
    if isinstance(inner.size, int) and inner.size < LEAST:
        return
    body = [s for s in inner.body if isinstance(s, Statement)]
    made = {s.node.id: s for s in statements_in(outer)}
    for fold in body:
        if fold.form is not Form.REDUCE or fold.node.op.name != "sum" or fold.node.type.dtype.kind != "f":
            continue
        source, along = fold.operands[0].root, steps_of(fold.target, fold.node.type.shape)
        times = next((s for s in body if s.node.id == source), None)
        if times is None or times.node.op.name != "multiply" or source in plan.buffers:
            continue
        if sum(a.root == source for s in statements_in(outer) for a in s.operands) > 1:
            continue
        if {plan.graph.nodes[a.root].type.dtype for a in times.operands} != {fold.node.type.dtype}:
            continue
        for matrix, vector in (times.operands, times.operands[::-1]):
            steps = strides(plan.graph, matrix)
            if steps is None or matrix.root in made or set(steps) != {0, 1} or steps[1] != 1:
                continue
            across = strides(plan.graph, vector)
            if fold.open_depth == 1 and vector.root not in made and across == {1: 1}:
                yield RowProduct("dots", times, fold, matrix, vector, steps[0])
                break
            if fold.open_depth == 0 and (own_number(made.get(vector.root)) or across == {0: 1}) and along == {1: 1}:
                yield RowProduct("ranks", times, fold, matrix, vector, steps[0])
                break


def own_number(producer: Statement | None) -> bool:
    """True for a value that each step of the outer loop completes once."""
    return producer is not None and producer.form in (Form.MAP, Form.REDUCE) and len(producer.complete_in) == 1
