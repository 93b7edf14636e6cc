"""The records of a benchmark: what is computed, on which arrays, and how one contestant computes it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from graphc.ir.state import Array

Product = tuple[int, int, int, int]  # how many, rows, columns, summed length


@dataclass(frozen=True)
class Setup:
    """How the arrays are made.

    seed     of all random numbers
    small    a size for tests
    data     where the files of a real data set are; random numbers without
    threads  how many processors each contestant may use
    """

    seed: int = 0
    small: bool = False
    data: Path | None = None
    threads: int = 1


@dataclass(frozen=True)
class Problem:
    """Arrays by name: ``given`` ones are only read, the others are differentiated by, or trained."""

    given: Mapping[str, Array]
    wrt: Mapping[str, Array]

    @property
    def arrays(self) -> list[Array]:
        """All arrays, in the order in which they are passed."""
        return [*self.given.values(), *self.wrt.values()]

    @property
    def dtype(self) -> np.dtype[Any]:
        """The float type of the arithmetic."""
        return np.dtype(next(iter(self.wrt.values())).dtype)


@dataclass(frozen=True)
class Entry:
    """One contestant, ready to run.

    call     the work, finished when it returns
    results  what a call returned as NumPy arrays: the value, then gradients or what was trained
    """

    call: Callable[[], Any]
    results: Callable[[Any], list[Array]]


Build = Callable[[Problem, Setup], Entry]


@dataclass(frozen=True)
class Workload:
    """One benchmark.

    name       as on the command line
    about      one line for people
    problem    makes the arrays
    entries    contestant -> how it is built; "graphc" and "numpy" are always there
    products   the matrix products that no implementation can avoid
    functions  elementary function -> how many values of it are needed; only for full size, as ``products``
    tolerance  by how much results may differ from those by hand, relative to the largest element
    """

    name: str
    about: str
    problem: Callable[[Setup], Problem]
    entries: Mapping[str, Build]
    products: tuple[Product, ...] = ()
    functions: Mapping[str, int] = field(default_factory=dict)
    tolerance: float = 1e-9

    @property
    def limited(self) -> bool:
        """True where the machine, not the cost of a call, sets the limit."""
        return bool(self.products or self.functions)


def difference(found: list[Array], expected: list[Array]) -> float:
    """The largest difference, relative to the largest element of each expected array; inf where shapes or NaN differ.

    >>> difference([np.array([1.0, 2.0])], [np.array([1.0, 4.0])])
    0.5
    """
    if [a.shape for a in found] != [a.shape for a in expected]:
        return float("inf")
    worst = 0.0
    for a, b in zip(found, expected, strict=True):
        scale = float(np.max(np.abs(b), initial=0.0)) or 1.0
        gap = float(np.max(np.abs(a.astype(np.float64) - b), initial=0.0)) / scale
        worst = max(worst, gap if gap == gap else float("inf"))
    return worst
