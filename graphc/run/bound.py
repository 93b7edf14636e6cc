"""A kernel that is compiled and bound to its state: what an executable calls."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from graphc.codegen.jit import Compiled, compile_source
from graphc.codegen.kernel import SIGNATURE, Kernel
from graphc.ir.state import Array


@dataclass(frozen=True, slots=True, eq=False)
class Bound:
    """A kernel, its machine code, and the arrays whose addresses stand in ``table``."""

    kernel: Kernel
    compiled: Compiled
    state: tuple[Array, ...]
    table: Array

    @property
    def address(self) -> int:
        """The kernel's address."""
        return self.compiled.address

    @property
    def state_address(self) -> int:
        """The address of the table of state."""
        at: int = self.table.ctypes.data
        return at


def bind(kernel: Kernel, storage: Mapping[str, Array], on_disk: bool, fastmath: bool) -> Bound:
    """Compiles a kernel and binds it to the arrays of a graph's state."""
    compiled = compile_source(
        kernel.source,
        "kernel",
        SIGNATURE,
        on_disk=on_disk,
        fastmath=fastmath,
        python_callable=False,
        parts=kernel.parts,
    )
    state = (*(storage[name] for name in kernel.state_names), *kernel.constants)
    return Bound(kernel, compiled, state, np.array([a.ctypes.data for a in state], np.int64))
