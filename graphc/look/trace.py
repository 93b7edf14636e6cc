"""What became of each node: the passes and rules that touched it, and the part of the kernel that computes it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from weakref import WeakKeyDictionary

from graphc.codegen.kernel import Kernel
from graphc.ir.graph import OBSERVER, Graph
from graphc.ir.node import Node
from graphc.ir.op import Kind
from graphc.ir.tensor import Tensor
from graphc.rewrite.passes import run
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
    Schedule,
    Statement,
    memory_of,
)
from graphc.schedule.stages import made_by, statements_in

SCHEDULING = "schedule"  # the name of all that happens behind the passes


@dataclass(frozen=True, slots=True)
class Step:
    """One pass: the graph before and after, what stands for each node, and the rules that were applied to it."""

    name: str
    before: Graph
    after: Graph
    made: Mapping[int, int]
    rules: Mapping[int, list[str]]


@dataclass(slots=True)
class _Watcher:
    """Gathers the steps."""

    begun: list[tuple[str, Graph]] = field(default_factory=list)  # passes that go over a graph, some inside others
    steps: list[Step] = field(default_factory=list)
    rules: dict[int, list[str]] = field(default_factory=dict)

    def begins(self, name: str, graph: Graph) -> None:
        self.begun.append((name, graph))

    def rule(self, node: Node, name: str) -> None:
        self.rules.setdefault(node.id, []).append(name)

    def rebuilt(self, graph: Graph, new: Graph, made: Mapping[int, Tensor]) -> None:
        name = next((name for name, on in reversed(self.begun) if on is graph), SCHEDULING)
        self.steps.append(Step(name, graph, new, {i: t.id for i, t in made.items()}, self.rules))
        self.rules = {}


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
        program = exe.program
        self.source, self.optimised = program.source, program.optimised
        watcher = _Watcher()
        token = OBSERVER.set(watcher)
        try:
            run(program.source)
            rewriting = len(watcher.steps)
            watcher.begun.clear()
            self.kernel: Kernel = program.kernel(debug=exe.debug)
        finally:
            OBSERVER.reset(token)
        assert self.kernel.schedule is not None
        self.plan: Schedule = self.kernel.schedule
        # passes have run twice, alike: numbers in the graph that they made are those of the optimised one
        self.steps = [
            *_chain(watcher.steps[:rewriting], program.source),
            *_chain(watcher.steps[rewriting:], program.optimised),
        ]
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
            for text in _events(step, before, after):
                found.setdefault(text)
        return list(found)


def _chain(steps: list[Step], graph: Graph) -> Iterator[Step]:
    """The steps that lead on from a graph, without those of graphs beside the way."""
    for step in steps:
        if step.before is graph:
            yield step
            graph = step.after


def _events(step: Step, before: int, after: int | None) -> Iterator[str]:
    old = step.before.nodes[before]
    rules = step.rules.get(before, [])
    for rule in rules:
        yield f"{step.name}: rule {rule}"
    if after is None:
        near = [r for n in step.before.nodes if before in n.inputs for r in step.rules.get(n.id, [])]
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
