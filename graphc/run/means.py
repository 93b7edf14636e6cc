"""The mean of arrays over the ranks of a communicator: in memory that they share, or by messages."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from graphc.codegen.ranks import exchange
from graphc.codegen.words import address_of
from graphc.ir.state import ALIGNMENT, Array, aligned_empty
from graphc.ir.tensor import Tensor


class Comm(Protocol):
    """What is used of an ``mpi4py.MPI.Comm``. All ranks call it in the same order."""

    def Get_rank(self) -> int: ...
    def Get_size(self) -> int: ...
    def Bcast(self, buffer: Array) -> object: ...
    def Allgather(self, sent: Array, received: Array) -> object: ...
    def Alltoall(self, sent: Array, received: Array) -> object: ...


class Means:
    """The mean of arrays over all ranks. Sums go in the order of the ranks, so every rank has the same bits each time.

    Each rank adds up one piece of all arrays, and all have all pieces (Thakur, Rabenseifner and Gropp 2005, section
    4.3).
    """

    def __init__(self, tensors: Sequence[Tensor], shapes: Sequence[tuple[int, ...]], comm: Comm) -> None:
        places: list[tuple[int, int]] = []
        ends: dict[np.dtype[Any], int] = {}
        for t, shape in zip(tensors, shapes, strict=True):
            places.append((ends.get(t.dtype, 0), int(np.prod(shape, dtype=np.int64))))
            ends[t.dtype] = _aligned(sum(places[-1]), t.dtype)
        # one number more, which messages need
        pieces = {dtype: _aligned(-(-(end + 1) // comm.Get_size()), dtype) for dtype, end in ends.items()}
        memory = shared_memory(comm, 2 * _bytes(pieces, comm.Get_size()) + ALIGNMENT)
        self._way = Messages(pieces, comm) if memory is None else SharedMemory(pieces, comm, memory)
        self.own, self.found = (
            [
                held[t.dtype][start : start + count].reshape(shape)
                for t, shape, (start, count) in zip(tensors, shapes, places, strict=True)
            ]
            for held in (self._way.own, self._way.found)
        )
        self.table: int = self._way.table

    def exchange(self, failed: bool = False) -> bool:
        """Makes ``found`` the means of ``own`` over all ranks; whether one of them has failed."""
        return self._way.exchange(failed)


class Messages:
    """Means by messages: what is sent is twice the arrays, on any number of ranks.

    ``pieces`` are the lengths of what each rank adds up.
    """

    table = 0  # machine code cannot send messages

    def __init__(self, pieces: Mapping[np.dtype[Any], int], comm: Comm) -> None:
        self.comm, self.size = comm, comm.Get_size()
        self.own, self.found, self._piece = (
            {dtype: _zeros(n * count, dtype) for dtype, n in pieces.items()} for count in (self.size, self.size, 1)
        )

    def exchange(self, failed: bool) -> bool:
        for dtype, own in self.own.items():
            own[-1] = failed
            found, piece = self.found[dtype], self._piece[dtype]
            self.comm.Alltoall(own, found)
            _mean(list(found.reshape(self.size, -1)), piece)
            self.comm.Allgather(piece, found)
        return any(found[-1] != 0 for found in self.found.values())


class SharedMemory:
    """Means of ranks on one machine, or of one rank, in ``memory``: bytes of each rank, which all of them see.

    Nothing is copied: each rank reads its piece of everyone's arrays, and writes it where everyone finds it.
    """

    def __init__(self, pieces: Mapping[np.dtype[Any], int], comm: Comm, memory: Sequence[Array]) -> None:
        size, rank = comm.Get_size(), comm.Get_rank()
        bytes = _bytes(pieces, size)
        arrays = [_typed(m, pieces, size) for m in memory]
        self.own, self.found, board = arrays[rank], arrays[0], memory[0][-ALIGNMENT:]
        if size > 1:
            self.found = _typed(memory[0][bytes:], pieces, size)
        for array in [*self.own.values(), *([*self.found.values(), board] if rank == 0 else [])]:
            array[...] = 0
        comm.Allgather(np.zeros(1, np.int64), np.empty(size, np.int64))  # all is zero before anyone goes on
        parts, self._rows = list[int](), list[Array]()
        for dtype, n in pieces.items():
            piece = slice(rank * n, (rank + 1) * n)
            self._rows.append(np.array([a[dtype][piece].ctypes.data for a in arrays], np.int64))
            mean = self.found[dtype][piece]
            parts += [self._rows[-1].ctypes.data, mean.ctypes.data, mean.nbytes // ALIGNMENT, dtype.itemsize]
        self._table = np.array([board.ctypes.data, size, 0, 0, len(pieces), *parts], np.int64)
        self.table: int = self._table.ctypes.data
        self._exchange = ctypes.CFUNCTYPE(ctypes.c_int64, *[ctypes.c_int64] * 3)(address_of(exchange))

    def exchange(self, failed: bool) -> bool:
        return bool(self._exchange(self.table, failed, 0))


def shared_memory(comm: Comm, length: int) -> list[Array] | None:
    """Memory of each rank, which all of them see, where they are on one machine; else None.

    A window (MPI 4.1, section 12.2.3) stays until the process ends, since giving it back would take all ranks at once.
    """
    size = comm.Get_size()
    if size == 1:
        return [aligned_empty((length,), np.dtype("uint8"))]
    if not hasattr(comm, "Split_type"):
        return None
    from mpi4py import MPI  # whose communicator this is

    node = comm.Split_type(MPI.COMM_TYPE_SHARED, comm.Get_rank())
    if node.Get_size() != size:
        node.Free()
        return None
    window = MPI.Win.Allocate_shared(length + ALIGNMENT, 1, comm=node)
    window.Lock_all()
    held = [np.frombuffer(window.Shared_query(rank)[0], np.uint8) for rank in range(size)]
    return [m[start : start + length] for m in held for start in [-m.ctypes.data % ALIGNMENT]]


def _mean(rows: Sequence[Array], out: Array) -> None:
    """The mean of two or more ``rows``, added up in order."""
    with np.errstate(all="ignore"):
        np.add(rows[0], rows[1], out=out)
        for row in rows[2:]:
            out += row
        out /= len(rows)


def _bytes(pieces: Mapping[np.dtype[Any], int], size: int) -> int:
    """Bytes of arrays of ``size`` pieces."""
    return sum(n * size * dtype.itemsize for dtype, n in pieces.items())


def _typed(memory: Array, pieces: Mapping[np.dtype[Any], int], size: int) -> dict[np.dtype[Any], Array]:
    """Arrays of ``size`` pieces one after the other in ``memory``."""
    out, start = dict[np.dtype[Any], Array](), 0
    for dtype, n in pieces.items():
        end = start + n * size * dtype.itemsize
        out[dtype], start = memory[start:end].view(dtype), end
    return out


def _aligned(count: int, dtype: np.dtype[Any]) -> int:
    """At least ``count`` elements, a whole number of aligned places."""
    step = ALIGNMENT // dtype.itemsize
    return count + -count % step


def _zeros(count: int, dtype: np.dtype[Any]) -> Array:
    out = aligned_empty((count,), dtype)
    out[...] = 0
    return out
