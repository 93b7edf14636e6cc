"""Reverse accumulation, and nothing else.

The walker knows no mathematics: each op's gradient rules turn the cotangent of its result into those of its operands
(Griewank and Walther, Evaluating Derivatives, 2nd ed., chapter 3). Everything appended is ordinary nodes, so the
result can be differentiated again.

An op that chooses (where, maximum, clip, relu ...) says in ``Op.taken`` which elements of an operand it takes. The
cotangent of the others is 0, and stays 0 whatever the derivatives on the way to the inputs are: infinite and NaN ones
among them. So a cotangent carries its `Choice` through elementwise ops, movements and assemblies, and ``where`` is
applied once, at their end. Past a reduction, a product of matrices or a gather, 0 * inf is NaN.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeVar, overload

from graphc.collector import uncollected
from graphc.errors import GradientError, Origin, ShapeError, caller
from graphc.ir.graph import Graph, located, topological
from graphc.ir.inner import traced
from graphc.ir.node import Node
from graphc.ir.op import Kind
from graphc.ir.tensor import Tensor
from graphc.ir.types import Shape, broadcast_shapes, is_float
from graphc.ops.apply import cast, innermost, tensor, tensor_list
from graphc.ops.elementwise import logical_and, logical_not, logical_or, not_equal, where
from graphc.ops.nest import Pack, flat, matched
from graphc.ops.shape import broadcast_to, filled, sum_to
from graphc.ops.signature import found

Key = TypeVar("Key", bound=Hashable)


@overload
def grad(y: Tensor, wrt: Tensor, *, cotangent: Any = None, on_disconnected: str = "error") -> Tensor: ...
@overload
def grad(
    y: Tensor, wrt: Mapping[Key, Tensor], *, cotangent: Any = None, on_disconnected: str = "error"
) -> dict[Key, Tensor]: ...
@overload
def grad(
    y: Tensor, wrt: Sequence[Tensor], *, cotangent: Any = None, on_disconnected: str = "error"
) -> list[Tensor]: ...


def grad(
    y: Tensor,
    wrt: Tensor | Sequence[Tensor] | Mapping[Key, Tensor],
    *,
    cotangent: Any = None,
    on_disconnected: str = "error",
) -> Tensor | list[Tensor] | dict[Key, Tensor]:
    """The derivative of ``y`` with respect to ``wrt``, as new nodes of the same graph.

    ``y`` is a scalar, or ``cotangent`` (shape of ``y``) weighs its elements. ``wrt`` is a tensor, leaf or inner, or a
    sequence or dict of them; a list comes back for a sequence, a dict of the same keys for a dict. Each result has the
    shape and dtype of its ``wrt``.

    Raises ShapeError where ``y`` is not a scalar and no cotangent is given, GradientError for an integer or bool
    tensor, for an op without a derivative on the way, and for a ``wrt`` that ``y`` does not depend on
    (``on_disconnected="zeros"`` gives zeros instead).

    >>> import graphc as gx
    >>> x = gx.Graph().input("x", (3,), "float64")
    >>> slope = gx.grad(gx.sum(x**2), x)
    >>> slope.shape
    (3,)
    >>> gx.compile([x], slope, backend="numpy")([1, 2, 3]).tolist()
    [2.0, 4.0, 6.0]
    """
    origin = caller()
    with located("grad", origin):
        if not isinstance(y, Tensor):
            raise GradientError(f"y must be one tensor, found {found(y)}; add up what there is more of")
        return _pulled(origin, y, wrt, cotangent, on_disconnected)  # type: ignore[no-any-return]


def vjp(outputs: Any, wrt: Any, cotangents: Any, *, on_disconnected: str = "error") -> Any:
    """The vector-Jacobian product: the derivative by ``wrt`` of the sum of ``outputs`` weighed by ``cotangents``.

    ``outputs`` is a tensor, or a list, tuple or dict of tensors, and ``cotangents`` has its structure: for each output
    a tensor, array or number in its shape. ``wrt``, what comes back and what is raised are as in `grad`.

    Raises what `grad` raises, as a ShapeError where a cotangent does not fit.

    >>> import numpy as np
    >>> import graphc as gx
    >>> g = gx.Graph("pair", float_dtype="float64")
    >>> x = g.input("x", (2,))
    >>> f = gx.compile([x], gx.vjp([x * x, gx.sum(x)], x, [np.array([1.0, 0.0]), 10.0]))
    >>> f(np.array([3.0, 4.0])).tolist()
    [16.0, 10.0]
    """
    origin = caller()
    with located("vjp", origin):
        if cotangents is None:
            raise GradientError("cotangents must be given, found None; gx.grad takes a scalar without")
        return _pulled(origin, outputs, wrt, cotangents, on_disconnected)


def _pulled(origin: Origin, outputs: Any, wrt: Any, cotangents: Any, on_disconnected: str) -> Any:
    """The cotangents of ``wrt``, in its structure."""
    many, targets, pack = differentiable(outputs, wrt, on_disconnected)
    given = [None] * len(many) if cotangents is None else matched("cotangents", cotangents, outputs, "outputs")
    out = []
    with uncollected(), within(many, targets) as (many, targets):
        graph, seeds = many[0].graph, []
        for y, cotangent in zip(many, given, strict=True):
            with graph.placed(origin, y.name):
                seeds.append(_seed(graph, y, cotangent))
        for t, result in zip(targets, accumulate(graph, many, targets, seeds), strict=True):
            if result is None and on_disconnected == "error":
                raise disconnected(many, t)
            with graph.placed(origin, t.name):
                out.append(filled(graph, 0, t.shape, t.dtype) if result is None else result)
            if t.op.name in ("parameter", "variable"):
                graph.gradients.add(out[-1].id)
    return pack(out)


def differentiable(outputs: Any, wrt: Any, on_disconnected: str = "error") -> tuple[list[Tensor], list[Tensor], Pack]:
    """Outputs and what they are differentiated by as lists of float tensors of one graph, and the structure of ``wrt``.

    Raises GradientError where anything is something else.
    """
    many = flat("outputs", outputs, GradientError)[0]
    if isinstance(wrt, (Tensor, Mapping)):
        targets, pack = flat("wrt", wrt, GradientError)
    else:
        targets, pack = tensor_list("wrt", wrt, GradientError), list
    if not many:
        raise GradientError(f"expected at least one output, found {found(outputs)}")
    innermost([*many, *targets])
    if not isinstance(on_disconnected, str) or on_disconnected not in ("error", "zeros"):
        raise GradientError(f'on_disconnected must be "error" or "zeros", found {on_disconnected!r}')
    for t in [*many, *targets]:
        if not is_float(t.dtype):
            raise GradientError(f"{t.name} is {t.type}; only float tensors have derivatives", node=t.name)
    return many, targets, pack


@contextmanager
def within(*tensors: Sequence[Tensor]) -> Iterator[list[list[Tensor]]]:
    """Where all of ``tensors`` can be used: in the graph of a body, if one of them is; they as operands there."""
    graph = innermost([t for some in tensors for t in some])
    with traced(graph):
        yield [[graph.admit(t, "grad") for t in some] for some in tensors]


def disconnected(
    outputs: Sequence[Tensor], t: Tensor, todo: str = '; pass on_disconnected="zeros" for zeros'
) -> GradientError:
    """The error for a tensor that no output depends on."""
    none = outputs[0].name if len(outputs) == 1 else f"none of {', '.join(y.name for y in outputs)}"
    verb = "does not depend" if len(outputs) == 1 else "depends"
    return GradientError(f"{none} {verb} on {t.name}{todo}", node=t.name)


def _seed(graph: Graph, y: Tensor, cotangent: Any) -> Tensor:
    if cotangent is None:
        if y.shape != ():
            raise ShapeError(f"{y.name} is {y.type}, not a scalar; reduce it or pass cotangent=", node=y.name)
        return graph.constant(1.0, y.dtype)
    return like(y, cotangent, "cotangent")


def like(t: Tensor, value: Any, what: str) -> Tensor:
    """A direction in the space of ``t``: a tensor of its shape and dtype. ShapeError where the shape is another."""
    given = cast(tensor(value, t.graph, t.dtype), t.dtype)
    if given.shape != t.shape:
        raise ShapeError(f"the {what} must have the shape of {t.name}, {t.type}, found {given.type}", node=t.name)
    return given


def accumulate(
    graph: Graph, outputs: Sequence[Tensor], wrt: Sequence[Tensor], seeds: Sequence[Tensor], within: bool = False
) -> list[Tensor | None]:
    """The cotangents of ``wrt`` when those of ``outputs`` are ``seeds``; None for what no output depends on.

    ``within`` takes what ``wrt`` is made of as given: nothing flows through one of them to another.
    """
    nodes = topological(graph, [y.id for y in outputs])
    walk = _Walk(graph, {t.id for t in wrt}, *ahead(graph, nodes, wrt, within))
    for y, seed in zip(outputs, seeds, strict=True):
        if y.id in walk.depends:
            held, part = walk.cotangents.get(y.id), Cotangent(seed)
            walk.cotangents[y.id] = part if held is None else walk.sum(held, part, False)
    together = _together(nodes)
    for node in reversed(nodes):
        if within and node.id in walk.wrt:
            continue
        if node.op.joint is not None:
            results = together[node.inputs[1:]]
            if node is results[0] and any(r.id in walk.cotangents for r in results):
                with graph.placed(node.origin, node.forward or node.name):
                    walk.pull_jointly(results)
        elif node.inputs and (node.id in walk.cotangents or node.id in walk.results):
            with graph.placed(node.origin, node.forward or node.name):
                walk.pull(node)
    out: list[Tensor | None] = []
    for t in wrt:
        with graph.placed(t.origin, t.node.forward or t.name):
            out.append(None if t.id not in walk.cotangents else walk.settled(walk.cotangents[t.id]))
    return out


CARRIED = (Kind.ELEMENTWISE, Kind.MOVEMENT, Kind.ASSEMBLY)  # ops that a choice goes through


def _together(nodes: Sequence[Node]) -> dict[tuple[int, ...], list[Node]]:
    """Results of one function that are differentiated together, by their common operands.

    They stand before all that uses one of them, so when the walk comes to the first it knows all cotangents.
    """
    out: dict[tuple[int, ...], list[Node]] = {}
    for node in nodes:
        if node.op.joint is not None:
            out.setdefault(node.inputs[1:], []).append(node)
    return out


class Through(NamedTuple):
    """How derivatives go through a loop or a branch, of which slots and results are numbers.

    reach  (graph, node, operands that depend) -> results that do
    pull   (graph, node, cotangents of results, operands that want one) -> cotangents of operands
    """

    reach: Callable[[Graph, Node, set[int]], set[int]]
    pull: Callable[[Graph, Node, dict[int, Tensor], list[int]], dict[int, Tensor]]


THROUGH: dict[str, Through] = {}  # by op; `derive.control` fills it


def ahead(
    graph: Graph, nodes: Sequence[Node], wrt: Sequence[Tensor], within: bool = False
) -> tuple[set[int], set[int]]:
    """Nodes that depend on ``wrt``, and those on whose way there a derivative may be infinite or NaN."""
    depends, unbounded = {t.id for t in wrt}, set[int]()
    given = set(depends) if within else set[int]()
    reached: dict[int, set[int]] = {}  # loop or branch -> its results that depend
    for node in nodes:
        if node.id in given:
            continue
        if node.op.kind is Kind.RESULT:
            if node.attrs["index"] in reached.get(node.inputs[0], ()) and is_float(node.type.dtype):
                depends.add(node.id)
            continue
        ways = {slot: i for slot, i in enumerate(node.inputs) if i in depends and has_rule(graph, node, slot)}
        if ways and node.op.kind is Kind.CONTROL:
            reached[node.id] = THROUGH[node.op.name].reach(graph, node, set(ways))
        elif ways:
            depends.add(node.id)
            if node.op.kind in CARRIED and (not _linear(node) or any(i in unbounded for i in ways.values())):
                unbounded.add(node.id)
    return depends, unbounded


def has_rule(graph: Graph, node: Node, slot: int) -> bool:
    """Whether the operand in ``slot`` gets a cotangent from ``node``."""
    rules = node.op.gradient
    if isinstance(rules, tuple) and rules and rules[slot] is None:
        return False
    return is_float(graph.nodes[node.inputs[slot]].type.dtype)


def _linear(node: Node) -> bool:
    """True where no derivative of the node can be infinite or NaN."""
    return node.op.kind is not Kind.ELEMENTWISE or "linear" in node.op.facts


@dataclass(frozen=True, slots=True, eq=False)
class Choice:
    """Elements that are taken: where ``condition`` is ``holds``, among those of ``outer``."""

    condition: Tensor
    holds: bool
    outer: Choice | None = None


@dataclass(frozen=True, slots=True)
class Cotangent:
    """``value`` where ``choice`` takes it, 0 elsewhere; the value is 0 there already where it is ``clean``."""

    value: Tensor
    choice: Choice | None = None
    clean: bool = True


@dataclass(slots=True)
class _Walk:
    """One walk from a result to what it is differentiated by."""

    graph: Graph
    wrt: set[int]
    depends: set[int]
    unbounded: set[int]
    cotangents: dict[int, Cotangent] = field(default_factory=dict)
    results: dict[int, dict[int, Tensor]] = field(default_factory=dict)  # of loops and branches, by their numbers
    tests: dict[Choice, tuple[Tensor, bool]] = field(default_factory=dict)
    selected: dict[tuple[int, Choice], Tensor] = field(default_factory=dict)

    def pull(self, node: Node) -> None:
        """Hands the cotangent of ``node`` on to its operands."""
        if node.op.kind is Kind.CONTROL:
            self.through(node)
            return
        given = self.cotangents[node.id]
        if node.id not in self.unbounded:
            given = Cotangent(self.settled(given))
        if node.op.kind is Kind.RESULT:
            held = self.results.setdefault(node.inputs[0], {})
            k, value = node.attrs["index"], self.settled(given)
            held[k] = held[k] + value if k in held else value
            return
        if node.id in self.unbounded and node.id in self.wrt:  # what is asked for is what the rest is made of
            given = Cotangent(self.settled(given), given.choice)
        for slot, i in enumerate(node.inputs):
            if i in self.depends and is_float(self.graph.nodes[i].type.dtype):
                part = self.part(node, slot, given)
                if part is not None:
                    before = self.cotangents.get(i)
                    self.cotangents[i] = part if before is None else self.sum(before, part, i in self.unbounded)

    def through(self, node: Node) -> None:
        """The same of a loop or a branch, whose results have a cotangent each."""
        wanted = [slot for slot, i in enumerate(node.inputs) if i in self.depends and has_rule(self.graph, node, slot)]
        parts = THROUGH[node.op.name].pull(self.graph, node, self.results[node.id], wanted)
        for slot, value in parts.items():
            i = node.inputs[slot]
            held, part = self.cotangents.get(i), Cotangent(value)
            self.cotangents[i] = part if held is None else self.sum(held, part, i in self.unbounded)

    def pull_jointly(self, nodes: Sequence[Node]) -> None:
        """Hands the cotangents of all results of a function on to its operands."""
        held = [self.cotangents.get(node.id) for node in nodes]
        given = [None if c is None else self.settled(c) for c in held]
        joint = nodes[0].op.joint
        assert joint is not None
        if not any(i in self.depends for i in nodes[0].inputs):
            return  # what is asked for is these results themselves
        parts = joint(given, [self.graph.tensors[node.id] for node in nodes])
        for i, part in zip(nodes[0].inputs, parts, strict=True):
            if part is not None and i in self.depends:
                before, now = self.cotangents.get(i), Cotangent(part)
                self.cotangents[i] = now if before is None else self.sum(before, now, i in self.unbounded)

    def part(self, node: Node, slot: int, given: Cotangent) -> Cotangent | None:
        """What the cotangent of ``node`` gives to its operand in ``slot``; None where that is zero by rule."""
        y, operands = self.graph.tensors[node.id], [self.graph.tensors[i] for i in node.inputs]
        value = _rule(node, slot, given.value, y, operands)
        if value is None:
            return None
        choice, clean = given.choice, given.clean
        if choice is not None and node.op.kind is not Kind.ELEMENTWISE:
            moved = _rule(node, slot, self.mask(choice, node.type.shape), y, operands)
            assert moved is not None
            choice = Choice(moved, True)
        clean = clean and (choice is None or _linear(node))
        if node.op.taken and (takes := node.op.taken[slot]) is not None:
            choice, clean = _within(choice, *takes(y, *operands)), False
        found, shape = Cotangent(value, choice, clean), operands[slot].shape
        return found if value.shape == shape else self.summed(found, shape, node.inputs[slot] in self.unbounded)

    def summed(self, c: Cotangent, shape: Shape, carried: bool) -> Cotangent:
        """A cotangent summed back to the shape of what was broadcast: taken where any of its elements is."""
        total = sum_to(self.settled(c), shape)
        if c.choice is None or not carried:
            return Cotangent(total)
        condition, holds = self.test(c.choice)
        if broadcast_shapes(condition.shape, shape) != shape:
            count = sum_to(cast(self.mask(c.choice, c.value.shape), total.dtype), shape)
            condition, holds = not_equal(count, 0), True
        return Cotangent(total, Choice(condition, holds))

    def sum(self, a: Cotangent, b: Cotangent, carried: bool) -> Cotangent:
        """Two cotangents of one tensor, added. Of two sides of one condition each element has the one that is taken."""
        one, other = a.choice, b.choice
        if _same(one, other):
            return Cotangent(a.value + b.value, one, a.clean and b.clean)
        if one is not None and other is not None and _opposite(one, other):
            first, second = (a, b) if one.holds else (b, a)
            return Cotangent(where(one.condition, first.value, second.value), one.outer, one.outer is None)
        total = self.settled(a) + self.settled(b)
        if one is None or other is None or not carried:
            return Cotangent(total)
        return Cotangent(total, Choice(*_either(self.test(one), self.test(other))))

    def settled(self, c: Cotangent) -> Tensor:
        """The value with zeros where nothing is taken."""
        if c.choice is None or c.clean:
            return c.value
        key = c.value.id, c.choice
        if key not in self.selected:
            condition, holds = self.test(c.choice)
            self.selected[key] = where(condition, c.value, 0) if holds else where(condition, 0, c.value)
        return self.selected[key]

    def test(self, choice: Choice) -> tuple[Tensor, bool]:
        """A choice as one condition."""
        chain, outer = list[Choice](), choice
        while outer not in self.tests and outer.outer is not None:
            chain.append(outer)
            outer = outer.outer
        found = self.tests.setdefault(outer, (outer.condition, outer.holds))
        for inner in reversed(chain):
            found = self.tests[inner] = _both(found, (inner.condition, inner.holds))
        return found

    def mask(self, choice: Choice, shape: Shape) -> Tensor:
        """A choice as a tensor of ``shape``, True where it takes."""
        return broadcast_to(_true(self.test(choice)), shape)


def _rule(node: Node, slot: int, g: Tensor, y: Tensor, operands: Sequence[Tensor]) -> Tensor | None:
    rules = node.op.gradient
    if callable(rules):
        return rules(g, y, operands, slot)  # type: ignore[no-any-return]
    if not rules:
        raise GradientError(f"{node.op.name} has no derivative", node=node.name, origin=node.origin)
    rule = rules[slot]
    return None if rule is None else rule(g, y, *operands)


# ---- choices


def _within(outer: Choice | None, condition: Tensor, holds: bool) -> Choice:
    """A choice among those of ``outer``."""
    if outer is not None and outer.condition is condition and outer.holds is holds:
        return outer
    return Choice(condition, holds, outer)


def _same(a: Choice | None, b: Choice | None) -> bool:
    if a is None or b is None:
        return a is b
    return a is b or (a.condition is b.condition and a.holds is b.holds and a.outer is b.outer)


def _opposite(a: Choice, b: Choice) -> bool:
    return a.condition is b.condition and a.holds is not b.holds and a.outer is b.outer


def _true(test: tuple[Tensor, bool]) -> Tensor:
    condition, holds = test
    return condition if holds else logical_not(condition)


def _both(a: tuple[Tensor, bool], b: tuple[Tensor, bool]) -> tuple[Tensor, bool]:
    """Where both tests are met."""
    if a[1] or b[1]:
        return logical_and(_true(a), _true(b)), True
    return logical_or(a[0], b[0]), False


def _either(a: tuple[Tensor, bool], b: tuple[Tensor, bool]) -> tuple[Tensor, bool]:
    """Where one of two tests is met."""
    if a[1] and b[1]:
        return logical_or(a[0], b[0]), True
    return logical_and(_true((a[0], not a[1])), _true((b[0], not b[1]))), False
