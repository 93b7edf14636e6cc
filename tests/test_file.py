"""Graph files: what is saved comes back bit for bit, and nothing else comes in."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hostile_files import members, sealed
from random_graphs import random_graph

import graphc as gx
from graphc.file import archive, strict

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE / "data"))
import make_golden  # noqa: E402


def same(a: object, b: object) -> None:
    one, two = make_golden.flat(a), make_golden.flat(b)
    assert [(x.dtype, x.shape, x.tobytes()) for x in one] == [(x.dtype, x.shape, x.tobytes()) for x in two]


# ---- round trips


@pytest.mark.parametrize("name", make_golden.CASES)
def test_golden_files_load_and_give_their_results(name: str) -> None:
    loaded = gx.load(make_golden.HERE / f"{name}.gx")
    record = np.load(make_golden.HERE / f"{name}.npz")
    calls = sorted({k.rsplit(" ", 2)[0] for k in record})
    assert calls
    for call in calls:
        inputs = [record[k] for k in sorted(k for k in record if k.startswith(f"{call} in "))]
        expected = [record[k] for k in sorted(k for k in record if k.startswith(f"{call} out "))]
        found = make_golden.flat(loaded[call.split(" ", 1)[1]](*inputs))
        for a, b in zip(found, expected, strict=True):
            assert a.dtype == b.dtype
            np.testing.assert_allclose(a, b, rtol=1e-5 if a.dtype == np.float32 else 1e-12, atol=1e-14)


@pytest.mark.parametrize("name", make_golden.CASES)
def test_a_loaded_file_is_saved_as_the_same_bytes(name: str, tmp_path: Path) -> None:
    golden = make_golden.HERE / f"{name}.gx"
    gx.save(tmp_path / "again.gx", **gx.load(golden))
    assert (tmp_path / "again.gx").read_bytes() == golden.read_bytes()


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


EXAMPLES = {
    "fashion_mnist": lambda: _classifier(8, 16, 4),
    "xor": lambda: _xor(),
    "neuron": lambda: _neuron(),
}


def _classifier(inputs: int, hidden: int, classes: int) -> tuple[dict[str, gx.Executable], list[np.ndarray]]:
    from graphc.demo.network import classifier

    model = classifier(inputs, hidden, classes)
    rng = np.random.default_rng(0)
    return {"train": model.train, "infer": model.infer}, [
        rng.random((9, inputs), np.float32),
        rng.integers(0, classes, 9),
    ]


def _xor() -> tuple[dict[str, gx.Executable], list[np.ndarray]]:
    g = gx.Graph("xor", float_dtype="float64")
    x, y = g.input("x", ("n", 2), "float64"), g.input("y", ("n",), "float64")
    w, v = g.parameter("w", np.random.default_rng(0).normal(size=(2, 4))), g.parameter("v", np.ones(4))
    p = gx.sigmoid(gx.tanh(x @ w) @ gx.reshape(v, (4, 1)))[:, 0]
    loss = gx.mean(gx.binary_cross_entropy(p, y))
    train = gx.compile([x, y], [loss, p], updates=gx.optim.NAG(lr=0.5).updates(loss))
    corners = np.array([[0, 0], [0, 1], [1, 0], [1, 1.0]])
    return {"train": train, "infer": gx.compile([x], p)}, [corners, np.array([0, 1, 1, 0.0])]


def _neuron() -> tuple[dict[str, gx.Executable], list[np.ndarray]]:
    g = gx.Graph("neuron", float_dtype="float64")
    x, w, b = (g.input(n, (), "float64") for n in "xwb")
    a = gx.sigmoid(w * x + b)
    both = gx.compile([x, w, b], {"a": a, "slope": gx.grad(a, w)})
    return {"train": both, "infer": gx.compile([x, w, b], [a])}, [np.array(v) for v in (0.7, -1.2, 0.1)]


@pytest.mark.parametrize("name", EXAMPLES)
def test_networks_of_the_examples(name: str, tmp_path: Path) -> None:
    executables, arrays = EXAMPLES[name]()
    gx.save(tmp_path / "e.gx", **executables)
    loaded = gx.load(tmp_path / "e.gx")
    assert list(loaded) == ["train", "infer"] and len(loaded) == 2 and "train" in loaded and "other" not in loaded
    for n in (len(arrays[0]), 1, 3) if arrays[0].ndim else (1,):
        for exe in executables:
            some = [a[:n] if a.ndim else a for a in arrays][: len(executables[exe].inputs)]
            same(executables[exe](*some), loaded[exe](*some))
    with pytest.raises(KeyError):
        loaded["other"]


def test_options_are_kept_and_nothing_is_compiled_before_it_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    g = gx.Graph("g")
    x = g.input("x", ("n",))
    gx.save(
        tmp_path / "o.gx",
        fast=gx.compile([x], x + 1, fastmath=True, threads=2, cache=False),
        plain=gx.compile([x], x, backend="numpy"),
    )
    made = []
    original = gx.Executable._build
    monkeypatch.setattr(gx.Executable, "_build", lambda self, cache: made.append(cache) or original(self, cache))
    loaded = gx.load(tmp_path / "o.gx")
    assert "fast, plain" in repr(loaded) and not made
    fast, plain = loaded["fast"], loaded["plain"]
    assert made == [False] and loaded["fast"] is fast and fast.graph is plain.graph is loaded.graph
    assert (fast.fastmath, fast.threads, fast.cache, fast.backend) == (True, 2, False, "numba")
    assert (plain.fastmath, plain.threads, plain.cache, plain.backend) == (False, None, True, "numpy")


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
    streams = [n.attrs["stream"] for n in gx.dropout(h["x"], 0.5, key=h["key"]).graph.nodes if n.op.name == "uniform"]
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


# ---- names


def hostile_names() -> list[str]:
    rng = np.random.default_rng(0)
    odd = [
        "'",
        '"',
        "\\",
        "\n",
        "\r\n",
        "\0",
        "\x7f",
        "%s",
        "{}",
        "{0.__class__}",
        "$(rm)",
        "`",
        "#",
        "/*",
        "*/",
        "//",
        "</script>",
    ]
    odd += [
        "for",
        "None",
        "__import__('os')",
        "__metadata__",
        "__metadata___",
        "../../x",
        "/etc/passwd",
        "CON",
        "a" * (1 << 20),
        '"' * (1 << 20),
    ]
    odd += [
        "ﬁ",
        "fi",
        "а",
        "a",
        "ａ",
        "é",
        "e\u0301",
        "\u202e",
        "\u200b",
        "\ud800",
        "🙂",
        "名前",
        "\u2028",
        "İ",
        "ß",
        " ",
        "\t",
        "add_3",
        "input",
    ]
    alphabet = [*"'\"\\\n#{}%$/()[];=:,. \0é名\u202e\ud83d", "def", "lambda", "\\u0041", "\\N{DASH}", "'''", '"""']
    while len(set(odd)) < 500:
        odd.append("".join(alphabet[int(k)] for k in rng.integers(0, len(alphabet), int(rng.integers(1, 12)))))
    return list(dict.fromkeys(odd))


