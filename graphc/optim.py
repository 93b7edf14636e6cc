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

from graphc.derive.reverse import grad
from graphc.derive.substitution import substitute
from graphc.errors import DTypeError, GraphError, ShapeError, caller
from graphc.ir.call import Call
from graphc.ir.graph import Graph, located, topological
from graphc.ir.tensor import Tensor
from graphc.ops.apply import tensor_list
from graphc.ops.assembly import concat
from graphc.ops.elementwise import abs as absolute
from graphc.ops.elementwise import equal, greater, logical_and, maximum, minimum, multiply, sign, where
from graphc.ops.functions import cos, expm1, floor, pow, sqrt
from graphc.ops.functions import exp as _exp
from graphc.ops.reduce import norm, range_scale, sum
from graphc.ops.shape import expand_dims, ravel, reshape
from graphc.ops.signature import found

Rate = Any  # a float or a scalar Tensor
Updates = dict[Tensor, Tensor]


@dataclass(frozen=True)
class Optimizer(ABC):
    """What all optimisers share.

    lr            learning rate, a float or a scalar tensor such as a schedule
    weight_decay  this times the parameter is added to its gradient (an L2 penalty; `AdamW` decouples it)
    clip_norm     gradients are scaled down together so that their global 2-norm is at most this (Pascanu et al. 2013)

    >>> import graphc as gx
    >>> isinstance(gx.optim.SGD(lr=0.1, clip_norm=1.0), gx.optim.Optimizer)
    True
    """

    lr: Rate = 0.01
    weight_decay: float = 0.0
    clip_norm: float | None = None

    def updates(
        self,
        loss: Tensor,
        params: Sequence[Tensor] | None = None,
        *,
        gradients: Sequence[Tensor] | None = None,
    ) -> Updates:
        """Next values of ``params`` (every parameter of the graph by default) and of the optimiser's own variables.

        ``gradients`` take the place of `grad(loss, params)`: one tensor for each of ``params``, in its shape and dtype.

        Raises GraphError where ``loss`` is no scalar of a graph with parameters, or ``params`` are none of them,
        ShapeError or DTypeError where a gradient does not fit; what `graphc.grad` raises otherwise.

        >>> import graphc as gx
        >>> w = gx.Graph(float_dtype="float64").parameter("w", 2.0)
        >>> loss = w * w
        >>> [t.name for t in gx.optim.Momentum().updates(loss)]
        ['momentum/w/v', 'w']
        """
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
            slopes = grad(loss, chosen) if gradients is None else _given(gradients, chosen)
            prefix, out = self._prefix(graph), Updates()

            def part(name: str) -> AbstractContextManager[None]:
                """Nodes made inside are a part of the update."""
                return graph.calling(Call(type(self).__name__, f"{prefix}/{name}", "update"))

            if self.clip_norm is not None:
                with part("clip_norm"):
                    slopes = clip_by_global_norm(slopes, self.clip_norm)
            self._steps(loss, chosen, slopes, prefix, part, out)
            out.update(_noted(loss))
            return out

    @abstractmethod
    def _steps(
        self, loss: Tensor, chosen: list[Tensor], gradients: list[Tensor], prefix: str, part: Any, out: Updates
    ) -> None:
        """Adds the next values of all parameters, and of what goes with them."""

    def _prefix(self, graph: Graph) -> str:
        """The name of this optimiser in the graph, numbered from the second on."""
        return free_prefix(graph, type(self).__name__.lower())


class ParameterByParameter(Optimizer):
    """Those whose next value of a parameter depends on its own gradient, and on what all share.

    >>> import graphc as gx
    >>> issubclass(gx.optim.Adam, gx.optim.ParameterByParameter)
    True
    """

    _decoupled = False

    def _steps(
        self, loss: Tensor, chosen: list[Tensor], gradients: list[Tensor], prefix: str, part: Any, out: Updates
    ) -> None:
        graph = loss.graph
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

    def _common(self, graph: Graph, prefix: str, out: Updates) -> Any:
        """What all parameters share, such as a step counter; adds its update."""
        return None

    @abstractmethod
    def _step(self, p: Tensor, g: Tensor, slot: Any, common: Any) -> Updates:
        """Next values for one parameter, given its gradient; ``slot(key)`` makes a variable in its shape."""


