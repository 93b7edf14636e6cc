"""Activation functions and their derivatives.

Printed at some points, and drawn with ``--save``. The derivative is the gain of the neuron drawn backward: sigmoid and
tanh are flat away from 0 and hand nearly nothing back there, ReLU hands back all or nothing.

    python examples/activations.py [--save activations.png]
"""

import argparse

import numpy as np

import graphc as gx

NAMES = ["sigmoid", "tanh", "relu", "leaky_relu", "elu", "softplus", "gelu", "silu", "mish", "hard_swish"]


def main(argv=None):
    """Prints and draws each function and its derivative; returns (values, slopes) by name on a grid of points."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--save", metavar="FILE")
    options = parser.parse_args(argv)

    g = gx.Graph("activations", float_dtype="float64")
    x = g.input("x", shape=("n",), dtype="float64")
    values = {name: getattr(gx, name)(x) for name in NAMES}
    slopes = {name: gx.grad(gx.sum(y), x) for name, y in values.items()}
    points = np.linspace(-4, 4, 401)
    y, dy = gx.compile([x], values)(points), gx.compile([x], slopes)(points)

    shown = [int(np.abs(points - at).argmin()) for at in (-3, -1, 0, 1, 3)]
    print(" " * 15 + "".join(f"{f'x = {points[k]:g}':>12}" for k in shown))
    for name in NAMES:
        print(f"{name:<15}" + "".join(f"{y[name][k]:>12.4f}" for k in shown))
        print(f"{'  derivative':<15}" + "".join(f"{dy[name][k]:>12.4f}" for k in shown))
    if options.save:
        draw(options.save, points, y, dy)
    return {name: (y[name], dy[name]) for name in NAMES}


def draw(file, points, y, dy):
    """Each function and its derivative."""
    from plotting import figure

    fig, axes = figure(2, 5, size=(13, 5))
    for name, axis in zip(NAMES, axes.flat, strict=True):
        axis.plot(points, y[name], label="f")
        axis.plot(points, dy[name], "--", label="f'")
        axis.axhline(0, color="0.8", lw=0.5)
        axis.set_title(name)
    axes[0, 0].legend()
    fig.savefig(file, dpi=110)
    print(f"drawn in {file}")


if __name__ == "__main__":
    main()
