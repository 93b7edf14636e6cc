"""The two smallest demos: one neuron, and the 2-3-1 network."""

from __future__ import annotations

from typing import Any

import numpy as np

import graphc as gx


def neuron(x: float = 1.5, w: float = 0.8, b: float = -0.4, target: float = 1.0) -> dict[str, Any]:
    """One sigmoid neuron; the chain rule node by node, by hand beside the graph's derivatives."""
    g = gx.Graph("neuron", float_dtype="float64")
    names = ("x", "w", "b", "t")
    tx, tw, tb, tt = (g.input(n, dtype="float64") for n in names)
    product = (tw * tx).named("w*x")
    z = (product + tb).named("z")
    a = gx.sigmoid(z).named("a")
    loss = (0.5 * gx.square(a - tt)).named("loss")
    nodes = [product, z, a, loss]
    values = gx.compile([tx, tw, tb, tt], nodes)(x, w, b, target)
    inner = gx.compile([tx, tw, tb, tt], gx.grad(loss, [a, z, product, tw, tb, tx]), unused="ignore")(x, w, b, target)
    by_hand_a = values[2] - target
    by_hand_z = by_hand_a * values[2] * (1 - values[2])
    rows = [
        ("dloss/da", "a - t", by_hand_a, inner[0]),
        ("dloss/dz", "dloss/da * a * (1 - a)", by_hand_z, inner[1]),
        ("dloss/d(w*x)", "dloss/dz", by_hand_z, inner[2]),
        ("dloss/dw", "dloss/dz * x", by_hand_z * x, inner[3]),
        ("dloss/db", "dloss/dz", by_hand_z, inner[4]),
        ("dloss/dx", "dloss/dz * w", by_hand_z * w, inner[5]),
    ]
    print(f"one sigmoid neuron: x = {x}, w = {w}, b = {b}, target = {target}\n")
    for node, value in zip(nodes, values, strict=True):
        print(f"  {node.name:<8} = {float(value):.6f}")
    print(f"\n{'derivative':<14}{'chain rule':<26}{'by hand':>12}{'graph':>12}")
    for name, rule, hand, found in rows:
        print(f"{name:<14}{rule:<26}{float(hand):>12.8f}{float(found):>12.8f}")
    return {
        "values": {n.name: float(v) for n, v in zip(nodes, values, strict=True)},
        "gradients": {r[0]: float(r[3]) for r in rows},
    }


XOR_X = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], np.float64)
XOR_Y = np.array([[0], [1], [1], [0]], np.float64)


def network(activation: Any, weights: Any) -> tuple[gx.Graph, gx.Tensor, gx.Tensor]:
    """The 2-3-1 network: graph, input, prediction. ``weights(shape)`` gives first values."""
    g = gx.Graph("xor", float_dtype="float64")
    x = g.input("x", shape=("batch", 2), dtype="float64")
    w1, b1 = g.parameter("W1", weights((2, 3))), g.parameter("b1", weights((3,)))
    w2, b2 = g.parameter("W2", weights((3, 1))), g.parameter("b2", weights((1,)))
    return g, x, activation(x @ w1 + b1) @ w2 + b2


def xor(steps: int = 2000, seed: int = 0) -> dict[str, Any]:
    """With identity activation and all weights 1 the first prediction for (0, 0) is 4; with tanh it learns XOR."""
    _, x, linear = network(lambda z: z, np.ones)
    first = gx.compile([x], linear)(XOR_X)
    print("identity activation, all weights 1: predictions", first.ravel().tolist())
    rng = np.random.default_rng(seed)
    g, x, prediction = network(gx.tanh, lambda shape: rng.normal(size=shape))
    y = g.input("y", shape=("batch", 1), dtype="float64")
    loss = gx.mean(gx.squared_error(prediction, y))
    train = gx.compile([x, y], loss, updates=gx.optim.SGD(lr=0.1).updates(loss))
    losses = []
    for k in range(steps):
        losses.append(float(train(XOR_X, XOR_Y)))
        if k in (0, 9, 99, 499) or k == steps - 1:
            print(f"step {k + 1:>5}  loss {losses[-1]:.6f}")
    found = gx.compile([x], prediction)(XOR_X).ravel()
    right = int(((found > 0.5) == (XOR_Y.ravel() > 0.5)).sum())
    for row, value in zip(XOR_X, found, strict=True):
        print(f"  {row.astype(int).tolist()} -> {value:.4f}")
    print(f"{right} of 4 right")
    return {"first_prediction": float(first[0, 0]), "loss": losses[-1], "right": right}
