"""Random numbers: their distributions, their bits everywhere, and gradients through their parameters."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import scipy.special as sp
import scipy.stats

import graphc as gx

PART = 5_000_000
COUNTS = [1_000_000, pytest.param(100_000_000, marks=pytest.mark.slow)]
COUNT = pytest.mark.parametrize("count", COUNTS)
DTYPE = pytest.mark.parametrize("dtype", ["float32", "float64"])
UNLIKELY = 1e-6  # of what a right generator gives


def draws(build: Callable[[gx.Tensor, tuple[int]], gx.Tensor], count: int, dtype: str, seed: int = 7) -> Any:
    """``count`` numbers in parts, from one key that moves on."""
    part = min(count, PART)
    g = gx.Graph("draws", float_dtype=dtype)
    key = g.random_key(seed)
    exe = gx.compile([], build(key, (part,)), updates={key: key + np.array([0, 1])})
    for _ in range(count // part):
        yield exe()


def ones(g: gx.Graph, shape: Any) -> gx.Tensor:
    return gx.broadcast_to(g.constant(1.0), shape)


def fits(counted: np.ndarray, probabilities: np.ndarray) -> bool:
    """Pearson's chi-squared test of counts in cells."""
    expected = probabilities * counted.sum()
    statistic = ((counted - expected) ** 2 / expected).sum()
    return bool(scipy.stats.chi2.sf(statistic, len(counted) - 1) > UNLIKELY)


def met(hits: int, count: int, probability: float) -> bool:
    """An exact test of how often something happens, on both sides."""
    return bool(
        min(scipy.stats.binom.cdf(hits, count, probability), scipy.stats.binom.sf(hits - 1, count, probability))
        > UNLIKELY
    )


@COUNT
@DTYPE
def test_uniform(dtype: str, count: int) -> None:
    cells = np.zeros(1000, np.int64)
    for low, high in ((0, 1), (100, 101), (-3, 5)):
        cells[:] = 0
        for u in draws(lambda k, n, low=low, high=high: gx.random.uniform(k, n, low, high), count, dtype):
            assert u.dtype == dtype and u.min() >= low and u.max() < high
            cells += np.bincount(((u.astype("float64") - low) / (high - low) * 1000).astype(np.int64), minlength=1000)
        if high - low != 1 or low == 0 or dtype == "float64":  # float32 has 131 numbers to a cell between 100 and 101
            assert fits(cells, np.full(1000, 1e-3))


@COUNT
@DTYPE
def test_normal(dtype: str, count: int) -> None:
    beyond = {3.0: 0, 4.0: 0, 4.5: 0, 5.0: 0, 5.5: 0}
    cells, above, moments = np.zeros(1000, np.int64), 0, np.zeros(4)
    for z in draws(gx.random.normal, count, dtype):
        assert z.dtype == dtype and np.isfinite(z).all()
        z = z.astype("float64")
        cells += np.bincount((sp.ndtr(z) * 1000).astype(np.int64), minlength=1000)
        above += int((z > 0).sum())
        moments += [np.sum(z**k) for k in (1, 2, 3, 4)]
        for limit in beyond:
            beyond[limit] += int((np.abs(z) > limit).sum())
    assert fits(cells, np.full(1000, 1e-3))
    assert met(above, count, 0.5)
    for limit, hits in beyond.items():
        assert met(hits, count, 2 * sp.ndtr(-limit)), (limit, hits)
    spread = np.sqrt(np.array([1, 2, 15, 96]) / count)  # of the mean of z, z^2, z^3, z^4
    assert (np.abs(moments / count - [0, 1, 0, 3]) < 6 * spread).all()


@COUNT
@DTYPE
def test_bernoulli_and_dropout(dtype: str, count: int) -> None:
    for p in (0.0, 1e-9, 1e-6, 0.3, 1 - 1e-6, 1.0):
        hits = sum(int(b.sum()) for b in draws(lambda k, n, p=p: gx.random.bernoulli(k, n, p), count, dtype))
        assert met(hits, count, p) if 0 < p < 1 else hits == p * count, (p, hits)
    for rate in (1e-9, 1e-6, 0.3, 1 - 1e-6):
        lost = 0
        for y in draws(lambda k, n, r=rate: gx.dropout(ones(k.graph, n), r, key=k), count, dtype):
            lost += int((y == 0).sum())
        assert met(lost, count, rate), (rate, lost)


