"""The short way from a kernel's source to LLVM: each form means what Python means by it, and others go Numba's way."""

from __future__ import annotations

import ctypes
import math

import numpy as np
import pytest
from op_cases import CASES

import graphc as gx
from graphc.codegen import jit
from graphc.codegen.jit import compile_source

FORMS = {
    "return a + b * 3 - (a - b)": lambda a, b: a + b * 3 - (a - b),
    "return a // b + a % b": lambda a, b: a // b + a % b,
    "return min(a, b) * 100 + max(a, 7)": lambda a, b: min(a, b) * 100 + max(a, 7),
    "return a if a < b else -b": lambda a, b: a if a < b else -b,
    "return (a << 2 | b) & ~1 ^ 5": lambda a, b: (a << 2 | b) & ~1 ^ 5,
    "if a == 0 or b // a > 2:\n    return 1\nreturn 2": lambda a, b: 1 if a == 0 or b // a > 2 else 2,
    "if a != 0 and not b // a > 2:\n    return 1\nreturn 2": lambda a, b: 1 if a != 0 and not b // a > 2 else 2,
    "a, b = b, a\nreturn 10 * a + b": lambda a, b: 10 * b + a,
    "t = 0\nfor i in range(a):\n    for j in range(i, b):\n        t += i * j\nreturn t": lambda a, b: sum(
        i * j for i in range(a) for j in range(i, b)
    ),
    "t = 0\nfor i in range(a, 40, 7):\n    t = t * 2 + i\nreturn t": lambda a, b: _fold(range(a, 40, 7)),
    "while a < 100:\n    a = a * 2 + 1\nreturn a": lambda a, b: _doubled(a),
    "if a > b:\n    return 1\nelif a == b:\n    return 2\nelse:\n    return 3": lambda a, b: (
        1 if a > b else 2 if a == b else 3
    ),
    "i = 5\nfor i in range(a):\n    b += i\ni = 2\nreturn b + i": lambda a, b: b + sum(range(a)) + 2,
}


def _fold(values: range) -> int:
    total = 0
    for i in values:
        total = total * 2 + i
    return total


def _doubled(a: int) -> int:
    while a < 100:
        a = a * 2 + 1
    return a


def made(body: str, words: str = "int64(int64, int64)"):
    text = "def kernel(a, b):\n" + "".join(f"    {line}\n" for line in body.splitlines())
    return compile_source(text, "kernel", words, on_disk=False, python_callable=False)


def ways(compiled) -> list[str]:
    """The pipelines of Numba's that a function went through; "apart" where it needed none."""
    if isinstance(compiled.function, jit.Object):
        return ["apart"]
    (result,) = compiled.function.overloads.values()
    return list(result.metadata["pipeline_times"])


@pytest.mark.parametrize("body", FORMS)
def test_a_form_means_what_python_means(body: str) -> None:
    compiled = made(body)
    assert ways(compiled) == ["apart"]
    function = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64, ctypes.c_int64)(compiled.address)
    for a, b in ((0, 1), (1, 1), (3, 9), (9, 4), (25, 3)):
        assert function(a, b) == FORMS[body](a, b), (a, b)


def test_other_forms_go_the_way_of_numba() -> None:
    compiled = made("t = 0\nfor k in (a, b):\n    t += k\nreturn t")
    assert ways(compiled) == ["nopython"]
    assert ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64, ctypes.c_int64)(compiled.address)(3, 4) == 7
    mixed = made("t = 1\nif a > b:\n    t = 0.5\nreturn t * 2.0", "float64(int64, int64)")
    assert ways(mixed) == ["nopython"]  # a name with two types
    assert ctypes.CFUNCTYPE(ctypes.c_double, ctypes.c_int64, ctypes.c_int64)(mixed.address)(4, 3) == 1.0


def test_dtypes_are_those_of_numba() -> None:
    """Integers widen, a float constant is float64 unless it is typed, division is IEEE's."""
    text = (
        "from graphc.codegen.buffer import buffer, f32, i32\n\n\ndef kernel(a, b):\n"
        "    x = buffer(a, f32, 0, 2)\n    y = buffer(b, i32, 1, 2)\n"
        "    x[1] = x[0] / f32(0.0)\n    x[2] = x[0] * f32(0.1)\n    x[3] = x[0] * 0.1\n"
        "    y[1] = i32(y[0] * 3)\n    return y[0] * y[0]\n"
    )
    compiled = compile_source(text, "kernel", "int64(int64, int64)", on_disk=False, python_callable=False)
    assert ways(compiled) == ["apart"]
    x, y = np.array([3, 0, 0, 0], np.float32), np.array([1 << 20, 0], np.int32)
    function = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64, ctypes.c_int64)(compiled.address)
    assert function(x.ctypes.data, y.ctypes.data) == 1 << 40
    assert math.isinf(x[1]) and x[2] == np.float32(3) * np.float32(0.1) and x[3] == np.float32(np.float64(3) * 0.1)
    assert y[1] == 3 << 20


@pytest.mark.slow
def test_the_kernel_of_every_op_goes_a_short_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """Apart from Numba's contexts; special functions that run an element at a time are Numba's."""
    monkeypatch.setattr(jit, "_shared", {})
    for first in range(0, len(CASES), 40):
        g = gx.Graph("cases", float_dtype="float64")
        inputs, outputs = [], {}
        for case in CASES[first : first + 40]:
            if case.name in ("lgamma", "polygamma", "beta_ln", "betainc"):
                continue
            tensors = [g.input(f"{case.name}_{k}", shape, "float64") for k, shape in enumerate(case.shapes)]
            outputs[case.name] = case.build(*tensors)
            inputs += tensors
        exe = gx.compile(inputs, outputs, cache=False)
        for part in (exe._bounds[-1].compiled, *exe._bounds[-1].compiled.parts):
            assert ways(part) == ["apart"]
