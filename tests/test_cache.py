"""Compiled kernels on disk: several processes, damaged files, and the same code again."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable
from pathlib import Path

import numba
import numpy as np
import pytest

import graphc as gx
from graphc.codegen import disk, jit
from graphc.config import cache_root
from graphc.run.executable import _key

WORDS = "int64(int64, int64, int64, int64, int64)"

GRAPH = """
import sys, numpy as np, graphc as gx
g = gx.Graph()
x = g.input("x", ("n", 3)); w = g.parameter("w", np.ones((3, 2), "f"))
loss = gx.mean(gx.tanh(x @ w))
f = gx.compile([x], [loss, gx.grad(loss, w)])
value, slope = f(np.full((4, 3), 0.1, "f"))
print("hit" if f._bounds[-1].compiled.cache_hit else "compiled", np.float32(value).tobytes().hex(), slope.tobytes().hex())
"""

MANY = """
import warnings
from graphc.codegen.jit import compile_source
for k in range(COUNT):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        made = compile_source(f"def kernel(a, b, c, d, e):\\n    return a * 3 + {k}\\n", "kernel", WORDS)
    print(k, made.function(2, 0, 0, 0, 0), made.cache_hit, len(caught))
""".replace("WORDS", repr(WORDS))

PRODUCT = """
import sys, numpy as np, numba
from graphc.codegen.jit import compile_source
source = '''
from graphc.codegen.blas import gemm_f64
def kernel(inputs, outputs, n, state, work):
    gemm_f64(0, 1, n, n, n, 1.0, inputs, n, inputs, n, 0.0, outputs, n, 0)
    return n
'''
made = compile_source(source, "kernel", WORDS)
late = "numba.typed.typedset" not in sys.modules
a, out = np.arange(36.0).reshape(6, 6), np.empty((6, 6))
assert made.entry(a.ctypes.data, out.ctypes.data, 6, 0, 0) == 6 and np.array_equal(out, a @ a.T)
print(made.cache_hit, late)
kernel = made.function

@numba.njit
def user(a):
    out = np.empty_like(a)
    kernel(a.ctypes.data, out.ctypes.data, a.shape[0], 0, 0)
    return np.linalg.norm(out) + len([k for k in range(3)])

