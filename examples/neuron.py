"""One sigmoid neuron: the chain rule, node by node, by hand and by the graph.

    p = w * x      z = p + b      a = sigmoid(z)      e = a - t      loss = e * e / 2

Reverse accumulation starts at the loss, whose derivative with respect to itself is 1, and walks back: what arrives at
a node, times the slope of that node, is passed on to its operands.

    python examples/neuron.py [--x 1.5] [--w 0.8] [--b -0.4] [--t 1]
"""

import argparse
import math

import numpy as np

import graphc as gx

RULES = {
    "loss": "1",
    "e": "dloss/dloss * e",
    "a": "dloss/de * 1",
    "z": "dloss/da * a * (1 - a)",
    "p": "dloss/dz * 1",
    "b": "dloss/dz * 1",
    "w": "dloss/dp * x",
    "x": "dloss/dp * w",
}


def by_hand(x, w, b, t):
    """Values of all nodes on the way forward, then their derivatives on the way back."""
    p = w * x
    z = p + b
    a = 1 / (1 + math.exp(-z))
    e = a - t
    values = {"p": p, "z": z, "a": a, "e": e, "loss": e * e / 2}

    slopes = {"loss": 1.0}
    slopes["e"] = slopes["loss"] * e
    slopes["a"] = slopes["e"]
    slopes["z"] = slopes["a"] * a * (1 - a)
    slopes["p"] = slopes["b"] = slopes["z"]
    slopes["w"], slopes["x"] = slopes["p"] * x, slopes["p"] * w
    return values, slopes


def by_graph(x, w, b, t):
    """The same from a graph: its derivatives are nodes that ``gx.grad`` appends; ``print(g)`` shows them."""
    g = gx.Graph("neuron", float_dtype="float64")
    nodes = {name: g.input(name, dtype="float64") for name in ("x", "w", "b", "t")}
    inputs = list(nodes.values())
    nodes["p"] = (nodes["w"] * nodes["x"]).named("p")
    nodes["z"] = (nodes["p"] + nodes["b"]).named("z")
    nodes["a"] = gx.sigmoid(nodes["z"]).named("a")
    nodes["e"] = (nodes["a"] - nodes["t"]).named("e")
    nodes["loss"] = (0.5 * gx.square(nodes["e"])).named("loss")

    forward = gx.compile(inputs, {name: nodes[name] for name in ("p", "z", "a", "e", "loss")})
    slopes = gx.grad(nodes["loss"], [nodes[name] for name in RULES])
    backward = gx.compile(inputs, dict(zip(RULES, slopes, strict=True)))
    return forward(x, w, b, t), backward(x, w, b, t)


def main(argv=None):
    """Prints every node's value and derivative; returns {name: (by hand, by graph)} of both."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("x", 1.5), ("w", 0.8), ("b", -0.4), ("t", 1.0)):
        parser.add_argument(f"--{name}", type=float, default=default)
    given = vars(parser.parse_args(argv))
    values, slopes = by_hand(**given)
    graph_values, graph_slopes = by_graph(**{name: np.float64(v) for name, v in given.items()})

    print(f"{'node':<14}{'':<26}{'by hand':>12}{'by graph':>14}")
    for name, value in values.items():
        print(f"{name:<40}{value:>12.8f}{graph_values[name]:>14.8f}")
    print(f"\n{'derivative':<14}{'chain rule':<26}{'by hand':>12}{'by graph':>14}")
    for name, rule in RULES.items():
        print(f"dloss/d{name:<7}{rule:<26}{slopes[name]:>12.8f}{graph_slopes[name]:>14.8f}")
    return (
        {name: (value, float(graph_values[name])) for name, value in values.items()},
        {name: (value, float(graph_slopes[name])) for name, value in slopes.items()},
    )


if __name__ == "__main__":
    main()
