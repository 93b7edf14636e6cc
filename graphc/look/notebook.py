"""In IPython: tracebacks of graphc's own errors end at the user's line, without the frames inside graphc."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import Any

from graphc.errors import GraphcError, inside


def install() -> None:
    """Has IPython show errors of graphc so, where IPython runs and shows no errors in a way of the user's already."""
    shell: Any = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    if shell is not None and not shell.custom_exceptions:
        shell.set_custom_exc((GraphcError,), show)


def show(shell: Any, kind: type[BaseException], error: BaseException, tb: Any, tb_offset: int | None = None) -> None:
    """Shows an error as IPython does, but for the frames inside graphc."""
    shell.showtraceback((kind, error, outside(tb)), tb_offset=tb_offset, running_compiled_code=True)


def outside(tb: TracebackType | None) -> TracebackType | None:
    """A traceback without its frames inside this package; as it is, where no others are in it."""
    frames = []
    while tb is not None:
        if not inside(tb.tb_frame.f_code.co_filename):
            frames.append(tb)
        tb = tb.tb_next
    kept: TracebackType | None = None
    for at in reversed(frames):
        kept = TracebackType(kept, at.tb_frame, at.tb_lasti, at.tb_lineno)
    return kept


__all__ = ["install", "outside", "show"]
