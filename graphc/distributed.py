"""More than one process: training steps that MPI ranks take together, and inference over a Dask cluster.

`data_parallel`, `shard` and `save` need mpi4py (``graphc[mpi]``) where no communicator is passed, `map_batches` needs
Dask (``graphc[dask]``).
"""

from __future__ import annotations

import hashlib
import os
import tempfile
import threading
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import numpy as np

from graphc.errors import CompileError, GraphcError, InputError, InputShapeError, caller
from graphc.extra import need
from graphc.file.store import load
from graphc.file.store import save as save_here
from graphc.ir import dims
from graphc.ir.tensor import Tensor
from graphc.ops.signature import found
from graphc.reference import bind_sizes
from graphc.run.binding import arrange
from graphc.run.executable import Executable
from graphc.run.parallel import Comm, DataParallel


def data_parallel(updates: Mapping[Tensor, Tensor], comm: Comm | None = None) -> DataParallel:
    """``updates`` that `graphc.compile` shares between processes: each rank computes gradients of rows of its own.

    A call of the executable is one step of all ranks. Gradients, those that `graphc.grad` returned for parameters and
    variables, are averaged over the ranks, then each rank stores the same updates. A next value that depends on the
    batch without a gradient, such as a statistic of ``batch_norm``, is averaged itself. Sums go in the order of the
    ranks, so all ranks have the same bits, each time.

    comm  an ``mpi4py.MPI.Comm``, or what has its ``Get_rank``, ``Get_size``, ``Bcast``, ``Allgather`` and ``Alltoall``;
          ``MPI.COMM_WORLD`` where it is None

    Outputs are those of the rank's own rows. Ranks compile, call and run_batches in the same order; compiling copies
    rank 0's parameters and variables to all. An error on one rank is raised by the step on all, and nothing is stored.

    Raises CompileError where ``updates`` is no dict, GraphcError without mpi4py. Compiling raises CompileError where a
    next value needs the batch beside a gradient, as LBFGS's does.

    >>> import graphc as gx
    >>> class Alone:  # in place of MPI.COMM_WORLD: one rank, which hears of itself
    ...     Get_rank, Get_size, Bcast = (lambda self: 0), (lambda self: 1), (lambda self, buffer: None)
    ...     def Allgather(self, sent, received):
    ...         received[...] = sent
    ...     Alltoall = Allgather
    >>> g = gx.Graph("line", float_dtype="float64")
    >>> x, w = g.input("x", ("n",)), g.parameter("w", 1.0)
    >>> loss = gx.mean((w * x - 1.0) ** 2)
    >>> updates = gx.distributed.data_parallel(gx.optim.SGD(lr=0.5).updates(loss), Alone())
    >>> step = gx.compile([x], loss, updates=updates, backend="numpy")
    >>> float(step(np.array([3.0]))), float(g.state["w"])
    (4.0, -5.0)
    """
    if not isinstance(updates, Mapping):
        todo = "; an optimiser's are opt.updates(loss)" if hasattr(updates, "updates") else ""
        text = f"data_parallel: updates must be a dict, state -> its next value, found {found(updates)}{todo}"
        raise CompileError(text, origin=caller())
    return DataParallel(updates, _comm(comm, "data_parallel"))


def shard(arrays: Any, comm: Comm | None = None) -> Any:
    """This rank's rows of ``arrays``: an array, or a list, tuple or dict of arrays with as many rows each.

    Of n rows on r ranks each has ``n // r`` that follow one another; the last ``n % r`` are left out, so that all ranks
    have as many batches.

    Raises InputShapeError where arrays have different numbers of rows, or fewer than there are ranks; GraphcError
    without mpi4py.

    >>> import numpy as np
    >>> from types import SimpleNamespace
    >>> import graphc as gx
    >>> second = SimpleNamespace(Get_rank=lambda: 1, Get_size=lambda: 2)
    >>> gx.distributed.shard(np.arange(5), second).tolist()
    [2, 3]
    """
    comm = _comm(comm, "shard")
    many = _many(arrays)
    counts = {np.shape(a)[0] if np.ndim(a) else None for a in many}
    if len(counts) != 1 or None in counts:
        raise InputShapeError(
            f"shard: expected arrays with as many rows, found shapes {', '.join(str(np.shape(a)) for a in many)}",
            origin=caller(),
        )
    rank, size = comm.Get_rank(), comm.Get_size()
    rows = counts.pop() // size  # type: ignore[operator]
    if rows == 0:
        raise InputShapeError(f"shard: fewer rows than the {size} ranks", origin=caller())
    return _alike(arrays, [a[rank * rows : (rank + 1) * rows] for a in many])


