"""A program as JSON values, and back: inputs, outputs and updates as numbers of nodes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from graphc.compile import assemble, check_updates, one_graph
from graphc.errors import GraphFileError
from graphc.file import strict
from graphc.file.strict import show
from graphc.ir.graph import Graph, topological
from graphc.ir.tensor import Tensor
from graphc.run.program import Program, Structure

PROGRAM = {"inputs": list, "outputs": dict, "updates": list}
DEEPEST = 50  # levels of outputs in one another
OUTPUTS = {"kind": str, "keys": list, "nodes": list}


def needed(graph: Graph, programs: Iterable[Program]) -> list[int]:
    """Numbers of the nodes that these programs of ``graph`` need, in order."""
    ids = [i for p in programs for i in (*p.roots, *p.arguments_at, *(graph[u].id for u in p.updates))]
    return [n.id for n in topological(graph, ids)]


def describe(program: Program, place: Mapping[int, int]) -> dict[str, Any]:
    """A program in terms of ``place``, the position of each of its graph's nodes."""
    roots = [place[i] for i in program.roots]
    state = [place[program.graph[name].id] for name in program.updates]
    n, structure = program.n_outputs, program.structure
    nested = {} if structure.nest is None else {"nest": _written(structure.nest)}
    return {
        "inputs": [place[i] for i in program.arguments_at],
        "outputs": {"kind": structure.kind, "keys": list(structure.keys), "nodes": roots[:n], **nested},
        "updates": [list(pair) for pair in zip(state, roots[n:], strict=True)],
    }


def program(graph: Graph, held: dict[str, Any], place: str) -> Program:
    """The program of a description, whole and checked. Raises GraphFileError, or what `compile` would."""
    nested = isinstance(held["outputs"], dict) and "nest" in held["outputs"]
    outputs = strict.record(held["outputs"], f"{place}: outputs", {**OUTPUTS, **({"nest": list} if nested else {})})

    def named(numbers: list[Any], field: str) -> list[Tensor]:
        return [graph.tensors[k] for k in strict.numbers(numbers, f"{place}: {field}", len(graph))]

    arguments, results = named(held["inputs"], "inputs"), named(outputs["nodes"], "outputs")
    nexts: dict[Tensor, Tensor] = {}
    for k, pair in enumerate(held["updates"]):
        at = f"updates: entry {k}"
        if type(pair) is not list or len(pair) != 2:
            raise GraphFileError(f"{place}: {at}: expected two numbers, found {show(pair)}")
        state, value = named(pair, at)
        if state in nexts:
            raise GraphFileError(f"{place}: {at}: {show(state.name)} has a next value already", node=state.name)
        nexts[state] = value
    kind, keys = outputs["kind"], outputs["keys"]
    expected = {"none": 0, "one": 1, "list": len(results), "dict": len(keys)}.get(kind)
    if expected != len(results) or (keys and kind != "dict"):
        raise GraphFileError(f"{place}: outputs: {len(results)} nodes do not make up {show(kind)}")
    if any(type(key) is not str for key in keys) or len(set(keys)) != len(keys):
        raise GraphFileError(f"{place}: outputs: keys: expected different texts")
    structure = Structure(kind, tuple(keys))
    if nested:
        structure, _ = Structure.of(_read(outputs["nest"], iter(results), f"{place}: outputs: nest"))
        if structure.keys != tuple(keys) or structure.nest is None:
            raise GraphFileError(f"{place}: outputs: nest: expected the structure of the keys")
    one_graph(arguments, results, nexts)
    check_updates(graph, arguments, nexts)
    return assemble(graph, structure, arguments, results, nexts, "ignore")


def _written(nest: Any) -> Any:
    """Outputs in one another as JSON: a list begins with "list" or "dict", a tensor is null."""
    if isinstance(nest, dict):
        return ["dict", *([key, _written(part)] for key, part in nest.items())]
    return ["list", *map(_written, nest)] if isinstance(nest, list) else None


def _read(held: Any, results: Iterator[Tensor], place: str, depth: int = 0) -> Any:
    """Outputs in one another, with tensors in order."""
    if held is None and (tensor := next(results, None)) is not None:
        return tensor
    if type(held) is list and held and depth < DEEPEST:
        if held[0] == "list":
            return [_read(part, results, place, depth + 1) for part in held[1:]]
        pairs = held[1:]
        if held[0] == "dict" and all(type(p) is list and len(p) == 2 and type(p[0]) is str for p in pairs):
            return {key: _read(part, results, place, depth + 1) for key, part in pairs}
    raise GraphFileError(f"{place}: expected lists and dicts of {DEEPEST} levels at most, found {show(held)}")


__all__ = ["PROGRAM", "describe", "needed", "program"]
