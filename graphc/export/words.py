"""User text in generated files: names that identifiers are made of, docstrings, tables. None of it can become code."""

from __future__ import annotations

import keyword
import re
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numba
import numpy as np

from graphc.codegen.emit import clean
from graphc.config import __version__
from graphc.errors import ExportError, caller
from graphc.ir.tensor import Tensor

if TYPE_CHECKING:
    from graphc.run.interface import Runnable

LONGEST = 60  # characters of a name that is shown in full


def is_plain(name: str) -> bool:
    """True for a short ASCII identifier without meaning to Python."""
    legal = name.isascii() and name.isidentifier() and not keyword.iskeyword(name)
    return legal and not name.startswith("_") and len(name) <= LONGEST


def function_name(graph: str, given: str | None, free: Callable[[str], bool]) -> str:
    """The name asked for, or one after the graph's; ExportError where it is none, or stands for something else."""
    if given is not None:
        if not isinstance(given, str) or not is_plain(given) or not free(given):
            text = f"name: expected an ASCII identifier that means nothing else, found {ascii(given)[:LONGEST]}"
            raise ExportError(text, origin=caller())
        return given
    made = re.sub(r"[^0-9A-Za-z]+", "_", graph[:LONGEST]).strip("_")
    return made if is_plain(made) and free(made) else f"graph_{made}".rstrip("_")


def parameters(names: Sequence[str], taken: Collection[str]) -> list[str]:
    """A parameter for each input: its name where that is one, else one by its place."""
    out = []
    for k, name in enumerate(names):
        place = f"input{k}"
        while place in names:
            place += "_"
        out.append(name if is_plain(name) and name not in taken else place)
    return out


def shown(name: str) -> str:
    """A name in running text: itself where it is harmless, else quoted, and cut where it is long."""
    if re.fullmatch(r"[\w./+-]+", name, re.ASCII) and len(name) <= LONGEST:
        return name
    quoted = ascii(name)
    return quoted if len(quoted) <= LONGEST else quoted[:LONGEST] + "..."


def docstring(lines: Sequence[str], margin: str = "") -> str:
    """Lines as a docstring."""
    text = "\n".join(f"{margin * (k > 0)}{line}".rstrip() for k, line in enumerate([*lines, ""]))
    escaped = text.replace("\\", "\\\\").replace('"""', '\\"\\"\\"')
    return f'"""{escaped}{margin}"""'


def table(name: str, rows: Sequence[tuple[Any, ...]]) -> str:
    """An assignment of a tuple of tuples, in ASCII."""
    inner = "".join(f"    {row!a},\n" for row in rows)
    return f"{name}: tuple = (\n{inner})" if rows else f"{name}: tuple = ()"


# ---- docstrings

RETURNS = {"one": "the output", "list": "a list of the outputs", "dict": "a dict of the outputs", "none": "None"}


def of_module(exe: Runnable, call: str, state: Sequence[str], before: Sequence[str]) -> Iterator[str]:
    """What a module is, what it takes and gives, and how it runs; ``before`` are the functions that find libraries."""
    p = exe.program
    yield f"{shown(p.graph.name)}: a graph that graphc {__version__} compiled to Python."
    yield ""
    yield f"    {call} -> {RETURNS[p.structure.kind]}"
    yield ""
    yield "It needs numba and numpy, and nothing of graphc. On one machine its results are those of"
    yield f"graphc bit for bit, with one numba: it was written with {numba.__version__}, and numpy {np.__version__}."
    yield ""
    yield from _listed("Inputs", p.arguments, [t.name for t in p.arguments])
    yield from _listed("Outputs", p.results, p.structure.keys or [t.name for t in p.results])
    if state:
        yield from _listed("State, with its values when this was written", [p.graph[n] for n in state], state)
        yield "state[name] is a copy of an array, state[name] = array copies in."
        yield f"{'Each call updates it. ' if p.updates else ''}Calls run one after the other."
        yield ""
    yield "The first call compiles, which takes seconds; importing compiles nothing."
    if "library" not in before:
        yield "With CACHE = True, here or set before that call, Numba keeps the machine code in"
        yield "__pycache__ beside this file (or where NUMBA_CACHE_DIR says), and later processes"
        yield "load it in a fraction of the time. What lies there is executed: keep the directory"
        yield "to yourself, and delete it to be rid of the cache."
    else:
        yield "Matrix products are those of a BLAS library: SciPy's, or of the package mkl."
    if "lapack" in before:
        yield "Large matrices are factorised by SciPy's LAPACK; without SciPy more slowly, to rounding alike."
    yield ""
    yield "In order: the function to call, tables of names, sizes, the kernel with comments,"
    yield "what the kernel calls, what runs it."


def _listed(title: str, tensors: Sequence[Tensor], names: Sequence[str]) -> Iterator[str]:
    if tensors:
        yield title
        for t, name in zip(tensors, names, strict=True):
            alias = "" if t.name == name else f" ({shown(t.name)})"
            yield f"    {shown(name)}{alias}: {clean(str(t.type))}   {clean(t.origin.describe())}"
        yield ""


def of_call(exe: Runnable, parameters: Sequence[str]) -> Iterator[str]:
    """What the function takes, gives and raises."""
    yield f"Runs the program; returns {RETURNS[exe.program.structure.kind]}. 0-d outputs are scalars."
    yield ""
    for parameter, t in zip(parameters, exe.program.arguments, strict=True):
        yield f"{parameter}: {clean(str(t.type))}"
    yield ""
    yield "Raises TypeError for a dtype, ValueError for a shape, IndexError for an index that does not fit; state"
    yield "is then as it was."
