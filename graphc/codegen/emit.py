"""From a schedule to the Python source of a kernel.

The text is canonical: it holds no name, path or line of the user's, so graphs that differ in names only share one
kernel. `annotate` renders it for people, with a comment for each node.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from graphc.codegen import blas, buffer, rng, tiles, vecmath
from graphc.config import settings
from graphc.ir import dims
from graphc.ir.dims import Size
from graphc.ir.graph import Graph, Node
from graphc.ir.op import Kind
from graphc.ir.types import DType
from graphc.schedule.access import Access, Index, is_formula, row_major
from graphc.schedule.expand import blas_operand
from graphc.schedule.plan import Buffer, Form, Item, Loop, Product, Schedule, Statement

SHORT = {"float32": "f32", "float64": "f64", "int32": "i32", "int64": "i64", "uint8": "u8", "bool": "bool"}
HEADER = 64  # bytes at the head of the workspace: position and value of an index out of range
LETTERS = "abcdefgh"


@dataclass(slots=True)
class Line:
    """One line of source, and the nodes that it computes."""

    text: str
    nodes: tuple[int, ...] = ()


@dataclass(slots=True)
class Text:
    """A kernel's lines, what it needs, and what its status numbers mean."""

    lines: list[Line]
    symbols: tuple[str, ...]
    work_bytes: Size
    failures: list[int] = field(default_factory=list)  # status k > 0 is the range test failures[k - 1]

    @property
    def source(self) -> str:
        return "\n".join(line.text for line in self.lines) + "\n"


def emit(plan: Schedule, symbols: Sequence[str]) -> Text:
    """The source of the kernel of ``plan``; ``symbols`` are the sizes in its dims table."""
    writer = _Writer(plan, {name: f"n{k}" for k, name in enumerate(symbols)})
    parts = [writer.part(items, items is plan.parts[-1]) for items in plan.parts]
    lines = [
        Line(f"from graphc.codegen.{module} import {', '.join(sorted(names))}") for module, names in writer.imports()
    ]
    if len(parts) == 1:
        lines += [Line(""), Line(""), Line("def kernel(inputs, outputs, dims, state, work):"), *parts[0]]
    else:
        lines += [Line("from numba import njit")]
        for k, part in enumerate(parts):
            head = f"def part{k}(inputs, outputs, dims, state, work):"
            decorator = '@njit(error_model="numpy", no_cpython_wrapper=True, no_cfunc_wrapper=True)'
            lines += [Line(""), Line(""), Line(decorator), Line(head), *part]
        lines += [Line(""), Line(""), Line("def kernel(inputs, outputs, dims, state, work):")]
        for k in range(len(parts)):
            lines += [Line(f"    status = part{k}(inputs, outputs, dims, state, work)"), Line("    if status != 0:")]
            lines += [Line("        return status")]
        lines += [Line("    return 0")]
    return Text(lines, tuple(symbols), writer.offsets[-1], writer.failures)


