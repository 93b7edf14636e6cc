"""``graphc info FILE``, ``graphc run``, ``graphc view`` and ``graphc export``."""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from graphc.atomic import replacing, same_file
from graphc.commands.words import arrays, chosen, files_of, listed, printable, summary
from graphc.errors import InputError
from graphc.file.store import load, save
from graphc.ir.tensor import Tensor
from graphc.run.binding import arrange
from graphc.run.executable import Executable
from graphc.run.program import Program

SAVEZ = ("file", "allow_pickle")  # parameters of np.savez


def describe(path: Path) -> list[str]:
    """What is in a file, as lines; nothing is compiled or run. GraphFileError where it cannot be loaded."""
    loaded = load(path)
    graph, manifest, state = loaded.graph, loaded.manifest, loaded.graph.state
    count = sum(n.op.name == "constant" for n in graph.nodes)
    rows = [
        ("file", f"{path.name}, {path.stat().st_size:,} bytes"),
        ("format", f"{manifest['format']}, written by graphc {manifest['graphc']}"),
        ("graph", f"{graph.name}, {len(graph)} nodes, {count} of them constants"),
        ("state", f"{len(state)} arrays, {sum(a.nbytes for a in state.storage.values()):,} bytes"),
        *(("", f"{printable(name, 40):<24} {graph[name].type}") for name in state),
    ]
    for name, program in loaded.programs.items():
        options = manifest["executables"][name]["options"]
        told = ", ".join(f"{key} {value}" for key, value in options.items() if value is not None)
        rows += [
            (name, f"inputs   {_typed(program.arguments)}"),
            ("", f"outputs  {_outputs(program)}"),
            *([("", f"updates  {', '.join(program.updates)}")] if program.updates else []),
            ("", f"options  {told}"),
        ]
    return [f"{printable(key, 11):<12}{printable(text)}".rstrip() for key, text in rows]


def _typed(tensors: list[Tensor], names: tuple[str, ...] = ()) -> str:
    names = names or tuple(t.name for t in tensors)
    return ", ".join(f"{name}: {t.type}" for name, t in zip(names, tensors, strict=True)) or "none"


def _outputs(program: Program) -> str:
    listed = _typed(program.results, program.structure.keys)
    return {"list": f"[{listed}]", "dict": f"{{{listed}}}"}.get(program.structure.kind, listed)


def run(options: Any) -> int:
    """Runs an executable on arrays from files."""
    loaded = load(options.file)
    exe = loaded[chosen(loaded, options.executable)]
    read = files_of(exe, options.arrays)
    _keep("--out", options.out, options.file, *read, *([options.save] if options.save else []))
    _keep("--save", options.save, *read)
    given = arrange(list(exe.inputs.values()), (), arrays(exe, options.arrays))
    named = dict(zip(output_names(exe), listed(exe, exe(*given)), strict=True))
    for name, value in named.items():
        print(f"{name:<16} {summary(value)}")
    if exe.program.updates:
        print(f"state updated: {printable(', '.join(exe.program.updates), 200)}")
    if options.out is not None:
        with replacing(options.out) as file:
            np.savez(file, **named)
    if options.save is not None:
        save(options.save, **dict(loaded))
    return 0


def _keep(option: str, written: Path | None, *others: Any) -> None:
    """InputError where what an option names would be written over another file of the same command."""
    if written is not None and any(same_file(written, other) for other in others):
        raise InputError(f"{option} {written} names another file of this command, which it would overwrite")


def output_names(exe: Executable) -> list[str]:
    """Names of the outputs in a .npz file: keys of a dict, else out, or out0, out1 and so on."""
    kind, keys = exe.program.structure.kind, exe.program.structure.keys
    if kind == "one":
        return ["out"]
    plain = [k for k in keys if re.fullmatch(r"[A-Za-z0-9_][\w.-]{0,99}", k, re.ASCII) and k not in SAVEZ]
    return list(keys) if plain and len(plain) == len(keys) else [f"out{k}" for k in range(exe.program.n_outputs)]


def view(options: Any) -> int:
    """Writes a page on a file's graph, or on one of its executables."""
    loaded = load(options.file)
    path = options.output or Path(f"{options.file.stem}.html")
    _keep("--output", path, options.file)
    if options.executable is None:
        loaded.graph.view(path)
    else:
        loaded[chosen(loaded, options.executable)].view(path)
    print(f"wrote {printable(str(path))}")
    return 0


def export(options: Any) -> int:
    """Writes a file's executables in another format."""
    gx: Any = import_module("graphc")
    _keep("--output", options.output, options.file)
    loaded = load(options.file)
    if options.to == "c":
        names = list(loaded) if options.name is None else [chosen(loaded, options.name)]
        library = options.library or re.sub(r"\W", "_", options.file.stem, flags=re.ASCII)
        how = {"name": library, "cpu": options.cpu, "blas": options.blas, "source": options.source}
        if wrong := [n for n in names if n in how]:
            raise InputError(f"an executable called {wrong[0]!r} cannot be a C function; save it under another name")
        gx.export_c(options.output, **how, **{n: loaded[n] for n in names})
    else:
        exe: Any = loaded[chosen(loaded, options.name)]
        (exe.export_python if options.to == "python" else exe.export_onnx)(options.output)
    print(f"wrote {printable(str(options.output))}")
    return 0
