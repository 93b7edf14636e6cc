"""What public functions take, read from their signatures, and words for arguments that are something else.

Annotations are the contract: what is annotated ``Tensor`` or ``Operand`` is an operand, all else an attribute.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from numbers import Integral, Real
from typing import Any

import numpy as np

from graphc.errors import GraphcError
from graphc.ir.dims import Dim
from graphc.ir.tensor import Tensor

REQUIRED: Any = inspect.Parameter.empty
_WORD = re.compile(r"[\w.]+")


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter of a public function. ``many`` operands take the place of one: a list of them, or ``*operands``."""

    name: str
    annotation: str
    default: Any
    operand: bool
    many: bool
    variadic: bool

    @property
    def required(self) -> bool:
        return self.default is REQUIRED

    def takes(self, value: Any) -> bool:
        """Whether the annotation allows a value, as far as it says."""
        by_default = value is self.default and value is not REQUIRED
        return by_default or any(test(value) for test, _ in _forms(self.annotation))

    @property
    def words(self) -> str:
        """What the annotation allows, in words; empty where it does not say."""
        words = [word for _, word in _forms(self.annotation)]
        return "" if "" in words else " or ".join([", ".join(words[:-1]), words[-1]] if len(words) > 2 else words)


@cache
def parameters(function: Callable[..., Any]) -> tuple[Parameter, ...]:
    """The parameters of a public function, in order."""
    out = []
    for p in inspect.signature(function).parameters.values():
        text = p.annotation if isinstance(p.annotation, str) else getattr(p.annotation, "__name__", "Any")
        operand = not {"Tensor", "Operand"}.isdisjoint(_WORD.findall(text))
        variadic = p.kind is p.VAR_POSITIONAL
        out.append(Parameter(p.name, text, p.default, operand, operand and ("Sequence[" in text or variadic), variadic))
    return tuple(out)


def misused(function: Callable[..., Any], given: Mapping[str, Any]) -> str | None:
    """What is wrong with arguments, by name; None where nothing is seen."""
    for p in parameters(function):
        if p.name in given and not p.takes(given[p.name]):
            text = f"{p.name} must be {p.words}, found {found(given[p.name])}"
            return text + advice(function.__name__, given[p.name]) if p.operand else text
    return None


def bound(function: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any] | None:
    """Arguments by name; None where they are too many, too few or of other names."""
    try:
        return inspect.signature(function).bind(*args, **kwargs).arguments
    except TypeError:
        return None


def found(value: Any) -> str:
    """What a value is, in an error.

    >>> found(None), found("a"), found([1, 2]), found(np.ones((3, 2)))
    ('None', "the text 'a'", 'a list of 2', 'an array float64[3, 2]')
    """
    if isinstance(value, Tensor):
        return f"the tensor {value.name}: {value.type}"
    if isinstance(value, np.ndarray):
        return f"an array {value.dtype}{list(value.shape)}"
    if isinstance(value, str):
        return f"the text {value[:40]!r}"
    if value is None or isinstance(value, (bool, int, float, np.generic, Dim)):
        return str(value)[:40]
    if isinstance(value, (list, tuple)):
        return f"a {type(value).__name__} of {len(value)}"
    return f"a {type(value).__name__}"


def advice(name: str, value: Any) -> str:
    """What to do with an array or a number where a tensor must be."""
    if not isinstance(value, (np.ndarray, np.generic, int, float, list)) or isinstance(value, bool):
        return ""
    outside = f"np.{name} takes arrays, and " if hasattr(np, name) else ""
    return f"; {outside}g.constant(...) makes a tensor of one"


def _whole(value: Any) -> bool:
    return isinstance(value, (Integral, Dim)) and not isinstance(value, (bool, np.bool_))


def _number(value: Any) -> bool:
    return isinstance(value, (Real, Dim)) and not isinstance(value, (bool, np.bool_))


def _operand(value: Any) -> bool:
    return isinstance(value, (Tensor, Dim, Real, np.ndarray, np.generic)) or (
        isinstance(value, (list, tuple)) and not any(isinstance(v, (Tensor, str)) or v is None for v in value)
    )


Form = tuple[Callable[[Any], bool], str]  # a test, and words for what passes it
_FORMS: dict[str, Form] = {
    "Tensor": (lambda v: isinstance(v, Tensor), "a tensor"),
    "Operand": (_operand, "a tensor, an array or a number"),
    "int": (_whole, "an int"),
    "Size": (_whole, "a size"),
    "float": (_number, "a number"),
    "bool": (lambda v: isinstance(v, (bool, np.bool_)), "True or False"),
    "str": (lambda v: isinstance(v, str), "text"),
    "None": (lambda v: v is None, "None"),
}
_MANY = {"a tensor, an array or a number": "tensors", "an int": "ints"}
_LIST = re.compile(r"(?:Sequence|list|tuple)\[(.*?)(?:, (?:\.\.\.|.*))?\]")


def need_functions(kind: type[GraphcError], **given: Any) -> None:
    """An error of ``kind`` for an argument that is to be a function and is none."""
    for name, f in given.items():
        if not callable(f):
            raise kind(f"{name} must be a function, found {found(f)}")


@cache
def _forms(annotation: str) -> tuple[Form, ...]:
    """The alternatives of an annotation, each a test and words for it; empty words where it says nothing."""
    annotation = {"Axis": "int | Sequence[int] | None"}.get(annotation, annotation)
    parts, depth = [""], 0
    for c in annotation:
        depth += (c == "[") - (c == "]")
        if c == "|" and not depth:
            parts.append("")
        else:
            parts[-1] += c
    return tuple(_form(part.strip()) for part in parts)


def _form(text: str) -> Form:
    if text in _FORMS:
        return _FORMS[text]
    match = _LIST.fullmatch(text)
    if match is None:
        return lambda v: True, ""
    each = _forms(match[1])
    words = [_MANY.get(word, word.removeprefix("a ") + "s") for _, word in each if word]

    def test(value: Any) -> bool:
        rows = value.tolist() if isinstance(value, np.ndarray) and "Operand" not in text else value
        return isinstance(rows, (list, tuple, range)) and all(any(t(v) for t, _ in each) for v in rows)

    return test, " of ".join(["a list", *([" or ".join(words)] if words else [])])
