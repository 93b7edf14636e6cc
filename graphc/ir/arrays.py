"""From what a user passes where numbers are wanted to an array, or words for what it is instead."""

from __future__ import annotations

import numbers
import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from graphc.ir.types import DType

Array = np.ndarray[Any, Any]
Complaint = Callable[[str], Exception]  # from what was found to an error
LOST = "which cannot be converted without loss of meaning"


def as_numbers(value: Any, target: DType, complaint: Complaint) -> Array:
    """``value`` as an array of a dtype that can become ``target``; raises ``complaint(found)`` for any other.

    Raises ValueError where lists have no one shape.
    """
    # NumPy loads it when it is first used, which takes a while; another thread may be at it
    masked = getattr(sys.modules.get("numpy.ma"), "MaskedArray", None)
    if masked is not None and isinstance(value, masked):
        raise complaint("a masked array; fill it first")
    if value is None:
        raise complaint("None; pass an array")
    array = np.asarray(value)
    if type(array) is not np.ndarray:
        array = np.asarray(array).view(np.ndarray)
    if array.dtype.kind not in "biuf" or array.dtype.itemsize > 8:
        raise complaint(_no_numbers(value, array, target))
    if not array.dtype.isnative:
        array = array.astype(array.dtype.newbyteorder("="))
    if not fits(array, target):
        raise complaint(f"{array.dtype}, {LOST}; convert it yourself: array.astype({str(target)!r})")
    return array


def fits(array: Array, target: DType) -> bool:
    """float to float, int to float; int to int where every value fits; bool to any number."""
    kind = array.dtype.kind
    if array.dtype == target or kind == "b":
        return True
    if target.kind == "f":
        return True
    if target.kind == "b" or kind == "f":
        return False
    if not array.size:
        return True
    limits = np.iinfo(target)
    return bool(int(array.min()) >= limits.min and int(array.max()) <= limits.max)


def _no_numbers(value: Any, array: Array, target: DType) -> str:
    """What an array holds that is no number, where it is, and what to do."""
    if array.dtype.kind != "O":
        return f"dtype {array.dtype}; expected bools, integers or floats of at most 64 bits"
    columns = [str(c) for c, dtype in zip(*_columns(value), strict=False) if dtype == "object"]
    if columns:
        names = ", ".join(map(repr, columns[:4])) + (f" and {len(columns) - 4} more" if len(columns) > 4 else "")
        return f"a frame whose columns {names} have dtype object; drop them, or make numbers of them"
    for k, entry in enumerate(array.flat):
        if not isinstance(entry, (numbers.Real, np.bool_)):
            at = ", ".join(map(str, np.unravel_index(k, array.shape)))
            return f"dtype object, with {_short(entry)} at [{at}]; make numbers of what it holds"
    return f"dtype object, although it holds numbers only; convert it: array.astype({str(target)!r})"


def _columns(value: Any) -> tuple[list[Any], list[str]]:
    """Names and dtypes of the columns of what looks like a pandas frame."""
    try:
        return list(value.columns), [str(d) for d in value.dtypes]
    except (AttributeError, TypeError):
        return [], []


def _short(entry: Any) -> str:
    text = repr(entry)
    return text if len(text) <= 40 else f"{text[:40]}..."
