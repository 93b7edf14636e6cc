"""Commands on saved files and on the compile cache, as a person would call them."""

from __future__ import annotations

import os
import pickle
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from c_library import compiler

import graphc as gx
from graphc.cli import main
from graphc.codegen import jit
from graphc.commands.roundtrip import WAYS

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> gx.Graph:
    """model.gx, single.gx and arrays, in the working directory."""
    monkeypatch.chdir(tmp_path)
    g = gx.Graph("classifier")
    x, y = g.input("x", ("batch", 3)), g.input("y", ("batch",), "int64")
    w = g.parameter("W", np.eye(3, 2, dtype=np.float32))
    logits = x @ w
    loss = gx.mean(gx.cross_entropy(logits, y))
    train = gx.compile([x, y], loss, updates=gx.optim.Adam(lr=0.1).updates(loss))
    gx.save("model.gx", train=train, infer=gx.compile([x], {"logits": logits, "../label": gx.argmax(logits, axis=-1)}))
    gx.save("single.gx", only=gx.compile([x], [logits, gx.sum(logits)]))
    np.save("x.npy", np.arange(12, dtype=np.float32).reshape(4, 3))
    np.savez("data.npz", x=np.arange(12.0).reshape(4, 3), y=[0, 1, 1, 0])
    np.savez("one.npz", anything=np.ones((2, 3)))
    return g


def printed(args: str, capsys: Capture) -> str:
    """What a command that must succeed prints."""
    assert main(args.split()) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    return captured.out


def refused(args: str, capsys: Capture, status: int = 2) -> str:
    """The one line of a command that must fail."""
    assert main(args.split()) == status
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.startswith("graphc: ") and captured.err.count("\n") == 1, captured.err
    return captured.err


def in_a_process(args: list[str], *before: str, **options: Any) -> tuple[int, str, str]:
    """Status, output and errors of a command in a process of its own; words ``before`` it run it."""
    command = [*before, sys.executable, "-m", "graphc", *args]
    done = subprocess.run(command, capture_output=True, timeout=120, **options)
    return done.returncode, done.stdout.decode("ascii"), done.stderr.decode("ascii")


# ---- info


