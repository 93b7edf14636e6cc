"""Loops: every node becomes statements, and statements share loops wherever the data allows it.

A statement joins the loop of its producer when it reads, at each step of that loop, exactly the element that the step
made. Applied level by level this turns a softmax, a layer norm or a loss with its gradient into one pass over rows,
and an elementwise chain into one loop.
"""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace

from graphc.ir import dims
from graphc.ir.dims import Size
from graphc.ir.graph import Graph
from graphc.ir.node import Node
from graphc.ir.op import Kind, indexed
from graphc.ir.types import broadcast_shapes
from graphc.schedule.access import (
    ZERO,
    Access,
    Index,
    broadcast_index,
    is_alias,
    is_check,
    is_formula,
    levels_of,
    movement,
    resolve,
    steps_of,
    strides,
    through,
)
from graphc.schedule.nested import nested
from graphc.schedule.plan import Control, Form, Item, Loop, Product, Statement

WINDOW = 8  # how many items back a statement looks for loops to share
WIDEST = 1 << 14  # elements of an accumulator that each shard may have for itself
FAR = 16  # how many readers ahead a value looks for what it may wait for
ROW = 64  # elements of a short row
MOST = 48  # statements in one nest: more would spill registers and cost compile time


def fuse(graph: Graph, order: Iterable[int]) -> tuple[list[Item], dict[int, list[Statement]]]:
    """Places every node of ``order`` (operands first) and returns the items and each node's statements."""
    placer = _Placer(graph)
    for id in order:
        placer.add(graph.nodes[id])
    return placer.items, placer.statements


def statements_of(graph: Graph, node: Node) -> list[Statement]:
    """The statements that compute ``node``, not placed yet."""
    types = [graph.nodes[i].type for i in node.inputs]
    shape = node.type.shape
    kind = node.op.kind
    if kind in (Kind.ELEMENTWISE, Kind.GENERATOR):
        sizes, index = levels_of(shape)
        operands = tuple(
            resolve(graph, i, broadcast_index(t.shape, shape, index)) for i, t in zip(node.inputs, types, strict=True)
        )
        form = Form.CHECK if is_check(node) else Form.MAP
        return [Statement(node, form, sizes, operands, index)]
    if kind is Kind.REDUCTION:
        sizes, index = levels_of(types[0].shape)
        return [Statement(node, Form.REDUCE, sizes, (resolve(graph, node.inputs[0], index),), _reduced(node, index))]
    if kind is Kind.ASSEMBLY:
        assert node.op.regions is not None
        out = []
        for i, t, region in zip(node.inputs, types, node.op.regions(node.type, types, node.attrs), strict=True):
            sizes, index = levels_of(t.shape)
            if "overlapping" in node.op.facts:
                sizes, index = _as_in_memory(graph, i, sizes, index)
            out.append(Statement(node, Form.PLACE, sizes, (resolve(graph, i, index),), through(region, index)))
        return out
    if kind is Kind.GATHER:
        sizes, index = levels_of(shape)
        at, source = _at_indices(graph, node, node.inputs[1:], index, types[0].ndim, 1)
        return [Statement(node, Form.MAP, sizes, (resolve(graph, node.inputs[0], source), *at), index)]
    if kind is Kind.ROUTINE:
        assert node.op.core is not None
        sizes, index = levels_of(types[0].shape[: types[0].ndim - node.op.core[0]])

        def first(ndim: int) -> tuple[Index, ...]:
            """Where the row or matrix at hand begins in a tensor."""
            return (*index, *(ZERO,) * (ndim - len(index)))

        whole = tuple(resolve(graph, i, first(t.ndim)) for i, t in zip(node.inputs, types, strict=True))
        return [Statement(node, Form.CALL, sizes, whole, first(node.type.ndim))]
    assert kind is Kind.SCATTER, node
    sizes, index = levels_of(types[-1].shape)
    at, target = _at_indices(graph, node, node.inputs[:-1], index, node.type.ndim, 0)
    return [Statement(node, Form.SCATTER, sizes, (*at, resolve(graph, node.inputs[-1], index)), target)]


