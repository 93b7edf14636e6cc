"""Arrays in a few characters."""

from __future__ import annotations

from graphc.ir.state import Array
from graphc.look.expression import number_text

FEW = 4  # elements that a row is written out with
ROWS = 4


def lines(array: Array) -> list[str]:
    """An array for a box: small ones whole, row by row; of others the shape and what lies in it.

    >>> import numpy as np
    >>> lines(np.array([[1.0, 2.0], [0.25, 1e-7]]))
    ['[1, 2]', '[0.25, 1e-07]']
    >>> lines(np.zeros((60, 784), np.float32))
    ['float32[60, 784]', '0 to 0, mean 0']
    """
    if array.ndim == 0:
        return [number_text(array)]
    if (
        array.ndim <= 2
        and array.shape[-1] <= FEW
        and array.size <= FEW * ROWS
        and (array.ndim == 1 or len(array) <= ROWS)
    ):
        return [f"[{', '.join(map(number_text, row))}]" for row in (array if array.ndim == 2 else [array])]
    return _described(array)


def line(array: Array) -> str:
    """The same in one line, for a table; of matrices the shape and what lies in them."""
    if array.ndim == 2 and array.size > 1:
        return ", ".join(_described(array))
    return ", ".join(lines(array))


def _described(array: Array) -> list[str]:
    shape = f"{array.dtype}[{', '.join(map(str, array.shape))}]"
    if not array.size:
        return [shape]
    low, high, mean = map(number_text, (array.min(), array.max(), array.mean()))
    return [shape, f"{low} to {high}, mean {mean}"]


__all__ = ["line", "lines"]
