"""Parts of networks for sequences: recurrent cells, attention and positions."""

from __future__ import annotations

import math

from graphc.errors import DTypeError, ShapeError
from graphc.ir import dims
from graphc.ir.tensor import Tensor
from graphc.ir.types import BOOL
from graphc.ops.apply import Operand, cast, promoted, public, size_node, tensor
from graphc.ops.assembly import concat, stack
from graphc.ops.creation import band
from graphc.ops.elementwise import greater_equal, where
from graphc.ops.functions import cos, exp, rsqrt, sigmoid, sin, tanh
from graphc.ops.linalg import matmul
from graphc.ops.shape import expand_dims, iota, matrix_transpose, reshape
from graphc.ops.softmax import softmax


def _gates(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """``x`` times a weight in torch's layout, a row for each result."""
    y = matmul(x, matrix_transpose(weight))
    return y if bias is None else y + bias


def _parts(x: Tensor, count: int) -> list[Tensor]:
    """Equal parts of the last axis, whose size need not be known."""
    wide = reshape(x, (*x.shape[:-1], count, dims.floor_divide(x.shape[-1], count)))
    return [wide[..., k, :] for k in range(count)]


@public
def rnn_cell(
    x: Tensor, h: Tensor, w_ih: Tensor, w_hh: Tensor, b_ih: Tensor | None = None, b_hh: Tensor | None = None
) -> Tensor:
    """One step of Elman's network: ``tanh(w_ih x + b_ih + w_hh h + b_hh)``, as torch.nn.RNNCell.

    ``x`` is (..., inputs), ``h`` (..., units), ``w_ih`` (units, inputs), ``w_hh`` (units, units).

    Biases are (units,). A float like ``h``. Raises ShapeError where sizes do not fit.

    >>> import graphc as gx
    >>> g = gx.Graph()
    >>> x, h = g.input("x", ("n", 3)), g.input("h", ("n", 4))
    >>> gx.rnn_cell(x, h, g.input("w_ih", (4, 3)), g.input("w_hh", (4, 4))).shape
    (n, 4)
    """
    return tanh(_gates(x, w_ih, b_ih) + _gates(h, w_hh, b_hh))


@public
def gru_cell(
    x: Tensor, h: Tensor, w_ih: Tensor, w_hh: Tensor, b_ih: Tensor | None = None, b_hh: Tensor | None = None
) -> Tensor:
    """One step of gated recurrent units (Cho et al. 2014), as torch.nn.GRUCell; the next ``h``.

    Weights have three rows of gates one below the other: reset, update and new, each as in `rnn_cell`.

    ``x`` is (..., inputs), ``h`` (..., units), a float like ``h`` comes back. Raises ShapeError where sizes do not fit.

    >>> import graphc as gx
    >>> g = gx.Graph()
    >>> x, h = g.input("x", ("n", 3)), g.input("h", ("n", 4))
    >>> gx.gru_cell(x, h, g.input("w_ih", (12, 3)), g.input("w_hh", (12, 4))).shape
    (n, 4)
    """
    r, z, n = _parts(_gates(x, w_ih, b_ih), 3)
    hr, hz, hn = _parts(_gates(h, w_hh, b_hh), 3)
    update = sigmoid(z + hz)
    new = tanh(n + sigmoid(r + hr) * hn)
    return new + update * (h - new)


@public
def lstm_cell(
    x: Tensor,
    state: tuple[Tensor, Tensor],
    w_ih: Tensor,
    w_hh: Tensor,
    b_ih: Tensor | None = None,
    b_hh: Tensor | None = None,
) -> Tensor:
    """One step of long short-term memory (Hochreiter and Schmidhuber 1997), as torch.nn.LSTMCell.

    ``state`` is ``(h, c)``, and so is what comes back. Weights have four rows of gates: input, forget, cell and output,
    each as in `rnn_cell`.

    ``x`` is (..., inputs), ``h`` and ``c`` (..., units), all floats. Raises ShapeError where sizes do not fit.

    >>> import graphc as gx
    >>> g = gx.Graph()
    >>> x, h = g.input("x", ("n", 3)), g.input("h", ("n", 4))
    >>> h, c = gx.lstm_cell(x, (h, h), g.input("w_ih", (16, 3)), g.input("w_hh", (16, 4)))
    >>> h.shape, c.shape
    ((n, 4), (n, 4))
    """
    if not isinstance(state, (tuple, list)) or len(state) != 2:
        raise DTypeError(f"state must be a pair of tensors (h, c), found {state!r}")
    h, c = state
    i, f, g, o = _parts(_gates(x, w_ih, b_ih) + _gates(h, w_hh, b_hh), 4)
    c = sigmoid(f) * c + sigmoid(i) * tanh(g)
    return sigmoid(o) * tanh(c), c  # type: ignore[return-value]


@public
def scaled_dot_product_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    mask: Operand | None = None,
    *,
    bias: Operand | None = None,
    is_causal: bool = False,
    scale: float | None = None,
) -> Tensor:
    """``softmax(scale * q @ k.T + bias) @ v`` (Vaswani et al. 2017), the scale ``1 / sqrt(d)`` by default.

    ``q`` is (..., queries, d), ``k`` (..., keys, d) and ``v`` (..., keys, e); what stands before broadcasts.
    ``mask``, a bool that broadcasts to (..., queries, keys), says which keys a query attends to; with ``is_causal``
    none behind its own place. A query that attends to nothing gives NaN. Raises ShapeError for vectors, DTypeError for
    another mask.

    >>> from graphc.ir.graph import Graph
    >>> g = Graph("g")
    >>> q, k = g.input("q", ("b", 4, "t", 16)), g.input("k", ("b", 4, "s", 16))
    >>> scaled_dot_product_attention(q, k, k, is_causal=True).shape
    (b, 4, t, 16)
    """
    q, k, v = promoted(q, k, v, floating=True)
    if min(q.ndim, k.ndim, v.ndim) < 2:
        raise ShapeError(f"expected places and features, found {q.type}, {k.type} and {v.type}")
    depth = size_node(q.graph, q.shape[-1])
    factor = rsqrt(cast(depth, q.dtype)) if scale is None else scale
    scores = matmul(q * factor, matrix_transpose(k))
    if bias is not None:
        scores = scores + bias
    if mask is not None:
        given = tensor(mask, q.graph)
        if given.dtype != BOOL:
            raise DTypeError(f"a mask must be bool, found {given.type}; what is to be added goes into bias=")
        scores = where(given, scores, float("-inf"))
    if is_causal:
        allowed = band(q.graph, greater_equal, scores.shape[-2], scores.shape[-1], 0)
        scores = where(allowed, scores, float("-inf"))
    return matmul(softmax(scores, -1), v)


