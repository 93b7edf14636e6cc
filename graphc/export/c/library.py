"""`export_c`: executables as a C library, in a directory of its own."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from graphc.config import settings
from graphc.errors import ExportError, caller
from graphc.export.c.directory import replaced
from graphc.export.c.example import cmake, example, readme
from graphc.export.c.header import header
from graphc.export.c.kernels import kernels_source, values_source
from graphc.export.c.layout import Library
from graphc.export.c.machine import Entry, emit_object, processors
from graphc.export.c.source import data_source, names_source
from graphc.export.c.source import source as source_text
from graphc.export.c.text import kernel_symbol
from graphc.ir.body import users_own
from graphc.ir.op import LATER
from graphc.run.executable import graph_of

if TYPE_CHECKING:
    from graphc.run.interface import Runnable

NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,39}")
HEADERS = (
    "assert complex ctype errno fenv float inttypes iso646 limits locale math setjmp signal stdalign stdarg stdatomic "
    "stdbool stddef stdint stdio stdlib stdnoreturn string tgmath threads time uchar wchar wctype"
)
TAKEN = frozenset([*HEADERS.split(), "main", "c", "m"])  # files of these names would stand before the system's
BLAS = ("tiles", "linked")
OPTIONS = ("-std=c99", "-O2", "-fPIC", "-fvisibility=hidden")


def export_c(
    directory: str | os.PathLike[str],
    /,
    name: str = "model",
    cpu: str = "native",
    blas: str = "tiles",
    source: bool = False,
    **executables: Runnable,
) -> None:
    """Writes executables of one graph as a C library that needs neither Python nor graphc.

    ``directory`` receives ``libNAME.so``, ``libNAME.a``, ``NAME.h``, ``main.c`` (which trains on data that it makes),
    ``CMakeLists.txt`` and ``README.md``. An executable ``train`` becomes ``NAME_train_call``, which computes outputs
    and stores updates in a state that its caller owns and that all functions share; ``NAME_init`` fills it with the
    values at export. Symbolic sizes are arguments.

    ``cpu`` is the processor to make code for: "native" is this one; "x86-64", "x86-64-v2", "x86-64-v3" and "x86-64-v4"
    are the levels of the x86-64 psABI. Results are the bits that the executable computes here, for levels below v3
    what rounding without fused multiply-adds leaves of them. Code runs on one thread and holds graphc's own functions.
    It needs a C compiler, ``$CC`` or cc, gcc or clang.

    With ``source=True`` no compiler runs and no libraries are written, but C99 that any compiler makes them of, on any
    system: ``NAME.c``, ``NAME_kernels.c``, ``NAME_data.c`` and ``NAME_names.c``. Products, sums, elementary functions
    and routines are in it. ``cpu`` then only says how wide its vectors are. Sums have another order than the
    executable's, so results differ by rounding. A program with functions of the gamma family has no such form.

    ``blas="tiles"`` puts graphc's own matrix products inside. With "linked" the library calls ``sgemm_`` and
    ``dgemm_`` of the BLAS that it is linked with, any one with 32-bit integers.

    An earlier export in ``directory`` is replaced in one step. Raises GraphError where there is nothing to export or
    the executables are of two graphs, ExportError for a name, processor, BLAS or directory that will not do, or
    without a compiler.

    >>> import numpy as np, graphc as gx
    >>> g = gx.Graph("line")
    >>> x = g.input("x", shape=("n",))
    >>> double = gx.compile([x], x + x, backend="numpy")
    >>> try:
    ...     gx.export_c("line", cpu="pdp-11", double=double)
    ... except gx.ExportError as error:
    ...     print(str(error).partition(" of ")[0])
    export_c: cpu must be one
    """
    if not isinstance(source, bool):
        text = f"source must be True or False, found {type(source).__name__}; no executable can be called source"
        raise ExportError(f"export_c: {text}", origin=caller())
    graph_of("export_c", executables)
    for key in executables:
        if not NAME.fullmatch(key):
            raise ExportError(f"export_c: {key[:80]!r} cannot begin the name of a C function", origin=caller())
    write(directory, name, cpu, blas, {f"{name}_{key}": exe for key, exe in executables.items()}, source)


def write(
    directory: str | os.PathLike[str],
    name: str,
    cpu: str,
    blas: str,
    executables: Mapping[str, Runnable],
    as_source: bool = False,
) -> None:
    """The same for executables by what their functions' names begin with."""
    _check(name, cpu, blas, as_source)
    for key, exe in executables.items():
        if own := users_own(exe.program.source.nodes):
            text = f"export_c: a library cannot hold ops of your own, and {key} has {', '.join(own)}"
            raise ExportError(text, origin=caller())
    library = Library(name, executables, cpu, blas, as_source)
    if as_source:
        _write_source(library, directory)
        return
    compiler = _tool("CC", "cc", "gcc", "clang"), _tool("AR", "ar")
    entries = {kernel_symbol(f): Entry(f.kernel, f.exe.fastmath) for f in library.functions}
    objects = emit_object(name, entries, cpu, library.products)
    with replaced(directory) as draft:
        folder = Path(draft)
        (folder / f"{name}.h").write_text(header(library))
        _build(library, objects, folder, *compiler)
        (folder / "main.c").write_text(example(library))
        (folder / "CMakeLists.txt").write_text(cmake(library))
        (folder / "README.md").write_text(readme(library))


