"""The command: runs the chosen workloads and prints the table as it grows."""

from __future__ import annotations

import shutil
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from graphc.bench import contest, plot, report
from graphc.bench.catalogue import WORKLOADS
from graphc.demo.data import DataError
from graphc.run.progress import Line


def bench(names: Sequence[str], plan: contest.Plan, picture: Path | None = None) -> dict[str, Any]:
    """Runs and prints; draws ``picture``; returns what ``--json`` writes.

    Ctrl-C ends it, with what is done; ``"complete"`` of the result is False then.

    Raises DataError where graphc itself fails or disagrees with NumPy by hand.
    """
    if picture is not None:
        plot.need_matplotlib()
    machine = report.machine()
    print(f"graphc {machine['graphc']}, Python {machine['python']}, {machine['processor']}, {machine['system']}")
    if machine["settings"]:
        print("environment: " + ", ".join(f"{k}={v}" for k, v in machine["settings"].items()))
    print("median time of a call; ratio of graphc to the best peer; limit: what the machine allows, measured here\n")
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else 120
    table = report.Table(names, plan.peers, width)
    print(table.head(), flush=True)
    missing: dict[str, str] = {}
    outcomes: list[contest.Outcome] = []
    all_rows: list[report.Row] = []
    for name in names:
        contestants = len(plan.threads) * (1 + len(plan.peers) + 3 * WORKLOADS[name].limited)
        bar = Line(contestants * (1 + plan.rounds), name)
        try:
            outcome = contest.run(WORKLOADS[name], plan, missing, bar.step)
        except KeyboardInterrupt:  # what was measured so far is kept
            bar.close()
            if not outcomes:
                raise
            print(f"stopped during {name}")
            break
        bar.close()
        if "graphc" in outcome.left_out:
            raise DataError(f"{name}: graphc: {outcome.left_out['graphc']}")
        outcomes.append(outcome)
        for k, row in enumerate(report.rows(outcome)):
            print(table.line(row, repeated=k > 0), flush=True)
            all_rows.append(row)
    print()
    for line in report.summary(all_rows):
        print(textwrap.fill(line, width, subsequent_indent="  "))
    for outcome in outcomes:
        for who, why in outcome.left_out.items():
            if who not in missing and who in plan.peers:
                print(f"left out: {report.FULL[who]} of {outcome.workload.name}: {why}")
    for who, why in missing.items():
        print(f"left out: {report.FULL[who]}: {why}")
    print("\n" + "\n".join(report.starts(all_rows, [p for p in plan.peers if p not in missing], width)))
    if picture is not None:
        plot.draw(all_rows, machine, picture)
    return report.as_json(outcomes, plan) | {"complete": len(outcomes) == len(names)}
