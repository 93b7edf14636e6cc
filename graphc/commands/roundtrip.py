"""``graphc roundtrip``: executables of a file through every format, and how far results are apart."""

from __future__ import annotations

import ctypes
import importlib.util
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from graphc.commands.words import arrays, chosen, listed, printable
from graphc.errors import CompileError, ExportError, InputError
from graphc.file.store import load, save
from graphc.ir.state import Array
from graphc.onnx.verify import TOLERANCE, made_up, session
from graphc.reference import bind_sizes
from graphc.run.binding import arrange, convert
from graphc.run.executable import Executable

Results = list[Array]  # outputs, then the state that is updated


def roundtrip(options: Any) -> int:
    """Prints a table; 1 where results differ by more than they may."""
    held = load(options.file)
    names = list(held) if options.executable is None else [chosen(held, options.executable)]
    known = {f"{t.name}=" for name in names for t in held.programs[name].arguments}
    if strange := [word for word in options.arrays if not word.startswith(tuple(known))]:
        raise InputError(f"no input is meant by {strange[0]!r}; inputs are {', '.join(sorted(k[:-1] for k in known))}")
    if options.size < 0:
        raise InputError(f"--size: expected a size, found {options.size}")
    print(f"{'executable':<16} {'format':<8} beside the executable in process")
    agree = True
    for name in names:
        given = arrays_for(load(options.file)[name], options)
        for way in WAYS:
            told, close = _compare(way, load(options.file)[name], given)  # with the file's state
            agree &= close
            print(f"{printable(name, 16):<16} {way:<8} {printable(told, 200)}", flush=True)
    return 0 if agree else 1


def arrays_for(exe: Executable, options: Any) -> Results:
    """Arrays from the command line, or made up."""
    inputs = list(exe.inputs.values())
    if options.arrays:
        mine = [word for word in options.arrays if word.startswith(tuple(f"{n}=" for n in exe.inputs))]
        return [convert(t, a) for t, a in zip(inputs, arrange(inputs, (), arrays(exe, mine)), strict=True)]
    sizes = dict.fromkeys(exe.program.symbols, options.size)
    exe.program.check_memory(sizes)
    try:
        made = made_up(exe.program, exe.graph.state.storage, sizes)
    except MemoryError:
        raise exe.program.too_large(sizes) from None
    if made is None:
        raise InputError(f"inputs of size {options.size} do not fit together; choose another --size, or pass arrays")
    return made


def _compare(way: str, exe: Executable, given: Results) -> tuple[str, bool]:
    """How a format's results stand beside the executable's, in words, and whether that is as it should be."""
    with TemporaryDirectory(ignore_cleanup_errors=True) as directory:
        try:
            found = WAYS[way](exe, given, Path(directory))
        except (CompileError, ExportError) as error:
            return f"skipped: {error.message.splitlines()[0]}", True
    expected = _results(exe, given)  # last, since it moves the state on
    if [(a.shape, a.dtype) for a in found] != [(b.shape, b.dtype) for b in expected]:
        return "other shapes or dtypes", False
    if all(a.tobytes() == b.tobytes() for a, b in zip(found, expected, strict=True)):
        return "the same bits", True
    apart = [_distance(a, b) for a, b in zip(found, expected, strict=True)]
    ulps, share = max(u for u, _ in apart), max(s for _, s in apart)
    most = [TOLERANCE.get(b.dtype.name, 0.0) for b in expected]
    close = way == "onnx" and all(s <= m for (_, s), m in zip(apart, most, strict=True))
    return f"{'' if close else 'DIFFERS: '}{ulps:.0f} ulp, {share:.1e} of the largest element", close


def _results(exe: Executable, given: Results) -> Results:
    return [*map(np.asarray, listed(exe, exe(*given))), *(exe.graph.state[name] for name in exe.program.updates)]


