"""The classifier of the tutorials: one hidden ReLU layer, softmax cross entropy, plain SGD."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

import graphc as gx
from graphc.demo.data import Images


@dataclass(frozen=True)
class Epoch:
    """Running means over the epoch's mini-batches, accuracy on the test set after it, and the time of the pass."""

    train_loss: float
    train_accuracy: float
    test_accuracy: float
    seconds: float


@dataclass(frozen=True)
class Classifier:
    """The compiled training step and the inference of one network."""

    graph: gx.Graph
    train: gx.Executable
    infer: gx.Executable
    compile_seconds: float


def classifier(inputs: int, hidden: int, classes: int, lr: float = 0.1, std: float = 0.01, seed: int = 0) -> Classifier:
    """``relu(x W1 + b1) W2 + b2`` with weights N(0, std), trained by SGD on the mean cross entropy."""
    g = gx.Graph("classifier")
    x = g.input("x", shape=("batch", inputs))
    y = g.input("y", shape=("batch",), dtype="int64")
    w1 = g.parameter("W1", gx.init.normal((inputs, hidden), std=std, seed=2 * seed))
    b1 = g.parameter("b1", np.zeros(hidden, np.float32))
    w2 = g.parameter("W2", gx.init.normal((hidden, classes), std=std, seed=2 * seed + 1))
    b2 = g.parameter("b2", np.zeros(classes, np.float32))
    logits = gx.relu(x @ w1 + b1) @ w2 + b2
    losses = gx.cross_entropy(logits, y)
    label = gx.argmax(logits, axis=-1)
    loss = gx.mean(losses)
    started = time.perf_counter()
    train = gx.compile([x, y], {"loss": losses, "right": gx.equal(label, y)}, updates=gx.optim.SGD(lr=lr).updates(loss))
    infer = gx.compile([x], {"logits": logits, "label": label})
    train.run_batches([np.zeros((0, inputs), np.float32), np.zeros(0, np.int64)])  # compiles the loop over batches
    return Classifier(g, train, infer, time.perf_counter() - started)


def fit(
    model: Classifier,
    data: Images,
    epochs: int,
    batch_size: int = 256,
    seed: int = 0,
    report: Callable[[int, Epoch], Any] = lambda k, epoch: None,
) -> list[Epoch]:
    """Trains for some epochs, each in an order of its own."""
    out = []
    for k in range(epochs):
        started = time.perf_counter()
        pass_ = model.train.run_batches([data.train_x, data.train_y], batch_size, shuffle=True, seed=seed * 1000 + k)
        seconds = time.perf_counter() - started
        guess = model.infer.run_batches([data.test_x], 1000)["label"]
        epoch = Epoch(
            float(pass_["loss"].mean(dtype=np.float64)),
            float(pass_["right"].mean()),
            float((guess == data.test_y).mean()),
            seconds,
        )
        out.append(epoch)
        report(k, epoch)
    return out


def as_json(model: Classifier, epochs: list[Epoch], **more: Any) -> dict[str, Any]:
    """What ``--json`` writes."""
    return {"epochs": [asdict(e) for e in epochs], "compile_seconds": model.compile_seconds, **more}
