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
from numba.core import cgutils, types
from numba.core.imputils import lower_builtin
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import intrinsic, models, register_model

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
        return cgutils.alloca_once(builder, element, size=count.literal_value)

    return kind(count, dtype, scope, scopes), codegen


@infer_global(operator.getitem)
class _Load(AbstractTemplate):  # type: ignore[misc]
    def generic(self, args: Any, kws: Any) -> Any:
        if isinstance(args[0], BufferType) and isinstance(args[1], types.Integer):
            return signature(args[0].dtype, args[0], types.int64)
        return None


@infer_global(operator.setitem)
class _Store(AbstractTemplate):  # type: ignore[misc]
    def generic(self, args: Any, kws: Any) -> Any:
        if isinstance(args[0], BufferType) and isinstance(args[1], types.Integer):
            return signature(types.none, args[0], types.int64, args[0].dtype)
        return None


def _mark(module: Any, kind: BufferType, instruction: Any) -> None:
    """Puts the access in its buffer's scope, apart from all others."""
    held = module.__dict__.setdefault("_graphc_scopes", {})
    if kind.scopes not in held:
        domain = module.add_metadata([f"graphc {kind.scopes}"])
        scopes = [module.add_metadata([f"buffer {k}", domain]) for k in range(kind.scopes)]
        held[kind.scopes] = scopes, {}
    scopes, marks = held[kind.scopes]
    if kind.scope not in marks:
        others = [s for k, s in enumerate(scopes) if k != kind.scope]
        own = module.add_metadata([scopes[kind.scope]])
        marks[kind.scope] = own, module.add_metadata(others) if others else None
    own, apart = marks[kind.scope]
    instruction.set_metadata("alias.scope", own)
    if apart is not None:
        instruction.set_metadata("noalias", apart)


def load(context: Any, builder: Any, kind: BufferType, pointer: Any, index: Any) -> Any:
    """Reads the element at ``index``."""
    loaded = builder.load(builder.gep(pointer, [index], inbounds=True))
    _mark(builder.module, kind, loaded)
    return context.data_model_manager[kind.dtype].from_data(builder, loaded)


def store(context: Any, builder: Any, kind: BufferType, pointer: Any, index: Any, value: Any) -> None:
    """Writes the element at ``index``."""
    data = context.data_model_manager[kind.dtype].as_data(builder, value)
    _mark(builder.module, kind, builder.store(data, builder.gep(pointer, [index], inbounds=True)))


@lower_builtin(operator.getitem, BufferType, types.int64)  # type: ignore[untyped-decorator]
def _load(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    return load(context, builder, sig.args[0], *args)


@lower_builtin(operator.setitem, BufferType, types.int64, types.Any)  # type: ignore[untyped-decorator]
def _store(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    store(context, builder, sig.args[0], *args)
    return context.get_dummy_value()


@intrinsic  # type: ignore[untyped-decorator]
def address(typingctx: Any, buffer: Any) -> Any:
    """Where a buffer begins."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.ptrtoint(args[0], ir.IntType(64))

    return types.int64(buffer), codegen


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
