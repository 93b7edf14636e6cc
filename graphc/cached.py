"""Properties that are computed once."""

from __future__ import annotations

import typing
from collections.abc import Callable
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class cached(Generic[T]):
    """``functools.cached_property`` without the lock that it holds before Python 3.12, which a fork may leave taken.

    >>> class Number:
    ...     @cached
    ...     def value(self) -> int:
    ...         print("computed")
    ...         return 3
    >>> number = Number()
    >>> number.value + number.value
    computed
    6
    """

    def __init__(self, function: Callable[[Any], T]) -> None:
        self.function, self.__doc__ = function, function.__doc__

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    @typing.overload
    def __get__(self, instance: None, owner: type) -> cached[T]: ...
    @typing.overload
    def __get__(self, instance: object, owner: type) -> T: ...
    def __get__(self, instance: object | None, owner: type) -> cached[T] | T:
        if instance is None:
            return self
        value: T = vars(instance).setdefault(self.name, self.function(instance))
        return value


__all__ = ["cached"]
