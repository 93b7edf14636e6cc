"""A variational autoencoder of images of digits.

Kingma and Welling (2014), with the 8 x 8 scans that scikit-learn ships, or made-up ones of that form.

    python examples/vae.py [--epochs 60] [--made-up]
"""

import argparse

import numpy as np

import graphc as gx

PIXELS, HIDDEN, LATENT = 64, 64, 2


def build():
    """A step of learning, which gives the bound of each image; where images lie; and the image of a place."""
    g = gx.Graph("vae")
    x, key = g.input("x", shape=("batch", PIXELS)), g.random_key(0)
    h = gx.tanh(gx.nn.linear(g, x, HIDDEN, name="encoder", seed=0))
    mean = gx.nn.linear(g, h, LATENT, name="mean", seed=1)
    log_var = gx.nn.linear(g, h, LATENT, name="log_var", seed=2)
    z = mean + gx.exp(0.5 * log_var) * gx.random.normal(key, mean.shape)
    h = gx.tanh(gx.nn.linear(g, z, HIDDEN, name="decoder", seed=3))
    logits = gx.nn.linear(g, h, PIXELS, name="image", seed=4)

    described = gx.sum(gx.binary_cross_entropy_with_logits(logits, x), -1)
    apart = 0.5 * gx.sum(mean**2 + gx.exp(log_var) - log_var - 1, -1)
    updates = gx.optim.Adam(lr=0.003).updates(gx.mean(described + apart))
    learn = gx.compile([x], {"bound": described + apart}, updates={**updates, key: key + np.array([0, 1])})
    place = g.input("place", shape=("batch", LATENT))
    return learn, gx.compile([x], mean), gx.compile([place], gx.substitute(gx.sigmoid(logits), {z: place}))


def images(made_up):
    if not made_up:
        from sklearn.datasets import load_digits

        return (load_digits().data / 16).astype(np.float32)
    t = np.random.default_rng(0).uniform(0, 2 * np.pi, (600, 1))  # bright spots on a circle
    row, column = np.divmod(np.arange(PIXELS), 8)
    return np.exp(-((row - 3.5 - 2.5 * np.sin(t)) ** 2) - (column - 3.5 - 2.5 * np.cos(t)) ** 2).astype(np.float32)


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--made-up", action="store_true")
    options = parser.parse_args(argv)
    x = images(options.made_up)
    learn, encode, decode = build()
    rng, bounds = np.random.default_rng(0), []
    for _ in range(options.epochs):
        rows = x[rng.permutation(len(x))]
        bounds.append(float(np.mean([learn(rows[k : k + 50])["bound"].mean() for k in range(0, len(x) - 49, 50)])))
    error = float(np.sqrt(np.mean((decode(encode(x)) - x) ** 2)))
    plain = float(np.sqrt(np.mean((x.mean(0) - x) ** 2)))
    print(f"bound {bounds[0]:.1f} nats in the first epoch, {bounds[-1]:.1f} in the last")
    print(f"error of a pixel {error:.3f}, of the mean image {plain:.3f}")
    for line in decode(np.array([[0.5, -0.5]], np.float32)).reshape(8, 8):
        print("  " + "".join(" .:-=+*#%@"[int(9.99 * v)] * 2 for v in line))
    return {"bounds": bounds, "error": error, "plain": plain}


if __name__ == "__main__":
    main()
