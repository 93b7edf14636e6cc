"""One line on a terminal that says how far a demo is; nothing where standard error is not a terminal."""

from __future__ import annotations

import sys
import time

WIDTH = 28
REDRAW_SECONDS = 0.1


class Progress:
    """A bar over ``total`` steps, drawn over itself with a carriage return.

    >>> bar = Progress(2, "epoch", shown=False)
    >>> bar.step(), bar.text()
    (None, '[##############..............] epoch 1/2')
    """

    def __init__(self, total: int, unit: str, shown: bool | None = None) -> None:
        self.total, self.unit, self.done = total, unit, 0
        self.shown = sys.stderr.isatty() if shown is None else shown
        self.started, self.drawn = time.perf_counter(), 0.0

    def text(self) -> str:
        """The bar as it stands, without times."""
        full = WIDTH * self.done // max(self.total, 1)
        return f"[{'#' * full}{'.' * (WIDTH - full)}] {self.unit} {self.done}/{self.total}"

    def step(self) -> None:
        """One more is done."""
        self.done += 1
        now = time.perf_counter()
        if self.shown and now - self.drawn > REDRAW_SECONDS:
            self.drawn, spent = now, now - self.started
            left = spent / self.done * (self.total - self.done)
            print(f"\r{self.text()}  {spent:.1f} s, {left:.1f} s left  ", end="", file=sys.stderr, flush=True)

    def clear(self) -> None:
        """Takes the bar off its line, so that a row can be printed there."""
        if self.shown and self.drawn:
            print("\r" + " " * 79 + "\r", end="", file=sys.stderr, flush=True)
            self.drawn = 0.0
