"""Results that an equation defines, and solutions of differential equations.

A result of `fixed_point` or `root` has the derivatives of the equation, by the implicit function theorem, whatever
steps were made to find it: nothing of these is kept (Griewank and Walther, *Evaluating Derivatives*, chapter 15).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from graphc.derive.forward import push
from graphc.derive.jacobian import jacobian
from graphc.derive.reverse import accumulate
from graphc.errors import DTypeError, GradientError, ShapeError, caller
from graphc.ir.body import Body
from graphc.ir.call import OPEN
from graphc.ir.dims import Size
from graphc.ir.graph import Graph, located
from graphc.ir.inner import inlined
from graphc.ir.tensor import Tensor
from graphc.ir.trace import tracing
from graphc.ir.types import TensorType, is_float
from graphc.ops import nest
from graphc.ops.apply import graph_of, tensor
from graphc.ops.assembly import concat
from graphc.ops.control import part_of, scan, while_loop
from graphc.ops.decompositions import solve
from graphc.ops.elementwise import abs as abs_
from graphc.ops.elementwise import clip, logical_and, maximum, where
from graphc.ops.gradient import own_gradient
from graphc.ops.reduce import max as max_
from graphc.ops.reduce import sum as sum_
from graphc.ops.shape import expand_dims, filled, ravel, reshape
from graphc.ops.signature import found, need_functions

MOST = 1000  # steps
TOLERANCE = {"float32": 1e-6, "float64": 1e-12}


def fixed_point(f: Callable[[Any], Any], x0: Any, *, tolerance: float | None = None, max_steps: Size = MOST) -> Any:
    """``x`` with ``x = f(x)``, by steps ``x = f(x)`` from ``x0`` on.

    f          takes and returns a float tensor, or a list, tuple or dict of them, of the types of ``x0``; it is called
               once, when the graph is defined, and may use other tensors, to which gradients go
    tolerance  steps end where one moves ``x`` by less, relative to 1 and its length (1e-12; 1e-6 in float32)
    max_steps  a call raises NumericalError where it takes more

    The derivative is that of the equation: ``x0`` has none, and no steps are kept. It takes steps of the same kind, so
    where ``f`` converges it does too, to any order. Forward mode and `vmap` go through.

    >>> import numpy as np
    >>> import graphc as gx
    >>> g = gx.Graph("root", float_dtype="float64")
    >>> a = g.input("a")
    >>> x = gx.fixed_point(lambda x: 0.5 * (x + a / x), a)
    >>> [round(float(v), 6) for v in gx.compile([a], [x, gx.grad(x, a)])(np.array(9.0))]
    [3.0, 0.166667]
    """
    origin = caller()
    with located("fixed_point", origin):
        first, graph = _first(x0)
        _check(f, tolerance=tolerance)
        with graph.placed(origin, None):
            body, used = part_of(graph, "fixed_point", f, x0, first)
            tol = _tolerance(tolerance, first)

            def step(carry: list[list[Tensor]]) -> list[list[Tensor]]:
                here: Graph = OPEN.body
                return [carry[1], inlined(body, here, [*carry[1], *(here.admit(t, "fixed_point") for t in used)])]

            start = [first, inlined(body, graph, [*first, *used])]
            _, last = while_loop(lambda c: _moves(c[0], c[1], tol), step, start, max_steps)

            def backward(cotangents: list[Any], inputs: list[Tensor], outputs: list[Tensor]) -> Sequence[Any]:
                here = outputs[0].graph.open
                w = _summed(here, body, outputs, inputs, cotangents, tol, max_steps)
                return _by_used(here, body, outputs, inputs, w)

            return nest.like(x0, own_gradient(last, used, backward) if used else last)


def root(f: Callable[[Tensor], Tensor], x0: Tensor, *, tolerance: float | None = None, max_steps: Size = 50) -> Tensor:
    """``x`` with ``f(x) = 0``, by Newton's method from ``x0`` on: ``x = x - J^-1 f(x)``, with the Jacobian matrix J.

    ``f`` takes a float tensor of known sizes and returns one of the same type; all else is as in `fixed_point`. The
    derivative solves one system with the transpose of J at the solution.

    Raises ShapeError or DTypeError where ``f`` does not fit, or ``x0`` is no float tensor.

    >>> import numpy as np
    >>> import graphc as gx
    >>> g = gx.Graph("root", float_dtype="float64")
    >>> a = g.input("a", (2,))
    >>> x = gx.root(lambda x: x**3 - a, a)
    >>> f = gx.compile([a], [x, gx.grad(gx.sum(x), a)])
    >>> [v.round(6).tolist() for v in f(np.array([8.0, 27.0]))]
    [[2.0, 3.0], [0.083333, 0.037037]]
    """
    origin = caller()
    with located("root", origin):
        first, graph = _first(x0)
        if len(first) != 1 or not isinstance(x0, Tensor):
            raise GradientError(f"x0 must be one tensor, found {found(x0)}")
        _check(f, tolerance=tolerance)
        with graph.placed(origin, None):
            body, used = part_of(graph, "root", f, x0, first)
            tol = _tolerance(tolerance, first)

            def matrix(here: Graph, x: Tensor, held: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
                (y,) = inlined(body, here, [x, *held])
                slopes = jacobian(y, x)
                return y, reshape(slopes, (y.size, x.size))

            def step(carry: list[Tensor]) -> list[Tensor]:
                here: Graph = OPEN.body
                y, slopes = matrix(here, carry[1], [here.admit(t, "root") for t in used])
                return [carry[1], carry[1] - reshape(solve(slopes, ravel(y)), y.shape)]

            x = first[0]
            y, slopes = matrix(graph, x + 0.0, used)
            start = [x, x - reshape(solve(slopes, ravel(y)), y.shape)]
            _, last = while_loop(lambda c: _moves(c[:1], c[1:], tol), step, start, max_steps)

            def backward(cotangents: list[Any], inputs: list[Tensor], outputs: list[Tensor]) -> Sequence[Any]:
                here = outputs[0].graph.open
                _, slopes = matrix(here, outputs[0], inputs)
                w = reshape(solve(slopes.T, ravel(cotangents[0])), outputs[0].shape)
                return _by_used(here, body, outputs, inputs, [-w])

            return own_gradient([last], used, backward)[0] if used else last


def _first(x0: Any) -> tuple[list[Tensor], Graph]:
    leaves = nest.leaves(x0)
    if not leaves or not all(isinstance(t, Tensor) and is_float(t.dtype) for t in leaves):
        raise DTypeError(f"x0 must be a float tensor, or a list, tuple or dict of them, found {found(x0)}")
    graph = graph_of(leaves).open
    return [graph.admit(t, "x0") for t in leaves], graph


def _check(f: Any, **numbers: Any) -> None:
    need_functions(DTypeError, f=f)
    for name, value in numbers.items():
        if value is not None and (isinstance(value, bool) or not isinstance(value, (int, float, np.number))):
            raise DTypeError(f"{name} must be a number, found {found(value)}")


def _tolerance(given: float | None, first: Sequence[Tensor]) -> float:
    return max(TOLERANCE[t.dtype.name] for t in first) if given is None else float(given)


def _moves(before: Sequence[Tensor], now: Sequence[Tensor], tolerance: float) -> Tensor:
    """Whether a step has moved any tensor by more than the tolerance."""
    apart = [max_(abs_(b - a)) > tolerance * (1.0 + max_(abs_(b))) for a, b in zip(before, now, strict=True)]
    out = apart[0]
    for more in apart[1:]:
        out = out | more
    return out


def _summed(
    here: Graph,
    body: Body,
    x: Sequence[Tensor],
    used: Sequence[Tensor],
    given: Sequence[Tensor],
    tolerance: float,
    max_steps: Size,
    transposed: bool = True,
) -> list[Tensor]:
    """``w = given + J^T w``, or ``J w``, by steps of that kind, with the Jacobian matrix J of a body at ``x``.

    Its derivative by what is given is the other one of the two, so none of the steps is kept here either.
    """

    def step(carry: list[list[Tensor]]) -> list[list[Tensor]]:
        inner: Graph = OPEN.body
        at, more = ([inner.admit(t, "fixed_point") for t in some] for some in ([*x, *used], given))
        made = inlined(body, inner, at)
        moved = _pulled(inner, made, at[: len(x)], carry[1]) if transposed else push(made, at[: len(x)], carry[1])
        return [carry[1], [g if m is None else g + m for g, m in zip(more, moved, strict=True)]]

    zero = [filled(here, 0, t.shape, t.dtype) for t in given]
    _, w = while_loop(lambda c: _moves(c[0], c[1], tolerance), step, [zero, list(given)], max_steps)

    def backward(cotangents: list[Any], inputs: list[Tensor], outputs: list[Tensor]) -> Sequence[Any]:
        here, n = outputs[0].graph.open, len(outputs)
        x, used = inputs[n : 2 * n], inputs[2 * n :]
        z = _summed(here, body, x, used, cotangents, tolerance, max_steps, not transposed)
        left, right = (outputs, z) if transposed else (z, outputs)  # of left^T J right, which x and used decide
        wrt = [*x, *(t for t in used if is_float(t.dtype))]
        pulled = _pulled(here, inlined(body, here, inputs[n:]), [*wrt, *left], left)[:n]
        pairs = [(p, r) for p, r in zip(pulled, right, strict=True) if p is not None]
        found = iter(_pulled(here, [p for p, _ in pairs], [*wrt, *left, *right], [r for _, r in pairs]))
        return [*z, *(next(found) for _ in x), *(next(found) if is_float(t.dtype) else None for t in used)]

    return own_gradient(w, [*given, *x, *used], backward)


def _pulled(
    graph: Graph, outputs: Sequence[Tensor], wrt: Sequence[Tensor], seeds: Sequence[Tensor]
) -> list[Tensor | None]:
    """Cotangents of ``wrt``, all of which are given: none is made of another."""
    return accumulate(graph, outputs, wrt, seeds, within=True)


def _by_used(
    here: Graph, body: Body, outputs: Sequence[Tensor], inputs: Sequence[Tensor], w: Sequence[Tensor]
) -> list[Tensor | None]:
    """The cotangents of what a body uses, where those of its outputs are ``w``."""
    made = inlined(body, here, [*outputs, *inputs])
    floats = [t for t in inputs if is_float(t.dtype)]
    back = iter(_pulled(here, made, [*outputs, *floats], w)[len(outputs) :])
    return [next(back) if is_float(t.dtype) else None for t in inputs]


# ---- differential equations

Slope = Callable[[Sequence[Tensor], Tensor], list[Tensor]]

# Dormand and Prince, A family of embedded Runge-Kutta formulae (Journal of Computational and Applied Mathematics, 1980)
NODES = (0.0, 1 / 5, 3 / 10, 4 / 5, 8 / 9, 1.0, 1.0)
STAGES: tuple[tuple[float, ...], ...] = (
    (),
    (1 / 5,),
    (3 / 40, 9 / 40),
    (44 / 45, -56 / 15, 32 / 9),
    (19372 / 6561, -25360 / 2187, 64448 / 6561, -212 / 729),
    (9017 / 3168, -355 / 33, 46732 / 5247, 49 / 176, -5103 / 18656),
    (35 / 384, 0.0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84),
)
ERROR = (71 / 57600, 0.0, -71 / 16695, 71 / 1920, -17253 / 339200, 22 / 525, -1 / 40)


def odeint(
    f: Callable[[Any, Tensor], Any],
    y0: Any,
    ts: Any,
    *,
    method: str = "rk4",
    steps: int = 1,
    rtol: float = 1e-6,
    atol: float = 1e-8,
    max_steps: Size = MOST,
    adjoint: str = "discrete",
) -> Any:
    """``y`` at the times ``ts``, with ``dy/dt = f(y, t)`` and ``y0`` at the first of them.

    f       takes ``y``, a float tensor or a list, tuple or dict of them, and a scalar time, and returns the like of
            ``y``. It may use other tensors, to which gradients go
    ts      a float vector of times in order, up or down: a tensor or array
    method  "rk4" makes ``steps`` steps of the classical method of fourth order between two times; "dopri5" chooses
            steps so that the error of each is below ``atol + rtol * |y|`` (Dormand and Prince 1980), and a call raises
            NumericalError where more than ``max_steps`` are needed between two times

    adjoint "discrete" differentiates the steps that are made, and keeps what each begins with. "continuous" keeps ``y``
            at ``ts`` alone: gradients solve the adjoint equation from each of these times to the one before, by the
            same method (Chen et al., *Neural Ordinary Differential Equations*, 2018), so they are as exact as its
            steps. Forward mode takes "rk4" there

    Results lead with time. Derivatives go to any order.

    >>> import numpy as np
    >>> import graphc as gx
    >>> g = gx.Graph("decay", float_dtype="float64")
    >>> k = g.input("k")
    >>> y = gx.odeint(lambda y, t: -k * y, gx.exp(0.0 * k), np.array([0.0, 0.5, 1.0]), steps=8)
    >>> f = gx.compile([k], [y[-1], gx.grad(y[-1], k)])
    >>> [round(float(v), 5) for v in f(np.array(1.0))]
    [0.36788, -0.36788]
    """
    origin = caller()
    with located("odeint", origin):
        if not isinstance(method, str) or method not in ("rk4", "dopri5"):
            raise GradientError(f'method must be "rk4" or "dopri5", found {method!r}')
        if not isinstance(adjoint, str) or adjoint not in ("discrete", "continuous"):
            raise GradientError(f'adjoint must be "discrete" or "continuous", found {adjoint!r}')
        _check(f, rtol=rtol, atol=atol)
        if type(steps) is not int or steps < 1:
            raise ShapeError(f"steps must be an int of at least 1, found {found(steps)}")
        first, graph = _first(y0)
        times = graph.admit(tensor(ts, graph, None if isinstance(ts, Tensor) else first[0].dtype), "ts")
        if times.ndim != 1 or not is_float(times.dtype):
            raise ShapeError(f"ts must be a vector of floats, found {times.type}")

        def slope(y: Sequence[Tensor], t: Tensor) -> list[Tensor]:
            return [graph_of([leaf]).open.admit(leaf, "odeint") for leaf in nest.leaves(f(nest.like(y0, y), t))]

        way = _Way(method, steps, rtol, atol, max_steps)
        with graph.placed(origin, None):
            if adjoint == "continuous":
                return nest.like(y0, _by_adjoint(graph, f, y0, first, times, way))
            return nest.like(y0, _solution(slope, first, times, way))


class _Way(NamedTuple):
    """How a differential equation is solved: what `odeint` is told."""

    method: str
    steps: int
    rtol: float
    atol: float
    max_steps: Size

    def between(self, slope: Slope, y: list[Tensor], begin: Tensor, end: Tensor) -> list[Tensor]:
        """From one time to another."""
        if self.method == "dopri5":
            return _adaptive(slope, y, begin, end, self.rtol, self.atol, self.max_steps)
        h = (end - begin) / float(self.steps)
        numbers = begin.graph.open.constant(np.arange(float(self.steps)), begin.dtype)
        return scan(lambda y, k: (_rk4(slope, y, begin + k * h, h), None), y, numbers)[0]  # type: ignore[no-any-return]


def _solution(slope: Slope, first: list[Tensor], times: Tensor, way: _Way) -> list[Tensor]:
    """What is begun with and what follows, at all times."""

    def between(y: list[Tensor], pair: tuple[Tensor, Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        y = way.between(slope, y, *pair)
        return y, y

    _, rows = scan(between, first, (times[:-1], times[1:]))
    return [concat([expand_dims(a, 0), b], 0) for a, b in zip(first, rows, strict=True)]


def _by_adjoint(graph: Graph, f: Any, y0: Any, first: list[Tensor], times: Tensor, way: _Way) -> list[Tensor]:
    """A solution, whose derivatives are solutions of the adjoint equation, from the last time to the first."""
    with tracing(graph, "odeint") as trace:
        time = trace.stand_in(TensorType(times.dtype, ()), times.origin)
        body, used = part_of(graph, "odeint", lambda pair: (f(*pair), pair[1]), (y0, time), [*first, time])
        trace.close(used)
    n = len(first)

    def slopes(y: Sequence[Tensor], t: Tensor, used: Sequence[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """The slope at a time, and what it is made of."""
        here = graph_of([*y, t]).open
        at = [here.admit(v, "odeint") for v in (*y, t, *used)]
        return inlined(body, here, at)[:n], at

    y = _solution(lambda y, t: slopes(y, t, used)[0], first, times, way)

    def backward(cotangents: list[Any], inputs: list[Tensor], outputs: list[Tensor]) -> Sequence[Any]:
        here, times, used = outputs[0].graph.open, inputs[n], inputs[n + 1 :]
        floats = [t for t in used if is_float(t.dtype)]

        def slope(state: Sequence[Tensor], t: Tensor) -> list[Tensor]:
            y, a = state[:n], state[n : 2 * n]
            made, at = slopes(y, t, used)
            wrt = [*at[:n], *(v for v in at[n + 1 :] if is_float(v.dtype))]
            inner = at[0].graph
            back = _pulled(inner, made, wrt, [inner.admit(v, "odeint") for v in a])
            zeros = [filled(inner, 0, v.shape, v.dtype) for v in wrt]
            return [*made, *(z if g is None else -g for g, z in zip(back, zeros, strict=True))]

        def between(carry: list[list[Tensor]], row: Any) -> tuple[list[list[Tensor]], Tensor]:
            y, arrived, begin, end = row
            a = [v + c for v, c in zip(carry[0], arrived, strict=True)]
            found = way.between(slope, [*y, *a, *carry[1]], begin, end)
            return [found[n : 2 * n], found[2 * n :]], _dot(arrived, slopes(y, begin, used)[0])

        zero = [[filled(here, 0, t.shape, t.dtype) for t in some] for some in (inputs[:n], floats)]
        later = [[t[1:] for t in some] for some in (outputs, cotangents)]
        (a, by_used), by_time = scan(between, zero, (*later, times[1:], times[:-1]), reverse=True)
        begun = -_dot(a, slopes([t[0] for t in outputs], times[0], used)[0])
        found = iter(by_used)
        return [
            *(v + c[0] for v, c in zip(a, cotangents, strict=True)),
            concat([expand_dims(begun, 0), by_time], 0),
            *(next(found) if is_float(t.dtype) else None for t in used),
        ]

    return own_gradient(y, [*first, times, *used], backward)


def _dot(a: Sequence[Tensor], b: Sequence[Tensor]) -> Tensor:
    return sum((sum_(u * v) for u, v in zip(a[1:], b[1:], strict=True)), sum_(a[0] * b[0]))


def _moved(
    y: Sequence[Tensor], h: Tensor, slopes: Sequence[Sequence[Tensor]], weights: Sequence[float]
) -> list[Tensor]:
    """``y + h * (weights . slopes)``."""
    out = []
    for k, t in enumerate(y):
        total: Any = None
        for w, slope in zip(weights, slopes, strict=False):
            if w:
                total = w * slope[k] if total is None else total + w * slope[k]
        out.append(t if total is None else t + h * total)
    return out


def _rk4(slope: Any, y: list[Tensor], t: Tensor, h: Tensor) -> list[Tensor]:
    one = slope(y, t)
    two = slope(_moved(y, h, [one], [0.5]), t + 0.5 * h)
    three = slope(_moved(y, h, [two], [0.5]), t + 0.5 * h)
    four = slope(_moved(y, h, [three], [1.0]), t + h)
    return _moved(y, h, [one, two, three, four], [1 / 6, 1 / 3, 1 / 3, 1 / 6])


def _adaptive(
    slope: Any, y: list[Tensor], begin: Tensor, end: Tensor, rtol: float, atol: float, max_steps: Size
) -> list[Tensor]:
    """From one time to another by steps of which each has an error below what is allowed."""

    def step(carry: tuple[list[Tensor], Tensor, Tensor]) -> tuple[list[Tensor], Tensor, Tensor]:
        y, t, h = carry
        left = end - t
        last = abs_(h) >= abs_(left)
        used = where(last, left, h)
        slopes: list[list[Tensor]] = []
        for node, weights in zip(NODES, STAGES, strict=True):
            now = _moved(y, used, slopes, weights)
            slopes.append(slope(now, t + node * used))
        errors = _moved([0.0 * v for v in y], used, slopes, ERROR)
        worst: Any = None
        for e, a, b in zip(errors, y, now, strict=True):
            part = max_(abs_(e) / (atol + rtol * maximum(abs_(a), abs_(b))))
            worst = part if worst is None else maximum(worst, part)
        fine = worst <= 1.0
        grown = used * clip(0.9 * maximum(worst, 1e-10) ** -0.2, 0.2, 5.0)
        arrived = where(last, end, t + used)
        moved = [where(fine, b, a) for a, b in zip(y, now, strict=True)]
        return moved, where(fine, arrived, t), where(logical_and(fine, last), h, grown)

    start = (y, begin, (end - begin) * 0.1)
    done: list[Tensor] = while_loop(lambda c: abs_(end - c[1]) > 0.0, step, start, max_steps)[0]
    return done


__all__ = ["fixed_point", "odeint", "root"]
