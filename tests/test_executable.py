"""Executables: calls, state, ``out=``, threads, machine code, and what they refuse."""

from __future__ import annotations

import gc
import linecache
import os
import re
import subprocess
import sys
import threading
import tracemalloc
import weakref
from pathlib import Path

import numba
import numpy as np
import pytest

import graphc as gx


def network(dtype: str = "float32", seed: int = 0) -> tuple[gx.Graph, gx.Tensor, gx.Tensor, gx.Tensor, gx.Tensor]:
    rng = np.random.default_rng(seed)
    g = gx.Graph("net", float_dtype=dtype)
    x, y = g.input("x", ("batch", 20), dtype), g.input("y", ("batch",), "int64")
    w1, b1 = g.parameter("W1", rng.normal(size=(20, 32)).astype(dtype) * 0.2), g.parameter("b1", np.zeros(32, dtype))
    w2, b2 = g.parameter("W2", rng.normal(size=(32, 5)).astype(dtype) * 0.2), g.parameter("b2", np.zeros(5, dtype))
    logits = (gx.tanh(x @ w1 + b1) @ w2 + b2).named("logits")
    losses = gx.cross_entropy(logits, y)
    return g, x, y, logits, losses


def data(rows: int, dtype: str = "float32") -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(1)
    return rng.normal(size=(rows, 20)).astype(dtype), rng.integers(0, 5, rows)


def test_structures_names_and_batches_of_any_size() -> None:
    g, x, y, logits, losses = network()
    exe = gx.compile([x, y], {"logits": logits, "loss": gx.mean(losses)})
    for rows in (0, 1, 7, 64):
        a, b = data(rows)
        found = exe(x=a, y=b)
        assert list(found) == ["logits", "loss"] and found["logits"].shape == (rows, 5)
        expected = gx.compile([x, y], {"logits": logits, "loss": gx.mean(losses)}, backend="numpy")(a, b)
        np.testing.assert_allclose(found["logits"], expected["logits"], rtol=2e-5, atol=1e-6)
    assert isinstance(found["loss"], np.float32)
    assert isinstance(gx.compile([x], [logits])(a), list)
    assert exe.graph is g and list(exe.inputs) == ["x", "y"] and "batch" in repr(exe)


def test_inputs_are_converted_where_that_is_safe() -> None:
    g = gx.Graph("convert")
    x, i = g.input("x", ("n",)), g.input("i", ("n",), "int32")
    exe = gx.compile([x, i], x + i)
    want = np.array([2.0, 4.0], np.float32)
    frozen = np.array([1.0, 2.0], np.float32)
    frozen.setflags(write=False)
    for a in (
        [1, 2],
        np.array([1.0, 2.0]),
        frozen,
        np.array([1, 9, 2, 9.0], np.float32)[::2],
        np.array([1.0, 2.0], ">f4"),
    ):
        for b in ([1, 2], np.array([1, 2], np.uint8), np.array([1, 2], np.int64)):
            np.testing.assert_array_equal(exe(a, b), want)
    for bad in (np.array([1.5, 2.0]), np.array([2**40, 1])):
        with pytest.raises(gx.InputDTypeError, match="'i'"):
            exe(frozen, bad)
    assert not frozen.flags.writeable


def test_outputs_never_alias() -> None:
    g = gx.Graph("alias")
    x, w = g.input("x", ("n",)), g.parameter("w", np.ones(3, np.float32))
    exe = gx.compile([x], [x, x[::-1], w, x, gx.reshape(x, (1, -1))])
    a = np.arange(3, dtype=np.float32)
    found = exe(a)
    for k, out in enumerate(found):
        assert not np.shares_memory(out, a) and not np.shares_memory(out, g.state.storage["w"])
        assert not any(np.shares_memory(out, other) for other in found[:k])
    assert found[1].tolist() == [2, 1, 0] and found[4].shape == (1, 3)


