"""Where values are kept: in a scalar, in a row of scratch, in a whole buffer; and which buffers share memory.

Live ranges are counted in items of the schedule; buffers whose ranges do not meet share a slot of the workspace
(linear scan, Poletto and Sarkar 1999).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

from graphc.ir import dims
from graphc.ir.dims import Size
from graphc.ir.graph import Graph
from graphc.ir.op import Kind
from graphc.schedule.access import is_alias, is_check
from graphc.schedule.fuse import fuse
from graphc.schedule.plan import Buffer, Form, Item, Loop, Product, Schedule, Slot, Statement

ALIGNMENT = 64  # bytes
PART = 24  # loop nests in one function; Numba's cost grows faster than linearly beyond


def schedule(graph: Graph, inputs: Sequence[int], n_outputs: int, updates: Sequence[str]) -> Schedule:
    """The program of ``graph``: its outputs are ``n_outputs`` results, then a next value for each of ``updates``."""
    roots = [t.id for t in graph.outputs]
    outputs, nexts = tuple(roots[:n_outputs]), dict(zip(updates, roots[n_outputs:], strict=True))
    items, statements = fuse(graph, execution_order(graph))
    plan = Schedule(graph, tuple(inputs), outputs, nexts, items, statements)
    plan.aliases = {n.id: n.inputs[0] for n in graph.nodes if is_alias(graph, n)}
    plan.parts = _parts(items)
    _leaves(plan)
    _keep(plan)
    _share(plan)
    return plan


def execution_order(graph: Graph) -> list[int]:
    """Operands first: scalars that need no loop, range tests, then products, so that what only updates read comes last.

    Of a node's operands the one that waits for most products, then the one with the longest history, goes first.
    """
    height = [(0, 0)] * len(graph.nodes)
    scalar = [False] * len(graph.nodes)
    for node in graph.nodes:
        products, steps = max((height[i] for i in node.inputs), default=(0, 0))
        height[node.id] = (products + (node.op.kind is Kind.CONTRACTION), steps + 1)
        scalar[node.id] = node.type.shape == () and all(scalar[i] for i in node.inputs)
    first = [n.id for n in graph.nodes if scalar[n.id] and n.op.kind is not Kind.LEAF]
    checks = [n.id for n in graph.nodes if is_check(n)]
    contractions = [n.id for n in graph.nodes if n.op.kind is Kind.CONTRACTION]
    order: list[int] = []
    done = [False] * len(graph.nodes)
    for root in (*first, *checks, *contractions, *(t.id for t in graph.outputs)):
        stack = [root]
        while stack:
            top = stack[-1]
            waiting = [] if done[top] else [i for i in graph.nodes[top].inputs if not done[i]]
            if waiting:
                stack += sorted(waiting, key=lambda i: height[i])
                continue
            stack.pop()
            if not done[top]:
                done[top] = True
                order.append(top)
    return order


def _leaves(plan: Schedule) -> None:
    """Buffers of leaves: arguments, then state that is read or written, then constant arrays."""
    nodes = plan.graph.nodes
    argument = {id: k for k, id in enumerate(plan.inputs)}
    names = [n.name for n in nodes if n.op.name in ("parameter", "variable") and n.id not in argument]
    names += [name for name in plan.updates if name not in names]
    plan.state = tuple(names)
    plan.constants = tuple(n.id for n in nodes if n.op.name == "constant" and n.type.shape != ())
    number = {name: k for k, name in enumerate(names)}
    for node in nodes:
        if node.op.kind is not Kind.LEAF or (node.op.name == "constant" and node.type.shape == ()):
            continue
        if node.id in argument:
            place = ("input", argument[node.id])
        elif node.id in plan.constants:
            place = ("state", len(names) + plan.constants.index(node.id))
        else:
            place = ("state", number[node.name])
        plan.buffers[node.id] = Buffer(place, tuple(range(node.type.ndim)), node.type.shape)


def _keep(plan: Schedule) -> None:
    """Gives a buffer to every computed value that a scalar cannot carry to all its readers."""
    nodes = plan.graph.nodes
    part = {id(item): k for k, items in enumerate(plan.parts) for item in items}
    shallow: dict[int, int] = {}  # node -> how many loops its most distant reader shares with it
    for statement in _all_statements(plan):
        for access in statement.operands:
            producer = _producer(plan, access.root)
            if producer is not None:
                together = part[id(_item(producer))] == part[id(_item(statement))]
                shared = _common(_made_in(producer), statement.path) if together else -1
                shallow[access.root] = min(shallow.get(access.root, len(producer.path)), shared)
    whole = {plan.aliases[i] for i in plan.aliases} | set(plan.outputs) | set(plan.updates.values())
    for item in plan.items:
        if isinstance(item, Product):
            whole |= {item.node.id, item.left.root, item.right.root}
    in_place = {i: name for name, i in plan.updates.items() if _may_write(plan, i, name)}
    plan.commits = [(i, name) for name, i in plan.updates.items() if in_place.get(i) != name]
    for node in nodes:
        if node.id in plan.buffers or node.id in plan.aliases or node.op.kind is Kind.LEAF:
            continue
        parts = plan.statements.get(node.id, [])
        if not parts and node.op.kind is not Kind.CONTRACTION:
            continue  # movements and constants
        if is_check(node):
            continue
        axes: tuple[int, ...] | None
        if node.id in whole or not parts or parts[0].form in (Form.PLACE, Form.SCATTER):
            axes = tuple(range(node.type.ndim))
        else:
            axes = _axes(parts[0], shallow.get(node.id))
        if axes is None:
            continue
        if node.id in plan.outputs:
            place = ("output", plan.outputs.index(node.id))
        elif node.id in in_place:
            place = ("state", plan.state.index(in_place[node.id]))
        else:
            place = ("work", -1)
        plan.buffers[node.id] = Buffer(place, axes, tuple(node.type.shape[a] for a in axes))


def _parts(items: list[Item]) -> list[list[Item]]:
    """Items cut into functions of a bounded number of loop nests."""
    parts: list[list[Item]] = [[]]
    weight = 0
    for item in items:
        cost = _nests(item)
        if parts[-1] and weight + cost > PART:
            parts.append([])
            weight = 0
        parts[-1].append(item)
        weight += cost
    return parts


def _nests(item: Item) -> int:
    """Innermost loops of an item; a statement outside loops counts little."""
    return max(1, sum(_nests(i) for i in item.body)) if isinstance(item, Loop) else 0


def _all_statements(plan: Schedule) -> list[Statement]:
    return [s for parts in plan.statements.values() for s in parts]


def _producer(plan: Schedule, root: int) -> Statement | None:
    parts = plan.statements.get(root)
    return parts[0] if parts else None


def _made_in(producer: Statement) -> list[Loop]:
    """The loops inside which the producer's value is complete."""
    return producer.path if producer.form is Form.MAP else producer.path[: producer.open_depth]


