"""Gradients that users give, and inner values that are computed again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any

from graphc.derive.reverse import accumulate
from graphc.derive.substitution import rebuilt
from graphc.derive.vectorise import OWN, Examples, Operand, vmap
from graphc.errors import GradientError, Origin, ShapeError, caller
from graphc.ir.graph import Graph, located
from graphc.ir.node import Node
from graphc.ir.op import Kind
from graphc.ir.tensor import Tensor
from graphc.ir.types import is_float
from graphc.ops.apply import graph_of
from graphc.ops.gradient import Backward, after, own_gradient
from graphc.ops.nest import flat
from graphc.ops.reduce import sum as sum_
from graphc.ops.signature import found, need_functions


def custom_gradient(f: Callable[..., Any], backward: Callable[..., Any]) -> Callable[..., Any]:
    """``f`` with derivatives that ``backward`` gives, in place of those of what ``f`` is made of.

    f         a function of tensors that returns a tensor, or a list, tuple or dict of tensors
    backward  ``backward(cotangents, inputs, outputs) -> cotangents``, all lists of tensors: for each float output the
              cotangent that arrives, of its shape (zeros where none does; None for other outputs), for each input that
              which it gets, of its shape, or None for 0. It may be called again for derivatives of higher order

    What ``f`` uses beside its arguments gets no gradient. `vmap` goes through; forward mode does where ``backward`` is
    linear in the cotangents. Files hold what was differentiated before, not ``backward`` itself.

    Calling the result raises GradientError where ``f`` returns anything else; ``backward`` is checked when it is
    called: GradientError for another number of cotangents, ShapeError for another shape.

    >>> import numpy as np
    >>> import graphc as gx
    >>> g = gx.Graph("straight through", float_dtype="float64")
    >>> x = g.input("x", (2,))
    >>> round_ = gx.custom_gradient(gx.round, lambda cotangents, inputs, outputs: cotangents)
    >>> y = round_(x)
    >>> f = gx.compile([x], [y, gx.grad(gx.sum(y * y), x)])
    >>> [v.tolist() for v in f(np.array([0.8, 2.1]))]
    [[1.0, 2.0], [2.0, 4.0]]
    """
    with located("custom_gradient", caller()):
        need_functions(GradientError, f=f, backward=backward)

    @wraps(f)
    def call(*inputs: Tensor) -> Any:
        origin = caller()
        with located("custom_gradient", origin):
            graph_of(inputs)
            for t in inputs:
                if not isinstance(t, Tensor):
                    raise GradientError(f"custom_gradient: expected tensors, found {found(t)}")
            outputs, pack = flat("what f returns", f(*inputs), GradientError)
            with inputs[0].graph.placed(origin, None):
                return pack(own_gradient(outputs, inputs, _checked(backward, origin)))

    return call


def _checked(backward: Callable[..., Any], origin: Origin) -> Backward:
    """``backward``, what it returns held to what was asked for."""

    def call(cotangents: list[Any], inputs: list[Tensor], outputs: list[Tensor]) -> Sequence[Any]:
        with located("backward", origin):
            made = backward(cotangents, inputs, outputs)
            back = [made] if isinstance(made, Tensor) else made
            if not isinstance(back, (list, tuple)) or len(back) != len(inputs):
                raise GradientError(f"backward must return a list of {len(inputs)} tensors, found {found(made)}")
            for t, x in zip(back, inputs, strict=True):
                if t is not None and not isinstance(t, Tensor):
                    raise GradientError(f"backward must return tensors or None, found {found(t)}", node=x.name)
                if t is not None and is_float(x.dtype) and t.type != x.type:
                    raise ShapeError(f"the cotangent of {x.name} must be {x.type}, found {t.type}", node=x.name)
            return back

    return call


def _for_examples(at: Examples, node: Node, operands: Sequence[Operand]) -> Tensor:
    """The gradient of many examples is that of each; an operand that they share gets the sum."""
    count = node.attrs["outputs"]
    inputs = operands[1 + count :]
    shared = tuple(many is None for _, many in inputs)
    values = [at.all(*o) for o in operands[: 1 + count]]
    others = [one if many is None else many for one, many in inputs]
    rule = at.graph.backward[node.attrs["rule"]]
    if rule is _again:  # it reads how outputs are made of inputs, and does so of those of all examples too
        return at.graph.append(node.op, [*values, *others], node.attrs)
    key = node.attrs["rule"], shared
    if key not in at.kept:
        axes = [None if s else 0 for s in shared]

        def backward(cotangents: list[Any], inputs: list[Tensor], outputs: list[Tensor]) -> Sequence[Any]:
            each = vmap(lambda c, i, o: list(rule(c, i, o)), (0, axes, 0))(cotangents, inputs, outputs)
            return [sum_(t, 0) if t is not None and s else t for t, s in zip(each, shared, strict=True)]

        at.graph.backward.append(backward)
        at.kept[key] = len(at.graph.backward) - 1
    return at.graph.append(node.op, [*values, *others], {**node.attrs, "rule": at.kept[key]})


OWN["own_gradient"] = _for_examples


def checkpoint(f: Callable[..., Any]) -> Callable[..., Any]:
    """``f``, whose inner values are not kept for the backward pass but computed again in it, from its arguments.

    This takes less memory and more time: values, and derivatives of any order, stay the same. ``f`` is a function of
    tensors that returns a tensor, or a list, tuple or dict of tensors. What it uses beside its arguments gets its
    gradient too; random numbers are drawn again, the same ones. Griewank and Walther, *Evaluating Derivatives*,
    chapter 12. ``compile(max_bytes=)`` chooses by itself what is computed again.

    Calling the result raises GradientError where ``f`` returns anything else.

    >>> import numpy as np
    >>> import graphc as gx
    >>> g = gx.Graph("again", float_dtype="float64")
    >>> x = g.input("x", ("n",))
    >>> y = gx.checkpoint(lambda t: gx.sin(gx.exp(t)))(x)
    >>> f = gx.compile([x], gx.grad(gx.sum(y), x))
    >>> f(np.array([0.0])).round(6).tolist()
    [0.540302]
    """
    with located("checkpoint", caller()):
        need_functions(GradientError, f=f)

    @wraps(f)
    def call(*inputs: Any) -> Any:
        origin = caller()
        with located("checkpoint", origin):
            given, unflatten = flat("the arguments of checkpoint", inputs, GradientError)
            graph = graph_of(given).open
            given = [graph.admit(t, "checkpoint") for t in given]
            mark = len(graph.nodes)
            outputs, pack = flat("what f returns", f(*unflatten(given)), GradientError)
            used = _used(graph, mark, given)
            with graph.placed(origin, None):
                return pack(own_gradient(outputs, [*given, *used], _again))

    return call


def _used(graph: Graph, mark: int, given: Sequence[Tensor]) -> list[Tensor]:
    """What nodes from ``mark`` on are made of beside what was given, constants apart.

    In the body of a loop, what is used for the first time is an input from then on.
    """
    read = dict.fromkeys(i for node in graph.nodes[mark:] for i in node.inputs)
    leaves = (i for i in read if i < mark or graph.nodes[i].op.kind is Kind.LEAF)
    known = {t.id for t in given}
    return [graph.tensors[i] for i in leaves if i not in known and graph.nodes[i].op.name != "constant"]


def _again(cotangents: list[Any], inputs: list[Tensor], outputs: list[Tensor]) -> Sequence[Any]:
    """The cotangents of a region's inputs, from inner values that are made again when its own cotangent is known."""
    graph = inputs[0].graph
    event = next(c for c in cotangents if c is not None)
    made = {}
    for t in inputs:
        held = t.op.kind is Kind.LEAF and t.op.name != "input" and is_float(t.dtype)  # weights are there anyway
        made[t.id] = t if held else after(t, event)
    values = [graph.tensors[y.inputs[0].id] if y.op.joint is not None else y for y in outputs]
    copies = rebuilt(graph, values, dict(made))
    pairs = [(y, c) for y, c in zip(copies, cotangents, strict=True) if c is not None]
    floats = {t.id: made[t.id] for t in inputs if is_float(t.dtype)}
    back = accumulate(graph, [y for y, _ in pairs], list(floats.values()), [c for _, c in pairs], within=True)
    found = dict(zip(floats, back, strict=True))
    return [found.pop(t.id, None) for t in inputs]  # what is given twice gets all at its first place


__all__ = ["checkpoint", "custom_gradient"]
