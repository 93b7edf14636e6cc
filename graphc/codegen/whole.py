"""What those who write parts of a function (loops in blocks, bodies, products, tests) ask of the writer of it all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from graphc.codegen.line import Line
from graphc.ir.dims import Size
from graphc.ir.graph import Graph
from graphc.ir.node import Node
from graphc.ir.types import DType
from graphc.schedule.access import Access, Index
from graphc.schedule.plan import Buffer, Group, Item, Schedule, Statement

Place = tuple[str, int]  # what memory is for, and the node that it belongs to
Loads = dict[tuple[int, str], str]  # whose value is read where -> its name; others may come to lie there later


@dataclass(frozen=True, slots=True)
class Function:
    """A body's function: its name, its lines, and the places whose addresses it takes."""

    name: str
    lines: list[Line]
    places: list[Place]


class Whole(Protocol):
    """A function that is being written: `graphc.codegen.nest.Nest`, which says what each method does."""

    plan: Schedule
    graph: Graph
    symbols: Mapping[str, str]
    failures: list[Node]
    functions: dict[str, Function]
    stops: bool
    group: Group | None
    body: list[Line]
    pointers: dict[str, tuple[Place, DType]]
    places: dict[Place, None]
    makes: list[int]
    reads: list[int]

    def inside(self, plan: Schedule) -> Whole: ...

    def write(self, items: Sequence[Item], group: Group | None, margin: int) -> None: ...

    def shards(self, group: Group, depth: int) -> None: ...

    def whole(self, addresses: Sequence[str], apart: bool = True) -> list[Line]: ...

    def line(self, depth: int, text: str) -> None: ...

    def size(self, size: Size) -> str: ...

    def factor(self, size: Size) -> str: ...

    def address(self, place: Place) -> str: ...

    def primitive(self, name: str, dtype: DType) -> str: ...

    def literal(self, value: Any, dtype: DType) -> str: ...

    def put(self, depth: int, text: str, *nodes: int) -> None: ...

    def item(self, item: Item, depth: int, loads: Loads) -> None: ...

    def start(self, fold: Statement, depth: int) -> None: ...

    def home(self, fold: Statement) -> Buffer | None: ...

    def finish(self, fold: Statement, depth: int) -> None: ...

    def keep(self, fold: Statement, depth: int) -> None: ...

    def count(self, fold: Statement, steps: str, every: int, depth: int) -> None: ...

    def fail(self, node: Node, where: str, value: str, depth: int) -> None: ...

    def named(self, kind: str, *key: int | str) -> str: ...

    def read(self, id: int) -> str: ...

    def place(self, buffer: Buffer, index: Sequence[Index]) -> str: ...

    def element(self, access: Access, batch: int, dtype: DType, counters: Mapping[int, str] = ...) -> str: ...

    def element_of(
        self, buffer: Buffer, index: Sequence[Index], dtype: DType, counters: Mapping[int, str] = ...
    ) -> str: ...
