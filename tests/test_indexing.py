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
