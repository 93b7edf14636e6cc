"""An executable as an ONNX model, checked, run, and written whole."""

from __future__ import annotations

import os
from typing import Any

from graphc.atomic import replacing
from graphc.errors import ExportError
from graphc.onnx import provenance, wire
from graphc.onnx.build import build
from graphc.onnx.verify import check
from graphc.run.executable import Executable


def write(exe: Executable, path: str | os.PathLike[str], verify: Any, opset: int) -> None:
    """See `Executable.export_onnx`."""
    program = exe.program
    state = program.graph.state.copies(program.graph.state)
    built = build(program, state, opset)
    for key, text in provenance.describe(built, program, state).items():
        built.proto.metadata_props.add(key=key, value=text)
    data = built.proto.SerializeToString(deterministic=True)
    if verify is not False:
        check(built, data, program, state, verify)
        proto = wire.parse(data)
        if provenance.recall(proto, {t.name: wire.array(t, t.name) for t in proto.graph.initializer}) is None:
            raise ExportError("the model does not read back as the graph that it was made of")
    with replacing(path) as file:
        file.write(data)


__all__ = ["write"]
