"""The same network as a plain PyTorch loop, for a time beside graphc's."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from graphc.demo.data import DataError, Images


def need_torch() -> Any:
    """The module torch; DataError where it is missing."""
    try:
        import torch
    except ImportError:
        raise DataError('--compare torch needs PyTorch: pip install "graphc[bench]"') from None
    return torch


def dense(hidden: int) -> Callable[[Any, int, int], Any]:
    """What makes a network with one hidden layer."""

    def make(torch: Any, inputs: int, classes: int) -> Any:
        n = torch.nn
        return n.Sequential(n.Linear(inputs, hidden), n.ReLU(), n.Linear(hidden, classes))

    return make


def torch_epoch_seconds(
    data: Images, make: Callable[[Any, int, int], Any], batch: int, repeats: int = 5
) -> dict[str, float]:
    """Median seconds of an epoch on one thread and on two: shuffle, forward, backward, SGD 0.1, loss, accuracy.

    ``make(torch, inputs, classes)`` gives the network.
    """
    torch = need_torch()
    classes = int(data.train_y.max()) + 1
    x, y = torch.from_numpy(data.train_x.copy()), torch.from_numpy(data.train_y.copy())
    out = {}
    for threads in (1, 2):
        torch.set_num_threads(threads)
        model = make(torch, x.shape[1], classes)
        step = torch.optim.SGD(model.parameters(), lr=0.1)
        times = []
        for _ in range(repeats):
            started = time.perf_counter()
            order = torch.randperm(len(x))
            total, right = 0.0, 0
            for low in range(0, len(x), batch):
                rows = order[low : low + batch]
                logits = model(x[rows])
                loss = torch.nn.functional.cross_entropy(logits, y[rows])
                step.zero_grad()
                loss.backward()
                step.step()
                total += loss.item() * len(rows)
                right += int((logits.argmax(1) == y[rows]).sum().item())
            times.append(time.perf_counter() - started)
        out[str(threads)] = sorted(times)[len(times) // 2]
    return out
