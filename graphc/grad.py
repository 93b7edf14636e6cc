"""Reverse accumulation, and nothing else.

The walker knows no mathematics: each op's gradient rules turn the cotangent of its result into those of its operands
(Griewank and Walther, Evaluating Derivatives, 2nd ed., chapter 3). Everything appended is ordinary nodes, so the
result can be differentiated again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, overload

from graphc.errors import GradientError, ShapeError, caller
from graphc.ir.graph import Graph, located, topological
from graphc.ir.tensor import Node, Tensor
from graphc.ir.types import is_float
from graphc.ops.apply import cast, graph_of, tensor
from graphc.ops.shape import sum_to, zeros_like


@overload
def grad(y: Tensor, wrt: Tensor, *, cotangent: Any = None, on_disconnected: str = "error") -> Tensor: ...
@overload
def grad(
    y: Tensor, wrt: Sequence[Tensor], *, cotangent: Any = None, on_disconnected: str = "error"
) -> list[Tensor]: ...


def grad(
    y: Tensor, wrt: Tensor | Sequence[Tensor], *, cotangent: Any = None, on_disconnected: str = "error"
) -> Tensor | list[Tensor]:
    """The derivative of ``y`` with respect to ``wrt``, as new nodes of the same graph.

    ``y`` is a scalar, or ``cotangent`` (shape of ``y``) weighs its elements. ``wrt`` is a tensor, leaf or inner, or a
    sequence of them; a list comes back for a sequence. Each result has the shape and dtype of its ``wrt``.

    Raises ShapeError where ``y`` is not a scalar and no cotangent is given, GradientError for an integer or bool
    tensor, for an op without a derivative on the way, and for a ``wrt`` that ``y`` does not depend on
    (``on_disconnected="zeros"`` gives zeros instead).
    """
    origin = caller()
    with located("grad", origin):
        single = isinstance(wrt, Tensor)
        targets: list[Tensor] = [wrt] if isinstance(wrt, Tensor) else list(wrt)
        graph = graph_of([y, *targets])
        if on_disconnected not in ("error", "zeros"):
            raise GradientError(f'on_disconnected must be "error" or "zeros", found {on_disconnected!r}')
        for t in [y, *targets]:
            if not isinstance(t, Tensor):
                raise GradientError(f"expected a tensor, found {type(t).__name__}")
            if not is_float(t.dtype):
                raise GradientError(f"{t.name} is {t.type}; only float tensors have derivatives", node=t.name)
        results = accumulate(graph, y, targets, _seed(graph, y, cotangent))
        out = []
        for t, found in zip(targets, results, strict=True):
            if found is None and on_disconnected == "error":
                raise GradientError(
                    f'{y.name} does not depend on {t.name}; pass on_disconnected="zeros" for zeros', node=t.name
                )
            out.append(zeros_like(t) if found is None else found)
    return out[0] if single else out


def _seed(graph: Graph, y: Tensor, cotangent: Any) -> Tensor:
    if cotangent is None:
        if y.shape != ():
            raise ShapeError(f"{y.name} is {y.type}, not a scalar; reduce it or pass cotangent=", node=y.name)
        return graph.constant(1.0, y.dtype)
    given = cast(tensor(cotangent, graph, y.dtype), y.dtype)
    if given.shape != y.shape:
        raise ShapeError(f"the cotangent must have the shape of {y.name}, {y.type}, found {given.type}", node=y.name)
    return given


def accumulate(graph: Graph, y: Tensor, wrt: Sequence[Tensor], seed: Tensor) -> list[Tensor | None]:
    """The cotangents of ``wrt`` when that of ``y`` is ``seed``; None where ``y`` does not depend on it."""
    nodes = topological(graph, [y.id])
    depends = {t.id for t in wrt}
    for node in nodes:
        if any(i in depends for i in node.inputs):
            depends.add(node.id)
    cotangents: dict[int, Tensor] = {y.id: seed} if y.id in depends else {}
    for node in reversed(nodes):
        g = cotangents.get(node.id)
        if g is None or not node.inputs:
            continue
        with graph.placed(node.origin, node.forward or node.name):
            for slot, i in enumerate(node.inputs):
                if i in depends and is_float(graph.nodes[i].type.dtype):
                    part = _pull(graph, node, slot, g)
                    if part is not None:
                        part = sum_to(part, graph.tensors[i].shape)
                        cotangents[i] = cotangents[i] + part if i in cotangents else part
    return [cotangents.get(t.id) for t in wrt]


def _pull(graph: Graph, node: Node, slot: int, g: Tensor) -> Tensor | None:
    """What the cotangent ``g`` of ``node`` gives to its operand in ``slot``; None where that is zero by rule."""
    y, operands = graph.tensors[node.id], [graph.tensors[i] for i in node.inputs]
    rules = node.op.gradient
    if callable(rules):
        return rules(g, y, operands, slot)  # type: ignore[no-any-return]
    if not rules:
        raise GradientError(f"{node.op.name} has no derivative", node=node.name, origin=node.origin)
    rule = rules[slot]
    return None if rule is None else rule(g, y, *operands)
