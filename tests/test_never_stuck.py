"""No thread, fork, signal or end of the interpreter leaves a lock taken, a call unanswered or a step half done.

Each program runs in a process of its own, which is killed where it hangs. Its graph counts steps in every element of two
arrays, so a step that is half done is seen.
"""

from __future__ import annotations

import contextlib
import gc
import os
import re
import signal
import subprocess
import sys
import types
from pathlib import Path

import numpy as np
import pytest

import graphc as gx

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs signals and forks")

MODEL = """
import atexit, faulthandler, os, random, signal, sys, threading, time, warnings
import numpy as np
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in what a shell runs in the background
atexit.register(lambda: last())  # after those of graphc
last = lambda: None
import graphc as gx

warnings.simplefilter("ignore", DeprecationWarning)  # of os.fork beside threads
options = {"backend": "numpy"} if "numpy" in sys.argv else {"threads": 1}
g = gx.Graph("steps")
x = g.input("x", ("n", 64))
a, b = (g.variable(name, np.zeros((64, 64), np.float32)) for name in "ab")
y = gx.sum(gx.tanh(x @ a)) * 0.0
train = gx.compile([x], y, {a: a + 1.0 + y, b: b + 1.0 + y}, **options)
infer = gx.compile([x], [gx.min(a), gx.max(a), gx.min(b), gx.max(b), y], **options)
X = np.ones((200, 64), np.float32)

dropped = []  # exceptions that nobody gets to see, such as those in a finaliser

def drop(it):
    dropped.append(f"{it.exc_type.__name__} in {it.object!r}")
    if "WeakSet" not in dropped[-1]:  # of `threading`, when a thread is gone
        sys.__unraisablehook__(it)

sys.unraisablehook = drop

def steps():
    \"\"\"How many there have been; each was whole.\"\"\"
    values = {float(v) for v in infer(X[:1])[:4]}
    assert len(values) == len(np.unique(g.state["a"])) == 1, values
    return values.pop()

def in_time(function, seconds=20):
    \"\"\"What a function returns in another thread.\"\"\"
    out = []
    thread = threading.Thread(target=lambda: out.append(function()), daemon=True)
    thread.start()
    thread.join(seconds)
    if not out:
        print("stuck" if thread.is_alive() else "failed", flush=True)
        faulthandler.dump_traceback()
        os._exit(3)
    return out[0]

def state():
    g.state["a"] = g.state["a"]

def save():
    gx.save(os.path.join(os.environ["GRAPHC_CACHE_DIR"], f"{os.getpid()}.gx"), train=train)

def batches(rows=200):
    train.run_batches([X[:rows]], 10)

def shuffled(rows=200):
    train.run_batches([X[:rows]], 10, shuffle=True, seed=0)

WORK = {
    "train": lambda: train(X), "infer": lambda: infer(X), "state": state, "save": save, "batches": batches,
    "shuffled": shuffled,
}
"""

EXPORTED = """
train.export_python(path := os.path.join(os.environ["GRAPHC_CACHE_DIR"], f"{os.getpid()}.py"), name="step")
import importlib.util
spec = importlib.util.spec_from_file_location("exported", path)
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
module.step(X)

def steps():
    values = {float(v) for name in "ab" for v in np.unique(module.state[name])}
    assert len(values) == 1, values
    return values.pop()

def state():
    module.state["a"] = module.state["a"]

WORK = {"train": lambda: module.step(X), "state": state}
"""

PRESSES = """
presses, names = int(sys.argv[1]), sys.argv[2].split(",")
chance = random.Random(0)
for work in WORK.values():
    work()
before = steps()
for k in range(presses):
    work = WORK[names[k % len(names)]]
    hit = threading.Timer(chance.uniform(0.001, 0.02), signal.raise_signal, [signal.SIGINT])
    try:
        hit.start()
        while not dropped:
            work()
    except KeyboardInterrupt:
        pass
    hit.join()
    dropped.clear()
    now = in_time(steps)
    assert now >= before or "state" in names, (now, before)
    before = now
print("all answered")
"""

COMPILED = """
presses, kind = int(sys.argv[1]), sys.argv[2]
chance, sizes = random.Random(0), iter(range(1, 10**6))

def first():
    \"\"\"Numba compiles what calls a kernel of other sizes.\"\"\"
    g, n = gx.Graph(float_dtype="float64"), next(sizes)
    x, y = g.input("x", ()), g.input("y", (n,))
    if kind == "njit":
        assert gx.compile([y], gx.sum(y), cache=False).njit(np.ones(n)) == n
    else:
        assert gx.compile([x], x + n, cache=False).low_level("double (double)").function(1.0) == n + 1

first()
for k in range(presses):
    hit = threading.Timer(chance.uniform(0.001, 0.6), signal.raise_signal, [signal.SIGINT])
    try:
        hit.start()
        while not dropped:
            first()
    except KeyboardInterrupt:
        pass
    hit.join()
    dropped.clear()
    in_time(first)
print("all answered")
"""

