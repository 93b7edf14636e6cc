"""The source of loop nests and products: the inside of a kernel's functions."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from graphc.codegen import control, product, tiles
from graphc.codegen.blocks import BLOCK, Blocks
from graphc.codegen.line import Line
from graphc.codegen.sums import HELD
from graphc.codegen.watch import NOT_FINITE, Watch
from graphc.codegen.whole import Function, Loads
from graphc.ir import dims
from graphc.ir.dims import Size
from graphc.ir.graph import Graph
from graphc.ir.node import Node
from graphc.ir.op import LETTERS, Kind, indexed
from graphc.ir.template import template
from graphc.ir.types import BOOL, FLOAT32, FLOAT64, INT32, INT64, UINT8, DType
from graphc.schedule.access import ZERO, Access, Index, is_formula, row_major, steps_of
from graphc.schedule.joined import joined, rows_alike
from graphc.schedule.plan import (
    Block,
    Buffer,
    Combine,
    Commit,
    Control,
    Form,
    Group,
    Item,
    Loop,
    Product,
    Ready,
    Schedule,
    Statement,
    memory_of,
)
from graphc.schedule.stages import is_function, statements_in
from graphc.schedule.sums import LINE, SHORT_ROW, STEPS, adds_rows, sizes_met

SHORT = {FLOAT32: "f32", FLOAT64: "f64", INT32: "i32", INT64: "i64", UINT8: "u8", BOOL: "bool"}
NO_OTHER: Mapping[int, str] = {}
UNROLLED = 128  # steps of an inner loop that LLVM may unroll


class Nest:
    """Writes the body of one function: loops, statements and products, on typed pointers.

    ``symbols`` maps each size to its local name. Where ``group`` is not None the outermost loops run from ``lo`` to
    ``hi``, the rows of shard number ``shard``. ``functions`` are those of bodies that it calls, by their text: its
    own, or those of the function that it is a part of. Where it ``stops``, Ctrl-C ends its loops over bodies. ``apart``
    says that it is compiled apart from the kernel.
    """

    def __init__(
        self,
        plan: Schedule,
        symbols: Mapping[str, str],
        failures: list[Node],
        functions: dict[str, Function] | None = None,
        stops: bool = True,
        apart: bool = False,
    ) -> None:
        self.apart = apart
        self.numbered: dict[tuple[str, tuple[int | str, ...]], str] = {}  # names of locals in a function apart
        self.counts = Counter[str]()
        self.sizes: set[str] = set()  # symbols that something was written with
        self.makes: list[int] = []  # nodes whose values have got their names, in order
        self.reads: list[int] = []  # nodes whose values were read
        self.plan, self.graph, self.symbols, self.failures = plan, plan.graph, symbols, failures
        self.functions: dict[str, Function] = {} if functions is None else functions
        self.stops = stops
        self.watch = None if plan.watched is None else Watch(self.graph, plan.watched)
        self.clock: Mapping[int, int] = {}  # id of an item -> what its time is added to, where times are taken
        self.margin = 0  # levels of indentation around the items
        self.group: Group | None = None
        self.body: list[Line] = []
        self.places: dict[tuple[str, int], None] = {}  # whose addresses are needed
        self.repeated: dict[str, str] = {}  # the same element of all rows -> where it is repeated for several
        self.starts: dict[str, str] = {}  # of pointers that may begin elsewhere than their place
        self.rows_read: dict[str, int] = {}  # in a function apart: names of constant indices, and what they are
        self.pointers: dict[str, tuple[tuple[str, int], DType]] = {}

    def inside(self, plan: Schedule) -> Nest:
        """The writer of a body's function."""
        return Nest(plan, self.symbols, self.failures, self.functions, self.stops)

    def write(self, items: Sequence[Item], group: Group | None, margin: int) -> None:
        """Appends the code of ``items``."""
        self.group, self.margin = group, margin
        loads: Loads = {}
        start = len(self.body)
        for item in items:
            if isinstance(item, Commit):  # nothing is stored of what is at fault
                start = self.watched(start)
            self.item(item, 1, loads)
            if id(item) in self.clock:
                self.put(1, f"tick(times, {self.clock[id(item)]})")
        self.watched(start)

    def watched(self, start: int) -> int:
        """Ends the kernel where the lines from ``start`` on have met a value at fault; how many lines there are now."""
        if any(line.text.lstrip().startswith("bad = ") for line in self.body[start:]):
            self.body.insert(start, Line("    " * (1 + self.margin) + "bad = False"))
            self.put(1, "if bad:")
            self.put(2, f"return fail(work, {NOT_FINITE})")
        return len(self.body)

    def shards(self, group: Group, depth: int) -> None:
        """Appends the code of a group, one shard after the other."""
        self.line(depth, f"count = {shard_count(self, group)}")
        self.line(depth, "for shard in range(count):")
        size = self.factor(group.size)
        self.line(depth + 1, f"lo, hi = {size}*shard//count, {size}*(shard + 1)//count")
        self.write(group.items, group, depth)

    # ---- names

    def size(self, size: Size) -> str:
        return dims.source(size, self.symbol)

    def symbol(self, name: str) -> str:
        """The local name of a size."""
        self.sizes.add(name)
        return self.symbols[name]

    def pointer(self, place: tuple[str, int], dtype: DType) -> str:
        """The name of the typed pointer to a place."""
        name = f"{self.address(place)[:-3]}_{SHORT[dtype]}"
        self.pointers.setdefault(name, (place, dtype))
        return name

    def address(self, place: tuple[str, int]) -> str:
        """The name of a place's address."""
        self.places.setdefault(place)
        return f"{self.named('place', *place) if self.apart else f'{place[0]}{place[1]}'}_at"

    @staticmethod
    def primitive(name: str, dtype: DType) -> str:
        """The name of a function that there is for each dtype."""
        return f"{name}_{SHORT[dtype]}"

    def factor(self, size: Size) -> str:
        """A size, in brackets where it is a sum."""
        text = self.size(size)
        return f"({text})" if " " in text else text

    def named(self, kind: str, *key: int | str) -> str:
        """The name of a local. In a function apart they are numbered as they come: equal functions have equal text."""
        if not self.apart:
            return kind + "_".join(map(str, key))
        if (kind, key) not in self.numbered:
            self.numbered[kind, key] = f"{kind}{self.counts[kind]}"
            self.counts[kind] += 1
        return self.numbered[kind, key]

    def define(self, depth: int, node: Node, code: str) -> str:
        """Gives a node's value its name, which is returned."""
        self.makes.append(node.id)
        name = self.named("v", node.id)
        self.put(depth, f"{name} = {code}", node.id)
        return name

    def read(self, id: int) -> str:
        """The name of a node's value, where something reads it."""
        self.reads.append(id)
        return self.named("v", id)

    # ---- lines

    def whole(self, addresses: Sequence[str], apart: bool = True) -> list[Line]:
        """The body behind the declarations of what it uses, ``addresses`` among them.

        LLVM is told that places lie ``apart``.
        """
        scopes = {place: k for k, place in enumerate(dict.fromkeys(p for p, _ in self.pointers.values()))}
        sizes = [f"    {n} = word(dims, {k})" for k, (name, n) in enumerate(self.symbols.items()) if name in self.sizes]
        pointers = []
        for name, (place, dtype) in self.pointers.items():
            kind = SHORT[dtype] if dtype.kind != "b" else "bool_"
            at = self.starts.get(name) or self.address(place)
            where = f"local({BLOCK}" if place[0] == "block" else f"buffer({at}"
            scope = f"{scopes[place]}, {len(scopes)}" if apart else "0, 1"
            pointers.append(f"    {name} = {where}, {kind}, {scope})")
        return [*map(Line, [*sizes, *addresses, *pointers]), *self.body]

    def line(self, depth: int, text: str) -> None:
        """A line of the function around the items."""
        self.body.append(Line("    " * depth + text))

    def put(self, depth: int, text: str, *nodes: int) -> None:
        self.body.append(Line("    " * (depth + self.margin) + text, nodes))

    # ---- items

    def item(self, item: Item, depth: int, loads: Loads) -> None:
        if isinstance(item, Loop):
            self.loop(item, depth, loads)
        elif isinstance(item, Product):
            product.write(self, item, depth)
        elif isinstance(item, Control):
            control.write(self, item, depth)
        elif isinstance(item, Ready):
            control.ready(self, item, depth)
        elif isinstance(item, Combine):
            self.combine(item, depth)
        elif isinstance(item, Commit):
            self.commit(item, depth)
        else:
            self.statement(item, depth, loads)

    def loop(self, loop: Loop, depth: int, loads: Loads) -> None:
        for fold in loop.folds:
            self.start(fold, depth)
        level = depth - 1
        first, last = ("lo", "hi") if level == 0 and self.group is not None else ("0", self.size(loop.size))
        if (whole := joined(self.plan, loop, level)) is not None:
            inside, level, loop = whole
            last = f"hi*{self.factor(inside)}" if last == "hi" else self.size(loop.size)
            first = f"lo*{self.factor(inside)}" if first == "lo" else first
        elif self.together(loop, level, first, last, depth, loads):
            return
        blocks = Blocks(self, loop) if depth == 1 else None
        phases = blocks if blocks is not None and blocks.gain else None
        cut = self.plan.blocks.get(id(loop), Block()).sums
        rows = min([every for _, every in cut] + ([phases.rows] if phases is not None else []), default=1)
        if rows == 1:
            span = f"unknown({last})" if depth > 1 and self.runs_along(loop, level) else f"{first}, {last}"
            self.put(depth, f"for i{level} in range({span.removeprefix('0, ')}):")
            for fold, every in cut:
                self.before(fold, every, "1", "", depth + 1)
            self.steps(loop, depth, loads)
        else:
            start = first
            if level > 0 and not isinstance(loop.size, int) and all(isinstance(s, Statement) for s in loop.body):
                for fold, _ in cut:  # most such loops are over before a block is full
                    if fold not in loop.folds:
                        lanes = 2 * LINE // fold.node.type.dtype.itemsize
                        self.count(fold, f"min({last}, {STEPS // 4}) + {self.factor(loop.size)}//{lanes}", STEPS, depth)
                self.put(depth, f"for i{level} in range(min({last}, {rows})):")
                self.steps(loop, depth, loads)
                start = str(rows)
            self.put(depth, f"for b{level} in range({start}, {last}, {rows}):")
            self.put(depth + 1, f"e{level} = min(b{level} + {rows}, {last})")
            for fold, every in cut:
                later = f"b{level} > {first}" if fold in loop.folds and start == first else ""
                self.before(fold, every, f"e{level} - b{level}", later, depth + 1)
            self.margin += 1
            if phases is not None:
                phases.write(loads)
            elif (added := adds_rows(self.graph, loop)) is not None:
                self.rows(added, level, depth)
            else:
                self.put(depth, f"for i{level} in range(b{level}, e{level}):")
                self.steps(loop, depth, loads)
            self.margin -= 1
        for fold in loop.folds:
            self.finish(fold, depth)

    def together(self, loop: Loop, level: int, first: str, last: str, depth: int, loads: Loads) -> bool:
        """Writes a loop over short rows so that several rows are one; False where they must stay apart.

        Functions are evaluated in vectors, and most of a short row would be what is left over.
        """
        if (found := rows_alike(self.plan, loop, level)) is None:
            return False
        inner, again = found
        kept = {access.root: self.plan.buffers.get(access.root) for access in again}
        at, width, number = f"[i{level + 1}]", self.factor(inner.size), len(self.body)
        if any((b := kept[a.root]) is None or f"[{self.place(b, a.index)}]" != at for a in again):
            return False
        many, outside = self.named("many", number), dict(self.repeated)
        self.put(depth, f"{many} = max(min({BLOCK}//max({width}, 1), {last} - {first}), 1)")
        for root, buffer in kept.items():
            assert buffer is not None
            dtype, base = self.graph.nodes[root].type.dtype, self.address(buffer.place)
            held = self.pointer(buffer.place, dtype)
            copy, rows = (self.primitive(self.named(kind, number, root), dtype) for kind in ("copy", "rows"))
            self.pointers[copy] = ("block", -1 - len(self.pointers)), dtype
            self.pointers[rows] = buffer.place, dtype
            self.starts[rows] = f"address({copy}) if {width} <= {BLOCK // 2} else {base}"
            self.repeated[held + at] = rows + at
            self.put(depth, f"for r in range({many} if {width} <= {BLOCK // 2} else 0):", root)
            row = f"{dtype.itemsize}*{width}"
            self.put(depth + 1, f"copy_bytes(address({copy}) + r*{row}, {base}, {row})", root)
        self.put(depth, f"for b{level} in range(({last} - {first} + {many} - 1)//{many}):")
        row = f"{first} + b{level}*{many}"
        self.put(depth + 1, f"for i{level} in range({row}, {row} + 1):")  # once
        self.put(depth + 2, f"for i{level + 1} in range(min({many}, {last} - i{level})*{width}):")
        self.steps(inner, depth + 2, loads)
        self.repeated = outside
        return True

    def steps(self, loop: Loop, depth: int, loads: Loads) -> None:
        """All that a loop does in a step."""
        inner = dict(loads)
        for item in loop.body:
            self.item(item, depth + 1, inner)
        for scatter in self.plan.meeting.get(id(loop), []):
            self.meet(scatter, depth + 1, inner)

    @staticmethod
    def runs_along(loop: Loop, level: int) -> bool:
        """True for a short loop along memory, which LLVM would unroll, to gather and scatter across the loop around."""
        inside = list(statements_in(loop))
        few = SHORT_ROW.get(inside[0].node.type.dtype.itemsize, 0) if inside else 0
        if not isinstance(loop.size, int) or not few < loop.size <= UNROLLED or any(map(is_function, inside)):
            return False
        operands = [access.index for s in inside for access in s.operands]
        targets = [s.target for s in inside if s not in loop.folds]
        moving = [index for index in (*operands, *targets) if any(level in ix.levels for ix in index)]
        return bool(moving) and all(level in index[-1].levels for index in moving)

    def start(self, fold: Statement, depth: int) -> None:
        """The identity of a reduction, in its scalar or all over its accumulator."""
        node, buffer = fold.node, self.home(fold)
        if fold.form in (Form.PLACE, Form.SCATTER):
            identity = node.op.identity
            value = node.attrs.get("fill") if identity is None else identity(node.type.dtype)
            whole = node.op.name == "place" and self.graph.nodes[node.inputs[0]].type.shape == node.type.shape
            if value is None or whole:
                return
            inner = list(range(node.type.ndim))
            levels = {axis: level for level, axis in fold.kept.items() if level < fold.start_depth}
        else:
            assert node.op.identity is not None
            value = node.op.identity(node.type.dtype)
            levels = {axis: ix.level for axis, ix in enumerate(fold.target) if ix.plain and ix.level is not None}
            levels = {axis: level for axis, level in levels.items() if level < fold.open_depth}
            inner = fold.accumulated
            if not inner:
                self.define(depth, node, self.literal(value, node.type.dtype))
                if node.id in self.plan.carried:
                    nothing = self.literal(-0.0, node.type.dtype)  # x + -0.0 is x, so compilers leave that out
                    s, c = self.named("s", node.id), self.named("c", node.id)
                    self.put(depth, f"{s}, {c} = {nothing}, {nothing}", node.id)
                if node.id in self.plan.counted:
                    self.put(depth, f"{self.named('r', node.id)} = 0", node.id)
                return
            if node.id in self.plan.rooms:
                self.put(depth, f"{self.named('r', node.id)}, {self.named('k', node.id)} = 0, 0", node.id)
        assert buffer is not None
        if fold.form is Form.SCATTER and node.id in self.plan.rooms:
            self.put(depth, f"clear_met({self.room(node)}, {self.met(fold)[0]})", node.id)
        index = []
        for axis in range(node.type.ndim):
            if axis in levels:
                index.append(f"i{levels[axis]}")
            elif axis in inner:
                if axis < node.type.ndim - 1:
                    self.put(depth, f"for j{axis} in range({self.size(node.type.shape[axis])}):", node.id)
                    depth += 1
                index.append(f"j{axis}")
            else:
                index.append("0")
        held = self.pointer(buffer.place, node.type.dtype)
        at = self.offset(buffer, dict(enumerate(index)))
        first = f"{held}[{at}] = {self.literal(value, node.type.dtype)}"
        if index[-1:] != [f"j{node.type.ndim - 1}"]:
            self.put(depth, first, node.id)
            return
        for span in self.beside(node, index, depth):
            self.put(depth, f"for j{node.type.ndim - 1} in range({span}):", node.id)
            self.put(depth + 1, first, node.id)

    def beside(self, node: Node, index: Sequence[str], depth: int) -> list[str]:
        """Where a row is filled: beside what is placed in it, if that is most of the whole."""
        *outer, width = node.type.shape
        whole = [self.size(width)]
        if node.op.name != "place" or set(node.attrs["step"]) != {1}:
            return whole
        starts, sizes = node.attrs["start"], self.graph.nodes[node.inputs[0]].type.shape
        if not all(isinstance(n, int) for n in (*starts, *sizes, *node.type.shape)):
            return whole
        placed, size = dims.product(sizes), node.type.size
        if isinstance(placed, int) and isinstance(size, int) and 2 * placed < size:  # functions of all may be one
            return whole
        low, high = starts[-1], starts[-1] + sizes[-1]
        tests = []
        for j, start, size, n in zip(index, starts, sizes, outer, strict=False):
            tests += [f"{j} < {start}"] * (start > 0) + [f"{j} >= {start + size}"] * (start + size < n)
        if not tests:
            return [f"{low}"] * (low > 0) + [f"{high}, {width}"] * (high < width)
        self.put(depth, f"low, high = {low}, {high}", node.id)
        self.put(depth, f"if {' or '.join(tests)}:", node.id)
        self.put(depth + 1, f"low, high = {width}, {width}", node.id)
        return ["low", f"high, {width}"]

    def home(self, fold: Statement) -> Buffer | None:
        """Where a reduction's result is kept: each shard of its own group has a part."""
        partial = self.plan.partials.get(fold.node.id) if self.group is not None else None
        return partial or self.plan.buffers.get(fold.node.id)

    def finish(self, fold: Statement, depth: int) -> None:
        """Completes what was carried on, and stores a complete scalar where readers further off need it."""
        node = fold.node
        if fold.form is Form.SCATTER and node.id in self.plan.rooms:
            places, width = self.met(fold)
            name = self.primitive("settle_met", node.type.dtype)
            self.put(depth, f"{name}({self.room(node)}, {places}, {width}, {self.parts(fold)})", node.id)
        elif fold.form is Form.REDUCE and node.id in self.plan.rooms:
            self.put(depth, f"if {self.named('k', node.id)} > 0:", node.id)
            self.put(depth + 1, f"{self.primitive('settle', node.type.dtype)}({self.sums(fold)})", node.id)
        elif fold.form is Form.REDUCE and not fold.accumulated:
            if node.id in self.plan.carried:
                s, c = self.named("s", node.id), self.named("c", node.id)
                self.define(depth, node, f"{s} + ({self.read(node.id)} + {c})")
            self.keep(fold, depth)

    def keep(self, fold: Statement, depth: int) -> None:
        """Stores a complete scalar where readers further off need it."""
        if (buffer := self.home(fold)) is not None:
            self.store(fold, buffer, self.read(fold.node.id), depth)

    # ---- sums in blocks

    def before(self, fold: Statement, every: int, steps: str, later: str, depth: int) -> None:
        """Before a block of so many steps: carries on what the last one added up, if there was one (``later``)."""
        if fold.accumulated:
            self.count(fold, steps, every, depth)
        else:
            self.carry(fold, later, depth)

    def carry(self, fold: Statement, when: str, depth: int) -> None:
        """Adds what has come together to what came before that, where ``when`` holds."""
        id, dtype = fold.node.id, fold.node.type.dtype
        if when:
            self.put(depth, f"if {when}:", id)
            depth += 1
        if fold.accumulated:
            k = self.named("k", id)
            self.put(depth, f"{self.primitive('carry', dtype)}({self.sums(fold)}, {k})", id)
            self.put(depth, f"{self.named('r', id)}, {k} = 0, {k} + 1", id)
            return
        v, s, c, t = self.read(id), *(self.named(letter, id) for letter in "sct")
        self.put(depth, f"{t} = {s} + ({v} + {c})", id)
        self.put(depth, f"{c} = lost({s}, {v} + {c}, {t})", id)
        self.put(depth, f"{s}, {v} = {t}, {self.literal(0, dtype)}", id)
        if id in self.plan.counted:
            self.put(depth, f"{self.named('r', id)} = 0", id)

    def count(self, fold: Statement, steps: str, every: int, depth: int) -> None:
        """Before so many steps more: carries on where there would be more than ``every``."""
        r = self.named("r", fold.node.id)
        maybe = [self.size(fold.node.type.shape[axis]) for axis in fold.accumulated if axis not in fold.row]
        folds = "".join(f"{size} == 1 and " for size in maybe)  # else each step adds to a row of its own
        self.carry(fold, f"{folds}{r} + {steps} > {every}", depth)
        self.put(depth, f"{r} = {r} + {steps}", fold.node.id)

    def rows(self, fold: Statement, level: int, depth: int) -> None:
        """Adds up the rows of a block as they lie in memory."""
        (access,), node = fold.operands, fold.node
        shape, dtype = self.graph.nodes[access.root].type.shape, node.type.dtype
        step = steps_of(access.index, shape)[level]
        first = self.element(access, level + 1, dtype, {level: f"b{level}"})
        width = self.size(dims.product(node.type.shape[a] for a in fold.row))
        given = f"e{level} - b{level}, {width}, {first}, {self.size(step)}, {self.parts(fold)}"
        self.put(depth, f"{self.primitive('add_rows', dtype)}({given})", node.id)

    def meet(self, scatter: Statement, depth: int, loads: Loads) -> None:
        """Notes that a row was added to a place, and carries on what came together there after STEPS of them."""
        node, dtype = scatter.node, scatter.node.type.dtype
        behind = indexed(node.attrs)[-1] + 1
        place = Buffer(("work", 0), tuple(range(behind)), node.type.shape[:behind])
        indices = enumerate(scatter.operands[:-1])
        slots = {k: self.value(scatter, access, [], depth, loads) for k, access in indices}
        at = self.place(place, scatter.target, slots)
        marks = self.pointer(("work", self.plan.rooms[node.id].slot), np.dtype("uint8"))
        places, width = self.met(scatter)
        m = self.named("m", node.id)
        self.put(depth, f"{m} = u8({marks}[{at}] + 1)", node.id)
        self.put(depth, f"{marks}[{at}] = {m}", node.id)
        self.put(depth, f"if {m} % {STEPS} == 0:", node.id)
        row = f"{self.parts(scatter)} + {dtype.itemsize}*({at})*{width}"
        given = f"{self.room(node)}, {places}, {at}, {width}, {row}, i64({m})"
        self.put(depth + 1, f"{self.primitive('carry_met', dtype)}({given})", node.id)
        self.put(depth + 1, f"{marks}[{at}] = u8({HELD})", node.id)

    def met(self, scatter: Statement) -> tuple[str, str]:
        """How many places a scatter adds to, and the elements of each."""
        places, width = map(self.factor, sizes_met(scatter.node))
        return places, width

    def sums(self, fold: Statement) -> str:
        """How many elements of its result a reduction in memory adds to at a time, and what `sums.carry` wants."""
        width, room = dims.product(fold.node.type.shape[a] for a in fold.row), self.room(fold.node)
        rests = self.size(dims.multiply(width, fold.node.type.dtype.itemsize))
        return f"{self.size(width)}, {self.parts(fold)}, {room}, {room} + {rests}"

    def parts(self, fold: Statement) -> str:
        """The address of the elements that come together in a block."""
        home, inner = self.home(fold), fold.accumulated
        assert home is not None
        index = [Index(None, ix.start) if axis in inner else ix for axis, ix in enumerate(fold.target)]
        return self.element_of(home, [ZERO] * len(index) if fold.form is Form.SCATTER else index, fold.node.type.dtype)

    def room(self, node: Node) -> str:
        """The address of the memory beside a result, for what is carried on."""
        room = self.plan.rooms[node.id]
        base = self.address(("work", room.slot))
        return f"{base} + shard*{self.factor(room.bytes)}" if room.each else base

    def store(self, statement: Statement, buffer: Buffer, value: str, depth: int) -> None:
        held = self.pointer(buffer.place, statement.node.type.dtype)
        self.put(depth, f"{held}[{self.place(buffer, statement.target)}] = {value}", statement.node.id)

    def commit(self, item: Commit, depth: int) -> None:
        node = self.graph.nodes[item.root]
        target = self.pointer(("state", self.plan.state.index(item.state)), node.type.dtype)
        held = self.pointer(self.plan.buffers[item.root].place, node.type.dtype)
        self.put(depth, f"for i0 in range({self.size(node.type.size)}):", item.root)
        self.put(depth + 1, f"{target}[i0] = {held}[i0]", item.root)

    def combine(self, item: Combine, depth: int) -> None:
        """The first shard's part, then each other's in order."""
        node = item.fold.node
        parts, whole = self.plan.partials[node.id], self.plan.buffers[node.id]
        held, part = (self.pointer(b.place, node.type.dtype) for b in (whole, parts))
        axes = range(len(whole.axes))
        at = self.offset(replace(whole, axes=tuple(axes)), {k: f"j{k}" for k in axes})
        self.put(depth, f"for c in range({shard_count(self, item.group)}):", node.id)
        for k in axes:
            self.put(depth + 1 + k, f"for j{k} in range({self.size(whole.shape[k])}):")
        inner = depth + 1 + len(axes)
        there = f"{part}[c*{self.factor(parts.step)}{'' if at == '0' else ' + ' + at}]"
        whole_now = self.combined(node, f"{held}[{at}]", there)
        self.put(inner, f"{held}[{at}] = {there} if c == 0 else {whole_now}", node.id)

    def statement(self, s: Statement, depth: int, loads: Loads) -> None:
        buffer = self.plan.buffers.get(s.node.id)
        if s.form is Form.CALL:
            self.call(s, depth)
            return
        values = self.operands(s, depth, loads)
        self.compute(s, values, buffer, depth)
        if self.watch is not None:
            self.watch.write(self, s, values, depth)

    def compute(self, s: Statement, values: Sequence[str], buffer: Buffer | None, depth: int) -> None:
        """What a statement does with its operands' values."""
        node, op = s.node, s.node.op
        if s.form is Form.CHECK:
            self.check(s, values[0], depth)
        elif s.form is Form.MAP:
            code = values[0] if op.kind is Kind.GATHER else self.expression(s, values)
            value = self.define(depth, node, code)
            if buffer is not None:
                self.store(s, buffer, value, depth)
        elif s.form is Form.REDUCE:
            self.reduce(s, values[0], self.home(s), depth)
        else:
            assert buffer is not None
            if s.start_depth == len(s.path) and (s.form is Form.SCATTER or node.attrs.get("fill") is not None):
                self.start(s, depth)
            held = self.pointer(buffer.place, node.type.dtype)
            slots = dict(enumerate(values))
            at = self.place(buffer, s.target, slots, placed=s.form is Form.PLACE)
            if s.form is Form.PLACE and "overlapping" in op.facts:
                together = self.narrow(f"{held}[{at}] + {values[0]}", node.type.dtype)
                self.put(depth, f"{held}[{at}] = {together}", node.id)
            elif s.form is Form.PLACE:
                self.put(depth, f"{held}[{at}] = {values[0]}", node.id)
            else:
                self.put(depth, f"{held}[{at}] = {self.combined(node, f'{held}[{at}]', values[-1])}", node.id)

    def call(self, s: Statement, depth: int) -> None:
        """A routine: dtype of the first operand, addresses of all, of the result and of scratch, sizes, attributes."""
        node, op = s.node, s.node.op
        assert op.core is not None
        types = [self.graph.nodes[i].type for i in node.inputs]
        places = [self.element(access, len(s.sizes), t.dtype) for access, t in zip(s.operands, types, strict=True)]
        places.append(self.element_of(self.plan.buffers[node.id], s.target, node.type.dtype))
        if node.id in self.plan.rooms:
            places.append(self.room(node))
        sizes = [self.size(n) for t, core in zip(types, op.core, strict=True) for n in t.shape[t.ndim - core :]]
        given = [
            str(v) if isinstance(v := node.attrs[name], bool) else self.size(v)
            for name in op.attrs
            if name != "function"
        ]
        code = code_of(self.graph, node)
        if code in tiles.ROUTINES:
            places.append("scratch")
        element = "bool_" if types[0].dtype.kind == "b" else SHORT[types[0].dtype]
        self.put(depth, f"{code}({', '.join([element, *places, *sizes, *given])})", node.id)

    def reduce(self, s: Statement, value: str, buffer: Buffer | None, depth: int) -> None:
        node = s.node
        value = self.mapped(s, value)
        if s.open_depth == len(s.path):  # nothing to combine
            held = self.define(depth, node, value)
            if buffer is not None:
                self.store(s, buffer, held, depth)
            return
        if s.accumulated:
            assert buffer is not None
            held = f"{self.pointer(buffer.place, node.type.dtype)}[{self.place(buffer, s.target)}]"
        else:
            self.define(depth, node, self.combined(node, self.read(node.id), value))
            return
        self.put(depth, f"{held} = {self.combined(node, held, value)}", node.id)

    def mapped(self, s: Statement, value: str) -> str:
        """What a reduction makes of an element, in the dtype of its result (sums of small integers are int64)."""
        node, dtype = s.node, s.node.type.dtype
        before = self.graph.nodes[s.operands[0].root].type.dtype
        made = template(node.op.map).filled({"a": value}, lambda name: self.attribute(node, before, name))
        return made if made == value and before == dtype else f"{SHORT[dtype]}({made})"

    def combined(self, node: Node, acc: str, value: str) -> str:
        """Two partial results of a reduction as one, or what a scatter makes of two elements at one place."""
        assert node.op.combine is not None
        return self.narrow(template(node.op.combine).filled({"acc": acc, "a": value}), node.type.dtype)

    def check(self, s: Statement, value: str, depth: int) -> None:
        """Leaves the kernel when the value is out of range, before anything has been stored."""
        low, high = (self.factor(s.node.attrs[k]) for k in ("low", "high"))
        self.put(depth, f"if {value} < {low} or {value} >= {high}:", s.node.id)
        self.fail(s.node, self.position(s), value, depth + 1)

    def fail(self, node: Node, where: str, value: str, depth: int) -> None:
        """Leaves the kernel."""
        if node not in self.failures:
            self.failures.append(node)
        self.put(depth, f"set_word(work, 0, {where})")
        self.put(depth, f"set_word(work, 1, {value})")
        self.put(depth, f"return fail(work, {self.failures.index(node) + 1})")

    # ---- expressions

    def operands(self, s: Statement, depth: int, loads: Loads) -> list[str]:
        """The text of each operand's value; data-dependent ones last, since they need the others."""
        values = [""] * len(s.operands)
        late = [any(ix.slot is not None for ix in a.index) for a in s.operands]
        for slot in sorted(range(len(s.operands)), key=lambda k: late[k]):
            values[slot] = self.value(s, s.operands[slot], values, depth, loads)
        return values

    def value(self, s: Statement, access: Access, values: Sequence[str], depth: int, loads: Loads) -> str:
        node = self.graph.nodes[access.root]
        if node.op.name == "constant" and node.type.shape == ():
            assert node.value is not None
            return self.literal(node.value.item(), node.type.dtype)
        if is_formula(node):
            return self.formula(node, access)
        made = self.plan.statements.get(node.id)
        if made and made[0].form in (Form.MAP, Form.REDUCE) and self.in_scope(made[0], s):
            return self.read(node.id)
        root = memory_of(self.plan.aliases, node.id)
        buffer = self.plan.buffers[root]
        if root != node.id:  # the same memory in another shape
            buffer = Buffer(buffer.place, tuple(range(node.type.ndim)), node.type.shape, buffer.step)
        held = self.pointer(buffer.place, node.type.dtype)
        text = f"{held}[{self.place(buffer, access.index, dict(enumerate(values)))}]"
        text = self.repeated.get(text, text)
        if (root, text) not in loads:
            loads[root, text] = f"x{len(self.body)}"
            self.put(depth, f"{loads[root, text]} = {text}")
        return loads[root, text]

    def formula(self, node: Node, access: Access) -> str:
        """A value that its index gives."""
        whole = Buffer(("work", 0), tuple(range(node.type.ndim)), node.type.shape)
        assert isinstance(node.op.code, str)
        at = {"position": f"({self.place(whole, access.index)})"}
        return self.narrow(
            template(node.op.code).filled(at, lambda name: self.attribute(node, node.type.dtype, name)),
            node.type.dtype,
        )

    def in_scope(self, producer: Statement, reader: Statement) -> bool:
        """True where the producer's scalar is still at hand at the reader."""
        made = producer.complete_in
        if producer.form is Form.REDUCE and producer.accumulated:
            return False
        if self.plan.scopes[id(producer.item)] != self.plan.scopes[id(reader.item)]:
            return False
        return len(reader.path) >= len(made) and all(a is b for a, b in zip(made, reader.path, strict=False))

    def expression(self, s: Statement, values: Sequence[str]) -> str:
        node = s.node
        types = [self.graph.nodes[i].type for i in node.inputs]
        code = code_of(self.graph, node)
        names = dict(zip(LETTERS, values, strict=False))
        names["position"] = self.position(s) if "position" in code else ""
        in_dtype = types[0].dtype if types else node.type.dtype
        filled = template(code).filled(names, lambda name: self.attribute(node, in_dtype, name))
        return self.narrow(filled, node.type.dtype)

    def attribute(self, node: Node, in_dtype: DType, name: str) -> str:
        if name in ("dtype", "in_dtype"):
            return SHORT[node.type.dtype if name == "dtype" else in_dtype]
        value = node.attrs[name]
        if isinstance(value, (int, dims.Dim)) and not isinstance(value, bool):
            return self.factor(value)
        return self.literal(value, node.type.dtype)

    @staticmethod
    def narrow(code: str, dtype: DType) -> str:
        """Integer arithmetic widens in Numba; this brings it back."""
        return f"{SHORT[dtype]}({code})" if dtype in (INT32, UINT8) else code

    @staticmethod
    def literal(value: Any, dtype: DType) -> str:
        if dtype.kind == "b":
            return str(bool(value))
        if dtype.kind in "iu":
            number = str(int(value))
            return number if dtype == INT64 else f"{SHORT[dtype]}({number})"
        value = float(value)
        if math.isnan(value):
            number = "nan"
        elif math.isinf(value):
            number = "inf" if value > 0 else "-inf"
        else:
            number = repr(float(np.float32(value))) if dtype == FLOAT32 else repr(value)
        return f"{SHORT[dtype]}({number})"

    def index(self, ix: Index, values: Mapping[int, str] | None = None, counters: Mapping[int, str] = NO_OTHER) -> str:
        """An index as source. Levels are counted by i0, i1 and so on, but for those in ``counters``."""
        if ix.more:
            return f"({' + '.join(self.index(replace(term, more=()), values, counters) for term in ix.terms)})"
        counter = counters.get(ix.level, f"i{ix.level}") if ix.level is not None else ""
        if ix.slot is not None:
            assert values is not None
            counter = values[ix.slot]
        if not counter or ix.step == 0:
            return self.factor(ix.start)
        moved = counter if ix.step == 1 else f"{self.factor(ix.step)}*{counter}"
        return moved if ix.start == 0 else f"({self.factor(ix.start)} + {moved})"

    def place(
        self,
        buffer: Buffer,
        index: Sequence[Index],
        values: Mapping[int, str] | None = None,
        counters: Mapping[int, str] = NO_OTHER,
        placed: bool = False,
    ) -> str:
        """The flat offset of an element in a buffer.

        A function apart is told the numbers of the rows that it goes to, and where what is ``placed`` begins, so steps
        that differ in these share it.
        """
        at = {axis: self.index(index[axis], values, counters) for axis in buffer.axes}
        for axis, size in zip(buffer.axes, buffer.shape, strict=True):
            start = index[axis].start
            if not self.apart or size == 1 or not isinstance(start, int) or start == 0:
                continue
            if placed or index[axis] == Index(None, start):
                row = self.named("row", *buffer.place, start)
                self.rows_read[row] = start
                more = self.index(replace(index[axis], start=0), values, counters)
                at[axis] = row if more == "0" else f"({row} + {more})"
        return self.offset(buffer, at)

    def offset(self, buffer: Buffer, index: dict[int, str]) -> str:
        terms = [] if buffer.step == 0 else [f"shard*{self.factor(buffer.step)}"]
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

    # ---- operands of calls

    def element(self, access: Access, batch: int, dtype: DType, counters: Mapping[int, str] = NO_OTHER) -> str:
        """The address of a product operand's first element, within its batch."""
        shape = self.graph.nodes[access.root].type.shape
        root = memory_of(self.plan.aliases, access.root)
        buffer = Buffer(self.plan.buffers[root].place, tuple(range(len(shape))), shape)
        index = tuple(ix.without(lambda level: level >= batch) for ix in access.index)
        return self.element_of(buffer, index, dtype, counters)

    def element_of(
        self, buffer: Buffer, index: Sequence[Index], dtype: DType, counters: Mapping[int, str] = NO_OTHER
    ) -> str:
        offset = self.place(buffer, index, counters=counters)
        base = self.address(buffer.place)
        return base if offset == "0" else f"{base} + {dtype.itemsize}*({offset})"


def code_of(graph: Graph, node: Node) -> str:
    """The scalar expression of a node, or the name of its routine."""
    code = node.op.code
    made = code(node.type, [graph.nodes[i].type for i in node.inputs], node.attrs) if callable(code) else code
    assert made is not None
    return made


def shard_count(nest: Nest, group: Group) -> str:
    """How many shards a group is cut into, as source."""
    return f"shards({nest.size(group.cost)}, {nest.size(group.most)})"
