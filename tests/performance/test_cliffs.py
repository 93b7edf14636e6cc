"""No op, and no gradient of one, is far slower than NumPy at any size: every row of the op-case table, 1 to 10^6 elements.

Values stand beside the same by NumPy and SciPy, gradients beside the interpreter, which calls NumPy for each node; all
on one thread.
"""

from __future__ import annotations

import resource
import sys
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import graphc as gx
from graphc.errors import GraphcError

sys.path.insert(0, str(Path(__file__).parent.parent))

from op_cases import CASES, Case

BOUND = 2.0
CALL = 5e-6  # seconds that a call may take whatever it computes
MEMORY = 6 << 30  # bytes that NumPy's way may take; convolutions of large windows would take all that there is
SIZES = [10**k for k in range(7)]
KNOWN = [1, 10**3, 10**6]  # each is compiled by itself
FORMS = ("tall", "wide", "even")
HELD = {"cross_entropy": 3, "nll": 3, "one_hot": 4, "permute_dims": 0}  # a size that the row of the table gives
# What is slower for a reason that is known: ops, words of the call, how many times
SLOWER: list[tuple[str, str, float]] = [
    ("topk", "float32", 3.0),  # rows of some hundred elements: words of 64 bits, all in order, for numbers of 32
]
Shapes = list[tuple[int, ...]]


