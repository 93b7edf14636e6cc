"""Executables as programs that run without graphc."""

from __future__ import annotations

from typing import Any

from graphc.ir.op import LATER


def _export_python(*args: Any) -> None:
    from graphc.export.python import export_python  # what few need is not loaded with graphc

    export_python(*args)


LATER["export_python"] = _export_python
