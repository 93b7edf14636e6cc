"""The records of a schedule: statements in a tree of loops, matrix products between them, and where values are kept."""

from __future__ import annotations

import enum
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from graphc.cached import cached
from graphc.ir.dims import Size
from graphc.ir.graph import Graph
from graphc.ir.node import Node
from graphc.ir.state import Array
from graphc.schedule.access import Access, Index
from graphc.schedule.nested import Nest


class Form(enum.Enum):
    """What a statement does with the value that it computes at each point of its loops."""

    MAP = "map"  # it is the result's element
    REDUCE = "reduce"  # folds it into the result's element
    PLACE = "place"  # stores it into a region of the result (one statement for each operand)
    SCATTER = "scatter"  # adds it to the result at an index that is data
    CHECK = "check"  # tests that it lies in range
    CALL = "call"  # a function makes a whole row or matrix of the result


@dataclass(eq=False, slots=True)
class Statement:
    """One node's work inside its loops.

    sizes    the loops it stands in, outermost first
    operands where each operand's element lies
    target   the index of the result's element, for each axis of the result
    path     the loops themselves, once it is placed
    """

    node: Node
    form: Form
    sizes: tuple[Size, ...]
    operands: tuple[Access, ...]
    target: tuple[Index, ...]
    path: list[Loop] = field(default_factory=list)

    @property
    def item(self) -> Item:
        """The outermost loop that it stands in, or itself."""
        return self.path[0] if self.path else self

    @property
    def kept(self) -> dict[int, int]:
        """Level -> axis of the result, where the loop's counter is the index itself."""
        return {ix.level: axis for axis, ix in enumerate(self.target) if ix.plain and ix.level is not None}

    @property
    def open_depth(self) -> int:
        """How many outer loops may hold both this statement and a reader of its result."""
        if self.form in (Form.PLACE, Form.SCATTER, Form.CHECK, Form.CALL):
            return 0
        kept = self.kept
        depth = 0
        while depth < len(self.sizes) and depth in kept:
            depth += 1
        return depth

    @property
    def start_depth(self) -> int:
        """How many outer loops its result starts inside: a placement fills there what it leaves out of a whole axis."""
        if self.form is not Form.PLACE or self.node.attrs.get("fill") is None:
            return self.open_depth
        kept, shape = self.kept, self.node.type.shape
        depth = 0
        while depth < len(self.sizes) and depth in kept and shape[kept[depth]] == self.sizes[depth]:
            depth += 1
        return depth

    @property
    def accumulated(self) -> list[int]:
        """Axes of a reduction's result that are kept in loops inside the first that it combines over."""
        return [axis for axis, ix in enumerate(self.target) if ix.level is not None and ix.level >= self.open_depth]

    @property
    def row(self) -> list[int]:
        """Those of them that one step of that loop adds to: not an axis that is kept or not, as its size turns out."""
        return [axis for axis in self.accumulated if self.target[axis].plain]

    @property
    def complete_in(self) -> list[Loop]:
        """The loops inside which its value is complete."""
        return self.path if self.form is Form.MAP else self.path[: self.open_depth]


@dataclass(eq=False, slots=True)
class Loop:
    """``for i in range(size)`` over loops and statements, in order."""

    size: Size
    body: list[Loop | Statement] = field(default_factory=list)
    folds: list[Statement] = field(default_factory=list)  # reductions that start before this loop and end with it


@dataclass(eq=False, slots=True)
class Product:
    """A whole (batched) matrix product. Indices run over (batch ..., row, column), inner index last of all.

    With a ``fold`` its result is the sum over the batch, which that statement stands for. Where the inner size and the
    columns of the right operand are each several axes of a tensor, as those of windows are, ``nest`` has the sizes of
    both, and its levels from `nested.NEST` on are theirs. ``packed`` is the number of what the loop around has packed,
    where that is the right operand.
    """

    node: Node
    left: Access
    right: Access
    batch: tuple[Size, ...]
    rows: Size
    columns: Size
    inner: Size
    fold: Statement | None = None
    nest: Nest | None = None
    packed: int | None = None


