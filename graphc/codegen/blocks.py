"""A loop over rows in blocks: phase after phase for all rows of a block.

What stands in one loop, for each row an inner product, then a function of it, then another inner loop, is slow that
way: the function is evaluated for one number at a time. In blocks it is evaluated for many at once, and the products of
a matrix with a vector are taken for some rows together. Values that cross from a phase to a later one lie on the stack,
one for each row of a block.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from graphc.codegen.whole import Loads, Whole
from graphc.ir.dims import Size
from graphc.schedule.access import Access, Index
from graphc.schedule.plan import Form, Loop, Statement
from graphc.schedule.rowwise import RowProduct, row_products
from graphc.schedule.stages import is_function, statements_in

if TYPE_CHECKING:
    from graphc.codegen.line import Line

BLOCK = 64  # rows, at most
LEAST = 8  # rows, at least
BYTES = 1 << 15  # of the first-level cache for the rows of a matrix


@dataclass(slots=True)
class Phase:
    """Lines for one row, or for all rows of a block at once; values of single rows that they make and read."""

    lines: list[Line]
    makes: list[int]  # nodes
    reads: list[int]
    at_once: bool = False


class Blocks:
    """Writes a loop in blocks into a nest, where that is a gain."""

    def __init__(self, nest: Whole, loop: Loop) -> None:
        self.nest, self.loop, self.plan = nest, loop, nest.plan
        inner = [part for part in loop.body if isinstance(part, Loop)]
        self.products = {id(part): list(row_products(self.plan, loop, part)) for part in inner}
        widest = max((p.bytes for found in self.products.values() for p in found), default=1)
        self.rows = max(LEAST, min(BLOCK, BYTES // widest // LEAST * LEAST))

    @property
    def gain(self) -> bool:
        """True where functions of single elements stand between inner loops, or an inner loop is a row product.

        No inner loop may leave a row behind: there is memory for one number of each row only.
        """
        body = self.loop.body
        alone = [s for s in body if isinstance(s, Statement)]
        functions = len(alone) < len(body) and any(is_function(s) for s in alone)
        if not functions and not any(self.products.values()):
            return False
        made = [s for s in statements_in(self.loop) if s not in self.loop.folds]
        if any(s.form not in (Form.MAP, Form.REDUCE) for s in (*made, *self.loop.folds)):
            return False
        kept = [(s, self.plan.buffers[s.node.id]) for s in made if s.node.id in self.plan.buffers]
        return all(s.kept.get(0) in buffer.axes for s, buffer in kept)

    def write(self, loads: Loads) -> None:
        """All that the loop does in a block, the rows from ``b0`` to ``e0``."""
        nest = self.nest
        start, outside = len(nest.body), set(nest.makes)
        phases = list(self.phases(loads, outside))
        del nest.body[start:]
        held: set[int] = set()  # values that cross from one phase to a later one
        for k, phase in enumerate(phases):
            later = {id for other in phases[k + 1 :] for id in other.reads}
            if phase.at_once:
                nest.body += phase.lines
                held.update(phase.makes)
                continue
            nest.put(1, "for i0 in range(b0, e0):")
            for id in (n for n in phase.reads if n in held and n not in phase.makes):
                nest.put(2, f"{nest.named('v', id)} = {self.memory(id)}[i0 - b0]")
            nest.body += phase.lines
            for id in (n for n in phase.makes if n in later):
                held.add(id)
                nest.put(2, f"{self.memory(id)}[i0 - b0] = {nest.named('v', id)}")

    def memory(self, id: int) -> str:
        """The name of memory for one value at each row of a block."""
        place = ("block", id)
        dtype = self.nest.graph.nodes[id].type.dtype
        held = self.nest.primitive(self.nest.named(*place), dtype)
        self.nest.pointers[held] = place, dtype
        return held

    # ---- phases

    def phases(self, loads: Loads, outside: set[int]) -> Iterator[Phase]:
        """Runs of statements, runs of inner loops, and each row product by itself."""
        run: list[Loop | Statement] = []
        for item in self.loop.body:
            products = self.products.get(id(item), [])
            if run and (products or isinstance(item, Loop) is not isinstance(run[0], Loop)):
                yield self.text(run, loads, outside)
                run = []
            if not isinstance(item, Loop) or not products:
                run.append(item)
                continue
            for product in products:
                yield from self.product(product, item.size, loads)
            taken = [s for p in products for s in (p.times, p.fold)]
            left = [s for s in item.body if s not in taken]
            if left:
                run.append(Loop(item.size, left, [s for s in item.folds if s not in taken]))
        if run:
            yield self.text(run, loads, outside)

    def text(self, items: Sequence[Loop | Statement], loads: Loads, outside: set[int]) -> Phase:
        """Items for one row."""
        inner, nest = dict(loads), self.nest
        first, made, read = len(nest.body), len(nest.makes), len(nest.reads)
        for item in items:
            nest.item(item, 2, inner)
        makes = [id for id in dict.fromkeys(nest.makes[made:]) if id not in outside]
        return Phase(nest.body[first:], makes, list(dict.fromkeys([*nest.makes[made:], *nest.reads[read:]])))

    def product(self, product: RowProduct, columns: Size, loads: Loads) -> Iterator[Phase]:
        """A call for all rows of a block, and the store of its results where they have a place."""
        nest, fold = self.nest, product.fold
        dtype = fold.node.type.dtype
        # the first of two passes brings the next rows of its block, the second those of the next block
        ahead = self.rows // 2 if product.form == "dots" else self.rows
        matrix = f"{nest.size(columns)}, {self.first(product.matrix)}, {nest.size(product.step)}, {ahead}"
        value = product.vector.root
        own = product.form == "ranks" and value in self.values
        vector = f"address({self.memory(value)})" if own else self.first(product.vector)
        if product.form == "dots":
            made, result = [fold.node.id], f"address({self.memory(fold.node.id)})"
        else:
            made, home = [], nest.home(fold)
            assert home is not None
            result = nest.element_of(home, tuple(Index(None, ix.start) for ix in fold.target), dtype)
        name = nest.primitive(product.form, dtype)
        first = len(nest.body)
        nest.put(1, f"{name}(e0 - b0, {matrix}, {vector}, {result})", product.times.node.id, fold.node.id)
        yield Phase(nest.body[first:], made, [value] if own else [], at_once=True)
        if made:
            first = len(nest.body)
            nest.keep(fold, 2)
            if len(nest.body) > first:
                yield Phase(nest.body[first:], [], made)

    @property
    def values(self) -> set[int]:
        """Nodes whose values the loop makes."""
        return {s.node.id for s in statements_in(self.loop)}

    def first(self, access: Access) -> str:
        """The address of an operand's element for the first row of a block and the first column."""
        nest = self.nest
        index = tuple(ix.without(lambda level: level == 1) for ix in access.index)
        dtype = nest.graph.nodes[access.root].type.dtype
        return nest.element(Access(access.root, index), 1, dtype, {0: "b0"})
