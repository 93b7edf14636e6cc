"""The pages of this folder as a site: `pip install ".[docs]" && sphinx-build -W docs docs/_build`."""

import re
import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

from graphc import __version__ as release  # noqa: E402

project, author, copyright = "graphc", "the authors of graphc", "the authors of graphc"
extensions = ["myst_parser", "make_reference"]
exclude_patterns = ["_build"]
html_theme, html_title = "furo", f"graphc {release}"
html_last_updated_fmt = ""
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 4
add_module_names = False
python_maximum_signature_line_length = 100


def contents(app, page, source):
    """The side bar's tables of contents: what the lists of the index, and of the reference, link to."""
    if page in ("index", "reference"):
        for title, text in re.findall(r"^## ([^\n]*)\n(.*?)(?=^## |\Z)", source[0], re.M | re.S):
            pages = re.findall(r"^- \[[^]]*\]\(([\w/-]+)\.md\)", text, re.M)
            if pages:
                lines = [f"```{{toctree}}\n:hidden:\n:caption: {title}\n", *pages, "```"]
                source[0] += "\n" + "\n".join(lines) + "\n"


def outside(app, page, source):
    """Links to files beside this folder are shown as their names: the site does not hold them."""
    source[0] = re.sub(r"\[([^]]*)\]\((?:\.\./)+([^)]*)\)", r"\1 (`\2`)", source[0])


def setup(app):
    app.connect("source-read", contents)
    app.connect("source-read", outside)
