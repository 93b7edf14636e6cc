"""From the loop IR to LLVM's, through an llvmlite builder.

A ``Let`` is its value; a variable is a place on the stack, which LLVM makes a register of.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence
from typing import Any

import numpy as np
from numba import types

from graphc.codegen import loop_ir as ir
from graphc.codegen.buffer import BufferType, load, store
from graphc.codegen.llvm import on_stack
from graphc.codegen.semantics import DTYPES, OPERATORS
from graphc.schedule.sums import SHORT_ROW

EXTREME = {"min": "<", "max": ">"}
SHORT = max(SHORT_ROW.values())  # steps of a loop that is written out
UNROLLED = 64  # steps of such loops in one another, as a window's of 7 x 7
VECTOR = 32  # bytes that most processors take at once


def unrolls(loop: ir.For) -> bool:
    """Whether a loop, with all loops in it, is so short that the one around it is to go in vectors."""
    return _steps(loop) <= UNROLLED and not any(in_vectors(s) for s in ir.walk(loop) if isinstance(s, ir.For))


def in_vectors(loop: ir.For) -> bool:
    """Whether a loop of known length only computes elements that lie side by side and make up whole vectors."""
    made = {s.name for s in loop.body if isinstance(s, ir.Let)}
    if not all(isinstance(s, (ir.Let, ir.Store)) for s in loop.body):
        return False
    accesses = [x for s in loop.body for x in ir.walk(s) if isinstance(x, (ir.Load, ir.Store))]
    width = max((np.dtype(DTYPES[x.buffer.type.dtype]).itemsize for x in accesses), default=0)
    whole = width > 0 and _steps(loop) * width % VECTOR == 0
    return whole and all(_stride(x.index, loop.counter, made) in (0, 1) for x in accesses)


def _stride(index: ir.Expr, counter: str, made: Container[str]) -> int | None:
    """By how much an index grows from step to step; None where that is not known, as of what the loop computes."""
    match index:
        case ir.Var(name=name):
            return None if name in made else int(name == counter)
        case ir.Const():
            return 0
        case ir.Binary(op="+" | "*" as op, left=left, right=right):
            a, b = _stride(left, counter, made), _stride(right, counter, made)
            if a is None or b is None or (op == "*" and (a or b)):
                return None
            return a + b
    return None


def _steps(node: ir.Node) -> int:
    """How often the innermost statements below a node run; more than `UNROLLED` where a loop is long or unknown."""
    steps = len(_counted(node)) if isinstance(node, ir.For) else 0 if isinstance(node, ir.While) else 1
    return steps * max([1, *map(_steps, ir.children(node))]) if 1 <= steps <= SHORT else UNROLLED + 1


def _counted(loop: ir.For) -> range:
    """What a loop's counter is in turn; nothing where that is not known."""
    known = isinstance(loop.first, ir.Const) and isinstance(loop.last, ir.Const)
    return range(int(loop.first.value), int(loop.last.value), loop.step) if known else range(0)  # type: ignore[union-attr]


