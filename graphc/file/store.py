"""`save` and `load`: executables of one graph, with its state, in one file."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Mapping
from typing import Any

from graphc.compile import assemble, check_updates, one_graph
from graphc.config import __version__
from graphc.errors import GraphcError, GraphFileError
from graphc.executable import Executable, Program, Structure, graph_of
from graphc.file import archive, schema, strict, tensors
from graphc.file.strict import show
from graphc.ir.graph import Graph, Tensor, topological

FORMAT = 1  # the version of the format; readers know every earlier one
MOST_THREADS = 1 << 16
MANIFEST = {"format": int, "graphc": str, "members": dict, "executables": dict}
EXECUTABLE = {"inputs": list, "outputs": dict, "updates": list, "options": dict}
OUTPUTS = {"kind": str, "keys": list, "nodes": list}
OPTIONS = {"threads": (int, type(None)), "fastmath": bool, "backend": str, "cache": bool}


def save(path: str | os.PathLike[str], /, **executables: Executable) -> None:
    """Writes executables of one graph to one file, with the graph's state as it stands.

    What no executable needs is left out. The file is written under another name in the same directory, synced to disk
    and renamed, so ``path`` holds the old file or the new one, never half. Equal graphs and states give equal files.

    Raises GraphError where there is nothing to save or the executables are of two graphs, GraphFileError, naming the
    node, for a graph that could not be loaded again, OSError where the file cannot be written.

    >>> import os, tempfile, numpy as np, graphc as gx
    >>> g = gx.Graph("line")
    >>> x, w = g.input("x", shape=("n",)), g.parameter("w", np.float32(2.0))
    >>> path = os.path.join(tempfile.mkdtemp(), "line.gx")
    >>> gx.save(path, scale=gx.compile([x], w * x, backend="numpy"))
    >>> gx.load(path)["scale"](np.ones(3, np.float32)).tolist()
    [2.0, 2.0, 2.0]
    """
    graph = graph_of("save", executables)
    programs = {name: exe.program for name, exe in executables.items()}
    ids = [i for p in programs.values() for i in (*p.roots, *p.arguments_at, *(graph[u].id for u in p.updates))]
    chosen = [n.id for n in topological(graph, ids)]
    place = {id: k for k, id in enumerate(chosen)}
    nodes = [graph.nodes[i] for i in chosen]
    with graph.state.lock.reading:
        weights = tensors.pack({n.name: graph.state.storage[n.name] for n in nodes if n.op.name in schema.STATE})
    constants = tensors.pack({n.name: n.value for n in nodes if n.op.name == "constant" and n.value is not None})
    text = strict.dump(schema.encode(graph, chosen))
    described = {name: _describe(exe, place) for name, exe in executables.items()}

    def manifest(members: dict[str, Any]) -> bytes:
        return strict.dump({"format": FORMAT, "graphc": __version__, "members": members, "executables": described})

    # what cannot be read again must not be written
    again = schema.decode(text, b"".join(constants), b"".join(weights))
    _programs(again, strict.parse(strict.dump(described), archive.MANIFEST))
    archive.write(path, manifest, dict(zip(archive.MEMBERS, ([text], constants, weights), strict=True)))


def _describe(exe: Executable, place: Mapping[int, int]) -> dict[str, Any]:
    p = exe.program
    roots = [place[i] for i in p.roots]
    state = [place[p.graph[name].id] for name in p.updates]
    return {
        "inputs": [place[i] for i in p.arguments_at],
        "outputs": {"kind": p.structure.kind, "keys": list(p.structure.keys), "nodes": roots[: p.n_outputs]},
        "updates": [list(pair) for pair in zip(state, roots[p.n_outputs :], strict=True)],
        "options": {"threads": exe.threads, "fastmath": exe.fastmath, "backend": exe.backend, "cache": exe.cache},
    }


def load(path: str | os.PathLike[str]) -> Loaded:
    """The executables of a file that `save` wrote, by name. They share their graph's state.

    Everything is checked when loaded: sizes, digests, schema, types, sizes of arrays. Nothing is compiled before an
    executable is asked for, and nothing in a file is ever run, imported or opened.

    Raises GraphFileError, naming the place in the file, for one that is damaged, hostile or of a newer format.
    """
    try:
        manifest, members = archive.read(path, _check_version)
        strict.record(manifest, archive.MANIFEST, MANIFEST)
        graph = schema.decode(*(members[name] for name in archive.MEMBERS))
        return Loaded(graph, _programs(graph, manifest["executables"]))
    except GraphFileError as error:
        name = os.path.basename(os.fsdecode(path))
        raise GraphFileError(f"{name}: {error.message}", node=error.node) from None


def _check_version(manifest: dict[str, Any]) -> None:
    found, writer = manifest.get("format"), manifest.get("graphc")
    if type(found) is not int or found < 1 or type(writer) is not str:
        raise GraphFileError(f"{archive.MANIFEST}: format: expected a version and graphc's, found {show(found)}")
    if found > FORMAT:
        raise GraphFileError(
            f"{archive.MANIFEST}: format: the file is of format {found}, written by graphc {show(writer)}; "
            f"this is graphc {__version__}, which reads formats up to {FORMAT}: install graphc {show(writer)} or later"
        )


def _programs(graph: Graph, described: dict[str, Any]) -> dict[str, tuple[Program, dict[str, Any]]]:
    """Each executable's program, whole and checked, and its options."""
    if not described:
        raise GraphFileError(f"{archive.MANIFEST}: executables: there are none")
    out = {}
    for name, held in described.items():
        place = f"{archive.MANIFEST}: executables: {show(name)}"
        strict.record(held, place, EXECUTABLE)
        try:
            out[name] = _program(graph, held, place), _options(held["options"], f"{place}: options")
        except GraphFileError:
            raise
        except GraphcError as error:
            raise GraphFileError(f"{place}: {error.message[:300]}", node=error.node) from None
    return out


