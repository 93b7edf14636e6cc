"""Locks that nothing leaves taken: no exception, signal, fork or end of the interpreter.

Ctrl-C may raise KeyboardInterrupt between any two lines of Python, so also between the one that takes a lock and those
that would give it back. Here a function is passed to the lock: ``lock.writing(function, *args)`` takes it, calls and
gives it back in machine code, where nothing comes between. Who must wait does so in Python, with nothing in hands.

A fork waits until no other thread holds a lock, so that a child never sees half a step. In the child all are free but
those that its own thread holds. docs/architecture.md, "Who holds what", lists what is held while a call runs.
"""

from __future__ import annotations

import ctypes
import itertools
import os
import sys
import threading
import time
import weakref
from collections.abc import Callable
from typing import Any, TypeVar

import llvmlite.binding as ll
import numpy as np

from graphc.errors import StateError

Array = np.ndarray[Any, Any]
T = TypeVar("T")

HOLDERS, HUNGRY, OWNER, FORKED, CLOSED, WORDS = 0, 1, 2, 3, 4, 8  # words of a lock, which has a cache line for itself
FREE, ALONE = 0, -1  # holders; a number above 0 is that of readers
SLOTS, CHUNKS = 1024, 1024  # memory for locks, of which that of a lock that is gone is used again

NAPS = 16e-6, 1e-3  # seconds between looks at a lock that others hold, at least and at most; else an eighth of the wait
PATIENCE = 1e-3  # seconds until a thread that waits is hungry: others cannot overtake it
ABSENCE = 0.1  # seconds until another is hungry in its place; it may have been interrupted
FAREWELL = 1.0  # seconds to wait for a lock at the end of the process, when no other thread runs Python any more

NESTED = "a call cannot begin in the middle of another one of this thread that holds the same state"
CROSSED = "a call in the middle of another one of this thread cannot wait for what a third thread holds"
ENDED = "the state is held by a thread that the end of the process has stopped"


class Busy(Exception):
    """Another thread holds the lock, or is to have it first."""