def _as_in_memory(
    graph: Graph, tensor: int, sizes: tuple[Size, ...], index: tuple[Index, ...]
) -> tuple[tuple[Size, ...], tuple[Index, ...]]:
    """Loops over a tensor in the order in which its elements lie, where that is known."""
    steps = strides(graph, resolve(graph, tensor, index)) or {}
    known = {level: steps.get(level, 0) for level in range(len(sizes))}
    numbers = {level: step for level, step in known.items() if isinstance(step, int)}
    if len(numbers) < len(sizes):
        return sizes, index
    order = sorted(numbers, key=lambda level: -numbers[level])
    levels = tuple(ix if ix.level is None else replace(ix, level=order.index(ix.level)) for ix in index)
    return tuple(sizes[level] for level in order), levels


def _at_indices(
    graph: Graph, node: Node, indices: Sequence[int], index: tuple[Index, ...], ndim: int, slot: int
) -> tuple[list[Access], tuple[Index, ...]]:
    """The indices of a gather or scatter, and where they lead: ``index`` runs over what is gathered or scattered."""
    shapes = [graph.nodes[i].type.shape for i in indices]
    met, axes = broadcast_shapes(*shapes), indexed(node.attrs)
    first, rank = axes[0], len(met)
    over, rest = index[first : first + rank], iter((*index[:first], *index[first + rank :]))
    at = [resolve(graph, i, broadcast_index(s, met, over)) for i, s in zip(indices, shapes, strict=True)]
    led = (Index(None, 0, 1, slot=slot + axes.index(a)) if a in axes else next(rest) for a in range(ndim))
    return at, tuple(led)


def _reduced(node: Node, index: tuple[Index, ...]) -> tuple[Index, ...]:
    """Indices into a reduction's result: axes are dropped, kept with size 1, or (``shape``) folded if 1 when called."""
    if "shape" in node.attrs:
        return broadcast_index(node.type.shape, tuple(node.attrs["operand_shape"]), index)
    axes, keepdims = node.attrs["axes"], node.attrs["keepdims"]
    return tuple(ZERO if a in axes else ix for a, ix in enumerate(index) if keepdims or a not in axes)


def product_of(graph: Graph, node: Node) -> Product:
    """The matrix product of a contraction node; levels are (batch ..., row, column, inner)."""
    shape = node.type.shape
    left, right = (graph.nodes[i].type.shape for i in node.inputs)
    batch = shape[:-2]
    over = tuple(Index(level, 0, 1) for level in range(len(batch)))
    row, column, inner = (Index(len(batch) + k, 0, 1) for k in range(3))
    at_left = (*broadcast_index(left[:-2], batch, over), row, inner)
    lead, a = broadcast_index(right[:-2], batch, over), resolve(graph, node.inputs[0], at_left)
    if (found := nested(graph, graph.nodes[node.inputs[1]], lead)) is not None:
        return Product(node, a, found[0], batch, shape[-2], shape[-1], left[-1], nest=found[1])
    b = resolve(graph, node.inputs[1], (*lead, inner, column))
    return Product(node, a, b, batch, shape[-2], shape[-1], left[-1])


def batch_sums(graph: Graph) -> dict[int, int]:
    """Sums over all of the batch of a product that nothing else reads, each with the product."""
    uses = Counter(i for node in graph.nodes for i in set(node.inputs))
    uses.update(t.id for t in graph.outputs)
    found = {}
    for node in graph.nodes:
        if node.op.name == "sum":
            summed = graph.nodes[node.inputs[0]]
            batch = tuple(range(summed.type.ndim - 2))
            whole = node.attrs["axes"] == batch != () and uses[summed.id] == 1
            if summed.op.kind is Kind.CONTRACTION and whole:
                found[node.id] = summed.id
    return found


def fits_shards(graph: Graph, sum: int, product: int) -> bool:
    """True where each shard may add up a result of its own: a small one, or one made of windows.

    Those are read where they lie, a batch at a time; as one product they would be copied, into more memory than all
    the results take if a result has fewer rows than there are windows.
    """
    size = graph.nodes[sum].type.size
    if isinstance(size, int) and size <= WIDEST:
        return True
    left, right = (graph.nodes[i] for i in graph.nodes[product].inputs)
    few = dims.at_most(left.type.shape[-2], right.type.shape[-2])
    return few and nested(graph, right, (ZERO,) * (right.type.ndim - 2)) is not None