FORKS = """
forks, busy = int(sys.argv[1]), sys.argv[2]
for work in WORK.values():
    work()
stop = False
def loop():
    while not stop:
        WORK[busy]()
thread = threading.Thread(target=loop)
thread.start()
stuck = failed = 0
for _ in range(forks):
    time.sleep(0.01)
    child = os.fork()
    if not child:
        faulthandler.register(signal.SIGALRM, chain=True)  # writes the stacks of all threads, then ends it
        signal.alarm(20)
        try:
            one = steps()
            for work in WORK.values():
                work()
            assert steps() > one
        except BaseException as error:
            print(repr(error), file=sys.stderr, flush=True)
            os._exit(1)
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    stuck += status == signal.SIGALRM
    failed += status not in (0, signal.SIGALRM)
stop = True
thread.join()
steps()
print(f"stuck {stuck}, failed {failed}")
"""

FIRST = """
import threading, numpy as np, graphc as gx
g = gx.Graph("q")
x, w = g.input("x", ("n", 300)), g.parameter("w", np.ones((300, 300), "f"))
exes = [gx.compile([x], gx.sum(gx.exp(x), 0)), gx.compile([x], gx.sum(gx.tanh(x @ w)), {w: w * 0.5}, threads=3)]
gate = threading.Barrier(8)
done = []
def work(k):
    gate.wait()
    for n in range(1, 60):
        exes[k % 2](np.ones((n % 7 + 1 + 600 * (n % 20 == 1), 300), "f"))
    exes[k % 2].run_batches([np.ones((50, 300), "f")], 20)
    done.append(k)
threads = [threading.Thread(target=work, args=(k,)) for k in range(8)]
[t.start() for t in threads]
[t.join() for t in threads]
print(len(done))
"""

LINES = """
PACKAGE = os.path.dirname(gx.__file__) + os.sep

def traced(function, n=0):
    \"\"\"The lines of graphc's that a function runs; with KeyboardInterrupt at the n-th of them.\"\"\"
    lines = []
    def trace(frame, event, arg):
        if not frame.f_code.co_filename.startswith(PACKAGE):
            return None
        if event == "line":
            lines.append((frame.f_code, frame.f_lineno))
            if len(lines) == n:
                raise KeyboardInterrupt
        return trace
    try:
        sys.settrace(trace)
        function()
    except KeyboardInterrupt:
        pass
    finally:
        sys.settrace(None)
    return lines

rows = iter(range(300, 10_000))
out = np.empty((), np.float32)
CALLS = {
    "train": WORK["train"], "infer": WORK["infer"], "new shape": lambda: train(np.ones((next(rows), 64), "f")),
    "named": lambda: train(x=np.ones((3, 64))), "out": lambda: train(X, out=out), "batches": lambda: batches(20),
    "shuffled": lambda: shuffled(20), "read": lambda: g.state["a"], "set": state, "save": save,
}
often = int(sys.argv[2])  # how often a line is interrupted that runs many times
total = 0
for name in sys.argv[3:]:
    call = CALLS[name]
    call()
    runs = {}
    for n, line in enumerate(traced(call), 1):
        runs.setdefault(line, []).append(n)
    for n in sorted(n for times in runs.values() for n in times[:often]):
        before = steps()
        traced(call, n)
        after = in_time(lambda: (WORK["train"](), steps()))[1] - 1
        assert 0 <= after - before <= 2, (name, n, before, after)
        total += 1
print("lines", total)
"""

ENDS = {
    "a daemon in calls": "threading.Thread(target=lambda: [WORK['train']() for _ in iter(int, 1)], daemon=True).start()",
    "a daemon in batches": "threading.Thread(target=lambda: [batches() for _ in iter(int, 1)], daemon=True).start()",
    "a daemon in state": "threading.Thread(target=lambda: [state() for _ in iter(int, 1)], daemon=True).start()",
    "a thread that finishes": "threading.Thread(target=lambda: [WORK['train']() for _ in range(200)]).start()",
    "a lazy kernel": "gx.compile([x], gx.sum(gx.cos(x @ (a * 2.0))), lazy=True, cache=False)",
    "handlers that call": """
atexit.register(lambda: print("called", steps() > 0, save()))
last = lambda: print("called", steps() > 0, save())
class Finalised:
    def __del__(self, train=train, X=X): train(X)
finalised = Finalised()
threading.Thread(target=lambda: [WORK['train']() for _ in iter(int, 1)], daemon=True).start()
""",
    "handlers that compile": """
atexit.register(lambda: gx.compile([x], gx.sum(gx.cos(x)), cache=False)(X))
last = lambda: gx.compile([x], gx.sum(gx.sin(x)), cache=False)(X)
""",
}


