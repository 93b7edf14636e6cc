"""Layers that make their parameters: names, sizes, first values, running statistics, inference."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import graphc as gx


def test_names_and_sizes() -> None:
    g = gx.Graph("g")
    x, i = g.input("x", ("n", 6)), g.input("i", ("n",), "int64")
    image, steps = g.input("image", ("n", 4, 9, 9)), g.input("steps", ("n", "t", 8))
    with g.scope("net"):
        assert gx.nn.linear(g, x, 5).shape[1:] == (5,)
        assert gx.nn.linear(g, x, 3, bias=False).shape[1:] == (3,)
    assert gx.nn.conv(g, image, 8, 3, stride=2, groups=2).shape[1:] == (8, 4, 4)
    assert gx.nn.conv(g, gx.reshape(steps, ("n", 8, "t")), 2, (1,), name="mix").shape[1:] == (2, steps.shape[1])
    assert gx.nn.layer_norm(g, x).shape == gx.nn.rms_norm(g, x).shape == x.shape
    assert gx.nn.group_norm(g, image, 2).shape == image.shape and gx.nn.batch_norm(g, x).shape == x.shape
    assert gx.nn.embedding(g, i, 100, 7).shape[1:] == (7,)
    assert gx.nn.attention(g, steps, 4, is_causal=True).shape == steps.shape
    h = gx.nn.rnn(g, x, g.zeros((1, 5)))
    assert h.shape[1:] == (5,) and gx.nn.gru(g, x, h).shape == h.shape
    h, c = gx.nn.lstm(g, x, (h, h))
    assert h.shape == c.shape
    shapes = {name: g.state[name].shape for name in g.state}
    expected = {
        "net/linear/weight": (6, 5), "net/linear/bias": (5,), "net/linear_2/weight": (6, 3), "conv/weight": (8, 2, 3, 3),
        "layer_norm/weight": (6,), "rms_norm/weight": (6,), "group_norm/bias": (4,), "batch_norm/average": (6,),
        "embedding/weight": (100, 7), "attention/query/weight": (8, 8), "attention/out/bias": (8,), "rnn/w_ih": (5, 6),
        "gru/w_hh": (15, 5), "lstm/b_hh": (20,),
    }  # fmt: skip
    assert expected.items() <= shapes.items() and "net/linear_2/bias" not in shapes


def test_first_values_follow_from_names_or_a_seed() -> None:
    def made(**options: Any) -> list[np.ndarray]:
        g = gx.Graph("g")
        x = g.input("x", ("n", 100))
        gx.nn.linear(g, gx.nn.linear(g, x, 100, **options), 100, **options)
        return [g.state[name] for name in ("linear/weight", "linear_2/weight")]

    one, two = made(), made(seed=3)
    np.testing.assert_array_equal(one, made())
    assert np.abs(one[0]).max() <= 0.1 and np.abs(one[0]).max() > 0.0999 and (one[0] != one[1]).any()
    assert (one[0] != two[0]).any() and (two[0] == made(seed=3)[0]).all()


def test_batches_move_the_statistics_that_inference_has() -> None:
    rng = np.random.default_rng(0)
    g = gx.Graph("g", float_dtype="float64")
    x = g.input("x", ("n", 3, 4))
    y = gx.nn.batch_norm(g, gx.nn.dropout(g, x, 0.5), momentum=0.25)
    loss = gx.mean(y * y * y)
    unrelated = gx.nn.batch_norm(g, g.input("z", ("n", 2)))
    updates = gx.optim.SGD().updates(loss, [g["batch_norm/weight"], g["batch_norm/bias"]])
    assert {t.name for t in updates} == {
        "batch_norm/weight",
        "batch_norm/bias",
        "batch_norm/average",
        "batch_norm/variance",
    }
    assert unrelated.name not in {t.name for t in updates}
    step = gx.compile([x], loss, updates=updates)
    test = gx.compile([x], gx.inference(y))
    a = rng.normal(2, 3, size=(5, 3, 4))
    before = g.state["batch_norm/average"].copy()
    for _ in range(3):
        step(a)
    assert (g.state["batch_norm/average"] != before).all() and (g.state["batch_norm/variance"] != 1).all()
    s = {name.removeprefix("batch_norm/"): g.state[name][:, None] for name in g.state if name.startswith("batch_norm/")}
    expected = (a - s["average"]) / np.sqrt(s["variance"] + 1e-5) * s["weight"] + s["bias"]
    np.testing.assert_allclose(test(a), expected, rtol=1e-12)


def test_statistics_are_torchs() -> None:
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(1)
    g = gx.Graph("g", float_dtype="float64")
    x = g.input("x", ("n", 3, 2, 2))
    y = gx.nn.batch_norm(g, x)
    step = gx.compile([x], y, updates=gx.optim.SGD(lr=0.1).updates(gx.sum(y * y * y)))
    layer = torch.nn.BatchNorm2d(3).double()
    descent = torch.optim.SGD(layer.parameters(), lr=0.1)
    for _ in range(4):
        a = rng.normal(1, 2, size=(6, 3, 2, 2))
        descent.zero_grad()
        out = layer(torch.tensor(a))
        (out**3).sum().backward()
        np.testing.assert_allclose(step(a), out.detach().numpy(), rtol=1e-10, atol=1e-12)
        descent.step()
    held = [g.state[f"batch_norm/{name}"] for name in ("average", "variance", "weight", "bias")]
    wanted = [layer.running_mean, layer.running_var, layer.weight, layer.bias]
    for a, b in zip(held, wanted, strict=True):
        np.testing.assert_allclose(a, b.detach().numpy(), rtol=1e-10)


def test_a_network_of_layers_learns_and_is_saved(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    g = gx.Graph("g")
    x, label = g.input("x", ("n", 1, 8, 8)), g.input("label", ("n",), "int64")
    logits = gx.nn.sequential(
        x, lambda x: gx.nn.conv(g, x, 4, 3), lambda x: gx.nn.batch_norm(g, x), gx.relu, gx.global_avg_pool,
        lambda x: gx.nn.linear(g, gx.reshape(x, (x.shape[0], 4)), 2),
    )  # fmt: skip
    loss = gx.mean(gx.cross_entropy(logits, label))
    step = gx.compile([x, label], loss, updates=gx.optim.Adam(lr=0.03).updates(loss))
    classify = gx.compile([x], gx.argmax(gx.inference(logits), 1))
    labels = rng.integers(0, 2, 64)
    images = rng.normal(size=(64, 1, 8, 8)).astype(np.float32)
    images[labels == 1] += np.tile([[1.0, -1.0], [-1.0, 1.0]], (4, 4)).astype(np.float32)
    for _ in range(60):
        step(images, labels)
    assert (classify(images) == labels).mean() > 0.95
    gx.save(tmp_path / "n.graphc", classify=classify, step=step)
    again = gx.load(tmp_path / "n.graphc")
    np.testing.assert_array_equal(again["classify"](images), classify(images))


WRONG: list[Any] = [
    ("no graph", lambda g, x: gx.nn.linear(x, x, 3), gx.GraphError, "expected a graph"),
    ("no tensor", lambda g, x: gx.nn.linear(g, 3, 3), gx.DTypeError, "expected a tensor"),
    ("size not known", lambda g, x: gx.nn.linear(g, x.T, 3), gx.ShapeError, "must be known"),
    ("heads", lambda g, x: gx.nn.attention(g, x, 5), gx.ShapeError, "among 5 heads"),
    ("no image", lambda g, x: gx.nn.conv(g, x, 3, 3), gx.ShapeError, "one to three axes"),
    ("state alone", lambda g, x: gx.nn.lstm(g, x, x), gx.DTypeError, "pair of tensors"),
]  # fmt: skip


@pytest.mark.parametrize(("act", "error", "text"), [w[1:] for w in WRONG], ids=[w[0] for w in WRONG])
def test_errors(act: Any, error: type[Exception], text: str) -> None:
    g = gx.Graph("g")
    with pytest.raises(error, match=text) as caught:
        act(g, g.input("x", ("n", 6)))
    assert "test_nn.py" in str(caught.value)
