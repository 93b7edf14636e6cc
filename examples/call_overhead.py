"""What one call costs, beside what else is installed.

Value and gradient of the 2-3-1 network on four rows.

    python examples/call_overhead.py

Medians of interleaved rounds on one thread, in microseconds a call.
"""

import argparse
import time

import numpy as np
from xor import X, Y, network

import graphc as gx


def by_hand(x, y, w1, b1, w2, b2):
    """The same in NumPy."""
    h = np.tanh(x @ w1 + b1)
    d = h @ w2 + b2 - y
    slope = 2 * d / len(x)
    inner = slope @ w2.T * (1 - h * h)
    return (d * d).mean(), x.T @ inner, inner.sum(0), h.T @ slope, slope.sum(0)


def peers(arrays):
    """Name -> a call without arguments, for every library at hand."""
    g, x, prediction = network(gx.tanh, np.ones)
    y = g.input("y", shape=("batch", 1), dtype="float64")
    loss = gx.mean(gx.squared_error(prediction, y))
    params = list(g.parameters.values())
    exe = gx.compile([x, y, *params], [loss, *gx.grad(loss, params)])
    calls = {"graphc": lambda: exe(*arrays), "NumPy by hand": lambda: by_hand(*arrays)}
    try:
        import jax
        import jax.numpy as jnp

        jax.config.update("jax_enable_x64", True)

        def value(w1, b1, w2, b2, a, t):
            return jnp.mean((jnp.tanh(a @ w1 + b1) @ w2 + b2 - t) ** 2)

        jitted = jax.jit(jax.value_and_grad(value, (0, 1, 2, 3)))
        held = [jnp.asarray(a) for a in (*arrays[2:], *arrays[:2])]
        calls["JAX"] = lambda: jax.block_until_ready(jitted(*held))
    except ImportError:
        pass
    try:
        import torch

        torch.set_num_threads(1)
        a, t, *weights = (torch.tensor(v) for v in arrays)
        for w in weights:
            w.requires_grad_()

        def eager():
            w1, b1, w2, b2 = weights
            error = ((torch.tanh(a @ w1 + b1) @ w2 + b2 - t) ** 2).mean()
            return error, torch.autograd.grad(error, weights)

        calls["PyTorch"] = eager
    except ImportError:
        pass
    return calls


def main(argv=None):
    """Prints and returns the median microseconds of each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=100)
    options = parser.parse_args(argv)
    rng = np.random.default_rng(0)
    arrays = [X, Y, rng.normal(size=(2, 3)), rng.normal(size=3), rng.normal(size=(3, 1)), rng.normal(size=1)]
    calls = peers(arrays)
    times = {name: [] for name in calls}
    for call in calls.values():
        call()
    for _ in range(options.rounds):
        for name, call in calls.items():
            started = time.perf_counter()
            for _ in range(100):
                call()
            times[name].append((time.perf_counter() - started) * 1e4)
    medians = {name: float(np.median(t)) for name, t in times.items()}
    for name, value in medians.items():
        print(f"{name:<16}{value:>8.1f} us   graphc / {name} = {medians['graphc'] / value:.2f}")
    return medians


if __name__ == "__main__":
    main()