# What Python says of a press that comes while Numba or llvmlite gives something up: nothing can be raised there. Of
# graphc's own functions it must not say so.
FORGETTING = re.compile(
    r"Exception ignored in: <function (?:(?!graphc/(?:codegen|ir|run|train|lock)).)*?\nKeyboardInterrupt: \n", re.DOTALL
)


def run(cache: Path, program: str, *arguments: str, seconds: float = 500) -> str:
    """What a program prints; it must end by itself, without a crash or complaint. A hang shows the stacks of all threads."""
    environment = {**os.environ, "GRAPHC_CACHE_DIR": str(cache)}
    command = [sys.executable, "-X", "faulthandler", "-c", program, *arguments]
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        try:
            out, err = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGABRT)  # faulthandler writes the stacks
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(5)
            os.killpg(process.pid, signal.SIGKILL)
            out, err = process.communicate()
            pytest.fail(f"still running after {seconds} s\n{out[-500:]}\n{err[-6000:]}")
    assert process.returncode == 0 and not FORGETTING.sub("", err), (
        f"status {process.returncode}\n{out[-500:]}\n{err[-6000:]}"
    )
    return out


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache that the programs share."""
    return tmp_path_factory.mktemp("cache")


slow = pytest.mark.slow


@pytest.mark.parametrize(
    ("presses", "names", "backend"),
    [
        (40, "train,infer,state,batches,shuffled,save", "numba"),
        (10, "train,batches", "numpy"),
        pytest.param(2000, "train", "numba", marks=slow),
        pytest.param(2000, "train,infer,state,batches,shuffled,save", "numba", marks=slow),
        pytest.param(500, "train,infer,state,batches", "numpy", marks=slow),
    ],
)
def test_ctrl_c_leaves_nothing_taken(presses: int, names: str, backend: str, cache: Path) -> None:
    assert run(cache, MODEL + PRESSES, str(presses), names, backend, seconds=300 + presses) == "all answered\n"


@pytest.mark.parametrize("presses", [20, pytest.param(2000, marks=slow)])
def test_ctrl_c_in_an_exported_module(presses: int, cache: Path) -> None:
    assert (
        run(cache, MODEL + EXPORTED + PRESSES, str(presses), "train,state", seconds=300 + presses) == "all answered\n"
    )


@pytest.mark.parametrize("kind", ["njit", "low_level"])
@pytest.mark.parametrize("presses", [2, pytest.param(100, marks=slow)])
def test_ctrl_c_while_numba_compiles_what_calls_a_kernel(presses: int, kind: str, cache: Path) -> None:
    assert run(cache, MODEL + COMPILED, str(presses), kind, seconds=300 + 10 * presses) == "all answered\n"


def test_numba_compiles_in_no_thread_that_ctrl_c_reaches() -> None:
    x = gx.Graph().input("x", (7, 3))
    call, a = gx.compile([x], gx.sum(x)).njit, np.ones((7, 3), "f")
    ran: set[str] = set()
    sys.setprofile(lambda frame, event, arg: ran.add(frame.f_code.co_filename))
    try:
        assert call(a) == 21
    finally:
        sys.setprofile(None)
    assert ran and not [name for name in ran if "compiler" in name]


@pytest.mark.parametrize(
    ("forks", "busy", "backend"),
    [
        (8, "train", "numba"),
        (8, "batches", "numba"),
        (4, "train", "numpy"),
        *(pytest.param(200, busy, "numba", marks=slow) for busy in ("train", "infer", "batches", "state", "save")),
        pytest.param(100, "train", "numpy", marks=slow),
    ],
)
def test_children_made_while_another_thread_is_busy(forks: int, busy: str, backend: str, cache: Path) -> None:
    assert run(cache, MODEL + FORKS, str(forks), busy, backend, seconds=300 + 10 * forks) == "stuck 0, failed 0\n"


@pytest.mark.parametrize("forks", [8, pytest.param(200, marks=slow)])
def test_children_of_an_exported_module(forks: int, cache: Path) -> None:
    assert run(cache, MODEL + EXPORTED + FORKS, str(forks), "train", seconds=300 + 10 * forks) == "stuck 0, failed 0\n"


def test_a_fork_runs_no_python_of_graphc(cache: Path) -> None:
    """An exception in a function that renews something in a child would leave it half done."""
    program = """