def _common(left: Sequence[Loop], right: Sequence[Loop]) -> int:
    depth = 0
    while depth < min(len(left), len(right)) and left[depth] is right[depth]:
        depth += 1
    return depth


def _axes(statement: Statement, shared: int | None) -> tuple[int, ...] | None:
    """Axes that must be stored; None where a scalar will do."""
    made = len(_made_in(statement))
    least = made if shared is None else min(shared, made)
    levels = {ix.level: axis for axis, ix in enumerate(statement.target) if ix.level is not None}
    inner = [axis for level, axis in levels.items() if level >= made]  # an accumulator over inner loops
    if least == made and not inner:
        return None
    least = max(least, 0)
    return tuple(sorted(axis for level, axis in levels.items() if level >= least))


def _may_write(plan: Schedule, root: int, name: str) -> bool:
    """True where the next value may overwrite the state as it is made: nothing reads the old one later or elsewhere."""
    parts = plan.statements.get(root, [])
    shared = root in plan.outputs or list(plan.updates.values()).count(root) != 1
    if shared or len(parts) != 1 or parts[0].form is not Form.MAP:
        return False
    leaf = next((n.id for n in plan.graph.nodes if n.name == name and n.op.kind is Kind.LEAF), None)
    if leaf is None or leaf in plan.inputs:
        return leaf is None
    if leaf in plan.aliases.values():
        return False
    writer = parts[0]
    place = {id(item): k for k, item in enumerate(plan.items)}
    here = place[id(_item(writer))]
    for item in plan.items[here + 1 :]:
        if isinstance(item, Product) and leaf in (item.left.root, item.right.root):
            return False
    body: Sequence[object] = writer.path[-1].body if writer.path else plan.items
    for reader in _all_statements(plan):
        for access in reader.operands:
            if access.root != leaf or place[id(_item(reader))] < here:
                continue
            together = reader.path == writer.path and access.index == writer.target
            if not together or body.index(reader) > body.index(writer):
                return False
    return True