def test_out_is_written_and_checked() -> None:
    g, x, _, logits, _ = network()
    exe = gx.compile([x], {"logits": logits, "top": gx.max(logits)})
    a, _ = data(6)
    out = {"logits": np.empty((6, 5), np.float32), "top": np.empty((), np.float32)}
    assert exe(a, out=out) is out
    np.testing.assert_array_equal(out["logits"], exe(a)["logits"])
    read_only = np.empty((6, 5), np.float32)
    read_only.setflags(write=False)
    shared = np.empty(600, np.float32)
    bad = [
        (read_only, gx.InputError),
        (np.empty((6, 5)), gx.InputDTypeError),
        (np.empty((5, 5), np.float32), gx.InputShapeError),
        (np.empty((6, 10), np.float32)[:, ::2], gx.InputError),
        ([1.0], gx.InputDTypeError),
    ]
    for array, error in bad:
        with pytest.raises(error, match="logits"):
            exe(a, out={"logits": array, "top": np.empty((), np.float32)})
    inside = shared[:120].reshape(6, 20)
    with pytest.raises(gx.InputError, match="overlaps"):
        exe(inside, out={"logits": shared[60:90].reshape(6, 5), "top": np.empty((), np.float32)})
    with pytest.raises(gx.InputError, match="structure"):
        exe(a, out=[out["logits"], out["top"]])


def test_updates_read_old_values_and_share_state() -> None:
    g = gx.Graph("swap", float_dtype="float64")
    a, b = g.variable("a", np.array([1.0, 2.0])), g.variable("b", np.array([3.0, 4.0]))
    x = g.input("x", (2,), "float64")
    swap = gx.compile([x], a, updates={a: b + x, b: a * 1.0})
    show = gx.compile([], [a, b])
    assert swap([10.0, 10.0]).tolist() == [1, 2]
    assert [v.tolist() for v in show()] == [[13, 14], [1, 2]]
    assert g.state["a"].tolist() == [13, 14]
    g.state["a"] = np.zeros(2)
    assert show()[0].tolist() == [0, 0]
    with pytest.raises(gx.InputShapeError):
        g.state["a"] = np.zeros(3)
    with pytest.raises(gx.InputDTypeError):
        g.state["a"] = np.zeros(2, np.complex64)


def test_parameters_can_be_arguments() -> None:
    g = gx.Graph("args", float_dtype="float64")
    w, x = g.parameter("w", np.array([2.0])), g.input("x", (1,), "float64")
    h = w * x
    y = gx.exp(h)
    assert gx.compile([x, w], h)([3.0], [5.0]).tolist() == [15.0]
    assert gx.compile([h], y)([0.0]).tolist() == [1.0]
    assert g.state["w"].tolist() == [2.0]


def test_an_executable_is_a_snapshot() -> None:
    g = gx.Graph("snap")
    x = g.input("x", ("n",))
    exe = gx.compile([x], x * 2.0)
    before = exe.source
    gx.exp(x)
    assert exe.source == before


def test_labels_out_of_range_are_found_before_anything_is_stored() -> None:
    g, x, y, _, losses = network()
    train = gx.compile([x, y], gx.mean(losses), updates=gx.optim.SGD(lr=0.1).updates(gx.mean(losses)))
    a, b = data(8)
    before = dict(g.state)
    b[5] = 7
    with pytest.raises(gx.InputIndexError, match=r"label 7 at row 5 is not in \[0, 5\)") as caught:
        train(a, b)
    assert "test_executable.py" in str(caught.value) and isinstance(caught.value, IndexError)
    for name, value in before.items():
        np.testing.assert_array_equal(g.state[name], value)
    b[5] = 1
    assert np.isfinite(train(a, b))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_run_batches_is_the_loop_over_calls(dtype: str) -> None:
    rows, size = 70, 16
    a, b = data(rows, dtype)
    order = np.random.default_rng(3).permutation(rows)
    results = []
    for whole in (True, False):
        g, x, y, logits, losses = network(dtype)
        loss = gx.mean(losses)
        train = gx.compile([x, y], {"loss": loss, "logits": logits}, updates=gx.optim.Momentum(lr=0.1).updates(loss))
        if whole:
            found = train.run_batches([a, b], size, shuffle=True, seed=3)
        else:
            found = {"loss": [], "logits": np.empty((rows, 5), dtype)}
            for low in range(0, rows, size):
                at = order[low : low + size]
                step = train(a[at], b[at])
                found["loss"].append(step["loss"])
                found["logits"][at] = step["logits"]
        results.append((found, dict(g.state)))
    np.testing.assert_array_equal(results[0][0]["loss"], results[1][0]["loss"])
    np.testing.assert_array_equal(results[0][0]["logits"], results[1][0]["logits"])
    for name in results[0][1]:
        np.testing.assert_array_equal(results[0][1][name], results[1][1][name])


