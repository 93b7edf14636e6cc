"""Programs whose first call is timed in graphc and in JAX, each written once.

    python tests/performance/first_calls.py graphc euler-100

prints the seconds of processor time that building, compiling and the first call took in this process, imports apart.
A program is a function of a dialect and its arrays; what is timed is its value with its gradient by ``wrt``.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np

from graphc.bench import dialects
from graphc.bench.catalogue import WORKLOADS
from graphc.bench.workload import Setup

SHARED = "sin cos tanh exp log log1p sum mean abs maximum outer stack matmul reshape"


@dataclass(frozen=True)
class Program:
    """What is computed of which arrays, by which of them it is differentiated, and what JAX says in another way."""

    formula: Callable[..., Any]
    arrays: tuple[Any, ...]
    wrt: tuple[int, ...]
    for_jax: Callable[..., Any] | None = None
    whole: bool = False  # the formula gives all results itself


def graphc_dialect() -> SimpleNamespace:
    import graphc as gx

    m = dialects.of_graphc()
    for name in SHARED.split():
        setattr(m, name, getattr(gx, name))
    m.sigmoid, m.softplus, m.erf, m.lgamma, m.where = gx.sigmoid, gx.softplus, gx.erf, gx.lgamma, gx.where
    m.cholesky, m.solve_lower, m.diagonal = (
        gx.linalg.cholesky,
        partial(gx.linalg.solve_triangular, lower=True),
        gx.diagonal,
    )
    m.softmax, m.transpose, m.atan, m.roll = gx.softmax, gx.matrix_transpose, gx.atan, gx.roll
    m.grad = lambda f, x: gx.grad(f(x), x)
    m.scan = lambda step, first, n: gx.scan(lambda carry, _: (step(carry), None), first, length=n)[0]
    return m


def jax_dialect() -> SimpleNamespace:
    import jax
    import jax.numpy as jnp

    m = dialects.of_jax()
    for name in SHARED.split():
        setattr(m, name, getattr(jnp, name))
    m.sigmoid, m.softplus, m.softmax = jax.nn.sigmoid, jax.nn.softplus, jax.nn.softmax
    m.erf, m.lgamma, m.where, m.atan = jax.scipy.special.erf, jax.scipy.special.gammaln, jnp.where, jnp.arctan
    m.cholesky, m.diagonal, m.transpose, m.roll = jnp.linalg.cholesky, jnp.diagonal, jnp.matrix_transpose, jnp.roll
    m.solve_lower = partial(jax.scipy.linalg.solve_triangular, lower=True)
    m.grad = lambda f, x: jax.grad(f)(x)
    m.scan = lambda step, first, n: jax.lax.scan(lambda carry, _: (step(carry), None), first, length=n)[0]
    return m


# ---- the programs


def euler(n: int, m: Any, x: Any) -> Any:
    a = b = x
    for _ in range(n):
        a, b = a + 0.01 * b, b - 0.01 * m.sin(a)
    return a


def euler_scan(m: Any, x: Any) -> Any:
    return m.scan(lambda c: (c[0] + 0.01 * c[1], c[1] - 0.01 * m.sin(c[0])), (x, x), 100)[0]


def rnn(n: int, m: Any, h: Any, w: Any) -> Any:
    for _ in range(n):
        h = m.tanh(h @ w)
    return m.sum(h)


def lstm(n: int, m: Any, xs: Any, w: Any, u: Any, b: Any) -> Any:
    h = c = xs[0] * 0.0
    for k in range(n):
        z = xs[k] @ w + h @ u + b
        i, f, g, o = (z[:, 8 * j : 8 * j + 8] for j in range(4))
        c = m.sigmoid(f) * c + m.sigmoid(i) * m.tanh(g)
        h = m.sigmoid(o) * m.tanh(c)
    return m.mean(h * h)


def chol(n: int, m: Any, a: Any) -> Any:
    total = 0.0
    for k in range(n):
        total = total + m.log(a[0, 0])
        if k < n - 1:
            column = a[1:, 0]
            a = a[1:, 1:] - m.outer(column, column / a[0, 0])
    return total


def kalman(n: int, m: Any, x: Any, p: Any, f: Any, ys: Any) -> Any:
    loss = 0.0
    for k in range(n):
        x, p = f @ x, f @ p @ f.T + 0.1
        gain, off = p[:, 0] / (p[0, 0] + 0.5), ys[k] - x[0]
        loss = loss + off * off / (p[0, 0] + 0.5) + m.log(p[0, 0] + 0.5)
        x, p = x + gain * off, p - m.outer(gain, p[0])
    return loss


def _field(m: Any, y: Any, w1: Any, b1: Any, w2: Any, b2: Any) -> Any:
    return m.maximum(0.0, y @ w1 + b1) @ w2 + b2


def _rk4(m: Any, y: Any, dt: float, ws: Sequence[Any]) -> Any:
    k1 = _field(m, y, *ws)
    k2 = _field(m, y + dt / 2 * k1, *ws)
    k3 = _field(m, y + dt / 2 * k2, *ws)
    return y + dt / 6 * (k1 + 2 * k2 + 2 * k3 + _field(m, y + dt * k3, *ws))


def ode_net(m: Any, y0: Any, target: Any, *ws: Any) -> Any:
    ys = [y0]
    for _ in range(29):
        ys.append(_rk4(m, ys[-1], 1.5 / 29, ws))
    return m.mean(m.abs(m.stack(ys) - target))


def ode_net_scan(m: Any, y0: Any, target: Any, *ws: Any) -> Any:
    import jax

    def step(y: Any, _: Any) -> Any:
        return (_rk4(m, y, 1.5 / 29, ws),) * 2

    ys = jax.lax.scan(step, y0, None, length=29)[1]
    return m.mean(m.abs(m.concat([y0[None], ys]) - target))


def six_derivatives(m: Any, x: Any) -> list[Any]:
    functions = [lambda x: (1.0 - m.exp(-2 * x)) / (1.0 + m.exp(-(2 * x)))]
    for _ in range(6):
        functions.append(lambda x, f=functions[-1]: m.grad(lambda x: m.sum(f(x)), x))
    if hasattr(x, "graph"):  # each from the last one, not from the beginning
        import graphc as gx

        values = [functions[0](x)]
        for _ in range(6):
            values.append(gx.grad(gx.sum(values[-1]), x))
        return values
    return [f(x) for f in functions]


def elementwise(m: Any, x: Any, w: Any) -> Any:
    return m.sum(m.tanh(x * w) * m.exp(-(x**2)) + m.log1p(w**2))


def unlike(n: int, m: Any, x: Any) -> list[Any]:
    functions = m.tanh, m.exp, m.sin, m.sigmoid, m.cos, m.erf, m.softplus, m.atan
    for k in range(n):
        x = functions[k % 8](x * (0.5 + k / 1000)) + 0.1
    return [m.sum(x)]


def classifier(m: Any, x: Any, y: Any, w1: Any, b1: Any, w2: Any, b2: Any) -> Any:
    return m.cross_entropy(m.relu(x @ w1 + b1) @ w2 + b2, y)


def deep(m: Any, x: Any, *ws: Any) -> Any:
    for w in ws:
        x = x + m.tanh(x @ w)
    return m.mean(x * x)


def block(m: Any, x: Any, one: Any, zero: Any, wq: Any, wk: Any, wv: Any, wo: Any, wu: Any, wd: Any) -> Any:
    q, k, v = x @ wq, x @ wk, x @ wv
    h = m.layer_norm(x + m.softmax(q @ m.transpose(k) * 0.2) @ v @ wo, one, zero)
    return m.mean(m.layer_norm(h + m.gelu(h @ wu) @ wd, one, zero) ** 2)


def gaussian_process(m: Any, x: Any, y: Any, scale: Any) -> Any:
    d = (m.reshape(x, (60, 1)) - m.reshape(x, (1, 60))) / scale
    lower = m.cholesky(m.exp(-0.5 * d * d) + np.eye(60) * 0.1)
    z = m.solve_lower(lower, m.reshape(y, (60, 1)))
    return 0.5 * m.sum(z * z) + m.sum(m.log(m.diagonal(lower)))


def negative_binomial(m: Any, y: Any, x: Any, w: Any, log_r: Any) -> Any:
    mu, r = m.exp(x @ w), m.exp(log_r)
    terms = m.lgamma(y + r) - m.lgamma(r) + r * (log_r - m.log(r + mu)) + y * (m.log(mu) - m.log(r + mu))
    return -m.mean(terms)


def wave(n: int, m: Any, u: Any) -> Any:
    old = u
    for _ in range(n):
        around = m.roll(u, 1, 0) + m.roll(u, -1, 0) + m.roll(u, 1, 1) + m.roll(u, -1, 1)
        u, old = 2 * u - old + 0.1 * (around - 4 * u), u
    return m.sum(u * u)


def convolutions(m: Any, x: Any, y: Any, f1: Any, b1: Any, f2: Any, b2: Any, w: Any) -> Any:
    h = m.max_pool(m.relu(m.conv(x, f1, b1, 1)))
    h = m.max_pool(m.relu(m.conv(h, f2, b2, 1)))
    return m.cross_entropy(m.reshape(h, (8, 8 * 4 * 4)) @ w, y)


def autoencoder(m: Any, x: Any, noise: Any, w1: Any, w2: Any, w3: Any, w4: Any) -> Any:
    h = m.tanh(x @ w1)
    mean, log_var = (h @ w2)[:, :8], (h @ w2)[:, 8:]
    z = mean + m.exp(0.5 * log_var) * noise
    logits = m.tanh(z @ w3) @ w4
    return m.logistic(logits, x) - 0.5 * m.mean(1 + log_var - mean**2 - m.exp(log_var))


def programs() -> dict[str, Program]:
    """All of them, by name."""
    rng = np.random.default_rng(0)

    def of(*shape: int, dtype: Any = np.float64, scale: float = 0.1) -> Any:
        return (rng.normal(size=shape) * scale).astype(dtype)

    def singles(*shapes: tuple[int, ...]) -> tuple[Any, ...]:
        return tuple(of(*shape, dtype=np.float32) for shape in shapes)

    def labels(n: int) -> Any:
        return rng.integers(0, 10, n)

    def positive(n: int) -> Any:
        b = of(n, n, scale=1.0)
        return b @ b.T + n * np.eye(n)

    f = np.float32
    one = np.float64(1.0)
    weights = tuple(of(*s) for s in ((2, 150), (150,), (150, 2), (2,)))
    circle = np.stack([2 * np.cos(np.linspace(0, 3, 30)), 2 * np.sin(np.linspace(0, 3, 30))], 1)
    images = of(64, 784, dtype=f)
    block_weights = [*[(32, 32)] * 4, (32, 128), (128, 32)]
    bits = (rng.random((32, 64)) < 0.5).astype(f)
    return {
        "ode-net": Program(ode_net, (np.array([2.0, 0.0]), circle, *weights), (2, 3, 4, 5), ode_net_scan),
        "six-derivatives": Program(six_derivatives, (np.linspace(-7, 7, 700),), (), whole=True),
        "euler-10": Program(partial(euler, 10), (one,), (0,)),
        "euler-100": Program(partial(euler, 100), (one,), (0,)),
        "euler-400": Program(partial(euler, 400), (one,), (0,)),
        "euler-scan": Program(euler_scan, (one,), (0,)),
        "rnn-20": Program(partial(rnn, 20), (np.ones((4, 16)), np.eye(16) * 0.5), (1,)),
        "rnn-100": Program(partial(rnn, 100), (np.ones((4, 16)), np.eye(16) * 0.5), (1,)),
        "lstm-10": Program(partial(lstm, 10), (of(10, 4, 8), of(8, 32), of(8, 32), of(32)), (1, 2, 3)),
        "chol-10": Program(partial(chol, 10), (positive(10),), (0,)),
        "chol-30": Program(partial(chol, 30), (positive(30),), (0,)),
        "kalman-20": Program(partial(kalman, 20), (of(4), np.eye(4), np.eye(4) + of(4, 4), of(20)), (2,)),
        "wave-20": Program(partial(wave, 20), (of(32, 32),), (0,)),
        "elementwise": Program(elementwise, (of(1000, dtype=f), of(1000, dtype=f)), (0, 1)),
        "classifier": Program(
            classifier, (images, labels(64), *singles((784, 256), (256,), (256, 10), (10,))), (2, 3, 4, 5)
        ),
        "deep-20": Program(deep, (of(16, 24), *(of(24, 24) for _ in range(20))), tuple(range(1, 21))),
        "block": Program(
            block,
            (of(4, 16, 32, dtype=f, scale=1.0), np.ones(32, f), np.zeros(32, f), *singles(*block_weights)),
            tuple(range(1, 9)),
        ),
        "gaussian-process": Program(gaussian_process, (np.linspace(0, 6, 60), of(60), one), (2,)),
        "negative-binomial": Program(
            negative_binomial, (rng.integers(0, 9, 500).astype(float), of(500, 6), of(6), one), (2, 3)
        ),
        "convolutions": Program(
            convolutions,
            (singles((8, 1, 16, 16))[0], labels(8), *singles((4, 1, 3, 3), (4,), (8, 4, 3, 3), (8,), (128, 10))),
            (2, 3, 4, 5, 6),
        ),
        "autoencoder": Program(
            autoencoder, (bits, *singles((32, 8), (64, 48), (48, 16), (8, 48), (48, 64))), (2, 3, 4, 5)
        ),
        "unlike-1000": Program(partial(unlike, 1000), (rng.random(1000).astype(f),), (), whole=True),
    }  # fmt: skip


# ---- one first call


def in_graphc(program: Program) -> list[Any]:
    import graphc as gx

    dtype = "float64" if any(a.dtype == np.float64 for a in program.arrays) else "float32"
    g = gx.Graph("first", float_dtype=dtype)
    tensors = [g.input(f"x{k}", a.shape, str(a.dtype)) for k, a in enumerate(program.arrays)]
    made = program.formula(graphc_dialect(), *tensors)
    results = made if program.whole else [made, *gx.grad(made, [tensors[k] for k in program.wrt])]
    return list(gx.compile(tensors, results)(*program.arrays))


def in_jax(program: Program) -> list[Any]:
    import jax

    formula = partial(program.for_jax or program.formula, jax_dialect())
    if program.whole:
        return list(jax.block_until_ready(jax.jit(formula)(*program.arrays)))
    value, gradients = jax.block_until_ready(jax.jit(jax.value_and_grad(formula, program.wrt))(*program.arrays))
    return [value, *gradients]


def workload(who: str, name: str) -> Callable[[], list[Any]]:
    """A workload of ``graphc bench``: its arrays are made before."""
    held, setup = WORKLOADS[name], Setup(threads=1)
    problem = held.problem(setup)

    def run() -> list[Any]:
        entry = held.entries[who](problem, setup)
        return entry.results(entry.call())

    return run


def main(who: str, name: str) -> None:
    if who == "jax":
        import jax
        import jax.numpy as jnp

        jax.config.update("jax_enable_x64", True)
        (jnp.zeros(1) + 1).block_until_ready()
    else:
        import graphc as gx  # noqa: F401
    if name in WORKLOADS:
        run = workload(who, name)
    else:
        run = partial(in_graphc if who == "graphc" else in_jax, programs()[name])
    started, wall = time.process_time(), time.perf_counter()
    values = run()
    seconds = time.process_time() - started
    sums = [float(np.sum(np.abs(np.asarray(v, np.float64)))) for v in values]
    print(json.dumps({"seconds": seconds, "wall": time.perf_counter() - wall, "sums": sums}))


if __name__ == "__main__":
    main(*sys.argv[1:])
