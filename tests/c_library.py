"""C libraries in tests: a compiler where there is one, and an exported library called through ctypes."""

from __future__ import annotations

import ctypes
import hashlib
import mmap
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import graphc as gx
from graphc.export.c.layout import Library
from graphc.export.c.machine import Entry, emit_object
from graphc.export.c.text import kernel_symbol
from graphc.ir import dims

STRICT = ["-Wall", "-Wextra", "-Werror", "-pedantic"]


def compiler() -> str:
    """The C compiler; the test is skipped where there is none, or libraries are not made."""
    if not sys.platform.startswith("linux"):
        pytest.skip("C libraries are made on Linux")
    found = next((c for c in (os.environ.get("CC"), "cc", "gcc", "clang") if c and shutil.which(c)), None)
    if found is None or shutil.which("ar") is None:
        pytest.skip("no C compiler: install gcc or clang")
    return found


class CLibrary:
    """An exported library, and a state of its own."""

    def __init__(self, directory: Path, name: str = "model") -> None:
        self.name, self.lib = name, ctypes.CDLL(str(directory / f"lib{name}.so"))
        self.state: Any = None
        if hasattr(self.lib, f"{name}_init"):
            self.function("state_bytes", ctypes.c_size_t)
            self.function("state_at", ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p)
            self.function("state_dtype", ctypes.c_char_p, ctypes.c_int)
            self.function("init", None, ctypes.c_void_p)
            self.state = ctypes.create_string_buffer(self.lib[f"{name}_state_bytes"]())
            self.lib[f"{name}_init"](self.state)

    def function(self, suffix: str, result: Any, *args: Any) -> Any:
        made = getattr(self.lib, f"{self.name}_{suffix}")
        made.restype, made.argtypes = result, args
        return made

    def names(self, suffix: str, first: int = 0, step: int = 1) -> list[str]:
        """All names that a function looks up."""
        lookup = self.function(suffix, ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p)
        out, bytes_ = [], ctypes.c_size_t()
        while (at := lookup(first + step * len(out), ctypes.byref(bytes_))) is not None:
            out.append(ctypes.string_at(at, bytes_.value).decode("utf-8", "surrogatepass"))
        return out

    def graph_name(self) -> str:
        bytes_ = ctypes.c_size_t()
        at = self.function("graph_name", ctypes.c_void_p, ctypes.c_void_p)(ctypes.byref(bytes_))
        return ctypes.string_at(at, bytes_.value).decode("utf-8", "surrogatepass")

    def array(self, k: int) -> np.ndarray:
        """Array ``k`` of the state."""
        count = ctypes.c_int64()
        at = getattr(self.lib, f"{self.name}_state_at")(self.state, k, ctypes.byref(count))
        dtype = np.dtype(getattr(self.lib, f"{self.name}_state_dtype")(k).decode())
        return np.frombuffer((ctypes.c_char * (count.value * dtype.itemsize)).from_address(at), dtype)

    def guarded_state(self) -> np.ndarray:
        """Moves the state to memory between guards."""
        old = np.frombuffer(self.state, np.uint8)[: getattr(self.lib, f"{self.name}_state_bytes")()]
        new = guarded(old.shape, old.dtype)
        new[...] = old
        self.state = ctypes.c_void_p(new.ctypes.data)
        return new

    def call(self, exe: gx.Executable, prefix: str, *arrays: np.ndarray, empty: Any = np.empty) -> list[np.ndarray]:
        """Outputs of ``prefix_call``, in buffers made by ``empty(shape, dtype)``; AssertionError for a status."""
        sizes: dict[str, int] = {}
        for t, a in zip(exe.inputs.values(), arrays, strict=True):
            sizes |= {n: v for s, v in zip(t.shape, a.shape, strict=True) if (n := dims.symbol_name(s))}
        numbers = [sizes[n] for n in exe.program.symbols]
        outputs = [empty(tuple(dims.evaluate(s, sizes) for s in t.shape), t.dtype) for t in exe.program.results]
        words = [ctypes.c_int64] * len(numbers)
        bytes_ = self.function(f"{prefix}workspace_bytes", ctypes.c_int64, *words)(*numbers)
        assert bytes_ >= 0
        work = empty((bytes_,), np.dtype("uint8"))
        kernel = exe.program.kernel(serial=True)
        pointers = [a.ctypes.data for a in (*arrays, *outputs, work)]
        state = [self.state] if kernel.state_names else []
        kinds = [ctypes.c_void_p] * len(state) + words + [ctypes.c_void_p] * len(pointers)
        status = self.function(f"{prefix}call", ctypes.c_int, *kinds)(*state, *numbers, *pointers)
        assert status == 0, status
        return outputs


