"""C libraries: the bits of the executable, called from C, C++ and ctypes, with no Python in them."""

from __future__ import annotations

import ctypes
import gzip
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from c_library import STRICT, CLibrary, assert_same_bits, classifier, compiler, flat, guarded, run
from example_networks import PARAMETERS, executables_of, feeds
from random_graphs import SIZES, gradient_of_a_product, random_graph
from test_cli import write_images
from test_examples import EXAMPLES
from test_examples import example as example_module
from test_random_loops import Program, dtype_of, mode_of

import graphc as gx
from graphc.demo.data import fashion_mnist
from graphc.export.c.machine import processors

OTHER_SIZES = [SIZES, {"n": 9, "m": 3, "k": 1}, {"n": 1, "m": 1, "k": 1}, {"n": 150, "m": 3, "k": 3}]


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, gx.Executable, gx.Executable]:
    compiler()
    directory = tmp_path_factory.mktemp("export") / "model"
    train, infer = classifier()
    gx.export_c(directory, train=train, infer=infer)
    return directory, train, infer


# ---- through ctypes


@pytest.mark.parametrize("dtype", ["float32", pytest.param("float64", marks=pytest.mark.slow)])
def test_training_in_the_library_and_in_process_give_the_same_bits(tmp_path: Path, dtype: str) -> None:
    compiler()
    train, infer = classifier(dtype)
    gx.export_c(tmp_path / "model", train=train, infer=infer)
    library = CLibrary(tmp_path / "model")
    names = library.names("state_name")
    assert set(names) == set(train.graph.state) and library.graph_name() == "classifier"
    rng = np.random.default_rng(1)
    for n in (1, 5, 64, 0, 300, 5):
        x, y = rng.normal(size=(n, 6)).astype(dtype), rng.integers(0, 3, n)
        if n:
            assert_same_bits(library.call(train, "train_", x, y), flat(train(x, y)), f"batch {n}")
        assert_same_bits(library.call(infer, "infer_", x), flat(infer(x)), f"batch {n}")
        for k, name in enumerate(names):
            assert library.array(k).tobytes() == train.graph.state[name].tobytes(), name


def test_states_are_apart_and_calls_reentrant(exported: tuple[Path, gx.Executable, gx.Executable]) -> None:
    directory, train, _ = exported
    rng = np.random.default_rng(2)
    x, y = rng.normal(size=(40, 6)).astype("f"), rng.integers(0, 3, 40)
    one, two = CLibrary(directory), CLibrary(directory)
    first = [one.call(train, "train_", x, y)[0].item() for _ in range(3)]
    assert [two.call(train, "train_", x, y)[0].item() for _ in range(3)] == first and len(set(first)) == 3


def test_labels_out_of_range_and_sizes_are_told(exported: tuple[Path, gx.Executable, gx.Executable]) -> None:
    directory, _, infer = exported
    library = CLibrary(directory)
    before = bytes(library.state)
    x, y, out = np.zeros((4, 6), "f"), np.array([0, 1, 7, 2]), np.zeros((), "f")
    size = library.function("train_workspace_bytes", ctypes.c_int64, ctypes.c_int64)
    work = np.empty(size(4) + 1, np.uint8)[1:]  # of no alignment
    kinds = [ctypes.c_void_p, ctypes.c_int64, *[ctypes.c_void_p] * 4]
    call = library.function("train_call", ctypes.c_int, *kinds)
    given = [a.ctypes.data for a in (x, y, out, work)]
    status = call(library.state, 4, *given)
    assert status == 1 and bytes(library.state) == before
    assert work[:16].copy().view(np.int64).tolist() == [2, 7]
    with pytest.raises(gx.InputIndexError) as found:
        exported[1](x, y)
    assert library.names("train_status_name", 1) == [found.value.node]
    assert call(library.state, -1, *given) == call(library.state, 2**62, *given) == -1
    assert size(-1) == size(2**62) == size(2**63 - 1) == -1 and size(2**40) > 0
    assert library.names("infer_input_name") == ["x"] and library.names("infer_output_name") == ["p", "label"]


def test_sizes_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    compiler()
    g = gx.Graph("sizes")
    a, b = g.input("a", ("n",)), g.input("b", ("m",))
    exe = gx.compile([a, b], (a * b).named("met"))
    exe.export_c(tmp_path / "c", name="pair")
    library = CLibrary(tmp_path / "c", "pair")
    assert library.state is None
    for n, m in ((3, 3), (1, 4), (4, 1)):
        arrays = np.arange(n, dtype="f") + 1, np.arange(m, dtype="f") + 2
        assert_same_bits(library.call(exe, "", *arrays), flat(exe(*arrays)))
    with pytest.raises(AssertionError, match="-2"):
        library.call(exe, "", np.zeros(3, "f"), np.zeros(3, "f")[:2])
    assert library.names("status_name", -2, -1) == ["met"]


