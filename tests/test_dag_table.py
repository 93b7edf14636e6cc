"""The table of what a node may name: all of it can be named, and the page says the same."""

from __future__ import annotations

import importlib.util
import inspect
from functools import cache
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
import pytest
from op_cases import CASES

import graphc as gx
from graphc.compile import extract
from graphc.dag.table import function
from graphc.ir.graph import Graph
from graphc.ir.interchange import describe
from graphc.ir.op import FUNCTIONS, OPS, Kind
from graphc.ir.tensor import Node
from graphc.ir.text import canonical_text
from graphc.ops.apply import apply

PAGES = Path(__file__).parent.parent / "docs"


@cache
def maker() -> Any:
    spec = importlib.util.spec_from_file_location("make_networkx", PAGES / "make_networkx.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


NAMEABLE = [r.op for r in gx.dag.ops() if function(r.op) is not None]


@pytest.mark.parametrize("name", NAMEABLE)
def test_every_function_can_be_named(name: str) -> None:
    """The call that the page shows, and the same as a node, are one graph."""
    f = function(name)
    found = maker().example(f)
    assert found is not None, f"docs/make_networkx.py finds no call of {name}: give it a shape or an attribute to try"
    graph, inputs, attributes, results = found
    dag = nx.MultiDiGraph()
    for t in inputs:
        dag.add_node(t.name, op="input", shape=t.shape, dtype=t.dtype.name)
    dag.add_node("y", op=name, **attributes)
    dag.add_edges_from((t.name, "y") for t in inputs)
    made = gx.from_networkx(dag)
    again = [made["y"], *(made[f"y:{k}"] for k in range(1, len(results)))]
    if results[0].id < len(inputs):  # the operand itself
        assert made["y"].op.name == "identity" and made["y"].type == results[0].type
        return
    ours, theirs = (
        extract(g, [g[t.name] for t in inputs], ts, "ignore") for g, ts in ((made, again), (graph, results))
    )
    assert canonical_text(ours) == canonical_text(theirs)


APART = (Kind.LEAF, Kind.CONTROL, Kind.RESULT)  # what holds bodies stands in test_control
TAKE_FUNCTIONS = {"scan", "map", "while_loop", "cond"}  # which no node can name


@cache
def nodes() -> dict[str, tuple[Graph, Node]]:
    """A node of every op, from the graphs of the op cases, of the page's examples, and of their gradients."""
    out: dict[str, tuple[Graph, Node]] = {}
    graphs = [found[0] for name in NAMEABLE if (found := maker().example(function(name))) is not None]
    for case in CASES:
        g = Graph(case.name, float_dtype="float64")
        xs = [g.input(f"x{k}", a.shape, "float64") for k, a in enumerate(case.arrays("float64"))]
        y = case.build(*xs)
        floats = [t for t in ([y] if isinstance(y, gx.Tensor) else list(y)) if t.dtype.kind == "f"]
        if case.smooth and floats:
            gx.grad(gx.sum(floats[0]), xs, on_disconnected="zeros")
        graphs.append(g)
    g = Graph("sizes")
    a, b, i = g.input("a", ("n", "m")), g.input("b", ("k",)), g.input("i", (3,), "int64")
    gx.grad(gx.sum(a * b) + gx.sum(gx.take(a, i)) + gx.sum(a[1:]) + gx.mean(a), [a, b])
    key = g.random_key()
    apply("random_seed", key[0], key[1], i[0], stream=0)
    for graph in [*graphs, g]:
        for node in graph.nodes:
            out.setdefault(node.op.name, (graph, node))
    return out


@pytest.mark.parametrize("name", [name for name, op in OPS.items() if op.kind not in APART])
def test_every_op_can_be_named(name: str) -> None:
    """A node with its operands as they are, written as networkx has it, is the same node again."""
    assert name in nodes(), f"no case of tests/op_cases.py, nor its gradient, has a node of {name}"
    graph, node = nodes()[name]
    operands = [graph.tensors[i] for i in dict.fromkeys(node.inputs) if graph.nodes[i].op.name != "constant"]
    if node.op.kind in (Kind.GATHER, Kind.SCATTER):  # with the test of its index
        operands = list(graph.inputs.values())
    kept = extract(graph, operands, [graph.tensors[node.id]], "ignore")
    assert gx.from_networkx(kept.to_networkx()).equals(kept)
    by_hand = nx.MultiDiGraph()
    for key, data in kept.to_networkx().nodes(data=True):
        flat = {
            k: v for k, v in data.items() if k in ("op", "value") or (data["op"] == "input" and k in ("shape", "dtype"))
        }
        by_hand.add_node(key, **flat, **({} if data["attrs"] == {} else {"attrs": data["attrs"]}))
    by_hand.add_edges_from((u, v, k, dict(data)) for u, v, k, data in kept.to_networkx().edges(keys=True, data=True))
    assert str(gx.from_networkx(by_hand)[kept.outputs[0].name].type) == str(node.type)
    assert describe(node)["op"] == name


def test_the_table_is_whole() -> None:
    records = gx.dag.ops()
    names = [r.op for r in records]
    assert len(set(names)) == len(names) and set(names) == {*FUNCTIONS, *OPS}
    for r in records:
        assert r.line.strip() and not r.line.startswith("Args"), r.op
    for name in gx.__all__:
        found = getattr(gx, name)
        if inspect.isfunction(found) and found.__module__.startswith("graphc.ops") and name not in TAKE_FUNCTIONS:
            assert found.__name__ in FUNCTIONS, f"{name} is no public function: decorate it"
    assert dict(next(r for r in records if r.op == "softmax").attributes) == {"axis": -1}
    assert next(r for r in records if r.op == "input").attributes["shape"] is gx.dag.REQUIRED


def test_the_page_is_of_this_version() -> None:
    text = (PAGES / "networkx.md").read_text()
    assert maker().page(text) == text, "docs/networkx.md is of another version; run python docs/make_networkx.py"


def test_arrays_of_numbers_are_strong_and_numbers_weak() -> None:
    dag = nx.DiGraph()
    dag.add_node("i", op="input", shape=(3,), dtype="int32")
    for key, b in (("number", 2), ("fraction", 0.5), ("array", np.array([1, 2, 3], np.int64))):
        dag.add_node(key, op="multiply", b=b)
        dag.add_edge("i", key)
    g = gx.from_networkx(dag)
    assert [str(g[k].dtype) for k in ("number", "fraction", "array")] == ["int32", "float32", "int64"]
