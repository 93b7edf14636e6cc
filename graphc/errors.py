"""Every error that graphc raises, and where in the user's program a node was made."""

from __future__ import annotations

import contextlib
import difflib
import linecache
import os
import reprlib
import sys
import warnings
from collections.abc import Callable, Iterable, Mapping
from contextvars import ContextVar, copy_context
from dataclasses import dataclass
from functools import cache
from typing import Any, NoReturn, TypeVar

_PACKAGE = os.path.dirname(os.path.abspath(__file__)) + os.sep
_EXAMPLES = os.path.join(_PACKAGE, "examples", "")  # written as a user would


@dataclass(frozen=True, slots=True)
class Origin:
    """A line of the user's program; ``saved`` is its text where it is not to be looked up: it came from a file, or
    from a notebook, whose cells may run again with another text.

    >>> str(Origin("model.py", 18)), str(Origin("Cell In[1]", 2))
    ('model.py:18', 'Cell In[1], line 2')
    """

    file: str
    line: int
    saved: str | None = None

    def __str__(self) -> str:
        if self.file.startswith("Cell In["):
            return f"{self.file}, line {self.line}"
        return f"{os.path.basename(self.file)}:{self.line}"

    @property
    def text(self) -> str:
        """The line's source text, stripped; empty where the file is not at hand."""
        return linecache.getline(self.file, self.line).strip() if self.saved is None else self.saved

    def describe(self) -> str:
        """``model.py:18   h = x @ W``, as it stands at the foot of an error."""
        return f"{self}   {self.text}".rstrip()


_asked: ContextVar[Origin | None] = ContextVar("asked", default=None)
T = TypeVar("T")


def on_behalf_of(origin: Origin, work: Callable[[], T]) -> T:
    """What ``work`` returns, for which `caller` is this line, in whatever thread it runs."""
    context = copy_context()
    context.run(_asked.set, origin)
    return context.run(work)


def caller() -> Origin:
    """The innermost line outside this package that led here."""
    asked = _asked.get()
    if asked is not None:
        return asked
    frame = sys._getframe(1)
    while frame.f_back is not None and inside(frame.f_code.co_filename):
        frame = frame.f_back
    file, line = frame.f_code.co_filename, frame.f_lineno
    cell = _cell(file)
    return Origin(file, line) if cell is None else Origin(cell, line, linecache.getline(file, line).strip())


def _cell(file: str) -> str | None:
    """What IPython calls the cell that it compiled under the name of a temporary file: ``Cell In[1]``."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    names = getattr(getattr(shell, "compile", None), "format_code_name", lambda file: None)
    return " ".join(found) if (found := names(file)) else None


def inside(file: str) -> bool:
    """Whether a file is part of graphc, or stands between two of its functions."""
    return (file.startswith(_PACKAGE) and not file.startswith(_EXAMPLES)) or file == contextlib.__file__


def warn(message: str) -> None:
    """A UserWarning at the user's line."""
    origin = caller()
    warnings.warn_explicit(message, UserWarning, origin.file, origin.line)


warn_once = cache(warn)  # in a process


class GraphcError(Exception):
    """Base of all errors of graphc.

    ``node`` is the name of the node at fault and ``origin`` the user's line that made it, where there are any.

    >>> import graphc as gx
    >>> x = gx.Graph().input("x", ("n", 3))
    >>> try:
    ...     gx.sum(x, axis=2)
    ... except gx.GraphcError as error:
    ...     print(type(error).__name__, error.node, error.origin is not None)
    ShapeError sum True
    """

    def __init__(self, message: str, *, node: str | None = None, origin: Origin | None = None) -> None:
        self.message, self.node, self.origin = message, node, origin
        super().__init__(message if origin is None else f"{message}\n  at {origin.describe()}")


class GraphError(GraphcError):
    """The graph itself is not legal: names, cycles, mixed graphs, unknown operands.

    >>> import graphc as gx
    >>> g, h = gx.Graph('one'), gx.Graph('another')
    >>> try:
    ...     g.input("x") + h.input("y")
    ... except gx.GraphError as error:
    ...     print(error.message)
    add: operands of two graphs: x of 'one', y of 'another'
    """


class ShapeError(GraphcError, ValueError):
    """Shapes do not fit together, or an axis does not exist.

    >>> import graphc as gx
    >>> x = gx.Graph().input("x", ("n", 3))
    >>> try:
    ...     x @ x.graph.input('w', (4, 5))
    ... except gx.ShapeError as error:
    ...     print(error.message)
    matmul: inner dimensions differ: left is float32[n, 3], right is float32[4, 5]
    """


