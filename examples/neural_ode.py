"""A differential equation learned through its solver.

The spiral of Chen et al. (Neural Ordinary Differential Equations, 2018): a point moves by y' = A' y^3, and a network of
one hidden layer learns the motion from pieces of one path. `gx.odeint` is one loop in the kernel, backward too. Its
gradient is held against that of their adjoint equation, which SciPy's solver integrates backwards.

    python examples/neural_ode.py [--steps 1000]
"""

import argparse

import numpy as np
from scipy.integrate import solve_ivp

import graphc as gx

HIDDEN, TIMES, BATCH = 50, 20, 20
A = np.array([[-0.1, 2.0], [-2.0, -0.1]])


def motion(weights, y):
    w1, b1, w2, b2 = weights
    return gx.tanh(y**3 @ w1 + b1) @ w2 + b2


def build(t, rng):
    """A step of learning, the gradient of the end of a path, and the network with its products."""
    g = gx.Graph("neural ode", float_dtype="float64")
    start, path = g.input("start", ("batch", 2)), g.input("path", (len(t), "batch", 2))
    shapes = {"w1": (2, HIDDEN), "b1": (HIDDEN,), "w2": (HIDDEN, 2), "b2": (2,)}
    weights = [g.parameter(name, 0.1 * rng.normal(size=shape)) for name, shape in shapes.items()]
    found = gx.odeint(lambda y, t: motion(weights, y), start, t, steps=2)
    loss = gx.mean(gx.abs(found - path))
    rate = g.input("rate")
    learn = gx.compile([start, path, rate], loss, updates=gx.optim.Adam(lr=rate).updates(loss))

    y0, times, cotangent = g.input("y0", (2,)), g.input("times", ("n",)), g.input("cotangent", (2,))
    whole = gx.odeint(lambda y, t: motion(weights, y), y0, times, steps=4)
    slopes = gx.grad(gx.sum(whole[-1] * cotangent), [y0, *weights])
    field = motion(weights, y0)
    pulled = gx.vjp(field, [y0, *weights], cotangent)
    gradient = gx.compile([y0, times, cotangent], slopes)
    return learn, gradient, gx.compile([y0, cotangent], [field, *pulled])


def adjoint(network, y0, end, cotangent):
    """The gradient of y(end) along ``cotangent``, by y0 and by the weights: a' = -a df/dy, theirs -a df/dw."""
    parts = network(y0, cotangent)[2:]
    last = solve_ivp(lambda t, y: network(y, cotangent)[0], (0, end), y0, rtol=1e-10, atol=1e-10).y[:, -1]

    def back(t, z):
        field, *pulled = network(z[:2], z[2:4])
        return np.concatenate([field, *(-p.ravel() for p in pulled)])

    z = np.concatenate([last, cotangent, np.zeros(sum(p.size for p in parts))])
    return solve_ivp(back, (end, 0), z, rtol=1e-10, atol=1e-10).y[2:, -1]


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=1000)
    options = parser.parse_args(argv)
    rng, t, y0 = np.random.default_rng(0), np.linspace(0, 25, 1001), np.array([2.0, 0.0])
    path = solve_ivp(lambda t, y: y**3 @ A, (0, 25), y0, t_eval=t, rtol=1e-9, atol=1e-9).y.T
    learn, gradient, network = build(t[:TIMES], rng)
    losses = []
    for rate in np.linspace(0.01, 0, options.steps, endpoint=False):
        first = rng.integers(0, len(t) - TIMES, BATCH)
        losses.append(float(learn(path[first], path[first + np.arange(TIMES)[:, None]], rate)))
    true = path[::10] ** 3 @ A
    moved = np.array([network(y, np.zeros(2))[0] for y in path[::10]])
    off = float(np.mean(np.abs(moved - true)) / np.mean(np.abs(true)))
    cotangent = np.array([1.0, -0.5])
    ours = np.concatenate([v.ravel() for v in gradient(y0, np.linspace(0, 2, 101), cotangent)])
    theirs = adjoint(network, y0, 2.0, cotangent)
    error = float(np.max(np.abs(ours - theirs)) / np.max(np.abs(theirs)))
    print(f"loss {losses[0]:.4f}, {np.mean(losses[-50:]):.4f} after {options.steps} steps")
    print(f"along the path, the motion of the network is off by {off:.1%} on average")
    print(f"gradients through the solver and of the adjoint equation differ by {error:.1e}")
    return {"losses": losses, "off": off, "error": error}


if __name__ == "__main__":
    main()
