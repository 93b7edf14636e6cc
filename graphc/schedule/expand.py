"""Graph -> graph, before scheduling: small and thin products as loops, copies where memory must be whole."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache

import numpy as np

from graphc.ir import dims
from graphc.ir.dims import Size
from graphc.ir.graph import Graph, copy_node, rebuild
from graphc.ir.node import Node
from graphc.ir.op import Kind, Op, lookup
from graphc.ir.template import template
from graphc.ir.tensor import Tensor
from graphc.ir.types import TensorType, is_float
from graphc.ops.shape import expand_dims, permute_dims, reshape
from graphc.schedule.access import (
    ZERO,
    is_alias,
    is_check,
    is_formula,
    levels_of,
    movement,
    resolve,
    row_major,
    steps_of,
    strides,
)
from graphc.schedule.fuse import batch_sums, fits_shards, product_of
from graphc.schedule.nested import nested, reshaped
from graphc.schedule.plan import Product

SMALL = 8  # a product with two known sides up to this is faster as loops that fuse than as tiles
SHORT = 64  # elements of a row whose extreme is looked for in the loops around
WHOLE = (Kind.LEAF, Kind.CONTRACTION, Kind.ROUTINE, Kind.RESULT)  # ops whose results lie in memory anyway
FEW = 25  # but for sums over a long inner size of which there are more than this


def expand(graph: Graph) -> Graph:
    """The graph that `fuse` takes: no products that BLAS should not have, and copies where memory is reshaped.

    Products with two small known sides, and those with a vector, become multiply and sum, which fuse with what
    surrounds them; a data matrix that is read by ``X @ w`` and by ``X.T @ r`` is then read once. A sum of products over
    their batch that is too large for each shard to have a part of becomes one product over a longer inner size. What
    finishes a reduction becomes an elementwise op behind it. A float sum over axes that lie apart becomes one over the
    inner axes, then one over the outer ones, so that each counts its own additions. One over neighbouring axes of a
    leaf that nothing else reads goes through memory in one loop. Where the place of an extreme along rows in memory is
    looked for, that becomes a routine.
    """
    for step in (lambda g: _joined(g), lambda g: _loops, lambda g: _finished, _flat, lambda g: _apart, _copies):
        graph = rebuild(graph, step(graph))
    return rebuild(graph)  # leaves out what was replaced


def _place(new: Graph, node: Node, operands: tuple[Tensor, ...]) -> Tensor | None:
    """The least index at which an element is the extreme of its row, as a function of rows that lie in memory."""
    if node.op.name != "min" or len(operands) != 1 or operands[0].op.name != "where":
        return None
    met, index, nowhere = operands[0].inputs
    extreme, x = _extreme(met)
    if extreme is None or x.ndim == 0 or extreme.attrs["axes"] != (x.ndim - 1,) or node.attrs["axes"] != (x.ndim - 1,):
        return None
    n = x.shape[-1]
    if not is_float(x.dtype) or _memory(x).op.kind not in WHOLE or (isinstance(n, int) and n <= SHORT):
        return None
    if index.shape != (*(1,) * (x.ndim - 1), n) or _source(index).op.name != "iota":
        return None
    number = _source(nowhere).node.value
    if number is None or number.shape != () or number != np.iinfo(np.int64).max:
        return None
    return new.append(_FIRST, [x], {"largest": extreme.op.name == "max"}, type=node.type)


def _extreme(met: Tensor) -> tuple[Node | None, Tensor]:
    """The reduction whose result each element of a tensor is compared with, where no NaN is missed; the tensor."""
    equal, x = met, met
    if met.op.name == "logical_or":
        equal, unequal = met.inputs
        x = unequal.inputs[0]
        if unequal.op.name != "not_equal" or unequal.inputs[1] is not x:
            return None, met
    if equal.op.name != "equal":
        return None, met
    for one, other in (equal.inputs, equal.inputs[::-1]):
        if other.op.name in ("max", "min") and other.inputs[0] is one and other.ndim == one.ndim:
            return (other.node if one is x else None), one
    return None, met


def _source(tensor: Tensor) -> Tensor:
    """What a movement, or several, shows the elements of."""
    return _source(tensor.inputs[0]) if tensor.op.kind is Kind.MOVEMENT else tensor


def _memory(tensor: Tensor) -> Tensor:
    """What lies in the same memory, in another shape."""
    return _memory(tensor.inputs[0]) if is_alias(tensor.graph, tensor.node) else tensor


_FIRST = Op(
    "first_extreme",
    Kind.ROUTINE,
    1,
    lambda types, attrs: TensorType(np.dtype(np.int64), types[0].shape[:-1]),
    lambda x, largest: (np.argmax if largest else np.argmin)(x, -1),
    code="first_extreme",
    core=(1,),
    attrs=("largest",),
)


def _joined(graph: Graph) -> Callable[[Graph, Node, tuple[Tensor, ...]], Tensor | None]:
    """The visitor that joins the batch of a summed product and its inner size."""
    summed = {sum for sum, product in batch_sums(graph).items() if not fits_shards(graph, sum, product)}

    def visit(new: Graph, node: Node, operands: tuple[Tensor, ...]) -> Tensor | None:
        if node.id not in summed:
            return None
        left, right = operands[0].inputs
        if left.shape[:-2] != right.shape[:-2]:
            return None
        length = dims.product(right.shape[:-1])
        stacked = reshape(_turned(left), (length, left.shape[-2]))
        return reshape(permute_dims(stacked, (1, 0)) @ reshape(right, (length, right.shape[-1])), node.type.shape)

    return visit


def _turned(tensor: Tensor) -> Tensor:
    """The matrices of a tensor transposed; what they were made of where they are transposed already."""
    axes = (*range(tensor.ndim - 2), tensor.ndim - 1, tensor.ndim - 2)
    if tensor.op.name == "permute_dims" and tensor.node.attrs["axes"] == axes:
        return tensor.inputs[0]
    return permute_dims(tensor, axes)


def _loops(new: Graph, node: Node, operands: tuple[Tensor, ...]) -> Tensor | None:
    if node.op.kind is not Kind.CONTRACTION:
        return _place(new, node, operands) if node.op.kind is Kind.REDUCTION else None
    a, b = operands
    rank = max(a.ndim, b.ndim)
    match _order(a, b):
        case "row, column, inner":
            return _summed(expand_dims(a, a.ndim - 1) * expand_dims(_turned(b), b.ndim - 2), -1, node)
        case "row, inner, column":
            return _summed(expand_dims(a, a.ndim) * expand_dims(b, b.ndim - 2), -2, node)
        case "inner, row, column":
            return _summed(expand_dims(_turned(a), a.ndim) * expand_dims(b, b.ndim - 1), rank - 2, node)
    return None


def _summed(terms: Tensor, axis: int, node: Node) -> Tensor:
    """The sum in the dtype of ``node``: integers are added as int64, which a product of them is not."""
    return terms.sum(axis=axis).astype(node.type.dtype)


def _order(a: Tensor, b: Tensor) -> str | None:
    """The loops in which a product of these is best taken, outermost first; None where tiles are faster.

    Operands should be read as they lie in memory, a sum over a short inner size kept in a register.
    """
    rows, inner, columns = a.shape[-2], a.shape[-1], b.shape[-1]
    small = [isinstance(s, int) and s <= SMALL for s in (rows, inner, columns)]
    if is_float(a.dtype) and (1 not in (rows, columns) or _row_by_row(a, b)):
        if sum(small) < 2:
            return None
        if small[1]:
            return "row, column, inner"
        return "inner, row, column" if dims.at_most(dims.multiply(rows, columns), FEW) else None
    if _step(a, -2) == 1 and _step(a, -1) != 1:
        return "inner, row, column"
    return "row, column, inner" if small[1] or _step(b, -2) == 1 else "row, inner, column"


def _row_by_row(a: Tensor, b: Tensor) -> bool:
    """True for a batch of single rows, which lie in memory like the rows of one matrix, times the same matrix."""
    alike = a.ndim > 2 and a.shape[-2] == 1 and all(s == 1 for s in b.shape[:-2])
    return alike and _step(a, -3) == a.shape[-1] and _step(a, -1) == 1


def _step(tensor: Tensor, axis: int) -> Size:
    """Elements of memory from one index of an axis to the next; 0 where there is only one, or no memory."""
    _, index = levels_of(tensor.shape)
    level = index[axis].level
    return 0 if level is None else (strides(tensor.graph, resolve(tensor.graph, tensor.id, index)) or {}).get(level, 0)


def _finished(new: Graph, node: Node, operands: tuple[Tensor, ...]) -> Tensor | None:
    if node.op.finish == "acc":
        return None
    combining, finish = _halves(node.op)
    return new.append(finish, [new.append(combining, operands, node.attrs, type=node.type)], node.attrs, type=node.type)


@cache
def _halves(op: Op) -> tuple[Op, Op]:
    """A reduction without its finish, and that as an elementwise op."""
    finish = template(op.finish).filled({"acc": "a"}, "{{{}}}".format)
    last = Op(f"{op.name}_finish", Kind.ELEMENTWISE, 1, op.infer, op.reference, code=finish, attrs=op.attrs)
    return replace(op, finish="acc", gradient=()), last


def _flat(graph: Graph) -> Callable[[Graph, Node, tuple[Tensor, ...]], Tensor | None]:
    """The visitor that joins neighbouring axes of a leaf that are summed.

    What is read elsewhere too may be summed in the same loop as that; rows whose length is not known may be short, and
    cost more than reading twice.
    """
    uses = Counter(i for node in graph.nodes for i in node.inputs)
    uses.update(t.id for t in graph.outputs)
    alone = {graph.nodes[id].name for id, count in uses.items() if count == 1}

    def visit(new: Graph, node: Node, operands: tuple[Tensor, ...]) -> Tensor | None:
        if not node.op.adds or "axes" not in node.attrs or not is_float(node.type.dtype):
            return None
        (x,), attrs = operands, node.attrs
        if x.op.kind is not Kind.LEAF:
            return None
        shape, unknown = list(x.shape), False
        for axis in attrs["axes"]:
            if axis + 1 in attrs["axes"]:
                unknown |= not isinstance(shape[axis + 1], int)
                shape[axis], shape[axis + 1] = 1, dims.multiply(shape[axis], shape[axis + 1])
        if tuple(shape) == x.shape or not (unknown or x.name in alone):
            return None
        return new.append(node.op, [reshape(x, tuple(shape))], attrs, type=node.type)

    return visit


def _apart(new: Graph, node: Node, operands: tuple[Tensor, ...]) -> Tensor | None:
    if not node.op.adds or not is_float(node.type.dtype):
        return None
    (x,), attrs = operands, node.attrs
    if "shape" in attrs:  # axes that may turn out to be kept, one at a time
        apart = [a for a, (n, s) in enumerate(zip(attrs["operand_shape"], attrs["shape"], strict=True)) if n != s]
        for axis in reversed(apart[1:]):
            shape = (*x.shape[:axis], attrs["shape"][axis], *x.shape[axis + 1 :])
            x = new.append(node.op, [x], {"shape": shape, "operand_shape": x.shape})
        return new.append(node.op, [x], {**attrs, "operand_shape": x.shape}) if len(apart) > 1 else None
    runs: list[list[int]] = [[]]
    for axis, size in enumerate(x.shape):
        if axis in attrs["axes"]:
            runs[-1].append(axis)
        elif size != 1 and runs[-1]:
            runs.append([])
    inner = [run for run in runs[1:] if any(x.shape[a] != 1 for a in run)]
    op = node.op
    for run in reversed(inner):
        x, op = new.append(op, [x], {"axes": tuple(run), "keepdims": True}), lookup("sum")
    return new.append(op, [x], attrs, type=node.type) if inner else None


def _copies(graph: Graph) -> Callable[[Graph, Node, tuple[Tensor, ...]], Tensor | None]:
    """The visitor that copies what a reshape or a product cannot read where it lies."""
    in_place = _nested(graph)

    def visit(new: Graph, node: Node, operands: tuple[Tensor, ...]) -> Tensor | None:
        if is_alias_of_view(new, node, operands) and node.id not in in_place:
            return new.append(node.op, [_copy(operands[0])], node.attrs, type=node.type)
        if node.op.kind in (Kind.ROUTINE, Kind.CONTROL):
            parts = [_copy(t) if not _in_memory(t) else t for t in operands]
            return new.append(node.op, parts, node.attrs, type=node.type)
        if node.op.kind is Kind.CONTRACTION:
            name = None if node.name in new else node.name
            made = new.append(node.op, operands, node.attrs, type=node.type, name=name)
            product = product_of(new, made.node)
            fixed = [t if readable(new, product, side) else _copy(t) for side, t in enumerate(operands)]
            same = all(a is b for a, b in zip(fixed, operands, strict=True))
            return made if same else new.append(node.op, fixed, node.attrs, type=node.type)
        return None

    return visit


def _nested(graph: Graph) -> set[int]:
    """Reshaped views that nothing but products reads, as right operands, through nested axes."""
    readers: dict[int, list[Node]] = {}
    for node in graph.nodes:
        for i in node.inputs:
            readers.setdefault(i, []).append(node)
    roots = {t.id for t in graph.outputs}

    def by_products(id: int) -> bool:
        """Whether a matrix is read by products alone, on their right."""
        kinds = [n.op.kind is Kind.CONTRACTION and n.inputs[1] == id != n.inputs[0] for n in readers.get(id, [])]
        return id not in roots and bool(kinds) and all(kinds)

    found = set()
    for node in graph.nodes:
        matrix, turned = reshaped(graph, node)
        if not turned and node.op.name == "reshape" and nested(graph, node, (ZERO,) * (node.type.ndim - 2)):
            users = readers.get(matrix.id, [])
            views = [n.id for n in users if n.op.kind is not Kind.CONTRACTION]
            direct = [n for n in users if n.op.kind is Kind.CONTRACTION]
            fits = all(n.inputs[1] == node.id != n.inputs[0] for n in direct) and node.id not in roots
            if users and fits and all(reshaped(graph, graph.nodes[v])[1] and by_products(v) for v in views):
                found.add(node.id)
    return found


def is_alias_of_view(new: Graph, node: Node, operands: tuple[Tensor, ...]) -> bool:
    """True where a reshape needs its operand's elements in order, and the operand is a movement's result."""
    if node.op.kind is not Kind.MOVEMENT:
        return False
    assert node.op.view is not None
    if node.op.view(node.type, [t.type for t in operands], node.attrs) is not None:
        return False
    return not _in_memory(operands[0])


def _in_memory(tensor: Tensor) -> bool:
    """True for elements that lie in memory in order."""
    node = tensor.node
    return not (is_formula(node) or is_check(node) or movement(tensor.graph, node) is not None)


def _copy(tensor: Tensor) -> Tensor:
    return tensor.graph.append(lookup("identity"), (tensor,), {})


def outputs_apart(graph: Graph, elementwise: bool = False) -> Graph:
    """Every output its own computed node: leaves, movements and outputs that stand twice are copied.

    With ``elementwise`` so are floats that are not made element by element, and those of them that a loop or branch is
    given.
    """

    def visit(new: Graph, node: Node, operands: tuple[Tensor, ...]) -> Tensor | None:
        if not elementwise or node.op.kind is not Kind.CONTROL:
            return None
        known = Kind.LEAF, Kind.ELEMENTWISE, Kind.RESULT
        given = [_copy(t) if is_float(t.dtype) and t.op.kind not in known else t for t in operands]
        return copy_node(new, node, given)

    new = rebuild(graph, visit)
    seen: set[int] = set()
    out = []
    for tensor in new.outputs:
        node = tensor.node
        copied = node.id in seen or node.op.kind in (Kind.LEAF, Kind.MOVEMENT) or is_check(node) or is_formula(node)
        if copied or (elementwise and node.op.kind is not Kind.ELEMENTWISE and is_float(node.type.dtype)):
            with new.placed(node.origin, node.forward, node.call):
                tensor = _copy(tensor)
        seen.add(tensor.id)
        out.append(tensor)
    new.outputs = out
    return new


def readable(graph: Graph, product: Product, side: int) -> bool:
    """True for an operand that a product reads as it lies in memory."""
    return (side == 1 and product.nest is not None) or blas_operand(graph, product, side) is not None


def blas_operand(graph: Graph, product: Product, side: int) -> tuple[bool, Size] | None:
    """(transposed, leading dimension) of a product's operand as it lies in memory; None where BLAS cannot read it."""
    access = (product.left, product.right)[side]
    by_level = strides(graph, access)
    if by_level is None:
        return None
    apart = row_major(graph.nodes[access.root].type.shape)  # never negative, whatever their sizes turn out to be
    level = len(product.batch)
    first, second = (level, level + 2) if side == 0 else (level + 2, level + 1)  # (row, inner) or (inner, column)
    sizes = {level: product.rows, level + 1: product.columns, level + 2: product.inner}
    outer, inner = by_level.get(first, 0), by_level.get(second, 0)
    if sizes[second] == 1 or inner == 1:
        return _leading(outer, sizes[first], sizes[second], False, apart)
    if sizes[first] == 1 or outer == 1:
        return _leading(inner, sizes[second], sizes[first], True, apart)
    return None


