"""Graph files: what is saved comes back bit for bit."""

from __future__ import annotations

import json
import os
import threading
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from data import make_golden
from example_networks import PARAMETERS, executables_of, feeds
from random_graphs import random_graph

import graphc as gx
from graphc.file import archive


def same(a: object, b: object) -> None:
    one, two = make_golden.flat(a), make_golden.flat(b)
    assert [(x.dtype, x.shape, x.tobytes()) for x in one] == [(x.dtype, x.shape, x.tobytes()) for x in two]


# ---- round trips


def short(file: Path) -> str:
    return f"{file.parent.name}-{file.stem}"


@pytest.mark.parametrize("golden", make_golden.FILES, ids=short)
def test_golden_files_load_and_give_their_results(golden: Path) -> None:
    loaded = gx.load(golden)
    record = np.load(golden.with_suffix(".npz"))
    calls = sorted({k.rsplit(" ", 2)[0] for k in record})
    assert calls
    for call in calls:
        inputs = [record[k] for k in sorted(k for k in record if k.startswith(f"{call} in "))]
        expected = [record[k] for k in sorted(k for k in record if k.startswith(f"{call} out "))]
        found = make_golden.flat(loaded[call.split(" ", 1)[1]](*inputs))
        for a, b in zip(found, expected, strict=True):
            assert a.dtype == b.dtype
            rounding = 1e-5 if a.dtype == np.float32 else 1e-12
            atol = 1e-14 + rounding / 10 * np.max(np.abs(b), initial=0)  # of sums that cancel, on any processor
            np.testing.assert_allclose(a, b, rtol=rounding, atol=atol)


@pytest.mark.parametrize("golden", make_golden.FILES, ids=short)
def test_a_loaded_file_is_saved_as_the_same_bytes(golden: Path, tmp_path: Path) -> None:
    gx.save(tmp_path / "again.gx", **gx.load(golden))
    assert (tmp_path / "again.gx").read_bytes() == golden.read_bytes()


def test_files_keep_which_nodes_were_made_together(tmp_path: Path) -> None:
    g = gx.Graph("calls")
    x, w = g.input("x", ("n", 4)), g.parameter("W", np.ones((4, 3), np.float32))
    probs = gx.softmax(x @ w).named("probs")
    loss = gx.mean(probs * probs)
    step = gx.compile([x], loss, gx.optim.Adam().updates(loss))
    plain = gx.compile([x], gx.tanh(x @ w))
    gx.save(tmp_path / "step.gx", step=step)
    held = gx.load(tmp_path / "step.gx")
    needed = [n for n in g.nodes if n.name in held.graph]
    assert {n.name for n in needed} == {n.name for n in held.graph.nodes} and held.manifest["format"] == 2
    for node in needed:
        again = held.graph[node.name].node
        one, two = (None if n.composition is None else (n.call.function, n.call.name, n.role) for n in (node, again))
        assert one == two, node.name
    assert held.graph["probs"].node.composition is not None
    assert {held.graph[t.name].node.role for t in step.program.graph.tensors if t.node.role == "update"} == {"update"}
    gx.save(tmp_path / "plain.gx", plain=plain)  # needs no newer reader than before
    assert gx.load(tmp_path / "plain.gx").manifest["format"] == 1


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_training_goes_on_with_equal_bits(dtype: str, tmp_path: Path) -> None:
    executables, ((_, (x, y)), *_) = make_golden.mlp(dtype)
    gx.save(tmp_path / "m.gx", **executables)
    loaded = gx.load(tmp_path / "m.gx")
    one, two = executables["train"].graph, loaded.graph
    for n in (12, 1, 5, 12):
        same(executables["train"](x[:n], y[:n]), loaded["train"](x[:n], y[:n]))
        same(executables["infer"](x[:n]), loaded["infer"](x[:n]))  # it sees what train changed
    same(*(e["train"].run_batches([x, y], 5, shuffle=True, seed=1) for e in (executables, loaded)))
    assert list(one.state) == list(two.state) and {"key", "adam/step", "adam/W1/m"} <= set(two.state)
    for name in one.state:
        assert one.state[name].tobytes() == two.state[name].tobytes(), name
    assert two.state["key"].tolist() == [7, one.state["key"][1]] and one.state["key"][1] > 4