@dataclass(frozen=True, slots=True)
class Packed:
    """The right operand of products, the same in all steps of a loop, which is packed before the loop.

    slot    operand of the loop that it is, or lies in
    access  where, in the body
    """

    slot: int
    access: Access
    transposed: bool
    leading: Size
    inner: int
    columns: int


@dataclass(eq=False, slots=True)
class Combine:
    """The partial results of a reduction, one for each shard of a group, become its result."""

    fold: Statement
    group: Group


@dataclass(eq=False, slots=True)
class Commit:
    """A next value is copied into its state, after everything has been read."""

    root: int
    state: str


@dataclass(eq=False, slots=True)
class Control:
    """A loop or a branch that runs bodies: what it is given, and each of its ``results``, lies whole in memory.

    results  number of a result -> node that it is; those that nothing reads are left out
    bodies   the programs of its bodies, by the names of its attributes
    held     where their constants begin, among those of all bodies
    packed   what its steps multiply with, packed beforehand
    cut      of a loop, what is all of its body where rows of its carries depend on the same rows of those before: then
             shards make all its steps, each with rows of its own
    layout   where its own memory has what: carries that take turns, rows that nobody reads, the bodies' workspace
    """

    node: Node
    operands: tuple[Access, ...]
    results: dict[int, int]
    bodies: dict[str, Schedule] = field(default_factory=dict)
    held: dict[str, int] = field(default_factory=dict)
    packed: list[Packed] = field(default_factory=list)
    cut: Group | None = None
    layout: dict[tuple[str, int], Size] = field(default_factory=dict)

    @property
    def room(self) -> int:
        """The node beside whose buffer its own memory stands."""
        return min(self.results.values())


@dataclass(eq=False, slots=True)
class Ready:
    """What a loop multiplies with is packed, before its shards begin."""

    loop: Control


Item = Loop | Statement | Product | Combine | Commit | Control | Ready


@dataclass(eq=False, slots=True)
class Group:
    """Items that are cut along one size, into at most ``most`` shards."""

    size: Size
    items: list[Item] = field(default_factory=list)
    cost: Size = 0
    most: Size = 1


@dataclass(eq=False, slots=True)
class Stage:
    """Items that run alone, in order, then groups whose shards run side by side."""

    alone: list[Item] = field(default_factory=list)
    groups: list[Group] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Slot:
    """Bytes in the workspace, shared by buffers that are never alive together."""

    bytes: Size


@dataclass(frozen=True, slots=True)
class Buffer:
    """Where a node's result is kept: C-ordered ``shape``; axes that its loops make unnecessary are left out (None).

    ``place`` is ("input" | "output" | "state" | "work", number).
    """

    place: tuple[str, int]
    axes: tuple[int, ...]  # axes of the node's result that the buffer has
    shape: tuple[Size, ...]  # their sizes
    step: Size = 0  # elements from one shard's part to the next, where each shard has its own


@dataclass(eq=False, slots=True)
class Block:
    """A loop goes in blocks. After at least so many steps since the last time, each of its sums is carried on."""

    sums: list[tuple[Statement, int]] = field(default_factory=list)

    @property
    def rows(self) -> int:
        """Steps of the loop in a block."""
        return min(every for _, every in self.sums)


@dataclass(frozen=True, slots=True)
class Room:
    """Workspace beside a buffer, for what its sums are carried on in; ``each`` where every shard needs some."""

    bytes: Size
    each: bool = False
    slot: int = -1


