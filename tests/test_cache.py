"""Compiled kernels on disk: several processes, damaged files, and the same code again."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

import graphc as gx
from graphc.codegen import jit

PROGRAM = """
import sys, time, numpy as np, graphc as gx
from graphc.codegen.jit import compile_source
from graphc.codegen.kernel import SIGNATURE
g = gx.Graph()
x = g.input("x", ("n", 3)); w = g.parameter("w", np.ones((3, 2), "f"))
loss = gx.mean(gx.tanh(x @ w) * float(sys.argv[1]))
f = gx.compile([x], [loss, gx.grad(loss, w)])
value, slope = f(np.full((4, 3), 0.1, "f"))
print("hit" if f._compiled.cache_hit else "compiled", np.float32(value).tobytes().hex(), slope.tobytes().hex())
"""


def start(cache: Path, number: float = 1.0) -> subprocess.Popen[str]:
    env = {**os.environ, "GRAPHC_CACHE_DIR": str(cache)}
    command = [sys.executable, "-W", "ignore", "-c", PROGRAM, str(number)]
    return subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish(process: subprocess.Popen[str]) -> list[str]:
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    return out.split()


def test_eight_processes_compile_once(tmp_path: Path) -> None:
    results = [finish(p) for p in [start(tmp_path / "cache") for _ in range(8)]]
    assert sorted(r[0] for r in results) == ["compiled"] + ["hit"] * 7
    assert len({tuple(r[1:]) for r in results}) == 1, "a cached kernel gives other bits"


def damage(entry: Path, kind: int, rng: random.Random) -> None:
    """Spoils one file of an entry."""
    files = sorted(p for p in entry.rglob("*") if p.is_file() and p.name != "lock")
    target = rng.choice([p for p in files if p.parent.name == "__pycache__"] if kind < 6 else files)
    raw = target.read_bytes()
    if kind in (0, 6):
        target.write_bytes(raw[: rng.randrange(len(raw))])
    elif kind in (1, 7):
        at = rng.randrange(len(raw))
        target.write_bytes(raw[:at] + bytes([raw[at] ^ (1 << rng.randrange(8))]) + raw[at + 1 :])
    elif kind in (2, 8):
        target.write_bytes(b"")
    elif kind in (3, 9):
        target.unlink()
    elif kind == 4:
        target.unlink()
        target.mkdir()
    else:
        target.write_bytes(rng.randbytes(len(raw)))


def test_forty_damaged_entries_are_rebuilt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In this process, with the in-memory table emptied, so that each entry is read from disk anew."""
    monkeypatch.setenv("GRAPHC_CACHE_DIR", str(tmp_path))
    source = "def kernel(a, b, c, d, e):\n    return a * 3 + {}\n"
    signature = "int64(int64, int64, int64, int64, int64)"
    rng = random.Random(0)
    for k in range(4):
        jit.compile_source(source.format(k), "kernel", signature)
    entries = sorted(p for p in tmp_path.iterdir() if p.is_dir())
    assert len(entries) == 4
    for number in range(40):
        k = number % 4
        jit._shared.clear()
        damage(entries[k], number % 10, rng)
        values = set()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for j in range(4):
                values.add(jit.compile_source(source.format(j), "kernel", signature).function(2, 0, 0, 0, 0))
        assert values == {6, 7, 8, 9}
        jit._shared.clear()
        assert all(jit.compile_source(source.format(j), "kernel", signature).cache_hit for j in range(4)), number


def test_a_cache_that_cannot_be_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "file"
    file.write_text("not a directory")
    monkeypatch.setenv("GRAPHC_CACHE_DIR", str(file / "cache"))
    source = "def kernel(a, b, c, d, e):\n    return a + 1234\n"
    with pytest.warns(UserWarning, match="cannot be used"):
        made = jit.compile_source(source, "kernel", "int64(int64, int64, int64, int64, int64)")
    assert made.function(1, 0, 0, 0, 0) == 1235 and not made.cache_hit


@pytest.mark.skipif(not hasattr(os, "getuid"), reason="needs POSIX permissions")
def test_a_cache_that_others_may_write_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tmp_path.chmod(0o777)
    monkeypatch.setenv("GRAPHC_CACHE_DIR", str(tmp_path))
    with pytest.raises(gx.CompileError, match="belong to you"):
        jit.compile_source(
            "def kernel(a, b, c, d, e):\n    return 99\n", "kernel", "int64(int64, int64, int64, int64, int64)"
        )


def test_equal_kernels_are_one_and_flags_are_in_the_key() -> None:
    source, signature = "def kernel(a, b, c, d, e):\n    return a + 5\n", "int64(int64, int64, int64, int64, int64)"
    first = jit.compile_source(source, "kernel", signature)
    assert jit.compile_source(source, "kernel", signature) is first
    assert jit.compile_source(source, "kernel", signature, fastmath=True) is not first


def test_records_are_remembered_and_damage_is_forgotten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRAPHC_CACHE_DIR", str(tmp_path))
    assert jit.recall("graph") is None
    jit.remember("graph", {"symbols": ["n"]})
    assert jit.recall("graph") == {"symbols": ["n"]}
    (file,) = tmp_path.glob("*.json")
    file.write_bytes(file.read_bytes()[:-1] + b"?")
    assert jit.recall("graph") is None
