"""Steps that ranks take together, here threads in place of processes; MPI itself and Dask where they are installed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import graphc as gx
from graphc.ir.state import aligned_empty

ROOT = Path(__file__).parent.parent
RNG = np.random.default_rng(0)
X, Y = RNG.standard_normal((60, 5)).astype(np.float32), RNG.integers(0, 3, 60)


class Rank:
    """One of several threads, with what is used of an MPI communicator."""

    def __init__(self, rank: int, slots: list[Any], barrier: threading.Barrier) -> None:
        self.rank, self.slots, self.barrier = rank, slots, barrier

    def Get_rank(self) -> int:
        return self.rank

    def Get_size(self) -> int:
        return len(self.slots)

    def _all(self, value: np.ndarray, copied: bool = True) -> list[np.ndarray]:
        self.slots[self.rank] = value.copy() if copied else value
        self.barrier.wait(60)
        out = list(self.slots)
        self.barrier.wait(60)
        return out

    def Bcast(self, buffer: np.ndarray) -> None:
        buffer[...] = self._all(buffer)[0]

    def Allgather(self, sent: np.ndarray, received: np.ndarray) -> None:
        received.reshape(len(self.slots), -1)[...] = [part.ravel() for part in self._all(sent)]

    def Alltoall(self, sent: np.ndarray, received: np.ndarray) -> None:
        size = len(self.slots)
        received.reshape(size, -1)[...] = [part.reshape(size, -1)[self.rank] for part in self._all(sent)]


def shared_memory(comm: Rank, length: int) -> list[np.ndarray]:
    """What ranks of MPI have on one machine."""
    return comm._all(aligned_empty((length,), np.dtype("uint8")), copied=False)


@pytest.fixture(params=["messages", "shared"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """How ranks exchange gradients."""
    if request.param == "shared":
        monkeypatch.setattr("graphc.run.means.shared_memory", shared_memory)


def together(work: Callable[[Any], Any], size: int = 2) -> list[Any]:
    """What ``work`` returns or raises on each rank."""
    slots, barrier, out = [None] * size, threading.Barrier(size), [None] * size

    def run(k: int) -> None:
        try:
            out[k] = work(Rank(k, slots, barrier))
        except Exception as error:
            out[k] = error

    threads = [threading.Thread(target=run, args=(k,), daemon=True) for k in range(size)]
    [t.start() for t in threads]
    [t.join(120) for t in threads]
    assert not any(t.is_alive() for t in threads)
    return out


def fine(results: list[Any]) -> list[Any]:
    for r in results:
        if isinstance(r, Exception):
            raise r
    return results


def network(seed: int = 0) -> tuple[gx.Graph, gx.Tensor, gx.Tensor, gx.Tensor]:
    g = gx.Graph("net")
    x, y = g.input("x", ("batch", 5)), g.input("y", ("batch",), "int64")
    w = g.parameter("w", gx.init.normal((5, 7), std=0.5, seed=seed))
    b = g.parameter("b", np.zeros(7, np.float32))
    v = g.parameter("v", gx.init.normal((7, 3), std=0.5, seed=seed + 1))
    return g, x, y, gx.cross_entropy(gx.tanh(x @ w + b) @ v, y)


OPTIMISERS = {
    "sgd": gx.optim.SGD(0.3), "adam": gx.optim.Adam(0.05), "clipped": gx.optim.Momentum(0.2, clip_norm=0.1),
    "lamb": gx.optim.LAMB(0.1), "decay": gx.optim.NAdam(0.05, weight_decay=0.1),
}  # fmt: skip


@pytest.mark.parametrize("size", [1, 2, 3])
@pytest.mark.parametrize("name", OPTIMISERS)
def test_ranks_have_the_bits_of_one_process_with_the_same_shards(way: None, name: str, size: int) -> None:
    def train(comm: Any) -> dict[str, np.ndarray]:
        g, x, y, losses = network()
        updates = gx.distributed.data_parallel(OPTIMISERS[name].updates(gx.mean(losses)), comm)
        step = gx.compile([x, y], losses, updates=updates)
        for k in range(2):
            step.run_batches(gx.distributed.shard([X, Y], comm), 6, shuffle=True, seed=k)
        return dict(g.state)

    many = fine(together(train, size))

    g, x, y, losses = network()
    loss = gx.mean(losses)
    updates = OPTIMISERS[name].updates(loss)
    gradients = [g.tensors[i] for i in sorted(g.gradients)]
    assert len(gradients) == 3
    first, second = gx.compile([x, y], [losses, *gradients]), gx.compile(gradients, None, updates=updates)
    rows = 60 // size
    for k in range(2):
        order = np.random.default_rng(k).permutation(rows)
        for low in range(0, rows, 6):
            at = order[low : low + 6]
            parts = [first(X[r * rows :][at], Y[r * rows :][at])[1:] for r in range(size)]
            means = [sum(p[1:], start=p[0]) / np.float32(size) for p in zip(*parts, strict=True)]
            second(*means)
    for state in many:
        for key, value in g.state.items():
            assert np.array_equal(state[key], value), key


def test_as_one_process_to_rounding_when_shards_are_equal(way: None) -> None:
    def build() -> tuple[Any, ...]:
        g = gx.Graph("line", float_dtype="float64")
        x, w = g.input("x", ("n", 3)), g.parameter("w", np.ones(3))
        rate = g.input("rate", ())
        loss = gx.mean((x @ w - 2.0) ** 2)
        return g, x, rate, loss, {w: w - rate * gx.grad(loss, w)}

    rows = RNG.standard_normal((8, 3))

    def train(comm: Any) -> np.ndarray:
        g, x, rate, loss, updates = build()
        step = gx.compile([x, rate], loss, updates=gx.distributed.data_parallel(updates, comm))
        for _ in range(5):
            step(rate=0.1, x=gx.distributed.shard(rows, comm))
        step.run_batches([gx.distributed.shard(rows, comm), 0.1], 4)
        return g.state["w"]

    one, other = fine(together(train))
    g, x, rate, loss, updates = build()
    step = gx.compile([x, rate], loss, updates=updates)
    for _ in range(6):
        step(rows, 0.1)
    assert np.array_equal(one, other) and np.allclose(one, g.state["w"], rtol=1e-13)


def test_what_has_no_gradient_is_averaged_itself(way: None) -> None:
    def train(comm: Any) -> tuple[dict[str, np.ndarray], float]:
        g = gx.Graph("norm")
        x = g.input("x", ("n", 5))
        h = gx.nn.batch_norm(g, x @ g.parameter("w", np.eye(5, dtype=np.float32)))
        key = g.random_key(comm.Get_rank())
        loss = gx.mean(gx.dropout(h, rate=0.5, key=key) ** 2)
        rows = g.variable("rows", 0.0)
        updates = gx.optim.SGD(0.0).updates(loss)
        updates[rows] = rows + gx.sum(gx.ones_like(x[:, 0]))  # depends on the size of the batch alone
        step = gx.compile([x], loss, updates=gx.distributed.data_parallel(updates, comm))
        step(X[:20] if comm.Get_rank() else X[20:50])
        last = float(step(X[:20]))
        return dict(g.state), last

    (one, a), (other, b) = fine(together(train))
    assert one.pop("key").tolist() == [0, 2] and other.pop("key").tolist() == [1, 2] and a != b, "their own numbers"
    assert all(np.array_equal(one[k], other[k]) for k in one)
    assert one["rows"] == 25.0 + 20.0
    (mean,) = [v for k, v in one.items() if "average" in k]
    first = 0.1 * (X[:20].mean(0) + X[20:50].mean(0)) / 2
    assert np.allclose(mean, 0.9 * first + 0.1 * X[:20].mean(0), atol=1e-6)


def test_two_dtypes_and_state_of_rank_0(way: None) -> None:
    def train(comm: Any) -> tuple[np.ndarray, np.ndarray]:
        g = gx.Graph("mixed", float_dtype="float64")
        x = g.input("x", ("n",), "float64")
        w, v = g.parameter("w", np.float32(1 + comm.Get_rank())), g.parameter("v", np.array([2.0, 3.0]))
        loss = gx.mean(x * w.astype("float64") * gx.sum(v))
        g.parameter("unused", 0.0)
        step = gx.compile(
            [x], None, updates=gx.distributed.data_parallel(gx.optim.SGD(1.0).updates(loss, [w, v]), comm)
        )
        step(np.full(2, 1.0 + 2 * comm.Get_rank()))
        return g.state["w"], g.state["v"]

    for w, v in fine(together(train)):
        assert w == 1 - 2 * 5 and v.tolist() == [0.0, 1.0]


@pytest.mark.parametrize("kind", ["one", "list", "dict", "nest"])
def test_outputs_are_those_of_the_own_rows(way: None, kind: str) -> None:
    def train(comm: Any) -> Any:
        _, x, y, losses = network()
        total = gx.mean(losses)
        outputs = {"one": losses, "list": [losses, total], "dict": {"a": total}, "nest": {"a": [total, {"b": losses}]}}
        updates = gx.optim.SGD(0.0).updates(total)
        plain = gx.compile([x, y], outputs[kind])
        step = gx.compile([x, y], outputs[kind], updates=gx.distributed.data_parallel(updates, comm))
        own = gx.distributed.shard({"x": X, "y": Y}, comm)
        flat = plain.program.structure.unpack
        into = step(**own)
        assert step(**own, out=step.program.structure.pack([np.array(a) for a in flat(into)])) is not None
        assert all(type(a) is type(b) for a, b in zip(flat(into), flat(plain(**own)), strict=True))
        return flat(into), flat(plain(**own)), flat(step.run_batches(own, 7)), flat(plain.run_batches(own, 7))

    for a, b, c, d in fine(together(train)):
        for one, other in [*zip(a, b, strict=True), *zip(c, d, strict=True)]:
            assert np.allclose(one, other, rtol=1e-6) and np.shape(one) == np.shape(other)


def test_an_error_on_one_rank_ends_the_step_on_all(way: None) -> None:
    def train(comm: Any) -> None:
        g, x, y, losses = network()
        updates = gx.distributed.data_parallel(gx.optim.Adam(0.1).updates(gx.mean(losses)), comm)
        step = gx.compile([x, y], losses, updates=updates)
        mine = gx.distributed.shard([X, Y], comm)
        step.run_batches(mine, 10)
        before = dict(g.state)
        bad = [mine[0], np.where(np.arange(30) == 15, 9, mine[1])] if comm.Get_rank() else mine
        errors = []
        for call in (lambda: step(*bad), lambda: step.run_batches([bad[0][15:], bad[1][15:]], 20)):
            with pytest.raises(gx.GraphcError) as caught:
                call()
            errors.append(caught.value)
        assert all(isinstance(e, gx.InputIndexError) == bool(comm.Get_rank()) for e in errors)
        with pytest.raises(gx.GraphcError):  # of another shape on one rank
            step.run_batches([mine[0][:, :4] if comm.Get_rank() else mine[0], mine[1]], 10)
        with pytest.raises(gx.InputError, match="3, 2 batches"):
            step.run_batches([a[: 30 - 10 * comm.Get_rank()] for a in mine], 10)
        assert all(np.array_equal(before[k], v) for k, v in g.state.items())
        step.run_batches(mine, 10)

    fine(together(train))


def test_what_cannot_be_combined_is_refused() -> None:
    def refused(updates: Callable[..., Any], text: str) -> None:
        def build(comm: Any) -> None:
            g, x, y, losses = network()
            made = updates(g, x, gx.mean(losses))
            gx.compile([x, y], losses, updates=gx.distributed.data_parallel(made, comm))

        for error in together(build):
            assert isinstance(error, gx.CompileError) and text in str(error), error

    refused(lambda g, x, loss: gx.optim.LBFGS().updates(loss), "beside the gradient, as LBFGS does")
    refused(lambda g, x, loss: gx.optim.SGD(), "opt.updates(loss)")
    refused(lambda g, x, loss: {(n := g.variable("n", 0.0)): n + 1.0}, "no update depends on the inputs")
    refused(lambda g, x, loss: {(n := g.variable("n", 0)): n + gx.sum(x > 0)}, "only floats have a mean")

    def different(comm: Any) -> None:
        g = gx.Graph("g")
        w = g.parameter("w", np.zeros(2 + comm.Get_rank(), np.float32))
        x = g.input("x", ("n",))
        loss = gx.sum(x) * gx.sum(w)
        gx.compile([x], loss, updates=gx.distributed.data_parallel(gx.optim.SGD().updates(loss), comm))

    assert all("compile different steps" in str(e) for e in together(different))


def test_a_step_is_looked_at_and_saved_whole(tmp_path: Path) -> None:
    def train(comm: Any) -> tuple[Any, dict[str, np.ndarray]]:
        g, x, y, losses = network()
        updates = gx.distributed.data_parallel(gx.optim.Momentum(0.1).updates(gx.mean(losses)), comm)
        step = gx.compile([x, y], losses, updates=updates, lazy=bool(comm.Get_rank()))
        assert step.wait() and list(step.inputs) == ["x", "y"]
        step.run_batches(gx.distributed.shard((X, Y), comm), 10)
        assert step.memory(batch=10) > 0 and "gradients/graph" in step.stages
        with pytest.raises(gx.CompileError, match=r"exe\.gradients"):
            _ = step.source
        gx.distributed.save(tmp_path / "step.gx", comm, step=step)
        return step, dict(g.state)

    (_, state), _ = fine(together(train))
    held = gx.load(tmp_path / "step.gx")
    step = held["step"]
    assert all(np.array_equal(step.graph.state[k], v) for k, v in state.items())
    step(X, Y)
    assert not np.array_equal(step.graph.state["w"], state["w"])

    def unwritable(comm: Any) -> None:
        _, x, y, losses = network()
        gx.distributed.save(tmp_path / "none" / "step.gx", comm, step=gx.compile([x, y], losses, backend="numpy"))

    one, other = together(unwritable)
    assert isinstance(one, OSError) and "rank 0 could not write" in str(other)


def test_shards() -> None:
    def own(comm: Any) -> Any:
        return gx.distributed.shard({"a": np.arange(8), "b": np.arange(16).reshape(8, 2)}, comm)

    parts = fine(together(own, 3))
    assert [p["a"].tolist() for p in parts] == [[0, 1], [2, 3], [4, 5]] and parts[2]["b"].tolist() == [[8, 9], [10, 11]]
    for bad in ([np.zeros(3), np.zeros(4)], np.zeros(1), 1.0, []):
        assert all(
            isinstance(e, gx.InputShapeError) for e in together(lambda comm, bad=bad: gx.distributed.shard(bad, comm))
        )


@pytest.mark.parametrize(("module", "extra"), [("mpi4py", "mpi"), ("dask", "dask")])
def test_a_missing_package_is_one_line(module: str, extra: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [module, *[m for m in sys.modules if m.startswith(f"{module}.")]]:
        monkeypatch.setitem(sys.modules, name, None)
    for name in ("mpi4py.MPI", "dask.array"):
        monkeypatch.setitem(sys.modules, name, None)
    x = gx.Graph("g").input("x", ("n",))
    exe = gx.compile([x], x + 1.0, backend="numpy")
    call = (lambda: gx.distributed.shard(X)) if module == "mpi4py" else (lambda: gx.distributed.map_batches(exe, X))
    with pytest.raises(gx.GraphcError, match=rf'needs {module}: pip install "graphc\[{extra}\]"') as caught:
        call()
    assert len(str(caught.value).splitlines()) == 1


def test_the_example_trains(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from test_cli import write_images
    from test_examples import example

    write_images(tmp_path)
    ranks = example("ranks")
    file = str(tmp_path / "train.gx")
    one, other = fine(together(lambda comm: ranks.main([str(tmp_path), "--epochs", "40", "--save", file], comm)))
    last, theirs = one["epochs"][-1], other["epochs"][-1]
    assert last["test_accuracy"] == theirs["test_accuracy"] > 0.9 and last["train_loss"] < 1.5
    assert len(capsys.readouterr().out.splitlines()) == 40 and list(gx.load(file)) == ["train", "infer"]
    monkeypatch.delenv("GRAPHC_FASHION_MNIST", raising=False)
    assert ranks.main([]) is None


# ---- MPI itself

STEP = """
import sys, time
import numpy as np
import graphc as gx
from mpi4py import MPI

