"""How long the programs of docs/ten-lines.md are, which test_docs.py runs; and the last one on two ranks of MPI."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "ten-lines.md").read_text()
BLOCKS = dict(re.findall(r"^## ([^\n]*)\n(?:(?!## |```)[^\n]*\n)*```py(?:thon)?\n(.*?)^```", PAGE, re.M | re.S))
TASKS = "Train SciPy See networkx C NaN example MPI"
DATA = re.search(r"^```python\n(.*?)^```", PAGE, re.M | re.S)
MOST = 10


def test_each_task_takes_ten_lines_at_most() -> None:
    assert len(BLOCKS) == PAGE.count("\n## ") == len(TASKS.split())
    for (title, code), word in zip(BLOCKS.items(), TASKS.split(), strict=True):
        assert word in title
        assert len([line for line in code.splitlines() if line.strip()]) <= MOST, title


def test_two_ranks_run_the_last_one(tmp_path: Path) -> None:
    pytest.importorskip("mpi4py", reason="mpi4py is not here")
    mpiexec = shutil.which("mpiexec", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
    if mpiexec is None:
        pytest.skip("mpiexec is not here")
    assert DATA is not None
    first, *_, last = BLOCKS.values()
    define = "\n".join(first.splitlines()[:4])
    told = "from mpi4py import MPI\nprint('rank', MPI.COMM_WORLD.Get_rank(), g.state['linear/weight'].sum())"
    (tmp_path / "train.py").write_text("\n".join([DATA[1], define, last, told]))
    done = subprocess.run(
        [mpiexec, "-n", "2", sys.executable, "-m", "mpi4py", "train.py"],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=200,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    ranks = dict(re.findall(r"rank (\d) (\S+)", done.stdout))
    assert set(ranks) == {"0", "1"} and len(set(ranks.values())) == 1
    assert (tmp_path / "train.gx").exists()
