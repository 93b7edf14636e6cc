"""Convolution, pooling, windows and resizing against PyTorch, with first and second derivatives, in both engines."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import graphc as gx

torch = pytest.importorskip("torch")
F = torch.nn.functional

Build = Callable[..., Any]
Row = tuple[str, tuple[tuple[int, ...], ...], Build, Build]


def conv(rank: int, x: tuple[int, ...], w: tuple[int, ...], bias: bool = True, **at: Any) -> Row:
    def ours(*operands: Any) -> Any:
        return getattr(gx, f"conv{rank}d")(*operands, **at)

    def theirs(*operands: Any) -> Any:
        return getattr(F, f"conv{rank}d")(*operands, **{k: v for k, v in at.items() if v != "valid"})

    return f"conv{rank}d {x} {w} {at}", (x, w, *([(w[0],)] if bias else [])), ours, theirs


def transposed(rank: int, x: tuple[int, ...], w: tuple[int, ...], **at: Any) -> Row:
    groups = at.get("groups", 1)
    functions = (getattr(space, f"conv_transpose{rank}d") for space in (gx, F))
    ours, theirs = (lambda *operands, f=f: f(*operands, **at) for f in functions)
    return f"conv_transpose{rank}d {x} {w} {at}", (x, w, (w[1] * groups,)), ours, theirs


def pooled(kind: str, rank: int, x: tuple[int, ...], kernel: Any, **at: Any) -> Row:
    functions = (getattr(space, f"{kind}_pool{rank}d") for space in (gx, F))
    ours, theirs = (lambda a, f=f: f(a, kernel, **at) for f in functions)
    return f"{kind}_pool{rank}d {x} {kernel} {at}", (x,), ours, theirs


CONVOLUTIONS: list[Row] = [
    conv(2, (2, 3, 7, 8), (4, 3, 3, 3)),
    conv(2, (2, 3, 7, 8), (4, 3, 3, 3), bias=False, padding=1),
    conv(2, (2, 4, 9, 8), (6, 2, 3, 2), stride=(2, 1), padding=(1, 0), dilation=(1, 2), groups=2),
    conv(2, (3, 4, 6, 5), (4, 1, 3, 3), padding=1, groups=4),  # a filter for each channel
    conv(2, (2, 4, 6, 6), (8, 1, 3, 3), stride=2, padding=1, groups=4),  # two
    conv(2, (2, 3, 5, 5), (5, 3, 1, 1)),
    conv(2, (2, 3, 5, 6), (5, 3, 1, 1), stride=2, padding=1),
    conv(2, (2, 2, 9, 9), (2, 2, 2, 2), stride=3),  # windows leave gaps, and a rest
    conv(2, (2, 9, 9, 9), (17, 9, 3, 3), padding="same", dilation=2),
    conv(2, (2, 2, 3, 4), (3, 2, 3, 4)),  # one window
    conv(2, (0, 2, 5, 5), (3, 2, 3, 3)),
    conv(1, (2, 3, 11), (4, 3, 4), stride=2, padding=2),
    conv(1, (2, 3, 9), (6, 1, 3), dilation=2, groups=3),
    conv(3, (2, 2, 4, 5, 4), (3, 2, 2, 3, 2), stride=(1, 2, 1), padding=(0, 1, 1)),
]
TRANSPOSED: list[Row] = [
    transposed(2, (2, 3, 4, 5), (3, 4, 3, 3)),
    transposed(2, (2, 3, 4, 5), (3, 4, 3, 3), stride=2, padding=1, output_padding=1),
    transposed(2, (2, 4, 3, 3), (4, 3, 2, 3), stride=(3, 1), padding=(1, 2), dilation=(1, 2), groups=2),
    transposed(2, (2, 4, 4, 4), (4, 1, 3, 3), stride=2, dilation=3, output_padding=2, groups=4),
    transposed(1, (2, 3, 6), (3, 2, 4), stride=3, padding=2),
    transposed(3, (1, 2, 3, 2, 3), (2, 2, 2, 3, 2), stride=2, padding=(0, 1, 0)),
]
POOLS: list[Row] = [
    pooled("max", 2, (2, 3, 6, 8), 2),
    pooled("max", 2, (2, 3, 7, 9), 3, stride=2, padding=1),
    pooled("max", 2, (2, 2, 8, 7), (3, 2), stride=(1, 3), padding=(1, 0), dilation=(2, 1), ceil_mode=True),
    pooled("max", 2, (2, 2, 5, 5), 2, stride=3),
    pooled("max", 1, (2, 3, 9), 3, stride=2, ceil_mode=True),
    pooled("max", 3, (2, 2, 4, 5, 4), 2, padding=1),
    pooled("avg", 2, (2, 3, 6, 8), 2),
    pooled("avg", 2, (2, 3, 7, 9), 3, stride=2, padding=1),
    pooled("avg", 2, (2, 3, 7, 9), 3, stride=2, padding=1, count_include_pad=False),
    pooled("avg", 2, (2, 3, 8, 9), 3, stride=(2, 4), padding=1, ceil_mode=True),
    pooled("avg", 2, (2, 3, 8, 9), (3, 2), stride=3, padding=(1, 0), ceil_mode=True, count_include_pad=False),
    pooled("avg", 1, (2, 3, 9), 4, stride=2, padding=2),
    pooled("avg", 3, (2, 2, 4, 5, 4), 2, padding=1),
    (
        "unfold",
        ((2, 3, 7, 8),),
        lambda x: gx.unfold(x, (3, 2), stride=(2, 1), padding=(1, 0), dilation=(1, 2)),
        lambda x: F.unfold(x, (3, 2), stride=(2, 1), padding=(1, 0), dilation=(1, 2)),
    ),
    (
        "fold",
        ((2, 12, 24),),
        lambda x: gx.fold(x, (6, 9), 2, stride=(2, 1), padding=(1, 0), dilation=(1, 3)),
        lambda x: F.fold(x, (6, 9), 2, stride=(2, 1), padding=(1, 0), dilation=(1, 3)),
    ),
    (
        "nearest",
        ((2, 3, 5, 4),),
        lambda x: gx.resize(x, (8, 3)),
        lambda x: F.interpolate(x, (8, 3)),
    ),
    (
        "linear",
        ((2, 3, 5, 4),),
        lambda x: gx.resize(x, (8, 3), mode="linear"),
        lambda x: F.interpolate(x, (8, 3), mode="bilinear"),
    ),
    ("global avg", ((2, 3, 5, 4),), gx.global_avg_pool, lambda x: F.adaptive_avg_pool2d(x, 1)),
    ("global max", ((2, 3, 5, 4),), gx.global_max_pool, lambda x: x.amax((2, 3), keepdim=True)),
]
ROWS = [*CONVOLUTIONS, *TRANSPOSED, *POOLS]


def operands(row: Row, dtype: str) -> list[np.ndarray]:
    rng = np.random.default_rng(3)
    return [rng.normal(size=shape).astype(dtype) for shape in row[1]]


def with_derivatives(row: Row, g: gx.Graph, tensors: list[Any], order: int = 2) -> list[Any]:
    y = row[2](*tensors)
    first = gx.grad(gx.sum(gx.sin(y)), tensors)
    if order == 1:
        return [y, *first]
    slopes = sum((gx.sum(gx.cos(d)) for d in first), start=g.constant(0.0))
    return [y, *first, *gx.grad(slopes, tensors, on_disconnected="zeros")]


def oracle(row: Row, arrays: list[np.ndarray]) -> list[np.ndarray]:
    tensors = [torch.tensor(a, requires_grad=True) for a in arrays]
    y = row[3](*tensors)
    first = torch.autograd.grad(torch.sin(y).sum(), tensors, create_graph=True)
    second = torch.autograd.grad(sum(torch.cos(d).sum() for d in first), tensors, allow_unused=True)
    second = [torch.zeros_like(t) if d is None else d for d, t in zip(second, tensors, strict=True)]
    return [t.detach().numpy() for t in (y, *first, *second)]


def agree(found: list[Any], expected: list[np.ndarray], tolerance: float, name: str) -> None:
    assert len(found) == len(expected)
    for k, (a, b) in enumerate(zip(found, expected, strict=True)):
        assert np.asarray(a).shape == b.shape, f"{name}, result {k}"
        np.testing.assert_allclose(a, b, tolerance, tolerance, err_msg=f"{name}, result {k}")


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_interpreted_values_and_derivatives(row: Row) -> None:
    arrays = operands(row, "float64")
    g = gx.Graph("images", float_dtype="float64")
    tensors = [g.input(f"x{k}", shape) for k, shape in enumerate(row[1])]
    exe = gx.compile(tensors, with_derivatives(row, g, tensors), backend="numpy")
    agree(exe(*arrays), oracle(row, arrays), 1e-10, row[0])


@pytest.mark.parametrize("rows", [ROWS[k::8] for k in range(8)], ids=range(8))
def test_compiled_values_and_derivatives(rows: list[Row]) -> None:
    """Several in one kernel, to save compile time; the number of images is symbolic, and some are float32."""
    g = gx.Graph("images", float_dtype="float64")
    inputs, outputs, arrays, expected = [], [], [], []
    for r, row in enumerate(rows):
        dtype = "float32" if r == 1 else "float64"
        tensors = [
            g.input(f"x{r}_{k}", (f"n{r}", *shape[1:]) if k == 0 else shape, dtype) for k, shape in enumerate(row[1])
        ]
        inputs += tensors
        outputs.append(with_derivatives(row, g, tensors, order=1))
        arrays += operands(row, dtype)
        expected.append(oracle(row, operands(row, dtype))[: 1 + len(tensors)])
    found = iter(gx.compile(inputs, [t for row in outputs for t in row])(*arrays))
    for r, (row, made, wanted) in enumerate(zip(rows, outputs, expected, strict=True)):
        agree([next(found) for _ in made], wanted, 2e-4 if r == 1 else 1e-10, row[0])


@pytest.mark.parametrize("row", [r for r in ROWS if not r[0].startswith("fold")], ids=lambda row: row[0])
def test_symbolic_images(row: Row) -> None:
    """Sizes of images that are known when called only give what known ones give."""
    arrays = operands(row, "float64")
    g = gx.Graph("images", float_dtype="float64")
    free = [f"s{a}" for a in range(len(row[1][0]) - 2)]
    tensors = [g.input(f"x{k}", ("n", s[1], *free) if k == 0 else s) for k, s in enumerate(row[1])]
    exe = gx.compile(tensors, with_derivatives(row, g, tensors), backend="numpy")
    agree(exe(*arrays), oracle(row, arrays), 1e-10, row[0])


def test_compiled_symbolic_images() -> None:
    chosen = [CONVOLUTIONS[1], CONVOLUTIONS[2], CONVOLUTIONS[4], TRANSPOSED[1], POOLS[1], POOLS[8]]
    g = gx.Graph("images", float_dtype="float64")
    inputs, outputs, arrays, expected = [], [], [], []
    for r, row in enumerate(chosen):
        free = [f"s{r}{a}" for a in range(len(row[1][0]) - 2)]
        tensors = [g.input(f"x{r}_{k}", (f"n{r}", s[1], *free) if k == 0 else s) for k, s in enumerate(row[1])]
        inputs += tensors
        outputs += with_derivatives(row, g, tensors, order=1)
        arrays += operands(row, "float64")
        expected += oracle(row, operands(row, "float64"))[: 1 + len(tensors)]
    agree(gx.compile(inputs, outputs)(*arrays), expected, 1e-10, "symbolic")


@pytest.mark.parametrize("row", [*CONVOLUTIONS, *TRANSPOSED], ids=lambda row: row[0])
def test_adjoints(row: Row) -> None:
    """``<A x, y> = <x, A' y>`` for the linear map of each operand."""
    g = gx.Graph("adjoint", float_dtype="float64")
    rng = np.random.default_rng(0)
    tensors = [g.input(f"x{k}", shape) for k, shape in enumerate(row[1][:2])]
    y = row[2](*tensors)
    weight = rng.normal(size=y.shape)
    back = gx.grad(gx.sum(y * g.constant(weight)), tensors)
    x, w = operands(row, "float64")[:2]
    value, *slopes = gx.compile(tensors, [y, *back], backend="numpy")(x, w)
    whole = (value * weight).sum()
    for a, slope in zip((x, w), slopes, strict=True):
        assert abs((a * slope).sum() - whole) <= 1e-10 * max(1.0, abs(whole))