comm, directory, how = MPI.COMM_WORLD, sys.argv[1], sys.argv[2]
killed = how == "killed"

class Messages:  # what the protocol asks, and no more
    Get_rank, Get_size, Bcast = comm.Get_rank, comm.Get_size, comm.Bcast
    Allgather, Alltoall = comm.Allgather, comm.Alltoall

rng = np.random.default_rng(0)
x_all, y_all = rng.standard_normal((64, 5)), rng.standard_normal(64)
g = gx.Graph("line", float_dtype="float64")
x, y = g.input("x", ("n", 5)), g.input("y", ("n",))
w = g.parameter("w", np.full(5, float(comm.rank)))
loss = gx.mean((x @ w - y) ** 2)
updates = gx.distributed.data_parallel(gx.optim.Adam(0.1).updates(loss), Messages if how == "messages" else comm)
step = gx.compile([x, y], loss, updates=updates)
assert type(step._means._way).__name__ == ("Messages" if how == "messages" else "SharedMemory")
for epoch in range(10000 if killed else 3):
    step.run_batches(gx.distributed.shard([x_all, y_all]), 8, shuffle=True, seed=epoch)
    gx.distributed.save(f"{directory}/step.gx", step=step)
    if killed and epoch == 3 and comm.rank == 1:
        import os, signal
        os.kill(os.getpid(), signal.SIGKILL)
