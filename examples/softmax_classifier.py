"""A sigmoid hidden layer, softmax and cross entropy: symbolic gradients beside the ones derived by hand.

g1 = x W1 + b1    f1 = sigmoid(g1)    f2 = f1 W2 + b2    p = softmax(f2)    L = -sum(y log p)

dL/df2 = p - y          dL/dW2 = f1' dL/df2      dL/db2 = sum dL/df2
dL/dg1 = (dL/df2 W2') f1 (1 - f1)                dL/dW1 = x' dL/dg1      dL/db1 = sum dL/dg1

    python examples/softmax_classifier.py
"""

import argparse

import numpy as np

import graphc as gx


def main(argv=None):
    """Prints, for a single sample and a batch, the largest difference for each gradient; returns them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=32)
    options = parser.parse_args(argv)

    rng = np.random.default_rng(0)
    g = gx.Graph("softmax classifier", float_dtype="float64")
    x = g.input("x", shape=("batch", 4), dtype="float64")
    y = g.input("y", shape=("batch", 3), dtype="float64")
    w1, b1 = g.parameter("W1", rng.normal(size=(4, 5))), g.parameter("b1", rng.normal(size=5))
    w2, b2 = g.parameter("W2", rng.normal(size=(5, 3))), g.parameter("b2", rng.normal(size=3))
    g1 = x @ w1 + b1
    f1 = gx.sigmoid(g1)
    f2 = f1 @ w2 + b2
    loss = gx.sum(gx.cross_entropy(f2, y))
    wrt = {"df2": f2, "dW2": w2, "db2": b2, "dg1": g1, "dW1": w1, "db1": b1}
    symbolic = gx.compile([x, y], dict(zip(wrt, gx.grad(loss, list(wrt.values())), strict=True)))

    worst = {}
    for n in (1, options.batch):
        a, t = rng.normal(size=(n, 4)), np.eye(3)[rng.integers(0, 3, n)]
        found = symbolic(a, t)
        hidden = 1 / (1 + np.exp(-(a @ g.state["W1"] + g.state["b1"])))
        logits = hidden @ g.state["W2"] + g.state["b2"]
        p = np.exp(logits - logits.max(1, keepdims=True))
        p /= p.sum(1, keepdims=True)
        by_hand = {"df2": p - t}
        by_hand["dW2"], by_hand["db2"] = hidden.T @ by_hand["df2"], by_hand["df2"].sum(0)
        by_hand["dg1"] = by_hand["df2"] @ g.state["W2"].T * hidden * (1 - hidden)
        by_hand["dW1"], by_hand["db1"] = a.T @ by_hand["dg1"], by_hand["dg1"].sum(0)
        print(f"{n} row{'s' * (n > 1)}: largest difference between the symbolic gradient and the one by hand")
        for name, value in by_hand.items():
            worst[n, name] = float(np.abs(found[name] - value).max())
            print(f"  dL/{name[1:]:<4}{worst[n, name]:.1e}")
    return worst


if __name__ == "__main__":
    main()
