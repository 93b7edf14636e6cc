"""Matrix products by a BLAS library, where GRAPHC_BLAS asks for one: by address, without copies, on one thread.

The library is the OpenBLAS that SciPy brings, or MKL from the package ``mkl``. Its functions get names of their own, so
that kernels which call them can be kept on disk.

BLAS cuts its sums differently on several threads, so its bits would depend on their number. Each product therefore
runs on the calling thread: OpenBLAS has one thread count per process, which the first of the products under way sets
to one and the last puts back; MKL has one per thread. That is done in machine code, so it holds for kernels reached
through ``njit`` or ``cfunc`` too, and costs some nanoseconds.
"""

from __future__ import annotations

import ctypes
import importlib
import importlib.metadata
import importlib.util
import os
import sys
from collections.abc import Callable, Sequence
from functools import cache, partial
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from typing import Any, NamedTuple

import llvmlite.binding as ll
from llvmlite import ir
from numba import types

from graphc.codegen.abi import PREFIX
from graphc.codegen.llvm import declared, intrinsic, kept
from graphc.codegen.sums import Sums
from graphc.codegen.vectors import element_bytes, vector_bytes
from graphc.config import settings
from graphc.errors import CompileError
from graphc.schedule.sums import PIECE

FUNCTIONS = ("sgemm", "dgemm", "sgemv", "dgemv")
WORD = ir.IntType(64)


class Library(NamedTuple):
    """A loaded BLAS: the width of its integers, and addresses of its functions by name.

    ``threads`` is how it is held to one thread: "shared" by ``get_threads`` and ``set_threads``, "local" by
    ``set_local``, "" where it has no known control.
    """

    name: str
    int_bits: int
    addresses: dict[str, int]
    threads: str

    def symbol(self, function: str) -> str:
        """The name of one of its functions in generated code."""
        return f"{PREFIX}_{self.name}_{function}"


@cache
def library() -> Library:
    """The BLAS of this process, loaded at the first use. CompileError where GRAPHC_BLAS names one that is missing."""
    wanted = settings().blas
    path = _mkl_path() if wanted == "mkl" else None
    if wanted == "mkl" and path is None:
        raise CompileError('GRAPHC_BLAS is "mkl", but the package mkl is not installed')
    loaded = _scipy_blas() if path is None else _mkl(path)
    for function, address in loaded.addresses.items():
        ll.add_symbol(loaded.symbol(function), address)
    count_at()
    return loaded


def library_name() -> str:
    """What of the BLAS decides generated code: "openblas32", "mkl32" and so on."""
    return f"{library().name}{library().int_bits}"


def _scipy_blas() -> Library:
    table, addresses = of_scipy("cython_blas", FUNCTIONS)
    signature = _capsule_name(table.__pyx_capi__["dgemm"])
    bits = 64 if b"int64" in signature or b"long" in signature else 32
    control = thread_control(table)
    return Library("openblas" if control else "blas", bits, addresses | control, "shared" if control else "")


def _capsule_name(capsule: Any) -> bytes:
    get_name = ctypes.pythonapi.PyCapsule_GetName
    get_name.restype, get_name.argtypes = ctypes.c_char_p, [ctypes.py_object]
    return bytes(get_name(capsule))


def of_scipy(name: str, functions: Sequence[str]) -> tuple[Any, dict[str, int]]:
    """One of SciPy's tables of functions, and the addresses of some."""
    table = _table(name)
    get_pointer = ctypes.pythonapi.PyCapsule_GetPointer
    get_pointer.restype, get_pointer.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    capsules = {function: table.__pyx_capi__[function] for function in functions}
    return table, {function: get_pointer(c, _capsule_name(c)) for function, c in capsules.items()}


def thread_control(table: Any) -> dict[str, int]:
    """Where the library behind a table says on how many threads it runs, and is told; empty where it is no OpenBLAS."""
    whole = ctypes.CDLL(table.__file__)  # its symbols are those of the BLAS that it is linked to
    for prefix in ("scipy_openblas", "openblas"):
        for suffix in ("", "64_", "_64"):
            names = {f"{verb}_threads": f"{prefix}_{verb}_num_threads{suffix}" for verb in ("get", "set")}
            if all(hasattr(whole, name) for name in names.values()):
                return {verb: _address(whole, name) for verb, name in names.items()}
    return {}


