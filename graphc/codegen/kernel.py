"""An optimised graph in, a kernel out: its source, and all that a caller must know to run it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from graphc.codegen.emit import Text, annotate, emit, workspace
from graphc.ir import dims
from graphc.ir.dims import Size
from graphc.ir.graph import Graph
from graphc.ir.node import Node
from graphc.ir.state import Array
from graphc.rewrite.record import Step, recording
from graphc.schedule.expand import expand, outputs_apart
from graphc.schedule.lower import lower
from graphc.schedule.memory import Known, schedule
from graphc.schedule.plan import Schedule, describe
from graphc.schedule.recompute import fit

SIGNATURE = "int64(int64, int64, int64, int64, int64)"
SCHEDULING = "schedule"  # the name of all that happens behind the passes


@dataclass(frozen=True, slots=True)
class Limit:
    """At most so many bytes of workspace at given sizes, where so many threads share a call."""

    most: int
    sizes: Mapping[str, int]
    threads: int

    def bytes_of(self, plan: Schedule) -> int:
        """What a schedule takes."""
        return work_bytes(*workspace(plan), self.sizes, self.threads)

    def bytes(self, kernel: Kernel) -> int:
        """What a kernel takes."""
        return work_bytes(kernel.work_bytes, kernel.scratch_bytes, self.sizes, self.threads)


def work_bytes(one: Size, more: int, sizes: Mapping[str, int], threads: int) -> int:
    """Bytes of workspace: what one thread takes, and more for each other one."""
    return dims.evaluate(one, sizes) + (threads - 1) * more


@dataclass(frozen=True, slots=True)
class Kernel:
    """A generated kernel, not compiled yet.

    ``int64 kernel(int64 inputs, int64 outputs, int64 dims, int64 state, int64 work)`` takes addresses: tables of the
    data addresses of inputs and of outputs, a table of the values of ``symbols``, a table of the data addresses of
    ``state_names`` followed by ``constants``, and ``work_bytes`` bytes of workspace, 64-byte aligned. It returns 0,
    or k for an index out of range, or too many steps, at the node ``failures[k - 1]``; the flat position and the value
    then stand in the first two int64 of the workspace.
    """

    source: str
    parts: tuple[str, ...]  # sources of the functions that it calls by their symbols
    symbols: tuple[str, ...]
    state_names: tuple[str, ...]
    constants: tuple[Array, ...]
    work_bytes: Size
    scratch_bytes: int  # more workspace for each thread beyond the first
    cost: Size  # of what several threads may share
    alone: Size  # the cost of the rest, loops over bodies apart
    failures: tuple[Node, ...]
    text: Text | None  # None where the kernel was recalled from disk
    schedule: Schedule | None
    limit: Limit | None = None  # what it was made to keep
    steps: tuple[Step, ...] = ()  # how the schedule's graph was made of the one that was given
    stops: bool = field(init=False)  # whether its loops look for Ctrl-C

    def __post_init__(self) -> None:
        found = any("stopped(" in text for text in (self.source, *self.parts))
        object.__setattr__(self, "stops", found)

    @property
    def loops(self) -> str:
        """The schedule as text: loops, statements, products, and where values are kept."""
        assert self.schedule is not None
        return describe(self.schedule)

    @property
    def annotated(self) -> str:
        """The source with a comment for each node."""
        assert self.text is not None and self.schedule is not None
        return annotate(self.text, self.schedule.graph)


def build(
    graph: Graph,
    inputs: Sequence[str],
    n_outputs: int,
    updates: Sequence[str],
    symbols: Sequence[str],
    serial: bool = False,
    limit: Limit | None = None,
    debug: str | None = None,
    timed: bool = False,
    stops: bool | None = None,
) -> Kernel:
    """The kernel of ``graph``: its outputs are ``n_outputs`` results, then a next value for each state of ``updates``.

    ``inputs`` are the names of the argument leaves in order, ``symbols`` the sizes that they bind. A ``serial`` kernel
    is for one thread, and its source is plain loops. To keep within a ``limit`` values are computed more than once.
    With ``debug`` "nan" or "inputs" it returns NOT_FINITE where a value, or one that is passed, may be at fault. Of a
    ``timed`` one see `emit`, also of ``stops``.
    """
    tested = {"nan": [], "inputs": inputs}.get(debug or "")
    known: Known = {}

    def plan_of(ready: Graph, in_order: bool = False) -> Schedule:
        watched = None if tested is None else [ready[n].id for n in tested if n in ready]
        places = [ready[n].id if n in ready else -1 for n in inputs]
        return schedule(ready, places, n_outputs, updates, in_order, watched, known)

    with recording(SCHEDULING) as record:
        ready = expand(outputs_apart(lower(graph), elementwise=tested is not None))
        plan = plan_of(ready) if limit is None else fit(ready, plan_of, limit.bytes_of, limit.most, limit.sizes)
    text = emit(plan, symbols, serial, timed, stops)
    constants = plan.arrays
    if text.rows is not None:
        constants += (text.rows,)
    return Kernel(
        text.source,
        text.parts,
        tuple(symbols),
        plan.state,
        constants,
        text.work_bytes,
        text.scratch_bytes,
        text.cost,
        text.alone,
        tuple(text.failures),
        text,
        plan,
        limit,
        record.way(graph, plan.graph),
    )
