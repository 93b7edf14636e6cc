"""The one table of settings from the environment."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from graphc.errors import CompileError

__version__ = "0.1.0"


@dataclass(frozen=True, slots=True)
class Settings:
    """What the environment says.

    GRAPHC_CACHE_DIR  where compiled kernels are kept; else XDG_CACHE_HOME/graphc, else ~/.cache/graphc
    """

    cache_dir: Path


def settings() -> Settings:
    """The settings as the environment stands now."""
    given = os.environ.get("GRAPHC_CACHE_DIR")
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return Settings(Path(given) if given else Path(base) / "graphc")


def cache_root() -> Path:
    """The cache directory, made private to the user (0700).

    Raises CompileError where it belongs to another user or others may write to it, since Numba's files in it are
    executed; OSError where it cannot be made.
    """
    root = settings().cache_dir
    root.mkdir(parents=True, exist_ok=True, mode=0o700)
    held = root.stat()
    if hasattr(os, "getuid") and (held.st_uid != os.getuid() or held.st_mode & 0o022):
        raise CompileError(f"the cache directory {root} must belong to you and not be writable by others")
    return root