def _program(graph: Graph, held: dict[str, Any], place: str) -> Program:
    outputs = strict.record(held["outputs"], f"{place}: outputs", OUTPUTS)

    def named(numbers: list[Any], field: str) -> list[Tensor]:
        return [graph.tensors[k] for k in strict.numbers(numbers, f"{place}: {field}", len(graph))]

    arguments, results = named(held["inputs"], "inputs"), named(outputs["nodes"], "outputs")
    nexts: dict[Tensor, Tensor] = {}
    for k, pair in enumerate(held["updates"]):
        at = f"updates: entry {k}"
        if type(pair) is not list or len(pair) != 2:
            raise GraphFileError(f"{place}: {at}: expected two numbers, found {show(pair)}")
        state, value = named(pair, at)
        if state in nexts:
            raise GraphFileError(f"{place}: {at}: {show(state.name)} has a next value already", node=state.name)
        nexts[state] = value
    kind, keys = outputs["kind"], outputs["keys"]
    expected = {"none": 0, "one": 1, "list": len(results), "dict": len(keys)}.get(kind)
    if expected != len(results) or (keys and kind != "dict"):
        raise GraphFileError(f"{place}: outputs: {len(results)} nodes do not make up {show(kind)}")
    if any(type(key) is not str for key in keys) or len(set(keys)) != len(keys):
        raise GraphFileError(f"{place}: outputs: keys: expected different texts")
    one_graph(arguments, results, nexts)
    check_updates(graph, arguments, nexts)
    return assemble(graph, Structure(kind, tuple(keys)), arguments, results, nexts, "ignore")


def _options(held: Any, place: str) -> dict[str, Any]:
    strict.record(held, place, OPTIONS)
    if held["backend"] not in ("numba", "numpy"):
        raise GraphFileError(f"{place}: backend: expected numba or numpy, found {show(held['backend'])}")
    if held["threads"] is not None and not 1 <= held["threads"] <= MOST_THREADS:
        raise GraphFileError(f"{place}: threads: expected a count or null, found {held['threads']}")
    return dict(held)


class Loaded(Mapping[str, Executable]):
    """The executables of a file, by name; each is compiled when first asked for, and kept.

    Iteration, ``len`` and ``in`` compile nothing, nor does `graph`.
    """

    def __init__(self, graph: Graph, programs: dict[str, tuple[Program, dict[str, Any]]]) -> None:
        self.graph = graph
        self._programs = programs
        self._made: dict[str, Executable] = {}
        self._lock = threading.Lock()

    def __getitem__(self, name: str) -> Executable:
        with self._lock:
            if name not in self._made:
                program, options = self._programs[name]
                self._made[name] = Executable(program, **options)
            return self._made[name]

    def __contains__(self, name: object) -> bool:
        return name in self._programs

    def __iter__(self) -> Iterator[str]:
        return iter(self._programs)

    def __len__(self) -> int:
        return len(self._programs)

    def __repr__(self) -> str:
        return f"<executables of {self.graph.name}: {', '.join(self._programs)}>"


__all__ = ["Loaded", "load", "save"]
