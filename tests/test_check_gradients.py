"""The gradient audit: what is right passes, and what is wrong is found and named."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from op_cases import CASES

import graphc as gx
from graphc.cli import main

SMOOTH = [c for c in CASES if c.smooth and c.name not in ("max_pool_pick",)]


@pytest.mark.parametrize("part", range(4))
def test_every_op_passes(part: int) -> None:
    for case in SMOOTH[part::8]:
        g = gx.Graph("g", float_dtype="float64")
        xs = [g.input(f"x{k}", shape, "float64") for k, shape in enumerate(case.shapes)]
        y, before = case.build(*xs), len(g)
        report = gx.check_gradients(y, xs[:1], dict(zip(xs, case.arrays("float64", seed=3), strict=True)))
        assert report, f"{case.name}\n{report}"
        assert len(g) == before


def network(act: Any, dtype: str) -> tuple[gx.Tensor, list[gx.Tensor], dict[str, np.ndarray]]:
    g = gx.Graph("net", float_dtype=dtype)
    x, y = g.input("x", ("n", 4)), g.input("y", ("n",), "int64")
    w = [
        g.parameter(f"w{k}", np.random.default_rng(k).normal(size=s).astype(dtype))
        for k, s in enumerate([(4, 5), (5, 3)])
    ]
    loss = gx.mean(gx.cross_entropy(act(x @ w[0]) @ w[1], y))
    rng = np.random.default_rng(0)
    return loss, w, {"x": rng.normal(size=(6, 4)).astype(dtype), "y": rng.integers(0, 3, 6)}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_network_passes_and_a_wrong_rule_in_it_is_named(dtype: str) -> None:
    loss, w, feeds = network(gx.tanh, dtype)
    report = gx.check_gradients(loss, w, feeds)
    assert report and {row.check for row in report.rows} == {"reverse", "forward", "second", dtype}
    wrong = gx.custom_gradient(gx.tanh, lambda c, xs, ys: [1.001 * c[0] * (1 - ys[0] ** 2)])
    loss, w, feeds = network(wrong, dtype)
    report = gx.check_gradients(loss, {"first": w[0]}, feeds)
    assert not report
    (fault,) = report.faults
    assert fault.startswith("own_gradient_") and "test_check_gradients.py:" in fault and "differences give" in fault
    assert "DISAGREE" in str(report) and "WRONG reverse   w0[" in str(report)


def test_a_wrong_second_derivative() -> None:
    g = gx.Graph("g", float_dtype="float64")
    x = g.input("x", (3,))
    f = gx.custom_gradient(gx.sin, lambda c, xs, ys: [c[0] * gx.stop_gradient(gx.cos(xs[0]))])
    feeds = {"x": np.array([0.3, 1.0, -2.0])}
    assert gx.check_gradients(gx.sum(f(x)), x, feeds, order=1)
    bad = [row for row in gx.check_gradients(gx.sum(f(x)), x, feeds).rows if not row.ok]
    assert [row.check for row in bad] == ["second"]


def test_what_float32_loses() -> None:
    g = gx.Graph("g")
    x = g.input("x", (3,))
    report = gx.check_gradients(gx.sum((1e4 + x) ** 2 - 1e8 - 2e4 * x), x, {"x": np.ones(3, "float32")})
    assert [(row.check, row.of[:3]) for row in report.rows if not row.ok] == [("float32", "sum")]


def test_kinks_and_zeros_are_noted() -> None:
    g = gx.Graph("g", float_dtype="float64")
    x = g.input("x", (3,))
    report = gx.check_gradients(gx.sum(gx.abs(x)), x, {"x": np.array([0.5, 0.0, -1.0])})
    assert report and any("kink at x[1]" in note for note in report.notes)
    report = gx.check_gradients(gx.sum(gx.sqrt(gx.sum(x * x))), x, {"x": np.ones(3)})
    assert report
    (note,) = report.notes
    assert re.search(
        r"all elements are 0 of x, its gradient is (NaN|infinite), first in the gradient of sqrt_\d+, ", note
    )


@pytest.mark.parametrize(
    ("call", "kind", "words"),
    [
        (lambda x: gx.check_gradients(gx.sum(x), x, {}), gx.InputError, "no value for input"),
        (lambda x: gx.check_gradients(gx.sum(x), x, [1]), gx.InputError, "feeds must be a dict"),
        (lambda x: gx.check_gradients(gx.sum(x), x, {"z": 1}), gx.InputError, "no input 'z'"),
        (lambda x: gx.check_gradients(gx.sum(x), x, {"x": np.ones(4)}), gx.InputError, "expected float64"),
        (lambda x: gx.check_gradients(gx.sum(x), x, {"x": np.ones(3)}, order=3), gx.InputError, "order must be 1 or 2"),
        (lambda x: gx.check_gradients(gx.argmax(x), x, {"x": np.ones(3)}), gx.GradientError, "only float tensors"),
    ],
)
def test_errors(call: Any, kind: type, words: str) -> None:
    g = gx.Graph("g", float_dtype="float64")
    x = g.input("x", (3,))
    with pytest.raises(kind, match=words) as error:
        call(x)
    assert error.value.origin.file == __file__


def test_on_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    loss, w, feeds = network(gx.tanh, "float32")
    inputs = list(loss.graph.inputs.values())
    gx.save("good.gx", train=gx.compile(inputs, loss, updates=gx.optim.SGD(0.1).updates(loss), backend="numpy"))
    assert main(["check", "good.gx", "--size", "3"]) == 0
    text = capsys.readouterr().out
    assert "all agree" in text and "by w0, w1" in text
    np.savez("data.npz", **feeds)
    assert main(["check", "good.gx", "x=data.npz:x", "y=data.npz:y", "--order", "1"]) == 0
    assert "second" not in capsys.readouterr().out
    assert main(["check", "good.gx", "--rtol", "1e-20"]) in (0, 1)
    g = gx.Graph("whole")
    gx.save("whole.gx", f=gx.compile([n := g.input("n", (), "int64")], n + 1, backend="numpy"))
    assert main(["check", "whole.gx"]) == 2 and "no executable has a float output" in capsys.readouterr().err
