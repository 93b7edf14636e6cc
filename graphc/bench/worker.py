"""A process of one contestant, which does what lines of JSON on standard input ask for.

    python -m graphc.bench.worker '{"workload": "xor", "who": "jax", "threads": 1, ...}'

{"do": "start"} builds it and makes the first call; {"do": "run", "calls": k} makes k calls. Each is answered by a line
of JSON; one with "error" says why it cannot be. Processors and thread settings come from the process that starts it.
"""

from __future__ import annotations

import itertools
import json
import os
import sys
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from graphc.bench import limits
from graphc.bench.catalogue import WORKLOADS
from graphc.bench.workload import Entry, Setup, difference

PACKAGES = {"graphc": "graphc", "numpy": "numpy", "torch": "torch", "torch.compile": "torch", "jax": "jax"}
WARM_SECONDS = 0.1
TURN_SECONDS = 0.1  # at most, but for one eighth of a turn


def main(task: dict[str, Any], requests: Any, answer: Callable[[dict[str, Any]], None]) -> None:
    """Answers requests until there are no more."""
    workload, who = WORKLOADS[task["workload"]], task["who"]
    data = Path(task["data"]) if task["data"] else None
    setup = Setup(task["seed"], task["small"], data, task["threads"])
    _load(who)
    problem = workload.problem(setup)
    entry: Entry | None = None
    for line in requests:
        request = json.loads(line)
        if request["do"] == "run":
            assert entry is not None
            answer({"seconds": _run(entry.call, request["calls"])})
            continue
        before = _memory("VmRSS")
        _reset_peak()
        started = time.perf_counter()
        if who in limits.LIMITS:
            entry = limits.build(who, workload, problem, setup)
            if entry is None:
                return answer({"absent": True})
            entry.call()
            answer({"seconds_a_call": _warm(entry.call)})
            continue
        entry = workload.entries[who](problem, setup)
        result = entry.call()
        first = time.perf_counter() - started
        building = _memory("VmHWM") - before
        found = [a.copy() for a in entry.results(result)]
        _reset_peak()
        seconds = _warm(entry.call)
        running = _memory("VmHWM") - before
        by_hand = workload.entries["numpy"](problem, setup)
        gap = difference(found, by_hand.results(by_hand.call()))
        if gap > workload.tolerance:
            return answer({"error": f"its results differ from those by hand by {gap:.1e}"})
        answer(
            {
                "first_seconds": first,
                "seconds_a_call": seconds,
                "peak_bytes": building,
                "running_bytes": running,
                "difference": gap,
                "version": _version(who),
            }
        )


def _load(who: str) -> None:
    """Imports the contestant's library, so that the first call is timed without that."""
    if who in ("torch", "torch.compile"):
        import torch  # noqa: F401
    elif who == "jax":
        import jax

        jax.devices()
    elif who == "pytensor":
        import pytensor.tensor  # noqa: F401


def _run(call: Callable[[], Any], calls: int) -> float:
    """Seconds a call, after one that is not counted; fewer calls where they take much longer than expected."""
    call()
    chunk, done = max(1, calls // 8), 0
    started = time.perf_counter()
    while True:
        for _ in itertools.repeat(None, chunk):
            call()
        done += chunk
        spent = time.perf_counter() - started
        if done >= calls or spent > TURN_SECONDS:
            return spent / done


def _warm(call: Callable[[], Any]) -> float:
    """Calls for a while; the least seconds of one."""
    best, until = float("inf"), time.perf_counter() + WARM_SECONDS
    for k in itertools.count():
        started = time.perf_counter()
        call()
        ended = time.perf_counter()
        best = min(best, ended - started)
        if ended > until and k >= 1:
            return best
    raise AssertionError("unreachable")


def _memory(key: str) -> int:
    """VmRSS or VmHWM of this process in bytes; elsewhere than on Linux the largest resident size so far."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(key + ":"))
    except (OSError, StopIteration):
        import resource

        size = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return size if sys.platform == "darwin" else size * 1024


def _reset_peak() -> None:
    """Lets VmHWM start from here (proc(5), clear_refs); without that it goes on from earlier peaks."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return


def _version(who: str) -> str | None:
    try:
        return version(PACKAGES.get(who, who))
    except PackageNotFoundError:
        return None


def _serve() -> None:
    """Speaks over the standard output that it was given; what libraries print goes to standard error."""
    out = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)

    def answer(message: dict[str, Any]) -> None:
        print(json.dumps(message), file=out, flush=True)

    try:
        main(json.loads(sys.argv[1]), sys.stdin, answer)
    except ImportError as error:
        answer({"error": f"not installed ({error.name})", "missing": True})
    except Exception as error:
        first = str(error).strip().splitlines()
        answer({"error": f"{type(error).__name__}: {first[0] if first else ''}"[:200]})


if __name__ == "__main__":
    _serve()
