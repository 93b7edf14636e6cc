"""Random programs of loops, branches and derivatives in one another: rewritten and compiled, against the interpreter on
the graph as it was built, and against JAX."""

from __future__ import annotations

import os
import warnings
from typing import Any

import numpy as np
import pytest
from random_loops import INPUTS, MORE, Here, There, compiled, random_loops

import graphc as gx
from graphc.compile import extract
from graphc.ir.verify import verify
from graphc.reference import evaluate
from graphc.rewrite.passes import run

MODES = ("value", "reverse", "second", "forward", "examples", "hessian")
STEPS = (5, 0, 1, 2, 3)  # of the symbolic time
EXAMPLES = 3


class Program:
    """A program of a seed as a graph: what it is given, what is asked of it, and values."""

    def __init__(self, seed: int, mode: str, dtype: str = "float64") -> None:
        self.seed, self.mode = seed, mode
        self.text, self.draws = random_loops(seed)
        g = gx.Graph(f"loops{seed}", float_dtype=dtype)
        self.dtype, self.time = dtype, STEPS[seed % len(STEPS)]
        many = {"x": 0, "rows": 1, "row": None, "y": 0, "m": None} if mode == "examples" else {}
        shapes = {k: with_axis(s, many.get(k)) for k, s in INPUTS.items()}
        self.inputs = [g.input(k, s, dtype) for k, s in shapes.items()]
        f, key = compiled(self.text), g.random_key(seed)
        one = lambda *given: f(Here(), *given, key)  # noqa: E731
        if mode == "examples":

            def both(*given: Any) -> Any:
                y = one(*given)
                return y, gx.grad(y, [given[0], given[3]], on_disconnected="zeros")

            self.axes = [many[k] for k in INPUTS]
            y, slopes = gx.vmap(both, tuple(self.axes))(*self.inputs)
            self.wanted = [y, *slopes]
        else:
            self.wanted = self.asked(one(*self.inputs))
        rng = np.random.default_rng(seed)
        sizes = {"n": self.time, "examples": EXAMPLES}
        self.arrays = [rng.normal(size=[sizes.get(s, s) for s in shapes[k]]).astype(dtype) for k in INPUTS]

    def asked(self, y: gx.Tensor) -> list[gx.Tensor]:
        ins, zeros = self.inputs, {"on_disconnected": "zeros"}
        along = [t * 0.5 + 0.25 for t in ins]
        match self.mode:
            case "value":
                return [y]
            case "reverse":
                return [y, *gx.grad(y, ins, **zeros)]
            case "second":
                slopes = gx.grad(y, ins, **zeros)
                total = sum(gx.sum(s * a) for s, a in zip(slopes, along, strict=True))
                return [y, *gx.grad(total, ins, **zeros)]
            case "forward":
                pushed = gx.jvp(y, ins, along, **zeros)
                return [y, pushed, *gx.jvp(gx.grad(y, ins[:2], **zeros), ins, along, **zeros)]
            case _:
                x, y = ins[0], y + gx.sum(ins[0] ** 3) * 0.1 + gx.sum(ins[1] * ins[0] * ins[2])
                return [y, gx.hessian(y, x), gx.jacobian(gx.grad(y, x), ins[2])]

    @property
    def feeds(self) -> dict[str, np.ndarray]:
        return {t.name: a for t, a in zip(self.inputs, self.arrays, strict=True)}

    def expected(self, arrays: dict[str, np.ndarray] | None = None) -> list[np.ndarray]:
        return quiet(lambda: evaluate(self.wanted, self.feeds if arrays is None else arrays))

    def beside(self) -> list[np.ndarray]:
        """The same of inputs that are moved by one ulp."""
        return self.expected({k: np.nextafter(v, np.inf, dtype=v.dtype) for k, v in self.feeds.items()})


def with_axis(shape: tuple[Any, ...], axis: int | None) -> tuple[Any, ...]:
    return shape if axis is None else (*shape[:axis], "examples", *shape[axis:])


def quiet(f: Any) -> Any:
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return f()


def differ(found: Any, expected: Any, beside: Any, relative: float) -> str:
    """Empty where all agree, relative to how far results move when inputs move by one ulp."""
    for k, (a, b, near) in enumerate(zip(found, expected, beside, strict=True)):
        a, b = np.asarray(a), np.asarray(b)
        if a.shape != b.shape or a.dtype != b.dtype:
            return f"output {k}: {a.dtype}{a.shape} instead of {b.dtype}{b.shape}"
        eps = np.finfo(b.dtype).eps
        moved = np.max(np.abs(near - b), initial=0)
        bound = relative * np.max(np.abs(b), initial=0) + 1e3 * moved + max(1e3 * eps, 1e-3 * relative)  # terms cancel
        wrong = ~((np.abs(a - b) <= bound) | (np.isnan(a) & np.isnan(b)))
        if wrong.any():
            return f"output {k}: {a[wrong][:3]} instead of {b[wrong][:3]}"
    return ""


def relative(dtype: str) -> float:
    return 1e-12 if dtype == "float64" else 1e-5


