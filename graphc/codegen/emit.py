"""From a schedule to the Python source of a kernel.

The text is canonical: it holds no name, path or line of the user's, so graphs that differ in names only share one
kernel. `annotate` renders it for people, with a comment for each node.

A small program is one function. In a large one items are functions of their own, compiled and kept apart and called by
a symbol that their text gives. They take the places that they work on from a table, so items that do the same (twenty
equal layers) are compiled once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from graphc.codegen import (
    abi,
    blas,
    blocked,
    buffer,
    clock,
    large,
    matrices,
    own,
    rng,
    routines,
    rows,
    sorting,
    stop,
    sums,
    team,
    tiles,
    vecmath,
)
from graphc.codegen.abi import part_symbol
from graphc.codegen.control import definitions
from graphc.codegen.line import Line, names_of
from graphc.codegen.nest import Nest, code_of, shard_count
from graphc.config import settings
from graphc.ir import dims
from graphc.ir.dims import Size
from graphc.ir.graph import Graph
from graphc.ir.node import Node
from graphc.ir.op import Kind
from graphc.ir.state import Array
from graphc.schedule.memory import PART, nests
from graphc.schedule.plan import Control, Group, Item, Product, Schedule, Stage
from graphc.schedule.stages import cost
from graphc.schedule.sums import is_long, room

TABLES = {"input": "inputs", "output": "outputs", "state": "state"}
PRIMITIVES = (
    abi,
    blas,
    buffer,
    clock,
    matrices,
    blocked,
    large,
    rng,
    routines,
    rows,
    sorting,
    stop,
    sums,
    team,
    tiles,
    vecmath,
    own,
)  # what kernels call; what several of them hold is taken from the first
NEST = f"def nest({', '.join(abi.PART)}):"


@dataclass(slots=True)
class Text:
    """A kernel's lines, what it needs, and what its status numbers mean."""

    lines: list[Line]  # of the kernel
    nests: list[list[Line]]  # the functions that it calls
    symbols: tuple[str, ...]
    work_bytes: Size
    scratch_bytes: int  # more of it for each thread beyond the first
    cost: Size  # of all that can run side by side
    alone: Size  # the cost of all that cannot
    failures: list[Node] = field(default_factory=list)  # status k > 0 is the test of failures[k - 1]
    rows: Array | None = None  # places of each call of an item's function; a constant behind all others
    timed: list[list[int]] = field(default_factory=list)  # the items, by number, behind each time that is taken

    @property
    def source(self) -> str:
        return _joined(self.lines)

    @property
    def parts(self) -> tuple[str, ...]:
        return tuple(map(_joined, self.nests))


def emit(
    plan: Schedule, symbols: Sequence[str], serial: bool = False, timed: bool = False, stops: bool | None = None
) -> Text:
    """The source of the kernel of ``plan``; ``symbols`` are the sizes in its dims table.

    A serial kernel runs the same shards in order, on the thread that calls it and no other. A ``timed`` one is serial,
    and adds up how long its parts take in a table whose address stands behind those of the outputs. Whether loops look
    for Ctrl-C, ``stops`` says; where it does not, those of all but serial kernels do, and of timed ones.
    """
    stops = (not serial or timed) if stops is None else stops
    writer = _Writer(plan, {name: f"n{k}" for k, name in enumerate(symbols)}, serial or timed, timed, stops)
    kernel = writer.kernel()
    nests = [_module(function) for _, function in writer.functions.values()]
    outside = [Line(f'nest{k} = part("{part_symbol(_joined(lines))}")') for k, lines in enumerate(nests)]
    spent = dims.total(group.cost for stage in plan.stages for group in stage.groups)
    alone = dims.total(cost(plan.graph, item) for stage in plan.stages for item in stage.alone)
    work = writer.offsets[-1] + writer.scratch
    rows = writer.numbers()
    lines = _module(kernel, outside)
    return Text(lines, nests, tuple(symbols), work, writer.scratch, spent, alone, writer.failures, rows, writer.timed)


def _multiplies(plan: Schedule) -> bool:
    """Whether a routine multiplies matrices."""
    routines = (node for node in plan.graph.nodes if node.op.kind is Kind.ROUTINE)
    bodies = (body for item in plan.items() if isinstance(item, Control) for body in item.bodies.values())
    return any(code_of(plan.graph, node) in tiles.ROUTINES for node in routines) or any(map(_multiplies, bodies))


