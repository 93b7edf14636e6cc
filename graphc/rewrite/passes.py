"""Passes: graph in, graph out. Each is legal to legal, keeps outputs and leaves, and drops what nothing needs."""

from __future__ import annotations

import inspect
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence, Set
from typing import Any

import numpy as np

from graphc.errors import GraphcError
from graphc.ir import dims
from graphc.ir.dims import Size
from graphc.ir.graph import OBSERVER, Graph, copy_node, rebuild, same
from graphc.ir.node import Node
from graphc.ir.op import Kind
from graphc.ir.tensor import Tensor
from graphc.ir.types import Shape
from graphc.ops.apply import cast
from graphc.ops.assembly import concat
from graphc.ops.shape import filled, matrix_transpose, reshape
from graphc.rewrite.bodies import entering
from graphc.rewrite.kept import keep
from graphc.rewrite.outer import gather
from graphc.rewrite.rules import ALGEBRA, COST, RULES, STABILITY, Rule, tests_indices

Pass = Callable[[Graph], Graph]
Stage = Callable[[str, Graph], Any]
SWEEPS = 8  # a rule may make work for another; graphs settle in two or three sweeps
UNFOLDED = (Kind.GENERATOR, Kind.CONTROL, Kind.RESULT)
EITHER_ORDER = ("add", "multiply")  # ops of the same bits in either order; of the larger of 0.0 and -0.0 it may decide
FOLDED = 4096  # elements of the largest constant that folding makes


def canonicalise(graph: Graph) -> Graph:
    """Nodes that change nothing are gone; chains of movements are one; constants stand on the right.

    A product that is only read transposed is that of the transposed operands, so that no copy of it is turned.
    """
    uses = Counter(i for node in graph.nodes for i in set(node.inputs))
    uses.update(t.id for t in graph.outputs)

    def visit(new: Graph, node: Node, operands: tuple[Tensor, ...]) -> Tensor | None:
        if _transposes(node) and operands[0].op.kind is Kind.CONTRACTION and uses[node.inputs[0]] == 1:
            left, right = (matrix_transpose(t) for t in operands[0].inputs)
            return new.append(operands[0].op, [right, left], operands[0].attrs, type=node.type)
        return _canonical(new, node, operands)

    return rebuild(graph, visit)


def _transposes(node: Node) -> bool:
    """True where the last two axes are swapped."""
    if node.op.name != "permute_dims" or node.type.ndim < 2:
        return False
    *outer, row, column = range(node.type.ndim)
    return bool(node.attrs["axes"] == (*outer, column, row))


def _canonical(new: Graph, node: Node, operands: tuple[Tensor, ...]) -> Tensor | None:
    name, attrs = node.op.name, node.attrs
    if "transparent" in node.op.facts:  # differentiation is over
        return operands[0]
    if name == "full_like" and not tests_indices(operands[0]):
        return filled(new, attrs["fill"], node.type.shape, node.type.dtype)
    merged = name in ("reshape", "broadcast_to", "permute_dims") and operands[0].op.name == name
    if merged:
        if name == "permute_dims":
            attrs = {"axes": tuple(operands[0].attrs["axes"][a] for a in attrs["axes"])}
        operands = operands[0].inputs
    if len(operands) == 1 and operands[0].type == node.type:
        if name in ("reshape", "broadcast_to", "astype", "sum_broadcast"):
            return operands[0]
        if name == "permute_dims" and attrs["axes"] == tuple(range(node.type.ndim)):
            return operands[0]
        whole = (0,) * node.type.ndim, (1,) * node.type.ndim
        if name == "slice" and (attrs["start"], attrs["step"]) == whole:
            return operands[0]
    if merged:
        return new.append(node.op, operands, attrs, type=node.type)
    if name == "reshape" and _drops_leading(operands[0], node.type.shape):  # the gradient of what was broadcast
        summed = operands[0].node
        return new.append(summed.op, operands[0].inputs, {**summed.attrs, "keepdims": False}, type=node.type)
    if name in ("sum", "prod", "max", "min", "supremum") and all(operands[0].shape[a] == 1 for a in attrs["axes"]):
        return reshape(cast(operands[0], node.type.dtype), node.type.shape)
    if "commutative" in node.op.facts and operands[0].op.name == "constant" != operands[1].op.name:
        return new.append(node.op, operands[::-1], attrs, type=node.type)
    return None


def _drops_leading(tensor: Tensor, shape: Shape) -> bool:
    """True for a sum over leading axes that keeps them, and the shape without them."""
    if tensor.op.name != "sum" or not tensor.attrs["keepdims"]:
        return False
    axes = tensor.attrs["axes"]
    return axes == tuple(range(len(axes))) and shape == tensor.shape[len(axes) :]


def assemble(graph: Graph) -> Graph:
    """Parts placed among zeros and then added are one concatenation: the gradient of a tensor that is cut in pieces."""
    if all(node.op.name != "place" for node in graph.nodes):
        return graph
    covered: dict[int, Size] = {}  # placement among zeros, or sum of such -> how many elements they cover

    def visit(new: Graph, node: Node, operands: tuple[Tensor, ...]) -> Tensor | None:
        if node.op.name == "place":
            made = copy_node(new, node, operands)
            if set(node.attrs["step"]) == {1} and node.attrs["fill"] == 0 and node.type.dtype.kind == "f":
                covered[made.id] = operands[0].node.type.size
            return made
        parts = [covered.get(t.id) for t in operands]
        if node.op.name != "add" or None in parts or {t.shape for t in operands} != {node.type.shape}:
            return None
        size = dims.total(part for part in parts if part is not None)
        joined = _joined(operands) if size == node.type.size else None
        if joined is None:
            joined = copy_node(new, node, operands)
            covered[joined.id] = size
        return joined

    return rebuild(graph, visit)


