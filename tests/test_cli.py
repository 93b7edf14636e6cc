"""The command line, as a person would call it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from graphc.cli import main


def test_digits_demo_writes_its_figures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("sklearn")
    file = tmp_path / "out.json"
    assert main(["demo", "--epochs", "12", "--json", str(file)]) == 0
    result = json.loads(file.read_text())
    assert len(result["epochs"]) == 12 and result["compile_seconds"] > 0
    assert set(result["epochs"][0]) == {"train_loss", "train_accuracy", "test_accuracy", "seconds"}
    assert result["epochs"][-1]["test_accuracy"] > 0.9
    out = capsys.readouterr().out
    assert "train loss" in out and "median epoch" in out and max(map(len, out.splitlines())) <= 100


@pytest.mark.parametrize("which", ["neuron", "xor"])
def test_small_demos(which: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", which]) == 0
    assert {"neuron": "dloss/dw", "xor": "4 of 4 right"}[which] in capsys.readouterr().out


def test_missing_data_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for args in (
        ["fashion-mnist"],
        ["fashion-mnist", "--data", str(tmp_path)],
        ["house-prices", "--data", str(tmp_path)],
    ):
        assert main(["demo", *args]) == 1
        err = capsys.readouterr().err
        assert err.startswith("graphc: ") and err.count("\n") == 1


def test_bad_options_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    for args in (["demo", "nothing"], ["demo", "--epochs", "0"], []):
        with pytest.raises(SystemExit) as stop:
            main(args)
        assert stop.value.code == 2


def test_info_and_help() -> None:
    out = subprocess.run([sys.executable, "-m", "graphc", "info"], capture_output=True, text=True, check=True).stdout
    assert out.startswith("graphc") and "numba" in out and "cache" in out
    text = subprocess.run(
        [sys.executable, "-m", "graphc", "demo", "--help"], capture_output=True, text=True, check=True
    ).stdout
    assert "--data DIR" in text and "fashion-mnist" in text
