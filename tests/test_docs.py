"""Every Python block of the README and docs runs, page by page."""

from __future__ import annotations

import importlib.util
import operator
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from test_docstrings import NAMES

import graphc
from graphc.cli import main

ROOT = Path(__file__).parent.parent
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md"))]

SPACE = {"gx": graphc, "graphc": graphc}
OPTIONAL = {"onnx.md": ("onnx", "onnxruntime"), "training.md": ("sklearn",)}  # what the code of a page needs


def run_code(page: Path, directory: Path) -> str:
    """What it prints. In a process of its own, since pages register ops; in a directory of its own, since they write
    files."""
    blocks = re.findall(r"^```python\n(.*?)^```", page.read_text(), re.M | re.S)
    for package in OPTIONAL.get(page.name, ()):
        pytest.importorskip(package, reason=f"{page.name} needs {package}")
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    if not blocks:
        return ""
    code = [sys.executable, "-c", "\n".join(blocks)]
    done = subprocess.run(code, check=True, timeout=200, cwd=directory, env=env, stdout=subprocess.PIPE, text=True)
    return done.stdout


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_code_runs(page: Path, tmp_path: Path) -> None:
    printed = run_code(page, tmp_path)
    for shown in re.findall(r"^```python\n(?:(?!```)[^\n]*\n)*```\n\n```\n(.*?)^```", page.read_text(), re.M | re.S):
        assert shown in printed, f"the page shows\n{shown}\nits code prints\n{printed}"


@pytest.mark.parametrize("page", [p for p in PAGES if "\n$ graphc " in p.read_text()], ids=lambda p: p.name)
def test_commands_print_what_is_shown(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Consoles run after the page's code, in its directory; ``...`` stands for anything in a line."""
    run_code(page, tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GRAPHC_CACHE_DIR", str(tmp_path / "cache"))
    shown = "".join(re.findall(r"^```console\n(.*?)^```", page.read_text(), re.M | re.S))
    for command, expected in re.findall(r"^\$ graphc (.*?)\n((?:(?!\$ ).*\n)*)", shown, re.M):
        main(shlex.split(command))
        out, err = capsys.readouterr()
        pattern = ".*".join(map(re.escape, expected.split("...")))
        assert re.fullmatch(pattern, out + err), f"$ graphc {command}\n{out}{err}"


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
        assert (page.parent / target).exists(), target


@pytest.mark.parametrize("page", [ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md"], ids=lambda p: p.name)
def test_what_a_page_names_is_there(page: Path) -> None:
    """Files, and tests in them: ``tests/test_x.py::test_name``."""
    named = re.findall(r"`((?:graphc|tests|docs|\.ci)/[\w./]*)(?:::(\w+))?`", page.read_text())
    assert len(named) > 10
    for path, test in named:
        assert (ROOT / path).exists(), path
        assert not test or f"def {test}(" in (ROOT / path).read_text(), f"{path}::{test}"


def test_the_dumps_are_those_of_this_version(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "examples"))
    spec = importlib.util.spec_from_file_location("make_dumps", ROOT / "docs" / "make_dumps.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    written = (ROOT / "docs" / "dumps.md").read_text()
    for part in module.portable(module.stages()):
        assert part in written, f"docs/dumps.md is of another version; run python docs/make_dumps.py\n{part}"


def test_every_page_is_reachable() -> None:
    index, reference = ((ROOT / "docs" / name).read_text() for name in ("index.md", "reference.md"))
    for page in (ROOT / "docs").glob("*.md"):
        assert page.name == "index.md" or f"({page.name})" in index, page.name
    for page in (ROOT / "docs" / "reference").glob("*.md"):
        assert f"(reference/{page.name})" in reference, page.name


def test_the_reference_has_every_name_once() -> None:
    found: list[str] = []
    for page in (ROOT / "docs" / "reference").glob("*.md"):
        for space, names in re.findall(r"^```{api} ?([^\n]*)\n(.*?)^```", page.read_text(), re.M | re.S):
            found += [f"{space or 'gx'}.{name}" for name in names.split()]
    classes = {name for name, value in NAMES.items() if isinstance(value, type)}
    wanted = {name: id(value) for name, value in NAMES.items() if name.rpartition(".")[0] not in classes}
    shown = {name: id(operator.attrgetter(name.partition(".")[2])(SPACE[name.partition(".")[0]])) for name in found}
    assert len(found) == len(set(shown.values())), "a name stands twice"
    assert not [name for name, value in wanted.items() if value not in shown.values()]
    assert set(shown.values()) == set(wanted.values())


@pytest.mark.nightly
def test_the_site_is_built_without_a_warning(tmp_path: Path) -> None:
    for package in ("sphinx", "furo", "myst_parser"):
        pytest.importorskip(package, reason="needs the extra docs")
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    build = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-b", "html", ROOT / "docs", tmp_path]
    done = subprocess.run(build, env=env, capture_output=True, text=True, timeout=1200)
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "reference" / "elementwise.html").read_text()
    assert 'id="gx.tanh"' in page and "hyperbolic tangent" in page


@pytest.mark.parametrize("name", ["chain", "neuron", "xor", "softmax", "weight-decay", "dropout"])
def test_the_drawings_are_those_of_this_version(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = importlib.util.spec_from_file_location("make_images", ROOT / "docs" / "make_images.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "IMAGES", tmp_path)
    module.main([f"{name}.svg"])
    drawn, kept = (folder / f"{name}.svg" for folder in (tmp_path, ROOT / "docs" / "images"))
    assert drawn.read_text() == kept.read_text(), "run python docs/make_images.py"
