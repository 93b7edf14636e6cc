"""Ops that derivatives alone see: the value is that of the first operand."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from graphc.errors import DTypeError, GradientError, ShapeError
from graphc.ir import dims
from graphc.ir.op import Attrs, Kind, Op, register
from graphc.ir.tensor import Tensor
from graphc.ir.types import TensorType, broadcast_shapes, is_float
from graphc.ops.apply import Operand, apply, cast, public, tensor
from graphc.ops.elementwise import clip, elementwise
from graphc.ops.reduce import sum as sum_
from graphc.ops.shape import filled

# ---- what comes back, changed

elementwise(
    "scale_gradient",
    2,
    "a",
    lambda a, b: a,
    (lambda g, y, a, b: g * b, None),
    floating=True,
    facts=("transparent",),
)
elementwise(
    "clip_gradient",
    3,
    "a",
    lambda a, b, c: a,
    (lambda g, y, a, b, c: clip(g, b, c), None, None),
    floating=True,
    facts=("transparent",),
)


@public
def scale_gradient(x: Tensor, scale: Operand) -> Tensor:
    """``x``, whose gradient is multiplied by ``scale``: a number, or a tensor that broadcasts to ``x``.

    With -1 this is the gradient reversal of Ganin and Lempitsky (2015). Forward mode multiplies alike.

    Shape and dtype are those of ``x``. Raises ShapeError where ``scale`` does not broadcast to ``x``, DTypeError where
    ``x`` is no float tensor.

    >>> import numpy as np
    >>> import graphc as gx
    >>> g = gx.Graph("scaled", float_dtype="float64")
    >>> x = g.input("x", (2,))
    >>> f = gx.compile([x], gx.grad(gx.sum(gx.scale_gradient(x, -0.5) ** 2), x))
    >>> f(np.array([1.0, 2.0])).tolist()
    [-1.0, -2.0]
    """
    return apply("scale_gradient", x, _beside(x, scale))


@public
def clip_gradient(x: Tensor, min: Operand = None, max: Operand = None) -> Tensor:
    """``x``, the elements of whose gradient are kept within bounds: numbers, or tensors that broadcast to ``x``.

    It has no forward mode, as what comes back is not linear. `graphc.optim` bounds the norm of all gradients at once.

    Shape and dtype are those of ``x``. Raises ShapeError where bounds do not broadcast to ``x``, DTypeError where ``x``
    is no float tensor.

    >>> import numpy as np
    >>> import graphc as gx
    >>> g = gx.Graph("clipped", float_dtype="float64")
    >>> x = g.input("x", (2,))
    >>> f = gx.compile([x], gx.grad(gx.sum(gx.clip_gradient(x, -1.0, 1.0) ** 2), x))
    >>> f(np.array([0.25, -2.0])).tolist()
    [0.5, -1.0]
    """
    low, high = (float("-inf") if min is None else min), (float("inf") if max is None else max)
    return apply("clip_gradient", x, _beside(x, low), _beside(x, high))


def _beside(x: Tensor, value: Operand) -> Tensor:
    if not is_float(x.dtype):
        raise DTypeError(f"expected a float tensor, found {x.type}; only those have gradients")
    given = tensor(value, x.graph, None if isinstance(value, Tensor) else x.dtype)
    if broadcast_shapes(given.shape, x.shape) != x.shape:
        raise ShapeError(f"{given.type} does not broadcast to {x.type}")
    return cast(given, x.dtype)


# ---- a value at a later time


elementwise(
    "after",  # the first operand, once the second, a scalar, is known: what is made of it is not made before
    2,
    "a",
    lambda a, b: a,
    (lambda g, y, a, b: g, None),
    facts=("linear", "waiting"),
)


def after(x: Tensor, event: Tensor) -> Tensor:
    """``x`` again, not before ``event`` is known, and apart from all that was made of ``x`` before.

    Passes do not merge what is made of the two.
    """
    first = event
    if event.ndim:
        some = tuple(min(s, 1) if isinstance(s, int) else dims.minimum(s, 1) for s in event.shape)
        corner = apply("slice", event, start=(0,) * event.ndim, step=(1,) * event.ndim, size=some)
        first = sum_(corner)
    return apply("after", x, cast(first, x.dtype))


# ---- a gradient of the user's

Backward = Callable[[list[Any], list[Tensor], list[Tensor]], Sequence[Any]]


def _joint(cotangents: Sequence[Tensor | None], results: Sequence[Tensor]) -> list[Tensor | None]:
    """Cotangents of all operands of a function whose gradient is given, from those of its results."""
    first = results[0]
    attrs, graph = first.attrs, first.graph
    count, held = attrs["outputs"], {r.attrs["result"]: (r, c) for r, c in zip(results, cotangents, strict=True)}
    values, inputs = first.inputs[1 : 1 + count], list(first.inputs[1 + count :])
    if attrs["rule"] >= len(graph.backward):
        text = "its gradient is a function that files and networkx do not hold; take derivatives before saving"
        raise GradientError(f"{first.name} has no derivative: {text}", node=first.name, origin=first.origin)
    outputs, given = [], []
    for k, value in enumerate(values):
        output, cotangent = held.get(k, (None, None))
        if output is None and is_float(value.dtype):
            output = graph.append(first.op, [value, *first.inputs[1:]], {**attrs, "result": k})
        outputs.append(value if output is None else output)
        zero = cotangent is None and is_float(value.dtype)
        given.append(filled(graph, 0, value.shape, value.dtype) if zero else cotangent)
    found = graph.backward[attrs["rule"]](given, inputs, outputs)
    return [None] * (1 + count) + list(found)


def _infer(types: Sequence[TensorType], attrs: Attrs) -> TensorType:
    if not 0 <= attrs["result"] < attrs["outputs"] < len(types) or types[0] != types[1 + attrs["result"]]:
        raise ShapeError(f"expected result {attrs['result']} of {attrs['outputs']} first, found {types[0]}")
    return types[0]


register(
    Op(
        "own_gradient",  # one for each result of a function: it, all results, and what they are made of
        Kind.COMPOSITE,
        None,
        _infer,
        lambda *operands, **attrs: operands[0],
        joint=_joint,
        lower=lambda attrs, *operands: operands[0],
        attrs=("rule", "result", "outputs"),
        facts=frozenset(("transparent",)),
    )
)


def own_gradient(outputs: Sequence[Tensor], inputs: Sequence[Tensor], backward: Backward) -> list[Tensor]:
    """``outputs``, whose derivatives by ``inputs`` ``backward`` tells, and nothing else."""
    graph = inputs[0].graph
    graph.backward.append(backward)
    attrs = {"rule": len(graph.backward) - 1, "outputs": len(outputs)}
    return [
        apply("own_gradient", y, *outputs, *inputs, result=k, **attrs) if is_float(y.dtype) else y
        for k, y in enumerate(outputs)
    ]


__all__ = ["after", "clip_gradient", "own_gradient", "scale_gradient"]