def test_info_tells_all_and_compiles_nothing(model: gx.Graph, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("graphc.run.executable.Executable.__init__", None)
    out = printed("info model.gx", capsys)
    for text in (
        f"model.gx, {os.path.getsize('model.gx'):,} bytes",
        f"format      2, written by graphc {gx.__version__}",
        "state       4 arrays, 76 bytes",
        "inputs   x: float32[batch, 3], y: int64[batch]",
        "outputs  {logits: float32[batch, 2], ../label: int64[batch]}",
        "updates  adam/step, adam/W/m, adam/W/v, W",
    ):
        assert text in out


def test_info_of_hostile_names_obeys_none_of_them(tmp_path: Path, capsys: Capture) -> None:
    g = gx.Graph("\x1b]0;title\x07")
    x = g.input("\x1b[2J\r\n", ("n",))
    state = g.parameter("\x9b31m" + "long" * 1000, np.ones(2, np.float32))
    gx.save(tmp_path / "m.gx", **{"\x1b[31m": gx.compile([x], gx.sum(x) * state, backend="numpy")})
    assert main(["info", str(tmp_path / "m.gx")]) == 0
    assert main(["run", str(tmp_path / "m.gx")]) == 2
    captured = capsys.readouterr()
    for line in (captured.out + captured.err).split("\n"):
        assert line.isprintable(), line
    assert "\\x1b[2J" in captured.out and "input" in captured.err and len(captured.out) < 6000


def test_an_output_that_cannot_take_every_character(tmp_path: Path) -> None:
    g = gx.Graph("名前")
    gx.save(tmp_path / "é.gx", f=gx.compile([], g.constant(1.0) + 1, backend="numpy"))
    env = {**os.environ, "PYTHONIOENCODING": "ascii"}
    status, out, err = in_a_process(["info", str(tmp_path / "é.gx")], env=env)
    assert (status, err) == (0, "") and r"graph       \u540d\u524d, 3 nodes" in out


@pytest.mark.skipif(os.name != "posix", reason="a POSIX shell closes its output")
def test_no_output_at_all() -> None:
    assert in_a_process(["info"], "sh", "-c", 'exec "$@" >&-', "sh") == (0, "", "")


def test_a_damaged_file_is_one_line(model: gx.Graph, capsys: Capture) -> None:
    data = bytearray(Path("model.gx").read_bytes())
    data[len(data) // 2] ^= 1
    Path("model.gx").write_bytes(data)
    for command in ("info model.gx", "run model.gx", "roundtrip model.gx", "export model.gx --to python -o m.py"):
        assert "SHA-256 differs" in refused(command, capsys, status=1)
    assert "No such file" in refused("info nowhere.gx", capsys, status=1)


# ---- run


def test_run_writes_what_a_call_returns(model: gx.Graph, capsys: Capture) -> None:
    x = np.load("x.npy")
    out = printed("run model.gx x=x.npy --executable infer --out result.npz", capsys)
    expected = gx.load("model.gx")["infer"](x)
    assert "float32[4, 2]" in out and "int64[4]" in out
    with np.load("result.npz") as result:  # a key that might be a path is not a member's name
        assert result.files == ["out0", "out1"]
        np.testing.assert_array_equal(result["out0"], expected["logits"])
        np.testing.assert_array_equal(result["out1"], expected["../label"])
    printed("run single.gx x=one.npz --out other.npz", capsys)
    with np.load("other.npz") as result:
        assert result.files == ["out0", "out1"] and result["out1"] == 4.0
    assert not [name for name in os.listdir() if name.endswith(".tmp")]


def test_run_keeps_the_new_state_where_asked(model: gx.Graph, capsys: Capture) -> None:
    before = Path("model.gx").read_bytes()
    words = "x=data.npz:x y=data.npz:y --executable train"
    assert "state updated: adam/step" in printed(f"run model.gx {words}", capsys)
    assert Path("model.gx").read_bytes() == before
    for _ in range(2):
        printed(f"run model.gx {words} --save model.gx", capsys)
    assert gx.load("model.gx").graph.state["adam/step"] == 2 and list(gx.load("model.gx")) == ["train", "infer"]


class Trap:
    """Loading it would leave a mark."""

    def __reduce__(self) -> Any:
        return open, ("executed", "w")


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ("x=x.npy", "the file holds train, infer; choose one"),
        ("x=x.npy --executable q", "no executable 'q'; the file holds train, infer"),
        ("--executable infer", "input 'x' is missing: expected float32[batch, 3]"),
        ("z=x.npy --executable infer", "expected x=FILE, found 'z=x.npy'"),
        ("x --executable infer", "expected x=FILE, found 'x'"),
        ("x=x.npy x=x.npy --executable infer", "'x' is given twice"),
        ("x=data.npz --executable infer", "holds x, y; write data.npz:KEY"),
        ("x=data.npz:q --executable infer", "there is no 'q'; it holds x, y"),
        ("x=data.npz:y --executable infer", "expected float32[batch, 3], with 2 axes, found shape (4,)"),
        ("x=x.npy y=x.npy --executable train", "input 'y': expected int64[batch], found float32"),
        ("x=one.npz y=data.npz:y --executable train", "batch is 4 in shape (4,), but 2 in input 'x'"),
        ("x=data.npz:x y=labels.npy --executable train", "label 7 at row 2 is not in [0, 2)"),
        ("x=nowhere.npy --executable infer", "nowhere.npy: No such file"),
        ("x=. --executable infer", ".: Is a directory"),
        ("x=model.py --executable infer", "model.py: not an array of numbers"),
        ("x=trap.npy --executable infer", "trap.npy: not an array of numbers"),
        ("x=trap.npz --executable infer", "trap.npz: not an array of numbers"),
        ("x=cut.npy --executable infer", "cut.npy: not an array of numbers"),
        ("x=cut.npz --executable infer", "cut.npz: not an array of numbers"),
        ("x=huge.npy --executable infer", "huge.npy: not an array of numbers"),
        ("x=text.npy --executable infer", "found dtype <U5"),
    ],
)
def test_run_refuses_in_one_line(model: gx.Graph, words: str, text: str, capsys: Capture) -> None:
    Path("model.py").write_text("print('no array')")
    np.save("labels.npy", [0, 1, 7, 0])
    np.save("text.npy", np.array(["words"]))
    np.save("trap.npy", np.array([Trap()]), allow_pickle=True)
    np.savez("trap.npz", x=np.array([Trap()]))
    whole = Path("x.npy").read_bytes()
    Path("cut.npy").write_bytes(whole[:-5])
    Path("cut.npz").write_bytes(Path("one.npz").read_bytes()[:-30])
    Path("huge.npy").write_bytes(whole.replace(b"(4, 3), }", b"(4" + b"0" * 14 + b", 3), }")[: len(whole)])
    assert text in refused(f"run model.gx {words}", capsys)
    assert not Path("executed").exists()


