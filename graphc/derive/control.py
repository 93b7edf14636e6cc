"""Derivatives of loops and branches: loops in the other direction, branches of the same side.

The body of the gradient computes what the body does once more, of the carries that were kept, and pulls cotangents
through it. What it is made of are loops and branches again, so derivatives go to any order.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from graphc.derive.reverse import THROUGH, Through, accumulate, ahead
from graphc.errors import GradientError
from graphc.ir.body import Body
from graphc.ir.call import OPEN
from graphc.ir.graph import Graph, topological
from graphc.ir.inner import inlined
from graphc.ir.node import Node
from graphc.ir.tensor import Tensor
from graphc.ir.types import is_float
from graphc.ops.control import UNBOUNDED, branch, loop, result
from graphc.ops.elementwise import less
from graphc.ops.shape import filled


def _reached(body: Body, inputs: Iterable[int]) -> set[int]:
    """The outputs of a body that depend on these of its inputs."""
    wrt = [body.graph[name] for k in inputs if (name := body.inputs[k][0]) in body.graph]
    nodes = topological(body.graph, [t.id for t in body.outputs])
    depends, _ = ahead(body.graph, nodes, wrt)
    return {k for k, t in enumerate(body.outputs) if t.id in depends and is_float(t.dtype)}


def _carries(body: Body, n: int, active: set[int]) -> tuple[set[int], set[int]]:
    """Of a loop whose body's inputs ``active`` depend (the carries are 0 to n): carries and outputs that come to."""
    while True:
        outputs = _reached(body, (k + 1 for k in active))  # before them stands the number of the step
        if outputs & set(range(n)) <= active:
            return {k for k in active if k < n}, outputs
        active = active | (outputs & set(range(n)))


def _pulled(
    body: Body, given: Sequence[Tensor], wrt: Sequence[Tensor], seeds: dict[int, Tensor]
) -> list[Tensor | None]:
    """The cotangents of ``wrt``, some of what a body is given, where those of its outputs are ``seeds``."""
    graph = OPEN.body
    made = inlined(body, graph, given)
    return accumulate(graph, [made[k] for k in seeds], wrt, list(seeds.values()))


def _zeros(graph: Graph, t: Tensor) -> Tensor:
    return filled(graph, 0, t.shape, t.dtype)


def _or_zeros(found: Sequence[Tensor | None], of: Sequence[Tensor]) -> list[Tensor]:
    return [_zeros(OPEN.body, t) if g is None else g for g, t in zip(found, of, strict=True)]


# ---- scan


def _reach_scan(graph: Graph, node: Node, slots: set[int]) -> set[int]:
    body, n = node.attrs["body"], node.attrs["carries"]
    carries, outputs = _carries(body, n, slots)
    return carries | {k for k in outputs if k >= n} | {len(body.types) + k for k in carries}


def _pull_scan(graph: Graph, node: Node, cotangents: dict[int, Tensor], slots: list[int]) -> dict[int, Tensor]:
    body, n, m = node.attrs["body"], node.attrs["carries"], node.attrs["xs"]
    operands, outputs = [graph.tensors[i] for i in node.inputs], len(body.types)
    carries, _ = _carries(body, n, set(slots))
    before = [result(graph.tensors[node.id], outputs + k) for k in range(n)]
    rows = operands[n : n + m]
    wanted, rest = [s for s in slots if n <= s < n + m], _once(operands, [s for s in slots if s >= n + m])
    given = {k: c for k, c in cotangents.items() if n <= k}

    def step(carry: dict[str, dict[int, Tensor]], x: dict[str, Any]) -> tuple[Any, Any]:
        here: Graph = OPEN.body
        held = [here.admit(t, "scan") for t in operands[n + m :]]
        at = [*x["before"], *x["rows"], *held]
        wrt = [at[k] for k in (*carry["carry"], *wanted, *rest)]
        seeds = {**carry["carry"], **{k: c for k, c in x["given"].items() if k < outputs}}
        found = _or_zeros(_pulled(body, [here.step, *at], wrt, seeds), wrt)  # type: ignore[attr-defined]
        a, b = len(carry["carry"]), len(carry["carry"]) + len(wanted)
        now = dict(zip(carry["carry"], found[:a], strict=True))
        for k, c in x["given"].items():
            if k - outputs in now:  # that of the carry before the step, which was read
                now[k - outputs] = now[k - outputs] + c
        sums = {k: acc + g for (k, acc), g in zip(carry["rest"].items(), found[b:], strict=True)}
        return {"carry": now, "rest": sums}, found[a:b]

    first = {
        "carry": {k: cotangents[k] if k in cotangents else _zeros(graph, operands[k]) for k in sorted(carries)},
        "rest": {k: _zeros(graph, operands[k]) for k in rest},
    }
    xs = {"before": before, "rows": list(rows), "given": given}
    last, ys = loop(graph, step, first, xs, node.attrs["length"], not node.attrs["reverse"])
    made = {**last["carry"], **last["rest"], **dict(zip(wanted, ys, strict=True))}
    return {slot: made[slot] for slot in slots if slot in made}


