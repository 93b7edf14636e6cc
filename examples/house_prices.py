"""House prices in Ames: a small network with weight decay and dropout on and off, beside ridge regression.

The score is the root mean squared error of the logarithm of the price, over five folds. What is fitted (medians for
missing values, one-hot columns, means and spreads) is fitted on the training rows of each fold alone; reading the
table and making features stand in ``graphc/demo/houses.py``.

    python examples/house_prices.py AmesHousing.csv [--epochs 60]

The environment variable GRAPHC_AMES names the file as well.
"""

import argparse
import os
from pathlib import Path

import numpy as np

import graphc as gx
from graphc.demo import houses
from graphc.demo.data import DataError


def network(features, decay, rate, seed=0):
    """Training step and prediction of a network of 64 ReLU units; ``rate`` is that of dropout."""
    g = gx.Graph("houses")
    x = g.input("x", shape=("batch", features))
    y = g.input("y", shape=("batch",))
    w1 = g.parameter("W1", gx.init.he((features, 64), seed=seed) * np.float32(0.5))
    b1 = g.parameter("b1", np.zeros(64, np.float32))
    w2 = g.parameter("W2", gx.init.normal((64, 1), std=0.05, seed=seed + 1))
    b2 = g.parameter("b2", np.zeros(1, np.float32))
    h = gx.relu(x @ w1 + b1)
    if rate:
        h = gx.dropout(h, rate, key=g.random_key(seed))
    prediction = gx.squeeze(h @ w2 + b2, 1)
    loss = gx.mean(gx.squared_error(prediction, y))
    step = gx.compile([x, y], loss, updates=gx.optim.AdamW(lr=0.003, weight_decay=decay).updates(loss))
    return step, gx.compile([x], gx.inference(prediction))


def log_rmse(x, y, train, test, decay, rate, epochs):
    """Trains on the rows ``train`` of the standardised log prices; the error on the rows ``test``."""
    step, predict = network(x.shape[1], decay, rate)
    mean, spread = y[train].mean(), y[train].std()
    target = ((y[train] - mean) / spread).astype(np.float32)
    for epoch in range(epochs):
        step.run_batches([x[train], target], 64, shuffle=True, seed=epoch)
    return np.sqrt(np.mean((predict(x[test]) * spread + mean - y[test]) ** 2))


def main(argv=None):
    """Prints the table; returns {(model, weight decay, dropout): mean log-RMSE}."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", nargs="?", type=Path, default=os.environ.get("GRAPHC_AMES"))
    parser.add_argument("--epochs", type=int, default=60)
    options = parser.parse_args(argv)
    if options.file is None:
        print("skipped: name AmesHousing.csv, or set GRAPHC_AMES")
        return {}
    try:
        table = houses.read(Path(options.file))
    except DataError as error:
        raise SystemExit(str(error)) from None

    y, folds = table.log_price, houses.splits(table)
    scores = {("ridge", 0, 0): [houses.ridge(x, y, train, test) for x, train, test in folds]}
    for decay in (0, 1.0):
        for rate in (0, 0.2):
            scores["network", decay, rate] = [log_rmse(x, y, *rows, decay, rate, options.epochs) for x, *rows in folds]

    print(f"{'model':<10}{'weight decay':>14}{'dropout':>10}{'log-RMSE':>12}{'+-':>9}")
    for (model, decay, rate), found in scores.items():
        print(f"{model:<10}{decay or 'off':>14}{rate or 'off':>10}{np.mean(found):>12.4f}{np.std(found):>9.4f}")
    return {key: float(np.mean(found)) for key, found in scores.items()}


if __name__ == "__main__":
    main()
