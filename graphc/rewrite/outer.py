"""Sums over outer products that are never made.

``sum(p[n, i, 1] * q[n, 1, j] * s[n, 1, 1], 0)`` is ``(p * s)^T q``, and ``sum((p[n, i, 1] * q[n, 1, j])^2, (1, 2))`` is
``sum(p^2) * sum(q^2)``: so the gradients of examples are measured, clipped and added up without one of them being made
(Goodfellow, *Efficient per-example gradient computations*, 2015). The sum of the rows of ``x @ y`` is the sum of the
rows of ``x``, times ``y``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import reduce
from typing import NamedTuple

from graphc.ir import dims
from graphc.ir.dims import Size
from graphc.ir.graph import Graph, copy_node, rebuild
from graphc.ir.node import Node
from graphc.ir.tensor import Tensor
from graphc.ir.types import is_float
from graphc.ops.assembly import concat
from graphc.ops.elementwise import abs as abs_
from graphc.ops.elementwise import add, equal, multiply, where
from graphc.ops.linalg import matmul
from graphc.ops.reduce import max as max_
from graphc.ops.reduce import sum as sum_
from graphc.ops.shape import matrix_transpose, permute_dims, reshape

LEAST = 8  # elements along the axes of a side, and of a sum, that pay
MOST = 6  # factors that are looked at


class _Factor(NamedTuple):
    tensor: Tensor
    axes: frozenset[int]  # of the product, along which it differs


class _Sides(NamedTuple):
    """Two sides of a product of matrices, each made of factors, and the axes of both, of one, and that are summed."""

    left: list[_Factor]
    right: list[_Factor]
    batch: list[int]
    rows: list[int]
    columns: list[int]
    inner: list[int]


def contractible(root: Tensor) -> bool:
    """Whether a sum is one of outer products."""
    return _sides(root) is not None


def contracted(root: Tensor) -> Tensor:
    """The same sum as a product of matrices."""
    sides, full = _sides(root), root.inputs[0].shape
    assert sides is not None
    batch, rows, columns = ([full[a] for a in axes] for axes in (sides.batch, sides.rows, sides.columns))

    def side(factors: Sequence[_Factor], first: list[int], last: list[int]) -> Tensor:
        tensor = _multiplied(factors, len(full))
        order = [*sides.batch, *first, *last]
        order += [a for a in range(len(full)) if a not in order]
        turned = permute_dims(tensor, tuple(order))
        return reshape(turned, (*batch, *(dims.product([full[a] for a in part]) for part in (first, last))))

    made = matmul(side(sides.left, sides.rows, sides.inner), side(sides.right, sides.inner, sides.columns))
    made = reshape(made, (*batch, *rows, *columns))
    kept = [*sides.batch, *sides.rows, *sides.columns]
    return reshape(permute_dims(made, tuple(kept.index(a) for a in sorted(kept))), root.shape)


def ahead(root: Tensor) -> list[bool]:
    """Of the sum of a product of matrices, whether rows of the left side, and columns of the right, add up before.

    They do where that is no more to add up.
    """
    product, summed = root.inputs[0], root.attrs["axes"]
    if product.op.name == "neg":
        product = product.inputs[0]
    if not is_float(root.dtype):
        return [False, False]
    rows, columns = (product.shape[a] for a in (-2, -1))
    inner = product.inputs[0].shape[-1]
    found = []
    for axis, size, other in ((product.ndim - 2, rows, columns), (product.ndim - 1, columns, rows)):
        found.append(axis in summed and _long([size]) and dims.at_most(inner, other))
    return found


def added_ahead(root: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """The same sum as a product of sums."""
    rows, columns = ahead(root)
    left = sum_(x, -2, keepdims=True) if rows else x
    right = sum_(y, -1, keepdims=True) if columns else y
    made = matmul(left, right)
    summed = tuple(a for a in root.attrs["axes"] if made.shape[a] != 1)
    made = reshape(sum_(made, summed, keepdims=True) if summed else made, root.shape)
    return -made if root.inputs[0].op.name == "neg" else made


def separable(root: Tensor) -> bool:
    """Whether a sum is one of squared outer products, over axes of more than one of their factors."""
    return _groups(root) is not None


def separated(root: Tensor) -> Tensor:
    """The same sum as a product of sums, one for each group of factors.

    Factors are scaled by their largest elements, so that no square over- or underflows where the result does not.
    """
    groups = _groups(root)
    assert groups is not None
    scales, sums = list[Tensor](), list[Tensor]()
    for factors, axes in groups:
        tensor = _multiplied(factors, root.inputs[0].ndim)
        largest = max_(abs_(tensor), axes, keepdims=True)
        scales.append(where(equal(largest, 0), 1, largest))
        part = tensor / scales[-1]
        sums.append(sum_(part * part, axes, keepdims=True))
    scale = reduce(multiply, scales)
    return reshape(reduce(multiply, sums) * (scale * scale), root.shape)


def _groups(root: Tensor) -> list[tuple[list[_Factor], tuple[int, ...]]] | None:
    """Factors that share axes of the sum, with these axes."""
    square = root.inputs[0]
    outer = square.inputs[0] if square.op.name == "multiply" else square
    if outer.op.name != "multiply" or square.inputs[1].id != outer.id or not is_float(root.dtype):
        return None
    if (factors := _factors(outer, square.shape)) is None:
        return None
    summed = {a for a in root.attrs["axes"] if square.shape[a] != 1}
    groups: list[tuple[list[_Factor], set[int]]] = []
    for f in sorted(factors, key=lambda f: -len(f.axes & summed)):  # those along none of them join any group
        axes = set(f.axes & summed)
        joined = [g for g in groups if g[1] & axes] if axes else groups[:1]
        rest = [g for g in groups if all(g is not j for j in joined)]
        made = [f, *(other for g in joined for other in g[0])], axes.union(*(g[1] for g in joined))
        groups = [made, *rest]
    sizes = [dims.product([square.shape[a] for a in axes]) for _, axes in groups]
    if len(groups) < 2 or not all(isinstance(size, int) and size >= LEAST for size in sizes):
        return None
    return [(members, tuple(sorted(axes))) for members, axes in groups]


def _sides(root: Tensor) -> _Sides | None:
    product, summed = root.inputs[0], set(root.attrs["axes"])
    full = product.shape
    if not is_float(root.dtype) or (factors := _factors(product, full)) is None:
        return None
    left, *others = sorted(factors, key=lambda f: -len(f.axes))
    kept = {a for a in range(len(full)) if a not in summed and full[a] != 1}
    right = next((f for f in others if f.axes & kept - left.axes), None)
    if right is None:
        return None
    inner = {a for a in summed if full[a] != 1}
    rows, columns = kept & left.axes - right.axes, kept & right.axes - left.axes
    batch = kept & left.axes & right.axes
    if not inner <= left.axes & right.axes or kept != rows | columns | batch:
        return None
    if not all(_long([full[a] for a in axes]) for axes in (rows, columns, inner)):
        return None
    sides: tuple[list[_Factor], list[_Factor]] = [left], [right]
    for f in others:
        if f is not right:
            side = next((k for k, of in enumerate((left, right)) if f.axes <= of.axes), None)
            if side is None:
                return None
            sides[side].append(f)
    return _Sides(*sides, *(sorted(axes) for axes in (batch, rows, columns, inner)))


def _factors(product: Tensor, full: Sequence[Size]) -> list[_Factor] | None:
    """What a product is made of, each smaller than it; None where something is not."""
    found: list[_Factor] = []
    waiting = [product]
    while waiting:
        t = waiting.pop()
        if t.op.name == "multiply" and t.shape == tuple(full):
            waiting += t.inputs
            continue
        shape = (*(1,) * (len(full) - t.ndim), *t.shape)
        axes = frozenset(a for a, s in enumerate(shape) if s != 1)
        if len(found) == MOST or any(shape[a] != full[a] for a in axes) or shape == tuple(full):
            return None
        found.append(_Factor(t, axes))
    return found


def _multiplied(factors: Sequence[_Factor], ndim: int) -> Tensor:
    """The product of factors, with so many axes."""
    tensors = (f.tensor for f in factors)
    return reduce(multiply, (t if t.ndim == ndim else reshape(t, (*(1,) * (ndim - t.ndim), *t.shape)) for t in tensors))


def _long(sizes: Sequence[Size]) -> bool:
    size = dims.product(sizes)
    return bool(sizes) and (not isinstance(size, int) or size >= LEAST)


def gather(graph: Graph) -> Graph:
    """Products of thin matrices that are added up are one product over all their inner sizes.

    The gradient of weights that each step of an unrolled loop multiplies with is such a sum.
    """
    uses = Counter(i for node in graph.nodes for i in node.inputs)
    uses.update(t.id for t in graph.outputs)
    inside = {i for n in graph.nodes if _adds(graph, n) for i in n.inputs if uses[i] == 1}
    if not inside:
        return graph
    opened: set[int] = set()  # in the new graph: what is read by one sum and nothing else

    def visit(new: Graph, node: Node, operands: tuple[Tensor, ...]) -> Tensor | None:
        if node.id in inside:
            made = copy_node(new, node, operands)
            opened.add(made.id)
            return made
        if not _adds(graph, node):
            return None
        terms, waiting = list[Tensor](), list(operands)
        while waiting:
            t = waiting.pop()
            if t.id in opened and t.op.name == "add":
                waiting += t.inputs
            else:
                terms.append(t)
        thin = [t for t in terms if t.id in opened and _thin(t)]
        others = [t for t in terms if not (t.id in opened and _thin(t))]
        if len(thin) < LEAST:
            return None
        left = concat([matrix_transpose(t.inputs[0]) for t in thin], 0)
        total = matmul(matrix_transpose(left), concat([t.inputs[1] for t in thin], 0))
        return reduce(add, others, total)

    return rebuild(graph, visit)


def _adds(graph: Graph, node: Node) -> bool:
    """Whether a node adds two matrices of its own shape."""
    if node.op.name != "add" or len(node.type.shape) != 2 or not is_float(node.type.dtype):
        return False
    return all(graph.nodes[i].type == node.type for i in node.inputs)


def _thin(tensor: Tensor) -> bool:
    """Whether a tensor is a product whose operands are smaller than it."""
    if tensor.op.name != "matmul" or any(t.ndim != 2 for t in tensor.inputs):
        return False
    sizes = [s for t in (*tensor.inputs, tensor) if isinstance(s := t.node.type.size, int)]
    return len(sizes) == 3 and sizes[0] + sizes[1] <= sizes[2]


__all__ = ["added_ahead", "ahead", "contracted", "contractible", "gather", "separable", "separated"]
