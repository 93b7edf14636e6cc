"""The note by which a kernel's loops know the call that may ask Python for signals; see `graphc.codegen.stop`."""

from __future__ import annotations

import threading
from collections.abc import Callable

import llvmlite.binding as ll
import numpy as np
from numba import types

from graphc.codegen.stop import LOOK, NOTE, THREAD, answering
from graphc.codegen.words import address_of, c_function

_note = np.zeros(8, np.int64)
ll.add_symbol(NOTE, _note.ctypes.data)

PyGILState_Ensure = c_function("PyGILState_Ensure", types.int32)
PyErr_CheckSignals = c_function("PyErr_CheckSignals", types.int32)
PyGILState_Release = c_function("PyGILState_Release", types.void, types.int32)


def look() -> int:
    """Has Python answer signals that came; whether that raised something."""
    held = PyGILState_Ensure()
    raised = PyErr_CheckSignals()
    PyGILState_Release(held)
    return raised  # type: ignore[no-any-return]


def note() -> int:
    """The address of the note, ready for calls.

    A fork leaves it as it is: the thread that goes on in the child has its old identity, and goes on with its call.
    """
    if _note[LOOK] == 0:
        _note[LOOK] = address_of(look)
    _note[THREAD] = threading.main_thread().ident or 0  # in a child of another thread that is another one
    return int(_note.ctypes.data)


def stoppable(work: int, call: Callable[[], int]) -> int:
    """The status of a call that Python makes with this workspace; raises what a signal does meanwhile."""
    note()
    return answering(_note, work, call)
