"""The entry of a call: what it takes as it is, what it leaves to the slow way, and that it keeps count."""

from __future__ import annotations

import gc
import pickle
import sys
import threading
import tracemalloc
from typing import Any

import numpy as np
import pytest

import graphc as gx
from graphc.codegen import words
from graphc.codegen.entry import enter


@pytest.fixture(autouse=True)
def the_entry_is_made() -> None:
    words.address_of(enter)


def model(structure: str = "dict", **options: Any) -> gx.Executable:
    g = gx.Graph("model", float_dtype="float64")
    x, k = g.input("x", ("n", 3), "float64"), g.input("k", ("n",), "int64")
    picked = gx.take(gx.sum(x * x, axis=0), k)
    outputs: Any = {"sum": gx.sum(x), "picked": picked}
    outputs = {"dict": outputs, "list": list(outputs.values()), "one": picked}[structure]
    return gx.compile([x, k], outputs, **options)


def arrays(n: int = 4) -> tuple[np.ndarray, np.ndarray]:
    return np.arange(3.0 * n).reshape(n, 3), np.arange(n) % 3


def slow_calls(exe: gx.Executable, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows by one with each call that the entry does not take."""
    seen: list[int] = []
    whole = exe._call
    monkeypatch.setattr(exe, "_call", lambda *a: seen.append(1) or whole(*a))
    return seen


@pytest.mark.parametrize("structure", ["dict", "list", "one"])
def test_results_come_fresh_in_their_structure(structure: str, monkeypatch: pytest.MonkeyPatch) -> None:
    exe, (x, k) = model(structure), arrays()
    slow = slow_calls(exe, monkeypatch)
    first, second = exe(x, k), exe(x, k)
    assert len(slow) == 1
    assert type(first) is type(second) is {"dict": dict, "list": list, "one": np.ndarray}[structure]
    for a, b in zip(exe._structure.unpack(first), exe._structure.unpack(second), strict=True):
        np.testing.assert_array_equal(a, b)
        assert type(a) is type(b) and (not isinstance(a, np.ndarray) or not np.shares_memory(a, b))
    if structure == "dict":
        assert list(second) == ["sum", "picked"] and type(second["sum"]) is np.float64


@pytest.mark.parametrize("structure", ["dict", "list", "one"])
def test_the_first_call_of_a_process_does_without(structure: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(words, "_held", {})
    exe, (x, k) = model(structure), arrays()
    first = exe(x, k)
    assert enter not in words._held, "one call is answered before the entry is compiled"
    second = exe(x, k)
    assert enter in words._held
    for a, b in zip(exe._structure.unpack(first), exe._structure.unpack(second), strict=True):
        np.testing.assert_array_equal(a, b)
        assert type(a) is type(b)


def test_such_a_call_does_all_that_others_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(words, "_held", {})
    x, k = arrays()
    with pytest.raises(gx.InputIndexError, match=r"7 at row 2 is not in \[-3, 3\)"):
        model()(x, np.array([0, 1, 7, 2]))
    into = {"sum": np.empty(()), "picked": np.empty(4)}
    assert model()(x, k, out=into) is into and into["sum"] == x.sum()
    g = gx.Graph("counter", float_dtype="float64")
    count = g.variable("count", np.zeros(3))
    step = g.input("step", (3,), "float64")
    gx.compile([step], count, updates={count: count + step})(np.ones(3))
    np.testing.assert_array_equal(g.state["count"], np.ones(3))
    assert enter not in words._held


def test_what_the_entry_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    exe, (x, k) = model(), arrays()
    right = exe(x, k)["picked"]
    slow = slow_calls(exe, monkeypatch)
    x.flags.writeable = False
    np.testing.assert_array_equal(exe(x, k)["picked"], right)
    assert not slow, "an input that cannot be written is read as it is"
    same = [
        (x, k.astype(np.int32)),
        (x.tolist(), k.tolist()),
        (np.asfortranarray(x), k),
        (np.repeat(x, 2, 0)[::2], k),
        (x, k.view(np.longlong)),
        (pickle.loads(pickle.dumps(x)), k.astype(">i8")),
        (x.view(np.matrix), k),
        (np.frombuffer(b"." + x.tobytes(), np.uint8)[1:].view(np.float64).reshape(4, 3), k),
    ]
    for a, b in same:
        np.testing.assert_array_equal(exe(a, b)["picked"], right)
        np.testing.assert_array_equal(exe(k=b, x=a)["picked"], right)
    assert len(slow) >= len(same)


def test_shapes_take_turns() -> None:
    exe = model()
    for n in [4, 9, 1, 4, 0, 9, 200, 4, 9] * 3:
        x, k = arrays(n)
        np.testing.assert_array_equal(exe(x, k)["picked"], (x * x).sum(0)[k])
    assert len(exe._desks) == 1


def test_out_by_the_entry(monkeypatch: pytest.MonkeyPatch) -> None:
    exe, (x, k) = model(), arrays()
    right = exe(x, k)
    slow = slow_calls(exe, monkeypatch)
    out = {"sum": np.empty(()), "picked": np.empty(4)}
    for _ in range(3):
        assert exe(x, k, out=out) is out
    np.testing.assert_array_equal(out["picked"], right["picked"])
    assert out["sum"] == right["sum"] and not slow
    whole = np.empty(8)
    exe(x, k, out={"sum": whole[:1].reshape(()), "picked": whole[1:5]})
    assert not slow, "neighbours do not overlap"
    for bad in (x.reshape(-1)[:4], x.reshape(-1)[8:], out["sum"].reshape(1)[[0, 0, 0, 0]].view(np.int64)):
        with pytest.raises(gx.InputError):
            exe(x, k, out={"sum": out["sum"], "picked": bad})
    with pytest.raises(gx.InputError, match="overlaps"):
        exe(x, k, out={"sum": whole[2:3].reshape(()), "picked": whole[1:5]})
    with pytest.raises(gx.InputError, match="read-only"):
        out["picked"].flags.writeable = False
        exe(x, k, out=out)
    assert exe(x, k, out={"sum": np.empty(()), "picked": np.empty(4).view(np.dtype("d"))})


def test_empty_results_overlap_nothing() -> None:
    exe, (x, k) = model(), arrays(0)
    whole = np.zeros(3)
    for _ in range(2):
        exe(x, k, out={"sum": whole[1:2].reshape(()), "picked": whole[1:1]})
    assert whole[1] == 0.0


def test_arguments_that_are_no_arrays_of_words() -> None:
    exe, (x, k) = model(), arrays()
    exe(x, k)
    for bad in [(), (x,), (x, k, x), (x, k, np.empty(()), np.empty(4)), (None, k), (x, "k"), (x[:3], k), (object(), k)]:
        with pytest.raises(gx.InputError):
            exe(*bad)
    np.testing.assert_array_equal(exe(x, k)["picked"], (x * x).sum(0)[k])


def test_a_failing_call_says_where_from_the_entry_too() -> None:
    exe, (x, k) = model(), arrays()
    exe(x, k)
    for _ in range(3):
        with pytest.raises(gx.InputIndexError, match="7 at row 2"):
            exe(x, np.array([0, 1, 7, 2]))
    assert not any(desk.taken for desk in exe._desks)


def test_nothing_leaks() -> None:
    exe, (x, k) = model(), arrays(1000)
    out = {"sum": np.empty(()), "picked": np.empty(1000)}
    bad = np.full(1000, 5)

    def some(times: int) -> None:
        for _ in range(times):
            exe(x, k)
            exe(x, k, out=out)
            exe(x[:500], k[:500])
            for wrong in ((x, bad), (x,)):
                with pytest.raises(gx.InputError):
                    exe(*wrong)

    some(20)
    gc.collect()
    held = [sys.getrefcount(o) for o in (x, k, NotImplemented, np.dtype("float64"), "picked")]
    tracemalloc.start()
    some(5)
    before = tracemalloc.get_traced_memory()[0]
    some(200)
    gc.collect()
    grown = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert grown < 200 * 100, f"{grown} bytes"  # of 200 rounds with results of 8,000 each; caches grow a little
    after = [sys.getrefcount(o) for o in (x, k, NotImplemented, np.dtype("float64"), "picked")]
    assert all(abs(a - b) < 100 for a, b in zip(held, after, strict=True)), (held, after)


@pytest.mark.parametrize("updates", [False, True])
def test_many_threads_at_one_executable(updates: bool) -> None:
    g = gx.Graph("threads", float_dtype="float64")
    x = g.input("x", ("n",), "float64")
    count = g.variable("count", np.zeros(()))
    y = gx.sum(gx.sin(x)) * 2 + x
    exe = gx.compile([x], y, updates={count: count + 1} if updates else None)
    failures: list[Any] = []

    def work(n: int) -> None:
        a = np.linspace(0, 1, n)
        right = exe(a)
        for _ in range(300):
            if not np.array_equal(exe(a), right):
                failures.append(n)

    threads = [threading.Thread(target=work, args=(2000 + 10 * (k // 2),)) for k in range(6)]
    [t.start() for t in threads]
    [t.join() for t in threads]
    assert not failures and len(exe._desks) <= 7
    assert g.state["count"] == (6 * 301 if updates else 0)