def test_a_result_that_cannot_be_written_leaves_what_was_there(model: gx.Graph, capsys: Capture) -> None:
    Path("kept.npz").write_text("kept")
    assert main(["run", "model.gx", "x=data.npz:y", "--executable", "infer", "--out", "kept.npz"]) == 2
    assert main(["run", "model.gx", "x=x.npy", "--executable", "infer", "--out", "nowhere/r.npz"]) == 1
    assert "graphc: No such file or directory: nowhere/r.npz\n" in capsys.readouterr().err
    assert main(["export", "single.gx", "--to", "python", "-o", "."]) == 1
    assert capsys.readouterr().err == "graphc: Is a directory: .\n"
    assert Path("kept.npz").read_text() == "kept" and not [n for n in os.listdir() if n.endswith(".tmp")]


# ---- other formats


def test_export_of_a_module(model: gx.Graph, capsys: Capture) -> None:
    assert "choose one of them" in refused("export model.gx --to python -o m.py", capsys)
    assert printed("export single.gx --to python -o m.py", capsys) == "wrote m.py\n"
    code = "import sys, numpy as np, m; print(float(m.classifier(np.ones((2, 3), 'f'))[1])); assert 'graphc' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "4.0\n"


def test_export_of_a_library(model: gx.Graph, capsys: Capture) -> None:
    compiler()
    assert printed("export model.gx --to c -o c --library net", capsys) == "wrote c\n"
    assert {"libnet.so", "net.h", "main.c"} <= set(os.listdir("c"))
    assert "net_infer_call" in (header := Path("c/net.h").read_text()) and "net_train_call" in header
    assert printed("export model.gx --to c -o d --name infer", capsys) and "train" not in Path("d/model.h").read_text()
    assert "pdp11" in refused("export model.gx --to c -o e --cpu pdp11", capsys, status=1)


def test_export_of_a_model(model: gx.Graph, capsys: Capture) -> None:
    pytest.importorskip("onnx", reason='needs the extra "onnx"')
    assert printed("export model.gx --to onnx -o m.onnx --name train", capsys) == "wrote m.onnx\n"
    assert Path("m.onnx").stat().st_size > 100


