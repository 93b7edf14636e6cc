"""Models from strangers: bytes of a file, the message in them, and arrays, none of them from anywhere else."""

from __future__ import annotations

import math
import os
import stat
from collections import Counter
from collections.abc import Iterable
from typing import Any

import numpy as np

from graphc.errors import GraphFileError
from graphc.file import schema
from graphc.file.strict import show
from graphc.ir.state import Array
from graphc.ir.types import DTYPES
from graphc.onnx.extra import need

LARGEST = (1 << 31) - 1  # bytes; protobuf reads no more


def read(path: str | os.PathLike[str]) -> bytes:
    """The bytes of a regular file; GraphFileError for anything else or one that is too large."""
    found = os.stat(path)
    if not stat.S_ISREG(found.st_mode):  # opening a pipe would wait
        raise GraphFileError("not a file")
    if found.st_size > LARGEST:
        raise GraphFileError(f"{found.st_size} bytes, a model has at most {LARGEST}")
    with open(path, "rb") as file:
        return file.read(LARGEST + 1)


def parse(data: bytes) -> Any:
    """The model message; GraphFileError where the bytes are none."""
    onnx = need("onnx", "from_onnx")
    from google.protobuf.message import DecodeError

    try:
        model = onnx.ModelProto.FromString(data)
    except (DecodeError, UnicodeDecodeError, ValueError, RecursionError) as error:
        raise GraphFileError(f"not an ONNX model: {str(error)[:200]}") from None
    if not model.HasField("graph") or not model.opset_import:
        raise GraphFileError("not an ONNX model: it has no graph or no opset")
    if model.functions or model.graph.sparse_initializer:
        raise GraphFileError("functions and sparse initializers are not read")
    many = len(model.graph.node) + len(model.graph.initializer) + len(model.graph.input) + len(model.graph.output)
    if many > schema.MOST_NODES:
        raise GraphFileError(f"nodes: {many}, more than {schema.MOST_NODES}")
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


def array(tensor: Any, place: str) -> Array:
    """The value of a tensor message. GraphFileError, naming ``place``, where it is not all there, or elsewhere."""
    onnx = need("onnx", "from_onnx")
    if tensor.data_location != onnx.TensorProto.DEFAULT or tensor.external_data:
        raise GraphFileError(f"{place}: its data lie in another file, which is not read")
    name = dtype_name(tensor.data_type, place)
    shape = tuple(tensor.dims)
    if len(shape) > schema.MOST_AXES or any(n < 0 for n in shape) or math.prod(shape) > schema.LARGEST_SHAPE:
        raise GraphFileError(f"{place}: the shape {show(str(list(shape)))} is negative or too large")
    try:
        held: Array = np.asarray(onnx.numpy_helper.to_array(tensor))
    except (TypeError, ValueError, OverflowError) as error:
        raise GraphFileError(f"{place}: {str(error)[:200]}") from None
    if held.shape != shape or held.dtype != DTYPES[name]:
        raise GraphFileError(f"{place}: declared {name}{list(shape)}, found {held.dtype}{list(held.shape)}")
    if held.dtype.kind == "b":
        held = held.view(np.uint8) != 0
    return held.astype(held.dtype.newbyteorder("="), order="C")


def dtype_name(data_type: int, place: str) -> str:
    """graphc's name of an ONNX element type; GraphFileError for one that it does not have."""
    onnx = need("onnx", "from_onnx")
    try:
        name = onnx.helper.tensor_dtype_to_np_dtype(data_type).name
    except (KeyError, TypeError, ValueError):
        name = ""
    if name not in DTYPES:
        known = {v: k for k, v in onnx.TensorProto.DataType.items()}
        raise GraphFileError(f"{place}: the dtype {known.get(data_type, data_type)} is not supported")
    return str(name)


__all__ = ["array", "dtype_name", "parse", "read"]
