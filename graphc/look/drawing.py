"""The drawing of one example: forward from left to right, and mirrored below it the gradients on their way back."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from html import escape
from itertools import pairwise

from graphc.look.layout import Point, layered, width

TITLE, LINE = 15.0, 13.0  # line heights
PAD = 8.0
MARGIN = 14.0
BETWEEN = 34.0  # the forward graph and its mirror image
GAP = (32.0, 16.0)  # between boxes, across and down
LONGEST = 44  # characters of a line
PAGE = 900.0  # where a drawing would be wider, lines are broken to be as short as need be:
# characters of a line, and whether vectors stand upright
LENGTHS = [(44, False), (36, False), (30, False), (26, False), (26, True), (22, True), (18, True)]

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
    edges = [(before, key) for key, box in boxes.items() for before in box.before]
    for most, upright in LENGTHS:
        above, below = ({k: _broken(b, most, upright) for k, b in half.items()} for half in (boxes, mirror))
        sizes = {key: _size(box, *([below[key]] if key in below else [])) for key, box in above.items()}
        if width(sizes, edges, GAP[0]) + 2 * MARGIN <= PAGE:
            break
    layout = layered(sizes, edges, GAP)
    across = layout.width + 2 * MARGIN
    axis = MARGIN + layout.height + BETWEEN / 2

    def place(point: Point, flipped: bool) -> Point:
        x, y = point[0] + MARGIN, point[1] + MARGIN
        return x, 2 * axis - y if flipped else y

    parts = []
    bottom = MARGIN + layout.height
    for flipped, shown in (False, above), (True, below):
        for (a, b), route in layout.routes.items():
            if a in shown and b in shown:
                ends = [(layout.places[a][0] + _size(shown[a])[0] / 2, layout.places[a][1])]
                ends += [(layout.places[b][0] - _size(shown[b])[0] / 2, layout.places[b][1])]
                points = [place(p, flipped) for p in (ends[0], *route, ends[1])]
                parts.append(_arrow(points[::-1] if flipped else points))
        for key, box in shown.items():
            centre = place(layout.places[key], flipped)
            parts.append(_box(box, centre))
            bottom = max(bottom, centre[1] + _size(box)[1] / 2)
    if mirror:
        parts.append(
            f'<path class="axis" d="M{MARGIN:.1f},{axis:.1f}H{across - MARGIN:.1f}"/>'
            f'<text class="note" x="{MARGIN:.1f}" y="{axis - 4:.1f}">values: forward, left to right</text>'
            f'<text class="note" x="{MARGIN:.1f}" y="{axis + 11:.1f}">gradients: backward, right to left</text>'
        )
    height = bottom + MARGIN
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {across:.0f} {height:.0f}" width="{across:.0f}" '
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


def _box(box: Box, centre: Point) -> str:
    (x, y), (w, h) = centre, _size(box)
    fill, border = COLOURS[box.role]
    corner = 2 if box.role in ("input", "parameter", "variable", "constant") else 9
    top = y - (TITLE + LINE * len(box.lines)) / 2
    lines = []
    for k, line in enumerate((box.title, *box.lines)):
        kind, down = ('class="title" ', 11.5) if k == 0 else ("", TITLE + LINE * (k - 1) + 10)
        text = escape(_short(line))
        lines.append(f'<text {kind}x="{x:.1f}" y="{top + down:.1f}" text-anchor="middle">{text}</text>')
    return (
        f'<g><title>{escape(box.note)}</title><rect x="{x - w / 2:.1f}" y="{y - h / 2:.1f}" width="{w:.1f}" '
        f'height="{h:.1f}" rx="{corner}" fill="{fill}" stroke="{border}"/>{"".join(lines)}</g>'
    )


def _arrow(points: Sequence[Point]) -> str:
    """A smooth line, level at each point."""
    path = f"M{points[0][0]:.1f},{points[0][1]:.1f}"
    for (a, b), (c, d) in pairwise(points):
        bend = (c - a) / 2
        path += f"C{a + bend:.1f},{b:.1f} {c - bend:.1f},{d:.1f} {c:.1f},{d:.1f}" if b != d else f"H{c:.1f}"
    return f'<path class="arrow" marker-end="url(#tip)" d="{path}"/>'


def _size(*boxes: Box) -> Point:
    """Width and height of the largest."""
    return max(map(_width, boxes)), max(map(_height, boxes))


def _width(box: Box) -> float:
    widest = max([_text_width(box.title, 12) * 1.06, *(_text_width(line, 11) for line in box.lines)])
    return widest + 2 * PAD


def _height(box: Box) -> float:
    return TITLE + LINE * len(box.lines) + PAD


def _broken(box: Box, most: int, upright: bool) -> Box:
    """The box with its lines broken; vectors where they are to stand upright, and rows of matrices not at all."""
    lines = list[str]()
    rows = sum(line.startswith("[") for line in box.lines)
    for line in box.lines:
        if not line.startswith("["):
            lines += broken(line, most)
        else:
            lines += line.replace(", ", ",\n").split("\n") if upright and rows == 1 else [line]
    return replace(box, lines=lines)


def broken(text: str, most: int) -> list[str]:
    """A formula in as few lines of at most ``most`` characters as do: broken before operators and after commas, those
    that bind loosely first, into lines of about one length.

    >>> broken("0.05 * (sum(W1**2) + sum(W2**2))", 22)
    ['0.05 * (sum(W1**2)', '+ sum(W2**2))']
    >>> broken("x.T @ dz + 0.1 * ds * W", 18)
    ['x.T @ dz', '+ 0.1 * ds * W']
    """
    if len(text) <= most:
        return [text]
    text = _short(text, 2 * LONGEST)
    ends = [m.start() for m in _BREAK.finditer(text)]
    # from each start to the end of the text: (characters too many, lines, ties cut, squares of lengths), and the lines
    best: dict[int, tuple[tuple[int, ...], list[str]]] = {len(text) + 1: ((0, 0, 0, 0), [])}
    for start in [*(end + 1 for end in reversed(ends)), 0]:
        ways = []
        for end in [*ends, len(text)]:
            if end > start:
                cost, rest = best[end + 1]
                size = end - start
                line = (max(size - most, 0), 1, _tie(text, end), size * size)
                ways.append((tuple(a + b for a, b in zip(cost, line, strict=True)), [text[start:end], *rest]))
        best[start] = min(ways)
    return best[0][1]


def _tie(text: str, end: int) -> int:
    """How closely belongs together what stands before and after ``end``: the parentheses around, and products."""
    depth = sum({"(": 2, "[": 2, ")": -2, "]": -2}.get(c, 0) for c in text[:end])
    return depth + (text[end + 1 : end + 2] in ("*", "/", "@", "%"))


_BREAK = re.compile(r" (?=[-+*/@%&|^<>=!]+ )|(?<=,) ")


def _text_width(text: str, size: float) -> float:
    """About the width of ``text``, cut as it will be, in a sans-serif face."""
    cut = text if len(text) <= LONGEST else text[:LONGEST]
    narrow, wide = sum(c in "iljt.,:;'|![]() " for c in cut), sum(c in "mwMW@%" or ord(c) > 0x2000 for c in cut)
    return size * (0.6 * len(cut) - 0.25 * narrow + 0.35 * wide)


def _short(text: str, most: int = LONGEST) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"


__all__ = ["Box", "broken", "draw"]
