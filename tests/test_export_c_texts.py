"""The C of an export: names that harm nothing, sanitizers, a directory that is whole, and what is refused."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from c_library import STRICT, CLibrary, classifier, compiler, objects_of, run, whole
from killing import killed_at_random
from random_graphs import random_graph
from test_file_refusals import hostile_names

import graphc as gx
from graphc.export.c.example import example, readme
from graphc.export.c.header import NAMES, header
from graphc.export.c.layout import Library
from graphc.export.c.source import data_source, names_source, source
from graphc.export.c.text import encoded, literal


def line(name: Any = str) -> gx.Executable:
    """A training step that is soon compiled."""
    g = gx.Graph(name("line"))
    x, w = g.input(name("x"), ("n",)), g.parameter(name("w"), np.float32(2))
    loss = gx.mean(gx.square(w * x - 1.0)).named(name("loss"))
    return gx.compile([x], loss, updates=gx.optim.Momentum(lr=0.1).updates(loss), backend="numpy")


def test_graphs_that_differ_in_names_only_become_the_same_code() -> None:
    one, other = (objects_of(line(n)) for n in (str, lambda name: f'*/ "{name}" ??/\n'))
    assert one[1] == other[1] and one[0].data == other[0].data
    assert source(one[0]) == source(other[0]) and example(one[0]) == example(other[0])
    heads = [header(library).partition(NAMES)[0] for library in (one[0], other[0])]
    assert heads[0] == heads[1] and names_source(one[0]) != names_source(other[0])


# ---- names


C_NAMES = [
    "int",
    "double",
    "union",
    "??/",
    "??=",
    "*/ int evil; /*",
    "\\",
    'a"b',
    "#include <x>",
    "%n",
    "state",
    "H",
    "API",
]


@pytest.mark.parametrize("count", [40, pytest.param(1000, marks=pytest.mark.nightly)])
def test_hostile_names_come_back_equal(count: int, tmp_path: Path) -> None:
    """Many in one library: its tables and its header."""
    cc, names = compiler(), list(dict.fromkeys([*C_NAMES, *hostile_names()]))[:count]
    g = gx.Graph("".join(names[:40]))
    x = g.input(names[0] + " in", ("n",))
    out = x
    for k, name in enumerate(names):
        out = out + g.parameter(name, np.float32(k))
    exe = gx.compile([x], dict.fromkeys(names[:20], out), backend="numpy")
    exe.export_c(tmp_path / "c", name="h")
    library = CLibrary(tmp_path / "c", "h")
    assert library.names("state_name") == names and library.graph_name() == g.name
    assert library.names("input_name") == [x.name] and library.names("output_name") == names[:20]
    assert [float(library.array(k)[0]) for k in range(len(names))] == list(range(len(names)))
    text = (tmp_path / "c" / "h.h").read_text()
    macros = re.findall(r"^#define (\w+)\(state\)", text, re.M)
    assert len(set(macros)) == len(names) and text.isascii() and max(map(len, text.splitlines())) < 4000
    checks = "".join(f"float *p{k} = {m}(s); (void)p{k};\n" for k, m in enumerate(macros))
    (tmp_path / "c" / "use.c").write_text(f'#include "h.h"\nvoid use(h_state *s) {{\n{checks}}}\n')
    run(cc, "-std=c99", *STRICT, "-fsyntax-only", "use.c", "main.c", cwd=tmp_path / "c")


def test_names_of_state_do_not_become_macros_of_the_system(tmp_path: Path) -> None:
    compiler()
    g = gx.Graph("g")
    x = g.input("x", ("n",))
    exe = gx.compile([x], x + g.parameter("C", 1.0) + g.parameter("MAX", 2.0), backend="numpy")
    for name in ("int64", "size", "plain"):
        exe.export_c(tmp_path / name, name=name)
        text = (tmp_path / name / f"{name}.h").read_text()
        found = re.findall(r"^#define (\w+)\(state\)", text, re.M)
        end = "" if name == "plain" else "_2"
        assert found == [f"{name.upper()}_C{end}", f"{name.upper()}_MAX{end}"]


def test_literals_hold_every_name(tmp_path: Path) -> None:
    cc, names = compiler(), [*C_NAMES, *hostile_names()]
    assert len(names) > 500
    rows = "".join(f"fwrite({literal(name)}, 1, {len(encoded(name)) + 1}, stdout);\n" for name in names)
    (tmp_path / "names.c").write_text(f"#include <stdio.h>\nint main(void) {{\n{rows}return 0; }}\n")
    run(cc, "-std=c99", "-Wall", "-Wextra", "-Werror", "-trigraphs", "names.c", "-o", "names", cwd=tmp_path)
    printed = subprocess.run([tmp_path / "names"], capture_output=True, check=True).stdout
    assert printed == b"".join(encoded(name) + b"\0" for name in names)


def test_every_hostile_name_alone_leaves_the_code_as_it_is() -> None:
    def texts(name: str) -> tuple[str, str, str]:
        g = gx.Graph(name)
        x = g.input(name, ("n",))
        exe = gx.compile([x], {name: x * g.parameter(name + "!", np.float32(2))}, backend="numpy")
        library = Library("model", {"model": exe}, "native")
        head, _, behind = header(library).partition(NAMES)
        assert behind.count("*/") == behind.count("/*") == 1 and len(behind.splitlines()) == 7, behind
        assert readme(library).isascii() and len(readme(library)) < 2000
        return source(library), example(library), head

    names = [*C_NAMES, *hostile_names()]
    assert len({texts(name) for name in names}) == 1


# ---- memory


def sanitized(exe: gx.Executable, folder: Path) -> str:
    """What main.c prints with all C code under AddressSanitizer and UndefinedBehaviorSanitizer."""
    library, objects = objects_of(exe)
    texts = {"model.h": header(library), "model.c": source(library), "main.c": example(library)}
    texts |= {"names.c": names_source(library), "data.s": data_source(library, "model.bin")}
    for name, text in texts.items():
        (folder / name).write_text(text)
    (folder / "model.bin").write_bytes(library.data)
    (folder / "kernels.o").write_bytes(objects)
    flags = ["-std=c99", *STRICT, "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
    run(compiler(), *flags, *(n for n in texts if n != "model.h"), "kernels.o", "-lm", "-o", "main", cwd=folder)
    return run(folder / "main", env={"ASAN_OPTIONS": "detect_stack_use_after_return=1"})


@pytest.mark.parametrize("seeds", [range(1), pytest.param(range(50), marks=pytest.mark.nightly)])
def test_sanitizers_find_nothing(seeds: range, tmp_path: Path) -> None:
    probe = [compiler(), "-fsanitize=address,undefined", "-xc", "-", "-o", tmp_path / "probe"]
    if subprocess.run(probe, input="int main(void) { return 0; }", text=True, capture_output=True).returncode:
        pytest.skip("the C compiler has no sanitizers")
    assert "model_e0 91" in sanitized(classifier()[0], tmp_path)
    for seed in seeds:
        inputs, outputs = random_graph(600 + seed, ("float32", "float64")[seed % 2]).build()
        assert "model_e0 1: " in sanitized(gx.compile(inputs, outputs, unused="ignore", backend="numpy"), tmp_path)


# ---- the example


def built_example(exe: gx.Executable, folder: Path) -> str:
    exe.export_c(folder)
    run(compiler(), *STRICT, folder / "main.c", folder / "libmodel.a", "-lm", "-o", folder.parent / "main")
    return run(folder.parent / "main", env={})


def test_the_example_makes_indices_for_all_that_take_them(tmp_path: Path) -> None:
    compiler()
    g = gx.Graph("tables")
    i = g.input("i", ("n",), "int64")
    large, small = (g.constant(np.ones((rows, 2), "f")) for rows in (20, 5))
    exe = gx.compile([i], [gx.take(large, i, 0), gx.take(small, i, 0), gx.one_hot(i, 9)], backend="numpy")
    assert "model 1: 1" in built_example(exe, tmp_path / "model")


def test_the_example_finds_sizes_that_fit(tmp_path: Path) -> None:
    compiler()
    g = gx.Graph("sizes")
    x, y = g.input("x", ("n",)), g.input("y", ("m",))
    folded = gx.compile([x], gx.exp(gx.reshape(x * 0.0, (-1, 7))), backend="numpy")
    assert "model 1: 1" in built_example(folded, tmp_path / "folded")
    late = gx.compile([x, y], gx.exp((x[50] + y) * 0.0), backend="numpy")
    assert "model 1: 1" in built_example(late, tmp_path / "late")
    z = g.input("z", tuple("abcdef"))
    many = gx.compile([z], gx.exp(gx.sum(z * 0.0)), backend="numpy")
    assert "model 1: 1" in built_example(many, tmp_path / "many")


# ---- the directory


def test_an_export_is_replaced_whole_and_nothing_else_is(tmp_path: Path) -> None:
    compiler()
    train = line()
    target = tmp_path / "model"
    target.mkdir()  # an empty one may be filled
    train.export_c(target)
    train(np.ones(3, "f"))  # other values
    sums = (target / "SHA256SUMS").read_bytes()
    train.export_c(target)
    assert (target / "SHA256SUMS").read_bytes() != sums and os.listdir(tmp_path) == ["model"]
    whole(target)
    (target / "main.c").write_text("int main(void) { return 0; }")
    with pytest.raises(gx.ExportError, match=r"'main.c' has changed since"):
        train.export_c(target)
    (target / "notes.txt").write_text("mine")
    with pytest.raises(gx.ExportError, match=r"'notes.txt' is not of the export"):
        train.export_c(target)
    assert (target / "notes.txt").read_text() == "mine" and os.listdir(tmp_path) == ["model"]
    with pytest.raises(gx.ExportError, match="expected a directory or nothing, found a file"):
        train.export_c(target / "main.c")
    with pytest.raises(gx.ExportError, match="is not empty and holds no export"):
        train.export_c(tmp_path)
    with pytest.raises(FileNotFoundError):
        train.export_c(tmp_path / "no" / "where")


def test_a_directory_keeps_its_permissions_and_who_stands_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiler()
    target = tmp_path / "model"
    target.mkdir(mode=0o700)
    monkeypatch.chdir(target)
    for _ in range(2):
        line().export_c(".")
        assert target.stat().st_mode & 0o777 == 0o700
        assert "main.c" in os.listdir(".")


@pytest.mark.parametrize("kills", [6, pytest.param(200, marks=pytest.mark.nightly)])
def test_a_kill_leaves_the_old_export_or_the_new_one(tmp_path: Path, kills: int) -> None:
    target, rng, seen = tmp_path / "model", np.random.default_rng(0), set()
    for kill in range(kills):
        command = [sys.executable, "-c", WRITER, str(target), str(kill)]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as child:
            assert child.stdout is not None and child.stdout.readline() == b"ready\n"
            time.sleep(rng.uniform(0, 0.1))
            child.kill()
        if seen or target.exists():  # the first of them may have written nothing
            whole(target)
            seen.add((target / "file0").read_bytes())
    assert len(seen) > kills // 4


WRITER = """
import itertools, pathlib, sys
from graphc.export.c.directory import replaced
print("ready", flush=True)
for version in itertools.count():
    with replaced(sys.argv[1]) as draft:
        for k in range(6):
            pathlib.Path(draft, f"file{k}").write_bytes(f"{sys.argv[2]} {version} {k}".encode() * 5000)
