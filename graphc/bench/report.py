"""Ratios, their intervals, the table and the JSON of what was measured."""

from __future__ import annotations

import math
import os
import platform
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from graphc.bench.contest import Measured, Outcome, Plan, processors
from graphc.bench.limits import LIMITS
from graphc.config import __version__

RESAMPLES = 2000
START = 16  # columns for a first call
LONG_CALL = 500e-6  # seconds, from which more threads should pay
HEADS = {"numpy": "NumPy", "torch": "PyTorch", "torch.compile": "compiled", "jax": "JAX", "pytensor": "PyTensor"}
SETTINGS = ("OPENBLAS_", "MKL_", "OMP_", "KMP_", "GOMP_", "XLA_", "GRAPHC_BLAS")  # what these begin counts
FULL = HEADS | {"graphc": "graphc", "torch.compile": "torch.compile"}


@dataclass(frozen=True)
class Row:
    """A workload at one number of threads.

    seconds   contestant -> median seconds a call
    best      the fastest peer, None without peers
    ratio     graphc's time over that of the best peer, the median over rounds, with its 95 % interval
    limits    what the machine allows: seconds of each part
    share     the longest of these over graphc's time
    """

    workload: str
    threads: int
    seconds: dict[str, float]
    best: str | None
    ratio: float | None
    interval: tuple[float, float] | None
    limits: dict[str, float]
    share: float | None
    firsts: dict[str, dict[str, Any]]


def rows(outcome: Outcome) -> list[Row]:
    """A row for each number of threads at which graphc was measured."""
    out = []
    for graphc in (m for m in outcome.measured if m.who == "graphc"):
        there = [m for m in outcome.measured if m.threads == graphc.threads]
        seconds = {m.who: statistics.median(m.rounds) for m in there if m.who not in LIMITS}
        limits = {m.who: statistics.median(m.rounds) for m in there if m.who in LIMITS}
        peers = [m for m in there if m.who in HEADS]
        best = min(peers, key=lambda m: seconds[m.who], default=None)
        ratio, interval = (None, None) if best is None else compared(graphc, best)
        share = max(limits.values()) / seconds["graphc"] if limits else None
        firsts = {m.who: m.first for m in there if m.who not in LIMITS}
        name = None if best is None else best.who
        out.append(Row(outcome.workload.name, graphc.threads, seconds, name, ratio, interval, limits, share, firsts))
    return out


def compared(graphc: Measured, peer: Measured) -> tuple[float, tuple[float, float]]:
    """The median over rounds of the ratio of their times, and its 95 % interval by the bootstrap (Efron 1979)."""
    ratios = np.array(graphc.rounds) / np.array(peer.rounds)
    drawn = np.random.default_rng(0).integers(0, len(ratios), (RESAMPLES, len(ratios)))
    low, high = np.percentile(np.median(ratios[drawn], axis=1), [2.5, 97.5])
    return float(np.median(ratios)), (float(low), float(high))


def geometric_mean(table: Sequence[Row]) -> float | None:
    """Of all ratios; None without any."""
    ratios = [r.ratio for r in table if r.ratio is not None]
    return statistics.geometric_mean(ratios) if ratios else None


def duration(seconds: float | None) -> str:
    """Three figures and a unit.

    >>> duration(5.68e-6), duration(0.00214), duration(0.3604), duration(None)
    ('5.68 us', '2.14 ms', '360 ms', '-')
    """
    if seconds is None:
        return "-"
    for size, unit in ((1e-6, "us"), (1e-3, "ms"), (1.0, "s")):
        value = seconds / size
        if value < 999.5 or unit == "s":
            return f"{value:.{max(0, 2 - max(0, math.floor(math.log10(max(value, 1e-9)) + 1e-9)))}f} {unit}"
    raise AssertionError("unreachable")


