"""From arrays to a compiled kernel and back. What an exported module does when called; its source is copied there.

Nothing here knows of graphs: a program is its kernel, tables of what goes in and out, and a function of the symbolic
sizes. Here and in all else that is copied there is no dataclass: making one looks its module up in sys.modules, where
a module that importlib loads from a path need not be.
"""

from __future__ import annotations

import base64
import ctypes
import operator
import os
import threading
import warnings
from collections.abc import Callable, Iterator, MutableMapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, NamedTuple

import llvmlite.binding as ll
import numba
import numpy as np

from graphc.codegen.pipeline import Short
from graphc.codegen.private import ENGINE, missing
from graphc.codegen.stop import NOTE, answering
from graphc.ir.arrays import fits
from graphc.ir.state import Array, aligned_empty

MOST_SPARE = 4  # workspaces kept for calls side by side


class Leaf(NamedTuple):
    """What goes in or out, or is kept: a name, a dtype, a shape of ints and texts of sizes, the line that made it."""

    name: str
    dtype: str
    shape: tuple[int | str, ...] = ()
    line: str = ""

    def __str__(self) -> str:
        return f"{self.dtype}[{', '.join(map(str, self.shape))}]"

    def error(self, kind: type[Exception], found: str) -> Exception:
        where = f"\n  at {self.line}" if self.line else ""
        return kind(f"input {self.name!r}: expected {self}, found {found}{where}")


class Sizes(NamedTuple):
    """All that depends on the symbolic sizes."""

    inputs: tuple[tuple[int, ...], ...]  # shapes
    outputs: tuple[tuple[int, ...], ...]
    work_bytes: int
    meetings: tuple[tuple[int, int, bool], ...]  # two sizes, and whether they fit together
    tests: tuple[tuple[int, int, tuple[int, ...]], ...]  # of indices: the range, the shape of the tensor


def holding(lock: Any, function: Callable[..., Any], *args: Any) -> Any:
    """What a C function returns that raises nothing, called while a lock is held.

    All three calls are made in C, one after the other: no exception, such as Ctrl-C may raise between any two lines of
    Python, leaves the lock taken.
    """
    return tuple(map(operator.call, (lock.acquire, partial(function, *args), lock.release)))[1]


class State(MutableMapping[str, Array]):
    """Arrays that calls read and write. Reading gives a copy, assignment copies in.

    Assignment converts as arguments of a call are. It raises ValueError where the shape differs, TypeError where the
    dtype does not fit, KeyError for another name; nothing can be added or deleted.
    """

    def __init__(self, storage: dict[str, Array]) -> None:
        self.lock = lock = threading.RLock()
        self.storage = storage
        if hasattr(os, "register_at_fork"):  # a fork waits for the call under way
            renew = getattr(lock, "_at_fork_reinit", lock.release)
            os.register_at_fork(before=lock.acquire, after_in_parent=lock.release, after_in_child=renew)

    def __getitem__(self, name: str) -> Array:
        made = np.empty_like(self.storage[name])
        holding(self.lock, operator.setitem, made, ..., self.storage[name])
        return made

    def __setitem__(self, name: str, value: Any) -> None:
        held, given = self.storage[name], np.asarray(value)
        if given.shape != held.shape:
            raise ValueError(f"state {name!r}: expected shape {held.shape}, found {given.shape}")
        if given.dtype.kind not in "biuf" or given.dtype.itemsize > 8 or not fits(given, held.dtype):
            raise TypeError(f"state {name!r}: expected dtype {held.dtype}, found {given.dtype}")
        holding(self.lock, operator.setitem, held, ..., given)

    def __delitem__(self, name: str) -> None:
        raise TypeError(f"state {name!r} cannot be deleted")

    def __iter__(self) -> Iterator[str]:
        return iter(self.storage)

    def __len__(self) -> int:
        return len(self.storage)


def array_of(dtype: str, shape: tuple[int, ...], text: str) -> Array:
    """An array from its bytes in base64, the lowest byte of a number first."""
    array = aligned_empty(shape, np.dtype(dtype))
    array[...] = np.frombuffer(base64.b64decode(text), array.dtype.newbyteorder("<")).reshape(shape)
    return array


