"""Attributes as they stand in files of networkx: numbers, and text for all else."""

from __future__ import annotations

import json
from typing import Any

from graphc.errors import GraphError

LONGEST = 1 << 28  # characters
DEEPEST = 60  # lists inside one another


def decoded(text: str, what: str) -> Any:
    """The value of a text: JSON, or sizes between commas as a person would write them.

    >>> decoded('["n", 4]', "shape"), decoded("(n, 4)", "shape"), decoded("n,", "shape"), decoded("True", "keepdims")
    (('n', 4), ('n', 4), ('n',), True)
    """
    if len(text) > LONGEST:
        raise GraphError(f"{what}: a text of {len(text)} characters is too long")
    try:
        return tupled(json.loads(text))
    except RecursionError:
        raise GraphError(f"{what}: nested too deeply") from None
    except ValueError:
        words = {"True": True, "False": False, "None": None}
        return words[text] if text in words else _listed(text)


def _listed(text: str) -> Any:
    """``(n, 4)`` or ``n, 4`` as a tuple, cut at each comma outside parentheses; other text as it is."""
    bare = text.strip()
    if bare[:1] + bare[-1:] in ("()", "[]"):
        bare = bare[1:-1]
    elif "," not in bare:
        return text
    parts, depth = [""], 0
    for c in bare:
        depth += (c == "(") - (c == ")")
        if c == "," and not depth:
            parts.append("")
        else:
            parts[-1] += c
    return tuple(_number(part.strip()) for part in parts if part.strip())


def _number(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def tupled(value: Any, depth: int = 0) -> Any:
    """Lists as tuples, all the way down; GraphError where that is too far."""
    if depth > DEEPEST:
        raise GraphError(f"lists are nested more than {DEEPEST} deep")
    return tuple(tupled(v, depth + 1) for v in value) if isinstance(value, (list, tuple)) else value


__all__ = ["DEEPEST", "decoded", "tupled"]