def _table(short: str) -> Any:
    """A table of SciPy's functions, without the rest of scipy.linalg, whose import takes seven times as long."""
    name = f"scipy.linalg.{short}"
    spec = importlib.util.find_spec("scipy")
    if name not in sys.modules and spec is not None and spec.origin is not None:
        for suffix in EXTENSION_SUFFIXES:
            file = Path(spec.origin).parent / "linalg" / f"{short}{suffix}"
            if file.exists():
                importlib.import_module("scipy")  # finds the library's folder on Windows
                found = importlib.util.spec_from_file_location(name, file)
                assert found is not None and found.loader is not None
                module = importlib.util.module_from_spec(found)
                found.loader.exec_module(module)
                return module
    return importlib.import_module(name)


def _mkl_path() -> str | None:
    """Where the package mkl keeps its one library for run-time linking."""
    try:
        files = importlib.metadata.files("mkl") or []
    except importlib.metadata.PackageNotFoundError:
        return None
    found = [f for f in files if f.name.startswith(("libmkl_rt.", "mkl_rt."))]
    return os.path.realpath(str(found[0].locate())) if found else None


def _mkl(path: str) -> Library:
    try:
        mkl = ctypes.CDLL(path)
    except OSError as error:
        raise CompileError(f"MKL cannot be loaded: {error}") from error
    automatic = 2
    mkl.MKL_CBWR_Set(automatic)  # else its bits depend on how arrays are aligned
    addresses = {name: _address(mkl, f"{name}_") for name in FUNCTIONS}
    addresses["set_local"] = _address(mkl, "MKL_Set_Num_Threads_Local")
    return Library("mkl", 32, addresses, "local")


def _address(loaded: ctypes.CDLL, name: str) -> int:
    return ctypes.cast(getattr(loaded, name), ctypes.c_void_p).value or 0


# ---- one thread

STATE = "graphc_blas_state"
_state = (ctypes.c_int64 * 3)()  # a lock, the number of products under way, the thread count to put back


if hasattr(os, "register_at_fork"):  # the products of other threads do not go on in a child
    os.register_at_fork(after_in_child=partial(ctypes.memset, ctypes.addressof(_state), 0, ctypes.sizeof(_state)))


def count_at() -> int:
    """The address of what counts the calls under way, which has a symbol from then on."""
    if ll.address_of_symbol(STATE) is None:  # else a module that was exported counts already, on the same library
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(_state))  # kernels keep its address
        ll.add_symbol(STATE, ctypes.addressof(_state))
    return int(ll.address_of_symbol(STATE))


def _count_products(module: Any, blas: Library) -> Any:
    """``void f(int64 change)``: one product more (1) or less (-1) is under way."""

    def control(builder: Any) -> tuple[Any, Any, Any]:
        state = module.globals.get(STATE) or ir.GlobalVariable(module, COUNT, STATE)
        state.linkage = "external"
        get = _external(module, blas.symbol("get_threads"), GET.return_type, [])
        return get, _external(module, blas.symbol("set_threads"), SET.return_type, SET.args), state

    return counting(module, f"{PREFIX}_openblas_threads", control)


COUNT = ir.ArrayType(WORD, 3)
GET = ir.FunctionType(ir.IntType(32), [])  # how many threads there are
SET = ir.FunctionType(ir.VoidType(), [ir.IntType(32)])


