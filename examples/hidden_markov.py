"""A hidden Markov model, fitted by gradients of a scan.

Earthquakes of magnitude 7 and more, 1900 to 2006, come from states with a Poisson mean each (Zucchini and MacDonald,
Hidden Markov Models for Time Series, 2009, table 3.1). The forward algorithm is a scan; its gradient needs no backward
algorithm of its own. The book's likelihoods are reached, and gradients are those that Baum's expected counts give.

    python examples/hidden_markov.py [--states 3]
"""

import argparse

import numpy as np
from scipy.optimize import minimize
from scipy.special import gammaln, logsumexp

import graphc as gx

COUNTS = """13 14 8 10 16 26 32 27 18 32 36 24 22 23 22 18 25 21 21 14 8 11 14 23 18 17 19 20 22 19 13 26 13 14 22 24
    21 22 26 21 23 24 27 41 31 27 35 26 28 36 39 21 17 22 17 19 15 34 10 15 22 18 15 20 15 22 19 16 30 27 29 23 20 16
    21 21 25 16 18 15 18 14 10 15 8 15 6 11 8 7 18 16 13 12 13 20 15 16 12 18 15 16 13 15 16 11 11"""
BOOK = {1: 391.9189, 2: 342.3183, 3: 329.4603, 4: 327.8316}


def likelihood(states):
    """The negative log likelihood of counts, and its gradient, as a function of log means and transition scores."""
    g = gx.Graph("hidden markov", float_dtype="float64")
    means, scores = g.input("log means", (states,)), g.input("scores", (states, states))
    y = g.input("y", ("time",))
    moves = gx.log_softmax(scores)
    rates = gx.exp(moves)
    stationary = gx.linalg.solve((g.eye(states) - rates + 1).T, g.ones((states,)))  # where all years are alike
    seen = y[:, None] * means - gx.exp(means)  # up to log y!

    def step(before, now):
        return gx.logsumexp(before[:, None] + moves, 0) + now, None

    last, _ = gx.scan(step, gx.log(stationary) + seen[0], seen[1:])
    loss = -gx.logsumexp(last)
    return gx.compile([means, scores, y], [loss, *gx.grad(loss, [means, scores])])


def expected_counts(means, y, moves, first):
    """The gradient by log means, from how likely each state is in each year (Baum and others 1970), in NumPy."""
    seen = y[:, None] * means - np.exp(means)
    ahead, back = [first + seen[0]], [np.zeros(len(means))]
    for now in seen[1:]:
        ahead.append(logsumexp(ahead[-1][:, None] + moves, axis=0) + now)
    for now in seen[:0:-1]:
        back.append(logsumexp(moves + now + back[-1], axis=1))
    likely = np.exp(np.array(ahead) + back[::-1] - logsumexp(ahead[-1]))
    return -np.sum(likely * (y[:, None] - np.exp(means)), axis=0)


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--states", type=int, default=3, choices=range(1, 5), help="the most")
    options = parser.parse_args(argv)
    y, found, error = np.array(COUNTS.split(), float), {}, 0.0
    print(f"{'states':>6}{'-log likelihood':>18}{'in the book':>14}  means")
    for m in range(1, options.states + 1):
        value = likelihood(m)

        def objective(p, m=m, value=value):
            loss, *slopes = value(p[:m], p[m:].reshape(m, m), y)
            return loss + gammaln(y + 1).sum(), np.concatenate([s.ravel() for s in slopes])

        start = np.concatenate([np.log(np.quantile(y, (np.arange(m) + 0.5) / m)), 2 * np.eye(m).ravel()])
        best = minimize(objective, start, jac=True, method="BFGS", options={"gtol": 1e-6})
        means, scores = best.x[:m], best.x[m:].reshape(m, m)
        moves = scores - logsumexp(scores, axis=1, keepdims=True)
        first = np.log(np.linalg.solve((np.eye(m) - np.exp(moves) + 1).T, np.ones(m)))
        by_hand = expected_counts(means + 0.1, y, moves, first)
        error = max(error, np.max(np.abs(value(means + 0.1, scores, y)[1] / by_hand - 1)))
        found[m] = float(best.fun)
        rates = " ".join(f"{v:.3f}" for v in np.sort(np.exp(means)))
        print(f"{m:>6}{best.fun:>18.4f}{BOOK[m]:>14.4f}  {rates}")
    print(f"gradients and expected counts differ by {error:.1e}")
    return {"found": found, "book": BOOK, "error": error}


if __name__ == "__main__":
    main()