def test_roundtrip_of_files(model: gx.Graph, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("graphc.commands.roundtrip.WAYS", {"file": WAYS["file"]})
    for words in ("", "--size 1", "x=data.npz:x y=data.npz:y"):
        lines = printed(f"roundtrip model.gx {words}", capsys).splitlines()[1:]
        assert [re.split(r"\s{2,}", line) for line in lines] == [
            ["train", "file", "the same bits"],
            ["infer", "file", "the same bits"],
        ]
    assert "no input is meant by 'q=x.npy'; inputs are x, y" in refused("roundtrip model.gx q=x.npy", capsys)
    assert "no executable 'q'" in refused("roundtrip model.gx --executable q", capsys)
    assert "expected a size, found -1" in refused("roundtrip model.gx --size -1", capsys)


def off(change: Callable[[Any], Any]) -> Any:
    """A format that changes the last result."""

    def way(exe: Any, given: Any, directory: Path) -> Any:
        *results, last = WAYS["file"](exe, given, directory)
        return [*results, change(last)]

    return way


def test_roundtrip_sees_what_differs(model: gx.Graph, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    def unable(exe: Any, given: Any, directory: Path) -> Any:
        raise gx.ExportError("there is no compiler\nreally")

    ways = {
        "exact": off(lambda a: np.nextafter(a, np.float32(9))),
        "onnx": off(lambda a: np.nextafter(a, np.float32(9))),
        "shape": off(lambda a: np.asarray(a)[None]),
        "nan": off(lambda a: a * np.nan),
        "skipped": unable,
    }
    monkeypatch.setattr("graphc.commands.roundtrip.WAYS", ways)
    assert main(["roundtrip", "single.gx"]) == 1
    told = [line.split(maxsplit=2)[1:] for line in capsys.readouterr().out.splitlines()[1:]]
    assert [t[0] for t in told] == list(ways)
    exact, onnx, shape, nan, skipped = (t[1] for t in told)
    assert exact.startswith("DIFFERS: 1 ulp") and onnx.startswith("1 ulp")
    assert shape == "other shapes or dtypes" and nan.startswith("DIFFERS: inf ulp")
    assert skipped == "skipped: there is no compiler"
    monkeypatch.setattr("graphc.commands.roundtrip.WAYS", {"onnx": ways["onnx"], "skipped": unable})
    assert main(["roundtrip", "single.gx"]) == 0


def test_roundtrip_through_every_format(model: gx.Graph, capsys: Capture) -> None:
    lines = printed("roundtrip model.gx x=data.npz:x y=data.npz:y", capsys).splitlines()[1:]
    told = {tuple(line.split(maxsplit=2)[:2]): line.split(maxsplit=2)[2] for line in lines}
    assert list(told) == [(name, way) for name in ("train", "infer") for way in WAYS]
    for (_, way), text in told.items():
        assert text == "the same bits" or (way in ("c", "onnx") and ("skipped" in text or way == "onnx")), text


# ---- the cache


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache with machine code, records and locks, and files of others."""
    root = tmp_path / "cache"
    monkeypatch.setenv("GRAPHC_CACHE_DIR", str(root))
    monkeypatch.setattr(jit, "_shared", {})  # else nothing is compiled anew
    g = gx.Graph(float_dtype="float64")
    x, w = g.input("x", ("rows",), "float64"), g.parameter("w", 1.0)
    gx.compile([x], gx.sum(x * w) * 0.12345)
    for name in ("notes.txt", "f" * 32, "0" * 31 + ".json", "0" * 32 + ".kernel.txt", "../outside.json"):
        (root / name).write_text("mine")
    (root / ("e" * 32 + ".json")).symlink_to(root / "notes.txt")
    (root / ".tmp-abcd1234").write_text("left by a crash")
    return root


def test_cache_ls(cache: Path, capsys: Capture) -> None:
    out = printed("cache ls", capsys)
    assert "machine code" in out and "sizes rows, 1 arrays of state" in out
    assert (
        out.count("\n")
        == 1 + len([f for f in cache.iterdir() if re.fullmatch(r"[0-9a-f]{32}\.(kernel|json)", f.name)]) - 1
    )
    assert "notes" not in out and "e" * 32 not in out


def test_cache_verify_loads_nothing(cache: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object, **__: object) -> None:
        raise AssertionError("something was unpickled")

    monkeypatch.setattr(pickle, "loads", never)
    monkeypatch.setattr(pickle, "load", never)
    assert printed("cache verify", capsys).endswith("all whole\n")
    damaged = sorted(f for f in cache.glob("*.kernel"))[0]
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"?")
    (cache / ("d" * 32 + ".json")).write_text("short")
    assert main(["cache", "verify"]) == 1
    out = capsys.readouterr().out
    assert out.count("damaged: ") == 2 and f"damaged: {damaged.name}, machine code" in out and "2 damaged" in out
    assert main(["cache", "ls"]) == 0 and "damaged" in capsys.readouterr().out


def test_cache_clear_leaves_what_is_not_its_own(cache: Path, tmp_path: Path, capsys: Capture) -> None:
    out = printed("cache clear", capsys)
    left = {f.name for f in cache.iterdir()}
    assert left == {"notes.txt", "f" * 32, "0" * 31 + ".json", "0" * 32 + ".kernel.txt", "e" * 32 + ".json"}
    assert (tmp_path / "outside.json").read_text() == (cache / "notes.txt").read_text() == "mine"
    assert re.search(r"removed \d+ files, [\d.]+ kB", out) and "left 5 that are not graphc's" in out
    assert "removed 0 files" in printed("cache clear", capsys)


def test_a_cache_that_is_not_there(tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRAPHC_CACHE_DIR", str(tmp_path / "none"))
    for command in ("ls", "verify", "clear"):
        assert "0 files" in printed(f"cache {command}", capsys)
    assert not (tmp_path / "none").exists(), "looking makes nothing"


# ---- help


@pytest.mark.parametrize("command", ["info", "run", "export", "roundtrip", "check", "cache"])
def test_help_teaches(command: str, capsys: Capture) -> None:
    with pytest.raises(SystemExit) as stop:
        main([command, "--help"])
    out = capsys.readouterr().out
    assert stop.value.code == 0 and f"examples:\n  graphc {command}" in out
    assert max(map(len, out.splitlines())) <= 100
