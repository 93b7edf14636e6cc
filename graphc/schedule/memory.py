"""Where values are kept: in a scalar, in a row of scratch, in a whole buffer; and which buffers share memory.

Live ranges are counted in steps: a lone item is one, and so are all groups of a stage, whose shards run side by side.
Buffers whose ranges do not meet share a slot of the workspace (linear scan, Poletto and Sarkar 1999); so do rows of
one group that are never alive together, since a shard keeps to its own rows.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Mapping, Sequence, Set
from dataclasses import dataclass, replace

from graphc.ir import dims
from graphc.ir.body import Body, bodies
from graphc.ir.dims import Size
from graphc.ir.graph import Graph
from graphc.ir.node import Node
from graphc.ir.op import Kind
from graphc.ir.state import Array
from graphc.schedule import control
from graphc.schedule.access import Access, is_alias, is_check, is_formula, padded
from graphc.schedule.expand import expand, outputs_apart
from graphc.schedule.fuse import fuse
from graphc.schedule.lower import lower
from graphc.schedule.plan import (
    Buffer,
    Combine,
    Commit,
    Control,
    Form,
    Group,
    Item,
    Loop,
    Product,
    Ready,
    Room,
    Schedule,
    Slot,
    Stage,
    Statement,
    memory_of,
)
from graphc.schedule.stages import made_by, reads_of, stages, statements_in
from graphc.schedule.sums import cut_sums

PART = 24  # loop nests in one function; Numba's cost grows faster than linearly beyond
SHARDS = 16  # at most, so that many processors have work

Known = dict[Hashable, Schedule]  # those of bodies


def schedule(
    graph: Graph,
    inputs: Sequence[int],
    n_outputs: int,
    updates: Sequence[str],
    in_order: bool = False,
    watched: Sequence[int] | None = None,
    known: Known | None = None,
) -> Schedule:
    """The program of ``graph``: its outputs are ``n_outputs`` results, then a next value for each of ``updates``.

    With its stages ``in_order`` it keeps less at a time, and less of it may run side by side. Where it is ``watched``
    no state is overwritten before the end. Bodies that are ``known`` are not scheduled again, and others become so.
    """
    roots = [t.id for t in graph.outputs]
    outputs, nexts = tuple(roots[:n_outputs]), dict(zip(updates, roots[n_outputs:], strict=True))
    items, statements = fuse(graph, execution_order(graph))
    aliases = aliases_of(graph)
    held = _bodies(items, watched is not None, {} if known is None else known)
    for item in items:
        if isinstance(item, Control):
            item.cut = control.rows_apart(item)
    plan = Schedule(
        graph, tuple(inputs), outputs, nexts, stages(graph, items, aliases, in_order), statements, aliases=aliases
    )
    plan.held, plan.split = held, sum(map(nests, items)) > PART
    plan.watched = None if watched is None else tuple(watched)
    return _placed(plan)


def _placed(plan: Schedule) -> Schedule:
    plan.scopes = _scopes(plan)
    _leaves(plan)
    for _, items in plan.sections():
        for item in items:
            if isinstance(item, Control):
                item.layout, bytes = control.layout(item)
                if bytes != 0:
                    plan.rooms[item.room] = Room(bytes)
    _keep(plan)
    cut_sums(plan)
    _share(plan)
    return plan


def aliases_of(graph: Graph) -> dict[int, int]:
    """Nodes whose result is the memory of another's, in another shape or under a second name."""
    found = {n.id: n.inputs[0] for n in graph.nodes if is_alias(graph, n)}
    first: dict[tuple[int, int], int] = {}
    for node in graph.nodes:
        if node.op.kind is Kind.RESULT:
            same = first.setdefault((node.inputs[0], node.attrs["index"]), node.id)
            if same != node.id:
                found[node.id] = same
    return found


def body_schedule(body: Body, watched: bool, known: Known) -> Schedule:
    """The program of a body: its inputs are all that it reads, its outputs all that it makes."""
    graph = expand(outputs_apart(lower(body.graph), elementwise=watched))
    inputs = [graph[name].id if name in graph else -1 for name, _ in body.inputs]
    roots = tuple(t.id for t in graph.outputs)
    items, statements = fuse(graph, execution_order(graph))
    aliases = aliases_of(graph)
    held = _bodies(items, watched, known)
    cut = stages(graph, items, aliases)
    tested = () if watched else None
    plan = Schedule(graph, tuple(inputs), roots, {}, cut, statements, aliases=aliases, watched=tested, held=held)
    return _placed(plan)


