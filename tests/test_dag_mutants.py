"""Thousands of DAGs with something wrong: each is read, or refused in words."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import networkx as nx
import numpy as np
import pytest
from test_dag import CALLS, INPUT, dag_of, trained
from test_examples import example

import graphc as gx

ATTRIBUTES = ("op", "name", "shape", "dtype", "attrs", "value", "role", "forward", "line", "call", "graph", "axis", "axes", "keepdims", "b", "x", "size", "index", "start", "step")  # fmt: skip
WHOLE = ("name", "float_dtype", "outputs", "symbols", "random_keys", "dropouts", "gradients")


class Odd:
    """Something that no attribute is."""

    def __repr__(self) -> str:
        return "<odd>"


def deep(n: int) -> Any:
    out: Any = 1
    for _ in range(n):
        out = [out]
    return out


JUNK: list[Callable[[], Any]] = [
    lambda: None, lambda: "", lambda: "x", lambda: "softmax", lambda: "[1, 2", lambda: "[[1], [2, 3]]", lambda: "(n, 3)", lambda: "n*n*n",
    lambda: "{}", lambda: '{"axis": 1}', lambda: "0", lambda: "float64", lambda: "é\x00", lambda: "n" * 5000, lambda: "[" * 5000, lambda: -1,
    lambda: 0, lambda: 1, lambda: 2**40, lambda: 10**30, lambda: -(10**30), lambda: 1.5, lambda: float("nan"), lambda: float("inf"),
    lambda: True, lambda: b"bytes", lambda: [], lambda: (), lambda: [1, "a", None], lambda: (0, 0), lambda: ("n", "m"), lambda: (-1, -1),
    lambda: (2**40, 2**40), lambda: {}, lambda: {"axis": 0}, lambda: {1: 2}, lambda: {"function": 1, "name": []}, lambda: {"shape": ("n",)},
    lambda: {1, 2}, Odd, lambda: Odd, lambda: len, lambda: np.zeros(3), lambda: np.zeros((2, 2), complex), lambda: np.array([None, 1], object),
    lambda: np.float32(1), lambda: np.int64(3), lambda: np.bool_(True), lambda: slice(0, 2), lambda: (slice(None), 0), lambda: deep(50),
    lambda: deep(3000), lambda: [np.ones(2), 1], lambda: range(3), lambda: 1j, lambda: "9" * 400, lambda: np.array("a"), lambda: ["x", "x"],
]  # fmt: skip


def bases() -> list[Any]:
    """What is mutated: made by hand, written by graphc, with gradients, as text; small ones of every kind of call."""
    module = example("networkx_dag")
    made = module.network(6, 4, 3)
    slotted = made.copy()
    gx.dag.slots(made)
    slotted = nx.MultiDiGraph(made)
    g = trained()
    calls = [dag_of(INPUT, ("y", attributes, operands)) for attributes, operands, _ in CALLS.values()]
    plain = dag_of(INPUT, ("y", {"op": "softmax"}, ["x"]), ("z", {"op": "sum", "axis": 0}, ["y"]), kind=nx.DiGraph)
    return [
        made,
        slotted,
        plain,
        gx.dag.grad(made, "loss", ["W1", "b2"]),
        g.to_networkx(),
        g.to_networkx(text=True),
        *calls,
    ]


def names(random: random.Random) -> str:
    return random.choice([r.op for r in gx.dag.ops()] + ["mul", "softmx", "", "__import__"])


def mutate(dag: Any, random: random.Random) -> None:
    """One change, in place."""
    nodes, edges = list(dag), list(dag.edges)
    node = random.choice(nodes)
    data = dag.nodes[node]
    what = random.randrange(14)
    if what == 0:
        data[random.choice([*data, *ATTRIBUTES])] = random.choice(JUNK)()
    elif what == 1 and data:
        del data[random.choice(list(data))]
    elif what == 2:
        data["op"] = names(random)
    elif what == 3 and isinstance(data.get("attrs"), dict):
        data["attrs"] = {**data["attrs"], random.choice([*data["attrs"], *ATTRIBUTES]): random.choice(JUNK)()}
    elif what == 4:
        dag.add_edge(node, random.choice(nodes))
    elif what == 5 and edges:
        dag.remove_edge(*random.choice(edges))
    elif what == 6 and edges:
        dag.edges[random.choice(edges)][random.choice(["slot", "output"])] = random.choice(JUNK)()
    elif what == 7 and edges:
        dag.edges[random.choice(edges)].pop("slot", None)
    elif what == 8:
        dag.remove_node(node)
    elif what == 9:
        dag.graph[random.choice(WHOLE)] = random.choice(JUNK)()
    elif what == 10:
        key = random.choice([0, ("a", 1), "new", "", "y/exp", -1])
        dag.add_node(key, op=names(random), **{random.choice(ATTRIBUTES[1:]): random.choice(JUNK)()})
        dag.add_edge(node, key)
    elif what == 11:
        known = next((r for r in gx.dag.ops() if r.op == data.get("op")), None)
        for name in known.attributes if known else ():
            if random.random() < 0.5:
                data[name] = random.choice(JUNK)()
    elif what == 12:
        data["op"] = names(random)
        for name in next((r.attributes for r in gx.dag.ops() if r.op == data["op"]), ()):
            data[name] = random.choice([0, 1, (0,), "n", (3,), ("n", 3), "float32", random.choice(JUNK)()])
    elif what == 13:
        data.update(dag.nodes[random.choice(nodes)])


def use(dag: Any, random: random.Random) -> None:
    """What a user may do with a DAG."""
    nodes: list[Any] = [*dag, "nothing", []]
    act = random.randrange(4)
    if act < 2:
        gx.from_networkx(dag, outputs=None if act else [random.choice(nodes)])
    elif act == 2:
        gx.dag.slots(dag)
        gx.dag.grad(
            dag, random.choice(nodes), [random.choice(nodes)], on_disconnected=random.choice(["zeros", "error"])
        )
    else:
        outputs = random.choice([random.choice(nodes), [random.choice(nodes)], {"a": random.choice(nodes)}, 3])
        updates = random.choice([None, None, gx.optim.SGD(), {random.choice(nodes[:-1]): random.choice(nodes)}])
        gx.dag.compile(
            dag,
            [k for k, d in dag.nodes(data=True) if str(d.get("op")) == "input"],
            outputs,
            updates,
            backend="numpy",
            unused="ignore",
        )


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("seed", range(8))
def test_mutants_end_in_words(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    all_bases = bases()
    refused = 0
    for k in range(250):
        chance = random.Random(250 * seed + k)
        dag = chance.choice(all_bases).copy()
        for _, data in dag.nodes(data=True):  # copies share what attributes hold
            if isinstance(data.get("attrs"), dict):
                data["attrs"] = dict(data["attrs"])
        for _ in range(chance.choice([1, 1, 2, 3])):
            if len(dag):
                mutate(dag, chance)
        try:
            use(dag, chance)
        except gx.GraphcError as error:
            refused += 1
            assert len(str(error)) < 20_000
        except nx.NetworkXError as error:
            raise AssertionError(k) from error
    assert 100 < refused < 250
