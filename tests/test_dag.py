"""Graphs from networkx alone: what a hand-made DAG may say, and that it goes all the way."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
import pytest
from random_graphs import random_graph
from test_examples import example

import graphc as gx
from graphc.ir.verify import verify

RNG = np.random.default_rng(0)
X = RNG.normal(size=(5, 3)).astype(np.float32)


def dag_of(*nodes: tuple[str, dict[str, Any], list[Any]], kind: type = nx.MultiDiGraph, **whole: Any) -> Any:
    """Nodes with their attributes and the nodes that fill their operands, in order and without slots."""
    dag = kind(**whole)
    for key, attributes, operands in nodes:
        dag.add_node(key, **attributes)
        dag.add_edges_from((of, key) for of in operands)
    return dag


INPUT = ("x", {"op": "input", "shape": ("n", 3)}, [])


def value(*nodes: tuple[str, dict[str, Any], list[Any]], of: str = "y", feed: Any = X) -> Any:
    """What a node of a DAG computes of ``x``."""
    return gx.dag.compile(dag_of(INPUT, *nodes), ["x"], of, backend="numpy")(feed)


def dsl(build: Callable[[gx.Tensor], gx.Tensor], feed: Any = X) -> Any:
    x = gx.Graph("dsl").input("x", ("n", 3))
    return gx.compile([x], build(x), backend="numpy")(feed)


# ---- functions, attributes, numbers

CALLS: dict[str, tuple[dict[str, Any], list[str], Callable[[gx.Tensor], gx.Tensor]]] = {
    "default": ({"op": "softmax"}, ["x"], gx.softmax),
    "flat": ({"op": "softmax", "axis": 0}, ["x"], lambda x: gx.softmax(x, axis=0)),
    "in attrs": ({"op": "softmax", "attrs": {"axis": 0}}, ["x"], lambda x: gx.softmax(x, axis=0)),
    "mean": ({"op": "mean", "axis": (0,), "keepdims": True}, ["x"], lambda x: gx.mean(x, (0,), keepdims=True)),
    "lists": ({"op": "sum", "axis": [0, 1]}, ["x"], gx.sum),
    "the op's own attribute": ({"op": "sum", "axes": (1,)}, ["x"], lambda x: gx.sum(x, 1)),
    "twice": ({"op": "multiply"}, ["x", "x"], lambda x: x * x),
    "a weak number": ({"op": "multiply", "b": 2}, ["x"], lambda x: x * 2),
    "a number on the left": ({"op": "subtract", "a": 1.5}, ["x"], lambda x: 1.5 - x),
    "an array": ({"op": "add", "b": np.float32([1, 2, 3])}, ["x"], lambda x: x + np.float32([1, 2, 3])),
    "an optional number": ({"op": "clip", "max": 0.5}, ["x"], lambda x: gx.clip(x, max=0.5)),
    "slope": ({"op": "leaky_relu", "negative_slope": 0.2}, ["x"], lambda x: gx.leaky_relu(x, 0.2)),
    "loss": ({"op": "squared_error", "target": 1.0}, ["x"], lambda x: gx.squared_error(x, 1.0)),
    "shape is an argument": ({"op": "reshape", "shape": (3, -1)}, ["x"], lambda x: gx.reshape(x, (3, -1))),
    "shape with a size": ({"op": "reshape", "shape": ("3*n",)}, ["x"], gx.ravel),
    "dtype is an argument": ({"op": "astype", "dtype": "float64"}, ["x"], lambda x: x.astype("float64")),
    "list of operands": ({"op": "concat", "axis": 1}, ["x", "x"], lambda x: gx.concat([x, x], 1)),
    "index": ({"op": "getitem", "index": (slice(None, None, -1), 0)}, ["x"], lambda x: x[::-1, 0]),
    "nothing to do": ({"op": "reshape", "shape": ("n", 3)}, ["x"], lambda x: x),
    "mode": ({"op": "pad", "pad_width": ((1, 1), (0, 2)), "mode": "edge"}, ["x"], lambda x: gx.pad(x, ((1, 1), (0, 2)), "edge")),
}  # fmt: skip


@pytest.mark.parametrize("what", CALLS)
def test_a_node_is_a_call(what: str) -> None:
    attributes, operands, build = CALLS[what]
    found = value(("y", attributes, operands))
    expected = dsl(build)
    assert found.dtype == expected.dtype
    np.testing.assert_array_equal(found, expected)


def test_operands_in_the_order_of_edges_or_slots() -> None:
    nodes = (INPUT, ("z", {"op": "input", "shape": (3,)}, []), ("c", {"op": "greater", "b": 0.0}, ["x"]))
    for kind in (nx.DiGraph, nx.MultiDiGraph):
        dag = dag_of(*nodes, ("y", {"op": "where"}, ["c", "z", "x"]), kind=kind)
        assert [t.name for t in gx.from_networkx(dag)["y"].inputs] == ["c", "z", "x"]
        gx.dag.slots(dag)
        assert dict(dag["z"]["y"] if kind is nx.DiGraph else dag["z"]["y"][0]) == {"slot": 1}
        dag.add_node("late", op="where")
        dag.add_edges_from(
            [("x", "late", {"slot": 2}), ("c", "late", {"slot": "condition"}), ("z", "late", {"slot": 1})]
        )
        assert [t.name for t in gx.from_networkx(copy.deepcopy(dag))["late"].inputs] == ["c", "z", "x"]
    keyed = nx.MultiDiGraph(dag_of(INPUT, ("z", {"op": "input", "shape": (3,)}, []), ("y", {"op": "subtract"}, [])))
    keyed.add_edge("x", "y", key=1)
    keyed.add_edge("z", "y", key=0)
    assert [t.name for t in gx.from_networkx(keyed)["y"].inputs] == ["z", "x"]
    tupled = dag_of(INPUT, ("y", {"op": "multiply"}, []), kind=nx.DiGraph)
    tupled.add_edge("x", "y", slot=(0, 1))
    assert len(gx.from_networkx(tupled)["y"].inputs) == 2


def test_a_number_takes_its_slot() -> None:
    dag = dag_of(INPUT, ("y", {"op": "fma", "b": 2.0}, ["x"]), ("z", {"op": "input", "shape": (3,)}, []))
    dag.add_edge("z", "y")
    gx.dag.slots(dag)
    assert [(u, d["slot"]) for u, _, d in dag.in_edges("y", data=True)] == [("x", 0), ("z", 2)]
    f = gx.dag.compile(dag, ["x", "z"], "y", backend="numpy")
    np.testing.assert_array_equal(f(X, X[0]), X * np.float32(2) + X[0])


def test_several_results_are_outputs_of_edges() -> None:
    dag = dag_of(INPUT, ("parts", {"op": "split", "sections": 3, "axis": 1}, ["x"]), ("y", {"op": "subtract"}, []))
    dag.add_edge("parts", "y", slot=0, output=2)
    dag.add_edge("parts", "y", slot=1)
    f = gx.dag.compile(dag, ["x"], ["y", "parts", "parts:1"], backend="numpy")
    y, first, second = f(X)
    np.testing.assert_array_equal(y, X[:, 2:] - X[:, :1])
    np.testing.assert_array_equal(np.hstack([first, second]), X[:, :2])


def test_random_numbers_and_dropout() -> None:
    key = ("key", {"op": "variable", "value": np.array([7, 0])}, [])
    dag = dag_of(
        INPUT,
        key,
        ("y", {"op": "dropout", "rate": 0.5}, ["x", "key"]),
        ("u", {"op": "random.uniform", "shape": ("n",)}, ["key"]),
    )
    count = ("count", {"op": "variable", "value": 0.0}, [])
    dag.add_node("count", **count[1])
    dag.add_node("more", op="add", b=1)
    dag.add_edge("count", "more")
    f = gx.dag.compile(dag, ["x"], ["y", "u"], {"count": "more"}, backend="numpy")
    (y, u), (z, v) = f(X), f(X)
    assert (y == 0).any() and (y != z).any() and (u != v).any() and f.graph.state["key"][1] == 2
    again = gx.from_networkx(f.graph.to_networkx(text=True))
    assert again.random_keys == f.graph.random_keys and again.dropouts == f.graph.dropouts
    assert gx.inference(again["y"]) is again["x"]


def test_keys_may_be_anything_and_names_are_their_text() -> None:
    dag = nx.MultiDiGraph()
    dag.add_node(0, op="input", shape=(3,), colour="red")
    dag.add_node((1, "a"), op="square", position=(0.5, 1))
    dag.add_edge(0, (1, "a"))
    dag.add_node(2, op="sum")
    dag.add_edge((1, "a"), 2)
    slope = gx.dag.grad(dag, 2, 0)
    assert set(dag) < set(slope) and slope.nodes[0]["colour"] == "red" and slope.nodes[(1, "a")]["position"] == (0.5, 1)
    f = gx.dag.compile(slope, [0], [(1, "a"), slope.graph["gradients"][0]], backend="numpy")
    squares, gradient = f(np.arange(3))
    assert squares.tolist() == [0, 1, 4] and gradient.tolist() == [0, 2, 4]
    assert gx.dag.compile(dag, [0], (1, "a"), backend="numpy")(np.arange(3)).tolist() == [0, 1, 4]


# ---- compositions


def test_compositions_stay_together() -> None:
    dag = dag_of(INPUT, ("probs", {"op": "softmax"}, ["x"]), ("loss", {"op": "mean"}, ["probs"]))
    g = gx.from_networkx(dag)
    inside = [n for n in g.nodes if n.name.startswith("probs/")]
    assert len(inside) > 4 and all(n.call is g["probs"].node.call for n in inside)
    for form in (g.to_networkx(), g.nx):
        calls = [d.get("call") for _, d in form.nodes(data=True) if d["name"].startswith("probs")]
        assert calls == [{"function": "softmax", "name": "probs"}] * len(calls)
        assert {"input", "forward"} <= {d["role"] for _, d in form.nodes(data=True)} <= {"input", "constant", "forward"}
    slope = gx.dag.grad(dag, "loss", ["x"])
    assert set(dag) < set(slope) and slope.nodes["probs"]["op"] == "divide"
    new = [d for k, d in slope.nodes(data=True) if k not in g]
    assert new and all(d["forward"] in g for d in new)
    assert all("forward" not in d for k, d in slope.nodes(data=True) if k in g)
    verify(gx.from_networkx(slope))


def test_calls_of_the_dsl_are_told_apart_and_named() -> None:
    g = gx.Graph("calls")
    view = g.nx
    x, w = g.input("x", ("n", 3)), g.parameter("W", np.ones((3, 2), np.float32))
    a, b = gx.softmax(x), gx.softmax(x)
    h = gx.tanh(x @ w)
    p = gx.softmax(h).named("probs")
    assert a.node.call is not b.node.call and h.node.composition is None
    assert view.nodes[p.id]["call"] == view.nodes[p.id - 1]["call"] == {"function": "softmax", "name": "probs"}
    loss = gx.sum(p * p)
    slope = gx.grad(loss, w)
    assert view.nodes[slope.id]["forward"] == h.inputs[0].name
    h.inputs[0].named("z")
    assert slope.node.forward == "z" == view.nodes[slope.id]["forward"]
    updates = gx.optim.Momentum(lr=0.1).updates(loss, [w])
    roles = {view.nodes[t.id]["role"] for t in updates.values()}
    assert roles == {"update"} and view.nodes[updates[w].id]["call"] == {"function": "Momentum", "name": "momentum/W"}
    copied = gx.substitute(p, {h: h * 2.0})
    assert copied.node.call is not p.node.call and copied.node.call is not None and copied.node.call.name == copied.name


# ---- all the way


def test_executables_of_one_dag_share_their_state() -> None:
    dag = dag_of(
        INPUT,
        ("W", {"op": "parameter", "value": np.ones((3, 1), np.float32)}, []),
        ("p", {"op": "matmul"}, ["x", "W"]),
        ("e", {"op": "squared_error", "target": 1.0}, ["p"]),
        ("loss", {"op": "mean"}, ["e"]),
    )
    train = gx.dag.compile(dag, ["x"], "loss", gx.optim.SGD(lr=0.1), backend="numpy")
    infer = gx.dag.compile(dag, ["x"], {"p": "p"}, backend="numpy")
    before = infer(X)["p"]
    assert train(X) > train(X) and train.graph is infer.graph
    assert not np.array_equal(infer(X)["p"], before)
    dag.add_node("big", op="greater", b=0.5)
    dag.add_edge("p", "big")
    more = gx.dag.compile(dag, ["x"], "big", backend="numpy")
    assert more.graph is train.graph and np.array_equal(more(X), infer(X)["p"] > 0.5)
    dag.nodes["W"]["value"] = np.zeros((3, 1), np.float32)
    anew = gx.dag.compile(dag, ["x"], "p", backend="numpy")
    assert anew.graph is not train.graph and not anew(X).any()
    with pytest.raises(gx.GraphError, match="did you mean 'loss'"):
        gx.dag.compile(dag, ["x"], "los")


def mlp() -> Any:
    return example("networkx_dag").network(20, 8, 4)


def test_a_dag_trains_to_the_bits_of_the_dsl(tmp_path: Path) -> None:
    module = example("networkx_dag")
    x = RNG.normal(size=(300, 20)).astype(np.float32)
    y = RNG.integers(0, 4, 300)
    parameters = ["W1", "b1", "W2", "b2"]
    g = gx.Graph("dsl")
    a, b = g.input("x", ("batch", 20)), g.input("y", ("batch",), "int64")
    w1, b1, w2, b2 = (g.parameter(n, mlp().nodes[n]["value"]) for n in parameters)
    logits = gx.linear(gx.relu(gx.linear(a, w1, b1)), w2, b2)
    losses = gx.cross_entropy(logits, b)
    step = gx.compile([a, b], losses, gx.optim.SGD(lr=0.1).updates(gx.mean(losses)))
    expected = [step.run_batches([x, y], 32, shuffle=True, seed=k) for k in range(3)]

    by_hand, updates = module.descent(mlp(), parameters)
    for dag, changed, outputs in (
        (by_hand, updates, "losses"),
        (mlp(), gx.optim.SGD(lr=0.1), "loss"),
    ):
        train = gx.dag.compile(dag, ["x", "y"], outputs, changed)
        if outputs == "losses":
            for k, losses_then in enumerate(expected):
                np.testing.assert_array_equal(train.run_batches([x, y], 32, shuffle=True, seed=k), losses_then)
        else:
            for k in range(3):
                train.run_batches([x, y], 32, shuffle=True, seed=k)
        for name in parameters:
            np.testing.assert_array_equal(train.graph.state[name], g.state[name])
    infer = gx.dag.compile(dag, ["x"], "logits")
    gx.save(tmp_path / "mlp.gx", train=train, infer=infer)
    loaded = gx.load(tmp_path / "mlp.gx")
    np.testing.assert_array_equal(loaded["infer"](x), infer(x))
    infer.export_python(tmp_path / "mlp_module.py")
    assert (tmp_path / "mlp_module.py").stat().st_size > 1000


def test_fashion_mnist_to_the_bits_of_the_dsl(fashion_mnist_directory: Path) -> None:
    from graphc.demo.data import fashion_mnist

    data = fashion_mnist(fashion_mnist_directory)
    module = example("networkx_dag")
    dag, updates = module.descent(module.network(784), ["W1", "b1", "W2", "b2"])
    train = gx.dag.compile(dag, ["x", "y"], ["losses", "right"], updates)
    step, _ = example("fashion_mnist").network(784, 0)
    losses, right = train.run_batches([data.train_x, data.train_y], 256, shuffle=True, seed=0)
    theirs = step.run_batches([data.train_x, data.train_y], 256, shuffle=True, seed=0)
    np.testing.assert_array_equal(losses, theirs["loss"])
    np.testing.assert_array_equal(right, theirs["right"])
    for name in updates:
        np.testing.assert_array_equal(train.graph.state[name], step.graph.state[name])


# ---- files of networkx

FORMS: dict[str, Callable[[Any, Path], Any]] = {
    "graphml": lambda dag, path: (nx.write_graphml(dag, path), nx.read_graphml(path))[1],
    "gml": lambda dag, path: (nx.write_gml(dag, path), nx.read_gml(path))[1],
    "gexf": lambda dag, path: (nx.write_gexf(dag, path), nx.read_gexf(path))[1],
    "node-link": lambda dag, _: nx.node_link_graph(
        json.loads(json.dumps(nx.node_link_data(dag, edges="e"))), edges="e"
    ),
    "adjacency": lambda dag, _: nx.adjacency_graph(json.loads(json.dumps(nx.adjacency_data(dag)))),
}


def everything(g: gx.Graph) -> Any:
    """All that networkx is told of a graph."""
    dag = g.to_networkx(text=True)
    return dag.graph, dict(dag.nodes(data=True)), sorted(dag.edges(keys=True, data="slot"))


def trained() -> gx.Graph:
    """A graph of all kinds of nodes, with names and values that text finds hard."""
    g = gx.Graph('m "é<&', float_dtype="float64")
    x, y = g.input("x", ("n", 4)), g.input("y", ("n",), "int64")
    w = g.parameter("W", RNG.normal(size=(4, 3)))
    key = g.random_key()
    probs = gx.softmax(gx.dropout(x, 0.5, key=key) @ w).named("probs")
    loss = gx.mean(gx.cross_entropy(x @ w, y, ignore_index=2)).named("loss ü 'q'")
    g.constant(np.array([np.nan, np.inf, -np.inf, 0.1], np.float32))
    g.constant(np.array([True, False]))
    gx.grad(gx.sum(gx.take(x, y)), x)
    gx.optim.Adam().updates(loss, [w])
    g.outputs = [loss, probs]
    return g


@pytest.mark.parametrize("form", FORMS)
def test_text_survives_files(form: str, tmp_path: Path) -> None:
    for g in [trained(), *(random_graph(seed).build()[0][0].graph for seed in range(5))]:
        text = g.to_networkx(text=True)
        assert all(type(v) in (str, int, float) for _, d in text.nodes(data=True) for v in d.values())
        back = gx.from_networkx(FORMS[form](text, tmp_path / "graph"))
        assert back.equals(g) and everything(back) == everything(g)
        again = gx.from_networkx(g.to_networkx())
        assert again.equals(g) and everything(again) == everything(g)


def test_a_hand_made_graph_survives_files(tmp_path: Path) -> None:
    """With text where a person would write it."""
    dag = dag_of(
        ("x", {"op": "input", "shape": "n, 3"}, []),
        ("s", {"op": "sum", "axis": "(0,)", "keepdims": "True"}, ["x"]),
        ("y", {"op": "subtract"}, ["x", "s"]),
        ("z", {"op": "add", "b": "[1, 2, 3]"}, ["y"]),
    )
    gx.dag.slots(dag)
    for form in FORMS.values():
        f = gx.dag.compile(form(dag, tmp_path / "graph"), ["x"], "z", backend="numpy")
        np.testing.assert_allclose(f(X), X - X.sum(axis=0, keepdims=True) + [1, 2, 3], rtol=1e-6)


# ---- refusals

REFUSED: dict[str, tuple[Callable[[], Any], type[Exception], str]] = {
    "spelt": (lambda: dag_of(INPUT, ("y", {"op": "mul"}, ["x", "x"])), gx.UnsupportedOpError, "did you mean 'multiply'.*docs/networkx.md"),
    "of another library": (lambda: dag_of(INPUT, ("y", {"op": "reduce_sum"}, ["x"])), gx.UnsupportedOpError, "did you mean 'sum'"),
    "axis spelt": (lambda: dag_of(INPUT, ("y", {"op": "softmax", "axs": 0}, ["x"])), gx.GraphError, "node y: softmax has no attribute 'axs'; did you mean 'axis'"),
    "dim": (lambda: dag_of(INPUT, ("y", {"op": "softmax", "dim": 0}, ["x"])), gx.GraphError, "did you mean 'axis'"),
    "given twice": (lambda: dag_of(INPUT, ("y", {"op": "softmax", "axis": 0, "attrs": {"axis": 0}}, ["x"])), gx.GraphError, "axis is given twice"),
    "number and edge": (lambda: dag_of(INPUT, ("y", {"op": "exp", "x": 1.0}, ["x"])), gx.GraphError, "exp takes x; edges fill slots 1"),
    "slot of a number": (lambda: dag_of(INPUT, ("y", {"op": "add", "a": 1.0}, []), ("z", {"op": "exp"}, ["x"])), gx.GraphError, "node y: add takes a, b; there are no edges"),
    "square in a DiGraph": (lambda: dag_of(INPUT, ("y", {"op": "multiply"}, ["x", "x"]), kind=nx.DiGraph), gx.GraphError, "take a MultiDiGraph, or slot"),
    "order lost": (lambda: dag_of(INPUT, ("c", {"op": "greater", "b": 0}, ["x"]), ("y", {"op": "where"}, ["c", "c", "x"])), gx.GraphError, "c fills 2 operands"),
    "wrong kind": (lambda: dag_of(INPUT, ("y", {"op": "softmax", "axis": {}}, ["x"])), gx.GraphError, "softmax: axis must be an int, found a dict"),
    "needed": (lambda: dag_of(INPUT, ("y", {"op": "one_hot"}, ["x"])), gx.GraphError, "one_hot needs the attribute n"),
    "operand of a leaf": (lambda: dag_of(INPUT, ("y", {"op": "input", "shape": ()}, ["x"])), gx.GraphError, "input takes no operands"),
    "no such output": (lambda: _output(3), gx.GraphError, "asks for output 3, but it has 1"),
    "take without a test": (lambda: dag_of(INPUT, ("i", {"op": "input", "shape": ("n",), "dtype": "int64"}, []), ("y", {"op": "scatter_points", "attrs": {"axes": (0,), "sizes": (2,)}}, ["i", "i"])), gx.GraphError, "nothing keeps the index"),
    "forward a number": (lambda: dag_of(INPUT, ("y", {"op": "exp", "forward": 3, "attrs": {}, "dtype": "float32", "shape": ("n", 3)}, ["x"])), gx.GraphError, "forward must be"),
    "call a text": (lambda: dag_of(INPUT, ("y", {"op": "exp", "call": "[]", "attrs": {}, "dtype": "float32", "shape": ("n", 3)}, ["x"])), gx.GraphError, "call must be"),
    "takes no tensors": (lambda: dag_of(("y", {"op": "no_tensors_at_all"}, [])), gx.UnsupportedOpError, "no operation"),
}  # fmt: skip


def _output(k: int) -> Any:
    dag = dag_of(INPUT, ("y", {"op": "exp"}, []))
    dag.add_edge("x", "y", output=k)
    return dag


@pytest.mark.parametrize("what", REFUSED)
def test_refused(what: str) -> None:
    make, error, text = REFUSED[what]
    with pytest.raises(error, match=f"(?s){text}") as caught:
        gx.from_networkx(make())
    assert caught.value.node == "y" and "at test_dag.py" in str(caught.value)


DOOR = {
    "grad of a list": (lambda d: gx.dag.grad(d, ["y"], ["x"]), gx.GraphError, "not a node"),
    "wrt nothing": (lambda d: gx.dag.grad(d, "y", None), gx.GraphError, "wrt must be a list of nodes, found None"),
    "wrt spelt": (lambda d: gx.dag.grad(d, "y", "xx"), gx.GraphError, "wrt: 'xx' is not a node; did you mean 'x'"),
    "one input": (lambda d: gx.dag.compile(d, "x", "y"), gx.GraphError, r"inputs must be a list of nodes.*write \['x'\]"),
    "no dag": (lambda d: gx.dag.compile({}, ["x"], "y"), gx.GraphError, "expected a networkx MultiDiGraph"),
    "updates": (lambda d: gx.dag.compile(d, ["x"], "y", [1]), gx.CompileError, "updates must be a dict of nodes"),
    "two losses": (lambda d: gx.dag.compile(d, ["x"], ["y", "y"], gx.optim.SGD()), gx.CompileError, "must be one node, found 2"),
    "slots of nothing": (lambda d: gx.dag.slots(None), gx.GraphError, "expected a networkx"),
    "outputs": (lambda d: gx.from_networkx(d, outputs="y"), gx.GraphError, r"outputs must be a list.*write \['y'\]"),
}  # fmt: skip


@pytest.mark.parametrize("what", DOOR)
def test_the_door_refuses(what: str) -> None:
    act, error, text = DOOR[what]
    with pytest.raises(error, match=f"(?s){text}") as caught:
        act(dag_of(INPUT, ("y", {"op": "sum"}, ["x"])))
    assert "at test_dag.py" in str(caught.value)