class _Writer:
    def __init__(self, plan: Schedule, symbols: dict[str, str]) -> None:
        self.plan = plan
        self.graph: Graph = plan.graph
        self.symbols = symbols
        self.failures: list[int] = []
        self.part_of = {id(item): k for k, items in enumerate(plan.parts) for item in items}
        self.calls: set[str] = set()
        self.offsets: list[Size] = [HEADER]
        self.scratch = ""  # the address of the memory that products need
        for slot in plan.slots:
            self.offsets.append(self.offsets[-1] + slot.bytes)
        if any(isinstance(item, Product) for item in plan.items) and settings().blas == "tiles":
            self.scratch = self.address(("work", len(plan.slots)))
            self.offsets.append(self.offsets[-1] + tiles.SCRATCH)

    # ---- names

    def imports(self) -> list[tuple[str, set[str]]]:
        """Modules of this package and the names that the source takes from them."""
        out = []
        for module in (blas, buffer, rng, tiles, vecmath):
            names = {n for n in self.calls if hasattr(module, n)}
            self.calls -= names
            if names:
                out.append((module.__name__.rsplit(".", 1)[1], names))
        return out

    def use(self, expression: str) -> str:
        """Notes the functions that an expression calls."""
        self.calls.update(re.findall(r"\b([A-Za-z_]\w+)\b", expression))
        return expression

    def size(self, size: Size) -> str:
        return dims.source(size, lambda name: self.symbols[name])

    def pointer(self, place: tuple[str, int], dtype: DType) -> str:
        """The name of the typed pointer to a place; declared at the head of the function."""
        name = f"{place[0]}{place[1]}_{SHORT[dtype.name]}"
        self.pointers.setdefault(name, (place, dtype))
        return name

    def address(self, place: tuple[str, int]) -> str:
        kind, k = place
        if kind != "work":
            return f"word({_TABLE[kind]}, {k})"
        return f"work + {self.size(self.offsets[k])}"

    def factor(self, size: Size) -> str:
        """A size, in brackets where it is a sum."""
        text = self.size(size)
        return f"({text})" if " " in text else text

    # ---- functions

    def part(self, items: list[Item], last: bool) -> list[Line]:
        """The body of one function."""
        self.pointers: dict[str, tuple[tuple[str, int], DType]] = {}
        self.body: list[Line] = []
        for item in items:
            self.item(item, 1, {})
        if last:
            for root, name in self.plan.commits:
                self.commit(root, name)
        self.put(1, "return 0")
        scopes = {place: k for k, place in enumerate(dict.fromkeys(p for p, _ in self.pointers.values()))}
        head = [Line(f"    {local} = word(dims, {k})") for k, local in enumerate(self.symbols.values())]
        for name, (place, dtype) in self.pointers.items():
            kind = SHORT[dtype.name] if dtype.kind != "b" else "bool_"
            head.append(Line(f"    {name} = buffer({self.address(place)}, {kind}, {scopes[place]}, {len(scopes)})"))
        for line in head:
            self.use(line.text)
        uses = Counter(word for line in self.body for word in re.findall(r"\w+", line.text))
        kept = []
        for line in reversed(head):  # only what is used
            if uses[line.text.split()[0]]:
                kept.append(line)
                uses.update(re.findall(r"\w+", line.text))
        return kept[::-1] + self.body

    def put(self, depth: int, text: str, *nodes: int) -> None:
        self.body.append(Line("    " * depth + self.use(text), nodes))

    def commit(self, root: int, name: str) -> None:
        """Copies a next value into its state, after everything has been read."""
        node = self.graph.nodes[root]
        source = self.plan.buffers[root]
        target = self.pointer(("state", self.plan.state.index(name)), node.type.dtype)
        if target == (held := self.pointer(source.place, node.type.dtype)):
            return
        self.put(1, f"for i0 in range({self.size(node.type.size)}):", root)
        self.put(2, f"{target}[i0] = {held}[i0]")

    # ---- items

    def item(self, item: Item, depth: int, loads: dict[str, str]) -> None:
        if isinstance(item, Loop):
            self.loop(item, depth, loads)
        elif isinstance(item, Product):
            self.product(item, depth)
        else:
            self.statement(item, depth, loads)

    def loop(self, loop: Loop, depth: int, loads: dict[str, str]) -> None:
        for fold in loop.folds:
            self.start(fold, depth)
        self.put(depth, f"for i{depth - 1} in range({self.size(loop.size)}):")
        inner = dict(loads)
        for item in loop.body:
            self.item(item, depth + 1, inner)
        for fold in loop.folds:
            self.finish(fold, depth)

    def start(self, fold: Statement, depth: int) -> None:
        """The identity of a reduction, in its scalar or all over its accumulator."""
        node, buffer = fold.node, self.plan.buffers.get(fold.node.id)
        if fold.form in (Form.PLACE, Form.SCATTER):
            value = 0 if fold.form is Form.SCATTER else node.attrs.get("fill")
            if value is None:
                return
            inner = list(range(node.type.ndim))
            levels: dict[int, int] = {}
        else:
            assert node.op.identity is not None
            value = node.op.identity(node.type.dtype)
            levels = {axis: ix.level for axis, ix in enumerate(fold.target) if ix.plain and ix.level is not None}
            levels = {axis: level for axis, level in levels.items() if level < fold.open_depth}
            inner = self.accumulated(fold)
            if not inner:
                self.put(depth, f"v{node.id} = {self.literal(value, node.type.dtype)}", node.id)
                return
        assert buffer is not None
        index = []
        for axis in range(node.type.ndim):
            if axis in levels:
                index.append(f"i{levels[axis]}")
            elif axis in inner:
                self.put(depth, f"for j{axis} in range({self.size(node.type.shape[axis])}):", node.id)
                index.append(f"j{axis}")
                depth += 1
            else:
                index.append("0")
        held = self.pointer(buffer.place, node.type.dtype)
        at = self.offset(buffer, dict(enumerate(index)))
        self.put(depth, f"{held}[{at}] = {self.literal(value, node.type.dtype)}", node.id)

    @staticmethod
    def accumulated(fold: Statement) -> list[int]:
        """Axes of a reduction's result that its accumulator holds: those of loops inside the one that it folds."""
        return [axis for axis, ix in enumerate(fold.target) if ix.level is not None and ix.level >= fold.open_depth]

    def finish(self, fold: Statement, depth: int) -> None:
        """Stores a complete scalar reduction where readers further off need it."""
        buffer = self.plan.buffers.get(fold.node.id)
        if fold.form is Form.REDUCE and buffer is not None and not self.accumulated(fold):
            self.store(fold, buffer, f"v{fold.node.id}", depth)

    def store(self, statement: Statement, buffer: Buffer, value: str, depth: int) -> None:
        held = self.pointer(buffer.place, statement.node.type.dtype)
        self.put(depth, f"{held}[{self.place(buffer, statement.target)}] = {value}", statement.node.id)

    def statement(self, s: Statement, depth: int, loads: dict[str, str]) -> None:
        node, op = s.node, s.node.op
        buffer = self.plan.buffers.get(node.id)
        values = self.operands(s, depth, loads)
        if s.form is Form.CHECK:
            self.check(s, values[0], depth)
        elif s.form is Form.MAP:
            code = values[0] if op.kind is Kind.GATHER else self.expression(s, values)
            self.put(depth, f"v{node.id} = {code}", node.id)
            if buffer is not None:
                self.store(s, buffer, f"v{node.id}", depth)
                self.forget(buffer, node.type.dtype, loads)
        elif s.form is Form.REDUCE:
            self.reduce(s, values[0], buffer, depth)
        else:
            assert buffer is not None
            if not s.path and (s.form is Form.SCATTER or node.attrs.get("fill") is not None):
                self.start(s, depth)
            held = self.pointer(buffer.place, node.type.dtype)
            slots = dict(enumerate(values))
            at = self.place(buffer, s.target, slots)
            if s.form is Form.PLACE:
                self.put(depth, f"{held}[{at}] = {values[0]}", node.id)
            else:
                self.put(depth, f"{held}[{at}] = reduce_add({held}[{at}], {values[1]})", node.id)

    def reduce(self, s: Statement, value: str, buffer: Buffer | None, depth: int) -> None:
        node = s.node
        value = self.cast(value, s.operands[0], node.type.dtype)
        if s.open_depth == len(s.path):  # nothing to fold
            self.put(depth, f"v{node.id} = {value}", node.id)
            if buffer is not None:
                self.store(s, buffer, f"v{node.id}", depth)
            return
        assert isinstance(node.op.code, str)
        if self.accumulated(s):
            assert buffer is not None
            held = self.pointer(buffer.place, node.type.dtype)
            at = self.place(buffer, s.target)
            code = _fill(node.op.code, {"acc": f"{held}[{at}]", "a": value})
            self.put(depth, f"{held}[{at}] = {self.narrow(code, node.type.dtype)}", node.id)
        else:
            code = _fill(node.op.code, {"acc": f"v{node.id}", "a": value})
            self.put(depth, f"v{node.id} = {self.narrow(code, node.type.dtype)}", node.id)

    def cast(self, value: str, access: Access, dtype: DType) -> str:
        """A reduction's operand in the dtype of its result (sums of small integers are int64)."""
        return value if self.graph.nodes[access.root].type.dtype == dtype else f"{SHORT[dtype.name]}({value})"

    def check(self, s: Statement, value: str, depth: int) -> None:
        """Leaves the kernel when the value is out of range, before anything has been stored."""
        self.failures.append(s.node.id)
        low, high = (self.factor(s.node.attrs[k]) for k in ("low", "high"))
        self.put(depth, f"if {value} < {low} or {value} >= {high}:", s.node.id)
        self.put(depth + 1, f"set_word(work, 0, {self.position(s)})")
        self.put(depth + 1, f"set_word(work, 1, {value})")
        self.put(depth + 1, f"return {len(self.failures)}")

    # ---- expressions

    def operands(self, s: Statement, depth: int, loads: dict[str, str]) -> list[str]:
        """The text of each operand's value; data-dependent ones last, since they need the others."""
        values = [""] * len(s.operands)
        late = [any(ix.slot is not None for ix in a.index) for a in s.operands]
        for slot in sorted(range(len(s.operands)), key=lambda k: late[k]):
            values[slot] = self.value(s, s.operands[slot], values, depth, loads)
        return values

    def value(self, s: Statement, access: Access, values: Sequence[str], depth: int, loads: dict[str, str]) -> str:
        node = self.graph.nodes[access.root]
        if node.op.name == "constant" and node.type.shape == ():
            assert node.value is not None
            return self.literal(node.value.item(), node.type.dtype)
        if is_formula(node):
            return self.formula(node, access)
        made = self.plan.statements.get(node.id)
        if made and made[0].form in (Form.MAP, Form.REDUCE) and self.in_scope(made[0], s):
            return f"v{node.id}"
        root = node.id
        while root in self.plan.aliases:
            root = self.plan.aliases[root]
        buffer = self.plan.buffers[root]
        if root != node.id:  # the same memory in another shape
            buffer = Buffer(buffer.place, tuple(range(node.type.ndim)), node.type.shape)
        held = self.pointer(buffer.place, node.type.dtype)
        text = f"{held}[{self.place(buffer, access.index, dict(enumerate(values)))}]"
        if text not in loads:
            loads[text] = f"x{len(self.body)}"
            self.put(depth, f"{loads[text]} = {text}")
        return loads[text]

    def formula(self, node: Node, access: Access) -> str:
        """A value that its index gives."""
        whole = Buffer(("work", 0), tuple(range(node.type.ndim)), node.type.shape)
        assert isinstance(node.op.code, str)
        at = {"position": f"({self.place(whole, access.index)})"}
        return self.narrow(
            _fill(node.op.code, at, lambda name: self.attribute(node, node.type.dtype, name)), node.type.dtype
        )

    def in_scope(self, producer: Statement, reader: Statement) -> bool:
        """True where the producer's scalar is still at hand at the reader."""
        made = producer.path if producer.form is Form.MAP else producer.path[: producer.open_depth]
        if producer.form is Form.REDUCE and self.accumulated(producer):
            return False
        if self.part_of[id(_item(producer))] != self.part_of[id(_item(reader))]:
            return False
        return len(reader.path) >= len(made) and all(a is b for a, b in zip(made, reader.path, strict=False))

    def forget(self, buffer: Buffer, dtype: DType, loads: dict[str, str]) -> None:
        """What was read from a place that has just been written is read again."""
        held = self.pointer(buffer.place, dtype)
        for text in [t for t in loads if t.startswith(held + "[")]:
            del loads[text]

    def expression(self, s: Statement, values: Sequence[str]) -> str:
        node = s.node
        types = [self.graph.nodes[i].type for i in node.inputs]
        code = node.op.code(node.type, types, node.attrs) if callable(node.op.code) else node.op.code
        assert code is not None
        names = dict(zip(LETTERS, values, strict=False))
        names["position"] = self.position(s) if "position" in code else ""
        in_dtype = types[0].dtype if types else node.type.dtype
        filled = _fill(code, names, lambda name: self.attribute(node, in_dtype, name))
        return self.narrow(filled, node.type.dtype)

    def attribute(self, node: Node, in_dtype: DType, name: str) -> str:
        if name in ("dtype", "in_dtype"):
            return SHORT[(node.type.dtype if name == "dtype" else in_dtype).name]
        value = node.attrs[name]
        if isinstance(value, (int, dims.Dim)) and not isinstance(value, bool):
            return self.factor(value)
        return self.literal(value, node.type.dtype)

    @staticmethod
    def narrow(code: str, dtype: DType) -> str:
        """Integer arithmetic widens in Numba; this brings it back."""
        return f"{SHORT[dtype.name]}({code})" if dtype.name in ("int32", "uint8") else code

    @staticmethod
    def literal(value: Any, dtype: DType) -> str:
        if dtype.kind == "b":
            return str(bool(value))
        if dtype.kind in "iu":
            number = str(int(value))
            return number if dtype.name == "int64" else f"{SHORT[dtype.name]}({number})"
        value = float(value)
        if math.isnan(value):
            number = "nan"
        elif math.isinf(value):
            number = "inf" if value > 0 else "-inf"
        else:
            number = repr(float(np.float32(value))) if dtype.name == "float32" else repr(value)
        return f"{SHORT[dtype.name]}({number})"

    def index(self, ix: Index, values: dict[int, str] | None = None) -> str:
        counter = f"i{ix.level}" if ix.level is not None else ""
        if ix.slot is not None:
            assert values is not None
            counter = values[ix.slot]
        if not counter or ix.step == 0:
            return self.factor(ix.start)
        moved = counter if ix.step == 1 else f"{self.factor(ix.step)}*{counter}"
        return moved if ix.start == 0 else f"({self.factor(ix.start)} + {moved})"

    def place(self, buffer: Buffer, index: Sequence[Index], values: dict[int, str] | None = None) -> str:
        """The flat offset of an element in a buffer."""
        return self.offset(buffer, {axis: self.index(index[axis], values) for axis in buffer.axes})

    def offset(self, buffer: Buffer, index: dict[int, str]) -> str:
        terms = []
        for axis, step in zip(buffer.axes, row_major(buffer.shape), strict=True):
            if index[axis] != "0":
                terms.append(index[axis] if step == 1 else f"{index[axis]}*{self.factor(step)}")
        return " + ".join(terms) or "0"

    def position(self, s: Statement) -> str:
        """The flat position of the statement's element in its whole result."""
        shape = s.node.type.shape
        return (
            "("
            + self.offset(
                Buffer(("work", 0), tuple(range(len(shape))), shape),
                {a: self.index(ix) for a, ix in enumerate(s.target)},
            )
            + ")"
        )

    # ---- products

    def product(self, product: Product, depth: int) -> None:
        node = product.node
        dtype = node.type.dtype
        for size in product.batch:
            self.put(depth, f"for i{depth - 1} in range({self.size(size)}):", node.id)
            depth += 1
        flags, places = [], []
        for side, access in enumerate((product.left, product.right)):
            found = blas_operand(self.graph, product, side)
            assert found is not None, "a product's operands are made readable before scheduling"
            flags.append(
                (
                    int(found[0]),
                    f"max(1, {self.size(found[1])})" if isinstance(found[1], dims.Dim) else str(max(1, found[1])),
                )
            )
            places.append(self.element(access, len(product.batch), dtype))
        result = self.plan.buffers[node.id]
        at = tuple(Index(level, 0, 1) for level in range(len(product.batch))) + (Index(None),) * 2
        target = self.element_of(result, at, dtype)
        m, n, k = (self.size(s) for s in (product.rows, product.columns, product.inner))
        (ta, lda), (tb, ldb) = flags
        operands = f"{places[0]}, {lda}, {places[1]}, {ldb}"
        if self.scratch:
            call = f"tile_{SHORT[dtype.name]}({ta}, {tb}, {m}, {n}, {k}, {operands}, 0, {target}, {n}, {self.scratch})"
        else:
            one, zero = self.literal(1.0, dtype), self.literal(0.0, dtype)
            name = f"gemm_{SHORT[dtype.name]}"
            call = f"{name}({ta}, {tb}, {m}, {n}, {k}, {one}, {operands}, {zero}, {target}, max(1, {n}))"
        self.put(depth, call, node.id)

    def element(self, access: Access, batch: int, dtype: DType) -> str:
        """The address of a product operand's first element, within its batch."""
        root = access.root
        shape = self.graph.nodes[root].type.shape
        while root in self.plan.aliases:
            root = self.plan.aliases[root]
        buffer = Buffer(self.plan.buffers[root].place, tuple(range(len(shape))), shape)
        index = tuple(ix if ix.level is None or ix.level < batch else Index(None, ix.start) for ix in access.index)
        return self.element_of(buffer, index, dtype)

    def element_of(self, buffer: Buffer, index: Sequence[Index], dtype: DType) -> str:
        offset = self.place(buffer, index)
        base = self.address(buffer.place)
        return base if offset == "0" else f"{base} + {dtype.itemsize}*({offset})"


