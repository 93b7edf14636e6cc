"""The way into a kernel from Python: a C function for the interpreter, compiled once, the same for every executable.

What a call needs stands in a table of words, made for one executable and the shapes of its arrays: the kernel and its
arguments, a desk, and what each array must be. A desk is a word that says whether it is taken, the results of rank 0,
the addresses of all arrays, the results as objects, and the kernel's workspace. Arrays are read where NumPy keeps
their facts (``PyArrayObject_fields``, the same in every NumPy of the C ABI). Anything that does not fit, a taken desk
or a kernel that fails makes a call answer ``NotImplemented``, with nothing done; its caller knows the slow way.

The lock of the state (`graphc.lock`) is taken and given back here, between two steps of Python, so no exception leaves
it taken. A call that finds it taken raises Busy, with nothing done.
"""

from __future__ import annotations

from typing import Any

from numba import types

from graphc.codegen.abi import call_kernel
from graphc.codegen.buffer import set_word, word
from graphc.codegen.stop import CALL, RAISED, STOPPED, THREAD
from graphc.codegen.team import atomic_store, atomic_swap
from graphc.codegen.words import c_function, call_address

# words of a table
(
    INPUTS, OUTPUTS, STRUCTURE, KEYS, ARRAYS, STATES, DESK, SCALARS, PLACES, MADE, WORK, KERNEL, DIMS, STATE, THREADS,
    CREW, LOCK, WRITES, TAKE, GIVE, STATUS, WHERE, VALUE, ARRAY_TYPE, NEW_ARRAY, NEW_SCALAR, NOT_IMPLEMENTED, NONE,
    NOTE, BRIEF, HEAD,
) = range(31)  # fmt: skip
ONE, LIST, DICT, NOTHING = range(4)  # structures of results
DTYPE, RANK, SHAPE, BYTES, FACTS = range(5)  # words of an array's facts in a table, and how many

# words of an object
OWN = object.__basicsize__ // 8
TYPE = OWN - 1
AT_DATA, AT_RANK, AT_SHAPE, AT_DTYPE, AT_FLAGS = OWN, OWN + 1, OWN + 2, OWN + 5, OWN + 6
READABLE, WRITEABLE = 0x1 | 0x100, 0x400  # flags: C-ordered and aligned; not read-only
INT = 0xFFFFFFFF
SHORT = -1  # a status: no memory for the results

w = types.int64
PyEval_SaveThread = c_function("PyEval_SaveThread", w)
PyEval_RestoreThread = c_function("PyEval_RestoreThread", types.void, w)
PyThread_get_thread_ident = c_function("PyThread_get_thread_ident", w)
Py_IncRef = c_function("Py_IncRef", types.void, w)
Py_DecRef = c_function("Py_DecRef", types.void, w)
PyList_New = c_function("PyList_New", w, w)
PyList_SetItem = c_function("PyList_SetItem", types.int32, w, w, w)  # takes the object over
PyDict_New = c_function("PyDict_New", w)
PyDict_SetItem = c_function("PyDict_SetItem", types.int32, w, w, w)


def _overlap(args: int, count: int, inputs: int, facts: int, states: int) -> bool:
    """Whether memory of a result given by the caller is also that of an input, of state or of another result."""
    for k in range(inputs, count):
        low = word(word(args, k), AT_DATA)
        high = low + word(facts, FACTS * k + BYTES)
        at, others = states, k
        while low < high and (others > 0 or word(at, 0) != 0):
            if others > 0:
                others -= 1
                other, bytes = word(word(args, others), AT_DATA), word(facts, FACTS * others + BYTES)
            else:
                other, bytes = word(at, 0), word(at, 1)
                at += 16
            if bytes > 0 and low < other + bytes and other < high:
                return True
    return False


def _packed(table: int, made: int, outputs: int) -> Any:
    """The results in their structure; 0, with nothing kept, where memory is short."""
    kind, complete, packed = word(table, STRUCTURE), True, 0
    for k in range(outputs):
        complete &= word(made, k) != 0
    if complete and kind == ONE:
        return word(made, 0)
    if complete:
        packed = PyList_New(outputs) if kind == LIST else PyDict_New()
    for k in range(outputs):
        if packed != 0 and kind == LIST:
            PyList_SetItem(packed, k, word(made, k))
        elif packed != 0 and PyDict_SetItem(packed, word(word(table, KEYS), k), word(made, k)) != 0:
            Py_DecRef(packed)
            packed = 0
        if (packed == 0 or kind == DICT) and word(made, k) != 0:
            Py_DecRef(word(made, k))
    return packed