# ---- what is in it


def test_nothing_of_python_is_needed(exported: tuple[Path, gx.Executable, gx.Executable]) -> None:
    if not shutil.which("nm"):
        pytest.skip("no nm: install binutils")
    library = exported[0] / "libmodel.so"
    needed = re.findall(r" U ([^@\s]+)", run("nm", "-D", "-u", library))
    assert set(needed) <= {"memcpy", "memset", "memmove", "bcmp", "memcmp"}, needed
    symbols = re.findall(r" ([A-Za-z]) (\S+)", run("nm", exported[0] / "libmodel.a"))
    assert len(symbols) > 20 and not [n for _, n in symbols if re.search(r"py|nrt|numba", n, re.I)]
    # const tables of pointers, and numbers that LLVM must not know, which nothing writes
    written = [n for kind, n in symbols if kind in "dDbBC" and n not in ("arrays", "model_names")]
    assert all(re.fullmatch(r"model_\d+", n) for n in written), written


FUSED = ["native", "x86-64-v3", "x86-64-v4"]  # processors with fused multiply-adds
FOREIGN = [("x86-64-v3", r"zmm|%k[0-7]"), pytest.param("x86-64-v2", r"[yz]mm|\tv[a-z]", marks=pytest.mark.slow)]


@pytest.mark.parametrize(("cpu", "foreign"), FOREIGN)
def test_another_processor_gets_no_instruction_of_this_one(tmp_path: Path, cpu: str, foreign: str) -> None:
    compiler()
    if cpu not in processors() or not shutil.which("objdump"):
        pytest.skip("needs an x86-64 machine and objdump")
    train, _ = classifier()
    gx.export_c(tmp_path / "c", cpu=cpu, train=train)
    code = run("objdump", "-d", "--no-show-raw-insn", tmp_path / "c" / "libmodel.so")
    assert len(code.splitlines()) > 1000 and not re.findall(foreign, code)
    if runs_here(cpu):
        rng = np.random.default_rng(4)
        x, y, library = rng.normal(size=(50, 6)).astype("f"), rng.integers(0, 3, 50), CLibrary(tmp_path / "c")
        for _ in range(3):
            np.testing.assert_allclose(library.call(train, "train_", x, y)[0], train(x, y), rtol=1e-5)


# ---- C and C++


def test_the_header_and_the_example_are_c99_and_cpp17(exported: tuple[Path, gx.Executable, gx.Executable]) -> None:
    directory, train, _ = exported
    cc = compiler()
    work = directory.parent
    run(cc, "-std=c99", *STRICT, directory / "main.c", directory / "libmodel.a", "-lm", "-o", work / "static")
    run(
        cc,
        "-std=c99",
        *STRICT,
        directory / "main.c",
        "-L",
        directory,
        "-lmodel",
        f"-Wl,-rpath,{directory}",
        "-o",
        work / "shared",
    )
    printed = run(work / "static", env={})
    assert printed == run(work / "shared", env={})
    losses = [float(v) for v in re.findall(r"model_train \d+: (\S+)", printed)]
    assert len(losses) == 10 and losses[-1] < 0.7 * losses[0]
    cxx = shutil.which(os.environ.get("CXX", "c++")) or shutil.which("g++")
    if cxx is None:
        pytest.skip("no C++ compiler: install g++")
    (work / "use.cpp").write_text(CPP)
    flags = ["-std=c++17", *STRICT, f"-I{directory}"]
    run(cxx, *flags, work / "use.cpp", directory / "libmodel.a", "-o", work / "cpp")
    x, y = np.arange(18, dtype="f").reshape(3, 6) / 10, np.array([0, 1, 2])
    step, _ = classifier()
    expected = [float(step(x, y)) for _ in range(2)]
    assert [np.float32(v) for v in run(work / "cpp", env={}).split()] == [np.float32(v) for v in expected]


