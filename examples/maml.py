"""Meta-learning: one step of descent fits a sine wave.

Model-agnostic meta-learning of Finn, Abbeel and Levine (2017), section 5.1: tasks are waves of amplitude 0.1 to 5 and
any phase, seen at ten points. The inner step is `gx.grad` of one task under `gx.vmap`; the outer gradient goes through
it. No single function errs by less than 3.01 on average, whatever it has learned; this network does after one step.

    python examples/maml.py [--steps 4000]
"""

import argparse

import numpy as np

import graphc as gx

WIDTH, TASKS, SHOTS, STEP = 40, 25, 10, 0.01
# The best single function is the mean wave, -2 / pi cos x times the mean amplitude, 2.55.
FLOOR = (5**3 - 0.1**3) / (3 * 4.9) / 2 - (2.55 * 2 / np.pi) ** 2 * (1 + np.sin(10) / 10) / 2


def network(weights, x):
    w1, b1, w2, b2, w3, b3 = weights
    return gx.relu(gx.relu(x @ w1 + b1) @ w2 + b2) @ w3 + b3


def error(weights, x, y):
    return gx.mean((network(weights, x) - y) ** 2)


def build():
    """A step of learning on many tasks, and the errors of a task after none to five steps of its own."""
    g = gx.Graph("maml")
    names = ("x", "y", "more_x", "more_y")
    tasks = [g.input(name, ("tasks", SHOTS, 1)) for name in names]
    weights = []
    for k, (n, m) in enumerate([(1, WIDTH), (WIDTH, WIDTH), (WIDTH, 1)]):
        weights.append(g.parameter(f"w{k}", gx.init.normal((n, m), std=(2 / n) ** 0.5, seed=k)))
        weights.append(g.parameter(f"b{k}", np.zeros(m, "f4")))

    def adapted(weights, x, y):
        return [w - STEP * slope for w, slope in zip(weights, gx.grad(error(weights, x, y), weights), strict=True)]

    def after_a_step(x, y, more_x, more_y):
        return error(adapted(weights, x, y), more_x, more_y)

    loss = gx.mean(gx.vmap(after_a_step)(*tasks))
    learn = gx.compile(tasks, loss, updates=gx.optim.Adam(lr=1e-3).updates(loss))

    def several(x, y, more_x, more_y):
        last, errors = gx.scan(lambda w, _: (adapted(w, x, y), error(w, more_x, more_y)), weights, length=5)
        return gx.concat([errors, gx.expand_dims(error(last, more_x, more_y), 0)])

    return learn, gx.compile(tasks, gx.mean(gx.vmap(several)(*tasks), 0))


def waves(rng, tasks):
    """Points of that many waves, and other points of the same ones."""
    amplitude, phase = rng.uniform(0.1, 5, (tasks, 1, 1)), rng.uniform(0, np.pi, (tasks, 1, 1))
    xs = rng.uniform(-5, 5, (2, tasks, SHOTS, 1))
    ys = amplitude * np.sin(xs - phase)
    return [v.astype("f4") for v in (xs[0], ys[0], xs[1], ys[1])]


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=4000)
    options = parser.parse_args(argv)
    rng = np.random.default_rng(0)
    learn, several = build()
    losses = [float(learn(*waves(rng, TASKS))) for _ in range(options.steps)]
    errors = several(*waves(np.random.default_rng(1), 1000))
    print(f"error after one step: {losses[0]:.2f} at first, {np.mean(losses[-100:]):.2f} after {options.steps} steps")
    print("a new wave, after 0 to 5 steps: " + " ".join(f"{v:.2f}" for v in errors))
    print(f"no single function is below {FLOOR:.2f}")
    return {"floor": float(FLOOR), "losses": losses, "errors": errors}


if __name__ == "__main__":
    main()