"""


@pytest.mark.parametrize("kills", [4, pytest.param(200, marks=pytest.mark.nightly)])
def test_a_kill_during_a_whole_export_leaves_the_old_or_the_new_one(tmp_path: Path, kills: int) -> None:
    compiler()
    killed_at_random(EXPORTING, tmp_path / "model", 0, kills, elements=1000)


EXPORTING = f"""
import pathlib, shutil, tempfile
sys.path.insert(0, {str(Path(__file__).parent)!r})
from c_library import CLibrary, whole

def keep():
    exe.export_c(path)

def kept_there():
    whole(pathlib.Path(path))
    with tempfile.TemporaryDirectory() as folder:  # a library is loaded once from each path
        shutil.copy(path + "/libmodel.so", folder)
        library = CLibrary(pathlib.Path(folder))
    return library.array(0).copy()
"""


# ---- refusals


def test_what_cannot_be_exported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compiler()
    train = line()
    target = tmp_path / "c"
    refused: list[tuple[dict[str, Any], type[Exception], str]] = [
        ({}, gx.GraphError, "nothing to export"),
        ({"f": train.graph}, gx.GraphError, "f: expected an executable, found Graph"),
        ({"f": train, "g": line()}, gx.GraphError, "two graphs"),
        ({"a b": train}, gx.ExportError, "'a b' cannot begin the name of a C function"),
        ({"f": train, "cpu": "pdp-11"}, gx.ExportError, "cpu must be one of native.*found 'pdp-11'"),
        *(({"f": train, "name": n}, gx.ExportError, "name must be a C identifier") for n in ("", "a-b", "../x", "1", "main", "math", "é", 7)),
    ]  # fmt: skip
    for given, error, text in refused:
        with pytest.raises(error, match=text + r"[\s\S]*test_export_c_texts.py"):
            gx.export_c(target, **given)
    with monkeypatch.context() as patch:
        patch.setenv("GRAPHC_BLAS", "openblas")
        with pytest.raises(gx.ExportError, match=r"GRAPHC_BLAS is 'openblas'.*unset it"):
            train.export_c(target)
    with monkeypatch.context() as patch:
        patch.setenv("PATH", str(tmp_path))
        patch.delenv("CC", raising=False)
        with pytest.raises(gx.ExportError, match="found no cc or gcc or clang; install gcc or clang"):
            train.export_c(target)
        patch.setenv("CC", "nocc -O1")
        with pytest.raises(gx.ExportError, match="found no CC=nocc"):
            train.export_c(target)
    with monkeypatch.context() as patch:
        patch.setenv("CC", "false")
        with pytest.raises(gx.ExportError, match=r"false -std=c99.* failed"):
            train.export_c(target)
        patch.setenv("CC", "cc 'unclosed")
        with pytest.raises(gx.ExportError, match=r"CC=cc 'unclosed cannot be read: No closing quotation"):
            train.export_c(target)
    assert os.listdir(tmp_path) == []


def test_compilers_are_found_by_relative_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cc = shutil.which(compiler())
    assert cc is not None
    (tmp_path / "mycc").symlink_to(cc)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CC", "./mycc")
    line().export_c("model")
    assert CLibrary(tmp_path / "model").graph_name() == "line"
