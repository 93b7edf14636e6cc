"""``graphc bench --compile``: the table of compile times, and their picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from graphc.bench import plot, report
from graphc.bench.compiling import FITTED, Point, graphs, measure, slope
from graphc.run.progress import Line

NAMES = {"equal": "equal layers", "unlike": "unlike layers"}
COLOURS = {"equal": "#3a6fb0", "unlike": "#b5452c"}


def bench(rounds: int, picture: Path | None = None, most: int | None = None) -> dict[str, Any]:
    """Measures and prints; draws ``picture``; returns what ``--json`` writes. ``most`` limits the layers."""
    if picture is not None:
        plot.need_matplotlib()
    machine = report.machine()
    print(f"graphc {machine['graphc']}, Python {machine['python']}, {machine['processor']}, {machine['system']}")
    print(f"seconds from the import of graphc to the end of the first call; medians of {rounds} fresh processes\n")
    print(f"{'training step of':<20}{'operations':>12}{'cold':>10}{'from disk':>12}")
    points: list[Point] = []
    for kind, layers in graphs(most):
        bar = Line(2 * rounds, f"{layers} {NAMES[kind]}")
        point = measure(kind, layers, rounds, bar.step)
        bar.close()
        points.append(point)
        cold, warm = float(np.median(point.cold)), float(np.median(point.warm))
        print(f"{f'{layers} {NAMES[kind]}':<20}{point.operations:>12,}{cold:>10.2f}{warm:>12.2f}", flush=True)
    slopes = {kind: slope([p for p in points if p.kind == kind]) for kind in NAMES}
    found = ", ".join(f"{NAMES[kind]} {s:.2f}" for kind, s in slopes.items() if s is not None)
    if found:
        print(f"\nslope of log time against log operations from {FITTED} operations on: {found}")
    if picture is not None:
        draw(points, machine, picture)
    return {"machine": machine, "rounds": rounds, "points": [asdict(p) for p in points], "slopes": slopes}


def draw(points: Sequence[Point], machine: dict[str, Any], path: Path) -> None:
    """Seconds against operations on logarithmic axes, beside a straight line of slope 1."""
    plot.need_matplotlib()
    from matplotlib import pyplot as plt

    figure, axis = plt.subplots(figsize=(6.4, 4.4))
    for kind, name in NAMES.items():
        held = [p for p in points if p.kind == kind]
        counts = [p.operations for p in held]
        for which, style in (("cold", "o-"), ("warm", "o--")):
            times = [float(np.median(getattr(p, which))) for p in held]
            label = f"{name}, {'cold' if which == 'cold' else 'from disk'}"
            axis.plot(counts, times, style, ms=4, lw=1.2, color=COLOURS[kind], label=label)
    ends = np.array([FITTED, max(p.operations for p in points)])
    axis.plot(ends, ends * 0.02, ":", color="black", lw=1, label="slope 1")
    axis.set(xscale="log", yscale="log", xlabel="operations: forward, backward, update", ylabel="seconds")
    axis.grid(color="#dddddd")
    axis.legend(frameon=False, fontsize=8)
    figure.text(0.995, 0.002, f"{machine['processor']}, graphc {machine['graphc']}", ha="right", fontsize=6)
    figure.tight_layout(rect=(0, 0.02, 1, 1))
    plot.keep(figure, path)
    plt.close(figure)
