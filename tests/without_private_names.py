"""Runs a script as if names of Numba's private modules were gone: ``without_private_names.py NAME,NAME|all SCRIPT``.

Numba itself keeps them. The names are those of graphc/codegen/private.py.
"""

from __future__ import annotations

import importlib
import importlib.util
import runpy
import sys
from pathlib import Path
from typing import Any

FILE = Path(__file__).parent.parent / "graphc/codegen/private.py"


def names() -> list[str]:
    """All private names that graphc takes, found without importing graphc."""
    spec = importlib.util.spec_from_file_location("private_names", FILE)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return [f"{place}.{name}" for place, name, _, _ in module.TAKEN]


class Without:
    """A module or class that lacks some names."""

    def __init__(self, held: Any, path: str, gone: set[str]) -> None:
        self._held, self._path, self._gone = held, path, gone

    def __getattr__(self, name: str) -> Any:
        path = f"{self._path}.{name}"
        if path in self._gone:
            raise AttributeError(path)
        return lacking(getattr(self._held, name), path, self._gone)


def lacking(held: Any, path: str, gone: set[str]) -> Any:
    return Without(held, path, gone) if any(name.startswith(f"{path}.") for name in gone) else held


def remove(gone: set[str]) -> None:
    """From now on `importlib.import_module` gives modules that lack these names."""
    load = importlib.import_module
    importlib.import_module = lambda name, *args: lacking(load(name, *args), name, gone)  # type: ignore[assignment]


if __name__ == "__main__":
    remove(set(names() if sys.argv[1] == "all" else sys.argv[1].split(",")))
    sys.argv = sys.argv[2:]
    runpy.run_path(sys.argv[0], run_name="__main__")
