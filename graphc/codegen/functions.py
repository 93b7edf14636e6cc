"""Kernels lowered apart from Numba's contexts; the Python functions that they call become functions of their module."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from types import FunctionType
from typing import Any

from llvmlite import ir as llvm
from numba import types

from graphc.codegen import loop_ir as ir
from graphc.codegen.frontend import Reader, tree_of
from graphc.codegen.semantics import LLVM, Semantics, Unlowered
from graphc.codegen.to_llvm import Printer
from graphc.codegen.vecmath.value import call_where_many
from graphc.codegen.vectors import vector_bytes

SEMANTICS = Semantics()
KEPT: dict[Any, ir.Function] = {}  # functions of graphc's own files that kernels of this process call


def kernel_module(tree: ast.FunctionDef, scope: dict[str, Any], signature: str, symbol: str) -> Any:
    """A module that holds a function under ``symbol``, for C callers; `Unlowered` where it has a form unknown here."""
    module = llvm.Module(symbol)
    Functions(module, SEMANTICS).write(kernel_ir(tree, scope, signature), symbol)
    call_where_many(module, vector_bytes(SEMANTICS))
    return module


def kernel_ir(tree: ast.FunctionDef, scope: dict[str, Any], signature: str) -> ir.Function:
    """The loop IR of a function; ``signature`` is one like "int64(int64, float64)"."""
    result, arguments = signature.removesuffix(")").split("(")
    kinds = [getattr(types, name.strip()) for name in (result, *arguments.split(","))]
    if not all(k in LLVM for k in kinds):
        raise Unlowered(signature)
    return checked(KernelReader({}, tree, scope, kinds[1:]).function(tree.name, kinds[0]))


def checked(function: ir.Function) -> ir.Function:
    """The function, found to be well typed."""
    ir.check(function, SEMANTICS.takes)
    return function


class KernelReader(Reader):
    """Reads a function of a kernel. ``made`` holds the generated ones that it calls, by function and types."""

    def __init__(self, made: dict[Any, ir.Function], tree: ast.FunctionDef, scope: dict[str, Any], kinds: Any) -> None:
        super().__init__(SEMANTICS, tree, scope, kinds)
        self.made = made

    def call(self, function: Any, args: list[ir.Expr], name: str) -> ir.Expr:
        choose = getattr(function, "implementation", None)
        if choose is not None:
            function = choose(*(types.unliteral(a.type) for a in args))
            function = getattr(function, "stands_for", function)
            args = [self.widened(a) for a in args]
        if not isinstance(function, FunctionType):
            return super().call(function, args, name)
        return self.called(function, [self.plain(a) for a in args])

    def widened(self, x: ir.Expr) -> ir.Expr:
        """An integer as int64, as which functions of integers compute; floats as they are."""
        return x if isinstance(x.type, types.Float) else self.cast(x, types.int64)

    def called(self, function: FunctionType, args: Sequence[ir.Expr]) -> ir.Call:
        """A call of a Python function, compiled for arguments of these types."""
        kinds = tuple(a.type for a in args)
        held = self.made if hasattr(function, "tree") else KEPT
        if (function, kinds) not in held:
            try:
                tree = tree_of(function)
            except OSError as error:  # its source is not to be had, which Numba does not need
                raise Unlowered(str(error)) from error
            reader = KernelReader(self.made, tree, function.__globals__, kinds)
            facts = getattr(function, "returns", None), getattr(function, "outlined", False)
            held[function, kinds] = checked(reader.function(function.__name__.strip("_"), *facts))
        made = held[function, kinds]
        return ir.Call(made.result, made, tuple(args), made.name)


class Functions:
    """Writes functions of the loop IR into a module, each with those that it calls, once."""

    def __init__(self, module: Any, semantics: Semantics) -> None:
        self.module, self.semantics = module, semantics
        self.made: dict[ir.Function, Any] = {}

    def write(self, function: ir.Function, symbol: str) -> Any:
        """LLVM's function of that symbol."""
        result = llvm.VoidType() if function.result == types.none else LLVM[function.result]
        kinds = [self.semantics.get_value_type(p.type) for p in function.parameters]
        made = llvm.Function(self.module, llvm.FunctionType(result, kinds), symbol)
        builder = llvm.IRBuilder(made.append_basic_block("entry"))
        start = made.append_basic_block("start")
        builder.position_at_end(start)

        def finish(value: Any) -> None:
            if function.result == types.none:
                builder.ret_void()
            else:
                builder.ret(value)

        Printer(self.semantics, self.semantics, builder, finish, self.called).function(function, made.args)
        builder.position_at_end(made.entry_basic_block)
        builder.branch(start)
        return made

    def called(self, function: ir.Function) -> Any:
        if function not in self.made:
            made = self.write(function, self.module.get_unique_name(function.name))
            made.linkage = "internal"
            made.attributes.add("noinline" if function.outlined else "alwaysinline")
            self.made[function] = made
        return self.made[function]
