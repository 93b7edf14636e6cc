"""Files that were changed and are still legal graphs: what they compute is what the interpreter says, and no call crashes."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

HERE = Path(__file__).parent


def outcomes(exe: Any, other: Any, sizes: dict[str, int]) -> list[Any]:
    """Arrays or the kind of error, by both backends from the same state."""
    import graphc as gx
    from graphc.ir import dims

    shapes = [[max(0, dims.evaluate(s, sizes)) for s in t.shape] for t in exe.inputs.values()]
    if any(np.prod(s) > 1e6 for s in shapes):
        return []
    rng = np.random.default_rng(0)
    arrays = [rng.integers(-1, 3, s).astype(t.dtype) for s, t in zip(shapes, exe.inputs.values(), strict=True)]
    kept = {k: v.copy() for k, v in exe.graph.state.storage.items()}
    found: list[Any] = []
    for each in (exe, other):
        for k, v in kept.items():
            exe.graph.state[k] = v
        try:
            result = each(*arrays)
            found.append(list(result.values()) if isinstance(result, dict) else result)
        except (gx.GraphcError, MemoryError, ValueError) as error:
            found.append(type(error).__name__)
    return found


def run(seed: int, count: int, path: str) -> tuple[int, list[str]]:
    """Calls ``count`` executables of changed files; how many gave arrays, and what differed."""
    from hostile_files import GOLDEN, mutated

    import graphc as gx

    r, bases = random.Random(seed), [p.read_bytes() for p in GOLDEN if p.stem != "names"]
    ran, done, wrong = 0, 0, []
    while done < count:
        Path(path).write_bytes(mutated(r, r.choice(bases)))
        try:
            loaded = gx.load(path)
        except gx.GraphFileError:
            continue
        for name, (program, options) in loaded._programs.items():
            done += 1
            try:
                pair = [gx.Executable(program, **{**options, "backend": b, "cache": False}) for b in ("numba", "numpy")]
            except gx.GraphcError:
                continue
            found = outcomes(*pair, {s: r.choice([0, 1, 2, 3, 5]) for s in program.symbols})
            if len(found) == 2 and not any(isinstance(f, str) for f in found):
                ran += 1
                equal = [np.allclose(a, b, 1e-3, 1e-4, equal_nan=True) for a, b in zip(*map(flat, found), strict=True)]
                if not all(equal):
                    wrong.append(f"{seed} {done} {name}")
            elif len(found) == 2 and found[0] != found[1]:
                wrong.append(f"{seed} {done} {name}: {[f if isinstance(f, str) else 'arrays' for f in found]}")
    return ran, wrong


def flat(result: Any) -> list[Any]:
    return result if isinstance(result, list) else [result]


@pytest.mark.parametrize(
    ("seed", "count"), [(3, 20), *(pytest.param(s, 300, marks=pytest.mark.slow) for s in (3, 4, 5, 6))]
)
def test_legal_mutants_run_like_the_interpreter(seed: int, count: int, tmp_path: Path) -> None:
    command = [sys.executable, __file__, str(seed), str(count), str(tmp_path / "m.gx")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900)  # apart, should one crash
    assert done.returncode == 0, done.stderr[-2000:]
    ran, wrong = json.loads(done.stdout)
    assert ran > count / 4 and not wrong, (ran, wrong)


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    print(json.dumps(run(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3])))
