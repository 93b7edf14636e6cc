"""`save` and `load`: executables of one graph, with its state, in one file."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from graphc.collector import uncollected
from graphc.config import __version__
from graphc.errors import GraphcError, GraphError, GraphFileError, InputKeyError, Uncopied, caller, did_you_mean, listed
from graphc.file import archive, programs, schema, strict, tensors
from graphc.file.strict import show
from graphc.ir.body import bodies, users_own
from graphc.ir.graph import Graph
from graphc.ir.state import Array
from graphc.ops.signature import found
from graphc.run.executable import Executable, graph_of
from graphc.run.program import Program

# The version of the format; readers know every earlier one. 2 tells which nodes were made together, 3 has bodies.
FORMAT = 3
MOST_THREADS = 1 << 16
MOST_BYTES = 1 << 62
MANIFEST = {"format": int, "graphc": str, "members": dict, "executables": dict}
EXECUTABLE = {**programs.PROGRAM, "options": dict}
OPTIONS = {
    "threads": (int, type(None)),
    "fastmath": bool,
    "backend": str,
    "cache": bool,
    "max_bytes": (int, type(None)),
}


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
    chosen = programs.needed(graph, [exe.program for exe in executables.values()])
    place = {id: k for k, id in enumerate(chosen)}
    nodes = [graph.nodes[i] for i in chosen]
    weights = tensors.pack(graph.state.copies(n.name for n in nodes if n.op.name in schema.STATE))
    constants = tensors.pack({n.name: n.value for n in nodes if n.op.name == "constant" and n.value is not None})
    own = users_own(nodes)
    for op in own.values():
        if op.name is None:
            raise GraphFileError(
                f"{op} cannot be saved; give custom_op a name, by which gx.load(path, ops=...) finds it"
            )
    encoded = schema.encode(graph, chosen)
    version = 3 if any(bodies(node) for node in nodes) else 2 if "calls" in encoded else 1  # the least that holds it
    text = strict.dump(encoded)
    described = {name: _describe(exe, place) for name, exe in executables.items()}

    def manifest(listed: dict[str, Any]) -> bytes:
        return strict.dump({"format": version, "graphc": __version__, "members": listed, "executables": described})

    # what cannot be read again must not be written
    members = dict(zip(archive.MEMBERS, ([text], constants, weights), strict=True))
    with uncollected(), _knowing(own):
        again = _decode(lambda name, most=0: b"".join(members[name]))
        _programs(again, strict.parse(strict.dump(described), archive.MANIFEST))
    archive.write(path, manifest, members)


@contextmanager
def _knowing(ops: Mapping[str, Any]) -> Iterator[None]:
    """With ops of the user's own for nodes of these names."""
    before = schema.OWN.set(ops)
    try:
        yield
    finally:
        schema.OWN.reset(before)


def _decode(member: Callable[..., bytes]) -> Graph:
    """The graph of a file, whose members are ``member(name)``, or ``member(name, most bytes)``."""

    def arrays(kind: str, declared: tensors.Declared) -> Mapping[str, Array]:
        name = f"{kind}.safetensors"
        return tensors.unpack(member(name, tensors.size(declared)), declared, name)

    return schema.decode(member("graph.json"), arrays)


def _describe(exe: Executable, place: Mapping[int, int]) -> dict[str, Any]:
    options = {"threads": exe.threads, "fastmath": exe.fastmath, "backend": exe.backend, "cache": exe.cache}
    if exe.max_bytes is not None:
        options["max_bytes"] = exe.max_bytes
    return {**programs.describe(exe.program, place), "options": options}


def load(path: str | os.PathLike[str], *, ops: Mapping[str, Any] | None = None) -> Loaded:
    """The executables of a file that `save` wrote, by name. They share their graph's state.

    ``ops`` are the ops of your own that it uses, by name: what `custom_op` returned. A file holds their names alone.

    Everything is checked when loaded: sizes, digests, schema, types, sizes of arrays. Nothing is compiled before an
    executable is asked for, and nothing in a file is ever run, imported or opened.

    Raises GraphFileError, naming the place in the file, for one that is damaged, hostile, of a newer format or larger
    than memory; OSError where it cannot be read.

    >>> import tempfile
    >>> import graphc as gx
    >>> g = gx.Graph()
    >>> x = g.input("x", ("n",), "float64")
    >>> path = tempfile.mkdtemp() + "/model.gx"
    >>> gx.save(path, double=gx.compile([x], 2 * x, backend="numpy"))
    >>> gx.load(path)["double"]([1, 2]).tolist()
    [2.0, 4.0]
    """
    name = os.path.basename(os.fsdecode(path))
    try:
        with uncollected(), _knowing(_checked(ops)), archive.reading(path, _check_version) as held:
            manifest = strict.record(held.manifest, archive.MANIFEST, MANIFEST)
            graph = _decode(held.member)
            return Loaded(graph, _programs(graph, manifest["executables"]), manifest)
    except MemoryError:
        raise GraphFileError(f"{name}: there is not enough memory for what it holds") from None
    except GraphFileError as error:
        raise GraphFileError(f"{name}: {error.message}", node=error.node) from None


def _checked(ops: Mapping[str, Any] | None) -> Mapping[str, Any]:
    for name, op in (ops or {}).items():
        if not hasattr(op, "record"):
            raise GraphError(f"ops[{name!r}] must be what custom_op returned, found {found(op)}", origin=caller())
    return ops or {}


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
            out[name] = programs.program(graph, held, place), _options(held["options"], f"{place}: options")
        except GraphFileError:
            raise
        except GraphcError as error:
            raise GraphFileError(f"{place}: {error.message[:300]}", node=error.node) from None
    return out


def _options(held: Any, place: str) -> dict[str, Any]:
    options: dict[str, Any] = {"max_bytes": None, **held}  # written where there is one
    strict.record(options, place, OPTIONS)
    if options["backend"] not in ("numba", "numpy"):
        raise GraphFileError(f"{place}: backend: expected numba or numpy, found {show(options['backend'])}")
    for name, most in (("threads", MOST_THREADS), ("max_bytes", MOST_BYTES)):
        if options[name] is not None and not 1 <= options[name] <= most:
            raise GraphFileError(f"{place}: {name}: expected a count or null, found {options[name]}")
    return options


class Loaded(Uncopied, Mapping[str, Executable]):
    """The executables of a file, by name; each is compiled when first asked for, and kept.

    Iteration, ``len`` and ``in`` compile nothing, nor do `graph`, `programs` and `manifest`.
    """

    def __init__(
        self, graph: Graph, programs: dict[str, tuple[Program, dict[str, Any]]], manifest: dict[str, Any]
    ) -> None:
        self.graph, self.manifest = graph, manifest
        self._programs = programs
        self._made: dict[str, Executable] = {}

    @property
    def programs(self) -> dict[str, Program]:
        """What each executable is made of."""
        return {name: program for name, (program, _) in self._programs.items()}

    def __getitem__(self, name: str) -> Executable:
        if name not in self._programs:
            text = f"the file has no executable {name!r}; it has {listed(self._programs)}"
            raise InputKeyError(text + did_you_mean(name, self._programs), origin=caller())
        if name not in self._made:
            program, options = self._programs[name]
            self._made.setdefault(name, Executable(program, **options))  # another thread may be faster
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
