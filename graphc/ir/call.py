"""Calls of public functions: what nodes were made together, by which function, on which line."""

from __future__ import annotations

import threading
from typing import Any

from graphc.errors import Origin, caller


class Call:
    """One call of a public function by a user; the nodes that it makes share it.

    function  its name
    name      the name of its result; given beforehand, the nodes inside are named ``name/op``
    role      "forward", or "update" where an optimiser makes the nodes
    nodes     how many it has made
    """

    __slots__ = ("_origin", "function", "name", "nodes", "role")

    def __init__(self, function: str, name: str = "", role: str = "forward", origin: Origin | None = None) -> None:
        self.function, self.name, self.role, self._origin = function, name, role, origin
        self.nodes = 0

    def __repr__(self) -> str:
        return f"<{self.role} call of {self.function}: {self.name or 'unnamed'}>"

    @property
    def origin(self) -> Origin:
        """The user's line; looked up when the first node is made."""
        if self._origin is None:
            self._origin = caller()
        return self._origin

    def again(self) -> Call:
        """A call of its own for copies of its nodes."""
        made = Call(self.function, self.name, self.role)
        made.nodes = self.nodes
        return made


class _Open(threading.local):
    """The outermost public call that this thread is in, and the graph of the body that it traces."""

    call: Call | None = None
    body: Any = None


OPEN = _Open()


def here() -> Origin:
    """The user's line that led here."""
    return caller() if OPEN.call is None else OPEN.call.origin


__all__ = ["OPEN", "Call", "here"]