CODE = """
declare i64 @PyThread_get_thread_ident()
declare ptr @PyEval_SaveThread()
declare void @PyEval_RestoreThread(ptr)
declare void @PyErr_SetNone(ptr)
declare void @PyErr_SetString(ptr, ptr)
declare ptr @PyObject_Vectorcall(ptr, ptr, i64, ptr)
declare ptr @PyBool_FromLong(i64)
declare ptr @PyLong_AsVoidPtr(ptr)
declare i32 @{sleep}(i32)

@nested = internal constant {nested}
@chunks = global [{chunks} x ptr] zeroinitializer

define internal i1 @mine(ptr %lock) {{
  %me = call i64 @PyThread_get_thread_ident()
  %at = getelementptr i64, ptr %lock, i64 {OWNER}
  %owner = load atomic i64, ptr %at monotonic, align 8
  %same = icmp eq i64 %owner, %me
  ret i1 %same
}}

; Takes a lock if that can be done at once.
define internal i1 @attempt(ptr %lock, i1 %writes) {{
  %me = call i64 @PyThread_get_thread_ident()
  %at.hungry = getelementptr i64, ptr %lock, i64 {HUNGRY}
  %at.owner = getelementptr i64, ptr %lock, i64 {OWNER}
  %hungry = load atomic i64, ptr %at.hungry seq_cst, align 8
  %first = icmp eq i64 %hungry, %me
  %nobody = icmp eq i64 %hungry, 0
  %turn = or i1 %first, %nobody
  br i1 %turn, label %choose, label %no
choose:
  br i1 %writes, label %alone, label %look
alone:
  %swap = cmpxchg ptr %lock, i64 {FREE}, i64 {ALONE} seq_cst seq_cst
  %free = extractvalue {{ i64, i1 }} %swap, 1
  br i1 %free, label %sign, label %no
sign:
  store atomic i64 %me, ptr %at.owner monotonic, align 8
  br label %yes
look:
  %readers = load atomic i64, ptr %lock seq_cst, align 8
  %shared = icmp sge i64 %readers, 0
  br i1 %shared, label %join, label %no
join:
  %more = add i64 %readers, 1
  %change = cmpxchg ptr %lock, i64 %readers, i64 %more seq_cst seq_cst
  %joined = extractvalue {{ i64, i1 }} %change, 1
  br i1 %joined, label %yes, label %look
yes:
  br i1 %first, label %sated, label %end
sated:
  store atomic i64 0, ptr %at.hungry seq_cst, align 8
  br label %end
end:
  ret i1 true
no:
  ret i1 false
}}

; 1, or 0 with an exception.
define i64 @take(i64 %address, i64 %how) {{
  %lock = inttoptr i64 %address to ptr
  %writes = icmp ne i64 %how, 0
  %own = call i1 @mine(ptr %lock)
  br i1 %own, label %nested, label %ask
ask:
  %got = call i1 @attempt(ptr %lock, i1 %writes)
  br i1 %got, label %yes, label %busy
nested:
  call void @PyErr_SetString(ptr inttoptr (i64 {error} to ptr), ptr @nested)
  ret i64 0
busy:
  call void @PyErr_SetNone(ptr inttoptr (i64 {busy} to ptr))
  ret i64 0
yes:
  ret i64 1
}}

; Needs no lock of the interpreter.
define i64 @give(i64 %address, i64 %how) {{
  %lock = inttoptr i64 %address to ptr
  %writes = icmp ne i64 %how, 0
  br i1 %writes, label %alone, label %shared
alone:
  %owner = getelementptr i64, ptr %lock, i64 {OWNER}
  store atomic i64 0, ptr %owner monotonic, align 8
  store atomic i64 {FREE}, ptr %lock seq_cst, align 8
  ret i64 0
shared:
  %readers = atomicrmw sub ptr %lock, i64 1 seq_cst
  ret i64 0
}}

; Takes it alone, whatever signals come, and before all others.
define internal void @insist(ptr %lock) {{
  %got = call i1 @attempt(ptr %lock, i1 true)
  br i1 %got, label %end, label %wait
wait:
  %me = call i64 @PyThread_get_thread_ident()
  %hungry = getelementptr i64, ptr %lock, i64 {HUNGRY}
  %thread = call ptr @PyEval_SaveThread()
  br label %more
more:
  store atomic i64 %me, ptr %hungry seq_cst, align 8
  %slept = call i32 @{sleep}(i32 {nap})
  %taken = call i1 @attempt(ptr %lock, i1 true)
  br i1 %taken, label %back, label %more
back:
  call void @PyEval_RestoreThread(ptr %thread)
  br label %end
end:
  ret void
}}

; ---- functions of the interpreter; ``self`` is the address of a lock

define internal ptr @hold(ptr %self, ptr %args, i64 %count, i64 %how) {{
  %lock = call ptr @PyLong_AsVoidPtr(ptr %self)
  %address = ptrtoint ptr %lock to i64
  %taken = call i64 @take(i64 %address, i64 %how)
  %held = icmp ne i64 %taken, 0
  br i1 %held, label %run, label %no
run:
  %function = load ptr, ptr %args
  %rest = getelementptr ptr, ptr %args, i64 1
  %others = sub i64 %count, 1
  %result = call ptr @PyObject_Vectorcall(ptr %function, ptr %rest, i64 %others, ptr null)
  %given = call i64 @give(i64 %address, i64 %how)
  ret ptr %result
no:
  ret ptr null
}}

define ptr @reading(ptr %self, ptr %args, i64 %count) {{
  %result = call ptr @hold(ptr %self, ptr %args, i64 %count, i64 0)
  ret ptr %result
}}

define ptr @writing(ptr %self, ptr %args, i64 %count) {{
  %result = call ptr @hold(ptr %self, ptr %args, i64 %count, i64 1)
  ret ptr %result
}}

define ptr @held(ptr %self, ptr %unused) {{
  %lock = call ptr @PyLong_AsVoidPtr(ptr %self)
  %own = call i1 @mine(ptr %lock)
  %number = zext i1 %own to i64
  %result = call ptr @PyBool_FromLong(i64 %number)
  ret ptr %result
}}

define ptr @close(ptr %self, ptr %unused) {{
  %lock = call ptr @PyLong_AsVoidPtr(ptr %self)
  %own = call i1 @mine(ptr %lock)
  br i1 %own, label %end, label %wait
wait:
  call void @insist(ptr %lock)
  %at.closed = getelementptr i64, ptr %lock, i64 {CLOSED}
  store i64 1, ptr %at.closed
  br label %end
end:
  %result = call ptr @held(ptr %self, ptr null)
  ret ptr %result
}}

; ---- forks

; Goes over all locks: 0 takes those of other threads, 1 gives them back, 2 makes them anew in a child.
define internal ptr @every(i32 %what) {{
start:
  br label %chunk
chunk:
  %k = phi i64 [ 0, %start ], [ %next.chunk, %full ]
  %at = getelementptr ptr, ptr @chunks, i64 %k
  %base = load ptr, ptr %at
  %none = icmp eq ptr %base, null
  br i1 %none, label %end, label %slot
slot:
  %j = phi i64 [ 0, %chunk ], [ %next.slot, %done ]
  %lock = getelementptr [{WORDS} x i64], ptr %base, i64 %j
  %at.fork = getelementptr i64, ptr %lock, i64 {FORKED}
  %fork = load i64, ptr %at.fork
  %forked = icmp ne i64 %fork, 0
  %own = call i1 @mine(ptr %lock)
  switch i32 %what, label %anew [ i32 0, label %before i32 1, label %after ]
before:
  br i1 %own, label %done, label %take
take:
  call void @insist(ptr %lock)
  store i64 1, ptr %at.fork
  br label %done
after:
  br i1 %forked, label %give, label %done
give:
  store i64 0, ptr %at.fork
  %address = ptrtoint ptr %lock to i64
  %given = call i64 @give(i64 %address, i64 1)
  br label %done
anew:
  %at.hungry = getelementptr i64, ptr %lock, i64 {HUNGRY}
  store i64 0, ptr %at.hungry
  store i64 0, ptr %at.fork
  %alien = xor i1 %own, true
  %lost = or i1 %alien, %forked
  br i1 %lost, label %free, label %done
free:
  %at.owner = getelementptr i64, ptr %lock, i64 {OWNER}
  store i64 0, ptr %at.owner
  store i64 {FREE}, ptr %lock
  br label %done
done:
  %next.slot = add i64 %j, 1
  %last = icmp eq i64 %next.slot, {SLOTS}
  br i1 %last, label %full, label %slot
full:
  %next.chunk = add i64 %k, 1
  br label %chunk
end:
  %result = call ptr @PyBool_FromLong(i64 1)
  ret ptr %result
}}

define ptr @before(ptr %self, ptr %unused) {{
  %result = call ptr @every(i32 0)
  ret ptr %result
}}

define ptr @after_in_parent(ptr %self, ptr %unused) {{
  %result = call ptr @every(i32 1)
  ret ptr %result
}}

define ptr @after_in_child(ptr %self, ptr %unused) {{
  %result = call ptr @every(i32 2)
  ret ptr %result
}}
"""

