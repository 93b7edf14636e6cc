"""Functions of graphc with all that they need, as one text that imports nothing of graphc.

An exported module holds the functions that its kernel calls. There is one copy of their code, the one in this package:
here its source is read, what is needed is found by following names, and the definitions are written one after the
other, under names that do not collide. A definition has the same text in every export.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

from graphc.export import runtime

PACKAGE = "graphc."
REGISTRARS = ("lower_builtin", "register_model", "type_callable")  # decorators of what nobody calls by name
# Names of graphc that an export defines itself, or has no need of.
STAND_INS = {
    ("graphc.codegen.abi", "PREFIX"): "PREFIX",
    ("graphc.config", "settings"): "settings",
    ("graphc.errors", "CompileError"): "RuntimeError",
}
_NOISE = re.compile(r"  # (type: ignore|noqa).*")


@dataclass(frozen=True, slots=True)
class Outside:
    """What a name stands for that other packages bring: a name of a module, or a module itself.

    ``import a.b`` and ``import a.c`` bind one name, so a module has several sources.
    """

    name: str
    sources: tuple[str, ...]
    original: str | None


@dataclass(eq=False, slots=True)
class Definition:
    """A statement at the top level of one of graphc's modules."""

    module: Module
    node: ast.stmt
    names: tuple[str, ...]

    @property
    def registers(self) -> bool:
        """True where it is there for its effect, and so comes along with its module."""
        decorators = getattr(self.node, "decorator_list", [])
        called = {d.func.id for d in decorators if isinstance(d, ast.Call) and isinstance(d.func, ast.Name)}
        return not self.names or not called.isdisjoint(REGISTRARS)


@dataclass(frozen=True, slots=True)
class Known:
    """One of a definition's names."""

    definition: Definition
    name: str


Meaning = Outside | Known | str  # a stand-in's text, or "module NAME"


class Module:
    """A module of graphc as source: its definitions, and what its names mean."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.stem = name.rsplit(".", 1)[-1]
        text = inspect.getsource(importlib.import_module(name))
        self.lines = text.splitlines()
        self.definitions: list[Definition] = []
        self.imported: dict[str, tuple[str, str]] = {}  # name -> module of graphc, name there
        self.outside: dict[str, Outside] = {}
        tree = ast.parse(text)
        self.title = (ast.get_docstring(tree) or "").split("\n\n")[0].replace("\n", " ")
        for node in tree.body:
            if isinstance(node, (ast.Import, ast.ImportFrom)):
                self._import(node)
            elif not _is_docstring(node) and _target(node) != ("__all__",):
                self.definitions.append(Definition(self, node, _target(node)))
        self.own = {name: d for d in self.definitions for name in d.names}

    def _import(self, node: ast.Import | ast.ImportFrom) -> None:
        source = node.module or "" if isinstance(node, ast.ImportFrom) else ""
        for alias in node.names:
            name = alias.asname or alias.name.split(".")[0]
            if source.startswith(PACKAGE):
                self.imported[name] = source, alias.name
            elif source != "__future__":
                before = self.outside[name].sources if name in self.outside else ()
                self.outside[name] = Outside(name, (*before, source or alias.name), alias.name if source else None)

    def meaning(self, name: str) -> Meaning | None:
        """What a name stands for at the module's top level; None for one of Python's own."""
        if (self.name, name) in STAND_INS:
            return STAND_INS[self.name, name]
        if name in self.imported:
            source, original = self.imported[name]
            if (source, original) in STAND_INS:
                return STAND_INS[source, original]
            return f"module {source}.{original}" if is_module(source, original) else module(source).meaning(original)
        return Known(self.own[name], name) if name in self.own else self.outside.get(name)


@cache
def module(name: str) -> Module:
    return Module(name)


@cache
def is_module(package: str, name: str) -> bool:
    """True where a package's name is a module in it."""
    return inspect.ismodule(getattr(importlib.import_module(package), name))


