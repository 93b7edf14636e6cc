"""Training against validation loss, with L2 and dropout.

A network of 128 ReLU units and 1,537 numbers learns 200 noisy points by heart: its training loss falls, the validation
loss turns. With J = L + lambda/2 (||W1||^2 + ||W2||^2) the weights stay small; with dropout units cannot rely on one
another; with more points there is less to learn by heart. Losses below are L, without the penalty and without dropout.

    python examples/overfitting.py [--save overfitting.png]
"""

import argparse

import numpy as np

import graphc as gx

FEW, MANY = 200, 2000
SETTINGS = {  # rows, lambda, dropout
    "plain": (FEW, 0, 0),
    "L2": (FEW, 0.02, 0),
    "dropout": (FEW, 0, 0.3),
    "more points": (MANY, 0, 0),
}


def data(rows, rng):
    """Noisy points of a smooth function of ten numbers, of which two matter."""
    x = rng.normal(size=(rows, 10)).astype(np.float32)
    y = np.sin(2 * x[:, 0]) + 0.5 * x[:, 1] + rng.normal(0, 0.3, rows)
    return x, y.astype(np.float32)


def curves(train, valid, penalty, rate, epochs):
    """Losses on both sets after each epoch, and the size of the weights, ||W1||^2 + ||W2||^2, at the end."""
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
    size = gx.sum(w1 * w1) + gx.sum(w2 * w2)
    cost = loss + penalty / 2 * size if penalty else loss
    step = gx.compile([x, y], None, updates=gx.optim.Momentum(lr=0.02).updates(cost))
    measure = gx.compile([x, y], gx.inference(loss))
    out = []
    for epoch in range(epochs):
        step.run_batches(list(train), 32, shuffle=True, seed=epoch)
        out.append((float(measure(*train)), float(measure(*valid))))
    return np.array(out), float(gx.compile([], size)())


def main(argv=None):
    """Prints and draws the pairs of curves; returns (training loss, validation loss, size of weights) by setting."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--save", metavar="FILE")
    parser.add_argument("--epochs", type=int, default=150)
    options = parser.parse_args(argv)

    rng = np.random.default_rng(0)
    many, valid = data(MANY, rng), data(2000, rng)
    found, last = {}, {}
    print(f"{'':<13}{'points':>7}{'lambda':>8}{'dropout':>9}", end="")
    print(f"{'training':>10}{'validation':>12}{'its least':>11}{'||W||^2':>10}")
    for name, (rows, penalty, rate) in SETTINGS.items():
        found[name], size = curves([a[:rows] for a in many], valid, penalty, rate, options.epochs)
        last[name] = *found[name][-1].tolist(), size
        least = found[name][:, 1].min()
        print(
            f"{name:<13}{rows:>7}{penalty or 'off':>8}{rate or 'off':>9}"
            f"{last[name][0]:>10.4f}{last[name][1]:>12.4f}{least:>11.4f}{size:>10.1f}"
        )
    if options.save:
        draw(options.save, found)
    return last


def draw(file, found):
    """The pairs of curves side by side."""
    from plotting import figure

    fig, axes = figure(1, len(found), size=(14, 3.5))
    for axis, (name, loss) in zip(axes, found.items(), strict=True):
        axis.plot(loss[:, 0], label="training")
        axis.plot(loss[:, 1], label="validation")
        axis.set(title=name, xlabel="epoch", ylim=(0, 0.9))
    axes[0].set_ylabel("loss")
    axes[0].legend()
    fig.savefig(file, dpi=110)
    print(f"drawn in {file}")


if __name__ == "__main__":
    main()