def workspace(plan: Schedule) -> tuple[Size, int]:
    """Bytes of the workspace of ``plan`` for one thread, and for each more."""
    writer = _Writer(plan, {}, False)
    return writer.offsets[-1] + writer.scratch, writer.scratch


def _joined(lines: Iterable[Line]) -> str:
    return "\n".join(line.text for line in lines) + "\n"


def _module(function: list[Line], outside: Sequence[Line] = ()) -> list[Line]:
    """A function with what it takes from elsewhere before it."""
    head = [Line(text) for text in _imports([*outside, *function])]
    return [*head, *([Line("")] if outside else []), *outside, Line(""), Line(""), *function]


def _imports(lines: Iterable[Line]) -> list[str]:
    """What the source takes from modules of this package."""
    used = names_of(lines)
    out = []
    for module in PRIMITIVES:
        names = sorted(n for n in used if hasattr(module, n))
        used -= set(names)
        if names:
            out.append(f"from {module.__name__} import {', '.join(names)}")
    return out


class _Writer:
    def __init__(
        self, plan: Schedule, symbols: dict[str, str], serial: bool, timed: bool = False, stops: bool = False
    ) -> None:
        self.plan, self.symbols, self.serial, self.stops = plan, symbols, serial, stops
        numbers = {id(item): k for k, item in enumerate(i for _, items in plan.sections() for i in items)}
        self.clock = numbers if timed else {}
        self.timed: list[list[int]] = [] if plan.split else [[k] for k in self.clock.values()]
        self.failures: list[Node] = []
        self.functions: dict[str, tuple[int, list[Line]]] = {}  # canonical text -> number and lines
        self.calls: list[tuple[int, int]] = []  # a function, and where its places begin among the rows
        self.rows: list[int] = []
        counts = {"input": len(plan.inputs), "output": len(plan.outputs), "state": len(plan.state)}
        counts["state"] += len(plan.constants) + len(plan.held) + plan.split  # the rows are a constant too
        self.first, at = dict[str, int](), 0  # where each kind of place begins in the table of places
        for kind, count in counts.items():
            self.first[kind], at = at, at + count
        self.first["work"] = at
        self.places = team.header_bytes(len(plan.stages))
        self.classes = list(dict.fromkeys(slot.bytes for slot in plan.slots))
        self.table = at + len(plan.slots) + 1 + len(self.classes)  # where the addresses of functions begin
        most = 8 * (self.table + sum(len(items) for _, items in plan.sections())) if plan.split else 0
        self.offsets: list[Size] = [self.places + -(-most // 64) * 64]
        for slot in plan.slots:
            self.offsets.append(self.offsets[-1] + slot.bytes)
        products = [item for item in plan.items() if isinstance(item, Product)]
        own = _multiplies(plan) or (products and settings().blas == "tiles")
        self.scratch = tiles.SCRATCH if own else 0  # bytes that each thread needs
        self.scratch += max((room(p) for p in products if is_long(p)), default=0)

    def kernel(self) -> list[Line]:
        """Stage by stage: one thread runs the lone items, then shards go to whoever claims them."""
        plan, nest = self.plan, Nest(self.plan, self.symbols, self.failures, stops=self.stops)
        stages = [*plan.stages, Stage()]
        sharing = [k for k, stage in enumerate(stages) if stage.groups]
        if plan.split:
            every = [(item, group) for group, items in plan.sections() for item in items]
            self.own = {id(item): self.function([item], group) for item, group in every}
            self.repeats = Counter(function[0] for function in self.own.values())
        if self.serial or not sharing:
            self.locate(nest, 1)
            if self.clock:
                nest.line(1, f"begin(work, {len(plan.stages)})")
                nest.line(1, "start_clock(times)")
                nest.clock = {} if plan.split else self.clock
            for stage in stages:
                self.section(nest, stage.alone, None, 1)
                for group in stage.groups:
                    nest.line(1, f"count = {shard_count(nest, group)}")
                    nest.line(1, "for shard in range(count):")
                    self.shard(nest, group, 2)
            nest.line(1, "return 0")
            return self.whole(nest)
        nest.line(1, "if leads(call):")
        nest.line(2, f"begin(work, {len(plan.stages)})")
        self.locate(nest, 2)
        self.section(nest, stages[0].alone, None, 2)
        nest.line(2, "advance(work, 1)")
        for k in sharing:
            self.stage(nest, k, stages, k == sharing[0])
            self.section(nest, stages[k + 1].alone, None, 3)
            nest.line(3, f"advance(work, {k + 2})")
            nest.line(2, f"turn = claim(work, {k})")
        nest.line(1, f"return {self.opened(stages, sharing[-1] + 1)}")
        return self.whole(nest)

    def opened(self, stages: list[Stage], k: int) -> str:
        """Waits until a stage is open. Where others may be in a loop meanwhile, Ctrl-C ends the wait and the loop."""
        before = [item for group in stages[k - 1].groups for item in group.items] if k else []
        loops = self.stops and any(isinstance(item, Control) for item in [*before, *stages[k].alone])
        return f"opened{'_or_stopped' if loops else ''}(work, {k + 1})"

    def stage(self, nest: Nest, k: int, stages: list[Stage], first: bool) -> None:
        """The loop over a stage's shards, up to what the thread does that finishes the last of them."""
        groups = stages[k].groups
        nest.line(1, f"status = {self.opened(stages, k)}")
        nest.line(1, "if status != 0:")
        nest.line(2, "return status")
        if self.plan.split and first:
            end = self.first["work"] + len(self.plan.slots)
            nest.line(1, f"scratch = word(places, {end}) + {self.scratch}*ticket(work, call)")
        ends = [f"end{j}" for j in range(len(groups))]
        for j, group in enumerate(groups):
            before = f"{ends[j - 1]} + " if j else ""
            nest.line(1, f"{ends[j]} = {before}{shard_count(nest, group)}")
        nest.line(1, f"turn = claim(work, {k})")
        nest.line(1, f"while turn < {ends[-1]}:")
        for j, group in enumerate(groups):
            begin = ends[j - 1] if j else "0"
            margin = 2
            if len(groups) > 1:
                nest.line(2, f"{'elif' if j else 'if'} turn < {ends[j]}:")
                margin = 3
            nest.line(margin, f"shard, count = turn - {begin}, {ends[j]} - {begin}")
            self.shard(nest, group, margin)
        nest.line(2, f"if finish(work, {k}) == {ends[-1]}:")

    def shard(self, nest: Nest, group: Group, margin: int) -> None:
        """One shard of a group, by its number and their count."""
        size = nest.factor(group.size)
        nest.line(margin, f"lo, hi = {size}*shard//count, {size}*(shard + 1)//count")
        self.section(nest, group.items, group, margin)

    def section(self, nest: Nest, items: list[Item], group: Group | None, margin: int) -> None:
        """Items in order: their code, or calls of their functions."""
        if not self.plan.split:
            nest.write(items, group, margin - 1)
            return
        first = len(self.calls)
        for run in self.runs(items):
            text, lines, rows = self.own[id(run[0])] if len(run) == 1 else self.function(run, group)
            number, known = self.functions.setdefault(text, (len(self.functions), lines))
            for line, other in zip(known, lines, strict=True) if known is not lines else ():
                line.nodes += other.nodes
            self.calls.append((number, len(self.rows)))
            self.rows += rows
            if self.clock:
                self.timed.append([self.clock[id(item)] for item in run])
        if not items:
            return
        place = f"{len(self.plan.slots)} + 2*c"
        where = "lo, hi, shard" if group is not None else "0, 0, 0"
        given = f"places, rows + word(rows, {place} + 1), dims, work, scratch, {where}"
        nest.line(margin, f"for c in range({first}, {len(self.calls)}):")
        nest.line(margin + 1, f"status = call_part(word(places, {self.table} + word(rows, {place})), {given})")
        nest.line(margin + 1, "if status != 0:")
        nest.line(margin + 2, "return status")
        if self.clock:
            nest.line(margin + 1, "tick(times, c)")

    def runs(self, items: list[Item]) -> Iterator[list[Item]]:
        """Items that share a function: alone where others do the same, else with unlike neighbours."""
        run: list[Item] = []
        for item in items:
            repeated = self.repeats[self.own[id(item)][0]] > 1
            if run and (repeated or sum(map(nests, run)) + nests(item) > PART):
                yield run
                run = []
            run.append(item)
            if repeated:
                yield run
                run = []
        if run:
            yield run

    def function(self, items: list[Item], group: Group | None) -> tuple[str, list[Line], list[int]]:
        """The function of some items: its canonical text, its lines without the name, and the places it works on."""
        nest = Nest(self.plan, self.symbols, self.failures, stops=self.stops, apart=True)
        nest.write(items, group, 0)
        nest.line(1, "return 0")
        slots = {place: k for k, place in enumerate(nest.places)}
        head = [f"    {nest.address(place)} = word(places, word(rows, {k}))" for place, k in slots.items()]
        head += [f"    {name} = word(rows, {k})" for k, name in enumerate(nest.rows_read, len(slots))]
        lines = [*definitions(nest), Line(NEST), *nest.whole(head)]
        rows = [*(self.first[kind] + k for kind, k in slots), *nest.rows_read.values()]
        return "\n".join(line.text for line in lines), lines, rows

    def whole(self, nest: Nest) -> list[Line]:
        """The kernel: what it is called with, declarations, body."""
        if self.plan.split:
            at, margin = self.bound
            noted = [f"set_word(places, {self.table + k}, part_address(nest{k}))" for k in range(len(self.functions))]
            nest.body[at:at] = [Line("    " * margin + text) for text in noted]
        head = []
        for kind, k in nest.places:
            where = f"word({TABLES[kind]}, {k})" if kind != "work" else f"work + {nest.size(self.offsets[k])}"
            head.append(f"    {nest.address((kind, k))} = {where}")
        if self.plan.split:
            head += [
                f"    places = work + {self.places}",
                f"    rows = word(state, {self.first['work'] - self.first['state'] - 1})",
            ]
        shared = not self.serial and any(stage.groups for stage in self.plan.stages)
        if self.clock:
            head.append(f"    times = word(outputs, {len(self.plan.outputs)})")
        takes = self.scratch or any(isinstance(item, (Product, Control)) for item in self.plan.items())
        if takes and not self.plan.split:
            ticket = f" + {self.scratch}*ticket(work, call)" if shared else ""
            where = f"work + {nest.size(self.offsets[-1])}{ticket}" if self.scratch else "0"
            head.append(f"    scratch = {where}")
        lines = nest.whole(head)
        if shared:
            lines.insert(0, Line("    call, work = work, unmarked(work)"))
        return [*definitions(nest), Line("def kernel(inputs, outputs, dims, state, work):"), *lines]

    def locate(self, nest: Nest, margin: int) -> None:
        """Fills the table of places."""
        if not self.plan.split:
            return
        ends = {"input": "output", "output": "state", "state": "work"}
        for kind, table in TABLES.items():
            count = self.first[ends[kind]] - self.first[kind]
            nest.line(margin, f"copy_bytes(places + {8 * self.first[kind]}, {table}, {8 * count})")
        first, count = self.first["work"], len(self.plan.slots)
        for k, size in enumerate(self.classes):
            nest.line(margin, f"set_word(places, {first + count + 1 + k}, {nest.size(size)})")
        nest.line(margin, f"at = work + {nest.size(self.offsets[0])}")
        nest.line(margin, f"for k in range({count}):")
        nest.line(margin + 1, f"set_word(places, {first} + k, at)")
        nest.line(margin + 1, f"at = at + word(places, {first + count + 1} + word(rows, k))")
        nest.line(margin, f"set_word(places, {first + count}, at)")
        nest.line(margin, "scratch = at")
        self.bound = len(nest.body), margin  # where the addresses of functions are noted, once they are known

    def numbers(self) -> Array | None:
        """The constant behind the others: classes of slots, calls, and the places of each call."""
        if not self.plan.split:
            return None
        begin = len(self.plan.slots) + 2 * len(self.calls)
        called = [n for function, row in self.calls for n in (function, 8 * (begin + row))]
        return np.array([*(self.classes.index(s.bytes) for s in self.plan.slots), *called, *self.rows], np.int64)


MOST_NOTES = 4  # on one line: a function may serve many nodes


def annotate(text: Text, graph: Graph) -> str:
    """The source for people: behind a line, each node that it computes, with the user's line."""

    def note(node: Node) -> str:
        return f"{titled(node)}  {clean(str(node.origin))}"

    lines = [line for part in (*text.nests, text.lines) for line in part]
    return "\n".join(annotated(lines, graph, note)) + "\n"


def annotated(lines: Iterable[Line], graph: Graph, note: Callable[[Node], str]) -> Iterator[str]:
    """Lines with what there is to say of the nodes that they compute."""
    for line in lines:
        notes = [note(graph.nodes[id]) for id in list(dict.fromkeys(line.nodes))[:MOST_NOTES]]
        yield f"{line.text}  # {'; '.join(notes)}" if notes else line.text


def titled(node: Node) -> str:
    """A node's number and name, and which one it is the gradient of."""
    of = f", gradient of {clean(node.forward)}" if node.forward else ""
    return f"%{node.id} {clean(node.name)}{of}"


def clean(text: str) -> str:
    """User text inside a comment: one line, nothing that ends it."""
    return "".join(c if c.isprintable() else "?" for c in text)[:80]
