"""From tensors to an executable: the pipeline as straight code."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from graphc.errors import CompileError, DTypeError, GraphError, ShapeError, caller, did_you_mean
from graphc.ir import dims
from graphc.ir.body import reads, within
from graphc.ir.call import Call
from graphc.ir.graph import Graph, copy_node, located, topological
from graphc.ir.op import Kind, lookup
from graphc.ir.tensor import Tensor
from graphc.ops.apply import tensor_list
from graphc.ops.signature import found
from graphc.run.debug import TESTED
from graphc.run.executable import Executable
from graphc.run.parallel import DataParallel, Parallel, cut
from graphc.run.program import MOST_BYTES, Program, Structure


def compile(
    inputs: Sequence[Tensor],
    outputs: Tensor | Sequence[Any] | Mapping[str, Any] | None,
    updates: Mapping[Tensor, Tensor] | None = None,
    *,
    threads: int | None = None,
    fastmath: bool = False,
    debug: str | None = None,
    backend: str = "numba",
    cache: bool = True,
    lazy: bool = False,
    max_bytes: int | None = None,
    unused: str = "error",
) -> Executable:
    """An executable that computes ``outputs`` from ``inputs``, and then stores ``updates``.

    inputs    tensors whose values each call passes: inputs, or any other leaf or inner tensor
    outputs   a tensor, or lists and dicts of them, in one another too; a call returns the same structure. Exports have
              one dict for what is in one another, with keys such as ``"grads/W"``. None where only updates matter
    updates   parameter or variable -> its next value, of the same shape and dtype. All next values are computed from
              the old ones, then stored. `graphc.distributed.data_parallel` shares them between processes
    threads   how many processors may be used, None for those of this process. Results never depend on it
    fastmath  False keeps NaN, infinity and IEEE division exact
    debug     "nan": the first NaN, or infinity made of finite operands, stops a call with NumericalError, which names
              node, element, operands and line; state stays as it was, ``out=`` arrays do not. "inputs": one among the
              arrays passed does too. "bounds": every access is compared with the sizes of what it goes to, "shapes":
              every node's result with its declared shape and dtype, once for each new set of sizes
    backend   "numba" compiles; "numpy" interprets the same optimised program
    cache     keep the compiled kernel on disk
    lazy      True returns before the kernel is compiled: a thread compiles it, and until it is there the NumPy
              interpreter answers calls. The two agree to rounding. What the compiler raises is raised by the next call,
              or by ``exe.wait()``. A kernel that is on disk is loaded at once
    max_bytes the most that the workspace may take: values are then computed again rather than kept, which takes time
              and gives the same bits; with loops that keep some carries only, the same to rounding. Where sizes are
              symbolic this happens at the first call that needs it
    unused    "ignore" allows inputs that no output needs

    Raises CompileError, which says the least that ``max_bytes`` can be, GraphError, ShapeError or DTypeError, with the
    line of the tensor at fault.

    >>> import graphc as gx
    >>> g = gx.Graph(float_dtype="float64")
    >>> x, w = g.input("x", ("n",)), g.parameter("w", 2.0)
    >>> loss = gx.sum((w * x - 1) ** 2)
    >>> step = gx.compile([x], {"loss": loss}, updates={w: w - 0.1 * gx.grad(loss, w)}, backend="numpy")
    >>> float(step([1.0, 0.0])["loss"]), float(g.state["w"])
    (2.0, 1.8)
    """
    origin = caller()
    with located("compile", origin):
        _check_options(threads, debug, backend, max_bytes, unused)
        if not isinstance(fastmath, (bool, np.bool_)):
            raise CompileError(f"fastmath must be True or False, found {found(fastmath)}")
        if fastmath and debug in TESTED:
            raise CompileError(f'debug="{debug}" needs fastmath=False: fastmath takes it that there is no NaN')
        structure, results = Structure.of(outputs)
        arguments = tensor_list("inputs", inputs)
        if updates is not None and not isinstance(updates, Mapping):
            todo = "; an optimiser's are opt.updates(loss)" if hasattr(updates, "updates") else ""
            raise CompileError(f"updates must be a dict, state -> its next value, found {found(updates)}{todo}")
        nexts = dict(updates or {})
        graph = one_graph(arguments, results, nexts)
        check_updates(graph, arguments, nexts)
        nexts.update(_moved_keys(graph, [*results, *nexts.values()], arguments, nexts, origin))
        program = assemble(graph, structure, arguments, results, nexts, unused)
        build = partial(
            Executable,
            threads=threads,
            fastmath=fastmath,
            backend=backend,
            cache=cache,
            lazy=lazy,
            max_bytes=max_bytes,
            debug=debug,
        )
        if not isinstance(updates, DataParallel):
            return build(program)
        at = cut(graph, arguments, nexts)
        gradients = assemble(graph, Structure("list"), arguments, [*results, *at.combined], {}, "ignore")
        update = assemble(graph, Structure("none"), [*at.combined, *at.scalars], [], nexts, "ignore")
        return Parallel(program, build(gradients), build(update), at, updates.comm, backend)


def _check_options(threads: int | None, debug: str | None, backend: str, max_bytes: int | None, unused: str) -> None:
    for name, value in (("threads", threads), ("max_bytes", max_bytes)):
        if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
            raise CompileError(f"{name} must be an int of at least 1 or None, found {value!r}")
    options: dict[str, tuple[str, tuple[str, ...]]] = {
        "backend": (backend, ("numba", "numpy")),
        "unused": (unused, ("error", "ignore")),
    }
    if debug is not None:
        options["debug"] = debug, ("nan", "inputs", "bounds", "shapes")
    for name, (text, allowed) in options.items():
        if not isinstance(text, str) or text not in allowed:
            words = " or ".join(f'"{word}"' for word in allowed)
            raise CompileError(f"{name} must be {words}, found {text!r}{did_you_mean(text, allowed)}")


def one_graph(arguments: list[Tensor], results: list[Tensor], nexts: dict[Tensor, Tensor]) -> Graph:
    """The graph of all these tensors; raises where they are not of one, or an input cannot be one."""
    tensors = [*arguments, *results, *nexts, *nexts.values()]
    tensor_list("outputs", results)
    tensor_list("updates", [*nexts, *nexts.values()])
    if not results and not nexts:
        raise CompileError("nothing to compute: neither outputs nor updates")
    graph = tensors[-1].graph
    for t in tensors:
        if t.op.kind is Kind.CONTROL:
            raise CompileError(f"{t.name} is a {t.op.name}; take its results", node=t.name, origin=t.origin)
        if t.graph is not graph:
            raise GraphError(
                f"tensors of two graphs: {t.name} of {t.graph.name!r}, others of {graph.name!r}", node=t.name
            )
    seen: set[int] = set()
    for t in arguments:
        if t.id in seen:
            raise CompileError(f"the input {t.name} is listed twice", node=t.name, origin=t.origin)
        seen.add(t.id)
        if t.op.name == "constant":
            raise CompileError(f"the constant {t.name} cannot be an input", node=t.name, origin=t.origin)
    return graph


def check_updates(graph: Graph, arguments: list[Tensor], nexts: dict[Tensor, Tensor]) -> None:
    """Raises where something other than state is updated, or a next value is of another type."""
    listed = {t.id for t in arguments}
    for state, value in nexts.items():
        if state.name not in graph.state:
            raise CompileError(
                f"only parameters and variables can be updated, not {state.name}", node=state.name, origin=state.origin
            )
        if state.id in listed:
            raise CompileError(
                f"{state.name} is an input of this executable and cannot be updated by it", node=state.name
            )
        if value.dtype != state.dtype:
            raise DTypeError(
                f"the next value of {state.name} must be {state.type}, found {value.type}",
                node=state.name,
                origin=value.origin,
            )
        if value.shape != state.shape:
            raise ShapeError(
                f"the next value of {state.name} must be {state.type}, found {value.type}",
                node=state.name,
                origin=value.origin,
            )


def _moved_keys(
    graph: Graph, roots: list[Tensor], arguments: list[Tensor], nexts: dict[Tensor, Tensor], origin: Any
) -> dict[Tensor, Tensor]:
    """Every random key that is drawn from moves on with the updates; without updates the numbers never change."""
    listed = {t.id for t in arguments}
    needed = topological(graph, [t.id for t in roots])
    drawn = {i for n in needed for slot, i in enumerate(n.inputs) if i in graph.random_keys and reads(n, slot)}
    drawn |= {t.id for t in roots}
    keys = [graph.tensors[n.id] for n in needed if n.id in graph.random_keys and n.id in drawn]
    keys = [k for k in keys if k.id not in listed and k not in nexts]
    if keys and not nexts:
        message = f"{keys[0].name} is drawn from without updates: each call gives the same random numbers"
        warnings.warn_explicit(message, UserWarning, origin.file, origin.line)
        return {}
    out = {}
    for key in keys:
        with graph.calling(Call("random_key", key.name, "update")):
            out[key] = key + np.array([0, 1])
    return out


def assemble(
    graph: Graph,
    structure: Structure,
    arguments: list[Tensor],
    results: list[Tensor],
    nexts: dict[Tensor, Tensor],
    unused: str,
) -> Program:
    """The program, whole and checked; nothing is compiled."""
    roots = [*results, *nexts.values()]
    program = Program(
        graph,
        extract(graph, arguments, roots, unused),
        structure,
        tuple(t.name for t in arguments),
        len(results),
        tuple(t.name for t in nexts),
        tuple(t.id for t in roots),
        tuple(t.id for t in arguments),
    )
    _check_sizes(program)
    return program


def extract(graph: Graph, arguments: Sequence[Tensor], roots: Sequence[Tensor], unused: str) -> Graph:
    """A graph of its own with what ``roots`` need, in which each argument is an input."""
    new = Graph(graph.name, graph.float_dtype)
    new.backward = graph.backward
    made: dict[int, Tensor] = {}
    for t in arguments:
        made[t.id] = new.append(lookup("input"), (), {}, type=t.type, name=t.name, origin=t.origin)
    needed: set[int] = set()
    stack = [t.id for t in roots]
    while stack:
        i = stack.pop()
        if i not in needed:
            needed.add(i)
            stack += () if i in made else graph.nodes[i].inputs
    for t in arguments:
        if t.id not in needed and unused == "error":
            text = f'no output needs the input {t.name}; leave it out or pass unused="ignore"'
            raise CompileError(text, node=t.name, origin=t.origin)
    for node in graph.nodes:
        if node.id not in needed or node.id in made:
            continue
        if node.op.name == "input":
            text = f"the outputs need the input {node.name}, which is not listed"
            raise CompileError(text, node=node.name, origin=node.origin)
        made[node.id] = copy_node(new, node, [made[i] for i in node.inputs])
    new.outputs = [made[t.id] for t in roots]
    return new


def _check_sizes(program: Program) -> None:
    """Every symbol must be the size of an input's axis, and no tensor larger than any memory."""
    bound = set(program.symbols)
    for node in within(program.source):
        sizes = [*node.type.shape, *(s for v in node.attrs.values() for s in (v if isinstance(v, tuple) else (v,)))]
        for name in dims.free_symbols(s for s in sizes if isinstance(s, dims.Dim)):
            if name not in bound:
                text = f"no input has the size {name!r} that {node.name} needs: {node.type}"
                raise ShapeError(text, node=node.name, origin=node.origin)
        least = math.prod(s for s in node.type.shape if isinstance(s, int) and s > 0) * node.type.dtype.itemsize
        if least > MOST_BYTES:
            text = f"{node.name} takes {least} bytes or more, which no memory has: {node.type}"
            raise ShapeError(text, node=node.name, origin=node.origin)


__all__ = ["assemble", "check_updates", "compile", "extract", "one_graph"]
