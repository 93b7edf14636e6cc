"""What a C library holds: its state, its functions, and the bytes behind them.

Everything here is numbered by position. Names are carried along for the table of names and the documentation alone, so
graphs that differ in names only become the same code.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from graphc.cached import cached
from graphc.codegen import tiles
from graphc.codegen.kernel import Kernel
from graphc.ir import dims
from graphc.ir.dims import Size
from graphc.ir.state import ALIGNMENT, Array
from graphc.ir.types import DType, SizeCheck

if TYPE_CHECKING:
    from graphc.run.interface import Runnable

C_TYPES = {
    "bool": "uint8_t",
    "uint8": "uint8_t",
    "int32": "int32_t",
    "int64": "int64_t",
    "float32": "float",
    "float64": "double",
}


@dataclass(frozen=True, slots=True)
class Slot:
    """An array of the interface, by its place in it."""

    place: str  # s0, in0, out0 ...
    name: str
    dtype: DType
    shape: tuple[Size, ...]

    @property
    def c_type(self) -> str:
        return C_TYPES[self.dtype.name]

    @property
    def size(self) -> Size:
        return dims.product(self.shape)

    def __str__(self) -> str:
        return f"{self.place} {self.dtype.name}[{', '.join(map(str, self.shape))}]"


@dataclass(frozen=True)
class Function:
    """An executable as functions that begin with ``prefix``; its sizes are n0, n1 ..."""

    prefix: str
    exe: Runnable
    kernel: Kernel

    @property
    def sizes(self) -> list[str]:
        return [f"n{k}" for k in range(len(self.kernel.symbols))]

    @cached
    def _canonical(self) -> dict[str, Size]:
        return {name: dims.symbol(place) for name, place in zip(self.kernel.symbols, self.sizes, strict=True)}

    def size(self, size: Size) -> Size:
        """A size of the user's in n0, n1 ..."""
        return dims.rename(size, self._canonical)

    @cached
    def inputs(self) -> list[Slot]:
        return [
            Slot(f"in{k}", name, t.dtype, tuple(map(self.size, t.shape)))
            for k, (name, t) in enumerate(self.exe.inputs.items())
        ]

    @cached
    def outputs(self) -> list[Slot]:
        program = self.exe.program
        names = program.structure.keys or [program.graph.nodes[i].name for i in program.roots]
        return [
            Slot(f"out{k}", names[k], t.dtype, tuple(map(self.size, t.shape))) for k, t in enumerate(program.results)
        ]

    @property
    def updates(self) -> bool:
        """Whether a call changes the state."""
        return bool(self.exe.program.updates)

    @property
    def work_bytes(self) -> Size:
        return self.size(self.kernel.work_bytes)

    @cached
    def checks(self) -> list[tuple[str, SizeCheck]]:
        """What sizes must satisfy, each with the name of the first node that asks for it."""
        return [
            (node.name, replace(check, left=self.size(check.left), right=self.size(check.right)))
            for node, check in self.exe.program.checks
        ]


class Library:
    """All functions of an export, the state that they share, and the bytes of its first values and of constants."""

    def __init__(
        self, name: str, executables: Mapping[str, Runnable], cpu: str, blas: str = "tiles", as_source: bool = False
    ) -> None:
        """``executables`` are told by the beginning of their functions' names."""
        self.name, self.cpu, self.blas, self.as_source = name, cpu, blas, as_source
        self.functions = [Function(prefix, exe, exe.program.kernel(serial=True)) for prefix, exe in executables.items()]
        self.graph = next(iter(executables.values())).graph
        used = {name for f in self.functions for name in f.kernel.state_names}
        held = sorted(used, key=lambda name: self.graph[name].id)
        self.first = values = list(self.graph.state.copies(held).values())
        self.state = [Slot(f"s{k}", n, v.dtype, v.shape) for k, (n, v) in enumerate(zip(held, values, strict=True))]
        self.places = {slot.name: slot.place for slot in self.state}
        constants = [c for f in self.functions for c in f.kernel.constants]
        self.offsets = offsets([*values, *constants])
        self.state_bytes = self.offsets[len(values)]
        self.data = image([*values, *constants], self.offsets)

    @cached
    def products(self) -> dict[str, str]:
        """Functions of this library that call a BLAS for kernels, by what kernels call them.

        A BLAS reads no nested operands.
        """
        sources = [source for f in self.functions for source in (f.kernel.source, *f.kernel.parts)]
        called = sorted({s for source in sources for s in tiles.products(source) if tiles.NESTED not in s})
        return {s: f"{self.name}_product_{s[-1]}" for s in called} if self.blas == "linked" else {}

    def constants_of(self, function: Function) -> list[int]:
        """Where the constants of a function begin in the data."""
        first = len(self.state)
        for other in self.functions:
            if other is function:
                break
            first += len(other.kernel.constants)
        return self.offsets[first : first + len(function.kernel.constants)]


def offsets(arrays: Sequence[Array]) -> list[int]:
    """Where arrays begin one behind the other, each on a cache line of its own, and where the last one ends."""
    out = [0]
    for array in arrays:
        out.append(out[-1] + -(-max(array.nbytes, 1) // ALIGNMENT) * ALIGNMENT)
    return out


def image(arrays: Sequence[Array], places: Sequence[int]) -> bytes:
    """The arrays' bytes at their places."""
    out = bytearray(places[-1])
    for array, at in zip(arrays, places, strict=False):
        out[at : at + array.nbytes] = np.ascontiguousarray(array).tobytes()
    return bytes(out)
