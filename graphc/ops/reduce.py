"""Reductions: elements along axes combined by an associative operation, and what is composed of them."""

from __future__ import annotations

import ast
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from graphc.errors import DTypeError, GraphError, ShapeError
from graphc.ir import dims
from graphc.ir.op import ADDITION, Attrs, Kind, Op, register
from graphc.ir.tensor import Tensor
from graphc.ir.types import DType, SizeCheck, TensorType, is_float, limits, normalize_axes, normalize_axis, shape_text
from graphc.ops.apply import apply, cast, public, size_node
from graphc.ops.shape import broadcast_to, expand_dims, iota, permute_dims, reshape, squeeze

Axis = int | Sequence[int] | None

DIRECT = 32  # factors whose products without one of them are taken one by one


def _reduced(x: TensorType, attrs: Attrs, dtype: DType) -> TensorType:
    axes, keepdims = attrs["axes"], attrs["keepdims"]
    if list(axes) != [a for a in range(x.ndim) if a in axes]:
        raise ShapeError(f"expected axes of {x} in order, found {axes}")
    shape = tuple(1 if a in axes else s for a, s in enumerate(x.shape) if keepdims or a not in axes)
    return TensorType(dtype, shape)


def _accumulator(dtype: DType) -> DType:
    """Sums and products of integers and bools are int64, as NumPy's."""
    return dtype if is_float(dtype) else np.dtype("int64")


def pairwise_sum(x: Any, axis: Sequence[int], keepdims: bool = False) -> Any:
    """`numpy.sum`, pairwise along every axis; NumPy itself adds up rows one after the other along an outer one."""
    axes = tuple(axis)
    kept = [a for a in range(x.ndim) if a not in axes]
    shape = [x.shape[a] for a in kept]
    flat = np.ascontiguousarray(np.transpose(x, (*kept, *axes))).reshape(*shape, math.prod(x.shape[a] for a in axes))
    out = np.sum(flat, axis=-1, dtype=_accumulator(x.dtype))
    return np.expand_dims(out, axes) if keepdims else out


def spread(g: Tensor, y: Tensor, x: Tensor) -> Tensor:
    """A value for each result of the reduction ``y``, at each element that it was folded from."""
    if not y.attrs["keepdims"]:
        g = expand_dims(g, y.attrs["axes"]) if y.attrs["axes"] else g
    return broadcast_to(g, x.shape)


def _extreme_gradient(g: Tensor, y: Tensor, x: Tensor) -> Tensor:
    """Each of k tied elements gets g / k, and all get NaN where the result is NaN."""
    from graphc.ops.elementwise import divide, equal, slope_at

    tied = cast(equal(x, spread(y, y, x)), x.dtype)
    count = apply("sum", tied, axes=y.attrs["axes"], keepdims=y.attrs["keepdims"])
    return spread(divide(g * slope_at(y), count), y, x)


def _beaten(a: Tensor, b: Tensor) -> tuple[Tensor, bool]:
    """Elements that are less, or are met by less, are not taken."""
    from graphc.ops.elementwise import less

    return less(a, b), False


def _prod_gradient(g: Tensor, y: Tensor, x: Tensor) -> Tensor:
    """The product of all other elements, without division, so that zeros are right to any order."""
    axes = y.attrs["axes"]
    keep = [a for a in range(x.ndim) if a not in axes]
    order = (*keep, *axes)
    count = dims.product(x.shape[a] for a in axes)
    flat = reshape(permute_dims(x, order), (*(x.shape[a] for a in keep), count))
    back = reshape(_others(flat), tuple(x.shape[a] for a in order))
    return spread(g, y, x) * permute_dims(back, tuple(int(a) for a in np.argsort(order)))


def _others(x: Tensor) -> Tensor:
    """For each element along the last axis the product of all others: those before it times those behind it."""
    from graphc.ops.cumulative import cumprod
    from graphc.ops.elementwise import equal, where

    count = x.shape[-1]
    if isinstance(count, int) and count <= DIRECT:
        i = iota(x.graph, count)
        itself = equal(expand_dims(i, 1), expand_dims(i, 0))
        return apply("prod", where(itself, 1, expand_dims(x, -2)), axes=(x.ndim,), keepdims=False)
    return cumprod(x, exclusive=True) * cumprod(x, reverse=True, exclusive=True)


