"""The gradient audit: derivatives beside differences of values, each mode beside the other, and each dtype.

Values are computed by the NumPy interpreter in extended precision where NumPy has a function in it, in float64
elsewhere; differences are central, of sixth order, at two steps. Nothing stays in the graph.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from graphc.derive.forward import push
from graphc.derive.reverse import accumulate, differentiable, has_rule
from graphc.errors import GradientError, GraphcError, InputError, caller
from graphc.ir.arrays import Array
from graphc.ir.graph import Graph, located, topological
from graphc.ir.node import Node
from graphc.ir.op import Kind
from graphc.ir.tensor import Tensor
from graphc.ir.trace import Trace, tracing
from graphc.ir.types import is_float
from graphc.look.inspection import fed
from graphc.ops.signature import found as describe
from graphc.reference import bind_sizes, evaluate, run_control, run_wide
from graphc.run.binding import convert

WEIGHTS = np.array([45, -9, 1]) / 60  # of differences at one, two and three steps
STEP = 2.0**-8
DIRECTIONS = 2  # random ones for each tensor
ELEMENTS = 6  # of each tensor that are looked at alone
DEEPEST = 400  # nodes that are searched for a fault
TOLERANCE = 1e-7  # relative, of derivatives beside differences
ROUNDING = {"float32": 3e-4, "float64": 1e-8}  # relative to the largest element, of a dtype beside extended precision


@dataclass(frozen=True, slots=True)
class Row:
    """One comparison: ``found`` by the graph, ``expected`` by other means, and how far apart they may be."""

    check: str
    of: str
    found: float
    expected: float
    tolerance: float
    ok: bool
    note: str = ""


@dataclass(slots=True)
class Report:
    """What `check_gradients` found. True where all agree; it prints as a table.

    rows    all comparisons
    faults  where a derivative is wrong: for each wrong row the first node whose own derivative is, and its line
    notes   what is no fault but worth knowing: kinks near the point, NaN at zeros or at ties
    """

    rows: list[Row] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def __bool__(self) -> bool:
        return all(row.ok for row in self.rows)

    def __str__(self) -> str:
        bad = [row for row in self.rows if not row.ok]
        lines = [f"{len(self.rows)} comparisons, {f'{len(bad)} DISAGREE' if bad else 'all agree'}"]
        wide = max([len(row.of) for row in self.rows], default=0)
        for row in self.rows:
            values = f"{row.found:< 14.8g} {row.expected:< 14.8g}"
            lines.append(
                f"  {'ok   ' if row.ok else 'WRONG'} {row.check:<9} {row.of:<{wide}}  {values} {row.note}".rstrip()
            )
        return "\n".join([*lines, *(f"fault: {f}" for f in self.faults), *(f"note: {n}" for n in self.notes)])

    __repr__ = __str__


def check_gradients(
    y: Tensor, wrt: Any, feeds: Mapping[Any, Any], *, order: int = 2, rtol: float | None = None
) -> Report:
    """The derivatives of ``y`` at a point, compared with all that they can be compared with.

    y      a float tensor of any shape; random weights make a scalar of it
    wrt    a float tensor, leaf or inner, or a list or dict of them
    feeds  arrays for inputs, by name or by tensor; state has its present value
    order  1 leaves out second derivatives
    rtol   how far derivatives and differences may be apart, relative to the larger (1e-7)

    The report is true where all agree, and prints as a table. It compares reverse mode with differences of values, in
    random directions and for some elements alone, forward mode with reverse mode, second derivatives with differences
    of first ones, and the graph's dtypes with extended precision. Of what is wrong it names the node and your line. It
    notes kinks near the point, and derivatives that are NaN where all elements are 0, or all are equal.

    Raises InputError and its kinds where an input is missing or does not fit, GradientError as `grad` does.

    >>> import graphc as gx
    >>> g = gx.Graph("line", float_dtype="float64")
    >>> x = g.input("x", (2,))
    >>> bool(gx.check_gradients(gx.sum(gx.sin(x) ** 2), x, {"x": [0.5, 2.0]}))
    True
    >>> wrong = gx.custom_gradient(gx.sin, lambda c, xs, ys: [c[0] * gx.sin(xs[0])])
    >>> bool(gx.check_gradients(gx.sum(wrong(x)), x, {"x": [0.5, 2.0]}))
    False
    """
    with located("check_gradients", caller()):
        if type(order) is not int or order not in (1, 2):
            raise InputError(f"order must be 1 or 2, found {order!r}")
        if not isinstance(feeds, Mapping):
            raise InputError(f"feeds must be a dict, input -> array, found {describe(feeds)}")
        if rtol is not None and (isinstance(rtol, bool) or not isinstance(rtol, (int, float, np.number))):
            raise InputError(f"rtol must be a number or None, found {describe(rtol)}")
        if not isinstance(y, Tensor):
            raise GradientError(f"y must be one tensor, found {describe(y)}")
        (y,), targets, _ = differentiable(y, wrt)
        graph = y.graph
        arguments = {fed(graph, key): value for key, value in feeds.items()}
        arrays = {name: convert(graph[name], np.asarray(value)) for name, value in arguments.items()}
        point = _Point.of(graph, arrays)
        audit = _Audit(graph, y, targets, point, TOLERANCE if rtol is None else rtol)
        with tracing(graph, "check_gradients") as audit.trace:
            audit.first()
            if order > 1:
                audit.second()
            audit.edges()
            audit.trace.close()
        return audit.report


@dataclass(slots=True)
class _Point:
    """Where derivatives are taken: wide values of leaves, and the numbers that sizes are."""

    graph: Graph
    narrow: dict[str, Array]
    leaves: dict[int, Array]
    sizes: dict[str, int]

    @staticmethod
    def of(graph: Graph, arrays: dict[str, Array]) -> _Point:
        fed = [graph[name] for name in arrays]
        sizes = bind_sizes(fed, [a.shape for a in arrays.values()])
        return _Point(graph, arrays, {graph[name].id: _wide(a) for name, a in arrays.items()}, sizes)

    def values(self, roots: Iterable[int], given: Mapping[int, Array]) -> dict[int, Array]:
        """What nodes need to compute ``roots``, wide, from values that are given."""
        held = {**self.leaves, **given}
        needed, stack = set[int](), list(roots)
        while stack:
            i = stack.pop()
            if i not in needed:
                needed.add(i)
                stack += () if i in held else self.graph.nodes[i].inputs
        out, results = dict[int, Array](), dict[int, list[Any]]()
        with np.errstate(all="ignore"):
            for i in sorted(needed):
                node = self.graph.nodes[i]
                if node.op.kind is Kind.CONTROL:  # in its own dtype
                    read = {n.attrs["index"] for n in map(self.graph.nodes.__getitem__, needed) if i in n.inputs}
                    operands = [np.asarray(out[k], self.graph.nodes[k].type.dtype) for k in node.inputs]
                    results[i] = run_control(self.graph, node, operands, self.sizes, read)
                elif node.op.kind is Kind.RESULT and i not in held:
                    out[i] = _wide(np.asarray(results[node.inputs[0]][node.attrs["index"]]))
                else:
                    out[i] = held[i] if i in held else self._value(node, out)
        return out

    def _value(self, node: Node, values: Mapping[int, Array]) -> Array:
        if node.op.kind is not Kind.LEAF:
            return run_wide(self.graph, node, [values[i] for i in node.inputs], self.sizes)
        if node.op.name == "input":
            raise InputError(f"no value for input {node.name!r}", node=node.name)
        value = self.graph.state.get(node.name, node.value)
        assert value is not None
        return _wide(value)


def _wide(value: Array) -> Array:
    return value.astype(np.longdouble) if is_float(value.dtype) else value


@dataclass(slots=True)
class _Slope:
    """A derivative by differences, and what is known of its error; ``kink`` where both sides differ."""

    value: float
    error: float
    kink: bool


@dataclass(slots=True)
class _Audit:
    graph: Graph
    y: Tensor
    wrt: list[Tensor]
    point: _Point
    rtol: float
    report: Report = field(default_factory=Report)
    trace: Trace = field(init=False)
    rng: np.random.Generator = field(default_factory=lambda: np.random.default_rng(0))

    def first(self) -> None:
        """Reverse mode beside differences and beside forward mode, and in the dtypes of the graph."""
        base = self.point.values([self.y.id, *(t.id for t in self.wrt)], {})
        weight = _weight(self.rng, self.y, base[self.y.id])
        seed = self._held(self.y, weight)
        slopes = accumulate(self.graph, [self.y], self.wrt, [seed])
        wide = self.point.values([s.id for s in slopes if s is not None], {})
        for t, slope in zip(self.wrt, slopes, strict=True):
            x = base[t.id]
            gradient = np.zeros_like(x) if slope is None else wide[slope.id]
            inner = self._between([self.y.id], {t.id})

            def value(moved: Array, t: Tensor = t, base: Any = base, inner: Set[int] = inner) -> Any:
                at = {i: v for i, v in base.items() if i not in inner} | {t.id: moved}
                return np.sum(_wide(weight) * self.point.values([self.y.id], at)[self.y.id])

            rows = [
                self._row("reverse", f"{t.name}{name}", float(np.sum(gradient * v)), _difference(value, x, v))
                for name, v in self._directions(x)
            ]
            if not all(rows):
                self._find(t)
            v = _normal(self.rng, t, x)
            (pushed,) = push([self.y], [t], [self._held(t, v)])
            moved = np.zeros(1) if pushed is None else self.point.values([pushed.id], {})[pushed.id]
            back = _Slope(float(np.sum(gradient * v)), 0.0, False)
            self._row("forward", t.name, float(np.sum(weight * moved)), back, scale=_norm(gradient) * _norm(v))
        self._rounding(base, [s for s in slopes if s is not None], wide)

    def second(self) -> None:
        """Products with the matrix of second derivatives beside differences of gradients."""
        slopes = accumulate(self.graph, [self.y], self.wrt, [self._ones()])
        for t, slope in zip(self.wrt, slopes, strict=True):
            if slope is None:
                continue
            base = self.point.values([slope.id, t.id], {})
            inner, x = self._between([slope.id], {t.id}), base[t.id]
            u, v = _normal(self.rng, t, x), _normal(self.rng, t, x)
            (bend,) = accumulate(self.graph, [slope], [t], [self._held(t, v)])
            found = 0.0
            if bend is not None:
                found = float(np.sum(self.point.values([bend.id], {})[bend.id] * u))

            def value(
                moved: Array, t: Tensor = t, slope: Tensor = slope, base: Any = base, inner: Any = inner, v: Any = v
            ) -> Any:
                at = {i: a for i, a in base.items() if i not in inner} | {t.id: moved}
                return np.sum(self.point.values([slope.id], at)[slope.id] * v)

            self._row("second", t.name, found, _difference(value, x, u))

    def edges(self) -> None:
        """Derivatives that are not numbers at zeros and at ties, where the value is one."""
        for what, at in (("all elements are 0", np.zeros_like), ("all elements are 1", np.ones_like)):
            for t in self.wrt:
                base = self.point.values([self.y.id, t.id], {})
                (slope,) = accumulate(self.graph, [self.y], [t], [self._ones()])
                if slope is None:
                    continue
                inner = self._between([slope.id, self.y.id], {t.id})
                given = {i: a for i, a in base.items() if i not in inner} | {t.id: at(base[t.id])}
                try:
                    values = self.point.values([slope.id, self.y.id], given)
                except (GraphcError, ValueError, ArithmeticError):
                    continue
                if np.isfinite(values[self.y.id]).all() and not np.isfinite(values[slope.id]).all():
                    self.report.notes.append(f"where {what} of {t.name}, its gradient is {self._first_wrong(values)}")

    def _first_wrong(self, values: Mapping[int, Array]) -> str:
        for i in sorted(values):
            node = self.graph.nodes[i]
            if node.inputs and not np.isfinite(values[i]).all() and node.op.kind is not Kind.LEAF:
                kind = "NaN" if np.isnan(values[i]).any() else "infinite"
                of = f"the gradient of {node.forward}" if node.forward else node.name
                return f"{kind}, first in {of}, {node.origin.describe()}"
        return "not finite"

    def _held(self, like: Tensor, value: Array) -> Tensor:
        """A tensor of the type of ``like`` that has a value here."""
        made = self.trace.stand_in(like.type, like.origin)
        self.point.leaves[made.id] = _wide(value)
        self.point.narrow[made.name] = value
        return made

    def _ones(self) -> Tensor:
        return self._held(self.y, np.ones(self.point.values([self.y.id], {})[self.y.id].shape, self.y.dtype))

    # ---- comparisons

    def _directions(self, x: Array) -> Iterator[tuple[str, Array]]:
        """Random ones, and the first axes of some elements."""
        for k in range(DIRECTIONS):
            yield f" along {k + 1}", np.asarray(self.rng.normal(size=x.shape))
        for flat in self.rng.permutation(x.size)[:ELEMENTS]:
            place = tuple(int(k) for k in np.unravel_index(flat, x.shape))
            v = np.zeros(x.shape)
            v[place] = 1
            yield (str(list(place)) if place else ""), v

    def _row(self, check: str, of: str, found: float, expected: _Slope, scale: float = 0.0) -> bool:
        most = max(abs(found), abs(expected.value), scale)
        tolerance = self.rtol * most + 10 * expected.error + 1e-12
        same = not np.isfinite(found) and str(found) == str(expected.value)
        note = ""
        if expected.kink or expected.error > 1e-3 * most:
            note = "a kink is near: differences on both sides differ" if expected.kink else "differences do not settle"
            where = f"there is a kink at {of.split(' along')[0]}, or near"
            if expected.kink and where not in self.report.notes:
                self.report.notes.append(where)
            ok = True
        else:
            ok = bool(same or abs(found - expected.value) <= tolerance)
        self.report.rows.append(Row(check, of, found, expected.value, tolerance, ok, note))
        return ok

    def _rounding(self, base: Mapping[int, Array], slopes: Sequence[Tensor], wide: Mapping[int, Array]) -> None:
        state = {name: self.graph.state[name] for name in self.graph.state}
        asked = [self.y, *slopes]
        names = [self.y.name, *(f"gradient of {t.name}" for t in self.wrt)]
        for t, name, value in zip(
            asked, names, evaluate(asked, self.point.narrow, state, self.point.sizes), strict=False
        ):
            exact = {**wide, **base}[t.id]
            finite = np.isfinite(exact)
            apart = np.abs(np.asarray(value, np.longdouble) - exact)[finite]
            most = float(np.max(np.abs(exact[finite]), initial=0))
            error = float(np.max(apart, initial=0)) / (most or 1.0)
            limit = ROUNDING[t.dtype.name]
            self.report.rows.append(Row(t.dtype.name, name, error, 0.0, limit, error <= limit, "relative error"))

    # ---- where

    def _between(self, roots: Sequence[int], start: Set[int]) -> set[int]:
        """Nodes that depend on ``start``."""
        out = set(start)
        for node in topological(self.graph, list(roots)):
            if any(i in out for i in node.inputs):
                out.add(node.id)
        return out

    def _find(self, t: Tensor) -> None:
        """The first node from ``t`` on whose own derivative is not that of its value."""
        reached, path = {t.id}, list[Node]()
        for node in topological(self.graph, [self.y.id]):
            if any(i in reached and has_rule(self.graph, node, slot) for slot, i in enumerate(node.inputs)):
                reached.add(node.id)
                path.append(node)
        values = self.point.values([node.id for node in path], {})
        for node in sorted(path[:DEEPEST], key=lambda n: n.op.joint is None):  # a user's own first
            text = self._wrong(node, values) if is_float(node.type.dtype) else None
            if text is not None:
                what = f"{node.name} ({_called(node)}), {node.origin.describe()}"
                if not any(fault.startswith(what) for fault in self.report.faults):
                    self.report.faults.append(f"{what}: {text}")
                return
        self.report.faults.append(f"no single node between {t.name} and {self.y.name} is wrong by itself")

    def _wrong(self, node: Node, values: Mapping[int, Array]) -> str | None:
        """What is wrong with the derivative of one node, in words."""
        own = node.op.joint is not None  # then what it is made of lies before its operands
        given = node.inputs[1 + node.attrs["outputs"] :] if own else node.inputs
        operands = [self.graph.tensors[i] for i in dict.fromkeys(given)]
        floats = [o for o in operands if is_float(o.dtype)]
        y, fixed = self.graph.tensors[node.id], {o.id: values[o.id] for o in operands}
        weight = _weight(self.rng, y, values[node.id])
        try:
            back = accumulate(self.graph, [y], floats, [self._held(y, weight)], within=True)
        except GraphcError:
            return None
        for o, slope in zip(floats, back, strict=True):
            if slope is None:
                continue
            x, v = values[o.id], _normal(self.rng, o, values[o.id])

            def value(moved: Array, o: Tensor = o) -> Any:
                return np.sum(weight * self.point.values([node.id], {**fixed, o.id: moved})[node.id])

            expected = _difference(value, x, v)
            found = float(np.sum(self.point.values([slope.id], values)[slope.id] * v))
            most = max(abs(found), abs(expected.value), 1e-6)
            if not expected.kink and abs(found - expected.value) > 1e-6 * most + 10 * expected.error:
                return (
                    f"its derivative by {o.name} is {found:.6g} in one direction, differences give {expected.value:.6g}"
                )
        return None


def _weight(rng: np.random.Generator, t: Tensor, value: Array) -> Array:
    return np.asarray(np.ones(()) if t.ndim == 0 else rng.uniform(0.5, 1.5, value.shape), t.dtype)


def _normal(rng: np.random.Generator, t: Tensor, x: Array) -> Array:
    return np.asarray(rng.normal(size=x.shape), t.dtype)


def _called(node: Node) -> str:
    return node.op.name if node.composition is None else f"{node.op.name} in {node.composition.function}"


def _size(x: Array) -> float:
    """How large elements are, as a measure of steps."""
    finite = np.abs(x[np.isfinite(x)])
    return float(np.clip(np.median(finite), 1e-3, 1e3)) if finite.size else 1.0


def _norm(x: Array) -> float:
    return float(np.sqrt(np.sum(np.square(np.abs(x), dtype=np.float64))))


def _difference(value: Callable[[Array], Any], x: Array, v: Array) -> _Slope:
    """The derivative of ``value`` at ``x`` along ``v``, by central differences where two steps agree best."""

    def at(step: float) -> Any:
        return value(x + step * _wide(v))

    size, here = _size(x), at(0.0)
    slope, error, last = np.nan, np.inf, np.nan
    for k in range(6):
        h = STEP * size / 4.0**k
        found = float(sum(w * (at(n * h) - at(-n * h)) for n, w in enumerate(WEIGHTS, 1)) / h)
        if abs(found - last) < error:
            slope, error = found, abs(found - last)
        if error <= 1e-11 * abs(found):
            break
        last = found
    h = STEP * size / 4.0**6
    left, right = float((here - at(-h)) / h), float((at(h) - here) / h)
    most = max(abs(left), abs(right))
    return _Slope(slope, error, bool(abs(left - right) > 0.05 * most > 1e-7))


__all__ = ["Report", "Row", "check_gradients"]