@pytest.mark.parametrize("backend", ["numba", "numpy"])
def test_ties_and_padding_of_max_pool(backend: str) -> None:
    """The gradient goes to the first of the largest, never into the padding; NaN is the largest of all."""
    g = gx.Graph("ties", float_dtype="float64")
    x = g.input("x", (1, 1, 4, 4))
    plain, over = gx.max_pool2d(x, 2), gx.max_pool2d(x, 3, stride=2, padding=1)
    exe = gx.compile([x], [plain, *(gx.grad(gx.sum(y), x) for y in (plain, over))], backend=backend)
    value, first, overlapping = exe(np.zeros((1, 1, 4, 4)))
    assert (value == 0).all()
    assert np.argwhere(first[0, 0]).tolist() == [[0, 0], [0, 2], [2, 0], [2, 2]]
    assert overlapping[0, 0].tolist() == [[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]]
    low = np.full((1, 1, 4, 4), -np.inf)
    low[0, 0, 1, 1] = np.nan
    value, first, _ = exe(low)
    assert np.isnan(value[0, 0, 0, 0]) and first[0, 0, 1, 1] == 1 and first[0, 0, 0, 0] == 0


@pytest.mark.parametrize(
    ("kernel", "more", "size"),
    [
        pytest.param(2, {}, (10, 10), marks=pytest.mark.slow),  # windows side by side
        (2, {}, (5, 7)),  # and elements that no window reads
        pytest.param((2, 3), {"padding": 1}, (5, 7), marks=pytest.mark.slow),
        pytest.param(2, {"padding": 1, "ceil_mode": True}, (4, 5), marks=pytest.mark.slow),
        pytest.param((3, 1), {}, (7, 3), marks=pytest.mark.slow),
        pytest.param(2, {"stride": 1, "dilation": 2}, (5, 6), marks=pytest.mark.slow),
        ((3, 2), {"stride": 2}, (7, 6)),
        pytest.param((9, 2), {}, (10, 4), marks=pytest.mark.slow),  # many elements
        pytest.param((2, 2, 2), {}, (2, 5, 4), marks=pytest.mark.slow),
    ],
)
def test_ties_and_nan_in_windows(kernel: Any, more: dict[str, Any], size: tuple[int, ...]) -> None:
    """Value, gradient and the gradient's gradient pick the elements that the interpreter picks."""
    g = gx.Graph("ties", float_dtype="float32")
    x = g.input("x", (2, 3, *size))
    pool = gx.max_pool2d if len(size) == 2 else gx.max_pool3d
    y = pool(x, kernel, **more)
    slope = gx.grad(gx.sum(y * y * np.arange(1, 7, dtype="float32").reshape(2, 3, *(1,) * len(size))), x)
    bend = gx.grad(gx.sum(slope * np.arange(1, 7, dtype="float32").reshape(2, 3, *(1,) * len(size))), x)
    rng = np.random.default_rng(0)
    given = rng.choice(np.float32([1, 2, 2, np.nan, -np.inf]), (2, 3, *size), p=[0.4, 0.3, 0.1, 0.1, 0.1])
    found, expected = (gx.compile([x], [y, slope, bend], backend=b)(given) for b in ("numba", "numpy"))
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    ("channels", "size", "kernel"),
    [
        (1, (9, 28), (5, 5)),  # whole vectors and a part
        (12, (7, 15), (5, 5)),  # more steps than a block has
        pytest.param(2, (4, 10), (3, 1), marks=pytest.mark.slow),
        pytest.param(3, (5, 40), (2, 3), marks=pytest.mark.slow),
    ],
)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_few_filters_have_the_bits_of_many(channels: int, size: Any, kernel: Any, dtype: Any) -> None:
    """Products of few rows read windows where they lie, others copy them."""
    rng = np.random.default_rng(0)
    x, w = rng.normal(size=(3, channels, *size)).astype(dtype), rng.normal(size=(17, channels, *kernel)).astype(dtype)
    exes = {}
    for many in (17, 6, 5, 2):
        g = gx.Graph("conv", float_dtype=dtype)
        operands = [g.input("x", x.shape), g.input("w", (many, *w.shape[1:]))]
        exes[many] = gx.compile(operands, gx.conv2d(*operands))
    whole = exes[17](x, w)
    windows = np.lib.stride_tricks.sliding_window_view(x, kernel, (2, 3)).astype("float64")
    expected = np.einsum("ncijkl,mckl->nmij", windows, w.astype("float64"))
    np.testing.assert_allclose(whole, expected, rtol=1e-4, atol=1e-4)
    for many in (6, 5, 2):
        np.testing.assert_array_equal(exes[many](x, w[:many]), whole[:, :many])


