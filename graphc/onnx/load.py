"""`from_onnx`: a model as a graph."""

from __future__ import annotations

import os

from graphc.errors import GraphFileError, UnsupportedOpError
from graphc.ir.graph import Graph
from graphc.onnx import provenance, wire


def from_onnx(path: str | os.PathLike[str]) -> Graph:
    """The graph of an ONNX model that `Executable.export_onnx` wrote, equal to the one that was exported.

    ``g.outputs`` are the model's outputs. Raises GraphFileError, naming the place in the file, for one that is
    damaged or hostile. Needs ``graphc[onnx]``.
    """
    try:
        proto = wire.parse(wire.read(path))
        arrays = {t.name: wire.array(t, f"initializer {t.name[:60]!r}") for t in proto.graph.initializer}
        graph = provenance.recall(proto, arrays)
        if graph is None:
            raise UnsupportedOpError("the model was not written by graphc")
        return graph
    except (GraphFileError, UnsupportedOpError) as error:
        name = os.path.basename(os.fsdecode(path))
        raise type(error)(f"{name}: {error.message}", node=error.node) from None


__all__ = ["from_onnx"]