def counting(module: Any, name: str, control: Callable[[Any], tuple[Any, Any, Any]]) -> Any:
    """The function ``name``, ``void f(int64 change)``: one call more (1) or less (-1) is under way.

    The first sets the library to one thread, the last puts the number back. ``control`` gives what gets and sets it,
    and the place of the count. The lock is held for a few instructions only, so waiting is spinning.
    """
    function, fresh = _function(module, name, ir.VoidType(), [WORD])
    if not fresh:
        return function
    number = ir.IntType(32)
    start, wait, held, first, later, last, done = (
        function.append_basic_block(name) for name in ("start", "wait", "held", "first", "later", "last", "done")
    )
    builder = ir.IRBuilder(start)
    get, set_, state = control(builder)
    lock, count, before = (builder.gep(state, [WORD(0), WORD(k)]) for k in range(3))
    builder.branch(wait)
    builder.position_at_end(wait)
    taken = builder.atomic_rmw("xchg", lock, WORD(1), "acquire")
    builder.cbranch(builder.icmp_signed("==", taken, WORD(0)), held, wait)
    builder.position_at_end(held)
    old = builder.load(count)
    new = builder.add(old, function.args[0])
    builder.store(new, count)
    builder.cbranch(builder.icmp_signed("==", old, WORD(0)), first, later)
    builder.position_at_end(first)
    builder.store(builder.sext(builder.call(get, []), WORD), before)
    builder.call(set_, [number(1)])
    builder.branch(done)
    builder.position_at_end(later)
    builder.cbranch(builder.icmp_signed("==", new, WORD(0)), last, done)
    builder.position_at_end(last)
    builder.call(set_, [builder.trunc(builder.load(before), number)])
    builder.branch(done)
    builder.position_at_end(done)
    builder.store_atomic(WORD(0), lock, "release", 8)
    builder.ret_void()
    return function


# ---- products


def _function(module: Any, name: str, result: Any, arguments: list[Any]) -> tuple[Any, bool]:
    """A function of this module that others may hold too, and whether its body is still to be written."""
    function = declared(module, ir.FunctionType(result, arguments), name)
    fresh = function.is_declaration
    if fresh:
        function.linkage = "linkonce_odr"
        function.attributes.add("noinline")
    return function, fresh


def _external(module: Any, name: str, result: Any, arguments: list[Any]) -> Any:
    return declared(module, ir.FunctionType(result, arguments), name)


