"""Pages in a headless Chromium; tests that need one are skipped where there is none."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
needs_browser = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium here")


def opened(path: Path, script: str = "") -> str:
    """The document of a page once it is loaded, after ``script`` has run in it; what it says in the console fails."""
    assert CHROMIUM is not None
    page = path.with_name(f"opened-{path.name}")
    text = path.read_text()
    page.write_text(text.replace("</body>", f"<script>{script}</script></body>"))
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--dump-dom"]
    command += [f"--user-data-dir={path.parent / 'profile'}", "--window-size=1400,900", f"file://{page}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    said = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    assert not said, said
    return done.stdout


def attribute(document: str, name: str) -> str:
    """An attribute of the document's root, which scripts of tests set."""
    found = re.search(rf"<html[^>]*\bdata-{name}=\"([^\"]*)\"", document)
    assert found is not None, f"the page did not get as far as {name}"
    return found.group(1)
