"""How long compiling takes, against the number of operations: cold and from disk, in fresh processes.

    python -m graphc.bench.compiling unlike 40

builds a training step of 40 layers, compiles it and makes the first call; a line of JSON says how long that took from
the import of graphc on.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from graphc.demo.data import DataError

LAYERS = {"equal": (0, 1, 3, 10, 30, 100), "unlike": (0, 1, 4, 12, 40, 120, 360)}  # some 10 to 10,000 operations
FITTED = 100  # operations from which on the slope is fitted


@dataclass(frozen=True)
class Point:
    """One graph: its operations, forward, backward and update, and seconds of each round."""

    kind: str
    layers: int
    operations: int
    cold: list[float]
    warm: list[float]


def step(kind: str, layers: int) -> tuple[Any, Any]:
    """A training step of ``layers`` layers as an executable, and its input."""
    import graphc as gx

    rng = np.random.default_rng(0)
    g = gx.Graph("layers")
    x = h = g.input("x", ("batch", 24))
    size = 24

    def weight(*shape: int) -> Any:
        return g.parameter(f"w{len(g.parameters)}", (rng.normal(size=shape) * 0.1).astype(np.float32))

    functions = (gx.tanh, gx.sigmoid, gx.exp, gx.softplus, lambda t: t * t, gx.relu)
    for k in range(layers):
        if kind == "equal":  # a block of a network, some hundred operations with its gradients
            z = gx.layer_norm(h, weight(24), weight(24))
            z = gx.tanh(z @ weight(24, 48) + weight(48))
            h = h + gx.sigmoid(z @ weight(48, 24) + weight(24)) * gx.softplus(z @ weight(48, 24))
        else:  # no two of a width and of functions
            before, size = size, int(rng.integers(17, 60))
            z = h @ weight(before, size) + weight(size)
            h = functions[k % 6](z * 0.1) + functions[k * 5 % 6](z)
    loss = gx.mean((h - weight(size)) ** 2)
    exe = gx.compile([x], loss, updates=gx.optim.SGD(lr=0.1).updates(loss))
    return exe, np.zeros((32, 24), np.float32)


def operations(exe: Any) -> int:
    """Nodes that compute something: forward, backward and updates, before any rewriting."""
    return sum(node.op.kind.value != "leaf" for node in exe.program.source.nodes)


def graphs(most: int | None = None) -> list[tuple[str, int]]:
    """What is measured: a kind, and how many layers, at most ``most``."""
    return [(kind, n) for kind, sizes in LAYERS.items() for n in sizes if most is None or n <= most]


def measure(kind: str, layers: int, rounds: int, advance: Callable[[], None]) -> Point:
    """Compiles a graph in fresh processes; in each round first with an empty cache, then with what that left."""
    cold, warm, count = list[float](), list[float](), 0
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as cache:
            for times in (cold, warm):
                found = _fresh(kind, layers, cache)
                times.append(found["seconds"])
                count = found["operations"]
                advance()
    return Point(kind, layers, count, cold, warm)


def _fresh(kind: str, layers: int, cache: str) -> dict[str, Any]:
    """What a process of its own measures; DataError where it fails."""
    command = [sys.executable, "-m", "graphc.bench.compiling", kind, str(layers)]
    environment = {**os.environ, "GRAPHC_CACHE_DIR": cache}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["it ended without a word"])[-1]
        raise DataError(f"compile time of {layers} {kind} layers: {last}")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def slope(points: Sequence[Point]) -> float | None:
    """Of cold time against operations, both as logarithms, by least squares; None for fewer than two points."""
    held = [(p.operations, float(np.median(p.cold))) for p in points if p.operations >= FITTED]
    if len(held) < 2:
        return None
    x, y = np.log(np.array(held)).T
    return float(np.polyfit(x, y, 1)[0])


def main(kind: str, layers: int) -> None:
    """Measures one graph in this process."""
    import graphc  # noqa: F401  # not counted

    started = time.perf_counter()
    exe, x = step(kind, layers)
    exe(x)
    seconds = time.perf_counter() - started
    print(json.dumps({"operations": operations(exe), "seconds": seconds}))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
