"""A classifier: every derivative by hand and by graph.

A sigmoid hidden layer, softmax and cross entropy. Column vectors, weights (out, in):

    f1 = w1 x + b1      g1 = sigmoid(f1)      f2 = w2 g1 + b2      y_hat = softmax(f2)      L = -sum y_i log y_hat_i

    dL/df2 = (y_hat - y)'                 dL/dw2 = outer(y_hat - y, g1)       dL/db2 = y_hat - y
    dL/dg1 = (y_hat - y)' w2              dg1/df1 = diag(sigmoid'(f1))        dL/df1 = dL/dg1 diag(sigmoid'(f1))
    dL/dw1 = outer(dL/df1, x)             dL/db1 = dL/df1

dL/dg1 is what propagates: all that the first layer learns of the loss comes through it. (The article writes
dL/df2 = (y - y_hat)'. The sign slipped there: raising the logit of the true class lowers the loss, and y_hat - y is
negative there.) If the shapes match, it is probably right.

df1/dw1 is a third-order tensor of shape (M, N, M): the derivative of each of M sums by each of M N weights. One
component is enough: f1_i holds w1_jk only where i = j, and its derivative is then x_k. So dL/dw1_jk = dL/df1_j x_k, an
outer product, and the tensor, nearly all zeros, is never made.

In a batch rows are samples: X is (batch, in), F1 = X w1' + b1, and the outer products of the samples add up to a
product of matrices, dL/dw1 = (dL/dF1)' X.

    python examples/softmax_classifier.py [--batch 32] [--save softmax.svg]
"""

import argparse

import numpy as np

import graphc as gx

N, M, CLASSES = 2, 3, 3  # inputs, hidden units, classes
VALUES = {
    "w1": [[0.5, -0.3], [0.8, 0.2], [-0.6, 0.9]],
    "b1": [0.1, -0.2, 0.3],
    "w2": [[0.4, -0.7, 0.2], [-0.5, 0.6, 0.9], [0.3, 0.1, -0.8]],
    "b2": [0.0, 0.1, -0.1],
}
SAMPLE, LABEL = np.array([1.5, -1.0]), np.array([0.0, 1.0, 0.0])


def sample_graph():
    """The loss of one sample, with the letters above."""
    g = gx.Graph("softmax classifier", float_dtype="float64")
    x, y = g.input("x", shape=(N,), dtype="float64"), g.input("y", shape=(CLASSES,), dtype="float64")
    w1, b1, w2, b2 = (g.parameter(name, np.array(value)) for name, value in VALUES.items())
    f1 = (w1 @ x + b1).named("f1")
    g1 = gx.sigmoid(f1).named("g1")
    f2 = (w2 @ g1 + b2).named("f2")
    y_hat = gx.softmax(f2).named("y_hat")
    return (-gx.sum(y * gx.log(y_hat))).named("L")


def batch_graph():
    """The same for rows of samples; the loss is the sum over them."""
    g = gx.Graph("softmax classifier, batch", float_dtype="float64")
    x, y = g.input("X", shape=("batch", N), dtype="float64"), g.input("Y", shape=("batch", CLASSES), dtype="float64")
    w1, b1, w2, b2 = (g.parameter(name, np.array(value)) for name, value in VALUES.items())
    f1 = x @ w1.T + b1
    f2 = gx.sigmoid(f1) @ w2.T + b2
    loss = gx.sum(gx.cross_entropy(f2, y))
    wrt = {"w1": w1, "b1": b1, "w2": w2, "b2": b2, "f2": f2, "f1": f1}
    return gx.compile([x, y], dict(zip(wrt, gx.grad(loss, list(wrt.values())), strict=True)))


