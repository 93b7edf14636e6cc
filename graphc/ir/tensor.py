"""Tensors, which stand for nodes where a graph is written."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

from graphc.errors import DTypeError, Origin, Uncopied, caller
from graphc.ir import dims
from graphc.ir.arrays import Array
from graphc.ir.at import At
from graphc.ir.names import meant
from graphc.ir.node import Node
from graphc.ir.op import FUNCTIONS, LATER, Attrs, Op
from graphc.ir.types import DType, Shape, TensorType

if TYPE_CHECKING:
    from graphc.ir.graph import Graph


class Tensor(Uncopied):
    """A value in a graph. Arithmetic, comparison, indexing and methods append nodes to the same graph.

    A tensor has no value before an executable runs, so ``bool``, ``len``, iteration, array conversion and functions of
    NumPy raise DTypeError, a TypeError. Operators between an array and a tensor are the tensor's.

    >>> import graphc as gx
    >>> g = gx.Graph()
    >>> x = g.input("x", ("n", 3))
    >>> y = (2 * x[:, 0] + 1).named("y")
    >>> y
    <Tensor y: float32[n]>
    >>> y.name, y.shape, y.dtype, y.op.name
    ('y', (n,), dtype('float32'), 'add')
    """

    __slots__ = ("__weakref__", "graph", "id")

    def __init__(self, graph: Graph, id: int) -> None:
        self.graph, self.id = graph, id

    @property
    def node(self) -> Node:
        """The node of the graph that computes this value."""
        return self.graph.nodes[self.id]

    @property
    def op(self) -> Op:
        """The record of the op that computes this value."""
        return self.graph.nodes[self.id].op

    @property
    def inputs(self) -> tuple[Tensor, ...]:
        """The operands, in slot order."""
        tensors = self.graph.tensors
        return tuple([tensors[i] for i in self.graph.nodes[self.id].inputs])

    @property
    def attrs(self) -> Attrs:
        """The attributes of its node, such as an axis."""
        return self.node.attrs

    @property
    def name(self) -> str:
        """The name of its node, unique in the graph."""
        return self.node.name

    @property
    def type(self) -> TensorType:
        """Dtype and shape together; as text ``float32[n, 3]``."""
        return self.graph.nodes[self.id].type

    @property
    def shape(self) -> Shape:
        """A tuple of ints and, where a size is symbolic, polynomials of symbols."""
        return self.graph.nodes[self.id].type.shape

    @property
    def dtype(self) -> DType:
        """A ``numpy.dtype``."""
        return self.graph.nodes[self.id].type.dtype

    @property
    def ndim(self) -> int:
        """How many axes there are."""
        return len(self.graph.nodes[self.id].type.shape)

    @property
    def size(self) -> dims.Size:
        """How many elements there are: an int, or a polynomial of symbols."""
        return self.node.type.size

    @property
    def origin(self) -> Origin:
        """The user's line that made this tensor."""
        return self.node.origin

    def named(self, name: str) -> Tensor:
        """This value under a name of the user's; ``g[name]`` finds it. GraphError where the name is taken.

        Shape and dtype are those of this tensor, which is returned.

        >>> import graphc as gx
        >>> g = gx.Graph()
        >>> y = gx.tanh(g.input("x", ("n", 3))).named("y")
        >>> g["y"] is y, y
        (True, <Tensor y: float32[n, 3]>)
        """
        return self.graph.rename(self, name)

    def __repr__(self) -> str:
        return f"<Tensor {self.name}: {self.type}>"

    def _repr_html_(self) -> str:
        return LATER["tensor_html"](self)  # type: ignore[no-any-return]

    def _refused(self, text: str) -> NoReturn:
        raise DTypeError(f"{self.name} is a tensor {self.type}, {text}", node=self.name, origin=caller())

    def __bool__(self) -> NoReturn:
        self._refused("which is neither true nor false before it runs; choose by gx.where, compare tensors by `is`")

    def __iter__(self) -> NoReturn:
        self._refused("which cannot be iterated; index it, t[0], or use gx.split")

    def __len__(self) -> NoReturn:
        self._refused("which has no len; its sizes are t.shape")

    def _no_number(self) -> NoReturn:
        self._refused("which has no number before it runs; compile it and call the executable")

    def __int__(self) -> int:
        self._no_number()

    def __float__(self) -> float:
        self._no_number()

    def __index__(self) -> int:
        self._no_number()

    def __array__(self, *_: Any, **__: Any) -> Array:
        self._refused("not an array; use functions of graphc (gx.exp, not np.exp), or compile it and call")

    def __array_ufunc__(self, ufunc: Any, method: str, *operands: Any, **options: Any) -> Tensor:
        """``array + tensor`` is the tensor's; other functions of NumPy are told graphc's name."""
        name = OPERATORS.get(ufunc.__name__)
        if name is None or method != "__call__" or options:
            self._no_function(f"np.{ufunc.__name__}", ufunc.__name__)
        return _call(name, *operands)

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> NoReturn:
        self._no_function(f"{function.__module__}.{function.__name__}".replace("numpy.", "np."), function.__name__)

    def _no_function(self, shown: str, name: str) -> NoReturn:
        found = meant(name)
        todo = f"use gx.{found}" if found else "compile the tensor, and call it with what the executable returns"
        self._refused(f"and {shown} takes arrays; {todo}")

    def __hash__(self) -> int:
        return id(self)

    # operators: each is the function of its name in the op tables
    def __add__(self, other: Any) -> Tensor:
        return _call("add", self, other)

    def __radd__(self, other: Any) -> Tensor:
        return _call("add", other, self)

    def __sub__(self, other: Any) -> Tensor:
        return _call("subtract", self, other)

    def __rsub__(self, other: Any) -> Tensor:
        return _call("subtract", other, self)

    def __mul__(self, other: Any) -> Tensor:
        return _call("multiply", self, other)

    def __rmul__(self, other: Any) -> Tensor:
        return _call("multiply", other, self)

    def __truediv__(self, other: Any) -> Tensor:
        return _call("divide", self, other)

    def __rtruediv__(self, other: Any) -> Tensor:
        return _call("divide", other, self)

    def __floordiv__(self, other: Any) -> Tensor:
        return _call("floor_divide", self, other)

    def __rfloordiv__(self, other: Any) -> Tensor:
        return _call("floor_divide", other, self)

    def __mod__(self, other: Any) -> Tensor:
        return _call("remainder", self, other)

    def __rmod__(self, other: Any) -> Tensor:
        return _call("remainder", other, self)

    def __pow__(self, other: Any) -> Tensor:
        return _call("pow", self, other)

    def __rpow__(self, other: Any) -> Tensor:
        return _call("pow", other, self)

    def __matmul__(self, other: Any) -> Tensor:
        return _call("matmul", self, other)

    def __rmatmul__(self, other: Any) -> Tensor:
        return _call("matmul", other, self)

    def __and__(self, other: Any) -> Tensor:
        return _call("logical_and", self, other)

    def __rand__(self, other: Any) -> Tensor:
        return _call("logical_and", other, self)

    def __or__(self, other: Any) -> Tensor:
        return _call("logical_or", self, other)

    def __ror__(self, other: Any) -> Tensor:
        return _call("logical_or", other, self)

    def __xor__(self, other: Any) -> Tensor:
        return _call("logical_xor", self, other)

    def __rxor__(self, other: Any) -> Tensor:
        return _call("logical_xor", other, self)

    def __invert__(self) -> Tensor:
        return _call("logical_not", self)

    def __neg__(self) -> Tensor:
        return _call("neg", self)

    def __pos__(self) -> Tensor:
        return _call("positive", self)

    def __abs__(self) -> Tensor:
        return _call("abs", self)

    def __eq__(self, other: object) -> Tensor:  # type: ignore[override]
        return _call("equal", self, other)

    def __ne__(self, other: object) -> Tensor:  # type: ignore[override]
        return _call("not_equal", self, other)

    def __lt__(self, other: Any) -> Tensor:
        return _call("less", self, other)

    def __le__(self, other: Any) -> Tensor:
        return _call("less_equal", self, other)

    def __gt__(self, other: Any) -> Tensor:
        return _call("greater", self, other)

    def __ge__(self, other: Any) -> Tensor:
        return _call("greater_equal", self, other)

    def __getitem__(self, index: Any) -> Tensor:
        return _call("getitem", self, index)

    @property
    def at(self) -> At[Tensor]:
        """``x.at[index].set(v)``, ``add``, ``multiply``, ``max`` or ``min``: this tensor, changed at an index."""
        return At(self)

    @property
    def T(self) -> Tensor:
        """All axes reversed."""
        return _call("permute_dims", self, tuple(reversed(range(self.ndim))))

    @property
    def mT(self) -> Tensor:
        """The last two axes swapped."""
        return _call("matrix_transpose", self)

    def reshape(self, *shape: Any) -> Tensor:
        """As `gx.reshape`; sizes one by one or as one tuple.

        >>> import graphc as gx
        >>> x = gx.Graph().input("x", ("n", 3))
        >>> x.reshape(-1, 3, 1).shape
        (n, 3, 1)
        """
        return _call("reshape", self, _spread(shape))

    def transpose(self, *axes: Any) -> Tensor:
        """As `gx.transpose`; axes one by one or as one tuple.

        >>> import graphc as gx
        >>> x = gx.Graph().input("x", ("n", 3))
        >>> x.transpose(1, 0).shape
        (3, n)
        """
        return _call("transpose", self, None if axes in ((), (None,)) else _spread(axes))

    def ravel(self) -> Tensor:
        """As `gx.ravel`.

        >>> import graphc as gx
        >>> x = gx.Graph().input("x", ("n", 3))
        >>> x.ravel().shape
        (3*n,)
        """
        return _call("ravel", self)

    def flatten(self) -> Tensor:
        """As `gx.ravel`.

        >>> import graphc as gx
        >>> x = gx.Graph().input("x", ("n", 3))
        >>> x.flatten().shape
        (3*n,)
        """
        return _call("ravel", self)

    def squeeze(self, axis: Any = None) -> Tensor:
        """As `gx.squeeze`.

        >>> import graphc as gx
        >>> x = gx.Graph().input("x", ("n", 1))
        >>> x.squeeze().shape
        (n,)
        """
        return _call("squeeze", self, axis)

    def swapaxes(self, axis1: int, axis2: int) -> Tensor:
        """As `gx.swapaxes`.

        >>> import graphc as gx
        >>> x = gx.Graph().input("x", ("n", 3))
        >>> x.swapaxes(0, 1).shape
        (3, n)
        """
        return _call("swapaxes", self, axis1, axis2)

    def repeat(self, repeats: int, axis: Any = None) -> Tensor:
        """As `gx.repeat`, by default of the flat tensor.

        >>> import graphc as gx
        >>> x = gx.Graph().input("x", ("n", 3))
        >>> x.repeat(2, axis=1).shape
        (n, 6)
        """
        return _call("repeat", self if axis is not None else self.ravel(), repeats, axis or 0)

    def take(self, indices: Any, axis: Any = None) -> Tensor:
        """As `gx.take`, by default of the flat tensor.

        >>> import graphc as gx
        >>> x = gx.Graph().input("x", ("n", 3))
        >>> x.take([0, 2], axis=1).shape
        (n, 2)
        """
        return _call("take", self if axis is not None else self.ravel(), indices, axis or 0)

    def diagonal(self, offset: int = 0) -> Tensor:
        """As `gx.diagonal`.

        >>> import graphc as gx
        >>> x = gx.Graph().input("x", ("n", 3, 3))
        >>> x.diagonal().shape
        (n, 3)
        """
        return _call("diagonal", self, offset)

    def trace(self, offset: int = 0) -> Tensor:
        """As `gx.trace`.

        >>> import graphc as gx
        >>> x = gx.Graph().input("x", ("n", 3, 3))
        >>> x.trace().shape
        (n,)
        """
        return _call("trace", self, offset)

    def dot(self, other: Any) -> Tensor:
        """As `gx.dot`.

        >>> import graphc as gx
        >>> x = gx.Graph().input("x", ("n", 3))
        >>> x.dot(x.T).shape
        (n, n)
        """
        return _call("dot", self, other)

    def clip(self, min: Any = None, max: Any = None) -> Tensor:
        """As `gx.clip`.

        >>> import graphc as gx
        >>> x = gx.Graph().input("x", ("n", 3))
        >>> x.clip(0, 1).shape
        (n, 3)
        """
        return _call("clip", self, min, max)

    def round(self) -> Tensor:
        """As `gx.round`.

        >>> import graphc as gx
        >>> x = gx.Graph().input("x", ("n", 3))
        >>> x.round().dtype
        dtype('float32')
        """
        return _call("round", self)

    def sum(self, axis: Any = None, keepdims: bool = False) -> Tensor:
        """As `gx.sum`.

        >>> import graphc as gx
        >>> x = gx.Graph().input("x", ("n", 3))
        >>> x.sum(axis=1)
        <Tensor sum_1: float32[n]>
        """
        return _call("sum", self, axis=axis, keepdims=keepdims)

    def prod(self, axis: Any = None, keepdims: bool = False) -> Tensor:
        """As `gx.prod`.

        >>> import graphc as gx
        >>> x = gx.Graph().input("x", ("n", 3))
        >>> x.prod(axis=1)
        <Tensor prod_1: float32[n]>
        """
        return _call("prod", self, axis=axis, keepdims=keepdims)

    def mean(self, axis: Any = None, keepdims: bool = False) -> Tensor:
        """As `gx.mean`.

        >>> import graphc as gx
        >>> x = gx.Graph().input("x", ("n", 3))
        >>> x.mean(axis=1)
        <Tensor divide_4: float32[n]>
        """
        return _call("mean", self, axis=axis, keepdims=keepdims)

    def var(self, axis: Any = None, keepdims: bool = False, ddof: int = 0) -> Tensor:
        """As `gx.var`.

        >>> import graphc as gx
        >>> x = gx.Graph().input("x", ("n", 3))
        >>> x.var(axis=1)
        <Tensor divide_10: float32[n]>
        """
        return _call("var", self, axis=axis, keepdims=keepdims, ddof=ddof)

    def std(self, axis: Any = None, keepdims: bool = False, ddof: int = 0) -> Tensor:
        """As `gx.std`.

        >>> import graphc as gx
        >>> x = gx.Graph().input("x", ("n", 3))
        >>> x.std(axis=1)
        <Tensor where_15: float32[n]>
        """
        return _call("std", self, axis=axis, keepdims=keepdims, ddof=ddof)

    def max(self, axis: Any = None, keepdims: bool = False) -> Tensor:
        """As `gx.max`.

        >>> import graphc as gx
        >>> x = gx.Graph().input("x", ("n", 3))
        >>> x.max(axis=1)
        <Tensor max_1: float32[n]>
        """
        return _call("max", self, axis=axis, keepdims=keepdims)

    def min(self, axis: Any = None, keepdims: bool = False) -> Tensor:
        """As `gx.min`.

        >>> import graphc as gx
        >>> x = gx.Graph().input("x", ("n", 3))
        >>> x.min(axis=1)
        <Tensor min_1: float32[n]>
        """
        return _call("min", self, axis=axis, keepdims=keepdims)

    def argmax(self, axis: Any = None, keepdims: bool = False) -> Tensor:
        """As `gx.argmax`.

        >>> import graphc as gx
        >>> x = gx.Graph().input("x", ("n", 3))
        >>> x.argmax(axis=1)
        <Tensor min_9: int64[n]>
        """
        return _call("argmax", self, axis=axis, keepdims=keepdims)

    def argmin(self, axis: Any = None, keepdims: bool = False) -> Tensor:
        """As `gx.argmin`.

        >>> import graphc as gx
        >>> x = gx.Graph().input("x", ("n", 3))
        >>> x.argmin(axis=1)
        <Tensor min_9: int64[n]>
        """
        return _call("argmin", self, axis=axis, keepdims=keepdims)

    def any(self, axis: Any = None, keepdims: bool = False) -> Tensor:
        """As `gx.any`.

        >>> import graphc as gx
        >>> x = gx.Graph().input("x", ("n", 3))
        >>> x.any(axis=1)
        <Tensor any_3: bool[n]>
        """
        return _call("any", self, axis=axis, keepdims=keepdims)

    def all(self, axis: Any = None, keepdims: bool = False) -> Tensor:
        """As `gx.all`.

        >>> import graphc as gx
        >>> x = gx.Graph().input("x", ("n", 3))
        >>> x.all(axis=1)
        <Tensor all_3: bool[n]>
        """
        return _call("all", self, axis=axis, keepdims=keepdims)

    def cumsum(self, axis: Any = None) -> Tensor:
        """As `gx.cumsum`, by default of the flat tensor.

        >>> import graphc as gx
        >>> x = gx.Graph().input("x", ("n", 3))
        >>> x.cumsum(axis=1).shape
        (n, 3)
        """
        return _call("cumsum", self if axis is not None else self.ravel(), axis or 0)

    def cumprod(self, axis: Any = None) -> Tensor:
        """As `gx.cumprod`, by default of the flat tensor.

        >>> import graphc as gx
        >>> x = gx.Graph().input("x", ("n", 3))
        >>> x.cumprod(axis=1).shape
        (n, 3)
        """
        return _call("cumprod", self if axis is not None else self.ravel(), axis or 0)

    def sort(self, axis: int = -1) -> Tensor:
        """As `gx.sort`.

        >>> import graphc as gx
        >>> x = gx.Graph().input("x", ("n", 3))
        >>> x.sort().shape
        (n, 3)
        """
        return _call("sort", self, axis)

    def argsort(self, axis: int = -1) -> Tensor:
        """As `gx.argsort`.

        >>> import graphc as gx
        >>> x = gx.Graph().input("x", ("n", 3))
        >>> x.argsort()
        <Tensor argsort_1: int64[n, 3]>
        """
        return _call("argsort", self, axis)

    def astype(self, dtype: Any) -> Tensor:
        """As `gx.astype`.

        >>> import graphc as gx
        >>> x = gx.Graph().input("x", ("n", 3))
        >>> x.astype("float64").dtype
        dtype('float64')
        """
        return _call("astype", self, dtype)


def _spread(given: tuple[Any, ...]) -> Any:
    """Sizes or axes that were given one by one, or as one tuple or list."""
    return given[0] if len(given) == 1 and isinstance(given[0], (tuple, list)) else given


# The operators of Python that NumPy's arrays have, by the ufunc behind each.
OPERATORS = {
    "add": "add", "subtract": "subtract", "multiply": "multiply", "divide": "divide", "floor_divide": "floor_divide",
    "remainder": "remainder", "power": "pow", "matmul": "matmul", "equal": "equal", "not_equal": "not_equal",
    "less": "less", "less_equal": "less_equal", "greater": "greater", "greater_equal": "greater_equal",
    "bitwise_and": "logical_and", "bitwise_or": "logical_or", "bitwise_xor": "logical_xor",
}  # fmt: skip


def _call(name: str, *args: Any, **kwargs: Any) -> Tensor:
    out: Tensor = FUNCTIONS[name](*args, **kwargs)
    return out
