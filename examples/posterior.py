"""Variational inference and chains of PyMC-like densities.

Both are compiled whole: ten thousand steps of a Hamiltonian chain are one `gx.scan`, with its random numbers and the
gradient inside. Data are normal with a conjugate prior (Murphy, Conjugate Bayesian analysis of the Gaussian
distribution, 2007), so the moments of the posterior and the evidence are known.

    python examples/posterior.py [--draws 10000] [--steps 2000]
"""

import argparse
from math import lgamma, log, pi

import numpy as np

import graphc as gx

PRIOR = {"mean": 0.0, "weight": 0.1, "shape": 2.0, "rate": 1.0}


def normal(x, mean, precision):
    return 0.5 * gx.log(precision) - 0.5 * log(2 * pi) - 0.5 * precision * (x - mean) ** 2


def gamma(x, shape, rate):
    return shape * log(rate) - lgamma(shape) + (shape - 1) * gx.log(x) - rate * x


def log_density(z, y):
    """log p(y, z) where z is the mean and the logarithm of the precision."""
    mean, precision = z[0], gx.exp(z[1])
    prior = gamma(precision, PRIOR["shape"], PRIOR["rate"]) + z[1]  # of the logarithm: times d precision / dz
    prior = prior + normal(mean, PRIOR["mean"], PRIOR["weight"] * precision)
    return prior + gx.sum(normal(y, mean, precision))


def variational(samples=16):
    """A step of ascent of the bound of log p(y) by a normal distribution of z (Kucukelbir et al. 2017)."""
    g = gx.Graph("variational", float_dtype="float64")
    y, rate, key = g.input("y", ("n",)), g.input("rate"), g.random_key(0)
    mean, factor = g.parameter("q mean", np.zeros(2)), g.parameter("factor", np.diag([-1.0, -1.0]))
    lower = gx.tril(factor, -1) + gx.exp(gx.diagonal(factor)) * g.eye(2)
    noise = gx.random.normal(key, (samples, 2))
    z = mean + noise @ lower.T
    bound = gx.mean(gx.vmap(lambda v: log_density(v, y))(z)) + gx.sum(gx.diagonal(factor)) + 1 + log(2 * pi)
    updates = gx.optim.Adam(lr=rate).updates(-bound)
    return g, gx.compile([y, rate], bound, updates=updates | {key: key + np.array([0, 1])})


def chain(draws, leaps=8, size=0.12):
    """Draws of z, the first half thrown away, and the share of moves accepted (Neal 2011)."""
    g = gx.Graph("chain", float_dtype="float64")
    y, key = g.input("y", ("n",)), g.random_key(1)

    def slope(z):
        return gx.grad(log_density(z, y), z)

    def leap(state, _):
        z, p = state
        p = p + 0.5 * size * slope(z)
        z = z + size * p
        return (z, p + 0.5 * size * slope(z)), None

    def move(z, _):
        p = gx.random.normal(key, (2,))
        (new, q), _ = gx.scan(leap, (z, p), length=leaps)
        gain = log_density(new, y) - log_density(z, y) - 0.5 * gx.sum(q * q) + 0.5 * gx.sum(p * p)
        accepted = gx.log(gx.random.uniform(key, ())) < gain
        z = gx.where(accepted, new, z)
        return z, (z, accepted)

    _, (path, accepted) = gx.scan(move, g.zeros((2,)), length=2 * draws)
    return gx.compile([y], [path[draws:], gx.mean(accepted[draws:])], {key: key + np.array([0, 1])})


def exact(y):
    """Means and variances of mean and precision, and log p(y)."""
    n, a, b, k = len(y), PRIOR["shape"], PRIOR["rate"], PRIOR["weight"]
    kn, an, apart = k + n, a + n / 2, y.mean() - PRIOR["mean"]
    bn = b + 0.5 * np.sum((y - y.mean()) ** 2) + 0.5 * k * n * apart**2 / kn
    evidence = lgamma(an) - lgamma(a) + a * log(b) - an * log(bn) + 0.5 * log(k / kn) - n / 2 * log(2 * pi)
    moments = [[(k * PRIOR["mean"] + n * y.mean()) / kn, an / bn], [bn / (kn * (an - 1)), an / bn**2]]
    return np.array(moments), evidence


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--draws", type=int, default=10000)
    parser.add_argument("--steps", type=int, default=2000)
    options = parser.parse_args(argv)
    y = np.random.default_rng(0).normal(1.0, 0.7, 30)
    (mean, variance), evidence = exact(y)

    g, ascend = variational()
    bounds = [float(ascend(y, 0.05 * (1 - k / options.steps))) for k in range(options.steps)]
    lower = np.tril(g.state["factor"], -1) + np.diag(np.exp(np.diag(g.state["factor"])))
    rng = np.random.default_rng(1)
    z = g.state["q mean"] + rng.normal(size=(100000, 2)) @ lower.T
    path, accepted = chain(options.draws)(y)
    ways = {"variational": z, "chain": path}
    found = {name: np.stack([z[:, 0], np.exp(z[:, 1])], 1) for name, z in ways.items()}
    print(f"{'':<13}{'mean':>20}{'precision':>22}")
    print(f"{'exact':<13}" + "".join(f"{m:>12.4f} +- {v**0.5:.4f}" for m, v in zip(mean, variance, strict=True)))
    for name, draws in found.items():
        print(f"{name:<13}" + "".join(f"{v.mean():>12.4f} +- {v.std():.4f}" for v in draws.T))
    bound = float(np.mean(bounds[-options.steps // 10 :]))
    print(f"bound {bound:.4f} of log p(y) = {evidence:.4f}; {accepted:.0%} of moves accepted")
    return {"found": found, "mean": mean, "variance": variance, "bound": bound, "evidence": evidence}


if __name__ == "__main__":
    main()
