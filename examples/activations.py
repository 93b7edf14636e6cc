"""Activation functions and their derivatives, plotted.

python examples/activations.py [--save activations.png]
"""

import argparse

import numpy as np

import graphc as gx

NAMES = ["sigmoid", "tanh", "relu", "leaky_relu", "elu", "softplus", "gelu", "silu", "mish", "hard_swish"]


def main(argv=None):
    """Draws each function and its derivative; returns them by name on a grid of points."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--save", default="activations.png", metavar="FILE")
    options = parser.parse_args(argv)
    from plotting import figure

    g = gx.Graph("activations", float_dtype="float64")
    x = g.input("x", shape=("n",), dtype="float64")
    values = {name: getattr(gx, name)(x) for name in NAMES}
    slopes = {name: gx.grad(gx.sum(y), x) for name, y in values.items()}
    points = np.linspace(-4, 4, 401)
    y, dy = gx.compile([x], values)(points), gx.compile([x], slopes)(points)

    fig, axes = figure(2, 5, size=(13, 5))
    for name, axis in zip(NAMES, axes.flat, strict=True):
        axis.plot(points, y[name], label="f")
        axis.plot(points, dy[name], "--", label="f'")
        axis.axhline(0, color="0.8", lw=0.5)
        axis.set_title(name)
    axes[0, 0].legend()
    fig.savefig(options.save, dpi=110)
    print(f"{len(NAMES)} activations and their derivatives in {options.save}")
    return {name: (y[name], dy[name]) for name in NAMES}


if __name__ == "__main__":
    main()
