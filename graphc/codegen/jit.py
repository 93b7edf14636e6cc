"""From source to machine code by Numba, kept on disk so that several processes and damaged files are safe.

One file holds one compiled function: a SHA-256, then what Numba writes for its own cache. The file's name is a hash of
everything that decides the code, and no byte is given to Numba before the sum agrees. A whole file is read without a
lock. Where it is missing or damaged, one process compiles it under a lock; others wait and read it.
"""

from __future__ import annotations

import ast
import atexit
import contextlib
import hashlib
import json
import os
import pickle
import re
import shutil
import sys
import tempfile
import threading
import time
import types
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import llvmlite
import llvmlite.binding as ll
import numba

from graphc.codegen import plain, private, tiles
from graphc.codegen.abi import PART_SIGNATURE, part_symbol
from graphc.codegen.blas import library_name
from graphc.codegen.pipeline import Compiler
from graphc.codegen.private import CompileResult, cpu_target, dumps, global_compiler_lock, rtsys
from graphc.config import __version__, cache_root, settings
from graphc.errors import CompileError, warn, warn_once

PACKAGE = Path(__file__).parent.parent


@dataclass(frozen=True, slots=True, eq=False)
class Function:
    """A function to be compiled, and under which key it is kept."""

    source: str
    entry: str
    signature: Any
    options: dict[str, Any]
    key: str

    def dispatcher(self, source: str) -> Any:
        """Numba's object of it, for a source that may lack the body where that is on disk."""
        return numba.njit(pipeline_class=Compiler, **self.options)(self.function(source))

    def compiled(self) -> Any:
        """The dispatcher with machine code, made anew; CompileError where Numba cannot."""
        try:
            if plain.is_plain():
                return plain.Plain(self.function(self.source), self.signature, self.options)
            made = self.dispatcher(self.source)
            made.compile(self.signature)
        except numba.NumbaError as error:
            raise CompileError(f"the generated kernel did not compile: {error}") from error
        except (AttributeError, ImportError, NotImplementedError, TypeError) as error:
            plain.take_over(error)
            return self.compiled()
        del made.py_func.tree
        return made

    def function(self, source: str) -> Any:
        """What a source defines."""
        return define(f"graphc_kernel_{self.key}", source)[self.entry]

    def loaded(self, file: Path) -> Any:
        """The dispatcher with the machine code in a file; None where there is none, or it is damaged."""
        data = read_whole(file)
        if data is None:
            return None
        head = re.search(rf"^def {self.entry}\(.*?\):", self.source, re.M | re.S)
        assert head is not None
        made = self.dispatcher(f"{head.group()} ...\n")  # to parse the body would take longer than to load the code
        with global_compiler_lock:
            # Numba's own cache also loads all that it needs to compile, which takes far longer than the rest
            rtsys.initialize(made.targetctx)
            try:
                result = CompileResult._rebuild(made.targetctx, *pickle.loads(data))
            except Exception:  # whole, but not what this Numba wrote
                return None
            made.targetctx.insert_user_function(result.entry_point, result.fndesc, [result.library])
            made.add_overload(result)
        return made


@dataclass(frozen=True, slots=True, eq=False)
class Compiled:
    """A compiled function: Numba's dispatcher, the address of its C form, and whether it came from disk."""

    made_of: Function
    function: Any
    address: int
    cache_hit: bool
    parts: tuple[Compiled, ...] = ()

    @property
    def entry(self) -> Any:
        """The same for Python callers who vouch for the arguments' types, dtypes and layout: nothing is dispatched."""
        (result,) = self.function.overloads.values()
        return result.entry_point

    @property
    def llvm(self) -> str:
        """The optimised LLVM IR; compiled anew where it came from disk, which keeps machine code only."""
        return "\n".join([*(p.llvm for p in self.parts), *self._fresh().inspect_llvm().values()])

    @property
    def assembly(self) -> str:
        """The machine code as text."""
        return "\n".join([*(p.assembly for p in self.parts), *self._fresh().inspect_asm().values()])

    def _fresh(self) -> Any:
        return self.made_of.compiled() if self.cache_hit else self.function


_shared: dict[str, Compiled] = {}  # equal kernels are compiled and held once

