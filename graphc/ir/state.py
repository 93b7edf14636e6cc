"""State of a graph: parameters and variables, in storage that never moves, under one lock."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import repeat
from operator import setitem
from typing import Any

import numpy as np

from graphc.errors import (
    InputDTypeError,
    InputError,
    InputKeyError,
    InputShapeError,
    Uncopied,
    caller,
    did_you_mean,
    listed,
)
from graphc.ir.arrays import Array, as_numbers
from graphc.ir.op import LATER
from graphc.ir.types import DType
from graphc.lock import Lock

ALIGNMENT = 64  # bytes; one cache line, and the widest vector register


def aligned_empty(shape: tuple[int, ...], dtype: DType) -> Array:
    """An uninitialised C-ordered array whose first element lies on a cache line."""
    size = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    raw = np.empty(size + ALIGNMENT, np.uint8)
    start = -raw.ctypes.data % ALIGNMENT
    return raw[start : start + size].view(dtype).reshape(shape)


def copying(arrays: Iterable[Array], targets: Iterable[Array]) -> Iterator[None]:
    """Copies each array into its target, all when `any` goes over it: in C, so that no exception leaves some out."""
    return map(setitem, targets, repeat(...), arrays)  # type: ignore[arg-type]


class State(Uncopied, Mapping[str, Array]):
    """``g.state``: reading gives a copy, assignment copies in, converted as the arguments of a call are.

    Raises InputKeyError, a KeyError, for an unknown name; assignment raises InputShapeError or InputDTypeError where
    shape or dtype do not fit.
    """

    def __init__(self, graph: str = "graph") -> None:
        self.graph = graph  # its name, for errors
        self.storage: dict[str, Array] = {}
        self.lock = Lock()

    def add(self, name: str, value: Array) -> None:
        """New state; its storage is fixed from here on."""
        array = aligned_empty(value.shape, value.dtype)
        array[...] = value
        self.storage[name] = array

    def copies(self, names: Iterable[str]) -> dict[str, Array]:
        """Copies of several arrays, as they stand between two steps."""
        held = {name: self.storage[name] for name in names}
        made = [np.empty_like(array) for array in held.values()]
        self.lock.reading(any, copying(held.values(), made))
        return dict(zip(held, made, strict=True))

    def __getitem__(self, name: str) -> Array:
        held = self._held(name)
        return self.lock.reading(held.copy)

    def __setitem__(self, name: str, value: Any) -> None:
        self.update({name: value})

    def update(self, values: Mapping[str, Any]) -> None:
        """Assigns to all of ``values`` at once; where one of them does not fit, to none."""
        if not isinstance(values, Mapping):
            raise InputError(
                f"state: expected a dict of arrays by name, found {type(values).__name__}", origin=caller()
            )
        held = [self._held(name) for name in values]
        given = [self._fitted(name, value) for name, value in values.items()]
        self.lock.writing(any, copying(given, held))

    def _held(self, name: str) -> Array:
        try:
            return self.storage[name]
        except (KeyError, TypeError):
            text = f"graph {self.graph!r} has no state {name!r}; it has {listed(self.storage)}"
            raise InputKeyError(text + did_you_mean(name, self.storage), origin=caller()) from None

    def _fitted(self, name: str, value: Any) -> Array:
        """``value`` as an array that the state of that name can take."""
        held, origin = self._held(name), caller()

        def complaint(found: str) -> InputDTypeError:
            text = f"state {name!r}: expected {held.dtype}{list(held.shape)}, found {found}"
            return InputDTypeError(text, node=name, origin=origin)

        try:
            given = as_numbers(value, held.dtype, complaint)
        except InputDTypeError:
            raise
        except ValueError as error:
            raise InputShapeError(f"state {name!r}: {error}", node=name, origin=origin) from None
        if given.shape != held.shape:
            text = f"state {name!r}: expected shape {held.shape}, found {given.shape}"
            raise InputShapeError(text, node=name, origin=origin)
        return given

    def __iter__(self) -> Iterator[str]:
        return iter(self.storage)

    def __len__(self) -> int:
        return len(self.storage)

    def __repr__(self) -> str:
        lines = [f"  {name}: {array.dtype}{list(array.shape)}" for name, array in self.storage.items()]
        return "\n".join([f"<State of graph {self.graph!r}: {len(lines)} arrays>", *lines])

    def _repr_html_(self) -> str:
        return LATER["state_html"](self)  # type: ignore[no-any-return]


__all__ = ["ALIGNMENT", "Array", "State", "aligned_empty", "copying"]
