"""From what a user passes to operands: one graph, one dtype, weak scalars."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence, Set, ValuesView
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import numpy as np

from graphc.errors import DTypeError, GraphcError, GraphError, caller, relocated
from graphc.ir import dims
from graphc.ir.call import OPEN, Call
from graphc.ir.dims import Size
from graphc.ir.graph import Graph
from graphc.ir.op import FUNCTIONS, lookup
from graphc.ir.tensor import Tensor
from graphc.ir.types import DType, is_float, promote
from graphc.ops.signature import bound, found, misused

Operand = Any  # Tensor, array, list or number
P = ParamSpec("P")
R = TypeVar("R")


def apply(name: str, *operands: Tensor, **attrs: Any) -> Tensor:
    """Appends one node of the op called ``name``."""
    return operands[0].graph.append(lookup(name), operands, attrs)


def public(function: Callable[P, R]) -> Callable[P, R]:
    """A function of the DSL: Tensor's operators find it by name, and its errors name it and the user's line.

    The nodes that it makes share one `Call`; functions that it calls in turn are part of it.
    """
    return _public(function, function.__name__)


def public_in(space: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """`public` for functions of ``gx.SPACE``."""
    return lambda function: _public(function, f"{space}.{function.__name__}")


def _public(function: Callable[P, R], name: str) -> Callable[P, R]:
    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        if OPEN.call is not None:
            return function(*args, **kwargs)
        made = OPEN.call = Call(name)
        try:
            out = function(*args, **kwargs)
        except GraphcError as error:
            raise _outermost(error, name) from None
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
            if (given := bound(function, args, kwargs)) is None:
                raise  # Python says it well
            text = misused(function, given)
            words, cause = (text, None) if text else (f"the arguments do not fit: {error}", error)
            raise DTypeError(f"{name}: {words}", node=name, origin=caller()) from cause
        finally:
            OPEN.call = None
        result = out[0] if isinstance(out, (list, tuple)) and out else out
        if made.nodes and isinstance(result, Tensor):
            made.name = result.name
            result.graph.settle(made)
        return out

    FUNCTIONS[name] = call
    return call


def _outermost(error: GraphcError, name: str) -> GraphcError:
    """The same error of the function that a user called, not of one that it calls in turn."""
    if error.origin is not None:
        return error
    inner, _, rest = error.message.partition(": ")
    return relocated(type(error)(rest) if inner in FUNCTIONS else error, name, caller())


def graph_of(operands: Sequence[Operand]) -> Graph:
    """The one graph of the tensors among ``operands``, or the body in it that is traced.

    GraphError where there is no tensor, or they are of several graphs.
    """
    return innermost(operands).open


def innermost(operands: Sequence[Operand]) -> Graph:
    """The one graph of the tensors among ``operands``; of a body and what lies around it, the body.

    GraphError where there is no tensor, or they are of several graphs.
    """
    tensors = [o for o in operands if isinstance(o, Tensor)]
    if not tensors:
        raise GraphError(f"expected a tensor, found {' and '.join(map(found, operands))}; g.constant(...) makes one")
    graph = tensors[0].graph
    for other in tensors[1:]:
        if other.graph is not graph and not graph.inside(other.graph):
            if not other.graph.inside(graph):
                raise GraphError(
                    f"operands of two graphs: {tensors[0].name} of {tensors[0].graph.name!r}, "
                    f"{other.name} of {other.graph.name!r}"
                )
            graph = other.graph
    return graph


def tensor_list(what: str, value: Any, kind: type[GraphcError] = GraphError) -> list[Tensor]:
    """``value`` as a list where it is tensors in a list or tuple; an error that says what to write otherwise."""
    if isinstance(value, Tensor):
        raise kind(f"{what} must be a list of tensors, found {found(value)}; write [{value.name}]")
    if not isinstance(value, (list, tuple, Set, Iterator, ValuesView)):
        todo = "; use list(....values())" if isinstance(value, Mapping) else ""
        raise kind(f"{what} must be a list of tensors, found {found(value)}{todo}")
    tensors = list(value)
    for t in tensors:
        if not isinstance(t, Tensor):
            todo = f"; g[{t!r}] is the tensor of that name" if isinstance(t, str) else ""
            raise kind(f"{what} must be tensors, found {found(t)}{todo}")
    return tensors


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
        raise DTypeError(f"expected a tensor, an array or a number, found {found(value)}")
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
