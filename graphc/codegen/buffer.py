"""Memory in kernels: raw typed pointers that tell LLVM which of them cannot overlap.

A kernel gets addresses, not arrays. ``buffer(address, f32, 2, 7)`` is pointer number 2 of 7; reads and writes through
it carry LLVM's ``alias.scope`` and ``noalias`` metadata, so loops over any number of buffers vectorise without
run-time overlap checks. Indices are not checked and do not wrap around.
"""

from __future__ import annotations

import operator
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import lower_builtin, models, register_model, type_callable

from graphc.codegen.llvm import intrinsic, on_stack

f32, f64, i32, i64, u8, bool_ = np.float32, np.float64, np.int32, np.int64, np.uint8, np.bool_
inf, nan = np.inf, np.nan


class BufferType(types.Type):  # type: ignore[misc]
    """A pointer to ``dtype``, in alias scope ``scope`` of ``scopes``."""

    def __init__(self, dtype: Any, scope: int, scopes: int) -> None:
        self.dtype, self.scope, self.scopes = dtype, scope, scopes
        super().__init__(name=f"Buffer({dtype}, {scope} of {scopes})")


@register_model(BufferType)
class _BufferModel(models.PrimitiveModel):  # type: ignore[misc]
    def __init__(self, dmm: Any, fe_type: BufferType) -> None:
        super().__init__(dmm, fe_type, dmm.lookup(fe_type.dtype).get_data_type().as_pointer())


@intrinsic(prefer_literal=True)  # type: ignore[untyped-decorator]
def buffer(typingctx: Any, address: Any, dtype: Any, scope: Any, scopes: Any) -> Any:
    """The memory at ``address`` as elements of ``dtype``."""
    kind = BufferType(dtype.dtype, scope.literal_value, scopes.literal_value)

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return pointer(context, builder, args[0], dtype, scope, scopes)[1]

    return kind(address, dtype, scope, scopes), codegen


def pointer(context: Any, builder: Any, address: Any, dtype: Any, scope: Any, scopes: Any) -> tuple[Any, Any]:
    """The type and value of ``buffer(address, dtype, scope, scopes)``, of the types of what follows the address."""
    kind = BufferType(dtype.dtype, scope.literal_value, scopes.literal_value)
    return kind, builder.inttoptr(address, context.get_value_type(kind))


@intrinsic(prefer_literal=True)  # type: ignore[untyped-decorator]
def local(typingctx: Any, count: Any, dtype: Any, scope: Any, scopes: Any) -> Any:
    """Memory for a known ``count`` of elements of ``dtype``, on the stack."""
    kind = BufferType(dtype.dtype, scope.literal_value, scopes.literal_value)

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        element = context.get_value_type(kind).pointee
        return on_stack(builder, element, count=count.literal_value)

    return kind(count, dtype, scope, scopes), codegen


@type_callable(operator.getitem)  # type: ignore[untyped-decorator]
def _type_load(context: Any) -> Any:
    def typer(held: Any, index: Any) -> Any:
        return held.dtype if isinstance(held, BufferType) and isinstance(index, types.Integer) else None

    return typer


@type_callable(operator.setitem)  # type: ignore[untyped-decorator]
def _type_store(context: Any) -> Any:
    def typer(held: Any, index: Any, value: Any) -> Any:
        return types.none if isinstance(held, BufferType) and isinstance(index, types.Integer) else None

    return typer


def _mark(module: Any, kind: BufferType, instruction: Any) -> None:
    """Puts the access in its buffer's scope, apart from all others.

    Two numbers differ in a binary digit. There is a domain for each digit, with a scope for 0 and one for 1: an access
    is in those of its buffer's digits and apart from the others. Lists of all other buffers would say the same, and
    LLVM would read them at every comparison of two accesses.
    """
    digits = range((kind.scopes - 1).bit_length())
    if not digits:
        return
    held = module.__dict__.setdefault("_graphc_scopes", {})
    if kind.scopes not in held:
        domains = [module.add_metadata([f"graphc {kind.scopes}, digit {k}"]) for k in digits]
        held[kind.scopes] = [[module.add_metadata([str(value), domain]) for value in (0, 1)] for domain in domains]
    scopes = held[kind.scopes]
    for name, flipped in (("alias.scope", 0), ("noalias", 1)):
        listed = [scopes[k][kind.scope >> k & 1 ^ flipped] for k in digits]
        instruction.set_metadata(name, module.add_metadata(listed))