def _is_docstring(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def _target(node: ast.stmt) -> tuple[str, ...]:
    """Names that a statement defines."""
    if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
        return (node.name,)
    if isinstance(node, (ast.Assign, ast.AnnAssign)):
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        return tuple(n.id for t in targets for n in ast.walk(t) if isinstance(n, ast.Name))
    return ()


# ---- names in a definition

Mention = ast.Name | ast.Attribute


def mentions(node: ast.AST, local: frozenset[str] = frozenset()) -> Iterator[Mention]:
    """Names, and attributes of names, that are looked up at the top level."""
    if isinstance(node, (ast.FunctionDef, ast.Lambda)):
        local = local | _bound(node)
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
        if node.value.id not in local:
            yield node
        return
    if isinstance(node, ast.Name) and node.id not in local:
        yield node
    for child in ast.iter_child_nodes(node):
        yield from mentions(child, local)


def _bound(function: ast.FunctionDef | ast.Lambda) -> frozenset[str]:
    """Names that a function binds."""
    body = function.body if isinstance(function.body, list) else [function.body]
    inner = [n for statement in body for n in ast.walk(statement)]
    stored = {n.id for n in inner if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    defined = {n.name for n in inner if isinstance(n, ast.FunctionDef)}
    return frozenset({n.arg for n in ast.walk(function.args) if isinstance(n, ast.arg)} | stored | defined)


@cache
def uses(definition: Definition) -> list[tuple[Mention, Meaning]]:
    """What a definition mentions, and where it comes from."""
    out = []
    for node in mentions(definition.node):
        name = node.id if isinstance(node, ast.Name) else node.value.id  # type: ignore[attr-defined]
        found = definition.module.meaning(name)
        if isinstance(found, str) and found.startswith("module "):
            assert isinstance(node, ast.Attribute), f"{definition.module.name}: the module {name} as a value"
            found = module(found[7:]).meaning(node.attr)
        elif isinstance(node, ast.Attribute):
            node = node.value  # type: ignore[assignment]
        if found is not None:
            out.append((node, found))
    return out


def closure(roots: Iterable[Definition]) -> set[Definition]:
    """The definitions, all that they need, and what their modules register."""
    found: set[Definition] = set()
    waiting = list(roots)
    while waiting:
        definition = waiting.pop()
        if definition not in found:
            found.add(definition)
            waiting += [d for d in definition.module.definitions if d.registers]
            waiting += [m.definition for _, m in uses(definition) if isinstance(m, Known)]
    return found


# ---- the text


@dataclass(frozen=True, slots=True)
class Catalogue:
    """All that an export may hold: modules in the order of their imports, and every definition's name there."""

    modules: tuple[Module, ...]
    roots: Mapping[str, Definition]  # what kernels and modules call, by name
    ambiguous: frozenset[str]  # names that mean several things there; the first is meant
    names: Mapping[tuple[Definition, str], str]


@cache
def catalogue(roots: Sequence[str], reserved: frozenset[str]) -> Catalogue:
    """The catalogue of the functions in some modules.

    Of definitions that collide, the one that kernels call by that name keeps it; none takes a reserved one.
    """
    facing: dict[str, Definition] = {}
    ambiguous: set[str] = set()
    for root in (*roots, runtime.__name__):
        held = module(root)
        for name in (*held.own, *held.imported):
            meaning = held.meaning(name)
            if not isinstance(meaning, Known) or name.startswith("_"):
                continue
            if facing.setdefault(name, meaning.definition) is not meaning.definition:
                ambiguous.add(name)
    everything = closure(facing.values())
    modules: dict[Module, None] = {}
    for definition in facing.values():
        _visit(definition.module, everything, modules)
    together = Counter(name for d in everything for name in d.names)
    names = {}
    for d in everything:
        for name in d.names:
            plain = name not in reserved and (together[name] == 1 or facing.get(name) is d)
            names[d, name] = name if plain else f"{d.module.stem.lstrip('_')}_{name.lstrip('_')}"
    return Catalogue(tuple(modules), facing, frozenset(ambiguous), names)


def _visit(held: Module, everything: set[Definition], done: dict[Module, None], path: tuple[Module, ...] = ()) -> None:
    """Enters a module behind those that its definitions need."""
    if held in done or held in path:
        return
    for definition in held.definitions:
        for _, meaning in uses(definition) if definition in everything else ():
            if isinstance(meaning, Known):
                _visit(meaning.definition.module, everything, done, (*path, held))
    done[held] = None


@dataclass(frozen=True, slots=True)
class Flat:
    """Imports and definitions as text, and the names that they bind."""

    imports: tuple[str, ...]
    imported: frozenset[str]
    sections: tuple[str, ...]
    names: frozenset[str]


def flatten(roots: Sequence[str], wanted: Iterable[str], reserved: frozenset[str]) -> Flat:
    """The functions ``wanted`` of the modules ``roots``, with all that they need; see `catalogue`."""
    held = catalogue(tuple(roots), reserved)
    chosen = closure(held.roots[name] for name in wanted)
    outside = {m for d in chosen for _, m in uses(d) if isinstance(m, Outside)}
    sections = []
    for source in held.modules:
        parts = [(d, _text(d, held.names)) for d in source.definitions if d in chosen]
        if parts:
            title = f"# ---- {source.name.removeprefix(PACKAGE)}: {source.title}"
            sections.append("\n".join([*_wrapped(title), *_spaced(parts)]))
    names = frozenset(held.names[d, name] for d in chosen for name in d.names)
    return Flat(tuple(_imports(outside)), frozenset(m.name for m in outside), tuple(sections), names)


def _imports(outside: Iterable[Outside]) -> Iterator[str]:
    """The import statements, sorted as usual."""
    whole = {(source, m.name) for m in outside if m.original is None for source in m.sources}
    for source, name in sorted(whole):
        yield f"import {source}" + (f" as {name}" if name != source.split(".")[0] else "")
    parts: dict[str, list[str]] = {}
    for m in sorted((m for m in outside if m.original is not None), key=lambda m: (m.sources, m.name)):
        parts.setdefault(m.sources[0], []).append(f"{m.original} as {m.name}" if m.name != m.original else m.name)
    for source, names in parts.items():
        yield f"from {source} import {', '.join(names)}"


def _text(definition: Definition, names: Mapping[tuple[Definition, str], str]) -> str:
    """A definition's source, with the comment above it, under its names in the export."""
    node, lines = definition.node, definition.module.lines
    first = min([node.lineno, *(d.lineno for d in getattr(node, "decorator_list", []))]) - 1
    while lines[first - 1].startswith("#") and not lines[first - 1].startswith("# ----"):
        first -= 1
    edits: list[tuple[int, int, int, str]] = []
    for mention, meaning in uses(definition):
        assert mention.end_lineno == mention.lineno and mention.end_col_offset is not None
        if isinstance(meaning, Outside):
            continue
        new = names[meaning.definition, meaning.name] if isinstance(meaning, Known) else meaning
        edits.append((mention.lineno - 1, mention.col_offset, mention.end_col_offset, new))
    if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
        start = node.col_offset + len("def " if isinstance(node, ast.FunctionDef) else "class ")
        edits.append((node.lineno - 1, start, start + len(node.name), names[definition, node.name]))
    out = [line.encode() for line in lines[first : node.end_lineno]]
    for line, start, stop, new in sorted(edits, reverse=True):
        out[line - first] = out[line - first][:start] + new.encode() + out[line - first][stop:]
    return "\n".join(_NOISE.sub("", line.decode()) for line in out)


def _spaced(parts: Sequence[tuple[Definition, str]]) -> Iterator[str]:
    """One empty line after the title, two around functions and classes."""
    yield ""
    before = None
    for definition, text in parts:
        block = isinstance(definition.node, (ast.FunctionDef, ast.ClassDef, ast.If))
        if before is not None and (block or before):
            yield from ("", "")
        yield text
        before = block


def _wrapped(text: str, width: int = 116) -> Iterator[str]:
    """A comment in lines."""
    line = ""
    for word in text.split(" "):
        if line and len(line) + len(word) >= width:
            yield line
            line = "#"
        line = f"{line} {word}" if line else word
    yield line
