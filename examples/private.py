"""Differential privacy: clipped gradients and noise.

The gradient of each example is clipped, then noise is added to their sum: DP-SGD of Abadi et al. (Deep Learning with
Differential Privacy, 2016), on the scans of digits that scikit-learn ships. `gx.vmap` of `gx.grad` gives the clipped
gradients, without storing those of single examples. What a run gives away is computed by Renyi differential privacy
(Mironov, Talwar and Zhang 2019): for the paper's 10,000 steps of 0.01 of the data with noise 4, epsilon is 1.26 as in
its section 3.2.

    python examples/private.py [--noise 1.0] [--steps 600]
"""

import argparse

import numpy as np
from scipy.special import gammaln, logsumexp

import graphc as gx

BATCH, BOUND, DELTA = 64, 1.0, 1e-5


def build(noise):
    """A step of learning, which gives the norm of each gradient, the sum of those clipped, and the labels of rows."""
    g = gx.Graph("private")
    x, y, key = g.input("x", ("batch", 64)), g.input("y", ("batch",), "int64"), g.random_key(0)
    weights = [g.parameter("w1", gx.init.normal((64, 32), std=0.2, seed=0)), g.parameter("b1", np.zeros(32, "f4"))]
    weights += [g.parameter("w2", gx.init.normal((32, 10), std=0.2, seed=1)), g.parameter("b2", np.zeros(10, "f4"))]

    def scores(x):
        w1, b1, w2, b2 = weights
        return gx.tanh(x @ w1 + b1) @ w2 + b2

    def clipped(row, label):
        slopes = gx.grad(gx.cross_entropy(scores(row), label), weights)
        norm = gx.sqrt(sum(gx.sum(s * s) for s in slopes))
        return [s * gx.minimum(1.0, BOUND / norm) for s in slopes], norm

    each, norms = gx.vmap(clipped)(x, y)
    sums = [gx.sum(s, 0) for s in each]
    noisy = [(s + noise * BOUND * gx.random.normal(key, s.shape)) / BATCH for s in sums]
    loss = gx.mean(gx.cross_entropy(scores(x), y))
    updates = gx.optim.SGD(lr=1.0).updates(loss, weights, gradients=noisy)
    return g, gx.compile([x, y], [norms, *sums], updates | {key: key + np.array([0, 1])}), gx.compile([x], scores(x))


def by_hand(state, x, y):
    """Norms and sums of clipped gradients, one example after the other in NumPy."""
    w1, b1, w2, b2 = (state[k].astype("f8") for k in ("w1", "b1", "w2", "b2"))
    norms, sums = [], [0.0] * 4
    for row, label in zip(x.astype("f8"), y, strict=True):
        h = np.tanh(row @ w1 + b1)
        d = np.exp(h @ w2 + b2)
        d = d / d.sum() - np.eye(10)[label]
        back = w2 @ d * (1 - h * h)
        slopes = [np.outer(row, back), back, np.outer(h, d), d]
        norms.append(np.sqrt(sum(np.sum(s * s) for s in slopes)))
        sums = [a + s * min(1, BOUND / norms[-1]) for a, s in zip(sums, slopes, strict=True)]
    return [np.array(norms), *sums]


def privacy(share, noise, steps, delta=DELTA):
    """epsilon of that many steps, each on a random share of all examples; the least over integer orders."""
    best = np.inf
    for order in range(2, 256):
        k = np.arange(order + 1)
        chosen = gammaln(order + 1) - gammaln(k + 1) - gammaln(order - k + 1)
        terms = chosen + k * np.log(share) + (order - k) * np.log1p(-share) + (k * k - k) / (2 * noise**2)
        best = min(best, (steps * logsumexp(terms) + np.log(1 / delta)) / (order - 1))
    return float(best)


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--noise", type=float, default=1.0, help="its deviation, in bounds of a gradient")
    parser.add_argument("--steps", type=int, default=600)
    options = parser.parse_args(argv)
    try:
        from sklearn.datasets import load_digits
    except ImportError:
        raise SystemExit("the digits come with scikit-learn: pip install scikit-learn") from None
    x, y = load_digits(return_X_y=True)
    x, rng = (x / 16).astype("f4"), np.random.default_rng(0)
    order = rng.permutation(len(y))
    train, test = order[360:], order[:360]
    g, learn, scores = build(options.noise)
    error = 0.0
    for k in range(options.steps):
        rows = train[rng.random(len(train)) < BATCH / len(train)]  # each example by itself, as the bound asks
        if k == 0:
            expected = by_hand(g.state, x[rows], y[rows])
        found = learn(x[rows], y[rows])
        if k == 0:
            error = max(float(np.max(np.abs(a - b)) / np.max(np.abs(b))) for a, b in zip(found, expected, strict=True))
    accuracy = float(np.mean(scores(x[test]).argmax(1) == y[test]))
    epsilon, paper = privacy(BATCH / len(train), options.noise, options.steps), privacy(0.01, 4.0, 10000)
    print(f"clipped gradients, compiled and by hand, differ by {error:.1e}")
    print(f"accuracy {accuracy:.1%} with epsilon {epsilon:.2f} at delta {DELTA}")
    print(f"the paper's example: epsilon {paper:.2f}")
    return {"error": error, "accuracy": accuracy, "epsilon": epsilon, "paper": paper}


if __name__ == "__main__":
    main()
