"""Elementwise arithmetic, comparison and selection.

Gradient rules are formulas in the cotangent g, the result y and the operands a, b; the walker sums broadcasting back.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from graphc.errors import DTypeError, InputIndexError
from graphc.ir.op import Attrs, Kind, Op, register
from graphc.ir.tensor import Tensor
from graphc.ir.types import (
    BOOL,
    INT32,
    INT64,
    DType,
    TensorType,
    broadcast_checks,
    broadcast_shapes,
    dtype_of,
    is_float,
    is_integer,
    limits,
)
from graphc.ops.apply import Operand, apply, cast, common_dtype, graph_of, promoted, public, tensor

Types = Sequence[TensorType]


def elementwise(
    name: str,
    arity: int,
    code: str | Callable[..., str],
    reference: Callable[..., Any],
    gradient: tuple[Any, ...] = (),
    dtype: DType | None = None,
    floating: bool = False,
    facts: Sequence[str] = (),
    attrs: Sequence[str] = (),
    taken: tuple[Any, ...] = (),
) -> None:
    """Registers an elementwise op; its result has its operands' dtype, or ``dtype``."""

    def infer(types: Types, _: Attrs) -> TensorType:
        found = {t.dtype for t in types}
        if len(found) != 1:
            raise DTypeError(f"expected operands of one dtype, found {' and '.join(map(str, types))}")
        if floating and not is_float(types[0].dtype):
            raise DTypeError(f"expected a float, found {types[0]}")
        return TensorType(dtype or types[0].dtype, broadcast_shapes(*(t.shape for t in types)))

    register(
        Op(
            name,
            Kind.ELEMENTWISE,
            arity,
            infer,
            reference,
            gradient,
            code,
            checks=_checks,
            attrs=tuple(attrs),
            taken=taken,
            facts=frozenset(facts),
        )
    )


def _checks(types: Types, attrs: Attrs) -> list[Any]:
    return broadcast_checks([t.shape for t in types])


# ---- arithmetic: name, operands, code, NumPy, gradient

elementwise(
    "add",
    2,
    "a + b",
    np.add,
    (lambda g, y, a, b: g, lambda g, y, a, b: g),
    facts=("commutative", "linear"),
)
elementwise(
    "subtract",
    2,
    "a - b",
    np.subtract,
    (lambda g, y, a, b: g, lambda g, y, a, b: -g),
    facts=("linear",),
)
elementwise(
    "multiply",
    2,
    "a * b",
    np.multiply,
    (lambda g, y, a, b: g * b, lambda g, y, a, b: g * a),
    facts=("commutative",),
)
elementwise(
    "divide",
    2,
    "a / b",
    np.divide,
    (lambda g, y, a, b: g / b, lambda g, y, a, b: -g * (y / b)),
    floating=True,
)
elementwise("neg", 1, "-a", np.negative, (lambda g, y, a: -g,), facts=("linear",))
elementwise("identity", 1, "a", lambda a: a, (lambda g, y, a: g,), facts=("linear", "transparent"))
elementwise("stop_gradient", 1, "a", lambda a: a, (None,), facts=("transparent",))
elementwise("abs", 1, "fabs(a)", np.abs, (lambda g, y, a: g * sign(a),))
elementwise("sign", 1, "sign(a)", np.sign, (lambda g, y, a: None,))
elementwise("floor_divide", 2, "floor_divide(a, b)", np.floor_divide, (None, None))
elementwise(
    "remainder",
    2,
    "remainder(a, b)",
    np.remainder,
    (lambda g, y, a, b: g, lambda g, y, a, b: -g * stop_gradient(floor_divide(a, b))),
)
elementwise(
    "maximum",
    2,
    "maximum(a, b)",
    np.maximum,
    (lambda g, y, a, b: g * _share(y, a, b),) * 2,
    facts=("commutative",),
    taken=(lambda y, a, b: (less(a, b), False), lambda y, a, b: (less(b, a), False)),
)
elementwise(
    "minimum",
    2,
    "minimum(a, b)",
    np.minimum,
    (lambda g, y, a, b: g * _share(y, a, b),) * 2,
    facts=("commutative",),
    taken=(lambda y, a, b: (less(b, a), False), lambda y, a, b: (less(a, b), False)),
)
elementwise(
    "fmax",
    2,
    "fmax(a, b)",
    np.fmax,
    (lambda g, y, a, b: g * where(equal(a, b), tensor(0.5, y.graph, y.dtype), 1),) * 2,
    taken=(lambda y, a, b: (equal(y, a), True), lambda y, a, b: (equal(y, b), True)),
)
elementwise(
    "fmin",
    2,
    "fmin(a, b)",
    np.fmin,
    (lambda g, y, a, b: g * where(equal(a, b), tensor(0.5, y.graph, y.dtype), 1),) * 2,
    taken=(lambda y, a, b: (equal(y, a), True), lambda y, a, b: (equal(y, b), True)),
)
elementwise(
    "copysign",
    2,
    "copysign(a, b)",
    np.copysign,
    (lambda g, y, a, b: where(equal(a, y), g, -g), None),
    floating=True,
    facts=("linear",),
)


