"""Functions of users that kernels call, each under a name of its own in this module.

They are compiled by Numba, and so is the kernel around them, in which LLVM may inline them. What they do may change
from process to process, so such kernels are not kept on disk.
"""

# Numba reads this code, which has no types of its own.
# mypy: disable-error-code="no-untyped-def, no-untyped-call"

from __future__ import annotations

from typing import Any

import numba
from llvmlite import ir
from numba import types

from graphc.codegen.llvm import intrinsic
from graphc.ir.op import LATER

MODULE = __name__  # what the source of a kernel that calls one names


def register(token: str, function: Any) -> None:
    """Lets kernels call a function, of scalars, as ``token``."""
    if token not in globals():
        globals()[token] = numba.njit(error_model="numpy")(getattr(function, "py_func", function))


@intrinsic
def _pointer(typingctx, address):
    """An address as what `numba.carray` takes."""

    def code(context, builder, signature, args):
        return builder.inttoptr(args[0], ir.IntType(8).as_pointer())

    return types.voidptr(types.int64), code


def register_arrays(token: str, function: Any, dtypes: tuple[Any, ...], ranks: tuple[int, ...]) -> None:
    """The same of a function of arrays, the result last: as ``token`` it takes what a routine takes."""
    if token in globals():
        return
    letters = [f"a{k}" for k in range(len(ranks))]
    sizes = [[f"n{k}_{axis}" for axis in range(rank)] for k, rank in enumerate(ranks)]
    arrays = ", ".join(
        f"carray(pointer({letter}), ({''.join(n + ', ' for n in own or ['1'])}), kind{k})"
        for k, (letter, own) in enumerate(zip(letters, sizes, strict=True))
    )
    head = ", ".join(["real", *letters, *(n for own in sizes for n in own)])
    scope: dict[str, Any] = {"function": numba.njit(error_model="numpy")(getattr(function, "py_func", function))}
    scope |= {"carray": numba.carray, "pointer": _pointer, **{f"kind{k}": d.type for k, d in enumerate(dtypes)}}
    exec(f"def routine({head}):\n    function({arrays})\n", scope)
    globals()[token] = numba.njit(error_model="numpy")(scope["routine"])


LATER["own_function"], LATER["own_routine"] = register, register_arrays

__all__ = ["MODULE", "register", "register_arrays"]
