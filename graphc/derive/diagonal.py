"""Examples that differ in one element each: what seeds a Jacobian matrix.

Of a seed that is 1 at an element of its own for each example, products with what all examples share keep that form:
they are computed for one example, and a product of matrices with it picks rows. Anything else is given all zeros.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from graphc.ir import dims
from graphc.ir.dims import Size
from graphc.ir.node import Node
from graphc.ir.op import Kind
from graphc.ir.tensor import Tensor
from graphc.ir.types import Shape
from graphc.ops.elementwise import equal, where
from graphc.ops.shape import broadcast_to, expand_dims, iota, matrix_transpose, reshape

# Operands in which an elementwise op is linear, and 0 where they are, by its name.
LINEAR = {"multiply": (0, 1), "divide": (0,), "neg": (0,), "identity": (0,), "astype": (0,)}


@dataclass(frozen=True, slots=True)
class Diagonal:
    """As many examples as ``shape`` has elements: in each all is 0 but its own element, which is that of ``value``.

    ``value`` broadcasts to ``shape``.
    """

    value: Tensor
    shape: Shape

    @property
    def size(self) -> Size:
        return dims.product(self.shape)

    def dense(self) -> Tensor:
        """All examples, along a new first axis."""
        graph, ndim = self.value.graph, len(self.shape)
        own = reshape(iota(graph, self.size), self.shape)
        example = reshape(iota(graph, self.size), (self.size, *(1,) * ndim))
        return where(equal(example, own), self.value, 0)

    def flat(self, *shape: Size) -> Tensor:
        """Its elements in another shape."""
        return reshape(broadcast_to(self.value, self.shape), shape)


def through(node: Node, shared: Sequence[Tensor], given: Sequence[Diagonal | None]) -> Diagonal | Tensor | None:
    """What a node makes of diagonals and of operands that are the same for all examples: a diagonal again, or all
    examples along a new first axis, or None where it is to be computed of all examples."""
    shape, kind = node.type.shape, node.op.kind
    held = [d for d in given if d is not None]
    if kind is Kind.ELEMENTWISE and all(d.shape == shape for d in held):
        slot = next(k for k, d in enumerate(given) if d is not None)
        one = len(held) == 1 and slot in LINEAR.get(node.op.name, ())
        if one or (len(held) == len(given) and node.op.name in ("add", "subtract")):
            values = [t if d is None else d.value for t, d in zip(shared, given, strict=True)]
            return Diagonal(values[0].graph.append(node.op, values, node.attrs), shape)
        return None
    if node.op.name == "reshape":
        (d,) = held
        return Diagonal(d.value if d.value.ndim == 0 else d.flat(*shape), shape)
    if node.op.name == "sum" and all(s == 1 or a in node.attrs["axes"] for a, s in enumerate(held[0].shape)):
        return held[0].flat(held[0].size, *(1,) * len(shape))
    if kind is Kind.CONTRACTION and len(held) == 1 and len(held[0].shape) == 2 == shared[0].ndim == shared[1].ndim:
        (d,), (a, b) = held, shared
        if given[0] is not None and d.shape[0] == 1:  # a row: each example picks a row of the right side
            return d.flat(d.size, 1, 1) * expand_dims(b, 1)
        if given[1] is not None and d.shape[1] == 1:
            return d.flat(d.size, 1, 1) * expand_dims(matrix_transpose(a), 2)
    return None


__all__ = ["Diagonal", "through"]