CPP = """\
#include "model.h"
#include <cstdio>
#include <memory>
#include <vector>

int main() {
    auto state = std::make_unique<model_state>();
    model_init(state.get());
    std::vector<float> x(18);
    for (int k = 0; k < 18; k++) x[k] = static_cast<float>(k) / 10;
    const std::vector<int64_t> y{0, 1, 2};
    std::vector<unsigned char> work(model_train_workspace_bytes(3));
    for (int step = 0; step < 2; step++) {
        float loss = 0;
        if (model_train_call(state.get(), 3, x.data(), y.data(), &loss, work.data()) != 0) return 1;
        std::printf("%.9g\\n", loss);
    }
    return MODEL_W1(state)[0] == 0;
}
"""


def test_cmake_builds_the_example(exported: tuple[Path, gx.Executable, gx.Executable], tmp_path: Path) -> None:
    if not shutil.which("cmake"):
        pytest.skip("no cmake")
    run("cmake", "-S", exported[0], "-B", tmp_path)
    run("cmake", "--build", tmp_path)
    assert "model_train 91" in run(tmp_path / "model_main", env={})


def test_the_c_program_trains_on_idx_files(tmp_path: Path) -> None:
    cc = compiler()
    write_images(tmp_path)
    for packed in tmp_path.glob("*.gz"):
        packed.with_suffix("").write_bytes(gzip.decompress(packed.read_bytes()))
    data = fashion_mnist(tmp_path)
    train, infer = example_module("export_fashion_mnist").main([str(tmp_path / "lib"), "--pixels", "36"])
    flags = ["-O2", *STRICT, f"-I{tmp_path / 'lib'}", EXAMPLES / "c" / "fashion_mnist.c"]
    run(cc, "-std=c11", *flags, tmp_path / "lib" / "libfashion.a", "-lm", "-o", tmp_path / "train")
    lines = run(tmp_path / "train", tmp_path, 3, env={}).splitlines()
    for line in lines:
        seen = train.run_batches([data.train_x, data.train_y], 256)
        hits = infer.run_batches([data.test_x], 1000) == data.test_y
        loss, accuracy, test = (float(v) for v in re.findall(r"\d+\.\d+", line)[:3])
        assert loss == pytest.approx(seen["loss"].mean(dtype="f8"), abs=2e-9)
        assert accuracy == pytest.approx(seen["right"].mean(), abs=1e-6) and test == pytest.approx(
            hits.mean(), abs=1e-4
        )
    assert len(lines) == 3
    assert "gunzip" in subprocess.run([tmp_path / "train", tmp_path / "no"], capture_output=True, text=True).stderr


@pytest.mark.parametrize("seeds", [range(0), pytest.param(range(50), marks=pytest.mark.nightly)])
def test_kernels_touch_nothing_beside_their_buffers(
    seeds: range, tmp_path: Path, exported: tuple[Path, gx.Executable, gx.Executable]
) -> None:
    """Every buffer between pages that cannot be touched; a fault ends the process."""
    directory, train, infer = exported
    for first in (False, True):

        def empty(shape: tuple[int, ...], dtype: np.dtype[Any], first: bool = first) -> np.ndarray:
            return guarded(shape, dtype, first)

        def copied(array: np.ndarray, empty: Any = empty) -> np.ndarray:
            made = empty(array.shape, array.dtype)
            made[...] = array
            return made

        library = CLibrary(directory)
        for k, name in enumerate(library.names("state_name")):
            train.graph.state[name] = library.array(k).reshape(train.graph.state[name].shape)
        kept = library.guarded_state()
        for n in (0, 1, 7, 64, 129):
            x, y = np.ones((n, 6), "f"), np.zeros(n, "i8")
            assert_same_bits(library.call(infer, "infer_", copied(x), empty=empty), flat(infer(x)))
            assert_same_bits(library.call(train, "train_", copied(x), copied(y), empty=empty), flat(train(x, y)))
        assert kept.size
        for seed in seeds:
            graph = random_graph(600 + seed, ("float32", "float64")[seed % 2])
            inputs, outputs = graph.build()
            exe = gx.compile(inputs, outputs, unused="ignore", threads=1)
            exe.export_c(tmp_path / f"{first}{seed}", name="r")
            arrays = graph.arrays()
            found = CLibrary(tmp_path / f"{first}{seed}", "r").call(exe, "", *map(copied, arrays), empty=empty)
            assert_same_bits(found, flat(exe(*arrays)), f"seed {seed}")


# ---- a BLAS that the user links

