"""Executables: a compiled graph that is called with arrays."""

from __future__ import annotations

import ctypes
import linecache
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import Any

import numpy as np
from numba.core import types
from numba.core.errors import NumbaError
from numba.np.numpy_support import from_dtype

from graphc.batches import run_batches
from graphc.binding import arrange, check_out, convert
from graphc.codegen.abi import entry_source, head_bytes
from graphc.codegen.jit import compile_source, recall, remember
from graphc.codegen.kernel import SIGNATURE, Kernel, build
from graphc.codegen.record import from_record, program_key, to_record
from graphc.crew import LEAD, WORTH, can_share, conductor, crew, gather, processors
from graphc.errors import CompileError, GraphError, InputError, InputIndexError, InputShapeError, caller
from graphc.fastcall import fast_call
from graphc.ir import dims
from graphc.ir.graph import Graph, Tensor
from graphc.ir.state import Array, aligned_empty
from graphc.ir.text import print_graph
from graphc.native import njit_function
from graphc.reference import check_sizes, evaluate
from graphc.rewrite.passes import run

Workspace = tuple[int, int, Array]  # its size, its address, itself
MOST_PLANS = 256  # shapes remembered by one executable


@dataclass(frozen=True, slots=True)
class Structure:
    """How outputs are given and returned: one, a list, a dict, or none."""

    kind: str
    keys: tuple[str, ...] = ()

    @staticmethod
    def of(outputs: Any) -> tuple[Structure, list[Tensor]]:
        """The structure of ``outputs`` and its tensors in order."""
        if outputs is None:
            return Structure("none"), []
        if isinstance(outputs, Tensor):
            return Structure("one"), [outputs]
        if isinstance(outputs, Mapping):
            for key in outputs:
                if not isinstance(key, str):
                    raise CompileError(f"the keys of outputs must be str, found {key!r}")
            return Structure("dict", tuple(outputs)), list(outputs.values())
        if isinstance(outputs, (list, tuple)):
            return Structure("list"), list(outputs)
        raise CompileError(f"outputs must be a tensor, list or dict, found {type(outputs).__name__}")

    def pack(self, values: Sequence[Any]) -> Any:
        """Values in this structure."""
        if self.kind == "one":
            return values[0]
        if self.kind == "dict":
            return dict(zip(self.keys, values, strict=True))
        return list(values) if self.kind == "list" else None

    def unpack(self, packed: Any) -> list[Any]:
        """Values out of this structure; InputError where it is another."""
        if self.kind == "one":
            return [packed]
        if self.kind == "dict" and isinstance(packed, Mapping) and set(packed) == set(self.keys):
            return [packed[k] for k in self.keys]
        if self.kind == "list" and isinstance(packed, (list, tuple)):
            return list(packed)
        raise InputError(f"out must have the structure of the outputs: {self.kind} {', '.join(self.keys)}".rstrip())


@dataclass
class Program:
    """What is compiled: the user's graph, the part that the outputs need, and, when asked for, its rewritten form."""

    graph: Graph
    source: Graph
    structure: Structure
    inputs: tuple[str, ...]
    n_outputs: int
    updates: tuple[str, ...]
    roots: tuple[int, ...]  # numbers in ``graph`` of the outputs, then the next values
    arguments_at: tuple[int, ...]  # numbers in ``graph`` of the inputs

    @cached_property
    def stages(self) -> list[tuple[str, Graph]]:
        """The graph, and after each pass that changed it."""
        out = [("graph", self.source)]
        run(self.source, on_stage=lambda name, graph: out.append((name, graph)))
        return out

    @property
    def optimised(self) -> Graph:
        return self.stages[-1][1]

    def kernel(self, serial: bool = False) -> Kernel:
        """The kernel, by all passes; a serial one is for a single thread."""
        return build(self.optimised, self.inputs, self.n_outputs, self.updates, self.symbols, serial)

    @property
    def arguments(self) -> list[Tensor]:
        return [self.source[name] for name in self.inputs]

    @property
    def results(self) -> list[Tensor]:
        return list(self.source.outputs[: self.n_outputs])

    @property
    def symbols(self) -> tuple[str, ...]:
        """Sizes that the inputs bind, in order of first appearance."""
        shapes = (s for t in self.arguments for s in t.shape)
        return tuple(dict.fromkeys(n for s in shapes if (n := dims.symbol_name(s)) is not None))


