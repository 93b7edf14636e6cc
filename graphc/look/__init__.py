"""Looking into graphs and executables. What methods of lower floors call is loaded when it is called."""

from importlib import import_module
from typing import Any

from graphc.ir.op import LATER

METHODS = {
    "view": ("view", "view"),
    "view_executable": ("view", "view_executable"),
    "to_svg": ("picture", "to_svg"),
    "to_dot": ("picture", "to_dot"),
    "explain": ("explain", "explain"),
    "profile": ("profile", "profile"),
    "graph_html": ("html", "graph_html"),
    "tensor_html": ("html", "tensor_html"),
    "executable_html": ("html", "executable_html"),
    "state_html": ("html", "state_html"),
    "stages_html": ("html", "stages_html"),
}


def _later(module: str, name: str) -> Any:
    def call(*args: Any, **kwargs: Any) -> Any:
        return getattr(import_module(f"graphc.look.{module}"), name)(*args, **kwargs)

    return call


LATER.update({method: _later(*where) for method, where in METHODS.items()})