def free_prefix(graph: Graph, base: str) -> str:
    """The name, or with the first number that no variables are under."""
    taken = {name.split("/")[0] for name in graph.variables}
    name, k = base, 1
    while name in taken:
        k += 1
        name = f"{base}_{k}"
    return name


@dataclass(frozen=True)
class SGD(ParameterByParameter):
    """``p - lr * g`` (Robbins and Monro 1951).

    >>> import graphc as gx
    >>> w = gx.Graph(float_dtype="float64").parameter("w", 2.0)
    >>> loss = w * w
    >>> step = gx.compile([], loss, updates=gx.optim.SGD(lr=0.1).updates(loss), backend="numpy")
    >>> float(step()), round(float(w.graph.state["w"]), 4)
    (4.0, 1.6)
    """

    def _step(self, p: Tensor, g: Tensor, slot: Any, common: Any) -> Updates:
        return {p: p - self.lr * g}


@dataclass(frozen=True)
class Momentum(ParameterByParameter):
    """``v = momentum * v + g``, ``p - lr * v`` (Polyak 1964).

    >>> import graphc as gx
    >>> w = gx.Graph(float_dtype="float64").parameter("w", 2.0)
    >>> loss = w * w
    >>> step = gx.compile([], loss, updates=gx.optim.Momentum(lr=0.1).updates(loss), backend="numpy")
    >>> float(step()), round(float(w.graph.state["w"]), 4)
    (4.0, 1.6)
    """

    momentum: float = 0.9

    def _step(self, p: Tensor, g: Tensor, slot: Any, common: Any) -> Updates:
        v = slot("v")
        new = self.momentum * v + g
        return {v: new, p: p - self.lr * self._direction(g, new)}

    def _direction(self, g: Tensor, v: Tensor) -> Tensor:
        return v


@dataclass(frozen=True)
class NAG(Momentum):
    """Nesterov's momentum: ``p - lr * (g + momentum * v)`` (Sutskever et al. 2013).

    >>> import graphc as gx
    >>> w = gx.Graph(float_dtype="float64").parameter("w", 2.0)
    >>> loss = w * w
    >>> step = gx.compile([], loss, updates=gx.optim.NAG(lr=0.1).updates(loss), backend="numpy")
    >>> float(step()), round(float(w.graph.state["w"]), 4)
    (4.0, 1.24)
    """

    def _direction(self, g: Tensor, v: Tensor) -> Tensor:
        return g + self.momentum * v


@dataclass(frozen=True)
class Adagrad(ParameterByParameter):
    """``s += g*g``, ``p - lr * g / (sqrt(s) + eps)`` (Duchi et al. 2011).

    >>> import graphc as gx
    >>> w = gx.Graph(float_dtype="float64").parameter("w", 2.0)
    >>> loss = w * w
    >>> step = gx.compile([], loss, updates=gx.optim.Adagrad(lr=0.1).updates(loss), backend="numpy")
    >>> float(step()), round(float(w.graph.state["w"]), 4)
    (4.0, 1.9)
    """

    eps: float = 1e-10

    def _step(self, p: Tensor, g: Tensor, slot: Any, common: Any) -> Updates:
        s = slot("s")
        new = s + g * g
        return {s: new, p: p - self.lr * (g / (sqrt(new) + self.eps))}


@dataclass(frozen=True)
class RMSProp(ParameterByParameter):
    """``s = alpha * s + (1 - alpha) * g*g``, ``p - lr * g / (sqrt(s) + eps)`` (Tieleman and Hinton 2012).

    >>> import graphc as gx
    >>> w = gx.Graph(float_dtype="float64").parameter("w", 2.0)
    >>> loss = w * w
    >>> step = gx.compile([], loss, updates=gx.optim.RMSProp(lr=0.1).updates(loss), backend="numpy")
    >>> float(step()), round(float(w.graph.state["w"]), 4)
    (4.0, 1.0)
    """

    alpha: float = 0.99
    eps: float = 1e-8

    def _step(self, p: Tensor, g: Tensor, slot: Any, common: Any) -> Updates:
        s = slot("s")
        new = self.alpha * s + (1 - self.alpha) * (g * g)
        return {s: new, p: p - self.lr * (g / (sqrt(new) + self.eps))}


