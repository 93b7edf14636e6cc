"""Runs contestants side by side: one process each, and rounds in which each has its turn."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from graphc.bench.limits import LIMITS
from graphc.bench.workload import Workload

PEERS = ("numpy", "torch", "torch.compile", "jax", "pytensor")
TURN_SECONDS = 0.02  # of a contestant in each round, if its calls are that short
LONG_SECONDS = 0.1  # a call; such workloads have fewer rounds
LEAST_ROUNDS = 7
ROUNDS = 31


@dataclass(frozen=True)
class Plan:
    """What to run.

    threads  numbers of processors
    peers    names out of `PEERS`
    rounds   turns of each contestant; fewer, but at least seven, where a call takes more than a tenth of a second
    """

    threads: Sequence[int] = (1, 2)
    peers: Sequence[str] = PEERS
    rounds: int = ROUNDS
    seed: int = 0
    small: bool = False
    data: Path | None = None


@dataclass
class Measured:
    """One contestant at one number of threads: what its first call gave, and the seconds a call of each round."""

    who: str
    threads: int
    first: dict[str, Any]
    rounds: list[float] = field(default_factory=list)


@dataclass
class Outcome:
    """All that was measured of a workload, and who was left out, with the reason."""

    workload: Workload
    measured: list[Measured]
    left_out: dict[str, str]

    def find(self, who: str, threads: int) -> Measured | None:
        """The contestant's measurement, None where it was left out."""
        return next((m for m in self.measured if (m.who, m.threads) == (who, threads)), None)


def processors() -> list[int]:
    """Those that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def run(workload: Workload, plan: Plan, missing: dict[str, str], step: Callable[[], Any]) -> Outcome:
    """Measures one workload; ``step`` is called after each start and each turn.

    ``missing`` holds peers that are known not to be installed, and is added to.
    """
    names = ["graphc", *(p for p in plan.peers if p in workload.entries)]
    left_out = {p: "has no version of this workload" for p in plan.peers if p not in workload.entries}
    if workload.limited and not plan.small:
        names += LIMITS
    outcome = Outcome(workload, [], left_out)
    with contextlib.ExitStack() as stack:
        caches = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="graphc-bench-")))
        running: list[tuple[_Worker, Measured, int]] = []
        for threads in plan.threads:
            for who in names:
                if who in missing or who in left_out:
                    continue
                worker = stack.enter_context(_started(workload.name, who, threads, plan, caches / who))
                first = worker.ask(do="start")
                step()
                if first.get("missing"):
                    missing[who] = first["error"]
                elif "error" in first:
                    left_out[who] = first["error"]
                elif "absent" not in first:
                    measured = Measured(who, threads, first)
                    calls = max(1, round(TURN_SECONDS / max(first["seconds_a_call"], 1e-7)))
                    running.append((worker, measured, calls))
        left_out |= {p: why for p, why in missing.items() if p in plan.peers}
        running = [r for r in running if r[1].who not in left_out]
        outcome.measured = [measured for _, measured, _ in running]
        slowest = max((m.first["seconds_a_call"] for m in outcome.measured if m.who == "graphc"), default=0.0)
        count = plan.rounds if slowest < LONG_SECONDS else min(plan.rounds, max(LEAST_ROUNDS, plan.rounds // 4))
        for k in range(count):
            for worker, measured, calls in running[k % len(running) :] + running[: k % len(running)]:
                answer = worker.ask(do="run", calls=calls)
                if "error" in answer:
                    left_out[measured.who] = answer["error"]
                else:
                    measured.rounds.append(answer["seconds"])
                step()
    outcome.measured = [m for m in outcome.measured if m.who not in left_out]
    return outcome


class _Worker:
    """A process that answers."""

    def __init__(self, process: subprocess.Popen[str], log: Path) -> None:
        self.process, self.log = process, log

    def ask(self, **request: Any) -> dict[str, Any]:
        """Its answer; one with "error" where it has ended."""
        assert self.process.stdin is not None and self.process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.write(json.dumps(request) + "\n")
            self.process.stdin.flush()
        line = self.process.stdout.readline()
        if line:
            answer: dict[str, Any] = json.loads(line)
            return answer
        status = self.process.wait()
        last = self.log.read_text(errors="replace").strip().splitlines()[-1:]
        return {"error": f"its process ended with status {status}: {''.join(last)[:160]}"}


@contextlib.contextmanager
def _started(workload: str, who: str, threads: int, plan: Plan, place: Path) -> Iterator[_Worker]:
    """A worker on the first ``threads`` processors, with caches in ``place``: cold for the first that is started."""
    task = {
        "workload": workload,
        "who": who,
        "threads": threads,
        "seed": plan.seed,
        "small": plan.small,
        "data": None if plan.data is None else str(plan.data),
    }
    place.mkdir(exist_ok=True)
    with open(place / f"log-{threads}", "w+") as log:
        command = [sys.executable, "-m", "graphc.bench.worker", json.dumps(task)]
        with _on_processors(processors()[:threads]):
            process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env=os.environ | _environment(threads, place),
            )
        try:
            yield _Worker(process, Path(log.name))
        finally:
            process.kill()
            process.communicate()


def _environment(threads: int, place: Path) -> dict[str, str]:
    """Thread settings of every library, and cold caches."""
    count = str(threads)
    names = ("OMP", "OPENBLAS", "MKL", "NUMBA", "VECLIB_MAXIMUM", "BLIS", "NUMEXPR")
    out = {f"{name}_NUM_THREADS": count for name in names} | {"NPROC": count}
    if threads == 1:
        flags = os.environ.get("XLA_FLAGS", "")
        out["XLA_FLAGS"] = f"{flags} --xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1".strip()
    flags = os.environ.get("PYTENSOR_FLAGS", "")
    out["PYTENSOR_FLAGS"] = ",".join(f for f in (flags, f"base_compiledir={place}/pytensor") if f)
    return out | {
        "GRAPHC_CACHE_DIR": f"{place}/graphc",
        "TORCHINDUCTOR_CACHE_DIR": f"{place}/torch",
        "JAX_PLATFORMS": "cpu",
        "PYTHONWARNINGS": "ignore",
    }


@contextlib.contextmanager
def _on_processors(chosen: Sequence[int]) -> Iterator[None]:
    """A process started meanwhile, and every thread of it, is held to ``chosen``; where the system cannot, to none."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, chosen)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
