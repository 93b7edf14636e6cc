"""What the machine allows, measured in the same run: three contestants that each do one unavoidable part of the work.

With the same BLAS and the same functions, no implementation of a workload takes less than the longest of them: its
matrix products alone, reading its arrays and writing its results once, or its elementary functions alone in cache. (The
roofline of Williams, Waterman and Patterson 2009, with a third roof.)
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import numba
import numpy as np

import graphc as gx
from graphc.bench.workload import Entry, Problem, Setup, Workload
from graphc.ir.state import Array

LIMITS = ("products", "traffic", "functions")
BLOCK = 8192  # elements; they and their results stay in the inner caches


def build(limit: str, workload: Workload, problem: Problem, setup: Setup) -> Entry | None:
    """The contestant for one of `LIMITS`; None where the workload has no such part."""
    call: Callable[[], Any] | None
    if limit == "traffic":
        call = _traffic(problem, setup.threads)
    elif limit == "products":
        call = _products(workload, problem.dtype)
    else:
        call = _functions(workload, problem.dtype, setup.threads)
    return None if call is None else Entry(call, lambda _: [])


def _products(workload: Workload, dtype: np.dtype[Any]) -> Callable[[], Any] | None:
    """The matrix products at their shapes by NumPy's BLAS, which has its threads from the environment."""
    rng = np.random.default_rng(0)
    arrays = {}
    for count, rows, columns, length in set(workload.products):
        shapes = ((count, rows, length), (count, length, columns), (count, rows, columns))
        made = [rng.normal(size=s if count > 1 else s[1:]).astype(dtype) for s in shapes]
        arrays[count, rows, columns, length] = made
    tasks = [arrays[p] for p in workload.products]

    def run() -> None:
        for a, b, c in tasks:
            np.matmul(a, b, out=c)

    return run if tasks else None


@numba.njit(nogil=True, fastmath=True)
def _read(a: Any) -> Any:
    total = a.dtype.type(0)
    for k in range(a.shape[0]):
        total += a[k]
    return total


@numba.njit(nogil=True)
def _write(a: Any) -> None:
    for k in range(a.shape[0]):
        a[k] = 1


def _traffic(problem: Problem, threads: int) -> Callable[[], Any]:
    """Every array is read once, and everything as large as a gradient is written once."""

    def parts(arrays: list[Array]) -> list[list[Array]]:
        return [list(p) for p in zip(*(np.array_split(a.reshape(-1), threads) for a in arrays), strict=True)]

    reads, writes = parts(problem.arrays), parts([np.empty_like(a) for a in problem.wrt.values()])

    def share(k: int) -> None:
        for a in reads[k]:
            _read(a)
        for a in writes[k]:
            _write(a)

    if threads == 1:
        return lambda: share(0)
    pool = ThreadPoolExecutor(threads - 1)

    def run() -> None:
        others = [pool.submit(share, k) for k in range(1, threads)]
        share(0)
        for other in others:
            other.result()

    return run


def _functions(workload: Workload, dtype: np.dtype[Any], threads: int) -> Callable[[], Any] | None:
    """One thread's share of the function values, block by block in cache, by NumPy or graphc, whichever is faster."""
    x = np.random.default_rng(0).uniform(0.1, 2.0, BLOCK).astype(dtype)
    y = np.empty_like(x)
    tasks = []
    for name, count in workload.functions.items():
        g = gx.Graph(name, float_dtype=dtype.name)
        a = g.input("x", shape=(BLOCK,), dtype=dtype.name)
        exe = gx.compile([a], getattr(gx, name)(a), threads=1)
        ways = [partial(f, x, out=y) for f in (exe, getattr(np, name, None)) if f is not None]
        blocks = math.ceil(count / BLOCK / threads)
        tasks.append((min(ways, key=_seconds), blocks))

    def run() -> None:
        for call, blocks in tasks:
            for _ in range(blocks):
                call()

    return run if tasks else None


def _seconds(call: Callable[[], Any]) -> float:
    """The least time of some calls."""
    best = math.inf
    for _ in range(20):
        started = time.perf_counter()
        call()
        best = min(best, time.perf_counter() - started)
    return best
