"""The loop IR of kernels: what it looks like, that it is read back, and that no fault in its types passes."""

from __future__ import annotations

import os
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numba import types

import graphc as gx
from graphc.codegen import loop_ir as ir
from graphc.codegen import to_python
from graphc.codegen.functions import SEMANTICS, kernel_ir
from graphc.codegen.jit import define
from graphc.codegen.kernel import SIGNATURE
from graphc.codegen.to_llvm import unrolls

GOLDEN = Path(__file__).parent / "golden"


def chain() -> gx.Executable:
    g = gx.Graph("chain")
    x = g.input("x", shape=("n",))
    return gx.compile([x], [gx.tanh(x) * 2 + 1], backend="numpy")


def softmax() -> gx.Executable:
    g = gx.Graph("softmax")
    x = g.input("x", shape=("n", 10))
    return gx.compile([x], [gx.softmax(x)], backend="numpy")


def regression() -> gx.Executable:
    g = gx.Graph("regression")
    x, y = g.input("x", shape=("n", 50)), g.input("y", shape=("n",))
    w = g.parameter("w", np.zeros(50, "float32"))
    loss = gx.mean((x @ w - y) ** 2)
    return gx.compile([x, y], [loss], updates=gx.optim.SGD(0.1).updates(loss), backend="numpy")


def labels() -> gx.Executable:
    g = gx.Graph("labels")
    x, k = g.input("x", shape=("n", 3)), g.input("k", shape=("m",), dtype="int32")
    return gx.compile([x, k], [gx.take(x, k)], backend="numpy")


def recurrent() -> gx.Executable:
    g = gx.Graph("recurrent")
    x, h = g.input("x", shape=("t", 4)), g.input("h", shape=(4,))
    w = g.parameter("w", np.eye(4, dtype="float32"))
    last, _ = gx.scan(lambda h, x: (gx.tanh(h @ w + x), None), h, x)
    return gx.compile([x, h], [last], backend="numpy")


def branch() -> gx.Executable:
    g = gx.Graph("branch")
    x = g.input("x", shape=("n",), dtype="float64")
    y = gx.cond(gx.sum(x) > 0, lambda x: x * 2, lambda x: -x, x)
    return gx.compile([x], [y], backend="numpy")


PROGRAMS = [chain, softmax, regression, labels, recurrent, branch]


def read(source: str, name: str = "kernel") -> ir.Function:
    scope = define("graphc_test_loop_ir", source)
    return kernel_ir(scope[name].tree, scope, SIGNATURE)


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda p: p.__name__)
def test_the_ir_of_a_program_is_as_it_was(program: Any) -> None:
    """After a change that means it, run with GRAPHC_GOLDEN=write, and read what has changed."""
    file = GOLDEN / f"{program.__name__}.txt"
    found = to_python.text(read(program().program.kernel(serial=True).source))
    if os.environ.get("GRAPHC_GOLDEN") == "write":
        file.write_text(found)
    assert found == file.read_text()


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda p: p.__name__)
def test_its_python_is_read_back_as_the_same(program: Any) -> None:
    source = program().program.kernel(serial=True).source
    once = to_python.text(read(source))
    kept = [line for line in source.splitlines() if line.startswith(("from ", "    of_kernel", "of_kernel"))]
    names = {n: line for line in kept if line.startswith("of_") for n in [line.split("(")[1].split(",")[0]]}
    parts = once.split("\n\n\n")
    again = [p + "\n" + names.get(p[4:].split("(")[0], "") for p in parts]
    imports = [line for line in kept if line.startswith("from ")]
    own = "from graphc.codegen.buffer import *\nfrom graphc.codegen.vecmath import *"
    assert to_python.text(read("\n".join([own, *imports, *again]))) == once


