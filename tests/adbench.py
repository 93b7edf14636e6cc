"""The four objectives of ADBench (Srajer, Kukelova and Fitzgibbon, 2018), for graphc, JAX and NumPy alike.

A mixture of Gaussians, bundle adjustment, hand tracking and a character-level LSTM, with the formulas of
https://github.com/microsoft/ADBench. ``m`` is the module of array functions; NumPy takes complex numbers too, so a
derivative is ``imag(f(x + 1e-20j)) / 1e-20`` to all digits.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np
from scipy.special import multigammaln

import graphc as gx


def scan(m: Any, f: Any, init: Any, xs: Any) -> Any:
    """A scan of the module, or its steps one after another."""
    if m is gx:
        return gx.scan(f, init, xs)
    if m is not np:
        import jax

        return jax.lax.scan(f, init, xs)
    ys = []
    for t in range(len(xs[0] if isinstance(xs, tuple) else xs)):
        init, y = f(init, tuple(x[t] for x in xs) if isinstance(xs, tuple) else xs[t])
        ys.append(y)
    return init, np.stack(ys)


def logsumexp(m: Any, x: Any) -> Any:
    """Along the last axis."""
    most = m.max(x, axis=-1, keepdims=True)
    return m.log(m.sum(m.exp(x - most), axis=-1)) + most[..., 0]


# ---- a mixture of Gaussians with a Wishart prior


def gmm(m: Any, alphas: Any, means: Any, icf: Any, x: Any, gamma: float, extra: int) -> Any:
    """The log likelihood: k weights, means (k, d), factors (k, d (d + 1) / 2) of inverse covariances, points (n, d)."""
    (n, d), k = x.shape, icf.shape[0]
    place = np.zeros((d, d), int)  # the columns of a strictly lower triangle, one after another
    below = np.tri(d, k=-1, dtype=bool)
    place.T[below.T] = d + np.arange(d * (d - 1) // 2)
    logs = icf[:, :d]
    lower = m.take(icf, place.ravel(), axis=1).reshape((k, d, d)) * below + m.exp(logs)[:, :, None] * np.eye(d)
    apart = x[None] - means[:, None]  # k, n, d
    turned = apart @ lower.mT if m is gx else apart @ m.swapaxes(lower, 1, 2)
    inner = (alphas + m.sum(logs, axis=1))[:, None] - 0.5 * m.sum(turned * turned, axis=2)
    prior = 0.5 * gamma**2 * (m.sum(m.exp(2 * logs)) + m.sum(icf[:, d:] ** 2)) - extra * m.sum(logs)
    p = d + extra + 1
    constant = -n * d * 0.5 * math.log(2 * math.pi)
    constant -= k * (p * d * math.log(gamma / math.sqrt(2)) - multigammaln(0.5 * p, d))
    return constant + m.sum(logsumexp(m, inner.T)) - n * logsumexp(m, alphas) + prior


# ---- bundle adjustment


def cross(m: Any, a: Any, b: Any) -> Any:
    return m.stack([a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]])


def reprojection(m: Any, camera: Any, point: Any, weight: Any, feature: Any) -> Any:
    """The error of one observation; a camera is rotation, centre, focal length, principal point, distortion."""
    turn, away = camera[:3], point - camera[3:6]
    angle = m.sqrt(m.sum(turn * turn))
    axis, cos, sin = turn / angle, m.cos(angle), m.sin(angle)
    seen = away * cos + cross(m, axis, away) * sin + axis * (m.sum(axis * away) * (1 - cos))
    flat = seen[:2] / seen[2]
    r = m.sum(flat * flat)
    return weight * (flat * (1 + camera[9] * r + camera[10] * r * r) * camera[6] + camera[7:9] - feature)


# ---- hand tracking


def skeleton(rng: Any, vertices: int) -> dict[str, Any]:
    """A hand as ADBench's files describe one, with numbers of its own: 22 bones, each vertex tied to a few of them."""
    parents = np.array([-1, *(b for f in range(5) for b in (0, 1 + 4 * f, 2 + 4 * f, 3 + 4 * f)), 0])
    relative = np.tile(np.eye(4), (len(parents), 1, 1))
    relative[:, :3, :] += 0.3 * rng.normal(size=(len(parents), 3, 4))
    absolute: list[Any] = []
    for b, parent in enumerate(parents):
        absolute.append(relative[b] if parent < 0 else absolute[parent] @ relative[b])
    weights = rng.random((vertices, len(parents))) * (rng.random((vertices, len(parents))) < 0.2)
    return {
        "parents": parents,
        "relative": relative,
        "inverse": np.linalg.inv(absolute),
        "base": np.concatenate([rng.normal(size=(vertices, 3)), np.ones((vertices, 1))], 1),
        "weights": weights / np.maximum(weights.sum(1, keepdims=True), 1e-9),
    }