def _joined(operands: tuple[Tensor, ...]) -> Tensor | None:
    """The concatenation that a sum of placements is; None where they leave gaps, overlap or lie in two directions."""
    shape, parts, waiting = operands[0].shape, list[Tensor](), list(operands)
    while waiting:
        tensor = waiting.pop()
        if tensor.op.name == "add":
            waiting += tensor.inputs
        else:
            parts.append(tensor)
    for axis, whole in enumerate(shape):
        by_start = {part.attrs["start"][axis]: part.inputs[0] for part in parts}
        others = {_without(axis, x.shape) for x in by_start.values()}
        if len(by_start) < len(parts) or others != {_without(axis, shape)}:
            continue
        row: list[Tensor] = []
        end: Size = 0
        while end in by_start:
            row.append(by_start.pop(end))
            end = end + row[-1].shape[axis]
        if end == whole and not by_start:
            return concat(row, axis)
    return None


def _without(axis: int, shape: Shape) -> Shape:
    return shape[:axis] + shape[axis + 1 :]


def fold(graph: Graph) -> Graph:
    """What depends on constants only is a constant, unless that would be large."""
    return rebuild(graph, _folded)


def _folded(new: Graph, node: Node, operands: tuple[Tensor, ...]) -> Tensor | None:
    if not operands or node.op.kind in UNFOLDED or any(t.op.name != "constant" for t in operands):
        return None
    size = node.type.size
    attributes = [s for v in node.attrs.values() for s in (v if isinstance(v, tuple) else (v,))]
    if not isinstance(size, int) or any(isinstance(s, dims.Dim) for s in attributes):
        return None
    held = [t.node.value.size for t in operands if t.node.value is not None]
    if node.op.name == "broadcast_to" or size > max(FOLDED, *held):
        return None
    try:
        with np.errstate(all="ignore"):
            value = node.op.reference(*(t.node.value for t in operands), **node.attrs)
    except GraphcError:
        return None  # wrong whatever is passed; the call says where
    return new.constant(np.array(value, node.type.dtype), node.type.dtype)


def rewriting(rules: Sequence[Rule]) -> Pass:
    """The pass that applies ``rules`` at every node, operands first."""
    by_op: dict[str, list[tuple[Rule, frozenset[str], bool]]] = defaultdict(list)
    for rule in rules:
        made_by = frozenset("constant" if part.op == "number" else part.op for part in rule.before.parts if part.op)
        by_op[rule.before.op].append((rule, made_by, "root" in inspect.signature(rule.after).parameters))

    def visit(new: Graph, node: Node, operands: tuple[Tensor, ...]) -> Tensor | None:
        listed = by_op.get(node.op.name)
        if not listed:
            return None
        made_by = {t.op.name for t in operands}
        candidates = [(rule, wants_root) for rule, needs, wants_root in listed if needs <= made_by]
        if not candidates:
            return None
        made = copy_node(new, node, operands)
        for rule, wants_root in candidates:
            found = rule.before.match(made, {})
            if found is None or not rule.when(made, found):
                continue
            after = rule.after(**found, **({"root": made} if wants_root else {}))
            if after.type == made.type:
                if (observer := OBSERVER.get()) is not None:
                    observer.rule(node, rule.name)
                return after
        return made

    return lambda graph: rebuild(graph, visit, by_op)


def cse(graph: Graph) -> Graph:
    """Equal nodes are one (common subexpression elimination by hash-consing)."""
    seen: dict[Any, Tensor] = {}

    def visit(new: Graph, node: Node, operands: tuple[Tensor, ...]) -> Tensor | None:
        if node.op.kind is Kind.LEAF and node.op.name != "constant":
            return None
        ids = [t.id for t in operands]
        key = node.computed_of(sorted(ids) if node.op.name in EITHER_ORDER else ids)
        if key not in seen:
            seen[key] = copy_node(new, node, operands)
        return seen[key]

    return rebuild(graph, visit)


def pipeline(without: Set[str] = frozenset()) -> tuple[tuple[str, Pass], ...]:
    """The passes of one sweep, in order, leaving out rules by name."""

    def kept(rules: Sequence[Rule]) -> Pass:
        return rewriting([r for r in rules if r.name not in without])

    return (
        ("keep", keep),
        ("bodies", entering(lambda graph: run(graph, without=without), without)),
        ("canonicalise", canonicalise),
        ("fold", fold),
        ("cse", cse),
        ("assemble", assemble),
        ("gather", gather),
        ("stabilise", kept(STABILITY)),
        ("simplify", kept(ALGEBRA + COST)),
    )


PIPELINE = pipeline()


def run(graph: Graph, on_stage: Stage | None = None, without: Set[str] = frozenset()) -> Graph:
    """Sweeps of the pipeline until nothing changes; ``on_stage(name, graph)`` sees each pass that changed something."""
    passes = pipeline(without) if without else PIPELINE
    settled = 0  # passes in a row that changed nothing
    for name, step in passes * SWEEPS:
        if (observer := OBSERVER.get()) is not None:
            observer.begins(name, graph)
        after = step(graph)
        settled = settled + 1 if same(graph, after) else 0
        graph = after
        if settled == len(passes):
            break
        if not settled and on_stage is not None:
            on_stage(name, graph)
    return graph


__all__ = ["PIPELINE", "RULES", "assemble", "canonicalise", "cse", "fold", "pipeline", "rewriting", "run"]
