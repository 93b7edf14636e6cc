"""Nodes, the frozen truth of a graph."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from graphc.errors import Origin
from graphc.ir.arrays import Array
from graphc.ir.call import Call
from graphc.ir.op import Attrs, Kind, Op
from graphc.ir.types import TensorType


@dataclass(frozen=True, slots=True, eq=False)
class Node:
    """One operation applied to operands; the frozen truth behind a Tensor.

    ``value`` is a leaf's array (a constant's value, the first value of state), ``forward`` the name of the node that
    a gradient node was derived from, ``call`` the call of a public function that made it.
    """

    id: int
    op: Op
    inputs: tuple[int, ...]
    attrs: Attrs
    type: TensorType
    name: str
    origin: Origin
    value: Array | None = None
    forward: str | None = None
    call: Call | None = None

    @property
    def composition(self) -> Call | None:
        """The call that made this node, where there is more to tell than the op: other nodes, or another name."""
        call = self.call
        return None if call is None or (call.nodes == 1 and call.function == self.op.name) else call

    def computed_of(self, operands: Sequence[int]) -> tuple[object, ...]:
        """What this node computes of operands with these numbers: equal where the results are."""
        value = None if self.value is None else self.value.tobytes()
        return self.op.name, tuple(operands), tuple(sorted(self.attrs.items())) if self.attrs else (), self.type, value

    @property
    def role(self) -> str:
        """What a node is there for: the op of a leaf, "gradient", "update" or "forward"."""
        if self.op.kind is Kind.LEAF:
            return self.op.name
        return "gradient" if self.forward else "forward" if self.call is None else self.call.role
