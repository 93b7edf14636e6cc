"""Loops and branches: nodes that hold graphs, which run inside the kernel.

A node of kind "control" has the bodies as attributes. Its operands are what it starts from and, last, tensors of the
graph around it that the bodies use. What it computes is read by ``result`` nodes, each an ordinary tensor.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from types import CellType
from typing import Any

import numpy as np

from graphc.errors import DTypeError, GraphError, ShapeError, caller
from graphc.ir import dims
from graphc.ir.body import Body
from graphc.ir.dims import Size
from graphc.ir.graph import Graph, located
from graphc.ir.inner import Inner, inlined, traced
from graphc.ir.op import Attrs, Kind, Op, lookup, register
from graphc.ir.tensor import Tensor
from graphc.ir.types import BOOL, INT64, SizeCheck, TensorType, dtype_of
from graphc.ops import nest
from graphc.ops.apply import cast, graph_of, is_scalar, size_node, tensor
from graphc.ops.assembly import concat
from graphc.ops.shape import reshape
from graphc.ops.signature import found, need_functions

Types = Sequence[TensorType]
NUMBER = TensorType(INT64, ())
MOST_UNROLLED = 64  # steps that are written out one after the other
UNBOUNDED = -1  # of a while loop: there is no most steps


# ---- the records


def _token(op: str, *expected: tuple[Body, list[TensorType]]) -> TensorType:
    """The type of a node that holds bodies, each of which is given these types."""
    for body, given in expected:
        wanted = [kind for _, kind in body.inputs]
        if wanted != given:
            raise GraphError(f"{op}: a body takes {_listed(wanted)}, it is given {_listed(given)}")
    return NUMBER


def _kept(op: str, before: Types, after: Types) -> None:
    if list(before) != list(after):
        raise GraphError(f"{op}: the body begins with {_listed(before)} and ends with {_listed(after)}")


def _listed(types: Types) -> str:
    return ", ".join(str(t) for t in types) or "nothing"


def _infer_scan(types: Types, attrs: Attrs) -> TensorType:
    body, n, m, length = attrs["body"], attrs["carries"], attrs["xs"], attrs["length"]
    if not (0 <= n <= len(body.types) and m >= 0 and n + m <= len(types)):
        raise GraphError(f"scan: {n} carries and {m} xs do not fit {len(types)} operands")
    if not 1 <= attrs["unroll"] <= MOST_UNROLLED:
        raise GraphError(f"scan: unroll must lie in 1 to {MOST_UNROLLED}, found {attrs['unroll']}")
    if isinstance(length, int) and length < 0:
        raise ShapeError(f"scan: length must be at least 0, found {length}")
    for x in types[n : n + m]:
        if x.ndim == 0:
            raise ShapeError(f"scan: xs must lead with time, found {x}")
        if isinstance(length, int) and isinstance(x.shape[0], int) and x.shape[0] != length:
            raise ShapeError(f"scan: expected {length} rows, found {x}")
    rows = [TensorType(x.dtype, x.shape[1:]) for x in types[n : n + m]]
    _kept("scan", types[:n], body.types[:n])
    return _token("scan", (body, [NUMBER, *types[:n], *rows, *types[n + m :]]))


def _results_of_scan(types: Types, attrs: Attrs) -> list[TensorType]:
    """The last carries, what each step gives, and, for its derivative, the carries before each step."""
    n, made, length = attrs["carries"], attrs["body"].types, attrs["length"]
    rows = [*made[n:], *types[:n]]
    return [*types[:n], *(TensorType(t.dtype, (length, *t.shape)) for t in rows)]


def _checks_of_scan(types: Types, attrs: Attrs) -> list[SizeCheck]:
    n, m, length = attrs["carries"], attrs["xs"], attrs["length"]
    sizes = dict.fromkeys(x.shape[0] for x in types[n : n + m])
    same = [SizeCheck(size, length, False) for size in sizes if size != length]
    return same + ([] if dims.at_most(0, length) else [SizeCheck(length + 1, 0, False, positive=True)])


def _infer_while(types: Types, attrs: Attrs) -> TensorType:
    test, body, limit = attrs["test"], attrs["body"], attrs["max_steps"]
    if isinstance(limit, int) and limit < UNBOUNDED:
        raise ShapeError(f"while_loop: max_steps must be at least 0, found {limit}")
    _kept("while_loop", types[: len(body.types)], body.types)
    if test.types != [TensorType(BOOL, ())]:
        raise GraphError(f"while_loop: test must give bool[], found {_listed(test.types)}")
    return _token("while_loop", *((part, [NUMBER, *types]) for part in (test, body)))


def _results_of_while(types: Types, attrs: Attrs) -> list[TensorType]:
    """The last carries, how many steps were made, and, where there is a limit, the carries before each step."""
    n, limit = len(attrs["body"].types), attrs["max_steps"]
    kept = [] if limit == UNBOUNDED else [TensorType(t.dtype, (limit, *t.shape)) for t in types[:n]]
    return [*types[:n], NUMBER, *kept]


def _checks_of_while(types: Types, attrs: Attrs) -> list[SizeCheck]:
    limit = attrs["max_steps"]
    return [] if isinstance(limit, int) else [SizeCheck(limit + 1, 0, False, positive=True)]


def _infer_cond(types: Types, attrs: Attrs) -> TensorType:
    sides = attrs["on_true"], attrs["on_false"]
    if not types or types[0] != TensorType(BOOL, ()):
        raise DTypeError(f"cond: expected a bool scalar, found {_listed(types[:1])}")
    if sides[0].types != sides[1].types:
        raise GraphError(f"cond: one side gives {_listed(sides[0].types)}, the other {_listed(sides[1].types)}")
    return _token("cond", *((side, list(types[1:])) for side in sides))


def _infer_result(types: Types, attrs: Attrs) -> TensorType:
    if types[0] != NUMBER:
        raise DTypeError(f"expected a loop or a branch, found {types[0]}")
    return TensorType(dtype_of(attrs["dtype"]), attrs["shape"])


def _interpreted(*_: Any, **__: Any) -> Any:
    raise GraphError("loops and branches are run by the interpreter itself")


def _control(name: str, infer: Any, results: Any, attrs: tuple[str, ...], checks: Any = None) -> None:
    register(Op(name, Kind.CONTROL, None, infer, _interpreted, results=results, checks=checks, attrs=attrs))


_control(
    "scan",
    _infer_scan,
    _results_of_scan,
    ("body", "carries", "xs", "length", "reverse", "unroll"),
    _checks_of_scan,
)
_control("while_loop", _infer_while, _results_of_while, ("test", "body", "max_steps"), _checks_of_while)
_control("cond", _infer_cond, lambda types, attrs: attrs["on_true"].types, ("on_true", "on_false"))
register(Op("result", Kind.RESULT, 1, _infer_result, _interpreted, attrs=("index", "shape", "dtype")))


def result(node: Tensor, index: int) -> Tensor:
    """One of what a loop or a branch computes."""
    assert node.op.results is not None
    kind = node.op.results([t.type for t in node.inputs], node.attrs)[index]
    attrs = {"index": index, "shape": kind.shape, "dtype": kind.dtype.name}
    return node.graph.append(lookup("result"), (node,), attrs, type=kind)


# ---- tracing


class _Traced:
    """A function of leaves, traced once: its graph, inputs and outputs."""

    def __init__(self, graph: Graph, what: str, given: Sequence[tuple[str, TensorType]], steps: bool = True) -> None:
        self.inner, origin = Inner(graph, what), graph._line()
        first = [("step", NUMBER)] if steps else []
        self.inputs = [self.inner.given(name, kind, origin) for name, kind in [*first, *given]]
        self.inner.step = self.inputs[0] if steps else None
        self.given = self.inputs[len(first) :]
        self.outputs: list[Tensor] = []

    def call(self, outputs: Callable[[], Sequence[Tensor]]) -> None:
        with traced(self.inner):
            self.outputs = [self.inner.admit(t, self.inner.what) for t in outputs()]

    def body(self, captured: Sequence[Tensor]) -> Body:
        return self.inner.body(self.inputs, self.outputs, captured)


def _captured(graph: Graph, *parts: _Traced) -> list[Tensor]:
    """What the parts use of the graph around them."""
    return [graph.tensors[id] for id in dict.fromkeys(id for part in parts for id in part.inner.captured)]


def _named(what: str, tensors: Sequence[Tensor], rows: bool = False) -> list[tuple[str, TensorType]]:
    """Names and types of a body's inputs."""
    kinds = [TensorType(t.dtype, t.shape[1:]) if rows else t.type for t in tensors]
    return [(what if len(kinds) == 1 else f"{what}_{k}", kind) for k, kind in enumerate(kinds)]