BLAS = """\
#include <stdlib.h>
#define GEMM(name, real) \\
    void name(const char *ta, const char *tb, const int *m, const int *n, const int *k, const real *alpha, \\
              const real *a, const int *lda, const real *b, const int *ldb, const real *beta, real *c, \\
              const int *ldc) { \\
        int left = *ta == 'T' ? *k : *m, right = *tb == 'T' ? *n : *k; \\
        if (*lda < (left > 1 ? left : 1) || *ldb < (right > 1 ? right : 1) || *ldc < (*m > 1 ? *m : 1)) abort(); \\
        calls++; \\
        for (int i = 0; i < *m; i++) \\
            for (int j = 0; j < *n; j++) { \\
                real sum = 0; \\
                for (int p = 0; p < *k; p++) \\
                    sum += (*ta == 'T' ? a[p + (long)i * *lda] : a[i + (long)p * *lda]) \\
                         * (*tb == 'T' ? b[j + (long)p * *ldb] : b[p + (long)j * *ldb]); \\
                real *at = c + i + (long)j * *ldc; \\
                *at = *alpha * sum + (*beta == 0 ? 0 : *beta * *at); \\
            } \\
    }
int calls;
GEMM(sgemm_, float)
GEMM(dgemm_, double)
"""  # columns are in one piece, as in Fortran; wrong distances end the process


def linked(folder: Path, name: str, exe: gx.Executable) -> CLibrary:
    """An executable's library with the BLAS above."""
    cc = compiler()
    exe.export_c(folder / "c", name=name, blas="linked")
    (folder / "blas.c").write_text(BLAS)
    shared, whole = folder / f"lib{name}.so", ["-Wl,--whole-archive", folder / "c" / f"lib{name}.a"]
    options = ["-std=c99", "-O2", "-fPIC", "-shared", *STRICT]
    run(cc, *options, folder / "blas.c", *whole, "-Wl,--no-whole-archive", "-lm", "-o", shared)
    return CLibrary(folder, name)


def assert_near(found: list[np.ndarray], expected: list[np.ndarray], what: str = "") -> None:
    """Within 1e-5 or 1e-12 of the largest element of each output."""
    for mine, right in zip(found, expected, strict=True):
        largest = np.max(np.abs(right), where=np.isfinite(right), initial=0.0)
        most = (1e-5 if right.dtype == np.float32 else 1e-12) * largest
        np.testing.assert_allclose(mine, right, rtol=0, atol=most, err_msg=what)


@pytest.mark.parametrize("dtype", ["float32", pytest.param("float64", marks=pytest.mark.slow)])
def test_products_of_the_blas_that_is_linked(dtype: str, tmp_path: Path) -> None:
    g = gx.Graph("products")
    a, b = g.input("a", shape=("m", "k"), dtype=dtype), g.input("b", shape=("k", "n"), dtype=dtype)
    many, row = g.input("many", shape=("m", 3, "k"), dtype=dtype), g.input("row", shape=(1, "k"), dtype=dtype)
    y = a @ b
    loss = gx.sum(gx.tanh(y)) + gx.sum(many @ b) + gx.sum(gx.broadcast_to(row, (a.shape[0], a.shape[1])) @ b)
    exe = gx.compile([a, b, many, row], [y, y.T @ a, loss, *gx.grad(loss, [a, b, many, row])], threads=1)
    library = linked(tmp_path, "products", exe)
    rng = np.random.default_rng(5)
    for m, k, n in ((40, 50, 60), (1, 70, 30), (30, 1, 40), (40, 60, 1), (1, 1, 1), (0, 4, 3), (4, 0, 3), (3, 4, 0)):
        shapes = (m, k), (k, n), (m, 3, k), (1, k)
        arrays = [rng.normal(size=shape).astype(dtype) for shape in shapes]
        assert_near(library.call(exe, "", *arrays), flat(exe(*arrays)), f"{m}, {k}, {n}")
    assert ctypes.c_int.in_dll(library.lib, "calls").value > 20


def test_the_library_leaves_the_blas_to_its_user(tmp_path: Path) -> None:
    cc = compiler()
    train, infer = classifier()
    gx.export_c(tmp_path / "c", blas="linked", train=train, infer=infer)
    if shutil.which("nm"):
        needed = re.findall(r" U ([^@\s]+)", run("nm", "-D", "-u", tmp_path / "c" / "libmodel.so"))
        assert "sgemm_" in needed and "dgemm_" not in needed
    assert "find_package(BLAS REQUIRED)" in (tmp_path / "c" / "CMakeLists.txt").read_text()
    (tmp_path / "blas.c").write_text(BLAS)
    run(cc, "-std=c99", *STRICT, "-c", tmp_path / "blas.c", "-o", tmp_path / "blas.o")
    files = [tmp_path / "c" / "main.c", tmp_path / "c" / "libmodel.a", tmp_path / "blas.o"]
    run(cc, "-std=c99", *STRICT, *files, "-lm", "-o", tmp_path / "main")
    losses = [float(v) for v in re.findall(r"model_train \d+: (\S+)", run(tmp_path / "main", env={}))]
    assert len(losses) == 10 and losses[-1] < 0.7 * losses[0]
    with pytest.raises(gx.ExportError, match="blas must be one of tiles, linked, found 'mkl'"):
        gx.export_c(tmp_path / "d", blas="mkl", train=train)


