"""One training step of several processes: gradients of each one's own rows, their mean, and the update.

A step is two executables with an exchange between. The first computes the outputs and, of what goes into the updates,
all that depends on the batch: the gradients. The second stores the updates that their mean gives.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NoReturn

import numpy as np

from graphc.codegen.kernel import Kernel
from graphc.codegen.ranks import step
from graphc.codegen.words import address_of
from graphc.errors import CompileError, GraphcError, InputError
from graphc.ir import dims
from graphc.ir.graph import Graph, topological
from graphc.ir.node import Node
from graphc.ir.state import Array
from graphc.ir.tensor import Tensor
from graphc.ir.types import is_float
from graphc.reference import bind_sizes
from graphc.run.batches import laid_out
from graphc.run.binding import arrange, convert
from graphc.run.bound import Bound
from graphc.run.crew import LEAD, gather
from graphc.run.entry import Plan
from graphc.run.executable import Executable, Stages
from graphc.run.means import Comm, Means
from graphc.run.program import Program

FAILED = "another rank failed in this step, see its error; no rank has stored anything"


class DataParallel(Mapping[Tensor, Tensor]):
    """Updates that `graphc.compile` shares between the ranks of ``comm``."""

    def __init__(self, updates: Mapping[Tensor, Tensor], comm: Comm) -> None:
        self._updates, self.comm = dict(updates), comm

    def __getitem__(self, state: Tensor) -> Tensor:
        return self._updates[state]

    def __iter__(self) -> Iterator[Tensor]:
        return iter(self._updates)

    def __len__(self) -> int:
        return len(self._updates)


@dataclass(frozen=True)
class Cut:
    """Where a step is cut in two.

    combined  tensors that the first part computes of its rows, and whose means over all ranks the second part takes
    scalars   inputs that the second part takes as well
    """

    combined: list[Tensor]
    scalars: list[Tensor]


def cut(graph: Graph, arguments: Sequence[Tensor], nexts: Mapping[Tensor, Tensor]) -> Cut:
    """The gradients that ``nexts`` are made of; of a next value made of the batch without a gradient, itself.

    Raises CompileError for one that needs gradients and, past them, the batch.
    """
    given = {t.id for t in arguments}
    batch = {t.id for t in arguments if t.ndim} | {node.id for node in graph.nodes if _of_unknown_size(node)}
    depends = set[int]()
    for node in graph.nodes:
        if node.id in batch or any(i in depends for i in node.inputs):
            depends.add(node.id)
    combined: dict[int, Tensor] = {}
    scalars = set[int]()
    for state, value in nexts.items():
        gradients, past, stack, seen = [], [], [value.id], set[int]()
        while stack:
            i = stack.pop()
            if i in seen:
                continue
            seen.add(i)
            if i in graph.gradients and i in depends:
                gradients.append(graph.tensors[i])
                continue
            if i in given or i in batch:
                past.append(graph.tensors[i])
            if i not in given:
                stack += graph.nodes[i].inputs
        rows = sorted((t for t in past if t.id in batch), key=lambda t: t.id)
        if rows and gradients:
            raise CompileError(
                f"data_parallel: the next value of {state.name} needs {rows[0].name} beside the gradient, as LBFGS "
                "does; only gradients, and next values without one, are combined",
                node=state.name,
                origin=value.origin,
            )
        if rows and not is_float(value.dtype):
            raise CompileError(
                f"data_parallel: the next value of {state.name} depends on {rows[0].name} and is {value.type}; "
                "only floats have a mean over ranks",
                node=state.name,
                origin=value.origin,
            )
        for t in [value] if rows else gradients:
            combined[t.id] = t
        if not rows:
            scalars |= {t.id for t in past}
    if not combined:
        raise CompileError("data_parallel: no update depends on the inputs")
    order = [n.id for n in topological(graph, list(combined))]
    return Cut([combined[i] for i in order if i in combined], [t for t in arguments if t.id in scalars])


def _of_unknown_size(node: Node) -> bool:
    """Whether a size of the batch stands in the node itself."""
    sizes = [*node.type.shape, *(s for v in node.attrs.values() for s in (v if isinstance(v, tuple) else (v,)))]
    return any(isinstance(s, dims.Dim) for s in sizes)


class Parallel(Executable):
    """A training step that the ranks of ``comm`` take together, each with rows of its own.

    ``gradients`` and ``update`` are the two executables that a call runs. Saved and looked at, it is the step of one
    process. Every rank must make the same calls, from one thread; scalar inputs must be the same on all.
    """

    def __init__(
        self, program: Program, gradients: Executable, update: Executable, at: Cut, comm: Comm, backend: str
    ) -> None:
        super().__init__(
            program,
            threads=gradients.threads,
            fastmath=gradients.fastmath,
            backend="numpy",  # the whole is never compiled
            cache=gradients.cache,
            max_bytes=gradients.max_bytes,
            debug=gradients.debug,
        )
        self.backend = backend
        self.gradients, self.update, self.comm = gradients, update, comm
        self._scalars = [k for k, i in enumerate(program.arguments_at) if i in {t.id for t in at.scalars}]
        self._shapes: dict[tuple[tuple[int, ...], ...], list[tuple[int, ...]]] = {}
        self._check_alike(at)
        held = self.graph.state.storage
        self._means = Means(at.combined, [_shape(t) for t in at.combined], comm)
        self.pending = self._next = np.zeros(4, np.int64)
        self._tables: dict[tuple[int, int], Array] = {}
        self._held: list[Array] = []  # what tables know the addresses of
        keys = {self.graph.nodes[i].name for i in self.graph.random_keys}
        for name in self._reads:
            if name not in keys:  # ranks may draw different numbers
                value = held[name].copy()
                comm.Bcast(value)
                self.graph.state[name] = value

    def _check_alike(self, at: Cut) -> None:
        """CompileError where ranks have compiled different steps."""
        tensors = [*self._arguments, *(self.graph[name] for name in self._reads), *at.combined]
        text = "\n".join(f"{t.name}: {t.type}" for t in tensors)
        found = self._gathered(zlib.crc32(text.encode()))
        if len(set(found)) > 1:
            raise CompileError(f"data_parallel: ranks compile different steps; this is rank {self.comm.Get_rank()}")

    def _gathered(self, number: int) -> list[int]:
        """This number of all ranks."""
        out = np.zeros(self.comm.Get_size(), np.int64)
        self.comm.Allgather(np.array([number], np.int64), out)
        return [int(n) for n in out]

    def __call__(self, /, *args: Any, out: Any = None, **kwargs: Any) -> Any:
        """One step of all ranks together; outputs are those of this rank's rows.

        Where it fails on one rank, it raises on all of them, and no state has changed.
        """
        try:
            given = arrange(self._arguments, args, kwargs)
            arrays = [convert(t, a) for t, a in zip(self._arguments, given, strict=True)]
            results = self._fresh(arrays) if out is None else self._structure.unpack(out)
            self.gradients(*arrays, out=[*results, *self._means.own])
        except Exception:
            self._means.exchange(failed=True)
            raise
        if self._means.exchange():
            raise GraphcError(FAILED)
        self.update(*self._means.found, *(arrays[k] for k in self._scalars))
        return self._structure.pack([r[()] for r in results]) if out is None else out

    @property
    def _kernel(self) -> Kernel | None:
        """That of the gradients, where a step goes through in machine code (`graphc.codegen.ranks`)."""
        return self.gradients._kernel if self._means.table else None

    def plan_for(self, sizes: dict[str, int]) -> Plan:
        """As `Executable.plan_for`; the kernel takes a whole step."""
        plan = self.gradients.plan_for(sizes)
        plan = replace(plan, shapes=plan.shapes[: len(self._results)])
        if self._kernel is None:
            return replace(plan, kernel=0)
        update = self.update.plan_for({})
        gather(update.threads)
        key = plan.kernel, plan.state
        if key not in self._tables:
            self._tables[key] = self._table(plan, update)
        return replace(
            plan,
            kernel=address_of(step),
            state=self._tables[key].ctypes.data,
            work_bytes=max(plan.work_bytes, update.work_bytes),
            stops=plan.stops or update.stops,
        )

    def _table(self, plan: Plan, update: Plan) -> Array:
        """What a step takes in place of a state: two kernels, and the exchange between."""
        own, found = ([a.ctypes.data for a in arrays] for arrays in (self._means.own, self._means.found))
        filled = np.array([0] * len(self._results) + own, np.int64)
        taken = np.array(found + [0] * len(self._scalars), np.int64)
        self._held += [filled, taken, update.dims]
        words = [
            plan.kernel, plan.state, filled.ctypes.data, len(self._results), self._means.table,
            self._next.ctypes.data,
            update.kernel, update.state, taken.ctypes.data, len(found), update.dims.ctypes.data + 8 * LEAD,
            len(self._scalars), *self._scalars,
        ]  # fmt: skip
        return np.array(words, np.int64)

    def failure(self, status: int, where: int, value: int, plan: Plan) -> GraphcError:
        """The error for a status of `graphc.codegen.ranks.step`."""
        return GraphcError(FAILED)

    def _fresh(self, arrays: list[Array]) -> list[Array]:
        """Arrays for the outputs."""
        key = tuple([a.shape for a in arrays])
        if key not in self._shapes:
            plan = self.gradients.plan_for(bind_sizes(self._arguments, key))
            self._shapes = {**self._shapes, key: list(plan.shapes[: len(self._results)])}
        return [np.empty(s, t.dtype) for s, t in zip(self._shapes[key], self._results, strict=True)]

    def run_batches(
        self,
        arrays: Any,
        batch_size: int = 256,
        *,
        shuffle: bool = False,
        seed: int | None = None,
        drop_last: bool = False,
        progress: bool = False,
    ) -> Any:
        """As `Executable.run_batches`, over this rank's rows; ``batch_size`` is what each rank takes in a step.

        Raises InputError on all ranks where one has another number of batches.
        """
        self.wait()
        try:
            steps = laid_out(self, arrays, batch_size, shuffle, seed, drop_last)[0].steps
        except Exception:
            self._gathered(-1)
            raise
        found = self._gathered(steps)
        if min(found) < 0:
            raise GraphcError(FAILED)
        if len(set(found)) > 1:
            counts = ", ".join(str(n) for n in found)
            raise InputError(
                f"ranks have {counts} batches, and must have as many; gx.distributed.shard gives them as many rows"
            )
        shown = progress and self.comm.Get_rank() == 0
        return super().run_batches(arrays, batch_size, shuffle=shuffle, seed=seed, drop_last=drop_last, progress=shown)

    def wait(self, timeout: float | None = None) -> bool:
        """Waits for both kernels, ``timeout`` seconds at most for each."""
        return self.gradients.wait(timeout) and self.update.wait(timeout)

    @property
    def bound(self) -> Bound:
        """CompileError: there is no kernel for the whole step."""
        self._refuse()

    def _refuse(self) -> NoReturn:
        raise CompileError("a data-parallel step has no kernel of its own, but exe.gradients and exe.update have")

    @property
    def stages(self) -> Mapping[str, str]:
        """The stages of both parts: ``gradients/graph`` and so on, then ``update/graph``."""
        parts = {"gradients": self.gradients, "update": self.update}
        return Stages({f"{name}/{k}": text for name, exe in parts.items() for k, text in exe.stages.items()})

    def memory(self, /, **sizes: int) -> int:
        """Bytes of both workspaces."""
        return self.gradients.memory(**sizes) + self.update.memory()


def _shape(t: Tensor) -> tuple[int, ...]:
    if not all(isinstance(size, int) for size in t.shape):
        raise CompileError(f"data_parallel: {t.name} is {t.type}; what is combined must have known sizes", node=t.name)
    return tuple(int(size) for size in t.shape)  # type: ignore[call-overload]


__all__ = ["Comm", "DataParallel", "Parallel", "cut"]
