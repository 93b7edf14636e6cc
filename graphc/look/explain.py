"""`Executable.explain`: what the compiler did with one tensor, and why."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from itertools import islice

from graphc.errors import CompileError, GraphError, caller
from graphc.ir.node import Node
from graphc.ir.op import Kind
from graphc.ir.tensor import Tensor
from graphc.look.expression import formula
from graphc.look.trace import Part, Trace, buffer_words, trace
from graphc.run.executable import Executable
from graphc.schedule.access import is_alias, is_formula, movement
from graphc.schedule.plan import Combine, Control, Form, Loop, Product, Schedule, Statement

SOME = 8  # names that are listed


@dataclass(frozen=True, slots=True)
class Explanation:
    """What became of a tensor. It prints as a few lines.

    rules   what passes did to it, in order
    parts   the parts of the kernel that compute it, in words; none where it is not computed
    fusion  what it shares loops with, or why not
    buffer  where its value is kept
    """

    name: str
    what: str
    line: str
    rules: tuple[str, ...]
    parts: tuple[str, ...]
    fusion: str
    buffer: str

    def __str__(self) -> str:
        rows = [
            ("rules", "\n".join(self.rules) or "none: no pass changes it"),
            ("kernel", "\n".join(self.parts) or "no part of its own"),
            ("fusion", self.fusion),
            ("buffer", self.buffer),
        ]
        out = [f"{self.name} = {self.what}", f"line     {self.line}"]
        for key, text in rows:
            first, *more = text.split("\n")
            out += [f"{key:<9}{first}", *(f"{'':<9}{t}" for t in more)]
        return "\n".join(out)

    def _repr_html_(self) -> str:
        return f"<pre>{escape(str(self))}</pre>"


def explain(exe: Executable, tensor: Tensor | str) -> Explanation:
    """See `Executable.explain`."""
    program = exe.program
    name = tensor.name if isinstance(tensor, Tensor) else tensor
    if isinstance(tensor, Tensor) and tensor.graph is not exe.graph:
        text = f"{name} belongs to graph {tensor.graph.name!r}, not to {exe.graph.name!r}"
        raise GraphError(text, node=name, origin=caller())
    if exe.backend != "numba":
        raise CompileError('explain: there is no kernel; compile with backend="numba"')
    if name not in program.source:
        exe.graph[name]  # GraphError for a name that is not there at all
        raise GraphError(f"{name} is not computed by this executable: no output needs it", node=name, origin=caller())
    return explained(trace(exe), program.source[name].node)


def explained(trace: Trace, node: Node) -> Explanation:
    """The explanation of a node of a trace's source."""
    tensor = trace.source.tensors[node.id]
    what = formula(tensor, lambda t: None if t.op.name == "constant" else t.name) if node.inputs else node.op.name
    last = trace.last(node.id)
    parts = () if last is None else tuple(_titled(part) for part in trace.part_of.get(last, []))
    return Explanation(
        node.name,
        f"{what or node.op.name}: {node.type}",
        node.origin.describe(),
        tuple(trace.events(node.id)),
        parts,
        fusion(trace, last),
        "nowhere: it is not computed" if last is None else _buffer(trace.plan, last),
    )


def _titled(part: Part) -> str:
    cut = f", shards of {part.group.size}" if part.group is not None else ""
    return f"part {part.number}, stage {part.stage}{cut}: {part.title}"


def _buffer(plan: Schedule, node: int) -> str:
    found = plan.graph.nodes[node]
    if words := buffer_words(plan, node):
        return words
    if found.op.kind is Kind.LEAF or is_formula(found):
        return "none: it is written where it is read"
    if movement(plan.graph, found) is not None:
        return "none: readers go to its operand's memory at other indices"
    return "none: a register holds it from one step to the next"


def fusion(trace: Trace, last: int | None) -> str:
    """What a node of the scheduled graph shares loops with, or why it shares none."""
    if last is None:
        return "nothing needs it any more"
    plan, graph = trace.plan, trace.plan.graph
    node = graph.nodes[last]
    if node.op.kind is Kind.LEAF or is_formula(node):
        return "it comes from outside, or is a number in the source"
    if is_alias(graph, node):
        return "it is its operand's memory in another shape"
    if movement(graph, node) is not None:
        return "a movement: folded into the indices of what reads it"
    parts = trace.part_of.get(last, [])
    if any(isinstance(p.item, Product) for p in parts):
        return "a matrix product is a function of its own; what follows it stands in loops behind"
    if any(isinstance(p.item, Control) for p in parts):
        return "a loop or branch runs its body as a function of its own, and shares nothing with what is around it"
    statements = plan.statements.get(last, [])
    if not statements:
        return "part of a product"
    if statements[0].form is Form.CALL:
        return "a routine takes whole rows or matrices at once, so it shares no loops"
    if statements[0].form is Form.CHECK:
        return "a test of indices stands alone, before all that relies on it"
    item = statements[0].item
    beside = trace.beside(item) if isinstance(item, Loop) else {}
    others = len(beside) - (node.name in beside)
    if not others:
        return _why_alone(trace, statements[0])
    some = [name for name in islice(beside, SOME + 1) if name != node.name][:SOME]
    shown = ", ".join(some) + (f" and {others - SOME} more" if others > SOME else "")
    made = [graph.nodes[a.root].name for a in statements[0].operands if plan.statements.get(a.root, [])[:1]]
    made = [name for name in dict.fromkeys(made) if name in beside and name != node.name]
    because = "the sizes are equal"
    if made:
        because = f"each step reads just the element of {', '.join(made)} that it made"
    return f"shares {_loops(statements[0], item)} with {shown}: {because}"


def _loops(statement: Statement, item: object) -> str:
    sizes = [str(loop.size) for loop in statement.path] or ["nothing"]
    return f"the loop{'s' * (len(sizes) > 1)} over {', '.join(sizes)}"


def _why_alone(trace: Trace, statement: Statement) -> str:
    graph, plan = trace.plan.graph, trace.plan
    if not statement.path:
        return "a number: it needs no loop"
    for access in statement.operands:
        root = graph.nodes[access.root]
        parts = trace.part_of.get(root.id, [])
        if any(isinstance(p.item, Product) for p in parts):
            return f"alone in its loop: {root.name} is a product, whose elements are there only when it is over"
        if any(isinstance(p.item, Combine) for p in parts):
            return f"alone in its loop: {root.name} is a sum of all shards, which has to be over"
        made = plan.statements.get(root.id)
        if made and made[0].form in (Form.PLACE, Form.SCATTER, Form.CALL):
            return f"alone in its loop: {root.name} is there only as a whole"
        if made:
            return f"alone in its loop: it reads other elements of {root.name} than a step makes"
    return "alone in its loop: what it reads comes from outside, and nothing near has a loop of its size"


__all__ = ["Explanation", "explain", "explained", "fusion"]
