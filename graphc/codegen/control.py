"""The source of loops and branches: bodies are functions, which a step calls on the addresses of its rows."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from graphc.codegen.line import Line
from graphc.codegen.stop import EVERY, STOPPED
from graphc.codegen.tiles import PACKED
from graphc.codegen.whole import Function, Whole
from graphc.ir import dims
from graphc.ir.dims import Size
from graphc.ir.types import TensorType
from graphc.ops.control import UNBOUNDED
from graphc.schedule.control import CELL, carries, in_cell, operand_type
from graphc.schedule.plan import Buffer, Control, Loop, Product, Ready, Schedule
from graphc.schedule.stages import cost, usual

ARGUMENTS = ("dims", "work", "own", "scratch")  # of a body's function, before the places that it works on
SHARD = ("lo", "hi", "shard")  # more of them, where a shard makes all steps of a loop


def definitions(nest: Whole) -> Iterator[Line]:
    """The functions of bodies that a function calls, each before those that call it."""
    for function in nest.functions.values():
        yield from function.lines
        yield from (Line(""), Line(""))


def write(nest: Whole, item: Control, depth: int) -> None:
    """Appends a loop or a branch."""
    _WRITERS[item.node.op.name](_Writer(nest, item), depth)


def ready(nest: Whole, item: Ready, depth: int) -> None:
    """Appends what stands before the shards of a loop."""
    _Writer(nest, item.loop).pack(depth)


class _Writer:
    """What the kinds of loops and branches have in common."""

    def __init__(self, nest: Whole, item: Control) -> None:
        self.nest, self.item, self.node, self.id = nest, item, item.node, item.node.id
        assert item.node.op.results is not None
        self.types = item.node.op.results([nest.graph.nodes[i].type for i in item.node.inputs], item.node.attrs)
        self.cells = 0
        self.shard = SHARD if nest.group is not None else ()

    def put(self, depth: int, text: str) -> None:
        self.nest.put(depth, text, self.id)

    def operand(self, slot: int) -> str:
        """The address of an operand."""
        kind = self.nest.graph.nodes[self.node.inputs[slot]].type
        return self.nest.element(self.item.operands[slot], 0, kind.dtype)

    def result(self, k: int) -> str | None:
        """The address of a result; None where nothing reads it."""
        id = self.item.results.get(k)
        return None if id is None else self.nest.address(self.nest.plan.buffers[id].place)

    def own(self, what: str, k: int) -> str:
        """The address of something in its own memory."""
        if self.item.room not in self.nest.plan.rooms:
            return "0"
        base, offset = self.nest.address(("work", self.nest.plan.rooms[self.item.room].slot)), self.item.layout[what, k]
        return base if offset == 0 else f"{base} + {self.nest.factor(offset)}"

    def bytes(self, kind: TensorType) -> str:
        """How many a value takes, in brackets where that is a sum."""
        return self.nest.factor(dims.multiply(kind.size, kind.dtype.itemsize))

    def cell(self, depth: int) -> str:
        """A new line of the stack."""
        name = self.nest.named("g", self.id, self.cells)
        self.cells += 1
        self.put(depth, f"{name} = stack({CELL})")
        return name

    def local(self, depth: int, letter: str, k: int, value: str) -> str:
        name = self.nest.named(letter, self.id, k)
        self.put(depth, f"{name} = {value}")
        return name

    def call(self, depth: int, body: str, inputs: Sequence[str], outputs: Sequence[str]) -> None:
        """Runs a body, whose status ends the kernel where it is not 0."""
        plan = self.item.bodies[body]
        function = function_of(self.nest, plan, self.shard)
        first = len(self.nest.plan.state) + len(self.nest.plan.constants) + self.item.held[body]
        given = {("input", k): at for k, at in enumerate(inputs)} | {("output", k): at for k, at in enumerate(outputs)}
        given |= {("packed", k): self.own("packed", k) for k in range(len(self.item.packed))}
        places = [
            self.nest.address(("state", first + place[1])) if place[0] == "state" else given[place]
            for place in function.places
        ]
        arguments = ["dims", "work", self.own("inner", 0), "scratch", *self.shard, *places]
        self.put(depth, f"status = {function.name}({', '.join(arguments)})")
        self.put(depth, "if status != 0:")
        self.put(depth + 1, "return status")

    def pack(self, depth: int) -> None:
        """Packs what all steps multiply with."""
        for k, operand in enumerate(self.item.packed):
            kind = operand_type(self.item, operand)
            whole = Buffer(("work", 0), tuple(range(kind.ndim)), kind.shape)
            first = self.nest.place(whole, tuple(ix.without(lambda level: True) for ix in operand.access.index))
            place = self.operand(operand.slot) + (f" + {kind.dtype.itemsize}*({first})" if first != "0" else "")
            n, inner = operand.columns, operand.inner
            how = f"{PACKED}, {int(operand.transposed)}, 0, {n}, {inner}, 0, 0"
            given = f"{how}, {place}, {self.nest.size(operand.leading)}, 0, {self.own('packed', k)}, {n}, scratch"
            self.put(depth, f"{self.nest.primitive('tile', kind.dtype)}({given})")

    def stop(self, depth: int, step: str, *names: str) -> None:
        """Ends the kernel where Ctrl-C was pressed; looked at every so many steps, a power of two."""
        if not self.nest.stops:
            return
        spent = sum(_spent(self.item.bodies[name]) for name in names)
        steps = 1 << max(0, min(20, int(math.log2(EVERY / (spent + 100)))))
        if steps > 1:
            self.put(depth, f"if {step} & {steps - 1} == {steps - 1}:")
            depth += 1
        if self.shard:  # only the main thread is answered; others look whether the call has ended
            self.put(depth, "status = opened(work, 0)")
            self.put(depth, "if status != 0:")
            self.put(depth + 1, "return status")
        self.put(depth, "if stopped(work):")
        self.put(depth + 1, f"return fail(work, {STOPPED})")

    def reads(self, body: str, k: int) -> bool:
        """Whether a body reads its input of that number."""
        return self.item.bodies[body].inputs[k] >= 0

    def flag(self, address: str) -> str:
        return f"buffer({address}, bool_, 0, 1)[0]"


class _Carries:
    """Where the carries of a loop lie, from step to step.

    Small ones are copied from cell to cell of the stack, which LLVM makes registers of. Large ones take turns in two
    places, or are written where the history of a loop has its next row.
    """

    def __init__(self, w: _Writer, depth: int, first_of_history: int) -> None:
        self.w, self.count = w, carries(w.item)
        self.history = [w.result(first_of_history + k) for k in range(self.count)]
        self.before: list[str] = []  # where a step finds each, and where it leaves it
        self.after: list[str] = []
        for k in range(self.count):
            kind = w.types[k]
            if in_cell(kind):
                self.before.append(w.cell(depth))
                self.after.append(w.cell(depth))
                w.put(depth, f"copy_bytes({self.before[k]}, {w.operand(k)}, {w.bytes(kind)})")
            else:
                self.before.append(w.local(depth, "p", 2 * k, w.operand(k)))
                self.after.append(w.local(depth, "p", 2 * k + 1, self.last(k)))

    def rows(self, k: int) -> tuple[str, str]:
        """What is added to the place of a carry, and how many bytes are copied: all rows, or those of a shard."""
        kind = self.w.types[k]
        if not self.w.shard:
            return "", self.w.bytes(kind)
        row = self.w.bytes(TensorType(kind.dtype, kind.shape[1:]))
        return f" + lo*{row}", f"(hi - lo)*{row}"

    def last(self, k: int) -> str:
        return self.w.result(k) or self.w.own("last", k)

    def keep(self, depth: int, row: str) -> None:
        """Before a step: the carries go to the history."""
        for k, place in enumerate(self.history):
            if place is not None:
                first, bytes = self.rows(k)
                target = f"{place} + {row}*{self.w.bytes(self.w.types[k])}"
                self.w.put(depth, f"copy_bytes({target}{first}, {self.before[k]}{first}, {bytes})")

    def move(self, depth: int) -> None:
        """After a step: what it has made is what the next finds."""
        for k in range(self.count):
            kind = self.w.types[k]
            if in_cell(kind):
                self.w.put(depth, f"copy_bytes({self.before[k]}, {self.after[k]}, {self.w.bytes(kind)})")
            else:
                self.w.put(depth, f"{self.before[k]} = {self.after[k]}")
                both = f"{self.last(k)} + {self.w.own('turn', k)}"
                self.w.put(depth, f"{self.after[k]} = {both} - {self.after[k]}")

    def end(self, depth: int) -> None:
        """After the loop: the last carries go to the results."""
        for k in range(self.count):
            place, (first, bytes) = self.w.result(k), self.rows(k)
            if place is None:
                continue
            inner = depth
            if not in_cell(self.w.types[k]):
                self.w.put(depth, f"if {self.before[k]} != {place}:")
                inner += 1
            self.w.put(inner, f"copy_bytes({place}{first}, {self.before[k]}{first}, {bytes})")


def _scan(w: _Writer, depth: int) -> None:
    attrs, n = w.node.attrs, w.node.attrs["carries"]
    outputs, length = len(attrs["body"].types), w.nest.size(attrs["length"])
    step = w.cell(depth) if w.reads("body", 0) else "0"
    if not w.shard:
        w.pack(depth)
    moving = _Carries(w, depth, outputs)
    types = [w.nest.graph.nodes[i].type for i in w.node.inputs]

    def steps(depth: int, t: str) -> None:
        if step != "0":
            w.put(depth, f"set_word({step}, 0, {t})")
        moving.keep(depth, t)
        rows = [_row(w, w.operand(n + k), types[n + k], t) for k in range(attrs["xs"])]
        rest = [w.operand(slot) for slot in range(n + attrs["xs"], len(types))]
        made = []
        for k in range(n, outputs):
            place = w.result(k)
            made.append(w.own("row", k) if place is None else _row(w, place, w.types[k], t))
        w.call(depth, "body", [step, *moving.before, *rows, *rest], [*moving.after, *made])
        moving.move(depth)

    whole, many = w.nest.named("r", w.id), attrs["unroll"]
    w.put(depth, f"{whole} = {length}")
    ahead = f"{whole} - {whole} % {many}" if many > 1 else whole
    for k in range(2 if many > 1 else 1):
        bounds = f"{ahead}, {whole}" if k else f"0, {ahead}, {many}" if many > 1 else ahead
        step_number = w.nest.named("k", w.id + k * UNROLLED)
        w.put(depth, f"for {step_number} in range({bounds}):")
        for j in range(many if not k else 1):
            t = w.nest.named("t", w.id + (k * many + j) * UNROLLED)
            counter = f"({step_number} + {j})" if j else step_number
            w.put(depth + 1, f"{t} = {f'{whole} - 1 - {counter}' if attrs['reverse'] else counter}")
            if j == 0:
                w.stop(depth + 1, t, "body")
            steps(depth + 1, t)
    moving.end(depth)


UNROLLED = 1_000_000  # between the numbers of names that stand for the same in steps that are written out


def _row(w: _Writer, base: str, kind: TensorType, t: str) -> str:
    """The address of a row of a stacked value."""
    inner = TensorType(kind.dtype, kind.shape[1:])
    return f"{base} + {t}*{w.bytes(inner)}"


def _while(w: _Writer, depth: int) -> None:
    n, limit = carries(w.item), w.node.attrs["max_steps"]
    step = w.cell(depth) if w.reads("test", 0) or w.reads("body", 0) else "0"
    w.pack(depth)
    moving = _Carries(w, depth, n + 1)
    rest = [w.operand(slot) for slot in range(n, len(w.node.inputs))]
    holds, t = w.cell(depth), w.nest.named("t", w.id)
    w.put(depth, f"{t} = 0")

    def test(depth: int) -> None:
        if step != "0":
            w.put(depth, f"set_word({step}, 0, {t})")
        w.call(depth, "test", [step, *moving.before, *rest], [holds])

    test(depth)
    w.put(depth, f"while {w.flag(holds)}:")
    if limit != UNBOUNDED:
        w.put(depth + 1, f"if {t} >= {w.nest.size(limit)}:")
        w.nest.fail(w.node, "0", t, depth + 2)
    w.stop(depth + 1, t, "test", "body")
    moving.keep(depth + 1, t)
    w.call(depth + 1, "body", [step, *moving.before, *rest], moving.after)
    moving.move(depth + 1)
    w.put(depth + 1, f"{t} = {t} + 1")
    test(depth + 1)
    moving.end(depth)
    if (place := w.result(n)) is not None:
        w.put(depth, f"set_word({place}, 0, {t})")


def _cond(w: _Writer, depth: int) -> None:
    given = [w.operand(slot) for slot in range(1, len(w.node.inputs))]
    made = [w.result(k) or w.own("row", k) for k in range(len(w.types))]
    w.put(depth, f"if {w.flag(w.operand(0))}:")
    w.call(depth + 1, "on_true", given, made)
    w.put(depth, "else:")
    w.call(depth + 1, "on_false", given, made)


_WRITERS = {"scan": _scan, "while_loop": _while, "cond": _cond}


# ---- bodies


def _spent(plan: Schedule) -> int:
    """What a body costs, with one step of each loop in it."""
    items = [item for _, items in plan.sections() for item in items]
    inner = (body for item in items if isinstance(item, Control) for body in item.bodies.values())
    return sum(usual(cost(plan.graph, item)) for item in items) + sum(map(_spent, inner))


def function_of(nest: Whole, plan: Schedule, shard: Sequence[str] = ()) -> Function:
    """The function of a body, written where it was not yet. It returns a status.

    Its places are told apart for LLVM, which may then not inline it: from step to step the same memory is read and
    written. Where nothing in it could go in vectors it is inlined, and they are not told apart.
    """
    inner = nest.inside(plan)
    inline = not any(isinstance(item, (Loop, Product)) for item in plan.items())
    for stage in plan.stages:
        inner.write(stage.alone, None, 0)
        for group in stage.groups:
            if shard:
                inner.write(group.items, group, 0)
            else:
                inner.shards(group, 1)
    inner.line(1, "return 0")
    offsets: list[Size] = [0]
    for slot in plan.slots:
        offsets.append(offsets[-1] + slot.bytes)
    within = [(kind, k) for kind, k in inner.places if kind == "work"]
    head = [f"    {inner.address((kind, k))} = own + {inner.size(offsets[k])}" for kind, k in within]
    lines = [Line(line.text) for line in inner.whole(head, apart=not inline)]
    lines[:0] = [] if inline else [Line("    outlined()")]
    places = sorted(place for place in inner.places if place[0] not in ("work", "block"))
    signature = ", ".join([*ARGUMENTS, *shard, *(inner.address(place) for place in places)])
    text = "\n".join([signature, *(line.text for line in lines)])
    if text not in nest.functions:
        name = f"body{len(nest.functions)}"
        known = Line(f"of_kernel({name}, {inline})")
        nest.functions[text] = Function(name, [Line(f"def {name}({signature}):"), *lines, Line(""), known], places)
    return nest.functions[text]