@public
def rotary_embedding(
    x: Tensor, positions: Operand | None = None, *, base: float = 10000.0, interleaved: bool = False
) -> Tensor:
    """Pairs of features turned by angles in proportion to their place (Su et al. 2021).

    ``x`` is (..., places, d) with even d; ``positions`` are the places, 0, 1, 2 and so on by default, in a shape that
    broadcasts to (..., places). Pair i turns by ``position * base**(-2 i / d)``; it is made of features i and
    ``i + d/2``, or where ``interleaved`` of ``2 i`` and ``2 i + 1``. Raises ShapeError for an odd or unknown d.

    A float, the graph's for integers.

    >>> from graphc.ir.graph import Graph
    >>> rotary_embedding(Graph("g").input("x", ("b", "t", 8))).shape
    (b, t, 8)
    """
    d = x.shape[-1] if x.ndim > 1 else None
    if not isinstance(d, int) or d % 2:
        raise ShapeError(f"expected places and an even number of features, found {x.type}")
    place = iota(x.graph, x.shape[-2]) if positions is None else tensor(positions, x.graph)
    rate = exp(cast(iota(x.graph, d // 2), x.dtype) * (-2 / d * math.log(base)))
    angle = expand_dims(cast(place, x.dtype), place.ndim) * rate
    c, s = cos(angle), sin(angle)
    if interleaved:
        a, b = x[..., ::2], x[..., 1::2]
        return reshape(stack([a * c - b * s, a * s + b * c], x.ndim), x.shape)
    a, b = x[..., : d // 2], x[..., d // 2 :]
    return concat([a * c - b * s, a * s + b * c], -1)


__all__ = ["gru_cell", "lstm_cell", "rnn_cell", "rotary_embedding", "scaled_dot_product_attention"]
