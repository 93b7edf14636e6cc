"""Cells, attention and normalisation beside torch's, with gradients."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

import graphc as gx

torch = pytest.importorskip("torch")


def beside(
    ours: Callable[..., Any], theirs: Callable[..., Any], shapes: Sequence[tuple[int, ...]], tolerance: float = 1e-11
) -> None:
    """Values of all results, and the gradients of a weighing of them, in float64."""
    rng = np.random.default_rng(0)
    arrays = [rng.normal(size=s) for s in shapes]
    g = gx.Graph("g", float_dtype="float64")
    inputs = [g.input(f"x{k}", s) for k, s in enumerate(shapes)]
    found = ours(*inputs)
    results = list(found) if isinstance(found, tuple) else [found]
    tensors = [torch.tensor(a, requires_grad=True) for a in arrays]
    made = theirs(*tensors)
    wanted = list(made) if isinstance(made, tuple) else [made]
    weights = [rng.normal(size=tuple(w.shape)) for w in wanted]
    total = sum((gx.sum(r * w) for r, w in zip(results, weights, strict=True)), start=g.constant(0.0))
    slopes = gx.grad(total, inputs, on_disconnected="zeros")
    sum((w * torch.tensor(c)).sum() for w, c in zip(wanted, weights, strict=True)).backward()
    out = gx.compile(inputs, [*results, *slopes])(*arrays)
    expected = [w.detach().numpy() for w in wanted]
    expected += [np.zeros(t.shape) if t.grad is None else t.grad.numpy() for t in tensors]
    for k, (a, b) in enumerate(zip(out, expected, strict=True)):
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance, err_msg=f"result {k}")


GATES = [(5, 3), (5, 4)]


@pytest.mark.parametrize(("name", "rows"), [("RNNCell", 1), ("GRUCell", 3), ("LSTMCell", 4)])
@pytest.mark.parametrize("biased", [True, False], ids=["bias", "no bias"])
def test_cells(name: str, rows: int, biased: bool) -> None:
    cell = getattr(torch.nn, name)(3, 4, bias=biased).double()
    lstm = name == "LSTMCell"
    function = {"RNNCell": gx.rnn_cell, "GRUCell": gx.gru_cell, "LSTMCell": gx.lstm_cell}[name]

    def ours(x: Any, *rest: Any) -> Any:
        state, weights = (rest[:2], rest[2:]) if lstm else (rest[0], rest[1:])
        return function(x, state, *weights)

    def theirs(x: Any, *rest: Any) -> Any:
        state, weights = (rest[:2], rest[2:]) if lstm else (rest[0], rest[1:])
        names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        return torch.func.functional_call(cell, dict(zip(names, weights, strict=False)), (x, state))

    biases = [(rows * 4,), (rows * 4,)] if biased else []
    beside(ours, theirs, [(5, 3), (5, 4), *([(5, 4)] if lstm else []), (rows * 4, 3), (rows * 4, 4), *biases])


def test_attention() -> None:
    attend = torch.nn.functional.scaled_dot_product_attention
    mask = np.random.default_rng(3).random((6, 5)) < 0.7
    mask[:, 0] = True
    shapes = [(2, 3, 6, 4), (2, 3, 5, 4), (2, 3, 5, 7)]
    beside(gx.scaled_dot_product_attention, attend, shapes)
    beside(
        lambda q, k, v: gx.scaled_dot_product_attention(q, k, v, mask),
        lambda q, k, v: attend(q, k, v, attn_mask=torch.tensor(mask)),
        shapes,
    )
    beside(
        lambda q, k, v: gx.scaled_dot_product_attention(q, k, v, is_causal=True, scale=0.3),
        lambda q, k, v: attend(q, k, v, is_causal=True, scale=0.3),
        shapes,
    )
    beside(
        lambda q, k, v, b: gx.scaled_dot_product_attention(q, k, v, bias=b),
        lambda q, k, v, b: attend(q, k, v, attn_mask=b),
        [*shapes, (6, 5)],
    )


def test_normalisation() -> None:
    f = torch.nn.functional
    beside(
        lambda x, w, b: gx.group_norm(x, 3, w, b), lambda x, w, b: f.group_norm(x, 3, w, b), [(2, 6, 4, 5), (6,), (6,)]
    )
    beside(
        lambda x, w, b: gx.instance_norm(x, w, b),
        lambda x, w, b: f.instance_norm(x, weight=w, bias=b),
        [(2, 6, 4, 5), (6,), (6,)],
    )

    def trained(x: Any, w: Any, b: Any) -> Any:
        average, variance = torch.full((3,), 0.5).double(), torch.full((3,), 2.0).double()
        y = f.batch_norm(x, average, variance, w, b, training=True, momentum=0.2)
        return y, average, variance

    beside(
        lambda x, w, b: gx.batch_norm(x, np.full(3, 0.5), np.full(3, 2.0), w, b, axis=1, training=True, momentum=0.2),
        trained,
        [(4, 3, 5, 5), (3,), (3,)],
    )


def test_losses() -> None:
    f = torch.nn.functional
    shapes = [(5, 4)] * 3
    beside(gx.triplet, lambda a, p, n: f.triplet_margin_loss(a, p, n, reduction="none"), shapes)
    target = np.array([1, -1, 1, -1, -1])
    beside(
        lambda a, b: gx.cosine_embedding(a, b, target, 0.1),
        lambda a, b: f.cosine_embedding_loss(a, b, torch.tensor(target), 0.1, reduction="none"),
        shapes[:2],
    )


def test_weight_and_spectral_norm() -> None:
    beside(gx.weight_norm, lambda v, g: torch._weight_norm(v, g[:, None, None], 0), [(3, 4, 2), (3,)])
    rng = np.random.default_rng(4)
    w, u = rng.normal(size=(6, 3, 3)), rng.normal(size=6)
    g = gx.Graph("g", float_dtype="float64")
    x, held = g.input("x", w.shape), g.variable("u", u)
    scaled, after = gx.spectral_norm(x, held)
    step = gx.compile([x], [scaled, gx.grad(gx.sum(scaled * w), x)], updates={held: after})
    for _ in range(300):
        found, slope = step(w)
    left, s, right = np.linalg.svd(w.reshape(6, 9), full_matrices=False)
    np.testing.assert_allclose(found, w / s[0], rtol=1e-9)
    outer = np.outer(left[:, 0], right[0]).reshape(w.shape)
    np.testing.assert_allclose(slope, w / s[0] - (w * w).sum() / s[0] ** 2 * outer, rtol=1e-7, atol=1e-9)


def test_positions() -> None:
    """Products of two turned vectors depend on how far apart they are alone."""
    rng = np.random.default_rng(5)
    q, k = rng.normal(size=(2, 8))
    g = gx.Graph("g", float_dtype="float64")
    x, at = g.input("x", (2, 8)), g.input("at", (2,), "int64")
    for interleaved in (False, True):
        y = gx.rotary_embedding(x, at, interleaved=interleaved)
        run = gx.compile([x, at], gx.sum(y[0] * y[1]), backend="numpy")
        near, far = run(np.array([q, k]), [3, 7]), run(np.array([q, k]), [103, 107])
        np.testing.assert_allclose(near, far, rtol=1e-10)
        assert abs(near - run(np.array([q, k]), [3, 8])) > 1e-3


def test_a_query_that_attends_to_nothing_gives_nan_and_hands_none_to_others() -> None:
    g = gx.Graph("g", float_dtype="float64")
    q, k = g.input("q", (2, 4)), g.input("k", (3, 4))
    y = gx.scaled_dot_product_attention(q, k, k, np.array([[True, True, False], [False] * 3]))
    value = gx.compile([q, k], y)(np.ones((2, 4)), np.ones((3, 4)))
    assert np.isfinite(value[0]).all() and np.isnan(value[1]).all()


WRONG: list[Any] = [
    ("groups that do not divide", lambda x: gx.group_norm(x, 4), gx.ShapeError, "into 4 groups"),
    ("no more axes", lambda x: gx.instance_norm(x[0]), gx.ShapeError, "and more axes"),
    ("odd features", lambda x: gx.rotary_embedding(x), gx.ShapeError, "even number"),
    ("mask of numbers", lambda x: gx.scaled_dot_product_attention(x, x, x, np.ones((3, 3), np.float32)), gx.DTypeError, "must be bool"),
    ("state alone", lambda x: gx.lstm_cell(x, x, x, x), gx.DTypeError, "pair of tensors"),
    ("weight a vector", lambda x: gx.spectral_norm(x[0, 0], x[0, 0]), gx.ShapeError, "at least two axes"),
    ("channels of no axis", lambda x: gx.batch_norm(x, 0.0, 1.0, axis=3), gx.ShapeError, "axis 3"),
]  # fmt: skip


@pytest.mark.parametrize(("act", "error", "text"), [w[1:] for w in WRONG], ids=[w[0] for w in WRONG])
def test_errors(act: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text) as caught:
        act(gx.Graph("g").input("x", (2, 6, 3)))
    assert "test_sequence.py" in str(caught.value)


@pytest.mark.parametrize("backend", ["numba", "numpy"])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_ctc(dtype: str, backend: str) -> None:
    """As torch's, with rows of other lengths, repeated labels, none, and more than there is room for."""
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    g = gx.Graph("ctc", float_dtype=dtype)
    x, labels = g.input("x", ("n", "t", 6)), g.input("labels", ("n", "l"), "int64")
    sizes = [g.input(n, ("n",), "int64") for n in ("lengths", "label_lengths")]
    loss = gx.ctc(gx.log_softmax(x), labels, *sizes)
    exe = gx.compile([x, labels, *sizes], [loss, gx.grad(gx.sum(loss), x)], backend=backend)
    scores, said = rng.normal(size=(6, 9, 6)).astype(dtype), rng.integers(1, 6, (6, 4))
    said[0], said[2, 3] = [2, 2, 3, 3], -7  # beyond its row's length
    lengths, counts = np.array([9, 8, 7, 3, 9, 1]), np.array([4, 3, 2, 4, 0, 1])
    found, slope = exe(scores, said, lengths, counts)
    given = torch.tensor(scores, requires_grad=True)
    rows = torch.log_softmax(given, -1).transpose(0, 1)
    args = (rows, torch.tensor(np.maximum(said, 0)), torch.tensor(lengths), torch.tensor(counts))
    wanted = torch.nn.functional.ctc_loss(*args, reduction="none", zero_infinity=True)
    wanted.sum().backward()
    error = 1e-12 if dtype == "float64" else 1e-5
    assert found[3] == np.inf and (slope[3] == 0).all()
    np.testing.assert_allclose(np.where(np.isinf(found), 0, found), wanted.detach().numpy(), rtol=error)
    np.testing.assert_allclose(slope, given.grad.numpy(), rtol=error, atol=error)
    with pytest.raises(gx.InputIndexError, match="label"):
        exe(scores, np.full((6, 4), 6), lengths, counts)
    with np.errstate(all="ignore"):
        silent = exe(np.where(np.arange(6) == 3, -np.inf, scores).astype(dtype), said, lengths, counts)
    assert silent[0][0] == np.inf and not np.isnan(silent[0]).any() and not np.isnan(silent[1][1:]).all()


@pytest.mark.parametrize(
    "act",
    [
        lambda x: gx.ctc(x[0, 0], [1]),
        lambda x: gx.ctc(x, [[1.0]]),
        lambda x: gx.ctc(x, [1]),
    ],
)
def test_ctc_refuses(act: object) -> None:
    with pytest.raises(gx.GraphcError, match="ctc: expected"):
        act(gx.Graph("g").input("x", (1, 3, 4)))  # type: ignore[operator]
