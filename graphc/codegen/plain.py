"""The engine that needs Numba's public interface alone: functions compiled by `numba.cfunc` and `numba.njit`.

It takes over where a Numba lacks what the short way needs (`private`), or where GRAPHC_ENGINE is "numba". Values are
those of the short way to rounding, since Numba optimises twice; nothing is kept on disk.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property, partial
from types import FunctionType
from typing import Any

import numba
from llvmlite import binding as ll
from llvmlite import ir
from numba import types
from numba.extending import overload

from graphc.codegen import private
from graphc.codegen.llvm import intrinsic
from graphc.config import settings
from graphc.errors import warn_once

NEWEST = (0, 68)  # the latest Numba that the short way was tried with

_broken: list[str] = []  # what the short way failed with on a later one


def is_plain() -> bool:
    """Whether this engine compiles; said once where nobody asked for it."""
    if settings().engine == "numba":
        return True
    gone = [*private.missing(private.ENGINE), *_broken]
    if gone:
        told = ", ".join(gone[:3]) + ", ..." * (len(gone) > 3)
        warn_once(
            f"numba {numba.__version__} is not one that graphc knows (it lacks {told}): "
            "kernels are compiled by numba.njit, which takes longer, and are not kept on disk"
        )
    return bool(gone)


def take_over(error: Exception) -> None:
    """Compiles from now on, where the short way has failed on a Numba later than all it knows; else raises."""
    if numba.version_info.short <= NEWEST:
        raise error
    _broken.append(f"{type(error).__name__}: {error}"[:200])


class Plain:
    """A compiled function, with what is asked of Numba's dispatchers."""

    def __init__(self, function: Any, signature: Any, options: dict[str, Any]) -> None:
        self.py_func, self.signature = function, signature
        self.options = {k: v for k, v in options.items() if k in ("error_model", "boundscheck", "fastmath")}
        self.by_address = "no_cpython_wrapper" in options
        made = numba.cfunc if self.by_address else partial(numba.njit, nogil=True)
        self.made = made(signature, **self.options)(function)

    @cached_property
    def _c_function(self) -> Any:
        return self.made if self.by_address else numba.cfunc(self.signature, **self.options)(self.py_func)

    @property
    def address(self) -> int:
        """Of its C form."""
        at: int = self._c_function.address
        return at

    def __call__(self, *args: Any) -> Any:
        return self.made(*args)

    def inspect_llvm(self) -> dict[Any, str]:
        """The optimised LLVM IR."""
        return {self.signature: self._c_function.inspect_llvm()}

    def inspect_asm(self) -> dict[Any, str]:
        """The machine code as text."""
        machine = ll.Target.from_default_triple().create_target_machine(opt=3)
        return {self.signature: machine.emit_assembly(ll.parse_assembly(self._c_function.inspect_llvm()))}


def of_words(function: Any, call_address: Any) -> Any:
    """A function of words as a C callback of Numba's; those that it calls are compiled with it."""
    count = function.__code__.co_argcount
    kind = types.void if function.__annotations__.get("return") == "None" else types.int64
    return numba.cfunc(kind(*[types.int64] * count), error_model="numpy")(_linked(function, call_address))


def _linked(function: Any, call_address: Any) -> Any:
    scope = dict(function.__globals__)
    for name in function.__code__.co_names:
        called = scope.get(name)
        if isinstance(called, FunctionType) and called is not call_address:
            scope[name] = numba.njit(error_model="numpy")(_linked(called, call_address))
    return FunctionType(function.__code__, scope, function.__name__)


@intrinsic  # type: ignore[untyped-decorator]
def _call(typingctx: Any, address: Any, words: Any) -> Any:
    """What the C function at an address returns for a tuple of words."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        word = ir.IntType(64)
        given = [builder.extract_value(args[1], k) for k in range(len(words))]
        at = builder.inttoptr(args[0], ir.FunctionType(word, [word] * len(given)).as_pointer())
        return builder.call(at, given)

    return types.int64(types.int64, types.UniTuple(types.int64, len(words))), codegen


def by_address(call_address: Callable[..., Any]) -> None:
    """Gives ``call_address(address, *words)`` its meaning in functions that Numba compiles."""

    @overload(call_address)  # type: ignore[untyped-decorator]
    def call(address, *words):  # type: ignore[no-untyped-def]
        return lambda address, *words: _call(address, words)
