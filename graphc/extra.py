"""The optional packages."""

from __future__ import annotations

import importlib
from typing import Any

from graphc.errors import GraphcError


def need(package: str, what: str, error: type[GraphcError] = GraphcError, extra: str = "onnx") -> Any:
    """The package, imported when first asked for; ``error``, with the extra that brings it, where it is missing."""
    try:
        return importlib.import_module(package)
    except ImportError:
        name = package.partition(".")[0]
        raise error(f'{what} needs {name}: pip install "graphc[{extra}]"') from None


__all__ = ["need"]
