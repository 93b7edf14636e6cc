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
    columns = _columns(value)
    if columns is not None:
        return _joined(columns, target, complaint)
    array = _array(value, complaint)
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
    for k, entry in enumerate(array.flat):
        if not isinstance(entry, (numbers.Real, np.bool_)):
            at = ", ".join(map(str, np.unravel_index(k, array.shape)))
            return f"dtype object, with {_short(entry)} at [{at}]; make numbers of what it holds"
    return f"dtype object, although it holds numbers only; convert it: array.astype({str(target)!r})"


def _array(value: Any, complaint: Complaint) -> Array:
    """``value`` as an array, by the buffers that other libraries lend; ``complaint`` where they do not.

    ValueError, from lists without one shape, is left to the caller.
    """
    if isinstance(value, np.ndarray):
        return value
    missing = _missing(value)
    if missing:
        raise complaint(f"{missing} missing values; fill or drop them first")
    lent = hasattr(value, "__dlpack__") and not hasattr(value, "__array__")
    try:
        whole = getattr(getattr(value, "dtype", None), "numpy_dtype", None)  # of pandas' nullable columns
        if whole is not None and hasattr(value, "to_numpy"):
            return np.asarray(value.to_numpy(dtype=whole))
        return np.from_dlpack(value) if lent else np.asarray(value)
    except (RuntimeError, TypeError, BufferError) as error:
        said = str(error).partition("\n")[0]
        raise complaint(f"{type(value).__name__}, of which NumPy can make no array: {said}") from None


def _missing(column: Any) -> int:
    """How many values a column of polars, pyarrow or pandas' nullable dtypes lacks; NaN in an array is a value."""
    count = getattr(column, "null_count", None)
    if count is None and hasattr(getattr(column, "dtype", None), "na_value") and hasattr(column, "isna"):
        return int(np.count_nonzero(column.isna()))
    found = count() if callable(count) else count
    return found if isinstance(found, int) else 0


def _columns(value: Any) -> list[tuple[Any, Any]] | None:
    """Names and columns of a frame of pandas or polars, or of a table of pyarrow; None for what is none."""
    if isinstance(value, (np.ndarray, list, tuple)) or not hasattr(value, "columns") or not hasattr(value, "shape"):
        return None
    if hasattr(value, "iter_columns"):  # polars
        return [(column.name, column) for column in value.iter_columns()]
    if hasattr(value, "column_names"):  # pyarrow
        return list(zip(value.column_names, value.columns, strict=True))
    if not hasattr(value, "iloc"):
        return None
    alike = {d if isinstance(d, np.dtype) and d.kind in "biuf" else None for d in getattr(value, "dtypes", [None])}
    return None if len(alike) == 1 and None not in alike else list(value.items())  # pandas; one array already


def _joined(columns: list[tuple[Any, Any]], target: DType, complaint: Complaint) -> Array:
    """The columns of a frame side by side in the dtype that is wanted; one that does not fit is named."""
    if not columns:
        raise complaint("a frame without columns")
    rows = len(columns[0][1])
    out = np.empty((rows, len(columns)), target)
    for k, (name, column) in enumerate(columns):
        out[:, k] = as_numbers(column, target, lambda found, name=name: complaint(f"column {name!r}: {found}"))  # type: ignore[misc]
    return out


def _short(entry: Any) -> str:
    text = repr(entry)
    return text if len(text) <= 40 else f"{text[:40]}..."
