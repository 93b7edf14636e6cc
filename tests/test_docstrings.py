"""Every public name says what it takes and gives, what it raises, and has an example; `--doctest-modules` runs those."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest

import graphc as gx
from graphc.cached import cached

SPACES = ("nn", "optim", "init", "random", "linalg", "fft", "dag", "distributed")
SHAPE = r"[Ss]hape|size|scalar|broadcast|vector|matri|ax[ie]s|elementwise|rows?\b|\(n|\(\.\.\.|\[|number"
DTYPE = r"dtype|float|int\d*\b|integer|bool|number"
ERROR = r"[A-Z]\w*Error|Raises nothing"


def public_names() -> Iterator[tuple[str, Any]]:
    """Each function, class, and public method or property of a class, once."""
    seen: set[int] = set()
    spaces = [("gx", gx), *((f"gx.{name}", getattr(gx, name)) for name in SPACES)]
    try:
        import graphc.sklearn
    except ImportError:
        pass
    else:
        spaces.append(("graphc.sklearn", graphc.sklearn))
    for space, module in spaces:
        for name in listed(module):
            value = getattr(module, name)
            if isinstance(value, (ModuleType, str)) or id(value) in seen:
                continue
            seen.add(id(value))
            yield f"{space}.{name}", value
            if inspect.isclass(value):
                for attribute, member in members(value):
                    if id(member) not in seen:
                        seen.add(id(member))
                        yield f"{space}.{name}.{attribute}", member


def listed(module: ModuleType) -> list[str]:
    """``__all__``, or without one what a module defines."""
    own = [n for n, v in vars(module).items() if getattr(v, "__module__", "") == module.__name__ and n[0] != "_"]
    return list(getattr(module, "__all__", own))


def members(cls: type) -> Iterator[tuple[str, Any]]:
    for base in cls.__mro__:
        if base.__module__.partition(".")[0] == "graphc":
            for name, member in vars(base).items():
                if isinstance(member, (classmethod, staticmethod)):
                    member = member.__func__
                if not name.startswith("_") and (inspect.isfunction(member) or isinstance(member, (property, cached))):
                    yield name, member


FOR_EXTENSIONS = """
    Executable.holding Executable.failure Executable.plan_for Executable.program Executable.bound Executable.listing Graph.as_array Graph.shape
    Graph.inside Graph.outermost Graph.open Graph.admit Graph.append Graph.adopt Graph.placed Graph.calling Graph.settle
    Graph.next_stream Graph.rename Graph.reserve Graph.rename_node Graph.automatic Graph.free optim.free_prefix
    optim.orthogonalised dag.REQUIRED"""  # what is not for programs, and may change: docs/support.md
NAMES = {n: v for n, v in public_names() if n.removeprefix("gx.") not in FOR_EXTENSIONS.split()}


def lacks(name: str, value: Any) -> list[str]:
    """What the docstring leaves out. One that is "as `another`" leaves to that what stands there."""
    text = inspect.getdoc(value) or ""
    words, example, _ = text.partition(">>> ")
    if isinstance(value, (property, cached)):
        return [] if words else ["words"]
    found = [] if example and words else ["words" if example else "example"]
    if inspect.isclass(value) or re.search(r"\b[Aa]s `", words):
        return found
    wanted = {"errors": ERROR}
    if "Tensor" in str(inspect.signature(value).return_annotation):
        wanted |= {"shapes": SHAPE, "dtypes": DTYPE}
    return found + [what for what, pattern in wanted.items() if not re.search(pattern, words)]


@pytest.mark.parametrize("space", sorted({n.rpartition(".")[0] for n in NAMES}))
def test_docstrings_say_all(space: str) -> None:
    found = {n: lacks(n, v) for n, v in NAMES.items() if n.rpartition(".")[0] == space}
    assert not {n: f for n, f in found.items() if f}
