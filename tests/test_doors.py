"""What files may be: regular files are replaced, devices and pipes are written to and stay, directories are refused."""

from __future__ import annotations

import io
import os
import pty
import signal
import stat
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import graphc as gx
from graphc import atomic
from graphc.cli import main

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs pipes and devices with names")

Write = Callable[[Path], None]


def model() -> gx.Executable:
    g = gx.Graph("doors")
    x, w = g.input("x", ("n",)), g.parameter("w", np.float32(2))
    return gx.compile([x], gx.sum(x) * w, updates={w: w + 1}, backend="numpy")


def command(*words: str) -> None:
    """A command on files in the working directory."""
    status = main(list(words))
    if status:
        raise OSError(f"status {status}")


def onnx(path: Path) -> None:
    pytest.importorskip("onnx", reason='needs the extra "onnx"')
    model().export_onnx(path, verify=False)


def module(path: Path) -> None:
    g = gx.Graph("doors")
    x = g.input("x", ("n",))
    gx.compile([x], gx.sum(x)).export_python(path)


def picture(path: Path) -> None:
    plot = pytest.importorskip("matplotlib.figure", reason="needs matplotlib")
    from graphc.bench.plot import keep

    given = Path(f"{path}.png")
    given.unlink(missing_ok=True)
    given.symlink_to(path)
    keep(plot.Figure(), given)


WRITERS: dict[str, Write] = {
    "save": lambda path: gx.save(path, f=model()),
    "export_python": module,
    "export_onnx": onnx,
    "run --out": lambda path: command("run", "model.gx", "x=x.npy", "--out", str(path)),
    "run --save": lambda path: command("run", "model.gx", "x=x.npy", "--save", str(path)),
    "demo --json": lambda path: command("demo", "neuron", "--json", str(path)),
    "bench --plot": picture,
}


