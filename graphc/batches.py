"""A whole pass over a data set in compiled code, mini-batch after mini-batch."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from graphc.binding import arrange, checked
from graphc.codegen.collect import BYTES, WORK_BYTES, collect
from graphc.codegen.jit import compile_source
from graphc.codegen.words import address_of
from graphc.crew import LEAD, conductor, crew, gather
from graphc.errors import InputError, InputShapeError
from graphc.ir import dims
from graphc.ir.state import Array, aligned_empty
from graphc.reference import bind_sizes

if TYPE_CHECKING:
    from graphc.executable import Executable

LOOK = 0.005, 0.05  # seconds between looks at Ctrl-C and the progress bar, at least and at most
LOOK_SHARE = 0.1  # of the time that may be spent to look, where other threads hold the interpreter
WORTH_SHARING = 1 << 17  # bytes of a batch that several threads bring together

# How a chunk's rows are reached: WHOLE input, rows that follow one another, rows at positions of the order.
WHOLE, SEQUENTIAL, GATHERED = 0, 1, 2

DRIVER = """
from graphc.codegen.abi import call_kernel, copy_bytes, data_address
from graphc.codegen.collect import COUNT, FIRST, INPUTS


def drive(kernel, collector, head, task, desk, first, last, batch, rows, order, ins, in_bytes, in_mode, in_stage,
          outs, out_bytes, out_mode, out_stage, dims, lead, symbol, state, work, tables, trail):
    n_in, n_out = in_mode.shape[0], out_mode.shape[0]
    for step in range(first, last):
        low = step * batch
        count = min(batch, rows - low)
        if task[INPUTS] > 0:
            task[FIRST] = low
            task[COUNT] = count
            call_kernel(collector, data_address(task), 0, data_address(head) + 8 * lead, 0, desk)
        for k in range(n_in):
            if in_mode[k] == 0:
                tables[k] = ins[k]
            elif in_mode[k] == 1:
                tables[k] = ins[k] + low * in_bytes[k]
            else:
                tables[k] = in_stage[k]
        for k in range(n_out):
            if out_mode[k] == 0:
                tables[n_in + k] = outs[k] + step * out_bytes[k]
            elif out_mode[k] == 1:
                tables[n_in + k] = outs[k] + low * out_bytes[k]
            else:
                tables[n_in + k] = out_stage[k]
        dims[lead + symbol] = count
        table = data_address(tables)
        status = call_kernel(kernel, table, table + 8 * n_in, data_address(dims) + 8 * lead, state, work)
        if status != 0:
            trail[0] = step
            return status
        for k in range(n_out):
            if out_mode[k] == 2:
                for r in range(count):
                    copy_bytes(outs[k] + order[low + r] * out_bytes[k], out_stage[k] + r * out_bytes[k], out_bytes[k])
    return 0
