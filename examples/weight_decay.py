"""Weight decay on the graph of J = L + s; SGD and AdamW.

    z = W1 x      h = phi(z)      o = W2 h      L = l(o, y)      s = lambda/2 (||W1||^2 + ||W2||^2)      J = L + s

    dJ/dL = dJ/ds = 1      dJ/do = dL/do           ds/dWi = lambda Wi
    dJ/dW2 = dJ/do h' + lambda W2                  dJ/dh = W2' dJ/do
    dJ/dz = dJ/dh * phi'(z)                        dJ/dW1 = dJ/dz x' + lambda W1

So a step of SGD on J is W - lr dL/dW - lr lambda W: first shrunk, then moved. ``SGD(weight_decay=lambda)`` on L is the
same step. Adam divides each gradient by its own size, the penalty's part too, so there the two differ: ``AdamW``
shrinks by lr lambda W whatever the size of the gradient (Loshchilov and Hutter 2019); ``Adam(weight_decay=)`` is Adam
on J.

    python examples/weight_decay.py [--save weight-decay.svg] [--dropout]
"""

import argparse

import numpy as np

import graphc as gx

LAMBDA, RATE = 0.1, 0.05
FIRST = {"W1": [[0.5, -0.3], [0.8, 0.2], [-0.6, 0.9]], "W2": [[0.4, -0.7, 0.2], [-0.5, 0.6, 0.9]]}
X, Y = np.array([1.5, -1.0]), np.array([0.5, -0.5])


def graph(dropout=0.0):
    """The graph with the letters above; phi is tanh and l half the squared error. Returns it with L and J."""
    g = gx.Graph("weight decay", float_dtype="float64")
    x, y = g.input("x", shape=(2,), dtype="float64"), g.input("y", shape=(2,), dtype="float64")
    w1, w2 = (g.parameter(name, np.array(value)) for name, value in FIRST.items())
    h = gx.tanh((w1 @ x).named("z")).named("h")
    if dropout:
        h = gx.dropout(h, dropout, key=g.random_key(seed=1)).named("h'")
    o = (w2 @ h).named("o")
    loss = (0.5 * gx.sum(gx.squared_error(o, y))).named("L")
    penalty = (LAMBDA / 2 * (gx.sum(w1 * w1) + gx.sum(w2 * w2))).named("s")
    return g, loss, (loss + penalty).named("J")


def by_hand():
    """All values and partials, with the letters above."""
    w1, w2 = (np.array(value) for value in FIRST.values())
    z = w1 @ X
    h = np.tanh(z)
    o = w2 @ h
    loss, s = 0.5 * ((o - Y) ** 2).sum(), LAMBDA / 2 * ((w1**2).sum() + (w2**2).sum())
    d = {"J": 1.0, "L": 1.0, "s": 1.0, "o": o - Y}
    d["W2"] = np.outer(d["o"], h) + LAMBDA * w2
    d["h"] = w2.T @ d["o"]
    d["z"] = d["h"] * (1 - h**2)
    d["W1"] = np.outer(d["z"], X) + LAMBDA * w1
    return {"z": z, "h": h, "o": o, "L": loss, "s": s, "J": loss + s}, d


def trained(optimizer, penalised, steps=20):
    """The weights after some steps on J or on L."""
    g, loss, cost = graph()
    step = gx.compile(list(g.inputs.values()), None, updates=optimizer.updates(cost if penalised else loss))
    for _ in range(steps):
        step(X, Y)
    return np.concatenate([g.state[name].ravel() for name in FIRST])


def main(argv=None):
    """Prints the partials and compares the optimisers; returns the differences."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--save", metavar="FILE", help="draw the graph of J as SVG")
    parser.add_argument("--dropout", action="store_true", help="with dropout on h in the drawing")
    options = parser.parse_args(argv)

    values, slopes = by_hand()
    _, _, cost = graph()
    seen = gx.inspect(cost, {"x": X, "y": Y}, wrt=list(cost.graph.parameters.values()), named=True)
    rules = {
        "J": "1", "L": "1", "s": "1", "o": "dL/do", "W2": "dJ/do h' + lambda W2",
        "h": "W2' dJ/do", "z": "dJ/dh * phi'(z)", "W1": "dJ/dz x' + lambda W1",
    }  # fmt: skip
    worst = {}
    print(f"{'':<10}{'by hand':<34}{'value':<56}difference from the graph")
    for name, value in values.items():
        worst[name] = float(np.abs(seen[name].value - value).max())
        print(f"{name:<10}{seen[name].formula:<34}{_text(value):<56}{worst[name]:.1e}")
    for name, rule in rules.items():
        worst["d" + name] = float(np.abs(seen[name].gradient - slopes[name]).max())
        print(f"dJ/d{name:<6}{rule:<34}{_text(slopes[name]):<56}{worst['d' + name]:.1e}")

    optim = gx.optim
    pairs = {
        "SGD on J, SGD(weight_decay) on L": (
            trained(optim.SGD(lr=RATE), True), trained(optim.SGD(lr=RATE, weight_decay=LAMBDA), False),
        ),
        "Adam on J, Adam(weight_decay) on L": (
            trained(optim.Adam(lr=RATE), True), trained(optim.Adam(lr=RATE, weight_decay=LAMBDA), False),
        ),
        "Adam on J, AdamW on L": (
            trained(optim.Adam(lr=RATE), True), trained(optim.AdamW(lr=RATE, weight_decay=LAMBDA), False),
        ),
    }  # fmt: skip
    print("\nweights after 20 steps, largest difference:")
    for name, (one, other) in pairs.items():
        worst[name] = float(np.abs(one - other).max())
        print(f"  {name:<36}{worst[name]:.1e}")
    if options.save:
        _, _, cost = graph(0.5 if options.dropout else 0.0)
        gx.inspect(cost, {"x": X, "y": Y}, wrt=list(cost.graph.parameters.values()), named=True).to_svg(options.save)
        print(f"\ndrawn in {options.save}")
    return worst


def _text(value):
    return " ".join(np.array2string(np.asarray(value), precision=4, suppress_small=True).split())


if __name__ == "__main__":
    main()
