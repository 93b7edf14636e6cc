"""`Graph.to_svg` and `Graph.to_dot`: a whole graph as a drawing."""

from __future__ import annotations

import os
from collections.abc import Iterator

from graphc.atomic import replacing
from graphc.ir.graph import Graph
from graphc.look.boxes import grouped
from graphc.look.describe import Lines, Table, describe
from graphc.look.drawing import COLOURS, Box, draw

MOST = 60  # boxes of an SVG drawing

Path = str | os.PathLike[str] | None


def to_svg(graph: Graph, path: Path = None) -> str:
    """See `Graph.to_svg`."""
    table = Lines()
    nodes = describe(graph, table)["nodes"]
    shown = [k for k, n in enumerate(nodes) if n["r"] not in ("gradient", "update") and "h" not in n]
    beside: dict[int, list[Table]] = {}
    for k, n in enumerate(nodes):
        home = k
        while "p" in nodes[home]:
            home = nodes[home]["p"]
        if n["r"] == "gradient" and "h" not in n:
            beside.setdefault(home, []).append(n)
    names = {k: nodes[k]["n"] for k in shown}
    if len(shown) > MOST and not any("/" in name for name in names.values()):
        each = -(-len(shown) // MOST)
        names = {k: f"{at // each + 1}/{name}" for at, (k, name) in enumerate(names.items())}
    visible = set(shown)
    operands = {k: [i for i in nodes[k].get("i", []) if i in visible] for k in shown}
    boxes: dict[int, Box] = {}
    mirror: dict[int, Box] = {}
    for group in grouped(names, operands, MOST):
        node = nodes[group.key]
        line = " ".join(table.table[node["l"]])
        if group.title is not None:
            boxes[group.key] = Box("forward", group.title, [f"{group.size} nodes"], str(node["t"]), group.before)
            continue
        lines = [node.get("f") or node["o"], node["t"]] if node.get("i") else [node["t"]]
        boxes[group.key] = Box(node["r"], node["n"], lines, f"{node['o']}\n{line}", group.before)
        if found := beside.get(group.key):
            made = found[0].get("f") or found[0]["o"] if len(found) == 1 else f"{len(found)} nodes"
            mirror[group.key] = Box("gradient", f"gradient of {node['n']}", [made], ", ".join(n["n"] for n in found))
    return _written(draw(boxes, mirror, graph.name), path)


def to_dot(graph: Graph, path: Path = None) -> str:
    """See `Graph.to_dot`."""
    made = describe(graph, Lines())
    nodes, groups = made["nodes"], made["groups"]
    inside: dict[int | None, list[int]] = {}
    for k, n in enumerate(nodes):
        inside.setdefault(n.get("c"), []).append(k)

    def cluster(at: int | None, depth: int) -> Iterator[str]:
        pad = "  " * depth
        for k in inside.get(at, []):
            fill, border = COLOURS.get(nodes[k]["r"], COLOURS["forward"])
            label = f"{_quoted(nodes[k]['n'])}\\n{_quoted(nodes[k]['o'])}"
            yield f'{pad}n{k} [label="{label}" fillcolor="{fill}" color="{border}"]'
        for g, group in enumerate(groups):
            if group.get("p") == at:
                yield f"{pad}subgraph cluster_{g} {{"
                yield f'{pad}  label="{_quoted(group["n"])}"'
                yield from cluster(g, depth + 1)
                yield f"{pad}}}"

    lines = [
        f'digraph "{_quoted(graph.name)}" {{',
        "  rankdir=TB",
        '  node [shape=box style="rounded,filled" fontname="Helvetica"]',
        '  edge [fontname="Helvetica" fontsize=9]',
        *cluster(None, 1),
        *(f'  n{i} -> n{k} [label="{_quoted(nodes[i]["t"])}"]' for k, n in enumerate(nodes) for i in n.get("i", [])),
        "}",
    ]
    return _written("\n".join(lines) + "\n", path)


def _quoted(text: str) -> str:
    """User text inside a quoted string of DOT: on one line, with nothing that ends it or that DOT takes for more."""
    plain = "".join(c if c.isprintable() else " " for c in text)
    return plain.replace("\\", "\\\\").replace('"', '\\"')


def _written(text: str, path: Path) -> str:
    if path is not None:
        with replacing(path) as file:
            file.write(text.encode())
    return text


__all__ = ["to_dot", "to_svg"]
