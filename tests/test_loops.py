"""Loops over memory that goes on where a row ends are one loop."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

import graphc as gx


@pytest.mark.filterwarnings("ignore:.*drawn from without updates")
@pytest.mark.parametrize("known", [True, False])
def test_loops_that_go_on_in_memory_are_one(known: bool) -> None:
    """And no others: rows that are broadcast, turned or cut keep theirs."""
    joins: dict[str, tuple[Any, int]] = {
        "elements": (lambda x, y: gx.exp(x) * x + 1.0, 1),
        "in another shape": (lambda x, y: gx.reshape(x * 2.0, (x.size,)) + 1.0, 2),
        "numbers of a generator": (lambda x, y: x + gx.random.uniform(x.graph.random_key(0), x.shape), 1),
        "a row for all": (lambda x, y: x + y, 3),
        "a number for each row": (lambda x, y: x + gx.max(x, 2, keepdims=True), 4),
        "backwards": (lambda x, y: x[:, :, ::-1] * 2.0, 3),
        "both ways backwards": (lambda x, y: gx.flip(x) * 2.0, 1),
        "a part": (lambda x, y: x[:, 1:] * 2.0, 2),
        "turned": (lambda x, y: gx.permute_dims(x, (1, 0, 2)) * 2.0, 3),
    }
    a, b = np.random.default_rng(0).normal(size=(5, 7, 3)), np.random.default_rng(1).normal(size=3)
    for name, (build, loops) in joins.items():
        g = gx.Graph("joined", float_dtype="float64")
        x = g.input("x", a.shape if known else ("k", "m", "n"))
        y = g.input("y", b.shape if known else ("n",))
        out = build(x, y)
        exe, peer = (gx.compile([x, y], out, backend=backend, unused="ignore") for backend in ("numba", "numpy"))
        found = len(re.findall(r"for i\d in range", exe.source))
        np.testing.assert_allclose(exe(a, b), peer(a, b), 1e-12, err_msg=name)
        assert found == loops, name


def test_few_long_rows_are_not_reduced_in_parts() -> None:
    """A part for each shard costs as much as the rows themselves, so each has many rows."""
    g = gx.Graph("few")
    x = g.input("x", ("m", "n"))
    source = gx.compile([x], gx.max(x, 0)).source
    assert "shards(16*n0*n1, (n0) // (16))" in source or "shards(16*n0*n1, ((n0) // (16)))" in source, source
