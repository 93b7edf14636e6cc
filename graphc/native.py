"""Executables inside a user's own ``@numba.njit`` code."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numba
import numpy as np

from graphc.ir import dims
from graphc.ir.state import ALIGNMENT

if TYPE_CHECKING:
    from graphc.executable import Executable


def njit_function(exe: Executable) -> Any:
    """A jitted function that allocates outputs and workspace and calls the kernel through its address.

    The address holds in this process only, so Numba refuses to cache a caller on disk rather than serve a stale kernel.
    """
    scope: dict[str, Any] = {"np": np, "kernel": exe.cfunc, "state": exe.state_address}
    exec(compile(_source(exe), "<graphc njit>", "exec"), scope)
    scope["call"].keep = exe
    return numba.njit(nogil=True, error_model="numpy")(scope["call"])


def _source(exe: Executable) -> str:
    """The wrapper's text, made of positions and sizes only."""
    program, kernel = exe._program, exe._kernel
    assert kernel is not None
    local = {name: f"n{k}" for k, name in enumerate(program.symbols)}
    inputs = [f"a{k}" for k in range(len(exe._arguments))]
    lines = [f"def call({', '.join(inputs)}):"]
    bound: set[str] = set()
    for name, t in zip(inputs, exe._arguments, strict=True):
        lines.append(f"    {name} = np.ascontiguousarray({name}){'' if t.ndim else '.reshape(())'}")
        for axis, size in enumerate(t.shape):
            symbol = dims.symbol_name(size)
            if symbol is not None and symbol not in bound:
                bound.add(symbol)
                lines.append(f"    {local[symbol]} = {name}.shape[{axis}]")
    for k, (name, t) in enumerate(zip(inputs, exe._arguments, strict=True)):
        for axis, size in enumerate(t.shape):
            lines.append(f"    if {name}.shape[{axis}] != {dims.source(size, local.__getitem__)}:")
            lines.append(f"        raise ValueError('input {k} has the wrong size on axis {axis}')")
    outputs = []
    for k, t in enumerate(exe._results):
        shape = ", ".join(dims.source(s, local.__getitem__) for s in t.shape)
        lines.append(f"    o{k} = np.empty(({shape}{',' if t.ndim == 1 else ''}), np.{_scalar(t.dtype)})")
        outputs.append(f"o{k}" if t.ndim else f"o{k}[()]")
    tables = [
        *[f"{n}.ctypes.data" for n in inputs],
        *[f"o{k}.ctypes.data" for k in range(len(outputs))],
        *local.values(),
    ]
    lines.append(f"    table = np.empty({max(1, len(tables))}, np.int64)")
    lines += [f"    table[{k}] = {value}" for k, value in enumerate(tables)]
    lines.append(f"    work = np.empty({dims.source(kernel.work_bytes, local.__getitem__)} + {ALIGNMENT}, np.uint8)")
    lines.append("    at = table.ctypes.data")
    lines.append(f"    aligned = work.ctypes.data + (-work.ctypes.data) % {ALIGNMENT}")
    first, second = 8 * len(inputs), 8 * (len(inputs) + len(outputs))
    lines.append(f"    if kernel(at, at + {first}, at + {second}, state, aligned) != 0:")
    lines.append("        raise IndexError('an index is out of range')")
    lines.append(
        f"    return {', '.join(outputs) if outputs else 'None'}"
        + ("," if len(outputs) == 1 and exe._structure.kind != "one" else "")
    )
    return "\n".join(lines) + "\n"


def _scalar(dtype: Any) -> str:
    return "bool_" if dtype.kind == "b" else str(dtype.name)
