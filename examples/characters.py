"""A character-level transformer that goes on with a text.

One block of causal attention (Vaswani et al. 2017), normalised first (Xiong et al. 2020), with learned positions.

    python examples/characters.py [FILE] [--steps 300]

Without a FILE the text is a made-up one, of sentences that repeat each other.
"""

import argparse
from pathlib import Path

import numpy as np

import graphc as gx

WIDTH, HEADS, LENGTH, BATCH = 48, 4, 32, 16


def build(letters):
    """A step of learning, which gives the loss of each letter, and the next letter's scores."""
    g = gx.Graph("characters")
    text = g.input("text", shape=("batch", "time"), dtype="int64")
    target = g.input("target", shape=("batch", "time"), dtype="int64")
    places = g.parameter("places", np.random.default_rng(0).normal(0, 0.1, (LENGTH, WIDTH)).astype("f4"))
    h = gx.nn.embedding(g, text, letters, WIDTH, name="letters") + places[: text.shape[1]]
    h = h + gx.nn.attention(g, gx.nn.layer_norm(g, h, name="n1"), HEADS, is_causal=True, name="attention")
    inner = gx.gelu(gx.nn.linear(g, gx.nn.layer_norm(g, h, name="n2"), 4 * WIDTH, name="inner"))
    h = h + gx.nn.linear(g, inner, WIDTH, name="outer")
    scores = gx.nn.linear(g, gx.nn.layer_norm(g, h, name="n3"), letters, name="scores")
    losses = gx.cross_entropy(scores, target)
    updates = gx.optim.AdamW(lr=3e-3, clip_norm=1.0).updates(gx.mean(losses))
    return gx.compile([text, target], losses, updates=updates), gx.compile([text], scores[:, -1])


def made_up(rng, sentences=400):
    who, what, where = ["the cat", "a dog", "my fox"], ["sat", "ran", "hid"], ["on a mat", "by a log", "in a box"]
    return " ".join(f"{rng.choice(who)} {rng.choice(what)} {rng.choice(where)}." for _ in range(sentences))


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", nargs="?", metavar="FILE")
    parser.add_argument("--steps", type=int, default=300)
    options = parser.parse_args(argv)
    rng = np.random.default_rng(0)
    text = Path(options.file).read_text(encoding="utf-8") if options.file else made_up(rng)
    letters = sorted(set(text))
    codes = np.array([letters.index(c) for c in text])
    learn, scores = build(len(letters))
    losses = []
    for _ in range(options.steps):
        rows = rng.integers(0, len(codes) - LENGTH, BATCH)[:, None] + np.arange(LENGTH)
        losses.append(float(learn(codes[rows], codes[rows + 1]).mean()))
    said = codes[None, :LENGTH]
    for _ in range(60):
        said = np.append(said, [[scores(said[:, -LENGTH:])[0].argmax()]], axis=1)
    going_on = "".join(letters[k] for k in said[0, LENGTH:])
    print(f"loss {losses[0]:.2f} nats a letter in the first step, {np.mean(losses[-20:]):.2f} in the last twenty")
    print(f"{text[:LENGTH]!r} goes on {going_on!r}")
    return {"losses": losses, "text": going_on}


if __name__ == "__main__":
    main()