def _carried(inner: Graph, found_: Any, nest_: Any, first: Sequence[Tensor]) -> list[Tensor]:
    """The carry that a step returns, of the types of the first."""
    out = []
    for path, leaf, held in zip(nest.paths("carry", nest_), nest.fitted("carry", found_, nest_), first, strict=True):
        t = _leaf(path, leaf, inner, held.type if is_scalar(leaf) else None)
        if t.dtype != held.dtype:
            raise DTypeError(f"{path} begins as {held.type}, and a step makes {t.type} of it; cast one of them")
        if t.shape != held.shape:
            raise ShapeError(f"{path} begins as {held.type}, and a step makes {t.type} of it; shapes must stay")
        out.append(t)
    return out


def _leaf(path: str, value: Any, graph: Graph, kind: TensorType | None = None) -> Tensor:
    if not isinstance(value, (Tensor, np.ndarray)) and not is_scalar(value):
        raise GraphError(f"{path}: expected a tensor, found {found(value)}")
    return tensor(value, graph, None if kind is None else kind.dtype)


def _operands(what: str, value: Any, graph: Graph) -> list[Tensor]:
    """The leaves of an argument, in the graph."""
    pairs = zip(nest.paths(what, value), nest.leaves(value), strict=True)
    return [graph.admit(_leaf(path, leaf, graph), what) for path, leaf in pairs]


