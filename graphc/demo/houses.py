"""House prices in Ames (De Cock 2011): a small network with weight decay and dropout, beside ridge regression."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import graphc as gx
from graphc.demo.data import DataError
from graphc.ir.state import Array

EPOCHS = 60
FOLDS = 5
IDENTIFIERS = ("Order", "PID", "Id")
CODES = ("MS SubClass", "MSSubClass", "Mo Sold", "MoSold")  # numbers that name a kind
MISSING = ("", "NA")


@dataclass(frozen=True)
class Houses:
    """Columns as read: numbers with NaN where missing, texts, and the logarithm of the price."""

    numbers: dict[str, Array]
    texts: dict[str, list[str]]
    log_price: Array


def read(path: Path) -> Houses:
    """The Ames table from its CSV file (or the directory that holds it). DataError where it is not that."""
    file = path / "AmesHousing.csv" if path.is_dir() else path
    if not file.is_file():
        raise DataError(f"there is no file {file.name} in {file.parent}")
    with file.open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    if not rows or "SalePrice" not in rows[0]:
        raise DataError(f"{file.name} has no column SalePrice")
    numbers: dict[str, Array] = {}
    texts: dict[str, list[str]] = {}
    for name in rows[0]:
        values = [(row[name] or "").strip() for row in rows]
        if name in IDENTIFIERS or name == "SalePrice":
            continue
        try:
            column = np.array([np.nan if v in MISSING else float(v) for v in values])
        except ValueError:
            texts[name] = values
            continue
        if name in CODES:
            texts[name] = values
        else:
            numbers[name] = column
    return Houses(numbers, texts, np.log(np.array([float(row["SalePrice"]) for row in rows])))


def features(houses: Houses, train: Array) -> Array:
    """A float32 matrix: what is fitted (medians, means, categories) comes from the rows ``train`` alone.

    Missing numbers become the median and a column that says so; skewed amounts are taken as log(1 + x); texts are
    one-hot, with rare and missing ones in columns of their own.
    """
    columns: list[Array] = []
    for column in houses.numbers.values():
        known = column[train][~np.isnan(column[train])]
        filled = np.where(np.isnan(column), np.median(known), column)
        if known.min() >= 0 and known.max() > 200 and known.min() < 1500:  # amounts and areas, not years
            filled = np.log1p(filled)
        columns.append(filled)
        if np.isnan(column[train]).any():
            columns.append(np.isnan(column).astype(float))
    for values in houses.texts.values():
        array = np.array(values)
        kinds, counts = np.unique(array[train], return_counts=True)
        columns += [(array == kind).astype(float) for kind, count in zip(kinds, counts, strict=True) if count >= 8]
    x = np.stack(columns, axis=1)
    mean, spread = x[train].mean(0), x[train].std(0)
    kept = spread > 1e-9
    scaled: Array = np.clip((x[:, kept] - mean[kept]) / spread[kept], -6, 6).astype(np.float32)
    return scaled


def ridge(x: Array, y: Array, train: Array, test: Array, penalty: float = 100.0) -> float:
    """Log-RMSE of ridge regression (Hoerl and Kennard 1970) on the rows ``test``."""
    a = x[train].astype(np.float64)
    target = y[train] - y[train].mean()
    weights = np.linalg.solve(a.T @ a + penalty * np.eye(a.shape[1]), a.T @ target)
    return float(np.sqrt(np.mean((x[test] @ weights + y[train].mean() - y[test]) ** 2)))


def network(x: Array, y: Array, train: Array, test: Array, decay: float, rate: float, epochs: int, seed: int) -> float:
    """Log-RMSE of a one-hidden-layer network on the rows ``test``, trained by AdamW on those of ``train``."""
    g = gx.Graph("houses")
    a = g.input("x", shape=("batch", x.shape[1]))
    t = g.input("y", shape=("batch",))
    hidden = 64
    w1 = g.parameter("W1", gx.init.he((x.shape[1], hidden), seed=seed) * np.float32(0.5))
    b1 = g.parameter("b1", np.zeros(hidden, np.float32))
    w2 = g.parameter("W2", gx.init.normal((hidden, 1), std=0.05, seed=seed + 1))
    b2 = g.parameter("b2", np.zeros(1, np.float32))
    h = gx.relu(a @ w1 + b1)
    if rate:
        h = gx.dropout(h, rate, key=g.random_key(seed))
    prediction = gx.squeeze(h @ w2 + b2, 1)
    loss = gx.mean(gx.squared_error(prediction, t))
    optimizer = gx.optim.AdamW(lr=0.003, weight_decay=decay)
    step = gx.compile([a, t], loss, updates=optimizer.updates(loss))
    infer = gx.compile([a], gx.inference(prediction))
    mean, spread = y[train].mean(), y[train].std()
    scaled = ((y - mean) / spread).astype(np.float32)
    for k in range(epochs):
        step.run_batches([x[train], scaled[train]], 64, shuffle=True, seed=1000 * seed + k)
    return float(np.sqrt(np.mean((infer(x[test]) * spread + mean - y[test]) ** 2)))


def run(path: Path, epochs: int = EPOCHS, seed: int = 0, decay: float = 1.0, rate: float = 0.2) -> dict[str, Any]:
    """Five-fold cross validation of the four networks and ridge regression; prints the table."""
    houses = read(path)
    y = houses.log_price
    folds = np.array_split(np.random.default_rng(seed).permutation(len(y)), FOLDS)
    print(
        f"{len(y):,} houses, {len(houses.numbers)} numeric and {len(houses.texts)} text columns, "
        f"{FOLDS} folds, {epochs} epochs\n"
    )
    print(f"{'model':<22}{'weight decay':>14}{'dropout':>10}{'log-RMSE':>12}{'+-':>9}")
    splits = []
    for k in range(FOLDS):
        train = np.sort(np.concatenate([f for j, f in enumerate(folds) if j != k]))
        splits.append((features(houses, train), train, np.sort(folds[k])))
    out: dict[str, Any] = {"demo": "house-prices", "rows": []}

    def show(model: str, wd: float, drop: float, scores: list[float]) -> None:
        mean, spread = float(np.mean(scores)), float(np.std(scores))
        print(f"{model:<22}{wd:>14g}{drop:>10g}{mean:>12.4f}{spread:>9.4f}", flush=True)
        out["rows"].append(
            {"model": model, "weight_decay": wd, "dropout": drop, "log_rmse": mean, "sd": spread, "folds": scores}
        )

    show("ridge regression", 0, 0, [ridge(x, y, train, test) for x, train, test in splits])
    for wd in (0.0, decay):
        for drop in (0.0, rate):
            show("network 64 ReLU", wd, drop, [network(x, y, tr, te, wd, drop, epochs, seed) for x, tr, te in splits])
    return out
