"""The optional packages."""

from __future__ import annotations

import importlib
from typing import Any

from graphc.errors import GraphcError


def need(package: str, what: str, error: type[GraphcError] = GraphcError) -> Any:
    """The package, imported when first asked for; ``error`` where it is not installed."""
    try:
        return importlib.import_module(package)
    except ImportError:
        raise error(f'{what} needs {package}: pip install "graphc[onnx]"') from None


__all__ = ["need"]