def _round_trip(seed: int, path: Path) -> None:
    for dtype in ("float32", "float64"):
        graph = random_graph(seed, dtype)
        inputs, outputs = graph.build()
        exe = gx.compile(inputs, outputs, unused="ignore")
        gx.save(path, f=exe)
        again = gx.load(path)
        for arrays in (graph.arrays(), [a * a.dtype.type(0.75) for a in graph.arrays()]):
            same(exe(*arrays), again["f"](*arrays))
        needed = {n.name for n in again.graph.nodes}
        assert all(n.op.name in ("input", "constant") or n.name in needed for n in exe.program.source.nodes)
        gx.save(path.with_suffix(".2"), f=again["f"])
        assert path.read_bytes() == path.with_suffix(".2").read_bytes()


@pytest.mark.parametrize("seed", range(20))
def test_random_graphs(seed: int, tmp_path: Path) -> None:
    _round_trip(seed, tmp_path / "r.gx")


@pytest.mark.slow
@pytest.mark.parametrize("block", range(10))
def test_two_hundred_random_graphs(block: int, tmp_path: Path) -> None:
    for seed in range(20 + 18 * block, 38 + 18 * block):
        _round_trip(seed, tmp_path / "r.gx")


@pytest.mark.parametrize("name", PARAMETERS)
def test_every_network_of_the_examples(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What an example compiles is saved together, graph by graph, and gives the same bits when loaded."""
    for executables in executables_of(name, tmp_path, monkeypatch).values():
        gx.save(tmp_path / "e.gx", **executables)
        loaded = gx.load(tmp_path / "e.gx")
        assert list(loaded) == list(executables) and len(loaded) == len(executables) and "other" not in loaded
        for size in (4, 1, 7):
            for key, exe in executables.items():
                same(exe(*feeds(exe, size)), loaded[key](*feeds(exe, size)))
        with pytest.raises(KeyError):
            loaded["other"]


def test_options_are_kept_and_nothing_is_compiled_before_it_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    g = gx.Graph("g")
    x = g.input("x", ("n",))
    gx.save(
        tmp_path / "o.gx",
        fast=gx.compile([x], x + 1, fastmath=True, threads=2, cache=False, max_bytes=1 << 20),
        plain=gx.compile([x], x, backend="numpy"),
    )
    made = []
    original = gx.Executable._build
    monkeypatch.setattr(gx.Executable, "_build", lambda self, known: made.append(self.backend) or original(self, known))
    loaded = gx.load(tmp_path / "o.gx")
    assert "fast, plain" in repr(loaded) and not made
    fast, plain = loaded["fast"], loaded["plain"]
    assert made == ["numba"] and loaded["fast"] is fast and fast.graph is plain.graph is loaded.graph
    assert (fast.fastmath, fast.threads, fast.cache, fast.backend, fast.max_bytes) == (True, 2, False, "numba", 1 << 20)
    assert (plain.fastmath, plain.threads, plain.cache, plain.backend) == (False, None, True, "numpy")
    assert plain.max_bytes is None


def test_the_graph_goes_on_where_it_was(tmp_path: Path) -> None:
    """Lines, derivation, fresh sizes, streams of random numbers and dropouts are kept; what is not needed is not."""
    g = gx.Graph("g")
    x, key = g.input("x", ("n", None)), g.random_key(5)
    g.parameter("unused", np.zeros(3, np.float32))
    noisy = gx.dropout(x, 0.5, key=key)
    slope = gx.grad(gx.sum(noisy), x)
    exe = gx.compile([x], [noisy, slope], updates={key: key + np.array([0, 1])})
    other = noisy.named("later")
    gx.save(tmp_path / "g.gx", f=exe)
    h = gx.load(tmp_path / "g.gx").graph
    assert "unused" not in h and "later" in h and other.name == "later"
    assert h.input("z", (None,)).shape != h["x"].shape[1:]
    assert gx.inference(h["later"]).name == "x"
    again = gx.dropout(h["x"], 0.5, key=h["key"]).graph
    streams = [n.attrs["stream"] for n in again.nodes if "stream" in n.attrs]
    assert len(set(streams)) == len(streams) == 2
    with pytest.raises(gx.CompileError, match=r"later is listed twice\n  at test_file.py:\d+   noisy = gx.dropout"):
        gx.compile([h["later"], h["later"]], h["later"] + 1.0)
    assert h["later"].origin.describe() == noisy.origin.describe() and os.sep not in h["later"].origin.file


def test_inputs_that_are_inner_tensors_or_state(tmp_path: Path) -> None:
    g = gx.Graph("g")
    x, w = g.input("x", ("n",)), g.parameter("w", np.float32(3.0))
    h = gx.tanh(x * w)
    exe = gx.compile([h, w], {"out": h * w})
    last = g.variable("last", np.zeros((), np.float32))
    keep = gx.compile([x], None, updates={last: gx.sum(x)})
    gx.save(tmp_path / "i.gx", exe=exe, keep=keep)
    loaded = gx.load(tmp_path / "i.gx")
    data = np.arange(4, dtype=np.float32)
    same(exe(data, np.float32(2)), loaded["exe"](data, np.float32(2)))
    assert loaded["keep"](data) is None and loaded.graph.state["last"] == 6 and g.state["last"] == 0


def test_save_sees_whole_updates(tmp_path: Path) -> None:
    """State that updates change together is saved together, whatever other threads do."""
    g = gx.Graph("g", float_dtype="float64")
    a, b = (g.variable(n, np.zeros(50_000)) for n in "ab")
    step = gx.compile([], None, updates={a: a + 1.0, b: b + 1.0})
    stop = threading.Event()
    worker = threading.Thread(target=lambda: [step() for _ in iter(stop.is_set, True)])
    worker.start()
    try:
        for _ in range(10):
            gx.save(tmp_path / "s.gx", step=step)
            state = gx.load(tmp_path / "s.gx").graph.state
            assert len({*state["a"], *state["b"]}) == 1
    finally:
        stop.set()
        worker.join()


def test_other_readers_of_zip_and_json_see_the_same(tmp_path: Path) -> None:
    path = make_golden.HERE / "mlp_float32.gx"
    with zipfile.ZipFile(path) as file:
        assert file.testzip() is None and file.namelist() == [archive.MANIFEST, *archive.MEMBERS]
        weights = file.read("weights.safetensors")
    held = json.loads(weights[8 : 8 + int.from_bytes(weights[:8], "little")])
    start, stop = held["W1"]["data_offsets"]
    body = weights[8 + int.from_bytes(weights[:8], "little") :]
    found = np.frombuffer(body[start:stop], "<f4").reshape(held["W1"]["shape"])
    np.testing.assert_array_equal(found, gx.load(path).graph.state["W1"])


@pytest.mark.parametrize(
    "nest",
    [
        None, 3, [], ["x"], ["dict"], ["list", None, None], ["list", None, None, None], ["dict", ["a", 3]],
        ["dict", ["a", ["list", None]]], ["dict", ["a", ["list", None, ["dict", ["c", None]]]]], ["dict", [1, None]],
        ["dict", ["a", ["list", None, ["dict", ["b", None], ["b", None]]]]],
    ],
    ids=repr,
)  # fmt: skip
def test_a_structure_that_is_not_the_outputs(nest: Any) -> None:
    from graphc.file import programs

    g = gx.Graph("g")
    x = g.input("x", ("n",))
    exe = gx.compile([x], {"a": [x + 1, {"b": x * 2}]}, backend="numpy")
    held = programs.describe(exe.program, {n.id: n.id for n in g.nodes})
    assert programs.program(g, held, "p").structure == exe.program.structure
    held["outputs"]["nest"] = nest
    with pytest.raises(gx.GraphFileError, match="nest: expected"):
        programs.program(g, held, "p")


@pytest.mark.parametrize("mode", ["nearest", "linear"])
def test_files_hold_resized_images(mode: str, tmp_path: Path) -> None:
    g = gx.Graph("resized")
    x = g.input("x", (1, 2, 5, 4))
    y = gx.resize(x, (2, 7), mode=mode)
    exe = gx.compile([x], [y, gx.grad(gx.sum(y * y), x)], backend="numpy")
    gx.save(tmp_path / "resized.graphc", f=exe)
    image = np.arange(40, dtype=np.float32).reshape(1, 2, 5, 4)
    for found, want in zip(gx.load(tmp_path / "resized.graphc")["f"](image), exe(image), strict=True):
        np.testing.assert_array_equal(found, want)
