"""Brings the libraries of the view's page into ``vendor.js`` and their licences into ``LICENSES.txt``.

Run it to take over other versions: ``python docs/make_view.py``. It needs npm, which fetches the packages at
the versions below. Addresses, and what refers to source maps, are left out: the page goes nowhere.
"""

from __future__ import annotations

import re
import subprocess
import tarfile
import tempfile
from pathlib import Path

PAGE = Path(__file__).parent.parent / "graphc" / "look" / "page"
PACKAGES = {  # name -> version, and the file that browsers load; what others need stands first
    "@dagrejs/dagre": ("3.1.3", "dist/dagre.min.js"),
    "d3-dispatch": ("3.0.2", "dist/d3-dispatch.min.js"),
    "d3-selection": ("3.0.1", "dist/d3-selection.min.js"),
    "d3-color": ("3.1.1", "dist/d3-color.min.js"),
    "d3-interpolate": ("3.0.2", "dist/d3-interpolate.min.js"),
    "d3-timer": ("3.0.2", "dist/d3-timer.min.js"),
    "d3-ease": ("3.0.2", "dist/d3-ease.min.js"),
    "d3-transition": ("3.0.2", "dist/d3-transition.min.js"),
    "d3-drag": ("3.0.1", "dist/d3-drag.min.js"),
    "d3-zoom": ("3.0.1", "dist/d3-zoom.min.js"),
}
ALLOWED = ("http://www.w3.org/", "https://www.w3.org/")


def stripped(source: str) -> str:
    """A script without comments on top, source maps, and addresses other than namespaces."""
    source = re.sub(r"^//[^\n]*\n", "", source, flags=re.M)
    source = re.sub(r"/\*[!*]?(?:(?!\*/).)*https?://(?:(?!\*/).)*\*/", "", source, flags=re.S)
    source = re.sub(r"//# sourceMappingURL=[^\n]*", "", source)

    def plain(match: re.Match[str]) -> str:
        return match.group(0) if match.group(0).startswith(ALLOWED) else ""

    return re.sub(r"https?://[^\s\"'`)<>\\]*", plain, source).strip()


def main() -> None:
    """Writes both files."""
    scripts, licences = [], []
    with tempfile.TemporaryDirectory() as folder:
        for name, (version, file) in PACKAGES.items():
            command = ["npm", "pack", "--silent", f"{name}@{version}"]
            packed = subprocess.run(command, check=True, cwd=folder, capture_output=True, text=True).stdout.strip()
            with tarfile.open(Path(folder, packed.splitlines()[-1])) as archive:
                script, licence = (
                    archive.extractfile(f"package/{part}").read().decode()  # type: ignore[union-attr]
                    for part in (file, "LICENSE")
                )
            scripts.append(f"// {name} {version}\n{stripped(script)}\n")
            licences.append(f"{name} {version}\n\n{licence.strip()}\n")
    (PAGE / "vendor.js").write_text("".join(scripts))
    (PAGE / "LICENSES.txt").write_text(f"\n{'-' * 72}\n\n".join(licences))


if __name__ == "__main__":
    main()
