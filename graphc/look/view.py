"""`Graph.view` and `Executable.view`: a graph as one page that needs nothing else."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from html import escape
from importlib import resources
from typing import Any

import numpy as np

from graphc.atomic import replacing
from graphc.codegen.kernel import SCHEDULING
from graphc.compile import extract
from graphc.errors import caller
from graphc.ir import dims
from graphc.ir.body import bodies
from graphc.ir.graph import Graph, located, topological
from graphc.ir.node import Node
from graphc.ir.state import Array
from graphc.ir.tensor import Tensor
from graphc.look.describe import LONGEST, Lines, Table, describe
from graphc.look.explain import fusion
from graphc.look.inspection import fed, inspect
from graphc.look.profile import Profile, time_text
from graphc.look.summary import lines as summary
from graphc.look.trace import Trace, buffer_words
from graphc.look.trace import trace as trace_of
from graphc.reference import bind_sizes, evaluate
from graphc.run.binding import convert
from graphc.run.executable import Executable

MOST_NODES = 20_000  # of all stages of an executable together; of more, the first and the last are shown
MOST_LINES = 6_000  # of generated source

Feeds = Mapping[Any, Any]


class View:
    """A page. In a notebook it shows itself; ``html`` is its text, `save` writes it, `open` shows it in a browser."""

    def __init__(self, title: str, html: str, nodes: int) -> None:
        self.title, self.html, self._nodes = title, html, nodes

    def __repr__(self) -> str:
        return f"<View of {self.title}: {self._nodes} nodes; .save(path) writes it, .open() shows it in a browser>"

    def _repr_html_(self) -> str:
        """A frame of its own: the page's names and styles stay inside, and so does what it does."""
        kept = escape(self.html, quote=True)
        style = "width:100%;height:560px;border:1px solid #ccc"
        return f'<iframe sandbox="allow-scripts" style="{style}" srcdoc="{kept}"></iframe>'

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the page, whole or not at all; OSError where that cannot be."""
        with replacing(path) as file:
            file.write(self.html.encode())

    def open(self) -> None:
        """Shows the page in a browser, from a temporary file."""
        import webbrowser

        handle, path = tempfile.mkstemp(".html", "graphc-")
        with os.fdopen(handle, "wb") as file:
            file.write(self.html.encode())
        webbrowser.open("file://" + path)


def view(
    graph: Graph,
    path: str | os.PathLike[str] | None = None,
    *,
    feeds: Feeds | None = None,
    outputs: Tensor | Sequence[Tensor] | None = None,
    wrt: Tensor | Sequence[Tensor] | None = None,
) -> View:
    """See `Graph.view`."""
    with located("view", caller()):
        lines = Lines()
        seen = {} if feeds is None else _seen(graph, feeds, outputs, wrt)
        stage = describe(graph, lines, lambda node: seen.get(node.name, {}))
        return _page(graph.name, [{"name": "graph", **stage}], lines, {}, path)


def view_executable(
    exe: Executable,
    path: str | os.PathLike[str] | None = None,
    *,
    feeds: Feeds | None = None,
    profile: Profile | None = None,
) -> View:
    """See `Executable.view`."""
    with located("view", caller()):
        program, lines = exe.program, Lines()
        feeds = None if feeds is None else {fed(exe.graph, key): value for key, value in feeds.items()}
        if exe.backend != "numba" or not exe.wait():
            return _page(exe.graph.name, [_stage("graph", program.source, lines, feeds)], lines, {}, path)
        trace = trace_of(exe)
        graphs = [*program.stages, (SCHEDULING, trace.plan.graph)]
        if sum(len(g) for _, g in graphs) > MOST_NODES:
            graphs = [graphs[0], graphs[-1]]
        told = [_told(trace), *(lambda node: {} for _ in graphs[1:-1]), _scheduled(trace)]
        stages = [_stage(name, g, lines, feeds, more) for (name, g), more in zip(graphs, told, strict=True)]
        return _page(exe.graph.name, stages, lines, _kernel(trace, profile), path)


def _stage(
    name: str, graph: Graph, lines: Lines, feeds: Feeds | None, more: Callable[[Node], Table] = lambda node: {}
) -> Table:
    values = {} if feeds is None else _values(graph, feeds)
    return {"name": name, **describe(graph, lines, lambda n: {**more(n), **values.get(n.name, {})})}


def _told(trace: Trace) -> Callable[[Node], Table]:
    """What there is to say of a node of the user's graph in an executable."""

    def of(node: Node) -> Table:
        last = trace.last(node.id)
        found: Table = {"e": trace.events(node.id), "u": fusion(trace, last)}
        return {k: v for k, v in (found | _where(trace, last)).items() if v not in ([], "", None)}

    return of


def _scheduled(trace: Trace) -> Callable[[Node], Table]:
    return lambda node: {"u": fusion(trace, node.id), **_where(trace, node.id)}