class _Placer:
    """Grows the list of items, one node after the other."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.items: list[Item] = []
        self.statements: dict[int, list[Statement]] = {}
        self.last: dict[int, int] = {}  # node -> the item after which its whole result exists
        self.position: dict[int, int] = {}  # id of an item -> its place in the list
        self.weight: dict[int, int] = {}  # id of an item -> statements in it
        self.readers: dict[int, list[int]] = defaultdict(list)
        for node in graph.nodes:
            for i in node.inputs:
                self.readers[i].append(node.id)
        self.folding = {sum: product for sum, product in batch_sums(graph).items() if fits_shards(graph, sum, product)}
        self.folded = set(self.folding.values())

    def add(self, node: Node) -> None:
        if node.op.kind is Kind.LEAF or is_formula(node) or movement(self.graph, node) is not None:
            return
        if is_alias(self.graph, node):
            self.last[node.id] = self.last.get(node.inputs[0], -1)
            return
        if node.op.kind is Kind.CONTRACTION or node.id in self.folding:
            if node.id not in self.folded:
                self._append(self._product(node))
                self.last[node.id] = len(self.items) - 1
            return
        if node.op.kind is Kind.CONTROL:
            self._append(self._control(node))
            return
        if node.op.kind is Kind.RESULT:
            self.last[node.id] = self.last[node.inputs[0]]
            return
        self.statements[node.id] = statements_of(self.graph, node)
        for statement in self.statements[node.id]:
            self._place(statement)

    def _goes_on(self, statement: Statement) -> bool:
        """True for short rows of what lies apart, found loops for but the one along them, that go on in memory.

        As one long row they go in vectors (`graphc.schedule.joined`).
        """
        last = len(statement.sizes) - 1
        if statement.form is not Form.MAP or len(statement.path) != last or not _short(statement.sizes[last]):
            return False
        places = [(a.index, self.graph.nodes[a.root].type.shape) for a in statement.operands]
        steps = [steps_of(index, shape) for index, shape in (*places, (statement.target, statement.node.type.shape))]
        row = statement.sizes[last]
        apart = any(s.get(last, 0) not in (0, 1) for s in steps)  # as the elements of windows
        return apart and all(s.get(last - 1, 0) == dims.multiply(row, s.get(last, 0)) for s in steps)

    def _product(self, node: Node) -> Product:
        if node.id not in self.folding:
            return product_of(self.graph, node)
        (fold,) = statements_of(self.graph, node)
        return replace(product_of(self.graph, self.graph.nodes[self.folding[node.id]]), node=node, fold=fold)

    def _control(self, node: Node) -> Control:
        operands = tuple(resolve(self.graph, i, self._any_index(i)) for i in node.inputs)
        self.last[node.id] = len(self.items)
        results: dict[int, int] = {}
        for id in self.readers[node.id]:  # of equal ones the first
            results.setdefault(self.graph.nodes[id].attrs["index"], id)
        return Control(node, operands, results)

    def _append(self, item: Item) -> None:
        self.position[id(item)] = len(self.items)
        self.weight[id(item)] = 0
        self.items.append(item)

    def _place(self, statement: Statement) -> None:
        """Finds loops for the statement, outermost first: a producer's where it may join, else its own."""
        after = max((self._barrier(a) for a in statement.operands), default=-1)
        after = max(after, self._sink(statement.node))
        inside = [(a, self.statements[a.root][0]) for a in statement.operands if self._joinable(a.root)]
        body: list[Loop | Statement] | list[Item] = self.items
        for depth in range(len(statement.sizes)):
            loop = self._shared(statement, body, depth, inside, after)
            if loop is None:
                break
            statement.path.append(loop)
            inside = [(a, p) for a, p in inside if len(p.path) > depth and p.path[depth] is loop]
            body = loop.body
        if statement.path and self._goes_on(statement):
            statement.path.pop()
            body = statement.path[-1].body if statement.path else self.items
        fresh = [Loop(size) for size in statement.sizes[len(statement.path) :]]
        for outer, inner in itertools.pairwise(fresh):
            outer.body.append(inner)
        if fresh:
            fresh[-1].body.append(statement)
        first = fresh[0] if fresh else statement
        if body is self.items:
            self._append(first)
        else:
            body.append(first)  # type: ignore[arg-type]
        statement.path += fresh
        depth = statement.start_depth
        if statement.form not in (Form.MAP, Form.CHECK, Form.CALL) and depth < len(statement.path):
            statement.path[depth].folds.append(statement)
        item = statement.path[0] if statement.path else statement
        self.weight[id(item)] += 1
        self.last[statement.node.id] = max(self.last.get(statement.node.id, -1), self.position[id(item)])

    def _sink(self, node: Node) -> int:
        """The item that a value may as well wait for, because its one reader must.

        Of a chain such as the mask in a gradient, the operand is kept anyway; computing it late stores one buffer less.
        """
        after = -1
        for _ in range(FAR):
            if len(self.readers[node.id]) != 1 or node.op.kind is not Kind.ELEMENTWISE or not self._thin(node):
                break
            reader = self.graph.nodes[self.readers[node.id][0]]
            for i in reader.inputs:
                if i != node.id and self.graph.nodes[i].op.kind is not Kind.LEAF:  # those are there beforehand
                    after = max(after, self._before(i, reader))
            node = reader
        return after

    def _before(self, id: int, reader: Node) -> int:
        """The item after which a reader may read an operand: the one before the producer's, if it can join that."""
        shape = self.graph.nodes[id].type.shape
        over = None
        if reader.op.kind is Kind.ELEMENTWISE:
            over = broadcast_index(shape, reader.type.shape, levels_of(reader.type.shape)[1])
        access = resolve(self.graph, id, self._any_index(id) if over is None else over)
        joins = over is None or (self._joinable(access.root) and _aligned(access, self.statements[access.root][0], 0))
        return self.last.get(access.root, -1) - joins

    def _any_index(self, id: int) -> tuple[Index, ...]:
        return (ZERO,) * self.graph.nodes[id].type.ndim

    def _thin(self, node: Node) -> bool:
        """At most one operand that is computed and not a scalar."""
        operands = [self.graph.nodes[i] for i in set(node.inputs)]
        return sum(n.op.kind is not Kind.LEAF and n.type.shape != () for n in operands) <= 1

    def _joinable(self, root: int) -> bool:
        """True for a value whose readers may stand in the loops that make it."""
        return root in self.statements and self.statements[root][0].form in (Form.MAP, Form.REDUCE)

    def _barrier(self, access: Access) -> int:
        """The item that must be over before the access: a product, an assembly, aliased memory, a range test."""
        needed = [*access.gates, *([] if self._joinable(access.root) else [access.root])]
        return max((self.last.get(i, -1) for i in needed), default=-1)

    def _shared(
        self,
        statement: Statement,
        body: list[Loop | Statement] | list[Item],
        depth: int,
        inside: list[tuple[Access, Statement]],
        after: int,
    ) -> Loop | None:
        """The loop of ``body`` that the statement may join at ``depth``; None where it needs its own."""
        top = body is self.items
        if statement.form in (Form.CHECK, Form.CALL):
            return None
        first = after + 1 if top else 0
        for _, producer in inside:
            at = producer.path[depth] if len(producer.path) > depth else producer
            first = max(first, self.position[id(at)] if top else body.index(at))  # type: ignore[arg-type]
        recent = range(max(first + bool(inside), len(body) - WINDOW), len(body))
        for where in (*([first] if inside else ()), *reversed(recent)):
            loop = body[where] if where < len(body) else None
            if not isinstance(loop, Loop) or loop.size != statement.sizes[depth]:
                continue
            if top and (self.weight[id(loop)] >= MOST or self._checks(loop)):
                continue
            within = [(a, p) for a, p in inside if len(p.path) > depth and p.path[depth] is loop]
            if all(_aligned(a, p, depth) for a, p in within):
                return loop
        return None

    @staticmethod
    def _checks(loop: Loop) -> bool:
        """A range test stands alone, before all that relies on it."""
        inner: Item = loop
        while isinstance(inner, Loop):
            inner = inner.body[0]
        return isinstance(inner, Statement) and inner.form is Form.CHECK


def _short(size: Size) -> bool:
    return isinstance(size, int) and size <= ROW


def _aligned(access: Access, producer: Statement, depth: int) -> bool:
    """True where the reader's element at loop ``depth`` is the one that the producer makes in the same step."""
    if producer.open_depth <= depth:
        return False
    index = access.index[producer.kept[depth]]
    return index.level == depth and index.plain


__all__ = ["fuse", "product_of", "statements_of"]
