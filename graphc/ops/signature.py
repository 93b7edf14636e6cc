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

from graphc.ir.dims import Dim
from graphc.ir.tensor import Tensor

REQUIRED: Any = inspect.Parameter.empty
_WORD = re.compile(r"[\w.]+")


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter of a public function. ``many`` operands take the place of one where it is a list of them."""

    name: str
    annotation: str
    default: Any
    operand: bool
    many: bool

    @property
    def required(self) -> bool:
        return self.default is REQUIRED

    def takes(self, value: Any) -> bool:
        """Whether the annotation allows a value, as far as it says."""
        return (value is self.default and value is not REQUIRED) or any(
            _FORMS[form][0](value) if form in _FORMS else True for form in _forms(self.annotation)
        )

    @property
    def words(self) -> str:
        """What the annotation allows, in words."""
        words = [_FORMS[form][1] for form in _forms(self.annotation) if form in _FORMS]
        return " or ".join([", ".join(words[:-1]), words[-1]] if len(words) > 2 else words)


@cache
def parameters(function: Callable[..., Any]) -> tuple[Parameter, ...]:
    """The parameters of a public function, in order."""
    out = []
    for p in inspect.signature(function).parameters.values():
        text = p.annotation if isinstance(p.annotation, str) else getattr(p.annotation, "__name__", "Any")
        operand = not {"Tensor", "Operand"}.isdisjoint(_WORD.findall(text))
        many = operand and ("Sequence[" in text or p.kind is p.VAR_POSITIONAL)
        out.append(Parameter(p.name, text, p.default, operand, many))
    return tuple(out)


def misused(function: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> str | None:
    """What is wrong with arguments; None where nothing is seen."""
    try:
        given = inspect.signature(function).bind(*args, **kwargs).arguments
    except TypeError:
        return None  # Python says it well
    for p in parameters(function):
        if p.name in given and not p.takes(given[p.name]):
            text = f"{p.name} must be {p.words}, found {found(given[p.name])}"
            return text + advice(function.__name__, given[p.name]) if p.operand else text
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


def _row(test: Callable[[Any], bool]) -> Callable[[Any], bool]:
    """The test of a list that holds to each of its entries."""
    return lambda value: isinstance(value, (list, tuple, range)) and all(map(test, value))


def _operand(value: Any) -> bool:
    return isinstance(value, (Tensor, Dim, Real, np.ndarray, np.generic)) or (
        isinstance(value, (list, tuple)) and not any(isinstance(v, (Tensor, str)) or v is None for v in value)
    )


_FORMS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "Tensor": (lambda v: isinstance(v, Tensor), "a tensor"),
    "Operand": (_operand, "a tensor, an array or a number"),
    "Sequence[Tensor]": (_row(lambda v: isinstance(v, Tensor)), "a list of tensors"),
    "Sequence[Operand]": (_row(_operand), "a list of tensors"),
    "int": (_whole, "an int"),
    "float": (_number, "a number"),
    "bool": (lambda v: isinstance(v, (bool, np.bool_)), "True or False"),
    "str": (lambda v: isinstance(v, str), "text"),
    "None": (lambda v: v is None, "None"),
    "Sequence[int]": (lambda v: _row(_whole)(v.tolist() if isinstance(v, np.ndarray) else v), "a list of ints"),
    "tuple[Sequence[int], Sequence[int]]": (_row(lambda v: _whole(v) or _row(_whole)(v)), "two lists of ints"),
    "Sequence[Any]": (lambda v: isinstance(v, (list, tuple, np.ndarray)), "a list"),
}


@cache
def _forms(annotation: str) -> tuple[str, ...]:
    """The alternatives of an annotation, cut at each ``|`` outside brackets."""
    annotation = {"Axis": "int | Sequence[int] | None"}.get(annotation, annotation)
    out, depth = [""], 0
    for c in annotation:
        depth += (c == "[") - (c == "]")
        if c == "|" and not depth:
            out.append("")
        else:
            out[-1] += c
    return tuple(part.strip() for part in out)
