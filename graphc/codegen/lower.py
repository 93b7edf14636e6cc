"""From the Python of a kernel to LLVM, for the few forms that kernels are written in.

Numba's own way there goes over a function many times, since a name may have several types and a type may follow from a
later line. In a kernel the first assignment to a name gives its type, so one walk over the syntax tree does. What
operators and functions mean is Numba's: its typing context gives their signatures, its target context their code. A
form that is not here raises `Unlowered`, and `codegen.pipeline` leaves the function to Numba's own way.
"""

from __future__ import annotations

import ast
import builtins
import inspect
import operator
import textwrap
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache, lru_cache, partial, reduce
from types import CodeType
from typing import Any, NamedTuple

import numpy as np
from numba import types

from graphc.codegen.buffer import BufferType, buffer, load, pointer, store
from graphc.codegen.llvm import on_stack
from graphc.codegen.semantics import DTYPES, Unlowered

ARITHMETIC = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv, ast.Mod: operator.mod, ast.LShift: operator.lshift, ast.RShift: operator.rshift,
    ast.BitAnd: operator.and_, ast.BitOr: operator.or_, ast.BitXor: operator.xor, ast.Eq: operator.eq,
    ast.NotEq: operator.ne, ast.Lt: operator.lt, ast.LtE: operator.le, ast.Gt: operator.gt, ast.GtE: operator.ge,
    ast.USub: operator.neg, ast.Invert: operator.invert,
}  # fmt: skip

EXTREME = {min: "<", max: ">"}


class Typed(NamedTuple):
    """A value of a kernel: its Numba type, and what LLVM computes."""

    type: Any
    value: Any


