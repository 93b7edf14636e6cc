"""What is compiled: a part of the user's graph, and how its results are given and returned."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from graphc.cached import cached
from graphc.codegen.kernel import Kernel, Limit, build
from graphc.errors import CompileError, InputError, InputMemoryError
from graphc.ir import dims
from graphc.ir.graph import Graph
from graphc.ir.tensor import Node, Tensor
from graphc.ir.types import SizeCheck, TensorType
from graphc.reference import size_checks
from graphc.rewrite.passes import run

MOST_BYTES = 1 << 60  # of a tensor: more than any processor addresses, and sums of some are 64-bit numbers


@dataclass(frozen=True, slots=True)
class Structure:
    """How outputs are given and returned: one, a list, a dict, or none."""

    kind: str
    keys: tuple[str, ...] = ()

    @staticmethod
    def of(outputs: Any) -> tuple[Structure, list[Tensor]]:
        """The structure of ``outputs`` and its tensors in order."""
        if outputs is None:
            return Structure("none"), []
        if isinstance(outputs, Tensor):
            return Structure("one"), [outputs]
        if isinstance(outputs, Mapping):
            for key in outputs:
                if not isinstance(key, str):
                    raise CompileError(f"the keys of outputs must be str, found {key!r}")
            return Structure("dict", tuple(outputs)), list(outputs.values())
        if isinstance(outputs, (list, tuple)):
            return Structure("list"), list(outputs)
        raise CompileError(f"outputs must be a tensor, list or dict, found {type(outputs).__name__}")

    def pack(self, values: Sequence[Any]) -> Any:
        """Values in this structure."""
        if self.kind == "one":
            return values[0]
        if self.kind == "dict":
            return dict(zip(self.keys, values, strict=True))
        return list(values) if self.kind == "list" else None

    def unpack(self, packed: Any) -> list[Any]:
        """Values out of this structure; InputError where it is another."""
        if self.kind == "one":
            return [packed]
        if self.kind == "dict" and isinstance(packed, Mapping) and set(packed) == set(self.keys):
            return [packed[k] for k in self.keys]
        if self.kind == "list" and isinstance(packed, (list, tuple)):
            return list(packed)
        raise InputError(f"out must have the structure of the outputs: {self.kind} {', '.join(self.keys)}".rstrip())


@dataclass
class Program:
    """What is compiled: the user's graph, the part that the outputs need, and, when asked for, its rewritten form."""

    graph: Graph
    source: Graph
    structure: Structure
    inputs: tuple[str, ...]
    n_outputs: int
    updates: tuple[str, ...]
    roots: tuple[int, ...]  # numbers in ``graph`` of the outputs, then the next values
    arguments_at: tuple[int, ...]  # numbers in ``graph`` of the inputs

    @cached
    def stages(self) -> list[tuple[str, Graph]]:
        """The graph, and after each pass that changed it."""
        out = [("graph", self.source)]
        run(self.source, on_stage=lambda name, graph: out.append((name, graph)))
        return out

    @property
    def optimised(self) -> Graph:
        return self.stages[-1][1]

    def kernel(self, serial: bool = False, limit: Limit | None = None) -> Kernel:
        """The kernel, by all passes: for one thread where it is serial, with values computed twice to keep a limit."""
        return build(self.optimised, self.inputs, self.n_outputs, self.updates, self.symbols, serial, limit)

    @cached
    def checks(self) -> list[tuple[Node, SizeCheck]]:
        """What sizes must satisfy when called: of all nodes, also those that passes have left out."""
        return size_checks(self.source)

    @cached
    def _types(self) -> dict[TensorType, Node]:
        """Every type on the way, and the first node of it."""
        return {node.type: node for node in reversed(self.source.nodes)}

    def largest(self, sizes: Mapping[str, int]) -> tuple[int, Node]:
        """The bytes of the largest tensor on the way, and its node."""
        return max(((kind.bytes(sizes), node) for kind, node in self._types.items()), key=lambda found: found[0])

    def check_memory(self, sizes: Mapping[str, int]) -> None:
        """InputMemoryError where a tensor is larger than any memory."""
        if self.largest(sizes)[0] > MOST_BYTES:
            raise self.too_large(sizes)

    def too_large(self, sizes: Mapping[str, int]) -> InputMemoryError:
        """The error for sizes that do not fit in memory."""
        bytes, node = self.largest(sizes)
        where = ", ".join(f"{name} = {size}" for name, size in sizes.items())
        text = f"too large for memory{' with ' * bool(where)}{where}: {node.name}, {node.type}, takes {bytes} bytes"
        return InputMemoryError(text, node=node.name, origin=node.origin)

    @property
    def arguments(self) -> list[Tensor]:
        return [self.source[name] for name in self.inputs]

    @property
    def results(self) -> list[Tensor]:
        return list(self.source.outputs[: self.n_outputs])

    @property
    def symbols(self) -> tuple[str, ...]:
        """Sizes that the inputs bind, in order of first appearance."""
        shapes = (s for t in self.arguments for s in t.shape)
        return tuple(dict.fromkeys(n for s in shapes if (n := dims.symbol_name(s)) is not None))
