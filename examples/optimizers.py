"""Seven optimisers as equations, as updates and as paths.

In Rosenbrock's valley, from the same start. Each is run by a graph, as one kernel of gradient and update, and by its
equations in NumPy; the paths agree.

    python examples/optimizers.py [--save optimizers.png]
"""

import argparse

import numpy as np

import graphc as gx

OPTIMIZERS = {
    "SGD": gx.optim.SGD(lr=0.0005, clip_norm=10.0),
    "Momentum": gx.optim.Momentum(lr=0.0002, clip_norm=10.0),
    "NAG": gx.optim.NAG(lr=0.0002, clip_norm=10.0),
    "Adagrad": gx.optim.Adagrad(lr=0.5),
    "RMSProp": gx.optim.RMSProp(lr=0.01),
    "Adam": gx.optim.Adam(lr=0.05),
    "AdamW": gx.optim.AdamW(lr=0.05, weight_decay=0.001),
}
START = np.array([-1.2, 1.0])
EQUATIONS = """\
SGD       p <- p - lr g
Momentum  v <- 0.9 v + g               p <- p - lr v               (also called SGDM)
NAG       v <- 0.9 v + g               p <- p - lr (g + 0.9 v)
Adagrad   s <- s + g^2                 p <- p - lr g / (sqrt(s) + eps)
RMSProp   s <- 0.99 s + 0.01 g^2       p <- p - lr g / (sqrt(s) + eps)
Adam      m <- 0.9 m + 0.1 g           p <- p - lr m' / (sqrt(v') + eps)
          v <- 0.999 v + 0.001 g^2     m' = m / (1 - 0.9^t)   v' = v / (1 - 0.999^t)
AdamW     as Adam, with p - lr decay p in the place of p
"""


def path(optimizer, steps):
    """The losses and points of a run by the graph."""
    g = gx.Graph("valley", float_dtype="float64")
    p = g.parameter("p", START)
    loss = (1 - p[0]) ** 2 + 100 * (p[1] - p[0] ** 2) ** 2
    step = gx.compile([], [loss, p], updates=optimizer.updates(loss))
    runs = [step() for _ in range(steps)]
    return np.array([r[0] for r in runs]), np.array([r[1] for r in runs])


def equations(name, optimizer, steps):
    """The points of a run by `EQUATIONS`."""
    p, first, second, out = START.copy(), np.zeros(2), np.zeros(2), []
    for t in range(1, steps + 1):
        out.append(p.copy())
        g = np.array([-2 * (1 - p[0]) - 400 * p[0] * (p[1] - p[0] ** 2), 200 * (p[1] - p[0] ** 2)])
        if optimizer.clip_norm is not None:
            g = g * min(1.0, optimizer.clip_norm / (np.sqrt((g * g).sum()) + 1e-6))
        lr = optimizer.lr
        if name == "SGD":
            p = p - lr * g
        elif name in ("Momentum", "NAG"):
            first = 0.9 * first + g
            p = p - lr * (first if name == "Momentum" else g + 0.9 * first)
        elif name in ("Adagrad", "RMSProp"):
            second = second + g * g if name == "Adagrad" else 0.99 * second + 0.01 * g * g
            p = p - lr * g / (np.sqrt(second) + optimizer.eps)
        else:
            first, second = 0.9 * first + 0.1 * g, 0.999 * second + 0.001 * g * g
            kept = p - lr * optimizer.weight_decay * p if name == "AdamW" else p
            p = kept - lr * first / (1 - 0.9**t) / (np.sqrt(second / (1 - 0.999**t)) + optimizer.eps)
    return np.array(out)


def main(argv=None):
    """Prints all and draws paths; returns the last loss of each, and the largest difference from the equations."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--save", metavar="FILE")
    parser.add_argument("--steps", type=int, default=2000)
    options = parser.parse_args(argv)

    runs = {name: path(optimizer, options.steps) for name, optimizer in OPTIMIZERS.items()}
    worst = 0.0
    print(EQUATIONS)
    print(f"p = {START} is after{'one step':>13}{'two steps':>22}{f'loss, {options.steps} steps':>20}{'off by':>11}")
    for name, (losses, points) in runs.items():
        apart = float(np.abs(points[:100] - equations(name, OPTIMIZERS[name], 100)[: len(points)]).max())
        worst = max(worst, apart)
        one, two = (f"({p[0]:.5f}, {p[1]:.5f})" for p in points[1:3])
        print(f"{name:<10}{one:>22}{two:>22}{losses[-1]:>20.3e}{apart:>11.1e}")
    print("(off by: the largest difference between graph and equations over 100 steps)")
    if options.save:
        from plotting import figure

        fig, (left, right) = figure(1, 2, size=(12, 4.5))
        a, b = np.meshgrid(np.linspace(-1.6, 1.6, 200), np.linspace(-0.6, 1.6, 200))
        right.contour(a, b, np.log((1 - a) ** 2 + 100 * (b - a**2) ** 2), 20, colors="0.85")
        for name, (losses, points) in runs.items():
            style = "--" if name == "NAG" else "-"  # it runs nearly where Momentum does
            left.semilogy(losses, style, label=name)
            (line,) = right.plot(points[:, 0], points[:, 1], style, lw=1)
            right.plot(*points[-1], "o", ms=4, color=line.get_color())
        left.set(xlabel="step", ylabel="loss")
        right.set(xlabel="p[0]", ylabel="p[1]", title=f"dots: after {options.steps} steps")
        left.legend()
        right.plot(1, 1, "k*")
        fig.savefig(options.save, dpi=110)
        print(f"drawn in {options.save}")
    return {"losses": {name: float(losses[-1]) for name, (losses, _) in runs.items()}, "difference": worst}


if __name__ == "__main__":
    main()