@pytest.fixture(params=WRITERS)
def write(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")
    monkeypatch.setattr(atomic, "PATIENCE", 0.2)
    gx.save("model.gx", f=model())
    np.save("x.npy", np.ones(3, np.float32))
    return WRITERS[request.param]


def left(folder: Path) -> set[str]:
    return {p.name for p in folder.iterdir() if p.name != "cwd" and p.suffix != ".png"}


def test_regular_files_are_replaced_and_keep_their_permissions(write: Write, tmp_path: Path) -> None:
    place, link, linked = tmp_path / "f", tmp_path / "link", tmp_path / "linked"
    place.write_text("before")
    place.chmod(0o640)
    before = place.stat().st_ino
    write(place)
    found = place.stat()
    assert found.st_ino != before and stat.S_IMODE(found.st_mode) == 0o640 and found.st_size > 20
    link.symlink_to(linked)  # leads to nothing yet
    write(link)
    assert link.is_symlink() and linked.stat().st_size > 20
    assert left(tmp_path) == {"f", "link", "linked"}


def test_directories_are_refused(write: Write, tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    with pytest.raises(OSError):
        write(tmp_path / "d")
    assert left(tmp_path) == {"d"} and not list((tmp_path / "d").iterdir())


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only the superuser makes devices")
def test_devices_stay(write: Write, tmp_path: Path) -> None:
    device = tmp_path / "null"
    os.mknod(device, 0o666 | stat.S_IFCHR, os.makedev(1, 3))
    write(device)
    assert stat.S_ISCHR(os.stat(device).st_mode) and left(tmp_path) == {"null"}


def test_pipes_are_written_to_and_stay(write: Write, tmp_path: Path) -> None:
    pipe, regular = tmp_path / "pipe", tmp_path / "regular"
    os.mkfifo(pipe)
    with pytest.raises(OSError):  # nobody reads it
        write(pipe)
    read: list[bytes] = []
    reader = threading.Thread(target=lambda: read.append(pipe.read_bytes()))
    reader.start()
    write(pipe)
    reader.join(60)
    write(regular)
    assert stat.S_ISFIFO(os.stat(pipe).st_mode) and left(tmp_path) == {"pipe", "regular"}
    assert len(read[0]) > 20 and read[0][:4] == regular.read_bytes()[:4]


def test_a_terminal_is_written_to(tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    with atomic.replacing(os.ttyname(theirs)) as file:
        file.write(b"whole")
    assert os.read(ours, 100) == b"whole"
    os.close(theirs)
    os.close(ours)


def test_a_pipe_without_a_name(tmp_path: Path) -> None:
    """As a shell's ``>(cat)``: a link that leads to no path."""
    ours, theirs = os.pipe()
    gx.save(f"/dev/fd/{theirs}", f=model())
    os.close(theirs)
    with os.fdopen(ours, "rb") as file:
        data = file.read()
    assert zipfile.ZipFile(io.BytesIO(data)).testzip() is None


def test_a_reader_that_goes_is_an_error_with_the_path(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    with pytest.raises(BrokenPipeError) as caught, atomic.replacing(pipe) as file:
        file.write(bytes(1 << 20))
        os.set_blocking(reader, True)
        threading.Thread(target=lambda: (time.sleep(0.3), os.close(reader))).start()
    assert caught.value.filename == str(pipe)


def test_an_error_in_the_block_sends_nothing(tmp_path: Path) -> None:
    pipe, place = tmp_path / "pipe", tmp_path / "f"
    os.mkfifo(pipe)
    place.write_text("before")
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    for path in (pipe, place):
        with pytest.raises(RuntimeError), atomic.replacing(path) as file:
            file.write(b"half")
            raise RuntimeError
    assert os.read(reader, 10) == b"" and place.read_text() == "before" and left(tmp_path) == {"pipe", "f"}
    os.close(reader)


@pytest.mark.parametrize(
    "words",
    [
        "run model.gx x=x.npy --out model.gx",
        "run model.gx x=x.npy --out ./x.npy",
        "run model.gx x=two.npz:x --out two.npz",
        "run model.gx x=x.npy --save x.npy",
        "run model.gx x=x.npy --save link",
        "run model.gx x=x.npy --out new --save new",
        "export model.gx --to python -o model.gx",
        "export model.gx --to onnx -o ../here/model.gx",
    ],
)
def test_no_command_writes_over_what_it_reads(
    words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    gx.save("model.gx", f=model())
    np.save("x.npy", np.ones(3, np.float32))
    np.savez("two.npz", x=np.ones(3, np.float32))
    Path("link").symlink_to("x.npy")
    before = {p.name: p.read_bytes() for p in Path().iterdir()}
    assert main(words.split()) == 2
    err = capsys.readouterr().err
    assert "another file of this command" in err and err.count("\n") == 1
    assert {p.name: p.read_bytes() for p in Path().iterdir()} == before


def test_a_pipe_is_no_input(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    gx.save("model.gx", f=model())
    os.mkfifo("pipe")
    with pytest.raises(gx.GraphFileError, match="not a file"):
        gx.load("pipe")
    assert main(["info", "pipe"]) == 1
    for words in ("x=pipe", "x=pipe.npz:x"):
        Path("pipe.npz").unlink(missing_ok=True)
        os.mkfifo("pipe.npz")
        assert main(["run", "model.gx", words]) == 2
        assert "not a regular file" in capsys.readouterr().err


# ---- sizes


def absurd() -> dict[str, Callable[[], object]]:
    g = gx.Graph("absurd")
    x = g.input("x", ("n",))
    outer = gx.reshape(x, (-1, 1, 1)) * gx.reshape(x, (1, -1, 1)) * gx.reshape(x, (1, 1, -1))
    ones, backends = np.ones(1 << 21, np.float32), ("numba", "numpy")

    def each(y: gx.Tensor, call: Callable[[gx.Executable], object]) -> Callable[[], object]:
        return lambda: [call(gx.compile([x], y, backend=backend)) for backend in backends]

    return {
        "result": each(gx.broadcast_to(gx.sum(x), (1 << 48,)), lambda f: f(ones[:3])),
        "result by sizes": each(gx.expand_dims(x, 0) * gx.expand_dims(x, 1), lambda f: f(ones)),
        "more than 64 bits": each(gx.sum(gx.softmax(outer)), lambda f: f(ones)),
        "argument": each(gx.sum(x), lambda f: f(np.broadcast_to(np.float32(1), (1 << 50,)))),
        "rows": each(gx.tanh(x), lambda f: f.run_batches([np.broadcast_to(np.float32(1), (1 << 50,))])),
        "known beforehand": each(gx.broadcast_to(gx.sum(x), (1 << 60,)), lambda f: f(ones[:3])),
        "asked for": lambda: gx.compile([x], x * x).memory(n=1 << 70),
    }


@pytest.mark.parametrize("what", absurd())
def test_absurd_sizes_are_an_error_that_names_node_and_size(what: str) -> None:
    with pytest.raises((gx.InputMemoryError, gx.ShapeError)) as caught:
        absurd()[what]()
    assert caught.value.node is not None and caught.value.node in str(caught.value)
    assert any(len(number) > 9 for number in str(caught.value).split() if number.isdigit()) or what == "argument"
    assert isinstance(caught.value, (MemoryError, ValueError))


def test_workspace_whose_size_wraps_around_is_refused_by_njit() -> None:
    g = gx.Graph("absurd")
    x = g.input("x", ("n",))
    outer = gx.reshape(x, (-1, 1, 1)) * gx.reshape(x, (1, -1, 1)) * gx.reshape(x, (1, 1, -1))
    exe = gx.compile([x], gx.sum(gx.softmax(gx.matmul(outer, gx.ones_like(outer)))))
    with pytest.raises(ValueError, match="sizes"):
        exe.njit(np.ones(1 << 21, np.float32))


@pytest.mark.parametrize("size", ["1000000000000", "9223372036854775807", "1" + "0" * 40])
def test_roundtrip_of_an_absurd_size_is_one_line(
    size: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    gx.save("model.gx", f=model())
    assert main(["roundtrip", "model.gx", "--size", size]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and size in err and "x, float32[n]" in err


# ---- Ctrl-C


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
@pytest.mark.parametrize("words", [["info"], ["roundtrip", "model.gx"]], ids=" ".join)
def test_ctrl_c_is_one_line_whenever_it_comes(words: list[str], tmp_path: Path) -> None:
    """From the first line of graphc on: what Python does before is not graphc's."""
    gx.save(tmp_path / "model.gx", f=model())
    root = str(Path(gx.__file__).parent.parent)
    script = tmp_path / "graphc"  # as pip writes it
    script.write_text(f"import sys, os; sys.path.insert(0, {root!r})\nfrom graphc.cli import main\nsys.exit(main())\n")
    for k in range(6):
        command = [sys.executable, str(script)] if k % 2 else [sys.executable, "-m", "graphc"]
        env = {**os.environ, "PYTHONPATH": root, "GRAPHC_CACHE_DIR": str(tmp_path / "cache")}
        process = subprocess.Popen(
            [*command, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path, env=env
        )
        until = time.monotonic() + 30
        while "numpy" not in Path(f"/proc/{process.pid}/maps").read_text() and time.monotonic() < until:
            time.sleep(0.005)  # until something that graphc imports is there
        time.sleep(0.15 * k)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
        assert (process.returncode, err) in ((130, "graphc: stopped\n"), (0, "")), (k, err)
