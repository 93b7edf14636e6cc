"""`Executable.profile`: how long each part of a kernel takes, and how far that is from what the machine can do."""

from __future__ import annotations

import ctypes
import json
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from html import escape
from typing import Any

import numpy as np

from graphc.codegen.emit import workspace
from graphc.codegen.watch import NOT_FINITE
from graphc.compile import compile as compiled
from graphc.errors import CompileError, caller
from graphc.ir import dims
from graphc.ir.graph import Graph, located
from graphc.ir.op import lookup
from graphc.ir.state import Array, aligned_empty
from graphc.look.trace import Part, parts_of
from graphc.reference import bind_sizes
from graphc.run.binding import arrange, convert
from graphc.run.bound import bind
from graphc.run.executable import Executable
from graphc.schedule.access import is_formula
from graphc.schedule.plan import Commit, Control, Form, Item, Product, Schedule, memory_of
from graphc.schedule.stages import is_function, made_by, reads_of, statements_in

LEAST = 0.1  # seconds that are measured
RUNS = 5  # of the kernel, at least
FEW, MANY = 1 << 15, 1 << 27  # bytes of arrays that tell how fast memory is, in cache and beyond
SIDE = 512  # of a matrix whose square tells how fast products are
BLOCK = 4096  # values of a function that tell how fast it is
SHOWN = 20  # rows of a printed table


@dataclass(frozen=True, slots=True)
class Row:
    """A part of a kernel.

    part     its number, as the view and `Executable.explain` have it, or several that one function computes
    title    what it is
    nodes    names of the nodes that it computes
    lines    the user's lines behind them
    seconds  in one call, the fastest of some, on one thread
    bytes    of arrays that it goes to, each once
    flops    multiplications and additions of products, and one for each other operation or function of an element
    share    the time that it would take at best, by ``seconds``: the longest of products at the speed of a large one,
             functions at their speed alone in cache, and the bytes at the speed of a copy of as many; at most 1. None
             below a microsecond
    """

    part: str
    title: str
    nodes: tuple[str, ...]
    lines: tuple[str, ...]
    seconds: float
    bytes: int
    flops: int
    share: float | None


@dataclass(frozen=True, slots=True)
class Profile:
    """What `Executable.profile` measured. It prints as a table, the longest part first."""

    graph: str
    seconds: float
    rows: tuple[Row, ...]

    def to_json(self) -> str:
        """The same as JSON: ``graph``, ``seconds`` and ``rows``, in the order in which the parts run."""
        return json.dumps(asdict(self), indent=1)

    def _table(self) -> Iterator[tuple[str, ...]]:
        yield "part", "seconds", "of all", "GB/s", "Gflop/s", "of limit", "what", "lines"
        ordered = sorted(self.rows, key=lambda row: -row.seconds)
        for row in ordered[:SHOWN]:
            named = ", ".join(row.nodes[:3]) + (f" and {len(row.nodes) - 3} more" if len(row.nodes) > 3 else "")
            rates = (f"{amount / row.seconds / 1e9:.1f}" if row.seconds else "" for amount in (row.bytes, row.flops))
            share = "" if row.share is None else f"{row.share:.0%}"
            of_all = f"{row.seconds / self.seconds:.0%}" if self.seconds else ""
            lines = ", ".join(row.lines[:2]) + (f" and {len(row.lines) - 2} more" if len(row.lines) > 2 else "")
            yield row.part, time_text(row.seconds), of_all, *rates, share, f"{row.title}: {named}", lines
        if rest := ordered[SHOWN:]:
            yield f"{len(rest)} more", time_text(sum(row.seconds for row in rest)), "", "", "", "", "", ""

    def __str__(self) -> str:
        table = list(self._table())
        widths = [min(max(len(row[k]) for row in table), 70) for k in range(8)]
        lines = [f"{self.graph}: {time_text(self.seconds)} a call on one thread"]
        for row in table:
            cells = [
                c.ljust(w) if k in (0, 6, 7) else c.rjust(w) for k, (c, w) in enumerate(zip(row, widths, strict=True))
            ]
            lines.append("  ".join(cells).rstrip())
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        head, *rows = self._table()
        cells = "".join(f"<th>{escape(text)}</th>" for text in head)
        body = "".join(f"<tr>{''.join(f'<td>{escape(text)}</td>' for text in row)}</tr>" for row in rows)
        return (
            f"<p>{escape(self.graph)}: {time_text(self.seconds)} a call on one thread</p><table>{cells}{body}</table>"
        )


