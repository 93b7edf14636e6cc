"""From source to machine code by Numba, kept on disk so that several processes and damaged files are safe.

One file (`disk`) holds one compiled function, as Numba writes it for its own cache. The file's name is a hash of
everything that decides the code, and no byte is given to Numba before sum and seal agree. A whole file is read without
a lock. Where it is missing or damaged, one process compiles it under a lock; others wait and read it.

Compiling is done in threads that no signal reaches (`background`), one function at a time.
"""

from __future__ import annotations

import ast
import atexit
import hashlib
import json
import pickle
import sys
import types
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from functools import cache, partial
from pathlib import Path
from typing import Any, TypeVar

import llvmlite
import llvmlite.binding as ll
import numba

from graphc import background
from graphc.background import apart
from graphc.codegen import disk, machine, plain, tiles
from graphc.codegen.abi import PART_SIGNATURE, part_symbol
from graphc.codegen.blas import library_name
from graphc.codegen.functions import kernel_module
from graphc.codegen.lapack import lapack
from graphc.codegen.pipeline import Compiler
from graphc.codegen.private import CompileResult, dumps, global_compiler_lock, rtsys
from graphc.codegen.semantics import Unlowered
from graphc.config import __version__
from graphc.errors import CompileError, caller, on_behalf_of
from graphc.lock import Lock

PACKAGE = Path(__file__).parent.parent
T = TypeVar("T")


@dataclass(frozen=True, slots=True, eq=False)
class Function:
    """A function to be compiled, and under which key it is kept."""

    source: str
    entry: str
    signature: Any
    options: dict[str, Any]
    key: str
    finished: bool = False  # what it consists of is written as it is to be: LLVM's passes would only take time

    @property
    def file(self) -> str:
        """Its name in the cache."""
        return f"{self.key}.kernel"

    @property
    def filename(self) -> str:
        """What its lines are said to be of."""
        return f"<graphc> graphc_kernel_{self.key}"

    @property
    def by_address(self) -> bool:
        """Whether it is reached by its address only."""
        return "no_cpython_wrapper" in self.options

    def module(self) -> Any:
        """The module after passes, where it is reached by its address; `Unlowered` where Numba has to compile it."""
        if not self.by_address or "fastmath" in self.options:
            raise Unlowered("with Numba's wrappers, or its fastmath")
        scope = define(f"graphc_kernel_{self.key}", self.source, run=False)
        module = kernel_module(scope[self.entry].tree, scope, self.signature, self.symbol)
        return machine.parsed(module) if self.finished else machine.optimised(module)

    @property
    def symbol(self) -> str:
        """That of its object code."""
        return f"graphc_{self.entry}_{self.key}"

    def dispatcher(self, source: str) -> Any:
        """Numba's object of it, for a source that may lack the body where that is on disk."""
        return numba.njit(pipeline_class=Compiler, **self.options)(self.function(source))

    def compiled(self) -> Any:
        """The dispatcher with machine code, made anew; CompileError where Numba cannot."""
        try:
            if plain.is_plain():
                return plain.Plain(self.function(self.source), self.signature, self.options)
            with suppress(Unlowered):
                return Object(self, machine.object_code(self.module()))
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

    def loaded(self) -> Any:
        """The dispatcher with the machine code on disk; None where there is none, or it is damaged."""
        data = disk.fetch(self.file, self.source)
        if data is None:
            return None
        if data.startswith(OBJECT):
            made = Object(self, data.removeprefix(OBJECT))
            return made if made.address else None
        start = f"\n{self.source}".index(f"\ndef {self.entry}(")
        head = self.source[start : self.source.index("):", start) + 2]
        made = self.dispatcher(f"{head} ...\n")  # to parse the body would take longer than to load the code
        with global_compiler_lock:
            # Numba's own cache also loads all that it needs to compile, which takes far longer than the rest
            rtsys.initialize(made.targetctx)
            try:
                result = CompileResult._rebuild(made.targetctx, *pickle.loads(data))
                made.targetctx.insert_user_function(result.entry_point, result.fndesc, [result.library])
                made.add_overload(result)
                own = result.fndesc.modname == made.py_func.__module__ and _address(result)
            except Exception:  # whole, but not what this Numba wrote
                return None
        return made if own else None


OBJECT = b"graphc object\0"  # how the file of an object begins


