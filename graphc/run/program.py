"""What is compiled: a part of the user's graph, and how its results are given and returned."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from graphc.cached import cached
from graphc.codegen.kernel import Kernel, Limit, build
from graphc.errors import CompileError, InputError, InputMemoryError
from graphc.ir import dims
from graphc.ir.body import within
from graphc.ir.graph import Graph
from graphc.ir.node import Node
from graphc.ir.tensor import Tensor
from graphc.ir.types import SizeCheck, TensorType
from graphc.reference import size_checks
from graphc.rewrite.passes import canonicalise, run
from graphc.rewrite.record import Step, recording
from graphc.rewrite.segments import segmented

MOST_BYTES = 1 << 60  # of a tensor: more than any processor addresses, and sums of some are 64-bit numbers
# lengths of segments of loops that are tried, in square roots of their steps
SEGMENTS = (1.0, 0.5, 2.0, 0.25, 4.0, 0.125, 8.0)

Nest = Any  # a number of an output, a list of nests, or a dict of them


@dataclass(frozen=True, slots=True)
class Structure:
    """How outputs are given and returned: one, a list, a dict, or none.

    Lists and dicts in one another are compiled as one dict, whose keys are paths such as ``grads/0``; ``nest`` says
    how that is returned.
    """

    kind: str
    keys: tuple[str, ...] = ()
    nest: Nest = None

    @staticmethod
    def of(outputs: Any) -> tuple[Structure, list[Tensor]]:
        """The structure of ``outputs`` and its tensors in order."""
        if outputs is None:
            return Structure("none"), []
        if isinstance(outputs, Tensor):
            return Structure("one"), [outputs]
        found: dict[str, Tensor] = {}
        nest = _nest(outputs, "", found)
        tensors = list(found.values())
        if any(isinstance(part, (dict, list)) for part in (nest.values() if isinstance(nest, dict) else nest)):
            return Structure("dict", tuple(found), nest), tensors
        return (Structure("dict", tuple(found)) if isinstance(nest, dict) else Structure("list")), tensors

    def pack(self, values: Sequence[Any]) -> Any:
        """Values in this structure."""
        if self.nest is not None:
            return _packed(self.nest, values)
        if self.kind == "one":
            return values[0]
        if self.kind == "dict":
            return dict(zip(self.keys, values, strict=True))
        return list(values) if self.kind == "list" else None

    @property
    def flat(self) -> Structure:
        """The structure that the compiled program returns."""
        return self if self.nest is None else Structure(self.kind, self.keys)

    def nested(self, flat: Any) -> Any:
        """What the compiled program returns, in this structure."""
        return flat if self.nest is None else _packed(self.nest, list(flat.values()))

    def unpack(self, packed: Any) -> list[Any]:
        """Values out of this structure; InputError where it is another."""
        if self.kind == "one":
            return [packed]
        if self.nest is not None and _fits(self.nest, packed):
            return _unpacked(self.nest, packed)
        if self.nest is None:
            if self.kind == "dict" and isinstance(packed, Mapping) and set(packed) == set(self.keys):
                return [packed[k] for k in self.keys]
            if self.kind == "list" and isinstance(packed, (list, tuple)):
                return list(packed)
        raise InputError(f"out must have the structure of the outputs: {self.kind} {', '.join(self.keys)}".rstrip())


def _nest(outputs: Any, path: str, found: dict[str, Tensor]) -> Nest:
    """Outputs with numbers for tensors, which ``found`` gets by their paths."""
    if isinstance(outputs, Mapping):
        for key in outputs:
            if not isinstance(key, str):
                raise CompileError(f"the keys of outputs must be str, found {key!r}")
        return {key: _nest(value, f"{path}{key}/", found) for key, value in outputs.items()}
    if isinstance(outputs, (list, tuple)):
        return [_nest(value, f"{path}{k}/", found) for k, value in enumerate(outputs)]
    if not path:
        raise CompileError(f"outputs must be a tensor, list or dict, found {type(outputs).__name__}")
    if path[:-1] in found:
        raise CompileError(f"two outputs have the path {path[:-1]!r}")
    found[path[:-1]] = outputs
    return len(found) - 1


def _packed(nest: Nest, values: Sequence[Any]) -> Any:
    if isinstance(nest, dict):
        return {key: _packed(part, values) for key, part in nest.items()}
    return [_packed(part, values) for part in nest] if isinstance(nest, list) else values[nest]


def _unpacked(nest: Nest, packed: Any) -> list[Any]:
    if isinstance(nest, dict):
        return [value for key, part in nest.items() for value in _unpacked(part, packed[key])]
    if isinstance(nest, list):
        return [value for part, inner in zip(nest, packed, strict=True) for value in _unpacked(part, inner)]
    return [packed]


def _fits(nest: Nest, packed: Any) -> bool:
    """Whether values have a structure."""
    if isinstance(nest, dict):
        return (
            isinstance(packed, Mapping)
            and set(packed) == set(nest)
            and all(_fits(part, packed[key]) for key, part in nest.items())
        )
    if isinstance(nest, list):
        return isinstance(packed, (list, tuple)) and len(packed) == len(nest) and all(map(_fits, nest, packed))
    return True


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
    def _rewritten(self) -> tuple[list[tuple[str, Graph]], tuple[Step, ...]]:
        out = [("graph", self.source)]
        with recording() as record:
            last = run(self.source, on_stage=lambda name, graph: out.append((name, graph)))
        return out, record.way(self.source, last)

    @property
    def stages(self) -> list[tuple[str, Graph]]:
        """The graph, and after each pass that changed it."""
        return self._rewritten[0]

    @property
    def steps(self) -> tuple[Step, ...]:
        """What passes did to each node."""
        return self._rewritten[1]

    @property
    def optimised(self) -> Graph:
        return self.stages[-1][1]

    def kernel(
        self,
        serial: bool = False,
        limit: Limit | None = None,
        debug: str | None = None,
        timed: bool = False,
        stops: bool | None = None,
    ) -> Kernel:
        """The kernel, by all passes: for one thread where it is serial, with values computed twice to keep a limit.

        Where that is not enough, loops keep the carries between segments of some steps only.
        """

        def built(graph: Graph, steps: tuple[Step, ...]) -> Kernel:
            names, symbols = self.inputs, self.symbols
            kernel = build(graph, names, self.n_outputs, self.updates, symbols, serial, limit, debug, timed, stops)
            return replace(kernel, steps=steps + kernel.steps)

        best = built(self.optimised, self.steps)
        if limit is None:
            return best
        for times in SEGMENTS:
            if limit.bytes(best) <= limit.most:
                break
            with recording("segments") as record:
                plain = canonicalise(self.source)
                cut = segmented(plain, limit.sizes, times)
                if cut is plain:
                    break
                graph = run(cut)
            best = min(best, built(graph, record.way(self.source, graph)), key=limit.bytes)
        return best

    @cached
    def checks(self) -> list[tuple[Node, SizeCheck]]:
        """What sizes must satisfy when called: of all nodes, also those that passes have left out."""
        return size_checks(self.source)

    @cached
    def _types(self) -> dict[TensorType, Node]:
        """Every type on the way, and the first node of it."""
        return {node.type: node for node in reversed(list(within(self.source)))}

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
