"""Epochs of training: losses kept, the best state restored, checkpoints written, anyone told."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from graphc.compile import compile
from graphc.errors import InputError, InputKeyError, caller, did_you_mean, listed
from graphc.file.store import save
from graphc.ir.graph import located
from graphc.ir.state import Array
from graphc.ops.signature import found
from graphc.run.binding import arrange, checked
from graphc.run.executable import Executable
from graphc.run.progress import bar

EPOCH = "fit/epoch"  # the variable of a checkpoint that counts its epochs

Record = dict[str, Any]
Callback = Callable[[int, Record], Any]


@dataclass
class History(Sequence[Record]):
    """What `fit` saw: a record for each epoch. ``history["loss"]`` is a column, ``history[-1]`` the last record.

    records  dicts: ``epoch``, ``seconds``, the means of the outputs, and what callbacks added
    watched  the name of the figure that is to fall, None where there is none
    best     the number in ``records`` of the epoch at which it was least, None before there is a number

    >>> import graphc as gx
    >>> g = gx.Graph(float_dtype="float64")
    >>> x, w = g.input("x", ("n",)), g.parameter("w", 0.0)
    >>> loss = gx.mean((w - x) ** 2)
    >>> step = gx.compile([x], loss, updates=gx.optim.SGD(lr=0.25).updates(loss), backend="numpy")
    >>> history = gx.fit(step, [[1.0, 1.0]], 3)
    >>> history["loss"].tolist(), history[-1]["epoch"], history.best
    ([1.0, 0.25, 0.0625], 2, 2)
    """

    records: list[Record] = field(default_factory=list)
    watched: str | None = None
    best: int | None = None

    def __getitem__(self, key: Any) -> Any:
        if not isinstance(key, str):
            return self.records[key]
        if not any(key in record for record in self.records):
            names = list(dict.fromkeys(name for record in self.records for name in record))
            text = f"the history has no {key!r}; it has {listed(names)}{did_you_mean(key, names)}"
            raise InputKeyError(text, origin=caller())
        return np.array([record.get(key, math.nan) for record in self.records])

    def __len__(self) -> int:
        return len(self.records)

    def __iter__(self) -> Iterator[Record]:
        return iter(self.records)

    def __repr__(self) -> str:
        return "\n".join([f"<history of {len(self)} epochs>", *map(_line, self.records)])


def _line(record: Record) -> str:
    return "  " + "  ".join(f"{k} {v:.6g}" if isinstance(v, float) else f"{k} {v}" for k, v in record.items())


def fit(
    train: Executable,
    data: Any,
    epochs: int,
    *,
    validation: tuple[Executable, Any] | None = None,
    callbacks: Iterable[Callback] = (),
    batch_size: int = 32,
    seed: int | None = 0,
    first: int = 0,
    patience: int | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    progress: bool = False,
) -> History:
    """Trains for some epochs by `Executable.run_batches`, and tells how it went.

    train       an executable with updates. Its outputs that are scalars, or have one value for each row, become means
                over the rows of an epoch: a single output, or the first of a list, is called ``loss`` in the record,
                outputs of a dict have their names
    data        its inputs, as ``run_batches`` takes them: a list, or a dict by name
    epochs      how many there are to be, those before ``first`` included
    validation  ``(executable, data)``: run after each epoch, with names that begin with ``validation_``
    callbacks   functions ``f(epoch, record)``, called after each epoch; they may add to the record, which is a dict.
                One that returns True ends the training
    batch_size  rows of a mini-batch
    seed        the order of the rows in epoch ``k`` is that of ``numpy.random.default_rng(seed + k)``; None leaves them
                in order
    first       the number of the first epoch, to go on where another run stopped
    patience    training ends after so many epochs in which the first figure of ``validation``, else of ``train``, was
                not less than ever before; then the state of the best epoch is restored, the optimiser's included
    checkpoint  a file to which `save` writes ``train``, ``validation`` and ``epoch`` after each epoch, whole or not at
                all; ``epoch`` gives the number of the epoch that is next
    progress    draw a bar

    Raises InputError and its kinds where arguments do not fit, OSError where the checkpoint cannot be written. What a
    callback raises ends the training; the state is then that of the last epoch.

    >>> import numpy as np, graphc as gx
    >>> g = gx.Graph("line", float_dtype="float64")
    >>> x, y = g.input("x", ("n",)), g.input("y", ("n",))
    >>> w = g.parameter("w", 0.0)
    >>> loss = gx.mean((w * x - y) ** 2)
    >>> train = gx.compile([x, y], loss, updates=gx.optim.SGD(lr=0.1).updates(loss), backend="numpy")
    >>> X = np.linspace(-1, 1, 64)
    >>> history = gx.fit(train, [X, 3 * X], 100, patience=3)
    >>> round(float(g.state["w"]), 3), bool(history["loss"][history.best] < 1e-9)
    (3.0, True)
    """
    with located("fit", caller()):
        _check(train, epochs, batch_size, seed, first, patience)
        told = _callbacks(callbacks)
        learn, check = _Pass(train, data, "", "data"), None
        if validation is not None:
            if not isinstance(validation, (tuple, list)) or len(validation) != 2:
                raise InputError(f"validation must be (executable, data), found {found(validation)}")
            check = _Pass(*validation, "validation_", "validation")
            if check.exe.program.updates:
                raise InputError("validation must be an executable without updates: it would train too")
        watched = next(iter((check or learn).names), None)
        if patience is not None and watched is None:
            raise InputError("patience needs an output that is a scalar, or has one value for each row")
        keep = None if checkpoint is None else _keeper(checkpoint, learn, check)
    state = train.graph.state
    history, best, held = History(watched=watched), math.inf, None
    shown = bar(epochs - first) if progress else None
    try:
        for epoch in range(first, epochs):
            started = time.perf_counter()
            record: Record = {"epoch": epoch, **learn(batch_size, None if seed is None else seed + epoch)}
            record |= check(batch_size, None) if check else {}
            record["seconds"] = time.perf_counter() - started
            value = math.inf if watched is None else record[watched]
            history.records.append(record)
            if value < best:  # not so for a NaN
                best, history.best = value, len(history) - 1
                held = state.copies(state) if patience is not None else None
            if keep is not None:
                keep(epoch + 1)
            ends = [callback(epoch, record) is True for callback in told]
            if shown is not None:
                shown.show(len(history), None if watched is None else value)
            waited = len(history) - 1 - (-1 if history.best is None else history.best)
            if any(ends) or (patience is not None and waited >= patience):
                break
    finally:
        if shown is not None:
            shown.close()
    if held is not None:
        state.update(held)
    return history


class _Pass:
    """Passes over the same data, and the means of what an executable gives."""

    def __init__(self, exe: Any, data: Any, prefix: str, what: str) -> None:
        if not isinstance(exe, Executable):
            raise InputError(f"{what} needs an executable, found {found(exe)}")
        tensors = list(exe.inputs.values())
        if not tensors or not isinstance(data, (Mapping, list, tuple)):
            names = ", ".join(exe.inputs) or "there are none"
            text = f"{what} must be a list or dict of arrays, one for each input, found {found(data)}"
            raise InputError(f"{text}; inputs are {names}")
        args, kwargs = ((), data) if isinstance(data, Mapping) else (data, {})
        self.exe = exe
        self.arrays = [checked(t, a) for t, a in zip(tensors, arrange(tensors, args, kwargs), strict=True)]
        self.rows = len(self.arrays[0]) if self.arrays[0].ndim else 0
        if not self.rows:
            raise InputError(f"{what} has no rows: {tensors[0].name} is of shape {self.arrays[0].shape}")
        structure, lead = exe.program.structure, tensors[0].shape[:1]
        keys = structure.keys or ["loss" if k == 0 else f"output_{k}" for k in range(exe.program.n_outputs)]
        # the numbers of the outputs that have a mean
        self.names = {
            f"{prefix}{key}": k
            for k, (key, t) in enumerate(zip(keys, exe.program.results, strict=True))
            if t.shape in ((), lead)
        }

    def __call__(self, batch_size: int, seed: int | None) -> dict[str, float]:
        """The means of one pass, in which all rows weigh alike."""
        packed = self.exe.run_batches(self.arrays, batch_size, shuffle=seed is not None, seed=seed)
        values = self.exe.program.structure.unpack(packed) if self.names else []
        counts = np.full(-(-self.rows // batch_size), batch_size)
        counts[-1] = self.rows - batch_size * (len(counts) - 1)
        return {name: _mean(values[k], counts) for name, k in self.names.items()}


def _mean(values: Array, counts: Array) -> float:
    wide = values.astype(np.float64)
    return float(np.average(wide, weights=counts) if len(wide) == len(counts) else wide.mean())


def _keeper(path: str | os.PathLike[str], learn: _Pass, check: _Pass | None) -> Callable[[int], None]:
    """What writes a checkpoint."""
    graph = learn.exe.graph
    if check is not None and check.exe.graph is not graph:
        raise InputError("checkpoint needs train and validation of one graph")
    count = graph.variables[EPOCH] if EPOCH in graph.state else graph.variable(EPOCH, np.int64(0))
    parts = {"train": learn.exe, "epoch": compile([], count, backend="numpy")}
    write = partial(save, path, **parts, **({"validation": check.exe} if check else {}))

    def keep(epoch: int) -> None:
        graph.state[EPOCH] = epoch
        write()

    return keep


def _callbacks(callbacks: Any) -> list[Callback]:
    try:
        told = list(callbacks)
    except TypeError:
        told = [None]
    if not all(map(callable, told)):
        raise InputError(f"callbacks must be a list of functions of epoch and record, found {found(callbacks)}")
    return told


def _check(train: Any, epochs: Any, batch_size: Any, seed: Any, first: Any, patience: Any) -> None:
    if not isinstance(train, Executable) or not train.program.updates:
        what = "one without updates" if isinstance(train, Executable) else found(train)
        text = f"train must be an executable with updates, found {what}"
        raise InputError(f"{text}; gx.compile(inputs, loss, updates=opt.updates(loss)) makes one")
    least = {"epochs": (epochs, 0), "batch_size": (batch_size, 1), "first": (first, 0)}
    least |= {} if seed is None else {"seed": (seed, 0)}
    least |= {} if patience is None else {"patience": (patience, 1)}
    for name, (value, low) in least.items():
        if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < low:
            raise InputError(f"{name} must be an int of at least {low}, found {found(value)}")


__all__ = ["History", "fit"]
