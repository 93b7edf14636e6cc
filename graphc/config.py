"""The one table of settings from the environment."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from graphc.errors import CompileError

__version__ = "0.1.0"

BLAS = ("auto", "tiles", "openblas", "mkl")
ENGINES = ("auto", "numba")


@dataclass(frozen=True, slots=True)
class Settings:
    """What the environment says.

    GRAPHC_CACHE_DIR  where compiled kernels are kept; else XDG_CACHE_HOME/graphc, else ~/.cache/graphc
    GRAPHC_BLAS       what multiplies matrices: "tiles" (graphc's own code, which "auto" means too), "openblas"
                      (SciPy's) or "mkl" (the package mkl); read once per process
    GRAPHC_ENGINE     what compiles kernels: "auto" (graphc's own short way through Numba, where this Numba has what it
                      needs) or "numba" (Numba's public interface alone)
    """

    cache_dir: Path
    blas: str
    engine: str


def settings() -> Settings:
    """The settings as the environment stands now. CompileError where one has a value that it cannot have."""
    given = os.environ.get("GRAPHC_CACHE_DIR")
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    blas = os.environ.get("GRAPHC_BLAS") or "auto"
    if blas not in BLAS:
        raise CompileError(f"GRAPHC_BLAS must be one of {', '.join(BLAS)}, found {blas!r}")
    engine = os.environ.get("GRAPHC_ENGINE") or "auto"
    if engine not in ENGINES:
        raise CompileError(f"GRAPHC_ENGINE must be one of {', '.join(ENGINES)}, found {engine!r}")
    return Settings(Path(given) if given else Path(base) / "graphc", "tiles" if blas == "auto" else blas, engine)


def cache_root() -> Path:
    """The cache directory, made private to the user (0700).

    Raises CompileError where it belongs to another user or others may write to it, since what it holds is executed;
    OSError where it cannot be made.
    """
    root = settings().cache_dir
    root.mkdir(parents=True, exist_ok=True, mode=0o700)
    held = root.stat()
    if hasattr(os, "getuid") and (held.st_uid != os.getuid() or held.st_mode & 0o022):
        raise CompileError(f"the cache directory {root} must belong to you and not be writable by others")
    return root
