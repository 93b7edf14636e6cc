"""First values of parameters: NumPy arrays from a seed."""

from __future__ import annotations

from typing import Any

import numpy as np

from graphc.ir.state import Array

Shape = tuple[int, ...]


def _fans(shape: Shape) -> tuple[int, int]:
    """Inputs and outputs of one unit; for kernels of convolutions times the window."""
    if len(shape) < 2:
        raise ValueError(f"expected at least two axes, found shape {shape}")
    window = int(np.prod(shape[2:], dtype=np.int64))
    return shape[0] * window, shape[1] * window


def zeros(shape: Shape, dtype: Any = "float32") -> Array:
    """Zeros.

    An array of shape and dtype as given. Raises TypeError for a dtype that NumPy does not know.

    >>> zeros((2, 3)).tolist()
    [[0.0, 0.0, 0.0], [0.0, 0.0, 0.0]]
    """
    return np.zeros(shape, dtype)


def ones(shape: Shape, dtype: Any = "float32") -> Array:
    """Ones.

    An array of shape and dtype as given. Raises TypeError for a dtype that NumPy does not know.

    >>> ones((2, 3)).tolist()
    [[1.0, 1.0, 1.0], [1.0, 1.0, 1.0]]
    """
    return np.ones(shape, dtype)


def constant(shape: Shape, value: float, dtype: Any = "float32") -> Array:
    """``value`` everywhere.

    An array of shape and dtype as given. Raises TypeError for a dtype that NumPy does not know.

    >>> constant((2,), 0.5).tolist()
    [0.5, 0.5]
    """
    return np.full(shape, value, dtype)


def normal(shape: Shape, std: float = 1.0, mean: float = 0.0, seed: int = 0, dtype: Any = "float32") -> Array:
    """Normal numbers.

    An array of shape and dtype as given. Raises TypeError for a dtype that NumPy does not know.

    >>> normal((784, 256), std=0.01, seed=0).shape
    (784, 256)
    """
    return np.random.default_rng(seed).normal(mean, std, shape).astype(dtype)


def uniform(shape: Shape, low: float = -1.0, high: float = 1.0, seed: int = 0, dtype: Any = "float32") -> Array:
    """Uniform numbers in ``[low, high)``.

    An array of shape and dtype as given. Raises TypeError for a dtype that NumPy does not know.

    >>> uniform((784, 256), seed=0).shape
    (784, 256)
    """
    return np.random.default_rng(seed).uniform(low, high, shape).astype(dtype)


def xavier(shape: Shape, seed: int = 0, dtype: Any = "float32") -> Array:
    """Uniform with variance ``2 / (inputs + outputs)`` (Glorot and Bengio 2010).

    An array of shape and dtype as given. Raises ValueError where there are fewer than two axes.

    >>> xavier((784, 256)).dtype
    dtype('float32')
    """
    inputs, outputs = _fans(shape)
    bound = float(np.sqrt(6.0 / (inputs + outputs)))
    return uniform(shape, -bound, bound, seed, dtype)


def he(shape: Shape, seed: int = 0, dtype: Any = "float32") -> Array:
    """Normal with variance ``2 / inputs`` (He et al. 2015).

    An array of shape and dtype as given. Raises ValueError where there are fewer than two axes.

    >>> he((784, 256)).dtype
    dtype('float32')
    """
    return normal(shape, float(np.sqrt(2.0 / _fans(shape)[0])), 0.0, seed, dtype)


def orthogonal(shape: Shape, gain: float = 1.0, seed: int = 0, dtype: Any = "float32") -> Array:
    """A matrix with orthonormal rows or columns (Saxe et al. 2014).

    An array of shape and dtype as given. Raises ValueError where there are fewer than two axes.

    >>> q = orthogonal((4, 3), seed=0)
    >>> (q.T @ q).round(3).diagonal().tolist()
    [1.0, 1.0, 1.0]
    """
    rows, columns = shape
    a = np.random.default_rng(seed).normal(size=(max(rows, columns), min(rows, columns)))
    q, r = np.linalg.qr(a)
    q = q * np.sign(np.diag(r))
    return (gain * (q if rows >= columns else q.T)).astype(dtype)
