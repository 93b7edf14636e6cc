"""A kernel as a JSON record, so that a later process finds its source without running the compiler's passes.

Names are left out: state, tests and constants are told by their place in the program, so graphs that differ in names
only share a record, as they share the kernel. The fields are right only together, and a kernel with too little memory
or state would end the process: a record has the sum of its fields and its key.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from graphc.codegen.kernel import Kernel
from graphc.config import settings
from graphc.ir.body import within
from graphc.ir.graph import Graph
from graphc.ir.sizes import parse
from graphc.ir.text import canonical_text

LARGEST = 1 << 20  # bytes of constant arrays in a record


def program_key(source: Graph, inputs: Sequence[str], n_outputs: int, updates: Sequence[str]) -> str:
    """What decides a program's kernel: the graph before rewriting, the roles of its leaves and outputs, GRAPHC_BLAS."""
    roles = [source[name].id for name in inputs], n_outputs, [_place(source, updates, name) for name in updates]
    return f"{canonical_text(source)}\n{roles}\n{settings().blas}"


def to_record(kernel: Kernel, source: Graph, updates: Sequence[str], key: str) -> dict[str, Any] | None:
    """The record of ``kernel``; None where its constants are large or a test is not a node of ``source``."""
    known: dict[Any, int] = {}
    for k, node in reversed(list(enumerate(within(source)))):
        known[node.op.name, str(node.origin)] = known[node.name, str(node.origin), ""] = k
    failing = [  # in bodies, passes may have named a node anew
        known.get((n.name, str(n.origin), ""), known.get((n.op.name, str(n.origin)))) for n in kernel.failures
    ]
    if sum(c.nbytes for c in kernel.constants) > LARGEST or None in failing:
        return None
    fields = {
        "source": kernel.source,
        "parts": list(kernel.parts),
        "symbols": list(kernel.symbols),
        "state": [_place(source, updates, name) for name in kernel.state_names],
        "constants": [[c.dtype.name, list(c.shape), c.tobytes().hex()] for c in kernel.constants],
        "work_bytes": str(kernel.work_bytes),
        "scratch_bytes": kernel.scratch_bytes,
        "cost": str(kernel.cost),
        "alone": str(kernel.alone),
        "failures": failing,
    }
    return {**fields, "sum": _sum(key, fields)}


def from_record(record: Any, source: Graph, updates: Sequence[str], key: str) -> Kernel:
    """The kernel of a record, with the names of this program. ValueError for what `to_record` did not make for it."""
    if not isinstance(record, dict) or record.get("sum") != _sum(key, record):
        raise ValueError("its fields do not belong together")
    everything = list(within(source))
    names = {tuple(_place(source, updates, n.name)): n.name for n in source.nodes}
    names |= {("update", k): name for k, name in enumerate(updates)}
    return Kernel(
        source=record["source"],
        parts=tuple(record["parts"]),
        symbols=tuple(record["symbols"]),
        state_names=tuple(names[tuple(place)] for place in record["state"]),
        constants=tuple(
            np.frombuffer(bytes.fromhex(data), dtype).reshape(shape) for dtype, shape, data in record["constants"]
        ),
        work_bytes=parse(record["work_bytes"]),
        scratch_bytes=record["scratch_bytes"],
        cost=parse(record["cost"]),
        alone=parse(record["alone"]),
        failures=tuple(everything[i] for i in record["failures"]),
        text=None,
        schedule=None,
    )


def _sum(key: str, record: Mapping[str, Any]) -> str:
    fields = {name: value for name, value in record.items() if name != "sum"}
    return hashlib.sha256(json.dumps([key, fields], sort_keys=True).encode()).hexdigest()


def _place(source: Graph, updates: Sequence[str], name: str) -> list[Any]:
    """Where a state stands: a node of the program, or the one that an update writes without reading it."""
    return ["node", source[name].id] if name in source else ["update", list(updates).index(name)]
