"""House prices in Ames (De Cock 2011): the table, features and folds, and ridge regression."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from graphc.demo.data import DataError
from graphc.ir.state import Array

FOLDS = 5
IDENTIFIERS = ("Order", "PID", "Id")
CODES = ("MS SubClass", "MSSubClass", "Mo Sold", "MoSold")  # numbers that name a kind
MISSING = ("", "NA")
PRICE = "SalePrice"
LEAST = 10 * FOLDS  # houses


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
    try:
        with file.open(newline="", encoding="utf-8-sig") as stream:
            rows = list(csv.reader(stream, strict=True))
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{file.name} is not a CSV table: {error}") from None
    head, body = (rows[0], rows[1:]) if rows else ([], [])
    if PRICE not in head:
        raise DataError(f"{file.name}: expected a column {PRICE}, found {', '.join(head)[:60] or 'none'}")
    if len(body) < LEAST:
        raise DataError(f"{file.name}: expected at least {LEAST} houses, found {len(body)}")
    for k, row in enumerate(body, 1):
        if len(row) != len(head):
            raise DataError(f"{file.name}, house {k}: expected {len(head)} fields, found {len(row)}")
    texts = {name: [v.strip() for v in column] for name, column in zip(head, zip(*body, strict=True), strict=True)}
    log_price = np.array([_log_price(file, k, v) for k, v in enumerate(texts.pop(PRICE), 1)])
    numbers: dict[str, Array] = {}
    for name in list(texts):
        if name in IDENTIFIERS:
            del texts[name]
        elif name not in CODES and (column := _numbers(texts[name])) is not None:
            numbers[name] = column
            del texts[name]
    return Houses(numbers, texts, log_price)


def _log_price(file: Path, house: int, text: str) -> float:
    try:
        price = float(text)
    except ValueError:
        price = np.nan
    if not 0 < price < np.inf:
        raise DataError(f"{file.name}, house {house}: expected a price above 0, found {text!r}")
    return float(np.log(price))


def _numbers(values: list[str]) -> Array | None:
    """A column as numbers with NaN where missing; None for a column of texts."""
    try:
        column = np.array([np.nan if v in MISSING else float(v) for v in values])
    except ValueError:
        return None
    column[np.isinf(column)] = np.nan
    return column


def features(houses: Houses, train: Array) -> Array:
    """A float32 matrix: what is fitted (medians, means, categories) comes from the rows ``train`` alone.

    Missing numbers become the median and a column that says so; skewed amounts are taken as log(1 + x); texts are
    one-hot, with rare and missing ones in columns of their own.
    """
    columns: list[Array] = []
    for column in houses.numbers.values():
        known = column[train][~np.isnan(column[train])]
        if not known.size:
            continue
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


def splits(houses: Houses, seed: int = 0) -> list[tuple[Array, Array, Array]]:
    """For each fold its features, the rows to train on and the rows to test on."""
    count = len(houses.log_price)
    out = []
    for fold in np.array_split(np.random.default_rng(seed).permutation(count), FOLDS):
        test = np.sort(fold)
        train = np.setdiff1d(np.arange(count), test)
        out.append((features(houses, train), train, test))
    return out
