"""Tensors made from nothing: constants and indices in shapes whose sizes may be symbolic.

A graph is known from a tensor among the arguments; where there is none, it is given: ``gx.zeros((3, "n"), graph=g)``,
or ``g.zeros((3, "n"))``, which is the same.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from graphc.errors import DTypeError, GraphError, ShapeError
from graphc.ir import dims
from graphc.ir.dims import Size
from graphc.ir.graph import Graph
from graphc.ir.tensor import Tensor
from graphc.ir.types import INT64, DType, dtype_of, is_float
from graphc.ops.apply import (
    Operand,
    apply,
    cast,
    common_dtype,
    graph_of,
    public,
    size_node,
    tensor,
)
from graphc.ops.elementwise import add, equal, greater_equal, less, multiply, subtract, where
from graphc.ops.shape import broadcast_to, expand_dims, filled, iota


def _graph(graph: Graph | None, name: str, *operands: Operand) -> Graph:
    """The graph that is given, or that of a tensor among the operands."""
    if graph is not None and not isinstance(graph, Graph):
        raise GraphError(f"graph must be a graph, found {graph!r}")
    if any(isinstance(o, Tensor) for o in operands):
        found = graph_of(operands)
        if graph is not None and found is not graph:
            raise GraphError(f"graph is {graph.name!r}, but operands are of {found.name!r}")
        return found
    if graph is None:
        raise GraphError(f"nothing says which graph it is for; write g.{name}(...), or pass graph=g")
    return graph


def _size(graph: Graph, size: Any) -> Size:
    return graph.shape((size,))[0]


@public
def full(shape: Sequence[Any], fill: Operand, dtype: Any = None, *, graph: Graph | None = None) -> Tensor:
    """``fill`` in every place of a shape: a number, or a tensor that broadcasts to it.

    The dtype is by default that of a tensor or array, the graph's float of a float, int64 of an int. Raises ShapeError
    where ``fill`` does not broadcast, GraphError where nothing says which graph it is for.

    >>> from graphc.ir.graph import Graph
    >>> full((2, "n"), 0.5, graph=Graph("g"))
    <Tensor broadcast_to_1: float32[2, n]>
    """
    graph = _graph(graph, "full", fill)
    value = tensor(fill, graph)
    return broadcast_to(value if dtype is None else cast(value, dtype_of(dtype)), graph.shape(_listed(shape)))


def _listed(shape: Any) -> Any:
    """A shape; one size alone is the shape of one axis, as NumPy has it."""
    return (shape,) if isinstance(shape, (str, int, np.integer, dims.Dim)) else shape


@public
def zeros(shape: Sequence[Any], dtype: Any = None, *, graph: Graph | None = None) -> Tensor:
    """Zeros, of the graph's float by default.

    Raises GraphError where ``graph`` is not given: ``g.zeros(shape)`` is the same.

    >>> from graphc.ir.graph import Graph
    >>> Graph("g").zeros(("n", 3)).shape
    (n, 3)
    """
    return _number(shape, 0, dtype, _graph(graph, "zeros"))


@public
def ones(shape: Sequence[Any], dtype: Any = None, *, graph: Graph | None = None) -> Tensor:
    """Ones, of the graph's float by default; as `zeros` otherwise.

    >>> import graphc as gx
    >>> gx.ones(("n", 3), graph=gx.Graph()).shape
    (n, 3)
    """
    return _number(shape, 1, dtype, _graph(graph, "ones"))


def _number(shape: Any, value: int, dtype: Any, graph: Graph) -> Tensor:
    kind = graph.float_dtype if dtype is None else dtype_of(dtype)
    return broadcast_to(graph.constant(value, kind), graph.shape(_listed(shape)))


@public
def full_like(x: Tensor, fill: float, dtype: Any = None) -> Tensor:
    """A number in the shape of ``x``, and in its dtype unless another is given.

    Raises DTypeError for a float in an integer's dtype: give the dtype that is meant.

    >>> import graphc as gx
    >>> x = gx.Graph().input("x", ("n", 3))
    >>> str(gx.full_like(x, 7.0).type)
    'float32[n, 3]'
    """
    kind = x.dtype if dtype is None else dtype_of(dtype)
    if dtype is None and not is_float(kind) and isinstance(fill, (float, np.floating)):
        raise DTypeError(f"{fill} does not fit in {kind}; pass dtype=")
    return _like(x, fill, kind)


def _like(x: Tensor, fill: float, dtype: Any) -> Tensor:
    kind = x.dtype if dtype is None else dtype_of(dtype)
    if not is_float(kind) and float(fill) != fill:  # an int that no float is
        return filled(x.graph, fill, x.shape, kind)
    return apply("full_like", x if kind == x.dtype else cast(x, kind), fill=float(fill))


@public
def zeros_like(x: Tensor, dtype: Any = None) -> Tensor:
    """Zeros in the shape of ``x``, and in its dtype unless another is given.

    Raises DTypeError for a dtype that is not known.

    >>> import graphc as gx
    >>> x = gx.Graph().input("x", ("n", 3))
    >>> str(gx.zeros_like(x, "int64").type)
    'int64[n, 3]'
    """
    return _like(x, 0, dtype)


@public
def ones_like(x: Tensor, dtype: Any = None) -> Tensor:
    """Ones in the shape of ``x``, and in its dtype unless another is given.

    Raises DTypeError for a dtype that is not known.

    >>> import graphc as gx
    >>> x = gx.Graph().input("x", ("n", 3))
    >>> str(gx.ones_like(x).type)
    'float32[n, 3]'
    """
    return _like(x, 1, dtype)


@public
def eye(n: Size, m: Size | None = None, k: int = 0, dtype: Any = None, *, graph: Graph | None = None) -> Tensor:
    """``n`` rows and ``m`` columns (as many by default) of zeros with ones on a diagonal, ``k`` to the right.

    The graph's float by default. Raises ShapeError for a size that is none, GraphError where ``graph`` is not given.

    >>> from graphc.ir.graph import Graph
    >>> Graph("g").eye("n").shape
    (n, n)
    """
    return _band(equal, n, m, k, dtype, _graph(graph, "eye"))


@public
def tri(n: Size, m: Size | None = None, k: int = 0, dtype: Any = None, *, graph: Graph | None = None) -> Tensor:
    """As `eye`, with ones below the diagonal too.

    >>> import graphc as gx
    >>> g = gx.Graph()
    >>> gx.compile([], gx.tri(3, graph=g), backend="numpy")().tolist()
    [[1.0, 0.0, 0.0], [1.0, 1.0, 0.0], [1.0, 1.0, 1.0]]
    """
    return _band(greater_equal, n, m, k, dtype, _graph(graph, "tri"))


def _band(test: Any, n: Any, m: Any, k: int, dtype: Any, graph: Graph) -> Tensor:
    rows, columns = _size(graph, n), _size(graph, n if m is None else m)
    met = band(graph, test, rows, columns, k)
    return cast(met, graph.float_dtype if dtype is None else dtype_of(dtype))


def band(graph: Graph, test: Any, rows: Size, columns: Size, k: int) -> Tensor:
    """True where ``test(row + k, column)`` holds."""
    return test(add(expand_dims(iota(graph, rows), 1), k), expand_dims(iota(graph, columns), 0))  # type: ignore[no-any-return]


@public
def arange(
    start: float | str,
    stop: float | str | None = None,
    step: float = 1,
    dtype: Any = None,
    *,
    graph: Graph | None = None,
) -> Tensor:
    """Numbers from ``start`` (0 where only one bound is given) up to, but without, ``stop``.

    Bounds are numbers or, with an int as step, symbolic sizes: the number of elements is known before the call. The
    dtype is int64 where all are ints or sizes, else the graph's float. Raises ShapeError for a step of 0, DTypeError
    for tensors: multiply what ``arange(n)`` gives.

    >>> from graphc.ir.graph import Graph
    >>> g = Graph("g")
    >>> g.arange("n").shape, g.arange(1, 2, 0.25).shape
    ((n,), (4,))
    """
    given = [start] if stop is None else [start, stop]
    for value in (*given, step):
        if isinstance(value, bool) or not isinstance(value, (int, float, str, np.integer, np.floating, dims.Dim)):
            raise DTypeError(f"bounds and step must be numbers or sizes, found {value!r}; scale what arange(n) gives")
    graph = _graph(graph, "arange")
    bounds = [_size(graph, v) if isinstance(v, str) else v for v in given]
    first, last = bounds if len(bounds) == 2 else (0, bounds[0])
    if step == 0:
        raise ShapeError("the step must not be 0")
    whole = not any(isinstance(v, (float, np.floating)) for v in (first, last, step))
    kind = (INT64 if whole else graph.float_dtype) if dtype is None else dtype_of(dtype)
    count = _steps(first, last, step)
    if whole:
        return cast(_ramp(graph, count, first, step), kind)
    inner = graph.float_dtype if not is_float(kind) else kind
    index = iota(graph, count, inner)
    return cast(add(multiply(index, float(step)), float(first)), kind)


def _steps(first: Any, last: Any, step: Any) -> Size:
    """How many steps lead from ``first`` to below ``last``."""
    if not any(isinstance(v, dims.Dim) for v in (first, last, step)):
        if not all(math.isfinite(v) for v in (first, last, step)):
            raise ShapeError(f"expected finite bounds and step, found {first}, {last} and {step}")
        steps: int = math.ceil((last - first) / step)
        return max(0, steps)
    if any(isinstance(v, (float, np.floating)) for v in (first, last)) or not isinstance(step, (int, np.integer)):
        raise ShapeError(f"beside a symbolic size bounds are ints or sizes, and the step an int; found {step!r}")
    width: Size = last - first if step > 0 else first - last
    return dims.floor_divide(dims.maximum(width, 0) + (abs(int(step)) - 1), abs(int(step)))


def _ramp(graph: Graph, count: Size, first: Any, step: Any) -> Tensor:
    out = iota(graph, count)
    out = out if step == 1 else multiply(out, int(step))
    if isinstance(first, dims.Dim):
        return add(out, size_node(graph, first))
    return out if first == 0 else add(out, int(first))


@public
def linspace(
    start: Operand,
    stop: Operand,
    num: Size = 50,
    endpoint: bool = True,
    dtype: Any = None,
    *,
    graph: Graph | None = None,
) -> Tensor:
    """``num`` numbers at equal distances along a new first axis, from ``start`` to ``stop``, both exactly.

    Without ``endpoint`` the last is one distance before ``stop``. Bounds are numbers, arrays or tensors that broadcast,
    and get gradients; the dtype is a float, by default that in which they meet.

    Raises ShapeError where ``num`` is no size, GraphError where there is neither a tensor nor ``graph``.

    >>> from graphc.ir.graph import Graph
    >>> Graph("g").linspace(0, 1, "n").shape
    (n,)
    """
    graph = _graph(graph, "linspace", start, stop)
    count = _size(graph, num)
    kind: DType = _float(start, stop, graph) if dtype is None else dtype_of(dtype)
    if not is_float(kind):
        raise DTypeError(f"expected a float dtype, found {kind}")
    first, last = (cast(tensor(v, graph, None if isinstance(v, Tensor) else kind), kind) for v in (start, stop))
    parts = dims.maximum(count - 1 if endpoint else count, 1)
    ndim = max(first.ndim, last.ndim)
    index = iota(graph, count)
    index = expand_dims(index, tuple(range(1, ndim + 1))) if ndim else index
    whole = size_node(graph, parts)
    distance = subtract(last, first) / cast(whole, kind)
    near = less(multiply(index, 2), whole)  # counted from the nearer end, so that both are exact
    up = add(first, multiply(cast(index, kind), distance))
    down = subtract(last, multiply(cast(subtract(whole, index), kind), distance))
    return where(near, up, down)


def _float(start: Operand, stop: Operand, graph: Graph) -> DType:
    tensors = [v for v in (start, stop) if isinstance(v, Tensor)]
    return common_dtype((start, stop), graph, floating=True) if tensors else graph.float_dtype