def check(seed: int, mode: str, how: str, dtype: str = "float64") -> None:
    """The result of a program: rewritten and interpreted, or compiled, for one and for several threads."""
    p = Program(seed, mode, dtype)
    verify(p.inputs[0].graph)
    expected, beside = p.expected(), p.beside()
    if how == "rewritten":
        graph = run(extract(p.inputs[0].graph, p.inputs, p.wanted, "ignore"))
        sizes = {"n": p.time, "examples": EXAMPLES}
        all_found = [quiet(lambda: evaluate(graph, p.feeds, None, sizes))]
    else:
        all_found = [gx.compile(p.inputs, p.wanted, unused="ignore", threads=threads)(*p.arrays) for threads in (1, 2)]
    for found in all_found:
        problem = differ(found, expected, beside, relative(dtype))
        assert not problem, f"seed {seed}, {mode}, {how}: {problem}\n{p.text}"
    for a, b in zip(all_found[0], all_found[-1], strict=True):
        assert np.array_equal(a, b, equal_nan=True), f"seed {seed}, {mode}: bits differ between threads"


def apart(seed: int) -> None:
    """Examples one by one give what `vmap` does, and forward mode what reverse mode does."""
    p = Program(seed, "examples")
    if p.draws:
        return
    single = Program(seed, "reverse")
    rows = []
    for k in range(EXAMPLES):
        arrays = [a if axis is None else a.take(k, axis) for a, axis in zip(p.arrays, p.axes, strict=True)]
        found = single.expected(dict(zip(INPUTS, arrays, strict=True)))
        rows.append([found[0], found[1], found[4]])
    expected = [np.stack(parts) for parts in zip(*rows, strict=True)]
    problem = differ(p.expected(), expected, p.beside(), 1e-11)
    assert not problem, f"seed {seed}, examples one by one: {problem}\n{p.text}"
    along = [a * 0.5 + 0.25 for a in single.arrays]
    slopes = single.expected()[1:]
    pushed = Program(seed, "forward")
    total = sum(np.sum(s * a) for s, a in zip(slopes, along, strict=True))
    problem = differ(pushed.expected()[1:2], [np.asarray(total)], pushed.beside()[1:2], 1e-11)
    assert not problem, f"seed {seed}, forward beside reverse: {problem}\n{p.text}"


def jax_beside(seed: int) -> None:
    """JAX gives the same, with derivatives of second order."""
    p = Program(seed, "second")
    if p.draws:
        return
    there, f = There(), compiled(p.text)
    jax, jnp = there.jax, there.jnp
    theirs = lambda *given: f(there, *given, None)  # noqa: E731

    def turned(*given: Any) -> Any:
        slopes = jax.grad(theirs, tuple(range(5)))(*given)
        return sum(jnp.sum(s * (t * 0.5 + 0.25)) for s, t in zip(slopes, given, strict=True))

    both = jax.jit(lambda *given: [theirs(*given), *jax.grad(turned, tuple(range(5)))(*given)])
    try:
        found = [np.asarray(value) for value in both(*p.arrays)]
    except NotImplementedError:  # it does not go forward through gradients of one's own
        assert "S.own" in p.text
        return
    problem = differ(found, p.expected(), p.beside(), 1e-9)
    assert not problem, f"seed {seed}, JAX: {problem}\n{p.text}"


def mode_of(seed: int) -> str:
    return MODES[seed // len(STEPS) % len(MODES)]


def dtype_of(seed: int) -> str:
    return "float32" if seed % 10 == 9 else "float64"


# A loop keeps products and reads kept ones; the second of two equal inputs is first; a loop keeps products twice
KEEPING, MERGING, AGAIN = 40_005, 40_364, 53_923
UNREAD = 60_230  # examples that have made all their steps read rows that nobody wrote
ALIKE = 80_199  # a loop that all examples share, in one of which they make different numbers of steps


@pytest.mark.parametrize("seed", [*range(0, 60, 6), *range(MORE, MORE + 60, 6), KEEPING, MERGING, AGAIN])
def test_passes_change_no_result(seed: int) -> None:
    check(seed, mode_of(seed), "rewritten")


@pytest.mark.parametrize("seed", [2, 16, MORE, UNREAD])
def test_compiled_programs_agree_with_the_interpreter(seed: int) -> None:
    check(seed, mode_of(seed), "compiled")


@pytest.mark.parametrize("seed", [0, 1, 2, MORE, ALIKE])
def test_examples_and_forward_mode(seed: int) -> None:
    apart(seed)


@pytest.mark.oracle
@pytest.mark.parametrize("seed", [2, 90_084, MORE + 4])  # the second has a checkpoint in examples
def test_beside_jax(seed: int) -> None:
    pytest.importorskip("jax")
    jax_beside(seed)


@pytest.mark.slow
@pytest.mark.parametrize("block", range(10))
def test_more_programs(block: int) -> None:
    """GRAPHC_SEED moves on to others."""
    first = 100_000 * int(os.environ.get("GRAPHC_SEED", "0")) + 100 * block
    for seed in range(first, first + 50):
        check(seed, mode_of(seed), "rewritten")
    for seed in range(first + 50, first + 60):
        check(seed, mode_of(seed), "compiled", dtype_of(seed))
        apart(seed)


@pytest.mark.nightly
@pytest.mark.parametrize("block", range(200))
def test_ten_thousand_programs(block: int) -> None:
    for seed in range(1000 + 50 * block, 1050 + 50 * block):
        check(seed, mode_of(seed), "rewritten")
    for seed in range(1000 + 50 * block, 1005 + 50 * block):
        check(seed, mode_of(seed), "compiled", dtype_of(seed))
        check(MORE + seed, mode_of(seed), "compiled", dtype_of(seed))
        apart(seed)


@pytest.mark.nightly
@pytest.mark.oracle
@pytest.mark.parametrize("block", range(30))
def test_many_beside_jax(block: int) -> None:
    pytest.importorskip("jax")
    for seed in range(10 * block, 10 * block + 10):
        jax_beside(seed)
        jax_beside(MORE + seed)