class Object:
    """A function's object code, loaded; with what is asked of Numba's dispatchers."""

    def __init__(self, function: Function, code: bytes) -> None:
        self.function, self.code = function, code
        self.address = machine.loaded(code, function.symbol)

    def inspect_llvm(self) -> dict[Any, str]:
        """The optimised LLVM IR."""
        return {self.function.signature: str(self.function.module())}

    def inspect_asm(self) -> dict[Any, str]:
        """The machine code as text."""
        return {self.function.signature: machine.assembly(self.function.module())}


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
        return "\n".join([*(p.llvm for p in self.parts), *alone(lambda: self._fresh().inspect_llvm()).values()])

    @property
    def assembly(self) -> str:
        """The machine code as text."""
        return "\n".join([*(p.assembly for p in self.parts), *alone(lambda: self._fresh().inspect_asm()).values()])

    def _fresh(self) -> Any:
        return self.made_of.compiled() if self.cache_hit else self.function


_shared: dict[str, Compiled] = {}  # equal kernels are compiled and held once

# Held while a function is compiled or loaded. Neither the end of the process nor a fork falls into the middle of one:
# LLVM would be torn down under a running thread, or its locks would stay taken in the child.
_guard = Lock()
atexit.register(_guard.close)


def alone(work: Callable[[], T]) -> T:
    """What ``work`` returns, which compiles something: nobody else does meanwhile, and no signal comes."""
    return background.alone(_guard, partial(on_behalf_of, caller(), work))


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
    finished: bool = False,
) -> Compiled:
    """The function ``entry`` of ``source``, compiled for ``signature``.

    Without ``python_callable`` it is reached by its address and from compiled code only. ``parts`` are the sources of
    functions that it calls by their symbols; ``extra`` names what else decides the code; what is ``finished`` LLVM does
    not optimise. Raises CompileError where Numba cannot compile it, or the cache is not private to the user.
    """
    on_disk = on_disk and "graphc.codegen.own" not in source
    options = numba_options(fastmath)
    if not python_callable:
        options["no_cpython_wrapper"] = True
    if "graphc.codegen.large" in source:
        lapack()
    calls_blas = (library_name(),) if "graphc.codegen.blas" in source else ()
    key = key_of(source, entry, str(signature), repr(sorted(options.items())), *calls_blas, *extra)

    def work() -> Compiled:
        called = {
            symbol: compile_source(
                text, "product", tiles.SIGNATURE, on_disk=on_disk, python_callable=False, finished=True
            )
            for symbol, text in tiles.products(source).items()
        }
        own = {
            part_symbol(text): compile_source(
                text, "nest", PART_SIGNATURE, on_disk=on_disk, fastmath=fastmath, python_callable=False
            )
            for text in parts
        }
        made = _compile(Function(source, entry, signature, options, key, finished), called | own, on_disk)
        return _shared.setdefault(key, replace(made, parts=tuple(own.values())))

    held = _shared.get(key)
    if held is None:
        held = on_behalf_of(caller(), work) if _guard.mine else apart(partial(on_behalf_of, caller(), work))
    return held


def numba_options(fastmath: bool) -> dict[str, Any]:
    """How Numba compiles all generated code."""
    options: dict[str, Any] = {"error_model": "numpy", "boundscheck": False, "nogil": True}
    return options | {"fastmath": True} if fastmath else options


def key_of(*parts: str) -> str:
    """A name for what these texts, graphc's own sources that generate code, and this machine decide."""
    return _key(*parts, _digest("codegen"))


def _key(*parts: str) -> str:
    digest = hashlib.sha256()
    engine = "plain" if plain.is_plain() else "short"
    for part in ("graphc 4", engine, *parts, *_machine(), *_numba_settings()):
        digest.update(part.encode() + b"\0")
    return digest.hexdigest()[:32]


@cache
def _machine() -> tuple[str, ...]:
    """Versions and processor, which decide the code too."""
    versions = (__version__, numba.__version__, llvmlite.__version__, sys.implementation.cache_tag or "")
    return (*versions, repr(machine.processor()))


