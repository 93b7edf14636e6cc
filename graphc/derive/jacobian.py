"""Whole matrices of derivatives: products with all unit vectors, as examples of one product."""

from __future__ import annotations

from graphc.derive.diagonal import Diagonal
from graphc.derive.forward import push, scalar
from graphc.derive.reverse import accumulate, differentiable, disconnected, within
from graphc.derive.vectorise import Examples
from graphc.errors import GradientError, caller, did_you_mean
from graphc.ir import dims
from graphc.ir.dims import Size
from graphc.ir.graph import located
from graphc.ir.tensor import Tensor
from graphc.ir.trace import tracing
from graphc.ops.apply import tensor
from graphc.ops.shape import broadcast_to, moveaxis, reshape

MODES = ("auto", "forward", "reverse")


def jacobian(y: Tensor, x: Tensor, *, mode: str = "auto") -> Tensor:
    """All derivatives of the elements of ``y`` by those of ``x``: shape ``y.shape + x.shape``, the dtype of ``y``.

    ``mode`` "reverse" makes a row for each element of ``y`` at once, "forward" a column for each of ``x``; "auto"
    takes what makes fewer. Sizes may be symbolic. Griewank and Walther, *Evaluating Derivatives*, chapter 3.

    Raises GradientError for anything but two float tensors, and where ``y`` does not depend on ``x``.

    >>> import numpy as np
    >>> import graphc as gx
    >>> g = gx.Graph("polar", float_dtype="float64")
    >>> p = g.input("p", (2,))
    >>> at = gx.stack([p[0] * gx.cos(p[1]), p[0] * gx.sin(p[1])])
    >>> gx.compile([p], gx.jacobian(at, p))(np.array([2.0, 0.0])).tolist()
    [[1.0, 0.0], [0.0, 2.0]]
    """
    origin = caller()
    with located("jacobian", origin):
        if not isinstance(mode, str) or mode not in MODES:
            words = '", "'.join(MODES)
            raise GradientError(f'mode must be "{words}", found {mode!r}{did_you_mean(str(mode), MODES)}')
        _two(y, x)
        forward = mode == "forward" or (mode == "auto" and _fewer(x.size, y.size))
        with within([y], [x]) as ((y,), (x,)), y.graph.placed(origin, y.name):
            rows = _columns(y, x) if forward else _rows(y, x)
            return reshape(moveaxis(rows, 0, -1) if forward else rows, (*y.shape, *x.shape))


def hessian(y: Tensor, x: Tensor) -> Tensor:
    """All second derivatives of a scalar ``y`` by the elements of ``x``: shape ``x.shape + x.shape``, symmetric.

    Forward mode over the gradient. `hvp` gives a product with this matrix at a small part of its cost, and
    `sparse_hessian` the elements that are not always 0.

    Raises GradientError for anything but float tensors, for a ``y`` that is not a scalar, and where it does not depend
    on ``x``.

    >>> import numpy as np
    >>> import graphc as gx
    >>> g = gx.Graph("bowl", float_dtype="float64")
    >>> x = g.input("x", (2,))
    >>> gx.compile([x], gx.hessian(x[0] ** 2 * x[1], x))(np.array([3.0, 4.0])).tolist()
    [[8.0, 6.0], [6.0, 0.0]]
    """
    origin = caller()
    with located("hessian", origin):
        _two(scalar(y), x)
        with within([y], [x]) as ((y,), (x,)), y.graph.placed(origin, y.name):
            graph = y.graph
            (slope,) = accumulate(graph, [y], [x], [graph.constant(1.0, y.dtype)])
            if slope is None:
                raise disconnected([y], x, ", so all derivatives are 0")
            return reshape(_columns(slope, x, linear=True), (*x.shape, *x.shape))


def _two(y: Tensor, x: Tensor) -> None:
    for t in (y, x):
        if not isinstance(t, Tensor):
            raise GradientError(f"expected a tensor, found {t!r}")
    differentiable(y, x)


def _fewer(columns: Size, rows: Size) -> bool:
    """Whether forward mode makes fewer products; of sizes that cannot be compared the known one is taken as fewer."""
    if dims.at_most(rows, columns):
        return False
    return dims.at_most(columns, rows) or (isinstance(columns, int) and not isinstance(rows, int))


def _rows(y: Tensor, x: Tensor) -> Tensor:
    """The derivatives of each element of ``y``, flat: reverse mode."""
    one = tensor(1.0, y.graph, y.dtype)
    with tracing(y.graph, "jacobian") as trace:
        seed = trace.stand_in(y.type, y.origin)
        (row,) = accumulate(y.graph, [y], [x], [seed])
        if row is None:
            raise disconnected([y], x, ", so all derivatives are 0")
        (made,) = Examples(y.graph, y.size).through(trace, {seed.id: Diagonal.seeds(one, y.shape)}, [row])
    return broadcast_to(row, (y.size, *x.shape)) if made is None else made


def _columns(y: Tensor, x: Tensor, linear: bool = False) -> Tensor:
    """The derivatives of ``y`` by each element of ``x``, flat: forward mode. A ``y`` that is ``linear`` has zeros."""
    one = tensor(1.0, x.graph, x.dtype)
    with tracing(y.graph, "jacobian") as trace:
        along = trace.stand_in(x.type, x.origin)
        (column,) = push([y], [x], [along])
        if column is None and not linear:
            raise disconnected([y], x, ", so all derivatives are 0")
        if column is None:
            column = broadcast_to(tensor(0.0, y.graph, y.dtype), y.shape)
        (made,) = Examples(y.graph, x.size).through(trace, {along.id: Diagonal.seeds(one, x.shape)}, [column])
    return broadcast_to(column, (x.size, *y.shape)) if made is None else made


__all__ = ["hessian", "jacobian"]
