"""Gaussian process regression with learned kernels.

Rasmussen and Williams, Gaussian Processes for Machine Learning (2006), Algorithm 2.1 and equation 2.30, by L-BFGS.

    python examples/gaussian_process.py [--points 60] [--steps 40]
"""

import argparse

import numpy as np

import graphc as gx


def distances(a, b):
    return gx.expand_dims(a, 1) - gx.expand_dims(b, 0)


def kernel(a, b, p):
    """A smooth trend and what comes back with a period, each with a scale of its own."""
    d = distances(a, b)
    smooth = gx.exp(p["trend"]) * gx.exp(-0.5 * (d * gx.exp(-p["length"])) ** 2)
    turns = gx.sin(np.pi * d * gx.exp(-p["period"])) * gx.exp(-p["width"])
    return smooth + gx.exp(p["waves"]) * gx.exp(-2 * turns**2)


def build():
    """One step of learning, which gives the negative log likelihood, and the prediction at other points."""
    g = gx.Graph("gp", float_dtype="float64")
    x, y, z = g.input("x", ("n",)), g.input("y", ("n",)), g.input("z", ("m",))
    first = {"trend": 0.0, "length": 1.0, "waves": 0.0, "period": 0.2, "width": 0.0, "noise": -2.0}
    p = {name: g.parameter(name, np.array(value)) for name, value in first.items()}
    factor = gx.linalg.cholesky(kernel(x, x, p) + (gx.exp(p["noise"]) + 1e-6) * g.eye(x.shape[0]))
    white = gx.solve_triangular(factor, y, lower=True)
    loss = gx.sum(0.5 * white**2 + gx.log(gx.diagonal(factor)) + 0.5 * np.log(2 * np.pi))
    across = gx.solve_triangular(factor, kernel(x, z, p), lower=True)
    variance = gx.exp(p["trend"]) + gx.exp(p["waves"]) + gx.exp(p["noise"]) - gx.sum(across**2, 0)
    learn = gx.compile([x, y], loss, updates=gx.optim.LBFGS().updates(loss))
    return g, learn, gx.compile([x, y, z], [white @ across, gx.sqrt(variance)])


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--points", type=int, default=60)
    parser.add_argument("--steps", type=int, default=40)
    options = parser.parse_args(argv)
    rng = np.random.default_rng(0)

    def truth(t):
        return np.sin(2 * np.pi * t / 1.3) + 0.3 * t

    x, z = np.sort(rng.uniform(0, 8, options.points)), np.linspace(0.2, 7.8, 200)
    y = truth(x) + 0.1 * rng.normal(size=len(x))
    g, learn, predict = build()
    losses = [float(learn(x, y)) for _ in range(options.steps)]
    mean, deviation = predict(x, y, z)
    error = float(np.sqrt(np.mean((mean - truth(z)) ** 2)))
    inside = float(np.mean(np.abs(mean - truth(z)) < 2 * deviation))
    learned = {name: float(np.exp(g.state[name])) for name in ("length", "period", "noise")}
    print(f"negative log likelihood {losses[0]:.1f}, then {losses[-1]:.1f} after {options.steps} steps")
    print(f"period {learned['period']:.3f} (1.3), noise {learned['noise'] ** 0.5:.3f} (0.1)")
    print(f"error between the points {error:.3f}; {inside:.0%} of the curve within two deviations")
    return {"losses": losses, "error": error, "inside": inside, **learned}


if __name__ == "__main__":
    main()
