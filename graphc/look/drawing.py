"""The drawing of one example: forward from left to right, and mirrored below it the gradients on their way back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from itertools import pairwise

from graphc.look.layout import Point, layered

TITLE, LINE = 15.0, 13.0  # line heights
PAD = 8.0
MARGIN = 14.0
BETWEEN = 34.0  # the forward graph and its mirror image
LONGEST = 44  # characters of a line

COLOURS = {  # role -> fill, border
    "input": ("#e8f4ea", "#4c9a5b"),
    "parameter": ("#fdf1dc", "#c98a1b"),
    "variable": ("#fdf1dc", "#c98a1b"),
    "constant": ("#f2f2f2", "#9a9a9a"),
    "forward": ("#e9f0fb", "#4673b8"),
    "update": ("#f1eafa", "#7d5bb0"),
    "gradient": ("#fbe9e7", "#c0533f"),
}


@dataclass(frozen=True, slots=True)
class Box:
    """A box: its role decides the colour, ``title`` stands in bold, ``note`` is shown by a pointer that rests on it."""

    role: str
    title: str
    lines: Sequence[str] = ()
    note: str = ""
    before: Sequence[int] = field(default=())  # the boxes that lead to it


def draw(boxes: Mapping[int, Box], mirror: Mapping[int, Box], name: str) -> str:
    """SVG of ``boxes`` and, below, of ``mirror``: boxes for some of the same keys, with every arrow turned round."""
    sizes = {}
    for key, box in boxes.items():
        both = [box, *([mirror[key]] if key in mirror else [])]
        sizes[key] = (max(map(_width, both)), max(map(_height, both)))
    edges = [(before, key) for key, box in boxes.items() for before in box.before]
    layout = layered(sizes, edges)
    width = layout.width + 2 * MARGIN
    axis = MARGIN + layout.height + BETWEEN / 2
    height = 2 * axis if mirror else layout.height + 2 * MARGIN
    parts = []
    for flipped, shown in ((False, boxes), (True, mirror)) if mirror else ((False, boxes),):

        def at(point: Point, flipped: bool = flipped) -> Point:
            x, y = point[0] + MARGIN, point[1] + MARGIN
            return x, 2 * axis - y if flipped else y

        for (a, b), route in layout.routes.items():
            if a in shown and b in shown:
                points = [at(p) for p in route]
                parts.append(_arrow(points, sizes[a][0], sizes[b][0], flipped))
        parts += [_box(box, at(layout.places[key]), sizes[key]) for key, box in shown.items()]
    if mirror:
        parts.append(
            f'<path class="axis" d="M{MARGIN:.1f},{axis:.1f}H{width - MARGIN:.1f}"/>'
            f'<text class="note" x="{MARGIN:.1f}" y="{axis - 4:.1f}">values: forward, left to right</text>'
            f'<text class="note" x="{MARGIN:.1f}" y="{axis + 11:.1f}">gradients: backward, right to left</text>'
        )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}" '
        f'height="{height:.0f}" role="img">\n<title>{escape(name)}</title>\n{_STYLE}\n'
        + "\n".join(parts)
        + "\n</svg>\n"
    )


_STYLE = (
    '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
    '<path d="M0,0.5L8,4L0,7.5z" fill="#777"/></marker></defs>\n'
    "<style>text{font-family:Helvetica,Arial,'DejaVu Sans',sans-serif;font-size:11px;fill:#222}"
    ".title{font-weight:bold;font-size:12px}.note{fill:#777;font-size:10px}"
    ".arrow{fill:none;stroke:#777;stroke-width:1.1}.axis{stroke:#bbb;stroke-dasharray:4 4}</style>\n"
    '<rect width="100%" height="100%" fill="white"/>'
)


def _box(box: Box, place: Point, size: Point) -> str:
    (x, y), (w, h) = place, size
    fill, border = COLOURS[box.role]
    corner = 2 if box.role in ("input", "parameter", "variable", "constant") else 9
    top = y - (TITLE + LINE * len(box.lines)) / 2
    lines = [f'<text class="title" x="{x:.1f}" y="{top + 11.5:.1f}" text-anchor="middle">{_short(box.title)}</text>']
    for k, line in enumerate(box.lines):
        lines.append(
            f'<text x="{x:.1f}" y="{top + TITLE + LINE * k + 10:.1f}" text-anchor="middle">{_short(line)}</text>'
        )
    return (
        f'<g><title>{escape(box.note)}</title><rect x="{x - w / 2:.1f}" y="{y - h / 2:.1f}" width="{w:.1f}" '
        f'height="{h:.1f}" rx="{corner}" fill="{fill}" stroke="{border}"/>{"".join(lines)}</g>'
    )


def _arrow(points: Sequence[Point], first: float, last: float, turned: bool) -> str:
    """A smooth line from the right side of the first box to the left side of the last, or the other way."""
    (x0, y0), *middle, (x1, y1) = points
    line = [(x0 + first / 2, y0), *middle, (x1 - last / 2, y1)]
    if turned:
        line.reverse()
    path = f"M{line[0][0]:.1f},{line[0][1]:.1f}"
    for (a, b), (c, d) in pairwise(line):
        bend = (c - a) / 2
        path += f"C{a + bend:.1f},{b:.1f} {c - bend:.1f},{d:.1f} {c:.1f},{d:.1f}"
    return f'<path class="arrow" marker-end="url(#tip)" d="{path}"/>'


def _width(box: Box) -> float:
    widest = max([_text_width(box.title, 12) * 1.06, *(_text_width(line, 11) for line in box.lines)])
    return widest + 2 * PAD


def _height(box: Box) -> float:
    return TITLE + LINE * len(box.lines) + PAD


def _text_width(text: str, size: float) -> float:
    """About the width of ``text``, cut as it will be, in a sans-serif face."""
    cut = text if len(text) <= LONGEST else text[:LONGEST]
    narrow, wide = sum(c in "iljt.,:;'|![]() " for c in cut), sum(c in "mwMW@%" or ord(c) > 0x2000 for c in cut)
    return size * (0.6 * len(cut) - 0.25 * narrow + 0.35 * wide)


def _short(text: str) -> str:
    return escape(text if len(text) <= LONGEST else text[: LONGEST - 1] + "…")


__all__ = ["Box", "draw"]