@pytest.mark.parametrize("dtype", ["float32", "uint8"])
def test_rows_of_a_batch_are_collected_by_several_threads(dtype: str) -> None:
    g = gx.Graph("wide")
    x, y = g.input("x", ("n", 4000), dtype), g.input("y", ("n",), "int64")
    exe = gx.compile([x, y], {"sum": gx.sum(gx.tanh(gx.astype(x, "float32") / 7), 1), "y": y + 1}, threads=4)
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 9, (1000, 4000)).astype(dtype), rng.integers(0, 9, 1000)
    found = exe.run_batches([a, b], 300, shuffle=True, seed=1)
    np.testing.assert_allclose(found["sum"], np.tanh(a / np.float32(7)).sum(1), 1e-4)
    np.testing.assert_array_equal(found["y"], b + 1)


def test_passes_of_run_batches_share_what_they_keep() -> None:
    """Layouts and the workspace stay between passes: other sizes, a pass that failed, several threads."""
    g = gx.Graph("kept")
    x, i = g.input("x", ("n", 3)), g.input("i", ("n",), "int64")
    total = gx.sum(x, axis=0)
    exe = gx.compile([x, i], {"y": gx.tanh(x) - total, "taken": gx.take(gx.exp(total), i)})

    def passes(seed: int) -> None:
        rng = np.random.default_rng(seed)
        for _ in range(25):
            size, drop = int(rng.integers(1, 9)) * 1000, bool(rng.integers(2))
            rows = int(rng.integers(1, 30_000))
            shuffle = bool(rng.integers(2))
            a, b = rng.normal(size=(rows, 3)).astype(np.float32), rng.integers(0, 3, rows)
            if rng.integers(4) == 0:
                b[-1] = 9
            order = np.random.default_rng(seed).permutation(rows) if shuffle else np.arange(rows)
            order = order[: rows - rows % size] if drop else order
            if (b[order] == 9).any():
                with pytest.raises(gx.InputIndexError, match=f"batch {list(b[order]).index(9) // size}:"):
                    exe.run_batches([a, b], size, shuffle=shuffle, seed=seed, drop_last=drop)
                continue
            found = exe.run_batches([a, b], size, shuffle=shuffle, seed=seed, drop_last=drop)
            want = {name: np.empty(array.shape, array.dtype) for name, array in found.items()}
            place = np.argsort(np.argsort(order))
            for low in range(0, len(order), size):
                at = order[low : low + size]
                for name, value in exe(a[at], b[at]).items():
                    want[name][place[low : low + size]] = value
            for name in want:
                np.testing.assert_array_equal(found[name], want[name])

    workers = [threading.Thread(target=passes, args=(k,)) for k in range(1, 4)]
    failed: list[object] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(threading, "excepthook", failed.append)
        for worker in workers:
            worker.start()
        passes(0)
        for worker in workers:
            worker.join()
    assert not failed


