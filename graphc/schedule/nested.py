"""Matrices whose rows and columns are each several axes of a tensor, read where they lie: windows of images."""

from __future__ import annotations

from graphc.config import settings
from graphc.ir import dims
from graphc.ir.dims import Size
from graphc.ir.graph import Graph
from graphc.ir.node import Node
from graphc.ir.op import Kind
from graphc.ir.types import Shape, is_float
from graphc.schedule.access import ZERO, Access, Index, is_alias, movement, resolve, strides

NEST = 64  # the first level of such an operand; its inner axes come before those of its columns
MOST = 3  # axes of either

Nest = tuple[tuple[Size, ...], tuple[Size, ...]]  # sizes of the inner axes, and of those of the columns


def reshaped(graph: Graph, operand: Node) -> tuple[Node, bool]:
    """The node whose last two axes are those of an operand, and whether it is read transposed."""
    rank = operand.type.ndim
    if operand.op.name == "permute_dims" and operand.attrs["axes"] == (*range(rank - 2), rank - 1, rank - 2):
        return graph.nodes[operand.inputs[0]], True
    return operand, False


def nested(graph: Graph, operand: Node, lead: tuple[Index, ...]) -> tuple[Access, Nest] | None:
    """Where the elements of a product's right operand lie, ``lead`` being the indices of its batch.

    None where it is no reshaped view, or one that does not come apart into few axes.
    """
    if operand.type.ndim < 2 or not is_float(operand.type.dtype):
        return None
    matrix, turned = reshaped(graph, operand)
    if matrix.op.kind is not Kind.MOVEMENT or not is_alias(graph, matrix) or settings().blas != "tiles":
        return None
    source = graph.nodes[matrix.inputs[0]]
    batch, shape = matrix.type.shape[:-2], source.type.shape
    if movement(graph, source) is None or shape[: len(batch)] != batch:
        return None
    cut = _cut(shape[len(batch) :], matrix.type.shape[-2:])
    if cut is None:
        return None
    rows, columns = range(len(batch), len(batch) + cut), range(len(batch) + cut, len(shape))
    parts = [[a for a in axes if shape[a] != 1] for axes in ((columns, rows) if turned else (rows, columns))]
    if max(map(len, parts)) > MOST:
        return None
    level = {axis: Index(NEST + k, 0, 1) for k, axis in enumerate([*parts[0], *parts[1]])}
    index = (*lead, *(level.get(a, ZERO) for a in range(len(batch), len(shape))))
    access = resolve(graph, source.id, index)
    if strides(graph, access) is None:
        return None
    inner, across = (tuple(shape[a] for a in part) for part in parts)
    return access, (inner, across)


def _cut(shape: Shape, matrix: Shape) -> int | None:
    """How many of the axes of ``shape`` are the rows of a matrix."""
    for k in range(1, len(shape)):
        if (dims.product(shape[:k]), dims.product(shape[k:])) == matrix:
            return k
    return None


__all__ = ["MOST", "NEST", "Nest", "nested", "reshaped"]
