"""Loops and branches of many examples.

A loop stays one loop, whose step does for all examples what the body does for one. Where examples make different
numbers of steps, those that are done keep their carries. A branch that examples take differently becomes both sides,
of which each takes one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from graphc.derive.flow import carried, through
from graphc.derive.vectorise import CONTROL, Examples, Operand, Results
from graphc.ir.body import Body
from graphc.ir.call import OPEN
from graphc.ir.graph import Graph
from graphc.ir.inner import inlined
from graphc.ir.node import Node
from graphc.ir.tensor import Tensor
from graphc.ir.trace import tracing
from graphc.ir.types import INT64
from graphc.ops.apply import cast
from graphc.ops.control import UNBOUNDED, branch, loop, result, while_loop
from graphc.ops.elementwise import where
from graphc.ops.reduce import any as any_
from graphc.ops.shape import filled, moveaxis, reshape


def _of_body(at: Examples, body: Body, values: Sequence[Tensor], flags: Sequence[bool]) -> list[Operand]:
    """What a body computes of values, of which those that are flagged are of all examples."""
    with tracing(at.graph, "vmap") as trace:
        given, inputs = {}, list(values)
        for k, (_, kind) in enumerate(body.inputs):
            if flags[k]:
                inputs[k] = trace.stand_in(kind, values[k].origin)
                given[inputs[k].id] = values[k]
        outputs = inlined(body, at.graph, inputs)
        return at.operands(trace, given, outputs)


def _inside(at: Examples, taken: Tensor | None = None) -> Examples:
    """The same examples in the body that is open, of which those that are ``taken`` take it, or all."""
    here: Any = OPEN.body
    around = None if at.taken is None else here.admit(at.taken, "vmap")
    return Examples(here, at.size, _both(around, taken))


def _both(a: Tensor | None, b: Tensor | None) -> Tensor | None:
    """Which examples are in both; None stands for all of them."""
    return b if a is None else a if b is None else a & b


def _admitted(here: Graph, tensors: Sequence[Tensor]) -> list[Tensor]:
    return [here.admit(t, "vmap") for t in tensors]


def _held(o: Operand) -> Tensor:
    one, many = o
    return one if many is None else many


def _scan(at: Examples, node: Node, operands: Sequence[Operand]) -> Results:
    body, n, m = node.attrs["body"], node.attrs["carries"], node.attrs["xs"]
    flags = [many is not None for _, many in operands]
    carries, outputs = carried(body, n, {k for k, f in enumerate(flags) if f}, True, whole=True)
    first = [at.all(*o) if k in carries else o[0] for k, o in enumerate(operands[:n])]
    rows = [one if many is None else moveaxis(many, 1, 0) for one, many in operands[n : n + m]]
    rest = [_held(o) for o in operands[n + m :]]
    differs = [False, *(k in carries for k in range(n)), *flags[n:]]

    def step(carry: list[Tensor], x: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        here: Any = OPEN.body
        inside = _inside(at)
        made = _of_body(inside, body, [here.step, *carry, *x, *_admitted(here, rest)], differs)
        full = [inside.all(*o) if k in carries | outputs else o[0] for k, o in enumerate(made)]
        return full[:n], full[n:]

    last, ys = loop(at.graph, step, first, rows, node.attrs["length"], node.attrs["reverse"], node.attrs["unroll"])
    me, count = (last or ys)[0].inputs[0], len(body.types)

    def get(k: int) -> tuple[Tensor, bool]:
        if k < n:
            return last[k], k in carries
        t, differing = (ys[k - n], k in outputs) if k < count else (result(me, k), k - count in carries)
        return (moveaxis(t, 1, 0) if differing else t), differing

    return get


def _while(at: Examples, node: Node, operands: Sequence[Operand]) -> Results:
    body, test, limit = node.attrs["body"], node.attrs["test"], node.attrs["max_steps"]
    n = len(body.types)
    flags = [many is not None for _, many in operands]
    slots = {k for k, f in enumerate(flags) if f}
    carries, _ = carried(body, n, slots, True, whole=True)
    apart = bool(through(test, (k + 1 for k in carries | {s for s in slots if s >= n}), True, whole=True))
    if apart:
        carries = set(range(n))
    first = [at.all(*o) if k in carries else o[0] for k, o in enumerate(operands[:n])]
    rest = [_held(o) for o in operands[n:]]
    differs = [False, *(k in carries for k in range(n)), *flags[n:]]
    if apart:  # how many steps each has made
        first = [*first, filled(at.graph, 0, (at.size,), INT64)]

    def of(inside: Examples, part: Body, carry: list[Tensor]) -> list[Operand]:
        here: Any = OPEN.body
        return _of_body(inside, part, [here.step, *carry[:n], *_admitted(here, rest)], differs)

    def going(carry: list[Tensor]) -> Tensor:
        """Which examples make another step; where they do so together, whether they do."""
        inside = _inside(at)
        (o,) = of(inside, test, carry)
        on = inside.all(*o) if apart else o[0]
        if inside.taken is None:
            return on
        return on & (inside.taken if apart else any_(inside.taken))

    def goes_on(carry: list[Tensor]) -> Tensor:
        return any_(going(carry)) if apart else going(carry)

    def step(carry: list[Tensor]) -> list[Tensor]:
        on = going(carry) if apart else None
        inside = _inside(at, on)
        made = of(inside, body, carry)
        full = [inside.all(*o) if k in carries else o[0] for k, o in enumerate(made)]
        if on is None:
            return full
        kept = [
            where(reshape(on, (at.size, *(1,) * (new.ndim - 1))), new, old)
            for new, old in zip(full, carry[:n], strict=True)
        ]
        return [*kept, carry[n] + cast(on, INT64)]

    last = while_loop(goes_on, step, first, None if limit == UNBOUNDED else limit)
    me, count = last[0].inputs[0], len(first)

    def get(k: int) -> tuple[Tensor, bool]:
        if k < n:
            return last[k], k in carries
        if k == n:
            return (last[n], True) if apart else (result(me, n), False)
        kept = result(me, count + k - n)
        return (moveaxis(kept, 1, 0), True) if k - n - 1 in carries else (kept, False)

    return get


def _cond(at: Examples, node: Node, operands: Sequence[Operand]) -> Results:
    (pred, many_pred), *given = operands
    values, flags = [_held(o) for o in given], [many is not None for _, many in given]
    sides = node.attrs["on_true"], node.attrs["on_false"]
    if many_pred is not None:
        one, other = (
            _of_body(Examples(at.graph, at.size, _both(at.taken, takes)), side, values, flags)
            for side, takes in zip(sides, (many_pred, ~many_pred), strict=True)
        )

        def chosen(k: int) -> tuple[Tensor, bool]:
            a, b = at.all(*one[k]), at.all(*other[k])
            return where(reshape(many_pred, (at.size, *(1,) * (a.ndim - 1))), a, b), True

        return chosen
    slots = [k for k, f in enumerate(flags) if f]
    differs = {k for side in sides for k in through(side, slots, True, whole=True)}

    def side(body: Body) -> Callable[..., list[Tensor]]:
        def made(*inputs: Tensor) -> list[Tensor]:
            inside = _inside(at)
            found = _of_body(inside, body, inputs, flags)
            return [inside.all(*o) if k in differs else o[0] for k, o in enumerate(found)]

        return made

    found = branch(at.graph, pred, side(sides[0]), side(sides[1]), tuple(values))
    return lambda k: (found[k], k in differs)


CONTROL["scan"] = _scan
CONTROL["while_loop"] = _while
CONTROL["cond"] = _cond