def save(path: str | os.PathLike[str], /, comm: Comm | None = None, **executables: Executable) -> None:
    """`graphc.save` by rank 0; returns on all ranks when the file is there. It loads in one process, as other files do.

    Raises as `graphc.save` does on rank 0, GraphcError on the others.

    >>> import tempfile
    >>> import numpy as np
    >>> from types import SimpleNamespace
    >>> import graphc as gx
    >>> gather = lambda sent, received: np.copyto(received, sent)
    >>> alone = SimpleNamespace(Get_rank=lambda: 0, Get_size=lambda: 1, Allgather=gather)
    >>> x = gx.Graph().input("x", ("n",), "float64")
    >>> path = tempfile.mkdtemp() + "/model.gx"
    >>> gx.distributed.save(path, alone, double=gx.compile([x], 2 * x, backend="numpy"))
    >>> gx.load(path)["double"]([1, 2]).tolist()
    [2.0, 4.0]
    """
    comm = _comm(comm, "save")
    failure: Exception | None = None
    if comm.Get_rank() == 0:
        try:
            save_here(path, **executables)
        except Exception as error:
            failure = error
    fine = np.zeros(comm.Get_size(), np.int64)
    comm.Allgather(np.array([failure is None], np.int64), fine)
    if failure is not None:
        raise failure
    if not fine.all():
        raise GraphcError("save: rank 0 could not write the file, see its error", origin=caller())


def map_batches(exe: Executable, data: Any, client: Any = None, *, batch_size: int | None = None) -> Any:
    """The outputs of ``exe`` for all rows of ``data``, computed block by block on the workers of a Dask cluster.

    data        NumPy or Dask arrays, a list by position, a dict by name, or the array of the only input. Those that
                do not lead with the batch, the leading symbolic size of the first input, go whole to all workers
    client      a ``dask.distributed.Client``; None with Dask arrays leaves it to who computes the result
    batch_size  rows of a block: those of the first Dask array's chunks, or as many blocks as the client has threads

    Outputs come in the structure of the executable's, Dask arrays where there was one in ``data`` (already on their
    way with a client), else NumPy arrays. Each worker process loads the executable once, with the state that it has
    now, from the bytes that `graphc.save` writes.

    Raises InputError and its kinds where data or executable do not fit, GraphcError without Dask.

    >>> from importlib.util import find_spec
    >>> import numpy as np
    >>> import graphc as gx
    >>> x = gx.Graph().input("x", ("n", 2), "float64")
    >>> exe = gx.compile([x], gx.sum(x, axis=1), backend="numpy")
    >>> if find_spec("dask"):
    ...     import dask.array
    ...     rows = dask.array.ones((6, 2), chunks=(3, 2))
    ...     assert gx.distributed.map_batches(exe, rows).compute().tolist() == [2.0] * 6
    """
    array = need("dask.array", "gx.distributed.map_batches", GraphcError, "dask")
    if not isinstance(exe, Executable):
        raise InputError(f"map_batches: expected an executable, found {found(exe)}", origin=caller())
    if exe.program.updates:
        raise InputError("map_batches: the executable has updates, which workers cannot share", origin=caller())
    tensors = list(exe.inputs.values())
    given = arrange(tensors, (), data) if isinstance(data, Mapping) else arrange(tensors, _many(data), {})
    name = dims.symbol_name(tensors[0].shape[0]) if tensors and tensors[0].ndim else None
    results = exe.program.results
    if name is None or any(not t.ndim or t.shape[0] != tensors[0].shape[0] for t in results):
        raise InputError(
            "map_batches: the first input and all outputs must lead with one symbolic size", origin=caller()
        )
    given = [a if isinstance(a, array.Array) else np.asarray(a) for a in given]
    lazy = any(isinstance(a, array.Array) for a in given)
    if client is None and not lazy:
        raise InputError("map_batches: pass a dask.distributed.Client, or Dask arrays", origin=caller())
    for t, a in zip(tensors, given, strict=True):
        if any(size != size for size in a.shape):
            text = f"input {t.name!r}: its chunks have unknown sizes; a.compute_chunk_sizes() finds them"
            raise InputShapeError(text, node=t.name, origin=caller())
    sizes = bind_sizes(tensors, [a.shape for a in given])
    leads = [t.ndim > 0 and dims.symbol_name(t.shape[0]) == name for t in tensors]
    edges = _edges(given, leads, sizes[name], batch_size, client)
    blocks = [
        [a[low:high] if lead else a for a, lead in zip(given, leads, strict=True)] for low, high in pairwise(edges)
    ]
    if lazy:
        delayed = need("dask", "gx.distributed.map_batches", GraphcError, "dask").delayed
        program = delayed(_packed(exe))
        parts = [delayed(_run, nout=len(results))(program, *block) for block in blocks]
        shapes = [exe.plan_for({**sizes, name: high - low}).shapes for low, high in pairwise(edges)]
        columns = [
            array.concatenate([array.from_delayed(p[k], s[k], t.dtype) for p, s in zip(parts, shapes, strict=True)])
            for k, t in enumerate(results)
        ]
        if client is not None:
            columns = client.persist(columns)
    else:
        program = client.scatter(_packed(exe), broadcast=True, hash=False)
        futures = [client.submit(_run, program, *client.scatter(block, hash=False), pure=False) for block in blocks]
        columns = [np.concatenate(column) for column in zip(*client.gather(futures), strict=True)]
    return exe.program.structure.pack(columns)


