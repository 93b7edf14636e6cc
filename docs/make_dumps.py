"""Writes docs/dumps.md: one tanh of examples/xor.py followed through ``exe.stages``, with real output.

python docs/make_dumps.py
"""

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "examples"))

import numpy as np  # noqa: E402
from xor import network  # noqa: E402

import graphc as gx  # noqa: E402


def lines(text, word, around=0, most=12):
    """The lines of a stage that hold ``word``, with some around them."""
    rows = text.splitlines()
    kept = sorted({j for k, row in enumerate(rows) if word in row for j in range(k - around, k + around + 1)})
    return "\n".join(rows[j][:118].rstrip() for j in kept[:most] if 0 <= j < len(rows))


def page():
    """The page's text."""
    rng = np.random.default_rng(0)
    _, x, prediction = network(gx.tanh, lambda shape: rng.normal(size=shape))
    exe = gx.compile([x], prediction)
    stages = exe.stages
    parts = [
        "# Dumps: one tanh, from the DSL to machine code",
        "`exe.stages` maps the name of every stage to its text. Here the `tanh` of `examples/xor.py` is followed\n"
        "through all of them (made by `python docs/make_dumps.py`).",
        "```\n" + "\n".join(f"{name:<14}{len(text.splitlines()):>6} lines" for name, text in stages.items()) + "\n```",
        "**graph**: what the user wrote, one node a line, with the user's line.",
        "```\n" + lines(stages["graph"], "tanh(") + "\n```",
        "Each **pass** that changed something follows (`canonicalise`, `fold`, `cse`, `stabilise`, `simplify`).",
        "**schedule**: loops and statements. The small products became sums, so everything is one loop over the batch.",
        "```\n" + lines(stages["schedule"], "tanh", 3) + "\n```",
        "**source**: the generated Python, a comment for each node.",
        "```\n" + lines(stages["source"], "tanh", 3) + "\n```",
        "**llvm**: after optimisation. `tanh` is graphc's own, from `expm1`; its polynomial is inlined into the loop.",
        "```\n" + lines(stages["llvm"], "@llvm.copysign", 2, 6) + "\n```",
        "**assembly**: the last lines of the same.",
        "```\n" + lines(stages["assembly"], "vfmadd", 0, 4) + "\n```",
        "On the command line, `print(exe.source)` is usually the best first look.",
    ]
    return "\n\n".join(parts) + "\n"


if __name__ == "__main__":
    (HERE / "dumps.md").write_text(page())
