"""From the loop IR to Python: the form in which people read a kernel, which `frontend` reads back as the same IR."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from numba import types

from graphc.codegen import loop_ir as ir
from graphc.codegen.buffer import BufferType

SHORT = {
    types.boolean: "bool_", types.uint8: "u8", types.int32: "i32", types.int64: "i64", types.float32: "f32",
    types.float64: "f64",
}  # fmt: skip
PRECEDENCE = {
    "or": 1, "and": 2, "==": 4, "!=": 4, "<": 4, "<=": 4, ">": 4, ">=": 4, "|": 5, "^": 6, "&": 7, "<<": 8, ">>": 8,
    "+": 9, "-": 9, "*": 10, "/": 10, "//": 10, "%": 10,
}  # fmt: skip
ATOM = 12


def text(function: ir.Function) -> str:
    """A function and those that it calls, each before those that call it."""
    parts: dict[ir.Function, str] = {}

    def add(one: ir.Function) -> None:
        for node in ir.walk(one):
            if isinstance(node, ir.Call) and isinstance(node.function, ir.Function) and node.function not in parts:
                add(node.function)
        parts[one] = "\n".join(_function(one))

    add(function)
    return "\n\n\n".join(parts.values()) + "\n"


def _function(f: ir.Function) -> Iterator[str]:
    given = ", ".join(f"{p.name}: {_type(p.type)}" for p in f.parameters)
    yield f"def {f.name}({given}) -> {_type(f.result)}:"
    yield from (f"    {line}" for line in _block(f.body))


def _type(kind: Any) -> str:
    if isinstance(kind, types.NumberClass):
        return f"type[{_type(kind.dtype)}]"
    return SHORT.get(types.unliteral(kind), "None")


def _block(statements: tuple[Any, ...]) -> Iterator[str]:
    if not statements:
        yield "pass"
    for s in statements:
        yield from _statement(s)


def _statement(s: Any) -> Iterator[str]:
    match s:
        case ir.Let(name=name, value=value) | ir.Set(name=name, value=value):
            known = isinstance(value, (ir.Cast, ir.Const)) or value.type not in SHORT or value.type == types.int64
            yield f"{name}{'' if known else f': {_type(value.type)}'} = {expression(value)}"
        case ir.Store(buffer=held, index=index, value=value):
            yield f"{expression(held)}[{expression(index)}] = {expression(value)}"
        case ir.For(counter=counter, first=first, last=last, step=step, body=body):
            bounds = [expression(first), expression(last), str(step)]
            given = bounds if step != 1 else bounds[:2] if bounds[0] != "0" else bounds[1:2]
            yield f"for {counter} in range({', '.join(given)}):"
            yield from (f"    {line}" for line in _block(body))
        case ir.While(test=test, body=body):
            yield f"while {expression(test)}:"
            yield from (f"    {line}" for line in _block(body))
        case ir.If(test=test, then=then, other=other):
            yield f"if {expression(test)}:"
            yield from (f"    {line}" for line in _block(then))
            if other:
                yield "else:"
                yield from (f"    {line}" for line in _block(other))
        case ir.Return(value=value):
            yield "return" if value is None else f"return {expression(value)}"
        case _:
            yield expression(s)


def expression(x: Any, around: int = 0) -> str:
    """An expression, in brackets where what stands around it binds more closely."""
    made, own = _expression(x)
    return f"({made})" if own < around else made


def _expression(x: Any) -> tuple[str, int]:
    match x:
        case ir.Const(type=kind, value=value) if kind in SHORT or isinstance(kind, types.IntegerLiteral):
            return _number(kind, value), ATOM
        case ir.Const(type=types.NumberClass(dtype=kind)):
            return SHORT[kind], ATOM
        case ir.Const(value=value):
            return getattr(value, "symbol", str(value)), ATOM
        case ir.Var(name=name):
            return name, ATOM
        case ir.Unary(op="not", x=y):
            return f"not {expression(y, 3)}", 3
        case ir.Unary(op=op, x=y):
            return f"{op}{expression(y, 11)}", 11
        case ir.Binary(op="min" | "max" as op, left=left, right=right):
            return f"{op}({expression(left)}, {expression(right)})", ATOM
        case ir.Binary(op=op, left=left, right=right):
            own = PRECEDENCE[op]
            sides = (own, own + 1) if op not in ir.TRUTH else (own + 1, own)
            if op in ir.COMPARISONS:
                sides = own + 1, own + 1
            return f"{expression(left, sides[0])} {op} {expression(right, sides[1])}", own
        case ir.Select(test=test, then=then, other=other):
            return f"{expression(then, 1)} if {expression(test, 1)} else {expression(other)}", 0
        case ir.Cast(type=BufferType() as kind, x=y):
            return f"buffer({expression(y)}, {SHORT[kind.dtype]}, {kind.scope}, {kind.scopes})", ATOM
        case ir.Cast(type=kind, x=y):
            return f"{SHORT[kind]}({expression(y)})", ATOM
        case ir.Load(buffer=held, index=index):
            return f"{expression(held, ATOM)}[{expression(index)}]", ATOM
        case ir.Call(name=name, args=args):
            return f"{name}({', '.join(map(expression, args))})", ATOM
    raise AssertionError(x)


def _number(kind: Any, value: Any) -> str:
    if kind == types.boolean:
        return str(bool(value))
    if kind == types.float32 or kind == types.float64:
        return f"{SHORT[kind]}({value!r})"
    return str(value) if types.unliteral(kind) == types.int64 else f"{SHORT[kind]}({value})"