def time_text(seconds: float) -> str:
    """A time to three digits, in its unit."""
    for scale, unit in ((1, "s"), (1e3, "ms"), (1e6, "us")):
        if seconds * scale >= 1:
            return f"{seconds * scale:.3g} {unit}"
    return f"{seconds * 1e9:.0f} ns"


def profile(exe: Executable, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Profile:
    """See `Executable.profile`."""
    with located("profile", caller()):
        if exe.backend != "numba":
            raise CompileError('there is no kernel whose parts could be timed; compile with backend="numba"')
        tensors = list(exe.inputs.values())
        arrays = [convert(t, a) for t, a in zip(tensors, arrange(tensors, args, kwargs), strict=True)]
        plan = exe.plan_for(bind_sizes(tensors, [a.shape for a in arrays]))
        program, sizes = exe.program, plan.sizes
        kernel = program.kernel(timed=True)
        schedule, text = kernel.schedule, kernel.text
        assert schedule is not None and text is not None
        copies = {name: _copy(exe.graph.state[name]) for name in kernel.state_names}
        bound = bind(kernel, copies, exe.cache, exe.fastmath)
        results = [aligned_empty(shape, t.dtype) for shape, t in zip(plan.shapes, program.results, strict=True)]
        work = aligned_empty((dims.evaluate(workspace(schedule)[0], sizes),), np.dtype("uint8"))
        times = np.zeros(1 + len(text.timed), np.int64)
        tables = [
            np.array([a.ctypes.data for a in arrays], np.int64),
            np.array([*(r.ctypes.data for r in results), times.ctypes.data], np.int64),
            np.array([sizes[name] for name in program.symbols], np.int64),
        ]
        call = ctypes.CFUNCTYPE(ctypes.c_int64, *[ctypes.c_int64] * 5)(bound.address)
        given = (*(t.ctypes.data for t in tables), bound.state_address, work.ctypes.data)
        spent, ticks = list[float](), list[Array]()
        began = time.perf_counter()
        while len(spent) < RUNS or (time.perf_counter() - began < LEAST and len(spent) < 10_000):
            times[:] = 0
            started = time.perf_counter()
            status = call(*given)
            spent.append(time.perf_counter() - started)
            if status and status != NOT_FINITE:
                where, value = (int(v) for v in work[:16].view(np.int64))
                raise exe.failure(status, where, value, replace(plan, failures=kernel.failures))
            ticks.append(times[1:].copy())
        fastest = int(np.argmin(spent))  # the others were disturbed
        total, counted = spent[fastest], ticks[fastest]
        scale = total / int(counted.sum()) if counted.any() else 0.0
        parts = list(parts_of(schedule))
        rows = [
            _row(schedule, [parts[k] for k in numbers], float(t) * scale, sizes)
            for numbers, t in zip(text.timed, counted, strict=True)
        ]
        return Profile(exe.graph.name, total, tuple(rows))


def _copy(array: Array) -> Array:
    made = aligned_empty(array.shape, array.dtype)
    made[...] = array
    return made


def _row(plan: Schedule, parts: Sequence[Part], seconds: float, sizes: Mapping[str, int]) -> Row:
    graph = plan.graph
    made = [i for p in parts for i in ([p.item.root] if isinstance(p.item, Commit) else made_by(p.item))]
    nodes = [graph.nodes[i] for i in dict.fromkeys(made)]
    work = _Work(plan, sizes)
    for part in parts:
        work.add(part.item)
    title = parts[0].title + (f" and {len(parts) - 1} more" if len(parts) > 1 else "")
    return Row(
        ", ".join(str(p.number) for p in parts[:3]) + ("..." if len(parts) > 3 else ""),
        title,
        tuple(dict.fromkeys(n.name for n in nodes)),
        tuple(dict.fromkeys(str(n.origin) for n in nodes)),
        seconds,
        work.bytes,
        work.flops,
        min(work.limit() / seconds, 1.0) if seconds >= 1e-6 else None,
    )


class _Work:
    """What parts have to do: bytes of the arrays that they go to, operations of products, values of functions."""

    def __init__(self, plan: Schedule, sizes: Mapping[str, int]) -> None:
        self.plan, self.sizes, self.times = plan, sizes, 1
        self.touched: dict[int, int] = {}
        self.products: dict[str, int] = {}  # dtype -> multiplications and additions
        self.others = 0
        self.functions: dict[tuple[str, str], int] = {}

    def count(self, *sizes: dims.Size) -> int:
        return self.times * math.prod(dims.evaluate(s, self.sizes) for s in sizes)

    def add(self, item: Item) -> None:
        graph = self.plan.graph
        if isinstance(item, Control):
            self.inside(item)
        if isinstance(item, Commit):
            self.touch(item.root, 2)
            return
        if isinstance(item, Product):
            flops = 2 * self.count(*item.batch, item.rows, item.columns, item.inner)
            dtype = item.node.type.dtype.name
            self.products[dtype] = self.products.get(dtype, 0) + flops
        for s in statements_in(item):
            count = self.count(*s.sizes)
            if s.form is Form.CALL:
                count = self.count(*graph.nodes[s.operands[0].root].type.shape)
            self.others += count
            if s.form is Form.MAP and is_function(s):
                key = s.node.op.name, s.node.type.dtype.name
                self.functions[key] = self.functions.get(key, 0) + count
        for access in reads_of(item):
            self.touch(access.root)
        for i in made_by(item):
            self.touch(i)

    def inside(self, item: Control) -> None:
        """Operations of a body, for each step of a loop of known length, else once; of a branch the side with more."""
        steps = self.count(item.node.attrs.get("length", 1))
        found = []
        for plan in item.bodies.values():
            work = _Work(plan, self.sizes)
            work.times = steps
            for _, items in plan.sections():
                for inner in items:
                    work.add(inner)
            found.append(work)
        most = max(found, key=lambda work: work.flops)
        self.others += most.others
        for key, count in most.products.items():
            self.products[key] = self.products.get(key, 0) + count
        for name, count in most.functions.items():
            self.functions[name] = self.functions.get(name, 0) + count

    def touch(self, node: int, times: int = 1) -> None:
        """Notes an array that lies in memory."""
        root = memory_of(self.plan.aliases, node)
        buffer, of = self.plan.buffers.get(root), self.plan.graph.nodes[root]
        if buffer is not None and not is_formula(of) and len(buffer.axes) == of.type.ndim:
            self.touched[root] = times * self.count(*buffer.shape) * of.type.dtype.itemsize

    @property
    def bytes(self) -> int:
        return sum(self.touched.values())

    @property
    def flops(self) -> int:
        return sum(self.products.values()) + self.others

    def limit(self) -> float:
        """Seconds at the machine's best."""
        products = sum(flops / _peak(dtype) for dtype, flops in self.products.items())
        functions = sum(count * _function(*key) for key, count in self.functions.items())
        return max(products, functions, self.bytes / _bandwidth(_near(self.bytes)))


def _least(call: Any, count: int = 7) -> float:
    best = math.inf
    for _ in range(count):
        started = time.perf_counter()
        call()
        best = min(best, time.perf_counter() - started)
    return best


@cache
def _peak(dtype: str) -> float:
    """Operations in a second of a large product of matrices, on one thread."""
    g = Graph("product", dtype)
    a = g.input("a", (SIDE, SIDE), dtype)
    exe = compiled([a], a @ a, threads=1)
    ones = np.ones((SIDE, SIDE), dtype)
    return 2 * SIDE**3 / _least(lambda: exe(ones))


def _near(bytes: int) -> int:
    """A power of two near a number of bytes."""
    return min(max(1 << max(bytes - 1, 0).bit_length(), FEW), MANY)


@cache
def _bandwidth(bytes: int) -> float:
    """Bytes in a second that a copy reads and writes, all in all this many."""
    a = np.ones(bytes // 16)
    b = np.empty_like(a)
    repeats = max(1, (1 << 23) // bytes)

    def copies() -> None:
        for _ in range(repeats):
            np.copyto(b, a)

    return bytes * repeats / _least(copies)


@cache
def _function(op: str, dtype: str) -> float:
    """Seconds for one value of a function, many of them in cache, by graphc itself."""
    g = Graph("function", dtype if dtype.startswith("float") else "float64")
    record = lookup(op)
    try:
        x = [g.input(f"x{k}", (BLOCK,), dtype) for k in range(record.arity or 1)]
        exe = compiled(x, g.append(record, x, {}), threads=1)
    except Exception:  # it takes attributes or other dtypes
        return 0.0
    arrays = [np.random.default_rng(0).uniform(0.1, 0.9, BLOCK).astype(dtype) for _ in x]
    return _least(lambda: exe(*arrays), 50) / BLOCK


__all__ = ["Profile", "Row", "profile"]
