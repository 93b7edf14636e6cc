"""An epoch of a classifier in the shape of Fashion-MNIST: shuffled mini-batches, SGD, loss and accuracy as it goes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np

import graphc as gx
from graphc.bench import dialects
from graphc.bench.networks import classifier_backward, classifier_forward, classifier_products
from graphc.bench.workload import Entry, Problem, Setup, Workload
from graphc.demo.data import fashion_mnist
from graphc.ir.state import Array

ROWS, PIXELS, HIDDEN, CLASSES, BATCH, RATE = 60_000, 784, 256, 10, 256, 0.1
Figures = tuple[float, float]  # mean loss, accuracy


def _problem(setup: Setup) -> Problem:
    rng = np.random.default_rng(setup.seed)
    if setup.data is not None:
        images = fashion_mnist(setup.data)
        x, y = images.train_x, images.train_y
    else:
        rows = 1000 if setup.small else ROWS
        x, y = rng.random((rows, PIXELS), np.float32), rng.integers(0, CLASSES, rows)
    w = {
        "w1": (0.01 * rng.normal(size=(PIXELS, HIDDEN))).astype(np.float32),
        "b1": np.zeros(HIDDEN, np.float32),
        "w2": (0.01 * rng.normal(size=(HIDDEN, CLASSES))).astype(np.float32),
        "b2": np.zeros(CLASSES, np.float32),
    }
    return Problem({"x": x, "y": y}, w)


def _batches(rows: int, seed: int) -> Iterator[Array]:
    """Row numbers of each mini-batch, in the order of `run_batches`."""
    order = np.random.default_rng(seed).permutation(rows)
    return (order[low : low + BATCH] for low in range(0, rows, BATCH))


def _results(parameters: Callable[[], list[Array]]) -> Callable[[Figures], list[Array]]:
    return lambda figures: [np.asarray(figures[0]), np.asarray(figures[1]), *parameters()]


def _graphc(problem: Problem, setup: Setup) -> Entry:
    g = gx.Graph("epoch")
    x = g.input("x", shape=("batch", PIXELS))
    y = g.input("y", shape=("batch",), dtype="int64")
    parameters = [g.parameter(name, a) for name, a in problem.wrt.items()]
    logits = gx.relu(x @ parameters[0] + parameters[1]) @ parameters[2] + parameters[3]
    losses = gx.cross_entropy(logits, y)
    right = gx.equal(gx.argmax(logits, axis=-1), y)
    updates = gx.optim.SGD(lr=RATE).updates(gx.mean(losses))
    exe = gx.compile([x, y], [losses, right], updates=updates, threads=setup.threads)
    arrays = list(problem.given.values())

    def call() -> Figures:
        losses, right = exe.run_batches(arrays, BATCH, shuffle=True, seed=setup.seed)
        return float(losses.mean(dtype=np.float64)), float(right.mean())

    return Entry(call, _results(lambda: [g.state[name] for name in problem.wrt]))


def _numpy(problem: Problem, setup: Setup) -> Entry:
    x, y = problem.given.values()
    parameters = [a.copy() for a in problem.wrt.values()]

    def call() -> Figures:
        total, right = 0.0, 0
        for rows in _batches(len(x), setup.seed):
            a, b = x[rows], y[rows]
            h, logits = classifier_forward(a, *parameters)
            losses, gradients = classifier_backward(a, b, parameters[2], h, logits)
            for p, d in zip(parameters, gradients, strict=True):
                p -= np.float32(RATE) * d
            total += float(losses.sum(dtype=np.float64))
            right += int((logits.argmax(1) == b).sum())
        return total / len(x), right / len(x)

    return Entry(call, _results(lambda: [p.copy() for p in parameters]))


def _torch(compiled: bool, problem: Problem, setup: Setup) -> Entry:
    import torch
    from torch.nn import functional as f

    torch.set_num_threads(setup.threads)
    x, y = (torch.from_numpy(a) for a in problem.given.values())
    parameters = [torch.from_numpy(a.copy()).requires_grad_() for a in problem.wrt.values()]

    def forward(a: Any, b: Any, w1: Any, b1: Any, w2: Any, b2: Any) -> Any:
        logits = torch.relu(a @ w1 + b1) @ w2 + b2
        return f.cross_entropy(logits, b), (logits.argmax(1) == b).sum()

    evaluate = torch.compile(forward, fullgraph=True, dynamic=False) if compiled else forward

    def call() -> Figures:
        total, right = 0.0, 0
        for chosen in _batches(len(x), setup.seed):
            rows = torch.from_numpy(chosen)
            loss, hits = evaluate(x[rows], y[rows], *parameters)
            gradients = torch.autograd.grad(loss, parameters)
            with torch.no_grad():
                for p, d in zip(parameters, gradients, strict=True):
                    p.sub_(d, alpha=RATE)
            total += loss.item() * len(rows)
            right += int(hits.item())
        return total / len(x), right / len(x)

    return Entry(call, _results(lambda: [p.detach().numpy().copy() for p in parameters]))


def _jax(problem: Problem, setup: Setup) -> Entry:
    import jax
    import jax.numpy as jnp

    m = dialects.of_jax()
    x, y = (jax.device_put(a) for a in problem.given.values())
    state = [[jax.device_put(a) for a in problem.wrt.values()]]

    def loss(parameters: Any, a: Any, b: Any) -> Any:
        w1, b1, w2, b2 = parameters
        logits = jax.nn.relu(a @ w1 + b1) @ w2 + b2
        return m.cross_entropy(logits, b), jnp.sum(jnp.argmax(logits, 1) == b)

    def step(parameters: Any, rows: Any) -> Any:
        (value, hits), gradients = jax.value_and_grad(loss, has_aux=True)(parameters, x[rows], y[rows])
        stepped = [p - RATE * d for p, d in zip(parameters, gradients, strict=True)]
        return stepped, (value * len(rows), hits)

    advance = jax.jit(step, donate_argnums=0)

    def whole(parameters: Any, order: Any) -> Any:
        """All full batches in one computation."""
        parameters, (totals, hits) = jax.lax.scan(step, parameters, order)
        return parameters, (totals.sum(), hits.sum())

    scan = jax.jit(whole, donate_argnums=0)

    def call() -> Figures:
        batches = list(_batches(len(x), setup.seed))
        state[0], (total, hits) = scan(state[0], np.stack(batches[: len(x) // BATCH]))
        total, hits = float(total), int(hits)
        for rows in batches[len(x) // BATCH :]:
            state[0], (more, some) = advance(state[0], rows)
            total, hits = total + float(more), hits + int(some)
        return total / len(x), hits / len(x)

    return Entry(call, _results(lambda: [np.array(p) for p in state[0]]))


EPOCH = Workload(
    "fashion-epoch",
    "60,000 images, 784-256-10 classifier, batches of 256, float32: an epoch of SGD with loss and accuracy",
    _problem,
    {
        "graphc": _graphc,
        "numpy": _numpy,
        "torch": partial(_torch, False),
        "torch.compile": partial(_torch, True),
        "jax": _jax,
    },
    products=ROWS // BATCH * classifier_products(BATCH) + classifier_products(ROWS % BATCH),
    tolerance=1e-2,
)
