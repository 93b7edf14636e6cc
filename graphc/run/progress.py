"""A progress bar for passes over data: a widget in a notebook, rich in a terminal, plain text elsewhere."""

from __future__ import annotations

import sys
import time
from importlib import import_module
from typing import Any, Protocol

WIDTH = 24  # characters of the plain bar
REDRAW_SECONDS = 0.1


class Bar(Protocol):
    """What a pass tells how far it is."""

    def show(self, done: int, value: float | None) -> None:
        """So many steps are over; ``value`` is the mean of the first output, where that is a number."""

    def close(self) -> None:
        """The pass is over, or has failed."""


def bar(steps: int) -> Bar:
    """A bar of so many steps, the best that there is here."""
    for kind, fits in ((_Widget, in_notebook()), (_Rich, sys.stderr is not None and sys.stderr.isatty())):
        if fits:
            try:
                return kind(steps)
            except ImportError:
                pass
    return Line(steps, shown=True)


def in_notebook() -> bool:
    """Whether this process is the kernel of a notebook."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return type(shell).__name__ == "ZMQInteractiveShell"


def _times(steps: int, done: int, spent: float, value: float | None) -> str:
    left = spent / max(done, 1) * (steps - done)
    mean = "" if value is None else f"  mean {value:.4f}"
    return f"{spent:.1f} s, {left:.1f} s left{mean}"


def _words(steps: int, done: int, spent: float, value: float | None) -> str:
    return f"{done}/{steps}  {_times(steps, done, spent, value)}"


class Line:
    """On a line of standard error, drawn over itself; ``unit`` is what a step is called.

    With ``shown`` None it is drawn on a terminal only.

    >>> bar = Line(2, "epoch", shown=False)
    >>> bar.step(), bar.text()
    (None, '[############............] epoch 1/2')
    """

    def __init__(self, steps: int, unit: str = "", shown: bool | None = None) -> None:
        self.steps, self.unit, self.done = steps, unit and unit + " ", 0
        self.shown = sys.stderr is not None and sys.stderr.isatty() if shown is None else shown
        self.started, self.drawn = time.perf_counter(), 0.0

    def text(self) -> str:
        """The bar as it stands, without times."""
        full = WIDTH * self.done // max(self.steps, 1)
        return f"[{'#' * full}{'.' * (WIDTH - full)}] {self.unit}{self.done}/{self.steps}"

    def step(self) -> None:
        """One more is done; drawn ten times a second at most."""
        if time.perf_counter() - self.drawn > REDRAW_SECONDS:
            self.show(self.done + 1)
        else:
            self.done += 1

    def show(self, done: int, value: float | None = None) -> None:
        self.done, self.drawn = done, time.perf_counter()
        if self.shown:
            times = _times(self.steps, done, self.drawn - self.started, value)
            print(f"\r{self.text()}  {times}  ", end="", file=sys.stderr, flush=True)

    def close(self) -> None:
        """Takes the bar off its line; the next step draws it again."""
        if self.shown and self.drawn:
            print("\r" + " " * 79 + "\r", end="", file=sys.stderr, flush=True)
            self.drawn = 0.0


class _Rich:
    """By rich, without its thread."""

    def __init__(self, steps: int) -> None:
        progress: Any = import_module("rich.progress")
        console: Any = import_module("rich.console")
        self.steps, self.started = steps, time.perf_counter()
        columns = progress.BarColumn(), progress.TextColumn("{task.description}")
        shown = console.Console(stderr=True)
        self.progress = progress.Progress(*columns, console=shown, transient=True, auto_refresh=False)
        self.task = self.progress.add_task("", total=steps)
        self.progress.start()

    def show(self, done: int, value: float | None) -> None:
        text = _words(self.steps, done, time.perf_counter() - self.started, value)
        self.progress.update(self.task, completed=done, description=text, refresh=True)

    def close(self) -> None:
        self.progress.stop()


class _Widget:
    """By ipywidgets."""

    def __init__(self, steps: int) -> None:
        widgets: Any = import_module("ipywidgets")
        self.steps, self.started = steps, time.perf_counter()
        self.bar = widgets.IntProgress(min=0, max=max(steps, 1))
        self.label = widgets.Label()
        self.box = widgets.HBox([self.bar, self.label])
        import_module("IPython.display").display(self.box)

    def show(self, done: int, value: float | None) -> None:
        self.bar.value = done
        self.label.value = _words(self.steps, done, time.perf_counter() - self.started, value)

    def close(self) -> None:
        self.box.close()