def _edges(arrays: list[Any], leads: list[bool], rows: int, batch_size: int | None, client: Any) -> list[int]:
    """Where blocks begin and end."""
    if batch_size is None:
        for a, lead in zip(arrays, leads, strict=True):
            if lead and hasattr(a, "chunks"):
                return [0, *(int(end) for end in np.cumsum(a.chunks[0]))]
        batch_size = -(-rows // max(1, sum(client.nthreads().values())))
    elif isinstance(batch_size, bool) or not isinstance(batch_size, (int, np.integer)) or batch_size < 1:
        raise InputError(f"batch_size must be an int of at least 1, found {batch_size!r}", origin=caller())
    return [*range(0, rows, max(1, batch_size)), rows] if rows else [0, 0]


# ---- on the workers

MOST_LOADED = 8  # executables that a worker keeps
_loaded: dict[str, Executable] = {}
_loading = threading.Lock()


def _packed(exe: Executable) -> tuple[str, bytes]:
    """The bytes of a file with the executable and its state, and their digest."""
    with tempfile.TemporaryDirectory() as directory:
        path = os.path.join(directory, "exe.gx")
        save_here(path, exe=exe)
        with open(path, "rb") as file:
            content = file.read()
    return hashlib.sha256(content).hexdigest(), content


def _run(packed: tuple[str, bytes], *arrays: Any) -> list[Any]:
    """The outputs for a block, in a list."""
    digest, content = packed
    with _loading:
        exe = _loaded.get(digest)
        if exe is None:
            with tempfile.TemporaryDirectory() as directory:
                path = os.path.join(directory, "exe.gx")
                with open(path, "wb") as file:
                    file.write(content)
                exe = load(path)["exe"]
            while len(_loaded) >= MOST_LOADED:
                del _loaded[next(iter(_loaded))]
            _loaded[digest] = exe
    return exe.program.structure.unpack(exe(*arrays))


# ---- arguments


def _comm(comm: Comm | None, what: str) -> Comm:
    """The communicator, by default that of all ranks."""
    if comm is not None:
        return comm
    found: Comm = need("mpi4py.MPI", f"gx.distributed.{what}", GraphcError, "mpi").COMM_WORLD
    return found


def _many(arrays: Any) -> list[Any]:
    """What is in a list, tuple or dict, or the one array."""
    if isinstance(arrays, Mapping):
        return list(arrays.values())
    return list(arrays) if isinstance(arrays, (list, tuple)) else [arrays]


def _alike(arrays: Any, parts: list[Any]) -> Any:
    """``parts`` in the structure of ``arrays``."""
    if isinstance(arrays, Mapping):
        return dict(zip(arrays, parts, strict=True))
    return type(arrays)(parts) if isinstance(arrays, (list, tuple)) else parts[0]


__all__ = ["data_parallel", "map_batches", "save", "shard"]
