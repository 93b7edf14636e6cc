"""The 2-3-1 network on XOR: the first update, then learning.

    z = X W1 + b1        Z = f(z)        D0 = Z W2 + b2        loss = (D0 - y)^2 / 2

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
    """Graph, input and prediction of the 2-3-1 network; ``weights(shape)`` gives first values."""
    g = gx.Graph("xor", float_dtype="float64")
    x = g.input("x", shape=("batch", 2), dtype="float64")
    w1, b1 = g.parameter("W1", weights((2, 3))), g.parameter("b1", weights((3,)))
    w2, b2 = g.parameter("W2", weights((3, 1))), g.parameter("b2", weights((1,)))
    h = activation(x @ w1 + b1)
    return g, x, h @ w2 + b2


def with_loss(activation, weights):
    """The network with its target and the loss, summed over the batch."""
    g, x, prediction = network(lambda z: activation(z.named("z")).named("Z"), weights)
    y = g.input("y", shape=("batch", 1), dtype="float64")
    d = prediction.named("D0")
    return g, [x, y], d, (gx.sum(gx.squared_error(d, y)) / 2).named("loss")


def first_update():
    """The first step on (0, 0): activations, deltas, and every weight before, its gradient, and after.

    Returns activations of all four inputs, deltas, rows (weight, old, gradient, new) and the next prediction.
    """
    g, inputs, d, loss = with_loss(gx.identity, np.ones)
    predict = gx.compile(inputs[:1], d)
    activations = predict(X).ravel()
    deltas = gx.compile(inputs, gx.grad(loss, [d, g["Z"]]))(X[:1], Y[:1])
    names = list(g.parameters)
    slopes = gx.compile(inputs, gx.grad(loss, list(g.parameters.values())))(X[:1], Y[:1])
    old = {name: g.state[name] for name in names}
    gx.compile(inputs, None, updates=gx.optim.SGD(lr=RATE).updates(loss))(X[:1], Y[:1])
    heads = {
        "W1": ["X1 -> Z{}", "X2 -> Z{}"],
        "b1": ["1 -> Z{}"],
        "W2": ["Z1 -> D0", "Z2 -> D0", "Z3 -> D0"],
        "b2": ["1 -> D0"],
    }
    rows = []
    for name, slope in zip(names, slopes, strict=True):
        for k, (before, grad, after) in enumerate(
            zip(old[name].ravel(), slope.ravel(), g.state[name].ravel(), strict=True)
        ):
            tail = heads[name][k // 3 if name == "W1" else k if name == "W2" else 0]
            rows.append((tail.format(k % 3 + 1), float(before), float(grad), float(after)))
    return activations, deltas, rows, float(predict(X[:1])[0, 0])


def learn(steps):
    """The network with tanh and random weights: the last loss and the four predictions."""
    rng = np.random.default_rng(0)
    _, inputs, d, loss = with_loss(gx.tanh, lambda shape: rng.normal(size=shape))
    train = gx.compile(inputs, loss, updates=gx.optim.SGD(lr=RATE).updates(loss))
    for step in range(steps):
        value = train(X, Y)
        if step in (0, 10, 20, 50, 100, 200) or step == steps - 1:
            print(f"step {step:>5}  loss {value:.6f}")
    return float(value), gx.compile(inputs[:1], d)(X).ravel()


def main(argv=None):
    """Prints all; returns what `first_update` found, the last loss of learning and how many of four are right."""
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
        g, _, _, loss = with_loss(gx.identity, np.ones)
        seen = gx.inspect(loss, {"x": X[:1], "y": Y[:1]}, wrt=list(g.parameters.values()), named=True)
        seen.to_svg(options.save)
        print(f"the step drawn in {options.save}\n")

    value, found = learn(options.steps)
    right = int(((found > 0.5) == (Y.ravel() > 0.5)).sum())
    for point, p in zip(X.astype(int).tolist(), found, strict=True):
        print(f"  {point} -> {p:.4f}")
    print(f"{right} of 4 right")
    return {
        "activations": activations, "deltas": deltas, "weights": rows, "next_prediction": prediction,
        "loss": value, "right": right,
    }  # fmt: skip


if __name__ == "__main__":
    main()
