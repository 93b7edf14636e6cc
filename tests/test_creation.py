"""Tensors made from nothing, NumPy's names, and NumPy's methods: what NumPy gives."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import graphc as gx
from graphc.ops import aliases


def value(tensor: gx.Tensor, *feeds: Any, inputs: Any = ()) -> Any:
    return gx.compile(list(inputs), tensor, backend="numpy")(*feeds)


RANGES = [
    (5,), (0,), (-2,), (2, 7), (7, 2), (2, 12, 3), (12, 2, -3), (0.0, 1.0, 0.25), (3.5,), (1, 0, -0.3), (0.1, 0.5, 0.1),
    (2, 2), (-5, 5, 4), (np.int64(4),), (0, np.float32(2), 0.5), (10**12, 10**12 + 3), (5, 0, -2),
]  # fmt: skip


@pytest.mark.parametrize("given", RANGES, ids=repr)
def test_arange(given: tuple[Any, ...]) -> None:
    found, expected = value(gx.Graph("g", "float64").arange(*given)), np.arange(*given)
    assert found.dtype == (np.int64 if expected.dtype.kind == "i" else np.float64)
    np.testing.assert_allclose(found, expected, rtol=1e-15, atol=1e-15)
    assert found.shape == expected.shape


@pytest.mark.parametrize("n", [0, 1, 2, 7])
def test_symbolic_sizes(n: int) -> None:
    g = gx.Graph("g", float_dtype="float64")
    x = g.input("x", ("n",))
    size = x.shape[0]
    made = {
        "arange": g.arange("n"), "from": g.arange(2, size + 3), "down": g.arange(size, -1, -2), "apart": g.arange(0, size, 3),
        "zeros": g.zeros((size, 2)), "ones": g.ones("n", "int32"), "full": g.full(("n", "n"), 2.5), "eye": g.eye("n"),
        "wide": g.eye(size, size + 2, 1), "tri": g.tri(size + 1, "n", -1, bool), "linspace": g.linspace(1, 3, "n"),
        "open": g.linspace(1, 3, size, endpoint=False), "like": gx.full_like(x, 7, "int64"), "nan": gx.full_like(x, np.nan),
    }  # fmt: skip
    expected = {
        "arange": np.arange(n), "from": np.arange(2, n + 3), "down": np.arange(n, -1, -2), "apart": np.arange(0, n, 3),
        "zeros": np.zeros((n, 2)), "ones": np.ones(n, "i4"), "full": np.full((n, n), 2.5), "eye": np.eye(n),
        "wide": np.eye(n, n + 2, 1), "tri": np.tri(n + 1, n, -1, bool), "linspace": np.linspace(1, 3, n),
        "open": np.linspace(1, 3, n, endpoint=False), "like": np.full(n, 7), "nan": np.full(n, np.nan),
    }  # fmt: skip
    for backend in ("numba", "numpy"):
        found = gx.compile([x], made, backend=backend, unused="ignore")(np.zeros(n))
        for name, array in expected.items():
            assert found[name].dtype == array.dtype and found[name].shape == array.shape, name
            np.testing.assert_allclose(found[name], array, rtol=1e-15, err_msg=name)


def test_linspace_is_exact_at_both_ends_and_in_whole_numbers() -> None:
    g = gx.Graph("g", float_dtype="float64")
    for start, stop, num in ((0.1, 0.7, 7), (0, 10, 11), (-3, 3, 4), (1e300, -1e300, 5), (2.0, 2.0, 3), (1, 5, 1)):
        found = value(g.linspace(start, stop, num))
        assert found[0] == start and (num == 1 or found[-1] == stop), (start, stop)
        np.testing.assert_allclose(found, np.linspace(start, stop, num), rtol=4e-16)
    assert value(g.linspace(0, 10, 11)).tolist() == list(range(11))


def test_dtypes() -> None:
    g = gx.Graph("g")
    x = g.input("x", (2,), "float64")
    i = g.input("i", (2,), "int32")
    kinds = {
        g.zeros((2,)): "float32", g.zeros((2,), "int64"): "int64", g.full((2,), 1): "int64", g.full((2,), True): "bool",
        g.full((2,), 1.5): "float32", g.full((2,), np.float64(1)): "float32", gx.full((3, 2), x): "float64",
        g.full((2,), i, "float64"): "float64", gx.zeros_like(i): "int32", gx.ones_like(i, float): "float64",
        g.arange(3): "int64", g.arange(3.0): "float32", g.arange(3, dtype="float64"): "float64", g.eye(2): "float32",
        g.eye(2, dtype=bool): "bool", gx.linspace(x, 1, 3): "float64", gx.linspace(i, 1, 3): "float32",
        g.linspace(0, 1, 3, dtype="float64"): "float64", gx.full_like(i, 2**31 - 1): "int32",
    }  # fmt: skip
    for tensor, kind in kinds.items():
        assert str(tensor.dtype) == kind, tensor
    whole = gx.full_like(g.input("w", (2,), "int64"), 2**62 + 1)
    assert gx.compile([g["w"]], whole, unused="ignore")(np.zeros(2, int)).tolist() == [2**62 + 1] * 2


WRONG: list[Any] = [
    ("no graph", lambda g, h: gx.zeros((2,)), gx.GraphError, r"write g.zeros\(...\), or pass graph=g"),
    ("another graph", lambda g, h: gx.full((2,), g.zeros(()), graph=h), gx.GraphError, "operands are of 'g'"),
    ("graph a text", lambda g, h: gx.ones((2,), graph="g"), gx.GraphError, "must be a graph"),
    ("step zero", lambda g, h: g.arange(1, 2, 0), gx.ShapeError, "step must not be 0"),
    ("range of a tensor", lambda g, h: g.arange(g.zeros(())), gx.DTypeError, "scale what"),
    ("range without end", lambda g, h: g.arange(float("inf")), gx.ShapeError, "finite"),
    ("range of a size by halves", lambda g, h: g.arange(0, gx.ones("n", graph=g).size, 0.5), gx.ShapeError, "step an int"),
    ("fill too wide", lambda g, h: g.full((2,), g.zeros((3,))), gx.ShapeError, "broadcast"),
    ("fill no integer", lambda g, h: gx.full_like(g.zeros((2,), "int32"), 0.5), gx.DTypeError, "pass dtype="),
    ("linspace of integers", lambda g, h: g.linspace(0, 1, 3, dtype="int32"), gx.DTypeError, "float dtype"),
    ("size negative", lambda g, h: g.eye(-1), gx.ShapeError, "at least 0"),
    ("vstack of nothing", lambda g, h: gx.vstack([]), gx.ShapeError, "at least one"),
]  # fmt: skip


@pytest.mark.parametrize(("act", "error", "text"), [w[1:] for w in WRONG], ids=[w[0] for w in WRONG])
def test_errors(act: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text) as caught:
        act(gx.Graph("g"), gx.Graph("h"))
    assert "test_creation.py" in str(caught.value)


def test_aliases_are_numpys_names_for_the_same() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.uniform(0.2, 0.9, (2, 3)), rng.uniform(1.1, 1.9, (2, 3))
    g = gx.Graph("g", float_dtype="float64")
    x, y = g.input("x", (2, 3)), g.input("y", (2, 3))
    for name in aliases.__all__:
        f, h = getattr(gx, name), getattr(np, name)
        if name == "concatenate":
            made, expected = f([x, y]), h([a, b])
        elif name in ("arctan2", "mod", "power", "true_divide"):
            made, expected = f(x, y), h(a, b)
        elif name == "arccosh":
            made, expected = f(y), h(b)
        else:
            made, expected = f(x), h(a)
        found = gx.compile([x, y], made, backend="numpy", unused="ignore")(a, b)
        np.testing.assert_allclose(found, expected, rtol=1e-13, err_msg=name)


def test_methods_are_numpys() -> None:
    rng = np.random.default_rng(1)
    a = rng.normal(size=(3, 1, 4))
    g = gx.Graph("g", float_dtype="float64")
    x = g.input("x", ("n", 1, 4))
    calls = {
        "prod": ((), {"axis": 0}), "var": ((), {"axis": 2, "ddof": 1}), "std": ((1,), {}), "argmax": ((), {"axis": 2}),
        "argmin": ((), {}), "any": ((), {"axis": 0}), "all": ((), {}), "ravel": ((), {}), "flatten": ((), {}),
        "squeeze": ((), {}), "clip": ((-0.5, 0.5), {}), "swapaxes": ((0, 2), {}), "transpose": ((), {}),
        "round": ((), {}), "repeat": ((2,), {}), "take": (([3, -1],), {}), "trace": ((), {}), "dot": ((np.ones((4, 2)),), {}),
        "min": ((), {"axis": 1, "keepdims": True}), "mean": ((), {}), "cumsum": ((), {}), "cumprod": ((2,), {}), "argsort": ((), {}), "sum": ((), {"axis": (0, 2)}), "max": ((), {}),
    }  # fmt: skip
    made = {name: getattr(x, name)(*args, **kwargs) for name, (args, kwargs) in calls.items() if name != "squeeze"}
    made["squeeze"] = x.squeeze(1)
    made["sorted"] = x.sort(0)
    made |= {
        "axes": x.transpose(1, 0, 2),
        "listed": x.transpose((2, 1, 0)),
        "repeat 2": x.repeat(3, 2),
        "take 2": x.take([1], 2),
    }
    found = gx.compile([x], made, backend="numpy")(a)
    expected = {name: getattr(a, name)(*args, **kwargs) for name, (args, kwargs) in calls.items()}
    expected |= {"axes": a.transpose(1, 0, 2), "listed": a.T, "repeat 2": a.repeat(3, 2), "take 2": a.take([1], 2)}
    expected["sorted"] = np.sort(a, 0)
    expected["trace"] = np.trace(a, axis1=-2, axis2=-1)  # of the last two axes here
    for name, array in expected.items():
        np.testing.assert_allclose(found[name], array, rtol=1e-13, err_msg=name)


def test_gradients_by_key() -> None:
    g = gx.Graph("g", float_dtype="float64")
    x, w = g.input("x", (2,)), g.input("w", (2,))
    found = gx.grad(gx.sum(x * w * w), {"a": x, ("b", 1): w})
    assert list(found) == ["a", ("b", 1)] and gx.grad(gx.sum(x), {}) == {}
    a, b = gx.compile([x, w], list(found.values()))([1.0, 2.0], [3.0, 4.0])
    assert a.tolist() == [9, 16] and b.tolist() == [6, 16]
    with pytest.raises(gx.GradientError, match="must be a tensor, or lists"):
        gx.grad(gx.sum(x), {"a": 1})
