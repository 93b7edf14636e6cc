"""The source of a matrix product: loops over the batch around a call, or one call where the batch is more rows."""

from __future__ import annotations

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
    node, fold, dtype = product.node, product.fold, product.node.type.dtype
    merged = "inner" if fold is not None and merges_inner(nest.graph, product) else ""
    merged = "rows" if fold is None and merges_rows(nest.graph, product) else merged
    loops = len(product.batch) - bool(merged)
    adds = fold is not None and loops > 0
    if fold is not None and adds:
        nest.start(fold, depth)
    outside = depth
    for k, word in enumerate(descriptor(nest, product) if product.nest is not None else []):
        nest.put(depth, f"set_word(scratch + {tiles.DESCRIPTOR}, {k}, {word})", node.id)
    for level in range(loops):
        whole = level > 0 or nest.group is None
        nest.put(depth, f"for i{level} in range({nest.size(product.batch[level]) if whole else 'lo, hi'}):", node.id)
        depth += 1
    shard = nest.group is not None and loops == 0  # the call is for a part of the outermost level
    held = loops + shard  # levels that an address depends on
    rows, inner = nest.size(product.rows), nest.size(product.inner)
    if merged:
        count = "hi - lo" if shard else nest.size(product.batch[-1])
        rows, inner = (f"({count})*({s})" if merged == of else s for of, s in (("rows", rows), ("inner", inner)))
    elif shard:
        rows = "hi - lo"

    flags, places = [], []
    counted = {0: "lo"} if shard else {}  # the call begins at the shard's first row
    for side, access in enumerate((product.left, product.right)):
        if side == 1 and product.packed is not None:
            flags.append((tiles.PACKED, "0"))
            places.append(nest.address(("packed", product.packed)))
            continue
        if side == 1 and product.nest is not None:
            flags.append((0, f"scratch + {tiles.DESCRIPTOR}"))
            places.append(nest.element(access, held, dtype, counted))
            continue
        found = blas_operand(nest.graph, product, side)
        assert found is not None, "a product's operands are made readable before scheduling"
        transposed, leading = found
        known = str(max(1, leading)) if isinstance(leading, int) else f"max(1, {nest.size(leading)})"
        flags.append((int(transposed), known))
        places.append(nest.element(access, held, dtype, counted))
    result = nest.plan.buffers[node.id] if fold is None else nest.home(fold)
    assert result is not None
    at = tuple(Index(a, 0, 1) if fold is None and a < held else Index(None) for a in range(node.type.ndim))
    places.append(nest.element_of(result, at, dtype, counted))
    (ta, lda), (tb, ldb) = flags
    left, right, target = places
    n = nest.size(product.columns)
    operands = f"{left}, {lda}, {right}, {ldb}"
    if settings().blas == "tiles":
        name = nest.primitive("tile" if product.nest is None else "nested", dtype)
        call = f"{name}({ta}, {tb}, {rows}, {n}, {inner}, {operands}, {int(adds)}, {target}, {n}, scratch)"
    else:
        name = nest.primitive("gemm", dtype)
        one, beta = nest.literal(1.0, dtype), nest.literal(float(adds), dtype)
        scratch = "scratch" if is_long(product) else "0"
        call = f"{name}({ta}, {tb}, {rows}, {n}, {inner}, {one}, {operands}, {beta}, {target}, max(1, {n}), {scratch})"
    carried = fold if node.id in nest.plan.rooms else None
    if carried is not None:
        nest.count(carried, f"({inner} + {DEPTH - 1})//{DEPTH}", STEPS, depth)
    nest.put(depth, call, node.id)
    if carried is not None:
        nest.finish(carried, outside)