def _write_source(library: Library, directory: str | os.PathLike[str]) -> None:
    name = library.name
    texts = {
        f"{name}.h": header(library),
        f"{name}.c": source_text(library),
        f"{name}_kernels.c": kernels_source(library),
        f"{name}_data.c": values_source(library),
        f"{name}_names.c": names_source(library),
        "main.c": example(library),
        "CMakeLists.txt": cmake(library),
        "README.md": readme(library),
    }
    with replaced(directory) as draft:
        for file, text in texts.items():
            (Path(draft) / file).write_text(text)


def _check(name: str, cpu: str, blas: str, as_source: bool) -> None:
    if not isinstance(name, str) or not NAME.fullmatch(name) or name in TAKEN:
        text = "letters, digits and underscores, at most 40, that is no system file's"
        raise ExportError(f"export_c: name must be a C identifier of {text}, found {str(name)[:80]!r}", origin=caller())
    if cpu not in processors():
        raise ExportError(f"export_c: cpu must be one of {', '.join(processors())}, found {cpu!r}", origin=caller())
    if blas not in BLAS:
        raise ExportError(f"export_c: blas must be one of {', '.join(BLAS)}, found {blas!r}", origin=caller())
    if as_source and blas != "tiles":
        raise ExportError(
            'export_c: source=True holds graphc\'s own products; leave out blas="linked"', origin=caller()
        )
    if not as_source and not sys.platform.startswith("linux"):
        raise ExportError(f"export_c: libraries are made on Linux, this is {sys.platform}", origin=caller())
    if settings().blas != "tiles":
        text = f"GRAPHC_BLAS is {settings().blas!r}, but a C library holds graphc's own products; unset it to export"
        raise ExportError(f"export_c: {text}", origin=caller())


def _tool(variable: str, *names: str) -> list[str]:
    """The words that begin a tool's command line."""
    try:
        given = shlex.split(os.environ.get(variable, ""))
    except ValueError as error:
        text = f"{variable}={os.environ[variable]} cannot be read: {error}"
        raise ExportError(f"export_c: {text}", origin=caller()) from None
    for words in [given] if given else [[name] for name in names]:
        if found := shutil.which(words[0]):
            return [os.path.abspath(found), *words[1:]]  # it runs in another directory
    missing = f"{variable}={given[0]}" if given else " or ".join(names)
    text = f"found no {missing}; install gcc or clang (Debian: gcc, Fedora: gcc, Alpine: build-base), or set {variable}"
    raise ExportError(f"export_c: a C compiler makes the libraries: {text}", origin=caller())


def _build(library: Library, objects: bytes, folder: Path, compiler: list[str], archiver: list[str]) -> None:
    """Compiles what stands around the kernels, and leaves the two libraries."""
    name = library.name
    made = {
        f"{name}.c": source_text(library).encode(),
        f"{name}_names.c": names_source(library).encode(),
        f"{name}_data.s": data_source(library, f"{name}.bin").encode(),
        f"{name}.bin": library.data,
        f"{name}_kernels.o": objects,
    }
    for file, content in made.items():
        (folder / file).write_bytes(content)
    parts = [f"{name}{end}" for end in (".o", "_names.o", "_data.o", "_kernels.o")]
    for text, part in zip(made, parts[:3], strict=False):
        _run([*compiler, *OPTIONS, "-c", text, "-o", part], folder)
    shared = f"lib{name}.so"
    _run([*compiler, "-shared", *parts, "-lm", f"-Wl,-soname,{shared},--as-needed", "-o", shared], folder)
    _run([*archiver, "rcsD", f"lib{name}.a", *parts], folder)
    for file in {*made, *parts}:
        (folder / file).unlink()


def _run(command: list[str], folder: Path) -> None:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, errors="replace")
    if done.returncode != 0:
        text = "\n".join((done.stderr or done.stdout).splitlines()[:5])
        raise ExportError(f"export_c: {' '.join(command)} failed:\n{text}", origin=caller())


LATER["write_library"] = write

__all__ = ["export_c", "write"]
