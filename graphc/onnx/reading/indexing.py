"""ONNX's operators on indices that are data, and masks made of positions."""

from __future__ import annotations

from collections.abc import Sequence

from graphc.ir import dims
from graphc.ir.dims import Size
from graphc.ir.tensor import Tensor
from graphc.ir.types import BOOL, INT64, UINT8, normalize_axis
from graphc.onnx.reading.elementwise import Reader
from graphc.onnx.reading.held import Held, Reading
from graphc.ops import creation, index, reduce, shape
from graphc.ops import elementwise as e
from graphc.ops.apply import apply, cast


def gather(at: Reading) -> Tensor:
    x = at.tensor()
    return index.take(x, at.tensor(1), at.axis(0, x.ndim))


def array_feature(at: Reading) -> Tensor:
    """scikit-learn's: columns of the last axis."""
    x, places = at.tensor(0), shape.ravel(at.tensor(1))
    if x.ndim == 1:
        x = shape.expand_dims(x, 0)
    return index.take(x, places, x.ndim - 1)


# ---- elements and rows by their place in memory


def _place(coordinates: Sequence[Tensor], sizes: Sequence[Size]) -> Tensor:
    """Where elements with these coordinates along axes of these sizes lie in C order; a test of each coordinate."""
    place: Tensor | None = None
    stride: Size = 1
    for coordinate, size in zip(reversed(coordinates), reversed(sizes), strict=True):
        along = index.in_range(coordinate, size, "index") * stride
        place, stride = along if place is None else along + place, dims.multiply(stride, size)
    assert place is not None
    return place


def _elements(at: Reading, x: Tensor, indices: Tensor) -> Tensor:
    """Places in ``x`` of the elements whose coordinate along one axis is data and whose other ones are their own."""
    axis = at.axis(0, x.ndim)
    if x.ndim != indices.ndim:
        at.fail(f"the indices have {indices.ndim} axes, the data {x.ndim}")
    own = [indices if a == axis else index.position(indices, a) for a in range(x.ndim)]
    return shape.broadcast_to(_place(own, x.shape), indices.shape)


def gather_elements(at: Reading) -> Tensor:
    x, indices = at.tensor(0), at.tensor(1)
    return index.take(shape.ravel(x), _elements(at, x, indices))


def _rows(at: Reading, x: Tensor, indices: Tensor, batched: int = 0) -> tuple[Tensor, tuple[Size, ...]]:
    """Places of rows that the last axis of ``indices`` tells the coordinates of, and how many rows of which shape."""
    depth = indices.shape[-1] if indices.ndim else None
    if not isinstance(depth, int):
        at.refuse(f"the last axis of the indices must be known, it is {depth}")
    if not 1 <= depth <= x.ndim - batched:
        at.fail(f"{depth} coordinates for {x.ndim - batched} axes")
    told = [shape.squeeze(index.getitem(indices, (..., slice(k, k + 1))), -1) for k in range(depth)]
    coordinates = [index.position(told[0], a) for a in range(batched)] + told
    lead = x.shape[: batched + depth]
    return _place(coordinates, lead), (dims.product(lead), *x.shape[batched + depth :])


def gather_nd(at: Reading) -> Tensor:
    x, indices = at.tensor(0), at.tensor(1)
    rows, wide = _rows(at, x, indices, at.attribute("batch_dims", 0))
    return index.take(shape.reshape(x, wide), rows)


# What each reduction combines at a place, and then with the element that lies there.
REDUCTIONS = {
    "add": ("scatter_add", e.add), "mul": ("scatter_multiply", e.multiply),
    "max": ("scatter_max", e.maximum), "min": ("scatter_min", e.minimum),
}  # fmt: skip


def _scattered(at: Reading, x: Tensor, places: Tensor, updates: Tensor, wide: tuple[Size, ...]) -> Tensor:
    """``updates`` at places of the first axis of ``x`` in the shape ``wide``.

    Without a reduction ONNX has each place once at most.
    """
    how, dtype = at.attribute("reduction", "none"), x.dtype
    if how != "none" and how not in REDUCTIONS:
        at.refuse(f"the reduction {how[:40]!r} is not read")
    rows = shape.ravel(places)
    flat = shape.reshape(updates, (rows.shape[0], *wide[1:]))
    flat = cast(flat, UINT8) if dtype == BOOL else flat
    scatter, combine = REDUCTIONS.get(how, ("scatter_add", None))
    there = cast(apply(scatter, rows, flat, axis=0, size=wide[0]), dtype)
    if combine is not None:
        return combine(x, shape.reshape(there, x.shape))
    ones = creation.ones_like(rows)
    hit = e.not_equal(apply("scatter_add", rows, ones, axis=0, size=wide[0]), 0)
    hit = shape.reshape(hit, (wide[0], *(1 for _ in wide[1:])))
    return shape.reshape(e.where(hit, there, shape.reshape(x, wide)), x.shape)


def scatter_elements(at: Reading) -> Tensor:
    x, indices, updates = at.tensor(0), at.tensor(1), at.tensor(2)
    return _scattered(at, x, _elements(at, x, indices), updates, (x.size,))


def scatter_nd(at: Reading) -> Tensor:
    x, indices, updates = at.tensor(0), at.tensor(1), at.tensor(2)
    rows, wide = _rows(at, x, indices)
    return _scattered(at, x, rows, updates, wide)


# ---- masks


def one_hot(at: Reading) -> Tensor:
    """Indices out of range give a row of the off value."""
    told_depth = at.number(1)
    depth: Size = at.vector(1)[0] if told_depth is None else int(told_depth)
    values, indices = at.tensor(2), at.tensor(0)
    axis = normalize_axis(at.attribute("axis", -1), indices.ndim + 1, "OneHot")
    told = shape.expand_dims(cast(indices, INT64), axis)
    told = e.where(e.less(told, 0), told + depth, told)
    counted = shape.iota(at.graph, depth)
    hot = e.equal(told, shape.reshape(counted, (depth, *(1 for _ in range(indices.ndim - axis)))))
    return e.where(hot, index.getitem(values, 1), index.getitem(values, 0))


def _apart(x: Tensor) -> Tensor:
    """How far right of the main diagonal of the last two axes each element lies."""
    rows, columns = (shape.iota(x.graph, x.shape[a]) for a in (-2, -1))
    return shape.expand_dims(columns, 0) - shape.expand_dims(rows, 1)


def trilu(at: Reading) -> Tensor:
    x = at.tensor()
    k = shape.reshape(at.tensor(1), ()) if at.has(1) else 0
    apart = _apart(x)
    return e.where(e.greater_equal(apart, k) if at.attribute("upper", 1) else e.less_equal(apart, k), x, 0)


def eye_like(at: Reading) -> Held:
    x, kind = at.tensor(), at.to("dtype") if "dtype" in at.attributes else at.kind()
    made = cast(e.equal(_apart(x), at.attribute("k", 0)), kind.dtype)
    return Held(at.graph, at.name, tensor=made, kind=kind)


def hardmax(x: Tensor, axis: int) -> Tensor:
    """1 at the first largest element along an axis."""
    return cast(e.equal(index.position(x, axis), reduce.argmax(x, axis, keepdims=True)), x.dtype)


INDEXING: dict[str, Reader] = {
    "Gather": gather, "GatherElements": gather_elements, "GatherND": gather_nd,
    "ScatterElements": scatter_elements, "Scatter": scatter_elements, "ScatterND": scatter_nd,
    "OneHot": one_hot, "Trilu": trilu, "EyeLike": eye_like,
}  # fmt: skip

__all__ = ["INDEXING", "array_feature", "hardmax"]
