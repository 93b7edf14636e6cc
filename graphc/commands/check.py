"""``graphc check FILE``: the gradient audit on what a file holds."""

from __future__ import annotations

from typing import Any

from graphc.commands.roundtrip import arrays_for
from graphc.commands.words import chosen, printable
from graphc.errors import InputError
from graphc.file.store import load
from graphc.ir.graph import topological
from graphc.ir.tensor import Tensor
from graphc.ir.types import is_float
from graphc.look.audit import check_gradients
from graphc.run.executable import Executable


def check(options: Any) -> int:
    """Prints a report for each float output of an executable; 1 where derivatives disagree."""
    held = load(options.file)
    names = list(held) if options.executable is None else [chosen(held, options.executable)]
    agree, seen = True, set[int]()
    for name in names:
        exe = held[name]
        arrays = dict(zip(exe.inputs, arrays_for(exe, options), strict=True))
        for y in _outputs(exe):
            wrt = _wrt(exe, y)
            if y.id in seen or not wrt:
                continue
            seen.add(y.id)
            report = check_gradients(y, wrt, arrays, order=options.order, rtol=options.rtol)
            print(f"{printable(name, 40)}: {printable(y.name, 40)} by {printable(', '.join(t.name for t in wrt), 200)}")
            print("\n".join(f"  {printable(line, 200)}" for line in str(report).splitlines()), flush=True)
            agree &= bool(report)
    if not seen:
        raise InputError("no executable has a float output that depends on a parameter or on a float input")
    return 0 if agree else 1


def _outputs(exe: Executable) -> list[Tensor]:
    found = [exe.graph.tensors[i] for i in exe.program.roots[: exe.program.n_outputs]]
    return [t for t in found if is_float(t.dtype)]


def _wrt(exe: Executable, y: Tensor) -> list[Tensor]:
    """The parameters that an output depends on, or else its float inputs."""
    leaves = [exe.graph.tensors[n.id] for n in topological(exe.graph, [y.id]) if is_float(n.type.dtype)]
    return [t for t in leaves if t.op.name == "parameter"] or [t for t in leaves if t.name in exe.inputs]
