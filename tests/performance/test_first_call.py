"""First calls of fresh processes without files beside JAX's, in processor time on one core each.

python -m pytest tests/performance/test_first_call.py -m nightly -n 0 -s
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from first_calls import programs

from graphc.bench.catalogue import WORKLOADS

PROGRAMS = Path(__file__).parent / "first_calls.py"
ONE_THREAD = {
    "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "JAX_PLATFORMS": "cpu",
    "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false",
}  # fmt: skip


def first_call(who: str, name: str, cache: Path) -> dict[str, Any]:
    """What a process of its own, held to one processor, says of it."""
    code = f"import os, runpy, sys; sys.argv = ['', {who!r}, {name!r}]\n"
    if hasattr(os, "sched_setaffinity"):
        code += "os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})\n"
    code += f"runpy.run_path({str(PROGRAMS)!r}, run_name='__main__')"
    environment = {**os.environ, **ONE_THREAD, "GRAPHC_CACHE_DIR": str(cache)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.mark.nightly
@pytest.mark.oracle
def test_a_first_call_takes_no_longer_than_with_jax(tmp_path: Path) -> None:
    """In the geometric mean; a single one may take longer, as where JAX is given a loop that is unrolled here."""
    pytest.importorskip("jax")
    ratios: dict[str, float] = {}
    for name in [*programs(), *(w for w in WORKLOADS if "jax" in WORKLOADS[w].entries)]:
        found = {who: first_call(who, name, tmp_path / name) for who in ("graphc", "jax")}
        np.testing.assert_allclose(found["graphc"]["sums"], found["jax"]["sums"], rtol=1e-3, atol=1e-4, err_msg=name)
        ratios[name] = found["graphc"]["seconds"] / found["jax"]["seconds"]
        again = first_call("graphc", name, tmp_path / name)
        print(f"{name:24}{ratios[name]:6.2f} of JAX's time, {again['seconds']:.2f} s from disk", flush=True)
    assert np.exp(np.mean(np.log(list(ratios.values())))) < 1.0, ratios
    assert max(ratios.values()) < 3.0, ratios