def by_hand(x, y):
    """Values and partials of one sample."""
    w1, b1, w2, b2 = (np.array(value) for value in VALUES.values())
    f1 = w1 @ x + b1
    g1 = 1 / (1 + np.exp(-f1))
    f2 = w2 @ g1 + b2
    y_hat = np.exp(f2 - f2.max()) / np.exp(f2 - f2.max()).sum()
    values = {"f1": f1, "g1": g1, "f2": f2, "y_hat": y_hat, "L": -(y * np.log(y_hat)).sum()}
    d = {"f2": y_hat - y}
    d |= {"w2": np.outer(d["f2"], g1), "b2": d["f2"], "g1": d["f2"] @ w2}
    d["f1"] = d["g1"] @ np.diag(g1 * (1 - g1))
    d |= {"w1": np.outer(d["f1"], x), "b1": d["f1"]}
    return values, d


def third_order(x):
    """df1/dw1 whole, (M, N, M) in the article's order: what nobody makes."""
    tensor = np.zeros((M, N, M))
    for j in range(M):
        tensor[j, :, j] = x
    return tensor


def main(argv=None):
    """Prints values and partials; returns the largest difference of each, for the sample and for a batch."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--save", metavar="FILE", help="draw the sample as SVG")
    options = parser.parse_args(argv)

    values, slopes = by_hand(SAMPLE, LABEL)
    loss = sample_graph()
    seen = gx.inspect(loss, {"x": SAMPLE, "y": LABEL}, wrt=list(loss.graph.parameters.values()), named=True)
    worst = {}
    print(f"one sample, x = {SAMPLE}, y = {LABEL}\n")
    for name, value in values.items():
        print(f"  {name:<6} {seen[name].formula:<22} {np.array2string(np.asarray(value), precision=4)}")
        worst[name] = float(np.abs(seen[name].value - value).max())
    rules = {
        "f2": "y_hat - y", "w2": "outer(y_hat - y, g1)", "b2": "y_hat - y", "g1": "(y_hat - y)' w2",
        "f1": "dL/dg1 diag(sigmoid'(f1))", "w1": "outer(dL/df1, x)", "b1": "dL/df1",
    }  # fmt: skip
    print("\n  partial  by hand                    value                             largest difference from the graph")
    for name, rule in rules.items():
        worst["d" + name] = float(np.abs(seen[name].gradient - slopes[name]).max())
        text = " ".join(np.array2string(slopes[name], precision=4).split())
        print(f"  dL/d{name:<4} {rule:<26} {text:<64} {worst['d' + name]:.1e}")
    print(f"\n  dL/dg1 propagates: {np.array2string(slopes['g1'], precision=4)} is all that layer 1 hears of the loss")
    print("  with y - y_hat in the place of dL/df2 every step downhill would lead uphill")

    whole = third_order(SAMPLE)
    worst["third order"] = float(
        np.abs(np.einsum("jki,i->jk", whole.transpose(2, 1, 0), slopes["f1"]) - slopes["w1"]).max()
    )
    zeros = int((whole == 0).sum())
    print(
        f"\n  df1/dw1 has shape {whole.shape}: {whole.size} numbers, {zeros} of them 0; df1_2/dw1_2k = x_k = {SAMPLE}"
    )
    print(f"  for 784 inputs and 256 units it would hold {256 * 784 * 256:,}; the outer product holds {256 * 784:,}")

    rng = np.random.default_rng(0)
    rows, labels = rng.normal(size=(options.batch, N)), np.eye(CLASSES)[rng.integers(0, CLASSES, options.batch)]
    found = batch_graph()(rows, labels)
    each = [by_hand(x, y)[1] for x, y in zip(rows, labels, strict=True)]
    print(f"\na batch of {options.batch}: the sum of the samples' gradients is one product, dL/dw1 = (dL/dF1)' X")
    for name in ("w1", "b1", "w2", "b2"):
        worst["batch d" + name] = float(np.abs(found[name] - sum(d[name] for d in each)).max())
        print(f"  dL/d{name:<4} largest difference {worst['batch d' + name]:.1e}")
    worst["batch product"] = float(np.abs(found["f1"].T @ rows - found["w1"]).max())
    if options.save:
        seen.to_svg(options.save)
        print(f"\nthe sample drawn in {options.save}")
    return worst


if __name__ == "__main__":
    main()