class Table:
    """Prints rows as they come: every peer in a column where the terminal is wide enough, else the best one."""

    def __init__(self, names: Sequence[str], peers: Sequence[str], width: int) -> None:
        self.first = max([len("workload"), *map(len, names)]) + 1
        self.peers = list(peers)
        self.wide = width >= len(self._head(True))

    def _head(self, wide: bool) -> str:
        peers = "".join(f"{HEADS[p]:>9}" for p in self.peers) if wide else f"{'best peer':>22}" * bool(self.peers)
        ratio = f"{'ratio':>6}{'95 %':>11}" * bool(self.peers)
        return (
            f"{'workload':<{self.first}}{'thr':>3}{'graphc':>9}{peers}{ratio}"
            + f"{'limit':>9}" * wide
            + f"{'share':>7}"
        )

    def head(self) -> str:
        """The line above the rows."""
        return self._head(self.wide)

    def line(self, row: Row, repeated: bool) -> str:
        """One row; a name that the row above has is left out."""
        cells = f"{'' if repeated else row.workload:<{self.first}}{row.threads:>3}{duration(row.seconds['graphc']):>9}"
        if self.wide:
            cells += "".join(f"{duration(row.seconds.get(p)):>9}" for p in self.peers)
        elif self.peers:
            best = "-" if row.best is None else f"{FULL[row.best]} {duration(row.seconds[row.best])}"
            cells += f"{best:>22}"
        if self.peers:
            cells += f"{'-' if row.ratio is None else format(row.ratio, '.2f'):>6}"
            cells += f"{'-' if row.interval is None else '{:.2f}-{:.2f}'.format(*row.interval):>11}"
        if self.wide:
            cells += f"{duration(max(row.limits.values()) if row.limits else None):>9}"
        return cells + f"{'-' if row.share is None else format(row.share, '.0%'):>7}"


def starts(table: Sequence[Row], peers: Sequence[str], width: int) -> list[str]:
    """Lines on first calls and memory, at the least number of threads of each workload; blocks as wide as fit."""
    least = {row.workload: row for row in reversed(table)}
    first = max([len("workload"), *map(len, least)]) + 1
    who, fit = ["graphc", *peers], max(1, (width - first) // START)
    lines = ["first call (fresh process, empty caches, after imports) and growth of memory:"]
    for low in range(0, len(who), fit):
        lines.append(f"{'workload':<{first}}" + "".join(f"{FULL[w]:>{START}}" for w in who[low : low + fit]))
        for name, row in reversed(least.items()):
            cells = (row.firsts.get(w) for w in who[low : low + fit])
            texts = ("-" if c is None else f"{duration(c['first_seconds'])} {_megabytes(c)}" for c in cells)
            lines.append(f"{name:<{first}}" + "".join(f"{t:>{START}}" for t in texts))
    return lines


def _megabytes(first: dict[str, Any]) -> str:
    return f"{max(0, first['peak_bytes']) / 1e6:.0f} MB"


def summary(table: Sequence[Row]) -> list[str]:
    """The geometric mean, how many lines are won, the worst line, and graphc's gain from more threads."""
    lines = []
    counted = [r for r in table if r.ratio is not None and r.interval is not None]
    mean = geometric_mean(table)
    if mean is not None:
        won = sum(r.interval[1] < 1 for r in counted if r.interval)
        worst = max(counted, key=lambda r: r.ratio or 0)
        lines.append(f"geometric mean of the ratios {mean:.3f}; ahead with 95 % confidence on {won} of {len(counted)}")
        threads = f"{worst.threads} thread{'s' * (worst.threads > 1)}"
        lines.append(f"largest ratio {worst.ratio:.2f}: {worst.workload}, {threads}")
    gains = []
    for row in table:
        one = next((r for r in table if r.workload == row.workload and r.threads == 1), None)
        if row.threads > 1 and one is not None and one.seconds["graphc"] > LONG_CALL:
            gains.append(f"{row.workload} {one.seconds['graphc'] / row.seconds['graphc']:.2f} ({row.threads})")
    if gains:
        lines.append(f"graphc on more threads, times as fast as on one: {', '.join(gains)}")
    return lines


def machine() -> dict[str, Any]:
    """What the figures belong to."""
    return {
        "graphc": __version__,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
        "processors": len(processors()),
        "pinned": hasattr(os, "sched_setaffinity"),
        "settings": {k: v for k, v in sorted(os.environ.items()) if k.startswith(SETTINGS)},
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def as_json(outcomes: Sequence[Outcome], plan: Plan) -> dict[str, Any]:
    """All of it, down to the seconds of each round."""
    table = [row for o in outcomes for row in rows(o)]
    return {
        "machine": machine(),
        "seed": plan.seed,
        "geometric_mean": geometric_mean(table),
        "workloads": [
            {
                "name": o.workload.name,
                "about": o.workload.about,
                "left_out": o.left_out,
                "rows": [
                    {
                        "threads": r.threads,
                        "seconds": r.seconds,
                        "best_peer": r.best,
                        "ratio": r.ratio,
                        "interval": r.interval,
                        "limit_seconds": r.limits,
                        "share_of_limit": r.share,
                        "first_calls": r.firsts,
                    }
                    for r in rows(o)
                ],
                "rounds": {f"{m.who}, {m.threads}": m.rounds for m in o.measured},
            }
            for o in outcomes
        ],
    }
