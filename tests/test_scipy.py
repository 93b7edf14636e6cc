"""Executables as C callbacks and as functions of a flat vector, called by SciPy."""

from __future__ import annotations

import ctypes
import gc
from typing import Any

import numpy as np
import pytest
import scipy.integrate
import scipy.ndimage
import scipy.optimize

import graphc as gx


def inputs(*shapes: Any) -> list[gx.Tensor]:
    g = gx.Graph(float_dtype="float64")
    return [g.input(f"x{k}", shape, "float64") for k, shape in enumerate(shapes)]


# ---- C callbacks


@pytest.mark.parametrize("signature", ["double (double)", "double(double,void*)"])
def test_quad_over_a_number(signature: str) -> None:
    (x,) = inputs(())
    exe = gx.compile([x], gx.exp(-x * x))
    bell = exe.low_level(signature)
    del exe
    gc.collect()
    value, error = scipy.integrate.quad(bell, -np.inf, np.inf)
    assert value == pytest.approx(np.sqrt(np.pi), abs=1e-8) and error < 1e-7


@pytest.mark.parametrize("signature", ["double (int, double *)", "double (int, double *, void *)"])
def test_quad_with_arguments(signature: str) -> None:
    x, a, b = inputs((), (), ())
    wave = gx.compile([x, a, b], a * gx.cos(b * x)).low_level(signature)
    value, _ = scipy.integrate.quad(wave, 0, 1, args=(3.0, 2.0))
    assert value == pytest.approx(1.5 * np.sin(2), rel=1e-12)
    more = (None,) if "void" in signature else ()
    assert np.isnan(wave.function(2, (ctypes.c_double * 2)(), *more)), "too few values are not read beyond their end"
    x, y, rest = inputs((), (), ("k",))
    sums = gx.compile([x, y, rest], x * y * gx.sum(rest)).low_level(signature)
    value, _ = scipy.integrate.nquad(sums, [[0, 1], [0, 2]], args=(1.0, 2.0, 4.0))
    assert value == pytest.approx(7.0, rel=1e-12)
    (v,) = inputs((3,))
    square = gx.compile([v], v[0] ** 2 + v[1] + v[2]).low_level(signature)
    assert scipy.integrate.quad(square, 0, 3, args=(1.0, 1.0))[0] == pytest.approx(15.0, rel=1e-12)
    assert np.isnan(square.function(2, (ctypes.c_double * 2)(), *more)), "a vector of another size is refused"


def test_filters_of_images() -> None:
    image = np.random.default_rng(0).normal(size=(30, 20))
    (v,) = inputs(("n",))
    spread = gx.compile([v], gx.max(v) - gx.min(v)).low_level("int (double *, npy_intp, double *, void *)")
    for size in (2, 3):
        found = scipy.ndimage.generic_filter(image, spread, size=size)
        np.testing.assert_array_equal(found, scipy.ndimage.generic_filter(image, np.ptp, size=size))
    (w,) = inputs((4,))
    fixed = gx.compile([w], gx.sum(w)).low_level("int (double *, intptr_t, double *, void *)")
    with pytest.raises(RuntimeError):
        scipy.ndimage.generic_filter(image, fixed, size=3)
    line = "int (double *, intptr_t, double *, intptr_t, void *)"
    steps = gx.compile([v], v[1:] - v[:-1]).low_level(line)
    found = scipy.ndimage.generic_filter1d(image, steps, filter_size=2)
    np.testing.assert_array_equal(found[:, 1:], np.diff(image))
    with pytest.raises(RuntimeError):
        scipy.ndimage.generic_filter1d(image, gx.compile([v], v * 2.0).low_level(line), filter_size=2)


def test_the_slope_of_an_ode() -> None:
    t, y, p = inputs((), (2,), (1,))
    plain, damped = (
        gx.compile(given, gx.stack([y[1], -gx.sin(y[0]) - slow * y[1] + 0.0 * t])).low_level(
            "void (double, double *, double *, double *)"
        )
        for given, slow in (([t, y], 0.5), ([t, y, p], p[0]))
    )
    at, out, parameters = np.array([0.3, -1.0]), np.empty(2), np.array([0.5])
    for slope in (plain, damped):
        out[:] = 0
        given = [a.ctypes.data_as(ctypes.POINTER(ctypes.c_double)) for a in (at, out, parameters)]
        slope.function(0.0, *given)
        np.testing.assert_allclose(out, [-1.0, -np.sin(0.3) + 0.5], rtol=1e-15)


