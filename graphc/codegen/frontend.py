"""From the Python of a kernel to the loop IR, for the few forms that kernels are written in.

Numba's own way goes over a function many times, since a name may have several types and a type may follow from a later
line. In a kernel the first assignment to a name gives its type, so one walk over the syntax tree does. What operators
and functions mean is asked of a `Meaning`: `codegen.semantics`, or Numba's contexts. A form that is not here raises
`Unlowered`, and `codegen.pipeline` leaves the function to Numba's own way.
"""

from __future__ import annotations

import ast
import builtins
import inspect
import textwrap
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cache, reduce
from types import CodeType
from typing import Any, Protocol

import numpy as np
from numba import from_dtype, types

from graphc.codegen import loop_ir as ir
from graphc.codegen.buffer import BufferType, buffer
from graphc.codegen.semantics import DTYPES, OPERATORS, Unlowered

SIGNS = {
    ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/", ast.FloorDiv: "//", ast.Mod: "%", ast.LShift: "<<",
    ast.RShift: ">>", ast.BitAnd: "&", ast.BitOr: "|", ast.BitXor: "^", ast.Eq: "==", ast.NotEq: "!=", ast.Lt: "<",
    ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=", ast.USub: "neg", ast.Invert: "~",
}  # fmt: skip
EXTREME = {min: "min", max: "max"}
KINDS = {bool: types.boolean, int: types.int64, float: types.float64}


class Meaning(Protocol):
    """What functions and operators mean in a kernel."""

    def resolve_value_type(self, value: Any) -> Any: ...

    def unify_types(self, *kinds: Any) -> Any: ...

    def resolve(self, function: Any, kinds: tuple[Any, ...]) -> tuple[Any, Callable[..., Any]]: ...