def _where(trace: Trace, last: int | None) -> Table:
    if last is None:
        return {}
    parts = [part.number for part in trace.part_of.get(last, [])]
    found = {"k": parts, "b": buffer_words(trace.plan, last), "z": last}
    return {k: v for k, v in found.items() if v not in ([], "")}


def _kernel(trace: Trace, profile: Profile | None) -> Table:
    """The parts of the kernel, and its source line by line, each with the nodes of the scheduled graph in it."""
    text = trace.kernel.text
    assert text is not None
    rows = [row for part in (*text.nests, text.lines) for row in part]
    shown = [[row.text[:LONGEST], list(dict.fromkeys(row.nodes))] for row in rows[:MOST_LINES]]
    if len(rows) > MOST_LINES:
        shown.append([f"# {len(rows) - MOST_LINES} lines more: exe.source", []])
    parts = [{"n": p.title, "s": p.stage, "g": str(p.group.size) if p.group else ""} for p in trace.parts]
    for row in profile.rows if profile is not None else ():
        if row.part.isdecimal() and int(row.part) < len(parts):
            parts[int(row.part)]["t"] = time_text(row.seconds)
    return {"parts": parts, "source": shown}


# ---- values


def _seen(graph: Graph, feeds: Feeds, outputs: Any, wrt: Any) -> dict[str, Table]:
    """Values of all nodes that the feeds give, and gradients of ``outputs``, by name."""
    found = _values(graph, feeds)
    if outputs is None:
        outputs = [t for t in graph.outputs if t.node.role == "forward" and t.dtype.kind == "f"]
    if outputs:
        for row in inspect(outputs, feeds, wrt, opened=True).rows:
            table = found.setdefault(row.name, {})
            table["v"] = summary(row.value)
            if row.gradient is not None:
                table["g"], table["gf"], table["gw"] = summary(row.gradient), row.rule, row.words
    return found


def _values(graph: Graph, feeds: Feeds) -> dict[str, Table]:
    """The value of every node of a graph that depends on nothing but what is fed and state."""
    names = {key.name if isinstance(key, Tensor) else str(key): value for key, value in feeds.items()}
    given = [graph[name] for name in names if name in graph]
    fed = {t.id for t in given}
    open_ = {n.id for n in graph.nodes if n.op.name == "input" and n.id not in fed}
    for node in graph.nodes:
        if node.id not in fed and any(i in open_ for i in node.inputs):
            open_.add(node.id)
    known = [graph.tensors[n.id] for n in graph.nodes if n.id not in open_]
    if not known:
        return {}
    work = extract(graph, given, known, "ignore")
    arrays = {t.name: convert(t, names[t.name]) for t in given}
    sizes = bind_sizes(given, [a.shape for a in arrays.values()])
    for node in topological(work, [t.id for t in work.outputs]):
        if any(name not in sizes for s in node.type.shape for name in _symbols(s)):
            return {}
    state: dict[str, Array] = {n.name: n.value for n in work.nodes if n.value is not None}
    state |= {name: value for name, value in _state(graph).items() if name in state}
    with np.errstate(all="ignore"):
        found = evaluate(work.tensors, arrays, state, sizes)
    shown = [n for n in work.nodes if not bodies(n)]  # of a loop, its results
    return {n.name: {"v": summary(found[n.id])} for n in shown}


def _symbols(size: Any) -> Sequence[str]:
    return list(dims.free_symbols([size])) if isinstance(size, dims.Dim) else []


def _state(graph: Graph) -> dict[str, Array]:
    return {name: graph.state[name] for name in graph.state}


# ---- the page


def _page(title: str, stages: list[Table], lines: Lines, kernel: Table, path: Any) -> View:
    data = {"title": title, "stages": stages, "lines": lines.table, **kernel}
    made = View(title, html(title, data), len(stages[0]["nodes"]))
    if path is not None:
        made.save(path)
    return made


def html(title: str, data: Table) -> str:
    """The page: texts of the user stand in one JSON table in which nothing can end a script, and in the title."""
    text = json.dumps(data, ensure_ascii=True, separators=(",", ":"), allow_nan=False)
    for sign in "<>&":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    parts = {name: _file(name) for name in ("view.css", "vendor.js", "view.js")}
    return (
        "<!doctype html>\n"
        f'<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>\n'
        f"<style>\n{parts['view.css']}</style></head>\n<body>\n{_file('body.html')}"
        f'<script type="application/json" id="data">{text}</script>\n'
        f'<script type="text/plain" id="licences">{_file("LICENSES.txt")}</script>\n'
        f"<script>\n{parts['vendor.js']}</script>\n<script>\n{parts['view.js']}</script>\n</body></html>\n"
    )


def _file(name: str) -> str:
    return resources.files("graphc.look").joinpath("page", name).read_text("utf-8")


__all__ = ["View", "html", "view", "view_executable"]
