"""What ways to call an executable, and to export it, read of it; so that none needs the class."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from graphc.errors import GraphcError
from graphc.ir.graph import Graph
from graphc.ir.tensor import Tensor
from graphc.run.bound import Bound
from graphc.run.entry import Plan
from graphc.run.program import Program


class Runnable(Protocol):
    """An executable; `graphc.run.executable.Executable` says what each attribute is."""

    backend: str
    fastmath: bool
    debug: str | None

    @property
    def program(self) -> Program: ...

    @property
    def graph(self) -> Graph: ...

    @property
    def inputs(self) -> dict[str, Tensor]: ...

    @property
    def bound(self) -> Bound: ...

    @property
    def address(self) -> int: ...

    @property
    def state_address(self) -> int: ...

    def __call__(self, /, *args: Any, out: Any = None, **kwargs: Any) -> Any: ...

    def plan_for(self, sizes: dict[str, int]) -> Plan: ...

    def holding(self, function: Callable[..., Any], *args: Any) -> Any: ...

    def failure(self, status: int, where: int, value: int, plan: Plan) -> GraphcError: ...
