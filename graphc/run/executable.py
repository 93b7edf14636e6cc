"""Executables: a compiled graph that is called with arrays."""

from __future__ import annotations

import ctypes
import linecache
import os
import weakref
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from graphc.background import Background
from graphc.cached import cached
from graphc.codegen import entry as words
from graphc.codegen.jit import jit_disabled, recall, remember
from graphc.codegen.kernel import Kernel, Limit, work_bytes
from graphc.codegen.record import from_record, program_key, to_record
from graphc.codegen.watch import NOT_FINITE
from graphc.codegen.words import is_made
from graphc.collector import uncollected
from graphc.errors import (
    CompileError,
    GraphcError,
    GraphError,
    InputError,
    InputIndexError,
    NumericalError,
    Origin,
    Uncopied,
    caller,
    warn,
    warn_once,
)
from graphc.ir import dims
from graphc.ir.graph import Graph, located, rebuild
from graphc.ir.op import LATER, Kind
from graphc.ir.state import Array, copying
from graphc.ir.tensor import Tensor
from graphc.ir.text import print_graph
from graphc.lock import Busy
from graphc.native import NjitFunction
from graphc.reference import bind_sizes, check_sizes, evaluate
from graphc.run.batches import Layout, run_batches
from graphc.run.binding import arrange, check_out, convert
from graphc.run.bound import Bound, bind
from graphc.run.callback import low_level
from graphc.run.crew import WORTH, can_share, conductor, crew, gather, processors
from graphc.run.debug import TESTED, check_bounds, compare_shapes, examine
from graphc.run.entry import Desk, Entry, Face, Plan, desk_bytes, run_once
from graphc.run.objective import Objective
from graphc.run.program import MOST_BYTES, Program

DAMAGED = "what the cache holds of {} is damaged; building it anew: {!r:.200}"
MOST_ENTRIES = 256  # shapes remembered by one executable
BRIEF = 1 << 17  # the cost of a call of about a microsecond, which giving the interpreter's lock away would prolong
STRUCTURES = {"one": words.ONE, "list": words.LIST, "dict": words.DICT, "none": words.NOTHING}


