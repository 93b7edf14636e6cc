"""The directive `api` of the reference's pages: each name with its signature and docstring, for Sphinx."""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Iterator
from functools import reduce
from typing import Any

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.util.docutils import SphinxDirective

import graphc
from graphc.cached import cached

MADE = (graphc.Executable, graphc.Tensor, graphc.Inspection, graphc.History, graphc.Sparse)  # not by users


def names_of(space: str) -> dict[str, Any]:
    """What a space such as ``gx.nn`` holds."""
    first, *rest = space.split(".")
    if first == "gx":
        return vars(reduce(getattr, rest, graphc))
    return vars(importlib.import_module(space))


def marked(text: str, names: dict[str, Any]) -> Iterator[str]:
    """A docstring as lines of Markdown: examples in fences, tables as lists of terms, names as links."""
    for paragraph in re.split(r"\n\s*\n", text):
        lines = paragraph.split("\n")
        if lines[0].startswith(">>> "):
            yield from ["```pycon", *lines, "```", ""]
        elif column := table_column(lines):
            for line in lines:
                term, rest = line[:column].strip(), line[column:]
                yield from ["", f"`{term}`", f": {rest}"] if term else [f"  {rest}"]
            yield ""
        else:
            linked = re.sub(
                r"(?<![`\w}])`(?:graphc\.|gx\.)?([\w.]+)`(?!`)",
                lambda m: f"{{py:obj}}`gx.{m[1]}`" if m[1].split(".")[0] in names else f"`{m[1]}`",
                paragraph,
            )
            yield from [*linked.split("\n"), ""]


def table_column(lines: list[str]) -> int:
    """Where the second column begins of lines that are a table of terms; 0 of other text."""
    found = re.match(r"\S.*?  +(?=\S)", lines[0])
    return found.end() if found and all(line[: found.end()].endswith(" ") for line in lines) else 0


def signature(value: Any) -> str:
    try:
        text = str(inspect.signature(value))
    except (TypeError, ValueError):
        return "()"
    return re.sub(r"(: |-> )'([^']*)'", r"\1\2", text)


def written(kind: str, name: str, value: Any, names: dict[str, Any], depth: int = 3) -> Iterator[str]:
    """One name, and of a class its public methods and properties."""
    fence = ":" * (depth + 3)
    shown = "" if kind in ("property", "exception") or value in MADE else signature(value)
    if kind == "method":
        shown = re.sub(r"^\((?:self|/)(?:, )?/?(?:, )?", "(", shown)
    yield from [f"{fence}{{py:{kind}}} {name}{shown}", "", *marked(inspect.getdoc(value) or "", names)]
    if inspect.isclass(value):
        for key, member in sorted(members(value).items()):
            what = "property" if isinstance(member, (property, cached)) else "method"
            yield from written(what, f"{name}.{key}", member, names, depth - 1)
    yield from [fence, ""]


def members(cls: type) -> dict[str, Any]:
    """Public methods and properties that say what they are."""
    found: dict[str, Any] = {}
    for base in cls.__mro__:
        if base.__module__.partition(".")[0] == "graphc":
            for name, member in vars(base).items():
                told = isinstance(member, (property, cached)) or inspect.isfunction(member)
                if (
                    told
                    and name[0] != "_"
                    and ">>> " in (member.__doc__ or "") + ">>> " * (not inspect.isfunction(member))
                ):
                    found.setdefault(name, member)
    return found


class Api(SphinxDirective):
    """The names in its body, of the space that is its argument, ``gx`` by default."""

    has_content = True
    optional_arguments = 1

    def run(self) -> list[nodes.Node]:
        space = self.arguments[0] if self.arguments else "gx"
        held, everything = names_of(space), names_of("gx")
        lines: list[str] = []
        for name in " ".join(self.content).split():
            value = held[name]
            kind = "exception" if inspect.isclass(value) and issubclass(value, Exception) else "function"
            kind = "class" if inspect.isclass(value) and kind == "function" else kind
            also = [k for k, v in held.items() if v is value and k != name and k[0] != "_"]
            lines += written(kind, f"{space}.{name}", value, everything)
            if also:
                lines.insert(len(lines) - 2, "Also " + ", ".join(f"`{space}.{k}`" for k in sorted(also)) + ".")
        node = nodes.section()
        node.document = self.state.document
        self.state.nested_parse(StringList(lines, self.env.docname), self.content_offset, node)
        return node.children


def setup(app: Any) -> dict[str, bool]:
    app.add_directive("api", Api)
    return {"parallel_read_safe": True}
