"""The demos by name: each takes the command's options, prints, and returns what ``--json`` writes."""

from __future__ import annotations

import platform
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import graphc as gx
from graphc.demo import houses, small
from graphc.demo.data import DataError, Images, digits, fashion_mnist
from graphc.demo.network import Epoch, as_json, classifier, fit
from graphc.demo.peers import need_torch, torch_epoch_seconds
from graphc.demo.progress import Progress

Run = Callable[[Any], dict[str, Any]]


def _images(options: Any, data: Images, hidden: int, epochs: int, batch: int, title: str) -> dict[str, Any]:
    """Trains the classifier and prints a row for each epoch."""
    if options.compare == "torch":
        need_torch()
    count = options.epochs or epochs
    inputs, classes = data.train_x.shape[1], int(data.train_y.max()) + 1
    print(f"{title}: {len(data.train_x):,} training and {len(data.test_x):,} test images of {inputs} pixels")
    model = classifier(inputs, hidden, classes, std=0.01 if inputs > 100 else 0.1, seed=options.seed)
    print(f"{inputs}-{hidden}-{classes} network, ReLU, SGD 0.1, batches of {batch}")
    print(f"value, gradients and update in one kernel, ready after {model.compile_seconds:.2f} s\n")
    print("epoch    train loss   train acc.   test acc.    seconds", flush=True)
    bar = Progress(count, "epoch")

    def row(k: int, e: Epoch) -> None:
        bar.step()
        if k < 10 or (k + 1) % 10 == 0 or k + 1 == count:
            bar.clear()
            figures = f"{e.train_loss:>14.4f}{e.train_accuracy:>13.4f}{e.test_accuracy:>12.4f}{e.seconds:>11.4f}"
            print(f"{k + 1:>5}{figures}", flush=True)

    history = fit(model, data, count, batch, options.seed, report=row)
    median = statistics.median(e.seconds for e in history)
    print(f"\nmedian epoch {median:.4f} s, {len(data.train_x) / median:,.0f} images a second")
    more: dict[str, Any] = {"demo": options.which, "seed": options.seed, "batch_size": batch, "median_seconds": median}
    more |= {"graphc": gx.__version__, "python": platform.python_version()}
    if options.compare == "torch":
        other = torch_epoch_seconds(data, hidden, batch)
        more["torch_seconds"] = other
        for threads, seconds in other.items():
            name = f"PyTorch, {threads} thread" + "s" * (threads != "1")
            print(f"{name:<20}{seconds:.4f} s an epoch, graphc / PyTorch = {median / seconds:.2f}")
    return as_json(model, history, **more)


def _digits(options: Any) -> dict[str, Any]:
    return _images(options, digits(), 32, 30, 32, "digits")


def _fashion(options: Any) -> dict[str, Any]:
    if options.data is None:
        raise DataError("fashion-mnist needs --data DIR, where its four IDX files are")
    return _images(options, fashion_mnist(Path(options.data)), 256, 10, 256, "Fashion-MNIST")


def _houses(options: Any) -> dict[str, Any]:
    if options.data is None:
        raise DataError("house-prices needs --data DIR, where AmesHousing.csv is")
    return houses.run(Path(options.data), epochs=options.epochs or houses.EPOCHS, seed=options.seed)


RUNS: dict[str, Run] = {
    "neuron": lambda options: small.neuron(),
    "xor": lambda options: small.xor(options.epochs or 2000, options.seed),
    "digits": _digits,
    "fashion-mnist": _fashion,
    "house-prices": _houses,
}
