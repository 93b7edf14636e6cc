"""The picture of a run: graphc's time over that of each peer, on a logarithmic axis."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from graphc.atomic import replacing
from graphc.bench.report import FULL, Row, geometric_mean
from graphc.demo.data import DataError

COLOURS = {"numpy": "#777777", "torch": "#e8853a", "torch.compile": "#b5452c", "jax": "#3a6fb0", "pytensor": "#4c9a5b"}


def need_matplotlib() -> Any:
    """The module matplotlib, without a display; DataError where it is missing."""
    try:
        import matplotlib
    except ImportError:
        raise DataError('--plot needs matplotlib: pip install "graphc[bench]"') from None
    matplotlib.use("Agg")
    return matplotlib


def draw(table: Sequence[Row], machine: dict[str, Any], path: Path) -> None:
    """One panel for each number of threads: a dot for each peer, a bar for the interval beside the best one."""
    need_matplotlib()
    from matplotlib import pyplot as plt
    from matplotlib.ticker import FuncFormatter, LogLocator

    threads = sorted({r.threads for r in table})
    names = list(dict.fromkeys(r.workload for r in table))
    peers = [p for p in COLOURS if any(p in r.seconds for r in table)]
    ratios = [r.seconds["graphc"] / r.seconds[p] for r in table for p in peers if p in r.seconds]
    ticks = (1, 2, 5) if max(ratios, default=1) < 100 * min(ratios, default=1) else (1,)
    size = (3 + 3.6 * len(threads), 2.2 + 0.42 * len(names))
    figure, axes = plt.subplots(1, len(threads), figsize=size, sharey=True, sharex=True, squeeze=False)
    for axis, count in zip(axes[0], threads, strict=True):
        for row in (r for r in table if r.threads == count):
            y = names.index(row.workload)
            for peer in (p for p in peers if p in row.seconds):
                best = peer == row.best
                ratio = row.ratio if best else row.seconds["graphc"] / row.seconds[peer]
                axis.plot(ratio, y, "o", ms=9 if best else 6, color=COLOURS[peer], alpha=1 if best else 0.6, zorder=3)
            if row.interval is not None:
                axis.plot(row.interval, (y, y), "-", color="black", lw=1.5, zorder=4)
        axis.axvline(1, color="black", lw=1)
        axis.set_xscale("log")
        axis.xaxis.set_major_locator(LogLocator(subs=ticks, numticks=20))
        axis.xaxis.set_minor_locator(LogLocator(subs=()))
        axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axis.set_title(f"{count} thread{'s' * (count > 1)}")
        axis.set_xlabel("time of graphc / time of peer")
        axis.grid(axis="x", color="#dddddd", zorder=0)
    axes[0][0].set_yticks(range(len(names)), names)
    axes[0][0].set_ylim(len(names) - 0.5, -0.5)
    for peer in peers:
        axes[0][0].plot([], [], "o", color=COLOURS[peer], label=FULL[peer])
    mean = geometric_mean(table)
    beside = "" if mean is None else f"; geometric mean beside the best peer {mean:.2f}"
    figure.suptitle(f"Left of 1 graphc is faster{beside}", fontsize=11)
    figure.legend(loc="lower center", ncols=max(1, len(peers)), frameon=False)
    figure.text(0.995, 0.002, f"{machine['processor']}, graphc {machine['graphc']}", ha="right", fontsize=6)
    figure.tight_layout(rect=(0, 0.07, 1, 1))
    keep(figure, path)
    plt.close(figure)


def keep(figure: Any, path: Path) -> None:
    """Writes a figure in the format that its file's name ends with."""
    with replacing(path) as file:
        figure.savefig(file, format=path.suffix[1:], dpi=120)