# One function is compiled at a time. Neither the end of the process nor a fork falls into the middle of one: LLVM would
# be torn down under a running thread, or its locks would stay taken in the child.
_guard = threading.RLock()
atexit.register(_guard.acquire)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_guard.acquire, after_in_parent=_guard.release, after_in_child=_guard.release)


def compile_source(
    source: str,
    entry: str,
    signature: Any,
    *,
    on_disk: bool = True,
    fastmath: bool = False,
    python_callable: bool = True,
    parts: Sequence[str] = (),
    extra: tuple[str, ...] = (),
) -> Compiled:
    """The function ``entry`` of ``source``, compiled for ``signature``.

    Without ``python_callable`` it is reached by its address and from compiled code only. ``parts`` are the sources of
    functions that it calls by their symbols; ``extra`` names what else decides the code. Raises CompileError where
    Numba cannot compile it, or the cache is not private to the user.
    """
    options = numba_options(fastmath)
    if not python_callable:
        options["no_cpython_wrapper"] = True
    calls_blas = (library_name(),) if "graphc.codegen.blas" in source else ()
    with _guard:
        tiles.bind(source, lambda *text: compile_source(*text, on_disk=on_disk, python_callable=False).address)
    key = _key(source, entry, str(signature), repr(sorted(options.items())), _digest("codegen"), *calls_blas, *extra)
    made = () if key in _shared else tuple([_part(text, on_disk, fastmath) for text in parts])
    with _guard:
        held = _shared.get(key)
        if held is None:
            held = _compile(Function(source, entry, signature, options, key), on_disk)
            held = _shared[key] = replace(held, parts=made)
        return held


def numba_options(fastmath: bool) -> dict[str, Any]:
    """How Numba compiles all generated code."""
    options: dict[str, Any] = {"error_model": "numpy", "boundscheck": False, "nogil": True}
    return options | {"fastmath": True} if fastmath else options


def _part(source: str, on_disk: bool, fastmath: bool) -> Compiled:
    """A function of a kernel, bound to its symbol, which the next kernel will ask for."""
    with _guard:
        made = compile_source(source, "nest", PART_SIGNATURE, on_disk=on_disk, fastmath=fastmath, python_callable=False)
        ll.add_symbol(part_symbol(source), made.address)
    return made


def _key(*parts: str) -> str:
    digest = hashlib.sha256()
    engine = "plain" if plain.is_plain() else "short"
    for part in ("graphc 3", engine, *parts, *_machine(), *_numba_settings()):
        digest.update(part.encode() + b"\0")
    return digest.hexdigest()[:32]


@cache
def _machine() -> tuple[str, ...]:
    """Versions and processor, which decide the code too."""
    if private.missing(private.ENGINE):
        processor = (ll.get_process_triple(), ll.get_host_cpu_name(), ll.get_host_cpu_features().flatten())
    else:
        processor = cpu_target.target_context.codegen().magic_tuple()
    versions = (__version__, numba.__version__, llvmlite.__version__, sys.implementation.cache_tag or "")
    return (*versions, repr(processor))


# Settings of Numba that change no code: where and how much it writes, how many threads it starts, CUDA.
CODE_APART = re.compile(
    "CUDA_.*|.*_CUDA|ENABLE_CUDASIM|FORCE_CUDA_CC|DUMP_.*|DEBUG_PRINT_.*|HIGHLIGHT_DUMPS|CACHE_.*|DEBUG_CACHE|COLOR_SCHEME|"
    "NUMBA_NUM_THREADS|NUMBA_DEFAULT_NUM_THREADS|THREADING_LAYER.*|DISABLE_PERFORMANCE_WARNINGS|FUNCTION_CACHE_SIZE|"
    "CHROME_TRACE|HTML|ANNOTATE|GDB_BINARY|RUNNING_UNDER_PROFILER"
)


def _numba_settings() -> list[str]:
    """All other settings of Numba, as they are now: what a later version adds is taken to change code."""
    held = vars(numba.config)
    return [f"{name}={held[name]!r}" for name in sorted(held) if name.isupper() and not CODE_APART.fullmatch(name)]


def jit_disabled() -> bool:
    """Whether Numba is told to compile nothing (NUMBA_DISABLE_JIT)."""
    return bool(numba.config.DISABLE_JIT)