assert np.isclose(user(a), np.linalg.norm(a @ a.T) + 3)
""".replace("WORDS", repr(WORDS))


def start(program: str, cache: Path, *flags: str) -> subprocess.Popen[str]:
    env = {**os.environ, "GRAPHC_CACHE_DIR": str(cache)}
    command = [sys.executable, *flags, "-c", program]
    return subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish(process: subprocess.Popen[str]) -> str:
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    return out


def kernel(number: int) -> str:
    return f"def kernel(a, b, c, d, e):\n    return a + {number}\n"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache for this process, which shares nothing with earlier tests."""
    monkeypatch.setattr(jit, "_shared", {})
    monkeypatch.setenv("GRAPHC_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.mark.parametrize("count", [3, pytest.param(8, marks=pytest.mark.slow)])
def test_processes_compile_once(count: int, tmp_path: Path) -> None:
    running = [start(GRAPH, tmp_path / "cache", "-W", "error::UserWarning") for _ in range(count)]
    results = [finish(p).split() for p in running]
    assert sorted(r[0] for r in results) == ["compiled"] + ["hit"] * (count - 1)
    assert len({tuple(r[1:]) for r in results}) == 1, "a cached kernel gives other bits"


def truncated(share: float) -> Callable[[Path, random.Random], None]:
    return lambda file, rng: file.write_bytes(file.read_bytes()[: int(share * file.stat().st_size)]) and None


def flipped(file: Path, rng: random.Random) -> None:
    raw = bytearray(file.read_bytes())
    raw[rng.choice([rng.randrange(32), rng.randrange(32, len(raw))])] ^= 1 << rng.randrange(8)
    file.write_bytes(raw)


def empty(file: Path, rng: random.Random) -> None:
    file.write_bytes(b"")


def noise(file: Path, rng: random.Random) -> None:
    file.write_bytes(rng.randbytes(file.stat().st_size))


def longer(file: Path, rng: random.Random) -> None:
    file.write_bytes(file.read_bytes() + b"\0")


def summed_noise(file: Path, rng: random.Random) -> None:
    disk.write_whole(file, rng.randbytes(1000))


def swapped(file: Path, rng: random.Random) -> None:
    """Another kernel's file, whole, under this name."""
    file.write_bytes(rng.choice([f for f in file.parent.glob("*.kernel") if f != file and f.is_file()]).read_bytes())


def directory(file: Path, rng: random.Random) -> None:
    file.unlink()
    (file / "inner").mkdir(parents=True)


def missing(file: Path, rng: random.Random) -> None:
    file.unlink()


DAMAGE = [*(truncated(k / 10) for k in range(10)), *[flipped] * 12, *[swapped] * 6, *[noise] * 2, *[summed_noise] * 2]
DAMAGE += [empty, empty, longer, longer, directory, directory, missing, missing]
SOME = [truncated(0.6), flipped, swapped, noise, summed_noise, empty, longer, directory, missing]


@pytest.mark.parametrize("damage", [SOME, pytest.param(DAMAGE, marks=pytest.mark.slow)], ids=len)
def test_damaged_entries_are_rebuilt(damage: list[Callable[[Path, random.Random], None]], tmp_path: Path) -> None:
    """Three fresh processes: one fills the cache, one finds it damaged, one finds it whole again."""
    cache, program = tmp_path / "cache", MANY.replace("COUNT", str(len(damage)))
    lines = [f"{k} {6 + k}" for k in range(len(damage))]
    assert finish(start(program, cache)).splitlines() == [f"{line} False 0" for line in lines]
    rng = random.Random(0)
    files = sorted(cache.glob("*.kernel"))
    assert len(files) == len(damage)
    before = {f: f.read_bytes() for f in files}
    for file, spoil in zip(files, damage, strict=True):
        spoil(file, rng)
    assert not any(f.is_file() and f.read_bytes() == before[f] for f in files)
    found = [line.rsplit(maxsplit=2) for line in finish(start(program, cache)).splitlines()]
    assert [f[0] for f in found] == lines
    assert {f[1] for f in found} == {"False"}, "a damaged file was used"
    assert sum(int(f[2]) for f in found) == len(damage) - damage.count(missing), (
        "one warning for each, none where it is gone"
    )
    assert finish(start(program, cache)).splitlines() == [f"{line} True 0" for line in lines]


def test_a_loaded_kernel_serves_python_and_njit_without_numbas_compiler(tmp_path: Path) -> None:
    assert finish(start(PRODUCT, tmp_path / "cache")).split() == ["False", "False"]
    assert finish(start(PRODUCT, tmp_path / "cache")).split() == ["True", "True"]


@pytest.mark.skipif(sys.platform == "win32", reason="needs fcntl")
def test_a_killed_holder_of_the_lock_blocks_nobody(cache: Path) -> None:
    jit.compile_source(kernel(1), "kernel", WORDS)
    (file,) = cache.glob("*.kernel")
    file.unlink()
    jit._shared.clear()
    hold = f"import fcntl, time; f = open({str(file.with_suffix('.lock'))!r}); fcntl.flock(f, 2); print(1, flush=True); time.sleep(100)"
    holder = start(hold, cache)
    assert holder.stdout is not None and holder.stdout.readline() == "1\n"
    compiler = threading.Thread(target=jit.compile_source, args=(kernel(1), "kernel", WORDS))
    compiler.start()
    compiler.join(0.5)
    assert compiler.is_alive() and not file.exists(), "the lock did not hold"
    holder.send_signal(signal.SIGKILL)
    holder.communicate()
    compiler.join(60)
    assert not compiler.is_alive() and file.exists()


def test_a_cache_that_cannot_be_made_warns_once(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache.write_text("not a directory")
    monkeypatch.setenv("GRAPHC_CACHE_DIR", str(cache / "inner"))
    with pytest.warns(UserWarning, match="cannot be kept") as caught:
        for number in (2, 3):
            made = jit.compile_source(kernel(number), "kernel", WORDS)
            assert made.function(1, 0, 0, 0, 0) == 1 + number and not made.cache_hit
    assert len(caught) == 1 and caught[0].filename == __file__
    assert jit.recall("graph") is None
    jit.remember("graph", {})


@pytest.mark.skipif(sys.platform == "win32", reason="needs resource limits")
def test_a_full_disk_warns_once_and_leaves_nothing(tmp_path: Path) -> None:
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
    out = finish(start(limit + MANY.replace("COUNT", "3"), tmp_path / "cache"))
    assert out.splitlines() == ["0 6 False 1", "1 7 False 0", "2 8 False 0"]
    assert {f.suffix for f in (tmp_path / "cache").iterdir()} == {".lock"}


@pytest.mark.skipif(not hasattr(os, "getuid") or os.getuid() == 0, reason="the superuser may write anywhere")
def test_a_read_only_cache_still_serves(cache: Path) -> None:
    jit.compile_source(kernel(4), "kernel", WORDS)
    jit._shared.clear()
    cache.chmod(0o500)
    assert jit.compile_source(kernel(4), "kernel", WORDS).cache_hit
    with pytest.warns(UserWarning, match="cannot be kept"):
        assert jit.compile_source(kernel(5), "kernel", WORDS).function(1, 0, 0, 0, 0) == 6


def test_a_cache_that_is_deleted_while_in_use(cache: Path) -> None:
    stop = threading.Event()

    def delete() -> None:
        while not stop.wait(0.002):
            shutil.rmtree(cache, ignore_errors=True)

    deleting = threading.Thread(target=delete)
    deleting.start()
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "kernels cannot be kept")
            for number in range(8):
                made = jit.compile_source(kernel(number), "kernel", WORDS)
                assert made.function(1, 0, 0, 0, 0) == 1 + number
                jit.remember(str(number), {})
    finally:
        stop.set()
        deleting.join()


@pytest.mark.skipif(not hasattr(os, "getuid"), reason="needs POSIX permissions")
def test_a_cache_that_others_may_write_is_refused(cache: Path) -> None:
    assert cache_root().stat().st_mode & 0o777 == 0o700
    for mode in (0o777, 0o720, 0o702):
        cache.chmod(mode)
        with pytest.raises(gx.CompileError, match="belong to you"):
            jit.compile_source(kernel(99), "kernel", WORDS)
        with pytest.raises(gx.CompileError, match="belong to you"):
            jit.recall("graph")
    cache.chmod(0o700)
    if os.getuid() == 0:
        os.chown(cache, 54321, 54321)
        with pytest.raises(gx.CompileError, match="belong to you"):
            jit.compile_source(kernel(99), "kernel", WORDS)


def test_equal_kernels_are_one_object_in_all_threads(cache: Path) -> None:
    made: list[jit.Compiled] = []
    threads = [
        threading.Thread(target=lambda: made.append(jit.compile_source(kernel(5), "kernel", WORDS))) for _ in range(6)
    ]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert len(made) == 6 and len({id(m) for m in made}) == 1
    assert len(list(cache.glob("*.kernel"))) == 1


def test_all_that_decides_the_code_is_in_the_key(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ways = [
        jit.compile_source(kernel(6), "kernel", WORDS),
        jit.compile_source(kernel(7), "kernel", WORDS),
        jit.compile_source(kernel(6), "kernel", WORDS.replace("int64)", "int32)")),
        jit.compile_source(kernel(6), "kernel", WORDS, fastmath=True),
        jit.compile_source(kernel(6), "kernel", WORDS, python_callable=False),
        jit.compile_source(kernel(6), "kernel", WORDS, extra=("vectors",)),
    ]
    monkeypatch.setattr(jit, "_machine", lambda: ("another processor",))
    ways.append(jit.compile_source(kernel(6), "kernel", WORDS))
    assert len({w.address for w in ways}) == len(list(cache.glob("*.kernel"))) == 7


def test_the_code_can_be_read_whether_compiled_or_loaded(cache: Path) -> None:
    made = jit.compile_source(kernel(8), "kernel", WORDS)
    jit._shared.clear()
    loaded = jit.compile_source(kernel(8), "kernel", WORDS)
    assert loaded.cache_hit and not made.cache_hit
    for text in (made.llvm, loaded.llvm):
        assert "define" in text and "add" in text
    assert "ret" in loaded.assembly


def test_records_are_remembered_and_damage_is_forgotten(cache: Path) -> None:
    assert jit.recall("graph") is None
    jit.remember("graph", {"symbols": ["n"]})
    jit.remember("other", {"symbols": ["m"]})
    assert jit.recall("graph") == {"symbols": ["n"]}
    for file in cache.glob("*.json"):
        whole = file.read_bytes()
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            for damaged in (b"", whole[:20], whole[:-1], whole[:-1] + b"?", bytes([whole[0] ^ 1]) + whole[1:], b"{}"):
                file.write_bytes(damaged)
                assert None in (jit.recall("graph"), jit.recall("other"))
        file.write_bytes(whole)
    first, second = cache.glob("*.json")
    first.write_bytes(second.read_bytes())
    assert sorted([jit.recall("graph") is None, jit.recall("other") is None]) == [False, True], "one stands for another"


def _step(prefix: str) -> gx.Executable:
    """One training program under different names: constants, labels, an update that is not read, two symbols."""
    g = gx.Graph(prefix)
    x, y = g.input(prefix + "x", ("n", "k")), g.input(prefix + "y", ("n",), "int64")
    w = g.parameter(prefix + "w", np.ones((6, 5), np.float32))
    last = g.variable(prefix + "last", np.zeros((), np.float32))
    logits = x[:, :6] @ (w * np.arange(5, dtype=np.float32))
    loss = gx.mean(gx.cross_entropy(logits, y))
    return gx.compile([x, y], loss, updates=gx.optim.SGD(lr=0.1).updates(loss) | {last: loss})


def test_a_warm_start_runs_no_pass_and_names_its_own_nodes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRAPHC_CACHE_DIR", str(tmp_path))
    a, b = np.ones((4, 7), np.float32), np.array([0, 1, 2, 3])
    first = _step("one_")
    expected = [first(a, b), first(a, b)]

    def never(*_: object, **__: object) -> None:
        raise AssertionError("a pass was run")

    with monkeypatch.context() as context:
        context.setattr("graphc.run.program.run", never)
        second = _step("two_")
        assert [second(a, b), second(a, b)] == expected
        with pytest.raises(gx.InputIndexError, match="label 9") as caught:
            second(a, np.array([0, 9, 0, 0]))
        assert "test_cache.py" in str(caught.value)
        assert second.memory(n=4, k=7) == first.memory(n=4, k=7)
    for name in ("w", "last"):
        np.testing.assert_array_equal(first.graph.state["one_" + name], second.graph.state["two_" + name])
    assert second.source.replace("two_", "one_") == first.source


# ---- a right sum and wrong content


def _mutants(record: dict[str, object], other: dict[str, object]) -> list[bytes]:
    """Records that are not those of their program: other kinds of values, and what another program has."""
    texts = [b"", b"\xff", b"{", b"null", b"[]", b"3", b"{}", b"[" * 100_000]
    changed = [
        {**record, field: value}
        for field in record
        for value in (None, "", "0", 0, -1, 0.5, [], [None], [["node", 10**6]], [["node", -1]], {}, other[field])
        if value != record[field]
    ]
    missing = [{k: v for k, v in record.items() if k != field} for field in record]
    return [*texts, *(json.dumps(mutant).encode() for mutant in (*changed, *missing, other))]


def test_records_with_wrong_content_are_built_anew(cache: Path) -> None:
    a, b = np.ones((4, 7), np.float32), np.array([0, 1, 2, 3])
    key = _key(_step("one_").program)
    expected, record = _step("one_")(a, b), jit.recall(key)
    other_x = gx.Graph().input("x", ("m", 3))
    other = jit.recall(_key(gx.compile([other_x], gx.sum(gx.exp(other_x) * np.ones(3, np.float32))).program))
    assert record is not None and set(other) == set(record)
    mutants = _mutants(record, other)
    assert len(mutants) > 90
    for data in mutants:
        disk.keep(jit._record(key), key, data)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            exe = _step("one_")
        assert exe(a, b) == expected, data[:200]
        assert data in (b"null", b"") or "is damaged; building it anew" in str(caught[0].message), data[:200]
        assert jit.recall(key) == record, "what was wrong stayed"


WRONG_CODE = """
import pickle, sys
from pathlib import Path
from graphc.codegen import disk

fetch, kind, folder = disk.fetch, sys.argv[1], Path(sys.argv[2])
files = sorted(folder.glob("*.kernel"))
assert len(files) > 1
another = {one.name: disk.read_whole(two) for one, two in zip(files, files[1:] + files[:1])}
wrong = {"nothing": b"", "text": b"text", "none": pickle.dumps(None), "words": pickle.dumps(("a", b"b"))}

def replaced(name, source):
    return another[name] if kind == "another" and name in another else wrong.get(kind) if name in another else fetch(name, source)

disk.fetch = replaced
"""


@pytest.mark.parametrize(
    "kind", ["another", *(pytest.param(k, marks=pytest.mark.slow) for k in ("nothing", "text", "none", "words"))]
)
def test_code_with_wrong_content_is_compiled_anew(kind: str, tmp_path: Path) -> None:
    """What is read is replaced, sums being right: by other types, and by the code of other functions."""
    env = {**os.environ, "GRAPHC_CACHE_DIR": str(tmp_path)}

    def found(program: str) -> list[str]:
        command = [sys.executable, "-W", "ignore", "-c", program, kind, str(tmp_path)]
        done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr[-2000:]
        return done.stdout.split()

    found("import graphc as gx; x = gx.Graph().input('x', ('n',)); gx.compile([x], gx.exp(x))([1.0])")
    expected = found(GRAPH)
    assert found(WRONG_CODE + GRAPH) == expected
    assert found(GRAPH) == ["hit", *expected[1:]]


# ---- settings of Numba

CHANGE_CODE = (
    "OPT LOOP_VECTORIZE SLP_VECTORIZE BOUNDSCHECK DEBUGINFO_DEFAULT DISABLE_INTEL_SVML LLVM_REFPRUNE_FLAGS DEBUG_JIT"
)
CHANGE_NONE = (
    "NUMBA_NUM_THREADS NUMBA_DEFAULT_NUM_THREADS THREADING_LAYER CACHE_DIR COLOR_SCHEME DUMP_LLVM CUDA_LOG_LEVEL"
)


def test_settings_that_change_code_are_in_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    before = jit._key("source")
    for name in [*CHANGE_CODE.split(), *CHANGE_NONE.split()]:
        assert hasattr(numba.config, name), name
        with monkeypatch.context() as patch:
            patch.setattr(numba.config, name, "other")
            assert (jit._key("source") != before) == (name in CHANGE_CODE.split()), name
    monkeypatch.setattr(numba.config, "OF_A_LATER_NUMBA", 1, raising=False)
    assert jit._key("source") != before


def test_a_process_without_optimisation_leaves_nothing_to_others(tmp_path: Path) -> None:
    def found(**env: str) -> list[str]:
        command = [sys.executable, "-c", GRAPH]
        env = {**os.environ, "GRAPHC_CACHE_DIR": str(tmp_path / "cache"), **env}
        return subprocess.run(command, env=env, capture_output=True, text=True, check=True, timeout=300).stdout.split()

    assert found(NUMBA_OPT="0")[0] == "compiled"
    first = found()
    assert first[0] == "compiled" and found(NUMBA_NUM_THREADS="1") == ["hit", *first[1:]]
    assert found(NUMBA_OPT="0")[0] == "hit"


DISABLED = """
import warnings, numpy as np, graphc as gx
g = gx.Graph(); x = g.input("x", ("n",), "float32"); w = g.parameter("w", np.float32(3))
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    exes = [gx.compile([x], gx.sum(x * w * k), updates={w: w + 1}) for k in (1.0, 2.0)]
print(len(caught), caught[0].lineno, str(caught[0].message).split()[0], exes[0]._kernel, exes[1](np.ones(2, np.float32)))
print(exes[0].run_batches([np.ones(4, np.float32)], 2).tolist(), exes[0].wait(), list(exes[0].stages)[0])
try:
    exes[0].address
except gx.CompileError as error:
    print(error)
"""


def test_without_a_compiler_programs_are_interpreted_and_said_so_once(tmp_path: Path) -> None:
    env = {**os.environ, "NUMBA_DISABLE_JIT": "1", "GRAPHC_CACHE_DIR": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", DISABLED], env=env, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [
        "1 6 NUMBA_DISABLE_JIT None 12.0",
        "[8.0, 10.0] False graph",
        "there is no machine code: NumPy interprets the program; NUMBA_DISABLE_JIT is set",
    ]
    assert not list(tmp_path.iterdir())
