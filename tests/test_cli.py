"""The command line, as a person would call it."""

from __future__ import annotations

import builtins
import gzip
import json
import os
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from graphc.cli import main
from graphc.demo import houses, programs
from graphc.demo.data import DataError, fashion_mnist, read_idx
from graphc.run.progress import Line


def one_line(args: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """The error of a command that must fail with status 1 and a single line."""
    assert main(args) == 1
    captured = capsys.readouterr()
    assert captured.err.startswith("graphc: ") and captured.err.count("\n") == 1, captured.err
    return captured.err


def write_idx(path: Path, array: Any) -> None:
    head = b"\0\0\x08" + bytes([array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    raw = head + array.astype(np.uint8).tobytes()
    path.write_bytes(gzip.compress(raw) if path.suffix == ".gz" else raw)


def write_images(directory: Path, side: int = 6) -> None:
    """A small data set in the four files of Fashion-MNIST; the label is the brighter of ten places."""
    rng = np.random.default_rng(0)
    for prefix, rows, suffix in (("train", 2000, ".gz"), ("t10k", 500, "")):
        labels = rng.integers(0, 10, rows)
        pixels = rng.integers(0, 60, (rows, side, side))
        pixels.reshape(rows, -1)[np.arange(rows), labels * 3] = 255
        write_idx(directory / f"{prefix}-images-idx3-ubyte{suffix}", pixels)
        write_idx(directory / f"{prefix}-labels-idx1-ubyte{suffix}", labels)


def test_digits_demo_writes_its_figures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("sklearn")
    file = tmp_path / "out.json"
    assert main(["demo", "--epochs", "12", "--json", str(file)]) == 0
    result = json.loads(file.read_text())
    assert len(result["epochs"]) == 12 and result["compile_seconds"] > 0
    assert set(result["epochs"][0]) == {"train_loss", "train_accuracy", "test_accuracy", "seconds"}
    assert result["epochs"][-1]["test_accuracy"] > 0.9
    captured = capsys.readouterr()
    assert "train loss" in captured.out and "median epoch" in captured.out
    assert max(map(len, captured.out.splitlines())) <= 80
    assert "\x1b" not in captured.out + captured.err and "\r" not in captured.out + captured.err


def test_fashion_demo_reads_idx_files(tmp_path: Path) -> None:
    write_images(tmp_path)
    file = tmp_path / "out.json"
    args = ["demo", "fashion-mnist", "--data", str(tmp_path), "--epochs", "60", "--json", str(file)]
    assert main(args) == 0
    epochs = json.loads(file.read_text())["epochs"]
    assert epochs[-1]["train_loss"] < 0.5 < epochs[0]["train_loss"] and epochs[-1]["test_accuracy"] > 0.9


def test_loss_and_accuracy_are_running_means(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first epoch, beside a NumPy loop over the same mini-batches in the same order."""
    monkeypatch.syspath_prepend(str(programs.folder()))
    from fashion_mnist import network
    from images import epoch

    write_images(tmp_path)
    data = fashion_mnist(tmp_path)
    train, infer = network(36, seed=3, hidden=16)
    w1, b1, w2, b2 = (train.graph.state[n].astype(np.float64) for n in ("W1", "b1", "W2", "b2"))
    loss, right, n = 0.0, 0, len(data.train_x)
    order = np.random.default_rng(3000).permutation(n)
    for low in range(0, n, 300):  # the last batch is smaller
        rows = order[low : low + 300]
        x, y = data.train_x[rows].astype(np.float64), data.train_y[rows]
        h = np.maximum(x @ w1 + b1, 0)
        logits = h @ w2 + b2
        p = np.exp(logits - logits.max(1, keepdims=True))
        p /= p.sum(1, keepdims=True)
        loss -= float(np.log(p[np.arange(len(y)), y]).sum())
        right += int((logits.argmax(1) == y).sum())
        d = (p - np.eye(10)[y]) / len(y)
        dh = d @ w2.T * (h > 0)
        w1, b1 = w1 - 0.1 * x.T @ dh, b1 - 0.1 * dh.sum(0)
        w2, b2 = w2 - 0.1 * h.T @ d, b2 - 0.1 * d.sum(0)
    found = epoch(train, infer, data, 300, seed=3000)
    assert found["train_loss"] == pytest.approx(loss / n, rel=1e-5)
    assert found["train_accuracy"] == pytest.approx(right / n, abs=2 / n)


@pytest.mark.parametrize(("which", "said"), [("chain-rule", "the total differential:"), ("xor", "4 of 4 right")])
def test_demos_are_the_examples(which: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, argv, path = tmp_path / "out.json", sys.argv, list(sys.path)
    assert main(["demo", which, "--json", str(file)]) == 0
    printed = capsys.readouterr().out
    assert said in printed and json.loads(file.read_text())["demo"] == which
    assert sys.argv == argv and sys.path == path
    script = programs.folder() / f"{which.replace('-', '_')}.py"
    assert subprocess.run([sys.executable, script], capture_output=True, text=True, check=True).stdout == printed


def test_every_example_is_a_demo_with_a_short_head(capsys: pytest.CaptureFixture[str]) -> None:
    helpers = {"images", "plotting", "export_fashion_mnist", "ranks"}  # one writes a library, one is for mpiexec
    assert {name.replace("-", "_") for name in programs.NAMES} | helpers == {
        p.stem for p in programs.folder().glob("*.py")
    }
    assert main(["demo", "--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list(programs.NAMES) and max(map(len, lines)) <= 80
    assert main(["demo", "--help"]) == 0
    out = capsys.readouterr().out
    assert all(line in out for line in lines) and max(map(len, out.splitlines())) <= 80
    with pytest.raises(SystemExit) as stop:
        main(["demo", "networkx_dag", "--help"])
    out = capsys.readouterr().out
    assert stop.value.code == 0 and "graphc demo networkx-dag" in out and "--export FILE" in out


def test_the_wheel_has_the_examples(tmp_path: Path) -> None:
    """As setup.py says; where a wheel cannot be built there is only the checkout."""
    setuptools = pytest.importorskip("setuptools")
    if int(setuptools.__version__.split(".")[0]) < 77:
        pytest.skip(f"pyproject.toml is for setuptools 77 or later, found {setuptools.__version__}")
    root = programs.folder().parent
    if not (root / "setup.py").exists():
        pytest.skip("graphc is installed")
    code = (
        "import sys, runpy; sys.argv = ['setup.py', 'build_py', '--build-lib', sys.argv[1]]; runpy.run_path('setup.py')"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "lib")], cwd=root, capture_output=True, text=True)
    assert done.returncode == 0, f"setuptools {setuptools.__version__}: {done.stderr}"
    built = tmp_path / "lib" / "graphc"
    assert {p.name for p in (built / "examples").glob("*.py")} == {p.name for p in (root / "examples").glob("*.py")}
    assert (built / "examples" / "c" / "fashion_mnist.c").exists() and (built / "py.typed").exists()
    env = {**os.environ, "PYTHONPATH": str(tmp_path / "lib")}
    run = [sys.executable, "-m", "graphc", "demo", "chain-rule"]
    out = subprocess.run(run, cwd=tmp_path, env=env, capture_output=True, text=True, check=True).stdout
    assert "the total differential" in out
    before = {p for p in built.rglob("*") if p.suffix != ".pyc"}
    run = [sys.executable, "-m", "graphc", "demo", "hmc", "--draws", "10"]  # it caches a function of its own
    subprocess.run(run, cwd=tmp_path, env=env, capture_output=True, check=True)
    assert {p for p in built.rglob("*") if p.suffix != ".pyc"} == before, "nothing that uninstalling would leave"
    code = f"import sys; sys.path.insert(0, {str(built / 'examples')!r}); import chain_rule as c; print(c.chain()[0].nodes[-1].origin)"
    run = [sys.executable, "-c", code]
    out = subprocess.run(run, cwd=tmp_path, env=env, capture_output=True, text=True, check=True).stdout
    assert out.startswith("chain_rule.py:"), "the user's program, though it stands in the package's folder"


def test_missing_data_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("GRAPHC_FASHION_MNIST", raising=False)
    monkeypatch.delenv("GRAPHC_AMES", raising=False)
    for which, option in (
        ("fashion-mnist", "--data DIR"),
        ("networkx-dag", "--data DIR"),
        ("house-prices", "--data FILE"),
    ):
        assert main(["demo", which, "--json", str(tmp_path / "x.json")]) == 1
        assert option in capsys.readouterr().out and not (tmp_path / "x.json").exists()
    assert "train-images" in one_line(["demo", "fashion-mnist", "--data", str(tmp_path)], capsys)
    assert "no directory" in one_line(["demo", "fashion-mnist", "--data", str(tmp_path / "no")], capsys)
    assert "AmesHousing.csv" in one_line(["demo", "house-prices", "--data", str(tmp_path)], capsys)


@pytest.mark.parametrize(
    ("package", "args", "extra"),
    [("sklearn", ["demo"], "graphc[demo]"), ("torch", ["demo", "--compare", "torch"], "graphc[bench]")],
)
def test_missing_extra_is_one_line(
    package: str,
    args: list[str],
    extra: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    real = builtins.__import__

    def without(name: str, *more: Any, **named: Any) -> Any:
        if name.split(".")[0] == package:
            raise ImportError(name)
        return real(name, *more, **named)

    monkeypatch.setattr(builtins, "__import__", without)
    assert extra in one_line(args, capsys)


def test_json_is_checked_before_the_work(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for place in (tmp_path, tmp_path / "no" / "x.json"):
        assert main(["demo", "neuron", "--json", str(place)]) == 1
        captured = capsys.readouterr()
        assert captured.out == "" and captured.err.count("\n") == 1 and str(tmp_path) in captured.err


@pytest.mark.parametrize(
    "args",
    [
        ["demo", "nothing"],
        ["demo", "--epochs", "0"],
        ["demo", "--epochs", "many"],
        ["demo", "--seed", "-1"],
        ["demo", "neuron", "--epochs", "3"],
        ["demo", "xor", "--compare", "torch"],
        ["demo", "digits", "--data", "."],
        ["demo", "--compare", "abacus"],
        [],
    ],
    ids=" ".join,
)
def test_wrong_options_are_refused(args: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(args)
    assert stop.value.code == 2
    captured = capsys.readouterr()
    assert "error:" in captured.err and "_positive" not in captured.err and captured.out == ""


def test_idx_files_are_checked(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no file"):
        read_idx(tmp_path / "nothing")
    cases = {
        b"\0\0\x09\1\0\0\0\0": "unsigned bytes",
        b"": "unsigned bytes",
        b"\0\0\x08\1\0\0\0\5abc": "3 bytes",
        b"\0\0\x08\3\0": "within its head",
        b"\0\0\x08\3" + b"\xff" * 12: "0 bytes",  # sizes whose product leaves 64 bits
    }
    for raw, text in cases.items():
        (tmp_path / "x").write_bytes(raw)
        with pytest.raises(DataError, match=text):
            read_idx(tmp_path / "x")
    (tmp_path / "x").write_bytes(b"\0\0\x08\1\0\0\0\2ab")
    assert read_idx(tmp_path / "x").tolist() == [97, 98]


def test_damaged_gzip_is_a_data_error(tmp_path: Path) -> None:
    """Every byte of a file changed in turn, and every beginning of it."""
    write_idx(tmp_path / "y.gz", np.arange(200) % 7)
    whole = (tmp_path / "y.gz").read_bytes()
    damaged = [whole[:k] for k in range(len(whole))]
    damaged += [whole[:k] + bytes([whole[k] ^ 0xFF]) + whole[k + 1 :] for k in range(10, len(whole))]
    for raw in damaged:
        (tmp_path / "y.gz").write_bytes(raw)
        with pytest.raises(DataError, match=r"y\.gz"):
            read_idx(tmp_path / "y")


def test_images_that_do_not_belong_together(tmp_path: Path) -> None:
    write_images(tmp_path)
    labels = tmp_path / "t10k-labels-idx1-ubyte"
    for wrong, text in ((np.zeros(499), "belong together"), (np.full(500, 10), "from 0 to 9, found 10")):
        write_idx(labels, wrong)
        with pytest.raises(DataError, match=text):
            fashion_mnist(tmp_path)
    write_idx(labels, np.zeros(500))
    write_idx(tmp_path / "t10k-images-idx3-ubyte", np.zeros((500, 5, 5)))
    with pytest.raises(DataError, match="36 pixels, test images 25"):
        fashion_mnist(tmp_path)


def test_house_tables_are_checked(tmp_path: Path) -> None:
    file = tmp_path / "AmesHousing.csv"
    good = ["Lot Area,Street,SalePrice"] + [f"{100 + k},Pave,{1000 + k}" for k in range(60)]

    def change(line: int, text: str) -> bytes:
        return "\n".join([*good[:line], text, *good[line + 1 :]]).encode()

    cases = {
        b"": "column SalePrice, found none",
        b"a,b\n1,2\n": "column SalePrice, found a, b",
        b"a,SalePrice\n1,2\n": "at least 50 houses, found 1",
        change(7, "1,Pave,much"): "house 7: expected a price above 0, found 'much'",
        change(7, "1,Pave,0"): "house 7: expected a price above 0",
        change(7, "1,Pave,nan"): "house 7: expected a price above 0",
        change(9, "1,Pave"): "house 9: expected 3 fields, found 2",
        change(9, '1,"Pave,3'): "not a CSV table",
        change(9, "1,Pave,3") + b"\n\xff": "not a CSV table",
    }
    for raw, text in cases.items():
        file.write_bytes(raw)
        with pytest.raises(DataError, match=text):
            houses.read(tmp_path)
    file.write_text("\n".join(good))
    found = houses.read(file)
    assert list(found.numbers) == ["Lot Area"] and list(found.texts) == ["Street"] and len(found.log_price) == 60


def test_features_are_fitted_on_the_training_rows_alone() -> None:
    """Rows that are not trained on may change as they like: the features of the others stay."""
    rng = np.random.default_rng(0)
    area, kinds = rng.uniform(10, 20, 100), rng.choice(["a", "b", ""], 100)
    area[::7] = np.nan
    train = np.arange(80)
    before = houses.features(houses.Houses({"area": area}, {"kind": list(kinds)}, np.zeros(100)), train)
    area[80:], kinds[80:] = 1e6, "c"
    after = houses.features(houses.Houses({"area": area}, {"kind": list(kinds)}, np.zeros(100)), train)
    assert before.shape == after.shape == (100, 5)  # area, whether it is missing, three kinds
    np.testing.assert_array_equal(before[:80], after[:80])
    np.testing.assert_allclose(before[:80].mean(0), 0, atol=1e-5)
    np.testing.assert_allclose(before[:80].std(0), 1, atol=1e-5)


def test_house_demo_on_a_small_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(0)
    area = rng.integers(500, 3000, 80)
    rows = [f"{k},{a},{'ab'[k % 2]},{np.exp(11 + 0.0004 * a):.0f}" for k, a in enumerate(area)]
    (tmp_path / "AmesHousing.csv").write_text("\n".join(["Order,Area,Street,SalePrice", *rows]))
    file = tmp_path / "out.json"
    assert main(["demo", "house-prices", "--data", str(tmp_path), "--epochs", "3", "--json", str(file)]) == 0
    table = json.loads(file.read_text())["scores"]
    networks = ["network, 0, 0", "network, 1.0, 0", "network, 0, 0.3", "network, 1.0, 0.3"]
    assert sorted(table) == sorted(["ridge, 0, 0", *networks])
    captured = capsys.readouterr()
    assert all(f"{np.mean(folds):.4f}" in captured.out and len(folds) == 5 for folds in table.values())
    assert max(map(len, captured.out.splitlines())) <= 80 and captured.err == ""


def test_progress_bar(capsys: pytest.CaptureFixture[str]) -> None:
    bar = Line(4, "epoch", shown=True)
    bar.step()
    bar.close()
    err = capsys.readouterr().err
    assert "epoch 1/4" in err and err.endswith("\r") and "\x1b" not in err
    assert max(len(part) for part in err.split("\r")) <= 79
    quiet = Line(1, "epoch")  # standard error is captured, so not a terminal
    quiet.step()
    quiet.close()
    assert capsys.readouterr().err == ""


def command(*args: str) -> str:
    return subprocess.run([sys.executable, "-m", "graphc", *args], capture_output=True, text=True, check=True).stdout


def test_info_and_help() -> None:
    out = command("info")
    rows = dict(line.split(maxsplit=1) for line in out.splitlines())
    assert rows["cache"].startswith(os.environ["GRAPHC_CACHE_DIR"])
    assert {"graphc", "python", "numba", "processor", "vectors", "products", "threads"} <= set(rows)
    text = command("demo", "--help")
    assert "--data DIR" in text and "fashion-mnist" in text and max(map(len, text.splitlines())) <= 80


def test_a_closed_pipe_is_quiet() -> None:
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run([sys.executable, "-m", "graphc", "info"], stdout=write, stderr=subprocess.PIPE, text=True)
    os.close(write)
    assert done.returncode == 1 and done.stderr == ""
