"""What a row of the op-case table is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

import graphc as gx

REAL = (-3.0, 3.0)
POSITIVE = (0.2, 4.0)
UNIT = (-0.9, 0.9)


@dataclass(frozen=True)
class Case:
    """``build`` of operands drawn from ``domains`` in ``shapes`` gives what ``oracle`` gives of arrays."""

    name: str
    build: Callable[..., Any]
    oracle: Callable[..., Any]
    domains: Sequence[tuple[float, float]] = (REAL,)
    shapes: Sequence[tuple[int, ...]] = ((3, 4),)
    smooth: bool = True  # differentiable on the domain
    ops: tuple[str, ...] = ()  # ops that it covers beside the one of its name
    tolerance: float = 1e-13
    special: bool = True  # NaN and infinities give what the oracle gives

    def arrays(self, dtype: str, seed: int = 0) -> list[np.ndarray]:
        """Operands away from ties and edges."""
        rng = np.random.default_rng(seed)
        return [
            rng.uniform(low, high, s).astype(dtype) for (low, high), s in zip(self.domains, self.shapes, strict=True)
        ]


def chessboard(
    rows: Sequence[Any], columns: Sequence[Any], name: Callable[[Any], str] = str, every: int = 2
) -> list[Any]:
    """Pairs of a row and a column as parameters, of which the default run takes ``every`` second (or so many-th) of a row
    and of a column, and the nightly one all: others are marked slow."""
    return [
        pytest.param(row, column, id=f"{name(row)}-{column}", marks=[pytest.mark.slow] * ((i + j) % every > 0))
        for i, row in enumerate(rows)
        for j, column in enumerate(columns)
    ]


def ends(group: Sequence[Case]) -> str:
    """A name for some cases."""
    return f"{group[0].name}-{group[-1].name}"


def unary(name: str, oracle: Any, domain: tuple[float, float] = REAL, **more: Any) -> Case:
    return Case(name, getattr(gx, name), oracle, (domain,), **more)


def binary(name: str, oracle: Any, a: Any = REAL, b: Any = REAL, **more: Any) -> Case:
    more.setdefault("shapes", ((3, 4), (4,)))
    return Case(name, getattr(gx, name), oracle, (a, b), **more)
