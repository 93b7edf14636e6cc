"""The benchmark: every contestant computes the same, and the command measures, compares and tells."""

from __future__ import annotations

import importlib.util
import json
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import graphc as gx
from graphc.bench import compile_command, compiling, report
from graphc.bench.catalogue import WORKLOADS
from graphc.bench.contest import PEERS, Measured, Outcome, Plan, run
from graphc.bench.epoch import _batches
from graphc.bench.limits import LIMITS, build
from graphc.bench.workload import Entry, Problem, Setup, difference
from graphc.cli import PEERS as NAMED
from graphc.cli import main

SMALL = Setup(seed=3, small=True)
STEPS = ("training-step", "lenet-64", "lenet-256", "fashion-epoch")


def one_call(name: str, who: str) -> list[np.ndarray]:
    entry = WORKLOADS[name].entries[who](WORKLOADS[name].problem(SMALL), SMALL)
    return entry.results(entry.call())


@pytest.mark.parametrize("name", WORKLOADS)
def test_graphc_computes_what_numpy_does_by_hand(name: str) -> None:
    found, expected = one_call(name, "graphc"), one_call(name, "numpy")
    assert len(found) >= 2 and all(np.abs(a).max() > 0 for a in expected)
    assert difference(found, expected) <= WORKLOADS[name].tolerance


@pytest.mark.oracle
@pytest.mark.parametrize("who", PEERS[1:])
@pytest.mark.parametrize("name", WORKLOADS)
def test_every_peer_computes_the_same(name: str, who: str) -> None:
    pytest.importorskip(who.split(".")[0])
    if who not in WORKLOADS[name].entries:
        pytest.skip(f"{who} has no version of {name}")
    assert difference(one_call(name, who), one_call(name, "numpy")) <= WORKLOADS[name].tolerance


@pytest.mark.parametrize("name", [n for n in WORKLOADS if n not in STEPS])
def test_the_gradients_by_hand_are_differences(name: str) -> None:
    """The NumPy version alone, along a random direction, in double precision."""
    workload = WORKLOADS[name]
    problem = workload.problem(SMALL)

    def at(step: float) -> list[np.ndarray]:
        moved = {k: a.astype(np.float64) + step * d for (k, a), d in zip(problem.wrt.items(), directions, strict=True)}
        given = {k: a.astype(np.float64) if a.dtype.kind == "f" else a for k, a in problem.given.items()}
        entry = workload.entries["numpy"](Problem(given, moved), SMALL)
        return entry.results(entry.call())

    rng = np.random.default_rng(0)
    directions = [rng.normal(size=a.shape) for a in problem.wrt.values()]
    slope = sum(float((g * d).sum()) for g, d in zip(at(0.0)[1:], directions, strict=True))
    assert (at(1e-5)[0] - at(-1e-5)[0]) / 2e-5 == pytest.approx(slope, rel=1e-4)


@pytest.mark.parametrize("name", STEPS)
def test_calls_train(name: str) -> None:
    problem = WORKLOADS[name].problem(SMALL)
    entry = WORKLOADS[name].entries["graphc"](problem, SMALL)
    first = entry.results(entry.call())
    for _ in range(30):
        last = entry.results(entry.call())
    assert last[0] < first[0] and not np.array_equal(first[-1], last[-1])


def test_an_epoch_sees_every_row_once() -> None:
    rows = list(_batches(1000, seed=5))
    assert [len(r) for r in rows] == [256, 256, 256, 232]
    assert sorted(np.concatenate(rows)) == list(range(1000))


def test_difference_sees_shapes_and_nan() -> None:
    one = np.ones(3)
    assert difference([one], [one]) == 0
    assert difference([one], [np.ones(4)]) == float("inf")
    assert difference([one * np.nan], [one]) == float("inf")
    assert difference([one, one], [one]) == float("inf")


@pytest.mark.parametrize("limit", LIMITS)
def test_limits_run(limit: str) -> None:
    """Every part on a small problem; a workload without products has no such limit."""
    workload = WORKLOADS["elementwise"]
    entry = build(limit, workload, workload.problem(SMALL), Setup(small=True, threads=2))
    assert (entry is None) == (limit == "products")
    if entry is not None:
        entry.call()


