"""Least squares with exact gradients for scipy.optimize.

`exe.as_scipy` over several parameters at once, beside scipy.optimize.curve_fit. The model is a set of damped
oscillations, shape * exp(-decay t) @ cos(pulse t) + level, with vectors and a number as parameters.
scipy.optimize.minimize gets value and exact gradient of all of them as one flat vector; curve_fit gets the model
written once more by hand and takes finite differences.

    python examples/curve_fit.py [--points 2000] [--save curve_fit.png]
"""

import argparse
import time

import numpy as np
import scipy.optimize

import graphc as gx

TRUE = {"shape": np.array([2.0, 1.0]), "decay": np.array([0.3, 0.1]), "pulse": np.array([4.0, 9.0]), "level": 0.5}
START = {"shape": np.array([1.5, 1.5]), "decay": np.array([0.2, 0.2]), "pulse": np.array([4.2, 8.8]), "level": 0.0}


def by_hand(t, s0, s1, d0, d1, p0, p1, level):
    """The model, for curve_fit."""
    return s0 * np.exp(-d0 * t) * np.cos(p0 * t) + s1 * np.exp(-d1 * t) * np.cos(p1 * t) + level


def by_graph():
    """The mean square of the errors, and its gradient by every parameter."""
    g = gx.Graph("oscillation", float_dtype="float64")
    t, y = (g.input(name, shape=("n",), dtype="float64") for name in ("t", "y"))
    shape, decay, pulse = (g.input(name, shape=(2,), dtype="float64") for name in ("shape", "decay", "pulse"))
    level = g.input("level", shape=(), dtype="float64")
    time = gx.expand_dims(t, 1)
    model = gx.sum(shape * gx.exp(-decay * time) * gx.cos(pulse * time), axis=1) + level
    loss = gx.mean((model - y) ** 2)
    free = [shape, decay, pulse, level]
    return gx.compile([t, y, *free], [loss, *gx.grad(loss, free)])


def timed(function):
    """What it returns, and the seconds of the best of five runs."""
    times = []
    for _ in range(5):
        start = time.perf_counter()
        result = function()
        times.append(time.perf_counter() - start)
    return result, min(times)


def main(argv=None):
    """Prints parameters of both fits beside the true ones; returns those by graph and by curve_fit, flat."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", type=int, default=2000)
    parser.add_argument("--save", metavar="FILE", help="draw data and fit")
    options = parser.parse_args(argv)

    t = np.linspace(0, 8, options.points)
    y = by_hand(t, *np.concatenate([TRUE["shape"], TRUE["decay"], TRUE["pulse"], [TRUE["level"]]]))
    y += np.random.default_rng(0).normal(0, 0.2, t.shape)

    f = by_graph().as_scipy(START, t=t, y=y)
    f(f.x0)  # plans the call
    fit, seconds = timed(lambda: scipy.optimize.minimize(f, f.x0, jac=True, tol=1e-10))
    (other, _), slow = timed(lambda: scipy.optimize.curve_fit(by_hand, t, y, p0=f.x0))

    print(f"{'':<10}{'true':>12}{'as_scipy':>12}{'curve_fit':>12}")
    theirs = f.unflatten(other)
    for name, found in f.unflatten(fit.x).items():
        for true, ours, his in zip(np.ravel(TRUE[name]), np.ravel(found), np.ravel(theirs[name]), strict=True):
            print(f"{name:<10}{true:>12.5f}{ours:>12.5f}{his:>12.5f}")
    print(f"{'seconds':<22}{seconds:>12.5f}{slow:>12.5f}")
    print(f"{'mean square':<22}{fit.fun:>12.5f}{f(other)[0]:>12.5f}")
    if options.save:
        from plotting import figure

        fig, axis = figure()
        axis.plot(t, y, ".", markersize=2, label="data")
        axis.plot(t, by_hand(t, *fit.x), label="fit")
        axis.set(xlabel="t")
        axis.legend()
        fig.savefig(options.save, dpi=110)
    return {"as_scipy": fit.x, "curve_fit": other}


if __name__ == "__main__":
    main()
