"""Entries: an executable bound to the shapes of its arrays and to a workspace, as a C function of the interpreter."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np

from graphc.codegen import entry as words
from graphc.codegen.words import address_of
from graphc.ir.node import Node
from graphc.ir.state import Array, aligned_empty
from graphc.ir.types import DType
from graphc.lock import ARRAY_OF_ARGUMENTS, GIVE, TAKE, Lock, builtin, method
from graphc.run.crew import LEAD, crew
from graphc.run.note import note

LINE = 64  # bytes; what threads write apart lies on lines apart


@dataclass(frozen=True, slots=True)
class Plan:
    """What calls with arrays of given shapes need."""

    sizes: dict[str, int]
    shapes: tuple[tuple[int, ...], ...]  # of the outputs
    dims: Array  # for the threads that share a call (LEAD words), then values of the symbols, read by the kernel
    work_bytes: int
    kernel: int  # the address to call; 0 where there is none, and the interpreter answers
    state: int  # the address of its table of state
    threads: int
    failures: tuple[Node, ...]  # of each test that may fail
    stops: bool = False  # whether its loops look for Ctrl-C
    brief: bool = False  # whether it is done before another thread could use the interpreter


@dataclass(frozen=True, slots=True)
class Face:
    """What an executable's arrays and results are like, whatever the shapes."""

    inputs: tuple[DType, ...]
    outputs: tuple[DType, ...]
    structure: int
    keys: tuple[str, ...]
    state: tuple[Array, ...]
    lock: Lock | None  # of the state; None where a call neither reads nor writes any
    writes: bool


class Desk:
    """Memory for one call at a time: its first word says whether it is taken."""

    def __init__(self, bytes: int) -> None:
        self.memory = aligned_empty((bytes,), np.dtype("uint8"))
        self.memory[:8] = 0

    @property
    def taken(self) -> bool:
        return bool(self.memory[0])


class Entry:
    """``enter(*arrays)`` gives the results, ``enter_into(*arrays, *results)`` fills them.

    Both answer NotImplemented, with nothing done, where an array is not C-ordered, of the declared dtype and of this
    shape, where results overlap anything else, while another call is at the desk, and where the kernel fails, which
    leaves `failure`. They raise Busy, with nothing done, while another thread holds the state.
    """

    def __init__(self, plan: Plan, face: Face, shapes: Sequence[tuple[int, ...]], desk: Desk) -> None:
        self.plan, self.desk = plan, desk
        self._keys = face.keys
        dtypes, shapes = face.inputs + face.outputs, (*shapes, *plan.shapes)
        inputs, outputs = len(face.inputs), len(face.outputs)
        tail = [*map(id, face.keys)]
        keys, facts = words.HEAD, words.HEAD + len(tail)
        states = facts + words.FACTS * len(dtypes)
        held = [n for array in face.state if array.nbytes for n in (array.ctypes.data, array.nbytes)]
        dims = states + len(held) + 1
        at = dims + len(plan.dims)
        self._table = table = np.zeros(at + sum(map(len, shapes)), np.int64)
        base: int = table.ctypes.data
        for dtype, shape in zip(dtypes, shapes, strict=True):
            tail += [id(dtype), len(shape), base + 8 * at, dtype.itemsize * int(np.prod(shape, dtype=np.int64))]
            table[at : at + len(shape)] = shape
            at += len(shape)
        tail += [*held, 0, *plan.dims]
        table[keys : keys + len(tail)] = tail
        scalars, places, made, work = _offsets(inputs, outputs)
        memory: int = desk.memory.ctypes.data
        for word, value in {
            words.INPUTS: inputs, words.OUTPUTS: outputs, words.STRUCTURE: face.structure,
            words.KEYS: base + 8 * keys, words.ARRAYS: base + 8 * facts, words.STATES: base + 8 * states,
            words.DIMS: base + 8 * (dims + LEAD), words.STATE: plan.state, words.KERNEL: plan.kernel,
            words.DESK: memory, words.SCALARS: memory + scalars, words.PLACES: memory + places,
            words.MADE: memory + made, words.WORK: memory + work, words.THREADS: plan.threads,
            words.CREW: crew().count_address, words.LOCK: face.lock.address if face.lock else 0,
            words.NOTE: note() if plan.stops else 0, words.BRIEF: plan.brief,
            words.WRITES: face.writes, words.TAKE: TAKE, words.GIVE: GIVE, **INTERPRETER,
        }.items():  # fmt: skip
            table[word] = value
        self.enter, self.enter_into = (_function(base, into, (table, desk, face)) for into in (False, True))

    @property
    def failure(self) -> tuple[int, int, int] | None:
        """Status, place and value of the index test that failed last, or None."""
        status, where, value = self._table[words.STATUS : words.STATUS + 3].tolist()
        return (status, where, value) if status else None


def run_once(
    plan: Plan, arrays: Sequence[Array], results: Sequence[Array], lock: Lock | None, writes: bool
) -> tuple[int, int, int]:
    """Runs a plan's kernel on arrays that fit, into others, in a workspace of its own, while a lock is held.

    Returns the status, and place and value of the index test that failed.
    """
    work = aligned_empty((plan.work_bytes,), np.dtype("uint8"))
    tables = [np.array([a.ctypes.data for a in held], np.int64) for held in (arrays, results)]
    kernel = ctypes.CFUNCTYPE(ctypes.c_int64, *[ctypes.c_int64] * 5)(plan.kernel)  # holds no lock of the interpreter
    given = (*(t.ctypes.data for t in tables), plan.dims.ctypes.data + 8 * LEAD, plan.state, work.ctypes.data)
    status = kernel(*given) if lock is None else (lock.writing if writes else lock.reading)(kernel, *given)
    where, value = work[:16].view(np.int64).tolist()
    return status, where, value


def desk_bytes(inputs: int, outputs: int, work_bytes: int) -> int:
    """Bytes of a desk."""
    return _offsets(inputs, outputs)[-1] + work_bytes


def _offsets(inputs: int, outputs: int) -> tuple[int, int, int, int]:
    """Where on a desk results of rank 0, addresses, objects and the workspace begin."""
    scalars = LINE
    places = scalars + 8 * outputs
    made = places + 8 * (inputs + outputs)
    return scalars, places, made, -(-(made + 8 * outputs) // LINE) * LINE


def _interpreter() -> dict[int, int]:
    """Addresses of what the C functions take from Python and NumPy."""
    library: Any = import_module("numpy._core._multiarray_umath")  # where NumPy's own import_array looks
    pointer = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.py_object, ctypes.c_char_p)(
        ("PyCapsule_GetPointer", ctypes.pythonapi)
    )
    table = ctypes.cast(pointer(library._ARRAY_API, None), ctypes.POINTER(ctypes.c_void_p))
    functions = {words.NEW_SCALAR: 60, words.NEW_ARRAY: 184}  # PyArray_Scalar, PyArray_Empty
    return {word: int(table[k] or 0) for word, k in functions.items()} | {
        words.ARRAY_TYPE: id(np.ndarray), words.NOT_IMPLEMENTED: id(NotImplemented), words.NONE: id(None)
    }  # fmt: skip


INTERPRETER = _interpreter()


def _function(table: int, into: bool, held: object) -> Callable[..., Any]:
    """A function of the interpreter that is given a table, and its own definition behind."""
    given = np.array([table, into, *method(address_of(words.enter), ARRAY_OF_ARGUMENTS)], np.int64)
    return builtin(given[2:], given, held)
