"""``x[...]`` beside NumPy: values and gradients, of known and symbolic sizes, compiled and interpreted."""

from __future__ import annotations

import importlib.util
import itertools
import runpy
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from c_library import CLibrary

import graphc as gx

BACKENDS = ["numpy", "numba"]
SHAPES = [(4, 5), (1, 2), (0, 3), (7, 0), (2, 1)]
EDGES = [None, None, 0, 1, 2, 3, 4, 6, 99, -1, -2, -3, -5, -99]


def random_slice(rng: np.random.Generator) -> slice:
    start, stop = (EDGES[rng.integers(len(EDGES))] for _ in range(2))
    return slice(start, stop, [None, 1, 2, 3, -1, -2, -3][rng.integers(7)])


def random_entry(rng: np.random.Generator) -> Any:
    """Slices, perhaps with an ellipsis and new axes."""
    entry: list[Any] = [random_slice(rng) for _ in range(rng.integers(1, 3))]
    if rng.random() < 0.3:
        entry.insert(int(rng.integers(len(entry) + 1)), Ellipsis)
    if rng.random() < 0.3:
        entry.insert(int(rng.integers(len(entry) + 1)), None)
    return tuple(entry)


def compared(entries: list[Any], declared: tuple[Any, ...], arrays: list[np.ndarray], backend: str) -> None:
    """Each ``x[entry]`` and the gradient of a weighted sum of all of them, for each of the arrays."""
    g = gx.Graph("index", float_dtype="float64")
    x = g.input("x", declared, "float64")
    pieces = [x[entry] for entry in entries]
    total = sum((gx.sum(piece * piece) * (k + 1.0) for k, piece in enumerate(pieces)), start=g.constant(0.0))
    exe = gx.compile([x], [*pieces, gx.grad(total, x)], backend=backend)
    for array in arrays:
        *found, slope = exe(array)
        expected = np.zeros_like(array)
        for k, (entry, piece) in enumerate(zip(entries, found, strict=True)):
            np.testing.assert_array_equal(piece, array[entry], err_msg=f"{entry} of {array.shape}")
            np.add.at(expected, entry, 2.0 * (k + 1) * array[entry])
        np.testing.assert_allclose(slope, expected, rtol=1e-13, err_msg=str(entries))


def filled(shape: tuple[int, ...]) -> np.ndarray:
    return np.arange(1.0, 1 + int(np.prod(shape))).reshape(shape)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("seed", range(2))
def test_slices_of_symbolic_sizes_are_cut_as_numpys(seed: int, backend: str) -> None:
    rng = np.random.default_rng(seed)
    entries = [random_entry(rng) for _ in range(12)]
    compared(entries, ("n", "m"), [filled(shape) for shape in SHAPES], backend)


@pytest.mark.parametrize("backend", BACKENDS)
def test_slices_of_known_sizes(backend: str) -> None:
    rng = np.random.default_rng(9)
    for shape in SHAPES[:2]:
        compared([random_entry(rng) for _ in range(12)], shape, [filled(shape)], backend)
    compared([random_entry(rng) for _ in range(12)], ("n", 5), [filled((n, 5)) for n in (0, 1, 2, 6)], backend)


