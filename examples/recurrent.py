"""A character-level LSTM or GRU, one scan over time.

Hochreiter and Schmidhuber (1997), Cho et al. (2014). The text is made of sentences whose parts are drawn at random, so
what is to be learned is known: no model can have a loss below the entropy of the text, and this one comes to within
some percent of it.

    python examples/recurrent.py [--cell gru] [--steps 600]
"""

import argparse

import numpy as np

import graphc as gx

WIDTH, LENGTH, BATCH = 64, 50, 16
PARTS = [["the cat ", "a dog ", "my fox "], ["sat ", "ran ", "hid "], ["on a mat. ", "by a log. ", "in a box. "]]


def build(letters, cell):
    """A step of learning, which gives the loss and the last state, and the scores after one more letter."""
    g = gx.Graph(cell)
    text, target = (g.input(name, ("time", "batch"), "int64") for name in ("text", "target"))
    init = gx.init.uniform
    table = g.parameter("letters", gx.init.normal((letters, WIDTH), seed=0))
    gates, parts = (4, 2) if cell == "lstm" else (3, 1)
    bound = WIDTH**-0.5
    weights = [g.parameter(f"w{k}", init((gates * WIDTH, WIDTH), -bound, bound, seed=k)) for k in (1, 2)]
    bias = g.parameter("bias", np.zeros(gates * WIDTH, "f4"))
    read = g.parameter("read", init((WIDTH, letters), -bound, bound, seed=3))
    state = tuple(g.input(f"state{k}", ("batch", WIDTH)) for k in range(parts))

    def step(state, codes):
        x = gx.take(table, codes, 0)
        if cell == "lstm":
            state = gx.lstm_cell(x, state, *weights, bias)
        else:
            state = (gx.gru_cell(x, state[0], *weights, bias),)
        return state, state[0]

    last, h = gx.scan(step, state, text)
    scores = h @ read
    loss = gx.mean(gx.cross_entropy(gx.reshape(scores, (-1, letters)), gx.reshape(target, (-1,))))
    rate = g.input("rate")
    updates = gx.optim.Adam(lr=rate, clip_norm=1.0).updates(loss)
    learn = gx.compile([text, target, *state, rate], [loss, *last], updates=updates)
    return learn, gx.compile([text, *state], [scores[-1], *last])


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cell", choices=("lstm", "gru"), default="lstm")
    parser.add_argument("--steps", type=int, default=600)
    options = parser.parse_args(argv)
    rng = np.random.default_rng(0)
    letters = sorted(set("".join(map("".join, PARTS))))
    entropy = sum(np.log(len(p)) for p in PARTS) / sum(np.mean([len(s) for s in p]) for p in PARTS)
    size = BATCH * (options.steps * LENGTH + 1)
    text = "".join(rng.choice(p) for _ in range(size // 20 + 99) for p in PARTS)
    codes = np.searchsorted(letters, list(text[:size])).reshape(BATCH, -1).T  # each column goes on where it stood
    learn, scores = build(len(letters), options.cell)
    state = [np.zeros((BATCH, WIDTH), "f4")] * (2 if options.cell == "lstm" else 1)
    losses = []
    for k in range(options.steps):
        at = slice(k * LENGTH, (k + 1) * LENGTH)
        rate = 0.01 * (1 - k / options.steps)
        loss, *state = learn(codes[:-1][at], codes[1:][at], *state, rate)
        losses.append(float(loss))
    said, state = [letters.index("t")], [s[:1] * 0 for s in state]
    for _ in range(60):
        value, *state = scores([said[-1:]], *state)
        p = np.exp(value[0] - value.max())
        said.append(int(rng.choice(len(letters), p=p / p.sum())))
    going_on = "".join(letters[k] for k in said)
    found = float(np.mean(losses[-50:]))
    print(f"loss {losses[0]:.3f} nats a letter in the first step, {found:.3f} in the last fifty; entropy {entropy:.3f}")
    print(f"it writes {going_on!r}")
    return {"losses": losses, "entropy": float(entropy), "loss": found, "text": going_on}


if __name__ == "__main__":
    main()