def grown(case: Case, elements: int, form: str) -> Shapes:
    """The shapes of a case with about so many elements in the largest operand: more rows, longer rows, or both."""
    if case.name.startswith("conv"):  # more images: windows stay small
        first, *others = case.shapes
        return [(max(1, elements // int(np.prod(first[1:]))), *first[1:]), *others]
    largest = max(case.shapes, key=lambda s: int(np.prod(s)))
    held = HELD.get(case.name, 0)
    free = [s for s in largest if s not in (1, held)]
    if form != "even" and free:
        free = [free[0] if form == "tall" else free[-1]]
    rest = int(np.prod([s for s in largest if s not in free]))
    number = sum(s in free for s in largest)
    scale = max(1.0, elements / rest / float(np.prod([s for s in largest if s in free]))) ** (1 / max(1, number))
    new = {s: max(1, round(s * scale)) for s in free}
    if elements == 1:
        new = {s: 1 for shape in case.shapes for s in shape if s != held}
    new = {s: n - n % 4 if n > 8 else n for s, n in new.items()}
    return [tuple(new.get(s, s) for s in shape) for shape in case.shapes]


def seconds(call: Callable[[], Any], least: float = 3e-4) -> float:
    """Of one call, where many are made until the clock is fine enough."""
    number = 1
    while True:
        started = time.perf_counter()
        for _ in range(number):
            call()
        spent = time.perf_counter() - started
        if spent > least:
            return spent / number
        number *= max(2, min(20, int(least / max(spent, 1e-7)) + 1))


@contextmanager
def limited_memory() -> Iterator[None]:
    """MemoryError for who asks for more than `MEMORY` beside what the process has."""
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    with open("/proc/self/statm") as f:
        pages = int(f.read().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + MEMORY, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def times(left: Callable[[], Any], right: Callable[[], Any], rounds: int) -> tuple[float, float]:
    """Medians of both in interleaved rounds."""
    spent = [(seconds(left), seconds(right)) for _ in range(rounds)]
    one, other = np.median(spent, 0)
    return float(one), float(other)


def allowed(name: str, what: str) -> float:
    """How many times slower a call may be."""
    return max([BOUND, *(times for names, words, times in SLOWER if name in names.split() and words in what)])


def beyond(left: Callable[[], Any], right: Callable[[], Any], bound: float) -> tuple[float, float, float] | None:
    """Both times and their ratio, where that is beyond the bound each time that it is measured."""
    found = None
    for rounds in (3, 7, 15):
        one, other = times(left, right, rounds)
        ratio = (one - CALL) / other
        if ratio <= bound:
            return None
        found = min(found or (one, other, ratio), (one, other, ratio), key=lambda f: f[2])
    return found


def by_hand(case: Case, arrays: list[np.ndarray]) -> Callable[[], Any]:
    """NumPy's way to the same array: a copy where it would give a view of an operand."""
    found = case.oracle(*arrays)
    if any(np.may_share_memory(found, a) for a in arrays):
        return lambda: np.array(case.oracle(*arrays), order="C")
    return lambda: case.oracle(*arrays)


class Both:
    """A case, compiled: its value and its gradient, for sizes that are known or not."""

    def __init__(self, case: Case, dtype: str, shapes: Shapes | None) -> None:
        g = gx.Graph("cliffs", float_dtype=dtype)
        declared = shapes if shapes is not None else [[s if s == 1 else f"s{s}" for s in t] for t in case.shapes]
        inputs = [g.input(f"x{k}", s, dtype) for k, s in enumerate(declared)]
        out = case.build(*inputs)
        self.value = gx.compile(inputs, out, threads=1)
        self.slope = self.interpreted = None
        if case.smooth:
            loss = gx.sum(out * out)
            found = gx.grad(loss, inputs)
            self.slope = gx.compile(inputs, found, threads=1)
            self.interpreted = gx.compile(inputs, found, backend="numpy")


def compiled(case: Case, dtype: str, shapes: Shapes | None) -> Both | None:
    """None where a case does not go with these sizes, or needs to know them."""
    try:
        return Both(case, dtype, shapes)
    except (GraphcError, ValueError):
        return None


def result_size(case: Case, dtype: str, shapes: Iterable[tuple[int, ...]]) -> int:
    """The elements of what a case gives, which may be many more than its operands have."""
    g = gx.Graph("size", float_dtype=dtype)
    return int(np.prod(case.build(*(g.input(f"x{k}", s, dtype) for k, s in enumerate(shapes))).shape))


def calls(case: Case, dtype: str) -> Iterator[tuple[str, Callable[[], Any], Callable[[], Any]]]:
    """Calls of a case and its gradient, each with what it stands beside, at every size."""
    rng = np.random.default_rng(0)
    symbolic = compiled(case, dtype, None)
    for known in (False, True):
        every = [grown(case, elements, form) for elements in (KNOWN if known else SIZES) for form in FORMS]
        for shapes in dict.fromkeys(map(tuple, every)):
            try:
                if result_size(case, dtype, shapes) > 4 * max(SIZES):
                    continue
                arrays = [rng.uniform(*d, s).astype(dtype) for d, s in zip(case.domains, shapes, strict=True)]
                wanted = by_hand(case, arrays)
                both = compiled(case, dtype, list(shapes)) if known else symbolic
                if both is None:
                    continue
                both.value(*arrays)
                if both.interpreted is not None:
                    both.interpreted(*arrays)
            except (GraphcError, ValueError, IndexError, MemoryError):
                continue  # does not go with these sizes, or is too large for NumPy's way
            what = f"{case.name} {dtype} {'static' if known else 'symbolic'} {list(shapes)}"
            yield what, partial(both.value, *arrays), wanted
            if both.slope is not None and both.interpreted is not None:
                yield f"gradient of {what}", partial(both.slope, *arrays), partial(both.interpreted, *arrays)


def cliffs(case: Case, dtype: str) -> Iterator[tuple[str, float, float, float]]:
    """Calls beyond the bound, with both times and their ratio."""
    for what, ours, other in calls(case, dtype):
        if (found := beyond(ours, other, allowed(case.name, what))) is not None:
            yield (what, *found)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)
def test_nothing_is_far_slower_than_numpy(case: Case, dtype: str) -> None:
    limits = pytest.importorskip("threadpoolctl").threadpool_limits
    with limits(1), np.errstate(all="ignore"), warnings.catch_warnings(), limited_memory():
        warnings.simplefilter("ignore")
        found = [f"{what}: {one * 1e6:.1f} us, NumPy {other * 1e6:.1f}" for what, one, other, _ in cliffs(case, dtype)]
    assert not found, "\n".join(found)
