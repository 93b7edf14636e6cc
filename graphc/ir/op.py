"""What an operation is: one frozen record, kept in one table.

Passes, schedule and code generation dispatch on ``kind`` and on the record's fields, never on an op's name.
"""

from __future__ import annotations

import enum
import re
import string
from collections.abc import Callable, Iterator, Mapping, Sequence
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
    REDUCTION = "reduction"  # combines the elements along axes with an associative operation
    CONTRACTION = "contraction"  # matrix product
    MOVEMENT = "movement"  # the same elements seen at other indices
    ASSEMBLY = "assembly"  # operands laid into regions of the result
    GATHER = "gather"  # reads at indices that are data
    SCATTER = "scatter"  # combines elements with those at indices that are data
    COMPOSITE = "composite"  # made of other ops when a program is scheduled
    ROUTINE = "routine"  # a function of whole rows or matrices, for each index of the axes before them
    CONTROL = "control"  # runs graphs that it holds: a loop or a branch. Its own value says nothing
    RESULT = "result"  # one of what a loop or a branch computes


@dataclass(frozen=True, slots=True)
class IndexMap:
    """Where an element lies: one ``(axis, start, step)`` for each axis of the tensor that is indexed.

    Index along that axis is ``start + step * i[axis]``, or just ``start`` where axis is None; ``i`` runs over the other
    tensor. A movement reads its operand through one; an assembly writes each operand into its result through one.
    Each ``(indexed, axis, step)`` of ``also`` adds ``step * i[axis]`` to the index along axis ``indexed``: a window's
    element lies at the window's place and then at its own place inside.
    """

    axes: tuple[tuple[int | None, Size, Size], ...]
    also: tuple[tuple[int, int, Size], ...] = ()


# What lowering reads of an op of each kind: fields of its record, and attributes of its nodes (one of several sets).
FIELDS: dict[Kind, tuple[str, ...]] = {
    Kind.ELEMENTWISE: ("code",),
    Kind.GENERATOR: ("code",),
    Kind.REDUCTION: ("combine", "identity"),
    Kind.SCATTER: ("combine", "identity"),
    Kind.MOVEMENT: ("view",),
    Kind.ASSEMBLY: ("regions",),
    Kind.COMPOSITE: ("lower",),
    Kind.ROUTINE: ("code", "core"),
    Kind.CONTROL: ("results",),
}
ATTRIBUTES: dict[Kind | str, tuple[tuple[str, ...], ...]] = {
    Kind.REDUCTION: (("axes", "keepdims"), ("shape", "operand_shape")),
    Kind.GATHER: (("axis",), ("axes",)),
    Kind.SCATTER: (("axis", "size"), ("axes", "sizes")),
    Kind.RESULT: (("index", "shape", "dtype"),),
    "index_check": (("low", "high", "what"),),  # a fact, not a kind
}
LETTERS = string.ascii_lowercase  # of operands, in code
ADDITION = "reduce_add(acc, a)"