elementwise(
    "clip",
    3,
    "minimum(maximum(a, b), c)",
    lambda a, b, c: np.minimum(np.maximum(a, b), c),
    (lambda g, y, a, b, c: g * slope_at(y),) * 3,
    taken=(
        lambda y, a, b, c: (logical_or(less(a, y), less(y, a)), False),  # a bound that is met takes nothing
        lambda y, a, b, c: (logical_and(equal(y, y), logical_or(less_equal(b, a), not_equal(b, y))), False),
        lambda y, a, b, c: (logical_and(equal(y, y), less_equal(maximum(a, b), c)), False),
    ),
)


def _lerp(a: Any, b: Any, w: Any) -> Any:
    apart = b - a
    from_nearer = np.where(w < 0.5, a + w * apart, b - (1 - w) * apart)
    return np.where(np.isfinite(apart), from_nearer, w * b + (1 - w) * a)


elementwise(
    "lerp",
    3,
    "lerp(a, b, c)",
    _lerp,
    (lambda g, y, a, b, w: g * (1 - w), lambda g, y, a, b, w: g * w, lambda g, y, a, b, w: g * (b - a)),
    floating=True,
)


def slope_at(y: Tensor, slope: Operand = 1) -> Tensor:
    """``slope``, and NaN where ``y`` is: the derivative of a function with kinks whose NaN is handed on."""
    return where(equal(y, y), tensor(slope, y.graph, y.dtype), float("nan"))