class Function(NamedTuple):
    """A function to be compiled for a signature, and the symbol by which others call it."""

    body: Callable[..., Any]
    signature: str
    symbol: str = ""
    fastmath: bool = False

    def compile(self, cache: bool) -> Any:
        """Numba's C callback of it. Numba keeps it on disk where ``cache`` is true.

        It is lowered the short way where this Numba has what that needs, else as Numba does, with the same values but
        perhaps other bits.
        """
        options = {"error_model": "numpy", "boundscheck": False, "fastmath": self.fastmath}
        made = None
        if not missing(ENGINE):
            try:
                made = self.cached(cache, pipeline_class=Short, **options)
            except (AttributeError, ImportError, NotImplementedError, TypeError):  # of a Numba that came later
                made = None
        if made is None:
            made = self.cached(cache, **options)
        if self.symbol:
            ll.add_symbol(self.symbol, made.address)
        return made

    def cached(self, cache: bool, **options: Any) -> Any:
        """The callback, and a warning where it should be kept on disk and cannot."""
        make = partial(numba.cfunc, self.signature, **options)
        if cache:
            try:
                return make(cache=True)(self.body)
            except OSError as error:
                warnings.warn(f"machine code cannot be kept: {error}", stacklevel=2)
        return make()(self.body)


def note_of_stop() -> Array:
    """The words by which the loops of this process's kernels know a call that may be stopped."""
    at = ll.address_of_symbol(NOTE)
    if at is None:
        words = (ctypes.c_int64 * 8)()
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(words))  # machine code outlives the module
        at = ctypes.addressof(words)
        ll.add_symbol(NOTE, at)
    return np.ctypeslib.as_array((ctypes.c_int64 * 8).from_address(at))


