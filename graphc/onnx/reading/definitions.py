"""Operators that others define: functions of the model, and those that ONNX itself gives a definition of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from graphc.extra import need
from graphc.onnx.reading.held import Held, Reading

Key = tuple[str, str, str]  # domain, name, overload


@dataclass(frozen=True, slots=True)
class Definition:
    """A function: names of its operands and results, its nodes, and the version of each domain that they are of."""

    inputs: Sequence[str]
    outputs: Sequence[str]
    nodes: Sequence[Any]
    opsets: Mapping[str, int]


def key(function: Any) -> Key:
    """What a function is called by."""
    domain = "" if function.domain == "ai.onnx" else function.domain
    return domain, function.name, getattr(function, "overload", "")


def versions(imports: Sequence[Any]) -> dict[str, int]:
    """The version of each domain."""
    out: dict[str, int] = {}
    for entry in imports:
        domain = "" if entry.domain == "ai.onnx" else entry.domain
        out[domain] = max(entry.version, out.get(domain, 0))
    return out


def define(at: Reading, functions: Mapping[Key, Any]) -> Definition | None:
    """The definition of a node's operator, with the node's attributes put in; None where there is none."""
    found = functions.get(at.key)
    return _of_onnx(at) if found is None else _bound(found, at, {a.name: a for a in found.attribute_proto}, {})


def _of_onnx(at: Reading) -> Definition | None:
    onnx = need("onnx", "from_onnx")
    try:
        schema = onnx.defs.get_schema(at.node.op_type, at.opset, at.domain)
    except (onnx.defs.SchemaError, TypeError):
        return None
    if not (schema.has_function or schema.has_context_dependent_function):
        return None
    opsets = {"": onnx.defs.onnx_opset_version(), **at.opsets}  # what it is made of are standard operators
    types = [_type(onnx, held) if held else onnx.TypeProto() for held in at.operands]
    try:
        _check(onnx, at, types, opsets)
        if schema.has_context_dependent_function:
            version = _version(schema.context_dependent_function_opset_versions, at.opset)
            texts = [t.SerializeToString() for t in types]
            text = schema.get_context_dependent_function_with_opset_version(version, at.node.SerializeToString(), texts)
        else:
            text = schema.get_function_with_opset_version(_version(schema.function_opset_versions, at.opset))
    except (onnx.checker.ValidationError, RuntimeError, ValueError) as error:
        at.fail(str(error)[:200])
    function = onnx.FunctionProto.FromString(text)
    if not function.node:  # it wants sizes that are not known
        return None
    defaults = {a.name: a.default_value for a in schema.attributes.values() if a.default_value.name}
    return _bound(function, at, defaults, opsets)


def _check(onnx: Any, at: Reading, types: Sequence[Any], opsets: Mapping[str, int]) -> None:
    """What makes a definition relies on a node with the operands and attributes that its operator has."""
    named = {name: kind for name, kind in zip(at.node.input, types, strict=True) if name}
    h = onnx.helper
    graph = h.make_graph([at.node], "one", [h.make_value_info(name, kind) for name, kind in named.items()], [])
    onnx.checker.check_model(h.make_model(graph, opset_imports=[h.make_opsetid(*pair) for pair in opsets.items()]))


def _version(known: Sequence[int], opset: int) -> int:
    """The newest version of a definition that is not newer than the model, else the oldest."""
    return max((v for v in known if v <= opset), default=min(known))


def _type(onnx: Any, held: Held) -> Any:
    shape = [s if isinstance(s, int) else str(s) for s in held.tensor().shape]
    return onnx.helper.make_tensor_type_proto(onnx.TensorProto.DataType.Value(held.kind.name.upper()), shape)


def _bound(function: Any, at: Reading, defaults: Mapping[str, Any], opsets: Mapping[str, int]) -> Definition:
    if len(at.node.input) > len(function.input) or len(at.node.output) > len(function.output):
        at.fail("it has more operands or results than its definition")
    given = {**defaults, **at.attributes}
    nodes = [_with(node, given) for node in function.node]
    return Definition(function.input, function.output, nodes, {**opsets, **versions(function.opset_import)})


def _with(node: Any, given: Mapping[str, Any]) -> Any:
    """``node`` with attributes of the call where it refers to them; one that the call does not have is left out."""
    if not any(a.ref_attr_name or a.HasField("g") for a in node.attribute):
        return node
    made = type(node)()
    made.CopyFrom(node)
    del made.attribute[:]
    for attribute in node.attribute:
        value = given.get(attribute.ref_attr_name) if attribute.ref_attr_name else attribute
        if value is not None:
            made.attribute.add().CopyFrom(value)
            made.attribute[-1].name = attribute.name
            if attribute.HasField("g"):
                inner = made.attribute[-1].g
                nodes = [_with(n, given) for n in inner.node]
                del inner.node[:]
                inner.node.extend(nodes)
    return made


__all__ = ["Definition", "Key", "define", "key", "versions"]
