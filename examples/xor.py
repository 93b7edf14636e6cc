"""The 2-3-1 network on XOR: the first update of every weight, then learning.

    Z_j = X1 w_1j + X2 w_2j + b_j        D0 = Z1 v_1 + Z2 v_2 + Z3 v_3 + c        loss = (D0 - y)^2 / 2

All weights and biases are 1 and the activation is the identity, so each hidden unit is 1 + X1 + X2. Handed back is:

    delta at the output    D0 - y, since the activation's slope is 1
    delta of a hidden unit f'(z) times the weight to the next unit times that unit's delta; f' = 1
    gradient of a weight   Z at its tail times delta at its head; a bias has a tail of 1

A weight moves by -rate times its gradient. With delta = prediction - target = 4 for (0, 0), biases and the second layer
go from 1 to 0.6 and the weights of the zero inputs stay, and the next prediction is 1.68. (The article takes delta = -4
into w - rate Z delta: that would raise them to 1.4 and the prediction to 7.28. The logistic cost that it names has no
value at a prediction of 4, so the squared error stands here: its delta is D0 - y too.)

No single step trains anything; two thousand of them with tanh learn XOR to four of four.

    python examples/xor.py [--steps 2000] [--save xor.svg]
"""

import argparse

import numpy as np

import graphc as gx

X = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], np.float64)
Y = np.array([[0], [1], [1], [0]], np.float64)
RATE = 0.1


def network(activation, weights):
    """The graph of the 2-3-1 network, its hidden layer Z, prediction D0 and loss, summed over the batch."""
    g = gx.Graph("xor", float_dtype="float64")
    x = g.input("X", shape=("batch", 2), dtype="float64")
    y = g.input("y", shape=("batch", 1), dtype="float64")
    w, b = g.parameter("w", weights((2, 3))), g.parameter("b", weights((3,)))
    v, c = g.parameter("v", weights((3, 1))), g.parameter("c", weights((1,)))
    z = activation((x @ w + b).named("z")).named("Z")
    d = (z @ v + c).named("D0")
    loss = (gx.sum(gx.squared_error(d, y)) / 2).named("loss")
    return g, (x, y), z, d, loss


def first_update():
    """The first step on (0, 0): activations, deltas, and every weight before, its gradient, and after.

    Returns activations of all four inputs, deltas, rows (weight, old, gradient, new) and the next prediction.
    """
    g, (x, y), z, d, loss = network(gx.identity, np.ones)
    activations = gx.compile([x], d)(X).ravel()
    deltas = gx.compile([x, y], gx.grad(loss, [d, z]))(X[:1], Y[:1])
    names = list(g.parameters)
    slopes = gx.compile([x, y], gx.grad(loss, list(g.parameters.values())))(X[:1], Y[:1])
    old = {name: g.state[name] for name in names}
    gx.compile([x, y], None, updates=gx.optim.SGD(lr=RATE).updates(loss))(X[:1], Y[:1])
    heads = {
        "w": ["X1 -> Z{}", "X2 -> Z{}"],
        "b": ["1 -> Z{}"],
        "v": ["Z1 -> D0", "Z2 -> D0", "Z3 -> D0"],
        "c": ["1 -> D0"],
    }
    rows = []
    for name, slope in zip(names, slopes, strict=True):
        for k, (before, grad, after) in enumerate(
            zip(old[name].ravel(), slope.ravel(), g.state[name].ravel(), strict=True)
        ):
            tail = heads[name][k // 3 if name == "w" else k if name == "v" else 0]
            rows.append((tail.format(k % 3 + 1), float(before), float(grad), float(after)))
    return activations, deltas, rows, float(gx.compile([x], d)(X[:1])[0, 0])


def learn(steps):
    """The network with tanh and random weights: the last loss and the four predictions."""
    rng = np.random.default_rng(0)
    _, (x, y), _, d, loss = network(gx.tanh, lambda shape: rng.normal(size=shape))
    train = gx.compile([x, y], loss, updates=gx.optim.SGD(lr=RATE).updates(loss))
    for step in range(steps):
        value = train(X, Y)
        if step % max(steps // 5, 1) == 0:
            print(f"step {step:>5}  loss {value:.6f}")
    return float(value), gx.compile([x], d)(X).ravel()


def main(argv=None):
    """Returns what `first_update` found, the last loss of learning and how many of four are right."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--save", metavar="FILE", help="draw the first step as SVG")
    options = parser.parse_args(argv)

    activations, deltas, rows, prediction = first_update()
    print("identity activation, all weights 1")
    for point, found in zip(X.astype(int).tolist(), activations, strict=True):
        print(f"  {point}: hidden units {1 + sum(point)}, prediction {found:g}")
    print(f"\nthe step on [0, 0], target 0: delta of D0 is {deltas[0].item():g}, of Z1, Z2, Z3 {deltas[1].ravel()}")
    print(f"  {'weight':<12}{'old':>6}{'gradient':>10}{'new':>6}    gradient = Z at its tail times delta at its head")
    for name, before, slope, after in rows:
        print(f"  {name:<12}{before:>6.2f}{slope:>10.2f}{after:>6.2f}")
    print(f"the next prediction for [0, 0] is {prediction:g}\n")
    if options.save:
        _, _, _, _, loss = network(gx.identity, np.ones)
        gx.inspect(loss, {"X": X[:1], "y": Y[:1]}, named=True).to_svg(options.save)
        print(f"the step drawn in {options.save}\n")

    value, found = learn(options.steps)
    right = int(((found > 0.5) == (Y.ravel() > 0.5)).sum())
    for point, p in zip(X.astype(int).tolist(), found, strict=True):
        print(f"  {point} -> {p:.4f}")
    print(f"{right} of 4 right")
    return (activations, deltas, rows, prediction), value, right


if __name__ == "__main__":
    main()