NO_ARGUMENTS, ARRAY_OF_ARGUMENTS = 0x4, 0x80  # METH_NOARGS, METH_FASTCALL

_new = ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.c_void_p, ctypes.py_object, ctypes.py_object)(
    ("PyCFunction_NewEx", ctypes.pythonapi)
)


def method(address: int, flags: int) -> Array:
    """A PyMethodDef for the C function at an address."""
    return np.array([ctypes.addressof(_NAME), address, flags, 0], np.int64)


def builtin(definition: Array, self: object, keeps: object = None) -> Callable[..., Any]:
    """A function of the interpreter in machine code.

    The definition must outlive it: it may be in the memory of ``self``, which the function keeps alive.
    """
    function: Callable[..., Any] = _new(definition.__array_interface__["data"][0], self, keeps)
    return function


def forever(held: object) -> None:
    """Keeps an object for as long as the process: threads in machine code outlive the interpreter."""
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(held))


_NAME = ctypes.create_string_buffer(b"call")


def _text(message: str) -> str:
    data = message.encode() + b"\0"
    return f"[{len(data)} x i8] [{', '.join(f'i8 {byte}' for byte in data)}]"


def _load() -> Any:
    """The machine code, which stays for as long as the process."""
    ll.initialize_native_target()
    ll.initialize_native_asmprinter()
    words = {"HUNGRY": HUNGRY, "OWNER": OWNER, "FORKED": FORKED, "CLOSED": CLOSED, "WORDS": WORDS}
    words |= {"FREE": FREE, "ALONE": ALONE}
    told = {"nested": _text(NESTED), "error": id(StateError), "busy": id(Busy)}
    sleep, nap = ("Sleep", 1) if sys.platform == "win32" else ("usleep", 500)
    text = CODE.format(**words, **told, SLOTS=SLOTS, chunks=CHUNKS + 1, sleep=sleep, nap=nap)
    made = ll.create_mcjit_compiler(ll.parse_assembly(text), ll.Target.from_default_triple().create_target_machine())
    made.finalize_object()
    for held in (made, _NAME, StateError, Busy):
        forever(held)
    return made


