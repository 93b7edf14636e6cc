"""Kernels and first values as C source."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator

import numpy as np

from graphc.codegen.abi import PART_SIGNATURE, part_symbol
from graphc.codegen.functions import kernel_ir
from graphc.codegen.jit import define
from graphc.codegen.kernel import SIGNATURE
from graphc.codegen.llvm_to_c import NoC, number
from graphc.codegen.loop_ir import Function as LoopFunction
from graphc.codegen.machine import processor
from graphc.codegen.semantics import Semantics, Unlowered
from graphc.codegen.to_c import CModule
from graphc.errors import ExportError
from graphc.export.c.layout import C_TYPES, Function, Library
from graphc.export.c.machine import LEVELS
from graphc.export.c.text import kernel_symbol
from graphc.ir.state import Array

PER_LINE = 12  # numbers of an array


class Processor(Semantics):
    """What decides, in functions of vectors, how wide these are."""

    def __init__(self, cpu: str) -> None:
        super().__init__()
        triple, name, features = processor()
        self.words = (triple, name, features) if cpu == "native" else (triple, cpu, LEVELS[cpu])

    def magic_tuple(self) -> tuple[str, str, str]:
        return self.words


def kernels_source(library: Library) -> str:
    """The text of NAME_kernels.c; ExportError for what has no form in C."""
    module = CModule(Processor(library.cpu))
    parts: set[str] = set()
    for function in library.functions:
        kernel = function.kernel
        try:
            for source in kernel.parts:
                if (symbol := part_symbol(source)) not in parts:
                    parts.add(symbol)
                    module.add(_read(source, "nest", PART_SIGNATURE), f"static {symbol}")
            module.add(_read(kernel.source, "kernel", SIGNATURE), kernel_symbol(function), _notes(function))
        except (NoC, Unlowered) as error:
            ops = sorted({n.op.name for n in function.exe.program.optimised.nodes if n.op.name in WITHOUT})
            text = f"{', '.join(ops) or error} has no form in C source"
            raise ExportError(f"export_c: {text}; leave out source=True for object code") from error
    head = f"/* The kernels of {library.name}.c. Optimise with -O3, for the processor at hand. */\n"
    declared = "".join(f"{prototype(f)};\n" for f in library.functions)
    return head + module.text(declared)


GAMMA = "lgamma polygamma zeta beta_ln betainc incomplete_gamma gamma_quantile poisson_quantile"
WITHOUT = frozenset(GAMMA.split())  # ops that have no form in C, `lgamma` in float64


def prototype(function: Function) -> str:
    """The declaration of a kernel; all are addresses."""
    return f"int64_t {kernel_symbol(function)}(int64_t, int64_t, int64_t, int64_t, int64_t)"


def _read(source: str, entry: str, signature: str) -> LoopFunction:
    made = define("graphc_export_source", source)[entry]
    return kernel_ir(made.tree, vars(sys.modules[made.__module__]), signature)


def _notes(function: Function) -> Callable[[int], str]:
    """What each line of a kernel computes: names of ops."""
    text = function.kernel.text
    assert text is not None and function.kernel.schedule is not None
    graph, lines = function.kernel.schedule.graph, text.lines

    def note(line: int) -> str:
        ids = lines[line - 1].nodes if 0 < line <= len(lines) else ()
        return ", ".join(dict.fromkeys(graph.nodes[id].op.name for id in ids))

    return note


# ---- values


def values_source(library: Library) -> str:
    """The text of NAME_data.c: the state at export and constants, as numbers."""
    lines = ["#include <math.h>", "#include <stdint.h>", ""]
    for name, array in values(library).items():
        if array is not None:
            kind = C_TYPES[array.dtype.name]
            lines += [
                f"extern const {kind} {name}[{max(array.size, 1)}];",
                f"const {kind} {name}[{max(array.size, 1)}] = {{",
            ]
            lines += [*_numbers(array), "};"]
    return "\n".join(lines) + "\n"


def values(library: Library) -> dict[str, Array | None]:
    """Arrays by their names in C; None for state that is zero."""
    held: dict[str, Array | None] = {}
    for slot, array in zip(library.state, library.first, strict=True):
        held[f"{library.name}_{slot.place}"] = array if array.tobytes().strip(b"\0") else None
    for function in library.functions:
        for k, array in enumerate(function.kernel.constants):
            held[f"{function.prefix}_c{k}"] = array
    return held


def _numbers(array: Array) -> Iterator[str]:
    flat = np.ascontiguousarray(array).reshape(-1) if array.size else np.zeros(1, array.dtype)
    if flat.dtype.kind == "f":
        texts = [number(x, flat.dtype.itemsize == 4) for x in flat.tolist()]
    else:
        texts = [f"INT64_C({x})" if abs(x) >= 2**31 and x != -(2**63) else "INT64_MIN" if x < -(2**62) else str(int(x))
                 for x in flat.tolist()]  # fmt: skip
    for k in range(0, len(texts), PER_LINE):
        yield f"    {', '.join(texts[k : k + PER_LINE])},"
