"""`from_onnx`: a model as a graph."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from graphc.collector import uncollected
from graphc.errors import GraphFileError, UnsupportedOpError
from graphc.ir.graph import Graph
from graphc.onnx import provenance, wire
from graphc.onnx.beside import Beside
from graphc.onnx.reading.model import read


def load(path: str | os.PathLike[str], fixed: Mapping[str, Any] | None = None) -> Graph:
    """See `from_onnx`."""
    folder, name = os.path.split(os.fsdecode(path))
    beside = Beside(folder)
    try:
        with uncollected():
            proto = wire.parse(wire.read(path))
            arrays = {t.name: wire.array(t, f"initializer {t.name[:60]!r}", beside) for t in proto.graph.initializer}
            graph = None if fixed else provenance.recall(proto, arrays)
            return read(proto, arrays, beside, fixed) if graph is None else graph
    except (GraphFileError, UnsupportedOpError) as error:
        raise type(error)(f"{name}: {error.message}", node=error.node) from None


__all__ = ["load"]
