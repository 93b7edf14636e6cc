"""Loops and branches of ONNX: If, Loop and Scan, whose graphs see the values around them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from graphc.errors import DTypeError, GraphError, ShapeError
from graphc.ir.dims import Size
from graphc.ir.graph import topological
from graphc.ir.inner import Inner
from graphc.ir.tensor import Tensor
from graphc.ir.types import INT64
from graphc.onnx.reading.elementwise import Reader
from graphc.onnx.reading.held import FIXED, Held, Reading
from graphc.ops import control, index, shape
from graphc.ops import elementwise as e
from graphc.ops.apply import apply, cast
from graphc.ops.assembly import flip, stack

SIDES = ("then_branch", "else_branch")
MOST_UNROLLED = 64  # steps of a loop whose carries change their shapes


def _tensors(at: Reading, helds: Sequence[Held | None]) -> list[Tensor]:
    return [held.tensor() if held else at.refuse("its graph gives what is not a tensor") for held in helds]


def _like(at: Reading, tensors: Sequence[Tensor], like: Sequence[Held]) -> list[Held]:
    """Tensors of the same element types as others."""
    pairs = zip(tensors, like, strict=True)
    return [Held(at.graph, at.name, tensor=t, kind=h.kind if h.dtype == t.dtype else None) for t, h in pairs]


def _number(t: Tensor) -> Tensor:
    return shape.reshape(t, ())


# ---- If


def if_(at: Reading) -> list[Held]:
    """One branch where the condition is known, else both, of which one runs."""
    on = at.number(0)
    if on is not None:
        return at.inside(SIDES[0 if on else 1], [])
    squeezed = _squeezed(at)
    if squeezed is not None:
        return at.inside(squeezed, [])
    made: list[list[Held]] = []

    def side(name: str) -> Callable[[], list[Tensor]]:
        def run() -> list[Tensor]:
            made.append(at.inside(name, []))
            return _tensors(at, made[-1])

        return run

    try:
        found = control.branch(at.graph, _number(at.tensor(0)), side(SIDES[0]), side(SIDES[1]), ())
    except (ShapeError, DTypeError, GraphError) as error:
        at.refuse(f"the branches differ, and the condition is data: {error.message[:200]}; {FIXED}")
    return _like(at, found, made[0])


def _squeezed(at: Reading) -> str | None:
    """The branch that takes an axis away if its size, which is a symbol, is 1, where the other one leaves it.

    PyTorch writes this of ``squeeze``. Squeezing tests the size in each call.
    """
    ops = {name: [n.op_type for n in at.attributes[name].g.node if n.op_type != "Constant"] for name in SIDES}
    squeezing = next((name for name in SIDES if ops[name] == ["Squeeze"]), None)
    if squeezing is None or any(ops[name] not in (["Squeeze"], ["Identity"], []) for name in SIDES):
        return None
    condition = at.tensor(0)
    graph = condition.graph
    leaves = [graph.tensors[n.id] for n in topological(graph, [condition.id]) if not n.inputs]
    sources = [graph.source(t) if isinstance(graph, Inner) else t for t in leaves]
    return squeezing if all(t.op.name in ("size", "constant") for t in sources) else None


# ---- Loop


def loop(at: Reading) -> list[Held]:
    """A scan where the number of steps is known before, else a while loop, which has no results of each step."""
    body = at.attributes["body"].g
    count = at.held(0).sizes if at.has(0) else None
    count = count[0] if isinstance(count, tuple) and len(count) == 1 else count
    on = at.number(1) if at.has(1) else 1
    first = [at.held(k) for k in range(2, len(at.operands))]
    if on == 0:
        count = 0
    ends = not _goes_on(body) or on is None
    if not isinstance(count, tuple) and count is not None and not ends:
        try:
            return _counted(at, count, first)
        except (ShapeError, DTypeError, GraphError) as error:
            if not isinstance(count, int) or count > MOST_UNROLLED:
                at.refuse(error.message[:200])
        return _unrolled(at, count, first)
    if len(body.output) > 1 + len(first):
        at.refuse(f"how many steps are made depends on data, and so would the size of what they give; {FIXED}")
    return _while(at, first)


def _goes_on(body: Any) -> bool:
    """Whether the loop ends by its count alone: the condition is passed on, or constant and true."""
    made = {o: n for n in body.node for o in n.output}
    held = {t.name: t for t in body.initializer}
    name = body.output[0].name if body.output else ""
    while name in made and made[name].op_type == "Identity":
        name = made[name].input[0]
    if len(body.input) > 1 and name == body.input[1].name:
        return True
    value = held.get(name)
    if name in made and made[name].op_type == "Constant" and made[name].attribute:
        value = made[name].attribute[0].t
    return value is not None and (bool(any(value.raw_data)) or any(value.int32_data))


def _counted(at: Reading, count: Size, first: Sequence[Held]) -> list[Held]:
    kinds: list[Held] = []

    def step(carry: list[Tensor], row: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        on = Held(at.graph, "", array=np.array(True))
        given = [Held(at.graph, "", tensor=row[0]), on, *_like(at, carry, first)]
        kinds[:] = at.inside("body", given)[1:]
        made = _tensors(at, kinds)
        return made[: len(first)], made[len(first) :]

    numbers = [shape.iota(at.graph, count)]
    carry, rows = control.loop(at.graph, step, _tensors(at, first), numbers, count, what="Loop")
    return _like(at, [*carry, *rows], kinds)


def _unrolled(at: Reading, count: int, first: Sequence[Held]) -> list[Held]:
    """Step after step, each with nodes of its own."""
    carry, rows = list(first), list[list[Held]]()
    for k in range(count):
        given = [Held(at.graph, "", array=np.array(k)), Held(at.graph, "", array=np.array(True)), *carry]
        made = at.inside("body", given)[1:]
        carry = made[: len(first)]
        rows.append(made[len(first) :])
    if not rows:
        at.refuse("a loop without a step does not tell what its results are")
    stacked = [stack(_tensors(at, ys), 0) for ys in zip(*rows, strict=True)]
    return [*carry, *_like(at, stacked, rows[0])]


def _while(at: Reading, first: Sequence[Held]) -> list[Held]:
    """The carry is the number of the step, whether it is made, and what the graph hands on."""
    zero, on = at.graph.constant(np.array(0)), at.graph.constant(np.array(True))
    limit = cast(_number(at.tensor(0)), INT64) if at.has(0) else None
    on = _number(at.tensor(1)) if at.has(1) else on

    def test(carry: list[Tensor]) -> Tensor:
        return carry[1] if limit is None else e.logical_and(carry[1], e.less(carry[0], limit))

    def step(carry: list[Tensor]) -> list[Tensor]:
        given = [Held(at.graph, "", tensor=carry[0]), Held(at.graph, "", tensor=carry[1])]
        made = _tensors(at, at.inside("body", [*given, *_like(at, carry[2:], first)]))
        return [carry[0] + 1, _number(made[0]), *made[1:]]

    found = control.while_loop(test, step, [zero, on, *_tensors(at, first)])
    return _like(at, found[2:], first)


# ---- Scan


def scan(at: Reading) -> list[Any]:
    """State from step to step over rows of sequences."""
    body, rows = at.attributes["body"].g, at.attribute("num_scan_inputs", 0)
    if at.opset < 9:
        at.refuse("a Scan of opset 8, which has batches, is not read; convert the model to opset 9 or later")
    n = len(at.operands) - rows
    results = len(body.output) - n
    if not (0 < rows <= len(at.operands) and results >= 0):
        at.fail(f"{rows} sequences and {len(body.output)} results do not fit {len(at.operands)} operands")
    zeros = (0,) * rows, (0,) * results
    axes_in, ways_in = (at.attribute(f"scan_input_{what}", zeros[0]) for what in ("axes", "directions"))
    axes_out, ways_out = (at.attribute(f"scan_output_{what}", zeros[1]) for what in ("axes", "directions"))
    if [len(a) for a in (axes_in, ways_in, axes_out, ways_out)] != [rows, rows, results, results]:
        at.fail("its axes and directions do not fit its sequences")
    turned = all(ways_in) and all(ways_out)
    first, sequences = [at.held(k) for k in range(n)], [at.held(n + k) for k in range(rows)]
    pairs = zip(_tensors(at, sequences), axes_in, ways_in, strict=True)
    xs = [_turned(shape.moveaxis(t, axis, 0), way and not turned) for t, axis, way in pairs]
    roles = _factor_and_term(body) if n == 1 and rows == 2 else None
    if roles is not None and all(x.ndim == xs[0].ndim for x in xs) and xs[0].ndim == at.tensor(0).ndim + 1:
        y, last = _recurrence(at.tensor(0), xs[roles[0]], xs[roles[1]], turned)
        return [last, shape.moveaxis(_turned(y, ways_out[0] and not turned), 0, axes_out[0])]
    kinds: list[Held] = []

    def step(carry: list[Tensor], row: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        kinds[:] = at.inside("body", [*_like(at, carry, first), *_like(at, row, sequences)])
        made = _tensors(at, kinds)
        return made[:n], made[n:]

    try:
        carry, ys = control.loop(at.graph, step, _tensors(at, first), xs, None, turned, what="Scan")
    except (ShapeError, DTypeError, GraphError) as error:
        at.refuse(error.message[:200])
    placed = zip(ys, axes_out, ways_out, strict=True)
    moved = [shape.moveaxis(_turned(y, way and not turned), 0, axis) for y, axis, way in placed]
    return _like(at, [*carry, *moved], kinds)


def _turned(x: Tensor, way: int) -> Tensor:
    return flip(x, 0) if way else x


def _recurrence(start: Tensor, factor: Tensor, term: Tensor, turned: bool) -> tuple[Tensor, Tensor]:
    """All states and the last one of ``state := factor * state + term``."""
    factor, term = (shape.moveaxis(t, 0, -1) for t in (factor, term))
    size = term.shape[-1]
    first = e.equal(shape.iota(start.graph, size), (size - 1) if turned else 0)
    term = e.where(first, factor * shape.expand_dims(start, start.ndim) + term, term)
    y = apply("linear_recurrence", factor, term, reverse=turned)
    return shape.moveaxis(y, -1, 0), index.getitem(y, (..., 0 if turned else -1))


def _factor_and_term(body: Any) -> tuple[int, int] | None:
    """Which of the two sequences is which."""
    made = {o: n for n in body.node for o in n.output}
    names = [i.name for i in body.input]

    def behind(name: str) -> str:
        while name in made and made[name].op_type == "Identity":
            name = made[name].input[0]
        return name

    results = {behind(o.name) for o in body.output}
    if len(names) == 3 and len(body.output) == 2 and len(results) == 1:
        add = made.get(results.pop())
        if add is not None and add.op_type == "Add":
            parts = [behind(i) for i in add.input]
            for moved, term in (parts, parts[::-1]):
                product = made.get(moved)
                if product is not None and product.op_type == "Mul" and term in names[1:]:
                    factors = sorted(behind(i) for i in product.input)
                    other = names[2] if term == names[1] else names[1]
                    if factors == sorted([names[0], other]):
                        return names.index(other) - 1, names.index(term) - 1
    return None


CONTROL: dict[str, Reader] = {"If": if_, "Loop": loop, "Scan": scan}

__all__ = ["CONTROL"]