@pytest.mark.parametrize("backend", BACKENDS)
def test_bounds_may_be_sizes(backend: str) -> None:
    g = gx.Graph("sizes", float_dtype="float64")
    x, y = g.input("x", ("n",), "float64"), g.input("y", ("m",), "float64")
    n, m = x.shape[0], y.shape[0]
    ends = [None, n, m, n - 3, n // 2, m - n, n - m - 1]
    cuts = [slice(*pair, step) for pair in itertools.product(ends, repeat=2) for step in (None, 2, -1)]
    cuts = cuts if backend == "numpy" else cuts[::11]
    exe = gx.compile([x, y], [x[cut] for cut in cuts], backend=backend, unused="ignore")
    for size, other in ((0, 2), (1, 1), (2, 4), (5, 3), (6, 0)):
        array = filled((size,))
        for cut, found in zip(cuts, exe(array, np.ones(other)), strict=True):
            values = {"n": size, "m": other}
            now = slice(*(eval(str(p), values) if p is not None else None for p in (cut.start, cut.stop, cut.step)))
            np.testing.assert_array_equal(found, array[now], err_msg=f"{cut} of {size}, {other}")


def test_shapes_say_how_they_are_cut() -> None:
    x = gx.Graph("text").input("x", ("n", 512))
    assert [str(x[cut].shape[0]) for cut in (slice(10), slice(1, None), slice(-3, None), slice(None, None, -1))] == [
        "min(10, n)",
        "n - min(1, n)",
        "min(3, n)",
        "n",
    ]
    assert x[1:].shape == x[:-1].shape and gx.concat([x[:3], x[3:]]).shape == x.shape
    t = x.graph.input("t", ("n", "t"))
    assert (t + x[:, : t.shape[1]]).shape == t.shape  # rows of a table as long as what they are added to


@pytest.mark.parametrize("backend", BACKENDS)
def test_pieces_meet_what_they_were_cut_for(backend: str) -> None:
    g = gx.Graph("table", float_dtype="float64")
    t, table = g.input("t", ("b", "t", 2), "float64"), g.input("table", (6, 2), "float64")
    x = t + table[: t.shape[1]]
    loss = gx.sum(x * x)
    exe = gx.compile([t, table], [x, *gx.grad(loss, [t, table])], backend=backend)
    rows = filled((6, 2))
    for length in (0, 1, 4, 6):
        array = filled((3, length, 2))
        value, slope, of_table = exe(array, rows)
        np.testing.assert_array_equal(value, array + rows[:length])
        np.testing.assert_array_equal(slope, 2 * value)
        np.testing.assert_array_equal(of_table[:length], 2 * value.sum(0))
        assert not of_table[length:].any()
    with pytest.raises(gx.InputShapeError, match=r"add: sizes do not fit: .*min\(6, t\)"):
        exe(filled((3, 7, 2)), rows)


@pytest.mark.parametrize("backend", BACKENDS)
def test_rolling_a_symbolic_axis(backend: str) -> None:
    g = gx.Graph("roll", float_dtype="float64")
    x = g.input("x", ("n", 2), "float64")
    shifts = [0, 1, -1, 3, -8]
    rolled = [gx.roll(x, shift) for shift in shifts]
    slope = gx.grad(gx.sum(gx.stack(rolled) * np.arange(5.0).reshape(5, 1, 1) * x), x)
    exe = gx.compile([x], [*rolled, slope], backend=backend)
    for n in (0, 1, 2, 5):
        array = filled((n, 2))
        *found, gradient = exe(array)
        expected = np.zeros_like(array)
        for k, (shift, value) in enumerate(zip(shifts, found, strict=True)):
            np.testing.assert_array_equal(value, np.roll(array, shift, 0))
            expected += k * (np.roll(array, shift, 0) + np.roll(array, -shift, 0))
        np.testing.assert_array_equal(gradient, expected)


def exported(exe: gx.Executable, directory: Path) -> dict[str, Any]:
    """The program without graphc, in every form that there is; each is a function of arrays."""
    gx.save(directory / "saved.gx", exe=exe)
    exe.export_python(directory / "program.py", name="without_graphc")
    forms: dict[str, Any] = {
        "file": gx.load(directory / "saved.gx")["exe"],
        "python": runpy.run_path(str(directory / "program.py"))["without_graphc"],
    }
    if shutil.which("cc") or shutil.which("gcc") or shutil.which("clang"):
        exe.export_c(directory / "c")
        library = CLibrary(directory / "c")
        forms["c"] = lambda *arrays: library.call(exe, "", *arrays)
    if importlib.util.find_spec("onnxruntime"):
        import onnxruntime

        exe.export_onnx(directory / "model.onnx")
        session = onnxruntime.InferenceSession(directory / "model.onnx", providers=["CPUExecutionProvider"])
        names = [i.name for i in session.get_inputs()]
        forms["onnx"] = lambda *arrays: session.run(None, dict(zip(names, arrays, strict=True)))
    return forms


def test_slices_of_symbolic_sizes_everywhere(tmp_path: Path) -> None:
    g = gx.Graph("everywhere")
    x = g.input("x", ("n", "m"))
    n = x.shape[0]
    cuts = [x[:3], x[2:, :-1], x[-2:], x[::-2, 1::2], x[3::-1], x[n - 3 :], x[: n // 2]]
    slope = gx.grad(sum((gx.sum(c * c) for c in cuts), start=g.constant(0.0)), x)
    exe = gx.compile([x], [*cuts, slope, gx.roll(x, 2)])
    forms = exported(exe, tmp_path)
    for shape in ((0, 3), (1, 1), (2, 4), (5, 0), (6, 5)):
        array = filled(shape).astype("float32")
        for form, call in forms.items():
            for found, expected in zip(call(array), exe(array), strict=True):
                np.testing.assert_array_equal(found, expected, err_msg=f"{form} {shape}")


# ---- indices that are arrays


def random_index(rng: np.random.Generator, shape: tuple[int, ...]) -> tuple[Any, ...]:
    """Slices, ints, new axes, an ellipsis and integer arrays that broadcast, for an array of this shape."""
    while True:
        entries = drawn_index(rng, shape)
        try:
            np.empty(shape)[entries]
        except IndexError:  # an ellipsis has moved an index to a shorter axis
            continue
        return entries


def drawn_index(rng: np.random.Generator, shape: tuple[int, ...]) -> tuple[Any, ...]:
    met = [(), (1,), (3,), (2, 3), (2, 1)]
    entries: list[Any] = []
    for n in shape[: rng.integers(1, len(shape) + 1)]:
        kind = rng.integers(4)
        if kind == 0 or n == 0:
            entries.append(random_slice(rng))
        elif kind == 1:
            entries.append(int(rng.integers(-n, n)))
        else:
            entries.append(rng.integers(-n, n, met[rng.integers(len(met))]))
    for extra, chance in ((None, 0.3), (Ellipsis, 0.4)):
        if rng.random() < chance:
            entries.insert(int(rng.integers(len(entries) + 1)), extra)
    return tuple(entries)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("declared", [(3, 2, 4, 2), ("n", "m", "k", 2)], ids=["known", "symbolic"])
def test_index_arrays_are_numpys(declared: tuple[Any, ...], backend: str) -> None:
    rng = np.random.default_rng(1)
    shape = (3, 2, 4, 2)
    for _ in range(8 if backend == "numpy" else 2):
        compared([random_index(rng, shape) for _ in range(12)], declared, [filled(shape)], backend)


@pytest.mark.parametrize("backend", BACKENDS)
def test_where_the_axes_of_index_arrays_stand(backend: str) -> None:
    """Next to each other: where they stood. Apart by a slice, None or ``...``, even of no axes: in front."""
    i, j, rows = np.array([0, 1, 1]), np.array([1, 0, -1]), np.array([[0], [2]])
    entries = [
        (0, slice(None), j), (slice(None), 0, j), (i, slice(None), j), (slice(None), i, j), (i, j), (rows, j),
        (i, None, j), (slice(None), i, None, j), (0, None, j), (..., i, j), (i, ..., j), (slice(None), i, ..., j), (0, slice(None), ..., j), (i, j, ..., j), (rows, j, i),
        (None, i, slice(1, None), 0), (i, slice(None, None, -1)), (np.array(1), slice(None), j), ([0, 2], [1, 0]),
        ([], slice(None), 1), (slice(None), [[0, 1], [1, 0]]), (-1, j), (np.int32(1), ..., i), (i.astype("u1"), j),
    ]  # fmt: skip
    for declared in ((3, 2, 4), ("n", "m", "k")):
        compared(entries, declared, [filled((3, 2, 4))], backend)


@pytest.mark.parametrize("backend", BACKENDS)
def test_masks_that_are_known(backend: str) -> None:
    """As NumPy's: over one axis or several, beside slices, ints and arrays, in lists and constants, all or none."""
    two, three, plane = np.array([False, True]), np.array([True, False, True]), np.arange(6).reshape(3, 2) % 4 > 1
    entries: list[Any] = [
        (three,), ([True, False, True],), (slice(None), two), (plane,), (plane, slice(None, None, 2)), (three, 1), (1, two), (three, slice(None), 0),
        (three, two), (three, np.array([1, 0])), (..., np.array([True, False, True, False])), (None, three), (three & False,), (three | True, None, two),
        ([[True, False], [False, False], [True, True]],), (plane, [0, 1, 1][: plane.sum()]),
    ]  # fmt: skip
    entries = [e for e in entries if _fits(e)]
    assert len(entries) > 14
    for declared in ((3, 2, 4), ("n", "m", "k")):
        compared(entries, declared, [filled((3, 2, 4))], backend)
    g = gx.Graph("masks", float_dtype="float64")
    x = g.input("x", ("n", 2), "float64")
    y = x[g.constant(three)]
    exe = gx.compile([x], [y, gx.grad(gx.sum(y**2), x)], backend=backend)
    value, slope = exe(filled((3, 2)))
    np.testing.assert_array_equal(value, filled((3, 2))[three])
    np.testing.assert_array_equal(slope, 2 * filled((3, 2)) * three[:, None])
    with pytest.raises(gx.InputShapeError, match=r"test_indexing\.py"):
        exe(filled((4, 2)))


def _fits(entry: Any) -> bool:
    try:
        filled((3, 2, 4))[entry]
    except IndexError:
        return False
    return True


@pytest.mark.parametrize("backend", BACKENDS)
def test_tensors_as_indices(backend: str) -> None:
    """Of symbolic length, with repeats, which add up to any order."""
    g = gx.Graph("tensors", float_dtype="float64")
    x = g.input("x", ("n", "m"), "float64")
    i, j, k = g.input("i", ("b",), "int64"), g.input("j", ("b",), "int32"), g.input("k", (), "int64")
    picked = [x[i, j], x[i[:, None], j], x[k], x[k, j], x[i, k], x[:, j], x[i, -1]]
    total = sum((gx.sum(p**3) for p in picked), start=g.constant(0.0))
    first = gx.grad(total, x)
    second = gx.grad(gx.sum(first * first), x)
    exe = gx.compile([x, i, j, k], [*picked, first, second], backend=backend)
    array, at_k = filled((3, 4)) / 10, 2
    for at_i, at_j in (([0, 2, 2, -1], [1, 1, 1, -4]), ([], [])):
        a, b = np.array(at_i, np.int64), np.array(at_j, np.int32)
        entries: list[Any] = [(a, b), (a[:, None], b), (at_k,), (at_k, b), (a, at_k), (slice(None), b), (a, -1)]
        *found, slope, bend = exe(array, a, b, at_k)
        count = np.zeros_like(array)
        for entry, value in zip(entries, found, strict=True):
            np.testing.assert_array_equal(value, array[entry])
            np.add.at(count, entry, 1.0)
        np.testing.assert_allclose(slope, 3 * count * array**2, rtol=1e-13)
        np.testing.assert_allclose(bend, 36 * count**2 * array**3, rtol=1e-12)


@pytest.mark.parametrize("backend", BACKENDS)
def test_an_index_out_of_range_stores_nothing(backend: str) -> None:
    g = gx.Graph("range", float_dtype="float64")
    x, w = g.input("x", ("n", 3), "float64"), g.parameter("w", np.zeros((2, 3)))
    i, j = g.input("i", ("b",), "int64"), g.input("j", ("b",), "int64")
    exe = gx.compile([x, i, j], x[i, j], updates={w: w + gx.sum(x[i, j])}, backend=backend)
    array = filled((2, 3))
    for at_i, at_j, text in (
        ([0, 2], [0, 1], r"index 2 .*is not in \[-2, 2\)"),
        ([0, 1], [0, -4], r"index -4 .*\[-3, 3\)"),
    ):
        with pytest.raises(gx.InputIndexError, match=text) as caught:
            exe(array, np.array(at_i), np.array(at_j))
        assert "test_indexing.py" in str(caught.value) and not g.state["w"].any()
        if backend == "numba":
            assert "row 1" in str(caught.value)
    beside = gx.compile([x, i], x[5, i], backend=backend)
    assert beside(filled((6, 3)), np.array([1])) == filled((6, 3))[5, 1]
    with pytest.raises(gx.InputIndexError, match="index 5"):
        beside(filled((5, 3)), np.array([1]))


REFUSED: dict[str, tuple[Any, type[Exception], str]] = {
    "mask of another size": (
        lambda x: x[:, np.array([True, False, True])],
        gx.ShapeError,
        "mask of shape .*3.* axis 1",
    ),
    "mask of too many axes": (lambda x: x[np.ones((3, 2, 1), bool)], gx.ShapeError, "mask of shape"),
    "tensor mask": (lambda x: x[x > 0], gx.DTypeError, "gx.where"),
    "mask that meets no array": (
        lambda x: x[[0, 1], np.array([True, False])] * x[[0, 1, 0], np.array([True, True])],
        gx.ShapeError,
        "do not broadcast",
    ),
    "True": (lambda x: x[True], gx.DTypeError, "gx.where"),
    "floats": (lambda x: x[np.array([0.5])], gx.DTypeError, "integer indices"),
    "float tensor": (lambda x: x[x], gx.DTypeError, "integer indices"),
    "text": (lambda x: x["a"], gx.DTypeError, "integer arrays"),
    "text beside an array": (lambda x: x[[0], "a"], gx.DTypeError, "integer arrays"),
    "too many": (lambda x: x[[0], [0], [0]], gx.ShapeError, "too many"),
    "two ellipses": (lambda x: x[..., ...], gx.ShapeError, "too many"),
    "int beyond": (lambda x: x[0, 2], gx.ShapeError, "out of range on axis 1"),
    "int beyond, beside an array": (lambda x: x[[0], 2], gx.ShapeError, "out of range on axis 1"),
    "arrays that do not broadcast": (lambda x: x[[0, 1, 2], [0, 1]], gx.ShapeError, "do not broadcast"),
}


@pytest.mark.parametrize("what", REFUSED)
@pytest.mark.parametrize("shape", [(3, 2), ("n", 2)], ids=["known", "symbolic"])
def test_what_is_no_index(shape: tuple[Any, ...], what: str) -> None:
    act, error, text = REFUSED[what]
    with pytest.raises(error, match=text) as caught:
        act(gx.Graph("refused").input("x", shape))
    assert "test_indexing.py" in str(caught.value)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", ["bool", "uint8", "int32", "int64", "float32", "float64"])
def test_diagonals_keep_their_dtype(dtype: str, backend: str) -> None:
    for shape in ((3, 4), (5, 2), (1, 3), (0, 2)):
        array = (np.arange(int(np.prod(shape))).reshape(shape) % 3).astype(dtype)
        for declared in (shape, ("n", "m")):
            x = gx.Graph("diagonal").input("x", declared, dtype)
            offsets = (0, 1, -1, 3, -4, 9)
            found = gx.compile([x], [gx.diagonal(x, k) for k in offsets], backend=backend)(array)
            for k, value in zip(offsets, found, strict=True):
                np.testing.assert_array_equal(value, np.diagonal(array, k), err_msg=f"{shape} {k}")
                assert value.dtype == array.dtype


def test_index_arrays_everywhere(tmp_path: Path) -> None:
    g = gx.Graph("everywhere")
    x = g.input("x", ("n", 3, "m"))
    i, j = g.input("i", ("b",), "int64"), g.input("j", ("b",), "int64")
    picked = [x[i, j], x[i, :, j], x[:, j, 0], x[[[0], [1]], i % 3, -1], gx.diagonal(x, 1)]
    slope = gx.grad(sum((gx.sum(p * p) for p in picked), start=g.constant(0.0)), x)
    exe = gx.compile([x, i, j], [*picked, slope])
    forms = exported(exe, tmp_path)
    for shape, at_i, at_j in (((4, 3, 3), [0, 3, 3, -1], [2, 0, 0, 1]), ((2, 3, 5), [], [])):
        arrays = [filled(shape).astype("float32"), np.array(at_i, np.int64), np.array(at_j, np.int64)]
        for form, call in forms.items():
            for found, expected in zip(call(*arrays), exe(*arrays), strict=True):
                np.testing.assert_allclose(found, expected, rtol=1e-6, err_msg=f"{form} {shape}")


def test_a_file_cannot_leave_out_the_test_of_an_index() -> None:
    from graphc.file.legal import proven
    from graphc.ops.apply import apply

    g = gx.Graph("legal")
    x, i = g.input("x", ("n", 3)), g.input("i", ("b",), "int64")
    assert proven(g, x[i, i].node) and proven(g, gx.diagonal(x).node) and proven(g, gx.diagonal(x, -1).node)
    bare = apply("take_points", x, i, i, axes=(0, 1))
    half = apply("take_points", x, x[i, i].inputs[1], i, axes=(0, 1))
    assert not proven(g, bare.node) and not proven(g, half.node)
    assert not proven(g, apply("scatter_points", i, i, bare, axes=(0, 1), sizes=(2, 3)).node)
