"""A whole pass over a data set in compiled code, mini-batch after mini-batch."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Mapping
from functools import cache, partial
from typing import Any, Protocol

import numpy as np

from graphc.codegen.collect import BYTES, WORK_BYTES, collect
from graphc.codegen.jit import compile_source
from graphc.codegen.kernel import Kernel
from graphc.codegen.watch import NOT_FINITE
from graphc.codegen.words import address_of
from graphc.errors import InputError, InputShapeError, NumericalError
from graphc.ir import dims
from graphc.ir.state import Array, aligned_empty
from graphc.ir.tensor import Tensor
from graphc.reference import bind_sizes
from graphc.run.binding import arrange, checked
from graphc.run.crew import LEAD, conductor, crew, gather
from graphc.run.entry import Plan
from graphc.run.interface import Runnable
from graphc.run.note import stoppable
from graphc.run.program import Program, Structure
from graphc.run.progress import Bar, bar

LOOK = 0.005, 0.05  # seconds between looks at Ctrl-C and the progress bar, at least and at most
LOOK_SHARE = 0.1  # of the time that may be spent to look, where other threads hold the interpreter
WORTH_SHARING = 1 << 17  # bytes of a batch that several threads bring together
MOST_LAYOUTS = 256  # remembered by one executable

# How a chunk's rows are reached: WHOLE input, rows that follow one another, rows at positions of the order.
WHOLE, SEQUENTIAL, GATHERED = 0, 1, 2

DRIVER = """
from graphc.codegen.abi import call_kernel, copy_bytes, data_address
from graphc.codegen.collect import COUNT, FIRST, INPUTS


def drive(kernel, collector, head, task, desk, first, last, batch, rows, order, ins, outs, dims, lead, symbol, state,
          work, tables, trail):
    n_in, n_out = ins.shape[0], outs.shape[0]
    for step in range(first, last):
        low = step * batch
        count = min(batch, rows - low)
        if task[INPUTS] > 0 and task[FIRST] != low:  # a step may have brought them already
            task[FIRST] = low
            task[COUNT] = count
            call_kernel(collector, data_address(task), 0, data_address(head) + 8 * lead, 0, desk)
        for k in range(n_in):
            if ins[k, 2] == 0:
                tables[k] = ins[k, 0]
            elif ins[k, 2] == 1:
                tables[k] = ins[k, 0] + low * ins[k, 1]
            else:
                tables[k] = ins[k, 3]
        for k in range(n_out):
            if outs[k, 2] == 0:
                tables[n_in + k] = outs[k, 0] + step * outs[k, 1]
            elif outs[k, 2] == 1:
                tables[n_in + k] = outs[k, 0] + low * outs[k, 1]
            else:
                tables[n_in + k] = outs[k, 3]
        dims[lead + symbol] = count
        table = data_address(tables)
        status = call_kernel(kernel, table, table + 8 * n_in, data_address(dims) + 8 * lead, state, work)
        if status != 0:
            trail[0] = step
            return status
        for k in range(n_out):
            if outs[k, 2] == 2:
                for r in range(count):
                    copy_bytes(outs[k, 0] + order[low + r] * outs[k, 1], outs[k, 3] + r * outs[k, 1], outs[k, 1])
    return 0
