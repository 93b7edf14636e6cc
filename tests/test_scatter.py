"""Elements changed at an index, against NumPy, and rows added up over segments."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import graphc as gx

UFUNCS = {"add": np.add, "multiply": np.multiply, "max": np.maximum, "min": np.minimum}


def changed(x: np.ndarray, index: Any, values: Any, how: str) -> np.ndarray:
    out = x.copy()
    if how == "set":
        out[index] = values
    else:
        UFUNCS[how].at(out, index, values)
    return out


MASK = np.array([True, False, True, False])
INDICES: list[Any] = [
    np.s_[0], np.s_[-1], np.s_[1:3], np.s_[::-1], np.s_[:, ::-2], np.s_[..., 1], np.s_[None, 2], np.s_[3:0:-2, 0], np.s_[:],
    np.s_[[0, 2, 0]], np.s_[np.array([[0, 1], [3, 0]])], np.s_[:, [1, 1, -1]], np.s_[[0, 1, 0], [2, 0, 2]],
    np.s_[[0, 1], :, [2, 3]], np.s_[[[0], [3]], 1:, [1, 1]], np.s_[1, :, [0, 0, 4]], np.s_[1:3, 2, [0, 0]], np.s_[None, [1, 1]],
    np.s_[[0, 0], None, 1], np.s_[..., [4, 0, 4]], np.s_[0, 1, 2], np.s_[2:2], np.s_[[]], np.s_[1:, [0, 0], ::2],
    np.s_[[3, 3], :, ::-1], MASK, np.s_[[0, 1], ..., [2, 2]],
]  # fmt: skip


@pytest.mark.parametrize(
    ("backend", "known"), [("numpy", True), ("numpy", False), ("numba", False)], ids=["known", "symbolic", "compiled"]
)
def test_every_index(backend: str, known: bool) -> None:
    """One graph with every index and method (compiled, every index), values of the shape that the index picks."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(4, 3, 5))
    g = gx.Graph("g", float_dtype="float64")
    t = g.input("x", x.shape if known else ("a", "b", "c"))
    made, expected = {}, {}
    for k, index in enumerate(INDICES):
        for how in ("set", *UFUNCS):
            mask = index is MASK
            values = rng.normal(size=x.shape if mask else x[index].shape)
            name = f"{k} {how}"
            made[name] = getattr(t.at[index], how)(values)
            expected[name] = changed(x, index, values[index] if mask else values, how)
    found = gx.compile([t], made, backend=backend)(x)
    for name, array in expected.items():
        np.testing.assert_allclose(found[name], array, rtol=1e-15, err_msg=f"{INDICES[int(name.split()[0])]} {name}")


def test_values_broadcast_and_are_converted() -> None:
    g = gx.Graph("g")
    x, i = g.input("x", ("n", 3)), g.input("i", ("k",), "int64")
    whole = g.input("w", ("n",), "int32")
    made = [
        x.at[i].set(1), x.at[i, 0].add(np.float64(2)), x.at[i].max(g.constant(np.arange(3))), x.at[1].multiply([1.0, 2.0, 3.0]),
        whole.at[i].add(2), whole.at[0].set(7), whole.at[whole > 1].multiply(3), x.at[i].set(x.astype("float64")[:1]),
    ]  # fmt: skip
    f = gx.compile([x, i, whole], made)
    a, at, w = np.arange(12, dtype=np.float32).reshape(4, 3), np.array([3, 0, 3]), np.arange(4, dtype=np.int32)
    expected = [
        changed(a, at, 1, "set"), changed(a, (at, 0), 2, "add"), changed(a, at, np.arange(3, dtype=np.float32), "max"),
        changed(a, 1, [1, 2, 3], "multiply"), changed(w, at, 2, "add"), changed(w, 0, 7, "set"), np.where(w > 1, 3 * w, w),
        changed(a, at, a[:1], "set"),
    ]  # fmt: skip
    for found, array in zip(f(a, at, w), expected, strict=True):
        assert found.dtype == array.dtype
        np.testing.assert_array_equal(found, array)
    nothing = f(a, np.zeros(0, int), w)  # no index at all
    for k in (0, 1, 2, 7):
        np.testing.assert_array_equal(nothing[k], a)
    with pytest.raises(gx.InputIndexError, match="index 4"):
        f(a, np.array([0, 4]), w)


