"""What a user waits for: import, compile cold and from disk.

Of the 2-3-1 network.

python examples/compile_time.py
"""

import argparse
import os
import subprocess
import sys
import tempfile

import numpy as np

PROGRAM = """
import time; start = time.perf_counter()
import graphc as gx, numpy as np
imported = time.perf_counter()
from xor import X, Y, network
g, x, p = network(gx.tanh, np.ones)
y = g.input("y", shape=("batch", 1), dtype="float64")
loss = gx.mean(gx.squared_error(p, y))
exe = gx.compile([x, y], [loss, *gx.grad(loss, list(g.parameters.values()))])
exe(X, Y)
print(imported - start, time.perf_counter() - imported)
"""
BASE = "import time; t = time.perf_counter(); import numba, networkx, scipy.linalg; print(time.perf_counter() - t, 0)"


def fresh(program, cache):
    """Two numbers that a program prints in a fresh process."""
    env = {**os.environ, "GRAPHC_CACHE_DIR": cache, "PYTHONPATH": os.path.dirname(os.path.abspath(__file__))}
    out = subprocess.run([sys.executable, "-c", program], env=env, capture_output=True, text=True, check=True).stdout
    return [float(v) for v in out.split()]


def main(argv=None):
    """Prints medians in seconds; returns them by name."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=11)
    options = parser.parse_args(argv)
    rows = {
        "import numba, networkx, scipy.linalg": [],
        "import graphc": [],
        "cold compile and call": [],
        "from disk": [],
    }
    base, imported, cold, warm = rows.values()
    for _ in range(options.rounds):
        with tempfile.TemporaryDirectory() as cache:
            base.append(fresh(BASE, cache)[0])
            cold.append(fresh(PROGRAM, cache)[1])
            times = fresh(PROGRAM, cache)
            imported.append(times[0])
            warm.append(times[1])
    medians = {name: float(np.median(values)) for name, values in rows.items()}
    for name, value in medians.items():
        print(f"{name:<40}{value:.3f} s")
    return medians


if __name__ == "__main__":
    main()