parallel = gx.compile([x], gx.sum(gx.exp(x)), threads=3)
big = np.ones((30_000, 64), "f")
total, ran = parallel(big), []
sys.setprofile(lambda frame, event, arg: ran.append(frame.f_code.co_filename))
child = os.fork()
sys.setprofile(None)
assert not [name for name in ran if os.path.dirname(gx.__file__) in name]
assert parallel(big) == total and steps() == 0
if not child:
    os._exit(0)
print(os.waitpid(child, 0)[1])
"""
    assert run(cache, MODEL + program) == "0\n"


@pytest.mark.parametrize("processes", [2, pytest.param(50, marks=slow)])
def test_first_calls_from_eight_threads(processes: int, tmp_path: Path) -> None:
    for k in range(processes):
        fresh = tmp_path / str(k) if k % 2 else tmp_path  # an empty cache, or a full one
        assert run(fresh, FIRST) == "8\n"


def test_a_call_while_another_thread_imports_what_numpy_loads_late(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "numpy.ma", types.ModuleType("numpy.ma"))
    x = gx.Graph().input("x", ("n",))
    assert gx.compile([x], gx.sum(x), backend="numpy")([1.0, 2.0]) == 3.0


CALLS = ["train", "infer", "new shape", "named", "out", "batches", "shuffled", "read", "set"]


@pytest.mark.parametrize(
    ("backend", "often", "calls"),
    [
        ("numba", 1, CALLS),
        ("numpy", 1, ["train", "infer"]),
        pytest.param("numba", 10**6, CALLS, marks=slow),
        pytest.param("numpy", 10**6, CALLS, marks=slow),
        pytest.param("numba", 3, ["save"], marks=slow),
    ],
)
def test_an_exception_at_every_line(backend: str, often: int, calls: list[str], cache: Path) -> None:
    """At the first times that a line runs, or at every time."""
    out = run(cache, MODEL + LINES, backend, str(often), *calls, seconds=3000)
    assert int(out.split()[1]) > 300, "few lines were seen"


@pytest.mark.parametrize("how", ENDS)
def test_the_end_of_the_interpreter(how: str, cache: Path) -> None:
    program = MODEL + "train(X); batches()\n" + ENDS[how] + "\ntime.sleep(0.1)\n"
    assert run(cache, program) == ENDS[how].count("called") * "called True None\n"


def test_an_exported_module_is_first_called_when_the_process_ends(cache: Path) -> None:
    program = MODEL + EXPORTED.replace("module.step(X)\n", "") + "last = lambda: print(module.step(X), steps())\n"
    assert run(cache, program) == "0.0 1.0\n"


def test_what_is_thrown_away_runs_no_python() -> None:
    """Python drops a KeyboardInterrupt that comes in a finaliser, so a press of Ctrl-C would have no effect."""
    g = gx.Graph("gone")
    x, w = g.input("x", ("n", 4)), g.parameter("w", np.ones((4, 4), "f"))
    exe = gx.compile([x], gx.sum(x @ w), {w: w * 0.5})
    exe.run_batches([np.ones((8, 4), "f")], 2)
    ran: list[str] = []
    gc.collect()
    del g, x, w, exe
    sys.setprofile(lambda frame, event, arg: ran.append(frame.f_code.co_name) if event == "call" else None)
    try:
        gc.collect()
    finally:
        sys.setprofile(None)
    assert not ran


def test_a_call_in_the_middle_of_a_step_is_refused(cache: Path) -> None:
    """A signal comes while the NumPy interpreter holds the state: its handler calls, and makes a child that goes on."""
    program = """
def handler(*_):
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    for ask in (lambda: train(X), lambda: infer(X), lambda: g.state["a"]):
        try:
            ask()
        except gx.StateError:
            refused.append(1)
    if refused:
        forked.append(os.fork())

refused, forked = [], []
end = time.monotonic() + 60
while not forked and time.monotonic() < end:
    signal.signal(signal.SIGUSR1, handler)
    hit = threading.Timer(0.002, signal.raise_signal, [signal.SIGUSR1])
    hit.start()
    for _ in range(20):
        train(X)
    hit.join()
before = steps()
train(X)
assert steps() == before + 1
if forked[0]:
    print(len(refused), os.waitpid(forked[0], 0)[1])
else:
    os._exit(0)
"""
    assert run(cache, MODEL + program, "numpy") == "3 0\n"
