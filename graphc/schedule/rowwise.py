"""Products of a matrix with a vector inside a loop over the matrix's rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice

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
    reads = Counter(access.root for s in statements_in(outer) for access in s.operands)
    for fold in body:
        times = next((s for s in body if fold.operands and s.node.id == fold.operands[0].root), None)
        if times is None or reads[times.node.id] != 1 or not _sums_products(plan, fold, times):
            continue
        pairs = (times.operands, times.operands[::-1])
        found = (_row_product(plan, made, times, fold, matrix, vector) for matrix, vector in pairs)
        yield from islice(filter(None, found), 1)


def _sums_products(plan: Schedule, fold: Statement, times: Statement) -> bool:
    """True for a sum of what a multiplication makes for it alone, all of one floating dtype."""
    dtype = fold.node.type.dtype
    return (
        fold.form is Form.REDUCE
        and fold.node.op.name == "sum"
        and times.node.op.name == "multiply"
        and times.node.id not in plan.buffers
        and dtype.kind == "f"
        and {plan.graph.nodes[a.root].type.dtype for a in times.operands} == {dtype}
    )


def _row_product(
    plan: Schedule, made: Mapping[int, Statement], times: Statement, fold: Statement, matrix: Access, vector: Access
) -> RowProduct | None:
    """The product of rows of ``matrix``, each of which lies in one piece, with ``vector``."""
    steps, across = strides(plan.graph, matrix), strides(plan.graph, vector)  # level of a loop -> step in memory
    if steps is None or matrix.root in made or set(steps) != {0, 1} or steps[1] != 1:
        return None
    if fold.open_depth == 1 and vector.root not in made and across == {1: 1}:
        return RowProduct("dots", times, fold, matrix, vector, steps[0])
    number_of_row = own_number(made.get(vector.root)) or across == {0: 1}
    if fold.open_depth == 0 and number_of_row and steps_of(fold.target, fold.node.type.shape) == {1: 1}:
        return RowProduct("ranks", times, fold, matrix, vector, steps[0])
    return None


def own_number(producer: Statement | None) -> bool:
    """True for a value that each step of the outer loop completes once."""
    return producer is not None and producer.form in (Form.MAP, Form.REDUCE) and len(producer.complete_in) == 1