class Executable(Uncopied):
    """A compiled graph. ``exe(*arrays)`` runs it; see `graphc.compile`.

    Calls without updates run side by side in several threads, calls with updates one after the other.

    >>> import graphc as gx
    >>> x = gx.Graph().input("x", ("n",), "float64")
    >>> f = gx.compile([x], {"double": 2 * x, "sum": gx.sum(x)}, backend="numpy")
    >>> f([1, 2])["double"].tolist(), float(f(x=[1, 2])["sum"])
    ([2.0, 4.0], 3.0)
    """

    def __init__(
        self,
        program: Program,
        *,
        threads: int | None = None,
        fastmath: bool = False,
        backend: str = "numba",
        cache: bool = True,
        lazy: bool = False,
        max_bytes: int | None = None,
        debug: str | None = None,
    ) -> None:
        self._program = program
        self._arguments = tuple(program.arguments)
        self._results = program.results
        self._structure = program.structure
        self._plain = self._structure.nest is None  # outputs are not lists or dicts in one another
        self._entries: dict[tuple[tuple[int, ...], ...], Entry] = {}
        self._seen: set[tuple[tuple[int, ...], ...]] = set()  # shapes that debug="shapes" has compared
        self._desks: list[Desk] = []
        self._called = False
        self._layouts: dict[tuple[Any, ...], Layout] = {}
        self._rooms: deque[Array] = deque(maxlen=1)  # the workspace of a pass that is over
        self.pending: Array | None = None
        self._enter: Callable[..., Any] = _declined  # the entry for the shapes of the last call
        self._enter_into: Callable[..., Any] = _declined
        self.backend, self.threads, self.fastmath, self.cache = backend, threads, fastmath, cache
        self.max_bytes, self.debug = max_bytes, debug
        self._most = processors() if threads is None else threads
        state = program.graph.state
        self._reads = [n.name for n in program.source.nodes if n.op.name in ("parameter", "variable")]
        self._lock = state.lock if self._reads or program.updates else None
        self._face = Face(
            tuple(t.dtype for t in self._arguments),
            tuple(t.dtype for t in self._results),
            STRUCTURES[self._structure.kind],
            self._structure.keys,
            tuple(state.storage.values()),
            self._lock,
            bool(program.updates),
        )
        self._bounds: list[Bound] = []  # the kernel that calls run stands last; the others may still be in use
        self._coming: Background[None] | None = None  # the kernel, where calls do not wait for it
        if backend == "numba" and jit_disabled():
            warn_once('NUMBA_DISABLE_JIT is set: NumPy interprets what is compiled, as with backend="numpy"')
        elif backend == "numba":
            known = _recalled(program) if cache and debug not in TESTED else None
            if known is None and lazy:
                self._coming = Background(partial(self._build_behind, caller()))
            else:
                with uncollected():
                    self._build(known)

    def _build_behind(self, origin: Origin) -> None:
        """`_build` in a thread, for the line that asked for it."""
        with located("compile", origin), uncollected():
            self._build(None)

    def _build(self, known: Kernel | None) -> None:
        """Generates, compiles and binds the kernel, then uses it."""
        kernel = known or self._made()
        if not self._program.symbols and self._excess(kernel, {}):
            kernel = self._leaner(kernel, {})
        try:
            self._use(kernel)
        except Exception as error:
            if kernel is not known:
                raise
            warn(DAMAGED.format(self.graph.name, error))
            return self._build(None)
        if self.cache and known is None and kernel.limit is None and self.debug not in TESTED:
            _remember(self._program, kernel)

    def _made(self, limit: Limit | None = None) -> Kernel:
        return self._program.kernel(limit=limit, debug=self.debug)

    def _use(self, kernel: Kernel) -> Bound:
        """Compiles a kernel; from here on calls run it."""
        bound = bind(kernel, self.graph.state.storage, self.cache, self.fastmath)
        seen = weakref.ref(self)
        # for profilers and debuggers, made when read
        linecache.cache[bound.compiled.made_of.filename] = (lambda: exe.listing.annotated if (exe := seen()) else None,)
        self._bounds.append(bound)
        return bound

    @property
    def _kernel(self) -> Kernel | None:
        return self._bounds[-1].kernel if self._bounds else None

    def _threads_for(self, kernel: Kernel, sizes: Mapping[str, int]) -> int:
        """How many threads share a call."""
        shared = self._most > 1 and dims.evaluate(kernel.cost, sizes) >= WORTH and can_share()
        return self._most if shared else 1

    def _excess(self, kernel: Kernel, sizes: Mapping[str, int]) -> bool:
        """Whether a kernel takes more memory than it may."""
        if self.max_bytes is None:
            return False
        return self._limit(kernel, sizes).bytes(kernel) > self.max_bytes

    def _limit(self, kernel: Kernel, sizes: Mapping[str, int]) -> Limit:
        """What a kernel at these sizes has to keep."""
        assert self.max_bytes is not None
        return Limit(self.max_bytes, dict(sizes), self._threads_for(kernel, sizes))

    def _leaner(self, kernel: Kernel, sizes: Mapping[str, int]) -> Kernel:
        """A kernel that keeps less and computes it again; CompileError where that is not enough."""
        made = self._made(self._limit(kernel, sizes))
        if self._excess(made, sizes):
            least = self._limit(made, sizes).bytes(made)
            at = f" with {', '.join(f'{name}={size}' for name, size in sizes.items())}" if sizes else ""
            raise CompileError(f"max_bytes is {self.max_bytes}, but the workspace takes at least {least} bytes{at}")
        return made

    def __repr__(self) -> str:
        names = ", ".join(f"{t.name}: {t.type}" for t in self._arguments)
        return f"<Executable of {self.graph.name} ({names}) -> {self._structure.kind}>"

    def _repr_html_(self) -> str:
        return LATER["executable_html"](self)  # type: ignore[no-any-return]

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

    def __call__(self, /, *args: Any, out: Any = None, **kwargs: Any) -> Any:
        """Runs the program. Arrays come in order or by input name; outputs are fresh arrays, 0-d ones scalars.

        ``out`` holds arrays of the outputs' structure to write into. Raises InputError and its kinds, naming the input.
        """
        if not kwargs:
            given, enter = (
                (args, self._enter) if out is None else ((*args, *self._structure.unpack(out)), self._enter_into)
            )
            try:
                packed = enter(*given)
            except Busy:
                packed = NotImplemented
            if packed is not NotImplemented:
                return out if out is not None else packed if self._plain else self._structure.nested(packed)
        return self._call(args, kwargs, out)

    def _call(self, args: Sequence[Any], kwargs: Mapping[str, Any], out: Any) -> Any:
        """A call of any kind: converts, checks and complains, and makes the entry that the next one like it takes."""
        if self._coming is not None:
            self._coming.check()
        if kwargs or len(args) != len(self._arguments):
            args = arrange(self._arguments, args, kwargs)
        arrays = [convert(t, a) for t, a in zip(self._arguments, args, strict=True)]
        key = tuple([a.shape for a in arrays])
        plan = self._entries[key].plan if key in self._entries else self.plan_for(bind_sizes(self._arguments, key))
        if self.debug == "shapes" and key not in self._seen:
            compare_shapes(self._program, arrays, self.graph.state.copies(self._reads), plan.sizes)
            self._seen.add(key)
        results: list[Array] = []
        if out is not None:
            results = self._structure.unpack(out)
            described = [(t.name, t.dtype, s) for t, s in zip(self._results, plan.shapes, strict=True)]
            check_out(described, results, [*arrays, *self.graph.state.storage.values()])
            results = [r.view(t.dtype) for r, t in zip(results, self._results, strict=True)]
        try:
            packed = self._run(plan, key, arrays, results) if plan.kernel else self._interpret(plan, arrays, results)
        except MemoryError as error:
            raise self._program.too_large(plan.sizes) from error
        return out if out is not None else packed if self._plain else self._structure.nested(packed)

    def _run(self, plan: Plan, key: tuple[tuple[int, ...], ...], arrays: list[Array], results: list[Array]) -> Any:
        gather(plan.threads)
        if not (self._called or is_made(words.enter) or plan.stops):
            self._called = True
            return self._run_once(plan, arrays, results)
        entry = self._entries.get(key)
        packed = NotImplemented if entry is None else self._serve(entry, arrays, results)
        while packed is NotImplemented:
            entry = Entry(plan, self._face, key, self._desk(plan))
            packed = self._serve(entry, arrays, results)
            if entry.failure is not None:
                if entry.failure[0] == NOT_FINITE:
                    return self._interpret(plan, arrays, results)  # raises, or knows better
                raise self.failure(*entry.failure, plan)
        assert entry is not None
        if len(self._entries) >= MOST_ENTRIES:
            self._entries.clear()
        self._entries[key] = entry
        self._enter, self._enter_into = entry.enter, entry.enter_into
        return packed

    def _run_once(self, plan: Plan, arrays: list[Array], results: list[Array]) -> Any:
        """A call without an entry, whose code takes longer to make than a single call saves by it."""
        into = results or [np.empty(s, t.dtype) for s, t in zip(plan.shapes, self._results, strict=True)]
        status, where, value = run_once(plan, arrays, into, self._lock, bool(self._program.updates))
        if status == NOT_FINITE:
            return self._interpret(plan, arrays, results)
        if status:
            raise self.failure(status, where, value, plan)
        return self._structure.flat.pack([r[()] for r in into])

    def _serve(self, entry: Entry, arrays: list[Array], results: list[Array]) -> Any:
        enter = entry.enter_into if results else entry.enter
        return self._lock.patiently(enter, *arrays, *results) if self._lock else enter(*arrays, *results)

    def holding(self, function: Callable[..., Any], *args: Any) -> Any:
        """What a function returns that runs while the state is held as a call holds it."""
        if self._lock is None:
            return function(*args)
        return (self._lock.writing if self._program.updates else self._lock.reading)(function, *args)

    def _desk(self, plan: Plan) -> Desk:
        """A desk that is large enough and free."""
        bytes = desk_bytes(len(self._arguments), len(self._results), plan.work_bytes)
        for desk in self._desks:
            if len(desk.memory) >= bytes and not desk.taken:
                return desk
        made = Desk(bytes)
        self._entries.clear()  # they hold desks that may be too small to be used again
        self._desks = [made, *(desk for desk in self._desks if len(desk.memory) >= bytes)]
        return made

    def _interpret(self, plan: Plan, arrays: list[Array], results: list[Array]) -> Any:
        """The same program, by NumPy."""
        results = results or [np.empty(s, t.dtype) for s, t in zip(plan.shapes, self._results, strict=True)]
        state = self.graph.state
        if self._program.updates:
            state.lock.writing(self._step, plan, arrays, results)
        else:
            self._evaluate(plan, arrays, state.copies(self._reads), results)
        return self._structure.flat.pack([r[()] for r in results])

    def _evaluate(
        self, plan: Plan, arrays: list[Array], state: Mapping[str, Array], results: list[Array]
    ) -> list[Array]:
        """Fills in the results; the next values of what is updated."""
        program = self._program
        given = dict(zip(program.inputs, arrays, strict=True))
        if self.debug in TESTED:
            values = examine(program, given, state, plan.sizes, passed=self.debug == "inputs")
        else:
            values = evaluate(program.optimised, given, state, plan.sizes)
        for result, value in zip(results, values, strict=False):
            result[...] = value
        return values[program.n_outputs :]

    def _step(self, plan: Plan, arrays: list[Array], results: list[Array]) -> None:
        """A call with updates, which are stored all or not at all."""
        storage = self.graph.state.storage
        nexts = [v.copy() for v in self._evaluate(plan, arrays, storage, results)]
        any(copying(nexts, [storage[name] for name in self._program.updates]))

    def failure(self, status: int, where: int, value: int, plan: Plan) -> GraphcError:
        """The error for an index out of range, or a loop that goes on, which a kernel reported."""
        node, sizes = plan.failures[status - 1], plan.sizes
        if node.op.kind is Kind.CONTROL:
            text = f"{node.name}: goes on after max_steps = {value}"
            return NumericalError(text, node=node.name, origin=node.origin)
        low, high = (dims.evaluate(node.attrs[k], sizes) for k in ("low", "high"))
        shape = tuple(dims.evaluate(s, sizes) for s in node.type.shape)
        at = tuple(int(k) for k in np.unravel_index(where, shape)) if shape else ()
        row = f" at row {at[0]}" if len(at) == 1 else f" at {at}" if at else ""
        text = f"{node.attrs['what']} {value}{row} is not in [{low}, {high})"
        return InputIndexError(text, node=node.name, origin=node.origin)

    def plan_for(self, sizes: dict[str, int]) -> Plan:
        """What a call with these sizes needs.

        InputShapeError where sizes do not fit together, InputMemoryError where they are too large for any memory.
        """
        check_sizes(self._program.checks, sizes)
        self._program.check_memory(sizes)
        shapes = tuple(tuple(dims.evaluate(s, sizes) for s in t.shape) for t in self._results)
        symbols = [sizes[n] for n in self._program.symbols]
        if not self._bounds:
            return Plan(sizes, shapes, np.array(symbols, np.int64), 0, 0, 0, 1, ())
        bound = self._bounds[-1]
        if self._excess(bound.kernel, sizes):
            bound = self._use(self._leaner(bound.kernel, sizes))
        kernel, threads = bound.kernel, self._threads_for(bound.kernel, sizes)
        if self.debug == "bounds":
            schedule = kernel.schedule or self.listing.schedule
            assert schedule is not None
            check_bounds(schedule, sizes)
        table = np.array([threads, bound.address, crew().board if threads > 1 else 0, *symbols], np.int64)
        bytes = work_bytes(kernel.work_bytes, kernel.scratch_bytes, sizes, threads)
        if bytes > MOST_BYTES:
            raise self._program.too_large(sizes)
        address = conductor() if threads > 1 else bound.address
        brief = not kernel.stops and dims.evaluate(dims.total([kernel.cost, kernel.alone]), sizes) < BRIEF
        state = bound.state_address
        return Plan(sizes, shapes, table, bytes, address, state, threads, kernel.failures, kernel.stops, brief)

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

        >>> import graphc as gx
        >>> x = gx.Graph().input("x", ("n",), "float64")
        >>> f = gx.compile([x], [x * x, gx.mean(x)], backend="numpy")
        >>> [values.tolist() for values in f.run_batches([[1.0, 2.0, 3.0]], batch_size=2)]
        [[1.0, 4.0, 9.0], [1.5, 3.0]]
        """
        self.wait()
        return run_batches(self, arrays, batch_size, shuffle, seed, drop_last, progress)

    def wait(self, timeout: float | None = None) -> bool:
        """Waits for the kernel of an executable that was compiled with ``lazy=True``, ``timeout`` seconds at most.

        Returns whether calls run machine code from now on: at once where compiling was not lazy, and False for
        ``backend="numpy"``. Raises what the compiler raised, a CompileError for one.

        >>> import graphc as gx
        >>> x = gx.Graph().input("x", ("n",), "float64")
        >>> gx.compile([x], x + 1, backend="numpy").wait()
        False
        """
        if self._coming is not None:
            self._coming.wait(timeout)
        return self._kernel is not None

    # ---- inside other compiled code

    @property
    def address(self) -> int:
        """The kernel's address, ``int64 f(void **in, void **out, const int64_t *dims, void **state, void *work)``.

        ``dims`` holds the values of the symbolic sizes in order of appearance, ``state`` is `state_address`, ``work``
        64-byte aligned memory of `memory` bytes. It needs no GIL, takes no lock, and returns 0 or the number of the
        index test that failed. It checks neither that arrays have these sizes nor that sizes fit together: wrong ones
        read and write memory that is not theirs. `memory` checks sizes, without arrays.
        """
        return self.bound.address

    @property
    def state_address(self) -> int:
        """The table of state that the kernel at `address` takes."""
        return self.bound.state_address

    @property
    def cfunc(self) -> Any:
        """The kernel at `address` as a ctypes function of five integers, which keeps the executable alive."""
        function = ctypes.CFUNCTYPE(ctypes.c_int64, *[ctypes.c_int64] * 5)(self.address)
        function.keep = self  # type: ignore[attr-defined]
        return function

    @cached
    def njit(self) -> NjitFunction:
        """The same function for use inside ``@numba.njit`` code: arrays in; one output bare, several as a tuple.

        State is read and written in the same storage, without a lock. A global of compiled code, or an argument of it;
        as an argument also where that code has ``cache=True``. Compiled code raises ValueError where sizes do not fit,
        IndexError for an index out of range; Numba refuses arguments of another dtype or rank.
        """
        return NjitFunction(self)

    def low_level(self, signature: str) -> Any:
        """A ``scipy.LowLevelCallable`` with a C signature, which SciPy calls without Python.

        double (double), double (double, void *)      a number in, a number out: ``scipy.integrate.quad``
        double (int, double *), the same with void *  numbers, and perhaps a vector behind them, in: ``quad`` with
                                                      ``args``, ``nquad``
        int (double *, intptr_t, double *, void *)    a vector in, a number out: ``scipy.ndimage.generic_filter``
        int (double *, intptr_t, double *, intptr_t, void *)
                                                      a vector in, a vector out: ``generic_filter1d``
        void (double, double *, double *, double *)   t, y and perhaps parameters in, the slope of y out, of known
                                                      sizes: solvers of ODEs in C

        Values are float64, the output is one tensor; state is read without a lock. Where the executable would raise,
        the C function gives NaN, or 0 where it returns an int. Raises CompileError for another signature, or where the
        executable does not fit it.

        >>> import graphc as gx, scipy.integrate
        >>> x = gx.Graph(float_dtype="float64").input("x", (), "float64")
        >>> bell = gx.compile([x], gx.exp(-x * x)).low_level("double (double)")
        >>> round(scipy.integrate.quad(bell, -9, 9)[0] ** 2, 6)
        3.141593
        """
        return low_level(self, signature)

    def as_scipy(self, x0: Any, /, **fixed: Any) -> Objective:
        """A function of one flat float64 vector that gives value and gradient.

        ``scipy.optimize.minimize(f, f.x0, jac=True)`` minimises it over all varied inputs at once.
        ``x0`` holds first values of the inputs to vary: a dict by name, a list in the order of the inputs, or the value
        of the only one. All other inputs are passed by name and stay as they are. The outputs are a scalar, then its
        gradient by each varied input, in the order of the inputs, or by their names where outputs are a dict.
        ``f.unflatten(x)`` has the structure of ``x0``.

        Raises InputError and its kinds where inputs or outputs do not fit.

        >>> import numpy as np, graphc as gx, scipy.optimize
        >>> g = gx.Graph(float_dtype="float64")
        >>> x, y = g.input("x", ("n",), "float64"), g.input("y", ("n",), "float64")
        >>> slope, start = g.input("slope", (), "float64"), g.input("start", (), "float64")
        >>> loss = gx.sum((slope * x + start - y) ** 2)
        >>> exe = gx.compile([x, y, slope, start], [loss, *gx.grad(loss, [slope, start])])
        >>> f = exe.as_scipy({"slope": 0.0, "start": 0.0}, x=np.arange(4.0), y=np.arange(4.0) * 2 + 1)
        >>> found = f.unflatten(scipy.optimize.minimize(f, f.x0, jac=True).x)
        >>> round(float(found["slope"]), 4), round(float(found["start"]), 4)
        (2.0, 1.0)
        """
        return Objective(self, x0, fixed)

    @property
    def bound(self) -> Bound:
        """The kernel that calls run now, with its machine code and its state; CompileError where there is none."""
        if not self.wait():
            why = "NUMBA_DISABLE_JIT is set" if self.backend == "numba" else 'compile with backend="numba"'
            raise CompileError(f"there is no machine code: NumPy interprets the program; {why}")
        return self._bounds[-1]

    # ---- export

    def export_python(self, path: str | os.PathLike[str], *, name: str | None = None, cache: bool = False) -> None:
        """Writes one Python module that needs numba and numpy, and nothing of graphc.

        It holds a function with the executable's inputs as parameters, called ``name`` or as the graph is, and its
        results are the same bits. State is in the module too, as it stands now: ``module.state`` is a mapping that is
        read and set. The first call compiles; with ``cache`` Numba keeps the machine code beside the module.

        Raises ExportError for a name that the function cannot have, and where there is no compiled kernel; OSError
        where the file cannot be written, whole or not at all.

        >>> import os, tempfile, runpy, graphc as gx
        >>> g = gx.Graph("double")
        >>> x = g.input("x", shape=("n",))
        >>> path = os.path.join(tempfile.mkdtemp(), "double.py")
        >>> gx.compile([x], x * 2.0).export_python(path)
        >>> runpy.run_path(path)["double"]([1.0, 2.0]).tolist()
        [2.0, 4.0]
        """
        LATER["export_python"](self, path, name, cache)

    def export_onnx(self, path: str | os.PathLike[str], *, verify: Any = True, opset: int = 18) -> None:
        """Writes the program as an ONNX model of standard operators, with the state as it stands.

        Inputs are the executable's, then the state that it updates, whose present values are defaults; outputs are
        its results, then the next values of that state. ``verify`` has the model checked, run by ONNX Runtime and
        compared before anything is written: True on made-up inputs, or arrays as in a call, a list or a dict.
        ``opset`` is the version of the operators, 15 to 28.

        Raises ExportError, naming the nodes, for operations that ONNX, or with ``verify`` stock ONNX Runtime, does
        not have, and where results differ; OSError where the file cannot be written. Needs ``graphc[onnx]``.

        >>> import tempfile
        >>> from importlib.util import find_spec
        >>> import graphc as gx
        >>> x = gx.Graph().input("x", ("n",))
        >>> path = tempfile.mkdtemp() + "/model.onnx"
        >>> if find_spec("onnx"):
        ...     gx.compile([x], gx.tanh(x), backend="numpy").export_onnx(path, verify=False)
        ...     assert list(gx.from_onnx(path).inputs) == ["x"]
        """
        LATER["export_onnx"](self, path, verify=verify, opset=opset)

    def export_c(
        self,
        directory: str | os.PathLike[str],
        name: str = "model",
        cpu: str = "native",
        blas: str = "tiles",
        source: bool = False,
    ) -> None:
        """Writes this executable alone as a C library: `graphc.export_c` with functions ``NAME_call`` and so on.

        Raises ExportError where there is no C compiler or the program cannot be carried, OSError where files cannot be
        written.

        >>> import graphc as gx
        >>> x = gx.Graph().input("x", ("n",))
        >>> try:
        ...     gx.compile([x], 2 * x, backend="numpy").export_c("library", name="no name")
        ... except gx.ExportError as error:
        ...     print(type(error).__name__)
        ExportError
        """
        LATER["write_library"](directory, name, cpu, blas, {name: self}, source)

    # ---- looks

    @property
    def source(self) -> str:
        """The generated Python, with a comment for each node."""
        return self.listing.annotated

    @property
    def listing(self) -> Kernel:
        """The kernel with its text and schedule; made anew where it was recalled from disk."""
        kernel = self.bound.kernel
        return kernel if kernel.text is not None else self._made_anew

    @cached
    def _made_anew(self) -> Kernel:
        return self._made()

    @property
    def stages(self) -> Mapping[str, str]:
        """The text of every stage of the compiler, in order."""
        (first, built), *passed = self._program.stages
        out = {first: print_graph(built)}  # in the user's order
        out |= {name: print_graph(rebuild(graph)) for name, graph in passed}  # without what a pass has left unread
        if self.wait():
            out["schedule"] = self.listing.loops
            out["source"] = self.source
            out["llvm"] = self._bounds[-1].compiled.llvm
            out["assembly"] = self._bounds[-1].compiled.assembly
        return Stages(out)

    def explain(self, tensor: Tensor | str) -> Any:
        """What the compiler did with a tensor of the graph, given itself or by name, and why. It prints as a few lines.

        ``.rules`` are the passes and rules that touched it, ``.parts`` the parts of the kernel that compute it,
        ``.fusion`` says what it shares loops with, or why it shares none, and ``.buffer`` where its value is kept.

        Raises GraphError for a tensor that this executable does not need, CompileError without a kernel.

        >>> import graphc as gx
        >>> g = gx.Graph("explained")
        >>> x = g.input("x", ("n",))
        >>> y = (gx.exp(x) + x).named("y")
        >>> print(gx.compile([x], y).explain("exp_1").fusion)
        shares the loop over n with y: the sizes are equal
        """
        return LATER["explain"](self, tensor)

    def profile(self, /, *args: Any, **kwargs: Any) -> Any:
        """How long each part of the kernel takes for these arrays, which come as in a call, on one thread.

        Returns a profile that prints as a table, the longest part first. ``.rows`` has for each part its nodes, the
        lines of yours behind them, ``seconds``, ``bytes``, ``flops``, and the ``share`` of the time that the machine
        would need at its best; ``.to_json()`` is the same as JSON. A kernel of its own is compiled, with a clock
        between the parts. State is copied first, and stays as it is.

        Raises InputError and its kinds as a call does, CompileError without a kernel.

        >>> import numpy as np, graphc as gx
        >>> x = gx.Graph("sums").input("x", ("n", 64))
        >>> seen = gx.compile([x], gx.exp(x) @ np.ones((64, 64), "float32")).profile(np.zeros((256, 64)))
        >>> [row.title for row in seen.rows]
        ['loop over n x 64', 'product of n x 64 x 64']
        """
        return LATER["profile"](self, args, kwargs)

    def view(
        self,
        path: str | os.PathLike[str] | None = None,
        *,
        feeds: Mapping[Any, Any] | None = None,
        profile: Any = None,
    ) -> Any:
        """The program as one page for a browser, as `Graph.view`, with a slider over the compiler's stages.

        A node shows besides which rules touched it, the part of the kernel that computes it, what that is fused with
        and where the value is kept. Boxes can be the parts of the kernel. The generated source is linked both ways.
        With a ``profile`` that `profile` returned, parts show how long they take.

        Raises InputError where ``feeds`` name no input, OSError where the page cannot be written.

        >>> import graphc as gx
        >>> x = gx.Graph().input("x", ("n",), "float64")
        >>> page = gx.compile([x], gx.tanh(x), backend="numpy").view()
        >>> page.html.startswith("<!doctype html>")
        True
        """
        return LATER["view_executable"](self, path, feeds=feeds, profile=profile)

    def memory(self, /, **sizes: int) -> int:
        """Bytes of workspace for given symbolic sizes, ``exe.memory(batch=256)``; InputError for other names.

        >>> import graphc as gx
        >>> x = gx.Graph().input("x", ("n",), "float64")
        >>> gx.compile([x], gx.cumsum(x), backend="numpy").memory(n=10)
        0
        """
        if set(sizes) != set(self._program.symbols):
            raise InputError(f"memory: expected the sizes {', '.join(self._program.symbols)}, found {', '.join(sizes)}")
        for name, size in sizes.items():
            if not isinstance(size, (int, np.integer)) or size < 0:
                raise InputError(f"memory: expected a size {name} of at least 0, found {size!r}")
        self.wait()
        return self.plan_for({name: int(size) for name, size in sizes.items()}).work_bytes


class Stages(Mapping[str, str]):
    """The stages of the compiler: name -> text, in order. It prints as the names; texts may be long."""

    def __init__(self, texts: Mapping[str, str]) -> None:
        self._texts = texts

    def __getitem__(self, name: str) -> str:
        return self._texts[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._texts)

    def __len__(self) -> int:
        return len(self._texts)

    def __repr__(self) -> str:
        return f"<stages: {', '.join(self)}>"

    def _repr_html_(self) -> str:
        return LATER["stages_html"](self)  # type: ignore[no-any-return]


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


def _key(program: Program) -> str:
    return program_key(program.source, program.inputs, program.n_outputs, program.updates)


def _recalled(program: Program) -> Kernel | None:
    """The program's kernel from the cache's record of it, where it was compiled before."""
    key = _key(program)
    try:
        record = recall(key)
        return None if record is None else from_record(record, program.source, program.updates, key)
    except CompileError:  # the cache is not private
        raise
    except Exception as error:  # whole, but not what `to_record` makes
        warn(DAMAGED.format(program.graph.name, error))
        return None


def _remember(program: Program, kernel: Kernel) -> None:
    """Records a kernel that has been compiled."""
    key = _key(program)
    record = to_record(kernel, program.source, program.updates, key)
    if record is not None:
        remember(key, record)


def _declined(*_: Any) -> Any:
    """The answer of an entry before the first call."""
    return NotImplemented
