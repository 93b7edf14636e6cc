"""Sliding windows: what convolution and pooling read, and the sum that takes windows back to their places."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from graphc.errors import DTypeError, ShapeError
from graphc.ir import dims
from graphc.ir.dims import Size
from graphc.ir.op import Attrs, IndexMap, Kind, Op, register
from graphc.ir.tensor import Tensor
from graphc.ir.types import Shape, SizeCheck, TensorType, negative_checks
from graphc.ops.apply import apply, public
from graphc.ops.shape import permute_dims, reshape

Types = Sequence[TensorType]
Numbers = tuple[int, ...]
Padding = tuple[tuple[Size, Size], ...]  # before and after, for each axis of an image


# ---- arguments


def each(value: Any, rank: int, what: str, least: int = 1) -> Numbers:
    """A number for each of ``rank`` axes; one number stands for all. DTypeError or ShapeError where it is another."""
    many = tuple(value) if isinstance(value, (tuple, list, np.ndarray)) else (value,) * rank
    for n in many:
        if isinstance(n, bool) or not isinstance(n, (int, np.integer)):
            raise DTypeError(f"{what} must be an int or one for each of {rank} axes, found {value!r}")
    if len(many) != rank or min(many, default=least) < least:
        raise ShapeError(f"{what} must be at least {least} for each of {rank} axes, found {value!r}")
    return tuple(int(n) for n in many)


def extent(kernel: int, dilation: int) -> int:
    """How many elements a window spans."""
    return dilation * (kernel - 1) + 1


def pads(value: Any, sizes: Shape, kernel: Numbers, stride: Numbers, dilation: Numbers) -> Padding:
    """Padding as pairs: from "valid", "same" (ONNX's SAME_UPPER), a number, one for each axis, or pairs."""
    if isinstance(value, str):
        if value == "valid":
            return ((0, 0),) * len(sizes)
        if value != "same":
            raise ShapeError(f'padding must be "valid", "same" or numbers, found {value!r}')
        out: list[tuple[Size, Size]] = []
        for n, k, s, d in zip(sizes, kernel, stride, dilation, strict=True):
            last = dims.multiply(dims.floor_divide(n + (s - 1), s) - 1, s)  # where the last window begins
            whole = extent(k, d) - 1 if s == 1 else dims.maximum(last + extent(k, d) - n, 0)
            low = dims.floor_divide(whole, 2)
            out.append((low, whole - low))
        return tuple(out)
    if isinstance(value, (tuple, list)) and any(isinstance(v, (tuple, list)) for v in value):
        if len(value) != len(sizes) or any(not isinstance(v, (tuple, list)) or len(v) != 2 for v in value):
            raise ShapeError(f"padding must be a (before, after) pair for each of {len(sizes)} axes, found {value!r}")
        return tuple((low, high) for low, high in (each(v, 2, "padding", 0) for v in value))
    return tuple((n, n) for n in each(value, len(sizes), "padding", 0))


def count(size: Size, pad: tuple[Size, Size], kernel: int, stride: int, dilation: int, ceil: bool = False) -> Size:
    """How many windows an axis has; ``ceil`` counts one that ends outside, if it begins inside. ShapeError for none."""
    room = size + pad[0] + pad[1] - extent(kernel, dilation)
    if isinstance(room, int) and room < 0:
        raise ShapeError(
            f"windows of {extent(kernel, dilation)} elements do not fit in {room + extent(kernel, dilation)}"
        )
    if not ceil:
        return dims.floor_divide(room, stride) + 1
    inside = dims.floor_divide(size + pad[0] - 1, stride) + 1
    return dims.minimum(dims.floor_divide(room + (stride - 1), stride) + 1, inside)


# ---- the windows of a tensor, over its last axes


def _check(attrs: Attrs, names: Sequence[str], rank: int) -> None:
    for name in names:
        values = attrs[name]
        if len(values) != rank or any(isinstance(v, int) and v < 1 for v in values):
            raise ShapeError(f"expected {name} of at least 1 for each of {rank} axes, found {values}")


def _infer_windows(types: Types, attrs: Attrs) -> TensorType:
    (x,), rank = types, len(attrs["kernel"])
    if not 1 <= rank <= x.ndim:
        raise ShapeError(f"windows over {rank} axes of {x}")
    _check(attrs, ("kernel", "stride", "dilation"), rank)
    if len(attrs["sizes"]) != rank:
        raise ShapeError(f"expected a number of windows for each of {rank} axes, found {attrs['size']}")
    for n, needed in zip(x.shape[x.ndim - rank :], spans(attrs), strict=True):
        if isinstance(n, int) and isinstance(needed, int) and needed > n:
            raise ShapeError(f"windows that reach over {needed} elements do not fit in {x}")
    return TensorType(x.dtype, (*x.shape[: x.ndim - rank], *attrs["sizes"], *attrs["kernel"]))


def spans(attrs: Attrs) -> list[Size]:
    """Elements from the start of the first window to the end of the last."""
    axes = zip(attrs["sizes"], attrs["kernel"], attrs["stride"], attrs["dilation"], strict=True)
    return [dims.multiply(n - 1, s) + extent(k, d) for n, k, s, d in axes]


def _inside(sizes: Shape, attrs: Attrs) -> list[SizeCheck]:
    reached = zip(sizes, spans(attrs), strict=True)
    fits = [SizeCheck(n + 1, span, False, True) for n, span in reached if not dims.at_most(span, n)]
    return [*fits, *negative_checks(attrs["sizes"], sizes)]


def _window_map(lead: int, attrs: Attrs) -> IndexMap:
    """Where the elements of windows lie in the tensor."""
    rank = len(attrs["kernel"])
    return IndexMap(
        tuple((a, 0, 1 if a < lead else attrs["stride"][a - lead]) for a in range(lead + rank)),
        tuple((lead + k, lead + rank + k, attrs["dilation"][k]) for k in range(rank)),
    )


def windows_of(x: Any, kernel: Any, stride: Any, dilation: Any, sizes: Any) -> Any:
    """The windows of an array, as a view."""
    rank = len(kernel)
    lead, near = x.shape[: x.ndim - rank], x.strides[x.ndim - rank :]
    apart = [*(b * s for b, s in zip(near, stride, strict=True)), *(b * d for b, d in zip(near, dilation, strict=True))]
    shape = (*lead, *sizes, *kernel)
    if 0 in shape:
        return np.zeros(shape, x.dtype)
    return np.lib.stride_tricks.as_strided(x, shape, (*x.strides[: x.ndim - rank], *apart), writeable=False)


def windows_added(u: Any, kernel: Any, stride: Any, dilation: Any, shape: Any) -> Any:
    """An array of ``shape`` in which every window is added at its place."""
    rank = len(kernel)
    out: Any = np.zeros(shape, u.dtype)
    size = u.shape[u.ndim - 2 * rank : u.ndim - rank]
    for at in np.ndindex(*kernel):
        steps = zip(at, size, stride, dilation, strict=True)
        place: tuple[Any, ...] = tuple(slice(k * d, k * d + max(0, (n - 1) * s + 1), s) for k, n, s, d in steps)
        out[(..., *place)] += u[(..., *at)]
    return out


register(
    Op(
        "windows",
        Kind.MOVEMENT,
        1,
        _infer_windows,
        windows_of,
        gradient=(
            lambda g, y, x: apply(
                "windows_add", g, **{k: y.attrs[k] for k in ("kernel", "stride", "dilation")}, shape=x.shape, fill=0.0
            ),
        ),
        view=lambda out, types, attrs: _window_map(types[0].ndim - len(attrs["kernel"]), attrs),
        checks=lambda types, attrs: _inside(types[0].shape[types[0].ndim - len(attrs["kernel"]) :], attrs),
        attrs=("kernel", "stride", "dilation", "sizes"),
    )
)


def _infer_add(types: Types, attrs: Attrs) -> TensorType:
    (u,), rank, shape = types, len(attrs["kernel"]), attrs["shape"]
    lead = u.ndim - 2 * rank
    if rank < 1 or lead < 0 or len(shape) != lead + rank or u.shape[:lead] != shape[:lead]:
        raise ShapeError(f"expected windows over {rank} axes of a tensor of shape {shape}, found {u}")
    if u.shape[lead + rank :] != tuple(attrs["kernel"]):
        raise ShapeError(f"expected windows of {attrs['kernel']}, found {u}")
    _infer_windows([TensorType(u.dtype, shape)], _of_windows(u, attrs))
    return TensorType(u.dtype, shape)


def _of_windows(u: TensorType, attrs: Attrs) -> Attrs:
    """The attributes of the windows that are added."""
    rank = len(attrs["kernel"])
    return {
        **{k: attrs[k] for k in ("kernel", "stride", "dilation")},
        "sizes": u.shape[u.ndim - 2 * rank : u.ndim - rank],
    }


def _add_map(out: TensorType, types: Types, attrs: Attrs) -> list[IndexMap]:
    return [_window_map(out.ndim - len(attrs["kernel"]), attrs)]


register(
    Op(
        "windows_add",
        Kind.ASSEMBLY,
        1,
        _infer_add,
        lambda u, kernel, stride, dilation, shape, fill: windows_added(u, kernel, stride, dilation, shape),
        gradient=(lambda g, y, u: apply("windows", g, **_of_windows(u.type, y.attrs)),),
        regions=_add_map,
        checks=lambda types, attrs: _inside(
            attrs["shape"][len(attrs["shape"]) - len(attrs["kernel"]) :], _of_windows(types[0], attrs)
        ),
        attrs=("kernel", "stride", "dilation", "shape", "fill"),
        facts=frozenset(("overlapping",)),
    )
)


# ---- padding


def laid(x: Tensor, start: Sequence[Size], step: Sequence[int], length: Sequence[Size], fill: float = 0.0) -> Tensor:
    """Elements of the last axes at ``start + step * k`` of axes of ``length``, ``fill`` elsewhere.

    What would lie outside is left out.
    """
    rank = len(start)
    lead = x.ndim - rank
    cuts, places, sizes = [], [], []
    for n, first, by, whole in zip(x.shape[lead:], start, step, length, strict=True):
        skipped = 0 if dims.at_most(0, first) else dims.maximum(dims.floor_divide(by - 1 - first, by), 0)
        end = (
            n
            if dims.at_most(first + dims.multiply(n - 1, by) + 1, whole)
            else dims.minimum(n, dims.floor_divide(whole - 1 - first + by, by))
        )
        kept = end - skipped
        kept = kept if dims.at_most(0, kept) else dims.maximum(kept, 0)
        cuts.append(skipped)
        sizes.append(kept)
        places.append(0 if kept == 0 else first + dims.multiply(skipped, by))
    if any(c != 0 for c in cuts) or tuple(sizes) != x.shape[lead:]:
        attributes = {"start": (*(0,) * lead, *cuts), "step": (1,) * x.ndim, "size": (*x.shape[:lead], *sizes)}
        x = apply("slice", x, **attributes)
    if tuple(length) == x.shape[lead:] and all(p == 0 for p in places):
        return x
    shape = (*x.shape[:lead], *length)
    return apply("place", x, shape=shape, start=(*(0,) * lead, *places), step=(*(1,) * lead, *step), fill=fill)


def taken_back(x: Tensor, start: Sequence[Size], size: Sequence[Size]) -> Tensor:
    """The adjoint of `laid` with steps of 1: ``size`` elements from ``start`` on, 0 where there are none."""
    return laid(x, [0 - s for s in start], (1,) * len(size), size)


def over_windows(x: Tensor, attrs: Attrs, fill: float = 0.0) -> Tensor:
    """The windows of ``x`` with ``before`` elements put before it, and as many after it as they reach."""
    sizes = x.shape[x.ndim - len(attrs["kernel"]) :]
    whole = _reach(sizes, attrs)
    step = (1,) * len(whole)
    padded = laid(x, attrs["before"], step, whole, fill)
    return apply("windows", padded, **{k: attrs[k] for k in ("kernel", "stride", "dilation", "sizes")})


def add_windows(u: Tensor, sizes: Shape, attrs: Attrs) -> Tensor:
    """The adjoint of `over_windows`: the sum of windows at their places in a tensor of these last sizes."""
    lead = u.shape[: u.ndim - 2 * len(sizes)]
    whole = _reach(sizes, attrs)
    named = {k: attrs[k] for k in ("kernel", "stride", "dilation")}
    return taken_back(apply("windows_add", u, **named, shape=(*lead, *whole), fill=0.0), attrs["before"], sizes)


def _reach(sizes: Shape, attrs: Attrs) -> tuple[Size, ...]:
    """Sizes of the padded axes: those of the tensor with what is put before, and all that windows reach."""
    axes = zip(sizes, attrs["before"], spans(attrs), strict=True)
    return tuple(span if dims.at_most(n + low, span) else dims.maximum(n + low, span) for n, low, span in axes)


# ---- columns of windows, as other libraries have them


def _geometry(x: Tensor, sizes: Shape, kernel_size: Any, stride: Any, padding: Any, dilation: Any) -> dict[str, Any]:
    rank = len(sizes)
    kernel, step = each(kernel_size, rank, "kernel_size"), each(stride, rank, "stride")
    spread = each(dilation, rank, "dilation")
    pairs = pads(padding, sizes, kernel, step, spread)
    many = tuple(count(n, p, k, s, d) for n, p, k, s, d in zip(sizes, pairs, kernel, step, spread, strict=True))
    before = tuple(low for low, _ in pairs)
    return {"kernel": kernel, "stride": step, "dilation": spread, "before": before, "sizes": many}


@public
def unfold(x: Tensor, kernel_size: Any, *, stride: Any = 1, padding: Any = 0, dilation: Any = 1) -> Tensor:
    """The windows of images as columns: (N, C, H, W) to (N, C*kh*kw, windows), for any number of image axes.

    `fold` is its adjoint. Raises ShapeError where windows do not fit, DTypeError for arguments that are no ints.

    >>> from graphc.ir.graph import Graph
    >>> x = Graph("images").input("x", shape=("n", 3, 8, 8))
    >>> unfold(x, 3, padding=1).shape
    (n, 27, 64)
    """
    if x.ndim < 3:
        raise ShapeError(f"expected images [batch, channels, size ...], found {x.type}")
    at, rank = _geometry(x, x.shape[2:], kernel_size, stride, padding, dilation), x.ndim - 2
    u = over_windows(x, at)
    moved = permute_dims(u, [0, 1, *range(2 + rank, 2 + 2 * rank), *range(2, 2 + rank)])
    return reshape(moved, (x.shape[0], dims.multiply(x.shape[1], math.prod(at["kernel"])), dims.product(at["sizes"])))


@public
def fold(
    x: Tensor, output_size: Sequence[Any], kernel_size: Any, *, stride: Any = 1, padding: Any = 0, dilation: Any = 1
) -> Tensor:
    """Columns of windows added at their places in images of ``output_size``; the adjoint of `unfold`.

    (N, C*kh*kw, windows) to (N, C, *output_size). Raises ShapeError where the columns are not those of such images.

    >>> from graphc.ir.graph import Graph
    >>> x = Graph("columns").input("x", shape=("n", 27, 64))
    >>> fold(x, (8, 8), 3, padding=1).shape
    (n, 3, 8, 8)
    """
    if x.ndim != 3:
        raise ShapeError(f"expected columns [batch, channels * kernel, windows], found {x.type}")
    sizes = x.graph.shape(tuple(output_size))
    at, rank = _geometry(x, sizes, kernel_size, stride, padding, dilation), len(sizes)
    channels = dims.exact_quotient(x.shape[1], math.prod(at["kernel"]))
    if channels is None:
        raise ShapeError(f"{x.shape[1]} rows of {x.type} are no windows of {at['kernel']}")
    u = reshape(x, (x.shape[0], channels, *at["kernel"], *at["sizes"]))
    return add_windows(permute_dims(u, [0, 1, *range(2 + rank, 2 + 2 * rank), *range(2, 2 + rank)]), sizes, at)