def _bodies(items: Sequence[Item], watched: bool, known: Known) -> tuple[Array, ...]:
    """Schedules the bodies of loops and branches, equal ones once; all their constants."""
    begins: dict[Hashable, int] = {}
    held: tuple[Array, ...] = ()
    for item in items:
        if isinstance(item, Control):
            for name, body in bodies(item.node):
                key = body, control.packing(item)
                if key not in known:
                    known[key] = body_schedule(body, watched, known)
                if key not in begins:
                    begins[key] = len(held)
                    held += known[key].arrays
                item.bodies[name], item.held[name] = known[key], begins[key]
            control.pack(item)
    return held


def _scopes(plan: Schedule) -> dict[int, int]:
    """id of an item -> the function or section in which its scalars are at hand."""
    out: dict[int, int] = {}
    for k, (_, items) in enumerate(plan.sections()):
        for item in items:
            out[id(item)] = len(out) if plan.split else k
    return out


def _steps(plan: Schedule) -> dict[int, int]:
    """id of an item -> when it runs."""
    out: dict[int, int] = {}
    now = 0
    for stage in plan.stages:
        for item in stage.alone:
            out[id(item)] = now = now + 1
        now += 1
        out |= {id(item): now for group in stage.groups for item in group.items}
    return out


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
    plan.constants = tuple(n.id for n in nodes if n.op.name == "constant" and not is_formula(n))
    number = {name: k for k, name in enumerate(names)}
    for node in nodes:
        if node.op.kind is not Kind.LEAF or is_formula(node):
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
    in_place = _written_in_place(plan) if plan.watched is None else {}
    _commit(plan, in_place)
    sharded = {id(item) for group, items in plan.sections() if group is not None for item in items}
    for statement in _all_statements(plan):
        if statement.form is Form.CALL and (bytes := _scratch_bytes(plan.graph, statement.node)) is not None:
            plan.rooms[statement.node.id] = Room(bytes, id(statement.item) in sharded)
    made = {*plan.statements, *(id for _, items in plan.sections() for item in items for id in made_by(item))}
    whole, shared = _whole(plan), _shared_loops(plan)
    for node in plan.graph.nodes:
        if node.id not in made or node.id in plan.buffers or node.id in plan.aliases or is_check(node):
            continue  # movements and constants are read where they come from
        axes = _axes(plan, node, whole, shared)
        if axes is None:
            continue
        shape = tuple(node.type.shape[a] for a in axes)
        place = _place(plan, node, in_place)
        step: Size = 0
        parts = plan.statements.get(node.id, [])
        if place[0] == "work" and parts and id(parts[0].item) in sharded and _scratch(parts[0], axes):
            step = padded(dims.product(shape), node.type.dtype.itemsize)
        plan.buffers[node.id] = Buffer(place, axes, shape, step)
    for stage in plan.stages:
        for item in stage.alone:
            if isinstance(item, Combine):
                node = item.fold.node
                held = plan.buffers[node.id]
                step = padded(dims.product(held.shape), node.type.dtype.itemsize)
                plan.partials[node.id] = Buffer(("work", -1), held.axes, held.shape, step)


def _commit(plan: Schedule, in_place: Mapping[int, str]) -> None:
    """Next values of state that are not made where the state is are copied at the end."""
    commits = [Commit(i, name) for name, i in plan.updates.items() if in_place.get(i) != name]
    if commits and plan.stages[-1].groups:
        plan.stages.append(Stage())
    plan.stages[-1].alone += commits


def _whole(plan: Schedule) -> set[int]:
    """Values that are stored with all their axes: what leaves, and what is handed on by its address."""
    whole = {*plan.aliases.values(), *plan.outputs, *plan.updates.values()}
    for statement in _all_statements(plan):
        if statement.form is Form.CALL:
            whole |= {access.root for access in statement.operands}
    for _, items in plan.sections():
        for item in items:
            if isinstance(item, Product):
                whole |= {item.node.id, item.left.root, item.right.root}
            elif isinstance(item, Control):
                whole |= {*item.results.values(), *(access.root for access in item.operands)}
    return whole


def _shared_loops(plan: Schedule) -> dict[int, int]:
    """Value -> how many of its loops its most distant reader is in too; -1 where that is in another function."""
    shared: dict[int, int] = {}
    for statement in _all_statements(plan):
        for access in statement.operands:
            producer = next(iter(plan.statements.get(access.root, [])), None)
            if producer is not None:
                together = plan.scopes[id(producer.item)] == plan.scopes[id(statement.item)]
                loops = _common(producer.complete_in, statement.path) if together else -1
                shared[access.root] = min(shared.get(access.root, len(producer.path)), loops)
    for stage in plan.stages:
        shared |= {item.fold.node.id: -1 for item in stage.alone if isinstance(item, Combine)}
    return shared


