"""What became of each node: the passes and rules that touched it, and the part of the kernel that computes it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from weakref import WeakKeyDictionary

from graphc.codegen.kernel import Kernel
from graphc.ir.graph import Graph
from graphc.ir.op import Kind
from graphc.rewrite.record import Step
from graphc.run.executable import Executable
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
    Schedule,
    Statement,
    memory_of,
)
from graphc.schedule.stages import made_by, statements_in


@dataclass(frozen=True, slots=True)
class Part:
    """One item of the schedule; ``group`` is what it is cut along into shards, ``stage`` counts from 0."""

    number: int
    stage: int
    item: Item
    group: Group | None

    @property
    def title(self) -> str:
        """What it is, in a few words."""
        match self.item:
            case Loop():
                sizes = " x ".join(map(str, _nested_sizes(self.item)))
                return f"loop over {sizes}"
            case Product(rows=rows, inner=inner, columns=columns, batch=batch):
                sizes = " x ".join(map(str, (rows, inner, columns)))
                return f"product of {sizes}" + (f", {' x '.join(map(str, batch))} times" if batch else "")
            case Ready(loop=Control(node=node)):
                return f"packing for {node.op.name}"
            case Combine():
                return "sum of the shards' parts"
            case Commit(state=state):
                return f"store of {state}"
            case Statement(form=Form.CALL, node=node):
                return f"call of {node.op.name}"
            case Control(node=node):
                steps = node.attrs.get("length")
                return node.op.name if steps is None else f"{node.op.name} of {steps} steps"
        return "numbers"


def _nested_sizes(loop: Loop) -> Iterator[object]:
    """The sizes of a loop and of the largest nest inside."""
    yield loop.size
    inner = [part for part in loop.body if isinstance(part, Loop)]
    if inner:
        yield from _nested_sizes(max(inner, key=lambda part: sum(1 for _ in statements_in(part))))


def trace(exe: Executable) -> Trace:
    """The trace of an executable, made when first asked for."""
    if exe not in TRACES:
        TRACES[exe] = Trace(exe)
    return TRACES[exe]


TRACES: WeakKeyDictionary[Executable, Trace] = WeakKeyDictionary()


class Trace:
    """The way of each node of the user's graph, as far as an executable needs it, into the kernel."""

    def __init__(self, exe: Executable) -> None:
        self.source = exe.program.source
        self.kernel: Kernel = exe.listing
        assert self.kernel.schedule is not None
        self.plan: Schedule = self.kernel.schedule
        self.steps = list(self.kernel.steps)
        self._read: dict[Graph, dict[int, list[int]]] = {}
        self._beside: dict[int, dict[str, None]] = {}
        self.parts = list(parts_of(self.plan))
        self.part_of: dict[int, list[Part]] = {}
        for part in self.parts:
            for id_ in dict.fromkeys([part.item.root] if isinstance(part.item, Commit) else made_by(part.item)):
                self.part_of.setdefault(id_, []).append(part)

    def way(self, node: int) -> Iterator[tuple[Step, int, int | None]]:
        """Each pass that sees a node of the source: its number before, and after, None where nothing needs it."""
        now: int | None = node
        for step in self.steps:
            if now is None:
                return
            after = step.made.get(now)
            yield step, now, after
            now = after

    def last(self, node: int) -> int | None:
        """The node of the scheduled graph that stands for one of the source; None where nothing needs it."""
        now: int | None = node
        for step in self.steps:
            now = None if now is None else step.made.get(now)
        return now

    def events(self, node: int) -> list[str]:
        """What passes did to a node, in order, each once."""
        found: dict[str, None] = {}
        for step, before, after in self.way(node):
            for text in self._events(step, before, after):
                found.setdefault(text)
        return list(found)

    def _events(self, step: Step, before: int, after: int | None) -> Iterator[str]:
        old = step.before.nodes[before]
        rules = step.rules.get(before, [])
        for rule in rules:
            yield f"{step.name}: rule {rule}"
        if after is None:
            near = [r for n in self._readers(step.before).get(before, []) for r in step.rules.get(n, [])]
            why = f", by rule {', '.join(dict.fromkeys(near))} at a node that read it" if near else ""
            yield f"{step.name}: no longer needed{why}"
            return
        new = step.after.nodes[after]
        if rules or old.op.kind is Kind.LEAF:
            return
        if new.op is old.op and new.name != old.name and old.name in step.after and step.after[old.name].id != after:
            yield f"{step.name}: computed once with {new.name}"
        elif new.op is not old.op:
            what = "a constant" if new.op.name == "constant" else new.op.name
            yield f"{step.name}: {old.op.name} becomes {what}"
        elif step.name == "cse" and new.name != old.name:
            yield f"{step.name}: computed once, as {new.name}"

    def _readers(self, graph: Graph) -> dict[int, list[int]]:
        """Which nodes read each."""
        if graph not in self._read:
            found = self._read[graph] = defaultdict(list)
            for node in graph.nodes:
                for i in set(node.inputs):
                    found[i].append(node.id)
        return self._read[graph]

    def beside(self, item: Item) -> dict[str, None]:
        """The names of all nodes whose statements stand in an item of the schedule, in order."""
        if id(item) not in self._beside:
            self._beside[id(item)] = dict.fromkeys(s.node.name for s in statements_in(item))
        return self._beside[id(item)]


def parts_of(plan: Schedule) -> Iterator[Part]:
    number = 0
    for k, stage in enumerate(plan.stages):
        for group, items in [(None, stage.alone), *((g, g.items) for g in stage.groups)]:
            for item in items:
                yield Part(number, k, item, group)
                number += 1


def buffer_words(plan: Schedule, node: int) -> str:
    """Where a node's value is kept, in words."""
    root = memory_of(plan.aliases, node)
    buffer = plan.buffers.get(root)
    if buffer is None:
        return ""
    kind, number = buffer.place
    of = plan.graph.nodes[root]
    sizes = ", ".join(map(str, buffer.shape))
    place = {"input": "the caller's array", "output": f"output {number}", "work": f"slot {number} of the workspace"}
    held = place.get(kind) or (
        f"state {plan.state[number]}" if number < len(plan.state) else "a constant of the kernel"
    )
    whole = "" if len(buffer.axes) == of.type.ndim else ", a row at a time" if buffer.axes else ", a number at a time"
    return f"{held}, {of.type.dtype}[{sizes}]{whole}"
