"""All optimisers on one problem: Rosenbrock's valley, from the same start.

python examples/optimizers.py [--save optimizers.png]
"""

import argparse

import numpy as np

import graphc as gx

OPTIMIZERS = {
    "SGD": gx.optim.SGD(lr=0.0005, clip_norm=10.0),
    "Momentum": gx.optim.Momentum(lr=0.0002, clip_norm=10.0),
    "NAG": gx.optim.NAG(lr=0.0002, clip_norm=10.0),
    "Adagrad": gx.optim.Adagrad(lr=0.5),
    "RMSProp": gx.optim.RMSProp(lr=0.01),
    "Adam": gx.optim.Adam(lr=0.05),
    "AdamW": gx.optim.AdamW(lr=0.05, weight_decay=0.001),
}


def path(optimizer, steps):
    """The points and losses of a run."""
    g = gx.Graph("valley", float_dtype="float64")
    p = g.parameter("p", np.array([-1.2, 1.0]))
    loss = (1 - p[0]) ** 2 + 100 * (p[1] - p[0] ** 2) ** 2
    step = gx.compile([], [loss, p], updates=optimizer.updates(loss))
    runs = [step() for _ in range(steps)]
    return np.array([r[0] for r in runs]), np.array([r[1] for r in runs])


def main(argv=None):
    """Draws losses and paths; returns the last loss of each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--save", default="optimizers.png", metavar="FILE")
    parser.add_argument("--steps", type=int, default=2000)
    options = parser.parse_args(argv)
    from plotting import figure

    fig, (left, right) = figure(1, 2, size=(12, 4.5))
    a, b = np.meshgrid(np.linspace(-1.6, 1.6, 200), np.linspace(-0.6, 1.6, 200))
    right.contour(a, b, np.log((1 - a) ** 2 + 100 * (b - a**2) ** 2), 20, colors="0.85")
    last = {}
    for name, optimizer in OPTIMIZERS.items():
        losses, points = path(optimizer, options.steps)
        style = "--" if name == "NAG" else "-"  # it runs nearly where Momentum does
        left.semilogy(losses, style, label=name)
        right.plot(points[:, 0], points[:, 1], lw=1)
        last[name] = float(losses[-1])
        print(f"{name:<10} loss after {options.steps} steps: {losses[-1]:.3e}")
    left.set(xlabel="step", ylabel="loss")
    left.legend()
    right.plot(1, 1, "k*")
    fig.savefig(options.save, dpi=110)
    return last


if __name__ == "__main__":
    main()