def _product(module: Any, real: Any, letter: str, lanes: int) -> Any:
    """The function behind ``gemm_f32`` and ``gemm_f64``, with the same arguments."""
    blas = library()
    arguments = [WORD] * 5 + [real] + [WORD] * 4 + [real] + [WORD] * 3
    function, fresh = _function(module, f"{PREFIX}_{blas.name}_{letter}product", ir.VoidType(), arguments)
    if not fresh:
        return function
    builder = ir.IRBuilder(function.append_basic_block("start"))
    ta, tb, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc, scratch = function.args
    zero, one = WORD(0), WORD(1)
    number, char = ir.IntType(blas.int_bits), ir.IntType(8)
    ip, rp, cp = number.as_pointer(), real.as_pointer(), char.as_pointer()
    select = builder.select

    def held(value: Any) -> Any:
        return kept(builder, value)

    def integer(value: Any) -> Any:
        return held(builder.trunc(value, number) if blas.int_bits < 64 else value)

    def flag(transposed: Any) -> Any:
        return held(select(transposed, char(ord("T")), char(ord("N"))))

    def pointer(address: Any) -> Any:
        return builder.inttoptr(address, rp)

    def is_one(value: Any) -> Any:
        return builder.icmp_signed("==", value, one)

    def piece(row: Any, column: Any, inner: Any, sizes: Any, target: Any, ld: Any) -> None:
        firsts, bytes = ((row, inner, a, lda, ta), (inner, column, b, ldb, tb)), WORD(element_bytes(letter))
        operands = []
        for first, second, base, ld_, turned in firsts:
            straight = builder.add(builder.mul(first, ld_), second)
            across = builder.add(builder.mul(second, ld_), first)
            at = select(builder.icmp_signed("!=", turned, zero), across, straight)
            operands += [builder.add(base, builder.mul(at, bytes)), ld_]
        builder.call(function, [ta, tb, *sizes, alpha, *operands, real(0.0), target, ld, scratch])

    with builder.if_then(builder.icmp_signed(">", k, WORD(PIECE))):
        adds = builder.fcmp_unordered("!=", beta, real(0.0))
        Sums(module, letter, lanes).in_pieces(builder, (m, n, k), adds, c, ldc, scratch, piece)
        builder.ret_void()
    some = builder.icmp_signed(">", k, zero)
    lda, ldb = select(some, lda, m), select(some, ldb, n)  # those of an empty operand may be anything
    ta, tb = (builder.icmp_signed("!=", t, zero) for t in (ta, tb))
    empty = builder.or_(builder.icmp_signed("<=", m, zero), builder.icmp_signed("<=", n, zero))
    with builder.if_then(empty):
        builder.ret_void()
    if blas.threads == "shared":
        count = _count_products(module, blas)
        builder.call(count, [one])
    elif blas.threads == "local":
        int32 = ir.IntType(32)
        set_local = _external(module, blas.symbol("set_local"), int32, [int32])
        before = builder.call(set_local, [int32(1)])

    # gemv is two to four times as fast as gemm where it fits; it leaves y alone where the matrix is empty
    vector = builder.and_(some, builder.or_(is_one(m), is_one(n)))
    with builder.if_else(vector) as (then, otherwise):
        with then:  # y = M x, M the operand that is not a vector; row-major M is column-major M'
            column = is_one(n)
            turned = select(column, builder.not_(ta), tb)
            length = select(column, m, n)
            step = select(column, select(tb, one, ldb), select(ta, lda, one))
            gemv = _external(
                module, blas.symbol(f"{letter}gemv"), ir.VoidType(), [cp, ip, ip, rp, rp, ip, rp, ip, rp, rp, ip]
            )
            y = [held(beta), pointer(c), integer(select(column, ldc, one))]
            matrix = [pointer(select(column, a, b)), integer(select(column, lda, ldb))]
            x = [pointer(select(column, b, a)), integer(step)]
            sizes = [integer(select(turned, k, length)), integer(select(turned, length, k))]
            builder.call(gemv, [flag(turned), *sizes, held(alpha), *matrix, *x, *y])
        with otherwise:  # row-major C = op(A) op(B) is column-major C' = op(B)' op(A)'
            gemm = _external(
                module,
                blas.symbol(f"{letter}gemm"),
                ir.VoidType(),
                [cp, cp, ip, ip, ip, rp, rp, ip, rp, ip, rp, rp, ip],
            )
            operands = [pointer(b), integer(ldb), pointer(a), integer(lda)]
            sizes = [integer(n), integer(m), integer(k)]
            result = [held(beta), pointer(c), integer(ldc)]
            builder.call(gemm, [flag(tb), flag(ta), *sizes, held(alpha), *operands, *result])
    if blas.threads == "shared":
        builder.call(count, [WORD(-1)])
    elif blas.threads == "local":
        builder.call(set_local, [before])
    builder.ret_void()
    return function


def _gemm(kind: Any, letter: str) -> Any:
    i = types.int64

    def typer(
        typingctx: Any,
        ta: Any,
        tb: Any,
        m: Any,
        n: Any,
        k: Any,
        alpha: Any,
        a: Any,
        lda: Any,
        b: Any,
        ldb: Any,
        beta: Any,
        c: Any,
        ldc: Any,
        scratch: Any,
    ) -> Any:
        def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            lanes = vector_bytes(context) // element_bytes(letter)
            builder.call(_product(builder.module, context.get_value_type(kind), letter, lanes), args)
            return context.get_dummy_value()

        return types.none(i, i, i, i, i, kind, i, i, i, i, kind, i, i, i), codegen

    typer.__doc__ = """Row-major ``C[m,n] = alpha op(A) op(B) + beta C`` on addresses.

    ``op(X)`` is X, or its transpose where the flag is not 0; ``ld*`` count elements between rows. With k = 0 the result
    is ``beta C``; with beta = 0 what C held before does not matter. Sizes must fit the integers of the BLAS. Where k
    may be above PIECE ``scratch`` is the address of `schedule.sums.room` bytes, and beta 0 or 1.
    """
    return intrinsic(typer)


gemm_f32 = _gemm(types.float32, "s")
gemm_f64 = _gemm(types.float64, "d")