def _graph(what: str, values: Any, *functions: Any) -> Graph:
    """The graph of all tensors among arguments; where there are none, of those that functions use."""
    tensors = [leaf for leaf in nest.leaves(values) if isinstance(leaf, Tensor)]
    if not tensors:
        tensors = [leaf for f in functions for leaf in nest.leaves(_used(f)) if isinstance(leaf, Tensor)][:1]
    if not tensors:
        text = f"expected a tensor in {what}, or one that the function uses; g.constant(...) makes one of a number"
        raise GraphError(text)
    return graph_of(tensors)


def _used(f: Any) -> list[Any]:
    """What a Python function uses of the scopes around it."""
    code = getattr(f, "__code__", None)
    cells = [cell.cell_contents for cell in getattr(f, "__closure__", None) or () if cell != CellType()]
    return cells + [f.__globals__.get(name) for name in code.co_names] if code is not None else []


def _length(rows: Sequence[Tensor], named: Sequence[str], length: Any, graph: Graph) -> Size:
    """How many steps there are."""
    if length is not None:
        steps = graph.shape((length,))[0]
    elif rows:
        if not rows[0].shape:
            raise ShapeError(f"{named[0]} must lead with time, found {rows[0].type}")
        steps = rows[0].shape[0]
    else:
        raise ShapeError("length must be given where there are no xs")
    for path, row in zip(named, rows, strict=True):
        if not row.shape:
            raise ShapeError(f"{path} must lead with time, found {row.type}")
        if isinstance(row.shape[0], int) and isinstance(steps, int) and row.shape[0] != steps:
            raise ShapeError(f"{path}: expected {steps} rows, found {row.shape[0]}: {row.type}")
    return steps


