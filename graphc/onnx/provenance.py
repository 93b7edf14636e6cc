"""The graph that a model was made of, in the model's own metadata, and back.

The metadata is believed only where building the model anew from it gives the same model. Weights are the model's own,
so a model trained elsewhere comes back with its new weights; one whose nodes were changed does not come back this way.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Any

import numpy as np

from graphc.errors import ExportError, GraphcError, GraphFileError
from graphc.file import archive, programs, schema, strict
from graphc.file.tensors import Declared
from graphc.ir.graph import Graph
from graphc.ir.state import Array
from graphc.onnx.build import Built, build
from graphc.run.program import Program

GRAPH, PROGRAM, LEAVES = FIELDS = ("graphc.graph", "graphc.program", "graphc.leaves")


def describe(built: Built, program: Program, state: Mapping[str, Array]) -> dict[str, str]:
    """The metadata: nodes, program, and values of leaves that the model does not have under their names."""
    graph = program.graph
    chosen = programs.needed(graph, [program])
    place = {id: k for k, id in enumerate(chosen)}
    values = {n.name: state.get(n.name, n.value) for n in (graph.nodes[i] for i in chosen)}
    extra = {n: a for n, a in values.items() if a is not None and not _same(built.leaves.get(n), a)}
    texts = {n: base64.b64encode(a.astype(a.dtype.newbyteorder("<")).tobytes()).decode() for n, a in extra.items()}
    described = programs.describe(program, place)
    parts = (schema.encode(graph, chosen), described, texts)
    return {field: strict.dump(part).decode() for field, part in zip(FIELDS, parts, strict=True)}


def _same(held: Array | None, array: Array) -> bool:
    return (
        held is not None
        and (held.dtype, held.shape) == (array.dtype, array.shape)
        and held.tobytes() == array.tobytes()
    )


def recall(proto: Any, initializers: Mapping[str, Array]) -> Graph | None:
    """The graph that ``proto`` was made of; None where it is not said, or what is said is not what the model does.

    GraphFileError where the metadata is damaged.
    """
    fields = {e.key: e.value for e in proto.metadata_props if e.key in FIELDS}
    if set(fields) != set(FIELDS):
        return None
    if any(len(fields[name]) > archive.LARGEST_JSON for name in (GRAPH, PROGRAM)):
        raise GraphFileError(f"{GRAPH}: longer than {archive.LARGEST_JSON} bytes")
    texts = {name: fields[name].encode() for name in FIELDS}
    extra = strict.parse(texts[LEAVES], LEAVES)
    if type(extra) is not dict:
        raise GraphFileError(f"{LEAVES}: expected an object, found {strict.show(extra)}")

    def arrays(kind: str, declared: Declared) -> Mapping[str, Array]:
        return {name: _leaf(name, extra, initializers, *of) for name, of in declared.items()}

    graph = schema.decode(texts[GRAPH], arrays)
    held = strict.record(strict.parse(texts[PROGRAM], PROGRAM), PROGRAM, programs.PROGRAM)
    try:
        program = programs.program(graph, held, PROGRAM)
        again = build(program, graph.state.storage, max((o.version for o in proto.opset_import), default=0)).proto
    except ExportError:
        return None
    except GraphcError as error:
        raise GraphFileError(f"{PROGRAM}: {error.message[:300]}", node=error.node) from None
    if again.graph != proto.graph or list(again.opset_import) != list(proto.opset_import) or proto.functions:
        return None
    graph.outputs = [graph.tensors[i] for i in program.roots]
    return graph


def _leaf(name: str, extra: Mapping[str, Any], held: Mapping[str, Array], dtype: Any, shape: tuple[int, ...]) -> Array:
    """The declared value of a leaf: the model's own, or one that the metadata adds."""
    if name not in extra:
        found = held.get(name)
        if found is None or (found.dtype, found.shape) != (dtype, shape):
            raise GraphFileError(f"{GRAPH}: {strict.show(name)}: the model has no such initializer", node=name)
        return found.copy()
    place = f"{LEAVES}: {strict.show(name)}"
    try:
        data = base64.b64decode(extra[name], validate=True)
        array = np.frombuffer(data, dtype.newbyteorder("<")).reshape(shape).astype(dtype)
    except (binascii.Error, TypeError, ValueError):
        raise GraphFileError(f"{place}: not the bytes of {dtype}{list(shape)}", node=name) from None
    if dtype.kind == "b" and array.size and np.frombuffer(data, np.uint8).max() > 1:
        raise GraphFileError(f"{place}: a bool that is neither 0 nor 1", node=name)
    return array


__all__ = ["FIELDS", "describe", "recall"]
