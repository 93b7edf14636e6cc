"""A training step of LeNet (LeCun et al. 1998) with ReLU and max pooling, as `examples/lenet.py` has it."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from graphc.bench.peers import contestants
from graphc.bench.workload import Problem, Product, Setup, Workload
from graphc.ir.state import Array

RATE = 0.01
KERNEL, PAD = 5, 2
FILTERS = {"1": (6, 1, KERNEL, KERNEL), "2": (16, 6, KERNEL, KERNEL)}  # out, in, height, width
LAYERS = {"3": (400, 120), "4": (120, 84), "5": (84, 10)}


def _problem(batch: int, setup: Setup) -> Problem:
    rng = np.random.default_rng(setup.seed)
    batch = 4 if setup.small else batch
    x, y = rng.random((batch, 1, 28, 28), np.float32), rng.integers(0, 10, batch)
    wrt = {}
    for k, shape in {**FILTERS, **LAYERS}.items():
        inputs = np.prod(shape[1:]) if k in FILTERS else shape[0]
        wrt["w" + k] = (rng.normal(size=shape) * np.sqrt(2 / inputs)).astype(np.float32)
        wrt["b" + k] = (0.1 * rng.normal(size=shape[0 if k in FILTERS else 1])).astype(np.float32)
    return Problem({"x": x, "y": y}, wrt)


def _loss(
    m: Any, x: Any, y: Any, w1: Any, b1: Any, w2: Any, b2: Any, w3: Any, b3: Any, w4: Any, b4: Any, w5: Any, b5: Any
) -> Any:
    h = m.max_pool(m.relu(m.conv(x, w1, b1, PAD)))
    h = m.max_pool(m.relu(m.conv(h, w2, b2, 0)))
    h = m.reshape(h, (m.shape(h)[0], 400))
    h = m.relu(m.relu(h @ w3 + b3) @ w4 + b4)
    return m.cross_entropy(h @ w5 + b5, y)


def _windows(x: Array, pad: int) -> Array:
    """Windows as rows, ``(images * height * width, channels * kernel * kernel)``."""
    x = np.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
    found = np.lib.stride_tricks.sliding_window_view(x, (KERNEL, KERNEL), (2, 3))
    return found.transpose(0, 2, 3, 1, 4, 5).reshape(-1, x.shape[1] * KERNEL * KERNEL)


def _conv(windows: Array, w: Array, b: Array, batch: int, side: int) -> Array:
    """Channels last, from windows; then ReLU."""
    out: Array = np.maximum(windows @ w.reshape(len(w), -1).T + b, 0)
    return out.reshape(batch, side, side, len(w))


def _pool(x: Array) -> tuple[Array, Array]:
    """The largest of each 2 x 2, channels last, and which it was."""
    n, side, _, channels = x.shape
    parts = x.reshape(n, side // 2, 2, side // 2, 2, channels).transpose(0, 1, 3, 5, 2, 4)
    parts = parts.reshape(n, side // 2, side // 2, channels, 4)
    at = parts.argmax(-1)[..., None]
    return np.take_along_axis(parts, at, -1)[..., 0], at


def _unpool(g: Array, at: Array) -> Array:
    n, side, _, channels = g.shape
    out = np.zeros((*g.shape, 4), g.dtype)
    np.put_along_axis(out, at, g[..., None], -1)
    out = out.reshape(n, side, side, channels, 2, 2).transpose(0, 1, 4, 2, 5, 3)
    return out.reshape(n, 2 * side, 2 * side, channels)


def _by_hand(
    x: Array, y: Array, w1: Array, b1: Array, w2: Array, b2: Array, w3: Array, b3: Array, w4: Array, b4: Array,
    w5: Array, b5: Array,
) -> tuple[Any, list[Array]]:  # fmt: skip
    n, rows = len(x), np.arange(len(x))
    seen1 = _windows(x, PAD)
    c1 = _conv(seen1, w1, b1, n, 28)
    p1, at1 = _pool(c1)
    seen2 = _windows(p1.transpose(0, 3, 1, 2), 0)
    c2 = _conv(seen2, w2, b2, n, 10)
    p2, at2 = _pool(c2)
    h2 = p2.transpose(0, 3, 1, 2).reshape(n, 400)
    h3 = np.maximum(h2 @ w3 + b3, 0)
    h4 = np.maximum(h3 @ w4 + b4, 0)
    z = h4 @ w5 + b5
    z -= z.max(1, keepdims=True)
    p = np.exp(z)
    total = p.sum(1, keepdims=True)
    loss = (np.log(total[:, 0]) - z[rows, y]).mean()
    p /= total
    p[rows, y] -= 1
    d5 = p / np.asarray(n, p.dtype)
    d4 = d5 @ w5.T * (h4 > 0)
    d3 = d4 @ w4.T * (h3 > 0)
    d2 = (d3 @ w3.T).reshape(n, 16, 5, 5).transpose(0, 2, 3, 1)
    d2 = (_unpool(d2, at2) * (c2 > 0)).reshape(-1, 16)
    back = (d2 @ w2.reshape(16, -1)).reshape(n, 10, 10, 6, KERNEL, KERNEL)
    d1 = np.zeros((n, 14, 14, 6), back.dtype)
    for i, j in np.ndindex(KERNEL, KERNEL):
        d1[:, i : i + 10, j : j + 10] += back[..., i, j]
    d1 = (_unpool(d1, at1) * (c1 > 0)).reshape(-1, 6)
    first = [(d1.T @ seen1).reshape(w1.shape), d1.sum(0), (d2.T @ seen2).reshape(w2.shape), d2.sum(0)]
    return loss, [*first, h2.T @ d3, d3.sum(0), h3.T @ d4, d4.sum(0), h4.T @ d5, d5.sum(0)]


def _products(batch: int) -> tuple[Product, ...]:
    """Forward, by the weights, and by what comes in, which the first layer does not need."""
    one, two = batch * 28 * 28, batch * 10 * 10
    convolutions = ((1, one, 6, 25), (1, 6, 25, one), (1, two, 16, 150), (1, 16, 150, two), (1, two, 150, 16))
    dense = [((1, batch, b, a), (1, a, b, batch), (1, batch, a, b)) for a, b in LAYERS.values()]
    return (*convolutions, *(p for layer in dense for p in layer))


def _workload(batch: int) -> Workload:
    entries = {k: v for k, v in contestants(_loss, _by_hand, RATE).items() if k != "pytensor"}
    return Workload(
        f"lenet-{batch}",
        f"LeNet, two convolutions and three layers, {batch} images 28 x 28, float32: one step of SGD",
        partial(_problem, batch),
        entries,
        products=_products(batch),
        tolerance=1e-4,
    )


LENET, LENET_LARGE = _workload(64), _workload(256)