def outcome(graphc: list[float], jax: list[float]) -> Outcome:
    first = {"first_seconds": 0.5, "peak_bytes": 2e6}
    measured = [Measured("graphc", 1, first, graphc), Measured("jax", 1, first, jax)]
    measured += [Measured("numpy", 1, first, [9.0] * len(jax)), Measured("traffic", 1, {}, [0.5] * len(jax))]
    return Outcome(WORKLOADS["elementwise"], measured, {})


def test_ratios_are_those_of_rounds() -> None:
    """A machine that is three times as slow in every other round changes no ratio."""
    slow = [1.0, 3.0] * 10
    (row,) = report.rows(outcome([1.0 * s for s in slow], [2.0 * s for s in slow]))
    assert row.best == "jax" and row.ratio == 0.5 and row.interval == (0.5, 0.5)
    assert row.seconds["graphc"] == 2.0 and row.share == 0.25
    assert report.geometric_mean([row, row]) == pytest.approx(0.5)


def test_the_interval_covers_noise() -> None:
    rng = np.random.default_rng(1)
    (row,) = report.rows(outcome(list(1 + 0.1 * rng.random(31)), list(1 + 0.1 * rng.random(31))))
    assert row.interval is not None and row.interval[0] < 1 < row.interval[1]
    assert row.interval[1] - row.interval[0] < 0.1


@pytest.mark.parametrize("width", [80, 130])
def test_the_table_is_aligned(width: int) -> None:
    (row,) = report.rows(outcome([1e-3] * 7, [2e-3] * 7))
    table = report.Table(list(WORKLOADS), PEERS, width)
    lines = [table.head(), table.line(row, False), table.line(row, True)]
    assert len({len(line) for line in lines}) == 1 and len(lines[0]) <= width
    assert "0.50" in lines[1] and "1.00 ms" in lines[1] and "elementwise" not in lines[2]
    assert ("JAX 2.00 ms" in lines[1]) == (width == 80)
    started = report.starts([row], PEERS, width)
    assert max(map(len, started)) <= width and sum("500 ms 2 MB" in line for line in started) >= 1


def test_a_contestant_that_fails_is_left_out_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """The processes find another pytensor first, which is not one."""
    plan = Plan(threads=[1], peers=["numpy", "pytensor"], rounds=3, small=True)
    missing: dict[str, str] = {}
    place = Path(os.environ["GRAPHC_CACHE_DIR"]) / "broken"
    place.mkdir(parents=True, exist_ok=True)
    (place / "pytensor.py").write_text("raise ImportError('broken', name='pytensor')")
    monkeypatch.setenv("PYTHONPATH", f"{place}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    steps: list[None] = []
    found = run(WORKLOADS["xor"], plan, missing, lambda: steps.append(None))
    assert missing == {"pytensor": "not installed (pytensor)"} and found.left_out == missing
    assert {m.who for m in found.measured} == {"graphc", "numpy"}
    assert all(len(m.rounds) == 3 and min(m.rounds) > 0 for m in found.measured)
    graphc = found.find("graphc", 1)
    assert graphc is not None and graphc.first["first_seconds"] > graphc.first["seconds_a_call"]
    assert graphc.first["difference"] < 1e-9 and graphc.first["peak_bytes"] > 0


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    figures, picture = tmp_path / "out.json", tmp_path / "out.png"
    args = ["bench", "xor", "--threads", "1", "--rounds", "3", "--peers", "numpy", "--json", str(figures)]
    drawn = importlib.util.find_spec("matplotlib") is not None
    assert main(args + ["--plot", str(picture)] * drawn) == 0
    captured = capsys.readouterr()
    assert "xor" in captured.out and " us" in captured.out and "geometric mean" in captured.out
    result: dict[str, Any] = json.loads(figures.read_text())
    (workload,) = result["workloads"]
    (row,) = workload["rows"]
    assert row["best_peer"] == "numpy" and row["ratio"] == pytest.approx(result["geometric_mean"])
    assert len(workload["rounds"]["graphc, 1"]) == 3 and result["machine"]["processors"] >= 1
    assert not drawn or picture.read_bytes().startswith(b"\x89PNG")


def test_the_command_without_peers(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "xor", "--threads", "1", "--rounds", "3", "--peers", "none"]) == 0
    out = capsys.readouterr().out
    assert "ratio of graphc" in out and "geometric mean" not in out and " us" in out


