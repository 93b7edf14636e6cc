"""House prices: weight decay and dropout over paired folds.

What they do for a network that is too large for the table of Ames, beside ridge regression.

The score is the root mean squared error of the logarithm of the price, over five folds. Of each fold's training rows a
tenth is set aside as validation set: the network is trained on the others, and the epoch with the least error there is
the one whose error on the fold's test rows counts. All settings see the same folds, so they are compared fold by fold:
the last columns are the mean difference from the plain network and its standard error.

What is fitted (medians for missing values, one-hot columns, means and spreads) is fitted on the training rows of each
fold alone; reading the table and making features stand in ``graphc/demo/houses.py``.

    python examples/house_prices.py AmesHousing.csv [--epochs 40] [--save houses.png]

The environment variable GRAPHC_AMES names the file as well.
"""

import argparse
import os
from pathlib import Path

import numpy as np

import graphc as gx
from graphc.demo import houses
from graphc.demo.arguments import at_least
from graphc.demo.data import DataError
from graphc.run.progress import Line

SETTINGS = [(0, 0), (1.0, 0), (0, 0.3), (1.0, 0.3)]  # weight decay, dropout


def network(features, decay, rate, hidden=128, seed=0):
    """Training step and prediction of a network of two layers of ReLU units; ``rate`` is that of dropout."""
    g = gx.Graph("houses")
    x = g.input("x", shape=("batch", features))
    y = g.input("y", shape=("batch",))
    h, wide = x, features
    for k in range(2):
        w = g.parameter(f"W{k + 1}", gx.init.he((wide, hidden), seed=seed + k) * np.float32(0.5))
        h, wide = gx.relu(h @ w + g.parameter(f"b{k + 1}", np.zeros(hidden, np.float32))), hidden
        if rate:
            h = gx.dropout(h, rate, key=g.random_key(seed))
    w = g.parameter("W3", gx.init.normal((hidden, 1), std=0.05, seed=seed + 2))
    prediction = gx.squeeze(h @ w + g.parameter("b3", np.zeros(1, np.float32)), 1)
    loss = gx.mean(gx.squared_error(prediction, y))
    step = gx.compile([x, y], loss, updates=gx.optim.AdamW(lr=0.001, weight_decay=decay).updates(loss))
    return step, gx.compile([x], gx.inference(prediction))


def errors(x, y, train, test, decay, rate, epochs):
    """The errors after each epoch on training, validation and test rows."""
    step, predict = network(x.shape[1], decay, rate)
    shuffled = np.random.default_rng(0).permutation(train)
    held, used = shuffled[: len(train) // 10], shuffled[len(train) // 10 :]
    mean, spread = y[used].mean(), y[used].std()
    target = ((y[used] - mean) / spread).astype(np.float32)
    out = []
    for epoch in range(epochs):
        step.run_batches([x[used], target], 64, shuffle=True, seed=epoch)
        miss = predict(x) * spread + mean - y
        out.append([np.sqrt(np.mean(miss[rows] ** 2)) for rows in (used, held, test)])
    return np.array(out)


def main(argv=None):
    """Prints the table; returns errors and chosen epochs of the folds, each {(model, weight decay, dropout): of folds}.

    None where there is no table.
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", nargs="?", type=Path, help="AmesHousing.csv, or the folder that holds it")
    parser.add_argument("--data", type=Path, metavar="FILE", help="the same")
    parser.add_argument("--epochs", type=at_least(1), default=40, metavar="N", help="to choose from (40)")
    parser.add_argument("--save", metavar="FILE", help="draw the errors of the first fold by epoch")
    options = parser.parse_args(argv)
    place = options.data or options.file or os.environ.get("GRAPHC_AMES")
    if place is None:
        print("skipped: give --data FILE, the Ames table (De Cock 2011) as AmesHousing.csv, or set GRAPHC_AMES")
        return None
    try:
        table = houses.read(Path(place))
    except DataError as error:
        raise SystemExit(str(error)) from None

    y, folds = table.log_price, houses.splits(table)
    scores = {("ridge", 0, 0): np.array([houses.ridge(x, y, train, test) for x, train, test in folds])}
    curves, epochs = {}, {}
    bar = Line(len(SETTINGS) * len(folds), "fold")
    print(f"{len(y):,} houses, {folds[0][0].shape[1]} features, {len(folds)} folds\n")
    print(f"{'':<8}{'weight decay':>14}{'dropout':>9}{'log-RMSE':>10}{'- plain':>10}{'+-':>8}   epochs chosen")

    def show(key):
        apart = scores[key] - scores.get(("network", 0, 0), np.nan)
        error = apart.std(ddof=1) / np.sqrt(len(apart))
        model, decay, rate = key
        beside = f"{apart.mean():>10.4f}{error:>8.4f}" if np.isfinite(error) and apart.any() else " " * 18
        bar.close()
        print(
            f"{model:<8}{decay or 'off':>14}{rate or 'off':>9}{scores[key].mean():>10.4f}{beside}"
            f"   {' '.join(map(str, epochs.get(key, [])))}".rstrip(),
            flush=True,
        )

    for decay, rate in SETTINGS:
        runs = []
        for x, *rows in folds:
            runs.append(errors(x, y, *rows, decay, rate, options.epochs))
            bar.step()
        chosen = [int(run[:, 1].argmin()) for run in runs]
        key = "network", decay, rate
        scores[key] = np.array([run[k, 2] for run, k in zip(runs, chosen, strict=True)])
        curves[decay, rate], epochs[key] = runs[0], [k + 1 for k in chosen]
        show(key)
    show(("ridge", 0, 0))
    if options.save:
        draw(options.save, curves)
    return {"scores": scores, "epochs": epochs}


def draw(file, curves):
    """The errors of the first fold after each epoch."""
    from plotting import figure

    fig, axes = figure(1, len(curves), size=(13, 3.4))
    for axis, ((decay, rate), run) in zip(axes, curves.items(), strict=True):
        for column, label in enumerate(("training", "validation", "test")):
            axis.plot(run[:, column], label=label)
        axis.axvline(run[:, 1].argmin(), color="0.7", lw=0.8)
        axis.set(title=f"decay {decay or 'off'}, dropout {rate or 'off'}", xlabel="epoch", ylim=(0, 0.3))
    axes[0].set_ylabel("log-RMSE")
    axes[0].legend()
    fig.savefig(file, dpi=110)
    print(f"errors of the first fold drawn in {file}")


if __name__ == "__main__":
    main()
