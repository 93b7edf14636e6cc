"""LAPACK for routines on large matrices: the one that SciPy brings, by address, on one thread.

Kernels find the addresses in a table that has a symbol, so they can be kept on disk. A library made by ``export_c`` has
an empty table, and its routines do without. LAPACK gets every number by its address: a word of 64 bits, of which a
library with shorter integers reads the lower half, which comes first.
"""

from __future__ import annotations

import ctypes
from contextlib import suppress
from functools import cache
from typing import Any

import llvmlite.binding as ll
from llvmlite import ir
from numba import types

from graphc.codegen.abi import PREFIX
from graphc.codegen.blas import COUNT, GET, SET, count_at, counting, of_scipy, thread_control
from graphc.codegen.llvm import intrinsic, kept, with_parameters

WORD = ir.IntType(64)
FUNCTIONS = ("sgeqrf", "dgeqrf", "sorgqr", "dorgqr", "dsyevd", "dgesdd")
TABLE = (*FUNCTIONS, "dgemm", "get_threads", "set_threads", "count")
ADDRESSES = f"{PREFIX}_lapack"
_table = (ctypes.c_int64 * len(TABLE))()


@cache
def lapack() -> int:
    """Where the table lies, which is filled at the first use; it stays empty without SciPy."""
    found: dict[str, int] = {}
    with suppress(ImportError):
        held, found = of_scipy("cython_lapack", FUNCTIONS)
        found |= of_scipy("cython_blas", ["dgemm"])[1] | thread_control(held) | {"count": count_at()}
    for k, name in enumerate(TABLE):
        _table[k] = found.get(name, 0)
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(_table))  # kernels keep its address
    ll.add_symbol(ADDRESSES, ctypes.addressof(_table))
    return ctypes.addressof(_table)


def entry(builder: Any, name: str) -> Any:
    """An address of the table; 0 where there is none."""
    kind = ir.ArrayType(WORD, len(TABLE))
    held = builder.module.globals.get(ADDRESSES) or ir.GlobalVariable(builder.module, kind, ADDRESSES)
    held.linkage = "external"
    return builder.load(builder.gep(held, [WORD(0), WORD(TABLE.index(name))]))


def threads(module: Any) -> Any:
    """``void f(int64 change)``: one call more (1) or less (-1) is under way."""

    def control(builder: Any) -> tuple[Any, Any, Any]:
        kinds = {"get_threads": GET, "set_threads": SET, "count": COUNT}
        get, set_, count = (builder.inttoptr(entry(builder, name), kind.as_pointer()) for name, kind in kinds.items())
        return get, set_, count

    return counting(module, f"{PREFIX}_lapack_threads", control)


def called(builder: Any, name: str, arguments: str, given: list[Any]) -> Any:
    """Calls a function of the table with the values in ``given``; its status, 0 where it has none.

    Of ``arguments`` each letter is one: ``a`` an address, ``n`` a number, ``s`` the status.
    """
    status, values, words = kept(builder, WORD(0)), iter(given), []
    for letter in arguments:
        word = status if letter == "s" else next(values)
        words.append(builder.inttoptr(word, WORD.as_pointer()) if letter == "a" else word)
        if letter == "n":
            words[-1] = builder.bitcast(kept(builder, word), WORD.as_pointer())
    kind = ir.FunctionType(ir.VoidType(), [WORD.as_pointer()] * len(words))
    counts = builder.icmp_signed("!=", entry(builder, "get_threads"), WORD(0))
    with builder.if_then(counts):
        builder.call(threads(builder.module), [WORD(1)])
    builder.call(builder.inttoptr(entry(builder, name), kind.as_pointer()), words)
    with builder.if_then(counts):
        builder.call(threads(builder.module), [WORD(-1)])
    return builder.load(status)


def _function(name: str, arguments: str) -> Any:
    """``f(real, ...)``: a function of LAPACK, or of its BLAS, for a dtype; what it returns is its status."""

    def typer(typingctx: Any, real: Any, *given: Any) -> Any:
        letter = "s" if real.dtype == types.float32 else "d"

        def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            return called(builder, f"{letter}{name}", arguments, list(args[1:]))

        kinds = [types.float64 if isinstance(kind, types.Float) else types.int64 for kind in given]
        return types.int64(real, *kinds), codegen

    names = (f"argument{k}" for k in range(len(arguments.replace("s", ""))))
    return intrinsic(with_parameters(typer, "typingctx", "real", *names))


# What they take, in LAPACK's order. Of a BLAS function there is no status.
geqrf = _function("geqrf", "nnanaans")
orgqr = _function("orgqr", "nnnanaans")
syevd = _function("syevd", "nnnanaanans")
gesdd = _function("gesdd", "nnnanaanananas")
gemm = _function("gemm", "nnnnnnanannan")


@intrinsic  # type: ignore[untyped-decorator]
def has_lapack(typingctx: Any) -> Any:
    """Whether there is LAPACK for this kernel; in C source there is none."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.icmp_signed("!=", entry(builder, FUNCTIONS[0]), WORD(0))

    return types.boolean(), codegen