@dataclass(frozen=True)
class Adam(ParameterByParameter):
    """First and second moments with bias correction (Kingma and Ba 2015).

    >>> import graphc as gx
    >>> w = gx.Graph(float_dtype="float64").parameter("w", 2.0)
    >>> loss = w * w
    >>> step = gx.compile([], loss, updates=gx.optim.Adam(lr=0.1).updates(loss), backend="numpy")
    >>> float(step()), round(float(w.graph.state["w"]), 4)
    (4.0, 1.9)
    """

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
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019).

    >>> import graphc as gx
    >>> w = gx.Graph(float_dtype="float64").parameter("w", 2.0)
    >>> loss = w * w
    >>> step = gx.compile([], loss, updates=gx.optim.AdamW(lr=0.1).updates(loss), backend="numpy")
    >>> float(step()), round(float(w.graph.state["w"]), 4)
    (4.0, 1.898)
    """

    weight_decay: float = 0.01
    _decoupled = True


@dataclass(frozen=True)
class Adadelta(ParameterByParameter):
    """Steps in proportion to the root mean square of those before (Zeiler 2012).

    ``s = rho * s + (1 - rho) * g*g``, ``d = g * sqrt(a + eps) / sqrt(s + eps)``, ``a = rho * a + (1 - rho) * d*d``,
    ``p - lr * d``.

    >>> import graphc as gx
    >>> w = gx.Graph(float_dtype="float64").parameter("w", 2.0)
    >>> loss = w * w
    >>> step = gx.compile([], loss, updates=gx.optim.Adadelta().updates(loss), backend="numpy")
    >>> float(step()), round(float(w.graph.state["w"]), 4)
    (4.0, 1.9968)
    """

    lr: Rate = 1.0
    rho: float = 0.9
    eps: float = 1e-6

    def _step(self, p: Tensor, g: Tensor, slot: Any, common: Any) -> Updates:
        s, a = slot("s"), slot("a")
        new_s = self.rho * s + (1 - self.rho) * (g * g)
        d = g * (sqrt(a + self.eps) / sqrt(new_s + self.eps))
        return {s: new_s, a: self.rho * a + (1 - self.rho) * (d * d), p: p - self.lr * d}


@dataclass(frozen=True)
class NAdam(Adam):
    """Adam with Nesterov's momentum, which grows with the steps (Dozat 2016), as torch's.

    >>> import graphc as gx
    >>> w = gx.Graph(float_dtype="float64").parameter("w", 2.0)
    >>> loss = w * w
    >>> step = gx.compile([], loss, updates=gx.optim.NAdam(lr=0.1).updates(loss), backend="numpy")
    >>> float(step()), round(float(w.graph.state["w"]), 4)
    (4.0, 1.8944)
    """

    lr: Rate = 0.002
    momentum_decay: float = 0.004

    def _common(self, graph: Graph, prefix: str, out: Updates) -> Any:
        count, update = step_counter(graph, f"{prefix}/step")
        product = graph.variable(f"{prefix}/product", 1.0)
        now, after = (self.beta1 * (1 - 0.5 * pow(0.96, (count + k) * self.momentum_decay)) for k in (1.0, 2.0))
        out.update({**update, product: product * now})
        second = sqrt(-expm1((count + 1.0) * float(np.log(self.beta2))))
        return (1 - now) / (1 - product * now), after / (1 - product * now * after), second

    def _step(self, p: Tensor, g: Tensor, slot: Any, common: Any) -> Updates:
        m, v = slot("m"), slot("v")
        of_gradient, of_momentum, second = (c.astype(p.dtype) for c in common)
        new_m = self.beta1 * m + (1 - self.beta1) * g
        new_v = self.beta2 * v + (1 - self.beta2) * (g * g)
        step = (of_gradient * g + of_momentum * new_m) / (sqrt(new_v) / second + self.eps)
        return {m: new_m, v: new_v, p: p - self.lr * step}


@dataclass(frozen=True)
class Lion(ParameterByParameter):
    """``p - lr * (sign(beta1 * m + (1 - beta1) * g) + weight_decay * p)``, ``m = beta2 * m + (1 - beta2) * g``.

    Chen et al. 2023, with the paper's defaults.

    >>> import graphc as gx
    >>> w = gx.Graph(float_dtype="float64").parameter("w", 2.0)
    >>> loss = w * w
    >>> step = gx.compile([], loss, updates=gx.optim.Lion(lr=0.1).updates(loss), backend="numpy")
    >>> float(step()), round(float(w.graph.state["w"]), 4)
    (4.0, 1.9)
    """

    lr: Rate = 1e-4
    beta1: float = 0.9
    beta2: float = 0.99
    _decoupled = True

    def _step(self, p: Tensor, g: Tensor, slot: Any, common: Any) -> Updates:
        m = slot("m")
        step = sign(self.beta1 * m + (1 - self.beta1) * g)
        step = step + self.weight_decay * p if self.weight_decay else step
        return {m: self.beta2 * m + (1 - self.beta2) * g, p: p - self.lr * step}


@dataclass(frozen=True)
class LAMB(Adam):
    """Adam's steps with decoupled weight decay, each parameter's as long as the parameter is (You et al. 2020).

    ``p - lr * (|p| / |u|) * u``, where ``u`` is Adam's step and ``weight_decay * p``; the quotient is 1 where either
    length is 0.

    >>> import graphc as gx
    >>> w = gx.Graph(float_dtype="float64").parameter("w", 2.0)
    >>> loss = w * w
    >>> step = gx.compile([], loss, updates=gx.optim.LAMB(lr=0.1).updates(loss), backend="numpy")
    >>> float(step()), round(float(w.graph.state["w"]), 4)
    (4.0, 1.8)
    """

    eps: float = 1e-6
    _decoupled = True

    def _step(self, p: Tensor, g: Tensor, slot: Any, common: Any) -> Updates:
        m, v = slot("m"), slot("v")
        first, second = (c.astype(p.dtype) for c in common)
        new_m = self.beta1 * m + (1 - self.beta1) * g
        new_v = self.beta2 * v + (1 - self.beta2) * (g * g)
        step = new_m / first / (sqrt(new_v) / second + self.eps)
        step = step + self.weight_decay * p if self.weight_decay else step
        length, width = norm(p), norm(step)
        trust = where(logical_and(greater(length, 0), greater(width, 0)), length / width, 1)
        return {m: new_m, v: new_v, p: p - self.lr * (trust * step)}


@dataclass(frozen=True)
class Muon(ParameterByParameter):
    """Momentum whose singular values are brought near 1 by Newton and Schulz's iteration (Jordan et al. 2024).

    For matrices (inputs, outputs) alone, GraphError for others, which another optimiser takes:
    ``Muon().updates(loss, matrices) | AdamW().updates(loss, others)``. Steps are ``sqrt(max(1, outputs / inputs))`` as
    large as ``lr``; weight decay is decoupled. Defaults of torch.optim.Muon.

    >>> import numpy as np
    >>> import graphc as gx
    >>> w = gx.Graph(float_dtype="float64").parameter("w", np.eye(2))
    >>> loss = gx.sum(w * w)
    >>> step = gx.compile([], loss, updates=gx.optim.Muon(lr=0.1).updates(loss), backend="numpy")
    >>> float(step()), w.graph.state["w"].round(1).tolist()
    (2.0, [[0.9, 0.0], [0.0, 0.9]])
    """

    lr: Rate = 1e-3
    weight_decay: float = 0.1
    momentum: float = 0.95
    nesterov: bool = True
    iterations: int = 5
    eps: float = 1e-7
    _decoupled = True

    def _step(self, p: Tensor, g: Tensor, slot: Any, common: Any) -> Updates:
        if p.ndim != 2:
            raise GraphError(f"Muon is for matrices, found {p.name}: {p.type}; pass others to another optimiser")
        m = slot("m")
        new = self.momentum * m + (1 - self.momentum) * g
        step = orthogonalised(self.momentum * new + (1 - self.momentum) * g if self.nesterov else new, self)
        inputs, outputs = np.shape(p.graph.state.storage[p.name])
        scale = float(np.sqrt(max(1.0, outputs / inputs)))
        return {m: new, p: p - self.lr * self.weight_decay * p - self.lr * (scale * step)}


def orthogonalised(x: Tensor, by: Muon) -> Tensor:
    """A matrix with its singular values brought near 1: five steps of an odd polynomial with steep slope at 0."""
    a, b, c = 3.4445, -4.7750, 2.0315
    rows, columns = x.shape
    x = x / maximum(norm(x), by.eps)
    wide = isinstance(rows, int) and isinstance(columns, int) and rows <= columns
    for _ in range(by.iterations):
        square = x @ x.T if wide else x.T @ x
        inner = b * square + c * (square @ square)
        x = a * x + (inner @ x if wide else x @ inner)
    return x


@dataclass(frozen=True)
class LBFGS(Optimizer):
    """Limited-memory BFGS for full batches: one step for each call (Nocedal 1980; Liu and Nocedal 1989).

    The direction comes from the last ``history`` changes of parameters and gradient by the two-loop recursion, with
    torch.optim.LBFGS's rules for the first step and for changes that are left out. The step is the longest of ``lr``,
    ``lr / 2``, ``lr / 4`` and so on, ``search`` of them beside the first, that lowers the loss enough (Armijo 1966,
    with 1e-4), the shortest where none does; all are evaluated. With ``search=0`` it is ``lr``, as torch's without a
    line search. All parameters must have one dtype.

    >>> import graphc as gx
    >>> w = gx.Graph(float_dtype="float64").parameter("w", 2.0)
    >>> loss = w * w
    >>> step = gx.compile([], loss, updates=gx.optim.LBFGS().updates(loss), backend="numpy")
    >>> float(step()), round(float(w.graph.state["w"]), 4)
    (4.0, 1.0)
    """

    lr: Rate = 1.0
    history: int = 10
    search: int = 10

    def _steps(
        self, loss: Tensor, chosen: list[Tensor], gradients: list[Tensor], prefix: str, part: Any, out: Updates
    ) -> None:
        graph, kind = loss.graph, chosen[0].dtype
        if any(p.dtype != kind for p in chosen):
            raise GraphError(
                "LBFGS needs parameters of one dtype, found " + ", ".join(f"{p.name}: {p.type}" for p in chosen)
            )
        sizes = [int(np.prod(graph.state.storage[p.name].shape)) for p in chosen]
        count = int(np.sum(sizes))

        def variable(name: str, shape: Sequence[int]) -> Tensor:
            return graph.variable(f"{prefix}/{name}", np.zeros(shape, kind))

        with part("step"):
            x = concat([ravel(p) for p in chosen])
            g = concat([ravel(d) for d in gradients])
            g = g + self.weight_decay * x if self.weight_decay else g
            step, move = variable("step", (count,)), variable("gradient", (count,))
            steps, changes = variable("steps", (self.history, count)), variable("changes", (self.history, count))
            scale, started = variable("scale", ()), variable("started", ())
            change = g - move
            bent = sum(change * step)
            kept = logical_and(greater(bent, 1e-10), greater(started, 0))
            new_steps, new_changes = (
                where(kept, concat([held[1:], expand_dims(last, 0)]), held)
                for held, last in ((steps, step), (changes, change))
            )
            new_scale = where(kept, bent / sum(change * change), where(greater(started, 0), scale, 1))
            direction = -_inverse_times(g, new_steps, new_changes, new_scale)
            slope = sum(g * direction)
            first = minimum(1 / sum(absolute(g)), 1)
            length = self.lr * where(greater(started, 0), 1, where(equal(first, first), first, 1))
            value = loss + 0.5 * self.weight_decay * sum(x * x) if self.weight_decay else loss
        taken = length
        for k in range(self.search, -1, -1) if self.search else ():
            with part("search"):
                trial = length * 0.5**k
                at = x + trial * direction
                there = substitute(loss, dict(zip(chosen, _parts(at, chosen, sizes), strict=True)))
                there = there + 0.5 * self.weight_decay * sum(at * at) if self.weight_decay else there
                enough = there <= value + 1e-4 * trial * slope
                taken = where(enough, trial, trial if k == self.search else taken)
        with part("step"):
            moved = taken * direction
            out |= {step: moved, move: g, steps: new_steps, changes: new_changes, scale: new_scale}
            out[started] = started * 0 + 1
            out.update(zip(chosen, _parts(x + moved, chosen, sizes), strict=True))


def _parts(x: Tensor, like: Sequence[Tensor], sizes: Sequence[int]) -> list[Tensor]:
    """A vector cut up and shaped like tensors of these sizes."""
    ends = np.cumsum(sizes)
    return [reshape(x[int(e - n) : int(e)], p.shape) for p, n, e in zip(like, sizes, ends, strict=True)]


def _inverse_times(g: Tensor, steps: Tensor, changes: Tensor, scale: Tensor) -> Tensor:
    """The approximate inverse of the Hessian times ``g``; rows of zeros have no part (Nocedal 1980)."""
    rows = int(steps.shape[0])
    bent = sum(steps * changes, 1)
    weights = where(greater(bent, 0), 1 / bent, 0)
    q, shares = g, dict[int, Tensor]()
    for k in reversed(range(rows)):
        shares[k] = weights[k] * sum(steps[k] * q)
        q = q - shares[k] * changes[k]
    q = scale * q
    for k in range(rows):
        q = q + (shares[k] - weights[k] * sum(changes[k] * q)) * steps[k]
    return q


@dataclass(frozen=True)
class Lookahead:
    """Another optimiser's parameters, drawn every ``k`` steps towards where they were, by ``alpha`` of the way.

    ``slow + alpha * (fast - slow)`` becomes both, the slow ones variables ``lookahead/W1/slow`` (Zhang et al. 2019).

    >>> Lookahead(SGD(0.1), k=6).inner.lr
    0.1
    """

    inner: Optimizer
    k: int = 5
    alpha: float = 0.5

    def updates(
        self,
        loss: Tensor,
        params: Sequence[Tensor] | None = None,
        *,
        gradients: Sequence[Tensor] | None = None,
    ) -> Updates:
        """Those of the inner optimiser, with the slow parameters' own.

        As `Optimizer.updates` otherwise.

        >>> import graphc as gx
        >>> w = gx.Graph(float_dtype="float64").parameter("w", 2.0)
        >>> loss = w * w
        >>> [t.name for t in gx.optim.Lookahead(gx.optim.SGD()).updates(loss)]
        ['w', 'lookahead/w/slow', 'lookahead/step']
        """
        out = self.inner.updates(loss, params, gradients=gradients)
        with located("Lookahead", caller()):
            graph = loss.graph
            prefix = free_prefix(graph, "lookahead")
            with graph.calling(Call("Lookahead", f"{prefix}/step", "update")):
                count, update = step_counter(graph, f"{prefix}/step")
                now = equal((count + 1.0) % float(self.k), 0)
            for p in [t for t in out if t.op.name == "parameter"]:
                slow = graph.variable(f"{prefix}/{p.name}/slow", graph.state[p.name].copy())
                with graph.calling(Call("Lookahead", f"{prefix}/{p.name}", "update")):
                    drawn = slow + self.alpha * (out[p] - slow)
                    out[p], out[slow] = where(now, drawn, out[p]), where(now, drawn, slow)
            return {**out, **update}


def averaged(updates: Updates, decay: float | None = None) -> tuple[Updates, dict[Tensor, Tensor]]:
    """Updates that keep an average of each parameter besides, and these averages: parameter -> variable.

    The average is of the values after all steps (Izmailov et al. 2018). With ``decay`` it starts from the first value
    and moves by ``1 - decay`` towards each new one (Polyak and Juditsky 1992). ``gx.substitute(outputs, averages)``
    gives the outputs of the averages.

    Shapes and dtypes are those of the parameters. Raises GraphError where ``updates`` move no parameter.

    >>> import numpy as np
    >>> g = Graph("g")
    >>> w = g.parameter("w", np.ones(3, np.float32))
    >>> updates, averages = averaged(SGD().updates((w * w).sum()), decay=0.99)
    >>> averages[w].name
    'average/w'
    """
    params = [t for t in updates if t.op.name == "parameter"]
    if not params:
        raise GraphError("averaged: there are no parameters among the updates", origin=caller())
    graph = params[0].graph
    with located("averaged", caller()):
        prefix = free_prefix(graph, "average")
        out, averages = dict(updates), dict[Tensor, Tensor]()
        share: Tensor | float = 0.0 if decay is None else 1 - decay
        if decay is None:
            with graph.calling(Call("averaged", f"{prefix}/step", "update")):
                count, update = step_counter(graph, f"{prefix}/step")
                share = 1 / (count + 1.0)
            out.update(update)
        for p in params:
            held = averages[p] = graph.variable(f"{prefix}/{p.name}", graph.state[p.name].copy())
            with graph.calling(Call("averaged", f"{prefix}/{p.name}/step", "update")):
                part = share.astype(p.dtype) if isinstance(share, Tensor) else share
                out[held] = held + part * (updates[p] - held)
        return out, averages


def _noted(loss: Tensor) -> Updates:
    """Next values of state that layers on the way to the loss have noted, such as the statistics of batches."""
    graph = loss.graph
    pairs = [pair for node in topological(graph, [loss.id]) for pair in graph.noted.get(node.id, [])]
    return {graph.tensors[state]: graph.tensors[value] for state, value in pairs}


def clip_by_global_norm(gradients: Sequence[Tensor], limit: float) -> list[Tensor]:
    """Gradients scaled by ``min(1, limit / (norm + 1e-6))``, their 2-norm taken over all of them.

    Shapes and dtypes stay. Raises GraphError where ``gradients`` are no list of tensors.

    >>> import graphc as gx
    >>> g = gx.Graph(float_dtype="float64")
    >>> x = g.input("x", (2,))
    >>> f = gx.compile([x], gx.optim.clip_by_global_norm([x], 1.0), backend="numpy")
    >>> f([3, 4])[0].round(3).tolist()
    [0.6, 0.8]
    """
    with located("clip_by_global_norm", caller()):
        gradients = tensor_list("gradients", gradients)
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


def _given(gradients: Sequence[Tensor], params: Sequence[Tensor]) -> list[Tensor]:
    """A caller's own gradients of ``params``, which fit them."""
    many = tensor_list("gradients", gradients)
    if len(many) != len(params):
        raise GraphError(f"expected {len(params)} gradients, one for each parameter, found {len(many)}")
    for slope, p in zip(many, params, strict=True):
        if slope.type != p.type:
            kind = DTypeError if slope.dtype != p.dtype else ShapeError
            raise kind(f"the gradient of {p.name} must be {p.type}, found {slope.name}: {slope.type}")
        if slope.graph is not p.graph:
            raise GraphError(f"{slope.name} is of graph {slope.graph.name!r}, {p.name} of {p.graph.name!r}")
    return many