@cache
def _digest(folder: str) -> str:
    """The digest of graphc's own sources in a folder: they are compiled into kernels, or decide their source."""
    files = sorted((PACKAGE / folder).rglob("*.py"))
    return hashlib.sha256(b"\0".join(f.read_bytes() for f in files)).hexdigest()


def define(name: str, source: str) -> dict[str, Any]:
    """The namespace of a source text, run as a module of its own, by which Numba tells its functions apart."""
    module = types.ModuleType(name)
    sys.modules[name] = module
    tree = ast.parse(source)
    # linecache reads no file of a name that ends with ">", not even from its own entries
    exec(compile(tree, f"<graphc> {name}", "exec"), vars(module))
    for node in tree.body:
        if isinstance(node, ast.FunctionDef):
            vars(module)[node.name].tree = node  # read by the compiler
    return vars(module)


# ---- compiled functions on disk


def _compile(function: Function, on_disk: bool) -> Compiled:
    made, hit = _load_or_keep(function) if on_disk and not plain.is_plain() else (None, False)
    if made is None:
        made = function.compiled()
    if isinstance(made, plain.Plain):
        return Compiled(function, made, made.address if made.by_address else 0, hit)
    made.disable_compile()
    (result,) = made.overloads.values()
    address = result.library.get_pointer_to_function(result.fndesc.llvm_cfunc_wrapper_name)
    return Compiled(function, made, address, hit)


def _load_or_keep(function: Function) -> tuple[Any, bool]:
    """Loads it, or compiles and keeps it, and whether it was loaded. None and a warning where there is no cache."""
    made = None
    try:
        file = cache_root() / f"{function.key}.kernel"
        if (made := function.loaded(file)) is not None:
            return made, True
        with _locked(file.with_suffix(".lock")):
            if (made := function.loaded(file)) is not None:  # another process has compiled it meanwhile
                return made, True
            if os.path.lexists(file):
                warn(f"the cache entry {function.key} is damaged; building it anew")
            made = function.compiled()
            if isinstance(made, plain.Plain):
                return made, False
            (result,) = made.overloads.values()
            if not result.library.has_dynamic_globals:  # addresses of this process
                write_whole(file, dumps(result._reduce()))
    except OSError as error:
        warn_once(f"kernels cannot be kept in {settings().cache_dir}: {error.strerror or error}")
    return made, False


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """A lock between processes; the system releases it when its holder dies."""
    with open(path, "w") as file:
        if sys.platform == "win32":
            import msvcrt

            while True:
                with contextlib.suppress(OSError):
                    msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
                    break
                time.sleep(0.01)
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def entry_file(source: str) -> Path | None:
    """Where the machine code of a source is kept, apart for each machine and graphc; None where it cannot be."""
    with contextlib.suppress(OSError):
        return cache_root() / f"{_key(source, _digest('codegen'))}.kernel"
    return None


# ---- files with their sum


def _sum(path: Path, data: bytes) -> bytes:
    """The name is in it, so that a file cannot pass for another."""
    return hashlib.sha256(path.name.encode() + b"\0" + data).digest()


def read_whole(path: Path) -> bytes | None:
    """What was written; None where there is no such file, or it is damaged."""
    try:
        whole = path.read_bytes()
    except (FileNotFoundError, IsADirectoryError):
        return None
    return whole[32:] if whole[:32] == _sum(path, whole[32:]) else None


def write_whole(path: Path, data: bytes) -> None:
    """All of ``data`` and its sum under ``path``, or what was there before."""
    if path.is_dir():
        shutil.rmtree(path)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".tmp-")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(_sum(path, data) + data)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


# ---- records


def recall(key: str) -> Any:
    """What was remembered under ``key`` on a machine and by a graphc like these; None where there is nothing whole."""
    with contextlib.suppress(OSError):
        data = read_whole(_record(key))
        return None if data is None else json.loads(data)
    return None


def remember(key: str, record: Any) -> None:
    """Keeps a JSON record under ``key`` for later processes; does nothing where the cache cannot be written."""
    with contextlib.suppress(OSError):
        write_whole(_record(key), json.dumps(record).encode())


def _record(key: str) -> Path:
    return cache_root() / f"{_key(key, _digest(''))}.json"
