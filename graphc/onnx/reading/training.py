"""Steps of optimisers of ai.onnx.preview.training: a rate and a count, then tensors in groups."""

from __future__ import annotations

from collections.abc import Callable

from graphc.ir.tensor import Tensor
from graphc.onnx.reading.elementwise import Reader
from graphc.onnx.reading.held import Reading
from graphc.ops import elementwise as e
from graphc.ops import functions as f
from graphc.ops.apply import cast

Step = Callable[[Reading, Tensor, Tensor, list[Tensor]], list[Tensor]]  # rate, count, tensors: their next values


def stepped(groups: int, step: Step) -> Reader:
    """Of each parameter, its gradient and its moments; results are the parameters, then each moment of all."""

    def read(at: Reading) -> list[Tensor]:
        rate, count, rest = at.tensor(0), at.tensor(1), at.tensors()[2:]
        many = len(rest) // groups
        if many < 1 or many * groups != len(rest):
            at.fail(f"{len(rest)} tensors do not make {groups} groups")
        made = [step(at, rate, cast(count, rate.dtype), rest[k::many]) for k in range(many)]
        return [t for group in zip(*made, strict=True) for t in group]

    return read


def _slope(at: Reading, x: Tensor, g: Tensor) -> Tensor:
    decay = at.attribute("norm_coefficient", 0.0)
    return g if decay == 0 else g + decay * x


def momentum(at: Reading, rate: Tensor, count: Tensor, held: list[Tensor]) -> list[Tensor]:
    x, g, v = held
    alpha, beta, mode = at.attribute("alpha", 0.0), at.attribute("beta", 0.0), at.attribute("mode", "")
    if mode not in ("standard", "nesterov"):
        at.fail(f"mode {mode[:40]!r} is none of ONNX's")
    g = _slope(at, x, g)
    v = alpha * v + e.where(e.greater(count, 0), beta, 1.0) * g
    return [x - rate * (g + alpha * v if mode == "nesterov" else v), v]


def adagrad(at: Reading, rate: Tensor, count: Tensor, held: list[Tensor]) -> list[Tensor]:
    x, g, h = held
    g = _slope(at, x, g)
    h = h + g * g
    slowed = rate / (1 + count * at.attribute("decay_factor", 0.0))
    return [x - slowed * g / (f.sqrt(h) + at.attribute("epsilon", 1e-6)), h]


def adam(at: Reading, rate: Tensor, count: Tensor, held: list[Tensor]) -> list[Tensor]:
    x, g, v, h = held
    alpha, beta = at.attribute("alpha", 0.9), at.attribute("beta", 0.999)
    g = _slope(at, x, g)
    v, h = alpha * v + (1 - alpha) * g, beta * h + (1 - beta) * g * g
    late = e.maximum(count, 1)
    scaled = rate * f.sqrt(1 - f.pow(beta, late)) / (1 - f.pow(alpha, late))
    rate = e.where(e.greater(count, 0), scaled, rate)
    x = x - rate * v / (f.sqrt(h) + at.attribute("epsilon", 1e-6))
    return [x * (1 - at.attribute("norm_coefficient_post", 0.0)), v, h]


TRAINING: dict[str, Reader] = {
    "Momentum": stepped(3, momentum), "Adagrad": stepped(3, adagrad), "Adam": stepped(4, adam),
}  # fmt: skip

__all__ = ["TRAINING"]
