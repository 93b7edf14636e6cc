"""Optimisers as graph updates: formulas and defaults of torch.optim, written in the DSL.

``opt.updates(loss, params)`` differentiates and returns a dict, parameter or variable -> next value, for
``graphc.compile(..., updates=...)``. Moments are variables named ``adam/W1/m``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import numpy as np

from graphc.errors import GraphError, caller
from graphc.grad import grad
from graphc.ir.call import Call
from graphc.ir.graph import Graph, located, topological
from graphc.ir.tensor import Tensor
from graphc.ops.apply import tensor_list
from graphc.ops.elementwise import minimum, multiply, where
from graphc.ops.functions import cos, expm1, floor, pow, sqrt
from graphc.ops.functions import exp as _exp
from graphc.ops.reduce import range_scale, sum
from graphc.ops.signature import found

Rate = Any  # a float or a scalar Tensor
Updates = dict[Tensor, Tensor]


@dataclass(frozen=True)
class Optimizer(ABC):
    """What all optimisers share.

    lr            learning rate, a float or a scalar tensor such as a schedule
    weight_decay  this times the parameter is added to its gradient (an L2 penalty; `AdamW` decouples it)
    clip_norm     gradients are scaled down together so that their global 2-norm is at most this (Pascanu et al. 2013)
    """

    lr: Rate = 0.01
    weight_decay: float = 0.0
    clip_norm: float | None = None

    def updates(self, loss: Tensor, params: Sequence[Tensor] | None = None) -> Updates:
        """Next values of ``params`` (every parameter of the graph by default) and of the optimiser's own variables."""
        with located(type(self).__name__, caller()):
            if not isinstance(loss, Tensor):
                raise GraphError(f"loss must be a scalar tensor, found {found(loss)}")
            graph = loss.graph
            chosen = list(graph.parameters.values()) if params is None else tensor_list("params", params)
            if not chosen:
                raise GraphError("there are no parameters to train")
            for p in chosen:
                if p.op.name != "parameter":
                    raise GraphError(f"expected parameters, found {p.name}: {p.op.name}", node=p.name, origin=p.origin)
            gradients = grad(loss, chosen)
            prefix, out = self._prefix(graph), Updates()

            def part(name: str) -> AbstractContextManager[None]:
                """Nodes made inside are a part of the update."""
                return graph.calling(Call(type(self).__name__, f"{prefix}/{name}", "update"))

            if self.clip_norm is not None:
                with part("clip_norm"):
                    gradients = clip_by_global_norm(gradients, self.clip_norm)
            with part("step"):
                common = self._common(graph, prefix, out)
            for p, g in zip(chosen, gradients, strict=True):
                name = p.name

                def slot(key: str, like: Tensor = p, name: str = name) -> Tensor:
                    """A variable of zeros in the shape of the parameter."""
                    value = np.zeros(graph.state.storage[like.name].shape, like.dtype)
                    return graph.variable(f"{prefix}/{name}/{key}", value)

                with part(name):
                    decayed = g + self.weight_decay * p if self.weight_decay and not self._decoupled else g
                    out.update(self._step(p, decayed, slot, common))
            out.update(_noted(loss))
            return out

    _decoupled = False

    def _prefix(self, graph: Graph) -> str:
        """The name of this optimiser in the graph, numbered from the second on."""
        base = type(self).__name__.lower()
        taken = {name.split("/")[0] for name in graph.variables}
        name, k = base, 1
        while name in taken:
            k += 1
            name = f"{base}_{k}"
        return name

    def _common(self, graph: Graph, prefix: str, out: Updates) -> Any:
        """What all parameters share, such as a step counter; adds its update."""
        return None

    @abstractmethod
    def _step(self, p: Tensor, g: Tensor, slot: Any, common: Any) -> Updates:
        """Next values for one parameter, given its gradient; ``slot(key)`` makes a variable in its shape."""


@dataclass(frozen=True)
class SGD(Optimizer):
    """``p - lr * g`` (Robbins and Monro 1951)."""

    def _step(self, p: Tensor, g: Tensor, slot: Any, common: Any) -> Updates:
        return {p: p - self.lr * g}


@dataclass(frozen=True)
class Momentum(Optimizer):
    """``v = momentum * v + g``, ``p - lr * v`` (Polyak 1964)."""

    momentum: float = 0.9

    def _step(self, p: Tensor, g: Tensor, slot: Any, common: Any) -> Updates:
        v = slot("v")
        new = self.momentum * v + g
        return {v: new, p: p - self.lr * self._direction(g, new)}

    def _direction(self, g: Tensor, v: Tensor) -> Tensor:
        return v


