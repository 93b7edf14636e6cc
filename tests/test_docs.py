"""Every Python block of the README and docs runs, page by page."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]

OPTIONAL = {"onnx.md": ("onnx", "onnxruntime")}  # what the code of a page needs


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_code_runs(page: Path) -> None:
    blocks = re.findall(r"^```python\n(.*?)^```", page.read_text(), re.M | re.S)
    for package in OPTIONAL.get(page.name, ()):
        pytest.importorskip(package, reason=f"{page.name} needs {package}")
    if blocks:  # in a process of its own: pages register ops
        subprocess.run([sys.executable, "-c", "\n".join(blocks)], check=True, timeout=200)


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
        assert (page.parent / target).exists(), target


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
    index = (ROOT / "docs" / "index.md").read_text()
    for page in (ROOT / "docs").glob("*.md"):
        assert page.name == "index.md" or f"({page.name})" in index, page.name
