"""Attributes of a hand-made node as the values that ops and functions take."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

import numpy as np

from graphc.dag.text import decoded, tupled
from graphc.errors import GraphError, GraphFileError, ShapeError, brief
from graphc.file.schema import ATTRIBUTES, decode_body
from graphc.ir.body import Body
from graphc.ir.dims import Dim, Size
from graphc.ir.sizes import parse
from graphc.ir.types import Shape, dtype_of
from graphc.ops.signature import Parameter, found

LARGEST = 1 << 62  # of an integer
DECODED = ("shape", "attrs", "value", "call", "graph")  # never text themselves


def decoded_node(data: Mapping[str, Any]) -> dict[str, Any]:
    """Attributes of a node, what was text for a file as values again."""
    return {k: decoded(v, k) if k in DECODED and isinstance(v, str) else v for k, v in data.items()}


def argument(function: str, p: Parameter, value: Any) -> Any:
    """An attribute as an argument of a function; GraphError where it is not what the parameter takes."""
    value = tupled(value)
    if isinstance(value, str) and not p.takes(value):
        value = decoded(value, p.name)
    if p.annotation == "bool" and type(value) in (int, float) and value in (0, 1):  # some formats have no bools
        value = bool(value)
    if "Sequence[Any]" in p.annotation:
        value = _sizes(value)
    if isinstance(value, (int, np.integer)) and abs(int(value)) > LARGEST:
        raise GraphError(f"{function}: {p.name} is too large: {str(value)[:40]}")
    if not p.takes(value):
        raise GraphError(f"{function}: {p.name} must be {p.words}, found {found(value)}")
    return value


def _sizes(value: Any) -> Any:
    if isinstance(value, tuple):
        return tuple(map(_sizes, value))
    return parse(value) if isinstance(value, str) else value


def number(name: str, value: Any) -> Any:
    """A number, or numbers, that stand for an operand."""
    if isinstance(value, str):
        value = decoded(value, name)
    if isinstance(value, (bool, int, float, np.generic, np.ndarray, list, tuple)):
        return value
    raise GraphError(f"{name} must come by an edge, or be a number; found {found(value)}")


def shape_of(shape: Any) -> Shape:
    """A declared shape; ShapeError for anything else."""
    if not isinstance(shape, (tuple, list)):
        raise ShapeError(f"a shape must be a tuple or list, found {found(shape)}")
    return tuple(_size(entry, 0) for entry in shape)


def _size(entry: Any, least: int | None = None) -> Size:
    size = parse(entry) if isinstance(entry, str) else entry
    if isinstance(size, Dim):
        return size
    if isinstance(size, (bool, np.bool_)) or not isinstance(size, (int, np.integer)):
        raise ShapeError(f"a size must be an int or text, found {found(entry)}")
    if least is not None and size < least:
        raise ShapeError(f"a size must be at least {least}, found {brief(entry)}")
    if abs(int(size)) > LARGEST:
        raise ShapeError(f"a size is too large: {str(size)[:40]}")
    return int(size)


def raw_attribute(op: str, name: str, value: Any) -> Any:
    """An attribute of an op itself, of the kind that files hold; GraphError for any other."""
    kind = ATTRIBUTES.get(f"{op} {name}") or ATTRIBUTES.get(name) or "any"

    def fail(expected: str) -> NoReturn:
        raise GraphError(f"{op}: {name} must be {expected}, found {found(value)}")

    if kind == "body":
        return _body(op, name, value)
    single = _KINDS.get(kind)
    if single is not None:
        made = single(value)
        return fail(_WORDS[kind]) if made is None else made
    if isinstance(value, (tuple, list)):
        each = _KINDS.get(kind.removesuffix("s"), _any)
        made = tuple(_size(v, 0) if kind == "shape" else each(v) for v in value)
        return fail(_WORDS[kind]) if None in made else made
    return fail(_WORDS[kind]) if kind != "any" else _any(value)


def _body(op: str, name: str, value: Any) -> Body:
    """A body as `graphc.Graph.to_networkx` writes it."""
    if isinstance(value, Body):
        return value
    try:
        return decode_body(json.loads(json.dumps(value)), f"{op}: {name}")
    except GraphFileError as error:
        raise GraphError(error.message) from None
    except (RecursionError, TypeError, ValueError):
        raise GraphError(f"{op}: {name} must be a body as to_networkx writes it, found {found(value)}") from None


def _whole(value: Any) -> int | None:
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, np.integer)) or abs(int(value)) > LARGEST:
        return None
    return int(value)


def _count(value: Any) -> int | None:
    made = _whole(value)
    return None if made is None or made < 0 else made


def _flag(value: Any) -> bool | None:
    return bool(value) if isinstance(value, (bool, np.bool_)) or (type(value) is int and value in (0, 1)) else None


def _real(value: Any) -> float | None:
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, float, np.integer, np.floating)):
        return None
    return float(value) if not isinstance(value, int) or abs(value) < LARGEST else None


def _any(value: Any) -> Any:
    """A number, a size or text of one, where files say no more of an attribute."""
    if isinstance(value, (str, Dim)):
        return _size(value)
    if isinstance(value, (bool, np.bool_)):
        return bool(value)
    return _real(value) if isinstance(value, (float, np.floating)) else _whole(value)


_KINDS: dict[str, Callable[[Any], Any]] = {
    "count": _count,
    "integer": _whole,
    "flag": _flag,
    "real": _real,
    "size": _size,
    "dtype": lambda value: dtype_of(value).name,
    "text": lambda value: value[:300] if isinstance(value, str) else None,
}
_WORDS = {
    "count": "an int of at least 0",
    "counts": "ints of at least 0",
    "integer": "an int",
    "integers": "ints",
    "flag": "True or False",
    "real": "a number",
    "size": "a size",
    "sizes": "sizes",
    "shape": "sizes",
    "dtype": "a dtype",
    "text": "text",
    "any": "numbers",
}


__all__ = ["argument", "decoded_node", "number", "raw_attribute", "shape_of"]