@dataclass(frozen=True, eq=False, slots=True)
class Steps:
    """What a scan does: its body, the tensors around it that the body uses, and how steps follow one another."""

    body: Body
    captured: Sequence[Tensor]
    reverse: bool
    unroll: int = 1

    def scan(self, graph: Graph, first: Sequence[Tensor], rows: Sequence[Tensor], length: Size) -> Tensor:
        """The scan as a node."""
        attrs = {
            "body": self.body, "carries": len(first), "xs": len(rows), "length": length, "reverse": self.reverse,
            "unroll": self.unroll,
        }  # fmt: skip
        return graph.append(lookup("scan"), [*first, *rows, *self.captured], attrs)

    def part(
        self, graph: Graph, begin: Callable[[], Tensor], first: Sequence[Tensor], rows: Sequence[Tensor], length: Size
    ) -> Tensor:
        """A scan of some of the steps, from that of number ``begin`` on."""
        part = _Traced(graph, "scan", [*_named("carry", first), *_named("x", rows, rows=True)])
        part.call(lambda: inlined(self.body, part.inner, [begin() + part.inputs[0], *part.given, *self.captured]))
        held = _captured(graph, part)
        return Steps(part.body(held), held, self.reverse, self.unroll).scan(graph, first, rows, length)


class Segments:
    """A scan as scans of ``every`` steps inside another, and one of the steps that are left.

    Its derivative keeps the carries between segments only. ``rows`` are tensors, or rows that another loop in such
    segments makes, with the number of that result: those are made again, a segment at a time. ``given`` are the
    results, by their numbers, of which all rows are wanted.
    """

    def __init__(
        self,
        graph: Graph,
        steps: Steps,
        first: Sequence[Tensor],
        rows: Sequence[Tensor | tuple[Segments, int]],
        length: Size,
        every: int,
        given: Iterable[int],
    ) -> None:
        self.graph, self.steps, self.first, self.every = graph, steps, first, every
        self.rows, self.given = list(rows), list(given)
        self.count = dims.floor_divide(length, every)
        self.whole = dims.multiply(self.count, every)
        self.left = length - self.whole
        carries = range(len(first))
        self.rest = self._rest(first) if steps.reverse else None
        self.main = self._main(first if self.rest is None else [result(self.rest, k) for k in carries])
        if not steps.reverse:
            self.rest = self._rest([result(self.main, k) for k in carries])

    @property
    def _loops(self) -> list[Segments]:
        """Those whose rows it needs, and itself, in order."""
        found = {loop: None for row in self.rows if isinstance(row, tuple) for loop in row[0]._loops}
        return [*found, self]

    def _main(self, carry: Sequence[Tensor]) -> Tensor:
        """The loop over segments."""
        graph, every, loops, n = self.graph, self.every, self._loops, len(self.first)
        whole = {row.id: row for loop in loops for row in loop.rows if isinstance(row, Tensor)}
        cut = [reshape(row[: self.whole], (self.count, every, *row.shape[1:])) for row in whole.values()]
        before = [loop._before(k) for loop in loops[:-1] for k in range(len(loop.first))]
        part = _Traced(graph, "scan", [*_named("carry", carry), *_named("x", [*cut, *before], rows=True)])

        def segment() -> list[Tensor]:
            rows = dict(zip(whole, part.given[n:], strict=False))
            starts = iter([*part.given[n + len(cut) :], *part.given[:n]])
            made: dict[Segments, Tensor] = {}
            for loop in loops:
                given = [rows[r.id] if isinstance(r, Tensor) else result(made[r[0]], r[1]) for r in loop.rows]
                first = [next(starts) for _ in loop.first]
                made[loop] = loop.steps.part(part.inner, lambda: part.inputs[0] * every, first, given, every)
            return [result(made[self], k) for k in (*range(n), *self.given)]

        part.call(segment)
        held = _captured(graph, part)
        return Steps(part.body(held), held, self.steps.reverse).scan(graph, carry, [*cut, *before], self.count)

    def _before(self, k: int) -> Tensor:
        """Carry ``k`` before each segment."""
        return result(self.main, len(self.first) + len(self.given) + k)

    def _rest(self, carry: Sequence[Tensor]) -> Tensor | None:
        """The loop over the steps that are left; None where there are none, whatever the sizes."""
        if self.left == 0:
            return None
        rows = [r[self.whole :] if isinstance(r, Tensor) else result(r[0]._left, r[1]) for r in self.rows]
        begin = cast(size_node(self.graph, self.whole), INT64)
        return self.steps.part(self.graph, lambda: begin, carry, rows, self.left)

    @property
    def _left(self) -> Tensor:
        assert self.rest is not None
        return self.rest

    def result(self, k: int) -> Tensor:
        """The result of the scan of that number."""
        n = len(self.first)
        if k < n:
            return result(self.main if self.rest is None or self.steps.reverse else self.rest, k)
        main = result(self.main, n + self.given.index(k))
        rows = reshape(main, (self.whole, *main.shape[2:]))
        return rows if self.rest is None else concat([rows, result(self.rest, k)])