@pytest.mark.parametrize("backend", ["numba", "numpy"])
def test_integers_are_pooled(backend: str) -> None:
    g = gx.Graph("integers")
    for dtype in ("int32", "uint8", "int64"):
        x = g.input(dtype, (1, 1, 3, 3), dtype)
        exe = gx.compile([x], gx.max_pool2d(x, 2, stride=2, padding=1), backend=backend)
        value = exe(np.arange(9, dtype=dtype).reshape(1, 1, 3, 3))
        assert value.dtype == dtype and value[0, 0].tolist() == [[0, 2], [6, 8]]


def test_same_padding_puts_the_odd_element_behind() -> None:
    g = gx.Graph("same", float_dtype="float64")
    for n, k, s in ((8, 3, 2), (7, 2, 1), (9, 4, 3), (5, 2, 4)):
        for size in (n, f"s{n}"):
            x, w = g.input(f"x{n}{size}", (1, 1, size)), g.input(f"w{n}{size}", (1, 1, k))
            y = gx.conv1d(x, w, stride=s, padding="same")
            found = gx.compile([x, w], y, backend="numpy")(np.arange(n, dtype=float)[None, None], np.ones((1, 1, k)))
            whole = max((-(-n // s) - 1) * s + k - n, 0)
            padded = np.pad(np.arange(n, dtype=float), (whole // 2, whole - whole // 2))
            expected = [padded[at * s : at * s + k].sum() for at in range(-(-n // s))]
            np.testing.assert_allclose(found[0, 0], expected, err_msg=str((n, k, s, size)))


WRONG = [
    (lambda x, w: gx.conv2d(x, w, stride=0), gx.ShapeError, "stride must be at least 1"),
    (lambda x, w: gx.conv2d(x, w, stride=1.5), gx.DTypeError, "stride must be an int"),
    (lambda x, w: gx.conv2d(x, w, padding="full"), gx.ShapeError, "padding must be"),
    (lambda x, w: gx.conv2d(x, w, padding=(1, 2, 3)), gx.ShapeError, "padding must be at least 0 for each of 2 axes"),
    (lambda x, w: gx.conv2d(x, w, padding=-1), gx.ShapeError, "padding must be at least 0"),
    (lambda x, w: gx.conv2d(x, w, groups=3), gx.ShapeError, "as many channels"),
    (lambda x, w: gx.conv2d(x, w, dilation=4), gx.ShapeError, "a window of 9 elements does not fit in 6"),
    (lambda x, w: gx.conv1d(x, w), gx.ShapeError, "with 3 axes"),
    (lambda x, w: gx.conv2d(x, w, x), gx.ShapeError, "expected a bias of shape"),
    (lambda x, w: gx.conv_transpose2d(x, w, output_padding=1), gx.ShapeError, "output_padding must be smaller"),
    (lambda x, w: gx.conv_transpose2d(x, w, padding="same"), gx.ShapeError, "must be numbers"),
    (lambda x, w: gx.max_pool2d(x, 7), gx.ShapeError, "does not fit"),
    (lambda x, w: gx.max_pool2d(x, 2, padding=2), gx.ShapeError, "padding must be smaller than a window"),
    (lambda x, w: gx.max_pool3d(x, 2), gx.ShapeError, "with 5 axes"),
    (lambda x, w: gx.resize(x, (0, 3)), gx.ShapeError, "size must be at least 1"),
    (lambda x, w: gx.resize(x, 3, mode="cubic"), gx.ShapeError, "mode must be"),
    (lambda x, w: gx.fold(x, (3, 3), 2), gx.ShapeError, "expected columns"),
]


@pytest.mark.parametrize(("build", "error", "text"), WRONG, ids=[row[2] for row in WRONG])
def test_what_does_not_fit_is_refused(build: Build, error: type[Exception], text: str) -> None:
    g = gx.Graph("wrong")
    with pytest.raises(error, match=text):
        build(g.input("x", ("n", 4, 6, 6)), g.input("w", (4, 4, 3, 3)))


def test_images_that_are_too_small_when_called() -> None:
    g = gx.Graph("small")
    x, w = g.input("x", ("n", 1, "h")), g.input("w", (1, 1, 4))
    for exe in (gx.compile([x, w], gx.conv1d(x, w)), gx.compile([x], gx.max_pool1d(x, 4))):
        arrays = [np.ones((2, 1, 3), "float32"), np.ones((1, 1, 4), "float32")][: len(exe.inputs)]
        with pytest.raises(gx.InputShapeError, match="sizes do not fit"):
            exe(*arrays)


def test_a_batch_is_shared_by_threads() -> None:
    """Padding, windows, products and their gradients are one group along the batch."""
    g = gx.Graph("threads")
    x, w = g.input("x", ("n", 8, 16, 16)), g.input("w", (16, 8, 3, 3))
    y = gx.max_pool2d(gx.relu(gx.conv2d(x, w, padding=1)), 2)
    y = gx.tanh(y.reshape((-1, 1024)) @ g.constant(np.full((1024, 10), 0.01, "f4")))
    outputs = [y, *gx.grad(gx.sum(y * y), [x, w])]
    schedule = gx.compile([x, w], outputs).program.kernel().schedule
    groups = [group for stage in schedule.stages for group in stage.groups]
    assert [(str(group.size), str(group.most)) for group in groups] == [("n", "n")]
    rng = np.random.default_rng(0)
    arrays = [rng.normal(size=s).astype("float32") for s in ((32, 8, 16, 16), (16, 8, 3, 3))]
    one, two = (gx.compile([x, w], outputs, threads=k)(*arrays) for k in (1, 2))
    for a, b in zip(one, two, strict=True):
        np.testing.assert_array_equal(a, b)


def test_products_of_windows_in_pieces() -> None:
    """With inner sizes above that of a piece, of the value (channels and kernel) and of a gradient (places)."""
    g = gx.Graph("pieces", float_dtype="float64")
    rng = np.random.default_rng(0)
    shapes = [(1, 460, 5, 4), (5, 460, 3, 3), (2, 2, 70, 70), (7, 2, 3, 3)]
    x, w, image, filters = (g.input(f"x{k}", s) for k, s in enumerate(shapes))
    wide = gx.conv2d(image, filters)
    outputs = [gx.conv2d(x, w), gx.grad(gx.sum(wide * wide), filters)]
    arrays = [rng.normal(size=s) for s in shapes]
    compiled = gx.compile([x, w, image, filters], outputs)
    assert compiled.source.count("set_word(scratch") >= 24, "read where they lie"
    for found, expected in zip(
        compiled(*arrays), gx.compile([x, w, image, filters], outputs, backend="numpy")(*arrays), strict=True
    ):
        np.testing.assert_allclose(found, expected, rtol=1e-11, atol=1e-9)


def test_exports_and_files_of_convolutions(tmp_path: Path) -> None:
    """A training step with all kinds of them, as a module, a C library and a file: the bits of the executable."""
    from c_library import CLibrary, compiler
    from test_export_python import exported

    g, rng = gx.Graph("net"), np.random.default_rng(0)
    x = g.input("x", ("n", 2, 9, 8))
    w, v = (g.parameter(n, rng.normal(size=s).astype("f4")) for n, s in (("w", (5, 2, 3, 3)), ("v", (5, 1, 3, 3))))
    y = gx.conv2d(gx.relu(gx.conv2d(x, w, padding=1)), v, groups=5, stride=2, padding=1)
    loss = gx.mean(gx.max_pool2d(y, 2, ceil_mode=True) * gx.avg_pool2d(y, 2, ceil_mode=True))
    exe = gx.compile([x], loss, updates=gx.optim.SGD(0.1).updates(loss))
    array = rng.normal(size=(3, 2, 9, 8)).astype("f4")
    gx.save(tmp_path / "net.gx", step=exe)
    run, module = exported(exe, tmp_path / "net.py")
    again = gx.load(tmp_path / "net.gx")["step"]
    compiler()
    exe.export_c(tmp_path / "c")
    library = CLibrary(tmp_path / "c")
    expected = [exe(array) for _ in range(2)]
    for other in (run, again):
        assert [other(array) for _ in range(2)] == expected
    np.testing.assert_array_equal(module.state["w"], g.state["w"])
    found = [library.call(exe, "", array)[0] for _ in range(2)]
    np.testing.assert_array_equal(np.ravel(found), np.ravel(expected))


def test_the_gradient_of_many_filters_copies_no_windows() -> None:
    """Each shard has a part of it, which takes less memory than windows; it is the same on any number of threads."""
    g = gx.Graph("filters", float_dtype="float32")
    x, c = g.input("x", ("batch", 32, 16, 16)), g.input("c", ("batch", 64, 16, 16))
    w = g.input("w", (64, 32, 3, 3))
    slope = gx.grad(gx.sum(gx.conv2d(x, w, padding=1) * c), w)
    rng = np.random.default_rng(0)
    arrays = [rng.normal(size=(5, *t.shape[1:])).astype(np.float32) for t in (x, c)]
    runs = {threads: gx.compile([x, c], slope, threads=threads, unused="ignore") for threads in (1, 2)}
    windows = 4 * 16 * 16 * 32 * 9 * 64
    assert runs[1].memory(batch=64) < windows
    one, two = (exe(*arrays) for exe in runs.values())
    np.testing.assert_array_equal(one, two)
    wanted = gx.compile([x, c], slope, backend="numpy", unused="ignore")(*arrays)
    np.testing.assert_allclose(one, wanted, rtol=1e-4, atol=1e-3)