class DTypeError(GraphcError, TypeError):
    """A dtype is not known or not fit for the operation.

    >>> import graphc as gx
    >>> x = gx.Graph().input("x", ("n", 3))
    >>> try:
    ...     x.astype("float16")
    ... except gx.DTypeError as error:
    ...     print(error.message)
    astype: dtype 'float16' is not supported; expected one of bool, uint8, int32, int64, float32, float64
    """


class GradientError(GraphcError):
    """A derivative was asked for that does not exist.

    >>> import graphc as gx
    >>> x = gx.Graph().input("x", ("n", 3))
    >>> try:
    ...     gx.grad(gx.sum(gx.argmax(x)), x)
    ... except gx.GradientError as error:
    ...     print(error.message)
    grad: sum_10 is int64[]; only float tensors have derivatives
    """


class InputError(GraphcError):
    """What was passed to an executable does not fit what it was compiled for.

    >>> import graphc as gx
    >>> x = gx.Graph().input("x", ("n", 3))
    >>> f = gx.compile([x], x + 1, backend="numpy")
    >>> try:
    ...     f(y=[[1, 2, 3]])
    ... except gx.InputError as error:
    ...     print(error.message)
    there is no input 'y'; inputs are x
    """


class InputShapeError(InputError, ShapeError):
    """An argument has the wrong rank or size.

    >>> import graphc as gx
    >>> x = gx.Graph().input("x", ("n", 3))
    >>> f = gx.compile([x], x + 1, backend="numpy")
    >>> try:
    ...     f([[1, 2]])
    ... except gx.InputShapeError as error:
    ...     print(error.message)
    input 'x': expected float32[n, 3], found shape (1, 2)
    """


class InputDTypeError(InputError, DTypeError):
    """An argument has the wrong type or dtype.

    >>> import graphc as gx
    >>> x = gx.Graph().input("x", ("n", 3))
    >>> f = gx.compile([x], x + 1, backend="numpy")
    >>> try:
    ...     f([["a", "b", "c"]])
    ... except gx.InputDTypeError as error:
    ...     print(error.message)
    input 'x': expected float32[n, 3], found dtype <U1; expected bools, integers or floats of at most 64 bits
    """


class InputIndexError(InputError, IndexError):
    """An index (label, row number) is out of range.

    >>> import graphc as gx
    >>> i = gx.Graph().input("i", ("n",), "int64")
    >>> f = gx.compile([i], gx.one_hot(i, 3), backend="numpy")
    >>> try:
    ...     f([0, 3])
    ... except gx.InputIndexError as error:
    ...     print(error.message)
    checked_index_1: index 3 at position 1 is not in [-3, 3)
    """


class InputMemoryError(InputError, MemoryError):
    """What an executable would need for arguments of these sizes does not fit in memory.

    >>> import graphc as gx
    >>> x = gx.Graph().input("x", ("n", 3))
    >>> f = gx.compile([x], x + 1, backend="numpy")
    >>> try:
    ...     f.memory(n=10**18)
    ... except gx.InputMemoryError as error:
    ...     print(error.message)
    too large for memory with n = 1000000000000000000: x, float32[n, 3], takes 12000000000000000000 bytes
    """


class InputKeyError(InputError, KeyError):
    """There is no state, or no executable of a file, of that name.

    >>> import graphc as gx
    >>> g = gx.Graph()
    >>> try:
    ...     g.state["w"]
    ... except gx.InputKeyError as error:
    ...     print(error.message)
    graph 'graph' has no state 'w'; it has none
    """

    __str__ = Exception.__str__  # KeyError shows the repr


class CompileError(GraphcError):
    """A graph cannot be compiled as asked.

    >>> import graphc as gx
    >>> x = gx.Graph().input("x", ("n", 3))
    >>> try:
    ...     gx.compile([x], gx.sum(x), backend="fast")
    ... except gx.CompileError as error:
    ...     print(error.message)
    compile: backend must be "numba" or "numpy", found 'fast'
    """


class StateError(GraphcError):
    """A call asks for state that cannot be had: its own thread holds it, or one that has ended.

    >>> import graphc as gx
    >>> g = gx.Graph()
    >>> w = g.parameter("w", 1.0)
    >>> step = gx.compile([], w, updates={w: w + 1}, backend="numpy")
    >>> try:
    ...     step.holding(step)
    ... except gx.StateError as error:
    ...     print(error.message)
    a call cannot begin in the middle of another one of this thread that holds the same state
    """


