"""A value of a model as it is read, and a node with its operands and attributes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn

import numpy as np

from graphc.errors import GraphFileError, UnsupportedOpError
from graphc.extra import need
from graphc.file.strict import show
from graphc.ir import dims
from graphc.ir.dims import Size
from graphc.ir.graph import Graph
from graphc.ir.inner import traced
from graphc.ir.state import Array
from graphc.ir.tensor import Tensor
from graphc.ir.types import INT64, DType, is_float
from graphc.onnx import wire
from graphc.onnx.beside import Beside
from graphc.onnx.elements import Element, element
from graphc.ops.apply import cast, size_node
from graphc.ops.assembly import concat
from graphc.ops.shape import reshape

FIXED = "where that is an input, tell it: from_onnx(path, fixed={name: value})"
LONGEST = 64  # sizes in a vector that is followed
Sizes = tuple[Size, ...]


class Held:
    """An array of the file, known sizes, a tensor of the graph, or a sequence of these; made a tensor when needed."""

    def __init__(
        self,
        graph: Graph,
        name: str,
        *,
        tensor: Tensor | None = None,
        array: Array | None = None,
        sizes: Size | Sizes | None = None,
        dtype: DType = INT64,
        role: str = "constant",
        kind: Element | None = None,
        items: list[Held] | None = None,
    ) -> None:
        self.graph, self.name, self.array, self.role = graph, name, array, role
        self._tensor, self.items = tensor, items  # of a sequence
        self.sizes = sizes  # integers that are known, a tuple or one: numbers, or polynomials in the symbols
        self.dtype = dtype if tensor is None else tensor.dtype
        if array is not None:
            self.dtype = array.dtype
        self.kind = element(self.dtype) if kind is None else kind  # what the model takes its elements for
        if array is not None and array.ndim <= 1 and array.dtype.kind in "biu" and array.size <= LONGEST:
            self.sizes = tuple(map(int, array)) if array.ndim else int(array)

    @property
    def known(self) -> Array | None:
        """Integers that are numbers, as an array."""
        if self.array is not None:
            return self.array if self.array.dtype.kind in "biu" else None
        if self.items is not None:
            return None
        many = self.sizes if isinstance(self.sizes, tuple) else (self.sizes,)
        return np.array(self.sizes, self.dtype) if all(isinstance(s, int) for s in many) else None

    @property
    def made(self) -> Tensor | None:
        """The tensor, where there is one already."""
        return self._tensor

    def tensor(self) -> Tensor:
        if self.items is not None:
            raise UnsupportedOpError("a sequence is not read where a tensor is expected, or as a result of the model")
        if self._tensor is None:
            if self.graph.open is self.graph:
                self._tensor = self._of_array() if self.array is not None else self._of_sizes()
            else:  # it may be used in other bodies too
                with traced(self.graph):
                    return self.tensor()
        return self._tensor

    def _of_array(self) -> Tensor:
        assert self.array is not None
        if self.role == "constant" or not is_float(self.array.dtype):
            return self.graph.constant(self.array, self.array.dtype)
        make = self.graph.parameter if self.role == "parameter" else self.graph.variable
        return make(free(self.graph, self.name), self.array, self.array.dtype)

    def _of_sizes(self) -> Tensor:
        known = self.sizes
        assert known is not None
        many = known if isinstance(known, tuple) else (known,)
        if all(isinstance(s, int) for s in many):
            return self.graph.constant(np.array(known, self.dtype))
        if not isinstance(known, tuple):
            return cast(size_node(self.graph, known), self.dtype)
        return cast(concat([reshape(size_node(self.graph, s), (1,)) for s in many]), self.dtype)


def free(graph: Graph, name: str) -> str:
    """``name``, or with marks behind it where it is empty or taken."""
    name = name or "value"
    while name in graph:
        name += "_"
    return name


class Reading:
    """One node of a model: its operands by slot, its attributes by name. Every refusal names node and operator."""

    beside: Beside | None = None  # the files of data
    rank: int | None = None  # of the first result, where the model declares it
    inside: Callable[[str, Sequence[Held]], list[Held]]  # what the graph of an attribute computes of operands

    def __init__(self, graph: Graph, node: Any, operands: Sequence[Held | None], opsets: Mapping[str, int]) -> None:
        self.graph, self.node, self.operands, self.opsets = graph, node, operands, opsets
        self.domain = "" if node.domain == "ai.onnx" else node.domain
        self.opset = opsets.get(self.domain, 0)  # 0 where the model does not tell
        self.name = node.name or (node.output[0] if node.output else "")
        self.attributes = {a.name: a for a in node.attribute}

    def elsewhere(self, graph: Graph, operands: Sequence[Held | None]) -> Reading:
        """This node on operands of another graph."""
        at = Reading(graph, self.node, operands, self.opsets)
        at.beside, at.rank, at.inside = self.beside, self.rank, self.inside
        return at

    @property
    def key(self) -> tuple[str, str, str]:
        """What a function that this node calls is called."""
        return self.domain, self.node.op_type, getattr(self.node, "overload", "")

    @property
    def place(self) -> str:
        domain = f"{self.domain}." if self.domain else ""
        return f"node {show(self.name)} ({show(domain + self.node.op_type)[1:-1]})"

    def fail(self, text: str) -> NoReturn:
        """The model is not legal here."""
        raise GraphFileError(f"{self.place}: {text}", node=self.name)

    def refuse(self, text: str) -> NoReturn:
        """The model may be legal, but graphc has nothing for it."""
        raise UnsupportedOpError(f"{self.place}: {text}", node=self.name)

    # ---- operands

    def has(self, slot: int) -> bool:
        return slot < len(self.operands) and self.operands[slot] is not None

    def held(self, slot: int) -> Held:
        if not self.has(slot):
            self.fail(f"operand {slot} is missing")
        found = self.operands[slot]
        assert found is not None
        return found

    def tensor(self, slot: int = 0) -> Tensor:
        return self.held(slot).tensor()

    def tensors(self) -> list[Tensor]:
        """All operands."""
        return [self.tensor(k) for k in range(len(self.operands))]

    def kind(self, slot: int = 0) -> Element:
        """The element type of an operand."""
        return self.held(slot).kind

    def as_state(self, slot: int, role: str) -> Tensor:
        """An operand that, where the file holds its value, becomes state of the graph."""
        held = self.held(slot)
        if held.role == "parameter":
            held.role = role
        return held.tensor()

    def vector(self, slot: int) -> Sizes:
        """An operand whose integers are known."""
        sizes = self.held(slot).sizes
        if sizes is None:
            self.refuse(f"operand {slot} must be known when the model is read, it is computed from data; {FIXED}")
        return sizes if isinstance(sizes, tuple) else (sizes,)

    def integers(self, slot: int) -> tuple[int, ...]:
        """An operand whose integers are numbers."""
        found = self.vector(slot)
        if not all(isinstance(s, int) for s in found):
            self.refuse(f"operand {slot} must be numbers, it is {show(str(found))}")
        return found  # type: ignore[return-value]

    def number(self, slot: int) -> float | None:
        """The value of an operand that is known and is one number."""
        held = self.held(slot)
        array = held.known if held.array is None else held.array
        return array.reshape(()).item() if array is not None and array.size == 1 else None

    # ---- attributes

    def attribute(self, name: str, default: Any = None) -> Any:
        """A number, a text, or a list of numbers; ``default`` where it is not there."""
        if name not in self.attributes:
            return default
        found = self.attributes[name]
        kinds = need("onnx", "from_onnx").AttributeProto
        readers: dict[int, Callable[[], Any]] = {
            kinds.INT: lambda: int(found.i),
            kinds.FLOAT: lambda: float(found.f),
            kinds.STRING: lambda: found.s.decode("utf-8", "replace"),
            kinds.INTS: lambda: tuple(map(int, found.ints)),
            kinds.FLOATS: lambda: tuple(map(float, found.floats)),
        }
        if found.ref_attr_name or found.type not in readers:
            self.refuse(f"the attribute {show(name)} is of a kind that is not read")
        value = readers[found.type]()
        if default is not None and type(value) is not type(default):
            self.fail(f"the attribute {show(name)} must be like {default!r}, found {show(str(value))}")
        return value

    def to(self, name: str) -> Element:
        """An attribute that names an element type."""
        return wire.element(self.attribute(name, 0), name)

    def array(self, name: str) -> Array:
        """An attribute that is a tensor."""
        if name not in self.attributes:
            self.fail(f"the attribute {name} is missing")
        return wire.array(self.attributes[name].t, name, self.beside)

    def constant(self) -> Held:
        """The value of a Constant node, which has one attribute of several."""
        if "value" in self.attributes:
            kind = wire.element(self.attributes["value"].t.data_type, "value")
            return Held(self.graph, self.name, array=self.array("value"), kind=kind)
        kinds = {"value_int": np.int64, "value_ints": np.int64, "value_float": np.float32, "value_floats": np.float32}
        name = next(iter(self.attributes), "")
        if name not in kinds:
            self.refuse(f"a constant of the form {show(name)} is not read")
        return Held(self.graph, self.name, array=np.array(self.attribute(name), kinds[name]))

    def listed(self, name: str, slot: int) -> tuple[int, ...] | None:
        """Integers that are an attribute in old opsets and an operand in new ones; None where they are neither."""
        if name in self.attributes:
            return tuple(self.attribute(name, ()))
        return self.integers(slot) if self.has(slot) else None

    def bounds(self) -> tuple[Sizes, Sizes, tuple[int, ...] | None, tuple[int, ...]]:
        """Starts, ends, axes and steps of a Slice: attributes in old opsets, operands in new ones."""
        if "starts" in self.attributes:
            old: Sizes = self.attribute("starts", ())
            return old, self.attribute("ends", ()), self.attribute("axes"), (1,) * len(old)
        starts, ends = self.vector(1), self.vector(2)
        axes, steps = (self.integers(slot) if self.has(slot) else None for slot in (3, 4))
        return starts, ends, axes, (1,) * len(starts) if steps is None else steps

    def axis(self, default: int, ndim: int) -> int:
        """The attribute ``axis``, counted from the front."""
        found = self.attribute("axis", default)
        if not -ndim <= found < max(ndim, 1):
            self.fail(f"axis {found} does not exist among {ndim}")
        return int(found % ndim) if ndim else 0

    def only(self, name: str, allowed: Any) -> None:
        """Refuses any other value of an attribute than the one that is read."""
        if self.attribute(name, allowed) != allowed:
            self.refuse(f"{name} other than {allowed!r} is not read")


def terms(size: Size) -> int:
    """How long a size is."""
    return len(size.terms) if isinstance(size, dims.Dim) else 1


__all__ = ["FIXED", "LONGEST", "Held", "Reading", "Sizes", "free", "terms"]
