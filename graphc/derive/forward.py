"""Forward mode, and products with second derivatives, both by reverse accumulation.

The cotangents of the operands are linear in those of the results, so the derivative of one by the other, a second
reverse pass, is the transpose of the transposed Jacobian (Townsend, *A new trick for calculating Jacobian vector
products*, 2017). What only the first pass needed depends on cotangents that have no value, and is taken out again.
"""

from __future__ import annotations

from collections.abc import Sequence, Set
from typing import Any

from graphc.derive.flow import flow
from graphc.derive.reverse import accumulate, differentiable, disconnected, like, within
from graphc.derive.substitution import rebuilt
from graphc.errors import GradientError, caller
from graphc.ir.graph import Graph, located, topological
from graphc.ir.tensor import Tensor
from graphc.ir.trace import tracing
from graphc.ops.nest import flat, matched
from graphc.ops.shape import filled


def jvp(outputs: Any, wrt: Any, tangents: Any, *, on_disconnected: str = "error") -> Any:
    """The Jacobian-vector product: how ``outputs`` change where ``wrt`` moves along ``tangents``, in forward mode.

    ``wrt`` is a tensor, leaf or inner, or a list, tuple or dict of tensors; ``tangents`` has its structure, with a
    tensor, array or number for each in its shape. What comes back has the structure, shapes and dtypes of ``outputs``.

    Raises ShapeError for a tangent of another shape, and GradientError as `grad` does: for integer and bool tensors,
    for an op without a derivative, and for an output that depends on none of ``wrt`` (``on_disconnected="zeros"``
    gives zeros instead).

    >>> import numpy as np
    >>> import graphc as gx
    >>> g = gx.Graph("move", float_dtype="float64")
    >>> x, t = g.input("x", (2,)), g.input("t", (2,))
    >>> f = gx.compile([x, t], gx.jvp(x * x, x, t))
    >>> f(np.array([3.0, 4.0]), np.array([1.0, 10.0])).tolist()
    [6.0, 80.0]
    """
    origin = caller()
    with located("jvp", origin):
        many, targets, _ = differentiable(outputs, wrt, on_disconnected)
        pack = flat("outputs", outputs)[1]
        given = matched("tangents", tangents, wrt, "wrt")
        out = []
        with within(many, targets) as (many, targets):
            graph, along = many[0].graph, []
            for t, tangent in zip(targets, given, strict=True):
                with graph.placed(origin, t.name):
                    along.append(like(t, tangent, "tangent"))
            pushed = push(many, targets, along)
            for y, result in zip(many, pushed, strict=True):
                if result is None and on_disconnected == "error":
                    raise (
                        disconnected([y], targets[0])
                        if len(targets) == 1
                        else GradientError(
                            f'{y.name} depends on nothing in wrt; pass on_disconnected="zeros" for zeros', node=y.name
                        )
                    )
                with graph.placed(origin, y.name):
                    out.append(filled(graph, 0, y.shape, y.dtype) if result is None else result)
        return pack(out)


def push(outputs: list[Tensor], wrt: list[Tensor], tangents: list[Tensor]) -> list[Tensor | None]:
    """The tangents of ``outputs`` when those of ``wrt`` are given; None where an output depends on none of them."""
    graph = outputs[0].graph
    with tracing(graph, "jvp") as trace:
        seeds = [trace.stand_in(y.type, y.origin) for y in outputs]
        back = accumulate(graph, outputs, wrt, seeds)
        met = [(b, t) for b, t in zip(back, tangents, strict=True) if b is not None]
        out = accumulate(graph, [b for b, _ in met], seeds, [t for _, t in met])
        out = _at_once(graph, out, trace.stand_ins)
        out = _without(graph, out, seeds)
        trace.close(t for t in out if t is not None)
    return out


def _without(graph: Graph, results: list[Tensor | None], seeds: Sequence[Tensor]) -> list[Tensor | None]:
    """Results that do not depend on ``seeds``, and do not name them either, as loops do that carry them for nothing."""
    present = [t for t in results if t is not None]
    needed, ids = topological(graph, [t.id for t in present]), {t.id for t in seeds}
    if not any(node.id in ids for node in needed):
        return results
    depends = flow(needed, ids)
    if any(t.id in depends for t in present):
        raise GradientError("a gradient on the way is not linear in its cotangent, so it has no forward mode")
    found = iter(rebuilt(graph, present, {t.id: filled(graph, 0, t.shape, t.dtype) for t in seeds}))
    return [None if t is None else next(found) for t in results]


def _at_once(graph: Graph, results: list[Tensor | None], stand_ins: Set[int]) -> list[Tensor | None]:
    """Results in which nothing waits for a cotangent that has no value: forward mode needs no values a second time."""
    depends, made = set(stand_ins), dict[int, Tensor]()
    present = [t for t in results if t is not None]
    for node in topological(graph, [t.id for t in present]):
        if any(i in depends for i in node.inputs):
            depends.add(node.id)
            if "waiting" in node.op.facts and node.inputs[0] not in depends:
                made[node.id] = rebuilt(graph, graph.tensors[node.inputs[0]], made)
                depends.discard(node.id)
    found = iter(rebuilt(graph, present, made)) if made else iter(present)
    return [None if t is None else next(found) for t in results]


def hvp(y: Tensor, wrt: Any, vectors: Any, *, on_disconnected: str = "error") -> Any:
    """The product of the second derivatives of a scalar ``y`` by ``wrt``, its Hessian matrix, with ``vectors``.

    ``wrt`` is a tensor or a list, tuple or dict of tensors and ``vectors`` has its structure, with a tensor, array or
    number for each in its shape; so has what comes back. The matrix is symmetric, so this is the gradient of the
    gradient along ``vectors``. Costs a few times what the gradient does, and no matrix is made.

    Raises ShapeError where ``y`` is not a scalar or a vector has another shape, otherwise what `grad` raises.

    >>> import numpy as np
    >>> import graphc as gx
    >>> g = gx.Graph("bend", float_dtype="float64")
    >>> x = g.input("x", (2,))
    >>> f = gx.compile([x], gx.hvp(x[0] ** 2 * x[1], x, np.array([1.0, 0.0])))
    >>> f(np.array([3.0, 4.0])).tolist()
    [8.0, 6.0]
    """
    origin = caller()
    with located("hvp", origin):
        (y,), targets, pack = differentiable(scalar(y), wrt, on_disconnected)
        given = matched("vectors", vectors, wrt, "wrt")
        out = []
        with within([y], targets) as ((y,), targets):
            graph = y.graph
            with graph.placed(origin, y.name):
                slopes = accumulate(graph, [y], targets, [graph.constant(1.0, y.dtype)])
            along, met = [], []
            for t, slope, vector in zip(targets, slopes, given, strict=True):
                if slope is None and on_disconnected == "error":
                    raise disconnected([y], t)
                if slope is not None:
                    met.append(slope)
                    with graph.placed(origin, t.name):
                        along.append(like(t, vector, "vector"))
            found = accumulate(graph, met, targets, along)
            for t, result in zip(targets, found, strict=True):
                with graph.placed(origin, t.name):
                    out.append(filled(graph, 0, t.shape, t.dtype) if result is None else result)
        return pack(out)


def scalar(y: Tensor) -> Tensor:
    """``y``, which must be a scalar."""
    if not isinstance(y, Tensor) or y.shape != ():
        raise GradientError(
            f"expected a scalar tensor, found {y.name}: {y.type}"
            if isinstance(y, Tensor)
            else f"expected a scalar tensor, found {y!r}"
        )
    return y


__all__ = ["hvp", "jvp", "push"]