def test_an_index_out_of_range_is_nan() -> None:
    g = gx.Graph(float_dtype="float64")
    x = g.input("x", (), "float64")
    table = g.constant(np.array([5.0, 6.0]))
    f = gx.compile([x], gx.take(table, gx.astype(gx.floor(x), "int64"))).low_level("double (double)").function
    assert f(0.5) == 5.0 and f(1.5) == 6.0 and np.isnan(f(2.5)) and f(-1.0) == 6.0


def test_executables_that_are_no_such_callback() -> None:
    x, v, n = inputs((), ("n",), ("n", 2))
    number, many, several = gx.compile([x], x * 2.0), gx.compile([v], v * 2.0), gx.compile([x], [x * 2.0])
    single = gx.Graph().input("s", ())
    ode = "void (double, double *, double *, double *)"
    for exe, signature, text in (
        (number, "float (float)", "expected one of 'double"),
        (number, "double (double", "expected one of 'double"),
        (number, "", "expected one of"),
        (many, "double (double)", r"is for a number in, a number out.*takes x1: float64\[n\] and gives the tensor"),
        (several, "double (double)", "gives the list"),
        (gx.compile([single], single * 2.0), "double (double)", r"all float64; this executable takes s: float32\[\]"),
        (gx.compile([v, x], gx.sum(v) * x), "double (int, double *)", "a vector behind them"),
        (gx.compile([n], gx.sum(n)), "int (double *, intptr_t, double *, void *)", "a vector in, a number out"),
        (many, "int (double *, intptr_t, double *, void *)", "a vector in, a number out"),
        (gx.compile([x, v], v * x), ode, "of known sizes"),
        (gx.compile([x], x * 2.0, backend="numpy"), "double (double)", "no machine code"),
    ):
        with pytest.raises(gx.CompileError, match=text):
            exe.low_level(signature)


# ---- functions of a flat vector


def fit(dtype: str = "float64", structure: str = "list", backend: str = "numba") -> gx.Executable:
    """Squares of a small network's errors; parameters are inputs."""
    g = gx.Graph(float_dtype=dtype)
    x, y = g.input("x", ("n", 3), dtype), g.input("y", ("n",), dtype)
    w, b, s = g.input("w", (3, 2), dtype), g.parameter("b", np.zeros(2, dtype)), g.input("s", (), dtype)
    loss = gx.mean((s * gx.sum(gx.tanh(x @ w + b), axis=1) - y) ** 2)
    dw, db, ds = gx.grad(loss, [w, b, s])
    outputs = [loss, dw, db, ds] if structure == "list" else {"loss": loss, "s": ds, "w": dw, "b": db}
    return gx.compile([x, y, w, b, s], outputs, backend=backend)


RNG = np.random.default_rng(0)
DATA = {"x": RNG.normal(size=(50, 3)), "y": RNG.normal(size=50)}
START = {"b": np.array([0.1, -0.1]), "s": 0.5, "w": RNG.normal(size=(3, 2))}