@dataclass(frozen=True, slots=True, eq=False)
class Op:
    """One operation. Fields that its kind does not use stay at their defaults.

    infer      types of operands and attributes -> type of the result; raises ShapeError, DTypeError
    gradient   one rule for each operand, ``(g, y, *operands) -> cotangent``; None where the operand has no derivative.
               An op with any number of operands has a single rule ``(g, y, operands, slot) -> cotangent``
    joint      of an op that stands once for each of several results, with the same operands behind the first:
               ``(cotangents, results) -> cotangents`` of all operands, None for what is 0
    code       the scalar expression in the letters a, b, c, ... of the operands; ``{name}`` stands for an attribute,
               ``position`` for the flat index. Of a routine the name of its function in `codegen.routines`
    core       of a routine: how many of the last axes of each operand its function takes at once
    scratch    of a routine: bytes of memory that its function works in, types and attributes given; None for none
    reference  the same in NumPy, ``(*arrays, **attributes)``, symbolic sizes already numbers
    map        of a reduction: what is made of an element ``a`` before it is combined with others
    combine    of a reduction: what ``acc`` and ``a``, each made of some elements, come to. It must be associative:
               elements are combined in any grouping, and so are the results of shards. Of a scatter: what comes to
               lie at a place where ``acc`` lay, in the order of the elements
    identity   of a reduction: what combined with ``a`` is ``a``, for a dtype. Of a scatter: what lies at a place first
    finish     of a reduction: the result, made of ``acc``, all elements combined
    view       a movement's index map, or None where the result is the operand's memory in another shape
    regions    an assembly's index map for each operand
    lower      of a composite: what it is made of, ``(attributes, *operands) -> tensor``, in the DSL
    rows       of a composite whose result has, for each row along its first axis, a row that depends on no other:
               which operands have that axis. The others are the same for all rows
    results    of a loop or branch: the types of what it computes, types and attributes given
    checks     what must hold of symbolic sizes when called
    taken      of an op that chooses, for each operand ``(y, *operands) -> (condition, holds)``: the operand is taken
               where the bool tensor is ``holds``. Elsewhere its cotangent is 0, whatever ``gradient`` gives there.
               None for an operand that is always taken
    own        what a user made the op by, `graphc.custom_op`: it is in no table
    facts      facts that rules, schedules and proofs use: "commutative", "index_check", "linear": no derivative of the
               op is ever infinite or NaN (of movements and assemblies none is), "overlapping": elements of an assembly
               that meet at one place add up, "places": the results are indices along the operand's last axis,
               "columns": each column of a routine's result depends on that column of the last operand alone,
               "transparent": only derivatives see the op, its value is that of the first operand, and "waiting": its
               value is that of the first operand, not computed before the others
    fails      of an op that has no result for some finite operands, and gives NaN: what these are like
    """

    name: str
    kind: Kind
    arity: int | None
    infer: Callable[[Sequence[TensorType], Attrs], TensorType]
    reference: Callable[..., Any]
    gradient: tuple[Callable[..., Any] | None, ...] | Callable[..., Any] = ()
    code: str | Callable[[TensorType, Sequence[TensorType], Attrs], str] | None = None
    map: str = "a"
    combine: str | None = None
    identity: Callable[[DType], Any] | None = None
    finish: str = "acc"
    view: Callable[[TensorType, Sequence[TensorType], Attrs], IndexMap | None] | None = None
    regions: Callable[[TensorType, Sequence[TensorType], Attrs], list[IndexMap]] | None = None
    lower: Callable[..., Any] | None = None
    rows: tuple[bool, ...] = ()
    core: tuple[int, ...] | None = None
    scratch: Callable[[Sequence[TensorType], Attrs], Size | None] | None = None
    results: Callable[[Sequence[TensorType], Attrs], list[TensorType]] | None = None
    checks: Callable[[Sequence[TensorType], Attrs], list[SizeCheck]] | None = None
    attrs: tuple[str, ...] = ()
    taken: tuple[Callable[..., tuple[Any, bool]] | None, ...] = ()
    joint: Callable[..., Sequence[Any]] | None = None
    facts: frozenset[str] = field(default_factory=frozenset)
    own: Any = None
    fails: str = ""

    def __repr__(self) -> str:
        return f"<op {self.name}>"

    def __post_init__(self) -> None:
        """A record must be whole for its kind."""
        if faults := list(self._faults()):
            raise GraphError(f"op {self.name}: {'; '.join(faults)}")

    def _faults(self) -> Iterator[str]:
        kind = self.kind.value
        missing = [n for n in FIELDS.get(self.kind, ()) if getattr(self, n) is None]
        if missing:
            yield f"a {kind} op needs {', '.join(missing)}"
        asking: list[Kind | str] = [self.kind, *sorted(self.facts)]
        for what in asking:
            sets = ATTRIBUTES.get(what, ((),))
            if not any(set(names) <= set(self.attrs) for names in sets):
                of = f"a {kind} op" if what is self.kind else f"an op with the fact {what!r}"
                wanted = " or ".join(", ".join(names) for names in sets)
                yield f"{of} needs the attributes {wanted}, found {', '.join(self.attrs) or 'none'}"
        for found, what in ((self.gradient, "gradient rules"), (self.taken, "conditions"), (self.rows, "rows")):
            if isinstance(found, tuple) and found and len(found) != self.arity:
                yield f"{len(found)} {what} for {self.arity} operands"
        if self.arity is not None and self.arity > len(LETTERS):
            yield f"expected at most {len(LETTERS)} operands, found {self.arity}"
        if self.kind is Kind.REDUCTION:
            yield from self._misread("map", {"a"}, all_of_them=True)
            yield from self._misread("combine", {"acc", "a"}, all_of_them=True)
            yield from self._misread("finish", {"acc"}, all_of_them=True)
        elif self.kind is Kind.SCATTER:
            yield from self._misread("combine", {"acc", "a"}, all_of_them=True)
        elif self.arity is not None and self.kind is not Kind.ROUTINE:
            yield from self._misread("code", set(LETTERS[: self.arity]))

    def _misread(self, part: str, values: set[str], all_of_them: bool = False) -> Iterator[str]:
        """Faults of a scalar expression: what it reads beside ``values`` and attributes, or does not read of them."""
        text = getattr(self, part)
        if not isinstance(text, str):
            return
        read = {w for w in re.findall(r"(?<![{\w.])[A-Za-z_]\w*", text) if w == "acc" or w in LETTERS}
        if read - values or (all_of_them and read != values):
            names = [" and ".join(sorted(found, reverse=True)) or "no operand" for found in (values, read)]
            yield f"expected {part} to read {names[0]}, found {text!r}, which reads {names[1]}"
        unknown = set(re.findall(r"\{(\w+)\}", text)) - {*self.attrs, "dtype", "in_dtype"}
        if unknown:
            yield f"{part} {text!r} reads {', '.join(sorted(unknown))}, not among the attributes that it declares"

    @property
    def adds(self) -> bool:
        """True for a reduction that adds up: its rounding errors grow with the number of elements."""
        return self.kind is Kind.REDUCTION and self.combine == ADDITION


def indexed(attrs: Attrs) -> tuple[int, ...]:
    """The axes that the indices of a gather or scatter go along, the first of which takes the place of all of them."""
    return tuple(attrs["axes"]) if "axes" in attrs else (attrs["axis"],)


OPS: dict[str, Op] = {}

# Public functions by name; Tensor's operators and methods find them here. The op tables fill it.
FUNCTIONS: dict[str, Callable[..., Any]] = {}

# Functions of higher floors that lower ones call, by name.
LATER: dict[str, Callable[..., Any]] = {}


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