def _accepted(table: int, args: int, count: int, into: int) -> Any:
    """Whether the arrays are what the kernel is for, and there are threads enough for it."""
    inputs = word(table, INPUTS)
    fits = count == inputs + word(table, OUTPUTS) * into
    facts = word(table, ARRAYS)
    for k in range(count if fits else 0):
        array = word(args, k)
        rank, flags = word(facts, RANK), READABLE if k < inputs else READABLE | WRITEABLE
        fits = fits and word(array, TYPE) == word(table, ARRAY_TYPE)
        fits = fits and word(array, AT_DTYPE) == word(facts, DTYPE)
        fits = fits and word(array, AT_FLAGS) & flags == flags
        fits = fits and word(array, AT_RANK) & INT == rank
        for axis in range(rank if fits else 0):
            fits &= word(word(array, AT_SHAPE), axis) == word(word(facts, SHAPE), axis)
        facts += 8 * FACTS
    fits = fits and (word(table, THREADS) == 1 or word(word(table, CREW), 0) >= word(table, THREADS) - 1)
    if fits and into != 0:
        fits = not _overlap(args, count, inputs, word(table, ARRAYS), word(table, STATES))
    return fits


def _give(table: int, lock: int) -> None:
    """Gives the lock of the state back, where there is one."""
    if lock != 0:
        call_address(word(table, GIVE), lock, word(table, WRITES))


def _allocate(table: int, facts: int) -> int:
    """New arrays for the results, numbers of rank 0 beside the table; SHORT where memory is short, else 0."""
    first, made, status = word(table, PLACES) + 8 * word(table, INPUTS), word(table, MADE), 0
    for k in range(word(table, OUTPUTS)):
        set_word(first, k, word(table, SCALARS) + 8 * k)
        set_word(made, k, 0)
        if status == 0 and word(facts, RANK) > 0:
            Py_IncRef(word(facts, DTYPE))
            array = call_address(word(table, NEW_ARRAY), word(facts, RANK), word(facts, SHAPE), word(facts, DTYPE), 0)
            if array == 0:
                status = SHORT
            else:
                set_word(made, k, array)
                set_word(first, k, word(array, AT_DATA))
        facts += 8 * FACTS
    return status


def _run(table: int, lock: int) -> Any:
    """The status of the kernel; then the state is free again. It runs without the interpreter's lock, unless giving
    that away and taking it back would be much of the call."""
    places, work, note, noted, thread = word(table, PLACES), word(table, WORK), word(table, NOTE), 0, 0
    if note != 0 and PyThread_get_thread_ident() != word(note, THREAD):
        note = 0  # Ctrl-C is for the main thread
    if note != 0:
        noted = word(note, CALL)
        set_word(note, RAISED, 0)
        set_word(note, CALL, work)
    if word(table, BRIEF) == 0:
        thread = PyEval_SaveThread()
    outputs, dims, state = places + 8 * word(table, INPUTS), word(table, DIMS), word(table, STATE)
    status = call_kernel(word(table, KERNEL), places, outputs, dims, state, work)
    _give(table, lock)
    if thread != 0:
        PyEval_RestoreThread(thread)
    if note != 0:
        set_word(note, CALL, noted)
        set_word(note, RAISED, 0)
    return status


def _finish(table: int, facts: int, status: int) -> None:
    """Objects for numbers; or, where the kernel failed, nothing is kept."""
    made = word(table, MADE)
    for k in range(word(table, OUTPUTS)):
        if status == 0 and word(facts, RANK) == 0:
            scalar = call_address(word(table, NEW_SCALAR), word(table, SCALARS) + 8 * k, word(facts, DTYPE), 0)
            set_word(made, k, scalar)
        if status != 0 and word(made, k) != 0:
            Py_DecRef(word(made, k))
        facts += 8 * FACTS


def enter(given: int, args: int, count: int) -> Any:
    """Checks the arrays at ``args``, runs the kernel, returns its results.

    ``given`` is an array of two words: the address of a table, and whether ``args`` hold arrays for the results too.
    """
    table, into = word(word(given, AT_DATA), 0), word(word(given, AT_DATA), 1)
    desk, outputs, status, result = word(table, DESK), word(table, OUTPUTS), 0, 0
    fits = _accepted(table, args, count, into)
    lock = word(table, LOCK) if fits else 0
    if lock != 0 and call_address(word(table, TAKE), lock, word(table, WRITES)) == 0:
        return 0
    if not fits or atomic_swap(desk, 0, 1) != 0:
        _give(table, lock)
        Py_IncRef(word(table, NOT_IMPLEMENTED))
        return word(table, NOT_IMPLEMENTED)

    for k in range(count):
        set_word(word(table, PLACES), k, word(word(args, k), AT_DATA))
    facts = word(table, ARRAYS) + 8 * FACTS * word(table, INPUTS)  # of the results
    if into == 0:
        status = _allocate(table, facts)
    if status == 0:
        status = _run(table, lock)
    else:
        _give(table, lock)
    if into == 0:
        _finish(table, facts, status)
    if status == 0 and into == 0 and outputs > 0:
        result = _packed(table, word(table, MADE), outputs)
    elif status != SHORT and status != STOPPED:
        result = word(table, NONE) if status == 0 else word(table, NOT_IMPLEMENTED)
        Py_IncRef(result)
        set_word(table, STATUS, status)
        set_word(table, WHERE, word(word(table, WORK), 0))
        set_word(table, VALUE, word(word(table, WORK), 1))
    atomic_store(desk, 0, 0)
    return result
