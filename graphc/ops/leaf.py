"""Leaves: values that come from outside the graph. Their types are given, never inferred."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from graphc.errors import GraphError
from graphc.ir.op import Attrs, Kind, Op, register
from graphc.ir.types import TensorType


def _given(types: Sequence[TensorType], attrs: Attrs) -> TensorType:
    raise GraphError("the type of a leaf is given, not inferred")


def _bound(*_: Any, **__: Any) -> Any:
    raise GraphError("the value of a leaf is bound, not computed")


for _name in ("input", "parameter", "variable", "constant"):
    register(Op(_name, Kind.LEAF, 0, _given, _bound))
