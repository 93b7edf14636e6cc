"""Jacobians and Hessians of which most elements are always 0: their pattern, and the others by a few vectors."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from graphc.cached import cached
from graphc.derive import colouring
from graphc.derive.diagonal import Diagonal, followed
from graphc.derive.forward import push, scalar
from graphc.derive.pattern import pattern
from graphc.derive.reverse import accumulate, differentiable
from graphc.derive.vectorise import Examples
from graphc.errors import GradientError, caller
from graphc.ir.arrays import Array
from graphc.ir.graph import located
from graphc.ir.tensor import Tensor
from graphc.ir.trace import tracing
from graphc.ops.apply import apply, cast
from graphc.ops.assembly import concat
from graphc.ops.elementwise import equal
from graphc.ops.index import take
from graphc.ops.shape import expand_dims, filled, iota, ravel, reshape


@dataclass(frozen=True, eq=False)
class Sparse:
    """A matrix of derivatives in compressed rows (CSR).

    data      a tensor of the elements that are not always 0, row after row
    indices   the column of each, an int array
    indptr    where each row begins in ``data``, and where the last one ends
    shape     rows and columns
    n_colors  how many products with sums of unit vectors give all values: how many colours columns have that share
              no row. Of a chain or a grid each value is computed by itself, in less time than these take; their
              number is then found when it is asked for

    >>> import numpy as np
    >>> import graphc as gx
    >>> x = gx.Graph(float_dtype="float64").input("x", (3,))
    >>> jac = gx.sparse_jacobian(x * x, x)
    >>> jac.shape, jac.nnz, jac.indices.tolist()
    ((3, 3), 3, [0, 1, 2])
    """

    data: Tensor
    indices: Array
    indptr: Array
    shape: tuple[int, int]
    _colour: Callable[[], Array] = field(repr=False)

    @cached
    def n_colors(self) -> int:
        """How many products with sums of unit vectors give all values."""
        return _count(self._colour())

    @property
    def nnz(self) -> int:
        """How many elements are not always 0."""
        return len(self.indices)

    def to_scipy(self, data: Any) -> Any:
        """The matrix as a ``scipy.sparse.csr_array``, given the values that an executable computed for ``data``.

        Raises ValueError where these are not as many as there are elements.

        >>> import numpy as np
        >>> import graphc as gx
        >>> x = gx.Graph(float_dtype="float64").input("x", (3,))
        >>> jac = gx.sparse_jacobian(x * x, x)
        >>> jac.to_scipy(np.array([2.0, 4.0, 6.0])).toarray().diagonal().tolist()
        [2.0, 4.0, 6.0]
        """
        from scipy.sparse import csr_array

        return csr_array((np.asarray(data), self.indices, self.indptr), shape=self.shape)

    def __repr__(self) -> str:
        rows, columns = self.shape
        return f"<Sparse {rows} x {columns}: {self.nnz} elements>"


def sparse_jacobian(y: Tensor, x: Tensor) -> Sparse:
    """The derivatives of the elements of ``y`` by those of ``x``, both flat, of which only those are computed that are
    not 0 whatever the values.

    Which these are is found from the graph: an element is left out where no op on the way reads it, at constant
    indices and constant zeros too. Where derivatives are a sum of few vectors, as of chains and grids, these are
    computed. Elsewhere columns that share no row get one colour and are found by one product, in forward or, where that
    takes fewer, rows in reverse mode. Time and memory are linear in the number of elements. Sizes must
    be known.

    Raises GradientError for symbolic sizes, for anything but float tensors, and where the pattern would not be sparse.

    >>> import numpy as np
    >>> import graphc as gx
    >>> g = gx.Graph("band", float_dtype="float64")
    >>> x = g.input("x", (4,))
    >>> jac = gx.sparse_jacobian(x[1:] * x[:-1], x)
    >>> jac
    <Sparse 3 x 4: 6 elements>
    >>> f = gx.compile([x], jac.data)
    >>> jac.to_scipy(f(np.array([1.0, 2.0, 3.0, 4.0]))).toarray().tolist()
    [[2.0, 1.0, 0.0, 0.0], [0.0, 3.0, 2.0, 0.0], [0.0, 0.0, 4.0, 3.0]]
    """
    origin = caller()
    with located("sparse_jacobian", origin):
        _known(y, x)
        with y.graph.placed(origin, y.name):
            found = pattern(y, x)
            if (data := _direct(y, x, found)) is not None:
                return _made(found, data, lambda: min(_both(found), key=_count))
            by_column, by_row = _both(found)
            rows = np.repeat(np.arange(found.shape[0]), np.diff(found.indptr))
            if _count(by_column) <= _count(by_row):
                data = _values(y, x, by_column, by_column[found.indices], rows)
                return _made(found, data, lambda: by_column)
            data = _values(y, x, by_row, by_row[rows], found.indices, reverse=True)
            return _made(found, data, lambda: by_row)


def sparse_hessian(y: Tensor, x: Tensor) -> Sparse:
    """The second derivatives of a scalar ``y`` by the elements of ``x``, flat, that are not 0 whatever the values: both
    triangles.

    As `sparse_jacobian` of the gradient; as the matrix is symmetric, a star colouring needs fewer products.

    >>> import numpy as np
    >>> import graphc as gx
    >>> g = gx.Graph("chain", float_dtype="float64")
    >>> x = g.input("x", (4,))
    >>> hess = gx.sparse_hessian(gx.sum((x[1:] - x[:-1] ** 2) ** 2), x)
    >>> f = gx.compile([x], hess.data)
    >>> hess.to_scipy(f(np.ones(4))).toarray().tolist()
    [[8.0, -4.0, 0.0, 0.0], [-4.0, 10.0, -4.0, 0.0], [0.0, -4.0, 10.0, -4.0], [0.0, 0.0, -4.0, 2.0]]
    """
    origin = caller()
    with located("sparse_hessian", origin):
        _known(scalar(y), x)
        graph = y.graph
        with graph.placed(origin, y.name):
            (slope,) = accumulate(graph, [y], [x], [graph.constant(1.0, y.dtype)])
            if slope is None:
                slope = filled(graph, 0, x.shape, x.dtype)
            once = pattern(slope, x)
            found = once.multiply(once.T).tocsr()  # what is 0 on one side of the diagonal is on the other
            found.sort_indices()
            if (direct := _direct(slope, x, found)) is not None:
                return _made(found, direct, lambda: colouring.star(found))
            colour = colouring.star(found)
            rows = np.repeat(np.arange(found.shape[0]), np.diff(found.indptr))
            alone = colouring.alone(found, colour)
            own, across = np.where(alone, found.indices, rows), np.where(alone, rows, found.indices)
            return _made(found, _values(slope, x, colour, colour[own], across), lambda: colour)


def _known(y: Tensor, x: Tensor) -> None:
    for t in (y, x):
        if not isinstance(t, Tensor):
            raise GradientError(f"expected a tensor, found {t!r}")
    differentiable(y, x)
    for t in (y, x):
        if not all(isinstance(s, int) for s in t.shape):
            raise GradientError(f"the sizes of {t.name} must be known, found {t.type}", node=t.name)


def _count(colour: Array) -> int:
    return int(colour.max(initial=-1)) + 1


def _both(found: Any) -> tuple[Array, Array]:
    """Colours of columns and of rows."""
    return colouring.columns(found), colouring.columns(found.T.tocsr())


def _made(found: Any, data: Tensor, colour: Callable[[], Array]) -> Sparse:
    return Sparse(data, found.indices.copy(), found.indptr.copy(), found.shape, colour)


def _direct(y: Tensor, x: Tensor, found: Any) -> Tensor | None:
    """The elements of the pattern without products, where derivatives are a sum of few terms: see `derive.diagonal`."""
    graph = y.graph
    if not found.nnz:
        return None
    with tracing(graph, "a sparse matrix") as trace:
        along = trace.stand_in(x.type, x.origin)
        (tangent,) = push([y], [x], [along])
        one = graph.constant(1.0, y.dtype)
        made = (
            None
            if tangent is None
            else followed(graph, tangent, {along.id: Diagonal.seeds(one, x.shape, compact=True)})
        )
        data = None if made is None else _picked(made, found)
        trace.close(() if data is None else (data,))
    return data


def _picked(made: Diagonal, found: Any) -> Tensor | None:
    """The elements of a pattern, each the sum of what entries have there."""
    graph, (height, width) = made.graph, found.shape
    parts = [some for some in (*made.entries, *map(made.listed, made.terms)) if some is not None]
    key = np.concatenate([some.at * width + some.own for some in parts])
    size, source = 0, []  # where the value of each entry lies
    for some in parts:
        count = int(some.value.shape[0])  # type: ignore[call-overload]
        source.append(size + (np.arange(count) if count == len(some.at) else np.zeros(len(some.at), np.int64)))
        size += count
    wanted = np.repeat(np.arange(height), np.diff(found.indptr)) * width + found.indices
    order = np.argsort(key, kind="stable")
    first, last = (np.searchsorted(key[order], wanted, side) for side in ("left", "right"))
    rounds = range(int((last - first).max(initial=0)))
    held = [some.value for some in parts]
    if any(np.any(first + k >= last) for k in rounds):
        held.append(filled(graph, 0, (1,), held[0].dtype))
    flat, lies = held[0] if len(held) == 1 else concat(held), np.concatenate(source)
    data = None
    for k in rounds:
        place = np.where(first + k < last, lies[order[np.minimum(first + k, len(order) - 1)]], size)
        part = flat if np.array_equal(place, np.arange(size)) else take(flat, graph.constant(place), axis=0)
        data = part if data is None else data + part
    return data


def _values(y: Tensor, x: Tensor, colour: Array, product: Array, place: Array, reverse: bool = False) -> Tensor:
    """Elements ``place`` of the products number ``product`` of the Jacobian with the sum of the columns of a colour."""
    graph, count = y.graph, _count(colour)
    seeded, other = (y, x) if reverse else (x, y)
    size = math.prod(int(s) for s in other.shape)  # type: ignore[call-overload]
    if not len(product):
        return filled(graph, 0, (0,), y.dtype)
    held = reshape(graph.constant(colour), seeded.shape)
    number = reshape(iota(graph, count), (count, *(1,) * seeded.ndim))
    seeds = cast(equal(number, expand_dims(held, 0)), seeded.dtype)
    with tracing(graph, "a sparse matrix") as trace:
        along = trace.stand_in(seeded.type, seeded.origin)
        (one,) = accumulate(graph, [y], [x], [along]) if reverse else push([y], [x], [along])
        assert one is not None
        (many,) = Examples(graph, count).through(trace, {along.id: seeds}, [one])
    assert many is not None
    return apply("take", ravel(many), graph.constant(product.astype(np.int64) * size + place), axis=0)


__all__ = ["Sparse", "sparse_hessian", "sparse_jacobian"]