@pytest.mark.parametrize(
    "args",
    [["nothing"], ["--peers", "none", "jax"], ["--threads", "4096"], ["--rounds", "1"], ["xor", "--plot", "x.gif"]],
)
def test_wrong_options(args: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["bench", *args])
    assert stop.value.code == 2 and "usage: graphc bench" in capsys.readouterr().err


def test_the_help_names_every_workload(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["bench", "--help"])
    text = capsys.readouterr().out
    assert all(name in text for name in WORKLOADS) and NAMED == PEERS
    assert max(map(len, text.splitlines())) <= 80


def test_wrong_results_of_graphc_end_the_command(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from graphc.bench import contest

    def wrong(*_: Any) -> Outcome:
        return Outcome(WORKLOADS["xor"], [], {"graphc": "its results differ from those by hand by 1.0e+00"})

    monkeypatch.setattr(contest, "run", wrong)
    assert main(["bench", "xor", "--peers", "none"]) == 1
    assert "differ from those by hand" in capsys.readouterr().err


def test_ctrl_c_keeps_what_is_done(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from graphc.bench import contest

    def stopped(workload: Any, *_: Any) -> Outcome:
        if workload.name == "gmm":
            raise KeyboardInterrupt
        return outcome([1e-3] * 7, [2e-3] * 7)

    monkeypatch.setattr(contest, "run", stopped)
    file = tmp_path / "out.json"
    assert main(["bench", "elementwise", "gmm", "xor", "--json", str(file)]) == 130
    result = json.loads(file.read_text())
    assert [w["name"] for w in result["workloads"]] == ["elementwise"] and not result["complete"]
    assert "stopped during gmm" in capsys.readouterr().out
    assert main(["bench", "gmm"]) == 130


def test_a_worker_refuses_wrong_results(monkeypatch: pytest.MonkeyPatch) -> None:
    from dataclasses import replace

    from graphc.bench import worker

    right = WORKLOADS["xor"]

    def shifted(problem: Problem, setup: Setup) -> Entry:
        entry = right.entries["graphc"](problem, setup)
        results: Callable[[Any], list[np.ndarray]] = lambda found: [a + 1e-3 for a in entry.results(found)]  # noqa: E731
        return Entry(entry.call, results)

    monkeypatch.setitem(WORKLOADS, "xor", replace(right, entries={**right.entries, "graphc": shifted}))
    answers: list[dict[str, Any]] = []
    task = {"workload": "xor", "who": "graphc", "threads": 1, "seed": 0, "small": True, "data": None}
    worker.main(task, ['{"do": "start"}'], answers.append)
    assert len(answers) == 1 and "differ from those by hand" in answers[0]["error"]


# ---- compile time


def _points(kind: str, exponent: float) -> list[compiling.Point]:
    return [compiling.Point(kind, n, 10 * n, [(10 * n) ** exponent] * 3, [0.1] * 3) for n in (1, 10, 100, 1000)]


def test_the_slope_is_that_of_the_logarithms() -> None:
    for exponent in (0.5, 1.0, 1.3):
        assert compiling.slope(_points("equal", exponent)) == pytest.approx(exponent, rel=1e-9)
    assert compiling.slope(_points("equal", 1.0)[:2]) is None  # one point from 100 operations on


@pytest.mark.parametrize("kind", compiling.LAYERS)
def test_graphs_for_compile_time_grow_by_their_layers(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gx, "compile", partial(gx.compile, backend="numpy"))
    counts = [compiling.operations(compiling.step(kind, n)[0]) for n in (1, 3, 5)]
    assert counts[2] - counts[1] == pytest.approx(counts[1] - counts[0], abs=12)
    assert 10 < counts[0] < 120


def test_compile_times_are_measured_in_fresh_processes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    picture = tmp_path / "picture.svg" if importlib.util.find_spec("matplotlib") else None
    result = compile_command.bench(1, picture, most=0)
    shown = capsys.readouterr().out
    assert [p["layers"] for p in result["points"]] == [0, 0] and "0 equal layers" in shown
    for point in result["points"]:
        assert point["operations"] > 5 and point["cold"][0] > point["warm"][0] > 0
    assert picture is None or "<svg" in picture.read_text()
    json.dumps(result)


def test_compile_stands_alone_on_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["bench", "xor", "--compile"])
    assert "--compile measures graphs of its own" in capsys.readouterr().err