def matrix(m: Any, rows: Any, like: Any) -> Any:
    """Matrices of tensors and numbers in the shape of ``like``."""
    return m.stack([m.stack([v + 0 * like for v in row], axis=-1) for row in rows], axis=-2)


def placed(m: Any, theta: Any, hand: dict[str, Any]) -> Any:
    """Where each bone is, a matrix (4, 4): those as deep in the tree at once."""
    parents = hand["parents"]
    bends = np.full((2, len(parents)), 26)  # two angles for each bone; the last number of all is 0
    for f in range(5):
        bends[0, 2 + 4 * f : 5 + 4 * f] = 6 + 4 * f, 8 + 4 * f, 9 + 4 * f
        bends[1, 2 + 4 * f] = 7 + 4 * f
    x, z = (m.take(m.concat([theta, 0 * theta[:1]]), row, axis=0) for row in bends)
    cx, sx, cz, sz = m.cos(x), m.sin(x), m.cos(z), m.sin(z)
    rows = [[cz, -sz * cx, sz * sx, 0], [sz, cz * cx, -cz * sx, 0], [0, sx, cx, 0], [0, 0, 0, 1]]
    relative = hand["relative"] @ matrix(m, rows, x)
    levels = [np.flatnonzero(parents < 0)]
    while len(deeper := np.flatnonzero(np.isin(parents, levels[-1]))):
        levels.append(deeper)
    made = [m.take(relative, levels[0], axis=0)]
    for above, level in pairwise(levels):
        parent = m.take(made[-1], np.searchsorted(above, parents[level]), axis=0)
        made.append(parent @ m.take(relative, level, axis=0))
    return m.take(m.concat(made), np.argsort(np.concatenate(levels)), axis=0)


def positions(m: Any, theta: Any, hand: dict[str, Any], at: Any) -> Any:
    """Where the vertices ``at`` are: 26 numbers turn the whole hand, move it, and bend each finger's joints."""
    moved = placed(m, theta, hand) @ hand["inverse"]
    blended = (hand["weights"][at] @ m.reshape(moved, (-1, 16))).reshape((len(at), 4, 4))
    skin = m.sum(blended * hand["base"][at][:, None], axis=2)[:, :3]
    angle = m.sqrt(m.sum(theta[:3] ** 2))
    (x, y, z), c, s = (theta[k] / angle for k in range(3)), m.cos(angle), m.sin(angle)
    rows = [
        [x * x + (1 - x * x) * c, x * y * (1 - c) - z * s, x * z * (1 - c) + y * s],
        [x * y * (1 - c) + z * s, y * y + (1 - y * y) * c, y * z * (1 - c) - x * s],
        [x * z * (1 - c) - y * s, z * y * (1 - c) + x * s, z * z + (1 - z * z) * c],
    ]
    return skin @ matrix(m, rows, x).T + theta[3:6]


def hand_simple(m: Any, theta: Any, hand: dict[str, Any], points: Any, at: Any) -> Any:
    """How far each point is from its vertex."""
    return points - positions(m, theta, hand, at)


def hand_complicated(m: Any, us: Any, theta: Any, hand: dict[str, Any], points: Any, triangles: Any) -> Any:
    """How far each point is from its triangle's point with the barycentric coordinates ``us``, (points, 2)."""
    corners = positions(m, theta, hand, triangles.ravel()).reshape((len(points), 3, 3))
    last = 1 - us[:, :1] - us[:, 1:]
    return points - (us[:, :1] * corners[:, 0] + us[:, 1:] * corners[:, 1] + last * corners[:, 2])


# ---- an LSTM whose weights are diagonal


def lstm(m: Any, main: Any, extra: Any, state: Any, text: Any) -> Any:
    """The mean loss of a letter: ``main`` (2 layers, 4 d) and ``extra`` (3, d) weights, ``state`` (2 layers, d)."""
    layers, d = state.shape[0] // 2, state.shape[1]

    def step(state: Any, pair: Any) -> Any:
        x, target = pair
        x, new = x * extra[0], []
        for k in range(layers):
            h, c = state[2 * k], state[2 * k + 1]
            gates = m.concat([x, h, x, h]) * main[2 * k] + main[2 * k + 1]
            forget, take, give = (1 / (1 + m.exp(-gates[g * d : g * d + d])) for g in range(3))
            c = c * forget + take * m.tanh(gates[3 * d :])
            x = give * m.tanh(c)
            new += [x, c]
        said = x * extra[1] + extra[2]
        return m.stack(new), m.sum(target * (said - m.log(m.sum(m.exp(said)) + 2)))

    _, gains = scan(m, step, state, (text[:-1], text[1:]))
    return -m.sum(gains) / ((text.shape[0] - 1) * d)