def step_counter(graph: Graph, name: str = "step") -> tuple[Tensor, Updates]:
    """A counter of calls as a float scalar, and its update.

    The update adds 1. Raises GraphError for a name that is taken.

    >>> import graphc as gx
    >>> count, counting = gx.optim.step_counter(gx.Graph())
    >>> f = gx.compile([], count, updates=counting, backend="numpy")
    >>> [float(f()) for _ in range(3)]
    [0.0, 1.0, 2.0]
    """
    step = graph.variable(name, 0.0)
    return step, {step: step + 1.0}


def exponential_decay(step: Tensor, initial: float, rate: float) -> Tensor:
    """``initial * rate**step``.

    A scalar like ``step``, a float. Raises DTypeError or GraphError where ``step`` is no tensor.

    >>> import graphc as gx
    >>> t = gx.Graph(float_dtype="float64").input("step")
    >>> float(gx.compile([t], gx.optim.exponential_decay(t, 1.0, 0.5), backend="numpy")(2))
    0.25
    """
    return initial * _exp(step * float(np.log(rate)))


def step_decay(step: Tensor, initial: float, factor: float, every: int) -> Tensor:
    """``initial``, times ``factor`` after each ``every`` steps.

    A scalar like ``step``, a float. Raises DTypeError or GraphError where ``step`` is no tensor.

    >>> import graphc as gx
    >>> t = gx.Graph(float_dtype="float64").input("step")
    >>> float(gx.compile([t], gx.optim.step_decay(t, 1.0, 0.1, every=10), backend="numpy")(15))
    0.1
    """
    return initial * pow(factor, floor(step / every))


def cosine(step: Tensor, initial: float, steps: int, final: float = 0.0) -> Tensor:
    """From ``initial`` to ``final`` along half a cosine over ``steps`` (Loshchilov and Hutter 2017).

    A scalar like ``step``, a float. Raises DTypeError or GraphError where ``step`` is no tensor.

    >>> import graphc as gx
    >>> t = gx.Graph(float_dtype="float64").input("step")
    >>> round(float(gx.compile([t], gx.optim.cosine(t, 1.0, steps=10), backend="numpy")(5)), 6)
    0.5
    """
    done = minimum(step / steps, 1.0)
    return final + 0.5 * (initial - final) * (1 + cos(done * float(np.pi)))


def warmup(step: Tensor, rate: Rate, steps: int) -> Tensor:
    """``rate``, reached linearly over the first ``steps``.

    A scalar like ``step``, a float. Raises DTypeError or GraphError where ``step`` is no tensor.

    >>> import graphc as gx
    >>> t = gx.Graph(float_dtype="float64").input("step")
    >>> float(gx.compile([t], gx.optim.warmup(t, 1.0, steps=10), backend="numpy")(4))
    0.5
    """
    share = where(step < steps, (step + 1) / steps, 1.0)
    return multiply(share, rate)