# ---- examples


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[pytest.mark.slow] * (n not in ("xor", "hmc"))) for n in PARAMETERS]
)
def test_every_network_of_the_examples(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All that an example compiles of a graph is one library with one state, which ends as the graph's does."""
    compiler()
    for k, made in enumerate(executables_of(name, tmp_path, monkeypatch).values()):
        executables = {key.replace(" ", "_"): exe for key, exe in made.items()}
        gx.export_c(tmp_path / f"c{k}", **executables)
        library = CLibrary(tmp_path / f"c{k}")
        for size in (4, 1, 7, 300):
            for key, exe in executables.items():
                arrays = feeds(exe, size)
                assert_same_bits(library.call(exe, f"{key}_", *arrays), flat(exe(*arrays)), f"{key}, {size}")
        for place, held in enumerate(library.names("state_name") if library.state else []):
            assert library.array(place).tobytes() == exe.graph.state[held].tobytes(), held


# ---- random graphs


def _arrays(graph: Any, sizes: dict[str, int]) -> list[np.ndarray]:
    rng = np.random.default_rng(graph.seed)
    return [rng.uniform(0.3, 1.7, [sizes.get(s, s) for s in shape]).astype(graph.dtype) for shape in graph.shapes]


def check_random_graph(seed: int, dtype: str, cpu: str, folder: Path) -> int:
    """Compares the library with the executable for several sizes, and counts those that fit together."""
    graph = random_graph(seed, dtype)
    inputs, outputs = graph.build()
    exe = gx.compile(inputs, outputs, unused="ignore", threads=1)
    exe.export_c(folder, name=f"r{seed}", cpu=cpu)
    library, ran = CLibrary(folder, f"r{seed}"), 0
    for sizes in OTHER_SIZES:
        arrays = _arrays(graph, sizes)
        try:
            expected = flat(exe(*arrays))
        except gx.InputShapeError:
            with pytest.raises((AssertionError, ValueError)):
                library.call(exe, "", *arrays)
            continue
        ran += 1
        found = library.call(exe, "", *arrays)
        (assert_same_bits if cpu in FUSED else assert_near)(found, expected, f"seed {seed}, {sizes}")
    shutil.rmtree(folder)
    return ran


@pytest.mark.parametrize("cpu", [*FUSED, "x86-64-v2"])
@pytest.mark.parametrize("seeds", [range(1), pytest.param(range(200), marks=pytest.mark.nightly)])
def test_random_graphs(seeds: range, cpu: str, tmp_path: Path) -> None:
    needs(cpu)
    for seed in seeds:
        for dtype in ("float64", "float32"):
            assert check_random_graph(seed, dtype, cpu, tmp_path / f"{dtype}{seed}") >= 1


@pytest.mark.parametrize("cpu", FUSED)
def test_sums_do_not_depend_on_the_processor(cpu: str, tmp_path: Path) -> None:
    """Equal numbers have no variance, if their sum is the one that was meant; long sums of float32 show every order."""
    needs(cpu)
    g = gx.Graph("sums")
    x, w = g.input("x", shape=("n", "m"), dtype="float32"), g.input("w", shape=("m",), dtype="float32")
    exe = gx.compile([x, w], [x.sum(), gx.var(x, 0), x.mean(axis=1), x @ w, x.T @ (x @ w), gx.exp(x).sum(axis=1)])
    exe.export_c(tmp_path / "s", name="s", cpu=cpu)
    library = CLibrary(tmp_path / "s", "s")
    for n, m in ((1, 1), (7, 3), (90, 1000), (1000, 90), (257, 33)):
        for arrays in (np.full((n, m), 0.1, "f"), np.full(m, 0.7, "f")), random_arrays(n, m):
            assert_same_bits(library.call(exe, "", *arrays), flat(exe(*arrays)), f"{n} by {m}")


def random_arrays(n: int, m: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(n)
    return rng.normal(size=(n, m)).astype("f"), rng.normal(size=m).astype("f")


def test_sums_have_the_order_of_the_executable(tmp_path: Path) -> None:
    """LLVM may reorder them, and does where it optimises a loop otherwise."""
    compiler()
    exe = gradient_of_a_product()
    exe.export_c(tmp_path / "p", name="p")
    library = CLibrary(tmp_path / "p", "p")
    for n in range(1, 40):
        arrays = np.random.default_rng(n).uniform(0.3, 1.7, n), np.array(0.7)
        assert_same_bits(library.call(exe, "", *arrays), flat(exe(*arrays)), f"n = {n}")


def needs(cpu: str) -> None:
    """A compiler, and a processor that runs what is made for ``cpu``; else the test is skipped."""
    compiler()
    if cpu not in processors() or not runs_here(cpu):
        pytest.skip(f"this processor is no {cpu}")


def runs_here(cpu: str) -> bool:
    """Whether this processor has what a level asks for."""
    flags = Path("/proc/cpuinfo").read_text() if os.path.exists("/proc/cpuinfo") else ""
    return cpu == "native" or {"x86-64-v2": " sse4_2 ", "x86-64-v3": " avx2 ", "x86-64-v4": " avx512vl "}[cpu] in flags


# ---- loops


def looping() -> tuple[gx.Graph, gx.Executable]:
    """Loops and branches in one another, small carries and large ones, draws, an index and a limit, with an update."""
    g = gx.Graph("looping", float_dtype="float64")
    xs, k, w = g.input("xs", ("n", 3)), g.input("k", (), "int64"), g.parameter("w", np.array([0.3, 0.5, 0.7]))
    m, key = g.parameter("m", np.linspace(-0.4, 0.4, 100).reshape(10, 10)), g.random_key(1)

    def step(carry: Any, x: gx.Tensor) -> Any:
        h, big = carry
        h = gx.tanh(w * h + x * gx.random.uniform(key, (3,)))
        big = gx.cond(gx.sum(h) > 0, lambda: gx.tanh(big @ m), lambda: gx.sin(big) + gx.sum(h))
        return (h, big), gx.map(lambda v: v * v + gx.sum(big[0]), h)

    (h, big), ys = gx.scan(step, (g.zeros((3,)), m), xs, checkpoint_every=2)
    halved = gx.while_loop(
        lambda c: c[1] < k, lambda c: (c[0] * 0.5 + gx.take(h, c[1], 0), c[1] + 1), (gx.sum(h), 0), 4
    )
    loss = gx.sum(ys * ys) + gx.sum(gx.tanh(big)) + halved[0]
    exe = gx.compile([xs, k], [loss, ys, big], gx.optim.SGD(0.01).updates(loss, [w, m]) | {key: key}, threads=1)
    return g, exe


def test_loops(tmp_path: Path) -> None:
    """Training through loops in the library has the bits of the process; a limit and an index are statuses."""
    compiler()
    g, exe = looping()
    exe.export_c(tmp_path / "c", name="looping")
    library, rng = CLibrary(tmp_path / "c", "looping"), np.random.default_rng(0)
    for n, k in ((5, 2), (0, 0), (1, 3), (8, 1)):
        arrays = rng.normal(size=(n, 3)), np.array(k)
        assert_same_bits(library.call(exe, "", *arrays), flat(exe(*arrays)), f"{n} rows")
        for place, name in enumerate(library.names("state_name")):
            assert library.array(place).tobytes() == g.state[name].tobytes(), name
    before = [library.array(place).tobytes() for place in range(len(g.state))]
    for k, error in ((4, gx.InputIndexError), (9, gx.GraphcError)):
        with pytest.raises(error):
            exe(rng.normal(size=(2, 3)), k)
        with pytest.raises(AssertionError):
            library.call(exe, "", rng.normal(size=(2, 3)), np.array(k))
    assert before == [library.array(place).tobytes() for place in range(len(g.state))]


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(30))
def test_random_loops(seed: int, tmp_path: Path) -> None:
    compiler()
    p = Program(seed, mode_of(seed), dtype_of(seed))
    exe = gx.compile(p.inputs, p.wanted, unused="ignore", threads=1)
    exe.export_c(tmp_path / "c", name=f"loops{seed}")
    found = CLibrary(tmp_path / "c", f"loops{seed}").call(exe, "", *p.arrays)
    assert_same_bits(found, flat(exe(*p.arrays)), p.text)