def _infer_extreme(types: Sequence[TensorType], attrs: Attrs) -> TensorType:
    x = types[0]
    out = _reduced(x, attrs, x.dtype)
    for a in attrs["axes"]:
        if x.shape[a] == 0:
            raise ShapeError(f"axis {a} of {x} is empty and has no extreme element")
    return out


def _not_empty(types: Sequence[TensorType], attrs: Attrs) -> list[SizeCheck]:
    sizes = [types[0].shape[a] for a in attrs["axes"]]
    return [SizeCheck(s, 0, False, positive=True) for s in sizes if not isinstance(s, int)]


def _reduction(
    name: str,
    step: str,
    identity: Callable[[DType], Any],
    fold: Callable[..., Any],
    gradient: tuple[Any, ...] = (),
    infer: Callable[..., TensorType] = lambda types, attrs: _reduced(types[0], attrs, types[0].dtype),
    **fields: Any,
) -> None:
    """Registers a reduction over ``axes``.

    ``step`` says how an element joins those before it, as in "reduce_add(acc, a * a)": beside ``acc`` stands the map,
    and with ``a`` itself in its place, "reduce_add(acc, a)", it is what combines partial results.
    """

    def reference(x: Any, axes: Any, keepdims: Any) -> Any:
        return fold(x, axis=axes, keepdims=keepdims)

    map, combine = _parts(name, step)
    attrs = ("axes", "keepdims")
    record = {"map": map, "combine": combine, "identity": identity, "attrs": attrs, **fields}
    register(Op(name, Kind.REDUCTION, 1, infer, reference, gradient, **record))


def _parts(name: str, step: str) -> tuple[str, str]:
    """What a step makes of an element, and how it combines that with what there is.

    >>> _parts("sum of squares", "reduce_add(acc, a * a)")
    ('a * a', 'reduce_add(acc, a)')
    """
    match ast.parse(step, mode="eval").body:
        case ast.Call(function, [ast.Name("acc") as acc, mapped], []):
            return ast.unparse(mapped), ast.unparse(ast.Call(function, [acc, ast.Name("a")], []))
        case ast.BinOp(ast.Name("acc") as acc, ast.Add() | ast.Mult() | ast.BitAnd() | ast.BitOr() as op, mapped):
            return ast.unparse(mapped), ast.unparse(ast.BinOp(acc, op, ast.Name("a")))
    raise GraphError(f"op {name}: expected a step such as 'reduce_add(acc, a * a)' or 'acc | a', found {step!r}")


def _infer_sum(types: Sequence[TensorType], attrs: Attrs) -> TensorType:
    return _reduced(types[0], attrs, _accumulator(types[0].dtype))


def _infer_bool(types: Sequence[TensorType], attrs: Attrs) -> TensorType:
    return _reduced(types[0], attrs, np.dtype("bool"))


_reduction(
    "sum",
    "reduce_add(acc, a)",
    lambda dtype: 0,
    lambda x, **k: pairwise_sum(x, **k),
    (lambda g, y, x: spread(g, y, x),),
    _infer_sum,
)
_reduction(
    "prod",
    "reduce_mul(acc, a)",
    lambda dtype: 1,
    lambda x, **k: np.prod(x, dtype=_accumulator(x.dtype), **k),
    (_prod_gradient,),
    _infer_sum,
)
_reduction(
    "max",
    "maximum(acc, a)",
    lambda dtype: limits(dtype)[0],
    np.max,
    (_extreme_gradient,),
    _infer_extreme,
    checks=_not_empty,
    taken=(lambda y, x: _beaten(x, spread(y, y, x)),),
)
_reduction(
    "min",
    "minimum(acc, a)",
    lambda dtype: limits(dtype)[1],
    np.min,
    (_extreme_gradient,),
    _infer_extreme,
    checks=_not_empty,
    taken=(lambda y, x: _beaten(spread(y, y, x), x),),
)
_reduction(  # max, and of an empty axis the lowest value there is
    "supremum",
    "maximum(acc, a)",
    lambda dtype: limits(dtype)[0],
    lambda x, **k: np.max(x, initial=limits(x.dtype)[0], **k),
    (None,),
)
_reduction("any", "acc | a", lambda dtype: False, np.any, infer=_infer_bool)
_reduction("all", "acc & a", lambda dtype: True, np.all, infer=_infer_bool)


