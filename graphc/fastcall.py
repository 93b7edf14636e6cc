"""The usual call of an executable, as a function of its own: nothing in it is looked up, looped over or converted.

It takes arrays of the declared dtypes, C-ordered, aligned and writeable, in shapes that have been seen before. Anything
else makes it raise TypeError, KeyError or AttributeError before the kernel runs, and `Executable.__call__` starts anew
on the road that converts, checks and complains.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from graphc.crew import gather

if TYPE_CHECKING:
    from graphc.executable import Executable


def fast_call(exe: Executable, enter: Any) -> Callable[..., Any]:
    """The function. ``enter`` is Numba's dispatcher, which compares dtypes and layouts with those of its signature."""
    inputs = [f"a{k}" for k in range(len(exe._arguments))]
    outputs = [f"o{k}" for k in range(len(exe._results))]
    scope: dict[str, Any] = {
        "plans": exe._plans, "pool": exe._pool, "fresh": exe.workspace, "enter": enter, "lock": exe._lock,
        "state": exe._state_address, "failed": exe.failed, "empty": np.empty, "pack": exe._structure.pack,
        "gather": gather,
    }  # fmt: skip
    scope |= {f"d{k}": dtype for k, dtype in enumerate(exe._dtypes)}
    key = "".join(f"{name}.shape, " for name in inputs)
    lines = [f"def call({', '.join(inputs)}):", f"    plan = plans[({key})]"]
    if outputs:
        lines.append(f"    {''.join(f's{k}, ' for k in range(len(outputs)))}= plan.shapes")
    lines += [f"    {name} = empty(s{k}, d{k})" for k, name in enumerate(outputs)]
    lines += [
        "    try:",
        "        work = pool.pop()",
        "        if work[0] < plan.work_bytes:",
        "            raise IndexError",
        "    except IndexError:",
        "        work = fresh(plan)",
        "    if plan.threads > 1:",
        "        gather(plan.threads)",
    ]
    arguments = ["plan.kernel", *inputs, *outputs, "plan.dims_address", "state", "work[1]"]
    run = f"status = enter({', '.join(arguments)})"
    lines += [f"    {run}"] if exe.stateless else ["    with lock:", f"        {run}"]
    lines += ["    pool.append(work)", "    if status:", "        failed(status, work, plan)"]
    values = [f"{name}[()]" if scalar else name for name, scalar in zip(outputs, exe._scalar, strict=True)]
    listed = ", ".join(values)
    made = {"one": listed, "none": "None", "list": f"[{listed}]", "dict": f"pack([{listed}])"}
    lines.append(f"    return {made[exe._structure.kind]}")
    exec(compile("\n".join(lines), "<graphc call>", "exec"), scope)
    function: Callable[..., Any] = scope["call"]
    return function