def _once(operands: Sequence[Tensor], slots: Sequence[int]) -> list[int]:
    """Slots of different tensors: a body captures what stands in several once, and has one cotangent for it."""
    return list({operands[slot].id: slot for slot in reversed(slots)}.values())[::-1]


# ---- while_loop


def _reach_while(graph: Graph, node: Node, slots: set[int]) -> set[int]:
    body = node.attrs["body"]
    n = len(body.types)
    carries, _ = _carries(body, n, slots)
    return carries | {n + 1 + k for k in carries}


def _pull_while(graph: Graph, node: Node, cotangents: dict[int, Tensor], slots: list[int]) -> dict[int, Tensor]:
    body, limit = node.attrs["body"], node.attrs["max_steps"]
    if limit == UNBOUNDED:
        text = f"the gradient of {node.name} needs max_steps, the most steps that it may make"
        raise GradientError(text, node=node.name, origin=node.origin)
    n, operands = len(body.types), [graph.tensors[i] for i in node.inputs]
    carries, _ = _carries(body, n, set(slots))
    me = graph.tensors[node.id]
    count, before = result(me, n), [result(me, n + 1 + k) for k in range(n)]
    rest = _once(operands, [s for s in slots if s >= n])
    given = {k - n - 1: c for k, c in cotangents.items() if k > n}

    def step(carry: dict[str, dict[int, Tensor]], x: dict[str, Any]) -> tuple[Any, Any]:
        number = OPEN.body.step

        def pulled(carry: dict[str, dict[int, Tensor]], x: dict[str, Any]) -> Any:
            here: Graph = OPEN.body
            at = [*x["before"], *(here.admit(t, "while_loop") for t in operands[n:])]
            wrt = [at[k] for k in (*carry["carry"], *rest)]
            found = _or_zeros(_pulled(body, [here.admit(number, "while_loop"), *at], wrt, carry["carry"]), wrt)
            now = dict(zip(carry["carry"], found, strict=False))
            now |= {k: now[k] + c for k, c in x["given"].items() if k in now}
            sums = {k: acc + g for (k, acc), g in zip(carry["rest"].items(), found[len(now) :], strict=True)}
            return {"carry": now, "rest": sums}

        return branch(OPEN.body, less(number, count), pulled, lambda carry, x: carry, (carry, x)), None

    first = {
        "carry": {k: cotangents[k] if k in cotangents else _zeros(graph, operands[k]) for k in sorted(carries)},
        "rest": {k: _zeros(graph, operands[k]) for k in rest},
    }
    last, _ = loop(graph, step, first, {"before": before, "given": given}, limit, True)
    made = {**last["carry"], **last["rest"]}
    return {slot: made[slot] for slot in slots if slot in made}


# ---- cond


def _reach_cond(graph: Graph, node: Node, slots: set[int]) -> set[int]:
    sides = node.attrs["on_true"], node.attrs["on_false"]
    return {k for side in sides for k in _reached(side, (slot - 1 for slot in slots if slot > 0))}


def _pull_cond(graph: Graph, node: Node, cotangents: dict[int, Tensor], slots: list[int]) -> dict[int, Tensor]:
    pred, *operands = (graph.tensors[i] for i in node.inputs)

    def side(body: Body) -> Any:
        def pulled(given: list[Tensor], seeds: dict[int, Tensor]) -> list[Tensor]:
            wrt = [given[slot - 1] for slot in slots]
            return _or_zeros(_pulled(body, given, wrt, seeds), wrt)

        return pulled

    sides = side(node.attrs["on_true"]), side(node.attrs["on_false"])
    found = branch(graph, pred, *sides, (operands, cotangents))
    return dict(zip(slots, found, strict=True))


THROUGH["scan"] = Through(_reach_scan, _pull_scan)
THROUGH["while_loop"] = Through(_reach_while, _pull_while)
THROUGH["cond"] = Through(_reach_cond, _pull_cond)
