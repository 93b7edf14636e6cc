"""Python's cyclic garbage collector, which many new nodes would set to work over and over."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def uncollected() -> Iterator[None]:
    """Without the collector while a graph of many nodes is made: they stay, so that it would find next to nothing."""
    was = gc.isenabled()
    try:
        gc.disable()
        yield
    finally:
        if was:
            gc.enable()


__all__ = ["uncollected"]
