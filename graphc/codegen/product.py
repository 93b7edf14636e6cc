"""The source of a matrix product: loops over the batch around a call, or one call where the batch is more rows."""

from __future__ import annotations

from typing import NamedTuple

from graphc.codegen import tiles
from graphc.codegen.whole import Whole
from graphc.config import settings
from graphc.ir.dims import Size
from graphc.schedule.access import Index, steps_of
from graphc.schedule.expand import blas_operand, merges_inner, merges_rows
from graphc.schedule.nested import MOST, NEST
from graphc.schedule.plan import Product
from graphc.schedule.sums import DEPTH, STEPS, is_long


def descriptor(nest: Whole, product: Product) -> list[str]:
    """How a nested right operand lies, in `tiles.WORDS`: sizes and steps of its inner axes and of its columns'."""
    assert product.nest is not None
    steps = steps_of(product.right.index, nest.graph.nodes[product.right.root].type.shape)
    words, level = [], NEST
    for sizes in product.nest:
        many: list[Size] = [*(1,) * (MOST - len(sizes)), *sizes]
        along = [0] * (MOST - len(sizes)) + [steps.get(level + k, 0) for k in range(len(sizes))]
        words += [f"max(1, {nest.size(s)})" if not isinstance(s, int) else str(max(1, s)) for s in many[1:]]
        words += [nest.size(s) for s in along]
        level += len(sizes)
    return [*words, "0", "0"]


def write(nest: Whole, product: Product, depth: int) -> None:
    """Appends the product, or a shard of it: some of its rows, or some of its batch."""
    node, fold, outside = product.node, product.fold, depth
    merged = _merged(nest, product)
    loops = len(product.batch) - bool(merged)
    adds = fold is not None and loops > 0
    if fold is not None and adds:
        nest.start(fold, depth)
    for k, word in enumerate(descriptor(nest, product) if product.nest is not None else []):
        nest.put(depth, f"set_word(scratch + {tiles.DESCRIPTOR}, {k}, {word})", node.id)
    for level in range(loops):
        whole = level > 0 or nest.group is None
        nest.put(depth, f"for i{level} in range({nest.size(product.batch[level]) if whole else 'lo, hi'}):", node.id)
        depth += 1

    shard = nest.group is not None and loops == 0  # the call is for a part of the outermost level
    held = loops + shard  # levels that an address depends on
    first = {0: "lo"} if shard else {}  # the call begins at the shard's first row
    rows, inner = _extent(nest, product, merged, shard)
    left, right = (_operand(nest, product, side, held, first) for side in (0, 1))
    result = nest.plan.buffers[node.id] if fold is None else nest.home(fold)
    assert result is not None
    at = tuple(Index(a, 0, 1) if fold is None and a < held else Index(None) for a in range(node.type.ndim))
    target = nest.element_of(result, at, node.type.dtype, first)
    carried = fold if node.id in nest.plan.rooms else None
    if carried is not None:
        nest.count(carried, f"({inner} + {DEPTH - 1})//{DEPTH}", STEPS, depth)
    nest.put(depth, _call(nest, product, (rows, nest.size(product.columns), inner), left, right, target, adds), node.id)
    if carried is not None:
        nest.finish(carried, outside)


class _Operand(NamedTuple):
    form: int  # 0, 1 where it is transposed, or tiles.PACKED
    leading: str  # elements from one row to the next, or where its descriptor is
    place: str


def _merged(nest: Whole, product: Product) -> str:
    """Which size of one call the last level of the batch adds to: "inner" where all are summed, "rows", or neither."""
    if product.fold is not None:
        return "inner" if merges_inner(nest.graph, product) else ""
    return "rows" if merges_rows(nest.graph, product) else ""


def _extent(nest: Whole, product: Product, merged: str, shard: bool) -> tuple[str, str]:
    """Rows and inner size of a call."""
    rows, inner = nest.size(product.rows), nest.size(product.inner)
    if not merged:
        return "hi - lo" if shard else rows, inner
    count = "hi - lo" if shard else nest.size(product.batch[-1])
    return (f"({count})*({rows})", inner) if merged == "rows" else (rows, f"({count})*({inner})")


def _operand(nest: Whole, product: Product, side: int, held: int, first: dict[int, str]) -> _Operand:
    if side == 1 and product.packed is not None:
        return _Operand(tiles.PACKED, "0", nest.address(("packed", product.packed)))
    access = (product.left, product.right)[side]
    place = nest.element(access, held, product.node.type.dtype, first)
    if side == 1 and product.nest is not None:
        return _Operand(0, f"scratch + {tiles.DESCRIPTOR}", place)
    found = blas_operand(nest.graph, product, side)
    assert found is not None, "a product's operands are made readable before scheduling"
    transposed, leading = found
    known = str(max(1, leading)) if isinstance(leading, int) else f"max(1, {nest.size(leading)})"
    return _Operand(int(transposed), known, place)


def _call(
    nest: Whole, product: Product, sizes: tuple[str, str, str], left: _Operand, right: _Operand, target: str, adds: bool
) -> str:
    """The call of a tile or of BLAS."""
    dtype, columns = product.node.type.dtype, sizes[1]
    extent = f"{left.form}, {right.form}, {', '.join(sizes)}"
    operands = f"{left.place}, {left.leading}, {right.place}, {right.leading}"
    if settings().blas == "tiles":
        name = nest.primitive("tile" if product.nest is None else "nested", dtype)
        return f"{name}({extent}, {operands}, {int(adds)}, {target}, {columns}, scratch)"
    name, one, beta = nest.primitive("gemm", dtype), nest.literal(1.0, dtype), nest.literal(float(adds), dtype)
    scratch = "scratch" if is_long(product) else "0"
    return f"{name}({extent}, {one}, {operands}, {beta}, {target}, max(1, {columns}), {scratch})"
