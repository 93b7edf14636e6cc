"""Methods of graphs that make tensors from nothing: functions of ``gx`` of the same names, for this graph."""

from __future__ import annotations

from typing import Any, Generic, TypeVar

from graphc.ir.op import FUNCTIONS

T = TypeVar("T")  # a tensor, whose module knows of graphs


class Creation(Generic[T]):
    """What `Graph` has of it."""

    def zeros(self, shape: Any, dtype: Any = None) -> T:
        """Zeros, of the graph's float by default.

        As `gx.zeros` otherwise.

        >>> import graphc as gx
        >>> g = gx.Graph()
        >>> g.zeros(("n", 3))
        <Tensor broadcast_to_1: float32[n, 3]>
        """
        return self._made("zeros", shape, dtype)

    def ones(self, shape: Any, dtype: Any = None) -> T:
        """Ones, of the graph's float by default.

        As `gx.ones` otherwise.

        >>> import graphc as gx
        >>> g = gx.Graph()
        >>> g.ones(("n", 3))
        <Tensor broadcast_to_1: float32[n, 3]>
        """
        return self._made("ones", shape, dtype)

    def full(self, shape: Any, fill: Any, dtype: Any = None) -> T:
        """A number, or a tensor that broadcasts, in every place.

        As `gx.full` otherwise.

        >>> import graphc as gx
        >>> g = gx.Graph()
        >>> g.full((2, 3), 0.5)
        <Tensor broadcast_to_1: float32[2, 3]>
        """
        return self._made("full", shape, fill, dtype)

    def eye(self, n: Any, m: Any = None, k: int = 0, dtype: Any = None) -> T:
        """Ones on a diagonal.

        As `gx.eye` otherwise.

        >>> import graphc as gx
        >>> g = gx.Graph()
        >>> g.eye("n")
        <Tensor astype_7: float32[n, n]>
        """
        return self._made("eye", n, m, k, dtype)

    def tri(self, n: Any, m: Any = None, k: int = 0, dtype: Any = None) -> T:
        """Ones on a diagonal and below it.

        As `gx.tri` otherwise.

        >>> import graphc as gx
        >>> g = gx.Graph()
        >>> g.tri(3)
        <Tensor astype_7: float32[3, 3]>
        """
        return self._made("tri", n, m, k, dtype)

    def arange(self, start: Any, stop: Any = None, step: Any = 1, dtype: Any = None) -> T:
        """``start``, ``start + step`` and so on, up to but without ``stop``.

        As `gx.arange` otherwise.

        >>> import graphc as gx
        >>> g = gx.Graph()
        >>> g.arange("n")
        <Tensor iota_0: int64[n]>
        """
        return self._made("arange", start, stop, step, dtype)

    def linspace(self, start: Any, stop: Any, num: Any = 50, endpoint: bool = True, dtype: Any = None) -> T:
        """``num`` numbers at equal distances, from ``start`` to ``stop``.

        As `gx.linspace` otherwise.

        >>> import graphc as gx
        >>> g = gx.Graph()
        >>> g.linspace(0, 1, 5)
        <Tensor where_17: float32[5]>
        """
        return self._made("linspace", start, stop, num, endpoint, dtype)

    def _made(self, name: str, *args: Any) -> T:
        out: T = FUNCTIONS[name](*args, graph=self)
        return out