@COUNT
@DTYPE
def test_exponential(dtype: str, count: int) -> None:
    cells, beyond = np.zeros(1000, np.int64), 0
    for e in draws(lambda k, n: gx.random.exponential(k, n, 2.0), count, dtype):
        assert e.min() >= 0 and np.isfinite(e).all()
        cells += np.bincount((-np.expm1(-e.astype("float64") / 2) * 1000).clip(0, 999).astype(np.int64), minlength=1000)
        beyond += int((e > 28).sum())
    assert fits(cells, np.full(1000, 1e-3))
    assert met(beyond, count, float(np.exp(-14)))


@COUNT
def test_randint(count: int) -> None:
    cells = np.zeros(37, np.int64)
    for i in draws(lambda k, n: gx.random.randint(k, n, -20, 17), count, "float32"):
        cells += np.bincount(i + 20, minlength=37)
    assert fits(cells, np.full(37, 1 / 37))


# ---- the worst draws there are


def test_the_furthest_draws_are_finite() -> None:
    """Of all words the least and the largest, where transforms meet 0 and 1."""
    from graphc.ops import counter_rng

    edge = [0, 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF]
    words = [np.array(w, np.uint32) for w in np.meshgrid(edge, edge)]
    held = counter_rng.random_words
    try:
        counter_rng.random_words = lambda *_: tuple(w.ravel() for w in words)
        for signed in (counter_rng.signed32, counter_rng.signed64):
            q = signed(0, 0, 0, np.arange(25))
            assert (np.abs(q) <= 1).all() and (q != 0).all()
            z = sp.erfcinv(np.abs(q)) * np.sqrt(2)
            assert np.isfinite(z).all() and z.max() > 8.9
        for uniform in (counter_rng.uniform32, counter_rng.uniform64):
            u = uniform(0, 0, 0, np.arange(25))
            assert u.min() == 0 and u.max() < 1
        assert {-(2**31), 2**31 - 1} <= set(counter_rng.word32(0, 0, 0, np.arange(25)).tolist())
    finally:
        counter_rng.random_words = held


# ---- the same numbers everywhere


def everything(g: gx.Graph, shape: Any, dtype: str) -> list[gx.Tensor]:
    k = g.random_key(3)
    floats = [gx.random.uniform(k, shape), gx.random.uniform(k, shape, 100, 101), gx.random.normal(k, shape, 1, 2)]
    floats += [gx.random.exponential(k, shape), gx.dropout(ones(g, shape), 0.4, key=k)]
    return [*floats, gx.random.bernoulli(k, shape, 0.3), gx.random.randint(k, shape, -9, 9)]


@DTYPE
def test_backends_and_threads_draw_the_same_numbers(dtype: str) -> None:
    found = []
    for options in ({"threads": 1}, {"threads": 2}, {"backend": "numpy"}):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            g = gx.Graph("same", float_dtype=dtype)
            found.append(gx.compile([], everything(g, (200_003,), dtype), **options)())
    for one, two, plain in zip(*found, strict=True):
        assert one.tobytes() == two.tobytes()
        if one.dtype.kind == "f":  # by transforms that differ in rounding
            np.testing.assert_allclose(
                one, plain, rtol=32 * float(np.finfo(dtype).eps), atol=4 * float(np.finfo(dtype).eps)
            )
        else:
            np.testing.assert_array_equal(one, plain)


# ---- parameters