def part_of(
    graph: Graph, what: str, f: Callable[[Any], Any], x0: Any, first: Sequence[Tensor]
) -> tuple[Body, list[Tensor]]:
    """A function from ``x0`` to its like as a body, and what it uses of the graph around it, the body's last inputs."""
    part = _Traced(graph, what, _named("x", first), steps=False)
    part.call(lambda: _carried(part.inner, f(nest.like(x0, part.given)), x0, first))
    held = _captured(graph, part)
    return part.body(held), held


# ---- functions


def scan(
    f: Callable[[Any, Any], tuple[Any, Any]],
    init: Any,
    xs: Any = None,
    length: Size | None = None,
    *,
    reverse: bool = False,
    unroll: int = 1,
    checkpoint_every: int | None = None,
) -> tuple[Any, Any]:
    """``f`` from step to step: ``carry, y = f(carry, x)``, compiled as one loop. Returns the last carry and all ``y``.

    f        called once, when the graph is defined. It may use tensors of the graph around it, and draws other random
             numbers at each step
    init     the first carry: a tensor, array or number, None, or a tuple, list or dict of them. Each carry must have
             the structure, shapes and dtypes of the first
    xs       as ``init``; all lead with the same size, that of time, and ``x`` is a row of each. Where there are none,
             ``length`` says how many steps there are; it may be symbolic
    reverse  steps run from the last row to the first. What they give stays in the order of ``xs``
    unroll   steps between two tests for the loop's end
    checkpoint_every  the gradient keeps the carry of every so many steps only, and computes the others again

    The gradient is a scan in the other direction. Raises GraphError where a carry has another structure than the first,
    ShapeError or DTypeError where it has another shape or dtype, or sizes of time differ.

    >>> import numpy as np
    >>> import graphc as gx
    >>> g = gx.Graph(float_dtype="float64")
    >>> x = g.input("x", ("n",))
    >>> total, sums = gx.scan(lambda carry, row: (carry + row, carry + row), 0.0, x)
    >>> f = gx.compile([x], [total, sums, gx.grad(total, x)])
    >>> [result.tolist() for result in f(np.array([1.0, 2.0, 4.0]))]
    [7.0, [1.0, 3.0, 7.0], [1.0, 1.0, 1.0]]
    """
    origin = caller()
    with located("scan", origin):
        need_functions(GraphError, f=f)
        if not isinstance(reverse, bool):
            raise GraphError(f"reverse must be True or False, found {found(reverse)}")
        for name, value in (("unroll", unroll), ("checkpoint_every", checkpoint_every)):
            if value is not None and not (type(value) is int and value >= 1):
                raise GraphError(f"{name} must be an int of at least 1, found {found(value)}")
        graph = _graph("init or xs", (init, xs), f)
        with graph.placed(origin, None):
            return loop(graph, f, init, xs, length, reverse, unroll, checkpoint_every)


