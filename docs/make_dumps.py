"""Writes docs/dumps.md: one tanh of examples/xor.py followed through ``exe.stages``, with real output.

    python docs/make_dumps.py

What stands before the heading of LLVM is the same on every machine, and a test compares it.
"""

import re
import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "examples"))

import numpy as np  # noqa: E402
from xor import network  # noqa: E402

import graphc as gx  # noqa: E402

HOLDS = {
    "graph": "what you wrote, and its derivatives; one node a line, with your line",
    "schedule": "loops, and where values are kept",
    "source": "the generated Python, a comment for each node",
    "llvm": "the same after LLVM's optimisation",
    "assembly": "machine code",
}


def stages():
    """The stages of the mean squared error of the 2-3-1 network and its gradient with respect to W1."""
    rng = np.random.default_rng(0)
    g, x, prediction = network(gx.tanh, lambda shape: rng.normal(size=shape))
    y = g.input("y", shape=("batch", 1), dtype="float64")
    loss = gx.mean(gx.squared_error(prediction, y))
    return gx.compile([x, y], [loss, gx.grad(loss, g["W1"])]).stages


def code(rows):
    """Rows as a block, cut to the width of a page."""
    return "```\n" + "\n".join(row[:118].rstrip() for row in rows) + "\n```"


def holding(text, *words):
    """The rows that hold one of the words, their columns closed up."""
    found = [row for row in text.splitlines() if any(word in row for word in words)]
    return [row if row.startswith("    ") else re.sub(r"(?<=\S) {2,}", "  ", row) for row in found]


def around(text, word, before, after):
    """The first row that holds the word, with its neighbours."""
    rows = text.splitlines()
    at = next(k for k, row in enumerate(rows) if word in row)
    return rows[max(at - before, 0) : at + after + 1]


def portable(found):
    """The part of the page that does not depend on the machine."""
    passes = [name for name in found if name not in HOLDS]
    table = "\n".join(f"| `{k}` | {HOLDS.get(k, 'the graph after that pass')} |" for k in found)
    loop = holding(found["source"], "def kernel", "range(n0)")
    loop += around(found["source"], " = tanh(", 5, 6)
    return [
        "# Dumps: one tanh, from the DSL to machine code",
        "`exe.stages` maps the name of every stage to its text. Here the `tanh` of `examples/xor.py` and its\n"
        "derivative are followed through all of them (`python docs/make_dumps.py` writes this page).",
        "| stage | what it holds |\n|---|---|\n" + table,
        "## graph",
        "The node, and the nodes that `gx.grad` appended for it: `1 - y * y`, times what arrives from above.",
        code(holding(found["graph"], "= tanh(", "gradient of tanh")),
        "## " + ", ".join(passes),
        "A pass stands here when it changed something. Nodes are numbered anew, names and lines stay:",
        code([f"{name:<13}{row.strip()}" for name in passes for row in holding(found[name], "= tanh(")]),
        "## schedule",
        "Nodes became statements in loops. The products are small, so they became sums, and one loop over the batch\n"
        "holds everything, forward and backward:",
        code(found["schedule"].splitlines()),
        "## source",
        "Valid Python; tracebacks and profilers find it. The middle loop, with both halves of the `tanh` in it:",
        code(loop),
    ]


def machine(found):
    """The part that does: vectors where this machine has them."""
    vectors = "@llvm.copysign.v"
    return [
        "## llvm",
        "`tanh` is a function of `graphc/codegen/vecmath/exponential.py`: with `q = expm1(2 * min(|x|, 20)) / 4` it\n"
        "is `copysign(q / (q + 1/2), x)`. Those last three operations, inlined into the loop:",
        code(around(found["llvm"], vectors if vectors in found["llvm"] else "@llvm.copysign", 2, 0)),
        "## assembly",
        "The division among its neighbours:",
        code(around(found["assembly"], "vdiv" if "vdiv" in found["assembly"] else "div", 2, 2)),
    ]


def page():
    """The page's text."""
    found = stages()
    return "\n\n".join(portable(found) + machine(found)) + "\n"


if __name__ == "__main__":
    (HERE / "dumps.md").write_text(page())
