"""A file imports only from lower floors, or from its own; no upward import, not even inside a function."""

from __future__ import annotations

import ast
import tomllib
from pathlib import Path

import pytest

import graphc
from graphc import dependencies

PACKAGE = Path(graphc.__file__).parent

# From the ground up; a module belongs to the longest prefix that fits.
FLOORS = [
    ["errors", "config", "atomic", "background", "cached", "ctrl_c", "dependencies", "lock"],
    ["ir"],
    ["ops"],
    ["reference", "derive"],
    ["rewrite"],
    ["schedule"],
    ["codegen"],
    ["run", "native", "export", "compile"],
    ["init", "nn", "optim", "file", "onnx", "dag"],
    ["look", "train"],
    [""],  # the front door
    ["sklearn", "demo", "bench", "commands", "cli", "__main__", "examples"],
]


def floor(module: str) -> int:
    """The floor of ``graphc.module``."""
    for level, names in enumerate(FLOORS):
        if any(name and (module == name or module.startswith(name + ".")) for name in names):
            return level
    return next(level for level, names in enumerate(FLOORS) if "" in names)


def imports(source: str) -> set[str]:
    """Modules of graphc that a source imports anywhere, without the package's name."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {a.name for a in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{a.name}" for a in node.names} if node.module == "graphc" else {node.module}
    return {name.removeprefix("graphc").removeprefix(".") for name in found if name.split(".")[0] == "graphc"}


def type_checking_removed(source: str) -> str:
    """A source without what only a type checker reads."""
    tree = ast.parse(source)
    tree.body = [n for n in tree.body if not (isinstance(n, ast.If) and ast.unparse(n.test) == "TYPE_CHECKING")]
    return ast.unparse(tree)


def upward(module: str, source: str) -> list[str]:
    """Imports of ``module`` from a higher floor."""
    return [name for name in imports(type_checking_removed(source)) if floor(name) > floor(module)]


def test_no_file_imports_upward() -> None:
    files = sorted(PACKAGE.rglob("*.py"))
    assert len(files) > 40
    for file in files:
        module = ".".join(file.relative_to(PACKAGE).with_suffix("").parts).removesuffix("__init__").rstrip(".")
        assert not upward(module, file.read_text()), module


def test_a_violation_is_seen() -> None:
    assert upward("ir.graph", "from graphc.codegen import emit") == ["codegen"]
    assert upward("ops.shape", "def f():\n    import graphc.compile") == ["compile"]
    assert not upward("codegen.emit", "from graphc.ir.graph import Graph")


def test_the_oldest_packages_are_those_of_pyproject() -> None:
    file = PACKAGE.parent / "pyproject.toml"
    if not file.exists():
        pytest.skip("graphc is installed")
    listed = tomllib.loads(file.read_text())["project"]["dependencies"]
    assert dict(line.split(">=") for line in listed) == dependencies.LEAST
