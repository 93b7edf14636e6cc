"""Optimisers against their formulas in NumPy, and against torch.optim."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import pytest

import graphc as gx

START = np.array([1.0, -2.0, 3.0])
SCALE = np.array([1.0, 0.5, 2.0])


def train(optimizer: gx.optim.Optimizer, steps: int = 20) -> np.ndarray:
    """The parameter after some steps on sum(scale * p**2 + sin(p))."""
    g = gx.Graph("opt", float_dtype="float64")
    p = g.parameter("p", START.copy())
    loss = gx.sum(p * p * SCALE + gx.sin(p))
    step = gx.compile([], loss, updates=optimizer.updates(loss))
    for _ in range(steps):
        step()
    return g.state["p"]


def by_hand(rule: Callable[..., np.ndarray], steps: int = 20, decay: float = 0.0) -> np.ndarray:
    p, memory = START.copy(), {}
    for t in range(1, steps + 1):
        g = 2 * p * SCALE + np.cos(p) + decay * p
        p = rule(p, g, memory, t)
    return p


def _momentum(p: np.ndarray, g: np.ndarray, m: dict, t: int, nesterov: bool = False) -> np.ndarray:
    m["v"] = 0.9 * m.get("v", 0) + g
    return p - 0.01 * (g + 0.9 * m["v"] if nesterov else m["v"])


def _adagrad(p: np.ndarray, g: np.ndarray, m: dict, t: int) -> np.ndarray:
    m["s"] = m.get("s", 0) + g * g
    return p - 0.01 * g / (np.sqrt(m["s"]) + 1e-10)


def _rmsprop(p: np.ndarray, g: np.ndarray, m: dict, t: int) -> np.ndarray:
    m["s"] = 0.99 * m.get("s", 0) + 0.01 * g * g
    return p - 0.01 * g / (np.sqrt(m["s"]) + 1e-8)


def _adam(p: np.ndarray, g: np.ndarray, m: dict, t: int, decay: float = 0.0) -> np.ndarray:
    m["m"] = 0.9 * m.get("m", 0) + 0.1 * g
    m["v"] = 0.999 * m.get("v", 0) + 0.001 * g * g
    p = p - 0.001 * decay * p
    return p - 0.001 * (m["m"] / (1 - 0.9**t)) / (np.sqrt(m["v"] / (1 - 0.999**t)) + 1e-8)


def _adadelta(p: np.ndarray, g: np.ndarray, m: dict, t: int) -> np.ndarray:
    m["s"] = 0.9 * m.get("s", 0) + 0.1 * g * g
    d = g * np.sqrt(m.get("a", 0) + 1e-6) / np.sqrt(m["s"] + 1e-6)
    m["a"] = 0.9 * m.get("a", 0) + 0.1 * d * d
    return p - d


def _nadam(p: np.ndarray, g: np.ndarray, m: dict, t: int) -> np.ndarray:
    now, after = (0.9 * (1 - 0.5 * 0.96 ** (k * 0.004)) for k in (t, t + 1))
    m["product"] = m.get("product", 1.0) * now
    m["m"] = 0.9 * m.get("m", 0) + 0.1 * g
    m["v"] = 0.999 * m.get("v", 0) + 0.001 * g * g
    below = np.sqrt(m["v"] / (1 - 0.999**t)) + 1e-8
    return p - 0.002 * ((1 - now) / (1 - m["product"]) * g + after / (1 - m["product"] * after) * m["m"]) / below


def _lion(p: np.ndarray, g: np.ndarray, m: dict, t: int) -> np.ndarray:
    step = np.sign(0.9 * m.get("m", 0) + 0.1 * g) + 0.1 * p
    m["m"] = 0.99 * m.get("m", 0) + 0.01 * g
    return p - 1e-4 * step


def _lamb(p: np.ndarray, g: np.ndarray, m: dict, t: int) -> np.ndarray:
    m["m"] = 0.9 * m.get("m", 0) + 0.1 * g
    m["v"] = 0.999 * m.get("v", 0) + 0.001 * g * g
    u = m["m"] / (1 - 0.9**t) / (np.sqrt(m["v"] / (1 - 0.999**t)) + 1e-6) + 0.1 * p
    return p - 0.001 * np.linalg.norm(p) / np.linalg.norm(u) * u


@pytest.mark.parametrize(
    ("optimizer", "rule", "decay"),
    [
        (gx.optim.SGD(), lambda p, g, m, t: p - 0.01 * g, 0.0),
        (gx.optim.SGD(lr=0.05, weight_decay=0.1), lambda p, g, m, t: p - 0.05 * g, 0.1),
        (gx.optim.Momentum(), _momentum, 0.0),
        (gx.optim.NAG(), lambda *a: _momentum(*a, nesterov=True), 0.0),
        (gx.optim.Adagrad(), _adagrad, 0.0),
        (gx.optim.RMSProp(), _rmsprop, 0.0),
        (gx.optim.Adam(), _adam, 0.0),
        (gx.optim.Adam(weight_decay=0.1), _adam, 0.1),
        (gx.optim.AdamW(weight_decay=0.3), lambda *a: _adam(*a, decay=0.3), 0.0),
        (gx.optim.Adadelta(), _adadelta, 0.0),
        (gx.optim.NAdam(), _nadam, 0.0),
        (gx.optim.NAdam(weight_decay=0.1), _nadam, 0.1),
        (gx.optim.Lion(weight_decay=0.1), _lion, 0.0),
        (gx.optim.LAMB(weight_decay=0.1), _lamb, 0.0),
        (gx.optim.SGD(clip_norm=0.5), lambda p, g, m, t: p - 0.01 * g * min(1, 0.5 / (np.linalg.norm(g) + 1e-6)), 0.0),
    ],
    ids=lambda v: repr(v) if isinstance(v, gx.optim.Optimizer) else "-",
)
def test_formula(optimizer: gx.optim.Optimizer, rule: Callable[..., np.ndarray], decay: float) -> None:
    np.testing.assert_allclose(train(optimizer), by_hand(rule, decay=decay), rtol=1e-11)


@pytest.mark.oracle
@pytest.mark.parametrize("name", ["SGD", "Momentum", "NAG", "Adagrad", "RMSProp", "Adam", "AdamW", "Adadelta", "NAdam"])
def test_against_torch(name: str) -> None:
    torch = pytest.importorskip("torch")
    p = torch.tensor(START, requires_grad=True)
    other = {
        "SGD": lambda: torch.optim.SGD([p], 0.01),
        "Momentum": lambda: torch.optim.SGD([p], 0.01, momentum=0.9),
        "NAG": lambda: torch.optim.SGD([p], 0.01, momentum=0.9, nesterov=True),
        "Adagrad": lambda: torch.optim.Adagrad([p]),
        "RMSProp": lambda: torch.optim.RMSprop([p]),
        "Adam": lambda: torch.optim.Adam([p]),
        "AdamW": lambda: torch.optim.AdamW([p]),
        "Adadelta": lambda: torch.optim.Adadelta([p]),
        "NAdam": lambda: torch.optim.NAdam([p]),
    }[name]()
    for _ in range(20):
        other.zero_grad()
        (p * p * torch.tensor(SCALE) + torch.sin(p)).sum().backward()
        other.step()
    np.testing.assert_allclose(train(getattr(gx.optim, name)()), p.detach().numpy(), rtol=1e-9)


def matrix_after(optimizer: gx.optim.Optimizer, first: np.ndarray, target: np.ndarray, steps: int) -> np.ndarray:
    """The matrix after some steps on half its squared distance from another."""
    g = gx.Graph("matrix", float_dtype="float64")
    w = g.parameter("w", first.copy())
    loss = gx.sum((w - target) ** 2) / 2
    step = gx.compile([], loss, updates=optimizer.updates(loss))
    for _ in range(steps):
        step()
    return g.state["w"]


def muon_by_hand(first: np.ndarray, target: np.ndarray, steps: int) -> np.ndarray:
    p, m = first.copy(), np.zeros_like(first)
    for _ in range(steps):
        g = p - target
        m = 0.95 * m + 0.05 * g
        x = 0.95 * m + 0.05 * g
        x = x / np.linalg.norm(x)
        for _ in range(5):
            s = x @ x.T
            x = 3.4445 * x + (-4.7750 * s + 2.0315 * s @ s) @ x
        p = p * (1 - 0.001 * 0.1) - 0.001 * np.sqrt(max(1, p.shape[1] / p.shape[0])) * x
    return p


@pytest.mark.parametrize("shape", [(4, 4), (3, 8), (8, 3)])
def test_muon(shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    first, target = rng.normal(size=(2, *shape))
    np.testing.assert_allclose(
        matrix_after(gx.optim.Muon(), first, target, 5), muon_by_hand(first, target, 5), rtol=1e-9
    )
    with pytest.raises(gx.GraphError, match="Muon is for matrices, found p") as error:
        train(gx.optim.Muon())
    assert "test_optim.py" in str(error.value)


@pytest.mark.oracle
@pytest.mark.parametrize("shape", [(4, 4), (3, 8), (8, 3)])
def test_muon_is_torchs_of_the_transposed(shape: tuple[int, int]) -> None:
    """Which iterates in bfloat16."""
    torch = pytest.importorskip("torch", minversion="2.9")
    rng = np.random.default_rng(0)
    first, target = rng.normal(size=(2, *shape))
    p = torch.tensor(first.T.copy(), requires_grad=True)
    other = torch.optim.Muon([p], lr=0.1)
    for _ in range(3):
        other.zero_grad()
        (((p - torch.tensor(target.T)) ** 2).sum() / 2).backward()
        other.step()
    found = matrix_after(gx.optim.Muon(lr=0.1), first, target, 3)
    np.testing.assert_allclose(found, p.detach().numpy().T, atol=0.02)


def test_lookahead() -> None:
    g = gx.Graph("slow", float_dtype="float64")
    p = g.parameter("p", START.copy())
    loss = gx.sum(p * p * SCALE)
    step = gx.compile([], loss, updates=gx.optim.Lookahead(gx.optim.SGD(lr=0.1), k=3, alpha=0.4).updates(loss))
    fast, slow = START.copy(), START.copy()
    for t in range(1, 8):
        step()
        fast = fast - 0.1 * 2 * fast * SCALE
        if t % 3 == 0:
            slow = slow + 0.4 * (fast - slow)
            fast = slow.copy()
        np.testing.assert_allclose(g.state["p"], fast, rtol=1e-13)
    np.testing.assert_allclose(g.state["lookahead/p/slow"], slow, rtol=1e-13)


@pytest.mark.parametrize("decay", [None, 0.9])
def test_averages(decay: float | None) -> None:
    g = gx.Graph("average", float_dtype="float64")
    p, x = g.parameter("p", START.copy()), g.input("x", (3,))
    y = gx.sum(p * x)
    loss = gx.sum(p * p * SCALE)
    updates, averages = gx.optim.averaged(gx.optim.SGD(lr=0.1).updates(loss), decay)
    step, evaluate = gx.compile([], loss, updates=updates), gx.compile([x], gx.substitute(y, averages))
    value, values = START.copy(), []
    moving = START.copy()
    for _ in range(6):
        step()
        value = value - 0.1 * 2 * value * SCALE
        values.append(value)
        moving = 0.9 * moving + 0.1 * value
    expected = np.mean(values, 0) if decay is None else moving
    np.testing.assert_allclose(g.state["average/p"], expected, rtol=1e-12)
    np.testing.assert_allclose(evaluate(np.arange(3.0)), expected @ np.arange(3.0), rtol=1e-12)
    with pytest.raises(gx.GraphError, match="no parameters among the updates"):
        gx.optim.averaged({})


def test_names_are_numbered_and_rates_may_be_tensors() -> None:
    g = gx.Graph("names")
    w = g.parameter("W1", np.ones(3, np.float32))
    loss = gx.sum(w * w)
    gx.optim.Adam().updates(loss)
    gx.optim.Adam().updates(loss)
    assert {"adam/W1/m", "adam/W1/v", "adam/step", "adam_2/W1/m"} <= set(g.variables)
    step, tick = gx.optim.step_counter(g, "time")
    rate = gx.optim.exponential_decay(step, 0.5, 0.1)
    train = gx.compile([], rate, updates=gx.optim.SGD(lr=rate).updates(loss, [w]) | tick)
    rates = [float(train()) for _ in range(3)]
    np.testing.assert_allclose(rates, [0.5, 0.05, 0.005], rtol=1e-5)
    np.testing.assert_allclose(g.state["W1"][0], 1 * (1 - 2 * 0.5) * (1 - 2 * 0.05) * (1 - 2 * 0.005), atol=1e-6)


def test_schedules() -> None:
    g = gx.Graph("schedules", float_dtype="float64")
    t = g.input("t", dtype="float64")
    outputs = [gx.optim.step_decay(t, 1.0, 0.5, 10), gx.optim.cosine(t, 1.0, 100), gx.optim.warmup(t, 2.0, 4)]
    exe = gx.compile([t], outputs)
    assert [float(v) for v in exe(25.0)] == [0.25, pytest.approx(0.5 * (1 + np.cos(np.pi / 4))), 2.0]
    assert [float(v) for v in exe(1.0)][2] == 1.0 and float(exe(200.0)[1]) == pytest.approx(0)


def test_first_values() -> None:
    w = gx.init.normal((784, 256), std=0.01, seed=0)
    assert w.dtype == np.float32 and abs(w.std() - 0.01) < 1e-4
    assert (w == gx.init.normal((784, 256), std=0.01, seed=0)).all() and (
        w != gx.init.normal((784, 256), std=0.01, seed=1)
    ).any()
    assert abs(gx.init.he((400, 300)).std() - np.sqrt(2 / 400)) < 1e-3
    assert abs(gx.init.xavier((400, 300)).std() - np.sqrt(2 / 700)) < 1e-3
    q = gx.init.orthogonal((8, 5), dtype="float64")
    np.testing.assert_allclose(q.T @ q, np.eye(5), atol=1e-12)


@pytest.mark.parametrize("size", [1e-30, 0.001, 1.0, 1e25, 3e38])
def test_gradients_of_any_size_are_clipped(size: float) -> None:
    g = gx.Graph("clip")
    w, x = g.parameter("w", np.zeros(4, np.float32)), g.input("x", (4,))
    loss = gx.sum(w * x)
    gx.compile([x], loss, updates=gx.optim.SGD(lr=1.0, clip_norm=1.0).updates(loss))(
        np.array([0.6, 0.8, 0, 0], np.float32) * np.float32(size)
    )
    want = -np.array([0.6, 0.8, 0, 0]) * size * min(1.0, 1.0 / (size + 1e-6))
    np.testing.assert_allclose(g.state["w"], want, rtol=1e-6)


def test_lbfgs_takes_the_steps_of_torch() -> None:
    torch = pytest.importorskip("torch")
    g = gx.Graph("opt", float_dtype="float64")
    p = g.parameter("p", START.copy())
    loss = gx.sum(p * p * SCALE + gx.sin(p))
    step = gx.compile([], loss, updates=gx.optim.LBFGS(lr=0.5, history=4, search=0).updates(loss))
    beside = torch.tensor(START, requires_grad=True)
    other = torch.optim.LBFGS([beside], lr=0.5, max_iter=1, history_size=4, tolerance_grad=0, tolerance_change=0)

    def closure() -> object:
        other.zero_grad()
        y = (beside * beside * torch.tensor(SCALE) + torch.sin(beside)).sum()
        y.backward()
        return y

    for _ in range(12):
        np.testing.assert_allclose(step(), float(other.step(closure).detach()), rtol=1e-13, atol=1e-13)
    np.testing.assert_allclose(g.state["p"], beside.detach().numpy(), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("decay", [0.0, 0.5])
def test_lbfgs_searches_along_its_direction(decay: float) -> None:
    """Rosenbrock's valley, of parameters of several shapes, to its end; with weight decay to where its gradient is 0."""
    g = gx.Graph("valley", float_dtype="float64")
    a, b = g.parameter("a", np.array([-1.2])), g.parameter("b", np.array([[1.0]]))
    loss = gx.sum((1 - a) ** 2) + 100 * gx.sum((b[0] - a * a) ** 2)
    step = gx.compile([], loss, updates=gx.optim.LBFGS(weight_decay=decay).updates(loss))
    slope = gx.compile([], [d + decay * p for d, p in zip(gx.grad(loss, [a, b]), (a, b), strict=True)])
    values = [float(step()) for _ in range(60)]
    assert values[-1] < 1e-20 or decay
    assert all(abs(s).max() < 1e-7 for s in slope())
    assert decay or all(y <= x for x, y in itertools.pairwise(values))


