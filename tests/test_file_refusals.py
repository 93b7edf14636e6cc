"""Graph files from anyone: hostile names survive, hostile files are refused, a kill leaves a whole file."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
import zlib
from pathlib import Path

import numpy as np
import pytest
from data import make_golden
from hostile_files import members, sealed
from killing import killed_at_random

import graphc as gx
from graphc.file import archive, strict
from graphc.ops.apply import apply
from graphc.ops.index import in_range

HERE = Path(__file__).parent


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


def test_a_text_too_deep_is_not_even_parsed() -> None:
    with pytest.raises(gx.GraphFileError, match=r"here: more than 400000 times"):
        strict.parse(b"[" * 500_000, "here")


def test_what_cannot_be_saved(tmp_path: Path) -> None:
    g, h = gx.Graph("one"), gx.Graph("two")
    x, y = g.input("x", ("n",)), h.input("y", ("n",))
    a, b = gx.compile([x], x + 1, backend="numpy"), gx.compile([y], y + 1, backend="numpy")
    with pytest.raises(gx.GraphError, match="nothing to save"):
        gx.save(tmp_path / "x.gx")
    with pytest.raises(gx.GraphError, match=r"f: expected an executable, found Graph[\s\S]*test_file_refusals.py"):
        gx.save(tmp_path / "x.gx", f=g)
    with pytest.raises(gx.GraphError, match="a of 'one', b of 'two'"):
        gx.save(tmp_path / "x.gx", a=a, b=b)
    with pytest.raises(FileNotFoundError) as caught:
        gx.save(tmp_path / "nowhere" / "x.gx", a=a)
    assert caught.value.filename == str(tmp_path / "nowhere" / "x.gx")
    with pytest.raises(gx.GraphFileError, match="not a file"):
        gx.load(tmp_path)
    with pytest.raises(FileNotFoundError):
        gx.load(tmp_path / "x.gx")
    assert not list(tmp_path.iterdir())


def test_an_index_that_nothing_tests(tmp_path: Path) -> None:
    """A kernel would read out of bounds; and the proof must not take forever where branches meet again and again."""
    g = gx.Graph("g")
    x, i, c = g.input("x", ("n",)), g.input("i", ("k",), "int64"), g.input("c", ("k",), "bool")
    bare = gx.compile([x, i], apply("take", x, i, axis=0), backend="numpy")
    with pytest.raises(gx.GraphFileError, match=r"node 2 \('take_3'\): nothing keeps its index within an axis of n"):
        gx.save(tmp_path / "x.gx", f=bare)
    index = in_range(i, x.shape[0], "index")
    for depth in range(60):
        index = gx.where(c, index, index)
        if depth in (30, 59):
            exe = gx.compile([x, i, c], apply("take", x, index, axis=0), backend="numpy")
            if depth == 30:
                gx.save(tmp_path / "x.gx", f=exe)
                assert gx.load(tmp_path / "x.gx")["f"](np.ones(3), [-3, 2], [True, False]).tolist() == [1, 1]
            else:
                with pytest.raises(gx.GraphFileError, match="nothing keeps"):
                    gx.save(tmp_path / "x.gx", f=exe)


def test_a_graph_has_a_name_of_bounded_length(tmp_path: Path) -> None:
    g = gx.Graph("g" * ((4 << 20) + 1))
    exe = gx.compile([], g.constant(1.0) + 1, backend="numpy")
    with pytest.raises(gx.GraphFileError, match=r"graph\.json: name: too long"):
        gx.save(tmp_path / "x.gx", f=exe)


def changed(path: Path, member: str, old: str, new: str, golden: Path = make_golden.HERE / "indexing.gx") -> Path:
    """A golden file with a text replaced in a member, sealed."""
    parts = members(golden.read_bytes())
    text = parts[member].decode()
    assert old in text, old
    path.write_bytes(sealed({**parts, member: text.replace(old, new, 1).encode()}))
    return path


REFUSED = {
    "a newer format": ("manifest.json", '"format":1', '"format":9', r"format 9.*graphc 0\.1\.0.*formats up to 3: install"),
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
    "a product of endless terms": (
        "graph.json",
        '"shape":["n","m"]',
        '"shape":[' + ",".join(f'"a{k} + b{k}"' for k in range(30)) + "]",
        "the product of these sizes has too many terms",
    ),
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


def test_a_sparse_file_of_terabytes_is_refused_unread(tmp_path: Path) -> None:
    """Its framing is right, and most of it takes no room on the disk."""
    parts = members((make_golden.HERE / "indexing.gx").read_bytes())
    manifest = json.loads(parts["manifest.json"])
    manifest["members"]["weights.safetensors"]["bytes"] = size = 1 << 40
    parts["manifest.json"] = strict.dump(manifest)
    facts = [(name, len(data), zlib.crc32(data)) for name, data in list(parts.items())[:3]]
    facts.append(("weights.safetensors", size, 0))
    with open(tmp_path / "sparse.gx", "wb") as file:
        for name, n, crc in facts:
            file.write(archive.local_header(name, n, crc) + (b"" if n == size else parts[name]))
        file.seek(size, os.SEEK_CUR)
        file.write(archive.directory(facts))
    started = time.perf_counter()
    with pytest.raises(
        gx.GraphFileError, match=r"weights.safetensors: the graph declares \d+ bytes, found 1099511627776"
    ):
        gx.load(tmp_path / "sparse.gx")
    assert time.perf_counter() - started < 1


def test_a_file_larger_than_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(archive, "_take", full)
    with pytest.raises(gx.GraphFileError, match=r"indexing\.gx: there is not enough memory for what it holds"):
        gx.load(make_golden.HERE / "indexing.gx")


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


@pytest.mark.parametrize("count", [300, pytest.param(1000, marks=pytest.mark.slow)])
def test_hostile_files(count: int) -> None:
    _watched(0, count)


@pytest.mark.nightly
@pytest.mark.parametrize("block", range(1, 11))
def test_twenty_thousand_hostile_files(block: int) -> None:
    _watched(block, 2000)


# ---- kill -9

SAVING = """
def keep(): gx.save(path, exe=exe)
def kept_there(): return gx.load(path).graph.state["w"]
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_kill_at_random_moments(tmp_path: Path) -> None:
    killed_at_random(SAVING, tmp_path / "k.gx", 0, 20)


@pytest.mark.nightly
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_kill_at_two_hundred_random_moments(tmp_path: Path) -> None:
    killed_at_random(SAVING, tmp_path / "k.gx", 1, 200)


CALLS = {
    "no role": ('"forward"]', '"sideways"]', "calls: entry 0: expected a function"),
    "no list": ('"calls":[[', '"calls":[7,[', "calls: entry 0: expected a function"),
    "no such call": ('"call":0', '"call":999', "call: there is no call 999"),
    "no number": ('"call":0', '"call":"0"', "call: expected an integer or null"),
    "no field": ('"call":0', '"cell":0', "the field call is missing"),
}


@pytest.mark.parametrize("what", CALLS)
def test_calls_are_refused_where_they_are_none(what: str, tmp_path: Path) -> None:
    old, new, message = CALLS[what]
    with pytest.raises(gx.GraphFileError, match=message):
        gx.load(changed(tmp_path / "bad.gx", "graph.json", old, new, make_golden.CALLED / "softmax.gx"))