class Lowering:
    """Writes one function into an LLVM builder.

    ``finish`` is called with what the function returns. A name that is assigned once is its value, seen by the block
    that it stands in; any other is a place on the stack.
    """

    def __init__(self, typing: Any, target: Any, builder: Any, scope: dict[str, Any]) -> None:
        self.typing, self.target, self.builder, self.scope = typing, target, builder, scope
        self.names: dict[str, Typed] = {}
        self.places: dict[str, Typed] = {}
        self.changing: set[str] = set()
        self.known: dict[Any, tuple[Any, Callable[..., Any]]] = {}

    def function(self, tree: ast.FunctionDef, arguments: Sequence[Typed], finish: Callable[[Typed], None]) -> None:
        """The whole of a function."""
        self.finish = finish
        names = [a.arg for a in tree.args.args]
        self.changing = {name for name, count in Counter([*names, *_assigned(tree)]).items() if count > 1}
        for name, value in zip(names, arguments, strict=True):
            self.assign(name, value)
        if self.block(tree.body):
            finish(self.nothing())

    def nothing(self) -> Typed:
        return Typed(types.none, self.target.get_dummy_value())

    # ---- statements

    def block(self, statements: Sequence[ast.stmt]) -> bool:
        """Statements in order; whether what follows them is reached."""
        return all(self.statement(node) for node in statements)

    @contextmanager
    def inside(self) -> Iterator[None]:
        """A block whose names end with it."""
        outside, self.names = self.names, dict(self.names)
        yield
        self.names = outside

    def statement(self, node: ast.stmt) -> bool:
        match node:
            case ast.Assign(targets=[ast.Name(id=name)]):
                self.assign(name, self.expression(node.value))
            case ast.Assign(targets=[ast.Subscript(value=held, slice=index)]):
                place = self.pointer(held)
                value = self.cast(self.expression(node.value), place.type.dtype)
                at = self.cast(self.expression(index), types.int64)
                store(self.target, self.builder, place.type, place.value, at, value)
            case ast.Assign(targets=[ast.Tuple(elts=targets)], value=ast.Tuple(elts=values)):
                for target, value in zip(targets, [self.expression(v) for v in values], strict=True):
                    if not isinstance(target, ast.Name):
                        raise Unlowered(ast.unparse(node))
                    self.assign(target.id, value)
            case ast.AugAssign(target=ast.Name(id=name), op=op, value=added):
                self.assign(name, self.operate(type(op), self.name(name), self.expression(added)))
            case ast.Expr(value=ast.Constant()):
                pass
            case ast.Expr(value=value):
                self.expression(value)
            case ast.For(target=ast.Name(id=name), iter=ast.Call(func=ast.Name(id="range"), args=bounds), orelse=[]):
                self.loop(name, bounds, node.body)
            case ast.While(test=test, orelse=[]):
                self.repeat(test, node.body)
            case ast.If(test=test, body=body, orelse=other):
                return self.choose(test, body, other)
            case ast.Return(value=value):
                self.finish(self.nothing() if value is None else self.expression(value))
                return False
            case _:
                raise Unlowered(ast.unparse(node))
        return True

    def assign(self, name: str, value: Typed) -> None:
        kind = types.unliteral(value.type)
        if name not in self.changing:
            self.names[name] = Typed(kind, value.value)
            return
        if name not in self.places:
            where = on_stack(self.builder, self.target.get_value_type(kind), name=name)
            self.places[name] = Typed(kind, where)
        if name in self.names or self.places[name].type != kind:
            raise Unlowered(f"{name} counts a loop, or has two types")
        self.builder.store(value.value, self.places[name].value)

    def loop(self, name: str, bounds: list[ast.expr], body: list[ast.stmt]) -> None:
        """``for name in range(...)`` with a positive constant step."""
        zero, one = self.constant(0), self.constant(1)
        given = [self.expression(b) for b in bounds]
        first, last, step = {1: [zero, *given, one], 2: [*given, one]}.get(len(given), given)
        if not isinstance(step.type, types.IntegerLiteral) or step.type.literal_value < 1:
            raise Unlowered("a step that is not a positive constant")
        start, stop = self.cast(first, types.int64), self.cast(last, types.int64)
        before = self.builder.block
        head, run, after = (self.builder.append_basic_block(label) for label in ("for", "run", "after"))
        self.builder.branch(head)
        self.builder.position_at_end(head)
        counter = self.builder.phi(start.type)
        counter.add_incoming(start, before)
        self.builder.cbranch(self.builder.icmp_signed("<", counter, stop), run, after)
        self.builder.position_at_end(run)
        with self.inside():
            self.names[name] = Typed(types.int64, counter)
            if self.block(body):
                following = self.builder.add(counter, step.value, flags=("nsw",))
                counter.add_incoming(following, self.builder.block)
                self.builder.branch(head)
        self.builder.position_at_end(after)

    def repeat(self, test: ast.expr, body: list[ast.stmt]) -> None:
        head, run, after = (self.builder.append_basic_block(label) for label in ("while", "run", "after"))
        self.builder.branch(head)
        self.builder.position_at_end(head)
        self.builder.cbranch(self.truth(test), run, after)
        self.builder.position_at_end(run)
        with self.inside():
            if self.block(body):
                self.builder.branch(head)
        self.builder.position_at_end(after)

    def choose(self, test: ast.expr, body: list[ast.stmt], other: list[ast.stmt]) -> bool:
        then, otherwise, after = (self.builder.append_basic_block(label) for label in ("then", "else", "after"))
        self.builder.cbranch(self.truth(test), then, otherwise)
        reached = False
        for start, statements in ((then, body), (otherwise, other)):
            self.builder.position_at_end(start)
            with self.inside():
                if self.block(statements):
                    self.builder.branch(after)
                    reached = True
        self.builder.position_at_end(after)
        if not reached:
            self.builder.unreachable()
        return reached

    # ---- expressions

    def expression(self, node: ast.expr) -> Typed:
        match node:
            case ast.Name(id=name):
                return self.name(name)
            case ast.Constant(value=value):
                return self.constant(value)
            case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as value)):
                return self.constant(-value)
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                return Typed(types.boolean, self.builder.not_(self.truth(operand)))
            case ast.UnaryOp(op=op, operand=operand):
                return self.operate(type(op), self.expression(operand))
            case ast.BinOp(left=left, op=op, right=right) | ast.Compare(left=left, ops=[op], comparators=[right]):
                return self.operate(type(op), self.expression(left), self.expression(right))
            case ast.Subscript(value=held, slice=index):
                place = self.pointer(held)
                at = self.cast(self.expression(index), types.int64)
                return Typed(place.type.dtype, load(self.target, self.builder, place.type, place.value, at))
            case ast.Call(func=ast.Name(id=name), args=args, keywords=[]):
                return self.call(self.function_called(name), *map(self.expression, args))
            case ast.BoolOp(op=op, values=values):
                return self.shortcut(values, isinstance(op, ast.Or))
            case ast.IfExp(test=test, body=body, orelse=other):
                return self.either(test, body, other)
        raise Unlowered(ast.unparse(node))

    def function_called(self, name: str) -> Any:
        """What a call of a name calls: a dtype that was passed, something outside, or one of Python's own."""
        held = self.names.get(name)
        if held is not None and isinstance(held.type, types.NumberClass):
            return np.dtype(DTYPES[held.type.dtype]).type
        return self.scope.get(name, getattr(builtins, name, None))

    def name(self, name: str) -> Typed:
        if name in self.names:
            return self.names[name]
        if name in self.places:
            place = self.places[name]
            return Typed(place.type, self.builder.load(place.value))
        if name not in self.scope:
            raise Unlowered(f"{name} is not known here")
        value = self.scope[name]
        if isinstance(value, (bool, int, float)):
            return self.constant(value)
        return Typed(self.typing.resolve_value_type(value), self.target.get_dummy_value())

    def constant(self, value: Any) -> Typed:
        kind = {bool: types.boolean, int: types.int64, float: types.float64}.get(type(value))
        if kind is None or (kind == types.int64 and not -(2**63) <= value < 2**63):
            raise Unlowered(f"the constant {value!r}")
        held = self.target.get_constant(kind, value)
        return Typed(types.literal(value) if kind == types.int64 else kind, held)

    def pointer(self, node: ast.expr) -> Typed:
        held = self.expression(node)
        if not isinstance(held.type, BufferType):
            raise Unlowered(f"an element of {held.type}")
        return held

    def operate(self, op: type[ast.AST], *operands: Typed) -> Typed:
        if op not in ARITHMETIC:
            raise Unlowered(op.__name__)
        return self.call(ARITHMETIC[op], *(Typed(types.unliteral(x.type), x.value) for x in operands))

    def call(self, function: Any, *args: Typed) -> Typed:
        """What Numba makes of a function, or of the function that stands for an operator."""
        if function is buffer:
            kind, held = pointer(self.target, self.builder, args[0].value, *(a.type for a in args[1:]))
            return Typed(kind, held)
        if function in EXTREME and len(args) > 1 and all(isinstance(a.type, types.Integer) for a in args):
            return reduce(partial(self.extreme, EXTREME[function]), args)
        key = function, *(a.type for a in args)
        if key not in self.known:
            self.known[key] = self.resolve(function, tuple(a.type for a in args))
        signature, code = self.known[key]
        given = [self.cast(a, kind) for a, kind in zip(args, signature.args, strict=True)]
        return Typed(signature.return_type, code(self.builder, given))

    def extreme(self, sign: str, a: Typed, b: Typed) -> Typed:
        """The smaller or larger of two sizes."""
        first, second = (self.cast(x, types.int64) for x in (a, b))
        return Typed(types.int64, self.builder.select(self.builder.icmp_signed(sign, first, second), first, second))

    def resolve(self, function: Any, kinds: tuple[Any, ...]) -> tuple[Any, Callable[..., Any]]:
        """Numba's signature and code for a function of these types."""
        kind, signature = _signature(self.typing, function, kinds)
        return signature, self.target.get_function(kind, signature)

    def cast(self, x: Typed, kind: Any) -> Any:
        return x.value if x.type == kind else self.target.cast(self.builder, x.value, x.type, kind)

    def truth(self, node: ast.expr) -> Any:
        x = self.expression(node)
        return x.value if x.type == types.boolean else self.target.is_true(self.builder, x.type, x.value)

    def shortcut(self, values: list[ast.expr], ends: bool) -> Typed:
        """``and`` and ``or`` of truth values: what follows one that decides is not evaluated."""
        after = self.builder.append_basic_block("decided")
        decided = []
        for k, node in enumerate(values):
            x = self.expression(node)
            if x.type != types.boolean:
                raise Unlowered(f"and, or with {x.type}")
            decided.append((x.value, self.builder.block))
            if k == len(values) - 1:
                self.builder.branch(after)
                break
            more = self.builder.append_basic_block("more")
            self.builder.cbranch(x.value, *((after, more) if ends else (more, after)))
            self.builder.position_at_end(more)
        self.builder.position_at_end(after)
        return self.merge(types.boolean, decided)

    def either(self, test: ast.expr, body: ast.expr, other: ast.expr) -> Typed:
        blocks = [self.builder.append_basic_block(label) for label in ("then", "else")]
        after = self.builder.append_basic_block("either")
        self.builder.cbranch(self.truth(test), *blocks)
        values, ends = [], []
        for block, node in zip(blocks, (body, other), strict=True):
            self.builder.position_at_end(block)
            values.append(self.expression(node))
            ends.append(self.builder.block)
        kind = self.typing.unify_types(*(types.unliteral(v.type) for v in values))
        merged = []
        for value, end in zip(values, ends, strict=True):
            self.builder.position_at_end(end)
            merged.append((self.cast(value, kind), self.builder.block))
            self.builder.branch(after)
        self.builder.position_at_end(after)
        return self.merge(kind, merged)

    def merge(self, kind: Any, values: Sequence[tuple[Any, Any]]) -> Typed:
        phi = self.builder.phi(self.target.get_value_type(kind))
        for value, block in values:
            phi.add_incoming(value, block)
        return Typed(kind, phi)


