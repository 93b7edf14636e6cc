"""What the programs that train on images share: their arguments, the images, and a table with a line an epoch."""

import argparse
import os
import platform
import statistics
import time
from pathlib import Path

import numpy as np

import graphc as gx
from graphc.demo.arguments import at_least
from graphc.demo.data import DataError, fashion_mnist
from graphc.demo.peers import dense, need_torch, torch_epoch_seconds
from graphc.run.progress import Line

NAMES = ("t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot")


def arguments(doc, epochs):
    """A parser with what all of them take."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=at_least(1), default=epochs, metavar="N", help=f"over the data ({epochs})")
    parser.add_argument("--seed", type=at_least(0), default=0, metavar="N", help="of weights and order (0)")
    parser.add_argument("--compare", choices=["torch"], help="time PyTorch too, from the extra bench")
    return parser


def add_files(parser):
    """Arguments that say where Fashion-MNIST is."""
    parser.add_argument("directory", nargs="?", type=Path, help="the four IDX files, plain or gzipped")
    parser.add_argument("--data", type=Path, metavar="DIR", help="the same")
    parser.add_argument("--small", action="store_true", help="the first 2,000 images alone")


def read(options):
    """Fashion-MNIST, from where the arguments or the environment say; None, and a line, where neither does."""
    place = options.data or options.directory or os.environ.get("GRAPHC_FASHION_MNIST")
    if place is None:
        print(
            "skipped: give --data DIR, the folder of Fashion-MNIST's four IDX files, or set GRAPHC_FASHION_MNIST\n"
            "(the files are at https://github.com/zalandoresearch/fashion-mnist)"
        )
        return None
    try:
        data = fashion_mnist(Path(place))
    except DataError as error:
        raise SystemExit(str(error)) from None
    return data.head(2000) if options.small else data


def epoch(train, infer, data, batch, seed):
    """One pass in an order of its own; the running means over its mini-batches, then the accuracy on the test set."""
    started = time.perf_counter()
    seen = train.run_batches([data.train_x, data.train_y], batch, shuffle=True, seed=seed)
    seconds = time.perf_counter() - started
    guess = infer.run_batches([data.test_x], 1000)
    return {
        "train_loss": float(seen["loss"].mean(dtype=np.float64)),
        "train_accuracy": float(seen["right"].mean()),
        "test_accuracy": float((guess == data.test_y).mean()),
        "seconds": seconds,
    }


def fit(build, data, options, batch, article=None, peer=None):
    """Trains for ``options.epochs`` and prints a line an epoch; returns figures by name, the step and what guesses.

    ``build()`` compiles the training step, with a "loss" and whether the guess is "right" for each row, and the guess.
    ``article`` has (loss, accuracy) of some epochs, to stand beside; ``peer(torch, inputs, classes)`` makes the same
    network in PyTorch, by default one hidden layer.
    """
    article = article or {}
    if options.compare:
        try:
            need_torch()
        except DataError as error:
            raise SystemExit(str(error)) from None
    rows, pixels = data.train_x.shape
    print(f"{rows:,} training and {len(data.test_x):,} test images of {pixels} pixels, batches of {batch}")
    started = time.perf_counter()
    train, infer = build()
    train.run_batches([data.train_x[:0], data.train_y[:0]])  # compiles the loop over batches
    compiled = time.perf_counter() - started
    print(f"value, gradients and update in one kernel, ready after {compiled:.2f} s\n")
    print("epoch    train loss   train acc.   test acc.    seconds" + "   the article's" * bool(article), flush=True)
    epochs, bar = [], Line(options.epochs, "epoch")
    for k in range(1, options.epochs + 1):
        epochs.append(epoch(train, infer, data, batch, options.seed * 1000 + k - 1))
        bar.step()
        if k <= 10 or k % 10 == 0 or k == options.epochs or k in article:
            bar.close()
            theirs = "{:>9.4f}{:>8.4f}".format(*article[k]) if k in article else ""
            loss, right, test, seconds = epochs[-1].values()
            print(f"{k:>5}{loss:>14.4f}{right:>13.4f}{test:>12.4f}{seconds:>11.4f}{theirs}", flush=True)
    median = statistics.median(e["seconds"] for e in epochs)
    print(f"\nmedian epoch {median:.4f} s, {rows / median:,.0f} images a second")
    figures = {"epochs": epochs, "compile_seconds": compiled, "median_seconds": median}
    figures |= {
        "seed": options.seed,
        "batch_size": batch,
        "graphc": gx.__version__,
        "python": platform.python_version(),
    }
    if options.compare:
        figures["torch_seconds"] = torch_epoch_seconds(data, peer or dense(len(train.graph.state["b1"])), batch)
        for threads, seconds in figures["torch_seconds"].items():
            name = f"PyTorch, {threads} thread" + "s" * (threads != "1")
            print(f"{name:<20}{seconds:.4f} s an epoch, graphc / PyTorch = {median / seconds:.2f}")
    return figures, train, infer


def draw(file, data, guess):
    """The first six test images with their true and predicted names."""
    from plotting import figure

    fig, axes = figure(1, 6, size=(11, 2.4))
    for axis, image, label, found in zip(axes, data.test_x, data.test_y, guess, strict=False):
        axis.imshow(image.reshape(int(image.size**0.5), -1), cmap="gray_r")
        axis.set_axis_off()
        axis.set_title(f"{NAMES[label]}\n{NAMES[found]}", color="k" if label == found else "C3")
    fig.suptitle("above: true, below: predicted", fontsize=9, y=0.02, va="bottom")
    fig.savefig(file, dpi=110)
    print(f"six test images drawn in {file}")