def load(context: Any, builder: Any, kind: BufferType, pointer: Any, index: Any) -> Any:
    """Reads the element at ``index``."""
    loaded = builder.load(builder.gep(pointer, [index], inbounds=True))
    _mark(builder.module, kind, loaded)
    return builder.trunc(loaded, ir.IntType(1)) if kind.dtype == types.boolean else loaded


def store(context: Any, builder: Any, kind: BufferType, pointer: Any, index: Any, value: Any) -> None:
    """Writes the element at ``index``."""
    data = builder.zext(value, ir.IntType(8)) if kind.dtype == types.boolean else value
    _mark(builder.module, kind, builder.store(data, builder.gep(pointer, [index], inbounds=True)))


@lower_builtin(operator.getitem, BufferType, types.Integer)  # type: ignore[untyped-decorator]
def _load(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    kind, index = sig.args
    return load(context, builder, kind, args[0], context.cast(builder, args[1], index, types.int64))


@lower_builtin(operator.setitem, BufferType, types.Integer, types.Any)  # type: ignore[untyped-decorator]
def _store(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    kind, index, given = sig.args
    at, value = (context.cast(builder, *pair) for pair in ((args[1], index, types.int64), (args[2], given, kind.dtype)))
    store(context, builder, kind, args[0], at, value)
    return context.get_dummy_value()


@intrinsic  # type: ignore[untyped-decorator]
def address(typingctx: Any, buffer: Any) -> Any:
    """Where a buffer begins."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.ptrtoint(args[0], ir.IntType(64))

    return types.int64(buffer), codegen


@intrinsic  # type: ignore[untyped-decorator]
def place_of(typingctx: Any, dtype: Any, address: Any, index: Any) -> Any:
    """Where the element at ``index`` of the memory at ``address`` lies."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.add(args[1], builder.mul(args[2], ir.IntType(64)(dtype.dtype.bitwidth // 8)))

    return types.int64(dtype, types.int64, types.int64), codegen


@intrinsic(prefer_literal=True)  # type: ignore[untyped-decorator]
def unknown(typingctx: Any, number: Any) -> Any:
    """A number that LLVM must not know: it would unroll a loop over it, and vectorise the loop around with gathers."""
    value = number.literal_value

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        name = f"graphc_number_{value}"
        held = builder.module.globals.get(name)
        if held is None:
            held = ir.GlobalVariable(builder.module, ir.IntType(64), name)
            held.linkage, held.initializer = "linkonce_odr", ir.IntType(64)(value)
        return builder.load(held)

    return types.int64(number), codegen


@intrinsic  # type: ignore[untyped-decorator]
def word(typingctx: Any, address: Any, k: Any) -> Any:
    """The ``k``-th int64 of the table at ``address``."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        table = builder.inttoptr(args[0], ir.IntType(64).as_pointer())
        return builder.load(builder.gep(table, [args[1]], inbounds=True))

    return types.int64(types.int64, types.int64), codegen


@intrinsic  # type: ignore[untyped-decorator]
def set_word(typingctx: Any, address: Any, k: Any, value: Any) -> Any:
    """Stores the ``k``-th int64 of the table at ``address``."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        table = builder.inttoptr(args[0], ir.IntType(64).as_pointer())
        builder.store(args[2], builder.gep(table, [args[1]], inbounds=True))
        return context.get_dummy_value()

    return types.none(types.int64, types.int64, types.int64), codegen