@dataclass
class Schedule:
    """A graph's program: items in order, a buffer for each node that needs one, the sizes of the workspace's slots."""

    graph: Graph
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    updates: dict[str, int]  # state name -> node of its next value
    stages: list[Stage]
    statements: dict[int, list[Statement]]
    split: bool = False  # whether items are functions of their own
    scopes: dict[int, int] = field(default_factory=dict)  # id of an item -> where its scalars are at hand
    buffers: dict[int, Buffer] = field(default_factory=dict)
    partials: dict[int, Buffer] = field(default_factory=dict)  # of reductions over a group's size
    blocks: dict[int, Block] = field(default_factory=dict)  # id of a loop -> how its sums are cut
    meeting: dict[int, list[Statement]] = field(default_factory=dict)  # id of a loop -> scatters, a row for each step
    rooms: dict[int, Room] = field(default_factory=dict)  # of sums in memory
    aliases: dict[int, int] = field(default_factory=dict)  # node -> node whose memory it is
    slots: list[Slot] = field(default_factory=list)
    state: tuple[str, ...] = ()
    constants: tuple[int, ...] = ()
    watched: tuple[int, ...] | None = None  # leaves whose values a debug kernel tests too; None for any other kernel

    held: tuple[Array, ...] = ()  # constants of bodies, behind its own

    @property
    def arrays(self) -> tuple[Array, ...]:
        """All constants, in the order of their places behind the state."""
        own = (self.graph.nodes[i].value for i in self.constants)
        return (*(value for value in own if value is not None), *self.held)

    @cached
    def carried(self) -> set[int]:
        """Nodes that are sums in blocks."""
        return {fold.node.id for block in self.blocks.values() for fold, _ in block.sums}

    @cached
    def counted(self) -> set[int]:
        """Those of them that go on in several loops, the steps of which are counted."""
        cut = [(loop, fold) for loop, block in self.blocks.items() for fold, _ in block.sums]
        return {fold.node.id for loop, fold in cut if id(fold.path[fold.open_depth]) != loop}

    def items(self) -> Iterator[Item]:
        """All items, those of bodies too."""
        for _, items in self.sections():
            for item in items:
                yield item
                for body in item.bodies.values() if isinstance(item, Control) else ():
                    yield from body.items()

    def sections(self) -> Iterator[tuple[Group | None, list[Item]]]:
        """Runs of items that one thread works through: a stage's lone items, then each of its groups."""
        for stage in self.stages:
            yield None, stage.alone
            for group in stage.groups:
                yield group, group.items


def memory_of(aliases: Mapping[int, int], node: int) -> int:
    """The node whose memory a node's result is, in this shape or another."""
    while node in aliases:
        node = aliases[node]
    return node


def describe(plan: Schedule) -> str:
    """The schedule as text."""
    lines: list[str] = []

    def show(item: Item, depth: int) -> None:
        pad = "  " * depth
        if isinstance(item, Loop):
            folds = "".join(f"  folding %{s.node.id}" for s in item.folds)
            lines.append(f"{pad}for {item.size}:{folds}")
            for inner in item.body:
                show(inner, depth + 1)
            return
        if isinstance(item, Control):
            made = ", ".join(f"%{id}" for id in item.results.values())
            lines.append(f"{pad}%{item.node.id} {item.node.op.name} -> {made}")
            for name, body in item.bodies.items():
                lines.append(f"{pad}  {name}:")
                lines.extend(f"{pad}    {line}" for line in describe(body).splitlines())
            return
        if isinstance(item, Combine):
            lines.append(f"{pad}%{item.fold.node.id} {item.fold.node.op.name} (of all shards)")
            return
        if isinstance(item, Ready):
            lines.append(f"{pad}%{item.loop.node.id} {item.loop.node.op.name} (packed operands)")
            return
        if isinstance(item, Commit):
            lines.append(f"{pad}state {item.state} := %{item.root}")
            return
        node = item.node
        kept = plan.buffers.get(node.id)
        where = "" if kept is None else f" -> {kept.place[0]} {kept.place[1]} [{', '.join(map(str, kept.shape))}]"
        form = "product" if isinstance(item, Product) else item.form.value
        lines.append(f"{pad}%{node.id} {node.op.name} ({form}){where}")

    for k, stage in enumerate(plan.stages):
        for item in stage.alone:
            show(item, 0)
        for group in stage.groups:
            lines.append(f"stage {k}, shards of {group.size}:")
            for item in group.items:
                show(item, 1)
    for k, slot in enumerate(plan.slots):
        lines.append(f"work {k}: {slot.bytes} bytes")
    return "\n".join(lines)
