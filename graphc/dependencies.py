"""The oldest packages that graphc runs with; an older one is told when graphc is imported, in one sentence."""

from __future__ import annotations

import re
from importlib import import_module

LEAST = {"numba": "0.62", "numpy": "2.0", "networkx": "3.2", "scipy": "1.13"}  # as in pyproject.toml


def check(least: dict[str, str]) -> None:
    """ImportError where a package is older than ``least`` says.

    >>> check({"numpy": "1.0"})
    >>> check({"numpy": "1000.0"})  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ...
    ImportError: graphc needs numpy 1000.0 or later, found ...
    """
    for package, version in least.items():
        found = import_module(package).__version__
        if _numbers(found) < _numbers(version):
            raise ImportError(f"graphc needs {package} {version} or later, found {found}; pip install -U {package}")


def _numbers(version: str) -> tuple[int, ...]:
    """The leading numbers of a version.

    >>> _numbers("0.62.0rc1"), _numbers("2.0.0.dev0+g1")
    ((0, 62), (2, 0))
    """
    return tuple(int(part) for part in re.findall(r"\d+", version)[:2])


check(LEAST)
