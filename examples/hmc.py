"""A Hamiltonian Monte Carlo sampler in one njit function.

It calls a graphc function (Neal 2011, algorithm 1). The log density of a Bayesian linear regression and its gradient
come from a graph; the sampler knows neither. The posterior is a normal distribution whose mean and covariance are
known, and the draws are held against them. The sampler takes the function as an argument, so with cache=True Numba
compiles it once, whatever is sampled later.

    python examples/hmc.py [--draws 20000] [--save hmc.png]
"""

import argparse
import time

import numba
import numpy as np

import graphc as gx

NOISE, PRIOR = 0.5, 2.0  # standard deviations


@numba.njit(cache=True)
def sample(density, q, draws, step, leaps, seed):
    """Draws from exp(density), half as many before them thrown away; and the share of moves that were accepted."""
    np.random.seed(seed)
    out, accepted = np.empty((draws, q.size)), 0
    value, slope = density(q)
    for k in range(-(draws // 2), draws):
        p = np.random.normal(0.0, 1.0, q.size)
        before = value - 0.5 * np.sum(p * p)
        size = step * np.random.uniform(0.8, 1.2)  # so that no orbit closes
        at, new, force = q, value, slope
        for _ in range(leaps):
            p = p + 0.5 * size * force
            at = at + size * p
            new, force = density(at)
            p = p + 0.5 * size * force
        if np.log(np.random.random()) < new - 0.5 * np.sum(p * p) - before:
            q, value, slope = at, new, force
            accepted += k >= 0
        if k >= 0:
            out[k] = q
    return out, accepted / draws


def regression(x, y):
    """log density of the weights, up to a constant, and its gradient."""
    g = gx.Graph("regression", float_dtype="float64")
    w = g.input("w", shape=(x.shape[1],), dtype="float64")
    error = g.constant(y) - g.constant(x) @ w
    density = -gx.sum(error**2) / (2 * NOISE**2) - gx.sum(w**2) / (2 * PRIOR**2)
    return gx.compile([w], [density, gx.grad(density, w)])


def main(argv=None):
    """Prints moments beside the exact ones; returns draws, exact mean, exact covariance."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=20000)
    parser.add_argument("--save", metavar="FILE", help="draw the first two weights")
    options = parser.parse_args(argv)

    rng = np.random.default_rng(0)
    x = rng.normal(size=(40, 3))
    x[:, 1] += 0.8 * x[:, 0]  # correlated columns, so correlated weights
    y = x @ np.array([1.0, -2.0, 0.5]) + rng.normal(0, NOISE, 40)
    covariance = np.linalg.inv(x.T @ x / NOISE**2 + np.eye(3) / PRIOR**2)
    mean = covariance @ x.T @ y / NOISE**2

    density, leaps = regression(x, y).njit, 12
    sample(density, np.zeros(3), 1, 0.05, leaps, 0)  # compiles
    start = time.perf_counter()
    draws, accepted = sample(density, np.zeros(3), options.draws, 0.05, leaps, 1)
    seconds = time.perf_counter() - start

    print(f"{'':<8}{'mean':>10}{'exact':>10}{'deviation':>14}{'exact':>10}")
    for k in range(3):
        print(
            f"w[{k}]    {draws[:, k].mean():>10.4f}{mean[k]:>10.4f}"
            f"{draws[:, k].std():>14.4f}{covariance[k, k] ** 0.5:>10.4f}"
        )
    each = seconds / (1.5 * options.draws * leaps)
    print(f"{options.draws} draws, {accepted:.0%} of moves accepted, {1e9 * each:.0f} ns for a leap with its gradient")
    if options.save:
        from plotting import figure

        fig, axis = figure(size=(5, 4))
        axis.plot(*draws[:: max(1, options.draws // 2000), :2].T, ".", markersize=2, label="draws")
        angle = np.linspace(0, 2 * np.pi, 200)
        circle = np.linalg.cholesky(covariance[:2, :2]) @ (2 * np.array([np.cos(angle), np.sin(angle)]))
        axis.plot(*(mean[:2, None] + circle), label="two deviations, exact")
        axis.set(xlabel="w[0]", ylabel="w[1]")
        axis.legend()
        fig.savefig(options.save, dpi=110)
    return {"draws": draws, "mean": mean, "covariance": covariance}


if __name__ == "__main__":
    main()
