"""Ops of users: fused and whole, in every engine, with gradients, in files, and what refuses them."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import graphc as gx


def bump(x: float) -> float:
    return math.exp(-1.0 / (1.0 - x * x)) if abs(x) < 1.0 else 0.0


def filtered(a: Any, b: Any, out: Any) -> None:
    """A filter with feedback by b."""
    for i in range(len(a)):
        out[i] = a[i] + (b[0] * out[i - 1] if i else 0.0)


BUMP = gx.custom_op("bump", bump, elementwise=True, gradient=lambda g, y, x: -2 * g * y * x / (1 - x * x) ** 2)
FILTER = gx.custom_op("filtered", filtered)
POINTS = np.array([-2.0, -0.5, 0.0, 0.25, 0.9])


def graph_of(dtype: str = "float64", **shapes: tuple[Any, ...]) -> tuple[gx.Graph, list[gx.Tensor]]:
    g = gx.Graph("g", float_dtype=dtype)
    return g, [g.input(name, shape) for name, shape in shapes.items()]


@pytest.mark.parametrize("backend", ["numba", "numpy"])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_elementwise(backend: str, dtype: str) -> None:
    """Between other functions, broadcast, differentiated twice, for many examples, in a loop."""
    _, (x, s) = graph_of(dtype, x=("n",), s=())
    y = BUMP(gx.sin(x)) * 2.0 + BUMP(s)
    slope = gx.grad(gx.sum(y), x)
    second = gx.grad(gx.sum(slope), x)
    many = gx.vmap(lambda r: BUMP(r) * r)(x)
    loop = gx.scan(lambda c, r: (c + BUMP(r), None), s, x)[0]
    f = gx.compile([x, s], [y, slope, second, many, loop, gx.jvp(y, x, gx.ones_like(x))], backend=backend)
    found = f(POINTS.astype(dtype), np.array(0.5, dtype))
    of = np.vectorize(bump)
    t = np.sin(POINTS)
    expected = of(t) * 2 + bump(0.5)
    assert all(v.dtype == dtype for v in found)
    np.testing.assert_allclose(found[0], expected, rtol=2e-6)
    h = 1e-4
    ends = [of(np.sin(POINTS + k * h)) * 2 for k in (-1, 0, 1)]
    np.testing.assert_allclose(found[1], (ends[2] - ends[0]) / (2 * h), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(found[2], (ends[2] - 2 * ends[1] + ends[0]) / h**2, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(found[3], of(POINTS) * POINTS, rtol=2e-6)
    np.testing.assert_allclose(found[4], 0.5 + of(POINTS).sum(), rtol=2e-6)
    np.testing.assert_allclose(found[5], found[1], rtol=2e-6)


@pytest.mark.parametrize("backend", ["numba", "numpy"])
def test_of_arrays(backend: str) -> None:
    """Of symbolic sizes, for many examples, with a shape, dtype and operands of their own."""
    _, (a, b, m) = graph_of(a=("n",), b=(), m=("k", "n"))

    def bins(x: Any, edges: Any, out: Any) -> None:
        out[:, :] = 0
        for i in range(x.shape[0]):
            for j in range(edges.shape[0]):
                if x[i] > edges[j]:
                    out[j, 1] += 1
                else:
                    out[j, 0] += 1

    histogram = gx.custom_op("bins", bins, shape=lambda x, edges: (edges[0], 2), dtype="int64")
    outputs = [
        FILTER(a, b),
        gx.vmap(FILTER, (0, None))(m, b),
        histogram(a * 2.0, np.array([0.0, 1.0])),
        gx.exp(FILTER(a, b)),
    ]
    f = gx.compile([a, b, m], outputs, backend=backend)
    p, q = np.arange(4.0), np.arange(8.0).reshape(2, 4)
    found = f(p, np.array(0.5), q)

    def expected(a: np.ndarray) -> np.ndarray:
        out = np.empty(4)
        filtered(a, np.array([0.5]), out)
        return out

    np.testing.assert_allclose(found[0], expected(p))
    np.testing.assert_allclose(found[1], [expected(r) for r in q])
    assert found[2].tolist() == [[1, 3], [1, 3]] and found[2].dtype == "int64"
    np.testing.assert_allclose(found[3], np.exp(expected(p)))


def test_two_functions_of_one_name_stay_apart() -> None:
    one, two = (gx.custom_op("shift", eval(f"lambda x: x + {k}.0"), elementwise=True) for k in (1, 2))
    _, (x,) = graph_of(x=("n",))
    for backend in ("numba", "numpy"):
        assert [v.tolist() for v in gx.compile([x], [one(x), two(x)], backend=backend)(np.zeros(1))] == [[1], [2]]


def test_a_reference_is_used_by_numpy() -> None:
    calls = []

    def reference(x: np.ndarray) -> np.ndarray:
        calls.append(x.shape)
        return np.sinh(x)

    op = gx.custom_op("sinh_", lambda x: math.sinh(x), elementwise=True, reference=reference)
    _, (x,) = graph_of(x=("n",))
    np.testing.assert_allclose(gx.compile([x], op(x), backend="numpy")(POINTS), np.sinh(POINTS))
    assert calls == [(5,)]
    np.testing.assert_allclose(gx.compile([x], op(x))(POINTS), np.sinh(POINTS))


def test_files_hold_the_name(tmp_path: Path) -> None:
    _, (x, b) = graph_of(x=("n",), b=())
    y = BUMP(x) + FILTER(x, b)
    f = gx.compile([x, b], [y, gx.vmap(BUMP)(x), gx.grad(gx.sum(BUMP(x)), x)], backend="numpy")
    gx.save(tmp_path / "f.gx", f=f)
    again = gx.load(tmp_path / "f.gx", ops={"bump": BUMP, "filtered": FILTER})["f"]
    for one, other in zip(again(POINTS, np.array(0.5)), f(POINTS, np.array(0.5)), strict=True):
        np.testing.assert_array_equal(one, other)
    with pytest.raises(gx.GraphFileError, match=r"no operation called 'bump'.*gx.load\(path, ops="):
        gx.load(tmp_path / "f.gx")
    with pytest.raises(gx.GraphError, match="must be what custom_op returned"):
        gx.load(tmp_path / "f.gx", ops={"bump": bump})
    unnamed = gx.custom_op(None, bump, elementwise=True)
    with pytest.raises(gx.GraphFileError, match="cannot be saved; give custom_op a name"):
        gx.save(tmp_path / "g.gx", f=gx.compile([x], unnamed(x), backend="numpy"))
    assert not (tmp_path / "g.gx").exists()


def test_exports_say_where_they_cannot(tmp_path: Path) -> None:
    _, (x,) = graph_of(x=("n",))
    f = gx.compile([x], BUMP(x))
    with pytest.raises(gx.ExportError, match="cannot hold ops of your own: bump"):
        f.export_python(tmp_path / "m.py")
    with pytest.raises(gx.ExportError, match=r"cannot hold ops of your own.* bump"):
        f.export_c(tmp_path / "c")
    pytest.importorskip("onnx")
    with pytest.raises(gx.ExportError, match="bump"):
        f.export_onnx(tmp_path / "m.onnx")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("call", "kind", "words"),
    [
        (
            lambda x: gx.custom_op("exp", bump, elementwise=True),
            gx.GraphError,
            "an identifier that no op of graphc has",
        ),
        (lambda x: gx.custom_op("a b", bump, elementwise=True), gx.GraphError, "name must be an identifier"),
        (lambda x: gx.custom_op("f", 3), gx.GraphError, "function must be a function, found 3"),
        (lambda x: gx.custom_op("f", bump), gx.GraphError, "1 to 26 operands, found 0"),
        (lambda x: BUMP(x, x), gx.GraphError, "bump: expected 1 operands, found 2"),
        (lambda x: gx.grad(gx.sum(FILTER(x, x)), x), gx.GradientError, "filtered has no derivative"),
        (
            lambda x: gx.compile([x], gx.custom_op("f", lambda v: globals()[v], elementwise=True)(x)),
            gx.CompileError,
            "compile",
        ),
    ],
)
def test_errors(call: Any, kind: type, words: str) -> None:
    _, (x,) = graph_of(x=(3,))
    with pytest.raises(kind, match=words):
        exe = call(x)
        exe(np.zeros(3))
