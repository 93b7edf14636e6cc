"""Every error that graphc raises, and where in the user's program a node was made."""

from __future__ import annotations

import contextlib
import linecache
import os
import sys
from dataclasses import dataclass

_PACKAGE = os.path.dirname(os.path.abspath(__file__)) + os.sep
_DEMO = os.path.join(_PACKAGE, "demo", "")  # written as a user would


@dataclass(frozen=True, slots=True)
class Origin:
    """A line of the user's program; ``saved`` is its text where the node came from a file.

    >>> str(Origin("model.py", 18))
    'model.py:18'
    """

    file: str
    line: int
    saved: str | None = None

    def __str__(self) -> str:
        return f"{os.path.basename(self.file)}:{self.line}"

    @property
    def text(self) -> str:
        """The line's source text, stripped; empty where the file is not at hand."""
        return linecache.getline(self.file, self.line).strip() if self.saved is None else self.saved

    def describe(self) -> str:
        """``model.py:18   h = x @ W``, as it stands at the foot of an error."""
        return f"{self}   {self.text}".rstrip()


def caller() -> Origin:
    """The innermost line outside this package that led here."""
    frame = sys._getframe(1)
    while frame.f_back is not None and _inside(frame.f_code.co_filename):
        frame = frame.f_back
    return Origin(frame.f_code.co_filename, frame.f_lineno)


def _inside(file: str) -> bool:
    return (file.startswith(_PACKAGE) and not file.startswith(_DEMO)) or file == contextlib.__file__


class GraphcError(Exception):
    """Base of all errors of graphc.

    ``node`` is the name of the node at fault and ``origin`` the user's line that made it, where there are any.
    """

    def __init__(self, message: str, *, node: str | None = None, origin: Origin | None = None) -> None:
        self.message, self.node, self.origin = message, node, origin
        super().__init__(message if origin is None else f"{message}\n  at {origin.describe()}")


class GraphError(GraphcError):
    """The graph itself is not legal: names, cycles, mixed graphs, unknown operands."""


class ShapeError(GraphcError, ValueError):
    """Shapes do not fit together, or an axis does not exist."""


class DTypeError(GraphcError, TypeError):
    """A dtype is not known or not fit for the operation."""


class GradientError(GraphcError):
    """A derivative was asked for that does not exist."""


class InputError(GraphcError):
    """What was passed to an executable does not fit what it was compiled for."""


class InputShapeError(InputError, ShapeError):
    """An argument has the wrong rank or size."""


class InputDTypeError(InputError, DTypeError):
    """An argument has the wrong type or dtype."""


class InputIndexError(InputError, IndexError):
    """An index (label, row number) is out of range."""


class InputMemoryError(InputError, MemoryError):
    """What an executable would need for arguments of these sizes does not fit in memory."""


class CompileError(GraphcError):
    """A graph cannot be compiled as asked."""


class NumericalError(GraphcError, ArithmeticError):
    """A NaN or infinity where none may be."""


class UnsupportedOpError(GraphcError):
    """An operation that is not known here, or that a format cannot hold."""


class ExportError(GraphcError):
    """An export cannot be made as asked."""


class GraphFileError(GraphcError):
    """A graph file is damaged, hostile or of another version."""


UnsupportedOp = UnsupportedOpError
