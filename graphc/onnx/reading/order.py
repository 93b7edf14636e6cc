"""Operators that go along an axis in order: running sums, the largest elements, recurrences."""

from __future__ import annotations

from typing import Any

from graphc.ir.tensor import Tensor
from graphc.ir.types import UINT8
from graphc.onnx.reading.elementwise import Reader
from graphc.onnx.reading.held import Reading
from graphc.ops import cumulative, index, shape
from graphc.ops import elementwise as e
from graphc.ops.apply import apply, cast

RECURRENCE = "read is only a Scan that is a linear recurrence: state := a * state + b, which is its output too"


def cumsum(at: Reading) -> Tensor:
    x, axis = at.tensor(), at.number(1)
    if axis is None or not -x.ndim <= axis < x.ndim:
        at.refuse(f"the axis must be known, and one of {x.ndim}")
    exclusive, reverse = (bool(at.attribute(n, 0)) for n in ("exclusive", "reverse"))
    return cast(cumulative.cumsum(x, int(axis), reverse=reverse, exclusive=exclusive), x.dtype)


def topk(at: Reading) -> list[Tensor]:
    """Of equal elements the first comes first."""
    x = at.tensor()
    axis = at.axis(-1, x.ndim)
    (k,) = at.vector(1) if at.has(1) else (at.attribute("k", 0),)
    size = x.shape[axis]
    if isinstance(k, int) and isinstance(size, int) and not 0 <= k <= size:
        at.fail(f"{k} elements of {size}")
    rows = shape.moveaxis(cast(x, UINT8) if x.dtype.kind == "b" else x, axis, -1)
    order = apply("argsort", rows, descending=bool(at.attribute("largest", 1)))
    order = order if k == size else index.getitem(order, (..., slice(0, k)))
    found = cast(index.take_along_last(rows, order), x.dtype)
    return [shape.moveaxis(t, -1, axis) for t in (found, order)]


def scan(at: Reading) -> list[Tensor]:
    """One state and two sequences, whose elements at each step are a factor and what is added."""
    held = at.attributes.get("body")
    if held is None or at.attribute("num_scan_inputs") != 2 or len(at.operands) != 3 or len(at.node.output) > 2:
        at.refuse(RECURRENCE)
    axes = {at.attribute(n, (0, 0))[0] for n in ("scan_input_axes", "scan_output_axes")}
    ways = {*at.attribute("scan_input_directions", (0, 0)), *at.attribute("scan_output_directions", (0,))}
    if len(axes) != 1 or len(ways) != 1 or len({*at.attribute("scan_input_axes", (0, 0))}) != 1:
        at.refuse(RECURRENCE)
    (a, b), turned = _factor_and_term(at, held.g), bool(ways.pop())
    start, sequences = at.tensor(0), [at.tensor(1), at.tensor(2)]
    axis = axes.pop()
    rows = [shape.moveaxis(t, axis, -1) for t in sequences]
    factor, term = rows[a], rows[b]
    size = term.shape[-1]
    first = e.equal(shape.iota(at.graph, size), (size - 1) if turned else 0)
    term = e.where(first, factor * shape.expand_dims(start, start.ndim) + term, term)
    y = apply("linear_recurrence", factor, term, reverse=turned)
    return [index.getitem(y, (..., 0 if turned else -1)), shape.moveaxis(y, -1, axis)]


def _factor_and_term(at: Reading, body: Any) -> tuple[int, int]:
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
    at.refuse(RECURRENCE)


ORDER: dict[str, Reader] = {"CumSum": cumsum, "TopK": topk, "Scan": scan}

__all__ = ["ORDER"]
