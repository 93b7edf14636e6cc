"""A program as JSON values, and back: inputs, outputs and updates as numbers of nodes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from graphc.compile import assemble, check_updates, one_graph
from graphc.errors import GraphFileError
from graphc.file import strict
from graphc.file.strict import show
from graphc.ir.graph import Graph, topological
from graphc.ir.tensor import Tensor
from graphc.program import Program, Structure

PROGRAM = {"inputs": list, "outputs": dict, "updates": list}
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
    return {
        "inputs": [place[i] for i in program.arguments_at],
        "outputs": {"kind": structure.kind, "keys": list(structure.keys), "nodes": roots[:n]},
        "updates": [list(pair) for pair in zip(state, roots[n:], strict=True)],
    }


def program(graph: Graph, held: dict[str, Any], place: str) -> Program:
    """The program of a description, whole and checked. Raises GraphFileError, or what `compile` would."""
    outputs = strict.record(held["outputs"], f"{place}: outputs", OUTPUTS)

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
    one_graph(arguments, results, nexts)
    check_updates(graph, arguments, nexts)
    return assemble(graph, Structure(kind, tuple(keys)), arguments, results, nexts, "ignore")


__all__ = ["PROGRAM", "describe", "needed", "program"]
