"""Training against validation loss of a network too large for its data, with and without weight decay and dropout.

python examples/overfitting.py [--save overfitting.png]
"""

import argparse

import numpy as np

import graphc as gx


def data(rows, rng):
    """Noisy points of a smooth function of ten numbers, of which two matter."""
    x = rng.normal(size=(rows, 10)).astype(np.float32)
    y = np.sin(2 * x[:, 0]) + 0.5 * x[:, 1] + rng.normal(0, 0.3, rows)
    return x, y.astype(np.float32)


def curves(train, valid, decay, rate, epochs):
    """Losses on both sets after each epoch."""
    g = gx.Graph("overfitting")
    x, y = g.input("x", shape=("batch", 10)), g.input("y", shape=("batch",))
    w1 = g.parameter("W1", gx.init.he((10, 128), seed=0))
    b1 = g.parameter("b1", np.zeros(128, np.float32))
    w2 = g.parameter("W2", gx.init.he((128, 1), seed=1))
    b2 = g.parameter("b2", np.zeros(1, np.float32))
    h = gx.relu(x @ w1 + b1)
    if rate:
        h = gx.dropout(h, rate, key=g.random_key(seed=0))
    loss = gx.mean(gx.squared_error(gx.squeeze(h @ w2 + b2, 1), y))
    step = gx.compile([x, y], loss, updates=gx.optim.AdamW(lr=0.005, weight_decay=decay).updates(loss))
    measure = gx.compile([x, y], gx.inference(loss))
    out = []
    for epoch in range(epochs):
        step.run_batches(list(train), 32, shuffle=True, seed=epoch)
        out.append((float(measure(*train)), float(measure(*valid))))
    return np.array(out)


def main(argv=None):
    """Draws the four pairs of curves; returns the last losses by setting."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--save", default="overfitting.png", metavar="FILE")
    parser.add_argument("--epochs", type=int, default=150)
    options = parser.parse_args(argv)
    from plotting import figure

    rng = np.random.default_rng(0)
    train, valid = data(200, rng), data(2000, rng)
    settings = {"plain": (0, 0), "weight decay": (2.0, 0), "dropout": (0, 0.3), "both": (2.0, 0.3)}
    fig, axes = figure(1, 4, size=(14, 3.5))
    last = {}
    print(f"{'':<14}{'training':>10}{'validation':>12}")
    for axis, (name, (decay, rate)) in zip(axes, settings.items(), strict=True):
        loss = curves(train, valid, decay, rate, options.epochs)
        axis.plot(loss[:, 0], label="training")
        axis.plot(loss[:, 1], label="validation")
        axis.set(title=name, xlabel="epoch", ylim=(0, 1))
        last[name] = loss[-1].tolist()
        print(f"{name:<14}{loss[-1, 0]:>10.4f}{loss[-1, 1]:>12.4f}")
    axes[0].legend()
    fig.savefig(options.save, dpi=110)
    return last


if __name__ == "__main__":
    main()
