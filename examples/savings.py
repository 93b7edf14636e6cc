"""What backpropagation saves: all gradients in one pass.

One pass backward gives the gradients of all weights, and each layer uses what the next one worked out. Asked for one by
one they walk the same way again and again: the number of nodes then grows with the square of the number of layers.

    python examples/savings.py [--layers 2 5 10 20 50] [--save savings.png]
"""

import argparse
import time

import numpy as np

import graphc as gx

WIDTH, BATCH = 64, 128


def network(layers):
    """A tanh network; the graph, its loss and its weights."""
    rng = np.random.default_rng(0)
    g = gx.Graph("deep")
    h = x = g.input("x", shape=(BATCH, WIDTH))
    weights = []
    for k in range(layers):
        weights.append(g.parameter(f"W{k}", (rng.normal(size=(WIDTH, WIDTH)) / 8).astype(np.float32)))
        h = gx.tanh(h @ weights[-1])
    return g, x, gx.mean(h * h), weights


def median_time(call, rounds):
    """The median of the processor's time for a call, in seconds: other programs hardly touch it."""
    times = []
    call()
    for _ in range(rounds):
        start = time.thread_time()
        call()
        times.append(time.thread_time() - start)
    return float(np.median(times))


def measure(layers, rounds):
    """(nodes, seconds) of all gradients at once, then of one by one."""
    data = np.random.default_rng(1).normal(size=(BATCH, WIDTH)).astype(np.float32)
    g, x, loss, weights = network(layers)
    before = len(g)
    together = gx.compile([x], gx.grad(loss, weights), threads=1)
    at_once = len(g) - before, median_time(lambda: together(data), rounds)
    g, x, loss, weights = network(layers)
    before = len(g)
    alone = [gx.compile([x], gx.grad(loss, w), threads=1) for w in weights]
    return at_once, (len(g) - before, median_time(lambda: [f(data) for f in alone], rounds))


def main(argv=None):
    """Prints and draws nodes and times; returns {layers: ((nodes, seconds) at once, the same one by one)}."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layers", type=int, nargs="+", default=[2, 5, 10, 20, 50])
    parser.add_argument("--rounds", type=int, default=21)
    parser.add_argument("--save", metavar="FILE")
    options = parser.parse_args(argv)

    found = {}
    print(f"{'':>6}{'nodes':>15}{'':>20}{'time':>15}\n{'layers':>6}", end="")
    print(f"{'at once':>15}{'one by one':>12}{'ratio':>8}{'at once':>15}{'one by one':>12}{'ratio':>8}")
    for layers in options.layers:
        (n, t), (m, u) = found[layers] = measure(layers, options.rounds)
        print(f"{layers:>6}{n:>15}{m:>12}{m / n:>8.1f}{t * 1e3:>12.3f} ms{u * 1e3:>9.3f} ms{u / t:>8.1f}")
    if options.save:
        from plotting import figure

        fig, axes = figure(1, 2)
        for axis, k, what in ((axes[0], 0, "gradient nodes"), (axes[1], 1, "seconds")):
            for row, label in ((0, "all at once"), (1, "one by one")):
                axis.plot(list(found), [v[row][k] for v in found.values()], "o-", label=label)
            axis.set(xlabel="layers", ylabel=what, xscale="log", yscale="log")
            axis.set_xticks(list(found), map(str, found))
            axis.minorticks_off()
        axes[0].legend()
        fig.savefig(options.save, dpi=110)
    return found


if __name__ == "__main__":
    main()
