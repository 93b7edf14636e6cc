"""A network from a pure networkx graph: 784-256-10 on Fashion-MNIST, trained, saved and exported without the DSL.

    python examples/networkx_dag.py DIRECTORY [--epochs 3] [--small] [--save network.gx] [--export network.py]

DIRECTORY holds the four IDX files, plain or gzipped; the environment variable GRAPHC_FASHION_MNIST names it as well.
"""

import argparse
import os
from pathlib import Path

import networkx as nx
import numpy as np

import graphc as gx
from graphc.demo.data import DataError, fashion_mnist


def normal(shape, seed):
    """First weights."""
    return np.random.default_rng(seed).normal(0, 0.01, shape).astype(np.float32)


def network(inputs, hidden=256, classes=10):
    """The graph: a node for each value, an edge for each operand, in the order of the operands."""
    dag = nx.MultiDiGraph(name="fashion-mnist")
    dag.add_node("x", op="input", shape=("batch", inputs))
    dag.add_node("y", op="input", shape=("batch",), dtype="int64")
    dag.add_node("W1", op="parameter", value=normal((inputs, hidden), seed=0))
    dag.add_node("b1", op="parameter", value=np.zeros(hidden, np.float32))
    dag.add_node("W2", op="parameter", value=normal((hidden, classes), seed=1))
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
    """Trains and prints an epoch a line; returns (loss, accuracy, test accuracy) of each epoch."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", nargs="?", type=Path, default=os.environ.get("GRAPHC_FASHION_MNIST"))
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--small", action="store_true", help="the first 2,000 images alone")
    parser.add_argument("--save", type=Path, help="keep training step and network in a graph file")
    parser.add_argument("--export", type=Path, help="write the network as a Python module without graphc")
    options = parser.parse_args(argv)
    if options.directory is None:
        print("skipped: name the directory of the four IDX files, or set GRAPHC_FASHION_MNIST")
        return []
    try:
        data = fashion_mnist(Path(options.directory))
    except DataError as error:
        raise SystemExit(str(error)) from None
    if options.small:
        data = data.head(2000)

    dag, updates = descent(network(data.train_x.shape[1]), ["W1", "b1", "W2", "b2"])
    print(
        f"{len(dag)} nodes, {dag.number_of_edges()} edges; longest path {nx.dag_longest_path_length(dag, weight=None)}"
    )
    train = gx.dag.compile(dag, ["x", "y"], ["losses", "right"], updates)
    infer = gx.dag.compile(dag, ["x"], "label")
    history = []
    for epoch in range(options.epochs):
        losses, right = train.run_batches([data.train_x, data.train_y], 256, shuffle=True, seed=epoch)
        guess = infer.run_batches([data.test_x], 1000)
        history.append((float(losses.mean()), float(right.mean()), float((guess == data.test_y).mean())))
        print("epoch {:>3}  loss {:.4f}  accuracy {:.4f}  test {:.4f}".format(epoch + 1, *history[-1]))
    if options.save:
        gx.save(options.save, train=train, infer=infer)
    if options.export:
        infer.export_python(options.export)
    return history


if __name__ == "__main__":
    main()