def _item(statement: Statement) -> Item:
    return statement.path[0] if statement.path else statement


def _share(plan: Schedule) -> None:
    """Packs the workspace: buffers that are never alive together share a slot of equal, or larger known, size."""
    place = {id(item): k for k, item in enumerate(plan.items)}
    first: dict[int, int] = {}
    last: dict[int, int] = {}

    def touch(root: int, where: int) -> None:
        while root in plan.aliases:
            root = plan.aliases[root]
        buffer = plan.buffers.get(root)
        if buffer is not None and buffer.place[0] == "work":
            first[root] = min(first.get(root, where), where)
            last[root] = max(last.get(root, where), where)

    for statement in _all_statements(plan):
        where = place[id(_item(statement))]
        for root in (statement.node.id, *(a.root for a in statement.operands)):
            touch(root, where)
    for item in plan.items:
        if isinstance(item, Product):
            for root in (item.node.id, item.left.root, item.right.root):
                touch(root, place[id(item)])
    for root, _ in plan.commits:
        touch(root, len(plan.items))
    ending: Mapping[int, list[int]] = defaultdict(list)
    for root, where in last.items():
        ending[where].append(root)
    free: list[int] = []
    slot_of: dict[int, int] = {}
    starting: Mapping[int, list[int]] = defaultdict(list)
    for root, where in first.items():
        starting[where].append(root)
    for where in range(len(plan.items) + 1):
        for root in sorted(starting[where]):
            slot_of[root] = _take(plan, free, _bytes(plan, root))
        free += [slot_of[root] for root in sorted(ending[where])]
    for root, slot in slot_of.items():
        old = plan.buffers[root]
        plan.buffers[root] = Buffer(("work", slot), old.axes, old.shape)


def _bytes(plan: Schedule, root: int) -> Size:
    itemsize = plan.graph.nodes[root].type.dtype.itemsize
    size = dims.multiply(dims.product(plan.buffers[root].shape), itemsize)
    if isinstance(size, int):
        return -(-size // ALIGNMENT) * ALIGNMENT
    return dims.multiply(dims.floor_divide(size + (ALIGNMENT - 1), ALIGNMENT), ALIGNMENT)


def _take(plan: Schedule, free: list[int], size: Size) -> int:
    """A free slot that fits, made larger where its size is known; else a new one."""
    for slot in free:
        if plan.slots[slot].bytes == size:
            free.remove(slot)
            return slot
    for slot in free:
        held = plan.slots[slot].bytes
        if isinstance(held, int) and isinstance(size, int):
            plan.slots[slot] = Slot(max(held, size))
            free.remove(slot)
            return slot
    plan.slots.append(Slot(size))
    return len(plan.slots) - 1
