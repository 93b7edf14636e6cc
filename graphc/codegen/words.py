"""Functions of 64-bit words: what runs between the interpreter, threads and kernels.

They compute with addresses, counts and flags only, and are plain Python in the forms that `lower` knows. They may call
one another, Numba's intrinsics, C functions declared by `c_function`, and by `call_address` what lies at an address.
"""

from __future__ import annotations

import contextlib
import inspect
import pickle
import sys
from collections.abc import Callable
from functools import partial
from types import FunctionType
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from graphc.codegen import disk, plain
from graphc.codegen.jit import alone, key_of
from graphc.codegen.llvm import declared, with_parameters
from graphc.codegen.lower import Lowering, Typed
from graphc.codegen.pipeline import tree_of
from graphc.codegen.private import cpu_target, global_compiler_lock

WORD = ir.IntType(64)

_held: dict[Callable[..., Any], tuple[int, Any]] = {}  # addresses, and libraries, whose code must stay


def address_of(function: Callable[..., Any]) -> int:
    """The address of a function of words as a C function; compiled once, then kept on disk."""
    if function not in _held:
        alone(partial(_make, function))
    return _held[function][0]


def _make(function: Callable[..., Any]) -> None:
    if function in _held:  # another thread has made it meanwhile
        return
    if plain.is_plain():
        made = plain.of_words(function, call_address)
        _held[function] = int(made.address), made
        return
    name = f"graphc_{function.__name__}"
    source = f"{name} of {inspect.getsource(sys.modules[function.__module__])}"
    file = f"{key_of(source)}.kernel"
    with global_compiler_lock:
        library = _loaded(name, file, source)
        if library is None:
            library = _compiled(name, function)
            disk.keep(file, source, pickle.dumps(library.serialize_using_object_code()))
        _held[function] = library.get_pointer_to_function(name), library


def _loaded(name: str, file: str, source: str) -> Any:
    """A library from disk that has a function; None where there is none, or it is damaged."""
    data = disk.fetch(file, source)
    if data is not None:
        with contextlib.suppress(Exception):  # whole, but not what this Numba wrote
            library = cpu_target.target_context.codegen().unserialize_library(pickle.loads(data))
            if library.get_pointer_to_function(name):
                return library
    disk.discard(file)
    return None


def _compiled(name: str, function: Any) -> Any:
    """A library with a function of that name."""
    library = cpu_target.target_context.codegen().create_library(name)
    library.enable_object_caching()
    cpu_target.typing_context.refresh()
    cpu_target.target_context.refresh()
    with cpu_target.target_context.push_code_library(library):
        module = cpu_target.target_context.create_module(name)
        _Words(module, {}, function, name)
    library.add_ir_module(module)
    library.finalize()
    return library


class _Words(Lowering):
    """One function of a module, and those that it calls."""

    def __init__(self, module: Any, made: dict[FunctionType, Any], function: FunctionType, name: str) -> None:
        tree = tree_of(function)
        self.module, self.made = module, made
        made[function] = self.code = ir.Function(module, ir.FunctionType(WORD, [WORD] * len(tree.args.args)), name)
        builder = ir.IRBuilder(self.code.append_basic_block("entry"))
        start = self.code.append_basic_block("start")
        super().__init__(cpu_target.typing_context, cpu_target.target_context, builder, function.__globals__)
        builder.position_at_end(start)
        self.function(tree, [Typed(types.int64, value) for value in self.code.args], self.end)
        builder.position_at_end(self.code.entry_basic_block)
        builder.branch(start)

    def end(self, result: Typed) -> None:
        self.builder.ret(WORD(0) if result.type == types.none else self.cast(result, types.int64))

    def call(self, function: Any, *args: Typed) -> Typed:
        if not isinstance(function, FunctionType):
            return super().call(function, *args)
        given = [self.cast(a, types.int64) for a in args]
        if function is call_address:
            at = self.builder.inttoptr(given.pop(0), ir.FunctionType(WORD, [WORD] * len(given)).as_pointer())
            return Typed(types.int64, self.builder.call(at, given))
        if function not in self.made:
            _Words(self.module, self.made, function, function.__name__).code.linkage = "internal"
        return Typed(types.int64, self.builder.call(self.made[function], given))


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
