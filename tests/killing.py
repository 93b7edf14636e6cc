"""A process that writes a file again and again is killed at random moments; the file is always a whole one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

KILLER = """
import os, random, signal, sys, time
import numpy as np, graphc as gx

path, seed, count, pause = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])
elements = int(sys.argv[5])
g = gx.Graph("big")
w = g.parameter("w", np.zeros(elements, np.float32))
x = g.input("x", ())
exe = gx.compile([x], x + gx.sum(w), backend="numpy")
KEEPING
keep()
began = time.perf_counter()
keep()
pause = max(pause, 2 * (time.perf_counter() - began))
r, kept = random.Random(seed), 0
for _ in range(count):
    hear, tell = os.pipe()
    child = os.fork()
    if not child:
        while True:
            kept += 1
            g.state["w"] = np.full(elements, kept, np.float32)
            keep()
            os.write(tell, b"x")
    os.close(tell)
    time.sleep(r.uniform(0, pause))
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status), "it ended before it was killed"
    done = kept
    while os.read(hear, 1):
        done += 1
    os.close(hear)
    (kept,) = set(kept_there().tolist())
    assert kept in (done, done + 1), (kept, done)
drafts = [name for name in os.listdir(os.path.dirname(path)) if name.endswith(".tmp")]
print(int(kept), len(drafts))
"""


def killed_at_random(
    keeping: str, path: Path, seed: int, count: int, pause: float = 0.1, elements: int = 400_000
) -> None:
    """``keeping`` defines ``keep()``, which writes ``exe`` to ``path``, and ``kept_there()``, the array w in the file.

    Each process lives for at most ``pause`` seconds, or twice what a write takes. The array has so many ``elements``.
    """
    given = map(str, (path, seed, count, pause, elements))
    command = [sys.executable, "-c", KILLER.replace("KEEPING", keeping), *given]
    done = subprocess.run(command, capture_output=True, text=True, timeout=1800)
    assert done.returncode == 0, done.stderr[-2000:]
    saved, cut = map(int, done.stdout.split())
    assert saved > 0 and cut <= count  # writes went through, however busy the machine
    assert cut > 0 or count < 100  # others were cut short; of a few, perhaps none
