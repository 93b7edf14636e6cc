"""Stages: what runs side by side, cut into shards along one size, and what runs alone between.

A group's items are cut along one size. Of what their group makes, they read only rows of their own shard, so shards
never wait for one another and a shard's values stay in cache from one item to the next. A reduction over the size
leaves a partial result for each shard; those are combined, in order, before the next stage. How many shards there are
follows from sizes alone, so the bits of a result do not depend on how many threads take part.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from graphc.ir import dims
from graphc.ir.dims import Size
from graphc.ir.graph import Graph
from graphc.ir.node import Node
from graphc.schedule.access import Access
from graphc.schedule.fuse import WIDEST, statements_of
from graphc.schedule.plan import (
    Combine,
    Commit,
    Control,
    Form,
    Group,
    Item,
    Loop,
    Product,
    Ready,
    Stage,
    Statement,
    memory_of,
)

# Costs are counted in multiply-adds of a matrix product, about a hundredth of a nanosecond each.
STATEMENT, FUNCTION = 16, 48  # an operation of one instruction or so, and one that is a function
ROWS = 128  # of a shard, where each packs an operand that all of them read
REDUCED = 16  # of a shard, where it leaves a row of its own behind
APART = 16  # of a shard of a loop over steps
USUAL = 256  # rows of a batch, where their number is not known
TINY = 1 << 16  # less is not worth a shard


def stages(graph: Graph, items: list[Item], aliases: Mapping[int, int], in_order: bool = False) -> list[Stage]:
    """The items, operands first, in stages: each runs ``alone``, then its ``groups``.

    An item comes as early as may be, so that groups are large, or, ``in_order``, not before any that stood before it.
    """
    placer = _Placer(graph, aliases, in_order)
    for item in items:
        placer.add(item)
    for group in (g for stage in placer.stages for g in stage.groups):
        group.cost = dims.total(cost(graph, item) for item in group.items)
        group.most = _most(graph, group)
    return placer.stages


def _most(graph: Graph, group: Group) -> Size:
    """Each shard of a product packs the operand that all of them read, and should have many rows to use it on.

    Where such products are the lesser part of a group's products, as behind convolutions, that does not matter. (Loops
    do not count: what is computed again must not change the number of shards, and so the bits.) A shard that reduces
    rows, whose length is not known, to one of its own should have many rows too.
    """
    most = group.size
    if isinstance(group.items[0], Control):
        inner = group.items[0].cut
        assert inner is not None
        worth = usual(group.size) * TINY // max(1, usual(inner.cost))  # rows whose step is worth a call
        return dims.floor_divide(group.size, max(APART, worth))
    products = [item for item in group.items if isinstance(item, Product)]
    sharing = [item for item in products if shared_operand(item)]
    spent, whole = (usual(dims.total(cost(graph, item) for item in items)) for items in (sharing, products))
    for item in group.items:
        if isinstance(item, Product) and item in sharing and 2 * spent >= whole:
            rows = dims.product((item.rows, *item.batch[1:])) if item.batch else 1  # for each step
            return dims.floor_divide(dims.multiply(group.size, rows), ROWS)
        folds = item.folds if isinstance(item, Loop) else []
        if any(f.form is Form.REDUCE and not isinstance(f.node.type.size, int) for f in folds):
            most = dims.floor_divide(group.size, REDUCED)
    return most


def usual(size: Size) -> int:
    """A size for batches of a usual length."""
    return dims.evaluate(size, dict.fromkeys(dims.free_symbols([size]), USUAL))


def cost(graph: Graph, item: Item) -> Size:
    """What an item costs at run time."""
    if isinstance(item, Product):
        return dims.product((*item.batch, item.rows, item.columns, item.inner))
    if isinstance(item, Loop):
        return dims.total(cost(graph, part) for part in item.body)
    if isinstance(item, Control) and item.cut is not None:
        return dims.multiply(item.node.attrs["length"], item.cut.cost)
    if isinstance(item, (Combine, Commit, Control, Ready)):
        return 0
    if item.form is Form.CALL:
        return _cost_of_call(graph, item.node)
    weight = FUNCTION if is_function(item) else STATEMENT
    return dims.multiply(dims.product(item.sizes), weight)


def _cost_of_call(graph: Graph, node: Node) -> Size:
    """Of a routine: as if it went once over each row, or over each matrix for every column."""
    first = graph.nodes[node.inputs[0]].type
    steps = first.shape[-1] if node.op.core is not None and node.op.core[0] > 1 else 1
    return dims.product((*first.shape, steps, FUNCTION))


def is_function(statement: Statement) -> bool:
    code = {Form.MAP: statement.node.op.code, Form.REDUCE: statement.node.op.map}.get(statement.form)
    return isinstance(code, str) and "(" in code


def shared_operand(product: Product) -> bool:
    """True where every shard reads all of the right operand."""
    return not product.batch or all(0 not in ix.levels for ix in product.right.index)


def statements_in(item: Item) -> Iterator[Statement]:
    """All statements of an item."""
    if isinstance(item, Statement):
        yield item
    elif isinstance(item, Loop):
        for part in item.body:
            yield from statements_in(part)


def made_by(item: Item) -> list[int]:
    """The nodes whose values an item makes, in whole or in part."""
    if isinstance(item, Product):
        return [item.node.id]
    if isinstance(item, Combine):
        return [item.fold.node.id]
    if isinstance(item, Control):
        return list(item.results.values())
    return [s.node.id for s in statements_in(item)]


def reads_of(item: Item) -> Iterator[Access]:
    """Every access of an item."""
    if isinstance(item, Product):
        yield from (item.left, item.right)
    if isinstance(item, Control):
        yield from item.operands
    if isinstance(item, Ready):
        yield from (item.loop.operands[operand.slot] for operand in item.loop.packed)
    for statement in statements_in(item):
        yield from statement.operands


def _cut(graph: Graph, item: Item) -> Size | None:
    """The size along which an item's work is independent; None where it must run alone."""
    if isinstance(item, Product):
        return item.batch[0] if item.batch else item.rows
    if isinstance(item, Control):
        return None if item.cut is None else item.cut.size
    if not isinstance(item, Loop) or any(s.form in (Form.CHECK, Form.SCATTER) for s in statements_in(item)):
        return None
    for fold in item.folds:
        if fold.form is Form.PLACE and fold.node.attrs.get("fill") is not None:
            return None
        if fold.form is Form.PLACE:  # each shard has places of its own
            continue
        elements = fold.node.type.size
        if isinstance(elements, int) and elements > WIDEST:
            return None
        if not isinstance(elements, int) and fold.node.type.ndim > 1:
            return None
    return item.size