def _infer_sum_broadcast(types: Sequence[TensorType], attrs: Attrs) -> TensorType:
    x, shape = types[0], attrs["shape"]
    if attrs["operand_shape"] != x.shape:
        raise ShapeError(f"expected the shape of {x} as operand_shape, found {shape_text(attrs['operand_shape'])}")
    sizes = zip(shape, x.shape, strict=False)
    apart = [s for s, n in sizes if isinstance(s, int) and isinstance(n, int) and s not in (1, n)]
    if len(shape) != x.ndim or apart:
        raise ShapeError(f"cannot sum {x} to {shape_text(shape)}")
    return TensorType(x.dtype, shape)


def _sum_broadcast(x: Any, shape: Any, operand_shape: Any) -> Any:
    axes = tuple(a for a, (n, s) in enumerate(zip(x.shape, shape, strict=True)) if n != s)
    return pairwise_sum(x, axes, True)


register(
    Op(
        "sum_broadcast",  # sums the axes whose size in ``shape`` turns out to be 1
        Kind.REDUCTION,
        1,
        _infer_sum_broadcast,
        _sum_broadcast,
        (lambda g, y, x: broadcast_to(g, x.shape),),
        combine=ADDITION,
        identity=lambda dtype: 0,
        checks=lambda types, attrs: [
            SizeCheck(n, s, True) for n, s in zip(types[0].shape, attrs["shape"], strict=True) if s not in (1, n)
        ],
        attrs=("shape", "operand_shape"),
    )
)


def _apply(name: str, x: Tensor, axis: Axis, keepdims: bool) -> Tensor:
    axes = normalize_axes(axis, x.ndim, name)
    return apply(name, x, axes=axes, keepdims=bool(keepdims))


