"""One neuron, read forward and drawn backward.

    z = w1 x1 + w2 x2 + b      a = sigmoid(z)      z' = w3 a      z'' = w4 a      C = (y' - t')^2/2 + (y'' - t'')^2/2

Forward pass: dz/dw1 = x1, dz/dw2 = x2, dz/db = 1. The derivative of z with respect to a weight is the input at it.

Backward pass: a feeds two neurons, so what C loses by a is the sum of what it loses by either:

    dC/da = w3 dC/dz' + w4 dC/dz''           dC/dz = sigmoid'(z) (w3 dC/dz' + w4 dC/dz'')

This is a neuron drawn backward: its inputs are dC/dz' and dC/dz'', its weights w3 and w4, and its gain sigmoid'(z) is
a constant, since z is known. Every derivative of a weight is the product of the two passes, dC/dw = dz/dw dC/dz.

Deeper networks ask the same question of the next layer until the output answers it, so one starts at the end.

    python examples/neuron.py [--save neuron.svg]
"""

import argparse

import numpy as np

import graphc as gx

X = (1.0, -1.0)
TARGETS = (1.0, 0.0)
WEIGHTS = {"w1": 1.0, "w2": -2.0, "b": 1.0, "w3": 0.5, "w4": -1.5}


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def by_hand(w1, w2, b, w3, w4):
    """Both passes with the letters above: values and derivatives of the cost."""
    (x1, x2), (t1, t2) = X, TARGETS
    z = w1 * x1 + w2 * x2 + b
    a = sigmoid(z)
    z1, z2 = w3 * a, w4 * a
    y1, y2 = sigmoid(z1), sigmoid(z2)
    values = {"z": z, "a": a, "z'": z1, "z''": z2, "C": (y1 - t1) ** 2 / 2 + (y2 - t2) ** 2 / 2}

    slopes = {"z'": (y1 - t1) * y1 * (1 - y1), "z''": (y2 - t2) * y2 * (1 - y2)}
    slopes["a"] = w3 * slopes["z'"] + w4 * slopes["z''"]
    slopes["z"] = a * (1 - a) * slopes["a"]
    slopes |= {"w1": x1 * slopes["z"], "w2": x2 * slopes["z"], "b": slopes["z"]}
    slopes |= {"w3": a * slopes["z'"], "w4": a * slopes["z''"]}
    return values, slopes


def graph():
    """The neuron and the two that it feeds; the graph and its cost."""
    g = gx.Graph("neuron", float_dtype="float64")
    x1, x2 = g.input("x1", dtype="float64"), g.input("x2", dtype="float64")
    w1, w2, b, w3, w4 = (g.parameter(name, value) for name, value in WEIGHTS.items())
    z = (w1 * x1 + w2 * x2 + b).named("z")
    a = gx.sigmoid(z).named("a")
    z1, z2 = (w3 * a).named("z'"), (w4 * a).named("z''")
    y1, y2 = gx.sigmoid(z1).named("y'"), gx.sigmoid(z2).named("y''")
    cost = ((y1 - TARGETS[0]) ** 2 / 2 + (y2 - TARGETS[1]) ** 2 / 2).named("C")
    return g, cost


def recursion(layers=4, width=3):
    """The same question at every layer: dC/dz of a layer is sigmoid'(z) (W' dC/dz of the next), from the output back.

    Returns for each layer dC/dz by this recursion and by the graph, the last layer first.
    """
    rng = np.random.default_rng(0)
    g = gx.Graph("deep", float_dtype="float64")
    x = a = g.input("x", shape=(width,), dtype="float64")
    weights, zs = [], []
    for k in range(layers):
        weights.append(g.parameter(f"W{k + 1}", rng.normal(size=(width, width))))
        zs.append((weights[-1] @ a).named(f"z{k + 1}"))
        a = gx.sigmoid(zs[-1])
    cost = gx.sum(a * a) / 2
    point = rng.normal(size=width)
    *values, out = gx.compile([x], [*zs, a])(point)
    found = gx.compile([x], gx.grad(cost, zs))(point)

    delta = sigmoid(values[-1]) * (1 - sigmoid(values[-1])) * out  # at the output the derivative is direct
    rows = [(f"z{layers}", delta, found[-1])]
    for k in range(layers - 2, -1, -1):  # else the next layer is asked
        s = sigmoid(values[k])
        delta = s * (1 - s) * (g.state[f"W{k + 2}"].T @ delta)
        rows.append((f"z{k + 1}", delta, found[k]))
    return rows


def main(argv=None):
    """Prints and draws both passes; returns values and derivatives by name, and the recursion, by hand and by graph."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--save", metavar="FILE", help="draw both passes as SVG")
    options = parser.parse_args(argv)

    values, slopes = by_hand(**WEIGHTS)
    g, cost = graph()
    seen = gx.inspect(cost, {"x1": X[0], "x2": X[1]}, wrt=list(g.parameters.values()), named=True)
    print(seen)

    z, rate = values["z"], slopes["z"]
    print(f"\nForward pass: z = {z:g}; dz/dw1 = x1 = {X[0]:g}, dz/dw2 = x2 = {X[1]:g}, dz/db = 1")
    print("Backward pass, a neuron drawn backward: its inputs are dC/dz' and dC/dz'', its gain is sigmoid'(z)")
    gain = values["a"] * (1 - values["a"])
    one, two = slopes["z'"], slopes["z''"]
    inner = f"{WEIGHTS['w3']:g} * {one:.4g} + {WEIGHTS['w4']:g} * {two:.4g}"
    print(f"    dC/da = w3 dC/dz' + w4 dC/dz'' = {inner} = {slopes['a']:.4g}")
    print(f"    dC/dz = sigmoid'(z) dC/da = {gain:.4g} * {slopes['a']:.4g} = {rate:.4g}")
    print(f"{'their product':<16}{'by hand':>14}{'by graph':>14}")
    for name, way in (
        ("w1", "x1 dC/dz"),
        ("w2", "x2 dC/dz"),
        ("b", "1 dC/dz"),
        ("w3", "a dC/dz'"),
        ("w4", "a dC/dz''"),
    ):
        print(f"dC/d{name:<2} = {way:<9}{slopes[name]:>14.8f}{seen[name].gradient:>14.8f}")

    rows = recursion()
    print("\nFour layers of three neurons, from the output back: dC/dz of a layer asks dC/dz of the next")
    for name, hand, found in rows:
        print(f"  dC/d{name} = {np.array2string(hand, precision=6)}   by graph {np.array2string(found, precision=6)}")
    if options.save:
        seen.to_svg(options.save)
        print(f"\nboth passes drawn in {options.save}")
    return {
        "values": {name: (value, float(seen[name].value)) for name, value in values.items()},
        "derivatives": {name: (value, float(seen[name].gradient)) for name, value in slopes.items()},
        "recursion": rows,
    }


if __name__ == "__main__":
    main()
