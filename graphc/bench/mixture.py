"""The log likelihood of a Gaussian mixture with packed precision factors and a Wishart prior.

As in ADBench (Srajer, Kukelova and Fitzgibbon 2018): for each component the diagonal of its triangular factor as
logarithms, then the entries below it, column by column.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from graphc.bench.peers import contestants
from graphc.bench.workload import Problem, Setup, Workload
from graphc.ir.state import Array

POINTS, DIMENSIONS, COMPONENTS = 1000, 10, 25


def _problem(setup: Setup) -> Problem:
    rng = np.random.default_rng(setup.seed)
    points, d, count = (30, 3, 4) if setup.small else (POINTS, DIMENSIONS, COMPONENTS)
    wrt = {
        "alphas": rng.normal(size=count),
        "means": rng.random((count, d)),
        "factors": rng.normal(size=(count, d * (d + 1) // 2)),
    }
    return Problem({"x": rng.random((points, d)), "place": _packed(d).ravel()}, wrt)


def _packed(d: int) -> Array:
    """Where each entry of a d x d triangular factor lies in the packed one; the entry after its last is a zero."""
    place = np.full((d, d), d * (d + 1) // 2, np.int64)
    place[np.diag_indices(d)] = np.arange(d)
    columns, rows = np.triu_indices(d, 1)
    place[rows, columns] = np.arange(d, d * (d + 1) // 2)
    return place


def _constant(points: int, d: int, count: int) -> float:
    """What does not depend on the parameters; the prior has precision 1 and d + 1 degrees of freedom."""
    gamma = d * (d - 1) / 4 * math.log(math.pi) + sum(math.lgamma(0.5 * (d + 1 - j)) for j in range(d))
    prior = (d + 1) * d * -0.5 * math.log(2) - gamma
    return -points * d * 0.5 * math.log(2 * math.pi) - count * prior


def _loss(m: Any, x: Any, place: Any, alphas: Any, means: Any, factors: Any) -> Any:
    (points, d), count = m.shape(x), m.shape(means)[0]
    logs, below = factors[:, :d], factors[:, d:]
    diagonal = m.exp(logs)
    packed = m.concat([diagonal, below, 0.0 * logs[:, :1]], 1)
    factor = m.reshape(m.take(packed, place), (count, d, d))
    centred = m.reshape(x, (1, points, d)) - m.reshape(means, (count, 1, d))
    z = centred @ m.permute(factor, (0, 2, 1))
    inner = m.reshape(alphas + m.sum(logs, 1), (count, 1)) - 0.5 * m.sum(z * z, 2)
    likelihood = m.sum(m.logsumexp(inner, 0)) - points * m.logsumexp(alphas, 0)
    prior = 0.5 * (m.sum(diagonal * diagonal) + m.sum(below * below))
    return likelihood + prior + _constant(points, d, count)


def _by_hand(x: Array, place: Array, alphas: Array, means: Array, factors: Array) -> Any:
    (points, d), count = x.shape, len(means)
    logs, below = factors[:, :d], factors[:, d:]
    diagonal = np.exp(logs)
    factor = np.concatenate([diagonal, below, np.zeros((count, 1))], 1)[:, place].reshape(count, d, d)
    centred = x[None] - means[:, None]
    z = centred @ factor.swapaxes(1, 2)
    inner = (alphas + logs.sum(1))[:, None] - 0.5 * np.einsum("kni,kni->kn", z, z)
    top = inner.max(0)
    share = np.exp(inner - top)
    total = share.sum(0)
    share /= total
    weights = np.exp(alphas - alphas.max())
    mixing = math.log(weights.sum()) + alphas.max()
    value = (np.log(total) + top).sum() - points * mixing
    value += 0.5 * ((diagonal * diagonal).sum() + (below * below).sum()) + _constant(points, d, count)

    members = share.sum(1)
    z *= -share[:, :, None]
    dfactor = (z.swapaxes(1, 2) @ centred).reshape(count, d * d)
    dmeans = -(z @ factor).sum(1)
    dpacked = np.empty_like(factors)
    dpacked[:, place[place < factors.shape[1]]] = dfactor[:, place < factors.shape[1]]
    dpacked[:, :d] = (dpacked[:, :d] + diagonal) * diagonal + members[:, None]
    dpacked[:, d:] += below
    return value, [members - points * weights / weights.sum(), dmeans, dpacked]


MIXTURE = Workload(
    "gmm",
    "Gaussian mixture, 1,000 points, 10 dimensions, 25 components, float64: value and gradients",
    _problem,
    contestants(_loss, _by_hand),
    products=(
        *2 * ((COMPONENTS, POINTS, DIMENSIONS, DIMENSIONS),),
        (COMPONENTS, DIMENSIONS, DIMENSIONS, POINTS),
    ),
    functions={"exp": POINTS * COMPONENTS},
)