def test_lbfgs_refuses_parameters_of_two_dtypes() -> None:
    g = gx.Graph("two", float_dtype="float64")
    a, b = g.parameter("a", np.ones(2)), g.parameter("b", np.ones(2, np.float32))
    with pytest.raises(gx.GraphError, match="LBFGS needs parameters of one dtype, found a: float64"):
        gx.optim.LBFGS().updates(gx.sum(a * b))


def test_gradients_of_ones_own() -> None:
    """They take the place of those of the loss, whatever is done with them then."""
    states = []
    for own in (False, True):
        g = gx.Graph("own")
        w, b = g.parameter("w", np.arange(3.0, dtype="f4")), g.parameter("b", np.float32(2.0))
        loss = gx.sum((w + b) ** 2)
        given = {"gradients": [2 * d for d in gx.grad(loss, [w, b])]} if own else {}
        for inner in (gx.optim.Adam(lr=0.1, clip_norm=1.0), gx.optim.Lookahead(gx.optim.SGD(0.1))):
            updates = inner.updates(loss if own else 2 * loss, [w, b], **given)
            gx.compile([], None, updates)()
        states.append([g.state["w"], g.state["b"]])
    for one, other in zip(*states, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6)
    for wrong, error, text in (
        ([w], gx.GraphError, "expected 2 gradients, one for each parameter, found 1"),
        ([b, w], gx.ShapeError, "the gradient of w must be"),
        ([gx.astype(w, "float64"), b], gx.DTypeError, "the gradient of w must be"),
        (w, gx.GraphError, "gradients must be a list of tensors"),
    ):
        with pytest.raises(error, match=text):
            gx.optim.SGD().updates(loss, [w, b], gradients=wrong)