_engine = _load()
TAKE, GIVE = (_engine.get_function_address(name) for name in ("take", "give"))  # for machine code
_METHODS = {
    name: method(_engine.get_function_address(name), flags)
    for flags, names in {
        ARRAY_OF_ARGUMENTS: ("reading", "writing"),
        NO_ARGUMENTS: ("held", "close", "before", "after_in_parent", "after_in_child"),
    }.items()
    for name in names
}
_table = np.ctypeslib.as_array((ctypes.c_int64 * CHUNKS).from_address(_engine.get_global_value_address("chunks")))
_chunks: dict[int, Array] = {}
_fresh = itertools.count()

if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=builtin(_METHODS["before"], None),
        after_in_parent=builtin(_METHODS["after_in_parent"], None),
        after_in_child=builtin(_METHODS["after_in_child"], None),
    )


class _Place(weakref.ref["Lock"]):
    """Where a lock is in memory. Another takes its place when it is gone.

    C notes that it is gone: what Ctrl-C raises in ``__del__`` would be dropped.
    """

    __slots__ = ("number",)
    number: int


_places: dict[int, _Place] = {}
_spare: list[_Place] = []  # those of locks that are gone


class Lock:
    """Many readers or one writer. It is held while a function is called, with the arguments that follow it.

    Raises StateError where this thread could wait for ever: it holds the lock, or another that others wait for.

    >>> lock = Lock()
    >>> lock.writing(max, 3, 5)
    5
    """

    def __init__(self) -> None:
        try:
            number = _spare.pop().number
        except (IndexError, AttributeError):  # there is none, or its lock was interrupted before it had a number
            number = next(_fresh)
        place = _places[number] = _Place(self, _spare.append)
        place.number = number
        chunk, slot = divmod(number, SLOTS)
        if chunk not in _chunks:
            forever(_chunks.setdefault(chunk, np.zeros((SLOTS, WORDS), np.int64)))
        _table[chunk] = _chunks[chunk].ctypes.data
        self._words = _chunks[chunk][slot]
        self.address: int = self._words.ctypes.data
        self._reading, self._writing, self._held, self.close = (
            builtin(_METHODS[name], self.address) for name in ("reading", "writing", "held", "close")
        )

    def reading(self, function: Callable[..., T], *args: Any) -> T:
        """What a function returns that runs while no writer holds the lock."""
        result: T = self.patiently(self._reading, function, *args)
        return result

    def writing(self, function: Callable[..., T], *args: Any) -> T:
        """What a function returns that runs while nobody else holds the lock."""
        result: T = self.patiently(self._writing, function, *args)
        return result

    @property
    def mine(self) -> bool:
        """Whether this thread holds it as a writer."""
        return bool(self._held())

    def patiently(self, function: Callable[..., T], *args: Any) -> T:
        """What a function returns that takes this lock in machine code; called anew while that is Busy."""
        try:
            return function(*args)
        except Busy:
            pass
        me, start, nap, seen, since = threading.get_ident(), time.monotonic(), NAPS[0], 0, 0.0
        try:
            while True:
                if any(((c[:, OWNER] == me) & (c[:, CLOSED] == 0)).any() for c in list(_chunks.values())):
                    raise StateError(CROSSED)
                time.sleep(nap)
                now, hungry = time.monotonic(), int(self._words[HUNGRY])
                waited = now - start
                nap = min(max(NAPS[0], waited / 8), NAPS[1])
                if sys.is_finalizing() and waited > FAREWELL:
                    raise StateError(ENDED)
                if hungry != seen:
                    seen, since = hungry, now
                if waited > PATIENCE and (hungry == 0 or now - since > ABSENCE):
                    self._words[HUNGRY] = me
                try:
                    return function(*args)
                except Busy:
                    continue
        finally:
            if self._words[HUNGRY] == me:
                self._words[HUNGRY] = 0


__all__ = ["GIVE", "TAKE", "Busy", "Lock", "builtin", "forever", "method"]