def test_hostile_names_come_back_equal(tmp_path: Path) -> None:
    names = hostile_names()
    assert len(names) == 500
    for chosen in ([n] for n in names[:30]), [names]:
        for some in chosen:
            g = gx.Graph(some[0])
            x = g.input("x of " + some[-1], ("n",))
            out = x
            for k, name in enumerate(some):
                out = (
                    (out * g.parameter(name, np.float32(k))).named(name + "?")
                    if k % 2 == 0
                    else out + g.variable(name, np.float32(k)) + g.constant(1.5, name=name + "\x01")
                )
            exe = gx.compile([x], dict.fromkeys(some, out), backend="numpy")
            gx.save(tmp_path / "n.gx", **{some[-1]: exe})
            loaded = gx.load(tmp_path / "n.gx")
            assert loaded.graph.name == some[0] and list(loaded) == [some[-1]]
            assert [n.name for n in loaded.graph.nodes] == [n.name for n in g.nodes] and loaded.graph.equals(g)
            assert list(loaded[some[-1]](np.zeros(1, np.float32))) == some


# ---- refusals


def test_what_cannot_be_saved(tmp_path: Path) -> None:
    g, h = gx.Graph("one"), gx.Graph("two")
    x, y = g.input("x", ("n",)), h.input("y", ("n",))
    a, b = gx.compile([x], x + 1, backend="numpy"), gx.compile([y], y + 1, backend="numpy")
    with pytest.raises(gx.GraphError, match="nothing to save"):
        gx.save(tmp_path / "x.gx")
    with pytest.raises(gx.GraphError, match=r"f: expected an executable, found Graph[\s\S]*test_file.py"):
        gx.save(tmp_path / "x.gx", f=g)
    with pytest.raises(gx.GraphError, match="a of 'one', b of 'two'"):
        gx.save(tmp_path / "x.gx", a=a, b=b)
    with pytest.raises(OSError):
        gx.save(tmp_path / "nowhere" / "x.gx", a=a)
    with pytest.raises(gx.GraphFileError, match="not a file"):
        gx.load(tmp_path)
    with pytest.raises(FileNotFoundError):
        gx.load(tmp_path / "x.gx")
    assert not list(tmp_path.iterdir())


def changed(path: Path, member: str, old: str, new: str) -> Path:
    """A golden file with a text replaced in a member, sealed."""
    parts = members((make_golden.HERE / "indexing.gx").read_bytes())
    text = parts[member].decode()
    assert old in text, old
    path.write_bytes(sealed({**parts, member: text.replace(old, new, 1).encode()}))
    return path


