"""Expressions with gaps: what an op computes, written in the letters of its operands and in {attributes}.

``"{dtype}(a + b)"`` is Python, so Python's own parser finds the gaps, once for each text.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache


@dataclass(frozen=True, slots=True)
class Template:
    """An expression in pieces: text, then a gap, then text and so on. A gap is a name, or an attribute in braces."""

    text: tuple[str, ...]
    gaps: tuple[tuple[str, bool], ...]

    def filled(self, names: Mapping[str, str], attribute: Callable[[str], str] | None = None) -> str:
        """The expression with names and attributes replaced; a name that is not given stands as it is.

        >>> template("{dtype}(a + 1)").filled({"a": "x7"}, lambda name: "f32")
        'f32(x7 + 1)'
        """
        out = [self.text[0]]
        for (name, braced), text in zip(self.gaps, self.text[1:], strict=True):
            if braced:
                assert attribute is not None
                out.append(attribute(name))
            else:
                out.append(names.get(name, name))
            out.append(text)
        return "".join(out)

    @property
    def names(self) -> frozenset[str]:
        """All names that are no attributes."""
        return frozenset(name for name, braced in self.gaps if not braced)


@cache
def template(code: str) -> Template:
    """The pieces of an expression; SyntaxError where it is none."""
    tree = ast.parse(code, mode="eval")
    braces = [n for n in ast.walk(tree) if isinstance(n, ast.Set)]
    inside = {id(x) for n in braces for x in n.elts}
    found: list[tuple[int, int, str, bool]] = []
    for n in ast.walk(tree):
        if isinstance(n, ast.Set) and isinstance(n.elts[0], ast.Name):
            found.append((n.col_offset, n.end_col_offset or 0, n.elts[0].id, True))
        elif isinstance(n, ast.Name) and id(n) not in inside:
            found.append((n.col_offset, n.end_col_offset or 0, n.id, False))
    text, gaps, at = [], [], 0
    for begin, end, name, braced in sorted(found):
        text.append(code[at:begin])
        gaps.append((name, braced))
        at = end
    return Template((*text, code[at:]), tuple(gaps))
