"""From what a caller passes to arrays that fit: the slow path of a call, and every complaint about arguments."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from graphc.errors import InputDTypeError, InputError, InputMemoryError, InputShapeError, did_you_mean
from graphc.ir.arrays import Array, as_numbers
from graphc.ir.tensor import Tensor
from graphc.ir.types import DType


def arrange(inputs: Sequence[Tensor], args: Sequence[Any], kwargs: Mapping[str, Any]) -> list[Any]:
    """Positional and named arguments in the order of ``inputs``; InputError for a wrong count or name."""
    names = [t.name for t in inputs]
    if len(args) > len(names):
        raise InputError(f"expected {len(names)} inputs ({', '.join(names)}), found {len(args)}")
    out = dict(zip(names, args, strict=False))
    for name, value in kwargs.items():
        if name not in names:
            raise InputError(f"there is no input {name!r}; inputs are {', '.join(names)}{did_you_mean(name, names)}")
        if name in out:
            raise InputError(f"input {name!r} is passed twice", node=name)
        out[name] = value
    for t in inputs:
        if t.name not in out:
            text = f"input {t.name!r} is missing: expected {t.type}; {len(names)} inputs are {', '.join(names)}"
            if t.name == "out":
                text += "; pass it by position, for out= names arrays to write into"
            raise InputError(text, node=t.name, origin=t.origin)
    return [out[name] for name in names]


def convert(tensor: Tensor, value: Any) -> Array:
    """``value`` as an aligned C-ordered array of the input's dtype; InputDTypeError where that would lose meaning."""
    array = checked(tensor, value)
    target = tensor.dtype
    try:
        if array.dtype != target:
            array = array.astype(target)
        if array.dtype is not target:  # equal, by another name
            array = array.view(target)
        return array if array.flags.c_contiguous and array.flags.aligned else np.array(array, order="C", copy=True)
    except MemoryError as error:
        text = f"input {tensor.name!r}: there is no memory for a copy of {array.dtype}{list(array.shape)}"
        raise InputMemoryError(text, node=tensor.name, origin=tensor.origin) from error


def checked(tensor: Tensor, value: Any) -> Array:
    """``value`` as an array whose dtype can become the input's."""

    def complaint(found: str) -> InputDTypeError:
        text = f"input {tensor.name!r}: expected {tensor.type}, found {found}"
        return InputDTypeError(text, node=tensor.name, origin=tensor.origin)

    if isinstance(value, Tensor):
        raise complaint(f"the tensor {value.name}; pass an array")
    try:
        return as_numbers(value, tensor.dtype, complaint)
    except InputDTypeError:
        raise
    except ValueError as error:
        raise InputShapeError(f"input {tensor.name!r}: {error}", node=tensor.name, origin=tensor.origin) from None


def check_out(
    outputs: Sequence[tuple[str, DType, tuple[int, ...]]], given: Sequence[Any], others: Sequence[Array]
) -> None:
    """Refuses ``out=`` arrays that do not fit, cannot be written, or share memory with inputs, state or one another."""
    if len(given) != len(outputs):
        raise InputError(f"out: expected {len(outputs)} arrays, found {len(given)}")
    for (name, dtype, shape), array in zip(outputs, given, strict=True):
        if type(array) is not np.ndarray:
            raise InputDTypeError(f"out for {name}: expected an array, found {type(array).__name__}", node=name)
        if array.dtype != dtype:
            raise InputDTypeError(f"out for {name}: expected dtype {dtype}, found {array.dtype}", node=name)
        if array.shape != shape:
            raise InputShapeError(f"out for {name}: expected shape {shape}, found {array.shape}", node=name)
        if not array.flags.writeable:
            raise InputError(f"out for {name} is read-only", node=name)
        if not array.flags.carray:
            raise InputError(f"out for {name} must be C-ordered and aligned", node=name)
    for k, (name, _, _) in enumerate(outputs):
        for other in (*others, *given[:k]):
            if np.may_share_memory(given[k], other):
                raise InputError(f"out for {name} overlaps an input, the state or another output", node=name)
