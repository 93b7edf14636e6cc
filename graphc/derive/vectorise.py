"""vmap: a function of one example as a function of many, by one rule for each kind of op.

The function is called once, with stand-ins for one example. What it makes of them is then built again with a new first
axis of examples; what depends on none of them is kept as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import wraps
from typing import Any

from graphc.derive.diagonal import Diagonal, through
from graphc.derive.flow import flow
from graphc.errors import DTypeError, ShapeError, UnsupportedOpError, caller
from graphc.ir import dims
from graphc.ir.body import bodies
from graphc.ir.call import Call
from graphc.ir.dims import Size
from graphc.ir.graph import Graph, located
from graphc.ir.node import Node
from graphc.ir.op import Attrs, Kind, indexed, lookup
from graphc.ir.tensor import Tensor
from graphc.ir.trace import Trace, tracing
from graphc.ir.types import TensorType, normalize_axis
from graphc.ops.apply import graph_of
from graphc.ops.elementwise import add, checked_index, multiply, where
from graphc.ops.gradient import after
from graphc.ops.linalg import matmul
from graphc.ops.nest import flat
from graphc.ops.reduce import any as any_
from graphc.ops.shape import broadcast_to, iota, matrix_transpose, moveaxis, permute_dims, reshape
from graphc.ops.signature import found


def vmap(fn: Callable[..., Any], in_axes: Any = 0, out_axes: Any = 0) -> Callable[..., Any]:
    """A function that does for every example along an axis what ``fn`` does for one.

    fn        a function of tensors, or of lists, tuples and dicts of them, that returns the same. It is called once,
              with tensors that lack the axis; what else it uses is the same for all examples
    in_axes   the axis of examples of each argument: an int for all, or one for each argument, None for what all
              examples share. For an argument that is a list, tuple or dict, an int stands for all in it, or a
              structure of its own says more
    out_axes  where the axis of examples is put in the results, in the same way

    The new axis has the size that the mapped arguments agree on, symbolic or not. Nests, and goes through every op:
    derivatives inside are those of each example, so per-example gradients are ``vmap`` of ``grad``. Random functions
    inside draw other numbers for each example.

    Calling the result raises ShapeError where an axis does not exist or sizes differ, GraphError for arguments or
    results that are no tensors, UnsupportedOpError where a random key has an axis of examples.

    >>> import numpy as np
    >>> import graphc as gx
    >>> g = gx.Graph("rows", float_dtype="float64")
    >>> x, w = g.input("x", ("n", 2)), g.parameter("w", [1.0, 10.0])
    >>> slopes = gx.vmap(lambda row: gx.grad(gx.tanh(row @ w) ** 2, w))(x)
    >>> slopes.shape
    (n, 2)
    """

    @wraps(fn)
    def mapped(*args: Any) -> Any:
        origin = caller()
        with located("vmap", origin):
            tensors, pack = flat("the arguments of vmap", args)
            graph = graph_of(tensors).open
            tensors = [graph.admit(t, "vmap") for t in tensors]
            axes = _axes("in_axes", in_axes, args)
            with graph.placed(origin, None):
                rows, size = _rows(tensors, axes)
            with tracing(graph, "vmap") as trace:
                given: dict[int, Tensor] = {}
                for k, t in enumerate(tensors):
                    if rows[k] is not None:
                        one = trace.stand_in(TensorType(t.dtype, rows[k].shape[1:]), t.origin)
                        given[one.id], tensors[k] = rows[k], one
                result = fn(*pack(tensors))
                outputs, pack_results = flat("what the function returns", result)
                for t in outputs:
                    if t.graph is not graph:
                        raise ShapeError(f"{t.name} is of another graph, {t.graph.name!r}", node=t.name)
                places = _axes("out_axes", out_axes, result)
                made = Examples(graph, size).through(trace, given, outputs)
            out = []
            with graph.placed(origin, None):
                for t, found, place in zip(outputs, made, places, strict=True):
                    out.append(_placed(t, found, place, size))
            return pack_results(out)

    return mapped


def _axes(what: str, axes: Any, value: Any) -> list[int | None]:
    """The axis of each tensor of ``value``; a number or None stands for all tensors in its place."""
    if value is None:
        return []
    whole = axes is None or (isinstance(axes, int) and not isinstance(axes, bool))
    if isinstance(value, Tensor):
        if not whole:
            raise DTypeError(f"{what} must be an int or None for the tensor {value.name}, found {found(axes)}")
        return [axes]
    if whole:
        axes = dict.fromkeys(value, axes) if isinstance(value, Mapping) else [axes] * len(value)
    if isinstance(value, Mapping):
        if isinstance(axes, Mapping) and set(axes) == set(value):
            return [a for k, v in value.items() for a in _axes(what, axes[k], v)]
        raise ShapeError(f"{what} must be an int, None or a dict of {', '.join(map(repr, value))}, found {found(axes)}")
    if not isinstance(axes, (list, tuple)) or len(axes) != len(value):
        raise ShapeError(f"{what} must be an int, None or a list of {len(value)}, found {found(axes)}")
    return [a for x, v in zip(axes, value, strict=True) for a in _axes(what, x, v)]


def _rows(tensors: Sequence[Tensor], axes: Sequence[int | None]) -> tuple[list[Any], Size]:
    """Each mapped tensor with its examples along the first axis (None for others), and how many there are."""
    sizes = []
    for t, axis in zip(tensors, axes, strict=True):
        if axis is not None:
            sizes.append((t, t.shape[normalize_axis(axis, t.ndim, f"vmap: {t.name}")]))
    if not sizes:
        raise ShapeError("at least one argument must have an axis of examples; in_axes is None for all")
    size = next((s for _, s in sizes if isinstance(s, int)), sizes[0][1])
    for t, s in sizes:
        if isinstance(s, int) and isinstance(size, int) and s != size:
            raise ShapeError(f"the number of examples differs: {size} and {s} in {t.name}: {t.type}", node=t.name)
    out: list[Any] = []
    for t, axis in zip(tensors, axes, strict=True):
        front = None if axis is None else moveaxis(t, axis, 0)
        out.append(None if front is None else reshape(front, (size, *front.shape[1:])))
    return out, size


def _placed(one: Tensor, many: Tensor | None, place: int | None, size: Size) -> Tensor:
    """A result with its examples along the axis that ``out_axes`` says."""
    if place is None:
        if many is not None:
            raise ShapeError(f"out_axes is None for {one.name}, which differs between examples", node=one.name)
        return one
    axis = normalize_axis(place, one.ndim + 1, "vmap: out_axes")
    return moveaxis(broadcast_to(one, (size, *one.shape)) if many is None else many, 0, axis)


# ---- the walk


Results = Callable[[int], tuple[Tensor, bool]]  # of a loop or branch, by number: one, and whether examples differ


@dataclass(slots=True)
class Examples:
    """``size`` examples of what is traced for one.

    ``taken`` says which of them take it, where some may not: what the others compute is not read, so it must not fail.
    """

    graph: Graph
    size: Size
    taken: Tensor | None = None
    calls: dict[Call, Call] = field(default_factory=dict)  # what nodes were made together are so again
    wide: dict[Tensor, Tensor] = field(default_factory=dict)  # what is the same for all, for all
    kept: dict[Any, Any] = field(default_factory=dict)  # of rules
    results: dict[int, Results] = field(default_factory=dict)  # of loops and branches

    def through(
        self, trace: Trace, given: Mapping[int, Tensor | Diagonal], outputs: Sequence[Tensor]
    ) -> list[Tensor | None]:
        """``outputs`` of a trace for all examples, ``given`` its stand-ins; None for what all examples share.

        The trace is closed: what was made for one example is taken out.
        """
        found = self.operands(trace, given, outputs)
        return [many if one is t else self.all(one, many) for t, (one, many) in zip(outputs, found, strict=True)]

    def operands(
        self, trace: Trace, given: Mapping[int, Tensor | Diagonal], outputs: Sequence[Tensor]
    ) -> list[Operand]:
        """As `through`, each with what stands for one example: that is made anew where it waits for all of them."""
        graph = self.graph
        dropouts = {y: x for y, x in graph.dropouts.items() if y >= trace.mark}
        apart = set() if self.taken is None else {node.id for node in trace.nodes if _may_fail(node)}
        differs = flow(trace.nodes, {*given, *apart}, random=True, whole=True)
        needed = {t.id for t in outputs} | set(dropouts.values())
        for node in reversed(trace.nodes):
            if node.id in needed:
                needed.update(node.inputs)
        steps = [node for node in trace.nodes if node.id in needed & differs - set(given)]
        ones = {i: graph.tensors[i] for i in {*needed, *(i for node in steps for i in node.inputs)}}
        named = {node.id for node in steps if not graph.automatic(node.name)}
        results = [t.id for t in outputs]
        trace.close(t for i, t in ones.items() if i not in differs)
        many = {i: t for i, t in given.items() if isinstance(t, Tensor)}
        diagonals = {i: d for i, d in given.items() if isinstance(d, Diagonal)}

        shared: dict[int, Tensor] = {}  # what all examples share, though it waits for something that differs

        def all_of(i: int) -> Tensor | None:
            if i not in many and i in diagonals:
                many[i] = diagonals[i].dense()
            return many.get(i)

        for node in steps:
            call = None if node.call is None else self.calls.setdefault(node.call, node.call.again())
            with graph.placed(node.origin, node.forward, call), located(node.name, node.origin):
                operands = [(shared.get(i, ones[i]), all_of(i)) for i in node.inputs]
                if node.id in apart and "index_check" in node.op.facts:
                    operands = [self.legal(*operands[0])]
                waited = node.id in apart or any(i in shared for i in node.inputs)
                if (one := _same(node, operands, waited)) is not None:
                    shared[node.id] = one
                    continue
                found = self.kept_diagonal(node, [one for one, _ in operands], many, diagonals)
                if isinstance(found, Diagonal):
                    diagonals[node.id] = found
                    continue
                if node.op.kind is Kind.CONTROL:
                    self.results[node.id] = CONTROL[node.op.name](self, node, operands)
                    continue
                if node.op.kind is Kind.RESULT:
                    found, differing = self.results[node.inputs[0]](node.attrs["index"])
                    if not differing:
                        shared[node.id] = found
                        continue
                if found is None:
                    found = self.rule(node, operands)
                made = many[node.id] = reshape(found, (self.size, *node.type.shape))
            if call is not None and node.call is not None and node.name == node.call.name:
                call.name = made.name
            if node.id in named and node.name not in graph:
                many[node.id] = graph.rename(made, node.name)
        for y, x in dropouts.items():
            if y in many:
                graph.dropouts[many[y].id] = self.all(ones[x], many.get(x)).id
        return [(shared.get(i, t), all_of(i)) for i, t in zip(results, outputs, strict=True)]

    def kept_diagonal(
        self, node: Node, ones: Sequence[Tensor], many: Mapping[int, Tensor], diagonals: Mapping[int, Diagonal]
    ) -> Diagonal | Tensor | None:
        given = [diagonals.get(i) for i in node.inputs]
        if not any(given) or any(i in many and i not in diagonals for i in node.inputs):
            return None
        return through(node, ones, given)

    def all(self, one: Tensor, many: Tensor | None, rank: int | None = None) -> Tensor:
        """A tensor for all examples; with axes of size 1 before its own until those are ``rank``."""
        if many is None:
            if one not in self.wide:
                self.wide[one] = broadcast_to(one, (self.size, *one.shape))
            many = self.wide[one]
        missing = 0 if rank is None else rank - one.ndim
        return reshape(many, (self.size, *(1,) * missing, *one.shape)) if missing > 0 else many

    def legal(self, one: Tensor, many: Tensor | None) -> Operand:
        """Indices that are 0 for examples that do not take what is traced."""
        assert self.taken is not None
        if many is None:
            return where(any_(self.taken), one, 0), None
        return one, where(reshape(self.taken, (self.size, *(1,) * one.ndim)), self.all(one, many), 0)

    def number(self, ndim: int) -> Tensor:
        """The number of each example, in a shape that broadcasts with ``ndim`` axes behind."""
        return reshape(iota(self.graph, self.size), (self.size, *(1,) * ndim))

    def rule(self, node: Node, operands: Sequence[Operand]) -> Tensor:
        rule = OWN.get(node.op.name) or RULES.get(node.op.kind)
        if rule is None:
            raise UnsupportedOpError(f"vmap does not go through {node.op.name}")
        return rule(self, node, operands)


def _may_fail(node: Node) -> bool:
    """Whether a node, or one of a body that it holds, tests an index; or makes steps until a test says no."""
    inner = (inside for _, body in bodies(node) for inside in body.graph.nodes)
    return "index_check" in node.op.facts or node.op.name == "while_loop" or any(map(_may_fail, inner))


Operand = tuple[Tensor, Tensor | None]  # for one example, and for all where these differ
Rule = Callable[[Examples, Node, Sequence[Operand]], Tensor]


def _again(node: Node, operands: Sequence[Tensor], **attrs: Any) -> Tensor:
    return operands[0].graph.append(node.op, operands, {**node.attrs, **attrs})


def _same(node: Node, operands: Sequence[Operand], waited: bool) -> Tensor | None:
    """The value of a node that waits for what differs between examples, or is made of such, and does not differ itself.

    None where it does. What waits has the value of its first operand.
    """
    if "waiting" in node.op.facts:
        (first, many), (event, events) = operands
        return None if many is not None else after(first, event if events is None else events)
    own = node.op.kind in (Kind.GENERATOR, Kind.CONTROL, Kind.RESULT)
    if own or not waited or any(many is not None for _, many in operands):
        return None
    return _again(node, [one for one, _ in operands])


def _attributes(node: Node, size: Size) -> Attrs:
    """The attributes of a node whose operands have a new first axis: axes counted one further, sizes with its own.

    All others speak of last axes, or of none.
    """
    out: dict[str, Any] = {}
    for name, value in node.attrs.items():
        if name == "axis":
            value = value + 1
        elif name == "axes":
            value = tuple(a + 1 for a in value)
            value = (0, *value) if node.op.kind is Kind.MOVEMENT else value
        elif name in ("shape", "operand_shape") or (name == "size" and isinstance(value, tuple)):
            value = (size, *value)
        elif name in ("start", "step"):
            value = (0 if name == "start" else 1, *value)
        out[name] = value
    return out


# ---- rules


def _elementwise(at: Examples, node: Node, operands: Sequence[Operand]) -> Tensor:
    rank = node.type.ndim
    given = [one if many is None else at.all(one, many, rank) for one, many in operands]
    if node.op.facts & {"transparent", "waiting"}:  # the value is that of the first operand, which has its whole shape
        given[0] = at.all(*operands[0])
    return _again(node, given)


def _generator(at: Examples, node: Node, operands: Sequence[Operand]) -> Tensor:
    if any(many is not None for _, many in operands):
        raise UnsupportedOpError("a random key cannot differ between examples; draws differ anyway")
    return _again(node, [one for one, _ in operands], **_attributes(node, at.size))


def _one_behind(at: Examples, node: Node, operands: Sequence[Operand]) -> Tensor:
    """Everything one axis further: reductions, movements, assemblies."""
    rank = node.type.ndim if node.op.kind is Kind.MOVEMENT and "shape" in node.attrs else None
    return _again(node, [at.all(*o, rank) for o in operands], **_attributes(node, at.size))


def _contraction(at: Examples, node: Node, operands: Sequence[Operand]) -> Tensor:
    """A batch of products; one product where a matrix meets a vector of each example, none where nothing is summed."""
    (a, many_a), (b, many_b) = operands
    rank = node.type.ndim
    if many_b is None and many_a is not None and a.ndim == 2 == b.ndim and a.shape[0] == 1:
        return matmul(reshape(many_a, (at.size, a.shape[1])), b)
    if many_a is None and many_b is not None and a.ndim == 2 == b.ndim and b.shape[1] == 1:
        return matmul(reshape(many_b, (at.size, b.shape[0])), matrix_transpose(a))
    left, right = (one if many is None else at.all(one, many, rank) for one, many in operands)
    return left * right if a.shape[-1] == 1 == b.shape[-2] else _again(node, [left, right])


def _gather(at: Examples, node: Node, operands: Sequence[Operand]) -> Tensor:
    (x, many_x), *indices = operands
    axes = indexed(node.attrs)
    met = node.type.ndim - (x.ndim - len(axes))  # axes of the indices
    if all(many is None for _, many in indices):
        return _again(node, [at.all(x, many_x), *(one for one, _ in indices)], **_attributes(node, at.size))
    places = [one if many is None else at.all(one, many, met) for one, many in indices]
    if many_x is None:
        return moveaxis(_again(node, [x, *places]), axes[0], 0)
    picked = many_x.graph.append(
        lookup("take_points"), [many_x, at.number(met), *places], {"axes": (0, *(a + 1 for a in axes))}
    )
    before = range(1 + met, 1 + met + axes[0])
    return permute_dims(picked, [0, *before, *range(1, 1 + met), *range(before.stop, picked.ndim)])


def _scatter(at: Examples, node: Node, operands: Sequence[Operand]) -> Tensor:
    *indices, (updates, many) = operands
    axes, rows = indexed(node.attrs), at.all(updates, many)
    if all(many is None for _, many in indices):
        return _again(node, [*(one for one, _ in indices), rows], **_attributes(node, at.size))
    met = updates.ndim - (node.type.ndim - len(axes))
    places = [one if many is None else at.all(one, many, met) for one, many in indices]
    first = axes[0]
    if "axes" in node.attrs:
        middle = range(1 + first, 1 + first + met)
        front = permute_dims(rows, [0, *middle, *range(1, 1 + first), *range(middle.stop, rows.ndim)])
        sizes = (at.size, *node.attrs["sizes"])
        return _again(node, [at.number(met), *places, front], axes=(0, *(a + 1 for a in axes)), sizes=sizes)
    size: Size = node.attrs["size"]
    whole = dims.multiply(at.size, size)
    place = checked_index(add(places[0], multiply(at.number(met), size)), 0, whole, "index")
    wide = _again(node, [place, moveaxis(rows, 0, first)], size=whole)
    shape = (*wide.shape[:first], at.size, size, *wide.shape[first + 1 :])
    return moveaxis(reshape(wide, shape), first, 0)


def _composite(at: Examples, node: Node, operands: Sequence[Operand]) -> Tensor:
    """More rows where rows are independent; otherwise what it is made of."""
    rows = node.op.rows
    if rows and all(many is None or along for (_, many), along in zip(operands, rows, strict=True)):
        more = [at.all(*o) if along else o[0] for o, along in zip(operands, rows, strict=True)]
        joined = [
            reshape(t, (dims.multiply(*t.shape[:2]), *t.shape[2:])) if along else t
            for t, along in zip(more, rows, strict=True)
        ]
        return _again(node, joined)
    assert node.op.lower is not None
    with tracing(at.graph, node.op.name) as trace:
        given = {}
        inner = [one for one, _ in operands]
        for k, (one, many) in enumerate(operands):
            if many is not None:
                inner[k] = trace.stand_in(one.type, one.origin)
                given[inner[k].id] = many
        made = node.op.lower(node.attrs, *inner)
        (out,) = at.through(trace, given, [made])
    return at.all(made, out)


def _routine(at: Examples, node: Node, operands: Sequence[Operand]) -> Tensor:
    *fixed, (_, many) = operands
    if "columns" in node.op.facts and many is not None and all(m is None for _, m in fixed):
        wide = moveaxis(many, 0, -2)  # columns of all examples side by side
        out = _again(
            node, [*(one for one, _ in fixed), reshape(wide, (*wide.shape[:-2], dims.product(wide.shape[-2:])))]
        )
        return moveaxis(reshape(out, wide.shape), -2, 0)
    return _again(node, [at.all(*o) for o in operands])


RULES: dict[Kind, Rule] = {
    Kind.ELEMENTWISE: _elementwise,
    Kind.GENERATOR: _generator,
    Kind.REDUCTION: _one_behind,
    Kind.MOVEMENT: _one_behind,
    Kind.ASSEMBLY: _one_behind,
    Kind.CONTRACTION: _contraction,
    Kind.GATHER: _gather,
    Kind.SCATTER: _scatter,
    Kind.COMPOSITE: _composite,
    Kind.ROUTINE: _routine,
}

OWN: dict[str, Rule] = {}  # of ops that know more than their kind, by name
CONTROL: dict[str, Callable[..., Results]] = {}  # of loops and branches; `control_of_many` fills it

__all__ = ["CONTROL", "OWN", "Examples", "Operand", "Results", "vmap"]
