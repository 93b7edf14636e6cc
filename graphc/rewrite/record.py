"""What passes did: what stands for each node after each step, and the rules that met it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from graphc.ir.graph import OBSERVER, Graph
from graphc.ir.node import Node
from graphc.ir.tensor import Tensor


@dataclass(frozen=True, slots=True)
class Step:
    """One pass: the graph before and after, what stands for each node, and the rules that were applied to it."""

    name: str
    before: Graph
    after: Graph
    made: Mapping[int, int]
    rules: Mapping[int, list[str]]

    @property
    def changes(self) -> bool:
        """Whether there is something to tell of it."""
        if self.rules or len(self.before) != len(self.after) or any(i != k for i, k in self.made.items()):
            return True
        return any(
            m.name != n.name or m.op is not n.op for m, n in zip(self.before.nodes, self.after.nodes, strict=True)
        )


@dataclass(slots=True)
class Record:
    """Gathers the steps; ``name`` is that of those which are no pass of a pipeline."""

    name: str
    begun: list[tuple[str, Graph]] = field(default_factory=list)  # passes that go over a graph, some inside others
    steps: list[Step] = field(default_factory=list)
    rules: dict[int, list[str]] = field(default_factory=dict)

    def begins(self, name: str, graph: Graph) -> None:
        self.begun.append((name, graph))

    def rule(self, node: Node, name: str) -> None:
        self.rules.setdefault(node.id, []).append(name)

    def rebuilt(self, graph: Graph, new: Graph, made: Mapping[int, Tensor]) -> None:
        name = next((name for name, on in reversed(self.begun) if on is graph), self.name)
        self.steps.append(Step(name, graph, new, {i: t.id for i, t in made.items()}, self.rules))
        self.rules = {}

    def way(self, first: Graph, last: Graph) -> tuple[Step, ...]:
        """The steps that led from one graph to another and changed something, without those beside the way."""
        back = []
        for step in reversed(self.steps):
            if last is first:
                break
            if step.after is last:
                back.append(step)
                last = step.before
        out: list[Step] = []
        for step in reversed(back):
            if step.changes:
                out.append(replace(step, before=first))  # which may stand for one that is the same
                first = step.after
        return tuple(out)


@contextmanager
def recording(name: str = "") -> Iterator[Record]:
    """What passes do meanwhile, in this thread."""
    record = Record(name)
    token = OBSERVER.set(record)
    try:
        yield record
    finally:
        OBSERVER.reset(token)