class _Placer:
    def __init__(self, graph: Graph, aliases: Mapping[int, int], in_order: bool) -> None:
        self.graph, self.aliases, self.in_order = graph, aliases, in_order
        self.stages: list[Stage] = [Stage()]
        self.home: dict[int, tuple[int, Group | None]] = {}  # node -> where it is made
        self.axis: dict[int, int | None] = {}  # node -> axis of its result that its group cuts
        self.together: dict[
            int, int | None
        ] = {}  # assembly -> axis that the outermost loops of all its parts run along

    def add(self, item: Item) -> None:
        size = _cut(self.graph, item)
        spent = cost(self.graph, item)
        if size == 1 or (isinstance(spent, int) and spent < TINY):
            size = None
        after, tied = self._needs(item)
        if size is None:
            self._alone(item, max([after, *(k + 1 for k, _ in tied)]))
            return
        top = max([after, *(k for k, _ in tied)])
        there = {id(g): g for k, g in tied if k == top}
        if len(there) > 1 or any(g.size != size for g in there.values()):
            top, there = top + 1, {}
        if isinstance(item, Control):
            if item.packed:
                self._alone(Ready(item), top)
            group = Group(size)
            self._stage(top).groups.append(group)
        elif there:
            (group,) = there.values()
        else:
            top, group = self._group(size, top)
        group.items.append(item)
        partial: list[Statement] = []
        if isinstance(item, Product):
            self._made(item.node.id, top, group, 0 if item.fold is None else None)
            partial = [item.fold] if item.fold is not None else []
        elif isinstance(item, Control):
            for node in made_by(item):
                self._made(node, top, group, None)
        else:
            assert isinstance(item, Loop)
            partial = [f for f in item.folds if f.form is Form.REDUCE]
            for statement in statements_in(item):
                self._made(statement.node.id, top, group, self._row_axis(statement))
        for fold in partial:
            self._alone(Combine(fold, group), top + 1)

    def _needs(self, item: Item) -> tuple[int, list[tuple[int, Group]]]:
        """The stage whose lone items, or the ones before, make all that the item needs; groups that it may join."""
        after = len(self.stages) - 1 if self.in_order else 0
        tied = []
        for access in reads_of(item):
            for root in (access.root, *access.gates):
                base = memory_of(self.aliases, root)
                if base not in self.home:
                    continue
                stage, group = self.home[base]
                if group is None:
                    after = max(after, stage)
                elif root == access.root and self._aligned(access, base):
                    tied.append((stage, group))
                else:
                    after = max(after, stage + 1)
        return after, tied

    def _aligned(self, access: Access, base: int) -> bool:
        """True where row k of the reader needs row k of the result, and no other."""
        axis = self.axis[base]
        if axis is None:
            return False
        if access.root != base:  # the same memory in another shape
            shapes = [self.graph.nodes[i].type.shape for i in (access.root, base)]
            if axis != 0 or shapes[0][:1] != shapes[1][:1]:
                return False
        index = access.index[axis]
        return index.plain and index.level == 0

    def _group(self, size: Size, first: int) -> tuple[int, Group]:
        """A group along ``size`` in a stage from ``first`` on: the last there is, else a new one in the last stage."""
        for k in range(len(self.stages) - 1, first - 1, -1):
            for group in self.stages[k].groups:
                if group.size == size and not isinstance(group.items[0], Control):
                    return k, group
        last = max(first, len(self.stages) - 1)
        group = Group(size)
        self._stage(last).groups.append(group)
        return last, group

    def _alone(self, item: Item, k: int) -> None:
        self._stage(k).alone.append(item)
        for node in made_by(item):
            self._made(node, k, None, None)

    def _row_axis(self, statement: Statement) -> int | None:
        """The axis of the result that the outermost loop runs along; of an assembly, that of all its parts."""
        if statement.form in (Form.SCATTER, Form.CHECK):
            return None
        if statement.form is not Form.PLACE:
            return statement.kept.get(0)
        node = statement.node
        if node.id not in self.together:
            rows = {(part.kept.get(0), part.sizes[:1]) for part in statements_of(self.graph, node)}
            self.together[node.id] = rows.pop()[0] if len(rows) == 1 else None
        return self.together[node.id]

    def _made(self, node: int, k: int, group: Group | None, axis: int | None) -> None:
        """Notes where a node is made; of several places (the operands of a concat) the last."""
        stage, held = self.home.get(node, (-1, None))
        if (stage, held is not None) <= (k, group is not None):
            self.home[node], self.axis[node] = (k, group), axis

    def _stage(self, k: int) -> Stage:
        while len(self.stages) <= k:
            self.stages.append(Stage())
        return self.stages[k]


__all__ = ["cost", "is_function", "made_by", "reads_of", "shared_operand", "stages", "statements_in", "usual"]
