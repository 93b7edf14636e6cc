"""LeNet on Fashion-MNIST: convolution and pooling.

ReLU and max pooling, weights as He et al. (2015) draw them, batches of 64, SGD 0.1. `--save` draws six test images.

    python examples/lenet.py DIRECTORY [--epochs 15] [--small] [--save six.png]

DIRECTORY holds the four IDX files, plain or gzipped; the environment variable GRAPHC_FASHION_MNIST names it as well.
"""

import numpy as np
from images import add_files, arguments, draw, fit, read

import graphc as gx

FILTERS = {"C1": (6, 1, 5, 5), "C2": (16, 6, 5, 5)}  # out, in, height, width
LAYERS = {"W3": (400, 120), "W4": (120, 84), "W5": (84, 10)}


def network(seed):
    """The training step and the inference: a loss and whether the guess is right for each row, and the guess."""
    g = gx.Graph("lenet")
    x, y = g.input("x", shape=("batch", 784)), g.input("y", shape=("batch",), dtype="int64")
    w, rng = {}, np.random.default_rng(seed)
    for name, shape in {**FILTERS, **LAYERS}.items():
        inputs = np.prod(shape[1:]) if name in FILTERS else shape[0]
        w[name] = g.parameter(name, (rng.normal(size=shape) * np.sqrt(2 / inputs)).astype(np.float32))
        w["b" + name[1]] = g.parameter("b" + name[1], np.zeros(shape[0] if name in FILTERS else shape[1], np.float32))

    h = x.reshape(("batch", 1, 28, 28))
    h = gx.max_pool2d(gx.relu(gx.conv2d(h, w["C1"], w["b1"], padding=2)), 2)
    h = gx.max_pool2d(gx.relu(gx.conv2d(h, w["C2"], w["b2"])), 2).reshape(("batch", 400))
    h = gx.relu(h @ w["W3"] + w["b3"])
    h = gx.relu(h @ w["W4"] + w["b4"])
    logits = h @ w["W5"] + w["b5"]

    losses, label = gx.cross_entropy(logits, y), gx.argmax(logits, axis=-1)
    updates = gx.optim.SGD(lr=0.1).updates(gx.mean(losses))
    train = gx.compile([x, y], {"loss": losses, "right": gx.equal(label, y)}, updates=updates)
    return train, gx.compile([x], label)


def peer(torch, inputs, classes):
    """The same network in PyTorch."""
    n = torch.nn
    first = [n.Conv2d(1, 6, 5, padding=2), n.ReLU(), n.MaxPool2d(2), n.Conv2d(6, 16, 5), n.ReLU(), n.MaxPool2d(2)]
    last = [n.Flatten(), n.Linear(400, 120), n.ReLU(), n.Linear(120, 84), n.ReLU(), n.Linear(84, classes)]
    return n.Sequential(n.Unflatten(1, (1, 28, 28)), *first, *last)


def main(argv=None):
    """Trains and prints an epoch a line; returns the figures, None where there are no images."""
    parser = arguments(__doc__, epochs=15)
    add_files(parser)
    parser.add_argument("--save", metavar="FILE", help="draw six test images with true and predicted names")
    options = parser.parse_args(argv)
    data = read(options)
    if data is None:
        return None
    print("LeNet: convolutions of 6 and 16 filters 5x5, layers of 120, 84 and 10, ReLU, SGD 0.1")
    figures, _, infer = fit(lambda: network(options.seed), data, options, 64, peer=peer)
    if options.save:
        draw(options.save, data, infer(data.test_x[:6]))
    return figures


if __name__ == "__main__":
    main()
