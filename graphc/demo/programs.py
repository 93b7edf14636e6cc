"""The programs that ``graphc demo`` runs: those of ``examples/``, which the installed package holds as well."""

from __future__ import annotations

import ast
import importlib
import sys
import tempfile
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numba
import numpy as np

from graphc.demo.data import DataError

NAMES = (
    "digits",
    "chain-rule",
    "neuron",
    "xor",
    "softmax-classifier",
    "weight-decay",
    "activations",
    "descent",
    "optimizers",
    "savings",
    "fashion-mnist",
    "networkx-dag",
    "lenet",
    "resnet",
    "characters",
    "recurrent",
    "vae",
    "maml",
    "private",
    "overfitting",
    "house-prices",
    "gaussian-process",
    "curve-fit",
    "least-squares",
    "hidden-markov",
    "kalman",
    "hmc",
    "posterior",
    "pendulum",
    "neural-ode",
    "race-car",
    "orbit-transfer",
    "call-overhead",
    "compile-time",
)  # in the order of docs/tutorial.md


def folder() -> Path:
    """Where the programs are: within the installed package, or beside it in a checkout."""
    package = Path(__file__).parent.parent
    within = package / "examples"
    return within if within.is_dir() else package.parent / "examples"


def listed() -> str:
    """A line for each program, from the head of its file."""
    lines = []
    for name in NAMES:
        doc = ast.get_docstring(ast.parse(_file(name).read_text(encoding="utf-8"))) or ""
        line = f"{name:<18}  {doc.splitlines()[0]}"
        lines += textwrap.wrap(line, 80, initial_indent="  ", subsequent_indent=" " * 22)
    return "\n".join(lines)


def run(name: str, arguments: Sequence[str]) -> dict[str, Any] | None:
    """What the program ``name`` does with these arguments: its figures, or None where it had no data to work on.

    Raises DataError where the program ends with a message.
    """
    place, argv, cache = str(_file(name).parent), sys.argv, numba.config.CACHE_DIR
    sys.path.insert(0, place)  # the programs share modules, as scripts of one folder do
    sys.argv = [f"graphc demo {name}", *arguments]
    with tempfile.TemporaryDirectory() as scratch:
        numba.config.CACHE_DIR = cache or scratch  # an installed package does not grow by what its programs cache
        try:
            found: dict[str, Any] | None = importlib.import_module(_file(name).stem).main(arguments)
        except SystemExit as stop:
            if isinstance(stop.code, str):
                raise DataError(stop.code) from None
            raise
        finally:
            sys.argv, numba.config.CACHE_DIR = argv, cache
            sys.path.remove(place)
    return found


def plain(figures: Any) -> Any:
    """Figures as JSON has them: lists for arrays and tuples, texts for keys.

    >>> plain({("network", 1.0): np.arange(2), 3: (1, None)})
    {'network, 1.0': [0, 1], '3': [1, None]}
    """
    if isinstance(figures, dict):
        return {", ".join(map(str, k)) if isinstance(k, tuple) else str(k): plain(v) for k, v in figures.items()}
    if isinstance(figures, list | tuple):
        return [plain(v) for v in figures]
    return figures.tolist() if isinstance(figures, np.ndarray | np.generic) else figures


def _file(name: str) -> Path:
    return folder() / f"{name.replace('-', '_')}.py"
