"""Matrix products on SciPy's BLAS, from inside kernels: by address, without copies, never multi-threaded.

``gemm_f32(ta, tb, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc)`` is row-major ``C = alpha op(A) op(B) + beta C``.
The symbols have names, so that kernels which call them can be kept on disk.
"""

from __future__ import annotations

import ctypes
import importlib
import importlib.util
import sys
import threading
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from typing import Any

import llvmlite.binding as ll
import scipy
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic


def _cython_blas() -> Any:
    """SciPy's table of BLAS functions, without the rest of scipy.linalg, whose import takes seven times as long."""
    name = "scipy.linalg.cython_blas"
    if name in sys.modules:
        return sys.modules[name]
    folder = Path(scipy.__file__).parent / "linalg"
    for suffix in EXTENSION_SUFFIXES:
        file = folder / f"cython_blas{suffix}"
        if file.exists():
            spec = importlib.util.spec_from_file_location(name, file)
            assert spec is not None and spec.loader is not None
            module = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(module)
            return module
    return importlib.import_module(name)


cython_blas = _cython_blas()
SYMBOLS = {"f32": "graphc_sgemm", "f64": "graphc_dgemm"}


def _address(name: str) -> tuple[int, str]:
    """Address and C signature of one of SciPy's BLAS functions."""
    capsule = cython_blas.__pyx_capi__[name]
    get_name = ctypes.pythonapi.PyCapsule_GetName
    get_name.restype, get_name.argtypes = ctypes.c_char_p, [ctypes.py_object]
    get_pointer = ctypes.pythonapi.PyCapsule_GetPointer
    get_pointer.restype, get_pointer.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    signature = get_name(capsule)
    return get_pointer(capsule, signature), signature.decode()


INT_BITS = 32
for _name, _symbol in (("sgemm", SYMBOLS["f32"]), ("dgemm", SYMBOLS["f64"])):
    _where, _signature = _address(_name)
    ll.add_symbol(_symbol, _where)
    INT_BITS = 64 if "int64" in _signature or "long" in _signature else 32


def _gemm(kind: Any, symbol: str) -> Any:
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
    ) -> Any:
        def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            ta, tb, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc = args
            letter, number = ir.IntType(8), ir.IntType(INT_BITS)
            real = context.get_value_type(kind)

            def held(value: Any) -> Any:
                return cgutils.alloca_once_value(builder, value)

            def integer(value: Any) -> Any:
                return held(builder.trunc(value, number) if INT_BITS < 64 else value)

            def flag(value: Any) -> Any:
                chosen = builder.icmp_signed("!=", value, value.type(0))
                return held(builder.select(chosen, letter(ord("T")), letter(ord("N"))))

            def pointer(value: Any) -> Any:
                return builder.inttoptr(value, real.as_pointer())

            ip, rp, lp = number.as_pointer(), real.as_pointer(), letter.as_pointer()
            function = cgutils.get_or_insert_function(
                builder.module,
                ir.FunctionType(ir.VoidType(), [lp, lp, ip, ip, ip, rp, rp, ip, rp, ip, rp, rp, ip]),
                symbol,
            )
            # row-major C = op(A) op(B) is column-major C' = op(B)' op(A)'
            some = builder.and_(builder.icmp_signed(">", m, m.type(0)), builder.icmp_signed(">", n, n.type(0)))
            with builder.if_then(some):
                builder.call(
                    function,
                    [
                        flag(tb),
                        flag(ta),
                        integer(n),
                        integer(m),
                        integer(k),
                        held(alpha),
                        pointer(b),
                        integer(ldb),
                        pointer(a),
                        integer(lda),
                        held(beta),
                        pointer(c),
                        integer(ldc),
                    ],
                )
            return context.get_dummy_value()

        return types.none(i, i, i, i, i, kind, i, i, i, i, kind, i, i), codegen

    return intrinsic(typer)


gemm_f32 = _gemm(types.float32, SYMBOLS["f32"])
gemm_f64 = _gemm(types.float64, SYMBOLS["f64"])


class _Threads:
    """BLAS's own threads: one at the outermost call, what they were at the last return."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._depth = 0
        self._before = 0
        self._get, self._set = _thread_functions()

    def __enter__(self) -> None:
        with self._lock:
            if self._depth == 0:
                self._before = self._get()
                if self._before != 1:
                    self._set(1)
            self._depth += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._depth -= 1
            if self._depth == 0 and self._before != 1:
                self._set(self._before)


def _thread_functions() -> tuple[Any, Any]:
    """OpenBLAS's getter and setter where the loaded library has them, else ones that do nothing."""
    library = ctypes.CDLL(cython_blas.__file__)
    for prefix in ("scipy_openblas", "openblas"):
        for suffix in ("", "64_", "_64"):
            try:
                get = getattr(library, f"{prefix}_get_num_threads{suffix}")
                set_ = getattr(library, f"{prefix}_set_num_threads{suffix}")
            except AttributeError:
                continue
            get.restype, set_.argtypes = ctypes.c_int, [ctypes.c_int]
            return get, set_
    return (lambda: 1), (lambda n: None)


_threads: _Threads | None = None


def single_thread() -> _Threads:
    """A context in which BLAS runs on the calling thread only, so that its bits do not depend on a thread count."""
    global _threads
    if _threads is None:
        _threads = _Threads()
    return _threads
