"""ONNX: executables as models of standard operators, and models as graphs, loaded when they are called for."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from graphc.ir.graph import Graph
from graphc.ir.op import LATER


def export_onnx(exe: Any, path: str | os.PathLike[str], *, verify: Any = True, opset: int = 18) -> None:
    """See `Executable.export_onnx`."""
    from graphc.onnx.export import write

    write(exe, path, verify, opset)


def from_onnx(path: str | os.PathLike[str], *, fixed: Mapping[str, Any] | None = None) -> Graph:
    """The graph of an ONNX model; ``g.inputs``, ``g.parameters`` and ``g.outputs`` are the model's.

    A model that `Executable.export_onnx` wrote comes back as a graph equal to what was exported. Of other writers
    (PyTorch's and scikit-learn's exporters) floats in the file are parameters, except single numbers; running
    statistics are variables; sizes without a name are fresh symbols.

    ``fixed`` are values of inputs, by name, that the graph then has as constants: what sizes, axes or the number of
    steps are, where a model takes them as inputs.

    Nothing is read but the file and, where it keeps weights outside, files of plain names beside it. Raises
    GraphFileError, naming the place in it, for one that is damaged or hostile; UnsupportedOpError, naming the node and
    its operator, for what graphc does not have. Needs ``graphc[onnx]``.

    >>> import tempfile
    >>> from importlib.util import find_spec
    >>> import graphc as gx
    >>> x = gx.Graph().input("x", ("n",))
    >>> path = tempfile.mkdtemp() + "/model.onnx"
    >>> if find_spec("onnx"):
    ...     gx.compile([x], gx.tanh(x), backend="numpy").export_onnx(path, verify=False)
    ...     assert list(gx.from_onnx(path).inputs) == ["x"]
    """
    from graphc.onnx.load import load

    return load(path, fixed)


LATER["export_onnx"] = export_onnx  # type: ignore[assignment]

__all__ = ["export_onnx", "from_onnx"]