class Printer:
    """Writes one function where ``builder`` stands.

    ``meaning`` gives code for intrinsics and operators, ``target`` constants and casts: `Semantics`, or what Numba has.
    ``finish`` is called with what the function returns, ``called`` gives LLVM's function of one in loop IR.
    """

    def __init__(
        self,
        meaning: Any,
        target: Any,
        builder: Any,
        finish: Callable[[Any], None],
        called: Callable[[ir.Function], Any],
    ) -> None:
        self.meaning, self.target, self.builder, self.finish, self.called = meaning, target, builder, finish, called
        self.names: dict[str, Any] = {}
        self.places: dict[str, Any] = {}
        self.loops = 0  # that stand around what is written
        self.writers: dict[type, Callable[[Any], Any]] = {
            ir.Const: self.const, ir.Var: self.var, ir.Unary: self.unary, ir.Binary: self.binary,
            ir.Select: self.select, ir.Cast: self.cast, ir.Load: self.load, ir.Call: self.call, ir.Let: self.let,
            ir.Set: self.set, ir.Store: self.store, ir.For: self.loop, ir.While: self.repeat, ir.If: self.choose,
            ir.Return: self.end,
        }  # fmt: skip

    def function(self, function: ir.Function, arguments: Sequence[Any]) -> None:
        """The whole of a function."""
        self.names.update((p.name, value) for p, value in zip(function.parameters, arguments, strict=True))
        self.block(function.body)

    def block(self, statements: Sequence[Any]) -> bool:
        """Statements in order, whose names end with the block; whether what follows them is reached."""
        outside, self.names = self.names, dict(self.names)
        for s in statements:
            if self.writers[type(s)](s) is False:
                self.names = outside
                return False
        self.names = outside
        return True

    def value(self, x: Any) -> Any:
        return self.writers[type(x)](x)

    # ---- statements

    def let(self, s: ir.Let) -> None:
        self.names[s.name] = self.value(s.value)

    def set(self, s: ir.Set) -> None:
        value = self.value(s.value)
        if s.name not in self.places:
            self.places[s.name] = on_stack(self.builder, self.target.get_value_type(s.value.type), name=s.name)
        self.builder.store(value, self.places[s.name])

    def store(self, s: ir.Store) -> None:
        held, value, at = self.value(s.buffer), self.value(s.value), self.value(s.index)
        store(self.target, self.builder, s.buffer.type, held, at, value)

    def end(self, s: ir.Return) -> bool:
        self.finish(self.target.get_dummy_value() if s.value is None else self.value(s.value))
        return False

    def loop(self, s: ir.For) -> bool:
        if self.loops and unrolls(s):
            return self.steps(s)
        start, stop = self.value(s.first), self.value(s.last)
        before = self.builder.block
        head, run, after = (self.builder.append_basic_block(label) for label in ("for", "run", "after"))
        self.builder.branch(head)
        self.builder.position_at_end(head)
        counter = self.builder.phi(start.type)
        counter.add_incoming(start, before)
        self.builder.cbranch(self.builder.icmp_signed("<", counter, stop), run, after)
        self.builder.position_at_end(run)
        outside, self.names = self.names, self.names | {s.counter: counter}
        self.loops += 1
        if self.block(s.body):
            following = self.builder.add(counter, start.type(s.step), flags=("nsw",))
            counter.add_incoming(following, self.builder.block)
            self.builder.branch(head)
        self.loops -= 1
        self.names = outside
        self.builder.position_at_end(after)
        return True

    def steps(self, s: ir.For) -> bool:
        """A short loop, written out. Were LLVM to unroll it, that would come after loads have left the loop around it.

        What steps read there, the same each time, would stay, and keep the loop around from vectors.
        """
        kind = self.target.get_value_type(s.first.type)
        outside = self.names
        for k in _counted(s):
            self.names = outside | {s.counter: kind(k)}
            if not self.block(s.body):
                return False
        self.names = outside
        return True

    def repeat(self, s: ir.While) -> None:
        head, run, after = (self.builder.append_basic_block(label) for label in ("while", "run", "after"))
        self.builder.branch(head)
        self.builder.position_at_end(head)
        self.builder.cbranch(self.value(s.test), run, after)
        self.builder.position_at_end(run)
        if self.block(s.body):
            self.builder.branch(head)
        self.builder.position_at_end(after)

    def choose(self, s: ir.If) -> bool:
        then, otherwise, after = (self.builder.append_basic_block(label) for label in ("then", "else", "after"))
        self.builder.cbranch(self.value(s.test), then, otherwise)
        reached = False
        for start, statements in ((then, s.then), (otherwise, s.other)):
            self.builder.position_at_end(start)
            if self.block(statements):
                self.builder.branch(after)
                reached = True
        self.builder.position_at_end(after)
        if not reached:
            self.builder.unreachable()
        return reached

    # ---- expressions

    def const(self, x: ir.Const) -> Any:
        kind = types.unliteral(x.type)
        if isinstance(kind, (types.Number, types.Boolean)):
            return self.target.get_constant(kind, x.value)
        return self.target.get_dummy_value()

    def var(self, x: ir.Var) -> Any:
        held = self.names.get(x.name)
        return self.builder.load(self.places[x.name]) if held is None else held

    def unary(self, x: ir.Unary) -> Any:
        operand = self.value(x.x)
        if x.op == "not":
            return self.builder.not_(operand)
        _, code = self.meaning.resolve(OPERATORS["neg" if x.op == "-" else x.op], (x.x.type,))
        return code(self.builder, [operand])

    def binary(self, x: ir.Binary) -> Any:
        if x.op in ir.TRUTH:
            return self.shortcut(x)
        operands = [self.value(x.left), self.value(x.right)]
        if x.op in EXTREME:
            return self.builder.select(self.builder.icmp_signed(EXTREME[x.op], *operands), *operands)
        _, code = self.meaning.resolve(OPERATORS[x.op], (x.left.type, x.right.type))
        return code(self.builder, operands)

    def cast(self, x: ir.Cast) -> Any:
        value = self.value(x.x)
        if isinstance(x.type, BufferType):
            return self.builder.inttoptr(value, self.target.get_value_type(x.type))
        if x.type == types.boolean:
            return self.target.is_true(self.builder, x.x.type, value)
        return self.target.cast(self.builder, value, x.x.type, x.type)

    def load(self, x: ir.Load) -> Any:
        held, at = self.value(x.buffer), self.value(x.index)
        return load(self.target, self.builder, x.buffer.type, held, at)

    def call(self, x: ir.Call) -> Any:
        given = [self.value(a) for a in x.args]
        if isinstance(x.function, ir.Function):
            return self.builder.call(self.called(x.function), given)
        _, code = self.meaning.resolve(x.function, tuple(a.type for a in x.args))
        return code(self.builder, given)

    def shortcut(self, x: ir.Binary) -> Any:
        more, after = (self.builder.append_basic_block(label) for label in ("more", "decided"))
        left = self.value(x.left)
        first = self.builder.block
        self.builder.cbranch(left, *((after, more) if x.op == "or" else (more, after)))
        self.builder.position_at_end(more)
        right = self.value(x.right)
        second = self.builder.block
        self.builder.branch(after)
        self.builder.position_at_end(after)
        return self.merge(x.type, [(left, first), (right, second)])

    def select(self, x: ir.Select) -> Any:
        blocks = [self.builder.append_basic_block(label) for label in ("then", "else")]
        after = self.builder.append_basic_block("either")
        self.builder.cbranch(self.value(x.test), *blocks)
        merged = []
        for block, side in zip(blocks, (x.then, x.other), strict=True):
            self.builder.position_at_end(block)
            value = self.value(side)
            merged.append((value, self.builder.block))
            self.builder.branch(after)
        self.builder.position_at_end(after)
        return self.merge(x.type, merged)

    def merge(self, kind: Any, values: Sequence[tuple[Any, Any]]) -> Any:
        phi = self.builder.phi(self.target.get_value_type(kind))
        for value, block in values:
            phi.add_incoming(value, block)
        return phi