"""


def run_batches(
    exe: Executable, arrays: Any, batch_size: int, shuffle: bool, seed: int | None, drop_last: bool, progress: bool
) -> Any:
    """See `Executable.run_batches`."""
    data = _Data(exe, arrays, batch_size, shuffle, seed, drop_last)
    bar = _Bar(data.steps) if progress else None
    done, size = 0, 1
    while done < data.steps:
        until = min(done + size, data.steps)
        spent, own = time.perf_counter(), time.thread_time()
        data.run(done, until)  # Ctrl-C comes after it, so between two batches
        spent, own = time.perf_counter() - spent, time.thread_time() - own
        chunk = min(max(LOOK[0], (spent - own) / LOOK_SHARE), LOOK[1])
        size = max(1, min(4 * size, int((until - done) * chunk / max(own, 1e-9))))
        done = until
        if bar is not None:
            bar.show(done, data.first_scalar(done))
    if bar is not None:
        bar.close()
    return exe._structure.pack(data.results())


class _Data:
    """The arrays of one pass, and what each batch needs of them."""

    def __init__(self, exe: Executable, arrays: Any, batch: int, shuffle: bool, seed: int | None, drop: bool) -> None:
        self.exe = exe
        tensors = exe._arguments
        if isinstance(arrays, Mapping):
            given = arrange(tensors, (), arrays)
        elif isinstance(arrays, (list, tuple)):
            given = arrange(tensors, arrays, {})
        else:
            names = ", ".join(t.name for t in tensors)
            text = f"arrays must be a list, tuple or dict with one for each input, found {type(arrays).__name__}"
            raise InputError(f"{text}; write [{names}]")
        if isinstance(batch, bool) or not isinstance(batch, (int, np.integer)) or batch < 1:
            raise InputError(f"batch_size must be an int of at least 1, found {batch!r}")
        if shuffle and seed is None:
            raise InputError("shuffle needs a seed, so that the run can be repeated")
        self.name = dims.symbol_name(tensors[0].shape[0]) if tensors and tensors[0].ndim else None
        if self.name is None:
            raise InputError("run_batches: the first input must lead with a symbolic size")
        self.batch = int(batch)
        self.arrays = [checked(t, a) for t, a in zip(tensors, given, strict=True)]
        self.leads = [t.ndim > 0 and dims.symbol_name(t.shape[0]) == self.name for t in tensors]
        for t, a in zip(tensors, self.arrays, strict=True):
            if a.ndim != t.ndim:
                text = f"input {t.name!r}: expected {t.type}, with {t.ndim} axes, found shape {a.shape}"
                raise InputShapeError(text, node=t.name, origin=t.origin)
        lengths = [a.shape[0] for a, lead in zip(self.arrays, self.leads, strict=True) if lead]
        self.rows = lengths[0]
        for t, a, lead in zip(tensors, self.arrays, self.leads, strict=True):
            if lead and a.shape[0] != self.rows:
                text = f"input {t.name!r}: expected {self.rows} rows as in {tensors[0].name!r}, found {a.shape[0]}"
                raise InputShapeError(text, node=t.name, origin=t.origin)
        self.rows -= self.rows % self.batch if drop else 0
        total = lengths[0]
        self.order = np.random.default_rng(seed).permutation(total) if shuffle else np.empty(0, np.int64)
        self.shuffled = bool(shuffle)
        self.steps = -(-self.rows // self.batch)
        full = min(self.batch, self.rows)
        self.plans = {n: self._sizes(n) for n in {full, self.rows - (self.steps - 1) * self.batch if self.steps else 0}}
        self.plan = self.plans[full]
        self.batched = [t.ndim > 0 and t.shape[0] == tensors[0].shape[0] for t in exe._results]
        shapes = [s[1:] if lead else s for s, lead in zip(self.plan.shapes, self.batched, strict=True)]
        counts = [total if lead else self.steps for lead in self.batched]
        try:
            self.outputs = [np.empty((n, *s), t.dtype) for n, s, t in zip(counts, shapes, exe._results, strict=True)]
            if exe._kernel is not None:
                self._prepare()
        except MemoryError as error:
            raise exe.program.too_large({**self.plan.sizes, self.name: total}) from error

    def _sizes(self, count: int) -> Any:
        shapes = [(count, *a.shape[1:]) if lead else a.shape for a, lead in zip(self.arrays, self.leads, strict=True)]
        return self.exe.plan_for(bind_sizes(self.exe._arguments, shapes))

    def _prepare(self) -> None:
        """Buffers of the driver: staging for gathered rows, tables, workspace for the larger of both batch sizes."""
        exe = self.exe
        i, a = "int64", "int64[::1]"
        signature = f"int64({', '.join([i, i, a, a] + [i] * 5 + [a] * 10 + [i] * 4 + [a] * 2)})"
        self.drive = compile_source(DRIVER, "drive", signature).function
        self.work = aligned_empty((max(p.work_bytes for p in self.plans.values()),), np.dtype("uint8"))
        self.tables = np.zeros(len(exe._arguments) + len(exe._results), np.int64)
        self.trail = np.zeros(1, np.int64)
        self.desk = aligned_empty((WORK_BYTES,), np.dtype("uint8"))
        self.dims = self.plan.dims.copy()
        self.symbol = exe._program.symbols.index(self.name)
        self.fixed = [
            None if lead else np.ascontiguousarray(x, t.dtype)
            for x, t, lead in zip(self.arrays, exe._arguments, self.leads, strict=True)
        ]
        self.stages = [
            aligned_empty((self.batch, *x.shape[1:]), t.dtype)
            if lead and self._direct(x, t) and self.shuffled
            else None
            for x, t, lead in zip(self.arrays, exe._arguments, self.leads, strict=True)
        ]
        self.out_stages = [
            aligned_empty((self.batch, *o.shape[1:]), o.dtype) if lead and self.shuffled else None
            for o, lead in zip(self.outputs, self.batched, strict=True)
        ]
        self._tabulate()

    def _tabulate(self) -> None:
        """The driver's tables: where inputs and outputs lie, how long a row is, and how it is reached."""
        exe, task = self.exe, list[int]()
        self.converted: list[int] = []  # inputs whose rows are converted for each chunk
        rows = []
        for k, (x, t, fixed, stage) in enumerate(
            zip(self.arrays, exe._arguments, self.fixed, self.stages, strict=True)
        ):
            size = t.dtype.itemsize * int(np.prod(x.shape[1:], dtype=np.int64))
            staged = 0 if stage is None else stage.ctypes.data
            if fixed is not None:
                rows.append((fixed.ctypes.data, size, WHOLE, 0))
            elif stage is not None:
                rows.append((x.ctypes.data, size, GATHERED, staged))
                task += [staged, x.ctypes.data, size]
            else:
                rows.append((x.ctypes.data, size, SEQUENTIAL, 0))
                self.converted += [] if self._direct(x, t) else [k]
        ins = np.array(rows, np.int64).reshape(-1, 4)
        outs = np.array(
            [
                (
                    o.ctypes.data,
                    o.dtype.itemsize * int(np.prod(o.shape[1:], dtype=np.int64)),
                    (2 if self.shuffled else 1) if lead else 0,
                    0 if stage is None else stage.ctypes.data,
                )
                for o, lead, stage in zip(self.outputs, self.batched, self.out_stages, strict=True)
            ],
            np.int64,
        ).reshape(-1, 4)
        self.ins = ins[:, 0].copy()
        self.lists = [self.ins, *(column.copy() for column in (*ins.T[1:], *outs.T))]
        threads = self.plan.threads
        gather(threads)
        shared = threads > 1 and self.batch * sum(task[BYTES::3]) >= WORTH_SHARING
        alone = address_of(collect) if task else 0
        self.collector = conductor() if shared else alone
        self.head = np.array([threads, alone, crew().board if shared else 0], np.int64)
        self.task = np.array([self.order.ctypes.data, 0, 0, len(task) // 3, *task], np.int64)

    @staticmethod
    def _direct(array: Array, tensor: Any) -> bool:
        """True for rows that the driver can take as they lie in memory."""
        return array.dtype == tensor.dtype and bool(array.flags.c_contiguous) and bool(array.flags.aligned)

    def _chunk(self, first: int, last: int) -> list[Array]:
        """The rows of some batches, in order, for inputs that must be converted."""
        low, high = first * self.batch, min(last * self.batch, self.rows)
        where: Any = self.order[low:high] if self.shuffled else slice(low, high)
        return [
            x if not lead else np.ascontiguousarray(x[where], t.dtype)
            for x, t, lead in zip(self.arrays, self.exe._arguments, self.leads, strict=True)
        ]

    def run(self, first: int, last: int) -> None:
        """Batches ``first`` up to ``last``; the state is held meanwhile."""
        if self.exe._kernel is None:
            self._interpret(first, last)
            return
        exe = self.exe
        low, high = first * self.batch, min(last * self.batch, self.rows)
        held: list[Array] = []  # keeps what addresses point to alive
        for k in self.converted:
            where: Any = self.order[low:high] if self.shuffled else slice(low, high)
            held.append(np.ascontiguousarray(self.arrays[k][where], exe._arguments[k].dtype))
            self.ins[k] = held[-1].ctypes.data - low * int(self.lists[1][k])
        status = exe.holding(
            self.drive, self.plan.kernel, self.collector, self.head, self.task, self.desk.ctypes.data, first, last,
            self.batch, self.rows, self.order, *self.lists, self.dims, LEAD, self.symbol, self.plan.state,
            self.work.ctypes.data, self.tables, self.trail,
        )  # fmt: skip
        if status:
            step = int(self.trail[0])
            where_in, value = (int(v) for v in self.work[:16].view(np.int64))
            error = exe.index_error(status, where_in, value, self.plan)
            raise type(error)(f"batch {step}: {error.message}", node=error.node, origin=error.origin)

    def _interpret(self, first: int, last: int) -> None:
        for step in range(first, last):
            low, high = step * self.batch, min((step + 1) * self.batch, self.rows)
            values = self.exe._structure.unpack(self.exe(*self._chunk(step, step + 1))) if self.outputs else []
            if not self.outputs:
                self.exe(*self._chunk(step, step + 1))
            where: Any = self.order[low:high] if self.shuffled else slice(low, high)
            for out, value, lead in zip(self.outputs, values, self.batched, strict=True):
                out[where if lead else step] = value

    def results(self) -> list[Array]:
        """The outputs; rows of a batch that was dropped are left out."""
        if self.rows == len(self.arrays[0]):
            return self.outputs
        kept = np.sort(self.order[: self.rows]) if self.shuffled else slice(0, self.rows)
        return [o[kept] if lead else o for o, lead in zip(self.outputs, self.batched, strict=True)]

    def first_scalar(self, done: int) -> float | None:
        """The mean so far of the first scalar output."""
        for out, lead in zip(self.outputs, self.batched, strict=True):
            if not lead and out.ndim == 1 and done:
                return float(out[:done].mean())
        return None


class _Bar:
    """A progress bar on standard error."""

    def __init__(self, steps: int) -> None:
        self.steps, self.started = steps, time.perf_counter()

    def show(self, done: int, value: float | None) -> None:
        width = 24
        full = width * done // max(self.steps, 1)
        spent = time.perf_counter() - self.started
        left = spent / done * (self.steps - done)
        mean = "" if value is None else f"  mean {value:.4f}"
        bar = "#" * full + "." * (width - full)
        print(f"\r  [{bar}] {done}/{self.steps}  {spent:.1f} s, {left:.1f} s left{mean}  ", end="", file=sys.stderr)

    def close(self) -> None:
        print("\r" + " " * 78 + "\r", end="", file=sys.stderr, flush=True)