def _share(y: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """The slope of an operand that is the result ``y``, one half at a tie."""
    return where(equal(a, b), 0.5, slope_at(y))


# ---- comparison, logic

for _name, _sign, _f in (
    ("equal", "==", np.equal),
    ("not_equal", "!=", np.not_equal),
    ("less", "<", np.less),
    ("less_equal", "<=", np.less_equal),
    ("greater", ">", np.greater),
    ("greater_equal", ">=", np.greater_equal),
):
    elementwise(_name, 2, f"a {_sign} b", _f, dtype=BOOL)
elementwise("logical_and", 2, "a & b", np.logical_and, facts=("commutative",))
elementwise("logical_or", 2, "a | b", np.logical_or, facts=("commutative",))
elementwise("logical_xor", 2, "a ^ b", np.logical_xor, facts=("commutative",))
elementwise("logical_not", 1, "not a", np.logical_not)
elementwise("isnan", 1, "a != a", np.isnan, dtype=BOOL)
elementwise("isinf", 1, "isinf(a)", np.isinf, dtype=BOOL)
elementwise("isfinite", 1, "isfinite(a)", np.isfinite, dtype=BOOL)


# ---- astype, where, checked_index


def _cast_code(out: TensorType, types: Types, attrs: Attrs) -> str:
    if out.dtype == BOOL:
        return "a != {in_dtype}(0)" if types[0].dtype != BOOL else "a"
    if is_float(types[0].dtype) and is_integer(out.dtype):
        return "to_int64(a)" if out.dtype == INT64 else "{dtype}(to_int32(a))"
    return "{dtype}(a)"


def _cast_reference(a: Any, dtype: str) -> Any:
    """NumPy's, and what x86-64 gives where NumPy leaves it open: see `astype`."""
    a, out = np.asarray(a), np.dtype(dtype)
    with np.errstate(invalid="ignore", over="ignore"):
        if is_float(a.dtype) and is_integer(out):
            whole = INT64 if out == INT64 else INT32
            limit = a.dtype.type(2.0 ** (8 * whole.itemsize - 1))
            a = np.where(np.abs(a) < limit, a, -limit).astype(whole)
        return a.astype(out)


register(
    Op(
        "astype",
        Kind.ELEMENTWISE,
        1,
        lambda types, attrs: TensorType(dtype_of(attrs["dtype"]), types[0].shape),
        _cast_reference,
        (lambda g, y, a: cast(g, a.dtype),),
        _cast_code,
        attrs=("dtype",),
        facts=frozenset(("linear",)),
    )
)


def _infer_where(types: Types, attrs: Attrs) -> TensorType:
    if types[0].dtype != BOOL or types[1].dtype != types[2].dtype:
        raise DTypeError(f"expected bool and two operands of one dtype, found {', '.join(map(str, types))}")
    return TensorType(types[1].dtype, broadcast_shapes(*(t.shape for t in types)))


register(
    Op(
        "where",
        Kind.ELEMENTWISE,
        3,
        _infer_where,
        np.where,
        (None, lambda g, y, c, a, b: g, lambda g, y, c, a, b: g),
        "select(a, b, c)",
        checks=_checks,
        taken=(None, lambda y, c, a, b: (c, True), lambda y, c, a, b: (c, False)),
        facts=frozenset(("linear",)),
    )
)


def _check_index(a: Any, low: int, high: int, what: str) -> Any:
    wrong = np.flatnonzero((a < low) | (a >= high))
    if len(wrong):
        raise InputIndexError(f"{what} {np.ravel(a)[wrong[0]]} at position {wrong[0]} is not in [{low}, {high})")
    return a


elementwise("checked_index", 1, "a", _check_index, facts=("index_check",), attrs=("low", "high", "what"))


# ---- the DSL


def _binary(name: str, a: Operand, b: Operand, floating: bool = False) -> Tensor:
    return apply(name, *promoted(a, b, floating=floating))


def counted(a: Operand, b: Operand) -> tuple[Tensor, ...]:
    """`promoted`, where bools count: they meet as int64."""
    return tuple(cast(o, INT64) if o.dtype == BOOL else o for o in promoted(a, b))


@public
def add(a: Operand, b: Operand) -> Tensor:
    """``a + b``; bools are or-ed as NumPy's.

    Elementwise; operands (tensors, arrays, numbers) broadcast, and the result has the dtype in which they meet. Raises
    ShapeError where they do not, GraphError where none is a tensor.

    >>> import graphc as gx
    >>> x = gx.Graph().input("x", (2,), "float64")
    >>> gx.compile([x], gx.add(x, 1), backend="numpy")([1, 2]).round(4).tolist()
    [2.0, 3.0]
    """
    return _number(_binary, "add", a, b)


@public
def subtract(a: Operand, b: Operand) -> Tensor:
    """``a - b``. DTypeError for bools.

    Elementwise; operands (tensors, arrays, numbers) broadcast, and the result has the dtype in which they meet. Raises
    ShapeError where they do not, GraphError where none is a tensor.

    >>> import graphc as gx
    >>> x = gx.Graph().input("x", (2,), "float64")
    >>> gx.compile([x], gx.subtract(x, 1), backend="numpy")([1, 2]).round(4).tolist()
    [0.0, 1.0]
    """
    return _number(_binary, "subtract", a, b)


@public
def multiply(a: Operand, b: Operand) -> Tensor:
    """``a * b``.

    Elementwise; operands (tensors, arrays, numbers) broadcast, and the result has the dtype in which they meet. Raises
    ShapeError where they do not, GraphError where none is a tensor.

    >>> import graphc as gx
    >>> x = gx.Graph().input("x", (2,), "float64")
    >>> gx.compile([x], gx.multiply(x, 3), backend="numpy")([1, 2]).round(4).tolist()
    [3.0, 6.0]
    """
    return _number(_binary, "multiply", a, b)


def _number(build: Callable[..., Tensor], name: str, a: Operand, b: Operand) -> Tensor:
    dtype = common_dtype((a, b), graph_of((a, b)))
    if dtype == BOOL:
        if name == "subtract":
            raise DTypeError("bools cannot be subtracted; use logical_xor")
        return apply({"add": "logical_or", "multiply": "logical_and"}[name], *promoted(a, b))
    return build(name, a, b)


@public
def divide(a: Operand, b: Operand) -> Tensor:
    """``a / b``, IEEE; a float, the graph's for integers.

    Elementwise; operands (tensors, arrays, numbers) broadcast, and the result is a float, the graph's for integers.
    Raises ShapeError where they do not, GraphError where none is a tensor.

    >>> import graphc as gx
    >>> x = gx.Graph().input("x", (2,), "float64")
    >>> gx.compile([x], gx.divide(x, 2), backend="numpy")([1, 2]).round(4).tolist()
    [0.5, 1.0]
    """
    return _binary("divide", a, b, floating=True)


@public
def floor_divide(a: Operand, b: Operand) -> Tensor:
    """``a // b``, rounded down; bools give int64. Its derivative is 0 almost everywhere and not defined here.

    Elementwise; operands (tensors, arrays, numbers) broadcast, and the result has the dtype in which they meet. Raises
    ShapeError where they do not, GraphError where none is a tensor.

    >>> import graphc as gx
    >>> x = gx.Graph().input("x", (2,), "float64")
    >>> gx.compile([x], gx.floor_divide(x, 2), backend="numpy")([5, -5]).round(4).tolist()
    [2.0, -3.0]
    """
    return apply("floor_divide", *counted(a, b))


@public
def remainder(a: Operand, b: Operand) -> Tensor:
    """``a % b``, with the sign of ``b``; bools give int64.

    Elementwise; operands (tensors, arrays, numbers) broadcast, and the result has the dtype in which they meet. Raises
    ShapeError where they do not, GraphError where none is a tensor.

    >>> import graphc as gx
    >>> x = gx.Graph().input("x", (2,), "float64")
    >>> gx.compile([x], gx.remainder(x, 3), backend="numpy")([5, -5]).round(4).tolist()
    [2.0, 1.0]
    """
    return apply("remainder", *counted(a, b))


@public
def maximum(a: Operand, b: Operand) -> Tensor:
    """The larger; NaN where either is. At a tie each operand gets half of the gradient.

    Elementwise; operands (tensors, arrays, numbers) broadcast, and the result has the dtype in which they meet. Raises
    ShapeError where they do not, GraphError where none is a tensor.

    >>> import graphc as gx
    >>> x = gx.Graph().input("x", (2,), "float64")
    >>> gx.compile([x], gx.maximum(x, 0), backend="numpy")([-1, 2]).round(4).tolist()
    [0.0, 2.0]
    """
    return _binary("maximum", a, b)


@public
def minimum(a: Operand, b: Operand) -> Tensor:
    """The smaller; as `maximum`.

    Elementwise; operands (tensors, arrays, numbers) broadcast, and the result has the dtype in which they meet. Raises
    ShapeError where they do not, GraphError where none is a tensor.

    >>> import graphc as gx
    >>> x = gx.Graph().input("x", (2,), "float64")
    >>> gx.compile([x], gx.minimum(x, 0), backend="numpy")([-1, 2]).round(4).tolist()
    [-1.0, 0.0]
    """
    return _binary("minimum", a, b)


@public
def fmax(a: Operand, b: Operand) -> Tensor:
    """The larger; a NaN loses against a number.

    Elementwise; operands (tensors, arrays, numbers) broadcast, and the result has the dtype in which they meet. Raises
    ShapeError where they do not, GraphError where none is a tensor.

    >>> import numpy as np
    >>> import graphc as gx
    >>> x = gx.Graph().input("x", (2,), "float64")
    >>> gx.compile([x], gx.fmax(x, 0), backend="numpy")([-1, np.nan]).round(4).tolist()
    [0.0, 0.0]
    """
    return _binary("fmax", a, b)


@public
def fmin(a: Operand, b: Operand) -> Tensor:
    """The smaller; a NaN loses against a number.

    Elementwise; operands (tensors, arrays, numbers) broadcast, and the result has the dtype in which they meet. Raises
    ShapeError where they do not, GraphError where none is a tensor.

    >>> import numpy as np
    >>> import graphc as gx
    >>> x = gx.Graph().input("x", (2,), "float64")
    >>> gx.compile([x], gx.fmin(x, 0), backend="numpy")([1, np.nan]).round(4).tolist()
    [0.0, 0.0]
    """
    return _binary("fmin", a, b)


@public
def copysign(a: Operand, b: Operand) -> Tensor:
    """The magnitude of ``a`` with the sign of ``b``.

    Elementwise; operands (tensors, arrays, numbers) broadcast, and the result is a float, the graph's for integers.
    Raises ShapeError where they do not, GraphError where none is a tensor.

    >>> import graphc as gx
    >>> x = gx.Graph().input("x", (2,), "float64")
    >>> gx.compile([x], gx.copysign(x, -1), backend="numpy")([1, 2]).round(4).tolist()
    [-1.0, -2.0]
    """
    return _binary("copysign", a, b, floating=True)


@public
def neg(x: Tensor) -> Tensor:
    """``-x``.

    Elementwise; shape and dtype are those of ``x``. Raises DTypeError for bools, and where ``x`` is no tensor.

    >>> import graphc as gx
    >>> x = gx.Graph().input("x", (2,), "float64")
    >>> gx.compile([x], gx.neg(x), backend="numpy")([1, -2]).round(4).tolist()
    [-1.0, 2.0]
    """
    if x.dtype == BOOL:
        raise DTypeError("bools have no negative; use logical_not")
    return apply("neg", x)


@public
def positive(x: Tensor) -> Tensor:
    """``+x``.

    Elementwise; shape and dtype are those of ``x``. Raises DTypeError where ``x`` is no tensor.

    >>> import graphc as gx
    >>> x = gx.Graph().input("x", (2,), "float64")
    >>> gx.compile([x], gx.positive(x), backend="numpy")([1, -2]).round(4).tolist()
    [1.0, -2.0]
    """
    return apply("identity", x)


@public
def identity(x: Tensor) -> Tensor:
    """``x`` again, as a node of its own.

    Elementwise; shape and dtype are those of ``x``. Raises DTypeError where ``x`` is no tensor.

    >>> import graphc as gx
    >>> x = gx.Graph().input("x", (2,), "float64")
    >>> gx.compile([x], gx.identity(x), backend="numpy")([1, 2]).round(4).tolist()
    [1.0, 2.0]
    """
    return apply("identity", x)


@public
def stop_gradient(x: Tensor) -> Tensor:
    """``x``, through which no derivative passes.

    Elementwise; shape and dtype are those of ``x``. Raises DTypeError where ``x`` is no tensor.

    >>> import graphc as gx
    >>> x = gx.Graph().input("x", (2,), "float64")
    >>> gx.compile([x], gx.stop_gradient(x), backend="numpy")([1, 2]).round(4).tolist()
    [1.0, 2.0]
    """
    return apply("stop_gradient", x)


@public
def abs(x: Tensor) -> Tensor:
    """``|x|``; its derivative at 0 is 0.

    Elementwise; shape and dtype are those of ``x``. Raises DTypeError where ``x`` is no tensor.

    >>> import graphc as gx
    >>> x = gx.Graph().input("x", (2,), "float64")
    >>> gx.compile([x], gx.abs(x), backend="numpy")([-2, 3]).round(4).tolist()
    [2.0, 3.0]
    """
    return apply("abs", x)


@public
def sign(x: Tensor) -> Tensor:
    """-1, 0 or 1; NaN for NaN. Its derivative is 0.

    Elementwise; shape and dtype are those of ``x``. Raises DTypeError for bools, and where ``x`` is no tensor.

    >>> import graphc as gx
    >>> x = gx.Graph().input("x", (2,), "float64")
    >>> gx.compile([x], gx.sign(x), backend="numpy")([-3, 0]).round(4).tolist()
    [-1.0, 0.0]
    """
    if x.dtype == BOOL:
        raise DTypeError("bools have no sign")
    return apply("sign", x)


@public
def equal(a: Operand, b: Operand) -> Tensor:
    """``a == b``, bool.

    Elementwise; operands (tensors, arrays, numbers) broadcast, and the result is bools. Raises ShapeError where they do
    not, GraphError where none is a tensor.

    >>> import graphc as gx
    >>> x = gx.Graph().input("x", (2,), "float64")
    >>> gx.compile([x], gx.equal(x, 1), backend="numpy")([1, 2]).tolist()
    [True, False]
    """
    return _binary("equal", a, b)


@public
def not_equal(a: Operand, b: Operand) -> Tensor:
    """``a != b``, bool.

    Elementwise; operands (tensors, arrays, numbers) broadcast, and the result is bools. Raises ShapeError where they do
    not, GraphError where none is a tensor.

    >>> import graphc as gx
    >>> x = gx.Graph().input("x", (2,), "float64")
    >>> gx.compile([x], gx.not_equal(x, 1), backend="numpy")([1, 2]).tolist()
    [False, True]
    """
    return _binary("not_equal", a, b)


@public
def less(a: Operand, b: Operand) -> Tensor:
    """``a < b``, bool.

    Elementwise; operands (tensors, arrays, numbers) broadcast, and the result is bools. Raises ShapeError where they do
    not, GraphError where none is a tensor.

    >>> import graphc as gx
    >>> x = gx.Graph().input("x", (2,), "float64")
    >>> gx.compile([x], gx.less(x, 2), backend="numpy")([1, 2]).tolist()
    [True, False]
    """
    return _binary("less", a, b)


@public
def less_equal(a: Operand, b: Operand) -> Tensor:
    """``a <= b``, bool.

    Elementwise; operands (tensors, arrays, numbers) broadcast, and the result is bools. Raises ShapeError where they do
    not, GraphError where none is a tensor.

    >>> import graphc as gx
    >>> x = gx.Graph().input("x", (2,), "float64")
    >>> gx.compile([x], gx.less_equal(x, 2), backend="numpy")([1, 2]).tolist()
    [True, True]
    """
    return _binary("less_equal", a, b)


@public
def greater(a: Operand, b: Operand) -> Tensor:
    """``a > b``, bool.

    Elementwise; operands (tensors, arrays, numbers) broadcast, and the result is bools. Raises ShapeError where they do
    not, GraphError where none is a tensor.

    >>> import graphc as gx
    >>> x = gx.Graph().input("x", (2,), "float64")
    >>> gx.compile([x], gx.greater(x, 1), backend="numpy")([1, 2]).tolist()
    [False, True]
    """
    return _binary("greater", a, b)


@public
def greater_equal(a: Operand, b: Operand) -> Tensor:
    """``a >= b``, bool.

    Elementwise; operands (tensors, arrays, numbers) broadcast, and the result is bools. Raises ShapeError where they do
    not, GraphError where none is a tensor.

    >>> import graphc as gx
    >>> x = gx.Graph().input("x", (2,), "float64")
    >>> gx.compile([x], gx.greater_equal(x, 1), backend="numpy")([1, 2]).tolist()
    [True, True]
    """
    return _binary("greater_equal", a, b)


def _logical(name: str, *operands: Operand) -> Tensor:
    graph = graph_of(operands)
    return apply(name, *(cast(tensor(o, graph), BOOL) for o in operands))


@public
def logical_and(a: Operand, b: Operand) -> Tensor:
    """True where both are not zero.

    Elementwise; operands (tensors, arrays, numbers) broadcast, and the result is bools. Raises ShapeError where they do
    not, GraphError where none is a tensor.

    >>> import graphc as gx
    >>> x = gx.Graph().input("x", (2,), "float64")
    >>> gx.compile([x], gx.logical_and(x, 1), backend="numpy")([0, 2]).tolist()
    [False, True]
    """
    return _logical("logical_and", a, b)


@public
def logical_or(a: Operand, b: Operand) -> Tensor:
    """True where either is not zero.

    Elementwise; operands (tensors, arrays, numbers) broadcast, and the result is bools. Raises ShapeError where they do
    not, GraphError where none is a tensor.

    >>> import graphc as gx
    >>> x = gx.Graph().input("x", (2,), "float64")
    >>> gx.compile([x], gx.logical_or(x, 0), backend="numpy")([0, 2]).tolist()
    [False, True]
    """
    return _logical("logical_or", a, b)


@public
def logical_xor(a: Operand, b: Operand) -> Tensor:
    """True where exactly one is not zero.

    Elementwise; operands (tensors, arrays, numbers) broadcast, and the result is bools. Raises ShapeError where they do
    not, GraphError where none is a tensor.

    >>> import graphc as gx
    >>> x = gx.Graph().input("x", (2,), "float64")
    >>> gx.compile([x], gx.logical_xor(x, 1), backend="numpy")([0, 2]).tolist()
    [True, False]
    """
    return _logical("logical_xor", a, b)


@public
def logical_not(x: Operand) -> Tensor:
    """True where ``x`` is zero.

    Elementwise; bools in the shape of ``x``. Raises GraphError where ``x`` is no tensor.

    >>> import graphc as gx
    >>> x = gx.Graph().input("x", (2,), "float64")
    >>> gx.compile([x], gx.logical_not(x), backend="numpy")([0, 2]).tolist()
    [True, False]
    """
    return _logical("logical_not", x)


def _test(name: str, x: Tensor) -> Tensor:
    return apply(name, x if is_float(x.dtype) else cast(x, np.dtype("float64")))


@public
def isnan(x: Tensor) -> Tensor:
    """True for NaN.

    Elementwise; bools in the shape of ``x``. Raises DTypeError where ``x`` is no tensor.

    >>> import numpy as np
    >>> import graphc as gx
    >>> x = gx.Graph().input("x", (2,), "float64")
    >>> gx.compile([x], gx.isnan(x), backend="numpy")([1, np.nan]).tolist()
    [False, True]
    """
    return _test("isnan", x)


@public
def isinf(x: Tensor) -> Tensor:
    """True for infinities.

    Elementwise; bools in the shape of ``x``. Raises DTypeError where ``x`` is no tensor.

    >>> import numpy as np
    >>> import graphc as gx
    >>> x = gx.Graph().input("x", (2,), "float64")
    >>> gx.compile([x], gx.isinf(x), backend="numpy")([1, np.inf]).tolist()
    [False, True]
    """
    return _test("isinf", x)


@public
def isfinite(x: Tensor) -> Tensor:
    """True for numbers that are neither NaN nor infinite.

    Elementwise; bools in the shape of ``x``. Raises DTypeError where ``x`` is no tensor.

    >>> import numpy as np
    >>> import graphc as gx
    >>> x = gx.Graph().input("x", (2,), "float64")
    >>> gx.compile([x], gx.isfinite(x), backend="numpy")([1, np.nan]).tolist()
    [True, False]
    """
    return _test("isfinite", x)


@public
def astype(x: Tensor, dtype: Any) -> Tensor:
    """``x`` in another dtype. The gradient is cast back.

    A float becomes an integer by cutting towards zero. NaN and what int32 or int64 cannot hold becomes the lowest
    number of that dtype; uint8 is the low 8 bits of the int32, so it wraps as NumPy's, and is 0 beyond int32.

    ``dtype`` is bool, uint8, int32, int64, float32 or float64; the shape stays. Raises DTypeError for any other.

    >>> import graphc as gx
    >>> x = gx.Graph().input("x", ("n", 3))
    >>> gx.astype(x, "int64").dtype
    dtype('int64')
    """
    return cast(x, dtype_of(dtype))


@public
def where(condition: Operand, a: Operand, b: Operand) -> Tensor:
    """``a`` where ``condition`` holds, else ``b``. Cotangents are selected, never multiplied by a mask.

    ``condition`` is bool, or numbers that are not 0; all three broadcast, and the result has the dtype in which ``a``
    and ``b`` meet. Raises ShapeError where they do not broadcast, GraphError where none is a tensor.

    >>> import graphc as gx
    >>> x = gx.Graph().input("x", (3,), "float64")
    >>> gx.compile([x], gx.where(x > 0, x, 0.1 * x), backend="numpy")([-1, 0, 2]).tolist()
    [-0.1, 0.0, 2.0]
    """
    graph = graph_of((condition, a, b))
    values = [o for o in (a, b) if isinstance(o, Tensor)]
    if values:
        a, b = promoted(a, b)
    else:
        found = np.result_type(np.asarray(a), np.asarray(b))
        dtype = graph.float_dtype if found.kind == "f" else dtype_of(found)
        a, b = tensor(a, graph, dtype), tensor(b, graph, dtype)
    return apply("where", cast(tensor(condition, graph), BOOL), a, b)


@public
def clip(x: Tensor, min: Operand = None, max: Operand = None) -> Tensor:
    """``x`` kept within bounds, NaN where any of the three is; ``max`` where ``min`` is above it.

    The derivative is 1 on the closed interval, 0 outside, NaN where the value is.

    Elementwise; ``x`` and the bounds (tensors, arrays, numbers, None) broadcast, in the dtype in which they meet.
    Raises ShapeError where they do not broadcast, GraphError where none is a tensor.

    >>> import graphc as gx
    >>> x = gx.Graph().input("x", (3,), "float64")
    >>> gx.compile([x], gx.clip(x, 0, 1), backend="numpy")([-1, 0.5, 2]).tolist()
    [0.0, 0.5, 1.0]
    """
    if min is None and max is None:
        return x
    given = promoted(x, *(bound for bound in (min, max) if bound is not None))
    dtype, bounds = given[0].dtype, iter(given[1:])
    lowest, highest = limits(dtype)
    low = next(bounds) if min is not None else tensor(lowest, x.graph, dtype)
    high = next(bounds) if max is not None else tensor(highest, x.graph, dtype)
    return apply("clip", given[0], low, high)


@public
def lerp(a: Operand, b: Operand, weight: Operand) -> Tensor:
    """``a + weight * (b - a)``: ``a`` where the weight is 0 and ``b`` where it is 1, both exactly.

    Elementwise; operands (tensors, arrays, numbers) broadcast, and the result is a float. Raises ShapeError where they
    do not, GraphError where none is a tensor.

    >>> import graphc as gx
    >>> x = gx.Graph().input("x", (2,), "float64")
    >>> gx.compile([x], gx.lerp(x, 10.0, 0.5), backend="numpy")([0, 4]).tolist()
    [5.0, 7.0]
    """
    return apply("lerp", *promoted(a, b, weight, floating=True))


@public
def fma(a: Operand, b: Operand, c: Operand) -> Tensor:
    """``a * b + c``.

    Elementwise; operands (tensors, arrays, numbers) broadcast, in the dtype in which they meet. Raises ShapeError where
    they do not, GraphError where none is a tensor.

    >>> import graphc as gx
    >>> x = gx.Graph().input("x", (2,), "float64")
    >>> gx.compile([x], gx.fma(x, 2, 1), backend="numpy")([1, 2]).tolist()
    [3.0, 5.0]
    """
    return add(multiply(a, b), c)


def checked_index(x: Tensor, low: Any, high: Any, what: str) -> Tensor:
    """``x``, tested to lie in ``[low, high)`` before the executable stores anything; InputIndexError otherwise."""
    return apply("checked_index", x, low=low, high=high, what=what)
