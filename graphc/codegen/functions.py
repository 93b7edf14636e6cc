"""Kernels lowered apart from Numba's contexts; the Python functions that they call become functions of their module."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from functools import cache
from types import FunctionType
from typing import Any

from llvmlite import ir
from numba import types

from graphc.codegen.lower import Lowering, Typed, tree_of
from graphc.codegen.semantics import LLVM, Semantics, Unlowered
from graphc.codegen.vecmath.value import call_where_many
from graphc.codegen.vectors import vector_bytes

SEMANTICS = Semantics()


def kernel_module(tree: ast.FunctionDef, scope: dict[str, Any], signature: str, symbol: str) -> Any:
    """A module that holds a function under ``symbol``, for C callers; `Unlowered` where it has a form unknown here.

    ``signature`` is one like "int64(int64, float64)".
    """
    result, arguments = signature.removesuffix(")").split("(")
    kinds = [getattr(types, name.strip()) for name in (result, *arguments.split(","))]
    if not all(k in LLVM for k in kinds):
        raise Unlowered(signature)
    module = ir.Module(symbol)
    Function(module, {}, tree, scope, kinds[1:], kinds[0], symbol)
    call_where_many(module, vector_bytes(SEMANTICS))
    return module


class Function(Lowering):
    """One function of a module. ``made`` holds those that it calls, by function and types."""

    def __init__(
        self,
        module: Any,
        made: dict[Any, Any],
        tree: ast.FunctionDef,
        scope: dict[str, Any],
        kinds: Sequence[Any],
        result: Any,
        symbol: str,
    ) -> None:
        returned = ir.VoidType() if result == types.none else LLVM[result]
        self.module, self.made, self.result = module, made, result
        self.code = ir.Function(module, ir.FunctionType(returned, [SEMANTICS.get_value_type(k) for k in kinds]), symbol)
        builder = ir.IRBuilder(self.code.append_basic_block("entry"))
        start = self.code.append_basic_block("start")
        super().__init__(SEMANTICS, SEMANTICS, builder, scope)
        builder.position_at_end(start)
        self.function(tree, [Typed(*pair) for pair in zip(kinds, self.code.args, strict=True)], self.end)
        builder.position_at_end(self.code.entry_basic_block)
        builder.branch(start)

    def end(self, result: Typed) -> None:
        if self.result == types.none:
            self.builder.ret_void()
        else:
            self.builder.ret(self.cast(result, self.result))

    def resolve(self, function: Any, kinds: tuple[Any, ...]) -> Any:
        return SEMANTICS.resolve(function, kinds)

    def call(self, function: Any, *args: Typed) -> Typed:
        choose = getattr(function, "implementation", None)
        if choose is not None:
            function = choose(*(types.unliteral(a.type) for a in args))
            function = getattr(function, "stands_for", function)
            args = tuple(self.widened(a) for a in args)
        if not isinstance(function, FunctionType):
            return super().call(function, *args)
        return self.called(function, [Typed(types.unliteral(a.type), a.value) for a in args])

    def widened(self, x: Typed) -> Typed:
        """An integer as int64, as which functions of integers compute; floats as they are."""
        return x if isinstance(x.type, types.Float) else Typed(types.int64, self.cast(x, types.int64))

    def called(self, function: FunctionType, args: Sequence[Typed]) -> Typed:
        """A call of a Python function, compiled for arguments of these types."""
        kinds = tuple(a.type for a in args)
        if (function, kinds) not in self.made:
            try:
                result = getattr(function, "returns", None) or _returned(function, kinds)
            except OSError as error:  # its source is not to be had, which Numba does not need
                raise Unlowered(str(error)) from error
            symbol = self.module.get_unique_name(function.__name__.strip("_"))
            made = Function(self.module, self.made, tree_of(function), function.__globals__, kinds, result, symbol).code
            made.linkage = "internal"
            made.attributes.add("noinline" if getattr(function, "outlined", False) else "alwaysinline")
            self.made[function, kinds] = result, made
        result, made = self.made[function, kinds]
        return Typed(result, self.builder.call(made, [a.value for a in args]))


class _Trial(Function):
    """A function lowered to learn the type of what it returns."""

    def __init__(self, function: FunctionType, kinds: Sequence[Any]) -> None:
        self.results: list[Any] = []
        super().__init__(ir.Module(), {}, tree_of(function), function.__globals__, kinds, types.none, "trial")

    def end(self, result: Typed) -> None:
        self.results.append(types.unliteral(result.type))
        self.builder.ret_void()


@cache
def _returned(function: FunctionType, kinds: tuple[Any, ...]) -> Any:
    found = _Trial(function, kinds).results
    return types.none if set(found) == {types.none} else SEMANTICS.unify_types(*found)
