"""Models from strangers: bytes of a file, the message in them, and arrays, in the file or beside it."""

from __future__ import annotations

import math
import os
import stat
from collections import Counter
from collections.abc import Iterable
from functools import cache
from typing import Any

import numpy as np

from graphc.errors import GraphFileError, UnsupportedOpError
from graphc.extra import need
from graphc.file import schema
from graphc.file.strict import show
from graphc.ir.state import Array
from graphc.ir.types import DTYPES
from graphc.onnx.beside import Beside

LARGEST = (1 << 31) - 1  # bytes; protobuf reads no more


def read(path: str | os.PathLike[str]) -> bytes:
    """The bytes of a regular file; GraphFileError for anything else or one that is too large."""
    if not stat.S_ISREG(os.stat(path).st_mode):  # opening a pipe would wait
        raise GraphFileError("not a file")
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        if size > LARGEST:
            raise GraphFileError(f"{size} bytes, a model has at most {LARGEST}")
        return file.read(size)  # asking for more would take the memory for it


def parse(data: bytes) -> Any:
    """The model message; GraphFileError where the bytes are none, UnsupportedOpError for one that is too large."""
    onnx = need("onnx", "from_onnx")
    from google.protobuf.message import DecodeError

    try:
        model = onnx.ModelProto.FromString(data)
    except (DecodeError, UnicodeDecodeError, ValueError, RecursionError) as error:
        raise GraphFileError(f"not an ONNX model: {str(error)[:200]}") from None
    if not model.HasField("graph") or not model.opset_import:
        raise GraphFileError("not an ONNX model: it has no graph or no opset")
    if model.graph.sparse_initializer:
        raise UnsupportedOpError("sparse initializers are not read")
    many = len(model.graph.node) + len(model.graph.initializer) + len(model.graph.input) + len(model.graph.output)
    if many > schema.MOST_NODES:
        raise UnsupportedOpError(f"{many} nodes; a model of more than {schema.MOST_NODES} is not read")
    _check_texts(model)
    for what, named in (("initializer", model.graph.initializer), ("input", model.graph.input)):
        for name, count in Counter(part.name for part in named).items():
            if count > 1:
                raise GraphFileError(f"{what} {show(name)}: given {count} times", node=name)
    return model


def _check_texts(message: Any) -> None:
    """GraphFileError where a text is not UTF-8; it would come out as bytes."""
    for field, value in message.ListFields():
        many = value if isinstance(value, Iterable) and not isinstance(value, (str, bytes)) else (value,)
        if field.type == field.TYPE_STRING and any(type(v) is not str for v in many):
            raise GraphFileError(f"{field.full_name}: a text that is not UTF-8")
        if field.type == field.TYPE_MESSAGE:
            for part in many:
                _check_texts(part)


def array(tensor: Any, place: str, beside: Beside | None = None) -> Array:
    """The value of a tensor message, from the model or from a file ``beside`` it.

    Errors name ``place``: GraphFileError where the value is not all there, UnsupportedOpError for a dtype.
    """
    onnx = need("onnx", "from_onnx")
    name = dtype_name(tensor.data_type, place)
    shape = tuple(tensor.dims)
    if len(shape) > schema.MOST_AXES:
        raise UnsupportedOpError(f"{place}: more than {schema.MOST_AXES} axes are not read")
    if any(n < 0 for n in shape) or math.prod(shape) > schema.LARGEST_SHAPE:
        raise GraphFileError(f"{place}: the shape {show(str(list(shape)))} is negative or too large")
    if tensor.data_location != onnx.TensorProto.DEFAULT or tensor.external_data:
        return _outside(tensor, name, shape, place, beside)
    try:
        held: Array = np.asarray(onnx.numpy_helper.to_array(tensor))
    except (TypeError, ValueError, OverflowError) as error:
        raise GraphFileError(f"{place}: {str(error)[:200]}") from None
    if held.shape != shape or held.dtype != DTYPES[name]:
        raise GraphFileError(f"{place}: declared {name}{list(shape)}, found {held.dtype}{list(held.shape)}")
    if held.dtype.kind == "b":
        held = held.view(np.uint8) != 0
    return held.astype(held.dtype.newbyteorder("="), order="C")


def _outside(tensor: Any, name: str, shape: tuple[int, ...], place: str, beside: Beside | None) -> Array:
    if beside is None or tensor.data_location != need("onnx", "from_onnx").TensorProto.EXTERNAL:
        raise GraphFileError(f"{place}: its data lie in another file, which is not read")
    entries = {e.key: e.value for e in tensor.external_data}
    if len(entries) < len(tensor.external_data):
        raise GraphFileError(f"{place}: it is said twice where its data lie")
    dtype = DTYPES[name]
    data = beside.read(entries, math.prod(shape) * dtype.itemsize, place)
    if dtype.kind == "b":
        held: Array = np.frombuffer(data, np.uint8) != 0
    else:
        held = np.frombuffer(data, dtype.newbyteorder("<")).astype(dtype, copy=False)
    return held.reshape(shape)


def dtype_name(data_type: int, place: str) -> str:
    """graphc's name of an ONNX element type; UnsupportedOpError for one that it does not have."""
    known = _dtypes().get(data_type)
    if known is None:
        raise GraphFileError(f"{place}: there is no dtype {data_type}")
    name = {"FLOAT": "float32", "DOUBLE": "float64"}.get(known, known.lower())
    if name not in DTYPES:
        raise UnsupportedOpError(f"{place}: the dtype {known} is not supported")
    return name


@cache
def _dtypes() -> dict[int, str]:
    """ONNX's names of its element types."""
    kinds: dict[str, int] = need("onnx", "from_onnx").TensorProto.DataType
    return {number: name for name, number in kinds.items() if name != "UNDEFINED"}


__all__ = ["array", "dtype_name", "parse", "read"]