def _axes(plan: Schedule, node: Node, whole: Set[int], shared: Mapping[int, int]) -> tuple[int, ...] | None:
    """Axes of a value that must be stored; None where a scalar will do."""
    first = next(iter(plan.statements.get(node.id, [])), None)
    if first is None or node.id in whole or first.form in (Form.PLACE, Form.SCATTER, Form.CALL):
        return tuple(range(node.type.ndim))
    made = len(first.complete_in)
    least = min(shared.get(node.id, made), made)
    levels = {ix.level: axis for axis, ix in enumerate(first.target) if ix.level is not None}
    inner = [axis for level, axis in levels.items() if level >= made]  # an accumulator over inner loops
    if least == made and not inner:
        return None
    return tuple(sorted(axis for level, axis in levels.items() if level >= max(least, 0)))


def _place(plan: Schedule, node: Node, in_place: Mapping[int, str]) -> tuple[str, int]:
    if node.id in plan.outputs:
        return "output", plan.outputs.index(node.id)
    if node.id in in_place:
        return "state", plan.state.index(in_place[node.id])
    return "work", -1


def _scratch_bytes(graph: Graph, node: Node) -> Size | None:
    """Memory that a routine works in."""
    asked = node.op.scratch
    count = None if asked is None else asked([graph.nodes[i].type for i in node.inputs], node.attrs)
    return None if count is None else padded(count, 1)


def _scratch(statement: Statement, axes: tuple[int, ...]) -> bool:
    """True for what lives within one step of the outermost loop: each shard needs its own."""
    kept = statement.kept.get(0)
    return kept is not None and kept not in axes


def nests(item: Item) -> int:
    """Innermost loops of an item; a statement outside loops counts little."""
    return max(1, sum(nests(i) for i in item.body)) if isinstance(item, Loop) else 0


def _all_statements(plan: Schedule) -> list[Statement]:
    return [s for parts in plan.statements.values() for s in parts]


def _common(left: Sequence[Loop], right: Sequence[Loop]) -> int:
    depth = 0
    while depth < min(len(left), len(right)) and left[depth] is right[depth]:
        depth += 1
    return depth


def _written_in_place(plan: Schedule) -> dict[int, str]:
    """Next values that may overwrite their state as they are made: node -> state.

    Nothing reads the old value later or elsewhere, and every range test is over: what fails must change no state.
    """
    steps = _steps(plan)
    tested = 0  # the step of the last range test
    leaves = {n.name: n.id for n in plan.graph.nodes if n.op.kind is Kind.LEAF}
    of_state = {leaves[name] for name in plan.updates if name in leaves}
    products: dict[int, int] = {}  # state -> the last step in which a product reads it
    reads: dict[int, list[tuple[Statement, Access]]] = defaultdict(list)
    for _, items in plan.sections():
        for item in items:
            if isinstance(item, (Product, Control)):
                products |= {a.root: steps[id(item)] for a in reads_of(item)}
            if isinstance(item, Control):  # tests inside it may fail
                tested = max(tested, steps[id(item)])
            for statement in statements_in(item):
                if statement.form is Form.CHECK:
                    tested = max(tested, steps[id(item)])
                for access in statement.operands:
                    if access.root in of_state:
                        reads[access.root].append((statement, access))

    def may_write(root: int, name: str) -> bool:
        parts = plan.statements.get(root, [])
        shared = root in plan.outputs or list(plan.updates.values()).count(root) != 1
        if shared or len(parts) != 1 or parts[0].form is not Form.MAP:
            return False
        (writer,) = parts
        here = steps[id(writer.item)]
        leaf = leaves.get(name)
        if here <= tested or leaf in plan.inputs or leaf in plan.aliases.values():
            return False
        if leaf is None:
            return True
        body: Sequence[object] = writer.path[-1].body if writer.path else []

        def over(reader: Statement, access: Access) -> bool:
            """True where the old element has been read when the new one is stored."""
            if steps[id(reader.item)] < here or (reader is writer and access.index == writer.target):
                return True
            together = reader.path == writer.path and access.index == writer.target
            return bool(body) and together and body.index(reader) < body.index(writer)

        return products.get(leaf, -1) < here and all(over(*read) for read in reads[leaf])

    return {root: name for name, root in plan.updates.items() if may_write(root, name)}