np.save(f"{directory}/w{comm.rank}.npy", g.state["w"])
"""


def mpiexec(directory: Path, how: str) -> subprocess.CompletedProcess[str]:
    """The program on two ranks."""
    pytest.importorskip("mpi4py", reason="needs mpi4py, of the extra mpi")
    found = shutil.which("mpiexec", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
    if found is None:
        pytest.skip("there is no mpiexec; the extra mpi has one")
    (directory / "step.py").write_text(STEP)
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    command = [found, "-n", "2", sys.executable, "-m", "mpi4py", "step.py", str(directory), how]
    return subprocess.run(command, cwd=directory, env=env, capture_output=True, text=True, timeout=200)


def test_mpi(tmp_path: Path) -> None:
    weights = []
    for how in ("shared", "messages"):
        done = mpiexec(tmp_path, how)
        assert done.returncode == 0, done.stderr
        weights += [np.load(tmp_path / f"w{rank}.npy") for rank in (0, 1)]
    weights.append(gx.load(tmp_path / "step.gx")["step"].graph.state["w"])
    assert all(np.array_equal(w, weights[0]) for w in weights)


def test_a_lost_rank_ends_the_run_and_leaves_the_checkpoint_whole(tmp_path: Path) -> None:
    done = mpiexec(tmp_path, "killed")
    assert done.returncode != 0 and "signal 9" in (done.stdout + done.stderr).lower()
    step = gx.load(tmp_path / "step.gx")["step"]
    assert step.graph.state["adam/step"] >= 12 and not (tmp_path / "w0.npy").exists()


# ---- Dask


def inference() -> tuple[Any, gx.Graph]:
    g = gx.Graph("infer")
    x, scale = g.input("x", ("n", 5)), g.input("scale", (3,))
    w = g.parameter("w", gx.init.normal((5, 3), seed=1))
    logits = x @ w * scale
    return gx.compile([x, scale], {"label": gx.argmax(logits, axis=-1), "of": [logits]}), g


SCALE = np.array([1.0, 2.0, 3.0], np.float32)


def test_dask_arrays() -> None:
    array = pytest.importorskip("dask.array", reason="needs Dask, of the extra dask")
    exe, g = inference()
    expected = exe(X, SCALE)
    for batch_size in (None, 13):
        got = gx.distributed.map_batches(exe, [array.from_array(X, chunks=(17, 2)), SCALE], batch_size=batch_size)
        assert got["label"].chunks[0] == ((17, 17, 17, 9) if batch_size is None else (13, 13, 13, 13, 8))
        g.state["w"] = np.zeros((5, 3)) if batch_size else g.state["w"]  # workers have the state of the call
        assert np.array_equal(got["label"].compute(scheduler="threads"), expected["label"])
        assert np.array_equal(got["of"][0].compute(scheduler="sync"), expected["of"][0])
    x = array.from_array(X, chunks=(20, 5))
    empty = gx.distributed.map_batches(exe, {"scale": SCALE, "x": x[:0]})
    assert empty["label"].compute(scheduler="sync").shape == (0,)
    cases = [
        (exe, [X, SCALE], {}, gx.InputError, "pass a dask.distributed.Client"),
        (exe, [x[x[:, 0] > 0], SCALE], {}, gx.InputShapeError, "compute_chunk_sizes"),
        (exe, [x, SCALE], {"batch_size": 0}, gx.InputError, "batch_size must be"),
        (exe, [x], {}, gx.InputError, "scale"),
        ("exe", [x], {}, gx.InputError, "expected an executable"),
    ]
    _, a, b, losses = network()
    cases.append((gx.compile([a, b], gx.mean(losses), backend="numpy"), [x, Y], {}, gx.InputError, "all outputs"))
    updates = gx.optim.SGD().updates(gx.mean(losses))
    cases.append((gx.compile([a, b], losses, updates, backend="numpy"), [x, Y], {}, gx.InputError, "updates"))
    for given, data, options, kind, text in cases:
        with pytest.raises(kind, match=text):
            gx.distributed.map_batches(given, data, **options)


def test_a_dask_cluster() -> None:
    array = pytest.importorskip("dask.array", reason="needs Dask, of the extra dask")
    distributed = pytest.importorskip("distributed", reason="needs dask.distributed, of the extra dask")
    exe, _ = inference()
    expected = exe(X, SCALE)
    with (
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster,
        distributed.Client(cluster) as client,
    ):
        for data in (X, array.from_array(X, chunks=(25, 5))):
            got = gx.distributed.map_batches(exe, {"x": data, "scale": SCALE}, client)
            assert np.array_equal(np.asarray(got["label"]), expected["label"])
            assert np.array_equal(np.asarray(got["of"][0]), expected["of"][0])
        loaded = client.run(lambda: len(gx.distributed._loaded))
        assert all(count <= 1 for count in loaded.values()) and any(loaded.values())