def _distance(a: Array, b: Array) -> tuple[float, float]:
    """The largest difference in units in the last place, and over the largest finite element or 1."""
    if b.dtype.kind != "f":
        wrong = 0.0 if np.array_equal(a, b) else np.inf
        return wrong, wrong
    if not np.array_equal(np.isnan(a), np.isnan(b)) or not np.array_equal(a[np.isinf(b)], b[np.isinf(b)]):
        return np.inf, np.inf
    fine = np.isfinite(b)
    a, b = a[fine], b[fine]
    step = np.maximum(np.spacing(np.abs(b)), np.finfo(b.dtype).smallest_subnormal)
    apart = np.abs(a.astype(np.longdouble) - b)
    return float(np.max(apart / step, initial=0)), float(np.max(apart, initial=0) / np.max(np.abs(b), initial=1))


# ---- formats: each writes the executable, and runs what it has written


def _file(exe: Executable, given: Results, directory: Path) -> Results:
    save(directory / "model.gx", model=exe)
    return _results(load(directory / "model.gx")["model"], given)


def _python(exe: Any, given: Results, directory: Path) -> Results:
    exe.export_python(directory / "model.py", name="run_model")
    spec = importlib.util.spec_from_file_location("graphc_roundtrip", directory / "model.py")
    assert spec is not None and spec.loader is not None
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
        outputs = listed(exe, module.run_model(*given))
    finally:
        del sys.modules[spec.name]
    return [*map(np.asarray, outputs), *(np.array(module.state[name]) for name in exe.program.updates)]


def _c(exe: Any, given: Results, directory: Path) -> Results:
    exe.export_c(directory / "c", name="model")
    (file,) = [p for p in (directory / "c").iterdir() if p.suffix in (".so", ".dylib", ".dll")]
    library = ctypes.CDLL(str(file))
    plan = exe.plan_for(bind_sizes(exe.program.arguments, [a.shape for a in given]))
    sizes = [ctypes.c_int64(plan.sizes[name]) for name in exe.program.symbols]
    made = [np.empty(s, t.dtype) for s, t in zip(plan.shapes, exe.program.results, strict=True)]
    library.model_workspace_bytes.restype = ctypes.c_int64
    work = np.empty(library.model_workspace_bytes(*sizes), np.uint8)
    state = _CState(library) if hasattr(library, "model_init") else None
    words = [] if state is None else [state.memory.ctypes]
    status = library.model_call(*words, *sizes, *(a.ctypes for a in (*given, *made)), work.ctypes)
    if status:
        raise ExportError(f"model_call returned {status}")
    shapes = {name: exe.graph[name].shape for name in exe.program.updates}
    return [*made, *(state.array(name).reshape(s) for name, s in shapes.items() if state is not None)]


class _CState:
    """The state of an exported library, with its values at export."""

    def __init__(self, library: Any) -> None:
        for function, result in (("bytes", "size_t"), ("at", "void_p"), ("dtype", "char_p"), ("name", "void_p")):
            getattr(library, f"model_state_{function}").restype = getattr(ctypes, f"c_{result}")
        self.library, self.memory = library, np.empty(library.model_state_bytes(), np.uint8)
        library.model_init(self.memory.ctypes)

    def array(self, name: str) -> Array:
        """A copy of an array."""
        k, bytes_, count = 0, ctypes.c_size_t(), ctypes.c_int64()
        while ctypes.string_at(self.library.model_state_name(k, ctypes.byref(bytes_)), bytes_.value) != _utf8(name):
            k += 1
        at = self.library.model_state_at(self.memory.ctypes, k, ctypes.byref(count))
        dtype = np.dtype(self.library.model_state_dtype(k).decode())
        return np.frombuffer(ctypes.string_at(at, count.value * dtype.itemsize), dtype)


def _utf8(name: str) -> bytes:
    return name.encode("utf-8", "surrogatepass")


def _onnx(exe: Any, given: Results, directory: Path) -> Results:
    exe.export_onnx(directory / "model.onnx", verify=False)
    try:
        runtime = import_module("onnxruntime")
    except ImportError:
        raise ExportError('ONNX Runtime is missing: pip install "graphc[onnx]"') from None
    try:
        running = session(runtime, str(directory / "model.onnx"), double=True)
    except Exception as error:  # the runtime has no base class of its errors
        raise ExportError(f"ONNX Runtime refuses the model: {error}") from None
    made: Sequence[Any] = running.run(None, dict(zip([i.name for i in running.get_inputs()], given, strict=True)))
    return [np.asarray(a) for a in made]


WAYS = {"file": _file, "python": _python, "c": _c, "onnx": _onnx}
