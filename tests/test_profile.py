"""`Executable.profile`: every part has its time, its nodes and lines, and nothing is changed by it."""

from __future__ import annotations

import json

import numpy as np
import pytest

import graphc as gx
from graphc.run.executable import Executable


def training(layers: int = 1, width: int = 64) -> Executable:
    g = gx.Graph("profiled")
    x, y = g.input("x", ("n", width)), g.input("y", ("n",), "int64")
    h = x
    for k in range(layers):
        h = gx.tanh(h @ g.parameter(f"w{k}", np.eye(width, dtype="float32"))) + h
    loss = gx.mean(gx.cross_entropy(h, y)).named("loss")
    return gx.compile([x, y], loss, updates=gx.optim.Adam().updates(loss))


@pytest.mark.parametrize("layers", [1, 12])
def test_every_part_is_there_once(layers: int) -> None:
    exe = training(layers)
    before = dict(exe.graph.state)
    x, y = np.ones((200, 64), "float32"), np.zeros(200, "int64")
    seen = exe.profile(x, y)
    assert all((exe.graph.state[name] == value).all() for name, value in before.items())
    assert seen.seconds == pytest.approx(sum(row.seconds for row in seen.rows), rel=1e-6)
    assert all(row.seconds >= 0 and (row.share is None or 0 <= row.share <= 1) for row in seen.rows)
    names = {name for row in seen.rows for name in row.nodes}
    plan = exe.program.kernel().schedule
    assert plan is not None and {plan.graph.nodes[i].name for i in plan.statements} <= names
    assert {line for row in seen.rows for line in row.lines} >= {str(exe.graph["loss"].origin)}
    products = [row for row in seen.rows if row.title.startswith("product of n x 64 x 64")]
    flops = 2 * 200 * 64 * 64
    assert len(products) >= layers and all(row.flops >= flops for row in products)
    assert products[0].bytes >= 4 * (2 * 200 * 64 + 64 * 64)


def test_as_a_table_and_as_json() -> None:
    seen = training().profile(np.ones((8, 64)), np.zeros(8, int))
    head, names, *rows = str(seen).splitlines()
    assert (
        head.startswith("profiled: ")
        and names.split()[:2] == ["part", "seconds"]
        and len(rows) == min(21, len(seen.rows))
    )
    held = json.loads(seen.to_json())
    assert held["graph"] == "profiled" and len(held["rows"]) == len(seen.rows)
    assert set(held["rows"][0]) == {"part", "title", "nodes", "lines", "seconds", "bytes", "flops", "share"}
    assert seen._repr_html_().count("<tr>") == len(rows)


def test_what_does_not_fit() -> None:
    exe = training()
    with pytest.raises(gx.InputError, match="'y' is missing"):
        exe.profile(np.ones((8, 64)))
    with pytest.raises(gx.InputIndexError, match="label 99 at row 2"):
        exe.profile(np.ones((3, 64)), [0, 1, 99])
    g = gx.Graph("interpreted")
    x = g.input("x", ("n",))
    with pytest.raises(gx.CompileError, match="no kernel"):
        gx.compile([x], x + 1, backend="numpy").profile([1.0])


def test_times_are_those_of_the_work() -> None:
    """A product of eight times the work takes most of the time."""
    g = gx.Graph("unequal")
    x, w = g.input("x", (256, 256)), g.input("w", (256, 2048))
    exe = gx.compile([x, w], [x @ x, x @ w])
    seen = exe.profile(np.ones((256, 256)), np.ones((256, 2048)))
    small, large = sorted(seen.rows, key=lambda row: row.flops)[-2:]
    assert large.seconds > 2 * small.seconds


def test_the_view_shows_times() -> None:
    exe = training()
    page = exe.view(profile=exe.profile(np.ones((64, 64)), np.zeros(64, int))).html
    assert '"t":"' in page.partition('"parts":')[2]


def test_an_executable_without_a_profile_has_no_clock() -> None:
    assert "tick(times" not in training().source