def test_a_second_pass_plans_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Plans, and keys of the cache, cost more than a small batch."""
    g, x, y, _, losses = network()
    exe = gx.compile([x, y], losses)
    a, b = data(50)
    first = exe.run_batches([a, b], 16)
    monkeypatch.setattr(gx.Executable, "plan_for", None)
    monkeypatch.setattr("graphc.codegen.jit.key_of", None)
    np.testing.assert_array_equal(exe.run_batches([a, b], 16), first)


def test_run_batches_converts_drops_and_refuses() -> None:
    g = gx.Graph("batches")
    x, s = g.input("x", ("n", 2)), g.input("s", (2,))
    exe = gx.compile([x, s], {"y": x * s, "sum": gx.sum(x)})
    a = np.arange(14, dtype=np.uint8).reshape(7, 2)
    for shuffle, seed in ((False, None), (True, 5)):
        found = exe.run_batches({"s": [1.0, 2.0], "x": a}, 3, shuffle=shuffle, seed=seed)
        np.testing.assert_array_equal(found["y"], a * np.array([1, 2]))
        assert found["sum"].shape == (3,) and found["sum"].sum() == a.sum()
    assert exe.run_batches([a, [1, 1]], 3, drop_last=True)["y"].shape == (6, 2)
    assert exe.run_batches([a[:0], [1, 1]], 3)["y"].shape == (0, 2)
    for bad, options in (
        ([a, [1, 1]], {"shuffle": True}),
        ([a, [1, 1]], {"batch_size": 0}),
        ([a], {}),
        ("ab", {}),
        ([a, a], {}),
    ):
        with pytest.raises(gx.InputError):
            exe.run_batches(bad, **{"batch_size": 3, **options})


def test_njit_and_the_c_form_give_the_same_bits() -> None:
    g, x, y, logits, losses = network("float64")
    exe = gx.compile([x, y], [gx.mean(losses), logits])
    one = gx.compile([x], gx.max(logits))
    a, b = data(9, "float64")
    expected = exe(a, b)
    f, top = exe.njit, one.njit

    @numba.njit
    def user(a, b):  # type: ignore[no-untyped-def]
        loss, out = f(a, b)
        return loss, out, top(a)

    loss, out, best = user(a, b)
    assert loss == expected[0] and best == one(a)
    np.testing.assert_array_equal(out, expected[1])
    with pytest.raises(ValueError):
        user(a[:4], b)
    results = [np.empty(()), np.empty((9, 5))]
    tables = [np.array([t.ctypes.data for t in ts]) for ts in ([a, b], results)]
    dims, work = np.array([9]), np.empty(exe.memory(batch=9) + 64, np.uint8)
    aligned = work.ctypes.data + -work.ctypes.data % 64
    assert exe.cfunc(tables[0].ctypes.data, tables[1].ctypes.data, dims.ctypes.data, exe.state_address, aligned) == 0
    assert results[0] == expected[0]
    np.testing.assert_array_equal(results[1], expected[1])


def test_the_c_function_keeps_its_executable() -> None:
    x = gx.Graph("short").input("x", ("n",))
    exe = gx.compile([x], x + x)
    seen, function = weakref.ref(exe), exe.cfunc
    del exe
    gc.collect()
    assert seen() is not None
    del function
    gc.collect()
    assert seen() is None


def test_profilers_and_debuggers_read_the_generated_code() -> None:
    x = gx.Graph("listed").input("x", ("n",))
    exe = gx.compile([x], x + x)
    file = exe.bound.compiled.made_of.filename
    assert "".join(linecache.getlines(file)) == exe.source


def test_threads_and_repeats_give_the_same_bits() -> None:
    g, x, y, logits, losses = network()
    loss = gx.mean(losses)
    outputs = [loss, *gx.grad(loss, list(g.parameters.values()))]
    a, b = data(300)
    first = gx.compile([x, y], outputs, threads=1)(a, b)
    for threads in (2, 4, None):
        exe = gx.compile([x, y], outputs, threads=threads, cache=threads != 4)
        for _ in range(5):
            for p, q in zip(exe(a, b), first, strict=True):
                assert np.asarray(p).tobytes() == np.asarray(q).tobytes()


def test_calls_from_many_threads() -> None:
    g, x, y, logits, losses = network()
    infer = gx.compile([x], logits)
    count = g.variable("count", np.zeros((), np.int64))
    tick = gx.compile([], count, updates={count: count + 1})
    a, _ = data(50)
    expected = infer(a)
    wrong: list[int] = []

    def work() -> None:
        for _ in range(200):
            tick()
            if infer(a).tobytes() != expected.tobytes():
                wrong.append(1)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not wrong and g.state["count"] == 800


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_can_call() -> None:
    code = (
        "import os, numpy as np, graphc as gx\n"
        "g = gx.Graph(); x = g.input('x', ('n', 40)); w = g.parameter('w', np.ones((40, 40), 'f'))\n"
        "f = gx.compile([x], x @ w); a = np.ones((30, 40), 'f'); want = f(a)\n"
        "pid = os.fork()\n"
        "if pid == 0: os._exit(0 if (f(a) == want).all() else 1)\n"
        "assert os.waitpid(pid, 0)[1] == 0\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


def test_a_call_allocates_nothing_but_its_results() -> None:
    g, x, y, logits, losses = network()
    exe = gx.compile([x, y], gx.mean(losses), updates=gx.optim.SGD(lr=0.01).updates(gx.mean(losses)))
    assert exe.memory(batch=256) > 256 * 32 * 4
    assert not re.search(r"@NRT_|@numba_attempt_nocopy|MemInfo", exe.stages["llvm"]), (
        "the kernel uses Numba's allocator"
    )
    a, b = data(256)
    out = np.empty((), np.float32)
    for _ in range(3):
        exe(a, b, out=out)
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    for _ in range(50):
        exe(a, b, out=out)
    after = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert after - before < 4096  # a workspace alone is over 50,000


def test_float32_graphs_hold_no_float64_arithmetic() -> None:
    g = gx.Graph("single")
    x = g.input("x", ("n", 30))
    w = g.parameter("w", np.ones((30, 40), np.float32) * 0.1)
    h = gx.gelu(gx.layer_norm(gx.tanh(x @ w) * gx.sigmoid(x @ w + 1.0)))
    loss = gx.mean(gx.logsumexp(h, 1) + gx.log1p(gx.sum(gx.exp(-h * h), 1)))
    exe = gx.compile([x], loss, updates=gx.optim.Adam(clip_norm=1.0).updates(loss))
    body = [line for line in exe.stages["llvm"].splitlines() if "=" in line and "declare" not in line]
    assert any("fmul" in line for line in body)
    assert [line for line in body if re.search(r"\bf(add|sub|mul|div)\b.*\bdouble\b", line)] == []


def test_loops_are_vectorised() -> None:
    g = gx.Graph("vector")
    x = g.input("x", ("n", "m"))
    exe = gx.compile([x], [gx.tanh(x) * gx.exp(-x * x) + gx.log1p(x * x), gx.softmax(x)])
    assert re.search(r"\bv(mul|add|fmadd\d*)ps\b.*%[yz]mm|<\d+ x float>", exe.stages["assembly"] + exe.stages["llvm"])
    assert "fmul <" in exe.stages["llvm"]


def test_stages_follow_a_tanh_to_machine_code() -> None:
    g = gx.Graph("stages", float_dtype="float64")
    x = g.input("x", ("n",), "float64")
    exe = gx.compile([x], gx.tanh(x).named("bent"))
    stages = exe.stages
    assert next(iter(stages)) == "graph" and list(stages)[-4:] == ["schedule", "source", "llvm", "assembly"]
    assert "tanh(%0)" in stages["graph"] and "bent" in stages["source"] and "tanh" in stages["schedule"]
    assert "define" in stages["llvm"]


def test_source_is_free_of_names() -> None:
    texts = set()
    for name in ("plain", "weird \n'); import os #", "x" * 300):
        g = gx.Graph(name)
        x = g.input(name, ("n",))
        exe = gx.compile([x], gx.exp(x).named(name + "out"))
        texts.add(exe._kernel.source)
        compile(exe.source, "source", "exec")
        assert exe(np.zeros(2, np.float32)).tolist() == [1, 1]
    assert len(texts) == 1


def test_dropout_has_the_same_numbers_everywhere_and_moves_on() -> None:
    outs = {}
    for backend in ("numba", "numpy"):
        g = gx.Graph("drop")
        x = g.input("x", ("n", 50))
        key = g.random_key(seed=7)
        w = g.parameter("w", np.ones(50, np.float32))
        y = gx.dropout(x * w, 0.4, key=key)
        exe = gx.compile([x], y, updates={w: w * 1.0}, backend=backend)
        a = np.ones((100, 50), np.float32)
        outs[backend] = exe(a), exe(a)
    first, second = outs["numba"]
    assert first.tobytes() == outs["numpy"][0].tobytes() and second.tobytes() == outs["numpy"][1].tobytes()
    assert (first != second).any()
    assert abs((first == 0).mean() - 0.4) < 0.02 and set(np.unique(first)) == {0, np.float32(1 / 0.6)}
    with pytest.warns(UserWarning, match="without updates"):
        gx.compile([x], y)
    clean = gx.compile([x], gx.inference(y))
    assert (clean(a) == 1).all()


def test_broadcast_sizes_that_turn_out_to_be_one() -> None:
    g = gx.Graph("one", float_dtype="float64")
    x, y = g.input("x", ("n", "m"), "float64"), g.input("y", ("k", "m"), "float64")
    z = gx.sum(gx.exp(x * y) * y)
    exe = gx.compile([x, y], [z, *gx.grad(z, [x, y])])
    rng = np.random.default_rng(0)
    for n, k in ((3, 1), (1, 3), (3, 3), (1, 1)):
        a, b = rng.normal(size=(n, 2)), rng.normal(size=(k, 2))
        value, dx, dy = exe(a, b)
        e = np.exp(a * b)
        np.testing.assert_allclose(value, (e * b).sum())
        np.testing.assert_allclose(dx, (e * b * b).sum(0, keepdims=True) if n == 1 < k else (e * b * b))
        whole = e * a * b + e
        np.testing.assert_allclose(dy, whole.sum(0, keepdims=True) if k == 1 < n else whole)
    with pytest.raises(gx.InputShapeError, match="sizes do not fit"):
        exe(np.ones((3, 2)), np.ones((4, 2)))


@pytest.mark.parametrize("backend", ["numba", "numpy"])
def test_outputs_in_one_another(backend: str, tmp_path: Path) -> None:
    g = gx.Graph("g", float_dtype="float64")
    x, w = g.input("x", ("n",)), g.parameter("w", np.float64(2.0))
    loss = gx.sum(w * x * x)
    outputs = {"loss": loss, "grads": gx.grad(loss, {"w": w, "x": x}), "more": [x + 1, (x * 2, {"last": w + 0.0})]}
    exe = gx.compile([x], outputs, backend=backend)
    a = np.array([1.0, 3.0])
    gx.save(tmp_path / "g.graphc", f=exe)
    for run in (exe, gx.load(tmp_path / "g.graphc")["f"]):
        for _ in range(2):
            found = run(a)
            assert list(found) == ["loss", "grads", "more"] and found["loss"] == 20
            assert found["grads"]["w"] == 10 and found["grads"]["x"].tolist() == [4, 12]
            first, (second, last) = found["more"]
            assert first.tolist() == [2, 4] and second.tolist() == [2, 6] and last == {"last": 2.0}
        kept = run(a + 1)
        for array in (kept["grads"]["x"], kept["more"][0], kept["more"][1][0]):
            array[...] = 0
        empty = np.empty(())
        out = {
            "loss": empty, "grads": {"w": empty.copy(), "x": kept["grads"]["x"]},
            "more": [kept["more"][0], (kept["more"][1][0], {"last": empty.copy()})],
        }  # fmt: skip
        assert run(a, out=out) is out and out["grads"]["x"].tolist() == [4, 12] and out["loss"] == 20
        with pytest.raises(gx.InputError, match="structure of the outputs"):
            run(a, out={**out, "more": []})
    with pytest.raises(gx.CompileError, match="two outputs have the path 'a/b'"):
        gx.compile([x], {"a": {"b": x}, "a/b": x})


def test_batches_of_outputs_in_one_another() -> None:
    g = gx.Graph("g", float_dtype="float64")
    x = g.input("x", ("n",))
    for backend in ("numba", "numpy"):
        exe = gx.compile([x], [gx.sum(x), {"twice": [2 * x]}], backend=backend)
        totals, rest = exe.run_batches([np.arange(6.0)], 3)
        assert totals.tolist() == [3, 12] and rest["twice"][0].tolist() == [0, 2, 4, 6, 8, 10]


def test_the_garbage_collector_works_again_after_a_compilation() -> None:
    g = gx.Graph("collected")
    x = g.input("x", (3,))
    with pytest.raises(gx.GraphcError):
        gx.compile([x], gx.grad(x, x))
    assert gc.isenabled()
    gx.compile([x], gx.grad(gx.sum(x * x), x))
    assert gc.isenabled()
    gc.disable()
    try:
        gx.compile([x], x + 1)
        assert not gc.isenabled()
    finally:
        gc.enable()