"""


@cache
def _driver() -> Any:
    """The driver, compiled or read from disk once in a process: to ask the cache takes longer than a small pass."""
    i, a, table = "int64", "int64[::1]", "int64[:,::1]"
    signature = [i, i, a, a, i, i, i, i, i, a, table, table, a, i, i, i, i, a, a]
    return compile_source(DRIVER, "drive", f"int64({', '.join(signature)})").function


class Batched(Runnable, Protocol):
    """An executable with what it keeps for passes over data."""

    _program: Program
    _arguments: tuple[Tensor, ...]
    _results: list[Tensor]
    _structure: Structure
    _layouts: dict[tuple[Any, ...], Layout]
    _rooms: deque[Array]  # the workspace of a pass that is over
    pending: Array | None  # where a step that has to wait finds how the next rows are brought together

    @property
    def _kernel(self) -> Kernel | None: ...


def run_batches(
    exe: Batched, arrays: Any, batch_size: int, shuffle: bool, seed: int | None, drop_last: bool, progress: bool
) -> Any:
    """See `Executable.run_batches`."""
    layout, fitting = laid_out(exe, arrays, batch_size, shuffle, seed, drop_last)
    try:
        data = _Data(exe, layout, fitting, np.random.default_rng(seed).permutation(layout.total) if shuffle else None)
    except MemoryError as error:
        raise exe.program.too_large({**layout.plan.sizes, layout.name: layout.total}) from error
    shown = bar(layout.steps) if progress else None
    try:
        _pass(layout, data, shown)
    finally:
        if shown is not None:
            shown.close()
    return exe._structure.pack(data.results())


def laid_out(
    exe: Batched, arrays: Any, batch_size: int, shuffle: bool, seed: int | None, drop_last: bool
) -> tuple[Layout, list[Array]]:
    """The batches of a pass, and the arrays as they fit; InputError and its kinds where they do not."""
    tensors = exe._arguments
    if isinstance(arrays, Mapping):
        given = arrange(tensors, (), arrays)
    elif isinstance(arrays, (list, tuple)):
        given = arrange(tensors, arrays, {})
    else:
        names = ", ".join(t.name for t in tensors)
        text = f"arrays must be a list, tuple or dict with one for each input, found {type(arrays).__name__}"
        raise InputError(f"{text}; write [{names}]")
    if isinstance(batch_size, bool) or not isinstance(batch_size, (int, np.integer)) or batch_size < 1:
        raise InputError(f"batch_size must be an int of at least 1, found {batch_size!r}")
    if shuffle and seed is None:
        raise InputError("shuffle needs a seed, so that the run can be repeated")
    fitting = [checked(t, a) for t, a in zip(tensors, given, strict=True)]
    key = int(batch_size), bool(drop_last), *[a.shape for a in fitting]
    layout = exe._layouts.get(key)
    if layout is None:
        layout = Layout(exe, *key)
        if len(exe._layouts) >= MOST_LAYOUTS:
            exe._layouts.clear()
        exe._layouts[key] = layout
    return layout, fitting


def _pass(layout: Layout, data: _Data, shown: Bar | None) -> None:
    """All batches, a chunk at a time: between two Ctrl-C is heard."""
    done, size = 0, max(1, int(LOOK[0] / layout.pace)) if layout.pace else 1  # the first pass feels its way
    while done < layout.steps:
        until = min(done + size, layout.steps)
        spent, own = time.perf_counter(), time.thread_time()
        data.run(done, until)  # Ctrl-C comes after it, so between two batches
        spent, own = time.perf_counter() - spent, time.thread_time() - own
        chunk = min(max(LOOK[0], (spent - own) / LOOK_SHARE), LOOK[1])
        layout.pace = max(own, 1e-9) / (until - done)
        size = max(1, min(4 * size, int(chunk / layout.pace)))
        done = until
        if shown is not None:
            shown.show(done, data.first_scalar(done))


class Layout:
    """What passes over arrays of the same shapes have in common; InputError and its kinds where shapes do not fit."""

    def __init__(self, exe: Batched, batch: int, drop: bool, *shapes: tuple[int, ...]) -> None:
        tensors = exe._arguments
        name = dims.symbol_name(tensors[0].shape[0]) if tensors and tensors[0].ndim else None
        if name is None:
            raise InputError("run_batches: the first input must lead with a symbolic size")
        self.name, self.batch = name, batch
        self.leads = [t.ndim > 0 and dims.symbol_name(t.shape[0]) == name for t in tensors]
        for t, shape in zip(tensors, shapes, strict=True):
            if len(shape) != t.ndim:
                text = f"input {t.name!r}: expected {t.type}, with {t.ndim} axes, found shape {shape}"
                raise InputShapeError(text, node=t.name, origin=t.origin)
        self.total = total = shapes[0][0]
        for t, shape, lead in zip(tensors, shapes, self.leads, strict=True):
            if lead and shape[0] != total:
                text = f"input {t.name!r}: expected {total} rows as in {tensors[0].name!r}, found {shape[0]}"
                raise InputShapeError(text, node=t.name, origin=t.origin)
        self.rows = total - total % batch if drop else total
        self.steps = -(-self.rows // batch)

        def plan(count: int) -> Plan:
            one = [(count, *shape[1:]) if lead else shape for shape, lead in zip(shapes, self.leads, strict=True)]
            return exe.plan_for(bind_sizes(tensors, one))

        last = plan(self.rows - (self.steps - 1) * batch if self.steps else 0)
        self.plan = plan(min(batch, self.rows))
        self.work_bytes = max(last.work_bytes, self.plan.work_bytes)
        self.batched = [t.ndim > 0 and t.shape[0] == tensors[0].shape[0] for t in exe._results]
        self.outputs = [
            ((total, *shape[1:]) if lead else (self.steps, *shape), t.dtype)
            for shape, lead, t in zip(self.plan.shapes, self.batched, exe._results, strict=True)
        ]
        self.row_bytes = [t.dtype.itemsize * math.prod(shape[1:]) for t, shape in zip(tensors, shapes, strict=True)]
        self.out_bytes = [dtype.itemsize * math.prod(shape[1:]) for shape, dtype in self.outputs]
        self.symbol = exe._program.symbols.index(name)
        self.pace = 0.0  # seconds that a batch took of late


class _Data:
    """The arrays of one pass, and what each batch needs of them."""

    def __init__(self, exe: Batched, layout: Layout, arrays: list[Array], order: Array | None) -> None:
        self.exe, self.layout, self.arrays = exe, layout, arrays
        self.shuffled = order is not None
        self.order = np.empty(0, np.int64) if order is None else order
        self.outputs = [np.empty(shape, dtype) for shape, dtype in layout.outputs]
        if exe._kernel is not None:
            self._prepare()

    def _prepare(self) -> None:
        """What the driver takes: a workspace, and where each array lies, how long a row is and how it is reached."""
        layout = self.layout
        self.room = self._workspace(WORK_BYTES + layout.work_bytes)
        self.work = self.room[WORK_BYTES:]
        self.held: list[Array] = []  # what the driver knows the addresses of
        self.converted: list[int] = []  # inputs whose rows are converted for each chunk
        ins, outs, task = [], [], list[int]()
        for k, (x, t, size) in enumerate(zip(self.arrays, self.exe._arguments, layout.row_bytes, strict=True)):
            direct = x.dtype == t.dtype and x.flags.c_contiguous and x.flags.aligned  # taken as it lies in memory
            if not layout.leads[k]:
                ins.append((self._address(np.ascontiguousarray(x, t.dtype)), size, WHOLE, 0))
            elif direct and self.shuffled:
                stage = self._address(aligned_empty((layout.batch, *x.shape[1:]), t.dtype))
                ins.append((x.ctypes.data, size, GATHERED, stage))
                task += [stage, x.ctypes.data, size]
            else:
                ins.append((x.ctypes.data, size, SEQUENTIAL, 0))
                self.converted += [] if direct else [k]
        for out, lead, size in zip(self.outputs, layout.batched, layout.out_bytes, strict=True):
            stage, how = 0, SEQUENTIAL if lead else WHOLE
            if lead and self.shuffled:
                stage, how = self._address(aligned_empty((layout.batch, *out.shape[1:]), out.dtype)), GATHERED
            outs.append((out.ctypes.data, size, how, stage))
        self.sources, self.targets = (np.array(table, np.int64).reshape(-1, 4) for table in (ins, outs))
        self.tables, self.trail = np.empty(len(ins) + len(outs), np.int64), np.zeros(1, np.int64)
        self.dims = layout.plan.dims.copy()
        threads = layout.plan.threads
        gather(threads)
        shared = threads > 1 and layout.batch * sum(task[BYTES::3]) >= WORTH_SHARING
        alone = address_of(collect) if task else 0
        self.collector = conductor() if shared else alone
        self.head = np.array([threads, alone, crew().board if shared else 0], np.int64)
        sizes = -1, 0, layout.batch, layout.rows, len(task) // 3
        self.task = np.array([self.order.ctypes.data, *sizes, *task], np.int64)

    def _address(self, array: Array) -> int:
        self.held.append(array)
        return int(array.ctypes.data)

    def _workspace(self, bytes: int) -> Array:
        """Memory of an earlier pass where it is free and large enough: fresh pages cost more than a small batch."""
        try:
            room = self.exe._rooms.pop()
        except IndexError:
            room = None
        return room if room is not None and len(room) >= bytes else aligned_empty((bytes,), np.dtype("uint8"))

    def _chunk(self, first: int, last: int) -> list[Array]:
        """The rows of some batches, in order, for inputs that must be converted."""
        where = self._where(first, last)
        return [
            x if not lead else np.ascontiguousarray(x[where], t.dtype)
            for x, t, lead in zip(self.arrays, self.exe._arguments, self.layout.leads, strict=True)
        ]

    def _where(self, first: int, last: int) -> Any:
        low, high = first * self.layout.batch, min(last * self.layout.batch, self.layout.rows)
        return self.order[low:high] if self.shuffled else slice(low, high)

    def run(self, first: int, last: int) -> None:
        """Batches ``first`` up to ``last``; the state is held meanwhile."""
        if self.exe._kernel is None:
            self._interpret(first, last)
            return
        exe, layout, plan = self.exe, self.layout, self.layout.plan
        if exe.pending is not None:
            shuffled = self.task.ctypes.data if self.collector else 0
            exe.pending[:] = self.collector, shuffled, self.head.ctypes.data + 8 * LEAD, self.room.ctypes.data
        held: list[Array] = []  # keeps what addresses point to alive
        for k in self.converted:
            held.append(np.ascontiguousarray(self.arrays[k][self._where(first, last)], exe._arguments[k].dtype))
            self.sources[k, 0] = held[-1].ctypes.data - first * layout.batch * layout.row_bytes[k]
        work = self.work.ctypes.data
        call = partial(
            exe.holding, _driver(), plan.kernel, self.collector, self.head, self.task, self.room.ctypes.data, first,
            last, layout.batch, layout.rows, self.order, self.sources, self.targets, self.dims, LEAD, layout.symbol,
            plan.state, work, self.tables, self.trail,
        )  # fmt: skip
        status = stoppable(work, call) if plan.stops else call()
        if status:
            step = int(self.trail[0])
            if status == NOT_FINITE:
                self._interpret(step, step + 1)  # raises, or knows better
                if step + 1 < last:
                    self.run(step + 1, last)
                return
            where_in, value = (int(v) for v in self.work[:16].view(np.int64))
            error = exe.failure(status, where_in, value, plan)
            raise type(error)(f"batch {step}: {error.message}", node=error.node, origin=error.origin)

    def _interpret(self, first: int, last: int) -> None:
        for step in range(first, last):
            try:
                packed = self.exe(*self._chunk(step, step + 1))
            except NumericalError as error:
                raise error.in_batch(step) from None
            values = self.exe._structure.unpack(packed) if self.outputs else []
            where = self._where(step, step + 1)
            for out, value, lead in zip(self.outputs, values, self.layout.batched, strict=True):
                out[where if lead else step] = value

    def results(self) -> list[Array]:
        """The outputs, when the pass is over; rows of a batch that was dropped are left out."""
        layout = self.layout
        if self.exe._kernel is not None:
            self.exe._rooms.append(self.room)
        if layout.rows == layout.total:
            return self.outputs
        kept = np.sort(self.order[: layout.rows]) if self.shuffled else slice(0, layout.rows)
        return [o[kept] if lead else o for o, lead in zip(self.outputs, layout.batched, strict=True)]

    def first_scalar(self, done: int) -> float | None:
        """The mean so far of the first scalar output."""
        for out, lead in zip(self.outputs, self.layout.batched, strict=True):
            if not lead and out.ndim == 1 and done:
                return float(out[:done].mean())
        return None