@dataclass(slots=True)
class _Life:
    """When a piece of the workspace is in use: steps, and items of the only group that uses it, where there is one."""

    first: int
    last: int
    start: int
    end: int
    group: Group | None

    def reach(self, step: int, group: Group | None, place: int) -> None:
        self.first, self.last = min(self.first, step), max(self.last, step)
        self.start, self.end = min(self.start, place), max(self.end, place)
        if self.group is not group:
            self.group = None


def _lives(plan: Schedule, steps: Mapping[int, int]) -> dict[int, _Life]:
    """Of buffers, by the number of their node; of partials, by it with the sign changed; of rooms, with count added."""
    count = len(plan.graph.nodes)
    lives: dict[int, _Life] = {}

    def touch(key: int, step: int, group: Group | None, place: int) -> None:
        lives.setdefault(key, _Life(step, step, place, place, group)).reach(step, group, place)

    for group, items in plan.sections():
        for place, item in enumerate(items):
            made = made_by(item)
            together = None if isinstance(item, Control) else group  # a loop goes over its rows again and again
            if isinstance(item, Commit):
                made.append(item.root)
            elif isinstance(item, Combine):
                touch(~item.fold.node.id, steps[id(item)], None, 0)
            for root in (*made, *(a.root for a in reads_of(item))):
                root = memory_of(plan.aliases, root)
                if root in plan.buffers and plan.buffers[root].place[0] == "work":
                    touch(root, steps[id(item)], together, place)
                if group is not None and root in plan.partials and root in made:
                    touch(~root, steps[id(item)], None, 0)
            for node in made if not isinstance(item, Ready) else [item.loop.room]:
                if node in plan.rooms and not isinstance(item, (Combine, Commit)):
                    touch(count + node, steps[id(item)], together, place)
    return lives


def _share(plan: Schedule) -> None:
    """Packs the workspace: pieces that are never in use together share a slot of equal, or larger known, size."""
    steps = _steps(plan)
    lives = _lives(plan, steps)
    starting: Mapping[int, list[int]] = defaultdict(list)
    ending: Mapping[int, list[int]] = defaultdict(list)
    for key, life in lives.items():
        starting[life.first].append(key)
        ending[life.last].append(key)
    free: list[int] = []
    slot_of: dict[int, int] = {}
    for step in range(max(steps.values(), default=0) + 1):
        within: dict[tuple[int, Size], list[tuple[int, int]]] = defaultdict(list)  # slots of rows, and when they end
        for key in sorted(starting[step], key=lambda k: (lives[k].start, k)):
            life, bytes = lives[key], _bytes(plan, key)
            if life.group is not None and life.last == step and _of_each_shard(plan, key, life.group):
                ended = within[id(life.group), bytes]
                reused = next((k for k, (end, _) in enumerate(ended) if end < life.start), None)
                slot_of[key] = ended.pop(reused)[1] if reused is not None else _take(plan, free, bytes)
                ended.append((life.end, slot_of[key]))
            else:
                slot_of[key] = _take(plan, free, bytes)
        free += sorted({slot_of[key] for key in ending[step]})
    for key, slot in slot_of.items():
        _settle(plan, key, slot)


def _settle(plan: Schedule, key: int, slot: int) -> None:
    count = len(plan.graph.nodes)
    if key >= count:
        plan.rooms[key - count] = replace(plan.rooms[key - count], slot=slot)
        return
    table, node = (plan.buffers, key) if key >= 0 else (plan.partials, ~key)
    table[node] = replace(table[node], place=("work", slot))


def _of_each_shard(plan: Schedule, key: int, group: Group) -> bool:
    """True for a room, and for a buffer whose first axis the group cuts: a shard has rows of its own in it."""
    if key >= len(plan.graph.nodes):
        return True
    parts = plan.statements.get(key)
    first = parts is None or parts[0].kept.get(0) == 0
    return first and plan.buffers[key].step == 0 and plan.buffers[key].shape[:1] == (group.size,)


def _bytes(plan: Schedule, key: int) -> Size:
    if key >= len(plan.graph.nodes):
        room = plan.rooms[key - len(plan.graph.nodes)]
        return dims.multiply(room.bytes, SHARDS if room.each else 1)
    node, buffer = (key, plan.buffers[key]) if key >= 0 else (~key, plan.partials[~key])
    itemsize = plan.graph.nodes[node].type.dtype.itemsize
    if buffer.step != 0:
        return dims.multiply(dims.multiply(buffer.step, itemsize), SHARDS)
    return dims.multiply(padded(dims.product(buffer.shape), itemsize), itemsize)


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
