"""From what a user passes to operands: one graph, one dtype, weak scalars."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any, ParamSpec

import numpy as np

from graphc.errors import DTypeError, GraphError, caller
from graphc.ir import dims
from graphc.ir.dims import Size
from graphc.ir.graph import Graph, located
from graphc.ir.op import FUNCTIONS, lookup
from graphc.ir.tensor import Tensor
from graphc.ir.types import DType, is_float, promote

Operand = Any  # Tensor, array, list or number
P = ParamSpec("P")


def apply(name: str, *operands: Tensor, **attrs: Any) -> Tensor:
    """Appends one node of the op called ``name``."""
    return operands[0].graph.append(lookup(name), operands, attrs)


def public(function: Callable[P, Tensor]) -> Callable[P, Tensor]:
    """A function of the DSL: Tensor's operators find it by name, and its errors name it and the user's line."""

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> Tensor:
        with located(function.__name__, caller()):
            return function(*args, **kwargs)

    FUNCTIONS[function.__name__] = call
    return call


def graph_of(operands: Sequence[Operand]) -> Graph:
    """The one graph of the tensors among ``operands``; GraphError where there is none or more than one."""
    found = [o for o in operands if isinstance(o, Tensor)]
    if not found:
        raise GraphError("expected a tensor, found " + ", ".join(repr(o)[:40] for o in operands))
    for other in found[1:]:
        if other.graph is not found[0].graph:
            raise GraphError(
                f"operands of two graphs: {found[0].name} of {found[0].graph.name!r}, "
                f"{other.name} of {other.graph.name!r}"
            )
    return found[0].graph


def is_scalar(value: Operand) -> bool:
    """A weak operand: a Python or NumPy number or a size, which takes the dtype of what it meets."""
    return isinstance(value, (bool, int, float, np.generic, dims.Dim))


def tensor(value: Operand, graph: Graph, dtype: DType | None = None) -> Tensor:
    """``value`` in ``graph``: a tensor as it is, an array or number as a constant, a size as a number."""
    if isinstance(value, Tensor):
        return value
    if isinstance(value, dims.Dim):
        return cast(size_node(graph, value), np.dtype("int64") if dtype is None else dtype)
    if not isinstance(value, (bool, int, float, np.generic, np.ndarray, list, tuple)):
        raise DTypeError(f"expected a tensor, array or number, found {type(value).__name__}")
    return graph.constant(value, dtype)


def common_dtype(operands: Sequence[Operand], graph: Graph, floating: bool = False) -> DType:
    """The dtype in which ``operands`` meet: floats before integers, scalars weak; a float where ``floating``."""
    dtypes = [o.dtype for o in operands if isinstance(o, Tensor)]
    scalars = [o for o in operands if is_scalar(o)]
    dtypes += [graph.as_array(o).dtype for o in operands if not isinstance(o, Tensor) and not is_scalar(o)]
    floats = [d for d in dtypes if is_float(d)]
    if floats:
        return promote(*floats)
    if floating or any(isinstance(s, (float, np.floating)) for s in scalars):
        return graph.float_dtype
    found = promote(*dtypes)
    if found.kind == "b" and any(not isinstance(s, (bool, np.bool_)) for s in scalars):
        return np.dtype("int64")
    for s in scalars:
        if (
            not isinstance(s, dims.Dim)
            and found.kind in "iu"
            and not np.iinfo(found).min <= int(s) <= np.iinfo(found).max
        ):
            raise DTypeError(f"the number {s} does not fit in {found}")
    return found


def size_node(graph: Graph, size: Size) -> Tensor:
    """A size as an int64 scalar; a constant where it is known."""
    return graph.constant(size) if isinstance(size, int) else graph.append(lookup("size"), (), {"size": size})


def cast(value: Tensor, dtype: DType) -> Tensor:
    """``value`` in ``dtype``; itself where it has that already."""
    return value if value.dtype == dtype else apply("astype", value, dtype=dtype.name)


def promoted(*operands: Operand, floating: bool = False) -> tuple[Tensor, ...]:
    """All operands as tensors of one graph and one dtype."""
    graph = graph_of(operands)
    dtype = common_dtype(operands, graph, floating)
    return tuple(cast(o, dtype) if isinstance(o, Tensor) else tensor(o, graph, dtype) for o in operands)
