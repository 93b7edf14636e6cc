"""A file imports only from lower floors, or from its own; no upward import, not even inside a function."""

from __future__ import annotations

import ast
import tomllib
from pathlib import Path

import networkx
import pytest

import graphc
from graphc import dependencies

PACKAGE = Path(graphc.__file__).parent

# From the ground up; a module belongs to the longest prefix that fits.
FLOORS = [
    ["errors", "config", "atomic", "background", "cached", "collector", "ctrl_c", "dependencies", "extra", "lock"],
    ["ir"],
    ["ops"],
    ["reference", "derive"],
    ["rewrite"],
    ["schedule"],
    ["codegen"],
    ["run", "native", "export", "compile"],
    ["init", "nn", "optim", "file", "onnx", "dag", "distributed"],
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
            found |= {node.module, *(f"{node.module}.{a.name}" for a in node.names)} - {"graphc"}
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
    assert set(upward("ir.graph", "from graphc.codegen import emit")) == {"codegen", "codegen.emit"}
    assert upward("ops.shape", "def f():\n    import graphc.compile") == ["compile"]
    assert not upward("codegen.emit", "from graphc.ir.graph import Graph")


def test_no_regular_expression_reads_generated_code() -> None:
    for folder in ("schedule", "codegen"):
        for file in (PACKAGE / folder).rglob("*.py"):
            imported = [n.names for n in ast.walk(ast.parse(file.read_text())) if isinstance(n, ast.Import)]
            assert "re" not in {a.name for names in imported for a in names}, file


def test_no_imports_go_in_a_circle() -> None:
    """Deferred imports, and those of type checkers, count; only a graph and its tensors hold each other."""
    modules = {}
    for file in PACKAGE.rglob("*.py"):
        if file.name != "__init__.py":  # packages hand on what is in them
            modules[".".join(file.relative_to(PACKAGE).with_suffix("").parts)] = file.read_text()
    arrows = networkx.DiGraph((m, n) for m, source in modules.items() for n in imports(source) if n in modules)
    circles = [sorted(c) for c in networkx.strongly_connected_components(arrows) if len(c) > 1]
    assert circles == [["ir.graph", "ir.tensor"]]


def test_the_oldest_packages_are_those_of_pyproject() -> None:
    file = PACKAGE.parent / "pyproject.toml"
    if not file.exists():
        pytest.skip("graphc is installed")
    listed = tomllib.loads(file.read_text())["project"]["dependencies"]
    assert dict(line.split(">=") for line in listed) == dependencies.LEAST
