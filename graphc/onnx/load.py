"""`from_onnx`: a model as a graph."""

from __future__ import annotations

import os

from graphc.errors import GraphFileError, UnsupportedOpError
from graphc.ir.graph import Graph
from graphc.onnx import provenance, wire
from graphc.onnx.reading.model import read


def from_onnx(path: str | os.PathLike[str]) -> Graph:
    """The graph of an ONNX model; ``g.inputs``, ``g.parameters`` and ``g.outputs`` are the model's.

    A model that `Executable.export_onnx` wrote comes back as a graph equal to what was exported. Of other writers
    (PyTorch's and scikit-learn's exporters) floats in the file are parameters, except single numbers; running
    statistics are variables; sizes without a name are fresh symbols.

    Nothing but the file is read. Raises GraphFileError, naming the place in it, for one that is damaged or hostile;
    UnsupportedOpError, naming the node and its operator, for what graphc does not have. Needs ``graphc[onnx]``.
    """
    try:
        proto = wire.parse(wire.read(path))
        arrays = {t.name: wire.array(t, f"initializer {t.name[:60]!r}") for t in proto.graph.initializer}
        graph = provenance.recall(proto, arrays)
        return read(proto, arrays) if graph is None else graph
    except (GraphFileError, UnsupportedOpError) as error:
        name = os.path.basename(os.fsdecode(path))
        raise type(error)(f"{name}: {error.message}", node=error.node) from None


__all__ = ["from_onnx"]
