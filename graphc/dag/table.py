"""What a node of a networkx DAG may name: every op and every public function, by its signature."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any, NoReturn

from graphc.errors import UnsupportedOpError
from graphc.ir.names import SYNONYMS, meant
from graphc.ir.op import FUNCTIONS, OPS, Kind, Op
from graphc.ops.signature import REQUIRED, Parameter, parameters

LEAVES = {
    "input": ("shape", "A value passed at each call; its dtype is the graph's float by default."),
    "parameter": ("value", "Trainable state that starts as its value."),
    "variable": ("value", "State that is not trained. An int64 array of a seed and 0 is a random key."),
    "constant": ("value", "A fixed value."),
}


@dataclass(frozen=True)
class Function:
    """A public function as a node names it: operands come by edges, all else is attributes."""

    name: str
    call: Callable[..., Any]

    @cached_property
    def parameters(self) -> tuple[Parameter, ...]:
        return parameters(self.call)

    @cached_property
    def operands(self) -> tuple[Parameter, ...]:
        return tuple(p for p in self.parameters if p.operand)

    @cached_property
    def attributes(self) -> dict[str, Parameter]:
        return {p.name: p for p in self.parameters if not p.operand and p.name != "graph"}

    @property
    def many(self) -> bool:
        """Whether its operands are a list, however many edges there are."""
        return any(p.many for p in self.operands)

    def arranged(self, filled: dict[str, Any]) -> tuple[list[Any], dict[str, Any]]:
        """Arguments by name as a call takes them: what stands before ``*operands`` goes by position."""
        args: list[Any] = []
        if any(p.variadic for p in self.parameters):
            for p in self.parameters:
                if p.variadic:
                    args += filled.pop(p.name)
                    break
                args.append(filled.pop(p.name, p.default))
        return args, filled

    @property
    def refused(self) -> str:
        """Why a node cannot name it; empty where it can."""
        if any("Callable" in p.annotation for p in self.parameters):
            return "takes functions of Python"
        if any("tuple[Tensor" in p.annotation for p in self.parameters):
            return "takes tensors in pairs"
        return "" if self.operands else "takes no tensors"

    @property
    def line(self) -> str:
        return (inspect.getdoc(self.call) or "").partition("\n")[0]


@cache
def _function(name: str, call: Callable[..., Any]) -> Function:
    return Function(name, call)


def function(name: str) -> Function | None:
    """The public function of that name, as ``random.normal``; None where there is none that a node can name."""
    call = FUNCTIONS.get(name)
    found = None if call is None else _function(name, call)
    return None if found is None or found.refused else found


def unknown(op: str) -> NoReturn:
    """Raises UnsupportedOpError for an op that a node names in vain."""
    if op in FUNCTIONS:
        raise UnsupportedOpError(f"{op} cannot be named by a node: it {_function(op, FUNCTIONS[op]).refused}")
    close = difflib.get_close_matches(op[:200].lower(), [*OPS, *SYNONYMS], n=1, cutoff=0.75)
    found = meant(op) or (close[0] if close else None)
    advice = f"did you mean {found!r}? " if found else ""
    text = f"there is no operation called {op[:200]!r}; {advice}gx.dag.ops() and docs/networkx.md have the table"
    raise UnsupportedOpError(text)


@dataclass(frozen=True, slots=True)
class Record:
    """One thing that ``op`` of a node may be.

    operands    names of the edges' slots in order; optional ones in brackets, any number of them as ``*tensors``
    attributes  name -> default, or `REQUIRED`
    line        what it is
    refused     why a node cannot name it; empty where it can

    >>> from graphc import dag
    >>> next(r for r in dag.ops() if r.op == "tanh").line
    'The hyperbolic tangent.'
    """

    op: str
    operands: tuple[str, ...]
    attributes: Mapping[str, Any]
    line: str
    refused: str = ""

    REQUIRED = REQUIRED


def ops() -> list[Record]:
    """Records of all that a node's ``op`` may be, leaves first, then by name.

    Raises nothing.

    >>> from graphc import dag
    >>> by_name = {r.op: r for r in dag.ops()}
    >>> by_name["softmax"].operands, dict(by_name["softmax"].attributes)
    (('x',), {'axis': -1})
    """
    leaves = [Record(name, (), {needed: REQUIRED, "dtype": None}, line) for name, (needed, line) in LEAVES.items()]
    rest = [_of_function(_function(name, call)) for name, call in FUNCTIONS.items()]
    rest += [_of_op(op) for name, op in OPS.items() if name not in FUNCTIONS and op.kind is not Kind.LEAF]
    return leaves + sorted(rest, key=lambda r: r.op)


def _of_function(f: Function) -> Record:
    operands = tuple(f"*{p.name}" if p.many else p.name if p.required else f"[{p.name}]" for p in f.operands)
    attributes = {name: p.default for name, p in f.attributes.items()}
    return Record(f.name, operands, attributes, f.line, f.refused)


def _of_op(op: Op) -> Record:
    operands = ("*operands",) if op.arity is None else tuple("abcdefgh"[: op.arity])
    article = "An" if op.kind.value[0] in "aeiou" else "A"
    line = f"{article} {op.kind.value} op that functions are made of."
    return Record(op.name, operands, dict.fromkeys(op.attrs, REQUIRED), line)


__all__ = ["Function", "Record", "function", "ops", "unknown"]