@public
def sum(x: Tensor, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """The sum over ``axis`` (all axes by default). Integers and bools give int64; an empty axis 0.

    ``axis`` is an int, several ints or None for all axes; these go, or are kept with size 1 by ``keepdims``. Floats
    keep their dtype. Raises ShapeError where an axis does not exist.

    >>> import graphc as gx
    >>> x = gx.Graph().input("x", (2, 3), "float64")
    >>> gx.compile([x], gx.sum(x, axis=1), backend="numpy")([[1, 2, 3], [4, 5, 6]]).tolist()
    [6.0, 15.0]
    """
    return _apply("sum", x, axis, keepdims)


@public
def prod(x: Tensor, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """The product over ``axis``. Its gradient does not divide, so zeros are right to any order.

    ``axis`` is an int, several ints or None for all axes; these go, or are kept with size 1 by ``keepdims``. Floats
    keep their dtype, integers and bools give int64. Raises ShapeError where an axis does not exist.

    >>> import graphc as gx
    >>> x = gx.Graph().input("x", (2, 3), "float64")
    >>> gx.compile([x], gx.prod(x, axis=1), backend="numpy")([[1, 2, 3], [4, 5, 6]]).tolist()
    [6.0, 120.0]
    """
    return _apply("prod", x, axis, keepdims)


@public
def max(x: Tensor, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """The largest element; NaN where there is one. The gradient is shared equally among ties.

    Raises ShapeError for an empty axis.

    ``axis`` is an int, several ints or None for all axes; these go, or are kept with size 1 by ``keepdims``. The dtype
    is that of ``x``.

    >>> import graphc as gx
    >>> x = gx.Graph().input("x", (2, 3), "float64")
    >>> gx.compile([x], gx.max(x, axis=0), backend="numpy")([[1, 5, 3], [4, 2, 6]]).tolist()
    [4.0, 5.0, 6.0]
    """
    return _apply("max", x, axis, keepdims)


@public
def min(x: Tensor, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """The smallest element; as `max` otherwise.

    The dtype is that of ``x``.

    >>> import graphc as gx
    >>> x = gx.Graph().input("x", (2, 3), "float64")
    >>> gx.compile([x], gx.min(x, axis=0), backend="numpy")([[1, 5, 3], [4, 2, 6]]).tolist()
    [1.0, 2.0, 3.0]
    """
    return _apply("min", x, axis, keepdims)


@public
def any(x: Tensor, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """True where any element is not zero.

    ``axis`` is an int, several ints or None for all axes; these go, or are kept with size 1 by ``keepdims``. A bool.
    Raises ShapeError where an axis does not exist.

    >>> import graphc as gx
    >>> x = gx.Graph().input("x", (2, 3), "float64")
    >>> gx.compile([x], gx.any(x, axis=1), backend="numpy")([[0, 0, 1], [0, 0, 0]]).tolist()
    [True, False]
    """
    return _apply("any", _truth(x), axis, keepdims)


@public
def all(x: Tensor, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """True where every element is not zero.

    ``axis`` is an int, several ints or None for all axes; these go, or are kept with size 1 by ``keepdims``. A bool.
    Raises ShapeError where an axis does not exist.

    >>> import graphc as gx
    >>> x = gx.Graph().input("x", (2, 3), "float64")
    >>> gx.compile([x], gx.all(x, axis=1), backend="numpy")([[1, 2, 3], [1, 0, 1]]).tolist()
    [True, False]
    """
    return _apply("all", _truth(x), axis, keepdims)


def _truth(x: Tensor) -> Tensor:
    from graphc.ops.elementwise import not_equal

    return x if x.dtype.kind == "b" else not_equal(x, 0)


def _count(x: Tensor, axes: Sequence[int], dtype: DType) -> Tensor:
    return cast(size_node(x.graph, dims.product(x.shape[a] for a in axes)), dtype)


@public
def mean(x: Tensor, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """The mean over ``axis``; a float, the graph's for integers.

    ``axis`` is an int, several ints or None for all axes; these go, or are kept with size 1 by ``keepdims``. Raises
    ShapeError where an axis does not exist.

    >>> import graphc as gx
    >>> x = gx.Graph().input("x", (2, 3), "float64")
    >>> gx.compile([x], gx.mean(x, axis=0), backend="numpy")([[1, 2, 3], [4, 5, 6]]).tolist()
    [2.5, 3.5, 4.5]
    """
    x = x if is_float(x.dtype) else cast(x, x.graph.float_dtype)
    return sum(x, axis, keepdims) / _count(x, normalize_axes(axis, x.ndim, "mean"), x.dtype)


@public
def var(x: Tensor, axis: Axis = None, keepdims: bool = False, ddof: int = 0) -> Tensor:
    """The variance over ``axis``: squared deviations from the mean over ``n - ddof``, which must be positive.

    ``axis`` is an int, several ints or None for all axes; these go, or are kept with size 1 by ``keepdims``. A float,
    the graph's for integers. Raises ShapeError where an axis does not exist.

    >>> import graphc as gx
    >>> x = gx.Graph().input("x", (2, 3), "float64")
    >>> gx.compile([x], gx.var(x, axis=1, ddof=1), backend="numpy")([[1, 2, 3], [4, 5, 6]]).tolist()
    [1.0, 1.0]
    """
    axes = normalize_axes(axis, x.ndim, "var")
    n = dims.product(x.shape[a] for a in axes)
    if isinstance(n, int) and n - ddof <= 0:
        raise ShapeError(f"the variance of {n} elements with ddof={ddof} is not defined")
    deviation = x - mean(x, axes, keepdims=True)
    total = sum(deviation * deviation, axes, keepdims)
    return total / cast(size_node(x.graph, n - ddof), total.dtype)


@public
def std(x: Tensor, axis: Axis = None, keepdims: bool = False, ddof: int = 0) -> Tensor:
    """The standard deviation, as `var`; its gradient is 0 where it is 0.

    >>> import graphc as gx
    >>> x = gx.Graph().input("x", (2, 3), "float64")
    >>> gx.compile([x], gx.std(x, axis=1, ddof=1), backend="numpy")([[1, 2, 3], [4, 5, 6]]).tolist()
    [1.0, 1.0]
    """
    return _root(var(x, axis, keepdims, ddof))


def _root(square: Tensor) -> Tensor:
    """sqrt with gradient 0 at 0."""
    from graphc.ops.elementwise import equal, where
    from graphc.ops.functions import sqrt

    return where(equal(square, 0), 0, sqrt(square))


# Sums of squares above the first are of numbers that the second is to multiply; those below the third, the fourth
SQUARES = {"float32": (2.0**90, 2.0**-80, 2.0**-80, 2.0**80), "float64": (2.0**900, 2.0**-600, 2.0**-800, 2.0**700)}


def range_scale(squares: Tensor) -> Tensor:
    """A power of two by which to multiply numbers whose sum of squares is given, so that their squares are in range."""
    from graphc.ops.elementwise import greater, less, stop_gradient, where

    above, down, below, up = SQUARES[squares.dtype.name]
    one = squares.graph.constant(1.0, squares.dtype)
    return stop_gradient(where(greater(squares, above), down, where(less(squares, below), up, one)))


@public
def norm(x: Tensor, ord: float = 2, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """The vector norm of order 1, 2 or inf over ``axis``; the 2-norm has gradient 0 at 0.

    The 2-norm and its derivatives are right for elements of any size, whether their squares are in range or not.

    ``axis`` is an int, several ints or None for all axes; these go, or are kept with size 1 by ``keepdims``. A float,
    the graph's for integers. Raises ShapeError where an axis does not exist, DTypeError for another order.

    >>> import graphc as gx
    >>> x = gx.Graph().input("x", (2,), "float64")
    >>> gx.compile([x], gx.norm(x), backend="numpy")([3, 4]).tolist()
    5.0
    """
    if ord == 1:
        return sum(abs(x), axis, keepdims)
    if ord == 2 and is_float(x.dtype):
        axes = normalize_axes(axis, x.ndim, "norm")
        scale = range_scale(sum(x * x, axes, keepdims=True))
        scaled = x * scale
        return _root(sum(scaled * scaled, axes, keepdims)) / (scale if keepdims else squeeze(scale, axes))
    if ord == 2:
        return _root(sum(x * x, axis, keepdims))
    if ord == float("inf"):
        return max(abs(x), axis, keepdims)
    raise DTypeError(f"norm: ord must be 1, 2 or inf, found {ord!r}")


@public
def count_nonzero(x: Tensor, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """How many elements are not zero, int64.

    ``axis`` is an int, several ints or None for all axes; these go, or are kept with size 1 by ``keepdims``. Raises
    ShapeError where an axis does not exist.

    >>> import graphc as gx
    >>> x = gx.Graph().input("x", (2, 3), "float64")
    >>> gx.compile([x], gx.count_nonzero(x, axis=1), backend="numpy")([[0, 2, 3], [0, 0, 6]]).tolist()
    [2, 1]
    """
    return sum(_truth(x), axis, keepdims)


def _arg(extreme: Callable[..., Tensor], x: Tensor, axis: int | None, keepdims: bool) -> Tensor:
    """The first index of the extreme element, NaN counting as extreme: the least index where it is met."""
    from graphc.ops.elementwise import equal, logical_or, not_equal, where

    if axis is None:
        flat = reshape(x, (x.size,))
        found = _arg(extreme, flat, 0, False)
        return reshape(found, (1,) * x.ndim) if keepdims else found
    a = normalize_axis(axis, x.ndim, "argmax")
    met = equal(x, extreme(x, a, keepdims=True))
    if is_float(x.dtype):
        met = logical_or(met, not_equal(x, x))
    n = x.shape[a]
    index = reshape(iota(x.graph, n), tuple(n if k == a else 1 for k in range(x.ndim)))
    return min(where(met, index, np.iinfo(np.int64).max), a, keepdims)


@public
def argmax(x: Tensor, axis: int | None = None, keepdims: bool = False) -> Tensor:
    """The index of the largest element along ``axis`` (of all, flattened, by default), int64; the first of ties.

    Raises ShapeError where the axis does not exist or is empty.

    >>> import graphc as gx
    >>> x = gx.Graph().input("x", (2, 3), "float64")
    >>> gx.compile([x], gx.argmax(x, axis=1), backend="numpy")([[1, 5, 3], [4, 2, 6]]).tolist()
    [1, 2]
    """
    return _arg(max, x, axis, keepdims)


@public
def argmin(x: Tensor, axis: int | None = None, keepdims: bool = False) -> Tensor:
    """The index of the smallest element, as `argmax`.

    >>> import graphc as gx
    >>> x = gx.Graph().input("x", (2, 3), "float64")
    >>> gx.compile([x], gx.argmin(x, axis=1), backend="numpy")([[1, 5, 3], [4, 2, 6]]).tolist()
    [0, 1]
    """
    return _arg(min, x, axis, keepdims)
