"""Products taken out of loops: those of all steps at once, before the loop or after it.

A product of rows that does not depend on the carry is taken before (the projection of the inputs of a recurrent
network); one that no carry needs, but results, or sums that a carry adds up from step to step, after (the gradients of
its weights). What a loop holds is then what must go step by step.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

from graphc.derive.vectorise import Examples
from graphc.ir import dims
from graphc.ir.body import Body, fresh_names
from graphc.ir.dims import Size
from graphc.ir.graph import Graph, copy_node, rebuild, topological
from graphc.ir.node import Node
from graphc.ir.op import Kind, lookup
from graphc.ir.tensor import Tensor
from graphc.ir.types import TensorType
from graphc.ops.reduce import sum as sum_
from graphc.ops.shape import reshape

LARGER = 4  # times the size of a product's result that what it is made of may take, where that is kept instead
MANY = 64  # rows from which on a product is about as fast as of any more
USUAL = 256  # rows of a batch, where their number is not known
PLAIN = (Kind.ELEMENTWISE, Kind.REDUCTION, Kind.CONTRACTION, Kind.MOVEMENT, Kind.ASSEMBLY)


class Scan:
    """A scan whose body is taken apart, in the graph that it will stand in.

    It has the attributes of the node, its operands, and what stands for each of its results: a number, or a tensor.
    """

    def __init__(self, graph: Graph, attrs: dict[str, Any], operands: Sequence[Tensor]) -> None:
        self.graph, self.attrs, self.operands = graph, attrs, list(operands)
        self.body: Body = attrs["body"]
        self.nodes = self.body.graph.nodes
        self.many = Examples(graph, attrs["length"])
        n, m = attrs["carries"], attrs["xs"]
        inside = {name: k for k, (name, _) in enumerate(self.body.inputs)}
        self.slot = {t.id: inside[t.name] for t in self.body.graph.inputs.values()}  # input of the body -> its number
        self.carried = {i for i, k in self.slot.items() if 1 <= k <= n}
        rows = {i for i, k in self.slot.items() if n < k <= n + m}
        self.fixed = {i for i, k in self.slot.items() if k > n + m}
        self.early = set(rows)  # what depends on rows and on what is fixed
        for node in self.nodes:
            if node.op.name == "constant" or self._plain(node, self.fixed) or _formula(node):
                self.fixed.add(node.id)
            elif self._plain(node, self.fixed | self.early):
                self.early.add(node.id)
        self.whole = of_loops_inside(self.body.graph)
        self.outside: dict[int, Tensor] = {}  # what is fixed, outside
        self.stacked: dict[int, Tensor] = {}  # what is not, for all steps

    @staticmethod
    def _plain(node: Node, given: set[int]) -> bool:
        checked = "index_check" in node.op.facts
        return node.op.kind in PLAIN and not checked and bool(node.inputs) and all(i in given for i in node.inputs)

    def product(self, node: Node) -> bool:
        """Whether a node is a product one side of which is fixed: products of all steps are one."""
        fixed = node.op.kind is Kind.CONTRACTION and any(i in self.fixed for i in node.inputs)
        return fixed and node.id not in self.whole

    # ---- outside

    def one(self, id: int) -> Tensor:
        """What is the same in all steps, outside."""
        if id not in self.outside:
            node = self.nodes[id]
            given = id in self.slot
            made = self.operands[self.slot[id] - 1] if given else None
            inputs = [] if given else [self.one(i) for i in node.inputs]
            self.outside[id] = copy_node(self.graph, node, inputs) if made is None else made
        return self.outside[id]

    def all(self, id: int) -> Tensor:
        """A value of every step, stacked."""
        if id not in self.stacked:
            node = self.nodes[id]
            if id in self.slot:
                made = self.operands[self.slot[id] - 1]
            else:
                with self.graph.placed(node.origin, node.forward):
                    pairs = [
                        (self.one(i), None) if i in self.fixed else (self.body.graph.tensors[i], self.all(i))
                        for i in node.inputs
                    ]
                    made = reshape(self.many.rule(node, pairs), (self.many.size, *node.type.shape))
            self.stacked[id] = made
        return self.stacked[id]


def _formula(node: Node) -> bool:
    return node.op.kind is Kind.GENERATOR and not node.inputs


def of_loops_inside(graph: Graph) -> set[int]:
    """Products of all steps of a loop in a body, of many rows: those of the steps around it as well would be no faster.

    They are what such a loop is given as rows, or are made of rows that it gives.
    """
    found: set[int] = set()
    for node in graph.nodes:
        if node.op.name == "scan":
            n, m = node.attrs["carries"], node.attrs["xs"]
            rows = (_moved(graph, i) for i in node.inputs[n : n + m])
            found |= {row.id for row in rows if _many(row.type.size, row.type.shape[-1:])}
        elif node.op.kind is Kind.CONTRACTION:
            for operand in (_moved(graph, i) for i in node.inputs):
                of = graph.nodes[operand.inputs[0]] if operand.op.kind is Kind.RESULT else node
                steps = of.op.name == "scan" and operand.attrs["index"] >= of.attrs["carries"]
                if steps and _many(operand.type.size, operand.type.shape[-1:]):
                    found.add(node.id)
    return {id for id in found if graph.nodes[id].op.kind is Kind.CONTRACTION}


def _moved(graph: Graph, id: int) -> Node:
    """What a node only moves."""
    node = graph.nodes[id]
    return _moved(graph, node.inputs[0]) if node.op.kind is Kind.MOVEMENT else node


def _many(size: Size, columns: Sequence[Size]) -> bool:
    """Whether there are so many rows that more would not make a product faster."""
    usual_sizes = dict.fromkeys(dims.free_symbols([size, *columns]), USUAL)
    return dims.evaluate(size, usual_sizes) >= MANY * math.prod(dims.evaluate(c, usual_sizes) for c in columns)


def usual(kinds: Iterable[TensorType]) -> int:
    """How many elements these take together, for batches of a usual length."""
    size = dims.total(kind.size for kind in kinds)
    return dims.evaluate(size, dict.fromkeys(dims.free_symbols([size]), USUAL))


# ---- before the loop


def before(graph: Graph, attrs: dict[str, Any], operands: Sequence[Tensor]) -> tuple[dict[str, Any], list[Tensor]]:
    """A scan without the products that rows and fixed operands alone decide: their rows are operands instead."""
    scan = Scan(graph, attrs, operands)
    found = [node for node in scan.nodes if node.id in scan.early and scan.product(node)]
    used = {i for node in scan.nodes if node.id not in scan.early for i in node.inputs}
    used |= {t.id for t in scan.body.outputs}
    outer = _outermost(scan, [node.id for node in found], used)
    if not outer:
        return attrs, list(operands)
    n, m = attrs["carries"], attrs["xs"]
    stands = dict(zip(outer, fresh_names("product", scan.body), strict=False))
    inputs = list(scan.body.inputs)
    inputs[1 + n + m : 1 + n + m] = [(name, scan.nodes[id].type) for id, name in stands.items()]
    rows = [*operands[: n + m], *(scan.all(id) for id in outer), *operands[n + m :]]
    body = Body(replaced(scan.body.graph, stands), inputs)
    return {**attrs, "body": body, "xs": m + len(outer)}, rows


def _outermost(scan: Scan, products: Sequence[int], used: set[int]) -> list[int]:
    """Products that are read by more than other products and what leads to them."""
    readers: dict[int, list[Node]] = {}
    for node in scan.nodes:
        for i in node.inputs:
            readers.setdefault(i, []).append(node)
    chosen = set(products)
    out = []
    for id in products:
        seen, stack, needed = set[int](), [id], False
        while stack and not needed:
            at = stack.pop()
            needed = at in used
            for reader in readers.get(at, []):
                if reader.id in scan.early and reader.id not in chosen and reader.id not in seen:
                    seen.add(reader.id)
                    stack.append(reader.id)
        if needed:
            out.append(id)
    return out


def replaced(graph: Graph, stands: dict[int, str], outputs: Sequence[int] | None = None) -> Graph:
    """A graph in which inputs of these names take the place of nodes, and with other outputs where they are given."""
    out = Graph(graph.name, graph.float_dtype)
    made: dict[int, Tensor] = {}
    for node in graph.nodes:
        if node.op.name == "input":
            made[node.id] = copy_node(out, node, [])
    for id, name in stands.items():
        node = graph.nodes[id]
        made[id] = out.append(lookup("input"), (), {}, type=node.type, name=name, origin=node.origin)
    for node in graph.nodes:
        if node.id not in made and all(i in made for i in node.inputs):
            made[node.id] = copy_node(out, node, [made[i] for i in node.inputs])
    out.outputs = [made[i] for i in ([t.id for t in graph.outputs] if outputs is None else outputs)]
    return rebuild(out)


# ---- after the loop


class After:
    """What of a scan can be computed after it: ``results`` of its steps, and ``sums``, what a carry only adds up.

    Each is the node of the body that stands for it. Where there is none, it is false.
    """

    def __init__(self, graph: Graph, attrs: dict[str, Any], operands: Sequence[Tensor], read: set[int]) -> None:
        self.scan = scan = Scan(graph, attrs, operands)
        outputs, n = [t.id for t in scan.body.outputs], attrs["carries"]
        added = {k: id for k in range(n) if (id := self._added(k, read)) is not None}
        core = {node.id for node in topological(scan.body.graph, [outputs[k] for k in range(n) if k not in added])}
        self.later: set[int] = set()  # products that no carry needs, and what is made of them
        for node in scan.nodes:
            if node.id not in core | scan.fixed | scan.early | scan.whole and (
                node.op.kind is Kind.CONTRACTION or any(i in self.later for i in node.inputs)
            ):
                self.later.add(node.id)
        self.boundary: set[int] = set()  # what the loop computes of them
        self.sums = {k: id for k, id in added.items() if self._pays(id, True)}
        self.results = {k: outputs[k] for k in range(n, len(outputs)) if self._pays(outputs[k], False)}
        self.sums |= {k: id for k, id in added.items() if self._costs_nothing(id)}

    def __bool__(self) -> bool:
        return bool(self.sums or self.results)

    def _added(self, k: int, read: set[int]) -> int | None:
        """What a step adds to carry ``k``, where nothing else is done with it and only the last one is read."""
        body, many = self.scan.body, len(self.scan.body.outputs)
        carry = next((i for i, slot in self.scan.slot.items() if slot == k + 1), None)
        node = body.outputs[k].node
        if carry is None or many + k in read or node.op.name != "add" or node.type.dtype.kind != "f":
            return None
        others = [i for i in node.inputs if i != carry]
        inputs = [i for other in self.scan.nodes for i in other.inputs]
        alone = inputs.count(carry) == 1 and inputs.count(node.id) == 0
        alone = alone and sum(t.id in (node.id, carry) for t in body.outputs) == 1
        return others[0] if alone and len(others) == 1 and body.graph.nodes[others[0]].type == node.type else None

    def _pays(self, root: int, summed: bool) -> bool:
        """Whether products are saved, and what has to be kept for them is not much larger than they are."""
        scan = self.scan
        stack, boundary, products = [root], set[int](), False
        while stack:
            node = scan.nodes[stack.pop()]
            if node.id in scan.fixed or node.id in scan.early:
                continue
            moving = node.op.kind is Kind.MOVEMENT and node.id not in scan.slot
            if node.id in self.later or moving:
                if node.op.kind not in PLAIN or "index_check" in node.op.facts:
                    return False
                products |= node.op.kind is Kind.CONTRACTION and (summed or scan.product(node))
                stack += node.inputs
            else:
                boundary.add(node.id)
        kept = usual(scan.nodes[i].type for i in boundary - self.boundary)
        if root not in self.later or not products or kept > LARGER * usual([scan.nodes[root].type]):
            return False
        self.boundary |= boundary
        return True

    def _costs_nothing(self, root: int) -> bool:
        """Whether a sum reads only what is kept already, as that of a bias does."""
        stack, moved = [root], False
        while stack:
            node = self.scan.nodes[stack.pop()]
            if node.id not in self.boundary:
                if node.op.kind not in (Kind.REDUCTION, Kind.MOVEMENT) or node.id in self.scan.slot:
                    return False
                moved = True
                stack += node.inputs
        return moved

    def loop(self) -> tuple[dict[str, Any], list[Tensor], dict[int, int], dict[int, int]]:
        """The scan that is left: attributes, operands, old results -> new ones, boundary -> the result that it is."""
        scan, n = self.scan, self.scan.attrs["carries"]
        outputs, many = scan.body.outputs, len(scan.body.outputs)
        carries = [k for k in range(n) if k not in self.sums]
        rows = [k for k in range(n, many) if k not in self.results]
        boundary = sorted(self.boundary)
        graph = replaced(scan.body.graph, {}, [*(outputs[k].id for k in (*carries, *rows)), *boundary])
        gone = {k + 1 for k in self.sums}
        inputs = [given for k, given in enumerate(scan.body.inputs) if k not in gone]
        operands = [t for k, t in enumerate(scan.operands) if k + 1 not in gone]
        numbers = {old: new for new, old in enumerate([*carries, *rows])}
        first = len(numbers)
        numbers |= {many + k: first + len(boundary) + place for place, k in enumerate(carries)}
        found = {id: first + k for k, id in enumerate(boundary)}
        return {**scan.attrs, "carries": len(carries), "body": Body(graph, inputs)}, operands, numbers, found

    def tensors(self, stacked: dict[int, Tensor]) -> dict[int, Tensor]:
        """The results that are computed after the loop, of the boundary of all steps."""
        scan = self.scan
        scan.stacked |= stacked
        out = {k: scan.all(id) for k, id in self.results.items()}
        for k, id in self.sums.items():
            with scan.graph.placed(scan.nodes[id].origin, scan.nodes[id].forward):
                out[k] = scan.operands[k] + sum_(scan.all(id), 0)
        return out


__all__ = ["LARGER", "After", "before", "of_loops_inside", "replaced", "usual"]