# Settings of Numba that change no code: where and how much it writes, how many threads it starts, CUDA.
CODE_APART = """
    CUDA_* *_CUDA ENABLE_CUDASIM FORCE_CUDA_CC DUMP_* DEBUG_PRINT_* HIGHLIGHT_DUMPS CACHE_* DEBUG_CACHE COLOR_SCHEME
    NUMBA_NUM_THREADS NUMBA_DEFAULT_NUM_THREADS THREADING_LAYER* DISABLE_PERFORMANCE_WARNINGS FUNCTION_CACHE_SIZE
    CHROME_TRACE HTML ANNOTATE GDB_BINARY RUNNING_UNDER_PROFILER
"""


def _numba_settings() -> list[str]:
    """All other settings of Numba, as they are now: what a later version adds is taken to change code."""
    held = vars(numba.config)
    return [f"{name}={held[name]!r}" for name in sorted(held) if name.isupper() and not _code_apart(name)]


@cache
def _code_apart(name: str) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in CODE_APART.split())


def jit_disabled() -> bool:
    """Whether Numba is told to compile nothing (NUMBA_DISABLE_JIT)."""
    return bool(numba.config.DISABLE_JIT)


@cache
def _digest(folder: str) -> str:
    """The digest of graphc's own sources in a folder: they are compiled into kernels, or decide their source."""
    files = sorted((PACKAGE / folder).rglob("*.py"))
    return hashlib.sha256(b"\0".join(f.read_bytes() for f in files)).hexdigest()


def define(name: str, source: str, run: bool = True) -> dict[str, Any]:
    """The namespace of a source text, run as a module of its own, by which Numba tells its functions apart.

    Functions have their syntax trees, which the compiler reads; those that nobody is to ``run`` have nothing else.
    """
    module = types.ModuleType(name)
    sys.modules[name] = module
    tree = ast.parse(source)
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
    bodies = [node.body for node in functions]
    for node in functions if not run else ():
        node.body = node.body[-1:]
    # linecache reads no file of a name that ends with ">", not even from its own entries
    exec(compile(tree, f"<graphc> {name}", "exec"), vars(module))
    for node, body in zip(functions, bodies, strict=True):
        node.body = body
        vars(module)[node.name].tree = node
    return vars(module)


# ---- compiled functions on disk


def _address(result: Any) -> int:
    """The address of a function's C form; 0 where its library has none."""
    at: int = result.library.get_pointer_to_function(result.fndesc.llvm_cfunc_wrapper_name)
    return at


def _compile(function: Function, called: Mapping[str, Compiled], on_disk: bool) -> Compiled:
    """Loads it, or compiles and keeps it. It calls others by their symbols."""

    def linked(make: Callable[[], Any], hit: bool) -> Compiled | None:
        if function.key in _shared:  # another thread has compiled it meanwhile
            return _shared[function.key]
        for symbol, held in called.items():
            ll.add_symbol(symbol, held.address)
        made = make()
        if made is None:
            return None
        if isinstance(made, Object):
            return Compiled(function, made, made.address, hit)
        if isinstance(made, plain.Plain):
            return Compiled(function, made, made.address if made.by_address else 0, hit)
        made.disable_compile()
        (result,) = made.overloads.values()
        return Compiled(function, made, _address(result), hit)

    load, make = partial(linked, function.loaded, True), partial(linked, function.compiled, False)
    on_disk = on_disk and not plain.is_plain()
    held = alone(load) if on_disk else None
    with disk.locked(f"{function.key}.lock") if on_disk and held is None else nullcontext():
        if held is None and on_disk:
            held = alone(load)  # another process may have compiled it meanwhile
        if held is None:
            if on_disk:
                disk.discard(function.file)
            held = alone(make)
            assert held is not None
            if on_disk and isinstance(held.function, Object):
                disk.keep(function.file, function.source, OBJECT + held.function.code)
            elif on_disk and not isinstance(held.function, plain.Plain):
                (result,) = held.function.overloads.values()
                if not result.library.has_dynamic_globals:  # addresses of this process
                    disk.keep(function.file, function.source, dumps(result._reduce()))
    return held


# ---- records


def recall(key: str) -> Any:
    """What was remembered under ``key`` on a machine and by a graphc like these; None where there is nothing whole."""
    data = disk.fetch(_record(key), key)
    return None if data is None else json.loads(data)


def remember(key: str, record: Any) -> None:
    """Keeps a JSON record under ``key`` for later processes, where the cache can be written."""
    disk.keep(_record(key), key, json.dumps(record).encode())


def _record(key: str) -> str:
    return f"{_key(key, _digest(''))}.json"
