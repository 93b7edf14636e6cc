"""Functions of words do what Python does."""

from __future__ import annotations

import ctypes
import itertools
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from numba.core import types

from graphc.codegen import disk, words
from graphc.codegen.buffer import set_word, word
from graphc.codegen.words import address_of, c_function, call_address

labs = c_function("llabs", types.int64, types.int64)
MASK = 0xFF


def arithmetic(a: int, b: int) -> int:
    """A docstring is no statement."""
    c, d = a + b, a * b
    c, d = d, c
    c -= b & MASK
    return -c if a > b else c * (d | 3)


def loops(a: int, b: int) -> int:
    total = 0
    for i in range(a):
        for j in range(i, b):
            if j & 1 == 0:
                total += j
            elif j > 7 and not j & 8:
                return total
        total += 1
    while total > 100 or total == 50:
        total -= 7
    return total


def nested(a: int, b: int) -> int:
    if a < b:
        if a == 0:
            return 1
        else:
            return 2
    return arithmetic(b, a) + (1 if a == b or b < 0 else 0)


def nothing(a: int, b: int) -> int:
    if a > b:
        return 5
    return 0


@pytest.mark.parametrize("function", [arithmetic, loops, nested, nothing])
def test_compiled_as_in_python(function: Any) -> None:
    made = ctypes.CFUNCTYPE(ctypes.c_int64, *[ctypes.c_int64] * 2)(address_of(function))
    for a, b in itertools.product(range(-3, 15), repeat=2):
        assert made(a, b) == function(a, b), (a, b)


def through_memory(table: int, function: int) -> int:
    set_word(table, 1, labs(word(table, 0)))
    return call_address(function, word(table, 1), 5)


def test_memory_and_functions_by_symbol_and_by_address() -> None:
    add = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64, ctypes.c_int64)(lambda a, b: a + b)
    table = (ctypes.c_int64 * 2)(-7, 0)
    made = ctypes.CFUNCTYPE(ctypes.c_int64, *[ctypes.c_int64] * 2)(address_of(through_memory))
    assert made(ctypes.addressof(table), ctypes.cast(add, ctypes.c_void_p).value) == 12
    assert list(table) == [-7, 7]


def test_call_address_has_no_meaning_in_python() -> None:
    with pytest.raises(TypeError, match="functions of words only"):
        call_address(0)


def kept(a: int) -> int:
    return a + 1


def test_a_damaged_file_is_made_anew(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("GRAPHC_CACHE_DIR", str(tmp_path))

    def call(a: int) -> int:
        words._held.pop(kept, None)
        return ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64)(address_of(kept))(a)

    assert call(1) == 2
    (file,) = tmp_path.glob("*.kernel")
    whole = file.read_bytes()
    assert call(2) == 3
    for damaged in (b"", whole[:100], whole[:-1] + bytes([whole[-1] ^ 1])):
        file.write_bytes(damaged)
        with pytest.warns(UserWarning, match="damaged"):
            assert call(3) == 4
        assert file.read_bytes() != damaged
    disk.write_whole(file, b"not machine code")
    with pytest.warns(UserWarning, match="damaged"):
        assert call(4) == 5
    assert call(5) == 6


@pytest.mark.skipif(sys.platform == "win32", reason="needs resource limits")
def test_a_full_disk_warns(tmp_path: Path) -> None:
    program = f"""
import ctypes, resource, sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from graphc.codegen.words import address_of
from test_words import kept
resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
print(ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64)(address_of(kept))(1))
"""
    environment = {**os.environ, "GRAPHC_CACHE_DIR": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=300)
    assert done.stdout == "2\n", done.stderr
    assert done.stderr.count("cannot be kept") == 1 and not list(tmp_path.iterdir())