@pytest.mark.parametrize("structure", ["list", "dict"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("backend", ["numba", "numpy"])
def test_value_and_gradient_of_a_flat_vector(dtype: str, structure: str, backend: str) -> None:
    exe = fit(dtype, structure, backend)
    f = exe.as_scipy(START, **DATA)
    assert f.x0.dtype == np.float64 and f.x0.shape == (9,) == (f.size,)
    value, gradient = f(f.x0)
    expected = exe(**DATA, **START)
    named = expected if structure == "dict" else dict(zip(("loss", "w", "b", "s"), expected, strict=True))
    assert type(value) is float and value == named["loss"] and gradient.dtype == np.float64
    apart = f.unflatten(gradient)
    assert list(apart) == ["b", "s", "w"]
    for name, slope in apart.items():
        np.testing.assert_array_equal(slope, named[name])
    assert f(f.x0)[1] is not gradient


def test_structures_of_first_values() -> None:
    exe = fit()
    w, b, s = START["w"], START["b"], START["s"]
    by_name, by_order = exe.as_scipy(START, **DATA), exe.as_scipy([w, b, s], **DATA)
    np.testing.assert_array_equal(by_name.x0, by_order.x0)
    parts = by_order.unflatten(by_order.x0)
    assert isinstance(parts, list) and [np.shape(p) for p in parts] == [(3, 2), (2,), ()]
    g = gx.Graph(float_dtype="float64")
    v = g.input("v", ("n",), "float64")
    y = gx.sum((v - 3.0) ** 2)
    f = gx.compile([v], [y, gx.grad(y, v)]).as_scipy(np.zeros(4))
    assert f.unflatten(np.arange(4.0)).tolist() == [0, 1, 2, 3]
    np.testing.assert_array_equal(by_name.flatten(by_name.unflatten(np.arange(9.0))), np.arange(9.0))


def test_minimize_over_several_inputs_at_once() -> None:
    f = fit().as_scipy(START, **DATA)
    assert scipy.optimize.check_grad(lambda x: f(x)[0], lambda x: f(x)[1], f.x0) < 1e-6
    low, high = f.flatten({"b": [-1, -1], "s": 0, "w": np.full((3, 2), -2)}), np.full(9, 2.0)
    for method in ("L-BFGS-B", "BFGS", "trust-constr", "SLSQP"):
        bounds = scipy.optimize.Bounds(low, high) if method != "BFGS" else None
        found = scipy.optimize.minimize(f, f.x0, jac=True, method=method, bounds=bounds)
        assert found.fun < f(f.x0)[0] and f(found.x)[0] == found.fun
        if bounds is not None:
            assert np.all(found.x >= low) and np.all(found.x <= high)


def test_nothing_is_copied() -> None:
    """A call allocates one vector, whatever the sizes of the parts."""
    import tracemalloc

    g = gx.Graph(float_dtype="float64")
    a, b = g.input("a", ("n",), "float64"), g.input("b", ("m", 2), "float64")
    y = gx.sum(a * a) + gx.sum(b * b)
    f = gx.compile([a, b], [y, *gx.grad(y, [a, b])], threads=1).as_scipy([np.ones(200_000), np.ones((100_000, 2))])
    f(f.x0)
    tracemalloc.start()
    value, gradient = f(f.x0)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert value == 400_000.0 and np.all(gradient == 2.0)
    assert gradient.nbytes <= peak < 1.1 * gradient.nbytes


def test_what_does_not_fit_is_named() -> None:
    exe = fit()
    others = {k: v for k, v in START.items() if k != "b"}
    g = gx.Graph(float_dtype="float64")
    x, k = g.input("x", (2,), "float64"), g.input("k", (2,), "int64")
    w = g.parameter("w", 1.0)
    y = gx.sum(x * w) + gx.sum(gx.astype(k, "float64"))
    plain, twice = gx.compile([x, k], y), gx.compile([x, k], [y, x])
    step = gx.compile([x, k], [y, gx.grad(y, x)], updates={w: w + 1.0})
    two = np.ones(2)
    for call, error, text in (
        (lambda: exe.as_scipy(others, **DATA), gx.InputError, "a value of b is missing"),
        (lambda: exe.as_scipy({**START, "q": 1.0}, **DATA), gx.InputError, "no input 'q'"),
        (lambda: exe.as_scipy(START, q=1.0, **DATA), gx.InputError, "no input 'q'"),
        (lambda: exe.as_scipy(START, b=1.0, **DATA), gx.InputError, "b can be varied or passed by name, not both"),
        (lambda: exe.as_scipy([1.0], **DATA), gx.InputError, "expected values of w, b, s, found 1"),
        (
            lambda: exe.as_scipy({**START, "w": np.ones((2, 2))}, **DATA),
            gx.InputShapeError,
            r"'w': expected float64\[3, 2\]",
        ),
        (lambda: twice.as_scipy({"x": two, "w": 1.0}, k=[1, 1]), gx.InputError, "w is state, not an input"),
        (lambda: twice.as_scipy([two, [1, 1]]), gx.InputDTypeError, r"k is int64\[2\]; only floats"),
        (lambda: plain.as_scipy(two, k=[1, 1]), gx.InputError, r"compile \[y, \*gx.grad\(y, \[x\]\)\]"),
        (lambda: step.as_scipy(two, k=[1, 1]), gx.InputError, "would update w"),
        (lambda: twice.as_scipy(two, k=[1, 1])(np.ones(3)), gx.InputShapeError, "a vector of 2 elements"),
        (lambda: twice.as_scipy(two, k=[1, 1]).flatten(np.ones(3)), gx.InputShapeError, r"expected shape \(2,\)"),
    ):
        with pytest.raises(error, match=text):
            call()