@dataclass(frozen=True, slots=True)
class Plan:
    """What a call with given shapes needs."""

    sizes: dict[str, int]
    shapes: tuple[tuple[int, ...], ...]  # of the outputs
    dims: Array  # for the threads that share a call (LEAD words), then values of the symbols, read by the kernel
    dims_address: int  # of the first symbol
    work_bytes: int
    kernel: int  # the address to call
    threads: int


class Executable:
    """A compiled graph. ``exe(*arrays)`` runs it; see `graphc.compile`.

    Calls without updates run side by side in several threads, calls with updates one after the other.
    """

    def __init__(self, program: Program, *, threads: int | None, fastmath: bool, backend: str, cache: bool) -> None:
        self._program = program
        self._arguments = tuple(program.arguments)
        self._results = program.results
        self._structure = program.structure
        self._plans: dict[tuple[tuple[int, ...], ...], Plan] = {}
        self._pool: list[Workspace] = []
        self._dtypes = tuple(t.dtype for t in self._results)
        self._scalar = tuple(t.shape == () for t in self._results)
        self.backend, self.threads, self.fastmath, self.cache = backend, threads, fastmath, cache
        self._most = processors() if threads is None else threads
        state = program.graph.state
        uses_state = any(n.op.name in ("parameter", "variable") for n in program.source.nodes)
        self.stateless = not (uses_state or program.updates)
        self._lock = nullcontext() if self.stateless else state.lock.writing if program.updates else state.lock.reading
        self._kernel: Kernel | None = None
        self._fast: Callable[..., Any] | None = None
        if backend == "numba":
            self._build(cache)

    def _build(self, cache: bool) -> None:
        """Generates, compiles and binds the kernel and the function that enters it from Python."""
        program = self._program
        self._kernel = kernel = _recalled(program) if cache else program.kernel()
        self._compiled = compile_source(
            kernel.source, "kernel", SIGNATURE, on_disk=cache, fastmath=self.fastmath, parts=kernel.parts
        )
        self._address: int = self._compiled.address
        code = self._compiled.function.py_func.__code__
        # for profilers and debuggers, made when read
        linecache.cache[code.co_filename] = (lambda: self._listing.annotated,)
        arrays = [(t.dtype, t.ndim) for t in (*self._arguments, *self._results)]
        entering = compile_source(
            entry_source(len(self._arguments), len(self._results)), "enter", _entry_signature(arrays), on_disk=cache
        )
        self._entry = entering.entry
        self._head = head_bytes(len(self._arguments), len(self._results))
        storage = program.graph.state.storage
        self._state = [*(storage[name] for name in kernel.state_names), *kernel.constants]
        self._state_table = np.array([a.ctypes.data for a in self._state], np.int64)
        self._state_address: int = self._state_table.ctypes.data
        self._fast = fast_call(self, entering.function)

    def __repr__(self) -> str:
        names = ", ".join(f"{t.name}: {t.type}" for t in self._arguments)
        return f"<Executable of {self.graph.name} ({names}) -> {self._structure.kind}>"

    @property
    def graph(self) -> Graph:
        """The graph that it was compiled from."""
        return self._program.graph

    @property
    def program(self) -> Program:
        """What was compiled, for writers of files."""
        return self._program

    @property
    def inputs(self) -> dict[str, Tensor]:
        """Inputs by name, in the order of the arguments."""
        return {t.name: t for t in self._arguments}

    # ---- calls

    def __call__(self, *args: Any, out: Any = None, **kwargs: Any) -> Any:
        """Runs the program. Arrays come in order or by input name; outputs are fresh arrays, 0-d ones scalars.

        ``out`` holds arrays of the outputs' structure to write into. Raises InputError and its kinds, naming the input.
        """
        if self._fast is not None and out is None and not kwargs:
            with suppress(TypeError, KeyError, AttributeError, NumbaError):
                return self._fast(*args)
        if kwargs or len(args) != len(self._arguments):
            args = tuple(arrange(self._arguments, args, kwargs))
        arrays = [
            a if type(a) is np.ndarray and a.dtype is t.dtype and a.flags.carray else convert(t, a)
            for a, t in zip(args, self._arguments, strict=True)
        ]
        key = tuple([a.shape for a in arrays])
        plan = self._plans.get(key) or self._plan(arrays, key)
        if out is not None:
            results = self._structure.unpack(out)
            described = [(t.name, t.dtype, s) for t, s in zip(self._results, plan.shapes, strict=True)]
            check_out(described, results, [*arrays, *self.graph.state.storage.values()])
        else:
            results = [np.empty(s, d) for s, d in zip(plan.shapes, self._dtypes, strict=True)]
        if self._kernel is None:
            self._interpret(plan, arrays, results)
        else:
            self._run(plan, arrays, results)
        if out is not None:
            return out
        return self._structure.pack([r[()] if s else r for r, s in zip(results, self._scalar, strict=True)])

    def _run(self, plan: Plan, arrays: list[Array], results: list[Array]) -> None:
        try:
            work = self._pool.pop()
            if work[0] < plan.work_bytes:
                raise IndexError
        except IndexError:
            work = self.workspace(plan)
        if plan.threads > 1:
            gather(plan.threads)
        with self._lock:
            status = self._entry(plan.kernel, *arrays, *results, plan.dims_address, self._state_address, work[1])
        self._pool.append(work)
        if status:
            self.failed(status, work, plan)

    @staticmethod
    def workspace(plan: Plan) -> Workspace:
        """Memory for a call."""
        memory = aligned_empty((plan.work_bytes,), np.dtype("uint8"))
        return plan.work_bytes, memory.ctypes.data, memory

    def failed(self, status: int, work: Workspace, plan: Plan) -> None:
        """Raises the error that a kernel has reported."""
        where, value = work[2][self._head : self._head + 16].view(np.int64)
        raise self.index_error(status, int(where), int(value), plan.sizes)

    def _interpret(self, plan: Plan, arrays: list[Array], results: list[Array]) -> None:
        """The same program, by NumPy."""
        program = self._program
        feeds = dict(zip(program.inputs, arrays, strict=True))
        storage = program.graph.state.storage
        with self._lock:
            values = evaluate(program.optimised, feeds, storage, plan.sizes)
            for result, value in zip(results, values, strict=False):
                result[...] = value
            for name, value in zip(program.updates, [v.copy() for v in values[program.n_outputs :]], strict=True):
                storage[name][...] = value

    def index_error(self, status: int, where: int, value: int, sizes: Mapping[str, int]) -> InputIndexError:
        """The error for an index out of range that a kernel reported."""
        assert self._kernel is not None
        node = self._program.source[self._kernel.failures[status - 1]].node
        low, high = (dims.evaluate(node.attrs[k], sizes) for k in ("low", "high"))
        shape = tuple(dims.evaluate(s, sizes) for s in node.type.shape)
        at = tuple(int(k) for k in np.unravel_index(where, shape)) if shape else ()
        row = f" at row {at[0]}" if len(at) == 1 else f" at {at}" if at else ""
        text = f"{node.attrs['what']} {value}{row} is not in [{low}, {high})"
        return InputIndexError(text, node=node.name, origin=node.origin)

    def _plan(self, arrays: Sequence[Array], key: tuple[tuple[int, ...], ...]) -> Plan:
        """Checks shapes against the declared ones, and works out everything that depends on sizes."""
        plan = self.plan_for(self._bind(key))
        if len(self._plans) >= MOST_PLANS:
            self._plans.clear()
        self._plans[key] = plan
        return plan

    def _bind(self, shapes: Sequence[tuple[int, ...]]) -> dict[str, int]:
        sizes: dict[str, int] = {}
        by: dict[str, str] = {}
        for t, shape in zip(self._arguments, shapes, strict=True):
            if len(shape) != t.ndim:
                text = f"input {t.name!r}: expected {t.type}, with {t.ndim} axes, found shape {shape}"
                raise InputShapeError(text, node=t.name, origin=t.origin)
            for size, found in zip(t.shape, shape, strict=True):
                name = dims.symbol_name(size)
                if name is not None and sizes.setdefault(name, found) != found:
                    text = (
                        f"input {t.name!r}: {name} is {found} in shape {shape}, but {sizes[name]} in input {by[name]!r}"
                    )
                    raise InputShapeError(text, node=t.name, origin=t.origin)
                if name is not None:
                    by.setdefault(name, t.name)
        for t, shape in zip(self._arguments, shapes, strict=True):
            if tuple(dims.evaluate(s, sizes) for s in t.shape) != shape:
                text = f"input {t.name!r}: expected {t.type}, found shape {shape}"
                raise InputShapeError(text, node=t.name, origin=t.origin)
        return sizes

    def plan_for(self, sizes: dict[str, int]) -> Plan:
        """What a call with these sizes needs; InputShapeError where sizes do not fit together."""
        source = self._program.source
        for node in source.nodes:
            check_sizes(source, node, sizes)
        shapes = tuple(tuple(dims.evaluate(s, sizes) for s in t.shape) for t in self._results)
        symbols = [sizes[n] for n in self._program.symbols]
        if self._kernel is None:
            return Plan(sizes, shapes, np.array(symbols, np.int64), 0, 0, 0, 1)
        shared = self._most > 1 and dims.evaluate(self._kernel.cost, sizes) >= WORTH and can_share()
        threads = self._most if shared else 1
        table = np.array([threads, self._address, crew().board if shared else 0, *symbols], np.int64)
        bytes = self._head + dims.evaluate(self._kernel.work_bytes, sizes) + (threads - 1) * self._kernel.scratch_bytes
        address = conductor() if shared else self._address
        return Plan(sizes, shapes, table, table.ctypes.data + 8 * LEAD, bytes, address, threads)

    def run_batches(
        self,
        arrays: Any,
        batch_size: int = 256,
        *,
        shuffle: bool = False,
        seed: int | None = None,
        drop_last: bool = False,
        progress: bool = False,
    ) -> Any:
        """A whole pass over the data, mini-batch after mini-batch, updates included.

        ``arrays`` are given as in a call (a list by position, a dict by name). The batch is the leading symbolic size
        of the first input; inputs that do not lead with it are handed whole to every batch. With ``shuffle`` the
        order is ``numpy.random.default_rng(seed).permutation(n)``. Outputs that lead with the batch come back
        in the order of the rows given in, the others stacked, one for each batch.

        Raises InputError where the arrays or options do not fit.
        """
        return run_batches(self, arrays, batch_size, shuffle, seed, drop_last, progress)

    # ---- inside other compiled code

    @cached_property
    def address(self) -> int:
        """The kernel's address, ``int64 f(void **in, void **out, const int64_t *dims, void **state, void *work)``.

        ``dims`` holds the values of the symbolic sizes in order of appearance, ``state`` is `state_address`, ``work``
        64-byte aligned memory of `memory` bytes. It needs no GIL, takes no lock, and returns 0 or the number of the
        index test that failed.
        """
        self._need_kernel()
        return self._address

    @property
    def state_address(self) -> int:
        """The table of state that the kernel at `address` takes."""
        self._need_kernel()
        return self._state_address

    @cached_property
    def cfunc(self) -> Any:
        """The kernel at `address` as a ctypes function of five integers."""
        return ctypes.CFUNCTYPE(ctypes.c_int64, *[ctypes.c_int64] * 5)(self.address)

    @cached_property
    def njit(self) -> Any:
        """The same function for use inside ``@numba.njit`` code: arrays in; one output bare, several as a tuple.

        State is read and written in the same storage, without a lock. ValueError where sizes do not fit.
        """
        self._need_kernel()
        return njit_function(self)

    def _need_kernel(self) -> None:
        if self._kernel is None:
            raise CompileError('backend="numpy" has no machine code; compile with backend="numba"')

    # ---- other forms

    def export_c(self, directory: str | os.PathLike[str], name: str = "model", cpu: str = "native") -> None:
        """Writes this executable alone as a C library: `graphc.export_c` with functions ``NAME_call`` and so on."""
        from graphc.export.c.library import write  # what few need is not loaded with graphc

        write(directory, name, cpu, {name: self})

    # ---- looks

    @property
    def source(self) -> str:
        """The generated Python, with a comment for each node."""
        self._need_kernel()
        return self._listing.annotated

    @cached_property
    def _listing(self) -> Kernel:
        """The kernel with its text and schedule; made anew where it was recalled from disk."""
        assert self._kernel is not None
        return self._kernel if self._kernel.text is not None else self._program.kernel()

    @property
    def stages(self) -> Mapping[str, str]:
        """The text of every stage of the compiler, in order."""
        out = {name: print_graph(graph) for name, graph in self._program.stages}
        if self._kernel is not None:
            out["schedule"] = self._listing.loops
            out["source"] = self.source
            out["llvm"] = self._compiled.llvm
            out["assembly"] = self._compiled.assembly
        return MappingProxyType(out)

    def memory(self, **sizes: int) -> int:
        """Bytes of workspace for given symbolic sizes, ``exe.memory(batch=256)``; InputError for other names."""
        if set(sizes) != set(self._program.symbols):
            raise InputError(f"memory: expected the sizes {', '.join(self._program.symbols)}, found {', '.join(sizes)}")
        return self.plan_for(dict(sizes)).work_bytes


