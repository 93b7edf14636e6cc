"""The 2-3-1 network on XOR.

With identity activation and all weights 1 the first prediction for (0, 0) is 4: each of three hidden units gives its
bias 1, the output adds them and its own bias. With tanh it learns XOR to four of four.

    python examples/xor.py
"""

import argparse

import numpy as np

import graphc as gx

X = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], np.float64)
Y = np.array([[0], [1], [1], [0]], np.float64)


def network(activation, weights):
    """Graph, input and prediction of the 2-3-1 network; ``weights(shape)`` gives first values."""
    g = gx.Graph("xor", float_dtype="float64")
    x = g.input("x", shape=("batch", 2), dtype="float64")
    w1, b1 = g.parameter("W1", weights((2, 3))), g.parameter("b1", weights((3,)))
    w2, b2 = g.parameter("W2", weights((3, 1))), g.parameter("b2", weights((1,)))
    h = activation(x @ w1 + b1)
    return g, x, h @ w2 + b2


def main(argv=None):
    """Returns the first prediction of the linear network, the last loss and the predictions."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=2000)
    options = parser.parse_args(argv)

    _, x, linear = network(lambda z: z, np.ones)
    first = gx.compile([x], linear)(X)[0, 0]
    print(f"identity activation, all weights 1: prediction for (0, 0) is {first:g}")

    rng = np.random.default_rng(0)
    g, x, prediction = network(gx.tanh, lambda shape: rng.normal(size=shape))
    y = g.input("y", shape=("batch", 1), dtype="float64")
    loss = gx.mean(gx.squared_error(prediction, y))
    train = gx.compile([x, y], loss, updates=gx.optim.SGD(lr=0.1).updates(loss))
    predict = gx.compile([x], prediction)
    for step in range(options.steps):
        value = train(X, Y)
        if step % (options.steps // 5) == 0:
            print(f"step {step:>5}  loss {value:.6f}")
    found = predict(X).ravel()
    right = int(((found > 0.5) == (Y.ravel() > 0.5)).sum())
    for row, p in zip(X.astype(int).tolist(), found, strict=True):
        print(f"  {row} -> {p:.4f}")
    print(f"{right} of 4 right")
    return first, float(value), right


if __name__ == "__main__":
    main()
