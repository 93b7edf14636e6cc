"""Batch, mini-batch and stochastic descent on one surface.

    batch         w <- w - rate * mean of the gradients of all rows
    mini-batch    w <- w - rate * mean of the gradients of 8 rows
    stochastic    w <- w - rate * gradient of one row

A line w0 + w1 x is fitted to 64 points. Each way goes on until a pass over the data lowers the loss over all rows by
less than a thousandth of itself, or for 200 passes. Fewer rows a step mean more steps a pass: the way down is
sooner found, and less straight. With one row a step it never settles at this rate: it ends where the noise of the rows
holds it.

    python examples/descent.py [--save descent.png]
"""

import argparse

import numpy as np

import graphc as gx

ROWS = {"batch": 64, "mini-batch": 8, "stochastic": 1}
RATE, ENOUGH, MOST = 0.1, 1e-3, 200


def data():
    """64 points about the line 1 + 2 x."""
    rng = np.random.default_rng(0)
    x = rng.uniform(-1, 1, 64)
    return x, 1 + 2 * x + rng.normal(0, 0.3, 64)


def descend(rows, x, y):
    """Points on the way, one for each step, and the loss over all rows after each pass."""
    g = gx.Graph("line", float_dtype="float64")
    a, b = g.input("x", shape=("batch",), dtype="float64"), g.input("y", shape=("batch",), dtype="float64")
    w = g.parameter("w", np.array([-1.0, -1.5]))
    loss = gx.mean(gx.squared_error(w[0] + w[1] * a, b)) / 2
    step = gx.compile([a, b], w, updates=gx.optim.SGD(lr=RATE).updates(loss))
    measure = gx.compile([a, b], loss)
    path, losses = [g.state["w"][None]], [float(measure(x, y))]
    for epoch in range(MOST):
        visited = step.run_batches([x, y], rows, shuffle=True, seed=epoch)  # w before each step
        path.append(np.concatenate([visited.reshape(-1, 2)[1:], g.state["w"][None]]))
        losses.append(float(measure(x, y)))
        if losses[-2] - losses[-1] < ENOUGH * losses[-2]:
            break
    return np.concatenate(path), losses


def main(argv=None):
    """Prints and draws the three ways; returns (steps, passes, last loss) of each, and the least loss there is."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--save", metavar="FILE")
    options = parser.parse_args(argv)

    x, y = data()
    columns = np.stack([np.ones_like(x), x], axis=1)
    best, (squares,), *_ = np.linalg.lstsq(columns, y, rcond=None)
    least = squares / (2 * len(x))
    ways = {name: descend(rows, x, y) for name, rows in ROWS.items()}
    print(f"{'rows a step':<20}{'steps':>7}{'passes':>8}{'loss':>10}   the least there is: {least:.6f}")
    for name, (path, losses) in ways.items():
        print(f"{name + ', ' + str(ROWS[name]):<20}{len(path) - 1:>7}{len(losses) - 1:>8}{losses[-1]:>10.6f}")
    if options.save:
        from plotting import figure

        fig, (left, right) = figure(1, 2, size=(11, 4.5))
        a, b = np.meshgrid(np.linspace(-1.6, 2.2, 120), np.linspace(-2, 3, 120))
        surface = ((a[..., None] + b[..., None] * x - y) ** 2).mean(-1) / 2
        left.contour(a, b, surface, np.geomspace(least * 1.05, surface.max(), 14), colors="0.85")
        for name, (path, losses) in ways.items():
            left.plot(path[:, 0], path[:, 1], ".-", lw=1, ms=3, label=name)
            right.semilogy(np.array(losses) - least, ".-", label=name)
        left.plot(*best, "k*")
        left.set(xlabel="w0", ylabel="w1")
        right.set(xlabel="pass over the data", ylabel="loss above the least")
        left.legend()
        fig.savefig(options.save, dpi=110)
        print(f"drawn in {options.save}")
    ends = {name: (len(path) - 1, len(losses) - 1, losses[-1]) for name, (path, losses) in ways.items()}
    return {**ends, "least": least}


if __name__ == "__main__":
    main()