@dataclass(frozen=True)
class NAG(Momentum):
    """Nesterov's momentum: ``p - lr * (g + momentum * v)`` (Sutskever et al. 2013)."""

    def _direction(self, g: Tensor, v: Tensor) -> Tensor:
        return g + self.momentum * v


@dataclass(frozen=True)
class Adagrad(Optimizer):
    """``s += g*g``, ``p - lr * g / (sqrt(s) + eps)`` (Duchi et al. 2011)."""

    eps: float = 1e-10

    def _step(self, p: Tensor, g: Tensor, slot: Any, common: Any) -> Updates:
        s = slot("s")
        new = s + g * g
        return {s: new, p: p - self.lr * (g / (sqrt(new) + self.eps))}


@dataclass(frozen=True)
class RMSProp(Optimizer):
    """``s = alpha * s + (1 - alpha) * g*g``, ``p - lr * g / (sqrt(s) + eps)`` (Tieleman and Hinton 2012)."""

    alpha: float = 0.99
    eps: float = 1e-8

    def _step(self, p: Tensor, g: Tensor, slot: Any, common: Any) -> Updates:
        s = slot("s")
        new = self.alpha * s + (1 - self.alpha) * (g * g)
        return {s: new, p: p - self.lr * (g / (sqrt(new) + self.eps))}


@dataclass(frozen=True)
class Adam(Optimizer):
    """First and second moments with bias correction (Kingma and Ba 2015)."""

    lr: Rate = 0.001
    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8

    def _common(self, graph: Graph, prefix: str, out: Updates) -> Any:
        count, update = step_counter(graph, f"{prefix}/step")
        out.update(update)
        # 1 - beta**t, exact for small t in float32 too
        first, second = (-expm1((count + 1.0) * float(np.log(beta))) for beta in (self.beta1, self.beta2))
        return first, sqrt(second)

    def _step(self, p: Tensor, g: Tensor, slot: Any, common: Any) -> Updates:
        m, v = slot("m"), slot("v")
        first, second = (c.astype(p.dtype) for c in common)
        new_m = self.beta1 * m + (1 - self.beta1) * g
        new_v = self.beta2 * v + (1 - self.beta2) * (g * g)
        kept = p - self.lr * self.weight_decay * p if self._decoupled and self.weight_decay else p
        return {m: new_m, v: new_v, p: kept - (self.lr / first) * (new_m / (sqrt(new_v) / second + self.eps))}


@dataclass(frozen=True)
class AdamW(Adam):
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019)."""

    weight_decay: float = 0.01
    _decoupled = True


def _noted(loss: Tensor) -> Updates:
    """Next values of state that layers on the way to the loss have noted, such as the statistics of batches."""
    graph = loss.graph
    pairs = [pair for node in topological(graph, [loss.id]) for pair in graph.noted.get(node.id, [])]
    return {graph.tensors[state]: graph.tensors[value] for state, value in pairs}


def clip_by_global_norm(gradients: Sequence[Tensor], limit: float) -> list[Tensor]:
    """Gradients scaled by ``min(1, limit / (norm + 1e-6))``, their 2-norm taken over all of them."""
    scale = range_scale(_squares(gradients))
    scaled = [g * scale.astype(g.dtype) for g in gradients]
    length = sqrt(_squares(scaled))
    factor = minimum(limit / (length + 1e-6 * scale), 1 / scale)
    return [g * factor.astype(g.dtype) for g in scaled]


def _squares(tensors: Sequence[Tensor]) -> Tensor:
    """The sum of all squares."""
    total = sum(tensors[0] * tensors[0])
    for t in tensors[1:]:
        total = total + sum(t * t).astype(total.dtype)
    return total


def step_counter(graph: Graph, name: str = "step") -> tuple[Tensor, Updates]:
    """A counter of calls as a float scalar, and its update."""
    step = graph.variable(name, 0.0)
    return step, {step: step + 1.0}


def exponential_decay(step: Tensor, initial: float, rate: float) -> Tensor:
    """``initial * rate**step``."""
    return initial * _exp(step * float(np.log(rate)))


def step_decay(step: Tensor, initial: float, factor: float, every: int) -> Tensor:
    """``initial``, times ``factor`` after each ``every`` steps."""
    return initial * pow(factor, floor(step / every))


def cosine(step: Tensor, initial: float, steps: int, final: float = 0.0) -> Tensor:
    """From ``initial`` to ``final`` along half a cosine over ``steps`` (Loshchilov and Hutter 2017)."""
    done = minimum(step / steps, 1.0)
    return final + 0.5 * (initial - final) * (1 + cos(done * float(np.pi)))


def warmup(step: Tensor, rate: Rate, steps: int) -> Tensor:
    """``rate``, reached linearly over the first ``steps``."""
    share = where(step < steps, (step + 1) / steps, 1.0)
    return multiply(share, rate)
