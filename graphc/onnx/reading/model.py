"""A model of any writer as a graph: inputs, weights, node after node, outputs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np

from graphc.errors import GraphcError, GraphFileError, InputError, ShapeError, UnsupportedOpError, caller
from graphc.extra import need
from graphc.file import schema
from graphc.file.strict import show
from graphc.ir.call import Call
from graphc.ir.dims import Size
from graphc.ir.graph import Graph
from graphc.ir.op import Kind
from graphc.ir.sizes import parse
from graphc.ir.state import Array
from graphc.ir.tensor import Tensor
from graphc.ir.types import BOOL, INT64
from graphc.onnx import wire
from graphc.onnx.beside import Beside
from graphc.onnx.elements import element, fitted
from graphc.onnx.reading.bits import BITS
from graphc.onnx.reading.control import CONTROL
from graphc.onnx.reading.definitions import Key, define, key, versions
from graphc.onnx.reading.elementwise import ELEMENTWISE, Reader
from graphc.onnx.reading.held import LONGEST, Held, Reading, free, terms
from graphc.onnx.reading.images import IMAGES
from graphc.onnx.reading.indexing import INDEXING
from graphc.onnx.reading.layout import LAYOUT
from graphc.onnx.reading.learned import LEARNED
from graphc.onnx.reading.network import NETWORK
from graphc.onnx.reading.order import ORDER
from graphc.onnx.reading.quantised import QUANTISED
from graphc.onnx.reading.recurrent import RECURRENT
from graphc.onnx.reading.sampling import SAMPLING
from graphc.onnx.reading.sequences import SEQUENCES
from graphc.onnx.reading.signal import SIGNAL
from graphc.onnx.reading.sizes import SIZES, Known
from graphc.onnx.reading.training import TRAINING
from graphc.ops.elementwise import identity
from graphc.reference import evaluate

OLDEST, NEWEST = 7, 28  # opsets: the readers know all versions of their operators between these
READERS: Mapping[str, Mapping[str, Reader]] = {
    "": {
        **ELEMENTWISE,
        **LAYOUT,
        **INDEXING,
        **NETWORK,
        **IMAGES,
        **ORDER,
        **RECURRENT,
        **CONTROL,
        **BITS,
        **QUANTISED,
        **SIGNAL,
        **SAMPLING,
        **SEQUENCES,
    },
    "ai.onnx.ml": LEARNED,
    "ai.onnx.preview.training": TRAINING,
}
CUT = "cut the model before it, and compute it beside"
HINTS = {
    "ZipMap": 'export with options={"zipmap": False}',
    "NonMaxSuppression": f"the size of its result depends on data; {CUT}",
    "Unique": f"the size of its result depends on data; {CUT}",
    "StringNormalizer": "text is not read; pass numbers",
    **dict.fromkeys(["RandomNormal", "RandomUniform"], "add gx.random.normal or gx.random.uniform to the graph"),
    **dict.fromkeys(["RandomNormalLike", "RandomUniformLike", "Bernoulli"], "draw with gx.random after reading"),
}
MOST_IN_SIZE = 256  # terms
MOST_FOLDED = 4096  # elements
LARGEST_SIZE = 1 << 63
DEEPEST = 16  # definitions inside one another
COMPUTING = {  # operators whose results may lie outside of what their operands' type has
    "Abs", "Add", "CumProd", "CumSum", "Div", "Gemm", "MatMul", "Mul", "Neg", "Pow",
    "ReduceL1", "ReduceProd", "ReduceSum", "ReduceSumSquare", "Sub", "Sum",
}  # fmt: skip
MOST_READ = 4 * schema.MOST_NODES  # nodes, those of definitions counted where they are used


def read(
    proto: Any, arrays: Mapping[str, Array], beside: Beside | None = None, fixed: Mapping[str, Any] | None = None
) -> Graph:
    """The graph of a model with these initializers; ``beside`` are the files of data that nodes may name.

    ``fixed`` are values of inputs, which become constants. GraphFileError, naming the node and its operator, for a
    model that is not legal, UnsupportedOpError for one that may be and is not read.
    """
    kinds = {v.type.tensor_type.elem_type for v in proto.graph.input}
    graph = Graph(proto.graph.name or "graph", "float64" if kinds and 1 not in kinds and 11 in kinds else "float32")
    model = _Model(graph, {key(f): f for f in proto.functions}, beside)
    values = _initial(graph, proto.graph.initializer, arrays)
    symbols: dict[str, Size] = {}
    left = dict(fixed or {})
    for info in proto.graph.input:
        if info.name in left:
            values[info.name] = _fixed(graph, info, left.pop(info.name))
        elif info.name not in values:  # an initializer of that name is its default
            values[info.name] = _input(graph, info, symbols)
    if left:
        raise InputError(f"fixed: the model has no input {show(min(left))}; its inputs are {show(_names(proto))}")
    model.ranks = {v.name: _rank(v) for v in (*proto.graph.value_info, *proto.graph.output)}
    model.walk(proto.graph.node, values, versions(proto.opset_import))
    graph.outputs = [_output(values, info.name) for info in proto.graph.output]
    return graph


def _names(proto: Any) -> str:
    return ", ".join(info.name for info in proto.graph.input)


# ---- inputs and outputs


def _initial(graph: Graph, tensors: Iterable[Any], arrays: Mapping[str, Array]) -> Values:
    """Weights: parameters, but for single numbers."""
    kinds = {t.name: wire.element(t.data_type, t.name) for t in tensors}
    return {
        name: Held(graph, name, array=array, role="parameter" if array.ndim else "constant", kind=kinds[name])
        for name, array in arrays.items()
    }


def _fixed(graph: Graph, info: Any, value: Any) -> Held:
    """An input whose value is given when the model is read."""
    if info.type.WhichOneof("value") != "tensor_type":
        raise InputError(f"fixed: the input {show(info.name)} is not a tensor")
    kind = wire.element(info.type.tensor_type.elem_type, f"input {show(info.name)}")
    array = np.asarray(value)
    if array.dtype.kind not in ("biu" if kind.dtype.kind in "biu" else "biuf"):
        raise InputError(f"fixed: the input {show(info.name)} is of {kind.name}, found {array.dtype}")
    sizes = [d.dim_value or None for d in info.type.tensor_type.shape.dim]
    told = info.type.tensor_type.HasField("shape")
    if told and (
        len(sizes) != array.ndim or any(s not in (None, -1, n) for s, n in zip(sizes, array.shape, strict=False))
    ):
        raise InputError(f"fixed: the input {show(info.name)} has the shape {sizes}, found {list(array.shape)}")
    return Held(graph, info.name, array=array.astype(kind.dtype), kind=kind)


def _input(graph: Graph, info: Any, symbols: dict[str, Size]) -> Held:
    place = f"input {show(info.name)}"
    if info.type.WhichOneof("value") != "tensor_type":
        text = f"{place}: a sequence or an optional value as an input is not read; pass its tensors one by one"
        raise UnsupportedOpError(text, node=info.name)
    if not info.type.tensor_type.HasField("shape"):
        text = f"{place}: read are only tensors of known rank; declare its shape, or tell its value with fixed="
        raise UnsupportedOpError(text, node=info.name)
    kind = info.type.tensor_type
    held_as = wire.element(kind.elem_type, place)
    if len(kind.shape.dim) > schema.MOST_AXES:
        raise UnsupportedOpError(f"{place}: more than {schema.MOST_AXES} axes are not read", node=info.name)
    try:
        shape = [_entry(graph, d, symbols) for d in kind.shape.dim]
        return Held(graph, info.name, tensor=graph.input(info.name, shape, held_as.dtype), kind=held_as)
    except GraphcError as error:
        raise GraphFileError(f"{place}: {error.message[:300]}", node=info.name) from None


def _entry(graph: Graph, dim: Any, symbols: dict[str, Size]) -> Size:
    """A size: a number, a name, the printed form of a formula, or a symbol for what is not known or any other text."""
    if dim.WhichOneof("value") == "dim_value" and dim.dim_value != -1:
        return int(dim.dim_value)
    if dim.dim_param in ("", "?"):
        return graph.shape([None])[0]
    if dim.dim_param not in symbols:
        try:
            symbols[dim.dim_param] = parse(dim.dim_param, most_terms=1)
        except ShapeError:
            symbols[dim.dim_param] = graph.shape([None])[0]
    return symbols[dim.dim_param]


def _rank(info: Any) -> int | None:
    kind = info.type.tensor_type
    return len(kind.shape.dim) if kind.HasField("shape") else None


def _output(values: Values, name: str) -> Tensor:
    held = values.get(name)
    if held is None:
        raise GraphFileError(f"output {show(name)}: no node computes it", node=name)
    tensor = fitted(held.tensor(), held.kind) if held.kind.digits >= 8 else held.tensor()
    if tensor.op.kind is Kind.LEAF or tensor.name != name:
        return identity(tensor).named(free(tensor.graph, name))
    return tensor


# ---- nodes

Values = dict[str, Held | None]  # None stands for an operand of a function that its call leaves out


class _Model:
    """A model that is read, with what its nodes may refer to."""

    def __init__(self, graph: Graph, functions: Mapping[Key, Any], beside: Beside | None) -> None:
        self.graph, self.functions, self.beside = graph, functions, beside
        self.origin = caller()
        self.ranks: Mapping[str, int | None] = {}  # declared, by the name of the value
        self.read = self.depth = 0

    def walk(self, nodes: Iterable[Any], values: Values, opsets: Mapping[str, int], within: str = "") -> None:
        """Reads nodes in order; their results join ``values``, and the graph under names that begin with ``within``."""
        graph = self.graph.open  # of a body, while that is traced
        for node in nodes:
            at = self.reading(node, values, opsets, within)
            since = len(graph)
            call = Call(node.op_type, origin=self.origin)  # what a node of the model is made of stays together
            with graph.calling(call):
                made = _typed(at, self.made(at, within))
                _limit(at, since)
                for k, name in enumerate(node.output):
                    held = made[k] if k < len(made) else None
                    if name and held is None:
                        at.refuse(f"its output {k} is not read")
                    if name:
                        values[name] = held
                        _rename(graph, held, within + name, since)
                call.name = within + next(iter(node.output), "")

    def reading(self, node: Any, values: Values, opsets: Mapping[str, int], within: str) -> Reading:
        """A node with its operands; errors where it is not legal, or one too many."""
        missing = next((name for name in node.input if name and name not in values), None)
        operands = [values[name] if name and missing is None else None for name in node.input]
        at = Reading(self.graph.open, node, operands, opsets)
        at.beside, at.rank = self.beside, self.ranks.get(node.output[0]) if node.output and not self.depth else None
        at.inside = lambda name, given: self.inside(at, at.attributes[name].g, values, given, within)
        if missing is not None:
            at.fail(f"nothing before it is called {show(missing)}")
        for name in node.output:
            if name and name in values:
                at.fail(f"{show(name)} is the name of an earlier value")
        self.read += 1
        many = len(self.graph.open) + max(len(node.input), len(node.output))
        if many > schema.MOST_NODES or self.read > MOST_READ:
            at.refuse(f"with its operands and results the graph has more than {schema.MOST_NODES} nodes")
        return at

    def inside(self, at: Reading, graph: Any, values: Values, given: Sequence[Held], within: str) -> list[Held]:
        """What a graph that a node holds computes of operands, and of the values around it."""
        if graph.sparse_initializer:
            at.refuse("sparse initializers are not read")
        if len(given) != len(graph.input):
            at.fail(f"its graph takes {len(graph.input)} values, it is given {len(given)}")
        if self.depth == DEEPEST:
            at.refuse(f"definitions more than {DEEPEST} deep are not read")
        arrays = {t.name: wire.array(t, f"initializer {show(t.name)}", self.beside) for t in graph.initializer}
        inner = {**values, **_initial(self.graph, graph.initializer, arrays)}
        inner.update((info.name, held) for info, held in zip(graph.input, given, strict=True))
        self.depth += 1
        try:
            self.walk(graph.node, inner, at.opsets, f"{within}{at.name}/")
        finally:
            self.depth -= 1
        found = [inner.get(info.name) for info in graph.output]
        missing = next((info.name for info, held in zip(graph.output, found, strict=True) if held is None), None)
        if missing is not None:
            at.fail(f"nothing in its graph is called {show(missing)}")
        return found  # type: ignore[return-value]

    def made(self, at: Reading, within: str) -> Sequence[Held | None]:
        """The results of a node. Errors name it."""
        try:
            if at.key in self.functions:
                return self.defined(at, within)
            return _constant(at) or _followed(at) or _folded(at) or _applied(at) or self.defined(at, within)
        except (GraphFileError, UnsupportedOpError) as error:
            if error.node == at.name:
                raise
            raise type(error)(f"{at.place}: {error.message[:300]}", node=at.name) from None
        except ShapeError as error:
            made = [held.made for held in at.operands if held]
            if all(isinstance(s, int) for tensor in made if tensor is not None for s in tensor.shape):
                at.fail(error.message[:300])
            at.refuse(error.message[:300])  # what cannot be told of symbols may hold of numbers
        except GraphcError as error:
            at.refuse(error.message[:300])
        except (ArithmeticError, AssertionError, AttributeError, LookupError, RecursionError, TypeError, ValueError):
            at.refuse(f"its operands and attributes are not such as are read of {at.node.op_type[:60]}")

    def defined(self, at: Reading, within: str) -> Sequence[Held | None]:
        """The results of an operator that is defined by others."""
        definition = define(at, self.functions)
        if definition is None:
            at.refuse(f"this operator is not read; {HINTS.get(at.node.op_type, CUT)}")
        if self.depth == DEEPEST:
            at.refuse(f"definitions more than {DEEPEST} deep are not read")
        values: Values = dict.fromkeys(definition.inputs)
        values.update(zip(definition.inputs, at.operands, strict=False))
        self.depth += 1
        self.walk(definition.nodes, values, definition.opsets, f"{within}{at.name}/")
        self.depth -= 1
        return [values.get(name) for name in definition.outputs]


def _constant(at: Reading) -> list[Held] | None:
    if at.node.op_type != "Constant" or at.domain:
        return None
    return [at.constant()]


def _followed(at: Reading) -> list[Held] | None:
    """What is computed of sizes alone."""
    op = at.node.op_type
    if at.domain or op not in SIZES or not at.operands:
        return None
    known: list[Known] = []
    if op not in ("Shape", "Size"):
        for operand in at.operands:
            if operand is None or operand.sizes is None:
                return None
            known.append(operand.sizes)
    _check_version(at)
    found = SIZES[op](at, *known)
    if found is None:
        return None
    many = found if isinstance(found, tuple) else (found,)
    if len(many) > LONGEST:
        return None
    if any(isinstance(s, int) and abs(s) >= LARGEST_SIZE for s in many):
        return None  # numbers, but no sizes
    if any(terms(s) > MOST_IN_SIZE for s in many):
        at.refuse("a size is too long")
    kind = element(BOOL if op == "Equal" else INT64) if op in ("Equal", "Shape", "Size") else at.kind(op == "Where")
    kind = at.to("to") if op == "Cast" else kind
    return [Held(at.graph, at.name, sizes=found, dtype=kind.dtype, kind=kind)]


def _folded(at: Reading) -> list[Held] | None:
    """What is computed of few known integers alone, such as widths that are put in order."""
    if not at.operands or at.node.op_type in ("Shape", "Size", *CONTROL):
        return None
    known = [None if operand is None else operand.known for operand in at.operands]
    if any(a is None or a.size > MOST_FOLDED for a, operand in zip(known, at.operands, strict=True) if operand):
        return None
    scratch = Graph("scratch")
    pairs = zip(known, at.operands, strict=True)
    operands = [None if a is None or held is None else Held(scratch, "", array=a, kind=held.kind) for a, held in pairs]
    there = at.elsewhere(scratch, operands)
    applied = _applied(there)
    if applied is None or any(not isinstance(n.type.size, int) or n.type.size > MOST_FOLDED for n in scratch.nodes):
        return None
    typed = _typed(there, applied)
    made = [held.tensor() for held in typed if held]
    if any(t.dtype.kind == "f" and t.size != 1 for t in made) or len(made) < len(typed):
        return None
    found = zip(evaluate(made, {}), typed, strict=True)
    return [Held(at.graph, at.name, array=np.array(a), kind=held.kind) for a, held in found if held]


def _applied(at: Reading) -> list[Held | None] | None:
    """What the reader of the operator makes of it; None where there is none."""
    reader = READERS.get(at.domain, {}).get(at.node.op_type)
    if reader is None:
        return None
    _check_version(at)
    made = reader(at)
    many = made if isinstance(made, list) else [made]
    return [Held(at.graph, at.name, tensor=t) if isinstance(t, Tensor) else t for t in many]


def _typed(at: Reading, made: Sequence[Held | None]) -> Sequence[Held | None]:
    """Results with their element types: where ONNX has an operand and a result of one type, the operand's.

    What is computed of integers that are held in wider ones is cut to their width.
    """
    narrow = [held for held in at.operands if held and held.kind.narrow]
    if not narrow or at.domain:
        return made
    op = at.node.op_type
    out = list(made)
    for k, name in enumerate(_alike(op, at.opset, len(made))):
        held = out[k]
        kind = next((o.kind for o, slot in zip(at.operands, name, strict=False) if o and slot), None)
        if held is None or kind is None or not kind.narrow or held.kind.narrow or held.dtype != kind.dtype:
            continue
        if op in COMPUTING and kind.high:
            if kind.name == "uint64":
                at.refuse("arithmetic of uint64 is not read: int64 holds them, up to 2**63 - 1")
            out[k] = Held(at.graph, at.name, tensor=fitted(held.tensor(), kind), kind=kind)
        else:
            held.kind = kind
    return out


@cache
def _alike(op: str, opset: int, results: int) -> list[list[bool]]:
    """Of each result, which operands ONNX has of the same type."""
    onnx = need("onnx", "from_onnx")
    try:
        schema = onnx.defs.get_schema(op, min(opset, onnx.defs.onnx_opset_version()), "")
    except (onnx.defs.SchemaError, TypeError):
        return []
    variadic = onnx.defs.OpSchema.FormalParameterOption.Variadic
    slots = [p.type_str for p in schema.inputs]
    slots += slots[-1:] * 64 if schema.inputs and schema.inputs[-1].option == variadic else []
    outs = [p.type_str for p in schema.outputs]
    outs += outs[-1:] * max(results - len(outs), 0)
    return [[slot == out and "(" not in out for slot in slots] for out in outs[:results]]


def _check_version(at: Reading) -> None:
    if at.domain or OLDEST <= at.opset <= NEWEST:
        return
    if at.opset <= 0:
        at.fail("the model does not say which opset it is of")
    if not _known(at.node.op_type, at.opset):
        read = f"read are opsets {OLDEST} to {NEWEST}, and of others the operators that are the same there"
        at.refuse(f"this operator of opset {at.opset} is not read; {read}")


@cache
def _known(op: str, opset: int) -> bool:
    """Whether the operator as it is in an opset is one that the readers know."""
    defs = need("onnx", "from_onnx").defs
    try:
        since = defs.get_schema(op, opset).since_version
        if opset < OLDEST:
            return bool(since == defs.get_schema(op, OLDEST).since_version)
    except (defs.SchemaError, TypeError):
        return False
    return bool(opset <= defs.onnx_opset_version() and since <= NEWEST)


def _limit(at: Reading, since: int) -> None:
    """Refuses sizes that would make later ones expensive."""
    if len(at.graph) > schema.MOST_NODES:
        at.refuse(f"the graph has more than {schema.MOST_NODES} nodes")
    for node in at.graph.nodes[since:]:
        product, known = 1, 1
        for size in node.type.shape:
            product *= terms(size)
            known *= size if isinstance(size, int) and size else 1
        if product > schema.MOST_IN_PRODUCT or known > schema.LARGEST_SHAPE or node.type.ndim > schema.MOST_AXES:
            at.refuse(f"a shape is too large or too long: {str(node.type)[:80]}")


def _rename(graph: Graph, held: Held | None, name: str, since: int) -> None:
    """The node made for a value takes its name where it has none of its own."""
    tensor = held.made if held else None
    if tensor is None or tensor.id < since or name in graph or tensor.op.kind is Kind.LEAF:
        return
    if tensor.name.startswith(f"{tensor.op.name}_"):
        tensor.named(name)


__all__ = ["NEWEST", "OLDEST", "READERS", "read"]