def test_of_an_index_that_stands_twice_the_last_counts_in_value_and_gradient() -> None:
    g = gx.Graph("g", float_dtype="float64")
    x, v, i = g.input("x", (3,)), g.input("v", ("k",)), g.input("i", ("k",), "int64")
    y = x.at[i].set(v)
    weights = np.array([1.0, 10.0, 100.0])
    dx, dv = gx.grad(gx.sum(y * weights), [x, v])
    value, dx, dv = gx.compile([x, v, i], [y, dx, dv])([0.5, 0.5, 0.5], [1.0, 2.0, 3.0, np.nan], [1, 2, 1, 0])
    np.testing.assert_array_equal(value, [np.nan, 3, 2])
    assert dx.tolist() == [0, 0, 0] and dv.tolist() == [0, 100, 10, 1]


def test_what_is_overwritten_hands_no_nan_to_its_gradient() -> None:
    g = gx.Graph("g", float_dtype="float64")
    x = g.input("x", (2,))
    for y in (x.at[0].set(1.0), x.at[[0]].set(1.0), x.at[x <= 0].set(1.0)):
        slope = gx.grad(gx.sum(gx.sqrt(x).at[0].set(1.0) + 0 * y), x)
        assert gx.compile([x], slope)([0.0, 4.0]).tolist() == [0, 0.25]


def test_ties_share_and_nan_is_handed_on() -> None:
    g = gx.Graph("g", float_dtype="float64")
    v, ids = g.input("v", (5,)), g.input("i", (5,), "int64")
    for f, best in ((gx.segment_max, 3.0), (gx.segment_min, -3.0)):
        y = f(v, ids, 3)
        run = gx.compile([v, ids], [y, gx.grad(gx.sum(y * [1.0, 6.0, 1.0]), v)])
        value, slope = run([best, best, 0.0, best, 1.0], [1, 1, 1, 1, 0])
        assert value.tolist() == [1, best, np.copysign(np.inf, -best)] and slope.tolist() == [2, 2, 0, 2, 1]
        value, slope = run([np.nan, best, 0.0, best, 1.0], [1, 1, 1, 1, 0])
        assert np.isnan(value[1]) and np.isnan(slope[:4]).all() and slope[4] == 1


def test_products_with_zeros_have_right_derivatives_to_second_order() -> None:
    g = gx.Graph("g", float_dtype="float64")
    v = g.input("v", (4,))
    y = g.ones((2,)).at[[0, 0, 0, 1]].multiply(v)
    first = gx.grad(gx.sum(y), v)
    second = gx.grad(gx.sum(first * [1.0, 2.0, 3.0, 4.0]), v)
    found = gx.compile([v], [first, second])([0.0, 0.0, 5.0, 7.0])
    assert found[0].tolist() == [0, 0, 0, 1] and found[1].tolist() == [10, 5, 0, 0]


def test_segments() -> None:
    g = gx.Graph("g")
    x, ids, b = g.input("x", ("n", 2), "int32"), g.input("ids", ("m",), "int64"), g.input("b", ("n",), bool)
    made = [f(x, ids, "k") for f in (gx.segment_sum, gx.segment_mean, gx.segment_max, gx.segment_min)]
    size = g.input("like", ("k",))
    f = gx.compile([x, ids, b, size], [*made, gx.segment_sum(b, ids, 4)], unused="ignore")
    a = np.array([[1, 2], [3, 4], [5, -6]], np.int32)
    total, mean, most, least, count = f(a, [3, 0, 3], [True, True, True], np.zeros(4))
    assert total.tolist() == [[3, 4], [0, 0], [0, 0], [6, -4]] and mean.tolist() == [[3, 4], [0, 0], [0, 0], [3, -2]]
    low, high = np.iinfo(np.int32).min, np.iinfo(np.int32).max
    assert most.tolist() == [[3, 4], [low, low], [low, low], [5, 2]] and most.dtype == np.int32
    assert least.tolist() == [[3, 4], [high, high], [high, high], [1, -6]] and count.tolist() == [1, 0, 0, 2]
    with pytest.raises(gx.InputShapeError):
        f(a, [3, 0], [True, True, True], np.zeros(4))
    with pytest.raises(gx.InputIndexError, match="segment id 4"):
        f(a, [3, 0, 4], [True, True, True], np.zeros(4))


