"""The loop IR: what a kernel does, typed, between its Python form and LLVM or C.

A dozen frozen records. Types are Numba's: of numbers, of buffers (`codegen.buffer`), of dtypes that are passed as
arguments. Nothing is converted silently: both sides of a ``Binary`` have one type, and a ``Cast`` stands where a type
changes. `check` holds an IR to that; `rebuild` is how a pass makes another one of it.

``Let`` names a value for the rest of its block, once. ``Set`` assigns to a variable of the function, as often
as it likes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from typing import Any, TypeAlias, TypeVar, dataclass_transform

from numba import types

from graphc.codegen.buffer import BufferType

T = TypeVar("T")


@dataclass_transform(frozen_default=True)
def record(eq: bool = True) -> Callable[[type[T]], type[T]]:
    """A frozen dataclass. `dataclass` itself looks for the types of fields in ``sys.modules``; a module that a user
    exported and loads by its path is not there.
    """

    def make(cls: type[T]) -> type[T]:
        cls.__annotations__ = dict.fromkeys(cls.__annotations__, object)
        return dataclass(frozen=True, slots=True, eq=eq)(cls)

    return make


COMPARISONS = ("==", "!=", "<", "<=", ">", ">=")
TRUTH = ("and", "or")  # what follows a side that decides is not evaluated


@record()
class Const:
    """A number; one that an intrinsic must know has a literal type."""

    type: Any
    value: bool | int | float


@record()
class Var:
    """What a parameter, a counter, a ``Let`` or a ``Set`` of that name holds."""

    type: Any
    name: str


@record()
class Unary:
    """-, ~ or not."""

    type: Any
    op: str
    x: Expr


@record()
class Binary:
    """Arithmetic on operands of this type, min and max of words, comparisons, and, or."""

    type: Any
    op: str
    left: Expr
    right: Expr


@record()
class Select:
    """``then`` where the test holds, else ``other``; only that one is evaluated."""

    type: Any
    test: Expr
    then: Expr
    other: Expr


@record()
class Cast:
    """As C converts numbers; true where one is not 0; a word as a buffer that begins there."""

    type: Any
    x: Expr


@record()
class Load:
    """An element of a buffer."""

    type: Any
    buffer: Expr
    index: Expr


@record()
class Call:
    """A call of a function in IR, or of an intrinsic of that name; also a statement."""

    type: Any
    function: Any
    args: tuple[Expr, ...]
    name: str
    line: int = 0


@record()
class Let:
    name: str
    value: Expr
    line: int = 0


@record()
class Set:
    name: str
    value: Expr
    line: int = 0


@record()
class Store:
    buffer: Expr
    index: Expr
    value: Expr
    line: int = 0


@record()
class For:
    """``counter`` from ``first`` to below ``last``, by a positive constant."""

    counter: str
    first: Expr
    last: Expr
    step: int
    body: tuple[Stmt, ...]
    line: int = 0


@record()
class While:
    test: Expr
    body: tuple[Stmt, ...]
    line: int = 0


@record()
class If:
    test: Expr
    then: tuple[Stmt, ...]
    other: tuple[Stmt, ...]
    line: int = 0


@record()
class Return:
    value: Expr | None
    line: int = 0


@record(eq=False)
class Function:
    """A function; ``outlined`` where compilers shall not inline it."""

    name: str
    parameters: tuple[Var, ...]
    result: Any
    body: tuple[Stmt, ...]
    outlined: bool = False


Expr: TypeAlias = Const | Var | Unary | Binary | Select | Cast | Load | Call
Stmt: TypeAlias = Call | Let | Set | Store | For | While | If | Return
Node: TypeAlias = Expr | Stmt | Function


def children(node: Node) -> Iterator[Any]:
    """The expressions and statements that a node is made of, in the order in which they are written."""
    for field in fields(node):
        held = getattr(node, field.name)
        for x in held if isinstance(held, tuple) else (held,):
            if isinstance(x, NODES) and not isinstance(x, Function):
                yield x


def walk(node: Node) -> Iterator[Any]:
    """A node and all below it; functions that it calls are not entered."""
    yield node
    for child in children(node):
        yield from walk(child)


def rebuild(node: Any, change: Callable[[Any], Any]) -> Any:
    """The node with ``change`` made of every node below it, then of itself; what does not change is kept."""
    made = {}
    for field in fields(node):
        held = getattr(node, field.name)
        if isinstance(held, tuple):
            new: Any = tuple(rebuild(x, change) if isinstance(x, NODES) else x for x in held)
            if any(a is not b for a, b in zip(held, new, strict=True)):
                made[field.name] = new
        elif isinstance(held, NODES) and not isinstance(held, Function):
            new = rebuild(held, change)
            if new is not held:
                made[field.name] = new
    return change(replace(node, **made) if made else node)


NODES = (Const, Var, Unary, Binary, Select, Cast, Load, Call, Let, Set, Store, For, While, If, Return, Function)


class IRError(TypeError):
    """An IR that is not well typed: a fault of whoever made it."""


def check(function: Function, takes: Callable[[Any, tuple[Any, ...]], tuple[Any, tuple[Any, ...]]]) -> None:
    """Raises IRError where a name or a type in a function is not what its place asks for.

    ``takes(intrinsic, types)`` tells the types of an intrinsic's result and operands. Functions that are called are not
    entered.
    """
    variables = {n.name: n.value.type for n in walk(function) if isinstance(n, Set)}

    def need(holds: bool, node: Any, expected: str) -> None:
        if not holds:
            raise IRError(f"{function.name}, line {getattr(node, 'line', '?')}: expected {expected}, found {node}")

    def expression(x: Any, names: dict[str, Any]) -> Any:
        below = [expression(child, names) for child in children(x)]
        match x:
            case Var(type=kind, name=name):
                need(names.get(name, variables.get(name)) == kind, x, "a name of its type")
            case Unary(type=kind, op=op):
                need(below == [kind] and (op != "not" or kind == types.boolean), x, "an operand of its type")
            case Binary(type=kind, op=op):
                result = types.boolean if op in COMPARISONS or op in TRUTH else below[0]
                need(below[0] == below[1] and kind == result, x, "operands of one type")
                need(op not in TRUTH or below[0] == types.boolean, x, "truth values")
            case Select(type=kind):
                need(below == [types.boolean, kind, kind], x, "a truth value and sides of its type")
            case Cast(type=kind):
                need(below[0] == types.int64 if isinstance(kind, BufferType) else True, x, "a word")
            case Load(type=kind):
                held, at = below
                need(
                    isinstance(held, BufferType) and held.dtype == kind and at == types.int64, x, "a place in a buffer"
                )
            case Call(type=kind, function=Function() as called):
                need((kind, below) == (called.result, [p.type for p in called.parameters]), x, "what it takes")
            case Call(type=kind, function=called):
                result, given = takes(called, tuple(below))
                need((kind, tuple(below)) == (result, given), x, "what it takes")
        return x.type

    def block(statements: tuple[Any, ...], outside: dict[str, Any]) -> None:
        names = dict(outside)
        for s in statements:
            match s:
                case Let(name=name, value=value):
                    need(name not in names and name not in variables, s, "a new name")
                    names[name] = expression(value, names)
                case Set(name=name, value=value):
                    need(expression(value, names) == variables[name] and name not in names, s, "a variable of one type")
                case Store(buffer=held, index=index, value=value):
                    kind, at, given = (expression(x, names) for x in (held, index, value))
                    need(isinstance(kind, BufferType) and kind.dtype == given and at == types.int64, s, "its dtype")
                case For(counter=counter, first=first, last=last, step=step, body=body):
                    bounds = [expression(x, names) for x in (first, last)]
                    need(bounds == [types.int64] * 2 and step > 0, s, "words as bounds, and a positive step")
                    block(body, names | {counter: types.int64})
                case While(test=test, body=body) | If(test=test, then=body):
                    need(expression(test, names) == types.boolean, s, "a truth value")
                    block(body, names)
                    block(s.other if isinstance(s, If) else (), names)
                case Return(value=value):
                    kind = types.none if value is None else expression(value, names)
                    need(kind == function.result, s, "the type of its result")
                case _:
                    expression(s, names)

    block(function.body, {p.name: p.type for p in function.parameters})