@pytest.mark.parametrize("backend", ["numba", "numpy"])
def test_gradients_go_to_parameters(backend: str) -> None:
    g = gx.Graph("parameters", float_dtype="float64")
    k = g.random_key(1)
    low, high = g.input("low", (3,), "float64"), g.input("high", (), "float64")
    n = gx.random.normal(k, ("n", 3), mean=low, std=high, dtype=None)
    u = gx.random.uniform(k, ("n", 3), low, high)
    e = gx.random.exponential(k, ("n", 3), scale=high)
    rows = g.input("rows", ("n",), "float64")  # binds n
    outputs = [n, u, e, *gx.grad(gx.sum(n), [low, high]), *gx.grad(gx.sum(u), [low, high]), gx.grad(gx.sum(e), high)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        exe = gx.compile([low, high, rows], outputs, backend=backend, unused="ignore")
    a, b, count = np.array([1.0, -2.0, 0.5]), 4.0, 50
    z, v, x, n_low, n_high, u_low, u_high, e_scale = exe(a, b, np.zeros(count))
    np.testing.assert_allclose(n_low, [count] * 3)
    np.testing.assert_allclose(n_high, ((z - a) / b).sum(), rtol=1e-12)
    share = (v - a) / (b - a)
    np.testing.assert_allclose(u_low, (1 - share).sum(0), rtol=1e-12)
    np.testing.assert_allclose(u_high, share.sum(), rtol=1e-12)
    np.testing.assert_allclose(e_scale, x.sum() / b, rtol=1e-12)
    assert (v >= a).all() and (v < b).all()


def test_dtypes_and_shapes_of_parameters() -> None:
    g = gx.Graph("parameters")
    k, wide, whole = g.random_key(0), g.input("wide", (3,), "float64"), g.input("whole", (3,), "int64")
    assert gx.random.normal(k, (2, 3)).dtype == "float32"
    assert gx.random.normal(k, (2, 3), mean=wide).dtype == "float64"
    assert gx.random.normal(k, (2, 3), mean=wide, dtype="float32").dtype == "float32"
    assert gx.random.uniform(k, (2, 3), high=whole).dtype == "float32"
    with pytest.warns(UserWarning, match="widens"):
        assert gx.random.normal(k, (2, 3), std=np.ones((2, 1))).dtype == "float64"
    assert gx.random.bernoulli(k, (2, 3), wide).shape == (2, 3)
    wrong: list[tuple[Callable[[], Any], str]] = [
        (lambda: gx.random.normal(k, (2,), mean=wide), "broadcast"),
        (lambda: gx.random.normal(k, (1,), mean=wide), r"broadcast to \[1\], found a result of float64\[3\]"),
        (lambda: gx.random.normal(k, (3,), std=-1.0), "std >= 0, found -1.0"),
        (lambda: gx.random.uniform(k, (3,), 2, 1), "low <= high"),
        (lambda: gx.random.uniform(k, (3,), -3e38, 3e38), "float32 can hold"),
        (lambda: gx.random.bernoulli(k, (3,), 1.5), r"\[0, 1\], found 1.5"),
        (lambda: gx.random.randint(k, (3,), 0, 2**60), "at most 2\\*\\*53"),
    ]
    for build, message in wrong:
        with pytest.raises(gx.ShapeError, match=message) as caught:
            build()
        assert caught.value.origin is not None
    other = gx.Graph("other").input("mean", (3,))
    with pytest.raises(gx.GraphError, match="two graphs"):
        gx.random.normal(k, (3,), mean=other)


@pytest.mark.parametrize("backend", ["numba", "numpy"])
def test_a_tensor_says_how_likely(backend: str) -> None:
    g = gx.Graph("likely")
    p = g.input("p", (3,))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        exe = gx.compile([p], gx.random.bernoulli(g.random_key(2), (20_000, 3), p), backend=backend)
    rate = exe(np.array([0.0, 0.25, 1.0], np.float32)).mean(0)
    assert rate[0] == 0 and rate[2] == 1 and met(int(rate[1] * 20_000), 20_000, 0.25)


DISTRIBUTIONS: dict[str, tuple[Any, Any]] = {
    "laplace": (lambda k, n: gx.random.laplace(k, n, 1.0, 2.0), scipy.stats.laplace(1, 2)),
    "gumbel": (lambda k, n: gx.random.gumbel(k, n, -1.0, 0.5), scipy.stats.gumbel_r(-1, 0.5)),
    "student_t": (lambda k, n: gx.random.student_t(k, n, 3.5, 1.0, 2.0), scipy.stats.t(3.5, 1, 2)),
    "cauchy": (lambda k, n: gx.random.student_t(k, n, 1.0), scipy.stats.cauchy()),
    "gamma": (lambda k, n: gx.random.gamma(k, n, 2.5, 2.0), scipy.stats.gamma(2.5, scale=2)),
    "gamma of small shape": (lambda k, n: gx.random.gamma(k, n, 0.3), scipy.stats.gamma(0.3)),
    "gamma of large shape": (lambda k, n: gx.random.gamma(k, n, 2e4), scipy.stats.gamma(2e4)),
    "beta": (lambda k, n: gx.random.beta(k, n, 0.7, 2.0), scipy.stats.beta(0.7, 2)),
    "truncated": (gx.random.truncated_normal, scipy.stats.truncnorm(-2, 2)),
    "in the upper tail": (lambda k, n: gx.random.truncated_normal(k, n, 4.0, np.inf), scipy.stats.truncnorm(4, np.inf)),
    "in the lower tail": (lambda k, n: gx.random.truncated_normal(k, n, -6.0, -5.5), scipy.stats.truncnorm(-6, -5.5)),
    "hardly truncated": (lambda k, n: gx.random.truncated_normal(k, n, -9.0, 5.0, 1.0, 3.0), scipy.stats.truncnorm(-9, 5, 1, 3)),
}  # fmt: skip


SLOW = {"gamma", "gamma of small shape", "gamma of large shape", "beta"}  # some microseconds a number


@COUNT
@DTYPE
@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_distributions(name: str, dtype: str, count: int) -> None:
    build, law = DISTRIBUTIONS[name]
    cells, edges = np.zeros(1000, np.int64), law.ppf(np.arange(1, 1000) / 1000)
    low, high = law.support()
    tail = law.isf(1e-5)
    beyond = 0
    for z in draws(build, count if name not in SLOW else count // 10, dtype):
        assert z.dtype == dtype and not np.isnan(z).any()
        assert z.min() >= np.dtype(dtype).type(low) and z.max() <= np.dtype(dtype).type(high)
        cells += np.bincount(np.searchsorted(edges, z.astype("float64")), minlength=1000)
        beyond += int((z > tail).sum())
    if dtype == "float64" or name != "in the lower tail":  # where float32 has few numbers to a cell
        assert fits(cells, np.full(1000, 1e-3))
    assert met(beyond, cells.sum(), 1e-5) or dtype == "float32"


@COUNT
def test_categorical(count: int) -> None:
    logits = np.array([0.0, 1.0, -np.inf, 2.5, -3.0])
    cells = np.zeros(5, np.int64)
    for c in draws(lambda k, n: gx.random.categorical(k, k.graph.constant(logits), n), count, "float64"):
        assert c.dtype == np.int64
        cells += np.bincount(c, minlength=5)
    assert cells[2] == 0
    kept = [0, 1, 3, 4]
    assert fits(cells[kept], sp.softmax(logits[kept]))


@pytest.mark.parametrize("rate", [0.0, 0.5, 7.0, 300.0, 2e4])
def test_poisson(rate: float) -> None:
    law = scipy.stats.poisson(rate)
    edges = np.unique(law.ppf(np.linspace(0.001, 0.999, 60)))
    found = np.concatenate(list(draws(lambda k, n: gx.random.poisson(k, n, rate), 200_000, "float32")))
    assert found.dtype == np.int64 and found.min() >= 0
    counted = np.bincount(np.searchsorted(edges, found), minlength=len(edges) + 1)
    assert rate == 0 or fits(counted, np.diff(np.concatenate([[0], law.cdf(edges), [1]])))
    assert rate > 0 or (found == 0).all()


@pytest.mark.parametrize("backend", ["numba", "numpy"])
def test_dirichlet(backend: str) -> None:
    """Means and covariances of Dirichlet's law, with parameters so small that gamma numbers underflow."""
    g = gx.Graph("g", float_dtype="float64")
    a = g.input("a", (2, 3))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        exe = gx.compile([a], gx.random.dirichlet(g.random_key(3), a, (20_000, 2)), backend=backend)
    alpha = np.array([[0.5, 1.0, 2.5], [1e-4, 2e-4, 1e-4]])
    p = exe(alpha)
    assert not np.isnan(p).any()
    np.testing.assert_allclose(p.sum(-1), 1, rtol=1e-12)
    mean = alpha / alpha.sum(-1, keepdims=True)
    np.testing.assert_allclose(p.mean(0), mean, atol=0.015)
    np.testing.assert_allclose(p.var(0), mean * (1 - mean) / (1 + alpha.sum(-1, keepdims=True)), atol=0.01)


def test_permutation() -> None:
    """All orders of three are as likely; gradients go back by the order."""
    g = gx.Graph("g", float_dtype="float64")
    x, key = g.input("x", ("n", 2)), g.random_key(1)
    y = gx.random.permutation(key, x)
    weighed = gx.sum(y * gx.expand_dims(g.arange(x.shape[0]), 1))
    whole = gx.random.permutation(key, x.shape[0])
    across = gx.random.permutation(key, x, 1)
    exe = gx.compile([x], [y, gx.grad(weighed, x), whole, across], updates={key: key + np.array([0, 1])})
    values = np.arange(6.0).reshape(3, 2)
    counted = np.zeros((3, 3, 3))
    for _ in range(1200):
        order, slope, numbers, columns = exe(values)
        counted[tuple(numbers)] += 1
        place = (order[:, 0] / 2).astype(int)
        assert sorted(place) == [0, 1, 2] and (slope[place] == [[0, 0], [1, 1], [2, 2]]).all()
        assert (columns == values).all() or (columns == values[:, ::-1]).all()
    assert (counted > 0).sum() == 6 and fits(counted[counted > 0], np.full(6, 1 / 6))


def test_draws_are_differentiated_by_their_parameters() -> None:
    """Against central differences, with the same numbers drawn: a key moves on only where it is updated."""
    g = gx.Graph("slopes", float_dtype="float64")
    p = g.input("p", (3,))
    key = g.random_key(5)
    n = (400, 3)
    made = [
        gx.random.laplace(key, n, p, p * p), gx.random.gumbel(key, n, p, p + 1), gx.random.student_t(key, n, p + 1, p, p),
        gx.random.truncated_normal(key, n, -p, p * 2, p, p), gx.random.truncated_normal(key, n, p + 3, p + 5),
        gx.random.gamma(key, n, p, p), gx.random.beta(key, n, p, p * 2), gx.random.dirichlet(key, p, (400,)),
    ]  # fmt: skip
    weights = np.random.default_rng(0).normal(size=n)
    totals = [gx.sum(gx.tanh(m) * weights) for m in made]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of numbers that stay the same
        run = gx.compile([p], [*totals, *(gx.grad(t, p) for t in totals)])
    at, h = np.array([0.5, 1.0, 1.7]), 1e-6
    slopes = run(at)[len(made) :]
    for axis in range(3):
        step = h * np.eye(3)[axis]
        up, down = run(at + step), run(at - step)
        for k, slope in enumerate(slopes):
            difference = (up[k] - down[k]) / (2 * h)
            assert abs(slope[axis] - difference) < 1e-6 * max(1, abs(difference)), (k, axis)


def test_a_loop_that_draws_one_number_a_step_is_short_code() -> None:
    """LLVM once wrote each of the many sums of a draw anew from the number of the step: seconds of compilation."""
    g = gx.Graph("steps")
    x, key = g.input("x", ("n",)), g.random_key(3)
    rows = gx.scan(lambda c, _: (c * gx.random.uniform(key, ()), c), gx.sum(x), length=3)[1]
    exe = gx.compile([x], gx.grad(gx.sum(rows), x), {key: key}, threads=1)
    assert 100 < exe.stages["assembly"].count("\n") < 1000  # 640, and 1350 then


@pytest.mark.parametrize(
    "act",
    [
        lambda key: gx.random.student_t(key, (2,), 0.0),
        lambda key: gx.random.truncated_normal(key, (2,), 1.0, 1.0),
        lambda key: gx.random.gamma(key, (2,), 0.0),
        lambda key: gx.random.gamma(key, (2,), key.graph.ones(3)),
        lambda key: gx.random.beta(key, (2,), 1.0, -1.0),
        lambda key: gx.random.dirichlet(key, 1.0),
        lambda key: gx.random.poisson(key, (2,), -1.0),
        lambda key: gx.random.permutation(key, key.graph.constant(1.0)),
        lambda key: gx.random.categorical(key, key),
        lambda key: gx.random.categorical(key, key.graph.zeros((3, 4)), (2,)),
        lambda key: gx.random.gumbel(key, (2,), key.graph.zeros(3)),
    ],
)
def test_new_draws_refuse(act: Any) -> None:
    with pytest.raises(gx.ShapeError) as error:
        act(gx.Graph("g").random_key())
    assert "test_random.py" in str(error.value)