REFUSED = {
    "a newer format": ("manifest.json", '"format":1', '"format":2', r"format 2.*graphc 0\.1\.0.*formats up to 1: install"),
    "an unknown op": ("graph.json", '"op":"take"', '"op":"os.system"', "node .*op: there is no operation called 'os.system'"),
    "a cycle": ("graph.json", '"inputs":[0]', '"inputs":[99]', r"inputs: slot 0 is node 99, which does not come before it \(a cycle"),
    "a dangling edge": ("graph.json", '"inputs":[0]', '"inputs":[99999]', "inputs: slot 0 is node 99999"),
    "an index without a test": ("graph.json", '"low":{}', '"low":-99', "low: expected"),
    "an index tested against another axis": ("graph.json", '"high":"n"', '"high":"n + 1"', "nothing keeps its index within an axis of n"),
    "a size of another": ("graph.json", '"shape":["k","m"]', '"shape":["k","n"]', "shape: declared .* take gives"),
    "a wrong dtype": (
        "graph.json",
        '"name":"x","dtype":"float64"',
        '"name":"x","dtype":"float32"',
        r"node \d+ .*dtype: declared float64, but \w+ gives float32",
    ),
    "an unknown option": ("manifest.json", '"threads":null', '"threads":"os.system"', "options: threads: expected an integer or null"),
    "a doubled key": ("graph.json", '"op":"input"', '"op":"input","op":"input"', "the key 'op' stands twice"),
    "an unknown field": ("graph.json", '"op":"input"', '"code":"x","op":"input"', "there is no field 'code'"),
    "code for a size": ("graph.json", '"shape":["n","m"]', '"shape":["__import__(\'os\')","m"]', "is not a size"),
    "a huge axis": ("graph.json", '"shape":["n","m"]', '"shape":[1152921504606846976,2]', "too large"),
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED)
def test_refusals_name_the_place(what: str, tmp_path: Path) -> None:
    member, old, new, message = REFUSED[what]
    if what == "an index without a test":
        old = re.search(
            r'"low":("[^"]*"|-?\d+)', members((make_golden.HERE / "indexing.gx").read_bytes())[member].decode()
        )[0]
        new = '"low":{"real":"0x0.0p+0"}'
    with pytest.raises(gx.GraphFileError, match=message) as caught:
        gx.load(changed(tmp_path / "bad.gx", member, old, new))
    assert "bad.gx" in str(caught.value) and member in str(caught.value)


def _watched(seed: int, count: int) -> dict:
    done = subprocess.run(
        [sys.executable, str(HERE / "hostile_files.py"), str(seed), str(count)],
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout)
    assert found["refused"] + found["loaded"] == count and found["refused"] > 0.9 * count
    assert not found["wrong"] and not found["events"], (found["wrong"][:5], found["events"][:5])
    assert found["slowest"] < 1 and found["megabytes"] < 200, found
    return found


def test_a_thousand_hostile_files() -> None:
    _watched(0, 1000)


@pytest.mark.nightly
@pytest.mark.parametrize("block", range(1, 11))
def test_twenty_thousand_hostile_files(block: int) -> None:
    _watched(block, 2000)


# ---- kill -9

KILLER = """
import os, random, signal, sys, time
import numpy as np, graphc as gx

path, seed, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
g = gx.Graph("big")
w = g.parameter("w", np.zeros(400_000, np.float32))
x = g.input("x", ())
exe = gx.compile([x], x + gx.sum(w), backend="numpy")
gx.save(path, exe=exe)
r, kept = random.Random(seed), 0
for _ in range(count):
    hear, tell = os.pipe()
    child = os.fork()
    if not child:
        while True:
            kept += 1
            g.state["w"] = np.full(400_000, kept, np.float32)
            gx.save(path, exe=exe)
            os.write(tell, b"x")
    os.close(tell)
    time.sleep(r.uniform(0, 0.1))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    done = kept
    while os.read(hear, 1):
        done += 1
    os.close(hear)
    (kept,) = set(gx.load(path).graph.state["w"].tolist())
    assert kept in (done, done + 1), (kept, done)
drafts = [name for name in os.listdir(os.path.dirname(path)) if name.endswith(".tmp")]
print(int(kept), len(drafts))
"""


def _kill(path: Path, seed: int, count: int) -> None:
    command = [sys.executable, "-c", KILLER, str(path), str(seed), str(count)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-2000:]
    saved, cut = map(int, done.stdout.split())
    assert saved > count / 4 and 0 < cut <= count  # saves went through, and others were cut short


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_kill_at_random_moments(tmp_path: Path) -> None:
    _kill(tmp_path / "k.gx", 0, 20)


@pytest.mark.nightly
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_kill_at_two_hundred_random_moments(tmp_path: Path) -> None:
    _kill(tmp_path / "k.gx", 1, 200)


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
    with pytest.raises(gx.GraphFileError, match=r"here: more than 400000 times"):
        strict.parse(b"[" * 500_000, "here")
