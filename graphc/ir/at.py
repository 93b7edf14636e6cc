"""``x.at[index].add(values)``: a tensor with some of its elements changed, as a new tensor."""

from __future__ import annotations

from typing import Any, Generic, TypeVar

from graphc.ir.op import FUNCTIONS

T = TypeVar("T")  # a tensor, whose module holds this one


class At(Generic[T]):
    """What ``x.at`` is: ``x.at[index]`` takes what ``x[index]`` does, and bool masks."""

    __slots__ = ("_tensor",)

    def __init__(self, tensor: T) -> None:
        self._tensor = tensor

    def __getitem__(self, index: Any) -> Place[T]:
        return Place(self._tensor, index)


class Place(Generic[T]):
    """Elements of a tensor that an index picks."""

    __slots__ = ("_index", "_tensor")

    def __init__(self, tensor: T, index: Any) -> None:
        self._tensor, self._index = tensor, index

    def set(self, values: Any) -> T:
        """The tensor with ``values`` there; of an index that stands twice the last counts."""
        return self._changed("at_set", values)

    def add(self, values: Any) -> T:
        """The tensor with ``values`` added there, as often as an index stands."""
        return self._changed("at_add", values)

    def multiply(self, values: Any) -> T:
        """The tensor multiplied there, as often as an index stands."""
        return self._changed("at_multiply", values)

    def max(self, values: Any) -> T:
        """The larger of the tensor and ``values`` there."""
        return self._changed("at_max", values)

    def min(self, values: Any) -> T:
        """The smaller of the tensor and ``values`` there."""
        return self._changed("at_min", values)

    def _changed(self, name: str, values: Any) -> T:
        out: T = FUNCTIONS[name](self._tensor, self._index, values)
        return out
