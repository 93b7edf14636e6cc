"""The 784-256-10 network on Fashion-MNIST.

ReLU, weights N(0, 0.01), batches of 256, SGD 0.1. Training loss and accuracy are those of the epoch's mini-batches;
beside them stand the article's, where it gives them (another seed and another order of the images). ``--save`` draws
six test images with their true and predicted names.

    python examples/fashion_mnist.py DIRECTORY [--epochs 10] [--small] [--save six.png]

DIRECTORY holds the four IDX files, plain or gzipped; the environment variable GRAPHC_FASHION_MNIST names it as well.
"""

import numpy as np
from images import add_files, arguments, draw, fit, read

import graphc as gx

ARTICLE = {1: (1.0378, 0.6438), 2: (0.6003, 0.7877), 48: (0.2389, 0.9144), 49: (0.2359, 0.9170), 50: (0.2356, 0.9151)}


def network(inputs, seed, hidden=256, classes=10, std=0.01):
    """The training step and the inference: a loss and whether the guess is right for each row, and the guess."""
    g = gx.Graph("classifier")
    x = g.input("x", shape=("batch", inputs))
    y = g.input("y", shape=("batch",), dtype="int64")
    w1 = g.parameter("W1", gx.init.normal((inputs, hidden), std=std, seed=2 * seed))
    b1 = g.parameter("b1", np.zeros(hidden, np.float32))
    w2 = g.parameter("W2", gx.init.normal((hidden, classes), std=std, seed=2 * seed + 1))
    b2 = g.parameter("b2", np.zeros(classes, np.float32))
    logits = gx.relu(x @ w1 + b1) @ w2 + b2
    losses = gx.cross_entropy(logits, y)
    label = gx.argmax(logits, axis=-1)

    # one kernel: forward, backward and update; the outputs are per row, so their means over an epoch weigh rows equally
    updates = gx.optim.SGD(lr=0.1).updates(gx.mean(losses))
    train = gx.compile([x, y], {"loss": losses, "right": gx.equal(label, y)}, updates=updates)
    return train, gx.compile([x], label)


def main(argv=None):
    """Trains and prints an epoch a line; returns the figures, None where there are no images."""
    parser = arguments(__doc__, epochs=10)
    add_files(parser)
    parser.add_argument("--save", metavar="FILE", help="draw six test images with true and predicted names")
    options = parser.parse_args(argv)
    data = read(options)
    if data is None:
        return None
    inputs = data.train_x.shape[1]
    print(f"{inputs}-256-10 network, ReLU, SGD 0.1")
    figures, _, infer = fit(lambda: network(inputs, options.seed), data, options, 256, ARTICLE)
    if options.save:
        draw(options.save, data, infer(data.test_x[:6]))
    return figures


if __name__ == "__main__":
    main()