def _assigned(tree: ast.FunctionDef) -> Iterator[str]:
    """Each name as often as something other than a loop gives it a value."""
    for node in ast.walk(tree):
        if isinstance(node, (ast.Assign, ast.AugAssign)):
            for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                yield from (n.id for n in ast.walk(target) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store))


@lru_cache(maxsize=1 << 12)
def _signature(typing: Any, function: Any, kinds: tuple[Any, ...]) -> tuple[Any, Any]:
    """Numba's type of a function, and its signature for these types; `Unlowered` where it has none."""
    kind = typing.resolve_value_type(function)
    signature = kind and typing.resolve_function_type(kind, kinds, {})
    if signature is None or signature.recvr or len(signature.args) != len(kinds):
        raise Unlowered(f"{function} of {kinds}")
    return kind, signature


def tree_of(function: Any) -> ast.FunctionDef:
    """The syntax tree of a function; OSError where its file is not there, or no longer what was imported."""
    made = getattr(function, "tree", None)  # of generated source
    return _tree_in_file(function) if made is None else made


@cache
def _tree_in_file(function: Any) -> ast.FunctionDef:
    (tree,) = ast.parse(textwrap.dedent(inspect.getsource(function))).body
    (code,) = (c for c in compile(ast.Module([tree], []), "", "exec").co_consts if isinstance(c, CodeType))
    if (code.co_code, code.co_consts) != (function.__code__.co_code, function.__code__.co_consts):
        raise OSError(f"{function.__code__.co_filename} has changed since it was imported")
    assert isinstance(tree, ast.FunctionDef)
    return tree