def loop(
    graph: Graph,
    f: Callable[[Any, Any], tuple[Any, Any]],
    init: Any,
    xs: Any,
    length: Any = None,
    reverse: bool = False,
    unroll: int = 1,
    every: int | None = None,
    what: str = "scan",
) -> tuple[Any, Any]:
    """`scan` in a graph."""
    first, rows = _operands("init", init, graph), _operands("xs", xs, graph)
    steps = _length(rows, nest.paths("xs", xs), length, graph)
    part = _Traced(graph, what, [*_named("carry", first), *_named("x", rows, rows=True)])
    ys: Any = None

    def stepped() -> list[Tensor]:
        nonlocal ys
        n = len(first)
        given = f(nest.like(init, part.given[:n]), nest.like(xs, part.given[n:]))
        if not isinstance(given, tuple) or len(given) != 2:
            raise GraphError(f"{what}: f must return a carry and a y, found {found(given)}")
        carry, ys = given
        pairs = zip(nest.paths("y", ys), nest.leaves(ys), strict=True)
        made = [_leaf(path, leaf, part.inner) for path, leaf in pairs]
        return [*_carried(part.inner, carry, init, first), *made]

    part.call(stepped)
    held = _captured(graph, part)
    body = part.body(held)
    does = Steps(body, held, reverse, unroll)
    numbers, n = range(len(body.types)), len(first)
    if every is None:
        node = does.scan(graph, first, rows, steps)
        made = [result(node, k) for k in numbers]
    else:
        segments = Segments(graph, does, first, rows, steps, every, numbers[n:])
        made = [segments.result(k) for k in numbers]
    return nest.like(init, made[:n]), nest.like(ys, made[n:])


def map(f: Callable[[Any], Any], xs: Any) -> Any:
    """``f`` of each row of ``xs``, one after the other: what `scan` gives where there is no carry.

    ``xs`` is a tensor, or a tuple, list or dict of tensors that lead with the same size; what ``f`` gives is stacked.
    Memory is that of one row. Raises what `scan` raises.

    Raises ShapeError where first sizes differ.

    >>> import numpy as np
    >>> import graphc as gx
    >>> g = gx.Graph(float_dtype="float64")
    >>> x = g.input("x", ("n", 2))
    >>> f = gx.compile([x], gx.map(lambda row: gx.sum(row * row), x))
    >>> f(np.array([[1.0, 2.0], [3.0, 4.0]])).tolist()
    [5.0, 25.0]
    """
    origin = caller()
    with located("map", origin):
        need_functions(GraphError, f=f)
        if not nest.leaves(xs):
            raise GraphError(f"xs must be a tensor, or a tuple, list or dict of tensors, found {found(xs)}")
        graph = _graph("xs", xs)
        with graph.placed(origin, None):
            return loop(graph, lambda _, x: (None, f(x)), None, xs, what="map")[1]


def while_loop(test: Callable[[Any], Any], step: Callable[[Any], Any], init: Any, max_steps: Size | None = None) -> Any:
    """``carry = step(carry)`` for as long as ``test(carry)`` holds, beginning with ``init``; the last carry.

    ``init`` is a tensor, array or number, or a tuple, list or dict of them; ``step`` gives the same structure, shapes
    and dtypes, ``test`` a bool scalar. Both are called once, when the graph is defined.

    A gradient needs ``max_steps``, for it keeps the carry of each step. Where ``test`` holds after so many steps, a
    call raises NumericalError. Raises what `scan` raises.

    >>> import graphc as gx
    >>> g = gx.Graph()
    >>> n = g.input("n", (), "int64")
    >>> halve = lambda c: {"n": c["n"] // 2, "steps": c["steps"] + 1}
    >>> f = gx.compile([n], gx.while_loop(lambda c: c["n"] > 1, halve, {"n": n, "steps": 0})["steps"])
    >>> int(f(1000))
    9
    """
    origin = caller()
    with located("while_loop", origin):
        need_functions(GraphError, test=test, step=step)
        graph = _graph("init", init, test, step)
        with graph.placed(origin, None):
            first = _operands("init", init, graph)
            limit: Size = UNBOUNDED if max_steps is None else graph.shape((max_steps,))[0]
            looking, moving = (_Traced(graph, "while_loop", _named("carry", first)) for _ in range(2))

            def looked() -> list[Tensor]:
                holds = _leaf("test", test(nest.like(init, looking.given)), looking.inner)
                if holds.type != TensorType(BOOL, ()):
                    raise DTypeError(f"test must give a bool scalar, found {holds.type}")
                return [holds]

            looking.call(looked)
            moving.call(lambda: _carried(moving.inner, step(nest.like(init, moving.given)), init, first))
            held = _captured(graph, looking, moving)
            attrs = {"test": looking.body(held), "body": moving.body(held), "max_steps": limit}
            node = graph.append(lookup("while_loop"), [*first, *held], attrs)
            return nest.like(init, [result(node, k) for k in range(len(first))])


