"""From source to machine code by Numba, kept on disk so that several processes and damaged files are safe.

An entry is a directory named by the SHA-256 of everything that decides the code. It holds the source, Numba's own
cache files, and their digests, which are compared before Numba reads anything. One process compiles, under a lock;
others wait and then find the result.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import json
import os
import shutil
import sys
import tempfile
import threading
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import llvmlite
import numba
from numba.core.registry import cpu_target

from graphc.config import __version__, cache_root
from graphc.errors import CompileError

try:
    import fcntl
except ImportError:  # pragma: no cover - Windows: the atomic renames still keep entries whole
    fcntl = None  # type: ignore[assignment]


@dataclass(frozen=True, slots=True, eq=False)
class Compiled:
    """A compiled function: Numba's dispatcher, the address of its C form, and whether it came from disk."""

    function: Any
    address: int
    cache_hit: bool

    @property
    def llvm(self) -> str:
        """The optimised LLVM IR; compiled anew where it came from disk, which keeps machine code only."""
        return "\n".join(self._fresh().inspect_llvm().values())

    @property
    def assembly(self) -> str:
        """The machine code as text."""
        return "\n".join(self._fresh().inspect_asm().values())

    def _fresh(self) -> Any:
        if not self.cache_hit:
            return self.function
        options = {k: v for k, v in self.function.targetoptions.items() if k not in ("nopython", "boundscheck")}
        return numba.njit(self.function.signatures[0], **options)(self.function.py_func)


_shared: dict[str, Compiled] = {}  # equal kernels are compiled and held once
_guard = threading.RLock()


def compile_source(
    source: str,
    entry: str,
    signature: Any,
    *,
    on_disk: bool = True,
    fastmath: bool = False,
    extra: tuple[str, ...] = (),
) -> Compiled:
    """The function ``entry`` of ``source``, compiled for ``signature``.

    ``extra`` names what else decides the code, such as the BLAS. Raises CompileError where Numba cannot compile it.
    """
    options: dict[str, Any] = {"error_model": "numpy", "boundscheck": False, "nogil": True}
    if fastmath:
        options["fastmath"] = True
    key = _key(source, entry, str(signature), repr(sorted(options.items())), *extra)
    with _guard:
        held = _shared.get(key)
        if held is None:
            held = _shared[key] = _load(key, source, entry, signature, options, on_disk)
        return held


def _key(*parts: str) -> str:
    digest = hashlib.sha256()
    for part in ("graphc 1", *parts, *_machine()):
        digest.update(part.encode() + b"\0")
    return digest.hexdigest()[:32]


def _machine() -> tuple[str, ...]:
    """Versions and processor, which decide the code too."""
    codegen = cpu_target.target_context.codegen()
    versions = (__version__, numba.__version__, llvmlite.__version__, sys.implementation.cache_tag or "")
    return (*versions, repr(codegen.magic_tuple()), _runtime())


@cache
def _runtime() -> str:
    """The digest of the modules that generated source imports."""
    here = Path(__file__).parent
    files = [here / f"{name}.py" for name in ("abi", "blas", "buffer", "rng", "vecmath")]
    return hashlib.sha256(b"".join(f.read_bytes() for f in files)).hexdigest()


def _load(key: str, source: str, entry: str, signature: Any, options: dict[str, Any], on_disk: bool) -> Compiled:
    if on_disk:
        try:
            directory = cache_root() / key
            directory.mkdir(mode=0o700, exist_ok=True)
            with _locked(directory / "lock"):
                return _from_disk(directory, source, entry, signature, options)
        except OSError as error:
            warnings.warn(f"the cache of compiled kernels cannot be used ({error}); compiling without it", stacklevel=2)
    name = f"graphc_kernel_{key}"
    scope: dict[str, Any] = {"__name__": name}
    exec(compile(source, f"<{name}>", "exec"), scope)
    return _compile(scope[entry], signature, options, False)


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """The lock of an entry; the system releases it when its holder dies."""
    with open(path, "w") as file:
        if fcntl is not None:
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _from_disk(directory: Path, source: str, entry: str, signature: Any, options: dict[str, Any]) -> Compiled:
    for attempt in (0, 1):
        try:
            _drop_unless_whole(directory)
            text = directory / "kernel.py"
            if not text.is_file() or text.read_bytes() != source.encode():
                write_atomically(text, source.encode())
            compiled = _compile(_module(text)[entry], signature, options, True)
            if not compiled.cache_hit:
                write_atomically(directory / "sums.json", json.dumps(_sums(directory)).encode())
            return compiled
        except CompileError:
            raise
        except Exception as error:
            if attempt:
                raise
            warnings.warn(
                f"cache entry {directory.name} is unusable ({type(error).__name__}); rebuilding", stacklevel=2
            )
            shutil.rmtree(directory / "__pycache__", ignore_errors=True)
    raise AssertionError


def _module(path: Path) -> dict[str, Any]:
    """The namespace of a source file, run as a module so that Numba finds its cache beside it."""
    name = f"graphc_kernel_{path.parent.name}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    before, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    try:
        spec.loader.exec_module(module)
    finally:
        sys.dont_write_bytecode = before
    return vars(module)


def _compile(function: Any, signature: Any, options: dict[str, Any], on_disk: bool) -> Compiled:
    try:
        made = numba.njit(signature, cache=on_disk, **options)(function)
    except numba.core.errors.NumbaError as error:
        raise CompileError(f"the generated kernel did not compile: {error}") from error
    (result,) = made.overloads.values()
    address = result.library.get_pointer_to_function(result.fndesc.llvm_cfunc_wrapper_name)
    return Compiled(made, address, bool(made.stats.cache_hits))


def _sums(directory: Path) -> dict[str, str]:
    files = sorted((directory / "__pycache__").glob("kernel.*"))
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def _drop_unless_whole(directory: Path) -> None:
    """Removes Numba's files where their digests are not those that were written: Numba would run them unchecked."""
    files = directory / "__pycache__"
    try:
        want = json.loads((directory / "sums.json").read_bytes())
    except (OSError, ValueError):
        want = None
    for path in (directory / "kernel.py", directory / "sums.json"):
        if path.is_dir():
            shutil.rmtree(path)
    if files.exists() and (not want or not files.is_dir() or want != _sums(directory)):
        if want is not None:  # else its compiler was stopped, or failed
            warnings.warn(f"cache entry {directory.name} is damaged; rebuilding", stacklevel=2)
        shutil.rmtree(files) if files.is_dir() else files.unlink()


def write_atomically(path: Path, data: bytes) -> None:
    """All of ``data`` under ``path``, or what was there before."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".tmp-")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def recall(key: str) -> Any:
    """What was remembered under ``key``; None where there is nothing, or it is damaged."""
    try:
        digest, _, body = (cache_root() / f"{_key(key)}.json").read_bytes().partition(b"\n")
        if hashlib.sha256(body).hexdigest().encode() == digest:
            return json.loads(body)
    except (OSError, ValueError):
        pass
    return None


def remember(key: str, record: Any) -> None:
    """Keeps a JSON record under ``key`` for later processes; does nothing where the cache cannot be written."""
    body = json.dumps(record).encode()
    with contextlib.suppress(OSError):
        write_atomically(cache_root() / f"{_key(key)}.json", hashlib.sha256(body).hexdigest().encode() + b"\n" + body)