def test_windows_are_moved_inside() -> None:
    rng = np.random.default_rng(2)
    a, u = rng.normal(size=(5, 4)), rng.normal(size=(2, 3))
    g = gx.Graph("g", float_dtype="float64")
    x, i, j = g.input("x", ("n", "m")), g.input("i", (), "int32"), g.input("j", (), "int64")
    f = gx.compile([x, i, j], [gx.dynamic_slice(x, [i, j], (2, 3)), gx.dynamic_update_slice(x, u, [i, j])])
    for row, column in ((0, 0), (1, 1), (3, 1), (9, 9), (-4, -4)):
        top, left = np.clip(row, 0, 3), np.clip(column, 0, 1)
        window, updated = f(a, row, column)
        np.testing.assert_array_equal(window, a[top : top + 2, left : left + 3])
        np.testing.assert_array_equal(updated, changed(a, np.s_[top : top + 2, left : left + 3], u, "set"))


@pytest.mark.parametrize("size", [0, 1, 2, 3, 8, 13, None])
@pytest.mark.parametrize("side", ["left", "right"])
def test_searchsorted(side: Any, size: int | None) -> None:
    """With equal elements, infinities and NaN, which is above all numbers."""
    rng = np.random.default_rng(5)
    for dtype in ("float64", "int64"):
        a = rng.integers(-4, 5, 13 if size is None else size).astype(dtype)
        v = np.arange(-6, 7).astype(dtype)
        if dtype == "float64":
            a[-2:] = np.nan if size != 8 else np.inf
            v = np.concatenate([v, [np.nan, np.inf, -np.inf, 0.5]])
        a = np.sort(a)
        g = gx.Graph("g", float_dtype="float64")
        x, y = g.input("x", ("n",) if size is None else (size,), dtype), g.input("y", ("m",), dtype)
        f = gx.compile([x, y], gx.searchsorted(x, y, side), backend="numpy", unused="ignore")
        np.testing.assert_array_equal(f(a, v), np.searchsorted(a, v, side))


WRONG: list[Any] = [
    ("float into integers", lambda x, i: i.at[0].set(0.5), gx.DTypeError, "cannot hold"),
    ("values too many", lambda x, i: x.at[0].add(np.ones(3, "f")), gx.ShapeError, "broadcast"),
    ("mask too long", lambda x, i: x.at[np.ones(4, bool)].set(0), gx.ShapeError, "first sizes"),
    ("no index", lambda x, i: x.at["a"].set(0), gx.DTypeError, "integer arrays as index"),
    ("ids of floats", lambda x, i: gx.segment_sum(x, x[:, 0], 3), gx.ShapeError, "an integer id"),
    ("ids too few", lambda x, i: gx.segment_sum(x, [0, 1], 3), gx.ShapeError, "reshape"),
    ("indices of lower rank", lambda x, i: gx.take_along_axis(x, [0], 1), gx.ShapeError, "with the axes of"),
    ("window too large", lambda x, i: gx.dynamic_slice(x, [0, 0], (4, 1)), gx.ShapeError, "does not fit"),
    ("starts too few", lambda x, i: gx.dynamic_slice(x, [0], (1, 1)), gx.ShapeError, "for each axis"),
    ("side", lambda x, i: gx.searchsorted(i, i, "middle"), gx.ShapeError, "side must be"),
    ("a sorted matrix", lambda x, i: gx.searchsorted(x, x), gx.ShapeError, "sorted vector"),
    ("start a float", lambda x, i: gx.dynamic_update_slice(x, x[:1], [0.5, 0]), gx.DTypeError, "integer scalar"),
]  # fmt: skip


@pytest.mark.parametrize(("act", "error", "text"), [w[1:] for w in WRONG], ids=[w[0] for w in WRONG])
def test_errors(act: Any, error: type[Exception], text: str) -> None:
    g = gx.Graph("g")
    with pytest.raises(error, match=text) as caught:
        act(g.input("x", (3, 2)), g.input("i", (3,), "int64"))
    assert "test_scatter.py" in str(caught.value)
