"""Memory of loops and branches, beside that of their results."""

from __future__ import annotations

from collections.abc import Hashable

from graphc.config import settings
from graphc.ir import dims
from graphc.ir.body import bodies
from graphc.ir.dims import Size
from graphc.ir.types import TensorType
from graphc.schedule.access import padded
from graphc.schedule.expand import blas_operand, merges_rows
from graphc.schedule.plan import Control, Form, Group, Packed, Product, Schedule, memory_of
from graphc.schedule.stages import reads_of
from graphc.schedule.sums import PIECE, SPILL

MOST_PACKED = 1 << 24  # bytes of an operand that is packed before a loop
CELL = 64  # bytes of a carry that is kept in registers, or in one line of the stack

Layout = dict[tuple[str, int], Size]


def carries(item: Control) -> int:
    """How many carries a loop has."""
    attrs = item.node.attrs
    return int(attrs["carries"]) if item.node.op.name == "scan" else len(attrs["body"].types)


def in_cell(kind: TensorType) -> bool:
    """Whether a carry is so small that it is handed on by copies."""
    return isinstance(kind.size, int) and kind.size * kind.dtype.itemsize <= CELL


def fixed(item: Control) -> int:
    """The first operand of a loop that is the same in all its steps."""
    return carries(item) + (int(item.node.attrs["xs"]) if item.node.op.name == "scan" else 0)


def packing(item: Control) -> tuple[Hashable, ...]:
    """What decides which operands are packed for a loop, for schedules of its bodies name those; () where none are."""
    if settings().blas != "tiles" or item.node.op.name == "cond" or item.node.attrs.get("length") == 1:
        return ()
    return fixed(item), *(body for _, body in bodies(item.node))


def pack(item: Control) -> None:
    """Has the right operands of products that are the same in all steps of a loop packed beforehand."""
    if not packing(item):
        return
    for plan in item.bodies.values():
        slots = {id: k - 1 for k, id in enumerate(plan.inputs) if k > fixed(item)}
        for _, items in plan.sections():
            for product in items:
                if isinstance(product, Product) and product.right.root in slots:
                    product.packed = None
                    operand = _operand(plan, product, slots[product.right.root])
                    if operand is not None:
                        item.packed += [] if operand in item.packed else [operand]
                        product.packed = item.packed.index(operand)


def rows_apart(item: Control) -> Group | None:
    """What a scan does in a step, where rows of all carries depend on the same rows of those before only."""
    plan = item.bodies.get("body")
    if item.node.op.name != "scan" or plan is None or plan.watched is not None or len(plan.stages) != 1:
        return None
    (stage,) = plan.stages
    if stage.alone or len(stage.groups) != 1:
        return None
    (group,) = stage.groups
    made = {i.node.id for i in group.items if isinstance(i, Product)}
    for k, kind in enumerate(item.node.attrs["body"].types[: carries(item)]):
        id = plan.outputs[k]
        whole = plan.buffers[id].place == ("output", k) and not in_cell(kind) and kind.shape[:1] == (group.size,)
        parts = plan.statements.get(id, [])
        rows = all(s.form is not Form.SCATTER and s.kept.get(0) == 0 and s.sizes[0] == group.size for s in parts)
        if not whole or not rows or not (parts or id in made):
            return None
    before = {plan.inputs[k + 1] for k in range(carries(item))}
    for access in (access for i in group.items for access in reads_of(i)):
        if memory_of(plan.aliases, access.root) in before:
            index = access.index[0] if access.root in before else None
            if index is None or not index.plain or index.level != 0:
                return None
    return group


def _operand(plan: Schedule, product: Product, slot: int) -> Packed | None:
    """The right operand of a product that is called once, on several rows; None where it does not pay to pack it."""
    several = len(product.batch) - merges_rows(plan.graph, product)
    known = isinstance(product.columns, int) and isinstance(product.inner, int) and product.inner <= PIECE
    if not known or several or product.fold is not None or product.nest is not None or product.rows == 1:
        return None
    found = blas_operand(plan.graph, product, 1)
    assert found is not None, "a product's operands are made readable before scheduling"
    operand = Packed(slot, product.right, *found, product.inner, product.columns)  # type: ignore[arg-type]
    bytes = _packed_bytes(operand, product.node.type.dtype.itemsize)
    return operand if isinstance(bytes, int) and bytes <= MOST_PACKED else None


def operand_type(item: Control, operand: Packed) -> TensorType:
    """The type of the operand of a loop that is packed, or that what is packed lies in."""
    kind: TensorType = item.node.attrs["body"].inputs[operand.slot + 1][1]
    return kind


def _packed_bytes(operand: Packed, itemsize: int) -> Size:
    return dims.multiply(dims.multiply(operand.inner, padded(operand.columns, itemsize)), itemsize) + SPILL


def layout(item: Control) -> tuple[Layout, Size]:
    """Where a loop or branch has what in its own memory, and how much that is.

    ``("turn", k)`` is where every other carry k lies, ``("last", k)`` the last one where nothing reads it, ``("row",
    k)`` what a step or a side makes as output k, where nothing reads it, ``("packed", k)`` what is packed. ``("inner",
    0)`` begins the workspace of the bodies, of which one runs at a time.
    """
    found: Layout = {}
    end: Size = 0

    def place(what: str, k: int, kind: TensorType) -> None:
        nonlocal end
        found[what, k] = end
        end = end + dims.multiply(padded(kind.size, kind.dtype.itemsize), kind.dtype.itemsize)

    types = next(iter(item.node.attrs[name] for name in item.bodies if name != "test")).types
    moving = 0 if item.node.op.name == "cond" else carries(item)
    for k, kind in enumerate(types):
        if k < moving:
            if not in_cell(kind):
                place("turn", k, kind)
                if k not in item.results:
                    place("last", k, kind)
        elif k not in item.results:
            place("row", k, kind)
    for k, operand in enumerate(item.packed):
        found["packed", k] = end
        end = end + _packed_bytes(operand, operand_type(item, operand).dtype.itemsize)
    found["inner", 0] = end
    inner = [dims.total(slot.bytes for slot in body.slots) for body in item.bodies.values()]
    return found, end + _most(inner)


def _most(sizes: list[Size]) -> Size:
    """At least the largest: where they are not all known, their sum."""
    if all(isinstance(size, int) for size in sizes):
        return max(sizes, default=0)  # type: ignore[type-var]
    return dims.total(sizes) if len(set(sizes)) > 1 else sizes[0]


__all__ = ["CELL", "carries", "fixed", "in_cell", "layout", "operand_type", "pack", "packing", "rows_apart"]
