"""Recurrent layers of ONNX: LSTM, GRU and RNN, each direction a scan."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from graphc.ir.tensor import Tensor
from graphc.ir.types import INT64
from graphc.onnx.reading.elementwise import Reader
from graphc.onnx.reading.held import Reading
from graphc.ops import elementwise as e
from graphc.ops import functions as f
from graphc.ops import shape
from graphc.ops.apply import cast
from graphc.ops.assembly import split, stack
from graphc.ops.control import loop
from graphc.ops.linalg import matmul

Activation = Callable[[Tensor], Tensor]
Step = Callable[[Sequence[Tensor], Tensor], Sequence[Tensor]]  # states and the row of a step to states
ACTIVATIONS: dict[str, Activation] = {"sigmoid": f.sigmoid, "tanh": f.tanh, "relu": f.relu}
DIRECTIONS = {"forward": (False,), "reverse": (True,), "bidirectional": (False, True)}


def _cut(x: Tensor, parts: int, axis: int = 0) -> list[Tensor]:
    made: Any = split(x, parts, axis)
    return list(made)


class Layer:
    """One direction of a recurrent layer: its weights, and the first of its states."""

    def __init__(self, at: Reading, gates: int, k: int, activations: Sequence[Activation]) -> None:
        self.at, self.activations = at, activations
        self.w, self.r = (shape.matrix_transpose(at.tensor(slot)[k]) for slot in (1, 2))
        self.hidden = at.tensor(2).shape[2]
        self.gates = gates
        both = at.tensor(3)[k] if at.has(3) else None
        halves: list[Any] = [None, None] if both is None else _cut(both, 2)
        self.wb, self.rb = halves
        self.peep = _cut(at.tensor(7)[k], 3) if len(at.operands) > 7 and at.has(7) else None

    def projected(self, x: Tensor) -> Tensor:
        found = matmul(x, self.w)
        return found if self.wb is None else found + self.wb

    def recurrent(self, h: Tensor) -> Tensor:
        found = matmul(h, self.r)
        return found if self.rb is None else found + self.rb


def _lstm(layer: Layer) -> Step:
    gate, cell, out = layer.activations

    def step(state: Sequence[Tensor], x: Tensor) -> Sequence[Tensor]:
        h, c = state
        i, o, forget, z = _cut(layer.projected(x) + layer.recurrent(h), 4, axis=-1)
        if layer.peep is not None:
            i, forget = i + layer.peep[0] * c, forget + layer.peep[2] * c
        c = gate(forget) * c + gate(i) * cell(z)
        o = o if layer.peep is None else o + layer.peep[1] * c
        return gate(o) * out(c), c

    return step


def _gru(layer: Layer) -> Step:
    gate, out = layer.activations
    late = bool(layer.at.attribute("linear_before_reset", 0))

    def step(state: Sequence[Tensor], x: Tensor) -> Sequence[Tensor]:
        (h,) = state
        zx, rx, hx = _cut(layer.projected(x), 3, -1)
        zr, rr, hr = _cut(layer.recurrent(h), 3, axis=-1)
        z, reset = gate(zx + zr), gate(rx + rr)
        if late:
            inner = reset * hr
        else:
            inner = matmul(reset * h, _cut(layer.r, 3, axis=-1)[2])
            inner = inner if layer.rb is None else inner + _cut(layer.rb, 3)[2]
        return [(1.0 - z) * out(hx + inner) + z * h]

    return step


def _rnn(layer: Layer) -> Step:
    (out,) = layer.activations
    return lambda state, x: [out(layer.projected(x) + layer.recurrent(state[0]))]


def recurrent(gates: int, states: int, usual: Sequence[str], cell: Callable[[Layer], Step]) -> Reader:
    """The reader of a layer with so many gates and states."""

    def read(at: Reading) -> list[Tensor]:
        at.only("clip", 0.0)
        at.only("input_forget", 0)
        ways = DIRECTIONS.get(str(at.attribute("direction", "forward")).lower())
        if ways is None:
            at.fail("direction must be forward, reverse or bidirectional")
        batched = bool(at.attribute("layout", 0))
        x = shape.moveaxis(at.tensor(), 1, 0) if batched else at.tensor()
        steps, batch = x.shape[:2]
        lengths = cast(at.tensor(4), INT64) if at.has(4) else None
        named = _named(at, [*usual] * len(ways))
        every: list[list[Tensor]] = []
        for k, reverse in enumerate(ways):
            own = named[k * len(usual) : (k + 1) * len(usual)]
            layer = Layer(at, gates, k, own)
            first = [_first(at, 5 + s, k, batched, (batch, layer.hidden), x) for s in range(states)]
            step = cell(layer)

            def f(state: list[Tensor], row: list[Tensor], step: Step = step) -> tuple[list[Tensor], Tensor]:
                made = list(step(state, row[0]))
                if len(row) == 1:
                    return made, made[0]
                on = shape.expand_dims(row[1], -1)  # the sequence has not ended
                return [e.where(on, a, b) for a, b in zip(made, state, strict=True)], e.where(on, made[0], 0)

            rows = [x]
            if lengths is not None:
                rows.append(e.less(shape.expand_dims(shape.iota(at.graph, steps), -1), lengths))
            last, ys = loop(at.graph, f, first, rows, steps, reverse)
            every.append([ys, *last])
        y, *last_ones = zip(*every, strict=True)  # (steps, directions, batch, hidden), and without steps
        out = [stack(y, 1), *(stack(states_, 0) for states_ in last_ones)]
        if batched:
            out = [shape.moveaxis(out[0], 2, 0), *(shape.moveaxis(t, 1, 0) for t in out[1:])]
        return out

    return read


def _first(at: Reading, slot: int, k: int, batched: bool, size: tuple[Any, ...], x: Tensor) -> Tensor:
    """The first state of a direction."""
    if not (len(at.operands) > slot and at.has(slot)):
        return shape.filled(at.graph, 0, size, x.dtype)
    given = at.tensor(slot)
    state = given[:, k] if batched else given[k]
    return state if state.shape == size else shape.reshape(state, size)  # symbols that are one size in each call


def _named(at: Reading, usual: Sequence[str]) -> list[Activation]:
    """The functions of all directions."""
    held = at.attributes.get("activations")
    names = [*usual] if held is None else [s.decode("utf-8", "replace").lower() for s in held.strings]
    if len(names) != len(usual) or any(name not in ACTIVATIONS for name in names):
        at.refuse(f"read are {len(usual)} activations among {', '.join(ACTIVATIONS)}, found {', '.join(names)[:80]}")
    return [ACTIVATIONS[name] for name in names]


RECURRENT: dict[str, Reader] = {
    "LSTM": recurrent(4, 2, ("sigmoid", "tanh", "tanh"), _lstm),
    "GRU": recurrent(3, 1, ("sigmoid", "tanh"), _gru),
    "RNN": recurrent(1, 1, ("tanh",), _rnn),
}

__all__ = ["RECURRENT"]