def _item(statement: Statement) -> Item:
    return statement.path[0] if statement.path else statement


_TABLE = {"input": "inputs", "output": "outputs", "state": "state"}


def _fill(code: str, names: dict[str, str], attribute: Any = None) -> str:
    """A template with its letters and {attributes} replaced."""

    def replace(match: re.Match[str]) -> str:
        if match.group(1) is not None:
            return str(attribute(match.group(1)))
        return names.get(match.group(0), match.group(0))

    return re.sub(r"\{(\w+)\}|\b[A-Za-z_]\w*\b", replace, code)


def annotate(text: Text, graph: Graph) -> str:
    """The source for people: behind a line, each node that it computes, with the user's line."""
    out = []
    for line in text.lines:
        notes = []
        for id in dict.fromkeys(line.nodes):
            node = graph.nodes[id]
            of = f", gradient of {_clean(node.forward)}" if node.forward else ""
            notes.append(f"%{id} {_clean(node.name)}{of}  {_clean(str(node.origin))}")
        out.append(f"{line.text}  # {'; '.join(notes)}" if notes else line.text)
    return "\n".join(out) + "\n"


def _clean(text: str) -> str:
    """User text inside a comment: one line, nothing that ends it."""
    return "".join(c if c.isprintable() else "?" for c in text)[:80]