class Reader:
    """Reads one function. A name that is assigned once is its value, seen by the block that it stands in."""

    nothing: ir.Expr | None = None  # what a function returns that has a result and says none

    def __init__(self, meaning: Meaning, tree: ast.FunctionDef, scope: dict[str, Any], kinds: Sequence[Any]) -> None:
        self.meaning, self.tree, self.scope = meaning, tree, scope
        self.names: dict[str, Any] = {}  # types of what the blocks around see
        self.variables: dict[str, Any] = {}
        self.out: list[ir.Stmt] = []
        names = [a.arg for a in tree.args.args]
        self.changing = {name for name, count in Counter([*names, *_assigned(tree)]).items() if count > 1}
        self.parameters = []
        for name, kind in zip(names, kinds, strict=True):
            own = f"{name}_given" if name in self.changing else name
            self.parameters.append(ir.Var(kind, own))
            self.names[own] = kind
            if own != name:
                self.assign(name, self.parameters[-1], tree.lineno)

    def function(self, name: str, result: Any = None, outlined: bool = False) -> ir.Function:
        """The whole of it; the type of its result is what all returns have in common where it is not given."""
        reached = self.block(self.tree.body)
        if reached:
            self.out.append(ir.Return(None))
        body = tuple(self.out)
        given = [s for x in body for s in ir.walk(x) if isinstance(s, ir.Return)]
        found = {types.none if r.value is None else r.value.type for r in given}
        if result is None:
            result = types.none if found <= {types.none} else self.meaning.unify_types(*found)
        if found != {result}:

            def returned(node: Any) -> Any:
                if not isinstance(node, ir.Return):
                    return node
                if result == types.none:  # of a function that C calls, or one that is called for what it does
                    return ir.Return(None, node.line)
                if node.value is None and self.nothing is not None:
                    return ir.Return(self.cast(self.nothing, result), node.line)
                if node.value is None:
                    raise Unlowered(f"{self.tree.name} does not always return {result}")
                return ir.Return(self.cast(node.value, result), node.line)

            body = tuple(ir.rebuild(s, returned) for s in body)
        return ir.Function(name, tuple(self.parameters), result, body, outlined)

    # ---- statements

    def block(self, statements: Sequence[ast.stmt]) -> bool:
        """Statements in order; whether what follows them is reached."""
        return all(self.statement(node) for node in statements)

    @contextmanager
    def inside(self, **names: Any) -> Iterator[list[ir.Stmt]]:
        """A block whose names end with it."""
        outside, out = self.names, self.out
        self.names, self.out = self.names | names, []
        yield self.out
        self.names, self.out = outside, out

    def statement(self, node: ast.stmt) -> bool:
        line = node.lineno
        match node:
            case ast.Assign(targets=[ast.Name(id=name)]) | ast.AnnAssign(target=ast.Name(id=name), value=ast.expr()):
                assert node.value is not None
                self.assign(name, self.expression(node.value), line)
            case ast.Assign(targets=[ast.Subscript(value=held, slice=index)]):
                place = self.buffer(held)
                value = self.cast(self.expression(node.value), place.type.dtype)
                self.out.append(ir.Store(place, self.cast(self.expression(index), types.int64), value, line))
            case ast.Assign(targets=[ast.Tuple(elts=targets)], value=ast.Tuple(elts=values)):
                self.assign_all(node, targets, [self.expression(v) for v in values])
            case ast.AugAssign(target=ast.Name(id=name), op=op, value=added):
                self.assign(name, self.operate(type(op), self.name(name), self.expression(added)), line)
            case ast.Expr(value=ast.Constant()) | ast.Pass():
                pass
            case ast.Expr(value=ast.Call() as called):
                made = self.expression(called)
                if isinstance(made, ir.Call):
                    self.out.append(replace(made, line=line))
            case ast.For(target=ast.Name(id=name), iter=ast.Call(func=ast.Name(id="range"), args=bounds), orelse=[]):
                self.loop(name, bounds, node.body, line)
            case ast.While(test=test, orelse=[]):
                holds = self.truth(test)
                with self.inside() as body:
                    self.block(node.body)
                self.out.append(ir.While(holds, tuple(body), line))
            case ast.If(test=test, body=body, orelse=other):
                return self.choose(self.truth(test), body, other, line)
            case ast.Return(value=value):
                self.out.append(ir.Return(None if value is None else self.plain(self.expression(value)), line))
                return False
            case _:
                raise Unlowered(ast.unparse(node))
        return True

    def assign(self, name: str, value: ir.Expr, line: int) -> None:
        value = self.plain(value)
        if name not in self.changing:
            self.names[name] = value.type
            self.out.append(ir.Let(name, value, line))
            return
        if name in self.names or self.variables.setdefault(name, value.type) != value.type:
            raise Unlowered(f"{name} counts a loop, or has two types")
        self.out.append(ir.Set(name, value, line))

    def assign_all(self, node: ast.Assign, targets: list[ast.expr], values: list[ir.Expr]) -> None:
        """All values are computed before the first name has its own."""
        names = [target.id for target in targets if isinstance(target, ast.Name)]
        if len(names) != len(targets):
            raise Unlowered(ast.unparse(node))
        for k, value in enumerate(values):
            if any(isinstance(n, ir.Var) and n.name in names[:k] for n in ir.walk(value)):
                kept = f"{names[k]}_next{len(self.names)}"
                self.assign(kept, value, node.lineno)
                values[k] = self.name(kept)
        for name, value in zip(names, values, strict=True):
            self.assign(name, value, node.lineno)

    def loop(self, name: str, bounds: list[ast.expr], body: list[ast.stmt], line: int) -> None:
        """``for name in range(...)`` with a positive constant step."""
        given = [self.expression(b) for b in bounds]
        zero, one = self.constant(0), self.constant(1)
        first, last, step = {1: [zero, *given, one], 2: [*given, one]}.get(len(given), given)
        if not isinstance(step, ir.Const) or not isinstance(step.type, types.IntegerLiteral) or step.value < 1:
            raise Unlowered("a step that is not a positive constant")
        with self.inside(**{name: types.int64}) as inner:
            self.block(body)
        start, stop = self.cast(first, types.int64), self.cast(last, types.int64)
        self.out.append(ir.For(name, start, stop, int(step.value), tuple(inner), line))

    def choose(self, test: ir.Expr, body: list[ast.stmt], other: list[ast.stmt], line: int) -> bool:
        with self.inside() as then:
            goes_on = self.block(body)
        with self.inside() as otherwise:
            goes_on |= self.block(other)
        self.out.append(ir.If(test, tuple(then), tuple(otherwise), line))
        return goes_on

    # ---- expressions

    def expression(self, node: ast.expr) -> ir.Expr:
        match node:
            case ast.Name(id=name):
                return self.name(name)
            case ast.Constant(value=value):
                return self.constant(value)
            case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as value)):
                return self.constant(-value)
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                return ir.Unary(types.boolean, "not", self.truth(operand))
            case ast.UnaryOp(op=op, operand=operand):
                return self.operate(type(op), self.expression(operand))
            case ast.BinOp(left=left, op=op, right=right) | ast.Compare(left=left, ops=[op], comparators=[right]):
                return self.operate(type(op), self.expression(left), self.expression(right))
            case ast.Subscript(value=held, slice=index):
                place = self.buffer(held)
                return ir.Load(place.type.dtype, place, self.cast(self.expression(index), types.int64))
            case ast.Call(func=ast.Name(id=name), args=args, keywords=[]):
                return self.call(self.function_called(name), [self.expression(a) for a in args], name)
            case ast.BoolOp(op=op, values=values):
                return self.shortcut([self.expression(v) for v in values], "or" if isinstance(op, ast.Or) else "and")
            case ast.IfExp(test=test, body=then, orelse=other):
                holds, sides = self.truth(test), [self.plain(self.expression(x)) for x in (then, other)]
                kind = self.meaning.unify_types(*(x.type for x in sides))
                return ir.Select(kind, holds, *(self.cast(x, kind) for x in sides))
        raise Unlowered(ast.unparse(node))

    def function_called(self, name: str) -> Any:
        """What a call of a name calls: a dtype that was passed, something outside, or one of Python's own."""
        held = self.names.get(name)
        if isinstance(held, types.NumberClass):
            return np.dtype(DTYPES[held.dtype]).type
        return self.scope.get(name, getattr(builtins, name, None))

    def name(self, name: str) -> ir.Expr:
        kind = self.names.get(name, self.variables.get(name))
        if kind is not None:
            return ir.Var(kind, name)
        if name not in self.scope:
            raise Unlowered(f"{name} is not known here")
        value = self.scope[name]
        if isinstance(value, (bool, int, float)):
            return self.constant(value)
        return ir.Const(self.meaning.resolve_value_type(value), value)

    def constant(self, value: Any) -> ir.Const:
        kind = KINDS.get(type(value))
        if kind is None or (kind == types.int64 and not -(2**63) <= value < 2**63):
            raise Unlowered(f"the constant {value!r}")
        return ir.Const(types.literal(value) if kind == types.int64 else kind, value)

    def buffer(self, node: ast.expr) -> ir.Expr:
        held = self.expression(node)
        if not isinstance(held.type, BufferType):
            raise Unlowered(f"an element of {held.type}")
        return held

    def operate(self, op: type[ast.AST], *operands: ir.Expr) -> ir.Expr:
        if op not in SIGNS:
            raise Unlowered(op.__name__)
        sign = SIGNS[op]
        signature, _ = self.meaning.resolve(OPERATORS[sign], tuple(types.unliteral(x.type) for x in operands))
        given = [self.cast(x, kind) for x, kind in zip(operands, signature.args, strict=True)]
        if len(given) == 1:
            return ir.Unary(signature.return_type, "-" if sign == "neg" else sign, given[0])
        return ir.Binary(signature.return_type, sign, *given)

    def call(self, function: Any, args: list[ir.Expr], name: str) -> ir.Expr:
        """A call of a function, or a conversion where that is what it is."""
        if function is buffer:
            dtype, scope, scopes = (a.type for a in args[1:])
            return ir.Cast(BufferType(dtype.dtype, scope.literal_value, scopes.literal_value), self.plain(args[0]))
        if isinstance(function, type) and issubclass(function, np.generic) and len(args) == 1:
            return self.cast(args[0], from_dtype(np.dtype(function)))
        if function in EXTREME and len(args) > 1 and all(isinstance(a.type, types.Integer) for a in args):
            words = [self.cast(a, types.int64) for a in args]
            return reduce(lambda a, b: ir.Binary(types.int64, EXTREME[function], a, b), words)
        signature, _ = self.meaning.resolve(function, tuple(a.type for a in args))
        given = tuple(self.cast(a, kind) for a, kind in zip(args, signature.args, strict=True))
        return ir.Call(types.unliteral(signature.return_type), function, given, name)  # a function may return 0 alone

    @staticmethod
    def plain(x: ir.Expr) -> ir.Expr:
        """A number that intrinsics might have wanted to know, as any other."""
        return ir.Const(types.int64, x.value) if isinstance(x.type, types.IntegerLiteral) else x  # type: ignore[union-attr]

    def cast(self, x: ir.Expr, kind: Any) -> ir.Expr:
        if x.type == kind:
            return x
        x = self.plain(x)
        if x.type == kind:
            return x
        if isinstance(x, ir.Const) and kind in DTYPES and x.type in DTYPES:
            value = _converted(x.value, DTYPES[kind])
            if value is not None:
                return ir.Const(kind, value)
        return ir.Cast(kind, x)

    def truth(self, node: ast.expr) -> ir.Expr:
        return self.cast(self.expression(node), types.boolean)

    def shortcut(self, values: list[ir.Expr], op: str) -> ir.Expr:
        """``and`` and ``or`` of truth values."""
        for x in values:
            if x.type != types.boolean:
                raise Unlowered(f"and, or with {x.type}")
        first, *others = values
        return ir.Binary(types.boolean, op, first, self.shortcut(others, op)) if others else first


def _converted(value: Any, dtype: str) -> Any:
    """A constant as one of that dtype; None where that is left to the processor."""
    with np.errstate(all="ignore"):
        if dtype.startswith("float"):
            made = np.dtype(dtype).type(value)
            return float(made) if np.isfinite(made) or not np.isfinite(value) else None
    if isinstance(value, float):
        return bool(value) if dtype == "bool" else None
    if dtype == "bool":
        return bool(value)
    info = np.iinfo(dtype)
    return int(value) if info.min <= value <= info.max else None


def _assigned(tree: ast.FunctionDef) -> Iterator[str]:
    """Each name as often as something other than a loop gives it a value."""
    for node in ast.walk(tree):
        if isinstance(node, (ast.Assign, ast.AugAssign, ast.AnnAssign)):
            for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                yield from (n.id for n in ast.walk(target) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store))


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
