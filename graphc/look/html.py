"""What notebooks show of graphs, tensors, executables, state and stages: short, with the rest folded away."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

from graphc.ir.graph import Graph
from graphc.ir.state import State
from graphc.ir.tensor import Tensor
from graphc.ir.text import print_graph
from graphc.look.expression import formula
from graphc.look.picture import to_svg
from graphc.look.summary import line
from graphc.run.executable import Executable

MOST = 100  # nodes of a graph that is drawn
ROWS = 30  # of a table
LINES, CHARACTERS = 120, 6000  # of a text


def graph_html(graph: Graph) -> str:
    """Name and size, leaves and outputs; the drawing of a small graph, and the text, folded."""
    leaves = [*graph.inputs.values(), *graph.parameters.values(), *graph.variables.values()]
    rows = [(t.op.name, t.name, str(t.type), str(t.origin)) for t in leaves]
    rows += [("output", t.name, str(t.type), str(t.origin)) for t in graph.outputs]
    parts = [_title("Graph", graph.name, f"{len(graph)} nodes, {graph.float_dtype}"), _table(rows)]
    if 0 < len(graph) <= MOST:
        parts.append(_folded("drawing", to_svg(graph)))
    parts.append(_folded("nodes", _text(print_graph(graph))))
    return "".join(parts)


def tensor_html(tensor: Tensor) -> str:
    """Name, type, formula and line."""
    shown = formula(tensor, lambda t: None if t.op.name == "constant" else t.name) if tensor.inputs else None
    rows = [("of", tensor.graph.name), ("formula", shown or tensor.op.name), ("line", tensor.origin.describe())]
    return _title("Tensor", tensor.name, str(tensor.type)) + _table(rows)


def executable_html(exe: Executable) -> str:
    """Inputs, outputs and what it updates; options and the compiler's stages folded."""
    program = exe.program
    keys = program.structure.keys or tuple(t.name for t in program.results)
    rows = [("input", t.name, str(t.type)) for t in program.arguments]
    rows += [("output", key, str(t.type)) for key, t in zip(keys, program.results, strict=True)]
    rows += [("update", name, str(exe.graph[name].type)) for name in program.updates]
    options = {"backend": exe.backend, "threads": exe.threads, "fastmath": exe.fastmath, "debug": exe.debug}
    options |= {"cache": exe.cache, "max_bytes": exe.max_bytes}
    told = [(key, str(value)) for key, value in options.items() if value is not None]
    title = _title("Executable of", exe.graph.name, f"{len(program.source)} nodes")
    return title + _table(rows) + _folded("options", _table(told))


def state_html(state: State) -> str:
    """A row for each array."""
    names = list(state)[:ROWS]
    arrays = state.copies(names)
    rows = [(name, f"{a.dtype}[{', '.join(map(str, a.shape))}]", line(a)) for name, a in arrays.items()]
    rows += [("", "", "")] * (len(state) - len(names))
    return _title("State of", state.graph, f"{len(state)} arrays") + _table(rows)


def stages_html(stages: Mapping[str, str]) -> str:
    """Every stage folded, the beginning of its text inside."""
    return "".join(_folded(name, _text(text, f"stages[{name!r}]")) for name, text in stages.items())


# ---- pieces


def _title(kind: str, name: str, note: str) -> str:
    return f"<div>{kind} <b>{escape(name)}</b>: {escape(note)}</div>"


def _table(rows: Sequence[Sequence[str]]) -> str:
    if not rows:
        return ""
    style = 'style="text-align:left"'
    shown = "".join(f"<tr>{''.join(f'<td {style}>{escape(_short(c))}</td>' for c in row)}</tr>" for row in rows[:ROWS])
    more = f"<div>and {len(rows) - ROWS} more</div>" if len(rows) > ROWS else ""
    return f"<table>{shown}</table>{more}"


def _short(text: str) -> str:
    return text if len(text) <= 80 else f"{text[:79]}…"


def _folded(name: str, html: str) -> str:
    return f"<details><summary>{escape(name)}</summary>{html}</details>"


def _text(text: str, rest: str = "print it") -> str:
    lines = text.splitlines()
    kept = "\n".join(lines[:LINES])[:CHARACTERS]
    left = len(lines) - kept.count("\n") - 1
    more = f"<div>{left} lines more: {escape(rest)}</div>" if left > 0 else ""
    return f"<pre>{escape(kept)}</pre>{more}"


__all__ = ["executable_html", "graph_html", "stages_html", "state_html", "tensor_html"]
