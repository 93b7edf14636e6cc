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
from graphc.onnx.beside import Beside
from graphc.onnx.elements import ELEMENTS, Element

LARGEST = (1 << 31) - 1  # bytes; protobuf reads no more
OUTSIDE = {  # element types whose bytes are of another dtype than what holds them
    "bool": "uint8", "bfloat16": "uint16",
    **{name: name for name in ("float16", "int8", "int16", "uint16", "uint32", "uint64")},
}  # fmt: skip


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
    """The value of a tensor message, from the model or from a file ``beside`` it, in the dtype that holds its type.

    Errors name ``place``: GraphFileError where the value is not all there, UnsupportedOpError for an element type.
    """
    onnx = need("onnx", "from_onnx")
    kind = element(tensor.data_type, place)
    shape = tuple(tensor.dims)
    if len(shape) > schema.MOST_AXES:
        raise UnsupportedOpError(f"{place}: more than {schema.MOST_AXES} axes are not read")
    if any(n < 0 for n in shape) or math.prod(shape) > schema.LARGEST_SHAPE:
        raise GraphFileError(f"{place}: the shape {show(str(list(shape)))} is negative or too large")
    if tensor.data_location != onnx.TensorProto.DEFAULT or tensor.external_data:
        return _outside(tensor, kind, shape, place, beside)
    try:
        held: Array = np.asarray(onnx.numpy_helper.to_array(tensor))
        held = held.astype(kind.dtype) if kind.narrow else held
    except (TypeError, ValueError, OverflowError) as error:
        raise GraphFileError(f"{place}: {str(error)[:200]}") from None
    if held.shape != shape or held.dtype != kind.dtype:
        raise GraphFileError(f"{place}: declared {kind.name}{list(shape)}, found {held.dtype}{list(held.shape)}")
    if held.dtype.kind == "b":
        held = held.view(np.uint8) != 0
    return held.astype(held.dtype.newbyteorder("="), order="C")


def _outside(tensor: Any, kind: Element, shape: tuple[int, ...], place: str, beside: Beside | None) -> Array:
    if beside is None or tensor.data_location != need("onnx", "from_onnx").TensorProto.EXTERNAL:
        raise GraphFileError(f"{place}: its data lie in another file, which is not read")
    entries = {e.key: e.value for e in tensor.external_data}
    if len(entries) < len(tensor.external_data):
        raise GraphFileError(f"{place}: it is said twice where its data lie")
    if kind.narrow and kind.name not in OUTSIDE:
        raise UnsupportedOpError(f"{place}: elements of type {kind.name} are read only from the model's own file")
    stored = np.dtype(OUTSIDE.get(kind.name, kind.dtype))
    data = beside.read(entries, math.prod(shape) * stored.itemsize, place)
    held: Array = np.frombuffer(data, stored.newbyteorder("<")).astype(stored, copy=False)
    if kind.name == "bool":
        held = held != 0
    elif kind.name == "bfloat16":  # the first half of a float32
        held = (held.astype(np.uint32) << 16).view(np.float32)
    return held.astype(kind.dtype, copy=False).reshape(shape)


def element(data_type: int, place: str) -> Element:
    """The element type of that number; UnsupportedOpError for one that nothing here holds."""
    name = _names().get(data_type)
    if name is None:
        raise GraphFileError(f"{place}: there is no dtype {data_type}")
    if name.lower() not in ELEMENTS:
        raise UnsupportedOpError(f"{place}: the dtype {name} is not supported; read are numbers that are real")
    return ELEMENTS[name.lower()]


@cache
def _names() -> dict[int, str]:
    """ONNX's names of its element types."""
    kinds: dict[str, int] = need("onnx", "from_onnx").TensorProto.DataType
    return {number: name for name, number in kinds.items() if name != "UNDEFINED"}


__all__ = ["array", "element", "parse", "read"]
