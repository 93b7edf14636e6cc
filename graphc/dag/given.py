"""What a node of a DAG says of itself, and what of that an op takes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

from graphc.dag.attributes import decoded_node
from graphc.dag.table import Function, function, unknown
from graphc.errors import GraphError, Origin, did_you_mean, listed
from graphc.ir.op import OPS
from graphc.ops.signature import found

SCHEMA = ("op", "name", "shape", "dtype", "attrs", "value", "role", "forward", "line", "call", "graph")
MEANT = {"dim": "axis", "axes": "axis", "keepdim": "keepdims"}  # attributes of other libraries
_LINE = re.compile(r"(.+?)(?::|, line )(\d{1,9})(?:   (.*))?")


@dataclass(frozen=True, slots=True)
class Given:
    """A node's attributes, with text made values; ``attrs`` are the arguments of its op, flat ones too."""

    op: str
    function: Function | None  # of that name
    data: Mapping[str, Any]
    attrs: Mapping[str, Any]

    @staticmethod
    def of(attributes: Mapping[str, Any]) -> Given:
        """Raises UnsupportedOpError for an unknown op, GraphError for attributes that it does not take."""
        data = decoded_node(attributes)
        op = data.get("op")
        if not isinstance(op, str):
            fail("the attribute op is missing" if op is None else f"op must be a str, found {found(op)}")
        f = function(op)
        if f is None and op not in OPS:
            unknown(op)
        held = data.get("attrs")
        if held is not None and not (isinstance(held, Mapping) and all(isinstance(k, str) for k in held)):
            fail(f"attrs must be a dict, found {found(held)}")
        given = Given(op, f, data, dict(held or {}))
        return Given(op, f, data, {**given.attrs, **given._flat()})

    @property
    def known(self) -> list[str]:
        """Names of the attributes that the op, or the function of its name, takes."""
        names = [] if self.function is None else [p.name for p in self.function.parameters if not p.many]
        own = OPS[self.op].attrs if self.op in OPS else ()
        return [*names, *(name for name in own if name not in names)]

    @property
    def complete(self) -> bool:
        """Whether it says all of an op, as `Graph.to_networkx` does."""
        held = self.data.get("attrs")
        written = isinstance(held, Mapping) and {"dtype", "shape"} <= set(self.data)
        return written and self.op in OPS and set(held or ()) == set(OPS[self.op].attrs)

    @property
    def raw(self) -> bool:
        """Whether the op itself is meant, not the function of its name: it has attributes that only the op has."""
        return self.function is None or not set(self.attrs) <= {p.name for p in self.function.parameters}

    def _flat(self) -> dict[str, Any]:
        """Arguments that stand among the node's own attributes."""
        known, out = self.known, {}
        for name in self.attrs:
            if name not in known:
                fail(f"{self.op} has no attribute {name!r}{did_you_mean(_here(name, known), known)}{_takes(known)}")
        for name, value in self.data.items():
            if name in known and not (self.complete and name in ("dtype", "shape")):
                if name in self.attrs:
                    fail(f"{name} is given twice: as an attribute of the node and in attrs")
                out[name] = value
            elif name in known or name in SCHEMA:
                continue
            elif advice := did_you_mean(_here(name, known), known, cutoff=0.75):  # a slip, else the user's own
                fail(f"{self.op} has no attribute {name!r}{advice}{_takes(known)}")
        return out

    @property
    def forward(self) -> str | None:
        """The name of the node that this one is a gradient of."""
        forward = self.data.get("forward")
        if forward is None or isinstance(forward, str):
            return forward or None
        fail(f"forward must be the name of a node, found {found(forward)}")

    @property
    def role(self) -> str:
        role = self.data.get("role")
        return role if isinstance(role, str) and role == "update" else "forward"

    def line(self, default: Origin) -> Origin:
        """The line that the node says it was made at."""
        line = self.data.get("line")
        match = _LINE.fullmatch(line) if isinstance(line, str) else None
        return default if match is None else Origin(match[1], int(match[2]), match[3] or "")

    @property
    def call(self) -> tuple[str, str] | None:
        """Function and name of the call that the node is part of."""
        held = self.data.get("call")
        if held is None:
            return None
        if isinstance(held, Mapping) and all(isinstance(held.get(k), str) for k in ("function", "name")):
            return held["function"], held["name"]
        fail(f"call must be a dict of function and name, found {found(held)}")


def _here(name: Any, known: list[str]) -> str:
    """What another library's attribute is called here."""
    meant = MEANT.get(name) if isinstance(name, str) else None
    return meant if meant in known else str(name)


def _takes(known: list[str]) -> str:
    return f" It takes {listed(known)}." if known else " It takes none."


def fail(text: str) -> NoReturn:
    """Raises GraphError; whoever reads the node adds its name."""
    raise GraphError(text)


__all__ = ["SCHEMA", "Given", "fail"]
