"""Functions written in the Python that Numba compiles, an implementation for each kind of dtype."""

from __future__ import annotations

from typing import Any

from numba import types
from numba.extending import overload

# Numba compiles a function once in a process, for all callers: it must not take the first one's fastmath
OPTIONS = {"error_model": "numpy", "fastmath": False, "forceinline": True}
OPTIONS |= {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}


def function_by_dtype(name: str, single: Any, double: Any, other: Any = None) -> Any:
    """A function with one implementation for each float dtype, chosen when a kernel is typed."""

    def stub(*args: Any) -> Any:
        raise TypeError(f"{name} runs inside compiled kernels")

    stub.__name__ = stub.__qualname__ = name

    def choose(*args: Any) -> Any:
        if args[-1] == types.float32:
            return single
        if args[-1] == types.float64:
            return double
        return other

    names = double.__code__.co_varnames[: double.__code__.co_argcount]  # Numba wants the same names on both sides
    choosers = {
        ("x",): lambda x: choose(x),
        ("a", "b"): lambda a, b: choose(a, b),
        ("a", "b", "x"): lambda a, b, x: choose(a, b, x),
        ("n", "x"): lambda n, x: choose(n, x),
        ("n", "a", "b"): lambda n, a, b: choose(n, a, b),
    }
    overload(stub, jit_options=OPTIONS)(choosers[names])
    stub.implementation = choose  # type: ignore[attr-defined]
    return stub