_libc = ctypes.CDLL(None, use_errno=True)
_libc.mmap.restype = ctypes.c_void_p
_libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
_libc.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]


def guarded(shape: tuple[int, ...], dtype: np.dtype[Any], first: bool = False) -> np.ndarray:
    """An array whose last element (or ``first``) stands beside a page that cannot be touched."""
    page, size = mmap.PAGESIZE, int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    room = -(-max(size, 1) // page) * page
    start = _libc.mmap(None, room + 2 * page, mmap.PROT_READ | mmap.PROT_WRITE, mmap.MAP_PRIVATE | mmap.MAP_ANON, -1, 0)
    for guard in (start, start + page + room):
        assert _libc.mprotect(guard, page, 0) == 0
    at = start + page + (0 if first else room - size)
    made = np.frombuffer((ctypes.c_char * size).from_address(at), dtype).reshape(shape)
    made.view(np.uint8 if made.ndim else dtype)[...] = 0xA5 if made.ndim else 1
    return made


def flat(outputs: Any) -> list[np.ndarray]:
    """What an executable returned, in order."""
    if outputs is None:
        return []
    values = outputs.values() if isinstance(outputs, dict) else outputs if isinstance(outputs, list) else [outputs]
    return [np.asarray(v) for v in values]


def assert_same_bits(found: list[np.ndarray], expected: list[np.ndarray], what: str = "") -> None:
    for a, b in zip(found, expected, strict=True):
        assert a.shape == b.shape and a.dtype == b.dtype and a.tobytes() == np.ascontiguousarray(b).tobytes(), what


def whole(target: Path) -> None:
    """Every file that was written is there, as it was written."""
    lines = (target / "SHA256SUMS").read_text().splitlines()
    assert {line[66:] for line in lines} | {"SHA256SUMS"} == set(os.listdir(target)) and len(lines) > 1
    for line in lines:
        assert hashlib.sha256((target / line[66:]).read_bytes()).hexdigest() == line[:64]


def objects_of(*executables: gx.Executable) -> tuple[Library, bytes]:
    library = Library("model", {f"model_e{k}": exe for k, exe in enumerate(executables)}, "native")
    entries = {kernel_symbol(f): Entry(f.kernel, False) for f in library.functions}
    return library, emit_object("model", entries, "native", {})


def run(*command: Any, **options: Any) -> str:
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True, timeout=300, **options)
    assert done.returncode == 0, done.stderr
    return done.stdout


def classifier(dtype: str = "float32") -> tuple[gx.Executable, gx.Executable]:
    """A training step and an inference that share state."""
    g = gx.Graph("classifier", float_dtype=dtype)
    x, y = g.input("x", ("batch", 6), dtype), g.input("y", ("batch",), "int64")
    rng = np.random.default_rng(0)
    w1, b1 = (
        g.parameter("W1", rng.normal(size=(6, 20)).astype(dtype)),
        g.parameter("b1", np.zeros(20, dtype)),
    )
    w2 = g.parameter("W2", rng.normal(size=(20, 3)).astype(dtype) * 0.3)
    key = g.random_key(seed=3, name="key")
    h = gx.tanh(x @ w1 + b1)
    loss = gx.mean(gx.cross_entropy(gx.dropout(h, 0.3, key=key) @ w2, y)).named("loss")
    train = gx.compile([x, y], loss, updates=gx.optim.Adam(lr=0.05).updates(loss))
    return train, gx.compile([x], {"p": gx.softmax(h @ w2), "label": gx.argmax(h @ w2, axis=-1)})
