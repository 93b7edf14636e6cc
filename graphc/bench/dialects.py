"""The same few functions in each library, so that a loss is written once and means the same in all of them.

Where a library has a function of its own for something (cross entropy, layer norm, attention), its dialect uses it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np

import graphc as gx

Dialect = SimpleNamespace


def of_graphc() -> Dialect:
    """graphc's functions."""

    def attention(q: Any, k: Any, v: Any) -> Any:
        return gx.softmax(q @ gx.matrix_transpose(k) * (1 / math.sqrt(q.shape[-1]))) @ v

    return Dialect(
        shape=lambda x: tuple(int(n) for n in x.shape),
        tanh=gx.tanh,
        exp=gx.exp,
        log1p=gx.log1p,
        relu=gx.relu,
        gelu=gx.gelu,
        sum=gx.sum,
        mean=gx.mean,
        logsumexp=gx.logsumexp,
        take=lambda x, index: gx.take(x, index, axis=1),
        concat=gx.concat,
        reshape=gx.reshape,
        permute=gx.permute_dims,
        layer_norm=gx.layer_norm,
        attention=attention,
        conv=lambda x, w, b, pad: gx.conv2d(x, w, b, padding=pad),
        max_pool=lambda x: gx.max_pool2d(x, 2),
        cross_entropy=lambda z, y: gx.mean(gx.cross_entropy(z, y)),
        logistic=lambda z, y: gx.mean(gx.binary_cross_entropy_with_logits(z, y)),
    )


def of_jax() -> Dialect:
    """JAX's functions."""
    import jax
    import jax.numpy as jnp

    def layer_norm(x: Any, weight: Any, bias: Any) -> Any:
        centred = x - jnp.mean(x, -1, keepdims=True)
        return centred * jax.lax.rsqrt(jnp.mean(centred * centred, -1, keepdims=True) + 1e-5) * weight + bias

    def cross_entropy(z: Any, y: Any) -> Any:
        return -jnp.mean(jnp.take_along_axis(jax.nn.log_softmax(z), y[:, None], axis=-1))

    def attention(q: Any, k: Any, v: Any) -> Any:
        return jax.nn.softmax(q @ jnp.swapaxes(k, -1, -2) * (1 / math.sqrt(q.shape[-1]))) @ v

    def conv(x: Any, w: Any, b: Any, pad: int) -> Any:
        return jax.lax.conv(jnp.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad))), w, (1, 1), "VALID") + b[:, None, None]

    def max_pool(x: Any) -> Any:
        return jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, (1, 1, 2, 2), (1, 1, 2, 2), "VALID")

    return Dialect(
        shape=lambda x: x.shape,
        tanh=jnp.tanh,
        exp=jnp.exp,
        log1p=jnp.log1p,
        relu=jax.nn.relu,
        gelu=lambda x: jax.nn.gelu(x, approximate=False),
        sum=jnp.sum,
        mean=jnp.mean,
        logsumexp=jax.nn.logsumexp,
        take=lambda x, index: jnp.take(x, index, axis=1),
        concat=jnp.concatenate,
        reshape=jnp.reshape,
        permute=jnp.transpose,
        layer_norm=layer_norm,
        attention=attention,
        conv=conv,
        max_pool=max_pool,
        cross_entropy=cross_entropy,
        logistic=lambda z, y: jnp.mean(jax.nn.softplus(z) - y * z),
    )


def of_torch() -> Dialect:
    """PyTorch's functions."""
    import torch
    from torch.nn import functional as f

    def total(x: Any, axis: Any = None) -> Any:
        return torch.sum(x) if axis is None else torch.sum(x, axis)

    return Dialect(
        shape=lambda x: x.shape,
        tanh=torch.tanh,
        exp=torch.exp,
        log1p=torch.log1p,
        relu=torch.relu,
        gelu=f.gelu,
        sum=total,
        mean=torch.mean,
        logsumexp=lambda x, axis: torch.logsumexp(x, axis),
        take=lambda x, index: torch.index_select(x, 1, index),
        concat=torch.cat,
        reshape=torch.reshape,
        permute=torch.permute,
        layer_norm=lambda x, weight, bias: f.layer_norm(x, weight.shape, weight, bias),
        attention=f.scaled_dot_product_attention,
        conv=lambda x, w, b, pad: f.conv2d(x, w, b, padding=pad),
        max_pool=lambda x: f.max_pool2d(x, 2),
        cross_entropy=f.cross_entropy,
        logistic=f.binary_cross_entropy_with_logits,
    )


def of_pytensor() -> Dialect:
    """PyTensor's functions."""
    import pytensor.tensor as pt

    def layer_norm(x: Any, weight: Any, bias: Any) -> Any:
        centred = x - pt.mean(x, -1, keepdims=True)
        eps = np.asarray(1e-5, x.dtype)
        return centred / pt.sqrt(pt.mean(centred * centred, -1, keepdims=True) + eps) * weight + bias

    def gelu(x: Any) -> Any:
        half, root = np.asarray(0.5, x.dtype), np.asarray(1 / math.sqrt(2), x.dtype)
        return half * x * (1 + pt.erf(x * root))

    def attention(q: Any, k: Any, v: Any) -> Any:
        scale = np.asarray(1 / math.sqrt(q.type.shape[-1]), q.dtype)
        return pt.special.softmax(q @ k.swapaxes(-1, -2) * scale, axis=-1) @ v

    def cross_entropy(z: Any, y: Any) -> Any:
        return -pt.mean(pt.special.log_softmax(z, axis=-1)[pt.arange(y.type.shape[0]), y], dtype=z.dtype)

    return Dialect(
        shape=lambda x: x.type.shape,
        tanh=pt.tanh,
        exp=pt.exp,
        log1p=pt.log1p,
        relu=lambda x: pt.maximum(x, np.asarray(0, x.dtype)),
        gelu=gelu,
        sum=pt.sum,
        mean=pt.mean,
        logsumexp=pt.logsumexp,
        take=lambda x, index: x[:, index],
        concat=lambda parts, axis: pt.concatenate(parts, axis=axis),
        reshape=lambda x, shape: x.reshape(shape),
        permute=lambda x, axes: x.transpose(*axes),
        layer_norm=layer_norm,
        attention=attention,
        cross_entropy=cross_entropy,
        logistic=lambda z, y: pt.mean(pt.softplus(z) - y * z),
    )


Formula = Callable[..., Any]  # of a dialect and the arrays, a scalar
