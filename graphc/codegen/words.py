"""Functions of 64-bit words: what runs between the interpreter, threads and kernels.

They compute with addresses, counts and flags only, and are plain Python in the forms that `lower` knows. They may call
one another, Numba's intrinsics, C functions declared by `c_function`, and by `call_address` what lies at an address.
"""

from __future__ import annotations

import ast
import inspect
import sys
from collections.abc import Callable
from functools import partial
from types import FunctionType
from typing import Any

from llvmlite import ir
from numba import types

from graphc.codegen import disk, loop_ir, machine, plain
from graphc.codegen.frontend import Reader, tree_of
from graphc.codegen.functions import Functions
from graphc.codegen.jit import alone, key_of
from graphc.codegen.llvm import declared, intrinsic, with_parameters
from graphc.codegen.semantics import Semantics

WORD = ir.IntType(64)

_held: dict[Callable[..., Any], tuple[int, Any]] = {}  # addresses, and libraries, whose code must stay


def address_of(function: Callable[..., Any]) -> int:
    """The address of a function of words as a C function; compiled once, then kept on disk."""
    if function not in _held:
        alone(partial(_make, function))
    return _held[function][0]


def is_made(function: Callable[..., Any]) -> bool:
    """Whether this process has the code of a function of words already."""
    return function in _held


def _make(function: Callable[..., Any]) -> None:
    if function in _held:  # another thread has made it meanwhile
        return
    if plain.is_plain():
        made = plain.of_words(function, call_address)
        _held[function] = int(made.address), made
        return
    source = f"{function.__name__} of {inspect.getsource(sys.modules[function.__module__])}"
    key = key_of(source)
    symbol = f"graphc_{function.__name__}_{key}"
    code = disk.fetch(f"{key}.kernel", source)
    address = machine.loaded(code, symbol) if code is not None else 0
    if not address:
        disk.discard(f"{key}.kernel")
        module = ir.Module(symbol)
        made = _WordsReader({}, tree_of(function), function.__globals__).whole(symbol)
        Functions(module, WORDS).write(made, symbol)
        code = machine.object_code(machine.parsed(module))  # passes would take longer than they save
        disk.keep(f"{key}.kernel", source, code)
        address = machine.loaded(code, symbol)
    _held[function] = address, None


class _Words(Semantics):
    """What functions mean to functions of words: they take words and return one."""

    def resolve(self, function: Any, kinds: tuple[Any, ...]) -> Any:
        if function is not call_address:
            return super().resolve(function, kinds)

        def code(builder: Any, values: Any) -> Any:
            address, *given = values
            at = builder.inttoptr(address, ir.FunctionType(WORD, [WORD] * len(given)).as_pointer())
            return builder.call(at, given)

        return types.int64(*[types.int64] * len(kinds)), code


WORDS = _Words()


class _WordsReader(Reader):
    """Reads a function, and those that it calls."""

    def __init__(self, made: dict[Any, loop_ir.Function], tree: ast.FunctionDef, scope: dict[str, Any]) -> None:
        super().__init__(WORDS, tree, scope, [types.int64] * len(tree.args.args))
        self.nothing = loop_ir.Const(types.int64, 0)
        self.made = made

    def whole(self, name: str) -> loop_ir.Function:
        made = self.function(name, types.int64)
        loop_ir.check(made, WORDS.takes)
        return made

    def call(self, function: Any, args: list[loop_ir.Expr], name: str) -> loop_ir.Expr:
        if not isinstance(function, FunctionType) or function is call_address:
            return super().call(function, args, name)
        if function not in self.made:
            reader = _WordsReader(self.made, tree_of(function), function.__globals__)
            self.made[function] = reader.whole(function.__name__)
        return loop_ir.Call(types.int64, self.made[function], tuple(self.cast(a, types.int64) for a in args), name)


def c_function(symbol: str, result: Any, *args: Any) -> Any:
    """A function of the interpreter or of the C library, by its symbol and Numba's types."""

    def typer(typingctx: Any, *given: Any) -> Any:
        def codegen(context: Any, builder: Any, sig: Any, values: Any) -> Any:
            kinds = [context.get_value_type(t) for t in args]
            returned = ir.VoidType() if result == types.void else context.get_value_type(result)
            called = builder.call(declared(builder.module, ir.FunctionType(returned, kinds), symbol), values)
            return context.get_dummy_value() if result == types.void else called

        return result(*args), codegen

    return intrinsic(with_parameters(typer, "typingctx", *(f"arg{k}" for k in range(len(args)))))


def call_address(address: int, *args: int) -> int:
    """What the C function at an address returns for these words."""
    raise TypeError("call_address has a meaning in functions of words only")


plain.by_address(call_address)
