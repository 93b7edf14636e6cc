"""Residual blocks and batch normalisation on Fashion-MNIST.

A way around each pair of convolutions (He et al. 2016), SGD with Nesterov's momentum;
what classifies has the statistics that training left.

    python examples/resnet.py DIRECTORY [--epochs 5] [--small]

DIRECTORY holds the four IDX files, plain or gzipped; the environment variable GRAPHC_FASHION_MNIST names it as well.
"""

from images import add_files, arguments, fit, read

import graphc as gx


def block(g, h, channels, name, stride=1):
    """Two convolutions 3 x 3; around them the input as it is, or seen by a convolution where its shape changes."""
    with g.scope(name):
        around = h if stride == 1 else gx.nn.conv(g, h, channels, 1, stride=stride, bias=False, name="around")
        for k, step in enumerate((stride, 1)):
            h = gx.nn.conv(g, h, channels, 3, stride=step, padding=1, bias=False, name=f"conv{k}")
            h = gx.nn.batch_norm(g, h, name=f"norm{k}")
            h = gx.relu(h) if k == 0 else gx.relu(h + around)
        return h


def network(seed):
    """The training step and the inference: a loss and whether the guess is right for each row, and the guess."""
    g = gx.Graph("resnet")
    x, y = g.input("x", shape=("batch", 784)), g.input("y", shape=("batch",), dtype="int64")
    h = gx.nn.conv(g, x.reshape(("batch", 1, 28, 28)), 8, 3, stride=2, padding=1, name="first", seed=seed)
    h = block(g, gx.relu(h), 8, "same")
    h = block(g, h, 16, "half", stride=2)
    logits = gx.nn.linear(g, gx.mean(h, (2, 3)), 10, name="classes", seed=seed)
    losses, label = gx.cross_entropy(logits, y), gx.argmax(logits, axis=-1)
    updates = gx.optim.NAG(lr=0.05, weight_decay=1e-4).updates(gx.mean(losses))
    train = gx.compile([x, y], {"loss": losses, "right": gx.equal(label, y)}, updates=updates)
    return train, gx.compile([x], gx.inference(label))


def main(argv=None):
    """Trains and prints an epoch a line; returns the figures, None where there are no images."""
    parser = arguments(__doc__, epochs=5)
    add_files(parser)
    options = parser.parse_args(argv)
    data = read(options)
    if data is None:
        return None
    print("ResNet: two residual blocks of 8 and 16 channels, batch normalisation, Nesterov's momentum 0.05")
    return fit(lambda: network(options.seed), data, options, 64)[0]


if __name__ == "__main__":
    main()