class Program:
    """A kernel and what its callers must know. It is compiled at the first call.

    ``functions`` are compiled in order; the last is the kernel, which takes the addresses of five tables. ``symbols``
    are the symbolic sizes, each with the input and the axis where it is read. ``before`` runs ahead of the compiler.
    ``stops`` where loops look for Ctrl-C: a call in the main thread ends then, and leaves state as it was.
    """

    def __init__(
        self,
        *,
        functions: Sequence[Function],
        sizes: Callable[..., Sizes],
        inputs: Sequence[Leaf],
        outputs: Sequence[Leaf],
        symbols: Sequence[tuple[str, int, int]],
        checks: Sequence[tuple[str, str, str]],  # the op where two sizes meet, what must hold of them, the line
        tests: Sequence[tuple[str, str]],  # what an index is, and the line
        state: State,
        constants: Sequence[Array],
        before: Sequence[Callable[[], Any]] = (),
        stops: bool = False,
    ) -> None:
        self.functions, self.before, self.stops = functions, before, stops
        self.sizes, self.symbols, self.checks, self.tests = sizes, symbols, checks, tests
        self.inputs, self.outputs = inputs, outputs
        self.state, self.constants = state, constants
        self.compiled: list[Any] = []
        self.spare: list[Array] = []

    def __call__(self, values: Sequence[Any], cache: bool) -> list[Any]:
        """Outputs in order, fresh arrays; 0-d ones as scalars.

        Raises TypeError for a dtype, ValueError for a shape, IndexError for an index that does not fit. State is then
        as it was.
        """
        arrays = [converted(leaf, value) for leaf, value in zip(self.inputs, values, strict=True)]
        numbers = self.bound(arrays)
        sizes = self.sizes(*numbers)
        self.check(arrays, numbers, sizes)
        results = [np.empty(shape, leaf.dtype) for leaf, shape in zip(self.outputs, sizes.outputs, strict=True)]
        kernel = self.kernel(cache)
        held = [*self.state.storage.values(), *self.constants]
        tables = [np.array([a.ctypes.data for a in some], np.int64) for some in (arrays, results, held)]
        tables.insert(2, np.array(numbers, np.int64))
        work = self.workspace(sizes.work_bytes)
        addresses = [*(t.ctypes.data for t in tables), work.ctypes.data]
        status = self.run(kernel, addresses)
        where, value = work[:16].view(np.int64)
        if len(self.spare) < MOST_SPARE:
            self.spare.append(work)
        if status:
            raise self.failure(sizes, status - 1, int(where), int(value))
        return [r if r.ndim else r[()] for r in results]

    def run(self, kernel: Any, addresses: Sequence[int]) -> int:
        """The status of the kernel; raises what a signal does meanwhile, where loops look for it."""
        call = partial(holding, self.state.lock, kernel, *addresses) if self.state else partial(kernel, *addresses)
        return answering(self.note, addresses[-1], call) if self.stops else int(call())

    def kernel(self, cache: bool) -> Any:
        """The kernel as a C function."""
        if not self.compiled:
            try:  # in a thread of its own, where Ctrl-C does not leave locks of Numba's taken
                coming = ThreadPoolExecutor(1).submit(self.compile, cache)
            except RuntimeError:  # the process ends, or there can be no more threads
                self.compile(cache)
            else:
                coming.result()
        return self.compiled[-1].ctypes

    def compile(self, cache: bool) -> None:
        """Compiles all functions, once."""
        with self.state.lock:
            if not self.compiled:
                for prepare in self.before:
                    prepare()
                if self.stops:
                    self.note = note_of_stop()
                self.compiled = [function.compile(cache) for function in self.functions]

    def workspace(self, size: int) -> Array:
        """Memory that no other call uses now."""
        while self.spare:
            try:
                work = self.spare.pop()
            except IndexError:  # another thread was faster
                break
            if work.size >= size:
                return work
        return aligned_empty((max(size, 16),), np.dtype("uint8"))

    def bound(self, arrays: Sequence[Array]) -> list[int]:
        """The values of the symbolic sizes."""
        for leaf, array in zip(self.inputs, arrays, strict=True):
            if array.ndim != len(leaf.shape):
                raise leaf.error(ValueError, f"shape {array.shape}")
        return [arrays[k].shape[axis] for _, k, axis in self.symbols]

    def check(self, arrays: Sequence[Array], numbers: Sequence[int], sizes: Sizes) -> None:
        """ValueError where shapes are not the declared ones, or do not fit together."""
        for leaf, array, shape in zip(self.inputs, arrays, sizes.inputs, strict=True):
            if array.shape != shape:
                bound = zip(self.symbols, numbers, strict=True)
                values = ", ".join(f"{name} = {value} by {self.inputs[k].name!r}" for (name, k, _), value in bound)
                raise leaf.error(ValueError, f"shape {array.shape}" + (f" where {values}" if values else ""))
        for (op, relation, line), (a, b, holds) in zip(self.checks, sizes.meetings, strict=True):
            if not holds:
                raise ValueError(f"{op}: sizes do not fit: expected {relation}, found {a} and {b}\n  at {line}")

    def failure(self, sizes: Sizes, k: int, where: int, value: int) -> IndexError | ArithmeticError:
        """The error for an index that the kernel has found out of range, or a loop that does not end."""
        (what, line), (low, high, shape) = self.tests[k], sizes.tests[k]
        if not what:
            return ArithmeticError(f"a loop goes on after max_steps = {value}\n  at {line}")
        at = tuple(map(int, np.unravel_index(where, shape))) if shape else ()
        row = f" at row {at[0]}" if len(at) == 1 else f" at {at}" if at else ""
        return IndexError(f"{what} {value}{row} is not in [{low}, {high})\n  at {line}")


def converted(leaf: Leaf, value: Any) -> Array:
    """``value`` as an aligned C-ordered array of the input's dtype; TypeError where that would lose meaning."""
    if isinstance(value, np.ma.MaskedArray):
        raise leaf.error(TypeError, "a masked array; fill it first")
    array = np.asarray(value)
    if array.dtype.kind not in "biuf" or array.dtype.itemsize > 8:
        raise leaf.error(TypeError, f"dtype {array.dtype}")
    if not fits(array, np.dtype(leaf.dtype)):
        raise leaf.error(TypeError, f"{array.dtype}, which cannot be converted without loss of meaning")
    return np.require(array, leaf.dtype, ["C", "ALIGNED"])