def planted(function: ir.Function) -> list[tuple[str, ir.Function]]:
    """The function with one fault in each."""
    wrong = ir.Const(types.float64, 0.5)

    def first(kind: type, fault: Any) -> ir.Function:
        done = []

        def change(node: Any) -> Any:
            if isinstance(node, kind) and not done and (made := fault(node)) is not None:
                done.append(node)
                return made
            return node

        made = ir.rebuild(function, change)
        assert done, kind
        return made

    floating = (types.float32, types.float64)
    return [
        ("operands", first(ir.Binary, lambda n: ir.Binary(n.type, n.op, n.left, wrong) if n.type == floating[0] else None)),
        ("result", first(ir.Binary, lambda n: ir.Binary(types.int32, n.op, n.left, n.right))),
        ("index", first(ir.Load, lambda n: ir.Load(n.type, n.buffer, wrong))),
        ("element", first(ir.Load, lambda n: ir.Load(types.int32, n.buffer, n.index))),
        ("stored", first(ir.Store, lambda n: ir.Store(n.buffer, n.index, wrong))),
        ("bound", first(ir.For, lambda n: ir.For(n.counter, n.first, wrong, n.step, n.body))),
        ("step", first(ir.For, lambda n: ir.For(n.counter, n.first, n.last, 0, n.body))),
        ("name", first(ir.Var, lambda n: ir.Var(n.type, "nowhere"))),
        ("type of a name", first(ir.Var, lambda n: ir.Var(types.int32, n.name))),
        ("twice", first(ir.Let, lambda n: ir.Let("inputs", n.value))),
        ("call", first(ir.Call, lambda n: ir.Call(n.type, n.function, (wrong, *n.args[1:]), n.name) if n.args else None)),
        ("returned", first(ir.Return, lambda n: ir.Return(wrong))),
    ]  # fmt: skip


def test_a_fault_in_types_is_found() -> None:
    function = read(softmax().program.kernel(serial=True).source)
    ir.check(function, SEMANTICS.takes)
    for what, faulty in planted(function):
        with pytest.raises(ir.IRError):
            ir.check(faulty, SEMANTICS.takes)
            pytest.fail(what)


def test_rebuild_keeps_what_does_not_change() -> None:
    function = read(softmax().program.kernel(serial=True).source)
    assert ir.rebuild(function, lambda node: node) is function
    renamed = ir.rebuild(function, lambda n: ir.Var(n.type, n.name + "_") if isinstance(n, ir.Var) else n)
    assert {n.name for n in ir.walk(renamed) if isinstance(n, ir.Var)} != {
        n.name for n in ir.walk(function) if isinstance(n, ir.Var)
    }


@pytest.mark.parametrize("columns, turned, by_rows", [(8, False, True), (8, True, False), (5, False, False)])
def test_rows_of_whole_vectors_are_not_unrolled(columns: int, turned: bool, by_rows: bool) -> None:
    """What a row computes would be there once for each column, and be gathered from several rows."""
    g = gx.Graph("rows", float_dtype="float64")
    x, b = g.input("x", (columns, 6) if turned else (6, columns)), g.input("b", (columns,))
    exe = gx.compile([x, b], gx.sigmoid((gx.matrix_transpose(x) if turned else x) * b), backend="numpy")
    loops = [s for s in ir.walk(read(exe.program.kernel(serial=True).source)) if isinstance(s, ir.For)]
    assert loops and any(map(unrolls, loops)) is not by_rows


def test_short_nests_are_unrolled_so_that_the_loop_around_them_goes_in_vectors() -> None:
    """Windows are such nests: without, a convolution with filters for each channel takes four times as long."""

    def nest(*steps: int) -> ir.For:
        body: tuple[Any, ...] = (ir.Return(None),)
        for n in reversed(steps):
            body = (ir.For("i", ir.Const(types.int64, 0), ir.Const(types.int64, n), 1, body),)
        return body[0]

    assert all(unrolls(nest(*steps)) for steps in ((3, 3), (7, 7), (3, 3, 3), (8,)))
    assert not any(unrolls(nest(*steps)) for steps in ((9,), (3, 9), (5, 5, 5), (0,)))
    assert not unrolls(ir.For("i", ir.Const(types.int64, 0), ir.Var(types.int64, "n"), 1, ()))
    assert not unrolls(replace(nest(3), body=(ir.While(ir.Const(types.boolean, True), ()),)))
    g = gx.Graph("windows")
    x, w = g.input("x", (1, 2, 56, 56)), g.input("w", (2, 1, 3, 3))
    exe = gx.compile([x, w], [gx.conv2d(x, w, groups=2)])
    assert exe.stages["llvm"].count("fmul <") + exe.stages["llvm"].count("fma.v") >= 9


def test_what_short_loops_read_alike_in_each_step_of_the_loop_around_does_not_keep_it_from_vectors() -> None:
    """Rows of a 2-3-1 network: its weights are read in short loops, which are written out in that over the rows."""
    g = gx.Graph("xor", float_dtype="float64")
    x, w1, w2 = g.input("x", (4, 2)), g.input("w1", (2, 3)), g.input("w2", (3, 1))
    loss = gx.mean(gx.tanh(x @ w1) @ w2)
    exe = gx.compile([x, w1, w2], [loss, *gx.grad(loss, [w1, w2])])
    text = exe.stages["llvm"]
    assert len(re.findall(r"fdiv <\d+ x double>", text)) >= 3 and "fdiv double" not in text
