"""The graph, its tensors, and its networkx form."""

from __future__ import annotations

import networkx as nx
import numpy as np
import pytest
from random_graphs import random_graph

import graphc as gx
from graphc.compile import extract
from graphc.ir import dims
from graphc.ir.dims import broadcast, evaluate, symbol
from graphc.ir.sizes import parse
from graphc.ir.verify import verify
from graphc.rewrite.passes import PIPELINE


def small() -> gx.Graph:
    g = gx.Graph("small")
    x = g.input("x", ("batch", 4))
    w = g.parameter("W", np.ones((4, 3), np.float32))
    gx.tanh(x @ w + 1.0).named("h")
    return g


def test_sizes_are_polynomials_in_normal_form() -> None:
    n, m = symbol("n"), symbol("m")
    assert n + m == m + n and hash(n * m) == hash(m * n)
    assert (n + 1) * (n - 1) == n * n - 1
    assert n - n == 0 and (6 * n) // 3 == 2 * n
    assert evaluate((n + 1) // 2, {"n": 4}) == 2
    assert broadcast(n, m) == broadcast(m, n) and broadcast(n, 1) == n and broadcast(n, 5) == 5
    for size in (n * n * 2 + m - 3, (n + 1) // 2, broadcast(n, m) * 4):
        assert parse(str(size)) == size
    for text in ("", "n +", "__import__('os')", "n.x", "1.5", "n if m else 2", "(" * 500):
        with pytest.raises(gx.ShapeError):
            parse(text)


def test_tensors_have_no_value_and_say_so() -> None:
    x = small()["x"]
    for act in (bool, iter, len, int, float, np.asarray):
        with pytest.raises(TypeError):
            act(x)
    assert (np.ones(4, np.float32) * x).shape == x.shape
    assert len({x, x}) == 1


def test_names_scopes_and_access() -> None:
    g = gx.Graph("names")
    with g.scope("enc"):
        x = g.input("x", ("n",))
    assert x.name == "enc/x" and g["enc/x"] is x
    y = gx.exp(x).named("y")
    assert g["y"] is y and list(g.inputs) == ["enc/x"] and not g.parameters
    with pytest.raises(gx.GraphError, match="taken"):
        g.variable("y", 1.0)
    with pytest.raises(gx.GraphError, match="no node"):
        g["nothing"]


def test_scalars_are_weak() -> None:
    g = gx.Graph("weak")
    x, i, b = g.input("x", (3,)), g.input("i", (3,), "int32"), g.input("b", (3,), "bool")
    d = g.input("d", (3,), "float64")
    assert (x * 2).dtype == (x + 0.5).dtype == (i * x).dtype == (i / 2).dtype == (i + 0.5).dtype == np.float32
    assert (np.float64(2) * x).dtype == np.float32
    assert (i + 1).dtype == np.int32 and (d * x).dtype == np.float64 and gx.exp(i).dtype == np.float32
    assert (b + 1).dtype == np.int64 and gx.mean(i).dtype == np.float32 and gx.sum(i).dtype == np.int64
    with pytest.warns(UserWarning, match="widens"):
        g.constant(np.ones(3))
    with pytest.raises(gx.DTypeError):
        g.input("u", (3,), "uint8") + 300


def test_networkx_view_is_live_and_read_only() -> None:
    g = small()
    view = g.nx
    before = len(view)
    y = g["h"] * g["h"]
    assert len(view) == before + 1 and view.number_of_edges(g["h"].id, y.id) == 2
    assert nx.is_directed_acyclic_graph(view) and list(nx.topological_sort(view))
    assert g["x"].id in nx.ancestors(view, y.id)
    with pytest.raises(nx.NetworkXError):
        view.add_node("mine")


@pytest.mark.parametrize("seed", range(40))
def test_round_trip_and_verify(seed: int) -> None:
    inputs, outputs = random_graph(seed).build()
    g = inputs[0].graph
    verify(g)
    back = gx.from_networkx(g.to_networkx())
    assert back.equals(g)
    verify(back)
    graph = extract(g, inputs, outputs, "ignore")
    for _, step in PIPELINE:
        graph = step(graph)
        verify(graph)


def test_from_networkx_infers_what_is_left_out() -> None:
    dag = nx.DiGraph()
    dag.add_node("x", op="input", shape=("n", 2), dtype="float64")
    dag.add_node("y", op="multiply")
    dag.add_edge("x", "y", slot=(0, 1))
    g = gx.from_networkx(dag, outputs=["y"])
    assert str(g["y"].type) == "float64[n, 2]"
    found = gx.compile([g["x"]], g["y"], backend="numpy")(np.full((1, 2), 3.0))
    assert found.tolist() == [[9.0, 9.0]]


def _dag(**changes: object) -> nx.MultiDiGraph:
    dag = nx.MultiDiGraph()
    dag.add_node("x", op="input", shape=(2,), dtype="float32")
    dag.add_node("y", op="add")
    dag.add_edge("x", "y", 0, slot=0)
    dag.add_edge("x", "y", 1, slot=1)
    for key, value in changes.items():
        dag.nodes[key].update(value)
    return dag


def _edge(slot: object) -> nx.MultiDiGraph:
    dag = _dag()
    dag.remove_edge("x", "y", 1)
    if slot is not None:
        dag.add_edge("x", "y", 1, slot=slot)
    return dag


def _cycle() -> nx.MultiDiGraph:
    dag = _dag()
    dag.add_edge("y", "x", 0, slot=0)
    return dag


REFUSED = {
    "not a graph": (lambda: "dag", gx.GraphError, "expected a networkx"),
    "undirected": (lambda: nx.Graph(), gx.GraphError, "expected a networkx"),
    "cycle": (_cycle, gx.GraphError, "cycle"),
    "unknown op": (lambda: _dag(y={"op": "nonsense"}), gx.UnsupportedOpError, "y"),
    "op is not text": (lambda: _dag(y={"op": 3}), gx.GraphError, "y"),
    "missing slot": (lambda: _edge(2), gx.GraphError, "add takes a, b; edges fill slots 0, 2"),
    "doubled slot": (lambda: _edge(0), gx.GraphError, "filled twice"),
    "slot is not a number": (lambda: _edge("one"), gx.GraphError, "needs a slot"),
    "wrong arity": (lambda: _edge(None), gx.GraphError, "add takes a, b; edges fill slots 0"),
    "unknown attribute": (
        lambda: _dag(y={"attrs": {"colour": 1}}),
        gx.GraphError,
        "add has no attribute 'colour'. It takes a, b|no attribute",
    ),
    "attrs is no dict": (lambda: _dag(y={"attrs": 7}), gx.GraphError, "attrs must be a dict"),
    "wrong dtype": (lambda: _dag(x={"dtype": "complex64"}), gx.DTypeError, "not supported"),
    "declared shape": (lambda: _dag(y={"shape": (3,)}), gx.ShapeError, "declared"),
    "bad size": (lambda: _dag(x={"shape": ("a b",)}), gx.ShapeError, "not a size"),
    "negative size": (lambda: _dag(x={"shape": (-1,)}), gx.ShapeError, "at least 0"),
    "no shape": (lambda: _dag(x={"shape": None}), gx.GraphError, "needs a shape"),
    "no value": (lambda: _dag(x={"op": "parameter"}), gx.GraphError, "needs a value"),
    "object value": (lambda: _dag(x={"op": "parameter", "value": [object(), 1]}), gx.DTypeError, "numbers"),
    "value of another shape": (lambda: _dag(x={"op": "constant", "value": [1.0]}), gx.ShapeError, "declared"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_from_networkx_refuses(what: str) -> None:
    make, error, text = REFUSED[what]
    with pytest.raises(error, match=text):
        gx.from_networkx(make())


def test_unknown_output_is_refused() -> None:
    with pytest.raises(gx.GraphError, match="not a node"):
        gx.from_networkx(_dag(), outputs=["z"])


def test_text_form_shows_lines_and_gradients() -> None:
    g = small()
    gx.grad(gx.sum(g["h"]), g["W"])
    text = str(g)
    assert "%0 x : float32[batch, 4]" in text and "test_graph.py" in text and "gradient of h" in text


def test_a_size_is_a_number_beside_a_tensor_and_nothing_beside_a_float() -> None:
    x = gx.Graph("size", float_dtype="float64").input("x", ("n",), "float64")
    n = x.shape[0]
    values = gx.compile([x], [n * gx.sum(x), n + gx.sum(x), n - gx.sum(x), gx.sum(x) / n, n / gx.sum(x)])(
        np.ones(4) * 2
    )
    assert values == [32.0, 12.0, -4.0, 2.0, 0.5]
    for wrong in (lambda: n * 0.5, lambda: 0.5 + n, lambda: n - "a", lambda: n // 2.0):
        with pytest.raises(TypeError):
            wrong()


def test_printed_sizes_read_back() -> None:
    n, m, odd = dims.symbol("n"), dims.symbol("m"), dims.symbol("ﬁ")
    half = dims.floor_divide(n, 2)
    for size in (half, 2 * half, -half, m * half, half * half, 1 - half, 3 * dims.broadcast(n, m) - dims.not_one(n)):
        assert parse(str(size)) == size, size
    assert parse(str(odd)) == odd and parse("for") == dims.symbol("for")
    for wrong in (
        "",
        "n +",
        "n()",
        "broadcast(n)",
        "n ** 99",
        "n.m",
        "1e5",
        "(" * 99 + "n" + ")" * 99,
        "n // 0",
        "9" * 30,
        "n m",
    ):
        with pytest.raises(gx.ShapeError, match="is not a size"):
            parse(wrong)
