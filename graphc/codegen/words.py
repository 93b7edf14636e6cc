"""Functions of 64-bit words, translated from Python to LLVM as they stand.

What runs between the interpreter, threads and kernels computes with addresses, counts and flags only. It has no types
to infer, so it is translated statement by statement, in milliseconds where Numba takes a second. A function is plain
Python: assignments, ``if``, ``while``, ``for`` over a range, ``return``, arithmetic and comparisons of words, constants
of its module, calls of other such functions, of Numba's intrinsics, and of C functions declared by `c_function`.
"""

from __future__ import annotations

import ast
import inspect
import pickle
import sys
import textwrap
from collections.abc import Callable
from functools import cache
from types import FunctionType
from typing import Any

from llvmlite import ir
from numba.core import types
from numba.core.compiler_lock import global_compiler_lock
from numba.core.registry import cpu_target

from graphc.codegen.jit import entry_file, read_whole, write_whole

WORD = ir.IntType(64)
ZERO = WORD(0)
BINARY = {
    ast.Add: "add", ast.Sub: "sub", ast.Mult: "mul", ast.BitAnd: "and_", ast.BitOr: "or_", ast.RShift: "lshr",
}  # fmt: skip
COMPARED = {ast.Eq: "==", ast.NotEq: "!=", ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">="}
STATEMENTS = {
    ast.Expr: "expr", ast.Assign: "assign", ast.AugAssign: "augassign", ast.If: "if_", ast.While: "while_",
    ast.For: "for_", ast.Return: "return_",
}  # fmt: skip
EXPRESSIONS = {
    ast.Constant: "constant", ast.Name: "name", ast.BinOp: "binop", ast.UnaryOp: "unaryop", ast.Compare: "compare",
    ast.BoolOp: "boolop", ast.IfExp: "ifexp", ast.Call: "call",
}  # fmt: skip
OF = {types.int64: WORD, types.int32: ir.IntType(32), types.none: ir.VoidType()}

_held: list[Any] = []  # libraries, whose code must stay


@cache
def address_of(function: FunctionType) -> int:
    """The address of a function of words as a C function; compiled once, then kept on disk."""
    codegen = cpu_target.target_context.codegen()
    name = f"graphc_{function.__name__}"
    file = entry_file(f"{name} of {inspect.getsource(sys.modules[function.__module__])}")
    data = None if file is None else read_whole(file)
    with global_compiler_lock:
        if data is not None:
            library = codegen.unserialize_library(pickle.loads(data))
        else:
            library = codegen.create_library(name)
            library.enable_object_caching()
            module = library.create_ir_module(name)
            _Module(module).function(function, name)
            library.add_ir_module(module)
            library.finalize()
        address: int = library.get_pointer_to_function(name)
    if file is not None and data is None:
        write_whole(file, pickle.dumps(library.serialize_using_object_code()))
    _held.append(library)
    return address


class _Module:
    """Functions of one LLVM module."""

    def __init__(self, module: Any) -> None:
        self.module = module
        self.made: dict[FunctionType, Any] = {}

    def function(self, function: FunctionType, name: str, linkage: str = "") -> Any:
        (tree,) = ast.parse(textwrap.dedent(inspect.getsource(function))).body
        assert isinstance(tree, ast.FunctionDef)
        made = ir.Function(self.module, ir.FunctionType(WORD, [WORD] * len(tree.args.args)), name)
        made.linkage = linkage
        self.made[function] = made
        _Body(self, made, tree, function.__globals__)
        return made

    def call(self, builder: Any, callee: Any, args: list[Any]) -> Any:
        """A call of whatever a name stands for."""
        if isinstance(callee, types.ExternalFunction):
            kind = ir.FunctionType(OF[callee.sig.return_type], [OF[t] for t in callee.sig.args])
            known = self.module.globals.get(callee.symbol) or ir.Function(self.module, kind, callee.symbol)
            return _word(builder, builder.call(known, args))
        if isinstance(callee, FunctionType):
            return builder.call(self.made.get(callee) or self.function(callee, callee.__name__, "internal"), args)
        sig, codegen = callee._defn(None, *[types.int64] * len(args))
        return _word(builder, codegen(cpu_target.target_context, builder, sig, args))


def _word(builder: Any, value: Any) -> Any:
    if not isinstance(value.type, ir.IntType):
        return ZERO
    return (
        value
        if value.type == WORD
        else builder.sext(value, WORD)
        if value.type.width > 1
        else builder.zext(value, WORD)
    )


