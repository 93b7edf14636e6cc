"""The 784-256-10 ReLU network on Fashion-MNIST: weights N(0, 0.01), batches of 256, SGD 0.1.

Training loss and accuracy are those of the epoch's mini-batches; beside them stand the article's, where it gives them
(another seed and another order of the images). ``--save`` draws six test images with their true and predicted names.

    python examples/fashion_mnist.py DIRECTORY [--epochs 10] [--small] [--save six.png]

DIRECTORY holds the four IDX files, plain or gzipped; the environment variable GRAPHC_FASHION_MNIST names it as well.
"""

import argparse
import os
from pathlib import Path

import numpy as np

import graphc as gx
from graphc.demo.data import DataError, fashion_mnist

NAMES = ("t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot")
ARTICLE = {1: (1.0378, 0.6438), 2: (0.6003, 0.7877), 48: (0.2389, 0.9144), 49: (0.2359, 0.9170), 50: (0.2356, 0.9151)}


def network(inputs, seed):
    """The training step and the inference: a loss and whether the guess is right for each row, and the guess."""
    g = gx.Graph("fashion-mnist")
    x = g.input("x", shape=("batch", inputs))
    y = g.input("y", shape=("batch",), dtype="int64")
    w1 = g.parameter("W1", gx.init.normal((inputs, 256), std=0.01, seed=2 * seed))
    b1 = g.parameter("b1", np.zeros(256, np.float32))
    w2 = g.parameter("W2", gx.init.normal((256, 10), std=0.01, seed=2 * seed + 1))
    b2 = g.parameter("b2", np.zeros(10, np.float32))
    logits = gx.relu(x @ w1 + b1) @ w2 + b2
    losses = gx.cross_entropy(logits, y)
    label = gx.argmax(logits, axis=-1)

    # one kernel: forward, backward and update; the outputs are per row, so their means over an epoch weigh rows equally
    updates = gx.optim.SGD(lr=0.1).updates(gx.mean(losses))
    train = gx.compile([x, y], {"loss": losses, "right": gx.equal(label, y)}, updates=updates)
    return train, gx.compile([x], label)


def draw(file, data, guess):
    """Six test images with their true and predicted names."""
    from plotting import figure

    fig, axes = figure(1, 6, size=(11, 2.4))
    for axis, image, label, found in zip(axes, data.test_x, data.test_y, guess, strict=False):
        axis.imshow(image.reshape(int(image.size**0.5), -1), cmap="gray_r")
        axis.set_axis_off()
        axis.set_title(f"{NAMES[label]}\n{NAMES[found]}", color="k" if label == found else "C3")
    fig.suptitle("above: true, below: predicted", fontsize=9, y=0.02, va="bottom")
    fig.savefig(file, dpi=110)
    print(f"six test images drawn in {file}")


def main(argv=None):
    """Trains and prints an epoch a line; returns (loss, accuracy, test accuracy) of each epoch."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", nargs="?", type=Path, default=os.environ.get("GRAPHC_FASHION_MNIST"))
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--small", action="store_true", help="the first 2,000 images alone")
    parser.add_argument("--save", metavar="FILE", help="draw six test images with true and predicted names")
    options = parser.parse_args(argv)
    if options.directory is None:
        print("skipped: name the directory of the four IDX files, or set GRAPHC_FASHION_MNIST")
        return []
    try:
        data = fashion_mnist(Path(options.directory))
    except DataError as error:
        raise SystemExit(str(error)) from None
    if options.small:
        data = data.head(2000)

    train, infer = network(data.train_x.shape[1], options.seed)
    history = []
    print("epoch      loss  accuracy      test   the article's loss and accuracy")
    for epoch in range(options.epochs):
        seen = train.run_batches([data.train_x, data.train_y], 256, shuffle=True, seed=options.seed * 1000 + epoch)
        guess = infer.run_batches([data.test_x], 1000)
        history.append((float(seen["loss"].mean()), float(seen["right"].mean()), float((guess == data.test_y).mean())))
        theirs = "{:>10.4f}{:>10.4f}".format(*ARTICLE[epoch + 1]) if epoch + 1 in ARTICLE else ""
        print("{:>5}{:>10.4f}{:>10.4f}{:>10.4f}".format(epoch + 1, *history[-1]) + theirs, flush=True)
    if options.save:
        draw(options.save, data, infer(data.test_x[:6]))
    return history


if __name__ == "__main__":
    main()