def _leading(step: Size, count: Size, width: Size, transposed: bool, apart: Sequence[Size]) -> tuple[bool, Size] | None:
    """BLAS wants at least ``width`` between rows; a matrix of one row may have any."""
    if count == 1:
        return transposed, width
    if not dims.is_stride(step) and step not in apart:
        return None
    if isinstance(step, int) and not dims.at_most(width, step):
        return None
    return transposed, step


def merges_rows(graph: Graph, product: Product) -> bool:
    """True where the left operand's last batch axis goes on where its rows end, and the right one has no such axis."""
    level = len(product.batch) - 1
    left, right = _steps(graph, product)
    if level < 0 or level in right or level not in left:
        return False
    if product.rows == 1:
        return left[level] == product.inner and left.get(level + 3) == 1
    return left[level] == dims.multiply(left.get(level + 1, 0), product.rows)


def merges_inner(graph: Graph, product: Product) -> bool:
    """True where that holds of the inner size, in both operands."""
    level = len(product.batch) - 1
    if product.inner == 1:
        return False
    return all(s.get(level) == dims.multiply(s.get(level + 3, 0), product.inner) for s in _steps(graph, product))


def _steps(graph: Graph, product: Product) -> list[dict[int, Size]]:
    return [steps_of(a.index, graph.nodes[a.root].type.shape) for a in (product.left, product.right)]


__all__ = ["blas_operand", "expand", "merges_inner", "merges_rows", "outputs_apart"]