class NumericalError(GraphcError, ArithmeticError):
    """A NaN or infinity where none may be.

    ``index`` is the place of the element, ``batch`` the number of the mini-batch in `Executable.run_batches`, ``value``
    what stands there, ``operands`` what it was made of by the operands' names (an element, or a line on an array), and
    ``forward``, of a node of a gradient, the node that it belongs to. In a loop ``steps`` are the numbers of the steps
    that the loop, and loops in it, were at; ``node`` is the loop, ``inner`` the name of the node in its body.

    >>> import graphc as gx
    >>> x = gx.Graph().input("x", ("n", 3))
    >>> f = gx.compile([x], gx.log(x).named("y"), debug="nan", backend="numpy")
    >>> try:
    ...     f([[1, 2, -1]])
    ... except gx.NumericalError as error:
    ...     print(error.node, error.index, error.operands)
    y (0, 2) {'x': -1.0}
    """

    def __init__(
        self,
        message: str,
        *,
        node: str | None = None,
        origin: Origin | None = None,
        index: tuple[int, ...] = (),
        value: float | None = None,
        operands: Mapping[str, Any] | None = None,
        forward: str | None = None,
        batch: int | None = None,
        steps: tuple[int, ...] = (),
        inner: str | None = None,
    ) -> None:
        self.index, self.value, self.operands, self.forward, self.batch = index, value, operands or {}, forward, batch
        self.steps, self.inner = steps, inner
        super().__init__(message, node=node, origin=origin)

    def in_batch(self, batch: int) -> NumericalError:
        """The same error, met in a mini-batch.

        Raises nothing.

        >>> str(NumericalError("y: log gave nan at [2]").in_batch(7))
        'batch 7: y: log gave nan at [2]'
        """
        return NumericalError(
            f"batch {batch}: {self.message}", node=self.node, origin=self.origin, index=self.index, value=self.value,
            operands=self.operands, forward=self.forward, batch=batch, steps=self.steps, inner=self.inner,
        )  # fmt: skip


class UnsupportedOpError(GraphcError):
    """An operation that is not known here, or that a format cannot hold.

    >>> import networkx
    >>> import graphc as gx
    >>> dag = networkx.DiGraph()
    >>> dag.add_node("x", op="magic")
    >>> try:
    ...     gx.from_networkx(dag)
    ... except gx.UnsupportedOpError as error:
    ...     print(error.message)
    node x: there is no operation called 'magic'; gx.dag.ops() and docs/networkx.md have the table
    """


class ExportError(GraphcError):
    """An export cannot be made as asked.

    >>> import graphc as gx
    >>> x = gx.Graph().input("x", ("n", 3))
    >>> f = gx.compile([x], x + 1, backend="numpy")
    >>> try:
    ...     f.export_python("model.py")
    ... except gx.ExportError as error:
    ...     print(error.message)
    export_python: expected backend="numba", found 'numpy', whose results are NumPy's
    """


class GraphFileError(GraphcError):
    """A graph file is damaged, hostile or of another version.

    >>> import tempfile
    >>> import graphc as gx
    >>> with tempfile.NamedTemporaryFile(suffix=".gx") as file:
    ...     try:
    ...         gx.load(file.name)
    ...     except gx.GraphFileError as error:
    ...         print(type(error).__name__)
    GraphFileError
    """


UnsupportedOp = UnsupportedOpError


def relocated(error: GraphcError, node: str, origin: Origin) -> GraphcError:
    """The same error at a node and line, the node's name in front."""
    text = error.message if error.message.startswith(node) else f"{node}: {error.message}"
    return type(error)(text, node=node, origin=origin)


class Uncopied:
    """What lives in this process only: pickling and copying say what to do instead."""

    __slots__ = ()

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        text = f"{type(self).__name__} objects are neither pickled nor copied; gx.save(path, name=executable) keeps "
        raise GraphError(
            text + "executables with their graph and state, gx.load(path) gives them back", origin=caller()
        )


def did_you_mean(word: object, known: Iterable[str], cutoff: float = 0.6) -> str:
    """What to add to an error about ``word``, which is none of ``known``: the closest of them.

    >>> did_you_mean("lables", ["x", "labels"]), did_you_mean("q", ["x", "labels"])
    ("; did you mean 'labels'?", '')
    """
    names = {name.lower(): name for name in known}
    found = difflib.get_close_matches(str(word)[:200].lower(), names, n=1, cutoff=cutoff)
    return f"; did you mean {names[found[0]]!r}?" if found else ""


def brief(value: object) -> str:
    """The repr of any value in an error, never long.

    >>> brief("float99"), brief([[[[[[[1]]]]]]])
    ("'float99'", '[[[[[[...]]]]]]')
    """
    return _BRIEF.repr(value)


_BRIEF = reprlib.Repr()
_BRIEF.maxstring = _BRIEF.maxother = 80


def listed(names: Iterable[str], most: int = 8) -> str:
    """Names in an error, the first few of many.

    >>> listed(["x", "y"]), listed([]), listed("abcdefghij", 3)
    ('x, y', 'none', 'a, b, c and 7 more')
    """
    all = list(names)
    more = f" and {len(all) - most} more" if len(all) > most else ""
    return ", ".join(all[:most]) + more or "none"