class _Body:
    """A function's statements; its variables are memory on the stack, which LLVM makes values."""

    def __init__(self, module: _Module, function: Any, tree: ast.FunctionDef, scope: dict[str, Any]) -> None:
        self.module, self.scope = module, scope
        self.builder = builder = ir.IRBuilder(function.append_basic_block("entry"))
        names = [n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)]
        arguments = [a.arg for a in tree.args.args]
        self.local = {name: builder.alloca(WORD, name=name) for name in dict.fromkeys(arguments + names)}
        for name, value in zip(arguments, function.args, strict=True):
            builder.store(value, self.local[name])
        self.block(tree.body)
        if not builder.block.is_terminated:
            builder.ret(ZERO)

    def block(self, statements: list[ast.stmt]) -> None:
        for statement in statements:
            if self.builder.block.is_terminated:
                return
            getattr(self, STATEMENTS[type(statement)])(statement)

    # ---- statements

    def expr(self, node: ast.Expr) -> None:
        if not isinstance(node.value, ast.Constant):  # a docstring
            self.value(node.value)

    def assign(self, node: ast.Assign) -> None:
        (target,) = node.targets
        if isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
            pairs = list(zip(target.elts, [self.value(v) for v in node.value.elts], strict=True))
        else:
            pairs = [(target, self.value(node.value))]
        for name, value in pairs:
            assert isinstance(name, ast.Name)
            self.builder.store(value, self.local[name.id])

    def augassign(self, node: ast.AugAssign) -> None:
        assert isinstance(node.target, ast.Name)
        at = self.local[node.target.id]
        self.builder.store(self.binary(node.op, self.builder.load(at), self.value(node.value)), at)

    def if_(self, node: ast.If) -> None:
        with self.builder.if_else(self.test(node.test)) as (then, otherwise):
            with then:
                self.block(node.body)
            with otherwise:
                self.block(node.orelse)

    def while_(self, node: ast.While) -> None:
        head, body, after = (self.builder.append_basic_block(n) for n in ("head", "body", "after"))
        self.builder.branch(head)
        self.builder.position_at_end(head)
        self.builder.cbranch(self.test(node.test), body, after)
        self.builder.position_at_end(body)
        self.block(node.body)
        if not self.builder.block.is_terminated:
            self.builder.branch(head)
        self.builder.position_at_end(after)

    def for_(self, node: ast.For) -> None:
        """``for k in range(...)``, of which ``k`` is not changed in the loop."""
        assert isinstance(node.target, ast.Name) and isinstance(node.iter, ast.Call)
        bounds = [self.value(a) for a in node.iter.args]
        low, high = bounds if len(bounds) == 2 else (ZERO, bounds[0])
        at = self.local[node.target.id]
        head, body, after = (self.builder.append_basic_block(n) for n in ("head", "body", "after"))
        start = self.builder.block
        self.builder.branch(head)
        self.builder.position_at_end(head)
        k = self.builder.phi(WORD)
        k.add_incoming(low, start)
        self.builder.cbranch(self.builder.icmp_signed("<", k, high), body, after)
        self.builder.position_at_end(body)
        self.builder.store(k, at)
        self.block(node.body)
        if not self.builder.block.is_terminated:
            k.add_incoming(self.builder.add(k, WORD(1)), self.builder.block)
            self.builder.branch(head)
        self.builder.position_at_end(after)

    def return_(self, node: ast.Return) -> None:
        self.builder.ret(ZERO if node.value is None else self.value(node.value))

    # ---- expressions

    def test(self, node: ast.expr) -> Any:
        return self.builder.icmp_unsigned("!=", self.value(node), ZERO)

    def value(self, node: ast.expr) -> Any:
        visit: Callable[[Any], Any] = getattr(self, EXPRESSIONS[type(node)])
        return visit(node)

    def constant(self, node: ast.Constant) -> Any:
        assert isinstance(node.value, int)
        return WORD(int(node.value))

    def name(self, node: ast.Name) -> Any:
        return self.builder.load(self.local[node.id]) if node.id in self.local else WORD(self.scope[node.id])

    def binary(self, op: ast.operator, left: Any, right: Any) -> Any:
        return getattr(self.builder, BINARY[type(op)])(left, right)

    def binop(self, node: ast.BinOp) -> Any:
        return self.binary(node.op, self.value(node.left), self.value(node.right))

    def unaryop(self, node: ast.UnaryOp) -> Any:
        value = self.value(node.operand)
        if isinstance(node.op, ast.USub):
            return self.builder.neg(value)
        assert isinstance(node.op, ast.Not)
        return self.builder.zext(self.builder.icmp_unsigned("==", value, ZERO), WORD)

    def compare(self, node: ast.Compare) -> Any:
        (op,), (right,) = node.ops, node.comparators
        compared = self.builder.icmp_signed(COMPARED[type(op)], self.value(node.left), self.value(right))
        return self.builder.zext(compared, WORD)

    def boolop(self, node: ast.BoolOp) -> Any:
        """Truth values, the later ones looked at only where they matter."""
        first, *rest = node.values
        if not rest:
            return self.builder.zext(self.test(first), WORD)
        later = ast.BoolOp(node.op, rest)
        if isinstance(node.op, ast.And):
            return self.choose(first, later, ast.Constant(0))
        return self.choose(first, ast.Constant(1), later)

    def ifexp(self, node: ast.IfExp) -> Any:
        return self.choose(node.test, node.body, node.orelse)

    def choose(self, test: ast.expr, yes: ast.expr, no: ast.expr) -> Any:
        incoming = []
        with self.builder.if_else(self.test(test)) as (then, otherwise):
            for branch, expression in ((then, yes), (otherwise, no)):
                with branch:
                    incoming.append((self.value(expression), self.builder.block))
        chosen = self.builder.phi(WORD)
        for value, block in incoming:
            chosen.add_incoming(value, block)
        return chosen

    def call(self, node: ast.Call) -> Any:
        assert isinstance(node.func, ast.Name)
        args = [self.value(a) for a in node.args]
        if node.func.id == call_address.__name__:
            kind = ir.FunctionType(WORD, [WORD] * (len(args) - 1)).as_pointer()
            return self.builder.call(self.builder.inttoptr(args[0], kind), args[1:])
        return self.module.call(self.builder, self.scope[node.func.id], args)


def c_function(symbol: str, result: Any, *args: Any) -> Any:
    """A function of the interpreter or of the C library, by its symbol and Numba's types."""
    return types.ExternalFunction(symbol, result(*args))


def call_address(address: int, *args: int) -> int:
    """What the C function at an address returns for these words."""
    raise TypeError("call_address has a meaning in functions of words only")
