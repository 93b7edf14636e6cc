"""The same network from a pure networkx graph.

784-256-10 on Fashion-MNIST, differentiated, trained, saved and exported without the DSL.

    python examples/networkx_dag.py DIRECTORY [--epochs 3] [--small] [--save network.gx] [--export network.py]

DIRECTORY holds the four IDX files, plain or gzipped; the environment variable GRAPHC_FASHION_MNIST names it as well.
"""

from pathlib import Path

import networkx as nx
import numpy as np
from images import add_files, arguments, fit, read

import graphc as gx


def normal(shape, seed):
    """First weights."""
    return np.random.default_rng(seed).normal(0, 0.01, shape).astype(np.float32)


def network(inputs, hidden=256, classes=10, seed=0):
    """The graph: a node for each value, an edge for each operand, in the order of the operands."""
    dag = nx.MultiDiGraph(name="fashion-mnist")
    dag.add_node("x", op="input", shape=("batch", inputs))
    dag.add_node("y", op="input", shape=("batch",), dtype="int64")
    dag.add_node("W1", op="parameter", value=normal((inputs, hidden), 2 * seed))
    dag.add_node("b1", op="parameter", value=np.zeros(hidden, np.float32))
    dag.add_node("W2", op="parameter", value=normal((hidden, classes), 2 * seed + 1))
    dag.add_node("b2", op="parameter", value=np.zeros(classes, np.float32))
    for name, op, operands, attributes in [
        ("z1", "linear", ["x", "W1", "b1"], {}),
        ("h1", "relu", ["z1"], {}),
        ("logits", "linear", ["h1", "W2", "b2"], {}),
        ("losses", "cross_entropy", ["logits", "y"], {}),
        ("loss", "mean", ["losses"], {}),
        ("label", "argmax", ["logits"], {"axis": -1}),
        ("right", "equal", ["label", "y"], {}),
    ]:
        dag.add_node(name, op=op, **attributes)
        dag.add_edges_from((operand, name) for operand in operands)
    return dag


def descent(dag, parameters, rate=0.1):
    """A copy of the graph with gradients and, written by hand, a step of gradient descent; and its updates."""
    dag = gx.dag.grad(dag, "loss", parameters)
    updates = {}
    for name in parameters:
        dag.add_node(f"step/{name}", op="multiply", b=rate)
        dag.add_edge(dag.graph["gradients"][name], f"step/{name}")
        dag.add_node(f"new/{name}", op="subtract")
        dag.add_edges_from([(name, f"new/{name}"), (f"step/{name}", f"new/{name}")])
        updates[name] = f"new/{name}"
    return dag, updates


def main(argv=None):
    """Trains and prints an epoch a line; returns the figures, None where there are no images."""
    parser = arguments(__doc__, epochs=3)
    add_files(parser)
    parser.add_argument("--save", type=Path, metavar="FILE", help="keep training step and network in a graph file")
    parser.add_argument("--export", type=Path, metavar="FILE", help="write the network as a module without graphc")
    options = parser.parse_args(argv)
    data = read(options)
    if data is None:
        return None

    dag, updates = descent(network(data.train_x.shape[1], seed=options.seed), ["W1", "b1", "W2", "b2"])
    depth = nx.dag_longest_path_length(dag, weight=None)
    print(f"{len(dag)} nodes, {dag.number_of_edges()} edges; longest path {depth}")

    def build():
        train = gx.dag.compile(dag, ["x", "y"], {"loss": "losses", "right": "right"}, updates)
        return train, gx.dag.compile(dag, ["x"], "label")

    figures, train, infer = fit(build, data, options, 256)
    if options.save:
        gx.save(options.save, train=train, infer=infer)
    if options.export:
        infer.export_python(options.export)
    return figures


if __name__ == "__main__":
    main()