def graph_of(what: str, executables: Mapping[str, Any]) -> Graph:
    """The one graph of all these executables; GraphError, for ``what`` was to be done, where there is none."""
    if not executables:
        text = f"{what}: nothing to {what.partition('_')[0]}; pass executables by name, {what}(path, train=train)"
        raise GraphError(text, origin=caller())
    first = next(iter(executables))
    for name, exe in executables.items():
        if not isinstance(exe, Executable):
            raise GraphError(f"{what}: {name}: expected an executable, found {type(exe).__name__}", origin=caller())
        if exe.graph is not executables[first].graph:
            one, other = executables[first].graph.name, exe.graph.name
            text = f"{what}: executables of two graphs: {first} of {one!r}, {name} of {other!r}"
            raise GraphError(text, origin=caller())
    graph: Graph = executables[first].graph
    return graph


def _recalled(program: Program) -> Kernel:
    """The program's kernel from the cache's record of it, or made and recorded."""
    key = program_key(program.source, program.inputs, program.n_outputs, program.updates)
    record = recall(key)
    if record is not None:
        return from_record(record, program.source, program.updates)
    kernel = program.kernel()
    made = to_record(kernel, program.source, program.updates)
    if made is not None:
        remember(key, made)
    return kernel


def _entry_signature(arrays: Sequence[tuple[Any, int]]) -> Any:
    """The Numba signature of the function that enters a kernel from Python."""
    typed = [types.Array(from_dtype(dtype), ndim, "C") for dtype, ndim in arrays]
    return types.int64(types.int64, *typed, types.int64, types.int64, types.int64)
