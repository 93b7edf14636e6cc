"""A pre-norm transformer block (Vaswani et al. 2017; Xiong et al. 2020) with all gradients."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from graphc.bench.peers import contestants
from graphc.bench.workload import Problem, Product, Setup, Workload
from graphc.ir.state import Array

EPS = 1e-5
BATCH, LENGTH, WIDTH, HEADS, INNER = 8, 64, 64, 4, 256
ROWS, PAIRS, HEAD = BATCH * LENGTH, BATCH * HEADS, WIDTH // HEADS


def _problem(setup: Setup) -> Problem:
    rng = np.random.default_rng(setup.seed)
    batch, length = (2, 6) if setup.small else (BATCH, LENGTH)

    def weights(rows: int, columns: int) -> Array:
        return (rng.normal(size=(rows, columns)) / math.sqrt(rows)).astype(np.float32)

    def vector(size: int, mean: float) -> Array:
        return (mean + 0.1 * rng.normal(size=size)).astype(np.float32)

    x = rng.normal(size=(batch, length, WIDTH)).astype(np.float32)
    wrt = {
        "norm1": vector(WIDTH, 1),
        "shift1": vector(WIDTH, 0),
        "qkv": weights(WIDTH, 3 * WIDTH),
        "qkv_bias": vector(3 * WIDTH, 0),
        "out": weights(WIDTH, WIDTH),
        "out_bias": vector(WIDTH, 0),
        "norm2": vector(WIDTH, 1),
        "shift2": vector(WIDTH, 0),
        "up": weights(WIDTH, INNER),
        "up_bias": vector(INNER, 0),
        "down": weights(INNER, WIDTH),
        "down_bias": vector(WIDTH, 0),
    }
    return Problem({"x": x}, wrt)


def _loss(
    m: Any, x: Any, norm1: Any, shift1: Any, qkv: Any, qkv_bias: Any, out: Any, out_bias: Any, norm2: Any,
    shift2: Any, up: Any, up_bias: Any, down: Any, down_bias: Any,
) -> Any:  # fmt: skip
    batch, length, _ = m.shape(x)
    h = m.layer_norm(x, norm1, shift1) @ qkv + qkv_bias
    parts = m.permute(m.reshape(h, (batch, length, 3, HEADS, HEAD)), (2, 0, 3, 1, 4))
    mixed = m.permute(m.attention(parts[0], parts[1], parts[2]), (0, 2, 1, 3))
    x = x + m.reshape(mixed, (batch, length, WIDTH)) @ out + out_bias
    y = x + m.gelu(m.layer_norm(x, norm2, shift2) @ up + up_bias) @ down + down_bias
    return m.mean(y * y)


def _normalised(x: Array) -> tuple[Array, Array]:
    """Rows of mean 0 and variance 1, and what they were divided by, inverted."""
    centred = x - x.mean(-1, keepdims=True)
    scale = 1 / np.sqrt((centred * centred).mean(-1, keepdims=True) + np.float32(EPS))
    return centred * scale, scale


def _norm_back(g: Array, n: Array, scale: Array, weight: Array) -> tuple[Array, Array, Array]:
    """Gradients by the rows, the weight and the shift."""
    inner = g * weight
    rows = scale * (inner - inner.mean(-1, keepdims=True) - n * (inner * n).mean(-1, keepdims=True))
    return rows, (g * n).sum(0), g.sum(0)


def _by_hand(
    x: Array, norm1: Array, shift1: Array, qkv: Array, qkv_bias: Array, out: Array, out_bias: Array, norm2: Array,
    shift2: Array, up: Array, up_bias: Array, down: Array, down_bias: Array,
) -> Any:  # fmt: skip
    from scipy.special import erf

    batch, length, _ = x.shape
    rows = x.reshape(-1, WIDTH)

    def heads(a: Array) -> Array:
        return a.reshape(batch, length, HEADS, HEAD).transpose(0, 2, 1, 3)

    def merged(a: Array) -> Array:
        return a.transpose(0, 2, 1, 3).reshape(-1, WIDTH)

    n1, scale1 = _normalised(rows)
    h1 = n1 * norm1 + shift1
    projected = h1 @ qkv + qkv_bias
    q, k, v = (heads(projected[:, i * WIDTH : (i + 1) * WIDTH]) for i in range(3))
    root = np.float32(1 / math.sqrt(HEAD))
    p = q @ k.swapaxes(-1, -2) * root
    p = np.exp(p - p.max(-1, keepdims=True))
    p /= p.sum(-1, keepdims=True)
    mixed = merged(p @ v)
    x2 = rows + mixed @ out + out_bias
    n2, scale2 = _normalised(x2)
    h2 = n2 * norm2 + shift2
    a = h2 @ up + up_bias
    phi = np.float32(0.5) * (1 + erf(a * np.float32(1 / math.sqrt(2))))
    active = a * phi
    y = x2 + active @ down + down_bias

    dy = np.float32(2 / y.size) * y
    density = np.exp(np.float32(-0.5) * a * a) * np.float32(1 / math.sqrt(2 * math.pi))
    da = dy @ down.T * (phi + a * density)
    back2, dnorm2, dshift2 = _norm_back(da @ up.T, n2, scale2, norm2)
    dx2 = dy + back2
    dmixed = heads(dx2 @ out.T)
    dp = dmixed @ v.swapaxes(-1, -2)
    ds = p * (dp - (dp * p).sum(-1, keepdims=True)) * root
    parts = [ds @ k, ds.swapaxes(-1, -2) @ q, p.swapaxes(-1, -2) @ dmixed]
    dprojected = np.concatenate([merged(part) for part in parts], axis=1)
    _, dnorm1, dshift1 = _norm_back(dprojected @ qkv.T, n1, scale1, norm1)
    gradients = [dnorm1, dshift1, h1.T @ dprojected, dprojected.sum(0), mixed.T @ dx2, dx2.sum(0), dnorm2, dshift2]
    gradients += [h2.T @ da, da.sum(0), active.T @ dy, dy.sum(0)]
    return (y * y).mean(), gradients


def _layer(inputs: int, outputs: int) -> tuple[Product, ...]:
    """Forward, gradient by the inputs, gradient by the weights."""
    return ((1, ROWS, outputs, inputs), (1, ROWS, inputs, outputs), (1, inputs, outputs, ROWS))


TRANSFORMER = Workload(
    "transformer",
    "pre-norm block, batch 8, length 64, width 64, 4 heads, float32: value and gradients",
    _problem,
    contestants(_loss, _by_hand),
    products=(
        *_layer(WIDTH, 3 * WIDTH),
        *_layer(WIDTH, WIDTH),
        *_layer(WIDTH, INNER),
        *_layer(INNER, WIDTH),
        *2 * ((PAIRS, LENGTH, LENGTH, HEAD),),
        *4 * ((PAIRS, LENGTH, HEAD, LENGTH),),
    ),
    functions={"exp": PAIRS * LENGTH * LENGTH + ROWS * INNER, "erf": ROWS * INNER},
    tolerance=1e-4,
)