def cond(pred: Tensor, true_fn: Callable[..., Any], false_fn: Callable[..., Any], *operands: Any) -> Any:
    """``true_fn(*operands)`` where ``pred`` holds, else ``false_fn(*operands)``; only one of them runs, backward too.

    pred      a bool scalar
    operands  tensors, arrays or numbers, or tuples, lists and dicts of them. The functions may use other tensors too

    Both functions are called once, when the graph is defined, and give the same structure, shapes and dtypes.
    Raises GraphError, ShapeError or DTypeError where they do not.

    >>> import graphc as gx
    >>> g = gx.Graph(float_dtype="float64")
    >>> x = g.input("x")
    >>> y = gx.cond(x > 0, lambda x: gx.sqrt(x), lambda x: x * 0.0, x)
    >>> f = gx.compile([x], [y, gx.grad(y, x)])
    >>> [float(v) for v in f(4.0)], [float(v) for v in f(-4.0)]
    ([2.0, 0.25], [-0.0, 0.0])
    """
    origin = caller()
    with located("cond", origin):
        need_functions(GraphError, true_fn=true_fn, false_fn=false_fn)
        if not isinstance(pred, Tensor) or pred.type != TensorType(BOOL, ()):
            raise DTypeError(f"pred must be a bool scalar, found {found(pred)}")
        graph = _graph("pred", (pred, operands))
        with graph.placed(origin, None):
            return branch(graph, pred, true_fn, false_fn, operands)


def branch(
    graph: Graph, pred: Tensor, true_fn: Callable[..., Any], false_fn: Callable[..., Any], operands: tuple[Any, ...]
) -> Any:
    """`cond` in a graph."""
    given = _operands("operands", operands, graph)
    sides = [_Traced(graph, "cond", _named("x", given), steps=False) for _ in range(2)]
    nests: list[Any] = []

    def made(side: _Traced, f: Callable[..., Any]) -> list[Tensor]:
        nests.append(f(*nest.like(operands, side.given)))
        pairs = zip(nest.paths("result", nests[0]), nest.fitted("result", nests[-1], nests[0]), strict=True)
        kinds = [t.type for t in sides[0].outputs] if side is sides[1] else None
        out = []
        for k, (path, leaf) in enumerate(pairs):
            t = _leaf(path, leaf, side.inner, kinds[k] if kinds and is_scalar(leaf) else None)
            if kinds and t.type != kinds[k]:
                kind = DTypeError if t.dtype != kinds[k].dtype else ShapeError
                raise kind(f"{path}: true_fn gives {kinds[k]}, false_fn {t.type}")
            out.append(t)
        return out

    sides[0].call(lambda: made(sides[0], true_fn))
    sides[1].call(lambda: made(sides[1], false_fn))
    held = _captured(graph, *sides)
    attrs = {"on_true": sides[0].body(held), "on_false": sides[1].body(held)}
    node = graph.append(lookup("cond"), [pred, *given, *held], attrs)
    return nest.like(nests[0], [result(node, k) for k in range(len(sides[0].outputs))])


__all__ = ["UNBOUNDED", "Segments", "Steps", "branch", "cond", "loop", "map", "part_of", "result", "scan", "while_loop"]
