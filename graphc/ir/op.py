"""What an operation is: one frozen record, kept in one table.

Passes, schedule and code generation dispatch on ``kind`` and on the record's fields, never on an op's name.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from graphc.errors import GraphError, UnsupportedOpError
from graphc.ir.dims import Size
from graphc.ir.types import DType, SizeCheck, TensorType

Attrs = Mapping[str, Any]


class Kind(enum.Enum):
    """How an operation's result elements depend on its operands' elements; all that lowering needs to know."""

    LEAF = "leaf"  # a value from outside: input, parameter, variable, constant
    ELEMENTWISE = "elementwise"  # broadcast operands, one element in, one element out
    GENERATOR = "generator"  # as elementwise, and the element's flat position may be used (iota, random numbers, sizes)
    REDUCTION = "reduction"  # folds axes with an associative operation
    CONTRACTION = "contraction"  # matrix product
    MOVEMENT = "movement"  # the same elements seen at other indices
    ASSEMBLY = "assembly"  # operands laid into regions of the result
    GATHER = "gather"  # reads at indices that are data
    SCATTER = "scatter"  # adds at indices that are data


@dataclass(frozen=True, slots=True)
class IndexMap:
    """Where an element lies: one ``(axis, start, step)`` for each axis of the tensor that is indexed.

    Index along that axis is ``start + step * i[axis]``, or just ``start`` where axis is None; ``i`` runs over the other
    tensor. A movement reads its operand through one; an assembly writes each operand into its result through one.
    """

    axes: tuple[tuple[int | None, Size, Size], ...]


@dataclass(frozen=True, slots=True, eq=False)
class Op:
    """One operation. Fields that its kind does not use stay at their defaults.

    infer      types of operands and attributes -> type of the result; raises ShapeError, DTypeError
    gradient   one rule for each operand, ``(g, y, *operands) -> cotangent``; None where the operand has no derivative.
               An op with any number of operands has a single rule ``(g, y, operands, slot) -> cotangent``
    code       the scalar expression in the letters a, b, c, ... of the operands; ``{name}`` stands for an attribute,
               ``position`` for the flat index. A reduction folds ``a`` into ``acc``
    reference  the same in NumPy, ``(*arrays, **attributes)``, symbolic sizes already numbers
    identity   what a reduction starts from, for a dtype
    view       a movement's index map, or None where the result is the operand's memory in another shape
    regions    an assembly's index map for each operand
    checks     what must hold of symbolic sizes when called
    facts      algebraic facts that rules and schedules use: "commutative", "exact" ...
    """

    name: str
    kind: Kind
    arity: int | None
    infer: Callable[[Sequence[TensorType], Attrs], TensorType]
    reference: Callable[..., Any]
    gradient: tuple[Callable[..., Any] | None, ...] | Callable[..., Any] = ()
    code: str | Callable[[TensorType, Sequence[TensorType], Attrs], str] | None = None
    identity: Callable[[DType], Any] | None = None
    view: Callable[[TensorType, Sequence[TensorType], Attrs], IndexMap | None] | None = None
    regions: Callable[[TensorType, Sequence[TensorType], Attrs], list[IndexMap]] | None = None
    checks: Callable[[Sequence[TensorType], Attrs], list[SizeCheck]] | None = None
    attrs: tuple[str, ...] = ()
    facts: frozenset[str] = field(default_factory=frozenset)

    def __repr__(self) -> str:
        return f"<op {self.name}>"

    def __post_init__(self) -> None:
        """A record must be whole for its kind."""
        needs = {
            Kind.ELEMENTWISE: ("code",),
            Kind.GENERATOR: ("code",),
            Kind.REDUCTION: ("code", "identity"),
            Kind.MOVEMENT: ("view",),
            Kind.ASSEMBLY: ("regions",),
        }.get(self.kind, ())
        missing = [n for n in needs if getattr(self, n) is None]
        if missing:
            raise GraphError(f"op {self.name}: a {self.kind.value} op needs {', '.join(missing)}")
        if isinstance(self.gradient, tuple) and self.gradient and len(self.gradient) != self.arity:
            raise GraphError(f"op {self.name}: {len(self.gradient)} gradient rules for {self.arity} operands")


OPS: dict[str, Op] = {}

# Functions of the DSL that Tensor's operators and methods call, by name; the op tables fill it.
FUNCTIONS: dict[str, Callable[..., Any]] = {}


def register(op: Op) -> Op:
    """Enters ``op`` into the table; GraphError for a second op of its name."""
    if op.name in OPS:
        raise GraphError(f"op {op.name} is registered already")
    OPS[op.name] = op
    return op


def lookup(name: str) -> Op:
    """The op of that name; UnsupportedOpError where there is none."""
    try:
        return OPS[name]
    except (KeyError, TypeError):
        raise UnsupportedOpError(f"there is no operation called {name!r}") from None
